//! Builds as a normal user, with the real binary: the same results as root's, or words about what is missing. The trials
//! themselves need root, to become others; those with ranges of users need newuidmap.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::cli::busybox_root;

pub fn trials() -> Vec<Trial> {
    vec![
        crate::trial("rootless::needs_root::one_user", one_user),
        crate::trial("rootless::needs_root::a_range_of_users", a_range_of_users),
        crate::trial("rootless::needs_root::results_are_roots", results_are_roots),
        crate::trial("rootless::needs_root::what_a_command_can_do", what_a_command_can_do),
        crate::trial("rootless::needs_root::killed_helpers_take_all_along", killed_helpers_take_all_along),
        crate::trial("rootless::needs_root::what_is_missing_is_said", what_is_missing_is_said),
        crate::trial("rootless::needs_root::the_network_is_the_sandboxs", the_network_is_the_sandboxs),
        crate::trial("rootless::needs_root::stores_are_their_owners", stores_are_their_owners),
    ]
}

/// Nobody of this machine.
const UID: u32 = 71_234;

const PROGRAM: &str = r#"let base = scratch.copy(local("busybox"), ".", "/").image().with(env: { PATH: "/bin" })
let first = base.run("mkdir -p /d/e /x/deep; touch -d @1 /d/e/f /d/g /x/y; ln /d/g /d/h; ln -s f /d/e/l")
let changed = first.run("""
  rm -r /d/e; mkdir /d/e; touch -d @2 /d/e/new; rm -r /x; mkdir /x; mkfifo /x/pipe; touch -d @3 /d/g
  find /d /x -exec touch -h -d @4 {} +
  """)
target plain -> "dist" = changed
target difference = diff(first, changed)
target whoami = changed.run("mkdir -m 777 /o").run("id -u > /o/id", user: "1000:1001")
target given = changed.copy(local("busybox"), "bin/sh", "/given", chown: "5:6")
target look = changed.run("""
  exec > /out/seen
  grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status
  for it in null zero full random urandom; do echo $it $(stat -c %F:%t:%T /dev/$it); done
  for it in /sys/fs/cgroup/x /sys/kernel/x /proc/sys/kernel/domainname /proc/sysrq-trigger /etc/hosts; do
    (echo x > $it) 2>/dev/null && echo wrote $it
  done
  find /sys/fs/cgroup | wc -l
  mknod /null c 1 3 2>/dev/null && echo made a node
  mount -t tmpfs none /x 2>/dev/null && echo mounted
  stat -c %t:%T /proc/keys; hostname; ls /proc/self/fd | wc -l
  ls /root /home /var 2>/dev/null | wc -l; echo $$
  """, outs: { out: out("/out") }, cache: true).out
"#;

/// A folder with the program, open to everybody, and a home.
struct Place {
    dir: TempDir,
    /// What /etc/subuid and /etc/subgid say for this trial.
    ranges: &'static str,
}

struct Ran {
    text: String,
    succeeded: bool,
}

impl Place {
    fn new(ranges: &'static str) -> Place {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let project = dir.path().join("project");
        busybox_root(&project.join("busybox"));
        fs::write(project.join("build.bkl"), PROGRAM).unwrap();
        fs::write(dir.path().join("ranges"), ranges).unwrap();
        // newuidmap wants to know a name.
        let passwd =
            fs::read_to_string("/etc/passwd").unwrap() + &format!("nobodys:x:{UID}:{UID}::/:/bin/sh\n");
        fs::write(dir.path().join("passwd"), passwd).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        for it in ["project", "home"] {
            chown(dir.path().join(it), Some(UID), Some(UID)).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_bkl"), dir.path().join("bkl")).unwrap();
        Place { dir, ranges }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn dist(&self, path: &str) -> PathBuf {
        self.path("project").join(path)
    }

    /// Runs the program as a user without rights, in a mount namespace with this place's ranges; `before` is done there as root.
    fn bkl_after(&self, before: &str, args: &[&str]) -> Ran {
        let script = format!(
            "for it in subuid subgid; do mount --bind {0}/ranges /etc/$it; done; mount --bind {0}/passwd /etc/passwd; {before} \
             exec setpriv --reuid {UID} --regid {UID} --clear-groups \"$@\"",
            self.dir.path().display()
        );
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(self.path("bkl"))
            .args(args)
            .env_remove("BKL_STORE")
            .env_remove("XDG_DATA_HOME")
            .env("HOME", self.path("home"))
            .env("NO_COLOR", "1")
            .current_dir(self.path("project"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        Ran { text: text.into_owned(), succeeded: output.status.success() }
    }

    fn build(&self, args: &[&str]) -> String {
        let ran = self.bkl_after("", &[&["build"], args].concat());
        assert!(ran.succeeded, "with ranges `{}`: {}", self.ranges, ran.text);
        ran.text
    }

    fn fails(&self, before: &str, args: &[&str], why: &[&str]) {
        let ran = self.bkl_after(before, &[&["build", "--format", "short"], args].concat());
        assert!(!ran.succeeded, "{}", ran.text);
        for why in why {
            assert!(ran.text.contains(why), "`{why}` is not in {}", ran.text);
        }
    }
}

const RANGE: &str = "71234:2000000:65536\n";

fn has_mappers() -> bool {
    ["newuidmap", "newgidmap"].iter().all(|it| Path::new("/usr/bin").join(it).exists())
}

fn one_user() {
    let place = Place::new("");
    place.build(&["plain"]);
    // Cached, whoever asks: whiteouts and all are found again.
    assert!(place.build(&["plain"]).contains("0 run"));
    assert!(place.dist("dist/d/e/new").exists() && !place.dist("dist/d/e/f").exists());
    assert!(place.dist("dist/x/pipe").exists() && !place.dist("dist/x/deep").exists());
    place.build(&["difference"]);
    place.fails("", &["whoami"], &["in this user namespace", "Invalid argument"]);
    place.fails("", &["given"], &["cannot set the owner of `/given`"]);
    let ran = place.bkl_after("", &["build", "given"]);
    assert!(ran.text.replace("\n       ", "").contains("add him to /etc/subuid"), "{}", ran.text);
}

fn a_range_of_users() {
    if !has_mappers() {
        return;
    }
    let place = Place::new(RANGE);
    place.build(&["whoami", "-o", "one"]);
    assert_eq!(fs::read_to_string(place.dist("one/o/id")).unwrap(), "1000\n");
    place.build(&["given", "-o", "two"]);
    // What is written outside is the user's, who could not remove it otherwise.
    assert_eq!(fs::symlink_metadata(place.dist("two/given")).unwrap().uid(), UID);
    // What belongs to other users of the range goes, too.
    let ran = place.bkl_after("", &["prune", "--all"]);
    assert!(ran.succeeded && ran.text.contains("Total: "), "{}", ran.text);
    assert_eq!(fs::read_dir(place.path("home/.local/share/bkl/layers")).unwrap().count(), 0, "{}", ran.text);
    let ran = place.bkl_after("", &["du", "--format", "json"]);
    assert!(ran.succeeded && ran.text.contains("\"records\": []"), "{}", ran.text);
    let broken = Place::new("71234:4294967000:1000\n");
    broken.fails("", &["plain"], &["the users of this user cannot be mapped", "newuidmap"]);
}

/// Names, kinds, owners, modes and times of what is in the layers of an image: the same for root and for others.
fn results_are_roots() {
    let with_range = if has_mappers() { RANGE } else { "" };
    let place = Place::new(with_range);
    place.build(&["plain", "-o", "type=oci,dest=user.tar"]);
    let root = Command::new(env!("CARGO_BIN_EXE_bkl"))
        .args(["build", "plain", "-o", "type=oci,dest=root.tar"])
        .env("BKL_STORE", place.path("root-store"))
        .current_dir(place.path("project"))
        .output()
        .unwrap();
    assert!(root.status.success(), "{}", String::from_utf8_lossy(&root.stderr));
    let layers = |archive: &str| -> BTreeMap<usize, String> {
        let dir = place.path(archive.trim_end_matches(".tar"));
        fs::create_dir(&dir).unwrap();
        let tar = |args: &[&str]| {
            let output = Command::new("tar").args(args).current_dir(&dir).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        tar(&["xf", place.dist(archive).to_str().unwrap()]);
        let json = |path: PathBuf| -> serde_json::Value {
            serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
        };
        let blob =
            |digest: &serde_json::Value| dir.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
        let manifest = json(blob(&json(dir.join("index.json"))["manifests"][0]["digest"]));
        let layers = manifest["layers"].as_array().unwrap().iter();
        let list = |layer: &serde_json::Value| tar(&["tvf", blob(&layer["digest"]).to_str().unwrap()]);
        // Directories that the engine changed have the time of that.
        let timeless = |text: String| -> String {
            let lines = text.lines().map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let keeps_time = !line.starts_with('d');
                let words = words.iter().enumerate().filter(|(at, _)| keeps_time || ![3, 4].contains(at));
                words.map(|it| *it.1).collect::<Vec<_>>().join(" ") + "\n"
            });
            lines.collect()
        };
        layers.map(list).map(timeless).enumerate().collect()
    };
    let (user, root) = (layers("user.tar"), layers("root.tar"));
    assert_eq!(user, root);
    assert!(root.values().any(|it| it.contains(".wh.")), "{root:?}");
}

/// What confines root's commands confines these as well (runc CVE-2023-25809 for cgroups).
fn what_a_command_can_do() {
    for ranges in ["", RANGE] {
        if !ranges.is_empty() && !has_mappers() {
            continue;
        }
        let place = Place::new(ranges);
        for network in ["", ", network: .none"] {
            let program = PROGRAM.replace(", cache: true", network);
            fs::write(place.dist("build.bkl"), program).unwrap();
            place.build(&["look", "-o", "seen"]);
            let text = fs::read_to_string(place.dist("seen/seen")).unwrap();
            let expected = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
                CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n\
                null character special file:1:3\nzero character special file:1:5\n\
                full character special file:1:7\nrandom character special file:1:8\n\
                urandom character special file:1:9\n1\n1:3\nbuildkitsandbox\n4\n0\n1\n";
            assert_eq!(text, expected, "ranges `{ranges}`{network}");
        }
    }
}

/// Also a command that has forgotten to die with its parent, and whichever of the helper's two processes is killed.
fn killed_helpers_take_all_along() {
    let place = Place::new("");
    fs::copy(crate::exec::probe(), place.dist("busybox/bin/probe")).unwrap();
    let marker = place.dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    let program =
        PROGRAM.to_owned() + &format!("target hold = changed.run(\"exec probe hold held-{marker}\")\n");
    fs::write(place.dist("build.bkl"), program).unwrap();
    let parents = |pid: u32| -> Option<u32> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let held = || -> Vec<u32> {
        let word = format!("held-{marker}");
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
        let is_held = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|&it| it == 0);
            words.next() == Some(b"probe") && words.any(|it| it == word.as_bytes())
        };
        pids.filter(is_held).collect()
    };
    for n_up in [1, 2] {
        std::thread::scope(|scope| {
            let build = scope.spawn(|| place.bkl_after("", &["build", "hold"]));
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            let command = loop {
                if let [pid] = held()[..] {
                    break pid;
                }
                assert!(std::time::Instant::now() < deadline && !build.is_finished(), "it does not start");
                std::thread::sleep(std::time::Duration::from_millis(20));
            };
            // Until it has forgotten.
            std::thread::sleep(std::time::Duration::from_millis(200));
            let helper = (0..n_up).try_fold(command, |pid, _| parents(pid)).unwrap();
            let line = fs::read_to_string(format!("/proc/{helper}/cmdline")).unwrap();
            assert!(line.contains("internal-run"), "{line}");
            let pid = rustix::process::Pid::from_raw(helper.cast_signed()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            let ran = build.join().unwrap();
            assert!(
                !ran.succeeded && ran.text.contains("the helper ended without an answer"),
                "{}",
                ran.text
            );
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
            while !held().is_empty() {
                assert!(std::time::Instant::now() < deadline, "it is left");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
    }
}

fn what_is_missing_is_said() {
    let place = Place::new("root:0:100000\n");
    // The limit is one of each namespace: in a new one, with all users, the host does not notice.
    let script = format!(
        "for it in subuid subgid; do mount --bind {0}/ranges /etc/$it; done; exec unshare --user --map-users=0,0,100000 \
         --map-groups=0,0,100000 sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid {UID} --regid \
         {UID} --clear-groups {0}/bkl build plain'",
        place.dir.path().display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .env("HOME", place.path("home"))
        .env("NO_COLOR", "1")
        .current_dir(place.path("project"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).replace("\n  │ ", " ").replace("\n        ", " ");
    for why in [
        "bkl::environment",
        "user.max_user_namespaces is 0",
        "as root: `sysctl user.max_user_namespaces=15000`",
    ] {
        assert!(text.contains(why), "`{why}` is not in {text}");
    }
    // Where /proc is hidden in part, no container can have one.
    let hidden = "mount -t tmpfs -o ro none /proc/acpi 2>/dev/null || mount -t tmpfs -o ro none /proc/fs;";
    place.fails(hidden, &["look"], &["cannot mount /proc of a container in this user namespace"]);
    let runner = place.bkl_after("export BKL_RUNNER=libcontainer;", &["build", "look"]);
    assert!(runner.text.contains("the runner `libcontainer` is root's only"), "{}", runner.text);
    let limited = PROGRAM.replace(", cache: true", ", memory: 64MiB");
    fs::write(place.dist("build.bkl"), limited).unwrap();
    place.fails("", &["look"], &["`memory` cannot be limited: cgroups are root's"]);
    let insecure = PROGRAM.replace(", cache: true", ", security: .insecure");
    fs::write(place.dist("build.bkl"), insecure).unwrap();
    let why = ["bkl::environment", "commands without confinement (`security: .insecure`) need root"];
    place.fails("", &["look", "--allow", "security.insecure"], &why);
}

/// The NAT's programs run in the user namespace, too: a command reaches nothing that listens on the host's loopback.
fn the_network_is_the_sandboxs() {
    for nat in ["pasta", "slirp4netns"] {
        if !Path::new("/usr/bin").join(nat).exists() {
            continue;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = Place::new("");
        let program = format!(
            r#"let base = scratch.copy(local("busybox"), ".", "/").image().with(env: {{ PATH: "/bin" }})
target look = base.run("""
  exec > /out/seen
  for it in 127.0.0.1 10.0.2.2 172.30.254.2 192.168.254.2; do
    busybox nc -w 1 $it {port} < /dev/null 2>/dev/null && echo reached $it
  done
  busybox ip route | grep -c default
  """, outs: {{ out: out("/out") }}).out
"#
        );
        fs::write(place.dist("build.bkl"), program).unwrap();
        let text = place.build(&["look", "-o", "seen", "--network", nat]);
        assert_eq!(fs::read_to_string(place.dist("seen/seen")).unwrap(), "1\n", "{nat}: {text}");
        assert!(listener.accept().is_err(), "{nat}");
    }
}

/// Nobody else reads a store, whoever owns it.
fn stores_are_their_owners() {
    let place = Place::new("");
    place.build(&["plain"]);
    let store = place.path("home/.local/share/bkl");
    let metadata = fs::metadata(&store).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (UID, 0o700));
    let roots = place.path("root-store");
    let root = Command::new(env!("CARGO_BIN_EXE_bkl"))
        .args(["build", "plain"])
        .env("BKL_STORE", &roots)
        .current_dir(place.path("project"))
        .output()
        .unwrap();
    assert!(root.status.success());
    for (store, stranger) in [(&store, "71235"), (&roots, "1000"), (&roots, "71234")] {
        let output = Command::new("setpriv")
            .args(["--reuid", stranger, "--regid", stranger, "--clear-groups", "find"])
            .arg(store)
            .args(["-mindepth", "1"])
            .output()
            .unwrap();
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
