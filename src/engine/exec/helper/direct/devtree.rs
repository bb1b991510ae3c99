//! What is mounted on /dev: a memory file system with the usual devices, and the mounts below it that belong to no
//! namespace. Made as detached mounts, which nobody but the container will ever see.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mkdirat, mknodat, openat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::engine::exec::spec::{NewNode, NodeKind};
use crate::engine::exec::tree::Owner;
use crate::store::in_user_namespace;

pub(super) const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// The mounts, outermost first.
pub(super) struct DevTree {
    pub(super) dev: OwnedFd,
    pub(super) pts: OwnedFd,
    pub(super) shm: OwnedFd,
}

impl DevTree {
    /// With the usual nodes. `has_kcore`: whether there is a link for it (runc makes one where the kernel has it).
    pub(super) fn make(has_kcore: bool) -> Result<DevTree, Errno> {
        let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID;
        let noexec = nosuid | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let dev = file_system(
            "tmpfs",
            &[("source", "tmpfs"), ("mode", "755"), ("size", "65536k")],
            &[],
            nosuid | MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        )?;
        for dir in ["pts", "shm", "mqueue"] {
            mkdirat(&dev, dir, Mode::from_raw_mode(0o755))?;
        }
        // What is made has the modes that are said.
        let mask = rustix::process::umask(Mode::empty());
        for &(name, major, minor) in DEVICES {
            let mode = Mode::from_raw_mode(0o666);
            if in_user_namespace() {
                // Nodes cannot be made there: the host's are mounted on these (`hostview`).
                openat(&dev, name, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, mode)?;
                continue;
            }
            mknodat(&dev, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
        }
        rustix::process::umask(mask);
        for (target, name) in LINKS {
            symlinkat(*target, &dev, *name)?;
        }
        if has_kcore {
            symlinkat("/proc/kcore", &dev, "core")?;
        }
        let options = [("source", "devpts"), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        let pts = match file_system("devpts", &options, &["newinstance"], noexec) {
            // A user namespace may have no such group.
            Err(Errno::INVAL) if in_user_namespace() => {
                file_system("devpts", &options[..3], &["newinstance"], noexec)?
            }
            other => other?,
        };
        let shm = file_system(
            "tmpfs",
            &[("source", "shm"), ("mode", "1777"), ("size", "65536k")],
            &[],
            noexec | MountAttrFlags::MOUNT_ATTR_NODEV,
        )?;
        Ok(DevTree { dev, pts, shm })
    }
}

/// Adds an empty file to mount something on.
pub(super) fn add_place(dev: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(dev, name, flags, Mode::from_raw_mode(0o444)).map(drop)
}

/// Adds a node, instead of one of the same name; it is `owner`'s, if nobody else's.
pub(super) fn add_node(dev: &OwnedFd, node: &NewNode, owner: Owner) -> Result<(), Errno> {
    for (at, _) in node.path.match_indices('/') {
        match mkdirat(dev, &node.path[..at], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err),
        }
    }
    let kind = match node.kind {
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Character => FileType::CharacterDevice,
    };
    let path = &*node.path;
    match unlinkat(dev, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(err) => return Err(err),
    }
    let mode = Mode::from_raw_mode(node.mode);
    mknodat(dev, path, kind, mode, makedev(node.major, node.minor))?;
    let (uid, gid) = (node.uid.unwrap_or(owner.uid), node.gid.unwrap_or(owner.gid));
    if (uid, gid) != (0, 0) {
        chownat(dev, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    // What the file mask took.
    chmodat(dev, path, mode, AtFlags::empty())
}

fn file_system(
    kind: &str,
    options: &[(&str, &str)],
    flags: &[&str],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(context.as_fd(), *name, *value)?;
    }
    for name in flags {
        fsconfig_set_flag(context.as_fd(), *name)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
