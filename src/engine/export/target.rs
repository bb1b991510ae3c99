//! Files and directories that appear under their names only when they are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::ExportError;
use super::error::Context;
use crate::engine::cancel::Cancel;

/// A file being written beside its final place. Dropped without [`NewFile::publish`], it is removed.
pub(super) struct NewFile {
    file: BufWriter<File>,
    temporary: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    /// Starts a file that will be `path`. Missing directories above are made. Something that is no regular file
    /// (a pipe, `/dev/null`) is written to directly; a directory is refused.
    pub(super) fn create(path: &Path) -> Result<NewFile, ExportError> {
        // A symbolic link is followed: the file it points to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let reason = "it is a directory, and a file is to be written";
                return Err(ExportError::InTheWay { path, reason });
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
                return Ok(NewFile { file: buffered(file), temporary: None, path });
            }
            _ => {}
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).at("create the directory", parent)?;
        }
        let temporary = temporary_path(&path);
        let file =
            OpenOptions::new().write(true).create_new(true).open(&temporary).at("create", &temporary)?;
        Ok(NewFile { file: buffered(file), temporary: Some(temporary), path })
    }

    /// Gives the file its name.
    pub(super) fn publish(mut self) -> Result<PathBuf, ExportError> {
        self.file.flush().at("write", &self.path)?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).at("rename a finished file to", &self.path)?;
        }
        self.temporary = None;
        Ok(self.path.clone())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// What is written to until the switch is turned on: from then on every write fails.
pub(super) struct Stoppable<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) cancel: &'a Cancel,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A directory being written beside its final place. Dropped without [`NewDir::publish`], it is removed; what a killed
/// process left is removed by the next that writes to the same place.
pub(super) struct NewDir {
    temporary: Option<PathBuf>,
    /// Held as long as it is written to: so others see that it is no leftover. `None` where there are no locks.
    _lock: Option<OwnedFd>,
}

impl NewDir {
    /// Starts a directory that will be `path`. Missing directories above are made.
    pub(super) fn create(path: &Path) -> Result<NewDir, ExportError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).at("create the directory", parent)?;
        }
        remove_leftovers(path);
        loop {
            let temporary = temporary_path(path);
            fs::create_dir(&temporary).at("create the directory", &temporary)?;
            match hold(&temporary) {
                // Another took it for a leftover before it was locked.
                Ok(Some(lock)) if !is_same(&lock, &temporary) => {}
                Err(Errno::WOULDBLOCK | Errno::NOENT) => {}
                Ok(lock) => return Ok(NewDir { temporary: Some(temporary), _lock: lock }),
                Err(error) => {
                    // The error is the thing to tell.
                    let _ = fs::remove_dir(&temporary);
                    return Err(error).at("open", &temporary);
                }
            }
        }
    }

    /// Where it is written.
    pub(super) fn path(&self) -> &Path {
        self.temporary.as_deref().expect("there is one until it is published")
    }

    /// Gives the directory its name; fails when a directory there has something in it.
    pub(super) fn publish(mut self, path: &Path) -> io::Result<()> {
        fs::rename(self.path(), path)?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The error that led here is the one to tell.
            let _ = fs::remove_dir_all(temporary);
        }
    }
}

/// Locks a directory; `None` where there are no locks.
fn hold(dir: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::empty())?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Err(Errno::WOULDBLOCK),
        Err(_) => Ok(None),
    }
}

fn is_same(open: &OwnedFd, path: &Path) -> bool {
    let there = rustix::fs::lstat(path);
    let ids = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    rustix::fs::fstat(open).is_ok_and(|open| there.is_ok_and(|there| ids(open) == ids(there)))
}

/// Removes what killed processes left beside `path`: directories of ours with such names that nobody holds. What cannot
/// be removed stays.
fn remove_leftovers(path: &Path) {
    let dir = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let start = temporary_start(path);
    let is_temporary = |name: &str| {
        let random = name.strip_prefix(&start);
        random.is_some_and(|it| it.len() == 16 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_temporary) {
            continue;
        }
        let us = rustix::process::geteuid().as_raw();
        let is_ours = entry.metadata().is_ok_and(|it| it.is_dir() && it.uid() == us);
        if is_ours && let Ok(Some(_lock)) = hold(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn buffered(file: File) -> BufWriter<File> {
    BufWriter::with_capacity(256 << 10, file)
}

/// A name beside `path` that nothing has yet: hidden, recognisable, random.
pub(super) fn temporary_path(path: &Path) -> PathBuf {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    path.with_file_name(format!("{}{random:016x}", temporary_start(path)))
}

fn temporary_start(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Names are at most 255 bytes long.
    let name: String = name.chars().take(60).collect();
    format!(".{name}.bkl-")
}
