//! Folders that a program names stay below its own, whatever links there are.

use std::path::Path;

use crate::base::{Report, SourceMap};
use crate::cli::failure::span_of;
use crate::cli::tracked;
use crate::graph::ir::{Graph, Op, Tree};

/// One report per local directory that a link leads out of `root`, the program's folder.
pub(super) fn refuse(
    graph: &Graph,
    roots: &[Tree],
    root: &Path,
    sources: &SourceMap,
) -> Result<(), Vec<Report>> {
    let needed = graph.needed(roots);
    let mut reports = Vec::new();
    for (id, vertex) in graph.vertices() {
        let Op::Source(source) = &vertex.op else { continue };
        let Some(dir) = source.identifier.strip_prefix("local://").filter(|_| needed[id.0 as usize]) else {
            continue;
        };
        if let Some(report) = tracked::leads_out(root, dir) {
            let place = vertex.locations.first().and_then(|location| span_of(location, sources, graph));
            reports.push(match place {
                Some(span) => report.label(span, "this directory"),
                None => report,
            });
        }
    }
    if reports.is_empty() { Ok(()) } else { Err(reports) }
}
