//! The direct runner's helper: one command after the other, each in a container of its own.
//!
//! A container is created before anything is known of its command: namespaces, all that is mounted besides the tree, the
//! filter. Its first process then waits. The helper enters its mount namespace and mounts the tree there, over the root; told
//! what to execute, the waiting process only has to make it its own root and become the user. The helper sits in the
//! cgroup of its commands, so that what it starts is born there: moving a process costs the kernel more than making it.
//! The next container, like the last one, is created while a command runs.
//!
//! - `container`: a container as the helper has it.
//! - `maker`: the threads that make first processes.
//! - `child`: from clone to execve.
//! - `exchange`: what the two sides tell each other.
//! - `devtree`: what is mounted on /dev.
//! - `group`: cgroups by descriptor.
//! - `hostview`: what of the host is needed where root is not the host's.

mod child;
mod container;
mod devtree;
mod exchange;
mod group;
mod hostview;
mod maker;

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use child::{Order, Plan, errno_of, put_on, target};
use container::{Container, Inside, Traits};
use devtree::{add_node, add_place};
use exchange::Exchange;
use group::{Allowed, Group, Groups, Membership};
use maker::Maker;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, open_tree, unmount};
use rustix::process::{Gid, PidfdFlags, Uid, pidfd_open};

use super::defaults::more_nodes;
use super::init::{self, Command, Complaint, Program, Step};
use super::place::{COPY, attach};
use super::setup::{NetFiles, Prepared, errno, io, mount_id};
use super::stubs::Stubs;
use super::supervise::Ending;
use super::{EMULATOR, Served, place, serve_once, setup, supervise};
use crate::engine::exec::error::RunError;
use crate::engine::exec::spec::Limits;
use crate::engine::exec::tree::Owner;
use crate::engine::exec::wire::{Answer, Confinement, Fds, Request};
use crate::engine::exec::{cgroup, sys};
use crate::store::in_user_namespace;

/// An empty directory in the helper's area: it is mounted on directories that are hidden.
const EMPTY: &str = "/empty";
/// A directory in the helper's area, where a container that has no tree yet has [`SYSTEM`].
const STAGE: &str = "/stage";
/// What is mounted into every tree, with more below it.
const SYSTEM: [(&str, Step); 3] = [("proc", Step::Proc), ("dev", Step::Devices), ("sys", Step::Sys)];

/// Serves requests until the runner closes the socket.
pub(super) fn serve(socket: &UnixStream) {
    // Without cgroups nobody finds a command that has outlived its helper.
    if in_user_namespace() && become_first_process() == Place::Outside {
        return;
    }
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
        station.tidy();
    }
    let Station { next, groups, .. } = station;
    // Its process is in the group.
    drop(next);
    groups.leave();
}

/// What lasts from command to command.
struct Station {
    /// Directory in memory that is all there is in the helper's mount namespace.
    area: PathBuf,
    /// The helper's mount namespace.
    home: OwnedFd,
    site: Site,
    groups: Groups,
    /// This process.
    helper: Arc<OwnedFd>,
    /// One for each way to be confined that was used.
    makers: Vec<Maker>,
    /// For the next command.
    next: Option<Container>,
    net_files: NetFiles,
    /// How many processes of the helper's group were killed for want of memory before this command.
    n_memory_kills: u64,
}

/// What matters of the machine to every container.
#[derive(Debug, Clone, Copy)]
struct Site {
    /// Whether cgroups are of version 2 only: a container then gets a namespace.
    unified: bool,
    /// Whether the host's root is somebody else: devices and kernel files then come from [`hostview`].
    rootless: bool,
    /// Whether this kernel has /proc/kcore.
    has_kcore: bool,
}

impl Station {
    fn open() -> Result<Station, RunError> {
        harden();
        let rootless = in_user_namespace();
        let hierarchies = cgroup::hierarchies().map_err(io("read", "/proc/self/mountinfo"))?;
        let name = cgroup::own_name().map_err(io("read", "/proc/self/stat"))?;
        let groups = match rootless {
            true => Groups::none(name),
            false => Groups::enter(&hierarchies, name)?,
        };
        let site =
            Site { unified: groups.are_unified(), rootless, has_kcore: Path::new("/proc/kcore").exists() };
        let home = place::enter_own()?;
        let area = place::area()?;
        if rootless {
            hostview::make(&area)?;
        }
        // Nothing of the host is left in this namespace: a container starts from a copy of it.
        let failed = |attempt| errno(attempt, &area);
        rustix::process::chdir(&area).map_err(failed("enter"))?;
        rustix::process::pivot_root(".", ".").map_err(failed("change the root to"))?;
        unmount(".", UnmountFlags::DETACH).map_err(failed("unmount what was before"))?;
        rustix::process::chdir("/").map_err(failed("enter"))?;
        fs::create_dir(EMPTY).map_err(io("make", EMPTY))?;
        for (name, _) in SYSTEM {
            let dir = Path::new(STAGE).join(name);
            fs::create_dir_all(&dir).map_err(io("make", &dir))?;
        }
        // What is entered again must be the area: all that is done there is done by name.
        let of_root = || {
            let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            mount_id(root.as_fd())
        };
        let root = of_root().map_err(errno("look at", "/"))?;
        drop(Inside::enter(&home, &home).map_err(Step::Enter.failed())?);
        if of_root().map_err(errno("look at", "/"))? != root {
            return Err(Step::Enter.failed()(Errno::STALE));
        }
        let helper = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
        let helper = helper.map_err(errno("watch", "the helper"))?;
        let mut station = Station {
            area: PathBuf::from("/"),
            home,
            site,
            groups,
            helper: Arc::new(helper),
            makers: Vec::new(),
            next: None,
            net_files: NetFiles::default(),
            n_memory_kills: 0,
        };
        station.tidy();
        Ok(station)
    }

    /// What is to be done between two commands.
    fn tidy(&mut self) {
        setup::empty(&self.area);
        self.n_memory_kills = self.groups.n_memory_kills();
    }

    fn run(&mut self, socket: &UnixStream, request: &Request, fds: Fds) -> Result<Answer, RunError> {
        let traits = Traits::of(request, fds.network.as_ref())?;
        let is_usual = traits.is_confined
            && request.nodes.is_empty()
            && request.limits == Limits::default()
            && request.cgroup_parent.is_empty();
        let allowed = if traits.is_confined { Allowed::Usual(&request.nodes) } else { Allowed::All };
        let group = match is_usual {
            true => None,
            false => Some(self.groups.make(&request.limits, &request.cgroup_parent, allowed)?),
        };
        let ended = self.contain(socket, request, fds, &traits, group.as_ref());
        let ran_out = |ended: &Ended| match (&group, ended.complaint) {
            (Some(group), Some(complaint)) => complaint.may_lack_memory() && group.has_reached_its_memory(),
            (Some(group), None) => 0 < group.n_memory_kills(),
            (None, _) => self.n_memory_kills < self.groups.n_memory_kills(),
        };
        let out_of_memory = ended.as_ref().is_ok_and(|it| it.ending.code() != 0 && ran_out(it));
        let removed = group.map_or(Ok(()), Group::remove);
        let Ended { ending, complaint, warnings } = ended?;
        removed.map_err(io("remove", "a cgroup"))?;
        supervise::conclude(&ending, complaint, out_of_memory, request, warnings)
    }

    fn contain(
        &mut self,
        socket: &UnixStream,
        request: &Request,
        fds: Fds,
        traits: &Traits,
        group: Option<&Group>,
    ) -> Result<Ended, RunError> {
        let Fds { stdout, stderr, root, network, trees } = fds;
        let network = network.map(Arc::new);
        let (container, namespace) = self.container(traits, network.as_ref(), group)?;
        // It tries out limits of this process: none is being made meanwhile that would inherit them.
        let warnings = init::clamped(&request.ulimits)?;
        let mut stubs = Stubs::default();
        let inside = Inside::enter(&namespace, &self.home).map_err(Step::Enter.failed())?;
        let (area, net_files) = (&self.area, &mut self.net_files);
        let prepared = setup::prepare(request, root.as_fd(), &trees, area, net_files, &mut stubs);
        let furnished = prepared.and_then(|prepared| {
            let root = furnish(request, &prepared, root.as_fd(), trees)?;
            Ok((prepared, root))
        });
        drop((inside, namespace));
        let order = furnished.and_then(|it| order(request, it, [stdout, stderr]));
        let started = order.and_then(|it| container.start(it));
        let ended = started.and_then(|()| {
            if group.is_none() {
                // Should there be none, the next command says why.
                self.next = self.create(traits, network.as_ref(), None).ok();
            }
            container.wait(socket)
        });
        // Also after a failure: the caller may look at the tree.
        stubs.remove();
        ended.map(|(ending, complaint)| Ended { ending, complaint, warnings })
    }

    /// The container that waits, if it is such a one and well; else a new one. With its mount namespace.
    fn container(
        &mut self,
        traits: &Traits,
        network: Option<&Arc<OwnedFd>>,
        group: Option<&Group>,
    ) -> Result<(Container, OwnedFd), RunError> {
        let next = self.next.take().filter(|it| it.traits() == traits && group.is_none());
        if let Some(next) = next
            && let Ok(namespace) = next.created()
        {
            return Ok((next, namespace));
        }
        let container = self.create(traits, network, group)?;
        let namespace = container.created()?;
        Ok((container, namespace))
    }

    /// A container that joins `group`, if there is one, else stays where the helper is. It is not created yet.
    fn create(
        &mut self,
        traits: &Traits,
        network: Option<&Arc<OwnedFd>>,
        group: Option<&Group>,
    ) -> Result<Container, RunError> {
        let profile = traits.is_confined.then_some(traits.profile);
        let index = match self.makers.iter().position(|it| it.profile() == profile) {
            Some(index) => index,
            None => {
                self.makers.push(Maker::start(profile)?);
                self.makers.len() - 1
            }
        };
        let maker = &self.makers[index];
        let plan = Arc::new(Plan {
            traits: traits.clone(),
            network: network.cloned(),
            filter: maker.filter(),
            groups: group.map_or(Ok(Membership::default()), Group::membership)?,
            helper: self.helper.clone(),
            site: self.site,
            exchange: Arc::new(Exchange::new()),
            order: OnceLock::new(),
        });
        maker.make(plan.clone());
        Ok(Container::of(plan))
    }
}

/// A command that ended.
struct Ended {
    ending: Ending,
    complaint: Option<Complaint>,
    warnings: Vec<String>,
}

/// Puts what every tree has into it and covers the root with it, in the container's mount namespace; that mount.
fn furnish(
    request: &Request,
    prepared: &Prepared,
    root: BorrowedFd<'_>,
    trees: Vec<OwnedFd>,
) -> Result<OwnedFd, RunError> {
    let emulator = setup::emulator(request, trees)?;
    prepared.make_system_dirs(root)?;
    let open = |dir: &OwnedFd, name: &str| {
        rustix::fs::openat(dir, name, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
    };
    let stage = rustix::fs::open(STAGE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let stage = stage.map_err(Step::Root.failed())?;
    let add_devices = || {
        let owner = Owner { uid: prepared.identity.uid, gid: prepared.identity.gid };
        let dev = open(&stage, "dev")?;
        more_nodes(request).iter().try_for_each(|it| add_node(&dev, it, owner))?;
        let Some(emulator) = emulator else { return Ok(()) };
        let name = EMULATOR.trim_start_matches("/dev/");
        add_place(&dev, name)?;
        put_on(&emulator, &open(&dev, name)?)
    };
    add_devices().map_err(Step::Devices.failed())?;
    if request.readonly_root {
        // A copy: mount points are removed through the mount itself.
        let copy = || {
            let copy = open_tree(root, "", COPY)?;
            sys::make_readonly(&copy, false).map_err(|err| errno_of(&err))?;
            attach(copy.as_fd(), &prepared.rootfs)
        };
        copy().map_err(Step::ReadOnlyRoot.failed())?;
    }
    rustix::process::chdir(&prepared.rootfs).map_err(Step::Root.failed())?;
    for (name, step) in SYSTEM {
        let put = || put_on(open(&stage, name)?, &target(name)?);
        put().map_err(step.failed())?;
    }
    let open = |path| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let cover = || {
        let root = open(".")?;
        match request.confinement {
            // What is covered nobody gets to who may not unmount, and taking it away takes the kernel as long as a tenth of
            // all this: it waits until no processor looks at mounts any more.
            Confinement::Full => put_on(&root, &open("/")?)?,
            Confinement::Namespaces { .. } => {
                rustix::process::pivot_root(".", ".")?;
                unmount(".", UnmountFlags::DETACH)?;
            }
        }
        Ok(root)
    };
    cover().map_err(Step::Pivot.failed())
}

/// The command as a furnished container is told it.
fn order(
    request: &Request,
    (prepared, root): (Prepared, OwnedFd),
    outputs: [OwnedFd; 2],
) -> Result<Order, RunError> {
    let Prepared { identity, cwd, .. } = prepared;
    let cwd = CString::new(cwd.as_os_str().as_bytes());
    let cwd = cwd.map_err(|_| RunError::Step { what: "a zero byte in the working directory".into() })?;
    Ok(Order {
        program: Program::new(&Command::of(request, &identity.home))?,
        uid: Uid::from_raw(identity.uid),
        gid: Gid::from_raw(identity.gid),
        groups: identity.groups.iter().map(|it| Gid::from_raw(*it)).collect(),
        cwd,
        root,
        outputs,
    })
}

/// Where a process goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where it was, its work done.
    Outside,
    /// In a pid namespace of its own, if there can be one.
    Inside,
}

/// Makes this process the first one of a pid namespace: whatever it starts, and however that holds on, the kernel ends with
/// it. The process that was called stays outside until then, and takes it along when it is killed.
fn become_first_process() -> Place {
    // SAFETY: no descriptor table is unshared, and this process has one thread.
    let entered = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWPID) };
    if entered.is_err() {
        return Place::Inside;
    }
    // SAFETY: this process has one thread; the child goes on like any other.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        return Place::Inside;
    }
    if let Some(child) = (0 < child).then(|| rustix::process::Pid::from_raw(child)).flatten() {
        let none = rustix::process::WaitOptions::empty();
        while let Err(rustix::io::Errno::INTR) = rustix::process::waitpid(Some(child), none) {}
    }
    Place::Outside
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
