//! Steps that build what other steps made, that only wait for others, and that may not use what a cache mount holds.

use bkl::engine::ops::{BuildError, OpError};
use bkl::graph::llb::{DecodeError, MarshalOptions, marshal};

use super::*;

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("solver::needs_root::definitions::{name}"), run);
    vec![
        trial("a_step_makes_a_definition", a_step_makes_a_definition),
        trial("a_definition_of_the_context", a_definition_of_the_context),
        trial("definitions_in_definitions", definitions_in_definitions),
        trial("definitions_that_cannot_be_built", definitions_that_cannot_be_built),
        trial("a_step_of_a_definition_fails", a_step_of_a_definition_fails),
        trial("a_definition_is_stopped", a_definition_is_stopped),
        trial("a_passthrough_waits_for_all", a_passthrough_waits_for_all),
        trial("a_command_that_ignores_the_cache_empties_its_mounts", cache_mounts_are_emptied),
    ]
}

/// The definition of what `make` gives.
fn definition(make: impl FnOnce(&mut Graph) -> Tree) -> Vec<u8> {
    let mut graph = Graph::new();
    let root = make(&mut graph);
    marshal(&graph, root, &MarshalOptions::default()).to_bytes()
}

fn busybox(graph: &mut Graph) -> Tree {
    Some(graph.local("busybox", &[], &[], &[]))
}

fn bytes_file(path: &str, data: Vec<u8>) -> FileStep {
    FileStep::Mkfile(FileMkfile { path: path.to_owned(), mode: 0o644, data, owner: None, timestamp: -1 })
}

fn a_step_makes_a_definition() {
    let bench = Bench::new();
    let made = definition(|graph| {
        let base = busybox(graph);
        run(graph, base, "echo made > /made")
    });
    let mut graph = Graph::new();
    let holder = graph.file(None, vec![bytes_file("/buildkit.llb.definition", made)]);
    let built = graph.build(holder, "", None);
    let root = run(&mut graph, Some(built), "cp /made /copy").unwrap();
    let first = bench.solve(&graph, root);
    assert_eq!(first.read("copy"), "made\n");
    // The file, the build and the copy; what the definition makes is counted by nobody.
    assert_eq!(first.ran(), (3, 0));
    assert_eq!(bench.solve(&graph, root).ran(), (0, 0));
    // Its steps are in the cache like any other.
    let mut graph = Graph::new();
    let base = busybox(&mut graph);
    let plain = run(&mut graph, base, "echo made > /made").unwrap();
    assert_eq!(bench.solve(&graph, plain).ran(), (0, 0));
    // The same result in another file is the same definition, and its steps are cached.
    let other = definition(|graph| {
        let base = busybox(graph);
        run(graph, base, "echo made > /made")
    });
    let mut graph = Graph::new();
    let holder = graph.file(None, vec![bytes_file("/def", other)]);
    let holder = graph.file(Some(holder), vec![mkfile("/other", "x")]);
    let built = graph.build(holder, "/def", None);
    let again = bench.solve(&graph, built);
    assert_eq!(again.read("made"), "made\n");
}

fn a_definition_of_the_context() {
    let bench = Bench::new();
    fs::write(
        bench.dir.path().join("ctx/def.pb"),
        definition(|graph| {
            // The contexts of a definition are those of the build.
            let ctx = graph.local("ctx", &[], &[], &[]);
            Some(graph.file(None, vec![copy(Some(ctx), "/text", "/copied")]))
        }),
    )
    .unwrap();
    bench.write("text", "hello");
    let mut graph = Graph::new();
    let ctx = graph.local("ctx", &[], &[], &[]);
    let root = graph.build(ctx, "def.pb", None);
    assert_eq!(bench.solve(&graph, root).read("copied"), "hello");
    // Nothing at all is a result, too.
    fs::write(bench.dir.path().join("ctx/def.pb"), []).unwrap();
    assert!(bench.solve(&graph, root).result.roots[0].is_scratch());
}

fn definitions_in_definitions() {
    let bench = Bench::new();
    let nest = |inner: Vec<u8>| {
        definition(|graph| {
            let holder = graph.file(None, vec![bytes_file("/def", inner)]);
            Some(graph.build(holder, "/def", None))
        })
    };
    let leaf = || definition(|graph| Some(graph.file(None, vec![mkfile("/leaf", "deep")])));
    let solve = |depth: usize| {
        let outer = (0..depth).fold(leaf(), |inner, _| nest(inner));
        let mut graph = Graph::new();
        let holder = graph.file(None, vec![bytes_file("/def", outer)]);
        let root = graph.build(holder, "/def", None);
        let engine = bench.engine();
        let result = bench.try_solve(&engine, &graph, root)?;
        Ok::<String, SolveError>(Built { engine, result }.read("leaf"))
    };
    assert_eq!(solve(3).unwrap(), "deep");
    assert_eq!(solve(15).unwrap(), "deep");
    let Err(error) = solve(40) else { panic!("it is too deep") };
    assert!(error.to_string().contains("nested more than 16 deep"), "{error}");
}

/// What a build of the definition in `path` of the context fails for.
fn refused(bench: &Bench, path: &str) -> BuildError {
    let mut graph = Graph::new();
    let ctx = graph.local("ctx", &[], &[], &[]);
    let root = graph.build(ctx, path, None);
    let engine = bench.engine();
    let Err(SolveError::Vertex { failed, others }) = bench.try_solve(&engine, &graph, root) else {
        panic!("`{path}` cannot be built")
    };
    assert_eq!((failed.vertex, others.len()), (root.vertex, 0));
    match Arc::try_unwrap(failed.cause) {
        Ok(OpError::Build(error)) => *error,
        other => panic!("{other:?}"),
    }
}

fn definitions_that_cannot_be_built() {
    let bench = Bench::new();
    let ctx = bench.dir.path().join("ctx");
    bench.write("text", "hello");
    bench.write("dir/file", "x");
    symlink("/etc/passwd", ctx.join("out")).unwrap();
    symlink("../../../../../../etc/passwd", ctx.join("up")).unwrap();
    symlink("loop", ctx.join("loop")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        ctx.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    // It says of its own file that it is to be built: no op can hold its digest, but a file can name itself.
    fs::write(
        ctx.join("self.pb"),
        definition(|graph| {
            let ctx = graph.local("ctx", &[], &[], &[]);
            Some(graph.build(ctx, "self.pb", None))
        }),
    )
    .unwrap();
    for missing in ["missing", "out", "up", "text/below"] {
        assert!(matches!(refused(&bench, missing), BuildError::NoFile { .. }), "{missing}");
    }
    for unfit in ["dir", "fifo"] {
        assert!(matches!(refused(&bench, unfit), BuildError::Unfit { .. }), "{unfit}");
    }
    assert!(matches!(refused(&bench, "loop"), BuildError::File(_)));
    let error = refused(&bench, "text");
    assert!(matches!(error, BuildError::Definition { error: DecodeError::Protobuf(_), .. }), "{error}");
    let BuildError::Failed { failed, .. } = refused(&bench, "self.pb") else { panic!("it builds itself") };
    let OpError::Build(error) = &*failed.cause else { panic!("{failed}") };
    assert!(matches!(**error, BuildError::Itself { .. }), "{error}");
}

fn a_step_of_a_definition_fails() {
    let bench = Bench::new();
    let made = definition(|graph| {
        let base = busybox(graph);
        let failing = run(graph, base, "echo oops; exit 3").unwrap();
        graph.vertex_mut(failing.vertex).metadata.description.insert("llb.customname".into(), "bad".into());
        Some(failing)
    });
    fs::write(bench.dir.path().join("ctx/def"), made).unwrap();
    let BuildError::Failed { failed, .. } = refused(&bench, "def") else { panic!("a step fails") };
    assert_eq!(failed.name, "bad");
    // Its log is kept like that of any step.
    let log = bench.engine().store().log_path(&failed.run.unwrap());
    assert_eq!(fs::read_to_string(log).unwrap(), "oops\n");
}

fn a_definition_is_stopped() {
    let bench = Bench::new();
    let made = definition(|graph| {
        let base = busybox(graph);
        run(graph, base, "echo began; sleep 100")
    });
    let mut graph = Graph::new();
    let holder = graph.file(None, vec![bytes_file("/def", made)]);
    let root = graph.build(holder, "/def", None);
    let (engine, cancel) = (bench.engine(), Cancel::new());
    let stop = cancel.clone();
    let told = move |event: Event| {
        // Events of its steps come to who asked for the build.
        if let Event::Log { .. } = event {
            stop.cancel();
        }
    };
    let result = bench.solve_with(&engine, &graph, root, CacheMode::Use, &cancel, told);
    assert!(matches!(result, Err(SolveError::Cancelled)));
}

fn a_passthrough_waits_for_all() {
    let bench = Bench::new();
    let mut graph = Graph::new();
    let base = busybox(&mut graph);
    let tree = graph.file(None, vec![mkfile("/tree", "t")]);
    let other = graph.file(None, vec![mkfile("/other", "o")]);
    let good = run(&mut graph, base, "echo good > /good").unwrap();
    let bad = run(&mut graph, base, "exit 3").unwrap();
    // The tree is the tree, and what it needs has run.
    let needs = graph.require("order", tree, &[good]);
    let built = bench.solve(&graph, needs);
    assert_eq!(built.ran(), (3, 1));
    assert_eq!(built.read("tree"), "t");
    assert_eq!(built.result.roots, bench.solve(&graph, tree).result.roots);
    assert_eq!(bench.solve(&graph, needs).ran(), (0, 0));
    let fails = graph.require("order", tree, &[good, bad]);
    let error = bench.try_solve(&bench.engine(), &graph, fails).unwrap_err();
    assert!(matches!(&error, SolveError::Vertex { failed, .. } if failed.vertex == bad.vertex), "{error}");
    // Outputs in the order that is said, not that of the inputs.
    let both = graph.passthrough("both", vec![tree, other, good], vec![1, 0]);
    assert_eq!(bench.solve(&graph, both).read("other"), "o");
    assert_eq!(bench.solve(&graph, Edge { output: 1, ..both }).read("tree"), "t");
}

fn cache_mounts_are_emptied() {
    let bench = Bench::new();
    let mut graph = Graph::new();
    let base = busybox(&mut graph);
    let seed = graph.file(None, vec![mkfile("/seed", "")]);
    let mut cached = |script: &str| {
        let mut builder = sh(base, script);
        builder.mounts = vec![
            MountSpec::cache("/cache", "log", bkl::graph::ir::Sharing::Shared, None),
            MountSpec::cache("/seeded", "seeded", bkl::graph::ir::Sharing::Shared, Some(seed)),
        ];
        graph.exec(builder).root.unwrap()
    };
    let append = "echo $0 >> /cache/log; echo $0 >> /seeded/log; cat /cache/log /seeded/log > /all; ls /seeded >> /all";
    let (one, two) = (cached(&format!("{append}; : one")), cached(&format!("{append}; : two")));
    assert_eq!(bench.solve(&graph, one).read("all"), "sh\nsh\nlog\nseed\n");
    assert_eq!(bench.solve(&graph, two).read("all"), "sh\nsh\nsh\nsh\nlog\nseed\n");
    graph.vertex_mut(two.vertex).metadata.ignore_cache = true;
    let again = bench.solve(&graph, two);
    assert_eq!(again.ran(), (1, 0));
    assert_eq!(again.read("all"), "sh\nsh\nlog\nseed\n");
}
