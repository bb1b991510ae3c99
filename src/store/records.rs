//! Cache keys to results, and the small tables beside them. Reading a few keys costs microseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _};

use super::snapshot::rows;
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

/// Trees of more layers are named by their top one, where that is enough.
const SHORT: usize = 32;
/// Stands for the number of layers where a record names the top one only.
const CHAIN: u32 = u32::MAX;
const GET_RECORD: &str = "SELECT outputs, meta, created, used FROM records WHERE key = ?1";
const PUT_RECORD: &str = "INSERT OR REPLACE INTO records(key, outputs, meta, created) VALUES(?1, ?2, ?3, ?4)";
const GET_SMALL: &str = "SELECT value FROM small WHERE place = ?1 AND key = ?2";
const PUT_SMALL: &str = "INSERT OR REPLACE INTO small(place, key, value) VALUES(?1, ?2, ?3)";

impl Store {
    /// The result stored under a cache key. Its layers may be gone: see [`Store::check`].
    pub fn get_record(&self, key: &Digest) -> Result<Option<Record>> {
        self.inner.database.with("read a record", |connection| {
            let transaction = connection.transaction()?;
            self.query_record(&transaction, key)
        })
    }

    /// The results stored under many cache keys, in their order.
    pub fn get_records(&self, keys: &[Digest]) -> Result<Vec<Option<Record>>> {
        self.inner.database.with("read records", |connection| {
            // One read transaction: SQLite takes its file locks once instead of per statement.
            let transaction = connection.transaction()?;
            keys.iter().map(|key| self.query_record(&transaction, key)).collect()
        })
    }

    /// Stores a result, replacing one that is there.
    pub fn put_record(&self, key: &Digest, record: &Record) -> Result<()> {
        self.inner.database.with("store a record", |connection| self.put_record_in(connection, key, record))
    }

    /// Stores many results in one transaction.
    pub fn put_records(&self, records: &[(Digest, Record)]) -> Result<()> {
        self.inner.database.with("store records", |connection| {
            let transaction = connection.transaction()?;
            for (key, record) in records {
                self.put_record_in(&transaction, key, record)?;
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

impl Store {
    fn query_record(&self, connection: &Connection, key: &Digest) -> rusqlite::Result<Option<Record>> {
        let mut statement = connection.prepare_cached(GET_RECORD)?;
        let row = statement.query_row([key.as_bytes()], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, from_millis(row.get(2)?), row.get(3)?))
        });
        let Some((outputs, meta, created_at, used)) = row.optional()? else { return Ok(None) };
        // Bytes that do not decode are damage, and damage is a miss.
        let outputs = self.decode_outputs(connection, &outputs)?;
        let uses = &self.inner.uses;
        Ok(outputs.map(|outputs| uses.found(key, (Record { outputs, meta, created_at }, used))))
    }

    fn put_record_in(&self, connection: &Connection, key: &Digest, record: &Record) -> rusqlite::Result<()> {
        let outputs = self.encode_outputs(connection, &record.outputs)?;
        let created = to_millis(record.created_at);
        connection.prepare_cached(PUT_RECORD)?.execute((key.as_bytes(), outputs, &record.meta, created))?;
        Ok(())
    }

    /// Per tree: the number of layers as four little-endian bytes, then their ids. Of a long chain, whose layers' rows say
    /// it all: [`CHAIN`], then the id of the top one.
    fn encode_outputs(&self, connection: &Connection, outputs: &[Snapshot]) -> rusqlite::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for tree in outputs {
            if let Some(top) = tree.top().filter(|_| SHORT < tree.n_layers())
                && rows::is_chain(connection, tree)?
            {
                self.inner.chains.note(tree);
                bytes.extend_from_slice(&CHAIN.to_le_bytes());
                bytes.extend_from_slice(top.as_bytes());
                continue;
            }
            bytes.extend_from_slice(&u32::try_from(tree.n_layers()).unwrap_or(CHAIN).to_le_bytes());
            tree.layers().iter().for_each(|it| bytes.extend_from_slice(it.as_bytes()));
        }
        Ok(bytes)
    }

    fn decode_outputs(
        &self,
        connection: &Connection,
        mut bytes: &[u8],
    ) -> rusqlite::Result<Option<Vec<Snapshot>>> {
        let mut outputs = Vec::new();
        while !bytes.is_empty() {
            let Some((tree, rest)) = split_output(bytes) else { return Ok(None) };
            bytes = rest;
            outputs.push(match tree {
                Stored::List(ids) => rows::decode_layers(ids).into_iter().flatten().collect(),
                Stored::Chain(top) => match self.inner.chains.find(connection, top)? {
                    Some(tree) => tree,
                    None => return Ok(None),
                },
            });
        }
        Ok(Some(outputs))
    }
}

/// A tree in a record.
enum Stored<'a> {
    /// The ids of its layers.
    List(&'a [u8]),
    /// The layer it was made to end with.
    Chain(LayerId),
}

/// The layers that a record's outputs name, of a chain only the top one; `None` when they do not decode.
pub(super) fn named_layers(mut bytes: &[u8]) -> Option<Vec<LayerId>> {
    let mut layers = Vec::new();
    while !bytes.is_empty() {
        let (tree, rest) = split_output(bytes)?;
        bytes = rest;
        match tree {
            Stored::List(ids) => layers.extend(rows::decode_layers(ids)?),
            Stored::Chain(top) => layers.push(top),
        }
    }
    Some(layers)
}

/// The first tree of a record's outputs, and the rest of them.
fn split_output(bytes: &[u8]) -> Option<(Stored<'_>, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count);
    if count == CHAIN {
        let (top, rest) = rest.split_first_chunk::<16>()?;
        return Some((Stored::Chain(LayerId::from_bytes(*top)), rest));
    }
    let n_bytes = usize::try_from(count).ok()?.checked_mul(16)?;
    let (ids, rest) = rest.split_at_checked(n_bytes)?;
    Some((Stored::List(ids), rest))
}

/// Whole milliseconds since 1970, rounded down.
pub(super) fn to_millis(at: SystemTime) -> i64 {
    let millis = match at.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_millis()).unwrap_or(i128::MAX),
        Err(error) => -i128::try_from(error.duration().as_nanos().div_ceil(1_000_000)).unwrap_or(i128::MAX),
    };
    i64::try_from(millis).unwrap_or(if millis < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn from_millis(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let at = if millis < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    // Only in a database that was damaged.
    at.unwrap_or(UNIX_EPOCH)
}
