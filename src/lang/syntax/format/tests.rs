//! The formatter on every program of the repository, and on each with a comment at every token boundary.

#![allow(clippy::disallowed_methods, reason = "the programs of the repository are read from disk")]

use std::fs;
use std::path::{Path, PathBuf};

use super::{FormatError, format, tokens};
use crate::base::SourceMap;
use crate::lang::syntax::PRELUDE_NAME;

/// Formats a text; `None` when it does not parse. Anything the guard finds fails the test.
fn check(name: &str, text: &str) -> Option<String> {
    let mut sources = SourceMap::default();
    let file = sources.add(name, text);
    match format(sources.file(file)) {
        Ok(formatted) => Some(formatted),
        Err(FormatError::Syntax(_)) => None,
        Err(error @ FormatError::Changed { .. }) => panic!("{error}:\n{text}"),
    }
}

/// Every `.bkl` file of the repository, in order of their paths.
fn programs() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> = ["examples", "stdlib", "tests/golden"]
        .map(|it| Path::new(env!("CARGO_MANIFEST_DIR")).join(it))
        .into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "bkl") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn name_of(path: &Path) -> &str {
    if path.ends_with("prelude.bkl") { PRELUDE_NAME } else { path.to_str().unwrap() }
}

#[test]
fn formatting_again_changes_nothing() {
    let mut n_formatted = 0;
    for (path, text) in programs() {
        let Some(once) = check(name_of(&path), &text) else { continue };
        n_formatted += 1;
        let shown = path.to_str().is_some_and(|it| it.contains("/examples/") || it.contains("/stdlib/"));
        assert!(!shown || name_of(&path) == PRELUDE_NAME || once == text, "run `bkl fmt {}`", path.display());
        assert_eq!(check(name_of(&path), &once).as_deref(), Some(&*once), "{}", path.display());
    }
    assert!(100 < n_formatted, "only {n_formatted} programs parse");
}

#[test]
fn comments_stay_everywhere() {
    /// Boundaries from one that is tried to the next; every one takes its turn at some program.
    const STEP: usize = 53;
    const COMMENTS: [&str; 3] = [" // here\n", "\n// here\n", "\n\n// here\n\n"];
    let mut n_tried = 0;
    for (n, (path, text)) in programs().into_iter().enumerate() {
        if path.ends_with("prelude.bkl") {
            continue;
        }
        for token in tokens::tokens(&text).iter().skip(n * 7 % STEP).step_by(STEP) {
            let at = token.range.start;
            let commented = format!("{}{}{}", &text[..at], COMMENTS[n_tried % COMMENTS.len()], &text[at..]);
            n_tried += 1;
            let Some(formatted) = check(name_of(&path), &commented) else { continue };
            assert_eq!(formatted.matches("// here").count(), 1, "{formatted}");
        }
    }
    assert!(100 < n_tried, "only {n_tried} places were tried");
}
