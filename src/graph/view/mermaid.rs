//! Graphs for Mermaid, which GitHub and many others draw inside Markdown.

use std::fmt::Write as _;

use super::{Kind, Node, Role, View};

/// The view as a Mermaid flowchart.
pub fn mermaid(view: &View) -> String {
    let mut text = "flowchart TB\n".to_owned();
    for (id, node) in view.nodes.iter().enumerate().filter(|(_, node)| node.group.is_none()) {
        let _ = writeln!(text, "  {}", line(id, node));
    }
    for (index, group) in view.groups.iter().enumerate() {
        let _ = writeln!(text, "  subgraph g{index}[\"{}\"]", escape(&group.title));
        for (id, node) in view.nodes.iter().enumerate().filter(|(_, node)| node.group == Some(index)) {
            let _ = writeln!(text, "    {}", line(id, node));
        }
        text.push_str("  end\n");
    }
    for link in &view.links {
        let arrow = match link.role {
            Role::Base => "==>",
            Role::Mount | Role::Part | Role::Output => "-->",
            Role::Copy | Role::Needs => "-.->",
        };
        let label: Vec<String> = link.notes.iter().map(|note| escape(note)).collect();
        let label = label.join("<br/>");
        let _ = writeln!(text, "  n{} {arrow}|\"{label}\"| n{}", link.from.0, link.to.0);
    }
    for kind in Kind::ALL {
        let of_kind = view.nodes.iter().enumerate().filter(|(_, node)| node.kind == kind);
        let ids: Vec<String> = of_kind.map(|(id, _)| format!("n{id}")).collect();
        if !ids.is_empty() {
            let word = kind.word();
            let _ =
                writeln!(text, "  classDef {word}Step {}\n  class {} {word}Step", style(kind), ids.join(","));
        }
    }
    text
}

fn line(id: usize, node: &Node) -> String {
    let lines: Vec<String> = node.lines.iter().map(|line| escape(line)).collect();
    let label = format!("{}<br/><small>{}</small>", lines.join("<br/>"), escape(&node.subtitle()));
    match node.kind {
        Kind::Source => format!("n{id}([\"{label}\"])"),
        Kind::Merge | Kind::Diff | Kind::Require => format!("n{id}{{{{\"{label}\"}}}}"),
        Kind::Target => format!("n{id}[[\"{label}\"]]"),
        Kind::Exec | Kind::File | Kind::Build => format!("n{id}[\"{label}\"]"),
    }
}

fn style(kind: Kind) -> &'static str {
    match kind {
        Kind::Source => "fill:#dbeafe,stroke:#2563eb,color:#111827",
        Kind::Exec => "fill:#fef3c7,stroke:#d97706,color:#111827",
        Kind::File => "fill:#dcfce7,stroke:#16a34a,color:#111827",
        Kind::Merge | Kind::Diff => "fill:#ede9fe,stroke:#7c3aed,color:#111827",
        Kind::Require => "fill:#ffe4e6,stroke:#e11d48,color:#111827",
        Kind::Build => "fill:#e5e7eb,stroke:#4b5563,color:#111827",
        Kind::Target => "fill:#e2e8f0,stroke:#0f172a,color:#111827",
    }
}

/// Text between quotes. Mermaid reads HTML and Markdown there, and has codes of its own: `#35;` is `#`. What stands first
/// could start a list.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '\n' => escaped.push_str("<br/>"),
            c if c.is_control() => {}
            c if "\"#&<>`*_\\~".contains(c) || at == 0 && (c.is_ascii_digit() || "-+=".contains(c)) => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}
