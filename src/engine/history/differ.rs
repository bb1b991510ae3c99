//! The first difference between two definitions of a step. A pure function: nothing is looked up.
//!
//! Compared is what the cache keys are made of (`graph::llb::key`), in the order in which people would look: the
//! command, its variables, where and as whom it runs, its mounts, the rest. What is in no key (the addresses behind
//! host names, proxies, most names of caches) is no difference.

use serde_json::{Map, Value};

use super::manifest::Manifest;
use crate::base::path;
use crate::graph::ir::{
    ExecOp, FileActionOp, FileInput, FileOp, InputIdx, Mount, MountKind, Op, Sharing, SourceOp,
};

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The one text that a shell is given.
    Command,
    /// A word of the command, from 0.
    Argument(usize),
    /// An environment variable.
    Variable(String),
    /// The order of the variables.
    VariableOrder,
    /// A variable that is a secret.
    SecretVariable(String),
    /// A setting of the command.
    Setting(&'static str),
    /// A mount, by where it is.
    Mount(String),
    /// A setting of a mount, by where that is.
    MountSetting(String, &'static str),
    /// File actions, by what they do, and the place of the first among the actions of now.
    Action(String, usize),
    /// An argument of a file action, by what it did, and its place among the actions.
    ActionSetting(String, usize, &'static str),
    /// The trees that are merged.
    Trees,
    /// What is built for.
    Platform,
    /// A file of a directory.
    File {
        /// Relative to the directory.
        path: String,
    },
    /// An attribute of a source.
    Attribute(String),
    /// Which op it is at all.
    Kind,
}

/// How it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there; what it is.
    Added(Option<String>),
    /// It is not there any more; what it was.
    Removed(Option<String>),
    /// It is another one.
    Changed {
        /// Before.
        then: String,
        /// Now.
        now: String,
    },
    /// An aspect of it is another one.
    #[allow(missing_docs, reason = "as in Changed")]
    Became { aspect: &'static str, then: String, now: String },
    /// It holds something else.
    Content,
}

/// What an input is to the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// What is mounted there; `/` is the root.
    Mount(String),
    /// The tree that file actions change.
    Base,
    /// What a copy takes, by its path in the source.
    Source(String),
    /// Where owners are looked up.
    Users,
    /// A tree of a merge, from 0.
    Tree(usize),
    /// What a diff starts from.
    Lower,
    /// What a diff arrives at.
    Upper,
    /// What else has to succeed, or is needed in some other way.
    Needed(usize),
}

/// The first difference of what the steps do; their inputs are not looked at.
pub fn first_difference(then: &Manifest, now: &Manifest) -> Option<(Subject, Change)> {
    let own = match (&then.op, &now.op) {
        (Op::Exec(before), Op::Exec(after)) => exec(before, after, [then.strict, now.strict]),
        (Op::File(then), Op::File(now)) => file(then, now),
        (Op::Source(then), Op::Source(now)) => source(then, now),
        (Op::Merge(then), Op::Merge(now)) => (then.inputs.len() != now.inputs.len())
            .then(|| (Subject::Trees, changed(then.inputs.len().to_string(), now.inputs.len().to_string()))),
        (Op::Diff(_), Op::Diff(_)) => None,
        (Op::Passthrough(then), Op::Passthrough(now)) => {
            (then.outputs.len() != now.outputs.len()).then(|| {
                (Subject::Trees, changed(then.outputs.len().to_string(), now.outputs.len().to_string()))
            })
        }
        (Op::Build(then), Op::Build(now)) => {
            (then != now).then_some((Subject::Setting("definition"), Change::Content))
        }
        _ => Some((Subject::Kind, changed(&then.name, &now.name))),
    };
    own.or_else(|| presence(then, now)).or_else(|| {
        (matters_to(&now.op) && then.platform != now.platform)
            .then(|| (Subject::Platform, changed(&then.platform, &now.platform)))
    })
}

/// Whether the platform of an op takes part in its key.
fn matters_to(op: &Op) -> bool {
    match op {
        Op::Exec(_) => true,
        Op::Source(source) => source.scheme() != "local",
        Op::File(_) | Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) | Op::Build(_) => false,
    }
}

/// An input that is scratch in one of them.
fn presence(then: &Manifest, now: &Manifest) -> Option<(Subject, Change)> {
    let mut uses = uses(&then.op).into_iter().zip(uses(&now.op));
    uses.find_map(|((role, then), (_, now))| {
        let subject = match role {
            Role::Mount(dest) => Subject::Mount(dest),
            Role::Base => Subject::Setting("base"),
            Role::Source(path) => Subject::Action(format!("copy {path}"), 0),
            Role::Users => Subject::Setting("owner"),
            Role::Tree(_) | Role::Lower | Role::Upper | Role::Needed(_) => Subject::Trees,
        };
        match (then, now) {
            (None, Some(_)) => Some((subject, changed("scratch", "a tree with files"))),
            (Some(_), None) => Some((subject, changed("a tree with files", "scratch"))),
            _ => None,
        }
    })
}

/// How the op uses its inputs, use by use; `None` is scratch. Of equal definitions, the uses correspond.
pub fn uses(op: &Op) -> Vec<(Role, Option<InputIdx>)> {
    match op {
        Op::Source(_) => Vec::new(),
        Op::Exec(op) => {
            let has_tree = |mount: &&Mount| matches!(mount.kind, MountKind::Bind | MountKind::Cache { .. });
            // The root first: what is mounted in it matters later.
            let (root, others): (Vec<&Mount>, Vec<&Mount>) =
                op.mounts.iter().filter(has_tree).partition(|mount| mount.dest == "/");
            let all = root.into_iter().chain(others);
            all.map(|mount| (Role::Mount(mount.dest.clone()), mount.input)).collect()
        }
        Op::File(op) => {
            let mut uses = Vec::new();
            for action in &op.actions {
                match action.input {
                    FileInput::Input(input) => uses.push((Role::Base, Some(input))),
                    FileInput::Scratch => uses.push((Role::Base, None)),
                    FileInput::Action(_) => {}
                }
                if let FileActionOp::Copy(copy) = &action.op {
                    match action.secondary {
                        FileInput::Input(input) => uses.push((Role::Source(copy.src.clone()), Some(input))),
                        FileInput::Scratch => uses.push((Role::Source(copy.src.clone()), None)),
                        FileInput::Action(_) => {}
                    }
                }
            }
            uses
        }
        Op::Merge(op) => op.inputs.iter().enumerate().map(|(idx, &input)| (Role::Tree(idx), input)).collect(),
        Op::Diff(op) => vec![(Role::Lower, op.lower), (Role::Upper, op.upper)],
        Op::Passthrough(_) | Op::Build(_) => Vec::new(),
    }
}

fn exec(then: &ExecOp, now: &ExecOp, strict: [bool; 2]) -> Option<(Subject, Change)> {
    let named = |it: bool| if it { "strict" } else { "sandbox" };
    args(&then.args, &now.args)
        .or_else(|| env(&then.env, &now.env))
        .or_else(|| secrets(then, now))
        // Before its consequence for the network.
        .or_else(|| {
            let [then, now] = strict;
            (then != now).then(|| (Subject::Setting("security"), changed(named(then), named(now))))
        })
        .or_else(|| settings(then, now))
        .or_else(|| mounts(&then.mounts, &now.mounts))
        // What is left are orders and numbers.
        .or_else(|| {
            let outputs = |op: &ExecOp| op.mounts.iter().map(|it| it.output).collect::<Vec<_>>();
            (outputs(then) != outputs(now)).then_some((Subject::Setting("outputs"), Change::Content))
        })
}

fn args(then: &[String], now: &[String]) -> Option<(Subject, Change)> {
    let first = then.iter().zip(now).position(|(then, now)| then != now);
    match first {
        None if now.len() < then.len() => {
            Some((Subject::Argument(now.len()), Change::Removed(Some(then[now.len()].clone()))))
        }
        None if then.len() < now.len() => {
            Some((Subject::Argument(then.len()), Change::Added(Some(now[then.len()].clone()))))
        }
        None => None,
        Some(idx) if inserted(then, now, idx) => {
            Some((Subject::Argument(idx), Change::Added(Some(now[idx].clone()))))
        }
        Some(idx) if inserted(now, then, idx) => {
            Some((Subject::Argument(idx), Change::Removed(Some(then[idx].clone()))))
        }
        Some(idx) => {
            // `sh -c text`: the text is what people call the command.
            let is_text = |args: &[String]| args.len() == idx + 1 && 0 < idx && args[idx - 1] == "-c";
            let subject =
                if is_text(then) && is_text(now) { Subject::Command } else { Subject::Argument(idx) };
            Some((subject, changed(&then[idx], &now[idx])))
        }
    }
}

/// Whether `long` is `short` with something put in at `idx`.
fn inserted<T: PartialEq>(short: &[T], long: &[T], idx: usize) -> bool {
    long.len() == short.len() + 1 && long[idx + 1..] == short[idx..]
}

fn env(then: &[String], now: &[String]) -> Option<(Subject, Change)> {
    if then == now {
        return None;
    }
    let split = |entry: &str| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.to_owned())
    };
    let (old, new): (Vec<_>, Vec<_>) =
        (then.iter().map(|it| split(it)).collect(), now.iter().map(|it| split(it)).collect());
    let value_in = |all: &[(String, String)], name: &str| {
        all.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    for (name, value) in &new {
        match value_in(&old, name) {
            None => return Some((Subject::Variable(name.clone()), Change::Added(Some(value.clone())))),
            Some(before) if before != *value => {
                return Some((Subject::Variable(name.clone()), changed(before, value)));
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().find(|(name, _)| value_in(&new, name).is_none());
    Some(match gone {
        Some((name, value)) => (Subject::Variable(name.clone()), Change::Removed(Some(value.clone()))),
        None => {
            let names = |all: &[(String, String)]| {
                all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
            };
            (Subject::VariableOrder, changed(names(&old), names(&new)))
        }
    })
}

/// Secrets as variables: ids and names only.
fn secrets(then: &ExecOp, now: &ExecOp) -> Option<(Subject, Change)> {
    for secret in &now.secret_env {
        let subject = || Subject::SecretVariable(secret.name.clone());
        match then.secret_env.iter().find(|it| it.name == secret.name) {
            None => return Some((subject(), Change::Added(None))),
            Some(before) if before.id != secret.id => {
                return Some((subject(), changed(&before.id, &secret.id)));
            }
            Some(before) if before != secret => return Some((subject(), Change::Content)),
            Some(_) => {}
        }
    }
    let gone = then.secret_env.iter().find(|it| now.secret_env.iter().all(|now| now.name != it.name));
    gone.map(|secret| (Subject::SecretVariable(secret.name.clone()), Change::Removed(None)))
}

/// Settings of a command by their fields, and what people call them.
const SETTINGS: &[(&str, &str)] = &[
    ("cwd", "working directory"),
    ("user", "user"),
    ("network", "network"),
    ("security", "security"),
    ("hostname", "hostname"),
    ("extra_hosts", "hosts"),
    ("ulimits", "ulimits"),
    ("valid_exit_codes", "exit codes"),
    ("cgroup_parent", "cgroup"),
    ("cdi_devices", "devices"),
    ("remove_mount_stubs_recursive", "removal of mount points"),
];

fn settings(then: &ExecOp, now: &ExecOp) -> Option<(Subject, Change)> {
    let fields = |op: &ExecOp| {
        let mut op = op.clone();
        // In no key: they may change from day to day.
        op.extra_hosts.iter_mut().for_each(|line| line.ip.clear());
        object(serde_json::to_value(&op))
    };
    let (then, now) = (fields(then), fields(now));
    let differs = |(field, name): &(&str, &'static str)| {
        let (then, now) = (&then[*field], &now[*field]);
        // What goes without saying.
        let shown = |value: &Value| match (*field, text(value)) {
            // Not `root`: that is another command, though it runs as the same user.
            ("user", text) if text.is_empty() => "unset".to_owned(),
            ("valid_exit_codes", text) if text == "none" => "0".to_owned(),
            (_, text) if text.is_empty() => "none".to_owned(),
            (_, text) => text,
        };
        (then != now).then(|| (Subject::Setting(name), changed(shown(then), shown(now))))
    };
    SETTINGS.iter().find_map(differs)
}

fn mounts(then: &[Mount], now: &[Mount]) -> Option<(Subject, Change)> {
    let at = |all: &[Mount], dest: &str| all.iter().find(|mount| mount.dest == dest).cloned();
    // The first in the order of paths, whatever it is.
    let mut dests: Vec<&str> = then.iter().chain(now).map(|mount| mount.dest.as_str()).collect();
    dests.sort_unstable();
    dests.dedup();
    dests.into_iter().find_map(|dest| match (at(then, dest), at(now, dest)) {
        (None, Some(mount)) => {
            Some((Subject::Mount(dest.to_owned()), Change::Added(Some(kind(&mount).to_owned()))))
        }
        (Some(mount), None) => {
            Some((Subject::Mount(dest.to_owned()), Change::Removed(Some(kind(&mount).to_owned()))))
        }
        (Some(then), Some(now)) => {
            mount(&then, &now).map(|(name, change)| (Subject::MountSetting(dest.to_owned(), name), change))
        }
        (None, None) => None,
    })
}

/// What people call a mount.
fn kind(mount: &Mount) -> &'static str {
    match (&mount.kind, mount.readonly) {
        (MountKind::Bind, true) => "ro",
        (MountKind::Bind, false) if mount.input.is_none() => "out",
        (MountKind::Bind, false) => "rw",
        (MountKind::Cache { .. }, _) => "cache",
        (MountKind::Tmpfs { .. }, _) => "tmpfs",
        (MountKind::Secret(_), _) => "secret",
        (MountKind::Ssh(_), _) => "ssh",
    }
}

fn mount(then: &Mount, now: &Mount) -> Option<(&'static str, Change)> {
    if kind(then) != kind(now) {
        return Some(("kind", changed(kind(then), kind(now))));
    }
    let selector = |mount: &Mount| path::join(&["/", &mount.selector]);
    if selector(then) != selector(now) {
        return Some(("part", changed(selector(then), selector(now))));
    }
    if cache_key(then) != cache_key(now) {
        let name = |mount: &Mount| match &mount.kind {
            MountKind::Cache { id, sharing } => format!("{id} ({})", text(&value(sharing))),
            _ => String::new(),
        };
        return Some(("cache", changed(name(then), name(now))));
    }
    let rest = |mount: &Mount| match &mount.kind {
        MountKind::Tmpfs { size } => value(&size.map(|size| format!("size {size}"))),
        MountKind::Secret(secret) | MountKind::Ssh(secret) => value(secret),
        MountKind::Bind | MountKind::Cache { .. } => Value::Null,
    };
    if rest(then) != rest(now) {
        return Some(("options", changed(text(&rest(then)), text(&rest(now)))));
    }
    (then.content_cache != now.content_cache).then(|| {
        ("content_cache", changed(text(&value(&then.content_cache)), text(&value(&now.content_cache))))
    })
}

/// What of a cache is in the key of the command (`graph::llb::key`).
fn cache_key(mount: &Mount) -> Option<&str> {
    match &mount.kind {
        MountKind::Cache { id, sharing } => {
            let is_dest = *id == mount.dest || id.split_once('/').is_some_and(|(_, id)| id == mount.dest);
            (*sharing == Sharing::Shared && is_dest).then_some(id.as_str())
        }
        _ => None,
    }
}

fn file(then: &FileOp, now: &FileOp) -> Option<(Subject, Change)> {
    let ops = |op: &FileOp| op.actions.iter().map(|it| it.op.clone()).collect::<Vec<FileActionOp>>();
    let (then, now) = (ops(then), ops(now));
    let first = then.iter().zip(&now).take_while(|(then, now)| then == now).count();
    let (old, new) = (&then[first..], &now[first..]);
    let n_last = old.iter().rev().zip(new.iter().rev()).take_while(|(then, now)| then == now).count();
    let (old, new) = (&old[..old.len() - n_last], &new[..new.len() - n_last]);
    let names = |all: &[FileActionOp]| all.iter().map(FileActionOp::name).collect::<Vec<_>>().join(", ");
    match (old, new) {
        ([], []) => None,
        ([], new) => Some((Subject::Action(names(new), first), Change::Added(None))),
        (old, []) => Some((Subject::Action(names(old), first), Change::Removed(None))),
        ([old, ..], [new, ..]) if then.len() == now.len() => Some(action(old, new, first)),
        (old, new) => Some((Subject::Action(names(old), first), changed(names(old), names(new)))),
    }
}

/// Arguments of actions by their fields, and what people call them.
const ARGUMENTS: &[(&str, &str)] = &[
    ("src", "from"),
    ("dest", "to"),
    ("path", "path"),
    ("data", "text"),
    ("oldpath", "points_to"),
    ("newpath", "path"),
    ("mode", "mode"),
    ("mode_str", "mode"),
    ("owner", "chown"),
    ("include_patterns", "include"),
    ("exclude_patterns", "exclude"),
    ("follow_symlink", "follow"),
    ("attempt_unpack", "unpack"),
    ("allow_empty_wildcard", "optional"),
    ("allow_not_found", "optional"),
    ("timestamp", "timestamp"),
];

fn action(then: &FileActionOp, now: &FileActionOp, at: usize) -> (Subject, Change) {
    let (old, new) = (object(serde_json::to_value(then)), object(serde_json::to_value(now)));
    // `{"copy": {…}}`: one key, the kind.
    let (old, new) = match (old.into_iter().next(), new.into_iter().next()) {
        (Some((a, Value::Object(old))), Some((b, Value::Object(new)))) if a == b => (old, new),
        _ => return (Subject::Action(then.name(), at), changed(then.name(), now.name())),
    };
    let is_mode = |key: &str| key == "mode";
    for (field, name) in ARGUMENTS {
        let get = |object: &Map<String, Value>| object.get(*field).cloned().unwrap_or_default();
        let (a, b) = (get(&old), get(&new));
        if a != b {
            let shown = |value: &Value| match value.as_i64() {
                Some(-1) if is_mode(field) => "as in the source".to_owned(),
                Some(mode) if is_mode(field) => format!("{mode:04o}"),
                _ if *field == "owner" => owner(value),
                _ => text(value),
            };
            let subject = Subject::ActionSetting(then.name(), at, name);
            return (subject, changed(shown(&a), shown(&b)));
        }
    }
    (Subject::Action(now.name(), at), Change::Content)
}

fn source(then: &SourceOp, now: &SourceOp) -> Option<(Subject, Change)> {
    if then.identifier != now.identifier {
        return Some((Subject::Attribute("name".to_owned()), changed(&then.identifier, &now.identifier)));
    }
    let mut keys: Vec<&String> = then.attrs.keys().chain(now.attrs.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    // Names of sessions and builds say nothing.
    let counts =
        |key: &str| !matches!(key, "local.unique" | "local.session" | "oci.session" | "local.sharedkeyhint");
    keys.into_iter().filter(|key| counts(key)).find_map(|key| {
        match (then.attrs.get(key), now.attrs.get(key)) {
            (None, Some(value)) => {
                Some((Subject::Attribute(key.clone()), Change::Added(Some(value.clone()))))
            }
            (Some(value), None) => {
                Some((Subject::Attribute(key.clone()), Change::Removed(Some(value.clone()))))
            }
            (Some(a), Some(b)) if a != b => Some((Subject::Attribute(key.clone()), changed(a, b))),
            _ => None,
        }
    })
}

fn changed(then: impl Into<String>, now: impl Into<String>) -> Change {
    Change::Changed { then: then.into(), now: now.into() }
}

fn value<T: serde::Serialize>(it: &T) -> Value {
    serde_json::to_value(it).unwrap_or_default()
}

fn object(value: serde_json::Result<Value>) -> Map<String, Value> {
    match value {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// `user:group` as people write it.
fn owner(value: &Value) -> String {
    let part = |key: &str| {
        let part = &value[key];
        let name = &part["name"]["name"];
        if name.is_null() { part["id"].to_string() } else { text(name) }
    };
    match (&value["user"], &value["group"]) {
        (Value::Null, Value::Null) => "none".to_owned(),
        (_, Value::Null) => part("user"),
        (Value::Null, _) => format!(":{}", part("group")),
        _ => format!("{}:{}", part("user"), part("group")),
    }
}

/// A value as people write it: texts without quotes, nothing as `none`.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(key, value)| format!("{key}: {}", text(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
