//! Unpacks entries into a bare directory in overlayfs form: whiteouts as devices, opaque directories by attribute.
//!
//! The directory is private to this process until it is published, and every step goes by descriptor: a name is
//! split into components, each opened without following symlinks; symlinks of the archive itself are resolved by hand
//! and cannot leave the root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, futimens, linkat, mkdirat, openat, openat2,
    readlinkat, symlinkat,
};
use rustix::io::Errno;

use super::reader::read_error;
use super::{ArchiveError, ArchiveReader, Entry, EntryKind};
use crate::store::snapshot::OPAQUE;
use crate::store::tree::{self, Kind, Meta};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;
/// As the kernel's own limit, and some: Go's `RootPath` allows 255.
const MAX_SYMLINKS: usize = 255;

/// Why an entry could not be unpacked: the archive's fault, or the disk's.
pub(super) enum ApplyError {
    Archive(ArchiveError),
    /// What was being done, and the kernel's answer.
    Io(&'static str, io::Error),
}

impl From<ArchiveError> for ApplyError {
    fn from(error: ArchiveError) -> ApplyError {
        ApplyError::Archive(error)
    }
}

type Result<T> = std::result::Result<T, ApplyError>;

/// Shorthand for [`ApplyError::Io`].
trait Attempt<T> {
    fn doing(self, attempt: &'static str) -> Result<T>;
}

impl<T, E: Into<io::Error>> Attempt<T> for std::result::Result<T, E> {
    fn doing(self, attempt: &'static str) -> Result<T> {
        self.map_err(|error| ApplyError::Io(attempt, error.into()))
    }
}

/// What only the tree below can settle, once it is known. Paths are relative, without symlinks.
#[derive(Default)]
pub(super) struct Unsettled {
    /// Directories that had to be there but have no entry of their own.
    pub(super) implicit: BTreeSet<Vec<u8>>,
    /// Hard links to files that are not in this layer.
    pub(super) links: Vec<LinkBelow>,
}

/// A hard link to a file of the tree below.
#[derive(Debug)]
pub(super) struct LinkBelow {
    /// Its name: a clean path.
    pub(super) path: Vec<u8>,
    /// Its header.
    pub(super) entry: Entry,
    /// A later entry took the name: only what it links to must be there.
    pub(super) is_replaced: bool,
}

/// Unpacks one archive.
pub(super) struct Applier<'a> {
    root: BorrowedFd<'a>,
    /// The directory worked in last, by the path it was asked for: archives go directory by directory.
    last: Option<(Vec<u8>, Place)>,
    /// Modification times of directories, set at the end: what is put in changes them.
    dir_times: BTreeMap<Vec<u8>, (i64, u32)>,
    unsettled: Unsettled,
    /// Names of the unsettled links, which are not there yet, and their places in the list.
    awaited: BTreeMap<Vec<u8>, usize>,
}

/// An open directory and its path from the root, symlinks resolved.
#[derive(Clone)]
struct Place {
    dir: std::rc::Rc<OwnedFd>,
    path: Vec<u8>,
}

impl Place {
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [self.path.as_slice(), b"/", name].concat() }
    }
}

impl<'a> Applier<'a> {
    pub(super) fn new(root: BorrowedFd<'a>) -> Applier<'a> {
        Applier {
            root,
            last: None,
            dir_times: BTreeMap::new(),
            unsettled: Unsettled::default(),
            awaited: BTreeMap::new(),
        }
    }

    /// Unpacks all entries.
    pub(super) fn run(mut self, archive: &mut ArchiveReader<impl Read>) -> Result<Unsettled> {
        while let Some(entry) = archive.next_entry()? {
            self.entry(&entry, archive)?;
        }
        for (path, mtime) in &self.dir_times {
            match open_plain(self.root, path) {
                Ok(dir) => futimens(&dir, &times(*mtime)).doing("set the time of a directory")?,
                // Replaced by something else since.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error).doing("open a directory"),
            }
        }
        Ok(self.unsettled)
    }

    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let components = components(&entry.name).map_err(|why| refused(entry, why))?;
        let Some((base, parents)) = components.split_last() else {
            // The root itself: not for a layer to change (containerd ignores it as well).
            return Ok(());
        };
        if parents.is_empty() && base.starts_with(b".wh..wh.") && *base != OPAQUE_MARK {
            // Bookkeeping of aufs.
            return Ok(());
        }
        let place = self.place(&parents.join(&b'/'), entry)?;
        if *base == OPAQUE_MARK {
            return tree::set_xattr(&place.dir, b".", OPAQUE, b"y").doing("mark a directory as opaque");
        }
        if let Some(hidden) = base.strip_prefix(WHITEOUT) {
            if self.awaited.contains_key(&place.path_of(hidden)) {
                // As below: what this layer adds stays.
                return Ok(());
            }
            return Self::whiteout(&place, hidden, entry);
        }
        self.create(&place, base, entry, content)
    }

    fn whiteout(place: &Place, hidden: &[u8], entry: &Entry) -> Result<()> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refused(entry, "a whiteout of no name, `.` or `..`"));
        }
        match tree::stat(&place.dir, hidden).doing("look at an entry")? {
            None => tree::make_whiteout(&place.dir, hidden).doing("make a whiteout"),
            // A whiteout is about the layers below: what this layer adds stays, but nothing shines through.
            Some(meta) if meta.is_dir() => {
                tree::set_xattr(&place.dir, hidden, OPAQUE, b"y").doing("mark a directory as opaque")
            }
            Some(_) => Ok(()),
        }
    }

    fn create(&mut self, place: &Place, base: &[u8], entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let dir = place.dir.as_fd();
        let path = place.path_of(base);
        let existing = tree::stat(dir, base).doing("look at an entry")?;
        let merges = entry.kind == EntryKind::Dir && existing.is_some_and(|it| it.is_dir());
        if existing.is_some() && !merges {
            self.forget(&path);
            tree::remove(dir, base).doing("replace an entry")?;
        } else if let Some(at) = self.awaited.remove(&path) {
            self.unsettled.links[at].is_replaced = true;
        }
        let mut meta = Meta {
            kind: Kind::File,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: 0,
            n_blocks: 0,
            ino: 0,
            nlink: 1,
            mtime: entry.mtime,
            rdev: (entry.device.major, entry.device.minor),
        };
        match entry.kind {
            EntryKind::File => Self::file(dir, base, entry, content)?,
            EntryKind::Dir => {
                meta.kind = Kind::Dir;
                if !merges {
                    mkdirat(dir, base, Mode::from_raw_mode(0o700)).doing("make a directory")?;
                }
                if existing.is_some_and(|it| it.is_whiteout()) {
                    tree::set_xattr(dir, base, OPAQUE, b"y").doing("mark a directory as opaque")?;
                }
                self.unsettled.implicit.remove(&path);
                self.dir_times.insert(path, entry.mtime);
            }
            EntryKind::Symlink => {
                meta.kind = Kind::Symlink;
                if entry.link.is_empty() || entry.link.len() >= MAX_PATH || entry.link.contains(&0) {
                    return Err(refused(entry, "an empty, too long or binary symlink target"));
                }
                symlinkat(entry.link.as_slice(), dir, base).doing("make a symlink")?;
            }
            EntryKind::HardLink => {
                let Some(kind) = self.hard_link(dir, base, &path, entry)? else {
                    self.awaited.insert(path.clone(), self.unsettled.links.len());
                    let entry = entry.clone();
                    self.unsettled.links.push(LinkBelow { path, entry, is_replaced: false });
                    return Ok(());
                };
                meta.kind = kind;
            }
            EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                meta.kind = match entry.kind {
                    EntryKind::Char => Kind::Char,
                    EntryKind::Block => Kind::Block,
                    EntryKind::Fifo
                    | EntryKind::File
                    | EntryKind::HardLink
                    | EntryKind::Symlink
                    | EntryKind::Dir => Kind::Fifo,
                };
                tree::make_node(dir, base, &meta).doing("make a device or fifo")?;
            }
        }
        set_attributes(dir, base, &meta, entry)
    }

    fn file(dir: BorrowedFd<'_>, base: &[u8], entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(dir, base, flags, Mode::from_raw_mode(0o600)).doing("make a file")?);
        let mut buffer = vec![0; usize::try_from(entry.size).unwrap_or(usize::MAX).clamp(1, 256 << 10)];
        let mut copy = |file: &mut File, n_bytes: u64| -> Result<()> {
            let mut n_left = n_bytes;
            while n_left > 0 {
                let n_wanted = usize::try_from(n_left).unwrap_or(usize::MAX).min(buffer.len());
                let n_read = match content.read(&mut buffer[..n_wanted]) {
                    Ok(n_read) => n_read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(read_error(error, 0).into()),
                };
                if n_read == 0 {
                    return Err(ArchiveError::Truncated { offset: 0 }.into());
                }
                file.write_all(&buffer[..n_read]).doing("write a file")?;
                n_left -= n_read as u64;
            }
            Ok(())
        };
        let Some(pieces) = &entry.sparse else { return copy(&mut file, entry.size) };
        for (offset, n_bytes) in pieces {
            file.seek(SeekFrom::Start(*offset)).doing("seek in a file")?;
            copy(&mut file, *n_bytes)?;
        }
        file.set_len(entry.size).doing("set the length of a file")
    }

    /// Links to a file of this layer and says what it is; `None` when this layer has none of that name.
    fn hard_link(
        &mut self,
        dir: BorrowedFd<'_>,
        base: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<Option<Kind>> {
        let target = components(&entry.link).map_err(|why| refused(entry, why))?;
        let Some((target_base, target_parents)) = target.split_last() else {
            return Err(refused(entry, "a hard link to the root"));
        };
        let Some(place) = self.find(&target_parents.join(&b'/'), entry)? else { return Ok(None) };
        if place.path_of(target_base) == path {
            return Err(refused(entry, "a hard link to itself"));
        }
        match tree::stat(&place.dir, target_base).doing("look at an entry")? {
            None => Ok(None),
            Some(meta) if meta.is_dir() => Err(refused(entry, "a hard link to a directory")),
            Some(meta) if meta.is_whiteout() => Err(refused(entry, "a hard link to a removed file")),
            Some(meta) => {
                linkat(&place.dir, *target_base, dir, base, AtFlags::empty()).doing("make a hard link")?;
                Ok(Some(meta.kind))
            }
        }
    }

    /// Drops what is noted about `path` and all below it: it is about to be replaced. Costs what is dropped, whatever else
    /// is noted: an archive may replace as often as it has entries.
    fn forget(&mut self, path: &[u8]) {
        self.last = None;
        let (first, end) = ([path, b"/"].concat(), [path, &[b'/' + 1]].concat());
        let below = || (Bound::Included(&first), Bound::Excluded(&end));
        let implicit = &mut self.unsettled.implicit;
        let gone: Vec<_> = implicit.range::<Vec<u8>, _>(below()).cloned().collect();
        for gone in gone.iter().map(Vec::as_slice).chain([path]) {
            implicit.remove(gone);
        }
        let gone: Vec<_> = self.awaited.range::<Vec<u8>, _>(below()).map(|(gone, _)| gone.clone()).collect();
        for gone in gone.iter().map(Vec::as_slice).chain([path]) {
            if let Some(at) = self.awaited.remove(gone) {
                self.unsettled.links[at].is_replaced = true;
            }
        }
        let gone: Vec<_> =
            self.dir_times.range::<Vec<u8>, _>(below()).map(|(gone, _)| gone.clone()).collect();
        for gone in gone.iter().map(Vec::as_slice).chain([path]) {
            self.dir_times.remove(gone);
        }
    }

    /// The directory `path` (clean, relative; empty for the root), made where it is missing.
    fn place(&mut self, path: &[u8], entry: &Entry) -> Result<Place> {
        if let Some((known, place)) = &self.last
            && known == path
        {
            return Ok(place.clone());
        }
        let place = match open_plain(self.root, path) {
            Ok(dir) => Place { dir: dir.into(), path: path.to_vec() },
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                self.walk(path, entry, Missing::Make)?.expect("what is missing was made")
            }
            Err(error) => return Err(error).doing("open a directory"),
        };
        self.last = Some((path.to_vec(), place.clone()));
        Ok(place)
    }

    /// The directory `path`; `None` when it is not there.
    fn find(&mut self, path: &[u8], entry: &Entry) -> Result<Option<Place>> {
        self.walk(path, entry, Missing::Stop)
    }

    /// Goes component by component and resolves symlinks inside the root.
    fn walk(&mut self, path: &[u8], entry: &Entry, missing: Missing) -> Result<Option<Place>> {
        let mut todo: Vec<Vec<u8>> = path.split(|it| *it == b'/').rev().map(<[u8]>::to_vec).collect();
        let root = rustix::io::dup(self.root).doing("open the root")?;
        let mut done = vec![Place { dir: root.into(), path: Vec::new() }];
        let mut n_symlinks = 0;
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if done.len() > 1 {
                        done.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let here = done.last().expect("the root is never popped");
            let next_path = here.path_of(&name);
            let found = tree::stat(&here.dir, &name).doing("look at an entry")?;
            match found.map(|it| (it.kind, it.is_whiteout())) {
                Some((Kind::Dir, _)) => {}
                Some((Kind::Symlink, _)) => {
                    n_symlinks += 1;
                    if n_symlinks > MAX_SYMLINKS {
                        return Err(refused(entry, "too many symlinks on its way"));
                    }
                    let target =
                        readlinkat(&here.dir, name.as_slice(), Vec::new()).doing("read a symlink")?;
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        done.truncate(1);
                    }
                    todo.extend(target.split(|it| *it == b'/').rev().map(<[u8]>::to_vec));
                    continue;
                }
                None | Some((_, true)) if missing == Missing::Stop => return Ok(None),
                None if self.awaited.contains_key(&next_path) => {
                    return Err(refused(entry, "something on its way is not a directory"));
                }
                None => {
                    mkdirat(&here.dir, name.as_slice(), Mode::from_raw_mode(0o755))
                        .doing("make a directory")?;
                    self.unsettled.implicit.insert(next_path.clone());
                }
                Some((_, true)) => {
                    tree::remove(&here.dir, &name).doing("replace a whiteout")?;
                    mkdirat(&here.dir, name.as_slice(), Mode::from_raw_mode(0o755))
                        .doing("make a directory")?;
                    tree::set_xattr(&here.dir, &name, OPAQUE, b"y").doing("mark a directory as opaque")?;
                    self.unsettled.implicit.insert(next_path.clone());
                }
                Some((Kind::File | Kind::Char | Kind::Block | Kind::Fifo | Kind::Socket, false)) => {
                    return Err(refused(entry, "something on its way is not a directory"));
                }
            }
            let dir = tree::open_dir(&here.dir, &name).doing("open a directory")?;
            done.push(Place { dir: dir.into(), path: next_path });
        }
        Ok(done.pop())
    }
}

/// What to do about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Stop,
}

/// Opens a directory by a path that has no symlinks in it; fails where it has one.
pub(super) fn open_plain(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, if path.is_empty() { b"." } else { path }, flags, Mode::empty(), resolve)
}

/// Owner, mode, extended attributes, and the time of what is no directory.
pub(super) fn set_attributes(dir: BorrowedFd<'_>, base: &[u8], meta: &Meta, entry: &Entry) -> Result<()> {
    tree::set_owner_and_mode(dir, base, meta).doing("set owner and mode")?;
    for (key, value) in &entry.xattrs {
        if tree::is_private_xattr(key) {
            // Overlayfs would take orders from these.
            continue;
        }
        match tree::set_xattr(dir, base, key, value) {
            // Best effort, as containerd: not every file system has every attribute.
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(Errno::INVAL | Errno::RANGE | Errno::TOOBIG) => {
                return Err(refused(entry, "an extended attribute that the kernel refuses"));
            }
            Err(error) => return Err(error).doing("set an extended attribute"),
        }
    }
    if meta.kind == Kind::Dir {
        return Ok(());
    }
    tree::set_mtime(dir, base, entry.mtime).doing("set the time of a file")
}

/// The components of a name: `.` and empty ones dropped, `..` resolved and held inside the root.
pub(super) fn components(name: &[u8]) -> std::result::Result<Vec<&[u8]>, &'static str> {
    if name.len() > MAX_PATH {
        return Err("a path of more than 4096 bytes");
    }
    if name.contains(&0) {
        return Err("a NUL in a name");
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|it| *it == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ if part.len() > MAX_NAME => return Err("a name of more than 255 bytes"),
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

pub(super) fn refused(entry: &Entry, why: &'static str) -> ApplyError {
    ArchiveError::Refused { name: entry.shown(), why }.into()
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: at, last_modification: at }
}

#[cfg(test)]
mod tests;
