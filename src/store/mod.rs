//! Bytes and trees on disk, by digest; crash-safe, shared by processes. Knows digests and trees, not builds.
//!
//! A *layer* is a directory in overlayfs "upper" form (a whiteout is a character device 0:0, nothing is opaque); a
//! [`Snapshot`] is a list of layers, bottom first. Everything is synchronous: call it from a blocking thread. A
//! [`Store`] is a cheap clone.
//!
//! ```text
//! <root>/content/sha256/<hex>  blobs          <root>/layers/<id>/fs    committed layers
//! <root>/ingest/<owner>-<n>    being written  <root>/staging/<owner>/  being built
//! <root>/cache-mounts/         <root>/logs/   <root>/*.lock            <root>/empty   <root>/db.sqlite   <root>/lock
//! <root>/damaged/<n>/          databases that were put aside (`heal`)
//! <root>/git/<hash>/           copies of remote repositories (`work`); <root>/git-names/<hash> has their names
//! <root>/gc.lock               held by who removes what is not wanted (`gc`)
//! <root>/ballast, ballast-<n>  room for removing things on a full disk (`ballast`)
//! ```
//!
//! How it stays whole: work in progress lies in a corner that a dead process's successor sweeps (`sweep`); what is done
//! moves to its place by rename, its row comes last; what was not synced before a power cut is dropped (`flush`).

mod annex;
mod ballast;
mod cache_mount;
mod chain;
mod content;
mod db;
mod detached;
mod error;
mod export;
mod flush;
pub mod flusher;
pub mod gc;
mod heal;
mod id;
pub mod layer;
mod layout;
mod lease;
mod pins;
mod records;
mod runs;
mod snapshot;
mod sweep;
mod tree;
mod userns;
mod work;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use cache_mount::{CacheDir, Seed, Sharing};
pub use chain::Snapshot;
pub use content::{ContentStore, Ingest};
pub use error::StoreError;
pub use export::Existing;
pub use gc::RecordType;
pub use id::{LayerId, LayerIdError};
pub use layer::{ArchiveError, Compression, Limits, UnpackedLayer};
pub use lease::Lease;
pub use pins::InUse;
pub use records::{Record, Table};
pub use runs::{NewRun, Run};
pub use snapshot::{
    ActiveLayer, BlobDescriptor, Found, LayerInfo, LayerMeta, Layered, Merged, MountPlan, Upper, Usage,
};
pub use userns::{in_user_namespace, n_users};
pub use work::{Mirror, WorkDir};

use crate::base::Digest;
use error::Context as _;

type Result<T> = std::result::Result<T, StoreError>;

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Stands in for `/proc/sys/kernel/random/boot_id` (tests of power cuts).
    pub boot_id: Option<String>,
    /// When committed work is made to survive a power cut.
    pub durability: Durability,
    /// What a layer archive may hold.
    pub limits: Limits,
}

/// When committed work is made to survive a power cut (it survives a killed process at once).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// A background thread syncs some seconds after the last commit.
    #[default]
    Background,
    /// Only when [`Store::sync`] is called.
    Manual,
}

/// A store of blobs, layers and records; a cheap clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    root_fd: OwnedFd,
    boot_id: String,
    limits: Limits,
    database: db::Database,
    owner: sweep::Owner,
    /// Dropped after the corner is gone.
    _ballast: Option<ballast::GivenUp>,
    watermark: flush::Watermark,
    /// What this process uses.
    pins: pins::Pins,
    /// Results that were found.
    uses: pins::Uses,
    /// What was committed since anybody looked.
    grown: pins::Grown,
    /// What this process gained by removing things on a full disk, in bytes and inodes.
    gained: AtomicU64,
    chains: snapshot::Chains,
    stacks: snapshot::Stacks,
    opened: snapshot::Opened,
    checked: snapshot::Checked,
    notices: Vec<String>,
    /// Held shared for life, never read: whoever wants the store alone asks for it.
    _lock: File,
}

impl Inner {
    /// Forgets what was seen of layers: some may go, or are gone.
    fn forget_looks(&self) {
        self.checked.clear();
        self.stacks.clear();
        self.opened.clear();
    }
}

impl Store {
    /// Opens the store at `root`, creating it if nothing is there (mode 0700).
    ///
    /// A directory with anything else in it is refused ([`StoreError::NotEmpty`]): a store removes what it does not need.
    /// Drops what another boot wrote without syncing, and what processes that died left half-done; a damaged database
    /// is put aside and the store starts empty ([`Store::notices`] says so). Raises this
    /// process's soft limit of open files to the hard one: a tree walk holds one per level.
    pub fn open(root: &Path, options: &Options) -> Result<Store> {
        layout::make(root)?;
        Store::open_made(root, options, None)
    }

    /// [`Store::open`] of a store that is there, to look at it or to remove something: also on a full disk.
    /// [`StoreError::NoStore`] if there is none.
    pub fn open_existing(root: &Path, options: &Options) -> Result<Store> {
        if !layout::is_store(root) {
            return Err(StoreError::NoStore { path: root.to_owned() });
        }
        layout::make(root)?;
        match Store::open_made(root, options, ballast::GivenUp::if_full(root)) {
            // A quota, or no more files: the disk does not tell.
            Err(error) if error.is_no_space() => {
                Store::open_made(root, options, Some(ballast::GivenUp::new(root)))
            }
            opened => opened,
        }
    }

    fn open_made(root: &Path, options: &Options, ballast: Option<ballast::GivenUp>) -> Result<Store> {
        raise_file_limit();
        // Paths go into mount plans, which other processes use from other directories.
        let root = fs::canonicalize(root).at("resolve", root)?;
        let lock = sweep::lock_shared(&root)?;
        let boot_id = match &options.boot_id {
            Some(boot_id) => boot_id.clone(),
            None => boot_id()?,
        };
        let (database, notices) = heal::open(&root, &lock, &boot_id)?;
        let owner = sweep::claim(&root, &database)?;
        if ballast.is_none() {
            ballast::keep(&root);
        }
        let root_fd = File::open(&root).at("open", &root)?.into();
        let watermark = flush::Watermark::default();
        let limits = options.limits;
        let inner = Arc::new(Inner {
            root,
            root_fd,
            boot_id,
            limits,
            database,
            owner,
            _ballast: ballast,
            watermark,
            pins: pins::Pins::default(),
            uses: pins::Uses::default(),
            grown: pins::Grown::default(),
            gained: AtomicU64::new(0),
            chains: snapshot::Chains::default(),
            stacks: snapshot::Stacks::default(),
            opened: snapshot::Opened::default(),
            checked: snapshot::Checked::default(),
            notices,
            _lock: lock,
        });
        match options.durability {
            Durability::Background => flush::start(&inner),
            Durability::Manual => {}
        }
        Ok(Store { inner })
    }

    /// Where the store lies: absolute, without symlinks.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// What opening the store had to repair, a sentence each, for people.
    pub fn notices(&self) -> &[String] {
        &self.inner.notices
    }

    /// The blobs.
    pub fn content(&self) -> ContentStore {
        ContentStore { inner: self.inner.clone() }
    }

    /// Where the whole log of a run goes: `logs/<hex>`. It is there while the run is in the history.
    pub fn log_path(&self, run: &Digest) -> PathBuf {
        self.inner.root.join("logs").join(run.hex())
    }

    /// Starts the log of a run anew.
    pub fn log_writer(&self, run: &Digest) -> Result<File> {
        let path = self.log_path(run);
        let file = File::create(&path).at("create", path)?;
        // As long as it is open it is in use. Who looks whether it is holds the lock for a moment.
        let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared);
        Ok(file)
    }

    /// Removes the log of a run: when it is run again, it may write nothing.
    pub fn forget_log(&self, run: &Digest) -> Result<()> {
        content::remove_file(&self.log_path(run))
    }
}

/// Names the boot of this machine.
fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).at("read", path)?.trim().to_owned())
}

/// The directory of a layer in the store at `root`.
fn layer_dir(root: &Path, layer: LayerId) -> PathBuf {
    root.join("layers").join(layer.to_string())
}

fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without, very deep trees fail with a clear error.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests;
