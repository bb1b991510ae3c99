//! `bkl why` on mutations of a program: tests/golden/why. All cases share one trial, for they share one folder, whose
//! path is part of the history.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use regex::Regex;

use crate::cli::busybox_root;

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("why::root::mutations", mutations)]
}

/// A mutation and the question about it.
#[derive(Default)]
struct Case {
    name: String,
    commands: Vec<String>,
    question: String,
    answer: String,
}

fn mutations() -> Result<(), Failed> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/why");
    let path = golden.join("cases.txt");
    let text = fs::read_to_string(&path).unwrap();
    let (head, cases) = read(&text);
    let temp = tempfile::tempdir().unwrap();
    let place = Place { root: temp.path().to_owned() };
    place.prepare(&golden.join("project"));
    let (mut written, mut failed) = (head, Vec::new());
    for case in &cases {
        place.reset();
        for command in &case.commands {
            let (said, ok) = place.run(command);
            assert!(ok, "{}: `{command}` failed:\n{said}", case.name);
        }
        let (answer, _) = place.run(&format!("bkl {}", case.question));
        let answer = clean(&answer, &place.root);
        if answer != case.answer {
            failed.push(format!("== {}\nexpected:\n{}found:\n{answer}", case.name, case.answer));
        }
        let _ = writeln!(written, "== {}", case.name);
        case.commands.iter().for_each(|command| written += &format!("$ {command}\n"));
        let _ = writeln!(written, "? {}\n{answer}", case.question);
    }
    assert!(40 <= cases.len(), "there are only {} cases", cases.len());
    if std::env::var_os("BKL_UPDATE").is_some() {
        fs::write(&path, written.trim_end().to_owned() + "\n").unwrap();
        return Ok(());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

/// What stands before the first case, and the cases.
fn read(text: &str) -> (String, Vec<Case>) {
    let mut parts = text.split("\n== ");
    let head = parts.next().unwrap_or_default().to_owned() + "\n";
    let cases = parts.map(|part| {
        let mut case = Case::default();
        for (idx, line) in part.lines().enumerate() {
            match (line.strip_prefix("$ "), line.strip_prefix("? ")) {
                _ if idx == 0 => line.clone_into(&mut case.name),
                (Some(command), _) => case.commands.push(command.to_owned()),
                (_, Some(question)) => question.clone_into(&mut case.question),
                _ if line.is_empty() => {}
                _ => case.answer += &format!("{line}\n"),
            }
        }
        case
    });
    (head, cases.collect())
}

/// The folder of the program and its store, and a copy of both as they were after the first build.
struct Place {
    root: PathBuf,
}

impl Place {
    fn prepare(&self, project: &Path) {
        let (said, ok) = self.sh(&format!("mkdir kept; cp -r '{}' kept/project", project.display()));
        assert!(ok, "{said}");
        busybox_root(&self.root.join("kept/project/busybox"));
        self.reset();
        for command in [
            "bkl build base.bkl base -o type=oci,tar=false,dest=layout --progress quiet",
            "bkl build app all --progress quiet",
        ] {
            let (said, ok) = self.run(command);
            assert!(ok, "`{command}` failed:\n{said}");
        }
        let (said, ok) = self.sh("rm -r kept && mkdir kept && cp -a project store kept/");
        assert!(ok, "{said}");
    }

    fn reset(&self) {
        let (said, ok) = self.sh("rm -rf project; until rm -rf store; do sleep 0.1; done; cp -a kept/. .");
        assert!(ok, "{said}");
    }

    fn run(&self, command: &str) -> (String, bool) {
        self.sh(&format!("cd project; {command}"))
    }

    fn sh(&self, command: &str) -> (String, bool) {
        let bin = Path::new(env!("CARGO_BIN_EXE_bkl")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(&self.root)
            .env("PATH", path)
            .env("BKL_STORE", self.root.join("store"))
            // The store is removed and put back: nobody is to work on it meanwhile.
            .env("BKL_GC", "off")
            .env("NO_COLOR", "1")
            .env_remove("BUILDKIT_PROGRESS")
            .output()
            .unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
    }
}

fn clean(text: &str, root: &Path) -> String {
    let text = text.replace(&root.display().to_string(), "[ROOT]");
    let rules = [
        (r"\b\d{4}-\d\d-\d\dT[0-9:.]+Z", "[TIME]"),
        (r"sha256:[0-9a-f]{64}", "[DIGEST]"),
        (r"\b[0-9a-f]{12}\b", "[SHORT]"),
        (r"(?m)^\n", ""),
    ];
    rules
        .iter()
        .fold(text, |text, (pattern, by)| Regex::new(pattern).unwrap().replace_all(&text, *by).into_owned())
}
