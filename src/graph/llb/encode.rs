//! An op as its protobuf message.

use crate::base::Platform;
use crate::graph::ir::{
    Chown, ContentCache, ExecOp, FileAction, FileActionOp, FileInput, FileOp, FileSecret, InputIdx,
    LinuxResources, Location, Metadata, Mount, MountKind, NetMode, Op, SecurityMode, Sharing, User,
};
use crate::graph::llb::pb;

/// What -1 means as an input or output index.
const NOTHING: i64 = -1;

/// Where an op's inputs ended up on the wire: equal ones are united there (llb reference 2.4, 2.5).
pub(crate) struct WireInputs<'a> {
    /// For each of the vertex's inputs, its wire index; `None` when nothing was united.
    pub(crate) remap: Option<&'a [InputIdx]>,
    /// Number of inputs on the wire.
    pub(crate) n_inputs: usize,
}

impl WireInputs<'_> {
    fn index(&self, input: InputIdx) -> i64 {
        match self.remap {
            Some(remap) => i64::from(remap[input as usize]),
            None => i64::from(input),
        }
    }

    fn optional(&self, input: Option<InputIdx>) -> i64 {
        input.map_or(NOTHING, |input| self.index(input))
    }

    fn file(&self, input: FileInput) -> i64 {
        match input {
            FileInput::Scratch => NOTHING,
            FileInput::Input(input) => self.index(input),
            FileInput::Action(action) => self.n_inputs as i64 + i64::from(action),
        }
    }
}

/// The message of `op`.
pub(crate) fn op(op: &Op, inputs: &WireInputs<'_>) -> pb::OpKind {
    match op {
        Op::Source(source) => pb::OpKind::Source(pb::SourceOp {
            identifier: source.identifier.clone(),
            attrs: source.attrs.iter().map(|(key, value)| pb::StrEntry::new(key, value)).collect(),
        }),
        Op::Exec(op) => pb::OpKind::Exec(Box::new(exec(op, inputs))),
        Op::File(op) => pb::OpKind::File(file(op, inputs)),
        Op::Merge(merge) => {
            let input = |input: &Option<InputIdx>| pb::MergeInput { input: inputs.optional(*input) };
            pb::OpKind::Merge(pb::MergeOp { inputs: merge.inputs.iter().map(input).collect() })
        }
        Op::Diff(diff) => pb::OpKind::Diff(pb::DiffOp {
            lower: Some(pb::DiffInput { input: inputs.optional(diff.lower) }),
            upper: Some(pb::DiffInput { input: inputs.optional(diff.upper) }),
        }),
        Op::Passthrough(op) => pb::OpKind::Passthrough(pb::PassthroughOp {
            id: op.id.clone(),
            outputs: op.outputs.iter().map(|&input| inputs.index(input)).collect(),
        }),
        Op::Build(build) => {
            let input = |(key, &input): (&String, &i64)| pb::BuildInputEntry {
                key: Some(key.clone()),
                value: Some(pb::BuildInput { input }),
            };
            pb::OpKind::Build(pb::BuildOp {
                builder: build.builder,
                inputs: build.inputs.iter().map(input).collect(),
                def: build.definition.clone(),
                attrs: build.attrs.iter().map(|(key, value)| pb::StrEntry::new(key, value)).collect(),
            })
        }
    }
}

/// The message of a command.
pub(crate) fn exec(op: &ExecOp, inputs: &WireInputs<'_>) -> pb::ExecOp {
    let proxy = |proxy: &crate::graph::ir::ProxyEnv| pb::ProxyEnv {
        http_proxy: proxy.http_proxy.clone(),
        https_proxy: proxy.https_proxy.clone(),
        ftp_proxy: proxy.ftp_proxy.clone(),
        no_proxy: proxy.no_proxy.clone(),
        all_proxy: proxy.all_proxy.clone(),
    };
    let meta = pb::Meta {
        args: op.args.clone(),
        env: op.env.clone(),
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        proxy_env: op.proxy_env.as_ref().map(proxy),
        extra_hosts: op
            .extra_hosts
            .iter()
            .map(|line| pb::HostIp { host: line.host.clone(), ip: line.ip.clone() })
            .collect(),
        hostname: op.hostname.clone(),
        ulimit: op
            .ulimits
            .iter()
            .map(|limit| pb::Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        cgroup_parent: op.cgroup_parent.clone(),
        remove_mount_stubs_recursive: op.remove_mount_stubs_recursive,
        valid_exit_codes: op.valid_exit_codes.clone(),
    };
    pb::ExecOp {
        meta: Some(meta),
        mounts: op.mounts.iter().map(|it| mount(it, inputs)).collect(),
        network: match op.network {
            NetMode::Sandbox => 0,
            NetMode::Host => 1,
            NetMode::None => 2,
        },
        security: match op.security {
            SecurityMode::Sandbox => 0,
            SecurityMode::Insecure => 1,
        },
        secretenv: op
            .secret_env
            .iter()
            .map(|it| pb::SecretEnv { id: it.id.clone(), name: it.name.clone(), optional: it.optional })
            .collect(),
        cdi_devices: op
            .cdi_devices
            .iter()
            .map(|it| pb::CdiDevice { name: it.name.clone(), optional: it.optional })
            .collect(),
    }
}

fn mount(mount: &Mount, inputs: &WireInputs<'_>) -> pb::Mount {
    let mut wire = pb::Mount {
        input: inputs.optional(mount.input),
        selector: mount.selector.clone(),
        dest: mount.dest.clone(),
        output: mount.output.map_or(NOTHING, i64::from),
        readonly: mount.readonly,
        result_id: mount.result_id.clone(),
        content_cache: match mount.content_cache {
            ContentCache::Default => 0,
            ContentCache::On => 1,
            ContentCache::Off => 2,
        },
        ..pb::Mount::default()
    };
    let credential = |secret: &FileSecret| {
        Some(pb::CredentialOpt {
            id: secret.id.clone(),
            uid: secret.uid,
            gid: secret.gid,
            mode: secret.mode,
            optional: secret.optional,
        })
    };
    match &mount.kind {
        MountKind::Bind => {}
        MountKind::Secret(secret) => {
            wire.mount_type = 1;
            wire.secret_opt = credential(secret);
        }
        MountKind::Ssh(agent) => {
            wire.mount_type = 2;
            wire.ssh_opt = credential(agent);
        }
        MountKind::Cache { id, sharing } => {
            wire.mount_type = 3;
            let sharing = match sharing {
                Sharing::Shared => 0,
                Sharing::Private => 1,
                Sharing::Locked => 2,
            };
            wire.cache_opt = Some(pb::CacheOpt { id: id.clone(), sharing });
        }
        MountKind::Tmpfs { size } => {
            wire.mount_type = 4;
            wire.tmpfs_opt = size.map(|size| pb::TmpfsOpt { size });
        }
    }
    wire
}

fn file(op: &FileOp, inputs: &WireInputs<'_>) -> pb::FileOp {
    pb::FileOp { actions: op.actions.iter().map(|it| file_action(it, inputs)).collect() }
}

/// The message of one action.
pub(crate) fn file_action(action: &FileAction, inputs: &WireInputs<'_>) -> pb::FileAction {
    let owner = |owner: &Option<Box<Chown>>| owner.as_ref().map(|owner| chown(owner, inputs));
    let kind = match &action.op {
        FileActionOp::Copy(copy) => pb::FileActionKind::Copy(Box::new(pb::FileActionCopy {
            src: copy.src.clone(),
            dest: copy.dest.clone(),
            owner: owner(&copy.owner),
            mode: copy.mode,
            follow_symlink: copy.follow_symlink,
            dir_copy_contents: copy.dir_copy_contents,
            attempt_unpack_docker_compatibility: copy.attempt_unpack,
            create_dest_path: copy.create_dest_path,
            allow_wildcard: copy.allow_wildcard,
            allow_empty_wildcard: copy.allow_empty_wildcard,
            timestamp: copy.timestamp,
            include_patterns: copy.include_patterns.clone(),
            exclude_patterns: copy.exclude_patterns.clone(),
            always_replace_existing_dest_paths: copy.always_replace_existing,
            mode_str: copy.mode_str.clone(),
            required_paths: copy.required_paths.clone(),
        })),
        FileActionOp::Mkfile(mkfile) => pb::FileActionKind::Mkfile(pb::FileActionMkFile {
            path: mkfile.path.clone(),
            mode: mkfile.mode,
            data: mkfile.data.clone(),
            owner: owner(&mkfile.owner),
            timestamp: mkfile.timestamp,
        }),
        FileActionOp::Mkdir(mkdir) => pb::FileActionKind::Mkdir(pb::FileActionMkDir {
            path: mkdir.path.clone(),
            mode: mkdir.mode,
            make_parents: mkdir.make_parents,
            owner: owner(&mkdir.owner),
            timestamp: mkdir.timestamp,
        }),
        FileActionOp::Rm(rm) => pb::FileActionKind::Rm(pb::FileActionRm {
            path: rm.path.clone(),
            allow_not_found: rm.allow_not_found,
            allow_wildcard: rm.allow_wildcard,
        }),
        FileActionOp::Symlink(symlink) => pb::FileActionKind::Symlink(pb::FileActionSymlink {
            oldpath: symlink.oldpath.clone(),
            newpath: symlink.newpath.clone(),
            owner: owner(&symlink.owner),
            timestamp: symlink.timestamp,
        }),
    };
    pb::FileAction {
        input: inputs.file(action.input),
        secondary_input: inputs.file(action.secondary),
        output: action.output.map_or(NOTHING, i64::from),
        action: Some(kind),
    }
}

fn chown(chown: &Chown, inputs: &WireInputs<'_>) -> pb::ChownOpt {
    let user = |user: &User| pb::UserOpt {
        user: Some(match user {
            User::Name { name, input } => {
                pb::UserKind::ByName(pb::NamedUserOpt { name: name.clone(), input: inputs.file(*input) })
            }
            User::Id(id) => pb::UserKind::ById(*id),
        }),
    };
    pb::ChownOpt { user: chown.user.as_ref().map(user), group: chown.group.as_ref().map(user) }
}

/// The message of a platform.
pub(crate) fn platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.arch.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}

/// The message of what is said about an op.
pub(crate) fn metadata(metadata: &Metadata) -> pb::OpMetadata {
    let resources = |it: &LinuxResources| pb::LinuxResources {
        memory: it.memory,
        memory_swap: it.memory_swap,
        cpu_shares: it.cpu_shares,
        cpu_period: it.cpu_period,
        cpu_quota: it.cpu_quota,
        cpuset_cpus: it.cpuset_cpus.clone(),
        cpuset_mems: it.cpuset_mems.clone(),
    };
    pb::OpMetadata {
        ignore_cache: metadata.ignore_cache,
        description: metadata.description.iter().map(|(key, value)| pb::StrEntry::new(key, value)).collect(),
        export_cache: metadata.export_cache.map(|value| pb::ExportCache { value }),
        caps: metadata
            .caps
            .iter()
            .map(|cap| pb::CapEntry { key: Some(cap.clone()), value: Some(true) })
            .collect(),
        progress_group: metadata.progress_group.as_ref().map(|group| pb::ProgressGroup {
            id: group.id.clone(),
            name: group.name.clone(),
            weak: group.weak,
        }),
        linux_resources: metadata.linux_resources.as_ref().map(resources),
    }
}

/// The message of a location; `source_index` is its text's place among the texts that are written.
pub(crate) fn location(location: &Location, source_index: u32) -> pb::Location {
    let position = |(line, character): (i32, i32)| Some(pb::Position { line, character });
    pb::Location {
        source_index: source_index as i32,
        ranges: location
            .ranges
            .iter()
            .map(|range| pb::Range { start: position(range.start), end: position(range.end) })
            .collect(),
    }
}
