//! What this process uses, so that nobody removes it, and which results it found, so that they stay when others go.
//!
//! A use is said in the file of the process's corner (`sweep`), a line each, *before* it is looked whether the thing is
//! there. Whoever removes things marks them first and reads these files then: one of the two sees the other (`gc`).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::records::to_millis;
use super::sweep::Owner;
use super::{LayerId, Record, Result, Store, Usage};
use crate::base::Digest;

/// How exactly it is known when something was last used: who was used less than this ago is not written again.
pub(super) const COARSE: Duration = Duration::from_secs(3600);

/// What this process has found or made. It is there as long as the process lives.
#[derive(Default)]
pub(super) struct Pins {
    layers: Mutex<HashSet<LayerId>>,
    blobs: Mutex<HashSet<Digest>>,
}

impl Pins {
    /// Says that layers are used; those that were not held before.
    pub(super) fn announce(&self, owner: &Owner, layers: &[LayerId]) -> Result<Vec<LayerId>> {
        let held = lock(&self.layers);
        let new: Vec<LayerId> = layers.iter().filter(|it| !held.contains(it)).copied().collect();
        drop(held);
        if !new.is_empty() {
            let mut notes = String::with_capacity(new.len() * 40);
            for layer in &new {
                let _ = writeln!(notes, "uses {layer}");
            }
            owner.note(&notes)?;
        }
        Ok(new)
    }

    /// Keeps in mind that the layers are there.
    pub(super) fn hold(&self, layers: &[LayerId]) {
        lock(&self.layers).extend(layers);
    }

    /// Says that a blob is used; whether it was not held before.
    pub(super) fn announce_blob(&self, owner: &Owner, digest: &Digest) -> Result<bool> {
        let is_new = !lock(&self.blobs).contains(digest);
        if is_new {
            owner.note(&format!("uses-blob {}\n", digest.hex()))?;
        }
        Ok(is_new)
    }

    /// Keeps in mind that the blob is there.
    pub(super) fn hold_blob(&self, digest: &Digest) {
        lock(&self.blobs).insert(*digest);
    }
}

/// Results that were found and whose last use is to be written, at the end of the build.
#[derive(Default)]
pub(super) struct Uses {
    records: Mutex<Vec<Digest>>,
    layers: Mutex<Vec<LayerId>>,
}

impl Uses {
    /// Takes note of a record that was found, unless that was done lately.
    pub(super) fn found(&self, key: &Digest, (record, used): (Record, i64)) -> Record {
        let age = to_millis(SystemTime::now()) - used.max(to_millis(record.created_at));
        // A time to come is one of a clock that was wrong.
        if COARSE.as_millis() as i64 <= age.abs() {
            lock(&self.records).push(*key);
        }
        record
    }
}

impl Store {
    /// Takes note of the use of a layer that no record names.
    pub(crate) fn used_layer(&self, layer: LayerId) {
        lock(&self.inner.uses.layers).push(layer);
    }

    /// Writes down which results were found since the last call. Costs nothing where all were found lately; not being
    /// able to costs them their place in the order of removal.
    pub fn note_uses(&self) -> Result<()> {
        let records = std::mem::take(&mut *lock(&self.inner.uses.records));
        let layers = std::mem::take(&mut *lock(&self.inner.uses.layers));
        if records.is_empty() && layers.is_empty() {
            return Ok(());
        }
        let now = to_millis(SystemTime::now());
        self.inner.database.with("note what was used", |connection| {
            let transaction = connection.transaction()?;
            {
                let sql = "UPDATE records SET used = ?2, uses = uses + 1 WHERE key = ?1";
                let mut note = transaction.prepare_cached(sql)?;
                for key in records {
                    note.execute((key.as_bytes(), now))?;
                }
                let sql = "UPDATE layers SET used = ?2 WHERE id = ?1 AND abs(?2 - used) >= ?3";
                let mut note = transaction.prepare_cached(sql)?;
                for layer in layers {
                    note.execute((layer.as_bytes(), now, COARSE.as_millis() as i64))?;
                }
            }
            transaction.commit()
        })
    }
}

/// How much this process has added.
#[derive(Default)]
pub(super) struct Grown {
    bytes: AtomicU64,
}

impl Grown {
    pub(super) fn add(&self, usage: Usage) {
        // Each file and directory takes a block more, about.
        self.bytes.fetch_add(usage.bytes + 4096, Ordering::Relaxed);
    }

    /// What was added since the last call.
    pub(super) fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing half-done is left by a panic: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
