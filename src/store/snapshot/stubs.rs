//! Below the tree of a command lie empty files to mount on.
//!
//! Every command gets `/etc/hosts` and `/etc/resolv.conf`, and most trees have neither. What is made in a tree for a mount must
//! be gone afterwards, with the times of the directory as they were; in a directory of a lower layer it also makes overlayfs
//! copy that one up. Nothing is made in a tree that finds the files in a directory below all its layers.
//!
//! Only a tree with a directory `/etc` of its own does: one that came from there would be there for the command, too. A tree
//! that hides the files has them made, as every other mount point.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::super::error::Context as _;
use crate::store::{Result, tree};

/// The directory that holds them.
const DIR: &str = "etc";
/// Their names.
const FILES: [&str; 2] = ["hosts", "resolv.conf"];

/// Makes the mount points in `root`, which may be there in part.
pub(in crate::store) fn make(root: &Path) -> Result<()> {
    let dir = root.join(DIR);
    fs::create_dir_all(&dir).at("create", &dir)?;
    // Modes are set: the user's mask is not the image's business.
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("set the mode of", path)
    };
    chmod(&dir, 0o755)?;
    for name in FILES {
        let path = dir.join(name);
        File::create(&path).at("create", &path)?;
        chmod(&path, 0o644)?;
    }
    Ok(())
}

/// Whether the tree of these layers, top first, has the directory itself. What cannot be looked at is not there.
pub(super) fn have_dir(lowers: &[PathBuf]) -> bool {
    let mut found = lowers.iter().filter_map(|lower| {
        let path = lower.join(DIR);
        tree::stat(CWD, path.as_os_str().as_encoded_bytes()).ok().flatten()
    });
    found.next().is_some_and(|topmost| topmost.is_dir())
}
