//! Graphs as text: one vertex per line, in arena order, the same for the same graph. For goldens and for people;
//! [`parse`](super::parse) reads it back.
//!
//! ```text
//! source 0 "build.bkl" bkl
//! %0 = source identifier="docker-image://docker.io/library/alpine:latest"
//! %1 = exec [%0] args=["make"] cwd="/" mounts=[{"dest":"/","input":0,"output":0}] at=["0:3.0-3.7"]
//! %2 = file [%0, %1.1] actions=[{"input":"input 0","secondary":"input 1","op":{"copy":{"src":"/a","dest":"/b"}},"output":0}]
//! root %2
//! ```
//!
//! An input is `%vertex` or `%vertex.output`. What is not said has its usual value. Capabilities follow from the op
//! and are left out, and so are the texts of the sources.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Edge, Graph, Location, Op, Tree, Vertex};

/// The text of `graph` with the trees that are asked of it.
pub fn print(graph: &Graph, roots: &[Tree]) -> String {
    let mut text = String::new();
    for (idx, info) in graph.sources.iter().enumerate() {
        let _ = writeln!(text, "source {idx} {} {}", json!(info.filename), info.language);
    }
    for (id, vertex) in graph.vertices() {
        let _ = writeln!(text, "%{} = {}", id.0, line(vertex));
    }
    for &root in roots {
        let _ = match root {
            Some(edge) => writeln!(text, "root {}", edge_text(edge)),
            None => writeln!(text, "root scratch"),
        };
    }
    text
}

/// `%3` or `%3.1`.
pub fn edge_text(edge: Edge) -> String {
    match edge.output {
        0 => format!("%{}", edge.vertex.0),
        output => format!("%{}.{output}", edge.vertex.0),
    }
}

/// What stands behind `=` for a vertex.
fn line(vertex: &Vertex) -> String {
    let mut line = kind(&vertex.op).to_owned();
    if !vertex.inputs.is_empty() {
        let inputs: Vec<String> = vertex.inputs.iter().map(|&edge| edge_text(edge)).collect();
        let _ = write!(line, " [{}]", inputs.join(", "));
    }
    for (key, value) in fields(vertex) {
        let _ = write!(line, " {key}={value}");
    }
    line
}

/// The word for an op.
pub(crate) fn kind(op: &Op) -> &'static str {
    match op {
        Op::Source(_) => "source",
        Op::Exec(_) => "exec",
        Op::File(_) => "file",
        Op::Merge(_) => "merge",
        Op::Diff(_) => "diff",
        Op::Passthrough(_) => "passthrough",
        Op::Build(_) => "build",
    }
}

/// All that is not usual about a vertex.
fn fields(vertex: &Vertex) -> Map<String, Value> {
    let op = match &vertex.op {
        Op::Source(op) => serde_json::to_value(op),
        Op::Exec(op) => serde_json::to_value(op),
        Op::File(op) => serde_json::to_value(op),
        Op::Merge(op) => serde_json::to_value(op),
        Op::Diff(op) => serde_json::to_value(op),
        Op::Passthrough(op) => serde_json::to_value(op),
        Op::Build(op) => serde_json::to_value(op),
    };
    let mut op = op.expect("ops have text keys only");
    match &vertex.op {
        // Every input once, in order.
        Op::Merge(merge) if merge.inputs.iter().copied().eq((0..vertex.inputs.len() as u32).map(Some)) => {
            op = json!({});
        }
        Op::Diff(diff) if (diff.lower, diff.upper) == (Some(0), Some(1)) => op = json!({}),
        Op::Merge(_) | Op::Diff(_) => {}
        Op::Source(_) | Op::Exec(_) | Op::File(_) | Op::Passthrough(_) | Op::Build(_) => drop_usual(&mut op),
    }
    let Value::Object(mut fields) = op else { return Map::new() };
    if let Some(platform) = &vertex.platform {
        fields.insert("platform".to_owned(), json!(platform.to_string()));
        if !platform.os_version.is_empty() || !platform.os_features.is_empty() {
            let more = json!({ "version": platform.os_version, "features": platform.os_features });
            fields.insert("os".to_owned(), more);
        }
    }
    if !vertex.constraints.is_empty() {
        fields.insert("constraints".to_owned(), json!(vertex.constraints));
    }
    let mut metadata = vertex.metadata.clone();
    metadata.caps.clear();
    let mut metadata = serde_json::to_value(metadata).expect("metadata has text keys only");
    drop_usual(&mut metadata);
    if metadata != json!({}) {
        fields.insert("metadata".to_owned(), metadata);
    }
    if !vertex.locations.is_empty() {
        let locations: Vec<String> = vertex.locations.iter().map(location).collect();
        fields.insert("at".to_owned(), json!(locations));
    }
    if vertex.sealed {
        fields.insert("sealed".to_owned(), json!(true));
    }
    fields
}

/// `source:line.character-line.character,…`.
fn location(location: &Location) -> String {
    let range = |it: &super::Range| format!("{}.{}-{}.{}", it.start.0, it.start.1, it.end.0, it.end.1);
    let ranges: Vec<String> = location.ranges.iter().map(range).collect();
    format!("{}:{}", location.source, ranges.join(","))
}

/// Values that go without saying, besides empty ones.
const USUAL: &[(&str, &str)] = &[
    ("kind", "bind"),
    ("network", "sandbox"),
    ("security", "sandbox"),
    ("content_cache", "default"),
    ("secondary", "-"),
];

fn drop_usual(value: &mut Value) {
    match value {
        Value::Object(object) => {
            // A missing mode is -1 for copies only.
            let is_copy = object.contains_key("src");
            object.retain(|key, value| {
                // Maps of the program's own: an empty value is a value.
                let is_map = matches!(key.as_str(), "attrs" | "description");
                if !is_map {
                    drop_usual(value);
                }
                let usual = match value {
                    // Said to be off, which is not the same as not said.
                    Value::Bool(false) => key != "export_cache",
                    Value::Null => true,
                    Value::Bool(true) => false,
                    Value::String(text) => text.is_empty() || USUAL.contains(&(key, text)),
                    Value::Array(items) => items.is_empty(),
                    Value::Object(object) => object.is_empty() && is_map,
                    Value::Number(number) => {
                        number.as_i64() == Some(-1) && (key == "timestamp" || key == "mode" && is_copy)
                    }
                };
                // Taking stubs away is usual, leaving them is not.
                if key == "remove_mount_stubs_recursive" { *value == json!(false) } else { !usual }
            });
        }
        Value::Array(items) => items.iter_mut().for_each(drop_usual),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
