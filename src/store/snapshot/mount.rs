//! Detached mounts: an overlay that no mount table lists, held by a file descriptor and gone with it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::super::error::Context as _;
use crate::store::{Result, StoreError, in_user_namespace};

/// Everything a process needs to mount a tree by itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MountPlan {
    /// Lower directories, top first. Empty: the upper directory alone, as a bind mount.
    pub lowers: Vec<PathBuf>,
    /// Where changes go; `None`: read-only.
    pub upper: Option<Upper>,
}

/// The writable half of a [`MountPlan`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Upper {
    /// Collects the changes.
    pub dir: PathBuf,
    /// Overlayfs's scratch directory, used by one mount only.
    pub work: PathBuf,
}

impl MountPlan {
    /// Makes the detached mount.
    pub fn mount(&self) -> Result<OwnedFd> {
        match (self.lowers.as_slice(), &self.upper) {
            ([], Some(upper)) => bind(&upper.dir),
            ([only], None) => {
                let mount = bind(only)?;
                set_read_only(&mount).at("mount read-only", only)?;
                Ok(mount)
            }
            (lowers, upper) => overlay(lowers, upper.as_ref()),
        }
    }
}

fn bind(dir: &PathBuf) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, dir, flags).at("bind", dir)
}

fn overlay(lowers: &[PathBuf], upper: Option<&Upper>) -> Result<OwnedFd> {
    let top = upper.map(|it| &it.dir).or(lowers.first()).cloned().unwrap_or_default();
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| match error {
        Errno::NODEV => StoreError::Unsupported {
            attempt: "mount an overlay",
            path: top.clone(),
            why: "the kernel has no overlayfs; load the module",
        },
        Errno::PERM => StoreError::Unsupported {
            attempt: "mount an overlay",
            path: top.clone(),
            why: "mounting needs CAP_SYS_ADMIN (in a user namespace, Linux 5.11)",
        },
        error => StoreError::io("open overlayfs for", &top, error),
    })?;
    for lower in lowers {
        // One call per layer: mount(2) takes all options in one page, which 30 layers fill.
        fsconfig_set_string(&fs, "lowerdir+", lower).at("mount the layer", lower)?;
    }
    if let Some(upper) = upper {
        fsconfig_set_string(&fs, "upperdir", &upper.dir).at("mount the directory", &upper.dir)?;
        fsconfig_set_string(&fs, "workdir", &upper.work).at("mount with work directory", &upper.work)?;
        // Closing the mount must not sync the disk: the durability watermark does that.
        fsconfig_set_flag(&fs, "volatile").at("mount volatile", &upper.dir)?;
        // What these would save is not worth metadata that only overlayfs can read: a layer must be a plain tree.
        // In a user namespace the first two are off by themselves, and must not be named.
        let options = ["index", "redirect_dir", "metacopy"];
        for option in &options[..if in_user_namespace() { 1 } else { 3 }] {
            fsconfig_set_string(&fs, *option, "off").at("set mount options of", &upper.dir)?;
        }
    }
    if in_user_namespace() {
        fsconfig_set_flag(&fs, "userxattr").at("set mount options of", &top)?;
    }
    fsconfig_set_string(&fs, "xino", "off").at("set mount options of", &top)?;
    fsconfig_create(&fs).map_err(|error| match (error, upper) {
        (Errno::INVAL, Some(upper)) => StoreError::Unsupported {
            attempt: "mount an overlay",
            path: upper.dir.clone(),
            why: "its file system cannot be overlayfs's upper layer (is it an overlay itself?); put the store on ext4, xfs, btrfs or tmpfs",
        },
        (error, _) => StoreError::io("mount an overlay of", &top, error),
    })?;
    let attributes =
        if upper.is_some() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at("mount an overlay of", &top)
}

fn set_read_only(mount: &OwnedFd) -> std::io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a C string, the struct and its size belong together, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
