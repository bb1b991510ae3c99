//! What an engine is asked and what it answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::Digest;
use crate::graph::ir::{Edge, Graph, Location, VertexId};
use crate::session::Session;
use crate::store::{InUse, Snapshot, StoreError};

use super::cache::{CacheFrom, Known};
use super::cancel::Cancel;
use super::entitlement::Grants;
use super::event::EventSink;
use super::ops::{Inspector, OpError};
use super::solver::Aftermath;

/// A build.
#[derive(Clone)]
pub struct SolveRequest<'a> {
    /// The graph; verified (`graph::verify`).
    pub graph: &'a Graph,
    /// The edges whose trees are wanted; scratch is not an edge, the caller knows its result.
    pub roots: Vec<Edge>,
    /// What the build may use of the machine it was asked for on.
    pub session: Arc<dyn Session>,
    /// What commands may have beyond the usual. A graph that requests more is refused before anything starts.
    pub grants: Grants,
    /// Whether results that exist may be used.
    pub cache: CacheMode,
    /// Caches of other machines, asked for what is not here.
    pub cache_from: Vec<CacheFrom>,
    /// Whether the result says what a cache is exported from.
    pub aftermath: Aftermath,
    /// Steps that run although there is a result, as those that say so themselves.
    pub rerun: BTreeSet<VertexId>,
    /// Whose runs these are ([`history::program`](super::history::program)).
    pub program: Digest,
    /// Who may look at commands that failed.
    pub inspector: Option<Arc<dyn Inspector>>,
    /// Takes what happens.
    pub events: EventSink,
    /// Stops the build.
    pub cancel: Cancel,
}

impl<'a> SolveRequest<'a> {
    /// A request for `roots` with nothing beyond the usual: results are used, nothing is granted, nobody listens.
    pub fn new(
        graph: &'a Graph,
        roots: Vec<Edge>,
        session: Arc<dyn Session>,
        program: Digest,
    ) -> SolveRequest<'a> {
        SolveRequest {
            graph,
            roots,
            session,
            grants: Grants::default(),
            cache: CacheMode::default(),
            cache_from: Vec::new(),
            aftermath: Aftermath::default(),
            rerun: BTreeSet::new(),
            program,
            inspector: None,
            events: Arc::new(|_| {}),
            cancel: Cancel::new(),
        }
    }
}

/// Whether results that exist may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Yes, but for vertices that say otherwise.
    #[default]
    Use,
    /// Only those of sources: every other op runs, and its new result is kept.
    Ignore,
}

/// The trees of a build.
#[derive(Debug, Clone)]
pub struct SolveResult {
    /// For each of the request's roots, in order.
    pub roots: Vec<Snapshot>,
    /// What it took.
    pub stats: SolveStats,
    /// What a cache is exported from, where that was asked for.
    pub known: Option<Known>,
    /// As long as it lives nobody removes the trees.
    pub held: Arc<InUse>,
}

/// What a build took. Vertices are counted once per digest; those the roots do not need are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SolveStats {
    /// Vertices the roots are built from, with the roots.
    pub n_vertices: usize,
    /// Sources that were brought in.
    pub n_fetched: usize,
    /// Ops besides sources that ran.
    pub n_executed: usize,
    /// The others: found in the cache, or not needed because something above them was.
    pub n_cached: usize,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// A vertex failed.
    #[error("{failed}")]
    Vertex {
        /// The first one that did.
        #[source]
        failed: Box<FailedVertex>,
        /// What failed as well before everything had stopped.
        others: Vec<FailedVertex>,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The request's switch was turned on.
    #[error("cancelled")]
    Cancelled,
}

/// A vertex that failed, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{name}: {cause}")]
pub struct FailedVertex {
    /// Its first occurrence in the graph.
    pub vertex: VertexId,
    /// Digest of the marshalled op.
    pub digest: Digest,
    /// For people.
    pub name: String,
    /// Names the run that failed, if it began; its log is kept by this name.
    pub run: Option<Digest>,
    /// Where it was written, of all occurrences in the graph, in order.
    pub locations: Vec<Location>,
    /// Why.
    #[source]
    pub cause: Arc<OpError>,
}
