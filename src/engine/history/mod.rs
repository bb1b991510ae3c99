//! What ran before, and why a step has to run again.
//!
//! - [`manifest`]: what a run was made of, as it is kept in the store.
//! - [`record`]: keeps the runs of a build.
//! - [`differ`]: the first difference between two runs of a step; a pure function.
//! - [`files`]: the first difference between two states of a directory, as far as a step reads it.
//! - [`nearest`]: which of the kept runs is the nearest earlier one of a step.
//! - [`why`]: all of it together.
//!
//! A run is named by the content key of its vertex (`solver::Account::run`); its log has the same name. A source has a
//! run, too: what it stood for when a step that uses it ran.

pub mod differ;
pub mod files;
pub mod manifest;
pub mod nearest;
pub mod record;
pub mod why;

pub use differ::{Change, Subject};
pub use manifest::{Forced, Manifest};
pub use why::{Because, Reason, When, Why};

/// Names the program at `path` in the history: the file's absolute path.
pub fn program(path: &std::path::Path) -> crate::base::Digest {
    crate::base::Digest::of(format!("bkl.program.v1:{}", path.display()))
}
