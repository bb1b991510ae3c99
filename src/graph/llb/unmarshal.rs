//! A definition to a graph. The bytes may come from anyone: whatever is wrong with them is an error that names the op,
//! and what comes out is a graph whose indexes all refer to something.

use std::collections::HashMap;

use prost::Message;

use crate::base::Digest;
use crate::graph::ir::{Edge, Graph, Location, Metadata, Range, SourceInfo, Tree, Vertex, VertexId, verify};
use crate::graph::llb::{MarshalOptions, OpError, decode, marshal::Encoder, pb};

/// Why bytes are not a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The outer message cannot be read.
    #[error("not a definition: {0}")]
    Protobuf(String),
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

/// Reads a definition; `None` is scratch, which is what the empty definition means.
///
/// All vertices are sealed: [`marshal`](super::marshal()) writes them as they were, whatever its options say. Ops the
/// result does not need are left out.
///
/// # Errors
/// See [`DecodeError`]. Fields of an op that this version does not know are an error, since they could change its
/// meaning; in metadata and source texts they are skipped.
pub fn unmarshal(bytes: &[u8]) -> Result<(Graph, Tree), DecodeError> {
    let definition =
        pb::Definition::decode(bytes).map_err(|error| DecodeError::Protobuf(error.to_string()))?;
    Reader::new(&definition)?.read(&definition)
}

/// The ops of a definition on their way into a graph.
struct Reader {
    ops: Vec<pb::Op>,
    lens: Vec<usize>,
    /// Digest of the bytes as they came, which is what inputs refer to.
    digests: Vec<Digest>,
    /// First op of each digest.
    places: HashMap<Digest, usize>,
}

impl Reader {
    fn new(definition: &pb::Definition) -> Result<Reader, DecodeError> {
        let n = definition.def.len();
        let mut reader = Reader {
            ops: Vec::with_capacity(n),
            lens: Vec::with_capacity(n),
            digests: Vec::with_capacity(n),
            places: HashMap::with_capacity(n),
        };
        for (op, bytes) in definition.def.iter().enumerate() {
            let message = pb::Op::from_bytes(bytes)
                .map_err(|error| DecodeError::Op { op, error: OpError::Protobuf(error.to_string()) })?;
            let digest = Digest::of(bytes);
            reader.ops.push(message);
            reader.lens.push(bytes.len());
            reader.digests.push(digest);
            reader.places.entry(digest).or_insert(op);
        }
        Ok(reader)
    }

    fn read(mut self, definition: &pb::Definition) -> Result<(Graph, Tree), DecodeError> {
        let Some(terminal) = self.ops.len().checked_sub(1) else { return Ok((Graph::new(), None)) };
        let inputs = self.inputs(terminal)?;
        let (Some(&root), None) = (inputs.first(), &self.ops[terminal].op) else {
            return Err(DecodeError::NoTerminal);
        };
        let order = self.order(terminal)?;

        let mut facts = facts(definition, &self.digests)?;
        let mut graph = Graph::new();
        graph.sources = sources(definition);
        let mut ids: Vec<Option<VertexId>> = vec![None; self.ops.len()];
        let options = MarshalOptions::default();
        let mut encoder = Encoder::new(self.ops.len(), &options);
        for op in order {
            let edges = self.edges(op, &graph, &ids)?;
            let mut vertex = self.vertex(op, edges)?;
            if let Some((metadata, locations)) = facts.remove(&self.digests[op]) {
                vertex.metadata = metadata;
                vertex.locations = locations;
            }
            verify::vertex(&vertex).map_err(|error| DecodeError::Invalid { op, error })?;
            let id = graph.add(vertex);
            // Reading drops what it does not know; then less comes out again than went in.
            if encoder.encode(id, graph.vertex(id)).bytes.len() < self.lens[op] {
                return Err(DecodeError::Op { op, error: OpError::UnknownFields });
            }
            ids[op] = Some(id);
        }
        let root = self.edge(terminal, root, &graph, &ids)?;
        Ok((graph, Some(root)))
    }

    /// For each input of an op, its op's place in the definition and the output.
    fn inputs(&self, op: usize) -> Result<Vec<(usize, i64)>, DecodeError> {
        let place = |input: &pb::Input| {
            let digest: Option<Digest> = input.digest.parse().ok();
            match digest.and_then(|digest| self.places.get(&digest)) {
                Some(&place) => Ok((place, input.index)),
                None => Err(DecodeError::MissingInput { op, digest: input.digest.clone() }),
            }
        };
        self.ops[op].head.inputs.iter().map(place).collect()
    }

    fn edge(
        &self,
        op: usize,
        (place, index): (usize, i64),
        graph: &Graph,
        ids: &[Option<VertexId>],
    ) -> Result<Edge, DecodeError> {
        let vertex = ids[place].expect("inputs stand before their users in the order");
        let n_outputs = graph.vertex(vertex).op.n_outputs();
        match u32::try_from(index) {
            Ok(output) if (output as usize) < n_outputs => Ok(Edge { vertex, output }),
            _ => Err(DecodeError::MissingOutput { op, index, n_outputs }),
        }
    }

    fn edges(&self, op: usize, graph: &Graph, ids: &[Option<VertexId>]) -> Result<Vec<Edge>, DecodeError> {
        self.inputs(op)?.into_iter().map(|input| self.edge(op, input, graph, ids)).collect()
    }

    /// The ops that the terminal needs, without it: inputs before users, otherwise in the definition's order.
    /// Digests cannot form a cycle: an op would have to hold its own.
    fn order(&self, terminal: usize) -> Result<Vec<usize>, DecodeError> {
        let mut needed = vec![false; self.ops.len()];
        let mut stack = vec![terminal];
        while let Some(op) = stack.pop() {
            for (input, _) in self.inputs(op)? {
                if !std::mem::replace(&mut needed[input], true) {
                    stack.push(input);
                }
            }
        }
        let mut placed = vec![false; self.ops.len()];
        let mut order = Vec::new();
        for op in (0..self.ops.len()).filter(|&op| needed[op]) {
            if std::mem::replace(&mut placed[op], true) {
                continue;
            }
            // Ops whose inputs stand behind them: a walk over what is still missing.
            let mut stack = vec![(op, self.inputs(op)?)];
            while let Some((op, inputs)) = stack.last_mut() {
                match inputs.pop() {
                    Some((input, _)) if !std::mem::replace(&mut placed[input], true) => {
                        let inputs = self.inputs(input)?;
                        stack.push((input, inputs));
                    }
                    Some(_) => {}
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
        let pb::Op { head, op: kind } = std::mem::take(&mut self.ops[op]);
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
