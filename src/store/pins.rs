//! What this process uses, so that nobody removes it, and which results it found, so that they stay when others go.
//!
//! A use is said in the file of the process's corner (`sweep`), a line each, *before* it is looked whether the thing is
//! there. Whoever removes things marks them first and reads these files then: one of the two sees the other (`gc`).
//!
//! A process may have many builds. Each has a number, and what is used gets that of the newest one: whoever uses it began no
//! later. When none of those lives any more it is said that the thing is not used, on a line further down. What is said in
//! vain does not grow for ever: see `annex`.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write as _};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::annex::{Annex, Fill};
use super::records::to_millis;
use super::sweep::Owner;
use super::{LayerId, Record, Result, Store, Usage};
use crate::base::Digest;

/// How exactly it is known when something was last used: who was used less than this ago is not written again.
pub(super) const COARSE: Duration = Duration::from_secs(3600);

/// What this process has found or made.
#[derive(Default)]
pub(super) struct Pins {
    held: Mutex<Held>,
    builds: Mutex<Builds>,
}

/// What is said to be used, and where.
#[derive(Default)]
struct Held {
    layers: HashMap<LayerId, Pin>,
    blobs: HashMap<Digest, Pin>,
    /// Of what is said in this process's corner by us.
    fill: Fill,
    /// Where it is said once too much there is not so any more.
    annex: Option<Annex>,
}

/// A use.
#[derive(Debug, Clone, Copy, Default)]
struct Pin {
    /// The newest build of when it was found or made; 0 for what was only looked for.
    build: u64,
    in_corner: bool,
    in_annex: bool,
}

impl Pin {
    /// Uses it again, if it was found before.
    fn renew(&mut self, now: u64) -> bool {
        let is_held = self.build != 0;
        if is_held {
            self.build = now;
        }
        is_held
    }
}

/// What pins are of.
trait Used: Copy + Eq + Ord + Hash {
    /// The lines that say that it is used, and that it is not: one byte longer.
    fn write_uses(self, notes: &mut String);
    fn write_frees(self, notes: &mut String);
}

impl Used for LayerId {
    fn write_uses(self, notes: &mut String) {
        let _ = writeln!(notes, "uses {self}");
    }

    fn write_frees(self, notes: &mut String) {
        let _ = writeln!(notes, "frees {self}");
    }
}

impl Used for Digest {
    fn write_uses(self, notes: &mut String) {
        let _ = writeln!(notes, "uses-blob {}", self.hex());
    }

    fn write_frees(self, notes: &mut String) {
        let _ = writeln!(notes, "frees-blob {}", self.hex());
    }
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
        let mut held = lock(&self.held);
        let mut new = Vec::new();
        let mut notes = String::new();
        for layer in layers {
            let pin = held.layers.get_mut(layer);
            // What was said and not found is said still.
            if pin.is_none() {
                layer.write_uses(&mut notes);
            }
            if !pin.is_some_and(|it| it.renew(now)) {
                new.push(*layer);
            }
        }
        if !notes.is_empty() {
            // Under the lock: a line that says otherwise comes before it, or not at all.
            let pin = held.say(owner, &notes)?;
            for layer in &new {
                held.layers.entry(*layer).or_insert(pin);
            }
        }
        Ok(new)
    }

    /// Whether a layer is held; then it is used again.
    pub(super) fn renew(&self, layer: LayerId) -> bool {
        let now = self.now();
        lock(&self.held).layers.get_mut(&layer).is_some_and(|pin| pin.renew(now))
    }

    /// Keeps in mind that the layers are there.
    pub(super) fn hold(&self, layers: &[LayerId]) {
        let now = self.now();
        let mut held = lock(&self.held);
        for layer in layers {
            // What was not said here was said when it was moved to its place, in the corner.
            let made = Pin { in_corner: true, ..Pin::default() };
            held.layers.entry(*layer).or_insert(made).build = now;
        }
    }

    /// Says that a blob is used; whether it was not held before.
    pub(super) fn announce_blob(&self, owner: &Owner, digest: &Digest) -> Result<bool> {
        let now = self.now();
        let mut held = lock(&self.held);
        if let Some(pin) = held.blobs.get_mut(digest) {
            return Ok(!pin.renew(now));
        }
        let mut note = String::new();
        digest.write_uses(&mut note);
        let pin = held.say(owner, &note)?;
        held.blobs.insert(*digest, pin);
        Ok(true)
    }

    /// Says that a blob is moved to its place.
    pub(super) fn announce_new_blob(&self, owner: &Owner, digest: &Digest) -> Result<()> {
        let now = self.now();
        let mut held = lock(&self.held);
        owner.announce("blob", &digest.hex())?;
        let pin = held.blobs.entry(*digest).or_default();
        pin.in_corner = true;
        pin.renew(now);
        Ok(())
    }

    /// Keeps in mind that the blob is there.
    pub(super) fn hold_blob(&self, digest: &Digest) {
        let now = self.now();
        let made = Pin { in_corner: true, ..Pin::default() };
        lock(&self.held).blobs.entry(*digest).or_insert(made).build = now;
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
        lock(&self.held).let_go(owner, oldest)
    }
}

impl Held {
    /// Says that something is used; where that is said now.
    fn say(&mut self, owner: &Owner, notes: &str) -> Result<Pin> {
        if self.is_stale() {
            self.replace_annex(owner);
        }
        match &mut self.annex {
            Some(annex) => {
                annex.note(notes)?;
                annex.fill.says(notes.len());
                Ok(Pin { in_annex: true, ..Pin::default() })
            }
            None => {
                owner.note(notes)?;
                self.fill.says(notes.len());
                Ok(Pin { in_corner: true, ..Pin::default() })
            }
        }
    }

    /// Lets go of what only builds before `oldest` used, and says so; whether there was any.
    fn let_go(&mut self, owner: &Owner, oldest: u64) -> bool {
        let (mut corner, mut annex) = (String::new(), String::new());
        let n_layers = end_pins(&mut self.layers, oldest, &mut self.fill, &mut corner, &mut annex);
        let n_blobs = end_pins(&mut self.blobs, oldest, &mut self.fill, &mut corner, &mut annex);
        // Not said, it stays until this process ends.
        if !corner.is_empty() {
            let _ = owner.note(&corner);
        }
        if let Some(Annex { fill, .. }) = &mut self.annex {
            annex.split_inclusive('\n').for_each(|note| fill.frees(note.len()));
            let is_replaced = fill.is_stale() && self.replace_annex(owner);
            if let Some(kept) = &self.annex
                && !is_replaced
                && !annex.is_empty()
            {
                let _ = kept.note(&annex);
            }
        }
        0 < n_layers + n_blobs
    }

    fn is_stale(&self) -> bool {
        self.annex.as_ref().map_or(self.fill, |it| it.fill).is_stale()
    }

    /// Says anew what the annex says, in one that says no more than that; whether that could be done.
    fn replace_annex(&mut self, owner: &Owner) -> bool {
        let mut notes = String::new();
        in_annex(&self.layers).into_iter().for_each(|it| it.write_uses(&mut notes));
        in_annex(&self.blobs).into_iter().for_each(|it| it.write_uses(&mut notes));
        let new = Annex::open(owner, &notes);
        // The old one goes when the new one is there.
        new.map(|new| self.annex = Some(new)).is_ok()
    }
}

fn in_annex<T: Used>(pins: &HashMap<T, Pin>) -> Vec<T> {
    let mut said: Vec<T> = pins.iter().filter(|(_, pin)| pin.in_annex).map(|(it, _)| *it).collect();
    said.sort_unstable();
    said
}

/// Takes out what only builds before `oldest` used; gives how many, and what is to be said of it where.
fn end_pins<T: Used>(
    pins: &mut HashMap<T, Pin>,
    oldest: u64,
    fill: &mut Fill,
    corner: &mut String,
    annex: &mut String,
) -> usize {
    let is_over = |_: &T, pin: &mut Pin| pin.build != 0 && pin.build < oldest;
    let mut gone: Vec<(T, Pin)> = pins.extract_if(is_over).collect();
    gone.sort_unstable_by_key(|(it, _)| *it);
    for (it, pin) in &gone {
        if pin.in_corner {
            let n_before = corner.len();
            it.write_frees(corner);
            fill.frees(corner.len() - n_before);
        }
        if pin.in_annex {
            it.write_frees(annex);
        }
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
