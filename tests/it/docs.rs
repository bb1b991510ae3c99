//! What README, docs and examples say works: programs check, commands are accepted.
//!
//! A fenced block marked `rust` (which colours it) in README.md, docs/language.md or docs/tutorial.md is a whole program; `rust fragment`
//! is an expression over the names of [`AROUND_FRAGMENT`]. Each file's programs find [`UTIL`] beside them. Lines that
//! start with four blanks and `bkl` are commands: run in the folder of their program, up to the first `|` or `>`, with
//! `--list` so that nothing is built; in docs the program is the one above them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bkl::base::SourceMap;
use bkl::base::report::{Style, render};
use bkl::lang::eval::{Answer, Need, Request};
use bkl::lang::examples::{self, Trial as Trying};
use bkl::lang::resolve::stdlib;
use bkl::lang::syntax::ast::{Field, ItemKind, TypeExpr, TypeKind};
use bkl::lang::syntax::{self, PRELUDE_NAME};
use bkl::lang::{ModuleSource, ModuleText};
use libtest_mimic::{Failed, Trial};

/// The names that a fragment may use.
const AROUND_FRAGMENT: &str = "let img = image(\"alpine:3.20\")\nlet src = local(\"src\")\nlet tree = scratch\ntarget fragment = {\n  let result =\n";

/// `util.bkl` of programs in the docs.
const UTIL: &str = "pub fn site(version: str) -> fs { scratch.write(\"/index\", version) }\n";

/// One trial per document and per example.
pub fn trials() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut trials = vec![
        crate::trial("docs::everything_built_in_is_told", everything_built_in_is_told),
        crate::trial("docs::the_table_is_bkl", the_table_is_bkl),
    ];
    for document in ["README.md", "docs/language.md", "docs/tutorial.md"] {
        let path = root.join(document);
        trials.push(Trial::test(format!("docs::{document}"), move || {
            check_document(&path).map_err(Failed::from)
        }));
    }
    let mut examples: Vec<PathBuf> = fs::read_dir(root.join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    examples.sort();
    for example in examples {
        let name = format!("docs::examples/{}", example.file_name().unwrap().to_string_lossy());
        trials.push(Trial::test(name, move || check_example(&example).map_err(Failed::from)));
    }
    trials
}

/// Nothing built in is left out of the reference: every name, argument, field and variant of the prelude is in it.
fn everything_built_in_is_told() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/language.md");
    let text = fs::read_to_string(path).unwrap();
    let told: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let missing: Vec<String> =
        built_in_names().into_iter().filter(|name| !told.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/language.md says nothing of {missing:?}");
}

fn built_in_names() -> BTreeSet<String> {
    let mut sources = SourceMap::default();
    let file = sources.add(PRELUDE_NAME, stdlib::PRELUDE);
    let module = syntax::parse(sources.file(file)).module;
    let mut names = BTreeSet::new();
    let mut fields = |fields: &[Field]| -> Vec<String> {
        fields.iter().map(|field| field.name.text.to_string()).collect()
    };
    for item in &module.items {
        match &item.kind {
            // What an enum is called is never written: its variants are.
            ItemKind::Enum { variants, .. } => names.extend(variants.iter().map(|it| it.text.to_string())),
            ItemKind::Type { name, ty } => {
                names.insert(name.text.to_string());
                if let TypeExpr { kind: TypeKind::Record(record), .. } = ty {
                    names.extend(fields(record));
                }
            }
            ItemKind::Extern(it) => {
                names.insert(it.name.text.to_string());
                names.extend(it.params.as_deref().map(&mut fields).unwrap_or_default());
            }
            other => panic!("the prelude declares {other:?}"),
        }
    }
    names
}

/// Every program of a document checks and has values; its commands are accepted for the program above them.
fn check_document(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("util.bkl"), UTIL).unwrap();
    let programs = programs(&text);
    let Some((_, first)) = programs.first() else { return Err("there is no program in it".to_owned()) };
    for (line, program) in &programs {
        fs::write(temp.path().join("build.bkl"), program).unwrap();
        accepted(&["check"], temp.path()).map_err(|said| format!("the program at line {line}:\n{said}"))?;
        has_values(program).map_err(|said| format!("the program at line {line}:\n{said}"))?;
    }
    for (idx, line) in text.lines().enumerate() {
        let above = programs.iter().rev().find(|(at, _)| *at <= idx);
        let program = above.map_or(first, |(_, program)| program);
        fs::write(temp.path().join("build.bkl"), program).unwrap();
        commands_work(line, temp.path())?;
    }
    Ok(())
}

/// Evaluates a program, with stand-ins for images and for the files that the docs speak of.
fn has_values(program: &str) -> Result<(), String> {
    let mut sources = SourceMap::default();
    let file = sources.add("build.bkl", format!("```bkl\n{program}```\n"));
    let inputs = crate::eval::inputs();
    let answer = |need: &Need| match &need.request {
        Request::Read { .. } => Ok(Answer::Text(r#"{ "name": "x", "version": "1.0.0" }"#.into())),
        _ => Ok(Answer::Paths(vec!["docs/a.md".to_owned()])),
    };
    let trial = Trying { dir: "", subject: None, texts: &Util, inputs: &inputs, answer: &answer };
    let example = examples::of_markdown(sources.file(file)).pop().expect("one block");
    let mut reports = example.run(&mut sources, &trial);
    // What is parsed and checked but not built yet is looked at once it is.
    reports.retain(|report| report.code != "bkl::not_yet");
    let shown: String = reports.iter().map(|report| render(report, &sources, Style::PLAIN)).collect();
    if shown.is_empty() { Ok(()) } else { Err(shown) }
}

struct Util;

impl ModuleSource for Util {
    fn module(&self, path: &str) -> ModuleText {
        match path {
            "util.bkl" => ModuleText::Text { name: path.into(), text: UTIL.into() },
            _ => ModuleText::Missing,
        }
    }
}

/// What the snippets in the table of the tutorial may name.
const AROUND_ROWS: &[(&str, &str)] = &[
    ("src", "let src = local(\".\")"),
    ("img", "let img = image(\"debian:bookworm\")"),
    ("parent", "param parent: ref = \"alpine\""),
    ("base", "let base = image(\"alpine\")"),
    ("build", "let build = image(\"golang\")"),
    ("seed", "let seed = scratch"),
    ("proxy", "let proxy = \"http://proxy.example.com\""),
    ("key", "secret key"),
    ("github", "ssh github"),
];

/// The snippets in the right column of the tutorial's tables are bkl; those with an ellipsis are left out.
fn the_table_is_bkl() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, tables) = text.split_once("## Every instruction").expect("the tutorial ends with tables");
    let mut n_tried = 0;
    for row in tables.lines().filter(|line| line.starts_with("| ")) {
        let row = row.replace("\\|", "\u{1}");
        let right = row.split('|').nth(2).expect("two columns").replace('\u{1}', "|");
        for snippet in right.split('`').skip(1).step_by(2).filter(|snippet| !snippet.contains('…')) {
            let starts = |words: &[&str]| words.iter().any(|word| snippet.starts_with(word));
            let (own, program) = match () {
                () if starts(&["let ", "param ", "fn ", "secret ", "ssh "]) => {
                    let name = snippet.split([' ', ':', '(']).nth(1).unwrap_or_default();
                    (name, snippet.to_owned())
                }
                () if starts(&["target "]) => continue,
                () if starts(&["."]) && snippet.contains('(') => ("", format!("target t = img{snippet}")),
                () if starts(&["run("]) => ("", format!("target t = img.{snippet}")),
                () if starts(&["image(", "git(", "http(", "local(", "scratch."]) => {
                    ("", format!("target t = {snippet}"))
                }
                () if starts(&["mounts:", "secret_env:", "network:", "security:", "devices:"]) => {
                    ("", format!("target t = img.run(\"x\", {snippet})"))
                }
                () => continue,
            };
            let around = AROUND_ROWS.iter().filter(|(name, _)| *name != own).map(|(_, item)| *item);
            let program = format!("{}\n{program}\n", around.collect::<Vec<_>>().join("\n"));
            has_values(&program).unwrap_or_else(|said| panic!("{snippet}\n{said}"));
            n_tried += 1;
        }
    }
    assert!(50 < n_tried, "only {n_tried} snippets were found");
}

/// An example checks, and the commands of its README are accepted.
fn check_example(folder: &Path) -> Result<(), String> {
    accepted(&["check", "build.bkl"], folder)?;
    let readme = folder.join("README.md");
    let text = fs::read_to_string(&readme).map_err(|error| format!("{}: {error}", readme.display()))?;
    commands_work(&text, folder)
}

/// The programs of a document with the line of each one's first line.
fn programs(text: &str) -> Vec<(usize, String)> {
    let mut programs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((idx, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```")).collect();
        let body = body.join("\n") + "\n";
        match info {
            "rust" => programs.push((idx + 2, body)),
            "rust fragment" => programs.push((idx + 2, format!("{AROUND_FRAGMENT}{body}  scratch\n}}\n"))),
            _ => {}
        }
    }
    programs
}

/// Each command's targets exist and its flags are known.
fn commands_work(text: &str, folder: &Path) -> Result<(), String> {
    for line in text.lines() {
        let Some(command) = line.strip_prefix("    ").filter(|line| line.starts_with("bkl ")) else {
            continue;
        };
        // What is said about a command stands behind two blanks.
        let command = command.split("  ").next().unwrap_or(command);
        let command = command.split(['|', '>']).next().unwrap_or(command);
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let in_root = words.iter().any(|word| word.starts_with("examples/"));
        let folder = if in_root { Path::new(env!("CARGO_MANIFEST_DIR")) } else { folder };
        said_to_work(&words, folder).map_err(|said| format!("`{command}`:\n{said}"))?;
    }
    Ok(())
}

fn said_to_work(words: &[&str], folder: &Path) -> Result<(), String> {
    let Some((&verb, rest)) = words.split_first() else { return Err("it has no verb".to_owned()) };
    match verb {
        "build" if !words.contains(&"--llb") => {
            let given: Vec<&str> = words.iter().copied().filter(|word| *word != "--list").collect();
            accepted(&[&given[..], &["--list"]].concat(), folder)?;
        }
        // These would ask registries for configs, or read a definition: only their flags are looked at.
        "lower" | "graph" | "build" => {
            let help = String::from_utf8(bkl(&[verb, "--help"], folder).stdout).unwrap();
            for flag in rest.iter().filter(|word| word.starts_with('-')) {
                let flag = if flag.starts_with("--") { flag } else { &flag[..2] };
                if !help.contains(flag) {
                    return Err(format!("`bkl {verb}` has no `{flag}`"));
                }
            }
        }
        // Makes files: not beside the examples.
        "init" => return accepted(words, tempfile::tempdir().unwrap().path()),
        // The program that is shown has no tests, and its images are where no test goes.
        "test" | "lock" | "update" => return accepted(&["check"], folder),
        // They need what was built, and so the network.
        "why" | "log" => return accepted(&["check"], folder),
        _ => return accepted(words, folder),
    }
    // Flags with a value of their own are not targets.
    let mut targets = Vec::new();
    let mut words = rest.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--list" => {}
            word if word.starts_with("-O") => {}
            word if word.starts_with('-') => drop(words.next()),
            word => targets.push(word),
        }
    }
    accepted(&[&["check"], &targets[..]].concat(), folder)
}

fn accepted(words: &[&str], folder: &Path) -> Result<(), String> {
    let output = bkl(words, folder);
    if output.status.success() {
        return Ok(());
    }
    Err(format!("bkl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
}

fn bkl(words: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bkl"))
        .args(words)
        .current_dir(folder)
        .env_remove("BUILDKIT_PROGRESS")
        .env("BKL_STORE", store())
        .env("NPM_TOKEN", "x")
        .output()
        .unwrap()
}

/// A store for the verbs that want one.
fn store() -> &'static Path {
    static STORE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    STORE.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs-store");
        bkl::store::Store::open(&path, &bkl::store::Options::default()).unwrap();
        path
    })
}
