//! docs/diagnostics.md has a page for every code, and its programs do what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bkl::base::{Platform, SourceMap};
use bkl::lang::eval;
use bkl::lang::hir::Origin;
use bkl::lang::{Entry, ModuleSource, ModuleText, load_and_check};
use libtest_mimic::Trial;
use regex::Regex;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::trial("explain::every_code_has_a_page", every_code_has_a_page),
        crate::trial("explain::programs_do_what_they_say", programs_do_what_they_say),
    ]
}

/// Codes whose wrong program cannot be written on a page.
const NOT_SHOWN: [&str; 2] = ["too_deep", "remote_local"];

fn pages() -> BTreeMap<String, String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/diagnostics.md")).unwrap();
    let pages = text.split("\n## `bkl::").skip(1);
    pages
        .map(|page| page.split_once("`\n").unwrap())
        .map(|(name, page)| (name.to_owned(), page.to_owned()))
        .collect()
}

/// Codes that the sources below a folder raise, without `bkl::`.
pub(crate) fn codes_raised(folder: &Path) -> BTreeSet<String> {
    let code = Regex::new(r#""bkl::([a-z_]+)""#).unwrap();
    let mut raised = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(path).unwrap();
                raised.extend(code.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
    }
    raised
}

fn every_code_has_a_page() {
    let raised = codes_raised(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let explained: BTreeSet<String> = pages().into_keys().collect();
    let missing: Vec<_> = raised.difference(&explained).collect();
    let stale: Vec<_> = explained.difference(&raised).collect();
    assert!(missing.is_empty(), "codes without a page in docs/diagnostics.md: {missing:?}");
    assert!(stale.is_empty(), "pages about codes that are never raised: {stale:?}");
}

struct Only<'a>(&'a str);

impl ModuleSource for Only<'_> {
    fn module(&self, path: &str) -> ModuleText {
        match path {
            "build.bkl" => ModuleText::Text { name: path.into(), text: self.0.into() },
            _ => ModuleText::Missing,
        }
    }
}

/// Codes of what checking a program says, and of what is wrong when it is evaluated for linux/amd64 without answers
/// from outside.
fn codes(text: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut sources = SourceMap::default();
    let checked =
        load_and_check(&mut sources, Entry { path: "build.bkl", origin: Origin::Root }, &Only(text));
    let found: Vec<_> = checked.reports.iter().map(|report| report.code).collect();
    let evaluated = checked.program.map_or_else(Vec::new, |program| {
        let platform: Platform = "linux/amd64".parse().unwrap();
        let params = eval::Params::read(&program, &mut sources, &[]);
        let outcome = params.and_then(|params| {
            let inputs = eval::Inputs {
                targets: Vec::new(),
                params,
                platform_choice: eval::PlatformChoice::Default,
                confinement: eval::Confinement::default(),
                platforms: vec![platform.clone()],
                build_platform: platform,
                ignore: Vec::new(),
                replacements: BTreeMap::new(),
                answers: BTreeMap::new(),
            };
            eval::evaluate(&program, &sources, &inputs)
        });
        outcome.err().unwrap_or_default().iter().map(|error| error.report().code).collect()
    });
    (found, evaluated)
}

fn programs_do_what_they_say() {
    let fence = Regex::new(r"(?s)```(bkl(?: eval)?)\n(.*?)```").unwrap();
    let mut wrong = Vec::new();
    for (name, page) in pages() {
        let programs: Vec<_> = fence.captures_iter(&page).collect();
        let [bad, good] = programs.as_slice() else {
            assert!(page.contains("```sh"), "{name} has two programs, or two commands");
            continue;
        };
        let expected = format!("bkl::{name}");
        let (found, evaluated) = codes(&bad[2]);
        let evaluates = &bad[1] == "bkl eval";
        let says = if evaluates { &evaluated } else { &found };
        if !says.contains(&expected.as_str()) && !NOT_SHOWN.contains(&name.as_str()) {
            wrong.push(format!("{name}: the wrong program gives {found:?} and {evaluated:?}"));
        }
        let (mut found, evaluated) = codes(&good[2]);
        // The programs show one thing each, and most of them build nothing with it.
        found.retain(|code| *code != "bkl::unused" || name == "unused");
        if !found.is_empty() || (evaluates && !evaluated.is_empty()) {
            wrong.push(format!("{name}: the right program gives {found:?} and {evaluated:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
