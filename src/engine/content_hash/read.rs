//! Nodes of a mounted tree.
//!
//! Every path was found by listing directories from the top, so no component of it is a symbolic link; the kernel is
//! told to hold us to that.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use sha2::Digest as _;

use super::header::{FileKind, Header};
use super::{HashError, Node, NodeKind};
use crate::base::Digest;

/// The top directory.
pub(super) fn root(view: &OwnedFd) -> Result<Node, HashError> {
    let stat = rustix::fs::fstat(view).map_err(error("look at", b""))?;
    let header = header(view, OsStr::new("."), b"", &stat)?;
    Ok(Node {
        digest: header.digest().into(),
        header: None,
        kind: NodeKind::Directory { children: OnceLock::new(), recursive: OnceLock::new() },
    })
}

/// What the directory at `path` holds.
pub(super) fn children(view: &OwnedFd, path: &[u8]) -> Result<BTreeMap<Vec<u8>, Node>, HashError> {
    let directory = open(view, path, OFlags::DIRECTORY)?;
    let mut children = BTreeMap::new();
    for entry in Dir::read_from(&directory).map_err(error("list", path))? {
        let entry = entry.map_err(error("list", path))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let below = [path, b"/", name].concat();
        let stat = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(error("look at", &below))?;
        let header = header(&directory, OsStr::from_bytes(name), &below, &stat)?;
        let node = match header.kind {
            FileKind::Regular => {
                Node { header: Some(header), digest: OnceLock::new(), kind: NodeKind::Other }
            }
            FileKind::Directory => Node {
                digest: header.digest().into(),
                header: None,
                kind: NodeKind::Directory { children: OnceLock::new(), recursive: OnceLock::new() },
            },
            FileKind::Symlink => Node::symlink(&header, header.target.clone()),
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo | FileKind::Socket => {
                Node::file(header.digest())
            }
        };
        children.insert(name.to_vec(), node);
    }
    Ok(children)
}

/// Digest of the regular file at `path`.
pub(super) fn file(view: &OwnedFd, path: &[u8], header: &Header) -> Result<Digest, HashError> {
    let mut file = File::from(open(view, path, OFlags::NOATIME)?);
    let mut state = header.begin();
    // Most files are small, and so much at once would be asked of the kernel each time. One byte more finds the end.
    let mut buffer = vec![0; header.size.saturating_add(1).min(128 * 1024) as usize];
    loop {
        let n_read = file.read(&mut buffer).map_err(|source| io(source, "read", path))?;
        if n_read == 0 {
            return Ok(Digest::from_bytes(state.finalize().into()));
        }
        state.update(&buffer[..n_read]);
    }
}

fn header(
    directory: &OwnedFd,
    name: &OsStr,
    path: &[u8],
    stat: &rustix::fs::Stat,
) -> Result<Header, HashError> {
    let kind = FileKind::of_mode(stat.st_mode);
    let target = match kind {
        FileKind::Symlink => rustix::fs::readlinkat(directory, name, Vec::new())
            .map_err(error("read the link", path))?
            .into_bytes(),
        _ => Vec::new(),
    };
    Ok(Header {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u64,
        target,
        device: (0, 0),
        xattrs: xattrs(directory, name).map_err(error("read the attributes of", path))?,
    })
}

/// All extended attributes of `name` in `directory`, sorted by name; none where the file system has none.
pub(crate) fn xattrs(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // There is no call that takes a directory and a name and does not follow links.
    let through = Path::new("/proc/self/fd").join(directory.as_fd().as_raw_fd().to_string()).join(name);
    collect(&|names| rustix::fs::llistxattr(&through, names), &|name, value| {
        rustix::fs::lgetxattr(&through, name, value)
    })
}

/// As [`xattrs`], of an open file.
pub(crate) fn xattrs_of(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    collect(&|names| rustix::fs::flistxattr(file, names), &|name, value| {
        rustix::fs::fgetxattr(file, name, value)
    })
}

fn collect(
    list: &dyn Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: &dyn Fn(&OsStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = [0_u8; 4096];
    let list = match list(&mut names) {
        Ok(0) | Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(length) => names[..length].to_vec(),
        Err(rustix::io::Errno::RANGE) => {
            let mut long = vec![0_u8; 65536];
            let length = list(&mut long)?;
            long.truncate(length);
            long
        }
        Err(error) => return Err(error),
    };
    let mut xattrs = Vec::new();
    for name in list.split(|&byte| byte == 0).filter(|it| !it.is_empty()) {
        let mut value = vec![0_u8; 65536];
        match get(OsStr::from_bytes(name), &mut value) {
            Ok(length) => {
                value.truncate(length);
                xattrs.push((name.to_vec(), value));
            }
            // Removed since it was listed.
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

fn open(view: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, HashError> {
    let relative = match path.strip_prefix(b"/") {
        Some(relative) => relative,
        None => b".",
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | flags;
    rustix::fs::openat2(view, relative, flags, Mode::empty(), resolve).map_err(error("open", path))
}

fn error(attempt: &'static str, path: &[u8]) -> impl Fn(rustix::io::Errno) -> HashError {
    move |errno| io(errno.into(), attempt, path)
}

fn io(source: std::io::Error, attempt: &'static str, path: &[u8]) -> HashError {
    let shown = if path.is_empty() { b"/" } else { path };
    HashError::Io { attempt, path: PathBuf::from(OsStr::from_bytes(shown)), source }
}
