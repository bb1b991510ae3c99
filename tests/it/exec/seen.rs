//! What a command sees, told by a program made for it (`probe.c`), with every runner: one expectation for all of them.
//!
//! `tests/golden/exec/default.txt` is the whole report of a command that asks for nothing special. Each other case has
//! only the lines that differ from it: `-` before what is gone, `+` before what is new. `BKL_UPDATE=1` rewrites all, from
//! what the direct runner gives. What the runners do not have in common stands in [`DIFFERENCES`].

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::sync::OnceLock;

use super::*;

/// What libcontainer's reports say, what all others do, and why that is left so.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "open: /dev/tun allowed",
        "open: /dev/tun EPERM",
        "libcontainer always lets commands open it where version 1 of cgroups limits devices; runc stopped that with 1.2",
    ),
    (
        "dev: /dev/net directory 777 0:0",
        "dev: /dev/net directory 755 0:0",
        "libcontainer makes directories of devices for everybody to write to; only commands without confinement have one",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("what_commands_see", what_commands_see),
        ("what_commands_see_one_after_the_other", what_commands_see_one_after_the_other),
        ("every_expectation_has_its_case", every_expectation_has_its_case),
        ("big_output_comes_whole", big_output_comes_whole),
        ("orphans_end_with_the_command", orphans_end_with_the_command),
        ("what_ran_before_is_not_seen", what_ran_before_is_not_seen),
    ]
}

/// What lives as long as the command.
struct Scene {
    tree: Tree,
    spec: ExecSpec,
    other: Tree,
    _listener: UnixListener,
}

/// What is special about a case.
type Set = fn(&mut Scene);

const SCENES: &[(&str, Set)] = &[
    ("default", |_| {}),
    ("environment", |it| it.spec.env = words(&["Z=1", "PATH=/x", "A=2", "Z=3", "nothing", "E=", "B=a=b"])),
    ("arguments", |it| it.spec.args.extend(words(&["", "two words", "ö\n\"$x\""]))),
    ("directory", |it| it.spec.cwd = "made/by/us".into()),
    ("user-root", |it| it.spec.user = "root".into()),
    ("user-name", |it| it.spec.user = "app".into()),
    ("user-and-group", |it| it.spec.user = "app:wheel".into()),
    ("user-numbers", |it| it.spec.user = "1000:1000".into()),
    ("user-unknown", |it| it.spec.user = "4242".into()),
    ("read-only-root", |it| it.spec.root_access = Access::ReadOnly),
    ("hostname", |it| it.spec.hostname = "mine".into()),
    ("extra-hosts", |it| {
        it.spec.extra_hosts = vec![
            HostLine { host: "db".into(), ip: "10.0.0.7".parse().unwrap() },
            HostLine { host: "six".into(), ip: "fd00::7".parse().unwrap() },
        ];
    }),
    ("strict", |it| it.spec.profile = Profile::Strict),
    ("strict-user", |it| {
        it.spec.profile = Profile::Strict;
        it.spec.user = "app".into();
    }),
    ("network-none", |it| it.spec.network = Network::None),
    ("insecure", |it| it.spec.security = Security::Insecure(granted().insecure.unwrap())),
    ("insecure-user", |it| {
        it.spec.security = Security::Insecure(granted().insecure.unwrap());
        it.spec.user = "app".into();
    }),
    ("ulimits", |it| {
        let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        it.spec.ulimits = vec![limit("nofile", 99, 100), limit("core", 0, 0), limit("NPROC", 77, 78)];
    }),
    ("tmpfs-size", |it| {
        it.spec.mounts = vec![mount("/mem", MountSource::Tmpfs { size: Some(65536) }, Access::ReadWrite)];
        it.spec.args.push("/mem".into());
    }),
    ("tmpfs-read-only", |it| {
        it.spec.mounts = vec![mount("/mem", MountSource::Tmpfs { size: None }, Access::ReadOnly)];
        it.spec.args.push("/mem".into());
    }),
    ("secrets", |it| {
        let file = |mode| MountSource::File { bytes: b"hush\n".to_vec(), uid: 5, gid: 6, mode };
        it.spec.mounts = vec![
            mount("/run/secrets/plain", file(0o400), Access::ReadOnly),
            mount("/run/secrets/program", file(0o755), Access::ReadOnly),
        ];
        it.spec.args.extend(words(&["/run", "/run/secrets", "/run/secrets/plain", "/run/secrets/program"]));
    }),
    ("agent", |it| {
        let path = it.other.path().into();
        let source = MountSource::Dir { path, selector: "agent.sock".into() };
        it.spec.mounts = vec![mount("/run/agent/0", source, Access::ReadWrite)];
        it.spec.args.push("/run/agent/0".into());
    }),
    ("cache", |it| {
        let source = MountSource::Dir { path: it.other.join("sub"), selector: String::new() };
        it.spec.mounts = vec![mount("/cache", source, Access::ReadWrite)];
        it.spec.args.push("/cache".into());
    }),
    ("selectors", |it| {
        let part = |selector: &str| MountSource::Tree { fd: it.other.mount(), selector: selector.into() };
        let (file, dir) = (part("/sub/dir/file"), part("sub/dir"));
        it.spec.mounts =
            vec![mount("/one", file, Access::ReadOnly), mount("/cache/dir", dir, Access::ReadWrite)];
        it.spec.args.extend(words(&["/one", "/cache", "/cache/dir"]));
    }),
    ("limits", |it| {
        it.spec.limits = Limits { memory: Some(64 << 20), cpu_shares: Some(512), ..Limits::default() };
    }),
];

fn scene() -> Scene {
    let (tree, other) = (Tree::new(), Tree::new());
    fs::hard_link(probe(), tree.join("bin/probe"))
        .or_else(|_| fs::copy(probe(), tree.join("bin/probe")).map(|_| ()))
        .unwrap();
    tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n");
    tree.write("etc/group", "root:x:0:root\nadm:x:4:root,app\nwheel:x:10:app\napp:x:1001:\n");
    other.write("sub/dir/file", "selected\n");
    let listener = UnixListener::bind(other.join("agent.sock")).unwrap();
    let spec = spec(&tree, &["/bin/probe"]);
    Scene { tree, spec, other, _listener: listener }
}

/// The probe.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<Compiled> = OnceLock::new();
    &PROBE.get_or_init(|| compiled("probe")).path
}

fn what_commands_see() {
    let found: BTreeMap<&str, String> = scenes().map(|(name, set)| (*name, see(*set, run))).collect();
    let update = std::env::var_os("BKL_UPDATE").is_some() && KIND.get() == RunnerKind::Direct;
    if update {
        fs::create_dir_all(golden()).unwrap();
        let default = &found["default"];
        for (name, report) in &found {
            fs::write(golden().join(format!("{name}.txt")), shown(name, report, default)).unwrap();
        }
    }
    let reports = found.iter().map(|(name, report)| (*name, report.as_str()));
    compare(&found["default"], reports);
}

/// The same from one runner: a container is created before its command is known, and what was there before may be of another
/// kind, of the same, or the command's that just ran.
fn what_commands_see_one_after_the_other() {
    let (runtime, runner) = (runtime(), runner());
    let again =
        |spec| runtime.block_on(run_in(&runner, spec, &Cancel::new())).unwrap_or_else(|err| panic!("{err}"));
    let mut found = Vec::new();
    for (name, set) in scenes().chain(scenes().rev()).flat_map(|it| [it, it]) {
        found.push((*name, see(*set, again)));
    }
    let default = found.iter().find(|it| it.0 == "default").expect("there is one").1.clone();
    compare(&default, found.iter().map(|(name, report)| (*name, report.as_str())));
}

fn scenes() -> impl DoubleEndedIterator<Item = &'static (&'static str, Set)> {
    let can_limit = can_limit();
    SCENES.iter().filter(move |(name, _)| can_limit || *name != "limits")
}

/// What the expectation of a case has of its report.
fn shown(name: &str, report: &str, default: &str) -> String {
    if name == "default" { report.to_owned() } else { difference(default, report) }
}

fn compare<'a>(default: &str, reports: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut wrong = Vec::new();
    for (name, report) in reports {
        let found = shown(name, report, default);
        let path = golden().join(format!("{name}.txt"));
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}:\n{}", path.display(), difference(&expected, &found)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whether there are controllers to limit with: version 2 has none where version 1 holds them.
pub(super) fn can_limit() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    ["memory", "cpu", "cpuset", "pids"].iter().all(|controller| {
        mounts.lines().any(|it| it.contains(" - cgroup ") && it.contains(controller))
            || unified.split_whitespace().any(|it| it == *controller)
    })
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/exec")
}

fn every_expectation_has_its_case() {
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(SCENES.iter().any(|(name, _)| *name == stem), "{} has no case", path.display());
    }
}

/// The report of one case, with what differs between machines replaced.
fn see(set: Set, run: impl FnOnce(ExecSpec) -> Ran) -> String {
    let mut scene = scene();
    set(&mut scene);
    let network = scene.spec.network;
    let is_confined = matches!(scene.spec.security, Security::Sandbox);
    let Scene { tree, spec, other, _listener } = scene;
    let ran = run(spec);
    assert_eq!((ran.status.code, ran.err.as_str()), (0, ""), "{:?}\n{}", ran.status.reason, ran.out);
    drop((tree, other));
    let of_any_machine = |it: &str| if is_confined { Some(it.to_owned()) } else { unconfined(it) };
    let lines = ran.out.lines().filter_map(of_any_machine);
    let mut lines: Vec<String> = lines.filter_map(|it| portable(&it, network)).collect();
    if KIND.get() == RunnerKind::Libcontainer {
        for (theirs, common, _) in DIFFERENCES {
            // What nobody is kept from is none.
            let is_common = !is_confined && theirs.starts_with("open: ");
            for line in lines.iter_mut().filter(|it| it == theirs && !is_common) {
                *line = (*common).to_owned();
            }
        }
    }
    // The kernel lists mounts in an order of its own; those of one place keep theirs.
    lines.sort_by(|a, b| topic(a).cmp(topic(b)).then_with(|| mounted_on(a).cmp(mounted_on(b))));
    lines.join("\n") + "\n"
}

fn topic(line: &str) -> &str {
    line.split(':').next().unwrap_or("")
}

fn mounted_on(line: &str) -> &str {
    line.strip_prefix("mount: ").and_then(|it| it.split(' ').next()).unwrap_or("")
}

/// A line of the report of a command without confinement, which sees much of the machine, as it is on every one.
fn unconfined(line: &str) -> Option<String> {
    let (topic, rest) = line.split_once(": ").unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    let is_kept = match topic {
        // The first of them makes a user namespace, and how the kernel takes others depends on how it was made.
        "call" => ["unshare", "mount", "fsopen"].contains(&words[0]),
        "write" => !words[0].starts_with("/sys/fs/cgroup"),
        "masked" => ["/proc/keys", "/sys/firmware"].contains(&words[0]),
        // There are eight at least, and as many more as are in use.
        "dev" => {
            words[0].strip_prefix("/dev/loop").and_then(|it| it.parse().ok()).is_none_or(|it: u32| it < 8)
        }
        "status" if words[0].starts_with("Cap") => {
            let own = fs::read_to_string("/proc/self/status").unwrap();
            let all = own.lines().find_map(|it| it.strip_prefix("CapPrm:\t")).unwrap();
            assert_eq!(words[1], all, "{line}");
            return Some(format!("status: {} the engine's", words[0]));
        }
        _ => true,
    };
    is_kept.then(|| line.to_owned())
}

/// A line of the report as it is on every machine; `None` for what only this one has.
fn portable(line: &str, network: Network) -> Option<String> {
    let (topic, rest) = line.split_once(": ").unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    let rest = match topic {
        "status" if words[0] == "Seccomp_filters:" => return None,
        "oom_score_adj" => {
            let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
            if rest == own.trim() { "as the engine's".to_owned() } else { rest.to_owned() }
        }
        "rlimit" => limit(&words),
        "mount" => mount_line(rest)?,
        "ns" => {
            let own = fs::read_link(format!("/proc/self/ns/{}", words[0])).unwrap();
            let whose = if own.to_str() == Some(words[1]) { "the engine's" } else { "its own" };
            // A cgroup namespace makes sense with version 2 only, and is made there only.
            if words[0] == "cgroup" {
                return None;
            }
            format!("{} {whose}", words[0])
        }
        // Which hierarchies there are is the machine's matter; those that limit are joined.
        "cgroup" => {
            let mut parts = rest.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap());
            let limits = ["devices", "memory", "pids"].contains(&controllers);
            let is_own = path.starts_with("/bkl.") || (controllers.is_empty() && path == "/");
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let is_mounted = mounts.lines().any(|it| it.contains(" - cgroup ") && it.contains(controllers));
            assert!(!limits || !is_mounted || is_own, "{line}");
            return None;
        }
        // How it is refused depends on what is there.
        "write" if words[0].starts_with("/sys/fs/cgroup") => {
            assert_ne!(words[1], "ok");
            return None;
        }
        "net" if !matches!(network, Network::None) => return None,
        _ => rest.to_owned(),
    };
    Some(format!("{topic}: {rest}"))
}

fn limit(words: &[&str]) -> String {
    let numbers = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let title = match words[0] {
        "as" => "address space",
        "core" => "core file size",
        "cpu" => "cpu time",
        "data" => "data size",
        "fsize" => "file size",
        "locks" => "file locks",
        "memlock" => "locked memory",
        "msgqueue" => "msgqueue size",
        "nice" => "nice priority",
        "nofile" => "open files",
        "nproc" => "processes",
        "rss" => "resident set",
        "rtprio" => "realtime priority",
        "rttime" => "realtime timeout",
        "sigpending" => "pending signals",
        _ => "stack size",
    };
    let line = limits.lines().find(|it| it.starts_with(&format!("Max {title}"))).unwrap();
    let own = numbers(&line[25..].replace("unlimited", "-1"));
    if own[..2] == words[1..3] {
        return format!("{} as the engine's", words[0]);
    }
    // No machine lets everybody raise it.
    let hard = if words[2] == "524288" || words[2] == own[1] { "most" } else { words[2] };
    format!("{} {} {hard}", words[0], words[1])
}

/// A mount; what hides or protects something is told otherwise, and where files lie on disk is nobody's business.
fn mount_line(rest: &str) -> Option<String> {
    let (left, right) = rest.split_once(" | ").unwrap();
    let mut left: Vec<&str> = left.split(' ').collect();
    let (root, options) = right.split_once(' ').unwrap();
    if ["/proc/", "/sys/"].iter().any(|it| left[0].starts_with(it)) {
        return None;
    }
    if !["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2"].contains(&left[1]) {
        left[1] = "disk";
        return Some(left.join(" "));
    }
    let root = if root == "/" { "all" } else { "a part" };
    let options: Vec<&str> = options.split(',').filter(|it| *it != "inode64").collect();
    Some(format!("{} | {root} {}", left.join(" "), options.join(",")))
}

/// The lines that differ, in order.
fn difference(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    // Lengths of the longest common lists of lines, from each pair of places on.
    let mut common = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push_str(&format!("-{}\n", a[i]));
            i += 1;
        } else {
            out.push_str(&format!("+{}\n", b[j]));
            j += 1;
        }
    }
    out
}

fn big_output_comes_whole() {
    let tree = Tree::new();
    let ran = run(script(&tree, "seq 300000; seq 300000 >&2; dd if=/dev/zero bs=1M count=9 2>/dev/null"));
    let numbers: usize = (1..=300_000).map(|it: usize| it.to_string().len() + 1).sum();
    assert_eq!((ran.out.len(), ran.err.len()), (numbers + (9 << 20), numbers));
}

/// What a command leaves running holds neither its end nor its output up, and is gone; zombies are no problem.
fn orphans_end_with_the_command() {
    let tree = Tree::new();
    let started = Instant::now();
    let text = "for i in 1 2 3; do (sleep 1000 & exec sleep 0) & (true &) ; done; sleep 0.1; echo done";
    assert_eq!(output(script(&tree, text)), "done\n");
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// One engine's commands, one after the other, may be run by the same helper: none sees what another had.
fn what_ran_before_is_not_seen() {
    let trees: Vec<Tree> = (0..3).map(|_| Tree::new()).collect();
    let runner = runner();
    runtime().block_on(async {
        let cancel = Cancel::new();
        let mut first = script(&trees[0], "ulimit -n 50; umask 077; : > /dev/shm/x; cat /run/secret; hostname");
        first.mounts = vec![
            mount(
                "/run/secret",
                MountSource::File { bytes: b"hush\n".to_vec(), uid: 0, gid: 0, mode: 0o400 },
                Access::ReadOnly,
            ),
            mount("/mem", MountSource::Tmpfs { size: None }, Access::ReadWrite),
        ];
        first.hostname = "first".into();
        first.user = "7:8".into();
        first.network = Network::None;
        let ran = run_in(&runner, first, &cancel).await.unwrap();
        assert_eq!(ran.out, "first\n");
        let refused = script(&trees[1], "true");
        let refused = ExecSpec {
            mounts: vec![mount("/x/..", MountSource::Tmpfs { size: None }, Access::ReadWrite)],
            ..refused
        };
        assert!(matches!(run_in(&runner, refused, &cancel).await, Err(RunError::Step { .. })));
        let mut report = script(
            &trees[2],
            "ls /dev/shm /run /mem; umask; ulimit -n; hostname; id -u; cut -d' ' -f5 /proc/self/mountinfo | sort | \
             uniq -c | grep -v /proc/ | grep -v /sys/; ls -l /proc/self/ns/net",
        );
        report.user = "0".into();
        let again = run_in(&runner, report, &cancel).await.unwrap();
        assert!(again.out.starts_with("/dev/shm:\n0022\n1024\nbuildkitsandbox\n0\n"), "{}{}", again.out, again.err);
        assert_eq!(again.err.matches("No such file").count(), 2, "{}", again.err);
        assert!(again.out.contains(fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap()));
    });
}
