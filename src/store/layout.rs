//! Which directories are stores, and what in one is the store's own. What is not is never touched, wherever it lies: people
//! have directories named `git` and `logs`, too.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::error::Context as _;
use super::{LayerId, Result, StoreError, db};

/// Made first, in this order.
const DIRS: [&str; 6] = ["content/sha256", "ingest", "layers", "staging", "cache-mounts", "logs"];
/// What every new file system has at its root.
const LOST_AND_FOUND: &str = "lost+found";

/// Makes the directories of a store at `root`, which is one, or empty, or not there.
pub(super) fn make(root: &Path) -> Result<()> {
    // `empty` is made last: where it is, in a store, all is.
    if is_store(root) {
        if root.join("empty").is_dir() {
            return Ok(());
        }
    } else {
        check_blank(root)?;
    }
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path).at("create", path);
    make(root)?;
    for name in DIRS {
        make(&root.join(name))?;
    }
    // The root of the empty tree: mode 0755, as every tree's.
    let empty = root.join("empty");
    DirBuilder::new().recursive(true).mode(0o755).create(&empty).at("create", &empty)
}

/// Whether there is a store at `root`: a database of ours, or what is there as soon as there was one.
///
/// While a damaged database is put aside (`heal`) there is none for a moment, and its mark is.
pub(super) fn is_store(root: &Path) -> bool {
    root.join("staging").is_dir()
        && [db::FILE, db::DAMAGED_MARK, "staging.lock"].iter().any(|it| root.join(it).is_file())
}

/// Whether a store may be made at `root`: nothing is there, or what a process left that made one and died early.
fn check_blank(root: &Path) -> Result<()> {
    match is_blank(root) {
        // Another process makes it just now: it has a database before anything is put into it.
        Ok(false) if !is_store(root) => Err(StoreError::NotEmpty { path: root.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("list", root, error)),
    }
}

fn is_blank(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let meta = entry.metadata()?;
        let is_ours = match name {
            "lock" => meta.is_file() && meta.len() == 0,
            LOST_AND_FOUND => meta.is_dir(),
            "content" => meta.is_dir() && has_only(&entry.path(), "sha256")?,
            "empty" => meta.is_dir() && has_only(&entry.path(), "")?,
            _ => DIRS.contains(&name) && meta.is_dir() && has_only(&entry.path(), "")?,
        };
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether nothing is in a directory but an empty one of this name.
fn has_only(dir: &Path, name: &str) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_meant = entry.file_name() == name && entry.file_type()?.is_dir();
        if !is_meant || fs::read_dir(entry.path())?.next().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a process may have such a corner: a directory of 32 hex digits.
pub(super) fn is_corner(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    is_random(name.to_str().unwrap_or_default()) && entry.file_type().is_ok_and(|it| it.is_dir())
}

/// Of a blob being written, the corner of the process that writes it: a file `<owner>-<n>`.
pub(super) fn ingest_owner(entry: &fs::DirEntry) -> Option<String> {
    let name = entry.file_name();
    let (owner, number) = name.to_str()?.split_once('-')?;
    let is_ours = is_random(owner) && is_number(number) && entry.file_type().ok()?.is_file();
    is_ours.then(|| owner.to_owned())
}

fn is_random(name: &str) -> bool {
    name.parse::<LayerId>().is_ok_and(|it| it.to_string() == name)
}

/// Whether the name is a digest's, as those of cache mounts, repositories and outputs are.
pub(super) fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the name is a number as we write it.
pub(super) fn is_number(name: &str) -> bool {
    name.parse::<u64>().is_ok_and(|it| it.to_string() == name)
}
