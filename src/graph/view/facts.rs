//! What there is to know about a step beside its name, in words: for the page's panel.

use super::title;
use crate::base::Digest;
use crate::graph::ir::{
    Chown, ExecOp, FileActionOp, FileCopy, Graph, ImageConfig, Location, Metadata, Mount, MountKind, NetMode,
    Op, Output, OutputKind, SecurityMode, Sharing, User, Vertex,
};

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about: `command`, `mounts`.
    pub name: &'static str,
    /// What is so.
    pub value: Value,
}

/// A fact's value. All texts are as they are in the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A few words.
    Text(String),
    /// Text whose lines matter.
    Code(String),
    /// Several things.
    List(Vec<String>),
    /// Names with what they stand for.
    Table(Vec<(String, String)>),
}

/// A list of facts that leaves out those with nothing in them.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn text(&mut self, name: &'static str, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.0.push(Fact { name, value: Value::Text(text) });
        }
    }

    fn code(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push(Fact { name, value: Value::Code(text.into()) });
    }

    fn list(&mut self, name: &'static str, items: Vec<String>) {
        if !items.is_empty() {
            self.0.push(Fact { name, value: Value::List(items) });
        }
    }

    fn table(&mut self, name: &'static str, rows: Vec<(String, String)>) {
        if !rows.is_empty() {
            self.0.push(Fact { name, value: Value::Table(rows) });
        }
    }
}

/// Of a step.
pub(super) fn of_vertex(graph: &Graph, vertex: &Vertex, digest: &Digest) -> Vec<Fact> {
    let mut facts = Facts::default();
    match &vertex.op {
        Op::Source(source) => {
            facts.code("source", &*source.identifier);
            let attrs = source.attrs.iter();
            facts.table("options", attrs.map(|(key, value)| (key.clone(), value.clone())).collect());
        }
        Op::Exec(exec) => command(&mut facts, exec, &vertex.metadata),
        Op::File(file) => facts.list("actions", file.actions.iter().map(|it| action(&it.op)).collect()),
        Op::Build(build) => {
            let attrs = build.attrs.iter();
            facts.table("options", attrs.map(|(key, value)| (key.clone(), value.clone())).collect());
        }
        Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) => {}
    }
    if vertex.metadata.ignore_cache {
        facts.text("cache", "runs every time");
    }
    for location in &vertex.locations {
        written(&mut facts, graph, location);
    }
    facts.code("digest", digest.to_string());
    facts.0
}

/// Of a target.
pub(super) fn of_output(output: &Output) -> Vec<Fact> {
    let mut facts = Facts::default();
    let (what, tags): (&str, Vec<String>) = match &output.kind {
        OutputKind::Fs(_) => ("files", Vec::new()),
        OutputKind::Image(image) => ("an image", image.tags.clone()),
        OutputKind::Index { tags, .. } => ("an image for each of several platforms", tags.clone()),
        OutputKind::Check(_) => ("a check: it must succeed and gives nothing", Vec::new()),
    };
    facts.text("gives", what);
    facts.text("written to", output.dest.clone().unwrap_or_default());
    facts.list("tags", tags);
    match &output.kind {
        OutputKind::Image(image) => config(&mut facts, &image.config),
        OutputKind::Index { images, .. } => {
            if let Some(first) = images.first() {
                config(&mut facts, &first.config);
            }
        }
        OutputKind::Fs(_) | OutputKind::Check(_) => {}
    }
    facts.0
}

fn config(facts: &mut Facts, config: &ImageConfig) {
    let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| quoted(words)).unwrap_or_default();
    facts.text("entrypoint", words(&config.entrypoint));
    facts.text("arguments", words(&config.cmd));
    facts.text("directory", &*config.workdir);
    facts.text("user", config.user.clone().unwrap_or_default());
    facts.text("ports", config.ports.join(" "));
    facts.text("volumes", config.volumes.join(" "));
    facts.table("environment", config.env.clone());
    facts.table("labels", config.labels.clone());
}

fn command(facts: &mut Facts, exec: &ExecOp, metadata: &Metadata) {
    let (limits, is_strict) = (metadata.linux_resources.as_ref(), metadata.is_strict());
    match exec.args.as_slice() {
        [shell, flag, text] if flag.starts_with('-') && flag.ends_with('c') => {
            facts.code("command", text);
            facts.text("shell", format!("{shell} {flag}"));
        }
        words => facts.code("command", quoted(words)),
    }
    facts.text("directory", &*exec.cwd);
    facts.text("user", &*exec.user);
    facts.text(
        "network",
        match exec.network {
            NetMode::Sandbox => "",
            NetMode::Host => "of the host",
            NetMode::None => "none",
        },
    );
    facts.text(
        "security",
        match exec.security {
            SecurityMode::Sandbox if is_strict => "strict",
            SecurityMode::Sandbox => "",
            SecurityMode::Insecure => "insecure",
        },
    );
    let codes: Vec<String> = exec.valid_exit_codes.iter().map(ToString::to_string).collect();
    facts.text("exit codes", if codes == ["0"] { String::new() } else { codes.join(" ") });
    facts.table("mounts", exec.mounts.iter().map(|it| (it.dest.clone(), mounted(it))).collect());
    let pairs = exec.env.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    facts.table("environment", pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    let secrets = exec.secret_env.iter();
    facts.table(
        "secret variables",
        secrets.map(|it| (it.name.clone(), format!("secret {}", it.id))).collect(),
    );
    facts.table("hosts", exec.extra_hosts.iter().map(|it| (it.host.clone(), it.ip.clone())).collect());
    facts.list("devices", exec.cdi_devices.iter().map(|it| it.name.clone()).collect());
    if let Some(limits) = limits {
        if limits.memory > 0 {
            facts.text("memory", format!("{} bytes", limits.memory));
        }
        if limits.cpu_quota > 0 && limits.cpu_period > 0 {
            facts.text("processors", format!("{:.1}", limits.cpu_quota as f64 / limits.cpu_period as f64));
        }
    }
}

fn mounted(mount: &Mount) -> String {
    let access = if mount.readonly { "read-only" } else { "read-write" };
    match &mount.kind {
        MountKind::Bind => {
            let from = if mount.input.is_some() { "a tree" } else { "an empty tree" };
            let part = match &*mount.selector {
                "" | "/" => String::new(),
                dir => format!(", its {dir}"),
            };
            format!("{from}{part}, {access}")
        }
        MountKind::Cache { id, sharing } => {
            let sharing = match sharing {
                Sharing::Shared => "shared",
                Sharing::Private => "private",
                Sharing::Locked => "locked",
            };
            format!("cache `{id}`, {sharing}")
        }
        MountKind::Tmpfs { size } => match size {
            Some(size) if *size > 0 => format!("memory, {size} bytes"),
            _ => "memory".to_owned(),
        },
        MountKind::Secret(secret) => format!("secret {}", secret.id),
        MountKind::Ssh(agent) => format!("ssh agent {}", agent.id),
    }
}

fn action(action: &FileActionOp) -> String {
    let mut parts = vec![title::action_name(action)];
    match action {
        FileActionOp::Copy(copy) => parts.extend(copy_options(copy)),
        FileActionOp::Mkfile(it) => {
            parts.extend([format!("mode {:#o}", it.mode), format!("{} bytes", it.data.len())]);
            parts.extend(owner(it.owner.as_deref()));
        }
        FileActionOp::Mkdir(it) => {
            parts.push(format!("mode {:#o}", it.mode));
            parts.extend(owner(it.owner.as_deref()));
        }
        FileActionOp::Rm(it) => parts.extend(it.allow_not_found.then(|| "may be missing".to_owned())),
        FileActionOp::Symlink(it) => parts.extend(owner(it.owner.as_deref())),
    }
    parts.join(", ")
}

fn copy_options(copy: &FileCopy) -> Vec<String> {
    let mut options = Vec::new();
    options.extend((0 <= copy.mode).then(|| format!("mode {:#o}", copy.mode)));
    options.extend(owner(copy.owner.as_deref()));
    let patterns = |what: &str, patterns: &[String]| {
        (!patterns.is_empty()).then(|| format!("{what} {}", patterns.join(" ")))
    };
    options.extend(patterns("only", &copy.include_patterns));
    options.extend(patterns("without", &copy.exclude_patterns));
    options.extend(copy.attempt_unpack.then(|| "unpacked".to_owned()));
    options.extend(copy.allow_empty_wildcard.then(|| "may match nothing".to_owned()));
    options
}

fn owner(owner: Option<&Chown>) -> Option<String> {
    let name = |user: &User| match user {
        User::Name { name, .. } => name.clone(),
        User::Id(id) => id.to_string(),
    };
    let owner = owner?;
    let names: Vec<String> = [&owner.user, &owner.group].into_iter().flatten().map(name).collect();
    Some(format!("owner {}", names.join(":")))
}

/// Where a step is written, and the text there.
fn written(facts: &mut Facts, graph: &Graph, location: &Location) {
    let Some(info) = graph.sources.get(location.source as usize) else { return };
    let Some(range) = location.ranges.first() else { return };
    let (line, character) = range.start;
    facts.text("written at", format!("{}:{line}:{}", info.filename, character + 1));
    let text = String::from_utf8_lossy(&info.data);
    let first = usize::try_from(line - 1).unwrap_or(0);
    let count = usize::try_from(range.end.0 - line + 1).unwrap_or(1).clamp(1, MAX_LINES);
    let lines: Vec<&str> = text.lines().skip(first).take(count).collect();
    if !lines.is_empty() {
        facts.code("in the program", outdented(&lines));
    }
}

/// Lines of a program that a panel shows for one step.
const MAX_LINES: usize = 24;

/// The lines without the blanks that all of them start with.
fn outdented(lines: &[&str]) -> String {
    let blanks = |line: &&str| line.len() - line.trim_start_matches(' ').len();
    let by = lines.iter().filter(|line| !line.trim().is_empty()).map(blanks).min().unwrap_or(0);
    lines.iter().map(|line| line.get(by..).unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Words as a shell would take them.
fn quoted(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    let quote = |word: &String| match !word.is_empty() && word.chars().all(is_plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}
