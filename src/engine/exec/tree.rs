//! Paths inside a tree, by descriptor: nothing here can leave the tree, whatever links it holds.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags, Timespec};
use rustix::io::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// Links are followed, but never out of the tree and never through /proc.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Opens `path` in `root` by reference, links followed inside the root.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH)
}

fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
    // A rename elsewhere makes the kernel give up on `..`: EAGAIN asks for another try.
    loop {
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What a path turned out to be.
pub(crate) struct Place {
    /// The directory that holds it.
    pub(crate) parent: OwnedFd,
    /// Its name there; `.` when the path is the directory itself.
    pub(crate) name: OsString,
    /// Whether there is something, links followed.
    pub(crate) exists: bool,
    /// Directories that had to be made above it, outermost first.
    pub(crate) made: Vec<Made>,
}

/// A directory that was made.
pub(crate) struct Made {
    /// The directory that holds it.
    pub(crate) parent: OwnedFd,
    /// Its name there.
    pub(crate) name: OsString,
    /// Times of `parent` before it was made.
    pub(crate) before: Times,
}

/// Access and modification time of a directory.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) access: Timespec,
    pub(crate) modification: Timespec,
}

/// The times of a directory.
pub(crate) fn times(dir: BorrowedFd<'_>) -> Result<Times> {
    fs::fstat(dir).map(|it| times_of(&it))
}

/// The times in a stat.
pub(crate) fn times_of(stat: &fs::Stat) -> Times {
    Times {
        access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// Owner of what is made.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Finds where `path` lies, making missing directories above it (0755, `owner`).
///
/// Links are followed inside the root, also one in the last component that leads to a place where nothing is yet, as the
/// peer does; a chain of more than 40 links is ELOOP.
pub(crate) fn place(root: BorrowedFd<'_>, path: &Path, owner: Owner) -> Result<Place> {
    let mut todo: Vec<OsString> = components(path);
    todo.reverse();
    // Directories from the root to where we are: `..` goes back up, never above the root.
    let mut dirs = vec![resolve(root, Path::new("/"))?];
    let mut made = Vec::new();
    let mut links = 0;
    let mut found: Option<OsString> = None;
    while let Some(name) = todo.pop() {
        if name == ".." {
            if dirs.len() > 1 {
                dirs.pop();
            }
            continue;
        }
        let here = dirs.last().expect("the root stays").as_fd();
        match fs::openat2(
            here,
            &name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            BENEATH,
        ) {
            Ok(fd) => match fs::FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) {
                fs::FileType::Symlink => {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP);
                    }
                    let target = fs::readlinkat(&fd, "", Vec::new())?;
                    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    if target.is_absolute() {
                        dirs.truncate(1);
                    }
                    let mut next = components(target);
                    next.reverse();
                    todo.extend(next);
                }
                fs::FileType::Directory => dirs.push(fd),
                _ if todo.is_empty() => found = Some(name),
                _ => return Err(Errno::NOTDIR),
            },
            Err(Errno::NOENT) if todo.is_empty() => {
                let parent = dirs.pop().expect("the root stays");
                return Ok(Place { parent, name, exists: false, made });
            }
            Err(Errno::NOENT) => {
                let before = times(here)?;
                make_dir(here, &name, owner)?;
                let parent = here.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
                made.push(Made { parent, name: name.clone(), before });
                todo.push(name);
            }
            Err(Errno::AGAIN | Errno::INTR) => todo.push(name),
            Err(err) => return Err(err),
        }
    }
    let parent = dirs.pop().expect("the root stays");
    Ok(Place { parent, name: found.unwrap_or_else(|| ".".into()), exists: true, made })
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// The names of a path; `.` and roots dropped.
fn components(path: &Path) -> Vec<OsString> {
    let name = |it: Component<'_>| match it {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// Makes a directory 0755 with `owner`; one that is there already is as good.
pub(crate) fn make_dir(dir: BorrowedFd<'_>, name: &OsStr, owner: Owner) -> Result<()> {
    match fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(err) => return Err(err),
    }
    if (owner.uid, owner.gid) != (0, 0) {
        let (uid, gid) = (fs::Uid::from_raw(owner.uid), fs::Gid::from_raw(owner.gid));
        fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Makes an empty file 0644; one that is there already is as good.
pub(crate) fn make_file(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(err) => Err(err),
    }
}

/// Why a file of the tree was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The kernel said so.
    Errno(Errno),
    /// A fifo, a directory, a device.
    NotRegular,
    /// More bytes than allowed.
    TooLarge,
}

/// Text of a regular file of at most `limit` bytes; empty when it is not there; broken UTF-8 is replaced.
///
/// Never waits on a fifo and never opens a device for its effects.
pub(crate) fn read_text(
    root: BorrowedFd<'_>,
    path: &str,
    limit: u64,
) -> std::result::Result<String, ReadError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    // By reference first: opening a device node can have effects before fstat shows what it is.
    let found = match resolve(root, Path::new(path)) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(err) => return Err(ReadError::Errno(err)),
    };
    let is_regular = |fd: BorrowedFd<'_>| {
        let stat = fs::fstat(fd).map_err(ReadError::Errno)?;
        match fs::FileType::from_raw_mode(stat.st_mode) {
            fs::FileType::RegularFile => Ok(()),
            _ => Err(ReadError::NotRegular),
        }
    };
    is_regular(found.as_fd())?;
    let fd = open(root, Path::new(path), flags).map_err(ReadError::Errno)?;
    is_regular(fd.as_fd())?;
    let mut bytes = Vec::new();
    let read = File::from(fd).take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|err| ReadError::Errno(Errno::from_io_error(&err).unwrap_or(Errno::IO)))?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge);
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
}

/// `path` cleaned as text: absolute, `.`, `..` and double slashes resolved; relative to `base`.
pub(crate) fn clean(base: &str, path: &str) -> PathBuf {
    let mut out = PathBuf::from("/");
    let base = if path.starts_with('/') { "" } else { base };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                out.pop();
            }
            name => out.push(name),
        }
    }
    out
}

use std::os::unix::ffi::OsStrExt as _;

#[cfg(test)]
mod tests;
