//! The one integration-test binary: every test is registered here by name and run by libtest-mimic.
#![allow(unreachable_pub, reason = "trials() is public by custom, though this binary exports nothing")]

mod bad_definitions;
mod build;
mod caches;
mod cli;
mod commands;
mod docs;
mod editors;
mod entitlements;
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
mod prune;
mod registry;
mod rootless;
mod shell;
mod solver;
mod sources;
mod stdlib;
mod tidy;
mod vecprog;
mod vectors;
mod why;

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(bad_definitions::trials());
    trials.extend(build::trials());
    trials.extend(caches::trials());
    trials.extend(cli::trials());
    trials.extend(commands::trials());
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
    trials.extend(prune::trials());
    trials.extend(registry::trials());
    trials.extend(rootless::trials());
    trials.extend(shell::trials());
    trials.extend(solver::trials());
    trials.extend(entitlements::trials());
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

/// Whose runs the tests' graphs are.
fn test_program() -> bkl::base::Digest {
    bkl::engine::history::program(Path::new("/test"))
}

/// The files with this extension in the folders of the repository and all below them, in order of their paths.
fn files_below(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> =
        folders.iter().map(|it| Path::new(env!("CARGO_MANIFEST_DIR")).join(it)).collect();
    let mut files = Vec::new();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
