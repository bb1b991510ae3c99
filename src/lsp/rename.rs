//! New names for old ones, in every file; refused where the programs would mean something else afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::analysis::{Def, Place, Program, Texts};
use super::names::{self, Target};
use super::project::Project;
use crate::base::Severity;
use crate::lang::ModuleText;
use crate::lang::syntax::ast::{Entry, ExprKind};
use crate::lang::syntax::words::KEYWORDS;
use crate::lang::types::Type;

/// What is put in the place of each name.
pub(super) type Edits = BTreeMap<PathBuf, Vec<(Place, String)>>;

/// The name at `offset`, if it can be renamed; the error says why not.
pub(super) fn prepare(project: &mut Project, path: &Path, offset: u32) -> Result<Place, String> {
    let nothing = || "there is no name here".to_owned();
    let (program, name) = names::name_at(project, path, offset).ok_or_else(nothing)?;
    let text = program.slice(name.span);
    match &name.def {
        Def::At(span) => {
            if program.place(*span).is_none() {
                return Err(format!("`{text}` belongs to the library of bkl"));
            }
            program.place(name.span).ok_or_else(nothing)
        }
        Def::Builtin(_)
        | Def::BuiltinParam(..)
        | Def::BuiltinField(..)
        | Def::BuiltinVariant(..)
        | Def::BuiltinType(_) => Err(format!("`{text}` is built in")),
    }
}

/// The edits that give the name at `offset` another one.
pub(super) fn rename(project: &mut Project, path: &Path, offset: u32, new: &str) -> Result<Edits, String> {
    prepare(project, path, offset)?;
    let nothing = || "there is no name here".to_owned();
    let (program, name) = names::name_at(project, path, offset).ok_or_else(nothing)?;
    let is_name = new.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && new.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(format!(
            "`{new}` is not a name: names are letters, digits and `_`, and start with no digit"
        ));
    }
    if KEYWORDS.contains(&new) {
        return Err(format!("`{new}` is a word of the language"));
    }
    if Type::builtin(new).is_some() && is_type(&program, &name.def) {
        return Err(format!("`{new}` is a built-in type"));
    }
    let old = program.slice(name.span).to_owned();
    if old == new {
        return Ok(Edits::new());
    }
    let target = Target::of(&program, &name.def).ok_or_else(nothing)?;
    let uses = names::uses(project, &target);
    let before = project.all_programs();
    let shorthands = shorthands(&before, &target);
    let mut edits = Edits::new();
    for (place, _) in &uses {
        let text = match shorthands.get(place) {
            Some(Shorthand::Value) => format!("{old}: {new}"),
            Some(Shorthand::Field) => format!("{new}: {old}"),
            None => new.to_owned(),
        };
        edits.entry(place.path.clone()).or_default().push((place.clone(), text));
    }
    same_meaning(project, &before, &edits, &uses, new)?;
    Ok(edits)
}

fn is_type(program: &Program, def: &Def) -> bool {
    use crate::lang::syntax::ast::ItemKind;
    let Def::At(span) = def else { return false };
    program.declaration(*span).is_some_and(|it| {
        let item = it.item();
        let names_item = item.kind.name().is_some_and(|name| name.span == *span);
        names_item && matches!(item.kind, ItemKind::Type { .. } | ItemKind::Enum { .. })
    })
}

/// What of `{ name }` is renamed: the value it stands for, or the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shorthand {
    Value,
    Field,
}

/// Places of `target` that are `name` for `name: name`.
fn shorthands(programs: &[Arc<Program>], target: &Target) -> BTreeMap<Place, Shorthand> {
    let mut found = BTreeMap::new();
    for program in programs {
        for module in &program.loaded.modules {
            super::walk::module(&module.ast, &mut |node| {
                let super::walk::Node::Expr(expr) = node else { return };
                let ExprKind::Record(entries) = &expr.kind else { return };
                for entry in entries {
                    let Entry::Field(name, value) = entry else { continue };
                    let Some(place) = program.place(name.span).filter(|_| name.span == value.span) else {
                        continue;
                    };
                    let here = program.names.iter().filter(|it| it.span == name.span);
                    for it in here.filter(|it| Target::of(program, &it.def).as_ref() == Some(target)) {
                        let Def::At(span) = it.def else { continue };
                        let is_field = matches!(
                            program.declaration(span),
                            Some(super::describe::Declaration::Field(..))
                        );
                        let kind = if is_field { Shorthand::Field } else { Shorthand::Value };
                        found.insert(place.clone(), kind);
                    }
                }
            });
        }
    }
    found
}

/// Texts as they will be.
struct Edited<'a> {
    project: &'a Project,
    texts: BTreeMap<PathBuf, Arc<str>>,
}

impl Texts for Edited<'_> {
    fn text(&self, path: &Path) -> ModuleText {
        let name = Arc::from(path.to_string_lossy());
        match self.texts.get(path).cloned().or_else(|| self.project.text(path).map(|text| text.text)) {
            Some(text) => ModuleText::Text { name, text },
            None => ModuleText::Missing,
        }
    }

    fn last_good(&self, _: &Path) -> Option<Arc<str>> {
        None
    }
}

/// Looks at the programs as they will be: no new mistakes, and the same names mean the same thing.
fn same_meaning(
    project: &Project,
    before: &[Arc<Program>],
    edits: &Edits,
    uses: &BTreeSet<(Place, bool)>,
    new: &str,
) -> Result<(), String> {
    let mut texts = BTreeMap::new();
    for (path, edits) in edits {
        let Some(text) = project.text(path) else { continue };
        texts.insert(path.clone(), Arc::from(applied(&text.text, edits)));
    }
    let edited = Edited { project, texts };
    let mut found: BTreeSet<Place> = BTreeSet::new();
    let declared: Vec<&Place> =
        uses.iter().filter(|(_, declares)| *declares).map(|(place, _)| place).collect();
    let Some(declared) = declared.first().map(|place| moved(place, edits)) else {
        return Err("it is declared in a file that cannot be changed".to_owned());
    };
    for program in before.iter().filter(|program| edits.keys().any(|path| program.depends_on(path))) {
        let Some(entry) = program.loaded.modules.first().and_then(|module| program.module_path(module))
        else {
            continue;
        };
        let after = Program::analyse(&entry, &edited);
        let errors = |program: &Program| {
            program.reports.iter().filter(|report| report.severity == Severity::Error).count()
        };
        if errors(program) < errors(&after) {
            let is_new = |message: &&str| !program.reports.iter().any(|known| known.message == **message);
            let messages = after.reports.iter().map(|report| report.message.as_str());
            let why = { messages }.find(is_new).unwrap_or("the program would have a mistake");
            return Err(format!("it cannot be called `{new}`: {why}"));
        }
        let target = Target::Declared(declared.clone());
        let same = after.names.iter().filter(|name| Target::of(&after, &name.def).as_ref() == Some(&target));
        found.extend(same.filter_map(|name| after.place(name.span)));
    }
    if found.len() != uses.len() {
        return Err(format!("it cannot be called `{new}`: another `{new}` would be meant in some places"));
    }
    Ok(())
}

/// A text with each place replaced.
fn applied(text: &str, edits: &[(Place, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (place, new) in edits {
        out.push_str(&text[at..place.start as usize]);
        out.push_str(new);
        at = place.end as usize;
    }
    out.push_str(&text[at..]);
    out
}

/// Where a place is after the edits of its file, which are in order.
fn moved(place: &Place, edits: &Edits) -> Place {
    let edits = edits.get(&place.path).map(Vec::as_slice).unwrap_or_default();
    let mut shift = 0_i64;
    let mut len = place.end - place.start;
    for (edited, new) in edits {
        if edited == place {
            len = new.len() as u32;
        } else if edited.start < place.start {
            shift += new.len() as i64 - i64::from(edited.end - edited.start);
        }
    }
    let start = (i64::from(place.start) + shift) as u32;
    Place { path: place.path.clone(), start, end: start + len }
}
