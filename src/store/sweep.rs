//! What opening a store cleans up: half-done work of processes that died, and what another boot left unsynced.
//!
//! Each process owns `staging/<owner>/` and the files `ingest/<owner>-*`, and holds a flock on
//! `staging/<owner>/owner` for as long as it lives: the kernel frees it, however the process ends. In that file it notes
//! what it moves to its place, a line each (`layer <id>`, `blob <hex>`), what it uses and does not any more (`uses <id>`, `uses-blob <hex>`,
//! `frees <id>`, `frees-blob <hex>`, see `pins`), what it is about to remove (`drop-layer <id>`, `drop-blob <hex>`, see `gc`), and the commands that it begins to
//! run (`run …`, `runs`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use rustix::fs::{FlockOperation, flock};

use super::db::Database;
use super::error::Context as _;
use super::id::random_name;
use super::lease::try_lease;
use super::{LayerId, Result, layer_dir, layout, tree};

/// This process's corner of the store for work in progress.
pub(super) struct Owner {
    name: String,
    /// `staging/<owner>`, removed when dropped.
    dir: PathBuf,
    ingest_dir: PathBuf,
    next: AtomicU64,
    /// `staging/<owner>/owner`, locked.
    lock: File,
    bin: Mutex<Option<Bin>>,
    /// Where the mount points of commands are, once one has run.
    stubs: Mutex<Option<PathBuf>>,
}

/// Where to throw what takes long to remove: a thread of its own does it.
struct Bin {
    sender: mpsc::Sender<PathBuf>,
    thread: JoinHandle<()>,
}

impl Owner {
    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A fresh directory for something being built.
    pub(super) fn new_dir(&self) -> Result<PathBuf> {
        let dir = self.dir.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&dir).at("create", &dir)?;
        Ok(dir)
    }

    /// The directory of mount points that lies below the trees of commands.
    pub(super) fn stubs(&self) -> Result<PathBuf> {
        let mut stubs = self.stubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*stubs {
            return Ok(made.clone());
        }
        let dir = self.dir.join("stubs");
        super::snapshot::make_stubs(&dir)?;
        Ok(stubs.insert(dir).clone())
    }

    /// A fresh path for a blob being written.
    pub(super) fn new_ingest(&self) -> PathBuf {
        self.ingest_dir.join(format!("{}-{}", self.name, self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Notes that something moves to its place now and gets its row afterwards. If the process dies in between, the
    /// next open finds the note and removes what has no row.
    ///
    /// A line in a file that is there already: what ext4 spends on making and removing a file per layer is a tenth of a
    /// step.
    pub(super) fn announce(&self, what: &'static str, name: &str) -> Result<()> {
        self.note(&format!("{what} {name}\n"))
    }

    /// Adds lines to the notes, all at once.
    pub(super) fn note(&self, notes: &str) -> Result<()> {
        (&self.lock).write_all(notes.as_bytes()).at("write to", self.dir.join("owner"))
    }

    /// Removes a directory of this corner soon. What is not removed when the process ends is swept at the next open.
    pub(super) fn throw_away(&self, dir: PathBuf) {
        let mut bin = self.bin.lock().unwrap_or_else(PoisonError::into_inner);
        let bin = bin.get_or_insert_with(|| {
            let (sender, thrown) = mpsc::channel::<PathBuf>();
            let thread = std::thread::spawn(move || {
                for dir in thrown {
                    if remove_unused(&dir).is_err() {
                        let _ = remove_dir(&dir);
                    }
                }
            });
            Bin { sender, thread }
        });
        // The receiver lives as long as the sender.
        let _ = bin.sender.send(dir);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(Bin { sender, thread }) =
            self.bin.get_mut().unwrap_or_else(PoisonError::into_inner).take()
        {
            drop(sender);
            let _ = thread.join();
        }
        // What stays behind is swept at the next open.
        let _ = remove_dir(&self.dir);
    }
}

/// Removes a work directory of an overlay that had no use for it: most do not, and all that is in one is known.
fn remove_unused(dir: &Path) -> io::Result<()> {
    let work = dir.join("work");
    // Of a volatile mount: the mark, and that it was not synced. Without them the rest says what there is instead.
    let _ = fs::remove_file(work.join("incompat/volatile/dirty"));
    let made = ["incompat/volatile", "incompat"];
    made.iter().for_each(|it| drop(fs::remove_dir(work.join(it))));
    fs::remove_dir(&work)?;
    fs::remove_dir(dir)
}

/// Removes a directory and all below it; a missing one is fine.
pub(super) fn remove_dir(dir: &Path) -> Result<()> {
    let (parent, name) = (dir.parent().unwrap_or(Path::new("/")), dir.file_name().unwrap_or_default());
    let parent_fd: OwnedFd = File::open(parent).at("open", parent)?.into();
    tree::remove(&parent_fd, name.as_encoded_bytes()).at("remove", dir)
}

/// Claims a corner for this process and removes those of dead ones.
pub(super) fn claim(root: &Path, database: &Database) -> Result<Owner> {
    let staging = root.join("staging");
    let guard = guard(root)?;
    let name = random_name();
    let dir = staging.join(&name);
    fs::create_dir(&dir).at("create", &dir)?;
    let lock_path = dir.join("owner");
    let lock = OpenOptions::new().create(true).append(true).open(&lock_path).at("create", &lock_path)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).at("lock", &lock_path)?;
    let ingest_dir = root.join("ingest");
    let (next, bin, stubs) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
    let owner = Owner { dir, ingest_dir, next, lock, name, bin, stubs };
    let dead = take_dead(&staging, &owner)?;
    sweep_ingest(&owner.ingest_dir, &staging)?;
    drop(guard);
    for dir in dead {
        drop_unpublished(root, &dir, database)?;
        remove_dir(&dir)?;
    }
    Ok(owner)
}

/// Removes what a dead process moved to its place without adding its row, and keeps the runs that it began.
fn drop_unpublished(root: &Path, dead: &Path, database: &Database) -> Result<()> {
    // A corner without the file was claimed and no more.
    let notes = fs::read_to_string(dead.join("owner")).unwrap_or_default();
    for note in notes.lines() {
        let Some((what, name)) = note.split_once(' ') else { continue };
        let has_row = |sql: &str, key: &[u8]| {
            database.with("look for a row", |connection| connection.prepare_cached(sql)?.exists([key]))
        };
        match what {
            "layer" | "drop-layer" => {
                let Ok(id) = name.parse::<LayerId>() else { continue };
                if !has_row("SELECT 1 FROM layers WHERE id = ?1", id.as_bytes())? {
                    remove_dir(&layer_dir(root, id))?;
                } else if what == "drop-layer" {
                    super::gc::spare(database, &[id], &[])?;
                }
            }
            "blob" | "drop-blob" => {
                let Ok(digest) = format!("sha256:{name}").parse::<crate::base::Digest>() else { continue };
                // Who holds it is about to put such a blob there.
                let Some(_lease) = try_lease(root, &super::content::blob_key(&digest))? else { continue };
                if !has_row("SELECT 1 FROM blobs WHERE digest = ?1", digest.as_bytes())? {
                    super::content::remove_file(&super::content::blob_path(root, &digest))?;
                } else if what == "drop-blob" {
                    super::gc::spare(database, &[], &[digest])?;
                }
            }
            _ => {}
        }
    }
    super::runs::put_noted(database, notes.lines().filter_map(|note| note.strip_prefix("run ")))
}

/// The notes of all processes that live, ours among them.
pub(super) fn living_notes(root: &Path) -> Result<Vec<String>> {
    let staging = root.join("staging");
    let guard = guard(root)?;
    let mut living = Vec::new();
    for entry in fs::read_dir(&staging).at("list", &staging)? {
        let path = entry.at("list", &staging)?.path().join("owner");
        let Ok(file) = File::open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            living.push((file, path));
        }
    }
    drop(guard);
    living.into_iter().map(|(file, path)| io::read_to_string(file).at("read", path)).collect()
}

/// Claiming, sweeping and asking who lives take turns: a corner not yet locked must not look dead, and looking must not
/// be in the way of its owner's lock.
fn guard(root: &Path) -> Result<File> {
    let path = root.join("staging.lock");
    let guard = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    flock(&guard, FlockOperation::LockExclusive).at("lock", &path)?;
    Ok(guard)
}

/// Moves the corners of dead processes into our own, so that removing them needs no turn.
fn take_dead(staging: &Path, owner: &Owner) -> Result<Vec<PathBuf>> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(staging).at("list", staging)? {
        let entry = entry.at("list", staging)?;
        let path = entry.path();
        if entry.file_name() == owner.name.as_str() || !layout::is_corner(&entry) {
            continue;
        }
        let is_alive = File::open(path.join("owner"))
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
        if !is_alive {
            let taken = owner.dir.join(format!("dead-{}", owner.next.fetch_add(1, Ordering::Relaxed)));
            match fs::rename(&path, &taken) {
                // Its process had not died, but was about to remove it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => {
                    moved.at("move", &path)?;
                    dead.push(taken);
                }
            }
        }
    }
    Ok(dead)
}

fn sweep_ingest(ingest: &Path, staging: &Path) -> Result<()> {
    for entry in fs::read_dir(ingest).at("list", ingest)? {
        let entry = entry.at("list", ingest)?;
        // What has another name is somebody else's.
        if layout::ingest_owner(&entry).is_some_and(|it| !staging.join(it).is_dir()) {
            fs::remove_file(entry.path()).at("remove", entry.path())?;
        }
    }
    Ok(())
}

/// Drops the layers and blobs that another boot wrote and nobody synced.
pub(super) fn drop_unsynced(root: &Path, database: &Database, boot_id: &str) -> Result<()> {
    let (layers, blobs) = database.with("read the unsynced rows", |connection| {
        let read = |sql: &str| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([boot_id], |row| row.get::<_, Vec<u8>>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok((
            read("SELECT id FROM layers WHERE boot IS NOT NULL AND boot <> ?1")?,
            read("SELECT digest FROM blobs WHERE boot IS NOT NULL AND boot <> ?1")?,
        ))
    })?;
    if layers.is_empty() && blobs.is_empty() {
        return Ok(());
    }
    // Files first: a row without its files is found out by `check`, files without a row would stay for ever.
    for id in &layers {
        if let Ok(id) = <[u8; 16]>::try_from(id.as_slice()) {
            remove_dir(&layer_dir(root, LayerId::from_bytes(id)))?;
        }
    }
    for digest in &blobs {
        if let Ok(digest) = <[u8; 32]>::try_from(digest.as_slice()) {
            let path = super::content::blob_path(root, &crate::base::Digest::from_bytes(digest));
            super::content::remove_file(&path)?;
        }
    }
    database.with("drop the unsynced rows", |connection| {
        let transaction = connection.transaction()?;
        for id in &layers {
            super::snapshot::delete_rows(&transaction, id)?;
        }
        for digest in &blobs {
            transaction.execute("DELETE FROM blobs WHERE digest = ?1", [digest])?;
        }
        transaction.commit()
    })
}

/// Takes the store's shared lock, held for life.
pub(super) fn lock_shared(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    flock(lock.as_fd(), FlockOperation::LockShared).at("lock", &path)?;
    Ok(lock)
}
