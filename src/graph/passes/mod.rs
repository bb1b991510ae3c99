//! Passes: what makes a graph smaller without changing what is built.
//!
//! Every pass keeps, for each tree asked for, the same files, and shows no file in a layer that was not visible before.
//! A pass says beside its code under which condition that holds. Vertices that were read from a definition are sealed:
//! passes may drop or unite them but not rewrite them.

pub mod dead;
pub mod dedup;
pub mod diff_self;
pub mod downgrade;
pub mod fuse;
pub mod merge;
pub mod push;
mod rewrite;
pub mod unify;

use super::ir::{Graph, Tree};

/// A rewriting of graphs.
pub struct Pass {
    /// Name in reports and of the folder with its golden cases.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// `None`: there is nothing for it in the graph, which stays as it is.
    run: fn(&Graph, &[Tree]) -> Option<Rewritten>,
}

/// A rewritten graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// The graph, without vertices that nothing needs.
    pub graph: Graph,
    /// The trees asked for, in the order they were given.
    pub roots: Vec<Tree>,
    /// How often the pass found its pattern.
    pub n_changes: usize,
}

/// All passes, in the order in which they run.
pub const PASSES: &[Pass] = &[
    Pass { name: "dead", summary: "drop what no output needs", run: dead::run },
    Pass { name: "dedup", summary: "unite equal ops", run: dedup::run },
    Pass { name: "diff_self", summary: "the diff of a tree and itself is scratch", run: diff_self::run },
    Pass { name: "merge", summary: "a merge of a merge is one merge", run: merge::run },
    Pass { name: "push", summary: "a copy out of a copy reads the tree itself", run: push::run },
    Pass { name: "unify", summary: "a local directory is read once", run: unify::run },
    Pass { name: "fuse", summary: "file ops that follow each other are one op", run: fuse::run },
];

impl Pass {
    /// Runs the pass and drops what it left without use.
    pub fn run(&self, graph: &Graph, roots: &[Tree]) -> Rewritten {
        let unchanged = || Rewritten { graph: graph.clone(), roots: roots.to_vec(), n_changes: 0 };
        self.rewrite(graph, roots).unwrap_or_else(unchanged)
    }

    /// [`Pass::run`] that copies no graph for nothing.
    fn rewrite(&self, graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
        let rewritten = (self.run)(graph, roots)?;
        match dead::run(&rewritten.graph, &rewritten.roots) {
            Some(swept) => Some(Rewritten { n_changes: rewritten.n_changes, ..swept }),
            None => Some(rewritten),
        }
    }
}

/// What [`optimize`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassReport {
    /// Name of each pass and how often it found its pattern, in the order they ran.
    pub counts: Vec<(&'static str, usize)>,
    /// Vertices before.
    pub n_before: usize,
    /// Vertices after.
    pub n_after: usize,
}

/// Runs all passes, in turn and again until none of them finds anything: the graph that builds the same trees with less,
/// and where they are in it. Every change leaves fewer vertices, inputs or copies of copies, so there is an end.
pub fn optimize(graph: &Graph, roots: &[Tree]) -> (Graph, Vec<Tree>, PassReport) {
    let n_before = graph.len();
    let mut counts: Vec<(&'static str, usize)> = PASSES.iter().map(|pass| (pass.name, 0)).collect();
    let mut state: Option<Rewritten> = None;
    // Passes in a row that found nothing: when all of them have, none will.
    let mut n_quiet = 0;
    for (at, pass) in PASSES.iter().enumerate().cycle() {
        if n_quiet == PASSES.len() {
            break;
        }
        let (graph, roots) = state.as_ref().map_or((graph, roots), |it| (&it.graph, it.roots.as_slice()));
        let rewritten = pass.rewrite(graph, roots);
        let n_changes = rewritten.as_ref().map_or(0, |it| it.n_changes);
        n_quiet = if n_changes == 0 { n_quiet + 1 } else { 0 };
        counts[at].1 += n_changes;
        state = rewritten.or(state);
    }
    let (graph, roots) = match state {
        Some(Rewritten { graph, roots, .. }) => (graph, roots),
        None => (graph.clone(), roots.to_vec()),
    };
    let report = PassReport { counts, n_before, n_after: graph.len() };
    (graph, roots, report)
}
