//! From what overlayfs (or the applier) left in an upper directory to the form of committed layers.
//!
//! A committed layer can be stacked on any tree, so it says everything by entries: an opaque directory becomes
//! explicit whiteouts for the names it hides in the tree it was made on. Overlayfs's own attributes go, except two:
//!
//! - [`ORIGIN`], empty, on each directory that holds whiteouts. Where such a directory is not merged with another one
//!   (nothing of that name lies below), the kernel lists its whiteouts as entries unless this attribute says that the
//!   directory once was copied up (`ovl_path_check_origin_xattr`, fs/overlayfs/inode.c; seen on 6.18).
//! - [`REPLACED`] on a directory that was opaque: its archive entry is written even if it equals the one it replaced,
//!   as BuildKit does. Overlayfs hides the attribute, as all of its prefix.

use std::cell::OnceCell;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use sha2::{Digest as _, Sha256};

use super::super::error::Context as _;
use super::Usage;
use crate::base::stack::deeper;
use crate::store::{Result, StoreError, tree};

const PREFIX: &[u8] = b"trusted.overlay.";
/// See the module's text.
pub(in crate::store) const ORIGIN: &[u8] = b"trusted.overlay.origin";
/// See the module's text.
pub(in crate::store) const REPLACED: &[u8] = b"trusted.overlay.bkl_replaced";
/// Overlayfs's mark of a directory that hides all of that name below.
pub(in crate::store) const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Bytes of the longest path that the kernel takes. A longer one can be made, component by component, and used by nobody.
const MAX_PATH: usize = 4095;
/// Files up to this size are small.
const SMALL: u64 = 4096;
/// How many small files of a layer are read.
const N_READ: usize = 8;
/// A layer of more entries is not listed.
const N_LISTED: usize = 16;
const IMPURE: &[u8] = b"trusted.overlay.impure";

/// What was seen of a layer on the way, its root not counted.
pub(in crate::store) struct Outline {
    /// What it occupies.
    pub(in crate::store) usage: Usage,
    /// Of the names and attributes of all entries but for times, and of what the first small files hold: equal layers
    /// have equal ones.
    pub(in crate::store) hash: i64,
    /// Whether there are whiteouts in it, or were directories that hid what lay below.
    pub(in crate::store) hides: bool,
    /// All that is in it; `None` where that is more than a little.
    pub(in crate::store) listing: Option<Listing>,
}

/// What is in a small layer: every path from its top, and what is there.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Listing(Arc<[(Box<[u8]>, Entry)]>);

/// What a layer may have at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Entry {
    Directory,
    Whiteout,
    /// Anything else.
    Leaf,
}

impl Listing {
    /// What is at `path`.
    pub(super) fn get(&self, path: &[u8]) -> Option<Entry> {
        self.0.iter().find(|(there, _)| **there == *path).map(|&(_, entry)| entry)
    }
}

impl Entry {
    pub(super) fn of(meta: &tree::Meta) -> Entry {
        match (meta.is_dir(), meta.is_whiteout()) {
            (true, _) => Entry::Directory,
            (false, true) => Entry::Whiteout,
            (false, false) => Entry::Leaf,
        }
    }
}

/// What wrote a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Origin {
    /// Overlayfs, or somebody who speaks its language.
    Overlay,
    /// We did, without a mount: there are no attributes of overlayfs.
    Draft,
}

/// Normalises the layer at `upper` in place and says what is in it.
///
/// `base` mounts the tree below when it is first needed; `None`: there is nothing below.
pub(super) fn normalise(
    upper: BorrowedFd<'_>,
    origin: Origin,
    base: &dyn Fn() -> Result<Option<OwnedFd>>,
    shown: &Path,
) -> Result<Outline> {
    let mut walk = Walk {
        base,
        origin,
        mounted: OnceCell::new(),
        shown,
        path: Vec::new(),
        usage: Usage::default(),
        hash: 0,
        hides: false,
        n_read_next: N_READ,
        listed: Vec::new(),
        links: Default::default(),
    };
    if walk.is_opaque(upper, b".")? {
        walk.spell_out(upper, b".", upper)?;
    }
    walk.below(upper)?;
    walk.settle_directory(upper, b".")?;
    let is_little = walk.listed.len() as u64 == walk.usage.inodes;
    let listing = is_little.then(|| Listing(walk.listed.into()));
    Ok(Outline { usage: walk.usage, hash: walk.hash, hides: walk.hides, listing })
}

struct Walk<'a> {
    base: &'a dyn Fn() -> Result<Option<OwnedFd>>,
    origin: Origin,
    mounted: OnceCell<Option<OwnedFd>>,
    /// Names the layer in errors.
    shown: &'a Path,
    /// Path of the current directory below the root, each component followed by `/`.
    path: Vec<u8>,
    usage: Usage,
    /// Sum of the entries' own, as they are not listed in order.
    hash: i64,
    hides: bool,
    /// How many more small files are read.
    n_read_next: usize,
    /// The first entries.
    listed: Vec<(Box<[u8]>, Entry)>,
    /// Inodes with several names, counted already.
    links: std::collections::HashSet<u64>,
}

impl Walk<'_> {
    /// Goes through the entries of `dir`.
    fn below(&mut self, dir: BorrowedFd<'_>) -> Result<()> {
        let mut holds_whiteouts = false;
        // Only directories marked impure hold copied-up files, and only those carry attributes.
        let impure = self.origin == Origin::Overlay
            && tree::xattr(dir, b".", IMPURE).at("read attributes of", self.shown)?.is_some();
        for name in tree::names(dir).at("list", self.shown)? {
            let Some(meta) = tree::stat(dir, &name).at("look at", self.shown)? else { continue };
            if MAX_PATH < self.path.len() + name.len() {
                let start = String::from_utf8_lossy(&self.path[..self.path.len().min(40)]).into_owned();
                return Err(StoreError::LongPath { start });
            }
            self.usage.inodes += 1;
            if self.listed.len() < N_LISTED {
                self.listed.push(([self.path.as_slice(), &name].concat().into(), Entry::of(&meta)));
            }
            // What cannot be read only makes it equal to nothing.
            let content = self.small_content(dir, &name, &meta).unwrap_or_default();
            self.hash = self.hash.wrapping_add(self.entry_hash(&name, &meta, &content));
            if meta.nlink == 1 || meta.is_dir() || self.links.insert(meta.ino) {
                self.usage.bytes += meta.n_blocks * 512;
            }
            if meta.is_dir() {
                let child = tree::open_dir(dir, &name).at("open", self.shown)?;
                let n_path = self.path.len();
                self.path.extend_from_slice(&name);
                if self.is_opaque(dir, &name)? {
                    self.spell_out(dir, &name, child.as_fd())?;
                }
                self.path.push(b'/');
                deeper(|| self.below(child.as_fd()))?;
                self.path.truncate(n_path);
                self.settle_directory(dir, &name)?;
            } else if meta.is_whiteout() {
                holds_whiteouts = true;
            } else if impure {
                self.strip(dir, &name)?;
            }
        }
        if holds_whiteouts {
            self.hides = true;
            tree::set_xattr(dir, b".", ORIGIN, b"").at("mark", self.shown)?;
        }
        Ok(())
    }

    /// What a file holds, if it is small and one of the first of the layer; else nothing.
    ///
    /// Steps that write one small file each are many, and all alike but for what is in it.
    fn small_content(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        meta: &tree::Meta,
    ) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::new();
        if meta.kind == tree::Kind::File && (1..=SMALL).contains(&meta.size) && 0 < self.n_read_next {
            self.n_read_next -= 1;
            let file = std::fs::File::from(tree::open_file(dir, name)?);
            file.take(SMALL).read_to_end(&mut content)?;
        }
        Ok(content)
    }

    fn entry_hash(&self, name: &[u8], meta: &tree::Meta, content: &[u8]) -> i64 {
        // A directory's size and number of links say how it was filled; overlayfs links its whiteouts to one another.
        let (size, nlink) =
            if meta.is_dir() || meta.is_whiteout() { (0, 0) } else { (meta.size, meta.nlink) };
        let mut state = Sha256::new();
        state.update(&self.path);
        state.update(name);
        state.update([0, meta.kind as u8]);
        for number in [meta.mode, meta.uid, meta.gid, meta.rdev.0, meta.rdev.1, nlink] {
            state.update(number.to_le_bytes());
        }
        state.update(size.to_le_bytes());
        state.update(content);
        let digest: [u8; 32] = state.finalize().into();
        i64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
    }

    /// Whether a directory hides what is below.
    fn is_opaque(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        if self.origin == Origin::Draft {
            return Ok(false);
        }
        let mark = tree::xattr(dir, name, OPAQUE).at("read attributes of", self.shown)?;
        Ok(mark.as_deref() == Some(b"y"))
    }

    /// Removes overlayfs's attributes from a directory that was gone through, except those that stay.
    fn settle_directory(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        if self.origin == Origin::Draft {
            return Ok(());
        }
        for (key, value) in tree::xattrs(dir, name).at("read attributes of", self.shown)? {
            let stays = key == REPLACED || (key == ORIGIN && value.is_empty());
            if key.starts_with(PREFIX) && !stays {
                tree::remove_xattr(dir, name, &key).at("remove an attribute of", self.shown)?;
            }
        }
        Ok(())
    }

    fn strip(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        for (key, _) in tree::xattrs(dir, name).at("read attributes of", self.shown)? {
            if key.starts_with(PREFIX) {
                tree::remove_xattr(dir, name, &key).at("remove an attribute of", self.shown)?;
            }
        }
        Ok(())
    }

    /// Makes the opaque directory `name` (open as `child`) hide by whiteouts what it hides by being opaque.
    fn spell_out(&mut self, dir: BorrowedFd<'_>, name: &[u8], child: BorrowedFd<'_>) -> Result<()> {
        self.hides = true;
        let base = match self.mounted.get() {
            Some(base) => base,
            None => {
                let base = (self.base)()?;
                self.mounted.get_or_init(|| base)
            }
        };
        let Some(base) = base else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = if self.path.is_empty() { &b"."[..] } else { &self.path };
        let hidden = match openat2(base, path, flags, Mode::empty(), resolve) {
            Ok(hidden) => hidden,
            // No directory there: nothing would shine through.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error).at("look below", self.shown),
        };
        hide(child, hidden.as_fd()).at("add whiteouts to", self.shown)?;
        tree::set_xattr(dir, name, REPLACED, b"y").at("mark", self.shown)
    }
}

/// Adds a whiteout to `over` for each name of `hidden` it lacks, and so in each directory both have.
fn hide(over: BorrowedFd<'_>, hidden: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let before = tree::stat_fd(over)?;
    for name in tree::names(hidden)? {
        match tree::stat(over, &name)? {
            None => tree::make_whiteout(over, &name)?,
            Some(meta) if meta.is_dir() => match tree::open_dir(hidden, &name) {
                // A directory inside of an opaque one is all new too: nothing of its namesake may shine through.
                Ok(below) => {
                    let over = tree::open_dir(over, &name)?;
                    deeper(|| hide(over.as_fd(), below.as_fd()))?;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error),
            },
            Some(_) => {}
        }
    }
    tree::set_mtime(over, b".", before.mtime)
}
