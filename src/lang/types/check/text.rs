//! Literals in quotes: what may be inserted, what can be validated now, shell variables that look like values.

use std::sync::Arc;

use super::super::error::TypeError;
use super::super::hir::{Expr, ExprKind, Literal, LiteralKind, Part};
use super::super::literal::validate;
use super::super::ty::Type;
use super::{Checker, Symbol};
use crate::base::Span;
use crate::lang::syntax::ast;

impl<'a> Checker<'a> {
    /// A literal of `kind`.
    pub(super) fn text(&mut self, parts: &'a [ast::TextPart], kind: LiteralKind, span: Span) -> Expr {
        let command = matches!(kind, LiteralKind::Cmd | LiteralKind::Argv);
        let mut typed: Vec<Part> = Vec::with_capacity(parts.len());
        let mut plain = String::new();
        let mut has_values = false;
        for part in parts {
            match part {
                ast::TextPart::Text(text, at) => {
                    plain.push_str(text);
                    if kind == LiteralKind::Cmd {
                        self.shell_variables(parts, *at);
                    }
                    typed.push(Part::Text(text.clone()));
                }
                ast::TextPart::Expr(value) => {
                    has_values = true;
                    plain.push('x');
                    let value = self.inserted(value, command);
                    typed.push(Part::Value(value));
                }
            }
        }
        let ty = literal_type(kind);
        let now = !has_values || kind == LiteralKind::Argv;
        if now && let Err(why) = validate(kind, &plain) {
            self.error(TypeError::BadLiteral { kind: kind.name(), why, help: None, at: span });
            return self.broken(span);
        }
        Expr { kind: ExprKind::Literal(Literal { kind, parts: typed }), ty, span }
    }

    /// `#{value}`.
    fn inserted(&mut self, value: &'a ast::Expr, command: bool) -> Expr {
        let value = self.infer(value);
        let fits = match &value.ty {
            Type::List(element) if command => element.is_scalar() || **element == Type::Never,
            ty => ty.is_scalar(),
        };
        if fits {
            return value;
        }
        let at = value.span;
        match &value.ty {
            Type::Secret => {
                let item = match value.kind {
                    ExprKind::Secret(id) => Some(self.program.secrets[id.index()].item.clone()),
                    _ => None,
                };
                let (name, declared) = match item {
                    Some(item) => (Some(item.name.to_string()), Some(item.span)),
                    None => (None, None),
                };
                self.error(TypeError::SecretInText { name, declared, command, at });
            }
            found if found.has_error() => {}
            found => {
                let found = found.clone();
                self.error(TypeError::NotText { found, command, at });
            }
        }
        self.broken(at)
    }

    /// Warns of each `${name}` in the text at `at` where `name` is a bkl value, unless the command sets it itself.
    fn shell_variables(&mut self, parts: &[ast::TextPart], at: Span) {
        let written = self.sources.file(at.file).slice(at);
        let mut found = Vec::new();
        for (start, _) in written.match_indices("${") {
            let rest = &written[start + 2..];
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            if rest[len..].starts_with('}') && !written[..start].ends_with(['\\', '$']) {
                found.push((rest[..len].to_owned(), start, start + 2 + len + 1));
            }
        }
        for (name, start, end) in found {
            let local = self.local(&name).map(|(_, local)| local.span);
            let item = self.scope().values.get(&*name);
            let item =
                item.filter(|it| matches!(it.what, Symbol::Param(_) | Symbol::Let(_))).map(|it| it.span);
            let Some(declared) = local.or(item) else { continue };
            if !sets_variable(parts, &name) && !self.frame.env_names.iter().any(|it| **it == *name) {
                let at = Span::new(at.file, at.start + start as u32, at.start + end as u32);
                // It was meant to be used.
                self.mention(declared);
                self.error(TypeError::ShellVariable { name, at });
            }
        }
    }
}

/// Whether a script gives the variable a value: `name=…`, `for name in`, `read name`.
fn sets_variable(parts: &[ast::TextPart], name: &str) -> bool {
    parts.iter().any(|part| {
        let ast::TextPart::Text(text, _) = part else { return false };
        let words: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || matches!(c, ';' | '(' | '{' | '&')).collect();
        words.iter().any(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
            || words.windows(2).any(|pair| matches!(pair[0], "for" | "read") && pair[1] == name)
    })
}

/// The type of a literal of `kind`.
fn literal_type(kind: LiteralKind) -> Type {
    match kind {
        LiteralKind::Str => Type::Str,
        LiteralKind::Path => Type::Path,
        LiteralKind::Glob => Type::Glob,
        LiteralKind::Ref => Type::Ref,
        LiteralKind::Url => Type::Url,
        LiteralKind::Port => Type::Port,
        LiteralKind::Platform => Type::Platform,
        LiteralKind::Digest => Type::Digest,
        LiteralKind::Signal => Type::Signal,
        LiteralKind::Cmd => Type::Cmd,
        LiteralKind::Argv => Type::Argv,
    }
}

/// Names of the variables that a call's `env:` and `secret_env:` literals set.
pub(super) fn env_names(args: &[ast::Arg]) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    for arg in args {
        let is_env = arg.name.as_ref().is_some_and(|name| matches!(&*name.text, "env" | "secret_env"));
        let ast::ExprKind::Record(entries) = &arg.value.kind else { continue };
        for entry in entries.iter().filter(|_| is_env) {
            match entry {
                ast::Entry::Field(name, _) => names.push(name.text.clone()),
                ast::Entry::Keyed(key, _) => {
                    if let ast::ExprKind::Text(parts) = &key.kind
                        && let [ast::TextPart::Text(text, _)] = parts.as_slice()
                    {
                        names.push(text.clone());
                    }
                }
                ast::Entry::Spread(_) => {}
            }
        }
    }
    names
}
