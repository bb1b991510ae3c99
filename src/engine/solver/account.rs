//! What a solve knows of a vertex in the end: how far it came, and what its key was made of.

use super::vertex::{Stage, Vertex};
use super::{Op, Plan};
use crate::base::Digest;

/// How far a vertex came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was needed of it.
    Unneeded,
    /// Its result was found.
    Found,
    /// It ran, or would run.
    Ran,
    /// It waits for inputs: to be run, or to know whether that is needed.
    Waits,
}

/// What a key of a vertex is made of, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// How far it came.
    pub standing: Standing,
    /// [`CacheMap::digest`](super::CacheMap::digest).
    pub digest: Digest,
    /// Names the run that made its result, or would make it; `None` when that is not known yet.
    pub run: Option<Digest>,
    /// In order.
    pub inputs: Vec<Input>,
}

/// An input, as it takes part in a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Digest of what is read of it, where that is what counts and it is known.
    pub content: Option<Digest>,
    /// Whether its content counts.
    pub by_content: bool,
    /// Names its result, where there is one.
    pub result: Option<Digest>,
    /// Names the run that made it, or would make it.
    pub made_by: Option<Digest>,
}

/// What a solve that is over knows of its vertices. Accounts are made when they are asked for: there may be many.
pub struct Ledger<'p, O: Op> {
    pub(super) plan: &'p Plan<O>,
    pub(super) vertices: Vec<Option<Vertex<O::Output>>>,
}

impl<O: Op> Ledger<'_, O> {
    /// The account of a vertex that a root needs.
    pub fn account(&self, vertex: usize) -> Account {
        account(self.plan, &self.vertices, vertex)
    }
}

fn at<R>(vertices: &[Option<Vertex<R>>], vertex: usize) -> &Vertex<R> {
    vertices[vertex].as_ref().expect("only vertices that a root needs have accounts")
}

/// The account of a vertex that a root needs.
pub(super) fn account<O: Op>(
    plan: &Plan<O>,
    vertices: &[Option<Vertex<O::Output>>],
    vertex: usize,
) -> Account {
    let (node, state) = (&plan.nodes[vertex], at(vertices, vertex));
    let found = state.outputs.iter().position(|it| it.result.is_some());
    let standing = match state.stage {
        Stage::Running | Stage::Done => Standing::Ran,
        _ if found.is_some() => Standing::Found,
        Stage::Idle => Standing::Unneeded,
        // Nobody wanted more of it than its key.
        Stage::Keyed if !state.wants_result => Standing::Unneeded,
        Stage::Keying | Stage::Keyed | Stage::Gathering => Standing::Waits,
    };
    // Names the run that made an output, or would make it. Of a source it is known from the start.
    let run_of = |vertex: usize, output: Option<usize>| {
        let state = at(vertices, vertex);
        let made_by = output.and_then(|output| state.made_by(output));
        let is_source = plan.nodes[vertex].inputs.is_empty();
        made_by.or(state.content().map(|content| content.plain)).or(is_source.then_some(state.def))
    };
    let inputs = node.inputs.iter().enumerate().map(|(input, &(from, output))| {
        let result = at(vertices, from).outputs[output].result.as_ref();
        Input {
            content: state.content_of(input),
            by_content: state.is_by_content(input),
            result: result.map(super::Output::identity),
            made_by: run_of(from, Some(output)),
        }
    });
    let inputs = inputs.collect();
    Account { standing, digest: state.digest, run: run_of(vertex, found), inputs }
}
