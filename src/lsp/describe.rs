//! What is said about a name: its declaration as written, its type, its doc.

use std::sync::LazyLock;

use super::analysis::{Def, Program};
use super::walk::{self, Node};
use crate::base::{SourceFile, SourceMap, Span};
use crate::lang::resolve::stdlib;
use crate::lang::syntax::ast::{self, Field, Ident, Item, ItemKind};
use crate::lang::syntax::{self, PRELUDE_NAME};
use crate::lang::types::signatures::Signature;
use crate::lang::types::{Builtin, Type, prelude};

/// What declares a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Declaration<'a> {
    /// An item.
    Item(&'a Item),
    /// A parameter of a function.
    Param(&'a Item, &'a Field),
    /// A field of a record type.
    Field(&'a Item, &'a Field),
    /// A variant of an enum.
    Variant(&'a Item, &'a Ident),
    /// A `let` of a block or test, a variable of a loop or pattern.
    Local(&'a Item),
}

impl<'a> Declaration<'a> {
    /// What declares the name at `span` of a module.
    pub(super) fn find(module: &'a ast::Module, span: Span) -> Option<Declaration<'a>> {
        for item in &module.items {
            if item.kind.name().is_some_and(|name| name.span == span) {
                return Some(Declaration::Item(item));
            }
            let holds =
                item.span.file == span.file && item.span.start <= span.start && span.end <= item.span.end;
            if !holds {
                continue;
            }
            match &item.kind {
                ItemKind::Enum { variants, .. } => {
                    if let Some(variant) = variants.iter().find(|variant| variant.span == span) {
                        return Some(Declaration::Variant(item, variant));
                    }
                }
                ItemKind::Fn { params, .. } | ItemKind::Extern(ast::Extern { params: Some(params), .. }) => {
                    if let Some(param) = params.iter().find(|param| param.name.span == span) {
                        return Some(Declaration::Param(item, param));
                    }
                }
                _ => {}
            }
            let mut found = None;
            walk::visit(Node::Item(item), &mut |node| match node {
                Node::Field(field) if field.name.span == span => {
                    found = Some(Declaration::Field(item, field));
                }
                Node::Let(decl) if decl.name.span == span => found = Some(Declaration::Local(item)),
                Node::Variable(name) if name.span == span => found = Some(Declaration::Local(item)),
                _ => {}
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The item it is part of.
    pub(super) fn item(self) -> &'a Item {
        match self {
            Declaration::Item(item)
            | Declaration::Param(item, _)
            | Declaration::Field(item, _)
            | Declaration::Variant(item, _)
            | Declaration::Local(item) => item,
        }
    }
}

/// What is said about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// A declaration in bkl.
    pub code: String,
    /// Its doc comment, Markdown.
    pub doc: Option<String>,
}

impl Description {
    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let doc = self.doc.as_deref().map(|doc| format!("\n---\n{doc}\n")).unwrap_or_default();
        format!("```bkl\n{}\n```\n{doc}", self.code)
    }
}

/// The prelude's text and tree.
struct PreludeText {
    sources: SourceMap,
    module: ast::Module,
}

fn prelude_text() -> &'static PreludeText {
    static TEXT: LazyLock<PreludeText> = LazyLock::new(|| {
        let mut sources = SourceMap::default();
        let file = sources.add(PRELUDE_NAME, stdlib::PRELUDE);
        let module = syntax::parse(sources.file(file)).module;
        PreludeText { sources, module }
    });
    &TEXT
}

impl PreludeText {
    fn file(&self) -> &SourceFile {
        self.sources.file(self.module.file)
    }

    /// The `extern` item of a builtin.
    fn item(&self, builtin: Builtin) -> Option<(&Item, &ast::Extern)> {
        self.module.items.iter().find_map(|item| match &item.kind {
            ItemKind::Extern(it) => {
                let receiver = it.receiver.as_ref().map(|ty| self.file().slice(ty.span));
                let key = match receiver {
                    Some(receiver) => format!("{receiver}.{}", it.name.text),
                    None => it.name.text.to_string(),
                };
                (key == builtin.key()).then_some((item, it))
            }
            _ => None,
        })
    }

    fn named(&self, wanted: &str) -> Option<&Item> {
        let has_name = |item: &&Item| item.kind.name().is_some_and(|name| &*name.text == wanted);
        self.module.items.iter().find(|item| has_name(item) && !matches!(item.kind, ItemKind::Extern(_)))
    }
}

/// What is said about `def`.
pub(super) fn describe(program: &Program, def: &Def) -> Option<Description> {
    let prelude_text = prelude_text();
    match def {
        Def::At(span) => declared(program, *span),
        Def::Builtin(builtin) => Some(builtin_item(*builtin)),
        Def::BuiltinParam(builtin, index) => {
            let (_, it) = prelude_text.item(*builtin)?;
            Some(field(prelude_text.file(), it.params.as_ref()?.get(*index)?))
        }
        Def::BuiltinField(record, index) => {
            let name = prelude().records[*record].name.as_ref()?;
            let ItemKind::Type { ty, .. } = &prelude_text.named(name)?.kind else { return None };
            let ast::TypeKind::Record(fields) = &ty.kind else { return None };
            Some(field(prelude_text.file(), fields.get(*index)?))
        }
        Def::BuiltinVariant(decl, index) => {
            let decl = &prelude().enums[*decl];
            let code = format!("{}.{}", decl.name, decl.variants[*index]);
            let doc = prelude_text.named(&decl.name).and_then(|item| item.doc.as_deref()).map(str::to_owned);
            Some(Description { code, doc })
        }
        Def::BuiltinType(ty) => Some(builtin_type(ty)),
    }
}

/// What is said about a function, method, property or constant of the prelude.
pub(super) fn builtin_item(builtin: Builtin) -> Description {
    let prelude_text = prelude_text();
    let Some((item, it)) = prelude_text.item(builtin) else {
        return Description { code: builtin.key().to_owned(), doc: None };
    };
    let span = Span { start: it.name.span.start, end: it.result.span.end, ..item.span };
    let receiver = it.receiver.as_ref().map(|ty| format!("{}.", prelude_text.file().slice(ty.span)));
    let keyword = if it.params.is_some() { "fn" } else { "let" };
    let written = prelude_text.file().slice(span);
    let code = wrapped(&format!("{keyword} {}{written}", receiver.unwrap_or_default()));
    Description { code, doc: item.doc.as_deref().map(str::to_owned) }
}

fn builtin_type(ty: &Type) -> Description {
    let prelude_text = prelude_text();
    let name = ty.to_string();
    match prelude_text.named(&name) {
        Some(item) => {
            let code = wrapped(prelude_text.file().slice(item.span).trim_start_matches("pub "));
            Description { code, doc: item.doc.as_deref().map(str::to_owned) }
        }
        None => Description { code: format!("type {name}"), doc: type_doc(ty).map(str::to_owned) },
    }
}

/// What the built-in types are, in a line.
pub(super) fn type_doc(ty: &Type) -> Option<&'static str> {
    Some(match ty {
        Type::Str => "Text.",
        Type::Int => "A whole number, 64 bits, signed.",
        Type::Bool => "`true` or `false`.",
        Type::Path => "A path, absolute or relative, as written.",
        Type::Glob => "A path with `*`, `**`, `?` and `[…]`.",
        Type::Ref => "An image reference: `debian:bookworm`, `ghcr.io/acme/app@sha256:…`.",
        Type::Url => "A URL: `https://…`.",
        Type::Port => "A port: `8080`, `\"8080/udp\"`, `\"8000-8010/tcp\"`.",
        Type::Platform => "What an image is built for: `\"linux/arm64\"`.",
        Type::Digest => "A content address: `\"sha256:…\"`.",
        Type::Mode => "Permission bits: `0o755`.",
        Type::Size => "Bytes: `64MiB`.",
        Type::Duration => "A span of time: `30s`.",
        Type::Signal => "A signal: `\"SIGTERM\"`.",
        Type::Cmd => "A shell command; values that are put into a literal of it are quoted as one word.",
        Type::Argv => "The words of a command that no shell reads.",
        Type::Fs => "Files: an immutable tree.",
        Type::Image => "Files with a config and a platform. It can stand where `fs` is wanted.",
        Type::Index => "One image per platform.",
        Type::Check => "A command that must succeed and gives nothing.",
        Type::Mount => "What a command sees at some path.",
        Type::Out => "A directory of a command that is a result of it.",
        Type::Secret => "A value that is given to commands and never becomes text.",
        Type::Ssh => "A forwarded agent.",
        _ => return None,
    })
}

fn declared(program: &Program, span: Span) -> Option<Description> {
    let file = program.sources.file(span.file);
    let name = file.slice(span);
    let typed = |keyword: &str| match program.type_at(span) {
        Some(ty) => format!("{keyword}{name}: {ty}"),
        None => format!("{keyword}{name}"),
    };
    match program.declaration(span)? {
        Declaration::Local(_) => Some(Description { code: typed("let "), doc: None }),
        Declaration::Param(_, param) | Declaration::Field(_, param) => Some(field(file, param)),
        Declaration::Variant(item, variant) => {
            let decl = item.kind.name().map_or("", |name| &name.text);
            Some(Description { code: format!("{decl}.{}", variant.text), doc: owned(item.doc.as_deref()) })
        }
        Declaration::Item(Item { kind: ItemKind::Broken { .. }, .. }) => {
            // What it was before it was broken.
            let module = program.module_of(span.file)?;
            let kept = module.ast.items.iter().find(|item| {
                item.span.file != span.file && item.kind.name().is_some_and(|it| &*it.text == name)
            });
            let Some(kept) = kept else { return Some(Description { code: name.to_owned(), doc: None }) };
            let code = item_code(program, program.sources.file(kept.span.file), kept, name)?;
            Some(Description { code, doc: owned(kept.doc.as_deref()) })
        }
        Declaration::Item(item) => {
            let doc = match &item.kind {
                ItemKind::Import { .. } => {
                    imported_module(program, span).and_then(|module| module.doc.clone())
                }
                _ => item.doc.clone(),
            };
            Some(Description { code: item_code(program, file, item, name)?, doc: owned(doc.as_deref()) })
        }
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// The module that the import whose name stands at `span` means.
pub(super) fn imported_module(program: &Program, span: Span) -> Option<&ast::Module> {
    let module = program.module_of(span.file)?;
    let imports = module.ast.items.iter().filter(|item| matches!(item.kind, ItemKind::Import { .. }));
    let at =
        imports.zip(&module.imports).find(|(item, _)| item.kind.name().is_some_and(|it| it.span == span));
    let id = (*at?.1)?;
    Some(&program.loaded.modules[id.index()].ast)
}

/// A declaration without its body, with the type that was found.
fn item_code(program: &Program, file: &SourceFile, item: &Item, name: &str) -> Option<String> {
    let written = |start: u32, end: u32| file.slice(Span { file: file.id, start, end }).trim().to_owned();
    let start = item.kind.name()?.span.start;
    let found =
        |ty: Option<&Type>| ty.filter(|ty| !ty.has_error()).map(|ty| format!(": {ty}")).unwrap_or_default();
    let is_this = |it: &crate::lang::hir::Item| item.kind.name().is_some_and(|name| name.span == it.span);
    Some(match &item.kind {
        ItemKind::Import { from, .. } => format!("import {name} from \"{}\"", from.text),
        ItemKind::Param { ty, default, .. } => {
            let end = default.as_ref().map_or(ty.span.end, |default| default.span.end);
            wrapped(&format!("param {}", written(start, end)))
        }
        ItemKind::Secret { .. } => format!("secret {name}"),
        ItemKind::Ssh { .. } => format!("ssh {name}"),
        ItemKind::Let(_) => {
            let ty = program.typed.lets.iter().find(|it| is_this(&it.item)).map(|it| &it.ty);
            format!("let {name}{}", found(ty))
        }
        ItemKind::Target { dest, .. } => {
            let ty = program.typed.targets.iter().find(|it| is_this(&it.item)).map(|it| &it.ty);
            let dest = dest.as_ref().map(|dest| format!(" -> \"{}\"", dest.text)).unwrap_or_default();
            format!("target {name}{}{dest}", found(ty))
        }
        ItemKind::Fn { result, .. } => wrapped(&format!("fn {}", written(start, result.span.end))),
        ItemKind::Type { ty, .. } => wrapped(&format!("type {}", written(start, ty.span.end))),
        ItemKind::Enum { .. } => format!("enum {}", written(start, item.span.end)),
        ItemKind::Extern(_) | ItemKind::Test { .. } => return None,
        ItemKind::Broken { .. } => name.to_owned(),
    })
}

/// A parameter or field as written, with its doc.
pub(super) fn field(file: &SourceFile, field: &Field) -> Description {
    let end = field.default.as_ref().map_or(field.ty.span.end, |default| default.span.end);
    let code = file.slice(Span { start: field.name.span.start, end, ..field.name.span }).to_owned();
    Description { code, doc: owned(field.doc.as_deref()) }
}

/// A parameter of a builtin as written.
pub(super) fn builtin_param(signature: &Signature, index: usize) -> Option<Description> {
    let prelude_text = prelude_text();
    let (_, it) = prelude_text.item(signature.builtin)?;
    Some(field(prelude_text.file(), it.params.as_ref()?.get(index)?))
}

/// Long declarations get a line per part.
fn wrapped(code: &str) -> String {
    const WIDTH: usize = 90;
    let (Some(open), false) = (code.find(['(', '{']), code.len() <= WIDTH || code.contains('\n')) else {
        return code.to_owned();
    };
    let mut out = code[..=open].to_owned() + "\n  ";
    let mut depth = 0_usize;
    let inner = code[open + 1..].trim_start();
    let mut done = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if done => out.push(c),
            '(' | '[' | '{' => {
                depth += 1;
                out.push(c);
            }
            ')' | '}' if depth == 0 => {
                let end = out.trim_end().len();
                out.truncate(end);
                out.push_str(if out.ends_with(',') { "\n" } else { ",\n" });
                out.push(c);
                done = true;
            }
            ')' | ']' | '}' => {
                depth -= 1;
                out.push(c);
            }
            ',' if depth == 0 => out.push_str(",\n  "),
            ' ' if inner[..at].ends_with(", ") || (depth == 0 && inner[..at].ends_with(',')) => {}
            c => out.push(c),
        }
    }
    out
}
