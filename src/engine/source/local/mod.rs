//! `local://`: a directory of the machine that the build was asked for on.
//!
//! Resolving walks the directory and compares what `stat` says with what it said last time: only files that are new or
//! changed are read. The key is the digest of what the patterns select, so a file that they leave out may change at
//! will. Fetching makes the tree of last time's plus a layer with what changed since. Owners are root, as in BuildKit;
//! modes and times are kept; sockets are left out.

mod error;
mod follow;
mod layer;
mod scan;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use super::{Resolved, Source, SourceCtx, SourceError, StandsFor};
use crate::base::glob::Patterns;
use crate::base::{Digest, Platform};
use crate::engine::content_hash::HashTree;
use crate::graph::ir::{SourceOp, attr};
use crate::store::{Snapshot, Table};

pub use error::LocalError;
use scan::{Filter, Scan};

/// Local directories.
pub struct LocalSource;

/// A directory as it was when it was looked at.
struct LocalTree {
    dir: PathBuf,
    /// What the states of this directory, seen through these patterns, are kept by.
    id: Digest,
    scan: Arc<Scan>,
    key: Digest,
    hashes: OnceLock<Arc<HashTree>>,
}

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
        Box::pin(async move {
            blocking(move || {
                let tree = look(&ctx, &op)?;
                Ok(Arc::new(tree) as Arc<dyn Resolved>)
            })
            .await
        })
    }
}

impl Resolved for LocalTree {
    fn key(&self) -> Digest {
        self.key
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let (ctx, dir, id, scan) = (ctx.clone(), self.dir.clone(), self.id, self.scan.clone());
        Box::pin(async move { blocking(move || layer::materialise(&ctx, &dir, &id, &scan)).await })
    }

    fn stands_for(&self) -> StandsFor {
        StandsFor::Files(self.scan.known_files())
    }

    fn hashes(&self) -> Option<Arc<HashTree>> {
        Some(self.hashes.get_or_init(|| Arc::new(self.scan.hash_tree())).clone())
    }
}

fn look(ctx: &SourceCtx, op: &SourceOp) -> Result<LocalTree, LocalError> {
    let name = op.locator();
    let not_given = || LocalError::NotGiven { name: name.to_owned() };
    let dir = ctx.session.local_dir(name).ok_or_else(not_given)?;
    let root = scan::open_root(&dir, name)?;
    let include = op.patterns(attr::LOCAL_INCLUDE);
    let exclude = op.patterns(attr::LOCAL_EXCLUDE);
    let follow = op.patterns(attr::LOCAL_FOLLOW);
    let id = Digest::of(format!("{dir:?}{include:?}{exclude:?}{follow:?}"));
    let patterns = |list: &[String]| {
        Patterns::new(list).map_err(|source| LocalError::Pattern { name: name.to_owned(), source })
    };
    let filter = Filter {
        include: patterns(&follow::extend(&root, &dir, include, &follow)?)?,
        exclude: patterns(&exclude)?,
    };
    let known = ctx.store.get_value(Table::LocalFiles, &state::scan_key(&id)).ok().flatten();
    let known = known.and_then(|bytes| state::decode(&bytes)).unwrap_or_default();
    let mut scan = scan::scan(&root, &dir, &filter, &ctx.cancel)?;
    let same = scan.take_known(&known);
    let key = match (same, known.key) {
        (true, Some(key)) => key,
        _ => {
            scan.read_files(&root, &dir, &ctx.cancel)?;
            let key = scan.hash_tree().whole();
            // Not remembering it costs reading the files again.
            let _ = ctx.store.put_value(
                Table::LocalFiles,
                &state::scan_key(&id),
                &state::encode(&scan, Some(key), None),
            );
            key
        }
    };
    Ok(LocalTree { dir, id, scan: Arc::new(scan), key, hashes: OnceLock::new() })
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
