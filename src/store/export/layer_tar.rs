//! A layer as the archive BuildKit would write for it: the order, the entries and the bytes are those of its overlay
//! differ and containerd's tar writer (util/overlay/overlay_linux.go, containerd pkg/archive/tar.go).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::super::error::Context as _;
use super::super::layer::{ArchiveWriter, Entry, EntryKind};
use super::super::snapshot::REPLACED;
use super::super::tree::{self, Kind, Meta};
use super::{entry_of, link_to, open_content};
use crate::base::stack::deeper;
use crate::store::{LayerId, Result, Store, StoreError};

const CAPABILITY: &[u8] = b"security.capability";

impl Store {
    /// Writes the layer as an uncompressed tar with the bytes BuildKit would write; its digest is the diff ID.
    ///
    /// The archive is the difference to the tree the layer was made on. Sockets are left out.
    pub fn write_layer_tar(&self, layer: LayerId, to: &mut dyn Write) -> Result<()> {
        let info = self.layer(layer)?.ok_or(StoreError::NoLayer { layer })?;
        let path = self.layer_fs(layer);
        let upper = self.layer_files(layer)?;
        let base = if info.parents.is_scratch() { None } else { Some(self.view(&info.parents)?) };
        let mut walk = Walk {
            writer: ArchiveWriter::new(to),
            path: Vec::new(),
            pending: Vec::new(),
            inodes: HashMap::new(),
        };
        let root = base.as_ref().map(AsFd::as_fd);
        walk.below(upper.as_fd(), root)
            .and_then(|()| walk.writer.finish())
            .at("write the archive of", &path)?;
        Ok(())
    }
}

struct Walk<'a> {
    writer: ArchiveWriter<&'a mut dyn Write>,
    /// Path of the current directory from the root, each component followed by `/`.
    path: Vec<u8>,
    /// Entries of the directories on the way down that were not written because they did not change; written when
    /// something below them did.
    pending: Vec<Entry>,
    /// Inodes with several names, and the name they were written by.
    inodes: HashMap<u64, Vec<u8>>,
}

impl Walk<'_> {
    /// Writes what changed in `dir`; `base` is the same directory in the tree below.
    fn below(&mut self, dir: BorrowedFd<'_>, base: Option<BorrowedFd<'_>>) -> io::Result<()> {
        for name in tree::names(dir)? {
            let Some(meta) = tree::stat(dir, &name)? else { continue };
            let old = match base {
                Some(base) => tree::stat(base, &name)?,
                None => None,
            };
            let n_path = self.path.len();
            self.path.extend_from_slice(&name);
            if meta.is_whiteout() {
                if old.is_some() {
                    self.whiteout(n_path)?;
                }
            } else if meta.is_dir() {
                self.directory(dir, &name, &meta, base, old.as_ref())?;
            } else {
                let unchanged = match (base, &old) {
                    (Some(base), Some(old)) => is_same(dir, &meta, base, old, &name)?,
                    _ => false,
                };
                if !unchanged {
                    self.leaf(dir, &name, &meta)?;
                }
            }
            self.path.truncate(n_path);
        }
        Ok(())
    }

    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        meta: &Meta,
        base: Option<BorrowedFd<'_>>,
        old: Option<&Meta>,
    ) -> io::Result<()> {
        let mut entry = entry_of(dir, name, meta, &self.path)?.expect("a directory is no socket");
        add_capability(dir, name, &mut entry)?;
        let unchanged = match (base, old) {
            (Some(base), Some(old)) => {
                is_same(dir, meta, base, old, name)? && tree::xattr(dir, name, REPLACED)?.is_none()
            }
            _ => false,
        };
        let n_pending = self.pending.len();
        self.pending.push(entry);
        if !unchanged {
            self.flush_pending()?;
        }
        let below = match (base, old) {
            (Some(base), Some(old)) if old.is_dir() => Some(tree::open_dir(base, name)?),
            _ => None,
        };
        self.path.push(b'/');
        let (upper, below) = (tree::open_dir(dir, name)?, below.as_ref().map(AsFd::as_fd));
        deeper(|| self.below(upper.as_fd(), below))?;
        self.pending.truncate(n_pending);
        Ok(())
    }

    fn flush_pending(&mut self) -> io::Result<()> {
        for entry in self.pending.drain(..) {
            self.writer.write(&entry)?;
        }
        Ok(())
    }

    /// A whiteout for the name that starts at `n_path`.
    fn whiteout(&mut self, n_path: usize) -> io::Result<()> {
        self.flush_pending()?;
        let name = [&self.path[..n_path], b".wh.", &self.path[n_path..]].concat();
        self.writer.write(&Entry::new(EntryKind::File, name))
    }

    fn leaf(&mut self, dir: BorrowedFd<'_>, name: &[u8], meta: &Meta) -> io::Result<()> {
        let Some(mut entry) = entry_of(dir, name, meta, &self.path)? else { return Ok(()) };
        if meta.nlink > 1 {
            match self.inodes.get(&meta.ino) {
                Some(first) => link_to(&mut entry, first),
                None => drop(self.inodes.insert(meta.ino, self.path.clone())),
            }
        }
        add_capability(dir, name, &mut entry)?;
        self.flush_pending()?;
        if entry.kind == EntryKind::File && entry.size > 0 {
            self.writer.write_file(&entry, &mut open_content(dir, name)?)
        } else {
            self.writer.write(&entry)
        }
    }
}

/// The one extended attribute that layer archives carry.
fn add_capability(dir: BorrowedFd<'_>, name: &[u8], entry: &mut Entry) -> io::Result<()> {
    // Only regular files can have capabilities, and their hard links; the look costs a system call.
    if matches!(entry.kind, EntryKind::File | EntryKind::HardLink)
        && let Some(value) = tree::xattr(dir, name, CAPABILITY)?
    {
        entry.xattrs.push((CAPABILITY.to_vec(), value));
    }
    Ok(())
}

/// containerd's `sameDirent`: whether an entry is as it was. Directories' times do not count; where both times have no
/// nanoseconds they may have been cut off, and the content decides.
pub(in crate::store) fn is_same(
    dir: BorrowedFd<'_>,
    meta: &Meta,
    old_dir: BorrowedFd<'_>,
    old: &Meta,
    name: &[u8],
) -> io::Result<bool> {
    let attributes = |it: &Meta| (it.kind, it.mode, it.uid, it.gid, it.rdev);
    if attributes(meta) != attributes(old) {
        return Ok(false);
    }
    if meta.kind == Kind::File
        && tree::xattr(dir, name, CAPABILITY)? != tree::xattr(old_dir, name, CAPABILITY)?
    {
        return Ok(false);
    }
    if meta.is_dir() {
        return Ok(true);
    }
    if meta.size != old.size || meta.mtime != old.mtime {
        return Ok(false);
    }
    if meta.mtime.1 != 0 {
        return Ok(true);
    }
    match meta.kind {
        Kind::Symlink => {
            let target = |dir| rustix::fs::readlinkat(dir, name, Vec::new());
            Ok(target(dir)? == target(old_dir)?)
        }
        Kind::File if meta.size > 0 => same_content(open_content(dir, name)?, open_content(old_dir, name)?),
        Kind::File | Kind::Dir | Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket => Ok(true),
    }
}

/// Whether two files hold the same bytes from where they stand.
pub(in crate::store) fn same_content(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n_read = one.read(&mut left)?;
        if n_read == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        match other.read_exact(&mut right[..n_read]) {
            Ok(()) if left[..n_read] == right[..n_read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
