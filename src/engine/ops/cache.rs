//! The store as the scheduler's cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use crate::base::Digest;
use crate::engine::blocking::blocking;
use crate::engine::cache::ImportedCaches;
use crate::engine::solver::{CacheStore, Imports, Record};
use crate::engine::tree::{Tree, Unstored};
use crate::store::{self, Lease, Store};

/// The records of a store. A record's own bytes are the content key of the edge that made it, then the name of the run.
/// Of a tree that is not in the store they go on with its identity.
pub struct StoreCache {
    store: Arc<Store>,
    unstored: Arc<Unstored>,
    imports: Option<Arc<ImportedCaches>>,
}

impl StoreCache {
    /// The cache in `store`, for a build that has these trees beside it.
    pub fn new(store: Arc<Store>, unstored: Arc<Unstored>) -> StoreCache {
        StoreCache { store, unstored, imports: None }
    }

    /// The same, where what is not in the store may be in other caches.
    pub fn with_imports(self, imports: Option<Arc<ImportedCaches>>) -> StoreCache {
        StoreCache { imports, ..self }
    }
}

/// Turned on when a wait is given up.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl CacheStore for StoreCache {
    type Output = Tree;
    /// `None` when there could be no lease: the work is then done without, at worst twice.
    type Lease = Option<Lease>;

    fn get(&self, key: &Digest) -> Option<Record<Tree>> {
        let mut record = self.store.get_record(key).ok()??;
        let (key, rest) = record.meta.split_first_chunk()?;
        let key = Digest::from_bytes(*key);
        let Some(output) = record.outputs.pop() else {
            let (made_by, identity) = rest.split_first_chunk()?;
            let output = self.unstored.get(&Digest::from_bytes(identity.try_into().ok()?))?;
            return Some(Record { key, output, made_by: Digest::from_bytes(*made_by) });
        };
        // Records of older versions name no run.
        let made_by = rest.try_into().map_or(key, Digest::from_bytes);
        let is_whole = record.outputs.is_empty() && self.store.check(&output);
        is_whole.then_some(Record { key, output: Tree::Stored(output), made_by })
    }

    fn adopt(&self, output: Tree) -> BoxFuture<'_, Tree> {
        let Tree::Stored(tree) = output else { return Box::pin(std::future::ready(output)) };
        if !self.store.may_have_twin(&tree) {
            return Box::pin(std::future::ready(Tree::Stored(tree)));
        }
        let (store, new) = (self.store.clone(), tree.clone());
        let looking = blocking((), move || store.twin(&new).map_err(drop));
        // What cannot be compared is new.
        Box::pin(async move { Tree::Stored(looking.await.ok().flatten().unwrap_or(tree)) })
    }

    fn joined(&self, output: &Tree) {
        if let Tree::Stored(tree) = output {
            // It was there a moment ago. Should it be gone, who reads it is told.
            self.store.check(tree);
        }
    }

    fn put(&self, keys: &[Digest], record: &Record<Tree>) {
        let mut meta = [*record.key.as_bytes(), *record.made_by.as_bytes()].concat();
        let outputs = match &record.output {
            Tree::Stored(tree) => vec![tree.clone()],
            Tree::Local(tree) => {
                meta.extend_from_slice(tree.identity().as_bytes());
                Vec::new()
            }
        };
        let kept = store::Record { outputs, meta, created_at: SystemTime::now() };
        let kept: Vec<_> = keys.iter().map(|key| (*key, kept.clone())).collect();
        // A full disk is told by those who write trees; a lost record only costs a later run.
        let _ = self.store.put_records(&kept);
    }

    fn imports(&self) -> Option<&dyn Imports<Tree>> {
        self.imports.as_deref().map(|it| it as &dyn Imports<Tree>)
    }

    fn lease<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Option<Lease>> {
        Box::pin(async move {
            match self.store.try_lease(key) {
                Ok(Some(lease)) => return Some(lease),
                Ok(None) => {}
                Err(_) => return None,
            }
            let (store, key) = (self.store.clone(), *key);
            let given_up = Arc::new(AtomicBool::new(false));
            let _guard = GivenUp(given_up.clone());
            let waiting = move || store.lease(&key, &|| given_up.load(Ordering::Relaxed)).ok();
            tokio::task::spawn_blocking(waiting).await.ok().flatten()
        })
    }
}
