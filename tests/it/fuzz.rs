//! Broken inputs: whatever is done to a text or a definition, it is read or answered, and nothing panics.
//!
//! What must hold stands in fuzz/src/lib.rs, which libFuzzer runs, too. Here the goldens are mutated, the same way in every
//! run: `BKL_FUZZ_ROUNDS=1000` does more to each, `BKL_FUZZ_SEED=7` does something else.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use libtest_mimic::Trial;

use crate::numbers::Numbers;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

pub(crate) fn trials() -> Vec<Trial> {
    type Target = fn(&[u8]);
    let mutated = |name: &str, target: Target, rounds: usize, seeds: fn() -> Vec<Vec<u8>>| {
        crate::trial(format!("fuzz::{name}"), move || mutated(target, rounds, &seeds()))
    };
    vec![
        mutated("parser", targets::parser, 10, programs),
        mutated("formatter", targets::formatter, 3, programs),
        mutated("checker", |data| drop(targets::checker(data)), 10, programs),
        mutated("evaluator", targets::evaluator, 4, programs),
        mutated("llb_decode", targets::llb_decode, 20, definitions),
        mutated("cache_config", targets::cache_config, 200, caches),
        mutated("graph_text", targets::graph_text, 20, graphs),
        crate::trial("fuzz::deep_programs", deep_programs),
        crate::trial("fuzz::long_programs", long_programs),
    ]
}

/// The messages of a program.
fn check(text: &str) -> Vec<String> {
    targets::checker(text.as_bytes())
}

/// Runs the target on each seed and on what becomes of it. What panics is kept in a file.
fn mutated(target: fn(&[u8]), rounds: usize, seeds: &[Vec<u8>]) {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let rounds = from_env("BKL_FUZZ_ROUNDS").unwrap_or(rounds);
    let mut numbers = Numbers(from_env("BKL_FUZZ_SEED").unwrap_or(1) as u64);
    assert!(!seeds.is_empty());
    for seed in seeds {
        target(seed);
        for _ in 0..rounds {
            let mut data = seed.clone();
            for _ in 0..=numbers.below(4) {
                match String::from_utf8(data) {
                    Ok(mut text) => {
                        mutate(&mut text, &mut numbers);
                        data = text.into_bytes();
                    }
                    Err(bytes) => {
                        data = bytes.into_bytes();
                        mutate_bytes(&mut data, seeds, &mut numbers);
                    }
                }
            }
            // What it says is printed where it panics.
            if panic::catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
                let path = std::env::temp_dir().join(format!("bkl-fuzz-{}", std::process::id()));
                fs::write(&path, &data).unwrap();
                panic!("the input is in {}", path.display());
            }
        }
    }
}

/// The files of the folders below tests/golden with this extension.
fn goldens(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let folders: Vec<String> = folders.iter().map(|it| format!("tests/golden/{it}")).collect();
    crate::files_below(&folders.iter().map(String::as_str).collect::<Vec<_>>(), extension)
}

/// Configs with something of everything.
fn caches() -> Vec<Vec<u8>> {
    let digest = |name: &str| bkl::base::Digest::of(name).to_string();
    let (a, b, c) = (digest("a"), digest("b"), digest("c"));
    let time = "2026-01-02T03:04:05.678Z";
    let texts = [
        format!(
            r#"{{"layers":[{{"blob":"{a}","parent":-1}},{{"blob":"{b}"}}],"records":[{{"layers":[{{"layer":1,"createdAt":"{time}"}}],"digest":"{c}","inputs":[[{{"selector":"{a}","link":1}},{{"link":2}}]]}},{{"digest":"{a}"}},{{"digest":"{b}"}}]}}"#
        ),
        format!(
            r#"{{"layers":[{{"blob":"{a}","parent":-1}}],"records":[{{"chains":[{{"layers":[0],"createdAt":"{time}"}}],"digest":"{a}","inputs":null}}]}}"#
        ),
    ];
    texts.map(String::into_bytes).to_vec()
}

fn programs() -> Vec<Vec<u8>> {
    let files = goldens(&["check", "diagnostics", "format", "eval"], "bkl");
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn definitions() -> Vec<Vec<u8>> {
    goldens(&["llb"], "pb").iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Both graphs of each case.
fn graphs() -> Vec<Vec<u8>> {
    let texts = goldens(&["passes"], "txt").into_iter().map(|path| fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| text.split("----\n").take(2).map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>())
        .collect()
}

/// Changes, removes, inserts or takes over bytes at a random place.
fn mutate_bytes(data: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let start = numbers.below(data.len() + 1);
    let end = (start + numbers.below(20)).min(data.len());
    match numbers.below(5) {
        0 if start < data.len() => data[start] ^= 1 << numbers.below(8),
        1 if start < data.len() => data[start] = *numbers.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        2 => drop(data.drain(start..end)),
        3 => {
            let other = numbers.pick(seeds);
            let from = numbers.below(other.len() + 1);
            let to = (from + numbers.below(20)).min(other.len());
            data.splice(start..start, other[from..to].iter().copied());
        }
        _ => {
            let doubled = data[start..end].to_vec();
            data.splice(start..start, doubled);
        }
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
