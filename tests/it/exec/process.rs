//! What a command sees of itself: arguments, environment, user, directory, limits, and how it ends.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("output_and_exit_codes", output_and_exit_codes),
        ("environment_keeps_its_order", environment_keeps_its_order),
        ("programs_that_cannot_run_are_named", programs_that_cannot_run_are_named),
        ("foreign_programs_run_through_an_emulator", foreign_programs_run_through_an_emulator),
        ("devices_that_were_given_are_there", devices_that_were_given_are_there),
        ("users_are_looked_up_in_the_tree", users_are_looked_up_in_the_tree),
        ("a_fifo_for_passwd_does_not_hang", a_fifo_for_passwd_does_not_hang),
        ("working_directory_is_made", working_directory_is_made),
        ("working_directory_cannot_be_a_descriptor", working_directory_cannot_be_a_descriptor),
        ("limits_apply", limits_apply),
        ("limits_that_cannot_be_had_are_told", limits_that_cannot_be_had_are_told),
        ("cgroup_limits_reach_the_kernel", cgroup_limits_reach_the_kernel),
        ("running_out_of_memory_is_said", running_out_of_memory_is_said),
    ]
}

fn output_and_exit_codes() {
    let tree = Tree::new();
    let ran = run(script(&tree, "echo out; echo err >&2; cat; exit 7"));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
    assert_eq!(ran.status, ExitStatus { code: 7, reason: None, warnings: Vec::new(), notices: Vec::new() });
    let ran = run(script(&tree, "kill -TERM $$"));
    assert_eq!(ran.status.code, 0, "signals without handler do not reach the first process of a namespace");
    let ran = run(script(&tree, "(kill -9 $(exec sh -c 'echo $PPID')); exit $?"));
    assert_eq!(ran.status.code, 137);
}

fn environment_keeps_its_order() {
    let tree = Tree::new();
    let mut spec = spec(&tree, &["env"]);
    spec.env = words(&["Z=1", "A=2", "PATH=/bin", "M=a=b", "Z=3", "nothing", "HOME=/h"]);
    assert_eq!(output(spec), "A=2\nPATH=/bin\nM=a=b\nZ=3\nHOME=/h\n");
}

fn programs_that_cannot_run_are_named() {
    let tree = Tree::new();
    tree.write("bin/plain", "no program");
    tree.write("bin/script", "#!/no/such/shell\n");
    tree.write("bin/text", "just text\n");
    for it in ["bin/script", "bin/text"] {
        fs::set_permissions(tree.join(it), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let check = |program: &str, code: i32, reason: &str| {
        let status = run(spec(&tree, &[program])).status;
        assert_eq!(
            status,
            ExitStatus { code, reason: Some(reason.into()), warnings: Vec::new(), notices: Vec::new() },
            "{program}"
        );
    };
    check("nope", 127, "`nope` was not found in the image's PATH");
    check("/bin/nope", 127, "`/bin/nope` was not found in the image");
    check("plain", 126, "`plain` cannot be run: Permission denied (os error 13)");
    check("/etc", 126, "`/etc` cannot be run: Permission denied (os error 13)");
    check(
        "script",
        127,
        "`script` is in the image, but what runs it is not: the loader of a dynamically linked program, or the program \
         that the first line of a script names",
    );
    check(
        "text",
        126,
        "`text` is no program for this machine: it is for another architecture, or a script without `#!` line",
    );
    let none = try_run(spec(&tree, &[])).err().unwrap().to_string();
    assert_eq!(none, "cannot set up the command: there is no command");
}

fn foreign_programs_run_through_an_emulator() {
    let tree = Tree::new();
    let emulator = compiled("emulator");
    fs::set_permissions(&emulator.path, fs::Permissions::from_mode(0o555)).unwrap();
    let through = |path: &Path| Emulation::Program { path: path.into(), name: "buildkit-qemu-s390x".into() };
    let expected =
        "emulator 555 read-only: [/dev/.buildkit_qemu_emulator] [sh] [-c] [echo $0 $#; id -u] [a] [b]\na 1\n";
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        for (profile, user) in [(Profile::Compat, "0"), (Profile::Strict, "1000"), (Profile::Compat, "1000")]
        {
            let mut spec = spec(&tree, &["sh", "-c", "echo $0 $#; id -u", "a", "b"]);
            (spec.profile, spec.user, spec.emulation) = (profile, user.into(), through(&emulator.path));
            let ran = run_in(&runner, spec, &cancel).await.unwrap();
            assert_eq!(ran.out, format!("{expected}{user}\n"), "{profile:?} {}", ran.err);
        }
        // The next one is none of its business.
        let ran = run_in(&runner, spec(&tree, &["ls", "-A", "/dev"]), &cancel).await.unwrap();
        assert!(!ran.out.contains("qemu"), "{}", ran.out);
    });
    // Made after the trial's own tree: nothing of it is in the result.
    assert!(!tree.exists("dev/.buildkit_qemu_emulator"));
    let broken = compiled("emulator");
    fs::write(&broken.path, "#!/no/such/interpreter\n").unwrap();
    let mut spec = spec(&tree, &["true"]);
    spec.emulation = through(&broken.path);
    let err = try_run(spec).err().unwrap();
    let what = "the emulator `buildkit-qemu-s390x` does not run in a container: No such file or directory (os error 2)";
    assert_eq!(err.to_string(), format!("this machine cannot run commands: {what}"));
    assert_eq!(err.help(), Some("it has to be a static program, for this machine"));
    // Without one the kernel is asked, which knows natives, too.
    tree.write("bin/foreign", "\x7fELF as it were\n");
    fs::set_permissions(tree.join("bin/foreign"), fs::Permissions::from_mode(0o755)).unwrap();
    let missing = |program: &str| {
        let mut spec = self::spec(&tree, &[program]);
        spec.emulation =
            Emulation::Missing { platform: "linux/s390x".into(), name: "buildkit-qemu-s390x".into() };
        run(spec).status
    };
    assert_eq!(missing("true").code, 0);
    let status = missing("foreign");
    let reason = "`foreign` is no program for this machine: the step is for linux/s390x; install an emulator, \
        qemu-user-static with binfmt or a static `buildkit-qemu-s390x` in PATH";
    assert_eq!((status.code, status.reason.as_deref()), (126, Some(reason)));
}

/// Their nodes, with owners and modes, and what they may be opened for; the next command has none of it.
fn devices_that_were_given_are_there() {
    let tree = Tree::new();
    let op = ExecOp {
        cdi_devices: vec![CdiDevice { name: "v.com/c=x".into(), optional: false }],
        ..ExecOp::default()
    };
    let granted = authorize(&op, &Grants::of(["device"]).unwrap()).unwrap().devices.unwrap();
    let node = |path: &str, major, minor, mode, uid, writes| NewNode {
        path: path.into(),
        kind: NodeKind::Character,
        major,
        minor,
        mode,
        uid,
        gid: None,
        reads: true,
        writes,
    };
    let nodes = vec![
        node("vendor/deep/one", 1, 3, 0o640, Some(5), true),
        node("null", 1, 3, 0o600, None, true),
        // Nobody may open it otherwise.
        node("control", 10, 237, 0o666, Some(0), false),
    ];
    let try_them = "stat -c '%n %a %u:%g %t:%T' /dev/vendor/deep/one /dev/null /dev/control 2>&1; id -G; \
        (: < /dev/control) 2>&1; (: > /dev/control) 2>&1; echo x > /dev/vendor/deep/one && echo written";
    let has_control = Path::new("/dev/loop-control").exists();
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        for profile in [Profile::Compat, Profile::Strict] {
            let mut spec = script(&tree, try_them);
            (spec.profile, spec.user) = (profile, "5:6".into());
            spec.devices = Some(MoreDevices { granted, nodes: nodes.clone(), groups: vec![44, 6] });
            let ran = run_in(&runner, spec, &cancel).await.unwrap();
            let expected = "/dev/vendor/deep/one 640 5:6 1:3\n/dev/null 600 5:6 1:3\n/dev/control 666 0:6 a:ed\n6 44\n\
                /bin/sh: can't create /dev/control: Operation not permitted\nwritten\n";
            if has_control {
                assert_eq!(ran.out, expected, "{profile:?} {}", ran.err);
            }
            let mut spec = script(&tree, "mknod /control c 10 237; (: < /control) 2>&1; ls /dev/vendor 2>&1");
            spec.user = String::new();
            let ran = run_in(&runner, spec, &cancel).await.unwrap();
            let expected = "/bin/sh: can't open /control: Operation not permitted\nls: /dev/vendor: No such file or directory\n";
            assert_eq!(ran.out, expected, "{}", ran.err);
            fs::remove_file(tree.join("control")).unwrap();
        }
        // Without confinement they come to what is there.
        let mut spec = script(&tree, "stat -c %a /dev/loop-control /dev/null");
        spec.security = Security::Insecure(self::granted().insecure.unwrap());
        let own = node("loop-control", 10, 237, 0o604, None, true);
        spec.devices = Some(MoreDevices { granted, nodes: vec![own], groups: Vec::new() });
        let ran = run_in(&runner, spec, &cancel).await.unwrap();
        assert_eq!(ran.out, "604\n666\n", "{}", ran.err);
    });
}

fn users_are_looked_up_in_the_tree() {
    let tree = Tree::new();
    tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n");
    tree.write("etc/group", "root:x:0:\nadm:x:4:app\napp:x:1001:\n");
    let check = |user: &str, expected: &str| {
        let mut spec = script(&tree, "echo $(id -u):$(id -g):$(id -G):$HOME");
        spec.user = user.into();
        let found = try_run(spec).map_or_else(|err| err.to_string(), |it| it.out);
        assert_eq!(found.trim_end(), expected, "user `{user}`");
    };
    check("", "0:0:0:/root");
    check("app", "1000:1001:1001 4:/home/app");
    check("1000:5", "1000:5:5:/home/app");
    check("77", "77:0:0:/");
    let setup = "cannot set up the command: ";
    check("nope", &format!("{setup}there is no user `nope` in the tree's /etc/passwd"));
    check(
        "4294967296",
        &format!("{setup}`4294967296` in the user `4294967296` is above 2147483647, the largest id"),
    );
    // Links are followed inside the tree only.
    fs::remove_file(tree.join("etc/passwd")).unwrap();
    symlink("/etc/shadow", tree.join("etc/passwd")).unwrap();
    tree.write("etc/shadow", "in:x:55:56::/in:/bin/sh\n");
    check("in", "55:56:56:/in");
}

fn a_fifo_for_passwd_does_not_hang() {
    let tree = Tree::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("etc/passwd"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let mut named = script(&tree, "true");
    named.user = "app".into();
    let err = try_run(named).err().unwrap().to_string();
    let why = "cannot read `/etc/passwd` of the tree to find the user `app`: it is no regular file";
    assert_eq!(err, format!("cannot set up the command: {why}"));
    output(script(&tree, "true"));
}

fn working_directory_is_made() {
    let tree = Tree::new();
    symlink("/real", tree.join("link")).unwrap();
    fs::create_dir(tree.join("real")).unwrap();
    let mut spec = script(&tree, "pwd; touch here");
    spec.cwd = "/link/a/../b".into();
    spec.user = "7:8".into();
    assert_eq!(output(spec), "/real/b\n");
    assert!(tree.exists("real/b/here"));
    let made = fs::metadata(tree.join("real/b")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (7, 8, 0o755));
}

fn working_directory_cannot_be_a_descriptor() {
    let tree = Tree::new();
    symlink("/proc/self/fd", tree.join("fds")).unwrap();
    tree.write("etc/file", "");
    let check = |cwd: &str| {
        let mut spec = script(&tree, "pwd -P; ls");
        spec.cwd = cwd.into();
        match try_run(spec) {
            Ok(ran) => assert!(!ran.out.contains("root") && !ran.out.contains("usr"), "{}", ran.out),
            Err(err) => return err.to_string(),
        }
        String::new()
    };
    for fd in 3..12 {
        let refused =
            format!("cannot set up the command: the working directory `/proc/self/fd/{fd}` is below `/proc`");
        assert_eq!(check(&format!("/proc/self/fd/{fd}")), refused);
    }
    // Nothing of what made its container is open any more when the way is gone, neither this one nor that to the program.
    for fd in 3..48 {
        let refused = check(&format!("/fds/{fd}"));
        if KIND.get() == RunnerKind::Libcontainer {
            // It has something of the container's open, and looks where it got to.
            continue;
        }
        assert_ne!(refused, "", "{fd}");
        let mut spec = script(&tree, "echo ran");
        spec.args[0] = format!("/fds/{fd}/bin/sh");
        assert!(try_run(spec).is_ok_and(|it| it.status.code == 127 && it.out.is_empty()), "{fd}");
    }
    let file = "cannot set up the command: cannot make the working directory `/etc/file`: Not a directory (os error 20)";
    assert_eq!(check("/etc/file"), file);
}

fn limits_apply() {
    let tree = Tree::new();
    assert_eq!(output(script(&tree, "ulimit -Sn")), "1024\n");
    let mut spec = script(&tree, "ulimit -Sn; ulimit -Hn; ulimit -Sc");
    let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    spec.ulimits = vec![limit("nofile", 99, 100), limit("core", 0, 0)];
    assert_eq!(output(spec), "99\n100\n0\n");
    let mut spec =
        script(&tree, "for i in 1 2 3 4 5 6; do sleep 1 & done; echo $(grep -c bkl /proc/self/cgroup)");
    spec.limits = Limits { pids: Some(4), cpu_shares: Some(512), ..Limits::default() };
    let ran = run(spec);
    assert!(ran.err.contains("can't fork"), "{}", ran.err);
    let mut spec = script(&tree, "true");
    spec.ulimits = vec![limit("nope", 1, 1)];
    assert!(matches!(try_run(spec), Err(RunError::Step { .. })));
    let mut spec = script(&tree, "true");
    spec.ulimits = vec![limit("nofile", 200, 100)];
    assert_eq!(
        try_run(spec).err().unwrap().to_string(),
        "cannot set up the command: the limit `nofile` is 200, which is above its hard limit, 100"
    );
}

fn running_out_of_memory_is_said() {
    let tree = Tree::new();
    let mut spec = script(&tree, "dd if=/dev/zero of=/dev/null bs=200M count=1");
    spec.limits.memory = Some(32 << 20);
    spec.limits.memory_swap = Some(32 << 20);
    let status = run(spec).status;
    let ran_out = Some("its memory ran out: the limit of its cgroup was reached");
    assert_eq!(status.reason.as_deref(), ran_out);
    assert_ne!(status.code, 0);
    if KIND.get() == RunnerKind::Libcontainer {
        return;
    }
    // Too little to become the command with: what makes its container survives, and makes the next one.
    for limit_kib in [4, 12, 16, 20, 24, 64, 128] {
        let mut spec = script(&tree, "true");
        let limit = limit_kib << 10;
        spec.limits.memory = Some(limit);
        let ended = |spec| runtime().block_on(run_in(&runner(), spec, &Cancel::new()));
        let status = ended(spec).unwrap_or_else(|err| panic!("{limit}: {err}")).status;
        assert!(
            status.code == 0 || (status.code == 137 && status.reason.as_deref() == ran_out),
            "{status:?}"
        );
    }
}

/// Above what the machine lets anybody set, a limit is lowered, and that is said.
fn limits_that_cannot_be_had_are_told() {
    let tree = Tree::new();
    let limit = |hard| Ulimit { name: "nofile".into(), soft: 10, hard };
    let mut spec = script(&tree, "ulimit -Hn");
    spec.ulimits = vec![limit(1 << 40)];
    let ran = run(spec);
    let [warning] = ran.status.warnings.as_slice() else { panic!("{:?}", ran.status) };
    let now = ran.out.trim();
    let expected =
        format!("the limit `nofile` is {now} here: this machine does not let it be raised to 1099511627776");
    assert_eq!(*warning, expected);
    let mut spec = script(&tree, "ulimit -Hn");
    spec.ulimits = vec![limit(100)];
    let ran = run(spec);
    assert_eq!((ran.out.as_str(), ran.status.warnings), ("100\n", Vec::new()));
}

/// What the kernel has for a limited command in a group of its own parent, read from outside while it runs.
fn cgroup_limits_reach_the_kernel() {
    if !seen::can_limit() {
        return;
    }
    let tree = Tree::new();
    let parent =
        format!("bkl-test-{}", tree.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.'));
    let marker = parent.clone();
    let mut spec = script(&tree, &format!("sleep 1000; : {marker}"));
    spec.cgroup_parent = format!("../{parent}/inner");
    spec.limits = Limits {
        memory: Some(64 << 20),
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        cpuset_cpus: Some("0".into()),
        pids: Some(50),
        ..Limits::default()
    };
    let groups = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points =
            mounts.lines().filter(|it| it.contains(" - cgroup")).map(|it| it.split(' ').nth(4).unwrap());
        let parents = points.map(|it| Path::new(it).join(&parent));
        parents.filter(|it| it.exists()).collect::<Vec<PathBuf>>()
    };
    let value = |files: [&str; 2]| {
        for group in groups() {
            for entry in fs::read_dir(group.join("inner")).unwrap().flatten() {
                let texts = files.iter().find_map(|it| fs::read_to_string(entry.path().join(it)).ok());
                if let (true, Some(text)) = (entry.path().is_dir(), texts) {
                    return text.trim().to_owned();
                }
            }
        }
        panic!("no {files:?} in {:?}", groups());
    };
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let run = run_in(&runner, spec, &cancel);
        let look = async {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !lifetime::leftovers(&marker).iter().any(|it| it.contains("sleep 1000")) {
                assert!(Instant::now() < deadline, "it does not start");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(value(["memory.limit_in_bytes", "memory.max"]), "67108864");
            assert!(["512", "20"].contains(&value(["cpu.shares", "cpu.weight"]).as_str()));
            assert!(["50000", "50000 100000"].contains(&value(["cpu.cfs_quota_us", "cpu.max"]).as_str()));
            assert_eq!(value(["cpuset.cpus", "cpuset.cpus"]), "0");
            assert_eq!(value(["pids.max", "pids.max"]), "50");
            cancel.cancel();
        };
        assert!(matches!(tokio::join!(run, look).0, Err(RunError::Cancelled)));
    });
    for group in groups() {
        let inner = group.join("inner");
        let left = fs::read_dir(&inner).unwrap().flatten().filter(|it| it.path().is_dir()).count();
        assert_eq!(left, 0, "{}", inner.display());
        fs::remove_dir(&inner).unwrap();
        fs::remove_dir(&group).unwrap();
    }
}
