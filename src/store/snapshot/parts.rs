//! Layers of several directories: a layer that differs little from an earlier one is made on top of it.
//!
//! A *composite* is one layer, exported as one, whose files lie in its own directory and in those of its *parts* below
//! (`parts` of its row, bottom first: ids of other layers, of which only the directories are meant). It stands for what
//! one directory would hold after all of them, so two things must hold:
//!
//! - The lowest part has no whiteouts. A whiteout further up is only there to hide what a lower part holds, never
//!   something below the layer: whoever adds a part makes sure that the tree below lacks what it removes, and makes no
//!   directory in place of something else but through the mount.
//! - So what the composite holds is the view of its parts alone, and has no whiteouts.
//!
//! A composite with whiteouts (`hides`) can therefore only be stacked as it is on the tree it was made on; on any other
//! tree they might hide something. There its files, put together by hard links, take its place (`whole`).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::super::error::Context as _;
use super::normalise::{Origin, Outline, normalise};
use super::squash::stack_on;
use super::{ActiveLayer, LayerMeta, MountPlan, Staged, Usage, rows};
use crate::base::Digest;
use crate::base::stack::deeper;
use crate::store::{LayerId, RecordType, Result, Snapshot, Store, StoreError, tree};

/// Of more parts than this the upper ones are put together.
const MAX_PARTS: usize = 12;

impl Store {
    /// Starts the layer that stands for `layer` and what is changed now, at the same place: on the tree that `layer` was
    /// made on. Its mount shows that tree with `layer` on top.
    ///
    /// Whoever removes something makes sure that no lower layer has it; see the module's text. `None` when `layer`
    /// cannot be built upon: it holds whiteouts, or nobody looked whether it does.
    pub fn stage_part(&self, layer: LayerId) -> Result<Option<ActiveLayer>> {
        let info = self.layer(layer)?.ok_or(StoreError::NoLayer { layer })?;
        let mut parts = match rows::stackings(&self.inner.database, &[layer])?.pop().flatten() {
            Some(it) if it.hides == Some(false) || !it.parts.is_empty() => it.parts,
            Some(_) | None => return Ok(None),
        };
        parts.push(layer);
        let active = self.stage(&info.parents.with(layer))?;
        // It changes nothing if it gives the root what the tree below gives it.
        let root = self.root_of(&info.parents)?.unwrap_or(active.root);
        Ok(Some(ActiveLayer { parents: info.parents, parts, root, ..active }))
    }

    /// What a layer holds, in the form of one directory.
    pub(in crate::store) fn layer_files(&self, layer: LayerId) -> Result<OwnedFd> {
        let dirs = self.all_dirs(&[layer])?;
        if let [only] = dirs.as_slice() {
            return Ok(File::open(self.layer_fs(*only)).map_err(|_| StoreError::NoLayer { layer })?.into());
        }
        let lowers = dirs.iter().rev().map(|it| self.layer_fs(*it)).collect();
        MountPlan { lowers, upper: None }.mount()
    }

    /// The directory of a layer that is a tree as it is: without whiteouts and parts.
    pub(super) fn as_it_is(&self, layer: LayerId) -> Result<Option<OwnedFd>> {
        let stacking = rows::stackings(&self.inner.database, &[layer])?.pop().flatten();
        let is_plain = |it: &rows::Stacking| it.parts.is_empty() && it.hides == Some(false) && !it.empty;
        if !stacking.is_some_and(|it| is_plain(&it)) {
            return Ok(None);
        }
        let path = self.layer_fs(layer);
        File::open(&path).map(|dir| Some(dir.into())).map_err(|error| self.unopened(layer, &path, error))
    }

    /// The directories of all layers with their parts, in order.
    pub(super) fn all_dirs(&self, layers: &[LayerId]) -> Result<Vec<LayerId>> {
        let mut dirs = Vec::with_capacity(layers.len());
        for (&layer, stacking) in layers.iter().zip(rows::stackings(&self.inner.database, layers)?) {
            dirs.extend(stacking.ok_or(StoreError::NoLayer { layer })?.parts);
            dirs.push(layer);
        }
        Ok(dirs)
    }

    /// A layer of the tree, or a part of one, whose directory is gone.
    pub(super) fn part_lost(&self, tree: &Snapshot) -> Option<LayerId> {
        let dirs = self.all_dirs(&tree.layers()).ok()?;
        dirs.into_iter().find(|it| !self.layer_fs(*it).is_dir())
    }

    /// The directory that holds what a composite holds, without whiteouts; made once.
    pub(super) fn whole(&self, layer: LayerId) -> Result<LayerId> {
        let digest = Digest::of(format!("whole {layer}"));
        let key: [u8; 16] = *digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
        if let Some(whole) = rows::squashed(&self.inner.database, &key)?
            && self.check(&Snapshot::scratch().with(whole))
        {
            return Ok(whole);
        }
        let staged = Staged::new(self)?;
        let members = self.all_dirs(&[layer])?;
        for &dir in &members {
            self.put_on(dir, &staged)?;
        }
        remove_whiteouts(staged.fs()).at("put together the layer", staged.dir())?;
        let whole = staged.publish(&rows::NewLayer {
            parents: &Snapshot::scratch(),
            meta: &LayerMeta {
                description: "a layer put together".to_owned(),
                record_type: RecordType::Internal,
                ..LayerMeta::default()
            },
            empty: false,
            usage: Usage::default(),
            outline: None,
            diff_id: None,
            parts: &[],
            hides: Some(false),
        })?;
        rows::set_squashed(&self.inner.database, &key, whole, &members)?;
        Ok(whole)
    }

    /// Whether nothing shows of `parts` below what is staged.
    fn holds_nothing(&self, staged: &Staged, parts: &[LayerId]) -> Result<bool> {
        let below = parts.iter().rev().map(|it| self.layer_fs(*it));
        let lowers = std::iter::once(staged.dir().join("fs")).chain(below).collect();
        let view = MountPlan { lowers, upper: None }.mount()?;
        Ok(tree::names(&view).at("list", staged.dir())?.is_empty())
    }

    /// Puts what a layer's own directory holds on top of what is staged, by hard links.
    fn put_on(&self, layer: LayerId, staged: &Staged) -> Result<()> {
        let path = self.layer_fs(layer);
        let dir: OwnedFd = match File::open(&path) {
            Ok(dir) => dir.into(),
            Err(error) => return Err(self.unopened(layer, &path, error)),
        };
        put_dir(&dir, staged).at("put together the layer", &path)
    }
}

impl ActiveLayer {
    /// [`ActiveLayer::commit`] where there are parts.
    pub(super) fn commit_part(self, meta: &LayerMeta) -> Result<LayerId> {
        let ActiveLayer { staged, parents, mut parts, root, .. } = self;
        let store = staged.store().clone();
        // What shows below the new part: opaque directories are spelled out against it.
        let outline = |staged: &Staged, parts: &[LayerId]| {
            let base = || {
                let mut lowers = store.dirs_below(&parents, parts)?;
                if lowers.len() < 2 {
                    lowers.push(store.inner.root.join("empty"));
                }
                MountPlan { lowers, upper: None }.mount().map(Some)
            };
            normalise(staged.fs(), Origin::Overlay, &base, staged.dir())
        };
        let mut last = outline(&staged, &parts)?;
        let mut staged = staged;
        if MAX_PARTS <= parts.len() {
            let folded = Staged::new(&store)?;
            for part in parts.drain(1..) {
                store.put_on(part, &folded)?;
            }
            put_dir(staged.fs(), &folded).at("put together the layer", folded.dir())?;
            last = outline(&folded, &parts)?;
            staged = folded;
        }
        let Outline { usage, hides, .. } = last;
        // The topmost part's row tells of all below it, too.
        let top = *parts.last().expect("a composite has parts");
        let below = store.layer(top)?.ok_or(StoreError::NoLayer { layer: top })?;
        let stacking = rows::stackings(&store.inner.database, &[top])?.pop().flatten();
        let empty =
            if hides { store.holds_nothing(&staged, &parts)? } else { usage.inodes == 0 && below.empty };
        let now = tree::stat_fd(staged.fs()).at("look at", staged.dir())?;
        let empty = empty && (now.mode, now.uid, now.gid) == (root.mode, root.uid, root.gid);
        let hides = hides || stacking.is_none_or(|it| it.hides != Some(false));
        let usage =
            Usage { bytes: usage.bytes + below.usage.bytes, inodes: usage.inodes + below.usage.inodes };
        staged.publish(&rows::NewLayer {
            parents: &parents,
            meta,
            empty,
            usage,
            outline: None,
            diff_id: None,
            parts: &parts,
            hides: Some(hides),
        })
    }
}

/// Puts a directory with its attributes on top of what is staged, by hard links.
fn put_dir(dir: impl AsFd, staged: &Staged) -> rustix::io::Result<()> {
    stack_on(dir.as_fd(), staged.fs())?;
    let root = tree::stat_fd(&dir)?;
    tree::replace_attributes(&dir, b".", &root, staged.fs(), b".")
}

/// Removes what hides something, and says so no more.
fn remove_whiteouts(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let before = tree::stat_fd(dir)?;
    for name in tree::names(dir)? {
        let Some(meta) = tree::stat(dir, &name)? else { continue };
        if meta.is_whiteout() {
            tree::remove(dir, &name)?;
        } else if meta.is_dir() {
            let below = tree::open_dir(dir, &name)?;
            deeper(|| remove_whiteouts(below.as_fd()))?;
        }
    }
    for (key, _) in tree::xattrs(dir, b".")? {
        if key.starts_with(b"trusted.overlay.") {
            tree::remove_xattr(dir, b".", &key)?;
        }
    }
    tree::set_mtime(dir, b".", before.mtime)
}
