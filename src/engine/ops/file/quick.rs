//! Actions that are done without a mount: those that make one new thing where no link is on the way. They are most, and
//! a mount takes longer than they do.
//!
//! Each is looked into first and done then: an action that needs more than this leaves everything as it was, and is done on
//! the mounted tree. The outcome is the same, the layer's bytes and attributes included (`tests/quick.rs` compares them).

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, Timespec};

use super::copy::{Copy, single};
use super::error::FileError;
use super::root::{Owner, Place, Root, chmod_at, chown_at, join, set_times_at, split, timespec};
use crate::engine::cancel::Cancel;
use crate::graph::ir::{FileCopy, FileMkdir, FileMkfile, FileSymlink};
use crate::store::{ActiveLayer, Found, Layered, Merged, Snapshot, Store, StoreError};

/// Whether an action was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Yes,
    /// Nothing was changed.
    No,
}

#[cfg(test)]
thread_local! {
    /// Everything is done on the mounted tree.
    pub(super) static OFF: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// How many actions were done.
    pub(super) static N_DONE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn done() -> Done {
    #[cfg(test)]
    N_DONE.set(N_DONE.get() + 1);
    Done::Yes
}

/// Whether this is not to be used: only tests say so.
pub(super) fn is_off() -> bool {
    #[cfg(test)]
    return OFF.get();
    #[cfg(not(test))]
    false
}

/// A layer being made that is not mounted.
pub(super) struct Draft {
    tree: Layered,
}

/// How far a path leads.
struct Way<'a> {
    /// The directory on it that is there.
    there: Place,
    /// What that one and those above it are made of, topmost first.
    merged: Vec<Merged>,
    /// Places below it that are not, each the parent of the next.
    missing: Vec<Place>,
    /// What stands at the end, if it is no directory: the layer that has it.
    leaf: Option<BorrowedFd<'a>>,
}

/// What is where something is to go.
enum Spot {
    /// Nothing, or a regular file to be replaced.
    Free,
    Directory(Merged),
    /// A link, or something that is not simple.
    Other,
}

impl Draft {
    pub(super) fn new(layer: &ActiveLayer) -> Result<Draft, StoreError> {
        Ok(Draft { tree: layer.layered()? })
    }

    pub(super) fn mkfile(
        &self,
        layer: &ActiveLayer,
        op: &FileMkfile,
        owner: Option<Owner>,
    ) -> Result<Done, FileError> {
        let Some((way, place)) = self.free_place(&op.path) else { return Ok(Done::No) };
        let parent = self.own_directory(layer, &way)?;
        let name = OsStr::from_bytes(split(&place).1);
        let failed = |source: std::io::Error| FileError::io("write", &place, source);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: OwnedFd = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| failed(errno.into()))?;
        std::fs::File::from(file).write_all(&op.data).map_err(failed)?;
        settle(&parent, &place, owner, Some(op.mode as u32 & 0o777), timespec(op.timestamp))?;
        Ok(done())
    }

    pub(super) fn mkdir(
        &self,
        layer: &ActiveLayer,
        op: &FileMkdir,
        owner: Option<Owner>,
    ) -> Result<Done, FileError> {
        let Some(way) = walk(&self.tree, super::rooted(&op.path).as_bytes()) else { return Ok(Done::No) };
        if way.leaf.is_some() || 1 < way.missing.len() && !op.make_parents {
            return Ok(Done::No);
        }
        // What is there stays as it is, and where it is.
        if !way.missing.is_empty() {
            self.make_dirs(layer, &way, op.mode as u32 & 0o777, owner, timespec(op.timestamp))?;
        }
        Ok(done())
    }

    pub(super) fn symlink(
        &self,
        layer: &ActiveLayer,
        op: &FileSymlink,
        owner: Option<Owner>,
    ) -> Result<Done, FileError> {
        let Some((way, place)) = self.free_place(&op.newpath) else { return Ok(Done::No) };
        let parent = self.own_directory(layer, &way)?;
        rustix::fs::symlinkat(op.oldpath.as_str(), &parent, split(&place).1)
            .map_err(|errno| FileError::io("make the link", &place, errno.into()))?;
        settle(&parent, &place, owner, None, timespec(op.timestamp))?;
        Ok(done())
    }

    /// Copies one regular file out of a tree of the store, if it is not larger than `max_size`.
    pub(super) fn copy(
        &self,
        layer: &ActiveLayer,
        op: &FileCopy,
        (store, from): (&Store, &Snapshot),
        owner: Option<Owner>,
        (max_size, cancel): (u64, &Cancel),
    ) -> Result<Done, FileError> {
        let Some(asked) = single(op) else { return Ok(Done::No) };
        let from = store.layered(from)?;
        let Some(Way { leaf: Some(holder), .. }) = walk(&from, asked.as_bytes()) else { return Ok(Done::No) };
        let from = Root::new(rustix::io::dup(holder).map_err(failed("open", asked.as_bytes()))?);
        let Some(stat) = from.stat(asked.as_bytes())?.filter(is_regular) else { return Ok(Done::No) };
        if max_size < stat.st_size as u64 {
            return Ok(Done::No);
        }
        let to = Root::new(rustix::io::dup(layer.upper_dir()).map_err(failed("open", b""))?);
        let copy = Copy { op, from: &from, to: &to, before: None, owner, cancel };
        let (directory, dest) = copy.destination();
        let Some(mut way) = walk(&self.tree, &directory).filter(|it| it.leaf.is_none()) else {
            return Ok(Done::No);
        };
        // Without `create_dest_path` somebody else finds out what is missing.
        if !op.create_dest_path && !way.missing.is_empty() {
            return Ok(Done::No);
        }
        let name = split(asked.as_bytes()).1;
        let is_free = |way: &Way<'_>, place: &Place| matches!(self.spot(way, place), Spot::Free);
        let target = if dest == directory {
            Some(join(&dest, name)).filter(|it| is_free(&way, it))
        } else {
            match self.spot(&way, &dest) {
                Spot::Free => Some(dest),
                Spot::Directory(merged) => {
                    way.merged.push(merged);
                    way.there = dest;
                    Some(join(&way.there, name)).filter(|it| is_free(&way, it))
                }
                Spot::Other => None,
            }
        };
        let Some(target) = target else { return Ok(Done::No) };
        let time = timespec(op.timestamp);
        let parent = self.make_dirs(layer, &way, copy.parents_mode(), owner, time)?;
        copy.file(asked.as_bytes(), &stat, parent.as_fd(), &target)?;
        // What was put in changed the times.
        set_times(layer, &way, time)?;
        Ok(done())
    }

    /// What is at a place in the directory that a way leads to.
    fn spot(&self, way: &Way<'_>, place: &[u8]) -> Spot {
        if !way.missing.is_empty() {
            return Spot::Free;
        }
        let top = self.tree.top();
        match self.tree.look(way.merged.last().unwrap_or(&top), plain(place)) {
            Ok(Found::Nothing) => Spot::Free,
            Ok(Found::Directory(merged)) => Spot::Directory(merged),
            Ok(Found::Leaf(layer)) => match rustix::io::dup(layer).map(|it| Root::new(it).stat(place)) {
                Ok(Ok(Some(stat))) if is_regular(&stat) => Spot::Free,
                _ => Spot::Other,
            },
            Err(_) => Spot::Other,
        }
    }

    /// A place where nothing is, and the way to the directory that it is in, which is there.
    fn free_place(&self, path: &str) -> Option<(Way<'_>, Place)> {
        let mut way = walk(&self.tree, super::rooted(path).as_bytes())?;
        let is_free = way.leaf.is_none() && way.missing.len() == 1;
        let place = way.missing.pop().filter(|_| is_free)?;
        Some((way, place))
    }

    /// The last directory on the way that is there, in the layer.
    fn own_directory(&self, layer: &ActiveLayer, way: &Way<'_>) -> Result<OwnedFd, StoreError> {
        layer.own_directory(&self.tree, plain(&way.there), &way.merged)
    }

    /// Makes the directories that are missing on a way; gives the last one on it.
    fn make_dirs(
        &self,
        layer: &ActiveLayer,
        way: &Way<'_>,
        mode: u32,
        owner: Option<Owner>,
        time: Option<Timespec>,
    ) -> Result<OwnedFd, FileError> {
        let mut parent = self.own_directory(layer, way)?;
        for place in &way.missing {
            let name = OsStr::from_bytes(split(place).1);
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode & 0o7777))
                .map_err(failed("make the directory", place))?;
            settle(&parent, place, None, Some(mode), None)?;
            settle(&parent, place, owner, None, None)?;
            parent =
                open_below(parent.as_fd(), name.as_bytes()).map_err(failed("open the directory", place))?;
        }
        set_times(layer, way, time)?;
        Ok(parent)
    }
}

/// Sets the times of the directories that were missing on a way, children first.
fn set_times(layer: &ActiveLayer, way: &Way<'_>, time: Option<Timespec>) -> Result<(), FileError> {
    let Some(time) = time else { return Ok(()) };
    for place in way.missing.iter().rev() {
        let above = plain(split(place).0);
        let parent = open_below(layer.upper_dir(), if above.is_empty() { b"." } else { above });
        settle(&parent.map_err(failed("open the directory", place))?, place, None, None, Some(time))?;
    }
    Ok(())
}

/// Opens a directory of the layer, to look things up in it.
fn open_below(dir: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, path, flags, Mode::empty())
}

/// Follows a path as far as it leads through directories; `None` where something else is on the way, or it cannot be told.
fn walk<'a>(tree: &'a Layered, path: &[u8]) -> Option<Way<'a>> {
    let mut way = Way { there: Place::new(), merged: Vec::new(), missing: Vec::new(), leaf: None };
    for name in path.split(|byte| *byte == b'/').filter(|it| !it.is_empty()) {
        if way.leaf.is_some() {
            return None;
        }
        let here = join(way.missing.last().unwrap_or(&way.there), name);
        if !way.missing.is_empty() {
            way.missing.push(here);
            continue;
        }
        let found = match way.merged.last() {
            Some(merged) => tree.look(merged, plain(&here)),
            None => tree.look(&tree.top(), plain(&here)),
        };
        match found.ok()? {
            Found::Nothing => way.missing.push(here),
            Found::Directory(merged) => {
                way.there = here;
                way.merged.push(merged);
            }
            Found::Leaf(layer) => way.leaf = Some(layer),
        }
    }
    Some(way)
}

/// A place as a path from the top of a layer.
fn plain(place: &[u8]) -> &[u8] {
    place.strip_prefix(b"/").unwrap_or(place)
}

fn is_regular(stat: &rustix::fs::Stat) -> bool {
    super::kind(stat) == rustix::fs::FileType::RegularFile
}

/// Gives what was made its attributes; a mode comes behind the owner: changing that takes set-id bits off.
fn settle(
    parent: &OwnedFd,
    place: &[u8],
    owner: Option<Owner>,
    mode: Option<u32>,
    time: Option<Timespec>,
) -> Result<(), FileError> {
    let (parent, name) = (parent.as_fd(), OsStr::from_bytes(split(place).1));
    if let Some(owner) = owner {
        chown_at(parent, name, owner).map_err(failed("set the owner of", place))?;
    }
    if let Some(mode) = mode {
        chmod_at(parent, name, mode).map_err(failed("set the mode of", place))?;
    }
    if let Some(time) = time {
        set_times_at(parent, name, time, time).map_err(failed("set the times of", place))?;
    }
    Ok(())
}

fn failed(attempt: &'static str, place: &[u8]) -> impl Fn(rustix::io::Errno) -> FileError {
    move |errno| FileError::io(attempt, place, errno.into())
}
