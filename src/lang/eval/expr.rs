//! Expressions to values.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{Cause, Frame};
use super::interp::{Env, Eval, Evaluator, Gather, Key, Stop, as_list, as_map, as_platform, as_text, field};
use super::value::{Index, Map, Value};
use crate::base::{Platform, Span};
use crate::lang::hir::{
    Arm, BinaryOp, Call, Comprehension, Expr, ExprKind, ListItem, LocalId, MapItem, Pattern, RecordItem,
};
use crate::lang::types::{RecordType, Type};

impl Evaluator<'_> {
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
            ExprKind::ListComp(loops, element) => self.in_loop(expr.span, |this| {
                let mut elements = Vec::new();
                let mut gather = Gather::default();
                this.each(loops, env, &mut |it, env| {
                    it.spend_values(1, expr.span)?;
                    elements.extend(gather.take(it.expr(element, env))?);
                    Ok(())
                })?;
                gather.finish()?;
                Ok(Value::List(elements.into()))
            }),
            ExprKind::MapComp(loops, key, value) => self.in_loop(expr.span, |this| {
                let mut map = Map::default();
                let mut gather = Gather::default();
                this.each(loops, env, &mut |it, env| {
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
            }),
            ExprKind::Fold(fold) => self.in_loop(expr.span, |this| {
                let first = this.expr(&fold.init, env)?;
                let over = this.expr(&fold.clause.over, env)?;
                env.set(fold.acc, first);
                for (key, value) in elements(&over) {
                    if let Some(local) = fold.clause.key {
                        env.set(local, key);
                    }
                    env.set(fold.clause.value, value);
                    let next = this.expr(&fold.body, env)?;
                    env.set(fold.acc, next);
                }
                env.get(fold.acc)
            }),
            ExprKind::Block(lets, value) => {
                self.lets(lets, env)?;
                self.expr(value, env)
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
                let list = platforms.span;
                let platforms = self.expr(platforms, env)?;
                self.check_platforms(as_list(&platforms), list)?;
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

    /// Refuses platforms that make no index.
    fn check_platforms(&self, platforms: &[Value], span: Span) -> Eval<()> {
        let platforms: Vec<Platform> = platforms.iter().map(|it| as_platform(it).normalize()).collect();
        let twice = platforms.iter().enumerate().find(|(at, it)| platforms[..*at].contains(it));
        match twice {
            Some((_, twice)) => self.error(span, Cause::BadPlatforms { twice: Some(twice.to_string()) }),
            None if platforms.is_empty() => self.error(span, Cause::BadPlatforms { twice: None }),
            None => Ok(()),
        }
    }

    /// A record of type `ty` from these fields, with the defaults of its declaration.
    pub(super) fn complete(
        &mut self,
        ty: &RecordType,
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
    pub(super) fn each(
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
