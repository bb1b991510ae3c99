//! A tree behind a directory descriptor, and what file actions do in it.
//!
//! Paths are first resolved by hand, inside the tree: links are followed as if the tree were `/`, missing components
//! stay as they are. The outcome is a *place*: an absolute path of plain components, `""` for the top. Everything
//! else works on places, and has the kernel refuse any link on the way.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::FileError;

/// A tree; the descriptor is that of its top directory.
pub(crate) struct Root {
    fd: OwnedFd,
}

/// Absolute path of plain components in a tree; `""` is the top.
pub(crate) type Place = Vec<u8>;

/// Owner and group of what is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whether a link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    Keep,
}

/// How many links a path may go through.
const MAX_LINKS: usize = 255;

impl Root {
    pub(crate) fn new(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// Where `path` leads.
    pub(crate) fn resolve(&self, path: &[u8], last: Last) -> Result<Place, FileError> {
        resolve(path, last, &|place| self.read_link(place))
    }

    /// Target of the link at `place`; `None` when there is no link.
    pub(crate) fn read_link(&self, place: &[u8]) -> Result<Option<Vec<u8>>, FileError> {
        let Some((parent, name)) = self.parent(place)? else { return Ok(None) };
        match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(FileError::io("read the link", place, errno.into())),
        }
    }

    /// What is at `place`, links not followed; `None` when there is nothing.
    pub(crate) fn stat(&self, place: &[u8]) -> Result<Option<Stat>, FileError> {
        if place.is_empty() {
            return rustix::fs::fstat(&self.fd)
                .map(Some)
                .map_err(|errno| FileError::io("look at", place, errno.into()));
        }
        let Some((parent, name)) = self.parent(place)? else { return Ok(None) };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(FileError::io("look at", place, errno.into())),
        }
    }

    pub(crate) fn is_dir(&self, place: &[u8]) -> Result<bool, FileError> {
        Ok(self.stat(place)?.is_some_and(|stat| kind(&stat) == FileType::Directory))
    }

    /// The directory at `place`.
    pub(crate) fn open_dir(&self, place: &[u8]) -> Result<OwnedFd, FileError> {
        self.open(place, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| FileError::io("open the directory", place, errno.into()))
    }

    /// Opens what is at `place`.
    pub(crate) fn open(&self, place: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let path = place.strip_prefix(b"/").unwrap_or(b".");
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve)
    }

    /// The directory that holds `place` and the name in it; `None` when there is no such directory. The top is `.` in
    /// itself.
    fn parent<'a>(&self, place: &'a [u8]) -> Result<Option<(OwnedFd, &'a OsStr)>, FileError> {
        let (directory, name) = split(place);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(directory, flags, Mode::empty()) {
            Ok(fd) => Ok(Some((fd, OsStr::from_bytes(name)))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(FileError::io("open the directory", directory, errno.into())),
        }
    }

    /// As `parent`, where it has to exist.
    pub(crate) fn parent_of<'a>(&self, place: &'a [u8]) -> Result<(OwnedFd, &'a OsStr), FileError> {
        self.parent(place)?.ok_or_else(|| FileError::io("open the parent of", place, Errno::NOENT.into()))
    }

    /// Makes the directory `place` and what is missing above it. `mode` has no umask taken off; existing directories
    /// stay as they are. Gives what was made, topmost first.
    pub(crate) fn make_dirs(
        &self,
        place: &[u8],
        mode: u32,
        owner: Option<Owner>,
        time: Option<Timespec>,
    ) -> Result<Vec<Place>, FileError> {
        let mut made = Vec::new();
        let ends = (1..=place.len()).filter(|&end| end == place.len() || place[end] == b'/');
        for end in ends {
            let part = &place[..end];
            match self.stat(part)? {
                Some(stat) if kind(&stat) == FileType::Directory => {}
                Some(_) => return Err(FileError::io("make the directory", part, Errno::NOTDIR.into())),
                None => {
                    self.make_dir(part, mode)?;
                    if let Some(owner) = owner {
                        self.chown(part, owner)?;
                    }
                    made.push(part.to_vec());
                }
            }
        }
        // Children change the times of their parents.
        if let Some(time) = time {
            for part in made.iter().rev() {
                self.set_times(part, time, time)?;
            }
        }
        Ok(made)
    }

    /// Makes one directory with exactly this mode.
    pub(crate) fn make_dir(&self, place: &[u8], mode: u32) -> Result<(), FileError> {
        let (parent, name) = self.parent_of(place)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode & 0o7777))
            .map_err(|errno| FileError::io("make the directory", place, errno.into()))?;
        // The umask took bits off.
        self.chmod(place, mode)
    }

    /// Removes what is at `place`, directories with all they hold; nothing there is no error.
    pub(crate) fn remove_all(&self, place: &[u8]) -> Result<(), FileError> {
        let failed = |errno: Errno| FileError::io("remove", place, errno.into());
        let (parent, name) = match self.parent(place)? {
            Some(it) => it,
            None => return Ok(()),
        };
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(failed(errno)),
        }
        // Breadth first down, then back up: no recursion, and no descriptor is held on the way.
        let mut directories = vec![place.to_vec()];
        let mut idx = 0;
        while let Some(directory) = directories.get(idx).cloned() {
            idx += 1;
            let fd = self.open_dir(&directory)?;
            for (name, is_dir) in
                list(&fd).map_err(|errno| FileError::io("list", &directory, errno.into()))?
            {
                if is_dir {
                    directories.push(join(&directory, name.as_bytes()));
                } else {
                    rustix::fs::unlinkat(&fd, &name, AtFlags::empty()).map_err(failed)?;
                }
            }
        }
        for directory in directories.iter().rev() {
            let (parent, name) = self.parent_of(directory)?;
            rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn chown(&self, place: &[u8], owner: Owner) -> Result<(), FileError> {
        let (parent, name) = self.parent_of(place)?;
        chown_at(parent.as_fd(), name, owner)
            .map_err(|errno| FileError::io("set the owner of", place, errno.into()))
    }

    /// Sets the mode of anything but a link.
    pub(crate) fn chmod(&self, place: &[u8], mode: u32) -> Result<(), FileError> {
        let (parent, name) = self.parent_of(place)?;
        chmod_at(parent.as_fd(), name, mode)
            .map_err(|errno| FileError::io("set the mode of", place, errno.into()))
    }

    pub(crate) fn set_times(
        &self,
        place: &[u8],
        access: Timespec,
        change: Timespec,
    ) -> Result<(), FileError> {
        let (parent, name) = self.parent_of(place)?;
        set_times_at(parent.as_fd(), name, access, change)
            .map_err(|errno| FileError::io("set the times of", place, errno.into()))
    }
}

/// Gives the target of the link at a place, if there is one.
type ReadLink<'a> = &'a dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, FileError>;

/// Where `path` leads in a tree whose links `read_link` reads.
pub(super) fn resolve(path: &[u8], last: Last, read_link: ReadLink<'_>) -> Result<Place, FileError> {
    let mut todo: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut place = Place::new();
    let mut n_links = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            let parent = place.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            place.truncate(parent);
            continue;
        }
        let below = join(&place, &name);
        let target = if todo.is_empty() && last == Last::Keep { None } else { read_link(&below)? };
        match target {
            None => place = below,
            Some(target) => {
                n_links += 1;
                if MAX_LINKS < n_links {
                    return Err(FileError::io("resolve", path, Errno::LOOP.into()));
                }
                if target.starts_with(b"/") {
                    place.clear();
                }
                todo.extend(components(&target).rev().map(<[u8]>::to_vec));
            }
        }
    }
    Ok(place)
}

pub(super) fn chown_at(dir: BorrowedFd<'_>, name: &OsStr, owner: Owner) -> rustix::io::Result<()> {
    // The kernel takes the last number for "leave it as it is".
    if owner.uid == u32::MAX || owner.gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// The name must not be that of a link: the kernel would follow it.
pub(super) fn chmod_at(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
}

pub(super) fn set_times_at(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    access: Timespec,
    change: Timespec,
) -> rustix::io::Result<()> {
    let times = Timestamps { last_access: access, last_modification: change };
    rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Names in a directory, sorted by bytes, and whether each is a directory.
pub(crate) fn list(fd: &OwnedFd) -> rustix::io::Result<Vec<(OsString, bool)>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => {
                let stat = rustix::fs::statat(fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                kind(&stat) == FileType::Directory
            }
            _ => false,
        };
        names.push((OsString::from_vec(name.to_vec()), is_dir));
    }
    names.sort();
    Ok(names)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The directory of a place and the name in it; the top is `.` in itself.
pub(crate) fn split(place: &[u8]) -> (&[u8], &[u8]) {
    match place.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&place[..at], &place[at + 1..]),
        None => (b"", b"."),
    }
}

pub(crate) fn join(place: &[u8], name: &[u8]) -> Place {
    [place, b"/", name].concat()
}

/// The place for people.
pub(crate) fn shown(place: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(if place.is_empty() { b"/" } else { place }))
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// A point in time as LLB writes it: nanoseconds since the epoch; -1 is none.
pub(crate) fn timespec(nanoseconds: i64) -> Option<Timespec> {
    (nanoseconds != -1).then(|| Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000),
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
    })
}

/// Copies all bytes, inside of the kernel where it can: file systems that share blocks then do.
pub(crate) fn transfer(source: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    if !transfer_inside(source, target)? {
        transfer_through(source, target, u64::MAX, &mut vec![0_u8; 256 << 10])?;
    }
    Ok(())
}

/// Copies all bytes inside of the kernel; `false`, and nothing done, where it cannot between these two.
pub(super) fn transfer_inside(source: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<bool> {
    let mut copied_any = false;
    loop {
        match rustix::fs::copy_file_range(source, None, target, None, 1 << 30) {
            Ok(0) => return Ok(true),
            Ok(_) => copied_any = true,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::IO) if !copied_any => {
                return Ok(false);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Copies `n_bytes` through `buffer`, or as many as there are.
pub(super) fn transfer_through(
    source: &OwnedFd,
    target: &OwnedFd,
    mut n_bytes: u64,
    buffer: &mut [u8],
) -> rustix::io::Result<()> {
    // The read that would only find the end is not made.
    while 0 < n_bytes {
        let n_read = rustix::io::retry_on_intr(|| rustix::io::read(source, &mut *buffer))?;
        if n_read == 0 {
            break;
        }
        let mut rest = &buffer[..n_read];
        n_bytes = n_bytes.saturating_sub(n_read as u64);
        while !rest.is_empty() {
            let n_written = rustix::io::retry_on_intr(|| rustix::io::write(target, rest))?;
            rest = &rest[n_written..];
        }
    }
    Ok(())
}

/// Sets extended attributes; those that the file system or the kernel refuses are left out, as BuildKit does, and so are
/// those that overlayfs would understand.
pub(super) fn set_xattrs(
    all: &[(Vec<u8>, Vec<u8>)],
    to: BorrowedFd<'_>,
    to_name: &OsStr,
) -> rustix::io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let through = Path::new("/proc/self/fd").join(to.as_raw_fd().to_string()).join(to_name);
    for (name, value) in all {
        if !is_of_tree(name) {
            continue;
        }
        if let Err(Errno::NOSPC | Errno::DQUOT) =
            rustix::fs::lsetxattr(&through, OsStr::from_bytes(name), value, rustix::fs::XattrFlags::empty())
        {
            return Err(Errno::NOSPC);
        }
    }
    Ok(())
}

/// Removes the extended attributes that are `meant`, but none that belongs to the mount or the kernel.
pub(crate) fn strip_xattrs(
    dir: &OwnedFd,
    name: &OsStr,
    meant: impl Fn(&[u8]) -> bool,
) -> rustix::io::Result<()> {
    let through = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    for (key, _) in crate::engine::content_hash::xattrs(dir, name)? {
        if meant(&key) && is_of_tree(&key) {
            match rustix::fs::lremovexattr(&through, OsStr::from_bytes(&key)) {
                Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Whether it has extended attributes of its own.
pub(crate) fn has_xattrs(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<bool> {
    Ok(crate::engine::content_hash::xattrs(dir, name)?.iter().any(|(key, _)| is_of_tree(key)))
}

/// Whether an attribute belongs to the tree, not to the mount or the kernel.
fn is_of_tree(key: &[u8]) -> bool {
    !key.starts_with(b"trusted.") && !key.starts_with(b"user.overlay.")
}
