//! Removing: announced, marked, looked whether somebody came, then rows, then files. See the text of `gc` for why.

use std::collections::{HashMap, HashSet};

use rusqlite::TransactionBehavior;

use super::inventory::{Inventory, Used, What};
use super::places::take_away;
use super::rows::RowId;
use crate::base::Digest;
use crate::store::content::{blob_key, blob_path, remove_file};
use crate::store::db::Database;
use crate::store::lease::try_lease;
use crate::store::snapshot::delete_rows;
use crate::store::{LayerId, Result, Store, StoreError, ballast, layer_dir};

/// Items that are removed together: the database is locked for them at once. Of many more at once, as each batch reads
/// what all processes say.
const BATCH: std::ops::RangeInclusive<usize> = 50..=1000;
/// As many batches as this are small ones.
const N_BATCHES: usize = 40;
/// On a full disk the first batch is as small as this, and each one twice as large as the one before: they make room for the
/// database's log.
const FIRST_BATCH: usize = 4;

/// Removes the items `chosen`, which come after what needs them. Gives those that are gone, and the first failure.
pub(super) fn remove(
    store: &Store,
    inventory: &Inventory,
    chosen: &[usize],
) -> Result<(Vec<usize>, Option<StoreError>)> {
    let mut removing = Removing {
        store,
        inventory,
        is_spared: vec![false; inventory.items.len()],
        n_blob_users: inventory.blobs.iter().map(|it| it.users.len()).collect(),
        removed: Vec::new(),
        failed: None,
    };
    let largest = (chosen.len() / N_BATCHES).clamp(*BATCH.start(), *BATCH.end());
    let mut size = largest;
    let mut chosen = chosen.to_vec();
    if ballast::is_full(store.root()) {
        size = FIRST_BATCH;
        // What has no rows needs no room to go.
        chosen.sort_by_key(|place| !matches!(inventory.known[*place].what, What::Place(_)));
    }
    let mut rest = chosen.as_slice();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(size.min(rest.len()));
        removing.batch(batch)?;
        rest = after;
        size = (2 * size).min(largest);
    }
    Ok((removing.removed, removing.failed))
}

struct Removing<'a> {
    store: &'a Store,
    inventory: &'a Inventory,
    /// Somebody came, or something that needs it stays.
    is_spared: Vec<bool>,
    n_blob_users: Vec<usize>,
    removed: Vec<usize>,
    failed: Option<StoreError>,
}

impl Removing<'_> {
    fn batch(&mut self, batch: &[usize]) -> Result<()> {
        let Removing { store, inventory, .. } = *self;
        let mut layers: HashMap<LayerId, usize> = HashMap::new();
        let mut blobs: Vec<Digest> = Vec::new();
        let mut leaving: HashMap<usize, usize> = HashMap::new();
        for &place in batch.iter().filter(|it| !self.is_spared[**it]) {
            match &inventory.known[place].what {
                What::Layer(id) => {
                    layers.insert(*id, place);
                    for &blob in &inventory.known[place].blobs {
                        *leaving.entry(blob).or_default() += 1;
                    }
                }
                What::Blob(digest) => blobs.push(*digest),
                What::Place(_) => {}
            }
        }
        let mut needed: Vec<usize> = leaving.keys().copied().collect();
        needed.sort_unstable();
        needed.retain(|blob| leaving[blob] == self.n_blob_users[*blob]);
        blobs.extend(needed.iter().map(|blob| inventory.blobs[*blob].digest));
        let mut ids: Vec<LayerId> = layers.keys().copied().collect();
        ids.sort_unstable();

        announce(store, &ids, &blobs)?;
        with_room(store, || mark(&store.inner.database, &ids, &blobs))?;
        let used = Used::read(store.root())?;
        self.spare_used(&used, &layers);
        ids.retain(|it| !self.is_spared[layers[it]]);
        let gone = with_room(store, || self.drop_rows(&ids, &layers))?;
        // A blob stays as long as a layer that needs it does.
        let mut stays = used.blobs;
        let mut spared: Vec<LayerId> = layers.keys().filter(|it| !gone.contains(it)).copied().collect();
        spared.sort_unstable();
        for id in &spared {
            let blobs = &inventory.known[layers[id]].blobs;
            stays.extend(blobs.iter().map(|blob| inventory.blobs[*blob].digest));
        }
        for id in ids.iter().filter(|it| gone.contains(it)) {
            let place = layers[id];
            inventory.known[place].blobs.iter().for_each(|blob| self.n_blob_users[*blob] -= 1);
            let taken = take_away(store, &layer_dir(store.root(), *id));
            self.done(place, taken.map(|()| true));
        }
        let mut gone_blobs = HashSet::new();
        for digest in blobs.iter().filter(|it| !stays.contains(it)) {
            match remove_blob(store, digest) {
                Ok(true) => drop(gone_blobs.insert(*digest)),
                Ok(false) => {}
                Err(error) => drop(self.failed.get_or_insert(error)),
            }
        }
        blobs.retain(|it| !gone_blobs.contains(it));
        with_room(store, || spare(&store.inner.database, &spared, &blobs))?;
        for &place in batch {
            match &inventory.known[place].what {
                What::Layer(_) => {}
                What::Blob(digest) => self.done(place, Ok(gone_blobs.contains(digest))),
                What::Place(thing) => {
                    let removed = thing.remove(store);
                    self.done(place, removed);
                }
            }
        }
        Ok(())
    }

    fn done(&mut self, place: usize, removed: Result<bool>) {
        match removed {
            Ok(true) => self.removed.push(place),
            Ok(false) => {}
            Err(error) => drop(self.failed.get_or_insert(error)),
        }
    }

    /// Spares what somebody uses by now, and what that needs.
    fn spare_used(&mut self, used: &Used, layers: &HashMap<LayerId, usize>) {
        let mut open: Vec<usize> =
            layers.iter().filter(|(id, _)| used.layers.contains(id)).map(|(_, place)| *place).collect();
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut self.is_spared[place], true) {
                open.extend(&self.inventory.known[place].needs);
            }
        }
    }

    /// Drops the rows of marked layers with the results that name them; those that have no row any more.
    fn drop_rows(&self, ids: &[LayerId], layers: &HashMap<LayerId, usize>) -> Result<HashSet<LayerId>> {
        let known = &self.inventory.known;
        self.store.inner.database.with("drop the rows of layers", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut gone = HashSet::new();
            for id in ids {
                let sql = "SELECT 1 FROM layers WHERE id = ?1 AND doomed IS NULL";
                if transaction.prepare_cached(sql)?.exists([id.as_bytes()])? {
                    continue;
                }
                delete_rows(&transaction, id.as_bytes())?;
                drop_records(&transaction, known[layers[id]].records.iter())?;
                gone.insert(*id);
            }
            transaction.commit()?;
            Ok(gone)
        })
    }
}

/// Drops results, unless others took their places.
pub(super) fn drop_records<'a>(
    connection: &rusqlite::Connection,
    rows: impl Iterator<Item = &'a RowId>,
) -> rusqlite::Result<()> {
    let mut drop_row = connection.prepare_cached("DELETE FROM records WHERE rowid = ?1 AND created = ?2")?;
    for row in rows {
        drop_row.execute((row.rowid, row.created))?;
    }
    Ok(())
}

/// Notes what is about to go: should we not get to the end, whoever opens the store next does.
fn announce(store: &Store, layers: &[LayerId], blobs: &[Digest]) -> Result<()> {
    let layers = layers.iter().map(|it| format!("drop-layer {it}\n"));
    let blobs = blobs.iter().map(|it| format!("drop-blob {}\n", it.hex()));
    let notes: String = layers.chain(blobs).collect();
    if notes.is_empty() { Ok(()) } else { store.inner.owner.note(&notes) }
}

/// Marks layers and blobs: who looks for them from now on does not find them.
fn mark(database: &Database, layers: &[LayerId], blobs: &[Digest]) -> Result<()> {
    set_marks(database, layers, blobs, Some(1))
}

/// Takes marks away again.
pub(in crate::store) fn spare(database: &Database, layers: &[LayerId], blobs: &[Digest]) -> Result<()> {
    set_marks(database, layers, blobs, None)
}

fn set_marks(database: &Database, layers: &[LayerId], blobs: &[Digest], mark: Option<i64>) -> Result<()> {
    if layers.is_empty() && blobs.is_empty() {
        return Ok(());
    }
    database.with("mark what is to be removed", |connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for layer in layers {
            let mut set = transaction.prepare_cached("UPDATE layers SET doomed = ?2 WHERE id = ?1")?;
            set.execute((layer.as_bytes(), mark))?;
        }
        for digest in blobs {
            let mut set = transaction.prepare_cached("UPDATE blobs SET doomed = ?2 WHERE digest = ?1")?;
            set.execute((digest.as_bytes(), mark))?;
        }
        transaction.commit()
    })
}

/// Takes away the marks of one who did not get to the end. We are the only one who removes.
pub(super) fn forget_marks(store: &Store) -> Result<()> {
    with_room(store, || {
        store.inner.database.with("look for marks", |connection| {
            for table in ["layers", "blobs"] {
                let marked = format!("SELECT 1 FROM {table} WHERE doomed IS NOT NULL");
                if connection.prepare(&marked)?.exists([])? {
                    let spare = format!("UPDATE {table} SET doomed = NULL WHERE doomed IS NOT NULL");
                    connection.execute(&spare, [])?;
                }
            }
            Ok(())
        })
    })
}

/// Removes a marked blob, or a file that has no row; whether it is gone.
fn remove_blob(store: &Store, digest: &Digest) -> Result<bool> {
    // Who holds it is about to put such a blob there.
    let Some(_lease) = try_lease(store.root(), &blob_key(digest))? else { return Ok(false) };
    let is_gone = with_room(store, || {
        store.inner.database.with("drop a blob's row", |connection| {
            let sql = "DELETE FROM blobs WHERE digest = ?1 AND doomed IS NOT NULL";
            connection.prepare_cached(sql)?.execute([digest.as_bytes()])?;
            Ok(!connection
                .prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?
                .exists([digest.as_bytes()])?)
        })
    })?;
    if is_gone {
        remove_file(&blob_path(store.root(), digest))?;
    }
    Ok(is_gone)
}

/// Does `write`; on a full disk again, when the database's log is empty.
fn with_room<T>(store: &Store, write: impl Fn() -> Result<T>) -> Result<T> {
    match write() {
        Err(error) if error.is_no_space() => {
            store.inner.database.checkpoint()?;
            write()
        }
        written => written,
    }
}
