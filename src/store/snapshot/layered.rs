//! A tree looked into, and a layer written to, without a mount. Making a mount and taking it down again takes longer than
//! all else that a small step does; to see what lies at a path, the layers can be asked in turn.
//!
//! What is asked here follows overlayfs: the uppermost layer that has a name decides what it is; directories are merged
//! down to the first layer that has something else of that name, or a directory that hides what is below.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Result as SysResult;

use super::super::error::Context as _;
use super::stack::Lower;
use super::{ActiveLayer, OPAQUE};
use crate::store::{Result, Snapshot, Store, tree};

/// The layers of a tree, open.
pub struct Layered {
    /// Top first.
    dirs: Vec<Dir>,
}

struct Dir {
    fd: OwnedFd,
    /// Whether directories in it may hide what is below: only in blocks they do.
    may_hide: bool,
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
            let Some(meta) = tree::stat(&self.dirs[idx].fd, path)? else { continue };
            if !meta.is_dir() {
                if merged.is_empty() && !meta.is_whiteout() {
                    return Ok(Found::Leaf(self.dirs[idx].fd.as_fd()));
                }
                break;
            }
            merged.push(idx);
            if self.dirs[idx].may_hide && tree::xattr(&self.dirs[idx].fd, path, OPAQUE)?.is_some() {
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
    /// [`NoLayer`](crate::store::StoreError::NoLayer) when one is missing: a cache miss for the caller.
    pub fn layered(&self, tree: &Snapshot) -> Result<Layered> {
        self.open_dirs(tree, &self.lowers_below(tree, &[])?)
    }

    fn open_dirs(&self, tree: &Snapshot, lowers: &[Lower]) -> Result<Layered> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |Lower { path, is_block }: &Lower| {
            let fd = openat(CWD, path, flags, Mode::empty()).at("open", path)?;
            Ok(Dir { fd, may_hide: *is_block })
        };
        let dirs: Result<Vec<Dir>> = lowers.iter().map(open).collect();
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
        let mut lowers = store.lowers_below(&self.parents, &self.parts)?;
        lowers.insert(0, Lower { path: self.staged.dir().join("fs"), is_block: false });
        self.is_draft.store(true, Ordering::Relaxed);
        store.open_dirs(&self.parents, &lowers)
    }

    /// The directory at `path` in this layer: it is copied up if it is not there, with those on the way. `way` is what
    /// [`Layered::look`] found at each of them, from the top to `path`.
    pub fn own_directory(&self, tree: &Layered, path: &[u8], way: &[Merged]) -> Result<OwnedFd> {
        let shown = self.staged.dir();
        let n_own = way.iter().take_while(|it| it.0.first() == Some(&0)).count();
        let mut ends = (1..=path.len()).filter(|&end| end == path.len() || path[end] == b'/');
        let there = n_own.checked_sub(1).and_then(|idx| ends.by_ref().nth(idx)).unwrap_or(0);
        let mut own = match there {
            0 => rustix::io::dup(self.staged.fs()),
            there => tree::open_dir(self.staged.fs(), &path[..there]),
        }
        .at("open a directory of", shown)?;
        for (end, merged) in ends.zip(&way[n_own..]) {
            let part = &path[..end];
            let name = part.rsplit(|byte| *byte == b'/').next().unwrap_or(part);
            let Some(&from) = merged.0.first() else { continue };
            copy_up(tree.dirs[from].fd.as_fd(), part, own.as_fd(), name).at("copy a directory to", shown)?;
            own = tree::open_dir(&own, name).at("open a directory of", shown)?;
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
