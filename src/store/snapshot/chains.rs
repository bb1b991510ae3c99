//! The trees that layers end as they were made, shared by all who ask for them: of a long chain there is one list, however
//! many records and rows speak of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _};

use super::super::chain::WeakSnapshot;
use super::rows;
use crate::store::{LayerId, Result, Snapshot, Store};

/// Trees that somebody has, by their top layers.
#[derive(Default)]
pub(in crate::store) struct Chains {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    trees: HashMap<LayerId, WeakSnapshot>,
    /// How many there may be before those that nobody has are looked for.
    limit: usize,
}

impl Chains {
    /// Notes a tree that is the one its top layer was made to end, and gives the list to go on with.
    pub(in crate::store) fn note(&self, tree: &Snapshot) {
        let (Some(top), Some(weak)) = (tree.top(), tree.downgrade()) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.limit <= known.trees.len() {
            known.trees.retain(|_, it| !it.is_gone());
            known.limit = (2 * known.trees.len()).max(1024);
        }
        known.trees.insert(top, weak);
    }

    fn get(&self, top: LayerId) -> Option<Snapshot> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).trees.get(&top)?.get()
    }

    /// The tree that `top` was made to end; `None` when a link of the chain is missing.
    pub(in crate::store) fn find(
        &self,
        connection: &Connection,
        top: LayerId,
    ) -> rusqlite::Result<Option<Snapshot>> {
        let mut statement = connection.prepare_cached("SELECT parent, parents FROM layers WHERE id = ?1")?;
        let mut upper = Vec::new();
        let mut at = top;
        let mut tree = loop {
            if let Some(tree) = self.get(at) {
                break tree;
            }
            let row = statement
                .query_row([at.as_bytes()], |row| {
                    Ok((row.get::<_, Option<[u8; 16]>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
                })
                .optional()?;
            let Some((parent, list)) = row else { return Ok(None) };
            upper.push(at);
            match parent {
                Some(parent) => at = LayerId::from_bytes(parent),
                None => match rows::decode_layers(&list.unwrap_or_default()) {
                    Some(layers) => break layers.collect(),
                    None => return Ok(None),
                },
            }
        };
        for layer in upper.into_iter().rev() {
            tree = tree.with(layer);
            self.note(&tree);
        }
        Ok(Some(tree))
    }
}

impl Store {
    /// The tree that a layer was made to end: those that it was made on, and itself. `None` when one of them is not in the
    /// store.
    pub fn tree_of(&self, layer: LayerId) -> Result<Option<Snapshot>> {
        let inner = &self.inner;
        inner.database.with("read a layer's parents", |connection| {
            let transaction = connection.transaction()?;
            inner.chains.find(&transaction, layer)
        })
    }

    /// Whether a tree is the one that its top layer was made to end.
    pub(super) fn is_chain(&self, tree: &Snapshot) -> Result<bool> {
        self.inner.database.with("read a layer's parents", |connection| rows::is_chain(connection, tree))
    }
}
