//! A definition in the place of a program: `--llb FILE`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::base::{Digest, FileId, Platform, Report, SourceMap, Span};
use crate::cli::Failure;
use crate::cli::failure::span_of;
use crate::cli::program::io_reason;
use crate::engine::history;
use crate::graph::ir::{CUSTOM_NAME, Graph, ImageConfig, Output, OutputKind, Tree};
use crate::graph::ir::{SourceInfo, outputs::ImageOutput};
use crate::graph::llb::unmarshal::{self, DecodeError, Limits};
use crate::graph::llb::unmarshal_within;

/// A definition that was read: a graph with one output.
pub(super) struct Definition {
    /// The texts that it brought along.
    pub(super) sources: SourceMap,
    /// What is to be done.
    pub(super) graph: Graph,
    /// The result, an image with the config that BuildKit gives such images.
    pub(super) outputs: Vec<Output>,
    /// Its tree.
    pub(super) roots: Vec<Tree>,
    /// Names it in the history: by its file.
    pub(super) program: Digest,
}

/// Reads the definition in `file`; `-` is stdin.
pub(super) fn read(file: &Path) -> Result<Definition, Failure> {
    let is_stdin = file == Path::new("-");
    let shown = if is_stdin { "stdin".to_owned() } else { format!("`{}`", file.display()) };
    let unreadable = |error: io::Error| {
        Report::error("bkl::no_definition", format!("cannot read {shown}: {}", io_reason(&error)))
            .help("name a file that `bkl lower -o FILE` or a client of BuildKit wrote, or `-` for stdin")
    };
    let limits = Limits::default();
    let mut bytes = Vec::new();
    // One more than allowed, so that what is too large is told from what just fits.
    let most = limits.max_bytes as u64 + 1;
    let read = match is_stdin {
        true => io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(unreadable)?;
    // To BuildKit no bytes are `scratch`. Here they are what is left of a client that failed in front of a pipe.
    if bytes.is_empty() {
        let report = Report::error("bkl::no_definition", format!("{shown} is empty: it holds no definition"));
        return Err(report
            .help("what should have written it may have failed; `scratch`, whose definition is empty, needs no build")
            .into());
    }
    let (graph, root) = unmarshal_within(&bytes, &limits).map_err(|error| refused(&error, &bytes, &shown))?;
    let path = std::path::absolute(file).map_err(unreadable)?;
    let name = match file.file_stem() {
        Some(stem) if !is_stdin => stem.to_string_lossy().into_owned(),
        _ => "llb".to_owned(),
    };
    let image = ImageOutput { tree: root, config: ImageConfig::plain(&Platform::host()), tags: Vec::new() };
    Ok(Definition {
        sources: texts(&graph.sources),
        outputs: vec![Output {
            name,
            dest: None,
            kind: OutputKind::Image(Box::new(image)),
            // It was declared nowhere; nothing that can be said of an image points there.
            span: Span::new(FileId(0), 0, 0),
        }],
        roots: vec![root],
        program: history::program(&path),
        graph,
    })
}

/// The texts of a graph that was read.
fn texts(infos: &[SourceInfo]) -> SourceMap {
    let mut sources = SourceMap::default();
    for info in infos {
        if let Ok(text) = std::str::from_utf8(&info.data) {
            sources.add(info.filename.as_str(), text);
        }
    }
    sources
}

/// What to say of bytes that are no definition: which op it is, by its name and place where it has them.
fn refused(error: &DecodeError, bytes: &[u8], shown: &str) -> Failure {
    let report = |text: &str| {
        Report::error("bkl::bad_definition", format!("{shown} is not a definition that can be built: {text}"))
    };
    let Some(op) = error.op() else { return report(&error.to_string()).into() };
    let said = unmarshal::said(bytes, op);
    let name = said.metadata.description.get(CUSTOM_NAME).map(|name| format!(" (`{name}`)"));
    let mut graph = Graph::new();
    graph.sources = said.sources;
    let sources = texts(&graph.sources);
    let mut report = report(&format!("op {op}{}: {}", name.unwrap_or_default(), error.what()));
    for location in &said.locations {
        if let Some(span) = span_of(location, &sources, &graph) {
            report = report.label(span, "this step");
        }
    }
    Failure::new(sources, vec![report])
}
