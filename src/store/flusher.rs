//! The flusher: a detached process that syncs a store after short-lived ones have left it.
//!
//! One per store; it may be killed at any time, and goes by itself when the store's directory is gone.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::detached::Detached;
use super::error::Context as _;
use super::flush::{self, IDLE};
use super::lease::try_lock;
use super::{Result, Store, db};

const FLUSHER: Detached = Detached { verb: "internal-sync", name: c"bkl-sync" };

/// How often it looks whether the store is idle, or gone.
const TICK: Duration = Duration::from_millis(250);

impl Store {
    /// Starts a flusher for this store unless one is at work.
    ///
    /// The calling program must answer to it: see [`is_requested`].
    pub fn start_flusher(&self) -> Result<()> {
        let root = self.root();
        // It looks for new rows before it goes: what we committed is seen.
        if lock(root)?.is_none() {
            return Ok(());
        }
        FLUSHER.start(root, &[])
    }
}

/// Whether this process was started as a flusher. To be asked early in `main`.
pub fn is_requested() -> bool {
    FLUSHER.is_requested()
}

/// The whole life of a flusher.
pub fn main() -> ! {
    if let Some((root, _)) = FLUSHER.settle() {
        // Whatever failed: the rows stay unsynced, which is what they are.
        let _ = run(&root, IDLE);
    }
    std::process::exit(0)
}

/// Waits until the store at `root` was idle for `idle`, syncs it, and so on until nothing is left.
pub(super) fn run(root: &Path, idle: Duration) -> Result<()> {
    let Some(held) = lock(root)? else { return Ok(()) };
    loop {
        if wait_until_idle(root, &held, idle).is_err() {
            return Ok(());
        }
        // Opened for the moment only, and never created: a store that was removed must stay so.
        let path = root.join("lock");
        let shared = File::open(&path).at("open", &path)?;
        rustix::fs::flock(&shared, FlockOperation::LockShared).at("lock", &path)?;
        let root_fd: OwnedFd = File::open(root).at("open", root)?.into();
        let database = db::Database::open_existing(root)?;
        if !flush::sync(&database, &root_fd, root, &super::boot_id()?)? {
            return database.checkpoint();
        }
    }
}

/// The lock of the store's only flusher; `None` when another one has it.
fn lock(root: &Path) -> Result<Option<File>> {
    try_lock(&root.join("flusher.lock"), FlockOperation::NonBlockingLockExclusive)
}

/// An error when the store is gone, or another one is in its place.
fn wait_until_idle(root: &Path, held: &File, idle: Duration) -> io::Result<()> {
    let mut last = None;
    let mut quiet = Duration::ZERO;
    while quiet < idle {
        let named = fs::metadata(root.join("flusher.lock"))?;
        if named.ino() != held.metadata()?.ino() {
            return Err(io::ErrorKind::NotFound.into());
        }
        // Each commit is a write to the database's log.
        let now = last_write(&root.join(format!("{}-wal", db::FILE))).or(last_write(&root.join(db::FILE)));
        if now.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        quiet = if now == last { quiet + TICK } else { Duration::ZERO };
        last = now;
        std::thread::sleep(TICK);
    }
    Ok(())
}

fn last_write(path: &Path) -> Option<(i64, i64, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len()))
}
