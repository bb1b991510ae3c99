//! The one integration-test binary: every test is registered here by name and run by libtest-mimic.
#![allow(unreachable_pub, reason = "trials() is public by custom, though this binary exports nothing")]

mod build;
mod cli;
mod docs;
mod editors;
mod eval;
mod exec;
mod explain;
mod export;
mod fuzz;
mod golden;
mod images;
mod levels;
mod lsp;
mod numbers;
mod passes;
mod programs;
mod registry;
mod shell;
mod solver;
mod sources;
mod stdlib;
mod tidy;
mod vecprog;
mod vectors;
mod why;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(build::trials());
    trials.extend(cli::trials());
    trials.extend(docs::trials());
    trials.extend(editors::trials());
    trials.extend(eval::trials());
    trials.extend(exec::trials());
    trials.extend(explain::trials());
    trials.extend(export::trials());
    trials.extend(fuzz::trials());
    trials.extend(golden::trials());
    trials.extend(levels::trials());
    trials.extend(lsp::trials());
    trials.extend(passes::trials());
    trials.extend(programs::trials());
    trials.extend(registry::trials());
    trials.extend(shell::trials());
    trials.extend(solver::trials());
    trials.extend(sources::trials());
    trials.extend(stdlib::trials());
    trials.extend(tidy::trials());
    trials.extend(vectors::trials());
    trials.extend(why::trials());
    libtest_mimic::run(&args, trials).exit();
}

/// A trial that passes when `run` returns; a panic fails it.
fn trial(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok::<(), Failed>(())
    })
}
