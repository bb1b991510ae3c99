//! Commands: an op to what the runner wants, and what it leaves to trees (BuildKit solver/llbsolver/ops/exec.go,
//! frontend/gateway/container/container.go).

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::agent::AgentSocket;
use super::inspect::{FailedCommand, Looking, shell_of};
use super::{Attempt, OpError, Said};
use crate::base::Digest;
use crate::engine::cdi::{self, CdiError};
use crate::engine::entitlement::{Authorized, Denied, Grants, authorize};
use crate::engine::event::{Seam, Stream};
use crate::engine::exec::{
    Access, Emulation, ExecMount, ExecSpec, ExitStatus, HostLine, Limits, MoreDevices, MountSource, Network,
    Profile, RunError, Runner, Security, StubParents, Ulimit,
};
use crate::engine::solver::ExecCtx;
use crate::graph::ir::config::DEFAULT_PATH;
use crate::graph::ir::{
    ExecOp, FileSecret, LinuxResources, Metadata, Mount, MountKind, NetMode, SecurityMode, Sharing,
};
use crate::session::{Session, SessionError};
use crate::store::gc::Room;
use crate::store::{self, ActiveLayer, CacheDir, LayerMeta, Seed, Snapshot, Store, StoreError};

/// How much of a command's output goes into its error.
const TAIL_BYTES: usize = 16 << 10;
/// How many lines of it.
const TAIL_LINES: usize = 20;

/// Bytes of the longest host name that the kernel takes.
const MAX_HOSTNAME: usize = 64;

/// What commands print that find no room: strerror(3) of ENOSPC.
const NO_SPACE: &str = "No space left on device";
/// A disk with less than this free is full, in bytes.
const NO_ROOM: u64 = 1 << 20;
/// A disk with less than this free is the one that a command meant which found no room, in bytes.
const LITTLE_ROOM: u64 = 64 << 20;
/// The same of inodes. Those that its processes had are free again when it has ended.
const FEW_INODES: u64 = 1024;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It ran and said so.
    #[error(
        "process `{}` did not complete successfully: exit code: {code}{}",
        args.join(" "),
        reason.as_ref().map(|it| format!(" ({it})")).unwrap_or_default()
    )]
    Exit {
        /// The command.
        args: Vec<String>,
        /// Its exit code; 128 + n after signal n.
        code: i32,
        /// What is known beside the code: not found, killed for lack of memory, disk full.
        reason: Option<String>,
        /// The disk that holds the store was full when it had ended.
        no_space: bool,
        /// The last lines it wrote, both streams as they came.
        tail: String,
    },
    /// It could not be run.
    #[error(transparent)]
    Run(RunError),
    /// A secret that it needs is not given.
    #[error("the secret `{id}` is not given to this build")]
    NoSecret {
        /// Which.
        id: String,
    },
    /// An agent that it needs is not given.
    #[error("the agent `{id}` is not given to this build")]
    NoAgent {
        /// Which; empty is the default one.
        id: String,
    },
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It requests what it was not granted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A device that it names is not there, or cannot be given.
    #[error(transparent)]
    Device(#[from] CdiError),
    /// The op makes no sense.
    #[error("bad command: {why}")]
    Op {
        /// What is wrong with it.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl From<StoreError> for ExecError {
    fn from(error: StoreError) -> ExecError {
        ExecError::Store(Box::new(error))
    }
}

/// A command on its way.
pub(super) struct Run<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) session: &'a dyn Session,
    pub(super) runner: &'a dyn Runner,
    pub(super) op: &'a ExecOp,
    pub(super) metadata: &'a Metadata,
    pub(super) vertex: Digest,
    /// What is said about the layers that it makes.
    pub(super) description: String,
    pub(super) ctx: &'a ExecCtx,
    pub(super) looking: Option<Looking<'a>>,
    pub(super) attempt: Attempt,
    /// The room that there was when the step began.
    pub(super) before: Room,
    pub(super) grants: &'a Grants,
    pub(super) said: &'a Said,
    /// Where devices are specified.
    pub(super) cdi: &'a [PathBuf],
    /// How the machine runs it.
    pub(super) emulation: Emulation,
}

/// What a mount leaves behind.
enum Leaves {
    /// The tree it was.
    Tree(Snapshot),
    /// What was changed in it.
    Layer(ActiveLayer),
}

/// Where a mount of the op is, once made.
enum Place {
    /// What is left as this output.
    Output(u32),
    /// In the list of what is thrown away.
    Scratch(usize),
    /// A tree that is only read.
    View(Snapshot),
    /// A directory of the host.
    Dir(PathBuf),
    /// In memory; nothing, when it is optional and not given.
    Memory,
}

/// The mounts of a command, made. The mounts themselves go with the specification.
struct Mounted {
    root: Option<(OwnedFd, Access)>,
    mounts: Vec<ExecMount>,
    /// By output index.
    outputs: Vec<(u32, Leaves)>,
    /// What is thrown away afterwards.
    scratch: Vec<ActiveLayer>,
    /// Where each of the op's mounts is, so that it can be made again.
    places: Vec<Place>,
    _caches: Vec<CacheDir>,
}

impl Run<'_> {
    pub(super) async fn run(&self, inputs: Vec<Snapshot>) -> Result<Vec<Snapshot>, OpError> {
        let op = self.op;
        // The sockets are there until the command has ended.
        let (secrets, _agents) = self.secrets()?;
        let mounted = {
            let (store, op, ctx) = (self.store.clone(), op.clone(), self.ctx.clone());
            super::blocking(move || Ok(mount(&store, &op, &inputs, secrets, &ctx)?)).await?
        };
        let Mounted { root, mounts, outputs, scratch, places, _caches } = mounted;
        let (root, root_access) = root.ok_or_else(|| bad("it has no root"))?;
        let spec = self.spec(root, root_access, mounts)?;
        let log = Log::start(self);
        let sink = |stream: Stream, bytes: &[u8]| log.write(stream, bytes);
        let status = self.runner.run(spec, &sink, &self.ctx.cancel).await.map_err(|error| match error {
            RunError::Cancelled => ExecError::Cancelled,
            error => ExecError::Run(error),
        })?;
        let notices = status.notices.iter().filter(|it| self.said.is_new(it));
        status.warnings.iter().chain(notices).for_each(|it| self.ctx.warn(it));
        let is_success = match op.valid_exit_codes.as_slice() {
            [] => status.code == 0,
            valid => valid.contains(&status.code),
        };
        if !is_success {
            let (code, tail) = (status.code, log.tail());
            // Looked at before what the command wrote is removed.
            let full = self.disk_full(&tail);
            let no_space = full.is_some();
            let reason = status.reason.or(full);
            // A command that is run again is looked at then.
            let looking = self.looking.filter(|_| !(no_space && self.attempt == Attempt::First));
            if let Some(looking) = looking {
                looking.hold.hold(self.vertex);
                let status =
                    ExitStatus { code, reason: reason.clone(), warnings: Vec::new(), notices: Vec::new() };
                self.inspect(looking, status, &places, &outputs, &scratch).await;
            }
            let failed = ExecError::Exit { args: op.args.clone(), code, reason, no_space, tail };
            drop((outputs, scratch, _caches, _agents));
            return Err(failed.into());
        }
        let meta = LayerMeta { description: self.description.clone(), ..LayerMeta::default() };
        super::blocking(move || Ok(commit(outputs, &meta)?)).await
    }

    /// Lets the inspector look around where the command failed: the same trees as it left them, mounted anew.
    async fn inspect(
        &self,
        Looking { inspector, cancel, .. }: Looking<'_>,
        status: ExitStatus,
        places: &[Place],
        outputs: &[(u32, Leaves)],
        scratch: &[ActiveLayer],
    ) {
        let failed = FailedCommand {
            vertex: self.vertex,
            name: self.description.clone(),
            args: self.op.args.clone(),
            status,
            cwd: self.op.cwd.clone(),
            user: self.op.user.clone(),
            shell: shell_of(&self.op.args),
        };
        let Some(terminal) = inspector.begin(&failed) else { return };
        let spec = self.mount_again(places, outputs, scratch).map(|(spec, agents)| {
            let spec = ExecSpec {
                args: vec![failed.shell.clone()],
                env: terminal.kind.map(|kind| format!("TERM={kind}")).into_iter().chain(spec.env).collect(),
                terminal: Some(terminal.end),
                ..spec
            };
            (spec, agents)
        });
        let result = match spec {
            Ok((spec, _agents)) => self.runner.run(spec, &|_: Stream, _: &[u8]| {}, cancel).await,
            Err(error) => Err(RunError::Step { what: error.to_string() }),
        };
        inspector.end(&failed, &result);
    }

    /// What the command was run as, on the same trees; the sockets are there as long as they are kept.
    fn mount_again(
        &self,
        places: &[Place],
        outputs: &[(u32, Leaves)],
        scratch: &[ActiveLayer],
    ) -> Result<(ExecSpec, Vec<AgentSocket>), ExecError> {
        let (secrets, agents) = self.secrets()?;
        let (mut root, mut mounts) = (None, Vec::new());
        for ((mount, place), secret) in self.op.mounts.iter().zip(places).zip(secrets) {
            let access = if mount.readonly { Access::ReadOnly } else { Access::ReadWrite };
            let fd = match place {
                Place::Output(output) => match outputs.iter().find(|(idx, _)| idx == output) {
                    Some((_, Leaves::Layer(layer))) => Some(mount_layer(self.op, mount, layer)?),
                    Some((_, Leaves::Tree(tree))) => Some(self.store.view(tree)?),
                    None => None,
                },
                Place::Scratch(idx) => Some(mount_layer(self.op, mount, &scratch[*idx])?),
                Place::View(tree) => Some(self.store.view(tree)?),
                Place::Dir(_) | Place::Memory => None,
            };
            let selector = mount.selector.clone();
            let source = match (fd, place, &mount.kind) {
                (Some(fd), _, _) if mount.dest == "/" => {
                    root = Some((fd, access));
                    continue;
                }
                (Some(fd), ..) => MountSource::Tree { fd, selector },
                (None, Place::Dir(path), _) => MountSource::Dir { path: path.clone(), selector },
                (None, _, MountKind::Tmpfs { size }) => tmpfs(*size),
                (None, ..) => match secret {
                    Some(source) => source,
                    None => continue,
                },
            };
            mounts.push(ExecMount { dest: mount.dest.clone(), source, access });
        }
        let (root, access) = root.ok_or_else(|| bad("it has no root"))?;
        Ok((self.spec(root, access, mounts)?, agents))
    }

    fn spec(
        &self,
        root: OwnedFd,
        root_access: Access,
        mut mounts: Vec<ExecMount>,
    ) -> Result<ExecSpec, ExecError> {
        let op = self.op;
        let Authorized { host_network, insecure, devices } = authorize(op, self.grants)?;
        let mut env = self.env()?;
        let devices = match devices {
            Some(granted) => {
                let given = cdi::given(&op.cdi_devices, self.cdi)?;
                env = cdi::with_variables(env, &given.env);
                mounts.extend(given.mounts);
                Some(MoreDevices { granted, nodes: given.nodes, groups: given.groups })
            }
            None => None,
        };
        if MAX_HOSTNAME < op.hostname.len() {
            return Err(bad(&format!("the host name `{}` has more than {MAX_HOSTNAME} bytes", op.hostname)));
        }
        if let Some(what) = [("host name", &op.hostname), ("cgroup parent", &op.cgroup_parent)]
            .into_iter()
            .find_map(|(what, text)| text.contains('\0').then_some(what))
        {
            return Err(bad(&format!("there is a zero byte in its {what}")));
        }
        let mut extra_hosts = Vec::new();
        for line in &op.extra_hosts {
            let ip = line.ip.parse().map_err(|_| bad(&format!("`{}` is no address of a host", line.ip)))?;
            extra_hosts.push(HostLine { host: line.host.clone(), ip });
        }
        let ulimit =
            |it: &crate::graph::ir::Ulimit| Ulimit { name: it.name.clone(), soft: it.soft, hard: it.hard };
        Ok(ExecSpec {
            args: op.args.clone(),
            env,
            cwd: op.cwd.clone(),
            user: op.user.clone(),
            hostname: op.hostname.clone(),
            extra_hosts,
            network: match (host_network, op.network) {
                (Some(granted), _) => Network::Host(granted),
                // Without a token it cannot be the host's.
                (None, NetMode::Sandbox | NetMode::Host) => Network::Sandbox,
                (None, NetMode::None) => Network::None,
            },
            security: insecure.map_or(Security::Sandbox, Security::Insecure),
            profile: if self.metadata.is_strict() { Profile::Strict } else { Profile::Compat },
            emulation: self.emulation.clone(),
            root,
            root_access,
            mounts,
            devices,
            ulimits: op.ulimits.iter().map(ulimit).collect(),
            limits: self.metadata.linux_resources.as_ref().map(limits).unwrap_or_default(),
            cgroup_parent: op.cgroup_parent.clone(),
            stub_parents: if op.remove_mount_stubs_recursive {
                StubParents::Remove
            } else {
                StubParents::Keep
            },
            terminal: None,
        })
    }

    /// The op's variables, the proxy's, PATH if it is missing, then secrets: BuildKit's order. The runner adds HOME.
    fn env(&self) -> Result<Vec<String>, ExecError> {
        let mut env = self.op.env.clone();
        if let Some(proxy) = &self.op.proxy_env {
            let all = [
                ("HTTP_PROXY", &proxy.http_proxy),
                ("HTTPS_PROXY", &proxy.https_proxy),
                ("FTP_PROXY", &proxy.ftp_proxy),
                ("NO_PROXY", &proxy.no_proxy),
                ("ALL_PROXY", &proxy.all_proxy),
            ];
            for (name, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
                env.push(format!("{name}={value}"));
                env.push(format!("{}={value}", name.to_lowercase()));
            }
        }
        if !env.iter().any(|it| it.starts_with("PATH=")) {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for secret in &self.op.secret_env {
            let value = match self.session.secret(&secret.id)? {
                Some(bytes) => String::from_utf8(bytes).map_err(|_| {
                    bad(&format!("the secret `{}` is no text and cannot be a variable", secret.id))
                })?,
                None if secret.optional => String::new(),
                None => return Err(ExecError::NoSecret { id: secret.id.clone() }),
            };
            env.push(format!("{}={value}", secret.name));
        }
        Ok(env)
    }

    /// What the session gives for each mount of the op, where it is asked, and what must be held for it.
    fn secrets(&self) -> Result<(Vec<Option<MountSource>>, Vec<AgentSocket>), ExecError> {
        let mut agents = Vec::new();
        let sources =
            self.op.mounts.iter().map(|mount| self.secret(mount, &mut agents)).collect::<Result<_, _>>();
        Ok((sources?, agents))
    }

    fn secret(&self, mount: &Mount, agents: &mut Vec<AgentSocket>) -> Result<Option<MountSource>, ExecError> {
        match &mount.kind {
            MountKind::Secret(secret) => match self.session.secret(&secret.id)? {
                Some(bytes) => {
                    let FileSecret { uid, gid, mode, .. } = *secret;
                    Ok(Some(MountSource::File { bytes, uid, gid, mode: mode & 0o777 }))
                }
                None if secret.optional => Ok(None),
                None => Err(ExecError::NoSecret { id: secret.id.clone() }),
            },
            MountKind::Ssh(options) => match self.session.ssh_agent(&options.id)? {
                Some(agent) => {
                    let socket = AgentSocket::start(self.store, agent, options)?;
                    let source = socket.source();
                    agents.push(socket);
                    Ok(Some(source))
                }
                None if options.optional => Ok(None),
                None => Err(ExecError::NoAgent { id: options.id.clone() }),
            },
            MountKind::Bind | MountKind::Cache { .. } | MountKind::Tmpfs { .. } => Ok(None),
        }
    }

    /// Says so if the disk that holds the store is full: the likely reason of a failure.
    fn disk_full(&self, tail: &str) -> Option<String> {
        let (bytes, inodes) = self.store.disk().ok()?;
        let has_inodes = |least: u64| inodes.total == 0 || least <= inodes.free;
        let is_full = bytes.free < NO_ROOM || !has_inodes(1);
        // Another file system of the command may be meant, a `/dev/shm`: then nothing is scarce.
        let was_full = || {
            let is_scarce = bytes.free < LITTLE_ROOM || !has_inodes(FEW_INODES);
            tail.contains(NO_SPACE) && (is_scarce || self.store.room().was_made_since(&self.before))
        };
        let verb = if is_full {
            "is"
        } else if was_full() {
            "was"
        } else {
            return None;
        };
        Some(format!("the disk that holds the store at `{}` {verb} full", self.store.root().display()))
    }
}

/// Makes the mounts of `op`, in its order.
fn mount(
    store: &Store,
    op: &ExecOp,
    inputs: &[Snapshot],
    secrets: Vec<Option<MountSource>>,
    ctx: &ExecCtx,
) -> Result<Mounted, ExecError> {
    let mut mounted = Mounted {
        root: None,
        mounts: Vec::new(),
        outputs: Vec::new(),
        scratch: Vec::new(),
        places: Vec::new(),
        _caches: Vec::new(),
    };
    // Where a cache is mounted twice it is one directory.
    let mut caches: HashMap<String, PathBuf> = HashMap::new();
    for (mount, secret) in op.mounts.iter().zip(secrets) {
        let input = match mount.input {
            None => None,
            Some(idx) => Some(inputs.get(idx as usize).ok_or_else(|| bad("a mount has no such input"))?),
        };
        let access = if mount.readonly { Access::ReadOnly } else { Access::ReadWrite };
        let is_root = mount.dest == "/";
        let source = match &mount.kind {
            MountKind::Bind => {
                let (fd, place) = bind(store, op, mount, input, &mut mounted)?;
                mounted.places.push(place);
                if is_root {
                    mounted.root = Some((fd, access));
                    continue;
                }
                MountSource::Tree { fd, selector: mount.selector.clone() }
            }
            _ if is_root => return Err(bad("its root is no tree")),
            MountKind::Cache { id, sharing } => {
                let path = cache(store, id, *sharing, input, &mut caches, &mut mounted, ctx)?;
                if let (Some(output), Some(input)) = (mount.output, input) {
                    mounted.outputs.push((output, Leaves::Tree(input.clone())));
                }
                mounted.places.push(Place::Dir(path.clone()));
                MountSource::Dir { path, selector: mount.selector.clone() }
            }
            MountKind::Tmpfs { size } => {
                mounted.places.push(Place::Memory);
                tmpfs(*size)
            }
            MountKind::Secret(_) | MountKind::Ssh(_) => {
                mounted.places.push(Place::Memory);
                match secret {
                    Some(source) => source,
                    // Optional, and not given.
                    None => continue,
                }
            }
        };
        mounted.mounts.push(ExecMount { dest: mount.dest.clone(), source, access });
    }
    mounted.outputs.sort_by_key(|(output, _)| *output);
    let is_dense = mounted.outputs.iter().enumerate().all(|(idx, (output, _))| idx == *output as usize);
    if !is_dense || mounted.outputs.len() != op.n_outputs() {
        return Err(bad("its outputs are not numbered from 0"));
    }
    Ok(mounted)
}

/// Mounts a tree, writable if anything may be written to it, even if only mount points.
fn bind(
    store: &Store,
    op: &ExecOp,
    mount: &Mount,
    input: Option<&Snapshot>,
    mounted: &mut Mounted,
) -> Result<(OwnedFd, Place), ExecError> {
    let is_root = mount.dest == "/";
    match (mount.output, input) {
        (output, Some(tree)) if mount.readonly && !is_root => {
            if let Some(output) = output {
                mounted.outputs.push((output, Leaves::Tree(tree.clone())));
            }
            Ok((store.view(tree)?, Place::View(tree.clone())))
        }
        (output, _) => {
            let layer = store.stage(&input.cloned().unwrap_or_default())?;
            let fd = mount_layer(op, mount, &layer)?;
            let place = match output {
                Some(output) => {
                    mounted.outputs.push((output, Leaves::Layer(layer)));
                    Place::Output(output)
                }
                None => {
                    mounted.scratch.push(layer);
                    Place::Scratch(mounted.scratch.len() - 1)
                }
            };
            Ok((fd, place))
        }
    }
}

/// The mount of a tree that is written to; that of the root has files to mount the command's own on.
fn mount_layer(op: &ExecOp, mount: &Mount, layer: &ActiveLayer) -> Result<OwnedFd, StoreError> {
    // Without confinement it could unmount them.
    match mount.dest == "/" && op.security == SecurityMode::Sandbox {
        true => layer.mount_for_command(),
        false => layer.mount(),
    }
}

fn cache(
    store: &Store,
    id: &str,
    sharing: Sharing,
    input: Option<&Snapshot>,
    known: &mut HashMap<String, PathBuf>,
    mounted: &mut Mounted,
    ctx: &ExecCtx,
) -> Result<PathBuf, ExecError> {
    use crate::engine::solver::Output as _;
    let id = match input {
        Some(tree) => format!("{id}:{}", tree.identity().hex()),
        None => id.to_owned(),
    };
    if let Some(path) = known.get(&id) {
        return Ok(path.clone());
    }
    let sharing = match sharing {
        Sharing::Shared => store::Sharing::Shared,
        Sharing::Private => store::Sharing::Private,
        Sharing::Locked => store::Sharing::Locked,
    };
    let seed = input.map(|tree| Seed { tree, path: "/" });
    let directory =
        store.cache_dir(&id, seed, sharing, &|| ctx.cancel.is_cancelled()).map_err(|error| match error {
            StoreError::Cancelled => ExecError::Cancelled,
            error => error.into(),
        })?;
    let path = directory.path().to_owned();
    mounted._caches.push(directory);
    known.insert(id, path.clone());
    Ok(path)
}

fn commit(outputs: Vec<(u32, Leaves)>, meta: &LayerMeta) -> Result<Vec<Snapshot>, StoreError> {
    outputs
        .into_iter()
        .map(|(_, leaves)| match leaves {
            Leaves::Tree(tree) => Ok(tree),
            Leaves::Layer(layer) => {
                let base = layer.parents().clone();
                Ok(base.with(layer.commit(meta)?))
            }
        })
        .collect()
}

fn tmpfs(size: Option<i64>) -> MountSource {
    MountSource::Tmpfs { size: size.and_then(|it| u64::try_from(it).ok()).filter(|it| 0 < *it) }
}

fn limits(resources: &LinuxResources) -> Limits {
    let signed = |value: i64| (value != 0).then_some(value);
    let unsigned = |value: u64| (value != 0).then_some(value);
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    Limits {
        memory: signed(resources.memory),
        memory_swap: signed(resources.memory_swap),
        cpu_shares: unsigned(resources.cpu_shares),
        cpu_quota: signed(resources.cpu_quota),
        cpu_period: unsigned(resources.cpu_period),
        cpuset_cpus: text(&resources.cpuset_cpus),
        cpuset_mems: text(&resources.cpuset_mems),
        pids: None,
    }
}

fn bad(why: &str) -> ExecError {
    ExecError::Op { why: why.to_owned() }
}

/// The whole log. A build does not fail when it cannot be written.
enum LogFile {
    /// Nothing was written yet: most steps of long chains write nothing.
    NotYet(Arc<Store>, Digest),
    Open(File),
    Failed,
}

impl LogFile {
    fn write(&mut self, bytes: &[u8]) {
        if let LogFile::NotYet(store, vertex) = self {
            *self = store.log_writer(vertex).map_or(LogFile::Failed, LogFile::Open);
        }
        if let LogFile::Open(file) = self
            && file.write_all(bytes).is_err()
        {
            *self = LogFile::Failed;
        }
    }
}

/// A command's output on its way to the build, the log file and, its end, the error.
struct Log<'a> {
    ctx: &'a ExecCtx,
    file: Mutex<LogFile>,
    tail: Mutex<(Seam, Vec<u8>)>,
}

impl<'a> Log<'a> {
    fn start(run: &Run<'a>) -> Log<'a> {
        // A run that nobody named is one outside of a solve.
        let name = run.ctx.run.unwrap_or(run.vertex);
        let _ = run.store.forget_log(&name);
        let file = LogFile::NotYet(run.store.clone(), name);
        Log { ctx: run.ctx, file: Mutex::new(file), tail: Mutex::default() }
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        self.ctx.log(stream, bytes);
        self.file.lock().expect("writing does not panic").write(bytes);
        let (seam, tail) = &mut *self.tail.lock().expect("writing does not panic");
        seam.append(tail, stream, bytes);
        // Cut seldom: not for every chunk.
        if 4 * TAIL_BYTES < tail.len() {
            let n_old = tail.len() - TAIL_BYTES;
            tail.drain(..n_old);
        }
    }

    fn tail(&self) -> String {
        let (_, tail) = &*self.tail.lock().expect("writing does not panic");
        let text = String::from_utf8_lossy(&tail[tail.len().saturating_sub(TAIL_BYTES)..]);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}
