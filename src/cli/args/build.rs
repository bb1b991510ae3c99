//! `bkl build`, `bkl check` and `bkl test`.

use std::path::PathBuf;

use clap::Args;

use super::output::or_default;
use super::{Caches, Commands, Definition, Format, Inputs, Progress, Secrets, Selection};

/// `bkl build`
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) commands: Commands,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) definition: Definition,

    /// Where results go: `dir`, `type=oci|docker|tar|local,dest=PATH`; `-` is stdout. Without it, targets declared
    /// with `-> "dir"` go there and the others stay in the store
    #[arg(short = 'o', long = "output", value_name = "SPEC")]
    pub(crate) output: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) caches: Caches,

    /// How progress is shown
    #[arg(long, value_parser = or_default::<Progress>(), env = "BUILDKIT_PROGRESS", default_value = "auto", hide_env_values = true)]
    pub(crate) progress: Progress,

    /// Show the targets of the program with their types and docs, and build nothing
    #[arg(long, conflicts_with = "llb")]
    pub(crate) list: bool,

    /// Run every step, even when its result is cached
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Run these even when their results are cached: a target is all of its steps, else a step by its name or command
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// Open a shell where a command failed, on this terminal, with its mounts, variables, user and directory; when the
    /// shell is left, the build fails as it would have
    #[arg(long)]
    pub(crate) shell_on_failure: bool,

    /// Commands at once; the number of processors when not given
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,

    /// Write the digests of what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// How errors and lists are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl test`
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The program (default build.bkl), and parts of the names of the tests and examples to run:
    /// `bkl test lib/util.bkl version`; of a file of Markdown, its examples: `bkl test README.md`
    #[arg(value_name = "PROGRAM | NAME")]
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

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) commands: Commands,

    /// Evaluate only: asserted checks are not run
    #[arg(long)]
    pub(crate) no_run: bool,

    /// Only the examples in the docs of the program
    #[arg(long)]
    pub(crate) doc: bool,

    /// How the progress of checks is shown
    #[arg(long, value_enum, env = "BUILDKIT_PROGRESS", default_value = "quiet", hide_env_values = true)]
    pub(crate) progress: Progress,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}
