//! What to run and how it ended.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::entitlement::{Granted, HostNetwork, Insecure, NamedDevices};

/// One command with everything it can see.
///
/// Texts are as in the op; [`Runner`](super::Runner) resolves them inside the tree.
#[derive(Debug)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in the command's own `PATH`, inside the tree.
    pub args: Vec<String>,
    /// `K=V` in order; of equal keys the last counts; entries without `=` are dropped. `PATH` and `HOME` are added
    /// when missing.
    pub env: Vec<String>,
    /// Working directory; created when missing, with the user as owner. Empty is `/`.
    pub cwd: String,
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// Empty is `buildkitsandbox`.
    pub hostname: String,
    /// Further lines of /etc/hosts.
    pub extra_hosts: Vec<HostLine>,
    /// What the command can reach.
    pub network: Network,
    /// Whether the command is confined at all.
    pub security: Security,
    /// What the command may do.
    pub profile: Profile,
    /// Whether it is for another machine than this.
    pub emulation: Emulation,
    /// The root: a detached mount (fsmount, or open_tree with OPEN_TREE_CLONE), writable even if `root_access` is not:
    /// mount points are made in it. It is attached in the helper and cannot be attached again.
    pub root: OwnedFd,
    /// Whether the command may write to the root.
    pub root_access: Access,
    /// What else is mounted, in any order; of equal destinations the last counts.
    pub mounts: Vec<ExecMount>,
    /// What it gets besides the usual devices.
    pub devices: Option<MoreDevices>,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Limits of the cgroup.
    pub limits: Limits,
    /// Path of the cgroup in which the command's own is made, from the top of each hierarchy; empty is the top. Missing
    /// ones are made, and stay, as with runc.
    pub cgroup_parent: String,
    /// How much of a mount point that was made for a mount goes afterwards.
    pub stub_parents: StubParents,
    /// The terminal that the command's streams are, instead of nothing and the log: it becomes the controlling one.
    pub terminal: Option<OwnedFd>,
}

/// How the machine runs a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emulation {
    /// The kernel does: it is the machine's own, or an interpreter for it is registered.
    Kernel,
    /// Through a static program of the host, which is given the whole command as its arguments and is seen, read-only, as
    /// `/dev/.buildkit_qemu_emulator`.
    Program {
        /// Where it is: trusted, and executable for everybody.
        path: PathBuf,
        /// What it is called, for people.
        name: String,
    },
    /// It is for another machine, and there is no emulator: the kernel is asked to run it all the same.
    Missing {
        /// What it is for.
        platform: String,
        /// What the emulator is called.
        name: String,
    },
}

/// What a command may do to the kernel it shares with the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// As with BuildKit and Docker: what Dockerfiles and LLB from elsewhere count on.
    #[default]
    Compat,
    /// Five capabilities fewer, no new privileges (sudo and the like do not work), fewer system calls and socket families,
    /// no /sys/fs/cgroup.
    Strict,
}

/// A line of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLine {
    /// Name.
    pub host: String,
    /// Its address.
    pub ip: IpAddr,
}

/// What a command can reach.
#[derive(Debug, Clone, Copy)]
pub enum Network {
    /// What the runner was told that the sandbox is ([`SandboxNetwork`](super::SandboxNetwork)): by default a network of the
    /// command's own, from which it can reach the outside but not the host's loopback.
    Sandbox,
    /// The host's network.
    Host(Granted<HostNetwork>),
    /// A loopback of its own.
    None,
}

/// Whether a command is confined.
#[derive(Debug, Clone, Copy)]
pub enum Security {
    /// By capabilities, a filter of system calls, hidden and read-only kernel files, and few devices.
    Sandbox,
    /// By nothing but its namespaces: all capabilities of the engine, all devices, no filter, kernel files writable. Such a
    /// command can do to the host what it likes.
    Insecure(Granted<Insecure>),
}

/// Whether something may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see the type")]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// What becomes of directories that were missing above a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StubParents {
    /// Only the mount point itself is removed; its new parents stay in the tree (LLB's default).
    Keep,
    /// Missing parents are removed too, while they are empty.
    Remove,
}

/// One mount besides the root.
#[derive(Debug)]
pub struct ExecMount {
    /// Where: absolute, or relative to the working directory. `/dev`, `/proc`, `/sys` and what lies below them is
    /// refused.
    pub dest: String,
    /// What.
    pub source: MountSource,
    /// Whether the command may write to it.
    pub access: Access,
}

/// What is mounted.
#[derive(Debug)]
pub enum MountSource {
    /// A tree, or a directory or file in it.
    Tree {
        /// A detached mount, as [`ExecSpec::root`].
        fd: OwnedFd,
        /// Path in the tree, resolved inside it; empty or `/` is all of it.
        selector: String,
    },
    /// A directory of the host, shared with other commands (a cache).
    Dir {
        /// Absolute path, trusted.
        path: PathBuf,
        /// Path below it, resolved inside it; empty or `/` is all of it.
        selector: String,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; `None` and 0 are the kernel's default (half of memory).
        size: Option<u64>,
    },
    /// A file with these bytes, in memory only.
    File {
        /// Content.
        bytes: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
}

/// Devices that a command may open besides the usual ones.
#[derive(Debug, Clone)]
pub struct MoreDevices {
    /// That it may.
    pub granted: Granted<NamedDevices>,
    /// Their nodes.
    pub nodes: Vec<NewNode>,
    /// Further groups of the process.
    pub groups: Vec<u32>,
}

/// A device node in a command's /dev.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNode {
    /// Path below /dev.
    pub path: String,
    /// What it is.
    pub kind: NodeKind,
    /// Number of its driver.
    pub major: u32,
    /// Number of the device.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner; `None` is the command's user.
    pub uid: Option<u32>,
    /// Group; `None` is that of the command's user.
    pub gid: Option<u32>,
    /// Whether it may be opened for reading.
    pub reads: bool,
    /// Whether it may be opened for writing.
    pub writes: bool,
}

/// Which table of drivers its numbers belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see the type")]
pub enum NodeKind {
    Character,
    Block,
}

/// A resource limit of the process: `nofile` with its soft and hard value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see the type")]
pub struct Ulimit {
    pub name: String,
    /// -1 is no limit.
    pub soft: i64,
    /// -1 is no limit.
    pub hard: i64,
}

/// Limits of the cgroup; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// Relative weight.
    pub cpu_shares: Option<u64>,
    /// Microseconds of each period.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// CPUs as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes as `0-2,4`.
    pub cpuset_mems: Option<String>,
    /// Processes.
    pub pids: Option<i64>,
}

/// Which output of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "see the type")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit code; 128 + n after signal n; 127 when the program was not found, 126 when it could not be run.
    pub code: i32,
    /// What there is to say beyond the code, for a message: the program was not found, memory ran out.
    pub reason: Option<String>,
    /// What was asked for and could only be had in part: limits above what the machine allows.
    pub warnings: Vec<String>,
    /// What is so with every command on this machine, to be told once per build.
    pub notices: Vec<String>,
}
