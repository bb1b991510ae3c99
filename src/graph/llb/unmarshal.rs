//! A definition to a graph. The bytes may come from anyone: whatever is wrong with them is an error that names the op,
//! and what comes out is a graph whose indexes all refer to something.
#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use smallvec::SmallVec;

use crate::base::{Digest, Shared};
use crate::graph::ir::{
    self, Edge, Graph, Location, Metadata, Range, SourceInfo, Tree, Vertex, VertexId, verify,
};
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
    read(bytes, limits, budget.memory).map_err(|error| match pb::Definition::decode(bytes) {
        // What is no message at all is said before what is wrong in it.
        Err(malformed) => DecodeError::Protobuf(malformed.to_string()),
        Ok(_) => error,
    })
}

/// What a definition says about one of its ops.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Its metadata.
    pub metadata: Shared<Metadata>,
    /// Where it was written, in `sources`.
    pub locations: Vec<Location>,
    /// The texts of the definition.
    pub sources: Vec<SourceInfo>,
}

/// What the definition says about its op `op`, whatever is wrong with the op; for messages.
pub fn said(bytes: &[u8], op: usize) -> Said {
    let digest = wire::fields(bytes, DEF).nth(op).map(Digest::of);
    let places: HashMap<Digest, u32> = digest.into_iter().map(|digest| (digest, 0)).collect();
    let mut said = Said { sources: sources(bytes).unwrap_or_default(), ..Said::default() };
    let told = facts(bytes, &places, |_, fact| match fact {
        Fact::Metadata(metadata) => said.metadata = metadata,
        Fact::Location(location) => said.locations.push(location),
    });
    // What is said of an op in an unreadable place is not said of it at all.
    if told.is_err() { Said { sources: said.sources, ..Said::default() } } else { said }
}

/// Fields of [`pb::Definition`].
const DEF: u32 = 1;
const METADATA: u32 = 2;
const SOURCE: u32 = 3;
/// Fields of [`pb::Source`].
const SOURCE_LOCATIONS: u32 = 1;
const SOURCE_INFOS: u32 = 2;

/// Makes a graph of bytes that were walked over. They are the only copy of a definition that is held beside the graph.
fn read(bytes: &[u8], limits: &Limits, memory: usize) -> Result<(Graph, Tree), DecodeError> {
    Reader::new(bytes, limits, memory)?.read(bytes)
}

/// The ops of a definition on their way into a graph.
struct Reader<'a> {
    ops: Vec<RawOp<'a>>,
    /// The first op of each digest.
    places: HashMap<Digest, u32>,
}

/// An op as it came.
struct RawOp<'a> {
    bytes: &'a [u8],
    /// For each input, its op's place in the definition, [`NOWHERE`] if it is not there, and the output.
    inputs: SmallVec<[(u32, i64); 1]>,
    /// Still without its edges and what is said about it; `None` of one that does nothing, or cannot be done.
    vertex: Option<Arc<Vertex>>,
    /// Why it cannot be done. It counts if the op is needed.
    wrong: Option<Box<OpError>>,
}

/// The place of an op that is not in the definition.
const NOWHERE: u32 = u32::MAX;

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], limits: &Limits, mut memory: usize) -> Result<Reader<'a>, DecodeError> {
        let n = wire::fields(bytes, DEF).count();
        let mut ops = Vec::with_capacity(n);
        let mut places: HashMap<Digest, u32> = HashMap::with_capacity(n);
        for (op, bytes) in wire::fields(bytes, DEF).enumerate() {
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
            places.entry(Digest::of(bytes)).or_insert(op as u32);
            ops.push(RawOp::new(bytes, message, &places));
        }
        // Inputs that stand behind their users.
        for op in &mut ops {
            if op.inputs.iter().any(|(place, _)| *place == NOWHERE) {
                let head = pb::OpHead::decode(op.bytes).expect("it was decoded before");
                op.inputs = head.inputs.iter().map(|input| place(input, &places)).collect();
            }
        }
        Ok(Reader { ops, places })
    }

    fn read(mut self, bytes: &[u8]) -> Result<(Graph, Tree), DecodeError> {
        let Some(terminal) = self.ops.len().checked_sub(1) else { return Ok((Graph::new(), None)) };
        let end = self.op(terminal);
        if end.vertex.is_some() || end.wrong.is_some() || end.inputs.is_empty() {
            return Err(DecodeError::NoTerminal);
        }
        // Only the first counts, but all have to be there.
        let order = self.order(terminal)?;
        let places = std::mem::take(&mut self.places);
        facts(bytes, &places, |op, fact| {
            let Some(vertex) = self.ops.get_mut(op).and_then(|it| it.vertex.as_mut()) else { return };
            let vertex = Arc::make_mut(vertex);
            match fact {
                Fact::Metadata(metadata) => vertex.metadata = metadata,
                Fact::Location(location) => vertex.locations.push(location),
            }
        })?;
        drop(places);
        let mut graph = Graph::new();
        graph.sources = sources(bytes)?;
        let mut ids: Vec<Option<VertexId>> = vec![None; self.ops.len()];
        for op in order {
            let edges = (0..self.op(op).inputs.len()).map(|input| self.edge(op, input, &graph, &ids));
            let edges = edges.collect::<Result<ir::Inputs, _>>()?;
            let raw = self.ops.get_mut(op).expect("places are those of ops");
            if let Some(error) = raw.wrong.take() {
                return Err(DecodeError::Op { op, error: *error });
            }
            let vertex = raw.vertex.take();
            let missing = DecodeError::Op { op, error: OpError::Missing("what the op does") };
            let mut vertex = vertex.ok_or(missing)?;
            Arc::make_mut(&mut vertex).inputs = edges;
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

    fn op(&self, op: usize) -> &RawOp<'a> {
        self.ops.get(op).expect("places are those of ops")
    }

    /// The op behind an input.
    fn input(&self, op: usize, input: usize) -> Result<usize, DecodeError> {
        let raw = self.op(op);
        let (place, _) = raw.inputs.get(input).expect("asked of inputs that it has");
        if *place != NOWHERE {
            return Ok(*place as usize);
        }
        let head = pb::OpHead::decode(raw.bytes).unwrap_or_default();
        let digest = head.inputs.into_iter().nth(input).map(|input| input.digest);
        Err(DecodeError::MissingInput { op, digest: digest.unwrap_or_default() })
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
}

impl<'a> RawOp<'a> {
    /// The op of a message; `places` are those of the ops up to it.
    fn new(bytes: &'a [u8], message: pb::Op, places: &HashMap<Digest, u32>) -> RawOp<'a> {
        let pb::Op { head, op } = message;
        let inputs = head.inputs.iter().map(|input| place(input, places)).collect();
        let (mut vertex, mut wrong) = (None, None);
        match op.map(|kind| decode::op(kind, head.inputs.len())) {
            None => {}
            Some(Err(error)) => wrong = Some(Box::new(error)),
            Some(Ok(op)) => {
                let mut made = Vertex::new(op, ir::Inputs::new(), head.platform.map(decode::platform));
                if let Some(constraints) = head.constraints.filter(|it| !it.filter.is_empty()) {
                    made.constraints = constraints.filter.into();
                }
                made.sealed = true;
                vertex = Some(Arc::new(made));
            }
        }
        RawOp { bytes, inputs, vertex, wrong }
    }
}

/// The place of the op behind an input, and the output.
fn place(input: &pb::Input, places: &HashMap<Digest, u32>) -> (u32, i64) {
    let digest: Option<Digest> = input.digest.parse().ok();
    (digest.and_then(|digest| places.get(&digest).copied()).unwrap_or(NOWHERE), input.index)
}

/// Something that a definition says about one of its ops.
enum Fact {
    /// In place of what was said before.
    Metadata(Shared<Metadata>),
    /// One more.
    Location(Location),
}

/// Tells everything that is said about the ops that have `places`. Digests of no op are skipped, as the daemon does.
fn facts(
    bytes: &[u8],
    places: &HashMap<Digest, u32>,
    mut tell: impl FnMut(usize, Fact),
) -> Result<(), DecodeError> {
    let malformed = |error: prost::DecodeError| DecodeError::Protobuf(error.to_string());
    let place = |key: Option<String>| {
        let digest: Option<Digest> = key.and_then(|key| key.parse().ok());
        digest.and_then(|digest| places.get(&digest)).map(|place| *place as usize)
    };
    // Most ops are told what the one before was told.
    let mut last: Option<Shared<Metadata>> = None;
    for entry in wire::fields(bytes, METADATA) {
        let entry = pb::MetadataEntry::decode(entry).map_err(malformed)?;
        if let Some(place) = place(entry.key) {
            let mut metadata = Shared::from(decode::metadata(entry.value.unwrap_or_default()));
            if let Some(last) = &last {
                metadata.unite(last);
            }
            last = Some(metadata.clone());
            tell(place, Fact::Metadata(metadata));
        }
    }
    // Of a message that stands there several times all parts count.
    let source = |field| wire::fields(bytes, SOURCE).flat_map(move |source| wire::fields(source, field));
    let n_infos = source(SOURCE_INFOS).count();
    for entry in source(SOURCE_LOCATIONS) {
        let entry = pb::LocationsEntry::decode(entry).map_err(malformed)?;
        let Some(place) = place(entry.key) else { continue };
        for location in entry.value.into_iter().flat_map(|it| it.locations) {
            let index = u32::try_from(location.source_index).ok();
            let index = index.filter(|&index| (index as usize) < n_infos);
            let source = index.ok_or(DecodeError::MissingSource(location.source_index))?;
            let position = |it: Option<pb::Position>| it.map_or((0, 0), |it| (it.line, it.character));
            let range = |it: &pb::Range| Range { start: position(it.start), end: position(it.end) };
            let ranges = location.ranges.iter().map(range).collect();
            tell(place, Fact::Location(Location { source, ranges, actions: None }));
        }
    }
    Ok(())
}

fn sources(bytes: &[u8]) -> Result<Vec<SourceInfo>, DecodeError> {
    let infos = wire::fields(bytes, SOURCE).flat_map(|source| wire::fields(source, SOURCE_INFOS));
    let info = |info: &[u8]| {
        let info = pb::SourceInfo::decode(info).map_err(|error| DecodeError::Protobuf(error.to_string()))?;
        let pb::SourceInfo { filename, data, language, definition } = info;
        Ok(SourceInfo { filename, data, language, definition })
    };
    infos.map(info).collect()
}

#[cfg(test)]
mod tests;
