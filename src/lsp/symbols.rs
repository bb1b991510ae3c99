//! The outline of a document, and what of it can be folded.

use std::path::Path;

use lsp_types::{DocumentSymbol, FoldingRange, FoldingRangeKind, SymbolKind};

use super::describe;
use super::project::Project;
use super::text::Text;
use crate::base::Span;
use crate::lang::syntax::ast::{Field, Item, ItemKind, TypeKind};
use crate::lang::syntax::lex::{self, Kind};

/// Items with their parameters, fields and variants.
pub(super) fn outline(project: &mut Project, path: &Path) -> Vec<DocumentSymbol> {
    let program = project.program_of(path);
    let (Some(module), Some(text)) = (program.module_at(path), project.text(path)) else { return Vec::new() };
    let encoding = project.encoding;
    let symbol = |name: &str, kind: SymbolKind, whole: Span, at: Span, detail: Option<String>| {
        #[allow(deprecated, reason = "the field has to be given")]
        DocumentSymbol {
            name: if name.is_empty() { "_".to_owned() } else { name.to_owned() },
            detail,
            kind,
            tags: None,
            deprecated: None,
            range: text.range(whole.start.min(at.start), whole.end.max(at.end), encoding),
            selection_range: text.range(at.start, at.end, encoding),
            children: None,
        }
    };
    let fields = |fields: &[Field], kind: SymbolKind| -> Option<Vec<DocumentSymbol>> {
        let file = program.sources.file(module.ast.file);
        let symbols: Vec<_> = fields
            .iter()
            .map(|field| {
                let end = field.default.as_ref().map_or(field.ty.span.end, |default| default.span.end);
                let whole = Span { end, ..field.name.span };
                let detail = file.slice(field.ty.span).to_owned();
                symbol(&field.name.text, kind, whole, field.name.span, Some(detail))
            })
            .collect();
        (!symbols.is_empty()).then_some(symbols)
    };
    let item_symbol = |item: &Item| -> Option<DocumentSymbol> {
        let (kind, name) = match &item.kind {
            ItemKind::Import { name, .. } => (SymbolKind::MODULE, name),
            ItemKind::Param { name, .. } => (SymbolKind::PROPERTY, name),
            ItemKind::Secret { name, .. } | ItemKind::Ssh { name, .. } => (SymbolKind::KEY, name),
            ItemKind::Let(decl) => (SymbolKind::VARIABLE, &decl.name),
            ItemKind::Fn { name, .. } => (SymbolKind::FUNCTION, name),
            ItemKind::Type { name, .. } => (SymbolKind::STRUCT, name),
            ItemKind::Enum { name, .. } => (SymbolKind::ENUM, name),
            ItemKind::Target { name, .. } => (SymbolKind::CLASS, name),
            ItemKind::Test { name, .. } => (SymbolKind::METHOD, name),
            ItemKind::Broken { name } => (SymbolKind::NULL, name.as_ref()?),
            ItemKind::Extern(_) => return None,
        };
        let said = describe::describe(&program, &super::analysis::Def::At(name.span));
        let detail = said.map(|it| it.code.lines().next().unwrap_or_default().to_owned());
        let children = match &item.kind {
            ItemKind::Fn { params, .. } => fields(params, SymbolKind::VARIABLE),
            ItemKind::Type { ty, .. } => match &ty.kind {
                TypeKind::Record(parts) => fields(parts, SymbolKind::FIELD),
                _ => None,
            },
            ItemKind::Enum { variants, .. } => {
                let variant = |it: &crate::lang::syntax::ast::Ident| {
                    symbol(&it.text, SymbolKind::ENUM_MEMBER, it.span, it.span, None)
                };
                Some(variants.iter().map(variant).collect())
            }
            _ => None,
        };
        Some(DocumentSymbol { children, ..symbol(&name.text, kind, item.span, name.span, detail) })
    };
    module.ast.items.iter().filter(|item| item.span.file == module.ast.file).filter_map(item_symbol).collect()
}

/// Brackets and texts over several lines, comments of several lines.
pub(super) fn folds(project: &Project, path: &Path) -> Vec<FoldingRange> {
    let Some(text) = project.text(path) else { return Vec::new() };
    let line = |offset: u32| text.position(offset, project.encoding).line;
    let mut folds: Vec<FoldingRange> = Vec::new();
    let mut add = |start_line: u32, end_line: u32, kind: Option<FoldingRangeKind>| {
        if start_line < end_line {
            folds.push(FoldingRange { start_line, end_line, kind, ..FoldingRange::default() });
        }
    };
    let mut open: Vec<u32> = Vec::new();
    // First and last line of the comments that follow each other.
    let mut comment: Option<(u32, u32)> = None;
    for lexeme in lex::lex(&text.text) {
        let at = line(lexeme.start);
        if matches!(lexeme.kind, Kind::Comment | Kind::Doc) && alone(&text, lexeme.start) {
            comment = match comment {
                Some((first, last)) if last + 1 == at => Some((first, at)),
                before => {
                    before
                        .into_iter()
                        .for_each(|(first, last)| add(first, last, Some(FoldingRangeKind::Comment)));
                    Some((at, at))
                }
            };
            continue;
        }
        match lexeme.kind {
            Kind::Open => open.push(at),
            // The line of the closing bracket stays.
            Kind::Close => open.pop().into_iter().for_each(|first| add(first, at.saturating_sub(1), None)),
            Kind::Text => add(at, line(lexeme.end).saturating_sub(1), None),
            _ => {}
        }
    }
    comment.into_iter().for_each(|(first, last)| add(first, last, Some(FoldingRangeKind::Comment)));
    folds.sort_by_key(|fold| (fold.start_line, fold.end_line));
    folds.dedup_by_key(|fold| fold.start_line);
    folds
}

/// Whether nothing stands in front of `offset` on its line.
fn alone(text: &Text, offset: u32) -> bool {
    let before = &text.text[..offset as usize];
    before[before.rfind('\n').map_or(0, |newline| newline + 1)..].trim().is_empty()
}
