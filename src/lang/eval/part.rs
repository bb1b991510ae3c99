//! Evaluating a part of a target: `bkl build images.api` makes, and asks the outside for, nothing that only
//! `images.worker` needs.
//!
//! Maps and records are followed as far as they are written as such; what stands under other keys is not evaluated.

use std::sync::Arc;

use super::interp::{Env, Eval, Evaluator, Gather, Stop, as_map, as_text};
use super::value::{Map, Value};
use crate::lang::hir::{Coercion, Expr, ExprKind, LocalId, MapItem, RecordItem, TargetId};

impl Evaluator<'_> {
    /// The target's value with at least what stands at `path`, keys separated by dots, if there is such a thing.
    pub(super) fn target_part(&mut self, id: TargetId, path: &str) -> Eval {
        if path.is_empty() {
            return self.target(id);
        }
        let body = &self.program.targets[id.index()].body;
        self.part(&body.expr, path, &mut Env::new(body.locals.len()))
    }

    fn part(&mut self, expr: &Expr, path: &str, env: &mut Env) -> Eval {
        if path.is_empty() {
            return self.expr(expr, env);
        }
        match &expr.kind {
            ExprKind::MapComp(loops, key, value) => {
                let mut map = Map::default();
                let mut gather = Gather::default();
                self.each(loops, env, &mut |it, env| {
                    let Some(key) = gather.take(it.expr(key, env))? else { return Ok(()) };
                    let key = as_text(&key).clone();
                    if let Some(rest) = behind(path, &key)
                        && let Some(value) = gather.take(it.part(value, rest, env))?
                    {
                        map.set(key, value);
                    }
                    Ok(())
                })?;
                gather.finish()?;
                Ok(Value::Map(Arc::new(map)))
            }
            ExprKind::Map(items) => {
                let mut map = Map::default();
                let mut gather = Gather::default();
                for item in items {
                    match item {
                        MapItem::Entry(key, value) => {
                            let Some(key) = gather.take(self.expr(key, env))? else { continue };
                            let key = as_text(&key).clone();
                            if let Some(rest) = behind(path, &key)
                                && let Some(value) = gather.take(self.part(value, rest, env))?
                            {
                                map.set(key, value);
                            }
                        }
                        MapItem::Spread(other) => {
                            let Some(other) = gather.take(self.part(other, path, env))? else { continue };
                            for (key, value) in as_map(&other).entries() {
                                map.set(key.clone(), value.clone());
                            }
                        }
                    }
                }
                gather.finish()?;
                Ok(Value::Map(Arc::new(map)))
            }
            ExprKind::Record(items) if items.iter().all(|item| matches!(item, RecordItem::Field(..))) => {
                let mut fields = Vec::new();
                for item in items {
                    if let RecordItem::Field(name, value) = item
                        && let Some(rest) = behind(path, name)
                    {
                        fields.push((name.clone(), self.part(value, rest, env)?));
                    }
                }
                Ok(Value::Record(fields.into()))
            }
            ExprKind::Block(lets, value) => {
                self.lets(lets, env)?;
                self.part(value, path, env)
            }
            ExprKind::If(condition, yes, no) => match self.expr(condition, env)? {
                Value::Bool(true) => self.part(yes, path, env),
                _ => self.part(no, path, env),
            },
            ExprKind::Let(id) => {
                let body = &self.program.lets[id.index()].body;
                self.part(&body.expr, path, &mut Env::new(body.locals.len()))
            }
            ExprKind::Coerce(coercion @ (Coercion::EachValue(_) | Coercion::Empty), value) => {
                let value = self.part(value, path, env)?;
                self.coerce(coercion, value, expr.span)
            }
            _ => self.expr(expr, env),
        }
    }

    /// The `let`s of a block, in order; one that has needs stops only what uses it.
    pub(super) fn lets(&mut self, lets: &[(LocalId, Expr)], env: &mut Env) -> Eval<()> {
        for (local, init) in lets {
            match self.expr(init, env) {
                Ok(value) => env.set(*local, value),
                Err(Stop::Need) => env.set_pending(*local),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is left of `path` behind `key`, if that is how it starts. Keys may have dots themselves, so that several of them
/// can be meant.
fn behind<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}
