//! A whole tree as one archive (output type `tar`): all extended attributes, hard links as links, whole seconds.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::super::error::Context as _;
use super::super::layer::{ArchiveWriter, EntryKind};
use super::super::tree;
use super::{entry_of, link_to, open_content};
use crate::base::stack::deeper;
use crate::store::{Result, Snapshot, Store};

impl Store {
    /// Writes the whole tree as one tar: numeric ids, all xattrs, hard links, whole seconds, sorted; no root entry.
    pub fn write_tree_tar(&self, tree: &Snapshot, to: &mut dyn Write) -> Result<()> {
        let view = self.view(tree)?;
        let mut walk = Walk { writer: ArchiveWriter::new(to), path: Vec::new(), inodes: HashMap::new() };
        let written = walk.below(view.as_fd()).and_then(|()| walk.writer.finish());
        written.at("write an archive of a tree in", &self.inner.root)?;
        Ok(())
    }
}

struct Walk<'a> {
    writer: ArchiveWriter<&'a mut dyn Write>,
    /// Path of the current directory from the root, each component followed by `/`.
    path: Vec<u8>,
    /// Inodes with several names, and the name they were written by.
    inodes: HashMap<u64, Vec<u8>>,
}

impl Walk<'_> {
    fn below(&mut self, dir: BorrowedFd<'_>) -> io::Result<()> {
        for name in tree::names(dir)? {
            let Some(meta) = tree::stat(dir, &name)? else { continue };
            let n_path = self.path.len();
            self.path.extend_from_slice(&name);
            if let Some(mut entry) = entry_of(dir, &name, &meta, &self.path)? {
                if meta.nlink > 1 && !meta.is_dir() {
                    match self.inodes.get(&meta.ino) {
                        Some(first) => link_to(&mut entry, first),
                        None => drop(self.inodes.insert(meta.ino, self.path.clone())),
                    }
                }
                if entry.kind != EntryKind::HardLink {
                    entry.xattrs = tree::xattrs(dir, &name)?;
                    entry.xattrs.retain(|(key, _)| !tree::is_private_xattr(key));
                }
                if entry.kind == EntryKind::File && entry.size > 0 {
                    self.writer.write_file(&entry, &mut open_content(dir, &name)?)?;
                } else {
                    self.writer.write(&entry)?;
                }
                if meta.is_dir() {
                    self.path.push(b'/');
                    let below = tree::open_dir(dir, &name)?;
                    deeper(|| self.below(below.as_fd()))?;
                }
            }
            self.path.truncate(n_path);
        }
        Ok(())
    }
}
