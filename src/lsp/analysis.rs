//! One program as editors look at it: texts, trees, and what each name in them means.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::describe::Declaration;
use super::place;
use super::walk::{self, Node};
use crate::base::{FileId, Report, SourceMap, Span};
use crate::lang::hir::{self, Builtin, Origin};
use crate::lang::resolve::{Loaded, LoadedModule};
use crate::lang::syntax;
use crate::lang::syntax::ast::{self, ItemKind};
use crate::lang::types::facts::{CallFact, Callee, Meaning};
use crate::lang::types::{Type, prelude};
use crate::lang::{self, Entry, ModuleSource, ModuleText};

/// What a name means: names with the same meaning are found together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Def {
    /// What is declared at this place of the program.
    At(Span),
    /// A function, method, property or constant of the prelude.
    Builtin(Builtin),
    /// A parameter of one.
    BuiltinParam(Builtin, usize),
    /// A field of a record of the prelude: its record and its index.
    BuiltinField(usize, usize),
    /// A variant of an enum of the prelude.
    BuiltinVariant(usize, usize),
    /// A type that is built in.
    BuiltinType(Type),
}

/// A name where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Its place.
    pub span: Span,
    /// What it means.
    pub def: Def,
    /// Whether it is declared here.
    pub declares: bool,
}

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file.
    pub path: PathBuf,
    /// Offset of its first byte.
    pub start: u32,
    /// Offset behind its last byte.
    pub end: u32,
}

/// Where texts of a program come from.
pub(super) trait Texts: Sync {
    /// The text of a file: what the editor has, else what is on disk.
    fn text(&self, path: &Path) -> ModuleText;

    /// The last text of a file that was without mistakes of syntax.
    fn last_good(&self, path: &Path) -> Option<Arc<str>>;
}

/// A program that was looked at.
#[derive(Debug)]
pub(super) struct Program {
    /// The folder that imports are relative to.
    pub folder: PathBuf,
    /// All texts.
    pub sources: SourceMap,
    /// Modules and their trees; ids of modules are indexes.
    pub loaded: Loaded,
    /// What could be typed.
    pub typed: hir::Program,
    /// What is to be said.
    pub reports: Vec<Report>,
    /// Calls whose callee is known.
    pub calls: Vec<CallFact>,
    /// Names in the order of their places.
    pub names: Vec<Name>,
    types: HashMap<Span, Type>,
    wanted: HashMap<Span, Type>,
    /// Files that were asked for, whether they are there or not.
    asked: BTreeSet<PathBuf>,
}

/// Texts below a folder, by the paths that modules have.
struct Below<'a> {
    folder: &'a Path,
    texts: &'a dyn Texts,
    asked: Mutex<BTreeSet<PathBuf>>,
}

impl ModuleSource for Below<'_> {
    fn module(&self, path: &str) -> ModuleText {
        let path = place::clean(&self.folder.join(path));
        let text = self.texts.text(&path);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
        text
    }
}

impl Program {
    /// Looks at the program that starts at `entry`.
    pub(super) fn analyse(entry: &Path, texts: &dyn Texts) -> Program {
        let folder = entry.parent().unwrap_or(Path::new("")).to_owned();
        let name = entry.file_name().unwrap_or(entry.as_os_str()).to_string_lossy().into_owned();
        let below = Below { folder: &folder, texts, asked: Mutex::default() };
        let mut sources = SourceMap::default();
        let entry = Entry { path: &name, origin: Origin::Root };
        let mend = |sources: &mut SourceMap, loaded: &mut Loaded| keep_broken_items(sources, loaded, &below);
        let lang::Analysis { loaded, program, facts, reports } =
            lang::analyse(&mut sources, entry, &below, &mend);
        let asked = below.asked.into_inner().unwrap_or_else(PoisonError::into_inner);
        let first_wins = |facts: Vec<(Span, Type)>| {
            let mut by_span = HashMap::with_capacity(facts.len());
            for (span, ty) in facts {
                by_span.entry(span).or_insert(ty);
            }
            by_span
        };
        let mut program = Program {
            folder,
            sources,
            loaded,
            typed: program,
            reports,
            calls: facts.calls,
            names: Vec::new(),
            types: first_wins(facts.types),
            wanted: first_wins(facts.wanted),
            asked,
        };
        let mut names = declarations(&program.loaded);
        for (span, meaning) in facts.names {
            if let Some(def) = program.def(&meaning) {
                names.push(Name { span, def, declares: false });
            }
        }
        names.sort_by_key(|name| name.span);
        names.dedup();
        program.names = names;
        program
    }

    /// Whether a change of `path` changes the program.
    pub(super) fn depends_on(&self, path: &Path) -> bool {
        self.asked.contains(path)
    }

    /// The module at `path`.
    pub(super) fn module_at(&self, path: &Path) -> Option<&LoadedModule> {
        self.loaded.modules.iter().find(|module| self.module_path(module).as_deref() == Some(path))
    }

    /// The module whose text is `file`.
    pub(super) fn module_of(&self, file: FileId) -> Option<&LoadedModule> {
        self.loaded.modules.iter().find(|module| module.ast.file == file)
    }

    /// The file of a module; none for the library's.
    pub(super) fn module_path(&self, module: &LoadedModule) -> Option<PathBuf> {
        (module.origin != Origin::Library).then(|| place::clean(&self.folder.join(&*module.path)))
    }

    /// The file a span lies in.
    pub(super) fn path_of(&self, file: FileId) -> Option<PathBuf> {
        self.module_path(self.module_of(file)?)
    }

    /// The place of a span in a file that is no part of the library.
    pub(super) fn place(&self, span: Span) -> Option<Place> {
        Some(Place { path: self.path_of(span.file)?, start: span.start, end: span.end })
    }

    /// Type of the expression or local at exactly this place.
    pub(super) fn type_at(&self, span: Span) -> Option<&Type> {
        self.types.get(&span).filter(|ty| !matches!(ty, Type::Error))
    }

    /// Type that was wanted of the expression or pattern at exactly this place.
    pub(super) fn wanted_at(&self, span: Span) -> Option<&Type> {
        self.wanted.get(&span).filter(|ty| !matches!(ty, Type::Error))
    }

    /// Names that hold or touch `offset`, those that hold it first.
    pub(super) fn names_at(&self, file: FileId, offset: u32) -> Vec<&Name> {
        let touches =
            |name: &&Name| name.span.file == file && (name.span.start..=name.span.end).contains(&offset);
        let mut found: Vec<&Name> = self.names.iter().filter(touches).collect();
        found.sort_by_key(|name| offset == name.span.end);
        found
    }

    /// Names of `file`, in order.
    pub(super) fn names_of(&self, file: FileId) -> impl Iterator<Item = &Name> {
        self.names.iter().filter(move |name| name.span.file == file)
    }

    /// The text of a span.
    pub(super) fn slice(&self, span: Span) -> &str {
        self.sources.file(span.file).slice(span)
    }

    /// What declares the name at `span`.
    pub(super) fn declaration(&self, span: Span) -> Option<Declaration<'_>> {
        self.module_of(span.file).and_then(|module| Declaration::find(&module.ast, span))
    }

    /// The call with these parentheses.
    pub(super) fn call_at(&self, parens: Span) -> Option<&CallFact> {
        self.calls.iter().rev().find(|call| call.parens == parens)
    }

    /// Where a parameter of a function is declared.
    pub(super) fn param_of(&self, function: hir::FunctionId, index: usize) -> Option<&ast::Field> {
        let item = self.declaration(self.typed.functions[function.index()].item.span)?.item();
        match &item.kind {
            ItemKind::Fn { params, .. } => params.get(index),
            _ => None,
        }
    }

    fn def(&self, meaning: &Meaning) -> Option<Def> {
        let (n_records, n_enums) = (prelude().records.len(), prelude().enums.len());
        Some(match meaning {
            Meaning::Declared(span) | Meaning::Import(_, span) => Def::At(self.in_current_text(*span)?),
            Meaning::Builtin(builtin) => Def::Builtin(*builtin),
            Meaning::Param(Callee::Builtin(builtin), index) => Def::BuiltinParam(*builtin, *index),
            Meaning::Param(Callee::Function(function), index) => {
                Def::At(self.in_current_text(self.param_of(*function, *index)?.name.span)?)
            }
            Meaning::Field(record, index) if record.index() < n_records => {
                Def::BuiltinField(record.index(), *index)
            }
            Meaning::Field(record, index) => {
                Def::At(self.in_current_text(self.typed.records[record.index()].fields[*index].span)?)
            }
            Meaning::Variant(decl, index) if decl.index() < n_enums => {
                Def::BuiltinVariant(decl.index(), *index)
            }
            Meaning::Variant(decl, index) => {
                let item = self.declaration(self.typed.enums[decl.index()].span)?.item();
                let ItemKind::Enum { variants, .. } = &item.kind else { return None };
                Def::At(self.in_current_text(variants.get(*index)?.span)?)
            }
            Meaning::BuiltinType(ty) => Def::BuiltinType(ty.clone()),
        })
    }

    /// The place of a declaration; one that is kept from an earlier text is where the broken item is.
    fn in_current_text(&self, span: Span) -> Option<Span> {
        if self.module_of(span.file).is_some() {
            return Some(span);
        }
        let name = self.slice(span);
        let module = self.loaded.modules.iter().find(|module| {
            module.ast.items.iter().any(|item| item.kind.name().is_some_and(|name| name.span == span))
        })?;
        module.ast.items.iter().find_map(|item| match &item.kind {
            ItemKind::Broken { name: Some(broken) } if &*broken.text == name => Some(broken.span),
            _ => None,
        })
    }
}

/// Every name that is declared.
fn declarations(loaded: &Loaded) -> Vec<Name> {
    let mut names = Vec::new();
    for module in &loaded.modules {
        let file = module.ast.file;
        let mut add = |span: Span| {
            if span.file == file {
                names.push(Name { span, def: Def::At(span), declares: true });
            }
        };
        walk::module(&module.ast, &mut |node| match node {
            Node::Item(item) => {
                item.kind.name().into_iter().for_each(|name| add(name.span));
                if let ItemKind::Enum { variants, .. } = &item.kind {
                    variants.iter().for_each(|variant| add(variant.span));
                }
            }
            Node::Let(decl) => add(decl.name.span),
            Node::Field(field) => add(field.name.span),
            Node::Variable(name) => add(name.span),
            Node::Expr(_) | Node::Type(_) | Node::Arm(_) => {}
        });
    }
    names
}

/// While an item is being written it does not parse; for everything else it stays what it last was.
fn keep_broken_items(sources: &mut SourceMap, loaded: &mut Loaded, below: &Below<'_>) {
    for module in &mut loaded.modules {
        let is_broken = |item: &ast::Item| matches!(item.kind, ItemKind::Broken { name: Some(_) });
        if module.origin == Origin::Library || !module.ast.items.iter().any(is_broken) {
            continue;
        }
        let path = place::clean(&below.folder.join(&*module.path));
        let Some(text) = below.texts.last_good(&path) else { continue };
        let file = sources.add(module.path.clone(), text);
        let earlier = syntax::parse(sources.file(file)).module;
        let broken: Vec<Arc<str>> = module
            .ast
            .items
            .iter()
            .filter_map(|item| match &item.kind {
                ItemKind::Broken { name } => name.as_ref().map(|name| name.text.clone()),
                _ => None,
            })
            .collect();
        let kept = earlier.items.into_iter().filter(|item| {
            let name = item.kind.name().is_some_and(|name| broken.contains(&name.text));
            name && !matches!(item.kind, ItemKind::Import { .. } | ItemKind::Broken { .. })
        });
        module.ast.items.extend(kept);
    }
}
