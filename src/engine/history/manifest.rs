//! What a run was made of, as it is kept in the store.

use serde::{Deserialize, Serialize};

use super::files;
use crate::base::{Digest, Platform};
use crate::engine::solver::Account;
use crate::engine::source::{KnownFile, StandsFor};
use crate::graph::ir::{CUSTOM_NAME, Edge, Graph, Op, Vertex, VertexId};

/// Bytes of a body from which on compressing it pays.
const MIN_COMPRESSED: usize = 400;
/// Stands before the bytes of a run that its build did not outlive.
pub(crate) const STOPPED: u8 = b's';
/// Nobody's manifest is longer; what claims to be is damaged.
const MAX_BYTES: usize = 1 << 30;

/// A run of a vertex: what it did, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// For people: custom name, command or identifier.
    pub name: String,
    /// Whether the name was given in the program.
    pub named: bool,
    /// Where it was written: `build.bkl:7:3`.
    pub places: Vec<String>,
    /// For each of the places, which file actions were written there; none for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Option<std::ops::Range<usize>>>,
    /// What it did.
    pub op: Op,
    /// Whether the command was confined more than others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Its platform, in words; empty is the machine's.
    pub platform: String,
    /// Digest of the marshalled vertex.
    pub vertex: Digest,
    /// Of a source, what it stood for; of others, what they do, apart from their inputs.
    pub digest: Digest,
    /// In the op's order.
    pub inputs: Vec<Input>,
    /// Why results that existed were not used.
    pub forced: Option<Forced>,
    /// Whether it failed.
    pub failed: bool,
    /// Whether its build ended before it did, and so it failed.
    #[serde(skip)]
    pub stopped: bool,
    /// Of an image: its root manifest or index.
    pub image: Option<Digest>,
    /// Of a directory: its files.
    #[serde(skip)]
    pub files: Option<Vec<KnownFile>>,
}

/// An input of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Which output of its op.
    pub output: u32,
    /// Digest of what was read of it, where that is what counted.
    pub content: Option<Digest>,
    /// Names its result.
    pub result: Option<Digest>,
    /// Names the run that made it; of a source, the tree.
    pub made_by: Option<Digest>,
    /// Of a source: digest of its marshalled vertex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Digest>,
}

/// Why a step runs although its result exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forced {
    /// The program says so: `cache: false`.
    Program,
    /// The build was asked not to use any result.
    NoCache,
    /// The build was asked not to use the results of some steps.
    Filter,
}

impl Manifest {
    /// The manifest of the vertex `id` of `graph`, whose vertices have the digests `digest_of`, by what a solve knows of it.
    pub fn new(
        graph: &Graph,
        id: VertexId,
        digest_of: impl Fn(VertexId) -> Digest,
        account: &Account,
        forced: Option<Forced>,
        stands_for: StandsFor,
    ) -> Manifest {
        let vertex = graph.vertex(id);
        let source =
            |it: &Edge| matches!(graph.vertex(it.vertex).op, Op::Source(_)).then(|| digest_of(it.vertex));
        let sources: Vec<Option<Digest>> = vertex.inputs.iter().map(source).collect();
        let places = vertex.locations.iter().filter_map(|it| it.place(graph)).collect();
        Manifest::of(vertex, digest_of(id), places, &sources, account, forced, stands_for)
    }

    /// The same without the graph: `digest` is the marshalled vertex', `places` where it was written, `sources` the digests of
    /// those of its inputs that are sources.
    pub fn of(
        vertex: &Vertex,
        digest: Digest,
        places: Vec<String>,
        sources: &[Option<Digest>],
        account: &Account,
        forced: Option<Forced>,
        stands_for: StandsFor,
    ) -> Manifest {
        let inputs = vertex.inputs.iter().zip(&account.inputs).zip(sources);
        let input =
            |((edge, input), source): ((&Edge, &crate::engine::solver::Input), &Option<Digest>)| Input {
                output: edge.output,
                content: input.content,
                result: input.result,
                made_by: input.made_by,
                source: *source,
            };
        let inputs = inputs.map(input).collect();
        let (image, files) = match stands_for {
            StandsFor::Image(image) => (Some(image), None),
            StandsFor::Files(files) => (None, Some(files)),
            StandsFor::Other => (None, None),
        };
        Manifest {
            name: vertex.name(),
            named: vertex.metadata.description.contains_key(CUSTOM_NAME),
            places,
            parts: parts(vertex),
            op: vertex.op.clone(),
            strict: vertex.metadata.is_strict(),
            platform: vertex.platform.as_deref().map(Platform::to_string).unwrap_or_default(),
            vertex: digest,
            digest: account.digest,
            inputs,
            forced,
            failed: false,
            stopped: false,
            image,
            files,
        }
    }

    /// Where the file action `action` was written; without one, all of it.
    pub fn places_of(&self, action: Option<usize>) -> Vec<String> {
        let parts = self.parts.iter().cloned().chain(std::iter::repeat(None));
        let is_meant = |part: &Option<std::ops::Range<usize>>| match (part, action) {
            (Some(part), Some(action)) => part.contains(&action),
            _ => true,
        };
        let places = self.places.iter().zip(parts).filter(|(_, part)| is_meant(part));
        places.map(|(place, _)| place.clone()).collect()
    }

    /// Whether it brings a tree in from outside.
    pub fn is_source(&self) -> bool {
        matches!(self.op, Op::Source(_))
    }

    /// The bytes to keep.
    pub fn encode(&self, packer: &mut Packer) -> Vec<u8> {
        packer.pack(&self.bytes())
    }

    /// The same, made faster and longer.
    pub fn encode_plain(&self) -> Vec<u8> {
        [b"p".as_slice(), &self.bytes()].concat()
    }

    fn bytes(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).expect("ops have text keys only");
        let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&text);
        if let Some(files) = &self.files {
            bytes.extend_from_slice(&files::encode(files));
        }
        bytes
    }

    /// `None` for what another version wrote, and for what is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Manifest> {
        let (bytes, stopped) = match bytes.split_first()? {
            (&STOPPED, rest) => (rest, true),
            _ => (bytes, false),
        };
        let bytes = unpack(bytes)?;
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, files) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let manifest: Manifest = serde_json::from_slice(text).ok()?;
        let files = if files.is_empty() { None } else { Some(files::decode(files)?) };
        Some(Manifest { files, failed: manifest.failed || stopped, stopped, ..manifest })
    }
}

/// Which file actions were written at the places of `vertex`, where that is not the same for all.
fn parts(vertex: &Vertex) -> Vec<Option<std::ops::Range<usize>>> {
    let parts = vertex.locations.iter().filter(|it| !it.ranges.is_empty()).map(|it| it.actions.clone());
    let parts = parts.map(|it| it.map(|it| it.start as usize..it.end as usize));
    let parts: Vec<_> = parts.collect();
    if parts.iter().all(Option::is_none) { Vec::new() } else { parts }
}

/// Compresses many small texts.
#[derive(Default)]
pub struct Packer {
    compressor: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    /// A byte that says how, then the bytes.
    fn pack(&mut self, bytes: &[u8]) -> Vec<u8> {
        if MIN_COMPRESSED <= bytes.len() {
            if self.compressor.is_none() {
                self.compressor = zstd::bulk::Compressor::new(1).ok();
            }
            if let Some(packed) = self.compressor.as_mut().and_then(|it| it.compress(bytes).ok()) {
                let length = (bytes.len() as u32).to_le_bytes();
                return [b"z".as_slice(), &length, &packed].concat();
            }
        }
        [b"p".as_slice(), bytes].concat()
    }
}

fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    match bytes.split_first()? {
        (b'p', bytes) => Some(bytes.to_vec()),
        (b'z', bytes) => {
            let (length, packed) = bytes.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length) as usize;
            zstd::bulk::decompress(packed, length.min(MAX_BYTES)).ok()
        }
        _ => None,
    }
}
