//! Whether this machine can run a step's commands, asked before anything starts.

use crate::base::{Platform, Report, SourceMap};
use crate::cli::failure::span_of;
use crate::engine::emulation::{self, Machine, Way};
use crate::graph::ir::{Graph, Op, Tree};

/// One report per platform that this machine cannot run, at the first step that needs it.
pub(super) fn refuse(
    machine: &Machine,
    graph: &Graph,
    roots: &[Tree],
    sources: &SourceMap,
) -> Result<(), Vec<Report>> {
    let mut refused: Vec<(Platform, Report)> = Vec::new();
    let needed = graph.needed(roots);
    for (id, vertex) in graph.vertices() {
        let (true, Op::Exec(_), Some(platform)) = (needed[id.0 as usize], &vertex.op, &vertex.platform)
        else {
            continue;
        };
        if machine.way(platform) != Way::Unknown || refused.iter().any(|(known, _)| *known == **platform) {
            continue;
        }
        let message = format!("this machine runs {}, and a step is for {platform}", machine.host());
        let mut report = Report::error("bkl::no_emulator", message);
        if let Some(span) = vertex.locations.first().and_then(|location| span_of(location, sources, graph)) {
            report = report.label(span, "this step cannot run here");
        }
        let help = format!(
            "install an emulator (qemu-user-static with binfmt, or a static `{}` in PATH), or run the step \
             `on build_platform` and only put its results into the {} image",
            emulation::program(&platform.normalize().arch),
            platform.arch
        );
        refused.push((Platform::clone(platform), report.help(help)));
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.into_iter().map(|(_, report)| report).collect()) }
}
