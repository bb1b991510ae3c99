//! What decides an op's result, as BuildKit sees it: digests of ops without their inputs, and how each input takes
//! part (solver/llbsolver/ops: exec.go, file.go, merge.go, diff.go, build.go, passthrough.go).
//!
//! Equal keys with equal inputs are equal results. These are pure functions of a vertex; what a source stands for is
//! found out by the engine, and so is the content of an input. The indexes in a key are those of the wire: equal
//! inputs of a command or file op must have been united (`passes::dedup` does it).

use std::io::{self, Write as _};

use serde_json::{Map, Value};

use crate::base::digest::DigestWriter;
use crate::base::{Digest, Platform, path};
use crate::graph::ir::build::go_escape;
use crate::graph::ir::{
    Chown, ContentCache, ExecOp, FileActionOp, FileInput, FileOp, InputIdx, MountKind, Op, User, Vertex,
};
use crate::graph::llb::json::{Describe, Shape, base64, to_go_text, to_value};
use crate::graph::llb::{encode, pb};

/// How an input takes part in a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputKeyRule {
    /// Digest of the paths that the op uses of the input; part of the key beside the input's own.
    pub selector: Option<Digest>,
    /// What of the input's content may stand for its key; `None` when only the key will do.
    pub content: Option<Vec<Selector>>,
}

/// A part of a tree, as content hashes are asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Selector {
    /// Absolute path; `/` is the whole tree.
    pub path: String,
    /// `path` holds wildcards.
    pub wildcard: bool,
    /// The last component is followed when it is a symlink.
    pub follow_links: bool,
    /// Only these, relative to what is matched.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Paths that must be there.
    pub required: Vec<String>,
}

impl Selector {
    /// Whether the selector is more than a path.
    pub fn has_patterns(&self) -> bool {
        self.wildcard || !self.include.is_empty() || !self.exclude.is_empty()
    }
}

/// Why an op has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// `content_cache: on` where equal content does not mean equal results.
    #[error("the mount at `{0}` cannot be cached by content: other files of its source reach its output")]
    UnsafeContentCache(String),
    /// An owner given by name with no tree to look it up in.
    #[error("the user `{0}` cannot be looked up: there is no tree")]
    NoUserTree(String),
}

/// Digest of what a source stands for; `key` is what llb reference 3.2 calls K. Keys that begin with `session:`
/// belong to one build and are no digest of anything: `None`.
pub fn source_digest(key: &str) -> Option<Digest> {
    (!key.starts_with("session:")).then(|| Digest::of(format!("buildkit.source.v0:{key}")))
}

/// K of an image whose root manifest or index is `root`, for a platform in its canonical spelling.
pub fn image_key(root: &Digest, platform: &Platform, layer_limit: Option<u32>) -> Digest {
    let mut object = Map::new();
    object.insert("Digest".to_owned(), root.to_string().into());
    put_platform(&mut object, platform);
    if let Some(limit) = layer_limit {
        object.insert("Limit".to_owned(), limit.into());
    }
    digest(object)
}

/// Digest of what the op does, without its inputs. `None` for sources: see [`source_digest`]. `machine` is the platform
/// of commands that name none.
pub fn cache_digest(vertex: &Vertex, machine: &Platform) -> Option<Digest> {
    let message = |kind: &str, name: &str, message: &dyn Describe| {
        let mut object = Map::new();
        object.insert("Type".to_owned(), format!("buildkit.{kind}.v0").into());
        object.insert(name.to_owned(), to_value(message, Shape::Keys));
        object
    };
    let inputs = encode::WireInputs { remap: None, n_inputs: vertex.inputs.len() };
    if let Op::File(file) = &vertex.op {
        return Some(file_digest(file, &inputs));
    }
    let object = match (&vertex.op, encode::op(&vertex.op, &inputs)) {
        (Op::Source(_), _) => return None,
        (_, pb::OpKind::Exec(mut exec)) => {
            simplify_exec(&mut exec);
            let mut object = message("exec", "Exec", &*exec);
            put_platform(&mut object, &vertex.platform.as_deref().unwrap_or(machine).normalize());
            object
        }
        (_, pb::OpKind::Merge(op)) => message("merge", "Merge", &op),
        (_, pb::OpKind::Diff(op)) => message("diff", "Diff", &op),
        // Sic: "Exec".
        (_, pb::OpKind::Build(op)) => message("build", "Exec", &op),
        (_, pb::OpKind::Passthrough(op)) => message("passthrough", "Passthrough", &op),
        (_, pb::OpKind::Source(_) | pb::OpKind::File(_)) => return None,
    };
    Some(digest(object))
}

fn put_platform(object: &mut Map<String, Value>, platform: &Platform) {
    object.insert("OS".to_owned(), platform.os.as_str().into());
    object.insert("Arch".to_owned(), platform.arch.as_str().into());
    if !platform.variant.is_empty() {
        object.insert("Variant".to_owned(), platform.variant.as_str().into());
    }
    if !platform.os_version.is_empty() {
        object.insert("OSVersion".to_owned(), platform.os_version.as_str().into());
    }
    if !platform.os_features.is_empty() {
        object.insert("OSFeatures".to_owned(), platform.os_features.clone().into());
    }
}

fn digest(object: Map<String, Value>) -> Digest {
    Digest::of(go_escape(&Value::Object(object).to_string()))
}

/// Takes out of a command what does not decide its result.
fn simplify_exec(exec: &mut pb::ExecOp) {
    if let Some(meta) = &mut exec.meta {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    for mount in &mut exec.mounts {
        // The selector is in the input's rule.
        mount.selector.clear();
        let dest = mount.dest.as_str();
        if let Some(cache) = &mut mount.cache_opt {
            let shared = cache.sharing == 0;
            let is_dest = cache.id == dest || cache.id.split_once('/').is_some_and(|(_, id)| id == dest);
            if !(shared && is_dest) {
                *cache = pb::CacheOpt::default();
            }
        }
    }
    if let [root] = exec.mounts.as_slice() {
        let plain = pb::Mount {
            input: root.input,
            output: root.output,
            dest: "/".to_owned(),
            content_cache: root.content_cache,
            tmpfs_opt: root.tmpfs_opt,
            ..pb::Mount::default()
        };
        if *root == plain {
            exec.mounts.clear();
        }
    }
}

/// The text is hashed as it is made, action by action: there may be a hundred thousand.
fn file_digest(file: &FileOp, inputs: &encode::WireInputs<'_>) -> Digest {
    let mut text = DigestWriter::new(io::sink());
    let mut put = |part: &str| text.write_all(part.as_bytes()).expect("a sink takes everything");
    let mut indexes = Vec::with_capacity(file.actions.len());
    put("{\"Type\":\"buildkit.file.v0\",\"Actions\":[");
    for (idx, action) in file.actions.iter().enumerate() {
        let action = encode::file_action(action, inputs);
        indexes.push([action.input, action.secondary_input, action.output]);
        let own = match action.action {
            Some(pb::FileActionKind::Copy(mut copy)) => {
                if (0..inputs.n_inputs as i64).contains(&action.secondary_input) {
                    // The path is in the input's rule; only the name decides what is made.
                    copy.src = path::base(&copy.src).to_owned();
                }
                to_go_text(&*copy)
            }
            Some(pb::FileActionKind::Mkfile(mkfile)) => to_go_text(&mkfile),
            Some(pb::FileActionKind::Mkdir(mkdir)) => to_go_text(&mkdir),
            Some(pb::FileActionKind::Rm(rm)) => to_go_text(&rm),
            Some(pb::FileActionKind::Symlink(symlink)) => to_go_text(&symlink),
            None => String::new(),
        };
        put(if idx == 0 { "\"" } else { ",\"" });
        // Base64 has nothing that JSON escapes.
        put(&base64(own.as_bytes()));
        put("\"");
    }
    put("]");
    if !is_usual(&indexes) {
        put(",\"indexes\":[");
        for (idx, [input, secondary, output]) in indexes.iter().enumerate() {
            put(if idx == 0 { "[" } else { ",[" });
            put(&format!("{input},{secondary},{output}]"));
        }
        put("]");
    }
    put("}");
    let (_, digest, _) = text.finish();
    digest
}

/// The shape that keys do not mention: a chain on input 0 whose copies read input 1. The number that stands before an
/// action's index here is that of the actions, not of the inputs: so it is in BuildKit.
fn is_usual(indexes: &[[i64; 3]]) -> bool {
    let n = indexes.len();
    indexes.iter().enumerate().all(|(i, &[input, secondary, output])| {
        let expected = if i == 0 { 0 } else { (n + i - 1) as i64 };
        input == expected && matches!(secondary, -1 | 1) && output == if i + 1 == n { 0 } else { -1 }
    })
}

/// For each input of the vertex, how it takes part in the key.
///
/// # Errors
/// See [`KeyError`].
pub fn input_rules(vertex: &Vertex) -> Result<Vec<InputKeyRule>, KeyError> {
    let n_inputs = vertex.inputs.len();
    match &vertex.op {
        Op::Exec(exec) => exec_rules(exec, n_inputs),
        Op::File(file) => file_rules(file, n_inputs),
        Op::Source(_) | Op::Merge(_) | Op::Diff(_) | Op::Build(_) | Op::Passthrough(_) => {
            Ok(vec![InputKeyRule::default(); n_inputs])
        }
    }
}

fn exec_rules(exec: &ExecOp, n_inputs: usize) -> Result<Vec<InputKeyRule>, KeyError> {
    let mut paths: Vec<Vec<String>> = vec![Vec::new(); n_inputs];
    let mut by_content = vec![false; n_inputs];
    for mount in &exec.mounts {
        let Some(input) = mount.input else { continue };
        if matches!(mount.kind, MountKind::Secret(_) | MountKind::Ssh(_) | MountKind::Tmpfs { .. }) {
            continue;
        }
        let selected = path::join(&["/", &mount.selector]);
        // With an output, files outside the selection would be in the result without being in the key.
        let safe = mount.output.is_none() || mount.readonly || selected == "/";
        by_content[input as usize] = match mount.content_cache {
            ContentCache::Off => false,
            ContentCache::On if !safe => return Err(KeyError::UnsafeContentCache(mount.dest.clone())),
            ContentCache::On => true,
            // Hashing a whole root file system costs more than it wins.
            ContentCache::Default => safe && mount.dest != "/",
        };
        paths[input as usize].push(selected);
    }
    let rules = paths.into_iter().zip(by_content).map(|(paths, by_content)| InputKeyRule {
        selector: (!paths.is_empty()).then(|| Digest::of(paths.join("\0"))),
        content: by_content.then(|| {
            let followed = |path| Selector { path, follow_links: true, ..Selector::default() };
            let paths = outermost(paths);
            if paths.iter().any(|path| path == "/") {
                vec![Selector { path: "/".to_owned(), ..Selector::default() }]
            } else {
                paths.into_iter().map(followed).collect()
            }
        }),
    });
    Ok(rules.collect())
}

fn file_rules(file: &FileOp, n_inputs: usize) -> Result<Vec<InputKeyRule>, KeyError> {
    let mut selectors: Vec<Vec<Selector>> = vec![Vec::new(); n_inputs];
    let mut is_changed = vec![false; n_inputs];
    for action in &file.actions {
        if let FileInput::Input(input) = action.input {
            is_changed[input as usize] = true;
        }
        let owner = match &action.op {
            FileActionOp::Copy(copy) => {
                if let FileInput::Input(input) = action.secondary {
                    selectors[input as usize].push(Selector {
                        path: copy.src.clone(),
                        wildcard: copy.allow_wildcard && has_wildcards(&copy.src),
                        follow_links: copy.follow_symlink,
                        include: copy.include_patterns.clone(),
                        exclude: copy.exclude_patterns.clone(),
                        required: copy.required_paths.clone(),
                    });
                }
                &copy.owner
            }
            FileActionOp::Mkfile(mkfile) => &mkfile.owner,
            FileActionOp::Mkdir(mkdir) => &mkdir.owner,
            FileActionOp::Symlink(_) | FileActionOp::Rm(_) => &None,
        };
        for (input, path) in looked_up(owner)? {
            let selector = Selector { path: path.to_owned(), follow_links: true, ..Selector::default() };
            selectors[input as usize].push(selector);
        }
    }
    let rules = selectors.into_iter().zip(is_changed).map(|(selectors, is_changed)| {
        // All of a tree that is changed is in the result.
        if is_changed || selectors.is_empty() {
            return InputKeyRule::default();
        }
        let mut paths: Vec<&str> = selectors.iter().map(|it| it.path.as_str()).collect();
        paths.sort_unstable_by(|a, b| b.cmp(a));
        let selector = Some(Digest::of(paths.join("\0")));
        InputKeyRule { selector, content: Some(distinct(selectors)) }
    });
    Ok(rules.collect())
}

/// The inputs in whose user lists the names of `owner` are looked up, each with the list.
fn looked_up(owner: &Option<Box<Chown>>) -> Result<Vec<(InputIdx, &'static str)>, KeyError> {
    let Some(owner) = owner else { return Ok(Vec::new()) };
    let mut lists = Vec::new();
    for (user, list) in [(&owner.user, "/etc/passwd"), (&owner.group, "/etc/group")] {
        if let Some(User::Name { name, input }) = user {
            match input {
                FileInput::Input(input) => lists.push((*input, list)),
                FileInput::Scratch => return Err(KeyError::NoUserTree(name.clone())),
                // A tree that the op makes itself: its inputs decide it.
                FileInput::Action(_) => {}
            }
        }
    }
    Ok(lists)
}

/// Whether a path holds `*`, `?` or `[` that no backslash takes its meaning from.
pub fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Plain paths that do not lie below others, then every selector with patterns; sorted by path.
fn distinct(selectors: Vec<Selector>) -> Vec<Selector> {
    let (patterns, plain): (Vec<_>, Vec<_>) = selectors.into_iter().partition(Selector::has_patterns);
    let mut kept = Vec::new();
    for follow_links in [false, true] {
        let paths = plain.iter().filter(|it| it.follow_links == follow_links).map(|it| it.path.clone());
        let selector = |path| Selector { path, follow_links, ..Selector::default() };
        kept.extend(outermost(paths.collect()).into_iter().map(selector));
    }
    kept.extend(patterns);
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    kept
}

/// The paths that do not lie below another, sorted, each once.
fn outermost(mut paths: Vec<String>) -> Vec<String> {
    if paths.len() < 2 {
        return paths;
    }
    paths.sort_unstable();
    paths.dedup();
    let with_slash: std::collections::BTreeSet<String> = paths
        .iter()
        .map(|path| if path.ends_with('/') { path.clone() } else { format!("{path}/") })
        .collect();
    paths.retain(|path| {
        // All ancestors, written with a slash, that are not the path itself so written.
        !path.match_indices('/').any(|(at, _)| at + 1 < path.len() && with_slash.contains(&path[..=at]))
    });
    paths
}

#[cfg(test)]
mod tests;
