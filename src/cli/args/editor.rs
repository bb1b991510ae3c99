//! What editors, shells and `man` are served: `bkl lsp`, `bkl completions` and `bkl man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `bkl lsp`
#[derive(Debug, Args)]
pub(crate) struct Lsp {
    /// Taken because editors add it; stdin and stdout are all there is
    #[arg(long, hide = true)]
    pub(crate) stdio: bool,
}

/// `bkl completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Shells there are completion scripts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// `bkl man`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to write bkl.1, bkl-build.1 and so on into; it is made when missing
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    pub(crate) output: PathBuf,
}
