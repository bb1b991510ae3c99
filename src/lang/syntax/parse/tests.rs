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

#[test]
fn messages_are_sentences() {
    for (text, expected) in [
        ("let a = image(\"x\" \"y\")", ""),
        ("let a = ", ""),
        ("let = 1", ""),
        ("let a 1", ""),
        ("let a = f(1,", ""),
        ("let a = f(b = 1)", ""),
        ("let a = f (1)", ""),
        ("let a = [1, 2\nlet b = 1", ""),
        ("let a = { a: 1 b: 2 }", ""),
        ("let a = if x { 1 }", ""),
        ("let a = match x { .a = 1 }", ""),
        ("fn f(a) -> int { a }", ""),
        ("fn f(a: int) { a }", ""),
        ("fn f(a: int) -> int { }", ""),
        ("let a = [for x in xs x]", ""),
        ("let a = [for x of xs: x]", ""),
        ("let a = 1;", ""),
        ("let a = 'x'", ""),
        ("let a = \"x\ntarget b = a", ""),
        ("let a = \"\\q\"", ""),
        ("foo", ""),
        ("target x y = 1", ""),
        ("import go \"std/go\"", ""),
        ("param x = 1", ""),
        ("let a = 5x", ""),
        ("let a = x.", ""),
        ("let a = 1 +", ""),
        ("let a = (1", ""),
        ("let a = f(x))", ""),
        ("FROM x\n", ""),
        ("enum E { a b }", ""),
        ("type T = ", ""),
        ("test \"x\" { 1 == 1 }", ""),
        ("/// doc", ""),
        ("let a = fn", ""),
        ("let a = a |> b", ""),
        ("let let = 1", ""),
        ("let a = $x", ""),
        ("fn f(a: int) -> int { let b = a }", ""),
        ("pub", ""),
        ("let a: [str = 1", ""),
    ] {
        println!("{text:?}\n    {}", messages(text));
        let _ = expected;
    }
}
