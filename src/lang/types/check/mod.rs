//! The checker: bidirectional, several errors in one run, no error about what is already reported.
//!
//! `check` is given the type that is wanted, `infer` finds it. What cannot be typed is reported once and becomes
//! [`Type::Error`], which fits everywhere. Module-level lets are inferred when they are first used.

mod call;
mod declare;
mod expr;
mod fix;
mod guess;
mod items;
mod method;
mod operator;
mod platform;
mod prelude;
mod record;
mod recursion;
mod text;
mod typed;
mod unused;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::TypeError;
use super::facts::{Facts, Meaning};
use super::hir::{
    self, EnumId, FunctionId, LetId, Local, LocalId, ModuleId, ParamId, RecordId, SecretId, SshId, TargetId,
};
use super::signatures::Prelude;
use super::ty::{EnumType, Type};
use crate::base::{SourceMap, Span};
use crate::lang::resolve::Loaded;
use crate::lang::syntax::ast;

pub(super) use prelude::prelude;

/// What checking gives.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The program; only to be used when there are no errors.
    pub program: hir::Program,
    /// Errors and warnings; of one item in the order they were found.
    pub errors: Vec<TypeError>,
    /// Empty unless asked for.
    pub facts: Facts,
}

/// Whether a check also notes what editors ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noting {
    Nothing,
    Facts,
}

/// Checks all modules.
pub(crate) fn check(loaded: &Loaded, sources: &SourceMap, prelude: &Prelude, noting: Noting) -> Outcome {
    let mut checker = Checker::new(loaded, sources, prelude);
    checker.facts = (noting == Noting::Facts).then(Facts::default);
    checker.declare();
    checker.check_items();
    checker.find_recursion();
    checker.find_platform_in_defaults();
    checker.find_unused();
    checker.finish()
}

/// What a name of a module stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Symbol {
    /// A module; `None`: it could not be loaded.
    Import(Option<ModuleId>),
    Param(ParamId),
    Secret(SecretId),
    Ssh(SshId),
    Let(LetId),
    Fn(FunctionId),
    Target(TargetId),
    /// An item that could not be read.
    Broken,
}

/// What a type's name stands for.
#[derive(Debug, Clone)]
pub(super) enum TypeSymbol {
    /// Index into [`Checker::aliases`].
    Alias(usize),
    Enum(Arc<EnumType>),
    Broken,
}

/// Something with a name.
#[derive(Debug, Clone)]
pub(super) struct Named<T> {
    what: T,
    span: Span,
    public: bool,
}

/// The names of a module; values and types do not meet.
#[derive(Debug, Default)]
pub(super) struct Scope {
    values: BTreeMap<Arc<str>, Named<Symbol>>,
    types: BTreeMap<Arc<str>, Named<TypeSymbol>>,
}

/// A `type` item.
pub(super) struct Alias<'a> {
    module: ModuleId,
    name: &'a ast::Ident,
    ty: &'a ast::TypeExpr,
    state: AliasState,
}

#[derive(Clone)]
enum AliasState {
    Unresolved,
    InProgress,
    Done(Type),
}

/// A module-level `let` or `target`: its type is needed before its value may have been looked at.
pub(super) struct Lazy<'a, T> {
    module: ModuleId,
    item: &'a ast::Item,
    state: LazyState<T>,
}

enum LazyState<T> {
    Unchecked,
    InProgress,
    Done(T),
}

/// What can need itself: the nodes of the graph of uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Param(ParamId),
    Let(LetId),
    Fn(FunctionId),
    Target(TargetId),
    /// The defaults of a record's fields.
    Record(RecordId),
}

/// What is being checked, and the local names it can see.
#[derive(Default)]
pub(super) struct Frame {
    module: Option<ModuleId>,
    node: Option<Node>,
    locals: Vec<Local>,
    /// Innermost last.
    scopes: Vec<Vec<LocalId>>,
    /// Name of the function that is checked, for help texts.
    function: Option<Arc<str>>,
    /// Variables that the call around sets by `env:`.
    env_names: Vec<Arc<str>>,
    /// Locals in the order they are read.
    reads: Vec<LocalId>,
    /// What wants the type that the next expression is checked against: where, and in words.
    cause: Option<(Span, String)>,
    /// Whether an `on` around says which platform is built for.
    platform_given: bool,
}

pub(super) struct Checker<'a> {
    loaded: &'a Loaded,
    sources: &'a SourceMap,
    prelude: &'a Prelude,
    scopes: Vec<Scope>,
    aliases: Vec<Alias<'a>>,
    lets: Vec<Lazy<'a, hir::Let>>,
    targets: Vec<Lazy<'a, hir::Target>>,
    /// Items that hold bodies to be checked later, by module.
    bodies: Vec<(ModuleId, &'a ast::Item, Option<Node>)>,
    /// Records whose defaults are to be checked: the fields as written.
    record_defaults: Vec<(RecordId, ModuleId, &'a [ast::Field])>,
    /// Uses: from, to, where.
    uses: Vec<(Node, Node, Span)>,
    /// Those uses that hand on the platform that is built for, and uses of the platform itself (`None`).
    platform_uses: Vec<(Node, Option<Node>, Span)>,
    /// Declarations whose names are used.
    mentioned: BTreeSet<Span>,
    /// `let`s of blocks and tests.
    local_lets: BTreeMap<Span, Arc<str>>,
    program: hir::Program,
    frame: Frame,
    errors: Vec<TypeError>,
    /// What editors ask for, if one does.
    facts: Option<Facts>,
}

impl<'a> Checker<'a> {
    fn new(loaded: &'a Loaded, sources: &'a SourceMap, prelude: &'a Prelude) -> Checker<'a> {
        Checker {
            loaded,
            sources,
            prelude,
            scopes: Vec::new(),
            aliases: Vec::new(),
            lets: Vec::new(),
            targets: Vec::new(),
            bodies: Vec::new(),
            record_defaults: Vec::new(),
            uses: Vec::new(),
            platform_uses: Vec::new(),
            mentioned: BTreeSet::new(),
            local_lets: BTreeMap::new(),
            program: hir::Program {
                modules: Vec::new(),
                params: Vec::new(),
                secrets: Vec::new(),
                ssh: Vec::new(),
                lets: Vec::new(),
                functions: Vec::new(),
                targets: Vec::new(),
                tests: Vec::new(),
                records: prelude.records.clone(),
                enums: prelude.enums.clone(),
            },
            frame: Frame::default(),
            errors: Vec::new(),
            facts: None,
        }
    }

    // ---- facts

    /// Notes what the name at `at` means.
    fn means(&mut self, at: Span, meaning: impl FnOnce() -> Meaning) {
        if let Some(facts) = &mut self.facts {
            facts.names.push((at, meaning()));
        }
    }

    /// Notes the type of the expression or local at `at`.
    fn typed(&mut self, at: Span, ty: &Type) {
        if let Some(facts) = &mut self.facts {
            facts.types.push((at, ty.clone()));
        }
    }

    /// Notes the type that is wanted at `at`.
    fn wanted(&mut self, at: Span, ty: &Type) {
        if let Some(facts) = &mut self.facts {
            facts.wanted.push((at, ty.clone()));
        }
    }

    /// Notes what an item's name at `at` means.
    fn means_symbol(&mut self, at: Span, symbol: Symbol) {
        if self.facts.is_none() {
            return;
        }
        let declared = match symbol {
            Symbol::Import(_) | Symbol::Broken => return,
            Symbol::Param(id) => self.program.params[id.index()].item.span,
            Symbol::Secret(id) => self.program.secrets[id.index()].item.span,
            Symbol::Ssh(id) => self.program.ssh[id.index()].item.span,
            Symbol::Fn(id) => self.program.functions[id.index()].item.span,
            Symbol::Let(id) => self.lets[id.index()].item.kind.name().map_or(at, |name| name.span),
            Symbol::Target(id) => self.targets[id.index()].item.kind.name().map_or(at, |name| name.span),
        };
        self.means(at, || Meaning::Declared(declared));
    }

    fn error(&mut self, error: TypeError) {
        self.errors.push(error);
    }

    /// The module that is being checked.
    fn module(&self) -> ModuleId {
        self.frame.module.expect("bodies are checked inside of a module")
    }

    fn origin(&self) -> hir::Origin {
        self.loaded.modules[self.module().index()].origin
    }

    fn scope(&self) -> &Scope {
        &self.scopes[self.module().index()]
    }

    /// Notes that what is being checked uses `to`.
    fn used(&mut self, to: Node, at: Span) {
        if let Some(from) = self.frame.node {
            self.uses.push((from, to, at));
            if !self.frame.platform_given {
                self.platform_uses.push((from, Some(to), at));
            }
        }
    }

    // ---- frames and locals

    /// Runs `work` with fresh locals; gives what it gives and the locals it introduced.
    fn in_frame<T>(
        &mut self,
        module: ModuleId,
        node: Option<Node>,
        work: impl FnOnce(&mut Self) -> T,
    ) -> (T, Vec<Local>) {
        let frame = Frame { module: Some(module), node, scopes: vec![Vec::new()], ..Frame::default() };
        let outer = std::mem::replace(&mut self.frame, frame);
        let result = work(self);
        let inner = std::mem::replace(&mut self.frame, outer);
        (result, inner.locals)
    }

    /// A body of its own: an expression with its locals.
    fn body(
        &mut self,
        module: ModuleId,
        node: Option<Node>,
        work: impl FnOnce(&mut Self) -> hir::Expr,
    ) -> hir::Body {
        let (expr, locals) = self.in_frame(module, node, work);
        hir::Body { locals, expr }
    }

    /// Runs `work` in a scope inside the current one.
    fn in_scope<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.frame.scopes.push(Vec::new());
        let result = work(self);
        self.frame.scopes.pop();
        result
    }

    /// Adds a local to the innermost scope, which must not have it yet.
    fn bind(&mut self, name: &ast::Ident, ty: Type) -> LocalId {
        self.typed(name.span, &ty);
        let id = LocalId(self.frame.locals.len() as u32);
        self.frame.locals.push(Local { name: name.text.clone(), ty, span: name.span });
        self.introduce(name, id);
        id
    }

    /// Makes a local visible in the innermost scope, which must not have one of that name yet.
    fn introduce(&mut self, name: &ast::Ident, id: LocalId) {
        let innermost = self.frame.scopes.last().expect("a frame has a scope");
        let same = innermost.iter().map(|id| &self.frame.locals[id.index()]).find(|it| it.name == name.text);
        if let Some(first) = same.map(|local| local.span) {
            self.error(TypeError::Duplicate { name: name.text.to_string(), at: name.span, first });
        }
        self.frame.scopes.last_mut().expect("a frame has a scope").push(id);
    }

    /// The innermost local called `name`.
    fn local(&self, name: &str) -> Option<(LocalId, &Local)> {
        self.frame.scopes.iter().rev().flat_map(|scope| scope.iter().rev()).find_map(|&id| {
            let local = &self.frame.locals[id.index()];
            (&*local.name == name).then_some((id, local))
        })
    }

    /// All names of values that can be seen, innermost first.
    fn visible_names(&self) -> Vec<&str> {
        let locals = self.frame.scopes.iter().rev().flatten().map(|id| &*self.frame.locals[id.index()].name);
        let items = self.scope().values.keys().map(|name| &**name);
        let free = self.prelude.signatures.iter().filter(|it| it.receiver.is_none()).map(|it| &*it.name);
        locals.chain(items).chain(free).collect()
    }

    fn finish(self) -> Outcome {
        let mut program = self.program;
        program.lets = self.lets.into_iter().filter_map(|lazy| lazy.state.done()).collect();
        program.targets = self.targets.into_iter().filter_map(|lazy| lazy.state.done()).collect();
        Outcome { program, errors: self.errors, facts: self.facts.unwrap_or_default() }
    }

    /// Number of the enum; enums of a program are numbered as they are declared.
    fn next_enum(&self) -> EnumId {
        EnumId(self.program.enums.len() as u32)
    }
}

impl<T> LazyState<T> {
    fn done(self) -> Option<T> {
        match self {
            LazyState::Done(value) => Some(value),
            LazyState::Unchecked | LazyState::InProgress => None,
        }
    }
}

/// A candidate that was probably meant: near by spelling, or the only one that goes on where `typed` ends.
pub(super) fn near<'n>(typed: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = crate::base::suggest::nearest(typed, candidates.iter().copied()) {
        return Some(near.to_owned());
    }
    let mut longer = candidates.iter().filter(|name| 3 <= typed.len() && name.starts_with(typed));
    match (longer.next(), longer.next()) {
        (Some(name), None) => Some((*name).to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
