//! Steps by the words of a command line.
//!
//! A word is a target, which is all its steps; else it names steps, in this order: by the name that the program gives
//! (`name: "compile"`), by their command or the digest of their op or the beginning of it, by a part of their name or
//! command. The first of these that finds something counts.

use std::collections::BTreeSet;

use super::ui::one_line;
use crate::base::{Report, suggest};
use crate::graph::ir::{CUSTOM_NAME, Edge, Graph, Op, Output, OutputKind, Tree, VertexId};
use crate::graph::llb;

/// Digits of a digest that are enough.
const MIN_DIGITS: usize = 6;
/// Widest a name is shown.
const MAX_NAME: usize = 72;

/// What a word names.
pub(super) enum Named {
    /// A target: the edges it is made of.
    Target(Vec<Edge>),
    /// Steps, in the order of the graph.
    Steps(Vec<VertexId>),
}

/// What `word` names among the targets `outputs`, whose trees are `roots` of `graph`, and their steps.
///
/// # Errors
/// When it names nothing.
pub(super) fn find(word: &str, outputs: &[Output], graph: &Graph, roots: &[Tree]) -> Result<Named, Report> {
    if let Some(edges) = target(word, outputs, roots) {
        return Ok(Named::Target(edges));
    }
    let steps: Vec<VertexId> = steps(graph).collect();
    let given =
        |id: &VertexId| graph.vertex(*id).metadata.description.get(CUSTOM_NAME).is_some_and(|it| it == word);
    let digests = llb::digests(graph, &llb::MarshalOptions::default());
    let digits = word.strip_prefix("sha256:").unwrap_or(word);
    let exact = |id: &VertexId| {
        let is_digest = MIN_DIGITS <= digits.len() && digests[id.0 as usize].hex().starts_with(digits);
        is_digest || commands(graph, *id).iter().any(|command| command == word)
    };
    let part = |id: &VertexId| commands(graph, *id).iter().any(|command| command.contains(word));
    let rules: [&dyn Fn(&VertexId) -> bool; 3] = [&given, &exact, &part];
    for rule in rules {
        let found: Vec<VertexId> = steps.iter().copied().filter(rule).collect();
        if !found.is_empty() {
            return Ok(Named::Steps(found));
        }
    }
    Err(unknown(word, outputs, graph, &steps))
}

/// All steps that any of `words` names: of a target, all it is built from.
///
/// # Errors
/// When one names nothing.
pub(super) fn named(
    words: &[String],
    outputs: &[Output],
    graph: &Graph,
    roots: &[Tree],
) -> Result<BTreeSet<VertexId>, Report> {
    let mut all = BTreeSet::new();
    for word in words.iter().filter(|word| !word.is_empty()) {
        match find(word, outputs, graph, roots)? {
            Named::Target(edges) => all.extend(below(graph, &edges)),
            Named::Steps(steps) => all.extend(steps),
        }
    }
    Ok(all)
}

/// The steps that `edges` are built from, inputs before users; sources are none.
pub(super) fn below(graph: &Graph, edges: &[Edge]) -> Vec<VertexId> {
    let mut needed = vec![false; graph.len()];
    edges.iter().for_each(|edge| needed[edge.vertex.0 as usize] = true);
    for (id, vertex) in graph.vertices().rev() {
        if needed[id.0 as usize] {
            vertex.inputs.iter().for_each(|input| needed[input.vertex.0 as usize] = true);
        }
    }
    steps(graph).filter(|id| needed[id.0 as usize]).collect()
}

/// A name on one line, its middle left out when it is long.
pub(super) fn short(name: &str) -> String {
    let line = one_line(name);
    let chars: Vec<char> = line.chars().collect();
    if chars.len() <= MAX_NAME {
        return line;
    }
    let half = MAX_NAME / 2 - 1;
    let (start, end) = (&chars[..half], &chars[chars.len() - half..]);
    format!("{}…{}", start.iter().collect::<String>().trim_end(), end.iter().collect::<String>().trim_start())
}

fn steps(graph: &Graph) -> impl Iterator<Item = VertexId> {
    graph.vertices().filter(|(_, vertex)| !matches!(vertex.op, Op::Source(_))).map(|(id, _)| id)
}

/// The trees of a target: of `all` also those of `all.web`.
fn target(word: &str, outputs: &[Output], roots: &[Tree]) -> Option<Vec<Edge>> {
    let mut roots = roots.iter();
    let mut edges = None;
    for output in outputs {
        let n_trees = match &output.kind {
            OutputKind::Fs(_) | OutputKind::Image(_) | OutputKind::Check(_) => 1,
            OutputKind::Index { images, .. } => images.len(),
        };
        let trees = roots.by_ref().take(n_trees);
        let is_meant =
            output.name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if is_meant {
            edges.get_or_insert_with(Vec::new).extend(trees.copied().flatten());
        } else {
            trees.for_each(drop);
        }
    }
    edges
}

/// What a step is called: by its name, and by the text that its shell is given.
fn commands(graph: &Graph, id: VertexId) -> Vec<String> {
    let vertex = graph.vertex(id);
    let mut names = vec![vertex.name()];
    if let Op::Exec(exec) = &vertex.op {
        names.push(exec.args.join(" "));
        names.extend(exec.args.iter().skip_while(|arg| *arg != "-c").nth(1).cloned());
    }
    names
}

fn unknown(word: &str, outputs: &[Output], graph: &Graph, steps: &[VertexId]) -> Report {
    let given = steps.iter().filter_map(|id| graph.vertex(*id).metadata.description.get(CUSTOM_NAME));
    let names: Vec<&str> =
        outputs.iter().map(|it| it.name.as_str()).chain(given.map(String::as_str)).collect();
    let report = Report::error("bkl::unknown_step", format!("no target and no step is called `{word}`"));
    report.help(match suggest::nearest(word, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let mut all: Vec<String> = names.iter().map(|name| format!("`{}`", short(name))).collect();
            all.dedup();
            all.truncate(12);
            format!("there are {}; steps without a name go by their command, or a part of it", all.join(", "))
        }
    })
}
