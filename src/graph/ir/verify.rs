//! What holds for every vertex of a valid graph beyond what its types say.
//!
//! Graphs made by [`build`](super::build) hold all of it; definitions from outside are checked when they are read.

use super::{Edge, ExecOp, FileInput, FileOp, Graph, InputIdx, MountKind, Op, Vertex, VertexId};

/// Why a vertex cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VertexError {
    /// A command without words.
    #[error("the command has no arguments")]
    NoArgs,
    /// A command without a root file system.
    #[error("the command has no mount at `/`")]
    NoRoot,
    /// Memory with something in it.
    #[error("the tmpfs at `{0}` has an input")]
    TmpfsInput(String),
    /// Outputs that are not 0, 1, 2 and so on, each once; those of a command in the order of its mounts.
    #[error("the outputs are not numbered from 0 without gaps")]
    OutputNumbers,
    /// A file op that does nothing.
    #[error("the file operation has no actions")]
    NoActions,
    /// A file op or passthrough that gives nothing.
    #[error("the operation has no output")]
    NoOutput,
    /// A merge of nothing.
    #[error("the merge has no inputs")]
    MergeOfNothing,
    /// A passthrough without an id.
    #[error("the passthrough has no id")]
    NoId,
    /// An index that refers to no input.
    #[error("index {index} refers to no input: there are {n}")]
    Index {
        /// The number.
        index: i64,
        /// How many inputs there are.
        n: usize,
    },
    /// An action that works on the result of one that comes later.
    #[error("action {action} uses the result of action {used}, which does not stand before it")]
    ActionOrder {
        /// Which action.
        action: usize,
        /// What it uses.
        used: u32,
    },
    /// An input that refers to an output its op does not have.
    #[error("output {output} does not exist: the op has {n}")]
    Output {
        /// The number.
        output: u32,
        /// How many outputs there are.
        n: usize,
    },
    /// A location in a source text that is not there.
    #[error("source text {0} does not exist")]
    Source(u32),
}

/// A vertex that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("vertex {}: {error}", vertex.0)]
pub struct VerifyError {
    /// Which.
    pub vertex: VertexId,
    /// Which rule.
    pub error: VertexError,
}

/// Checks every vertex and every edge of `graph`.
///
/// # Errors
/// The first vertex that breaks a rule.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    for (id, it) in graph.vertices() {
        vertex(it)
            .and_then(|()| it.inputs.iter().try_for_each(|&input| edge(graph, input)))
            .and_then(|()| match it.locations.iter().find(|at| graph.sources.len() <= at.source as usize) {
                Some(at) => Err(VertexError::Source(at.source)),
                None => Ok(()),
            })
            .map_err(|error| VerifyError { vertex: id, error })?;
    }
    Ok(())
}

/// Checks that `edge` is an output of a vertex of `graph`.
///
/// # Errors
/// When the vertex has no such output.
pub fn edge(graph: &Graph, edge: Edge) -> Result<(), VertexError> {
    let n = graph.vertex(edge.vertex).op.n_outputs();
    if (edge.output as usize) < n { Ok(()) } else { Err(VertexError::Output { output: edge.output, n }) }
}

/// Checks a vertex by itself, its inputs taken on trust.
///
/// # Errors
/// The first rule it breaks.
pub fn vertex(vertex: &Vertex) -> Result<(), VertexError> {
    let n = vertex.inputs.len();
    match &vertex.op {
        Op::Source(_) => Ok(()),
        Op::Exec(op) => exec(op, n),
        Op::File(op) => file(op, n),
        Op::Merge(op) if op.inputs.is_empty() => Err(VertexError::MergeOfNothing),
        Op::Merge(op) => op.inputs.iter().flatten().try_for_each(|&input| index(input, n)),
        Op::Diff(op) => op.lower.iter().chain(&op.upper).try_for_each(|&input| index(input, n)),
        Op::Passthrough(op) if op.id.is_empty() => Err(VertexError::NoId),
        Op::Passthrough(op) if op.outputs.is_empty() => Err(VertexError::NoOutput),
        Op::Passthrough(op) => op.outputs.iter().try_for_each(|&input| index(input, n)),
        Op::Build(op) => op.inputs.values().try_for_each(|&input| match InputIdx::try_from(input) {
            Ok(input) => index(input, n),
            Err(_) => Err(VertexError::Index { index: input, n }),
        }),
    }
}

fn index(index: InputIdx, n: usize) -> Result<(), VertexError> {
    if (index as usize) < n { Ok(()) } else { Err(VertexError::Index { index: i64::from(index), n }) }
}

fn exec(op: &ExecOp, n_inputs: usize) -> Result<(), VertexError> {
    if op.args.is_empty() {
        return Err(VertexError::NoArgs);
    }
    if op.root().is_none() {
        return Err(VertexError::NoRoot);
    }
    let mut n_outputs = 0;
    for mount in &op.mounts {
        mount.input.map_or(Ok(()), |input| index(input, n_inputs))?;
        if mount.input.is_some() && matches!(mount.kind, MountKind::Tmpfs { .. }) {
            return Err(VertexError::TmpfsInput(mount.dest.clone()));
        }
        match mount.leaves() {
            Some(output) if output != n_outputs => return Err(VertexError::OutputNumbers),
            Some(_) => n_outputs += 1,
            None => {}
        }
    }
    Ok(())
}

fn file(op: &FileOp, n_inputs: usize) -> Result<(), VertexError> {
    if op.actions.is_empty() {
        return Err(VertexError::NoActions);
    }
    for (action, it) in op.actions.iter().enumerate() {
        for input in [it.input, it.secondary] {
            match input {
                FileInput::Scratch => {}
                FileInput::Input(input) => index(input, n_inputs)?,
                FileInput::Action(used) if (used as usize) < action => {}
                FileInput::Action(used) => return Err(VertexError::ActionOrder { action, used }),
            }
        }
    }
    let mut outputs: Vec<u32> = op.actions.iter().filter_map(|action| action.output).collect();
    outputs.sort_unstable();
    if outputs.is_empty() {
        Err(VertexError::NoOutput)
    } else if outputs.iter().enumerate().all(|(idx, &output)| idx == output as usize) {
        Ok(())
    } else {
        Err(VertexError::OutputNumbers)
    }
}
