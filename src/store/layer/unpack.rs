//! From a compressed stream to a committed layer: decompress and hash on one thread, apply on another, then settle what
//! only the tree below can tell.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::apply::{
    Applier, ApplyError, LinkBelow, Unsettled, components, open_plain, refused, set_attributes,
};
use super::{ArchiveError, ArchiveReader, Entry, decompress};
use crate::base::Digest;
use crate::base::digest::DigestWriter;
use crate::store::snapshot::{Origin, Staged};
use crate::store::{LayerId, LayerMeta, Result, Snapshot, Store, StoreError, tree};

/// An archive unpacked, not yet part of a tree. Dropped without commit, it leaves nothing.
pub struct UnpackedLayer {
    staged: Staged,
    diff_id: Digest,
    unsettled: Unsettled,
}

impl Store {
    /// Unpacks a layer archive (plain, gzip or zstd, told by its first bytes) beside the tree it will lie on.
    ///
    /// Needs no parents yet, so the layers of an image unpack in parallel. Reads `archive` to its end.
    pub fn unpack(&self, archive: &mut (dyn Read + Send)) -> Result<UnpackedLayer> {
        let staged = Staged::new(self)?;
        let (unsettled, diff_id) = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel::<io::Result<Vec<u8>>>(8);
            let hasher = scope.spawn(move || {
                let mut hasher = DigestWriter::new(io::sink());
                // A receiver that is gone has failed by itself; nobody asks for the digest then.
                let _ = pump(archive, &mut hasher, &|bytes| sender.send(bytes).is_ok());
                hasher.finish().1
            });
            let mut reader =
                ArchiveReader::new(Chunks { receiver, chunk: Vec::new(), at: 0 }, self.inner.limits);
            let applied = Applier::new(staged.fs()).run(&mut reader);
            let applied = applied.and_then(|it| reader.drain().map(|()| it).map_err(ApplyError::from));
            let diff_id = hasher.join().expect("reading and hashing does not panic");
            applied.map(|it| (it, diff_id))
        })
        .map_err(|error| failure(error, &staged))?;
        Ok(UnpackedLayer { staged, diff_id, unsettled })
    }

    /// [`Store::unpack`] and [`UnpackedLayer::commit`] in one.
    pub fn apply(
        &self,
        parents: &Snapshot,
        archive: &mut (dyn Read + Send),
        expected: &Digest,
        meta: &LayerMeta,
    ) -> Result<LayerId> {
        self.unpack(archive)?.commit(parents, Some(expected), meta)
    }
}

impl UnpackedLayer {
    /// Digest of the uncompressed archive.
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Settles what depends on the tree below and publishes the layer.
    ///
    /// `expected` other than the diff ID is [`StoreError::Mismatch`]. `meta.blob` is the blob it came in, if any.
    pub fn commit(self, parents: &Snapshot, expected: Option<&Digest>, meta: &LayerMeta) -> Result<LayerId> {
        let UnpackedLayer { staged, diff_id, unsettled } = self;
        if let Some(expected) = expected
            && *expected != diff_id
        {
            return Err(StoreError::Mismatch { what: "layer", expected: *expected, found: diff_id });
        }
        staged.store().inherit_root(&staged, parents)?;
        let needs_base = !unsettled.implicit.is_empty() || !unsettled.links.is_empty();
        let base = if needs_base { Some(staged.store().view(parents)?) } else { None };
        if let Some(base) = base {
            settle(staged.fs(), base.as_fd(), &unsettled).map_err(|error| failure(error, &staged))?;
        }
        let usage = staged.normalise(parents, Origin::Overlay)?.usage;
        staged.publish_unpacked(parents, diff_id, usage, meta)
    }
}

fn failure(error: ApplyError, staged: &Staged) -> StoreError {
    match error {
        ApplyError::Archive(error) => StoreError::Archive(error),
        ApplyError::Io(attempt, error) => StoreError::io(attempt, staged.dir(), error),
    }
}

/// Decompresses `archive`, hashes, and hands on piece by piece until the end, an error, or a refusal.
fn pump(
    archive: &mut dyn Read,
    hasher: &mut DigestWriter<io::Sink>,
    send: &dyn Fn(io::Result<Vec<u8>>) -> bool,
) -> io::Result<()> {
    let mut plain = match decompress(archive) {
        Ok(plain) => plain,
        Err(error) => {
            send(Err(error));
            return Ok(());
        }
    };
    loop {
        let mut chunk = vec![0; 128 << 10];
        let n_read = match plain.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                send(Err(error));
                return Ok(());
            }
        };
        chunk.truncate(n_read);
        io::Write::write_all(hasher, &chunk)?;
        if !send(Ok(chunk)) {
            return Ok(());
        }
    }
}

/// What the hashing thread hands on.
struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let n_bytes = buffer.len().min(self.chunk.len() - self.at);
        buffer[..n_bytes].copy_from_slice(&self.chunk[self.at..self.at + n_bytes]);
        self.at += n_bytes;
        Ok(n_bytes)
    }
}

/// Gives directories without an entry the attributes they have in the tree below, and makes the hard links into it.
fn settle(
    layer: BorrowedFd<'_>,
    base: BorrowedFd<'_>,
    unsettled: &Unsettled,
) -> std::result::Result<(), ApplyError> {
    let io = |attempt| move |error: Errno| ApplyError::Io(attempt, error.into());
    let mut copies: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for LinkBelow { path, entry, is_replaced } in &unsettled.links {
        if *is_replaced {
            target_below(base, entry)?;
            continue;
        }
        let (parent, name) = split(path);
        let parent = open_plain(layer, parent).map_err(io("open a directory"))?;
        let before = tree::stat_fd(&parent).map_err(io("look at a directory"))?;
        link_below(layer, base, parent.as_fd(), name, entry, &copies)?;
        tree::set_mtime(&parent, b".", before.mtime).map_err(io("set the time of a directory"))?;
        copies.push((entry.link.clone(), path.clone()));
    }
    for path in &unsettled.implicit {
        let (parent, name) = split(path);
        let parent = match open_plain(layer, parent) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(error) => return Err(io("open a directory")(error)),
        };
        match open_base(base, path) {
            Ok(below) => {
                let meta = tree::stat_fd(&below).map_err(io("look at a directory below"))?;
                tree::copy_attributes(&below, b".", &meta, &parent, name)
            }
            // New: nothing says when it was made, and now would differ from build to build.
            Err(_) => set_mode(&parent, name).and_then(|()| tree::set_mtime(&parent, name, (0, 0))),
        }
        .map_err(io("set the attributes of a directory"))?;
    }
    Ok(())
}

/// The mode of directories nothing says anything about, whatever the umask is.
fn set_mode(parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), rustix::fs::AtFlags::empty())
}

/// Makes a hard link to a file of the tree below: the first one copies it, as overlayfs would.
fn link_below(
    layer: BorrowedFd<'_>,
    base: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    copies: &[(Vec<u8>, Vec<u8>)],
) -> std::result::Result<(), ApplyError> {
    if let Some((_, copy)) = copies.iter().find(|(target, _)| *target == entry.link) {
        let (copy_parent, copy_name) = split(copy);
        let copy_parent = open_plain(layer, copy_parent).map_err(|_| no_target(entry))?;
        rustix::fs::linkat(&copy_parent, copy_name, parent, name, rustix::fs::AtFlags::empty())
            .map_err(|error| ApplyError::Io("make a hard link", error.into()))?;
        return Ok(());
    }
    let (dir, target_name, meta) = target_below(base, entry)?;
    tree::copy_entry(&dir, &target_name, &meta, parent, name)
        .map_err(|error| ApplyError::Io("copy a file of the tree below", error))?;
    let meta = tree::Meta { mode: entry.mode, uid: entry.uid, gid: entry.gid, ..meta };
    set_attributes(parent, name, &meta, entry)
}

/// The file that a hard link leads to: its directory, its name there, and what it is.
fn target_below(
    base: BorrowedFd<'_>,
    entry: &Entry,
) -> std::result::Result<(OwnedFd, Vec<u8>, tree::Meta), ApplyError> {
    let missing = || no_target(entry);
    let target = components(&entry.link).map_err(|why| refused(entry, why))?;
    let (name, parents) = target.split_last().ok_or_else(missing)?;
    let dir = open_base(base, &parents.join(&b'/')).map_err(|_| missing())?;
    let meta = tree::stat(&dir, name).ok().flatten().filter(|it| !it.is_dir()).ok_or_else(missing)?;
    Ok((dir, name.to_vec(), meta))
}

fn no_target(entry: &Entry) -> ApplyError {
    refused(entry, "a hard link to a file that is not there")
}

/// A directory of the tree below, its symlinks followed inside of it.
fn open_base(base: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(base, if path.is_empty() { b"." } else { path }, flags, Mode::empty(), resolve)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|it| *it == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> io::Error {
        io::Error::other(error)
    }
}
