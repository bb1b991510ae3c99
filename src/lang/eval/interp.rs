//! One evaluation: its inputs, its graph, what it remembers and what it needs.
//!
//! An evaluation that has to know something goes on as far as it can: what does not depend on the answer is still
//! evaluated, so that one pass finds as many needs as possible ([`Stop::Need`]).

use std::collections::HashMap;
use std::sync::Arc;

use super::budget::Spent;
use super::error::{Budget, Cause, EvalError, Frame};
use super::value::{Map, Value};
use super::{Inputs, Need, Request};
use crate::base::{FileId, ImageRef, Platform, SourceMap, Span};
use crate::graph::ir::{Edge, Graph, Location, Range, SourceInfo, Tree, VertexId};
use crate::lang::hir::{self, Body, FunctionId, LetId, LocalId, ParamId, TargetId};

/// Why an expression has no value.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// Something has to be known first; it is among the needs.
    Need,
    /// It is wrong.
    Error(EvalError),
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

/// Results of calls that are remembered.
const MAX_MEMO: usize = 100_000;

/// One evaluation of a program.
pub(super) struct Evaluator<'a> {
    pub(super) program: &'a hir::Program,
    pub(super) sources: &'a SourceMap,
    pub(super) inputs: &'a Inputs,
    pub(super) graph: Graph,
    pub(super) needs: Vec<Need>,
    pub(super) used: Vec<Request>,
    pub(super) unpinned: Vec<(ImageRef, Span)>,
    pub(super) replaced: Vec<ImageRef>,
    /// `target_platform` here.
    pub(super) platform: Arc<Platform>,
    /// Whether what is being evaluated asked for it.
    pub(super) uses_platform: bool,
    /// The target that is being evaluated, for messages.
    pub(super) target: String,
    /// Results by what they depend on; the platform only where it was used. `None` is pending.
    memo: HashMap<(Key, Option<Arc<Platform>>), Option<Value>>,
    pub(super) calls: Vec<Frame>,
    /// Loops around what is being evaluated, the innermost last.
    loops: Vec<Span>,
    pub(super) spent: Spent,
    files: HashMap<FileId, u32>,
}

impl Env {
    pub(super) fn new(len: usize) -> Env {
        Env(vec![Slot::Empty; len])
    }

    pub(super) fn set(&mut self, local: LocalId, value: Value) {
        self.0[local.index()] = Slot::Value(value);
    }

    pub(super) fn set_pending(&mut self, local: LocalId) {
        self.0[local.index()] = Slot::Pending;
    }

    pub(super) fn get(&self, local: LocalId) -> Eval {
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
            replaced: Vec::new(),
            platform: Arc::new(inputs.build_platform.clone()),
            uses_platform: false,
            target: String::new(),
            memo: HashMap::new(),
            calls: Vec::new(),
            loops: Vec::new(),
            spent: Spent::default(),
            files: HashMap::new(),
        }
    }

    /// An error at `span`, with the calls that led there.
    pub(super) fn error<T>(&self, span: Span, cause: Cause) -> Eval<T> {
        let calls = self.calls.iter().rev().cloned().collect();
        Err(Stop::Error(EvalError { cause: Box::new(cause), span: Some(span), calls }))
    }

    pub(super) fn too_large<T>(&self, span: Span, what: Budget) -> Eval<T> {
        let inside = self.loops.last().copied().filter(|inside| *inside != span);
        self.error(span, Cause::TooLarge { what, limit: what.limit(), inside })
    }

    /// Evaluates a loop, which an error about its size will name.
    pub(super) fn in_loop(&mut self, span: Span, eval: impl FnOnce(&mut Self) -> Eval) -> Eval {
        self.loops.push(span);
        let result = eval(self);
        self.loops.pop();
        result
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

    pub(super) fn memoised(&mut self, key: Key, eval: impl FnOnce(&mut Self) -> Eval) -> Eval {
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
        // A call that is not remembered is only made again.
        if MAX_MEMO <= self.memo.len() && matches!(key.0, Key::Call(..)) {
            return result;
        }
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

    pub(super) fn param(&mut self, id: ParamId, span: Span) -> Eval {
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
        self.graph.vertex_mut(vertex).locations.push(Location {
            source,
            ranges: [range].into(),
            actions: None,
        });
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
