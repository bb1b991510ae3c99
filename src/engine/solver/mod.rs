//! The scheduler: which op has to run, in what order, and whose result can be used again.
//!
//! It knows ops only by [`Op`], results only by [`Output`], the cache only by [`CacheStore`].
//!
//! **Keys.** Every vertex has two. Its *definition key* is computed from op digests alone, sources giving the digest of
//! what they stand for now: it is known before anything is built, and a hit on a root's means that nothing else is
//! looked at. Its *content key* has, for each input that says so, the digest of what the op reads of it; for other
//! inputs their content key. So a step whose input was made again with equal content is not run again, and neither
//! are the steps behind it. A record is kept under both keys and names the content key.
//!
//! **Cutoff.** What a run gives is compared with what earlier runs gave ([`CacheStore::adopt`]); of equal results the
//! older one counts. So records are kept under a third key, of the op and the very results it worked on, and a vertex
//! is looked up by it when its inputs are made, before it runs.
//!
//! **Order.** Everything is one loop over a work list ([`run`]): no recursion, cost linear in the number of edges.
//! Results are only asked for where a look-up failed. An input that only counts by its key is made while the others
//! are, once it is clear that it has no result: without this, cold builds would be sequential.
//!
//! **Caches of other machines.** What they offer for an edge is known once definition keys are ([`import`]): an offer
//! stands for the edge's key, and is only brought in when the result itself is needed. A step whose offer is not found by
//! definition is looked for again when the content of its inputs is known. [`trace`] says in the end what is known of all
//! that the roots are made of: what an export needs.
//!
//! **Once.** Equal content keys are one execution: inside a process by [`flight`], between processes by a lease.

mod account;
mod flight;
mod import;
mod key;
mod run;
mod steps;
mod trace;
mod vertex;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use smallvec::SmallVec;
use tokio::sync::Semaphore;

use crate::base::Digest;

pub use account::{Account, Input, Ledger, Standing};
pub use flight::ExecCtx;
pub use import::{Imports, InputOffers, Offer};
pub use trace::{Trace, TracedEdge, TracedInput, TracedVertex};

/// A result of an op: cheap to clone.
pub trait Output: Clone + Send + Sync + 'static {
    /// Names exactly this result: two runs of an op give outputs of different identity.
    fn identity(&self) -> Digest;
}

/// One vertex, as the scheduler sees it.
pub trait Op: Send + Sync + 'static {
    /// What it makes, one per output index.
    type Output: Output;
    /// Why it failed.
    type Error: OpError;

    /// Digest of the marshalled op with its inputs: names the vertex in events.
    fn vertex(&self) -> Digest;

    /// For people.
    fn name(&self) -> String;

    /// Number of outputs.
    fn n_outputs(&self) -> usize;

    /// Whether a result that exists may not be used.
    fn ignore_cache(&self) -> bool;

    /// What the op does, as far as that decides its result. Asked once per solve, before anything is built.
    fn cache_map<'a>(&'a self, ctx: &'a ExecCtx) -> BoxFuture<'a, Result<CacheMap, Self::Error>>;

    /// Digest of what the op reads of input `input`, whose result is `output`.
    ///
    /// Only asked of inputs that are [`InputRule::Content`].
    fn content_key<'a>(
        &'a self,
        ctx: &'a ExecCtx,
        input: usize,
        output: &'a Self::Output,
    ) -> BoxFuture<'a, Result<Digest, Self::Error>>;

    /// It begins to run: `account` is what is known of the run, `result` the key under which its first output will be kept.
    fn begins(&self, _account: &Account, _result: &Digest) {}

    /// Does it. `inputs` are in the op's order. Must return soon after `ctx.cancel` was turned on, with nothing left
    /// behind. Gives [`Op::n_outputs`] outputs.
    fn exec<'a>(
        &'a self,
        ctx: &'a ExecCtx,
        inputs: Vec<Self::Output>,
    ) -> BoxFuture<'a, Result<Vec<Self::Output>, Self::Error>>;

    /// As [`Op::content_key`], where that is known before the input is there; `None` where it is not.
    fn content_without<'a>(&'a self, _input: usize) -> Option<BoxFuture<'a, Result<Digest, Self::Error>>> {
        None
    }

    /// Whether what another machine made may stand for its result. Not of ops that check themselves what they bring in.
    fn takes_offers(&self) -> bool {
        true
    }

    /// What its execution is limited by.
    fn slot(&self) -> Slot;

    /// Whether its execution is one that may block its thread, and uses no connections: it then gets one of its own.
    fn may_block(&self) -> bool {
        false
    }
}

/// An error of an op.
pub trait OpError: std::error::Error + Send + Sync + 'static {
    /// Whether it only says that `cancel` was on.
    fn is_cancelled(&self) -> bool;
}

/// What decides the result of an op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMap {
    /// What the op does, without its inputs; for a source, what it stands for now.
    pub digest: Digest,
    /// What the op is called in caches that machines exchange: of a step its digest, of a source each of its keys. The
    /// first is the one that is preferred.
    pub names: Vec<Digest>,
    /// One per input.
    pub inputs: Vec<InputRule>,
}

/// How an input takes part in the keys of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputRule {
    /// By its key, whatever of it is read.
    Key {
        /// Which part of the input the op uses.
        selector: Option<Digest>,
    },
    /// By the content of what is read, once the input exists; until then by its key.
    Content {
        /// Which part of the input the op uses.
        selector: Option<Digest>,
    },
}

/// What limits how many ops run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Commands.
    Command,
    /// Downloads.
    Network,
    /// File operations.
    Disk,
    /// Nothing: the op only handles names.
    Free,
}

/// A result in the cache.
#[derive(Debug, Clone)]
pub struct Record<R> {
    /// Content key of the edge that made it.
    pub key: Digest,
    /// The result.
    pub output: R,
    /// Content key of the vertex whose run made it, which names that run.
    pub made_by: Digest,
}

/// Where results are kept. Keys are edges' keys: a vertex' key with an output index.
///
/// A failure to read is a miss and a failure to write only costs a later run: neither is reported.
pub trait CacheStore: Send + Sync + 'static {
    /// What is kept.
    type Output: Output;
    /// Held while a key is worked on.
    type Lease: Send + 'static;

    /// The record of `key`, if its result is complete. Does not block for long.
    fn get(&self, key: &Digest) -> Option<Record<Self::Output>>;

    /// An earlier result that equals the new one `output`, else `output`.
    fn adopt(&self, output: Self::Output) -> BoxFuture<'_, Self::Output>;

    /// What another build of this process made is used by this one, too.
    fn joined(&self, output: &Self::Output) {
        let _ = output;
    }

    /// Keeps `record` under each of `keys`, in place of what is there.
    fn put(&self, keys: &[Digest], record: &Record<Self::Output>);

    /// Waits until no other process works on `key`. Dropping the future gives up.
    fn lease<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Self::Lease>;

    /// What other machines offer, where there is something.
    fn imports(&self) -> Option<&dyn Imports<Self::Output>> {
        None
    }
}

/// How many ops may run at once, over all builds of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// [`Slot::Command`].
    pub commands: usize,
    /// [`Slot::Network`].
    pub network: usize,
    /// [`Slot::Disk`].
    pub disk: usize,
}

impl Limits {
    /// Limits for a machine with `n_cpus`.
    pub fn for_cpus(n_cpus: usize) -> Limits {
        Limits { commands: n_cpus.max(2), network: 8, disk: n_cpus.max(2) }
    }
}

/// A vertex of a [`Plan`].
pub struct Node<O> {
    /// What it does.
    pub op: Arc<O>,
    /// Index of a vertex before this one and an output index, for each input in order.
    pub inputs: SmallVec<[(usize, usize); 1]>,
}

/// What to solve: vertices, inputs before users.
pub struct Plan<O> {
    /// All vertices; those that no root needs are not looked at.
    pub nodes: Vec<Node<O>>,
    /// The edges whose results are wanted.
    pub roots: Vec<(usize, usize)>,
}

/// What became of a [`Plan`].
#[derive(Debug)]
pub struct Solved<R> {
    /// For each of the plan's roots, its result.
    pub roots: Vec<R>,
    /// Which vertices ran.
    pub executed: Vec<usize>,
    /// Number of vertices that the roots are built from, with the roots themselves.
    pub n_reachable: usize,
}

/// What became of a [`Plan`], with an account of what ran on the way.
pub struct Outcome<'p, O: Op> {
    /// The results, or why there are none.
    pub result: Result<Solved<O::Output>, Failure<O::Error>>,
    /// Each vertex that ran, whether to an end or not, by its index.
    pub ran: Vec<usize>,
    /// Each vertex without inputs that ran or that one of these works on.
    pub sources: Vec<usize>,
    /// Gives accounts of all of these.
    pub ledger: Ledger<'p, O>,
    /// What is known of everything that the roots are made of, where that was asked for and they were made.
    pub trace: Option<Trace<O::Output>>,
}

/// What is to be done when a plan was solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aftermath {
    /// Nothing.
    #[default]
    Nothing,
    /// To find out what an export needs.
    Trace,
}

/// Why a plan was not solved.
#[derive(Debug)]
pub enum Failure<E> {
    /// An op failed.
    Op {
        /// The vertex whose op failed first.
        vertex: usize,
        /// Why.
        error: Arc<E>,
        /// What failed as well before everything had stopped.
        others: Vec<(usize, Arc<E>)>,
    },
    /// The caller's switch was turned on.
    Cancelled,
}

impl<E> Failure<E> {
    /// The vertices that failed.
    pub fn vertices(&self) -> Vec<usize> {
        match self {
            Failure::Op { vertex, others, .. } => {
                std::iter::once(*vertex).chain(others.iter().map(|(vertex, _)| *vertex)).collect()
            }
            Failure::Cancelled => Vec::new(),
        }
    }
}

/// What all builds of a process share: limits, and what runs now.
pub struct Scheduler<O: Op> {
    commands: Arc<Semaphore>,
    network: Arc<Semaphore>,
    disk: Arc<Semaphore>,
    flights: Arc<flight::Flights<O>>,
}

#[cfg(test)]
mod tests;
