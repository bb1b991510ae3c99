//! The metadata database: one SQLite file in WAL mode, shared by processes. The only file that names SQLite's pragmas.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StoreError;

/// The file, in the store's root.
pub(super) const FILE: &str = "db.sqlite";
/// A file that says that damage was met; the next to open the store sees to it.
pub(super) const DAMAGED_MARK: &str = "db.damaged";
/// How long other processes' transactions are waited for.
const BUSY: Duration = Duration::from_secs(30);
/// Version of [`SCHEMA`]; an older store is brought up to it by [`UPGRADES`], a newer one is refused.
const VERSION: i64 = 5;

/// `boot` names the boot whose page cache may still hold the bytes; NULL once they are synced. `parts` and `hides`: see
/// `snapshot/parts.rs`; `hides` is NULL where nobody looked.
const SCHEMA: &str = "
CREATE TABLE layers(
  id BLOB PRIMARY KEY, parent BLOB, parents BLOB, chain BLOB NOT NULL, created INTEGER NOT NULL,
  description TEXT NOT NULL, empty INTEGER NOT NULL, bytes INTEGER NOT NULL, inodes INTEGER NOT NULL,
  stamp INTEGER NOT NULL, diff_id BLOB, pulled TEXT, boot TEXT, outline INTEGER, parts BLOB, hides INTEGER) WITHOUT ROWID;
CREATE INDEX layers_by_diff ON layers(diff_id) WHERE diff_id IS NOT NULL;
CREATE INDEX layers_unsynced ON layers(boot) WHERE boot IS NOT NULL;
CREATE INDEX layers_by_outline ON layers(outline, parent) WHERE outline IS NOT NULL;
CREATE TABLE compressed(
  layer BLOB NOT NULL, compression TEXT NOT NULL, descriptor TEXT NOT NULL,
  PRIMARY KEY(layer, compression)) WITHOUT ROWID;
CREATE TABLE squashed(key BLOB PRIMARY KEY, layer BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blobs(digest BLOB PRIMARY KEY, size INTEGER NOT NULL, boot TEXT) WITHOUT ROWID;
CREATE INDEX blobs_unsynced ON blobs(boot) WHERE boot IS NOT NULL;
CREATE TABLE records(key BLOB PRIMARY KEY, outputs BLOB NOT NULL, meta BLOB NOT NULL, created INTEGER NOT NULL);
CREATE TABLE small(place INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY(place, key));
CREATE TABLE runs(
  id INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL, grp BLOB NOT NULL, line BLOB NOT NULL,
  key BLOB NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX runs_by_line ON runs(line, id);
CREATE INDEX runs_by_key ON runs(key, id);
";

/// What garbage collection keeps (`gc`): `doomed` marks what is about to be removed, `used` and `uses` say when and how
/// often a result was found, `members` which layers a squashed one stands for, `measured` what changes in place.
const COLLECTION: &str = "
ALTER TABLE layers ADD COLUMN type INTEGER NOT NULL DEFAULT 0;
ALTER TABLE layers ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE layers ADD COLUMN doomed INTEGER;
ALTER TABLE blobs ADD COLUMN doomed INTEGER;
ALTER TABLE records ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE squashed ADD COLUMN members BLOB;
CREATE TABLE measured(
  path TEXT PRIMARY KEY, stamp INTEGER NOT NULL, bytes INTEGER NOT NULL, inodes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE collected(
  only INTEGER PRIMARY KEY CHECK(only = 1), at INTEGER NOT NULL, room INTEGER NOT NULL, gaps TEXT NOT NULL);
INSERT INTO collected VALUES(1, 0, 0, '[]');
";

/// What leads from version 1 to 2, from 2 to 3, ….
const UPGRADES: [&str; VERSION as usize - 1] = [
    "ALTER TABLE layers ADD COLUMN outline INTEGER;
     CREATE INDEX layers_by_outline ON layers(outline, parent) WHERE outline IS NOT NULL;",
    "CREATE TABLE runs(
       id INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL, grp BLOB NOT NULL, line BLOB NOT NULL,
       key BLOB NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL);
     CREATE INDEX runs_by_line ON runs(line, id);
     CREATE INDEX runs_by_key ON runs(key, id);",
    "ALTER TABLE layers ADD COLUMN parts BLOB; ALTER TABLE layers ADD COLUMN hides INTEGER;",
    COLLECTION,
];

/// The open database; calls from several threads take turns.
pub(super) struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Database {
    /// Opens or creates the database of the store at `root`.
    pub(super) fn open(root: &Path) -> Result<Database, StoreError> {
        Database::open_with(root, OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens the database of the store at `root`, which must be there.
    pub(super) fn open_existing(root: &Path) -> Result<Database, StoreError> {
        Database::open_with(root, OpenFlags::empty())
    }

    fn open_with(root: &Path, flags: OpenFlags) -> Result<Database, StoreError> {
        let path = root.join(FILE);
        let fail = |source| error("open", &path, source);
        if root.join(DAMAGED_MARK).exists() {
            return Err(damaged(&path));
        }
        let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(fail)?;
        connection.busy_timeout(BUSY).map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(64);
        // SQLite would compile a statement anew for every value that is bound to it where the plan may depend on that: it
        // took longer than all else that a look for equal layers does.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(fail)?;
        // A checkpoint at exit would cost two fsyncs; the durability watermark does it at leisure.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
        let mut version: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
        connection
            .execute_batch(
                "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=1000; PRAGMA cache_size=-8192;",
            )
            .map_err(fail)?;
        if version == 0 {
            version = create(&mut connection).map_err(fail)?;
        }
        if (1..VERSION).contains(&version) {
            version = upgrade(&mut connection).map_err(fail)?;
        }
        if version != VERSION {
            return Err(StoreError::Version { path: root.to_owned(), found: version, wanted: VERSION });
        }
        Ok(Database { connection: Mutex::new(connection), path })
    }

    /// Moves what the WAL holds to its place, unless somebody reads or writes just now: an opening process has to read
    /// through all that is in it.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        self.with("checkpoint", |connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            connection.busy_timeout(BUSY)?;
            done
        })
    }

    /// Runs `work` on the connection. `attempt` says what it does, for the error.
    pub(super) fn with<T>(
        &self,
        attempt: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // A panic in another thread's closure rolled its transaction back: the connection is usable.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut connection).map_err(|source| error(attempt, &self.path, source));
        if let Err(StoreError::Corrupt { .. }) = &result {
            // Opening looks at the first page only. Without the mark the next process comes here, too.
            let _ = std::fs::File::create(self.path.with_file_name(DAMAGED_MARK));
        }
        result
    }
}

/// Makes the tables, unless another process does it first; the version then in the file.
fn create(connection: &mut Connection) -> rusqlite::Result<i64> {
    // Tables without a version are somebody else's; with one, another process was faster.
    if connection.prepare("SELECT 1 FROM sqlite_master")?.exists([])? {
        return connection.pragma_query_value(None, "user_version", |row| row.get(0));
    }
    use_wal(connection)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != 0 {
        return Ok(version);
    }
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(COLLECTION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(VERSION)
}

/// Turns the WAL on. SQLite does not wait for other processes here, though it was told to: two that turn it on at once, or one
/// that just reads, make it say that the file is locked.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < BUSY =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Goes through the upgrades that the file lacks, unless another process does; the version then in the file.
fn upgrade(connection: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for upgrade in UPGRADES.iter().skip(usize::try_from(version - 1).unwrap_or(usize::MAX)) {
        transaction.execute_batch(upgrade)?;
    }
    transaction.pragma_update(None, "user_version", version.max(VERSION))?;
    transaction.commit()?;
    Ok(version.max(VERSION))
}

fn error(attempt: &'static str, path: &Path, source: rusqlite::Error) -> StoreError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::NoSpace { attempt, path: path.to_owned() },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path),
        _ => StoreError::Database { attempt, path: path.to_owned(), source },
    }
}

fn damaged(path: &Path) -> StoreError {
    StoreError::Corrupt {
        what: format!("the store's database `{}`", path.display()),
        way_out: "the next build that has the store to itself puts it aside and starts an empty one"
            .to_owned(),
    }
}
