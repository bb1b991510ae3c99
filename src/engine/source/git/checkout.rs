//! A commit's files as a layer.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use super::command::{Git, Place, Reach};
use super::error::GitError;
use super::mirror::{self, Held};
use super::submodule;
use super::{Fetcher, Wanted, bundle};
use crate::base::stack::deeper;
use crate::store::{LayerMeta, RecordType, Snapshot, StoreError, WorkDir};

/// What to check out: an object in a mirror.
pub(super) struct Checkout<'a> {
    pub(super) fetcher: &'a Fetcher<'a>,
    pub(super) wanted: &'a Wanted,
    /// The object that is fetched: the commit, or with `.git` the annotated tag.
    pub(super) object: &'a str,
    /// The name that `.git` knows it by; empty when it was asked for by its commit.
    pub(super) name: &'a str,
}

impl Checkout<'_> {
    /// Fetches, checks out and commits the layer. A copy of the repository that turns out damaged is made anew once.
    pub(super) fn run(&self) -> Result<Snapshot, GitError> {
        match self.attempt() {
            Err(GitError::Failed { .. }) => {
                mirror::open(&self.fetcher.git(), &self.fetcher.ctx.store, self.object)?.reset()?;
                self.attempt()
            }
            done => done,
        }
    }

    fn attempt(&self) -> Result<Snapshot, GitError> {
        let store = &self.fetcher.ctx.store;
        let git = self.fetcher.git();
        let work = store.work_dir()?;
        let tree = work.path().join("tree");
        fs::create_dir(&tree).map_err(|error| StoreError::io("create", &tree, error))?;
        let held = self.fetcher.held(self.object)?;
        let commit =
            self.fetcher.line(&held, &["rev-parse", "--verify", &format!("{}^{{commit}}", self.object)])?;
        let time = self.fetcher.line(&held, &["log", "-1", "--format=%ct", &commit])?;
        let time: i64 = time.parse().unwrap_or(0);
        let keeps_git = self.wanted.keep_git_dir && self.wanted.subdir.is_empty();
        if self.wanted.as_bundle {
            bundle::write(self.fetcher, &held, self.object, self.name, &work, &tree)?;
        } else if keeps_git {
            self.with_git_dir(&git, &held, &tree)?;
        } else {
            files(&git, &held, &commit, &tree, &work.path().join("index"))?;
        }
        let root = open_tree(&work)?;
        if self.wanted.submodules && !self.wanted.as_bundle {
            submodule::check_out(self.fetcher, &git, &held, &commit, root.as_fd(), 0)?;
        }
        drop(held);
        let source = match self.wanted.subdir.as_str() {
            "" => root,
            subdir => directory(root.as_fd(), subdir).ok_or_else(|| GitError::Subdir {
                url: git.url.to_owned(),
                subdir: subdir.to_owned(),
                commit: commit.clone(),
            })?,
        };
        set_times(source.as_fd(), time)?;
        let layer = store.stage(&Snapshot::scratch())?;
        move_all(source.as_fd(), layer.upper_dir())?;
        set_time(layer.upper_dir(), b".", time)?;
        drop(source);
        let description = format!("git {}#{}", git.url, self.object);
        let record_type = RecordType::SourceGitCheckout;
        let layer = layer.commit(&LayerMeta { description, record_type, ..LayerMeta::default() })?;
        Ok(Snapshot::scratch().with(layer))
    }

    /// A repository of its own with this commit only, and its files.
    fn with_git_dir(&self, git: &Git<'_>, held: &Held, tree: &Path) -> Result<(), GitError> {
        let git_dir = tree.join(".git");
        let place = Place { git_dir: Some(&git_dir), work_tree: Some(tree), ..Place::default() };
        let format = if self.object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        let tree_text = tree.to_string_lossy();
        git.must(
            Reach::Nothing,
            Place::default(),
            &["init", "--quiet", "--template=", format, "--", &tree_text],
        )?;
        let mirror = format!("file://{}", held.path().display());
        let target = match self.name {
            "" | "HEAD" => String::new(),
            name => format!(":{name}"),
        };
        let refspec = format!("refs/bkl/{}{target}", self.object);
        let fetch = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--update-head-ok",
            "--force",
            "--",
            &mirror,
            &refspec,
        ];
        git.must(Reach::Files, place, &fetch)?;
        git.must(Reach::Nothing, place, &["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
        git.must(Reach::Nothing, place, &["remote", "add", "--", "origin", git.url])?;
        git.must(Reach::Nothing, place, &["reflog", "expire", "--all", "--expire=now"])?;
        let _ = fs::remove_file(git_dir.join("FETCH_HEAD"));
        // The index holds the times and inodes of this machine; read anew it holds none.
        let _ = fs::remove_file(git_dir.join("index"));
        git.must(Reach::Nothing, place, &["read-tree", "HEAD"]).map(drop)
    }
}

/// Writes the files of a commit to `tree`, which is empty.
pub(super) fn files(
    git: &Git<'_>,
    held: &Held,
    commit: &str,
    tree: &Path,
    index: &Path,
) -> Result<(), GitError> {
    let place = Place { work_tree: Some(tree), index: Some(index), ..held.place() };
    git.must(Reach::Nothing, place, &["read-tree", "--reset", "-u", commit])?;
    let _ = fs::remove_file(index);
    Ok(())
}

/// A name for children of this process for an open directory.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()).into()
}

fn open_tree(work: &WorkDir) -> Result<OwnedFd, GitError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(work.fd(), "tree", flags, Mode::empty());
    opened.map_err(|errno| StoreError::io("open", work.path().join("tree"), errno).into())
}

/// A directory below `root`, on a way of directories only: links lead nowhere.
pub(super) fn directory(root: BorrowedFd<'_>, path: impl AsRef<OsStr>) -> Option<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, Path::new(path.as_ref()), flags, Mode::empty(), resolve).ok()
}

/// The names in a directory.
fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, GitError> {
    let failed = |errno| StoreError::io("list", "a checkout", errno);
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn move_all(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), GitError> {
    for name in names(from)? {
        rustix::fs::renameat(from, name.as_slice(), to, name.as_slice())
            .map_err(|errno| StoreError::io("move", OsStr::from_bytes(&name), errno))?;
    }
    Ok(())
}

/// Gives everything below `dir` the commit's time: a checkout knows no others, and those of this moment would make every
/// checkout of a commit another tree.
fn set_times(dir: BorrowedFd<'_>, time: i64) -> Result<(), GitError> {
    for name in names(dir)? {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, name.as_slice(), flags, Mode::empty()) {
            Ok(child) => deeper(|| set_times(child.as_fd(), time))?,
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
            Err(errno) => return Err(StoreError::io("open", OsStr::from_bytes(&name), errno).into()),
        }
        set_time(dir, &name, time)?;
    }
    Ok(())
}

fn set_time(dir: BorrowedFd<'_>, name: &[u8], time: i64) -> Result<(), GitError> {
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| StoreError::io("set the times of", OsStr::from_bytes(name), errno).into())
}
