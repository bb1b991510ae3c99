//! What every command gets, whoever makes its container: containerd's default specification with BuildKit's changes
//! (llb.md §4.5).

use crate::engine::exec::error::RunError;
use crate::engine::exec::spec::{NewNode, NodeKind, Profile};
use crate::engine::exec::wire::{Confinement, Request};
use crate::graph::ir::config::DEFAULT_PATH;

/// Processes that a command may have at once: more than any build needs, fewer than the machine's last.
pub(super) const DEFAULT_PIDS: i64 = 32_768;

/// Hidden: files by the null device, directories by an empty one.
pub(super) const MASKED: &[&str] = &[
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
/// Made read-only.
pub(super) const READONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The nodes that a command has besides the usual ones: those it was given, and without confinement some more (BuildKit,
/// `util/entitlements/security`).
pub(super) fn more_nodes(request: &Request) -> Vec<NewNode> {
    let mut given = request.nodes.clone();
    let Confinement::Namespaces { n_loops } = request.confinement else { return given };
    let node = |path: String, kind, major, minor| NewNode {
        path,
        kind,
        major,
        minor,
        mode: 0o666,
        uid: Some(0),
        gid: Some(0),
        reads: true,
        writes: true,
    };
    let named = [
        ("kmsg", 1, 11),
        ("cuse", 10, 203),
        ("fuse", 10, 229),
        ("kvm", 10, 232),
        ("net/tun", 10, 200),
        ("loop-control", 10, 237),
    ];
    let named = named
        .into_iter()
        .map(|(path, major, minor)| node(path.to_owned(), NodeKind::Character, major, minor));
    let loops = (0..n_loops).map(|minor| node(format!("loop{minor}"), NodeKind::Block, 7, minor));
    let mut nodes: Vec<NewNode> = named.chain(loops).collect();
    nodes.retain(|it| given.iter().all(|given| given.path != it.path));
    nodes.append(&mut given);
    nodes
}

/// The command's environment: of equal keys the last, where it stands; PATH and HOME when missing (runc fills HOME
/// also when it is empty).
pub(super) fn environment(given: &[String], home: &str) -> Vec<String> {
    let mut keys = std::collections::BTreeSet::new();
    let mut env = Vec::with_capacity(given.len() + 2);
    for entry in given.iter().rev() {
        if entry.split_once('=').is_some_and(|(key, _)| keys.insert(key)) {
            env.push(entry.clone());
        }
    }
    env.reverse();
    if !env.iter().any(|it| it.starts_with("PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    env.retain(|it| it != "HOME=");
    if !env.iter().any(|it| it.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// The filter of a profile, which `find` gives in the form that is wanted.
///
/// # Errors
/// [`RunError::Environment`] on a machine that there is none for.
pub(super) fn filter<T>(profile: Profile, find: impl Fn(Profile) -> Option<T>) -> Result<T, RunError> {
    find(profile).ok_or_else(|| RunError::Environment {
        what: format!("there is no system call filter for {}", std::env::consts::ARCH),
        help: "build on amd64 or arm64".into(),
    })
}

#[cfg(test)]
mod tests;
