//! Why a file action failed.

use std::path::PathBuf;

use super::root::shown;
use crate::base::glob::GlobError;
use crate::engine::source::local::LocalError;
use crate::store::StoreError;

/// Why a file action failed. Paths are paths in the tree.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A path that is copied or removed is not there.
    #[error("`{path}` does not exist")]
    NotFound {
        /// As the op names it.
        path: String,
    },
    /// The directory that a copy goes to is not there, and the copy does not make it.
    #[error("the directory `{path}`, which is copied to, does not exist")]
    NoParent {
        /// In the tree that is copied to.
        path: String,
    },
    /// A file is in the place of a directory or the other way round.
    #[error("cannot put {what} at `{}`: there is {there}", path.display())]
    InTheWay {
        /// What should have come there.
        what: &'static str,
        /// What is there.
        there: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The top of a tree cannot be removed.
    #[error("the top directory cannot be removed")]
    RemoveTop,
    /// A pattern is none.
    #[error(transparent)]
    Pattern(#[from] GlobError),
    /// A mode expression is none.
    #[error("`{text}` is not a mode: expected octal digits or clauses as `u+x,go-w`")]
    Mode {
        /// The expression.
        text: String,
    },
    /// A passwd or group file is something else than a small regular file.
    #[error("cannot look up names in `{path}`: {why}")]
    Accounts {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An archive cannot be unpacked.
    #[error("cannot unpack `{path}`: {why}")]
    Unpack {
        /// The archive.
        path: String,
        /// What is wrong with it, or what is missing here.
        why: String,
    },
    /// The op refers to trees in a way that makes no sense.
    #[error("bad file op: {why}")]
    Op {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The disk is full.
    #[error("no space left on the disk that holds the store: cannot {attempt} `{}`", path.display())]
    NoSpace {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {attempt} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A directory of the machine cannot be read as it was looked at.
    #[error(transparent)]
    Local(Box<LocalError>),
    /// The store failed.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl FileError {
    /// The error of `attempt` at a place; a full disk is told apart.
    pub(crate) fn io(attempt: &'static str, place: &[u8], source: std::io::Error) -> FileError {
        let path = shown(place);
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => FileError::NoSpace { attempt, path },
            _ => FileError::Io { attempt, path, source },
        }
    }
}

impl FileError {
    /// Whether the disk that holds the store is full.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            FileError::NoSpace { .. } => true,
            FileError::Store(error) => error.is_no_space(),
            FileError::Local(error) => matches!(&**error, LocalError::Store(error) if error.is_no_space()),
            _ => false,
        }
    }
}

impl From<StoreError> for FileError {
    fn from(error: StoreError) -> FileError {
        FileError::Store(Box::new(error))
    }
}
