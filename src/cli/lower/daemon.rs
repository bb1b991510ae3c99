//! `--caps`: the daemon that a program is lowered for, and what it cannot do.

use std::fs;

use crate::base::{Report, SourceMap};
use crate::cli::failure::span_of;
use crate::cli::program::io_reason;
use crate::graph::ir::{Graph, Tree};
use crate::graph::llb::caps::{self, CapSet};
use crate::graph::passes::downgrade::{MissingCap, downgrade};

/// Places that one report points to.
const MAX_PLACES: usize = 5;

/// The capabilities that `--caps` names: those of a release, or of a file.
pub(super) fn capabilities(text: &str) -> Result<CapSet, Report> {
    let wrong = |why: String| Report::error("bkl::usage", format!("`--caps {text}`: {why}"));
    if let Some(release) = CapSet::release(text) {
        return release
            .map_err(|error| wrong(error.to_string()).help("write it as in `--caps buildkit-v0.12`"));
    }
    let list = fs::read_to_string(text).map_err(|error| {
        wrong(format!("cannot read it: {}", io_reason(&error)))
            .help("name a release as in `--caps buildkit-v0.12`, or a file with a capability per line")
    })?;
    CapSet::list(text, &list).map_err(|error| wrong(error.to_string()))
}

/// The graph for that daemon: one report per capability that it lacks.
pub(super) fn fit(
    graph: &Graph,
    roots: &[Tree],
    daemon: &CapSet,
    sources: &SourceMap,
) -> Result<(Graph, Vec<Tree>), Vec<Report>> {
    let missing = match downgrade(graph, roots, daemon) {
        Ok(fitted) => return Ok((fitted.graph, fitted.roots)),
        Err(missing) => missing,
    };
    let mut by_cap: Vec<(&str, Vec<&MissingCap>)> = Vec::new();
    for it in &missing {
        match by_cap.iter_mut().find(|(cap, _)| *cap == it.cap) {
            Some((_, all)) => all.push(it),
            None => by_cap.push((it.cap, vec![it])),
        }
    }
    let report = |(cap, all): &(&str, Vec<&MissingCap>)| {
        let mut spans = Vec::new();
        for location in all.iter().flat_map(|it| &it.locations) {
            let span = span_of(location, sources, graph);
            spans.extend(span.filter(|span| !spans.contains(span)));
        }
        let mut report = Report::error("bkl::missing_capability", all[0].to_string());
        let more = spans.len().saturating_sub(MAX_PLACES);
        for (idx, span) in spans.into_iter().take(MAX_PLACES).enumerate() {
            let last = idx + 1 == MAX_PLACES && 0 < more;
            let text = if last { format!("and this, and {more} more") } else { "this needs it".to_owned() };
            report = report.label(span, text);
        }
        report.help(help(cap))
    };
    Err(by_cap.iter().map(report).collect())
}

/// The way out: a newer daemon, or another way to say it.
fn help(cap: &str) -> String {
    let release = caps::known(cap).map(|cap| format!("BuildKit v0.{} has it", cap.since)).unwrap_or_default();
    let instead = match cap {
        "mergeop" => "copy the trees into one another with `.copy`, if none of them takes files away",
        "diffop" => "let the command write into an `out(…)`, which holds only what it makes",
        "passthroughop" => "build the check as a target of its own",
        "file.symlink.create" => "make the link in a command: `.run(\"ln -s …\")`",
        "file.copy.includeexcludepatterns" => "copy each path by itself, or filter the `local` it comes from",
        "file.copy.requiredpaths" => "leave `parents: true` away, or say `optional: true`",
        "file.rm.wildcard" => "name each path that is removed",
        "exec.validexitcode" => "handle the exit code in the command: `cmd || [ $? = 3 ]`",
        "exec.meta.linux.resources" => "leave `memory` and `cpus` away: they do not change what is built",
        "exec.meta.cdi" => "run the step where it needs no device",
        "exec.secretenv" => "mount the secret as a file: `mounts: [key.file(\"/run/secrets/key\")]`",
        "exec.mount.tmpfs.size" => "leave the `size` of the `tmpfs` away",
        "source.ocilayout" => "push the image to a registry, and use `image(…)`",
        "source.git.checksum" => "leave `commit` away, and give it as the `ref`",
        "source.git.subdir" => "take all of the repository, and `.at(…)` the directory",
        _ => return release,
    };
    format!("{release}; or {instead}")
}
