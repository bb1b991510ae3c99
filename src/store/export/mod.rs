//! Trees and layers out of the store: layer archives, their blobs, and whole trees as one archive.

mod blob;
mod diff_id;
mod layer_tar;
mod tree_tar;

use std::fs::File;
use std::os::fd::BorrowedFd;

pub use blob::Existing;
pub(super) use layer_tar::{is_same, same_content};

use super::layer::{Device, Entry, EntryKind};
use super::tree::{self, Kind, Meta};

/// The archive entry of something on disk; `None` for a socket, which no archive holds.
fn entry_of(dir: BorrowedFd<'_>, name: &[u8], meta: &Meta, path: &[u8]) -> rustix::io::Result<Option<Entry>> {
    let kind = match meta.kind {
        Kind::File => EntryKind::File,
        Kind::Dir => EntryKind::Dir,
        Kind::Symlink => EntryKind::Symlink,
        Kind::Char => EntryKind::Char,
        Kind::Block => EntryKind::Block,
        Kind::Fifo => EntryKind::Fifo,
        Kind::Socket => return Ok(None),
    };
    let mut entry = Entry::new(kind, path);
    if kind == EntryKind::Dir {
        entry.name.push(b'/');
    }
    if kind == EntryKind::Symlink {
        entry.link = rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes();
    }
    if kind == EntryKind::File {
        entry.size = meta.size;
    }
    (entry.mode, entry.uid, entry.gid) = (meta.mode, meta.uid, meta.gid);
    // Whole seconds: a time before 1970 is rounded down, as Go's Truncate does.
    entry.mtime = (meta.mtime.0, 0);
    if matches!(meta.kind, Kind::Char | Kind::Block) {
        entry.device = Device { major: meta.rdev.0, minor: meta.rdev.1 };
    }
    Ok(Some(entry))
}

/// Turns an entry into a hard link to `first`, the name its inode was written by.
fn link_to(entry: &mut Entry, first: &[u8]) {
    entry.kind = EntryKind::HardLink;
    entry.link = first.to_vec();
    entry.size = 0;
}

fn open_content(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<File> {
    tree::open_file(dir, name).map(File::from)
}
