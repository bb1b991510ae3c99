//! What is written into the text without being there: types of `let`s, actions above targets and tests.

use std::path::Path;

use lsp_types::{CodeLens, Command, InlayHint, InlayHintKind, InlayHintLabel, Range};
use serde_json::json;

use super::project::Project;
use super::walk::{self, Node};
use crate::base::Span;
use crate::lang::syntax::ast::{Item, ItemKind, LetDecl};
use crate::lang::types::Type;

/// Longest type that is shown whole.
const MAX_TYPE: usize = 60;

/// Types of `let`s and targets that are not written, in a range of the text.
pub(super) fn inlays(project: &mut Project, path: &Path, range: Range) -> Vec<InlayHint> {
    let program = project.program_of(path);
    let (Some(module), Some(text)) = (program.module_at(path), project.text(path)) else { return Vec::new() };
    let encoding = project.encoding;
    let (from, to) = (text.offset(range.start, encoding), text.offset(range.end, encoding));
    let mut hints = Vec::new();
    let mut add = |name: Span, ty: Option<&Type>| {
        let Some(ty) = ty.filter(|ty| !ty.has_error() && name.file == module.ast.file) else { return };
        if name.end < from || to < name.start {
            return;
        }
        let mut label = format!(": {ty}");
        if MAX_TYPE < label.chars().count() {
            label = label.chars().take(MAX_TYPE - 1).chain(['…']).collect();
        }
        hints.push(InlayHint {
            position: text.position(name.end, encoding),
            label: InlayHintLabel::String(label),
            kind: Some(InlayHintKind::TYPE),
            text_edits: None,
            tooltip: None,
            padding_left: Some(false),
            padding_right: Some(false),
            data: None,
        });
    };
    walk::module(&module.ast, &mut |node| match node {
        Node::Item(Item { kind: ItemKind::Let(LetDecl { name, ty: None, value }), .. })
        | Node::Let(LetDecl { name, ty: None, value }) => add(name.span, program.type_at(value.span)),
        Node::Item(Item { kind: ItemKind::Target { name, ty: None, value, .. }, .. }) => {
            add(name.span, program.type_at(value.span));
        }
        _ => {}
    });
    hints
}

/// What can be done with targets and tests. Commands are the editor's: each gets the path of the file and a name.
pub(super) fn lenses(project: &mut Project, path: &Path) -> Vec<CodeLens> {
    let program = project.program_of(path);
    let (Some(module), Some(text)) = (program.module_at(path), project.text(path)) else { return Vec::new() };
    // Only the targets of the first file can be named on the command line; a module's tests can be run.
    let is_entry = program.loaded.modules.first().is_some_and(|entry| entry.ast.file == module.ast.file);
    let file = path.to_string_lossy();
    let mut lenses = Vec::new();
    for item in module.ast.items.iter().filter(|item| item.span.file == module.ast.file) {
        let (span, name, commands): (_, _, &[(&str, &str)]) = match &item.kind {
            ItemKind::Target { name, .. } if is_entry => {
                (name.span, &name.text, &[("build", "bkl.build"), ("graph", "bkl.graph")])
            }
            ItemKind::Test { name, .. } => (name.span, &name.text, &[("run", "bkl.test")]),
            _ => continue,
        };
        lenses.extend(commands.iter().map(|(title, command)| CodeLens {
            range: text.range(span.start, span.end, project.encoding),
            command: Some(Command {
                title: (*title).to_owned(),
                command: (*command).to_owned(),
                arguments: Some(vec![json!(file), json!(&**name)]),
            }),
            data: None,
        }));
    }
    lenses
}
