//! `--allow`: what commands request, and what they are granted.

use std::io::{self, Write};

use crate::base::Report;
use crate::cli::args::{Commands, Progress};
use crate::cli::steps;
use crate::engine::entitlement::{Grants, granted};
use crate::graph::ir::{Graph, Tree};

/// Reads `--allow`.
///
/// # Errors
/// For what names no entitlement.
pub(super) fn grants(args: &Commands) -> Result<Grants, Report> {
    let given = args.allow.iter().map(|it| it.trim()).filter(|it| !it.is_empty());
    Grants::of(given).map_err(|error| {
        let forms: Vec<String> = Grants::FORMS.iter().map(|it| format!("`{it}`")).collect();
        Report::error("bkl::bad_allow", error.to_string())
            .help(format!("`--allow` takes {}", forms.join(", ")))
    })
}

/// Says, before anything starts, what is granted to which steps; of definitions that steps make the engine says it. What is requested and not granted is an error of the engine's.
pub(super) fn say(grants: &Grants, graph: &Graph, roots: &[Tree], progress: Progress) {
    match progress {
        Progress::Auto | Progress::Tty | Progress::Plain => {}
        // Programs read stderr, or nobody does.
        Progress::Rawjson | Progress::Quiet => return,
    }
    let mut err = io::stderr().lock();
    for line in granted(graph, roots, grants, &steps::short) {
        // There is nowhere left to say that the output is closed.
        let _ = writeln!(err, "{line}");
    }
}
