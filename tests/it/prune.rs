//! The store does not grow without end: limits after builds, room on a full disk, prunes beside builds.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::cli::busybox_root;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::trial("prune::limits_hold_after_builds", limits_hold_after_builds),
        crate::trial("prune::a_full_disk_makes_room", a_full_disk_makes_room),
        crate::trial("prune::a_disk_that_stays_full_is_told", a_disk_that_stays_full_is_told),
        crate::trial("prune::builds_beside_prunes", builds_beside_prunes),
        crate::trial("prune::killed_prunes", killed_prunes),
    ]
}

/// A program whose step writes so many megabytes, and a step behind it.
fn program(dir: &Path) {
    busybox_root(&dir.join("busybox"));
    fs::remove_file(dir.join("busybox/bin/dd")).ok();
    std::os::unix::fs::symlink("busybox", dir.join("busybox/bin/dd")).unwrap();
    let text = "//! Steps of a size.\n\nparam name: str = \"a\"\nparam megabytes: int = 1\n\n\
        let base = scratch.copy(local(\"busybox\"), \".\", \"/\").image().with(env: { PATH: \"/bin\" })\n\
        let large = base.run(\"echo #{name} > /name; dd if=/dev/zero of=/large bs=1M count=#{megabytes}\", name: \"large\")\n\n\
        target app = large.run(\"cat /name > /again\", name: \"behind\")\n";
    fs::write(dir.join("build.bkl"), text).unwrap();
}

fn bkl(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bkl"));
    command.args(args).current_dir(dir).env("BKL_STORE", dir.join("store")).env("BKL_GC", "off");
    command.env("NO_COLOR", "1").env_remove("BUILDKIT_PROGRESS").stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn build(dir: &Path, name: &str, megabytes: u32) -> Output {
    let (name, megabytes) = (format!("name={name}"), format!("megabytes={megabytes}"));
    bkl(dir, &["build", "-p", &name, "-p", &megabytes, "--progress", "plain"]).output().unwrap()
}

fn size(dir: &Path) -> u64 {
    let out = Command::new("du").args(["-s", "--block-size=1"]).arg(dir.join("store")).output().unwrap();
    String::from_utf8_lossy(&out.stdout).split_whitespace().next().unwrap().parse().unwrap()
}

fn limits_hold_after_builds() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let limits = "max-used-space=14MB,reserved-space=0,min-free-space=0";
    let built = |name: &str| {
        let name = format!("name={name}");
        let args = ["build", "-p", &name, "-p", "megabytes=4", "--progress", "quiet", "--gc", limits];
        let start = Instant::now();
        let output = bkl(dir, &args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        start.elapsed()
    };
    built("first");
    for n in 0..6 {
        built(&n.to_string());
        // The last collection was long ago.
        if let Ok(lock) = fs::File::open(dir.join("store/gc.lock")) {
            lock.set_modified(std::time::SystemTime::now() - Duration::from_secs(100)).unwrap();
        }
    }
    built("last");
    // Beyond the limit there is at most what the last build made, until the collector was here.
    let start = Instant::now();
    while 14_500_000 < size(dir) {
        assert!(start.elapsed() < Duration::from_secs(30), "{} bytes", size(dir));
        std::thread::sleep(Duration::from_millis(100));
    }
    let again = text(&build(dir, "last", 4));
    assert!(!again.contains("DONE"), "what was used last is there: {again}");
    // Nothing is left of the collector.
    while fs::read_dir(dir.join("store/staging")).unwrap().count() != 0 {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a script where `store` is a disk of its own.
fn with_disk(dir: &Path, megabytes: u32, script: &str) -> String {
    fs::create_dir_all(dir.join("store")).unwrap();
    let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs store && {{ {script}\n}} 2>&1");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &mount])
        .current_dir(dir)
        .env("BKL", env!("CARGO_BIN_EXE_bkl"))
        .env("BKL_STORE", dir.join("store"))
        .env("BKL_GC", "off")
        .env("NO_COLOR", "1")
        .env_remove("BUILDKIT_PROGRESS")
        .output()
        .unwrap();
    text(&output)
}

fn a_full_disk_makes_room() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let said = with_disk(
        dir,
        40,
        "$BKL build -p name=old -p megabytes=22 --progress quiet; echo first $?
        $BKL build -p name=new -p megabytes=22 --progress plain; echo second $?
        $BKL du | grep -c large
        $BKL build -p name=new -p megabytes=22 --progress plain",
    );
    assert!(said.contains("first 0") && said.contains("second 0"), "{said}");
    assert!(said.contains("the disk was full: 2"), "it is said: {said}");
    assert!(said.contains("\n1\n"), "the old one is gone: {said}");
    assert!(said.contains("0 run, 4 cached"), "{said}");
}

fn a_disk_that_stays_full_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let said = with_disk(
        dir,
        30,
        "$BKL build -p name=large -p megabytes=40 --progress quiet; echo first $?
        du -s --block-size=1M store | cut -f 1
        $BKL build -p name=small -p megabytes=1 --progress quiet; echo second $?
        cp /bin/busybox big; mkdir -p many; i=0; while [ $i -lt 30 ]; do cp big many/$i; i=$((i+1)); done
        echo 'target files = scratch.copy(local(\"many\"), \".\", \"/many\")' > files.bkl
        $BKL build files.bkl --progress quiet; echo third $?
        du -s --block-size=1M store | cut -f 1",
    );
    assert!(said.contains("first 1") && said.contains("second 0") && said.contains("third 1"), "{said}");
    assert!(said.contains("No space left on device") && said.contains("is full"), "{said}");
    assert!(said.contains("bkl::no_space") && said.contains("`bkl prune`"), "{said}");
    assert!(said.contains("the store takes"), "{said}");
    // Before the error was printed all that the step had written was gone.
    let sizes: Vec<u64> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|it| *it < 12), "{said}");
}

fn builds_beside_prunes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut n_prunes = 0;
            while start.elapsed() < Duration::from_secs(6) {
                let output = bkl(dir, &["prune", "--all"]).output().unwrap();
                assert!(output.status.success(), "{}", text(&output));
                n_prunes += 1;
            }
            n_prunes
        });
        let builders: Vec<_> = (0..2)
            .map(|n| {
                scope.spawn(move || {
                    let mut n_builds = 0;
                    while start.elapsed() < Duration::from_secs(6) {
                        let output = build(dir, &format!("{n}"), 1);
                        assert!(output.status.success(), "{}", text(&output));
                        n_builds += 1;
                    }
                    n_builds
                })
            })
            .collect();
        assert!(0 < pruner.join().unwrap());
        builders.into_iter().for_each(|it| assert!(0 < it.join().unwrap()));
    });
    let output = bkl(dir, &["prune", "--all"]).output().unwrap();
    assert!(output.status.success());
    assert!(size(dir) < 2_000_000, "{} bytes", size(dir));
}

fn killed_prunes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    for round in 0..8_u64 {
        for n in 0..3 {
            let output = build(dir, &format!("{round} {n}"), 1);
            assert!(output.status.success(), "{}", text(&output));
        }
        let mut child = bkl(dir, &["prune", "--all"]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 + 4 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let output = build(dir, &format!("{round} 2"), 1);
        assert!(output.status.success(), "{}", text(&output));
    }
    let output = bkl(dir, &["prune", "--all"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let output = bkl(dir, &["du", "--format", "json"]).output().unwrap();
    assert!(text(&output).contains("\"records\": []"), "{}", text(&output));
    assert!(size(dir) < 2_000_000, "{} bytes", size(dir));
}
