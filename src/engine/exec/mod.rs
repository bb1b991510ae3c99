//! Running one command in a prepared tree: what to run, how it ended, and the trait of those who can.
//!
//! A caller mounts trees (detached mounts, as file descriptors), describes the command in an [`ExecSpec`], and
//! afterwards commits the trees it mounted writable. Nothing here knows of the graph, or of the trees of the store.
//!
//! - [`spec`]: what to run and how it ended.
//! - [`error`]: why a command could not be run at all.
//! - `runner`: the runner in this process: starts helpers and talks to them (`wire`).
//! - [`helper`]: the helper: the same program started afresh, which sets containers up and waits for them.
//! - [`rootless`]: how a normal user comes to run commands.
//! - `network`: what the sandbox is connected to: namespaces with a NAT, pooled.
//! - `user`, `netfiles`, `seccomp`, `cgroup`, `tree`, `bpf`, `sys`: what the two need.

mod bpf;
mod cgroup;
pub mod error;
pub mod helper;
mod netfiles;
mod network;
pub mod rootless;
mod runner;
mod seccomp;
pub mod spec;
mod sys;
mod tree;
mod user;
mod wire;

use futures_util::future::BoxFuture;

pub use cgroup::{sweep, sweep_below};
pub use error::RunError;
pub use network::SandboxNetwork;
pub use runner::HelperRunner;
pub use spec::{
    Access, Emulation, ExecMount, ExecSpec, ExitStatus, HostLine, Limits, MoreDevices, MountSource, Network,
    NewNode, NodeKind, Profile, Security, Stream, StubParents, Ulimit,
};

use super::cancel::Cancel;

/// Takes what a command writes.
pub trait LogSink: Send + Sync {
    /// A chunk of `stream` as it was read, of any length above zero, lines not respected.
    ///
    /// Called from async code: must not block for long.
    fn write(&self, stream: Stream, bytes: &[u8]);
}

impl<F: Fn(Stream, &[u8]) + Send + Sync> LogSink for F {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        self(stream, bytes);
    }
}

/// How containers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerKind {
    /// By our own calls of the kernel: the default.
    Direct,
    /// By libcontainer, the library of youki.
    Libcontainer,
}

impl RunnerKind {
    /// All of them, the default first.
    pub const ALL: [RunnerKind; 2] = [RunnerKind::Direct, RunnerKind::Libcontainer];

    /// Its name in `BKL_RUNNER` and everywhere else.
    pub fn name(self) -> &'static str {
        match self {
            RunnerKind::Direct => "direct",
            RunnerKind::Libcontainer => "libcontainer",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<RunnerKind> {
        RunnerKind::ALL.into_iter().find(|it| it.name() == name)
    }

    /// What the variable `BKL_RUNNER` asks for; the default when it is not set or empty.
    ///
    /// # Errors
    /// [`RunError::Environment`] when it names no kind.
    pub fn from_env() -> Result<RunnerKind, RunError> {
        let asked = std::env::var_os("BKL_RUNNER").unwrap_or_default();
        let asked = asked.to_string_lossy();
        if asked.is_empty() {
            return Ok(RunnerKind::Direct);
        }
        RunnerKind::from_name(&asked).ok_or_else(|| RunError::Environment {
            what: format!("there is no runner `{asked}`"),
            help: "set BKL_RUNNER to `direct` or `libcontainer`, or not at all".into(),
        })
    }
}

/// Runs commands, any number at once.
pub trait Runner: Send + Sync {
    /// Runs `spec` to its end.
    ///
    /// `Ok` for every command that was started or could not be found in its tree, whatever its code: which codes are
    /// success is the caller's matter. `Err` when there was no command to speak of: the machine cannot
    /// run it, the tree cannot be set up, or `cancel` was turned on ([`RunError::Cancelled`]). In all cases, also when
    /// the future is dropped, no process, mount or cgroup of the command remains (after a drop: shortly).
    fn run<'a>(
        &'a self,
        spec: ExecSpec,
        log: &'a dyn LogSink,
        cancel: &'a Cancel,
    ) -> BoxFuture<'a, Result<ExitStatus, RunError>>;
}
