//! Room that is held back: on a disk that is full to the last block, or has no inode left, removing things needs some, for a
//! directory of its own and for the database's log. Files take it, which go when it is needed, and come back afterwards.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};

use super::{db, layout};

/// The file that takes bytes, in the store's root. Empty ones beside it (`ballast-1`, …) take inodes.
const FILE: &str = "ballast";
/// How much is held back, in bytes.
const SIZE: u64 = 512 << 10;
/// How many inodes are.
const N_INODES: u64 = 8;
/// A disk with less than this free, in bytes or in inodes, is full.
const LOW: u64 = 8 * SIZE;
const LOW_INODES: u64 = 4 * N_INODES;

/// The room that was held back, for use; dropped, it is held back again, if it is still there.
pub(super) struct GivenUp {
    root: PathBuf,
}

impl GivenUp {
    /// Gives up what is held back for the store at `root`; where nothing is, what is missed least.
    pub(super) fn new(root: &Path) -> GivenUp {
        let was_held = fs::remove_file(root.join(FILE)).is_ok();
        let n_removed = inode_files(root).filter(|it| fs::remove_file(it).is_ok()).count();
        if !was_held || n_removed == 0 {
            give_up_outputs(root);
            // The database's log goes to its place; that takes no room where the place is there already.
            let _ = db::Database::open_existing(root).and_then(|it| it.checkpoint());
        }
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
    statvfs(root).is_ok_and(|it| {
        // Some file systems do not count inodes.
        it.f_bavail.saturating_mul(it.f_frsize) < LOW || it.f_files != 0 && it.f_favail < LOW_INODES
    })
}

/// Sees to it that room is held back, where there is room at all.
pub(super) fn keep(root: &Path) {
    let held = fs::symlink_metadata(root.join(FILE)).map_or(0, |it| it.len());
    let is_held = SIZE <= held && inode_files(root).last().is_some_and(|it| it.exists());
    if !is_held && !is_full(root) {
        hold(root);
    }
}

/// Without, a store works as well until its disk is full: whatever fails here, nobody has to know.
fn hold(root: &Path) {
    let path = root.join(FILE);
    let open = |path: &Path| OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let Ok(file) = open(&path) else { return };
    if fallocate(&file, FallocateFlags::empty(), 0, SIZE).is_err() {
        let _ = fs::remove_file(&path);
        return;
    }
    for path in inode_files(root) {
        if open(&path).is_err() {
            return;
        }
    }
}

/// The files that take an inode and nothing else, in the order in which they are made.
fn inode_files(root: &Path) -> impl Iterator<Item = PathBuf> {
    (1..N_INODES).map(|n| root.join(format!("{FILE}-{n}")))
}

/// Removes outputs of steps, the oldest first, until as much is free as would have been held back. They have no rows: nothing
/// needs to be written for it.
fn give_up_outputs(root: &Path) {
    let entries = fs::read_dir(root.join("logs")).into_iter().flatten().flatten();
    let mut outputs: Vec<(SystemTime, PathBuf, u64)> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(layout::is_digest))
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((meta.modified().ok()?, entry.path(), meta.blocks() * 512))
        })
        .collect();
    outputs.sort();
    let has_inodes = || statvfs(root).is_ok_and(|it| it.f_files == 0 || N_INODES <= it.f_favail);
    let mut bytes = 0;
    for (_, path, size) in outputs {
        if SIZE <= bytes && has_inodes() {
            return;
        }
        // Who writes one holds its lock.
        let is_unused =
            File::open(&path).is_ok_and(|it| flock(&it, FlockOperation::NonBlockingLockExclusive).is_ok());
        if is_unused && fs::remove_file(&path).is_ok() {
            bytes += size;
        }
    }
}
