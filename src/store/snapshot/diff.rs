//! The changes between two trees as a tree of its own (BuildKit's DiffOp).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, mkdirat};

use super::super::error::Context as _;
use super::super::export::is_same;
use super::LayerMeta;
use crate::base::stack::deeper;
use crate::store::{Result, Snapshot, Store, tree};

impl Store {
    /// The changes that make `upper` of `lower`, as a tree: the layers above when `lower` is a prefix, else one new layer.
    ///
    /// A computed layer holds what was added or changed, the directories on the way, and whiteouts for what is gone.
    pub fn diff_snapshots(&self, lower: &Snapshot, upper: &Snapshot, meta: &LayerMeta) -> Result<Snapshot> {
        if let Some(above) = upper.above(lower) {
            return Ok(above);
        }
        let (old, new) = (self.view(lower)?, self.view(upper)?);
        // Made on `lower`: that is what its archive is the difference to.
        let active = self.stage(lower)?;
        let root = tree::stat_fd(&new).at("look at", &self.inner.root)?;
        let mut links = std::collections::HashMap::new();
        let mut walk = Walk { target: active.upper_dir(), links: &mut links, path: Vec::new() };
        walk.below(old.as_fd(), new.as_fd()).at("compare trees in", &self.inner.root)?;
        tree::copy_attributes(&new, b".", &root, active.upper_dir(), b".")
            .at("compare trees in", &self.inner.root)?;
        Ok(Snapshot::scratch().with(active.commit(meta)?))
    }
}

struct Walk<'a> {
    /// Root of the layer that collects the changes.
    target: BorrowedFd<'a>,
    /// Inodes of the new tree with several names, and the first one's path in the layer.
    links: &'a mut std::collections::HashMap<u64, Vec<u8>>,
    /// Path of the current directory from the root, each component followed by `/`.
    path: Vec<u8>,
}

/// The directory of the layer that stands for the current one, made when it is first needed.
enum Target<'a> {
    Made(OwnedFd),
    Root(BorrowedFd<'a>),
    NotYet,
}

/// Makes the layer's directory that stands for the current one.
type Make<'a> = dyn FnMut(&mut Walk<'_>) -> io::Result<OwnedFd> + 'a;

impl Walk<'_> {
    /// Compares the root directories.
    fn below(&mut self, old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
        let mut target = Target::Root(self.target);
        let mut no_parents = |_: &mut Walk<'_>| Err(io::Error::other("the root is always there"));
        self.compare(Some(old), new, &mut target, &mut no_parents)
    }

    /// Puts what differs between `old` and `new` into the layer.
    fn compare(
        &mut self,
        old: Option<BorrowedFd<'_>>,
        new: BorrowedFd<'_>,
        target: &mut Target<'_>,
        make: &mut Make<'_>,
    ) -> io::Result<()> {
        let new_names = tree::names(new)?;
        let old_names = match old {
            Some(old) => tree::names(old)?,
            None => Vec::new(),
        };
        for gone in old_names.iter().filter(|it| new_names.binary_search(it).is_err()) {
            tree::make_whiteout(self.target(target, make)?, gone)?;
        }
        for name in &new_names {
            let Some(meta) = tree::stat(new, name)? else { continue };
            let before = match old {
                Some(old) => tree::stat(old, name)?,
                None => None,
            };
            let same = match (old, &before) {
                (Some(old), Some(before)) => is_same(new, &meta, old, before, name)?,
                _ => false,
            };
            let n_path = self.path.len();
            self.path.extend_from_slice(name);
            if meta.is_dir() {
                let below_new = tree::open_dir(new, name)?;
                let below_old = match (old, &before) {
                    (Some(old), Some(before)) if before.is_dir() => Some(tree::open_dir(old, name)?),
                    _ => None,
                };
                let mut child = Target::NotYet;
                if !same {
                    let dir = self.target(target, make)?;
                    child = Target::Made(make_dir(dir, name)?);
                }
                self.path.push(b'/');
                let mut make_child = |walk: &mut Walk<'_>| make_dir(walk.target(target, make)?, name);
                let below_old = below_old.as_ref().map(AsFd::as_fd);
                deeper(|| self.compare(below_old, below_new.as_fd(), &mut child, &mut make_child))?;
                if let Target::Made(_) = child {
                    tree::copy_attributes(new, name, &meta, self.target(target, make)?, name)?;
                }
            } else if !same {
                let path = self.path.clone();
                let first = self.links.get(&meta.ino).filter(|_| meta.nlink > 1).cloned();
                let root = self.target;
                let dir = self.target(target, make)?;
                match first {
                    Some(first) => {
                        rustix::fs::linkat(
                            root,
                            first.as_slice(),
                            dir,
                            name.as_slice(),
                            rustix::fs::AtFlags::empty(),
                        )?;
                    }
                    None => tree::copy_entry(new, name, &meta, dir, name)?,
                }
                if meta.nlink > 1 {
                    self.links.entry(meta.ino).or_insert(path);
                }
            }
            self.path.truncate(n_path);
        }
        Ok(())
    }

    fn target<'t>(&mut self, target: &'t mut Target<'_>, make: &mut Make<'_>) -> io::Result<BorrowedFd<'t>> {
        if let Target::NotYet = target {
            *target = Target::Made(make(self)?);
        }
        match &*target {
            Target::Made(dir) => Ok(dir.as_fd()),
            Target::Root(dir) => Ok(*dir),
            Target::NotYet => unreachable!("made above"),
        }
    }
}

fn make_dir(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
    Ok(tree::open_dir(parent, name)?)
}
