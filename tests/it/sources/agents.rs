//! Agents: their sockets in commands, and git over ssh with a real sshd.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bkl::graph::ir::build::GitOptions;
use bkl::graph::ir::{ExecBuilder, ExecOp, FileSecret, MountSpec};
use libtest_mimic::Trial;

use super::Bench;
use super::server::Repository;
use crate::cli::busybox_root;
use crate::images::{has_tools, run};

const SSHD: &str = "/usr/sbin/sshd";

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, tools: &[&str], run: fn()| {
        crate::trial(format!("sources::agents::needs_root::{name}"), run).with_ignored_flag(!has_tools(tools))
    };
    let client = ["ssh-agent", "ssh-add", "ssh-keygen"];
    let is_served = Path::new(SSHD).is_file();
    vec![
        trial("a_command_asks_an_agent", &client, a_command_asks_an_agent),
        trial("owner_and_mode_of_the_socket", &[], owner_and_mode_of_the_socket),
        trial("git_over_ssh", &["ssh", "ssh-agent", "ssh-add", "ssh-keygen", "git"], git_over_ssh)
            .with_ignored_flag(!is_served),
    ]
}

/// A real agent with one key; ended when dropped.
struct Agent {
    child: Child,
    socket: PathBuf,
    public_key: String,
}

impl Agent {
    fn start(dir: &Path) -> Agent {
        let socket = dir.join("agent");
        let child =
            Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        wait_for(|| socket.exists());
        let key = dir.join("key");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key.to_str().unwrap()]);
        let added =
            Command::new("ssh-add").args(["-q"]).arg(&key).env("SSH_AUTH_SOCK", &socket).status().unwrap();
        assert!(added.success());
        let public_key = fs::read_to_string(key.with_extension("pub")).unwrap();
        Agent { child, socket, public_key }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Copies a program of this machine, with the libraries that it needs, below `root`.
fn install(root: &Path, program: &str) {
    let path = run("sh", &["-c", &format!("command -v {program}")]).trim().to_owned();
    let libraries = run("ldd", &[&path]);
    let files = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
    for file in files {
        let target = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    fs::copy(&path, root.join("bin").join(program)).unwrap();
}

fn a_command_asks_an_agent() {
    let dir = tempfile::TempDir::new_in("/var/tmp").unwrap();
    let agent = Agent::start(dir.path());
    let root = dir.path().join("busybox");
    busybox_root(&root);
    install(&root, "ssh-add");
    fs::write(
        dir.path().join("build.bkl"),
        "ssh mine\nssh other\n\
         let base = scratch.copy(local(\"busybox\"), \".\", \"/\").image().with(env: { PATH: \"/bin\", LD_LIBRARY_PATH: \"/lib/x86_64-linux-gnu:/lib/aarch64-linux-gnu\" })\n\
         target keys = base.run(\"ssh-add -L > /out/keys; env > /out/env\", mounts: [mine.agent()], outs: { o: out(\"/out\") }).o\n\
         target nobody = base.run(\"ssh-add -L > /out/keys\", user: \"nobody\", mounts: [mine.agent(at: \"/tmp/agent\", mode: 0o666), tmpfs(\"/tmp/x\")], outs: { o: out(\"/out\", init: scratch.mkdir(\"/\", mode: 0o777)) }).o\n\
         target refused = base.run(\"ssh-add -L\", user: \"nobody\", mounts: [mine.agent()])\n\
         target left = base.run(\"true\", mounts: [mine.agent()])\n",
    )
    .unwrap();
    let bkl = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(args)
            .args(["--progress", "plain"])
            .current_dir(dir.path())
            .env("BKL_STORE", dir.path().join("store"))
            .env("SSH_AUTH_SOCK", &agent.socket)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let key_file = format!("--ssh=mine={}", dir.path().join("key").display());
    let socket = format!("--ssh=mine={}", agent.socket.display());
    for given in ["--ssh=mine", &key_file, &socket] {
        let (ok, said) = bkl(&["build", "keys", "-o", "out", "--no-cache", given]);
        assert!(ok, "{given}: {said}");
        let keys = fs::read_to_string(dir.path().join("out/keys")).unwrap();
        assert_eq!(keys.split(' ').nth(1), agent.public_key.split(' ').nth(1), "{given}");
        let env = fs::read_to_string(dir.path().join("out/env")).unwrap();
        assert!(env.contains("SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0\n"), "{env}");
    }
    let (ok, said) = bkl(&["build", "refused", "--ssh", "mine"]);
    assert!(!ok && said.contains("Permission denied"), "{said}");
    let (_, said) = bkl(&["build", "keys", "--no-cache"]);
    assert!(said.contains("bkl::no_agent") && said.contains("--ssh mine=SOCKET"), "{said}");
    // The mount point does not stay, and neither does anything of ours.
    let (ok, said) = bkl(&["build", "left", "-o", "tree", "--ssh", "mine"]);
    assert!(ok, "{said}");
    assert!(!dir.path().join("tree/run").exists());
    let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> = left
        .map(|entry| entry.file_name())
        .filter(|it| it.to_string_lossy().starts_with("bkl-ssh-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn owner_and_mode_of_the_socket() {
    let mut bench = Bench::new();
    let root = bench.dir.path().join("busybox");
    busybox_root(&root);
    bench.given.dirs.insert("busybox".to_owned(), root);
    bench.given.agent = Some(bench.dir.path().join("nobody-listens"));
    let agent = |uid, gid, mode| FileSecret { id: "x".to_owned(), uid, gid, mode, optional: false };
    let tree = bench.built(|graph| {
        let base = graph.local("busybox", &[], &[], &[]);
        let args = ["/bin/sh", "-c", "ls -ln /run/buildkit /a > /out/list"].map(str::to_owned).to_vec();
        let exec = ExecBuilder {
            op: ExecOp { args, env: vec!["PATH=/bin".to_owned()], cwd: "/".to_owned(), ..ExecOp::default() },
            base: Some(base),
            mounts: vec![MountSpec::bind("/out", None)],
            agents: vec![
                (String::new(), agent(1000, 1001, 0o660)),
                ("/a/deep/socket".to_owned(), agent(0, 0, 0o600)),
            ],
            ..ExecBuilder::default()
        };
        graph.exec(exec).mounts[0].unwrap()
    });
    let list = tree.read("list");
    let of = |name: &str| list.lines().find(|line| line.ends_with(name)).unwrap_or_default().to_owned();
    let words: Vec<String> = of("ssh_agent.0").split_whitespace().take(4).map(str::to_owned).collect();
    assert_eq!(words, ["srw-rw----", "1", "1000", "1001"], "{list}");
}

/// An sshd of this test, which lets the agent's key in.
struct Sshd {
    child: Child,
    port: u16,
    host_key: String,
}

impl Sshd {
    fn start(dir: &Path, public_key: &str) -> Sshd {
        let _ = fs::create_dir_all("/run/sshd");
        let key = dir.join("host_key");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "host", "-f", key.to_str().unwrap()]);
        fs::write(dir.join("authorized"), public_key).unwrap();
        fs::set_permissions(dir.join("authorized"), fs::Permissions::from_mode(0o600)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n",
            key.display(),
            dir.join("authorized").display()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-f"])
            .arg(dir.join("sshd_config"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        let host_key = fs::read_to_string(key.with_extension("pub")).unwrap();
        Sshd { child, port, host_key }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn git_over_ssh() {
    let mut bench = Bench::new();
    let agent = Agent::start(bench.dir.path());
    let sshd = Sshd::start(bench.dir.path(), &agent.public_key);
    let app = Repository::new(&bench.www().join("app.git"));
    app.commit(&[("a", "one")]);
    let url = format!("ssh://root@127.0.0.1:{}{}", sshd.port, app.path.display());
    let of = |known_ssh_hosts: Vec<String>| {
        let url = url.clone();
        let options =
            GitOptions { reference: Some("main".to_owned()), known_ssh_hosts, ..GitOptions::default() };
        move |graph: &mut bkl::graph::ir::Graph| graph.git(&url, "", &options)
    };
    bench.fails(of(Vec::new()), "the agent `default` is not given");
    bench.given.agent = Some(agent.socket.clone());
    bench.fails(of(Vec::new()), "the key of the host");
    let line = format!("[127.0.0.1]:{} {}", sshd.port, sshd.host_key.trim());
    // As the op says, or as the session does.
    assert_eq!(bench.built(of(vec![line.clone()])).read("a"), "one");
    app.commit(&[("a", "two")]);
    bench.given.known_hosts = line.clone() + "\n";
    assert_eq!(bench.built(of(Vec::new())).read("a"), "two");
    // Another key than the host has.
    let other = format!("[127.0.0.1]:{} {}", sshd.port, agent.public_key.trim());
    app.commit(&[("a", "three")]);
    bench.fails(of(vec![other]), "the key of the host");

    // The whole way: program, known_hosts of the user, agent of the environment, lock.
    let dir = bench.dir.path();
    fs::create_dir_all(dir.join("home/.ssh")).unwrap();
    fs::write(dir.join("home/.ssh/known_hosts"), line + "\n").unwrap();
    fs::write(
        dir.join("build.bkl"),
        format!("ssh deploy\ntarget a = git(\"{url}\", \"main\", ssh: deploy)\n"),
    )
    .unwrap();
    let bkl = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(args)
            .current_dir(dir)
            .env("BKL_STORE", dir.join("store2"))
            .env("HOME", dir.join("home"))
            .env("SSH_AUTH_SOCK", &agent.socket)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (ok, said) = bkl(&["build", "a", "-o", "out"]);
    assert!(!ok && said.contains("bkl::no_agent") && said.contains("--ssh deploy"), "{said}");
    let (ok, said) = bkl(&["build", "a", "-o", "out", "--ssh", "deploy"]);
    assert!(ok, "{said}");
    assert_eq!(fs::read_to_string(dir.join("out/a")).unwrap(), "three");
}
