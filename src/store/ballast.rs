//! Room that is held back: on a disk that is full to the last block, removing things needs some, for a directory of its own
//! and for the database's log. A file takes it, which goes when it is needed, and comes back afterwards.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The file, in the store's root.
const FILE: &str = "ballast";
/// How much is held back, in bytes.
const SIZE: u64 = 512 << 10;
/// A disk with less than this free, in bytes, is full.
const LOW: u64 = 8 * SIZE;

/// The room that was held back, for use; dropped, it is held back again, if it is still there.
pub(super) struct GivenUp {
    root: PathBuf,
}

impl GivenUp {
    /// Gives up what is held back for the store at `root`.
    pub(super) fn new(root: &Path) -> GivenUp {
        // Where there is none, the disk is as full as before.
        let _ = fs::remove_file(root.join(FILE));
        GivenUp { root: root.to_owned() }
    }

    /// The same if the disk is full.
    pub(super) fn if_full(root: &Path) -> Option<GivenUp> {
        is_full(root).then(|| GivenUp::new(root))
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        hold(&self.root);
    }
}

/// Whether next to nothing is free on the disk of the store at `root`.
pub(super) fn is_full(root: &Path) -> bool {
    statvfs(root).is_ok_and(|it| it.f_bavail.saturating_mul(it.f_frsize) < LOW)
}

/// Sees to it that room is held back, where there is room at all.
pub(super) fn keep(root: &Path) {
    let held = fs::symlink_metadata(root.join(FILE)).map_or(0, |it| it.len());
    if held < SIZE && !is_full(root) {
        hold(root);
    }
}

/// Without, a store works as well until its disk is full: whatever fails here, nobody has to know.
fn hold(root: &Path) {
    let path = root.join(FILE);
    let Ok(file) = OpenOptions::new().create(true).truncate(false).write(true).open(&path) else { return };
    if fallocate(&file, FallocateFlags::empty(), 0, SIZE).is_err() {
        let _ = fs::remove_file(&path);
    }
}
