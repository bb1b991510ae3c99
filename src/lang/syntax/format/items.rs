//! Layout of items and types.

use super::doc::{self, Doc};
use super::printer::Printer;
use super::tokens::Kind;
use crate::lang::syntax::build::Inner;
use crate::lang::syntax::grammar::{Pair, Rule};

/// What stands between brackets.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pad {
    /// `[a, b]`
    None,
    /// `{ a, b }`
    Space,
}

impl Printer<'_> {
    pub(super) fn file(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = Vec::new();
        for item in Inner::of(pair).filter(|pair| pair.as_rule() == Rule::item) {
            let line = if docs.is_empty() { doc::nil() } else { doc::hard() };
            docs.push(self.between(line));
            docs.push(self.item(item));
        }
        let empty = docs.is_empty();
        docs.push(if empty { self.between(doc::nil()) } else { self.before_closing(false) });
        doc::concat(docs)
    }

    fn item(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = vec![self.docs()];
        let mut inner = Inner::of(pair).filter(|part| part.as_rule() != Rule::doc).peekable();
        if inner.next_if(|part| part.as_rule() == Rule::vis).is_some() {
            docs.push(self.next());
            docs.push(doc::text(" "));
        }
        docs.extend(inner.next().map(|decl| self.decl(decl)));
        doc::concat(docs)
    }

    /// The `///` lines that come next.
    fn docs(&mut self) -> Doc {
        let mut docs = Vec::new();
        while self.peek_kind() == Kind::Doc {
            docs.push(self.next());
            docs.push(doc::hard());
        }
        doc::concat(docs)
    }

    fn decl(&mut self, pair: Pair<'_>) -> Doc {
        match pair.as_rule() {
            Rule::param_decl => self.param(pair),
            Rule::let_decl | Rule::target_decl => self.binding(pair),
            Rule::fn_decl => self.signature(pair),
            Rule::type_decl => {
                let mut docs = vec![self.next(), doc::text(" "), self.next(), doc::text(" "), self.next()];
                docs.extend(Inner::of(pair).last().map(|ty| self.spaced_ty(ty)));
                doc::concat(docs)
            }
            Rule::enum_decl => {
                let start = vec![self.next(), doc::text(" "), self.next(), doc::text(" ")];
                let variants: Vec<Pair<'_>> =
                    Inner::of(pair).filter(|part| part.as_rule() == Rule::variant_decl).collect();
                let variants = self.listed(Pad::Space, variants, |printer, _| {
                    doc::concat(vec![printer.docs(), printer.next()])
                });
                doc::concat(start.into_iter().chain([variants]).collect())
            }
            Rule::test_decl => self.test(pair),
            Rule::extern_decl => {
                let keyword = self.next();
                let inner = Inner::of(pair).last();
                let decl = inner.map_or_else(doc::nil, |inner| self.signature(inner));
                doc::concat(vec![keyword, doc::text(" "), decl])
            }
            // Words and texts with a space between: `import go from "std/go"`, `secret token = "npm"`.
            _ => {
                let n_words = 2 * usize::from(matches!(pair.as_rule(), Rule::import_decl)) + 2;
                let mut docs = vec![self.next()];
                for _ in 1..n_words {
                    docs.extend([doc::text(" "), self.next()]);
                }
                if n_words == 2 && self.peek() == "=" && Inner::of(pair).count() == 2 {
                    docs.extend([doc::text(" "), self.next(), doc::text(" "), self.next()]);
                }
                doc::concat(docs)
            }
        }
    }

    fn param(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = vec![self.next(), doc::text(" "), self.next(), self.next()];
        let mut wheres = Vec::new();
        for part in Inner::of(pair).skip(1) {
            match part.as_rule() {
                Rule::ty => docs.push(self.spaced_ty(part)),
                Rule::where_clause => {
                    wheres.push(self.break_with(doc::line()));
                    wheres.push(self.next());
                    let mut inner = Inner::of(part);
                    wheres.push(self.value(inner.part()));
                    if inner.part_if(Rule::string).is_some() {
                        wheres.extend([doc::text(" "), self.next(), doc::text(" "), self.next()]);
                    }
                }
                _ => {
                    docs.extend([doc::text(" "), self.next()]);
                    docs.push(self.value(part));
                }
            }
        }
        docs.push(doc::indent(doc::concat(wheres)));
        doc::group(doc::concat(docs))
    }

    /// `let x: T = v`, `target x: T -> "dest" = v`.
    pub(super) fn binding(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = vec![self.next(), doc::text(" "), self.next()];
        for part in Inner::of(pair).skip(1) {
            match part.as_rule() {
                Rule::ty => {
                    docs.push(self.next());
                    docs.push(self.spaced_ty(part));
                }
                Rule::plain_str => {
                    docs.extend([doc::text(" "), self.next(), doc::text(" "), self.next()]);
                }
                _ => {
                    docs.extend([doc::text(" "), self.next()]);
                    docs.push(self.value(part));
                }
            }
        }
        doc::concat(docs)
    }

    /// `fn f(a: T) -> U { … }`, and the functions and values of the prelude: `fn str.trim() -> str`, `let a.b: T`.
    fn signature(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = vec![self.next(), doc::text(" ")];
        let is_let = pair.as_rule() == Rule::extern_let;
        let mut parts = Inner::of(pair).peekable();
        if parts.next_if(|part| part.as_rule() == Rule::recv).is_some() {
            while self.peek() != "." {
                docs.push(self.next());
            }
            docs.push(self.next());
        }
        docs.push(self.next());
        parts.next();
        if is_let {
            docs.push(self.next());
            docs.extend(parts.next().map(|ty| self.spaced_ty(ty)));
            return doc::concat(docs);
        }
        let params = parts.next_if(|part| part.as_rule() == Rule::fparams);
        let params = params.map_or_else(Vec::new, |params| Inner::of(params).collect());
        docs.push(self.listed(Pad::None, params, Self::field));
        docs.extend([doc::text(" "), self.next()]);
        docs.extend(parts.next().map(|ty| self.spaced_ty(ty)));
        if let Some(block) = parts.next() {
            docs.push(doc::text(" "));
            docs.push(doc::group(self.block(block)));
        }
        doc::concat(docs)
    }

    /// A parameter of a function or a field of a record type.
    fn field(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = vec![self.docs(), self.next(), self.next()];
        for part in Inner::of(pair).filter(|part| part.as_rule() != Rule::doc).skip(1) {
            if part.as_rule() == Rule::ty {
                docs.push(self.spaced_ty(part));
            } else {
                docs.extend([doc::text(" "), self.next()]);
                docs.push(self.value(part));
            }
        }
        doc::concat(docs)
    }

    fn test(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = vec![self.next(), doc::text(" "), self.next(), doc::text(" "), self.next()];
        let stmts: Vec<Pair<'_>> = Inner::of(pair).skip(1).collect();
        let force = self.on_new_line() || 1 < stmts.len();
        let mut body = Vec::new();
        for (n, stmt) in stmts.into_iter().enumerate() {
            body.push(if n == 0 { self.break_with(doc::line()) } else { self.between(doc::hard()) });
            if stmt.as_rule() == Rule::let_decl {
                body.push(self.binding(stmt));
            } else {
                body.push(self.next());
                body.push(self.value(Inner::of(stmt).part()));
            }
        }
        docs.push(self.closed(body, doc::line(), force));
        doc::group(doc::concat(docs))
    }

    /// What is inside of brackets that were just opened, and the closing one.
    pub(super) fn closed(&mut self, mut body: Vec<Doc>, line: Doc, force: bool) -> Doc {
        let empty = body.is_empty();
        let comments = self.before_closing(empty);
        if empty && !comments.forced {
            return self.next();
        }
        body.push(comments);
        let body = doc::indent(doc::concat(body));
        let closed = doc::concat(vec![body, line, self.next()]);
        if force && !empty { closed.force() } else { closed }
    }

    /// Brackets around elements with commas; a comma behind the last one keeps every element on a line of its own.
    pub(super) fn listed<T>(
        &mut self,
        pad: Pad,
        elements: Vec<T>,
        mut element: impl FnMut(&mut Self, T) -> Doc,
    ) -> Doc {
        let line = match pad {
            Pad::None => doc::soft(),
            Pad::Space => doc::line(),
        };
        let open = self.next();
        let mut body = Vec::new();
        for (n, it) in elements.into_iter().enumerate() {
            if n == 0 {
                body.push(self.break_with(line.clone()));
            } else {
                body.push(doc::text(","));
                body.push(self.between(doc::line()));
            }
            body.push(element(self, it));
        }
        if !body.is_empty() {
            body.push(doc::if_broken(doc::text(",")));
        }
        let force = self.after_comma();
        let closed = self.closed(body, line, force);
        doc::group(doc::concat(vec![open, closed]))
    }

    /// A type behind `:`, `=` or `->`.
    fn spaced_ty(&mut self, pair: Pair<'_>) -> Doc {
        let ty = self.ty(pair);
        doc::concat(vec![doc::text(" "), ty])
    }

    fn ty(&mut self, pair: Pair<'_>) -> Doc {
        let mut docs = Vec::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::list_ty => {
                    docs.push(self.next());
                    docs.extend(Inner::of(part).next().map(|ty| self.ty(ty)));
                    docs.push(self.next());
                }
                Rule::map_ty => {
                    docs.extend([self.next(), self.next(), self.next()]);
                    docs.extend(Inner::of(part).next().map(|ty| self.spaced_ty(ty)));
                    docs.push(self.next());
                }
                Rule::record_ty => {
                    let fields =
                        Inner::of(part).next().map_or_else(Vec::new, |fields| Inner::of(fields).collect());
                    docs.push(self.listed(Pad::Space, fields, Self::field));
                }
                Rule::name_ty => {
                    docs.push(self.next());
                    if 1 < Inner::of(part).count() {
                        docs.extend([self.next(), self.next()]);
                    }
                }
                // `?`
                _ => docs.push(self.next()),
            }
        }
        doc::concat(docs)
    }
}
