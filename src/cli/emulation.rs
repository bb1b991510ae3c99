//! Whether this machine can run a step's commands, asked before anything starts.

use std::fs;
use std::path::Path;

use crate::base::{Platform, Report, SourceMap};
use crate::cli::failure::span_of;
use crate::graph::ir::{Graph, Op, Tree};

/// Where the kernel lists the interpreters of foreign programs.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// What this machine's kernel runs.
pub(super) struct Machine {
    host: Platform,
    /// Architectures with an interpreter that works inside of containers.
    emulated: Vec<&'static str>,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Machine {
        Machine::with(&Platform::host(), Path::new(BINFMT))
    }

    fn with(host: &Platform, binfmt: &Path) -> Machine {
        let is_on = |arch: &str| {
            // With `F` the interpreter was opened when it was registered: the container need not have it.
            fs::read_to_string(binfmt.join(format!("qemu-{arch}"))).is_ok_and(|text| {
                let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
                text.starts_with("enabled") && flags.contains('F')
            })
        };
        let emulated = QEMU.iter().filter(|(_, qemu)| is_on(qemu)).map(|(arch, _)| *arch).collect();
        Machine { host: host.normalize(), emulated }
    }

    /// Whether commands for `platform` run here.
    fn runs(&self, platform: &Platform) -> bool {
        let platform = platform.normalize();
        let natively = self.host.arch == platform.arch
            || matches!((&*self.host.arch, &*platform.arch), ("amd64", "386") | ("arm64", "arm"));
        self.host.os == platform.os && (natively || self.emulated.contains(&&*platform.arch))
    }

    /// One report per platform that this machine cannot run, at the first step that needs it.
    pub(super) fn refuse(
        &self,
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
            if self.runs(platform) || refused.iter().any(|(known, _)| known == platform) {
                continue;
            }
            let message = format!("this machine runs {}, and a step is for {platform}", self.host);
            let mut report = Report::error("bkl::no_emulator", message);
            if let Some(span) =
                vertex.locations.first().and_then(|location| span_of(location, sources, graph))
            {
                report = report.label(span, "this step cannot run here");
            }
            let help = format!(
                "install an emulator (qemu-user-static with binfmt), or run the step `on build_platform` and only \
                 put its results into the {} image",
                platform.arch
            );
            refused.push((platform.clone(), report.help(help)));
        }
        if refused.is_empty() { Ok(()) } else { Err(refused.into_iter().map(|(_, report)| report).collect()) }
    }
}

/// Names of architectures: ours and QEMU's.
const QEMU: [(&str, &str); 9] = [
    ("amd64", "x86_64"),
    ("386", "i386"),
    ("arm64", "aarch64"),
    ("arm", "arm"),
    ("riscv64", "riscv64"),
    ("ppc64le", "ppc64le"),
    ("s390x", "s390x"),
    ("loong64", "loongarch64"),
    ("mips64le", "mips64el"),
];

#[cfg(test)]
mod tests;
