//! The engine: a store, a scheduler and everything ops need, and the way from a graph to results.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use crate::base::{Digest, Platform};
use crate::graph::ir::{Edge, Graph, Location, Op, VertexId};
use crate::graph::llb::{self, MarshalOptions};
use crate::store::{Store, StoreError};

use super::cancel::Cancel;
use super::exec::{ExecSpec, ExitStatus, HelperRunner, LogSink, RunError, Runner, RunnerKind};
use super::history::record::Book;
use super::history::why::Current;
use super::history::{self, Forced, Manifest, Why};
use super::ops::{Build, GraphOp, OpError, StoreCache};
use super::registry::RegistryOptions;
use super::request::{CacheMode, FailedVertex, SolveError, SolveRequest, SolveResult, SolveStats};
use super::solver::{Account, Failure, Limits, Node, Outcome, Plan, Scheduler, Solved};
use super::source::git::GitSource;
use super::source::http::HttpSource;
use super::source::image::ImageSource;
use super::source::local::LocalSource;
use super::source::oci_layout::OciLayoutSource;
use super::source::{Source, SourceError, StandsFor};
use super::tree::{Tree, Unstored};

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
}

/// Solves build graphs, any number at once, all in one store.
pub struct Engine {
    store: Arc<Store>,
    scheduler: Arc<Scheduler<GraphOp>>,
    runner: Arc<dyn Runner>,
    sources: Vec<Arc<dyn Source>>,
    images: Arc<ImageSource>,
    http: Arc<HttpSource>,
    machine: Platform,
}

impl Engine {
    /// An engine on the store at `root`, which is made if there is none.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn open(root: &Path, config: EngineConfig) -> Result<Engine, StoreError> {
        let EngineConfig { store, limits, registry, runner } = config;
        let n_cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let limits = limits.unwrap_or_else(|| Limits::for_cpus(n_cpus()));
        let http = Arc::new(HttpSource::new(registry.clone()));
        let images = Arc::new(ImageSource::new(registry));
        Ok(Engine {
            store: Arc::new(Store::open(root, &store)?),
            scheduler: Arc::new(Scheduler::new(limits)),
            runner: runner.unwrap_or_else(|| Arc::new(LazyRunner::default())),
            sources: vec![
                Arc::new(LocalSource),
                images.clone(),
                Arc::new(OciLayoutSource),
                http.clone(),
                Arc::new(GitSource),
            ],
            images,
            http,
            machine: Platform::host(),
        })
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
        let prepared = self.prepare(&request);
        let cache = Arc::new(StoreCache::new(self.store.clone(), prepared.unstored.clone()));
        let Outcome { result, ran, sources } =
            self.scheduler.solve(&prepared.plan, cache, request.events.clone(), &request.cancel).await;
        let failed = match &result {
            Err(Failure::Op { vertex, others, .. }) => {
                std::iter::once(*vertex).chain(others.iter().map(|(vertex, _)| *vertex)).collect()
            }
            Ok(_) | Err(Failure::Cancelled) => Vec::new(),
        };
        let runs: HashMap<usize, Digest> =
            ran.iter().filter_map(|(node, account)| Some((*node, account.run?))).collect();
        prepared.keep(&self.store, &request, ran, &sources, &failed);
        let kept = match result {
            Ok(solved) => prepared.store_roots(solved, &request.cancel).await,
            Err(failure) => Err(failure),
        };
        kept.map_err(|failure| prepared.error(request.graph, failure, &runs))
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
        self.ask_history(move |store| history::why::why(store, &program, &current, &made)).await
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
        let prepared = self.prepare(request);
        let cache = Arc::new(StoreCache::new(self.store.clone(), prepared.unstored.clone()));
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
    fn prepare(&self, request: &SolveRequest<'_>) -> Prepared {
        let SolveRequest { graph, roots, session, cache, rerun, .. } = request;
        let (session, cache) = (session.clone(), *cache);
        let build = Arc::new(Build {
            store: self.store.clone(),
            session,
            runner: self.runner.clone(),
            sources: self.sources.clone(),
            machine: self.machine.clone(),
            inspector: request.inspector.clone(),
            unstored: Arc::default(),
        });
        let digests = llb::digests(graph, &MarshalOptions::default());
        let united = United::new(graph, &digests, rerun);
        let mut forced = Vec::with_capacity(united.first.len());
        let mut nodes: Vec<Node<GraphOp>> = Vec::with_capacity(united.first.len());
        for (&id, &own) in united.first.iter().zip(&united.forced) {
            let vertex = graph.vertex(id);
            let inputs: Vec<(usize, usize)> = vertex
                .inputs
                .iter()
                .map(|edge| (united.node[edge.vertex.0 as usize], edge.output as usize))
                .collect();
            let below: Vec<&GraphOp> = inputs.iter().map(|&(input, _)| &*nodes[input].op).collect();
            let why = match (cache, &vertex.op) {
                (CacheMode::Ignore, Op::Source(_)) => None,
                (CacheMode::Ignore, _) => own.or(Some(Forced::NoCache)),
                (CacheMode::Use, _) => own,
            };
            forced.push(why);
            let digest = digests[id.0 as usize];
            let op = GraphOp::new(digest, vertex.clone(), why.is_some(), &below, build.clone());
            nodes.push(Node { op: Arc::new(op), inputs });
        }
        let roots =
            roots.iter().map(|edge| (united.node[edge.vertex.0 as usize], edge.output as usize)).collect();
        Prepared { plan: Plan { nodes, roots }, united, digests, forced, unstored: build.unstored.clone() }
    }
}

/// A request, ready for the scheduler.
struct Prepared {
    plan: Plan<GraphOp>,
    united: United,
    /// By vertex.
    digests: Vec<Digest>,
    /// By node: why results that exist are not used.
    forced: Vec<Option<Forced>>,
    unstored: Arc<Unstored>,
}

impl Prepared {
    /// The results, all in the store.
    async fn store_roots(
        &self,
        solved: Solved<Tree>,
        cancel: &Cancel,
    ) -> Result<SolveResult, Failure<OpError>> {
        let stats = stats(&self.plan, &solved);
        let mut roots = Vec::with_capacity(solved.roots.len());
        for (tree, &(vertex, _)) in solved.roots.into_iter().zip(&self.plan.roots) {
            if let Tree::Stored(tree) = tree {
                roots.push(tree);
                continue;
            }
            let cancel = cancel.clone();
            let write = move || tree.snapshot(&cancel);
            match super::blocking::blocking(SourceError::Cancelled, write).await {
                Ok(tree) => roots.push(tree),
                Err(SourceError::Cancelled) => return Err(Failure::Cancelled),
                Err(error) => {
                    let (error, others) = (Arc::new(OpError::Source(error)), Vec::new());
                    return Err(Failure::Op { vertex, error, others });
                }
            }
        }
        Ok(SolveResult { stats, roots })
    }

    fn error(&self, graph: &Graph, failure: Failure<OpError>, runs: &HashMap<usize, Digest>) -> SolveError {
        match failure {
            Failure::Cancelled => SolveError::Cancelled,
            Failure::Op { vertex, error, others } => {
                let failed = |(node, cause): (usize, Arc<OpError>)| {
                    let failed = self.united.failed(graph, &self.digests, node, cause);
                    FailedVertex { run: runs.get(&node).copied(), ..failed }
                };
                SolveError::Vertex {
                    failed: Box::new(failed((vertex, error))),
                    others: others.into_iter().map(failed).collect(),
                }
            }
        }
    }

    fn manifest(&self, graph: &Graph, node: usize, account: &Account, stands_for: StandsFor) -> Manifest {
        let id = self.united.first[node];
        let forced = self.forced[node];
        Manifest::new(graph, id, &self.digests, account, forced, stands_for)
    }

    /// Keeps what ran, with what it was made of. That it cannot be kept costs only answers to later questions.
    fn keep(
        &self,
        store: &Store,
        request: &SolveRequest<'_>,
        ran: Vec<(usize, Account)>,
        sources: &[(usize, Account)],
        failed: &[usize],
    ) {
        let mut book = Book::new(store, request.program);
        for (node, account) in sources {
            let op = &self.plan.nodes[*node].op;
            let digest = self.digests[self.united.first[*node].0 as usize];
            book.source(account, &digest, || self.manifest(request.graph, *node, account, op.stands_for()));
        }
        for (node, account) in ran {
            if !self.plan.nodes[node].op.is_source() {
                let manifest = self.manifest(request.graph, node, &account, StandsFor::Other);
                book.ran(&account, &Manifest { failed: failed.contains(&node), ..manifest });
            }
        }
        book.keep();
    }
}

fn stats(plan: &Plan<GraphOp>, solved: &Solved<Tree>) -> SolveStats {
    let n_fetched = solved.executed.iter().filter(|&&node| plan.nodes[node].op.is_source()).count();
    SolveStats {
        n_vertices: solved.n_reachable,
        n_fetched,
        n_executed: solved.executed.len() - n_fetched,
        n_cached: solved.n_reachable - solved.executed.len(),
    }
}

/// The vertices of a graph, equal ones taken together.
struct United {
    /// By node: the first vertex of its digest.
    first: Vec<VertexId>,
    /// By node: whether any vertex of its digest ignores the cache, and why.
    forced: Vec<Option<Forced>>,
    /// By vertex: its node.
    node: Vec<usize>,
}

impl United {
    fn new(graph: &Graph, digests: &[Digest], rerun: &BTreeSet<VertexId>) -> United {
        let mut united = United { first: Vec::new(), forced: Vec::new(), node: Vec::new() };
        let mut by_digest: HashMap<Digest, usize> = HashMap::with_capacity(digests.len());
        for (id, vertex) in graph.vertices() {
            let node = *by_digest.entry(digests[id.0 as usize]).or_insert(united.first.len());
            if node == united.first.len() {
                united.first.push(id);
                united.forced.push(None);
            }
            if vertex.metadata.ignore_cache {
                united.forced[node] = Some(Forced::Program);
            } else if rerun.contains(&id) && !matches!(vertex.op, Op::Source(_)) {
                united.forced[node].get_or_insert(Forced::Filter);
            }
            united.node.push(node);
        }
        united
    }

    fn failed(&self, graph: &Graph, digests: &[Digest], node: usize, cause: Arc<OpError>) -> FailedVertex {
        let vertex = self.first[node];
        let failed_action = match &*cause {
            OpError::File(failed) => Some(failed.action),
            _ => None,
        };
        let is_meant = |at: &&Location| match (&at.actions, failed_action) {
            (Some(actions), Some(failed)) => actions.contains(&failed),
            _ => true,
        };
        let locations = graph
            .vertices()
            .filter(|(id, _)| self.node[id.0 as usize] == node)
            .flat_map(|(_, vertex)| vertex.locations.iter().filter(is_meant).cloned())
            .collect::<Vec<Location>>();
        let digest = digests[vertex.0 as usize];
        FailedVertex { vertex, digest, name: graph.vertex(vertex).name(), run: None, locations, cause }
    }
}

/// Finds out how commands are run when the first one is: most builds run none.
#[derive(Default)]
struct LazyRunner {
    runner: OnceLock<HelperRunner>,
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
                    let made = HelperRunner::new(RunnerKind::from_env()?)?;
                    self.runner.get_or_init(|| made)
                }
            };
            runner.run(spec, log, cancel).await
        })
    }
}
