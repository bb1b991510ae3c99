//! A directory as it was looked at, for copies: what was not meant is not there, what has changed since is an error.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{FileType, Timespec};
use rustix::io::Errno;

use super::scan::{Entry, open_directory, open_file, open_root, split, still_seen};
use super::{LocalError, LocalTree};
use crate::engine::content_hash::FileKind;
use crate::engine::ops::FileError;
use crate::engine::ops::files::{Directory, Facts, Files, Xattrs};
use crate::engine::ops::root::Owner;

/// The files of a [`LocalTree`].
pub(crate) struct ScannedFiles<'a> {
    tree: &'a LocalTree,
    root: OwnedFd,
    /// By entry, whether listing a directory shows it. All are found by their path.
    shown: Option<Vec<bool>>,
}

impl<'a> ScannedFiles<'a> {
    /// All of them.
    pub(crate) fn new(tree: &'a LocalTree) -> Result<ScannedFiles<'a>, FileError> {
        let root = open_root(&tree.dir, "").map_err(failed)?;
        Ok(ScannedFiles { tree, root, shown: None })
    }

    /// Lists only the entries `changed` and what is on the way to them and to the paths `gone`.
    pub(crate) fn limit(&mut self, changed: &[usize], gone: &[&[u8]]) {
        let mut shown = vec![false; self.tree.scan.entries.len()];
        let show_above = |path: &[u8], shown: &mut Vec<bool>| {
            let mut path = split(path).0;
            while !path.is_empty() {
                let Some(idx) = self.tree.scan.find(path) else { return };
                if std::mem::replace(&mut shown[idx], true) {
                    return;
                }
                path = split(path).0;
            }
        };
        for &idx in changed {
            show_above(&self.tree.scan.entries[idx].path, &mut shown);
            shown[idx] = true;
        }
        gone.iter().for_each(|path| show_above(path, &mut shown));
        self.shown = Some(shown);
    }

    /// The entry at a place; `None` inside is the directory itself.
    fn find(&self, place: &[u8]) -> Option<Option<usize>> {
        match place.strip_prefix(b"/") {
            None => Some(None),
            Some(path) => self.tree.scan.find(path).map(Some),
        }
    }

    fn entry(&self, facts: &Facts) -> Option<&Entry> {
        self.tree.scan.entries.get(facts.index)
    }
}

impl Files for ScannedFiles<'_> {
    fn read_link(&self, place: &[u8]) -> Result<Option<Vec<u8>>, FileError> {
        let entry = self.find(place).flatten().map(|idx| &self.tree.scan.entries[idx]);
        Ok(entry.filter(|it| it.kind == FileKind::Symlink).map(|it| it.target.clone()))
    }

    fn look(&self, place: &[u8]) -> Result<Option<Facts>, FileError> {
        Ok(self.find(place).map(|found| match found {
            Some(idx) => facts(idx, &self.tree.scan.entries[idx]),
            None => {
                let modified = timespec(self.tree.scan.mtime);
                Facts {
                    kind: FileKind::Directory,
                    mode: 0o755,
                    owner: ROOT,
                    size: 0,
                    rdev: 0,
                    inode: None,
                    accessed: modified,
                    modified,
                    index: usize::MAX,
                }
            }
        }))
    }

    fn xattrs(&self, _: &[u8], facts: &Facts) -> Result<Xattrs, FileError> {
        Ok(self.entry(facts).map(|it| it.xattrs.clone()).unwrap_or_default())
    }

    fn directory(&self, place: &[u8]) -> Result<Box<dyn Directory + '_>, FileError> {
        let path = place.strip_prefix(b"/").unwrap_or_default();
        let fd = open_directory(&self.root, path).map_err(|errno| {
            failed(LocalError::read("open", &self.tree.dir.join(OsStr::from_bytes(path)), errno))
        })?;
        let idx = self.find(place).flatten();
        Ok(Box::new(ScannedDirectory { files: self, fd, idx }))
    }
}

/// A directory of [`ScannedFiles`].
struct ScannedDirectory<'a> {
    files: &'a ScannedFiles<'a>,
    fd: OwnedFd,
    idx: Option<usize>,
}

impl ScannedDirectory<'_> {
    fn entry(&self, facts: &Facts) -> &Entry {
        self.files.entry(facts).expect("facts of files are those of entries")
    }
}

impl Directory for ScannedDirectory<'_> {
    fn entries(&self) -> Result<Vec<(OsString, Facts)>, FileError> {
        let scan = &self.files.tree.scan;
        let is_shown = |idx: &usize| self.files.shown.as_ref().is_none_or(|shown| shown[*idx]);
        let named = |idx: usize| {
            let entry = &scan.entries[idx];
            (OsString::from_vec(split(&entry.path).1.to_vec()), facts(idx, entry))
        };
        Ok(scan.children(self.idx).filter(is_shown).map(named).collect())
    }

    fn open(&self, name: &OsStr, facts: &Facts) -> Result<OwnedFd, FileError> {
        let host = || self.files.tree.dir.join(OsStr::from_bytes(&self.entry(facts).path));
        let file = open_file(&self.fd, name.as_bytes())
            .map_err(|errno| failed(LocalError::read("open", &host(), errno)))?;
        // A directory opens like a file, and is only found out by reading.
        match rustix::fs::fstat(&file).map(|it| FileType::from_raw_mode(it.st_mode)) {
            Ok(FileType::Directory) => Err(failed(LocalError::read("open", &host(), Errno::ISDIR))),
            Ok(_) | Err(_) => Ok(file),
        }
    }

    fn still(&self, _: &OsStr, facts: &Facts, fd: &OwnedFd) -> Result<(), FileError> {
        still_seen(fd, &self.files.tree.dir, self.entry(facts)).map_err(failed)
    }

    fn xattrs(&self, _: &OsStr, facts: &Facts, _: Option<&OwnedFd>) -> Result<Xattrs, FileError> {
        Ok(self.entry(facts).xattrs.clone())
    }
}

const ROOT: Owner = Owner { uid: 0, gid: 0 };

fn facts(idx: usize, entry: &Entry) -> Facts {
    let modified = timespec(entry.mtime);
    Facts {
        kind: entry.kind,
        mode: entry.mode,
        owner: ROOT,
        size: entry.size,
        rdev: entry.rdev,
        inode: (1 < entry.n_links).then_some((entry.dev, entry.ino)),
        // When it was last read says nothing about it.
        accessed: modified,
        modified,
        index: idx,
    }
}

fn timespec((seconds, nanoseconds): (i64, u32)) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
}

fn failed(error: LocalError) -> FileError {
    FileError::Local(Box::new(error))
}
