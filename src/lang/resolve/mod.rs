//! From an entry file to all modules of a program: imports are followed, texts come in through [`ModuleSource`].

mod error;
pub mod stdlib;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use error::ResolveError;

use super::hir::{ModuleId, Origin};
use super::syntax::{self, ast};
use crate::base::{SourceMap, path};

/// Where texts of modules below the root directory come from.
pub trait ModuleSource {
    /// The text of the module at `path`, which is relative to the root directory, with `/` and without `.`; it starts with
    /// `..` when it lies outside.
    fn module(&self, path: &str) -> ModuleText;
}

/// What a [`ModuleSource`] knows of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleText {
    /// Its text, and the name users know the file by.
    Text {
        /// For messages.
        name: Arc<str>,
        /// Its bytes as text.
        text: Arc<str>,
    },
    /// The same of a file that a link inside of the root directory leads to, and that lies outside of it.
    Outside {
        /// For messages.
        name: Arc<str>,
        /// Its bytes as text.
        text: Arc<str>,
    },
    /// There is no such file.
    Missing,
    /// It is there and cannot be used; says why.
    Unreadable(String),
    /// Not asked for yet: the driver finds out and starts again.
    Unknown,
}

/// Where a program starts.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Path of the entry module from the root directory.
    pub path: &'a str,
    /// [`Origin::Root`], but for checking a module as others will import it.
    pub origin: Origin,
}

/// The modules of a program, the entry first, each imported one behind its first importer.
#[derive(Debug, Default)]
pub struct Loaded {
    /// A [`ModuleId`] is an index.
    pub modules: Vec<LoadedModule>,
    /// What is wrong with texts and imports.
    pub errors: Vec<LoadError>,
    /// Paths of modules whose texts are [`ModuleText::Unknown`]; then nothing else here is complete.
    pub needs: Vec<Arc<str>>,
}

/// A module and what its imports mean.
#[derive(Debug)]
pub struct LoadedModule {
    /// Its tree.
    pub ast: ast::Module,
    /// Path from the root directory, or `std/…`.
    pub path: Arc<str>,
    /// Its folder, relative to the root directory; empty for the root directory.
    pub dir: Arc<str>,
    /// Where it comes from.
    pub origin: Origin,
    /// One per import item, in order: the module, if it could be loaded.
    pub imports: Vec<Option<ModuleId>>,
}

/// An error of the first two stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// Of a text.
    Syntax(syntax::SyntaxError),
    /// Of an import.
    Resolve(ResolveError),
}

/// Loads `entry` and everything it imports, directly or not.
pub fn load(sources: &mut SourceMap, entry: Entry<'_>, texts: &dyn ModuleSource) -> Loaded {
    let mut loader = Loader { sources, texts, known: BTreeMap::new(), loaded: Loaded::default() };
    match texts.module(entry.path) {
        ModuleText::Text { name, text } | ModuleText::Outside { name, text } => {
            loader.add(Arc::from(entry.path), entry.origin, name, text);
            loader.follow_imports();
            loader.find_circles();
        }
        ModuleText::Unknown => loader.loaded.needs.push(Arc::from(entry.path)),
        ModuleText::Missing => {
            let path = entry.path.to_owned();
            loader.error(ResolveError::NoProgram { path, why: "there is no such file".to_owned() });
        }
        ModuleText::Unreadable(why) => {
            loader.error(ResolveError::NoProgram { path: entry.path.to_owned(), why });
        }
    }
    loader.loaded
}

struct Loader<'a> {
    sources: &'a mut SourceMap,
    texts: &'a dyn ModuleSource,
    /// Modules by path; `None`: cannot be loaded, and that is reported where it was first imported.
    known: BTreeMap<Arc<str>, Option<ModuleId>>,
    loaded: Loaded,
}

/// What stands behind `from`.
enum Import {
    Module(Arc<str>, Origin),
    Wrong(ResolveError),
}

impl Loader<'_> {
    fn error(&mut self, error: ResolveError) {
        self.loaded.errors.push(LoadError::Resolve(error));
    }

    fn add(&mut self, path: Arc<str>, origin: Origin, name: Arc<str>, text: Arc<str>) -> ModuleId {
        let id = ModuleId(self.loaded.modules.len() as u32);
        let file = self.sources.add(name, text);
        let parsed = syntax::parse(self.sources.file(file));
        self.loaded.errors.extend(parsed.errors.into_iter().map(LoadError::Syntax));
        let dir = Arc::from(path.rsplit_once('/').map_or("", |(dir, _)| dir));
        self.known.insert(path.clone(), Some(id));
        let imports = Vec::new();
        self.loaded.modules.push(LoadedModule { ast: parsed.module, path, dir, origin, imports });
        id
    }

    /// Goes through the modules in the order they were added, which grows while it does.
    fn follow_imports(&mut self) {
        let mut at = 0;
        while at < self.loaded.modules.len() {
            let module = &self.loaded.modules[at];
            let imports: Vec<ast::Ident> = module
                .ast
                .items
                .iter()
                .filter_map(|item| match &item.kind {
                    ast::ItemKind::Import { from, .. } => Some(from.clone()),
                    _ => None,
                })
                .collect();
            let (dir, origin) = (module.dir.clone(), module.origin);
            let ids = imports.iter().map(|from| self.import(from, &dir, origin)).collect();
            self.loaded.modules[at].imports = ids;
            at += 1;
        }
    }

    fn import(&mut self, from: &ast::Ident, dir: &str, origin: Origin) -> Option<ModuleId> {
        let (path, origin) = match target_of(from, dir, origin) {
            Import::Module(path, origin) => (path, origin),
            Import::Wrong(error) => {
                self.error(error);
                return None;
            }
        };
        if let Some(&id) = self.known.get(&path) {
            return id;
        }
        let answer = match origin {
            Origin::Library => match stdlib::text(&path) {
                Some(text) => ModuleText::Text { name: path.clone(), text: Arc::from(text) },
                None => ModuleText::Missing,
            },
            Origin::Root | Origin::Remote => self.texts.module(&path),
        };
        let error = match answer {
            ModuleText::Text { name, text } => return Some(self.add(path, origin, name, text)),
            ModuleText::Outside { name, text } => return Some(self.add(path, Origin::Remote, name, text)),
            ModuleText::Unknown => {
                self.loaded.needs.push(path.clone());
                None
            }
            ModuleText::Missing if origin == Origin::Library => {
                Some(ResolveError::NotInLibrary { path: path.to_string(), at: from.span })
            }
            ModuleText::Missing => Some(ResolveError::Missing { path: path.to_string(), at: from.span }),
            ModuleText::Unreadable(why) => {
                Some(ResolveError::Unreadable { path: path.to_string(), why, at: from.span })
            }
        };
        self.known.insert(path, None);
        if let Some(error) = error {
            self.error(error);
        }
        None
    }

    /// Reports the shortest circle of imports through each module that closes one.
    fn find_circles(&mut self) {
        let modules = &self.loaded.modules;
        let next = |module: usize| modules[module].imports.iter().flatten().map(|id| id.index());
        let circles = super::circles::shortest_circles(modules.len(), next);
        let errors: Vec<ResolveError> = circles
            .into_iter()
            .map(|circle| {
                let last = circle[circle.len() - 1];
                let closing = modules[last].ast.items.iter().filter_map(|item| match &item.kind {
                    ast::ItemKind::Import { from, .. } => Some(from.span),
                    _ => None,
                });
                let at = closing
                    .zip(&modules[last].imports)
                    .find(|(_, id)| id.is_some_and(|id| id.index() == circle[0]))
                    .map(|(span, _)| span)
                    .expect("the last module of a circle imports the first");
                let paths = circle.iter().chain(&circle[..1]).map(|&module| modules[module].path.to_string());
                ResolveError::Circle { paths: paths.collect(), at }
            })
            .collect();
        for error in errors {
            self.error(error);
        }
    }
}

/// The module that `from` means in a module of the folder `dir`.
fn target_of(from: &ast::Ident, dir: &str, origin: Origin) -> Import {
    let text = &*from.text;
    let at = from.span;
    if text.starts_with("./") || text.starts_with("../") {
        if origin == Origin::Library {
            return Import::Wrong(ResolveError::Strange { text: text.to_owned(), at });
        }
        let joined = path::join(&[dir, text]);
        if !joined.ends_with(".bkl") {
            return Import::Wrong(ResolveError::NoExtension { text: text.to_owned(), at });
        }
        // What lies outside of the root directory is someone else's, and so is what that imports.
        let origin = if joined.starts_with("../") { Origin::Remote } else { origin };
        return Import::Module(Arc::from(joined), origin);
    }
    if text.starts_with("std/") {
        return Import::Module(Arc::from(text), Origin::Library);
    }
    let host = text.split('/').next().unwrap_or_default();
    if text.contains('/') && host.contains('.') && !text.starts_with('/') && !text.starts_with('.') {
        return Import::Wrong(ResolveError::RemoteNotYet { text: text.to_owned(), at });
    }
    Import::Wrong(ResolveError::Strange { text: text.to_owned(), at })
}
