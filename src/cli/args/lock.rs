//! `bkl lock` and `bkl update`.

use std::path::PathBuf;

use clap::Args;

use super::{Format, Inputs, Secrets};

/// `bkl lock`
#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// The program (default build.bkl)
    #[arg(value_name = "PROGRAM")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// How errors and what was pinned are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl update`
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The program (default build.bkl), and what to look at: an image, a URL, or a URL and a branch, as in
    /// `bkl update debian:bookworm https://example.com/x.git#main`; all when not given
    #[arg(value_name = "PROGRAM | REFERENCE")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// Change nothing: say what is newer, and fail if something is
    #[arg(long)]
    pub(crate) check: bool,

    /// Remove what the program no longer refers to, with these parameters and platforms
    #[arg(long, conflicts_with = "check")]
    pub(crate) prune: bool,

    /// How errors and what has changed are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}
