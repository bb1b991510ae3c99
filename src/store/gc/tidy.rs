//! The database's own growth: rows that lead nowhere, rows that nobody asked for in a long time, free pages.

use std::time::Duration;

use super::clock::Clock;
use super::inventory::Inventory;
use super::policy::Policy;
use super::remove::drop_records;
use super::rows::RowId;
use crate::store::{Result, Store};

/// A result that was not found for this long is forgotten, though its layers may stay.
const OLD: Duration = Duration::from_secs(60 * 24 * 3600);
/// Rows of each small table that stay, and the bytes of their values.
const SMALL: (i64, i64) = (100_000, 256 << 20);
/// Free pages of the database that are not worth a rewrite.
const FREE_PAGES: i64 = 2000;
/// Rows that are dropped in one transaction.
const BATCH: usize = 200;

/// Forgets what is of no use; `policies` may say that all is.
pub(super) fn tidy(store: &Store, inventory: &Inventory, policies: &[Policy], clock: &Clock) -> Result<()> {
    let all = policies.iter().find(|it| it.all && it.filters.is_empty() && !it.has_caps());
    let mut rows: Vec<RowId> = inventory.dangling.clone();
    for record in &inventory.records {
        let age = clock.age(record.used);
        let is_unwanted = record.names_nothing && all.is_some_and(|it| it.unused_for <= age);
        if OLD <= age || is_unwanted {
            rows.push(record.row);
        }
    }
    let database = &store.inner.database;
    for batch in rows.chunks(BATCH) {
        database.with("forget results", |connection| {
            let transaction = connection.transaction()?;
            drop_records(&transaction, batch.iter())?;
            transaction.commit()
        })?;
    }
    database.with("forget values", |connection| {
        connection.execute("DELETE FROM measured WHERE path NOT IN (SELECT path FROM measured ORDER BY stamp DESC LIMIT 10000)", [])?;
        let places: Vec<i64> =
            connection.prepare("SELECT DISTINCT place FROM small")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for place in places {
            // Whatever is written anew comes last.
            let sql = "DELETE FROM small WHERE rowid IN (SELECT rowid FROM
                         (SELECT rowid, row_number() OVER newer AS n, sum(length(value)) OVER newer AS bytes
                          FROM small WHERE place = ?1 WINDOW newer AS (ORDER BY rowid DESC))
                       WHERE ?2 < n OR ?3 < bytes AND 1 < n)";
            let (rows, bytes): (i64, i64) = connection.query_row(
                "SELECT count(*), sum(length(value)) FROM small WHERE place = ?1",
                [place],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            if SMALL.0 < rows || SMALL.1 < bytes {
                connection.execute(sql, (place, SMALL.0, SMALL.1))?;
            }
        }
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if FREE_PAGES < free && pages < 4 * free {
            // On a full disk there is no room for it: another time.
            let _ = connection.execute_batch("VACUUM");
        }
        Ok(())
    })?;
    // Somebody may read just now: another time.
    database.checkpoint()
}
