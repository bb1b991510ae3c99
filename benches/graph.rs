//! What large graphs cost: CPU milliseconds of each stage for 100,000 ops, the best of five runs.
//!
//! `cargo bench --bench graph`, or `benches/run.sh` with the other figures. The graphs are those of BuildKit's own client
//! test: commands with an environment of their own, every tenth of which starts anew from the base (`exec`), and files
//! written one after the other (`mkfile`).
#![allow(clippy::print_stdout, reason = "figures are its output")]

use bkl::graph::ir::build::FileStep;
use bkl::graph::ir::{ExecBuilder, ExecOp, FileMkfile, Graph, SourceInfo, Tree};
use bkl::graph::llb::{MarshalOptions, digests, marshal, unmarshal};
use bkl::graph::passes::optimize;

const N_OPS: usize = 100_000;
const RUNS: usize = 5;

fn main() {
    for (name, make) in [("exec", exec_graph as fn() -> (Graph, Tree)), ("mkfile", mkfile_graph)] {
        let (graph, root) = make();
        let options = MarshalOptions { local_unique: Some("bench".to_owned()), ..MarshalOptions::default() };
        let bytes = marshal(&graph, root, &options).to_bytes();
        println!("{name}: {} ops, {} MB of LLB", graph.len(), bytes.len() / 1_000_000);
        figure("make", || drop(make()));
        figure("digests", || drop(digests(&graph, &options)));
        figure("marshal", || drop(marshal(&graph, root, &options).to_bytes()));
        figure("optimize", || drop(optimize(&graph, &[root])));
        figure("unmarshal", || drop(unmarshal(&bytes).expect("it was just written")));
    }
}

/// Prints the least CPU time of some runs.
fn figure(name: &str, run: impl Fn()) {
    let times = (0..RUNS).map(|_| {
        let start = cpu_ms();
        run();
        cpu_ms() - start
    });
    println!("  {name:10} {:7.1} ms", times.fold(f64::INFINITY, f64::min));
}

/// CPU time of all threads so far.
fn cpu_ms() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is there on every Linux, and the call writes only to `time`.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn exec_graph() -> (Graph, Tree) {
    let mut graph = Graph::new();
    let source = graph.add_source(SourceInfo {
        filename: "build.bkl".to_owned(),
        data: b"target app = base\n".to_vec(),
        language: "bkl".to_owned(),
        definition: None,
    });
    let base = Some(graph.local("ctx", &[], &[], &[]));
    let mut tree = base;
    let mut ends = Vec::new();
    for op in 0..N_OPS {
        if op % 10 == 0 {
            ends.extend(tree.take());
            tree = base;
        }
        let args =
            ["/bin/sh", "-c"].map(str::to_owned).into_iter().chain([format!("make step-{op}")]).collect();
        let env =
            vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned(), "LANG=C".to_owned(), format!("STEP={op}")];
        let made = graph.exec(ExecBuilder {
            op: ExecOp { args, env, cwd: "/src".to_owned(), ..ExecOp::default() },
            base: tree,
            ..ExecBuilder::default()
        });
        let line = op as i32 + 1;
        graph.vertex_mut(made.vertex).locations.push(bkl::graph::ir::Location {
            source,
            ranges: [bkl::graph::ir::Range { start: (line, 2), end: (line, 40) }].into(),
            actions: None,
        });
        tree = made.root;
    }
    ends.extend(tree);
    let root = graph.merge(&ends.into_iter().map(Some).collect::<Vec<Tree>>());
    (graph, root)
}

fn mkfile_graph() -> (Graph, Tree) {
    let mut graph = Graph::new();
    let mut tree = None;
    for op in 0..N_OPS {
        let file = FileMkfile {
            path: format!("/dir/file-{op}"),
            mode: 0o644,
            data: format!("content {op}").into_bytes(),
            ..FileMkfile::default()
        };
        tree = Some(graph.file(tree, vec![FileStep::Mkfile(file)]));
    }
    (graph, tree)
}
