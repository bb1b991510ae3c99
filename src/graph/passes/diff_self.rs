//! The diff of a tree and itself is scratch.
//!
//! Precondition: both sides are the same output of the same vertex (run `dedup` before), and the result does not reach a
//! passthrough or a build, whose inputs cannot be scratch. The tree itself is then only built when something else needs
//! it. The daemon does the same when it runs such a diff.

use super::Rewritten;
use super::rewrite::{Rewriter, needs_inputs};
use crate::graph::ir::{Graph, Op, Tree, Vertex};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
    if !graph.vertices().any(|(_, vertex)| is_self(vertex)) {
        return None;
    }
    let pinned = pinned(graph);
    let mut rewriter = Rewriter::new(graph);
    let mut n_changes = 0;
    for (id, vertex) in graph.vertices() {
        if is_self(vertex) && !pinned[id.0 as usize] {
            rewriter.replace(None);
            n_changes += 1;
        } else {
            rewriter.keep(vertex);
        }
    }
    Some(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes })
}

fn is_self(vertex: &Vertex) -> bool {
    let Op::Diff(diff) = &vertex.op else { return false };
    let side = |input: Option<u32>| input.map(|input| vertex.inputs[input as usize]);
    diff.lower.is_some() && side(diff.lower) == side(diff.upper) && !vertex.sealed
}

/// The vertices that may not become scratch: inputs of ops that cannot have it, and what merges and diffs lead from
/// there.
fn pinned(graph: &Graph) -> Vec<bool> {
    let mut pinned = vec![false; graph.len()];
    for (id, vertex) in graph.vertices().rev() {
        let passes_on = matches!(vertex.op, Op::Merge(_) | Op::Diff(_)) && pinned[id.0 as usize];
        // What is rewritten over scratch inputs changes its bytes, which a sealed vertex may not.
        if needs_inputs(&vertex.op) || passes_on || vertex.sealed {
            vertex.inputs.iter().for_each(|input| pinned[input.vertex.0 as usize] = true);
        }
    }
    pinned
}
