//! Commands in containers. All of these need root, overlayfs or bind mounts, and /bin/busybox (static).

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bkl::engine::cancel::Cancel;
use bkl::engine::exec::{
    Access, ExecMount, ExecSpec, ExitStatus, HelperRunner, HostLine, Limits, MountSource, Network, RunError,
    Runner, Stream, StubParents, Ulimit,
};
use libtest_mimic::Trial;
use rustix::mount::{OpenTreeFlags, open_tree};
use tempfile::TempDir;

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("exec::needs_root::{name}"), run);
    vec![
        trial("output_and_exit_codes", output_and_exit_codes),
        trial("environment_keeps_its_order", environment_keeps_its_order),
        trial("programs_that_cannot_run_are_named", programs_that_cannot_run_are_named),
        trial("confinement_is_dockers", confinement_is_dockers),
        trial("users_are_looked_up_in_the_tree", users_are_looked_up_in_the_tree),
        trial("a_fifo_for_passwd_does_not_hang", a_fifo_for_passwd_does_not_hang),
        trial("working_directory_is_made", working_directory_is_made),
        trial("working_directory_cannot_be_a_descriptor", working_directory_cannot_be_a_descriptor),
        trial("mounts_are_what_they_say", mounts_are_what_they_say),
        trial("mount_paths_stay_in_their_trees", mount_paths_stay_in_their_trees),
        trial("mounts_that_are_refused", mounts_that_are_refused),
        trial("system_mounts_are_in_place", system_mounts_are_in_place),
        trial("root_can_be_read_only", root_can_be_read_only),
        trial("network_none_has_a_loopback", network_none_has_a_loopback),
        trial("network_host_is_the_hosts", network_host_is_the_hosts),
        trial("hosts_and_hostname", hosts_and_hostname),
        trial("mount_points_leave_no_trace", mount_points_leave_no_trace),
        trial("mount_points_are_not_removed_elsewhere", mount_points_are_not_removed_elsewhere),
        trial("dangling_resolv_conf_is_a_mount_point", dangling_resolv_conf_is_a_mount_point),
        trial("linked_system_directories_are_refused", linked_system_directories_are_refused),
        trial("limits_apply", limits_apply),
        trial("running_out_of_memory_is_said", running_out_of_memory_is_said),
        trial("the_engine_s_environment_does_not_leak", the_engine_s_environment_does_not_leak),
        trial("the_program_cannot_be_overwritten", the_program_cannot_be_overwritten),
        trial("cancelling_leaves_nothing", cancelling_leaves_nothing),
        trial("dropping_leaves_nothing", dropping_leaves_nothing),
        trial("a_dead_helper_takes_its_command_along", a_dead_helper_takes_its_command_along),
        trial("a_killed_engine_takes_its_commands_along", a_killed_engine_takes_its_commands_along),
        trial("many_at_once", many_at_once),
        trial("cgroup_version_2_does_as_well", cgroup_version_2_does_as_well),
    ]
}

/// A tree with busybox in it, removed at the end.
struct Tree {
    dir: TempDir,
}

impl Tree {
    fn new() -> Tree {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        let tree = Tree { dir };
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for it in ["bin", "etc", "tmp"] {
            fs::create_dir(tree.join(it)).unwrap();
        }
        fs::hard_link("/bin/busybox", tree.join("bin/busybox"))
            .or_else(|_| fs::copy("/bin/busybox", tree.join("bin/busybox")).map(|_| ()))
            .unwrap();
        let tools = "sh cat echo env id ls sleep true false stat mount grep touch mkdir rm ln hostname ip kill tr wc \
            dd seq ps chmod mknod test sort head mv ulimit pwd cut nproc";
        for tool in tools.split_whitespace() {
            symlink("busybox", tree.join("bin").join(tool)).unwrap();
        }
        tree
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn join(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.join(path).parent().unwrap()).unwrap();
        fs::write(self.join(path), text).unwrap();
    }

    fn mount(&self) -> OwnedFd {
        detached(self.path())
    }

    fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.join(path)).is_ok()
    }
}

fn detached(path: &Path) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(rustix::fs::CWD, path, flags).unwrap()
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|it| (*it).to_owned()).collect()
}

fn spec(tree: &Tree, args: &[&str]) -> ExecSpec {
    ExecSpec {
        args: words(args),
        env: Vec::new(),
        cwd: "/".into(),
        user: String::new(),
        hostname: String::new(),
        extra_hosts: Vec::new(),
        network: Network::Host,
        root: tree.mount(),
        root_access: Access::ReadWrite,
        mounts: Vec::new(),
        ulimits: Vec::new(),
        limits: Limits::default(),
        stub_parents: StubParents::Keep,
    }
}

fn script(tree: &Tree, text: &str) -> ExecSpec {
    spec(tree, &["/bin/sh", "-c", text])
}

fn runner() -> HelperRunner {
    HelperRunner::with_program(Path::new(env!("CARGO_BIN_EXE_bkl"))).unwrap()
}

/// What a command wrote and how it ended.
struct Ran {
    out: String,
    err: String,
    status: ExitStatus,
}

fn try_run(spec: ExecSpec) -> Result<Ran, RunError> {
    runtime().block_on(run_in(&runner(), spec, &Cancel::new()))
}

async fn run_in(runner: &HelperRunner, spec: ExecSpec, cancel: &Cancel) -> Result<Ran, RunError> {
    let logs: Mutex<[Vec<u8>; 2]> = Mutex::default();
    let sink = |stream: Stream, bytes: &[u8]| {
        logs.lock().unwrap()[stream as usize].extend_from_slice(bytes);
    };
    let status = Runner::run(runner, spec, &sink, cancel).await?;
    let [out, err] = logs.into_inner().unwrap().map(|it| String::from_utf8_lossy(&it).into_owned());
    Ok(Ran { out, err, status })
}

fn run(spec: ExecSpec) -> Ran {
    try_run(spec).unwrap_or_else(|err| panic!("{err}"))
}

/// Standard output of a script that must succeed.
fn output(spec: ExecSpec) -> String {
    let ran = run(spec);
    assert_eq!(ran.status.code, 0, "{:?} {}{}", ran.status.reason, ran.out, ran.err);
    ran.out
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn output_and_exit_codes() {
    let tree = Tree::new();
    let ran = run(script(&tree, "echo out; echo err >&2; cat; exit 7"));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
    assert_eq!(ran.status, ExitStatus { code: 7, reason: None });
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
        assert_eq!(status, ExitStatus { code, reason: Some(reason.into()) }, "{program}");
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
    fs::remove_file(tree.join("tmp/disk")).unwrap();
}

/// What a killed engine leaves: this binary again, killed while its command runs.
fn a_killed_engine_takes_its_commands_along() {
    const MARKER: &str = "BKL_TEST_KILLED_ENGINE";
    let tree = Tree::new();
    if let Ok(marker) = std::env::var(MARKER) {
        run(sleeping(&tree, &marker));
        return;
    }
    let marker = tree.path().file_name().unwrap().to_str().unwrap();
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exec::needs_root::a_killed_engine_takes_its_commands_along"])
        .env(MARKER, marker)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let cgroup = loop {
        std::thread::sleep(Duration::from_millis(10));
        if let Some((_, name)) = leftovers(marker).join("\n").split_once("/bkl.") {
            break name.lines().next().unwrap().to_owned();
        }
    };
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert_nothing_left(marker);
    // Its helper lives a moment longer, to clean up.
    let deadline = Instant::now() + Duration::from_secs(5);
    while own_cgroups().iter().any(|it| it.ends_with(format!("bkl.{cgroup}"))) {
        assert!(Instant::now() < deadline, "{cgroup} is left");
        std::thread::sleep(Duration::from_millis(10));
    }
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
    for fd in 3..12 {
        let mut spec = script(&tree, "pwd -P; ls");
        spec.cwd = format!("/proc/self/fd/{fd}");
        match try_run(spec) {
            Ok(ran) => assert!(!ran.out.contains("root") && !ran.out.contains("usr"), "{}", ran.out),
            Err(err) => assert!(matches!(err, RunError::Bug { .. } | RunError::Step { .. }), "{err}"),
        }
    }
}

fn mount(dest: &str, source: MountSource, access: Access) -> ExecMount {
    ExecMount { dest: dest.into(), source, access }
}

fn mounts_are_what_they_say() {
    let tree = Tree::new();
    let cache = TempDir::new_in("/var/tmp").unwrap();
    let other = Tree::new();
    other.write("sub/dir/file", "selected\n");
    let mut spec = script(
        &tree,
        "cat /in/file /one; touch /in/x 2>&1; echo kept > /cache/k; touch /mem/y; cat /secret; stat -c %a:%u /secret; \
         touch rel/z; grep -c ' /mem ' /proc/self/mounts; grep ' /mem ' /proc/self/mounts; cat /cache/deep/file",
    );
    spec.cwd = "/work".into();
    spec.mounts = vec![
        mount(
            "/cache/deep",
            MountSource::Tree { fd: other.mount(), selector: "sub/dir".into() },
            Access::ReadOnly,
        ),
        mount("/in", MountSource::Tree { fd: other.mount(), selector: "/sub/dir".into() }, Access::ReadOnly),
        mount(
            "/one",
            MountSource::Tree { fd: other.mount(), selector: "sub/dir/file".into() },
            Access::ReadOnly,
        ),
        mount(
            "/cache",
            MountSource::Dir { path: cache.path().into(), selector: String::new() },
            Access::ReadWrite,
        ),
        mount("/mem", MountSource::Tmpfs { size: Some(65536) }, Access::ReadWrite),
        mount(
            "/secret",
            MountSource::File { bytes: b"hush\n".to_vec(), uid: 5, gid: 6, mode: 0o440 },
            Access::ReadOnly,
        ),
        mount("rel", MountSource::Tmpfs { size: None }, Access::ReadWrite),
    ];
    let text = output(spec);
    let expected = "selected\nselected\ntouch: /in/x: Read-only file system\nhush\n440:5\n1\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("tmpfs /mem tmpfs rw,nosuid,relatime,size=64k"), "{text}");
    assert!(text.ends_with("selected\n"), "{text}");
    assert_eq!(fs::read_to_string(cache.path().join("k")).unwrap(), "kept\n");
    assert!(!other.exists("sub/dir/x"));
    for it in ["in", "one", "mem", "secret", "work/rel"] {
        assert!(!tree.exists(it), "{it} is left in the tree");
    }
}

fn mount_paths_stay_in_their_trees() {
    let tree = Tree::new();
    let other = Tree::new();
    symlink("/", other.join("out")).unwrap();
    symlink("../../../../..", other.join("up")).unwrap();
    symlink("/", tree.join("l")).unwrap();
    let canary = TempDir::new_in("/var/tmp").unwrap();
    let name = canary.path().file_name().unwrap().to_str().unwrap();
    for selector in ["out/etc", "up/etc", "../../etc", "out/../../etc"] {
        let mut spec = script(&tree, "ls /l/m; touch /m/made");
        let source = MountSource::Tree { fd: other.mount(), selector: selector.into() };
        spec.mounts = vec![mount("/l/m", source, Access::ReadWrite)];
        assert_eq!(output(spec), "", "{selector}");
        fs::remove_file(other.join("etc/made")).unwrap();
    }
    let mut spec = script(&tree, "true");
    let source = MountSource::Tree { fd: other.mount(), selector: format!("out/var/tmp/{name}") };
    spec.mounts = vec![mount("/m", source, Access::ReadWrite)];
    assert!(matches!(try_run(spec), Err(RunError::Step { .. })));
}

fn mounts_that_are_refused() {
    let tree = Tree::new();
    for dest in ["/dev", "/proc/x", "/sys/../dev/null", "/", "/x/.."] {
        let mut spec = script(&tree, "true");
        spec.mounts = vec![mount(dest, MountSource::Tmpfs { size: None }, Access::ReadWrite)];
        let result = try_run(spec);
        assert!(matches!(result, Err(RunError::Step { .. })), "{dest}: {:?}", result.err());
    }
    let mut spec = script(&tree, "true");
    let other = Tree::new();
    spec.mounts = vec![
        mount("/a", MountSource::Tree { fd: other.mount(), selector: String::new() }, Access::ReadOnly),
        mount("/a/new", MountSource::Tmpfs { size: None }, Access::ReadWrite),
    ];
    let err = try_run(spec).err().unwrap().to_string();
    assert_eq!(
        err,
        "cannot set up the command: there is no `/a/new` to mount on, and it lies in a read-only mount"
    );
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

fn root_can_be_read_only() {
    let tree = Tree::new();
    let mut spec = script(&tree, "touch /x 2>&1; touch /w/y; mkdir /tmp/z 2>&1; true");
    spec.root_access = Access::ReadOnly;
    spec.mounts = vec![mount("/w", MountSource::Tmpfs { size: None }, Access::ReadWrite)];
    let expected =
        "touch: /x: Read-only file system\nmkdir: can't create directory '/tmp/z': Read-only file system\n";
    assert_eq!(output(spec), expected);
    assert!(!tree.exists("w"));
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

fn hosts_and_hostname() {
    let tree = Tree::new();
    let mut spec = script(&tree, "hostname; cat /etc/hosts; echo no 2>&1 > /etc/hosts; true");
    spec.extra_hosts = vec![HostLine { host: "db".into(), ip: "10.0.0.7".parse().unwrap() }];
    let text = output(spec);
    let expected = "buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost \
        ip6-loopback\n10.0.0.7\tdb\n";
    assert!(text.starts_with(expected), "{text}");
    let mut spec = script(&tree, "hostname");
    spec.hostname = "mine".into();
    assert_eq!(output(spec), "mine\n");
    assert!(!tree.exists("etc/hosts") && !tree.exists("etc/resolv.conf"));
}

/// A time long ago, to be found again.
fn age(path: &Path) {
    let then = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    fs::File::open(path).unwrap().set_times(then).unwrap();
}

fn mtime(path: &Path) -> (i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

fn mount_points_leave_no_trace() {
    let tree = Tree::new();
    for it in ["proc", "dev", "sys"] {
        fs::create_dir(tree.join(it)).unwrap();
    }
    let old = (1_000_000_000, 0);
    let tmp = |dest: &str| mount(dest, MountSource::Tmpfs { size: None }, Access::ReadWrite);
    for (parents, left) in [(StubParents::Remove, false), (StubParents::Keep, true)] {
        for it in ["etc", "tmp", ""] {
            age(&tree.join(it));
        }
        let mut spec = script(&tree, "ls /etc /tmp/a/b");
        spec.mounts = vec![tmp("/tmp/a/b/c"), tmp("/tmp/d"), tmp("/top")];
        spec.stub_parents = parents;
        assert_eq!(output(spec), "/etc:\nhosts\nresolv.conf\n\n/tmp/a/b:\nc\n");
        assert!(!tree.exists("tmp/d") && !tree.exists("top") && !tree.exists("tmp/a/b/c"));
        assert_eq!(tree.exists("tmp/a/b"), left, "{parents:?}");
        assert_eq!(mtime(&tree.join("etc")), old);
        assert_eq!(mtime(&tree.join("")), old);
        if !left {
            assert_eq!(mtime(&tree.join("tmp")), old);
        }
    }
    // What the command does itself stays, with its time.
    fs::remove_dir_all(tree.join("tmp/a")).unwrap();
    age(&tree.join("tmp"));
    let mut spec = script(&tree, "touch /tmp/result");
    spec.mounts = vec![tmp("/tmp/d")];
    output(spec);
    assert!(tree.exists("tmp/result") && !tree.exists("tmp/d"));
    assert!(mtime(&tree.join("tmp")).0 > old.0);
}

fn mount_points_are_not_removed_elsewhere() {
    let tree = Tree::new();
    let canary = TempDir::new_in("/var/tmp").unwrap();
    let precious = canary.path().join("stub");
    fs::write(&precious, "").unwrap();
    fs::create_dir(tree.join("d")).unwrap();
    tree.write("e/stub", "");
    let link = canary.path().to_str().unwrap();
    let mut spec = script(&tree, &format!("mv /d /moved; ln -s {link} /d; ln -s /e /f"));
    let file = MountSource::File { bytes: Vec::new(), uid: 0, gid: 0, mode: 0o644 };
    spec.mounts = vec![mount("/d/stub", file, Access::ReadOnly)];
    output(spec);
    assert!(precious.exists() && tree.exists("e/stub"));
    assert!(!tree.exists("moved/stub"), "the stub itself is found where it went");
}

fn dangling_resolv_conf_is_a_mount_point() {
    let tree = Tree::new();
    symlink("../run/systemd/resolve/stub-resolv.conf", tree.join("etc/resolv.conf")).unwrap();
    let text = output(script(&tree, "cat /etc/resolv.conf | wc -l"));
    assert_ne!(text, "0\n");
    assert!(fs::symlink_metadata(tree.join("etc/resolv.conf")).unwrap().is_symlink());
    assert!(!tree.exists("run/systemd/resolve/stub-resolv.conf"));
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

fn limits_apply() {
    let tree = Tree::new();
    assert_eq!(output(script(&tree, "ulimit -Sn")), "1024\n");
    let mut spec = script(&tree, "ulimit -Sn; ulimit -Hn; ulimit -Sc");
    let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    spec.ulimits = vec![limit("nofile", 99, 100), limit("core", 0, 0)];
    assert_eq!(output(spec), "99\n100\n0\n");
    let mut spec = script(&tree, "true");
    spec.ulimits = vec![limit("nope", 1, 1)];
    assert!(matches!(try_run(spec), Err(RunError::Step { .. })));
}

fn running_out_of_memory_is_said() {
    let tree = Tree::new();
    let mut spec = script(&tree, "dd if=/dev/zero of=/dev/null bs=200M count=1");
    spec.limits.memory = Some(32 << 20);
    spec.limits.memory_swap = Some(32 << 20);
    let status = run(spec).status;
    assert_eq!(status.reason.as_deref(), Some("its memory ran out: the limit of its cgroup was reached"));
    assert_ne!(status.code, 0);
}

/// Runs a trial of this binary again with an odd environment: what is in it must reach neither helper nor command.
fn the_engine_s_environment_does_not_leak() {
    const AGAIN: &str = "BKL_TEST_ODD_ENVIRONMENT";
    let tree = Tree::new();
    if std::env::var_os(AGAIN).is_none() {
        use std::os::unix::ffi::OsStrExt;
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "exec::needs_root::the_engine_s_environment_does_not_leak"])
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
    run(crate::exec::spec(&tree, &["grab"]));
    assert_eq!((mtime(program), fs::metadata(program).unwrap().len()), before);
}

/// Fails if anything of ours is left on the machine.
fn assert_nothing_left(marker: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = leftovers(marker);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn leftovers(marker: &str) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let command = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        if command.contains(marker) {
            let cgroups = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
            left.push(format!("{} {command} {cgroups}", path.display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(mounts.lines().filter(|it| it.contains(marker)).map(str::to_owned));
    left
}

/// Cgroups of the helpers that this process started; tests run side by side.
fn own_cgroups() -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|it| it.unwrap().path());
    let groups =
        hierarchies.flat_map(|it| fs::read_dir(it).into_iter().flatten()).map(|it| it.unwrap().path());
    groups.filter(|it| it.file_name().unwrap().to_str().is_some_and(|it| it.starts_with("bkl."))).collect()
}

fn sleeping(tree: &Tree, marker: &str) -> ExecSpec {
    script(
        tree,
        &format!("(sleep 1000; : {marker}) & (exec sh -c 'sleep 1000; : {marker}') & sleep 1001; : {marker}"),
    )
}

fn cancelling_leaves_nothing() {
    let tree = Tree::new();
    let marker = tree.path().file_name().unwrap().to_str().unwrap().to_owned();
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let switch = cancel.child();
        for delay_ms in [0, 3, 8, 15, 200] {
            let cancel = switch.child();
            let later = cancel.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                later.cancel();
            });
            let started = Instant::now();
            let result = run_in(&runner, sleeping(&tree, &marker), &cancel).await;
            assert!(matches!(result, Err(RunError::Cancelled)));
            assert!(started.elapsed() < Duration::from_secs(3));
        }
    });
    assert_nothing_left(&marker);
}

fn dropping_leaves_nothing() {
    let tree = Tree::new();
    let marker = tree.path().file_name().unwrap().to_str().unwrap().to_owned();
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        for delay_ms in [1, 6, 200] {
            let run = run_in(&runner, sleeping(&tree, &marker), &cancel);
            assert!(tokio::time::timeout(Duration::from_millis(delay_ms), run).await.is_err());
        }
    });
    assert_nothing_left(&marker);
}

/// Also what a killed engine comes to: its helpers see their socket close, as after a drop; here a helper itself is killed.
fn a_dead_helper_takes_its_command_along() {
    let tree = Tree::new();
    let marker = tree.path().file_name().unwrap().to_str().unwrap().to_owned();
    let cgroup: Arc<Mutex<Option<String>>> = Arc::default();
    let seen = Arc::clone(&cgroup);
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let search = marker.clone();
        tokio::spawn(async move {
            // The cgroup is named after the helper.
            let helper = loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let left = leftovers(&search).join("\n");
                if let Some((_, name)) = left.split_once("/bkl.") {
                    break name.lines().next().unwrap().to_owned();
                }
            };
            let pid = helper.split('.').next().unwrap().parse().unwrap();
            *seen.lock().unwrap() = Some(helper);
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        let result = run_in(&runner, sleeping(&tree, &marker), &cancel).await;
        assert!(matches!(result, Err(RunError::Bug { .. })));
    });
    assert_nothing_left(&marker);
    let helper = cgroup.lock().unwrap().clone().unwrap();
    bkl::engine::exec::sweep();
    let left: Vec<_> = own_cgroups().into_iter().filter(|it| it.ends_with(format!("bkl.{helper}"))).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// libcontainer called from a process with threads hangs on the allocator's locks; the helper must not.
fn many_at_once() {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let allocators: Vec<_> = (0..8)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    kept.push(vec![0u8; 1000 + kept.len() % 5000]);
                    if kept.len() > 200 {
                        kept.clear();
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            })
        })
        .collect();
    let trees: Vec<_> = (0..40).map(|_| Tree::new()).collect();
    let cwd = std::env::current_dir().unwrap();
    runtime().block_on(async {
        let (runner, cancel) = (Arc::new(runner()), Cancel::new());
        let runs = trees.iter().enumerate().map(|(index, tree)| {
            let (runner, cancel) = (Arc::clone(&runner), cancel.clone());
            let mut spec = script(tree, &format!("echo {index}; seq 20000 | wc -l"));
            spec.network = if index % 4 == 0 { Network::None } else { Network::Host };
            async move { (index, run_in(&runner, spec, &cancel).await) }
        });
        for (index, result) in futures_util::future::join_all(runs).await {
            let ran = result.unwrap_or_else(|err| panic!("{err}"));
            assert_eq!((ran.out, ran.status.code), (format!("{index}\n20000\n"), 0));
        }
    });
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for it in allocators {
        it.join().unwrap();
    }
    assert_eq!(std::env::current_dir().unwrap(), cwd);
}

/// The trials that depend on it again, in a mount namespace in which only a version 2 hierarchy is mounted.
fn cgroup_version_2_does_as_well() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !mounts.lines().any(|it| it.contains(" - cgroup ")) {
        // This machine has nothing else: all trials have shown it.
        return;
    }
    let names =
        ["confinement_is_dockers", "output_and_exit_codes", "cancelling_leaves_nothing", "many_at_once"];
    for name in names {
        let script =
            "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" --exact \"$1\"";
        let output = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(format!("exec::needs_root::{name}"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
