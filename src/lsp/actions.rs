//! Ways out of what is wrong, as edits.

use std::collections::HashMap;
use std::path::Path;

use lsp_types::{CodeAction, CodeActionKind, Range, TextEdit, WorkspaceEdit};

use super::diagnose;
use super::project::Project;
use crate::base::{Fix, Report};

/// The fixes of reports that lie in or touch a range.
pub(super) fn actions(project: &mut Project, path: &Path, range: Range) -> Vec<CodeAction> {
    let program = project.program_of(path);
    let Some(text) = project.text(path) else { return Vec::new() };
    let (from, to) = (text.offset(range.start, project.encoding), text.offset(range.end, project.encoding));
    let Some(uri) = project.document(path).map(|document| document.uri.clone()) else { return Vec::new() };
    let here = |report: &&Report| report.primary().is_some_and(|span| span.start <= to && from <= span.end);
    let mut actions = Vec::new();
    for report in diagnose::reports_of(&program, path).filter(here) {
        let diagnostic = diagnose::diagnostic(project, &program, report).map(|(_, diagnostic)| diagnostic);
        for (index, fix) in report.fixes.iter().enumerate() {
            let Some(edits) = edits(&program, path, project, fix) else { continue };
            // The protocol's type is a map; it has this one entry.
            #[allow(clippy::mutable_key_type, reason = "keys are not changed")]
            let changes = HashMap::from([(uri.clone(), edits)]);
            actions.push(CodeAction {
                title: fix.title.clone(),
                kind: Some(CodeActionKind::QUICKFIX),
                diagnostics: diagnostic.clone().map(|it| vec![it]),
                edit: Some(WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() }),
                is_preferred: (index == 0).then_some(true),
                ..CodeAction::default()
            });
        }
    }
    actions
}

/// The edits of a fix, all of them in the file at `path`.
fn edits(
    program: &super::analysis::Program,
    path: &Path,
    project: &Project,
    fix: &Fix,
) -> Option<Vec<TextEdit>> {
    let text = project.text(path)?;
    let file = program.module_at(path)?.ast.file;
    fix.edits
        .iter()
        .map(|edit| {
            let range = text.range(edit.span.start, edit.span.end, project.encoding);
            (edit.span.file == file).then(|| TextEdit { range, new_text: edit.replacement.clone() })
        })
        .collect()
}
