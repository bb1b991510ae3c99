//! From clone to execve: the first process of a container.
//!
//! It has the helper's memory, and may be killed anywhere: here are only system calls, nothing is allocated or locked, and
//! what the helper has prepared is only read. Every step that fails names itself. Targets are opened by descriptor, without
//! following any link, below a root that nobody else can change: no path of an image is ever handed to mount(2).

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsmount,
    fsopen, move_mount, open_tree,
};
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::container::Traits;
use super::devtree::{DEVICES, DevTree};
use super::exchange::Exchange;
use super::group::Membership;
use super::{EMPTY, STAGE, Site, hostview};
use crate::engine::exec::helper::defaults::{MASKED, READONLY};
use crate::engine::exec::helper::exit;
use crate::engine::exec::helper::init::{self, Complaint, Program, Step};
use crate::engine::exec::helper::place::COPY;
use crate::engine::exec::spec::Profile;
use crate::engine::exec::sys;
use crate::engine::exec::wire::Net;

/// A container to be created.
pub(super) struct Plan {
    pub(super) traits: Traits,
    /// The network namespace, if one is given.
    pub(super) network: Option<Arc<OwnedFd>>,
    /// What is left of the filter.
    pub(super) filter: Option<Arc<[libc::sock_filter]>>,
    pub(super) groups: Membership,
    /// The helper, as a process.
    pub(super) helper: Arc<OwnedFd>,
    pub(super) site: Site,
    pub(super) exchange: Arc<Exchange>,
    /// There before the exchange says so.
    pub(super) order: OnceLock<Order>,
}

/// What it executes, where, and as whom.
pub(super) struct Order {
    pub(super) program: Program,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
    /// Absolute.
    pub(super) cwd: CString,
    /// The mount that covers the root.
    pub(super) root: OwnedFd,
    /// Standard output and error.
    pub(super) outputs: [OwnedFd; 2],
}

/// The life of the first process.
pub(super) fn run(plan: &Plan) -> ! {
    let Err(complaint) = Child { plan }.live();
    plan.exchange.complain(complaint);
    exit(complaint.code())
}

/// The plan in the new process.
struct Child<'a> {
    plan: &'a Plan,
}

/// Turns the error of a step into a complaint.
fn at(step: Step) -> impl Fn(Errno) -> Complaint {
    move |errno| Complaint::step(step, errno.raw_os_error())
}

impl Child<'_> {
    fn live(&self) -> Result<Infallible, Complaint> {
        self.follow_helper(&self.plan.helper)?;
        let namespace = self.create()?;
        // The helper's death is heard of; but not one between the making of this process and its wish to hear of it.
        let is_ordered = self.plan.exchange.offer(namespace, || self.follow_helper(&self.plan.helper))?;
        match self.plan.order.get() {
            Some(order) if is_ordered => self.start(order),
            // It is not needed.
            _ => exit(0),
        }
    }

    /// All that can be done while nothing is known of the command; its mount namespace, which somebody else may not look up
    /// without CAP_SYS_PTRACE.
    fn create(&self) -> Result<OwnedFd, Complaint> {
        let Plan { traits, network, filter, site, .. } = self.plan;
        rustix::process::setsid().map_err(at(Step::Session))?;
        match (traits.net, network) {
            (Net::Host, _) => {}
            (Net::Empty, _) => sys::loopback_up().map_err(|err| at(Step::Network)(errno_of(&err)))?,
            (Net::Given, Some(network)) => {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(at(Step::Network))?;
            }
            (Net::Given, None) => return Err(Complaint::step(Step::Network, libc::EBADF)),
        }
        if site.unified {
            // SAFETY: no descriptor table is unshared, and this process has one thread.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
                .map_err(at(Step::CgroupNamespace))?;
        }
        rustix::process::chdir(STAGE).map_err(at(Step::Root))?;
        self.mounts()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::openat(CWD, "proc/self/ns/mnt", flags, Mode::empty());
        let namespace = namespace.map_err(at(Step::Enter))?;
        rustix::system::sethostname(traits.hostname.as_bytes()).map_err(at(Step::Hostname))?;
        if let Some(filter) = filter {
            init::filtered(filter)?;
        }
        Ok(namespace)
    }

    /// The rest, in the tree.
    fn start(&self, order: &Order) -> Result<Infallible, Complaint> {
        // What was done so far is not charged to the command.
        for group in &self.plan.groups.doors {
            // 0 is who writes.
            rustix::io::write(group, b"0").map_err(at(Step::Group))?;
        }
        // A table of its own.
        close_range(3, libc::CLOSE_RANGE_UNSHARE | libc::CLOSE_RANGE_CLOEXEC)?;
        rustix::process::fchdir(&order.root).map_err(at(Step::Root))?;
        rustix::process::chroot(".").map_err(at(Step::Root))?;
        streams(&order.outputs).map_err(at(Step::Streams))?;
        // Nothing else is left of the helper's: the working directory, the program and all links to them are the image's, and
        // may lead to descriptors by way of /proc (CVE-2024-21626).
        let helper = first_after_streams(&self.plan.helper).map_err(at(Step::Descriptors))?;
        close_range(4, 0)?;
        self.become_user(order)?;
        self.follow_helper(&helper)?;
        drop(helper);
        Err(order.program.execute())
    }

    /// Everything that is mounted besides the tree itself, below the working directory; the helper moves it into the tree.
    fn mounts(&self) -> Result<(), Complaint> {
        let Plan { traits, site, .. } = self.plan;
        let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let readonly = quiet | MountAttrFlags::MOUNT_ATTR_RDONLY;
        fresh("proc", quiet).and_then(|it| put(&it, "proc")).map_err(at(Step::Proc))?;
        let devices = DevTree::make(site.has_kcore).map_err(at(Step::Devices))?;
        put(&devices.dev, "dev").map_err(at(Step::Devices))?;
        if site.rootless {
            for (name, ..) in DEVICES {
                hostview::put_device(name).map_err(at(Step::Devices))?;
            }
        }
        put(&devices.pts, "dev/pts").map_err(at(Step::Terminals))?;
        put(&devices.shm, "dev/shm").map_err(at(Step::SharedMemory))?;
        fresh("mqueue", quiet).and_then(|it| put(&it, "dev/mqueue")).map_err(at(Step::MessageQueues))?;
        let kernel = if traits.is_confined { readonly } else { quiet };
        match fresh("sysfs", kernel) {
            // It shows a network, and that is not this root's.
            Err(Errno::PERM) if site.rootless => {
                hostview::put_sys().and_then(|()| mask("sys/fs/cgroup")).map_err(at(Step::Sys))?;
            }
            made => made.and_then(|it| put(&it, "sys")).map_err(at(Step::Sys))?,
        }
        if site.unified && traits.profile == Profile::Compat {
            fresh("cgroup2", kernel).and_then(|it| put(&it, "sys/fs/cgroup")).map_err(at(Step::Cgroup))?;
        }
        if !traits.is_confined {
            return Ok(());
        }
        for path in READONLY {
            protect(&path[1..]).map_err(at(Step::Protect))?;
        }
        for path in MASKED {
            mask(&path[1..]).map_err(at(Step::Mask))?;
        }
        Ok(())
    }

    /// The working directory, entered as root first and as the user if root may not (a network file system), then groups and
    /// user, all capabilities kept for what is still to do.
    fn become_user(&self, order: &Order) -> Result<(), Complaint> {
        let Order { uid, gid, ref groups, .. } = *order;
        let entered = rustix::process::chdir(&order.cwd);
        // The per-thread calls: libc's would have the helper's threads do the same.
        match rustix::thread::set_thread_groups(groups) {
            // With one user there is one group, and the user's others cannot be dropped.
            Err(Errno::PERM) if self.plan.site.rootless && groups.len() <= 1 => {}
            other => other.map_err(at(Step::Groups))?,
        }
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(Step::Groups))?;
        rustix::thread::set_keep_capabilities(true).map_err(at(Step::User))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(Step::User))?;
        rustix::thread::set_keep_capabilities(false).map_err(at(Step::User))?;
        // A change of user makes of it what the machine wants for such processes: but this memory is the helper's.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at(Step::User))?;
        match entered {
            Err(Errno::ACCESS | Errno::PERM) => rustix::process::chdir(&order.cwd),
            other => other,
        }
        .map_err(at(Step::Directory))?;
        // A directory that is not below the root reads `(unreachable)` (CVE-2024-21626).
        let mut path = [0u8; 4096];
        // SAFETY: the buffer is as long as said.
        let got = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
        if got <= 0 || path[0] != b'/' {
            return Err(Complaint::step(Step::Directory, libc::ENOENT));
        }
        init::raise_capabilities().map_err(|errno| Complaint::step(Step::User, errno))
    }

    /// The helper's death is ours. To be set again after the change of user, which clears it.
    fn follow_helper(&self, helper: &OwnedFd) -> Result<(), Complaint> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(at(Step::Parent))?;
        // It may have died before.
        let mut helper = [PollFd::new(helper, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut helper, Some(&now)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            Ok(_) => exit(125),
            Err(err) => Err(at(Step::Parent)(err)),
        }
    }
}

/// Closes all descriptors from `first` on, or does what the flags say.
fn close_range(first: libc::c_int, flags: libc::c_uint) -> Result<(), Complaint> {
    // SAFETY: takes numbers only; nothing that is closed is used or dropped in this process.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_int::MAX, flags) } {
        0 => Ok(()),
        _ => Err(Complaint::step(Step::Descriptors, init::last_errno())),
    }
}

/// A copy of the descriptor as number 3.
fn first_after_streams(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() != 3 {
        // SAFETY: takes numbers only; what 3 was is not used or dropped in this process.
        if unsafe { libc::dup3(fd.as_raw_fd(), 3, libc::O_CLOEXEC) } == -1 {
            return Err(Errno::from_raw_os_error(init::last_errno()));
        }
    }
    // SAFETY: whoever else has this number has it in the helper's table.
    Ok(unsafe { OwnedFd::from_raw_fd(3) })
}

/// Standard input is the container's own null device: a descriptor of the host's would lead out.
fn streams([stdout, stderr]: &[OwnedFd; 2]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::openat(CWD, "/dev/null", flags, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}

/// A new file system of this process's namespaces.
fn fresh(kind: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", kind)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// What `path` is, below the working directory, without following any link.
pub(super) fn target(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        match rustix::fs::openat2(CWD, path, flags, Mode::empty(), strict) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

pub(super) fn put(mount: impl AsFd, path: &str) -> Result<(), Errno> {
    put_on(mount, &target(path)?)
}

pub(super) fn put_on(mount: impl AsFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// `None` for what this kernel does not have.
fn existing(path: &str) -> Result<Option<OwnedFd>, Errno> {
    match target(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(err) => Err(err),
    }
}

fn protect(path: &str) -> Result<(), Errno> {
    let Some(target) = existing(path)? else { return Ok(()) };
    let mount = open_tree(&target, "", COPY)?;
    sys::make_readonly(&mount, true).map_err(|err| errno_of(&err))?;
    put_on(&mount, &target)
}

/// Hides a directory under an empty one and everything else under the null device, made sure to be it (CVE-2025-31133).
fn mask(path: &str) -> Result<(), Errno> {
    let Some(target) = existing(path)? else { return Ok(()) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory;
    let cover = if is_dir {
        let cover = open_tree(CWD, EMPTY, flags)?;
        let attributes = libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC;
        sys::set_attributes(&cover, attributes, false).map_err(|err| errno_of(&err))?;
        cover
    } else {
        let cover = open_tree(CWD, "dev/null", flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?;
        let stat = rustix::fs::fstat(&cover)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
            || stat.st_rdev != rustix::fs::makedev(1, 3)
        {
            return Err(Errno::NXIO);
        }
        cover
    };
    put_on(&cover, &target)
}

pub(super) fn errno_of(err: &std::io::Error) -> Errno {
    Errno::from_io_error(err).unwrap_or(Errno::IO)
}
