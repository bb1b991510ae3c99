//! Copies out of a directory of the machine: each file is copied once, from where it lies, and what was copied before
//! is brought up to date with what differs.
//!
//! An earlier result of the same copy onto the same tree (the input of the op, and what its actions before the copy make
//! of it) becomes the one that copying everything now would give, by
//! copying only what differs between the two states of the directory onto it, if all of this holds (else everything is
//! copied):
//!
//! - What differs is known: the directory's memory reaches back to the state that was copied. In it no path has become
//!   of another kind since, so a directory copied then is one now, and nothing has to make way for another kind.
//! - `src` is no pattern, leads to the same place, and there is a directory. Then where the files go depends only on the
//!   op and the tree below, which are the same.
//! - None of the files that differ is, or was, one of several names of a file: those are found while copying, and only
//!   among what is copied.
//! - What is gone was selected (there are no patterns, which would have to be asked about what is no more, and might keep
//!   a directory alive), and the tree below has nothing at its place, which would show again.
//! - The earlier layer can be built upon ([`Store::stage_part`]).
//!
//! Directories on the way to what differs are copied again, so their times and attributes are today's. That they are
//! there already counts only where the tree below has them ([`Copy::before`](super::copy::Copy)).

use super::copy::{Copy, Match};
use super::error::FileError;
use super::root::{Owner, Root, join};
use crate::base::{Digest, glob, path};
use crate::engine::cancel::Cancel;
use crate::engine::source::local::{LocalError, LocalTree, Moment, ScannedFiles};
use crate::graph::ir::FileCopy;
use crate::store::{ActiveLayer, LayerId, LayerMeta, RecordType, Snapshot, Store, StoreError, Table};

/// More files than this are copied anew if they are half of all.
const FEW: usize = 64;

/// A copy out of a directory of the machine onto a tree.
pub(super) struct LocalCopy<'a> {
    pub(super) store: &'a Store,
    pub(super) op: &'a FileCopy,
    pub(super) local: &'a LocalTree,
    pub(super) base: &'a Snapshot,
    /// What is done in the same layer before it. It does not depend on the directory.
    pub(super) prepare: Option<Prepare<'a>>,
    /// Names the op and everything it works on but the state of the directory.
    pub(super) key: Digest,
    pub(super) owner: Option<Owner>,
    /// What is said about the layer.
    pub(super) description: &'a str,
    /// What the layer is of.
    pub(super) record_type: RecordType,
    /// Whether earlier results are used.
    pub(super) reuse: Reuse,
    pub(super) cancel: &'a Cancel,
}

/// Whether a copy may be made of what an earlier one gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::ops) enum Reuse {
    Earlier,
    Nothing,
}

/// Actions on a tree.
pub(super) type Prepare<'a> = &'a dyn Fn(&Root) -> Result<(), FileError>;

/// What is kept of a copy.
struct Earlier {
    moment: Moment,
    layer: LayerId,
    copied: Match,
}

impl LocalCopy<'_> {
    pub(super) fn run(&self) -> Result<Snapshot, FileError> {
        let key = [b"copy:", self.key.as_bytes().as_slice()].concat();
        let earlier = match self.reuse {
            Reuse::Earlier => self.store.get_value(Table::LocalFiles, &key).ok().flatten(),
            Reuse::Nothing => None,
        };
        if let Some(earlier) = earlier.and_then(|bytes| Earlier::decode(&bytes)) {
            match self.update(&earlier) {
                Ok(Some(layer)) => {
                    if layer != earlier.layer {
                        self.keep(&key, layer, earlier.copied);
                    }
                    return Ok(self.base.with(layer));
                }
                Err(FileError::Cancelled) => return Err(FileError::Cancelled),
                // What cannot be brought up to date says why when all of it is copied.
                Ok(None) | Err(_) => {}
            }
        }
        let layer = self.store.stage(self.base)?;
        let to = Root::new(layer.open()?);
        self.prepare(&to)?;
        let files = ScannedFiles::new(self.local)?;
        let mut copied = self.copy(&files, &to, None).run()?;
        drop(to);
        let layer = self.commit(layer)?;
        if let (Some(copied), true) = (copied.pop(), copied.is_empty()) {
            self.keep(&key, layer, copied);
        }
        Ok(self.base.with(layer))
    }

    /// The earlier layer brought up to date; `None` when it cannot be.
    fn update(&self, earlier: &Earlier) -> Result<Option<LayerId>, FileError> {
        let Some(since) = self.local.since(&earlier.moment) else { return Ok(None) };
        if !self.store.check(&self.base.with(earlier.layer)) {
            return Ok(None);
        }
        if since.changed.is_empty() && since.gone.is_empty() {
            self.store.used_layer(earlier.layer);
            return Ok(Some(earlier.layer));
        }
        let has_patterns = !self.op.include_patterns.is_empty() || !self.op.exclude_patterns.is_empty();
        let n_differing = since.changed.len() + since.gone.len();
        if since.links
            || has_patterns && !since.gone.is_empty()
            || FEW < n_differing && self.local.n_files() < 2 * n_differing
        {
            return Ok(None);
        }
        let mut files = ScannedFiles::new(self.local)?;
        if !self.leads_to(&files, &earlier.copied)? {
            return Ok(None);
        }
        let Some(layer) = self.store.stage_part(earlier.layer)? else { return Ok(None) };
        // The layer in which things are prepared is only looked at.
        let (_prepared, before) = match self.prepare {
            None => (None, Root::new(self.store.read(self.base)?)),
            Some(_) => {
                let layer = self.store.stage(self.base)?;
                let root = Root::new(layer.open()?);
                self.prepare(&root)?;
                (Some(layer), root)
            }
        };
        let to = Root::new(layer.open()?);
        let mut removed: Option<&[u8]> = None;
        for &gone in &since.gone {
            let is_below = |top: &[u8]| gone.strip_prefix(top).is_some_and(|it| it.starts_with(b"/"));
            let place = join(b"", gone);
            let Some(rest) = place.strip_prefix(earlier.copied.source.as_slice()) else { continue };
            if !rest.starts_with(b"/") || removed.is_some_and(is_below) {
                continue;
            }
            let target = [earlier.copied.target.as_slice(), rest].concat();
            if before.stat(&target)?.is_some() {
                return Ok(None);
            }
            to.remove_all(&target)?;
            removed = Some(gone);
        }
        files.limit(&since.changed, &since.gone);
        self.copy(&files, &to, Some(&before)).update(&earlier.copied)?;
        drop(to);
        Ok(Some(self.commit(layer)?))
    }

    /// Whether `src` is what was copied earlier, a directory.
    fn leads_to(&self, files: &ScannedFiles<'_>, copied: &Match) -> Result<bool, FileError> {
        use super::files::Files as _;
        let src = path::clean(&format!("/{}", self.op.src));
        if self.op.allow_wildcard && !glob::split_wildcard(&src).1.is_empty() {
            return Ok(false);
        }
        let to = Root::new(self.store.read(&Snapshot::scratch())?);
        let source = self.copy(files, &to, None).resolve(src.as_bytes())?;
        Ok(source == copied.source && files.look(&source)?.is_some_and(|it| it.is_dir()))
    }

    fn copy<'c>(&'c self, from: &'c ScannedFiles<'c>, to: &'c Root, before: Option<&'c Root>) -> Copy<'c> {
        Copy { op: self.op, from, to, before, owner: self.owner, cancel: self.cancel }
    }

    fn prepare(&self, root: &Root) -> Result<(), FileError> {
        self.prepare.map_or(Ok(()), |prepare| prepare(root))
    }

    fn commit(&self, layer: ActiveLayer) -> Result<LayerId, StoreError> {
        let (description, record_type) = (self.description.to_owned(), self.record_type);
        layer.commit(&LayerMeta { description, record_type, ..LayerMeta::default() })
    }

    /// Without it the next copy is a whole one.
    fn keep(&self, key: &[u8], layer: LayerId, copied: Match) {
        let kept = Earlier { moment: self.local.moment(), layer, copied };
        let _ = self.store.put_value(Table::LocalFiles, key, &kept.encode());
    }
}

impl Earlier {
    fn encode(&self) -> Vec<u8> {
        let Match { source, target, is_new } = &self.copied;
        let mut out = self.moment.to_bytes();
        out.push(u8::from(*is_new));
        out.extend_from_slice(self.layer.as_bytes());
        out.extend_from_slice(&(source.len() as u32).to_le_bytes());
        out.extend_from_slice(source);
        out.extend_from_slice(target);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Earlier> {
        let (moment, rest) = bytes.split_first_chunk::<{ Moment::LENGTH }>()?;
        let (is_new, rest) = rest.split_first()?;
        let (layer, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (source, target) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Earlier {
            moment: Moment::from_bytes(moment),
            layer: LayerId::from_bytes(*layer),
            copied: Match { source: source.to_vec(), target: target.to_vec(), is_new: *is_new != 0 },
        })
    }
}

/// The tree of a directory of the machine: all of it, copied to the top of nothing.
pub(crate) fn local_tree(store: &Store, local: &LocalTree, cancel: &Cancel) -> Result<Snapshot, LocalError> {
    let op = FileCopy {
        src: "/".to_owned(),
        dest: "/".to_owned(),
        dir_copy_contents: true,
        create_dest_path: true,
        ..FileCopy::default()
    };
    let copy = LocalCopy {
        store,
        op: &op,
        local,
        base: &Snapshot::scratch(),
        prepare: None,
        key: Digest::of(format!("tree {}", local.id())),
        owner: None,
        description: &format!("local {}", local.dir().display()),
        record_type: RecordType::SourceLocal,
        reuse: Reuse::Earlier,
        cancel,
    };
    copy.run().map_err(|error| match error {
        FileError::Local(error) => *error,
        FileError::Cancelled => LocalError::Cancelled,
        FileError::Store(error) => LocalError::Store(*error),
        // A path in the tree, which is in the store.
        FileError::NoSpace { attempt, path } => {
            let path = path.strip_prefix("/").map_or_else(|_| path.clone(), Into::into);
            LocalError::Store(StoreError::NoSpace { attempt, path })
        }
        FileError::Io { attempt, path, source } => {
            LocalError::Store(StoreError::Io { attempt, path, source })
        }
        error => LocalError::Store(StoreError::io("copy", local.dir(), std::io::Error::other(error))),
    })
}

#[cfg(test)]
mod tests;
