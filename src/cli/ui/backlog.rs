//! What a display has written and nobody has read yet. Little of it is in memory, however slowly it is read, and of the disk it
//! leaves most of what is free to the build.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate};

/// How much may wait in memory.
pub(super) const MOST: usize = 256 * 1024;
/// How much of what is free on a disk may wait there: one part in as many.
const SHARE: u64 = 8;
/// How much may wait on the largest disk.
const MOST_ON_DISK: u64 = 256 << 20;
/// What is worth a call of the system by itself.
const MUCH: usize = 16 * 1024;

/// Bytes in the order in which they were written.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Where a file may be made.
    dir: PathBuf,
    /// Without a name: it ends with us.
    file: Option<File>,
    /// The part of the file that waits, ahead of what is in memory.
    begin: u64,
    end: u64,
    memory: Vec<u8>,
    /// All that was ever written.
    n_written: u64,
    is_flushed: bool,
}

impl Backlog {
    /// Nothing yet. What is too much for the memory will be in a file in `dir`.
    pub(super) fn new(dir: PathBuf) -> Backlog {
        Backlog { dir, file: None, begin: 0, end: 0, memory: Vec::new(), n_written: 0, is_flushed: false }
    }

    /// Bytes that were ever written, waiting or not.
    pub(super) fn n_written(&self) -> u64 {
        self.n_written
    }

    /// Whether somebody should write it out now, and not with whatever comes later.
    pub(super) fn is_due(&self) -> bool {
        self.is_flushed || MUCH <= self.memory.len() || self.begin < self.end
    }

    /// Makes the memory take more; whether it does. Not when too much waits on the disk.
    pub(super) fn make_room(&mut self) -> bool {
        self.memory.len() < MOST || self.move_to_file().is_ok()
    }

    fn move_to_file(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                none.insert(rustix::fs::open(&self.dir, flags, Mode::RUSR | Mode::WUSR)?.into())
            }
        };
        let disk = rustix::fs::fstatvfs(&*file)?;
        let (waiting, more) = (self.end - self.begin, self.memory.len() as u64);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if (free.saturating_add(waiting) / SHARE).min(MOST_ON_DISK) < waiting + more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(&self.memory, self.end)?;
        self.end += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    /// Moves the oldest bytes to the empty `chunk`; none when nothing waits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn take(&mut self, chunk: &mut Vec<u8>) -> io::Result<()> {
        match &self.file {
            Some(file) if self.begin < self.end => {
                let n_bytes = usize::try_from(self.end - self.begin).unwrap_or(MOST).min(MOST);
                chunk.resize(n_bytes, 0);
                file.read_exact_at(chunk, self.begin)?;
                self.begin += n_bytes as u64;
                if self.begin == self.end {
                    (self.begin, self.end) = (0, 0);
                    file.set_len(0)?;
                } else {
                    // Where that cannot be done what was read stays until all is.
                    let _ = fallocate(
                        file,
                        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                        0,
                        self.begin,
                    );
                }
            }
            _ => {
                std::mem::swap(&mut self.memory, chunk);
                self.is_flushed = false;
            }
        }
        Ok(())
    }

    /// Forgets everything: nobody will read it.
    pub(super) fn clear(&mut self) {
        *self = Backlog::new(std::mem::take(&mut self.dir));
    }
}

/// Writing never fails, and never waits.
impl Write for Backlog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.memory.extend_from_slice(bytes);
        self.n_written += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Says that somebody should read it now.
    fn flush(&mut self) -> io::Result<()> {
        self.is_flushed = !self.memory.is_empty();
        Ok(())
    }
}
