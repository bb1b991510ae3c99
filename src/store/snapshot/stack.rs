//! Which directories are mounted for a tree. Overlayfs stacks at most 500, and each costs time whenever a tree is mounted:
//! of long lists, runs of small layers are mounted as blocks that were put together by hard links, and runs of blocks as
//! larger blocks, so that a chain of n small layers is a stack of about `FANOUT` times the logarithm of n.
//!
//! The stack of a list is that of the list below and one step more, whoever computes it: a growing chain finds its blocks
//! again, and a list that grew by one is stacked in no time (the last stacks are remembered).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::rows;
use crate::store::{LayerId, Result, Snapshot, Store, StoreError};

/// Up to so many directories are mounted as they are.
const MAX_PLAIN: usize = 64;
/// How many directories or blocks of one size make a block.
const FANOUT: usize = 16;
/// Layers of more files are not put into blocks: linking them takes longer than mounting one directory more.
const MAX_SMALL: u64 = 256;
/// Above this, layers of any size are.
const MAX_STACK: usize = 400;
/// How many of them at once.
const LARGE_BLOCK: usize = 128;
/// How many stacks are remembered.
const N_RECENT: usize = 32;

/// Stacks of the lists that were asked for last, the newest first.
#[derive(Default)]
pub(in crate::store) struct Stacks {
    recent: Mutex<VecDeque<([u8; 16], Arc<Stack>)>>,
}

/// A directory that is stacked.
pub(super) struct Lower {
    pub(super) layer: LayerId,
    pub(super) path: PathBuf,
    /// It was put together of several: directories in it may hide what is below.
    pub(super) is_block: bool,
}

/// What is stacked, bottom first.
#[derive(Clone, Default)]
struct Stack {
    slots: Vec<Slot>,
    /// There were too many once: from then on blocks are made as soon as they can be.
    is_long: bool,
}

#[derive(Clone)]
enum Slot {
    /// The directory of a layer. If it is small it may be put into a block.
    Dir { layer: LayerId, is_small: bool },
    /// Several, as one.
    Block(Arc<Block>),
}

struct Block {
    /// Names what is in it.
    key: [u8; 16],
    level: u32,
    state: Mutex<State>,
}

enum State {
    /// To be put together, or found, when it is mounted.
    Parts(Vec<Slot>),
    Made(LayerId),
}

impl Slot {
    /// Runs of one kind make blocks; `None` of what is not put into any.
    fn level(&self) -> Option<u32> {
        match self {
            Slot::Dir { is_small, .. } => is_small.then_some(0),
            Slot::Block(block) => Some(block.level),
        }
    }

    fn key(&self) -> &[u8; 16] {
        match self {
            Slot::Dir { layer, .. } => layer.as_bytes(),
            Slot::Block(block) => &block.key,
        }
    }
}

impl Block {
    fn new(parts: Vec<Slot>, level: u32) -> Block {
        let mut state = Sha256::new_with_prefix(b"bkl.block.v1\0");
        parts.iter().for_each(|it| state.update(it.key()));
        let digest: [u8; 32] = state.finalize().into();
        let key = *digest.first_chunk().expect("a digest has 32 bytes");
        Block { key, level, state: Mutex::new(State::Parts(parts)) }
    }
}

impl Stack {
    /// One more directory on top.
    fn push(&mut self, layer: LayerId, is_small: bool) {
        // Of two equal directories the lower one changes nothing: whatever it did, the upper does again.
        self.slots.retain(|it| !matches!(it, Slot::Dir { layer: there, .. } if *there == layer));
        self.slots.push(Slot::Dir { layer, is_small });
        if MAX_PLAIN < self.slots.len() {
            self.is_long = true;
        }
        if self.is_long {
            while self.fold_run() {}
        }
        while MAX_STACK < self.slots.len() {
            self.fold(0..LARGE_BLOCK);
        }
    }

    /// Makes the lowest run of small layers, or of blocks of one size, that is long enough into a block.
    fn fold_run(&mut self) -> bool {
        let mut start = 0;
        for idx in 0..self.slots.len() {
            let level = self.slots[idx].level();
            if level.is_none() || level != self.slots[start].level() {
                start = idx;
            }
            if level.is_some() && idx + 1 - start == FANOUT {
                self.fold(start..idx + 1);
                return true;
            }
        }
        false
    }

    fn fold(&mut self, range: std::ops::Range<usize>) {
        let level = self.slots[range.clone()].iter().filter_map(Slot::level).max().unwrap_or(0) + 1;
        let start = range.start;
        let parts = self.slots.drain(range).collect();
        self.slots.insert(start, Slot::Block(Arc::new(Block::new(parts, level))));
    }
}

impl Stacks {
    fn get(&self, key: &[u8; 16]) -> Option<Arc<Stack>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|(known, _)| known == key)?;
        let found = recent.remove(at)?;
        let stack = found.1.clone();
        recent.push_front(found);
        Some(stack)
    }

    fn put(&self, key: [u8; 16], stack: Arc<Stack>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(known, _)| *known != key);
        recent.truncate(N_RECENT - 1);
        recent.push_front((key, stack));
    }

    /// Forgets all.
    pub(in crate::store) fn clear(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Store {
    /// The directories to stack for a tree, top first.
    pub(super) fn lower_dirs(&self, tree: &Snapshot) -> Result<Vec<PathBuf>> {
        self.dirs_below(tree, &[])
    }

    /// The directories to stack for a tree with `parts` on top, top first: each once, no empty ones, few enough for the
    /// kernel.
    pub(super) fn dirs_below(&self, tree: &Snapshot, parts: &[LayerId]) -> Result<Vec<PathBuf>> {
        Ok(self.lowers_below(tree, parts)?.into_iter().map(|it| it.path).collect())
    }

    /// As [`Store::dirs_below`], with what is known of each.
    pub(super) fn lowers_below(&self, tree: &Snapshot, parts: &[LayerId]) -> Result<Vec<Lower>> {
        let lowers = match self.resolve(&*self.stack(tree, parts)?)? {
            Some(lowers) => lowers,
            // A block is gone: what else is remembered may be, too.
            None => {
                self.inner.stacks.clear();
                let again = self.resolve(&*self.stack(tree, parts)?)?;
                again.ok_or(StoreError::NoLayer { layer: tree.top().unwrap_or_else(LayerId::random) })?
            }
        };
        let lower = |(layer, is_block)| Lower { layer, path: self.layer_fs(layer), is_block };
        Ok(lowers.into_iter().rev().map(lower).collect())
    }

    fn stack(&self, tree: &Snapshot, parts: &[LayerId]) -> Result<Arc<Stack>> {
        let mut below = self.stack_of(tree)?;
        if !parts.is_empty() {
            let with_parts = Arc::make_mut(&mut below);
            parts.iter().for_each(|it| with_parts.push(*it, false));
        }
        Ok(below)
    }

    /// What is stacked for a tree.
    fn stack_of(&self, tree: &Snapshot) -> Result<Arc<Stack>> {
        let mut missing = Vec::new();
        let mut stack = Arc::new(Stack::default());
        for it in tree.trees_downwards().take_while(|it| !it.is_scratch()) {
            if let Some(known) = self.inner.stacks.get(&it.key()) {
                stack = known;
                break;
            }
            missing.push(it);
        }
        if missing.is_empty() {
            return Ok(stack);
        }
        let next = Arc::make_mut(&mut stack);
        missing.reverse();
        for trees in missing.chunks(256) {
            let layers: Vec<LayerId> = trees.iter().filter_map(|it| it.top()).collect();
            let stackings = rows::stackings(&self.inner.database, &layers)?;
            for ((&layer, tree), stacking) in layers.iter().zip(trees).zip(stackings) {
                let stacking = stacking.ok_or(StoreError::NoLayer { layer })?;
                if stacking.empty {
                    continue;
                }
                let is_composite = !stacking.parts.is_empty();
                if is_composite && stacking.hides == Some(true) && !self.is_chain(tree)? {
                    next.push(self.whole(layer)?, false);
                    continue;
                }
                stacking.parts.iter().for_each(|it| next.push(*it, false));
                next.push(layer, !is_composite && stacking.n_entries <= MAX_SMALL);
            }
        }
        self.inner.stacks.put(tree.key(), stack.clone());
        Ok(stack)
    }

    /// The layers whose directories are mounted, bottom first, and whether each is a block; `None` when a block that was made
    /// is gone.
    fn resolve(&self, stack: &Stack) -> Result<Option<Vec<(LayerId, bool)>>> {
        let resolve = |slot| Ok(self.resolve_slot(slot)?.map(|it| (it, matches!(slot, Slot::Block(_)))));
        stack.slots.iter().map(resolve).collect()
    }

    fn resolve_slot(&self, slot: &Slot) -> Result<Option<LayerId>> {
        let block = match slot {
            Slot::Dir { layer, .. } => return Ok(Some(*layer)),
            Slot::Block(block) => block,
        };
        // Who comes second waits for what the first one makes.
        let mut state = block.state.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = match &*state {
            State::Made(layer) if self.inner.pins.renew(*layer) => {
                return Ok(Some(*layer).filter(|it| self.layer_fs(*it).is_dir()));
            }
            // The build that made it has ended.
            State::Made(layer) => {
                return Ok(Some(*layer).filter(|it| self.check(&Snapshot::scratch().with(*it))));
            }
            State::Parts(parts) => parts,
        };
        let known = rows::squashed(&self.inner.database, &block.key)?;
        let made = match known.filter(|it| self.check(&Snapshot::scratch().with(*it))) {
            Some(made) => made,
            None => {
                let dirs: Result<Option<Vec<LayerId>>> =
                    parts.iter().map(|it| self.resolve_slot(it)).collect();
                let Some(dirs) = dirs? else { return Ok(None) };
                self.squash(&block.key, &dirs)?
            }
        };
        *state = State::Made(made);
        Ok(Some(made))
    }
}

#[cfg(test)]
mod tests;
