//! The texts of programs and about them: `bkl fmt`, `bkl explain`, `bkl doc` and `bkl init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Format;

/// `bkl fmt`
#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// Programs, and folders whose .bkl files are meant; build.bkl when not given
    #[arg(value_name = "FILE | FOLDER")]
    pub(crate) files: Vec<PathBuf>,

    /// Change nothing: name the files that are not formatted, and fail if there are some
    #[arg(long)]
    pub(crate) check: bool,

    /// Read a program from stdin and print it
    #[arg(long, conflicts_with = "files")]
    pub(crate) stdin: bool,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A code as diagnostics print it: `bkl::type_mismatch`, or `type_mismatch`
    pub(crate) code: Option<String>,
}

/// What `bkl doc` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocFormat {
    /// Markdown
    Markdown,
    /// One page of HTML that needs no other file
    Html,
}

/// `bkl doc`
#[derive(Debug, Args)]
pub(crate) struct Doc {
    /// A program, a module of the library (`std/go`), or all of it (`std`: an index, and with -o every page); build.bkl
    /// when not given
    #[arg(value_name = "PROGRAM | std | std/NAME")]
    pub(crate) module: Option<String>,

    /// What to write
    #[arg(long, value_enum, default_value = "markdown")]
    pub(crate) format: DocFormat,

    /// Write a file into this folder instead of printing
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// `bkl init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where to; the current folder when not given
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub(crate) folder: PathBuf,
}
