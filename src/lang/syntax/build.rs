//! From the grammar's pairs to items and types of the tree; [`super::build_expr`] does the expressions.
//!
//! `expect`s here say what the grammar makes sure of.

use std::iter::Peekable;
use std::sync::Arc;

use super::ast::{Extern, Field, Ident, Item, ItemKind, LetDecl, TestStmt, TypeExpr, TypeKind, Where};
use super::error::SyntaxError;
use super::grammar::{Pair, Pairs, Rule};
use super::parse::trim_doc;
use crate::base::{SourceFile, Span};

/// Turns pairs of one stretch of a file into the tree.
pub(super) struct Builder<'a> {
    pub file: &'a SourceFile,
    /// Where the stretch starts in the file; pairs count from there.
    base: u32,
    comments: &'a [(u32, u32)],
    /// What is wrong although the grammar takes it.
    pub errors: Vec<SyntaxError>,
    /// Levels of expressions above the one being built.
    pub depth: u32,
    /// How often something was cut off because it was too deep.
    pub n_too_deep: u32,
}

/// What is inside a pair, keywords left out.
pub(super) struct Inner<'i>(Peekable<Pairs<'i>>);

impl<'i> Inner<'i> {
    pub(super) fn of(pair: Pair<'i>) -> Inner<'i> {
        Inner(pair.into_inner().peekable())
    }

    fn skip_keywords(&mut self) {
        while self.0.next_if(|pair| is_keyword(pair.as_rule())).is_some() {}
    }

    /// The next pair, which the grammar promises.
    pub(super) fn part(&mut self) -> Pair<'i> {
        self.skip_keywords();
        self.0.next().expect("the grammar has one more part here")
    }

    /// The next pair, if it is a `rule`.
    pub(super) fn part_if(&mut self, rule: Rule) -> Option<Pair<'i>> {
        self.skip_keywords();
        self.0.next_if(|pair| pair.as_rule() == rule)
    }
}

impl<'i> Iterator for Inner<'i> {
    type Item = Pair<'i>;

    fn next(&mut self) -> Option<Pair<'i>> {
        self.skip_keywords();
        self.0.next()
    }
}

fn is_keyword(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::kw_import
            | Rule::kw_from
            | Rule::kw_param
            | Rule::kw_where
            | Rule::kw_secret
            | Rule::kw_ssh
            | Rule::kw_let
            | Rule::kw_fn
            | Rule::kw_type
            | Rule::kw_enum
            | Rule::kw_target
            | Rule::kw_test
            | Rule::kw_assert
            | Rule::kw_extern
            | Rule::kw_if
            | Rule::kw_else
            | Rule::kw_match
            | Rule::kw_some
            | Rule::kw_for
            | Rule::kw_in
            | Rule::kw_on
            | Rule::kw_fold
            | Rule::kw_str
    )
}

impl<'a> Builder<'a> {
    pub(super) fn new(file: &'a SourceFile, base: u32, comments: &'a [(u32, u32)]) -> Builder<'a> {
        Builder { file, base, comments, errors: Vec::new(), depth: 0, n_too_deep: 0 }
    }

    /// The place of a pair, without the space and comments that pest counts to its end.
    pub(super) fn span(&self, pair: &Pair<'_>) -> Span {
        let written = pair.as_span();
        let start = self.base + written.start() as u32;
        let mut end = self.base + written.end() as u32;
        loop {
            end = start + self.file.text[start as usize..end as usize].trim_end().len() as u32;
            let comment = self.comments.partition_point(|&(_, comment_end)| comment_end < end);
            match self.comments.get(comment) {
                Some(&(from, to)) if to == end && start <= from && pair.as_rule() != Rule::doc => end = from,
                _ => return Span::new(self.file.id, start, end),
            }
        }
    }

    /// The place of a pair that is text: space at its end counts.
    pub(super) fn span_verbatim(&self, pair: &Pair<'_>) -> Span {
        let written = pair.as_span();
        Span::new(self.file.id, self.base + written.start() as u32, self.base + written.end() as u32)
    }

    pub(super) fn ident(&self, pair: &Pair<'_>) -> Ident {
        Ident { text: Arc::from(pair.as_str()), span: self.span(pair) }
    }

    pub(super) fn file(&mut self, file: Pair<'_>) -> Vec<Item> {
        file.into_inner().filter(|pair| pair.as_rule() == Rule::item).map(|item| self.item(item)).collect()
    }

    fn item(&mut self, pair: Pair<'_>) -> Item {
        let mut inner = Inner::of(pair);
        let doc = docs(&mut inner);
        let vis = inner.part_if(Rule::vis);
        let decl = inner.part();
        let decl_span = self.span(&decl);
        let span = vis.as_ref().map_or(decl_span, |vis| self.span(vis).to(decl_span));
        let name = decl.clone().into_inner().find(|part| part.as_rule() == Rule::ident);
        let n_too_deep = self.n_too_deep;
        let mut kind = self.item_kind(decl);
        if n_too_deep < self.n_too_deep {
            // What was cut off would only be misunderstood.
            kind = ItemKind::Broken { name: name.map(|name| self.ident(&name)) };
        }
        Item { kind, public: vis.is_some(), doc, span }
    }

    fn item_kind(&mut self, decl: Pair<'_>) -> ItemKind {
        let rule = decl.as_rule();
        let decl_span = self.span(&decl);
        let mut inner = Inner::of(decl);
        match rule {
            Rule::import_decl => {
                let name = self.ident(&inner.part());
                let n_errors = self.errors.len();
                let from = self.plain_text(inner.part());
                if n_errors < self.errors.len() {
                    return ItemKind::Broken { name: Some(name) };
                }
                ItemKind::Import { name, from }
            }
            Rule::param_decl => {
                let name = self.ident(&inner.part());
                let ty = self.ty(inner.part());
                let default = inner.part_if(Rule::expr).map(|pair| self.expr(pair));
                let wheres = inner.map(|clause| self.where_clause(clause)).collect();
                ItemKind::Param { name, ty, default, wheres }
            }
            Rule::secret_decl | Rule::ssh_decl => {
                let name = self.ident(&inner.part());
                let id = inner.next().map(|pair| self.plain_text(pair));
                match rule {
                    Rule::secret_decl => ItemKind::Secret { name, id },
                    _ => ItemKind::Ssh { name, id },
                }
            }
            Rule::let_decl => ItemKind::Let(self.let_parts(inner)),
            Rule::fn_decl => {
                let name = self.ident(&inner.part());
                let params = self.fields(&mut inner);
                let result = self.ty(inner.part());
                ItemKind::Fn { name, params, result, body: self.block(inner.part()) }
            }
            Rule::type_decl => {
                let name = self.ident(&inner.part());
                ItemKind::Type { name, ty: self.ty(inner.part()) }
            }
            Rule::enum_decl => {
                let name = self.ident(&inner.part());
                let variants = inner.filter_map(|decl| Inner::of(decl).find(|it| it.as_rule() == Rule::name));
                ItemKind::Enum { name, variants: variants.map(|name| self.ident(&name)).collect() }
            }
            Rule::target_decl => {
                let name = self.ident(&inner.part());
                let ty = inner.part_if(Rule::ty).map(|pair| self.ty(pair));
                let dest = inner.part_if(Rule::plain_str).map(|pair| self.plain_text(pair));
                ItemKind::Target { name, ty, dest, value: self.expr(inner.part()) }
            }
            Rule::test_decl => {
                let name = self.plain_text(inner.part());
                let stmts = inner
                    .map(|stmt| match stmt.as_rule() {
                        Rule::let_decl => TestStmt::Let(self.let_parts(Inner::of(stmt))),
                        _ => TestStmt::Assert(self.expr(Inner::of(stmt).part())),
                    })
                    .collect();
                ItemKind::Test { name, stmts }
            }
            _ => {
                if &*self.file.name != super::PRELUDE_NAME {
                    self.errors.push(SyntaxError::Extern { at: decl_span });
                }
                self.extern_decl(inner.part())
            }
        }
    }

    fn extern_decl(&mut self, decl: Pair<'_>) -> ItemKind {
        let is_fn = decl.as_rule() == Rule::extern_fn;
        let mut inner = Inner::of(decl);
        let receiver = inner.part_if(Rule::recv).map(|recv| {
            let receiver = Inner::of(recv).part();
            let span = self.span(&receiver);
            match receiver.as_rule() {
                Rule::bare_ty => TypeExpr { kind: TypeKind::Name(self.ident(&receiver)), span },
                _ => self.bare_type(receiver),
            }
        });
        let name = self.ident(&inner.part());
        let params = is_fn.then(|| self.fields(&mut inner));
        ItemKind::Extern(Extern { receiver, name, params, result: self.ty(inner.part()) })
    }

    fn where_clause(&mut self, clause: Pair<'_>) -> Where {
        let mut inner = Inner::of(clause);
        let condition = self.expr(inner.part());
        Where { condition, message: inner.next().map(|text| self.text(text)) }
    }

    pub(super) fn let_decl(&mut self, decl: Pair<'_>) -> LetDecl {
        self.let_parts(Inner::of(decl))
    }

    fn let_parts(&mut self, mut inner: Inner<'_>) -> LetDecl {
        let name = self.ident(&inner.part());
        let ty = inner.part_if(Rule::ty).map(|pair| self.ty(pair));
        LetDecl { name, ty, value: self.expr(inner.part()) }
    }

    fn fields(&mut self, inner: &mut Inner<'_>) -> Vec<Field> {
        let Some(params) = inner.part_if(Rule::fparams) else { return Vec::new() };
        Inner::of(params).map(|param| self.field(param)).collect()
    }

    fn field(&mut self, param: Pair<'_>) -> Field {
        let mut inner = Inner::of(param);
        let doc = docs(&mut inner);
        let name = self.ident(&inner.part());
        let ty = self.ty(inner.part());
        Field { name, ty, default: inner.next().map(|pair| self.expr(pair)), doc }
    }

    fn ty(&mut self, pair: Pair<'_>) -> TypeExpr {
        let span = self.span(&pair);
        let mut inner = Inner::of(pair);
        let bare = self.bare_type(inner.part());
        match inner.next() {
            Some(_) => TypeExpr { kind: TypeKind::Option(Box::new(bare)), span },
            None => bare,
        }
    }

    fn bare_type(&mut self, pair: Pair<'_>) -> TypeExpr {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut inner = Inner::of(pair);
        let kind = match rule {
            Rule::list_ty => TypeKind::List(Box::new(self.ty(inner.part()))),
            Rule::map_ty => TypeKind::Map(Box::new(self.ty(inner.part()))),
            Rule::record_ty => TypeKind::Record(self.fields(&mut inner)),
            _ => {
                let first = self.ident(&inner.part());
                match inner.next() {
                    Some(second) => TypeKind::Qualified(first, self.ident(&second)),
                    None => TypeKind::Name(first),
                }
            }
        };
        TypeExpr { kind, span }
    }

    /// A text that is a name or a path: no `#{…}`. The ident holds what is between the quotes, the span covers them.
    fn plain_text(&mut self, pair: Pair<'_>) -> Ident {
        let span = self.span(&pair);
        let mut text = String::new();
        for part in Inner::of(Inner::of(pair).part()) {
            match part.as_rule() {
                Rule::interp => self.errors.push(SyntaxError::InterpolationHere { at: self.span(&part) }),
                Rule::escape => text.push_str(&self.escape(&part)),
                _ => text.push_str(part.as_str()),
            }
        }
        Ident { text: Arc::from(text), span }
    }
}

/// The `///` lines at the front.
fn docs(inner: &mut Inner<'_>) -> Option<Arc<str>> {
    let mut lines: Vec<String> = Vec::new();
    while let Some(doc) = inner.part_if(Rule::doc) {
        lines.push(trim_doc(&doc.as_str()[3..]).to_owned());
    }
    (!lines.is_empty()).then(|| Arc::from(lines.join("\n")))
}
