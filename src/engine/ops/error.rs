//! Why a vertex failed.

use super::exec::ExecError;
use super::file::{FailedAction, FileError};
use crate::engine::content_hash::HashError;
use crate::engine::solver;
use crate::engine::source::SourceError;
use crate::graph::llb::key::KeyError;
use crate::store::StoreError;

/// Why a vertex failed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// A source could not be brought in.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A command failed or could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A file action failed.
    #[error(transparent)]
    File(#[from] FailedAction),
    /// What the op reads of an input could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The op cannot have a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This engine does not do it.
    #[error("this engine does not support {what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl solver::OpError for OpError {
    fn is_cancelled(&self) -> bool {
        match self {
            OpError::Cancelled
            | OpError::Source(SourceError::Cancelled)
            | OpError::Exec(ExecError::Cancelled)
            | OpError::Store(StoreError::Cancelled) => true,
            OpError::File(action) => matches!(action.error, FileError::Cancelled),
            OpError::Source(_)
            | OpError::Exec(_)
            | OpError::Hash(_)
            | OpError::Key(_)
            | OpError::Store(_)
            | OpError::Unsupported { .. } => false,
        }
    }
}
