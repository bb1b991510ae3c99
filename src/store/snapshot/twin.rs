//! Layers that are equal but for times: what a step gives that was run again to the same end.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::super::export::same_content;
use super::super::tree::{self, Kind};
use super::rows;
use crate::base::stack::deeper;
use crate::store::{Result, Snapshot, Store};

impl Store {
    /// Whether [`Store::twin`] has anything to compare `tree` with; it does not read files.
    pub fn may_have_twin(&self, tree: &Snapshot) -> bool {
        // What cannot be told is found out there.
        tree.top().is_some_and(|top| rows::alike(&self.inner.database, top).map_or(true, |it| !it.is_empty()))
    }

    /// The oldest tree that equals `tree` in all but times: its top layer was made on the same layers and holds the
    /// same names, kinds, modes, owners, links, attributes and bytes. It is whole as far as [`Store::check`] sees.
    ///
    /// Reads what both hold, but only where names, kinds, sizes and attributes are the same.
    pub fn twin(&self, tree: &Snapshot) -> Result<Option<Snapshot>> {
        let (Some(top), Some(below)) = (tree.top(), tree.below()) else { return Ok(None) };
        let alike = rows::alike(&self.inner.database, top)?;
        // In a merge the layers below are not those that the top one was made on.
        if alike.is_empty() || !self.is_chain(tree)? {
            return Ok(None);
        }
        let dir = |layer| File::open(self.layer_fs(layer)).map(OwnedFd::from);
        let Ok(this) = dir(top) else { return Ok(None) };
        for layer in alike {
            let twin = below.with(layer);
            // The layers below are those that the new one was made on just now. What cannot be read is no twin.
            if self.check(&Snapshot::scratch().with(layer))
                && let Ok(that) = dir(layer)
                && Comparison::default().layers(this.as_fd(), that.as_fd()).unwrap_or(false)
            {
                return Ok(Some(twin));
            }
        }
        Ok(None)
    }
}

/// Two layers being compared.
#[derive(Default)]
struct Comparison {
    /// Inodes that may have several names: those of one layer to those of the other, and back.
    links: (HashMap<u64, u64>, HashMap<u64, u64>),
}

impl Comparison {
    fn layers(mut self, this: BorrowedFd<'_>, that: BorrowedFd<'_>) -> io::Result<bool> {
        Ok(self.entries(this, that, b".")?.is_some() && self.below(this, that)?)
    }

    fn below(&mut self, this: BorrowedFd<'_>, that: BorrowedFd<'_>) -> io::Result<bool> {
        let (mut names, mut others) = (tree::names(this)?, tree::names(that)?);
        names.sort_unstable();
        others.sort_unstable();
        if names != others {
            return Ok(false);
        }
        for name in names {
            let is_same = match self.entries(this, that, &name)? {
                None => false,
                Some(Kind::Dir) => {
                    let (this, that) = (tree::open_dir(this, &name)?, tree::open_dir(that, &name)?);
                    deeper(|| self.below(this.as_fd(), that.as_fd()))?
                }
                Some(_) => true,
            };
            if !is_same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Compares what both call `name`, of directories only their own attributes; the kind if it is the same.
    fn entries(
        &mut self,
        this: BorrowedFd<'_>,
        that: BorrowedFd<'_>,
        name: &[u8],
    ) -> io::Result<Option<Kind>> {
        let (Some(one), Some(other)) = (tree::stat(this, name)?, tree::stat(that, name)?) else {
            return Ok(None);
        };
        // A directory's size and number of links say how it was filled; overlayfs links its whiteouts to one another. How
        // many names a file has is not told by its number of links either: blocks of layers have some of them.
        let has_links = |it: &tree::Meta| !it.is_dir() && !it.is_whiteout();
        let size = |it: &tree::Meta| if has_links(it) { it.size } else { 0 };
        let attributes = |it: &tree::Meta| (it.kind, it.mode, it.uid, it.gid, it.rdev, size(it));
        if attributes(&one) != attributes(&other) || sorted_xattrs(this, name)? != sorted_xattrs(that, name)?
        {
            return Ok(None);
        }
        if has_links(&one) && (one.nlink > 1 || other.nlink > 1) {
            let (there, back) = &mut self.links;
            if *there.entry(one.ino).or_insert(other.ino) != other.ino
                || *back.entry(other.ino).or_insert(one.ino) != one.ino
            {
                return Ok(None);
            }
        }
        let is_same = match one.kind {
            Kind::File if one.size > 0 => {
                same_content(tree::open_file(this, name)?.into(), tree::open_file(that, name)?.into())?
            }
            Kind::Symlink => {
                let target = |dir| rustix::fs::readlinkat(dir, name, Vec::new());
                target(this)? == target(that)?
            }
            Kind::File | Kind::Dir | Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket => true,
        };
        Ok(is_same.then_some(one.kind))
    }
}

fn sorted_xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut xattrs = tree::xattrs(dir, name)?;
    xattrs.sort_unstable();
    Ok(xattrs)
}
