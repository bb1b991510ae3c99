//! A graph to a definition, by the rules of BuildKit's Go client (client/llb/state.go, marshal.go, sourcemap.go).
//!
//! Vertices are encoded in arena order, each once, because an op's bytes hold the digests of its inputs; the
//! definition lists them in the order in which the client walks the graph.

use std::collections::{BTreeSet, HashMap};

use smallvec::SmallVec;

use crate::base::{Digest, Platform, Shared};
use crate::graph::ir::{
    Edge, FileInput, FileOp, Graph, InputIdx, Location, Metadata, Op, Tree, Vertex, VertexId, attr,
};
use crate::graph::llb::{encode, pb};

/// What holds for all ops of a marshalled graph that do not say otherwise. Sealed vertices ignore all but `order`.
#[derive(Debug, Clone, Default)]
pub struct MarshalOptions {
    /// Platform of ops without one of their own; `None` leaves them without.
    pub platform: Option<Platform>,
    /// Nonce that keeps the local directories of different builds apart; `None` writes none. A source's own wins.
    pub local_unique: Option<String>,
    /// Worker filters that stand before each op's own.
    pub constraints: Vec<String>,
    /// What is said about every op.
    pub metadata: Metadata,
    /// The daemon's capabilities, when known: whether commands without a `PATH` are given one depends on them.
    pub caps: Option<BTreeSet<String>>,
    /// How the definition lists the ops.
    pub order: Order,
}

/// Order of the ops in a definition; inputs always come before their users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The Go client's walk from the root.
    #[default]
    Client,
    /// The order of the arena, which for a graph read from a definition is that of the definition.
    Arena,
}

/// The definition of `root` and all it needs; an empty one for scratch.
pub fn marshal(graph: &Graph, root: Tree, options: &MarshalOptions) -> pb::Definition {
    let Some(root) = root else { return pb::Definition::default() };
    let mut parts = Parts::new(graph, root, options);
    pb::Definition {
        def: std::mem::take(&mut parts.def),
        metadata: parts.metadata().collect(),
        source: Some(pb::Source { locations: parts.locations().collect(), infos: parts.infos.written }),
    }
}

/// The bytes of the definition of `root`. Those of a large graph are written without the messages that they are of.
pub fn marshal_bytes(graph: &Graph, root: Tree, options: &MarshalOptions) -> Vec<u8> {
    use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, message};
    let mut bytes = Vec::new();
    let Some(root) = root else { return bytes };
    let mut parts = Parts::new(graph, root, options);
    for op in std::mem::take(&mut parts.def) {
        encode_key(1, WireType::LengthDelimited, &mut bytes);
        encode_varint(op.len() as u64, &mut bytes);
        bytes.extend_from_slice(&op);
    }
    parts.metadata().for_each(|entry| message::encode(2, &entry, &mut bytes));
    let infos: usize = parts.infos.written.iter().map(|info| message::encoded_len(2, info)).sum();
    let locations: usize = parts.locations().map(|entry| message::encoded_len(1, &entry)).sum();
    let len = infos + locations;
    bytes.reserve_exact(1 + encoded_len_varint(len as u64) + len);
    encode_key(3, WireType::LengthDelimited, &mut bytes);
    encode_varint(len as u64, &mut bytes);
    parts.locations().for_each(|entry| message::encode(1, &entry, &mut bytes));
    parts.infos.written.iter().for_each(|info| message::encode(2, info, &mut bytes));
    bytes
}

/// What a definition is made of.
struct Parts<'g> {
    def: Vec<Vec<u8>>,
    /// Sorted by digest.
    facts: Vec<Facts>,
    infos: Infos<'g>,
    /// Of the terminal op.
    terminal: (Digest, BTreeSet<String>),
}

impl<'g> Parts<'g> {
    fn new(graph: &'g Graph, root: Edge, options: &MarshalOptions) -> Parts<'g> {
        let walked = walk(graph, root.vertex, options.order);
        let mut needed = vec![false; graph.len()];
        for id in &walked {
            needed[id.0 as usize] = true;
        }
        let mut encoder = Encoder::new(graph.len(), options);
        let mut ops: Vec<Option<EncodedOp>> = Vec::with_capacity(graph.len());
        let encoded =
            |(id, vertex): (VertexId, &Vertex)| needed[id.0 as usize].then(|| encoder.encode(id, vertex));
        ops.extend(graph.vertices().map(encoded));

        // One entry per digest: equal ops of different statements are one op to whom everything said about each applies.
        let mut facts: Vec<Facts> = Vec::with_capacity(walked.len());
        let mut known: HashMap<Digest, usize> = HashMap::with_capacity(walked.len());
        let mut infos = Infos::new(graph);
        let mut def = Vec::with_capacity(walked.len() + 1);
        for id in walked {
            let vertex = graph.vertex(id);
            let op =
                ops[id.0 as usize].take().expect("the walk lists a vertex once, and all of them are encoded");
            let fact = *known.entry(op.digest).or_insert_with(|| {
                def.push(op.bytes);
                facts.push(Facts { digest: op.digest, metadata: None, vertices: SmallVec::new() });
                facts.len() - 1
            });
            let facts = &mut facts[fact];
            let plain = vertex.sealed || options.metadata == Metadata::default();
            match &mut facts.metadata {
                None if plain && op.cap.is_none() => facts.metadata = Some(vertex.metadata.clone()),
                metadata => {
                    let metadata = metadata.get_or_insert_default();
                    if !plain {
                        metadata.merge(&options.metadata);
                    }
                    metadata.merge(&vertex.metadata);
                    metadata.caps.extend(op.cap.map(str::to_owned));
                }
            }
            vertex.locations.iter().for_each(|it| infos.meet(it));
            facts.vertices.push(id);
        }
        let terminal = encoder.terminal(root);
        let caps = terminal_caps(&facts);
        facts.sort_by_key(|facts| facts.digest);
        let digest = Digest::of(&terminal);
        def.push(terminal);
        Parts { def, facts, infos, terminal: (digest, caps) }
    }

    /// What is said about the ops, sorted by digest.
    fn metadata(&self) -> impl Iterator<Item = pb::MetadataEntry> {
        let entry = |facts: &Facts| pb::MetadataEntry {
            key: Some(facts.digest.to_string()),
            value: facts.metadata.as_deref().map(encode::metadata),
        };
        let (digest, caps) = &self.terminal;
        let (before, after) = self.facts.split_at(self.facts.partition_point(|facts| facts.digest < *digest));
        let terminal = Metadata { caps: caps.clone(), ..Metadata::default() };
        let terminal =
            pb::MetadataEntry { key: Some(digest.to_string()), value: Some(encode::metadata(&terminal)) };
        before.iter().map(entry).chain([terminal]).chain(after.iter().map(entry))
    }

    /// Where the ops were written, sorted by digest.
    fn locations(&self) -> impl Iterator<Item = pb::LocationsEntry> {
        self.facts.iter().map(|facts| {
            let vertices = facts.vertices.iter().map(|&id| self.infos.graph.vertex(id));
            let locations = vertices.flat_map(|vertex| &vertex.locations);
            let locations = locations.map(|it| encode::location(it, self.infos.place(it))).collect();
            pb::LocationsEntry {
                key: Some(facts.digest.to_string()),
                value: Some(pb::Locations { locations }),
            }
        })
    }
}

/// The digest of each vertex, by its id, as [`marshal`] would write it.
pub fn digests(graph: &Graph, options: &MarshalOptions) -> Vec<Digest> {
    let mut encoder = Encoder::new(graph.len(), options);
    graph.vertices().map(|(id, vertex)| encoder.encode(id, vertex).digest).collect()
}

/// Gives each passthrough op without an id one that is made of its inputs' digests: equal requirements stay one op, and
/// no two others are mistaken for each other. Later changes of the graph leave the ids as they are.
pub fn name_requirements(graph: &mut Graph) {
    let is_unnamed =
        |vertex: &Vertex| matches!(&vertex.op, Op::Passthrough(passthrough) if passthrough.id.is_empty());
    if !graph.vertices().any(|(_, vertex)| is_unnamed(vertex)) {
        return;
    }
    let options = MarshalOptions::default();
    let mut encoder = Encoder::new(graph.len(), &options);
    let mut digests: Vec<Digest> = Vec::with_capacity(graph.len());
    for id in (0..graph.len() as u32).map(VertexId) {
        if is_unnamed(graph.vertex(id)) {
            let inputs = graph.vertex(id).inputs.iter();
            let lines: String =
                inputs.map(|edge| format!("{}.{}\n", digests[edge.vertex.0 as usize], edge.output)).collect();
            if let Op::Passthrough(passthrough) = &mut graph.vertex_mut(id).op {
                passthrough.id = Digest::of(format!("bkl.require.v1\n{lines}")).hex();
            }
        }
        digests.push(encoder.encode(id, graph.vertex(id)).digest);
    }
}

/// What is known about the ops of one digest.
struct Facts {
    digest: Digest,
    /// Shared as long as it is one statement's.
    metadata: Option<Shared<Metadata>>,
    vertices: SmallVec<[VertexId; 4]>,
}

/// The capabilities that the terminal op asks for.
fn terminal_caps(facts: &[Facts]) -> BTreeSet<String> {
    let uses =
        |test: fn(&Metadata) -> bool| facts.iter().filter_map(|facts| facts.metadata.as_deref()).any(test);
    let caps = [
        ("constraints", true),
        ("platform", true),
        ("meta.ignorecache", uses(|it| it.ignore_cache)),
        ("meta.description", uses(|it| !it.description.is_empty())),
        ("meta.exportcache", uses(|it| it.export_cache.is_some())),
    ];
    caps.iter().filter(|(_, on)| *on).map(|(cap, _)| (*cap).to_owned()).collect()
}

/// The source texts that are written, in the order of their first use.
struct Infos<'g> {
    graph: &'g Graph,
    /// For each of the graph's texts, its place among the written ones.
    places: Vec<Option<u32>>,
    written: Vec<pb::SourceInfo>,
}

impl Infos<'_> {
    fn new(graph: &Graph) -> Infos<'_> {
        Infos { graph, places: vec![None; graph.sources.len()], written: Vec::new() }
    }

    /// Gives the text of a location a place if it has none.
    fn meet(&mut self, location: &Location) {
        let source = location.source as usize;
        self.places[source].get_or_insert_with(|| {
            let info = &self.graph.sources[source];
            self.written.push(pb::SourceInfo {
                filename: info.filename.clone(),
                data: info.data.clone(),
                definition: info.definition.clone(),
                language: info.language.clone(),
            });
            self.written.len() as u32 - 1
        });
    }

    /// The place of the text of a location that was met.
    fn place(&self, location: &Location) -> u32 {
        self.places[location.source as usize].expect("all locations were met")
    }
}

/// Bytes and digest of an op.
pub(crate) struct EncodedOp {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    /// Capability that the marshalling itself made necessary.
    cap: Option<&'static str>,
}

/// Encodes vertices, inputs before their users.
pub(crate) struct Encoder<'a> {
    options: &'a MarshalOptions,
    /// Digest of each vertex encoded so far, by its id.
    digests: Vec<Option<Digest>>,
}

impl<'a> Encoder<'a> {
    /// An encoder for a graph of about `n_vertices`.
    pub(crate) fn new(n_vertices: usize, options: &'a MarshalOptions) -> Encoder<'a> {
        Encoder { options, digests: Vec::with_capacity(n_vertices) }
    }

    /// Encodes a vertex whose inputs have been encoded.
    pub(crate) fn encode(&mut self, id: VertexId, vertex: &Vertex) -> EncodedOp {
        let (inputs, remap) = self.inputs(vertex);
        let wire = encode::WireInputs { remap: remap.as_deref(), n_inputs: inputs.len() };
        let mut op = encode::op(&vertex.op, &wire);
        let (mut filter, mut platform, mut cap) = (Vec::new(), vertex.platform.as_deref(), None);
        if !vertex.sealed {
            filter.clone_from(&self.options.constraints);
            platform = platform.or(self.options.platform.as_ref()).filter(|_| keeps_platform(&vertex.op));
            cap = self.finish(&mut op);
        }
        filter.extend(vertex.constraints.iter().cloned());
        let head = pb::OpHead {
            inputs,
            platform: platform.map(encode::platform),
            constraints: Some(pb::WorkerConstraints { filter }),
        };
        let bytes = pb::Op { head, op: Some(op) }.to_bytes();
        let digest = Digest::of(&bytes);
        let place = id.0 as usize;
        if self.digests.len() <= place {
            self.digests.resize(place + 1, None);
        }
        self.digests[place] = Some(digest);
        EncodedOp { bytes, digest, cap }
    }

    /// The inputs on the wire. Commands and file ops name equal inputs of different statements once, so that
    /// their indexes move; the other kinds repeat them.
    fn inputs(&self, vertex: &Vertex) -> (Vec<pb::Input>, Option<Vec<InputIdx>>) {
        let unites = matches!(vertex.op, Op::Exec(_) | Op::File(_)) && !vertex.sealed;
        if !unites || vertex.inputs.len() < 2 {
            return (vertex.inputs.iter().map(|&edge| self.input(edge)).collect(), None);
        }
        let mut places: HashMap<(Digest, u32), InputIdx> = HashMap::with_capacity(vertex.inputs.len());
        let mut wire = Vec::with_capacity(vertex.inputs.len());
        let remap = vertex.inputs.iter().map(|&edge| {
            *places.entry((self.digest(edge.vertex), edge.output)).or_insert_with(|| {
                wire.push(self.input(edge));
                wire.len() as InputIdx - 1
            })
        });
        let remap = remap.collect();
        (wire, Some(remap))
    }

    /// What the client adds to an op only now that it knows whom the definition is for; the capability this needs.
    fn finish(&self, op: &mut pb::OpKind) -> Option<&'static str> {
        match op {
            pb::OpKind::Source(source) if source.identifier.starts_with("local://") => {
                let has = |attr: &str| source.attrs.iter().any(|entry| entry.key.as_deref() == Some(attr));
                if has(attr::LOCAL_SESSION) {
                    return None;
                }
                if has(attr::LOCAL_UNIQUE) {
                    return Some("source.local.unique");
                }
                let unique = self.options.local_unique.as_ref()?;
                let at =
                    source.attrs.partition_point(|entry| entry.key.as_deref() < Some(attr::LOCAL_UNIQUE));
                source.attrs.insert(at, pb::StrEntry::new(attr::LOCAL_UNIQUE, unique));
                Some("source.local.unique")
            }
            pb::OpKind::Exec(exec) => {
                if self.options.caps.as_ref()?.contains(SETS_DEFAULT_PATH) {
                    return Some(SETS_DEFAULT_PATH);
                }
                let windows = self.options.platform.as_ref().is_some_and(|platform| platform.os == "windows");
                let env = &mut exec.meta.get_or_insert_default().env;
                if !windows && !env.iter().any(|var| var.starts_with("PATH=")) {
                    env.push(format!("PATH={}", crate::graph::ir::config::DEFAULT_PATH));
                }
                None
            }
            _ => None,
        }
    }

    fn digest(&self, id: VertexId) -> Digest {
        self.digests[id.0 as usize].expect("inputs are encoded before their users")
    }

    fn input(&self, edge: Edge) -> pb::Input {
        pb::Input { digest: self.digest(edge.vertex).to_string(), index: i64::from(edge.output) }
    }

    /// The bytes of the op that names the result.
    fn terminal(&self, root: Edge) -> Vec<u8> {
        let head = pb::OpHead { inputs: vec![self.input(root)], ..pb::OpHead::default() };
        pb::Op { head, op: None }.to_bytes()
    }
}

/// The daemon gives commands a default `PATH` itself.
const SETS_DEFAULT_PATH: &str = "exec.meta.setsdefaultpath";

/// Whether the client writes a platform on such an op (llb reference 2.2). Blobs do not have the image's prefix.
fn keeps_platform(op: &Op) -> bool {
    match op {
        Op::Exec(_) | Op::Build(_) => true,
        Op::Source(source) => matches!(source.scheme(), "docker-image" | "oci-layout"),
        Op::File(_) | Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) => false,
    }
}

/// The vertices that `root` needs, inputs before users.
fn walk(graph: &Graph, root: VertexId, order: Order) -> Vec<VertexId> {
    // A frame is a vertex with the inputs still to be visited, last first.
    let frame = |id: VertexId| {
        let mut inputs = visiting_order(graph.vertex(id));
        inputs.reverse();
        (id, inputs)
    };
    let mut seen = vec![false; graph.len()];
    let mut walked = Vec::new();
    let mut stack = vec![frame(root)];
    seen[root.0 as usize] = true;
    while let Some((id, inputs)) = stack.last_mut() {
        match inputs.pop() {
            Some(input) if !std::mem::replace(&mut seen[input.0 as usize], true) => stack.push(frame(input)),
            Some(_) => {}
            None => {
                walked.push(*id);
                stack.pop();
            }
        }
    }
    if order == Order::Arena {
        walked.sort();
    }
    walked
}

/// The inputs of a vertex in the order in which the client visits them. For a file op that is the last action's
/// base and source first, and so on back to the first action (client/llb/fileop.go, allOutputs).
fn visiting_order(vertex: &Vertex) -> Vec<VertexId> {
    match &vertex.op {
        Op::File(file) if !vertex.sealed => file_visiting_order(file, &vertex.inputs),
        _ => vertex.inputs.iter().map(|edge| edge.vertex).collect(),
    }
}

fn file_visiting_order(file: &FileOp, inputs: &[Edge]) -> Vec<VertexId> {
    let mut order = Vec::new();
    let mut visited = vec![false; file.actions.len()];
    // What the first action of each chain works on: the tree that all actions of the chain are bound to.
    let mut bases: Vec<Option<InputIdx>> = Vec::with_capacity(file.actions.len());
    for action in &file.actions {
        bases.push(match action.input {
            FileInput::Scratch => None,
            FileInput::Input(input) => Some(input),
            FileInput::Action(earlier) => bases[earlier as usize],
        });
    }
    let last = file.actions.iter().rposition(|action| action.output.is_some());
    let mut stack: Vec<usize> = last.into_iter().collect();
    while let Some(idx) = stack.pop() {
        if std::mem::replace(&mut visited[idx], true) {
            continue;
        }
        let action = &file.actions[idx];
        order.extend(bases[idx]);
        if let FileInput::Action(previous) = action.input {
            stack.push(previous as usize);
        }
        match action.secondary {
            FileInput::Scratch => {}
            FileInput::Input(input) => order.push(input),
            FileInput::Action(chain) => stack.push(chain as usize),
        }
    }
    // Inputs that no action leads to are not the client's doing; they still have to be there.
    order.extend(0..inputs.len() as InputIdx);
    order.into_iter().map(|input| inputs[input as usize].vertex).collect()
}

#[cfg(test)]
mod tests;
