//! The command line: what is accepted, and what each word means.
//!
//! Here are the verbs; their arguments stand in files by subject. `program`, `commands` and `output` have what several
//! verbs share.

mod build;
mod commands;
mod editor;
mod lock;
mod lower;
mod output;
mod program;
mod store;
mod texts;

use clap::{Parser, Subcommand};

pub(crate) use build::{Build, Check, Test};
pub(crate) use commands::{Caches, Commands, Secrets};
pub(crate) use editor::{Completions, Lsp, Man, Shell};
pub(crate) use lock::{Lock, Update};
pub(crate) use lower::{Emit, Graph, GraphFormat, Lower};
pub(crate) use output::{Format, Progress};
pub(crate) use program::{Definition, Inputs, Selection};
pub(crate) use store::{Du, Log, Prune, Why};
pub(crate) use texts::{Doc, DocFormat, Explain, Fmt, Init};

/// A typed, declarative language for container builds, with its own solver.
#[derive(Debug, Parser)]
#[command(name = "bkl", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Start with `bkl build --list`, which shows what the program in build.bkl can build.")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build targets of a program, on this machine and without a daemon
    Build(Box<Build>),
    /// Parse and type-check a program; nothing is built and nothing is fetched
    Check(Check),
    /// Run the tests of a program and the examples in its docs; asserted checks run as steps of a build
    Test(Test),
    /// Show what would be built: LLB for buildctl, JSON, or a graph for Graphviz
    Lower(Lower),
    /// Draw what would be built: steps, what they use, targets; as Mermaid, DOT, SVG or a page of HTML
    Graph(Graph),
    /// Pin everything that the program refers to and bkl.lock does not have yet; nothing is built
    Lock(Lock),
    /// Look what pinned references mean now, and pin that
    Update(Update),
    /// Put programs into the one layout; comments stay, and nothing but the layout changes
    Fmt(Fmt),
    /// Say what a diagnostic's code means, with a wrong and a right program; without a code, list them
    Explain(Explain),
    /// Print the reference of a module: its types, functions, parameters and targets with their docs
    Doc(Doc),
    /// Say why a step runs: the first thing that is not as it was when it last ran
    Why(Why),
    /// Show the whole output of a step, also of one whose result is cached; without a step, list what is kept
    Log(Log),
    /// Show what the store holds, and what each thing takes
    Du(Du),
    /// Remove what no build uses just now from the store, and say what was gained
    Prune(Prune),
    /// Write a first build.bkl, for what the folder holds (Go, Rust, Node, Python), and a .bklignore
    Init(Init),
    /// Serve an editor: the Language Server Protocol on stdin and stdout
    Lsp(Lsp),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
}
