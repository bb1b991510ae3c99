//! Where a helper works: a mount namespace of its own, with a memory file system in it.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::setup::{ROOTFS, errno, io};
use crate::engine::exec::cgroup::{Hierarchy, Kind};
use crate::engine::exec::error::RunError;
use crate::engine::exec::sys;
use crate::engine::exec::wire::{Net, Request};

/// Takes a mount and all below it by descriptor, to be attached elsewhere.
pub(super) const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_EMPTY_PATH)
    .union(OpenTreeFlags::AT_RECURSIVE);

/// A mount namespace from which nothing reaches the host's, as the one that this process is in from here on, at its very top:
/// in a chroot the root is another directory, but not for who enters the namespace again.
pub(super) fn enter_own() -> Result<OwnedFd, RunError> {
    unshare(UnshareFlags::NEWNS)?;
    let own = "/proc/self/ns/mnt";
    let own: OwnedFd = fs::File::open(own).map_err(io("open", own))?.into();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(errno("enter", "the mount namespace"))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(errno("make private", "/"))?;
    Ok(own)
}

fn unshare(flags: UnshareFlags) -> Result<(), RunError> {
    // SAFETY: no descriptor table is unshared, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|err| no_namespaces(&err.into()))
}

/// That this machine makes none.
pub(super) fn no_namespaces(err: &std::io::Error) -> RunError {
    RunError::Environment {
        what: format!("namespaces cannot be made: {err}"),
        help: "run it as root, outside a container or in a privileged one".into(),
    }
}

/// Unmounts what is mounted on `path`, which is ours, with all below it.
pub(super) fn detach(path: &Path) {
    let _ = unmount(path, UnmountFlags::DETACH);
}

/// A mount namespace from which nothing reaches the host's, and another network if asked for; `given` is one.
pub(super) fn enter_namespaces(network: Net, given: Option<&OwnedFd>) -> Result<(), RunError> {
    let mut flags = UnshareFlags::NEWNS;
    match (network, given) {
        (Net::Empty, _) => flags |= UnshareFlags::NEWNET,
        (Net::Given, Some(given)) => {
            move_into_link_name_space(given.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(errno("enter", "the network"))?;
        }
        (Net::Given, None) => return Err(RunError::Bug { what: "a network was promised".into() }),
        (Net::Host, _) => {}
    }
    unshare(flags)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(errno("make private", "/"))?;
    if network == Net::Empty {
        sys::loopback_up().map_err(io("turn on", "lo"))?;
    }
    Ok(())
}

/// Leaves only those hierarchies of version 1 mounted, in this mount namespace, that limit something here.
///
/// libcontainer works on each one that it sees, most of a millisecond and for nothing. All are unmounted at once and the
/// used ones put back, because each unmounting by itself waits for all processors.
pub(super) fn narrow_hierarchies(all: Vec<Hierarchy>, request: &Request) -> Result<Vec<Hierarchy>, RunError> {
    let limits = &request.limits;
    let is_used = |option: &String| match option.as_str() {
        // Always: which devices may be opened, whether memory ran out, how many processes there may be.
        "devices" | "memory" | "pids" => true,
        "cpu" => limits.cpu_shares.is_some() || limits.cpu_quota.is_some() || limits.cpu_period.is_some(),
        "cpuset" => limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some(),
        _ => false,
    };
    let is_legacy = |it: &Hierarchy| matches!(it.kind, Kind::Legacy(_));
    let Some(top) = all.iter().find(|it| is_legacy(it)).and_then(|it| it.path.parent()).map(Path::to_owned)
    else {
        return Ok(all);
    };
    if all.iter().any(|it| it.path.parent() != Some(&top)) {
        // No layout that we know.
        return Ok(all);
    }
    let mut used = Vec::new();
    for it in &all {
        if let Kind::Legacy(options) = &it.kind
            && options.iter().any(is_used)
        {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let mount = open_tree(rustix::fs::CWD, &it.path, flags).map_err(errno("take", &it.path))?;
            used.push((it.clone(), mount));
        }
    }
    if unmount(&top, UnmountFlags::DETACH).is_err() {
        // The hierarchies are mounted on a plain directory: more work for libcontainer, no more.
        return Ok(all);
    }
    let place = tmpfs(None, 0o755).map_err(io("make memory for", &top))?;
    attach(place.as_fd(), &top).map_err(errno("mount on", &top))?;
    for (hierarchy, mount) in &used {
        fs::create_dir(&hierarchy.path).map_err(io("make", &hierarchy.path))?;
        attach(mount.as_fd(), &hierarchy.path).map_err(errno("mount on", &hierarchy.path))?;
    }
    Ok(used.into_iter().map(|it| it.0).collect())
}

/// A memory file system over some directory of the host, seen only in this mount namespace.
pub(super) fn area() -> Result<PathBuf, RunError> {
    let place = ["/run", "/tmp", "/mnt", "/var"].into_iter().map(Path::new).find(|it| it.is_dir());
    let place = place.ok_or_else(|| RunError::Environment {
        what: "the host has neither /run nor /tmp".into(),
        help: "make one of them".into(),
    })?;
    let mount = tmpfs(None, 0o700).map_err(io("make memory for", place))?;
    attach(mount.as_fd(), place).map_err(errno("mount on", place))?;
    let rootfs = place.join(ROOTFS);
    fs::create_dir(&rootfs).map_err(io("make", &rootfs))?;
    Ok(place.to_owned())
}

/// Memory, as a mount to be attached.
pub(in crate::engine::exec) fn tmpfs(size: Option<u64>, mode: u32) -> std::io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", "tmpfs")?;
    fsconfig_set_string(context.as_fd(), "mode", format!("{mode:o}"))?;
    if let Some(size) = size.filter(|it| *it > 0) {
        fsconfig_set_string(context.as_fd(), "size", size.to_string())?;
    }
    fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// Attaches a detached mount at `path`, which is ours.
pub(in crate::engine::exec) fn attach(mount: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    move_mount(mount, "", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
