//! Cache mounts: directories that outlive builds and are in no result.
//!
//! `cache-mounts/<hash of id and seed>/` holds numbered directories and a lock file beside each. Shared users hold the
//! first one's lock shared, a locked user holds it alone, private users take the first free number.
//! Cache mounts are not part of the durability watermark: a power cut may tear what a tool was writing there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, ResolveFlags, flock, openat2};

use super::error::Context as _;
use super::lease::{try_lock, wait};
use super::{Result, Snapshot, Store, StoreError, tree};
use crate::base::Digest;

/// How often a mount is entered that is removed again and again.
const N_TRIES: u32 = 100;

/// How steps share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Any number at once.
    Shared,
    /// Each concurrent user has its own copy; a free one is reused.
    Private,
    /// One at a time, the others wait.
    Locked,
}

/// What a new cache mount starts as: a copy of the directory at `path` of a tree.
#[derive(Debug, Clone, Copy)]
pub struct Seed<'a> {
    /// The tree.
    pub tree: &'a Snapshot,
    /// Absolute path of a directory in it; `/` for all.
    pub path: &'a str,
}

/// Hold on a cache mount's directory until dropped.
pub struct CacheDir {
    path: PathBuf,
    fd: OwnedFd,
    /// Held, never read.
    _lock: File,
}

impl CacheDir {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, open.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Store {
    /// The directory of a cache mount, waiting when `sharing` is locked and another holds it.
    ///
    /// A new one starts as a copy of the seed, or empty (0755, root). Mounts with equal `id` and different seeds are
    /// different mounts. While waiting, `cancelled` is asked every 10 ms.
    pub fn cache_dir(
        &self,
        id: &str,
        seed: Option<Seed<'_>>,
        sharing: Sharing,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<CacheDir> {
        let dir = self.inner.root.join("cache-mounts").join(mount_key(id, seed).hex());
        for _ in 0..N_TRIES {
            match self.enter(&dir, id, seed, sharing, cancelled) {
                Ok(Some(found)) => return Ok(found),
                // Somebody removed the whole mount just now (`gc`).
                Ok(None) => {}
                Err(StoreError::Io { source, path, .. })
                    if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)
                        && path.starts_with(&dir) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::io("open", &dir, std::io::Error::from(ErrorKind::NotFound)))
    }

    /// `None` when what was locked has not the name any more.
    fn enter(
        &self,
        dir: &Path,
        id: &str,
        seed: Option<Seed<'_>>,
        sharing: Sharing,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<CacheDir>> {
        fs::create_dir_all(dir).at("create", dir)?;
        // Written anew, it tells the time of the last use.
        fs::write(dir.join("id"), id).at("write", dir.join("id"))?;
        let (lock, number) = match sharing {
            Sharing::Shared => (self.wait_for(dir, FlockOperation::NonBlockingLockShared, cancelled)?, 0),
            Sharing::Locked => (self.wait_for(dir, FlockOperation::NonBlockingLockExclusive, cancelled)?, 0),
            Sharing::Private => first_free(dir)?,
        };
        let path = dir.join(number.to_string());
        if !path.exists() {
            self.create_cache(dir, &path, seed)?;
        }
        // A mount without copies may be removed as a whole (`gc`), its locks with it.
        let named = fs::metadata(dir.join(format!("{number}.lock")));
        let held = lock.metadata().at("look at", dir)?;
        if !named.is_ok_and(|named| named.ino() == held.ino()) {
            return Ok(None);
        }
        let fd = File::open(&path).at("open", &path)?.into();
        Ok(Some(CacheDir { path, fd, _lock: lock }))
    }

    /// Empties the cache mounts with any of these ids, also where `:` and a digest follow it, which names what it was
    /// made from: their next users start anew. Those in use stay as they are.
    pub fn prune_cache_mounts(&self, ids: &BTreeSet<String>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let all = self.inner.root.join("cache-mounts");
        for entry in fs::read_dir(&all).at("list", &all)? {
            let entry = entry.at("list", &all)?;
            let dir = entry.path();
            if !entry.file_name().to_str().is_some_and(super::layout::is_digest) {
                continue;
            }
            // A mount that is just being made may have no id yet: nothing is in it either.
            let Ok(id) = fs::read_to_string(dir.join("id")) else { continue };
            let plain = id.rsplit_once(':').filter(|(_, digest)| digest.len() == 64).map(|(plain, _)| plain);
            if ids.contains(&id) || plain.is_some_and(|plain| ids.contains(plain)) {
                self.empty_mount(&dir)?;
            }
        }
        Ok(())
    }

    fn empty_mount(&self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir).at("list", dir)? {
            let path = entry.at("list", dir)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.parse::<u32>().is_err() {
                continue;
            }
            let lock_path = dir.join(format!("{name}.lock"));
            let Some(lock) = try_lock(&lock_path, FlockOperation::NonBlockingLockExclusive)? else {
                continue;
            };
            // Out of the way first, while nobody can come in; then away.
            let aside = self.inner.owner.new_dir()?;
            let moved = fs::rename(&path, &aside).at("move", &path);
            drop(lock);
            super::sweep::remove_dir(&aside)?;
            moved?;
        }
        Ok(())
    }

    fn wait_for(&self, dir: &Path, operation: FlockOperation, cancelled: &dyn Fn() -> bool) -> Result<File> {
        wait(cancelled, || try_lock(&dir.join("0.lock"), operation))
    }

    /// Fills a new directory aside and moves it into place, unless another user does so first.
    fn create_cache(&self, dir: &Path, path: &Path, seed: Option<Seed<'_>>) -> Result<()> {
        let guard_path = dir.join("new.lock");
        let guard = File::create(&guard_path).at("create", &guard_path)?;
        flock(&guard, FlockOperation::LockExclusive).at("lock", &guard_path)?;
        if path.exists() {
            return Ok(());
        }
        let staged = self.inner.owner.new_dir()?;
        let made = self.fill_cache(&staged, seed).and_then(|()| match fs::rename(&staged, path) {
            // Whoever removed the mount in between took the guard along: another user has one of his own.
            Err(err) if err.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                super::sweep::remove_dir(&staged)
            }
            published => published.at("publish", path),
        });
        if made.is_err() {
            super::sweep::remove_dir(&staged)?;
        }
        made
    }

    fn fill_cache(&self, staged: &Path, seed: Option<Seed<'_>>) -> Result<()> {
        let target: OwnedFd = File::open(staged).at("open", staged)?.into();
        rustix::fs::fchmod(&target, rustix::fs::Mode::from_raw_mode(0o755)).at("set the mode of", staged)?;
        let Some(seed) = seed else { return Ok(()) };
        let view = self.view(seed.tree)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let relative = seed.path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let source =
            openat2(&view, relative, flags, rustix::fs::Mode::empty(), resolve).at("open", seed.path)?;
        tree::copy_tree(&source, &target).at("fill", staged)?;
        let meta = tree::stat_fd(&source).at("look at", seed.path)?;
        tree::copy_attributes(&source, b".", &meta, &target, b".").at("set the attributes of", staged)
    }
}

fn mount_key(id: &str, seed: Option<Seed<'_>>) -> Digest {
    let mut bytes = id.as_bytes().to_vec();
    if let Some(seed) = seed {
        bytes.push(0);
        seed.tree.layers().iter().for_each(|it| bytes.extend_from_slice(it.as_bytes()));
        bytes.extend_from_slice(seed.path.as_bytes());
    }
    Digest::of(bytes)
}

fn first_free(dir: &Path) -> Result<(File, u32)> {
    let mut number = 0;
    loop {
        let path = dir.join(format!("{number}.lock"));
        if let Some(lock) = try_lock(&path, FlockOperation::NonBlockingLockExclusive)? {
            return Ok((lock, number));
        }
        number += 1;
    }
}
