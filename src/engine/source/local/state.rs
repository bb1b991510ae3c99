//! What is remembered of a directory between builds: its entries, their digest, and what became of them.
//!
//! There are two values: a *base*, which has all entries, and a *difference* to it, which is all that is written while it
//! is small. All numbers are little-endian, texts have their length before them. What does not decode is not there.

use std::collections::{BTreeMap, BTreeSet};

use super::memory::{Gone, Life, Memory};
use super::scan::{Entry, Scan, order};
use crate::base::Digest;
use crate::engine::content_hash::FileKind;
use crate::store::{LayerId, Store, StoreError, Table};

const VERSION: u32 = 2;

/// A remembered state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) scan: Scan,
    pub(super) memory: Memory,
    /// Digest of all of it.
    pub(super) key: Digest,
    /// How it is kept.
    kept: Kept,
}

/// How a state is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    /// Name of the base.
    base: [u8; 16],
    /// Number of entries of the base.
    n_base: usize,
    /// Paths whose entries are in the difference.
    changed: BTreeSet<Vec<u8>>,
    /// Paths of the base that are no more.
    removed: BTreeSet<Vec<u8>>,
}

fn key_of(what: &str, id: &Digest) -> Vec<u8> {
    [what.as_bytes(), id.as_bytes().as_slice()].concat()
}

/// The state of the directory `id` when it was last looked at; what cannot be read is not there.
pub(super) fn load(store: &Store, id: &Digest) -> Option<Known> {
    let keys = [key_of("scan:", id), key_of("since:", id)];
    let values = store.get_values(Table::LocalFiles, &[&keys[0], &keys[1]]).ok()?;
    let [base, difference] = <[Option<Vec<u8>>; 2]>::try_from(values).ok()?;
    let base = decode_base(&base?)?;
    match difference {
        None => Some(base),
        // One that belongs to another base is of no use, nor is the base without it: what is kept of it is older.
        Some(difference) => decode_difference(base, &difference),
    }
}

/// Remembers `scan`, which comes after `known`. Not remembering it costs reading the files again.
pub(super) fn keep(
    store: &Store,
    id: &Digest,
    known: Option<&Known>,
    scan: &Scan,
    memory: &Memory,
    key: &Digest,
) -> Result<(), StoreError> {
    let (base_key, difference_key) = (key_of("scan:", id), key_of("since:", id));
    if let Some(known) = known {
        let kept = known.kept.after(&known.scan, scan);
        if (kept.changed.len() + kept.removed.len()) * 16 < kept.n_base.max(64) {
            let bytes = encode_difference(&kept, scan, memory, key);
            return store.put_value(Table::LocalFiles, &difference_key, &bytes);
        }
    }
    let base = *LayerId::random().as_bytes();
    let kept = Kept { base, n_base: scan.entries.len(), ..Kept::default() };
    store.put_values(
        Table::LocalFiles,
        &[
            (&base_key, &encode_base(&base, scan, memory, key)),
            (&difference_key, &encode_difference(&kept, scan, memory, key)),
        ],
    )
}

impl Kept {
    /// How `now` is kept after `then`, which is kept like this.
    fn after(&self, then: &Scan, now: &Scan) -> Kept {
        let mut kept = self.clone();
        let mut old = then.entries.iter().peekable();
        let remove = |kept: &mut Kept, entry: &Entry| {
            kept.changed.remove(&entry.path);
            kept.removed.insert(entry.path.clone());
        };
        for entry in &now.entries {
            while let Some(old) = old.next_if(|it| order(&it.path, &entry.path).is_lt()) {
                remove(&mut kept, old);
            }
            if old.next_if(|it| it.path == entry.path).is_none_or(|old| old != entry) {
                kept.removed.remove(&entry.path);
                kept.changed.insert(entry.path.clone());
            }
        }
        old.for_each(|old| remove(&mut kept, old));
        kept
    }
}

fn encode_base(name: &[u8; 16], scan: &Scan, memory: &Memory, key: &Digest) -> Vec<u8> {
    let mut out = Vec::with_capacity(scan.entries.len() * 160);
    put_head(&mut out, name, scan, memory, key);
    put_u32(&mut out, scan.entries.len() as u32);
    for (entry, life) in scan.entries.iter().zip(&memory.lives) {
        put_entry(&mut out, entry, life);
    }
    out
}

fn encode_difference(kept: &Kept, scan: &Scan, memory: &Memory, key: &Digest) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(&mut out, &kept.base, scan, memory, key);
    put_u32(&mut out, kept.removed.len() as u32);
    kept.removed.iter().for_each(|path| put_bytes(&mut out, path));
    put_u32(&mut out, kept.changed.len() as u32);
    for path in &kept.changed {
        let idx = scan.find(path).expect("what changed is there");
        put_entry(&mut out, &scan.entries[idx], &memory.lives[idx]);
    }
    out
}

fn decode_base(bytes: &[u8]) -> Option<Known> {
    let mut input = Input(bytes);
    let (base, mtime, key, mut memory) = input.head()?;
    let n_base = input.u32()? as usize;
    let mut entries = Vec::with_capacity(n_base.min(bytes.len() / 64));
    for _ in 0..n_base {
        let (entry, life) = input.entry()?;
        entries.push(entry);
        memory.lives.push(life);
    }
    let kept = Kept { base, n_base, ..Kept::default() };
    Some(Known { scan: Scan { entries, mtime }, memory, key, kept })
}

fn decode_difference(base: Known, bytes: &[u8]) -> Option<Known> {
    let mut input = Input(bytes);
    let (name, mtime, key, mut memory) = input.head()?;
    if name != base.kept.base {
        return None;
    }
    let n_removed = input.u32()?;
    let removed: BTreeSet<Vec<u8>> = (0..n_removed).map(|_| input.bytes()).collect::<Option<_>>()?;
    let n_changed = input.u32()?;
    let mut changed = Vec::new();
    for _ in 0..n_changed {
        changed.push(input.entry()?);
    }
    let paths: BTreeSet<Vec<u8>> = changed.iter().map(|(entry, _)| entry.path.clone()).collect();
    changed.sort_by(|(a, _), (b, _)| order(&a.path, &b.path));
    let mut changed = changed.into_iter().peekable();
    let mut entries = Vec::with_capacity(base.scan.entries.len() + paths.len());
    for (entry, life) in base.scan.entries.into_iter().zip(base.memory.lives) {
        while let Some((entry, life)) = changed.next_if(|(it, _)| order(&it.path, &entry.path).is_lt()) {
            entries.push(entry);
            memory.lives.push(life);
        }
        if let Some((entry, life)) = changed.next_if(|(it, _)| it.path == entry.path) {
            entries.push(entry);
            memory.lives.push(life);
        } else if !removed.contains(&entry.path) {
            entries.push(entry);
            memory.lives.push(life);
        }
    }
    for (entry, life) in changed {
        entries.push(entry);
        memory.lives.push(life);
    }
    let kept = Kept { changed: paths, removed, ..base.kept };
    Some(Known { scan: Scan { entries, mtime }, memory, key, kept })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|it| it[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.u32()? as usize;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn name(&mut self) -> Option<[u8; 16]> {
        self.take(16)?.try_into().ok()
    }

    fn digest(&mut self) -> Option<Digest> {
        Some(Digest::from_bytes(self.take(32)?.try_into().ok()?))
    }

    fn time(&mut self) -> Option<(i64, u32)> {
        Some((self.u64()? as i64, self.u32()?))
    }

    fn life(&mut self) -> Option<Life> {
        Some(Life { since: self.u32()?, was_linked: self.byte()? != 0 })
    }

    /// What [`put_head`] writes; the memory has no lives yet.
    #[allow(clippy::type_complexity, reason = "read in one place")]
    fn head(&mut self) -> Option<([u8; 16], (i64, u32), Digest, Memory)> {
        if self.u32()? != VERSION {
            return None;
        }
        let (base, mtime, key, epoch) = (self.name()?, self.time()?, self.digest()?, self.name()?);
        let n_nonces = self.u32()?;
        let nonces: Vec<_> = (0..n_nonces).map(|_| self.name()).collect::<Option<_>>()?;
        let n_gone = self.u32()?;
        let mut gone = BTreeMap::new();
        for _ in 0..n_gone {
            let kind = FileKind::of_code(self.byte()?)?;
            let life = self.life()?;
            gone.insert(self.bytes()?, Gone { kind, life });
        }
        let memory = Memory { epoch, nonces, lives: Vec::new(), gone };
        (!memory.nonces.is_empty()).then_some((base, mtime, key, memory))
    }

    fn entry(&mut self) -> Option<(Entry, Life)> {
        let entry = Entry {
            path: self.bytes()?,
            kind: FileKind::of_code(self.byte()?)?,
            mode: self.u32()?,
            size: self.u64()?,
            dev: self.u64()?,
            ino: self.u64()?,
            n_links: self.u64()?,
            rdev: self.u64()?,
            mtime: self.time()?,
            ctime: self.time()?,
            target: self.bytes()?,
            xattrs: {
                let n_xattrs = self.u32()?;
                (0..n_xattrs).map(|_| Some((self.bytes()?, self.bytes()?))).collect::<Option<_>>()?
            },
            digest: Some(self.digest()?),
            settled: self.byte()? != 0,
        };
        Some((entry, self.life()?))
    }
}

fn put_head(out: &mut Vec<u8>, base: &[u8; 16], scan: &Scan, memory: &Memory, key: &Digest) {
    put_u32(out, VERSION);
    out.extend_from_slice(base);
    put_time(out, scan.mtime);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&memory.epoch);
    put_u32(out, memory.nonces.len() as u32);
    memory.nonces.iter().for_each(|nonce| out.extend_from_slice(nonce));
    put_u32(out, memory.gone.len() as u32);
    for (path, gone) in &memory.gone {
        out.push(gone.kind.code());
        put_life(out, &gone.life);
        put_bytes(out, path);
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry, life: &Life) {
    put_bytes(out, &entry.path);
    out.push(entry.kind.code());
    put_u32(out, entry.mode);
    for number in [entry.size, entry.dev, entry.ino, entry.n_links, entry.rdev] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_time(out, entry.mtime);
    put_time(out, entry.ctime);
    put_bytes(out, &entry.target);
    put_u32(out, entry.xattrs.len() as u32);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    out.extend_from_slice(entry.digest.expect("only what was read is kept").as_bytes());
    out.push(u8::from(entry.settled));
    put_life(out, life);
}

fn put_life(out: &mut Vec<u8>, life: &Life) {
    put_u32(out, life.since);
    out.push(u8::from(life.was_linked));
}

fn put_time(out: &mut Vec<u8>, (seconds, nanoseconds): (i64, u32)) {
    out.extend_from_slice(&seconds.to_le_bytes());
    put_u32(out, nanoseconds);
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}
