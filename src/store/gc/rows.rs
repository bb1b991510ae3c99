//! The rows that garbage collection reads, all in one transaction.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use rusqlite::{Connection, Row};

use super::RecordType;
use crate::base::Digest;
use crate::store::records::{from_millis, named_layers};
use crate::store::snapshot::rows::decode_layers;
use crate::store::{BlobDescriptor, LayerId, Result, Store, Usage};

/// A layer.
pub(super) struct LayerRow {
    pub(super) id: LayerId,
    /// The layers it was made on: the one below, or in place of a chain all of them.
    pub(super) parents: Vec<LayerId>,
    /// Layers whose directories hold parts of it.
    pub(super) parts: Vec<LayerId>,
    pub(super) created: SystemTime,
    pub(super) used: SystemTime,
    pub(super) description: String,
    pub(super) usage: Usage,
    pub(super) blobs: Vec<Digest>,
    pub(super) record_type: RecordType,
    /// A step made it: without a result that names it nobody finds it.
    pub(super) is_step: bool,
}

/// What a row of the results is known by: another one that takes its place later is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowId {
    pub(super) rowid: i64,
    pub(super) created: i64,
}

/// A result.
pub(super) struct RecordRow {
    pub(super) row: RowId,
    pub(super) used: SystemTime,
    pub(super) uses: u64,
    /// The layers it names, without those that others of them need.
    pub(super) tops: Vec<LayerId>,
}

/// A squashed layer, and what it stands for if that is known.
pub(super) struct Squashed {
    pub(super) layer: LayerId,
    pub(super) members: Option<Vec<LayerId>>,
}

/// A blob.
pub(super) struct BlobRow {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// All of them.
pub(super) struct Rows {
    /// Oldest first.
    pub(super) layers: Vec<LayerRow>,
    pub(super) squashed: Vec<Squashed>,
    pub(super) blobs: Vec<BlobRow>,
    pub(super) records: Vec<RecordRow>,
    /// What was measured before: by path, its stamp and what it took.
    pub(super) measured: HashMap<String, (i64, Usage)>,
}

impl Rows {
    pub(super) fn read(store: &Store) -> Result<Rows> {
        store.inner.database.with("read what is in the store", |connection| {
            let transaction = connection.transaction()?;
            let layers = layers(&transaction)?;
            let records = records(&transaction, &layers)?;
            let squashed = all(&transaction, "SELECT layer, members FROM squashed", |row| {
                let members: Option<Vec<u8>> = row.get(1)?;
                let members = members.and_then(|it| decode_layers(&it).map(Iterator::collect));
                Ok(Squashed { layer: LayerId::from_bytes(row.get(0)?), members })
            })?;
            let blobs = all(&transaction, "SELECT digest, size FROM blobs", |row| {
                let digest = Digest::from_bytes(row.get(0)?);
                Ok(BlobRow { digest, size: row.get::<_, i64>(1)?.cast_unsigned() })
            })?;
            let measured = all(&transaction, "SELECT path, stamp, bytes, inodes FROM measured", |row| {
                Ok((row.get(0)?, (row.get(1)?, usage(row, 2)?)))
            })?;
            Ok(Rows { layers, squashed, blobs, records, measured: measured.into_iter().collect() })
        })
    }
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

fn usage(row: &Row<'_>, column: usize) -> rusqlite::Result<Usage> {
    let (bytes, inodes): (i64, i64) = (row.get(column)?, row.get(column + 1)?);
    Ok(Usage { bytes: bytes.cast_unsigned(), inodes: inodes.cast_unsigned() })
}

fn layers(connection: &Connection) -> rusqlite::Result<Vec<LayerRow>> {
    let mut blobs: HashMap<LayerId, Vec<Digest>> = HashMap::new();
    let compressed = all(connection, "SELECT layer, descriptor FROM compressed", |row| {
        Ok((LayerId::from_bytes(row.get(0)?), row.get::<_, String>(1)?))
    })?;
    for (layer, descriptor) in compressed {
        blobs.entry(layer).or_default().extend(digest_of(&descriptor));
    }
    let sql = "SELECT id, parent, parents, parts, created, used, description, bytes, inodes, pulled, type,
               outline IS NOT NULL FROM layers ORDER BY created, id";
    all(connection, sql, |row| {
        let id = LayerId::from_bytes(row.get(0)?);
        let parent: Option<[u8; 16]> = row.get(1)?;
        let list = |column: usize| -> rusqlite::Result<Vec<LayerId>> {
            let bytes: Option<Vec<u8>> = row.get(column)?;
            Ok(bytes.and_then(|it| decode_layers(&it).map(Iterator::collect)).unwrap_or_default())
        };
        let parents = match parent {
            Some(parent) => vec![LayerId::from_bytes(parent)],
            None => list(2)?,
        };
        let pulled: Option<String> = row.get(9)?;
        let mut blobs = blobs.remove(&id).unwrap_or_default();
        let is_step = pulled.is_none() && row.get(11)?;
        blobs.extend(pulled.and_then(|it| digest_of(&it)));
        Ok(LayerRow {
            id,
            parents,
            parts: list(3)?,
            created: from_millis(row.get(4)?),
            used: from_millis(row.get(5)?),
            description: row.get(6)?,
            usage: usage(row, 7)?,
            blobs,
            record_type: RecordType::from_code(row.get(10)?),
            is_step,
        })
    })
}

fn digest_of(descriptor: &str) -> Option<Digest> {
    serde_json::from_str::<BlobDescriptor>(descriptor).ok().map(|it| it.digest)
}

fn records(connection: &Connection, layers: &[LayerRow]) -> rusqlite::Result<Vec<RecordRow>> {
    let below: HashMap<LayerId, &[LayerId]> =
        layers.iter().map(|it| (it.id, it.parents.as_slice())).collect();
    // A result has several keys: rows in a row name the same layers.
    let mut last: (Vec<u8>, Vec<LayerId>) = Default::default();
    let sql = "SELECT rowid, created, used, uses, outputs FROM records";
    all(connection, sql, |row| {
        let (created, used): (i64, i64) = (row.get(1)?, row.get(2)?);
        let outputs = row.get_ref(4)?.as_blob()?;
        if last.0 != outputs {
            last = (outputs.to_vec(), tops(&named_layers(outputs).unwrap_or_default(), &below));
        }
        Ok(RecordRow {
            row: RowId { rowid: row.get(0)?, created },
            used: from_millis(used.max(created)),
            uses: row.get::<_, i64>(3)?.cast_unsigned(),
            tops: last.1.clone(),
        })
    })
}

/// Of the layers that a result names, those that no other one of them was made on.
fn tops(named: &[LayerId], below: &HashMap<LayerId, &[LayerId]>) -> Vec<LayerId> {
    let mut needed: HashSet<LayerId> = HashSet::new();
    for layer in named {
        needed.extend(below.get(layer).copied().unwrap_or_default());
    }
    let mut tops: Vec<LayerId> = named.iter().filter(|it| !needed.contains(it)).copied().collect();
    tops.sort_unstable();
    tops.dedup();
    tops
}

/// Keeps what was measured.
pub(super) fn keep_measures(store: &Store, measures: &[(String, i64, Usage)]) -> Result<()> {
    if measures.is_empty() {
        return Ok(());
    }
    store.inner.database.with("keep what was measured", |connection| {
        let transaction = connection.transaction()?;
        {
            let sql = "INSERT OR REPLACE INTO measured(path, stamp, bytes, inodes) VALUES(?1, ?2, ?3, ?4)";
            let mut put = transaction.prepare_cached(sql)?;
            for (path, stamp, usage) in measures {
                put.execute((path, stamp, usage.bytes.cast_signed(), usage.inodes.cast_signed()))?;
            }
        }
        transaction.commit()
    })
}
