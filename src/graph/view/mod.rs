//! Pictures of a build graph: DOT, Mermaid, SVG, and a page of HTML to walk about in.
//!
//! [`View`] says once what is drawn: nodes with short titles, links with what they mean, groups. The writers
//! ([`dot`], [`mermaid`], [`svg`], [`html`]) only spell it. Texts come from programs and may hold anything; each
//! writer escapes for its own format, in one place.

pub mod dot;
mod facts;
pub mod html;
mod layout;
mod links;
pub mod mermaid;
pub mod svg;
mod title;

use super::ir::{Edge, Graph, Op, Output, OutputKind, Tree, VertexId};
use super::llb::{self, MarshalOptions};

pub use facts::{Fact, Value};

/// What there is to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Steps in the order of the graph, inputs first; then the targets in the order they were asked for.
    pub nodes: Vec<Node>,
    /// In the order of the nodes they lead to; at most one between two nodes.
    pub links: Vec<Link>,
    /// Targets with steps that only they need; none when there is only one target.
    pub groups: Vec<Group>,
}

/// Index in [`View::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A step or a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its name on one line, however long.
    pub title: String,
    /// Its name as it is drawn: one or two lines of at most [`title::WIDTH`] columns.
    pub lines: Vec<String>,
    /// What it runs on or is made for, where it matters.
    pub platforms: Vec<String>,
    /// Index in [`View::groups`].
    pub group: Option<usize>,
    /// What else there is to know, for the page.
    pub facts: Vec<Fact>,
}

/// Kinds of nodes, as people tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the ops")]
pub enum Kind {
    Source,
    Exec,
    File,
    Merge,
    Diff,
    Require,
    Build,
    /// Something that was asked for.
    Target,
}

/// A line from a node to one that uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// What is used.
    pub from: NodeId,
    /// By whom.
    pub to: NodeId,
    /// Its main meaning: what it is drawn as.
    pub role: Role,
    /// All it means, in words: `base`, `mount /src (read-only)`, `copy from /out`.
    pub notes: Vec<String>,
    /// The same in as few characters as a line in a picture has room for; empty when the line says it.
    pub label: String,
}

/// Meanings of links, the most telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The tree that is changed, or the root that a command runs in.
    Base,
    /// A tree mounted into a command.
    Mount,
    /// A tree that files are copied from.
    Copy,
    /// A layer of a merge, a side of a diff, a definition.
    Part,
    /// Must succeed, but gives no files.
    Needs,
    /// Is what a target is.
    Output,
}

/// Steps that only one target needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Name of the target.
    pub title: String,
}

impl View {
    /// The picture of `graph`. `roots` are the trees of `outputs`, in their order (an index has one per image).
    ///
    /// Digests are those of ops marshalled with `options`.
    pub fn new(graph: &Graph, outputs: &[Output], roots: &[Tree], options: &MarshalOptions) -> View {
        let digests = llb::digests(graph, options);
        let mut view = View { nodes: Vec::new(), links: Vec::new(), groups: Vec::new() };
        for (id, vertex) in graph.vertices() {
            let title = title::of(vertex);
            view.nodes.push(Node {
                kind: kind(&vertex.op),
                lines: title::wrapped(&title),
                title: title.join(", "),
                platforms: vertex.platform.iter().map(ToString::to_string).collect(),
                group: None,
                facts: facts::of_vertex(graph, vertex, &digests[id.0 as usize]),
            });
            view.links.extend(links::of(graph, id));
        }
        let mut roots = roots.iter();
        for output in outputs {
            view.add_target(graph, output, &mut roots);
        }
        view.group();
        view
    }

    fn add_target<'t>(&mut self, graph: &Graph, output: &Output, roots: &mut impl Iterator<Item = &'t Tree>) {
        let to = NodeId(self.nodes.len());
        let images = match &output.kind {
            OutputKind::Image(image) => std::slice::from_ref(&**image),
            OutputKind::Index { images, .. } => images.as_slice(),
            OutputKind::Fs(_) | OutputKind::Check(_) => &[],
        };
        let platforms: Vec<String> = images.iter().map(|image| image.config.platform.to_string()).collect();
        // Images of an index are told apart by their platforms.
        let labels = if images.len() > 1 { platforms.clone() } else { vec![String::new()] };
        for (label, root) in labels.iter().zip(roots) {
            let Some(edge) = root else { continue };
            let link = links::output(graph, *edge, to, label);
            match self.links.iter_mut().find(|known| known.from == link.from && known.to == to) {
                // Images of two platforms that are one tree.
                Some(known) => known.notes.extend(link.notes),
                None => self.links.push(link),
            }
        }
        let title = vec![output.name.clone()];
        self.nodes.push(Node {
            kind: Kind::Target,
            lines: title::wrapped(&title),
            title: output.name.clone(),
            platforms,
            group: None,
            facts: facts::of_output(output),
        });
    }

    /// Puts each step that only one target needs into that target's group: the target dominates it.
    fn group(&mut self) {
        /// Which targets need a node.
        #[derive(Clone, Copy, PartialEq)]
        enum Needed {
            Nobody,
            By(usize),
            Several,
        }
        let is_target = |node: &Node| node.kind == Kind::Target;
        if self.nodes.iter().filter(|node| is_target(node)).count() < 2 {
            return;
        }
        let mut needed = vec![Needed::Nobody; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            if is_target(node) {
                needed[id] = Needed::By(id);
            }
        }
        // Users stand behind what they use, and links are in the order of their users.
        for link in self.links.iter().rev() {
            let by = needed[link.to.0];
            let from = &mut needed[link.from.0];
            *from = match (*from, by) {
                (Needed::Nobody, by) => by,
                (known, Needed::Nobody) => known,
                (known, by) if known == by => known,
                _ => Needed::Several,
            };
        }
        let mut groups: Vec<usize> = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            let is_alone = !needed[..id].contains(&Needed::By(id));
            if is_target(node) && !is_alone {
                groups.push(id);
            }
        }
        if groups.len() < 2 {
            return;
        }
        for (id, node) in self.nodes.iter_mut().enumerate() {
            if let Needed::By(target) = needed[id] {
                node.group = groups.iter().position(|group| *group == target);
            }
        }
        self.groups =
            groups.iter().map(|target| Group { title: self.nodes[*target].title.clone() }).collect();
    }

    /// What `node` uses, in order.
    pub fn inputs(&self, node: NodeId) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.to == node)
    }

    /// What uses `node`, in order.
    pub fn users(&self, node: NodeId) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.from == node)
    }
}

impl Node {
    /// What stands under the name: kind and platforms.
    pub fn subtitle(&self) -> String {
        let mut words = vec![self.kind.word()];
        words.extend(self.platforms.iter().map(String::as_str));
        match words.len() {
            0..=3 => words.join(" · "),
            n => format!("{} · {} · +{} platforms", words[0], words[1], n - 2),
        }
    }
}

impl Kind {
    /// Every kind, in the order of legends.
    pub const ALL: [Kind; 8] = [
        Kind::Source,
        Kind::Exec,
        Kind::File,
        Kind::Merge,
        Kind::Diff,
        Kind::Require,
        Kind::Build,
        Kind::Target,
    ];

    /// The word for it; also its class in pictures.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Exec => "exec",
            Kind::File => "file",
            Kind::Merge => "merge",
            Kind::Diff => "diff",
            Kind::Require => "require",
            Kind::Build => "build",
            Kind::Target => "target",
        }
    }
}

impl Role {
    /// The word for it; also its class in pictures.
    pub fn word(self) -> &'static str {
        match self {
            Role::Base => "base",
            Role::Mount => "mount",
            Role::Copy => "copy",
            Role::Part => "part",
            Role::Needs => "needs",
            Role::Output => "output",
        }
    }
}

fn kind(op: &Op) -> Kind {
    match op {
        Op::Source(_) => Kind::Source,
        Op::Exec(_) => Kind::Exec,
        Op::File(_) => Kind::File,
        Op::Merge(_) => Kind::Merge,
        Op::Diff(_) => Kind::Diff,
        Op::Passthrough(_) => Kind::Require,
        Op::Build(_) => Kind::Build,
    }
}

/// The node of a vertex.
fn node(vertex: VertexId) -> NodeId {
    NodeId(vertex.0 as usize)
}

/// The place of an output in the command that leaves it, `/out`; `None` for the root and for ops with one output.
fn place_of(graph: &Graph, edge: Edge) -> Option<String> {
    match &graph.vertex(edge.vertex).op {
        Op::Exec(exec) => {
            let mount = exec.mounts.iter().find(|mount| mount.output == Some(edge.output))?;
            (mount.dest != "/").then(|| mount.dest.clone())
        }
        Op::File(_) | Op::Build(_) | Op::Source(_) | Op::Merge(_) | Op::Diff(_) => {
            (edge.output != 0).then(|| format!("output {}", edge.output))
        }
        Op::Passthrough(_) => None,
    }
}

#[cfg(test)]
mod tests;
