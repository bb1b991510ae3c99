//! Broken programs: whatever is done to a text, it is checked or answered, and nothing panics.

use std::fs;
use std::path::Path;

use bkl::base::{SourceMap, report};
use bkl::lang::hir::Origin;
use bkl::lang::{Entry, ModuleSource, ModuleText, load_and_check};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::trial("fuzz::mutated_programs", mutated_programs),
        crate::trial("fuzz::deep_programs", deep_programs),
        crate::trial("fuzz::long_programs", long_programs),
    ]
}

/// One module, which also every import gives.
struct Always<'a>(&'a str);

impl ModuleSource for Always<'_> {
    fn module(&self, path: &str) -> ModuleText {
        match path {
            "build.bkl" => ModuleText::Text { name: path.into(), text: self.0.into() },
            _ => ModuleText::Missing,
        }
    }
}

/// Checks a text and draws every report; gives the messages of the errors.
fn check(text: &str) -> Vec<String> {
    let mut sources = SourceMap::default();
    let checked =
        load_and_check(&mut sources, Entry { path: "build.bkl", origin: Origin::Root }, &Always(text));
    for it in &checked.reports {
        assert!(!report::render(it, &sources, report::Style::PLAIN).is_empty());
        for label in &it.labels {
            let file = sources.file(label.span.file);
            assert!(
                label.span.start <= label.span.end && label.span.end as usize <= file.text.len(),
                "{it:?}"
            );
            assert!(file.text.is_char_boundary(label.span.start as usize), "{it:?}");
            assert!(file.text.is_char_boundary(label.span.end as usize), "{it:?}");
        }
    }
    assert_eq!(
        checked.program.is_some(),
        checked.reports.iter().all(|it| it.severity < bkl::base::Severity::Error)
    );
    let errors = checked.reports.iter().filter(|it| it.severity == bkl::base::Severity::Error);
    errors.map(|it| it.message.clone()).collect()
}

/// The same numbers in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % n.max(1) as u64) as usize
    }
}

/// What is put into texts.
const SNIPPETS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\"\"\"",
    "#{",
    "r\"",
    "//",
    "///",
    ",",
    ":",
    "=",
    "=>",
    "->",
    ".",
    "...",
    "|>",
    "??",
    "?",
    "-",
    "!",
    "\n",
    "\\",
    "let",
    "fn",
    "if",
    "else",
    "match",
    "for",
    "in",
    "on",
    "fold",
    "none",
    "some(x)",
    "_",
    ".run(\"x\")",
    "é",
    "\u{1F980}",
    "\r\n",
    "0o7",
    "9999999999999999999",
    "12x",
    "target ",
    "\u{FEFF}",
    "true",
    "import ",
];

fn mutated_programs() {
    let mut numbers = Numbers(1);
    for seed in seeds() {
        let rounds = if cfg!(debug_assertions) { 25 } else { 400 };
        for _ in 0..rounds {
            let mut text = seed.clone();
            for _ in 0..=numbers.below(4) {
                mutate(&mut text, &mut numbers);
            }
            check(&text);
        }
    }
}

fn seeds() -> Vec<String> {
    let mut seeds = Vec::new();
    for area in ["check", "diagnostics"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(area);
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let programs = paths.iter().filter(|path| path.extension().is_some_and(|it| it == "bkl"));
        seeds.extend(programs.map(|path| fs::read_to_string(path).unwrap()));
    }
    seeds
}

/// Removes, doubles or inserts something at a random place.
fn mutate(text: &mut String, numbers: &mut Numbers) {
    let mut place = |text: &str| {
        let mut at = numbers.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (a, b) = (place(text), place(text));
    let (start, end) = (a.min(b), a.max(b).min(a.min(b) + 40));
    let end = (end..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(text.len());
    match numbers.below(4) {
        0 => text.replace_range(start..end, ""),
        1 => {
            let doubled = text[start..end].to_owned();
            text.insert_str(start, &doubled);
        }
        2 => text.insert_str(start, SNIPPETS[numbers.below(SNIPPETS.len())]),
        _ => text.truncate(start),
    }
}

/// Nesting far beyond all sense is answered, not crashed on.
fn deep_programs() {
    let deep = |open: &str, inner: &str, close: &str, n: usize| {
        format!("let a = {}{inner}{}\n", open.repeat(n), close.repeat(n))
    };
    for n in [90, 20_000] {
        for (open, inner, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{ a: ", "1", " }"),
            ("\"#{", "1", "}\""),
            ("if true { ", "1", " } else { 2 }"),
            ("merge([", "scratch", "])"),
            ("match none { none => ", "1", ", _ => 2 }"),
            ("[for x in [1]: ", "x", "]"),
        ] {
            let messages = check(&deep(open, inner, close, n));
            assert_eq!(!messages.is_empty(), n == 20_000, "{open} {n}: {messages:?}");
        }
    }
    let types = format!("let a: {}int{} = none\n", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(check(&types), ["this is nested too deeply"]);
    for unclosed in ["(", "[", "{", "\"#{"] {
        assert!(!check(&unclosed.repeat(20_000)).is_empty());
    }
}

/// Chains are levels, too: many are fine, too many are answered.
fn long_programs() {
    let chain = |n: usize| format!("target a = image(\"alpine\"){}\n", ".run(\"true\")".repeat(n));
    assert_eq!(check(&chain(900)), Vec::<String>::new());
    assert_eq!(check(&chain(20_000)), ["this is nested too deeply"]);
    for (first, more) in
        [("1", " + 1"), ("true", " && true"), ("none", " ?? none"), ("scratch", "\n.at(\"/x\")")]
    {
        assert_eq!(check(&format!("let a = {first}{}\n", more.repeat(900))), Vec::<String>::new(), "{more}");
        assert_eq!(
            check(&format!("let a = {first}{}\n", more.repeat(20_000))),
            ["this is nested too deeply"]
        );
    }
    assert_eq!(check(&format!("let a = {}1\n", "-".repeat(20_000))), ["this is nested too deeply"]);
    let branches = |n: usize| format!("let a = {}{{ 0 }}\n", "if true { 1 } else ".repeat(n));
    assert_eq!(check(&branches(900)), Vec::<String>::new());
    assert_eq!(check(&branches(20_000)), ["this is nested too deeply"]);
    // Lets that need the next one are inferred one inside the other.
    let lets: String = (0..5_000).map(|n| format!("let a{n} = a{}\n", n + 1)).collect();
    assert_eq!(check(&(lets + "let a5000 = 1\n")), Vec::<String>::new());
}
