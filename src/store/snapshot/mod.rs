//! Layers and the trees they add up to: staging, committing, viewing, forgetting.

mod chains;
mod check;
mod diff;
mod layered;
mod mount;
mod normalise;
mod parts;
pub(super) mod rows;
mod squash;
mod stack;
mod stubs;
mod twin;

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{CWD, Mode, RenameFlags, renameat_with};

pub(super) use chains::Chains;
pub(super) use check::Checked;
pub(super) use layered::Opened;
pub use layered::{Found, Layered, Merged};
pub use mount::{MountPlan, Upper};
pub(super) use normalise::OPAQUE;
pub(super) use normalise::Origin;
use normalise::Outline;
pub(super) use normalise::REPLACED;
#[cfg(test)]
pub(super) use rows::alike;
pub(super) use rows::delete_rows;
pub(super) use stack::Stacks;
pub(super) use stubs::make as make_stubs;

use super::error::Context as _;
use super::{LayerId, RecordType, Result, Snapshot, Store, StoreError, layer_dir, sweep, tree};
use crate::base::Digest;

/// What is said about a layer when it is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerMeta {
    /// What made it, for people and for the image's history.
    pub description: String,
    /// What it is of, for those who clean up.
    pub record_type: RecordType,
    /// The blob it was pulled as.
    pub blob: Option<BlobDescriptor>,
    /// When it was made, where that was elsewhere; `None` is now.
    pub created_at: Option<SystemTime>,
}

/// What is recorded of a committed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its name.
    pub id: LayerId,
    /// The tree it was made on: its archive is the difference to this one.
    pub parents: Snapshot,
    /// When it was committed, in whole milliseconds.
    pub created_at: SystemTime,
    /// [`LayerMeta::description`].
    pub description: String,
    /// It changes nothing.
    pub empty: bool,
    /// What it occupies.
    pub usage: Usage,
    /// Digest of the archive it was unpacked from, or of the one written of it, once known.
    pub diff_id: Option<Digest>,
    /// The blob it was pulled as.
    pub pulled: Option<BlobDescriptor>,
    /// Layers whose directories hold parts of it below its own, bottom first; of most layers none.
    pub parts: Vec<LayerId>,
}

/// What something occupies on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Allocated bytes; a file with several names counts once per layer.
    pub bytes: u64,
    /// Directory entries of all kinds.
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

/// A directory in `staging`, removed when dropped unless it was published.
pub(super) struct Staged {
    store: Store,
    /// `staging/<owner>/<n>`; `None` once published.
    dir: Option<PathBuf>,
    /// `staging/<owner>/<n>/fs`.
    fs: OwnedFd,
    /// Overlayfs's scratch directories, beside the layer's own.
    works: Mutex<Vec<PathBuf>>,
}

impl Staged {
    /// A staged layer with an empty `fs` directory.
    pub(super) fn new(store: &Store) -> Result<Staged> {
        let dir = store.inner.owner.new_dir()?;
        let open = || {
            let path = dir.join("fs");
            fs::create_dir(&path).at("create", &path)?;
            let fs: OwnedFd = File::open(&path).at("open", &path)?.into();
            rustix::fs::fchmod(&fs, Mode::from_raw_mode(0o755)).at("set the mode of", &path)?;
            Ok(fs)
        };
        match open() {
            Ok(fs) => Ok(Staged { store: store.clone(), dir: Some(dir), fs, works: Mutex::default() }),
            Err(error) => {
                sweep::remove_dir(&dir)?;
                Err(error)
            }
        }
    }

    pub(super) fn fs(&self) -> BorrowedFd<'_> {
        self.fs.as_fd()
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.as_deref().expect("only publishing takes the directory, and consumes the layer")
    }

    /// Moves the directory to its place and adds the row, last.
    pub(super) fn publish(mut self, row: &rows::NewLayer<'_>) -> Result<LayerId> {
        let id = LayerId::random();
        let inner = &self.store.inner;
        let from = self.dir.clone().expect("nothing is published twice");
        let to = inner.root.join("layers").join(id.to_string());
        let root = tree::stat_fd(&self.fs).at("look at", &from)?;
        inner.owner.announce("layer", &id.to_string())?;
        renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE).at("publish", &to)?;
        self.dir = None;
        if let Err(error) = rows::insert(&inner.database, id, stamp(&root), row, &inner.boot_id) {
            // Without a row nobody can know the directory.
            let _ = sweep::remove_dir(&to);
            return Err(error);
        }
        inner.watermark.raise();
        inner.pins.hold(&[id]);
        inner.grown.add(row.usage);
        Ok(id)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Off the path of the build: removing directories takes longer than the rest of a commit.
        for work in self.works.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.store.inner.owner.throw_away(work);
        }
        if let Some(dir) = &self.dir {
            // What stays is swept when a store is opened after this process.
            let _ = sweep::remove_dir(dir);
        }
    }
}

/// What tells that a layer's root directory is the one that was committed: nothing may have been added or removed.
fn stamp(root: &tree::Meta) -> i64 {
    root.mtime.0.wrapping_mul(1_000_000_000).wrapping_add(root.mtime.1.into())
}

/// A layer being made. Dropped without commit, it leaves nothing.
pub struct ActiveLayer {
    staged: Staged,
    parents: Snapshot,
    /// Parts of the layer that are there already, bottom first; see [`parts`].
    parts: Vec<LayerId>,
    /// Attributes the root began with: those of the tree below.
    root: tree::Meta,
    /// It was written to as a draft ([`ActiveLayer::layered`]).
    is_draft: AtomicBool,
    /// It was mounted, or may have been.
    is_mounted: AtomicBool,
}

impl ActiveLayer {
    /// The tree below.
    pub fn parents(&self) -> &Snapshot {
        &self.parents
    }

    /// A detached writable mount of the tree with this layer on top; closing it dissolves it.
    ///
    /// The descriptor is good for looking things up (`openat2(fd, ..)`) and for `move_mount`, not for listing: open `.`.
    /// Close one mount before making the next: two at once would not see each other's changes.
    pub fn mount(&self) -> Result<OwnedFd> {
        self.mount_plan(&self.plan()?)
    }

    /// As [`ActiveLayer::mount`], for a command that cannot unmount anything: where the tree has a directory `/etc`, there are
    /// empty files `hosts` and `resolv.conf` in it to be mounted on, if it does not have or hide them. They are no part of the
    /// layer as long as they are covered.
    pub fn mount_for_command(&self) -> Result<OwnedFd> {
        let mut plan = self.plan()?;
        if stubs::have_dir(&plan.lowers) {
            plan.lowers.push(self.staged.store.inner.owner.stubs()?);
        }
        self.mount_plan(&plan)
    }

    fn mount_plan(&self, plan: &MountPlan) -> Result<OwnedFd> {
        plan.mount().map_err(|error| self.staged.store.explain_mount(&self.parents, error))
    }

    /// What [`ActiveLayer::mount`] mounts, for a process that mounts it itself. Each plan is good for one mount.
    pub fn plan(&self) -> Result<MountPlan> {
        let lowers = self.staged.store.dirs_below(&self.parents, &self.parts)?;
        let dir = self.staged.dir().join("fs");
        self.is_mounted.store(true, Ordering::Relaxed);
        // A volatile overlay refuses a work directory that was used before.
        let work = self.staged.store.inner.owner.new_dir()?;
        self.staged.works.lock().unwrap_or_else(PoisonError::into_inner).push(work.clone());
        Ok(MountPlan { lowers, upper: Some(Upper { dir, work }) })
    }

    /// The directory that collects the changes. Write here directly only what needs no look at the parents.
    pub fn upper_dir(&self) -> BorrowedFd<'_> {
        self.staged.fs()
    }

    /// Publishes the layer. All mounts of it must be closed.
    pub fn commit(self, meta: &LayerMeta) -> Result<LayerId> {
        if !self.parts.is_empty() {
            return self.commit_part(meta);
        }
        let ActiveLayer { staged, parents, parts, root, is_draft, is_mounted } = self;
        let is_plain = is_draft.into_inner() && !is_mounted.into_inner();
        let origin = if is_plain { Origin::Draft } else { Origin::Overlay };
        let Outline { usage, hash, hides, listing } = staged.normalise(&parents, origin)?;
        let now = tree::stat_fd(staged.fs()).at("look at", staged.dir())?;
        let same_root = (now.mode, now.uid, now.gid) == (root.mode, root.uid, root.gid);
        let empty = usage.inodes == 0 && same_root;
        let store = staged.store().clone();
        let layer = staged.publish(&rows::NewLayer {
            parents: &parents,
            meta,
            empty,
            usage,
            outline: Some(hash),
            diff_id: None,
            parts: &parts,
            hides: Some(hides),
        })?;
        if let Some(listing) = listing {
            store.inner.opened.made(layer, listing);
        }
        Ok(layer)
    }
}

impl Staged {
    /// Brings `fs` into the form of committed layers; see [`normalise`].
    pub(super) fn normalise(&self, parents: &Snapshot, origin: Origin) -> Result<Outline> {
        let store = &self.store;
        let base = || if parents.is_scratch() { Ok(None) } else { store.view(parents).map(Some) };
        normalise::normalise(self.fs(), origin, &base, self.dir())
    }

    /// [`Staged::publish`] for a layer that was unpacked.
    pub(super) fn publish_unpacked(
        self,
        parents: &Snapshot,
        diff_id: Digest,
        usage: Usage,
        meta: &LayerMeta,
    ) -> Result<LayerId> {
        let empty = usage.inodes == 0;
        self.publish(&rows::NewLayer {
            parents,
            meta,
            empty,
            usage,
            outline: None,
            diff_id: Some(diff_id),
            parts: &[],
            hides: None,
        })
    }
}

impl Store {
    /// Starts a new layer on top of `parents`. Dropped without commit, it leaves nothing.
    pub fn stage(&self, parents: &Snapshot) -> Result<ActiveLayer> {
        let staged = Staged::new(self)?;
        self.inherit_root(&staged, parents)?;
        let root = tree::stat_fd(staged.fs()).at("look at", staged.dir())?;
        let (parents, parts) = (parents.clone(), Vec::new());
        Ok(ActiveLayer { staged, parents, parts, root, is_draft: false.into(), is_mounted: false.into() })
    }

    /// Gives a new layer's root the attributes of the tree below: overlayfs shows the top one's.
    pub(super) fn inherit_root(&self, staged: &Staged, parents: &Snapshot) -> Result<()> {
        let Some((dir, meta)) = self.open_root(parents)? else { return Ok(()) };
        tree::copy_attributes(&dir, b".", &meta, staged.fs(), b".").at("set the attributes of", staged.dir())
    }

    /// Attributes of the root of a tree; `None` of the empty tree.
    fn root_of(&self, tree: &Snapshot) -> Result<Option<tree::Meta>> {
        Ok(self.open_root(tree)?.map(|(_, meta)| meta))
    }

    /// The directory that shows as the root of a tree.
    fn open_root(&self, tree: &Snapshot) -> Result<Option<(OwnedFd, tree::Meta)>> {
        let Some(top) = tree.top() else { return Ok(None) };
        let path = self.layer_fs(top);
        let dir = match File::open(&path) {
            Ok(dir) => OwnedFd::from(dir),
            Err(error) => return Err(self.unopened(top, &path, error)),
        };
        let meta = tree::stat_fd(&dir).at("look at", &path)?;
        Ok(Some((dir, meta)))
    }

    /// A detached read-only mount of the tree; closing it dissolves it.
    ///
    /// The descriptor is good for looking things up (`openat2(fd, ..)`) and for `move_mount`, not for listing: open `.`.
    /// `Err(NoLayer)` when a layer is missing: a cache miss for the caller.
    pub fn view(&self, tree: &Snapshot) -> Result<OwnedFd> {
        self.view_plan(tree)?.mount().map_err(|error| self.explain_mount(tree, error))
    }

    /// A descriptor of the tree for our own reading, as [`Store::view`] gives one. Where one directory holds all of the
    /// tree it is that directory: nothing is mounted.
    pub fn read(&self, tree: &Snapshot) -> Result<OwnedFd> {
        if let (1, Some(layer)) = (tree.n_layers(), tree.top())
            && let Some(only) = self.as_it_is(layer)?
        {
            return Ok(only);
        }
        if tree.is_scratch() {
            let path = self.inner.root.join("empty");
            return Ok(File::open(&path).at("open", &path)?.into());
        }
        self.view(tree)
    }

    /// What [`Store::view`] mounts, for a process that mounts it itself.
    pub fn view_plan(&self, tree: &Snapshot) -> Result<MountPlan> {
        let mut lowers = self.lower_dirs(tree)?;
        if lowers.len() < 2 {
            // Overlayfs wants two, and a single layer must not show its whiteouts.
            lowers.push(self.inner.root.join("empty"));
        }
        Ok(MountPlan { lowers, upper: None })
    }

    /// The error of a failed mount, a layer that lost its directory found out and forgotten.
    fn explain_mount(&self, tree: &Snapshot, error: StoreError) -> StoreError {
        if matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
            && let Some(lost) = self.part_lost(tree)
        {
            return self.lost(lost);
        }
        error
    }

    /// The error of opening a layer's directory: only one that is not there is lost. Descriptors may have run out.
    pub(super) fn unopened(&self, layer: LayerId, path: &Path, error: std::io::Error) -> StoreError {
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => self.lost(layer),
            _ => StoreError::io("open", path, error),
        }
    }

    fn lost(&self, layer: LayerId) -> StoreError {
        // If the row cannot be dropped now, the next look finds it again.
        let _ = self.forget_layer(layer);
        StoreError::NoLayer { layer }
    }

    pub(super) fn layer_fs(&self, layer: LayerId) -> PathBuf {
        let mut path = layer_dir(&self.inner.root, layer);
        path.push("fs");
        path
    }

    /// What is recorded of a layer; `None` when it is not in the store.
    pub fn layer(&self, layer: LayerId) -> Result<Option<LayerInfo>> {
        rows::read(&self.inner.database, &self.inner.chains, layer)
    }

    /// The layer that unpacking the archive `diff_id` on `parents` gave before, if it is still whole and `is_it` takes what
    /// it is described as.
    pub fn find_layer(
        &self,
        parents: &Snapshot,
        diff_id: &Digest,
        is_it: &dyn Fn(&str) -> bool,
    ) -> Result<Option<LayerId>> {
        let found = rows::by_diff(&self.inner.database, parents, diff_id)?;
        let mut named = found.into_iter().filter(|(_, described)| is_it(described)).map(|(id, _)| id);
        Ok(named.find(|it| self.check(&Snapshot::scratch().with(*it))))
    }

    /// Drops a layer's row and directory (damaged or unwanted). Records that name it become misses.
    pub fn forget_layer(&self, layer: LayerId) -> Result<()> {
        self.inner.forget_looks();
        self.inner.database.with("drop a layer's row", |connection| {
            let transaction = connection.transaction()?;
            delete_rows(&transaction, layer.as_bytes())?;
            transaction.commit()
        })?;
        sweep::remove_dir(&layer_dir(&self.inner.root, layer))
    }

    /// Says what the layers of a tree are of, where nothing was said yet.
    pub fn set_record_type(&self, tree: &Snapshot, record_type: RecordType) -> Result<()> {
        if record_type == RecordType::Regular {
            return Ok(());
        }
        rows::set_type(&self.inner.database, &tree.layers(), record_type)
    }

    /// Bytes and inodes the tree's layers occupy, each layer once.
    pub fn usage(&self, tree: &Snapshot) -> Result<Usage> {
        let distinct: std::collections::BTreeSet<LayerId> = tree.downwards().collect();
        let mut sum = Usage::default();
        for layer in distinct {
            let info = self.layer(layer)?.ok_or(StoreError::NoLayer { layer })?;
            sum.bytes += info.usage.bytes;
            sum.inodes += info.usage.inodes;
        }
        Ok(sum)
    }
}
