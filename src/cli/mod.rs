//! The command line: the only place that reads arguments and prints.

mod again;
mod allow;
mod args;
mod build;
mod caches;
mod definition;
mod doc;
mod du;
mod emulation;
mod explain;
mod failure;
mod fmt;
mod graph;
mod init;
mod inside;
mod kept;
mod lock;
mod log;
mod lower;
mod lowered;
mod lsp;
mod man;
mod program;
mod prune;
mod replace;
mod resolver;
mod secret;
mod session;
mod shell;
mod ssh;
mod steps;
mod stop;
mod test;
mod tracked;
mod ui;
mod update;
mod why;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Parser;

use crate::base::SourceMap;
use crate::base::report::{self, Report, Severity, Style};
use crate::engine::exec::rootless;
use crate::lang::eval;

/// Widest a report is drawn.
const MAX_WIDTH: usize = 110;
/// Narrower, its drawing would have no room for words.
const MIN_WIDTH: usize = 40;

/// What a verb says when it cannot do what was asked: what to print, and the exit code.
struct Failure {
    sources: SourceMap,
    reports: Vec<Report>,
    code: u8,
}

impl Failure {
    fn new(sources: SourceMap, reports: Vec<Report>) -> Failure {
        Failure { sources, reports, code: 1 }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Failure {
        Failure::new(SourceMap::default(), vec![report])
    }
}

/// The whole program behind `main`: reads the arguments, runs the verb.
pub fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let format = match &cli.command {
        args::Command::Build(build) => build.format,
        args::Command::Check(check) => check.format,
        args::Command::Lower(lower) => lower.format,
        args::Command::Lock(lock) => lock.format,
        args::Command::Update(update) => update.format,
        args::Command::Test(test) => test.format,
        args::Command::Fmt(fmt) => fmt.format,
        args::Command::Why(why) => why.format,
        args::Command::Log(log) => log.format,
        args::Command::Du(du) => du.listing.format,
        args::Command::Prune(prune) => prune.listing.format,
        args::Command::Explain(_)
        | args::Command::Doc(_)
        | args::Command::Graph(_)
        | args::Command::Init(_)
        | args::Command::Completions(_)
        | args::Command::Lsp(_)
        | args::Command::Man(_) => args::Format::Human,
    };
    let done = prepare(&cli.command).and_then(|()| match &cli.command {
        args::Command::Build(args) => build::run(args),
        args::Command::Check(args) => check(args),
        args::Command::Lower(args) => lower::run(args),
        args::Command::Lock(args) => update::lock(args),
        args::Command::Update(args) => update::update(args),
        args::Command::Test(args) => test::run(args),
        args::Command::Fmt(args) => fmt::run(args),
        args::Command::Why(args) => why::run(args),
        args::Command::Log(args) => log::run(args),
        args::Command::Du(args) => du::run(args),
        args::Command::Prune(args) => prune::run(args),
        args::Command::Explain(args) => explain::run(args),
        args::Command::Doc(args) => doc::run(args),
        args::Command::Graph(args) => graph::run(args),
        args::Command::Init(args) => init::run(args),
        args::Command::Lsp(_) => lsp::run(),
        args::Command::Completions(args) => man::completions(args),
        args::Command::Man(args) => man::pages(args),
    });
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print_reports(&failure.reports, &failure.sources, format);
            ExitCode::from(failure.code)
        }
    };
    if format == args::Format::Json {
        print_json(results_on_stdout(&cli.command));
    }
    code
}

/// What has to be done while there is one thread: a user who is not root becomes that of a user namespace for verbs that
/// mount trees.
fn prepare(command: &args::Command) -> Result<(), Failure> {
    let mounts_trees = match command {
        args::Command::Build(args) => !args.list,
        args::Command::Test(_) | args::Command::Why(_) => true,
        // What is in it belongs to users of that namespace.
        args::Command::Du(_) | args::Command::Prune(_) => true,
        _ => false,
    };
    if !mounts_trees {
        return Ok(());
    }
    rootless::enter().map_err(|error| {
        let report = Report::error("bkl::environment", error.to_string());
        report.maybe_help(error.help().map(str::to_owned)).into()
    })
}

/// Whether stdout holds what was asked for, so that reports have to go elsewhere.
fn results_on_stdout(command: &args::Command) -> bool {
    match command {
        args::Command::Build(build) => {
            let stdout =
                |spec: &String| crate::engine::export::parse(spec).is_ok_and(|parsed| parsed.writes_stdout());
            build.list || build.output.as_ref().is_some_and(stdout)
        }
        args::Command::Lower(lower) => lower.output.is_none() || lower.emit == args::Emit::Buildctl,
        args::Command::Graph(graph) => graph.output.is_none(),
        // Their results are on stdout.
        args::Command::Explain(_)
        | args::Command::Doc(_)
        | args::Command::Completions(_)
        | args::Command::Lsp(_)
        | args::Command::Lock(_)
        | args::Command::Update(_)
        | args::Command::Why(_)
        | args::Command::Log(_)
        | args::Command::Du(_)
        | args::Command::Prune(_)
        | args::Command::Test(_) => true,
        args::Command::Check(_) | args::Command::Fmt(_) | args::Command::Init(_) | args::Command::Man(_) => {
            false
        }
    }
}

/// Reports of `--format json`, kept until the verb has ended: tools get one array, however many stages had a say.
static JSON_REPORTS: Mutex<Vec<serde_json::Value>> = Mutex::new(Vec::new());

/// Prints all reports as one array: to stdout, where tools read it, or to stderr when stdout holds results. There an
/// empty array is left out.
fn print_json(results_on_stdout: bool) {
    let reports = std::mem::take(&mut *JSON_REPORTS.lock().unwrap_or_else(PoisonError::into_inner));
    let empty = reports.is_empty();
    let text = format!("{:#}\n", serde_json::Value::Array(reports));
    // There is nowhere left to say that the output is closed.
    let _ = match (results_on_stdout, empty) {
        (false, _) => io::stdout().lock().write_all(text.as_bytes()),
        (true, false) => io::stderr().lock().write_all(text.as_bytes()),
        (true, true) => Ok(()),
    };
}

/// `bkl check`
fn check(args: &args::Check) -> Result<(), Failure> {
    let program = program::Program::find(&args.selection)?;
    let checked = program.check();
    let Some(hir) = &checked.program else {
        return Err(Failure::new(checked.sources, checked.reports));
    };
    print_reports(&checked.reports, &checked.sources, args.format);
    let unknown = eval::unknown_targets(hir, &program.targets);
    if !unknown.is_empty() {
        let reports = unknown.iter().map(eval::EvalError::report).collect();
        return Err(Failure::new(checked.sources, reports));
    }
    Ok(())
}

/// Prints errors and warnings to stderr; those of `--format json` are kept for [`print_json`].
fn print_reports(reports: &[Report], sources: &SourceMap, format: args::Format) {
    let result = match format {
        args::Format::Json => {
            let mut kept = JSON_REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(reports.iter().map(|it| report::to_json(it, sources)));
            Ok(())
        }
        args::Format::Short => {
            let mut err = io::stderr().lock();
            reports.iter().try_for_each(|it| writeln!(err, "{}", report::render_short(it, sources)))
        }
        args::Format::Human => {
            let mut err = io::stderr().lock();
            let style = style();
            reports
                .iter()
                .try_for_each(|it| err.write_all(report::render(it, sources, style).as_bytes()))
                .and_then(|()| summary(reports, &mut err))
        }
    };
    // There is nowhere left to say that the output is closed.
    let _ = result;
}

/// How many errors there were, when the last one may be far from the first.
fn summary(reports: &[Report], err: &mut dyn Write) -> io::Result<()> {
    let n_errors = reports.iter().filter(|it| it.severity == Severity::Error).count();
    if 1 < n_errors { writeln!(err, "{n_errors} errors") } else { Ok(()) }
}

fn style() -> Style {
    let terminal = io::stderr().is_terminal();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let columns = ui::terminal_size().map_or(MAX_WIDTH, |(columns, _)| columns);
    let width = columns.clamp(MIN_WIDTH, MAX_WIDTH);
    Style { color: terminal && !no_color, width }
}
