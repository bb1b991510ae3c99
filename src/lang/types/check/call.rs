//! Calls: who is called, which argument goes where, what the result is.

use std::sync::Arc;

use super::super::error::TypeError;
use super::super::facts::{CallFact, Callee, Meaning};
use super::super::hir::{self, Builtin, Expr, ExprKind, FunctionId, Origin};
use super::super::signatures::Signature;
use super::super::ty::Type;
use super::fix::sample;
use super::{Checker, Node, Symbol, near};
use crate::base::Span;
use crate::lang::syntax::ast;

/// A parameter as a call sees it.
struct Param {
    name: Arc<str>,
    ty: Type,
    required: bool,
    /// Where its name stands, for functions of a program.
    declared: Option<Span>,
}

/// Whom a call calls.
struct Called<'p> {
    callee: Callee,
    /// As messages say it.
    name: &'p str,
    /// Where a function of a program is declared.
    declared: Option<Span>,
    params: &'p [Param],
    /// Type of what a method is called on.
    receiver: Option<Type>,
}

/// What the types of the prelude that are no types stand for in one call.
#[derive(Default)]
pub(super) struct Stands {
    /// For `Self`: the type of the receiver.
    pub receiver: Option<Type>,
    /// For `T`: the element type of the receiver.
    pub element: Option<Type>,
    /// For `tree`: the type of the argument that is one.
    pub tree: Option<Type>,
}

impl Stands {
    fn of(&self, ty: &Type) -> Type {
        match ty {
            Type::SelfType => self.receiver.clone().unwrap_or(Type::Error),
            Type::Var => self.element.clone().unwrap_or(Type::Error),
            Type::Tree => self.tree.clone().unwrap_or(Type::Error),
            Type::List(inner) => Type::list(self.of(inner)),
            Type::Map(inner) => Type::map(self.of(inner)),
            Type::Option(inner) => Type::option(self.of(inner)),
            ty => ty.clone(),
        }
    }
}

impl<'a> Checker<'a> {
    /// A call; `wanted` is used where nothing else says what the result is.
    pub(super) fn call(&mut self, call: &'a ast::Call, span: Span, wanted: Option<&Type>) -> Expr {
        let callee = &call.callee;
        match &callee.kind {
            ast::ExprKind::Name(name) => self.call_name(name, call, span, wanted),
            ast::ExprKind::Field(base, name) => {
                if let Some(import) = self.import_named(base) {
                    let symbol = import.and_then(|module| self.item_of_module(module, base, name));
                    return match symbol {
                        Some(symbol) => self.call_symbol(symbol, &name.text, call, span),
                        None => self.call_of_nothing(call, span),
                    };
                }
                if call.piped {
                    let name = name.text.to_string();
                    self.error(TypeError::PipeIntoMethod { name, at: callee.span });
                    return self.call_of_nothing(call, span);
                }
                self.method(base, name, call, span)
            }
            _ => {
                let value = self.infer(callee);
                if !value.ty.has_error() {
                    let what = value.ty.to_string();
                    self.error(TypeError::NotCallable { what, declared: None, hides: None, at: callee.span });
                }
                self.call_of_nothing(call, span)
            }
        }
    }

    fn call_name(&mut self, name: &Arc<str>, call: &'a ast::Call, span: Span, wanted: Option<&Type>) -> Expr {
        let at = call.callee.span;
        if let Some((_, local)) = self.local(name) {
            let declared = local.span;
            self.means(at, || Meaning::Declared(declared));
        }
        if let Some((_, local)) = self.local(name) {
            let what = format!("`{name}` is {} and", local.ty);
            let declared = Some(local.span);
            if !local.ty.has_error() {
                let hides = self.hidden_function(name);
                self.error(TypeError::NotCallable { what, declared, hides, at });
            }
            return self.call_of_nothing(call, span);
        }
        if let Some((symbol, declared)) = self.scope().values.get(name).map(|named| (named.what, named.span))
        {
            self.mention(declared);
            self.means_symbol(at, symbol);
            return self.call_symbol(symbol, name, call, span);
        }
        if let Some(signature) = self.prelude.free(name) {
            self.means(at, || Meaning::Builtin(signature.builtin));
            let Some(_) = &signature.params else {
                let what = format!("`{name}` is {} and", signature.result);
                self.error(TypeError::NotCallable { what, declared: None, hides: None, at });
                return self.call_of_nothing(call, span);
            };
            return self.call_builtin(signature, None, call, at, span, wanted);
        }
        let help = self.name_help(name, self.callable_names());
        self.error(TypeError::UnknownName { name: name.to_string(), help, at });
        self.call_of_nothing(call, span)
    }

    /// The function of the prelude, or of this module, that a value called `name` hides.
    fn hidden_function(&self, name: &str) -> Option<String> {
        let item = self.scope().values.get(name).is_some_and(|it| matches!(it.what, Symbol::Fn(_)));
        let free = self.prelude.free(name).is_some_and(|it| it.params.is_some());
        (item || free).then(|| name.to_owned())
    }

    fn callable_names(&self) -> Vec<&str> {
        let items = self.scope().values.iter().filter(|(_, it)| matches!(it.what, Symbol::Fn(_)));
        let free = self.prelude.signatures.iter().filter(|it| it.receiver.is_none() && it.params.is_some());
        items.map(|(name, _)| &**name).chain(free.map(|it| &*it.name)).collect()
    }

    fn call_symbol(&mut self, symbol: Symbol, name: &str, call: &'a ast::Call, span: Span) -> Expr {
        let Symbol::Fn(id) = symbol else {
            let value = self.symbol(symbol, name, call.callee.span);
            if !value.ty.has_error() {
                let what = format!("`{name}` is {} and", value.ty);
                let declared = self.scope().values.get(name).map(|named| named.span);
                let hides = self.hidden_function(name);
                self.error(TypeError::NotCallable { what, declared, hides, at: call.callee.span });
            }
            return self.call_of_nothing(call, span);
        };
        self.call_function(id, name, call, span)
    }

    fn call_function(&mut self, id: FunctionId, name: &str, call: &'a ast::Call, span: Span) -> Expr {
        self.used(Node::Fn(id), call.callee.span);
        let function = &self.program.functions[id.index()];
        let result = function.result.clone();
        let params: Vec<Param> = function
            .params
            .iter()
            .map(|param| Param {
                name: param.name.clone(),
                ty: param.ty.clone(),
                required: param.default.is_none(),
                declared: Some(param.span),
            })
            .collect();
        let declared = Some(function.item.span);
        let callee = Called { callee: Callee::Function(id), name, declared, params: &params, receiver: None };
        let args = self.args(callee, call, |checker, param, value| {
            checker.frame.cause = param.declared.map(|at| (at, format!("`{}` is {}", param.name, param.ty)));
            checker.check(value, &param.ty)
        });
        let call = hir::Call { function: id, args };
        Expr { kind: ExprKind::Call(call), ty: result, span }
    }

    /// The call of something that is not there, or not callable: its arguments are still looked at.
    pub(super) fn call_of_nothing(&mut self, call: &'a ast::Call, span: Span) -> Expr {
        for arg in &call.args {
            self.check(&arg.value, &Type::Error);
        }
        self.broken(span)
    }

    /// A call of something of the prelude; `receiver` is what the method is called on.
    pub(super) fn call_builtin(
        &mut self,
        signature: &'a Signature,
        receiver: Option<Expr>,
        call: &'a ast::Call,
        name_span: Span,
        span: Span,
        wanted: Option<&Type>,
    ) -> Expr {
        let builtin = signature.builtin;
        self.only_in_root(builtin, &signature.name, name_span);
        let mut stands = Stands::default();
        if let Some(receiver) = &receiver {
            stands.element = match &receiver.ty {
                Type::List(element) | Type::Map(element) => Some((**element).clone()),
                _ => None,
            };
            stands.receiver = Some(receiver.ty.clone());
        }
        if builtin == Builtin::ReadJson {
            stands.element = wanted.cloned();
        }
        let declared = signature.params.as_ref().expect("only functions and methods are called");
        let params: Vec<Param> = declared
            .iter()
            .map(|param| Param {
                name: param.name.clone(),
                ty: param.ty.clone(),
                required: param.default.is_none(),
                declared: None,
            })
            .collect();
        let mut outs: Option<Type> = None;
        let env_names = super::text::env_names(&call.args);
        let outer = std::mem::replace(&mut self.frame.env_names, env_names);
        let receiver_type = receiver.as_ref().map(|it| it.ty.clone());
        let callee = Called {
            callee: Callee::Builtin(builtin),
            name: &signature.name,
            declared: None,
            params: &params,
            receiver: receiver_type,
        };
        let mut args = self.args(callee, call, |checker, param, value| match param.ty {
            Type::Outs => {
                let (value, ty) = checker.outs(value);
                outs = Some(ty);
                value
            }
            Type::Tree => {
                let value = checker.infer(value);
                let ty = value.ty.clone();
                let value = if matches!(ty, Type::Image) { value } else { checker.coerce(value, &Type::Fs) };
                stands.tree = Some(if matches!(ty, Type::Image) { Type::Image } else { value.ty.clone() });
                value
            }
            // What is looked for in an empty list can be anything.
            Type::Var if stands.element == Some(Type::Never) => checker.infer(value),
            _ => checker.check(value, &stands.of(&param.ty)),
        });
        self.frame.env_names = outer;
        let given: Vec<bool> = args.iter().map(Option::is_some).collect();
        self.defaults_to_platform(declared, &given, name_span);
        let mut ty = stands.of(&signature.result);
        match builtin {
            Builtin::ImageRun | Builtin::ImageExec => {
                if let Some(outs) = outs {
                    ty = outs;
                } else if may_be_true(&params, &args, "read_only") {
                    let at = call
                        .args
                        .iter()
                        .find(|arg| arg.name.as_ref().is_some_and(|it| &*it.text == "read_only"));
                    let at = at.map_or(span, |arg| arg.value.span);
                    self.error(TypeError::ReadOnlyWithoutOuts { at });
                }
            }
            Builtin::ReadJson if wanted.is_none() => {
                let help = "say it where it goes: `let x: { version: str } = read_json(…)`".to_owned();
                self.error(TypeError::Untyped { what: "`read_json`".to_owned(), help, at: name_span });
                ty = Type::Error;
            }
            Builtin::ListJoin | Builtin::ListSort | Builtin::ListUnique | Builtin::ListContains => {
                self.check_elements(builtin, &stands, name_span);
            }
            _ => {}
        }
        if let Some(receiver) = receiver {
            args.insert(0, Some(receiver));
        }
        Expr { kind: ExprKind::Builtin(hir::BuiltinCall { builtin, args, name_span }), ty, span }
    }

    /// What some list methods need of the elements.
    fn check_elements(&mut self, builtin: Builtin, stands: &Stands, at: Span) {
        let Some(element) = &stands.element else { return };
        let fits = match builtin {
            Builtin::ListJoin => element.is_scalar(),
            Builtin::ListSort => {
                matches!(element, Type::Int | Type::Size | Type::Duration) || element.is_scalar()
            }
            _ => super::operator::is_comparable(element),
        };
        if !fits && !element.has_error() && *element != Type::Never {
            let receiver = Type::list(element.clone());
            let help = match builtin {
                Builtin::ListJoin => "only lists of text can be joined to one".to_owned(),
                Builtin::ListSort => format!("{element} has no order"),
                _ => format!("values of {element} cannot be compared"),
            };
            let name = builtin.key().rsplit('.').next().unwrap_or_default().to_owned();
            self.error(TypeError::UnknownMethod { receiver, name, near: None, help: Some(help), at });
        }
    }

    fn only_in_root(&mut self, builtin: Builtin, name: &str, at: Span) {
        let reads = matches!(
            builtin,
            Builtin::Local | Builtin::Read | Builtin::ReadJson | Builtin::Files | Builtin::OciLayout
        );
        if reads && self.origin() != Origin::Root {
            let help = self.frame.function.as_ref().map(|function| {
                let (param, ty) = match builtin {
                    Builtin::Read => ("text", "str"),
                    Builtin::Files => ("files", "[path]"),
                    Builtin::OciLayout => ("base", "image"),
                    Builtin::ReadJson => ("data", "…"),
                    _ => ("src", "fs"),
                };
                let what = if ty == "fs" { "tree" } else { "value" };
                format!("take the {what} as an argument: `fn {function}({param}: {ty}, …)`")
            });
            let reads = "reads the importer's machine";
            self.error(TypeError::RemoteLocal { name: name.to_owned(), reads, help, at });
        }
    }

    /// `outs: { bin: out("/out") }`: the record, and the type of the command's result.
    fn outs(&mut self, value: &'a ast::Expr) -> (Expr, Type) {
        let mut result: Vec<(Arc<str>, Type)> = vec![(Arc::from("root"), Type::Image)];
        let typed = match &value.kind {
            ast::ExprKind::Record(entries) => {
                let mut items = Vec::new();
                let mut fields = Vec::new();
                for entry in entries {
                    match entry {
                        ast::Entry::Field(name, value) => {
                            let value = self.out_value(value);
                            self.add_out(&mut fields, &mut result, name);
                            items.push(hir::RecordItem::Field(name.text.clone(), value));
                        }
                        ast::Entry::Keyed(key, value) => {
                            self.out_value(value);
                            let what = "this result".to_owned();
                            let help = "results have names: `outs: { bin: out(\"/out\") }`".to_owned();
                            self.error(TypeError::Untyped { what, help, at: key.span });
                        }
                        ast::Entry::Spread(value) => {
                            let value = self.infer(value);
                            self.spread_outs(&value, &mut fields, &mut result);
                            items.push(hir::RecordItem::Spread(value));
                        }
                    }
                }
                Expr {
                    kind: ExprKind::Record(items),
                    ty: Type::record(
                        fields.into_iter().map(|(name, _)| (name, Type::Out)).collect::<Vec<_>>(),
                    ),
                    span: value.span,
                }
            }
            _ => {
                let typed = self.infer(value);
                self.spread_outs(&typed, &mut Vec::new(), &mut result);
                typed
            }
        };
        if result.len() == 1
            && !typed.ty.has_error()
            && matches!(&typed.ty, Type::Record(it) if it.fields.is_empty())
        {
            return (typed, Type::Image);
        }
        (typed, Type::record(result))
    }

    fn out_value(&mut self, value: &'a ast::Expr) -> Expr {
        let value = self.infer(value);
        if matches!(value.ty, Type::Mount) {
            self.error(TypeError::MountAsOut { at: value.span });
            return self.broken(value.span);
        }
        self.coerce(value, &Type::Out)
    }

    fn add_out(
        &mut self,
        fields: &mut Vec<(Arc<str>, Span)>,
        result: &mut Vec<(Arc<str>, Type)>,
        name: &ast::Ident,
    ) {
        if &*name.text == "root" {
            self.error(TypeError::RootInOuts { at: name.span });
            return;
        }
        if let Some(&(_, first)) = fields.iter().find(|(known, _)| *known == name.text) {
            self.error(TypeError::GivenTwice { name: name.text.to_string(), at: name.span, first });
            return;
        }
        fields.push((name.text.clone(), name.span));
        result.push((name.text.clone(), Type::Fs));
    }

    fn spread_outs(
        &mut self,
        value: &Expr,
        fields: &mut Vec<(Arc<str>, Span)>,
        result: &mut Vec<(Arc<str>, Type)>,
    ) {
        match &value.ty {
            Type::Record(record) if record.fields.iter().all(|field| field.ty == Type::Out) => {
                for field in &record.fields {
                    self.add_out(fields, result, &ast::Ident { text: field.name.clone(), span: value.span });
                }
            }
            Type::Error => {}
            found => {
                let found = found.clone();
                self.mismatch(Type::Outs, found, value.span);
            }
        }
    }

    /// Puts arguments into the slots of `params`, typed by `typed` in the order they are written.
    fn args(
        &mut self,
        called: Called<'_>,
        call: &'a ast::Call,
        mut typed: impl FnMut(&mut Self, &Param, &'a ast::Expr) -> Expr,
    ) -> Vec<Option<Expr>> {
        let Called { callee, name: function, declared, params, receiver } = called;
        let mut taken: Vec<Option<usize>> = Vec::new();
        let mut slots: Vec<Option<Expr>> = params.iter().map(|_| None).collect();
        let mut given: Vec<Option<Span>> = vec![None; params.len()];
        let required: Vec<usize> = (0..params.len()).filter(|&i| params[i].required).collect();
        let mut n_positional = 0;
        let mut named = false;
        let n_errors = self.errors.len();
        for arg in &call.args {
            let slot = match &arg.name {
                Some(name) => {
                    named = true;
                    let slot = self.named_slot(function, params, name, &given);
                    if let Some(slot) = slot.filter(|&slot| params[slot].name == name.text) {
                        self.means(name.span, || Meaning::Param(callee, slot));
                    }
                    slot
                }
                None => {
                    if named {
                        self.error(TypeError::PositionalAfterNamed { at: arg.value.span });
                    }
                    let slot = required.get(n_positional).copied();
                    if slot.is_none() && !self.errors[n_errors..].iter().any(wants_list_of) {
                        self.too_many(function, params, &required, n_positional, call, arg.value.span);
                    }
                    n_positional += 1;
                    slot
                }
            };
            taken.push(slot);
            let Some(slot) = slot else {
                self.check(&arg.value, &Type::Error);
                continue;
            };
            let at = arg.name.as_ref().map_or(arg.value.span, |name| name.span);
            if let Some(first) = given[slot] {
                let name = params[slot].name.to_string();
                self.error(TypeError::GivenTwice { name, at, first });
            }
            given[slot] = Some(at);
            slots[slot] = Some(typed(self, &params[slot], &arg.value));
        }
        if let Some(facts) = &mut self.facts {
            facts.calls.push(CallFact { parens: call.parens, callee, receiver, slots: taken });
        }
        let missing: Vec<String> =
            required.iter().filter(|&&i| given[i].is_none()).map(|&i| params[i].name.to_string()).collect();
        if !missing.is_empty() && !self.explains_missing(n_errors, function, &missing) {
            let wanted = required.iter().filter(|&&i| given[i].is_none()).map(|&i| &params[i]);
            let added: Vec<String> =
                wanted.map(|param| format!("{}: {}", param.name, sample(&param.ty))).collect();
            // A piped argument stands in front of the parentheses.
            let last = call.args.last().map(|arg| arg.value.span.end).filter(|&end| call.parens.start < end);
            let add = self.add_entries(call.parens, last, &added);
            let function = function.to_owned();
            let all = required.iter().map(|&i| params[i].name.to_string()).collect();
            self.error(TypeError::MissingArg {
                function,
                names: missing,
                all,
                add,
                declared,
                at: call.parens,
            });
        }
        slots
    }

    /// Whether an error about the call's arguments, one from `n_errors` on, is also why some are missing: one that is
    /// given by another name, or a path that stands in the place of its tree.
    fn explains_missing(&mut self, n_errors: usize, called: &str, missing: &[String]) -> bool {
        let errors = &mut self.errors[n_errors..];
        let mut unknown: Vec<&mut Option<String>> = errors
            .iter_mut()
            .filter_map(|error| match error {
                TypeError::UnknownArg { function, near: near @ None, .. } if function == called => Some(near),
                _ => None,
            })
            .collect();
        if let ([near], [name]) = (unknown.as_mut_slice(), missing) {
            **near = Some(name.clone());
            return true;
        }
        let path_for_tree = |error: &TypeError| match error {
            TypeError::Mismatch(it) => {
                matches!((&it.expected, &it.found), (Type::Fs | Type::Tree, Type::Str | Type::Path))
            }
            _ => false,
        };
        self.errors[n_errors..].iter().any(path_for_tree)
    }

    /// The slot of a named argument; an unknown name is taken for a near one that is not given.
    fn named_slot(
        &mut self,
        function: &str,
        params: &[Param],
        name: &ast::Ident,
        given: &[Option<Span>],
    ) -> Option<usize> {
        let find = |wanted: &str| params.iter().position(|param| &*param.name == wanted);
        if let Some(slot) = find(&name.text) {
            return Some(slot);
        }
        let near = near(&name.text, params.iter().map(|param| &*param.name));
        let meant = near.as_deref().and_then(find).filter(|&slot| given[slot].is_none());
        let (function, text) = (function.to_owned(), name.text.to_string());
        let have = params.iter().map(|param| param.name.to_string()).collect();
        self.error(TypeError::UnknownArg { function, name: text, near, have, at: name.span });
        meant
    }

    fn too_many(
        &mut self,
        function: &str,
        params: &[Param],
        required: &[usize],
        n: usize,
        call: &ast::Call,
        at: Span,
    ) {
        let allowed = match required.len() {
            0 => "no argument".to_owned(),
            1 => "one argument".to_owned(),
            n => format!("{n} arguments"),
        };
        let optional = params.iter().filter(|param| !param.required).nth(n - required.len());
        let texts = call.args.iter().filter(|arg| arg.name.is_none());
        let all_texts = texts.clone().count() > 1
            && texts.clone().all(|arg| matches!(arg.value.kind, ast::ExprKind::Text(_)));
        let words = matches!(function, "run" | "exec" | "check") && all_texts;
        let help = match optional {
            _ if words => Some(format!("words are given as a list: `{function}([\"…\", \"…\"])`")),
            Some(param) => Some(format!("arguments with a default are named: `{}: …`", param.name)),
            None => None,
        };
        let name_it = optional.filter(|_| !words).map(|param| param.name.to_string());
        let function = function.to_owned();
        self.error(TypeError::TooManyArgs { function, allowed, help, name_it, at });
    }
}

/// Whether one value is given where a list of such is wanted: more of them may follow.
fn wants_list_of(error: &TypeError) -> bool {
    let TypeError::Mismatch(mismatch) = error else { return false };
    matches!(&mismatch.expected, Type::List(element) if mismatch.found.fits(element))
}

/// Whether the argument `name` is given and not the literal `false`.
fn may_be_true(params: &[Param], args: &[Option<Expr>], name: &str) -> bool {
    let mut both = params.iter().zip(args);
    both.any(|(param, arg)| {
        &*param.name == name && arg.as_ref().is_some_and(|arg| !matches!(arg.kind, ExprKind::Bool(false)))
    })
}
