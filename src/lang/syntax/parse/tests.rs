//! Reading whole texts: what parses, what is said when it does not.

use super::parse;
use crate::base::SourceMap;

/// The messages for `text`, one per line.
fn messages(text: &str) -> String {
    let mut sources = SourceMap::default();
    let file = sources.add("t.bkl", text);
    let parsed = parse(sources.file(file));
    let lines: Vec<String> = parsed
        .errors
        .iter()
        .map(|error| {
            let at = sources.locate(error.span());
            format!("{} {error}", at.trim_start_matches("t.bkl:"))
        })
        .collect();
    lines.join("\n")
}

/// Each text with what is said about it.
#[test]
fn messages_are_sentences() {
    for (text, expected) in [
        ("let a = image(\"x\" \"y\")", "1:19 a `,` is missing"),
        ("let a = ", "1:7 expected an expression behind `=`"),
        ("let = 1", "1:5 expected a name, found `=`"),
        ("let a 1", "1:7 a `=` is missing"),
        ("let a = f(1,", "1:10 this `(` is never closed"),
        ("let a = f(b = 1)", "1:13 named arguments use `:`, not `=`"),
        ("let a = f (1)", "1:10 the `(` of a call follows its function directly"),
        ("let a = [1, 2\nlet b = 1", "1:9 this `[` is never closed"),
        ("let a = { a: 1 b: 2 }", "1:16 a `,` is missing"),
        ("let a = if x { 1 }", "1:18 this `if` has no `else`"),
        ("let a = match x { .a = 1 }", "1:22 an arm is written `pattern => value`"),
        ("fn f(a) -> int { a }", "1:7 `a` needs its type"),
        ("fn f(a: int) { a }", "1:14 a function says what it gives"),
        ("fn f(a: int) -> int { }", "1:23 expected an expression, found `}`"),
        ("let a = [for x in xs x]", "1:22 a `:` stands between the loop and what it gives"),
        ("let a = [for x of xs: x]", "1:16 a loop is written `for x in xs`"),
        ("let a = 1;", "1:10 bkl has no semicolons"),
        ("let a = 'x'", "1:9 text is written in double quotes"),
        ("let a = \"x\ntarget b = a", "1:9 this text is not closed"),
        ("let a = \"\\q\"", "1:10 `\\q` is no escape"),
        ("foo", "1:1 expected an item (`let`, `fn`, `param`, `target`, …), found `foo`"),
        ("target x y = 1", "1:10 a `=` is missing"),
        ("import go \"std/go\"", "1:11 `from` stands between name and module"),
        ("param x = 1", "1:9 a param says its type"),
        ("let a = 5x", "1:9 `5x` is no number"),
        ("let a = x.", "1:10 expected a name behind `.`"),
        ("let a = 1 +", "1:11 expected an expression behind `+`"),
        ("let a = (1", "1:9 this `(` is never closed"),
        ("let a = f(x))", "1:13 this `)` closes nothing"),
        ("FROM x\n", "1:1 this is a Dockerfile"),
        ("enum E { a b }", "1:12 a `,` is missing"),
        ("type T = ", "1:8 expected a type behind `=`"),
        ("test \"x\" { 1 == 1 }", "1:12 a test is made of `let`s and `assert`s"),
        ("/// doc", "1:1 this doc comment belongs to nothing"),
        ("let a = fn", ""),
        ("let a = a |> b", "1:14 `|>` needs a call on its right"),
        ("let let = 1", "1:5 `let` is a word of the language and cannot be a name"),
        ("let a = $x", "1:9 `$` belongs to the shell"),
        ("fn f(a: int) -> int { let b = a }", "1:33 expected an expression, found `}`"),
        ("pub", "1:1 expected an item (`let`, `fn`, `param`, `target`, …) behind `pub`"),
        ("let a: [str = 1", "1:13 expected `]`, found `=`"),
    ] {
        assert_eq!(messages(text), expected, "{text:?}");
    }
}

/// The text of the literal behind `let a = `, each `#{…}` shown as `#`.
fn literal(source: &str) -> String {
    use crate::lang::syntax::ast::{ExprKind, ItemKind, TextPart};
    let mut sources = SourceMap::default();
    let file = sources.add("t.bkl", format!("let a = {source}\n"));
    let parsed = parse(sources.file(file));
    assert_eq!(parsed.errors, [], "{source}");
    let ItemKind::Let(decl) = &parsed.module.items[0].kind else { panic!("not a let") };
    let ExprKind::Text(parts) = &decl.value.kind else { panic!("not a text") };
    let shown = parts.iter().map(|part| match part {
        TextPart::Text(text, _) => text.to_string(),
        TextPart::Expr(_) => "#".to_owned(),
    });
    shown.collect()
}

#[test]
fn text_over_several_lines_loses_its_indentation() {
    for (source, expected) in [
        (r#""plain \n\t\"\u{e9}\#{x}""#, "plain \n\t\"é#{x}"),
        (r#"r"verbatim \n #{x}""#, "verbatim \\n #{x}"),
        (r#""""one line""""#, "one line"),
        ("\"\"\"\n    a\n      b\n\n    c\n  \"\"\"", "a\n  b\n\nc\n"),
        ("\"\"\"\n    a\n    b\"\"\"", "a\nb"),
        ("\"\"\"a\n    b\n    c\"\"\"", "a\nb\nc"),
        ("\"\"\"\n    #{1} a\n      #{2}\n    \"\"\"", "# a\n  #\n"),
        ("\"\"\"\r\n  a\r\n  b\r\n\"\"\"", "a\nb\n"),
        ("r\"\"\"\n  \\d+ #{x}\n  \"\"\"", "\\d+ #{x}\n"),
        ("\"\"\"\n\n  a\n\"\"\"", "\na\n"),
        ("\"\"", ""),
    ] {
        assert_eq!(literal(source), expected, "{source:?}");
    }
}

#[test]
fn comments_and_docs_are_kept() {
    let text = "//! About.\n//! More.\n\n/// Doc of a.\nlet a = f(1, // why\n  2) // end\n//// rule\n";
    let mut sources = SourceMap::default();
    let file = sources.add("t.bkl", text);
    let module = parse(sources.file(file)).module;
    assert_eq!(module.doc.as_deref(), Some("About.\nMore."));
    assert_eq!(module.items[0].doc.as_deref(), Some("Doc of a."));
    let source = sources.file(file);
    let comments: Vec<&str> = module.comments.iter().map(|span| source.slice(*span)).collect();
    assert_eq!(comments, ["//! About.", "//! More.", "/// Doc of a.", "// why", "// end", "//// rule"]);
    assert_eq!(source.slice(module.items[0].span), "let a = f(1, // why\n  2)");
}
