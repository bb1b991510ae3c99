//! The ops of LLB as closed types: unknown enum values and dangling indexes do not exist here.

use serde::{Deserialize, Serialize};

mod bytes_text;
mod exec;
mod file;
mod source;

pub use exec::*;
pub use file::*;
pub use source::*;

/// Index into [`Vertex::inputs`](super::Vertex::inputs).
pub type InputIdx = u32;

/// What a vertex does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Brings a tree in from outside.
    Source(Box<SourceOp>),
    /// Runs a command.
    Exec(Box<ExecOp>),
    /// Changes a tree by file actions.
    File(FileOp),
    /// Stacks trees.
    Merge(MergeOp),
    /// What one tree adds to another.
    Diff(DiffOp),
    /// Forwards some inputs but needs all of them.
    Passthrough(Box<PassthroughOp>),
    /// Builds a definition that an input holds.
    Build(Box<BuildOp>),
}

/// Stacks the inputs, the first at the bottom (`pb.MergeOp`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MergeOp {
    /// One per merged tree; `None` is scratch (never written by us, accepted on the wire).
    pub inputs: Vec<Option<InputIdx>>,
}

/// The changes that lead from `lower` to `upper` (`pb.DiffOp`); `None` is scratch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffOp {
    /// Tree to start from.
    pub lower: Option<InputIdx>,
    /// Tree to arrive at.
    pub upper: Option<InputIdx>,
}

/// Forwards some of its inputs; all of them must succeed (`pb.PassthroughOp`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassthroughOp {
    /// Part of the identity; not empty.
    pub id: String,
    /// For each output, the input it forwards.
    pub outputs: Vec<InputIdx>,
}

/// Builds the definition found in a file of an input (`pb.BuildOp` with the LLB builder).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildOp {
    /// Named inputs, sorted by name; `buildkit.llb.definition` holds the definition.
    pub inputs: std::collections::BTreeMap<String, i64>,
    /// `llbbuild.filename` and others, sorted by key.
    pub attrs: std::collections::BTreeMap<String, String>,
    /// A definition given inline, marshalled; kept verbatim.
    #[serde(with = "bytes_text::optional")]
    pub definition: Option<Vec<u8>>,
    /// -1 is the LLB builder.
    pub builder: i64,
}

impl BuildOp {
    /// Attribute: the file with the definition.
    pub const FILENAME: &str = "llbbuild.filename";
    /// Input that holds the definition; also the file, when no attribute names it.
    pub const DEFINITION: &str = "buildkit.llb.definition";
    /// Number of the builder that reads definitions.
    pub const LLB_BUILDER: i64 = -1;
}

impl Op {
    /// How many outputs the op has; an [`Edge`](super::Edge)'s output is below it.
    pub fn n_outputs(&self) -> usize {
        match self {
            Op::Source(_) | Op::Merge(_) | Op::Diff(_) | Op::Build(_) => 1,
            Op::Exec(exec) => exec.n_outputs(),
            Op::File(file) => file.actions.iter().filter(|action| action.output.is_some()).count(),
            Op::Passthrough(passthrough) => passthrough.outputs.len(),
        }
    }

    /// Text for people when there is no custom name (BuildKit solver/llbsolver/vertex.go, llbOpName).
    pub fn name(&self) -> String {
        match self {
            Op::Source(source) => source.identifier.clone(),
            Op::Exec(exec) => exec.args.join(" "),
            Op::File(file) => {
                file.actions.iter().map(|action| action.op.name()).collect::<Vec<_>>().join(", ")
            }
            Op::Merge(merge) => format!("merge {} trees", merge.inputs.len()),
            Op::Diff(_) => "diff".to_owned(),
            Op::Passthrough(passthrough) => format!("passthrough {}", passthrough.id),
            Op::Build(_) => "build".to_owned(),
        }
    }
}
