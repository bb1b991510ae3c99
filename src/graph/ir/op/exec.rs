//! Commands.

use serde::{Deserialize, Serialize};

use super::InputIdx;

/// Runs a command in a tree (`pb.ExecOp` with its `Meta`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecOp {
    /// The words of the command; never empty in a valid graph.
    pub args: Vec<String>,
    /// `K=V` in order; a later value of a key wins.
    pub env: Vec<String>,
    /// Working directory, verbatim.
    pub cwd: String,
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// Proxy variables of the client.
    pub proxy_env: Option<ProxyEnv>,
    /// Lines of /etc/hosts.
    pub extra_hosts: Vec<HostIp>,
    /// Empty is the engine's default.
    pub hostname: String,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Parent of the command's cgroup; empty is the engine's default.
    pub cgroup_parent: String,
    /// Remove mount points, with missing parents, that only exist because of mounts.
    pub remove_mount_stubs_recursive: bool,
    /// Exit codes that are success; empty means 0.
    pub valid_exit_codes: Vec<i32>,
    /// What is mounted where, in wire order: sorted by target, then secrets, then agents.
    pub mounts: Vec<Mount>,
    /// Network of the command.
    pub network: NetMode,
    /// Confinement of the command.
    pub security: SecurityMode,
    /// Secrets given as environment variables.
    pub secret_env: Vec<SecretEnv>,
    /// Devices.
    pub cdi_devices: Vec<CdiDevice>,
}

/// Proxy variables (`pb.ProxyEnv`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is the environment variable of its name")]
#[serde(default, deny_unknown_fields)]
pub struct ProxyEnv {
    pub http_proxy: String,
    pub https_proxy: String,
    pub ftp_proxy: String,
    pub no_proxy: String,
    pub all_proxy: String,
}

/// A line of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostIp {
    /// Name.
    pub host: String,
    /// Address as text.
    pub ip: String,
}

/// A resource limit, `nofile` with its soft and hard value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see the type")]
#[serde(default, deny_unknown_fields)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// A secret in the environment of a command (`pb.SecretEnv`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretEnv {
    /// Which secret.
    pub id: String,
    /// Which variable.
    pub name: String,
    /// Missing is no error: the variable is empty.
    pub optional: bool,
}

/// A device by its CDI name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see the type")]
#[serde(default, deny_unknown_fields)]
pub struct CdiDevice {
    pub name: String,
    pub optional: bool,
}

/// `pb.NetMode`. UNSET on the wire is the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in pb")]
#[serde(rename_all = "snake_case")]
pub enum NetMode {
    #[default]
    Sandbox,
    Host,
    None,
}

/// `pb.SecurityMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in pb")]
#[serde(rename_all = "snake_case")]
pub enum SecurityMode {
    #[default]
    Sandbox,
    Insecure,
}

/// `pb.CacheSharingOpt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Any number of commands at once.
    #[default]
    Shared,
    /// A directory of its own for each concurrent command.
    Private,
    /// One command at a time.
    Locked,
}

/// `pb.MountContentCache`: whether a content digest of the input may be the cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in pb")]
#[serde(rename_all = "snake_case")]
pub enum ContentCache {
    #[default]
    Default,
    On,
    Off,
}

/// One mount (`pb.Mount`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mount {
    /// What is mounted; `None` is nothing (-1): an empty tree for binds.
    pub input: Option<InputIdx>,
    /// Path inside the input; empty is all of it.
    pub selector: String,
    /// Where; verbatim. `/` is the root.
    pub dest: String,
    /// Output index as written; `None` is -1. Secrets and agents carry `Some(0)` on the wire without having an output: see
    /// [`leaves`](Mount::leaves).
    pub output: Option<u32>,
    /// Mounted read-only.
    pub readonly: bool,
    /// What kind of mount.
    pub kind: MountKind,
    /// Only for gateway containers; kept verbatim.
    pub result_id: String,
    /// Content-based caching.
    pub content_cache: ContentCache,
}

/// `pb.MountType` with its options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A tree.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache {
        /// Name across builds.
        id: String,
        /// Who may use it at the same time.
        sharing: Sharing,
    },
    /// Memory; `None` when the options message is absent, size 0 is unlimited.
    Tmpfs {
        /// Bytes.
        size: Option<i64>,
    },
    /// A secret as a file.
    Secret(FileSecret),
    /// The agent's socket.
    Ssh(FileSecret),
}

/// Options of a secret file or an agent socket (`pb.SecretOpt`, `pb.SSHOpt`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see the type")]
#[serde(default, deny_unknown_fields)]
pub struct FileSecret {
    pub id: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub optional: bool,
}

impl ExecOp {
    /// The mount of the root file system, if there is one (a valid op has it).
    pub fn root(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.dest == "/")
    }

    /// Number of outputs.
    pub fn n_outputs(&self) -> usize {
        self.mounts.iter().filter(|mount| mount.leaves().is_some()).count()
    }
}

impl Mount {
    /// The output that the mount leaves something as: trees do, and caches leave what they were begun from.
    pub fn leaves(&self) -> Option<u32> {
        match self.kind {
            MountKind::Bind => self.output,
            MountKind::Cache { .. } => self.output.filter(|_| self.input.is_some()),
            MountKind::Tmpfs { .. } | MountKind::Secret(_) | MountKind::Ssh(_) => None,
        }
    }
}
