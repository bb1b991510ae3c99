//! The durability watermark: what is committed survives a killed process at once (the page cache lives on) and a power
//! cut once it was synced. Nothing on the hot path syncs.
//!
//! Each row of a layer or blob names the boot it was written in until its bytes were synced. A store opened in
//! another boot drops the rows that still name one, with their files: they may be torn.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::db::Database;
use super::error::Context as _;
use super::{Inner, Result, Store};

/// How long a store must be quiet before it is synced.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// Commits so far, and how many of them are synced.
#[derive(Default)]
pub(super) struct Watermark {
    n_committed: AtomicU64,
    n_synced: AtomicU64,
    /// The store, until something was committed: then a thread watches it.
    unwatched: Mutex<Option<Weak<Inner>>>,
}

impl Watermark {
    /// Notes a commit.
    pub(super) fn raise(&self) {
        self.n_committed.fetch_add(1, Ordering::Release);
        let unwatched = self.unwatched.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(store) = unwatched {
            // No thread, no background sync: the work is then lost by a power cut, which costs a rebuild and nothing else.
            let _ =
                std::thread::Builder::new().name("bkl-store-sync".to_owned()).spawn(move || watch(&store));
        }
    }

    fn is_behind(&self) -> bool {
        self.n_synced.load(Ordering::Acquire) < self.n_committed.load(Ordering::Acquire)
    }
}

impl Store {
    /// Whether this process committed something that a power cut would lose.
    ///
    /// A short-lived process asks this before it exits, and leaves the sync to a [`flusher`](super::flusher): the
    /// background thread dies with the process.
    pub fn is_unsynced(&self) -> bool {
        self.inner.watermark.is_behind()
    }

    /// Makes all that is committed durable: one `syncfs`, then one synced transaction.
    pub fn sync(&self) -> Result<()> {
        let inner = &self.inner;
        let n_committed = inner.watermark.n_committed.load(Ordering::Acquire);
        sync(&inner.database, &inner.root_fd, &inner.root, &inner.boot_id)?;
        inner.watermark.n_synced.fetch_max(n_committed, Ordering::AcqRel);
        Ok(())
    }
}

/// Syncs what was committed in this boot; whether there was something.
pub(super) fn sync(database: &Database, root_fd: &OwnedFd, root: &Path, boot_id: &str) -> Result<bool> {
    // Which rows are covered must be known before the sync: a row added during it may have bytes it missed.
    let (layers, blobs) = database.with("read the unsynced rows", |connection| {
        let read = |sql: &str| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([boot_id], |row| row.get::<_, Vec<u8>>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok((
            read("SELECT id FROM layers WHERE boot = ?1")?,
            read("SELECT digest FROM blobs WHERE boot = ?1")?,
        ))
    })?;
    if layers.is_empty() && blobs.is_empty() {
        return Ok(false);
    }
    rustix::fs::syncfs(root_fd).at("sync", root)?;
    database.with("mark rows as synced", |connection| {
        connection.pragma_update(None, "synchronous", "FULL")?;
        let marked = mark(connection, &layers, &blobs);
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        marked
    })?;
    Ok(true)
}

fn mark(
    connection: &mut rusqlite::Connection,
    layers: &[Vec<u8>],
    blobs: &[Vec<u8>],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut mark_layer = transaction.prepare_cached("UPDATE layers SET boot = NULL WHERE id = ?1")?;
        for id in layers {
            mark_layer.execute([id])?;
        }
        let mut mark_blob = transaction.prepare_cached("UPDATE blobs SET boot = NULL WHERE digest = ?1")?;
        for digest in blobs {
            mark_blob.execute([digest])?;
        }
    }
    transaction.commit()
}

/// Has a background thread sync `inner` when it is quiet. There is none before something was committed; it ends when the
/// last [`Store`] is gone, and may be killed at any time.
pub(super) fn start(inner: &Arc<Inner>) {
    let mut unwatched = inner.watermark.unwatched.lock().unwrap_or_else(PoisonError::into_inner);
    *unwatched = Some(Arc::downgrade(inner));
}

fn watch(store: &Weak<Inner>) {
    let mut last_seen = 0;
    let mut quiet = Duration::ZERO;
    let tick = Duration::from_millis(500);
    loop {
        std::thread::sleep(tick);
        let Some(inner) = store.upgrade() else { return };
        let n_committed = inner.watermark.n_committed.load(Ordering::Acquire);
        quiet = if n_committed == last_seen { quiet + tick } else { Duration::ZERO };
        last_seen = n_committed;
        if quiet >= IDLE && inner.watermark.is_behind() {
            // A failure leaves the rows unsynced, which is what they are; the next commit tries again.
            let store = Store { inner };
            let _ = store.sync().and_then(|()| store.inner.database.checkpoint());
            quiet = Duration::ZERO;
        }
    }
}
