//! A graph made from another, vertex by vertex.

use crate::graph::ir::{
    self, Chown, Edge, FileAction, FileActionOp, FileInput, Graph, InputIdx, Op, Tree, User, Vertex, VertexId,
};

/// The new graph in the making.
pub(super) struct Rewriter {
    pub(super) graph: Graph,
    /// For each output of each old vertex, its tree in the new graph.
    outputs: Vec<Vec<Tree>>,
}

impl Rewriter {
    /// Nothing yet, for the vertices of `old`, to be taken in their order.
    pub(super) fn new(old: &Graph) -> Rewriter {
        let mut graph = Graph::new();
        graph.sources.clone_from(&old.sources);
        Rewriter { graph, outputs: Vec::with_capacity(old.len()) }
    }

    /// Where an old edge is now.
    pub(super) fn edge(&self, old: Edge) -> Tree {
        self.outputs[old.vertex.0 as usize][old.output as usize]
    }

    /// Where old trees are now.
    pub(super) fn trees(&self, old: &[Tree]) -> Vec<Tree> {
        old.iter().map(|tree| tree.and_then(|edge| self.edge(edge))).collect()
    }

    /// The next old vertex becomes `vertex`.
    pub(super) fn add(&mut self, vertex: Vertex) {
        let n_outputs = vertex.op.n_outputs() as u32;
        let vertex = self.graph.add(vertex);
        self.outputs.push((0..n_outputs).map(|output| Some(Edge { vertex, output })).collect());
    }

    /// The next old vertex is the same as `vertex`, which is there already.
    pub(super) fn same_as(&mut self, vertex: VertexId) {
        let n_outputs = self.graph.vertex(vertex).op.n_outputs() as u32;
        self.outputs.push((0..n_outputs).map(|output| Some(Edge { vertex, output })).collect());
    }

    /// The next old vertex has one output, which is `tree`.
    pub(super) fn replace(&mut self, tree: Tree) {
        self.outputs.push(vec![tree]);
    }

    /// The outputs of the next old vertex are these trees.
    pub(super) fn replace_outputs(&mut self, trees: Vec<Tree>) {
        self.outputs.push(trees);
    }

    /// The next old vertex goes into a later one; it must have one output, and nothing may ask for it.
    pub(super) fn inline(&mut self) {
        self.outputs.push(vec![None]);
    }

    /// The next old vertex as it is, its inputs being what they are now.
    pub(super) fn keep(&mut self, vertex: &Vertex) {
        match self.rewired(vertex) {
            Rewired::Vertex(vertex) => self.add(*vertex),
            Rewired::Tree(tree) => self.replace(tree),
        }
    }

    /// The old vertex over the new inputs.
    pub(super) fn rewired(&self, vertex: &Vertex) -> Rewired {
        let inputs: Vec<Tree> = vertex.inputs.iter().map(|&edge| self.edge(edge)).collect();
        // As on the wire: commands and file ops name an input once, the others as often as it is written.
        let unites = matches!(vertex.op, Op::Exec(_) | Op::File(_)) && !vertex.sealed;
        let mut places = Inputs::new(unites);
        let table: Vec<Option<InputIdx>> = inputs.iter().map(|&tree| places.place(tree)).collect();
        let mut vertex = vertex.clone();
        vertex.inputs = places.edges;
        if table.iter().copied().eq((0..).map(Some).take(table.len())) {
            return Rewired::Vertex(Box::new(vertex));
        }
        map_inputs(&mut vertex.op, &mut |input| table[input as usize]);
        match &mut vertex.op {
            Op::Merge(merge) => {
                merge.inputs.retain(Option::is_some);
                match merge.inputs.as_slice() {
                    [] => Rewired::Tree(None),
                    [Some(input)] => Rewired::Tree(Some(vertex.inputs[*input as usize])),
                    _ => Rewired::Vertex(Box::new(vertex)),
                }
            }
            Op::Diff(diff) if diff.lower.is_none() => {
                Rewired::Tree(diff.upper.map(|upper| vertex.inputs[upper as usize]))
            }
            _ => Rewired::Vertex(Box::new(vertex)),
        }
    }
}

/// What an op becomes when its inputs change.
pub(super) enum Rewired {
    /// The op over other inputs.
    Vertex(Box<Vertex>),
    /// Nothing is left to do: the result is this tree.
    Tree(Tree),
}

/// The inputs of a vertex in the making.
pub(super) struct Inputs {
    pub(super) edges: ir::Inputs,
    /// Whether an edge stands only once.
    unites: bool,
    places: std::collections::HashMap<Edge, InputIdx>,
}

impl Inputs {
    pub(super) fn new(unites: bool) -> Inputs {
        Inputs { edges: ir::Inputs::new(), unites, places: std::collections::HashMap::new() }
    }

    /// The index of `tree`, none for scratch.
    pub(super) fn place(&mut self, tree: Tree) -> Option<InputIdx> {
        let edge = tree?;
        if let (true, Some(&place)) = (self.unites, self.places.get(&edge)) {
            return Some(place);
        }
        let place = self.edges.len() as InputIdx;
        self.edges.push(edge);
        self.places.insert(edge, place);
        Some(place)
    }
}

/// Replaces every input index of an op; `None` is scratch.
///
/// # Panics
/// When an op that cannot have scratch there gets it: passthroughs and builds (see [`needs_inputs`]).
fn map_inputs(op: &mut Op, map: &mut dyn FnMut(InputIdx) -> Option<InputIdx>) {
    match op {
        Op::Source(_) => {}
        Op::Exec(exec) => {
            for mount in &mut exec.mounts {
                mount.input = mount.input.and_then(&mut *map);
            }
        }
        Op::File(file) => {
            for action in &mut file.actions {
                map_action(action, &mut |input| match input {
                    FileInput::Input(input) => map(input).map_or(FileInput::Scratch, FileInput::Input),
                    FileInput::Scratch | FileInput::Action(_) => input,
                });
            }
        }
        Op::Merge(merge) => {
            for input in &mut merge.inputs {
                *input = input.and_then(&mut *map);
            }
        }
        Op::Diff(diff) => {
            diff.lower = diff.lower.and_then(&mut *map);
            diff.upper = diff.upper.and_then(&mut *map);
        }
        Op::Passthrough(passthrough) => {
            for output in &mut passthrough.outputs {
                *output = map(*output).expect("a passthrough does not forward scratch");
            }
        }
        Op::Build(build) => {
            for input in build.inputs.values_mut() {
                let old = InputIdx::try_from(*input).expect("verified indexes are not negative");
                *input = map(old).expect("a build's inputs are not scratch").into();
            }
        }
    }
}

/// Whether every input of the op must be a tree that some op makes.
pub(super) fn needs_inputs(op: &Op) -> bool {
    match op {
        Op::Passthrough(_) | Op::Build(_) => true,
        Op::Source(_) | Op::Exec(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => false,
    }
}

/// Replaces every tree that an action refers to.
pub(super) fn map_action(action: &mut FileAction, map: &mut dyn FnMut(FileInput) -> FileInput) {
    action.input = map(action.input);
    action.secondary = map(action.secondary);
    if let Some(owner) = owner_mut(&mut action.op) {
        for user in [&mut owner.user, &mut owner.group].into_iter().flatten() {
            if let User::Name { input, .. } = user {
                *input = map(*input);
            }
        }
    }
}

fn owner_mut(op: &mut FileActionOp) -> Option<&mut Chown> {
    match op {
        FileActionOp::Copy(copy) => copy.owner.as_deref_mut(),
        FileActionOp::Mkfile(mkfile) => mkfile.owner.as_deref_mut(),
        FileActionOp::Mkdir(mkdir) => mkdir.owner.as_deref_mut(),
        FileActionOp::Symlink(symlink) => symlink.owner.as_deref_mut(),
        FileActionOp::Rm(_) => None,
    }
}

/// For each vertex, who uses it: nobody, one input of one vertex, or more. The trees asked for are uses.
pub(super) fn uses(graph: &Graph, roots: &[Tree]) -> Vec<Uses> {
    let mut uses = vec![Uses::None; graph.len()];
    for (id, vertex) in graph.vertices() {
        for input in &vertex.inputs {
            let uses = &mut uses[input.vertex.0 as usize];
            *uses = if *uses == Uses::None { Uses::One(id) } else { Uses::Many };
        }
    }
    for root in roots.iter().flatten() {
        uses[root.vertex.0 as usize] = Uses::Many;
    }
    uses
}

/// Who uses a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uses {
    /// Nobody.
    None,
    /// One input of this vertex.
    One(VertexId),
    /// Several inputs, or it is asked for.
    Many,
}

/// `later` takes over what is said about `earlier`, which it swallows.
pub(super) fn swallow(later: &mut Vertex, earlier: &Vertex) {
    let mut metadata = earlier.metadata.clone();
    metadata.merge(&later.metadata);
    later.metadata = metadata;
    later.locations.insert_many(0, earlier.locations.iter().cloned());
}
