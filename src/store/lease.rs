//! Leases: one holder per key among all processes, by a lock on a byte of one file, its position told by the key. The
//! kernel frees a dead holder's. No file is made or removed for a lease.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::Context as _;
use super::{Result, Store, StoreError};
use crate::base::Digest;

/// Exclusive hold on a key, in all processes, until dropped.
pub struct Lease {
    /// The lock belongs to this open file, so that leases of one process exclude each other, too.
    _file: File,
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
        try_lease(&self.inner.root, key)
    }
}

/// [`Store::try_lease`] in the store at `root`.
pub(super) fn try_lease(root: &Path, key: &Digest) -> Result<Option<Lease>> {
    let path = root.join("leases.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    match lock_byte(&file, position(key)) {
        Ok(true) => Ok(Some(Lease { _file: file })),
        Ok(false) => Ok(None),
        Err(error) => Err(StoreError::io("lock", path, error)),
    }
}

/// The byte that stands for a key, of 2^62: if two keys ever meet, one waits for the other.
fn position(key: &Digest) -> i64 {
    let (first, _) = key.as_bytes().split_first_chunk::<8>().expect("a digest has 32 bytes");
    (u64::from_le_bytes(*first) >> 2).cast_signed()
}

/// Locks one byte for this open file description (fcntl(2), F_OFD_SETLK); `false` when another one holds it.
fn lock_byte(file: &File, position: i64) -> io::Result<bool> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = position;
    lock.l_len = 1;
    // SAFETY: the struct outlives the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
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
