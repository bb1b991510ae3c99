//! `bkl lower` and `bkl graph`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Format, Inputs, Secrets, Selection};

/// What `bkl lower` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// A pb.Definition, for `buildctl build`
    Llb,
    /// The definition as JSON, in the shape of protobuf's JSON mapping
    Json,
    /// The graph, for Graphviz
    Dot,
    /// The image config, for the exporter attribute containerimage.config
    Config,
    /// The command lines that build each target with BuildKit, its config and what it asks of the client included
    Buildctl,
}

/// `bkl lower`
#[derive(Debug, Args)]
pub(crate) struct Lower {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// What to print
    #[arg(long, value_enum, default_value = "llb")]
    pub(crate) emit: Emit,

    /// 0: op for op what BuildKit's Go client writes; 1: after the passes
    #[arg(short = 'O', value_name = "LEVEL", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) level: u8,

    /// Of images for several platforms, only the one for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) only: Option<String>,

    /// The daemon that will build it: `buildkit-v0.12`, or a file with a capability per line. What it cannot do is
    /// replaced where there is a way, and refused otherwise
    #[arg(long, value_name = "buildkit-vX.Y | FILE")]
    pub(crate) caps: Option<String>,

    /// The value of local.unique, instead of a random one
    #[arg(long, value_name = "ID")]
    pub(crate) unique: Option<String>,

    /// Print what the passes did to stderr; -O0 has none
    #[arg(long)]
    pub(crate) stats: bool,

    /// Write here instead of stdout; into a folder, a file per target and platform. The commands of `--emit buildctl`
    /// are printed in any case, and take the definitions from that folder
    #[arg(short = 'o', long = "output", value_name = "FILE | DIR/")]
    pub(crate) output: Option<PathBuf>,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// What `bkl graph` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// For Markdown, as on GitHub
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
    /// One page to walk about in, with what each step is; needs no other file and no network
    Html,
}

/// `bkl graph`
#[derive(Debug, Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// Draw a pb.Definition in the place of a program; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "words", "file", "params", "platform", "lock", "locked", "images",
    ])]
    pub(crate) llb: Option<PathBuf>,

    /// What to write; when not given, what the name of the file says (.mmd, .dot, .svg, .html), else mermaid
    #[arg(long, value_enum)]
    pub(crate) format: Option<GraphFormat>,

    /// 0: the steps as the program makes them; 1: after the passes, as they are built
    #[arg(short = 'O', value_name = "LEVEL", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) level: u8,

    /// Write here instead of stdout
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
