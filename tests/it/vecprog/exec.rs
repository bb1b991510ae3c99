//! Commands and modifiers of states.

use bkl::base::Platform;
use bkl::graph::ir::build::{ExecBuilder, MountSpec, SecretSpec};
use bkl::graph::ir::{
    CdiDevice, ContentCache, FileSecret, HostIp, MountKind, NetMode, ProxyEnv, SecretEnv, SecurityMode,
    Sharing, State, Tree, Ulimit,
};
use serde::Deserialize;
use serde_json::Value;

use super::constraint::{CONSTRAINTS, ConstraintOpt, Constraints, PlatformArg};
use super::parse::Statement;
use super::{Bound, Interpreter, Result, args, shlex};

/// A command with its results.
pub(super) struct Exec {
    /// The root result, with the metadata of the state the command ran on.
    pub(super) root: State,
    /// The mounts in the order of their destinations.
    mounts: Vec<MountResult>,
    /// Where each added mount is in `mounts`, in the order of the statements that add them.
    added: Vec<usize>,
}

struct MountResult {
    dest: String,
    /// The tree left in the mount with its own platform, or why there is none.
    result: Result<(Tree, Option<Platform>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    on: String,
    #[serde(default)]
    opts: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Modifier {
    Env(String, String),
    Dir(String),
    DirOf(String),
    User(String),
    Hostname(String),
    Network(Network),
    Security(Security),
    ExtraHost(String, String),
    Ulimit(UlimitArg),
    CgroupParent(String),
    StatePlatform(PlatformArg),
    ResetTo(String),
    RunRoot(Vec<Value>),
    File(Value),
}

/// Names of the options of [`RunOpt`], which tell them from modifiers.
const RUN_OPTS: &[&str] = &[
    "args",
    "shlex",
    "mount",
    "secret",
    "secret-with-dest",
    "ssh",
    "readonly-root",
    "proxy",
    "valid-exit-codes",
    "cdi-device",
];

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RunOpt {
    Args(Vec<String>),
    Shlex(String),
    Mount(MountArg),
    Secret(SecretArg),
    SecretWithDest(SecretWithDest),
    Ssh(SshArg),
    ReadonlyRoot(bool),
    Proxy(ProxyArg),
    ValidExitCodes(Vec<i32>),
    CdiDevice(DeviceArg),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Network {
    Sandbox,
    Host,
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Security {
    Sandbox,
    Insecure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UlimitArg {
    name: String,
    soft: i64,
    hard: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct MountArg {
    /// The command, in `add-mount`.
    exec: Option<String>,
    dest: String,
    from: String,
    #[serde(default)]
    readonly: bool,
    #[serde(default)]
    selector: String,
    cache: Option<CacheArg>,
    tmpfs: Option<TmpfsArg>,
    #[serde(default)]
    no_output: bool,
    content_cache: Option<Content>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheArg {
    #[serde(default)]
    id: String,
    sharing: SharingArg,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SharingArg {
    Shared,
    Private,
    Locked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TmpfsArg {
    #[serde(default)]
    size: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Content {
    Default,
    On,
    Off,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SecretArg {
    dest: String,
    id: Option<String>,
    as_env: Option<bool>,
    env_name: Option<String>,
    file: Option<FileArg>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SecretWithDest {
    source_id: String,
    dest: Option<String>,
    id: Option<String>,
    as_env: Option<bool>,
    env_name: Option<String>,
    file: Option<FileArg>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileArg {
    #[serde(default)]
    target: String,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    mode: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SshArg {
    #[serde(default)]
    id: String,
    target: Option<String>,
    opt: Option<FileArg>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyArg {
    #[serde(default)]
    http: String,
    #[serde(default)]
    https: String,
    #[serde(default)]
    ftp: String,
    #[serde(default)]
    no: String,
    #[serde(default)]
    all: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceArg {
    name: String,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetMount {
    exec: String,
    dest: String,
}

/// What the options of a command said beside changing its state.
#[derive(Default)]
struct RunOptions {
    builder: ExecBuilder,
    /// For each mount of the builder, the state it came from.
    sources: Vec<State>,
    constraints: Constraints,
}

fn octal(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8).map_err(|error| format!("mode `{text}`: {error}"))
}

impl Interpreter<'_> {
    /// `state` changed by a modifier.
    pub(super) fn modified(&self, state: &State, json: &Value) -> Result<State> {
        let mut state = state.clone();
        match args(json)? {
            Modifier::Env(key, value) => state.set_env(&key, &value),
            Modifier::Dir(dir) => state.set_dir(&dir),
            Modifier::DirOf(other) => state.set_dir(self.state(&other)?.dir()),
            Modifier::User(user) => state.user = user,
            Modifier::Hostname(hostname) => state.hostname = hostname,
            Modifier::Network(network) => {
                state.network = match network {
                    Network::Sandbox => NetMode::Sandbox,
                    Network::Host => NetMode::Host,
                    Network::None => NetMode::None,
                };
            }
            Modifier::Security(security) => {
                state.security = match security {
                    Security::Sandbox => SecurityMode::Sandbox,
                    Security::Insecure => SecurityMode::Insecure,
                };
            }
            Modifier::ExtraHost(host, ip) => {
                let ip: std::net::IpAddr = ip.parse().map_err(|error| format!("`{ip}`: {error}"))?;
                state.extra_hosts.push(HostIp { host, ip: ip.to_string() });
            }
            Modifier::Ulimit(UlimitArg { name, soft, hard }) => {
                state.ulimits.push(Ulimit { name, soft, hard });
            }
            Modifier::CgroupParent(parent) => state.cgroup_parent = parent,
            Modifier::StatePlatform(platform) => state.set_platform(&platform.platform()),
            Modifier::ResetTo(other) => state = state.reset_to(&self.state(&other)?),
            Modifier::RunRoot(opts) => state = self.exec_on(&state, &opts, &[])?.root,
            Modifier::File(file) => state = self.file_modifier(&state, &file)?,
        }
        Ok(state)
    }

    /// The command of a `run` statement with all mounts that the program adds to it.
    pub(super) fn exec(&self, json: &Value, name: Option<&str>) -> Result<Exec> {
        let Run { on, opts } = args(json)?;
        let added: Vec<&Value> = self
            .program
            .iter()
            .filter(|it| it.op == "add-mount" && it.json["exec"].as_str() == name)
            .map(|it| &it.json)
            .collect();
        self.exec_on(&self.state(&on)?, &opts, &added)
    }

    fn exec_on(&self, on: &State, opts: &[Value], added: &[&Value]) -> Result<Exec> {
        let mut private = on.clone();
        let mut options = RunOptions::default();
        for opt in opts {
            let key = opt.as_object().and_then(|opt| opt.keys().next()).map_or("", String::as_str);
            if CONSTRAINTS.contains(&key) {
                self.add_constraint(&mut options.constraints, &args::<ConstraintOpt>(opt)?)?;
            } else if RUN_OPTS.contains(&key) {
                self.add_run_opt(&mut options, args(opt)?)?;
            } else {
                private = self.modified(&private, opt)?;
            }
        }
        for &json in added {
            self.add_mount(&mut options, args(json)?)?;
        }

        let RunOptions { builder, sources, constraints } = options;
        let mut op = private.exec().op;
        op.args = builder.op.args;
        op.proxy_env = builder.op.proxy_env;
        op.valid_exit_codes = builder.op.valid_exit_codes;
        op.cdi_devices = builder.op.cdi_devices;
        let n_from_opts = sources.len() - added.len();
        let builder = ExecBuilder {
            op,
            base: private.tree,
            platform: constraints.platform.clone().or_else(|| private.platform().cloned()),
            resources: constraints.metadata.linux_resources.clone(),
            ..builder
        };
        let readonly_root = builder.readonly_root;
        let mounts = builder.mounts.clone();
        let edges = self.graph.borrow_mut().exec(builder);
        let vertex = bkl::graph::ir::Edge { vertex: edges.vertex, output: 0 };
        self.constrain(vertex, &constraints);

        // Read-only results are the sources themselves, so their own platform comes along.
        let own = |is_source: bool, source: &State| match is_source {
            true => source.own_platform().cloned(),
            false => constraints.platform.clone(),
        };
        let root_own = own(readonly_root, &private);
        let mut results: Vec<(usize, MountResult)> = (0..)
            .zip(mounts.iter().zip(&edges.mounts).zip(&sources))
            .map(|(idx, ((mount, &tree), source))| {
                let result = match &mount.kind {
                    _ if mount.readonly => Ok((tree, own(true, source))),
                    MountKind::Tmpfs { .. } => Err("a tmpfs mount is no parent".to_owned()),
                    MountKind::Cache { id, .. } if !id.is_empty() => {
                        Err("a cache mount is no parent".to_owned())
                    }
                    _ if mount.no_output => Err("a mount without output is no parent".to_owned()),
                    _ => Ok((tree, own(false, source))),
                };
                (idx, MountResult { dest: mount.dest.clone(), result })
            })
            .collect();
        let root = MountResult { dest: "/".to_owned(), result: Ok((edges.root, root_own.clone())) };
        results.insert(0, (usize::MAX, root));
        results.sort_by(|(_, a), (_, b)| a.dest.as_bytes().cmp(b.dest.as_bytes()));
        let place = |idx| results.iter().position(|(it, _)| *it == idx).expect("every mount has a result");
        Ok(Exec {
            root: on.with_tree(edges.root, root_own),
            added: (n_from_opts..sources.len()).map(place).collect(),
            mounts: results.into_iter().map(|(_, result)| result).collect(),
        })
    }

    fn add_run_opt(&self, options: &mut RunOptions, opt: RunOpt) -> Result<()> {
        let builder = &mut options.builder;
        match opt {
            RunOpt::Args(words) => builder.op.args = words,
            RunOpt::Shlex(line) => builder.op.args = shlex::split(&line),
            RunOpt::Mount(mount) => self.add_mount(options, mount)?,
            RunOpt::Secret(secret) => builder.secrets.push(secret_spec(SecretWithDest {
                source_id: secret.dest.clone(),
                dest: Some(secret.dest),
                id: secret.id,
                as_env: secret.as_env,
                env_name: secret.env_name,
                file: secret.file,
                optional: secret.optional,
            })?),
            RunOpt::SecretWithDest(secret) => builder.secrets.push(secret_spec(secret)?),
            RunOpt::Ssh(ssh) => {
                let mut agent =
                    FileSecret { id: ssh.id, uid: 0, gid: 0, mode: 0o600, optional: ssh.optional };
                let mut target = ssh.target.unwrap_or_default();
                if let Some(opt) = ssh.opt {
                    (agent.uid, agent.gid, agent.mode) = (opt.uid, opt.gid, octal(&opt.mode)?);
                    target = opt.target;
                }
                builder.agents.push((target, agent));
            }
            RunOpt::ReadonlyRoot(on) => builder.readonly_root = on,
            RunOpt::Proxy(proxy) => {
                builder.op.proxy_env = Some(ProxyEnv {
                    http_proxy: proxy.http,
                    https_proxy: proxy.https,
                    ftp_proxy: proxy.ftp,
                    no_proxy: proxy.no,
                    all_proxy: proxy.all,
                });
            }
            RunOpt::ValidExitCodes(codes) => {
                builder.exit_codes_given = true;
                builder.op.valid_exit_codes = codes;
            }
            RunOpt::CdiDevice(DeviceArg { name, optional }) => {
                builder.op.cdi_devices.push(CdiDevice { name, optional });
            }
        }
        Ok(())
    }

    fn add_mount(&self, options: &mut RunOptions, mount: MountArg) -> Result<()> {
        let source = self.state(&mount.from)?;
        let kind = match (mount.cache, mount.tmpfs) {
            (Some(cache), _) => {
                let sharing = match cache.sharing {
                    SharingArg::Shared => Sharing::Shared,
                    SharingArg::Private => Sharing::Private,
                    SharingArg::Locked => Sharing::Locked,
                };
                MountKind::Cache { id: cache.id, sharing }
            }
            (None, Some(tmpfs)) => MountKind::Tmpfs { size: Some(tmpfs.size) },
            (None, None) => MountKind::Bind,
        };
        options.builder.mounts.push(MountSpec {
            dest: mount.dest,
            source: source.tree,
            selector: mount.selector,
            readonly: mount.readonly,
            no_output: mount.no_output,
            kind,
            content_cache: match mount.content_cache {
                None | Some(Content::Default) => ContentCache::Default,
                Some(Content::On) => ContentCache::On,
                Some(Content::Off) => ContentCache::Off,
            },
        });
        options.sources.push(source);
        Ok(())
    }

    /// The state of an `add-mount` or `get-mount` statement.
    pub(super) fn mount_result(&self, statement: &Statement) -> Result<State> {
        let exec = |name: &str| match self.bound(name)? {
            Bound::Exec(exec) => Ok(exec),
            Bound::State(_) | Bound::Chain(_) | Bound::SourceMap(_) => Err(format!("`{name}` is no exec")),
        };
        if statement.op == "get-mount" {
            let GetMount { exec: name, dest } = args(&statement.json)?;
            let exec = exec(&name)?;
            let mount = exec.mounts.iter().find(|mount| mount.dest == dest);
            let (tree, platform) = mount.ok_or_else(|| format!("no mount at `{dest}`"))?.result.clone()?;
            return Ok(State::new(tree, platform));
        }
        let mount: MountArg = args(&statement.json)?;
        let name = mount.exec.ok_or("add-mount without exec")?;
        let exec = exec(&name)?;
        let mut added = self
            .program
            .iter()
            .filter(|it| it.op == "add-mount" && it.json["exec"].as_str() == Some(name.as_str()));
        let nth =
            added.position(|it| std::ptr::eq(it, statement)).expect("the statement is one of the program's");
        let (tree, platform) = exec.mounts[exec.added[nth]].result.clone()?;
        Ok(self.state(&mount.from)?.with_tree(tree, platform))
    }
}

fn secret_spec(secret: SecretWithDest) -> Result<SecretSpec> {
    let id = secret.id.unwrap_or(secret.source_id);
    let (mut target, mut env) = (secret.dest, None);
    match secret.as_env {
        Some(true) if target.is_some() => env = target.take(),
        Some(false) => env = None,
        Some(true) | None => {}
    }
    env = secret.env_name.or(env);
    let optional = secret.optional;
    let mut options = FileSecret { id: id.clone(), uid: 0, gid: 0, mode: 0o400, optional };
    if let Some(file) = secret.file {
        (options.uid, options.gid, options.mode) = (file.uid, file.gid, octal(&file.mode)?);
    }
    Ok(SecretSpec {
        file: target.map(|target| (target, options)),
        env: env.map(|name| SecretEnv { id, name, optional }),
    })
}
