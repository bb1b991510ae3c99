//! A damaged database: put aside, and the store starts empty. Its rows are the only ones who know what the layers and
//! blobs are, so these go with it; cache mounts stay.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::db::{self, Database};
use super::error::Context as _;
use super::id::random_name;
use super::{Result, StoreError, layout, sweep};

/// Opens the database, healing it where that is needed and possible; what was done, for people.
///
/// `lock` is the store's own, held shared before and after. Drops what another boot than `boot_id` left unsynced.
pub(super) fn open(root: &Path, lock: &File, boot_id: &str) -> Result<(Database, Vec<String>)> {
    let path = root.join(db::FILE);
    let open = || {
        let database = Database::open(root)?;
        sweep::drop_unsynced(root, &database, boot_id)?;
        Ok(database)
    };
    match open() {
        Ok(database) => Ok((database, Vec::new())),
        Err(StoreError::Corrupt { .. }) => {
            if !upgrade(root, lock)? {
                // Another process may have been healing it: once it is done, ours is a store as any other.
                flock(lock, FlockOperation::LockShared).at("lock", root.join("lock"))?;
                return match open() {
                    Err(StoreError::Corrupt { .. }) => Err(StoreError::InUse { path }),
                    opened => opened.map(|it| (it, Vec::new())),
                };
            }
            let healed = heal(root, &open);
            flock(lock, FlockOperation::LockShared).at("lock", root.join("lock"))?;
            let notices = match healed? {
                Some(aside) => vec![format!(
                    "the store's database was damaged: it is now `{}`, and the cache starts empty",
                    aside.display()
                )],
                None => Vec::new(),
            };
            Ok((open()?, notices))
        }
        Err(error) => Err(error),
    }
}

/// Makes the shared lock an exclusive one if nobody else holds it. If not, it is lost (flock(2)).
fn upgrade(root: &Path, lock: &File) -> Result<bool> {
    match flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(StoreError::io("lock", root.join("lock"), error)),
    }
}

/// Where the damaged files are now; `None` when another process was faster. We are alone in the store.
fn heal(root: &Path, open: &dyn Fn() -> Result<Database>) -> Result<Option<PathBuf>> {
    match open() {
        Err(StoreError::Corrupt { .. }) => {}
        opened => return opened.map(|_| None),
    }
    // As corners of dead processes they are removed by the sweep that follows, by whatever process.
    for dir in ["layers", "content"] {
        let from = root.join(dir);
        move_away(&from, &root.join("staging").join(random_name()))?;
    }
    // Where this one is, the layout is taken to be complete.
    move_away(&root.join("empty"), &root.join("staging").join(random_name()))?;
    layout::make(root)?;
    let aside = root.join("damaged");
    fs::create_dir_all(&aside).at("create", &aside)?;
    let aside =
        (1_u32..).map(|n| aside.join(n.to_string())).find(|it| !it.exists()).expect("numbers do not end");
    fs::create_dir(&aside).at("create", &aside)?;
    // The mark last: until then whoever comes after a kill does all of it again.
    for suffix in ["-wal", "-shm", ""] {
        let name = format!("{}{suffix}", db::FILE);
        move_away(&root.join(&name), &aside.join(&name))?;
    }
    super::content::remove_file(&root.join(db::DAMAGED_MARK))?;
    Ok(Some(aside))
}

fn move_away(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        moved => moved.at("move", from),
    }
}
