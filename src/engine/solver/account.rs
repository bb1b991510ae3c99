//! What a solve knows of a vertex in the end: how far it came, and what its key was made of.

use super::run::Run;
use super::vertex::Stage;
use super::{CacheStore, InputRule, Op};
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

impl<O: Op, C: CacheStore<Output = O::Output>> Run<'_, O, C> {
    /// The account of a vertex that a root needs.
    pub(super) fn account(&self, vertex: usize) -> Account {
        let (node, state) = (&self.plan.nodes[vertex], self.at(vertex));
        let is_found = state.results.iter().any(Option::is_some);
        let standing = match state.stage {
            Stage::Running | Stage::Done => Standing::Ran,
            _ if is_found => Standing::Found,
            Stage::Idle => Standing::Unneeded,
            // Nobody wanted more of it than its key.
            Stage::Keyed if !state.wants_result => Standing::Unneeded,
            Stage::Keying | Stage::Keyed | Stage::Gathering => Standing::Waits,
        };
        let inputs = node.inputs.iter().zip(&state.map.inputs).zip(&state.contents);
        let inputs = inputs.map(|((&(from, output), rule), &content)| {
            let result = self.at(from).results[output].as_ref();
            Input {
                content,
                by_content: matches!(rule, InputRule::Content { .. }),
                result: result.map(super::Output::identity),
                made_by: self.run_of(from, Some(output)),
            }
        });
        let found = state.results.iter().position(Option::is_some);
        Account {
            standing,
            digest: state.map.digest,
            run: self.run_of(vertex, found),
            inputs: inputs.collect(),
        }
    }

    /// Names the run that made an output, or would make it. Of a source it is known from the start.
    fn run_of(&self, vertex: usize, output: Option<usize>) -> Option<Digest> {
        let state = self.at(vertex);
        let made_by = output.and_then(|output| state.made_by[output]);
        let is_source = self.plan.nodes[vertex].inputs.is_empty();
        made_by.or(state.content.map(|content| content.plain)).or(is_source.then_some(state.def))
    }
}
