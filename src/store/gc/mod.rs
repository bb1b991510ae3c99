//! What is in the store, what it takes, and removing what is not wanted.
//!
//! **What holds what.** A *result* (a row of `records`; several keys may have the same) names trees, which are lists of
//! layers. A *layer* cannot be without the layers it was made on, nor without those that have parts of it
//! (`snapshot/parts.rs`): both stay as long as it does. A result is gone as soon as one of its layers is. So only layers
//! that no other one needs are removed, and with each the results that name it; what it needed may be next. A *squashed*
//! layer is links to the files of others: it goes with any of those, as the files would stay on the disk for it. A
//! *blob* goes with the last layer that it is the archive of; other blobs (manifests, files of the web) are items of
//! their own. So are copies of cache mounts and of repositories, outputs of runs, and databases that were put aside.
//! A layer that a step made and no result names is of no use to anybody. Rows of the small tables are found by hashes:
//! the oldest ones go when there are many.
//!
//! **In use** is what a living build has found or made, with all that needs. Its process says so in its corner's notes (`pins`,
//! `annex`) *before* it looks whether a thing is there; who removes things marks them (`doomed`) *before* it reads the notes. One
//! sees the other: either the thing is spared, or it was marked when it was looked for, which is a miss. What a process
//! holds already it may use though it is marked for a moment. Blobs can come back under the name they had, so they are
//! put in place and removed under a lease. What has no rows has locks, which the kernel frees with their holder.
//!
//! **Killed at any point** it leaves a whole store: first a note of what is about to go, then the marks, then in one
//! transaction the rows, then the files. Whoever opens the store finds the note and removes files without rows, and
//! marks of rows that are still there.
//!
//! **Time.** When a result was last found is written to the hour (`pins`), at the end of a build. Clocks jump: what was
//! used in the future was used now, and of a time in which nobody used the store more than a day does not count.

mod choose;
mod clock;
pub mod collector;
mod filter;
mod inventory;
mod kind;
mod measure;
mod places;
mod policy;
mod remove;
mod rows;
mod tidy;

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

pub use filter::{Filter, FilterError};
#[cfg(test)]
pub(super) use inventory::Used;
pub use kind::RecordType;
pub use policy::{Caps, Disk, Limits, Policy, Space};
pub(super) use remove::spare;

use super::error::Context as _;
use super::lease::wait;
use super::{Result, Store, StoreError, Usage, ballast};
use choose::Choice;
use clock::Clock;
use inventory::Inventory;

/// Something that can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Names it: 32 hex digits, for most.
    pub id: String,
    /// What it is of.
    pub record_type: RecordType,
    /// What goes with it. What several items hold counts for the oldest.
    pub usage: Usage,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last made or found, to the hour.
    pub last_used: SystemTime,
    /// How often it was found, once an hour at most.
    pub uses: u64,
    /// A living process uses it, or something that needs it.
    pub in_use: bool,
    /// It changes in place.
    pub mutable: bool,
    /// Others hold a part of it, too.
    pub shared: bool,
    /// The layers that it was made on.
    pub parents: Vec<String>,
    /// For people.
    pub description: String,
}

impl Default for Item {
    fn default() -> Item {
        Item {
            id: String::new(),
            record_type: RecordType::default(),
            usage: Usage::default(),
            created_at: SystemTime::UNIX_EPOCH,
            last_used: SystemTime::UNIX_EPOCH,
            uses: 0,
            in_use: false,
            mutable: false,
            shared: false,
            parents: Vec::new(),
            description: String::new(),
        }
    }
}

/// How well sizes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// Every file is looked at.
    Looked,
    /// What was noted when layers were made; only what changes in place is looked at.
    Believed,
}

/// What the store holds.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// What can be removed, layers first, the oldest first.
    pub items: Vec<Item>,
    /// What the database takes.
    pub database: Usage,
    /// What is being made, and the store's own directories and locks.
    pub other: Usage,
}

impl Contents {
    /// What all of it takes.
    pub fn total(&self) -> Usage {
        self.items.iter().map(|it| it.usage).fold(inventory::sum(self.database, self.other), inventory::sum)
    }
}

/// How much room there is, to be compared with that of another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free bytes and inodes of the disk.
    free: (u64, u64),
    /// Bytes and inodes that this process has gained since it opened the store, by whichever step.
    gained: u64,
}

impl Room {
    /// Whether this process removed something since `before`, as the disk was full.
    pub fn was_made_since(&self, before: &Room) -> bool {
        before.gained < self.gained
    }

    /// Whether what found no room at the time of `before` may find some now: something was removed since, or the disk has
    /// more free than it had.
    pub fn is_more_than(&self, before: &Room) -> bool {
        self.was_made_since(before)
            || before.free.0 + MORE < self.free.0
            || before.free.1 + MORE_INODES < self.free.1
    }
}

/// What is free on a disk changes by less than this all the time, in bytes.
const MORE: u64 = 1 << 20;
const MORE_INODES: u64 = 64;

/// What a prune did.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What is gone.
    pub removed: Vec<Item>,
    /// What stays, as far as it is known.
    pub left: Usage,
    /// Why something could not be removed: the first such failure. The rest was.
    pub failed: Option<StoreError>,
}

impl Pruned {
    /// What was gained.
    pub fn reclaimed(&self) -> Usage {
        self.removed.iter().map(|it| it.usage).fold(Usage::default(), inventory::sum)
    }
}

/// How old something is for a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ages {
    /// By the clock.
    Plain,
    /// Without times in which nobody used the store.
    Active,
}

impl Store {
    /// What the store holds, byte for byte.
    pub fn contents(&self, sizes: Sizes) -> Result<Contents> {
        let Inventory { items, database, other, .. } = Inventory::take(self, sizes)?;
        Ok(Contents { items, database, other })
    }

    /// What the disk has in all and free, in bytes and in inodes.
    pub fn disk(&self) -> Result<(Disk, Disk)> {
        let stat = rustix::fs::statvfs(self.root()).at("look at the disk of", self.root())?;
        let bytes = Disk { total: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize };
        Ok((bytes, Disk { total: stat.f_files, free: stat.f_favail }))
    }

    /// Removes what `policies` say, one after the other. Waits while others remove.
    ///
    /// What is in use stays; see the text of the module.
    pub fn prune(&self, policies: &[Policy]) -> Result<Pruned> {
        let lock = self.lock_collection(Wait::Yes)?.expect("waited for");
        self.remove_by(&lock, policies, Ages::Plain, SystemTime::now())
    }

    /// Removes what the rules say that are in force without being asked for. `None`: somebody else does it just now.
    pub fn collect(&self, limits: &Limits) -> Result<Option<Pruned>> {
        self.collect_at(limits, SystemTime::now())
    }

    pub(super) fn collect_at(&self, limits: &Limits, now: SystemTime) -> Result<Option<Pruned>> {
        let Some(lock) = self.lock_collection(Wait::No)? else { return Ok(None) };
        let (bytes, inodes) = self.disk()?;
        let pruned = self.remove_by(&lock, &limits.policies(bytes, inodes), Ages::Active, now)?;
        let keep = limits.bytes(bytes).keep(pruned.left.bytes, self.disk()?.0).unwrap_or(u64::MAX);
        clock::set_room(self, i128::from(keep) - i128::from(pruned.left.bytes))?;
        Ok(Some(pruned))
    }

    /// How much room there is now. What cannot be told is nothing.
    pub fn room(&self) -> Room {
        let free = self.disk().map_or((0, 0), |(bytes, inodes)| (bytes.free, inodes.free));
        Room { free, gained: self.inner.gained.load(Ordering::Acquire) }
    }

    /// Removes what is wanted least when the disk is full; what was gained. Waits while others remove, asking `cancelled`
    /// every 10 ms.
    pub fn make_room(&self, cancelled: &dyn Fn() -> bool) -> Result<Usage> {
        let lock = wait(cancelled, || self.lock_collection(Wait::No))?;
        let (bytes, inodes) = self.disk()?;
        let rule = policy::emergency(bytes, inodes);
        let gained = self.remove_by(&lock, &[rule], Ages::Plain, SystemTime::now())?.reclaimed();
        self.inner.gained.fetch_add(gained.bytes + gained.inodes, Ordering::Release);
        Ok(gained)
    }

    pub(super) fn remove_by(
        &self,
        lock: &File,
        policies: &[Policy],
        ages: Ages,
        now: SystemTime,
    ) -> Result<Pruned> {
        // Removing needs some room, too.
        let ballast = ballast::GivenUp::if_full(self.root());
        remove::forget_marks(self)?;
        let mut inventory = Inventory::take(self, Sizes::Believed)?;
        let clock = Clock::read(self, ages, now)?;
        clock.set_right(self, &mut inventory)?;
        let mut choice = Choice::new(&inventory);
        choice.garbage();
        let disk = self.disk()?;
        for policy in policies {
            choice.add(policy, disk, &clock);
        }
        let chosen = choice.chosen;
        let (removed, failed) = remove::remove(self, &inventory, &chosen)?;
        ballast.is_none().then(|| ballast::keep(self.root()));
        let failed = failed.or(tidy::tidy(self, &inventory, policies, &clock).err());
        let gains = choose::gains(&inventory, &removed);
        let left = gains.iter().copied().fold(inventory.total(), choose::less);
        let removed = removed.iter().zip(gains);
        let removed = removed.map(|(place, usage)| Item { usage, ..inventory.items[*place].clone() });
        // Its time is that of the last collection. Without, the next one comes too early.
        let _ = lock.set_modified(now);
        Ok(Pruned { removed: removed.collect(), left, failed })
    }

    /// The lock of the only one who removes things.
    fn lock_collection(&self, wait: Wait) -> Result<Option<File>> {
        lock(self.root(), wait)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

fn lock(root: &Path, wait: Wait) -> Result<Option<File>> {
    let path = root.join("gc.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    let operation = match wait {
        Wait::Yes => FlockOperation::LockExclusive,
        Wait::No => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(StoreError::io("lock", path, error)),
    }
}

/// How long ago the last collection was; `None` when it was never, or will be.
fn last_collection(root: &Path) -> Option<Duration> {
    let at = std::fs::metadata(root.join("gc.lock")).and_then(|it| it.modified()).ok()?;
    SystemTime::now().duration_since(at).ok()
}

/// What the store at `root` takes, as far as it was noted: of layers, blobs and what was measured. `None` when nobody can
/// tell.
pub fn noted_size(root: &Path) -> Option<Usage> {
    let database = super::db::Database::open_existing(root).ok()?;
    let sum = database.with("add up what is in the store", |connection| {
        // Of a layer of several parts the lower ones are counted with it.
        let sql = "SELECT bytes - below_bytes + blob_bytes + other_bytes, inodes - below_inodes + n_blobs + other_inodes
                   FROM (SELECT coalesce(sum(bytes), 0) bytes, coalesce(sum(inodes), 0) inodes FROM layers),
                     (SELECT coalesce(sum(below.bytes), 0) below_bytes, coalesce(sum(below.inodes), 0) below_inodes
                      FROM layers JOIN layers AS below ON below.id = substr(layers.parts, -16)),
                     (SELECT coalesce(sum(size), 0) blob_bytes, count(*) n_blobs FROM blobs),
                     (SELECT coalesce(sum(bytes), 0) other_bytes, coalesce(sum(inodes), 0) other_inodes FROM measured)";
        connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
    });
    let (bytes, inodes) = sum.ok()?;
    Some(Usage { bytes: u64::try_from(bytes).ok()?, inodes: u64::try_from(inodes).ok()? })
}
