//! `bkl test`: evaluates the tests of a program, runs the checks that they assert, and tries the examples in its docs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::sync::Arc;

use crate::base::{Label, Platform, Report, SourceMap};
use crate::cli::again;
use crate::cli::allow;
use crate::cli::args;
use crate::cli::build::{Build, Later, Stopped, runtime, stopped};
use crate::cli::caches::Caches;
use crate::cli::emulation;
use crate::cli::failure::{self, Context};
use crate::cli::inside;
use crate::cli::program::{Checked, Driver, Program, Round, io_reason, reports};
use crate::cli::resolver::Resolver;
use crate::cli::session::{Given, LocalSession};
use crate::cli::tracked;
use crate::cli::{Failure, print_reports};
use crate::engine::emulation::Machine;
use crate::engine::{CacheMode, FailedVertex, SolveError};
use crate::graph::ir::{Tree, Vertex};
use crate::graph::passes;
use crate::lang::eval::{
    Answer, Answers, Confinement, Inputs, Need, Params, PlatformChoice, Request, TestOutcome, Tested,
    evaluate_test,
};
use crate::lang::examples::{self, Example, Subject, Trial};
use crate::lang::{hir, on_deep_stack, syntax};
use crate::session::Session;

/// How many tests there were of each kind.
#[derive(Default)]
struct Tally {
    total: usize,
    passed: usize,
    failed: Vec<Report>,
}

/// Runs the verb.
pub(super) fn run(args: &args::Test) -> Result<(), Failure> {
    let given = Given::read(&args.secrets)?;
    // Whether or not there is something to run.
    allow::grants(&args.commands)?;
    let selection = args::Selection { words: args.words.clone(), file: args.file.clone() };
    let program = Program::find(&selection)?;
    if program.entry.ends_with(".md") {
        return try_markdown(&program);
    }
    let mut checked = program.check();
    let Some(hir) = checked.program.take() else {
        return Err(Failure::new(checked.sources, checked.reports));
    };
    print_reports(&checked.reports, &checked.sources, args.format);
    let examples = Examples::of_program(&checked.sources);
    let (tests, examples) = select(args, &hir, examples, &checked.sources, &program.targets)?;
    let runtime = runtime()?;
    let session: Arc<dyn Session> = Arc::new(LocalSession::new(&program.root, given));
    let store = args.inputs.store.clone();
    let resolver = Resolver::new(store, None, args.format, session.clone(), runtime.handle().clone())
        .with_sandbox(args.commands.network.into());
    let mut driver = match Driver::new(&program, &mut checked, &hir, &args.inputs, &resolver) {
        Ok(driver) => driver,
        Err(reports) => return Err(Failure::new(checked.sources, reports)),
    };
    let Checked { mut sources, .. } = checked;
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
        tally.add(&test.name, n_left, failed);
    }
    if let Err(reports) = driver.keep_lock() {
        tally.failed.extend(reports);
    }
    examples.run(&program, &mut sources, &mut tally);
    tally.finish(sources)
}

impl Tally {
    /// Says how a test went.
    fn add(&mut self, name: &str, n_left: usize, failed: Vec<Report>) {
        self.total += 1;
        say(name, failed.is_empty(), n_left);
        match failed.is_empty() {
            true => self.passed += 1,
            false => self.failed.extend(failed),
        }
    }

    fn finish(self, sources: SourceMap) -> Result<(), Failure> {
        print(&format!("{} of {} tests passed\n", self.passed, self.total));
        if self.failed.is_empty() { Ok(()) } else { Err(Failure::new(sources, self.failed)) }
    }
}

/// Examples of a file, and the module they are about.
struct Examples {
    all: Vec<Example>,
    subject: Option<Subject>,
}

impl Examples {
    /// Those in the doc comments of the program's own file, which is the first of `sources`.
    fn of_program(sources: &SourceMap) -> Examples {
        let Some(file) = sources.files().first() else { return Examples { all: Vec::new(), subject: None } };
        let module = on_deep_stack(|| syntax::parse(file)).module;
        let base = file.name.rsplit('/').next().unwrap_or_default();
        let name = base.trim_end_matches(".bkl");
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let name = if is_name { name } else { "module" };
        let subject = Subject { name: name.to_owned(), path: format!("./{base}") };
        Examples { all: examples::of_module(file, &module), subject: Some(subject) }
    }

    fn run(&self, program: &Program, sources: &mut SourceMap, tally: &mut Tally) {
        let inputs = Inputs {
            targets: Vec::new(),
            params: Params::default(),
            platforms: vec![Platform::host()],
            platform_choice: PlatformChoice::Default,
            confinement: Confinement::default(),
            build_platform: Platform::host(),
            ignore: Vec::new(),
            replacements: BTreeMap::new(),
            answers: Answers::new(),
        };
        let answer = |need: &Need| -> Result<Answer, Report> {
            let answer = match &need.request {
                Request::Read { path } => tracked::read(&program.root, path).map(Answer::Text),
                Request::Files { dir, pattern, except } => {
                    tracked::files(&program.root, dir, pattern, except).map(Answer::Paths)
                }
                other => panic!("images have stand-ins: {other:?}"),
            };
            answer.map_err(|report| report.label(need.span, "needed here"))
        };
        let texts = program.texts();
        let subject = self.subject.as_ref();
        let trial = Trial { dir: "", subject, texts: &texts, inputs: &inputs, answer: &answer };
        for example in &self.all {
            let title = example.title(sources.file(example.span.file));
            let failed = example.run(sources, &trial);
            tally.add(&title, 0, failed);
        }
    }
}

/// `bkl test README.md`: its examples.
fn try_markdown(program: &Program) -> Result<(), Failure> {
    let path = program.root.join(&program.entry);
    let text = fs::read_to_string(&path).map_err(|error| {
        let reason = io_reason(&error);
        Report::error("bkl::no_program", format!("cannot read `{}`: {reason}", path.display()))
    })?;
    let mut sources = SourceMap::default();
    let file = sources.add(program.shown_entry(), text);
    let all = examples::of_markdown(sources.file(file));
    let examples = Examples { all, subject: None }.named(&program.targets, &sources);
    if examples.all.is_empty() {
        return Err(Report::error("bkl::no_tests", format!("`{}` has no examples", program.shown_entry()))
            .help("a block fenced with ```bkl is one")
            .into());
    }
    let mut tally = Tally::default();
    examples.run(program, &mut sources, &mut tally);
    tally.finish(sources)
}

fn is_named(words: &[String], name: &str) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

impl Examples {
    /// Those whose titles hold one of the words.
    fn named(self, words: &[String], sources: &SourceMap) -> Examples {
        let title = |example: &Example| example.title(sources.file(example.span.file));
        let all = self.all.into_iter().filter(|example| is_named(words, &title(example))).collect();
        Examples { all, ..self }
    }
}

/// The tests of the program's own file, and the examples, whose names hold one of the words.
fn select<'p>(
    args: &args::Test,
    hir: &'p hir::Program,
    examples: Examples,
    sources: &SourceMap,
    words: &[String],
) -> Result<(Vec<&'p hir::Test>, Examples), Report> {
    let own = |test: &&hir::Test| test.module == hir::Program::ENTRY && !args.doc;
    let all: Vec<&hir::Test> = hir.tests.iter().filter(own).collect();
    let titles: Vec<String> =
        examples.all.iter().map(|example| example.title(sources.file(example.span.file))).collect();
    let selected: Vec<&hir::Test> = all.iter().copied().filter(|test| is_named(words, &test.name)).collect();
    let examples = examples.named(words, sources);
    if !selected.is_empty() || !examples.all.is_empty() {
        return Ok((selected, examples));
    }
    if all.is_empty() && titles.is_empty() {
        let what = if args.doc { "examples in its docs" } else { "tests" };
        return Err(Report::error("bkl::no_tests", format!("this program has no {what}")).help(
            if args.doc {
                "a block between ``` in a `///` comment is one"
            } else {
                "write one: `test \"what holds\" { assert 1 + 1 == 2 }`"
            },
        ));
    }
    let names = all.iter().map(|test| format!("{:?}", test.name)).chain(titles);
    let names: Vec<String> = names.collect();
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
    let _later = Later { engine, gc: args.commands.gc };
    let roots: Vec<Tree> = tested.checks.iter().map(|(edge, _)| Some(*edge)).collect();
    let (graph, roots, _) = passes::optimize(&tested.graph, &roots);
    if let Err(reports) = inside::refuse(&graph, &roots, &program.root, sources) {
        return Ok(reports);
    }
    if let Err(reports) = emulation::refuse(&Machine::this(), &graph, &roots, sources) {
        return Ok(reports);
    }
    let (session, rerun) = (session.clone(), BTreeSet::new());
    let (program, inspector) = (program.history(), None);
    let grants = allow::grants(&args.commands)?;
    allow::say(&grants, &graph, &roots, args.progress);
    let build = Build {
        engine,
        session,
        graph: &graph,
        roots: &roots,
        grants,
        rerun,
        program,
        inspector,
        caches: Caches::default(),
    };
    match again::solve(build, CacheMode::Use, args.progress, runtime) {
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

fn say(name: &str, has_passed: bool, n_left: usize) {
    let word = if has_passed { "ok    " } else { "FAILED" };
    let left = match n_left {
        0 => String::new(),
        1 => "  (1 check not run)".to_owned(),
        n => format!("  ({n} checks not run)"),
    };
    print(&format!("{word}  {name}{left}\n"));
}

/// Results go to stdout; there is nowhere left to say that it is closed.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
