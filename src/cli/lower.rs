//! `bkl lower`: shows what would be built.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use crate::base::{Platform, Report};
use crate::cli::args::{Emit, Lower};
use crate::cli::build::trees;
use crate::cli::resolver::Resolver;
use crate::cli::session::{Given, LocalSession};
use crate::cli::{Failure, print_reports, program};
use crate::graph::ir::{self, Graph, Output, OutputKind, Tree};
use crate::graph::{llb, passes};

/// Runs the verb.
pub(super) fn run(args: &Lower) -> Result<(), Failure> {
    let given = Given::read(&args.secrets)?;
    let program = program::Program::find(&args.selection)?;
    if args.emit == Emit::Llb && args.output.is_none() && io::stdout().is_terminal() {
        return Err(Report::error("bkl::terminal", "LLB is not text, and stdout is a terminal")
            .help("write it to a file with `-o FILE`, pipe it into `buildctl build`, or look at it with `--emit json`")
            .into());
    }
    let mut checked = program.check();
    let Some(hir) = checked.program.take() else {
        return Err(Failure::new(checked.sources, checked.reports));
    };
    print_reports(&checked.reports, &checked.sources, args.format);
    let runtime = super::build::runtime()?;
    let session = Arc::new(LocalSession::new(&program.root, given));
    let resolver =
        Resolver::new(args.inputs.store.clone(), None, args.format, session, runtime.handle().clone());
    let ready = match program::evaluate(&program, &mut checked, &hir, &args.inputs, &resolver) {
        Ok(ready) => ready,
        Err(reports) => return Err(Failure::new(checked.sources, reports)),
    };
    print_reports(&ready.notes, &checked.sources, args.format);
    let outputs = ready.evaluated.outputs;
    let (mut graph, mut roots) = (ready.evaluated.graph, trees(&outputs));
    if 0 < args.level {
        let (optimized, moved, report) = passes::optimize(&graph, &roots);
        (graph, roots) = (optimized, moved);
        if args.stats {
            print_stats(&report);
        }
    }
    let bytes = emit(args, &graph, &outputs, &roots)?;
    if let ([output], [None], Emit::Llb | Emit::Json) = (&outputs[..], &roots[..], args.emit) {
        let note = format!("`{}` is `scratch`: its definition is empty", output.name);
        let note = Report::warning("bkl::empty_definition", note)
            .help("a daemon takes it as a build without files; there is nothing to run");
        print_reports(&[note], &checked.sources, args.format);
    }
    match &args.output {
        None => write_stdout(&bytes),
        Some(path) => fs::write(path, &bytes).map_err(|error| {
            let reason = program::io_reason(&error);
            Report::error("bkl::output", format!("cannot write `{}`: {reason}", path.display())).into()
        }),
    }
}

/// What the passes did: one line per pass that found something, then the totals.
fn print_stats(report: &passes::PassReport) {
    let mut err = io::stderr().lock();
    let mut print = || {
        for (pass, count) in report.counts.iter().filter(|(_, count)| 0 < *count) {
            writeln!(err, "{pass}: {count}")?;
        }
        writeln!(err, "{} ops before, {} after", report.n_before, report.n_after)
    };
    // There is nowhere left to say that stderr is closed.
    let _ = print();
}

fn emit(args: &Lower, graph: &Graph, outputs: &[Output], roots: &[Tree]) -> Result<Vec<u8>, Report> {
    let options = llb::MarshalOptions {
        platform: Some(match args.inputs.platform.first() {
            Some(text) => text.parse::<Platform>().unwrap_or_else(|_| Platform::host()),
            None => Platform::host(),
        }),
        local_unique: Some(args.unique.clone().unwrap_or_else(random_id)),
        ..llb::MarshalOptions::default()
    };
    match args.emit {
        Emit::Llb => Ok(llb::marshal(graph, the_root(outputs, roots)?, &options).to_bytes()),
        Emit::Json => {
            let definition = llb::marshal(graph, the_root(outputs, roots)?, &options);
            let dump = llb::dump::dump(&definition).expect("what was just encoded can be decoded");
            Ok(llb::dump::to_text(&dump).into_bytes())
        }
        Emit::Dot => Ok(ir::dot::dot(graph, roots).into_bytes()),
        Emit::Config => match outputs {
            [Output { kind: OutputKind::Image(image), .. }] => {
                Ok(format!("{}\n", image.config.to_oci()).into_bytes())
            }
            [Output { kind: OutputKind::Fs(_), name, .. }] => {
                Err(Report::error("bkl::usage", format!("`{name}` is a tree of files and has no config"))
                    .help("only images have one: `.image()` gives files an empty config"))
            }
            _ => Err(Report::error("bkl::usage", "a config belongs to one image")
                .help("name one target that is an image: `bkl lower --emit config app`")),
        },
    }
}

/// The one tree that a definition can stand for.
fn the_root(outputs: &[Output], roots: &[Tree]) -> Result<Tree, Report> {
    match roots {
        [root] => Ok(*root),
        _ => {
            let report = Report::error(
                "bkl::usage",
                format!("a definition builds one tree, and there are {}", roots.len()),
            );
            let platforms = |output: &Output| match &output.kind {
                OutputKind::Index { images, .. } => {
                    let each: Vec<String> =
                        images.iter().map(|image| image.config.platform.to_string()).collect();
                    format!(" for {}", each.join(" and "))
                }
                _ => String::new(),
            };
            let names: Vec<String> =
                outputs.iter().map(|output| format!("`{}`{}", output.name, platforms(output))).collect();
            Err(report.help(format!("name one target for one platform; there are {}", names.join(", "))))
        }
    }
}

/// 25 characters of base 36, as BuildKit's client makes them.
fn random_id() -> String {
    let mut bytes = [0; 25];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    debug_assert!(filled.is_ok(), "getrandom fills small buffers");
    bytes.iter().map(|byte| char::from_digit(u32::from(byte % 36), 36).unwrap_or('0')).collect()
}

/// Writes data to stdout; a closed pipe is no error worth a report.
pub(super) fn write_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Report::error(
            "bkl::output",
            format!("cannot write to stdout: {}", program::io_reason(&error)),
        )
        .into()),
        _ => Ok(()),
    }
}
