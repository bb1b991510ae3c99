//! A directory's entries as layers of the store.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::LocalError;
use super::scan::{Entry, Scan, before, open_root, open_seen, still_seen};
use super::state::{self, Known};
use crate::base::Digest;
use crate::engine::cancel::Cancel;
use crate::engine::content_hash::FileKind;
use crate::engine::ops::root::{set_xattrs, transfer};
use crate::engine::source::SourceCtx;
use crate::store::{LayerMeta, Snapshot, StoreError, Table};

/// A tree of more layers than this is written anew.
const MAX_LAYERS: usize = 12;

/// The tree of what `scan` saw: that of the last build and a layer with the difference, if there is one and the
/// difference is small.
pub(super) fn materialise(
    ctx: &SourceCtx,
    dir: &Path,
    id: &Digest,
    scan: &Scan,
) -> Result<Snapshot, LocalError> {
    let root = open_root(dir, "")?;
    let last = ctx.store.get_value(Table::LocalFiles, &state::tree_key(id)).ok().flatten();
    let last = last.and_then(|bytes| state::decode(&bytes)).unwrap_or_default();
    let (base, changes) = plan(ctx, &last, scan);
    let tree = if changes.is_empty() && !base.is_scratch() {
        base
    } else {
        let layer = ctx.store.stage(&base)?;
        let write = Write { from: &root, dir, to: layer.upper_dir(), cancel: &ctx.cancel };
        write.all(&changes)?;
        let meta = LayerMeta { description: format!("local {}", dir.display()), ..LayerMeta::default() };
        base.with(layer.commit(&meta)?)
    };
    // Without it the next change costs a whole copy.
    let _ =
        ctx.store.put_value(Table::LocalFiles, &state::tree_key(id), &state::encode(scan, None, Some(&tree)));
    Ok(tree)
}

/// Something to be written to a layer.
struct Change<'a> {
    path: &'a [u8],
    /// `None`: it goes.
    entry: Option<&'a Entry>,
}

/// The tree to start from and what has to change in it, directories before what they hold.
fn plan<'a>(ctx: &SourceCtx, last: &'a Known, scan: &'a Scan) -> (Snapshot, Vec<Change<'a>>) {
    let all = || scan.entries.iter().map(|entry| Change { path: &entry.path, entry: Some(entry) }).collect();
    let base = last.tree.as_ref().filter(|tree| tree.layers.len() < MAX_LAYERS && ctx.store.check(tree));
    let Some(base) = base else { return (Snapshot::scratch(), all()) };
    let changes = difference(&last.scan.entries, &scan.entries);
    if scan.entries.len() < 2 * changes.len() && 16 < changes.len() {
        return (Snapshot::scratch(), all());
    }
    (base.clone(), changes)
}

fn difference<'a>(then: &'a [Entry], now: &'a [Entry]) -> Vec<Change<'a>> {
    let mut changed: Vec<Change<'a>> = Vec::new();
    let mut then = then.iter().peekable();
    // What lay in a directory that goes goes with it.
    let mut gone: Option<&[u8]> = None;
    let mut remove = |entry: &'a Entry, changed: &mut Vec<Change<'a>>| {
        if gone.is_some_and(|it| is_below(&entry.path, it)) {
            return;
        }
        if entry.kind == FileKind::Directory {
            gone = Some(&entry.path);
        }
        changed.push(Change { path: &entry.path, entry: None });
    };
    // A directory that was replaced by something else takes what it held with it.
    let mut replaced: Option<&[u8]> = None;
    for entry in now {
        while let Some(old) = then.next_if(|it| before(&it.path, &entry.path)) {
            if !replaced.is_some_and(|it| is_below(&old.path, it)) {
                remove(old, &mut changed);
            }
        }
        match then.next_if(|it| it.path == entry.path) {
            Some(old) if is_equal(old, entry) => {}
            old => {
                if old.is_some_and(|old| old.kind == FileKind::Directory) && entry.kind != FileKind::Directory
                {
                    replaced = Some(&entry.path);
                }
                changed.push(Change { path: &entry.path, entry: Some(entry) });
            }
        }
    }
    for old in then {
        if !replaced.is_some_and(|it| is_below(&old.path, it)) {
            remove(old, &mut changed);
        }
    }
    // Directories on the way to a change are written too: a layer holds whole paths.
    let mut needed: BTreeSet<&[u8]> = BTreeSet::new();
    for change in &changed {
        let ends = change.path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        needed.extend(ends.map(|at| &change.path[..at]));
    }
    for change in &changed {
        needed.remove(change.path);
    }
    let on_the_way = now.iter().filter(|it| needed.contains(it.path.as_slice()));
    changed.extend(on_the_way.map(|entry| Change { path: &entry.path, entry: Some(entry) }));
    changed.sort_by(|a, b| a.path.split(|&byte| byte == b'/').cmp(b.path.split(|&byte| byte == b'/')));
    changed
}

/// Whether a layer need not hold `now` because the tree below has the same already.
fn is_equal(then: &Entry, now: &Entry) -> bool {
    then.kind == now.kind && then.digest == now.digest && then.mtime == now.mtime
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Writing of entries to a layer's directory.
struct Write<'a> {
    from: &'a OwnedFd,
    dir: &'a Path,
    to: BorrowedFd<'a>,
    cancel: &'a Cancel,
}

impl Write<'_> {
    fn all(&self, changes: &[Change<'_>]) -> Result<(), LocalError> {
        let mut first_names: HashMap<(u64, u64), &[u8]> = HashMap::new();
        let (mut files, mut links) = (Vec::new(), Vec::new());
        for change in changes {
            let Some(entry) = change.entry else {
                self.whiteout(change.path)?;
                continue;
            };
            match entry.kind {
                FileKind::Directory => self.directory(entry)?,
                FileKind::Regular if 1 < entry.n_links => match first_names.get(&(entry.dev, entry.ino)) {
                    Some(first) => links.push((*first, entry)),
                    None => {
                        first_names.insert((entry.dev, entry.ino), &entry.path);
                        files.push(entry);
                    }
                },
                _ => files.push(entry),
            }
        }
        files.par_iter().try_for_each(|entry| {
            if self.cancel.is_cancelled() {
                return Err(LocalError::Cancelled);
            }
            self.file(entry)
        })?;
        for (first, entry) in links {
            rustix::fs::linkat(self.to, first, self.to, entry.path.as_slice(), AtFlags::empty())
                .map_err(|errno| failed("link", &entry.path, errno))?;
        }
        // Children change the times of their directories.
        let directories =
            changes.iter().rev().filter_map(|it| it.entry).filter(|it| it.kind == FileKind::Directory);
        for entry in directories {
            let (parent, name) = self.parent(&entry.path)?;
            self.times(&parent, name, entry)?;
        }
        Ok(())
    }

    fn whiteout(&self, path: &[u8]) -> Result<(), LocalError> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|errno| failed("mark as removed", path, errno))
    }

    fn directory(&self, entry: &Entry) -> Result<(), LocalError> {
        let (parent, name) = self.parent(&entry.path)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))
            .map_err(|errno| failed("make the directory", &entry.path, errno))?;
        self.attributes(&parent, name, entry)
    }

    fn file(&self, entry: &Entry) -> Result<(), LocalError> {
        let (parent, name) = self.parent(&entry.path)?;
        match entry.kind {
            FileKind::Regular => self.regular(&parent, name, entry)?,
            FileKind::Symlink => rustix::fs::symlinkat(entry.target.as_slice(), &parent, name)
                .map_err(|errno| failed("make the link", &entry.path, errno))?,
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo => {
                let file_type = match entry.kind {
                    FileKind::CharDevice => FileType::CharacterDevice,
                    FileKind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                rustix::fs::mknodat(&parent, name, file_type, Mode::from_raw_mode(0o600), entry.rdev)
                    .map_err(|errno| failed("make the node", &entry.path, errno))?;
            }
            FileKind::Directory | FileKind::Socket => unreachable!("neither is a file to be written"),
        }
        self.attributes(&parent, name, entry)?;
        self.times(&parent, name, entry)
    }

    fn regular(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), LocalError> {
        let source = open_seen(self.from, self.dir, entry)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| failed("make", &entry.path, errno))?;
        transfer(&source, &target).map_err(|errno| failed("copy", &entry.path, errno))?;
        still_seen(&source, self.dir, entry)
    }

    fn attributes(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), LocalError> {
        if entry.kind != FileKind::Symlink {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(|errno| failed("set the mode of", &entry.path, errno))?;
        }
        set_xattrs(&entry.xattrs, parent.as_fd(), name)
            .map_err(|errno| failed("set the attributes of", &entry.path, errno))
    }

    fn times(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), LocalError> {
        let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("set the times of", &entry.path, errno))
    }

    /// The directory of the layer that holds `path`, and its name there.
    fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), LocalError> {
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (b".".as_slice(), path),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(self.to, parent, flags, Mode::empty(), resolve)
            .map_err(|errno| failed("open the parent of", path, errno))?;
        Ok((fd, OsStr::from_bytes(name)))
    }
}

/// Writing to the store failed.
fn failed(attempt: &'static str, path: &[u8], errno: Errno) -> LocalError {
    LocalError::Store(StoreError::io(attempt, Path::new(OsStr::from_bytes(path)), errno))
}
