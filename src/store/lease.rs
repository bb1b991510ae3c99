//! Leases: one holder per key among all processes, by a flock on a file named by the key. The kernel frees a dead
//! holder's.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::Context as _;
use super::{Result, Store, StoreError};
use crate::base::Digest;

/// Exclusive hold on a key, in all processes, until dropped.
pub struct Lease {
    /// Held, never read.
    _file: File,
    path: PathBuf,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Unlinked while still held: whoever waits on this file finds out that it lost its name, and starts over.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// Waits until this is the only holder of `key`, in all processes. Freed when dropped, and by the kernel at death.
    ///
    /// `cancelled` is asked every 10 ms while waiting; `true` gives `Err(Cancelled)`.
    pub fn lease(&self, key: &Digest, cancelled: &dyn Fn() -> bool) -> Result<Lease> {
        wait(cancelled, || self.try_lease(key))
    }

    /// The lease if nobody holds it.
    pub fn try_lease(&self, key: &Digest) -> Result<Option<Lease>> {
        let path = self.inner.root.join("leases").join(key.hex());
        loop {
            let Some(file) = try_lock(&path, FlockOperation::NonBlockingLockExclusive)? else {
                return Ok(None);
            };
            let held = file.metadata().at("look at", &path)?;
            match fs::metadata(&path) {
                Ok(named) if named.ino() == held.ino() => return Ok(Some(Lease { _file: file, path })),
                // The former holder unlinked it between our open and our lock.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("look at", path, error)),
            }
        }
    }
}

/// Tries until there is an answer, or `cancelled` says so.
pub(super) fn wait<T>(
    cancelled: &dyn Fn() -> bool,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    loop {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if cancelled() {
            return Err(StoreError::Cancelled);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Opens (creating) and locks a file; `None` when others hold it.
pub(super) fn try_lock(path: &Path, operation: FlockOperation) -> Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).at("open", path)?;
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(StoreError::io("lock", path, error)),
    }
}
