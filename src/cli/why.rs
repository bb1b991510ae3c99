//! `bkl why`: says why a step runs.

mod sentence;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::time::rfc3339;
use crate::base::{Digest, Report, SourceMap};
use crate::cli::args::{self, Format};
use crate::cli::build::{Build, runtime, stopped, trees};
use crate::cli::caches::Caches;
use crate::cli::definition::{self, Definition};
use crate::cli::failure::{self, Context};
use crate::cli::inside;
use crate::cli::lower::write_stdout;
use crate::cli::program::{self, Program};
use crate::cli::resolver::Resolver;
use crate::cli::session::{Given, LocalSession};
use crate::cli::steps::{self, Named};
use crate::cli::{Failure, print_reports};
use crate::engine::cache::Origin;
use crate::engine::cancel::Cancel;
use crate::engine::entitlement::Grants;
use crate::engine::history::{Reason, When, Why};
use crate::engine::{CacheMode, Engine, SolveError, event};
use crate::graph::ir::{Edge, Graph, Output, Tree};
use crate::graph::passes;
use crate::lang::eval;
use crate::session::Session;

/// A program's graph, and what of it a word means.
pub(super) struct Question {
    /// What was asked about, for people.
    pub(super) about: String,
    /// The optimized graph.
    pub(super) graph: Graph,
    /// The targets that were evaluated, and their trees in `graph`.
    pub(super) outputs: Vec<Output>,
    /// See `outputs`.
    pub(super) roots: Vec<Tree>,
    /// What the word means; of no word, all roots.
    pub(super) named: Named,
    /// Texts of the program.
    pub(super) sources: SourceMap,
    /// Of the program.
    pub(super) session: Arc<dyn Session>,
    /// Names the program in the history.
    pub(super) program: Digest,
}

/// Reads, checks and evaluates the program, as far as `word` needs it.
fn ask(
    program: &mut Program,
    word: Option<&str>,
    inputs: &args::Inputs,
    format: Format,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Question, Resolver), Failure> {
    let mut checked = program.check();
    let Some(hir) = checked.program.take() else {
        return Err(Failure::new(checked.sources, checked.reports));
    };
    print_reports(&checked.reports, &checked.sources, format);
    let is_target = word.is_some_and(|word| eval::unknown_targets(&hir, &[word.to_owned()]).is_empty());
    // A step may belong to any of the targets that would be built.
    program.targets = word.filter(|_| is_target).map(str::to_owned).into_iter().collect();
    let session: Arc<dyn Session> = Arc::new(LocalSession::new(&program.root, Given::default()));
    let resolver =
        Resolver::new(inputs.store.clone(), None, format, session.clone(), runtime.handle().clone())
            .with_existing_store();
    let ready = match program::evaluate(program, &mut checked, &hir, inputs, &resolver) {
        Ok(ready) => ready,
        Err(reports) => return Err(Failure::new(checked.sources, reports)),
    };
    print_reports(&ready.notes, &checked.sources, format);
    let outputs = ready.evaluated.outputs;
    let (graph, roots, _) = passes::optimize(&ready.evaluated.graph, &trees(&outputs));
    if let Err(reports) = inside::refuse(&graph, &roots, &program.root, &checked.sources) {
        return Err(Failure::new(checked.sources, reports));
    }
    let (sources, program) = (checked.sources, program.history());
    let definition = Definition { sources, graph, outputs, roots, program };
    Ok((Question::new(definition, word, session)?, resolver))
}

/// As [`ask`], of a definition.
fn ask_definition(
    definition: Definition,
    word: Option<&str>,
    args: &args::Definition,
    store: &Path,
    format: Format,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Question, Resolver), Failure> {
    let session: Arc<dyn Session> = Arc::new(LocalSession::of_definition(args, Given::default())?);
    let handle = runtime.handle().clone();
    let resolver =
        Resolver::new(store.to_owned(), None, format, session.clone(), handle).with_existing_store();
    Ok((Question::new(definition, word, session)?, resolver))
}

impl Question {
    fn new(
        definition: Definition,
        word: Option<&str>,
        session: Arc<dyn Session>,
    ) -> Result<Question, Report> {
        let Definition { sources, graph, outputs, roots, program } = definition;
        let named = match word {
            Some(word) => steps::find(word, &outputs, &graph, &roots)?,
            None => Named::Target(roots.iter().copied().flatten().collect()),
        };
        let about = word.map_or_else(
            || outputs.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
            str::to_owned,
        );
        Ok(Question { about, graph, outputs, roots, named, sources, session, program })
    }

    /// The edges that are asked about.
    pub(super) fn edges(&self) -> Vec<Edge> {
        match &self.named {
            Named::Target(edges) => edges.clone(),
            Named::Steps(steps) => steps
                .iter()
                .flat_map(|&vertex| {
                    let n_outputs = self.graph.vertex(vertex).op.n_outputs() as u32;
                    (0..n_outputs).map(move |output| Edge { vertex, output })
                })
                .collect(),
        }
    }

    /// What an error of the engine is to people.
    pub(super) fn failure(&self, engine: &Engine, error: &SolveError) -> Failure {
        if matches!(error, SolveError::Cancelled) {
            return stopped().into();
        }
        let context = Context {
            sources: &self.sources,
            graph: &self.graph,
            store_root: engine.store().root(),
            log_path: &|_| None,
        };
        Failure::new(self.sources.clone(), failure::reports(error, &context))
    }
}

/// What is asked about, and the word beside it.
pub(super) enum Subject {
    Program(Program),
    Definition(Box<Definition>),
}

impl Subject {
    /// Of the words of a command line: the subject, and the target or step among them.
    pub(super) fn find(
        words: &[String],
        file: Option<&PathBuf>,
        llb: Option<&PathBuf>,
    ) -> Result<(Subject, Option<String>), Failure> {
        let Some(llb) = llb else {
            let (program, word) = self::words(words, file)?;
            return Ok((Subject::Program(program), word));
        };
        let word = one(words.iter().cloned())?;
        Ok((Subject::Definition(Box::new(definition::read(llb)?)), word))
    }

    /// Names it in the history.
    pub(super) fn history(&self) -> Digest {
        match self {
            Subject::Program(program) => program.history(),
            Subject::Definition(definition) => definition.program,
        }
    }

    /// The question about `word`.
    pub(super) fn ask(
        self,
        word: Option<&str>,
        inputs: &args::Inputs,
        definition: &args::Definition,
        format: Format,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<(Question, Resolver), Failure> {
        match self {
            Subject::Program(mut program) => ask(&mut program, word, inputs, format, runtime),
            Subject::Definition(read) => {
                ask_definition(*read, word, definition, &inputs.store, format, runtime)
            }
        }
    }
}

/// The program and the one word beside it.
fn words(words: &[String], file: Option<&PathBuf>) -> Result<(Program, Option<String>), Report> {
    let selection = args::Selection { words: words.to_vec(), file: file.cloned() };
    let mut program = Program::find(&selection)?;
    let word = one(std::mem::take(&mut program.targets).into_iter())?;
    Ok((program, word))
}

/// The word, if there is one.
fn one(mut words: impl Iterator<Item = String>) -> Result<Option<String>, Report> {
    let word = words.next();
    match words.next() {
        Some(second) => Err(Report::error("bkl::usage", format!("`{second}` is a second target or step"))
            .help("ask about one at a time; a command of several words is put in quotes")),
        None => Ok(word),
    }
}

/// Runs the verb.
pub(super) fn run(args: &args::Why) -> Result<(), Failure> {
    let (subject, word) = Subject::find(&args.words, args.file.as_ref(), args.definition.llb.as_ref())?;
    let runtime = runtime()?;
    let (question, resolver) =
        subject.ask(word.as_deref(), &args.inputs, &args.definition, args.format, &runtime)?;
    let engine = resolver.engine()?;
    let rerun = steps::named(&args.no_cache_filter, &question.outputs, &question.graph, &question.roots)?;
    let edges: Vec<Tree> = question.edges().into_iter().map(Some).collect();
    let build = Build {
        engine,
        session: question.session.clone(),
        graph: &question.graph,
        roots: &edges,
        // Nothing is run.
        grants: Grants::default(),
        rerun,
        program: question.program,
        inspector: None,
        caches: Caches::default(),
    };
    let cache = if args.no_cache { CacheMode::Ignore } else { CacheMode::Use };
    let request = build.request(cache, event::silent(), &Cancel::new());
    let why = match runtime.block_on(engine.why(&request)) {
        Ok(why) => why,
        Err(error) => return Err(question.failure(engine, &error)),
    };
    let text = match args.format {
        Format::Json => format!("{:#}\n", as_json(&question, &why)),
        Format::Human | Format::Short => as_text(&question, &why),
    };
    write_stdout(text.as_bytes())
}

fn as_text(question: &Question, why: &Why) -> String {
    let mut text = String::new();
    let about = steps::short(&question.about);
    let n_steps = |n: usize| if n == 1 { "1 step".to_owned() } else { format!("{n} steps") };
    let n_behind = why.behind.len() + why.behind_then.len();
    let _ = match &why.when {
        When::Now if n_behind == 0 => {
            writeln!(text, "{about}: {} would run", n_steps(why.reasons.len()))
        }
        When::Now => writeln!(
            text,
            "{about}: {} would run, and up to {} behind",
            n_steps(why.reasons.len()),
            n_steps(n_behind)
        ),
        When::Then(at) => writeln!(
            text,
            "{about}: nothing would run; in its last build that ran something, at {}, {} ran{}",
            rfc3339(*at),
            n_steps(why.reasons.len()),
            if n_behind == 0 { String::new() } else { format!(", and {} behind", n_steps(n_behind)) }
        ),
        When::Imported(Origin { from, at }) => writeln!(
            text,
            "{about}: nothing would run; its result was imported from the cache `{from}`, at {}",
            rfc3339(*at)
        ),
        When::Unknown => writeln!(text, "{about}: nothing would run, and when it ran is not known"),
    };
    for reason in &why.reasons {
        say(reason, 1, &mut text);
    }
    if n_behind != 0 && why.when == When::Now {
        text += "  behind, unless what they read comes out as before:\n";
        for &vertex in &why.behind {
            let vertex = question.graph.vertex(vertex);
            let place = vertex.locations.iter().find_map(|it| it.place(&question.graph));
            let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
            let _ = writeln!(text, "    {place}`{}`", steps::short(&vertex.name()));
        }
    }
    text
}

/// The step, then why; what is behind that further in.
fn say(reason: &Reason, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let place = reason.places.first().map(|place| format!("{place}: ")).unwrap_or_default();
    let _ = writeln!(text, "{indent}{place}`{}`", steps::short(&reason.name));
    let _ = writeln!(text, "{indent}  because {}", sentence::because(&reason.because));
    if let Some(cause) = sentence::deeper(&reason.because) {
        say(cause, depth + 2, text);
    }
}

fn as_json(question: &Question, why: &Why) -> Value {
    let (when, at) = match &why.when {
        When::Now => ("now", None),
        When::Then(at) => ("then", Some(rfc3339(*at))),
        When::Imported(origin) => ("imported", Some(rfc3339(origin.at))),
        When::Unknown => ("unknown", None),
    };
    let now = why.behind.iter().map(|&vertex| question.graph.vertex(vertex).name());
    let behind: Vec<String> = now.chain(why.behind_then.iter().cloned()).collect();
    let mut answer = json!({
        "about": question.about,
        "when": when,
        "at": at,
        "steps": why.reasons.iter().map(reason_json).collect::<Vec<_>>(),
        "behind": behind,
    });
    if let When::Imported(Origin { from, .. }) = &why.when {
        answer["from"] = json!(from);
    }
    answer
}

fn reason_json(reason: &Reason) -> Value {
    json!({
        "name": reason.name,
        "places": reason.places,
        "because": sentence::because(&reason.because),
        "cause": sentence::facts(&reason.because),
        "since": reason.since.map(rfc3339),
        "behind_it": sentence::deeper(&reason.because).map(reason_json),
    })
}
