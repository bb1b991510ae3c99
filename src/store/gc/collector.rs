//! The collector: a detached process that keeps a store within its limits after builds.
//!
//! One at a time per store; it may be killed at any time.

use std::time::Duration;

use super::policy::{Limits, Space};
use super::{Wait, last_collection, lock};
use crate::store::detached::Detached;
use crate::store::{Options, Result, Store};

/// Its limits follow the store's root.
const COLLECTOR: Detached = Detached { verb: "internal-collect", name: c"bkl-collect" };

/// As often as this it looks what is there, when builds add something.
const OFTEN: Duration = Duration::from_secs(60);
/// Not more often than this, whatever builds add.
const AT_MOST: Duration = Duration::from_secs(5);
/// As often as this when builds add nothing: things grow old.
const SELDOM: Duration = Duration::from_secs(3600);
/// How long it waits for the build that started it to be gone, with what that holds.
const PAUSE: Duration = Duration::from_secs(1);

impl Store {
    /// Starts a collector if it is time for one. Costs a look at a file where this process added nothing.
    ///
    /// The calling program must answer to it: see [`is_requested`].
    pub fn start_collector(&self, limits: &Limits) -> Result<()> {
        if !self.is_collection_due()? || lock(self.root(), Wait::No)?.is_none() {
            return Ok(());
        }
        COLLECTOR.start(self.root(), &limits.to_args())
    }

    /// Whether something may have to go.
    pub(in crate::store) fn is_collection_due(&self) -> Result<bool> {
        let since = last_collection(self.root());
        let added = self.inner.grown.take();
        if added == 0 {
            return Ok(since.is_none_or(|it| SELDOM <= it));
        }
        let room: i64 = self.inner.database.with("note what was added", |connection| {
            let sql = "UPDATE collected SET room = room - ?1 RETURNING room";
            let added = i64::try_from(added).unwrap_or(i64::MAX);
            connection.prepare_cached(sql)?.query_row([added], |row| row.get(0))
        })?;
        let pause = if room < 0 { AT_MOST } else { OFTEN };
        Ok(since.is_none_or(|it| pause <= it))
    }
}

/// Whether this process was started as a collector. To be asked early in `main`.
pub fn is_requested() -> bool {
    COLLECTOR.is_requested()
}

/// The whole life of a collector.
pub fn main() -> ! {
    if let Some((root, limits)) = COLLECTOR.settle() {
        // Builds come first.
        let _ = rustix::process::nice(10);
        let limits = Limits::from_args(limits.into_iter());
        std::thread::sleep(PAUSE);
        // Never created: a store that was removed must stay so. Whatever fails: the next one tries again.
        if let Ok(store) = Store::open_existing(&root, &Options::default()) {
            let _ = store.collect(&limits);
        }
    }
    std::process::exit(0)
}

impl Limits {
    /// In the order of the fields, `-` for what is not given.
    fn to_args(self) -> [String; 4] {
        [self.reserved, self.max_used, self.min_free, self.max_inodes].map(|it| match it {
            None => "-".to_owned(),
            Some(Space::Exactly(amount)) => amount.to_string(),
            Some(Space::Percent(percent)) => format!("{percent}%"),
        })
    }

    fn from_args(mut args: impl Iterator<Item = String>) -> Limits {
        let mut next = || {
            let text = args.next()?;
            match text.strip_suffix('%') {
                Some(percent) => percent.parse().ok().map(Space::Percent),
                None => text.parse().ok().map(Space::Exactly),
            }
        };
        Limits { reserved: next(), max_used: next(), min_free: next(), max_inodes: next() }
    }
}
