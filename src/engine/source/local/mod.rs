//! `local://`: a directory of the machine that the build was asked for on.
//!
//! Resolving walks the directory and compares what `stat` says with what it said last time: only files that are new or
//! changed are read. The key is the digest of what the patterns select, so a file that they leave out may change at
//! will. Fetching makes the tree of last time's plus a layer with what changed since. Owners are root, as in BuildKit;
//! modes and times are kept; sockets are left out.

mod error;
mod follow;
mod layer;
mod metadata;
mod scan;
mod state;
mod wanted;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use super::{Resolved, Source, SourceCtx, SourceError, StandsFor};
use crate::base::{Digest, Platform};
use crate::engine::content_hash::HashTree;
use crate::graph::ir::SourceOp;
use crate::store::{Snapshot, Table};

pub use error::LocalError;
use scan::{Filter, Scan};
use wanted::{Differ, Wanted};

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
        Box::pin(async move { blocking(move || look(&ctx, &Wanted::read(&op)?)).await })
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

fn look(ctx: &SourceCtx, wanted: &Wanted) -> Result<Arc<dyn Resolved>, LocalError> {
    let Wanted { name, include, exclude, follow, differ, metadata_only } = wanted;
    let not_given = || LocalError::NotGiven { name: name.clone() };
    let dir = ctx.session.local_dir(name).ok_or_else(not_given)?;
    let root = scan::open_root(&dir, name)?;
    let id = Digest::of(format!("{dir:?}{include:?}{exclude:?}{follow:?}"));
    let filter = Filter {
        include: wanted.patterns(&follow::extend(&root, &dir, include.clone(), follow)?)?,
        exclude: wanted.patterns(exclude)?,
    };
    if let Some(exceptions) = metadata_only {
        let exceptions = wanted.patterns(exceptions)?;
        return Ok(Arc::new(metadata::look(ctx, &root, &dir, &id, &filter, &exceptions)?));
    }
    let known = match differ {
        Differ::Metadata => ctx.store.get_value(Table::LocalFiles, &state::scan_key(&id)).ok().flatten(),
        Differ::None => None,
    };
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
    Ok(Arc::new(LocalTree { dir, id, scan: Arc::new(scan), key, hashes: OnceLock::new() }))
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
