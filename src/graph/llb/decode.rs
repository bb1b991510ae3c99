//! A protobuf message as an op: closed enums, checked indexes.
#![deny(clippy::indexing_slicing)]

use crate::base::Platform;
use crate::graph::ir::{
    BuildOp, CdiDevice, Chown, ContentCache, DiffOp, ExecOp, FileAction, FileActionOp, FileCopy, FileInput,
    FileMkdir, FileMkfile, FileOp, FileRm, FileSecret, FileSymlink, HostIp, InputIdx, LinuxResources,
    MergeOp, Metadata, Mount, MountKind, NetMode, Op, PassthroughOp, ProgressGroup, ProxyEnv, SecretEnv,
    SecurityMode, Sharing, SourceOp, Ulimit, User,
};
use crate::graph::llb::pb;

/// What is wrong with one op; reads after "op N: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The bytes are not the message they should be.
    #[error("not a protobuf message: {0}")]
    Protobuf(String),
    /// Something was lost on reading: fields of a newer LLB, which could change what the op means.
    #[error("it has fields that this version does not know")]
    UnknownFields,
    /// More of something than there may be.
    #[error("there are more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// It asks for something that only a later version can do.
    #[error("it needs the capability `{0}`, which this version does not know")]
    Capability(String),
    /// An enum value that LLB does not have.
    #[error("{value} is no {what}")]
    Enum {
        /// Name of the enum.
        what: &'static str,
        /// The number.
        value: i32,
    },
    /// An index that refers to nothing.
    #[error("{what} is {value}, but there are {n}")]
    Index {
        /// What the index is.
        what: &'static str,
        /// The number.
        value: i64,
        /// How many there are to refer to.
        n: usize,
    },
    /// A message that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The options of a mount do not belong to its type.
    #[error("the mount at `{0}` has the options of another kind of mount")]
    MountOptions(String),
    /// A key that stands twice in a map.
    #[error("the key `{0}` stands twice")]
    RepeatedKey(String),
}

type Result<T> = std::result::Result<T, OpError>;

/// The op of `kind`; `n_inputs` is the number of inputs its indexes may refer to.
pub(crate) fn op(kind: pb::OpKind, n_inputs: usize) -> Result<Op> {
    Ok(match kind {
        pb::OpKind::Source(source) => {
            Op::Source(Box::new(SourceOp { identifier: source.identifier, attrs: str_map(source.attrs)? }))
        }
        pb::OpKind::Exec(op) => Op::Exec(Box::new(exec(*op, n_inputs)?)),
        pb::OpKind::File(op) => Op::File(file(op, n_inputs)?),
        pb::OpKind::Merge(op) => {
            let inputs = op.inputs.iter().map(|it| optional_index("merge input", it.input, n_inputs));
            Op::Merge(MergeOp { inputs: inputs.collect::<Result<_>>()? })
        }
        pb::OpKind::Diff(op) => {
            let side = |side: Option<pb::DiffInput>, what| {
                optional_index(what, side.ok_or(OpError::Missing(what))?.input, n_inputs)
            };
            Op::Diff(DiffOp { lower: side(op.lower, "lower input")?, upper: side(op.upper, "upper input")? })
        }
        pb::OpKind::Passthrough(op) => {
            let outputs = op.outputs.iter().map(|&input| index("passthrough output", input, n_inputs));
            let outputs = outputs.collect::<Result<_>>()?;
            Op::Passthrough(PassthroughOp { id: op.id, outputs }.into())
        }
        pb::OpKind::Build(op) => {
            let mut inputs = std::collections::BTreeMap::new();
            for entry in op.inputs {
                let (key, value) = (entry.key.unwrap_or_default(), entry.value.unwrap_or_default());
                index("build input", value.input, n_inputs)?;
                if inputs.insert(key.clone(), value.input).is_some() {
                    return Err(OpError::RepeatedKey(key));
                }
            }
            // -1 is the LLB builder, everything else an input.
            if op.builder != -1 {
                index("builder", op.builder, n_inputs)?;
            }
            let attrs = str_map(op.attrs)?;
            Op::Build(Box::new(BuildOp { inputs, attrs, definition: op.def, builder: op.builder }))
        }
    })
}

fn str_map(entries: Vec<pb::StrEntry>) -> Result<std::collections::BTreeMap<String, String>> {
    let mut map = std::collections::BTreeMap::new();
    for entry in entries {
        let key = entry.key.unwrap_or_default();
        if map.insert(key.clone(), entry.value.unwrap_or_default()).is_some() {
            return Err(OpError::RepeatedKey(key));
        }
    }
    Ok(map)
}

fn index(what: &'static str, value: i64, n: usize) -> Result<InputIdx> {
    match InputIdx::try_from(value) {
        Ok(index) if (index as usize) < n => Ok(index),
        _ => Err(OpError::Index { what, value, n }),
    }
}

fn optional_index(what: &'static str, value: i64, n: usize) -> Result<Option<InputIdx>> {
    if value == -1 { Ok(None) } else { index(what, value, n).map(Some) }
}

/// An output index: -1 or small. That the outputs of an op are contiguous is `ir::verify`'s business.
fn output(value: i64, n: usize) -> Result<Option<u32>> {
    optional_index("output", value, n)
}

fn exec(op: pb::ExecOp, n_inputs: usize) -> Result<ExecOp> {
    let meta = op.meta.ok_or(OpError::Missing("meta"))?;
    let n_mounts = op.mounts.len();
    let mounts = op.mounts.into_iter().map(|it| mount(it, n_inputs, n_mounts)).collect::<Result<_>>()?;
    Ok(ExecOp {
        args: meta.args,
        env: meta.env,
        cwd: meta.cwd,
        user: meta.user,
        proxy_env: meta.proxy_env.map(|proxy| ProxyEnv {
            http_proxy: proxy.http_proxy,
            https_proxy: proxy.https_proxy,
            ftp_proxy: proxy.ftp_proxy,
            no_proxy: proxy.no_proxy,
            all_proxy: proxy.all_proxy,
        }),
        extra_hosts: meta.extra_hosts.into_iter().map(|it| HostIp { host: it.host, ip: it.ip }).collect(),
        hostname: meta.hostname,
        ulimits: meta
            .ulimit
            .into_iter()
            .map(|it| Ulimit { name: it.name, soft: it.soft, hard: it.hard })
            .collect(),
        cgroup_parent: meta.cgroup_parent,
        remove_mount_stubs_recursive: meta.remove_mount_stubs_recursive,
        valid_exit_codes: meta.valid_exit_codes,
        mounts,
        network: match op.network {
            0 => NetMode::Sandbox,
            1 => NetMode::Host,
            2 => NetMode::None,
            value => return Err(OpError::Enum { what: "network mode", value }),
        },
        security: match op.security {
            0 => SecurityMode::Sandbox,
            1 => SecurityMode::Insecure,
            value => return Err(OpError::Enum { what: "security mode", value }),
        },
        secret_env: op
            .secretenv
            .into_iter()
            .map(|it| SecretEnv { id: it.id, name: it.name, optional: it.optional })
            .collect(),
        cdi_devices: op
            .cdi_devices
            .into_iter()
            .map(|it| CdiDevice { name: it.name, optional: it.optional })
            .collect(),
    })
}

fn mount(mount: pb::Mount, n_inputs: usize, n_mounts: usize) -> Result<Mount> {
    let credential = |it: pb::CredentialOpt| FileSecret {
        id: it.id,
        uid: it.uid,
        gid: it.gid,
        mode: it.mode,
        optional: it.optional,
    };
    // A mount has the options of its own type and no others: a mount that says two things could be taken for either.
    let options = (mount.tmpfs_opt, mount.cache_opt, mount.secret_opt, mount.ssh_opt);
    let kind = match (mount.mount_type, options) {
        (0, (None, None, None, None)) => MountKind::Bind,
        (1, (None, None, Some(secret), None)) => MountKind::Secret(credential(secret)),
        (2, (None, None, None, Some(agent))) => MountKind::Ssh(credential(agent)),
        (3, (None, Some(cache), None, None)) => {
            let sharing = match cache.sharing {
                0 => Sharing::Shared,
                1 => Sharing::Private,
                2 => Sharing::Locked,
                value => return Err(OpError::Enum { what: "cache sharing mode", value }),
            };
            MountKind::Cache { id: cache.id, sharing }
        }
        (4, (tmpfs, None, None, None)) => MountKind::Tmpfs { size: tmpfs.map(|it| it.size) },
        (0..=4, _) => return Err(OpError::MountOptions(mount.dest)),
        (value, _) => return Err(OpError::Enum { what: "mount type", value }),
    };
    Ok(Mount {
        input: optional_index("mount input", mount.input, n_inputs)?,
        selector: mount.selector,
        dest: mount.dest,
        output: output(mount.output, n_mounts)?,
        readonly: mount.readonly,
        kind,
        result_id: mount.result_id,
        content_cache: match mount.content_cache {
            0 => ContentCache::Default,
            1 => ContentCache::On,
            2 => ContentCache::Off,
            value => return Err(OpError::Enum { what: "content cache mode", value }),
        },
    })
}

/// What the indexes of a file action may refer to: the inputs, then the actions before it.
#[derive(Clone, Copy)]
struct FileScope {
    n_inputs: usize,
    n_actions: usize,
}

impl FileScope {
    fn input(self, what: &'static str, value: i64) -> Result<FileInput> {
        let n = self.n_inputs + self.n_actions;
        Ok(match optional_index(what, value, n)? {
            None => FileInput::Scratch,
            Some(input) if (input as usize) < self.n_inputs => FileInput::Input(input),
            Some(action) => FileInput::Action(action - self.n_inputs as u32),
        })
    }
}

fn file(op: pb::FileOp, n_inputs: usize) -> Result<FileOp> {
    let n_all = op.actions.len();
    let actions = op.actions.into_iter().enumerate().map(|(n_actions, action)| {
        let scope = FileScope { n_inputs, n_actions };
        Ok(FileAction {
            input: scope.input("action input", action.input)?,
            secondary: scope.input("secondary input", action.secondary_input)?,
            output: output(action.output, n_all)?,
            op: file_action(action.action.ok_or(OpError::Missing("action"))?, scope)?,
        })
    });
    // Collected, they would be kept where the larger messages were.
    let mut kept = Vec::with_capacity(n_all);
    for action in actions {
        kept.push(action?);
    }
    Ok(FileOp { actions: kept })
}

fn file_action(kind: pb::FileActionKind, scope: FileScope) -> Result<FileActionOp> {
    let owner =
        |owner: Option<pb::ChownOpt>| owner.map(|owner| chown(owner, scope).map(Box::new)).transpose();
    Ok(match kind {
        pb::FileActionKind::Copy(copy) => FileActionOp::Copy(Box::new(FileCopy {
            src: copy.src,
            dest: copy.dest,
            owner: owner(copy.owner)?,
            mode: copy.mode,
            mode_str: copy.mode_str,
            follow_symlink: copy.follow_symlink,
            dir_copy_contents: copy.dir_copy_contents,
            attempt_unpack: copy.attempt_unpack_docker_compatibility,
            create_dest_path: copy.create_dest_path,
            allow_wildcard: copy.allow_wildcard,
            allow_empty_wildcard: copy.allow_empty_wildcard,
            timestamp: copy.timestamp,
            include_patterns: copy.include_patterns,
            exclude_patterns: copy.exclude_patterns,
            always_replace_existing: copy.always_replace_existing_dest_paths,
            required_paths: copy.required_paths,
        })),
        pb::FileActionKind::Mkfile(mkfile) => FileActionOp::Mkfile(FileMkfile {
            path: mkfile.path,
            mode: mkfile.mode,
            data: mkfile.data,
            owner: owner(mkfile.owner)?,
            timestamp: mkfile.timestamp,
        }),
        pb::FileActionKind::Mkdir(mkdir) => FileActionOp::Mkdir(FileMkdir {
            path: mkdir.path,
            mode: mkdir.mode,
            make_parents: mkdir.make_parents,
            owner: owner(mkdir.owner)?,
            timestamp: mkdir.timestamp,
        }),
        pb::FileActionKind::Rm(rm) => FileActionOp::Rm(FileRm {
            path: rm.path,
            allow_not_found: rm.allow_not_found,
            allow_wildcard: rm.allow_wildcard,
        }),
        pb::FileActionKind::Symlink(symlink) => FileActionOp::Symlink(FileSymlink {
            oldpath: symlink.oldpath,
            newpath: symlink.newpath,
            owner: owner(symlink.owner)?,
            timestamp: symlink.timestamp,
        }),
    })
}

fn chown(chown: pb::ChownOpt, scope: FileScope) -> Result<Chown> {
    let user = |user: Option<pb::UserOpt>| {
        let Some(user) = user else { return Ok(None) };
        Ok(Some(match user.user.ok_or(OpError::Missing("user"))? {
            pb::UserKind::ByName(named) => {
                User::Name { name: named.name, input: scope.input("user input", named.input)? }
            }
            pb::UserKind::ById(id) => User::Id(id),
        }))
    };
    Ok(Chown { user: user(chown.user)?, group: user(chown.group)? })
}

/// The platform of a message.
pub(crate) fn platform(platform: pb::Platform) -> Platform {
    Platform {
        os: platform.os,
        arch: platform.architecture,
        variant: platform.variant,
        os_version: platform.os_version,
        os_features: platform.os_features,
    }
}

/// What a message says about an op. Capabilities that are named and denied are left out: they ask for nothing.
pub(crate) fn metadata(metadata: pb::OpMetadata) -> Metadata {
    let group = |it: pb::ProgressGroup| ProgressGroup { id: it.id, name: it.name, weak: it.weak };
    let resources = |it: pb::LinuxResources| LinuxResources {
        memory: it.memory,
        memory_swap: it.memory_swap,
        cpu_shares: it.cpu_shares,
        cpu_period: it.cpu_period,
        cpu_quota: it.cpu_quota,
        cpuset_cpus: it.cpuset_cpus,
        cpuset_mems: it.cpuset_mems,
    };
    Metadata {
        ignore_cache: metadata.ignore_cache,
        description: metadata
            .description
            .into_iter()
            .map(|entry| (entry.key.unwrap_or_default(), entry.value.unwrap_or_default()))
            .collect(),
        export_cache: metadata.export_cache.map(|it| it.value),
        caps: metadata
            .caps
            .into_iter()
            .filter(|entry| entry.value == Some(true))
            .map(|entry| entry.key.unwrap_or_default())
            .collect(),
        progress_group: metadata.progress_group.map(group),
        linux_resources: metadata.linux_resources.map(resources),
    }
}
