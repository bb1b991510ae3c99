//! Every way to a command, with every entitlement, granted and not.
//!
//! Needs root and /bin/busybox (static).

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bkl::engine::entitlement::Grants;
use bkl::engine::event::Event;
use bkl::engine::exec::{ExitStatus, HelperRunner, RunError, RunnerKind, SandboxNetwork};
use bkl::engine::ops::{BuildError, ExecError, FailedCommand, Inspector, OpError, Terminal};
use bkl::engine::{Engine, EngineConfig, SolveError, SolveRequest, SolveStats};
use bkl::graph::ir::build::FileStep;
use bkl::graph::ir::{CdiDevice, Edge, ExecBuilder, ExecOp, FileMkfile, Graph, NetMode, SecurityMode};
use bkl::graph::llb::{MarshalOptions, marshal};
use bkl::session::Session;
use libtest_mimic::Trial;
use prost::Message as _;
use tempfile::TempDir;

pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("entitlements::needs_root::{name}"), run);
    vec![
        trial("no_way_leads_around_a_grant", no_way_leads_around_a_grant),
        trial("results_with_more_rights_are_not_found_with_fewer", results_with_more_rights_are_not_found),
    ]
}

const ENTITLEMENTS: [&str; 3] = ["network.host", "security.insecure", "device=vendor.com/class=one"];

/// A way to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// It is a step of the build.
    Build,
    /// It is a step of a definition that a step of the build made.
    Definition,
    /// Its result is there already, made by a build with all rights.
    Cached,
    /// It fails, and somebody opens a shell in its place.
    Shell,
}

const ROUTES: [Route; 4] = [Route::Build, Route::Definition, Route::Cached, Route::Shell];

struct Dirs(PathBuf);

impl Session for Dirs {
    fn local_dir(&self, name: &str) -> Option<PathBuf> {
        (name == "busybox").then(|| self.0.clone())
    }
}

struct Bench {
    dir: TempDir,
    engine: Engine,
    warnings: Arc<Mutex<Vec<String>>>,
}

/// Counts the shells that were offered a place; takes none.
#[derive(Default)]
struct Shells(Mutex<Vec<String>>);

impl Inspector for Shells {
    fn begin(&self, failed: &FailedCommand) -> Option<Terminal> {
        self.0.lock().unwrap().push(failed.name.clone());
        let end: OwnedFd = fs::File::options().read(true).write(true).open("/dev/null").unwrap().into();
        Some(Terminal { end, kind: None })
    }

    fn end(&self, _: &FailedCommand, result: &Result<ExitStatus, RunError>) {
        self.0.lock().unwrap().push(match result {
            Ok(status) => format!("shell ended with {}", status.code),
            Err(error) => error.to_string(),
        });
    }
}

impl Bench {
    fn new() -> Bench {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        let bin = dir.path().join("busybox/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
        let runner =
            HelperRunner::with_program(RunnerKind::Direct, Path::new(env!("CARGO_BIN_EXE_bkl"))).unwrap();
        let runner = Arc::new(runner.with_sandbox(SandboxNetwork::None));
        let config = EngineConfig { runner: Some(runner), ..EngineConfig::default() };
        let engine = Engine::open(&dir.path().join("store"), config).unwrap();
        Bench { dir, engine, warnings: Arc::default() }
    }

    fn solve(
        &self,
        graph: &Graph,
        root: Edge,
        grants: &[&str],
        inspector: Option<Arc<dyn Inspector>>,
    ) -> Result<SolveStats, SolveError> {
        let session = Arc::new(Dirs(self.dir.path().join("busybox")));
        let warnings = self.warnings.clone();
        let request = SolveRequest {
            grants: Grants::of(grants).unwrap(),
            inspector,
            events: Arc::new(move |event| {
                if let Event::Warning { message, .. } = event {
                    warnings.lock().unwrap().push(message);
                }
            }),
            ..SolveRequest::new(graph, vec![root], session, crate::test_program())
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(self.engine.solve(request)).map(|it| it.stats)
    }
}

/// A command that requests `entitlement`.
fn command(graph: &mut Graph, entitlement: &str, script: &str) -> Edge {
    let base = Some(graph.local("busybox", &[], &[], &[]));
    let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let mut op = ExecOp { args, cwd: "/".to_owned(), ..ExecOp::default() };
    match entitlement {
        "network.host" => op.network = NetMode::Host,
        "security.insecure" => op.security = SecurityMode::Insecure,
        device => {
            let name = device.trim_start_matches("device=").to_owned();
            op.cdi_devices = vec![CdiDevice { name, optional: true }];
        }
    }
    graph.exec(ExecBuilder { op, base, ..ExecBuilder::default() }).root.unwrap()
}

/// The same as the only step of a definition that is a file.
fn nested(graph: &mut Graph, entitlement: &str, script: &str) -> Edge {
    let mut inner = Graph::new();
    let root = command(&mut inner, entitlement, script);
    let bytes = definition(&inner, root);
    let path = "/buildkit.llb.definition".to_owned();
    let file = FileMkfile { path, data: bytes, mode: 0o644, ..FileMkfile::default() };
    let tree = graph.file(None, vec![FileStep::Mkfile(file)]);
    graph.build(tree, "", None)
}

fn definition(graph: &Graph, root: Edge) -> Vec<u8> {
    marshal(graph, Some(root), &MarshalOptions::default()).encode_to_vec()
}

/// Whether it was refused for want of what was requested, and not for anything else.
fn is_denied(result: &Result<SolveStats, SolveError>, entitlement: &str) -> bool {
    let Err(SolveError::Vertex { failed, .. }) = result else { return false };
    let denied = match &*failed.cause {
        OpError::Exec(ExecError::Denied(denied)) => denied.clone(),
        OpError::Build(error) => match &**error {
            BuildError::Failed { failed, .. } => match &*failed.cause {
                OpError::Exec(ExecError::Denied(denied)) => denied.clone(),
                _ => return false,
            },
            _ => return false,
        },
        _ => return false,
    };
    assert_eq!(denied.flags(), format!("--allow {entitlement}"));
    true
}

fn no_way_leads_around_a_grant() {
    for route in ROUTES {
        for entitlement in ENTITLEMENTS {
            let bench = Bench::new();
            let mut graph = Graph::new();
            let script = if route == Route::Shell { "exit 3" } else { "echo made > /made" };
            let root = match route {
                Route::Definition => nested(&mut graph, entitlement, script),
                Route::Build | Route::Cached | Route::Shell => command(&mut graph, entitlement, script),
            };
            if route == Route::Cached {
                bench.solve(&graph, root, &ENTITLEMENTS, None).unwrap();
            }
            let others: Vec<&str> = ENTITLEMENTS.into_iter().filter(|it| *it != entitlement).collect();
            for grants in [&[][..], &others] {
                let shells = Arc::new(Shells::default());
                let result = bench.solve(&graph, root, grants, Some(shells.clone()));
                assert!(
                    is_denied(&result, entitlement),
                    "{route:?} {entitlement} with {grants:?}: {result:?}"
                );
                assert!(shells.0.lock().unwrap().is_empty(), "{route:?} {entitlement} with {grants:?}");
            }
            let shells = Arc::new(Shells::default());
            let result = bench.solve(&graph, root, &[entitlement], Some(shells.clone()));
            assert!(!is_denied(&result, entitlement), "{route:?} {entitlement}: {result:?}");
            match route {
                Route::Build | Route::Definition => {
                    assert!(result.is_ok(), "{route:?} {entitlement}: {result:?}");
                    // What is granted to commands that nobody knew of is said when they are known.
                    let said = format!("granted: {entitlement} to `/bin/sh -c echo made > /made`");
                    let is_said = bench.warnings.lock().unwrap().contains(&said);
                    assert_eq!(is_said, route == Route::Definition, "{route:?} {entitlement}");
                }
                Route::Cached => assert_eq!(result.unwrap().n_executed, 0, "{entitlement}"),
                Route::Shell => {
                    let shells = shells.0.lock().unwrap();
                    assert_eq!(shells[1..], ["shell ended with 0"], "{entitlement}");
                }
            }
        }
    }
}

/// A definition's commands are not known before it runs: its result is kept by what it was granted.
fn results_with_more_rights_are_not_found() {
    for entitlement in ENTITLEMENTS {
        let bench = Bench::new();
        let mut graph = Graph::new();
        let root = nested(&mut graph, entitlement, "echo made > /made");
        assert_ne!(bench.solve(&graph, root, &[entitlement], None).unwrap().n_executed, 0);
        assert_eq!(bench.solve(&graph, root, &[entitlement], None).unwrap().n_executed, 0);
        let result = bench.solve(&graph, root, &[], None);
        assert!(is_denied(&result, entitlement), "{entitlement}: {result:?}");
    }
}
