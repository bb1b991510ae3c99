//! The sandbox's network: what it reaches, what it does not, and what is left of it.
//!
//! Each trial has a host of its own: a network namespace with a loopback and one device with an address and a default
//! route. So nothing depends on the machine's network, every port is free, and what runs in the namespace is ours.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::OnceLock;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use std::collections::BTreeSet;

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("network_sandbox_leads_outside", network_sandbox_leads_outside),
        ("network_sandbox_does_not_lead_to_the_host_s_loopback", network_sandbox_does_not_lead_to_loopback),
        ("network_sandbox_knows_names", network_sandbox_knows_names),
        ("network_sandboxes_are_apart", network_sandboxes_are_apart),
        ("network_sandboxes_are_used_again_when_nothing_is_left", network_sandboxes_are_used_again),
        ("network_sandbox_of_insecure_is_not_used_again", network_sandbox_of_insecure_is_not_used_again),
        ("network_sandbox_may_be_something_else", network_sandbox_may_be_something_else),
        ("network_sandbox_falls_back_and_says_so", network_sandbox_falls_back_and_says_so),
        ("network_leaves_nothing", network_leaves_nothing),
        ("network_leaves_nothing_of_a_killed_engine", network_leaves_nothing_of_a_killed_engine),
        ("network_whose_nat_was_killed_is_not_used_again", network_whose_nat_was_killed_is_not_used_again),
    ]
}

/// The address of a host that [`on_a_host_of_its_own`] makes.
const HOST: &str = "192.0.2.7";

const NATS: [SandboxNetwork; 2] = [SandboxNetwork::Pasta, SandboxNetwork::Slirp4netns];

/// Runs `body` where it has a network, and mounts, of its own.
fn on_a_host_of_its_own(body: impl FnOnce() + Send + 'static) {
    let kind = KIND.get();
    let thread = std::thread::spawn(move || {
        KIND.set(kind);
        // SAFETY: descriptors and memory stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        for words in [
            "link set lo up",
            "tuntap add d0 mode tap",
            "address add 192.0.2.7/24 dev d0",
            "link set d0 up",
            "route add default via 192.0.2.1 dev d0",
        ] {
            let ran = Command::new("ip").args(words.split(' ')).output().expect("iproute2 is installed");
            assert!(ran.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ran.stderr));
        }
        body();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn runner_with(sandbox: SandboxNetwork) -> HelperRunner {
    runner().with_sandbox(sandbox)
}

/// A tree with the program that tries things.
fn tree() -> Tree {
    static NET: OnceLock<Compiled> = OnceLock::new();
    let tree = Tree::new();
    fs::copy(&NET.get_or_init(|| compiled("net")).path, tree.join("bin/net")).unwrap();
    tree
}

fn sandboxed(tree: &Tree, args: &[&str]) -> ExecSpec {
    ExecSpec { network: Network::Sandbox, ..spec(tree, args) }
}

/// What a command in the sandbox prints, which must succeed and have nothing to note.
fn says(runner: &HelperRunner, tree: &Tree, args: &[&str]) -> String {
    let ran = runtime().block_on(run_in(runner, sandboxed(tree, args), &Cancel::new()));
    let ran = ran.unwrap_or_else(|err| panic!("{err}\n{}", err.help().unwrap_or_default()));
    assert_eq!((ran.status.code, &ran.status.notices), (0, &Vec::new()), "{args:?}: {}{}", ran.out, ran.err);
    ran.out.trim_end().to_owned()
}

/// Answers every connection to `address` with `text`, for as long as the trial's namespace lives; its port.
fn serve(address: &str, text: &'static str) -> String {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = UdpSocket::bind((address, port)).unwrap();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            std::thread::spawn(move || {
                let mut hi = [0; 3];
                if peer.read_exact(&mut hi).is_ok() {
                    let _ = peer.write_all(text.as_bytes());
                }
                // Not closed from this side: who leaves stays in doubt.
                std::thread::sleep(Duration::from_secs(30));
            });
        }
    });
    std::thread::spawn(move || {
        let mut hi = [0; 64];
        while let Ok((_, from)) = echo.recv_from(&mut hi) {
            let _ = echo.send_to(text.as_bytes(), from);
        }
    });
    port.to_string()
}

fn network_sandbox_leads_outside() {
    on_a_host_of_its_own(|| {
        let port = serve(HOST, "outside");
        for nat in NATS {
            let (runner, tree) = (runner_with(nat), tree());
            let says = |args: &[&str]| says(&runner, &tree, args);
            assert_eq!(says(&["net", "tcp", HOST, &port]), "outside", "{nat:?}");
            assert_eq!(says(&["net", "udp", HOST, &port]), "outside", "{nat:?}");
            assert_eq!(says(&["net", "localhost", "8080"]), "taken\ninside", "{nat:?}");
            let devices = says(&["ls", "/sys/class/net"]);
            assert_eq!(devices, "eth0\nlo", "{nat:?}");
            let mac = says(&["cat", "/sys/class/net/eth0/address"]);
            assert_eq!(mac, "02:62:6b:6c:00:01", "the same everywhere ({nat:?})");
            let mut user = sandboxed(&tree, &["net", "tcp", HOST, &port]);
            user.user = "1000:1000".into();
            let ran = runtime().block_on(run_in(&runner, user, &Cancel::new())).unwrap();
            assert_eq!(ran.out, "outside\n", "{nat:?}");
        }
    });
}

fn network_sandbox_does_not_lead_to_loopback() {
    on_a_host_of_its_own(|| {
        let (outside, inside) = (serve(HOST, "outside"), serve("127.0.0.1", "secret"));
        // Bound to every address, as a careless service is.
        let any = serve("0.0.0.0", "secret");
        for nat in NATS {
            let (runner, tree) = (runner_with(nat), tree());
            let check = |args: &[&str], expected: &str| {
                assert_eq!(says(&runner, &tree, args), expected, "{nat:?}: {args:?}");
            };
            for port in [&inside, &any] {
                check(&["net", "tcp", "127.0.0.1", port], "connect ECONNREFUSED");
                check(&["net", "tcp", "0.0.0.0", port], "connect ECONNREFUSED");
                let gateway = says(&runner, &tree, &["net", "tcp", "gateway", port]);
                assert!(!gateway.contains("secret"), "{nat:?}: {gateway}");
                let gateway = says(&runner, &tree, &["net", "udp", "gateway", port]);
                assert!(!gateway.contains("secret"), "{nat:?}: {gateway}");
                // A command may make packets of its own; that they could be made is shown by the last one.
                check(&["net", "raw", "127.0.0.1", port], "raw nothing");
                check(&["net", "raw", "127.8.8.8", port], "raw nothing");
                check(&["net", "raw", "0.0.0.0", port], "raw nothing");
            }
            check(&["net", "raw", HOST, &outside], "raw answered");
        }
    });
}

/// The host asks a server on its loopback, which commands cannot reach but through the NAT.
fn network_sandbox_knows_names() {
    on_a_host_of_its_own(|| {
        let files = TempDir::new_in("/var/tmp").unwrap();
        let own = files.path().join("resolv.conf");
        fs::write(&own, "search lan\nnameserver 127.0.0.1\n").unwrap();
        mount_bind(&own, "/etc/resolv.conf").unwrap();
        name_server("127.0.0.1:53");
        for nat in NATS {
            let (runner, tree) = (runner_with(nat), tree());
            let text = says(&runner, &tree, &["cat", "/etc/resolv.conf"]);
            let forwarder = text.strip_prefix("search lan\nnameserver ").unwrap_or_else(|| panic!("{text}"));
            assert_eq!(forwarder, "10.0.2.3", "{nat:?}");
            assert_eq!(
                says(&runner, &tree, &["net", "dns", forwarder, "a.example"]),
                "192.0.2.77",
                "{nat:?}"
            );
        }
        // One that they can reach is theirs as well.
        name_server(&format!("{HOST}:53"));
        let others = ["nameserver 127.0.0.1\n", ""];
        for (nat, other) in NATS.into_iter().flat_map(|nat| others.map(|it| (nat, it))) {
            fs::write(&own, format!("{other}nameserver {HOST}\n")).unwrap();
            let (runner, tree) = (runner_with(nat), tree());
            assert_eq!(
                says(&runner, &tree, &["cat", "/etc/resolv.conf"]),
                format!("nameserver {HOST}"),
                "{nat:?}"
            );
            assert_eq!(says(&runner, &tree, &["net", "dns", HOST, "a.example"]), "192.0.2.77", "{nat:?}");
        }
    });
}

/// Answers every question with one address.
fn name_server(address: &str) {
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((n_bytes, from)) = socket.recv_from(&mut query) {
            let mut answer = query[..n_bytes].to_vec();
            // An answer, recursion available, one record: the name of the question, A, IN, a minute, an address.
            (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77]);
            let _ = socket.send_to(&answer, from);
        }
    });
}

fn network_sandboxes_are_apart() {
    on_a_host_of_its_own(|| {
        let (runner, tree) = (Arc::new(runner_with(SandboxNetwork::Auto)), tree());
        let (cancel, holder) = (Cancel::new(), runner.clone());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (spec, stop, said) = (sandboxed(&tree, &["net", "hold", "8080"]), cancel.clone(), taken.clone());
        let holding = std::thread::spawn(move || {
            let sink = |_: Stream, bytes: &[u8]| said.lock().unwrap().extend_from_slice(bytes);
            runtime().block_on(Runner::run(&*holder, spec, &sink, &stop))
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while *taken.lock().unwrap() != b"taken\n" {
            assert!(Instant::now() < deadline, "{:?}", taken.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(says(&runner, &tree, &["net", "tcp", "127.0.0.1", "8080"]), "connect ECONNREFUSED");
        assert_eq!(says(&runner, &tree, &["net", "localhost", "8080"]), "taken\ninside");
        cancel.cancel();
        assert!(matches!(holding.join().unwrap(), Err(RunError::Cancelled)));
    });
}

/// Which namespace a command has.
fn own_namespace(runner: &HelperRunner, tree: &Tree) -> String {
    says(runner, tree, &["/bin/sh", "-c", "ls -l /proc/self/ns/net | sed 's/.*-> //'"])
}

fn network_sandboxes_are_used_again() {
    on_a_host_of_its_own(|| {
        let port = serve(HOST, "outside");
        let (runner, tree) = (runner_with(SandboxNetwork::Auto), tree());
        let first = own_namespace(&runner, &tree);
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_ne!(first, own.to_str().unwrap());
        let mut seen = BTreeSet::from([first]);
        for _ in 0..3 {
            // The same port and name each time: nothing of the command before is there.
            assert_eq!(says(&runner, &tree, &["net", "localhost", "8080"]), "taken\ninside");
            assert_eq!(says(&runner, &tree, &["net", "tcp", HOST, &port]), "outside");
            seen.insert(own_namespace(&runner, &tree));
        }
        // A connection ends when the NAT has answered; until then a command has another namespace.
        std::thread::sleep(Duration::from_millis(500));
        let first = own_namespace(&runner, &tree);
        assert!(seen.contains(&first), "{first}: {seen:?}");
        // Whom a command sent datagrams to, the NAT still lets in.
        says(&runner, &tree, &["/bin/sh", "-c", &format!("net udp {HOST} 9 || true")]);
        let first = {
            let second = own_namespace(&runner, &tree);
            assert_ne!(second, first);
            second
        };
        // A socket that somebody else was given outlives its command.
        let place = TempDir::new_in("/var/tmp").unwrap();
        let _listener = UnixListener::bind(place.path().join("sock")).unwrap();
        let source = MountSource::Dir { path: place.path().into(), selector: "sock".into() };
        let mut spec = sandboxed(&tree, &["net", "give", "/tmp/sock", "8080"]);
        spec.mounts = vec![mount("/tmp/sock", source, Access::ReadWrite)];
        let ran = runtime().block_on(run_in(&runner, spec, &Cancel::new())).unwrap();
        assert_eq!(ran.out, "taken\ngiven\n", "{}", ran.err);
        assert_ne!(own_namespace(&runner, &tree), first);
    });
}

fn network_sandbox_of_insecure_is_not_used_again() {
    on_a_host_of_its_own(|| {
        let (runner, tree) = (runner_with(SandboxNetwork::Auto), tree());
        let script = "ls -l /proc/self/ns/net | sed 's/.*-> //'; ip address add 10.9.9.9/32 dev lo; true";
        let insecure = || {
            let security = Security::Insecure(granted().insecure.unwrap());
            let spec = ExecSpec { security, ..sandboxed(&tree, &["/bin/sh", "-c", script]) };
            let ran = runtime().block_on(run_in(&runner, spec, &Cancel::new())).unwrap();
            assert_eq!(ran.status.code, 0, "{}", ran.err);
            ran.out.trim_end().to_owned()
        };
        let first = own_namespace(&runner, &tree);
        let changed = insecure();
        assert_ne!(changed, first, "that of others is not for it");
        assert_ne!(insecure(), changed);
        assert_eq!(own_namespace(&runner, &tree), first);
    });
}

fn network_sandbox_may_be_something_else() {
    on_a_host_of_its_own(|| {
        let (port, tree) = (serve("127.0.0.1", "secret"), tree());
        let host = runner_with(SandboxNetwork::Host);
        assert_eq!(says(&host, &tree, &["net", "tcp", "127.0.0.1", &port]), "secret");
        let none = runner_with(SandboxNetwork::None);
        assert_eq!(says(&none, &tree, &["ls", "/sys/class/net"]), "lo");
        assert_eq!(says(&none, &tree, &["net", "tcp", HOST, &port]), "connect ENETUNREACH");
        assert_eq!(says(&none, &tree, &["net", "localhost", "80"]), "taken\ninside");
    });
}

/// Without /dev/net/tun no NAT works.
fn network_sandbox_falls_back_and_says_so() {
    on_a_host_of_its_own(|| {
        assert!(fs::metadata("/dev/net/tun").unwrap().file_type().is_char_device());
        mount_bind("/dev/null", "/dev/net/tun").unwrap();
        let (port, tree, runner) = (serve("127.0.0.1", "secret"), tree(), runner_with(SandboxNetwork::Auto));
        for _ in 0..2 {
            let spec = sandboxed(&tree, &["net", "tcp", "127.0.0.1", &port]);
            let ran = runtime().block_on(run_in(&runner, spec, &Cancel::new())).unwrap();
            assert_eq!(ran.out, "secret\n");
            let why = "cannot make a TAP device: Inappropriate ioctl for device (os error 25)";
            let expected = format!(
                "commands use the host's network and can reach what listens there: {why}; {why}; install Debian's \
                 `passt`, or say `--network host`"
            );
            assert_eq!(ran.status.notices, [expected]);
        }
        // Who asked for less than a sandbox does not get more than one.
        let strict =
            ExecSpec { profile: Profile::Strict, ..sandboxed(&tree, &["net", "tcp", "127.0.0.1", &port]) };
        let result = runtime().block_on(run_in(&runner, strict, &Cancel::new()));
        let Err(err) = result else { panic!("a strict command had the host's network") };
        assert!(err.to_string().contains("no network for the sandbox"), "{err}");
        for nat in NATS {
            let runner = runner_with(nat);
            let result = runtime().block_on(run_in(&runner, sandboxed(&tree, &["true"]), &Cancel::new()));
            let err = result.err().expect("it was asked for by name");
            assert!(
                err.to_string().contains("no network for the sandbox: cannot make a TAP device"),
                "{err}"
            );
        }
    });
}

/// Processes in this thread's network, besides this one.
fn neighbours() -> Vec<String> {
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let is_process = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .is_ok_and(|pid: u32| pid != std::process::id());
        if is_process && fs::read_link(path.join("ns/net")).is_ok_and(|it| it == own) {
            let command = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            found.push(command);
        }
    }
    found
}

fn assert_alone() {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !neighbours().is_empty() {
        assert!(Instant::now() < deadline, "left: {:#?}", neighbours());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn network_leaves_nothing() {
    on_a_host_of_its_own(|| {
        for nat in NATS {
            let tree = tree();
            let is_nat = |it: &String| it.contains(&format!("{}\0", nat.name()));
            let runner = runner_with(nat);
            says(&runner, &tree, &["true"]);
            assert_eq!(neighbours().iter().filter(|it| is_nat(it)).count(), 1, "{:#?}", neighbours());
            let failed = sandboxed(&tree, &["false"]);
            let ran = runtime().block_on(run_in(&runner, failed, &Cancel::new())).unwrap();
            assert_eq!(ran.status.code, 1);
            assert_eq!(neighbours().iter().filter(|it| is_nat(it)).count(), 1, "{:#?}", neighbours());
            drop(runner);
            assert_alone();

            // Stopped while the NAT starts, or the command, or it runs.
            for wait in [0, 5, 20, 300] {
                let (runner, cancel) = (runner_with(nat), Cancel::new());
                let stop = cancel.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(wait));
                    stop.cancel();
                });
                let spec = sandboxed(&tree, &["sleep", "1000"]);
                let result = runtime().block_on(run_in(&runner, spec, &cancel));
                assert!(matches!(result, Err(RunError::Cancelled)));
                drop(runner);
                assert_alone();
            }
        }
    });
}

/// This binary again, killed while a command has a NAT.
fn network_leaves_nothing_of_a_killed_engine() {
    const NAT: &str = "BKL_TEST_KILLED_NETWORK";
    if let Some(nat) = std::env::var_os(NAT) {
        let nat = NATS.into_iter().find(|it| it.name() == nat).unwrap();
        says(&runner_with(nat), &tree(), &["sleep", "1000"]);
        return;
    }
    on_a_host_of_its_own(|| {
        for nat in NATS {
            let mut engine = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &full_name("network_leaves_nothing_of_a_killed_engine")])
                .env(NAT, nat.name())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while !neighbours().iter().any(|it| it.contains(&format!("{}\0", nat.name()))) {
                assert!(Instant::now() < deadline, "no NAT: {:#?}", neighbours());
                std::thread::sleep(Duration::from_millis(5));
            }
            engine.kill().unwrap();
            engine.wait().unwrap();
            assert_alone();
        }
    });
}

fn network_whose_nat_was_killed_is_not_used_again() {
    on_a_host_of_its_own(|| {
        let port = serve(HOST, "outside");
        for nat in NATS {
            let (runner, tree) = (runner_with(nat), tree());
            assert_eq!(says(&runner, &tree, &["net", "tcp", HOST, &port]), "outside", "{nat:?}");
            kill_neighbours(nat.name());
            assert_eq!(says(&runner, &tree, &["net", "tcp", HOST, &port]), "outside", "{nat:?}");
            kill_neighbours("internal-run\0network");
            assert_eq!(says(&runner, &tree, &["net", "tcp", HOST, &port]), "outside", "{nat:?}");
        }
    });
}

/// Kills the processes of this thread's network whose command has the word, and waits until the kernel is done with them.
fn kill_neighbours(word: &str) {
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(pid) = name.parse().ok().and_then(rustix::process::Pid::from_raw) else { continue };
        if pid != rustix::process::getpid()
            && fs::read_link(path.join("ns/net")).is_ok_and(|it| it == own)
            && fs::read_to_string(path.join("cmdline")).is_ok_and(|it| it.contains(word))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while neighbours().iter().any(|it| it.contains(word)) {
        assert!(Instant::now() < deadline, "{:#?}", neighbours());
        std::thread::sleep(Duration::from_millis(5));
    }
    // And the keeper has noticed.
    std::thread::sleep(Duration::from_millis(100));
}
