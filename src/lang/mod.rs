//! A `.bkl` program to a build graph: syntax, names, types, values. Pure: the outside comes in through `World`.
#![deny(clippy::disallowed_methods)]

mod circles;
pub mod eval;
pub mod examples;
pub mod resolve;
mod stack;
pub mod syntax;
pub mod types;

use std::sync::Arc;

pub use resolve::{Entry, ModuleSource, ModuleText};
pub use stack::on_deep_stack;
pub use types::hir;

use self::types::check::Noting;
use crate::base::{Report, Severity, SourceMap};

/// What loading and checking a program gives.
#[derive(Debug)]
pub struct Checked {
    /// The program, if it is without errors.
    pub program: Option<hir::Program>,
    /// Errors and warnings; those of one item in the order they were found, items in source order.
    pub reports: Vec<Report>,
    /// Modules whose texts are wanted before anything can be said: then the rest is empty. Paths from the root directory.
    pub needs: Vec<Arc<str>>,
}

/// Reads the program that starts at `entry` and everything it imports, and checks it.
///
/// Texts are added to `sources`; when modules are needed that `texts` does not know yet, start again with them and
/// a fresh `sources`.
pub fn load_and_check(
    sources: &mut SourceMap,
    entry: Entry<'_>,
    texts: &(dyn ModuleSource + Sync),
) -> Checked {
    on_deep_stack(|| {
        let loaded = resolve::load(sources, entry, texts);
        if !loaded.needs.is_empty() {
            return Checked { program: None, reports: Vec::new(), needs: loaded.needs };
        }
        let outcome = types::check::check(&loaded, sources, types::prelude(), Noting::Nothing);
        let reports = reports(&loaded, &outcome);
        let sound = is_sound(&reports);
        Checked { program: sound.then_some(outcome.program), reports, needs: Vec::new() }
    })
}

/// What an editor wants to know of a program, also of one with mistakes.
#[derive(Debug)]
pub struct Analysis {
    /// Its modules and their trees.
    pub loaded: resolve::Loaded,
    /// What could be typed; not to be evaluated.
    pub program: hir::Program,
    /// What the checker found out about places.
    pub facts: types::facts::Facts,
    /// As [`Checked::reports`].
    pub reports: Vec<Report>,
}

/// [`load_and_check`] for editors: nothing is left out because something is wrong. `mend` may put items into the trees
/// for those that could not be read. Texts that `texts` does not know count as missing.
pub fn analyse(
    sources: &mut SourceMap,
    entry: Entry<'_>,
    texts: &(dyn ModuleSource + Sync),
    mend: &(dyn Fn(&mut SourceMap, &mut resolve::Loaded) + Sync),
) -> Analysis {
    on_deep_stack(|| {
        let mut loaded = resolve::load(sources, entry, texts);
        mend(sources, &mut loaded);
        let outcome = types::check::check(&loaded, sources, types::prelude(), Noting::Facts);
        let reports = reports(&loaded, &outcome);
        Analysis { loaded, program: outcome.program, facts: outcome.facts, reports }
    })
}

/// What is to be said about a program.
fn reports(loaded: &resolve::Loaded, outcome: &types::check::Outcome) -> Vec<Report> {
    let mut reports: Vec<Report> = loaded
        .errors
        .iter()
        .map(|error| match error {
            resolve::LoadError::Syntax(error) => error.report(),
            resolve::LoadError::Resolve(error) => error.report(),
        })
        .collect();
    // Modules that import each other are one mistake, even when values go around the circle, too.
    let circular = loaded
        .errors
        .iter()
        .any(|error| matches!(error, resolve::LoadError::Resolve(resolve::ResolveError::Circle { .. })));
    let errors = outcome.errors.iter().filter(|error| !circular || !error.crosses_files());
    reports.extend(errors.map(types::TypeError::report));
    // What is in error may be why nothing seems to use a name.
    let sound = is_sound(&reports);
    reports.retain(|report| sound || !matches!(report.code, "bkl::unused" | "bkl::shadowed"));
    sort_by_item(&mut reports, loaded);
    reports
}

fn is_sound(reports: &[Report]) -> bool {
    reports.iter().all(|report| report.severity != Severity::Error)
}

/// Puts reports into the order of the items they are about; reports of one item stay as they are.
fn sort_by_item(reports: &mut [Report], loaded: &resolve::Loaded) {
    reports.sort_by_key(|report| {
        let Some(span) = report.primary() else { return (0, 0) };
        let module = loaded.modules.iter().find(|module| module.ast.file == span.file);
        let item = module.and_then(|module| {
            module.ast.items.iter().rev().map(|item| item.span).find(|item| item.start <= span.start)
        });
        (span.file.0 + 1, item.map_or(0, |item| item.start))
    });
}
