//! Graphs for Graphviz.

use std::fmt::Write as _;

use super::{Kind, Node, Role, View};

/// The view as a DOT digraph. Lines lead from what is used to its users.
pub fn dot(view: &View) -> String {
    let mut text =
        "digraph build {\n  rankdir=TB;\n  node [fontname=\"monospace\" fontsize=10 style=filled];\n  \
                    edge [fontname=\"monospace\" fontsize=9];\n"
            .to_owned();
    for (id, node) in view.nodes.iter().enumerate().filter(|(_, node)| node.group.is_none()) {
        let _ = writeln!(text, "  {}", line(id, node));
    }
    for (index, group) in view.groups.iter().enumerate() {
        let title = escape(&group.title);
        let _ = writeln!(text, "  subgraph cluster_{index} {{\n    label=\"{title}\";");
        for (id, node) in view.nodes.iter().enumerate().filter(|(_, node)| node.group == Some(index)) {
            let _ = writeln!(text, "    {}", line(id, node));
        }
        text.push_str("  }\n");
    }
    for link in &view.links {
        let style = match link.role {
            Role::Base => "penwidth=2",
            Role::Mount | Role::Part => "style=solid",
            Role::Copy => "style=dashed",
            Role::Needs => "style=dotted",
            Role::Output => "style=solid arrowhead=open",
        };
        let label = escape(&link.notes.join("\n"));
        let _ = writeln!(text, "  n{} -> n{} [{style} label=\"{label}\"];", link.from.0, link.to.0);
    }
    text.push_str("}\n");
    text
}

fn line(id: usize, node: &Node) -> String {
    let (shape, color) = match node.kind {
        Kind::Source => ("ellipse", "#dbeafe"),
        Kind::Exec => ("box", "#fef3c7"),
        Kind::File => ("note", "#dcfce7"),
        Kind::Merge | Kind::Diff => ("invtriangle", "#ede9fe"),
        Kind::Require => ("octagon", "#ffe4e6"),
        Kind::Build => ("component", "#e5e7eb"),
        Kind::Target => ("box3d", "#e2e8f0"),
    };
    let label = escape(&format!("{}\n{}", node.lines.join("\n"), node.subtitle()));
    let tooltip = escape(&node.title);
    format!("n{id} [shape={shape} fillcolor=\"{color}\" tooltip=\"{tooltip}\" label=\"{label}\"];")
}

/// Text between quotes: a backslash would start an escape of Graphviz's.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
