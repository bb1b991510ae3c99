//! A graph for a daemon that cannot do everything: what has a substitute gets it, and the rest is said.
//!
//! This is no optimization and none of [`PASSES`](super::PASSES): it runs when somebody names a daemon.
//!
//! The only substitute is that of passthroughs. Each output becomes a file op on the tree that is forwarded, which copies
//! nothing out of every other input: a copy whose source is a pattern that no path matches, and which may be empty. The
//! daemon has to build a tree to look for the pattern, so the op fails when the input does; what it costs is a walk of
//! that tree and an empty layer. Merges and diffs have none: a copy cannot take away, so copies of layers that delete
//! something are another tree.

use super::rewrite::{Rewriter, swallow};
use super::{Rewritten, dead};
use crate::graph::ir::build::FileStep;
use crate::graph::ir::{Edge, FileCopy, Graph, Location, Op, Tree, Vertex};
use crate::graph::llb::caps::{self, CapSet};

/// An op that a daemon cannot build.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{daemon} does not have `{cap}`, which `{op}` needs")]
pub struct MissingCap {
    /// Name of the daemon's capabilities.
    pub daemon: String,
    /// The capability.
    pub cap: &'static str,
    /// The op, as people see it.
    pub op: String,
    /// Where it was written.
    pub locations: Vec<Location>,
}

/// Two components that are called `.`: the only entry of a directory with that name is never listed.
const NO_PATH: &str = "/[.]/[.]";

/// The graph that builds the same trees with what `daemon` can do, and how many ops were substituted.
///
/// # Errors
/// Every capability that is missing and has no substitute, once per op.
pub fn downgrade(graph: &Graph, roots: &[Tree], daemon: &CapSet) -> Result<Rewritten, Vec<MissingCap>> {
    let needed = dead::run(graph, roots);
    let (graph, roots) = needed.as_ref().map_or((graph, roots), |it| (&it.graph, &it.roots));
    let mut missing = Vec::new();
    let mut rewriter = Rewriter::new(graph);
    let mut n_changes = 0;
    for (_, vertex) in graph.vertices() {
        let lacks: Vec<&str> = caps::needs(vertex).into_iter().filter(|cap| !daemon.has(cap)).collect();
        match &vertex.op {
            Op::Passthrough(op) if lacks.contains(&PASSTHROUGH) && !vertex.sealed => {
                let inputs: Vec<Tree> = vertex.inputs.iter().map(|&edge| rewriter.edge(edge)).collect();
                let outputs = op.outputs.iter();
                let trees = outputs.map(|&out| gate(&mut rewriter.graph, vertex, &inputs, out as usize));
                let trees = trees.collect();
                rewriter.replace_outputs(trees);
                n_changes += 1;
                missing.extend(missing_caps(
                    vertex,
                    lacks.into_iter().filter(|cap| *cap != PASSTHROUGH),
                    daemon,
                ));
            }
            _ => {
                missing.extend(missing_caps(vertex, lacks.into_iter(), daemon));
                rewriter.keep(vertex);
            }
        }
    }
    if !missing.is_empty() {
        return Err(missing);
    }
    Ok(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes })
}

const PASSTHROUGH: &str = "passthroughop";

/// `inputs[out]` behind a file op that needs all other inputs; the tree itself when there are none.
fn gate(graph: &mut Graph, passthrough: &Vertex, inputs: &[Tree], out: usize) -> Tree {
    let copy = FileCopy {
        src: NO_PATH.to_owned(),
        dest: "/".to_owned(),
        allow_wildcard: true,
        allow_empty_wildcard: true,
        ..FileCopy::default()
    };
    let mut others: Vec<Edge> = Vec::new();
    for &edge in inputs.iter().flatten() {
        if Some(edge) != inputs[out] && !others.contains(&edge) {
            others.push(edge);
        }
    }
    if others.is_empty() {
        return inputs[out];
    }
    let steps = others.into_iter().map(|from| FileStep::Copy { from: Some(from), copy: copy.clone() });
    let edge = graph.file(inputs[out], steps.collect());
    let gate = graph.vertex_mut(edge.vertex);
    gate.constraints.clone_from(&passthrough.constraints);
    let mut said = passthrough.clone();
    said.metadata.caps.clear();
    swallow(gate, &said);
    Some(edge)
}

fn missing_caps<'a>(
    vertex: &'a Vertex,
    caps: impl Iterator<Item = &'static str> + 'a,
    daemon: &'a CapSet,
) -> impl Iterator<Item = MissingCap> + 'a {
    caps.map(|cap| MissingCap {
        daemon: daemon.name.clone(),
        cap,
        op: vertex.name(),
        locations: vertex.locations.to_vec(),
    })
}
