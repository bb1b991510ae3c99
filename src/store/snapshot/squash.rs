//! Fewer layers for the kernel: overlayfs stacks at most 500 lower directories, so long lists are mounted as blocks
//! that were put together by hard links. Blocks are cut from the bottom, so a growing chain finds its blocks again.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, linkat, mkdirat};
use rustix::io::Errno;

use super::super::error::Context as _;
use super::normalise::{OPAQUE, ORIGIN};
use super::{LayerMeta, Staged, Usage, rows};
use crate::store::{LayerId, RecordType, Result, Snapshot, Store, tree};

/// More lower directories than this are squashed.
const MAX_LAYERS: usize = 400;
/// Layers per block.
const BLOCK: usize = 128;

impl Store {
    /// The directories, top first, with blocks of the lowest ones replaced by one layer each while there are too many.
    pub(super) fn squash(&self, mut stack: Vec<LayerId>) -> Result<Vec<LayerId>> {
        while stack.len() > MAX_LAYERS {
            stack.reverse();
            let mut squashed = Vec::with_capacity(stack.len() / BLOCK + MAX_LAYERS);
            let mut rest = stack.as_slice();
            while squashed.len() + rest.len() > MAX_LAYERS && rest.len() >= BLOCK {
                let (block, above) = rest.split_at(BLOCK);
                squashed.push(self.squash_block(block)?);
                rest = above;
            }
            squashed.extend_from_slice(rest);
            squashed.reverse();
            stack = squashed;
        }
        Ok(stack)
    }

    fn squash_block(&self, block: &[LayerId]) -> Result<LayerId> {
        let tree = Snapshot { layers: block.to_vec() };
        let key = tree.key();
        if let Some(layer) = rows::squashed(&self.inner.database, &key)?
            && self.check(&Snapshot { layers: vec![layer] })
        {
            return Ok(layer);
        }
        let staged = Staged::new(self)?;
        for &layer in block {
            let path = self.layer_fs(layer);
            let dir: OwnedFd = match File::open(&path) {
                Ok(dir) => dir.into(),
                Err(_) => return Err(self.lost(layer)),
            };
            stack_on(dir.as_fd(), staged.fs()).at("squash the layer", &path)?;
            let root = tree::stat_fd(&dir).at("look at", &path)?;
            tree::copy_attributes(&dir, b".", &root, staged.fs(), b".").at("squash the layer", &path)?;
        }
        let description = format!("{} layers squashed", block.len());
        let meta = LayerMeta { description, record_type: RecordType::Internal, blob: None };
        let usage = Usage::default();
        let layer = staged.publish(&rows::NewLayer {
            parents: &Snapshot::scratch(),
            meta: &meta,
            empty: false,
            usage,
            outline: None,
            diff_id: None,
            parts: &[],
            hides: None,
        })?;
        rows::set_squashed(&self.inner.database, &key, layer, block)?;
        Ok(layer)
    }
}

/// Puts the layer in `from` on top of the layer in `to`; files are hard-linked.
///
/// The result is mounted, never exported, so a directory that replaced something may be opaque here.
pub(super) fn stack_on(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    for name in tree::names(from)? {
        let Some(meta) = tree::stat(from, &name)? else { continue };
        let below = tree::stat(to, &name)?;
        if !meta.is_dir() {
            tree::remove(to, &name)?;
            if meta.is_whiteout() {
                tree::make_whiteout(to, &name)?;
                tree::set_xattr(to, b".", ORIGIN, b"")?;
                continue;
            }
            match linkat(from, name.as_slice(), to, name.as_slice(), AtFlags::empty()) {
                Err(Errno::MLINK) => tree::copy_entry(from, &name, &meta, to, &name)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?,
                other => other?,
            }
            continue;
        }
        // Blocks of blocks: an opaque directory of the upper one hides that of the lower one.
        let is_opaque = tree::xattr(from, &name, OPAQUE)?.is_some();
        let merges = below.is_some_and(|it| it.is_dir()) && !is_opaque;
        if !merges {
            tree::remove(to, &name)?;
            mkdirat(to, name.as_slice(), Mode::from_raw_mode(0o700))?;
        }
        if is_opaque || (below.is_some() && !merges) {
            // What it replaced also hid everything further down.
            tree::set_xattr(to, &name, OPAQUE, b"y")?;
        }
        stack_on(tree::open_dir(from, &name)?.as_fd(), tree::open_dir(to, &name)?.as_fd())?;
        tree::copy_attributes(from, &name, &meta, to, &name)?;
    }
    Ok(())
}
