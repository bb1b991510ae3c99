//! A definition to a graph. The bytes may come from anyone: whatever is wrong with them is an error that names the op,
//! and what comes out is a graph whose indexes all refer to something.
#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;

use prost::Message;

use crate::base::Digest;
use crate::graph::ir::{Edge, Graph, Location, Metadata, Range, SourceInfo, Tree, Vertex, VertexId, verify};
use crate::graph::llb::wire::{self, Budget, Unknown, WireError};
use crate::graph::llb::{OpError, caps, decode, pb};

/// Why bytes are not a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The outer message cannot be read.
    #[error("not a definition: {0}")]
    Protobuf(String),
    /// More of something than there may be.
    #[error("there are more than {most} {what}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// There are ops, but the last does not name the result.
    #[error("the last op does not name the result of the definition")]
    NoTerminal,
    /// One op is wrong.
    #[error("op {op}: {error}")]
    Op {
        /// Its place in the definition, from 0.
        op: usize,
        /// What is wrong.
        error: OpError,
    },
    /// An op of the right form that nobody could build.
    #[error("op {op}: {error}")]
    Invalid {
        /// Its place in the definition, from 0.
        op: usize,
        /// What is wrong.
        error: verify::VertexError,
    },
    /// An input whose op is not in the definition.
    #[error("op {op}: its input `{digest}` is not in the definition")]
    MissingInput {
        /// Place of the op that refers to it, from 0.
        op: usize,
        /// The digest as written.
        digest: String,
    },
    /// An input that refers to an output the op does not have.
    #[error("op {op}: it uses output {index} of an op that has {n_outputs}")]
    MissingOutput {
        /// Place of the op that refers to it, from 0.
        op: usize,
        /// The output as written.
        index: i64,
        /// How many outputs there are.
        n_outputs: usize,
    },
    /// A location in a source text that is not there.
    #[error("a location refers to source text {0}, which is not in the definition")]
    MissingSource(i32),
}

impl DecodeError {
    /// The op that is wrong, by its place in the definition, from 0.
    pub fn op(&self) -> Option<usize> {
        match self {
            DecodeError::Op { op, .. }
            | DecodeError::Invalid { op, .. }
            | DecodeError::MissingInput { op, .. }
            | DecodeError::MissingOutput { op, .. } => Some(*op),
            DecodeError::Protobuf(_)
            | DecodeError::TooLarge { .. }
            | DecodeError::NoTerminal
            | DecodeError::MissingSource(_) => None,
        }
    }

    /// The message without the op's place in front.
    pub fn what(&self) -> String {
        let text = self.to_string();
        let Some(op) = self.op() else { return text };
        text.strip_prefix(&format!("op {op}: ")).map(str::to_owned).unwrap_or(text)
    }
}

/// How large a definition may be. There is no limit of depth but that of the ops: everything that walks a graph does so
/// without recursion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the definition.
    pub max_bytes: usize,
    /// Ops, and entries of metadata.
    pub max_ops: usize,
    /// Entries of one list of an op: inputs, mounts, file actions, arguments.
    pub max_list: usize,
    /// Mounts of one command.
    pub max_mounts: usize,
    /// Bytes of one text.
    pub max_text: usize,
    /// Bytes of memory that what is read may take, about.
    pub max_memory: usize,
}

impl Default for Limits {
    /// More than any client sends: a daemon takes 16 MiB.
    fn default() -> Limits {
        Limits {
            max_bytes: 256 << 20,
            max_ops: 1_000_000,
            max_list: 100_000,
            max_mounts: 1_000,
            max_text: 16 << 20,
            max_memory: 2 << 30,
        }
    }
}

impl Limits {
    fn memory(&self) -> DecodeError {
        DecodeError::TooLarge { what: "bytes of memory", most: self.max_memory }
    }
}

/// Reads a definition within the usual limits; see [`unmarshal_within`].
///
/// # Errors
/// See [`DecodeError`].
pub fn unmarshal(bytes: &[u8]) -> Result<(Graph, Tree), DecodeError> {
    unmarshal_within(bytes, &Limits::default())
}

/// Reads a definition; `None` is scratch, which is what the empty definition means.
///
/// All vertices are sealed: [`marshal`](super::marshal()) writes them as they were, whatever its options say. Ops the
/// result does not need are left out.
///
/// # Errors
/// See [`DecodeError`]. Fields of an op that this version does not know are an error, since they could change its
/// meaning; in metadata and source texts they are skipped.
pub fn unmarshal_within(bytes: &[u8], limits: &Limits) -> Result<(Graph, Tree), DecodeError> {
    if limits.max_bytes < bytes.len() {
        return Err(DecodeError::TooLarge { what: "bytes", most: limits.max_bytes });
    }
    let mut budget = Budget { memory: limits.max_memory, list: limits.max_ops, text: limits.max_text };
    let walked = wire::walk(bytes, wire::DEFINITION, Unknown::Skipped, &mut budget);
    walked.map_err(|error| match error {
        WireError::Malformed(what) => DecodeError::Protobuf(what.to_owned()),
        WireError::Memory => limits.memory(),
        WireError::TooMuch { what, most } => DecodeError::TooLarge { what, most },
        WireError::Unknown => unreachable!("they are skipped"),
    })?;
    let definition =
        pb::Definition::decode(bytes).map_err(|error| DecodeError::Protobuf(error.to_string()))?;
    Reader::new(&definition, limits, budget.memory)?.read(&definition)
}

/// What a definition says about one of its ops.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Its metadata.
    pub metadata: Metadata,
    /// Where it was written, in `sources`.
    pub locations: Vec<Location>,
    /// The texts of the definition.
    pub sources: Vec<SourceInfo>,
}

/// What `definition` says about the op with this digest, whatever is wrong with the op; for messages.
pub fn said(definition: &pb::Definition, digest: &Digest) -> Said {
    let facts = facts(definition, &[*digest]).ok().and_then(|mut facts| facts.remove(digest));
    let (metadata, locations) = facts.unwrap_or_default();
    Said { metadata, locations, sources: sources(definition) }
}

/// The ops of a definition on their way into a graph.
struct Reader {
    ops: Vec<RawOp>,
}

/// An op as it came.
struct RawOp {
    message: pb::Op,
    /// Of the bytes as they came, which is what inputs refer to.
    digest: Digest,
    /// For each input, its op's place in the definition, if it is there, and the output.
    inputs: Vec<(Option<usize>, i64)>,
}

impl Reader {
    fn new(definition: &pb::Definition, limits: &Limits, mut memory: usize) -> Result<Reader, DecodeError> {
        let n = definition.def.len();
        let mut ops = Vec::with_capacity(n);
        // First op of each digest.
        let mut places: HashMap<Digest, usize> = HashMap::with_capacity(n);
        for (op, bytes) in definition.def.iter().enumerate() {
            let wrong = |error| DecodeError::Op { op, error };
            let mut budget = Budget { memory, list: limits.max_list, text: limits.max_text };
            wire::walk(bytes, wire::OP, Unknown::Refused, &mut budget).map_err(|error| match error {
                WireError::Malformed(what) => wrong(OpError::Protobuf(what.to_owned())),
                WireError::Unknown => wrong(OpError::UnknownFields),
                WireError::Memory => limits.memory(),
                WireError::TooMuch { what, most } => wrong(OpError::TooMany { what, most }),
            })?;
            memory = budget.memory;
            let message =
                pb::Op::from_bytes(bytes).map_err(|error| wrong(OpError::Protobuf(error.to_string())))?;
            if let Some(pb::OpKind::Exec(exec)) = &message.op
                && limits.max_mounts < exec.mounts.len()
            {
                return Err(wrong(OpError::TooMany { what: "mounts", most: limits.max_mounts }));
            }
            let digest = Digest::of(bytes);
            places.entry(digest).or_insert(op);
            ops.push(RawOp { message, digest, inputs: Vec::new() });
        }
        for op in &mut ops {
            let place = |input: &pb::Input| {
                let digest: Option<Digest> = input.digest.parse().ok();
                (digest.and_then(|digest| places.get(&digest).copied()), input.index)
            };
            op.inputs = op.message.head.inputs.iter().map(place).collect();
        }
        Ok(Reader { ops })
    }

    fn read(mut self, definition: &pb::Definition) -> Result<(Graph, Tree), DecodeError> {
        let Some(terminal) = self.ops.len().checked_sub(1) else { return Ok((Graph::new(), None)) };
        let end = self.op(terminal);
        if end.message.op.is_some() || end.inputs.is_empty() {
            return Err(DecodeError::NoTerminal);
        }
        // Only the first counts, but all have to be there.
        let order = self.order(terminal)?;

        let digests: Vec<Digest> = self.ops.iter().map(|op| op.digest).collect();
        let mut facts = facts(definition, &digests)?;
        let mut graph = Graph::new();
        graph.sources = sources(definition);
        let mut ids: Vec<Option<VertexId>> = vec![None; self.ops.len()];
        for op in order {
            let edges = (0..self.op(op).inputs.len()).map(|input| self.edge(op, input, &graph, &ids));
            let edges = edges.collect::<Result<_, _>>()?;
            let mut vertex = self.vertex(op, edges)?;
            if let Some((metadata, locations)) = facts.remove(&self.op(op).digest) {
                vertex.metadata = metadata;
                vertex.locations = locations;
            }
            if let Some(cap) = vertex.metadata.caps.iter().find(|cap| !caps::can(cap)) {
                let error = OpError::Capability(cap.clone());
                return Err(DecodeError::Op { op, error });
            }
            verify::vertex(&vertex).map_err(|error| DecodeError::Invalid { op, error })?;
            *ids.get_mut(op).expect("as many as ops") = Some(graph.add(vertex));
        }
        let root = self.edge(terminal, 0, &graph, &ids)?;
        Ok((graph, Some(root)))
    }

    fn op(&self, op: usize) -> &RawOp {
        self.ops.get(op).expect("places are those of ops")
    }

    /// The op behind an input.
    fn input(&self, op: usize, input: usize) -> Result<usize, DecodeError> {
        let raw = self.op(op);
        let (place, _) = raw.inputs.get(input).expect("asked of inputs that it has");
        place.ok_or_else(|| {
            let digest = raw.message.head.inputs.get(input).map(|input| input.digest.clone());
            DecodeError::MissingInput { op, digest: digest.unwrap_or_default() }
        })
    }

    fn edge(
        &self,
        op: usize,
        input: usize,
        graph: &Graph,
        ids: &[Option<VertexId>],
    ) -> Result<Edge, DecodeError> {
        let place = self.input(op, input)?;
        let (_, index) = *self.op(op).inputs.get(input).expect("asked of inputs that it has");
        let vertex = ids.get(place).copied().flatten().expect("inputs stand before their users in the order");
        let n_outputs = graph.vertex(vertex).op.n_outputs();
        match u32::try_from(index) {
            Ok(output) if (output as usize) < n_outputs => Ok(Edge { vertex, output }),
            _ => Err(DecodeError::MissingOutput { op, index, n_outputs }),
        }
    }

    /// The ops that the terminal needs, without it: inputs before users, otherwise in the definition's order.
    /// Digests cannot form a cycle: an op would have to hold its own.
    fn order(&self, terminal: usize) -> Result<Vec<usize>, DecodeError> {
        let mut needed = vec![false; self.ops.len()];
        let mark = |marks: &mut Vec<bool>, op: usize| {
            std::mem::replace(marks.get_mut(op).expect("as many as ops"), true)
        };
        let mut stack = vec![terminal];
        while let Some(op) = stack.pop() {
            for input in 0..self.op(op).inputs.len() {
                let input = self.input(op, input)?;
                if !mark(&mut needed, input) {
                    stack.push(input);
                }
            }
        }
        let mut placed = vec![false; self.ops.len()];
        let mut order = Vec::new();
        for op in needed.iter().enumerate().filter(|(_, needed)| **needed).map(|(op, _)| op) {
            if mark(&mut placed, op) {
                continue;
            }
            // Ops whose inputs stand behind them: a walk over what is still missing.
            let mut stack = vec![(op, self.op(op).inputs.len())];
            while let Some((op, n_left)) = stack.last_mut() {
                match n_left.checked_sub(1) {
                    Some(input) => {
                        *n_left = input;
                        let input = self.input(*op, input)?;
                        if !mark(&mut placed, input) {
                            stack.push((input, self.op(input).inputs.len()));
                        }
                    }
                    None => {
                        order.push(*op);
                        stack.pop();
                    }
                }
            }
        }
        Ok(order)
    }

    /// Takes op `op` out of the reader.
    fn vertex(&mut self, op: usize, edges: Vec<Edge>) -> Result<Vertex, DecodeError> {
        let raw = self.ops.get_mut(op).expect("places are those of ops");
        let pb::Op { head, op: kind } = std::mem::take(&mut raw.message);
        let kind = kind.ok_or(DecodeError::Op { op, error: OpError::Missing("what the op does") })?;
        let kind = decode::op(kind, edges.len()).map_err(|error| DecodeError::Op { op, error })?;
        let mut vertex = Vertex::new(kind, edges, head.platform.map(decode::platform));
        vertex.constraints = head.constraints.unwrap_or_default().filter;
        vertex.sealed = true;
        Ok(vertex)
    }
}

type Facts = HashMap<Digest, (Metadata, Vec<Location>)>;

/// What the definition says about its ops. Digests of no op are skipped, as the daemon does.
fn facts(definition: &pb::Definition, digests: &[Digest]) -> Result<Facts, DecodeError> {
    let mut facts: Facts = digests.iter().map(|&digest| (digest, Default::default())).collect();
    for entry in &definition.metadata {
        let digest = entry.key.as_ref().and_then(|key| key.parse().ok());
        if let Some((metadata, _)) = digest.and_then(|digest: Digest| facts.get_mut(&digest)) {
            *metadata = decode::metadata(entry.value.clone().unwrap_or_default());
        }
    }
    let Some(source) = &definition.source else { return Ok(facts) };
    for entry in &source.locations {
        let digest = entry.key.as_ref().and_then(|key| key.parse().ok());
        let Some((_, locations)) = digest.and_then(|digest: Digest| facts.get_mut(&digest)) else { continue };
        for location in entry.value.iter().flat_map(|it| &it.locations) {
            let index = u32::try_from(location.source_index).ok();
            let index = index.filter(|&index| (index as usize) < source.infos.len());
            let source = index.ok_or(DecodeError::MissingSource(location.source_index))?;
            let position = |it: Option<pb::Position>| it.map_or((0, 0), |it| (it.line, it.character));
            let range = |it: &pb::Range| Range { start: position(it.start), end: position(it.end) };
            let ranges = location.ranges.iter().map(range).collect();
            locations.push(Location { source, ranges, actions: None });
        }
    }
    Ok(facts)
}

fn sources(definition: &pb::Definition) -> Vec<SourceInfo> {
    let info = |info: &pb::SourceInfo| SourceInfo {
        filename: info.filename.clone(),
        data: info.data.clone(),
        language: info.language.clone(),
        definition: info.definition.clone(),
    };
    definition.source.iter().flat_map(|source| &source.infos).map(info).collect()
}

#[cfg(test)]
mod tests;
