//! Why a vertex failed.

use super::build::BuildError;
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
    /// A definition that another step made could not be built.
    #[error(transparent)]
    Build(Box<BuildError>),
    /// What the op reads of an input could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A mount of a command selects a path that its tree does not have.
    #[error("`{path}`, which a mount selects, does not exist in the tree that is mounted")]
    Mount {
        /// As the op names it.
        path: String,
    },
    /// The op cannot have a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(Box<StoreError>),
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
            | OpError::Exec(ExecError::Cancelled) => true,
            OpError::Store(error) => matches!(**error, StoreError::Cancelled),
            OpError::File(action) => matches!(action.error, FileError::Cancelled),
            OpError::Source(_)
            | OpError::Exec(_)
            | OpError::Hash(_)
            | OpError::Mount { .. }
            | OpError::Key(_)
            | OpError::Build(_)
            | OpError::Unsupported { .. } => false,
        }
    }
}

impl OpError {
    /// Whether the disk that holds the store is full: with some room, the same may succeed.
    pub fn is_no_space(&self) -> bool {
        match self {
            OpError::Store(error) | OpError::Exec(ExecError::Store(error)) => error.is_no_space(),
            OpError::Exec(ExecError::Exit { no_space, .. }) => *no_space,
            OpError::File(action) => action.error.is_no_space(),
            OpError::Source(error) => error.is_no_space(),
            // What a definition is built of tried again itself.
            OpError::Build(_)
            | OpError::Exec(_)
            | OpError::Hash(_)
            | OpError::Mount { .. }
            | OpError::Key(_)
            | OpError::Unsupported { .. }
            | OpError::Cancelled => false,
        }
    }
}

impl From<StoreError> for OpError {
    fn from(error: StoreError) -> OpError {
        OpError::Store(Box::new(error))
    }
}

impl From<BuildError> for OpError {
    fn from(error: BuildError) -> OpError {
        OpError::Build(Box::new(error))
    }
}
