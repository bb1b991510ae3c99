//! The cgroups of commands: where they are, whether memory ran out in them, and how they go away.
//!
//! A command's cgroup is `/bkl.<pid>.<start>.<namespace>` in every hierarchy, named after its helper: its pid, its start
//! time and its pid namespace. So a later process can tell a cgroup whose helper was killed from one in use. There is no
//! common parent: one helper would make it while another removes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RunError;
use super::spec::Limits;
use super::tree;

/// How the names of our cgroups start.
const PREFIX: &str = "bkl.";

/// File of version 2: whether the whole command ends when one of its processes is killed for want of memory. Half of a command
/// gives results that nobody wants.
pub(crate) const KILL_TOGETHER: &str = "memory.oom.group";

/// Sets [`KILL_TOGETHER`] of cgroup `name` where there is such a thing.
pub(crate) fn kill_together(hierarchies: &[Hierarchy], name: &str) {
    for it in hierarchies.iter().filter(|it| it.kind == Kind::Unified) {
        let _ = fs::write(it.path.join(name).join(KILL_TOGETHER), "1");
    }
}

/// Name of the cgroup of the helper that calls this.
pub(crate) fn own_name() -> io::Result<String> {
    let pid = std::process::id();
    let Process::Runs { start } = process(pid) else {
        return Err(io::Error::other("/proc/self/stat has no start time"));
    };
    Ok(format!("{PREFIX}{pid}.{start}.{}", pid_namespace()?))
}

/// Where hierarchies are mounted, from /proc/self/mountinfo: the unified one and those of version 1 alike.
pub(crate) fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse_hierarchies(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Mount point.
    pub(crate) path: PathBuf,
    /// Version and, for version 1, its controllers.
    pub(crate) kind: Kind,
}

/// Version of a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Version 1 with the options of its superblock: the controllers' names among others.
    Legacy(Vec<String>),
    /// Version 2.
    Unified,
}

impl Kind {
    /// Whether this is version 1 with `controller`.
    pub(crate) fn has_legacy(&self, controller: &str) -> bool {
        match self {
            Kind::Legacy(options) => options.iter().any(|it| it == controller),
            Kind::Unified => false,
        }
    }
}

/// Whether `controller` can be used, in either version.
pub(crate) fn has_controller(hierarchies: &[Hierarchy], controller: &str) -> bool {
    hierarchies.iter().any(|it| match it.kind {
        Kind::Legacy(_) => it.kind.has_legacy(controller),
        Kind::Unified => {
            let names = fs::read_to_string(it.path.join("cgroup.controllers")).unwrap_or_default();
            names.split_whitespace().any(|it| it == controller)
        }
    })
}

fn parse_hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut out: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(path) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let kind = match right.next() {
            Some("cgroup") => {
                Kind::Legacy(right.nth(1).unwrap_or("").split(',').map(str::to_owned).collect())
            }
            Some("cgroup2") => Kind::Unified,
            _ => continue,
        };
        if !out.iter().any(|it| it.path == Path::new(path)) {
            out.push(Hierarchy { path: path.into(), kind });
        }
    }
    out
}

/// Fails when a limit is asked for whose controller is nowhere: it would silently not hold.
pub(crate) fn check(hierarchies: &[Hierarchy], limits: &Limits) -> Result<(), RunError> {
    let asked = [
        ("memory", limits.memory.is_some() || limits.memory_swap.is_some()),
        ("cpu", limits.cpu_shares.is_some() || limits.cpu_quota.is_some() || limits.cpu_period.is_some()),
        ("cpuset", limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some()),
        ("pids", limits.pids.is_some()),
    ];
    let missing = asked.into_iter().find(|(name, asked)| *asked && !has_controller(hierarchies, name));
    missing.map_or(Ok(()), |(name, _)| Err(unlimited(name, "no hierarchy has the controller")))
}

/// A limit that cannot be set.
pub(crate) fn unlimited(controller: &str, why: &str) -> RunError {
    RunError::Environment {
        what: format!("the step's `{controller}` cannot be limited: {why}"),
        help: "run it where that controller of cgroups is on, or take the limit away".into(),
    }
}

/// Whether the kernel killed something in cgroup `name` because its memory limit was reached.
pub(crate) fn ran_out_of_memory(hierarchies: &[Hierarchy], name: &str) -> bool {
    hierarchies.iter().any(|it| {
        let dir = it.path.join(name);
        let file = match &it.kind {
            Kind::Legacy(options) if options.iter().any(|it| it == "memory") => {
                dir.join("memory.oom_control")
            }
            Kind::Legacy(_) => return false,
            Kind::Unified => dir.join("memory.events"),
        };
        let text = fs::read_to_string(file).unwrap_or_default();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|it| it.trim().parse::<u64>().ok()).is_some_and(|it| it > 0)
    })
}

/// Removes cgroup `name` everywhere; its processes must be gone.
pub(crate) fn remove(hierarchies: &[Hierarchy], name: &str) -> io::Result<()> {
    let mut result = Ok(());
    for it in hierarchies {
        if let Err(err) = remove_dir(&it.path.join(name)) {
            result = Err(err);
        }
    }
    result
}

/// Removes the groups in a group, as far as nothing is in them.
fn remove_below(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            remove_below(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// A dying process keeps its cgroup busy for a moment after it was reaped.
fn remove_dir(dir: &Path) -> io::Result<()> {
    let mut wait = Duration::from_micros(200);
    loop {
        match fs::remove_dir(dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::ResourceBusy && wait < Duration::from_secs(1) => {
                // A command without confinement may have made groups in it.
                remove_below(dir);
                std::thread::sleep(wait);
                wait *= 2;
            }
            other => return other,
        }
    }
}

/// Removes the cgroups of helpers that are dead, with whatever still runs in them. Errors are left for the next
/// sweep: nothing depends on it.
pub fn sweep() {
    sweep_below("");
}

/// As [`sweep`], of the cgroups below `parent`: a path from the top of each hierarchy as commands name it.
pub fn sweep_below(parent: &str) {
    let (Ok(hierarchies), Ok(namespace)) = (hierarchies(), pid_namespace()) else { return };
    let parent = tree::clean("/", parent);
    let parent = parent.strip_prefix("/").unwrap_or(&parent);
    let mut dead: Vec<String> = Vec::new();
    for it in &hierarchies {
        for entry in fs::read_dir(it.path.join(parent)).into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let name = parent.join(&name).to_str().filter(|_| is_dead(&name, namespace)).map(str::to_owned);
            dead.extend(name.filter(|it| !dead.contains(it)));
        }
    }
    for name in dead {
        for it in &hierarchies {
            let procs = it.path.join(&name).join("cgroup.procs");
            for pid in fs::read_to_string(procs).unwrap_or_default().lines() {
                let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        let _ = remove(&hierarchies, &name);
    }
}

/// Whether `name` is of a helper of this pid namespace that no longer lives.
fn is_dead(name: &str, namespace: u64) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.split('.').map(|it| it.parse::<u64>().ok());
    match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
        (Some(pid), Some(start), Some(its)) if its == namespace => match u32::try_from(pid).map(process) {
            Ok(Process::Runs { start: now }) => now != start,
            Ok(Process::Ended) | Err(_) => true,
            Ok(Process::Unknown) => false,
        },
        _ => false,
    }
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Runs {
        /// When it started, in clock ticks since boot (proc(5), stat field 22).
        start: u64,
    },
    /// Or waits for its parent to hear of it.
    Ended,
    /// It could not be looked at: no descriptor is free, say. That is no reason to take it for dead.
    Unknown,
}

fn process(pid: u32) -> Process {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(err) if err.kind() == io::ErrorKind::NotFound || err.raw_os_error() == Some(libc::ESRCH) => {
            return Process::Ended;
        }
        Err(_) => return Process::Unknown,
    };
    // The name in parentheses may hold anything.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return Process::Unknown };
    if rest.starts_with(['Z', 'X']) {
        return Process::Ended;
    }
    let start = rest.split(' ').nth(19).and_then(|it| it.parse().ok());
    start.map_or(Process::Unknown, |start| Process::Runs { start })
}

/// Inode of the pid namespace of this process.
fn pid_namespace() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

#[cfg(test)]
mod tests;
