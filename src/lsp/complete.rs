//! What can be written at the cursor.

use std::path::Path;

use lsp_types::{
    CompletionItem, CompletionItemKind, CompletionTextEdit, Documentation, InsertTextFormat, MarkupContent,
    MarkupKind, TextEdit,
};

use super::analysis::{Def, Program};
use super::describe::{self, Declaration, Description};
use super::mend::{self, Call, MARK};
use super::project::Project;
use super::text::Text;
use super::walk::{self, Node};
use crate::base::Span;
use crate::lang::resolve::{LoadedModule, stdlib};
use crate::lang::syntax::ast::{Entry, Expr, ExprKind, Ident, Item, ItemKind, Pattern, TypeExpr, TypeKind};
use crate::lang::syntax::item_starts;
use crate::lang::syntax::lex::{self, Kind};
use crate::lang::syntax::words::ITEM_WORDS;
use crate::lang::types::facts::Callee;
use crate::lang::types::{Type, prelude};

/// Whether the editor understands `$0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snippets {
    Understood,
    Unknown,
}

/// How near the top of the list something belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Just what is wanted.
    Wanted,
    /// Declared near by, or an argument's name.
    Near,
    /// Of the program.
    Item,
    /// Of the prelude.
    Prelude,
    /// A word of the language.
    Word,
}

/// Words an expression can start with.
const EXPRESSION_WORDS: &[&str] = &["if", "match", "on", "fold", "true", "false", "none"];

/// Something that can be written.
struct Candidate {
    label: String,
    kind: CompletionItemKind,
    description: Option<Description>,
    detail: Option<String>,
    /// Whether it is called, and if so, with arguments.
    called: Option<bool>,
    /// What is written behind the label.
    suffix: &'static str,
    rank: Rank,
}

impl Candidate {
    fn new(label: impl Into<String>, kind: CompletionItemKind, rank: Rank) -> Candidate {
        let label = label.into();
        Candidate { label, kind, description: None, detail: None, called: None, suffix: "", rank }
    }

    fn described(mut self, description: Option<Description>) -> Candidate {
        self.description = description;
        self
    }

    fn detail(mut self, detail: impl Into<String>) -> Candidate {
        self.detail = Some(detail.into());
        self
    }

    fn typed(self, ty: Option<&Type>, wanted: Option<&Type>) -> Candidate {
        let fits = ty.zip(wanted).is_some_and(|(ty, wanted)| ty.fits(wanted));
        let rank = if fits { Rank::Wanted } else { self.rank };
        let detail = ty.map(ToString::to_string);
        Candidate { rank, detail, ..self }
    }

    fn called(self, has_params: bool) -> Candidate {
        Candidate { called: Some(has_params), ..self }
    }
}

/// What can be written at `offset` of a document.
pub(super) fn complete(
    project: &mut Project,
    path: &Path,
    offset: u32,
    snippets: Snippets,
) -> Vec<CompletionItem> {
    let Some(text) = project.text(path) else { return Vec::new() };
    match lexical(&text.text, offset) {
        Lexical::Nothing => return Vec::new(),
        Lexical::Import { start, end } => {
            let candidates = import_paths(project, path);
            return items(project, &text, candidates, start..end, snippets);
        }
        Lexical::Code => {}
    }
    if let Some((candidates, start)) = item_words(&text.text, offset) {
        return items(project, &text, candidates, start..offset, snippets);
    }
    let mut found = None;
    for call in [Call::AsWritten, Call::Added] {
        let Some(marked) = mend::marked(&text.text, offset, call) else { return Vec::new() };
        let program = project.program_with(path, &marked.text.into());
        if let Some(module) = program.module_at(path)
            && let Some(candidates) = at_mark(&program, module, marked.word.start, call)
        {
            found = Some((candidates, marked.word));
            break;
        }
    }
    let Some((candidates, word)) = found else { return Vec::new() };
    items(project, &text, candidates, word, snippets)
}

/// As the protocol has it.
fn items(
    project: &Project,
    text: &Text,
    candidates: Vec<Candidate>,
    replaced: std::ops::Range<u32>,
    snippets: Snippets,
) -> Vec<CompletionItem> {
    let range = text.range(replaced.start, replaced.end, project.encoding);
    let is_called = text.text[replaced.end as usize..].starts_with('(');
    let mut items: Vec<(Rank, CompletionItem)> = Vec::new();
    for candidate in candidates {
        let mut new_text = candidate.label.clone();
        let mut format = InsertTextFormat::PLAIN_TEXT;
        match candidate.called.filter(|_| !is_called) {
            Some(true) if snippets == Snippets::Understood => {
                new_text.push_str("($0)");
                format = InsertTextFormat::SNIPPET;
            }
            Some(false) => new_text.push_str("()"),
            Some(true) | None => {}
        }
        new_text.push_str(candidate.suffix);
        let code =
            candidate.description.as_ref().map(|it| it.code.lines().next().unwrap_or_default().to_owned());
        let value = candidate.description.map(|it| it.markdown());
        let markdown =
            |value| Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value });
        items.push((
            candidate.rank,
            CompletionItem {
                sort_text: Some(format!("{}{}", candidate.rank as u8, candidate.label)),
                label: candidate.label,
                kind: Some(candidate.kind),
                detail: candidate.detail.or(code),
                documentation: value.map(markdown),
                insert_text_format: Some(format),
                text_edit: Some(CompletionTextEdit::Edit(TextEdit { range, new_text })),
                ..CompletionItem::default()
            },
        ));
    }
    items.sort_by(|(a, x), (b, y)| (a, &x.label).cmp(&(b, &y.label)));
    items.dedup_by(|(_, a), (_, b)| a.label == b.label);
    items.into_iter().map(|(_, item)| item).collect()
}

// ---- where the cursor is

/// What the text says of the cursor's place, without being parsed.
enum Lexical {
    /// In a comment or in a text that is only text.
    Nothing,
    /// In the text behind `from`: what is between the quotes.
    Import { start: u32, end: u32 },
    /// Anywhere else.
    Code,
}

fn lexical(text: &str, offset: u32) -> Lexical {
    let lexemes = lex::lex(text);
    for (index, lexeme) in lexemes.iter().enumerate() {
        let written = &text[lexeme.start as usize..lexeme.end as usize];
        let inside = lexeme.start < offset && offset <= lexeme.end;
        match lexeme.kind {
            Kind::Comment | Kind::Doc if inside => return Lexical::Nothing,
            Kind::Escape if inside => return Lexical::Nothing,
            Kind::Text => {
                let opens = written.starts_with(['"', 'r']);
                let closed = 2 <= written.len() && written.ends_with('"') || !opens && written.ends_with('"');
                let in_text =
                    (inside || !opens && lexeme.start == offset) && !(closed && lexeme.end == offset);
                if !in_text {
                    continue;
                }
                let before = index.checked_sub(1).map(|before| &lexemes[before]);
                let from = before.is_some_and(|it| &text[it.start as usize..it.end as usize] == "from");
                if from && opens {
                    let end = lexeme.end - u32::from(closed);
                    return Lexical::Import { start: lexeme.start + 1, end };
                }
                return Lexical::Nothing;
            }
            _ => {}
        }
    }
    Lexical::Code
}

/// Words an item can start with, where one can start: at the start of a line outside of brackets; and where the word
/// does.
fn item_words(text: &str, offset: u32) -> Option<(Vec<Candidate>, u32)> {
    let before = &text[..offset as usize];
    let line = &before[before.rfind('\n').map_or(0, |newline| newline + 1)..];
    let word = &line[line.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len()..];
    let in_front = &line[..line.len() - word.len()];
    if !matches!(in_front, "" | "pub ") {
        return None;
    }
    let start = before.len() - line.len();
    let item = item_starts(&before[..start]).last().map_or(0, |&item| item as usize);
    if !lex::opened(&before[item..start]).is_empty() {
        return None;
    }
    let words = ITEM_WORDS.iter().filter(|it| **it != "extern" && (in_front.is_empty() || **it != "pub"));
    let candidates = words.map(|word| Candidate {
        suffix: " ",
        ..Candidate::new(*word, CompletionItemKind::KEYWORD, Rank::Word)
    });
    Some((candidates.collect(), offset - word.len() as u32))
}

/// What `from "…"` can say.
fn import_paths(project: &mut Project, path: &Path) -> Vec<Candidate> {
    let library = stdlib::MODULES.iter().map(|(name, text)| {
        let doc = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
        Candidate::new(*name, CompletionItemKind::MODULE, Rank::Prelude).detail(doc)
    });
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = project.files().into_iter().filter(|file| file != path && file.is_absolute());
    let below = files.filter_map(|file| {
        let mut up = String::from("./");
        let mut from = folder;
        loop {
            if let Ok(rest) = file.strip_prefix(from) {
                let label = format!("{up}{}", rest.to_string_lossy());
                return Some(Candidate::new(label, CompletionItemKind::FILE, Rank::Near));
            }
            up = if up == "./" { "../".to_owned() } else { format!("../{up}") };
            from = from.parent()?;
        }
    });
    below.chain(library).collect()
}

// ---- what the tree says

/// What can stand where the mark is; `None`: the tree does not have it.
fn at_mark(program: &Program, module: &LoadedModule, start: u32, call: Call) -> Option<Vec<Candidate>> {
    let is_mark = |name: &Ident| {
        name.span.file == module.ast.file && name.span.start == start && name.text.contains(MARK)
    };
    let mut found: Option<Vec<Candidate>> = None;
    let mut parents: Vec<&Expr> = Vec::new();
    walk::module(&module.ast, &mut |node| {
        if found.is_some() {
            return;
        }
        match node {
            Node::Expr(expr) => {
                if expr.span.start <= start && start <= expr.span.end {
                    parents.push(expr);
                }
                found = at_expr(program, module, expr, &parents, start, call, &is_mark);
            }
            Node::Type(ty) => found = at_type(program, module, ty, &is_mark),
            Node::Arm(arm) => {
                if let Pattern::Variant(name) = &arm.pattern
                    && is_mark(name)
                {
                    found = Some(program.wanted_at(arm.span).map(variants).unwrap_or_default());
                }
            }
            Node::Item(_) | Node::Let(_) | Node::Field(_) | Node::Variable(_) => {}
        }
    });
    found
}

fn at_expr(
    program: &Program,
    module: &LoadedModule,
    expr: &Expr,
    parents: &[&Expr],
    start: u32,
    call: Call,
    is_mark: &dyn Fn(&Ident) -> bool,
) -> Option<Vec<Candidate>> {
    match &expr.kind {
        ExprKind::Field(base, name) if is_mark(name) => Some(members(program, base)),
        ExprKind::Variant(name) if is_mark(name) => {
            Some(program.wanted_at(expr.span).map(variants).unwrap_or_default())
        }
        ExprKind::Name(name) if expr.span.start == start && name.contains(MARK) => {
            Some(at_name(program, module, expr, parents, call))
        }
        ExprKind::Call(it) => {
            let arg = it.args.iter().find(|arg| arg.name.as_ref().is_some_and(is_mark))?;
            Some(named_args(program, it.parens, arg.name.as_ref().map(|name| name.span)))
        }
        ExprKind::Record(entries) => {
            let field = entries.iter().find_map(|entry| match entry {
                Entry::Field(name, value) if is_mark(name) && value.span != name.span => Some(name),
                _ => None,
            });
            field.map(|_| fields(program, expr, entries))
        }
        _ => None,
    }
}

/// A name: a value, an argument's name, a field's name.
fn at_name(
    program: &Program,
    module: &LoadedModule,
    expr: &Expr,
    parents: &[&Expr],
    call: Call,
) -> Vec<Candidate> {
    let wanted = program.wanted_at(expr.span);
    let mut candidates = Vec::new();
    let around = parents.iter().rev().find(|it| !std::ptr::eq(**it, expr));
    let mut is_callee = false;
    match around.map(|it| &it.kind) {
        Some(ExprKind::Call(it)) => {
            is_callee = std::ptr::eq(&it.callee, expr);
            if it.args.iter().any(|arg| arg.name.is_none() && std::ptr::eq(&arg.value, expr)) {
                candidates.extend(named_args(program, it.parens, None));
            }
        }
        Some(ExprKind::Record(entries)) => {
            let as_field = entries.iter().any(|entry| match entry {
                Entry::Field(name, value) => std::ptr::eq(value, expr) && name.span == expr.span,
                _ => false,
            });
            if let (true, Some(record)) = (as_field, around) {
                candidates.extend(fields(program, record, entries));
            }
        }
        _ => {}
    }
    candidates.extend(values(program, module, expr.span.start, wanted));
    if call == Call::Added || is_callee {
        candidates.retain(|it| it.called.is_some() || it.kind == CompletionItemKind::MODULE);
    } else {
        candidates.extend(wanted.map(variants).unwrap_or_default().into_iter().map(|mut variant| {
            variant.label.insert(0, '.');
            variant
        }));
        let words = EXPRESSION_WORDS.iter();
        candidates.extend(words.map(|word| Candidate::new(*word, CompletionItemKind::KEYWORD, Rank::Word)));
    }
    candidates
}

/// Names of values that can be seen.
fn values(program: &Program, module: &LoadedModule, offset: u32, wanted: Option<&Type>) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for local in walk::locals_at(&module.ast, offset).into_iter().rev() {
        if local.text.contains(MARK) || seen.contains(&&*local.text) {
            continue;
        }
        seen.push(&local.text);
        let ty = program.type_at(local.span).cloned().or_else(|| param_type(program, local));
        let candidate = Candidate::new(&*local.text, CompletionItemKind::VARIABLE, Rank::Near);
        candidates.push(candidate.typed(ty.as_ref(), wanted));
    }
    let own = module.ast.items.iter().filter(|item| {
        // An item cannot be made of itself.
        let around = (item.span.start..=item.span.end).contains(&offset);
        let shown = |name: &Ident| !name.text.contains(MARK) && !seen.contains(&&*name.text);
        !around && item.kind.name().is_some_and(shown)
    });
    candidates.extend(own.filter_map(|item| item_candidate(program, item, wanted)));
    for signature in prelude().signatures.iter().filter(|it| it.receiver.is_none()) {
        let kind = match signature.params {
            Some(_) => CompletionItemKind::FUNCTION,
            None => CompletionItemKind::CONSTANT,
        };
        let description = Some(describe::builtin_item(signature.builtin));
        let candidate = Candidate::new(&*signature.name, kind, Rank::Prelude).described(description);
        let candidate = candidate.typed(Some(&signature.result), wanted);
        candidates.push(match &signature.params {
            Some(params) => candidate.called(!params.is_empty()),
            None => candidate,
        });
    }
    candidates
}

/// Type of a parameter: only other locals are expressions' results.
fn param_type(program: &Program, local: &Ident) -> Option<Type> {
    let Declaration::Param(item, field) = program.declaration(local.span)? else { return None };
    let function = program
        .typed
        .functions
        .iter()
        .find(|it| item.kind.name().is_some_and(|name| name.span == it.item.span))?;
    function.params.iter().find(|param| param.name == field.name.text).map(|param| param.ty.clone())
}

/// An item as a value.
fn item_candidate(program: &Program, item: &Item, wanted: Option<&Type>) -> Option<Candidate> {
    let name = item.kind.name()?;
    let is_this = |it: &crate::lang::hir::Item| it.span == name.span;
    let typed = &program.typed;
    let (kind, ty) = match &item.kind {
        ItemKind::Import { .. } => (CompletionItemKind::MODULE, None),
        ItemKind::Param { .. } => {
            let it = typed.params.iter().find(|it| is_this(&it.item));
            (CompletionItemKind::VARIABLE, it.map(|it| it.ty.clone()))
        }
        ItemKind::Secret { .. } => (CompletionItemKind::CONSTANT, Some(Type::Secret)),
        ItemKind::Ssh { .. } => (CompletionItemKind::CONSTANT, Some(Type::Ssh)),
        ItemKind::Let(_) => {
            let it = typed.lets.iter().find(|it| is_this(&it.item));
            (CompletionItemKind::VARIABLE, it.map(|it| it.ty.clone()))
        }
        ItemKind::Target { .. } => {
            let it = typed.targets.iter().find(|it| is_this(&it.item));
            (CompletionItemKind::VARIABLE, it.map(|it| it.ty.clone()))
        }
        ItemKind::Fn { .. } => {
            let it = typed.functions.iter().find(|it| is_this(&it.item));
            (CompletionItemKind::FUNCTION, it.map(|it| it.result.clone()))
        }
        ItemKind::Type { .. }
        | ItemKind::Enum { .. }
        | ItemKind::Test { .. }
        | ItemKind::Extern(_)
        | ItemKind::Broken { .. } => return None,
    };
    let description = describe::describe(program, &Def::At(name.span));
    let candidate = Candidate::new(&*name.text, kind, Rank::Item).described(description);
    let candidate = candidate.typed(ty.as_ref().filter(|ty| !ty.has_error()), wanted);
    Some(match &item.kind {
        ItemKind::Fn { params, .. } => candidate.called(!params.is_empty()),
        _ => candidate,
    })
}

/// What can follow `base.`
fn members(program: &Program, base: &Expr) -> Vec<Candidate> {
    if let Some(module) = module_named(program, base.span) {
        let public = module.items.iter().filter(|item| item.public);
        return public.filter_map(|item| item_candidate(program, item, None)).collect();
    }
    let Some(ty) = program.type_at(base.span) else { return Vec::new() };
    let mut candidates = Vec::new();
    if let Type::Record(record) = ty {
        candidates.extend(record.fields.iter().map(|field| {
            let candidate = Candidate::new(&*field.name, CompletionItemKind::FIELD, Rank::Near);
            candidate.detail(field.ty.to_string())
        }));
    }
    candidates.extend(prelude().members(ty).map(|signature| {
        let description = Some(describe::builtin_item(signature.builtin));
        match &signature.params {
            Some(params) => Candidate::new(&*signature.name, CompletionItemKind::METHOD, Rank::Item)
                .described(description)
                .detail(call_detail(params, &signature.result))
                .called(!params.is_empty()),
            None => Candidate::new(&*signature.name, CompletionItemKind::PROPERTY, Rank::Near)
                .described(description)
                .detail(signature.result.to_string()),
        }
    }));
    candidates
}

/// What has to be given to a method, and what it gives.
fn call_detail(params: &[crate::lang::hir::FnParam], result: &Type) -> String {
    let required = params.iter().filter(|param| param.default.is_none());
    let mut parts: Vec<String> = required.map(|param| format!("{}: {}", param.name, param.ty)).collect();
    if parts.len() < params.len() {
        parts.push("…".to_owned());
    }
    format!("({}) -> {result}", parts.join(", "))
}

/// The module that the name at `span` is an import of.
fn module_named(program: &Program, span: Span) -> Option<&crate::lang::syntax::ast::Module> {
    let name = program.names.iter().find(|name| name.span == span && !name.declares)?;
    let Def::At(declared) = name.def else { return None };
    describe::imported_module(program, declared)
}

/// The names of arguments that the call with these parentheses does not give. `own` is the name that is being written.
fn named_args(program: &Program, parens: Span, own: Option<Span>) -> Vec<Candidate> {
    let Some(call) = program.call_at(parens) else { return Vec::new() };
    let suffix = if own.is_some() { "" } else { ": " };
    let candidate = |name: &str, ty: String, description: Option<Description>| Candidate {
        suffix,
        ..Candidate::new(name, CompletionItemKind::PROPERTY, Rank::Near).described(description).detail(ty)
    };
    let free = |index: usize| !call.slots.contains(&Some(index));
    match call.callee {
        Callee::Builtin(builtin) => {
            let signature = prelude().signature(builtin);
            let params = signature.params.iter().flatten().enumerate().filter(|(index, _)| free(*index));
            params
                .map(|(index, param)| {
                    candidate(&param.name, param.ty.to_string(), describe::builtin_param(signature, index))
                })
                .collect()
        }
        Callee::Function(function) => {
            let params = program.typed.functions[function.index()].params.iter().enumerate();
            params
                .filter(|(index, _)| free(*index))
                .map(|(index, param)| {
                    let field = program.param_of(function, index);
                    let file = field.map(|field| program.sources.file(field.name.span.file));
                    let description = field.zip(file).map(|(field, file)| describe::field(file, field));
                    candidate(&param.name, param.ty.to_string(), description)
                })
                .collect()
        }
    }
}

/// The fields that a record literal does not give.
fn fields(program: &Program, record: &Expr, entries: &[Entry]) -> Vec<Candidate> {
    let wanted = match program.wanted_at(record.span) {
        Some(Type::Option(inner)) => inner,
        Some(ty) => ty,
        None => return Vec::new(),
    };
    let Type::Record(ty) = wanted else { return Vec::new() };
    let given = |name: &str| {
        entries.iter().any(|entry| matches!(entry, Entry::Field(field, _) if &*field.text == name))
    };
    let absent = ty.fields.iter().filter(|field| !given(&field.name));
    absent
        .map(|field| Candidate {
            suffix: ": ",
            ..Candidate::new(&*field.name, CompletionItemKind::FIELD, Rank::Wanted)
                .detail(field.ty.to_string())
        })
        .collect()
}

/// The variants of an enum.
fn variants(ty: &Type) -> Vec<Candidate> {
    match ty {
        Type::Option(inner) => variants(inner),
        Type::Enum(decl) => {
            let candidate = |name: &std::sync::Arc<str>| {
                Candidate::new(&**name, CompletionItemKind::ENUM_MEMBER, Rank::Wanted)
                    .detail(format!("{}.{name}", decl.name))
            };
            decl.variants.iter().map(candidate).collect()
        }
        _ => Vec::new(),
    }
}

/// A written type.
fn at_type(
    program: &Program,
    module: &LoadedModule,
    ty: &TypeExpr,
    is_mark: &dyn Fn(&Ident) -> bool,
) -> Option<Vec<Candidate>> {
    let declared = |items: &[Item], visible: &dyn Fn(&Item) -> bool| -> Vec<Candidate> {
        let types = items.iter().filter(|item| visible(item));
        types
            .filter_map(|item| {
                let name = item.kind.name()?;
                let kind = match item.kind {
                    ItemKind::Type { .. } => CompletionItemKind::STRUCT,
                    ItemKind::Enum { .. } => CompletionItemKind::ENUM,
                    _ => return None,
                };
                let description = describe::describe(program, &Def::At(name.span));
                Some(Candidate::new(&*name.text, kind, Rank::Item).described(description))
            })
            .collect()
    };
    match &ty.kind {
        TypeKind::Qualified(base, name) if is_mark(name) => {
            let module = module_named(program, base.span)?;
            Some(declared(&module.items, &|item| item.public))
        }
        TypeKind::Name(name) if is_mark(name) => {
            let mut candidates = declared(&module.ast.items, &|_| true);
            candidates.extend(Type::BUILTIN_NAMES.iter().map(|name| {
                let doc = Type::builtin(name).as_ref().and_then(describe::type_doc).unwrap_or_default();
                Candidate::new(*name, CompletionItemKind::KEYWORD, Rank::Prelude).detail(doc)
            }));
            let records = prelude().records.iter().filter_map(|record| record.name.clone());
            let enums = prelude().enums.iter().map(|decl| decl.name.clone());
            candidates.extend(
                records
                    .chain(enums)
                    .map(|name| Candidate::new(&*name, CompletionItemKind::STRUCT, Rank::Prelude)),
            );
            let imports = module.ast.items.iter().filter(|it| matches!(it.kind, ItemKind::Import { .. }));
            candidates.extend(imports.filter_map(|item| item_candidate(program, item, None)));
            Some(candidates)
        }
        _ => None,
    }
}
