//! Directory trees through file descriptors: no path string is ever joined and looked up again, so nothing that a
//! tree contains (symlinks, renames under our feet) can lead out of it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, StatxFlags, Timespec, Timestamps, XattrFlags, chmodat, chownat,
    mkdirat, mknodat, openat, readlinkat, statx, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, Result};

use super::userns;
use crate::base::stack::deeper;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    Char,
    Block,
    Fifo,
    Socket,
}

/// The attributes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Allocated 512-byte blocks.
    pub(crate) n_blocks: u64,
    pub(crate) ino: u64,
    pub(crate) nlink: u32,
    /// Modification time: whole seconds (rounded down), nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Major and minor number of a device.
    pub(crate) rdev: (u32, u32),
}

impl Meta {
    /// Whether this is overlayfs's mark for "nothing here, whatever lies below".
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind == Kind::Char && self.rdev == (0, 0)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
}

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `name`; a symlink is `ENOTDIR` or `ELOOP`.
pub(crate) fn open_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    openat(dir, name, DIR_FLAGS, Mode::empty())
}

/// Opens the regular file `name` for reading; never blocks on a fifo, never follows a symlink.
pub(crate) fn open_file(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Attributes of the entry `name`, a symlink's own; `None` when there is no such entry.
pub(crate) fn stat(dir: impl AsFd, name: &[u8]) -> Result<Option<Meta>> {
    match statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(Some(meta(&found))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Attributes of an open file.
pub(crate) fn stat_fd(fd: impl AsFd) -> Result<Meta> {
    statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|it| meta(&it))
}

fn meta(found: &rustix::fs::Statx) -> Meta {
    let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Char,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::RegularFile | FileType::Unknown => Kind::File,
    };
    Meta {
        kind,
        mode: u32::from(found.stx_mode) & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        n_blocks: found.stx_blocks,
        ino: found.stx_ino,
        nlink: found.stx_nlink,
        mtime: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        rdev: (found.stx_rdev_major, found.stx_rdev_minor),
    }
}

/// The entry names of a directory in byte order, `.` and `..` left out.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    // Opened anew: a mount's descriptor is only good for looking things up (O_PATH), and a directory being listed has
    // a position that others must not share.
    for entry in Dir::new(open_dir(dir, b".")?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes the entry `name` and all below it; a missing one is fine.
///
/// A command may leave directories in each other deeper than any path is long: two descriptors and no recursion are
/// enough for them.
pub(crate) fn remove(dir: impl AsFd, name: &[u8]) -> Result<()> {
    let dir = dir.as_fd();
    /// A directory that is being emptied: its name in the one above, which that is, and what is left in it.
    struct Level {
        name: Vec<u8>,
        above: (u32, u32, u64),
        left: Vec<Vec<u8>>,
    }
    let identity = |fd: BorrowedFd<'_>| -> Result<(u32, u32, u64)> {
        let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_ino))
    };
    let mut levels: Vec<Level> = Vec::new();
    // The directory of the last level; without levels it is `dir`.
    let mut current: Option<OwnedFd> = None;
    let mut next = Some(name.to_vec());
    loop {
        let at = current.as_ref().map_or(dir, AsFd::as_fd);
        if let Some(name) = next.take() {
            match unlinkat(at, name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // POSIX lets a directory answer EPERM, Linux says EISDIR.
                Err(Errno::ISDIR | Errno::PERM) => match open_dir(at, &name) {
                    Ok(below) => {
                        levels.push(Level { above: identity(at)?, left: names(&below)?, name });
                        current = Some(below);
                    }
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        next = level.left.pop();
        if next.is_some() {
            continue;
        }
        // It is empty: back up. Nobody else is to be here; should somebody move what is being removed, it ends.
        let Level { name, above, .. } = levels.pop().expect("just looked at");
        let parent = if levels.is_empty() {
            None
        } else {
            let below = current.as_ref().expect("there is a level");
            let parent = open_dir(below, b"..")?;
            if identity(parent.as_fd())? != above {
                return Err(Errno::NOTEMPTY);
            }
            Some(parent)
        };
        match unlinkat(parent.as_ref().map_or(dir, AsFd::as_fd), name.as_slice(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        current = parent;
    }
}

/// Path that names `name` in `dir` for calls that take no directory descriptor (the xattr family).
///
/// The magic link stands for the open directory itself, and `name` is one component that is not followed.
fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// All extended attributes the caller may see, sorted by name.
pub(crate) fn xattrs(dir: impl AsFd, name: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // Most have none, and asking the descriptor itself is quicker. One that is only good for looking up cannot be asked.
    if name == b"." && matches!(rustix::fs::flistxattr(&dir, &mut [0_u8; 64][..]), Ok(0) | Err(Errno::NOTSUP))
    {
        return Ok(Vec::new());
    }
    let path = proc_path(dir.as_fd(), name);
    let mut list = vec![0_u8; 1024];
    let n_bytes = loop {
        match rustix::fs::llistxattr(path.as_slice(), list.as_mut_slice()) {
            Ok(n_bytes) => break n_bytes,
            Err(Errno::RANGE) if list.len() < 1 << 20 => list.resize(list.len() * 8, 0),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    };
    let mut found = Vec::new();
    for key in list[..n_bytes].split(|it| *it == 0).filter(|it| !it.is_empty()) {
        if let Some(value) = xattr_at(&path, key)? {
            found.push((userns::from_disk(key), value));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The extended attribute `key`; `None` when the entry has none.
pub(crate) fn xattr(dir: impl AsFd, name: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>> {
    xattr_at(&proc_path(dir.as_fd(), name), &userns::on_disk(key))
}

fn xattr_at(path: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; 256];
    loop {
        match rustix::fs::lgetxattr(path, key, value.as_mut_slice()) {
            Ok(n_bytes) => {
                value.truncate(n_bytes);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < 1 << 20 => value.resize(value.len() * 16, 0),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Sets an extended attribute.
pub(crate) fn set_xattr(dir: impl AsFd, name: &[u8], key: &[u8], value: &[u8]) -> Result<()> {
    let key = userns::on_disk(key);
    rustix::fs::lsetxattr(proc_path(dir.as_fd(), name).as_slice(), &*key, value, XattrFlags::empty())
}

/// Removes an extended attribute; a missing one is fine.
pub(crate) fn remove_xattr(dir: impl AsFd, name: &[u8], key: &[u8]) -> Result<()> {
    match rustix::fs::lremovexattr(proc_path(dir.as_fd(), name).as_slice(), &*userns::on_disk(key)) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

/// Sets the modification time (and the access time to the same) of an entry, a symlink's own.
pub(crate) fn set_mtime(dir: impl AsFd, name: &[u8], (seconds, nanoseconds): (i64, u32)) -> Result<()> {
    let at = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: at, last_modification: at };
    utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets owner, then mode (chown clears the set-id bits). A symlink has no mode of its own.
pub(crate) fn set_owner_and_mode(dir: impl AsFd, name: &[u8], meta: &Meta) -> Result<()> {
    let dir = dir.as_fd();
    let (uid, gid) = (rustix::fs::Uid::from_raw(meta.uid), rustix::fs::Gid::from_raw(meta.gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if meta.kind != Kind::Symlink {
        // The entry was just made by us in a directory only we can reach: it is no symlink to follow.
        chmodat(dir, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())?;
    }
    Ok(())
}

/// Makes a whiteout for `name`.
pub(crate) fn make_whiteout(dir: impl AsFd, name: &[u8]) -> Result<()> {
    mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Makes a fifo, device or socket with the attributes of `meta` (owner and mode are set separately).
pub(crate) fn make_node(dir: impl AsFd, name: &[u8], meta: &Meta) -> Result<()> {
    let file_type = match meta.kind {
        Kind::Char => FileType::CharacterDevice,
        Kind::Block => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::File | Kind::Dir | Kind::Symlink => return Err(Errno::INVAL),
    };
    let device = match meta.kind {
        Kind::Char | Kind::Block => rustix::fs::makedev(meta.rdev.0, meta.rdev.1),
        Kind::Fifo | Kind::Socket | Kind::File | Kind::Dir | Kind::Symlink => 0,
    };
    mknodat(dir, name, file_type, Mode::from_raw_mode(0o600), device)
}

/// Extended attributes that belong to the mount or the kernel, never to a tree's content.
pub(crate) fn is_private_xattr(key: &[u8]) -> bool {
    key.starts_with(b"trusted.") || key.starts_with(b"user.overlay.")
}

/// Copies owner, mode, extended attributes and, last, the modification time of one entry to another.
pub(crate) fn copy_attributes(
    from: impl AsFd,
    from_name: &[u8],
    meta: &Meta,
    to: impl AsFd,
    to_name: &[u8],
) -> Result<()> {
    let to = to.as_fd();
    set_owner_and_mode(to, to_name, meta)?;
    for (key, value) in xattrs(from, from_name)? {
        if !is_private_xattr(&key) {
            match set_xattr(to, to_name, &key, &value) {
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
    }
    set_mtime(to, to_name, meta.mtime)
}

/// As [`copy_attributes`], onto an entry that may have extended attributes of its own: those go.
pub(crate) fn replace_attributes(
    from: impl AsFd,
    from_name: &[u8],
    meta: &Meta,
    to: impl AsFd,
    to_name: &[u8],
) -> Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let kept = xattrs(from, from_name)?;
    for (key, _) in xattrs(to, to_name)? {
        if !is_private_xattr(&key) && kept.iter().all(|(it, _)| *it != key) {
            remove_xattr(to, to_name, &key)?;
        }
    }
    copy_attributes(from, from_name, meta, to, to_name)
}

/// Copies one entry that is not a directory, with all its attributes; `to_name` must be free.
pub(crate) fn copy_entry(
    from: impl AsFd,
    name: &[u8],
    meta: &Meta,
    to: impl AsFd,
    to_name: &[u8],
) -> io::Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    match meta.kind {
        Kind::File => copy_file(from, name, to, to_name)?,
        Kind::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, to_name)?,
        Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket => make_node(to, to_name, meta)?,
        Kind::Dir => return Err(Errno::ISDIR.into()),
    }
    Ok(copy_attributes(from, name, meta, to, to_name)?)
}

/// Copies the bytes of a file: shared blocks where the file system can, in the kernel otherwise.
fn copy_file(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>, to_name: &[u8]) -> io::Result<()> {
    let source = open_file(from, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(to, to_name, flags, Mode::from_raw_mode(0o600))?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    // `std::io::copy` uses copy_file_range and falls back by itself.
    io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(target))?;
    Ok(())
}

/// Copies everything in the directory `from` into the directory `to` (which exists and is empty), hard links kept.
pub(crate) fn copy_tree(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut links = std::collections::HashMap::new();
    copy_below(from.as_fd(), to.as_fd(), to.as_fd(), &mut Vec::new(), &mut links)
}

fn copy_below(
    from: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    path: &mut Vec<u8>,
    links: &mut std::collections::HashMap<u64, Vec<u8>>,
) -> io::Result<()> {
    for name in names(from)? {
        let Some(meta) = stat(from, &name)? else { continue };
        let n_path = path.len();
        path.extend_from_slice(&name);
        if meta.is_dir() {
            mkdirat(to, name.as_slice(), Mode::from_raw_mode(0o700))?;
            path.push(b'/');
            let (below, copy) = (open_dir(from, &name)?, open_dir(to, &name)?);
            deeper(|| copy_below(below.as_fd(), root, copy.as_fd(), path, links))?;
            copy_attributes(from, &name, &meta, to, &name)?;
        } else if let Some(first) = links.get(&meta.ino).filter(|_| meta.nlink > 1) {
            rustix::fs::linkat(root, first.as_slice(), to, name.as_slice(), AtFlags::empty())?;
        } else {
            copy_entry(from, &name, &meta, to, &name)?;
            if meta.nlink > 1 {
                links.insert(meta.ino, path.clone());
            }
        }
        path.truncate(n_path);
    }
    Ok(())
}
