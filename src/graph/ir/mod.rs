//! The build graph as an arena of op objects.
//!
//! Every statement of a program makes a vertex of its own, even when an equal one exists: names, source locations and
//! cache flags belong to the object, identity is the digest of the marshalled op (`graph::llb`). A vertex only refers
//! to vertices made before it, so the arena is in topological order and cannot hold a cycle.

pub mod build;
pub mod config;
pub mod op;
pub mod outputs;
pub mod parse;
pub mod print;
pub mod state;
pub mod verify;

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use smallvec::SmallVec;

use crate::base::{Platform, Shared};

pub use build::{ExecBuilder, FileChain, MountSpec};
pub use config::{Healthcheck, ImageConfig};
pub use op::*;
pub use outputs::{Output, OutputKind, Outputs};
pub use state::State;

/// Index of a vertex in its [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub u32);

/// One output of a vertex: what an input refers to and what the solver builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The op that makes it.
    pub vertex: VertexId,
    /// Which of the op's outputs, from 0.
    pub output: u32,
}

/// A filesystem state: an output of some op, or `None` for scratch, the empty tree.
pub type Tree = Option<Edge>;

/// Inputs of a vertex: of nearly all one or two, which then lie in it.
pub type Inputs = SmallVec<[Edge; 2]>;

/// Places of a vertex: of nearly all one, which then lies in it.
pub type Locations = SmallVec<[Location; 1]>;

/// One op with what it is built from. There may be a hundred thousand of them: what is equal is shared, what is rare is boxed.
#[derive(Debug, Clone, PartialEq)]
pub struct Vertex {
    /// What to do.
    pub op: Op,
    /// What the op works on, in the order its input indexes refer to (`Op.inputs` on the wire).
    pub inputs: Inputs,
    /// Literal platform of sources; `None` takes the platform given when the graph is marshalled, and stays absent
    /// when none is given. Which ops write it at all is `graph::llb`'s business.
    pub platform: Option<Shared<Platform>>,
    /// Worker constraint filters.
    pub constraints: Shared<Vec<String>>,
    /// Facts beside the op: they are not part of its digest.
    pub metadata: Shared<Metadata>,
    /// Where in the source texts this op was written.
    pub locations: Locations,
    /// Read from a definition: platform, constraints, attributes and metadata are final, so that marshalling options
    /// do not change the op's digest.
    pub sealed: bool,
}

/// What is said about an op without being part of its identity (`pb.OpMetadata`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metadata {
    /// Run even when a result is cached.
    pub ignore_cache: bool,
    /// Free text by key, sorted by key; `llb.customname` is the name shown to people.
    pub description: std::collections::BTreeMap<String, String>,
    /// Overrides whether the result goes into exported caches.
    pub export_cache: Option<bool>,
    /// Capabilities the op needs of the daemon.
    pub caps: std::collections::BTreeSet<String>,
    /// Group in the progress display.
    pub progress_group: Option<ProgressGroup>,
    /// Limits of the command.
    pub linux_resources: Option<LinuxResources>,
}

impl Metadata {
    /// Adds what is said elsewhere about the same op (BuildKit client/llb/state.go, mergeMetadata): `later` wins
    /// per key and per setting, flags and capabilities accumulate.
    pub fn merge(&mut self, later: &Metadata) {
        self.ignore_cache |= later.ignore_cache;
        self.description.extend(later.description.iter().map(|(key, value)| (key.clone(), value.clone())));
        self.caps.extend(later.caps.iter().cloned());
        if later.export_cache.is_some() {
            self.export_cache = later.export_cache;
        }
        if later.progress_group.is_some() {
            self.progress_group.clone_from(&later.progress_group);
        }
        if later.linux_resources.is_some() {
            self.linux_resources.clone_from(&later.linux_resources);
        }
    }
}

impl Metadata {
    /// Whether the command is to be confined more than others: its [`SECURITY`] is [`STRICT`].
    pub fn is_strict(&self) -> bool {
        self.description.get(SECURITY).is_some_and(|it| it == STRICT)
    }
}

/// Key of [`Metadata::description`] of a command that says how it is confined, beyond what LLB can. Equal commands of which
/// one is strict are one command, and strict. BuildKit ignores it.
pub const SECURITY: &str = "bkl.security";
/// The one value of [`SECURITY`].
pub const STRICT: &str = "strict";

/// Key of [`Metadata::description`] that holds the name shown to people.
pub const CUSTOM_NAME: &str = "llb.customname";

/// Ops shown as one line of progress (`pb.ProgressGroup`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProgressGroup {
    /// Groups with equal ids are one.
    pub id: String,
    /// Shown to people.
    pub name: String,
    /// Gives way to a strong group of the same op.
    pub weak: bool,
}

/// Limits of a command (`pb.LinuxResources`); zero and empty mean "not limited".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinuxResources {
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: i64,
    /// Relative weight.
    pub cpu_shares: u64,
    /// Microseconds.
    pub cpu_period: u64,
    /// Microseconds per period.
    pub cpu_quota: i64,
    /// List such as `0-1`.
    pub cpuset_cpus: String,
    /// List such as `0`.
    pub cpuset_mems: String,
}

/// A source text that locations point into (`pb.SourceInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceInfo {
    /// Name shown to people.
    pub filename: String,
    /// The text.
    pub data: Vec<u8>,
    /// `bkl`, `Dockerfile`.
    pub language: String,
    /// Marshalled definition the text was read from, if any; kept verbatim for definitions that are passed through.
    pub definition: Option<Vec<u8>>,
}

/// Where an op was written (`pb.Location`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Index in [`Graph::sources`].
    pub source: u32,
    /// Stretches of that text.
    pub ranges: SmallVec<[Range; 1]>,
    /// The actions of a file op that were written here, when it is made of several; `None` when all were. For error
    /// reports only: neither the wire nor the text form has it.
    pub actions: Option<std::ops::Range<u32>>,
}

impl Location {
    /// Where it begins, for people: `build.bkl:7:3`; columns from 1.
    pub fn place(&self, graph: &Graph) -> Option<String> {
        self.place_in(|source| graph.sources.get(source).map(|it| &*it.filename))
    }

    /// The same by the names of the graph's sources.
    pub fn place_in<'a>(&self, name: impl FnOnce(usize) -> Option<&'a str>) -> Option<String> {
        let name = name(self.source as usize)?;
        let (line, character) = self.ranges.first()?.start;
        Some(format!("{name}:{line}:{}", character + 1))
    }
}

/// A stretch of a source text; lines from 1, characters from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Line and character of the start.
    pub start: (i32, i32),
    /// Line and character of the end.
    pub end: (i32, i32),
}

/// An arena of vertices, inputs before users.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// Shared with those who work on a part of the graph.
    vertices: Vec<Arc<Vertex>>,
    /// Source texts that [`Location`]s point into.
    pub sources: Vec<SourceInfo>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Adds an op object.
    ///
    /// # Panics
    /// When an input refers to a vertex that is not in the graph yet: a bug in the caller.
    pub fn add(&mut self, vertex: impl Into<Arc<Vertex>>) -> VertexId {
        let mut vertex = vertex.into();
        let id = VertexId(self.vertices.len() as u32);
        assert!(
            vertex.inputs.iter().all(|input| input.vertex < id),
            "an input must be added before its user"
        );
        if let Some(last) = self.vertices.last() {
            let vertex = Arc::make_mut(&mut vertex);
            vertex.constraints.unite(&last.constraints);
            vertex.metadata.unite(&last.metadata);
            if let (Some(platform), Some(known)) = (&mut vertex.platform, &last.platform) {
                platform.unite(known);
            }
        }
        self.vertices.push(vertex);
        id
    }

    /// The vertex of `id`.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }

    /// The vertex of `id`, to be kept without the graph.
    pub fn shared(&self, id: VertexId) -> Arc<Vertex> {
        self.vertices[id.0 as usize].clone()
    }

    /// The vertex of `id`, to change its metadata or locations; its op may not be changed once others use it.
    pub fn vertex_mut(&mut self, id: VertexId) -> &mut Vertex {
        Arc::make_mut(&mut self.vertices[id.0 as usize])
    }

    /// All vertices in topological order, inputs first.
    pub fn vertices(&self) -> impl DoubleEndedIterator<Item = (VertexId, &Vertex)> + ExactSizeIterator {
        self.vertices.iter().enumerate().map(|(idx, vertex)| (VertexId(idx as u32), &**vertex))
    }

    /// Names of its sources, in order.
    pub fn files(&self) -> std::sync::Arc<[String]> {
        self.sources.iter().map(|it| it.filename.clone()).collect()
    }

    /// For each vertex, whether `roots` are made of it.
    pub fn needed(&self, roots: &[Tree]) -> Vec<bool> {
        let mut needed = vec![false; self.len()];
        for root in roots.iter().flatten() {
            needed[root.vertex.0 as usize] = true;
        }
        for (id, vertex) in self.vertices().rev() {
            if needed[id.0 as usize] {
                vertex.inputs.iter().for_each(|input| needed[input.vertex.0 as usize] = true);
            }
        }
        needed
    }

    /// Number of op objects.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there is no op at all.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// Adds all of `other`, whose vertices and texts get new places; gives the way from the old edges to the new.
    pub fn absorb(&mut self, other: Graph) -> impl Fn(Edge) -> Edge + use<> {
        let (n_vertices, n_sources) = (self.vertices.len() as u32, self.sources.len() as u32);
        let moved = move |edge: Edge| Edge { vertex: VertexId(edge.vertex.0 + n_vertices), ..edge };
        self.sources.extend(other.sources);
        self.vertices.extend(other.vertices.into_iter().map(|vertex| {
            let mut vertex = Arc::unwrap_or_clone(vertex);
            vertex.inputs.iter_mut().for_each(|input| *input = moved(*input));
            vertex.locations.iter_mut().for_each(|location| location.source += n_sources);
            Arc::new(vertex)
        }));
        moved
    }

    /// Index of `info` among the sources; an equal one is used again.
    pub fn add_source(&mut self, info: SourceInfo) -> u32 {
        match self.sources.iter().position(|known| *known == info) {
            Some(idx) => idx as u32,
            None => {
                self.sources.push(info);
                self.sources.len() as u32 - 1
            }
        }
    }
}

impl Vertex {
    /// A vertex without metadata or locations.
    pub fn new(op: Op, inputs: impl Into<Inputs>, platform: Option<Platform>) -> Vertex {
        /// Of most vertices.
        static NOTHING: LazyLock<(Shared<Vec<String>>, Shared<Metadata>)> = LazyLock::new(Default::default);
        let (constraints, metadata) = NOTHING.clone();
        let mut inputs = inputs.into();
        inputs.shrink_to_fit();
        Vertex {
            op,
            inputs,
            platform: platform.map(Shared::from),
            constraints,
            metadata,
            locations: Locations::new(),
            sealed: false,
        }
    }

    /// What people see: the custom name, else a text made from the op (BuildKit solver/llbsolver/vertex.go).
    pub fn name(&self) -> String {
        match self.metadata.description.get(CUSTOM_NAME) {
            Some(name) => name.clone(),
            None => self.op.name(),
        }
    }
}

#[cfg(test)]
mod tests;
