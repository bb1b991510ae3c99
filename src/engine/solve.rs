//! The engine: a store, a scheduler and everything ops need, and the way from a graph to results.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use crate::base::{Digest, Platform};
use crate::graph::ir::{Graph, Location, Op, VertexId};
use crate::graph::llb::{self, MarshalOptions};
use crate::store::{Snapshot, Store, StoreError};

use super::cancel::Cancel;
use super::exec::{ExecSpec, ExitStatus, HelperRunner, LogSink, RunError, Runner, RunnerKind};
use super::ops::{Build, GraphOp, OpError, StoreCache};
use super::registry::RegistryOptions;
use super::request::{CacheMode, FailedVertex, SolveError, SolveRequest, SolveResult, SolveStats};
use super::solver::{Failure, Limits, Node, Plan, Scheduler};
use super::source::Source;
use super::source::git::GitSource;
use super::source::http::HttpSource;
use super::source::image::ImageSource;
use super::source::local::LocalSource;
use super::source::oci_layout::OciLayoutSource;

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
        let SolveRequest { graph, roots, session, cache, events, cancel } = request;
        let build = Arc::new(Build {
            store: self.store.clone(),
            session,
            runner: self.runner.clone(),
            sources: self.sources.clone(),
            machine: self.machine.clone(),
        });
        let digests = llb::digests(graph, &MarshalOptions::default());
        let united = United::new(graph, &digests);
        let mut nodes: Vec<Node<GraphOp>> = Vec::with_capacity(united.first.len());
        for (&id, &ignore_cache) in united.first.iter().zip(&united.ignore_cache) {
            let vertex = graph.vertex(id);
            let inputs: Vec<(usize, usize)> = vertex
                .inputs
                .iter()
                .map(|edge| (united.node[edge.vertex.0 as usize], edge.output as usize))
                .collect();
            let below: Vec<&GraphOp> = inputs.iter().map(|&(input, _)| &*nodes[input].op).collect();
            let ignore_cache = match (cache, &vertex.op) {
                (CacheMode::Ignore, Op::Source(_)) => false,
                (CacheMode::Ignore, _) => true,
                (CacheMode::Use, _) => ignore_cache,
            };
            let op =
                GraphOp::new(digests[id.0 as usize], vertex.clone(), ignore_cache, &below, build.clone());
            nodes.push(Node { op: Arc::new(op), inputs });
        }
        let roots =
            roots.iter().map(|edge| (united.node[edge.vertex.0 as usize], edge.output as usize)).collect();
        let plan = Plan { nodes, roots };
        let cache = Arc::new(StoreCache::new(self.store.clone()));
        let solved = self.scheduler.solve(&plan, cache, events, &cancel).await;
        match solved {
            Ok(solved) => Ok(SolveResult { stats: stats(&plan, &solved), roots: solved.roots }),
            Err(Failure::Cancelled) => Err(SolveError::Cancelled),
            Err(Failure::Op { vertex, error, others }) => {
                let failed = |(node, cause)| united.failed(graph, &digests, node, cause);
                Err(SolveError::Vertex {
                    failed: Box::new(failed((vertex, error))),
                    others: others.into_iter().map(failed).collect(),
                })
            }
        }
    }
}

fn stats(plan: &Plan<GraphOp>, solved: &super::solver::Solved<Snapshot>) -> SolveStats {
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
    /// By node: whether any vertex of its digest ignores the cache.
    ignore_cache: Vec<bool>,
    /// By vertex: its node.
    node: Vec<usize>,
}

impl United {
    fn new(graph: &Graph, digests: &[Digest]) -> United {
        let mut united = United { first: Vec::new(), ignore_cache: Vec::new(), node: Vec::new() };
        let mut by_digest: HashMap<Digest, usize> = HashMap::with_capacity(digests.len());
        for (id, vertex) in graph.vertices() {
            let node = *by_digest.entry(digests[id.0 as usize]).or_insert(united.first.len());
            if node == united.first.len() {
                united.first.push(id);
                united.ignore_cache.push(false);
            }
            united.ignore_cache[node] |= vertex.metadata.ignore_cache;
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
        FailedVertex { vertex, digest, name: graph.vertex(vertex).name(), locations, cause }
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
