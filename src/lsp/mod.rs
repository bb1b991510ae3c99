//! What editors ask of programs: a language server without its wires.
//!
//! [`Server`] takes messages of the Language Server Protocol and gives messages back. It reads files through
//! [`Outside`] only, evaluates nothing and knows nothing of builds; `cli` connects it to stdin and stdout.
//!
//! - [`text`]: documents, positions and edits; [`place`]: URIs and paths.
//! - [`project`]: which program a document belongs to, and what is known of it; [`analysis`]: one program.
//! - [`walk`]: trees around a place; [`describe`]: what is said about a name.
//! - one file per thing that is asked for; [`server`]: which message asks for what.
#![deny(clippy::disallowed_methods)]

mod actions;
mod analysis;
mod complete;
mod describe;
mod diagnose;
mod hints;
mod hover;
mod mend;
mod names;
mod place;
mod project;
mod rename;
mod server;
mod signature;
mod symbols;
mod text;
mod tokens;
mod walk;

use std::path::{Path, PathBuf};

pub use server::Server;

/// What the server sees of the machine it runs on. Paths are absolute.
pub trait Outside {
    /// Text of a file; `Ok(None)`: there is none; the error says why it cannot be read.
    fn read(&self, path: &Path) -> Result<Option<String>, String>;

    /// The `.bkl` files below a folder, in order; hidden folders and what cannot be read are left out.
    fn programs(&self, folder: &Path) -> Vec<PathBuf>;

    /// What the lock file of the program in `folder` pins `reference` to, as `sha256:…`.
    fn pinned(&self, folder: &Path, reference: &str) -> Option<String>;
}
