//! Below the tree of a command lie empty files to mount on.
//!
//! Every command gets `/etc/hosts` and `/etc/resolv.conf`, most trees have neither, and what is made in a tree for a mount
//! must be gone afterwards, with the times of the directories as they were. Nothing is made in a tree that finds them in a
//! directory below all its layers; a tree that hides them has them made, as every other mount point.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, unlinkat, utimensat};
use rustix::io::Errno;

use super::super::error::Context as _;
use super::Staged;
use crate::store::{Result, Snapshot, tree};

/// The directory that holds them.
const DIR: &str = "etc";
/// Their names.
const FILES: [&str; 2] = ["hosts", "resolv.conf"];

/// Makes the mount points in `root`, which may be there in part.
pub(in crate::store) fn make(root: &Path) -> Result<()> {
    let dir = root.join(DIR);
    // Modes are set: the user's mask is not the image's business.
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("set the mode of", path)
    };
    fs::create_dir_all(&dir).at("create", &dir)?;
    chmod(&dir, 0o755)?;
    for name in FILES {
        let path = dir.join(name);
        File::create(&path).at("create", &path)?;
        chmod(&path, 0o644)?;
    }
    // The same for all commands: one that looks sees no time of ours.
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let never = Timestamps { last_access: never, last_modification: never };
    utimensat(CWD, &dir, &never, AtFlags::empty()).at("set the times of", &dir)
}

impl Staged {
    /// Takes out of the layer what is left of the mount points: a command that changed the attributes of their directory, or
    /// filled it and emptied it again, has a copy of it, one that unmounts and removes them has whiteouts. `parents` is the
    /// tree below.
    pub(super) fn drop_stubs(&self, parents: &Snapshot) -> Result<()> {
        let upper = self.fs();
        let look = |name: &str| tree::stat(upper, name.as_bytes()).at("look at the layer", self.dir());
        if look(DIR)?.is_none_or(|it| !it.is_dir()) {
            return Ok(());
        }
        let base = self.store().read(parents)?;
        let below = |path: &str| tree::stat(&base, path.as_bytes()).at("look at the tree below", self.dir());
        let dir_below = below(DIR)?;
        let before = tree::stat_fd(upper).at("look at", self.dir())?;
        for name in FILES {
            let path = format!("{DIR}/{name}");
            let is_needed = dir_below.as_ref().is_some_and(tree::Meta::is_dir) && below(&path)?.is_some();
            if look(&path)?.is_some_and(|it| it.is_whiteout()) && !is_needed {
                unlinkat(upper, &path, AtFlags::empty()).at("remove a mount point from", self.dir())?;
            }
        }
        if dir_below.is_some() {
            return Ok(());
        }
        match unlinkat(upper, DIR, AtFlags::REMOVEDIR) {
            // The command's own files are in it.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            removed => {
                removed.at("remove a mount point from", self.dir())?;
                tree::set_mtime(upper, b".", before.mtime).at("set the time of", self.dir())
            }
        }
    }
}
