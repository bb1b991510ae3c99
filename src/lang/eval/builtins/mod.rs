//! What the names of the prelude do.

mod command;
mod files;
mod image;
mod inputs;
mod mounts;
mod remote;
mod source;
mod values;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::error::{Budget, Cause};
use super::interp::{Env, Eval, Evaluator, Gather, as_list, as_platform, as_text};
use super::value::{Files, Image, Value};
use crate::base::{Platform, Span};
use crate::lang::hir::{Builtin, BuiltinCall, Expr, ExprKind, ListItem, MapItem, Part};
use crate::lang::types::Type;

/// A call with its arguments evaluated; an argument that was not given is `None`.
pub(super) struct Args<'a> {
    call: &'a BuiltinCall,
    values: Vec<Option<Value>>,
    /// Type of the result.
    ty: &'a Type,
    /// The name of what is called up to the end of the call: the statement, without the chain before it.
    span: Span,
}

/// The names of the arguments, in the order of the prelude; `self` is the receiver.
fn names(builtin: Builtin) -> &'static [&'static str] {
    const RUN: &[&str] = &[
        "self",
        "cmd",
        "mounts",
        "outs",
        "env",
        "secret_env",
        "workdir",
        "user",
        "network",
        "security",
        "hosts",
        "memory",
        "cpus",
        "devices",
        "exit",
        "read_only",
        "cache",
        "name",
    ];
    const CHECK: &[&str] = &[
        "self",
        "cmd",
        "mounts",
        "env",
        "secret_env",
        "workdir",
        "user",
        "network",
        "security",
        "memory",
        "exit",
        "cache",
        "name",
    ];
    match builtin {
        Builtin::Scratch | Builtin::TargetPlatform | Builtin::BuildPlatform => &[],
        Builtin::Image => &["ref", "platform", "digest", "pull", "config"],
        Builtin::Local => &["dir", "include", "exclude", "follow"],
        Builtin::OciLayout => &["dir", "ref", "platform"],
        Builtin::Git => &["url", "ref", "subdir", "commit", "keep_git_dir", "submodules", "token", "ssh"],
        Builtin::Http => &["url", "digest", "name", "mode", "token"],
        Builtin::Dockerfile => &[],
        Builtin::Read | Builtin::ReadJson => &["file"],
        Builtin::Files => &["pattern"],
        Builtin::Copy => &[
            "src", "self", "from", "to", "include", "exclude", "chown", "mode", "follow", "unpack",
            "optional", "parents",
        ],
        Builtin::TreeCopy => &[
            "self", "src", "from", "to", "include", "exclude", "chown", "mode", "follow", "unpack",
            "optional", "parents",
        ],
        Builtin::Merge => &["layers"],
        Builtin::Diff => &["lower", "upper"],
        Builtin::TreeLayer => &["self", "add"],
        Builtin::TreeMkdir => &["self", "dir", "mode", "chown"],
        Builtin::TreeWrite => &["self", "file", "content", "mode", "chown"],
        Builtin::TreeSymlink => &["self", "file", "points_to"],
        Builtin::TreeRemove => &["self", "what", "optional"],
        Builtin::TreeAt => &["self", "dir"],
        Builtin::TreeOnly | Builtin::TreeWithout => &["self", "patterns"],
        Builtin::TreeRequire => &["self", "checks"],
        Builtin::TreeImage => &["self", "platform"],
        Builtin::ImageRun | Builtin::ImageExec => RUN,
        Builtin::ImageCheck => CHECK,
        Builtin::SecretFile => &["self", "at", "mode", "owner", "optional"],
        Builtin::SshAgent => &["self", "at", "mode", "optional"],
        Builtin::Raw => &["text"],
        Builtin::Ro | Builtin::Rw => &["src", "at"],
        Builtin::Cache => &["at", "id", "sharing", "seed"],
        Builtin::Tmpfs => &["at", "size"],
        Builtin::Out => &["at", "init"],
        Builtin::ImageConfig
        | Builtin::ImagePlatform
        | Builtin::ImageTags
        | Builtin::IndexTags
        | Builtin::IndexImages
        | Builtin::PlatformOs
        | Builtin::PlatformArch
        | Builtin::PlatformVariant
        | Builtin::StrTrim
        | Builtin::StrUpper
        | Builtin::StrLower
        | Builtin::StrLen
        | Builtin::PathBase
        | Builtin::PathDir
        | Builtin::ListLen
        | Builtin::ListUnique
        | Builtin::ListSort
        | Builtin::MapLen
        | Builtin::MapKeys
        | Builtin::MapValues => &["self"],
        Builtin::ImageWith => &[
            "self",
            "env",
            "workdir",
            "user",
            "entrypoint",
            "cmd",
            "labels",
            "ports",
            "volumes",
            "stop_signal",
            "shell",
            "healthcheck",
        ],
        Builtin::ImageTag | Builtin::IndexTag => &["self", "refs"],
        Builtin::StrStartsWith => &["self", "prefix"],
        Builtin::StrEndsWith => &["self", "suffix"],
        Builtin::StrContains => &["self", "part"],
        Builtin::StrMatches => &["self", "regex"],
        Builtin::StrReplace => &["self", "what", "by"],
        Builtin::StrSplit | Builtin::ListJoin => &["self", "by"],
        Builtin::ListContains => &["self", "x"],
        Builtin::MapGet => &["self", "key"],
        Builtin::Range => &["n"],
    }
}

impl Args<'_> {
    fn position(&self, name: &str) -> Option<usize> {
        names(self.call.builtin).iter().position(|known| *known == name)
    }

    /// The argument, if it was given; `check` has fewer of them than `run`, and never gives the others.
    fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.position(name)?).and_then(Option::as_ref)
    }

    /// Where the argument stands, else the call's name.
    fn span_of(&self, name: &str) -> Span {
        let given = self.position(name).and_then(|at| self.call.args.get(at)?.as_ref());
        given.map_or(self.call.name_span, |expr| expr.span)
    }

    /// Where the `at`-th element of a list that is written out stands, else the argument.
    fn span_of_item(&self, name: &str, at: usize) -> Span {
        let given = self.position(name).and_then(|at| self.call.args.get(at)?.as_ref());
        match given.map(|expr| &expr.kind) {
            Some(ExprKind::List(items)) if items.iter().all(|it| matches!(it, ListItem::Item(_))) => {
                match items.get(at) {
                    Some(ListItem::Item(item)) => item.span,
                    _ => self.span_of(name),
                }
            }
            _ => self.span_of(name),
        }
    }

    /// Where the key, and where the value of an entry of a map that is written out stand, else the argument.
    fn spans_of_entry(&self, name: &str, key: &str) -> (Span, Span) {
        let given = self.position(name).and_then(|at| self.call.args.get(at)?.as_ref());
        let entry = match given.map(|expr| &expr.kind) {
            Some(ExprKind::Map(items)) if items.len() == 1 => match &items[0] {
                MapItem::Entry(written, value) => Some((written.span, value.span)),
                MapItem::Spread(_) => None,
            },
            Some(ExprKind::Map(items)) => items.iter().rev().find_map(|item| match item {
                MapItem::Entry(written, value) if is_text(written, key) => Some((written.span, value.span)),
                _ => None,
            }),
            _ => None,
        };
        entry.unwrap_or_else(|| (self.span_of(name), self.span_of(name)))
    }

    /// The argument, which has no default.
    fn required(&self, name: &str) -> &Value {
        self.get(name).unwrap_or_else(|| panic!("`{}` without `{name}`", self.call.builtin.key()))
    }

    /// A text without default.
    fn text(&self, name: &str) -> &Arc<str> {
        as_text(self.required(name))
    }

    /// A text that may be absent or `none`.
    fn maybe_text(&self, name: &str) -> Option<&Arc<str>> {
        self.get(name).and_then(Value::option).map(as_text)
    }

    /// A bool with a default.
    fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| *value == Value::Bool(true))
    }

    /// The texts of a list whose default is `[]`.
    fn texts(&self, name: &str) -> Vec<String> {
        self.get(name).map(Evaluator::strings).unwrap_or_default()
    }

    /// The elements of a list whose default is `[]`.
    fn items(&self, name: &str) -> &[Value] {
        self.get(name).map_or(&[], as_list)
    }

    /// The index of the variant of an enum, 0 by default.
    fn variant(&self, name: &str) -> u32 {
        match self.get(name) {
            Some(Value::Variant(_, idx)) => *idx,
            _ => 0,
        }
    }

    /// A tree without default, as files.
    fn files(&self, name: &str) -> Files {
        as_files(self.required(name))
    }

    /// The receiver of a method of `image`.
    fn image(&self) -> &Arc<Image> {
        match self.required("self") {
            Value::Image(image) => image,
            other => panic!("expected an image, found {other:?}: the checker knows the types"),
        }
    }
}

/// The files of an fs or an image.
fn as_files(value: &Value) -> Files {
    match value {
        Value::Fs(files) => files.clone(),
        Value::Image(image) => Files::all(image.tree),
        other => panic!("expected a tree, found {other:?}: the checker knows the types"),
    }
}

impl Evaluator<'_> {
    /// A call of something of the prelude.
    pub(super) fn builtin(&mut self, call: &BuiltinCall, expr: &Expr, env: &mut Env) -> Eval {
        let mut gather = Gather::default();
        let mut values = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            values.push(match arg {
                Some(arg) => gather.take(self.expr(arg, env))?,
                None => None,
            });
        }
        gather.finish()?;
        let span = Span { end: expr.span.end.max(call.name_span.end), ..call.name_span };
        if Budget::Ops.limit() < self.graph.len() as u64 {
            return self.too_large(span, Budget::Ops);
        }
        let args = Args { call, values, ty: &expr.ty, span };
        match call.builtin {
            Builtin::Scratch => Ok(Value::Fs(Files::all(None))),
            Builtin::TargetPlatform => Ok(Value::Platform(self.target_platform())),
            Builtin::BuildPlatform => Ok(Value::Platform(Arc::new(self.inputs.build_platform.clone()))),
            Builtin::Image => self.image(&args),
            Builtin::Local => self.local(&args),
            Builtin::OciLayout => self.oci_layout(&args),
            Builtin::Git => self.git(&args),
            Builtin::Http => self.http(&args),
            Builtin::Dockerfile => self.not_yet(format!("`{}`", call.builtin.key()), call.name_span),
            Builtin::Read => self.read(&args),
            Builtin::ReadJson => self.read_json(&args),
            Builtin::Files => self.files(&args),
            Builtin::Copy | Builtin::TreeCopy => self.copy(&args),
            Builtin::Merge => self.merge(&args),
            Builtin::Diff => self.diff(&args),
            Builtin::TreeLayer => self.layer(&args),
            Builtin::TreeMkdir => self.mkdir(&args),
            Builtin::TreeWrite => self.write(&args),
            Builtin::TreeSymlink => self.symlink(&args),
            Builtin::TreeRemove => self.remove(&args),
            Builtin::TreeAt => self.at(&args),
            Builtin::TreeOnly => self.filtered(&args, args.texts("patterns"), Vec::new()),
            Builtin::TreeWithout => self.filtered(&args, Vec::new(), args.texts("patterns")),
            Builtin::TreeImage => self.image_of_tree(&args),
            Builtin::TreeRequire => self.require(&args),
            Builtin::ImageRun | Builtin::ImageExec | Builtin::ImageCheck => self.run(&args),
            Builtin::Raw => Ok(values::raw(args.text("text"))),
            Builtin::Ro => Ok(self.ro(&args)),
            Builtin::Rw => Ok(self.rw(&args)),
            Builtin::Cache => Ok(self.cache(&args)),
            Builtin::Tmpfs => self.tmpfs(&args),
            Builtin::Out => Ok(mounts::out(&args)),
            Builtin::SecretFile => self.secret_file(&args),
            Builtin::SshAgent => Ok(self.ssh_agent(&args)),
            Builtin::ImageConfig => self.config(&args),
            Builtin::ImagePlatform => Ok(Value::Platform(Arc::new(args.image().config.platform.clone()))),
            Builtin::ImageTags => Ok(Value::strs(&args.image().tags)),
            Builtin::IndexTags => Ok(Value::strs(image::as_index(&args).all_tags())),
            Builtin::IndexImages => {
                let images = image::as_index(&args).images.iter();
                Ok(Value::List(images.map(|image| Value::Image(image.clone())).collect()))
            }
            Builtin::ImageWith => self.with(&args),
            Builtin::ImageTag => self.tag_image(&args),
            Builtin::IndexTag => self.tag_index(&args),
            Builtin::PlatformOs
            | Builtin::PlatformArch
            | Builtin::PlatformVariant
            | Builtin::StrTrim
            | Builtin::StrUpper
            | Builtin::StrLower
            | Builtin::StrStartsWith
            | Builtin::StrEndsWith
            | Builtin::StrContains
            | Builtin::StrMatches
            | Builtin::StrReplace
            | Builtin::StrSplit
            | Builtin::StrLen
            | Builtin::PathBase
            | Builtin::PathDir
            | Builtin::ListLen
            | Builtin::ListUnique
            | Builtin::ListSort
            | Builtin::ListContains
            | Builtin::ListJoin
            | Builtin::MapLen
            | Builtin::MapKeys
            | Builtin::MapValues
            | Builtin::MapGet
            | Builtin::Range => self.value_method(&args),
        }
    }

    fn not_yet<T>(&self, what: String, span: Span) -> Eval<T> {
        self.error(span, Cause::NotYet { what })
    }

    /// A platform argument whose default is `target_platform`.
    fn platform_arg(&mut self, args: &Args<'_>, name: &str) -> Arc<Platform> {
        match args.get(name) {
            Some(value) => as_platform(value),
            None => self.target_platform(),
        }
    }
}

/// Whether an expression is the literal `text`.
fn is_text(expr: &Expr, text: &str) -> bool {
    match &expr.kind {
        ExprKind::Literal(literal) => match literal.parts.as_slice() {
            [Part::Text(written)] => **written == *text,
            _ => false,
        },
        _ => false,
    }
}
