//! What this process uses, so that nobody removes it, and which results it found, so that they stay when others go.
//!
//! A use is said in the file of the process's corner (`sweep`), a line each, *before* it is looked whether the thing is
//! there. Whoever removes things marks them first and reads these files then: one of the two sees the other (`gc`).
//!
//! A process may have many builds. Each has a number, and what is used gets that of the newest one: whoever uses it began no
//! later. When none of those lives any more it is said that the thing is not used, on a line further down.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::records::to_millis;
use super::sweep::Owner;
use super::{LayerId, Record, Result, Store, Usage};
use crate::base::Digest;

/// How exactly it is known when something was last used: who was used less than this ago is not written again.
pub(super) const COARSE: Duration = Duration::from_secs(3600);

/// What this process has found or made, each with the newest build of then.
#[derive(Default)]
pub(super) struct Pins {
    layers: Mutex<HashMap<LayerId, u64>>,
    blobs: Mutex<HashMap<Digest, u64>>,
    builds: Mutex<Builds>,
}

/// The builds of this process, numbered from 1.
#[derive(Default)]
struct Builds {
    newest: u64,
    living: BTreeSet<u64>,
}

/// A build: what is found or made while it lives is kept from being removed until it is dropped, and all others that had begun
/// by then. What is used while there is no build stays for the next one.
pub struct InUse {
    store: Store,
    build: u64,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.store.end_build(self.build);
    }
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUse").field("build", &self.build).finish_non_exhaustive()
    }
}

impl Pins {
    /// The number that what is used now gets.
    fn now(&self) -> u64 {
        let builds = lock(&self.builds);
        if builds.living.is_empty() { builds.newest + 1 } else { builds.newest }
    }

    /// Says that layers are used; those that were not held before.
    pub(super) fn announce(&self, owner: &Owner, layers: &[LayerId]) -> Result<Vec<LayerId>> {
        let now = self.now();
        let mut held = lock(&self.layers);
        let mut new = Vec::new();
        for layer in layers {
            match held.get_mut(layer) {
                Some(build) => *build = now,
                None => new.push(*layer),
            }
        }
        if !new.is_empty() {
            let mut notes = String::with_capacity(new.len() * 40);
            for layer in &new {
                let _ = writeln!(notes, "uses {layer}");
            }
            // Under the lock: a line that says otherwise comes before it, or not at all.
            owner.note(&notes)?;
        }
        Ok(new)
    }

    /// Whether a layer is held; then it is used again.
    pub(super) fn renew(&self, layer: LayerId) -> bool {
        let now = self.now();
        lock(&self.layers).get_mut(&layer).map(|build| *build = now).is_some()
    }

    /// Keeps in mind that the layers are there.
    pub(super) fn hold(&self, layers: &[LayerId]) {
        let now = self.now();
        lock(&self.layers).extend(layers.iter().map(|it| (*it, now)));
    }

    /// Says that a blob is used; whether it was not held before.
    pub(super) fn announce_blob(&self, owner: &Owner, digest: &Digest) -> Result<bool> {
        let now = self.now();
        let mut held = lock(&self.blobs);
        if let Some(build) = held.get_mut(digest) {
            *build = now;
            return Ok(false);
        }
        owner.note(&format!("uses-blob {}\n", digest.hex()))?;
        Ok(true)
    }

    /// Says that a blob is moved to its place.
    pub(super) fn announce_new_blob(&self, owner: &Owner, digest: &Digest) -> Result<()> {
        let now = self.now();
        let mut held = lock(&self.blobs);
        held.get_mut(digest).into_iter().for_each(|build| *build = now);
        owner.announce("blob", &digest.hex())
    }

    /// Keeps in mind that the blob is there.
    pub(super) fn hold_blob(&self, digest: &Digest) {
        let now = self.now();
        lock(&self.blobs).insert(*digest, now);
    }

    fn begin(&self) -> u64 {
        let mut builds = lock(&self.builds);
        builds.newest += 1;
        let build = builds.newest;
        builds.living.insert(build);
        build
    }

    /// A build has ended; whether something is not used any more.
    fn end(&self, owner: &Owner, build: u64) -> bool {
        let oldest = {
            let mut builds = lock(&self.builds);
            builds.living.remove(&build);
            builds.living.first().copied().unwrap_or(builds.newest + 1)
        };
        // Not said, it stays until this process ends.
        let n_layers = let_go(&self.layers, oldest, owner, |it| format!("frees {it}\n"));
        let n_blobs = let_go(&self.blobs, oldest, owner, |it| format!("frees-blob {}\n", it.hex()));
        0 < n_layers + n_blobs
    }
}

/// Lets go of what only builds before `oldest` used, and says so; gives how many those are.
fn let_go<T: Copy + Eq + Ord + Hash>(
    held: &Mutex<HashMap<T, u64>>,
    oldest: u64,
    owner: &Owner,
    note: impl Fn(T) -> String,
) -> usize {
    let mut held = lock(held);
    let mut gone: Vec<T> = held.extract_if(|_, build| *build < oldest).map(|(it, _)| it).collect();
    gone.sort_unstable();
    let notes: String = gone.iter().map(|it| note(*it)).collect();
    if !notes.is_empty() {
        let _ = owner.note(&notes);
    }
    gone.len()
}

impl Store {
    /// A build begins that will use the store: see [`InUse`].
    pub fn begin_build(&self) -> InUse {
        InUse { store: self.clone(), build: self.inner.pins.begin() }
    }

    fn end_build(&self, build: u64) {
        if self.inner.pins.end(&self.inner.owner, build) {
            // What is remembered of layers was true as long as they were held.
            self.inner.forget_looks();
        }
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
