//! `bkl build --shell-on-failure` on a terminal that a small program pretends to be. Needs root, overlayfs and python3.

use std::fs;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::cli::busybox_root;

pub fn trials() -> Vec<Trial> {
    vec![
        crate::trial("shell::root::looks_where_it_failed", looks_where_it_failed),
        crate::trial("shell::root::there_is_none", there_is_none),
        crate::trial("shell::root::is_opened_behind_the_output", is_opened_behind_the_output),
        crate::trial("shell::root::stays_while_others_fail", stays_while_others_fail),
    ]
}

/// Runs the words behind it on a terminal; types each line of stdin once the program has said that a shell is there,
/// and prints all that it says, then its exit code.
const TYPIST: &str = r#"
import os, pty, select, sys, time
typed = sys.stdin.read().encode()
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
said, end = b"", time.time() + 120
while time.time() < end:
    if select.select([fd], [], [], 0.2)[0]:
        try:
            said += os.read(fd, 4096)
        except OSError:
            break
    elif typed and b"leave it to end" in said:
        os.write(fd, typed)
        typed = b""
_, status = os.waitpid(pid, 0)
print(said.decode(), "exit code", os.waitstatus_to_exitcode(status))
"#;

fn looks_where_it_failed() {
    let said = on_terminal(
        "let src = local(\"src\")
         target app = base.run(\"echo half > /out/part; echo x >> /here; cat nothing\", workdir: \"/work\", env: { WORD: \"mild\" },
           user: \"nobody\", network: .none, mounts: [ro(src, \"/src\"), cache(\"/c\")], outs: { bin: out(\"/out\") })",
        "echo \"in $PWD $WORD $(id -u) $TERM\"; cat /src/file; ls /out; tty > /dev/null && echo terminal; exit 5\n",
    );
    for expected in
        ["`/bin/sh` is started where it failed", "in /work mild 65534 vt100", "from the host", "exit code 1"]
    {
        assert!(said.contains(expected), "`{expected}` is missing in:\n{said}");
    }
    assert!(said.contains("ended with"), "the build fails as it would have:\n{said}");
}

fn there_is_none() {
    let said = on_terminal(
        "target app = scratch.copy(local(\"src\"), \"file\", \"/\").image().exec(\"/nothing\")",
        "",
    );
    assert!(said.contains("bkl::no_shell") && said.contains("exit code 1"), "{said}");
}

/// What was written before is on the terminal before the shell is, also a line that nobody ended.
fn is_opened_behind_the_output() {
    let said = on_terminal(
        "target app = base.run(\"seq 1 100000; printf 'the last %s' words; exit 1\", name: \"loud\")",
        "exit\n",
    );
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("`{text}` is missing"));
    assert!(at(" 99999\r\n") < at(" the last words\r\n"), "the last line is unfinished");
    assert!(at(" the last words\r\n") < at("is started where it failed"), "the shell is too early");
    assert_eq!(said.matches("the last words").count(), 2, "once, and once in the report");
}

/// Nothing ends the shell but who typed there, nothing begins while it is open, and what failed first is told first.
fn stays_while_others_fail() {
    let said = on_terminal(
        "target app = {
           early: base.run(\"echo first; exit 1\", name: \"early\"),
           late: base.run(\"sleep 2; exit 2\", name: \"late\"),
           next: base.run(\"sleep 1\", name: \"slow\").run(\"echo $((40 + 2)) began\", name: \"next\"),
         }",
        "sleep 3; echo still $((1 + 1)) here; exit\n",
    );
    assert!(said.contains("still 2 here"), "the shell is ended by `late`:\n{said}");
    assert!(!said.contains("42 began"), "`next` begins while the shell is open:\n{said}");
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("`{text}` is missing in:\n{said}"));
    assert!(at("`early` ended with 1") < at("`late` ended with 2"), "{said}");
    assert!(said.contains("exit code 1"), "{said}");
}

/// What a build of `program` says on a terminal on which `typed` is typed.
fn on_terminal(program: &str, typed: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    busybox_root(&temp.path().join("busybox"));
    fs::create_dir(temp.path().join("src")).unwrap();
    fs::write(temp.path().join("src/file"), "from the host\n").unwrap();
    let base =
        "let base = scratch.copy(local(\"busybox\"), \".\", \"/\").image().with(env: { PATH: \"/bin\" })\n";
    fs::write(temp.path().join("build.bkl"), format!("{base}{program}")).unwrap();
    fs::write(temp.path().join("typed"), typed).unwrap();
    let output = Command::new("python3")
        .args(["-c", TYPIST, env!("CARGO_BIN_EXE_bkl"), "build", "app", "--shell-on-failure", "--jobs", "4"])
        .current_dir(temp.path())
        .env("BKL_STORE", temp.path().join("store"))
        .env("NO_COLOR", "1")
        .env("TERM", "vt100")
        .stdin(Stdio::from(fs::File::open(temp.path().join("typed")).unwrap()))
        .output()
        .expect("python3 is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&temp.path().display().to_string()), "mounts are left:\n{mounts}");
    let staging = fs::read_dir(temp.path().join("store/staging")).unwrap().flatten();
    let left: Vec<_> = staging.map(|it| it.path()).filter(|it| !it.ends_with("guard")).collect();
    assert!(left.is_empty(), "left in staging: {left:?}");
    said
}
