//! `bkl test`: evaluates the tests of a program and runs the checks that they assert.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use crate::base::{Label, Report, SourceMap};
use crate::cli::args;
use crate::cli::build::{Build, Stopped, SyncLater, runtime, stopped};
use crate::cli::emulation::Machine;
use crate::cli::failure::{self, Context};
use crate::cli::program::{Checked, Driver, Program, Round, reports};
use crate::cli::resolver::Resolver;
use crate::cli::secret::Secrets;
use crate::cli::session::LocalSession;
use crate::cli::ui::Ui;
use crate::cli::{Failure, print_reports};
use crate::engine::{CacheMode, FailedVertex, SolveError};
use crate::graph::ir::{Tree, Vertex};
use crate::graph::passes;
use crate::lang::eval::{TestOutcome, Tested, evaluate_test};
use crate::lang::hir;
use crate::session::Session;

/// How many tests there were of each kind.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<Report>,
}

/// Runs the verb.
pub(super) fn run(args: &args::Test) -> Result<(), Failure> {
    let secrets = Secrets::read(&args.secrets.secrets)?;
    let selection = args::Selection { words: args.words.clone(), file: args.file.clone() };
    let program = Program::find(&selection)?;
    let mut checked = program.check();
    let Some(hir) = checked.program.take() else {
        return Err(Failure::new(checked.sources, checked.reports));
    };
    print_reports(&checked.reports, &checked.sources, args.format);
    let tests = select(&hir, &program.targets)?;
    let runtime = runtime()?;
    let session: Arc<dyn Session> = Arc::new(LocalSession::new(&program.root, secrets));
    let store = args.inputs.store.clone();
    let resolver = Resolver::new(store, None, args.format, session.clone(), runtime.handle().clone());
    let mut driver = match Driver::new(&program, &mut checked, &hir, &args.inputs, &resolver) {
        Ok(driver) => driver,
        Err(reports) => return Err(Failure::new(checked.sources, reports)),
    };
    let Checked { sources, .. } = checked;
    let mut tally = Tally::default();
    for &test in &tests {
        let evaluated = driver.run(|inputs| match evaluate_test(&hir, &sources, inputs, test) {
            TestOutcome::Done(tested) => Ok(Round::Done(tested)),
            TestOutcome::Needs(needs) => Ok(Round::Needs(needs)),
        });
        let (failed, n_left) = match evaluated {
            Err(reports) => (reports, 0),
            Ok(tested) if !tested.errors.is_empty() => (reports(&tested.errors), 0),
            Ok(tested) if args.no_run => (Vec::new(), tested.checks.len()),
            Ok(tested) => (run_checks(args, &program, &resolver, &session, &runtime, &sources, &tested)?, 0),
        };
        say(test, failed.is_empty(), n_left);
        match failed.is_empty() {
            true => tally.passed += 1,
            false => tally.failed.extend(failed),
        }
    }
    if let Err(reports) = driver.keep_lock() {
        tally.failed.extend(reports);
    }
    print(&format!("{} of {} tests passed\n", tally.passed, tests.len()));
    if tally.failed.is_empty() { Ok(()) } else { Err(Failure::new(sources, tally.failed)) }
}

/// The tests of the program's own file whose names hold one of the words.
fn select<'p>(hir: &'p hir::Program, words: &[String]) -> Result<Vec<&'p hir::Test>, Report> {
    let all: Vec<&hir::Test> = hir.tests.iter().filter(|test| test.module == hir::Program::ENTRY).collect();
    let selected: Vec<&hir::Test> = all
        .iter()
        .copied()
        .filter(|test| words.is_empty() || words.iter().any(|word| test.name.contains(word.as_str())))
        .collect();
    if !selected.is_empty() {
        return Ok(selected);
    }
    if all.is_empty() {
        return Err(Report::error("bkl::no_tests", "this program has no tests")
            .help("write one: `test \"what holds\" { assert 1 + 1 == 2 }`"));
    }
    let names: Vec<String> = all.iter().map(|test| format!("{:?}", test.name)).collect();
    Err(Report::error("bkl::no_tests", format!("no test has `{}` in its name", words.join("` or `")))
        .help(format!("there are {}", names.join(", "))))
}

/// Builds the checks of a test; gives what is to be said about those that fail. Only a signal ends the verb.
fn run_checks(
    args: &args::Test,
    program: &Program,
    resolver: &Resolver,
    session: &Arc<dyn Session>,
    runtime: &tokio::runtime::Runtime,
    sources: &SourceMap,
    tested: &Tested,
) -> Result<Vec<Report>, Failure> {
    if tested.checks.is_empty() {
        return Ok(Vec::new());
    }
    let engine = resolver.engine()?;
    let _sync = SyncLater(engine);
    let roots: Vec<Tree> = tested.checks.iter().map(|(edge, _)| Some(*edge)).collect();
    let (graph, roots, _) = passes::optimize(&tested.graph, &roots);
    if let Err(reports) = Machine::this().refuse(&graph, &roots, sources) {
        return Ok(reports);
    }
    let (session, rerun) = (session.clone(), BTreeSet::new());
    let (program, inspector) = (program.history(), None);
    let build = Build { engine, session, graph: &graph, roots: &roots, rerun, program, inspector };
    let ui = Ui::start(args.progress);
    let solved = runtime.block_on(build.solve(CacheMode::Use, &ui));
    ui.finish();
    match solved {
        Ok(_) => Ok(Vec::new()),
        Err(Stopped::Signal(code)) => {
            Err(Failure { sources: SourceMap::default(), reports: vec![stopped()], code })
        }
        Err(Stopped::Error(error)) => {
            let log_path = |failed: &FailedVertex| Some(engine.store().log_path(&failed.run?));
            let store_root = engine.store().root();
            let context = Context { sources, graph: &graph, log_path: &log_path, store_root };
            let mut reports = failure::reports(&error, &context);
            if let SolveError::Vertex { failed, others } = &error {
                for (failed, report) in std::iter::once(&**failed).chain(others).zip(&mut reports) {
                    for &(edge, claim) in &tested.checks {
                        // A check that is written in the claim is shown already.
                        let is_shown = report.primary().is_some_and(|step| {
                            step.file == claim.file && claim.start <= step.start && step.end <= claim.end
                        });
                        if !is_shown && is_of(failed, tested.graph.vertex(edge.vertex)) {
                            report.labels.push(Label { span: claim, text: "asserted here".to_owned() });
                        }
                    }
                }
            }
            Ok(reports)
        }
    }
}

/// Whether the step that failed is this check, which may lie in a module that the test only calls. The passes may have
/// made another op of it, but keep its name and its place.
fn is_of(failed: &FailedVertex, check: &Vertex) -> bool {
    failed.name == check.name() && check.locations.iter().any(|place| failed.locations.contains(place))
}

fn say(test: &hir::Test, has_passed: bool, n_left: usize) {
    let word = if has_passed { "ok    " } else { "FAILED" };
    let left = match n_left {
        0 => String::new(),
        1 => "  (1 check not run)".to_owned(),
        n => format!("  ({n} checks not run)"),
    };
    print(&format!("{word}  {}{left}\n", test.name));
}

/// Results go to stdout; there is nowhere left to say that it is closed.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
