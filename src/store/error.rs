//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use super::id::LayerId;
use super::layer::ArchiveError;
use crate::base::Digest;

/// An operation of the store failed; whatever it had begun on disk is removed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system that holds the store (or its quota) is full.
    #[error("no space left: cannot {attempt} `{}`", path.display())]
    NoSpace {
        /// What was being done, as in "cannot .. `path`".
        attempt: &'static str,
        /// What it was done to.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {attempt} `{}`: {source}", path.display())]
    Io {
        /// What was being done, as in "cannot .. `path`".
        attempt: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The metadata database refused.
    #[error("cannot {attempt} in the store's database `{}`: {source}", path.display())]
    Database {
        /// What was being done.
        attempt: &'static str,
        /// The database file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// Something stored is not what was stored.
    #[error("{what} is damaged: {way_out}")]
    Corrupt {
        /// The damaged thing, with its name.
        what: String,
        /// What to do about it.
        way_out: String,
    },
    /// The database is damaged, and cannot be put aside while others use the store.
    #[error("the store's database `{}` is damaged, and another process uses the store", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A layer that is not in the store (dropped after a power cut, or collected).
    #[error("layer `{layer}` is not in the store")]
    NoLayer {
        /// The layer asked for.
        layer: LayerId,
    },
    /// A blob that is not in the store.
    #[error("blob `{digest}` is not in the store")]
    NoBlob {
        /// The blob asked for.
        digest: Digest,
    },
    /// Bytes that do not have the digest they were announced with.
    #[error("{what} has digest `{found}`, expected `{expected}`")]
    Mismatch {
        /// What was read, for people.
        what: &'static str,
        /// The announced digest.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A layer archive that cannot be unpacked, or a stream that ended too early.
    #[error("bad layer: {0}")]
    Archive(#[from] ArchiveError),
    /// A directory that is no store and has things of somebody else in it.
    #[error("`{}` is no store, and cannot become one: other things are in it", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There is none where one is looked for.
    #[error("there is no store in `{}`", path.display())]
    NoStore {
        /// Where it should be.
        path: PathBuf,
    },
    /// A store written by another version.
    #[error("`{}` is not a store of this version (its version is {found}, wanted {wanted})", path.display())]
    Version {
        /// Root of the store.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Version this program writes.
        wanted: i64,
    },
    /// The kernel or file system lacks what the store needs.
    #[error("cannot {attempt} on `{}`: {why}", path.display())]
    Unsupported {
        /// What was being done.
        attempt: &'static str,
        /// Where.
        path: PathBuf,
        /// What is missing, and what helps.
        why: &'static str,
    },
    /// A tree that cannot be kept: no program could name all of it.
    #[error("a path of the tree has more than 4095 bytes: `/{start}…`")]
    LongPath {
        /// How the path begins.
        start: String,
    },
    /// The caller's own cancel signal, seen while waiting.
    #[error("cancelled")]
    Cancelled,
}

impl StoreError {
    /// The error of `attempt` on `path`: a full disk or quota is told apart from everything else.
    pub fn io(attempt: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> StoreError {
        let source = source.into();
        let path = path.as_ref().to_owned();
        if is_no_space(&source) {
            StoreError::NoSpace { attempt, path }
        } else {
            StoreError::Io { attempt, path, source }
        }
    }

    /// Whether the disk is full: freeing some and trying again may help.
    pub fn is_no_space(&self) -> bool {
        matches!(self, StoreError::NoSpace { .. })
    }
}

/// Whether the kernel said that the file system, its inodes or the quota are used up.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Puts the attempt and the path on a bare IO error.
pub(crate) trait Context<T> {
    /// See [`StoreError::io`].
    fn at(self, attempt: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn at(self, attempt: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::io(attempt, path, error))
    }
}
