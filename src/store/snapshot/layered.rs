//! A tree looked into, and a layer written to, without a mount. Making a mount and taking it down again takes longer than
//! all else that a small step does; to see what lies at a path, the layers can be asked in turn.
//!
//! What is asked here follows overlayfs: the uppermost layer that has a name decides what it is; directories are merged
//! down to the first layer that has something else of that name, or a directory that hides what is below.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Result as SysResult;

use super::super::error::Context as _;
use super::{ActiveLayer, OPAQUE};
use crate::store::{Result, Snapshot, Store, StoreError, tree};

/// The layers of a tree, open.
pub struct Layered {
    /// Top first.
    dirs: Vec<OwnedFd>,
}

/// The layers whose directories of one path make up the tree's, top first; by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged(Vec<usize>);

/// What is at a path.
pub enum Found<'a> {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory(Merged),
    /// Anything else, in the directory of this layer.
    Leaf(BorrowedFd<'a>),
}

impl Layered {
    /// The directory at the top.
    pub fn top(&self) -> Merged {
        Merged((0..self.dirs.len()).collect())
    }

    /// What is at `path` (relative, of plain components), whose parent is the directory `within`.
    pub fn look(&self, within: &Merged, path: &[u8]) -> SysResult<Found<'_>> {
        let mut merged = Vec::new();
        for &idx in &within.0 {
            // No component on the way is a link: the parent was found to be a directory of this layer.
            let Some(meta) = tree::stat(&self.dirs[idx], path)? else { continue };
            if !meta.is_dir() {
                if merged.is_empty() && !meta.is_whiteout() {
                    return Ok(Found::Leaf(self.dirs[idx].as_fd()));
                }
                break;
            }
            merged.push(idx);
            if tree::xattr(&self.dirs[idx], path, OPAQUE)?.is_some() {
                break;
            }
        }
        Ok(if merged.is_empty() { Found::Nothing } else { Found::Directory(Merged(merged)) })
    }
}

impl Store {
    /// The layers of a tree, to be looked into.
    ///
    /// # Errors
    /// [`StoreError::NoLayer`] when one is missing: a cache miss for the caller.
    pub fn layered(&self, tree: &Snapshot) -> Result<Layered> {
        self.open_dirs(tree, &self.lower_dirs(tree)?)
    }

    fn open_dirs(&self, tree: &Snapshot, paths: &[PathBuf]) -> Result<Layered> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |path: &PathBuf| openat(CWD, path, flags, Mode::empty()).at("open", path);
        let dirs: Result<Vec<OwnedFd>> = paths.iter().map(open).collect();
        Ok(Layered { dirs: dirs.map_err(|error| self.explain_mount(tree, error))? })
    }
}

impl ActiveLayer {
    /// The tree with this layer on top, to be looked into. What is written to the layer is seen at once. Not to be used
    /// while the layer is mounted.
    ///
    /// # Errors
    /// As [`Store::layered`].
    pub fn layered(&self) -> Result<Layered> {
        let store = self.staged.store();
        let mut paths = store.dirs_below(&self.parents, &self.parts)?;
        paths.insert(0, self.staged.dir().join("fs"));
        store.open_dirs(&self.parents, &paths)
    }

    /// The directory at `path`, which [`ActiveLayer::layered`] found, in this layer: it is copied up if it is not there, with
    /// those on the way.
    pub fn own_directory(&self, tree: &Layered, path: &[u8]) -> Result<OwnedFd> {
        let shown = self.staged.dir();
        let mut own = rustix::io::dup(self.staged.fs()).at("open", shown)?;
        let mut merged = tree.top();
        let ends = (1..=path.len()).filter(|&end| end == path.len() || path[end] == b'/');
        for part in ends.map(|end| &path[..end]) {
            let Found::Directory(next) = tree.look(&merged, part).at("look into", shown)? else {
                return Err(StoreError::io("open a directory of", shown, rustix::io::Errno::NOENT));
            };
            let name = part.rsplit(|byte| *byte == b'/').next().unwrap_or(part);
            if let Some(&from) = next.0.first().filter(|idx| **idx != 0) {
                copy_up(tree.dirs[from].as_fd(), part, own.as_fd(), name).at("copy a directory to", shown)?;
            }
            own = tree::open_dir(&own, name).at("open a directory of", shown)?;
            merged = next;
        }
        Ok(own)
    }

    /// Whether there is nothing below: the layer's directory is the tree.
    pub(super) fn is_alone(&self) -> bool {
        self.parents.is_scratch() && self.parts.is_empty()
    }

    /// A descriptor of the tree with this layer on top for our own reading and writing, as [`ActiveLayer::mount`] gives one.
    /// Where nothing lies below it is the layer's directory: nothing is mounted.
    pub fn open(&self) -> Result<OwnedFd> {
        if self.is_alone() {
            return rustix::io::dup(self.staged.fs()).at("open", self.staged.dir());
        }
        self.mount()
    }
}

/// Makes a directory that is as the one in a lower layer; the parent keeps its time, as overlayfs has it.
fn copy_up(from: BorrowedFd<'_>, path: &[u8], parent: BorrowedFd<'_>, name: &[u8]) -> SysResult<()> {
    let Some(meta) = tree::stat(from, path)? else { return Err(rustix::io::Errno::NOENT) };
    let before = tree::stat_fd(parent)?;
    mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
    tree::copy_attributes(from, path, &meta, parent, name)?;
    tree::set_mtime(parent, b".", before.mtime)
}
