//! Reads the text form of graphs, so that test cases are data. The form is [`print`](super::print)'s.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{DiffOp, Edge, Graph, Location, MergeOp, Op, Range, SourceInfo, Tree, Vertex, VertexId, verify};
use crate::base::{Platform, Shared};

/// A text that is no graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// From 1; 0 for the graph as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// The graph of `text` and the trees that are asked of it. Empty lines and lines that begin with `#` mean nothing.
///
/// # Errors
/// When a line is not in the form, refers to a vertex that does not stand before it, or the graph breaks a rule of
/// [`super::verify`].
pub fn parse(text: &str) -> Result<(Graph, Vec<Tree>), ParseError> {
    let mut graph = Graph::new();
    let mut roots = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        read_line(line, &mut graph, &mut roots).map_err(|what| ParseError { line: idx + 1, what })?;
    }
    verify::verify(&graph).map_err(|error| ParseError { line: 0, what: error.to_string() })?;
    Ok((graph, roots))
}

fn read_line(line: &str, graph: &mut Graph, roots: &mut Vec<Tree>) -> Result<(), String> {
    if let Some(root) = line.strip_prefix("root ") {
        roots.push(if root == "scratch" { None } else { Some(edge(root, graph.len())?) });
        return Ok(());
    }
    if let Some(source) = line.strip_prefix("source ") {
        let (_, rest) = source.split_once(' ').ok_or("a source has a name")?;
        let mut rest = Cursor { rest };
        let filename = rest.json()?.as_str().unwrap_or_default().to_owned();
        let language = rest.rest.trim().to_owned();
        graph.sources.push(SourceInfo { filename, data: Vec::new(), language, definition: None });
        return Ok(());
    }
    let (name, rest) = line.split_once(" = ").ok_or("expected `%n = op`")?;
    if name != format!("%{}", graph.len()) {
        return Err(format!("expected vertex %{}, not {name}", graph.len()));
    }
    let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (inputs, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("`[` is not closed")?,
        None => ("", rest),
    };
    let inputs = inputs.split(',').map(str::trim).filter(|it| !it.is_empty());
    let inputs: Vec<Edge> = inputs.map(|it| edge(it, graph.len())).collect::<Result<_, _>>()?;
    let mut fields = Cursor { rest }.fields()?;

    let mut take = |key: &str| fields.shift_remove(key);
    let (platform, os) = (take("platform"), take("os"));
    let (constraints, metadata) = (take("constraints"), take("metadata"));
    let (locations, sealed) = (take("at"), take("sealed"));
    let mut vertex = Vertex::new(op(kind, fields, inputs.len())?, inputs, None);
    if let Some(platform) = platform {
        vertex.platform = Some(read_platform(&value::<String>(platform)?, &os.unwrap_or_default()).into());
    }
    vertex.constraints = constraints.map_or(Ok(Shared::default()), value)?;
    vertex.metadata = value(metadata.unwrap_or_else(|| json!({})))?;
    let locations: Vec<String> = locations.map_or(Ok(Vec::new()), value)?;
    vertex.locations = locations.iter().map(|it| location(it)).collect::<Result<_, _>>()?;
    vertex.sealed = sealed.is_some();
    graph.add(vertex);
    Ok(())
}

fn op(kind: &str, mut fields: Map<String, Value>, n_inputs: usize) -> Result<Op, String> {
    let usual = fields.is_empty();
    Ok(match kind {
        "source" => Op::Source(value(fields.into())?),
        "exec" => {
            fields.entry("remove_mount_stubs_recursive").or_insert(json!(true));
            Op::Exec(Box::new(value(fields.into())?))
        }
        "file" => Op::File(value(fields.into())?),
        "merge" if usual => Op::Merge(MergeOp { inputs: (0..n_inputs as u32).map(Some).collect() }),
        "merge" => Op::Merge(value(fields.into())?),
        "diff" if usual => Op::Diff(DiffOp { lower: Some(0), upper: Some(1) }),
        "diff" => Op::Diff(value(fields.into())?),
        "passthrough" => Op::Passthrough(value(fields.into())?),
        "build" => Op::Build(value(fields.into())?),
        kind => return Err(format!("`{kind}` is no op")),
    })
}

fn value<T: DeserializeOwned>(json: Value) -> Result<T, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

fn edge(text: &str, n_vertices: usize) -> Result<Edge, String> {
    let read = || {
        let (vertex, output) = text.strip_prefix('%')?.split_once('.').unwrap_or((&text[1..], "0"));
        Some((vertex.parse::<u32>().ok()?, output.parse().ok()?))
    };
    match read() {
        Some((vertex, output)) if (vertex as usize) < n_vertices => {
            Ok(Edge { vertex: VertexId(vertex), output })
        }
        Some(_) => Err(format!("`{text}` does not stand before its use")),
        None => Err(format!("`{text}` is no vertex")),
    }
}

/// `os/arch/variant`, taken literally, and `{"version", "features"}`.
fn read_platform(text: &str, os: &Value) -> Platform {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (name, arch, variant) = (next(), next(), next());
    let features = os["features"].as_array().into_iter().flatten();
    Platform {
        os: name,
        arch,
        variant,
        os_version: os["version"].as_str().unwrap_or_default().to_owned(),
        os_features: features.filter_map(|it| it.as_str().map(str::to_owned)).collect(),
    }
}

fn location(text: &str) -> Result<Location, String> {
    let position = |text: &str| {
        let (line, character) = text.split_once('.')?;
        Some((line.parse().ok()?, character.parse().ok()?))
    };
    let read = || {
        let (source, ranges) = text.split_once(':')?;
        let ranges = ranges.split(',').filter(|it| !it.is_empty()).map(|range| {
            let (start, end) = range.split_once('-')?;
            Some(Range { start: position(start)?, end: position(end)? })
        });
        let ranges = ranges.collect::<Option<_>>()?;
        Some(Location { source: source.parse().ok()?, ranges, actions: None })
    };
    read().ok_or_else(|| format!("`{text}` is no location"))
}

/// What is left of a line.
struct Cursor<'t> {
    rest: &'t str,
}

impl Cursor<'_> {
    /// The JSON value that stands next.
    fn json(&mut self) -> Result<Value, String> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        let value = values.next().ok_or("expected a value")?.map_err(|error| error.to_string())?;
        self.rest = &self.rest[values.byte_offset()..];
        Ok(value)
    }

    /// `key=value` up to the end.
    fn fields(mut self) -> Result<Map<String, Value>, String> {
        let mut fields = Map::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                return Ok(fields);
            }
            let (key, rest) = self.rest.split_once('=').ok_or("expected `key=value`")?;
            self.rest = rest;
            let value = self.json()?;
            if fields.insert(key.to_owned(), value).is_some() {
                return Err(format!("`{key}` stands twice"));
            }
        }
    }
}
