//! Operators with two sides.

use super::super::error::TypeError;
use super::super::hir::{BinaryOp, Expr, ExprKind};
use super::super::relate::join;
use super::super::ty::Type;
use super::Checker;
use super::expr::is_flexible;
use crate::base::Span;
use crate::lang::syntax::ast;

impl<'a> Checker<'a> {
    pub(super) fn binary(
        &mut self,
        op: ast::BinaryOp,
        left: &'a ast::Expr,
        right: &'a ast::Expr,
        span: Span,
    ) -> Expr {
        match op {
            ast::BinaryOp::Coalesce => self.coalesce(left, right, None, span),
            ast::BinaryOp::Or => self.logic(BinaryOp::Or, left, right, span),
            ast::BinaryOp::And => self.logic(BinaryOp::And, left, right, span),
            ast::BinaryOp::Eq => self.compare(BinaryOp::Eq, op, left, right, span),
            ast::BinaryOp::Ne => self.compare(BinaryOp::Ne, op, left, right, span),
            ast::BinaryOp::Lt => self.compare(BinaryOp::Lt, op, left, right, span),
            ast::BinaryOp::Le => self.compare(BinaryOp::Le, op, left, right, span),
            ast::BinaryOp::Gt => self.compare(BinaryOp::Gt, op, left, right, span),
            ast::BinaryOp::Ge => self.compare(BinaryOp::Ge, op, left, right, span),
            ast::BinaryOp::Add => self.arithmetic(BinaryOp::Add, op, left, right, span),
            ast::BinaryOp::Sub => self.arithmetic(BinaryOp::Sub, op, left, right, span),
            ast::BinaryOp::Mul => self.arithmetic(BinaryOp::Mul, op, left, right, span),
        }
    }

    fn logic(&mut self, op: BinaryOp, left: &'a ast::Expr, right: &'a ast::Expr, span: Span) -> Expr {
        let n_errors = self.errors.len();
        let left = self.check(left, &Type::Bool);
        let wrong = |error: &TypeError| matches!(error, TypeError::Mismatch(it) if it.at == left.span);
        if self.errors[n_errors..].iter().any(wrong) {
            // The operator is the mistake, not what stands behind it or is made of both.
            self.infer(right);
            return self.broken(span);
        }
        let right = self.check(right, &Type::Bool);
        Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), ty: Type::Bool, span }
    }

    fn compare(
        &mut self,
        op: BinaryOp,
        written: ast::BinaryOp,
        left: &'a ast::Expr,
        right: &'a ast::Expr,
        span: Span,
    ) -> Expr {
        let (left, right) = self.sides(left, right);
        let works = |ty: &Type| match op {
            BinaryOp::Eq | BinaryOp::Ne => is_comparable(ty),
            _ => matches!(ty, Type::Int | Type::Str | Type::Size | Type::Duration),
        };
        let common = join(&left.ty, &right.ty).filter(works);
        let Some(common) = common else { return self.bad_operands(written, &left, &right, span, Type::Bool) };
        let left = self.coerce(left, &common);
        let right = self.coerce(right, &common);
        Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), ty: Type::Bool, span }
    }

    fn arithmetic(
        &mut self,
        op: BinaryOp,
        written: ast::BinaryOp,
        left: &'a ast::Expr,
        right: &'a ast::Expr,
        span: Span,
    ) -> Expr {
        let left = self.infer(left);
        let right = self.infer(right);
        let (want_left, want_right, ty) = match (op, &left.ty, &right.ty) {
            (BinaryOp::Mul, Type::Int, Type::Size | Type::Duration) => {
                (Type::Int, right.ty.clone(), right.ty.clone())
            }
            (BinaryOp::Mul, Type::Size | Type::Duration, Type::Int) => {
                (left.ty.clone(), Type::Int, left.ty.clone())
            }
            (BinaryOp::Mul, Type::Int, Type::Int) => (Type::Int, Type::Int, Type::Int),
            (BinaryOp::Sub, Type::Int | Type::Size | Type::Duration, right) if *right == left.ty => {
                (left.ty.clone(), left.ty.clone(), left.ty.clone())
            }
            (BinaryOp::Add, Type::Int | Type::Size | Type::Duration | Type::Str, right)
                if *right == left.ty =>
            {
                (left.ty.clone(), left.ty.clone(), left.ty.clone())
            }
            (BinaryOp::Add, Type::List(_), Type::List(_)) | (BinaryOp::Add, Type::Map(_), Type::Map(_)) => {
                match join(&left.ty, &right.ty) {
                    Some(ty) => (ty.clone(), ty.clone(), ty),
                    None => return self.bad_operands(written, &left, &right, span, Type::Error),
                }
            }
            (BinaryOp::Add, Type::Map(_), Type::Record(_)) => {
                (left.ty.clone(), left.ty.clone(), left.ty.clone())
            }
            (BinaryOp::Add, Type::Record(_), Type::Map(_)) => {
                (right.ty.clone(), right.ty.clone(), right.ty.clone())
            }
            _ => return self.bad_operands(written, &left, &right, span, Type::Error),
        };
        let left = self.coerce(left, &want_left);
        let right = self.coerce(right, &want_right);
        Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), ty, span }
    }

    fn bad_operands(&mut self, op: ast::BinaryOp, left: &Expr, right: &Expr, at: Span, ty: Type) -> Expr {
        if !left.ty.has_error() && !right.ty.has_error() {
            let (left, right) = (left.ty.clone(), right.ty.clone());
            self.error(TypeError::Operator { op: op.symbol(), left, right, at });
        }
        Expr { ty, ..self.broken(at) }
    }

    /// Both sides of a comparison; a literal that can be several things is what the other side is.
    fn sides(&mut self, left: &'a ast::Expr, right: &'a ast::Expr) -> (Expr, Expr) {
        if is_flexible(left) && !is_flexible(right) {
            let right = self.infer(right);
            let left = self.follow(left, &right.ty);
            return (left, right);
        }
        let left = self.infer(left);
        let right = self.follow(right, &left.ty);
        (left, right)
    }

    fn follow(&mut self, expr: &'a ast::Expr, other: &Type) -> Expr {
        let literal = matches!(
            expr.kind,
            ast::ExprKind::Text(_)
                | ast::ExprKind::Int(_)
                | ast::ExprKind::Variant(_)
                | ast::ExprKind::None
                | ast::ExprKind::List(_)
                | ast::ExprKind::Record(_)
        );
        if literal && !other.is_open() { self.check(expr, other) } else { self.infer(expr) }
    }

    /// `a ?? b`
    pub(super) fn coalesce(
        &mut self,
        left: &'a ast::Expr,
        right: &'a ast::Expr,
        wanted: Option<&Type>,
        span: Span,
    ) -> Expr {
        let left = self.infer(left);
        let Type::Option(inner) = left.ty.clone() else {
            if !left.ty.has_error() {
                let rest = Span { start: left.span.end, end: right.span.end.max(span.end), ..span };
                self.error(TypeError::NotOptional { found: left.ty.clone(), rest, at: left.span });
            }
            let right = match wanted {
                Some(ty) => self.check(right, ty),
                None => self.follow(right, &left.ty),
            };
            let ty = if left.ty.has_error() { right.ty } else { left.ty };
            return Expr { ty, ..self.broken(span) };
        };
        let inner = (*inner).clone();
        let literal = !matches!(
            right.kind,
            ast::ExprKind::Name(_)
                | ast::ExprKind::Call(_)
                | ast::ExprKind::Field(..)
                | ast::ExprKind::Index(..)
        );
        let right = match (wanted, &inner) {
            // With a wanted type, the right side answers to it; the left side must fit below.
            (Some(ty), _) if literal => self.check(right, ty),
            (None, ty) if literal && !ty.is_open() && !matches!(right.kind, ast::ExprKind::None) => {
                self.check(right, ty)
            }
            _ => self.infer(right),
        };
        let optional = matches!(right.ty, Type::Option(_));
        let right_inner = match &right.ty {
            Type::Option(inner) => (**inner).clone(),
            ty => ty.clone(),
        };
        let Some(common) = join(&inner, &right_inner) else {
            let (found, at) = (right.ty.clone(), right.span);
            if !found.has_error() {
                self.mismatch(inner, found, at);
            }
            return self.broken(span);
        };
        let left = self.coerce(left, &Type::option(common.clone()));
        let ty = if optional { Type::option(common) } else { common };
        let right = self.coerce(right, &ty);
        let value = Expr { kind: ExprKind::Coalesce(Box::new(left), Box::new(right)), ty, span };
        match wanted {
            Some(ty) => self.coerce(value, ty),
            None => value,
        }
    }
}

/// Whether `==` works on values of this type.
pub(super) fn is_comparable(ty: &Type) -> bool {
    match ty {
        Type::Fs
        | Type::Image
        | Type::Index
        | Type::Check
        | Type::Mount
        | Type::Out
        | Type::Outs
        | Type::Secret
        | Type::Ssh
        | Type::Cmd
        | Type::Argv
        | Type::SelfType
        | Type::Tree
        | Type::Var => false,
        Type::List(inner) | Type::Map(inner) | Type::Option(inner) => is_comparable(inner),
        Type::Record(record) => record.fields.iter().all(|field| is_comparable(&field.ty)),
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
        | Type::Never
        | Type::Error => true,
    }
}
