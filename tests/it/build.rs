//! Builds with the real binary that a session of commands cannot express: signals, concurrent processes, a registry.
//! All need root and overlayfs.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::cli::busybox_root;

pub fn trials() -> Vec<Trial> {
    vec![
        crate::trial("build::root::ctrl_c_leaves_nothing_behind", || stopped_leaves_nothing(Stop::Interrupt)),
        crate::trial("build::root::sigterm_leaves_nothing_behind", || {
            stopped_leaves_nothing(Stop::Terminate);
        }),
        crate::trial("build::root::kill_9_leaves_nothing_behind", || stopped_leaves_nothing(Stop::Kill)),
        crate::trial("build::root::exports_that_wait_hear_ctrl_c", exports_that_wait_hear_ctrl_c),
        crate::trial("build::root::two_processes_run_a_step_once", two_processes_run_a_step_once),
        crate::trial("build::root::a_killed_build_is_in_the_history", a_killed_build_is_in_the_history),
        crate::trial("build::root::a_file_saved_meanwhile_is_built", a_file_saved_meanwhile_is_built),
        crate::trial("build::root::what_always_changes_is_an_error", what_always_changes_is_an_error),
        crate::trial("build::root::a_store_in_its_own_context_is_named", a_store_in_its_own_context_is_named),
        crate::trial("build::root::caches_between_processes", caches_between_processes),
        crate::trial("build::root::independent_steps_run_at_once", independent_steps_run_at_once),
        crate::trial("build::root::a_failure_stops_the_others", a_failure_stops_the_others),
        crate::trial("build::root::registry_pins_and_needs_no_network_after", registry_pins),
    ]
}

/// A program's folder with a busybox root, and a store of its own.
pub(crate) struct Project {
    temp: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new(program: &str) -> Project {
        let temp = tempfile::tempdir().unwrap();
        busybox_root(&temp.path().join("busybox"));
        let base = "let base = scratch.copy(local(\"busybox\"), \".\", \"/\").image().with(env: { PATH: \"/bin\" })\n";
        fs::write(temp.path().join("build.bkl"), format!("{base}{program}")).unwrap();
        Project { temp }
    }

    pub(crate) fn path(&self) -> &Path {
        self.temp.path()
    }

    fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    pub(crate) fn bkl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bkl"));
        command.args(args).current_dir(self.path()).env("BKL_STORE", self.store()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn build(&self, args: &[&str]) -> String {
        let output = self.bkl(&[&["build"], args].concat()).output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "bkl build {args:?} failed:\n{text}");
        text
    }
}

/// A file that changed between being looked at and being copied: the build goes on with what is there now, and what ran is
/// kept, also where no results were to be used.
fn a_file_saved_meanwhile_is_built() {
    let seconds = format!("2.{}1", std::process::id());
    let project = Project::new(&format!(
        "let ready = base.run(\"echo x$((1+1))y; sleep {seconds}\")\n\
         target app -> \"out\" = ready.copy(local(\"ctx\"), \"f\", \"/f\").run(\"echo x$((1+2))y\").only([\"f\"])\n"
    ));
    let file = project.path().join("ctx/f");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, "before").unwrap();
    for args in [&["build", "--progress", "plain"][..], &["build", "--progress", "plain", "--no-cache"]] {
        let child = project.bkl(args).spawn().unwrap();
        assert!(wait_until(Duration::from_secs(60), || 0 < processes_with(&seconds)), "{}", finish(child));
        let saved = format!("saved for {args:?}");
        fs::write(&file, &saved).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("ctx/f` changed during the build: building again\n"), "{text}");
        assert_eq!((text.matches("x2y").count(), text.matches("x3y").count()), (1, 1), "{text}");
        assert_eq!(fs::read_to_string(project.path().join("out/f")).unwrap(), saved);
    }
}

/// What ended before, with its result, and what was killed with it; asking sweeps.
fn a_killed_build_is_in_the_history() {
    let seconds = format!("77{}", std::process::id());
    let project = Project::new(&format!(
        "let first = base.copy(local(\"ctx\"), \"f\", \"/f\").run(\"echo one > /one; echo first\")\n\
         target app = first.run(\"echo second; sleep {seconds}\")\n"
    ));
    fs::create_dir(project.path().join("ctx")).unwrap();
    fs::write(project.path().join("ctx/f"), "f").unwrap();
    let mut child = project.bkl(&["build", "--progress", "plain"]).spawn().unwrap();
    assert!(wait_until(Duration::from_secs(60), || 0 < processes_with(&seconds)), "{}", finish(child));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = |args: &[&str]| {
        let output = project.bkl(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let log = said(&["log"]);
    let lines: Vec<Vec<&str>> = log.lines().map(|it| it.split_whitespace().collect()).collect();
    let [second, first] = &lines[..] else { panic!("{log}") };
    assert_eq!((first[2], second[2]), ("ok", "killed"), "{log}");
    assert_eq!((said(&["log", first[0]]), said(&["log", second[0]])), ("first\n".into(), "second\n".into()));
    let why = said(&["why", "app"]);
    assert!(why.contains("its build was killed when it last ran"), "{why}");
    // Once it has run, that counts; and what was noted once is not noted again.
    fs::write(
        project.path().join("build.bkl"),
        fs::read_to_string(project.path().join("build.bkl"))
            .unwrap()
            .replace(&format!("sleep {seconds}"), "true"),
    )
    .unwrap();
    project.build(&[]);
    let log = said(&["log"]);
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(log.lines().next().unwrap().contains("  ok  "), "{log}");
    assert!(said(&["why", "app"]).contains("echo second; "), "{}", said(&["why", "app"]));
}

/// Of two files the first has the step between run again, and when the second's turn comes it is another one.
fn what_always_changes_is_an_error() {
    let project = Project::new(
        "target app = base.copy(local(\"ctx\"), \"f\", \"/f\").run(\"sleep 2\").copy(local(\"ctx\"), \"g\", \"/g\")\n",
    );
    let dir = project.path().join("ctx");
    fs::create_dir(&dir).unwrap();
    // In place: a file that was made empty first is written to the disk when it is closed, which may take a while.
    let write = |n: u64| {
        for name in ["f", "g"] {
            let file =
                fs::File::options().create(true).truncate(false).write(true).open(dir.join(name)).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, format!("the {n}th").as_bytes(), 0).unwrap();
        }
    };
    write(0);
    let mut child = project.bkl(&["build", "--progress", "plain"]).spawn().unwrap();
    let start = Instant::now();
    for n in 1.. {
        write(n);
        std::thread::sleep(Duration::from_millis(20));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "it builds again and again: {}", finish(child));
    }
    let text = finish(child);
    assert_eq!(text.matches("building again").count(), 2, "{text}");
    assert!(text.contains("bkl::context_changed"), "{text}");
}

fn a_store_in_its_own_context_is_named() {
    let project = Project::new("target app = base.run(\"true\").copy(local(\".\"), \".\", \"/all\")\n");
    let output = project.bkl(&["build", "--progress", "plain"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).replace("\n  │ ", "").replace("\n        ", " ");
    assert!(!output.status.success() && !text.contains("building again"), "{text}");
    for part in ["bkl::context_changed", "the store `", "lies in a directory that is copied", ".bklignore"] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    // As it says.
    fs::write(project.path().join(".bklignore"), "store\n").unwrap();
    project.build(&[]);
}

/// Two processes with steps on one cache: locked ones take turns, private ones have a directory each, shared ones the same.
fn caches_between_processes() {
    let step = |name: &str, sharing: &str, script: &str| {
        format!(
            "target {name} = base.run(\"\"\"\n  : {name}\n  {script}\n  \"\"\", mounts: [cache(\"/c\", id: \"{sharing}\", sharing: \
             .{sharing})])\n"
        )
    };
    let alone = "mkdir /c/busy; sleep 0.4; rmdir /c/busy; echo x >> /c/log";
    let own = "test ! -e /c/busy; touch /c/busy; sleep 0.4; rm /c/busy";
    let meet = |own: &str, other: &str| {
        format!(
            "touch /c/{own}; for i in $(seq 200); do if test -e /c/{other}; then exit 0; fi; sleep 0.05; done; exit 1"
        )
    };
    let project = Project::new(
        &[
            step("one", "locked", alone),
            step("two", "locked", alone),
            step("three", "private", own),
            step("four", "private", own),
            step("five", "shared", &meet("a", "b")),
            step("six", "shared", &meet("b", "a")),
        ]
        .concat(),
    );
    for pair in [["one", "two"], ["three", "four"], ["five", "six"]] {
        let running = pair.map(|it| project.bkl(&["build", it]).spawn().unwrap());
        for child in running {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{pair:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let logs: Vec<PathBuf> = walk(&project.store().join("cache-mounts"), "log");
    assert_eq!(logs.len(), 1);
    assert_eq!(fs::read_to_string(&logs[0]).unwrap(), "x\nx\n");
}

/// Files of this name below a directory.
fn walk(dir: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path(), name)),
            false if entry.file_name() == name => found.push(entry.path()),
            false => {}
        }
    }
    found
}

#[derive(Clone, Copy)]
enum Stop {
    Interrupt,
    Terminate,
    Kill,
}

fn stopped_leaves_nothing(stop: Stop) {
    // The number makes the processes of this test findable among all others.
    let seconds = format!("9{}", std::process::id() as u64 * 10 + stop_number(stop));
    let project = Project::new(&format!(
        "target app = base.run(\"(sleep {seconds}; true) & echo started; sleep {seconds}\", mounts: [tmpfs(\"/tmp\"), cache(\"/c\")])"
    ));
    let mut child = project.bkl(&["build", "--progress", "plain"]).spawn().unwrap();
    let started = wait_until(Duration::from_secs(60), || processes_with(&seconds) >= 2);
    assert!(started, "the step did not start: {}", finish(child));
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    let signal = match stop {
        Stop::Interrupt => rustix::process::Signal::INT,
        Stop::Terminate => rustix::process::Signal::TERM,
        Stop::Kill => rustix::process::Signal::KILL,
    };
    rustix::process::kill_process(pid, signal).unwrap();
    let ended = wait_until(Duration::from_secs(10), || child.try_wait().unwrap().is_some());
    assert!(ended, "bkl did not end within ten seconds of the signal");
    let code = child.wait().unwrap().code();
    match stop {
        Stop::Interrupt => assert_eq!(code, Some(130)),
        Stop::Terminate => assert_eq!(code, Some(143)),
        Stop::Kill => assert_eq!(code, None),
    }
    let gone = wait_until(Duration::from_secs(5), || processes_with(&seconds) == 0);
    assert!(gone, "processes of the step are still there");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&project.store().display().to_string()), "mounts are left:\n{mounts}");
    // What only the next run can sweep (after kill -9) is swept by it; the build then works.
    fs::write(project.path().join("build.bkl"), "target app = scratch.write(\"/x\", \"y\")").unwrap();
    project.build(&[]);
    let staging: Vec<_> = fs::read_dir(project.store().join("staging"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "guard")
        .collect();
    assert!(staging.is_empty(), "left in staging: {staging:?}");
    assert_eq!(leftover_cgroups(), Vec::<PathBuf>::new());
}

/// An export into a directory that another one writes to waits for it, and ends at once when it is told to.
fn exports_that_wait_hear_ctrl_c() {
    let project = Project::new("target app = base");
    let export = ["build", "--progress", "plain", "-o", "type=oci,tar=false,dest=layout"];
    assert!(project.bkl(&export).output().unwrap().status.success());
    let layout = project.path().join("layout");
    let before = fs::read(layout.join("index.json")).unwrap();
    let held = fs::File::open(&layout).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let mut child = project.bkl(&export).spawn().unwrap();
        let fds = format!("/proc/{}/fd", child.id());
        let has_it_open = || {
            let mut all = fs::read_dir(&fds).into_iter().flatten().flatten();
            all.any(|it| fs::read_link(it.path()).is_ok_and(|to| to == layout))
        };
        assert!(wait_until(Duration::from_secs(60), has_it_open), "{}", finish(child));
        rustix::process::kill_process(rustix::process::Pid::from_raw(child.id() as i32).unwrap(), signal)
            .unwrap();
        wait_until(Duration::from_secs(5), || child.try_wait().unwrap().is_some());
        let ended = child.try_wait().unwrap().map(|it| it.code());
        let said = finish(child);
        assert_eq!(ended, Some(Some(code)), "{said}");
        assert!(said.contains("stopped"), "{said}");
    }
    assert_eq!(fs::read(layout.join("index.json")).unwrap(), before);
    drop(held);
    assert!(project.bkl(&export).output().unwrap().status.success());
}

fn stop_number(stop: Stop) -> u64 {
    match stop {
        Stop::Interrupt => 1,
        Stop::Terminate => 2,
        Stop::Kill => 3,
    }
}

/// Cgroups below `bkl` that hold no process: nobody uses them and nobody removed them.
fn leftover_cgroups() -> Vec<PathBuf> {
    let controllers =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let roots = controllers.chain([PathBuf::from("/sys/fs/cgroup")]).map(|path| path.join("bkl"));
    let groups =
        roots.filter_map(|root| fs::read_dir(root).ok()).flatten().flatten().map(|entry| entry.path());
    groups
        .filter(|path| {
            path.is_dir() && fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty())
        })
        .collect()
}

/// Number of processes with `word` among their arguments.
fn processes_with(word: &str) -> usize {
    let own = std::process::id().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy() != own.as_str())
        .filter(|entry| {
            let args = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            args.split(|&byte| byte == 0).any(|arg| arg == word.as_bytes())
        })
        .count()
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn finish(mut child: Child) -> String {
    let _ = child.kill();
    let mut text = String::new();
    let _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut text));
    let _ = child.wait();
    text
}

fn two_processes_run_a_step_once() {
    let project = Project::new(
        "target app -> \"out\" = base.run(\"echo run >> /count/runs; sleep 1; cp /count/runs /out/runs\",
            mounts: [cache(\"/count\")], outs: { out: out(\"/out\") }).out",
    );
    let children: Vec<Child> =
        (0..2).map(|_| project.bkl(&["build", "--progress", "plain"]).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(fs::read_to_string(project.path().join("out/runs")).unwrap(), "run\n");
}

fn independent_steps_run_at_once() {
    // Each waits for the other through a shared cache mount: one after the other they would never end.
    let project = Project::new(
        "fn half(own: str, other: str) -> image {
           base.run(\"touch /meet/#{own}; i=0; while [ ! -e /meet/#{other} ]; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done\",
             mounts: [cache(\"/meet\")])
         }
         target both = merge([half(\"a\", \"b\"), half(\"b\", \"a\")])",
    );
    fs::remove_file(project.path().join("busybox/bin/sleep")).unwrap();
    std::os::unix::fs::symlink("busybox", project.path().join("busybox/bin/sleep")).unwrap();
    project.build(&["--progress", "plain", "--jobs", "2"]);
}

fn a_failure_stops_the_others() {
    let seconds = format!("8{}", std::process::id());
    let project = Project::new(&format!(
        "target slow = base.run(\"touch /meet/slow; sleep {seconds}\", mounts: [cache(\"/meet\")])
         target bad = base.run(\"while [ ! -e /meet/slow ]; do sleep 0.05; done; echo broken; exit 7\", mounts: [cache(\"/meet\")])"
    ));
    let start = Instant::now();
    let output = project.bkl(&["build", "--progress", "plain", "--jobs", "2"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(start.elapsed() < Duration::from_secs(60), "the other step was not stopped");
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["bkl::step_failed", "ended with 7", "build.bkl:3", "broken"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert_eq!(processes_with(&seconds), 0);
}

/// A registry on loopback, filled by skopeo; stopped when dropped.
struct Registry {
    child: Child,
    port: u16,
    _temp: tempfile::TempDir,
}

impl Registry {
    fn start() -> Registry {
        let temp = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            temp.path().display()
        );
        fs::write(temp.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(temp.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let up =
            wait_until(Duration::from_secs(20), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up, "docker-registry did not come up");
        Registry { child, port, _temp: temp }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn registry_pins() {
    let registry = Registry::start();
    let project =
        Project::new("target base_image = base.with(env: { FROM: \"registry\" }, cmd: [\"/bin/true\"])");
    project.build(&["-o", "type=oci,dest=base.tar", "--progress", "quiet"]);
    let reference = format!("127.0.0.1:{}/team/base:1", registry.port);
    let pushed = Command::new("skopeo")
        .args([
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "oci-archive:base.tar",
            &format!("docker://{reference}"),
        ])
        .current_dir(project.path())
        .status()
        .unwrap();
    assert!(pushed.success());
    fs::remove_dir_all(project.store()).unwrap();

    let program = format!(
        "let app = image(\"{reference}\").run(\"echo $FROM > /from\")\ntarget out -> \"out\" = scratch.copy(app, \"/from\", \"/from\")"
    );
    fs::write(project.path().join("build.bkl"), program).unwrap();
    let refused = project.bkl(&["build", "--locked"]).output().unwrap();
    assert!(!refused.status.success(), "--locked must refuse a reference that is not pinned");
    assert!(!project.path().join("bkl.lock").exists());
    project.build(&[]);
    assert_eq!(fs::read_to_string(project.path().join("out/from")).unwrap(), "registry\n");
    let lock = fs::read_to_string(project.path().join("bkl.lock")).unwrap();
    assert!(lock.contains(&reference) && lock.contains("sha256:"), "{lock}");

    // An image of this registry stands in for another one: nothing is asked of that, and nothing is pinned.
    let other = "image(\"registry.invalid/team/base:2\").run(\"echo $FROM > /from\")";
    fs::write(
        project.path().join("other.bkl"),
        format!("target other -> \"other\" = scratch.copy({other}, \"/from\", \"/from\")"),
    )
    .unwrap();
    let said = project.build(&[
        "other.bkl",
        "--image",
        &format!("registry.invalid/team/base:2=docker-image://{reference}"),
    ]);
    assert!(said.contains("bkl::image_replaced") && !said.contains("bkl::lock_ignored"), "{said}");
    assert_eq!(fs::read_to_string(project.path().join("other/from")).unwrap(), "registry\n");
    assert_eq!(fs::read_to_string(project.path().join("bkl.lock")).unwrap(), lock);

    // A pin that the registry does not have is said to be one.
    let gone =
        format!("version = 1\n[[image]]\nref = \"{reference}\"\ndigest = \"sha256:{}\"\n", "0".repeat(64));
    fs::write(project.path().join("gone.lock"), gone).unwrap();
    let refused = project.bkl(&["build", "--lock", "gone.lock"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("bkl::lock_mismatch"), "{text}");

    // Pinned and in the store: neither evaluation nor the build asks the registry again.
    drop(registry);
    project.build(&["--locked"]);
    project.build(&["--locked", "--no-cache"]);
    assert_eq!(fs::read_to_string(project.path().join("bkl.lock")).unwrap(), lock);
}
