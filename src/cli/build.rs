//! `bkl build`: evaluates, solves, exports.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::base::{Digest, Report, Severity, SourceMap};
use crate::cli::again;
use crate::cli::allow;
use crate::cli::args::{self, Format};
use crate::cli::caches::{CacheExported, Caches};
use crate::cli::definition::{self, Definition};
use crate::cli::emulation;
use crate::cli::failure::{self, Context};
use crate::cli::inside;
use crate::cli::kept::Collection;
use crate::cli::program::{self, Program};
use crate::cli::resolver::Resolver;
use crate::cli::session::{Given, LocalSession};
use crate::cli::shell;
use crate::cli::steps;
use crate::cli::stop::{self, Signals};
use crate::cli::tracked;
use crate::cli::{Failure, print_reports};
use crate::engine::cache::Known;
use crate::engine::cancel::Cancel;
use crate::engine::emulation::Machine;
use crate::engine::entitlement::Grants;
use crate::engine::event::EventSink;
use crate::engine::export::{
    self, Dest, ExportImage, ExportItem, ExportKind, ExportedImage, ImageOptions, OutputSpec,
};
use crate::engine::ops::Inspector;
use crate::engine::solver::Limits;
use crate::engine::{CacheMode, Engine, FailedVertex, SolveError, SolveRequest, SolveStats};
use crate::graph::ir::outputs::ImageOutput;
use crate::graph::ir::{Graph, Output, OutputKind, Tree, VertexId};
use crate::graph::passes;
use crate::lang::eval::list_targets;
use crate::session::Session;
use crate::store::{InUse, Snapshot};

/// Runs the verb.
pub(super) fn run(args: &args::Build) -> Result<(), Failure> {
    // Also where nothing is built.
    allow::grants(&args.commands)?;
    let spec = args.output.as_deref().map(output_spec).transpose()?;
    Caches::read(&args.caches, spec.as_ref())?;
    match &args.definition.llb {
        Some(file) => of_definition(args, file, spec)?.build(args),
        None => match of_program(args, spec)? {
            Some(work) => work.build(args),
            None => Ok(()),
        },
    }
}

/// A graph that is ready to be built, wherever it came from, and what becomes of its trees.
struct Work {
    /// Texts that its steps were written in.
    sources: SourceMap,
    graph: Graph,
    outputs: Vec<Output>,
    /// The trees of the outputs.
    roots: Vec<Tree>,
    plan: ExportPlan,
    session: Arc<dyn Session>,
    resolver: Resolver,
    runtime: tokio::runtime::Runtime,
    /// Names its runs in the history.
    program: Digest,
}

/// Checks and evaluates a program. Of `--list` there is nothing to build.
fn of_program(args: &args::Build, spec: Option<OutputSpec>) -> Result<Option<Work>, Failure> {
    let program = Program::find(&args.selection)?;
    let mut checked = program.check();
    let Some(hir) = checked.program.take() else {
        return Err(Failure::new(checked.sources, checked.reports));
    };
    print_reports(&checked.reports, &checked.sources, args.format);
    if args.list {
        return list(&list_targets(&hir), args.format).map(|()| None);
    }
    // `--list` needs none of it.
    let given = Given::read(&args.secrets)?;
    let runtime = runtime()?;
    let session: Arc<dyn Session> = Arc::new(LocalSession::new(&program.root, given));
    let resolver = resolver(args, &session, &runtime);
    let ready = match program::evaluate(&program, &mut checked, &hir, &args.inputs, &resolver) {
        Ok(ready) => ready,
        Err(reports) => return Err(Failure::new(checked.sources, reports)),
    };
    let sources = checked.sources;
    print_reports(&ready.notes, &sources, args.format);
    let outputs = ready.evaluated.outputs;
    let plan = match ExportPlan::new(&program.root, &outputs, spec) {
        Ok(plan) => plan,
        Err(report) => return Err(Failure::new(sources, vec![report])),
    };
    let (graph, roots, _) = passes::optimize(&ready.evaluated.graph, &trees(&outputs));
    if let Err(reports) = inside::refuse(&graph, &roots, &program.root, &sources) {
        return Err(Failure::new(sources, reports));
    }
    // A definition's commands are tried, as BuildKit does.
    if let Err(reports) = emulation::refuse(&Machine::this(), &graph, &roots, &sources) {
        return Err(Failure::new(sources, reports));
    }
    let program = program.history();
    Ok(Some(Work { sources, graph, outputs, roots, plan, session, resolver, runtime, program }))
}

/// Reads a definition. It is built as it stands: no pass changes its steps, so their keys are those of BuildKit.
fn of_definition(args: &args::Build, file: &Path, spec: Option<OutputSpec>) -> Result<Work, Failure> {
    if let Some(word) = args.selection.words.first() {
        return Err(Report::error("bkl::usage", format!("`{word}` cannot be chosen of a definition"))
            .help("a definition has one result: leave the word away")
            .into());
    }
    let given = Given::read(&args.secrets)?;
    let session: Arc<dyn Session> = Arc::new(LocalSession::of_definition(&args.definition, given)?);
    let Definition { sources, graph, outputs, roots, program } = definition::read(file)?;
    let plan = ExportPlan::new(Path::new("."), &outputs, spec)?;
    let runtime = runtime()?;
    let resolver = resolver(args, &session, &runtime);
    Ok(Work { sources, graph, outputs, roots, plan, session, resolver, runtime, program })
}

fn resolver(args: &args::Build, session: &Arc<dyn Session>, runtime: &tokio::runtime::Runtime) -> Resolver {
    let limits = args.jobs.map(|jobs| Limits { commands: jobs.max(1), ..default_limits() });
    let (store, handle) = (args.inputs.store.clone(), runtime.handle().clone());
    Resolver::new(store, limits, args.format, session.clone(), handle)
        .with_sandbox(args.commands.network.into())
}

impl Work {
    /// Solves, exports, and says what became of it.
    fn build(self, args: &args::Build) -> Result<(), Failure> {
        let Work { sources, graph, outputs, roots, plan, session, resolver, runtime, program } = self;
        let engine = resolver.engine()?;
        let _later = Later { engine, gc: args.commands.gc };
        let rerun = steps::named(&args.no_cache_filter, &outputs, &graph, &roots)?;
        let inspector = if args.shell_on_failure { Some(shell::inspector()?) } else { None };
        // What is drawn live would be drawn over the shell.
        let progress = match (args.progress, &inspector) {
            (args::Progress::Auto | args::Progress::Tty, Some(_)) => args::Progress::Plain,
            (progress, _) => progress,
        };
        let grants = allow::grants(&args.commands)?;
        allow::say(&grants, &graph, &roots, progress);
        let caches = Caches::read(&args.caches, plan.all.as_ref())?;
        let build = Build {
            engine,
            session,
            graph: &graph,
            roots: &roots,
            grants,
            rerun,
            program,
            inspector,
            caches: caches.clone(),
        };
        let cache = if args.no_cache { CacheMode::Ignore } else { CacheMode::Use };
        let solved = match again::solve(build, cache, progress, &runtime) {
            Ok(solved) => solved,
            Err(Stopped::Signal(code)) => {
                return Err(Failure { sources: SourceMap::default(), reports: vec![stopped()], code });
            }
            Err(Stopped::Error(error)) => {
                let log_path = |failed: &FailedVertex| Some(engine.store().log_path(&failed.run?));
                let store_root = engine.store().root();
                let context = Context { sources: &sources, graph: &graph, store_root, log_path: &log_path };
                let reports = failure::reports(&error, &context);
                return Err(Failure::new(sources, reports));
            }
        };
        // A large one takes more than what is left to do.
        drop(graph);
        let mut built = built(outputs, &solved.trees);
        let items = built.iter_mut().map(|it| it.item.as_mut());
        caches.put_inline(engine, solved.known.as_ref(), &roots, items, plan.all.as_ref())?;
        let exported = match stop::listening(&runtime, |cancel| plan.run(engine, &built, cancel)) {
            (Err(_), Some(code)) => {
                return Err(Failure { sources: SourceMap::default(), reports: vec![stopped()], code });
            }
            (exported, _) => exported?,
        };
        if let Some(path) = &args.metadata_file {
            write_metadata(path, &exported, &solved.caches)?;
        }
        if args.progress != args::Progress::Quiet {
            summary(engine, &built, &exported, &solved)?;
        }
        let reports: Vec<Report> = solved.caches.iter().filter_map(CacheExported::report).collect();
        if reports.iter().any(|it| it.severity == Severity::Error) {
            return Err(Failure::new(SourceMap::default(), reports));
        }
        print_reports(&reports, &SourceMap::default(), args.format);
        Ok(())
    }
}

/// The runtime of a verb: two threads, for a build waits far more than it computes; heavy work has threads of its own.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| {
        let reason = program::io_reason(&error);
        Report::error("bkl::environment", format!("cannot start threads: {reason}")).into()
    })
}

fn default_limits() -> Limits {
    Limits::for_cpus(std::thread::available_parallelism().map_or(1, usize::from))
}

/// Reads `-o` and refuses a terminal for bytes that are not text.
fn output_spec(text: &str) -> Result<OutputSpec, Failure> {
    let spec = export::parse(text).map_err(|error| error.report())?;
    if spec.writes_stdout() && io::stdout().is_terminal() {
        return Err(Report::error("bkl::terminal", "an archive is not text, and stdout is a terminal")
            .help("write it to a file with `dest=FILE`, or pipe it into another program")
            .into());
    }
    Ok(spec)
}

/// The trees of all outputs in order; an index has several, scratch is `None`.
pub(super) fn trees(outputs: &[Output]) -> Vec<Tree> {
    let of = |output: &Output| match &output.kind {
        OutputKind::Fs(tree) => vec![*tree],
        OutputKind::Image(image) => vec![image.tree],
        OutputKind::Index { images, .. } => images.iter().map(|image| image.tree).collect(),
        OutputKind::Check(edge) => vec![Some(*edge)],
    };
    outputs.iter().flat_map(of).collect()
}

/// What is to be solved.
pub(super) struct Build<'a> {
    pub(super) engine: &'a Engine,
    pub(super) session: Arc<dyn Session>,
    pub(super) graph: &'a Graph,
    pub(super) roots: &'a [Tree],
    /// What commands may have beyond the usual.
    pub(super) grants: Grants,
    /// Steps that run although there is a result.
    pub(super) rerun: BTreeSet<VertexId>,
    /// Names the program in the history.
    pub(super) program: Digest,
    /// Who may look at commands that failed.
    pub(super) inspector: Option<Arc<shell::Opener>>,
    /// What is exchanged with other machines.
    pub(super) caches: Caches,
}

/// The trees of a build, one per root.
pub(super) struct SolvedTrees {
    trees: Vec<Snapshot>,
    stats: SolveStats,
    known: Option<Known>,
    caches: Vec<CacheExported>,
    /// What is exported must not be removed before.
    _held: Arc<InUse>,
}

/// Why there are none.
pub(super) enum Stopped {
    Error(SolveError),
    /// By a signal; the exit code.
    Signal(u8),
}

impl Build<'_> {
    /// What the engine is asked.
    pub(super) fn request(&self, cache: CacheMode, events: EventSink, cancel: &Cancel) -> SolveRequest<'_> {
        SolveRequest {
            graph: self.graph,
            roots: self.roots.iter().copied().flatten().collect(),
            session: self.session.clone(),
            grants: self.grants.clone(),
            cache,
            cache_from: self.caches.from.clone(),
            aftermath: self.caches.aftermath(),
            rerun: self.rerun.clone(),
            program: self.program,
            inspector: self.inspector.clone().map(|it| it as Arc<dyn Inspector>),
            events,
            cancel: cancel.clone(),
        }
    }

    /// Solves, until a signal says stop: then everything that runs is stopped and waited for.
    pub(super) async fn solve(&self, cache: CacheMode, events: EventSink) -> Result<SolvedTrees, Stopped> {
        let cancel = Cancel::new();
        let request = self.request(cache, events.clone(), &cancel);
        let solving = async {
            let solved = self.engine.solve(request).await?;
            let exported = match &solved.known {
                Some(known) => self.caches.export(self.engine, known, &self.session, &events, &cancel).await,
                None => Vec::new(),
            };
            Ok((solved, exported))
        };
        tokio::pin!(solving);
        let mut code = None;
        let solved = match Signals::new() {
            Ok(mut signals) => loop {
                tokio::select! {
                    solved = &mut solving => break solved,
                    it = signals.next() => code = Some(it),
                }
                cancel.cancel();
            },
            Err(_) => solving.await,
        };
        match (solved, code) {
            (Ok((_, caches)), Some(code)) if caches.iter().any(CacheExported::is_cancelled) => {
                Err(Stopped::Signal(code))
            }
            (Ok((result, caches)), _) => {
                let mut made = result.roots.into_iter();
                let tree = |root: &Tree| match root {
                    Some(_) => made.next().expect("the engine gives a tree per root"),
                    None => Snapshot::scratch(),
                };
                let trees = self.roots.iter().map(tree).collect();
                Ok(SolvedTrees {
                    trees,
                    stats: result.stats,
                    known: result.known,
                    caches,
                    _held: result.held,
                })
            }
            (Err(_), Some(code)) => Err(Stopped::Signal(code)),
            (Err(error), None) => Err(Stopped::Error(error)),
        }
    }
}

/// Leaves to other processes what is to be done when the build has ended, however it ends: syncing what was built, and
/// removing what is not wanted any more.
pub(super) struct Later<'a> {
    pub(super) engine: &'a Engine,
    pub(super) gc: Collection,
}

impl Drop for Later<'_> {
    fn drop(&mut self) {
        let store = self.engine.store();
        if store.is_unsynced() {
            // Without it a power cut costs a rebuild.
            let _ = store.start_flusher();
        }
        if let Collection::On(limits) = self.gc {
            // Without it the next build's does it.
            let _ = store.start_collector(&limits);
        }
    }
}

pub(super) fn stopped() -> Report {
    Report::error("bkl::stopped", "stopped; everything that was finished is kept")
}

/// What became of an output: its trees, or nothing for a check.
struct Built {
    name: String,
    item: Option<ExportItem>,
}

/// The outputs with their trees.
fn built(outputs: Vec<Output>, trees: &[Snapshot]) -> Vec<Built> {
    let mut trees = trees.iter().cloned();
    let mut next = || trees.next().expect("there is a tree per root, in the same order");
    outputs
        .into_iter()
        .map(|output| {
            let mut image = |image: ImageOutput| ExportImage {
                snapshot: next(),
                config: image.config,
                tags: image.tags,
                cache: None,
            };
            let kind = match output.kind {
                OutputKind::Image(it) => Some(ExportKind::Image(Box::new(image(*it)))),
                OutputKind::Index { images, tags } => {
                    Some(ExportKind::Index { images: images.into_iter().map(image).collect(), tags })
                }
                OutputKind::Fs(_) => Some(ExportKind::Fs(next())),
                OutputKind::Check(_) => {
                    next();
                    None
                }
            };
            let item = kind.map(|kind| ExportItem { name: output.name.clone(), kind });
            Built { name: output.name, item }
        })
        .collect()
}

/// Where each output goes.
struct ExportPlan {
    /// All of them, as `-o` says.
    all: Option<OutputSpec>,
    /// Per output, the folder that its declaration names.
    folders: Vec<Option<PathBuf>>,
}

/// What became of an output.
struct Exported {
    name: String,
    became: Became,
}

/// Where a result is.
enum Became {
    /// A check: it succeeded.
    Checked,
    /// Only in the store.
    Stored,
    /// Written there; with its digests, when it is an image.
    Written(String, Option<ExportedImage>),
}

impl ExportPlan {
    /// `root` is the folder that declared destinations are relative to.
    fn new(root: &Path, outputs: &[Output], spec: Option<OutputSpec>) -> Result<ExportPlan, Report> {
        if let Some(spec) = &spec {
            refuse_unfit(outputs, spec)?;
        }
        let mut folders = Vec::new();
        for output in outputs {
            let Some(dest) = output.dest.as_ref().filter(|_| spec.is_none()) else {
                folders.push(None);
                continue;
            };
            let inside = Path::new(dest)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !inside {
                return Err(Report::error(
                    "bkl::bad_dest",
                    format!("`{dest}` of `{}` leaves the program's folder", output.name),
                )
                .label(output.span, "declared here")
                .help("write elsewhere with `-o DIR`"));
            }
            if let Some(report) = tracked::leads_out(root, dest) {
                return Err(report.label(output.span, "declared here").help("write elsewhere with `-o DIR`"));
            }
            folders.push(Some(root.join(dest)));
        }
        Ok(ExportPlan { all: spec, folders })
    }

    fn run(self, engine: &Engine, built: &[Built], cancel: &Cancel) -> Result<Vec<Exported>, Report> {
        let store = engine.store();
        let mut stdout = io::stdout().lock();
        if let Some(spec) = &self.all {
            // No check is among them: that was refused.
            let items: Vec<ExportItem> = built.iter().filter_map(|built| built.item.clone()).collect();
            let report = export::export(store, &items, spec, &mut stdout, cancel)
                .map_err(|error| export_report(&error, engine.store().root()))?;
            let dest = match &spec.dest {
                Dest::Stdout => "stdout".to_owned(),
                Dest::Path(path) => path.display().to_string(),
            };
            let exported = items.into_iter().map(|item| {
                let image = report.images.iter().find(|image| image.name == item.name).cloned();
                Exported { name: item.name, became: Became::Written(dest.clone(), image) }
            });
            return Ok(exported.collect());
        }
        let mut done = Vec::new();
        for (Built { name, item }, folder) in built.iter().zip(self.folders) {
            let became = match (item, folder) {
                (None, _) => Became::Checked,
                (Some(_), None) => Became::Stored,
                (Some(item), Some(folder)) => {
                    let spec = OutputSpec {
                        format: export::Format::Local,
                        dest: Dest::Path(folder.clone()),
                        as_dir: false,
                        image: ImageOptions::default(),
                    };
                    let files = ExportItem { name: name.clone(), kind: files_of(&item.kind) };
                    export::export(store, &[files], &spec, &mut stdout, cancel)
                        .map_err(|error| export_report(&error, engine.store().root()))?;
                    Became::Written(folder.display().to_string(), None)
                }
            };
            done.push(Exported { name: name.clone(), became });
        }
        Ok(done)
    }
}

/// Refuses what cannot be exported in the form that `-o` asks for, before anything is built.
fn refuse_unfit(outputs: &[Output], spec: &OutputSpec) -> Result<(), Report> {
    let wants_images = matches!(spec.format, export::Format::Oci | export::Format::Docker);
    for output in outputs {
        match &output.kind {
            OutputKind::Check(_) => {
                let files = outputs.iter().filter(|it| !matches!(it.kind, OutputKind::Check(_)));
                let files: Vec<&str> = files.map(|it| it.name.as_str()).collect();
                let help = match files.as_slice() {
                    [] => "leave `-o` away: the check runs, and says `ok`".to_owned(),
                    files => format!("name what is to be written: {}", files.join(" ")),
                };
                let message = format!("`{}` is a check and gives no files", output.name);
                return Err(Report::error("bkl::bad_output", message)
                    .label(output.span, "a check only succeeds or fails")
                    .help(help));
            }
            OutputKind::Fs(_) if wants_images => {
                let form = spec.format.name();
                let message = format!(
                    "`{}` is a tree of files, not an image: it cannot be exported as `type={form}`",
                    output.name
                );
                let is_image =
                    |it: &&Output| matches!(it.kind, OutputKind::Image(_) | OutputKind::Index { .. });
                let mut images: Vec<&str> = outputs.iter().filter(is_image).map(target_of).collect();
                images.dedup();
                let help = match images.as_slice() {
                    [] => {
                        "export files with `type=local` or `type=tar`, or make an image of them with `.image()`"
                            .to_owned()
                    }
                    images => format!("name what are images: {}", images.join(" ")),
                };
                return Err(Report::error("bkl::bad_output", message)
                    .label(output.span, "this is fs")
                    .help(help));
            }
            OutputKind::Fs(_) | OutputKind::Image(_) | OutputKind::Index { .. } => {}
        }
    }
    Ok(())
}

/// The target that an output is a part of.
fn target_of(output: &Output) -> &str {
    output.name.split('.').next().unwrap_or(&output.name)
}

/// An image that is written as files is its tree.
fn files_of(kind: &ExportKind) -> ExportKind {
    match kind {
        ExportKind::Image(image) => ExportKind::Fs(image.snapshot.clone()),
        ExportKind::Fs(_) | ExportKind::Index { .. } => kind.clone(),
    }
}

fn export_report(error: &export::ExportError, store_root: &Path) -> Report {
    match error {
        export::ExportError::Store { source, .. } if source.is_no_space() => {
            failure::store(source, store_root)
        }
        _ => error.report(),
    }
}

/// One line per output, with its digest and where it went, and what it took.
fn summary(
    engine: &Engine,
    built: &[Built],
    exported: &[Exported],
    solved: &SolvedTrees,
) -> Result<(), Report> {
    let stats = &solved.stats;
    let mut lines = String::new();
    for it in exported {
        let digest = || -> Result<String, Report> {
            let item = built.iter().find(|built| built.name == it.name).and_then(|built| built.item.as_ref());
            let digest = item.map(|item| export::identify(engine.store(), item)).transpose();
            let digest = digest.map_err(|error| export_report(&error, engine.store().root()))?.flatten();
            Ok(digest.map_or_else(|| "empty".to_owned(), |digest| digest.to_string()))
        };
        lines += &match &it.became {
            Became::Checked => format!("{}  ok\n", it.name),
            Became::Stored => format!("{}  {}\n", it.name, digest()?),
            Became::Written(dest, Some(image)) => format!("{}  {}  -> {dest}\n", it.name, image.digest),
            Became::Written(dest, None) => format!("{}  {}  -> {dest}\n", it.name, digest()?),
        };
    }
    lines.extend(solved.caches.iter().filter_map(CacheExported::summary));
    let n_run = stats.n_executed + stats.n_fetched;
    let steps = if stats.n_vertices == 1 { "step" } else { "steps" };
    lines += &format!("{} {steps}: {n_run} run, {} cached\n", stats.n_vertices, stats.n_cached);
    // There is nowhere left to say that stderr is closed.
    let _ = io::stderr().lock().write_all(lines.as_bytes());
    Ok(())
}

/// The digests of what was built, in the shape of buildx's metadata file.
fn write_metadata(path: &Path, exported: &[Exported], caches: &[CacheExported]) -> Result<(), Report> {
    let mut manifests = caches.iter().filter_map(|it| it.outcome.as_ref().ok()?.manifest.as_ref());
    // One build made them all: each target says so, as each is an entry of its own in buildx' file.
    let cache = manifests.next_back().map(|it| json!(it));
    let targets: serde_json::Map<String, serde_json::Value> = exported
        .iter()
        .map(|it| {
            let image = match &it.became {
                Became::Written(_, image) => image.as_ref(),
                Became::Checked | Became::Stored => None,
            };
            let image = image.map(|image| {
                let mut entry = json!({ "containerimage.digest": image.digest });
                // An index has a config per platform: none of them is its own.
                if let [(_, _, config)] = &image.platforms[..] {
                    entry["containerimage.config.digest"] = json!(config);
                }
                if !image.tags.is_empty() {
                    entry["image.name"] = json!(image.tags.join(","));
                }
                entry
            });
            let mut entry = image.unwrap_or_else(|| json!({}));
            if let Some(cache) = &cache {
                entry["cache.manifest"] = cache.clone();
            }
            (it.name.clone(), entry)
        })
        .collect();
    std::fs::write(path, format!("{:#}\n", serde_json::Value::Object(targets))).map_err(|error| {
        let reason = program::io_reason(&error);
        Report::error("bkl::export", format!("cannot write `{}`: {reason}", path.display()))
    })
}

/// `--list`: names, types and the first lines of docs; results, so on stdout.
fn list(targets: &[crate::lang::eval::TargetInfo], format: Format) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = if format == Format::Json {
        let list: Vec<_> = targets
            .iter()
            .map(|it| json!({ "name": it.name, "type": it.ty, "doc": it.doc, "dest": it.dest, "public": it.public }))
            .collect();
        writeln!(out, "{:#}", serde_json::Value::Array(list))
    } else {
        let width = |of: fn(&crate::lang::eval::TargetInfo) -> &str| {
            targets.iter().map(|it| of(it).len()).max().unwrap_or(0)
        };
        let (names, types) = (width(|it| &it.name), width(|it| &it.ty));
        targets.iter().try_for_each(|it| {
            let doc = it.doc.as_deref().and_then(|doc| doc.lines().next()).unwrap_or_default();
            let line = format!("{:names$}  {:types$}  {doc}", it.name, it.ty);
            writeln!(out, "{}", line.trim_end())
        })
    };
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Report::error(
            "bkl::output",
            format!("cannot write to stdout: {}", program::io_reason(&error)),
        )
        .into()),
        _ => Ok(()),
    }
}
