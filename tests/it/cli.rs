//! The command line as people use it: sessions of commands with what they print, under tests/golden/cli.
//!
//! A case is a folder. Its `session.txt` holds command lines behind `$ `, each followed by what it prints (stdout and
//! stderr together) and, when it is not 0, by `? <exit code>`. The folder is copied to a temporary one for each run,
//! beside a folder `busybox` with a root file system when the session says `# needs busybox`, and a copy of the examples
//! when it says `# needs examples`. With `# needs sources`, `$SERVER` is a server of what is in `www` (see
//! `sources/server.rs`). Times, digests, the server and the temporary path are replaced by `[TIME]`, `[DIGEST]`,
//! `[SERVER]` and `[ROOT]` before comparing. `BKL_UPDATE=1` rewrites.
//! Sessions that build need root and overlayfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use regex::Regex;

use crate::sources::server::{IDENTITY, Server};

/// One trial per folder of tests/golden/cli.
pub fn trials() -> Vec<Trial> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli");
    let mut folders: Vec<PathBuf> = fs::read_dir(&cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
        .into_iter()
        .map(|case| {
            let name = format!("cli::{}", case.file_name().unwrap().to_string_lossy());
            Trial::test(name, move || check(&case))
        })
        .collect()
}

fn check(case: &Path) -> Result<(), Failed> {
    let path = case.join("session.txt");
    let session = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("case");
    copy_folder(case, &root);
    if session.contains("# needs busybox") {
        busybox_root(&root.join("busybox"));
    }
    if session.contains("# needs examples") {
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), &root.join("examples"));
    }
    let server = session.contains("# needs sources").then(|| Server::start(&root.join("www")));
    let url = server.as_ref().map_or("", |server| &server.url);
    let mut printed = String::new();
    for line in session.lines() {
        if line.starts_with("# ") {
            printed += &format!("{line}\n");
        } else if let Some(command) = line.strip_prefix("$ ") {
            printed += &format!("{line}\n{}", run(command, &root, temp.path(), url));
        }
    }
    if std::env::var_os("BKL_UPDATE").is_some() {
        fs::write(&path, printed).unwrap();
        return Ok(());
    }
    let expected: String =
        session.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    let found: String =
        printed.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    if expected == found { Ok(()) } else { Err(difference(&expected, &found).into()) }
}

/// What `command` prints, cleaned of what differs between runs, and its exit code when it is not 0.
fn run(command: &str, root: &Path, temp: &Path, server: &str) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_bkl")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(root)
        .env("PATH", path)
        .env("BKL_STORE", temp.join("store"))
        .env("NO_COLOR", "1")
        // It would come when the session is over, or between two commands.
        .env("BKL_GC", "off")
        .env("SERVER", server)
        .envs(IDENTITY)
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("BUILDKIT_PROGRESS")
        .output()
        .unwrap();
    let mut text = clean(&String::from_utf8_lossy(&output.stdout), root);
    if !server.is_empty() {
        text = text.replace(server, "[SERVER]");
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    match output.status.code() {
        Some(0) => text,
        code => format!("{text}? {}\n", code.map_or("signal".to_owned(), |code| code.to_string())),
    }
}

fn clean(text: &str, root: &Path) -> String {
    let text = text.replace(&root.display().to_string(), "[ROOT]");
    let text = text.replace(&root.parent().unwrap().display().to_string(), "[TEMP]");
    let rules = [
        (r"sha256:[0-9a-f]{64}", "[DIGEST]"),
        (r"\b[0-9a-f]{64}\b", "[HEX]"),
        (r"\b\d+\.\d+s\b", "[TIME]"),
        (r"(?m)^#(\d+) \d+\.\d{3} ", "#$1 [AT] "),
    ];
    rules
        .iter()
        .fold(text, |text, (pattern, by)| Regex::new(pattern).unwrap().replace_all(&text, *by).into_owned())
}

fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let at = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let part =
        |lines: &[&str]| lines.iter().skip(at).take(25).map(|line| format!("  {line}\n")).collect::<String>();
    format!("differs from line {} on\nexpected:\n{}found:\n{}", at + 1, part(&expected), part(&found))
}

/// A root file system of one static binary and its names.
pub fn busybox_root(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    for name in [
        "sh", "true", "false", "cat", "ls", "cp", "mkdir", "echo", "sleep", "touch", "rm", "id", "env", "seq",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
}

/// Copies files and folders.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
