//! What files are copied from: a tree of the store, or a directory of the machine as it was looked at.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec};
use rustix::io::Errno;

use super::error::FileError;
use super::root::{Last, Owner, Place, Root, join, list, resolve};
use crate::engine::content_hash::{FileKind, xattrs, xattrs_of};

/// Extended attributes, sorted by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes of a file, a link's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) kind: FileKind,
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    pub(crate) size: u64,
    pub(crate) rdev: u64,
    /// Of a file with several names: what tells it apart.
    pub(crate) inode: Option<(u64, u64)>,
    pub(crate) accessed: Timespec,
    pub(crate) modified: Timespec,
    /// For those who gave it.
    pub(crate) index: usize,
}

/// A tree that files are copied from.
pub(crate) trait Files: Sync {
    /// Target of the link at `place`; `None` when there is no link.
    fn read_link(&self, place: &[u8]) -> Result<Option<Vec<u8>>, FileError>;

    /// What is at `place`, links not followed; `None` when there is nothing.
    fn look(&self, place: &[u8]) -> Result<Option<Facts>, FileError>;

    /// Extended attributes of what is at `place`.
    fn xattrs(&self, place: &[u8], facts: &Facts) -> Result<Xattrs, FileError>;

    /// The directory at `place`.
    fn directory(&self, place: &[u8]) -> Result<Box<dyn Directory + '_>, FileError>;

    /// Where `path` leads.
    fn resolve(&self, path: &[u8], last: Last) -> Result<Place, FileError> {
        resolve(path, last, &|place| self.read_link(place))
    }
}

/// A directory of a [`Files`].
pub(crate) trait Directory: Sync {
    /// What it holds, sorted by the bytes of the names.
    fn entries(&self) -> Result<Vec<(OsString, Facts)>, FileError>;

    /// Opens a regular file in it for reading.
    fn open(&self, name: &OsStr, facts: &Facts) -> Result<OwnedFd, FileError>;

    /// Makes sure that an open file, which was read, is what `facts` say.
    fn still(&self, name: &OsStr, facts: &Facts, fd: &OwnedFd) -> Result<(), FileError>;

    /// Extended attributes of a regular file in it; `fd` is the file if it is open.
    fn xattrs(&self, name: &OsStr, facts: &Facts, fd: Option<&OwnedFd>) -> Result<Xattrs, FileError>;
}

impl Facts {
    /// What `stat` says.
    pub(crate) fn of(stat: &Stat) -> Facts {
        let kind = FileKind::of_mode(stat.st_mode);
        let is_linked = 1 < stat.st_nlink && kind != FileKind::Directory;
        Facts {
            kind,
            mode: stat.st_mode & 0o7777,
            owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
            size: stat.st_size as u64,
            rdev: stat.st_rdev,
            inode: is_linked.then_some((stat.st_dev, stat.st_ino)),
            accessed: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
            modified: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
            index: 0,
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }
}

/// A mounted tree never changes while it is read.
impl Files for Root {
    fn read_link(&self, place: &[u8]) -> Result<Option<Vec<u8>>, FileError> {
        Root::read_link(self, place)
    }

    fn look(&self, place: &[u8]) -> Result<Option<Facts>, FileError> {
        Ok(self.stat(place)?.map(|stat| Facts::of(&stat)))
    }

    fn xattrs(&self, place: &[u8], _: &Facts) -> Result<Xattrs, FileError> {
        let (parent, name) = self.parent_of(place)?;
        xattrs(&parent, name).map_err(failed("read the attributes of", place))
    }

    fn directory(&self, place: &[u8]) -> Result<Box<dyn Directory + '_>, FileError> {
        Ok(Box::new(Listed { fd: self.open_dir(place)?, place: place.to_vec() }))
    }
}

/// A directory of a mounted tree.
struct Listed {
    fd: OwnedFd,
    place: Place,
}

impl Listed {
    fn at(&self, attempt: &'static str, name: &OsStr) -> impl Fn(Errno) -> FileError {
        let place = join(&self.place, name.as_bytes());
        move |errno| FileError::io(attempt, &place, errno.into())
    }
}

impl Directory for Listed {
    fn entries(&self) -> Result<Vec<(OsString, Facts)>, FileError> {
        let names = list(&self.fd).map_err(failed("list", &self.place))?;
        let look = |(name, _): (OsString, bool)| {
            let stat = rustix::fs::statat(&self.fd, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(self.at("look at", &name))?;
            Ok((name, Facts::of(&stat)))
        };
        names.into_iter().map(look).collect()
    }

    fn open(&self, name: &OsStr, _: &Facts) -> Result<OwnedFd, FileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(self.at("open", name))
    }

    fn still(&self, _: &OsStr, _: &Facts, _: &OwnedFd) -> Result<(), FileError> {
        Ok(())
    }

    fn xattrs(&self, name: &OsStr, _: &Facts, fd: Option<&OwnedFd>) -> Result<Xattrs, FileError> {
        let found = match fd {
            Some(fd) => xattrs_of(fd.as_fd()),
            None => xattrs(&self.fd, name),
        };
        found.map_err(self.at("read the attributes of", name))
    }
}

fn failed(attempt: &'static str, place: &[u8]) -> impl Fn(Errno) -> FileError {
    move |errno| FileError::io(attempt, place, errno.into())
}
