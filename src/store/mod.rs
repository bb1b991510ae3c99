//! Bytes and trees on disk, by digest; crash-safe, shared by processes. Knows digests and trees, not builds.
//!
//! A *layer* is a directory in overlayfs "upper" form (a whiteout is a character device 0:0, nothing is opaque); a
//! [`Snapshot`] is a list of layers, bottom first. Everything is synchronous: call it from a blocking thread. A
//! [`Store`] is a cheap clone.
//!
//! ```text
//! <root>/content/sha256/<hex>  blobs          <root>/layers/<id>/fs    committed layers
//! <root>/ingest/<owner>-<n>    being written  <root>/staging/<owner>/  being built
//! <root>/cache-mounts/         <root>/logs/   <root>/leases/           <root>/db.sqlite   <root>/lock
//! ```

mod error;
mod id;
pub mod layer;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use error::StoreError;
pub use id::{LayerId, LayerIdError, Snapshot};
pub use layer::ArchiveError;

use crate::base::Digest;

type Result<T> = std::result::Result<T, StoreError>;

fn unbuilt<T>() -> Result<T> {
    Err(StoreError::Unsupported { attempt: "use", path: PathBuf::new(), why: "this part is being written" })
}

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Stands in for `/proc/sys/kernel/random/boot_id` (tests of power cuts).
    pub boot_id: Option<String>,
    /// When committed work is made to survive a power cut.
    pub durability: Durability,
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
pub struct Store {}

impl Store {
    /// Opens the store at `root`, creating it if there is none (mode 0700).
    ///
    /// Drops what another boot wrote without syncing, and what processes that died left half-done.
    pub fn open(_root: &Path, _options: &Options) -> Result<Store> {
        unbuilt()
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        Path::new("")
    }

    /// Makes all that is committed durable: one `syncfs`, then one synced transaction.
    pub fn sync(&self) -> Result<()> {
        unbuilt()
    }

    /// The blobs.
    pub fn content(&self) -> ContentStore {
        ContentStore {}
    }

    // ---- trees ---------------------------------------------------------------------------------------------

    /// Starts a new layer on top of `parents`. Dropped without commit, it leaves nothing.
    pub fn stage(&self, _parents: &Snapshot) -> Result<ActiveLayer> {
        unbuilt()
    }

    /// A detached read-only mount of the tree; closing it dissolves it.
    ///
    /// `Err(NoLayer)` when a layer is missing: a cache miss for the caller.
    pub fn view(&self, _tree: &Snapshot) -> Result<OwnedFd> {
        unbuilt()
    }

    /// What [`Store::view`] mounts, for a process that mounts it itself.
    pub fn view_plan(&self, _tree: &Snapshot) -> Result<MountPlan> {
        unbuilt()
    }

    /// Whether every layer of the tree is there and looks whole; cheap. `false` is a cache miss.
    pub fn check(&self, _tree: &Snapshot) -> bool {
        false
    }

    /// What is recorded of a layer; `None` when it is not in the store.
    pub fn layer(&self, _layer: LayerId) -> Result<Option<LayerInfo>> {
        unbuilt()
    }

    /// The layer that unpacking the archive `diff_id` on `parents` gave before, if it is still whole.
    pub fn find_layer(&self, _parents: &Snapshot, _diff_id: &Digest) -> Result<Option<LayerId>> {
        unbuilt()
    }

    /// Drops a layer's row and directory (damaged or unwanted). Records that name it become misses.
    pub fn forget_layer(&self, _layer: LayerId) -> Result<()> {
        unbuilt()
    }

    /// Bytes and inodes the tree's layers occupy, each layer once.
    pub fn usage(&self, _tree: &Snapshot) -> Result<Usage> {
        unbuilt()
    }

    /// The changes that make `upper` of `lower`, as a tree: the layers above when `lower` is a prefix, else one new layer.
    pub fn diff_snapshots(
        &self,
        _lower: &Snapshot,
        _upper: &Snapshot,
        _meta: &LayerMeta,
    ) -> Result<Snapshot> {
        unbuilt()
    }

    // ---- layer archives ------------------------------------------------------------------------------------

    /// Unpacks a layer archive (plain, gzip or zstd, told by its first bytes) beside the tree it will lie on.
    ///
    /// Needs no parents yet, so the layers of an image unpack in parallel. Reads `archive` to its end.
    pub fn unpack(&self, _archive: &mut dyn Read) -> Result<UnpackedLayer> {
        unbuilt()
    }

    /// [`Store::unpack`] and [`UnpackedLayer::commit`] in one.
    pub fn apply(
        &self,
        parents: &Snapshot,
        archive: &mut dyn Read,
        expected: &Digest,
        meta: &LayerMeta,
    ) -> Result<LayerId> {
        self.unpack(archive)?.commit(parents, Some(expected), meta)
    }

    /// Writes the layer as an uncompressed tar with the bytes BuildKit would write; its digest is the diff ID.
    pub fn write_layer_tar(&self, _layer: LayerId, _to: &mut dyn Write) -> Result<()> {
        unbuilt()
    }

    /// The layer's blob in the content store, made if needed and remembered.
    ///
    /// With [`Existing::Keep`] a layer that was pulled keeps the blob it came in, whatever its compression; that blob
    /// need not be in the content store (the caller may know it to be at the registry already).
    pub fn blob(
        &self,
        _layer: LayerId,
        _compression: Compression,
        _existing: Existing,
    ) -> Result<BlobDescriptor> {
        unbuilt()
    }

    /// Writes the whole tree as one tar: numeric ids, all xattrs, hard links, whole seconds.
    pub fn write_tree_tar(&self, _tree: &Snapshot, _to: &mut dyn Write) -> Result<()> {
        unbuilt()
    }

    // ---- records -------------------------------------------------------------------------------------------

    /// The result stored under a cache key.
    pub fn get_record(&self, _key: &Digest) -> Result<Option<Record>> {
        unbuilt()
    }

    /// The results stored under many cache keys, in their order.
    pub fn get_records(&self, _keys: &[Digest]) -> Result<Vec<Option<Record>>> {
        unbuilt()
    }

    /// Stores a result, replacing one that is there.
    pub fn put_record(&self, _key: &Digest, _record: &Record) -> Result<()> {
        unbuilt()
    }

    /// Stores many results in one transaction.
    pub fn put_records(&self, _records: &[(Digest, Record)]) -> Result<()> {
        unbuilt()
    }

    /// Drops the result under a key.
    pub fn forget_record(&self, _key: &Digest) -> Result<()> {
        unbuilt()
    }

    /// A value of a small table. Values may be megabytes (one per build context is the way to keep 50,000 stats).
    pub fn get_value(&self, _table: Table, _key: &[u8]) -> Result<Option<Vec<u8>>> {
        unbuilt()
    }

    /// Values of many keys, in their order.
    pub fn get_values(&self, _table: Table, _keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        unbuilt()
    }

    /// Sets a value.
    pub fn put_value(&self, _table: Table, _key: &[u8], _value: &[u8]) -> Result<()> {
        unbuilt()
    }

    /// Sets many values in one transaction.
    pub fn put_values(&self, _table: Table, _values: &[(&[u8], &[u8])]) -> Result<()> {
        unbuilt()
    }

    /// Drops a value.
    pub fn forget_value(&self, _table: Table, _key: &[u8]) -> Result<()> {
        unbuilt()
    }

    // ---- leases, cache mounts, logs ------------------------------------------------------------------------

    /// Waits until this is the only holder of `key`, in all processes. Freed when dropped, and by the kernel at death.
    ///
    /// `cancelled` is asked every 10 ms while waiting; `true` gives `Err(Cancelled)`.
    pub fn lease(&self, _key: &Digest, _cancelled: &dyn Fn() -> bool) -> Result<Lease> {
        unbuilt()
    }

    /// The lease if nobody holds it.
    pub fn try_lease(&self, _key: &Digest) -> Result<Option<Lease>> {
        unbuilt()
    }

    /// The directory of a cache mount, waiting when `sharing` is locked and another holds it.
    ///
    /// A new one starts as a copy of the seed, or empty (0755, root).
    pub fn cache_dir(
        &self,
        _id: &str,
        _seed: Option<Seed<'_>>,
        _sharing: Sharing,
        _cancelled: &dyn Fn() -> bool,
    ) -> Result<CacheDir> {
        unbuilt()
    }

    /// Where the whole log of a step goes: `logs/<hex>`.
    pub fn log_path(&self, _vertex: &Digest) -> PathBuf {
        PathBuf::new()
    }

    /// Starts the log of a step anew.
    pub fn log_writer(&self, _vertex: &Digest) -> Result<File> {
        unbuilt()
    }
}

/// The blobs of a store; a cheap clone.
#[derive(Clone)]
pub struct ContentStore {}

impl ContentStore {
    /// Whether the blob is there.
    pub fn has(&self, _digest: &Digest) -> bool {
        false
    }

    /// Size of the blob in bytes; `None` when it is not there.
    pub fn size(&self, _digest: &Digest) -> Result<Option<u64>> {
        unbuilt()
    }

    /// The blob's path; it may not exist.
    pub fn path(&self, _digest: &Digest) -> PathBuf {
        PathBuf::new()
    }

    /// Opens the blob for reading; `Err(NoBlob)` when it is not there.
    pub fn open(&self, _digest: &Digest) -> Result<File> {
        unbuilt()
    }

    /// The blob's bytes, its digest checked (a damaged blob is removed and reported as [`StoreError::Corrupt`]).
    pub fn read(&self, _digest: &Digest) -> Result<Vec<u8>> {
        unbuilt()
    }

    /// Starts writing a blob.
    pub fn ingest(&self) -> Result<Ingest> {
        unbuilt()
    }

    /// Stores `bytes`.
    pub fn put(&self, _bytes: &[u8]) -> Result<Digest> {
        unbuilt()
    }

    /// Removes the blob if it is there.
    pub fn forget(&self, _digest: &Digest) -> Result<()> {
        unbuilt()
    }
}

/// A blob being written: hashes what passes. Dropped without commit, it leaves nothing.
pub struct Ingest {}

impl Ingest {
    /// Bytes written so far.
    pub fn n_bytes(&self) -> u64 {
        0
    }

    /// Publishes the blob. A digest other than `expected` is [`StoreError::Mismatch`] and removes the bytes.
    pub fn commit(self, _expected: Option<&Digest>) -> Result<Digest> {
        unbuilt()
    }
}

impl Write for Ingest {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A layer being made. Dropped without commit, it leaves nothing.
pub struct ActiveLayer {}

impl ActiveLayer {
    /// The tree below.
    pub fn parents(&self) -> &Snapshot {
        unimplemented!()
    }

    /// A detached writable mount of the tree with this layer on top; closing it dissolves it.
    ///
    /// Mount once, or close one mount before making the next: two at once would not see each other's changes.
    pub fn mount(&self) -> Result<OwnedFd> {
        unbuilt()
    }

    /// What [`ActiveLayer::mount`] mounts, for a process that mounts it itself.
    pub fn plan(&self) -> Result<MountPlan> {
        unbuilt()
    }

    /// The directory that collects the changes. Write here directly only what needs no look at the parents.
    pub fn upper_dir(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }

    /// Publishes the layer. All mounts of it must be closed.
    pub fn commit(self, _meta: &LayerMeta) -> Result<LayerId> {
        unbuilt()
    }
}

/// An archive unpacked, not yet part of a tree. Dropped without commit, it leaves nothing.
pub struct UnpackedLayer {}

impl UnpackedLayer {
    /// Digest of the uncompressed archive.
    pub fn diff_id(&self) -> Digest {
        unimplemented!()
    }

    /// Settles what depends on the tree below and publishes the layer.
    ///
    /// `expected` other than the diff ID is [`StoreError::Mismatch`]. `meta.blob` is the blob it came in, if any.
    pub fn commit(
        self,
        _parents: &Snapshot,
        _expected: Option<&Digest>,
        _meta: &LayerMeta,
    ) -> Result<LayerId> {
        unbuilt()
    }
}

/// What is said about a layer when it is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerMeta {
    /// What made it, for people and for the image's history.
    pub description: String,
    /// The blob it was pulled as.
    pub blob: Option<BlobDescriptor>,
}

/// What is recorded of a committed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its name.
    pub id: LayerId,
    /// The tree it was made on: its archive is the difference to this one.
    pub parents: Snapshot,
    /// When it was committed.
    pub created_at: SystemTime,
    /// [`LayerMeta::description`].
    pub description: String,
    /// It changes nothing.
    pub empty: bool,
    /// What it occupies.
    pub usage: Usage,
    /// Digest of its uncompressed archive, once known.
    pub diff_id: Option<Digest>,
    /// The blob it was pulled as.
    pub pulled: Option<BlobDescriptor>,
}

/// What something occupies on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Allocated bytes.
    pub bytes: u64,
    /// Files of all kinds.
    pub inodes: u64,
}

/// A layer's archive as a blob.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BlobDescriptor {
    /// Media type (OCI, or as pulled).
    pub media_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
}

/// Compression of a layer archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Compression {
    /// Plain tar.
    None,
    /// gzip, level 0 to 9.
    Gzip(u8),
    /// zstd, level 1 to 19.
    Zstd(u8),
}

/// What to do with a blob that a layer was pulled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Use it.
    Keep,
    /// Compress the layer as asked (`force-compression`).
    Recompress,
}

/// Everything a process needs to mount a tree by itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MountPlan {
    /// Lower directories, top first. Empty: the upper directory alone, as a bind mount.
    pub lowers: Vec<PathBuf>,
    /// Where changes go; `None`: read-only.
    pub upper: Option<Upper>,
}

/// The writable half of a [`MountPlan`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Upper {
    /// Collects the changes.
    pub dir: PathBuf,
    /// Overlayfs's scratch directory, used by one mount only.
    pub work: PathBuf,
}

impl MountPlan {
    /// Makes the detached mount.
    pub fn mount(&self) -> Result<OwnedFd> {
        unbuilt()
    }
}

/// A result: what a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// One tree per output.
    pub outputs: Vec<Snapshot>,
    /// The caller's own bytes.
    pub meta: Vec<u8>,
    /// When it was stored; set by the store when reading.
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

/// Exclusive hold on a key, in all processes, until dropped.
pub struct Lease {}

/// How steps share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Any number at once.
    Shared,
    /// Each concurrent user has its own copy; a free one is reused.
    Private,
    /// One at a time, the others wait.
    Locked,
}

/// What a new cache mount starts as: a copy of the directory at `path` of a tree.
#[derive(Debug, Clone, Copy)]
pub struct Seed<'a> {
    /// The tree.
    pub tree: &'a Snapshot,
    /// Absolute path of a directory in it; `/` for all.
    pub path: &'a str,
}

/// Hold on a cache mount's directory until dropped.
pub struct CacheDir {}

impl CacheDir {
    /// The directory.
    pub fn path(&self) -> &Path {
        Path::new("")
    }

    /// The directory, open.
    pub fn fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
}
