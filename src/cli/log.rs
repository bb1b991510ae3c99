//! `bkl log`: the output of steps.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::json;

use crate::base::time::rfc3339;
use crate::base::{Digest, Report};
use crate::cli::Failure;
use crate::cli::args::{self, Format};
use crate::cli::build::{Build, runtime};
use crate::cli::caches::Caches;
use crate::cli::lower::write_stdout;
use crate::cli::steps::{self, Named};
use crate::cli::why::Subject;
use crate::cli::{failure, program};
use crate::engine::cancel::Cancel;
use crate::engine::entitlement::Grants;
use crate::engine::history::why::Known;
use crate::engine::history::{self};
use crate::engine::{CacheMode, event};
use crate::graph::ir::{Edge, Op, Tree};
use crate::store::{Options, Store};

/// Digits of a run's digest that the list shows.
const SHOWN_DIGITS: usize = 12;
/// Fewer name no run.
const MIN_DIGITS: usize = 6;

/// Runs the verb.
pub(super) fn run(args: &args::Log) -> Result<(), Failure> {
    let digits = args.words.iter().find(|word| is_digits(word));
    if let (Some(digits), [_]) = (digits, &args.words[..])
        && let Some(run) = by_digits(args, None, digits)?
    {
        let store = open(args)?;
        return print_log(&store, &run);
    }
    let (subject, word) = Subject::find(&args.words, args.file.as_ref(), args.definition.llb.as_ref())?;
    let Some(word) = word else {
        let store = open(args)?;
        let runs = history::why::known(&store, Some(&subject.history()));
        let runs = runs.map_err(|error| failure::store(&error, &args.inputs.store))?;
        return list(&store, &runs, args.format);
    };
    if is_digits(&word)
        && let Some(run) = by_digits(args, Some(&subject.history()), &word)?
    {
        let store = open(args)?;
        return print_log(&store, &run);
    }
    let runtime = runtime()?;
    let (question, resolver) =
        subject.ask(Some(&word), &args.inputs, &args.definition, args.format, &runtime)?;
    let engine = resolver.engine()?;
    let steps = match &question.named {
        Named::Steps(steps) => steps.clone(),
        Named::Target(edges) => steps::below(&question.graph, edges),
    };
    let commands: Vec<_> =
        steps.into_iter().filter(|&it| matches!(question.graph.vertex(it).op, Op::Exec(_))).collect();
    let roots: Vec<Tree> = commands.iter().map(|&vertex| Some(Edge { vertex, output: 0 })).collect();
    // A step without results is a check: its first output is the root all the same.
    let build = Build {
        engine,
        session: question.session.clone(),
        graph: &question.graph,
        roots: &roots,
        // Nothing is run.
        grants: Grants::default(),
        rerun: Default::default(),
        program: question.program,
        inspector: None,
        caches: Caches::default(),
    };
    let request = build.request(CacheMode::Use, event::silent(), &Cancel::new());
    let runs = match runtime.block_on(engine.runs_behind(&request, &commands)) {
        Ok(runs) => runs,
        Err(error) => return Err(question.failure(engine, &error)),
    };
    let found: Vec<&Known> = runs.iter().flatten().collect();
    if found.is_empty() {
        let message = format!("no run of `{}` is known", steps::short(&word));
        return Err(Report::error("bkl::no_log", message)
            .help("build it first; `bkl log` without a name lists what is kept")
            .into());
    }
    if let [run] = &found[..] {
        return print_log(engine.store(), run);
    }
    for run in found.into_iter().filter(|run| size(engine.store(), run).is_some()) {
        write_stdout(format!("==> {} <==\n", steps::short(&run.manifest.name)).as_bytes())?;
        print_log(engine.store(), run)?;
    }
    Ok(())
}

fn open(args: &args::Log) -> Result<Store, Report> {
    Store::open_existing(&args.inputs.store, &Options::default())
        .map_err(|error| failure::store(&error, &args.inputs.store))
}

fn is_digits(word: &str) -> bool {
    let digits = word.strip_prefix("sha256:").unwrap_or(word);
    MIN_DIGITS <= digits.len() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The newest run, of a program or of all, whose digest begins so.
fn by_digits(args: &args::Log, program: Option<&Digest>, digits: &str) -> Result<Option<Known>, Report> {
    let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
    let runs = history::why::known(&open(args)?, program);
    let runs = runs.map_err(|error| failure::store(&error, &args.inputs.store))?;
    Ok(runs.into_iter().find(|run| run.key.hex().starts_with(digits)))
}

fn size(store: &Store, run: &Known) -> Option<u64> {
    std::fs::metadata(store.log_path(&run.key)).ok().map(|meta| meta.len())
}

/// The output as it came; nothing for a step that wrote nothing.
fn print_log(store: &Store, run: &Known) -> Result<(), Failure> {
    let path = store.log_path(&run.key);
    let unreadable = |error: &io::Error| {
        let message = format!("cannot read `{}`: {}", path.display(), program::io_reason(error));
        Report::error("bkl::no_log", message)
    };
    let mut file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(&error).into()),
    };
    let mut out = io::stdout().lock();
    match io::copy(&mut file, &mut out).and_then(|_| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unreadable(&error).into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The runs of commands, the newest first.
fn list(store: &Store, runs: &[Known], format: Format) -> Result<(), Failure> {
    let commands = runs.iter().filter(|run| matches!(run.manifest.op, Op::Exec(_)));
    if format == Format::Json {
        let all: Vec<_> = commands
            .map(|run| {
                json!({
                    "run": run.key,
                    "at": rfc3339(run.at),
                    "name": run.manifest.name,
                    "places": run.manifest.places,
                    "failed": run.manifest.failed,
                    "killed": run.manifest.stopped,
                    "bytes": size(store, run).unwrap_or(0),
                })
            })
            .collect();
        return write_stdout(format!("{:#}\n", serde_json::Value::Array(all)).as_bytes());
    }
    let mut text = String::new();
    for run in commands {
        let size = size(store, run).map_or_else(|| "-".to_owned(), |bytes| format!("{bytes} B"));
        let state = match (run.manifest.stopped, run.manifest.failed) {
            (true, _) => "killed",
            (false, true) => "failed",
            (false, false) => "ok",
        };
        let (hex, at) = (run.key.hex(), rfc3339(run.at));
        let name = steps::short(&run.manifest.name);
        let _ = writeln!(text, "{}  {at}  {state:6}  {size:>9}  {name}", &hex[..SHOWN_DIGITS]);
    }
    write_stdout(text.as_bytes())
}
