//! Files of the web and of repositories, from servers of this process and a real sshd, into trees, and what the lock says of
//! them and of images. All of these need root and overlayfs.

pub(crate) mod server;

mod agents;
mod blobs;
mod git;
mod http;
mod images;
mod keys;
mod local;
mod shared;
mod signatures;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bkl::engine::exec::{HelperRunner, RunnerKind};
use bkl::engine::registry::{RegistryOptions, RetryPolicy};
use bkl::engine::{Engine, EngineConfig, SolveError, SolveRequest};
use bkl::graph::ir::{Edge, Graph};
use bkl::session::{Credentials, Session, SessionError};
use bkl::store::Snapshot;
use libtest_mimic::Trial;
use tempfile::TempDir;

use server::Server;

pub(crate) fn trials() -> Vec<Trial> {
    [
        http::trials(),
        git::trials(),
        agents::trials(),
        blobs::trials(),
        images::trials(),
        keys::trials(),
        local::trials(),
        shared::trials(),
        signatures::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A server, a store, and what a session gives.
struct Bench {
    dir: TempDir,
    server: Server,
    given: Given,
}

#[derive(Clone, Default)]
struct Given {
    secrets: BTreeMap<String, String>,
    dirs: BTreeMap<String, PathBuf>,
    layouts: BTreeMap<String, PathBuf>,
    agent: Option<PathBuf>,
    known_hosts: String,
    /// Whether registries know us, as `me` with the password `secret`.
    login: bool,
}

impl Session for Given {
    fn local_dir(&self, name: &str) -> Option<PathBuf> {
        self.dirs.get(name).cloned()
    }

    fn oci_layout(&self, store: &str) -> Option<PathBuf> {
        self.layouts.get(store).cloned()
    }

    fn credentials(&self, _registry: &str) -> Result<Option<Credentials>, SessionError> {
        let login = Credentials::Basic { user: "me".to_owned(), password: "secret".to_owned() };
        Ok(Some(login).filter(|_| self.login))
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        Ok(self.secrets.get(id).map(|it| it.as_bytes().to_vec()))
    }

    fn ssh_agent(&self, _id: &str) -> Result<Option<PathBuf>, SessionError> {
        Ok(self.agent.clone())
    }

    fn known_hosts(&self) -> String {
        self.known_hosts.clone()
    }
}

impl Bench {
    fn new() -> Bench {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        let www = dir.path().join("www");
        fs::create_dir(&www).unwrap();
        Bench { server: Server::start(&www), dir, given: Given::default() }
    }

    fn www(&self) -> PathBuf {
        self.dir.path().join("www")
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/{rest}", self.server.url)
    }

    /// The object that a name stands for in a repository of the server.
    fn git_id(&self, repository: &str, name: &str) -> String {
        server::Repository { path: self.www().join(repository) }.git(&["rev-parse", name])
    }

    /// Whether the server answers.
    fn up(&self, is_up: bool) {
        let _ = fs::remove_file(self.www().join("down"));
        if !is_up {
            fs::write(self.www().join("down"), "").unwrap();
        }
    }

    /// What a new process would open.
    fn engine(&self) -> Engine {
        let runner =
            HelperRunner::with_program(RunnerKind::Direct, Path::new(env!("CARGO_BIN_EXE_bkl"))).unwrap();
        let retry =
            RetryPolicy { first_delay: std::time::Duration::from_millis(10), ..RetryPolicy::STANDARD };
        let registry = RegistryOptions { retry, ..RegistryOptions::default() };
        let config = EngineConfig { runner: Some(Arc::new(runner)), registry, ..EngineConfig::default() };
        Engine::open(&self.dir.path().join("store"), config).unwrap()
    }

    fn solve(&self, make: impl FnOnce(&mut Graph) -> Edge) -> Result<Tree, SolveError> {
        let mut graph = Graph::new();
        let root = make(&mut graph);
        let engine = self.engine();
        let session = Arc::new(self.given.clone());
        let request = SolveRequest::new(&graph, vec![root], session, crate::test_program());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let solved = runtime.block_on(engine.solve(request))?;
        let view = engine.store().view(&solved.roots[0]).unwrap();
        Ok(Tree {
            snapshot: solved.roots[0].clone(),
            n_fetched: solved.stats.n_fetched,
            view,
            _engine: engine,
        })
    }

    fn built(&self, make: impl FnOnce(&mut Graph) -> Edge) -> Tree {
        self.solve(make).unwrap_or_else(|error| panic!("{}", said(&error)))
    }

    #[track_caller]
    fn fails(&self, make: impl FnOnce(&mut Graph) -> Edge, expected: &str) {
        match self.solve(make) {
            Ok(_) => panic!("it should fail with: {expected}"),
            Err(error) => assert!(said(&error).contains(expected), "{}", said(&error)),
        }
    }
}

/// The message with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A tree that was built, mounted.
struct Tree {
    snapshot: Snapshot,
    n_fetched: usize,
    view: OwnedFd,
    _engine: Engine,
}

impl Tree {
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{path}", self.view.as_raw_fd()))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Names at its root, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path(".")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
