//! `bkl lower`: shows what would be built, or writes it for BuildKit.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::base::{Platform, Report, SourceMap};
use crate::cli::args::{Emit, Lower};
use crate::cli::lowered::{self, Lowered};
use crate::cli::session::Given;
use crate::cli::{Failure, print_reports, program};
use crate::graph::ir::{Graph, Output, Tree};
use crate::graph::view::{View, dot};
use crate::graph::{llb, passes};

mod buildctl;
mod daemon;
mod piece;

use piece::Piece;

/// Runs the verb.
pub(super) fn run(args: &Lower) -> Result<(), Failure> {
    let given = Given::read(&args.secrets)?;
    if args.emit == Emit::Llb && args.output.is_none() && io::stdout().is_terminal() {
        return Err(Report::error("bkl::terminal", "LLB is not text, and stdout is a terminal")
            .help("write it to a file with `-o FILE`, pipe it into `buildctl build`, or look at it with `--emit json`")
            .into());
    }
    let daemon = args.caps.as_deref().map(daemon::capabilities).transpose()?;
    let Lowered { program, sources, mut graph, outputs, mut roots, passes } =
        lowered::lower(&args.selection, &args.inputs, given, args.level, args.format)?;
    if let Some(report) = passes.as_ref().filter(|_| args.stats) {
        print_stats(report);
    }
    let mut pieces = piece::pieces(&outputs, &roots, &args.inputs.platform);
    if let Some(only) = &args.only {
        pieces = piece::only(pieces, only)?;
        roots = pieces.iter().map(|piece| piece.root).collect();
    }
    if let Some(daemon) = &daemon {
        (graph, roots) = daemon::fit(&graph, &roots, daemon, &sources)
            .map_err(|reports| Failure::new(SourceMap::clone(&sources), reports))?;
        pieces.iter_mut().zip(&roots).for_each(|(piece, root)| piece.root = *root);
    }
    if matches!(args.emit, Emit::Llb | Emit::Json | Emit::Buildctl) {
        print_reports(&empty_definitions(&pieces), &sources, args.format);
    }
    let lowering = Lowering {
        args,
        program: &program,
        graph: &graph,
        outputs: &outputs,
        pieces: &pieces,
        local_unique: args.unique.clone().unwrap_or_else(random_id),
        caps: daemon.map(|daemon| daemon.ids),
    };
    lowering.run(&roots)
}

/// Everything there is to write.
struct Lowering<'a> {
    args: &'a Lower,
    program: &'a program::Program,
    graph: &'a Graph,
    outputs: &'a [Output],
    pieces: &'a [Piece<'a>],
    /// The same in all definitions: they belong to one build.
    local_unique: String,
    caps: Option<std::collections::BTreeSet<String>>,
}

impl Lowering<'_> {
    fn run(&self, roots: &[Tree]) -> Result<(), Failure> {
        let folder = self.args.output.as_deref().filter(|path| is_folder(path));
        match (self.args.emit, folder) {
            (Emit::Dot, None) => self.write(self.dot(roots).as_bytes()),
            (Emit::Dot, Some(folder)) => write_in(folder, "graph.dot", self.dot(roots).as_bytes()),
            (Emit::Buildctl, folder) => {
                if let (None, Some(file)) = (folder, &self.args.output) {
                    let message = format!("`-o {}` is no folder", file.display());
                    return Err(Report::error("bkl::usage", message)
                        .help("`--emit buildctl` prints commands; `-o DIR/` is where their definitions go")
                        .into());
                }
                for piece in self.pieces.iter().filter(|_| folder.is_some()) {
                    write_in(
                        folder.expect("said above"),
                        &piece.file(Emit::Llb),
                        &self.definition(piece).to_bytes(),
                    )?;
                }
                write_stdout(buildctl::commands(self, folder)?.as_bytes())
            }
            (emit, Some(folder)) => {
                let mut n_written = 0;
                for piece in self.pieces {
                    if let Some(bytes) = self.emitted(piece, emit) {
                        write_in(folder, &piece.file(emit), &bytes)?;
                        n_written += 1;
                    }
                }
                if n_written == 0 { Err(self.no_config().into()) } else { Ok(()) }
            }
            (emit, None) => match self.pieces {
                [piece] => self.write(&self.emitted(piece, emit).ok_or_else(|| self.no_config())?),
                _ => Err(self.several().into()),
            },
        }
    }

    /// What stands for a piece; `None` when that is a config and it has none.
    fn emitted(&self, piece: &Piece<'_>, emit: Emit) -> Option<Vec<u8>> {
        match emit {
            Emit::Llb | Emit::Buildctl | Emit::Dot => {
                let options = self.options(piece.platform.clone());
                Some(llb::marshal_bytes(self.graph, piece.root, &options))
            }
            Emit::Json => {
                let dump =
                    llb::dump::dump(&self.definition(piece)).expect("what was just encoded can be decoded");
                Some(llb::dump::to_text(&dump).into_bytes())
            }
            Emit::Config => piece.image.map(|image| format!("{}\n", image.config.to_oci()).into_bytes()),
        }
    }

    fn dot(&self, roots: &[Tree]) -> String {
        let options = self.options(lowered::platform(&self.args.inputs));
        dot::dot(&View::new(self.graph, &piece::outputs(self.pieces), roots, &options))
    }

    fn definition(&self, piece: &Piece<'_>) -> llb::Definition {
        llb::marshal(self.graph, piece.root, &self.options(piece.platform.clone()))
    }

    fn options(&self, platform: Platform) -> llb::MarshalOptions {
        llb::MarshalOptions {
            platform: Some(platform),
            local_unique: Some(self.local_unique.clone()),
            caps: self.caps.clone(),
            ..llb::MarshalOptions::default()
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        match &self.args.output {
            None => write_stdout(bytes),
            Some(path) => write_file(path, bytes),
        }
    }

    fn no_config(&self) -> Report {
        let names: Vec<String> = self.outputs.iter().map(|output| format!("`{}`", output.name)).collect();
        let verb = if names.len() == 1 { "is no image and has" } else { "are no images and have" };
        Report::error("bkl::usage", format!("{} {verb} no config", names.join(" and ")))
            .help("only images have one: `.image()` gives files an empty config")
    }

    /// There are several things to write, and one place to write to.
    fn several(&self) -> Report {
        let what = match self.args.emit {
            Emit::Config => "a config belongs to one image",
            Emit::Llb | Emit::Json | Emit::Dot | Emit::Buildctl => "a definition builds one tree",
        };
        let names: Vec<String> = self.outputs.iter().map(piece::described).collect();
        Report::error("bkl::usage", format!("{what}, and there are {}", self.pieces.len())).help(format!(
            "name one target, and one of its platforms with `--only`; or write each into a folder with `-o DIR/`; \
             there are {}",
            names.join(", ")
        ))
    }
}

/// One warning per piece that is the empty tree.
fn empty_definitions(pieces: &[Piece<'_>]) -> Vec<Report> {
    let empty = pieces.iter().filter(|piece| piece.root.is_none());
    let warning = |piece: &Piece<'_>| {
        let note = format!("`{}` is `scratch`: its definition is empty", piece.output.name);
        Report::warning("bkl::empty_definition", note)
            .help("a daemon takes it as a build without files; there is nothing to run")
    };
    empty.map(warning).collect()
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

/// 25 characters of base 36, as BuildKit's client makes them.
fn random_id() -> String {
    let mut bytes = [0; 25];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    debug_assert!(filled.is_ok(), "getrandom fills small buffers");
    bytes.iter().map(|byte| char::from_digit(u32::from(byte % 36), 36).unwrap_or('0')).collect()
}

/// Whether `-o` names a folder: one that is there, or a path that ends in `/`.
fn is_folder(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with('/') || path.is_dir()
}

fn write_in(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        let reason = program::io_reason(&error);
        Report::error("bkl::output", format!("cannot make the folder `{}`: {reason}", folder.display()))
    })?;
    write_file(&folder.join(name), bytes)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| {
        let reason = program::io_reason(&error);
        Report::error("bkl::output", format!("cannot write `{}`: {reason}", path.display())).into()
    })
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
