//! Commands of definitions, from op to tree: what the runner's own trials (`exec`) cannot show. All of these need root,
//! overlayfs and /bin/busybox (static).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bkl::base::Platform;
use bkl::engine::cancel::Cancel;
use bkl::engine::emulation::Machine;
use bkl::engine::event::Event;
use bkl::engine::{CacheMode, SolveError};
use bkl::graph::ir::build::{FileStep, SecretSpec};
use bkl::graph::ir::{
    CdiDevice, Edge, ExecBuilder, FileCopy, FileMkdir, FileRm, FileSecret, Graph, HostIp, LinuxResources,
    MountKind, MountSpec, Op, ProxyEnv, SecretEnv, Sharing, Tree, Ulimit,
};
use libtest_mimic::Trial;

use crate::solver::{Bench, sh};

pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("commands::needs_root::{name}"), run);
    vec![
        trial("variables_come_in_buildkits_order", variables_come_in_buildkits_order),
        trial("commands_for_other_machines_are_emulated", commands_for_other_machines_are_emulated),
        trial("devices_come_from_specifications", devices_come_from_specifications),
        trial("secrets_that_are_not_given", secrets_that_are_not_given),
        trial("exit_codes_that_are_success", exit_codes_that_are_success),
        trial("settings_reach_the_command", settings_reach_the_command),
        trial("places_of_mounts", places_of_mounts),
        trial("what_mounts_leave", what_mounts_leave),
        trial("strict_commands_have_results_of_their_own", strict_commands_have_results_of_their_own),
        trial("trees_that_are_deeper_than_the_stack", trees_that_are_deeper_than_the_stack),
    ]
}

/// A graph with busybox to start from.
fn graph() -> (Graph, Tree) {
    let mut graph = Graph::new();
    let base = Some(graph.local("busybox", &[], &[], &[]));
    (graph, base)
}

fn result(bench: &Bench, set: impl FnOnce(&mut Graph, Tree) -> ExecBuilder) -> String {
    let (mut graph, base) = graph();
    let builder = set(&mut graph, base);
    let root = graph.exec(builder).root.unwrap();
    bench.solve(&graph, root).read("result")
}

fn failure(bench: &Bench, set: impl FnOnce(&mut Graph, Tree) -> ExecBuilder) -> String {
    let (mut graph, base) = graph();
    let builder = set(&mut graph, base);
    let root = graph.exec(builder).root.unwrap();
    match bench.try_solve(&bench.engine(), &graph, root) {
        Err(SolveError::Vertex { failed, .. }) => failed.cause.to_string(),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

fn secret_variable(id: &str, name: &str, optional: bool) -> SecretSpec {
    SecretSpec { file: None, env: Some(SecretEnv { id: id.into(), name: name.into(), optional }) }
}

fn variables_come_in_buildkits_order() {
    let bench = Bench::new();
    let found = result(&bench, |_, base| {
        let mut builder = sh(base, "");
        builder.op.args = ["sh", "-c", "cat /proc/$$/environ > /result; true"].map(str::to_owned).to_vec();
        builder.op.env = ["B=1", "http_proxy=mine", "A=2", "B=3", "none"].map(str::to_owned).to_vec();
        builder.op.proxy_env = Some(ProxyEnv {
            http_proxy: "http://p".into(),
            no_proxy: "localhost".into(),
            all_proxy: "socks://p".into(),
            ..ProxyEnv::default()
        });
        builder.secrets =
            vec![secret_variable("token", "TOKEN", false), secret_variable("nothing", "EMPTY", true)];
        builder
    });
    // Of equal names the last, where it stands.
    let expected = [
        "A=2",
        "B=3",
        "HTTP_PROXY=http://p",
        "http_proxy=http://p",
        "NO_PROXY=localhost",
        "no_proxy=localhost",
        "ALL_PROXY=socks://p",
        "all_proxy=socks://p",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TOKEN=hush",
        "EMPTY=",
        "HOME=/",
    ];
    assert_eq!(found.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), expected);
}

/// Through what a machine has in its PATH; how is no part of the key.
fn commands_for_other_machines_are_emulated() {
    let bench = Bench::new();
    let emulator = crate::exec::compiled("emulator");
    let path = emulator.path.parent().unwrap();
    let name = path.join("buildkit-qemu-s390x");
    fs::rename(&emulator.path, &name).unwrap();
    // Commands may be anybody.
    fs::set_permissions(&name, fs::Permissions::from_mode(0o700)).unwrap();
    let step = |script: &str| {
        let (mut graph, base) = graph();
        let mut builder = sh(base, script);
        builder.op.user = "1000".into();
        builder.platform = Some("linux/s390x".parse().unwrap());
        let root = graph.exec(builder).root.unwrap();
        (graph, root)
    };
    let machine = |path: &Path| {
        Machine::with(&Platform::host(), Path::new("/no/such/directory"), path.as_os_str().to_owned())
    };
    let solve = |script: &str, path: &Path| {
        let log: Arc<Mutex<String>> = Arc::default();
        let to = log.clone();
        let events = move |event: Event| {
            if let Event::Log { bytes, .. } = event {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        let (graph, root) = step(script);
        let engine = bench.engine_with(|config| config.machine = Some(machine(path)));
        let solved = bench.solve_with(&engine, &graph, root, CacheMode::Use, &Cancel::new(), events);
        let solved = match solved {
            Ok(result) => format!("{} run", result.stats.n_executed),
            Err(SolveError::Vertex { failed, .. }) => failed.cause.to_string(),
            Err(error) => panic!("{error}"),
        };
        format!("{solved}: {}", log.lock().unwrap())
    };
    let nowhere = Path::new("/no/such/directory");
    let emulated =
        "1 run: emulator 555 read-only: [/dev/.buildkit_qemu_emulator] [sh] [-c] [echo here]\nhere\n";
    assert_eq!(solve("echo here", path), emulated);
    assert_eq!(solve("echo here", nowhere), "0 run: ", "the same key, with an emulator and without");
    // Here the kernel runs it, whatever it is said to be for.
    assert_eq!(solve("echo there", nowhere), "1 run: there\n");
    assert_eq!(solve("echo there", path), "0 run: ");
}

/// Of those a command was granted; what the machine has is no part of the key.
fn devices_come_from_specifications() {
    let bench = Bench::new();
    let place = tempfile::TempDir::new_in("/var/tmp").unwrap();
    let (specs, nowhere) = (place.path().join("cdi"), place.path().join("nothing"));
    fs::create_dir(&specs).unwrap();
    fs::write(place.path().join("library"), "driver\n").unwrap();
    let spec = r#"{ "cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "devices": [{ "name": "one", "containerEdits": {
        "env": ["GPU=one", "MINE=theirs"], "additionalGids": [44],
        "deviceNodes": [{ "path": "/dev/gpu0", "hostPath": "/dev/zero" }],
        "mounts": [{ "hostPath": "LIBRARY", "containerPath": "/lib/driver", "options": ["ro", "bind"] }] } }] }"#;
    let library = place.path().join("library");
    fs::write(specs.join("gpu.json"), spec.replace("LIBRARY", library.to_str().unwrap())).unwrap();
    let solve = |script: &str, optional, directory: &Path, grants: &[&str]| {
        let (mut graph, base) = graph();
        let mut builder = sh(base, script);
        builder.op.env = vec!["MINE=1".into()];
        builder.op.cdi_devices = vec![CdiDevice { name: "vendor.com/gpu=one".into(), optional }];
        let root = graph.exec(builder).root.unwrap();
        let engine = bench.engine_with(|config| config.cdi = Some(vec![directory.into()]));
        let log: Arc<Mutex<String>> = Arc::default();
        let to = log.clone();
        let events = move |event: Event| {
            if let Event::Log { bytes, .. } = event {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        match bench.solve_granted(&engine, &graph, root, grants, events) {
            Ok(result) => format!("{} run: {}", result.stats.n_executed, log.lock().unwrap()),
            Err(SolveError::Vertex { failed, .. }) => failed.cause.to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    let look = "echo $GPU $MINE; stat -c '%t:%T %a' /dev/gpu0; cat /lib/driver; (echo x > /lib/driver) 2>/dev/null; echo $?; \
        stat -c %s:%a /lib/driver";
    let found = "1 run: one theirs\n1:5 666\ndriver\n1\n7:644\n";
    assert_eq!(solve(look, false, &specs, &["device=vendor.com/gpu=one"]), found);
    assert_eq!(solve(look, false, &nowhere, &["device"]), "0 run: ", "the same key");
    let denied = "it requests `device=vendor.com/gpu=one`, which is not allowed";
    assert_eq!(solve(look, false, &specs, &["device=vendor.com/gpu"]), denied);
    let missing = "there is no device `vendor.com/gpu=one` on this machine";
    assert_eq!(solve("true", false, &nowhere, &["device"]), missing);
    assert_eq!(
        solve("ls /dev/gpu0 2>&1; true", true, &nowhere, &["device"]),
        "1 run: ls: /dev/gpu0: No such file or directory\n"
    );
}

fn secrets_that_are_not_given() {
    let bench = Bench::new();
    let file = |id: &str, optional| {
        let secret = FileSecret { id: id.into(), uid: 3, gid: 4, mode: 0o4440, optional };
        SecretSpec { file: Some((format!("/run/{id}"), secret)), env: None }
    };
    let missing = failure(&bench, |_, base| {
        let mut builder = sh(base, "true");
        builder.secrets = vec![file("nothing", false)];
        builder
    });
    assert_eq!(missing, "the secret `nothing` is not given to this build");
    let missing = failure(&bench, |_, base| {
        let mut builder = sh(base, "true");
        builder.secrets = vec![secret_variable("nothing", "X", false)];
        builder
    });
    assert_eq!(missing, "the secret `nothing` is not given to this build");
    let found = result(&bench, |_, base| {
        let mut builder = sh(base, "ls /run > /result; stat -c %a:%u:%g:%s /run/token >> /result");
        builder.secrets = vec![file("token", false), file("nothing", true)];
        builder
    });
    assert_eq!(found, "token\n440:3:4:4\n");
}

fn exit_codes_that_are_success() {
    let bench = Bench::new();
    let with = |script: &str, codes: &[i32]| {
        let (mut graph, base) = graph();
        let mut builder = sh(base, script);
        builder.op.valid_exit_codes = codes.to_vec();
        builder.exit_codes_given = !codes.is_empty();
        let root = graph.exec(builder).root.unwrap();
        match bench.try_solve(&bench.engine(), &graph, root) {
            Ok(_) => "ok".to_owned(),
            Err(SolveError::Vertex { failed, .. }) => failed.cause.to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(with("exit 0", &[]), "ok");
    assert_eq!(with("exit 7", &[7]), "ok");
    assert_eq!(with("exit 7", &[0, 3, 7]), "ok");
    let failed = "process `sh -c exit 0` did not complete successfully: exit code: 0";
    assert_eq!(with("exit 0", &[7]), failed, "exactly the listed ones");
    assert_eq!(with("exit 8", &[7]), "process `sh -c exit 8` did not complete successfully: exit code: 8");
    assert_eq!(with("sh -c 'kill -9 $$'; exit $?", &[137]), "ok");
}

fn settings_reach_the_command() {
    let bench = Bench::new();
    let found = result(&bench, |_, base| {
        let mut builder = sh(
            base,
            "cat /etc/hosts /proc/sys/kernel/hostname > /result; stat -c %u:%g . >> /result; ulimit -n >> /result; \
             ulimit -Hn >> /result",
        );
        builder.op.cwd = "/made/here".into();
        builder.op.hostname = "mine".into();
        builder.op.extra_hosts = vec![HostIp { host: "db".into(), ip: "fd00::7".into() }];
        builder.op.ulimits = vec![Ulimit { name: "nofile".into(), soft: 77, hard: 88 }];
        builder.resources = Some(LinuxResources { memory: 256 << 20, ..LinuxResources::default() });
        builder
    });
    assert_eq!(
        found,
        "127.0.0.1\tlocalhost mine\n::1\tlocalhost ip6-localhost ip6-loopback\nfd00::7\tdb\nmine\n0:0\n77\n88\n"
    );
    let failed = failure(&bench, |_, base| {
        let mut builder = sh(base, "true");
        builder.op.extra_hosts = vec![HostIp { host: "db".into(), ip: "nowhere".into() }];
        builder
    });
    assert_eq!(failed, "bad command: `nowhere` is no address of a host");
    let with = |hostname: &str, parent: &str| {
        failure(&bench, |_, base| {
            let mut builder = sh(base, "true");
            (builder.op.hostname, builder.op.cgroup_parent) = (hostname.into(), parent.into());
            builder
        })
    };
    let long = "h".repeat(65);
    assert_eq!(with(&long, ""), format!("bad command: the host name `{long}` has more than 64 bytes"));
    assert_eq!(with("a\0b", ""), "bad command: there is a zero byte in its host name");
    assert_eq!(with("", "a\0b"), "bad command: there is a zero byte in its cgroup parent");
}

/// Relative destinations start at the working directory, parents are mounted before children, selectors stay in their tree.
fn places_of_mounts() {
    let bench = Bench::new();
    bench.write("dir/file", "selected");
    bench.write("top", "top");
    let found = result(&bench, |graph, base| {
        let ctx = Some(graph.local("ctx", &[], &[], &[]));
        let read = |dest: &str, selector: &str| MountSpec {
            selector: selector.to_owned(),
            readonly: true,
            ..MountSpec::bind(dest, ctx)
        };
        let mut builder = sh(
            base,
            "cat rel/file /a/top /a/dir/file /file > /result; ls /a/mem | wc -l >> /result; touch /a/mem/x; \
             (touch /a/y) 2>/dev/null || echo read-only >> /result",
        );
        builder.op.cwd = "/work".into();
        let tmpfs =
            MountSpec { kind: MountKind::Tmpfs { size: Some(1 << 20) }, ..MountSpec::bind("/a/dir", None) };
        builder.mounts = vec![
            read("rel", "dir"),
            read("/a", ""),
            MountSpec { dest: "/mem".into(), ..tmpfs },
            read("/file", "../dir/file"),
        ];
        builder.op.args[2] = builder.op.args[2].replace("/a/mem", "/mem");
        builder
    });
    assert_eq!(found, "selectedtopselectedselected0\nread-only\n");
}

/// BuildKit's rules of what a mount's output is.
fn what_mounts_leave() {
    let bench = Bench::new();
    bench.write("file", "as it was");
    let (mut graph, base) = graph();
    let given = graph.local("ctx", &[], &[], &[]);
    let ctx = Some(given);
    let mut builder =
        sh(base, "echo changed > /cache/file; echo x > /cache/new; echo y > /rw/new; cat /ro/file");
    builder.mounts = vec![
        MountSpec::cache("/cache", "seeded", Sharing::Shared, ctx),
        MountSpec::bind("/rw", ctx),
        MountSpec { readonly: true, ..MountSpec::bind("/ro", ctx) },
    ];
    let edges = graph.exec(builder);
    // A cache and what was only read leave the tree that they were given.
    assert_eq!(edges.mounts[2].unwrap(), given);
    let built = bench.solve(&graph, edges.mounts[1].unwrap());
    assert_eq!((built.read("file").as_str(), built.read("new").as_str()), ("as it was", "y\n"));
    // The cache itself went on from there, apart from another one of the same name that starts elsewhere.
    let mut look = |seed: Tree| {
        let mut builder = sh(base, "cat /cache/file > /result 2>/dev/null || echo empty > /result");
        builder.mounts = vec![MountSpec::cache("/cache", "seeded", Sharing::Shared, seed)];
        graph.exec(builder).root.unwrap()
    };
    let (seeded, plain) = (look(ctx), look(None));
    assert_eq!(bench.solve(&graph, seeded).read("result"), "changed\n");
    assert_eq!(bench.solve(&graph, plain).read("result"), "empty\n");
    // A definition may ask for what a cache leaves: the tree that it was begun from.
    let mut vertex = graph.vertex(edges.vertex).clone();
    let Op::Exec(op) = &mut vertex.op else { unreachable!("it is a command") };
    let cache = op.mounts.iter().position(|mount| mount.dest == "/cache").unwrap();
    let n_before = op.mounts[..cache].iter().filter(|mount| mount.leaves().is_some()).count() as u32;
    op.mounts[cache].output = Some(n_before);
    for mount in op.mounts[cache + 1..].iter_mut().filter(|mount| mount.output.is_some()) {
        mount.output = mount.output.map(|output| output + 1);
    }
    let vertex = graph.add(vertex);
    let left = bench.solve(&graph, Edge { vertex, output: n_before });
    assert_eq!((left.read("file").as_str(), left.has("new")), ("as it was", false));
    // A root that may only be read is a place for mounts all the same, and leaves nothing.
    let mut builder = sh(base, "echo z > /out/z; (touch /x) 2>/dev/null || echo refused > /out/refused");
    builder.readonly_root = true;
    builder.mounts = vec![MountSpec::bind("/out", None)];
    let edges = graph.exec(builder);
    assert_eq!(edges.root, base);
    let built = bench.solve(&graph, edges.mounts[0].unwrap());
    assert_eq!((built.read("z").as_str(), built.read("refused").as_str()), ("z\n", "refused\n"));
}

/// The key of a strict command is its own, and the bytes of its definition are not.
fn strict_commands_have_results_of_their_own() {
    use bkl::graph::ir::{SECURITY, STRICT};
    let bench = Bench::new();
    let build = |strict: bool| {
        let (mut graph, base) = graph();
        let builder = sh(
            base,
            "while read -r it; do case $it in NoNew*) echo $it;; esac; done < /proc/self/status > /result",
        );
        let edges = graph.exec(builder);
        if strict {
            let metadata = &mut graph.vertex_mut(edges.vertex).metadata;
            metadata.description.insert(SECURITY.to_owned(), STRICT.to_owned());
        }
        let root = edges.root.unwrap();
        let built = bench.solve(&graph, root);
        (built.read("result"), built.ran().0)
    };
    assert_eq!(build(false), ("NoNewPrivs: 0\n".into(), 1));
    assert_eq!(build(true), ("NoNewPrivs: 1\n".into(), 1));
    assert_eq!(build(false), ("NoNewPrivs: 0\n".into(), 0));
    assert_eq!(build(true), ("NoNewPrivs: 1\n".into(), 0));
}

/// Directories in directories, as deep as a path may be long, and deeper: whatever walks over them.
fn trees_that_are_deeper_than_the_stack() {
    let bench = Bench::new();
    let nest = |n: usize, then: &str| {
        format!("i=0; while [ $i -lt {n} ]; do mkdir d && cd -P d || exit 9; i=$((i+1)); done; {then}")
    };
    let (mut graph, base) = graph();
    let deep = graph.exec(sh(base, &nest(1500, "echo bottom > file"))).root;
    let copied = graph.file(
        base,
        vec![FileStep::Copy {
            from: deep,
            copy: FileCopy { src: "/d".into(), dest: "/e".into(), ..FileCopy::default() },
        }],
    );
    let made = FileMkdir {
        path: format!("/top{}", "/x".repeat(1500)),
        mode: 0o755,
        make_parents: true,
        owner: None,
        timestamp: -1,
    };
    let made = graph.file(Some(copied), vec![FileStep::Mkdir(made)]);
    let rm = FileRm { path: "/e".into(), allow_not_found: false, allow_wildcard: false };
    let removed = graph.file(Some(made), vec![FileStep::Rm(rm)]);
    let changes = graph.diff(base, deep).unwrap();
    let merged = graph.merge(&[Some(removed), Some(changes)]).unwrap();
    // By its content, below the base of a command and as the seed of a cache.
    let mut builder = sh(Some(merged), "cd /m/d/d/d && ls -d * > /result; test -d /top/x");
    builder.mounts = vec![
        MountSpec { readonly: true, ..MountSpec::bind("/m", deep) },
        MountSpec::cache("/cache", "deep", Sharing::Shared, deep),
    ];
    let root = graph.exec(builder).root.unwrap();
    let built = bench.solve(&graph, root);
    assert_eq!((built.read("result").as_str(), built.has("d"), built.has("e")), ("d\n", true, false));
    built.diff_ids();
    drop(built);
    let staged = || fs::read_dir(bench.store().join("staging")).unwrap().count();
    assert_eq!(staged(), 0);
    let too_long =
        "a path of the tree has more than 4095 bytes: `/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/…`";
    assert_eq!(failure(&bench, |_, base| sh(base, &nest(2060, "true"))), too_long);
    assert!(failure(&bench, |_, base| sh(base, &nest(2060, "exit 3"))).ends_with("exit code: 3"));
    assert_eq!(staged(), 0, "what was made is gone, however deep");
    // The standard library's way to remove a directory is not made for such trees.
    let removed = std::process::Command::new("rm").arg("-rf").arg(bench.store()).status();
    assert!(removed.unwrap().success());
}
