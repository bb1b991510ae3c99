//! `bkl lower`: shows what would be built.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use crate::base::{Platform, Report};
use crate::cli::args::{Emit, Lower};
use crate::cli::resolver::Resolver;
use crate::cli::session::LocalSession;
use crate::cli::{Failure, print_reports, program};
use crate::graph::ir::{Graph, Output, OutputKind, Tree};
use crate::graph::llb;

/// Runs the verb.
pub(super) fn run(args: &Lower) -> Result<(), Failure> {
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
    let session = Arc::new(LocalSession::new(&program.root));
    let resolver = Resolver::new(args.inputs.store.clone(), None, session, runtime.handle().clone());
    let ready = match program::evaluate(&program, &mut checked, &hir, &args.inputs, &resolver) {
        Ok(ready) => ready,
        Err(reports) => return Err(Failure::new(checked.sources, reports)),
    };
    print_reports(&ready.notes, &checked.sources, args.format);
    let (graph, outputs) = (ready.evaluated.graph, ready.evaluated.outputs);
    let roots = trees(&outputs);
    if 0 < args.level {
    }
    let bytes = emit(args, &graph, &outputs, &roots)?;
    match &args.output {
        None => write_stdout(&bytes),
        Some(path) => fs::write(path, &bytes).map_err(|error| {
            let reason = program::io_reason(&error);
            Report::error("bkl::output", format!("cannot write `{}`: {reason}", path.display())).into()
        }),
    }
}

/// The trees of all outputs, in order; scratch ones too.
fn trees(outputs: &[Output]) -> Vec<Tree> {
    outputs
        .iter()
        .flat_map(|output| match &output.kind {
            OutputKind::Fs(tree) => vec![*tree],
            OutputKind::Image(image) => vec![image.tree],
            OutputKind::Index { images, .. } => images.iter().map(|image| image.tree).collect(),
            OutputKind::Check(edge) => vec![Some(*edge)],
        })
        .collect()
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
        Emit::Dot => Ok(Vec::new()),
        Emit::Config => match outputs {
            [Output { kind: OutputKind::Image(image), .. }] => Ok(format!("{}\n", image.config.to_oci()).into_bytes()),
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
            let names: Vec<String> = outputs.iter().map(|output| format!("`{}`", output.name)).collect();
            Err(Report::error("bkl::usage", format!("a definition builds one tree, and there are {}", roots.len()))
                .help(format!("name one target for one platform; there are {}", names.join(", "))))
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
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Report::error("bkl::output", format!("cannot write to stdout: {}", program::io_reason(&error))).into())
        }
        _ => Ok(()),
    }
}
