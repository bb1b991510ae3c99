//! Why a command could not be run at all.

use std::path::PathBuf;

use thiserror::Error;

/// Why a command could not be run at all; how a command that ran ended is an [`ExitStatus`](super::ExitStatus).
#[derive(Debug, Error)]
pub enum RunError {
    /// The machine lacks something that running commands needs.
    #[error("this machine cannot run commands: {what}")]
    Environment {
        /// What is missing.
        what: String,
        /// The way out.
        help: String,
    },
    /// What the op asks for cannot be set up in its tree.
    #[error("cannot set up the command: {what}")]
    Step {
        /// What is wrong with the op or the tree.
        what: String,
    },
    /// A system call of ours on the host failed.
    #[error("cannot {attempt} `{}`", .path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        #[source]
        #[allow(missing_docs, reason = "why")]
        source: std::io::Error,
    },
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
    /// A bug of ours.
    #[error("bug in running a command, please report it: {what}")]
    Bug {
        /// What was seen.
        what: String,
    },
}

impl RunError {
    /// The way out, where there is one.
    pub fn help(&self) -> Option<&str> {
        match self {
            RunError::Environment { help, .. } => Some(help),
            RunError::Step { .. } | RunError::Io { .. } | RunError::Cancelled | RunError::Bug { .. } => None,
        }
    }
}
