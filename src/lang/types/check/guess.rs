//! What was probably meant: words of other languages, literals of the wrong form, names that are something else.
//!
//! Every answer is a help text that names a replacement: "did you mean `x`?" or "write `…`".

use std::sync::Arc;

use super::super::error::{Guess, Mismatch, TypeError};
use super::super::signatures::Signature;
use super::super::ty::Type;
use super::{Checker, Symbol, TypeSymbol, near};
use crate::base::Span;
use crate::lang::syntax::ast;

/// Types of other languages.
const TYPES: &[(&[&str], &str)] = &[
    (&["string", "String", "text", "Text", "char"], "str"),
    (&["boolean", "Boolean", "Bool"], "bool"),
    (&["integer", "number", "Number", "i32", "i64", "u16", "u32", "u64", "long", "Int"], "int"),
    (&["file", "File", "dir", "Dir", "directory", "Directory", "tree", "Tree", "files", "FS"], "fs"),
    (&["container", "Container"], "image"),
    (&["list", "List", "array", "Array", "vec", "Vec"], "[T]"),
    (&["map", "Map", "dict", "Dict", "object", "hash"], "{str: T}"),
    (&["option", "Option", "optional", "Optional", "Maybe"], "T?"),
];

/// Methods of other languages.
const METHODS: &[(&[&str], &str)] = &[
    (&["length", "size", "count"], "len"),
    (&["includes", "has", "contains_key"], "contains"),
    (&["strip", "chomp"], "trim"),
    (&["uppercase", "to_upper", "to_uppercase", "toUpperCase"], "upper"),
    (&["lowercase", "to_lower", "to_lowercase", "toLowerCase"], "lower"),
    (&["starts", "has_prefix", "beginsWith"], "starts_with"),
    (&["ends", "has_suffix"], "ends_with"),
    (&["match", "test", "regex"], "matches"),
    (&["distinct", "uniq"], "unique"),
    (&["sorted", "order"], "sort"),
    (&["add", "put", "copy_from"], "copy"),
    (&["sh", "shell", "command"], "run"),
    (&["rm", "delete", "unlink"], "remove"),
    (&["mkdirs", "makedirs"], "mkdir"),
    (&["ln", "link"], "symlink"),
    (&["filter", "exclude"], "without"),
];

/// Instructions of a Dockerfile that are arguments of `with`.
const WITH: &[(&[&str], &str)] = &[
    (&["env", "set_env", "envs"], "env: { NAME: \"value\" }"),
    (&["workdir", "dir", "cwd", "chdir"], "workdir: \"/dir\""),
    (&["user"], "user: \"name\""),
    (&["entrypoint"], "entrypoint: [\"word\"]"),
    (&["cmd"], "cmd: [\"word\"]"),
    (&["label", "labels"], "labels: { key: \"value\" }"),
    (&["expose", "port", "ports"], "ports: [8080]"),
    (&["volume", "volumes"], "volumes: [\"/dir\"]"),
    (&["stopsignal", "stop_signal"], "stop_signal: \"SIGTERM\""),
    (&["healthcheck"], "healthcheck: { test: […] }"),
];

fn known(table: &[(&[&'static str], &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(names, _)| names.contains(&name)).map(|(_, meant)| *meant)
}

/// The argument of `with` that an unknown method of an image stands for.
pub(super) fn with_argument(name: &str) -> Option<&'static str> {
    known(WITH, name)
}

/// Whether a member of this name is one of another language that ours is near to.
pub(super) fn method_meant(name: &str) -> Option<&'static str> {
    known(METHODS, name)
}

impl<'a> Checker<'a> {
    /// For a name that nothing has.
    pub(super) fn name_help(&self, name: &str, candidates: Vec<&str>) -> Option<Guess> {
        let word = match name {
            "null" | "nil" | "None" | "undefined" | "NULL" => Some("none"),
            "True" | "TRUE" | "yes" => Some("true"),
            "False" | "FALSE" | "no" => Some("false"),
            _ => None,
        };
        if let Some(word) = word {
            return Some(Guess::instead(word));
        }
        if let Some(near) = near(name, candidates) {
            return Some(Guess::instead(near));
        }
        let is_method = |it: &&Signature| it.receiver.is_some() && *it.name == *name;
        if let Some(member) = self.prelude.signatures.iter().find(is_method) {
            let call = if member.params.is_some() { "(…)" } else { "" };
            return Some(Guess::says(format!("it belongs to a value: write `x.{name}{call}`")));
        }
        let of_enum = |decl: &TypeSymbol| match decl {
            TypeSymbol::Enum(decl) => decl.variants.iter().any(|it| **it == *name),
            _ => false,
        };
        if self.scope().types.values().any(|it| of_enum(&it.what)) {
            return Some(Guess {
                text: format!("a variant has a dot: write `.{name}`"),
                replacement: Some(format!(".{name}")),
            });
        }
        let import = self.scope().values.iter().find(|(_, named)| match named.what {
            Symbol::Import(Some(module)) => {
                self.scopes[module.index()].values.get(name).is_some_and(|it| it.public)
            }
            _ => false,
        });
        import.map(|(module, _)| Guess::instead(format!("{module}.{name}")))
    }

    /// For a type that nothing declares.
    pub(super) fn type_help(&self, name: &str, candidates: Vec<&str>) -> Option<Guess> {
        if let Some(ty) = known(TYPES, name) {
            let generic = ty.contains('T');
            return Some(if generic {
                Guess::says(format!("write `{ty}`, with the type in the place of `T`"))
            } else {
                Guess::instead(ty)
            });
        }
        if let Some(near) = near(name, candidates) {
            return Some(Guess::instead(near));
        }
        match self.scope().values.get(name).map(|named| named.what)? {
            Symbol::Import(_) => {
                Some(Guess::says(format!("it is a module: its types are written `{name}.Type`")))
            }
            Symbol::Broken => None,
            _ => Some(Guess::says("it is a value, not a type")),
        }
    }

    /// Reports a value of the wrong type.
    pub(super) fn mismatch(&mut self, expected: Type, found: Type, at: Span) {
        let cause = self.frame.cause.take();
        self.error(TypeError::Mismatch(Box::new(Mismatch { expected, found, at, cause, hint: None })));
    }

    /// Types `expr` where a `want` is wanted because of what stands at `span`.
    pub(super) fn check_because(
        &mut self,
        expr: &'a ast::Expr,
        want: &Type,
        span: Span,
        text: String,
    ) -> super::hir::Expr {
        self.frame.cause = Some((span, text));
        let typed = self.check(expr, want);
        self.frame.cause = None;
        typed
    }
}

/// The literal that was meant where a `want` is wanted.
pub(super) fn literal_meant(expr: &ast::Expr, want: &Type, written: &str) -> Option<String> {
    let want = match want {
        Type::Option(inner) => inner,
        want => want,
    };
    match &expr.kind {
        ast::ExprKind::Text(parts) => {
            let text = match parts.as_slice() {
                [ast::TextPart::Text(text, _)] => text,
                _ => return None,
            };
            text_meant(text, want)
        }
        ast::ExprKind::Int(_) => number_meant(written, want),
        _ => None,
    }
}

fn text_meant(text: &Arc<str>, want: &Type) -> Option<String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match want {
        Type::Enum(decl) => {
            let variants = decl.variants.iter().map(|it| &**it);
            let meant = variants
                .clone()
                .find(|it| **it == **text)
                .map(str::to_owned)
                .or_else(|| near(text, variants))?;
            Some(format!("a variant is written with a dot: write `.{meant}`"))
        }
        Type::Int if digits => Some(format!("a number has no quotes: write `{text}`")),
        Type::Bool if matches!(&**text, "true" | "false") => Some(format!("write `{text}`, without quotes")),
        Type::Mode if digits => mode_meant(text),
        Type::Size | Type::Duration if text.starts_with(|c: char| c.is_ascii_digit()) => {
            let kind = if *want == Type::Size { "a size" } else { "a duration" };
            Some(format!("{kind} has no quotes: write `{text}`"))
        }
        _ => None,
    }
}

fn number_meant(written: &str, want: &Type) -> Option<String> {
    match want {
        Type::Mode => mode_meant(written),
        Type::Size => Some(format!("sizes have a unit: write `{written}MiB`")),
        Type::Duration => Some(format!("durations have a unit: write `{written}s`")),
        Type::Signal => Some(format!("write `\"{written}\"`")),
        Type::List(element) if **element == Type::Port => Some("make it a list: `[…]`".to_owned()),
        _ => None,
    }
}

fn mode_meant(digits: &str) -> Option<String> {
    let digits = digits.trim_start_matches('0');
    let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    octal.then(|| format!("modes are octal: write `0o{digits}`"))
}
