//! What of the host a container needs where root is root of a user namespace only.
//!
//! Such a root makes no device nodes, so the host's are mounted. The kernel lets it mount /proc only where one is seen whole
//! already, and /sys only with a network of its own: both stay visible in the helper, and /sys is the host's, read-only,
//! where there is no other.

use std::fs;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::child::put;
use super::devtree::DEVICES;
use crate::engine::exec::error::RunError;
use crate::engine::exec::helper::place::attach;
use crate::engine::exec::helper::setup::{errno, io};
use crate::engine::exec::sys;

/// In the helper's area, which is its root later on.
const NAME: &str = "host";

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Takes what is needed from the host into `area`.
pub(super) fn make(area: &Path) -> Result<(), RunError> {
    let place = area.join(NAME);
    let devices = place.join("dev");
    fs::create_dir_all(&devices).map_err(io("make", &devices))?;
    for (name, flags) in [("proc", OpenTreeFlags::AT_RECURSIVE), ("sys", OpenTreeFlags::AT_RECURSIVE)] {
        let (host, here) = (Path::new("/").join(name), place.join(name));
        fs::create_dir(&here).map_err(io("make", &here))?;
        let mount = open_tree(CWD, &host, CLONE | flags).map_err(errno("take", &host))?;
        attach(std::os::fd::AsFd::as_fd(&mount), &here).map_err(errno("mount on", &here))?;
    }
    for (name, ..) in DEVICES {
        let (host, here) = (Path::new("/dev").join(name), devices.join(name));
        let mount = match open_tree(CWD, &host, CLONE) {
            Ok(mount) => mount,
            Err(Errno::NOENT) => continue,
            Err(err) => return Err(errno("take", &host)(err)),
        };
        fs::write(&here, "").map_err(io("make", &here))?;
        attach(std::os::fd::AsFd::as_fd(&mount), &here).map_err(errno("mount on", &here))?;
    }
    Ok(())
}

/// In the container's first process, with the root as working directory: the device `name`, where the host has it.
pub(super) fn put_device(name: &str) -> Result<(), Errno> {
    let devices = rustix::fs::openat(
        CWD,
        "/host/dev",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let mount = match open_tree(&devices, name, CLONE) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let dev = rustix::fs::openat(
        CWD,
        "dev",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NOFOLLOW,
        rustix::fs::Mode::empty(),
    )?;
    let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&mount, "", &dev, name, flags)
}

/// As [`put_device`]: the host's /sys, read-only with all below it.
pub(super) fn put_sys() -> Result<(), Errno> {
    let mount = open_tree(CWD, "/host/sys", CLONE | OpenTreeFlags::AT_RECURSIVE)?;
    sys::make_readonly(&mount, true).map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
    put(&mount, "sys")
}
