//! Keeps the package's structure: imports point inwards, every file says what it holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::trial("tidy::imports_point_inwards", imports_point_inwards),
        crate::trial("tidy::every_file_says_what_it_holds", every_file_says_what_it_holds),
        crate::trial("tidy::solver_is_generic", solver_is_generic),
        crate::trial("tidy::editors_know_only_the_language", editors_know_only_the_language),
        crate::trial("tidy::sources_start_programs_in_one_place", sources_start_programs_in_one_place),
    ]
}

/// Top-level modules of `src/`, innermost layer first.
///
/// A module may import itself and modules of the layers before its own; modules of one layer do
/// not import each other. `lib.rs` and `main.rs` are outside the layers.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["api", "graph", "session", "store"],
    &["engine", "frontend", "lang"],
    &["client", "lsp", "serve"],
    &["cli"],
];

fn imports_point_inwards() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let Some(owner) = owner(&file) else { continue };
        let own = layer(&owner).unwrap_or_else(|| panic!("`{owner}` is not in LAYERS"));
        for name in imported_modules(&text) {
            if let Some(theirs) = layer(&name)
                && name != owner
                && own <= theirs
            {
                wrong.push(format!("{}: `{owner}` must not import `{name}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn every_file_says_what_it_holds() {
    let silent: Vec<_> = sources()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no `//!` line at the top of:\n{}", silent.join("\n"));
}

/// The scheduler knows ops only through its trait: it imports nothing of the graph, the store or the op folder.
fn solver_is_generic() {
    let wrong: Vec<_> = sources()
        .filter(|(file, _)| file.starts_with("engine/solver") || file == Path::new("engine/solver.rs"))
        .filter(|(_, text)| {
            ["crate::graph", "crate::store", "crate::engine::ops"].iter().any(|it| text.contains(it))
        })
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "engine::solver must stay generic:\n{}", wrong.join("\n"));
}

/// What takes content apart starts no programs: one of that name might be the tree's own. Sources do, in one place.
fn sources_start_programs_in_one_place() {
    let wrong: Vec<_> = sources()
        .filter(|(file, _)| {
            let places =
                ["engine/ops/file", "engine/source", "engine/registry", "engine/content_hash", "store/layer"];
            places.iter().any(|it| file.starts_with(it)) && file != Path::new("engine/source/program.rs")
        })
        .filter(|(_, text)| text.contains("Command::new"))
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "programs are started by engine/source/program.rs:\n{}", wrong.join("\n"));
}

/// What editors are told is found in texts: nothing is built, fetched or evaluated for it.
fn editors_know_only_the_language() {
    let wrong: Vec<_> = sources()
        .filter(|(file, _)| file.starts_with("lsp"))
        .filter(|(_, text)| {
            let modules = imported_modules(text);
            let others = modules.iter().any(|name| !matches!(&**name, "base" | "lang" | "lsp"));
            others || text.contains("lang::eval")
        })
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "lsp must know base and lang only:\n{}", wrong.join("\n"));
}

/// Path below `src/` and text of every source file, in path order.
fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    crate::files_below(&["src"], "rs").into_iter().map(move |path| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&src).unwrap().to_owned(), text)
    })
}

/// Top-level module that `file` belongs to; `None` for `lib.rs` and `main.rs`.
fn owner(file: &Path) -> Option<String> {
    let first = file.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib" && name != "main").then(|| name.to_owned())
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Each `m` of `crate::m` and `crate::{m, ..}` in `text`, line comments left out.
fn imported_modules(text: &str) -> BTreeSet<String> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let code = code.join("\n");
    let mut names = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.extend(head(rest)),
        }
    }
    names
}

/// First path segments of the items of a `use` group, given the text after its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut item = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if 0 < depth => depth -= 1,
            ',' if 0 < depth => (),
            ',' | '}' => {
                heads.extend(head(group[item..at].trim_start()));
                item = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => (),
        }
    }
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
