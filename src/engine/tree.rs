//! A tree as ops hand it on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::cancel::Cancel;
use super::solver::Output as _;
use super::source::SourceError;
use super::source::local::{LocalError, LocalTree};
use crate::base::Digest;
use crate::store::Snapshot;

/// A tree: in the store, or not yet.
#[derive(Clone)]
pub enum Tree {
    /// In the store.
    Stored(Snapshot),
    /// A directory of the machine: in the store once somebody asks for its snapshot.
    Local(Arc<LocalTree>),
}

impl Tree {
    /// The tree in the store; it is written if it is not there, once for all who ask. Blocks.
    ///
    /// # Errors
    /// When what it is made of cannot be read as it was looked at, or the store cannot be written.
    pub fn snapshot(&self, cancel: &Cancel) -> Result<Snapshot, SourceError> {
        match self {
            Tree::Stored(tree) => Ok(tree.clone()),
            Tree::Local(tree) => tree.snapshot(cancel).map_err(|error| match error {
                LocalError::Cancelled => SourceError::Cancelled,
                error => SourceError::Source(Box::new(error)),
            }),
        }
    }
}

impl Tree {
    /// As [`Tree::snapshot`], where one may not block.
    ///
    /// # Errors
    /// As there.
    pub async fn stored(self, cancel: &Cancel) -> Result<Snapshot, SourceError> {
        if let Tree::Stored(tree) = self {
            return Ok(tree);
        }
        let cancel = cancel.clone();
        super::blocking::blocking(SourceError::Cancelled, move || self.snapshot(&cancel)).await
    }
}

impl super::solver::Output for Snapshot {
    fn identity(&self) -> Digest {
        self.digest()
    }
}

impl super::solver::Output for Tree {
    fn identity(&self) -> Digest {
        match self {
            Tree::Stored(tree) => tree.identity(),
            Tree::Local(tree) => tree.identity(),
        }
    }
}

/// The trees that a build works with and that are not in the store, by identity: a record of one only names it, and is
/// good where it is met again.
#[derive(Default)]
pub struct Unstored {
    trees: Mutex<HashMap<Digest, Tree>>,
}

impl Unstored {
    /// Adds a tree.
    pub(super) fn add(&self, tree: Tree) {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).insert(tree.identity(), tree);
    }

    /// The tree with this identity, if this build has it.
    pub(super) fn get(&self, identity: &Digest) -> Option<Tree> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).get(identity).cloned()
    }
}
