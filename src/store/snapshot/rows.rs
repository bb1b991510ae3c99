//! The rows of layers in the database.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::super::db::Database;
use super::super::records::{from_millis, to_millis};
use super::chains::Chains;
use super::{BlobDescriptor, LayerInfo, LayerMeta, Usage};
use crate::base::Digest;
use crate::store::{LayerId, RecordType, Result, Snapshot};

/// A layer about to get its row.
pub(in crate::store) struct NewLayer<'a> {
    pub(super) parents: &'a Snapshot,
    pub(super) meta: &'a LayerMeta,
    pub(super) empty: bool,
    pub(super) usage: Usage,
    /// See [`super::normalise::Outline`]; of layers that steps made.
    pub(super) outline: Option<i64>,
    pub(super) diff_id: Option<Digest>,
    /// The parts below its own directory, bottom first; see [`super::parts`].
    pub(super) parts: &'a [LayerId],
    /// Whether it, or a part of it, holds whiteouts; `None` where nobody looked.
    pub(super) hides: Option<bool>,
}

/// Adds a layer's row.
pub(super) fn insert(
    database: &Database,
    id: LayerId,
    stamp: i64,
    new: &NewLayer<'_>,
    boot_id: &str,
) -> Result<()> {
    database.with("add a layer's row", |connection| {
        let chain = new.parents.with(id).key();
        // In a chain the parents are "the top one's parents and itself": one id instead of the whole list, so that
        // a chain of n steps takes n ids and not n squared.
        let parent = if is_chain(connection, new.parents)? { new.parents.top() } else { None };
        let list = parent.is_none().then(|| join(new.parents.layers()));
        let pulled = new.meta.blob.as_ref().map(to_json);
        // Of layers that may be equal one is the older, whatever the clock says of a moment as short: the one that had
        // its row first. A statement that writes has the database to itself.
        let sql = "INSERT INTO layers(id, parent, parents, chain, created, description, empty, bytes, inodes, stamp,
                   diff_id, pulled, boot, outline, parts, hides, type)
                   VALUES(?1, ?2, ?3, ?4,
                   coalesce((SELECT max(created) + 1 FROM layers WHERE outline = ?14 AND parent IS ?2
                             AND created BETWEEN ?5 AND ?5 + 1000), ?5),
                   ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
        let parts = (!new.parts.is_empty()).then(|| join(new.parts.iter().copied()));
        connection.prepare_cached(sql)?.execute(rusqlite::params![
            id.as_bytes(),
            parent.as_ref().map(LayerId::as_bytes),
            list,
            chain,
            to_millis(new.meta.created_at.map_or_else(SystemTime::now, |it| it.min(SystemTime::now()))),
            &new.meta.description,
            new.empty,
            new.usage.bytes.cast_signed(),
            new.usage.inodes.cast_signed(),
            stamp,
            new.diff_id.as_ref().map(Digest::as_bytes),
            pulled,
            boot_id,
            new.outline,
            parts,
            new.hides,
            new.meta.record_type.code(),
        ])?;
        Ok(())
    })
}

/// Whether a tree is the one that its top layer was made to end.
pub(in crate::store) fn is_chain(connection: &Connection, tree: &Snapshot) -> rusqlite::Result<bool> {
    let Some(top) = tree.top() else { return Ok(false) };
    let mut statement = connection.prepare_cached("SELECT chain FROM layers WHERE id = ?1")?;
    let chain: Option<Vec<u8>> = statement.query_row([top.as_bytes()], |row| row.get(0)).optional()?;
    Ok(chain.is_some_and(|it| it == tree.key()))
}

/// The ids one after the other.
fn join(layers: impl IntoIterator<Item = LayerId>) -> Vec<u8> {
    layers.into_iter().flat_map(|it| *it.as_bytes()).collect()
}

/// The layers whose ids are written one after the other.
pub(in crate::store) fn decode_layers(bytes: &[u8]) -> Option<impl Iterator<Item = LayerId>> {
    let (ids, rest) = bytes.as_chunks::<16>();
    rest.is_empty().then(|| ids.iter().map(|it| LayerId::from_bytes(*it)))
}

/// What mounting a layer takes.
pub(super) struct Stacking {
    /// It changes nothing.
    pub(super) empty: bool,
    /// See [`NewLayer::parts`].
    pub(super) parts: Vec<LayerId>,
    /// See [`NewLayer::hides`].
    pub(super) hides: Option<bool>,
    /// Of its own root directory.
    pub(super) stamp: i64,
    /// It is about to be removed: nobody may begin to use it.
    pub(super) doomed: bool,
    /// Directory entries in it.
    pub(super) n_entries: u64,
}

/// How each layer is mounted; `None` for one that has no row.
pub(super) fn stackings(database: &Database, layers: &[LayerId]) -> Result<Vec<Option<Stacking>>> {
    per_layer(
        database,
        "SELECT empty, parts, hides, stamp, doomed, inodes FROM layers WHERE id = ?1",
        layers,
        |row| {
            Ok(Stacking {
                empty: row.get(0)?,
                parts: parts_of(row, 1)?,
                hides: row.get(2)?,
                stamp: row.get(3)?,
                doomed: row.get::<_, Option<i64>>(4)?.is_some(),
                n_entries: row.get::<_, i64>(5)?.cast_unsigned(),
            })
        },
    )
}

/// The ids in a column that may be empty. Bytes that do not decode are damage: the layer is not there.
fn parts_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<LayerId>> {
    let Some(bytes) = row.get_ref(column)?.as_blob_or_null()? else { return Ok(Vec::new()) };
    let parts = decode_layers(bytes).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(parts.collect())
}

fn per_layer<T>(
    database: &Database,
    sql: &str,
    layers: &[LayerId],
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<Option<T>>> {
    database.with("read layer rows", |connection| {
        let transaction = connection.transaction()?;
        let mut statement = transaction.prepare_cached(sql)?;
        layers.iter().map(|it| statement.query_row([it.as_bytes()], read).optional()).collect()
    })
}

/// A layer's whole row.
pub(super) fn read(database: &Database, chains: &Chains, id: LayerId) -> Result<Option<LayerInfo>> {
    database.with("read a layer's row", |connection| {
        let sql =
            "SELECT created, description, empty, bytes, inodes, diff_id, pulled, parts FROM layers WHERE id = ?1";
        let transaction = connection.transaction()?;
        let info =
            transaction.prepare_cached(sql)?.query_row([id.as_bytes()], |row| info(id, row)).optional()?;
        let Some(mut info) = info else { return Ok(None) };
        // A layer whose parents are gone is of no use.
        let Some(tree) = chains.find(&transaction, id)? else { return Ok(None) };
        info.parents = tree.below().cloned().unwrap_or_default();
        Ok(Some(info))
    })
}

fn info(id: LayerId, row: &Row<'_>) -> rusqlite::Result<LayerInfo> {
    let diff_id: Option<[u8; 32]> = row.get(5)?;
    let pulled: Option<String> = row.get(6)?;
    Ok(LayerInfo {
        id,
        parents: Snapshot::scratch(),
        created_at: from_millis(row.get(0)?),
        description: row.get(1)?,
        empty: row.get(2)?,
        usage: Usage {
            bytes: row.get::<_, i64>(3)?.cast_unsigned(),
            inodes: row.get::<_, i64>(4)?.cast_unsigned(),
        },
        diff_id: diff_id.map(Digest::from_bytes),
        pulled: pulled.and_then(|it| from_json(&it)),
        parts: parts_of(row, 7)?,
    })
}

/// The layers made on `parents` whose archive has this diff ID, newest first, each with its description.
pub(super) fn by_diff(
    database: &Database,
    parents: &Snapshot,
    diff_id: &Digest,
) -> Result<Vec<(LayerId, String)>> {
    database.with("look for a layer", |connection| {
        let sql = "SELECT id, chain, description FROM layers WHERE diff_id = ?1 ORDER BY created DESC";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([diff_id.as_bytes()], |row| {
            let named = (LayerId::from_bytes(row.get(0)?), row.get::<_, String>(2)?);
            Ok((named, row.get::<_, [u8; 16]>(1)?))
        })?;
        let mut found = Vec::new();
        for row in rows {
            let (named, chain) = row?;
            if parents.with(named.0).key() == chain {
                found.push(named);
            }
        }
        Ok(found)
    })
}

/// The older layers on the tree below `id` with the same outline, oldest first. Of two layers one is the older.
pub(in crate::store) fn alike(database: &Database, id: LayerId) -> Result<Vec<LayerId>> {
    database.with("look for equal layers", |connection| {
        let sql = "SELECT that.id FROM layers this JOIN layers that
                   ON that.outline = this.outline AND that.parent IS this.parent
                   WHERE this.id = ?1 AND (that.created, that.id) < (this.created, this.id)
                   AND that.parents IS this.parents AND that.empty = this.empty
                   ORDER BY that.created, that.id LIMIT 8";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([id.as_bytes()], |row| Ok(LayerId::from_bytes(row.get(0)?)))?;
        rows.collect()
    })
}

/// Notes the diff ID of a layer, found when its archive was written.
pub(in crate::store) fn set_diff_id(database: &Database, id: LayerId, diff_id: &Digest) -> Result<()> {
    database.with("note a diff ID", |connection| {
        let mut statement = connection.prepare_cached("UPDATE layers SET diff_id = ?2 WHERE id = ?1")?;
        statement.execute((id.as_bytes(), diff_id.as_bytes()))?;
        Ok(())
    })
}

/// Notes what layers are of that are regular.
pub(super) fn set_type(database: &Database, layers: &[LayerId], record_type: RecordType) -> Result<()> {
    database.with("note what layers are of", |connection| {
        let transaction = connection.transaction()?;
        for layer in layers {
            let sql = "UPDATE layers SET type = ?2 WHERE id = ?1 AND type = 0";
            transaction.prepare_cached(sql)?.execute((layer.as_bytes(), record_type.code()))?;
        }
        transaction.commit()
    })
}

/// The blob a layer was compressed to before.
pub(in crate::store) fn compressed(
    database: &Database,
    id: LayerId,
    how: &str,
) -> Result<Option<BlobDescriptor>> {
    let found = database.with("look for a compressed layer", |connection| {
        let sql = "SELECT descriptor FROM compressed WHERE layer = ?1 AND compression = ?2";
        connection
            .prepare_cached(sql)?
            .query_row((id.as_bytes(), how), |row| row.get::<_, String>(0))
            .optional()
    })?;
    Ok(found.and_then(|it| from_json(&it)))
}

/// The diff ID of an archive written of the layer before.
pub(in crate::store) fn written_diff_id(database: &Database, id: LayerId) -> Result<Option<Digest>> {
    let found = database.with("look for a compressed layer", |connection| {
        let mut statement =
            connection.prepare_cached("SELECT descriptor FROM compressed WHERE layer = ?1 LIMIT 1")?;
        statement.query_row([id.as_bytes()], |row| row.get::<_, String>(0)).optional()
    })?;
    Ok(found.and_then(|it| from_json(&it)).map(|it| it.diff_id))
}

/// Notes the blob a layer was compressed to.
pub(in crate::store) fn set_compressed(
    database: &Database,
    id: LayerId,
    how: &str,
    blob: &BlobDescriptor,
) -> Result<()> {
    database.with("note a compressed layer", |connection| {
        let sql = "INSERT OR REPLACE INTO compressed(layer, compression, descriptor) VALUES(?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute((id.as_bytes(), how, to_json(blob)))?;
        Ok(())
    })
}

/// The layer that a list of layers was squashed to before.
pub(super) fn squashed(database: &Database, key: &[u8; 16]) -> Result<Option<LayerId>> {
    database.with("look for a squashed layer", |connection| {
        let mut statement = connection.prepare_cached("SELECT layer FROM squashed WHERE key = ?1")?;
        let found: Option<[u8; 16]> = statement.query_row([key], |row| row.get(0)).optional()?;
        Ok(found.map(LayerId::from_bytes))
    })
}

/// Notes the layer that a list of layers, `members`, was squashed to: when one of them goes, it goes, too.
pub(super) fn set_squashed(
    database: &Database,
    key: &[u8; 16],
    layer: LayerId,
    members: &[LayerId],
) -> Result<()> {
    database.with("note a squashed layer", |connection| {
        let sql = "INSERT OR REPLACE INTO squashed(key, layer, members) VALUES(?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute((key, layer.as_bytes(), join(members.iter().copied())))?;
        Ok(())
    })
}

/// Drops all rows about a layer.
pub(in crate::store) fn delete_rows(connection: &Connection, id: &[u8]) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM layers WHERE id = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM compressed WHERE layer = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM squashed WHERE layer = ?1")?.execute([id])?;
    Ok(())
}

fn to_json(blob: &BlobDescriptor) -> String {
    serde_json::to_string(blob).expect("a struct of strings and numbers is JSON")
}

/// What does not parse is damage: as good as absent.
fn from_json(text: &str) -> Option<BlobDescriptor> {
    serde_json::from_str(text).ok()
}
