//! `local://`: a directory of the machine that the build was asked for on.
//!
//! Resolving walks the directory and compares what `stat` says with what it said last time: only files that are new or
//! changed are read. The key is the digest of what the patterns select, so a file that they leave out may change at
//! will. Owners are root, as in BuildKit; modes and times are kept; sockets are left out.
//!
//! Nothing is written to the store before somebody needs a tree there: copies read the directory itself, as far as it was
//! looked at, and it is an error if a file is another one by then. What is remembered between builds (`state`) says of
//! each path since when it is as it is (`memory`): so a copy, and a tree, that was made before is brought up to date
//! with what differs ([`crate::engine::ops`], `file/local.rs`).

mod error;
mod files;
mod follow;
mod memory;
mod metadata;
mod scan;
mod state;
mod wanted;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use super::{Resolved, Source, SourceCtx, SourceError, StandsFor};
use crate::base::{Digest, Platform};
use crate::engine::cancel::Cancel;
use crate::engine::content_hash::HashTree;
use crate::engine::tree::Tree;
use crate::graph::ir::SourceOp;
use crate::store::{Snapshot, Store, StoreError};

pub use error::LocalError;
pub(crate) use files::ScannedFiles;
use memory::Memory;
pub(crate) use memory::{Moment, Since};
use scan::{Filter, Scan};
pub(crate) use wanted::{Differ, Wanted};

/// Local directories.
pub struct LocalSource;

/// A directory as it was when it was looked at.
pub struct LocalTree {
    store: Arc<Store>,
    dir: PathBuf,
    /// What the states of this directory, seen through these patterns, are kept by.
    id: Digest,
    scan: Scan,
    memory: Memory,
    key: Digest,
    hashes: OnceLock<Arc<HashTree>>,
    /// Its tree in the store, once there is one.
    stored: OnceLock<Snapshot>,
}

/// The answer of [`LocalSource`].
struct Looked(Arc<LocalTree>);

impl Source for LocalSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["local"]
    }

    fn resolve<'a>(
        &'a self,
        ctx: &'a SourceCtx,
        op: &'a SourceOp,
        _platform: Option<&'a Platform>,
    ) -> BoxFuture<'a, Result<Arc<dyn Resolved>, SourceError>> {
        let (ctx, op) = (ctx.clone(), op.clone());
        Box::pin(async move { blocking(move || look(&ctx, &Wanted::read(&op)?)).await })
    }
}

impl Resolved for Looked {
    fn key(&self) -> Digest {
        self.0.key
    }

    /// Its name there is one of a session.
    fn shared_keys(&self) -> Vec<String> {
        Vec::new()
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let (tree, cancel) = (self.0.clone(), ctx.cancel.clone());
        Box::pin(async move { blocking(move || tree.snapshot(&cancel)).await })
    }

    fn unfetched(&self) -> Option<Tree> {
        Some(Tree::Local(self.0.clone()))
    }

    fn stands_for(&self) -> StandsFor {
        StandsFor::Files(self.0.scan.known_files())
    }

    fn hashes(&self) -> Option<Arc<HashTree>> {
        Some(self.0.hashes())
    }
}

impl LocalTree {
    /// What was seen of `dir` at a moment that nothing is remembered of.
    fn of_scan(store: &Arc<Store>, dir: PathBuf, id: Digest, scan: Scan) -> LocalTree {
        let hashes = Arc::new(scan.hash_tree());
        let (memory, key) = (Memory::new(&scan), hashes.whole());
        let (store, hashes, stored) = (store.clone(), OnceLock::from(hashes), OnceLock::new());
        LocalTree { store, dir, id, scan, memory, key, hashes, stored }
    }

    /// Names what it holds: directories that hold the same have the same.
    pub fn identity(&self) -> Digest {
        Digest::of(format!("bkl.local.v1:{}:{}", self.id, self.key))
    }

    /// Names the directory and what of it is meant, whatever it holds.
    pub(crate) fn id(&self) -> &Digest {
        &self.id
    }

    /// Where it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Content hashes of all of it.
    pub(crate) fn hashes(&self) -> Arc<HashTree> {
        self.hashes.get_or_init(|| Arc::new(self.scan.hash_tree())).clone()
    }

    /// Names its state exactly.
    pub(crate) fn moment(&self) -> Moment {
        self.memory.moment()
    }

    /// What differs from the state at `moment`; `None` when that is not known.
    pub(crate) fn since(&self, moment: &Moment) -> Option<Since<'_>> {
        self.memory.since(moment)
    }

    /// Number of files of all kinds.
    pub(crate) fn n_files(&self) -> usize {
        self.scan.entries.len()
    }

    /// Its tree in the store, which is written if that was not done before. Blocks.
    ///
    /// # Errors
    /// When a file is another one by now, or the store cannot be written.
    pub fn snapshot(&self, cancel: &Cancel) -> Result<Snapshot, LocalError> {
        if let Some(tree) = self.stored.get() {
            return Ok(tree.clone());
        }
        // One at a time, here and in other processes: whoever waited finds what the first one wrote.
        let lease =
            self.store.lease(&Digest::of(format!("local tree {}", self.id)), &|| cancel.is_cancelled());
        let _lease = lease.map_err(|error| match error {
            StoreError::Cancelled => LocalError::Cancelled,
            error => LocalError::Store(error),
        })?;
        if let Some(tree) = self.stored.get() {
            return Ok(tree.clone());
        }
        let tree = crate::engine::ops::local_tree(&self.store, self, cancel)?;
        Ok(self.stored.get_or_init(|| tree).clone())
    }
}

fn look(ctx: &SourceCtx, wanted: &Wanted) -> Result<Arc<dyn Resolved>, LocalError> {
    let not_given = || LocalError::NotGiven { name: wanted.name.clone() };
    let dir = ctx.session.local_dir(&wanted.name).ok_or_else(not_given)?;
    if let Some(exceptions) = &wanted.metadata_only {
        return Ok(Arc::new(metadata::look(ctx, dir, wanted, exceptions)?));
    }
    Ok(Arc::new(Looked(Arc::new(look_at(&ctx.store, dir, wanted, &ctx.cancel)?))))
}

/// What the patterns select of the directory `dir`, which is open.
fn filter(root: &OwnedFd, dir: &Path, wanted: &Wanted) -> Result<(Digest, Filter), LocalError> {
    let Wanted { include, exclude, follow, .. } = wanted;
    let id = Digest::of(format!("{dir:?}{include:?}{exclude:?}{follow:?}"));
    let include = wanted.patterns(&follow::extend(root, dir, include.clone(), follow)?)?;
    Ok((id, Filter { include, exclude: wanted.patterns(exclude)? }))
}

/// The directory `dir` as it is now.
pub(crate) fn look_at(
    store: &Arc<Store>,
    dir: PathBuf,
    wanted: &Wanted,
    cancel: &Cancel,
) -> Result<LocalTree, LocalError> {
    let root = scan::open_root(&dir, &wanted.name)?;
    let (id, filter) = filter(&root, &dir, wanted)?;
    let (known, scan) = scan::scan_beside(&root, &dir, &filter, cancel, || state::load(store, &id));
    let mut scan = scan?;
    let hashes = OnceLock::new();
    let believed = known.as_ref().filter(|_| wanted.differ == Differ::Metadata);
    let is_same = believed.is_some_and(|known| scan.take_known(known));
    let (memory, key) = match known {
        Some(known) if is_same => (known.memory, known.key),
        known => {
            scan.read_files(&root, &dir, cancel)?;
            let tree = Arc::new(scan.hash_tree());
            let key = tree.whole();
            let _ = hashes.set(tree);
            let memory = match &known {
                Some(known) => known.memory.clone().advance(&known.scan, &scan),
                None => Memory::new(&scan),
            };
            // Not remembering it costs reading the files again.
            let _ = state::keep(store, &id, known.as_ref(), &scan, &memory, &key);
            (memory, key)
        }
    };
    let (store, stored) = (store.clone(), OnceLock::new());
    Ok(LocalTree { store, dir, id, scan, memory, key, hashes, stored })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> Result<T, SourceError> {
    crate::engine::blocking::blocking(LocalError::Cancelled, work).await.map_err(|error| match error {
        LocalError::Cancelled => SourceError::Cancelled,
        error => SourceError::Source(Box::new(error)),
    })
}

#[cfg(test)]
mod tests;
