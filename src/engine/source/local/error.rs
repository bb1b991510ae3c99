//! Why a local directory cannot be used.

use std::path::{Path, PathBuf};

use crate::base::glob::GlobError;
use crate::store::StoreError;

/// Why a local directory cannot be used. Paths are those of the machine.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The session knows no directory of this name.
    #[error("the local directory `{name}` is not given to this build")]
    NotGiven {
        /// The name.
        name: String,
    },
    /// The directory does not exist.
    #[error("the local directory `{}` does not exist", path.display())]
    Missing {
        /// Its name in the build.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// Something else is in its place.
    #[error("`{}` is not a directory", path.display())]
    NotADirectory {
        /// Its name in the build.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// An attribute of the source says nothing that can be understood.
    #[error("the local directory `{name}` has `{key}` as `{value}`, which says nothing")]
    Attribute {
        /// The directory's name.
        name: String,
        /// Of the attribute.
        key: &'static str,
        /// As written.
        value: String,
    },
    /// A pattern of the source is none.
    #[error("the local directory `{name}` has a bad pattern: {source}")]
    Pattern {
        /// Its name in the build.
        name: String,
        /// What is wrong with it.
        #[source]
        source: GlobError,
    },
    /// A file or directory cannot be read.
    #[error("cannot {attempt} `{}`: {source}", path.display())]
    Unreadable {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file was removed or replaced between being seen and being read.
    #[error("`{}` vanished during the build", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// A file was written to between being seen and being read.
    #[error("`{}` changed during the build", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The tree cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl LocalError {
    /// The way out, where there is one.
    pub fn help(&self) -> Option<String> {
        match self {
            LocalError::NotGiven { name } => Some(format!("give it with `--local {name}=DIR`")),
            LocalError::Missing { .. } | LocalError::NotADirectory { .. } => {
                Some("paths of local directories are relative to the program's folder".to_owned())
            }
            LocalError::Unreadable { .. } => {
                Some("make it readable, or leave it out with an exclude pattern or in .bklignore".to_owned())
            }
            LocalError::Vanished { .. } | LocalError::Changed { .. } => Some(
                "files are looked at when the build starts, and copied when their step's turn comes: build again, what \
                 ran is kept; leave out what is always being written with an exclude pattern or in .bklignore"
                    .to_owned(),
            ),
            LocalError::Attribute { .. } | LocalError::Pattern { .. } | LocalError::Store(_) | LocalError::Cancelled => None,
        }
    }

    /// The error of `attempt` on a file that was seen before.
    pub(super) fn read(attempt: &'static str, path: &Path, source: impl Into<std::io::Error>) -> LocalError {
        let (source, path) = (source.into(), path.to_owned());
        match source.raw_os_error() {
            // A component was replaced by a link or by something else.
            Some(libc::ENOENT | libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::ESTALE) => {
                LocalError::Vanished { path }
            }
            _ => LocalError::Unreadable { attempt, path, source },
        }
    }
}
