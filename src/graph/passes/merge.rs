//! A merge one of whose inputs is a merge is one merge; a tree that is merged twice is merged once; a merge of one tree
//! is that tree.
//!
//! Precondition of the first: nothing but the outer merge uses the inner one, and both have the same worker constraints.
//! Merging stacks the layers of its inputs in order, so the nested and the flat form have the same layers.
//!
//! Precondition of the second: both are the same output of the same vertex (run `dedup` before). What the later one says
//! of a path wins over all below it, and it says of each path what the earlier one said; so only the last one counts, and
//! the layers are those that were there before, less the earlier ones.

use std::collections::HashSet;

use super::Rewritten;
use super::rewrite::{Rewriter, Uses, swallow, uses};
use crate::graph::ir::{self, Edge, Graph, MergeOp, Op, Tree, Vertex, VertexId};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
    if !graph.vertices().any(|(_, vertex)| stacked(vertex).is_some()) {
        return None;
    }
    let uses = uses(graph, roots);
    let mut rewriter = Rewriter::new(graph);
    let mut n_changes = 0;
    // Flattened merges that wait for the merge they go into.
    let mut waiting: Vec<Option<Vertex>> = vec![None; graph.len()];
    for (id, vertex) in graph.vertices() {
        let Some(inputs) = stacked(vertex) else {
            rewriter.keep(vertex);
            continue;
        };
        let mut flat = Vertex { inputs: ir::Inputs::new(), ..vertex.clone() };
        for edge in inputs {
            match waiting[edge.vertex.0 as usize].take() {
                Some(inner) => {
                    swallow(&mut flat, &inner);
                    flat.inputs.extend(inner.inputs);
                    n_changes += 1;
                }
                None => flat.inputs.extend(rewriter.edge(edge)),
            }
        }
        let n_inputs = flat.inputs.len();
        keep_last(&mut flat.inputs);
        n_changes += n_inputs - flat.inputs.len();
        flat.op = Op::Merge(MergeOp { inputs: (0..flat.inputs.len() as u32).map(Some).collect() });
        if goes_into(graph, uses[id.0 as usize], vertex) {
            waiting[id.0 as usize] = Some(flat);
            rewriter.inline();
        } else if flat.inputs.len() < 2 {
            rewriter.replace(flat.inputs.first().copied());
            n_changes += 1;
        } else {
            rewriter.add(flat);
        }
    }
    Some(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes })
}

/// Of equal edges the last.
fn keep_last(edges: &mut ir::Inputs) {
    let mut seen = HashSet::with_capacity(edges.len());
    edges.reverse();
    edges.retain(|edge| seen.insert(*edge));
    edges.reverse();
}

/// The inputs of a merge that may be rewritten, the bottom one first.
fn stacked(vertex: &Vertex) -> Option<Vec<Edge>> {
    match &vertex.op {
        Op::Merge(merge) if !vertex.sealed => {
            Some(merge.inputs.iter().flatten().map(|&input| vertex.inputs[input as usize]).collect())
        }
        _ => None,
    }
}

fn goes_into(graph: &Graph, uses: Uses, inner: &Vertex) -> bool {
    let outer = |id: VertexId| graph.vertex(id);
    match uses {
        Uses::One(user) => stacked(outer(user)).is_some() && outer(user).constraints == inner.constraints,
        Uses::None | Uses::Many => false,
    }
}
