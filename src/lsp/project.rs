//! Open documents, the files around them, and the programs they make up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsp_types::{TextDocumentContentChangeEvent, Uri};

use super::Outside;
use super::analysis::{Program, Texts};
use super::place;
use super::text::{Encoding, Text};
use crate::lang::ModuleText;
use crate::lang::syntax::lex::{self, Kind};

/// The file that is looked at first when several programs import a module.
const DEFAULT_PROGRAM: &str = "build.bkl";

/// A document that is open.
#[derive(Debug)]
pub(super) struct Document {
    /// As the editor calls it.
    pub uri: Uri,
    /// The editor's number of this text.
    pub version: i32,
    /// What is in the editor, saved or not.
    pub text: Text,
    /// The last text of it that parsed.
    last_good: Option<Arc<str>>,
}

/// Everything the server knows.
pub(super) struct Project {
    /// The machine.
    pub outside: Box<dyn Outside + Send + Sync>,
    /// Folders that the editor has open.
    pub folders: Vec<PathBuf>,
    /// How columns are counted.
    pub encoding: Encoding,
    documents: BTreeMap<PathBuf, Document>,
    /// Programs that were looked at, by their first files, as long as nothing in them changes.
    programs: BTreeMap<PathBuf, Arc<Program>>,
    /// For each file of the folders and each document the files it imports.
    imports: Option<BTreeMap<PathBuf, Vec<PathBuf>>>,
}

/// The texts of a project, perhaps with one of them replaced.
struct Overlay<'a> {
    project: &'a Project,
    replaced: Option<(&'a Path, &'a Arc<str>)>,
}

impl Texts for Overlay<'_> {
    fn text(&self, path: &Path) -> ModuleText {
        let name = Arc::from(path.to_string_lossy());
        if let Some((replaced, text)) = self.replaced
            && replaced == path
        {
            return ModuleText::Text { name, text: text.clone() };
        }
        if let Some(document) = self.project.documents.get(path) {
            return ModuleText::Text { name, text: document.text.text.clone() };
        }
        if !path.is_absolute() {
            return ModuleText::Missing;
        }
        match self.project.outside.read(path) {
            Ok(Some(text)) => ModuleText::Text { name, text: text.into() },
            Ok(None) => ModuleText::Missing,
            Err(why) => ModuleText::Unreadable(why),
        }
    }

    fn last_good(&self, path: &Path) -> Option<Arc<str>> {
        self.project.documents.get(path)?.last_good.clone()
    }
}

impl Project {
    pub(super) fn new(outside: Box<dyn Outside + Send + Sync>) -> Project {
        Project {
            outside,
            folders: Vec::new(),
            encoding: Encoding::Utf16,
            documents: BTreeMap::new(),
            programs: BTreeMap::new(),
            imports: None,
        }
    }

    // ---- documents

    pub(super) fn open(&mut self, uri: Uri, version: i32, text: &str) {
        let path = place::path_of(&uri);
        let document = Document { uri, version, text: Text::new(text), last_good: None };
        self.documents.insert(path.clone(), document);
        self.imports = None;
        self.changed(&path);
    }

    /// Applies edits in order; `false`: the document is not open.
    pub(super) fn edit(
        &mut self,
        uri: &Uri,
        version: i32,
        changes: &[TextDocumentContentChangeEvent],
    ) -> bool {
        let path = place::path_of(uri);
        let encoding = self.encoding;
        let Some(document) = self.documents.get_mut(&path) else { return false };
        for change in changes {
            document.text = document.text.changed(change, encoding);
        }
        document.version = version;
        if let Some(imports) = &mut self.imports {
            imports.insert(path.clone(), imports_of(&path, &document.text.text));
        }
        self.changed(&path);
        true
    }

    pub(super) fn close(&mut self, uri: &Uri) {
        let path = place::path_of(uri);
        self.documents.remove(&path);
        self.imports = None;
        self.changed(&path);
    }

    /// Files may have changed on disk.
    pub(super) fn refresh(&mut self) {
        self.imports = None;
        self.programs.clear();
    }

    /// Drops what is known of programs that hold or miss the file.
    fn changed(&mut self, path: &Path) {
        self.programs.retain(|_, program| !program.depends_on(path));
    }

    pub(super) fn document(&self, path: &Path) -> Option<&Document> {
        self.documents.get(path)
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = (&Path, &Document)> {
        self.documents.iter().map(|(path, document)| (&**path, document))
    }

    /// The text of a file as the editor or the disk has it.
    pub(super) fn text(&self, path: &Path) -> Option<Text> {
        if let Some(document) = self.documents.get(path) {
            return Some(document.text.clone());
        }
        match (Overlay { project: self, replaced: None }).text(path) {
            ModuleText::Text { text, .. } | ModuleText::Outside { text, .. } => Some(Text::new(text)),
            ModuleText::Missing | ModuleText::Unreadable(_) | ModuleText::Unknown => None,
        }
    }

    // ---- programs

    /// The program that a file is looked at in.
    pub(super) fn program_of(&mut self, path: &Path) -> Arc<Program> {
        let entry = self.entry_of(path);
        let program = self.program(&entry);
        // An import that is being changed may have cut the file off.
        if program.module_at(path).is_some() { program } else { self.program(path) }
    }

    /// All programs of the folders and documents.
    pub(super) fn all_programs(&mut self) -> Vec<Arc<Program>> {
        let files: Vec<PathBuf> = self.imports().keys().cloned().collect();
        let entries: BTreeSet<PathBuf> = files.iter().map(|file| self.entry_of(file)).collect();
        entries.iter().map(|entry| self.program(entry)).collect()
    }

    /// The program that starts at `entry`.
    fn program(&mut self, entry: &Path) -> Arc<Program> {
        if let Some(program) = self.programs.get(entry) {
            return program.clone();
        }
        let program = Arc::new(Program::analyse(entry, &Overlay { project: self, replaced: None }));
        for (path, document) in &mut self.documents {
            let Some(module) = program.module_at(path) else { continue };
            let is_broken = |item: &crate::lang::syntax::ast::Item| {
                matches!(item.kind, crate::lang::syntax::ast::ItemKind::Broken { .. })
            };
            if !module.ast.items.iter().any(is_broken) {
                document.last_good = Some(document.text.text.clone());
            }
        }
        self.programs.insert(entry.to_owned(), program.clone());
        program
    }

    /// The program of `path` as it would be with another text in that file; nothing of it is kept.
    pub(super) fn program_with(&mut self, path: &Path, text: &Arc<str>) -> Program {
        let entry = self.entry_of(path);
        let overlay = Overlay { project: self, replaced: Some((path, text)) };
        let program = Program::analyse(&entry, &overlay);
        if program.module_at(path).is_some() { program } else { Program::analyse(path, &overlay) }
    }

    /// Where the program starts that `path` belongs to: a file that imports it, directly or not, and lies in a folder
    /// around it; else itself. Files that nobody imports come first, of those `build.bkl`.
    fn entry_of(&mut self, path: &Path) -> PathBuf {
        let imports = self.imports();
        let importers = |of: &Path| -> Vec<PathBuf> {
            let importing = imports.iter().filter(|(_, imported)| imported.iter().any(|it| it == of));
            importing.map(|(file, _)| file.clone()).collect()
        };
        let mut seen: BTreeSet<PathBuf> = BTreeSet::from([path.to_owned()]);
        let mut todo = vec![path.to_owned()];
        let mut best: Option<(bool, bool, usize, PathBuf)> = None;
        while let Some(file) = todo.pop() {
            let above = importers(&file);
            let folder = file.parent().unwrap_or(Path::new(""));
            if file != path && path.starts_with(folder) {
                let is_default = file.file_name().is_some_and(|name| name == DEFAULT_PROGRAM);
                let depth = folder.components().count();
                let rank = (!above.is_empty(), !is_default, depth, file.clone());
                if best.as_ref().is_none_or(|best| rank < *best) {
                    best = Some(rank);
                }
            }
            todo.extend(above.into_iter().filter(|file| seen.insert(file.clone())));
        }
        best.map_or_else(|| path.to_owned(), |(.., file)| file)
    }

    /// The files that can be imported, by the files that import them.
    fn imports(&mut self) -> &BTreeMap<PathBuf, Vec<PathBuf>> {
        if self.imports.is_none() {
            let on_disk = self.folders.iter().flat_map(|folder| self.outside.programs(folder));
            let files: BTreeSet<PathBuf> = on_disk.chain(self.documents.keys().cloned()).collect();
            let imports = files.into_iter().map(|file| {
                let text = self.text(&file).map(|text| text.text);
                let imported = text.map(|text| imports_of(&file, &text)).unwrap_or_default();
                (file, imported)
            });
            self.imports = Some(imports.collect());
        }
        self.imports.get_or_insert_default()
    }

    /// Every file of the folders and every document.
    pub(super) fn files(&mut self) -> Vec<PathBuf> {
        self.imports().keys().cloned().collect()
    }
}

/// The files that a text imports.
fn imports_of(path: &Path, text: &str) -> Vec<PathBuf> {
    let lexemes = lex::lex(text);
    let folder = path.parent().unwrap_or(Path::new(""));
    let quoted = lexemes.windows(4).filter_map(|words| {
        let [import, name, from, path] = words else { return None };
        let word = |it: &lex::Lexeme| &text[it.start as usize..it.end as usize];
        let kinds = (import.kind, name.kind, from.kind, path.kind);
        (kinds == (Kind::Keyword, Kind::Name, Kind::Keyword, Kind::Text) && word(import) == "import")
            .then(|| word(path).trim_matches('"'))
    });
    let below = quoted.filter(|path| path.starts_with("./") || path.starts_with("../"));
    below.map(|path| place::clean(&folder.join(path))).collect()
}
