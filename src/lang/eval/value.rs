//! What expressions evaluate to. Cloning a value is cheap; trees are handles into the build graph.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::base::{Platform, Span};
use crate::graph::ir::{Edge, ImageConfig, MountSpec, Tree};
use crate::lang::hir::{EnumId, SecretId, SshId};

/// A value. The checker's types say which kind stands where; a value of `T?` is a value of `T` or [`Value::None`].
#[derive(Debug, Clone)]
pub enum Value {
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `mode`.
    Mode(u32),
    /// `size` in bytes.
    Size(u64),
    /// `duration` in nanoseconds.
    Duration(u64),
    /// `none`.
    None,
    /// `str`, and every type that is a validated text: `path`, `glob`, `ref`, `url`, `port`, `digest`, `signal`.
    Str(Arc<str>),
    /// `platform`, as written.
    Platform(Arc<Platform>),
    /// A variant of an enum, by its index.
    Variant(EnumId, u32),
    /// `cmd`.
    Command(Arc<Command>),
    /// `[T]`; also `argv`, as a list of words.
    List(Arc<[Value]>),
    /// `{str: T}`.
    Map(Arc<Map>),
    /// A record: names and values in the order of its type.
    Record(Arc<[(Arc<str>, Value)]>),
    /// `fs`.
    Fs(Files),
    /// `image`.
    Image(Arc<Image>),
    /// `index`.
    Index(Arc<Index>),
    /// `check`: what the command leaves of its root, which nobody looks at.
    Check(Edge),
    /// `mount`.
    Mount(Arc<Mount>),
    /// `out`.
    Out(Arc<Out>),
    /// `secret`.
    Secret(SecretId),
    /// `ssh`.
    Ssh(SshId),
}

/// A command for `run`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Text for the image's shell; quoted when the shell is known.
    Shell(Vec<CommandPart>),
    /// Words that no shell reads.
    Words(Vec<String>),
}

/// A part of a shell command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CommandPart {
    /// As written.
    Text(Arc<str>),
    /// A value, one word; where its expression stands.
    Word(Arc<str>, Span),
    /// A list, one word per element; where its expression stands.
    Words(Vec<String>, Span),
}

/// A tree, or a directory of one: `at(dir)` stays a path until a tree is needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Files {
    /// The whole tree.
    pub tree: Tree,
    /// Directory of it, absolute and clean; `None` is all of it.
    pub dir: Option<Arc<str>>,
}

impl Files {
    /// All of `tree`.
    pub fn all(tree: Tree) -> Files {
        Files { tree, dir: None }
    }
}

/// A tree with a config, platform and names.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its files.
    pub tree: Tree,
    /// Its config, which holds its platform.
    pub config: ImageConfig,
    /// Normalised references.
    pub tags: Vec<String>,
    /// Whether the config of its base is known; it is not for `image(…, config: false)`.
    pub base: BaseConfig,
    /// Whether the program set `cmd`: then a later `entrypoint` keeps it.
    pub cmd: Cmd,
}

/// What is known of the config an image started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseConfig {
    /// All of it.
    Known,
    /// Nothing: it was not asked for.
    Unknown,
}

/// Where an image's `cmd` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmd {
    /// From the base, if there is one.
    Inherited,
    /// From `.with(cmd: …)`.
    Set,
}

impl Image {
    /// The same image with other files.
    pub fn with_tree(&self, tree: Tree) -> Image {
        Image { tree, ..self.clone() }
    }

    /// Directory that relative paths start from.
    pub fn workdir(&self) -> &str {
        if self.config.workdir.is_empty() { "/" } else { &self.config.workdir }
    }
}

/// One image per platform.
#[derive(Debug, Clone)]
pub struct Index {
    /// In the order of the platforms.
    pub images: Vec<Arc<Image>>,
    /// Its own names, without those of the images.
    pub tags: Vec<String>,
}

impl Index {
    /// Its own tags and those of its images, each once.
    pub fn all_tags(&self) -> Vec<String> {
        let mut all = self.tags.clone();
        for tag in self.images.iter().flat_map(|image| &image.tags) {
            if !all.contains(tag) {
                all.push(tag.clone());
            }
        }
        all
    }
}

/// What a command sees at some path.
#[derive(Debug, Clone)]
pub struct Mount {
    /// The mount; `dest` as written.
    pub spec: MountSpec,
    /// The call that made it.
    pub span: Span,
}

/// A result directory of a command.
#[derive(Debug, Clone)]
pub struct Out {
    /// Where, as written.
    pub at: Arc<str>,
    /// What it holds at first.
    pub init: Files,
    /// The call that made it.
    pub span: Span,
}

/// A map in insertion order.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Arc<str>, Value)>,
    index: HashMap<Arc<str>, usize>,
}

impl Map {
    /// Sets a key; a known one keeps its place.
    pub fn set(&mut self, key: Arc<str>, value: Value) {
        match self.index.get(&key) {
            Some(&at) => self.entries[at].1 = value,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Keys and values in order.
    pub fn entries(&self) -> &[(Arc<str>, Value)] {
        &self.entries
    }
}

impl FromIterator<(Arc<str>, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Value)>>(entries: I) -> Map {
        let mut map = Map::default();
        for (key, value) in entries {
            map.set(key, value);
        }
        map
    }
}

impl Value {
    /// A text value.
    pub fn str(text: impl Into<Arc<str>>) -> Value {
        Value::Str(text.into())
    }

    /// A list of texts.
    pub fn strs<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Value {
        Value::List(texts.into_iter().map(|text| Value::str(text.as_ref())).collect())
    }

    /// `Some` text or `none`.
    pub fn optional(text: Option<&str>) -> Value {
        text.map_or(Value::None, Value::str)
    }

    /// The value inside an option.
    pub fn option(&self) -> Option<&Value> {
        match self {
            Value::None => None,
            value => Some(value),
        }
    }
}

/// Equality of the language, and identity for memoisation: trees are equal when they are the same output of the same
/// vertex, images and indexes when they are the same object.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Mode(a), Value::Mode(b)) => a == b,
            (Value::Size(a), Value::Size(b)) | (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Platform(a), Value::Platform(b)) => a == b,
            (Value::Variant(a, i), Value::Variant(b, j)) => a == b && i == j,
            (Value::Command(a), Value::Command(b)) => a == b,
            // Lists of lists that share their parts are larger than they look.
            (Value::List(a), Value::List(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Map(a), Value::Map(b)) => Arc::ptr_eq(a, b) || a.entries == b.entries,
            (Value::Record(a), Value::Record(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Fs(a), Value::Fs(b)) => a == b,
            (Value::Image(a), Value::Image(b)) => Arc::ptr_eq(a, b),
            (Value::Index(a), Value::Index(b)) => Arc::ptr_eq(a, b),
            (Value::Check(a), Value::Check(b)) => a == b,
            (Value::Mount(a), Value::Mount(b)) => Arc::ptr_eq(a, b),
            (Value::Out(a), Value::Out(b)) => Arc::ptr_eq(a, b),
            (Value::Secret(a), Value::Secret(b)) => a == b,
            (Value::Ssh(a), Value::Ssh(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Bool(value) => value.hash(state),
            Value::Int(value) => value.hash(state),
            Value::Mode(value) => value.hash(state),
            Value::Size(value) | Value::Duration(value) => value.hash(state),
            Value::None => {}
            Value::Str(text) => text.hash(state),
            Value::Platform(platform) => platform.hash(state),
            Value::Variant(id, idx) => (id, idx).hash(state),
            Value::Command(command) => command.hash(state),
            Value::List(items) => shallow(items.iter(), state),
            Value::Map(map) => shallow(map.entries.iter().map(|(_, value)| value), state),
            Value::Record(fields) => shallow(fields.iter().map(|(_, value)| value), state),
            Value::Fs(files) => files.hash(state),
            Value::Image(image) => Arc::as_ptr(image).hash(state),
            Value::Index(index) => Arc::as_ptr(index).hash(state),
            Value::Check(edge) => edge.hash(state),
            Value::Mount(mount) => Arc::as_ptr(mount).hash(state),
            Value::Out(out) => Arc::as_ptr(out).hash(state),
            Value::Secret(id) => id.hash(state),
            Value::Ssh(id) => id.hash(state),
        }
    }
}

/// Hashes how many there are and the first of them, whole only where they hold no others: values may share their parts,
/// and going through all of them would take time without bound.
fn shallow<'v, H: Hasher>(values: impl ExactSizeIterator<Item = &'v Value>, state: &mut H) {
    const MAX: usize = 16;
    values.len().hash(state);
    for value in values.take(MAX) {
        match value {
            Value::List(items) => items.len().hash(state),
            Value::Map(map) => map.entries.len().hash(state),
            Value::Record(fields) => fields.len().hash(state),
            value => value.hash(state),
        }
    }
}
