//! Expressions: `check` against a wanted type, `infer` without one.

use std::sync::Arc;

use super::super::error::TypeError;
use super::super::facts::Meaning;
use super::super::hir::{self, Builtin, Expr, ExprKind, LiteralKind};
use super::super::relate::{coercion, join};
use super::super::ty::Type;
use super::{Checker, Node, Symbol, near};
use crate::base::Span;
use crate::lang::syntax::ast;

impl<'a> Checker<'a> {
    /// An expression that stands for one with a reported error.
    pub(super) fn broken(&self, span: Span) -> Expr {
        Expr { kind: ExprKind::None, ty: Type::Error, span }
    }

    /// Types `expr` where a `want` is wanted. The result has that type, or [`Type::Error`].
    pub(super) fn check(&mut self, expr: &'a ast::Expr, want: &Type) -> Expr {
        self.wanted(expr.span, want);
        let checked = self.check_kind(expr, want);
        self.typed(expr.span, &checked.ty);
        checked
    }

    fn check_kind(&mut self, expr: &'a ast::Expr, want: &Type) -> Expr {
        use ast::ExprKind as Ast;
        let span = expr.span;
        // What wants the type is told to the parts that are to have it, and to nothing else.
        let cause = self.frame.cause.take();
        if matches!(want, Type::Error) {
            return self.check_unknown(expr);
        }
        // What hands the wanted type on to its parts.
        match &expr.kind {
            Ast::Block(lets, value) => {
                return self.block(lets, span, |checker| {
                    checker.frame.cause = cause;
                    checker.check(value, want)
                });
            }
            Ast::If(condition, then, otherwise) => {
                let condition = self.check(condition, &Type::Bool);
                self.frame.cause.clone_from(&cause);
                let then = self.check(then, want);
                self.frame.cause = cause;
                let otherwise = self.check(otherwise, want);
                let kind = ExprKind::If(Box::new(condition), Box::new(then), Box::new(otherwise));
                return Expr { kind, ty: want.clone(), span };
            }
            Ast::Match(scrutinee, arms) => {
                self.frame.cause = cause;
                return self.match_expr(scrutinee, arms, Some(want), span);
            }
            Ast::On(platform, body) => return self.on(platform, body, Some(want), span),
            Ast::Fold(fold) => return self.fold(fold, Some(want), span),
            Ast::Binary(ast::BinaryOp::Coalesce, left, right) => {
                return self.coalesce(left, right, Some(want), span);
            }
            Ast::Call(call) => {
                let found = self.call(call, span, Some(want));
                self.frame.cause = cause;
                return self.coerce(found, want);
            }
            _ => {}
        }
        if let Type::Option(inner) = want {
            return match &expr.kind {
                Ast::None => Expr { kind: ExprKind::None, ty: want.clone(), span },
                Ast::Text(_)
                | Ast::Int(_)
                | Ast::List(_)
                | Ast::Record(_)
                | Ast::Variant(_)
                | Ast::ListComp(..)
                | Ast::MapComp(..)
                | Ast::Binary(..) => {
                    self.frame.cause = cause;
                    let value = self.check(expr, inner);
                    self.coerce(value, want)
                }
                _ => {
                    let value = self.infer(expr);
                    self.frame.cause = cause;
                    self.coerce(value, want)
                }
            };
        }
        match (&expr.kind, want) {
            (Ast::Text(parts), _) if LiteralKind::of(want).is_some() => {
                let kind = LiteralKind::of(want).expect("checked by the guard");
                self.text(parts, kind, span)
            }
            (Ast::Int(number), Type::Port) => self.port_number(*number, span),
            (Ast::Variant(name), Type::Enum(decl)) => self.variant(name, decl, span),
            (Ast::Variant(name), _) => {
                let what = format!("`.{}`", name.text);
                let help = format!("a variant belongs to an enum; here a {want} is wanted");
                self.error(TypeError::Untyped { what, help, at: span });
                self.broken(span)
            }
            (Ast::List(elements), Type::List(element)) => self.list(elements, element, span),
            (Ast::ListComp(loops, body), Type::List(element)) => {
                self.list_comp(loops, body, Some(element), span)
            }
            (Ast::List(_) | Ast::ListComp(..), Type::Cmd | Type::Argv) => {
                let words = self.check(expr, &Type::list(Type::Str));
                self.coerce(words, want)
            }
            (Ast::MapComp(loops, key, value), Type::Map(wanted)) => {
                self.map_comp(loops, key, value, Some(wanted), span)
            }
            (Ast::Record(entries), Type::Record(record)) => self.record(entries, want, record, span),
            (Ast::Record(entries), Type::Map(value)) => self.map(entries, value, span),
            (Ast::Binary(ast::BinaryOp::Add, left, right), Type::List(_) | Type::Map(_)) => {
                let left = self.check(left, want);
                let right = self.check(right, want);
                let kind = ExprKind::Binary(hir::BinaryOp::Add, Box::new(left), Box::new(right));
                Expr { kind, ty: want.clone(), span }
            }
            _ => {
                let value = self.infer(expr);
                self.frame.cause = cause;
                let n_errors = self.errors.len();
                let value = self.coerce(value, want);
                if let [TypeError::Mismatch(mismatch)] = &mut self.errors[n_errors..] {
                    let written = self.sources.file(span.file).slice(span);
                    mismatch.hint = super::guess::literal_meant(expr, want, written);
                }
                value
            }
        }
    }

    /// Looks for errors inside of something whose wanted type is itself in error.
    fn check_unknown(&mut self, expr: &'a ast::Expr) -> Expr {
        use ast::ExprKind as Ast;
        match &expr.kind {
            Ast::Variant(_) => {}
            Ast::List(elements) => {
                for element in elements {
                    let (ast::Element::Item(value) | ast::Element::Spread(value)) = element;
                    self.check_unknown(value);
                }
            }
            Ast::Record(entries) => {
                for entry in entries {
                    match entry {
                        ast::Entry::Field(_, value) | ast::Entry::Spread(value) => {
                            drop(self.check_unknown(value));
                        }
                        ast::Entry::Keyed(key, value) => {
                            self.check(key, &Type::Str);
                            self.check_unknown(value);
                        }
                    }
                }
            }
            Ast::Call(call) => drop(self.call(call, expr.span, Some(&Type::Error))),
            _ => drop(self.infer(expr)),
        }
        self.broken(expr.span)
    }

    /// Types `expr` by itself.
    pub(super) fn infer(&mut self, expr: &'a ast::Expr) -> Expr {
        let inferred = self.infer_kind(expr);
        self.typed(expr.span, &inferred.ty);
        inferred
    }

    fn infer_kind(&mut self, expr: &'a ast::Expr) -> Expr {
        use ast::ExprKind as Ast;
        let span = expr.span;
        let simple = |kind: ExprKind, ty: Type| Expr { kind, ty, span };
        match &expr.kind {
            Ast::Text(parts) => self.text(parts, LiteralKind::Str, span),
            Ast::Int(number) => simple(ExprKind::Int(*number), Type::Int),
            Ast::Mode(bits) => simple(ExprKind::Mode(*bits), Type::Mode),
            Ast::Size(bytes) => simple(ExprKind::Size(*bytes), Type::Size),
            Ast::Duration(nanoseconds) => simple(ExprKind::Duration(*nanoseconds), Type::Duration),
            Ast::Bool(value) => simple(ExprKind::Bool(*value), Type::Bool),
            Ast::None => simple(ExprKind::None, Type::option(Type::Never)),
            Ast::Name(name) => self.name(name, span),
            Ast::Variant(name) => {
                let what = format!("`.{}`", name.text);
                let help = "a variant takes its enum from where it is used: annotate the `let`".to_owned();
                self.error(TypeError::Untyped { what, help, at: span });
                self.broken(span)
            }
            Ast::List(elements) => self.infer_list(elements, span),
            Ast::Record(entries) => self.infer_record(entries, span),
            Ast::ListComp(loops, body) => self.list_comp(loops, body, None, span),
            Ast::MapComp(loops, key, value) => self.map_comp(loops, key, value, None, span),
            Ast::Block(lets, value) => self.block(lets, span, |checker| checker.infer(value)),
            Ast::If(condition, then, otherwise) => {
                let condition = self.check(condition, &Type::Bool);
                let (mut branches, ty) = self.infer_alike(&[then, otherwise]);
                let otherwise = branches.pop().expect("one for each of two");
                let then = branches.pop().expect("one for each of two");
                simple(ExprKind::If(Box::new(condition), Box::new(then), Box::new(otherwise)), ty)
            }
            Ast::Match(scrutinee, arms) => self.match_expr(scrutinee, arms, None, span),
            Ast::On(platform, body) => self.on(platform, body, None, span),
            Ast::Fold(fold) => self.fold(fold, None, span),
            Ast::Binary(op, left, right) => self.binary(*op, left, right, span),
            Ast::Neg(value) => {
                let value = self.check(value, &Type::Int);
                simple(ExprKind::Neg(Box::new(value)), Type::Int)
            }
            Ast::Not(value) => {
                let value = self.check(value, &Type::Bool);
                simple(ExprKind::Not(Box::new(value)), Type::Bool)
            }
            Ast::Call(call) => self.call(call, span, None),
            Ast::Field(base, name) => self.field(base, name, span),
            Ast::Index(base, index) => self.index(base, index, span),
        }
    }

    /// Converts `value` to `want`, or says that it cannot be.
    pub(super) fn coerce(&mut self, value: Expr, want: &Type) -> Expr {
        let cause = self.frame.cause.take();
        match coercion(&value.ty, want) {
            Some(None) => value,
            Some(Some(step)) => {
                let span = value.span;
                Expr { kind: ExprKind::Coerce(step, Box::new(value)), ty: want.clone(), span }
            }
            None => {
                if !value.ty.has_error() && !want.has_error() {
                    // Where a value or none is wanted, a wrong value is measured by the value's type.
                    let expected = match (want, &value.ty) {
                        (Type::Option(_), Type::Option(_)) => want.clone(),
                        (Type::Option(inner), _) => (**inner).clone(),
                        _ => want.clone(),
                    };
                    let (found, at) = (value.ty.clone(), value.span);
                    self.frame.cause = cause;
                    self.mismatch(expected, found, at);
                }
                self.broken(value.span)
            }
        }
    }

    /// Types expressions that must have one type together: elements, branches, arms.
    ///
    /// Literals that could be of several types follow the others. The results are converted to the common type.
    pub(super) fn infer_alike(&mut self, exprs: &[&'a ast::Expr]) -> (Vec<Expr>, Type) {
        let mut common: Option<Type> = None;
        // What the common type is so far, for a label.
        let mut first: Option<(Span, String)> = None;
        let mut typed: Vec<Option<Expr>> = exprs.iter().map(|_| None).collect();
        for follow in [false, true] {
            for (slot, expr) in typed.iter_mut().zip(exprs) {
                if slot.is_some() || (!follow && is_flexible(expr)) {
                    continue;
                }
                let guide = common.as_ref().filter(|_| follow).map(|ty| match ty {
                    Type::Option(inner) => (**inner).clone(),
                    ty => ty.clone(),
                });
                let takes = |ty: &Type| match expr.kind {
                    ast::ExprKind::Text(_) => LiteralKind::of(ty).is_some(),
                    _ => !matches!(ty, Type::Never),
                };
                let value = match guide.filter(takes) {
                    Some(ty) => {
                        self.frame.cause.clone_from(&first);
                        self.check(expr, &ty)
                    }
                    None => self.infer(expr),
                };
                if first.is_none() && !value.ty.has_error() {
                    first = Some((value.span, format!("and this is {}", value.ty)));
                }
                common = Some(match common {
                    None => value.ty.clone(),
                    Some(before) => match join(&before, &value.ty) {
                        Some(joined) => joined,
                        None => {
                            let (found, at) = (value.ty.clone(), value.span);
                            if !found.has_error() && !before.has_error() {
                                self.frame.cause.clone_from(&first);
                                self.mismatch(before.clone(), found, at);
                            }
                            *slot = Some(self.broken(value.span));
                            common = Some(before);
                            continue;
                        }
                    },
                });
                *slot = Some(value);
            }
        }
        let common = common.unwrap_or(Type::Never);
        let typed = typed.into_iter().flatten().map(|value| self.coerce(value, &common)).collect();
        (typed, common)
    }

    // ---- names

    fn name(&mut self, name: &Arc<str>, span: Span) -> Expr {
        if let Some((id, local)) = self.local(name) {
            let (ty, declared) = (local.ty.clone(), local.span);
            self.mention(declared);
            self.means(span, || Meaning::Declared(declared));
            self.frame.reads.push(id);
            return Expr { kind: ExprKind::Local(id), ty, span };
        }
        if let Some((symbol, declared)) = self.scope().values.get(name).map(|named| (named.what, named.span))
        {
            self.mention(declared);
            self.means_symbol(span, symbol);
            return self.symbol(symbol, name, span);
        }
        let signature = self.prelude.free(name);
        if let Some(signature) = signature {
            self.means(span, || Meaning::Builtin(signature.builtin));
            if signature.params.is_some() {
                self.error(TypeError::FunctionAsValue { name: name.to_string(), at: span });
                return self.broken(span);
            }
            let builtin = signature.builtin;
            if builtin == Builtin::TargetPlatform {
                self.uses_platform(span);
            }
            let call = hir::BuiltinCall { builtin, args: Vec::new(), name_span: span };
            return Expr { kind: ExprKind::Builtin(call), ty: signature.result.clone(), span };
        }
        let is_type = self.scope().types.contains_key(name) || Type::builtin(name).is_some();
        if is_type {
            let help = match self.scope().types.get(name).map(|it| &it.what) {
                Some(super::TypeSymbol::Enum(decl)) => decl
                    .variants
                    .first()
                    .map(|variant| format!("a variant is written without it: `.{variant}`")),
                _ => Some(format!("values of it are annotated: `let x: {name} = …`")),
            };
            self.error(TypeError::NotAValue { name: name.to_string(), what: "a type", help, at: span });
        } else {
            let help = self.name_help(name, self.visible_names());
            self.error(TypeError::UnknownName { name: name.to_string(), help, at: span });
        }
        self.broken(span)
    }

    /// An item used as a value.
    pub(super) fn symbol(&mut self, symbol: Symbol, name: &str, span: Span) -> Expr {
        let (kind, ty) = match symbol {
            Symbol::Broken | Symbol::Import(None) => return self.broken(span),
            Symbol::Import(Some(_)) => {
                let help = Some(format!("its items are used as `{name}.item`"));
                self.error(TypeError::NotAValue { name: name.to_owned(), what: "a module", help, at: span });
                return self.broken(span);
            }
            Symbol::Fn(_) => {
                self.error(TypeError::FunctionAsValue { name: name.to_owned(), at: span });
                return self.broken(span);
            }
            Symbol::Secret(id) => (ExprKind::Secret(id), Type::Secret),
            Symbol::Ssh(id) => (ExprKind::Ssh(id), Type::Ssh),
            Symbol::Param(id) => {
                self.used(Node::Param(id), span);
                (ExprKind::Param(id), self.program.params[id.index()].ty.clone())
            }
            Symbol::Let(id) => {
                self.used(Node::Let(id), span);
                (ExprKind::Let(id), self.let_type(id))
            }
            Symbol::Target(id) => {
                self.used(Node::Target(id), span);
                (ExprKind::Target(id), self.target_type(id))
            }
        };
        Expr { kind, ty, span }
    }

    fn variant(&mut self, name: &ast::Ident, decl: &Arc<super::EnumType>, span: Span) -> Expr {
        match decl.variants.iter().position(|variant| *variant == name.text) {
            Some(index) => {
                self.means(name.span, || Meaning::Variant(decl.id, index));
                let kind = ExprKind::Variant(decl.id, index as u32);
                Expr { kind, ty: Type::Enum(decl.clone()), span }
            }
            None => {
                self.unknown_variant(name, decl, false, span);
                self.broken(span)
            }
        }
    }

    /// Reports a variant that is not there; gives the one that was probably meant.
    pub(super) fn unknown_variant(
        &mut self,
        name: &ast::Ident,
        decl: &super::EnumType,
        pattern: bool,
        at: Span,
    ) -> Option<usize> {
        let near = near(&name.text, decl.variants.iter().map(|variant| &**variant));
        let meant = near.as_ref().and_then(|near| decl.variants.iter().position(|it| **it == **near));
        self.error(TypeError::UnknownVariant {
            enum_name: decl.name.to_string(),
            name: name.text.to_string(),
            variants: decl.variants.iter().map(ToString::to_string).collect(),
            near,
            pattern,
            at,
        });
        meant
    }

    fn port_number(&mut self, number: i64, span: Span) -> Expr {
        let text = number.to_string();
        if let Err(why) = super::super::literal::validate(LiteralKind::Port, &text) {
            self.error(TypeError::BadLiteral { kind: "port", why, help: None, at: span });
            return self.broken(span);
        }
        let parts = vec![hir::Part::Text(Arc::from(text))];
        let literal = hir::Literal { kind: LiteralKind::Port, parts };
        Expr { kind: ExprKind::Literal(literal), ty: Type::Port, span }
    }
}

/// Whether a literal can be of several types, so that others should say which.
pub(super) fn is_flexible(expr: &ast::Expr) -> bool {
    matches!(expr.kind, ast::ExprKind::Text(_) | ast::ExprKind::Variant(_))
}
