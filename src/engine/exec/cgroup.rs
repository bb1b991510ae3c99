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

/// How the names of our cgroups start.
const PREFIX: &str = "bkl.";

/// Name of the cgroup of the helper that calls this.
pub(crate) fn own_name() -> io::Result<String> {
    let pid = std::process::id();
    let start = start_time(pid).ok_or_else(|| io::Error::other("/proc/self/stat has no start time"))?;
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

/// A dying process keeps its cgroup busy for a moment after it was reaped.
fn remove_dir(dir: &Path) -> io::Result<()> {
    let mut wait = Duration::from_micros(200);
    loop {
        match fs::remove_dir(dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::ResourceBusy && wait < Duration::from_secs(1) => {
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
    let (Ok(hierarchies), Ok(namespace)) = (hierarchies(), pid_namespace()) else { return };
    let mut dead: Vec<String> = Vec::new();
    for it in &hierarchies {
        for entry in fs::read_dir(&it.path).into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if is_dead(&name, namespace) && !dead.contains(&name) {
                dead.push(name);
            }
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
        (Some(pid), Some(start), Some(its)) if its == namespace => {
            let now = u32::try_from(pid).ok().and_then(start_time);
            now != Some(start)
        }
        _ => false,
    }
}

/// When a process started, in clock ticks since boot (proc(5), stat field 22).
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let state = rest.split(' ').next()?;
    if state == "Z" {
        return None;
    }
    rest.split(' ').nth(19)?.parse().ok()
}

/// Inode of the pid namespace of this process.
fn pid_namespace() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

#[cfg(test)]
mod tests;
