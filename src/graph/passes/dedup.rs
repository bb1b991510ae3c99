//! Unites vertices with the same bytes. What is said about each is merged in order, and every place in the source
//! texts is kept, so that an error can name all statements it belongs to.
//!
//! Precondition: none. Marshalling and the solver take vertices with the same digest for one anyway; so does this, only
//! earlier, so that later passes see how often a result is really used. The digests are those of a graph marshalled for
//! no particular platform: an op with a platform and one without stay two.

use std::collections::{HashMap, HashSet};

use super::Rewritten;
use super::rewrite::{Rewired, Rewriter};
use crate::base::Digest;
use crate::graph::ir::{Graph, Tree, VertexId};
use crate::graph::llb::{MarshalOptions, digests};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
    let digests = digests(graph, &MarshalOptions::default());
    let mut distinct = HashSet::with_capacity(graph.len());
    if graph.vertices().zip(&digests).all(|((_, vertex), digest)| distinct.insert((digest, vertex.sealed))) {
        return None;
    }
    // A sealed vertex keeps its bytes whatever a graph is marshalled for, so it only equals other sealed ones.
    let mut known: HashMap<(Digest, bool), VertexId> = HashMap::with_capacity(graph.len());
    let mut rewriter = Rewriter::new(graph);
    let mut n_changes = 0;
    for ((_, vertex), digest) in graph.vertices().zip(digests) {
        let key = (digest, vertex.sealed);
        if let Some(&first) = known.get(&key) {
            let kept = rewriter.graph.vertex_mut(first);
            kept.metadata.merge(&vertex.metadata);
            kept.locations.extend(vertex.locations.iter().cloned());
            rewriter.same_as(first);
            n_changes += 1;
            continue;
        }
        match rewriter.rewired(vertex) {
            Rewired::Vertex(vertex) => {
                known.insert(key, VertexId(rewriter.graph.len() as u32));
                rewriter.add(*vertex);
            }
            Rewired::Tree(tree) => rewriter.replace(tree),
        }
    }
    Some(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes })
}
