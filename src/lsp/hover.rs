//! What is under the pointer.

use std::path::Path;

use lsp_types::{Hover, HoverContents, MarkupContent, MarkupKind};

use super::analysis::Program;
use super::describe;
use super::project::Project;
use super::walk;
use crate::base::{ImageRef, Span};
use crate::lang::resolve::LoadedModule;
use crate::lang::syntax::ast::{ExprKind, ItemKind, TextPart};
use crate::lang::types::Type;

/// What there is to say about the name or literal at `offset`.
pub(super) fn hover(project: &mut Project, path: &Path, offset: u32) -> Option<Hover> {
    let program = project.program_of(path);
    let module = program.module_at(path)?;
    let file = module.ast.file;
    let said = program
        .names_at(file, offset)
        .into_iter()
        .find_map(|name| Some((name.span, describe::describe(&program, &name.def)?.markdown())));
    let (span, value) = said.or_else(|| literal(project, &program, module, offset))?;
    let text = project.text(path)?;
    let contents = HoverContents::Markup(MarkupContent { kind: MarkupKind::Markdown, value });
    Some(Hover { contents, range: Some(text.range(span.start, span.end, project.encoding)) })
}

/// A literal in quotes: its type, and for an image reference what it is pinned to.
fn literal(
    project: &Project,
    program: &Program,
    module: &LoadedModule,
    offset: u32,
) -> Option<(Span, String)> {
    let from = module.ast.items.iter().find_map(|item| match &item.kind {
        ItemKind::Import { from, name } if (from.span.start..=from.span.end).contains(&offset) => {
            Some((from, name))
        }
        _ => None,
    });
    if let Some((from, name)) = from {
        let doc = describe::imported_module(program, name.span)?.doc.clone()?;
        return Some((from.span, doc.to_string()));
    }
    let expr = *walk::exprs_around(&module.ast, offset).last()?;
    let is_literal = matches!(
        expr.kind,
        ExprKind::Text(_) | ExprKind::Int(_) | ExprKind::Mode(_) | ExprKind::Size(_) | ExprKind::Duration(_)
    );
    let ty = program.type_at(expr.span).filter(|_| is_literal)?;
    let inner = match ty {
        Type::Option(inner) => inner,
        ty => ty,
    };
    let mut said = format!("```bkl\n{inner}\n```\n");
    if let Some(doc) = describe::type_doc(inner) {
        said.push_str(&format!("\n---\n{doc}\n"));
    }
    if let (Type::Ref, ExprKind::Text(parts)) = (inner, &expr.kind)
        && let [TextPart::Text(text, _)] = parts.as_slice()
        && let Ok(reference) = text.parse::<ImageRef>()
    {
        let pinned =
            project.outside.pinned(&program.folder, &reference.clone().with_default_tag().to_string());
        said.push_str(&match pinned {
            Some(digest) => format!("\n`bkl.lock` pins it to `{digest}`.\n"),
            None => "\nNot pinned in `bkl.lock` yet: the first build does that.\n".to_owned(),
        });
    }
    Some((expr.span, said))
}
