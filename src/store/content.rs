//! Blobs: files named by their digest, hashed while they are written, published by rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::OptionalExtension as _;

use super::error::Context as _;
use super::lease::{try_lease, wait};
use super::pins::COARSE;
use super::{Inner, Result, StoreError, Usage};
use crate::base::Digest;
use crate::base::digest::DigestWriter;

/// The blobs of a store; a cheap clone.
#[derive(Clone)]
pub struct ContentStore {
    pub(super) inner: Arc<Inner>,
}

impl ContentStore {
    /// Whether the blob is there with the size it had.
    pub fn has(&self, digest: &Digest) -> bool {
        matches!(self.size(digest), Ok(Some(_)))
    }

    /// Size of the blob in bytes; `None` when it is not there (or not with the size it had: then it is dropped).
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        // Said before it is looked at: see `gc`.
        let is_new = self.inner.pins.announce_blob(&self.inner.owner, digest)?;
        let recorded = self.inner.database.with("read a blob's row", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT size, doomed FROM blobs WHERE digest = ?1")?;
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?));
            statement.query_row([digest.as_bytes()], read).optional()
        })?;
        let recorded = match recorded {
            Some((size, doomed)) if doomed.is_none() || !is_new => size,
            Some(_) | None => return Ok(None),
        };
        let path = self.path(digest);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && i64::try_from(found.len()) == Ok(recorded) => {
                if is_new {
                    self.inner.pins.hold_blob(digest);
                    touch(&path, &found);
                }
                Ok(Some(found.len()))
            }
            Ok(_) => self.forget(digest).map(|()| None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("look at", path, error)),
        }
    }

    /// The blob's path; it may not exist.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        blob_path(&self.inner.root, digest)
    }

    /// Opens the blob for reading; `Err(NoBlob)` when it is not there.
    pub fn open(&self, digest: &Digest) -> Result<File> {
        if self.size(digest)?.is_none() {
            return Err(StoreError::NoBlob { digest: *digest });
        }
        let path = self.path(digest);
        File::open(&path).at("open", path)
    }

    /// The blob's bytes, its digest checked: a damaged blob is removed and reported as [`StoreError::Corrupt`].
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(digest)?.read_to_end(&mut bytes).at("read", self.path(digest))?;
        if Digest::of(&bytes) != *digest {
            self.forget(digest)?;
            return Err(damaged(digest));
        }
        Ok(bytes)
    }

    /// Reads the blob through and checks its digest, removing it when damaged.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let mut hasher = DigestWriter::new(io::sink());
        io::copy(&mut self.open(digest)?, &mut hasher).at("read", self.path(digest))?;
        let (_, found, _) = hasher.finish();
        if found != *digest {
            self.forget(digest)?;
            return Err(damaged(digest));
        }
        Ok(())
    }

    /// Starts writing a blob.
    pub fn ingest(&self) -> Result<Ingest> {
        let path = self.inner.owner.new_ingest();
        let file = OpenOptions::new().write(true).create_new(true).open(&path).at("create", &path)?;
        Ok(Ingest {
            content: self.clone(),
            path: Some(path),
            writer: Some(DigestWriter::new(file)),
            n_bytes: 0,
        })
    }

    /// Stores `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.has(&digest) {
            return Ok(digest);
        }
        let mut ingest = self.ingest()?;
        ingest.write_all(bytes).map_err(|error| ingest.error(error))?;
        ingest.commit(Some(&digest))
    }

    /// Removes the blob if it is there.
    pub fn forget(&self, digest: &Digest) -> Result<()> {
        remove_file(&self.path(digest))?;
        self.inner.database.with("drop a blob's row", |connection| {
            connection.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([digest.as_bytes()])
        })?;
        Ok(())
    }
}

/// The error of a blob whose bytes are not its digest's.
pub(super) fn damaged(digest: &Digest) -> StoreError {
    StoreError::Corrupt {
        what: format!("blob `{digest}`"),
        way_out: "it was removed and will be fetched or made again".to_owned(),
    }
}

/// A blob being written: hashes what passes. Dropped without commit, it leaves nothing.
pub struct Ingest {
    content: ContentStore,
    /// `None` once published.
    path: Option<PathBuf>,
    /// `None` once published.
    writer: Option<DigestWriter<File>>,
    n_bytes: u64,
}

impl Ingest {
    /// Bytes written so far.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// An IO error of writing to this blob as the store's own: a full disk is told apart.
    pub fn error(&self, error: io::Error) -> StoreError {
        StoreError::io("write", self.path.as_deref().unwrap_or(Path::new("")), error)
    }

    /// Publishes the blob. A digest other than `expected` is [`StoreError::Mismatch`] and removes the bytes.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<Digest> {
        let (writer, path) = self.writer.take().zip(self.path.clone()).expect("only commit takes the writer");
        let (file, digest, n_bytes) = writer.finish();
        drop(file);
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(StoreError::Mismatch { what: "blob", expected: *expected, found: digest });
        }
        let inner = &self.content.inner;
        let target = blob_path(&inner.root, &digest);
        // A file of this name may just be on its way out (`gc`).
        let _lease = wait(&|| false, || try_lease(&inner.root, &blob_key(&digest)))?;
        inner.pins.announce_new_blob(&inner.owner, &digest)?;
        // Over an older file of this name: the bytes are the same, or the older ones are damaged.
        fs::rename(&path, &target).at("publish", &target)?;
        self.path = None;
        inner.database.with("add a blob's row", |connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO blobs(digest, size, boot) VALUES(?1, ?2, ?3)")?
                .execute((digest.as_bytes(), n_bytes.cast_signed(), &inner.boot_id))
        })?;
        inner.watermark.raise();
        inner.pins.hold_blob(&digest);
        inner.grown.add(Usage { bytes: n_bytes, inodes: 1 });
        Ok(digest)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What stays is swept when a store is opened after this process.
            let _ = fs::remove_file(path);
        }
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let writer = self.writer.as_mut().expect("only commit takes the writer");
        let n_written = writer.write(bytes)?;
        self.n_bytes += n_written as u64;
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Names the lease under which a blob is put into its place, or removed.
pub(super) fn blob_key(digest: &Digest) -> Digest {
    Digest::of(format!("blob {digest}"))
}

/// Lets the file's time tell of this use, to the hour.
pub(super) fn touch(path: &Path, found: &fs::Metadata) {
    let now = SystemTime::now();
    let is_recent = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < COARSE);
    if !found.modified().is_ok_and(is_recent) {
        // Without, it seems to be older than it is.
        let _ = File::open(path).and_then(|file| file.set_modified(now));
    }
}

/// Path of a blob in the store at `root`.
pub(super) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("content/sha256").join(digest.hex())
}

/// Removes a file; a missing one is fine.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
