//! The interpreter: expressions to values.
//!
//! An evaluation that has to know something goes on as far as it can: what does not depend on the answer is still
//! evaluated, so that one pass finds as many needs as possible ([`Stop::Need`]).

use std::collections::HashMap;
use std::sync::Arc;

use super::budget::Spent;
use super::error::{Budget, Cause, EvalError, Frame};
use super::value::{Index, Map, Value};
use super::{Inputs, Need, Request};
use crate::base::{FileId, ImageRef, Platform, SourceMap, Span};
use crate::graph::ir::{Edge, Graph, Location, Range, SourceInfo, Tree, VertexId};
use crate::lang::hir::{
    self, Arm, BinaryOp, Body, Call, Coercion, Comprehension, Expr, ExprKind, FunctionId, LetId, ListItem,
    LocalId, MapItem, ParamId, Pattern, RecordItem, TargetId,
};
use crate::lang::types::Type;

/// Why an expression has no value.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// Something has to be known first; it is among the needs.
    Need,
    /// It is wrong.
    Error(Box<EvalError>),
}

/// The result of an expression.
pub(super) type Eval<T = Value> = Result<T, Stop>;

/// Local variables of a body.
pub(super) struct Env(Vec<Slot>);

#[derive(Debug, Clone)]
enum Slot {
    Empty,
    Value(Value),
    /// Its expression needs an answer.
    Pending,
}

/// What is evaluated once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Let(LetId),
    Target(TargetId),
    Param(ParamId),
    Call(FunctionId, Vec<Value>),
}

/// One evaluation of a program.
pub(super) struct Evaluator<'a> {
    pub(super) program: &'a hir::Program,
    pub(super) sources: &'a SourceMap,
    pub(super) inputs: &'a Inputs,
    pub(super) graph: Graph,
    pub(super) needs: Vec<Need>,
    pub(super) used: Vec<Request>,
    pub(super) unpinned: Vec<(ImageRef, Span)>,
    /// `target_platform` here.
    pub(super) platform: Arc<Platform>,
    /// Whether what is being evaluated asked for it.
    pub(super) uses_platform: bool,
    /// The target that is being evaluated, for messages.
    pub(super) target: String,
    /// Results by what they depend on; the platform only where it was used. `None` is pending.
    memo: HashMap<(Key, Option<Arc<Platform>>), Option<Value>>,
    calls: Vec<Frame>,
    spent: Spent,
    files: HashMap<FileId, u32>,
}

impl Env {
    pub(super) fn new(len: usize) -> Env {
        Env(vec![Slot::Empty; len])
    }

    fn set(&mut self, local: LocalId, value: Value) {
        self.0[local.index()] = Slot::Value(value);
    }

    fn get(&self, local: LocalId) -> Eval {
        match &self.0[local.index()] {
            Slot::Value(value) => Ok(value.clone()),
            Slot::Pending => Err(Stop::Need),
            Slot::Empty => panic!("a local is read before it is set: the checker resolves names"),
        }
    }
}

/// Collects results that do not depend on each other: all of them are evaluated even when some have needs.
#[derive(Default)]
pub(super) struct Gather {
    pending: bool,
}

impl Gather {
    /// The value, or `None` when it needs an answer.
    pub(super) fn take<T>(&mut self, result: Eval<T>) -> Eval<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Need) => {
                self.pending = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Stops when anything was pending.
    pub(super) fn finish(self) -> Eval<()> {
        if self.pending { Err(Stop::Need) } else { Ok(()) }
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        program: &'a hir::Program,
        sources: &'a SourceMap,
        inputs: &'a Inputs,
    ) -> Evaluator<'a> {
        Evaluator {
            program,
            sources,
            inputs,
            graph: Graph::new(),
            needs: Vec::new(),
            used: Vec::new(),
            unpinned: Vec::new(),
            platform: Arc::new(inputs.build_platform.clone()),
            uses_platform: false,
            target: String::new(),
            memo: HashMap::new(),
            calls: Vec::new(),
            spent: Spent::default(),
            files: HashMap::new(),
        }
    }

    /// An error at `span`, with the calls that led there.
    pub(super) fn error<T>(&self, span: Span, cause: Cause) -> Eval<T> {
        let calls = self.calls.iter().rev().cloned().collect();
        Err(Stop::Error(Box::new(EvalError { cause, span: Some(span), calls })))
    }

    fn too_large<T>(&self, span: Span, what: Budget) -> Eval<T> {
        self.error(span, Cause::TooLarge { what, limit: what.limit() })
    }

    pub(super) fn spend_values(&mut self, count: usize, span: Span) -> Eval<()> {
        self.spent.values(count).or_else(|what| self.too_large(span, what))
    }

    pub(super) fn spend_bytes(&mut self, count: usize, span: Span) -> Eval<()> {
        self.spent.bytes(count).or_else(|what| self.too_large(span, what))
    }

    /// Asks for something; the evaluation goes on elsewhere.
    pub(super) fn need<T>(&mut self, request: Request, span: Span) -> Eval<T> {
        if !self.needs.iter().any(|need| need.request == request) {
            self.needs.push(Need { request, span });
        }
        Err(Stop::Need)
    }

    /// Starts anew after an error in a target.
    pub(super) fn reset(&mut self) {
        self.calls.clear();
        self.spent = Spent::default();
    }

    /// `target_platform`.
    pub(super) fn target_platform(&mut self) -> Arc<Platform> {
        self.uses_platform = true;
        self.platform.clone()
    }

    fn memoised(&mut self, key: Key, eval: impl FnOnce(&mut Self) -> Eval) -> Eval {
        let mut key = (key, None);
        if let Some(found) = self.memo.get(&key) {
            return found.clone().ok_or(Stop::Need);
        }
        key.1 = Some(self.platform.clone());
        if let Some(found) = self.memo.get(&key) {
            self.uses_platform = true;
            return found.clone().ok_or(Stop::Need);
        }
        let outer = std::mem::replace(&mut self.uses_platform, false);
        let result = eval(self);
        if !self.uses_platform {
            key.1 = None;
        }
        self.uses_platform |= outer;
        match &result {
            Ok(value) => drop(self.memo.insert(key, Some(value.clone()))),
            Err(Stop::Need) => drop(self.memo.insert(key, None)),
            Err(Stop::Error(_)) => {}
        }
        result
    }

    /// Evaluates `eval` with another `target_platform`.
    pub(super) fn on<T>(
        &mut self,
        platform: Arc<Platform>,
        eval: impl FnOnce(&mut Self) -> Eval<T>,
    ) -> Eval<T> {
        let outer_platform = std::mem::replace(&mut self.platform, platform);
        // What the inside uses is its own platform, not the outer one.
        let outer_uses = self.uses_platform;
        let result = eval(self);
        self.platform = outer_platform;
        self.uses_platform = outer_uses;
        result
    }

    pub(super) fn body(&mut self, body: &Body) -> Eval {
        self.expr(&body.expr, &mut Env::new(body.locals.len()))
    }

    pub(super) fn target(&mut self, id: TargetId) -> Eval {
        let program = self.program;
        self.memoised(Key::Target(id), |it| it.body(&program.targets[id.index()].body))
    }

    fn param(&mut self, id: ParamId, span: Span) -> Eval {
        let program = self.program;
        let param = &program.params[id.index()];
        let key = Key::Param(id);
        let known = self.memo.contains_key(&(key.clone(), None));
        let value = self.memoised(key, |it| match (it.inputs.params.get(id), &param.default) {
            (Some(given), _) => it.given(given, param.item.span),
            (None, Some(default)) => it.body(default),
            (None, None) => it.error(
                span,
                Cause::MissingParam {
                    param: param.item.name.to_string(),
                    ty: param.ty.to_string(),
                    target: it.target.clone(),
                    declared: param.item.span,
                },
            ),
        })?;
        if !known {
            // Only now, because the conditions use the param itself.
            for clause in &param.wheres {
                if self.body(&clause.condition)? == Value::Bool(true) {
                    continue;
                }
                let message = match &clause.message {
                    Some(message) => {
                        let message = self.body(message)?;
                        Some(self.text_of(&message))
                    }
                    None => None,
                };
                let (param_name, value) = (param.item.name.to_string(), self.show(&value));
                let declared = param.item.span;
                let cause = Cause::Rejected { param: param_name, value, message, declared };
                return self.error(clause.condition.expr.span, cause);
            }
        }
        Ok(value)
    }

    /// The value of `expr`.
    pub(super) fn expr(&mut self, expr: &Expr, env: &mut Env) -> Eval {
        if let Err(what) = self.spent.enter() {
            return self.too_large(expr.span, what);
        }
        let result = self.expr_inner(expr, env);
        self.spent.leave();
        result
    }

    fn expr_inner(&mut self, expr: &Expr, env: &mut Env) -> Eval {
        let program = self.program;
        match &expr.kind {
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Int(value) => Ok(Value::Int(*value)),
            ExprKind::Mode(value) => Ok(Value::Mode(*value)),
            ExprKind::Size(value) => Ok(Value::Size(*value)),
            ExprKind::Duration(value) => Ok(Value::Duration(*value)),
            ExprKind::None => Ok(Value::None),
            ExprKind::Literal(literal) => self.literal(literal, expr.span, env),
            ExprKind::Variant(id, idx) => Ok(Value::Variant(*id, *idx)),
            ExprKind::Local(local) => env.get(*local),
            ExprKind::Let(id) => self.memoised(Key::Let(*id), |it| it.body(&program.lets[id.index()].body)),
            ExprKind::Param(id) => self.param(*id, expr.span),
            ExprKind::Target(id) => self.target(*id),
            ExprKind::Secret(id) => Ok(Value::Secret(*id)),
            ExprKind::Ssh(id) => Ok(Value::Ssh(*id)),
            ExprKind::List(items) => self.list(items, expr.span, env),
            ExprKind::Map(items) => self.map(items, expr.span, env),
            ExprKind::Record(items) => self.record(items, expr, env),
            ExprKind::ListComp(loops, element) => {
                let mut elements = Vec::new();
                let mut gather = Gather::default();
                self.each(loops, env, &mut |it, env| {
                    it.spend_values(1, expr.span)?;
                    elements.extend(gather.take(it.expr(element, env))?);
                    Ok(())
                })?;
                gather.finish()?;
                Ok(Value::List(elements.into()))
            }
            ExprKind::MapComp(loops, key, value) => {
                let mut map = Map::default();
                let mut gather = Gather::default();
                self.each(loops, env, &mut |it, env| {
                    it.spend_values(1, expr.span)?;
                    let name = gather.take(it.expr(key, env))?;
                    let value = gather.take(it.expr(value, env))?;
                    let (Some(name), Some(value)) = (name, value) else { return Ok(()) };
                    let name = as_text(&name).clone();
                    if map.contains(&name) {
                        return it.error(key.span, Cause::DuplicateKey { key: name.to_string() });
                    }
                    map.set(name, value);
                    Ok(())
                })?;
                gather.finish()?;
                Ok(Value::Map(Arc::new(map)))
            }
            ExprKind::Fold(fold) => {
                let first = self.expr(&fold.init, env)?;
                let over = self.expr(&fold.clause.over, env)?;
                env.set(fold.acc, first);
                for (key, value) in elements(&over) {
                    if let Some(local) = fold.clause.key {
                        env.set(local, key);
                    }
                    env.set(fold.clause.value, value);
                    let next = self.expr(&fold.body, env)?;
                    env.set(fold.acc, next);
                }
                env.get(fold.acc)
            }
            ExprKind::Block(lets, value) => {
                for (local, init) in lets {
                    env.0[local.index()] = match self.expr(init, env) {
                        Ok(value) => Slot::Value(value),
                        Err(Stop::Need) => Slot::Pending,
                        Err(error) => return Err(error),
                    };
                }
                let value = self.expr(value, env)?;
                // A pending `let` that the value does not use would be evaluated for nothing; it is needed no more.
                Ok(value)
            }
            ExprKind::If(condition, yes, no) => match self.expr(condition, env)? {
                Value::Bool(true) => self.expr(yes, env),
                _ => self.expr(no, env),
            },
            ExprKind::Match(subject, arms) => self.matches(subject, arms, env),
            ExprKind::On(platform, body) => {
                let platform = as_platform(&self.expr(platform, env)?);
                self.on(platform, |it| it.expr(body, env))
            }
            ExprKind::OnEach(platforms, body) => {
                let platforms = self.expr(platforms, env)?;
                let mut images = Vec::new();
                let mut gather = Gather::default();
                for platform in as_list(&platforms) {
                    let image = self.on(as_platform(platform), |it| it.expr(body, env));
                    if let Some(Value::Image(image)) = gather.take(image)? {
                        images.push(image);
                    }
                }
                gather.finish()?;
                Ok(Value::Index(Arc::new(Index { images, tags: Vec::new() })))
            }
            ExprKind::Coalesce(value, other) => match self.expr(value, env)? {
                Value::None => self.expr(other, env),
                value => Ok(value),
            },
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right, expr, env),
            ExprKind::Neg(value) => match self.expr(value, env)? {
                Value::Int(value) => match value.checked_neg() {
                    Some(value) => Ok(Value::Int(value)),
                    None => self.error(expr.span, Cause::Overflow),
                },
                value => panic!("negated {value:?}: the checker lets only ints through"),
            },
            ExprKind::Not(value) => Ok(Value::Bool(self.expr(value, env)? != Value::Bool(true))),
            ExprKind::Field(record, name) => Ok(field(&self.expr(record, env)?, name).clone()),
            ExprKind::Index(subject, index) => {
                let mut gather = Gather::default();
                let subject = gather.take(self.expr(subject, env))?;
                let position = gather.take(self.expr(index, env))?;
                gather.finish()?;
                match (subject, position) {
                    (Some(subject), Some(position)) => self.index(&subject, &position, index.span),
                    _ => Err(Stop::Need),
                }
            }
            ExprKind::Call(call) => self.call(call, expr.span, env),
            ExprKind::Builtin(call) => self.builtin(call, expr, env),
            ExprKind::Coerce(coercion, value) => {
                let value = self.expr(value, env)?;
                self.coerce(coercion, value, expr.span)
            }
        }
    }

    fn list(&mut self, items: &[ListItem], span: Span, env: &mut Env) -> Eval {
        let mut elements = Vec::with_capacity(items.len());
        let mut gather = Gather::default();
        for item in items {
            match item {
                ListItem::Item(item) => elements.extend(gather.take(self.expr(item, env))?),
                ListItem::Spread(list) => {
                    if let Some(list) = gather.take(self.expr(list, env))? {
                        self.spend_values(as_list(&list).len(), span)?;
                        elements.extend_from_slice(as_list(&list));
                    }
                }
            }
        }
        gather.finish()?;
        self.spend_values(items.len(), span)?;
        Ok(Value::List(elements.into()))
    }

    fn map(&mut self, items: &[MapItem], span: Span, env: &mut Env) -> Eval {
        let mut map = Map::default();
        let mut gather = Gather::default();
        for item in items {
            match item {
                MapItem::Entry(key, value) => {
                    let key = gather.take(self.expr(key, env))?;
                    let value = gather.take(self.expr(value, env))?;
                    if let (Some(key), Some(value)) = (key, value) {
                        map.set(as_text(&key).clone(), value);
                    }
                }
                MapItem::Spread(other) => {
                    if let Some(other) = gather.take(self.expr(other, env))? {
                        self.spend_values(as_map(&other).entries().len(), span)?;
                        for (key, value) in as_map(&other).entries() {
                            map.set(key.clone(), value.clone());
                        }
                    }
                }
            }
        }
        gather.finish()?;
        self.spend_values(items.len(), span)?;
        Ok(Value::Map(Arc::new(map)))
    }

    fn record(&mut self, items: &[RecordItem], expr: &Expr, env: &mut Env) -> Eval {
        let Type::Record(ty) = &expr.ty else { panic!("a record literal has a record type") };
        let mut given: HashMap<Arc<str>, Value> = HashMap::new();
        let mut gather = Gather::default();
        for item in items {
            match item {
                RecordItem::Field(name, value) => {
                    if let Some(value) = gather.take(self.expr(value, env))? {
                        given.insert(name.clone(), value);
                    }
                }
                RecordItem::Spread(other) => {
                    if let Some(Value::Record(fields)) = gather.take(self.expr(other, env))? {
                        given.extend(fields.iter().cloned());
                    }
                }
            }
        }
        gather.finish()?;
        self.complete(ty, given, expr.span)
    }

    /// A record of type `ty` from these fields, with the defaults of its declaration.
    pub(super) fn complete(
        &mut self,
        ty: &crate::lang::types::RecordType,
        mut given: HashMap<Arc<str>, Value>,
        span: Span,
    ) -> Eval {
        let program = self.program;
        self.spend_values(ty.fields.len(), span)?;
        let mut fields = Vec::with_capacity(ty.fields.len());
        let mut gather = Gather::default();
        for field in &ty.fields {
            let value = match given.remove(&field.name) {
                Some(value) => Some(value),
                None => {
                    let decl = ty.decl.map(|id| &program.records[id.index()]);
                    let default = decl
                        .and_then(|decl| {
                            decl.fields.iter().find(|it| it.name == field.name)?.default.as_ref()
                        })
                        .expect("the checker made sure that a field without value has a default");
                    gather.take(self.body(default))?
                }
            };
            fields.extend(value.map(|value| (field.name.clone(), value)));
        }
        gather.finish()?;
        Ok(Value::Record(fields.into()))
    }

    /// Runs `body` for every combination that meets the condition.
    fn each(
        &mut self,
        loops: &Comprehension,
        env: &mut Env,
        body: &mut dyn FnMut(&mut Self, &mut Env) -> Eval<()>,
    ) -> Eval<()> {
        self.each_from(loops, 0, env, body)
    }

    fn each_from(
        &mut self,
        loops: &Comprehension,
        depth: usize,
        env: &mut Env,
        body: &mut dyn FnMut(&mut Self, &mut Env) -> Eval<()>,
    ) -> Eval<()> {
        let Some(clause) = loops.clauses.get(depth) else {
            let take = match &loops.condition {
                Some(condition) => self.expr(condition, env)? == Value::Bool(true),
                None => true,
            };
            return if take { body(self, env) } else { Ok(()) };
        };
        let over = self.expr(&clause.over, env)?;
        for (key, value) in elements(&over) {
            if let Err(what) = self.spent.enter() {
                return self.too_large(clause.over.span, what);
            }
            self.spent.leave();
            if let Some(local) = clause.key {
                env.set(local, key);
            }
            env.set(clause.value, value);
            self.each_from(loops, depth + 1, env, body)?;
        }
        Ok(())
    }

    fn matches(&mut self, subject: &Expr, arms: &[Arm], env: &mut Env) -> Eval {
        let value = self.expr(subject, env)?;
        for arm in arms {
            let fits = match (&arm.pattern, &value) {
                (Pattern::Wildcard, _) | (Pattern::None, Value::None) => true,
                (Pattern::Variant(wanted), Value::Variant(_, idx)) => wanted == idx,
                (Pattern::Some(_), Value::None) => false,
                (Pattern::Some(local), value) => {
                    env.set(*local, value.clone());
                    true
                }
                (Pattern::Variant(_) | Pattern::None, _) => false,
            };
            if fits {
                return self.expr(&arm.body, env);
            }
        }
        panic!("no arm fits {value:?}: the checker makes matches exhaustive")
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr, expr: &Expr, env: &mut Env) -> Eval {
        if let BinaryOp::And | BinaryOp::Or = op {
            let left = self.expr(left, env)? == Value::Bool(true);
            let decided = left == (op == BinaryOp::Or);
            return if decided { Ok(Value::Bool(left)) } else { self.expr(right, env) };
        }
        let mut gather = Gather::default();
        let left = gather.take(self.expr(left, env))?;
        let right = gather.take(self.expr(right, env))?;
        gather.finish()?;
        let (Some(left), Some(right)) = (left, right) else { return Err(Stop::Need) };
        self.operate(op, &left, &right, expr)
    }

    fn call(&mut self, call: &Call, span: Span, env: &mut Env) -> Eval {
        let program = self.program;
        let function = &program.functions[call.function.index()];
        let mut gather = Gather::default();
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(match arg {
                Some(arg) => gather.take(self.expr(arg, env))?,
                None => None,
            });
        }
        gather.finish()?;
        self.calls.push(Frame { function: function.item.name.clone(), span });
        let mut frame = Env::new(function.body.locals.len());
        let mut key = Vec::with_capacity(args.len());
        for (idx, (arg, param)) in args.into_iter().zip(&function.params).enumerate() {
            let value = match (arg, &param.default) {
                (Some(value), _) => value,
                (None, Some(default)) => match self.expr(default, &mut frame) {
                    Ok(value) => value,
                    Err(stop) => {
                        self.calls.pop();
                        return Err(stop);
                    }
                },
                (None, None) => panic!("`{}` is called without `{}`", function.item.name, param.name),
            };
            frame.set(LocalId(idx as u32), value.clone());
            key.push(value);
        }
        let result =
            self.memoised(Key::Call(call.function, key), |it| it.expr(&function.body.expr, &mut frame));
        self.calls.pop();
        result
    }

    /// Applies a change of type.
    fn coerce(&mut self, coercion: &Coercion, value: Value, span: Span) -> Eval {
        Ok(match (coercion, value) {
            (Coercion::Some | Coercion::Empty, value) => value,
            (Coercion::Then(first, second), value) => {
                let value = self.coerce(first, value, span)?;
                self.coerce(second, value, span)?
            }
            (Coercion::ImageToFs, Value::Image(image)) => Value::Fs(super::value::Files::all(image.tree)),
            (Coercion::ToGlob, value) => {
                self.validate(hir::LiteralKind::Glob, as_text(&value), span)?;
                value
            }
            (Coercion::WordsToCmd, Value::List(words)) => {
                let words = words.iter().map(|word| as_text(word).to_string()).collect();
                Value::Command(Arc::new(super::value::Command::Words(words)))
            }
            (Coercion::WordsToArgv, value) => value,
            (Coercion::RecordToMap(fields), value) => {
                let mut map = Map::default();
                for (name, inner) in fields {
                    let value = field(&value, name).clone();
                    map.set(name.clone(), self.coerce_maybe(inner.as_ref(), value, span)?);
                }
                Value::Map(Arc::new(map))
            }
            (Coercion::Each(inner), Value::List(items)) => {
                let items: Eval<Vec<Value>> =
                    items.iter().map(|item| self.coerce(inner, item.clone(), span)).collect();
                Value::List(items?.into())
            }
            (Coercion::EachValue(inner), Value::Map(map)) => {
                let mut changed = Map::default();
                for (key, value) in map.entries() {
                    changed.set(key.clone(), self.coerce(inner, value.clone(), span)?);
                }
                Value::Map(Arc::new(changed))
            }
            (Coercion::Inside(_), Value::None) => Value::None,
            (Coercion::Inside(inner), value) => self.coerce(inner, value, span)?,
            (Coercion::Fields(fields), value) => {
                let mut changed = Vec::with_capacity(fields.len());
                for (name, inner) in fields {
                    let value = field(&value, name).clone();
                    changed.push((name.clone(), self.coerce_maybe(inner.as_ref(), value, span)?));
                }
                Value::Record(changed.into())
            }
            (
                Coercion::ImageToFs | Coercion::WordsToCmd | Coercion::Each(_) | Coercion::EachValue(_),
                value,
            ) => panic!("{coercion:?} of {value:?}: the checker knows the types"),
        })
    }

    fn coerce_maybe(&mut self, coercion: Option<&Coercion>, value: Value, span: Span) -> Eval {
        match coercion {
            Some(coercion) => self.coerce(coercion, value, span),
            None => Ok(value),
        }
    }

    /// Says where a vertex was written.
    pub(super) fn locate(&mut self, vertex: VertexId, span: Span) {
        let file = self.sources.file(span.file);
        let source = match self.files.get(&span.file) {
            Some(&source) => source,
            None => {
                let source = self.graph.add_source(SourceInfo {
                    filename: file.name.to_string(),
                    data: file.text.as_bytes().to_vec(),
                    language: "bkl".to_owned(),
                    definition: None,
                });
                self.files.insert(span.file, source);
                source
            }
        };
        let place = |offset| {
            let at = file.line_col(offset);
            (at.line as i32 + 1, at.col as i32)
        };
        let range = Range { start: place(span.start), end: place(span.end) };
        self.graph.vertex_mut(vertex).locations.push(Location { source, ranges: vec![range] });
    }

    /// Runs `add`, and locates what it added.
    pub(super) fn add_tree(&mut self, span: Span, add: impl FnOnce(&mut Graph) -> Tree) -> Tree {
        let before = self.graph.len();
        let tree = add(&mut self.graph);
        for idx in before..self.graph.len() {
            self.locate(VertexId(idx as u32), span);
        }
        tree
    }

    /// As [`Evaluator::add_tree`], for ops that always make a vertex.
    pub(super) fn add_edge(&mut self, span: Span, add: impl FnOnce(&mut Graph) -> Edge) -> Edge {
        let edge = add(&mut self.graph);
        self.locate(edge.vertex, span);
        edge
    }
}

/// Keys and values of what a loop runs over: positions and elements, or keys and values.
fn elements(over: &Value) -> Vec<(Value, Value)> {
    match over {
        Value::List(items) => {
            items.iter().enumerate().map(|(idx, item)| (Value::Int(idx as i64), item.clone())).collect()
        }
        Value::Map(map) => {
            map.entries().iter().map(|(key, value)| (Value::Str(key.clone()), value.clone())).collect()
        }
        other => panic!("a loop over {other:?}: the checker lets only lists and maps through"),
    }
}

/// The text of a `str`-like value.
pub(super) fn as_text(value: &Value) -> &Arc<str> {
    match value {
        Value::Str(text) => text,
        other => panic!("expected a text, found {other:?}: the checker knows the types"),
    }
}

/// The elements of a list.
pub(super) fn as_list(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        other => panic!("expected a list, found {other:?}: the checker knows the types"),
    }
}

/// A map.
pub(super) fn as_map(value: &Value) -> &Map {
    match value {
        Value::Map(map) => map,
        other => panic!("expected a map, found {other:?}: the checker knows the types"),
    }
}

/// A platform.
pub(super) fn as_platform(value: &Value) -> Arc<Platform> {
    match value {
        Value::Platform(platform) => platform.clone(),
        other => panic!("expected a platform, found {other:?}: the checker knows the types"),
    }
}

/// A field of a record.
pub(super) fn field<'v>(record: &'v Value, name: &str) -> &'v Value {
    let Value::Record(fields) = record else { panic!("a field of {record:?}: the checker knows the types") };
    let found = fields.iter().find(|(known, _)| &**known == name);
    &found.unwrap_or_else(|| panic!("no field `{name}`: the checker knows the types")).1
}
