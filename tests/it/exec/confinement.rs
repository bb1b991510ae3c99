//! What a command cannot do or see.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("confinement_is_dockers", confinement_is_dockers),
        ("system_mounts_are_in_place", system_mounts_are_in_place),
        ("linked_system_directories_are_refused", linked_system_directories_are_refused),
        ("a_mount_behind_a_link_does_not_reach_dev", a_mount_behind_a_link_does_not_reach_dev),
        ("the_engine_s_environment_does_not_leak", the_engine_s_environment_does_not_leak),
        ("the_program_cannot_be_overwritten", the_program_cannot_be_overwritten),
        ("network_none_has_a_loopback", network_none_has_a_loopback),
        ("network_host_is_the_hosts", network_host_is_the_hosts),
        ("cgroup_version_2_does_as_well", cgroup_version_2_does_as_well),
    ]
}

fn confinement_is_dockers() {
    let tree = Tree::new();
    let check = |user: &str, expected: &str| {
        // Without a shell, which ignores signals of its own.
        let fields = "^(Cap|NoNewPrivs|Seccomp:|Groups|Sig(Blk|Ign))";
        let mut spec = spec(&tree, &["grep", "-E", fields, "/proc/self/status"]);
        spec.user = user.into();
        assert_eq!(output(spec).replace(' ', ""), expected, "user `{user}`");
    };
    let common = "NoNewPrivs:\t0\nSeccomp:\t2\n";
    let signals = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    let caps = |now: &str| {
        format!(
            "CapInh:\t0000000000000000\nCapPrm:\t{now}\nCapEff:\t{now}\nCapBnd:\t00000000a80425fb\n\
             CapAmb:\t0000000000000000\n"
        )
    };
    check("", &format!("Groups:\t0\n{signals}{}{common}", caps("00000000a80425fb")));
    check("1000:1000", &format!("Groups:\t1000\n{signals}{}{common}", caps("0000000000000000")));

    let denied = "mount -t tmpfs none /tmp 2>&1; mknod /tmp/disk b 8 0 && cat /tmp/disk 2>&1 | head -c 60; \
        echo x 2>&1 >/proc/sys/kernel/domainname; ls /proc/self/fd | wc -l";
    let text = output(script(&tree, denied));
    assert!(text.contains("mount: permission denied"), "{text}");
    assert!(text.contains("can't open '/tmp/disk': Operation not permitted"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    assert!(text.ends_with("4\n"), "0, 1, 2 and the directory itself: {text}");
    let made = "cd /sys/fs/cgroup && mkdir x 2>/dev/null && echo made; echo 1 2>/dev/null >cgroup.procs && echo moved; true";
    assert_eq!(output(script(&tree, made)), "");
    fs::remove_file(tree.join("tmp/disk")).unwrap();
}

fn system_mounts_are_in_place() {
    let tree = Tree::new();
    let text = output(script(&tree, "cut -d' ' -f2-4 /proc/self/mounts"));
    let options_of = |path: &str, kind: &str| {
        let line = text.lines().find(|it| it.starts_with(&format!("{path} {kind} ")));
        line.unwrap_or_else(|| panic!("no {kind} on {path} in\n{text}")).split(' ').nth(2).unwrap().to_owned()
    };
    let has = |path: &str, kind: &str, wanted: &str| {
        let options = options_of(path, kind);
        for option in wanted.split(',') {
            assert!(options.split(',').any(|it| it == option), "{path}: `{option}` is not in {options}");
        }
    };
    has("/proc", "proc", "rw,nosuid,nodev,noexec");
    has("/dev", "tmpfs", "rw,nosuid,size=65536k,mode=755");
    has("/dev/pts", "devpts", "rw,nosuid,noexec,gid=5,mode=620,ptmxmode=666");
    has("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec,size=65536k");
    has("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec");
    has("/sys", "sysfs", "ro,nosuid,nodev,noexec");
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        if Path::new(path).exists() {
            has(path, "proc", "ro,nosuid,nodev,noexec");
        }
    }
    let masked = "for f in acpi asound kcore keys latency_stats timer_list timer_stats sched_debug scsi; do \
        [ -e /proc/$f ] && echo $f:$(stat -c %F:%t:%T /proc/$f):$(ls /proc/$f/ 2>/dev/null); done; true";
    for line in output(script(&tree, masked)).lines() {
        let (_, what) = line.split_once(':').unwrap();
        assert!(what == "character special file:1:3:" || what == "directory:0:0:", "{line}");
    }
    let devices = "cd /dev; for f in null zero full random urandom tty; do stat -c %n:%F:%t:%T:%a $f; done; ls -l fd stdin \
        ptmx | sed s/.*:..// ; echo x > /dev/null; head -c 1 /dev/urandom | wc -c";
    let text = output(script(&tree, &devices.replace("| sed s/.*:..// ", "| wc -l")));
    assert!(
        text.starts_with("null:character special file:1:3:666\nzero:character special file:1:5:666\n"),
        "{text}"
    );
    assert!(text.ends_with("3\n1\n"), "{text}");
}

fn network_none_has_a_loopback() {
    let tree = Tree::new();
    let mut spec = script(&tree, "ls /sys/class/net; ip -4 -o addr; cat /etc/resolv.conf");
    spec.network = Network::None;
    let text = output(spec);
    assert!(text.starts_with("lo\n1: lo    inet 127.0.0.1/8"), "{text}");
    assert!(!text.contains("nameserver 127."), "{text}");
}

fn network_host_is_the_hosts() {
    let tree = Tree::new();
    let text = output(script(&tree, "ls -l /proc/self/ns/net"));
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert!(text.contains(own.to_str().unwrap()), "{text}");
}

fn linked_system_directories_are_refused() {
    for dir in ["dev", "proc", "sys"] {
        let tree = Tree::new();
        let canary = TempDir::new_in("/var/tmp").unwrap();
        fs::write(canary.path().join("ptmx"), "host").unwrap();
        symlink(canary.path(), tree.join(dir)).unwrap();
        fs::create_dir_all(tree.join(canary.path().to_str().unwrap())).unwrap();
        let err = try_run(script(&tree, "true")).err().unwrap().to_string();
        let expected = format!(
            "cannot set up the command: `/{dir}` of the tree is no directory: refusing to mount on it"
        );
        assert_eq!(err, expected);
        let left: Vec<_> = fs::read_dir(canary.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["ptmx"]);
    }
}

/// Runs a trial of this binary again with an odd environment: what is in it must reach neither helper nor command.
fn the_engine_s_environment_does_not_leak() {
    const AGAIN: &str = "BKL_TEST_ODD_ENVIRONMENT";
    let tree = Tree::new();
    if std::env::var_os(AGAIN).is_none() {
        use std::os::unix::ffi::OsStrExt;
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &full_name("the_engine_s_environment_does_not_leak")])
            .env(AGAIN, "1")
            .env("LISTEN_FDS", "1")
            .env("BROKEN", std::ffi::OsStr::from_bytes(b"\xff\xfe"))
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        return;
    }
    let _host = fs::File::open("/etc").unwrap();
    let text = output(script(&tree, "env; ls /proc/self/fd | wc -l"));
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut lines: Vec<_> =
        text.lines().filter(|it| !it.starts_with("PWD=") && !it.starts_with("SHLVL=")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["4", "HOME=/", path]);
}

fn the_program_cannot_be_overwritten() {
    let tree = Tree::new();
    // The container's first process is the engine's program for a moment: look for it from a neighbour.
    let spec = spec(&tree, &["/proc/self/exe", "internal-run"]);
    let ran = run(spec);
    assert_ne!(ran.status.code, 0);
    let program = Path::new(env!("CARGO_BIN_EXE_bkl"));
    let before = (mtime(program), fs::metadata(program).unwrap().len());
    tree.write("bin/grab", "#!/proc/self/exe\n");
    fs::set_permissions(tree.join("bin/grab"), fs::Permissions::from_mode(0o755)).unwrap();
    run(super::spec(&tree, &["grab"]));
    assert_eq!((mtime(program), fs::metadata(program).unwrap().len()), before);
}

/// The trials that depend on it again, in a mount namespace in which only a version 2 hierarchy is mounted.
fn cgroup_version_2_does_as_well() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !mounts.lines().any(|it| it.contains(" - cgroup ")) {
        // This machine has nothing else: all trials have shown it.
        return;
    }
    let names = [
        "confinement_is_dockers",
        "output_and_exit_codes",
        "cancelling_leaves_nothing",
        "many_at_once",
        "devices_that_were_given_are_there",
        "what_commands_see",
    ];
    for name in names {
        let script =
            "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" --exact \"$1\"";
        let output = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(full_name(name))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}

/// Mounts on the system's directories are refused by name; by a link they get there, and are covered (CVE-2025-31133,
/// CVE-2025-52565): what a cache holds is never taken for the null device or a mount point.
fn a_mount_behind_a_link_does_not_reach_dev() {
    let tree = Tree::new();
    let cache = TempDir::new_in("/var/tmp").unwrap();
    let canary = cache.path().join("canary");
    fs::write(&canary, "untouched").unwrap();
    for name in ["null", "shm", "mqueue", "keys", "sys"] {
        symlink(&canary, cache.path().join(name)).unwrap();
    }
    let behind = |dir: &str, text: &str| {
        let mut spec = script(&tree, text);
        let source = MountSource::Dir { path: cache.path().into(), selector: String::new() };
        spec.mounts = vec![mount(&format!("/to-{dir}"), source, Access::ReadWrite)];
        spec
    };
    for dir in ["dev", "proc", "sys"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
        symlink(format!("/{dir}"), tree.join(&format!("to-{dir}"))).unwrap();
        let look = "stat -c %F:%t:%T /dev/null; echo x > /dev/null; ls /dev/pts; echo 1 > /proc/sys/kernel/domainname";
        let ran = run(behind(dir, look));
        assert_eq!(ran.out, "character special file:1:3\nptmx\n", "{dir}: {}", ran.err);
        assert!(ran.err.contains("Read-only file system"), "{dir}: {}", ran.err);
    }
    symlink(&canary, cache.path().join("pts")).unwrap();
    assert!(matches!(try_run(behind("dev", "true")), Err(RunError::Step { .. })));
    assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 7);
}
