//! Looking at a command that failed: a shell where it ran.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::base::Digest;
use crate::engine::cancel::{Cancel, Hold};
use crate::engine::exec::{ExitStatus, RunError};

/// A command that failed, as it is told to who may look at it.
#[derive(Debug, Clone)]
pub struct FailedCommand {
    /// Digest of the marshalled op.
    pub vertex: Digest,
    /// For people.
    pub name: String,
    /// What ran.
    pub args: Vec<String>,
    /// How it ended.
    pub status: ExitStatus,
    /// Its directory; empty is `/`.
    pub cwd: String,
    /// Its user; empty is root.
    pub user: String,
    /// The program that would be run to look around.
    pub shell: String,
}

/// What a shell is run on.
#[derive(Debug)]
pub struct Terminal {
    /// The end that programs use.
    pub end: OwnedFd,
    /// What kind it is: `TERM`.
    pub kind: Option<String>,
}

/// Who may look at commands that failed. Called where it may block.
pub trait Inspector: Send + Sync {
    /// A terminal to run the shell on. `None` leaves the command alone.
    fn begin(&self, failed: &FailedCommand) -> Option<Terminal>;

    /// The shell has ended, or could not be run.
    fn end(&self, failed: &FailedCommand, result: &Result<ExitStatus, RunError>);
}

/// What a failed command is looked at with.
#[derive(Clone, Copy)]
pub(super) struct Looking<'a> {
    pub(super) inspector: &'a Arc<dyn Inspector>,
    /// Lets the build begin nothing meanwhile.
    pub(super) hold: &'a Hold,
    /// Ends it. The build's other failures do not.
    pub(super) cancel: &'a Cancel,
}

/// The shell of a failed command: the one that ran it, else the usual one.
pub(super) fn shell_of(args: &[String]) -> String {
    match args {
        [shell, options @ .., _] if options.last().is_some_and(|it| it == "-c") => shell.clone(),
        _ => "/bin/sh".to_owned(),
    }
}
