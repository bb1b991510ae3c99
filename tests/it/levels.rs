//! Both levels of lowering build the same: small random graphs are solved as they are and after the passes, and the trees
//! are compared, and what their layers show.
//!
//! What a program declares beside its trees, image configs, is no part of a graph: no pass can reach it. Times are set
//! aside: a file that is written says when. Builds need root, overlayfs and /bin/busybox (static). A graph that fails
//! as it is proves nothing; most do not. `BKL_LEVELS=500` solves that many, `BKL_LEVELS_SEED=7` starts elsewhere. A graph
//! that differs is printed as text, which is the form of tests/golden/passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bkl::base::{Digest, Platform};
use bkl::engine::cache::spec::LocalName;
use bkl::engine::cache::{CacheFrom, CacheTo, parse_to};
use bkl::engine::cancel::Cancel;
use bkl::engine::exec::{HelperRunner, RunnerKind};
use bkl::engine::export::{self, ExportImage, ExportItem, ExportKind};
use bkl::engine::solver::Aftermath;
use bkl::engine::{Engine, EngineConfig, SolveError, SolveRequest, SolveResult};
use bkl::graph::ir::build::FileStep;
use bkl::graph::ir::{
    Chown, Edge, ExecBuilder, ExecOp, FileCopy, FileMkdir, FileMkfile, FileRm, FileSymlink, Graph,
    ImageConfig, MountSpec, Tree, User, parse, print, verify,
};
use bkl::graph::passes::optimize;
use bkl::session::Session;
use bkl::store::{Snapshot, Store};
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::numbers::Numbers;

pub fn trials() -> Vec<Trial> {
    vec![
        crate::trial("levels::needs_root::same_trees", same_trees),
        crate::trial("levels::needs_root::same_from_a_cache", same_from_a_cache),
        crate::trial("levels::passes_settle", passes_settle),
    ]
}

/// Graphs of a run that nobody asked to be long.
const N_SOLVED: usize = 30;

fn same_trees() {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let n_graphs = from_env("BKL_LEVELS").unwrap_or(N_SOLVED);
    let seed = from_env("BKL_LEVELS_SEED").unwrap_or(1);
    let bench = Bench::new();
    let (mut n_built, mut n_changed) = (0, 0);
    for at in 0..n_graphs {
        let (graph, roots) = random_graph(&mut Numbers((seed * 1_000_000 + at) as u64), Size::Small);
        let (better, moved, report) = optimize(&graph, &roots);
        n_changed += usize::from(report.counts.iter().any(|(_, count)| 0 < *count));
        let before = match bench.solve(&graph, &roots) {
            Ok(before) => before,
            Err(_) => continue,
        };
        n_built += 1;
        let case = || {
            let (before, after) = (print::print(&graph, &roots), print::print(&better, &moved));
            format!("graph {at} of seed {seed}:\n{before}----\n{after}")
        };
        let after = bench
            .solve(&better, &moved)
            .unwrap_or_else(|error| panic!("{error}, after the passes: {}", case()));
        for (root, (before, after)) in before.iter().zip(&after).enumerate() {
            let (was, is) = (bench.tree(before), bench.tree(after));
            assert!(was == is, "root {root} is another tree: {}\n{}", difference(&was, &is), case());
            let (was, is) = (bench.shown(before), bench.shown(after));
            let more: Vec<_> = is.difference(&was).collect();
            assert!(more.is_empty(), "layers of root {root} show {more:?}: {}", case());
        }
    }
    // Else the trial would be worth nothing.
    assert!(n_graphs / 2 < n_built, "only {n_built} of {n_graphs} graphs can be built");
    assert!(n_graphs / 2 < n_changed, "the passes only changed {n_changed} of {n_graphs} graphs");
}

/// What was built in one store is found from another, by way of a cache: nothing runs but what has no files to export,
/// and the trees are the same.
fn same_from_a_cache() {
    let bench = Bench::new();
    let (mut n_built, mut n_found) = (0, 0);
    for at in 0..N_SOLVED / 2 {
        let (graph, roots) = random_graph(&mut Numbers(7_000_000 + at as u64), Size::Small);
        let cache = bench.dir.path().join(format!("cache-{at}"));
        let to = export_to(&cache);
        let Ok(first) = bench.solve_in(&bench.engine, &graph, &roots, None, Some(&to)) else { continue };
        n_built += 1;
        let other = engine(&bench.dir.path().join(format!("other-{at}")));
        let from = CacheFrom::Local { dir: cache.clone(), name: LocalName::Tag("latest".to_owned()) };
        let second = bench.solve_in(&other, &graph, &roots, Some(from), None).unwrap();
        let case = || format!("graph {at}:\n{}", print::print(&graph, &roots));
        for (before, after) in first.roots.iter().zip(&second.roots) {
            let (was, is) = (bench.tree(before), tree_of(&other, after));
            assert!(was == is, "{}{}", difference(&was, &is), case());
        }
        let has_files = first.roots.iter().all(|tree| !tree.is_scratch());
        if cache.exists() && has_files {
            n_found += 1;
            assert_eq!(second.stats.n_executed, 0, "{}", case());
        }
        fs::remove_dir_all(bench.dir.path().join(format!("other-{at}"))).unwrap();
    }
    assert!(N_SOLVED / 6 < n_found && N_SOLVED / 4 < n_built, "{n_found} of {n_built}");
}

fn export_to(dir: &Path) -> CacheTo {
    let text = format!("type=local,dest={},mode=max", dir.display());
    parse_to(&[text]).unwrap().remove(0)
}

/// What the passes make is a graph, its text is read back, and they find nothing more in it.
fn passes_settle() {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for at in 0..120 {
        let (graph, roots) = random_graph(&mut Numbers(at), Size::Large);
        let (better, moved, report) = optimize(&graph, &roots);
        report.counts.into_iter().for_each(|(pass, count)| *found.entry(pass).or_default() += count);
        verify::verify(&better).unwrap();
        let text = print::print(&better, &moved);
        let (again, roots_again) = parse::parse(&text).unwrap();
        assert_eq!(print::print(&again, &roots_again), text);
        let (settled, roots_settled, report) = optimize(&better, &moved);
        assert_eq!(print::print(&settled, &roots_settled), text, "{:?}", report.counts);
        assert!(report.counts.iter().all(|(_, count)| *count == 0), "{:?}", report.counts);
    }
    // Every pass has something to do in these graphs.
    assert!(found.values().all(|count| 10 < *count), "{found:?}");
}

/// A store, and what graphs take from outside: a directory, a root file system, an image with a layer that deletes.
struct Bench {
    dir: TempDir,
    engine: Engine,
}

struct Dirs(BTreeMap<String, PathBuf>);

impl Session for Dirs {
    fn local_dir(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).cloned()
    }

    fn oci_layout(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).cloned()
    }
}

fn engine(store: &Path) -> Engine {
    let runner =
        HelperRunner::with_program(RunnerKind::Direct, Path::new(env!("CARGO_BIN_EXE_bkl"))).unwrap();
    let config = EngineConfig { runner: Some(Arc::new(runner)), ..EngineConfig::default() };
    Engine::open(store, config).unwrap()
}

impl Bench {
    fn new() -> Bench {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        let ctx = dir.path().join("ctx");
        for (path, text) in [("a", "a"), ("d/x", "x"), ("d/y", "y"), ("d/sub/z", "z"), ("e/x", "other")] {
            let path = ctx.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        symlink("d/x", ctx.join("l")).unwrap();
        symlink("d", ctx.join("ld")).unwrap();
        fs::set_permissions(ctx.join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let bin = dir.path().join("busybox/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for tool in ["sh", "cat", "echo", "rm", "ls", "cp", "mkdir", "true"] {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        let engine = engine(&dir.path().join("store"));
        let bench = Bench { dir, engine };
        bench.make_layout();
        bench
    }

    /// An image of two layers, the second of which takes away and replaces.
    fn make_layout(&self) {
        let mut graph = Graph::new();
        let files = graph
            .file(None, vec![mkdir("/d"), mkfile("/d/x", "1"), mkfile("/d/gone", "2"), mkfile("/f", "3")]);
        let rest = graph.file(Some(files), vec![rm("/d/gone"), rm("/f"), mkdir("/f"), mkfile("/f/in", "4")]);
        let snapshot = self.solve(&graph, &[Some(rest)]).unwrap().remove(0);
        let config = ImageConfig::scratch(Platform::host());
        let image =
            ExportImage { snapshot, config, tags: vec!["docker.io/library/x:v1".to_owned()], cache: None };
        let item = ExportItem { name: "x".to_owned(), kind: ExportKind::Image(Box::new(image)) };
        let spec = export::parse(&format!("type=oci,dest={}/layout/", self.dir.path().display())).unwrap();
        export::export(self.engine.store(), &[item], &spec, &mut std::io::sink(), &Cancel::new()).unwrap();
    }

    fn solve(&self, graph: &Graph, roots: &[Tree]) -> Result<Vec<Snapshot>, SolveError> {
        let mut made = self.solve_in(&self.engine, graph, roots, None, None)?.roots.into_iter();
        Ok(roots.iter().map(|root| root.map_or_else(Snapshot::scratch, |_| made.next().unwrap())).collect())
    }

    /// Solves in a store, from a cache, to a cache.
    fn solve_in(
        &self,
        engine: &Engine,
        graph: &Graph,
        roots: &[Tree],
        from: Option<CacheFrom>,
        to: Option<&CacheTo>,
    ) -> Result<SolveResult, SolveError> {
        let dir = |name: &str| (name.to_owned(), self.dir.path().join(name));
        let session: Arc<dyn Session> = Arc::new(Dirs([dir("ctx"), dir("busybox"), dir("layout")].into()));
        let wanted = roots.iter().copied().flatten().collect();
        let request = SolveRequest {
            cache_from: from.into_iter().collect(),
            aftermath: to.map_or(Aftermath::Nothing, |_| Aftermath::Trace),
            ..SolveRequest::new(graph, wanted, session.clone(), crate::test_program())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let solved = engine.solve(request).await?;
            if let (Some(known), Some(to)) = (&solved.known, to) {
                let (events, cancel) = (bkl::engine::event::silent(), Cancel::new());
                engine.export_cache(known, to, &session, events, &cancel).await.unwrap();
            }
            Ok(solved)
        })
    }

    fn store(&self) -> &Store {
        self.engine.store()
    }

    /// All of a tree, by path, but its times.
    fn tree(&self, snapshot: &Snapshot) -> BTreeMap<String, String> {
        tree_of(&self.engine, snapshot)
    }

    /// Every path that some layer shows, and what it holds.
    fn shown(&self, snapshot: &Snapshot) -> BTreeSet<(String, String)> {
        let layer = |layer: bkl::store::LayerId| {
            let mut archive = Vec::new();
            self.store().write_layer_tar(layer, &mut archive).unwrap();
            entries(&archive)
        };
        let shown = snapshot.layers().into_iter().flat_map(layer);
        let is_file = |path: &str| !path.rsplit('/').next().unwrap_or(path).starts_with(".wh.");
        // A folder's mode or owner is not what layers hide.
        let content = |(path, said): (String, String)| match said.split_once(' ') {
            Some(("Directory", _)) => (path, "Directory".to_owned()),
            _ => (path, said),
        };
        shown.map(content).filter(|(path, _)| is_file(path.trim_end_matches('/'))).collect()
    }
}

fn tree_of(engine: &Engine, snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut archive = Vec::new();
    engine.store().write_tree_tar(snapshot, &mut archive).unwrap();
    entries(&archive).into_iter().collect()
}

/// The entries of an archive: kind, mode, owner, where a link leads, what a file holds.
fn entries(archive: &[u8]) -> Vec<(String, String)> {
    let mut read = tar::Archive::new(archive);
    let mut entries = Vec::new();
    for entry in read.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
        let said = format!(
            "{:?} {:o} {}:{} {link:?} {}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            Digest::of(&content)
        );
        entries.push((path, said));
    }
    entries
}

fn difference(was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> String {
    let mut lines = String::new();
    for path in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
        if was.get(path) != is.get(path) {
            lines += &format!("\n  {path}: {:?} was {:?}", is.get(path), was.get(path));
        }
    }
    lines
}

fn mkfile(path: &str, text: &str) -> FileStep {
    let data = text.as_bytes().to_vec();
    FileStep::Mkfile(FileMkfile { path: path.to_owned(), mode: 0o644, data, owner: None, timestamp: TIME })
}

fn mkdir(path: &str) -> FileStep {
    let path = path.to_owned();
    FileStep::Mkdir(FileMkdir { path, mode: 0o755, make_parents: true, owner: None, timestamp: TIME })
}

fn rm(path: &str) -> FileStep {
    FileStep::Rm(FileRm { path: path.to_owned(), allow_not_found: true, allow_wildcard: true })
}

/// When everything is made: whether a diff takes two files for one must not depend on when the trial runs.
const TIME: i64 = 1_000_000_000;

/// How large a graph is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// So that it is built in a moment.
    Small,
    Large,
}

/// Paths that trees have, mostly.
const PATHS: &[&str] = &["/a", "/d", "/d", "/d/x", "/d/sub", "/e", "/l", "/ld"];
const PLACES: &[&str] = &["/", "/", "/d/", "/d", "/e/", "/n/m/", "/.", "/new"];

/// A graph and some of its trees.
fn random_graph(numbers: &mut Numbers, size: Size) -> (Graph, Vec<Tree>) {
    let mut making = Making { graph: Graph::new(), trees: vec![None], numbers, n_commands: 0, size };
    let whole = making.graph.local("ctx", &[], &[], &[]);
    let part = making.part();
    making.trees.extend([Some(whole), part]);
    let layout = making.graph.oci_layout("docker.io/library/x:v1", "layout", None);
    making.trees.push(Some(layout));
    let n_steps = match size {
        Size::Small => 4 + making.numbers.below(8),
        Size::Large => 10 + making.numbers.below(60),
    };
    for _ in 0..n_steps {
        let tree = making.step();
        making.trees.push(tree);
    }
    let n_roots = 1 + making.numbers.below(3);
    let roots = making.trees[making.trees.len() - n_roots..].to_vec();
    (making.graph, roots)
}

struct Making<'a> {
    graph: Graph,
    /// Everything made so far; scratch is the first.
    trees: Vec<Tree>,
    numbers: &'a mut Numbers,
    n_commands: usize,
    size: Size,
}

impl Making<'_> {
    /// A tree, later ones rather than earlier ones.
    fn tree(&mut self) -> Tree {
        let n = self.trees.len();
        let back = if self.numbers.once_in(2) { self.numbers.below(3) } else { self.numbers.below(n) };
        self.trees[n - 1 - back.min(n - 1)]
    }

    fn edge(&mut self) -> Option<Edge> {
        (0..10).find_map(|_| self.tree())
    }

    /// Parts of the directory.
    fn part(&mut self) -> Tree {
        let parts: &[&[&str]] = &[&["a"], &["d"], &["e", "a"], &["d/sub"], &["l"]];
        let include: Vec<String> = self.numbers.pick(parts).iter().map(|part| (*part).to_owned()).collect();
        Some(self.graph.local("ctx", &include, &[], &[]))
    }

    fn step(&mut self) -> Tree {
        match self.numbers.below(16) {
            0 => {
                let trees: Vec<Tree> = (0..2 + self.numbers.below(3)).map(|_| self.tree()).collect();
                self.graph.merge(&trees)
            }
            1 => {
                let (lower, upper) = (self.tree(), self.tree());
                self.graph.diff(lower, if self.numbers.once_in(3) { lower } else { upper })
            }
            2 => match (self.edge(), self.edge()) {
                (Some(tree), Some(need)) => Some(self.graph.require("r", tree, &[need])),
                _ => None,
            },
            3 => self.command(),
            // What `at` makes, and `only`.
            4..=6 => {
                // Of what surely has the path, mostly.
                let from = if self.numbers.once_in(8) { self.tree() } else { self.trees[1] };
                let mut copy = self.copy_of("/", "/");
                copy.src = (*self.numbers.pick(PATHS)).to_owned();
                copy.follow_symlink = true;
                if self.numbers.once_in(3) {
                    copy.include_patterns = vec!["*x".to_owned()];
                }
                Some(self.graph.file(None, vec![FileStep::Copy { from, copy }]))
            }
            // A part of a directory.
            7..=8 => {
                let part = *self.numbers.pick(&["a", "d", "e", "d/sub"]);
                let from = Some(self.graph.local("ctx", &[part.to_owned()], &[], &[]));
                let place = *self.numbers.pick(PLACES);
                let copy = self.copy_of(&format!("/{part}"), place);
                let base = self.tree();
                Some(self.graph.file(base, vec![FileStep::Copy { from, copy }]))
            }
            _ => {
                let base = self.tree();
                let steps = (0..1 + self.numbers.below(3)).map(|_| self.action(base)).collect();
                Some(self.graph.file(base, steps))
            }
        }
    }

    fn copy_of(&mut self, src: &str, dest: &str) -> FileCopy {
        FileCopy {
            src: src.to_owned(),
            dest: dest.to_owned(),
            dir_copy_contents: !self.numbers.once_in(6),
            create_dest_path: true,
            ..FileCopy::default()
        }
    }

    fn action(&mut self, base: Tree) -> FileStep {
        let name = self.numbers.pick(&["/a", "/d/new", "/n", "/e/x", "/.hid"]).to_string();
        let n = self.numbers.below(3);
        match self.numbers.below(8) {
            0 => {
                let path: &str = self.numbers.pick::<&str>(&["/d", "/n/m", "/e/f/g"]);
                mkdir(path)
            }
            1 => match mkfile(&format!("/made{n}"), &name) {
                FileStep::Mkfile(mut file) if base.is_some() && n == 0 => {
                    file.owner = Some(Chown { user: Some(User::Id(7)), group: None }.into());
                    FileStep::Mkfile(file)
                }
                step => step,
            },
            2 => rm(if n == 0 { "/d/*" } else { &name }),
            3 => FileStep::Symlink(FileSymlink {
                oldpath: "d/x".to_owned(),
                newpath: format!("/link{}", self.numbers.below(1000)),
                owner: None,
                timestamp: TIME,
            }),
            _ => {
                let from = self.tree();
                let (src, dest) = match self.numbers.below(3) {
                    0 => (*self.numbers.pick(PATHS), *self.numbers.pick(PLACES)),
                    _ => ("/", *self.numbers.pick(PLACES)),
                };
                let mut copy = self.copy_of(src, dest);
                if src != "/" {
                    // May be missing: then nothing is copied.
                    copy.allow_wildcard = true;
                    copy.allow_empty_wildcard = true;
                    copy.src = format!("{src}*");
                }
                match self.numbers.below(8) {
                    0 => copy.mode = 0o751,
                    1 => {
                        copy.owner = Some(Chown { user: Some(User::Id(3)), group: Some(User::Id(4)) }.into());
                    }
                    2 => copy.exclude_patterns = vec!["**/y".to_owned()],
                    3 => copy.include_patterns = vec!["d".to_owned(), "x".to_owned()],
                    _ => {}
                }
                FileStep::Copy { from, copy }
            }
        }
    }

    /// A command that reads a mount and leaves something in its root and in another.
    fn command(&mut self) -> Tree {
        self.n_commands += 1;
        if self.size == Size::Small && 2 < self.n_commands {
            return self.tree();
        }
        let (seen, kept) = (self.tree(), self.tree());
        let busybox = self.graph.local("busybox", &[], &[], &[]);
        let base = if self.numbers.once_in(2) {
            let copy = self.copy_of("/", "/");
            let from = self.tree();
            Some(self.graph.file(Some(busybox), vec![FileStep::Copy { from, copy }]))
        } else {
            Some(busybox)
        };
        let script = "ls -lnR /in | cut -c1-10 > /out/seen; cp -r /in/d /made; rm -rf /d/x /out/d/y; echo ok > /done; true";
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        let mut mount = MountSpec::readonly("/in", seen);
        if seen.is_some() && self.numbers.once_in(4) {
            mount.selector = "/".to_owned();
        }
        let made = self.graph.exec(ExecBuilder {
            op: ExecOp { args, cwd: "/".to_owned(), env: vec!["PATH=/bin".to_owned()], ..ExecOp::default() },
            base,
            mounts: vec![mount, MountSpec::bind("/out", kept)],
            ..ExecBuilder::default()
        });
        if self.numbers.once_in(2) { made.root } else { made.mounts[1] }
    }
}
