//! The types of the language. A [`Type`] is complete in itself: comparing and showing one needs no arena.

use std::fmt;
use std::sync::Arc;

use super::hir::{EnumId, RecordId};

/// The type of an expression.
///
/// `==` is identity, not assignability: records are equal when their fields are, whatever they are called; enums when
/// they are the same declaration. `relate.rs` holds the relation `≤`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Str,
    /// Whole number, 64 bits, signed.
    Int,
    /// `true` or `false`.
    Bool,
    /// A path, absolute or relative, as written.
    Path,
    /// A path with `*`, `**`, `?` and `[…]`.
    Glob,
    /// An image reference.
    Ref,
    /// `scheme://…`.
    Url,
    /// `8080`, `8080/tcp`, `8000-8010/udp`.
    Port,
    /// `linux/arm64`.
    Platform,
    /// `sha256:…`.
    Digest,
    /// Permission bits, `0o755`.
    Mode,
    /// Bytes, `64MiB`.
    Size,
    /// A span of time, `30s`.
    Duration,
    /// `SIGTERM`.
    Signal,
    /// A shell command, or the words of one.
    Cmd,
    /// The words of a command that no shell reads.
    Argv,
    /// Files.
    Fs,
    /// Files with a config.
    Image,
    /// One image per platform.
    Index,
    /// A command that must succeed and gives nothing.
    Check,
    /// What a command sees at some path.
    Mount,
    /// A directory of a command that is a result of it.
    Out,
    /// The prelude's word for a record of `out`; only in signatures of `run` and `exec`.
    Outs,
    /// A value that is never text.
    Secret,
    /// A forwarded agent.
    Ssh,
    /// `[T]`.
    List(Arc<Type>),
    /// `{str: T}`, in insertion order.
    Map(Arc<Type>),
    /// `T?`.
    Option(Arc<Type>),
    /// `{ a: T, b: U = default }`, declared by name, written in place, or computed (`outs`, a record literal).
    Record(Arc<RecordType>),
    /// `enum E { … }`.
    Enum(Arc<EnumType>),
    /// The receiver of a `tree.` method; only in the prelude.
    SelfType,
    /// `fs` or `image`, whichever is given; only in the prelude.
    Tree,
    /// The type parameter of list and map methods; only in the prelude.
    Var,
    /// The element type of `[]`, `{}` and `none`: below every type, without values.
    Never,
    /// The type of what is already reported. Fits everywhere; a checked program has none.
    Error,
}

/// The fields of a record, in order.
#[derive(Debug, Clone)]
pub struct RecordType {
    /// Name of the declaration, for showing; `None` for a record type written in place or computed.
    pub name: Option<Arc<str>>,
    /// Where defaults are found; `None` for computed types, which have none.
    pub decl: Option<RecordId>,
    /// Fields in declaration order; names are unique.
    pub fields: Vec<FieldType>,
    /// How many types stand inside, those that are shared counted each time.
    n_parts: usize,
}

/// Types that one type may be made of: far more than a program needs, few enough to be walked over at each use.
const MAX_PARTS: usize = 50_000;

/// One field of a [`RecordType`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldType {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Whether the declaration gives a default ([`super::hir::RecordDecl`] holds it).
    pub has_default: bool,
}

impl PartialEq for RecordType {
    /// Names of types and defaults of fields do not count.
    fn eq(&self, other: &RecordType) -> bool {
        if std::ptr::eq(self, other) {
            return true;
        }
        self.fields.len() == other.fields.len()
            && self.fields.iter().zip(&other.fields).all(|(a, b)| a.name == b.name && a.ty == b.ty)
    }
}

impl Eq for RecordType {}

impl RecordType {
    /// A record type; `decl` is where the defaults of its fields are.
    pub fn new(name: Option<Arc<str>>, decl: Option<RecordId>, fields: Vec<FieldType>) -> RecordType {
        let n_parts = fields.iter().fold(1, |sum: usize, field| sum.saturating_add(field.ty.n_parts()));
        RecordType { name, decl, fields, n_parts }
    }

    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&FieldType> {
        self.fields.iter().find(|field| &*field.name == name)
    }
}

/// An enum and its variants.
#[derive(Debug, Clone)]
pub struct EnumType {
    /// Its declaration.
    pub id: EnumId,
    /// Name of the declaration.
    pub name: Arc<str>,
    /// Names of the variants in order, without the dot.
    pub variants: Vec<Arc<str>>,
}

impl PartialEq for EnumType {
    fn eq(&self, other: &EnumType) -> bool {
        self.id == other.id
    }
}

impl Eq for EnumType {}

impl Type {
    /// `[element]`.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    /// `{str: value}`.
    pub fn map(value: Type) -> Type {
        Type::Map(Arc::new(value))
    }

    /// `inner?`; an option of an option is the option itself.
    pub fn option(inner: Type) -> Type {
        match inner {
            Type::Option(_) => inner,
            inner => Type::Option(Arc::new(inner)),
        }
    }

    /// A computed record type without name and defaults.
    pub fn record(fields: impl IntoIterator<Item = (Arc<str>, Type)>) -> Type {
        let fields =
            fields.into_iter().map(|(name, ty)| FieldType { name, ty, has_default: false }).collect();
        Type::Record(Arc::new(RecordType::new(None, None, fields)))
    }

    /// How many types this one is made of. Records share their fields' types, so few lines make many of them; what walks
    /// over a type takes this long.
    fn n_parts(&self) -> usize {
        match self {
            Type::List(inner) | Type::Map(inner) | Type::Option(inner) => inner.n_parts().saturating_add(1),
            Type::Record(record) => record.n_parts,
            _ => 1,
        }
    }

    /// Whether this is made of more types than are worked with.
    pub(super) fn is_too_large(&self) -> bool {
        MAX_PARTS < self.n_parts()
    }

    /// Whether a part is only known to be empty: that of `[]`, `none`.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Type::Never => true,
            Type::List(inner) | Type::Map(inner) | Type::Option(inner) => inner.is_open(),
            Type::Record(record) => record.fields.iter().any(|field| field.ty.is_open()),
            _ => false,
        }
    }

    /// Whether an error was already reported somewhere inside.
    pub fn has_error(&self) -> bool {
        match self {
            Type::Error => true,
            Type::List(inner) | Type::Map(inner) | Type::Option(inner) => inner.has_error(),
            Type::Record(record) => record.fields.iter().any(|field| field.ty.has_error()),
            _ => false,
        }
    }

    /// Whether a target may have this type: a tree, an image, an index, a check, or a list, map or record of them.
    pub fn is_buildable(&self) -> bool {
        match self {
            Type::Fs | Type::Image | Type::Index | Type::Check | Type::Error => true,
            Type::List(inner) | Type::Map(inner) => inner.is_buildable(),
            Type::Record(record) => record.fields.iter().all(|field| field.ty.is_buildable()),
            _ => false,
        }
    }

    /// Whether a value of this type can be put into text: one word of a command, a part of a string.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Type::Str
                | Type::Int
                | Type::Bool
                | Type::Path
                | Type::Glob
                | Type::Ref
                | Type::Url
                | Type::Port
                | Type::Platform
                | Type::Digest
                | Type::Mode
                | Type::Size
                | Type::Duration
                | Type::Signal
                | Type::Enum(_)
                | Type::Error
        )
    }

    /// The type called `name` in source, if it is one of the built-in ones.
    pub fn builtin(name: &str) -> Option<Type> {
        Some(match name {
            "str" => Type::Str,
            "int" => Type::Int,
            "bool" => Type::Bool,
            "path" => Type::Path,
            "glob" => Type::Glob,
            "ref" => Type::Ref,
            "url" => Type::Url,
            "port" => Type::Port,
            "platform" => Type::Platform,
            "digest" => Type::Digest,
            "mode" => Type::Mode,
            "size" => Type::Size,
            "duration" => Type::Duration,
            "signal" => Type::Signal,
            "cmd" => Type::Cmd,
            "argv" => Type::Argv,
            "fs" => Type::Fs,
            "image" => Type::Image,
            "index" => Type::Index,
            "check" => Type::Check,
            "mount" => Type::Mount,
            "out" => Type::Out,
            "secret" => Type::Secret,
            "ssh" => Type::Ssh,
            _ => return None,
        })
    }

    /// The names [`Type::builtin`] knows, in the order of the reference.
    pub const BUILTIN_NAMES: &[&str] = &[
        "str", "int", "bool", "path", "glob", "ref", "url", "port", "platform", "digest", "mode", "size",
        "duration", "signal", "cmd", "argv", "fs", "image", "index", "check", "mount", "out", "secret",
        "ssh",
    ];
}

impl fmt::Display for Type {
    /// As written in source; declared records and enums by their names. `…` stands for what is too deep or too much
    /// to be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::new();
        self.show(&mut shown, 0);
        f.write_str(&shown)
    }
}

/// Levels of a type that are shown.
const SHOWN_LEVELS: usize = 4;

/// Bytes behind which no further field is shown.
const SHOWN_LEN: usize = 200;

impl Type {
    fn show(&self, out: &mut String, level: usize) {
        let name = match self {
            Type::Str => "str",
            Type::Int => "int",
            Type::Bool => "bool",
            Type::Path => "path",
            Type::Glob => "glob",
            Type::Ref => "ref",
            Type::Url => "url",
            Type::Port => "port",
            Type::Platform => "platform",
            Type::Digest => "digest",
            Type::Mode => "mode",
            Type::Size => "size",
            Type::Duration => "duration",
            Type::Signal => "signal",
            Type::Cmd => "cmd",
            Type::Argv => "argv",
            Type::Fs => "fs",
            Type::Image => "image",
            Type::Index => "index",
            Type::Check => "check",
            Type::Mount => "mount",
            Type::Out => "out",
            Type::Outs => "outs",
            Type::Secret => "secret",
            Type::Ssh => "ssh",
            Type::SelfType => "Self",
            Type::Tree => "tree",
            Type::Var => "T",
            Type::Never | Type::Error => "_",
            Type::Option(inner) if **inner == Type::Never => "none",
            Type::Enum(decl) => &decl.name,
            Type::List(_) | Type::Map(_) | Type::Record(_) if SHOWN_LEVELS <= level => "…",
            Type::List(element) => return element.show_between("[", out, level, "]"),
            Type::Map(value) => return value.show_between("{str: ", out, level, "}"),
            Type::Option(inner) => {
                inner.show(out, level);
                "?"
            }
            Type::Record(record) => match &record.name {
                Some(name) => name,
                None if record.fields.is_empty() => "{}",
                None => return record.show_fields(out, level),
            },
        };
        out.push_str(name);
    }

    fn show_between(&self, open: &str, out: &mut String, level: usize, close: &str) {
        out.push_str(open);
        self.show(out, level + 1);
        out.push_str(close);
    }
}

impl RecordType {
    fn show_fields(&self, out: &mut String, level: usize) {
        for (i, field) in self.fields.iter().enumerate() {
            out.push_str(if i == 0 { "{ " } else { ", " });
            if SHOWN_LEN < out.len() {
                out.push('…');
                break;
            }
            out.push_str(&field.name);
            out.push_str(": ");
            field.ty.show(out, level + 1);
        }
        out.push_str(" }");
    }
}
