//! What the example programs lower to: tests/golden/programs/<example>.
//!
//! `lower` holds a target per line with what else `bkl lower` is given; the images are those of `bkl.lock` there, so no
//! registry is asked. `O0.txt` and `O1.txt` are the definitions of both levels, an op's bytes as its JSON in one line
//! per part. `BKL_UPDATE=1` rewrites them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

/// One trial per folder with a file `lower`.
pub(super) fn trials() -> Vec<Trial> {
    let entries = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("lower").is_file()).collect();
    cases.sort();
    // The compilers' images are this machine's: the definitions are those of an amd64 one.
    let elsewhere = super::host() != "linux/amd64";
    let trial = |case: PathBuf| {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        crate::trial(format!("programs::lower::{name}"), move || check(&case, &name))
            .with_ignored_flag(elsewhere)
    };
    cases.into_iter().map(trial).collect()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/programs")
}

fn check(case: &Path, example: &str) {
    let targets = fs::read_to_string(case.join("lower")).unwrap();
    for level in ["-O0", "-O1"] {
        let lowered: String = targets.lines().map(|target| lower(case, example, level, target)).collect();
        let path = case.join(format!("{}.txt", &level[1..]));
        if std::env::var_os("BKL_UPDATE").is_some() {
            fs::write(&path, &lowered).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let differs = expected.lines().zip(lowered.lines()).position(|(a, b)| a != b);
        assert!(
            expected == lowered,
            "{} differs, first in line {:?}",
            path.display(),
            differs.map(|at| at + 1)
        );
    }
}

fn lower(case: &Path, example: &str, level: &str, target: &str) -> String {
    let lock = case.join("bkl.lock");
    let mut args: Vec<&str> = vec!["lower", level, "--emit", "json", "--unique", "fixed"];
    // Without a lock, the example asks for no config.
    if lock.exists() {
        args.extend(["--locked", "--lock", lock.to_str().unwrap()]);
    }
    args.extend(target.split(' '));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
    let no_store = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
        .args(&args)
        .current_dir(folder)
        .env("BKL_STORE", no_store.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "bkl {args:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    let definition: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut text = format!("== bkl lower {level} {target}\n");
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for vertex in definition["vertices"].as_array().unwrap() {
        let digest = vertex["digest"].as_str().unwrap();
        numbers.insert(digest, numbers.len() + 1);
        show(&mut text, vertex, numbers[digest], &numbers, &definition);
    }
    text
}

/// An op: its number, digest, platform and lines of the program; its inputs by their numbers; its parts.
fn show(
    text: &mut String,
    vertex: &Value,
    number: usize,
    numbers: &BTreeMap<&str, usize>,
    definition: &Value,
) {
    let digest = vertex["digest"].as_str().unwrap();
    let op = vertex["op"].as_object().unwrap();
    let _ = write!(text, "{number} {}", &digest[..19]);
    if let Some(platform) = op.get("platform") {
        let part = |key: &str| platform[key].as_str();
        let parts: Vec<&str> = ["OS", "Architecture", "Variant"].into_iter().filter_map(part).collect();
        let _ = write!(text, " {}", parts.join("/"));
    }
    for location in definition["source"]["locations"][digest]["locations"].as_array().into_iter().flatten() {
        let source = location["sourceIndex"].as_u64().unwrap_or_default() as usize;
        let file = definition["source"]["infos"][source]["filename"].as_str().unwrap_or("?");
        let _ = write!(text, " {file}");
        // The library's lines move with its docs.
        if !file.starts_with("std/") {
            let _ = write!(text, ":{}", location["ranges"][0]["start"]["line"]);
        }
    }
    text.push('\n');
    if let Some(inputs) = op.get("inputs") {
        let inputs = inputs.as_array().unwrap().iter().map(|input| {
            let output = input["index"].as_str().unwrap_or("0");
            format!(" {}.{output}", numbers[input["digest"].as_str().unwrap()])
        });
        let _ = writeln!(text, "  inputs{}", inputs.collect::<String>());
    }
    for (key, value) in op {
        if !matches!(key.as_str(), "inputs" | "platform" | "constraints") {
            parts(text, key, value);
        }
    }
    for (key, value) in vertex["metadata"].as_object().into_iter().flatten() {
        if key != "caps" {
            parts(text, key, value);
        }
    }
}

/// Objects, and lists of objects, have a line per entry.
fn parts(text: &mut String, path: &str, value: &Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                parts(text, &format!("{path}.{key}"), value);
            }
        }
        Value::Array(entries) if entries.iter().all(Value::is_object) => {
            for (idx, entry) in entries.iter().enumerate() {
                let _ = writeln!(text, "  {path}[{idx}] {entry}");
            }
        }
        _ => {
            let _ = writeln!(text, "  {path} {value}");
        }
    }
}
