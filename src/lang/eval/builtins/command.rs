//! `run`, `exec` and `check`.

use std::sync::Arc;

use super::Args;
use crate::base::{Span, path};
use crate::graph::ir::build::{ExecBuilder, SecretSpec, agent_socket};
use crate::graph::ir::{
    CUSTOM_NAME, CdiDevice, ExecOp, FileSecret, HostIp, LinuxResources, MountKind, MountSpec, NetMode,
    SECURITY, STRICT, SecretEnv, SecurityMode,
};
use crate::lang::eval::Confinement;
use crate::lang::eval::error::Cause;
use crate::lang::eval::interp::{Eval, Evaluator, as_map, as_text};
use crate::lang::eval::quote::{Dialect, Piece, quote};
use crate::lang::eval::value::{Command, CommandPart, Files, Image, Value};
use crate::lang::hir::Builtin;
use crate::lang::types::Type;

/// The scheduler's period for `cpus`, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// A mount at its final place.
struct Placed {
    spec: MountSpec,
    span: Span,
}

impl Evaluator<'_> {
    pub(super) fn run(&mut self, args: &Args<'_>) -> Eval {
        let image = args.image().clone();
        let mut config = image.config.clone();
        if let Some(env) = args.get("env") {
            for (name, value) in as_map(env).entries() {
                self.check_variable(name, args.spans_of_entry("env", name).0)?;
                match value {
                    Value::None => config.env.retain(|(known, _)| **known != **name),
                    value => config.set_env(name, as_text(value)),
                }
            }
        }
        let cwd = match args.maybe_text("workdir") {
            Some(dir) => join_workdir(image.workdir(), dir),
            None => image.workdir().to_owned(),
        };
        let is_strict = match args.get("security") {
            Some(_) => args.variant("security") == 1,
            None => self.inputs.confinement == Confinement::Strict,
        };
        let mut op = ExecOp {
            args: self.words(args, &image)?,
            env: config.env_list(),
            user: args.maybe_text("user").map(|user| user.to_string()).or(config.user).unwrap_or_default(),
            network: match args.variant("network") {
                1 => NetMode::Host,
                2 => NetMode::None,
                // Strict commands have a network when they ask for one.
                _ if is_strict && args.get("network").is_none() => NetMode::None,
                _ => NetMode::Sandbox,
            },
            security: match args.variant("security") {
                2 => SecurityMode::Insecure,
                _ => SecurityMode::Sandbox,
            },
            ..ExecOp::default()
        };
        if let Some(hosts) = args.get("hosts") {
            for (host, address) in as_map(hosts).entries() {
                let Ok(ip) = as_text(address).parse::<std::net::IpAddr>() else {
                    let address = as_text(address).to_string();
                    let (_, at) = args.spans_of_entry("hosts", host);
                    return self.error(at, Cause::BadAddress { address });
                };
                op.extra_hosts.push(HostIp { host: host.to_string(), ip: ip.to_string() });
            }
        }
        for device in args.texts("devices") {
            op.cdi_devices.push(CdiDevice { name: device, optional: false });
        }
        for (at, code) in args.items("exit").iter().enumerate() {
            let Value::Int(code) = code else { continue };
            match u8::try_from(*code) {
                Ok(code) => op.valid_exit_codes.push(code.into()),
                Err(_) => {
                    return self.error(args.span_of_item("exit", at), Cause::BadExitCode { code: *code });
                }
            }
        }
        let (mounts, outs) = self.place_mounts(args, &cwd)?;
        op.cwd = cwd;
        let (agents, mounts) = take_agents(mounts);
        let (secrets, mounts) = self.take_secrets(args, mounts)?;
        let builder = ExecBuilder {
            op,
            base: image.tree,
            readonly_root: args.flag("read_only", false),
            mounts,
            secrets,
            agents,
            platform: Some(image.config.platform.normalize()),
            exit_codes_given: args.get("exit").is_some(),
            resources: self.resources(args)?,
        };
        let edges = self.graph.exec(builder);
        self.locate(edges.vertex, args.span);
        let metadata = &mut self.graph.vertex_mut(edges.vertex).metadata;
        metadata.ignore_cache = !args.flag("cache", true);
        if is_strict {
            metadata.description.insert(SECURITY.to_owned(), STRICT.to_owned());
        }
        if let Some(name) = args.maybe_text("name") {
            metadata.description.insert(CUSTOM_NAME.to_owned(), name.to_string());
        }
        if args.call.builtin == Builtin::ImageCheck {
            return Ok(Value::Check(
                edges.root.expect("the root of a check is writable, so it is an output"),
            ));
        }
        let root = Value::Image(Arc::new(image.with_tree(edges.root)));
        let Type::Record(ty) = args.ty else { return Ok(root) };
        // The results lie behind the other mounts.
        let first = edges.mounts.len() - outs.len();
        let fields = ty.fields.iter().map(|field| {
            let out = outs.iter().position(|name| *name == field.name);
            let value = out.map(|at| Value::Fs(Files::all(edges.mounts[first + at])));
            (field.name.clone(), value.unwrap_or_else(|| root.clone()))
        });
        Ok(Value::Record(fields.collect()))
    }

    /// The words of the command.
    fn words(&mut self, args: &Args<'_>, image: &Image) -> Eval<Vec<String>> {
        let span = args.span_of("cmd");
        let words = match (args.call.builtin, args.required("cmd")) {
            (Builtin::ImageExec, words) => Evaluator::strings(words),
            (_, Value::Command(command)) => match &**command {
                Command::Words(words) => words.clone(),
                Command::Shell(parts) => {
                    let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
                    let mut words = image.config.shell.clone().unwrap_or_else(default);
                    let text = self.script(parts, &words, span)?;
                    words.push(text);
                    words
                }
            },
            (_, other) => panic!("expected a command, found {other:?}: the checker knows the types"),
        };
        if words.is_empty() {
            return self.error(span, Cause::EmptyCommand);
        }
        Ok(words)
    }

    /// The text of a shell command: values quoted, and `set -e` before several lines, so that a failing line fails.
    fn script(&mut self, parts: &[CommandPart], shell: &[String], span: Span) -> Eval<String> {
        let dialect = dialect(shell);
        let pieces: Vec<Piece<'_>> = parts
            .iter()
            .map(|part| match part {
                CommandPart::Text(text) => Piece::Text(text),
                CommandPart::Word(text, _) => Piece::Word(text),
                CommandPart::Words(words, _) => Piece::Words(words),
            })
            .collect();
        let text = match quote(&pieces, dialect) {
            Ok(text) => text,
            Err((idx, why)) => {
                let span = match &parts[idx] {
                    CommandPart::Text(_) => span,
                    CommandPart::Word(_, span) | CommandPart::Words(_, span) => *span,
                };
                return self.error(span, Cause::UnsafeInterpolation(why));
            }
        };
        self.spend_bytes(text.len(), span)?;
        let text = text.trim_end_matches('\n');
        if text.trim().is_empty() {
            return self.error(span, Cause::EmptyCommand);
        }
        let first = text.lines().next().unwrap_or_default();
        let sets_e = first
            .trim_start()
            .strip_prefix("set -")
            .is_some_and(|flags| flags.split_whitespace().next().is_some_and(|flags| flags.contains('e')));
        let several_lines = text.contains('\n');
        if several_lines && dialect == Dialect::Posix && !sets_e {
            return Ok(format!("set -e\n{text}"));
        }
        Ok(text.to_owned())
    }

    /// Secrets apart from the mounts of trees: files as they were mounted, then variables.
    fn take_secrets(&self, args: &Args<'_>, placed: Vec<Placed>) -> Eval<(Vec<SecretSpec>, Vec<MountSpec>)> {
        let (mut secrets, mut mounts) = (Vec::new(), Vec::new());
        for mount in placed {
            match mount.spec.kind {
                MountKind::Secret(options) => {
                    secrets.push(SecretSpec { file: Some((mount.spec.dest, options)), env: None });
                }
                _ => mounts.push(mount.spec),
            }
        }
        if let Some(variables) = args.get("secret_env") {
            for (name, secret) in as_map(variables).entries() {
                self.check_variable(name, args.spans_of_entry("secret_env", name).0)?;
                let (id, name) = (self.secret_id(secret), name.to_string());
                secrets.push(SecretSpec { file: None, env: Some(SecretEnv { id, name, optional: false }) });
            }
        }
        Ok((secrets, mounts))
    }

    fn resources(&self, args: &Args<'_>) -> Eval<Option<LinuxResources>> {
        let mut resources = LinuxResources::default();
        if let Some(Value::Size(bytes)) = args.get("memory") {
            match i64::try_from(*bytes) {
                Ok(bytes) => resources.memory = bytes,
                Err(_) => return self.error(args.span_of("memory"), Cause::Overflow),
            }
        }
        if let Some(Value::Int(cpus)) = args.get("cpus") {
            let quota = cpus.checked_mul(CPU_PERIOD_US as i64).filter(|quota| *quota > 0);
            let Some(quota) = quota else { return self.error(args.span_of("cpus"), Cause::Overflow) };
            (resources.cpu_period, resources.cpu_quota) = (CPU_PERIOD_US, quota);
        }
        Ok((resources != LinuxResources::default()).then_some(resources))
    }

    /// Mounts and result directories at their places, the results last, and the results' names.
    fn place_mounts(&mut self, args: &Args<'_>, cwd: &str) -> Eval<(Vec<Placed>, Vec<Arc<str>>)> {
        let mut placed: Vec<Placed> = Vec::new();
        for mount in args.items("mounts") {
            let Value::Mount(mount) = mount else { continue };
            placed.push(Placed { spec: mount.spec.clone(), span: mount.span });
        }
        let mut outs = Vec::new();
        if let Some(Value::Record(fields)) = args.get("outs") {
            for (name, out) in fields.iter() {
                let Value::Out(out) = out else { continue };
                let init = self.materialise(&out.init, out.span);
                placed.push(Placed { spec: MountSpec::bind(&*out.at, init), span: out.span });
                outs.push(name.clone());
            }
        }
        let mut n_agents = 0;
        for at in 0..placed.len() {
            let (before, rest) = placed.split_at_mut(at);
            let mount = &mut rest[0];
            if matches!(mount.spec.kind, MountKind::Ssh(_)) {
                if mount.spec.dest.is_empty() {
                    mount.spec.dest = agent_socket(n_agents);
                }
                n_agents += 1;
            }
            if !mount.spec.dest.starts_with('/') {
                mount.spec.dest = path::join(&["/", cwd, &mount.spec.dest]);
            }
            let place = path::clean(&mount.spec.dest);
            if place == "/" {
                return self.error(mount.span, Cause::MountAtRoot);
            }
            if let MountKind::Cache { id, .. } = &mut mount.spec.kind
                && id.is_empty()
            {
                id.clone_from(&place);
            }
            if let Some(first) = before.iter().find(|first| path::clean(&first.spec.dest) == place) {
                return self.error(mount.span, Cause::DuplicateMount { path: place, first: first.span });
            }
        }
        for inner in &placed {
            let place = path::clean(&inner.spec.dest);
            let outer = placed.iter().find(|outer| {
                let below = format!("{}/", path::clean(&outer.spec.dest));
                outer.spec.readonly && place.starts_with(&below)
            });
            if let Some(outer) = outer {
                let below = path::clean(&outer.spec.dest);
                return self
                    .error(inner.span, Cause::MountBelowReadonly { path: place, below, first: outer.span });
            }
        }
        Ok((placed, outs))
    }

    /// Whether `name` can be a variable's name.
    pub(super) fn check_variable(&self, name: &str, span: Span) -> Eval<()> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return self.error(span, Cause::BadVariable { name: name.to_owned() });
        }
        Ok(())
    }
}

/// Agents apart from the other mounts, in their order.
fn take_agents(placed: Vec<Placed>) -> (Vec<(String, FileSecret)>, Vec<Placed>) {
    let (mut agents, mut others) = (Vec::new(), Vec::new());
    for mount in placed {
        match mount.spec.kind {
            MountKind::Ssh(agent) => agents.push((mount.spec.dest, agent)),
            _ => others.push(mount),
        }
    }
    (agents, others)
}

/// A directory after `dir`: relative ones are below it (BuildKit client/llb/state.go, dirf).
pub(super) fn join_workdir(dir: &str, next: &str) -> String {
    if next.starts_with('/') { next.to_owned() } else { path::join(&["/", dir, next]) }
}

/// Who reads the command: a shell by POSIX's rules that takes it behind `-c`, or another one.
fn dialect(shell: &[String]) -> Dialect {
    const POSIX: &[&str] = &["sh", "ash", "bash", "dash", "ksh", "mksh", "yash"];
    let base = |word: &String| path::base(word).to_owned();
    let name = match shell.first().map(base) {
        Some(name) if name == "busybox" => shell.get(1).map(base),
        name => name,
    };
    let takes_text = shell.last().is_some_and(|flag| flag.starts_with('-') && flag.ends_with('c'));
    match name {
        Some(name) if takes_text && POSIX.contains(&name.as_str()) => Dialect::Posix,
        _ => Dialect::Other,
    }
}
