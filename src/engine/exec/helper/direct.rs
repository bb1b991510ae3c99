//! The direct runner's helper: one command after the other, each in a container made with clone3.
//!
//! What can be made before the process is made then: mounts as descriptors, the environment, the filter, the cgroup (the
//! helper sits in it, so that what it starts is born there: moving a process costs the kernel more than making it). The
//! new process attaches the descriptors, mounts what belongs to its own namespaces, and becomes the command (`child`). The
//! devices' tree of the next command is made while one runs.
//!
//! - `child`: from clone3 to execve.
//! - `devtree`: what is mounted on /dev.
//! - `group`: cgroups by descriptor.
//! - `hostview`: what of the host is needed where root is not the host's.

mod child;
mod devtree;
mod group;
mod hostview;

use std::fs;
use std::io::{PipeWriter, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use child::Plan;
use devtree::DevTree;
use group::{Allowed, Group, Groups};
use rustix::mount::{UnmountFlags, unmount};

use super::defaults::{environment, more_nodes, read_filter};
use super::init::{self, Init, Payload};
use super::setup::{Prepared, errno, io};
use super::{Served, place, serve_once, setup, supervise};
use crate::engine::exec::cgroup;
use crate::engine::exec::error::RunError;
use crate::engine::exec::spec::{Limits, Profile};
use crate::engine::exec::wire::{Answer, Confinement, Fds, Net, Request};
use crate::store::in_user_namespace;

/// An empty directory in the helper's area: it is mounted on directories that are hidden.
const EMPTY: &str = "/empty";

/// Serves requests until the runner closes the socket.
pub(super) fn serve(socket: &UnixStream) {
    let mut station = match Station::open() {
        Ok(station) => station,
        Err(err) => {
            // Told to who asks first.
            serve_once(socket, |_, _| Err(err));
            return;
        }
    };
    while serve_once(socket, |request, fds| station.run(socket, request, fds)) == Served::More {
        // Nobody waits for it any more.
        setup::empty(&station.area);
    }
    station.groups.leave();
}

/// What lasts from command to command.
struct Station {
    /// Directory in memory that is all there is in the helper's mount namespace.
    area: PathBuf,
    groups: Groups,
    /// For the next command.
    devices: Option<DevTree>,
    /// Whether this kernel has /proc/kcore.
    has_kcore: bool,
}

impl Station {
    fn open() -> Result<Station, RunError> {
        harden();
        let hierarchies = cgroup::hierarchies().map_err(io("read", "/proc/self/mountinfo"))?;
        let name = cgroup::own_name().map_err(io("read", "/proc/self/stat"))?;
        let groups = match in_user_namespace() {
            true => Groups::none(name),
            false => Groups::enter(&hierarchies, name)?,
        };
        let has_kcore = Path::new("/proc/kcore").exists();
        place::enter_namespaces(Net::Host, None)?;
        let area = place::area()?;
        if in_user_namespace() {
            hostview::make(&area)?;
        }
        // Nothing of the host is left in this namespace: a container starts from a copy of it.
        let failed = |attempt| errno(attempt, &area);
        rustix::process::chdir(&area).map_err(failed("enter"))?;
        rustix::process::pivot_root(".", ".").map_err(failed("change the root to"))?;
        unmount(".", UnmountFlags::DETACH).map_err(failed("unmount what was before"))?;
        rustix::process::chdir("/").map_err(failed("enter"))?;
        fs::create_dir(EMPTY).map_err(io("make", EMPTY))?;
        Ok(Station { area: PathBuf::from("/"), groups, devices: None, has_kcore })
    }

    fn run(&mut self, socket: &UnixStream, request: &Request, fds: Fds) -> Result<Answer, RunError> {
        let Fds { stdout, stderr, root, seccomp, network, trees } = fds;
        let prepared = setup::prepare(request, root.as_fd(), &trees, &self.area)?;
        drop(trees);
        let filter = seccomp.as_ref().map(read_filter).transpose()?;
        setup::make_system_dirs(root.as_fd())?;
        let outcome = self.contain(socket, request, &prepared, filter, network, (stdout, stderr));
        // Also after a failure: the caller may look at the tree.
        prepared.clean_up();
        outcome
    }

    fn contain(
        &mut self,
        socket: &UnixStream,
        request: &Request,
        prepared: &Prepared,
        filter: Option<Vec<libc::sock_filter>>,
        network: Option<OwnedFd>,
        (stdout, stderr): (OwnedFd, OwnedFd),
    ) -> Result<Answer, RunError> {
        let (complaint, complaint_in) = std::io::pipe().map_err(io("make a pipe for", "init"))?;
        let payload = Payload::new(Init {
            args: request.args.clone(),
            env: environment(&request.env, &prepared.identity.home),
            ulimits: request.ulimits.clone(),
            confinement: request.confinement,
            profile: request.profile,
            filter,
            complaint: complaint_in.into(),
        })?;
        let is_confined = request.confinement == Confinement::Full;
        let is_usual = is_confined && request.limits == Limits::default() && request.cgroup_parent.is_empty();
        let allowed = if is_confined { Allowed::Usual } else { Allowed::All };
        let group = match is_usual {
            true => None,
            false => Some(self.groups.make(&request.limits, &request.cgroup_parent, allowed)?),
        };
        let kills_before = self.groups.n_memory_kills();
        let (gate, gate_in) = gate(group.as_ref())?;
        let plan = Plan {
            payload,
            devices: match self.devices.take() {
                Some(devices) if is_confined => devices,
                _ => DevTree::make(self.has_kcore, &more_nodes(request.confinement))
                    .map_err(errno("make", "/dev"))?,
            },
            is_confined,
            net: request.network,
            network,
            unified: self.groups.are_unified(),
            rootless: in_user_namespace(),
            shows_cgroups: request.profile == Profile::Compat,
            hostname: request.hostname.clone(),
            readonly_root: request.readonly_root,
            cwd: child::c_path(&prepared.cwd)?,
            identity: prepared.identity.clone(),
            stdout,
            stderr,
            gate,
        };
        let started = plan.start(group.as_ref().and_then(Group::to_be_born_in));
        // Its pipes end when the container's do.
        drop(plan);
        let (pid, pidfd) = started.map_err(|err| RunError::Environment {
            what: format!("namespaces cannot be made: {err}"),
            help: "run it as root, outside a container or in a privileged one".into(),
        })?;
        let admitted = admit(group.as_ref(), gate_in, pid);
        self.devices = DevTree::make(self.has_kcore, &[]).ok();
        // A gate that was dropped has ended the process by now or soon.
        let ending = supervise::wait(socket, pid, Some(pidfd))?;
        let out_of_memory = ending.code() != 0
            && match &group {
                Some(group) => 0 < group.n_memory_kills(),
                None => kills_before < self.groups.n_memory_kills(),
            };
        let removed = group.map_or(Ok(()), Group::remove);
        admitted?;
        removed.map_err(io("remove", "a cgroup"))?;
        supervise::conclude(&ending, init::read_complaint(complaint), out_of_memory, request)
    }
}

/// The pipe at which a process waits until it was moved to `group`, where it cannot be born in it.
fn gate(group: Option<&Group>) -> Result<(Option<OwnedFd>, Option<PipeWriter>), RunError> {
    match group.is_some_and(Group::must_be_moved_to) {
        false => Ok((None, None)),
        true => {
            let (read, write) = std::io::pipe().map_err(io("make a pipe for", "init"))?;
            Ok((Some(read.into()), Some(write)))
        }
    }
}

/// Moves the waiting process and lets it go on; upon an error it ends.
fn admit(group: Option<&Group>, gate: Option<PipeWriter>, pid: i32) -> Result<(), RunError> {
    let (Some(group), Some(mut gate)) = (group, gate) else { return Ok(()) };
    group.add(pid)?;
    gate.write_all(&[1]).map_err(io("let go", "init"))
}

/// What a helper that serves many commands keeps to itself, and what those are not to have of its parent's.
fn harden() {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: both take numbers; the keyring's name is none. A kernel without keyrings says so, and has nothing to hide.
    unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>());
        // Secrets pass through: no core dumps, nobody looks into its memory.
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
    }
}

/// Where a command's root is, seen from the helper.
fn rootfs() -> &'static Path {
    Path::new("/rootfs")
}
