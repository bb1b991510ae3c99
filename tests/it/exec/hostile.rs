//! Trees, users and neighbours that mean harm: one trial for each class of attack in the history of container runtimes.

use std::os::unix::fs::FileExt;

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("system_directories_that_are_none", system_directories_that_are_none),
        ("a_raced_cache_reaches_no_kernel_file", a_raced_cache_reaches_no_kernel_file),
        ("a_raced_part_of_a_cache_stays_in_it", a_raced_part_of_a_cache_stays_in_it),
        ("the_first_process_is_no_way_to_the_program", the_first_process_is_no_way_to_the_program),
        ("odd_users", odd_users),
        ("odd_user_files", odd_user_files),
        ("working_directories_behind_links", working_directories_behind_links),
        ("a_fork_bomb_is_bounded", a_fork_bomb_is_bounded),
        ("processes_are_limited_by_default", processes_are_limited_by_default),
        ("a_killed_helper_leaves_no_group_below_a_parent", a_killed_helper_leaves_no_group_below_a_parent),
        ("a_mount_point_that_vanishes", a_mount_point_that_vanishes),
    ]
}

fn refused(tree: &Tree) -> String {
    try_run(script(tree, "true")).err().map_or_else(String::new, |it| it.to_string())
}

/// runc CVE-2026-41579 and its like: what is mounted on is looked at without following anything.
fn system_directories_that_are_none() {
    let expected = |dir: &str| {
        format!("cannot set up the command: `/{dir}` of the tree is no directory: refusing to mount on it")
    };
    for dir in ["dev", "proc", "sys"] {
        let tree = Tree::new();
        tree.write(dir, "a file");
        assert_eq!(refused(&tree), expected(dir));
        for target in ["../../../../etc", "/proc/self/root/etc", "tmp", "nowhere"] {
            let tree = Tree::new();
            symlink(target, tree.join(dir)).unwrap();
            assert_eq!(refused(&tree), expected(dir), "{target}");
        }
    }
    let tree = Tree::new();
    fs::create_dir(tree.join("dev")).unwrap();
    symlink("/tmp", tree.join("dev/pts")).unwrap();
    assert_eq!(refused(&tree), expected("dev/pts"));
    assert_eq!(fs::read_dir(tree.join("tmp")).unwrap().count(), 0);
}

/// runc CVE-2025-31133, CVE-2025-52565, GHSA-3q8j-pf29-vwv8: one command swaps what another one's mounts may go by.
fn a_raced_cache_reaches_no_kernel_file() {
    let (tree, racer) = (Tree::new(), Tree::new());
    let cache = TempDir::new_in("/var/tmp").unwrap();
    let core_pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    fs::create_dir(tree.join("dev")).unwrap();
    symlink("/dev", tree.join("to-dev")).unwrap();
    let shared = |dest: &str| {
        let source = MountSource::Dir { path: cache.path().into(), selector: String::new() };
        mount(dest, source, Access::ReadWrite)
    };
    let mut swap = script(
        &racer,
        "cd /cache; while :; do for f in null keys zero; do ln -sf /proc/sys/kernel/core_pattern $f; rm $f; \
         : > $f; rm $f; mkdir $f; rm -r $f; done; done",
    );
    swap.mounts = vec![shared("/cache")];
    // libcontainer takes a multiple of the time.
    let n_starts = if KIND.get() == RunnerKind::Direct { 500 } else { 120 };
    let n_protected = ["bus", "fs", "irq", "sys", "sysrq-trigger"]
        .iter()
        .filter(|it| Path::new("/proc").join(it).exists())
        .count();
    let has_keys = Path::new("/proc/keys").exists();
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let race = run_in(&runner, swap, &cancel);
        let starts = async {
            for _ in 0..n_starts {
                let mut spec = script(
                    &tree,
                    "stat -c %F:%t:%T /dev/null; [ ! -e /proc/keys ] || stat -c %F:%t:%T /proc/keys; echo x > /dev/null; \
                     grep -cE ' /proc/(bus|fs|irq|sys|sysrq-trigger) ro,' /proc/self/mountinfo",
                );
                spec.mounts = vec![shared("/to-dev")];
                let ran = run_in(&runner, spec, &Cancel::new()).await.unwrap();
                let null = "character special file:1:3\n";
                let nulls = null.repeat(if has_keys { 2 } else { 1 });
                assert_eq!((ran.out, ran.err), (format!("{nulls}{n_protected}\n"), String::new()));
            }
            cancel.cancel();
        };
        assert!(matches!(tokio::join!(race, starts).0, Err(RunError::Cancelled)));
    });
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), core_pattern);
}

/// runc CVE-2019-5736: whatever is seen of the engine's program in a container cannot be written to.
fn the_first_process_is_no_way_to_the_program() {
    let tree = Tree::new();
    let program = Path::new(env!("CARGO_BIN_EXE_bkl"));
    let facts = || {
        let file = fs::File::open(program).unwrap();
        let mut head = vec![0; 1 << 20];
        file.read_at(&mut head, 0).unwrap();
        (mtime(program), file.metadata().unwrap().len(), file.metadata().unwrap().nlink(), head)
    };
    let before = facts();
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let grab = script(
            &tree,
            "while :; do for p in /proc/[0-9]*; do (echo broken > $p/exe) 2>/dev/null; \
             for f in $p/fd/*; do (echo broken > $f) 2>/dev/null; done; done; done",
        );
        let race = run_in(&runner, grab, &cancel);
        let starts = async {
            for _ in 0..40 {
                let second = Tree::new();
                let text =
                    "echo '#!/proc/self/exe' > /bin/x; chmod 755 /bin/x; x internal-run direct; echo went on";
                let ran = run_in(&runner, script(&second, text), &Cancel::new()).await.unwrap();
                assert_eq!(ran.out, "went on\n");
            }
            cancel.cancel();
        };
        assert!(matches!(tokio::join!(race, starts).0, Err(RunError::Cancelled)));
    });
    assert!(facts() == before, "the program was changed");
}

/// containerd CVE-2024-40635: numbers that wrap around to root, and numbers that are names.
fn odd_users() {
    let tree = Tree::new();
    tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/root:/bin/sh\n-1:x:0:0::/:/bin/sh\n");
    tree.write("etc/group", "root:x:0:\n1000:x:0:\n");
    let check = |user: &str, expected: &str| {
        let mut spec = script(&tree, "echo $(id -u):$(id -g)");
        spec.user = user.into();
        let found = try_run(spec).map_or_else(|err| err.to_string(), |it| it.out);
        assert!(found.contains(expected), "user `{user}`: {found}");
    };
    for user in ["4294967296", "2147483648", "4294967295", "0:4294967296", "99999999999999999999"] {
        check(user, "is above 2147483647, the largest id");
    }
    check("1000", "1000:0");
    check("1000:1000", "1000:1000");
    for user in ["+0", "0x0", " 0", "0 ", "٠"] {
        check(user, "there is no user");
    }
    check("-1", "0:0");
}

/// containerd CVE-2026-47262: files that do not end, that wait, or that are somebody else's.
fn odd_user_files() {
    let check = |make: fn(&Tree), why: &str| {
        let tree = Tree::new();
        tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
        make(&tree);
        let mut spec = script(&tree, "id -u");
        spec.user = "app".into();
        let started = Instant::now();
        let found = try_run(spec).map_or_else(|err| err.to_string(), |it| it.out);
        assert!(found.contains(why), "{found}");
        assert!(started.elapsed() < Duration::from_secs(5));
    };
    check(|_| {}, "1000");
    check(
        |tree| fs::File::create(tree.join("etc/group")).unwrap().set_len(1 << 30).unwrap(),
        "cannot read `/etc/group` of the tree to find the user `app`: it is larger than 10 MiB",
    );
    let passwd = "cannot read `/etc/passwd` of the tree to find the user `app`: ";
    check(
        |tree| {
            fs::remove_file(tree.join("etc/passwd")).unwrap();
            fs::create_dir(tree.join("etc/passwd")).unwrap();
        },
        &format!("{passwd}it is no regular file"),
    );
    check(
        |tree| {
            fs::remove_file(tree.join("etc/passwd")).unwrap();
            let kind = rustix::fs::FileType::CharacterDevice;
            let zero = rustix::fs::makedev(1, 5);
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(rustix::fs::CWD, tree.join("etc/passwd"), kind, mode, zero).unwrap();
        },
        &format!("{passwd}it is no regular file"),
    );
    // The link leads to nothing inside the tree, and never to the host's.
    check(
        |tree| {
            fs::remove_file(tree.join("etc/passwd")).unwrap();
            symlink("/proc/self/environ", tree.join("etc/passwd")).unwrap();
        },
        "there is no user `app` in the tree's /etc/passwd",
    );
}

/// podman CVE-2026-55686: a working directory is made where the command will see it.
fn working_directories_behind_links() {
    let canary = TempDir::new_in("/var/tmp").unwrap();
    let host = canary.path().to_str().unwrap();
    let tree = Tree::new();
    symlink("/", tree.join("root")).unwrap();
    symlink("../../../../../..", tree.join("up")).unwrap();
    symlink(host, tree.join("host")).unwrap();
    for (cwd, made) in [
        ("/root/a", "/a".to_owned()),
        ("/up/b", "/b".to_owned()),
        ("up/../../c", "/c".to_owned()),
        ("/host/d", format!("{host}/d")),
    ] {
        let mut spec = script(&tree, "pwd -P; touch here");
        spec.cwd = cwd.into();
        assert_eq!(output(spec), format!("{made}\n"), "{cwd}");
        assert!(tree.exists(&format!("{made}/here")), "{cwd}");
    }
    assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 0);
}

fn a_fork_bomb_is_bounded() {
    if !seen::can_limit() {
        return;
    }
    let tree = Tree::new();
    let mut spec = script(
        &tree,
        "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1; set -- /proc/[0-9]*; [ $# -le 64 ] && echo bounded",
    );
    spec.limits.pids = Some(64);
    let started = Instant::now();
    let ran = run(spec);
    // The shell itself may be what cannot be forked any more.
    assert!(ran.out == "bounded\n" || ran.err.contains("can't fork"), "{} {}", ran.out, ran.err);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(output(script(&tree, "echo others go on")), "others go on\n");
}

fn processes_are_limited_by_default() {
    if !seen::can_limit() {
        return;
    }
    let tree = Tree::new();
    let marker = tree.path().file_name().unwrap().to_str().unwrap().to_owned();
    let spec = script(&tree, &format!("sleep 1000; : {marker}"));
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let run = run_in(&runner, spec, &cancel);
        let look = async {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                assert!(Instant::now() < deadline, "it does not start");
                tokio::time::sleep(Duration::from_millis(5)).await;
                let left = lifetime::leftovers(&marker);
                let Some(it) = left.iter().find(|it| it.contains("sleep 1000")) else { continue };
                let group = |controller: &str| {
                    it.lines().find_map(|line| line.split_once(controller)).map(|(_, path)| path.to_owned())
                };
                let version1 = group(":pids:").map(|path| format!("/sys/fs/cgroup/pids{path}/pids.max"));
                let unified = group("0::").map(|path| format!("/sys/fs/cgroup{path}/pids.max"));
                let files = version1.into_iter().chain(unified);
                let text = files.filter_map(|it| fs::read_to_string(it).ok()).next();
                assert_eq!(text.as_deref(), Some("32768\n"), "{it}");
                break;
            }
            cancel.cancel();
        };
        assert!(matches!(tokio::join!(run, look).0, Err(RunError::Cancelled)));
    });
}

/// The next command below the same parent finds what a killed helper left there.
fn a_killed_helper_leaves_no_group_below_a_parent() {
    if !seen::can_limit() {
        return;
    }
    let tree = Tree::new();
    let marker = tree.path().file_name().unwrap().to_str().unwrap().to_owned();
    let parent = format!("bkl-test-{}", marker.trim_start_matches('.'));
    let groups = || -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = mounts.lines().filter(|it| it.contains(" - cgroup"));
        let parents = points.map(|it| Path::new(it.split(' ').nth(4).unwrap()).join(&parent));
        parents.filter(|it| it.exists()).collect()
    };
    let left = || -> Vec<PathBuf> {
        let entries = groups().into_iter().flat_map(|it| fs::read_dir(it).unwrap()).flatten();
        entries.map(|it| it.path()).filter(|it| it.is_dir()).collect()
    };
    let in_parent = |text: &str| ExecSpec { cgroup_parent: parent.clone(), ..script(&tree, text) };
    let sleeping = in_parent(&format!("sleep 1000; : {marker}"));
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let kill = async {
            let helper = loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let left = lifetime::leftovers(&marker).join("\n");
                if let Some((_, name)) = left.split_once("/bkl.") {
                    break name.split('.').next().unwrap().parse().unwrap();
                }
            };
            let pid = rustix::process::Pid::from_raw(helper).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        };
        let result = tokio::join!(run_in(&runner, sleeping, &cancel), kill).0;
        assert!(matches!(result, Err(RunError::Bug { .. })));
        assert_eq!(left(), Vec::<PathBuf>::new(), "the runner that lost its helper cleans up");
    });
    // As of an engine that was killed together with its helper: nobody cleaned up.
    let namespace = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    for group in groups() {
        // Version 1 of cpusets has no use for it, which is no matter.
        let _ = fs::create_dir(group.join(format!("bkl.4194305.1.{namespace}.3")));
    }
    assert!(!left().is_empty());
    assert_eq!(output(in_parent("echo ran")), "ran\n");
    assert_eq!(left(), Vec::<PathBuf>::new());
    for group in groups() {
        fs::remove_dir(group).unwrap();
    }
}

/// A command that was given up is cleaned up after while the next one on the same tree is set up: what is removed in
/// between is made again.
fn a_mount_point_that_vanishes() {
    let tree = Tree::new();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let thread = {
        let (stop, files) = (Arc::clone(&stop), ["etc/hosts", "etc/resolv.conf"].map(|it| tree.join(it)));
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for file in &files {
                    let _ = fs::write(file, "");
                    let _ = fs::remove_file(file);
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        })
    };
    let runs: Vec<_> = (0..100).map(|_| try_run(script(&tree, "true")).map(|it| it.status.code)).collect();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    thread.join().unwrap();
    for run in runs {
        assert_eq!(run.unwrap_or_else(|err| panic!("{err}")), 0);
    }
}

/// CVE-2024-23651, CVE-2024-45310: what a part of a shared cache is called is swapped for a link while it is mounted, and
/// so is what a mount point is below.
fn a_raced_part_of_a_cache_stays_in_it() {
    let (tree, racer) = (Tree::new(), Tree::new());
    let (cache, canary) = (TempDir::new_in("/var/tmp").unwrap(), TempDir::new_in("/var/tmp").unwrap());
    fs::write(canary.path().join("canary"), "untouched").unwrap();
    fs::create_dir(cache.path().join("kept")).unwrap();
    let outside = canary.path().display();
    let shared = |dest: &str, selector: &str| {
        let source = MountSource::Dir { path: cache.path().into(), selector: selector.into() };
        mount(dest, source, Access::ReadWrite)
    };
    let swap = format!(
        "cd /cache; while :; do mkdir part; mkdir part/x; rm -r part; ln -s {outside} part; rm part; \
         ln -s ../../../../../..{outside} part; rm part; ln -s /proc/1/root{outside} part; rm part; ln -s kept part; rm part; done"
    );
    let mut swap = script(&racer, &swap);
    swap.mounts = vec![shared("/cache", "")];
    let n_starts = if KIND.get() == RunnerKind::Direct { 300 } else { 60 };
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let race = run_in(&runner, swap, &cancel);
        let starts = async {
            for _ in 0..n_starts {
                let mut spec = script(&tree, "ls /m /all/part/below 2>/dev/null; echo x > /m/canary");
                // A mount inside of the cache is made on what is raced, too.
                let inside = mount("/all/part/below", MountSource::Tmpfs { size: None }, Access::ReadWrite);
                spec.mounts = vec![shared("/m", "part"), shared("/all", ""), inside];
                match run_in(&runner, spec, &Cancel::new()).await {
                    Ok(ran) => assert!(!ran.out.contains("canary\n/all"), "{}", ran.out),
                    // It was not there at that moment, or no directory.
                    Err(RunError::Step { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            cancel.cancel();
        };
        let (raced, _) = tokio::join!(race, starts);
        assert!(matches!(raced, Err(RunError::Cancelled)));
    });
    assert_eq!(fs::read_to_string(canary.path().join("canary")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 1, "nothing was made outside");
}
