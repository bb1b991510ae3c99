//! A tree looked into, and a layer written to, without a mount. Making a mount and taking it down again takes longer than
//! all else that a small step does; to see what lies at a path, the layers can be asked in turn.
//!
//! What is asked here follows overlayfs: the uppermost layer that has a name decides what it is; directories are merged
//! down to the first layer that has something else of that name, or a directory that hides what is below.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Result as SysResult;

use super::super::error::Context as _;
use super::normalise::{Entry, Listing};
use super::stack::Lower;
use super::{ActiveLayer, OPAQUE};
use crate::store::{LayerId, Result, Snapshot, Store, tree};

/// For how long a directory that was opened is believed to be where it was.
const MOMENT: Duration = Duration::from_secs(1);
/// How many directories are kept open, and of how many small layers it is remembered what they hold.
const N_OPEN: usize = 128;
const N_LISTED: usize = 1024;

/// The layers of a tree, open.
pub struct Layered {
    /// Top first.
    dirs: Vec<Dir>,
}

struct Dir {
    open: Arc<Open>,
    /// Whether directories in it may hide what is below: only in blocks they do.
    may_hide: bool,
}

/// An open directory of a layer.
struct Open {
    fd: OwnedFd,
    /// All that is in it, where that is known.
    listing: Option<Listing>,
}

/// Directories of layers that were opened a moment ago: of a growing chain each step looks into nearly the same. And what
/// is in small layers that this process made: they are not asked.
#[derive(Default)]
pub(in crate::store) struct Opened {
    dirs: Mutex<HashMap<LayerId, (Instant, Arc<Open>)>>,
    listings: Mutex<HashMap<LayerId, Listing>>,
}

impl Opened {
    /// Remembers what is in a layer.
    pub(super) fn made(&self, layer: LayerId, listing: Listing) {
        let mut listings = lock(&self.listings);
        if N_LISTED <= listings.len() {
            listings.clear();
        }
        listings.insert(layer, listing);
    }

    /// Forgets all.
    pub(in crate::store) fn clear(&self) {
        lock(&self.dirs).clear();
        lock(&self.listings).clear();
    }

    /// The directories, opened where they were not of late.
    fn open(&self, lowers: &[Lower]) -> Result<Vec<Dir>> {
        let now = Instant::now();
        let known: Vec<Option<Arc<Open>>> = {
            let dirs = lock(&self.dirs);
            let fresh = |(at, open): &(Instant, Arc<Open>)| (now - *at < MOMENT).then(|| open.clone());
            lowers.iter().map(|it| dirs.get(&it.layer).and_then(fresh)).collect()
        };
        let mut new = Vec::new();
        let open = |(Lower { layer, path, is_block }, known): (&Lower, Option<Arc<Open>>)| {
            let open = match known {
                Some(open) => open,
                None => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let fd = openat(CWD, path, flags, Mode::empty()).at("open", path)?;
                    let open = Arc::new(Open { fd, listing: lock(&self.listings).get(layer).cloned() });
                    new.push((*layer, (now, open.clone())));
                    open
                }
            };
            Ok(Dir { open, may_hide: *is_block })
        };
        let dirs = lowers.iter().zip(known).map(open).collect();
        if !new.is_empty() {
            let mut dirs = lock(&self.dirs);
            // Those that are in use come back with the next step.
            if N_OPEN < dirs.len() + new.len() {
                dirs.clear();
            }
            dirs.extend(new.into_iter().take(N_OPEN));
        }
        dirs
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    /// What a layer has at `path`, whose parent is a directory of it.
    fn entry(&self, path: &[u8]) -> SysResult<Option<Entry>> {
        if let Some(listing) = &self.listing {
            return Ok(listing.get(path));
        }
        // No component on the way is a link: the parent was found to be a directory of this layer.
        Ok(tree::stat(&self.fd, path)?.map(|meta| Entry::of(&meta)))
    }
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
            let Dir { open, may_hide } = &self.dirs[idx];
            match open.entry(path)? {
                None => continue,
                Some(Entry::Leaf) if merged.is_empty() => return Ok(Found::Leaf(open.fd.as_fd())),
                Some(Entry::Leaf | Entry::Whiteout) => break,
                Some(Entry::Directory) => merged.push(idx),
            }
            if *may_hide && tree::xattr(&open.fd, path, OPAQUE)?.is_some() {
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
    /// [`NoLayer`](crate::store::StoreError::NoLayer) when one is missing: a cache miss for the caller. Who looked into it
    /// less than a second ago may not see that.
    pub fn layered(&self, tree: &Snapshot) -> Result<Layered> {
        self.open_dirs(tree, &self.lowers_below(tree, &[])?)
    }

    fn open_dirs(&self, tree: &Snapshot, lowers: &[Lower]) -> Result<Layered> {
        let dirs = self.inner.opened.open(lowers).map_err(|error| self.explain_mount(tree, error))?;
        Ok(Layered { dirs })
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
        let lowers = store.lowers_below(&self.parents, &self.parts)?;
        self.is_draft.store(true, Ordering::Relaxed);
        let mut tree = store.open_dirs(&self.parents, &lowers)?;
        let fd = rustix::io::dup(self.staged.fs()).at("open", self.staged.dir())?;
        tree.dirs.insert(0, Dir { open: Arc::new(Open { fd, listing: None }), may_hide: false });
        Ok(tree)
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
            copy_up(tree.dirs[from].open.fd.as_fd(), part, own.as_fd(), name)
                .at("copy a directory to", shown)?;
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
