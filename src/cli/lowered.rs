//! From a command line to the build graph of the targets it names: what `lower` and `graph` have in common.

use std::sync::Arc;

use crate::base::{Platform, SourceMap};
use crate::cli::args::{Format, Inputs, Selection};
use crate::cli::build::{runtime, trees};
use crate::cli::resolver::Resolver;
use crate::cli::session::{Given, LocalSession};
use crate::cli::{Failure, print_reports, program};
use crate::graph::ir::{Graph, Output, Tree};
use crate::graph::passes::{self, PassReport};

/// The graph of the selected targets.
pub(super) struct Lowered {
    /// Where the program lies.
    pub(super) program: program::Program,
    /// Texts of all modules.
    pub(super) sources: SourceMap,
    /// What is to be done.
    pub(super) graph: Graph,
    /// The targets.
    pub(super) outputs: Vec<Output>,
    /// The trees of the targets, in their order.
    pub(super) roots: Vec<Tree>,
    /// What the passes did, if they ran.
    pub(super) passes: Option<PassReport>,
}

/// Checks and evaluates the program; the passes run unless `level` is 0. Warnings are printed.
pub(super) fn lower(
    selection: &Selection,
    inputs: &Inputs,
    given: Given,
    level: u8,
    format: Format,
) -> Result<Lowered, Failure> {
    let program = program::Program::find(selection)?;
    let mut checked = program.check();
    let Some(hir) = checked.program.take() else {
        return Err(Failure::new(checked.sources, checked.reports));
    };
    print_reports(&checked.reports, &checked.sources, format);
    let runtime = runtime()?;
    let session = Arc::new(LocalSession::new(&program.root, given));
    let resolver = Resolver::new(inputs.store.clone(), None, format, session, runtime.handle().clone());
    let ready = match program::evaluate(&program, &mut checked, &hir, inputs, &resolver) {
        Ok(ready) => ready,
        Err(reports) => return Err(Failure::new(checked.sources, reports)),
    };
    print_reports(&ready.notes, &checked.sources, format);
    let outputs = ready.evaluated.outputs;
    let (mut graph, mut roots, mut report) = (ready.evaluated.graph, trees(&outputs), None);
    if 0 < level {
        let (optimized, moved, done) = passes::optimize(&graph, &roots);
        (graph, roots, report) = (optimized, moved, Some(done));
    }
    Ok(Lowered { program, sources: checked.sources, graph, outputs, roots, passes: report })
}

/// The platform that ops without one of their own are for.
pub(super) fn platform(inputs: &Inputs) -> Platform {
    match inputs.platform.first() {
        Some(text) => text.parse().unwrap_or_else(|_| Platform::host()),
        None => Platform::host(),
    }
}
