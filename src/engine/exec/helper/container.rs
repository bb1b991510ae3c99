//! The container of a command, by libcontainer.
//!
//! - `payload`: what it calls inside.

mod payload;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use payload::Payload;
use serde_json::{Value, json};

use super::defaults::{DEFAULT_PIDS, MASKED, READONLY, filter, more_nodes};
use super::init::{self, Command, Program};
use super::setup::{NetFiles, Prepared};
use super::stubs::Stubs;
use super::supervise;
use super::{EMULATOR, chain, devices, place, setup};
use crate::engine::exec::cgroup::{self, Hierarchy};
use crate::engine::exec::error::RunError;
use crate::engine::exec::seccomp;
use crate::engine::exec::spec::{NewNode, NodeKind, Profile};
use crate::engine::exec::tree;
use crate::engine::exec::wire::{Answer, Confinement, Fds, Request};

/// Where the container is made.
struct Site {
    prepared: Prepared,
    /// A directory in memory for libcontainer's files.
    work: PathBuf,
    /// Where what runs it is mounted, if it is not the kernel.
    emulator: Option<PathBuf>,
    hierarchies: Vec<Hierarchy>,
    /// Name of the cgroup.
    cgroup: String,
    confinement: Confinement,
}

/// Runs the command, until it ends or `socket` closes.
pub(super) fn run(socket: &UnixStream, request: &Request, fds: Fds) -> Result<Answer, RunError> {
    let Fds { stdout, stderr, root, network, trees } = fds;
    let hierarchies = cgroup::hierarchies().map_err(io("read", "/proc/self/mountinfo"))?;
    cgroup::check(&hierarchies, &request.limits)?;
    let cgroup = cgroup::own_name().map_err(io("read", "/proc/self/stat"))?;
    let cgroup = tree::clean(&request.cgroup_parent, &cgroup).display().to_string();
    let cgroup = cgroup.trim_start_matches('/').to_owned();
    place::enter_namespaces(request.network, network.as_ref())?;
    drop(network);
    let hierarchies = place::narrow_hierarchies(hierarchies, request)?;
    let area = place::area()?;
    let work = area.join("work");
    fs::create_dir(&work).map_err(io("make", &work))?;
    let mut stubs = Stubs::default();
    let prepared = setup::prepare(request, root.as_fd(), &trees, &area, &mut NetFiles::default(), &mut stubs);
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            place::detach(&area.join(setup::ROOTFS));
            stubs.remove();
            return Err(error);
        }
    };
    let emulator = match setup::emulator(request, trees)? {
        Some(mount) => {
            let place = area.join("emulator");
            fs::write(&place, "").map_err(io("make", &place))?;
            place::attach(mount.as_fd(), &place).map_err(|err| io("mount on", &place)(err.into()))?;
            Some(place)
        }
        None => None,
    };
    let site = Site { prepared, work, emulator, hierarchies, cgroup, confinement: request.confinement };
    let outcome = run_in(socket, request, &site, (stdout, stderr));
    // Also after a failure: the caller may look at the tree.
    place::detach(&site.prepared.rootfs);
    stubs.remove();
    outcome
}

fn run_in(
    socket: &UnixStream,
    request: &Request,
    site: &Site,
    (stdout, stderr): (OwnedFd, OwnedFd),
) -> Result<Answer, RunError> {
    let (complaint, complaint_in) = std::io::pipe().map_err(io("make a pipe for", "init"))?;
    let command = Command::of(request, &site.prepared.identity.home);
    let config = config(request, site, &command.env);
    fs::write(site.work.join("config.json"), config.to_string()).map_err(io("write", "config.json"))?;
    let filter = match request.confinement {
        Confinement::Full => Some((request.profile, filter(request.profile, seccomp::program)?)),
        Confinement::Namespaces { .. } => None,
    };
    let payload = Payload::new(Program::new(&command)?, filter, complaint_in.into());
    let started = start(site, request, payload.clone(), stdout, stderr);
    drop(payload);
    let pid = match started {
        Ok(pid) => pid,
        Err(err) => {
            supervise::kill_all(&site.hierarchies, &site.cgroup);
            let _ = cgroup::remove(&site.hierarchies, &site.cgroup);
            return Err(err);
        }
    };
    let ending = supervise::wait(socket, supervise::watch(pid)?.as_fd())?;
    let out_of_memory = ending.code() != 0 && cgroup::ran_out_of_memory(&site.hierarchies, &site.cgroup);
    cgroup::remove(&site.hierarchies, &site.cgroup).map_err(io("remove", &site.cgroup))?;
    let warnings = init::clamped(&request.ulimits)?;
    supervise::conclude(&ending, init::read_complaint(&complaint), out_of_memory, request, warnings)
}

/// Creates and starts the container; the pid of its first process.
fn start(
    site: &Site,
    request: &Request,
    payload: Payload,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<i32, RunError> {
    let bug = |what| RunError::Bug { what };
    let work = &site.work;
    let null = fs::File::open("/dev/null").map_err(io("open", "/dev/null"))?;
    let container = ContainerBuilder::new("step".to_owned(), SyscallType::default())
        .with_root_path(work.join("state"))
        .and_then(|it| {
            it.with_executor(payload)
                .with_stdin(null)
                .with_stdout(stdout)
                .with_stderr(stderr)
                .as_init(work)
                .with_systemd(false)
                .with_detach(true)
                .build()
        });
    let mut container = container.map_err(|err| bug(chain(&err)))?;
    let pid = container.pid().ok_or_else(|| bug("libcontainer gave no pid".into()))?.as_raw();
    // It waits to be started: what limits it is in place before.
    if site.confinement == Confinement::Full {
        devices::limit(&site.hierarchies, &site.cgroup, &request.nodes).map_err(|err| {
            RunError::Environment {
                what: format!("the devices that a command may open cannot be limited: {err}"),
                help: "use a kernel with CONFIG_CGROUP_BPF, and run it as root outside a container".into(),
            }
        })?;
    }
    if request.limits.memory.is_some() {
        cgroup::kill_together(&site.hierarchies, &site.cgroup);
    }
    container.start().map_err(|err| bug(chain(&err)))?;
    Ok(pid)
}

/// The runtime spec, as far as libcontainer has a part in it.
fn config(request: &Request, site: &Site, env: &[String]) -> Value {
    let prepared = &site.prepared;
    let identity = &prepared.identity;
    // HOME must be there: libcontainer would ask libc for the user's, and libc may load plug-ins from inside the tree.
    let home = env.iter().find(|it| it.starts_with("HOME="));
    let unified = site.hierarchies.iter().all(|it| it.kind == cgroup::Kind::Unified);
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if unified {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<_> = namespaces.into_iter().map(|it| json!({ "type": it })).collect();
    let is_confined = request.confinement == Confinement::Full;
    let node = |it: &NewNode| {
        let (uid, gid) = (it.uid.unwrap_or(identity.uid), it.gid.unwrap_or(identity.gid));
        json!({ "path": format!("/dev/{}", it.path), "type": kind_of(it), "major": it.major, "minor": it.minor, "fileMode": it.mode, "uid": uid, "gid": gid })
    };
    let nodes: Vec<Value> = more_nodes(request).iter().map(node).collect();
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": prepared.rootfs, "readonly": request.readonly_root },
        "hostname": request.hostname,
        "process": {
            "args": ["-"],
            "env": [home],
            "cwd": prepared.cwd,
            "user": { "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups },
        },
        "mounts": mounts(unified && request.profile == Profile::Compat, is_confined, site.emulator.as_deref()),
        "linux": {
            "cgroupsPath": format!("/{}", site.cgroup),
            "namespaces": namespaces,
            "devices": nodes,
            "maskedPaths": if is_confined { MASKED } else { &[] },
            "readonlyPaths": if is_confined { READONLY } else { &[] },
            "resources": resources(request, &site.hierarchies, is_confined),
        },
    })
}

fn mounts(shows_cgroups: bool, is_confined: bool, emulator: Option<&Path>) -> Value {
    let mount = |dest: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": dest, "type": kind, "source": source, "options": options });
    let quiet = ["nosuid", "noexec", "nodev"];
    let kernel = ["nosuid", "noexec", "nodev", if is_confined { "ro" } else { "rw" }];
    let mut out = vec![
        mount("/proc", "proc", "proc", &quiet),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
        mount("/sys", "sysfs", "sysfs", &kernel),
    ];
    if shows_cgroups {
        out.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &kernel));
    }
    if let Some(emulator) = emulator.and_then(Path::to_str) {
        out.push(mount(EMULATOR, "bind", emulator, &["bind", "ro", "nosuid", "nodev"]));
    }
    Value::Array(out)
}

fn kind_of(node: &NewNode) -> &'static str {
    match node.kind {
        NodeKind::Character => "c",
        NodeKind::Block => "b",
    }
}

/// No devices but the usual ones and those of the command (libcontainer adds those), and the limits of the op.
fn resources(request: &Request, hierarchies: &[Hierarchy], is_confined: bool) -> Value {
    let limits = &request.limits;
    let mut rules = vec![json!({ "allow": !is_confined, "access": "rwm" })];
    rules.extend(request.nodes.iter().map(|it| {
        json!({ "allow": true, "type": kind_of(it), "major": it.major, "minor": it.minor, "access": devices::access(it) })
    }));
    let mut out = json!({ "devices": rules });
    let mut set = |group: &str, name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out[group][name] = value;
        }
    };
    set("memory", "limit", limits.memory.map(Value::from));
    set("memory", "swap", limits.memory_swap.map(Value::from));
    set("cpu", "shares", limits.cpu_shares.map(Value::from));
    set("cpu", "quota", limits.cpu_quota.map(Value::from));
    set("cpu", "period", limits.cpu_period.map(Value::from));
    set("cpu", "cpus", limits.cpuset_cpus.clone().map(Value::from));
    set("cpu", "mems", limits.cpuset_mems.clone().map(Value::from));
    let default_pids = || cgroup::has_controller(hierarchies, "pids").then_some(DEFAULT_PIDS);
    set("pids", "limit", limits.pids.or_else(default_pids).map(Value::from));
    out
}

fn io(attempt: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.as_ref().to_owned();
    move |source| RunError::Io { attempt, path, source }
}
