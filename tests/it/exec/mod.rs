//! Commands in containers, each with every runner. All of these need root, bind mounts, a C compiler, and /bin/busybox (static).

mod confinement;
mod hostile;
mod lifetime;
mod mounts;
mod network;
mod process;
mod seen;

pub(crate) use seen::probe;

use std::cell::Cell;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bkl::engine::cancel::Cancel;
use bkl::engine::entitlement::{Authorized, Grants, authorize};
use bkl::engine::exec::{
    Access, Emulation, ExecMount, ExecSpec, ExitStatus, HelperRunner, HostLine, Limits, MoreDevices,
    MountSource, Network, NewNode, NodeKind, Profile, RunError, Runner, RunnerKind, SandboxNetwork, Security,
    Stream, StubParents, Ulimit,
};
use bkl::graph::ir::{CdiDevice, ExecOp, NetMode, SecurityMode};
use libtest_mimic::Trial;
use rustix::mount::{OpenTreeFlags, open_tree};
use tempfile::TempDir;

/// A trial: its name, and what it does with [`runner`].
type Case = (&'static str, fn());

/// Every case with every runner.
pub(crate) fn trials() -> Vec<Trial> {
    let parts = [
        process::cases(),
        confinement::cases(),
        mounts::cases(),
        lifetime::cases(),
        seen::cases(),
        network::cases(),
        hostile::cases(),
    ];
    let cases: Vec<Case> = parts.into_iter().flatten().collect();
    let of_kind = |kind: RunnerKind| {
        cases.iter().map(move |(name, run)| {
            let run = *run;
            crate::trial(name_with(kind, name), move || {
                KIND.set(kind);
                run();
            })
        })
    };
    RunnerKind::ALL.into_iter().flat_map(of_kind).collect()
}

fn name_with(kind: RunnerKind, name: &str) -> String {
    format!("exec::needs_root::{}::{name}", kind.name())
}

/// Name of a case with the runner of the trial that asks.
fn full_name(name: &str) -> String {
    name_with(KIND.get(), name)
}

thread_local! {
    /// The runner of the trial in this thread.
    static KIND: Cell<RunnerKind> = const { Cell::new(RunnerKind::Direct) };
}

/// A tree with busybox in it, removed at the end.
struct Tree {
    dir: TempDir,
}

impl Tree {
    fn new() -> Tree {
        Tree::new_in(Path::new("/var/tmp"))
    }

    fn new_in(parent: &Path) -> Tree {
        let dir = TempDir::new_in(parent).unwrap();
        let tree = Tree { dir };
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for it in ["bin", "etc", "tmp"] {
            fs::create_dir(tree.join(it)).unwrap();
        }
        fs::hard_link("/bin/busybox", tree.join("bin/busybox"))
            .or_else(|_| fs::copy("/bin/busybox", tree.join("bin/busybox")).map(|_| ()))
            .unwrap();
        let tools = "sh cat echo env id ls sleep true false stat mount grep touch mkdir rm ln hostname ip kill tr wc \
            dd seq ps chmod mknod test sort head mv ulimit pwd cut nproc sed";
        for tool in tools.split_whitespace() {
            symlink("busybox", tree.join("bin").join(tool)).unwrap();
        }
        tree
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn join(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.join(path).parent().unwrap()).unwrap();
        fs::write(self.join(path), text).unwrap();
    }

    fn mount(&self) -> OwnedFd {
        detached(self.path())
    }

    fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.join(path)).is_ok()
    }
}

/// A C program of this folder, compiled, static.
pub(crate) struct Compiled {
    pub(crate) path: PathBuf,
    _dir: TempDir,
}

pub(crate) fn compiled(name: &str) -> Compiled {
    let dir = TempDir::new_in("/var/tmp").unwrap();
    let path = dir.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/exec/{name}.c"));
    let mut cc = std::process::Command::new("gcc");
    let ran = cc.args(["-static", "-O1", "-o"]).arg(&path).arg(source).output().expect("gcc is installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Compiled { path, _dir: dir }
}

fn detached(path: &Path) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(rustix::fs::CWD, path, flags).unwrap()
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|it| (*it).to_owned()).collect()
}

fn spec(tree: &Tree, args: &[&str]) -> ExecSpec {
    ExecSpec {
        args: words(args),
        env: Vec::new(),
        cwd: "/".into(),
        user: String::new(),
        hostname: String::new(),
        extra_hosts: Vec::new(),
        network: host_network(),
        security: Security::Sandbox,
        profile: Profile::Compat,
        devices: None,
        emulation: Emulation::Kernel,
        root: tree.mount(),
        root_access: Access::ReadWrite,
        mounts: Vec::new(),
        ulimits: Vec::new(),
        limits: Limits::default(),
        cgroup_parent: String::new(),
        stub_parents: StubParents::Keep,
        terminal: None,
    }
}

/// Tokens for everything that a command may be granted.
fn granted() -> Authorized {
    let op = ExecOp { network: NetMode::Host, security: SecurityMode::Insecure, ..ExecOp::default() };
    authorize(&op, &Grants::of(["network.host", "security.insecure"]).unwrap()).unwrap()
}

fn host_network() -> Network {
    Network::Host(granted().host_network.unwrap())
}

fn script(tree: &Tree, text: &str) -> ExecSpec {
    spec(tree, &["/bin/sh", "-c", text])
}

fn runner() -> HelperRunner {
    HelperRunner::with_program(KIND.get(), Path::new(env!("CARGO_BIN_EXE_bkl"))).unwrap()
}

/// What a command wrote and how it ended.
struct Ran {
    out: String,
    err: String,
    status: ExitStatus,
}

fn try_run(spec: ExecSpec) -> Result<Ran, RunError> {
    runtime().block_on(run_in(&runner(), spec, &Cancel::new()))
}

async fn run_in(runner: &HelperRunner, spec: ExecSpec, cancel: &Cancel) -> Result<Ran, RunError> {
    let logs: Mutex<[Vec<u8>; 2]> = Mutex::default();
    let sink = |stream: Stream, bytes: &[u8]| {
        logs.lock().unwrap()[stream as usize].extend_from_slice(bytes);
    };
    let status = Runner::run(runner, spec, &sink, cancel).await?;
    let [out, err] = logs.into_inner().unwrap().map(|it| String::from_utf8_lossy(&it).into_owned());
    Ok(Ran { out, err, status })
}

fn run(spec: ExecSpec) -> Ran {
    try_run(spec).unwrap_or_else(|err| panic!("{err}"))
}

/// Standard output of a script that must succeed.
fn output(spec: ExecSpec) -> String {
    let ran = run(spec);
    assert_eq!(ran.status.code, 0, "{:?} {}{}", ran.status.reason, ran.out, ran.err);
    ran.out
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn mount(dest: &str, source: MountSource, access: Access) -> ExecMount {
    ExecMount { dest: dest.into(), source, access }
}

/// A time long ago, to be found again.
fn age(path: &Path) {
    let then = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    fs::File::open(path).unwrap().set_times(then).unwrap();
}

fn mtime(path: &Path) -> (i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}
