//! `local.metadatatransfer`: a list of a directory's files instead of the files, for those who look at names and times and
//! want few contents (fsutil/receive.go).
//!
//! The tree holds `.fsutil-metadata`: for every file, in the order of the walk, the length of a `fsutil.types.Stat` (32 bits,
//! little-endian) and that message. Beside it lie the files that the exceptions select.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use prost::Message;
use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

use super::error::LocalError;
use super::scan::{Entry, Scan, open_root, read_attributes, scan};
use super::{LocalTree, Wanted, blocking, filter};
use crate::base::Digest;
use crate::base::glob::Patterns;
use crate::engine::content_hash::FileKind;
use crate::engine::source::{Resolved, SourceCtx, SourceError};
use crate::store::{LayerMeta, RecordType, Snapshot, Store, StoreError};

/// Name of the list.
const LIST: &str = ".fsutil-metadata";

/// A directory as it was when it was looked at.
pub(super) struct MetadataTree {
    /// The files with content.
    chosen: Arc<LocalTree>,
    list: Arc<Vec<u8>>,
}

/// `fsutil.types.Stat`.
#[derive(Clone, PartialEq, Message)]
struct Stat {
    #[prost(string, tag = "1")]
    path: String,
    /// Go's `FileMode`.
    #[prost(uint32, tag = "2")]
    mode: u32,
    #[prost(uint32, tag = "3")]
    uid: u32,
    #[prost(uint32, tag = "4")]
    gid: u32,
    #[prost(int64, tag = "5")]
    size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    modified: i64,
    /// Of a symbolic link, or the first name of a file with several.
    #[prost(string, tag = "7")]
    linkname: String,
    #[prost(int64, tag = "8")]
    devmajor: i64,
    #[prost(int64, tag = "9")]
    devminor: i64,
    #[prost(btree_map = "string, bytes", tag = "10")]
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// Looks at the directory; only what the exceptions select is read.
pub(super) fn look(
    ctx: &SourceCtx,
    dir: PathBuf,
    wanted: &Wanted,
    exceptions: &[String],
) -> Result<MetadataTree, LocalError> {
    let root = open_root(&dir, &wanted.name)?;
    let (id, filter) = filter(&root, &dir, wanted)?;
    let exceptions = wanted.patterns(exceptions)?;
    let mut all = scan(&root, &dir, &filter, &ctx.cancel)?;
    all.entries.par_iter_mut().try_for_each(|entry| read_attributes(&root, &dir, entry))?;
    let list = Arc::new(list(&all.entries));
    let mut chosen = choose(all, &exceptions);
    chosen.read_files(&root, &dir, &ctx.cancel)?;
    let id = Digest::of(format!("metadata {id} {exceptions:?}"));
    Ok(MetadataTree { chosen: Arc::new(LocalTree::of_scan(&ctx.store, dir, id, chosen)), list })
}

/// The files that the exceptions select, by themselves or by a directory above them, with the directories on the way.
fn choose(all: Scan, exceptions: &Patterns) -> Scan {
    if exceptions.is_empty() {
        return Scan::default();
    }
    let mut needed: BTreeSet<Vec<u8>> = BTreeSet::new();
    for entry in &all.entries {
        if exceptions.selects(&String::from_utf8_lossy(&entry.path)) {
            let ends = entry.path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
            needed.extend(ends.map(|at| entry.path[..at].to_vec()));
            needed.insert(entry.path.clone());
        }
    }
    let entries = all.entries.into_iter().filter(|entry| needed.contains(&entry.path)).collect();
    Scan { entries, mtime: all.mtime }
}

/// The content of the list.
fn list(entries: &[Entry]) -> Vec<u8> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut firsts: BTreeMap<(u64, u64), &[u8]> = BTreeMap::new();
    let mut out = Vec::new();
    for entry in entries {
        let mut linkname = entry.target.as_slice();
        if 1 < entry.n_links && entry.kind != FileKind::Directory {
            match firsts.get(&(entry.dev, entry.ino)) {
                Some(first) => linkname = first,
                None => drop(firsts.insert((entry.dev, entry.ino), &entry.path)),
            }
        }
        let (seconds, nanoseconds) = entry.mtime;
        let stat = Stat {
            path: text(&entry.path),
            mode: go_mode(entry),
            uid: 0,
            gid: 0,
            size: if entry.kind == FileKind::Symlink { entry.target.len() as i64 } else { entry.size as i64 },
            modified: seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanoseconds)),
            linkname: text(linkname),
            devmajor: i64::from(rustix::fs::major(entry.rdev)),
            devminor: i64::from(rustix::fs::minor(entry.rdev)),
            xattrs: entry.xattrs.iter().map(|(name, value)| (text(name), value.clone())).collect(),
        };
        let bytes = stat.encode_to_vec();
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    out
}

/// The mode as Go's `os.FileMode` has it.
fn go_mode(entry: &Entry) -> u32 {
    let kind = match entry.kind {
        FileKind::Regular => 0,
        FileKind::Directory => 1 << 31,
        FileKind::Symlink => 1 << 27,
        FileKind::BlockDevice => 1 << 26,
        FileKind::CharDevice => 1 << 26 | 1 << 21,
        FileKind::Fifo => 1 << 25,
        FileKind::Socket => 1 << 24,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.into_iter().filter(|(bit, _)| entry.mode & bit != 0).map(|(_, go)| go).sum::<u32>();
    kind | special | entry.mode & 0o777
}

impl Resolved for MetadataTree {
    fn key(&self) -> Digest {
        Digest::of(format!("{}{}", Digest::of(&*self.list), self.chosen.key))
    }

    /// Its name there is one of a session.
    fn shared_keys(&self) -> Vec<String> {
        Vec::new()
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let (ctx, chosen, list) = (ctx.clone(), self.chosen.clone(), self.list.clone());
        Box::pin(async move {
            blocking(move || {
                let base = match chosen.n_files() {
                    0 => Snapshot::scratch(),
                    _ => chosen.snapshot(&ctx.cancel)?,
                };
                Ok(write(&ctx.store, &base, chosen.dir(), &list)?)
            })
            .await
        })
    }
}

/// `base` with the list.
fn write(store: &Store, base: &Snapshot, dir: &Path, list: &[u8]) -> Result<Snapshot, StoreError> {
    use std::io::Write as _;
    let layer = store.stage(base)?;
    let failed = |attempt| move |errno: rustix::io::Errno| StoreError::io(attempt, LIST, errno);
    let upper = layer.upper_dir();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(upper, LIST, flags, Mode::from_raw_mode(0o600)).map_err(failed("make"))?;
    std::fs::File::from(file).write_all(list).map_err(|source| StoreError::io("write", LIST, source))?;
    // Not those of this moment, which would make every look another tree.
    let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = Timestamps { last_access: epoch, last_modification: epoch };
    for name in [LIST, "."] {
        rustix::fs::utimensat(upper.as_fd(), name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the times of"))?;
    }
    let meta = LayerMeta {
        description: format!("local {}", dir.display()),
        record_type: RecordType::SourceLocal,
        ..LayerMeta::default()
    };
    Ok(base.with(layer.commit(&meta)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::cancel::Cancel;

    /// The list, and what has content.
    fn looked(dir: &Path, exceptions: &[&str]) -> (Vec<Stat>, Vec<String>) {
        let root = open_root(dir, "ctx").unwrap();
        let none = Patterns::new::<&str>(&[]).unwrap();
        let filter = super::super::Filter { include: none.clone(), exclude: none };
        let mut all = scan(&root, dir, &filter, &Cancel::new()).unwrap();
        all.entries.iter_mut().for_each(|entry| read_attributes(&root, dir, entry).unwrap());
        let bytes = list(&all.entries);
        let mut stats = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (message, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
            stats.push(Stat::decode(message).unwrap());
            rest = tail;
        }
        let chosen = choose(all, &Patterns::new(exceptions).unwrap());
        (stats, chosen.entries.iter().map(|it| String::from_utf8_lossy(&it.path).into_owned()).collect())
    }

    #[test]
    fn lists_and_exceptions() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let dir = tempfile::tempdir().unwrap();
        for path in ["data", "dir/file1", "dir/subdir/bar1", "dir/subdir/bar2", "dir/subdir2/bar3", "foo"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        symlink("data", dir.path().join("link")).unwrap();
        fs::hard_link(dir.path().join("data"), dir.path().join("more")).unwrap();
        fs::set_permissions(dir.path().join("foo"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(dir.path().join("dir"), fs::Permissions::from_mode(0o1755)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(7, 5);
        fs::File::options().write(true).open(dir.path().join("foo")).unwrap().set_modified(time).unwrap();
        let (stats, chosen) = looked(dir.path(), &["dir/subdir/*1", "foo"]);
        let paths: Vec<&str> = stats.iter().map(|stat| stat.path.as_str()).collect();
        let expected = [
            "data",
            "dir",
            "dir/file1",
            "dir/subdir",
            "dir/subdir/bar1",
            "dir/subdir/bar2",
            "dir/subdir2",
            "dir/subdir2/bar3",
            "foo",
            "link",
            "more",
        ];
        assert_eq!(paths, expected);
        assert_eq!(chosen, ["dir", "dir/subdir", "dir/subdir/bar1", "foo"]);
        let of = |path: &str| stats.iter().find(|stat| stat.path == path).unwrap();
        assert_eq!((of("dir").mode, of("dir").size), (1 << 31 | 1 << 20 | 0o755, 0));
        assert_eq!((of("foo").mode, of("foo").size, of("foo").modified), (1 << 23 | 0o751, 4, 7_000_000_005));
        assert_eq!((of("link").mode & 1 << 27, of("link").linkname.as_str()), (1 << 27, "data"));
        assert_eq!((of("data").linkname.as_str(), of("more").linkname.as_str()), ("", "data"));
        // A directory stands for all it holds.
        assert_eq!(
            looked(dir.path(), &["dir/subdir"]).1,
            ["dir", "dir/subdir", "dir/subdir/bar1", "dir/subdir/bar2"]
        );
        assert!(looked(dir.path(), &[]).1.is_empty());
    }
}
