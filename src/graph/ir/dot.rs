//! Graphs for Graphviz.

use std::fmt::Write as _;

use super::{Graph, Op, Tree, print};

/// The graph as a DOT digraph: an edge leads from an input to its user and is labelled with the output's number where
/// that is not 0; the trees asked for are drawn as double circles.
pub fn dot(graph: &Graph, roots: &[Tree]) -> String {
    let mut text =
        "digraph build {\n  rankdir=BT;\n  node [fontname=\"monospace\" fontsize=10];\n".to_owned();
    for (id, vertex) in graph.vertices() {
        let shape = match vertex.op {
            Op::Source(_) => "ellipse",
            Op::Exec(_) => "box",
            Op::File(_) => "note",
            Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) => "invtriangle",
            Op::Build(_) => "component",
        };
        let label = quoted(&clipped(&vertex.name()));
        let _ = writeln!(
            text,
            "  n{} [shape={shape} tooltip=\"{}\" label={label}];",
            id.0,
            print::kind(&vertex.op)
        );
        for input in &vertex.inputs {
            let _ = write!(text, "  n{} -> n{}", input.vertex.0, id.0);
            let _ = match input.output {
                0 => writeln!(text, ";"),
                output => writeln!(text, " [label=\"{output}\"];"),
            };
        }
    }
    for (idx, root) in roots.iter().enumerate() {
        let Some(edge) = root else { continue };
        let _ =
            writeln!(text, "  r{idx} [shape=doublecircle label=\"{idx}\"];\n  n{} -> r{idx};", edge.vertex.0);
    }
    text.push_str("}\n");
    text
}

/// The first line and not too much of it.
fn clipped(name: &str) -> String {
    const MAX: usize = 60;
    let line = name.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
