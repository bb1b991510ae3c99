//! The command line: the only place that reads arguments and prints.

mod args;
mod build;
mod doc;
mod explain;
mod failure;
mod fmt;
mod init;
mod lock;
mod lower;
mod man;
mod program;
mod resolver;
mod session;
mod ui;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::base::SourceMap;
use crate::base::report::{self, Report, Severity, Style};

/// Widest a report is drawn.
const MAX_WIDTH: usize = 110;

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
        args::Command::Fmt(fmt) => fmt.format,
        args::Command::Explain(_)
        | args::Command::Doc(_)
        | args::Command::Init(_)
        | args::Command::Completions(_)
        | args::Command::Man(_) => args::Format::Human,
    };
    let done = match &cli.command {
        args::Command::Build(args) => build::run(args),
        args::Command::Check(args) => check(args),
        args::Command::Lower(args) => lower::run(args),
        args::Command::Fmt(args) => fmt::run(args),
        args::Command::Explain(args) => explain::run(args),
        args::Command::Doc(args) => doc::run(args),
        args::Command::Init(args) => init::run(args),
        args::Command::Completions(args) => man::completions(args),
        args::Command::Man(args) => man::pages(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print_reports(&failure.reports, &failure.sources, format);
            ExitCode::from(failure.code)
        }
    }
}

/// `bkl check`
fn check(args: &args::Check) -> Result<(), Failure> {
    let program = program::Program::find(&args.selection)?;
    let checked = program.check();
    if checked.program.is_none() {
        return Err(Failure::new(checked.sources, checked.reports));
    }
    print_reports(&checked.reports, &checked.sources, args.format);
    Ok(())
}

/// Prints errors and warnings to stderr; as JSON to stdout, where tools read it.
fn print_reports(reports: &[Report], sources: &SourceMap, format: args::Format) {
    let result = match format {
        args::Format::Json => {
            let list: Vec<_> = reports.iter().map(|it| report::to_json(it, sources)).collect();
            writeln!(io::stdout().lock(), "{:#}", serde_json::Value::Array(list))
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
    let width = match crossterm::terminal::size() {
        Ok((columns, _)) if terminal && 40 <= columns => usize::from(columns).min(MAX_WIDTH),
        _ => MAX_WIDTH,
    };
    Style { color: terminal && !no_color, width }
}
