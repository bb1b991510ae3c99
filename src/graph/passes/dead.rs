//! Drops vertices that no tree asked for needs.
//!
//! Precondition: none. A vertex that must succeed though nothing uses its files is an input of a passthrough or asked
//! for itself, and so is needed. Source texts stay: indexes in locations keep their meaning.

use super::Rewritten;
use super::rewrite::Rewriter;
use crate::graph::ir::{Graph, Tree};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
    let needed = graph.needed(roots);
    let n_dead = needed.iter().filter(|it| !**it).count();
    if n_dead == 0 {
        return None;
    }
    let mut rewriter = Rewriter::new(graph);
    for (id, vertex) in graph.vertices() {
        if needed[id.0 as usize] {
            rewriter.keep(vertex);
        } else {
            rewriter.inline();
        }
    }
    Some(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes: n_dead })
}
