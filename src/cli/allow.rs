//! `--allow`: what commands request, and what they are granted.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::base::Report;
use crate::cli::args::{Commands, Progress};
use crate::cli::steps;
use crate::engine::entitlement::{Entitlement, Grants, requested};
use crate::graph::ir::{Graph, Op, Tree};

/// Names of steps that a line shows.
const MAX_NAMES: usize = 3;

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

/// Says, before anything starts, what is granted to which steps. What is requested and not granted is an error of the engine's.
pub(super) fn say(grants: &Grants, graph: &Graph, roots: &[Tree], progress: Progress) {
    match progress {
        Progress::Auto | Progress::Tty | Progress::Plain => {}
        // Programs read stderr, or nobody does.
        Progress::Rawjson | Progress::Quiet => return,
    }
    let needed = graph.needed(roots);
    let mut wanted: BTreeMap<Entitlement, Vec<String>> = BTreeMap::new();
    for (id, vertex) in graph.vertices() {
        if let (true, Op::Exec(op)) = (needed[id.0 as usize], &vertex.op) {
            for entitlement in requested(op).into_iter().filter(|it| grants.has(it)) {
                wanted.entry(entitlement).or_default().push(steps::short(&vertex.name()));
            }
        }
    }
    let mut err = io::stderr().lock();
    for (entitlement, mut names) in wanted {
        names.dedup();
        let n_more = names.len().saturating_sub(MAX_NAMES);
        names.truncate(MAX_NAMES);
        let names: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
        let more = if 0 < n_more { format!(" and {n_more} more") } else { String::new() };
        // There is nowhere left to say that the output is closed.
        let _ = writeln!(err, "granted: {entitlement} to {}{more}", names.join(", "));
    }
}
