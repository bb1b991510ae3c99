//! Actions that are done without a mount: those that make one new thing where no link is on the way. They are most, and
//! a mount takes longer than they do.
//!
//! Each is looked into first and done then: an action that needs more than this leaves everything as it was, and is done on
//! the mounted tree. The outcome is the same, the layer's bytes and attributes included (`tests/quick.rs` compares them).

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, Timespec};

use super::copy::{Copy, single};
use super::error::FileError;
use super::root::{Owner, Place, Root, chmod_at, chown_at, join, set_times_at, split, timespec};
use crate::engine::cancel::Cancel;
use crate::graph::ir::{FileCopy, FileMkdir, FileMkfile, FileSymlink};
use crate::store::{ActiveLayer, Found, Layered, Store};
use crate::store::{Snapshot, StoreError};

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
    /// Places below it that are not, each the parent of the next.
    missing: Vec<Place>,
    /// What stands at the end, if it is no directory: the layer that has it.
    leaf: Option<std::os::fd::BorrowedFd<'a>>,
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
        let Some((directory, place)) = self.free_place(&op.path) else { return Ok(Done::No) };
        let parent = layer.own_directory(&self.tree, &directory)?;
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
        let time = timespec(op.timestamp);
        self.make_dirs(layer, &way, op.mode as u32 & 0o777, owner, time)?;
        Ok(done())
    }

    pub(super) fn symlink(
        &self,
        layer: &ActiveLayer,
        op: &FileSymlink,
        owner: Option<Owner>,
    ) -> Result<Done, FileError> {
        let Some((directory, place)) = self.free_place(&op.newpath) else { return Ok(Done::No) };
        let parent = layer.own_directory(&self.tree, &directory)?;
        rustix::fs::symlinkat(op.oldpath.as_str(), &parent, split(&place).1)
            .map_err(|errno| FileError::io("make the link", &place, errno.into()))?;
        settle(&parent, &place, owner, None, timespec(op.timestamp))?;
        Ok(done())
    }

    /// Copies one regular file out of a tree of the store.
    pub(super) fn copy(
        &self,
        layer: &ActiveLayer,
        op: &FileCopy,
        (store, from): (&Store, &Snapshot),
        owner: Option<Owner>,
        cancel: &Cancel,
    ) -> Result<Done, FileError> {
        let Some(asked) = single(op) else { return Ok(Done::No) };
        let from = store.layered(from)?;
        let Some(Way { leaf: Some(holder), .. }) = walk(&from, asked.as_bytes()) else { return Ok(Done::No) };
        let from = Root::new(rustix::io::dup(holder).map_err(failed("open", asked.as_bytes()))?);
        let Some(stat) = from.stat(asked.as_bytes())?.filter(is_regular) else { return Ok(Done::No) };
        let to = Root::new(rustix::io::dup(layer.upper_dir()).map_err(failed("open", b""))?);
        let copy = Copy { op, from: &from, to: &to, before: None, owner, cancel };
        let (directory, mut target) = copy.destination();
        let Some(way) = walk(&self.tree, &directory).filter(|it| it.leaf.is_none()) else {
            return Ok(Done::No);
        };
        // Without `create_dest_path` somebody else finds out what is missing.
        if !op.create_dest_path && !way.missing.is_empty() {
            return Ok(Done::No);
        }
        // Whether a directory is there, or will have been made; `None` for what is not simple.
        let is_directory = |place: &[u8]| {
            let it = walk(&self.tree, place)?;
            match it.leaf {
                Some(holder) => Root::new(rustix::io::dup(holder).ok()?)
                    .stat(place)
                    .is_ok_and(|stat| stat.as_ref().is_some_and(is_regular))
                    .then_some(false),
                None => Some(it.missing.is_empty() || place == directory.as_slice()),
            }
        };
        match is_directory(&target) {
            Some(false) => {}
            Some(true) => {
                target = join(&target, split(asked.as_bytes()).1);
                if is_directory(&target) != Some(false) {
                    return Ok(Done::No);
                }
            }
            None => return Ok(Done::No),
        }
        let time = timespec(op.timestamp);
        self.make_dirs(layer, &way, copy.parents_mode(), owner, time)?;
        let parent = layer.own_directory(&self.tree, plain(split(&target).0))?;
        copy.file(asked.as_bytes(), &stat, parent.as_fd(), &target)?;
        // What was put in changed the times.
        self.set_times(layer, &way, time)?;
        Ok(done())
    }

    /// A place where nothing is, and the directory that it is in, which is there.
    fn free_place(&self, path: &str) -> Option<(Place, Place)> {
        let mut way = walk(&self.tree, super::rooted(path).as_bytes())?;
        let is_free = way.leaf.is_none() && way.missing.len() == 1;
        let place = way.missing.pop().filter(|_| is_free)?;
        Some((plain(&way.there).to_vec(), place))
    }

    /// Makes the directories that are missing on a way.
    fn make_dirs(
        &self,
        layer: &ActiveLayer,
        way: &Way<'_>,
        mode: u32,
        owner: Option<Owner>,
        time: Option<Timespec>,
    ) -> Result<(), FileError> {
        if way.missing.is_empty() {
            return Ok(());
        }
        let mut parent = layer.own_directory(&self.tree, plain(&way.there))?;
        for place in &way.missing {
            let name = OsStr::from_bytes(split(place).1);
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode & 0o7777))
                .map_err(failed("make the directory", place))?;
            settle(&parent, place, None, Some(mode), None)?;
            settle(&parent, place, owner, None, None)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            parent = rustix::fs::openat(&parent, name, flags, Mode::empty())
                .map_err(failed("open the directory", place))?;
        }
        self.set_times(layer, way, time)
    }

    /// Sets the times of the directories that were missing, children first.
    fn set_times(&self, layer: &ActiveLayer, way: &Way<'_>, time: Option<Timespec>) -> Result<(), FileError> {
        let Some(time) = time else { return Ok(()) };
        for place in way.missing.iter().rev() {
            let parent = layer.own_directory(&self.tree, plain(split(place).0))?;
            settle(&parent, place, None, None, Some(time))?;
        }
        Ok(())
    }
}

/// Follows a path as far as it leads through directories; `None` where something else is on the way, or it cannot be told.
fn walk<'a>(tree: &'a Layered, path: &[u8]) -> Option<Way<'a>> {
    let mut way = Way { there: Place::new(), missing: Vec::new(), leaf: None };
    let mut merged = tree.top();
    for name in path.split(|byte| *byte == b'/').filter(|it| !it.is_empty()) {
        if way.leaf.is_some() {
            return None;
        }
        let here = join(way.missing.last().unwrap_or(&way.there), name);
        if !way.missing.is_empty() {
            way.missing.push(here);
            continue;
        }
        match tree.look(&merged, plain(&here)).ok()? {
            Found::Nothing => way.missing.push(here),
            Found::Directory(next) => (way.there, merged) = (here, next),
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
