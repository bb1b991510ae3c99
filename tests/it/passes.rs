//! Passes over graphs written as text: `tests/golden/passes/<pass>/*.txt`, where `optimize` stands for all of them, and
//! `downgrade` for what fits a graph to the daemon that the first line names: `# daemon buildkit-v0.12`.
//!
//! A case is the graph before, `----`, the graph after, `----`, what the pass counted. `BKL_UPDATE=1` rewrites all
//! but the first part.

use std::fs;
use std::path::{Path, PathBuf};

use bkl::graph::ir::{Graph, Tree, parse, print, verify};
use bkl::graph::llb::caps::CapSet;
use bkl::graph::llb::{MarshalOptions, marshal};
use bkl::graph::passes::downgrade::downgrade;
use bkl::graph::passes::{PASSES, optimize};
use libtest_mimic::Trial;

const RULE: &str = "----\n";

pub fn trials() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/passes");
    let mut trials = Vec::new();
    for folder in listed(&root) {
        let pass = folder.file_name().unwrap().to_string_lossy().into_owned();
        for case in listed(&folder) {
            let name = format!("passes::{pass}::{}", case.file_stem().unwrap().to_string_lossy());
            let pass = pass.clone();
            trials.push(crate::trial(name, move || golden(&pass, &case)));
        }
    }
    for pass in PASSES {
        let has_case = root.join(pass.name).is_dir();
        let name = pass.name;
        trials.push(crate::trial(format!("passes::{name}::has_a_case"), move || assert!(has_case)));
    }
    trials
}

fn golden(pass: &str, case: &Path) {
    let text = fs::read_to_string(case).unwrap();
    let before = text.split(RULE).next().unwrap();
    let (graph, roots) = parse::parse(before).unwrap();
    let (after, new_roots, counts) = match pass {
        "downgrade" => downgraded(before, &graph, &roots),
        _ => run(pass, &graph, &roots),
    };
    verify::verify(&after).unwrap();
    // What is asked for can be marshalled.
    for &root in &new_roots {
        marshal(&after, root, &MarshalOptions::default());
    }
    settles(pass, &after, &new_roots);

    let actual = format!("{before}{RULE}{}{RULE}{counts}", print::print(&after, &new_roots));
    if std::env::var_os("BKL_UPDATE").is_some_and(|it| it == "1") {
        fs::write(case, actual).unwrap();
    } else {
        assert!(text == actual, "`{}` is not\n{actual}", case.display());
    }
}

fn run(pass: &str, graph: &Graph, roots: &[Tree]) -> (Graph, Vec<Tree>, String) {
    if pass == "optimize" {
        let (graph, roots, report) = optimize(graph, roots);
        let mut counts: String =
            report.counts.iter().map(|(name, n_changes)| format!("{name} {n_changes}\n")).collect();
        counts += &format!("vertices {} -> {}\n", report.n_before, report.n_after);
        return (graph, roots, counts);
    }
    let pass = PASSES.iter().find(|it| it.name == pass).expect("the folder is named after a pass");
    let rewritten = pass.run(graph, roots);
    (rewritten.graph, rewritten.roots, format!("{} {}\n", pass.name, rewritten.n_changes))
}

/// All passes together find nothing in what they made. One alone may find more when it runs again, but ends.
fn settles(pass: &str, graph: &Graph, roots: &[Tree]) {
    let (mut graph, mut roots) = (graph.clone(), roots.to_vec());
    let n_runs = match pass {
        "downgrade" => return,
        "optimize" => 1,
        _ => 5,
    };
    for _ in 0..n_runs {
        let before = print::print(&graph, &roots);
        (graph, roots, _) = run(pass, &graph, &roots);
        if print::print(&graph, &roots) == before {
            return;
        }
    }
    panic!("the pass finds something in what it made");
}

/// The graph for the daemon that the case names; nothing but what is missing when it cannot be built there.
fn downgraded(text: &str, graph: &Graph, roots: &[Tree]) -> (Graph, Vec<Tree>, String) {
    let daemon = text.lines().next().and_then(|line| line.strip_prefix("# daemon "));
    let daemon = CapSet::release(daemon.expect("the first line names a daemon")).unwrap().unwrap();
    match downgrade(graph, roots, &daemon) {
        Ok(it) => (it.graph, it.roots, format!("downgrade {}\n", it.n_changes)),
        Err(missing) => {
            (Graph::new(), Vec::new(), missing.iter().map(|missing| format!("{missing}\n")).collect())
        }
    }
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
