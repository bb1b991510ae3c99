//! `bkl doc`: the reference of a module, from its doc comments and signatures.

mod html;
mod markdown;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::base::{Report, SourceFile, SourceMap, Span};
use crate::cli::Failure;
use crate::cli::args::{self, DocFormat};
use crate::cli::lower::write_stdout;
use crate::cli::program::{Program, io_reason};
use crate::lang::on_deep_stack;
use crate::lang::resolve::stdlib;
use crate::lang::syntax::ast::{Field, Item, ItemKind, Module, TypeExpr, TypeKind};
use crate::lang::syntax::{self, PRELUDE_NAME};

/// What there is to say about a module.
struct Reference {
    /// `std/go`, or the program as it was named.
    title: String,
    /// The `//!` lines.
    doc: String,
    /// Groups that are not empty, in the order people want them.
    sections: Vec<Section>,
}

impl Reference {
    /// The first sentence or line of its doc, without the name that it may start with.
    fn summary(&self) -> &str {
        let line = self.doc.lines().next().unwrap_or_default();
        line.strip_prefix(self.title.as_str()).map_or(line, |rest| rest.trim_start_matches([':', ' ']))
    }
}

/// Items of one kind, in source order.
struct Section {
    title: &'static str,
    entries: Vec<Entry>,
}

/// An item.
struct Entry {
    name: String,
    /// Its declaration as written, without its body.
    signature: String,
    doc: String,
    /// Parameters, fields or variants that have docs.
    parts: Vec<(String, String)>,
}

/// Whether an item belongs to a section.
type Belongs = fn(&ItemKind) -> bool;

/// Runs the verb.
pub(super) fn run(args: &args::Doc) -> Result<(), Failure> {
    if args.module.as_deref() == Some("std") {
        return library(args);
    }
    let (title, text) = module_text(args.module.as_deref())?;
    let reference = read(&title, text)?;
    let page = match args.format {
        DocFormat::Markdown => markdown::page(&reference),
        DocFormat::Html => html::page(&reference, html::Place::Alone),
    };
    match &args.output {
        None => write_stdout(page.as_bytes()),
        Some(folder) => write(folder, &file_name(&title, args.format), page),
    }
}

/// `bkl doc std`: an index of the library; into a folder, with a page for each of its modules.
fn library(args: &args::Doc) -> Result<(), Failure> {
    let modules = stdlib::MODULES.iter().copied().chain([(PRELUDE_NAME, stdlib::PRELUDE)]);
    let references: Vec<Reference> =
        modules.map(|(name, text)| read(name, text.to_owned())).collect::<Result<_, _>>()?;
    let links: Vec<(String, &Reference)> =
        references.iter().map(|it| (file_name(&it.title, args.format), it)).collect();
    let index = match args.format {
        DocFormat::Markdown => markdown::index(&links),
        DocFormat::Html => html::index(&links),
    };
    let Some(folder) = &args.output else { return write_stdout(index.as_bytes()) };
    for (name, reference) in &links {
        let page = match args.format {
            DocFormat::Markdown => markdown::page(reference),
            DocFormat::Html => html::page(reference, html::Place::Library),
        };
        write(folder, name, page)?;
    }
    write(folder, &format!("index.{}", extension(args.format)), index)
}

/// The name of a module's page in a folder.
fn file_name(title: &str, format: DocFormat) -> String {
    let stem = title.trim_end_matches(".bkl").replace('/', "-");
    format!("{}.{}", stem.trim_start_matches(['.', '-']), extension(format))
}

fn extension(format: DocFormat) -> &'static str {
    match format {
        DocFormat::Markdown => "md",
        DocFormat::Html => "html",
    }
}

fn read(title: &str, text: String) -> Result<Reference, Failure> {
    let mut sources = SourceMap::default();
    let file = sources.add(title, text);
    let parsed = on_deep_stack(|| syntax::parse(sources.file(file)));
    if !parsed.errors.is_empty() {
        let reports = parsed.errors.iter().map(syntax::SyntaxError::report).collect();
        return Err(Failure::new(sources, reports));
    }
    Ok(reference(title, &parsed.module, sources.file(file)))
}

fn write(folder: &Path, name: &str, page: String) -> Result<(), Failure> {
    let path = folder.join(name);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, page));
    written.map_err(|error| {
        let message = format!("cannot write `{}`: {}", path.display(), io_reason(&error));
        Failure::from(Report::error("bkl::output", message))
    })?;
    write_stdout(format!("{}\n", path.display()).as_bytes())
}

/// Name and text of a library module or a program.
fn module_text(module: Option<&str>) -> Result<(String, String), Report> {
    if let Some(name) = module.filter(|name| name.starts_with("std/")) {
        let text = if name == PRELUDE_NAME { Some(stdlib::PRELUDE) } else { stdlib::text(name) };
        return text.map(|text| (name.to_owned(), text.to_owned())).ok_or_else(|| {
            let names: Vec<&str> =
                stdlib::MODULES.iter().map(|(name, _)| *name).chain([PRELUDE_NAME]).collect();
            Report::error("bkl::no_module", format!("there is no module `{name}` in the library"))
                .help(format!("the modules are {}", names.join(", ")))
        });
    }
    let words = module.iter().map(|&word| word.to_owned()).collect();
    let program = Program::find(&args::Selection { words, file: None })?;
    if let Some(word) = program.targets.first() {
        return Err(Report::error(
            "bkl::no_program",
            format!("`{word}` is neither a program nor a module of the library"),
        )
        .help("name a .bkl file, or a module as in `bkl doc std/go`"));
    }
    let path = program.root.join(&program.entry);
    let text = fs::read_to_string(&path).map_err(|error| {
        Report::error("bkl::no_program", format!("cannot read `{}`: {}", path.display(), io_reason(&error)))
    })?;
    let shown = module.map_or(program.entry.as_str(), |module| module);
    Ok((Path::new(shown).to_string_lossy().into_owned(), text))
}

fn reference(title: &str, module: &Module, file: &SourceFile) -> Reference {
    let sections: [(&'static str, Belongs); 6] = [
        ("Parameters", |kind| matches!(kind, ItemKind::Param { .. })),
        ("Secrets", |kind| matches!(kind, ItemKind::Secret { .. } | ItemKind::Ssh { .. })),
        ("Targets", |kind| matches!(kind, ItemKind::Target { .. })),
        ("Types", |kind| matches!(kind, ItemKind::Type { .. } | ItemKind::Enum { .. })),
        ("Values", |kind| is_value(kind)),
        ("Functions", |kind| is_function(kind)),
    ];
    let mentioned = mentioned(module);
    let is_told = |item: &Item| {
        let is_named = || item.kind.name().is_some_and(|name| mentioned.contains(&*name.text));
        is_shown(item) || matches!(item.kind, ItemKind::Type { .. } | ItemKind::Enum { .. }) && is_named()
    };
    let entries = |belongs: Belongs| -> Vec<Entry> {
        let items = module.items.iter().filter(|item| belongs(&item.kind) && is_told(item));
        items.filter_map(|item| entry(item, file)).collect()
    };
    Reference {
        title: title.to_owned(),
        doc: module.doc.as_deref().unwrap_or_default().to_owned(),
        sections: sections
            .into_iter()
            .map(|(title, belongs)| Section { title, entries: entries(belongs) })
            .filter(|section| !section.entries.is_empty())
            .collect(),
    }
}

/// What the command line gives and asks for, and what other modules can use.
fn is_shown(item: &Item) -> bool {
    item.public
        || matches!(
            item.kind,
            ItemKind::Param { .. }
                | ItemKind::Secret { .. }
                | ItemKind::Ssh { .. }
                | ItemKind::Target { .. }
                | ItemKind::Extern(_)
        )
}

/// The types that what is shown speaks of: without them a parameter's values could not be known.
fn mentioned(module: &Module) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for item in module.items.iter().filter(|item| is_shown(item)) {
        for ty in types_of(&item.kind) {
            names_in(ty, &mut names);
        }
    }
    // Types speak of types: at most as often as there are items.
    for _ in &module.items {
        let n_known = names.len();
        for item in &module.items {
            if let ItemKind::Type { name, ty } = &item.kind
                && names.contains(&*name.text)
            {
                names_in(ty, &mut names);
            }
        }
        if names.len() == n_known {
            break;
        }
    }
    names
}

/// The types in the signature of an item.
fn types_of(kind: &ItemKind) -> Vec<&TypeExpr> {
    match kind {
        ItemKind::Param { ty, .. } | ItemKind::Type { ty, .. } => vec![ty],
        ItemKind::Fn { params, result, .. } => params.iter().map(|field| &field.ty).chain([result]).collect(),
        ItemKind::Let(it) => it.ty.iter().collect(),
        _ => Vec::new(),
    }
}

fn names_in<'a>(ty: &'a TypeExpr, names: &mut BTreeSet<&'a str>) {
    match &ty.kind {
        TypeKind::Name(name) => drop(names.insert(&*name.text)),
        TypeKind::Qualified(..) => {}
        TypeKind::List(inner) | TypeKind::Map(inner) | TypeKind::Option(inner) => names_in(inner, names),
        TypeKind::Record(fields) => fields.iter().for_each(|field| names_in(&field.ty, names)),
    }
}

fn is_value(kind: &ItemKind) -> bool {
    match kind {
        ItemKind::Let(_) => true,
        ItemKind::Extern(it) => it.params.is_none(),
        _ => false,
    }
}

fn is_function(kind: &ItemKind) -> bool {
    match kind {
        ItemKind::Fn { .. } => true,
        ItemKind::Extern(it) => it.params.is_some(),
        _ => false,
    }
}

fn entry(item: &Item, file: &SourceFile) -> Option<Entry> {
    let name = item.kind.name()?;
    let written = |start: u32, end: u32| file.slice(Span::new(file.id, start, end)).trim().to_owned();
    let documented = |fields: &[Field]| -> Vec<(String, String)> {
        let docs = fields
            .iter()
            .filter_map(|field| Some((field.name.text.to_string(), field.doc.as_deref()?.to_owned())));
        docs.collect()
    };
    let mut shown_name = name.text.to_string();
    let (signature, parts) = match &item.kind {
        ItemKind::Fn { params, result, .. } => {
            (format!("fn {}", written(name.span.start, result.span.end)), documented(params))
        }
        ItemKind::Type { ty, .. } => {
            (format!("type {}", written(name.span.start, item.span.end)), documented(fields_of(ty)))
        }
        ItemKind::Enum { .. } => (format!("enum {}", written(name.span.start, item.span.end)), Vec::new()),
        ItemKind::Let(it) => match &it.ty {
            Some(ty) => (format!("let {}", written(name.span.start, ty.span.end)), Vec::new()),
            None => (format!("let {}", name.text), Vec::new()),
        },
        ItemKind::Target { ty, dest, .. } => {
            let ty = ty.as_ref().map(|ty| format!(": {}", file.slice(ty.span))).unwrap_or_default();
            let dest = dest.as_ref().map(|dest| format!(" -> \"{}\"", dest.text)).unwrap_or_default();
            (format!("target {}{ty}{dest}", name.text), Vec::new())
        }
        ItemKind::Extern(it) => {
            if let Some(receiver) = &it.receiver {
                shown_name = format!("{}.{shown_name}", file.slice(receiver.span));
            }
            (written(item.span.start, item.span.end).trim_start_matches("extern ").to_owned(), Vec::new())
        }
        ItemKind::Param { .. } | ItemKind::Secret { .. } | ItemKind::Ssh { .. } => {
            let start = item.span.start;
            (written(start, item.span.end).trim_start_matches("pub ").to_owned(), Vec::new())
        }
        ItemKind::Import { .. } | ItemKind::Test { .. } | ItemKind::Broken { .. } => return None,
    };
    let doc = item.doc.as_deref().unwrap_or_default().to_owned();
    // The span of an item may start at its doc.
    let signature =
        signature.lines().filter(|line| !line.trim_start().starts_with("///")).collect::<Vec<_>>().join("\n");
    Some(Entry { name: shown_name, signature, doc, parts })
}

fn fields_of(ty: &TypeExpr) -> &[Field] {
    match &ty.kind {
        TypeKind::Record(fields) => fields,
        _ => &[],
    }
}
