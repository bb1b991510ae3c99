//! What a solve knows of a vertex.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::import::{OfferState, Offered};
use super::{CacheMap, key};
use crate::base::Digest;

/// How far a vertex is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was needed of it but, perhaps, look-ups by definition key.
    Idle,
    /// Its definition key found nothing: what its content key is made of is being collected.
    Keying,
    /// Its content key is known.
    Keyed,
    /// It has to run: its inputs' results are being collected.
    Gathering,
    /// It runs.
    Running,
    /// It ran.
    Done,
}

/// An edge's keys.
#[derive(Clone, Copy)]
pub(super) struct EdgeKeys {
    /// What this solve's users make their keys of.
    pub(super) used: Digest,
    /// The same if no vertex below had ignored the cache: what the record is kept by.
    pub(super) plain: Digest,
}

pub(super) struct Vertex<R> {
    pub(super) map: CacheMap,
    /// Definition key.
    pub(super) def: Digest,
    /// A vertex below ignores the cache: the definition key says nothing about this build's result.
    pub(super) tainted: bool,
    pub(super) stage: Stage,
    /// What the stage still waits for.
    pub(super) n_missing: usize,
    /// Content digests of inputs, where asked.
    pub(super) contents: Vec<Option<Digest>>,
    /// Content key of the vertex, in both senses of [`EdgeKeys`].
    pub(super) content: Option<EdgeKeys>,
    /// By output.
    pub(super) keys: Vec<Option<EdgeKeys>>,
    /// By output.
    pub(super) results: Vec<Option<R>>,
    /// By output: the run that made the result.
    pub(super) made_by: Vec<Option<Digest>>,
    /// By output: whether a look-up by content key was made, or will be once there is one.
    pub(super) wanted: Vec<bool>,
    pub(super) wants_result: bool,
    /// By output: whether the result is needed, not only its key.
    pub(super) needed: Vec<bool>,
    /// It has to run, as far as can be told.
    pub(super) doomed: bool,
    pub(super) doomed_inputs: Vec<usize>,
    /// Users and their input index, waiting for a key.
    pub(super) key_waiters: Vec<(usize, usize)>,
    /// Users and their input index, waiting for a result.
    pub(super) result_waiters: Vec<(usize, usize)>,
    /// A `Cached` event was sent.
    pub(super) announced: bool,
    /// A `Started` event was sent.
    pub(super) started: Arc<AtomicBool>,
    /// By output: what caches of other machines have.
    pub(super) offers: Vec<Offered>,
}

impl<R> Vertex<R> {
    /// Whether the op is what will give an output whose result is not there, when it is wanted.
    pub(super) fn needs_run_for(&self, output: usize) -> bool {
        let is_offered = matches!(self.offers[output].state, OfferState::Ready | OfferState::Loading);
        self.wanted[output] && self.results[output].is_none() && !is_offered
    }
}

impl EdgeKeys {
    /// The keys of output `output` of the vertex with these keys.
    pub(super) fn of(&self, output: usize) -> EdgeKeys {
        EdgeKeys { used: key::edge(&self.used, output), plain: key::edge(&self.plain, output) }
    }

    /// What the record of an edge with these keys and the definition key `def` is kept by, each once.
    pub(super) fn all(&self, def: Digest) -> Vec<Digest> {
        let mut all = distinct([def, self.plain], self.used);
        all.push(self.used);
        all
    }
}

/// Those of `keys` that are not `known`, each once.
pub(super) fn distinct(keys: [Digest; 2], known: Digest) -> Vec<Digest> {
    let mut kept = Vec::with_capacity(2);
    for key in keys {
        if key != known && !kept.contains(&key) {
            kept.push(key);
        }
    }
    kept
}
