//! A graph as the scheduler takes it, and the way back: from what became of its nodes to the graph's vertices.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::Digest;
use crate::graph::ir::{Edge, Graph, Location, MountKind, Op, Tree, VertexId};
use crate::graph::llb::{self, MarshalOptions};
use crate::store::{InUse, Snapshot};

use super::cache::Known;
use super::cache::export::Facts;
use super::cancel::{Cancel, Hold};
use super::history::record::Book;
use super::history::{Forced, Manifest};
use super::ops::{Build, ExecError, GraphOp, OpError};
use super::request::{CacheMode, FailedVertex, SolveError, SolveResult, SolveStats};
use super::solver::{Account, Failure, Ledger, Node, Op as _, Plan, Solved, Trace};
use super::source::{SourceError, StandsFor};
use super::tree::{self, Unstored};

/// A request, ready for the scheduler.
pub(super) struct Prepared {
    pub(super) plan: Plan<GraphOp>,
    pub(super) united: United,
    build: Arc<Build>,
    /// By node: why results that exist are not used.
    forced: Vec<Option<Forced>>,
}

impl Prepared {
    /// The part of `graph` that `roots` are made of, all of it for `build`; `rerun` are steps that run although there is a
    /// result.
    pub(super) fn new(
        build: &Arc<Build>,
        graph: &Graph,
        roots: &[Edge],
        rerun: &BTreeSet<VertexId>,
    ) -> Prepared {
        let digests = llb::digests(graph, &MarshalOptions::default());
        let united = United::new(graph, &digests, rerun);
        let mut forced = Vec::with_capacity(united.first.len());
        let mut nodes: Vec<Node<GraphOp>> = Vec::with_capacity(united.first.len());
        for (&id, &own) in united.first.iter().zip(&united.forced) {
            let vertex = graph.vertex(id);
            let inputs: SmallVec<[(usize, usize); 1]> = vertex
                .inputs
                .iter()
                .map(|edge| (united.node[edge.vertex.0 as usize], edge.output as usize))
                .collect();
            let below: Vec<&GraphOp> = inputs.iter().map(|&(input, _)| &*nodes[input].op).collect();
            let why = match (build.cache, &vertex.op) {
                (CacheMode::Ignore, Op::Source(_)) => None,
                (CacheMode::Ignore, _) => own.or(Some(Forced::NoCache)),
                (CacheMode::Use, _) => own,
            };
            forced.push(why);
            let digest = digests[id.0 as usize];
            let op = GraphOp::new(digest, graph.shared(id), why, &below, build.clone());
            nodes.push(Node { op: Arc::new(op), inputs });
        }
        let roots =
            roots.iter().map(|edge| (united.node[edge.vertex.0 as usize], edge.output as usize)).collect();
        Prepared { plan: Plan { nodes, roots }, united, build: build.clone(), forced }
    }

    /// Empties the cache mounts of commands that may not use what is there, before anything runs (BuildKit,
    /// `detectPrunedCacheID`). What cannot be emptied is used as it is.
    pub(super) async fn prune_caches(&self, graph: &Graph) {
        let roots: Vec<Tree> = self
            .plan
            .roots
            .iter()
            .map(|&(node, _)| Some(Edge { vertex: self.united.first[node], output: 0 }))
            .collect();
        if self.forced.iter().all(Option::is_none) {
            return;
        }
        let needed = graph.needed(&roots);
        let mut ids = BTreeSet::new();
        for (node, &id) in self.united.first.iter().enumerate() {
            let Op::Exec(exec) = &graph.vertex(id).op else { continue };
            if self.forced[node].is_none() || !needed[id.0 as usize] {
                continue;
            }
            for mount in &exec.mounts {
                if let MountKind::Cache { id, .. } = &mount.kind {
                    ids.insert(id.clone());
                }
            }
        }
        if !ids.is_empty() {
            let store = self.build.store.clone();
            let _ = tokio::task::spawn_blocking(move || store.prune_cache_mounts(&ids)).await;
        }
    }

    /// Refuses commands that request what they were not granted, all of them at once, before anything starts. Whether there
    /// is a result already does not count: what a build with more rights has made is not for one with fewer.
    pub(super) fn check_entitlements(&self, graph: &Graph, roots: &[Edge]) -> Result<(), SolveError> {
        let roots: Vec<Tree> = roots.iter().copied().map(Some).collect();
        let needed = graph.needed(&roots).into_iter().zip(&self.united.node);
        let nodes: BTreeSet<usize> = needed.filter(|(needed, _)| *needed).map(|(_, node)| *node).collect();
        let denied = nodes.into_iter().filter_map(|node| {
            let denied = self.plan.nodes[node].op.check_entitlements().err()?;
            let cause = Arc::new(OpError::Exec(ExecError::Denied(denied)));
            Some(self.failed(graph, node, cause))
        });
        let mut denied = denied.collect::<Vec<_>>().into_iter();
        match denied.next() {
            None => Ok(()),
            Some(first) => Err(SolveError::Vertex { failed: Box::new(first), others: denied.collect() }),
        }
    }

    /// What is known of a build whose roots have these trees.
    pub(super) fn known(&self, trace: Trace<tree::Tree>, trees: &[Snapshot]) -> Known {
        let facts = |node: &Node<GraphOp>| Facts {
            export_cache: node.op.export_cache(),
            is_session: node.op.is_session(),
        };
        let facts = self.plan.nodes.iter().map(facts).collect();
        let roots = self.plan.roots.iter().copied().zip(trees.iter().cloned()).collect();
        Known::new(trace, facts, roots, self.build.imports.clone())
    }

    /// The trees that are not in the store.
    pub(super) fn unstored(&self) -> &Arc<Unstored> {
        &self.build.unstored
    }

    /// Lets nothing begin while it is on.
    pub(super) fn hold(&self) -> &Hold {
        &self.build.hold
    }

    /// The results, all in the store.
    pub(super) async fn store_roots(
        &self,
        solved: Solved<tree::Tree>,
        cancel: &Cancel,
        held: Arc<InUse>,
    ) -> Result<SolveResult, Failure<OpError>> {
        let stats = stats(&self.plan, &solved);
        let mut roots = Vec::with_capacity(solved.roots.len());
        for (tree, &(vertex, _)) in solved.roots.into_iter().zip(&self.plan.roots) {
            match tree.stored(cancel).await {
                Ok(tree) => roots.push(tree),
                Err(SourceError::Cancelled) => return Err(Failure::Cancelled),
                Err(error) => {
                    let (error, others) = (Arc::new(OpError::Source(error)), Vec::new());
                    return Err(Failure::Op { vertex, error, others });
                }
            }
        }
        Ok(SolveResult { stats, roots, known: None, held })
    }

    /// What a failure of the scheduler is to callers; `runs` names the run of each node that ran.
    pub(super) fn error(
        &self,
        graph: &Graph,
        failure: Failure<OpError>,
        runs: &HashMap<usize, Digest>,
    ) -> SolveError {
        match failure {
            Failure::Cancelled => SolveError::Cancelled,
            Failure::Op { vertex, error, others } => {
                let failed = |(node, cause): (usize, Arc<OpError>)| {
                    let failed = self.failed(graph, node, cause);
                    FailedVertex { run: runs.get(&node).copied(), ..failed }
                };
                SolveError::Vertex {
                    failed: Box::new(failed((vertex, error))),
                    others: others.into_iter().map(failed).collect(),
                }
            }
        }
    }

    /// What callers are told of a node that failed.
    fn failed(&self, graph: &Graph, node: usize, cause: Arc<OpError>) -> FailedVertex {
        let vertex = self.united.first[node];
        let failed_action = match &*cause {
            OpError::File(failed) => Some(failed.action),
            _ => None,
        };
        let is_meant = |at: &&Location| match (&at.actions, failed_action) {
            (Some(actions), Some(failed)) => (actions.start as usize..actions.end as usize).contains(&failed),
            _ => true,
        };
        let locations = graph
            .vertices()
            .filter(|(id, _)| self.united.node[id.0 as usize] == node)
            .flat_map(|(_, vertex)| vertex.locations.iter().filter(is_meant).cloned())
            .collect::<Vec<Location>>();
        let digest = self.plan.nodes[node].op.vertex();
        FailedVertex { vertex, digest, name: graph.vertex(vertex).name(), run: None, locations, cause }
    }

    /// What is kept of a node.
    pub(super) fn manifest(
        &self,
        graph: &Graph,
        node: usize,
        account: &Account,
        stands_for: StandsFor,
    ) -> Manifest {
        let id = self.united.first[node];
        let forced = self.forced[node];
        let digest_of = |id: VertexId| self.plan.nodes[self.united.node[id.0 as usize]].op.vertex();
        Manifest::new(graph, id, digest_of, account, forced, stands_for)
    }

    /// Keeps what `ran`, with what it was made of; gives the runs of what failed. That it cannot be kept costs only answers
    /// to later questions.
    pub(super) fn keep(
        &self,
        graph: &Graph,
        ledger: &Ledger<'_, GraphOp>,
        ran: &[usize],
        sources: &[usize],
        failed: &[usize],
    ) -> HashMap<usize, Digest> {
        let mut book = Book::new(&self.build.store, self.build.program);
        for &node in sources {
            let (op, account) = (&self.plan.nodes[node].op, ledger.account(node));
            book.source(&account, &op.vertex(), || self.manifest(graph, node, &account, op.stands_for()));
        }
        for &node in ran.iter().filter(|&&node| !self.plan.nodes[node].op.is_source()) {
            let account = ledger.account(node);
            let manifest = self.manifest(graph, node, &account, StandsFor::Other);
            book.ran(&account, &Manifest { failed: failed.contains(&node), ..manifest });
        }
        book.keep();
        let ran = failed.iter().filter(|node| ran.binary_search(node).is_ok());
        ran.filter_map(|&node| Some((node, ledger.account(node).run?))).collect()
    }
}

fn stats(plan: &Plan<GraphOp>, solved: &Solved<tree::Tree>) -> SolveStats {
    let n_fetched = solved.executed.iter().filter(|&&node| plan.nodes[node].op.is_source()).count();
    SolveStats {
        n_vertices: solved.n_reachable,
        n_fetched,
        n_executed: solved.executed.len() - n_fetched,
        n_cached: solved.n_reachable - solved.executed.len(),
    }
}

/// The vertices of a graph, equal ones taken together.
pub(super) struct United {
    /// By node: the first vertex of its digest.
    pub(super) first: Vec<VertexId>,
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
}
