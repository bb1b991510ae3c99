//! The store as the scheduler's cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use crate::base::Digest;
use crate::engine::solver::{CacheStore, Record};
use crate::store::{self, Lease, Snapshot, Store};

/// The records of a store. A record's own bytes are the content key of the edge that made it, then the name of the run.
pub struct StoreCache {
    store: Arc<Store>,
}

impl StoreCache {
    /// The cache in `store`.
    pub fn new(store: Arc<Store>) -> StoreCache {
        StoreCache { store }
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
    type Output = Snapshot;
    /// `None` when there could be no lease: the work is then done without, at worst twice.
    type Lease = Option<Lease>;

    fn get(&self, key: &Digest) -> Option<Record<Snapshot>> {
        let mut record = self.store.get_record(key).ok()??;
        let output = record.outputs.pop().filter(|_| record.outputs.is_empty())?;
        let (key, made_by) = record.meta.split_at_checked(32)?;
        let key = Digest::from_bytes(key.try_into().ok()?);
        // Records of older versions name no run.
        let made_by = made_by.try_into().map_or(key, Digest::from_bytes);
        self.store.check(&output).then_some(Record { key, output, made_by })
    }

    fn adopt(&self, output: Snapshot) -> BoxFuture<'_, Snapshot> {
        let (store, tree) = (self.store.clone(), output.clone());
        let looking = tokio::task::spawn_blocking(move || store.twin(&tree).ok()?);
        // What cannot be compared is new.
        Box::pin(async move { looking.await.ok().flatten().unwrap_or(output) })
    }

    fn put(&self, keys: &[Digest], record: &Record<Snapshot>) {
        let kept = store::Record {
            outputs: vec![record.output.clone()],
            meta: [*record.key.as_bytes(), *record.made_by.as_bytes()].concat(),
            created_at: SystemTime::now(),
        };
        let kept: Vec<_> = keys.iter().map(|key| (*key, kept.clone())).collect();
        // A full disk is told by those who write trees; a lost record only costs a later run.
        let _ = self.store.put_records(&kept);
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
