//! Builds from graph to tree: local directories, commands with busybox, file ops. All of these need root, overlayfs and
//! /bin/busybox (static).

mod definitions;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bkl::engine::cancel::Cancel;
use bkl::engine::entitlement::Grants;
use bkl::engine::event::Event;
use bkl::engine::exec::{HelperRunner, RunnerKind};
use bkl::engine::{CacheMode, Engine, EngineConfig, SolveError, SolveRequest, SolveResult, SolveStats};
use bkl::graph::ir::build::FileStep;
use bkl::graph::ir::{Edge, ExecBuilder, ExecOp, FileCopy, FileMkfile, Graph, MountSpec, Tree};
use bkl::session::{Session, SessionError};
use bkl::store::Snapshot;
use libtest_mimic::Trial;
use tempfile::TempDir;

pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("solver::needs_root::{name}"), run);
    let mut trials = definitions::trials();
    trials.extend([
        trial("a_build_runs_each_step_once", a_build_runs_each_step_once),
        trial("only_what_reads_a_change_is_run", only_what_reads_a_change_is_run),
        trial("a_change_comes_as_a_small_layer", a_change_comes_as_a_small_layer),
        trial("a_directory_of_another_mode_is_copied_again", a_directory_of_another_mode_is_copied_again),
        trial("a_file_that_changes_meanwhile_is_an_error", a_file_that_changes_meanwhile_is_an_error),
        trial("a_failing_step_stops_the_others", a_failing_step_stops_the_others),
        trial("a_build_can_be_cancelled", a_build_can_be_cancelled),
        trial("a_missing_layer_is_built_again", a_missing_layer_is_built_again),
        trial("outputs_of_mounts", outputs_of_mounts),
        trial("merge_diff_and_cache_mounts", merge_diff_and_cache_mounts),
        trial("ignoring_the_cache", ignoring_the_cache),
        trial("a_deep_chain_of_file_ops", a_deep_chain_of_file_ops),
        trial("bad_contexts_are_named", bad_contexts_are_named),
        trial("a_full_disk_is_said", a_full_disk_is_said),
        trial("two_engines_share_the_work", two_engines_share_the_work),
        trial("builds_that_ended_use_nothing", builds_that_ended_use_nothing),
    ]);
    trials
}

/// A store, a context directory and a session that gives it as `ctx`, and busybox as `busybox`.
pub(crate) struct Bench {
    dir: TempDir,
}

struct Dirs(BTreeMap<String, PathBuf>);

impl Session for Dirs {
    fn local_dir(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).cloned()
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Ok((id == "token").then(|| b"hush".to_vec()))
    }
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        fs::create_dir(dir.path().join("ctx")).unwrap();
        let bin = dir.path().join("busybox/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for tool in [
            "sh", "cat", "echo", "sleep", "true", "false", "mkdir", "rm", "touch", "ls", "dd", "cp", "env",
            "stat", "wc",
        ] {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        Bench { dir }
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join("ctx").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// What a new process would open.
    pub(crate) fn engine(&self) -> Engine {
        engine(&self.store())
    }

    /// The same, set up otherwise.
    pub(crate) fn engine_with(&self, set: impl FnOnce(&mut EngineConfig)) -> Engine {
        engine_with(&self.store(), set)
    }

    fn session(&self) -> Arc<dyn Session> {
        let dir = |name: &str| (name.to_owned(), self.dir.path().join(name));
        Arc::new(Dirs([dir("ctx"), dir("busybox"), dir("missing")].into()))
    }

    /// Solves in a new engine.
    pub(crate) fn solve(&self, graph: &Graph, root: Edge) -> Built {
        let engine = self.engine();
        let result = self.try_solve(&engine, graph, root).unwrap_or_else(|error| panic!("{error}"));
        Built { engine, result }
    }

    pub(crate) fn try_solve(
        &self,
        engine: &Engine,
        graph: &Graph,
        root: Edge,
    ) -> Result<SolveResult, SolveError> {
        self.solve_with(engine, graph, root, CacheMode::Use, &Cancel::new(), |_| {})
    }

    pub(crate) fn solve_with(
        &self,
        engine: &Engine,
        graph: &Graph,
        root: Edge,
        cache: CacheMode,
        cancel: &Cancel,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<SolveResult, SolveError> {
        let request = SolveRequest {
            cache,
            events: Arc::new(events),
            cancel: cancel.clone(),
            ..SolveRequest::new(graph, vec![root], self.session(), crate::test_program())
        };
        runtime().block_on(engine.solve(request))
    }

    /// Solves with what commands may have beyond the usual.
    pub(crate) fn solve_granted(
        &self,
        engine: &Engine,
        graph: &Graph,
        root: Edge,
        grants: &[&str],
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<SolveResult, SolveError> {
        let request = SolveRequest {
            grants: Grants::of(grants).unwrap(),
            events: Arc::new(events),
            ..SolveRequest::new(graph, vec![root], self.session(), crate::test_program())
        };
        runtime().block_on(engine.solve(request))
    }
}

fn engine(store: &Path) -> Engine {
    engine_with(store, |_| {})
}

fn engine_with(store: &Path, set: impl FnOnce(&mut EngineConfig)) -> Engine {
    let runner =
        HelperRunner::with_program(RunnerKind::Direct, Path::new(env!("CARGO_BIN_EXE_bkl"))).unwrap();
    let mut config = EngineConfig { runner: Some(Arc::new(runner)), ..EngineConfig::default() };
    set(&mut config);
    Engine::open(store, config).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) struct Built {
    engine: Engine,
    result: SolveResult,
}

impl Built {
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    fn path(&self, path: &str) -> PathBuf {
        view(&self.engine, &self.result.roots[0]).join(path)
    }

    /// Of the layers, as they are exported.
    pub(crate) fn diff_ids(&self) -> Vec<bkl::base::Digest> {
        let layers = self.result.roots[0].layers();
        layers.into_iter().map(|layer| self.engine.store().diff_id(layer).unwrap()).collect()
    }

    pub(crate) fn ran(&self) -> (usize, usize) {
        let SolveStats { n_executed, n_fetched, .. } = self.result.stats;
        (n_executed, n_fetched)
    }
}

/// A path to the mounted tree; the mount stays until the process ends.
fn view(engine: &Engine, tree: &Snapshot) -> PathBuf {
    let fd: OwnedFd = engine.store().view(tree).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)));
    std::mem::forget(fd);
    path
}

fn mkfile(path: &str, text: &str) -> FileStep {
    let data = text.as_bytes().to_vec();
    FileStep::Mkfile(FileMkfile { path: path.to_owned(), mode: 0o644, data, owner: None, timestamp: -1 })
}

fn copy(from: Tree, src: &str, dest: &str) -> FileStep {
    let copy = FileCopy {
        src: src.to_owned(),
        dest: dest.to_owned(),
        dir_copy_contents: true,
        create_dest_path: true,
        allow_wildcard: true,
        ..FileCopy::default()
    };
    FileStep::Copy { from, copy }
}

pub(crate) fn sh(base: Tree, script: &str) -> ExecBuilder {
    let args = ["sh", "-c", script].map(str::to_owned).to_vec();
    ExecBuilder {
        op: ExecOp { args, cwd: "/".to_owned(), ..ExecOp::default() },
        base,
        ..ExecBuilder::default()
    }
}

fn run(graph: &mut Graph, base: Tree, script: &str) -> Tree {
    graph.exec(sh(base, script)).root
}

/// busybox, two files copied in turn, a command on each.
fn program(graph: &mut Graph) -> Edge {
    let ctx = graph.local("ctx", &[], &["ignored".to_owned()], &[]);
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let one = graph.file(base, vec![copy(Some(ctx), "/one", "/src/")]);
    let one = run(graph, Some(one), "cat /src/one > /result; echo one");
    let two = graph.file(one, vec![copy(Some(ctx), "/dir/two", "/src/")]);
    run(graph, Some(two), "cat /src/two >> /result; echo two").unwrap()
}

fn a_build_runs_each_step_once() {
    let bench = Bench::new();
    bench.write("one", "1");
    bench.write("dir/two", "2");
    let mut graph = Graph::new();
    let root = program(&mut graph);
    let first = bench.solve(&graph, root);
    assert_eq!(first.ran(), (4, 2));
    assert_eq!(first.read("result"), "12");
    let second = bench.solve(&graph, root);
    assert_eq!(second.ran(), (0, 0));
    assert_eq!(second.result.roots, first.result.roots);
    assert_eq!(second.result.stats.n_cached, second.result.stats.n_vertices);
    // Nothing is left over, no mount was ever seen.
    assert_eq!(n_staged(&bench.store()), 0);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(bench.dir.path().to_str().unwrap()));
}

/// Two builds of one process, one after the other.
fn builds_that_ended_use_nothing() {
    let bench = Bench::new();
    bench.write("one", "1");
    bench.write("dir/two", "2");
    let mut graph = Graph::new();
    let root = program(&mut graph);
    let engine = bench.engine();
    let prune = || {
        let other = bkl::store::Store::open(&bench.store(), &bkl::store::Options::default()).unwrap();
        let all = bkl::store::gc::Policy { all: true, ..Default::default() };
        let removed = other.prune(&[all]).unwrap().removed;
        let items = other.contents(bkl::store::gc::Sizes::Looked).unwrap().items;
        (removed.len(), items.iter().filter(|it| it.in_use).count())
    };
    for _ in 0..2 {
        let first = bench.try_solve(&engine, &graph, root).unwrap();
        assert_eq!((first.stats.n_executed, first.stats.n_fetched), (4, 2));
        let (_, n_used) = prune();
        assert!(0 < n_used, "the result is there to be exported");
        let second = bench.try_solve(&engine, &graph, root).unwrap();
        assert_eq!((second.stats.n_executed, &second.roots), (0, &first.roots));
        drop(first);
        assert!(0 < prune().1);
        drop(second);
        let (n_removed, n_used) = prune();
        assert!(0 < n_removed && n_used == 0, "{n_removed} {n_used}");
    }
}

fn only_what_reads_a_change_is_run() {
    let bench = Bench::new();
    bench.write("one", "1");
    bench.write("dir/two", "2");
    let mut graph = Graph::new();
    let root = program(&mut graph);
    bench.solve(&graph, root);
    // Not part of the source at all.
    bench.write("ignored", "x");
    assert_eq!(bench.solve(&graph, root).ran(), (0, 0));
    // Part of the source, read by nobody.
    bench.write("other", "x");
    assert_eq!(bench.solve(&graph, root).ran(), (0, 1));
    assert_eq!(bench.solve(&graph, root).ran(), (0, 0));
    // Read by the third step.
    bench.write("dir/two", "3");
    let built = bench.solve(&graph, root);
    assert_eq!(built.ran(), (2, 1));
    assert_eq!(built.read("result"), "13");
    // Read by the first: everything behind it.
    bench.write("one", "0");
    let built = bench.solve(&graph, root);
    assert_eq!((built.ran(), built.read("result").as_str()), ((4, 1), "03"));
    // Back to what was built before.
    bench.write("one", "1");
    bench.write("dir/two", "2");
    assert_eq!(bench.solve(&graph, root).ran().0, 0);
    // A mode counts, also that of a directory nobody reads as such; a time does not.
    fs::set_permissions(bench.dir.path().join("ctx/one"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(bench.solve(&graph, root).ran().0, 4);
    let file = fs::File::options().write(true).open(bench.dir.path().join("ctx/one")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    assert_eq!(bench.solve(&graph, root).ran(), (0, 0));
}

fn a_change_comes_as_a_small_layer() {
    let bench = Bench::new();
    for idx in 0..40 {
        bench.write(&format!("dir{}/file{idx}", idx % 4), &idx.to_string());
    }
    symlink("dir0/file0", bench.dir.path().join("ctx/link")).unwrap();
    fs::hard_link(bench.dir.path().join("ctx/dir0/file0"), bench.dir.path().join("ctx/hard")).unwrap();
    let mut graph = Graph::new();
    let root = graph.local("ctx", &[], &[], &[]);
    let first = bench.solve(&graph, root);
    assert_eq!(first.result.roots[0].layers().len(), 1);
    assert_eq!(
        first.path("hard").metadata().unwrap().ino(),
        first.path("dir0/file0").metadata().unwrap().ino()
    );
    let then = first.path("dir1/file1").metadata().unwrap();
    let host = bench.dir.path().join("ctx/dir1/file1").metadata().unwrap();
    assert_eq!(
        (then.mtime(), then.mtime_nsec(), then.mode()),
        (host.mtime(), host.mtime_nsec(), host.mode())
    );
    assert_eq!((then.uid(), then.gid()), (0, 0));
    // One changed, one removed, one added, a directory gone: one layer still, made on top of the first.
    bench.write("dir1/file1", "changed");
    fs::remove_file(bench.dir.path().join("ctx/dir1/file5")).unwrap();
    bench.write("new/file", "new");
    fs::remove_dir_all(bench.dir.path().join("ctx/dir2")).unwrap();
    let second = bench.solve(&graph, root);
    let info = |built: &Built| {
        let [layer] = built.result.roots[0].layers()[..] else { panic!("a directory is one layer") };
        built.engine.store().layer(layer).unwrap().unwrap()
    };
    assert_eq!(info(&second).parts, first.result.roots[0].layers());
    assert_eq!(listing(&second.path("")), listing(&bench.dir.path().join("ctx")));
    assert!(!second.has("dir2") && !second.has("dir1/file5"));
    // It is the layer that a store makes which saw nothing of what was before.
    let diff_id = |engine: &Engine, tree: &Snapshot| engine.store().diff_id(tree.layers()[0]).unwrap();
    let other = engine(&bench.dir.path().join("other-store"));
    let anew = bench.try_solve(&other, &graph, root).unwrap().roots;
    assert_eq!(diff_id(&second.engine, &second.result.roots[0]), diff_id(&other, &anew[0]));
    // A file become a directory and the other way round.
    fs::remove_file(bench.dir.path().join("ctx/dir3/file3")).unwrap();
    bench.write("dir3/file3/below", "below");
    fs::remove_dir_all(bench.dir.path().join("ctx/dir0")).unwrap();
    bench.write("dir0", "a file now");
    let third = bench.solve(&graph, root);
    assert_eq!(listing(&third.path("")), listing(&bench.dir.path().join("ctx")));
    // And back again.
    fs::remove_file(bench.dir.path().join("ctx/dir0")).unwrap();
    bench.write("dir0/other", "a directory again");
    let fourth = bench.solve(&graph, root);
    assert_eq!(listing(&fourth.path("")), listing(&bench.dir.path().join("ctx")));
    // However many changes there are, it is one layer of few parts.
    for idx in 0..20 {
        bench.write("dir1/file1", &format!("{idx} again"));
        assert!(info(&bench.solve(&graph, root)).parts.len() <= 12);
    }
    // Its layer lost, the tree is made again.
    fs::remove_dir_all(bench.store().join("layers")).unwrap();
    fs::create_dir(bench.store().join("layers")).unwrap();
    let again = bench.solve(&graph, root);
    assert_eq!(listing(&again.path("")), listing(&bench.dir.path().join("ctx")));
}

/// What BuildKit #7176 is about: only a directory's mode changes, and what copied the directory must be made again.
fn a_directory_of_another_mode_is_copied_again() {
    let bench = Bench::new();
    bench.write("dir/deep/file", "text");
    let mut graph = Graph::new();
    let ctx = Some(graph.local("ctx", &[], &[], &[]));
    let copied = graph.file(None, vec![copy(ctx, "/dir", "/dir")]);
    let mode = || bench.solve(&graph, copied).path("dir/deep").metadata().unwrap().mode() & 0o7777;
    let deep = bench.dir.path().join("ctx/dir/deep");
    for wanted in [0o755, 0o700, 0o1777, 0o755, 0o711] {
        fs::set_permissions(&deep, fs::Permissions::from_mode(wanted)).unwrap();
        assert_eq!(mode(), wanted);
    }
}

/// A file that becomes another one between being looked at and being copied fails the copy, as it would the source.
fn a_file_that_changes_meanwhile_is_an_error() {
    let bench = Bench::new();
    bench.write("one", "1");
    bench.write("two", "2");
    let mut graph = Graph::new();
    let ctx = Some(graph.local("ctx", &[], &[], &[]));
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let command = run(&mut graph, base, "true");
    let copied = graph.file(command, vec![copy(ctx, "/", "/all")]);
    let two = bench.dir.path().join("ctx/two");
    let error =
        bench.solve_with(&bench.engine(), &graph, copied, CacheMode::Use, &Cancel::new(), move |event| {
            if let Event::Started { name, .. } = event
                && name.contains("true")
            {
                fs::write(&two, "other").unwrap();
            }
        });
    let Err(error) = error else { panic!("the file is another one") };
    let error = error.to_string();
    assert!(error.contains("`") && error.contains("two") && error.contains("changed"), "{error}");
    assert_eq!(bench.solve(&graph, copied).read("all/two"), "other");
}

/// Every path below `root`, sorted, with its content or target.
fn listing(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            let content = if kind.is_dir() {
                todo.push(path.clone());
                "directory".to_owned()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                fs::read_to_string(&path).unwrap()
            };
            found.push((path.strip_prefix(root).unwrap().to_owned(), content));
        }
    }
    found.sort();
    found
}

fn a_failing_step_stops_the_others() {
    let bench = Bench::new();
    bench.write("one", "1");
    let mut graph = Graph::new();
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let slow = run(&mut graph, base, "sleep 60");
    let bad = run(&mut graph, base, "sleep 0.2; for i in 1 2 3; do echo line $i; done; echo last; exit 7");
    let bad_edge = bad.unwrap();
    let root = graph.merge(&[slow, bad]).unwrap();
    let engine = bench.engine();
    let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
    let keep = seen.clone();
    let began = std::time::Instant::now();
    let failed = bench.solve_with(&engine, &graph, root, CacheMode::Use, &Cancel::new(), move |event| {
        keep.lock().unwrap().push(event);
    });
    let Err(SolveError::Vertex { failed, others }) = failed else { panic!("it fails") };
    assert!(began.elapsed() < Duration::from_secs(20), "the other step was stopped");
    assert_eq!((failed.vertex, others.len()), (bad_edge.vertex, 0));
    let text = failed.to_string();
    assert!(text.contains("exit code: 7"), "{text}");
    let bkl::engine::ops::OpError::Exec(bkl::engine::ops::ExecError::Exit { code: 7, tail, .. }) =
        &*failed.cause
    else {
        panic!("{text}")
    };
    assert_eq!(tail, "line 1\nline 2\nline 3\nlast");
    let log = fs::read_to_string(engine.store().log_path(&failed.run.expect("it began"))).unwrap();
    assert_eq!(log, "line 1\nline 2\nline 3\nlast\n");
    let seen = seen.lock().unwrap();
    let starts = seen.iter().filter(|it| matches!(it, Event::Started { .. })).count();
    let ends = seen.iter().filter(|it| matches!(it, Event::Completed { .. })).count();
    assert_eq!((starts, ends), (3, 3));
    drop(engine);
    assert_eq!(n_staged(&bench.store()), 0, "nothing half made is left");
}

/// Layers that are being made, of all processes on the store. What is done with is removed by a thread: waits a little for
/// that. What lies below the trees of all commands stays until the store is closed.
fn n_staged(store: &Path) -> usize {
    let now = || {
        let owners = fs::read_dir(store.join("staging"))
            .unwrap()
            .map(|it| it.unwrap().path())
            .filter(|it| it.is_dir());
        let staged =
            owners.flat_map(|it| fs::read_dir(it).into_iter().flatten()).flatten().map(|it| it.path());
        staged.filter(|it| it.is_dir() && !it.ends_with("stubs")).count()
    };
    for _ in 0..100 {
        if now() == 0 {
            return 0;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    now()
}

fn a_build_can_be_cancelled() {
    let bench = Bench::new();
    let mut graph = Graph::new();
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let root = run(&mut graph, base, "echo started; sleep 60").unwrap();
    let engine = bench.engine();
    let cancel = Cancel::new();
    let stop = cancel.clone();
    let began = std::time::Instant::now();
    let result = bench.solve_with(&engine, &graph, root, CacheMode::Use, &cancel, move |event| {
        if matches!(event, Event::Log { .. }) {
            stop.cancel();
        }
    });
    assert!(matches!(result, Err(SolveError::Cancelled)));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(n_staged(&bench.store()), 0);
}

fn a_missing_layer_is_built_again() {
    let bench = Bench::new();
    bench.write("one", "1");
    bench.write("dir/two", "2");
    let mut graph = Graph::new();
    let root = program(&mut graph);
    let first = bench.solve(&graph, root);
    let layers = first.result.roots[0].layers();
    // The layer of the second step vanishes: it and what stands on it are made again, what is below is used.
    let lost = layers[layers.len() - 3];
    fs::remove_dir_all(bench.store().join("layers").join(lost.to_string())).unwrap();
    let second = bench.solve(&graph, root);
    assert_eq!((second.ran(), second.read("result").as_str()), ((3, 0), "12"));
    assert_eq!(bench.solve(&graph, root).ran(), (0, 0));
}

fn outputs_of_mounts() {
    let bench = Bench::new();
    bench.write("sub/file", "from ctx");
    let mut graph = Graph::new();
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let ctx = Some(graph.local("ctx", &[], &[], &[]));
    let mut builder = sh(
        base,
        "cat /in/file > /out/copied; cat /in/file > /rw/changed; echo x > /scratch/x; touch /root-file",
    );
    builder.mounts = vec![
        MountSpec { selector: "/sub".to_owned(), readonly: true, ..MountSpec::bind("/in", ctx) },
        MountSpec::bind("/out", None),
        MountSpec::bind("/rw", ctx),
        MountSpec { no_output: true, ..MountSpec::bind("/scratch", None) },
    ];
    let edges = graph.exec(builder);
    let all = graph.merge(&[edges.root, edges.mounts[1], edges.mounts[2]]).unwrap();
    let built = bench.solve(&graph, all);
    assert_eq!(built.read("copied"), "from ctx");
    assert_eq!(built.read("changed"), "from ctx");
    assert_eq!(built.read("sub/file"), "from ctx");
    assert!(built.has("root-file") && !built.has("x"));
    assert!(!built.has("in") && !built.has("out") && !built.has("rw") && !built.has("scratch"));
    let out = bench.solve(&graph, edges.mounts[1].unwrap());
    assert_eq!(out.ran(), (0, 0));
    assert_eq!(listing(&out.path("")), [(PathBuf::from("copied"), "from ctx".to_owned())]);
    // A file beside what is mounted changes nothing for a step that only reads; this one also has it writable.
    bench.write("beside", "x");
    assert_eq!(bench.solve(&graph, all).ran(), (2, 1));
}

fn merge_diff_and_cache_mounts() {
    let bench = Bench::new();
    let mut graph = Graph::new();
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let with_cache = |graph: &mut Graph, script: &str| {
        let mut builder = sh(base, script);
        builder.mounts = vec![MountSpec::cache("/cache", "some id", bkl::graph::ir::Sharing::Locked, None)];
        graph.exec(builder).root
    };
    let one = with_cache(&mut graph, "echo one >> /cache/log; cp /cache/log /one");
    let after = graph.exec(ExecBuilder { ..sh(one, "echo two > /two; rm /bin/true") }).root;
    let diff = graph.diff(base, after);
    let root = graph.merge(&[base, diff]).unwrap();
    let built = bench.solve(&graph, root);
    assert_eq!((built.read("one").as_str(), built.read("two").as_str()), ("one\n", "two\n"));
    assert!(!built.has("bin/true") && built.has("bin/false") && !built.has("cache"));
    let only = bench.solve(&graph, diff.unwrap());
    assert_eq!(only.ran(), (0, 0));
    assert!(!only.has("bin/busybox") && only.has("one"));
    let again = with_cache(&mut graph, "echo more >> /cache/log; cp /cache/log /one").unwrap();
    assert_eq!(bench.solve(&graph, again).read("one"), "one\nmore\n");
}

fn ignoring_the_cache() {
    let bench = Bench::new();
    let mut graph = Graph::new();
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let step = run(&mut graph, base, "cat /proc/sys/kernel/random/uuid > /id");
    let root = run(&mut graph, step, "cp /id /copy").unwrap();
    let first = bench.solve(&graph, root).read("copy");
    let engine = bench.engine();
    let ignore = |mode| bench.solve_with(&engine, &graph, root, mode, &Cancel::new(), |_| {}).unwrap();
    let second = ignore(CacheMode::Ignore);
    assert_eq!((second.stats.n_executed, second.stats.n_fetched), (2, 0));
    let built = bench.solve(&graph, root);
    assert_eq!(built.ran(), (0, 0));
    assert_eq!(built.result.roots, second.roots);
    assert_ne!(built.read("copy"), first);
    graph.vertex_mut(step.unwrap().vertex).metadata.ignore_cache = true;
    assert_eq!(bench.solve(&graph, root).ran(), (2, 0));
}

fn a_deep_chain_of_file_ops() {
    let bench = Bench::new();
    let mut graph = Graph::new();
    let mut tree = None;
    for idx in 0..600 {
        tree = Some(graph.file(tree, vec![mkfile(&format!("/file{}", idx % 7), &idx.to_string())]));
    }
    let built = bench.solve(&graph, tree.unwrap());
    assert_eq!(built.ran(), (600, 0));
    assert_eq!(
        built.read("file4"),
        "599".replace("599", &(0..600).rev().find(|it| it % 7 == 4).unwrap().to_string())
    );
    assert_eq!(bench.solve(&graph, tree.unwrap()).ran(), (0, 0));
}

fn bad_contexts_are_named() {
    use bkl::engine::ops::OpError;
    use bkl::engine::source::SourceError;
    use bkl::engine::source::local::LocalError;
    let bench = Bench::new();
    bench.write("one", "1");
    let check = |name: &str, expected: fn(&LocalError) -> bool| {
        let mut graph = Graph::new();
        let root = graph.local(name, &[], &[], &[]);
        let Err(SolveError::Vertex { failed, .. }) = bench.try_solve(&bench.engine(), &graph, root) else {
            panic!("{name} fails")
        };
        assert_eq!(failed.vertex, root.vertex);
        let OpError::Source(SourceError::Source(cause)) = &*failed.cause else { panic!("{failed}") };
        let cause = cause.downcast_ref::<LocalError>().unwrap();
        assert!(expected(cause), "{cause}");
        assert!(cause.help().is_some());
    };
    check("missing", |it| matches!(it, LocalError::Missing { path, .. } if path.ends_with("missing")));
    check("unknown", |it| matches!(it, LocalError::NotGiven { name } if name == "unknown"));
    fs::write(bench.dir.path().join("missing"), "a file").unwrap();
    check("missing", |it| matches!(it, LocalError::NotADirectory { .. }));
    // A FIFO, a loop of links, a link that leads out and a socket are no obstacle.
    let ctx = bench.dir.path().join("ctx");
    rustix::fs::mknodat(rustix::fs::CWD, ctx.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    symlink("loop", ctx.join("loop")).unwrap();
    symlink("/etc/passwd", ctx.join("out")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(ctx.join("socket")).unwrap();
    let mut graph = Graph::new();
    let ctx = graph.local("ctx", &[], &[], &[]);
    let copy = graph.file(None, vec![copy(Some(ctx), "/", "/")]);
    let built = bench.solve(&graph, copy);
    assert_eq!(fs::read_link(built.path("out")).unwrap(), Path::new("/etc/passwd"));
    assert!(built.has("fifo") && built.has("loop") && !built.has("socket"));
}

fn a_full_disk_is_said() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let bench = Bench::new();
    let small = bench.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    mount("tmpfs", &small, "tmpfs", MountFlags::empty(), Some(c"size=16m")).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut graph = Graph::new();
        let base = Some(graph.local("busybox", &[], &[], &[]));
        let root = run(&mut graph, base, "dd if=/dev/zero of=/big bs=1M count=64").unwrap();
        let engine = engine(&small);
        let Err(SolveError::Vertex { failed, .. }) = bench.try_solve(&engine, &graph, root) else {
            panic!("it fails")
        };
        assert!(
            failed
                .to_string()
                .contains(&format!("the disk that holds the store at `{}` is full", small.display())),
            "{failed}"
        );
        // What it wrote is gone: there is room again.
        let fine = run(&mut graph, base, "dd if=/dev/zero of=/big bs=1M count=4").unwrap();
        bench.try_solve(&engine, &graph, fine).unwrap();
        let file = graph.file(None, vec![mkfile("/big", &"x".repeat(17 << 20))]);
        let Err(SolveError::Vertex { failed, .. }) = bench.try_solve(&engine, &graph, file) else {
            panic!("it fails")
        };
        assert!(failed.to_string().contains("no space left on the disk that holds the store"), "{failed}");
        assert_eq!(n_staged(&small), 0);
    }));
    unmount(&small, UnmountFlags::DETACH).unwrap();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn two_engines_share_the_work() {
    let bench = Bench::new();
    bench.write("one", "1");
    bench.write("dir/two", "2");
    let mut graph = Graph::new();
    let root = program(&mut graph);
    let stats = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let engine = bench.engine();
                    bench.try_solve(&engine, &graph, root).unwrap().stats
                })
            })
            .collect();
        builds.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(stats.iter().map(|it| it.n_executed).sum::<usize>(), 4);
    assert_eq!(stats.iter().map(|it| it.n_fetched).sum::<usize>(), 2);
}
