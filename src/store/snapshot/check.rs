//! Whether a tree is whole. Long chains are looked through once for the many that look at them within a moment: a cached
//! build asks for every tree on such a chain.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::CWD;

use super::{rows, stamp};
use crate::store::{LayerId, Snapshot, Store, StoreError, tree};

/// Every so many layers it is noted that the tree was whole up to there.
const STEP: usize = 256;
/// How long that is believed.
const MOMENT: Duration = Duration::from_secs(1);
/// How many notes there may be.
const MAX_NOTES: usize = 4096;

/// When trees were last found whole, by their keys.
#[derive(Default)]
pub(in crate::store) struct Checked {
    whole: Mutex<HashMap<[u8; 16], Instant>>,
}

impl Checked {
    fn is_whole(&self, tree: &Snapshot) -> bool {
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        whole.get(&tree.key()).is_some_and(|at| at.elapsed() < MOMENT)
    }

    fn note(&self, trees: &[&Snapshot], at: Instant) {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if MAX_NOTES < whole.len() {
            whole.clear();
        }
        whole.extend(trees.iter().map(|it| (it.key(), at)));
    }

    /// Forgets all.
    pub(in crate::store) fn clear(&self) {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Store {
    /// Whether every layer of the tree is there and looks whole; cheap. `false` is a cache miss.
    ///
    /// What is there is kept from being removed as long as this process lives.
    pub fn check(&self, tree: &Snapshot) -> bool {
        let start = Instant::now();
        let (mut layers, mut marks) = (Vec::with_capacity(tree.n_layers().min(STEP)), Vec::new());
        for it in tree.trees_downwards() {
            if it.n_layers() % STEP == 0 && !it.is_scratch() {
                if self.inner.checked.is_whole(it) {
                    break;
                }
                marks.push(it);
            }
            layers.extend(it.top());
            if layers.len() == STEP && !self.are_whole(&std::mem::take(&mut layers)) {
                return false;
            }
        }
        let is_whole = self.are_whole(&layers);
        if is_whole && !marks.is_empty() {
            self.inner.checked.note(&marks, start);
        }
        is_whole
    }

    fn are_whole(&self, layers: &[LayerId]) -> bool {
        let (pins, owner) = (&self.inner.pins, &self.inner.owner);
        // Said before it is looked at: see `gc`.
        let stackings = |layers: &[LayerId]| {
            let new = pins.announce(owner, layers)?;
            Ok::<_, StoreError>((rows::stackings(&self.inner.database, layers)?, new))
        };
        let Ok((rows, mut new)) = stackings(layers) else { return false };
        let parts: Vec<LayerId> = rows.iter().flatten().flat_map(|it| it.parts.clone()).collect();
        let mut below = Vec::new();
        if !parts.is_empty() {
            let Ok((found, more)) = stackings(&parts) else { return false };
            below = found;
            new.extend(more);
        }
        let new: HashSet<LayerId> = new.into_iter().collect();
        let mut all = layers.iter().zip(&rows).chain(parts.iter().zip(&below));
        let is_whole = all.all(|(layer, recorded)| {
            let recorded = recorded.as_ref().filter(|it| !it.doomed || !new.contains(layer));
            let found = tree::stat(CWD, self.layer_fs(*layer).as_os_str().as_encoded_bytes());
            matches!((found, recorded), (Ok(Some(found)), Some(recorded)) if found.is_dir() && stamp(&found) == recorded.stamp)
        });
        if is_whole && !new.is_empty() {
            pins.hold(layers);
            pins.hold(&parts);
        }
        is_whole
    }
}
