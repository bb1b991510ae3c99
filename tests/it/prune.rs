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
        crate::trial("prune::what_is_no_store_stays", what_is_no_store_stays),
        crate::trial("prune::what_is_not_ours_stays", what_is_not_ours_stays),
        crate::trial("prune::a_wrong_name_makes_no_store", a_wrong_name_makes_no_store),
        crate::trial("prune::nothing_is_free_at_all", nothing_is_free_at_all),
        crate::trial("prune::two_steps_fill_the_disk", two_steps_fill_the_disk),
        crate::trial("prune::every_byte_is_told", every_byte_is_told),
        crate::trial("prune::a_disk_that_is_only_read", a_disk_that_is_only_read),
        crate::trial("prune::a_disk_without_inodes_makes_room", a_disk_without_inodes_makes_room),
        crate::trial("prune::too_many_files_are_told", too_many_files_are_told),
        crate::trial("prune::not_one_inode_is_free", not_one_inode_is_free),
        crate::trial("prune::nothing_was_held_back", nothing_was_held_back),
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
    with_mounted(dir, &format!("size={megabytes}m"), script)
}

/// The same, of a tmpfs with these options.
fn with_mounted(dir: &Path, options: &str, script: &str) -> String {
    fs::create_dir_all(dir.join("store")).unwrap();
    let mount = format!("mount -t tmpfs -o {options} tmpfs store && {{ {script}\n}} 2>&1");
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
    assert!(build(dir, "first", 1).status.success());
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

/// Files of somebody else, where a store has its own; all of them, sorted.
fn foreign(root: &Path) -> Vec<std::path::PathBuf> {
    let names = [
        "git/mydir/f",
        "cache-mounts/mydir/f",
        "cache-mounts/mydir/0/f",
        "damaged/mydir/f",
        "logs/file",
        "staging/mine/f",
        "staging/file",
        "ingest/file",
        "ingest/my-file",
        "layers/mine/f",
        "content/sha256/f",
        "content/page.md",
        "notes.txt",
    ];
    names.map(|name| root.join(name)).to_vec()
}

fn put_foreign(root: &Path) {
    for path in foreign(root) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
}

fn assert_foreign(root: &Path, what: &str) {
    let gone: Vec<_> = foreign(root).into_iter().filter(|it| !it.is_file()).collect();
    assert!(gone.is_empty(), "{what}: gone are {gone:?}");
}

fn what_is_no_store_stays() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let other = dir.join("other");
    put_foreign(&other);
    let before = fs::read_dir(&other).unwrap().count();
    for args in
        [&["du"] as &[&str], &["prune"], &["prune", "--all"], &["build", "--gc", "max-used-space=1MB"]]
    {
        let output = bkl(dir, args).env("BKL_STORE", &other).output().unwrap();
        let said = text(&output);
        assert_foreign(&other, &args.join(" "));
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("no store") && said.contains("other") && said.contains("help"), "{said}");
    }
    assert_eq!(fs::read_dir(&other).unwrap().count(), before, "nothing was added");
    // The names of our directories alone make no store either.
    fs::remove_file(other.join("notes.txt")).unwrap();
    let output = bkl(dir, &["build"]).env("BKL_STORE", &other).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

fn what_is_not_ours_stays() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    assert!(build(dir, "a", 1).status.success());
    let store = dir.join("store");
    put_foreign(&store);
    fs::write(store.join("cache-mounts/.DS_Store"), "x").unwrap();
    for args in
        [&["du"] as &[&str], &["prune"], &["prune", "--all"], &["prune", "--all", "--max-used-space", "1"]]
    {
        let output = bkl(dir, args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        assert_foreign(&store, &args.join(" "));
    }
    // Where a directory of ours would be.
    fs::remove_dir_all(store.join("git")).unwrap();
    fs::write(store.join("git"), "x").unwrap();
    for args in [&["du"] as &[&str], &["prune", "--all"]] {
        let output = bkl(dir, args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
    }
    assert!(build(dir, "a", 1).status.success());
}

fn a_wrong_name_makes_no_store() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::create_dir(dir.join("empty")).unwrap();
    program(dir);
    let only_ask: [&[&str]; 8] = [
        &["du", "--store", "typo"],
        &["prune", "--store", "typo"],
        &["prune", "--store", "empty"],
        &["log", "--store", "typo"],
        &["log", "0123abcd", "--store", "typo"],
        &["log", "app", "--store", "typo", "-p", "name=a"],
        &["why", "--store", "typo", "-p", "name=a", "-p", "megabytes=1"],
        &["why", "--store", "empty", "-p", "name=a", "-p", "megabytes=1"],
    ];
    for args in only_ask {
        let output = bkl(dir, args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("no store"), "{}", text(&output));
        assert!(!dir.join("typo").exists() && fs::read_dir(dir.join("empty")).unwrap().count() == 0);
    }
}

fn nothing_is_free_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let said = with_disk(
        dir,
        40,
        "for n in 1 2 3; do $BKL build -p name=$n -p megabytes=5 --progress quiet; done; echo built $?
        for round in 1 2; do
          dd if=/dev/zero of=store/fill bs=1k 2> /dev/null
          $BKL prune > pruned; echo pruned $?; tail -n 1 pruned
          $BKL prune --all > pruned; echo all $?
          rm store/fill
          $BKL build -p name=again -p megabytes=5 --progress quiet; echo again $?
        done",
    );
    assert!(said.contains("built 0"), "{said}");
    assert_eq!(said.matches("pruned 0").count(), 2, "{said}");
    assert_eq!(said.matches("all 0").count(), 2, "{said}");
    assert_eq!(said.matches("again 0").count(), 2, "{said}");
    assert!(said.contains("Total: 1") && !said.contains("Total: 0"), "{said}");
}

/// As `with_disk`, of so many inodes.
fn with_inodes(dir: &Path, inodes: u32, script: &str) -> String {
    with_mounted(dir, &format!("size=200m,nr_inodes={inodes}"), script)
}

/// A program with a step that makes so many files, and a copy of a directory.
fn program_of_files(dir: &Path) {
    program(dir);
    let text = "param name: str = \"a\"\nparam files: int = 100\n\n\
        let base = scratch.copy(local(\"busybox\"), \".\", \"/\").image().with(env: { PATH: \"/bin\" })\n\
        let many = base.run(\"echo #{name} > /name; i=0; while [ $i -lt #{files} ]; do true > /f$i || exit 1; i=$((i+1)); done\",\n\
            name: \"many\")\n\n\
        target app = many.run(\"cat /name > /again\", name: \"behind\")\n\
        target copied = scratch.write(\"/name\", name).copy(local(\"many\"), \".\", \"/many\")\n";
    fs::write(dir.join("files.bkl"), text).unwrap();
    fs::create_dir(dir.join("many")).unwrap();
    (0..480).for_each(|n| fs::write(dir.join(format!("many/{n}")), "").unwrap());
}

/// The disk has bytes enough, and no inodes.
fn a_disk_without_inodes_makes_room() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program_of_files(dir);
    let said = with_inodes(
        dir,
        1000,
        "$BKL build files.bkl app -p name=old -p files=500 --progress quiet; echo first $?
        $BKL build files.bkl app -p name=new -p files=500 --progress plain; echo second $?
        $BKL build files.bkl copied -p name=old --progress plain; echo third $?
        $BKL build files.bkl app -p name=large -p files=5000 --progress quiet; echo fourth $?
        $BKL prune > pruned; echo pruned $?; find store | wc -l
        $BKL build files.bkl app -p name=last -p files=500 --progress quiet; echo last $?",
    );
    for done in ["first 0", "second 0", "third 0", "fourth 1", "pruned 0", "last 0"] {
        assert!(said.contains(done), "{done}: {said}");
    }
    assert_eq!(said.matches("and this step runs again").count(), 2, "{said}");
    assert!(said.contains("/store` is full") || said.contains("/store` was full"), "{said}");
    assert_nothing_half_written(&said);
}

/// By the number of files of the store, which stands alone in a line.
fn assert_nothing_half_written(said: &str) {
    let n_left: u32 = said.lines().filter_map(|line| line.trim().parse().ok()).next().unwrap();
    assert!(n_left < 60, "nothing half-written is left: {said}");
}

/// What does not fit in any case is told, with what lacks.
fn too_many_files_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program_of_files(dir);
    let said = with_inodes(
        dir,
        250,
        "$BKL build files.bkl copied --progress quiet; echo copied $?; find store | wc -l
        $BKL build files.bkl app -p files=20 --progress quiet; echo small $?",
    );
    assert!(said.contains("copied 1") && said.contains("small 0"), "{said}");
    assert!(
        said.contains("bkl::no_space") && said.contains("no inode is left on the disk of the store"),
        "{said}"
    );
    assert_nothing_half_written(&said);
}

fn not_one_inode_is_free() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program_of_files(dir);
    let said = with_inodes(
        dir,
        1500,
        "$BKL build files.bkl app -p files=100 --progress quiet; echo built $?
        for round in 1 2; do
          n=0; while touch store/fill$n 2> /dev/null; do n=$((n+1)); done
          $BKL build files.bkl app -p name=x --progress quiet; echo refused $?
          $BKL du > used; echo used $?
          $BKL log files.bkl > kept; echo kept $?
          $BKL prune > pruned; echo pruned $?; tail -n 1 pruned
          rm store/fill*
          $BKL build files.bkl app -p files=100 --progress quiet; echo again $?
        done",
    );
    assert!(said.contains("built 0"), "{said}");
    for done in ["refused 1", "used 0", "kept 0", "pruned 0", "again 0"] {
        assert_eq!(said.matches(done).count(), 2, "{done}: {said}");
    }
    assert!(said.contains("Total: 2") && !said.contains("Total: 0"), "{said}");
}

/// A store that was made before any room was held back: outputs of steps are given up, or it is said what to do.
fn nothing_was_held_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let text = fs::read_to_string(dir.join("build.bkl")).unwrap()
        + "\ntarget loud = base.run(\"echo #{name}; dd if=/dev/zero bs=1k count=700 | od -v | head -c 700000\", name: \"loud\")\n";
    fs::write(dir.join("build.bkl"), text).unwrap();
    std::os::unix::fs::symlink("busybox", dir.join("busybox/bin/od")).unwrap();
    std::os::unix::fs::symlink("busybox", dir.join("busybox/bin/head")).unwrap();
    let script = |target: &str| {
        format!(
            "for n in 1 2 3; do $BKL build {target} -p name=$n -p megabytes=5 --progress quiet; done; echo built $?
            rm store/ballast*; dd if=/dev/zero of=store/fill bs=1k 2> /dev/null
            $BKL prune > pruned; echo pruned $?; tail -n 1 pruned
            rm store/fill
            $BKL prune > pruned; echo then $?"
        )
    };
    let said = with_disk(dir, 40, &script("app loud"));
    assert!(said.contains("built 0") && said.contains("pruned 0") && said.contains("then 0"), "{said}");
    assert!(said.contains("Total: 1"), "{said}");
    let said = with_disk(dir, 40, &script("app"));
    assert!(said.contains("built 0") && said.contains("then 0"), "{said}");
    let is_told =
        said.contains("pruned 1") && said.contains("bkl::no_space") && said.contains("what was held back");
    assert!(is_told || said.contains("pruned 0"), "{said}");
}

fn two_steps_fill_the_disk() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let text = fs::read_to_string(dir.join("build.bkl")).unwrap()
        + "\nlet x = base.run(\"dd if=/dev/zero of=/x bs=1M count=22; echo x > /xx\", name: \"x\")\n\
           let y = base.run(\"dd if=/dev/zero of=/y bs=1M count=22; echo y > /yy\", name: \"y\")\n\
           target both = merge([x, y])\n";
    fs::write(dir.join("build.bkl"), text).unwrap();
    for round in 0..4 {
        let said = with_disk(
            dir,
            60,
            "$BKL build app -p name=old -p megabytes=35 --progress quiet; echo first $?
            $BKL build both --progress plain; echo second $?",
        );
        assert!(said.contains("first 0") && said.contains("second 0"), "{round}: {said}");
        assert!(said.contains("the disk was full") && !said.contains(": 0 MB"), "{round}: {said}");
    }
}

fn every_byte_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    assert!(build(dir, "a", 1).status.success());
    let output = bkl(dir, &["du", "--format", "json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["total"]["bytes"], size(dir));
}

fn a_disk_that_is_only_read() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    program(dir);
    let said = with_disk(
        dir,
        40,
        "$BKL build --progress quiet; echo first $?; mkdir ro; mount -o bind store ro; mount -o remount,ro,bind ro; $BKL du --store ro; echo second $?",
    );
    assert!(said.contains("first 0") && said.contains("second 1"), "{said}");
    assert!(said.contains("is read-only"), "{said}");
}
