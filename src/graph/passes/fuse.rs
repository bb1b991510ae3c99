//! A file op that works on the result of another is one op with it.
//!
//! Precondition:
//! - nothing but the base of the second op uses the first one's result;
//! - the first op copies nothing: running it again with the second costs nothing, while a copy is worth a cache entry
//!   of its own;
//! - no owner in the second op is looked up in the first one's result: LLB can only look names up in inputs;
//! - both have the same worker constraints and agree on using the cache.
//!
//! The fused op makes one layer where there were two. What the second op removes of what the first made is then in no
//! layer at all, and nothing is visible that was not visible before.

use super::Rewritten;
use super::rewrite::{Inputs, Rewired, Rewriter, Uses, map_action, uses};
use crate::graph::ir::{
    FileActionOp, FileInput, FileOp, Graph, InputIdx, Location, Op, Tree, Vertex, VertexId,
};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
    let uses = uses(graph, roots);
    let goes = |id: VertexId, vertex: &Vertex| match uses[id.0 as usize] {
        Uses::One(user) => goes_into(vertex, graph.vertex(user), id.0),
        Uses::None | Uses::Many => false,
    };
    if !graph.vertices().any(|(id, vertex)| goes(id, vertex)) {
        return None;
    }
    let mut rewriter = Rewriter::new(graph);
    let mut n_changes = 0;
    // Ops that wait for the one they go into, over the new inputs.
    let mut waiting: Vec<Option<Vertex>> = vec![None; graph.len()];
    for (id, vertex) in graph.vertices() {
        let first = base(vertex).and_then(|input| {
            let first = waiting[vertex.inputs[input as usize].vertex.0 as usize].take()?;
            Some((input, first))
        });
        let now = match first {
            Some((input, first)) => {
                n_changes += 1;
                fused(&rewriter, first, vertex, input)
            }
            None => match rewriter.rewired(vertex) {
                Rewired::Vertex(vertex) => *vertex,
                Rewired::Tree(tree) => {
                    rewriter.replace(tree);
                    continue;
                }
            },
        };
        if goes(id, vertex) {
            waiting[id.0 as usize] = Some(now);
            rewriter.inline();
        } else {
            rewriter.add(now);
        }
    }
    Some(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes })
}

/// Whether `first` may become part of `second`, its only user.
fn goes_into(first: &Vertex, second: &Vertex, first_id: u32) -> bool {
    let Op::File(file) = &first.op else { return false };
    let copies = file.actions.iter().any(|action| matches!(action.op, FileActionOp::Copy(_)));
    let (last, others) = file.actions.split_last().expect("a file op has actions");
    let one_result = last.output == Some(0) && others.iter().all(|action| action.output.is_none());
    let is_base = base(second).is_some_and(|input| second.inputs[input as usize].vertex.0 == first_id);
    !copies
        && one_result
        && is_base
        && !first.sealed
        && !second.sealed
        && first.constraints == second.constraints
        && first.metadata.ignore_cache == second.metadata.ignore_cache
        && first.metadata.export_cache == second.metadata.export_cache
}

/// The input that only the first action of a file op refers to, as what it works on.
fn base(vertex: &Vertex) -> Option<InputIdx> {
    let Op::File(file) = &vertex.op else { return None };
    let FileInput::Input(base) = file.actions.first()?.input else { return None };
    let mut n_references = 0;
    for action in &file.actions {
        map_action(&mut action.clone(), &mut |input| {
            n_references += usize::from(input == FileInput::Input(base));
            input
        });
    }
    (n_references == 1).then_some(base)
}

/// `second` with the actions of `first` before its own; `base` is the input that was `first`'s result.
///
/// `first` may itself be the end of a long chain: only what is added is looked at.
fn fused(rewriter: &Rewriter, first: Vertex, second: &Vertex, base: InputIdx) -> Vertex {
    let Vertex { op: Op::File(FileOp { mut actions }), inputs, mut metadata, mut locations, .. } = first
    else {
        unreachable!("only file ops are fused");
    };
    let Op::File(after) = &second.op else { unreachable!("only file ops are fused") };
    let n_before = actions.len();
    let mut places = Inputs::new(true);
    for edge in inputs {
        places.place(Some(edge));
    }
    let table: Vec<FileInput> = (0..)
        .zip(&second.inputs)
        .map(|(input, &edge)| match input == base {
            true => FileInput::Action(n_before as u32 - 1),
            false => places.place(rewriter.edge(edge)).map_or(FileInput::Scratch, FileInput::Input),
        })
        .collect();
    // Of the first only the last action has an output.
    actions[n_before - 1].output = None;
    actions.extend(after.actions.iter().cloned().map(|mut action| {
        map_action(&mut action, &mut |input| match input {
            FileInput::Scratch => FileInput::Scratch,
            FileInput::Input(input) => table[input as usize],
            FileInput::Action(action) => FileInput::Action(n_before as u32 + action),
        });
        action
    }));
    // Each location says which actions of the fused op it is about. Those of a first op that was fused say so already.
    if locations.first().is_some_and(|location| location.actions.is_none()) {
        place(&mut locations, n_before as u32, 0);
    }
    let mut added = second.locations.clone();
    place(&mut added, after.actions.len() as u32, n_before as u32);
    locations.append(&mut added);
    metadata.merge(&second.metadata);
    Vertex {
        op: Op::File(FileOp { actions }),
        inputs: places.edges,
        platform: second.platform.clone(),
        constraints: second.constraints.clone(),
        metadata,
        locations,
        sealed: second.sealed,
    }
}

/// Writes down which actions of the fused op the locations of one of its parts are about: the part has `n_actions`, and
/// `n_before` stand before them.
fn place(locations: &mut [Location], n_actions: u32, n_before: u32) {
    for location in locations {
        let own = location.actions.take().unwrap_or(0..n_actions);
        location.actions = Some(own.start + n_before..own.end + n_before);
    }
}
