//! The runner: hands each command with its trees to a helper, and passes on what the command writes.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustix::mount::{OpenTreeFlags, open_tree};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::error::RunError;
use super::netfiles::Reach;
use super::network::{self, Life, Network as Connection, Networks};
use super::spec::{Access, Emulation, ExecSpec, ExitStatus, MountSource, Network, Profile, Security, Stream};
use super::wire::{self, Answer, Confinement, Fds, Net, Request, WireEmulation, WireMount, WireSource};
use super::{LogSink, Runner, RunnerKind, SandboxNetwork, cgroup, helper, netfiles, sys};
use crate::engine::cancel::Cancel;
use crate::store::in_user_namespace;

/// Host name of a command that names none (BuildKit).
const DEFAULT_HOSTNAME: &str = "buildkitsandbox";
/// How long a helper may take to kill its command before it is killed itself, which kills the command too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs commands through helpers. Needs root.
///
/// A helper of the direct kind is kept for the next command when its own has ended well; there are as many as commands ran
/// at once, and they end when the runner does.
#[derive(Debug)]
pub struct HelperRunner {
    kind: RunnerKind,
    program: Arc<OwnedFd>,
    networks: Arc<Networks>,
    idle: Mutex<Vec<Idle>>,
    /// The parents of cgroups that were swept for commands that asked for them.
    parents: Mutex<BTreeSet<String>>,
}

/// A helper that has nothing to do.
#[derive(Debug)]
struct Idle {
    helper: Helper,
    /// The network of its last command, which the container that it has ready is in.
    namespace: Option<network::Namespace>,
}

impl HelperRunner {
    /// A runner whose helpers are this program, and no other instance's leftovers.
    ///
    /// # Errors
    /// [`RunError::Environment`] when this machine, or this user, cannot run commands.
    pub fn new(kind: RunnerKind) -> Result<HelperRunner, RunError> {
        HelperRunner::with_program(kind, Path::new("/proc/self/exe"))
    }

    /// A runner whose helpers are `program`, which must answer to [`helper::VERB`]; for tests.
    ///
    /// # Errors
    /// As [`HelperRunner::new`].
    pub fn with_program(kind: RunnerKind, program: &Path) -> Result<HelperRunner, RunError> {
        check_machine(kind)?;
        cgroup::sweep();
        // A read-only mount of the program alone: a container's first process is still this program when it meets what
        // an image brings, and must not be a way to write to it (CVE-2019-5736).
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let path = std::fs::canonicalize(program).map_err(io_error("find", program))?;
        let mount =
            open_tree(rustix::fs::CWD, &path, flags).map_err(|err| io_error("mount", &path)(err.into()))?;
        sys::make_readonly(&mount, false).map_err(io_error("protect", &path))?;
        let networks = Arc::new(Networks::new(SandboxNetwork::default()));
        Ok(HelperRunner {
            kind,
            program: Arc::new(mount),
            networks,
            idle: Mutex::default(),
            parents: Mutex::default(),
        })
    }

    /// The same with another network for the sandbox.
    pub fn with_sandbox(self, sandbox: SandboxNetwork) -> HelperRunner {
        HelperRunner { networks: Arc::new(Networks::new(sandbox)), ..self }
    }

    async fn run(&self, spec: ExecSpec, log: &dyn LogSink, cancel: &Cancel) -> Result<ExitStatus, RunError> {
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        let (helper, kept) = self.idle_helper(&spec);
        let connection = match (spec.network, kept) {
            (Network::Host(_), _) => Connection::Host(None),
            (Network::None, _) => Connection::Nothing,
            (Network::Sandbox, Some(namespace)) => Connection::Namespace(namespace),
            (Network::Sandbox, None) => match (self.connect(&spec.security, cancel).await?, spec.profile) {
                // Who asked for less than a sandbox must not get more than one.
                (Connection::Host(Some(why)), Profile::Strict) => return Err(network::none_to_be_had(&why)),
                (connection, _) => connection,
            },
        };
        self.sweep_parent(&spec.cgroup_parent).await;
        let parent = spec.cgroup_parent.clone();
        let helper = match helper {
            Some(helper) => helper,
            None => self.spawn()?,
        };
        let (stdout, stdout_in) = output_pipe()?;
        let (stderr, stderr_in) = output_pipe()?;
        let on_terminal = |pipe: OwnedFd| match &spec.terminal {
            Some(terminal) => terminal.try_clone().map_err(io_error("duplicate", "the terminal")),
            None => Ok(pipe),
        };
        let (stdout_in, stderr_in) = (on_terminal(stdout_in)?, on_terminal(stderr_in)?);
        let may_be_used_again = matches!(spec.security, Security::Sandbox);
        let (request, fds) = request(spec, &connection, stdout_in, stderr_in)?;
        let sent = wire::send(helper.socket().as_fd(), &request, &fds);
        drop((request, fds));
        let (result, helper) = helper.finish(stdout, stderr, log, cancel, parent).await;
        let (namespace, notice) = match connection {
            // The helper is well: nothing of the command runs any more.
            Connection::Namespace(namespace) => (Some(namespace).filter(|_| may_be_used_again), None),
            Connection::Nothing => (None, None),
            Connection::Host(why) => (None, why.map(|why| host_notice(&why))),
        };
        let result = result.map(|status| ExitStatus { notices: notice.into_iter().collect(), ..status });
        match (helper, self.kind) {
            (Some(helper), RunnerKind::Direct) => self.idle().push(Idle { helper, namespace }),
            (Some(_), RunnerKind::Libcontainer) => {
                namespace.into_iter().for_each(|it| self.networks.take_back(it));
            }
            (None, _) => {}
        }
        match (result, sent) {
            // It ended without an answer because it was asked nothing.
            (Err(RunError::Bug { .. }), Err(err)) => Err(io_error("send the command to", "the helper")(err)),
            (result, _) => result,
        }
    }

    /// Before the first command below `parent`: what killed helpers left there is found by nobody else.
    async fn sweep_parent(&self, parent: &str) {
        let is_new = || self.parents.lock().unwrap_or_else(PoisonError::into_inner).insert(parent.to_owned());
        if !parent.is_empty() && is_new() {
            sweep(parent.to_owned()).await;
        }
    }

    /// A helper that has nothing to do, best the one that was idle for the shortest time and ran such a command last: it has
    /// the next container ready. With the network of that, if it is one for this command, too.
    fn idle_helper(&self, spec: &ExecSpec) -> (Option<Helper>, Option<network::Namespace>) {
        let wants_namespace =
            matches!(spec.network, Network::Sandbox) && matches!(spec.security, Security::Sandbox);
        let mut idle = self.idle();
        let index = idle.iter().rposition(|it| it.namespace.is_some() == wants_namespace);
        let Some(index) = index.or(idle.len().checked_sub(1)) else { return (None, None) };
        let Idle { helper, namespace } = idle.remove(index);
        drop(idle);
        match namespace {
            Some(namespace) if wants_namespace => (Some(helper), Some(namespace).filter(|it| it.is_fresh())),
            Some(namespace) => {
                self.networks.take_back(namespace);
                (Some(helper), None)
            }
            None => (Some(helper), None),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A panic while it is held leaves a list of helpers all the same.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> Result<Helper, RunError> {
        let (ours, theirs) = StdUnixStream::pair().map_err(io_error("make", "a socket"))?;
        let child = start(&self.program, self.kind.name(), theirs.into())?;
        Ok(Helper { socket: Some(ours), child: Some(child) })
    }

    /// A network for a sandboxed command.
    async fn connect(&self, security: &Security, cancel: &Cancel) -> Result<Connection, RunError> {
        let life = match security {
            Security::Sandbox => Life::Many,
            Security::Insecure(_) => Life::One,
        };
        if let Some(connection) = self.networks.at_once(life) {
            return Ok(connection);
        }
        let (networks, program) = (self.networks.clone(), self.program.clone());
        let making = tokio::task::spawn_blocking(move || {
            networks.make(&|work: &str, socket: OwnedFd| start(&program, work, socket))
        });
        tokio::select! {
            made = making => match made {
                Ok(made) => made,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is being shut down.
                Err(_) => Err(RunError::Cancelled),
            },
            () = cancel.cancelled() => Err(RunError::Cancelled),
        }
    }
}

/// What is said when the sandbox is no sandbox.
fn host_notice(why: &str) -> String {
    format!(
        "commands use the host's network and can reach what listens there: {why}; install Debian's `passt`, or say \
         `--network host`"
    )
}

/// Starts a helper for this work, whose standard input is `socket`.
fn start(program: &OwnedFd, work: &str, socket: OwnedFd) -> Result<Child, RunError> {
    let program = format!("/proc/self/fd/{}", program.as_raw_fd());
    Command::new(&program)
        .arg0("bkl")
        .args([helper::VERB, work])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C goes to the foreground group: it is ours to hear, the helper hears of it from us.
        .process_group(0)
        .spawn()
        .map_err(io_error("start", Path::new(&program)))
}

impl Runner for HelperRunner {
    fn run<'a>(
        &'a self,
        spec: ExecSpec,
        log: &'a dyn LogSink,
        cancel: &'a Cancel,
    ) -> BoxFuture<'a, Result<ExitStatus, RunError>> {
        self.run(spec, log, cancel).boxed()
    }
}

/// A helper. Dropping it closes the socket, upon which the helper kills its command if it has one, cleans up and ends.
#[derive(Debug)]
struct Helper {
    /// `None` once it is with the runtime or closed.
    socket: Option<StdUnixStream>,
    /// `None` once it is waited for.
    child: Option<Child>,
}

impl Helper {
    fn socket(&self) -> &StdUnixStream {
        self.socket.as_ref().expect("a helper that is not at work has its socket")
    }

    /// Follows the command to its end; with the helper, if it can take another one.
    async fn finish(
        mut self,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
        log: &dyn LogSink,
        cancel: &Cancel,
        cgroup_parent: String,
    ) -> (Result<ExitStatus, RunError>, Option<Helper>) {
        let std_socket = self.socket.take().expect("it is not at work yet");
        let socket = match std_socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(std_socket)) {
            Ok(socket) => socket,
            Err(err) => return (Err(io_error("set up", "a socket")(err)), None),
        };
        let mut socket = BufReader::new(socket);
        let mut line = Vec::new();
        let heard = {
            let outputs = async {
                tokio::join!(forward(stdout, Stream::Stdout, log), forward(stderr, Stream::Stderr, log));
            };
            let answer = async {
                let _ = socket.read_until(b'\n', &mut line).await;
                if line.last() == Some(&b'\n') {
                    return None;
                }
                // It is gone, and what it left must go before the outputs can end.
                let status = reap(self.child.take()).await;
                sweep(cgroup_parent.clone()).await;
                Some(status)
            };
            tokio::select! {
                heard = async { tokio::join!(outputs, answer).1 } => Some(heard),
                () = cancel.cancelled() => None,
            }
        };
        match heard {
            None => {
                self.dismiss(socket.into_inner(), cgroup_parent.clone()).await;
                (Err(RunError::Cancelled), None)
            }
            Some(Some(status)) => {
                let what = format!("the helper ended without an answer ({status})");
                (Err(RunError::Bug { what }), None)
            }
            Some(None) => {
                let result = match serde_json::from_slice(&line) {
                    Ok(Answer::Exited { code, reason, warnings }) => {
                        Ok(ExitStatus { code, reason, warnings, notices: Vec::new() })
                    }
                    Ok(Answer::Environment { what, help }) => Err(RunError::Environment { what, help }),
                    Ok(Answer::Step { what }) => Err(RunError::Step { what }),
                    Ok(Answer::Bug { what }) => Err(RunError::Bug { what }),
                    Err(err) => Err(RunError::Bug { what: format!("the helper's answer is none: {err}") }),
                };
                // After anything unexpected it is not trusted with another command.
                let is_well = !matches!(result, Err(RunError::Bug { .. } | RunError::Environment { .. }));
                match socket.into_inner().into_std().and_then(|it| it.set_nonblocking(false).map(|()| it)) {
                    Ok(socket) if is_well => self.socket = Some(socket),
                    _ => return (result, None),
                }
                (result, Some(self))
            }
        }
    }

    /// Has it kill its command, and waits for that.
    async fn dismiss(mut self, socket: UnixStream, cgroup_parent: String) {
        let pid = self.child.as_ref().map(Child::id);
        // The end of our side is the order to kill.
        drop(socket);
        let mut reaped = std::pin::pin!(reap(self.child.take()));
        if tokio::time::timeout(PATIENCE, &mut reaped).await.is_err() {
            // Not reaped yet: the pid is its.
            if let Some(pid) = pid.and_then(|it| rustix::process::Pid::from_raw(it.cast_signed())) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            reaped.await;
            sweep(cgroup_parent).await;
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.socket = None;
        if let Some(mut child) = self.child.take() {
            // It ends by itself; a parent that lives on must not collect dead children.
            let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || child.wait());
        }
    }
}

/// Removes what dead helpers left at the top and below `parent`.
async fn sweep(parent: String) {
    let work = move || {
        cgroup::sweep();
        if !parent.is_empty() {
            cgroup::sweep_below(&parent);
        }
    };
    let _ = tokio::task::spawn_blocking(work).await;
}

/// How a helper ended, as text.
async fn reap(child: Option<Child>) -> String {
    let Some(mut child) = child else { return "before".to_owned() };
    match tokio::task::spawn_blocking(move || child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(err)) => err.to_string(),
        Err(_) => "nobody knows how".to_owned(),
    }
}

/// Passes on what a command writes until nobody can write any more.
async fn forward(mut from: pipe::Receiver, stream: Stream, log: &dyn LogSink) {
    let mut chunk = vec![0; 64 << 10];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) => return,
            Ok(n) => log.write(stream, &chunk[..n]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            // A pipe has no other errors; what was read is passed on.
            Err(_) => return,
        }
    }
}

fn output_pipe() -> Result<(pipe::Receiver, OwnedFd), RunError> {
    let (read, write) = io::pipe().map_err(io_error("make", "a pipe"))?;
    let receiver = pipe::Receiver::from_owned_fd(read.into()).map_err(io_error("set up", "a pipe"))?;
    Ok((receiver, write.into()))
}

/// The spec in the form that travels.
fn request(
    spec: ExecSpec,
    connection: &Connection,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<(Request, Fds), RunError> {
    let hostname = if spec.hostname.is_empty() { DEFAULT_HOSTNAME.to_owned() } else { spec.hostname };
    let mut trees = Vec::new();
    let mut add_tree = |fd| {
        trees.push(fd);
        trees.len() - 1
    };
    let mut mounts = Vec::new();
    for mount in spec.mounts {
        let source = match mount.source {
            MountSource::Tree { fd, selector } => WireSource::Tree { tree: add_tree(fd), selector },
            MountSource::Dir { path, selector } => {
                WireSource::Tree { tree: add_tree(clone_of(&path)?), selector }
            }
            MountSource::Tmpfs { size } => WireSource::Tmpfs { size },
            MountSource::File { bytes, uid, gid, mode } => WireSource::File { bytes, uid, gid, mode },
        };
        mounts.push(WireMount { dest: mount.dest, source, readonly: mount.access == Access::ReadOnly });
    }
    let mut args = spec.args;
    let emulation = match spec.emulation {
        Emulation::Kernel => WireEmulation::Kernel,
        Emulation::Missing { platform, name } => WireEmulation::Missing { platform, name },
        Emulation::Program { path, name } => {
            args.insert(0, helper::EMULATOR.to_owned());
            WireEmulation::Program { tree: add_tree(clone_of(&path)?), name }
        }
    };
    let (network, given, reach) = match connection {
        Connection::Host(_) => (Net::Host, None, Reach::Host),
        Connection::Nothing => (Net::Empty, None, Reach::Isolated),
        Connection::Namespace(it) => {
            let given = it.fd().try_clone_to_owned().map_err(io_error("duplicate", "a network"))?;
            (Net::Given, Some(given), Reach::Forwarded(it.forwarder().into()))
        }
    };
    let confinement = match spec.security {
        Security::Sandbox => Confinement::Full,
        // Its devices and all its capabilities are the machine's.
        Security::Insecure(_) if in_user_namespace() => {
            return Err(RunError::Environment {
                what: "commands without confinement (`security: .insecure`) need root".into(),
                help: "build as root, outside a user namespace, or leave the command confined".into(),
            });
        }
        Security::Insecure(_) => Confinement::Namespaces { n_loops: n_loops() },
    };
    let (nodes, groups) = spec.devices.map(|it| (it.nodes, it.groups)).unwrap_or_default();
    if !nodes.is_empty() && in_user_namespace() {
        return Err(RunError::Environment {
            what: "commands with devices of their own need root".into(),
            help: "build as root, outside a user namespace, or without the device".into(),
        });
    }
    let request = Request {
        nodes,
        groups,
        hosts: netfiles::hosts(&hostname, &spec.extra_hosts),
        resolv_conf: netfiles::resolv_conf(reach),
        args,
        env: spec.env,
        cwd: spec.cwd,
        user: spec.user,
        hostname,
        network,
        confinement,
        profile: spec.profile,
        emulation,
        readonly_root: spec.root_access == Access::ReadOnly,
        mounts,
        ulimits: spec.ulimits,
        limits: spec.limits,
        cgroup_parent: spec.cgroup_parent,
        stub_parents: spec.stub_parents,
    };
    Ok((request, Fds { stdout, stderr, root: spec.root, network: given, trees }))
}

/// What is at a path of the host, as a mount to be attached elsewhere.
fn clone_of(path: &Path) -> Result<OwnedFd, RunError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(rustix::fs::CWD, path, flags).map_err(|err| io_error("mount", path)(err.into()))
}

/// How many loop devices a command without confinement gets nodes of: those up to the first that is free, and as many more
/// as one build may want (BuildKit, `util/entitlements/security`).
fn n_loops() -> u32 {
    const GET_FREE: libc::c_ulong = 0x4c82;
    const MORE: u32 = 8;
    let Ok(control) = std::fs::File::options().read(true).write(true).open("/dev/loop-control") else {
        return MORE;
    };
    // SAFETY: takes numbers only.
    let free = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as _) };
    u32::try_from(free).unwrap_or(0) + MORE
}

/// Whether commands can be run here at all.
fn check_machine(kind: RunnerKind) -> Result<(), RunError> {
    if !rustix::process::geteuid().is_root() {
        return Err(RunError::Environment {
            what: "running commands in containers needs root".into(),
            help: "run the same command as root, for example with sudo".into(),
        });
    }
    if in_user_namespace() {
        // Cgroups are not needed there, nor to be had.
        return match kind {
            RunnerKind::Direct => Ok(()),
            RunnerKind::Libcontainer => Err(RunError::Environment {
                what: "the runner `libcontainer` is root's only".into(),
                help: "do not set BKL_RUNNER, or run the same command as root".into(),
            }),
        };
    }
    let hierarchies = cgroup::hierarchies().map_err(io_error("read", "/proc/self/mountinfo"))?;
    if hierarchies.is_empty() {
        return Err(RunError::Environment {
            what: "no cgroup hierarchy is mounted".into(),
            help: "mount one: `mount -t cgroup2 none /sys/fs/cgroup`".into(),
        });
    }
    let is_legacy = hierarchies.iter().any(|it| matches!(it.kind, cgroup::Kind::Legacy(_)));
    if is_legacy && !hierarchies.iter().any(|it| it.kind.has_legacy("devices")) {
        return Err(RunError::Environment {
            what: "the device controller of cgroup version 1 is not mounted".into(),
            help: "mount it: `mount -t cgroup -o devices none /sys/fs/cgroup/devices`".into(),
        });
    }
    Ok(())
}

fn io_error(attempt: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> RunError {
    let path: PathBuf = path.as_ref().to_owned();
    move |source| RunError::Io { attempt, path, source }
}

#[cfg(test)]
mod tests;
