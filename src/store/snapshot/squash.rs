//! Directories put together by hard links, to be mounted as one; [`stack`](super::stack) says which.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, linkat, mkdirat};
use rustix::io::Errno;

use super::super::error::Context as _;
use super::normalise::{OPAQUE, ORIGIN};
use super::{LayerMeta, Staged, Usage, rows};
use crate::base::stack::deeper;
use crate::store::{LayerId, RecordType, Result, Snapshot, Store, tree};

impl Store {
    /// One layer that stands for the directories of several, bottom first, named by `key`.
    pub(super) fn squash(&self, key: &[u8; 16], dirs: &[LayerId]) -> Result<LayerId> {
        let staged = Staged::new(self)?;
        for &layer in dirs {
            let path = self.layer_fs(layer);
            let dir: OwnedFd = match File::open(&path) {
                Ok(dir) => dir.into(),
                Err(error) => return Err(self.unopened(layer, &path, error)),
            };
            stack_on(dir.as_fd(), staged.fs()).at("squash the layer", &path)?;
            let root = tree::stat_fd(&dir).at("look at", &path)?;
            tree::replace_attributes(&dir, b".", &root, staged.fs(), b".").at("squash the layer", &path)?;
        }
        let description = format!("{} layers squashed", dirs.len());
        let meta = LayerMeta { description, record_type: RecordType::Internal, ..LayerMeta::default() };
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
        rows::set_squashed(&self.inner.database, key, layer, dirs)?;
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
        let (upper, lower) = (tree::open_dir(from, &name)?, tree::open_dir(to, &name)?);
        deeper(|| stack_on(upper.as_fd(), lower.as_fd()))?;
        tree::replace_attributes(from, &name, &meta, to, &name)?;
    }
    Ok(())
}
