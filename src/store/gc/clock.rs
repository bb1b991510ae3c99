//! How old things are, though clocks jump and machines are off.

use std::time::{Duration, SystemTime};

use super::inventory::{Inventory, What};
use super::{Ages, places};
use crate::store::records::to_millis;
use crate::store::{Result, Store};

/// Of a time in which nobody used the store this much counts.
const LONGEST_GAP: Duration = Duration::from_secs(24 * 3600);
/// Times this far ahead are those of a clock that was wrong.
const AHEAD: Duration = Duration::from_secs(3600);
/// Gaps that are remembered.
const N_GAPS: usize = 400;

/// A time in which nobody used the store: what was last used before `at` is `millis` younger than the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Gap {
    at: i64,
    millis: i64,
}

/// The clock, and what it must not be believed about.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) now: SystemTime,
    gaps: Vec<Gap>,
}

impl Clock {
    /// The clock at `now`. Takes note of a time in which nobody used the store.
    pub(super) fn read(store: &Store, ages: Ages, now: SystemTime) -> Result<Clock> {
        if ages == Ages::Plain {
            return Ok(Clock { now, gaps: Vec::new() });
        }
        let at = to_millis(now);
        store.inner.database.with("note the time", |connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let (seen, gaps): (i64, String) =
                transaction
                    .query_row("SELECT at, gaps FROM collected", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            // What does not parse is damage: then ages are what the clock says.
            let mut gaps: Vec<Gap> = serde_json::from_str(&gaps).unwrap_or_default();
            let longest = LONGEST_GAP.as_millis() as i64;
            if at < seen {
                // It went back: what was a gap was a wrong clock.
                gaps.clear();
            } else if seen != 0 && longest < at - seen {
                gaps.push(Gap { at: seen, millis: at - seen - longest });
                let first = gaps.len().saturating_sub(N_GAPS);
                gaps.drain(..first);
            }
            let text = serde_json::to_string(&gaps).expect("a list of numbers is JSON");
            transaction.execute("UPDATE collected SET at = ?1, gaps = ?2", (at, text))?;
            transaction.commit()?;
            Ok(Clock { now, gaps })
        })
    }

    /// For how long something was not used.
    pub(super) fn age(&self, used: SystemTime) -> Duration {
        let plain = self.now.duration_since(used).unwrap_or_default();
        let used = to_millis(used);
        let gaps = self.gaps.iter().filter(|gap| used <= gap.at).map(|gap| gap.millis.unsigned_abs());
        plain.saturating_sub(Duration::from_millis(gaps.sum()))
    }

    /// Gives what was used in the future the time it is now, so that it can grow old.
    pub(super) fn set_right(&self, store: &Store, inventory: &mut Inventory) -> Result<()> {
        let limit = self.now + AHEAD;
        if inventory.items.iter().all(|it| it.last_used <= limit)
            && inventory.records.iter().all(|it| it.used <= limit)
        {
            return Ok(());
        }
        let (now, limit_millis) = (to_millis(self.now), to_millis(limit));
        store.inner.database.with("set times right", |connection| {
            let transaction = connection.transaction()?;
            for sql in [
                "UPDATE layers SET created = ?1 WHERE ?2 < created",
                "UPDATE layers SET used = ?1 WHERE ?2 < used",
                "UPDATE records SET used = ?1 WHERE ?2 < used",
                "UPDATE records SET created = ?1 WHERE ?2 < created",
            ] {
                transaction.execute(sql, (now, limit_millis))?;
            }
            transaction.commit()
        })?;
        for (item, known) in inventory.items.iter().zip(&inventory.known) {
            if item.last_used <= limit {
                continue;
            }
            match &known.what {
                What::Layer(_) => {}
                What::Blob(digest) => places::set_right(&store.content().path(digest), self.now),
                What::Place(place) => places::set_right(&place.timed(), self.now),
            }
        }
        // Rows are known by their times.
        *inventory = Inventory::take(store, super::Sizes::Believed)?;
        Ok(())
    }
}

/// Notes how many bytes may be added before something has to go.
pub(super) fn set_room(store: &Store, room: i128) -> Result<()> {
    let room = i64::try_from(room).unwrap_or(i64::MAX);
    store.inner.database.with("note the room that is left", |connection| {
        connection.execute("UPDATE collected SET room = ?1", [room]).map(drop)
    })
}
