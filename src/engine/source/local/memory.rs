//! What became of each path since a moment: so that who knows an earlier state needs only look at what differs.
//!
//! Each state in which something differs from the one before is a *generation*, with a random number of its own:
//! two processes that looked at once, and saw different things, then have different ones, whatever of it is kept. Within
//! an *epoch* a path is of one kind only; where one becomes another, all begins anew.

use std::collections::BTreeMap;

use super::scan::{Entry, Scan, order};
use crate::engine::content_hash::FileKind;
use crate::store::LayerId;

/// More generations than this begin a new epoch.
const MAX_GENERATIONS: usize = 1024;

/// What is remembered of a directory's states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) epoch: [u8; 16],
    /// By generation. Never empty.
    pub(super) nonces: Vec<[u8; 16]>,
    /// By entry of the state.
    pub(super) lives: Vec<Life>,
    /// Paths that were there earlier in this epoch.
    pub(super) gone: BTreeMap<Vec<u8>, Gone>,
}

/// What is remembered of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// The generation in which it came to be as it is, by all that a copy of it shows.
    pub(super) since: u32,
    /// It was one of several names of a file at some time.
    pub(super) was_linked: bool,
}

/// A path that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) kind: FileKind,
    pub(super) life: Life,
}

/// A moment in a directory's life: names a state exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    epoch: [u8; 16],
    generation: u32,
    nonce: [u8; 16],
}

/// What differs between a moment and now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Since<'a> {
    /// Indexes of entries that are new or others.
    pub(crate) changed: Vec<usize>,
    /// Paths that are no more; what lay in a directory follows it.
    pub(crate) gone: Vec<&'a [u8]>,
    /// One of them is, or was, one of several names of a file.
    pub(crate) links: bool,
}

impl Memory {
    /// Of a directory that was never looked at.
    pub(super) fn new(scan: &Scan) -> Memory {
        let life = |entry: &Entry| Life { since: 0, was_linked: 1 < entry.n_links };
        Memory {
            epoch: random(),
            nonces: vec![random()],
            lives: scan.entries.iter().map(life).collect(),
            gone: BTreeMap::new(),
        }
    }

    /// The memory of `now`, which comes after the state `then` of this one. All entries must have been read.
    pub(super) fn advance(self, then: &Scan, now: &Scan) -> Memory {
        let next = u32::try_from(self.nonces.len()).unwrap_or(u32::MAX);
        let mut is_other = then.mtime != now.mtime;
        let mut lives = Vec::with_capacity(now.entries.len());
        let mut gone = self.gone;
        let mut old = then.entries.iter().zip(&self.lives).peekable();
        let end = |entry: &Entry, life: &Life| Gone { kind: entry.kind, life: Life { since: next, ..*life } };
        for entry in &now.entries {
            while let Some((old, life)) = old.next_if(|(it, _)| order(&it.path, &entry.path).is_lt()) {
                gone.insert(old.path.clone(), end(old, life));
                is_other = true;
            }
            let is_linked = 1 < entry.n_links;
            let (kind, life) = match old.next_if(|(it, _)| it.path == entry.path) {
                Some((old, life)) if shows_same(old, entry) => (old.kind, *life),
                Some((old, life)) => {
                    (old.kind, Life { since: next, was_linked: life.was_linked || is_linked })
                }
                None => {
                    let earlier = gone.remove(&entry.path);
                    let was_linked = is_linked || earlier.is_some_and(|it| it.life.was_linked);
                    (earlier.map_or(entry.kind, |it| it.kind), Life { since: next, was_linked })
                }
            };
            if kind != entry.kind || MAX_GENERATIONS <= self.nonces.len() {
                return Memory::new(now);
            }
            is_other |= life.since == next;
            lives.push(life);
        }
        for (old, life) in old {
            gone.insert(old.path.clone(), end(old, life));
            is_other = true;
        }
        if then.entries.len() + now.entries.len() < gone.len() {
            return Memory::new(now);
        }
        let mut nonces = self.nonces;
        if is_other {
            nonces.push(random());
        }
        Memory { epoch: self.epoch, nonces, lives, gone }
    }

    /// The state that is remembered.
    pub(super) fn moment(&self) -> Moment {
        let nonce = *self.nonces.last().expect("there is a generation");
        Moment { epoch: self.epoch, generation: self.nonces.len() as u32 - 1, nonce }
    }

    /// What differs from the state at `moment`; `None` when that is not known.
    pub(super) fn since(&self, moment: &Moment) -> Option<Since<'_>> {
        let is_known =
            moment.epoch == self.epoch && self.nonces.get(moment.generation as usize) == Some(&moment.nonce);
        if !is_known {
            return None;
        }
        let mut since = Since::default();
        for (idx, life) in self.lives.iter().enumerate().filter(|(_, it)| moment.generation < it.since) {
            since.changed.push(idx);
            since.links |= life.was_linked;
        }
        for (path, gone) in self.gone.iter().filter(|(_, it)| moment.generation < it.life.since) {
            since.gone.push(path);
            since.links |= gone.life.was_linked;
        }
        Some(since)
    }
}

impl Moment {
    pub(crate) const LENGTH: usize = 36;

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [self.epoch.as_slice(), &self.generation.to_le_bytes(), &self.nonce].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8; Moment::LENGTH]) -> Moment {
        let (epoch, rest) = bytes.split_first_chunk().expect("the length is that of the parts");
        let (generation, nonce) = rest.split_first_chunk().expect("as above");
        Moment {
            epoch: *epoch,
            generation: u32::from_le_bytes(*generation),
            nonce: nonce.try_into().expect("as above"),
        }
    }
}

/// Whether copies of the two cannot be told apart. Other names of the file count: copies keep them together.
fn shows_same(then: &Entry, now: &Entry) -> bool {
    let of_links = |it: &Entry| (1 < it.n_links).then_some((it.n_links, it.dev, it.ino));
    let facts = |it: &Entry| (it.kind, it.digest, it.mtime, of_links(it));
    // The digest leaves some attributes out, as BuildKit's does: access lists among them.
    facts(then) == facts(now) && then.xattrs == now.xattrs
}

fn random() -> [u8; 16] {
    *LayerId::random().as_bytes()
}
