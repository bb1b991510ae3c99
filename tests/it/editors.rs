//! The grammar of the VS Code extension is made of the language's own tables, and colours programs as our lexer does.
//! `BKL_UPDATE=1` writes it anew.

mod textmate;

use std::fs;
use std::path::{Path, PathBuf};

use bkl::lang::syntax::lex::{self, Kind};
use bkl::lang::syntax::words::{CONSTANTS, ITEM_WORDS, KEYWORDS, SIGNS, UNITS};
use bkl::lang::types::Type;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use textmate::{Grammar, Group};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        crate::trial("editors::grammar_is_generated", grammar_is_generated),
        crate::trial("editors::package_names_what_is_there", package_names_what_is_there),
    ];
    for file in samples() {
        let shown = file.strip_prefix(root()).unwrap().display().to_string();
        trials.push(crate::trial(format!("editors::colours::{shown}"), move || agree(&file)));
    }
    trials
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn extension() -> PathBuf {
    root().join("editors/vscode")
}

/// Every program of the examples, the library and the cases that check.
fn samples() -> Vec<PathBuf> {
    crate::files_below(&["examples", "stdlib", "tests/golden/check", "tests/golden/format"], "bkl")
}

fn grammar_is_generated() {
    let path = extension().join("syntaxes/bkl.tmLanguage.json");
    let wanted = format!("{:#}\n", grammar());
    if std::env::var_os("BKL_UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "`BKL_UPDATE=1 cargo test --test it -- editors` writes {}", path.display());
}

/// The extension's files are where it says.
fn package_names_what_is_there() {
    let text = fs::read_to_string(extension().join("package.json")).unwrap();
    let package: Value = serde_json::from_str(&text).unwrap();
    let contributes = &package["contributes"];
    let named = [
        &package["main"],
        &contributes["languages"][0]["configuration"],
        &contributes["grammars"][0]["path"],
    ];
    for name in named {
        let path = extension().join(name.as_str().expect("a path"));
        assert!(path.is_file(), "{} is not there", path.display());
    }
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    let language = fs::read_to_string(extension().join("language-configuration.json")).unwrap();
    serde_json::from_str::<Value>(&language).unwrap();
}

/// The lexer and the grammar say the same of keywords, texts and comments.
fn agree(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let mut ours = vec![Group::Other; text.len()];
    for lexeme in lex::lex(&text) {
        let group = match lexeme.kind {
            Kind::Keyword | Kind::Constant => Group::Keyword,
            Kind::Text | Kind::Escape => Group::Text,
            Kind::Comment | Kind::Doc => Group::Comment,
            Kind::Name | Kind::Number | Kind::Insert | Kind::Open | Kind::Close | Kind::Sign => Group::Other,
        };
        ours[lexeme.start as usize..lexeme.end as usize].fill(group);
    }
    let theirs = Grammar::new(&grammar()).colours(&text);
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        if ours[at] != theirs[at] {
            let line = text[..at].matches('\n').count() + 1;
            panic!(
                "{}:{line}: the lexer says {:?} of `{c}`, the grammar {:?}",
                file.display(),
                ours[at],
                theirs[at]
            );
        }
    }
}

/// The TextMate grammar. It looks neither ahead nor back, so that simple engines can run it.
fn grammar() -> Value {
    let any = |words: &[&str]| words.join("|");
    let item_words: Vec<&str> = ITEM_WORDS
        .iter()
        .copied()
        .filter(|it| !matches!(*it, "pub" | "import" | "test" | "extern"))
        .collect();
    let keywords: Vec<&str> = KEYWORDS.iter().copied().filter(|it| !CONSTANTS.contains(it)).collect();
    let signs: Vec<String> = SIGNS.iter().filter(|it| **it != "...").map(|it| regex::escape(it)).collect();
    let name = "[A-Za-z_][A-Za-z0-9_]*";
    let scoped = |pattern: String, scopes: &[(usize, &str)]| {
        let captures: serde_json::Map<String, Value> =
            scopes.iter().map(|(group, scope)| (group.to_string(), json!({ "name": scope }))).collect();
        json!({ "match": pattern, "captures": captures })
    };
    let plain = |pattern: String, scope: &str| json!({ "match": pattern, "name": scope });
    let text = |begin: &str, end: &str, scope: &str, inside: &[&str]| {
        let patterns: Vec<Value> = inside.iter().map(|it| json!({ "include": format!("#{it}") })).collect();
        json!({ "begin": begin, "end": end, "name": scope, "patterns": patterns })
    };
    let (declared, pub_word) = ("entity.name.declaration.bkl", "storage.modifier.bkl");
    let (keyword, word) = ("keyword.declaration.bkl", "keyword.control.bkl");
    json!({
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "comment": "Generated from src/lang/syntax/words.rs by tests/it/editors.rs.",
        "name": "bkl",
        "scopeName": "source.bkl",
        "fileTypes": ["bkl"],
        "patterns": [{ "include": "#code" }],
        "repository": {
            "code": { "patterns": [
                plain(r"///(?:[^/].*)?$".to_owned(), "comment.line.documentation.bkl"),
                plain(r"//.*$".to_owned(), "comment.line.double-slash.bkl"),
                { "include": "#texts" },
                plain(r"\.\.\.".to_owned(), "keyword.operator.spread.bkl"),
                scoped(
                    format!(r"^\s*(?:(pub)\s+)?(import)\s+({name})\s+(from)\b"),
                    &[(1, pub_word), (2, keyword), (3, declared), (4, keyword)],
                ),
                scoped(format!(r"^\s*(?:(pub)\s+)?({})\s+({name})", any(&item_words)), &[
                    (1, pub_word), (2, keyword), (3, declared),
                ]),
                scoped(r"^\s*(?:(pub)\s+)?(extern)\s+(fn|let)\b".to_owned(), &[
                    (1, pub_word), (2, keyword), (3, keyword),
                ]),
                scoped(r"^\s*(?:(pub)\s+)?(test)\s+".to_owned(), &[(1, pub_word), (2, keyword)]),
                scoped(format!(r"\.\s*({name})(\()"), &[(1, "entity.name.function.member.bkl")]),
                scoped(format!(r"\.\s*({name})"), &[(1, "variable.other.member.bkl")]),
                plain(r"\b0o[0-7]+\b".to_owned(), "constant.numeric.mode.bkl"),
                plain(format!(r"\b[0-9][0-9_]*(?:{})?\b", any(UNITS)), "constant.numeric.bkl"),
                plain(format!(r"\b(?:{})\b", any(CONSTANTS)), "constant.language.bkl"),
                scoped(
                    format!(r"\b({name})\s*:(?:\s*[\[{{(]*\s*({})\b)?", any(Type::BUILTIN_NAMES)),
                    &[(1, "variable.parameter.label.bkl"), (2, "support.type.bkl")],
                ),
                scoped(
                    format!(r"->\s*[\[{{(]*\s*({})\b", any(Type::BUILTIN_NAMES)),
                    &[(1, "support.type.bkl")],
                ),
                plain(format!(r"\b(?:{})\b", any(&keywords)), word),
                scoped(r"\b(some)\(".to_owned(), &[(1, word)]),
                scoped(format!(r"\b(fold)\s+({name})"), &[(1, word), (2, declared)]),
                scoped(format!(r"\b({name})(\()"), &[(1, "entity.name.function.bkl")]),
                plain(format!(r"\b{name}\b"), "variable.other.bkl"),
                plain(format!("{}|[-+*=<>!?]", signs.join("|")), "keyword.operator.bkl"),
                json!({
                    "begin": r"\{", "end": r"\}", "patterns": [{ "include": "#code" }],
                }),
            ]},
            "texts": { "patterns": [
                text("r\"\"\"", "\"\"\"", "string.quoted.triple.raw.bkl", &[]),
                text("\"\"\"", "\"\"\"", "string.quoted.triple.bkl", &["insert"]),
                text("r\"", "\"|$", "string.quoted.double.raw.bkl", &[]),
                text("\"", "\"|$", "string.quoted.double.bkl", &["insert", "escape"]),
            ]},
            "insert": {
                "begin": r"#\{", "end": r"\}",
                "beginCaptures": { "0": { "name": "punctuation.section.embedded.begin.bkl" } },
                "endCaptures": { "0": { "name": "punctuation.section.embedded.end.bkl" } },
                "name": "meta.embedded.bkl",
                "patterns": [{ "include": "#code" }],
            },
            "escape": {
                "match": r#"\\(?:u\{[0-9A-Fa-f]{1,6}\}|.)"#, "name": "constant.character.escape.bkl",
            },
        },
    })
}
