//! `bkl graph`: draws what would be built.

use std::fs;
use std::path::Path;

use crate::base::Report;
use crate::cli::Failure;
use crate::cli::args::{self, Format, GraphFormat};
use crate::cli::definition::{self, Definition};
use crate::cli::lower::write_stdout;
use crate::cli::lowered::{self, lower};
use crate::cli::program::io_reason;
use crate::cli::session::Given;
use crate::graph::ir::Output;
use crate::graph::llb::MarshalOptions;
use crate::graph::view::{View, dot, html, mermaid, svg};

/// Runs the verb.
pub(super) fn run(args: &args::Graph) -> Result<(), Failure> {
    let format = format(args.format, args.output.as_deref())?;
    let given = Given::read(&args.secrets)?;
    let (graph, outputs, roots) = match &args.llb {
        Some(file) => {
            let Definition { graph, outputs, roots, .. } = definition::read(file)?;
            (graph, outputs, roots)
        }
        None => {
            let lowered = lower(&args.selection, &args.inputs, given, args.level, Format::Human)?;
            (lowered.graph, lowered.outputs, lowered.roots)
        }
    };
    let options =
        MarshalOptions { platform: Some(lowered::platform(&args.inputs)), ..MarshalOptions::default() };
    let view = View::new(&graph, &outputs, &roots, &options);
    let text = match format {
        GraphFormat::Mermaid => mermaid::mermaid(&view),
        GraphFormat::Dot => dot::dot(&view),
        GraphFormat::Svg => svg::svg(&view),
        GraphFormat::Html => html::page(&view, &title(&outputs)),
    };
    match args.output.as_deref() {
        None => write_stdout(text.as_bytes()),
        Some(path) if path == Path::new("-") => write_stdout(text.as_bytes()),
        Some(path) => fs::write(path, text).map_err(|error| {
            let reason = io_reason(&error);
            Report::error("bkl::output", format!("cannot write `{}`: {reason}", path.display())).into()
        }),
    }
}

/// What was asked for, else what the file's name says, else Mermaid, which is text that people can read.
fn format(asked: Option<GraphFormat>, output: Option<&Path>) -> Result<GraphFormat, Report> {
    if let Some(format) = asked {
        return Ok(format);
    }
    let Some(path) = output.filter(|path| *path != Path::new("-")) else { return Ok(GraphFormat::Mermaid) };
    match path.extension().and_then(|it| it.to_str()) {
        Some("mmd" | "mermaid") => Ok(GraphFormat::Mermaid),
        Some("dot" | "gv") => Ok(GraphFormat::Dot),
        Some("svg") => Ok(GraphFormat::Svg),
        Some("html" | "htm") => Ok(GraphFormat::Html),
        _ => {
            let message = format!("the name `{}` does not say what to draw", path.display());
            Err(Report::error("bkl::usage", message)
                .help("end it in .mmd, .dot, .svg or .html, or say `--format`"))
        }
    }
}

/// The names of the targets, as far as a title has room for them.
fn title(outputs: &[Output]) -> String {
    const MAX: usize = 4;
    let names: Vec<&str> = outputs.iter().take(MAX).map(|output| output.name.as_str()).collect();
    match outputs.len().saturating_sub(MAX) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
