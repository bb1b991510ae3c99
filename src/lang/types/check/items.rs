//! Second pass: the bodies of items.

use std::sync::Arc;

use super::super::error::TypeError;
use super::super::hir::{self, FunctionId, LetId, ParamId, TargetId};
use super::super::ty::Type;
use super::declare::described;
use super::{Checker, Lazy, LazyState, Node};
use crate::base::Span;
use crate::lang::syntax::ast::{self, ItemKind};

impl<'a> Checker<'a> {
    /// Checks everything that was declared, each module's items in source order.
    pub(super) fn check_items(&mut self) {
        for id in 0..self.lets.len() {
            self.check_let(LetId(id as u32));
        }
        for id in 0..self.targets.len() {
            self.check_target(TargetId(id as u32));
        }
        for (module, item, node) in self.bodies.clone() {
            match (&item.kind, node) {
                (ItemKind::Param { ty, default, wheres, .. }, Some(Node::Param(id))) => {
                    self.check_param(id, ty.span, default.as_ref(), wheres);
                }
                (ItemKind::Fn { params, result, body, .. }, Some(Node::Fn(id))) => {
                    self.check_function(id, params, result.span, body);
                }
                (ItemKind::Test { name, stmts }, _) => {
                    let (stmts, locals) = self.in_frame(module, None, |checker| checker.test_stmts(stmts));
                    let (name, span) = (name.text.clone(), name.span);
                    self.program.tests.push(hir::Test { name, span, module, locals, stmts });
                }
                _ => {}
            }
        }
        self.check_record_defaults();
    }

    /// Checks the defaults of all record types that were met, also those written inside of bodies.
    fn check_record_defaults(&mut self) {
        let mut next = 0;
        while let Some(&(record, module, fields)) = self.record_defaults.get(next) {
            next += 1;
            for field in fields {
                let Some(default) = &field.default else { continue };
                let decls = &self.program.records[record.index()].fields;
                let Some(at) = decls.iter().position(|decl| decl.name == field.name.text) else { continue };
                let ty = decls[at].ty.clone();
                let node = Node::Record(record);
                let body = self.body(module, Some(node), |checker| checker.check(default, &ty));
                self.program.records[record.index()].fields[at].default = Some(body);
            }
        }
    }

    /// Type of a module-level let, which is checked now if it was not yet and its type is not written.
    pub(super) fn let_type(&mut self, id: LetId) -> Type {
        let lazy = &self.lets[id.index()];
        match &lazy.state {
            LazyState::Done(done) => return done.ty.clone(),
            LazyState::Unchecked | LazyState::InProgress => {}
        }
        let ItemKind::Let(decl) = &lazy.item.kind else { return Type::Error };
        match (&decl.ty, &lazy.state) {
            (Some(ty), _) => {
                let module = lazy.module;
                self.quietly_in(module, |checker| checker.resolve_type(ty))
            }
            // The circle is reported when all uses are known.
            (None, LazyState::InProgress) => Type::Error,
            (None, _) => {
                self.check_let(id);
                self.let_type(id)
            }
        }
    }

    fn check_let(&mut self, id: LetId) {
        let Lazy { module, item, ref state } = self.lets[id.index()];
        let (LazyState::Unchecked, ItemKind::Let(decl)) = (state, &item.kind) else { return };
        self.lets[id.index()].state = LazyState::InProgress;
        let (body, ty) = self.value(module, Node::Let(id), decl.ty.as_ref(), &decl.value);
        let item = described(item, &decl.name);
        self.lets[id.index()].state = LazyState::Done(hir::Let { item, module, ty, body });
    }

    /// Type of a target, which is checked now if it was not yet and its type is not written.
    pub(super) fn target_type(&mut self, id: TargetId) -> Type {
        let lazy = &self.targets[id.index()];
        match &lazy.state {
            LazyState::Done(done) => return done.ty.clone(),
            LazyState::Unchecked | LazyState::InProgress => {}
        }
        let ItemKind::Target { ty, .. } = &lazy.item.kind else { return Type::Error };
        match (ty, &lazy.state) {
            (Some(ty), _) => {
                let module = lazy.module;
                self.quietly_in(module, |checker| checker.resolve_type(ty))
            }
            (None, LazyState::InProgress) => Type::Error,
            (None, _) => {
                self.check_target(id);
                self.target_type(id)
            }
        }
    }

    fn check_target(&mut self, id: TargetId) {
        let Lazy { module, item, ref state } = self.targets[id.index()];
        let (LazyState::Unchecked, ItemKind::Target { name, ty, dest, value }) = (state, &item.kind) else {
            return;
        };
        self.targets[id.index()].state = LazyState::InProgress;
        let (body, ty) = self.value(module, Node::Target(id), ty.as_ref(), value);
        if !ty.is_buildable() && !ty.has_error() {
            self.error(TypeError::NotBuildable { found: ty.clone(), at: name.span });
        }
        let dest = dest.as_ref().map(|dest| (dest.text.clone(), dest.span));
        if let Some((text, at)) = &dest
            && let Some(why) = bad_dest(text)
        {
            self.error(TypeError::BadLiteral { kind: "destination", why, help: None, at: *at });
        }
        let item = described(item, name);
        self.targets[id.index()].state = LazyState::Done(hir::Target { item, module, ty, dest, body });
    }

    /// The value of a let or target, of the type that is written or found.
    fn value(
        &mut self,
        module: hir::ModuleId,
        node: Node,
        ty: Option<&'a ast::TypeExpr>,
        value: &'a ast::Expr,
    ) -> (hir::Body, Type) {
        let mut found = Type::Error;
        let body = self.body(module, Some(node), |checker| {
            let expr = match ty {
                Some(ty) => {
                    found = checker.resolve_type(ty);
                    let (span, because) = (ty.span, format!("declared as {found}"));
                    checker.check_because(value, &found.clone(), span, because)
                }
                None => checker.infer(value),
            };
            if ty.is_none() {
                found = expr.ty.clone();
            }
            expr
        });
        (body, found)
    }

    /// Resolves something in another module once more; what is wrong with it is reported where it is declared.
    fn quietly_in<T>(&mut self, module: hir::ModuleId, work: impl FnOnce(&mut Self) -> T) -> T {
        let n_errors = self.errors.len();
        let outer = self.frame.module.replace(module);
        let result = work(self);
        self.frame.module = outer;
        self.errors.truncate(n_errors);
        result
    }

    fn check_param(
        &mut self,
        id: ParamId,
        declared: Span,
        default: Option<&'a ast::Expr>,
        wheres: &'a [ast::Where],
    ) {
        let param = &self.program.params[id.index()];
        let (module, ty) = (param.module, param.ty.clone());
        let node = Some(Node::Param(id));
        let default = default.map(|default| {
            self.body(module, node, |checker| {
                checker.check_because(default, &ty, declared, format!("declared as {ty}"))
            })
        });
        let declared = self.program.params[id.index()].item.span;
        let used = self.mentioned.contains(&declared);
        let wheres = wheres
            .iter()
            .map(|clause| hir::Where {
                // Conditions look at the finished param: their uses close no circle.
                condition: self.body(module, None, |checker| checker.check(&clause.condition, &Type::Bool)),
                message: clause
                    .message
                    .as_ref()
                    .map(|message| self.body(module, None, |checker| checker.check(message, &Type::Str))),
            })
            .collect();
        // That a param's own conditions look at it is no use of it.
        if !used {
            self.mentioned.remove(&declared);
        }
        let param = &mut self.program.params[id.index()];
        param.default = default;
        param.wheres = wheres;
    }

    fn check_function(&mut self, id: FunctionId, params: &'a [ast::Field], gives: Span, body: &'a ast::Expr) {
        let function = &self.program.functions[id.index()];
        let (module, name, result) = (function.module, function.item.name.clone(), function.result.clone());
        let types: Vec<Type> = function.params.iter().map(|param| param.ty.clone()).collect();
        let mut defaults: Vec<Option<hir::Expr>> = Vec::new();
        let body = self.body(module, Some(Node::Fn(id)), |checker| {
            checker.frame.function = Some(name);
            // The i-th parameter is the local i, also when defaults have locals of their own.
            let locals = params.iter().zip(&types).map(|(param, ty)| hir::Local {
                name: param.name.text.clone(),
                ty: ty.clone(),
                span: param.name.span,
            });
            checker.frame.locals.extend(locals);
            for (i, (param, ty)) in params.iter().zip(&types).enumerate() {
                // A default sees the parameters before its own.
                defaults.push(param.default.as_ref().map(|default| checker.check(default, ty)));
                checker.introduce(&param.name, hir::LocalId(i as u32));
            }
            let because = format!("the function gives {result}");
            checker.in_scope(|checker| checker.check_because(body, &result, gives, because))
        });
        let function = &mut self.program.functions[id.index()];
        for (param, default) in function.params.iter_mut().zip(defaults) {
            param.default = default;
        }
        function.body = body;
    }

    fn test_stmts(&mut self, stmts: &'a [ast::TestStmt]) -> Vec<hir::TestStmt> {
        stmts
            .iter()
            .map(|stmt| match stmt {
                ast::TestStmt::Let(decl) => {
                    let (local, value) = self.local_let(decl);
                    hir::TestStmt::Let(local, value)
                }
                ast::TestStmt::Assert(claim) => {
                    let claim = self.infer(claim);
                    if !matches!(claim.ty, Type::Bool | Type::Check | Type::Error) {
                        let (expected, found, at) = (Type::Bool, claim.ty.clone(), claim.span);
                        self.mismatch(expected, found, at);
                    }
                    hir::TestStmt::Assert(claim)
                }
            })
            .collect()
    }

    /// `let x = e` of a block or test: the value does not see the name.
    pub(super) fn local_let(&mut self, decl: &'a ast::LetDecl) -> (hir::LocalId, hir::Expr) {
        let before = self.frame.reads.len();
        let value = match &decl.ty {
            Some(ty) => {
                let (span, ty) = (ty.span, self.resolve_type(ty));
                self.check_because(&decl.value, &ty, span, format!("declared as {ty}"))
            }
            None => self.infer(&decl.value),
        };
        let ty = value.ty.clone();
        // `let base = base.run(…)` goes on with the same thing.
        let hidden = self.local(&decl.name.text).map(|(id, _)| id);
        if !hidden.is_some_and(|id| self.frame.reads[before..].contains(&id)) {
            self.hides(&decl.name);
        }
        self.local_declared(&decl.name);
        (self.bind(&decl.name, ty), value)
    }
}

/// Why a folder cannot be the destination of a target.
fn bad_dest(text: &Arc<str>) -> Option<String> {
    let cleaned = crate::base::path::clean(text);
    if text.is_empty() || cleaned == "." {
        return Some("the destination is a folder below the program's own".to_owned());
    }
    (cleaned.starts_with('/') || cleaned == ".." || cleaned.starts_with("../"))
        .then(|| "the destination lies below the program's folder; use `-o` for another place".to_owned())
}
