//! Commands that are cancelled, killed, orphaned or many.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("cancelling_leaves_nothing", cancelling_leaves_nothing),
        ("dropping_leaves_nothing", dropping_leaves_nothing),
        ("a_dead_helper_takes_its_command_along", a_dead_helper_takes_its_command_along),
        ("a_killed_engine_takes_its_commands_along", a_killed_engine_takes_its_commands_along),
        ("the_next_container_has_nothing_of_a_command", the_next_container_has_nothing_of_a_command),
        (
            "a_container_that_dies_while_it_waits_is_replaced",
            a_container_that_dies_while_it_waits_is_replaced,
        ),
        ("commands_run_in_a_chroot", commands_run_in_a_chroot),
        ("commands_run_without_the_capability_to_trace", commands_run_without_the_capability_to_trace),
        ("a_command_that_holds_on_ends_too", a_command_that_holds_on_ends_too),
        ("many_at_once", many_at_once),
    ]
}

/// What a killed engine leaves: this binary again, killed while its command runs.
fn a_killed_engine_takes_its_commands_along() {
    const PLACE: &str = "BKL_TEST_KILLED_ENGINE";
    let marker = |place: &Path| place.file_name().unwrap().to_str().unwrap().to_owned();
    if let Some(place) = std::env::var_os(PLACE) {
        let place = Path::new(&place);
        run(sleeping(&Tree::new_in(place), &marker(place)));
        return;
    }
    let place = TempDir::new_in("/var/tmp").unwrap();
    let marker = &marker(place.path());
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &full_name("a_killed_engine_takes_its_commands_along")])
        .env(PLACE, place.path())
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

pub(super) fn leftovers(marker: &str) -> Vec<String> {
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
            if let Ok(ended) = tokio::time::timeout(Duration::from_millis(delay_ms), run).await {
                panic!("it ended before {delay_ms} ms: {:?}", ended.map(|it| (it.status, it.out, it.err)));
            }
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

/// A container that is created while a command runs keeps neither that one's pipes from ending nor its tree mounted.
fn the_next_container_has_nothing_of_a_command() {
    let tree = Tree::new();
    let marker = marker_of(&tree);
    let of_tree = fs::metadata(tree.path()).unwrap();
    let is_left = |fd: PathBuf| {
        let is_pipe =
            fs::read_link(&fd).is_ok_and(|it| it.to_str().is_some_and(|it| it.starts_with("pipe:")));
        let is_tree =
            fs::metadata(&fd).is_ok_and(|it| (it.dev(), it.ino()) == (of_tree.dev(), of_tree.ino()));
        is_pipe || is_tree
    };
    let left = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).expect("it waits for the next command");
        open.flatten().map(|it| it.path()).filter(|it| is_left(it.clone())).collect::<Vec<PathBuf>>()
    };
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let find = async {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                match (KIND.get(), waiting(&marker)) {
                    // It makes none.
                    (RunnerKind::Libcontainer, _) => break None,
                    (RunnerKind::Direct, Some(next)) => break Some(next),
                    (RunnerKind::Direct, None) => assert!(Instant::now() < deadline),
                }
            }
        };
        let mut spec = sleeping(&tree, &marker);
        spec.args = words(&["/bin/sh", "-c", &format!("sleep 2; : {marker}")]);
        let (next, ran) = tokio::join!(find, run_in(&runner, spec, &cancel));
        assert_eq!(ran.unwrap().status.code, 0);
        let Some(next) = next else { return };
        // It has the helper's table of descriptors, not a copy: what the helper closes is closed.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let seen = left(&next);
            if seen.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{seen:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mounts = fs::read_to_string(next.join("mountinfo")).unwrap();
        assert!(!mounts.contains(&marker), "{mounts}");
    });
    assert_nothing_left(&marker);
}

/// The first process of the container that the helper of the command with this marker has ready.
fn waiting(marker: &str) -> Option<PathBuf> {
    let command = leftovers(marker).into_iter().find(|it| it.contains("/bkl."))?;
    let helper: u32 = command.split_once("/bkl.")?.1.split('.').next()?.parse().ok()?;
    let is_next = |dir: &PathBuf| {
        let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|it| it.split_whitespace().nth(1));
        let runs_what = fs::read_to_string(dir.join("cmdline")).unwrap_or_default();
        parent == Some(helper.to_string().as_str()) && runs_what.contains("internal-run")
    };
    fs::read_dir("/proc").unwrap().map(|it| it.unwrap().path()).find(is_next)
}

/// Somebody kills it, or memory runs out: the next command has another one.
fn a_container_that_dies_while_it_waits_is_replaced() {
    let tree = Tree::new();
    let marker = marker_of(&tree);
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let kill = async {
            let deadline = Instant::now() + Duration::from_secs(10);
            while KIND.get() == RunnerKind::Direct {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if let Some(next) = waiting(&marker) {
                    let pid = next.file_name().unwrap().to_str().unwrap().parse().unwrap();
                    let pid = rustix::process::Pid::from_raw(pid).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                    break;
                }
                assert!(Instant::now() < deadline);
            }
            tree.write("killed", "");
        };
        let waits = format!("until test -e /killed; do sleep 0.02; done; : {marker}");
        let (ran, ()) = tokio::join!(run_in(&runner, script(&tree, &waits), &cancel), kill);
        assert_eq!(ran.unwrap_or_else(|err| panic!("{err}")).status.code, 0);
        let ran = run_in(&runner, script(&tree, "echo well"), &cancel).await;
        assert_eq!(ran.unwrap_or_else(|err| panic!("{err}")).out, "well\n");
    });
    assert_nothing_left(&marker);
}

/// This binary again, within what `wrap` makes of the command: it runs two commands there, one after the other.
fn elsewhere(name: &str, wrap: impl FnOnce(&Path) -> std::process::Command) {
    const INSIDE: &str = "BKL_TEST_ELSEWHERE";
    if std::env::var_os(INSIDE).is_some() {
        let tree = Tree::new();
        runtime().block_on(async {
            let runner = runner();
            for _ in 0..2 {
                let mut spec = script(&tree, "pwd; ls /");
                spec.cwd = "/made".into();
                let ran = run_in(&runner, spec, &Cancel::new()).await.unwrap_or_else(|err| panic!("{err}"));
                assert_eq!(
                    (ran.out.as_str(), ran.err.as_str()),
                    ("/made\nbin\ndev\netc\nmade\nproc\nsys\ntmp\n", "")
                );
            }
        });
        return;
    }
    let ran = wrap(&std::env::current_exe().unwrap())
        .args(["--exact", &full_name(name)])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Where the root is a mount that is not the namespace's own root, what is outside stays as it is.
fn commands_run_in_a_chroot() {
    elsewhere("commands_run_in_a_chroot", |program| {
        let mut command = std::process::Command::new("unshare");
        let text = "d=$(mktemp -d) && mount --bind / \"$d\" && for i in proc sys dev; do mount --rbind /$i \"$d/$i\"; done && \
            chroot \"$d\" \"$@\"; code=$?; umount -R \"$d\"; rmdir \"$d\"; exit $code";
        command.args(["-m", "sh", "-c", text, "sh"]).arg(program);
        command
    });
}

fn commands_run_without_the_capability_to_trace() {
    elsewhere("commands_run_without_the_capability_to_trace", |program| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]).arg(program);
        command
    });
}

fn marker_of(tree: &Tree) -> String {
    tree.path().file_name().unwrap().to_str().unwrap().to_owned()
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
            spec.network = if index % 4 == 0 { Network::None } else { host_network() };
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

/// A command may forget that it is to die with its parent; it ends all the same when its helper is killed.
fn a_command_that_holds_on_ends_too() {
    let tree = Tree::new();
    let marker = tree.path().file_name().unwrap().to_str().unwrap().to_owned();
    fs::copy(seen::probe(), tree.join("bin/probe")).unwrap();
    let spec = spec(&tree, &["/bin/probe", "hold", &marker]);
    runtime().block_on(async {
        let (runner, cancel) = (runner(), Cancel::new());
        let search = marker.clone();
        let kill = async {
            let helper = loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let left = leftovers(&search).join("\n");
                if let Some((_, name)) = left.split_once("/bkl.") {
                    break name.split('.').next().unwrap().parse().unwrap();
                }
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
            let pid = rustix::process::Pid::from_raw(helper).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        };
        let result = tokio::join!(run_in(&runner, spec, &cancel), kill).0;
        assert!(matches!(result, Err(RunError::Bug { .. })));
    });
    assert_nothing_left(&marker);
}
