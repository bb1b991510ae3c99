//! Cache keys to results, and the small tables beside them. Reading a few keys costs microseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{CachedStatement, Connection, OptionalExtension as _};

use super::{LayerId, Result, Snapshot, Store};
use crate::base::Digest;

/// A result: what a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// One tree per output.
    pub outputs: Vec<Snapshot>,
    /// The caller's own bytes.
    pub meta: Vec<u8>,
    /// When it was made, in whole milliseconds.
    pub created_at: SystemTime,
}

/// The small tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Image reference and platform to what it resolved to.
    ImageRefs,
    /// Layer list and selector to content digest.
    ContentDigests,
    /// Build context to the stats and digests of its files.
    LocalFiles,
    /// Sources other than images (git refs, HTTP validators) to what they resolved to.
    Sources,
}

impl Table {
    fn place(self) -> i64 {
        match self {
            Table::ImageRefs => 1,
            Table::ContentDigests => 2,
            Table::LocalFiles => 3,
            Table::Sources => 4,
        }
    }
}

const GET_RECORD: &str = "SELECT outputs, meta, created, used FROM records WHERE key = ?1";
const PUT_RECORD: &str = "INSERT OR REPLACE INTO records(key, outputs, meta, created) VALUES(?1, ?2, ?3, ?4)";
const GET_SMALL: &str = "SELECT value FROM small WHERE place = ?1 AND key = ?2";
const PUT_SMALL: &str = "INSERT OR REPLACE INTO small(place, key, value) VALUES(?1, ?2, ?3)";

impl Store {
    /// The result stored under a cache key. Its layers may be gone: see [`Store::check`].
    pub fn get_record(&self, key: &Digest) -> Result<Option<Record>> {
        let found = self.inner.database.with("read a record", |connection| {
            query_record(&mut connection.prepare_cached(GET_RECORD)?, key)
        })?;
        Ok(found.map(|it| self.inner.uses.found(key, it)))
    }

    /// The results stored under many cache keys, in their order.
    pub fn get_records(&self, keys: &[Digest]) -> Result<Vec<Option<Record>>> {
        let found = self.inner.database.with("read records", |connection| {
            // One read transaction: SQLite takes its file locks once instead of per statement.
            let transaction = connection.transaction()?;
            let mut statement = transaction.prepare_cached(GET_RECORD)?;
            keys.iter().map(|key| query_record(&mut statement, key)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let uses = &self.inner.uses;
        Ok(keys.iter().zip(found).map(|(key, found)| found.map(|it| uses.found(key, it))).collect())
    }

    /// Stores a result, replacing one that is there.
    pub fn put_record(&self, key: &Digest, record: &Record) -> Result<()> {
        self.inner.database.with("store a record", |connection| put_record(connection, key, record))
    }

    /// Stores many results in one transaction.
    pub fn put_records(&self, records: &[(Digest, Record)]) -> Result<()> {
        self.inner.database.with("store records", |connection| {
            let transaction = connection.transaction()?;
            for (key, record) in records {
                put_record(&transaction, key, record)?;
            }
            transaction.commit()
        })
    }

    /// Drops the result under a key.
    pub fn forget_record(&self, key: &Digest) -> Result<()> {
        self.inner.database.with("drop a record", |connection| {
            connection.prepare_cached("DELETE FROM records WHERE key = ?1")?.execute([key.as_bytes()])?;
            Ok(())
        })
    }

    /// A value of a small table. Values may be megabytes (one per build context is the way to keep 50,000 stats).
    pub fn get_value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.database.with("read a value", |connection| {
            let mut statement = connection.prepare_cached(GET_SMALL)?;
            statement.query_row((table.place(), key), |row| row.get(0)).optional()
        })
    }

    /// Values of many keys, in their order.
    pub fn get_values(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.inner.database.with("read values", |connection| {
            let transaction = connection.transaction()?;
            let mut statement = transaction.prepare_cached(GET_SMALL)?;
            keys.iter()
                .map(|key| statement.query_row((table.place(), key), |row| row.get(0)).optional())
                .collect()
        })
    }

    /// Sets a value.
    pub fn put_value(&self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_values(table, &[(key, value)])
    }

    /// Sets many values in one transaction.
    pub fn put_values(&self, table: Table, values: &[(&[u8], &[u8])]) -> Result<()> {
        self.inner.database.with("store values", |connection| {
            let transaction = connection.transaction()?;
            {
                let mut statement = transaction.prepare_cached(PUT_SMALL)?;
                for (key, value) in values {
                    statement.execute((table.place(), key, value))?;
                }
            }
            transaction.commit()
        })
    }

    /// Drops a value.
    pub fn forget_value(&self, table: Table, key: &[u8]) -> Result<()> {
        self.inner.database.with("drop a value", |connection| {
            let mut statement =
                connection.prepare_cached("DELETE FROM small WHERE place = ?1 AND key = ?2")?;
            statement.execute((table.place(), key))?;
            Ok(())
        })
    }
}

/// The record with the time of its last use, in milliseconds; 0 when it was not used yet.
fn query_record(
    statement: &mut CachedStatement<'_>,
    key: &Digest,
) -> rusqlite::Result<Option<(Record, i64)>> {
    let row = statement.query_row([key.as_bytes()], |row| {
        let outputs = decode_outputs(row.get_ref(0)?.as_blob()?);
        let meta = row.get(1)?;
        let (created, used): (i64, i64) = (row.get(2)?, row.get(3)?);
        let record = outputs.map(|outputs| Record { outputs, meta, created_at: from_millis(created) });
        Ok(record.map(|record| Ok((record, used))))
    });
    // Bytes that do not decode are damage, and damage is a miss.
    row.optional()?.flatten().transpose()
}

fn put_record(connection: &Connection, key: &Digest, record: &Record) -> rusqlite::Result<()> {
    let outputs = encode_outputs(&record.outputs);
    let created = to_millis(record.created_at);
    connection.prepare_cached(PUT_RECORD)?.execute((key.as_bytes(), outputs, &record.meta, created))?;
    Ok(())
}

/// Per tree: the number of layers as four little-endian bytes, then their ids.
fn encode_outputs(outputs: &[Snapshot]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for tree in outputs {
        bytes.extend_from_slice(&u32::try_from(tree.layers.len()).unwrap_or(u32::MAX).to_le_bytes());
        tree.layers.iter().for_each(|it| bytes.extend_from_slice(it.as_bytes()));
    }
    bytes
}

pub(super) fn decode_outputs(mut bytes: &[u8]) -> Option<Vec<Snapshot>> {
    let mut outputs = Vec::new();
    while !bytes.is_empty() {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let n_bytes = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(16)?;
        let (ids, rest) = rest.split_at_checked(n_bytes)?;
        outputs.push(decode_layers(ids)?);
        bytes = rest;
    }
    Some(outputs)
}

/// The layers whose ids are written one after the other.
pub(super) fn decode_layers(bytes: &[u8]) -> Option<Snapshot> {
    let (ids, rest) = bytes.as_chunks::<16>();
    rest.is_empty().then(|| ids.iter().map(|it| LayerId::from_bytes(*it)).collect())
}

/// Milliseconds since 1970; earlier is 0.
pub(super) fn to_millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
