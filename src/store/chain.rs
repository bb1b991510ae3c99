//! Trees as lists of layers. Lists share what they have in common: a chain of n steps costs n links, not n squared ids.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Weak};

use sha2::block_api::compress256;

use super::LayerId;
use crate::base::Digest;

/// Bytes of an id.
const ID: usize = 16;
/// Bytes that SHA-256 takes at once.
const BLOCK: usize = 64;
/// Ids in them.
const IDS: usize = BLOCK / ID;
/// How many layers a merged list may have before it is looked whether some are there twice: more than any image has.
const MAX_REPEATED: usize = 1000;
/// What SHA-256 begins with (FIPS 180-4, 5.3.3).
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A tree: committed layers, bottom first. The empty list is the empty tree, `scratch`. A cheap clone.
///
/// Merging trees is concatenating their lists: a layer can be stacked on any other. A list may hold an id twice (then
/// the lower one changes nothing).
#[derive(Clone, Default)]
pub struct Snapshot {
    top: Option<Arc<Link>>,
}

/// A layer and the tree below it.
struct Link {
    layer: LayerId,
    /// With this one.
    n_layers: usize,
    /// What SHA-256 made of the whole blocks of ids up to here: a digest of the list costs one more.
    state: [u32; 8],
    below: Snapshot,
}

/// Lists are long: link by link, without recursion.
impl Drop for Link {
    fn drop(&mut self) {
        let mut below = self.below.top.take();
        while let Some(link) = below {
            below = Arc::into_inner(link).and_then(|mut it| it.below.top.take());
        }
    }
}

/// A list that is kept by somebody else.
pub(super) struct WeakSnapshot(Weak<Link>);

impl WeakSnapshot {
    /// The list, if somebody still has it. That of `scratch` nobody has.
    pub(super) fn get(&self) -> Option<Snapshot> {
        self.0.upgrade().map(|link| Snapshot { top: Some(link) })
    }

    /// Whether nobody has it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl Snapshot {
    /// The empty tree.
    pub fn scratch() -> Snapshot {
        Snapshot::default()
    }

    /// Whether this is the empty list.
    pub fn is_scratch(&self) -> bool {
        self.top.is_none()
    }

    /// How many layers there are.
    pub fn n_layers(&self) -> usize {
        self.top.as_ref().map_or(0, |it| it.n_layers)
    }

    /// The topmost layer.
    pub fn top(&self) -> Option<LayerId> {
        self.top.as_ref().map(|it| it.layer)
    }

    /// The tree below the topmost layer; `None` of the empty tree.
    pub fn below(&self) -> Option<&Snapshot> {
        self.top.as_ref().map(|it| &it.below)
    }

    /// The layers, top first.
    pub fn downwards(&self) -> impl Iterator<Item = LayerId> {
        self.trees_downwards().filter_map(Snapshot::top)
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> Vec<LayerId> {
        let mut layers = Vec::with_capacity(self.n_layers());
        layers.extend(self.downwards());
        layers.reverse();
        layers
    }

    /// This tree, the one below its top layer, and so on; the last one is empty.
    pub(super) fn trees_downwards(&self) -> impl Iterator<Item = &Snapshot> {
        std::iter::successors(Some(self), |it| it.below())
    }

    /// This tree with `layer` on top.
    pub fn with(&self, layer: LayerId) -> Snapshot {
        let n_layers = self.n_layers() + 1;
        let mut state = self.top.as_ref().map_or(START, |it| it.state);
        if n_layers.is_multiple_of(IDS) {
            let mut block = self.tail();
            block[BLOCK - ID..].copy_from_slice(layer.as_bytes());
            compress256(&mut state, &[block]);
        }
        Snapshot { top: Some(Arc::new(Link { layer, n_layers, state, below: self.clone() })) }
    }

    /// The trees stacked, first at the bottom.
    ///
    /// Merging a tree with itself, and what comes of that with itself again, doubles the list each time: a list that gets
    /// long so has each layer once, in its topmost place.
    pub fn merge<'a>(trees: impl IntoIterator<Item = &'a Snapshot>) -> Snapshot {
        let mut merged = Snapshot::scratch();
        let mut most = MAX_REPEATED;
        for tree in trees {
            if merged.is_scratch() {
                merged = tree.clone();
                continue;
            }
            merged = tree.layers().into_iter().fold(merged, |below, layer| below.with(layer));
            if most < merged.n_layers() {
                merged = merged.distinct();
                most = most.max(2 * merged.n_layers());
            }
        }
        merged
    }

    /// The same tree by a list in which each layer is once.
    fn distinct(&self) -> Snapshot {
        let mut seen = HashSet::new();
        let mut layers: Vec<LayerId> = self.downwards().filter(|layer| seen.insert(*layer)).collect();
        if layers.len() == self.n_layers() {
            return self.clone();
        }
        layers.reverse();
        layers.into_iter().collect()
    }

    /// The layers above `lower` when its list is a prefix of this one's.
    pub fn above(&self, lower: &Snapshot) -> Option<Snapshot> {
        let n_above = self.n_layers().checked_sub(lower.n_layers())?;
        if self.trees_downwards().nth(n_above)? != lower {
            return None;
        }
        let mut above: Vec<LayerId> = self.downwards().take(n_above).collect();
        above.reverse();
        Some(above.into_iter().collect())
    }

    /// SHA-256 of the layers' ids one after the other: names this list.
    pub fn digest(&self) -> Digest {
        let mut state = self.top.as_ref().map_or(START, |it| it.state);
        let mut block = self.tail();
        // What is left of the ids leaves room for the padding.
        block[self.n_layers() % IDS * ID] = 0x80;
        let n_bits = (self.n_layers() * ID * 8) as u64;
        block[BLOCK - 8..].copy_from_slice(&n_bits.to_be_bytes());
        compress256(&mut state, &[block]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Digest::from_bytes(digest)
    }

    /// 16 bytes that name this list of layers.
    pub(crate) fn key(&self) -> [u8; 16] {
        *self.digest().as_bytes().first_chunk().expect("a digest has 32 bytes")
    }

    /// A reference that does not keep the list; `None` of the empty tree.
    pub(super) fn downgrade(&self) -> Option<WeakSnapshot> {
        self.top.as_ref().map(|it| WeakSnapshot(Arc::downgrade(it)))
    }

    /// The ids behind the last whole block, at the beginning of one.
    fn tail(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let n_ids = self.n_layers() % IDS;
        for (place, layer) in (0..n_ids).rev().zip(self.downwards()) {
            block[place * ID..][..ID].copy_from_slice(layer.as_bytes());
        }
        block
    }
}

impl FromIterator<LayerId> for Snapshot {
    fn from_iter<I: IntoIterator<Item = LayerId>>(layers: I) -> Snapshot {
        layers.into_iter().fold(Snapshot::scratch(), |tree, layer| tree.with(layer))
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Snapshot) -> bool {
        let is_shared = match (&self.top, &other.top) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_shared || (self.n_layers() == other.n_layers() && self.digest() == other.digest())
    }
}

impl Eq for Snapshot {}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.layers()).finish()
    }
}

#[cfg(test)]
mod tests;
