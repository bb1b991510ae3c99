//! What pictures hold, whatever programs call things.

use super::layout::{Rect, layout};
use super::{Kind, View, dot, html, mermaid, svg};
use crate::base::{FileId, Platform, Span};
use crate::graph::ir::build::FileStep;
use crate::graph::ir::{
    CUSTOM_NAME, Edge, ExecBuilder, ExecOp, FileCopy, Graph, MountSpec, Output, OutputKind, Tree,
};
use crate::graph::llb::MarshalOptions;

/// Names that formats could take for something else.
const HOSTILE: &[&str] = &[
    "</script><script>alert(1)</script>",
    "\"]; n0 -> n1 [label=\"x",
    "a\nb\r\nc\td",
    "--> |x| end subgraph #quot; `md` **b** <br/>",
    "]]> <!-- & &amp; ' \\",
    "日本語のとても長い名前がここにあります、はみ出してはいけません 🦀🦀🦀",
    "\u{202e}txt.exe\u{0}\u{1b}[31m",
    "1. first",
    "",
];

/// Two targets with a step for each name, both on one base.
fn hostile() -> View {
    let mut graph = Graph::new();
    let base = graph.local("src", &[], &[], &[]);
    let mut outputs = Vec::new();
    for name in HOSTILE {
        let builder = ExecBuilder {
            op: ExecOp {
                args: vec!["/bin/sh".into(), "-c".into(), (*name).into()],
                env: vec![format!("NAME={name}")],
                cwd: format!("/{name}"),
                ..ExecOp::default()
            },
            base: Some(base),
            mounts: vec![
                MountSpec::bind(format!("/out{name}"), None),
                MountSpec::readonly(format!("/in{name}"), Some(base)),
            ],
            platform: Some(Platform::host()),
            ..ExecBuilder::default()
        };
        let edges = graph.exec(builder);
        let vertex = graph.vertex_mut(edges.vertex);
        vertex.metadata.description.insert(CUSTOM_NAME.to_owned(), (*name).to_owned());
        let from = edges.mounts[0];
        let copy = FileCopy { src: format!("/{name}"), dest: "/x".into(), ..FileCopy::default() };
        let copied = graph.file(None, vec![FileStep::Copy { from, copy }]);
        outputs.push(output(name, Some(copied)));
    }
    view(&graph, &outputs)
}

fn output(name: &str, tree: Tree) -> Output {
    Output { name: name.to_owned(), dest: None, kind: OutputKind::Fs(tree), span: Span::new(FileId(0), 0, 0) }
}

fn view(graph: &Graph, outputs: &[Output]) -> View {
    let roots: Vec<Tree> = outputs
        .iter()
        .map(|output| match output.kind {
            OutputKind::Fs(tree) => tree,
            _ => panic!("these tests have trees"),
        })
        .collect();
    View::new(graph, outputs, &roots, &MarshalOptions::default())
}

/// A graph of `n_steps` steps with a shape that depends on `seed`.
fn random(seed: u64, n_steps: usize) -> View {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut graph = Graph::new();
    let mut trees: Vec<Edge> = (0..3).map(|n| graph.local(&format!("dir{n}"), &[], &[], &[])).collect();
    for step in 0..n_steps {
        let recent = |random: &mut dyn FnMut(usize) -> usize| -> usize {
            trees.len() - 1 - random(trees.len().min(12))
        };
        let base = trees[recent(&mut random)];
        let mounts = (0..random(3))
            .map(|n| MountSpec::readonly(format!("/mount/{n}"), Some(trees[random(trees.len())])))
            .collect();
        let words = ["make", "test", "a-rather-long-word-that-cannot-be-broken", "install --all"];
        let args = vec![words[random(4)].repeat(1 + random(3)), format!("step-{step}")];
        let op = ExecOp { args, cwd: "/".into(), ..ExecOp::default() };
        let edges = graph.exec(ExecBuilder { op, base: Some(base), mounts, ..ExecBuilder::default() });
        trees.push(edges.root.expect("the root is writable"));
    }
    let outputs: Vec<Output> = (0..1 + random(6))
        .map(|n| output(&format!("target{n}"), Some(trees[(trees.len() - 1).saturating_sub(n * 2)])))
        .collect();
    view(&graph, &outputs)
}

#[test]
fn names_stay_names_in_markup() {
    let view = hostile();
    for text in [svg::svg(&view), html::page(&view, HOSTILE[0])] {
        well_formed(&text);
        let n_scripts = text.matches("<script").count();
        assert!(n_scripts <= 1 && text.matches("</script").count() == n_scripts, "a name became a script");
        assert!(!text.contains(['\u{202e}', '\u{0}', '\u{1b}']), "what cannot be seen is shown as such");
    }
}

#[test]
fn names_stay_names_in_dot() {
    let text = dot::dot(&hostile());
    for line in text.lines().filter(|line| line.contains('[')) {
        // Quotes that are not escaped come in pairs, and what is between them is a text.
        let mut outside = String::new();
        let mut quoted = false;
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => drop(chars.next()),
                '"' => quoted = !quoted,
                c if !quoted => outside.push(c),
                _ => {}
            }
        }
        assert!(!quoted, "a text without an end: {line}");
        assert!(outside.matches("->").count() <= 1, "{line}");
        assert!(outside.matches('[').count() <= 1, "{line}");
    }
}

#[test]
fn names_stay_names_in_mermaid() {
    let view = hostile();
    let text = mermaid::mermaid(&view);
    let n_nodes = view.nodes.len();
    let labels = text.lines().filter(|line| line.contains('"'));
    assert_eq!(labels.clone().count(), n_nodes + view.links.len() + view.groups.len());
    for line in labels {
        assert_eq!(line.matches('"').count(), 2, "{line}");
        let label = line.split('"').nth(1).expect("two quotes");
        let label = label.replace("<br/>", "").replace("<small>", "").replace("</small>", "");
        assert!(!label.contains(['<', '>', '`', '*']), "{line}");
    }
}

#[test]
fn steps_of_one_target_are_its_group() {
    let view = hostile();
    assert_eq!(view.groups.len(), HOSTILE.len());
    assert_eq!(view.nodes[0].group, None, "the base is everybody's");
    for node in view.nodes.iter().skip(1) {
        assert!(node.group.is_some(), "{}", node.title);
    }
}

#[test]
fn nothing_overlaps_and_nothing_is_outside() {
    for seed in 0..24 {
        for n_steps in [0, 1, 2, 7, 25, 60] {
            let view = random(seed, n_steps);
            let laid = layout(&view);
            for (a, first) in laid.nodes.iter().enumerate() {
                for (b, second) in laid.nodes.iter().enumerate().skip(a + 1) {
                    assert!(!overlap(first, second), "seed {seed}, {n_steps} steps: nodes {a} and {b}");
                }
                assert!(0.0 <= first.at.x && first.at.x + first.size.x <= laid.size.x + 0.01);
                assert!(0.0 <= first.at.y && first.at.y + first.size.y <= laid.size.y + 0.01);
            }
            for (group, frame) in laid.groups.iter().enumerate() {
                for (node, rect) in view.nodes.iter().zip(&laid.nodes) {
                    let is_in = node.group == Some(group);
                    assert_eq!(overlap(frame, rect), is_in, "seed {seed}, {n_steps} steps: frame {group}");
                }
            }
            for (link, route) in view.links.iter().zip(&laid.routes) {
                assert!(route.points.len() >= 4, "seed {seed}: {link:?}");
                if let Some((text, at)) = &route.label {
                    let size = svg::measure::label(text);
                    let at = super::layout::Xy { x: at.x - size.x / 2.0, y: at.y - size.y / 2.0 };
                    let label = Rect { at, size };
                    let hit = laid.nodes.iter().position(|node| overlap(node, &label));
                    assert_eq!(hit, None, "seed {seed}, {n_steps} steps: the label {text} lies on a node");
                }
            }
        }
    }
}

#[test]
fn the_same_view_is_the_same_picture() {
    for seed in 0..6 {
        assert_eq!(svg::svg(&random(seed, 40)), svg::svg(&random(seed, 40)));
    }
}

#[test]
fn a_graph_without_steps_is_drawn() {
    let view = view(&Graph::new(), &[output("nothing", None)]);
    assert_eq!(view.nodes.len(), 1);
    assert_eq!(view.nodes[0].kind, Kind::Target);
    well_formed(&svg::svg(&view));
    well_formed(&html::page(&view, "nothing"));
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    let apart =
        |a_at: f64, a_size: f64, b_at: f64, b_size: f64| a_at + a_size <= b_at || b_at + b_size <= a_at;
    !apart(a.at.x, a.size.x, b.at.x, b.size.x) && !apart(a.at.y, a.size.y, b.at.y, b.size.y)
}

/// Every tag is closed in order; text between them has no stray `<`; attributes are quoted.
fn well_formed(text: &str) {
    const VOID: &[&str] = &["!doctype", "meta", "input"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>') || open.iter().any(|it| it == "script" || it == "style"));
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "an attribute without an end: {tag}");
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or("").to_owned();
        rest = &rest[end + 1..];
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "closed in another order");
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            if name == "script" || name == "style" {
                let close = format!("</{name}>");
                let end = rest.find(&close).expect("a script ends");
                rest = &rest[end + close.len()..];
            } else {
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}
