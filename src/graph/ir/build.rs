//! Making vertices by the rules of BuildKit's Go client (`client/llb/*.go`), so that equal programs marshal to equal
//! bytes: mount order, input order, output indexes, capabilities.

use super::{
    BuildOp, Chown, DiffOp, Edge, ExecOp, FileAction, FileActionOp, FileCopy, FileInput, FileMkdir,
    FileMkfile, FileOp, FileRm, FileSecret, FileSymlink, Graph, InputIdx, LinuxResources, MergeOp, Mount,
    MountKind, NetMode, Op, PassthroughOp, SecretEnv, SecurityMode, Sharing, Tree, Vertex,
};
use crate::base::Platform;

mod git_url;
mod source;

pub use source::*;

/// A mount to be made by [`ExecBuilder`]. Targets must differ from each other.
#[derive(Debug, Clone, PartialEq)]
pub struct MountSpec {
    /// Where; verbatim, sorted bytewise on the wire.
    pub dest: String,
    /// What is mounted; `None` is the empty tree.
    pub source: Tree,
    /// Path inside the source; empty is all of it.
    pub selector: String,
    /// Mounted read-only; such a mount has no output.
    pub readonly: bool,
    /// Writable, but what is written is thrown away.
    pub no_output: bool,
    /// Bind, cache or tmpfs.
    pub kind: MountKind,
    /// Content-based caching.
    pub content_cache: super::ContentCache,
}

impl MountSpec {
    /// A writable bind mount of `source`, which has an output.
    pub fn bind(dest: impl Into<String>, source: Tree) -> MountSpec {
        MountSpec {
            dest: dest.into(),
            source,
            selector: String::new(),
            readonly: false,
            no_output: false,
            kind: MountKind::Bind,
            content_cache: super::ContentCache::Default,
        }
    }

    /// A read-only bind mount of `source`.
    pub fn readonly(dest: impl Into<String>, source: Tree) -> MountSpec {
        MountSpec { readonly: true, ..MountSpec::bind(dest, source) }
    }

    /// A cache directory that starts as `seed`.
    pub fn cache(dest: impl Into<String>, id: impl Into<String>, sharing: Sharing, seed: Tree) -> MountSpec {
        MountSpec { kind: MountKind::Cache { id: id.into(), sharing }, ..MountSpec::bind(dest, seed) }
    }

    /// Memory; size 0 is unlimited.
    pub fn tmpfs(dest: impl Into<String>, size: i64) -> MountSpec {
        MountSpec { kind: MountKind::Tmpfs { size: Some(size) }, ..MountSpec::bind(dest, None) }
    }

    fn has_output(&self) -> bool {
        !self.no_output && !self.readonly && self.kind == MountKind::Bind
    }
}

/// A secret for a command: as a file, as a variable, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretSpec {
    /// File at `dest`, if any.
    pub file: Option<(String, FileSecret)>,
    /// Variable, if any.
    pub env: Option<SecretEnv>,
}

/// A command being put together; [`Graph::exec`] makes the vertex.
#[derive(Debug, Clone, Default)]
pub struct ExecBuilder {
    /// Args, env, cwd, user and the other fields; `mounts` and `secret_env` are filled in by [`Graph::exec`].
    pub op: ExecOp,
    /// Tree the command runs in.
    pub base: Tree,
    /// The root is mounted read-only: the root result is `base` itself.
    pub readonly_root: bool,
    /// Mounts besides the root.
    pub mounts: Vec<MountSpec>,
    /// Secrets in order.
    pub secrets: Vec<SecretSpec>,
    /// Agent sockets in order: target (empty: `/run/buildkit/ssh_agent.<i>`) and options.
    pub agents: Vec<(String, FileSecret)>,
    /// Platform, when the program fixes one.
    pub platform: Option<Platform>,
    /// Exit codes were given, though perhaps none.
    pub exit_codes_given: bool,
    /// Limits; not part of the digest.
    pub resources: Option<LinuxResources>,
}

/// What [`Graph::exec`] made.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecEdges {
    /// The command.
    pub vertex: super::VertexId,
    /// Root tree after the command.
    pub root: Tree,
    /// For each of [`ExecBuilder::mounts`], the tree left in it; read-only and cache mounts give their source back.
    pub mounts: Vec<Tree>,
}

/// A file action before it is bound to a tree; see [`Graph::file`]. Paths are final: rooted and cleaned by the caller.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "one per action of pb.FileOp")]
pub enum FileStep {
    Copy { from: Tree, copy: FileCopy },
    Mkfile(FileMkfile),
    Mkdir(FileMkdir),
    Rm(FileRm),
    Symlink(FileSymlink),
}

/// Steps that will be one vertex.
pub type FileChain = Vec<FileStep>;

/// `user[:group]` as the Go client reads it: `root` and numbers are ids, the rest names looked up in `input`.
pub fn chown(text: &str, input: FileInput) -> Chown {
    let user = |part: &str| match (part, part.parse::<u32>()) {
        ("root", _) => super::User::Id(0),
        (_, Ok(id)) if id <= i32::MAX as u32 => super::User::Id(id),
        _ => super::User::Name { name: part.to_owned(), input },
    };
    match text.split_once(':') {
        Some((name, group)) => Chown { user: Some(user(name)), group: Some(user(group)) },
        None => Chown { user: Some(user(text)), group: None },
    }
}

/// A file op whose actions need not be one chain: a copy may read what other actions of the same op made.
#[derive(Debug, Clone, Default)]
pub struct FileBuilder {
    inputs: Vec<Edge>,
    places: std::collections::HashMap<Edge, InputIdx>,
    actions: Vec<FileAction>,
}

impl FileBuilder {
    /// `tree` as something an action works on or reads.
    pub fn input(&mut self, tree: Tree) -> FileInput {
        let Some(edge) = tree else { return FileInput::Scratch };
        FileInput::Input(*self.places.entry(edge).or_insert_with(|| {
            self.inputs.push(edge);
            self.inputs.len() as InputIdx - 1
        }))
    }

    /// Adds an action that changes `input` and reads `secondary`; gives its result.
    pub fn push(&mut self, input: FileInput, secondary: FileInput, op: FileActionOp) -> FileInput {
        self.actions.push(FileAction { input, secondary, output: None, op });
        FileInput::Action(self.actions.len() as u32 - 1)
    }
}

impl Graph {
    /// A command (BuildKit client/llb/exec.go, ExecOp.Marshal).
    pub fn exec(&mut self, builder: ExecBuilder) -> ExecEdges {
        let ExecBuilder { mut op, base, readonly_root, mounts, secrets, agents, platform, .. } = builder;
        let root = MountSpec { readonly: readonly_root, ..MountSpec::bind("/", base) };
        // A cache without a name is no cache.
        let mounts = mounts.into_iter().map(|mount| match &mount.kind {
            MountKind::Cache { id, .. } if id.is_empty() => MountSpec { kind: MountKind::Bind, ..mount },
            _ => mount,
        });
        // Slot 0 is the root, slot i + 1 is mounts[i]; the wire order is by target.
        let all: Vec<MountSpec> = std::iter::once(root).chain(mounts).collect();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| all[a].dest.as_bytes().cmp(all[b].dest.as_bytes()));

        let mut caps = vec!["exec.meta.base"];
        let mut inputs = Vec::new();
        let mut outputs: Vec<Option<u32>> = vec![None; all.len()];
        let mut n_outputs = 0;
        for &slot in &order {
            let mount = &all[slot];
            let input = mount.source.map(|edge| input_index(&mut inputs, edge));
            if mount.has_output() {
                outputs[slot] = Some(n_outputs);
                n_outputs += 1;
            }
            match &mount.kind {
                MountKind::Bind if mount.source.is_some() => caps.push("exec.mount.bind"),
                MountKind::Cache { .. } => caps.extend(["exec.mount.cache", "exec.mount.cache.sharing"]),
                MountKind::Tmpfs { size } => {
                    caps.push("exec.mount.tmpfs");
                    if size.is_some_and(|size| 0 < size) {
                        caps.push("exec.mount.tmpfs.size");
                    }
                }
                MountKind::Bind | MountKind::Secret(_) | MountKind::Ssh(_) => {}
            }
            if !mount.selector.is_empty() {
                caps.push("exec.mount.selector");
            }
            if mount.content_cache != super::ContentCache::Default {
                caps.push("exec.mount.cache.content");
            }
            op.mounts.push(Mount {
                input,
                selector: mount.selector.clone(),
                dest: mount.dest.clone(),
                output: outputs[slot],
                readonly: mount.readonly,
                kind: mount.kind.clone(),
                result_id: String::new(),
                content_cache: mount.content_cache,
            });
        }
        if !secrets.is_empty() {
            caps.push("exec.mount.secret");
        }
        for secret in secrets {
            if let Some(env) = secret.env {
                caps.push("exec.secretenv");
                op.secret_env.push(env);
            }
            if let Some((dest, options)) = secret.file {
                op.mounts.push(Mount::credential(dest, MountKind::Secret(options)));
            }
        }
        let mut first_agent = None;
        for (idx, (dest, options)) in agents.into_iter().enumerate() {
            let dest = if dest.is_empty() { agent_socket(idx) } else { dest };
            first_agent.get_or_insert(dest.clone());
            op.mounts.push(Mount::credential(dest, MountKind::Ssh(options)));
        }
        if let Some(socket) = first_agent {
            caps.push("exec.mount.ssh");
            if !op.env.iter().any(|var| var.starts_with("SSH_AUTH_SOCK=")) {
                op.env.push(format!("SSH_AUTH_SOCK={socket}"));
            }
        }
        op.remove_mount_stubs_recursive = true;
        let flags = [
            (op.network != NetMode::Sandbox, "exec.meta.network"),
            (op.security != SecurityMode::Sandbox, "exec.meta.security"),
            (op.proxy_env.is_some(), "exec.meta.proxyenv"),
            (!op.ulimits.is_empty(), "exec.meta.ulimit"),
            (builder.resources.is_some(), "exec.meta.linux.resources"),
            (!op.cdi_devices.is_empty(), "exec.meta.cdi"),
            (builder.exit_codes_given || !op.valid_exit_codes.is_empty(), "exec.validexitcode"),
        ];
        caps.extend(flags.iter().filter(|(on, _)| *on).map(|(_, cap)| *cap));

        let mut vertex = Vertex::new(Op::Exec(Box::new(op)), inputs, platform);
        vertex.metadata.caps = caps.into_iter().map(str::to_owned).collect();
        vertex.metadata.linux_resources = builder.resources;
        let id = self.add(vertex);
        let mut results = all.iter().zip(&outputs).map(|(mount, output)| match output {
            Some(output) => Some(Edge { vertex: id, output: *output }),
            None => mount.source,
        });
        let root = results.next().flatten();
        ExecEdges { vertex: id, root, mounts: results.collect() }
    }

    /// File actions on `base`, one vertex for the whole chain (BuildKit client/llb/fileop.go).
    ///
    /// # Panics
    /// When `chain` is empty.
    pub fn file(&mut self, base: Tree, chain: FileChain) -> Edge {
        let mut file = FileBuilder::default();
        file.actions.reserve_exact(chain.len());
        let mut last = file.input(base);
        for step in chain {
            let (secondary, op) = match step {
                FileStep::Copy { from, copy } => (file.input(from), FileActionOp::Copy(Box::new(copy))),
                FileStep::Mkfile(mkfile) => (FileInput::Scratch, FileActionOp::Mkfile(mkfile)),
                FileStep::Mkdir(mkdir) => (FileInput::Scratch, FileActionOp::Mkdir(mkdir)),
                FileStep::Rm(rm) => (FileInput::Scratch, FileActionOp::Rm(rm)),
                FileStep::Symlink(symlink) => (FileInput::Scratch, FileActionOp::Symlink(symlink)),
            };
            last = file.push(last, secondary, op);
        }
        self.file_of(file)
    }

    /// The file op of `file`; its result is that of the last action.
    ///
    /// # Panics
    /// When there is no action.
    pub fn file_of(&mut self, file: FileBuilder) -> Edge {
        let FileBuilder { inputs, mut actions, .. } = file;
        actions.last_mut().expect("a file op has at least one action").output = Some(0);
        let mut vertex = Vertex::new(Op::File(FileOp { actions }), inputs, None);
        // The Go client only ever sets this one, whatever the actions use.
        vertex.metadata.caps.insert("file.base".to_owned());
        Edge { vertex: self.add(vertex), output: 0 }
    }

    /// The trees stacked, the first at the bottom; scratch adds nothing (BuildKit client/llb/merge.go).
    pub fn merge(&mut self, trees: &[Tree]) -> Tree {
        let inputs: Vec<Edge> = trees.iter().copied().flatten().collect();
        if inputs.len() < 2 {
            return inputs.first().copied();
        }
        let op = MergeOp { inputs: (0..inputs.len() as u32).map(Some).collect() };
        let mut vertex = Vertex::new(Op::Merge(op), inputs, None);
        vertex.metadata.caps.insert("mergeop".to_owned());
        Some(Edge { vertex: self.add(vertex), output: 0 })
    }

    /// What leads from `lower` to `upper` (BuildKit client/llb/diff.go).
    pub fn diff(&mut self, lower: Tree, upper: Tree) -> Tree {
        let Some(lower) = lower else { return upper };
        let mut inputs = vec![lower];
        inputs.extend(upper);
        let op = DiffOp { lower: Some(0), upper: upper.map(|_| 1) };
        let mut vertex = Vertex::new(Op::Diff(op), inputs, None);
        vertex.metadata.caps.insert("diffop".to_owned());
        Some(Edge { vertex: self.add(vertex), output: 0 })
    }

    /// `tree`, but only when all of `needs` succeed (BuildKit client/llb/passthrough.go).
    pub fn require(&mut self, id: &str, tree: Edge, needs: &[Edge]) -> Edge {
        let inputs: Vec<Edge> = std::iter::once(tree).chain(needs.iter().copied()).collect();
        self.passthrough(id, inputs, vec![0])
    }

    /// `inputs`, of which those that `outputs` names are results; all must succeed. Gives the first result.
    pub fn passthrough(&mut self, id: &str, inputs: Vec<Edge>, outputs: Vec<InputIdx>) -> Edge {
        let op = PassthroughOp { id: id.to_owned(), outputs };
        let mut vertex = Vertex::new(Op::Passthrough(op.into()), inputs, None);
        vertex.metadata.caps.insert("passthroughop".to_owned());
        Edge { vertex: self.add(vertex), output: 0 }
    }

    /// What the definition in a file of `tree` builds; empty `filename` is `buildkit.llb.definition` (BuildKit
    /// client/llb/llbbuild).
    pub fn build(&mut self, tree: Edge, filename: &str, platform: Option<Platform>) -> Edge {
        let attrs = if filename.is_empty() {
            None
        } else {
            Some((BuildOp::FILENAME.to_owned(), filename.to_owned()))
        };
        let op = BuildOp {
            inputs: [(BuildOp::DEFINITION.to_owned(), 0)].into(),
            attrs: attrs.into_iter().collect(),
            definition: None,
            builder: BuildOp::LLB_BUILDER,
        };
        let mut vertex = Vertex::new(Op::Build(Box::new(op)), vec![tree], platform);
        vertex.metadata.caps.insert("source.buildop.llbfilename".to_owned());
        Edge { vertex: self.add(vertex), output: 0 }
    }
}

/// Where the agent socket with this number is when nobody says; all agents of a command are counted.
pub fn agent_socket(number: usize) -> String {
    format!("/run/buildkit/ssh_agent.{number}")
}

impl Mount {
    /// A secret or agent mount: no input, and output 0 on the wire without having one.
    fn credential(dest: String, kind: MountKind) -> Mount {
        Mount {
            input: None,
            selector: String::new(),
            dest,
            output: Some(0),
            readonly: false,
            kind,
            result_id: String::new(),
            content_cache: super::ContentCache::Default,
        }
    }
}

/// Index of `edge` among `inputs`; appended when it is not there.
fn input_index(inputs: &mut Vec<Edge>, edge: Edge) -> InputIdx {
    match inputs.iter().position(|known| *known == edge) {
        Some(idx) => idx as InputIdx,
        None => {
            inputs.push(edge);
            inputs.len() as InputIdx - 1
        }
    }
}

/// A JSON array of strings as Go's encoding/json writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped.
pub fn go_json_strings(strings: &[String]) -> String {
    go_escape(&serde_json::Value::from(strings).to_string())
}

/// JSON text with the escapes that Go's encoder adds. These characters only ever occur inside strings.
pub fn go_escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}
