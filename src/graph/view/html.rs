//! One page to walk about in: the picture, and beside it what each step is. It needs no other file and no network.
//!
//! Everything is in the text of the page, escaped as text; its script only shows and hides, so that no name of a program
//! is ever read as code. Where scripts do not run, the picture is still there.

use std::fmt::Write as _;

use super::layout::layout;
use super::svg::{self, DARK, LIGHT, STYLE, escape, number};
use super::{Fact, Link, Node, NodeId, Value, View};

const PAGE_STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page; `title` names what is drawn.
pub fn page(view: &View, title: &str) -> String {
    let layout = layout(view);
    let title = escape(title);
    let n_targets = view.nodes.iter().filter(|node| node.kind == super::Kind::Target).count();
    let n_steps = view.nodes.len() - n_targets;
    let counts = format!("{n_steps} step{}", if n_steps == 1 { "" } else { "s" });
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · build graph</title>\n<style>\n:root{{{LIGHT}}}\n\
         @media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{DARK};color-scheme:dark}}}}\n\
         :root[data-theme=dark]{{{DARK};color-scheme:dark}}\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n<span class=\"count\">{counts}</span>\n<span class=\"space\"></span>\n\
         <span class=\"count\" id=\"count\" role=\"status\"></span>\n\
         <input id=\"find\" type=\"search\" placeholder=\"Search steps  ( / )\" aria-label=\"Search steps\" \
         autocomplete=\"off\" spellcheck=\"false\">\n\
         <button id=\"out\" title=\"Smaller (-)\" aria-label=\"Smaller\">−</button>\n\
         <button id=\"in\" title=\"Larger (+)\" aria-label=\"Larger\">+</button>\n\
         <button id=\"fit\" title=\"All of it (0)\">Fit</button>\n\
         <button id=\"theme\" title=\"Light or dark\" aria-label=\"Light or dark\">◐</button>\n</header>\n"
    );
    let _ = writeln!(
        text,
        "<div id=\"stage\">\n<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"graph\" id=\"graph\" role=\"group\" \
         aria-label=\"build graph\" data-width=\"{}\" data-height=\"{}\">\n{}\n<g id=\"scene\">",
        number(layout.size.x),
        number(layout.size.y),
        svg::defs()
    );
    text.push_str(&svg::body(view, &layout));
    text.push_str("</g>\n</svg>\n");
    text.push_str(&legend(view));
    text.push_str("</div>\n<aside id=\"panel\" aria-live=\"polite\">\n");
    text.push_str(&intro(view));
    for (id, node) in view.nodes.iter().enumerate() {
        text.push_str(&details(view, NodeId(id), node));
    }
    let _ = write!(text, "</aside>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    text
}

fn legend(view: &View) -> String {
    let mut text = "<div id=\"legend\" aria-hidden=\"true\">\n".to_owned();
    for kind in svg::kinds(view) {
        let word = kind.word();
        let _ = writeln!(text, "<span class=\"{word}\"><i></i>{word}</span>");
    }
    for role in svg::roles(view) {
        let _ = writeln!(
            text,
            "<span><svg class=\"graph\" viewBox=\"0 0 26 10\"><g class=\"link {}\"><path d=\"M0 5L25 5\"/></g></svg>{}</span>",
            role.word(),
            svg::explained(role)
        );
    }
    text.push_str("</div>\n");
    text
}

/// What the panel shows while nothing is picked.
fn intro(view: &View) -> String {
    let mut text = "<section id=\"intro\">\n<h2>Build graph</h2>\n\
        <p>Lines lead from what is used to what uses it. Pick a step to see what it is, what it needs and what needs it.</p>\n\
        <h3>Targets</h3>\n<ul>\n"
        .to_owned();
    for (id, node) in view.nodes.iter().enumerate().filter(|(_, node)| node.kind == super::Kind::Target) {
        let _ = writeln!(text, "<li>{}</li>", to_node(id, node));
    }
    text.push_str(
        "</ul>\n<h3>Keys</h3>\n<ul>\n<li><kbd>/</kbd> search, <kbd>Enter</kbd> the next match</li>\n\
         <li><kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd> from step to step</li>\n\
         <li><kbd>+</kbd> <kbd>-</kbd> size, <kbd>0</kbd> all of it, <kbd>Esc</kbd> pick nothing</li>\n</ul>\n</section>\n",
    );
    text
}

fn to_node(id: usize, node: &Node) -> String {
    format!("<a href=\"#n{id}\" data-node=\"{id}\">{}</a>", escape(&node.title))
}

fn details(view: &View, id: NodeId, node: &Node) -> String {
    let word = node.kind.word();
    let mut text = format!(
        "<section id=\"d{}\" hidden>\n<h2>{}</h2>\n<p><span class=\"chip {word}\"><i></i>{word}</span>",
        id.0,
        escape(&node.title)
    );
    for platform in &node.platforms {
        let _ = write!(text, "<span class=\"chip\">{}</span>", escape(platform));
    }
    if let Some(group) = node.group.filter(|_| node.kind != super::Kind::Target) {
        let _ = write!(text, "<span class=\"chip\">only for {}</span>", escape(&view.groups[group].title));
    }
    text.push_str("</p>\n");
    for Fact { name, value } in &node.facts {
        let _ = writeln!(text, "<h3>{name}</h3>");
        let _ = match value {
            Value::Text(it) => writeln!(text, "<p>{}</p>", escape(it)),
            Value::Code(it) => writeln!(text, "<pre>{}</pre>", escape(it)),
            Value::List(items) => {
                let items: String =
                    items.iter().map(|it| format!("<li><code>{}</code></li>", escape(it))).collect();
                writeln!(text, "<ul>{items}</ul>")
            }
            Value::Table(rows) => {
                let rows: String = rows
                    .iter()
                    .map(|(key, value)| {
                        format!("<tr><td>{}</td><td>{}</td></tr>", escape(key), escape(value))
                    })
                    .collect();
                writeln!(text, "<table>{rows}</table>")
            }
        };
    }
    let inputs: Vec<(NodeId, &Link)> = view.inputs(id).map(|link| (link.from, link)).collect();
    let users: Vec<(NodeId, &Link)> = view.users(id).map(|link| (link.to, link)).collect();
    for (name, ends) in [("uses", inputs), ("used by", users)] {
        if ends.is_empty() {
            continue;
        }
        let _ = writeln!(text, "<h3>{name}</h3>\n<ul>");
        for (end, link) in ends {
            let note = escape(&link.notes.join(", "));
            let to = to_node(end.0, &view.nodes[end.0]);
            let _ = writeln!(text, "<li>{to} <span class=\"note\">{note}</span></li>");
        }
        text.push_str("</ul>\n");
    }
    text.push_str("</section>\n");
    text
}
