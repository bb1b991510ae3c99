//! Names that nothing uses, and names that hide others: said only of programs that are otherwise sound.

use super::super::error::TypeError;
use super::super::hir::Origin;
use super::Checker;
use crate::base::Span;
use crate::lang::syntax::ast::{self, ItemKind};

impl<'a> Checker<'a> {
    /// Notes that the name declared at `span` is used.
    pub(super) fn mention(&mut self, span: Span) {
        self.mentioned.insert(span);
    }

    /// Notes a `let` of a block or test.
    pub(super) fn local_declared(&mut self, name: &'a ast::Ident) {
        self.local_lets.insert(name.span, name.text.clone());
    }

    /// Warns when a name hides another one of the same function.
    pub(super) fn hides(&mut self, name: &ast::Ident) {
        let innermost = self.frame.scopes.last().cloned().unwrap_or_default();
        let hidden = self.local(&name.text).filter(|(id, _)| !innermost.contains(id));
        if let Some(first) = hidden.map(|(_, local)| local.span) {
            self.error(TypeError::Shadowed { name: name.text.to_string(), at: name.span, first });
        }
    }

    /// Warns of private items and local names that nothing uses. A name that starts with `_` says that this is meant.
    pub(super) fn find_unused(&mut self) {
        let mut found: Vec<(&str, &'static str, Span)> = Vec::new();
        for module in self.loaded.modules.iter().filter(|module| module.origin == Origin::Root) {
            for item in module.ast.items.iter().filter(|item| !item.public) {
                let what = match item.kind {
                    ItemKind::Import { .. } => "the import",
                    ItemKind::Param { .. } => "the param",
                    ItemKind::Secret { .. } => "the secret",
                    ItemKind::Ssh { .. } => "the ssh agent",
                    ItemKind::Let(_) => "the value",
                    ItemKind::Fn { .. } => "the function",
                    ItemKind::Type { .. } => "the type",
                    ItemKind::Enum { .. } => "the enum",
                    ItemKind::Target { .. }
                    | ItemKind::Test { .. }
                    | ItemKind::Extern(_)
                    | ItemKind::Broken { .. } => {
                        continue;
                    }
                };
                found.extend(item.kind.name().map(|name| (&*name.text, what, name.span)));
            }
        }
        found.extend(self.local_lets.iter().map(|(span, name)| (&**name, "the value", *span)));
        found.retain(|(name, _, at)| !name.starts_with('_') && !self.mentioned.contains(at));
        let found: Vec<TypeError> = found
            .into_iter()
            .map(|(name, what, at)| TypeError::Unused { name: name.to_owned(), what, at })
            .collect();
        self.errors.extend(found);
    }
}
