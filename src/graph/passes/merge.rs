//! A merge one of whose inputs is a merge is one merge; a merge of one tree is that tree.
//!
//! Precondition: nothing but the outer merge uses the inner one, and both have the same worker constraints. Merging
//! stacks the layers of its inputs in order, so the nested and the flat form have the same layers.

use super::Rewritten;
use super::rewrite::{Rewriter, Uses, swallow, uses};
use crate::graph::ir::{Edge, Graph, MergeOp, Op, Tree, Vertex, VertexId};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Rewritten {
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
        let mut flat = Vertex { inputs: Vec::new(), ..vertex.clone() };
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
    Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes }
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
