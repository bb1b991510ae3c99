//! Where names are declared and used, over all programs of the folders.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::analysis::{Def, Name, Place, Program};
use super::describe;
use super::project::Project;
use crate::lang::syntax::ast::ItemKind;

/// What a name means, whatever program it is looked at in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// What is declared there.
    Declared(Place),
    /// Something of the prelude.
    BuiltIn(Def),
}

impl Target {
    pub(super) fn of(program: &Program, def: &Def) -> Option<Target> {
        match def {
            Def::At(span) => program.place(*span).map(Target::Declared),
            def => Some(Target::BuiltIn(def.clone())),
        }
    }
}

/// The name at `offset`, and the program it was looked at in.
pub(super) fn name_at(project: &mut Project, path: &Path, offset: u32) -> Option<(Arc<Program>, Name)> {
    let program = project.program_of(path);
    let module = program.module_at(path)?;
    let name = (*program.names_at(module.ast.file, offset).first()?).clone();
    Some((program, name))
}

/// Where the name at `offset` is declared; of a module, its first line. What is built in is declared nowhere.
pub(super) fn definition(project: &mut Project, path: &Path, offset: u32) -> Option<Place> {
    let program = project.program_of(path);
    let module = program.module_at(path)?;
    for item in &module.ast.items {
        let ItemKind::Import { name, from } = &item.kind else { continue };
        let here = |span: crate::base::Span| (span.start..=span.end).contains(&offset);
        if here(name.span) || here(from.span) {
            let imported = describe::imported_module(&program, name.span)?;
            return Some(Place { path: program.path_of(imported.file)?, start: 0, end: 0 });
        }
    }
    let Def::At(span) = program.names_at(module.ast.file, offset).first()?.def else { return None };
    program.place(span)
}

/// Every place that means the same as the name at `offset`, in order.
pub(super) fn references(
    project: &mut Project,
    path: &Path,
    offset: u32,
    declaration: Declaration,
) -> Vec<Place> {
    let Some((program, name)) = name_at(project, path, offset) else { return Vec::new() };
    let Some(target) = Target::of(&program, &name.def) else { return Vec::new() };
    let uses = uses(project, &target);
    uses.into_iter()
        .filter(|(_, declares)| declaration == Declaration::Included || !declares)
        .map(|it| it.0)
        .collect()
}

/// Whether the declaration is one of the references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declaration {
    Included,
    LeftOut,
}

/// Every place that means `target`, and whether it declares it.
pub(super) fn uses(project: &mut Project, target: &Target) -> BTreeSet<(Place, bool)> {
    let programs = project.all_programs();
    let mut found = BTreeSet::new();
    for program in &programs {
        for name in &program.names {
            if Target::of(program, &name.def).as_ref() == Some(target)
                && let Some(place) = program.place(name.span)
            {
                found.insert((place, name.declares));
            }
        }
    }
    found
}
