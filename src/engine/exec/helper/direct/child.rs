//! From clone3 to execve: the first process of a container.
//!
//! It has a copy of the helper's memory, in which no other thread held a lock, as there is none, and of all its descriptors,
//! which it closes first. Every step that fails names itself through a pipe. Targets are opened by descriptor, without
//! following any link, below a root that nobody else can change: no path of an image is ever handed to mount(2).

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsmount,
    fsopen, move_mount, open_tree,
};
use rustix::net::SendFlags;
use rustix::process::{Gid, Uid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::container::Traits;
use super::devtree::{DEVICES, DevTree};
use super::{EMPTY, STAGE, Site, hostview};
use crate::engine::exec::helper::defaults::{MASKED, READONLY};
use crate::engine::exec::helper::exit;
use crate::engine::exec::helper::init::{self, Command, Complaint, Payload, Step, Todo};
use crate::engine::exec::helper::place::COPY;
use crate::engine::exec::helper::setup::mount_id;
use crate::engine::exec::spec::Profile;
use crate::engine::exec::sys;
use crate::engine::exec::user::Identity;
use crate::engine::exec::wire::{self, Net};

/// linux/sched.h; libc's has the wrong type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A container to be created.
pub(super) struct Plan<'a> {
    pub(super) traits: &'a Traits,
    /// The network namespace, if one is given.
    pub(super) network: Option<&'a OwnedFd>,
    pub(super) filter: Option<&'a [libc::sock_filter]>,
    pub(super) site: Site,
    /// Where it says how far it is, a byte each time, and takes its order.
    pub(super) orders: UnixStream,
    /// Where it says why there was no execve.
    pub(super) complaint: OwnedFd,
}

/// What it executes, where, and as whom.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) command: Command,
    pub(super) identity: Identity,
    /// Absolute.
    pub(super) cwd: PathBuf,
    /// The mount that its root is by now.
    pub(super) root: u64,
}

impl Plan<'_> {
    /// Makes the container's first process, born in `group` if there is one; its pid and descriptor.
    pub(super) fn start(self, group: Option<&OwnedFd>) -> std::io::Result<(i32, OwnedFd)> {
        let mut pidfd: libc::c_int = -1;
        let mut flags = libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_PIDFD;
        if self.traits.net == Net::Empty {
            flags |= libc::CLONE_NEWNET;
        }
        // SAFETY: all bytes zero is a valid `clone_args`.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = flags as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        args.pidfd = &raw mut pidfd as u64;
        if let Some(group) = group {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = group.as_raw_fd() as u64;
        }
        // SAFETY: the structure is as large as said and outlives the call. Without CLONE_VM this is a fork: the new process
        // has a copy of this one's memory, in which no other thread held a lock, as there is none.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
        match i32::try_from(pid).unwrap_or(-1) {
            0 => Child { plan: self }.run(),
            -1 => Err(std::io::Error::last_os_error()),
            // SAFETY: the kernel just gave us this descriptor.
            pid => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        }
    }
}

/// The plan in the new process.
struct Child<'a> {
    plan: Plan<'a>,
}

/// Turns the error of a step into a complaint.
fn at(step: Step) -> impl Fn(Errno) -> Complaint {
    move |errno| Complaint::step(step, errno.raw_os_error())
}

impl Child<'_> {
    fn run(&self) -> ! {
        let Err(complaint) = self.live();
        complaint.send(self.plan.complaint.as_fd());
        exit(complaint.code())
    }

    fn live(&self) -> Result<Infallible, Complaint> {
        self.let_go()?;
        let told = rustix::net::send(&self.plan.orders, &[1], SendFlags::NOSIGNAL);
        told.map_err(at(Step::Order))?;
        self.follow_helper()?;
        let namespace = self.create()?;
        let told = wire::send_message(self.plan.orders.as_fd(), &(), &[namespace.as_fd()]);
        told.map_err(|err| at(Step::Order)(errno_of(&err)))?;
        drop(namespace);
        let order = wire::receive_message::<Order>(self.plan.orders.as_fd());
        match order.map_err(|err| at(Step::Order)(errno_of(&err)))? {
            Some((order, outputs)) => self.start(&order, &outputs),
            // It is not needed.
            None => exit(0),
        }
    }

    /// Closes what the helper has open: a container that is created would keep trees mounted, and pipes from ending, of the
    /// command that runs meanwhile.
    fn let_go(&self) -> Result<(), Complaint> {
        let (orders, complaint) = (self.plan.orders.as_raw_fd(), self.plan.complaint.as_raw_fd());
        let mut kept = [Some(orders), Some(complaint), self.plan.network.map(AsRawFd::as_raw_fd)];
        kept.sort_unstable();
        let mut first = 3;
        for last in kept.into_iter().flatten().map(|it| it - 1).chain([libc::c_int::MAX]) {
            // SAFETY: takes numbers only; nothing that is closed is used or dropped in this process.
            if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
                return Err(Complaint::step(Step::Descriptors, init::last_errno()));
            }
            first = last.saturating_add(2);
        }
        Ok(())
    }

    /// All that can be done while nothing is known of the command; its mount namespace, which somebody else may not look up
    /// without CAP_SYS_PTRACE.
    fn create(&self) -> Result<OwnedFd, Complaint> {
        let Plan { traits, network, filter, site, .. } = &self.plan;
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
        // The helper changes it, with the root: it follows as long as it is the same.
        rustix::process::chdir("/").map_err(at(Step::Root))?;
        rustix::system::sethostname(traits.hostname.as_bytes()).map_err(at(Step::Hostname))?;
        if traits.is_confined {
            init::confine(traits.profile, *filter)?;
        }
        Ok(namespace)
    }

    /// The rest, in the tree.
    fn start(&self, order: &Order, outputs: &[OwnedFd]) -> Result<Infallible, Complaint> {
        let complaint = self.plan.complaint.try_clone().map_err(|err| at(Step::Order)(errno_of(&err)))?;
        let payload = Payload::new(&order.command, Todo::Rest, complaint);
        let payload = payload.map_err(|_| Complaint::step(Step::Order, libc::EINVAL))?;
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        if root.and_then(|it| mount_id(it.as_fd())).map_err(at(Step::Root))? != order.root {
            // It did not follow the helper.
            return Err(Complaint::step(Step::Root, libc::ESTALE));
        }
        streams(outputs).map_err(at(Step::Streams))?;
        self.become_user(order)?;
        self.follow_helper()?;
        // SAFETY: takes numbers only; what is marked closes at execve.
        let marked = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        if marked != 0 {
            return Err(Complaint::step(Step::Descriptors, init::last_errno()));
        }
        Err(payload.execute())
    }

    /// Everything that is mounted besides the tree itself, below the working directory; the helper moves it into the tree.
    fn mounts(&self) -> Result<(), Complaint> {
        let Plan { traits, site, .. } = &self.plan;
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
        let Identity { uid, gid, ref groups, .. } = order.identity;
        let groups: Vec<Gid> = groups.iter().map(|it| Gid::from_raw(*it)).collect();
        let entered = rustix::process::chdir(&order.cwd);
        // The per-thread calls: libc's synchronise threads, which there are none of.
        match rustix::thread::set_thread_groups(&groups) {
            // With one user there is one group, and the user's others cannot be dropped.
            Err(Errno::PERM) if self.plan.site.rootless && groups.len() <= 1 => {}
            other => other.map_err(at(Step::Groups))?,
        }
        let gid = Gid::from_raw(gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(Step::Groups))?;
        rustix::thread::set_keep_capabilities(true).map_err(at(Step::User))?;
        let uid = Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(Step::User))?;
        rustix::thread::set_keep_capabilities(false).map_err(at(Step::User))?;
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
    fn follow_helper(&self) -> Result<(), Complaint> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(at(Step::Parent))?;
        // It may have died before: then nobody reads complaints any more.
        let mut reader = [PollFd::new(&self.plan.complaint, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut reader, Some(&now)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            Ok(_) => exit(125),
            Err(err) => Err(at(Step::Parent)(err)),
        }
    }
}

/// Standard input is the container's own null device: a descriptor of the host's would lead out.
fn streams(outputs: &[OwnedFd]) -> Result<(), Errno> {
    let [stdout, stderr] = outputs else { return Err(Errno::BADF) };
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
