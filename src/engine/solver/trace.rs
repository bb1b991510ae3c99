//! What is known in the end of everything that the roots are made of: also of what was not looked at, because something
//! above it was found.

use super::flight::ExecCtx;
use super::key::{self, Part};
use super::run::Run;
use super::{CacheStore, InputRule, Offer, Op};
use crate::base::Digest;
use crate::engine::cancel::Cancel;

/// All that the roots of a plan are made of.
#[derive(Debug, Clone)]
pub struct Trace<R> {
    /// In the order of the plan, inputs before users.
    pub vertices: Vec<TracedVertex<R>>,
}

/// A vertex, by what it is called elsewhere.
#[derive(Debug, Clone)]
pub struct TracedVertex<R> {
    /// Its index in the plan.
    pub node: usize,
    /// [`CacheMap::names`](super::CacheMap::names).
    pub names: Vec<Digest>,
    /// In order.
    pub inputs: Vec<TracedInput>,
    /// One per output.
    pub edges: Vec<TracedEdge<R>>,
}

/// An input of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracedInput {
    /// Index of the vertex in the plan, and of its output.
    pub from: (usize, usize),
    /// Which part of it the op uses.
    pub selector: Option<Digest>,
    /// Whether its content counts.
    pub by_content: bool,
    /// Digest of what is read of it, where its content counts and it could be looked at.
    pub content: Option<Digest>,
}

/// An output of a vertex.
#[derive(Debug, Clone)]
pub struct TracedEdge<R> {
    /// Its result, where there is one.
    pub result: Option<R>,
    /// What caches of other machines have of it.
    pub offers: Vec<Offer>,
    key: Option<Digest>,
}

impl<R> TracedEdge<R> {
    /// An edge of which nothing is known but what it is made of.
    pub fn unknown() -> TracedEdge<R> {
        TracedEdge { result: None, offers: Vec::new(), key: None }
    }
}

impl<O: Op, C: CacheStore<Output = O::Output>> Run<'_, O, C> {
    /// Looks up and looks at what the solve had no need to. Nothing is run or brought in.
    pub(super) async fn trace(&mut self, cancel: &Cancel) -> Trace<O::Output> {
        let plan = self.plan;
        let mut place = vec![usize::MAX; plan.nodes.len()];
        let mut vertices: Vec<TracedVertex<O::Output>> = Vec::new();
        for (vertex, node) in plan.nodes.iter().enumerate() {
            if self.vertices[vertex].is_none() {
                continue;
            }
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for (idx, &(from, output)) in node.inputs.iter().enumerate() {
                let state = self.at(vertex);
                let (rule, mut content) = (state.rule(idx), state.content_of(idx));
                let by_content = matches!(rule, InputRule::Content { .. });
                if by_content && content.is_none() && !cancel.is_cancelled() {
                    let result = vertices[place[from]].edges[output].result.as_ref();
                    content = match (node.op.content_without(idx), result) {
                        (Some(asking), _) => asking.await.ok(),
                        (None, Some(result)) => {
                            let ctx = ExecCtx::detached(cancel.child());
                            node.op.content_key(&ctx, idx, result).await.ok()
                        }
                        (None, None) => None,
                    };
                    self.set_content_of(vertex, idx, content);
                }
                let (InputRule::Key { selector } | InputRule::Content { selector }) = rule;
                inputs.push(TracedInput { from: (from, output), selector, by_content, content });
            }
            self.find_offers(vertex);
            place[vertex] = vertices.len();
            let edges =
                self.traced_edges(vertex, &inputs, |(from, output)| vertices[place[from]].edges[output].key);
            vertices.push(TracedVertex {
                node: vertex,
                names: self.at(vertex).names().to_vec(),
                inputs,
                edges,
            });
        }
        Trace { vertices }
    }

    /// The outputs of a vertex: as the solve left them, else as the cache has them.
    fn traced_edges(
        &self,
        vertex: usize,
        inputs: &[TracedInput],
        key_of: impl Fn((usize, usize)) -> Option<Digest>,
    ) -> Vec<TracedEdge<O::Output>> {
        let state = self.at(vertex);
        let part = |input: &TracedInput| match input.content {
            Some(content) => Some(Part::Content(content)),
            None => Some(Part::Key { edge: key_of(input.from)?, selector: input.selector }),
        };
        let parts: Option<Vec<Part>> = inputs.iter().map(part).collect();
        let content = state
            .content()
            .map(|keys| keys.plain)
            .or_else(|| parts.map(|parts| key::vertex(&state.digest, parts.into_iter())));
        // What earlier builds made of an op that ignores the cache is not this build's.
        let may_look = !self.plan.nodes[vertex].op.ignore_cache() && !state.tainted;
        let edges = state.outputs.iter().enumerate().map(|(output, known)| {
            let by_content = content.map(|content| key::edge(&content, output));
            let (mut key, mut result) =
                (state.keys(output).map(|keys| keys.plain).or(by_content), known.result.clone());
            if result.is_none() && may_look {
                let looked = [Some(key::edge(&state.def, output)), by_content];
                if let Some(record) = looked.into_iter().flatten().find_map(|key| self.cache.get(&key)) {
                    key = state.keys(output).map(|keys| keys.plain).or(Some(record.key));
                    result = Some(record.output);
                }
            }
            TracedEdge { result, offers: state.offered(output).all.clone(), key }
        });
        edges.collect()
    }
}
