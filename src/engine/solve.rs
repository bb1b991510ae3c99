//! The engine: a store, a scheduler and everything ops need, and the way from a graph to results.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use crate::base::{Digest, Platform};
use crate::graph::ir::{Edge, VertexId};
use crate::session::Session;
use crate::store::{Store, StoreError};

use super::cache::{self, CacheExportError, CacheReport, CacheTo, ImportedCaches, Known};
use super::cancel::{Cancel, Hold};
use super::cdi;
use super::emulation::{Emulators, Machine};
use super::event::{Event, EventSink};
use super::exec::{
    ExecSpec, ExitStatus, HelperRunner, LogSink, RunError, Runner, RunnerKind, SandboxNetwork,
};
use super::history::why::Current;
use super::history::{self, Why};
use super::ops::{Build, GraphOp, StoreCache};
use super::plan::Prepared;
use super::registry::RegistryOptions;
use super::request::{SolveError, SolveRequest, SolveResult};
use super::solver::{Failure, Limits, Node, Outcome, Scheduler};
use super::source::Source;
use super::source::blob::BlobSource;
use super::source::git::GitSource;
use super::source::http::HttpSource;
use super::source::image::ImageSource;
use super::source::local::LocalSource;
use super::source::oci_layout::OciLayoutSource;
use super::tree::Unstored;

/// How an engine is set up.
#[derive(Default)]
pub struct EngineConfig {
    /// How the store is opened.
    pub store: crate::store::Options,
    /// How many ops run at once; `None` is by the machine's CPUs.
    pub limits: Option<Limits>,
    /// How registries are talked to.
    pub registry: RegistryOptions,
    /// Runs commands; `None` is helper processes of the kind that `BKL_RUNNER` says ([`HelperRunner`]).
    pub runner: Option<Arc<dyn Runner>>,
    /// What the commands of helper processes are connected to that ask for no other network.
    pub sandbox: SandboxNetwork,
    /// How commands for other machines are run; `None` is by what is found on this one ([`Machine::this`]).
    pub machine: Option<Machine>,
    /// Where devices are specified; `None` is [`cdi::DIRECTORIES`].
    pub cdi: Option<Vec<PathBuf>>,
}

/// Solves build graphs, any number at once, all in one store.
pub struct Engine {
    store: Arc<Store>,
    scheduler: Arc<Scheduler<GraphOp>>,
    runner: Arc<dyn Runner>,
    sources: Vec<Arc<dyn Source>>,
    images: Arc<ImageSource>,
    http: Arc<HttpSource>,
    emulators: Arc<Emulators>,
    cdi: Arc<[PathBuf]>,
    machine: Platform,
}

impl Engine {
    /// An engine on the store at `root`, which is made if there is none.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn open(root: &Path, config: EngineConfig) -> Result<Engine, StoreError> {
        Ok(Engine::on(Store::open(root, &config.store)?, config))
    }

    /// An engine on a store that is there, for who only asks.
    ///
    /// # Errors
    /// As [`Store::open_existing`].
    pub fn open_existing(root: &Path, config: EngineConfig) -> Result<Engine, StoreError> {
        Ok(Engine::on(Store::open_existing(root, &config.store)?, config))
    }

    fn on(store: Store, config: EngineConfig) -> Engine {
        let EngineConfig { store: _, limits, registry, runner, sandbox, machine, cdi } = config;
        let n_cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let limits = limits.unwrap_or_else(|| Limits::for_cpus(n_cpus()));
        let http = Arc::new(HttpSource::new(registry.clone()));
        let images = Arc::new(ImageSource::new(registry));
        let blobs = BlobSource::new(images.clone());
        Engine {
            store: Arc::new(store),
            scheduler: Arc::new(Scheduler::new(limits)),
            runner: runner.unwrap_or_else(|| Arc::new(LazyRunner { runner: OnceLock::new(), sandbox })),
            sources: vec![
                Arc::new(LocalSource),
                images.clone(),
                Arc::new(OciLayoutSource),
                http.clone(),
                Arc::new(blobs.clone()),
                Arc::new(GitSource::new(blobs)),
            ],
            images,
            http,
            cdi: cdi.unwrap_or_else(|| cdi::DIRECTORIES.map(PathBuf::from).to_vec()).into(),
            emulators: Arc::new(Emulators::of(machine.unwrap_or_else(Machine::this))),
            machine: Platform::host(),
        }
    }

    /// Where results are kept.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The source of images, for those who need their configs.
    pub fn images(&self) -> &Arc<ImageSource> {
        &self.images
    }

    /// The source of the web's files, for those who need their digests.
    pub fn http(&self) -> &Arc<HttpSource> {
        &self.http
    }

    /// Builds the request's roots. Must be called on a tokio runtime; one thread is enough.
    ///
    /// Returns when nothing of this build runs any more, however it ended.
    ///
    /// # Errors
    /// The first failure with the vertex it happened in; see [`SolveError`].
    pub async fn solve(&self, request: SolveRequest<'_>) -> Result<SolveResult, SolveError> {
        let held = Arc::new(self.store.begin_build());
        let mut prepared = self.prepare(&request, None);
        prepared.check_entitlements(request.graph, &request.roots)?;
        let imports = self.import(&request).await;
        if imports.is_some() {
            prepared = self.prepare(&request, imports.clone());
        }
        prepared.prune_caches(request.graph).await;
        let cache = StoreCache::new(self.store.clone(), prepared.unstored().clone());
        let cache = Arc::new(cache.with_imports(imports));
        let (events, hold) = (request.events.clone(), prepared.hold());
        let solving =
            self.scheduler.solve_and(&prepared.plan, cache, events, &request.cancel, hold, request.aftermath);
        let Outcome { result, ran, sources, ledger, trace } = solving.await;
        let failed = result.as_ref().err().map(Failure::vertices).unwrap_or_default();
        let runs = prepared.keep(request.graph, &ledger, &ran, &sources, &failed);
        drop(ledger);
        // Not known, it costs results their place among those that stay.
        let _ = self.store.note_uses();
        let kept = match result {
            Ok(solved) => prepared.store_roots(solved, &request.cancel, held).await,
            Err(failure) => Err(failure),
        };
        let kept = kept.map(|solved| {
            let known = trace.map(|trace| prepared.known(trace, &solved.roots));
            SolveResult { known, ..solved }
        });
        kept.map_err(|failure| prepared.error(request.graph, failure, &runs))
    }

    /// Exports what is known of a build to a registry or a directory.
    ///
    /// # Errors
    /// See [`CacheExportError`].
    pub async fn export_cache(
        &self,
        known: &Known,
        to: &CacheTo,
        session: &Arc<dyn Session>,
        events: EventSink,
        cancel: &Cancel,
    ) -> Result<CacheReport, CacheExportError> {
        let registry = self.images.registry(session);
        cache::export::export(known, to, &registry, &self.store, events, cancel).await
    }

    /// Reads the caches that may have what the store has not. What cannot be read is warned of.
    async fn import(&self, request: &SolveRequest<'_>) -> Option<Arc<ImportedCaches>> {
        if request.cache_from.is_empty() {
            return None;
        }
        let registry = self.images.registry(&request.session);
        let reading = request.cache_from.iter().map(|from| {
            let (registry, events, cancel) = (&registry, &request.events, &request.cancel);
            async move {
                let name = format!("importing cache from {}", from.shown());
                let vertex = Digest::of(&name);
                events(Event::Started { vertex, name, inputs: Vec::new(), at: SystemTime::now() });
                let read = tokio::select! {
                    read = cache::import::read(from, registry, &self.store) => Some(read),
                    () = cancel.cancelled() => None,
                };
                let notices = match &read {
                    Some(Ok(caches)) => caches.iter().filter_map(|it| it.notice.clone()).collect(),
                    Some(Err(error)) => vec![format!("the cache `{}` is not used: {error}", from.shown())],
                    None => Vec::new(),
                };
                notices.into_iter().for_each(|message| events(Event::Warning { vertex, message }));
                events(Event::Completed { vertex, at: SystemTime::now(), error: None, cached: false });
                read.and_then(Result::ok).unwrap_or_default()
            }
        });
        let mut imports = ImportedCaches::new(Store::clone(&self.store));
        for cache in futures_util::future::join_all(reading).await.into_iter().flatten() {
            imports.add(cache);
        }
        Some(imports).filter(|it| !it.is_empty()).map(Arc::new)
    }

    /// Says why the roots have to be built, or why they were when something of them last ran.
    ///
    /// # Errors
    /// When a source cannot be looked at, or the history cannot be read.
    pub async fn why(&self, request: &SolveRequest<'_>) -> Result<Why, SolveError> {
        let (current, program) = (self.current(request).await?, request.program);
        let mut made = Vec::new();
        if !history::why::runs(&current) {
            // A result that is there hides what is below it: everything is asked for.
            let steps = current.iter().filter(|it| !it.manifest.is_source()).map(|it| it.vertex);
            let edges = |vertex: VertexId| {
                let n_outputs = request.graph.vertex(vertex).op.n_outputs() as u32;
                (0..n_outputs).map(move |output| Edge { vertex, output })
            };
            let all = SolveRequest { roots: steps.flat_map(edges).collect(), ..request.clone() };
            let all = self.current(&all).await?;
            made = all.iter().filter(|it| !it.manifest.is_source()).filter_map(|it| it.run).collect();
        }
        self.ask_history(move |store| {
            let why = history::why::why(store, &program, &current, &made)?;
            history::why::imported(store, &current, why)
        })
        .await
    }

    /// For each of `wanted`, which the roots are built from: the run that made its result, else its nearest earlier one.
    ///
    /// # Errors
    /// When a source cannot be looked at, or the history cannot be read.
    pub async fn runs_behind(
        &self,
        request: &SolveRequest<'_>,
        wanted: &[VertexId],
    ) -> Result<Vec<Option<history::why::Known>>, SolveError> {
        let (current, program) = (self.current(request).await?, request.program);
        let wanted = wanted.to_vec();
        self.ask_history(move |store| history::why::behind(store, &program, &current, &wanted)).await
    }

    /// Asks where it may block.
    async fn ask_history<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SolveError> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || ask(&store)).await {
            Ok(answer) => answer.map_err(|error| SolveError::Store(Box::new(error))),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is being shut down.
            Err(_) => Err(SolveError::Cancelled),
        }
    }

    /// What the roots are built from, as it is now, inputs before users; nothing is run or fetched.
    async fn current(&self, request: &SolveRequest<'_>) -> Result<Vec<Current>, SolveError> {
        let _held = self.store.begin_build();
        let prepared = self.prepare(request, None);
        let cache = Arc::new(StoreCache::new(self.store.clone(), prepared.unstored().clone()));
        let looked = self.scheduler.survey(&prepared.plan, cache, &request.cancel).await;
        let accounts = looked.map_err(|failure| prepared.error(request.graph, failure, &HashMap::new()))?;
        let mut current: Vec<Current> = Vec::new();
        let mut place = vec![0; accounts.len()];
        for (node, account) in accounts.iter().enumerate() {
            let Some(account) = account else { continue };
            place[node] = current.len();
            let Node { op, inputs } = &prepared.plan.nodes[node];
            let vertex = prepared.united.first[node];
            current.push(Current {
                vertex,
                manifest: prepared.manifest(request.graph, node, account, op.stands_for()),
                run: account.run,
                standing: account.standing,
                inputs: inputs.iter().map(|&(input, _)| place[input]).collect(),
                is_root: prepared.plan.roots.iter().any(|&(root, _)| root == node),
            });
        }
        Ok(current)
    }

    /// The graph as the scheduler takes it.
    fn prepare(&self, request: &SolveRequest<'_>, imports: Option<Arc<ImportedCaches>>) -> Prepared {
        let build = Arc::new(Build {
            store: self.store.clone(),
            session: request.session.clone(),
            runner: self.runner.clone(),
            sources: self.sources.clone(),
            machine: self.machine.clone(),
            inspector: request.inspector.clone(),
            hold: Hold::default(),
            cancel: request.cancel.clone(),
            cdi: self.cdi.clone(),
            emulators: self.emulators.clone(),
            unstored: Arc::new(Unstored::default()),
            grants: request.grants.clone(),
            said: Default::default(),
            scheduler: self.scheduler.clone(),
            cache: request.cache,
            imports,
            program: request.program,
            files: request.graph.files(),
            within: Vec::new(),
        });
        Prepared::new(&build, request.graph, &request.roots, &request.rerun)
    }
}

/// Finds out how commands are run when the first one is: most builds run none.
struct LazyRunner {
    runner: OnceLock<HelperRunner>,
    sandbox: SandboxNetwork,
}

impl Runner for LazyRunner {
    fn run<'a>(
        &'a self,
        spec: ExecSpec,
        log: &'a dyn LogSink,
        cancel: &'a Cancel,
    ) -> BoxFuture<'a, Result<ExitStatus, RunError>> {
        Box::pin(async move {
            let runner = match self.runner.get() {
                Some(runner) => runner,
                None => {
                    let made = HelperRunner::new(RunnerKind::from_env()?)?.with_sandbox(self.sandbox);
                    self.runner.get_or_init(|| made)
                }
            };
            runner.run(spec, log, cancel).await
        })
    }
}
