//! The container of a command, by libcontainer.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::{Value, json};

use super::init::{self, Init, Payload};
use super::setup::Prepared;
use super::supervise::{self, Ending};
use super::{chain, devices};
use crate::engine::exec::cgroup::{self, Hierarchy};
use crate::engine::exec::error::RunError;
use crate::engine::exec::seccomp;
use crate::engine::exec::spec::Limits;
use crate::engine::exec::wire::{Answer, Request};

/// What a command looks for programs in when its environment does not say (BuildKit, `util/system`).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Processes that a command may have at once: more than any build needs, fewer than the machine's last.
const DEFAULT_PIDS: i64 = 32_768;

// containerd's default spec and BuildKit's additions (llb.md §4.5).
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Runs the command in the prepared tree, until it ends or `socket` closes.
pub(super) fn run(
    socket: &UnixStream,
    request: &Request,
    prepared: &Prepared,
    filter: Option<Vec<libc::sock_filter>>,
    (stdout, stderr): (OwnedFd, OwnedFd),
) -> Result<Answer, RunError> {
    let (complaint, complaint_in) = std::io::pipe().map_err(io("make a pipe for", "init"))?;
    let env = environment(&request.env, &prepared.identity.home);
    let config = config(request, prepared, &env);
    fs::write(prepared.work.join("config.json"), config.to_string()).map_err(io("write", "config.json"))?;
    let payload = Payload::new(Init {
        args: request.args.clone(),
        env,
        ulimits: request.ulimits.clone(),
        filter,
        complaint: complaint_in.into(),
    })?;
    let started = start(prepared, payload.clone(), stdout, stderr);
    drop(payload);
    let pid = match started {
        Ok(pid) => pid,
        Err(err) => {
            supervise::kill_all(&prepared.hierarchies, &prepared.cgroup);
            let _ = cgroup::remove(&prepared.hierarchies, &prepared.cgroup);
            return Err(err);
        }
    };
    let ending = supervise::wait(socket, pid)?;
    let out_of_memory =
        ending.code() != 0 && cgroup::ran_out_of_memory(&prepared.hierarchies, &prepared.cgroup);
    cgroup::remove(&prepared.hierarchies, &prepared.cgroup).map_err(io("remove", &prepared.cgroup))?;
    let complained = init::read_complaint(complaint);
    let reason = match (complained, out_of_memory) {
        (Some(complaint), _) => return complaint.answer(&request.args[0]),
        (None, true) => Some("its memory ran out: the limit of its cgroup was reached".to_owned()),
        (None, false) => match ending {
            Ending::Exited(_) => None,
            Ending::Signaled(signal) => Some(format!("it was ended by signal {signal}")),
        },
    };
    Ok(Answer::Exited { code: ending.code(), reason })
}

/// Creates and starts the container; the pid of its first process.
fn start(prepared: &Prepared, payload: Payload, stdout: OwnedFd, stderr: OwnedFd) -> Result<i32, RunError> {
    let bug = |what| RunError::Bug { what };
    let work = &prepared.work;
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
    devices::limit(&prepared.hierarchies, &prepared.cgroup).map_err(|err| RunError::Environment {
        what: format!("the devices that a command may open cannot be limited: {err}"),
        help: "use a kernel with CONFIG_CGROUP_BPF, and run it as root outside a container".into(),
    })?;
    container.start().map_err(|err| bug(chain(&err)))?;
    Ok(pid)
}

/// The command's environment: of equal keys the last, where it stands; PATH and HOME when missing (runc fills HOME
/// also when it is empty).
fn environment(given: &[String], home: &str) -> Vec<String> {
    let key = |it: &str| it.split_once('=').map(|(key, _)| key.to_owned());
    let mut env: Vec<String> = Vec::with_capacity(given.len() + 2);
    for entry in given {
        if let Some(new) = key(entry) {
            env.retain(|it| key(it).as_deref() != Some(new.as_str()));
            env.push(entry.clone());
        }
    }
    if !env.iter().any(|it| it.starts_with("PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    env.retain(|it| it != "HOME=");
    if !env.iter().any(|it| it.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// The runtime spec, as far as libcontainer has a part in it.
fn config(request: &Request, prepared: &Prepared, env: &[String]) -> Value {
    let identity = &prepared.identity;
    // HOME must be there: libcontainer would ask libc for the user's, and libc may load plug-ins from inside the tree.
    let home = env.iter().find(|it| it.starts_with("HOME="));
    let unified = prepared.hierarchies.iter().all(|it| it.kind == cgroup::Kind::Unified);
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if unified {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<_> = namespaces.into_iter().map(|it| json!({ "type": it })).collect();
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
        "mounts": mounts(unified),
        "linux": {
            "cgroupsPath": format!("/{}", prepared.cgroup),
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
            "resources": resources(&request.limits, &prepared.hierarchies),
        },
    })
}

fn mounts(unified: bool) -> Value {
    let mount = |dest: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": dest, "type": kind, "source": source, "options": options });
    let quiet = ["nosuid", "noexec", "nodev"];
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
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    if unified {
        out.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]));
    }
    Value::Array(out)
}

/// No devices but the usual ones (libcontainer adds those), and the limits of the op.
fn resources(limits: &Limits, hierarchies: &[Hierarchy]) -> Value {
    let mut out = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
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

/// The filter program from its memory file.
pub(super) fn read_filter(file: &OwnedFd) -> Result<Vec<libc::sock_filter>, RunError> {
    let mut bytes = Vec::new();
    // The file's offset is shared with every helper that has it: read from a place of our own.
    let mut at = 0;
    let mut chunk = [0; 8192];
    loop {
        let got =
            rustix::io::pread(file, &mut chunk, at).map_err(|err| io("read", "the filter")(err.into()))?;
        if got == 0 {
            return Ok(seccomp::from_bytes(&bytes));
        }
        bytes.extend_from_slice(&chunk[..got]);
        at += got as u64;
    }
}

fn io(attempt: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.as_ref().to_owned();
    move |source| RunError::Io { attempt, path, source }
}

#[cfg(test)]
mod tests;
