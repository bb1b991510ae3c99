//! The records of a build on their way into a config: each edge once, whatever ways lead to it (BuildKit
//! cache/remotecache/v1: chains.go, utils.go `normalizeItem`).
//!
//! Records are added inputs first, and link only to earlier ones: so nothing comes to be made of itself, also where two
//! edges turn out to be one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::config::{CacheChain, CacheConfig, CacheInput, CacheLayer, CacheRecord, CacheResult, Made};
use crate::base::Digest;

/// A record that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(usize);

/// What may stand for an input: a record, and which part of it is used.
pub type Link = (Option<Digest>, RecordId);

/// The layers of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultLayers {
    /// Bottom first; never empty.
    pub layers: Vec<ResultLayer>,
    /// When it was made.
    pub created_at: SystemTime,
}

/// A layer of a result. Steps may make layers of equal bytes: those are one blob, and stay several layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultLayer {
    /// Digest of its blob.
    pub blob: Digest,
    /// How it came to be.
    pub made: Arc<Made>,
}

/// Records that are being collected.
#[derive(Debug, Clone, Default)]
pub struct Chains {
    items: Vec<Item>,
    by_digest: BTreeMap<Digest, Vec<usize>>,
    /// Of all results: what is below several is kept once, so that a long chain of steps takes a layer each.
    layers: Vec<CacheLayer>,
    by_layer: BTreeMap<(Digest, Option<usize>, Arc<Made>), usize>,
}

#[derive(Debug, Clone)]
struct Item {
    digest: Digest,
    inputs: Vec<BTreeSet<Link>>,
    result: Option<CacheResult>,
}

impl Chains {
    /// Adds the edge that is called `digest`, with what may stand for each of its inputs. `None` when there is an input
    /// for which nothing does: such a record would never be found.
    pub fn add(&mut self, digest: Digest, inputs: Vec<BTreeSet<Link>>) -> Option<RecordId> {
        if inputs.iter().any(BTreeSet::is_empty) {
            return None;
        }
        let known = self.by_digest.get(&digest).into_iter().flatten().copied().find(|&it| {
            let item = &self.items[it];
            item.inputs.len() == inputs.len()
                && item.inputs.iter().zip(&inputs).all(|(a, b)| !a.is_disjoint(b))
        });
        if let Some(known) = known {
            for (there, new) in self.items[known].inputs.iter_mut().zip(inputs) {
                there.extend(new.into_iter().filter(|(_, RecordId(link))| *link < known));
            }
            return Some(RecordId(known));
        }
        let id = self.items.len();
        self.by_digest.entry(digest).or_default().push(id);
        self.items.push(Item { digest, inputs, result: None });
        Some(RecordId(id))
    }

    /// Gives a record a result; of several the newest counts.
    pub fn set_result(&mut self, RecordId(id): RecordId, result: &ResultLayers) {
        let created_at = result.created_at;
        if self.items[id].result.is_some_and(|it| created_at <= it.created_at) {
            return;
        }
        let top = result.layers.iter().fold(None, |parent, ResultLayer { blob, made }| {
            let layer = *self.by_layer.entry((*blob, parent, made.clone())).or_insert_with(|| {
                self.layers.push(CacheLayer { blob: *blob, parent, made: made.clone() });
                self.layers.len() - 1
            });
            Some(layer)
        });
        self.items[id].result = top.map(|layer| CacheResult { layer, created_at });
    }

    /// Takes the results away that have one of these layers; the records stay, as others are made of them. How many.
    pub fn remove_layers(&mut self, blobs: &BTreeSet<Digest>) -> usize {
        // Parents come before what is on them.
        let mut is_whole: Vec<bool> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            is_whole.push(!blobs.contains(&layer.blob) && layer.parent.is_none_or(|it| is_whole[it]));
        }
        let mut n_removed = 0;
        for item in &mut self.items {
            if item.result.take_if(|it| !is_whole[it.layer]).is_some() {
                n_removed += 1;
            }
        }
        n_removed
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Everything, for a cache with layers of its own.
    pub fn to_config(&self) -> CacheConfig {
        let mut config = CacheConfig::default();
        // What was replaced by a newer result may have layers that nobody has any more.
        let mut is_used = vec![false; self.layers.len()];
        for item in &self.items {
            let mut at = item.result.map(|it| it.layer);
            while let Some(layer) = at.filter(|&it| !is_used[it]) {
                is_used[layer] = true;
                at = self.layers[layer].parent;
            }
        }
        let mut place: Vec<Option<usize>> = vec![None; self.layers.len()];
        for (idx, layer) in self.layers.iter().enumerate().filter(|(it, _)| is_used[*it]) {
            place[idx] = Some(config.layers.len());
            // Parents come before what is on them.
            let parent = layer.parent.and_then(|it| place[it]);
            config.layers.push(CacheLayer { parent, ..layer.clone() });
        }
        for item in &self.items {
            let mut record = record(item);
            let result = item.result.and_then(|it| Some(CacheResult { layer: place[it.layer]?, ..it }));
            record.results.extend(result);
            config.records.push(record);
        }
        config
    }

    /// Everything, for the config of an image with these layers, bottom first: only what is made of them has a result.
    pub fn to_inline(&self, layers: &[ResultLayer]) -> CacheConfig {
        let mut config = CacheConfig::default();
        let own = |(idx, it): (usize, &ResultLayer)| CacheLayer {
            blob: it.blob,
            parent: idx.checked_sub(1),
            made: it.made.clone(),
        };
        config.layers = layers.iter().enumerate().map(own).collect();
        for item in &self.items {
            let mut record = record(item);
            if let Some(CacheResult { layer, created_at }) = item.result {
                let mut wanted: Vec<ResultLayer> =
                    std::iter::successors(Some(layer), |&it| self.layers[it].parent)
                        .map(|it| &self.layers[it])
                        .map(|it| ResultLayer { blob: it.blob, made: it.made.clone() })
                        .collect();
                wanted.reverse();
                // Of layers of equal bytes its own. What another machine says of a layer may be something else than what
                // is said here.
                let found = subsequence(&wanted, layers, |a, b| a == b)
                    .or_else(|| subsequence(&wanted, layers, |a, b| a.blob == b.blob));
                match found {
                    Some(layers) if layers.iter().copied().eq(0..layers.len()) => {
                        record.results.push(CacheResult { layer: layers.len() - 1, created_at });
                    }
                    Some(layers) => record.chains.push(CacheChain { layers, created_at }),
                    None => {}
                }
            }
            config.records.push(record);
        }
        config
    }
}

/// Where each of `wanted` is in `there`, in its order if that can be.
fn subsequence(
    wanted: &[ResultLayer],
    there: &[ResultLayer],
    is_same: fn(&ResultLayer, &ResultLayer) -> bool,
) -> Option<Vec<usize>> {
    let mut next = 0;
    wanted
        .iter()
        .map(|layer| {
            let at = there[next..].iter().position(|it| is_same(it, layer)).map(|at| next + at);
            let at = at.or_else(|| there.iter().position(|it| is_same(it, layer)))?;
            next = at + 1;
            Some(at)
        })
        .collect()
}

fn record(item: &Item) -> CacheRecord {
    let input = |links: &BTreeSet<Link>| {
        links.iter().map(|&(selector, RecordId(link))| CacheInput { selector, link }).collect()
    };
    CacheRecord {
        digest: item.digest,
        inputs: item.inputs.iter().map(input).collect(),
        results: Vec::new(),
        chains: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
