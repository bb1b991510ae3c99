//! What README, docs and examples say works: programs check, commands are accepted.
//!
//! A fenced block marked `rust` (which colours it) in README.md or docs/language.md is a whole program; `rust fragment`
//! is an expression over the names of [`AROUND_FRAGMENT`]. Each file's programs find [`UTIL`] beside them. Lines that
//! start with four blanks and `bkl` are commands: run in the folder of their program, up to the first `|` or `>`, with
//! `--list` so that nothing is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};

/// The names that a fragment may use.
const AROUND_FRAGMENT: &str = "let img = image(\"alpine:3.20\")\nlet src = local(\"src\")\nlet tree = scratch\ntarget fragment = {\n  let result =\n";

/// `util.bkl` of programs in the docs.
const UTIL: &str = "pub fn site(version: str) -> fs { scratch.write(\"/index\", version) }\n";

/// One trial per document and per example.
pub fn trials() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut trials = Vec::new();
    for document in ["README.md", "docs/language.md"] {
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

/// Every program of a document checks; its commands are accepted for the first one.
fn check_document(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("util.bkl"), UTIL).unwrap();
    let programs = programs(&text);
    if programs.is_empty() {
        return Err("there is no program in it".to_owned());
    }
    for (line, program) in &programs {
        fs::write(temp.path().join("build.bkl"), program).unwrap();
        accepted(&["check"], temp.path()).map_err(|said| format!("the program at line {line}:\n{said}"))?;
    }
    fs::write(temp.path().join("build.bkl"), &programs[0].1).unwrap();
    commands_work(&text, temp.path())
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
        "build" => {
            let given: Vec<&str> = words.iter().copied().filter(|word| *word != "--list").collect();
            accepted(&[&given[..], &["--list"]].concat(), folder)?;
        }
        "lower" => {
            let help = String::from_utf8(bkl(&["lower", "--help"], folder).stdout).unwrap();
            for flag in rest.iter().filter(|word| word.starts_with('-')) {
                let flag = if flag.starts_with("--") { flag } else { &flag[..2] };
                if !help.contains(flag) {
                    return Err(format!("`bkl lower` has no `{flag}`"));
                }
            }
        }
        // Makes files: not beside the examples.
        "init" => return accepted(words, tempfile::tempdir().unwrap().path()),
        // The program that is shown has no tests.
        "test" => return accepted(&["check"], folder),
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
        .output()
        .unwrap()
}
