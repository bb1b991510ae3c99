//! The history: what ran, and what it was made of, in the caller's own bytes.
//!
//! A run belongs to a *group* (a program), to a *line* (the runs of one step) and has a *key* that names it. Of a line
//! the newest are kept, of all lines together the newest [`MAX_RUNS`].

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::records::{from_millis, to_millis};
use super::{Result, Store};
use crate::base::Digest;

/// Runs that are kept in all.
const MAX_RUNS: i64 = 20_000;
/// Runs of a line that are kept, if they are small.
const MAX_OF_LINE: usize = 16;
/// Fewer are only kept of lines with very large runs.
const MIN_OF_LINE: usize = 4;
/// Bytes that a line may have before fewer of it are kept.
const LINE_BYTES: usize = 8 << 20;

/// A run to be kept.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Runs of other groups are no predecessors of it.
    pub group: Digest,
    /// What it is a run of.
    pub line: Digest,
    /// Names it.
    pub key: Digest,
    /// Whether it is left out when there is a run of this key already.
    pub once: bool,
    /// The caller's own.
    pub body: Vec<u8>,
}

/// A run that was kept.
#[derive(Debug, Clone)]
pub struct Run {
    /// Grows with time.
    pub id: i64,
    /// The runs that were kept together have the same.
    pub batch: i64,
    /// Names it.
    pub key: Digest,
    /// When it was kept, in whole milliseconds.
    pub at: SystemTime,
    /// The caller's own.
    pub body: Vec<u8>,
}

const COLUMNS: &str = "id, batch, key, at, body";

impl Store {
    /// Keeps the runs of a build, and lets old ones go, with their logs.
    pub fn put_runs(&self, runs: &[NewRun]) -> Result<()> {
        self.add_runs(runs, None).map(drop)
    }

    /// As [`Store::put_runs`], more runs of the batch that an earlier call gave; gives the batch.
    pub fn add_runs(&self, runs: &[NewRun], batch: Option<i64>) -> Result<i64> {
        let (batch, gone) = self.inner.database.with("keep the history", |connection| {
            let transaction = connection.transaction()?;
            let next = "SELECT coalesce(max(id), 0) + 1 FROM runs";
            let batch = match batch {
                Some(batch) => batch,
                None => transaction.query_row(next, [], |row| row.get::<_, i64>(0))?,
            };
            let at = to_millis(SystemTime::now());
            let mut gone = Vec::new();
            for run in runs {
                put(&transaction, run, batch, at)?;
                let kept = (LINE_BYTES / run.body.len().max(1)).clamp(MIN_OF_LINE, MAX_OF_LINE);
                let mut trim = transaction.prepare_cached(
                    "DELETE FROM runs WHERE line = ?1 AND id <=
                       (SELECT id FROM runs WHERE line = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2) RETURNING key",
                )?;
                gone.extend(keys(trim.query((run.line.as_bytes(), kept as i64))?)?);
            }
            let mut trim = transaction.prepare_cached(
                "DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - ?1 RETURNING key",
            )?;
            gone.extend(keys(trim.query([MAX_RUNS])?)?);
            drop(trim);
            gone.retain(|key| matches!(newest(&transaction, key), Ok(None)));
            transaction.commit()?;
            Ok((batch, gone))
        })?;
        gone.iter().try_for_each(|key| self.forget_log(key))?;
        Ok(batch)
    }

    /// The newest run that `key` names.
    pub fn run(&self, key: &Digest) -> Result<Option<Run>> {
        self.inner.database.with("read the history", |connection| newest(connection, key))
    }

    /// The newest `limit` runs, those of `group` if one is given; the newest first.
    pub fn runs(&self, group: Option<&Digest>, limit: usize) -> Result<Vec<Run>> {
        self.inner.database.with("read the history", |connection| {
            let mut all = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM runs WHERE ?1 IS NULL OR grp = ?1 ORDER BY id DESC LIMIT ?2"
            ))?;
            let group = group.map(|group| group.as_bytes().as_slice());
            all.query_map((group, limit as i64), read)?.collect()
        })
    }
}

fn put(connection: &Connection, run: &NewRun, batch: i64, at: i64) -> rusqlite::Result<()> {
    if run.once {
        let mut known = connection.prepare_cached("SELECT 1 FROM runs WHERE key = ?1")?;
        if known.exists([run.key.as_bytes()])? {
            return Ok(());
        }
    }
    connection
        .prepare_cached("INSERT INTO runs(batch, grp, line, key, at, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute((batch, run.group.as_bytes(), run.line.as_bytes(), run.key.as_bytes(), at, &run.body))?;
    Ok(())
}

fn newest(connection: &Connection, key: &Digest) -> rusqlite::Result<Option<Run>> {
    let query = format!("SELECT {COLUMNS} FROM runs WHERE key = ?1 ORDER BY id DESC LIMIT 1");
    connection.prepare_cached(&query)?.query_row([key.as_bytes()], read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        batch: row.get(1)?,
        key: Digest::from_bytes(row.get(2)?),
        at: from_millis(row.get(3)?),
        body: row.get(4)?,
    })
}

fn keys(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<Vec<Digest>> {
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(Digest::from_bytes(row.get(0)?));
    }
    Ok(keys)
}
