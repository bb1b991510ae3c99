//! What a directory holds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use sha2::Digest as _;

use super::error::LocalError;
use super::state::Known;
use crate::base::Digest;
use crate::base::glob::{Kind, Matched, Patterns};
use crate::base::stack::deeper;
use crate::engine::cancel::Cancel;
use crate::engine::content_hash::{FileKind, HashTree, Header, Node, xattrs, xattrs_of};
use crate::engine::ops::root::list;
use crate::engine::source::KnownFile;

/// A file whose change time is younger than this when it is read may change again without it showing: its digest is
/// not remembered.
const SETTLED: Duration = Duration::from_millis(50);

/// Which files are meant.
pub(super) struct Filter {
    pub(super) include: Patterns,
    pub(super) exclude: Patterns,
}

/// What the patterns said of a directory.
#[derive(Clone, Default)]
struct Verdicts {
    include: Matched,
    exclude: Matched,
}

/// A file of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the directory, components separated by `/`.
    pub(super) path: Vec<u8>,
    pub(super) kind: FileKind,
    pub(super) mode: u32,
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) ctime: (i64, u32),
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) n_links: u64,
    pub(super) rdev: u64,
    /// Of a symbolic link.
    pub(super) target: Vec<u8>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of the record: header and content. `None` before the file was read.
    pub(super) digest: Option<Digest>,
    /// Whether the digest may be remembered.
    pub(super) settled: bool,
}

/// A directory at a moment; every directory stands before what it holds, names are sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) entries: Vec<Entry>,
    /// When a name in the directory itself last came or went.
    pub(super) mtime: (i64, u32),
}

/// Opens the directory `dir`, known to the build as `name`.
pub(super) fn open_root(dir: &Path, name: &str) -> Result<OwnedFd, LocalError> {
    let (name, path) = (name.to_owned(), dir.to_owned());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => LocalError::Missing { name, path },
        Errno::NOTDIR => LocalError::NotADirectory { name, path },
        errno => LocalError::Unreadable { attempt: "open", path, source: errno.into() },
    })
}

/// Walks the directory: one `stat` per file that is meant, no file is opened.
pub(super) fn scan(root: &OwnedFd, dir: &Path, filter: &Filter, cancel: &Cancel) -> Result<Scan, LocalError> {
    scan_beside(root, dir, filter, cancel, || ()).1
}

/// The same, and what `beside` gives, which is done meanwhile where there is much to walk over.
pub(super) fn scan_beside<T: Send>(
    root: &OwnedFd,
    dir: &Path,
    filter: &Filter,
    cancel: &Cancel,
    beside: impl FnOnce() -> T + Send,
) -> (T, Result<Scan, LocalError>) {
    let few = Walk { dir, filter, cancel, n_left: Some(AtomicUsize::new(FEW)) };
    match few.whole(root) {
        Ok(scan) => (beside(), Ok(scan)),
        Err(Stop::Error(error)) => (beside(), Err(error)),
        Err(Stop::Many) => {
            let many = Walk { dir, filter, cancel, n_left: None };
            rayon::join(beside, || {
                many.whole(root).map_err(|stop| match stop {
                    Stop::Error(error) => error,
                    Stop::Many => unreachable!("there is no limit"),
                })
            })
        }
    }
}

/// So many names are walked over sooner than threads are there to share them.
const FEW: usize = 256;

struct Walk<'a> {
    dir: &'a Path,
    filter: &'a Filter,
    cancel: &'a Cancel,
    /// How many names may still be met. `None`: any number, by as many threads as there are.
    n_left: Option<AtomicUsize>,
}

/// Why a walk ends early.
enum Stop {
    /// There are more names than may be.
    Many,
    Error(LocalError),
}

impl From<LocalError> for Stop {
    fn from(error: LocalError) -> Stop {
        Stop::Error(error)
    }
}

/// A name on its way into the list: what comes of it, in the order of names.
enum Found {
    File(Entry),
    Directory { entry: Entry, name: OsString, selected: bool, verdicts: Verdicts },
}

impl Walk<'_> {
    fn whole(&self, root: &OwnedFd) -> Result<Scan, Stop> {
        let stat = rustix::fs::fstat(root).map_err(|errno| LocalError::read("look at", self.dir, errno))?;
        let mtime = (stat.st_mtime, stat.st_mtime_nsec as u32);
        Ok(Scan { entries: self.directory(root, b"", &Verdicts::default())?, mtime })
    }

    fn directory(&self, fd: &OwnedFd, path: &[u8], parent: &Verdicts) -> Result<Vec<Entry>, Stop> {
        if self.cancel.is_cancelled() {
            return Err(LocalError::Cancelled.into());
        }
        let names = list(fd).map_err(|errno| LocalError::read("list", &self.host(path), errno))?;
        if let Some(n_left) = &self.n_left {
            let left = n_left.load(Ordering::Relaxed).checked_sub(names.len()).ok_or(Stop::Many)?;
            n_left.store(left, Ordering::Relaxed);
        }
        let mut found = Vec::with_capacity(names.len());
        for (name, is_dir) in names {
            let below = if path.is_empty() {
                name.as_bytes().to_vec()
            } else {
                [path, b"/", name.as_bytes()].concat()
            };
            let (selected, excluded, verdicts) = self.judge(&String::from_utf8_lossy(&below), parent);
            if !selected && (!is_dir || self.passes_by(&String::from_utf8_lossy(&below), excluded)) {
                continue;
            }
            let stat = match rustix::fs::statat(fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Gone before it was ever seen.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(LocalError::read("look at", &self.host(&below), errno).into()),
            };
            let entry = entry(below, &stat);
            match entry.kind {
                FileKind::Socket => {}
                FileKind::Directory => {
                    found.push(Found::Directory { entry, name, selected, verdicts });
                }
                _ if selected => found.push(Found::File(entry)),
                _ => {}
            }
        }
        let below = |it: &Found| match it {
            Found::File(_) => Ok(Vec::new()),
            Found::Directory { entry, name, selected, verdicts } => {
                self.below(fd, entry, name, *selected, verdicts)
            }
        };
        let directories: Vec<&Found> =
            found.iter().filter(|it| matches!(it, Found::Directory { .. })).collect();
        let parts: Vec<Vec<Entry>> = if directories.len() < 2 || self.n_left.is_some() {
            directories.into_iter().map(below).collect::<Result<_, _>>()?
        } else {
            directories.into_par_iter().map(below).collect::<Result<_, _>>()?
        };
        let mut entries = Vec::with_capacity(found.len() + parts.iter().map(Vec::len).sum::<usize>());
        let mut parts = parts.into_iter();
        for it in found {
            match it {
                Found::File(entry) => entries.push(entry),
                Found::Directory { .. } => entries.extend(parts.next().into_iter().flatten()),
            }
        }
        Ok(entries)
    }

    /// A directory with what it holds; nothing if neither it nor anything in it is meant.
    fn below(
        &self,
        fd: &OwnedFd,
        entry: &Entry,
        name: &OsStr,
        selected: bool,
        verdicts: &Verdicts,
    ) -> Result<Vec<Entry>, Stop> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(fd, name, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::ACCESS) if !selected => return Ok(Vec::new()),
            Err(errno) => return Err(LocalError::read("open", &self.host(&entry.path), errno).into()),
        };
        let mut entries = deeper(|| self.directory(&directory, &entry.path, verdicts))?;
        if selected || !entries.is_empty() {
            entries.insert(0, entry.clone());
        }
        Ok(entries)
    }

    /// Whether a path is meant, whether that is because it is excluded, and what is to be remembered of a directory.
    fn judge(&self, path: &str, parent: &Verdicts) -> (bool, bool, Verdicts) {
        let Filter { include, exclude } = self.filter;
        let mut verdicts = Verdicts::default();
        let (mut included, mut excluded) = (true, false);
        if !include.is_empty() {
            (included, verdicts.include) = include.verdict(path, &parent.include);
        }
        if !exclude.is_empty() {
            (excluded, verdicts.exclude) = exclude.verdict(path, &parent.exclude);
        }
        (included && !excluded, excluded, verdicts)
    }

    /// Whether nothing below a directory that is not meant itself can be.
    fn passes_by(&self, path: &str, excluded: bool) -> bool {
        if excluded {
            return self.filter.exclude.selects_nothing_below(path, Kind::Exceptions);
        }
        self.filter.include.selects_nothing_below(path, Kind::Plain)
    }

    fn host(&self, path: &[u8]) -> std::path::PathBuf {
        self.dir.join(OsStr::from_bytes(path))
    }
}

fn entry(path: Vec<u8>, stat: &Stat) -> Entry {
    let kind = FileKind::of_mode(stat.st_mode);
    let has_numbers = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
    Entry {
        path,
        kind,
        mode: stat.st_mode & 0o7777,
        size: if kind == FileKind::Regular { stat.st_size as u64 } else { 0 },
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
        dev: stat.st_dev,
        ino: stat.st_ino,
        n_links: if kind == FileKind::Directory { 1 } else { stat.st_nlink },
        rdev: if has_numbers { stat.st_rdev } else { 0 },
        target: Vec::new(),
        xattrs: Vec::new(),
        digest: None,
        settled: false,
    }
}

impl Entry {
    /// Whether the file is, by all that `stat` tells, the one that was seen then.
    pub(super) fn is_same(&self, then: &Entry) -> bool {
        let facts = |it: &Entry| (it.kind, it.mode, it.size, it.mtime, it.ctime, it.dev, it.ino, it.rdev);
        facts(self) == facts(then)
    }

    fn is_still(&self, stat: &Stat) -> bool {
        self.is_same(&entry(Vec::new(), stat))
    }

    pub(super) fn header(&self) -> Header {
        Header {
            kind: self.kind,
            mode: self.mode,
            uid: 0,
            gid: 0,
            size: self.size,
            target: self.target.clone(),
            device: (rustix::fs::major(self.rdev), rustix::fs::minor(self.rdev)),
            xattrs: self.xattrs.clone(),
        }
    }
}

/// Opens a file below the directory for reading; no link is followed.
pub(super) fn open(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    // The kernel refuses anything else beside PATH; a file that is read might be a FIFO by now.
    let more =
        if flags.contains(OFlags::PATH) { OFlags::CLOEXEC } else { OFlags::NONBLOCK | OFlags::CLOEXEC };
    let flags = flags | OFlags::NOFOLLOW | more;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Opens the directory at `path` below the directory, the directory itself where it is empty.
pub(super) fn open_directory(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    open(root, if path.is_empty() { b"." } else { path }, OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens a regular file of a directory for reading.
pub(super) fn open_file(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    // By now it might be a link or a FIFO.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// Makes sure that an open file has not changed since it was seen.
pub(super) fn still_seen(fd: &OwnedFd, dir: &Path, entry: &Entry) -> Result<(), LocalError> {
    let host = || dir.join(OsStr::from_bytes(&entry.path));
    let stat = rustix::fs::fstat(fd).map_err(|errno| LocalError::read("look at", &host(), errno))?;
    if entry.is_still(&stat) { Ok(()) } else { Err(LocalError::Changed { path: host() }) }
}

impl Scan {
    /// Takes over what is known of files that did not change; whether nothing at all did.
    pub(super) fn take_known(&mut self, known: &Known) -> bool {
        let mut all = self.entries.len() == known.scan.entries.len();
        // Both are in the same order: of the same paths, one pass finds them all.
        let mut then = known.scan.entries.iter().peekable();
        for entry in &mut self.entries {
            while then.next_if(|it| order(&it.path, &entry.path).is_lt()).is_some() {
                all = false;
            }
            match then.next_if(|it| it.path == entry.path) {
                Some(then) if then.settled && entry.is_same(then) => {
                    entry.digest = then.digest;
                    entry.settled = true;
                    entry.target.clone_from(&then.target);
                    entry.xattrs.clone_from(&then.xattrs);
                }
                Some(_) | None => all = false,
            }
        }
        all
    }

    /// Reads what is not known: targets of links, attributes, contents.
    pub(super) fn read_files(
        &mut self,
        root: &OwnedFd,
        dir: &Path,
        cancel: &Cancel,
    ) -> Result<(), LocalError> {
        let mut by_parent: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (idx, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.digest.is_none()) {
            by_parent.entry(split(&entry.path).0).or_default().push(idx);
        }
        let tasks: Vec<(&[u8], Vec<usize>)> =
            by_parent.iter().flat_map(|(parent, all)| self.tasks(all).map(|it| (*parent, it))).collect();
        let read = |(parent, entries): (&[u8], Vec<usize>)| {
            let shown = || dir.join(OsStr::from_bytes(&self.entries[entries[0]].path));
            let directory = open_directory(root, parent)
                .map_err(|errno| LocalError::read("open the parent of", &shown(), errno))?;
            let read = |idx: usize| {
                if cancel.is_cancelled() {
                    return Err(LocalError::Cancelled);
                }
                Ok((idx, read_entry(&directory, dir, &self.entries[idx])?))
            };
            entries.iter().map(|&idx| read(idx)).collect::<Result<Vec<_>, _>>()
        };
        let found = tasks.into_par_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for (idx, entry) in found.into_iter().flatten() {
            self.entries[idx] = entry;
        }
        Ok(())
    }

    /// Entries of one directory in parts that are read at once.
    fn tasks<'a>(&'a self, all: &'a [usize]) -> impl Iterator<Item = Vec<usize>> + 'a {
        let mut rest = all.iter().copied().peekable();
        std::iter::from_fn(move || {
            let mut task = Vec::new();
            let mut n_bytes = 0;
            while task.len() < 64 && n_bytes < (1 << 20) {
                let Some(idx) = rest.next() else { break };
                n_bytes += self.entries[idx].size;
                task.push(idx);
            }
            (!task.is_empty()).then_some(task)
        })
    }

    /// The entry at a path.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|it| order(&it.path, path)).ok()
    }

    /// Indexes of the entries directly in the directory `idx`, or in the whole directory for `None`.
    pub(super) fn children(&self, idx: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        let end_of = |idx: usize| {
            let entry = &self.entries[idx];
            if entry.kind != FileKind::Directory {
                return idx + 1;
            }
            idx + 1 + self.entries[idx + 1..].partition_point(|it| is_below(&it.path, &entry.path))
        };
        let (start, end) = idx.map_or((0, self.entries.len()), |idx| (idx + 1, end_of(idx)));
        std::iter::successors(Some(start), move |&at| (at < end).then(|| end_of(at)))
            .take_while(move |&at| at < end)
    }

    /// The files as they are told apart in words. All entries must have been read.
    pub(super) fn known_files(&self) -> Vec<KnownFile> {
        let known = |entry: &Entry| {
            let digest = entry.digest.expect("all entries were read");
            let (start, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
            KnownFile {
                path: entry.path.clone(),
                kind: entry.kind,
                mode: entry.mode,
                size: entry.size,
                target: entry.target.clone(),
                digest: *start,
            }
        };
        self.entries.iter().map(known).collect()
    }

    /// The tree for content digests. All entries must have been read.
    pub(super) fn hash_tree(&self) -> HashTree {
        let mut entries = self.entries.iter().peekable();
        let children = children(&mut entries, b"");
        // The top directory itself was not selected: BuildKit gives it the digest of nothing.
        HashTree::complete(Node::directory(Digest::of(""), children))
    }
}

/// The order of entries: by components, each by bytes.
pub(super) fn order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    // What a path is continued with stands before any other byte.
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(a).cmp(&rank(b)),
        None => a.len().cmp(&b.len()),
    }
}

/// Whether `path` lies below `directory`; everything lies below `""`.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The directory of a path, `""` for the top, and the name in it.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Reads what is known of a file besides what `stat` says: attributes, and the target of a link.
pub(super) fn read_attributes(root: &OwnedFd, dir: &Path, entry: &mut Entry) -> Result<(), LocalError> {
    let directory = open_directory(root, split(&entry.path).0).map_err(|errno| {
        LocalError::read("open the parent of", &dir.join(OsStr::from_bytes(&entry.path)), errno)
    })?;
    attributes(&directory, dir, entry)
}

/// As [`read_attributes`], in an open directory.
fn attributes(directory: &OwnedFd, dir: &Path, entry: &mut Entry) -> Result<(), LocalError> {
    let host = dir.join(OsStr::from_bytes(&entry.path));
    let name = OsStr::from_bytes(split(&entry.path).1);
    let failed = |attempt| {
        let host = &host;
        move |errno: Errno| LocalError::read(attempt, host, errno)
    };
    let found = xattrs(directory, name).map_err(failed("read the attributes of"))?;
    if entry.kind == FileKind::Symlink {
        let target = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(|errno| match errno {
            // It is none any more.
            Errno::INVAL => LocalError::Vanished { path: host.clone() },
            errno => failed("read the link")(errno),
        })?;
        entry.target = target.into_bytes();
    }
    entry.xattrs = found;
    Ok(())
}

/// What there is to know of an entry in an open directory.
pub(super) fn read_entry(directory: &OwnedFd, dir: &Path, entry: &Entry) -> Result<Entry, LocalError> {
    let host = || dir.join(OsStr::from_bytes(&entry.path));
    let failed = |attempt| move |errno: Errno| LocalError::read(attempt, &host(), errno);
    let name = split(&entry.path).1;
    let mut entry = entry.clone();
    let digest = if entry.kind == FileKind::Regular {
        let fd = open_file(directory, name).map_err(failed("open"))?;
        let content = content_digest(&fd, &mut entry);
        // An error on a file that is another one by now says only that.
        still_seen(&fd, dir, &entry)?;
        content.map_err(failed("read"))?
    } else {
        attributes(directory, dir, &mut entry)?;
        entry.header().digest()
    };
    entry.digest = Some(digest);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::new(u64::try_from(entry.ctime.0).unwrap_or_default(), entry.ctime.1);
    entry.settled = now.checked_sub(changed).is_some_and(|age| SETTLED < age);
    Ok(entry)
}

/// Digest of an open file with its attributes, which are noted.
fn content_digest(fd: &OwnedFd, entry: &mut Entry) -> rustix::io::Result<Digest> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 128 << 10]);
    }
    entry.xattrs = xattrs_of(fd.as_fd())?;
    let mut state = entry.header().begin();
    BUFFER.with_borrow_mut(|buffer| {
        let mut n_left = entry.size;
        // The read that would only find the end is not made: a file that has grown has changed.
        while 0 < n_left {
            let n_read = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut buffer[..]))?;
            if n_read == 0 {
                break;
            }
            state.update(&buffer[..n_read]);
            n_left = n_left.saturating_sub(n_read as u64);
        }
        Ok(())
    })?;
    Ok(Digest::from_bytes(state.finalize().into()))
}

/// Nodes of all entries directly in `directory`, which come next.
fn children<'a>(
    entries: &mut std::iter::Peekable<impl Iterator<Item = &'a Entry>>,
    directory: &[u8],
) -> BTreeMap<Vec<u8>, Node> {
    let mut nodes = BTreeMap::new();
    let skip = if directory.is_empty() { 0 } else { directory.len() + 1 };
    while let Some(entry) = entries.next_if(|it| {
        directory.is_empty() || it.path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
    }) {
        let digest = entry.digest.expect("all entries were read");
        let node = match entry.kind {
            FileKind::Directory => Node::directory(digest, deeper(|| children(entries, &entry.path))),
            FileKind::Symlink => Node::symlink(&entry.header(), entry.target.clone()),
            _ => Node::file(digest),
        };
        nodes.insert(entry.path[skip..].to_vec(), node);
    }
    nodes
}
