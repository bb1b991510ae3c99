//! Cgroups by descriptor: the helper's own, in which its commands are born, and one for each command that has limits.
//!
//! The helper's name for them is the one that `cgroup::sweep` knows; those of commands have a number behind it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::exec::cgroup::{Hierarchy, KILL_TOGETHER, Kind, unlimited};
use crate::engine::exec::error::RunError;
use crate::engine::exec::helper::defaults::DEFAULT_PIDS;
use crate::engine::exec::helper::devices;
use crate::engine::exec::spec::{Limits, NewNode};
use crate::engine::exec::tree;
use crate::store::in_user_namespace;

/// The hierarchies, and the helper's group in those that count for every command.
pub(super) struct Groups {
    hierarchies: Vec<(Kind, OwnedFd)>,
    name: String,
    own: Group,
    /// How many commands had one.
    n_made: u64,
}

/// Which devices the processes of a group may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed<'a> {
    /// Those that every command may, and these.
    Usual(&'a [NewNode]),
    /// All.
    All,
}

/// A group in some of the hierarchies.
pub(super) struct Group {
    name: String,
    dirs: Vec<Dir>,
}

struct Dir {
    kind: Kind,
    /// The hierarchy's root.
    parent: OwnedFd,
    fd: OwnedFd,
}

/// How a process gets into a group, if it is to.
#[derive(Default)]
pub(super) struct Membership {
    /// Where it is born: clone3 knows version 2 only.
    pub(super) cradle: Option<OwnedFd>,
    /// Lists of processes, for it to write itself into.
    pub(super) doors: Vec<OwnedFd>,
}

impl Membership {
    /// Whether it gets into any.
    pub(super) fn is_needed(&self) -> bool {
        self.cradle.is_some() || !self.doors.is_empty()
    }
}

/// Controllers of version 1 that every command's group has.
const ALWAYS: &[&str] = &["devices", "memory", "pids"];

impl Groups {
    /// No groups: those of the machine are not this user's. What can only be limited by them is then refused.
    pub(super) fn none(name: String) -> Groups {
        let own = Group { name: name.clone(), dirs: Vec::new() };
        Groups { hierarchies: Vec::new(), name, own, n_made: 0 }
    }

    /// Makes the group `name` and moves this process into it.
    pub(super) fn enter(hierarchies: &[Hierarchy], name: String) -> Result<Groups, RunError> {
        let mut opened = Vec::new();
        for it in hierarchies {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::open(&it.path, flags, Mode::empty()) {
                Ok(fd) => opened.push((it.kind.clone(), fd)),
                // Something is mounted over it.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(err) => return Err(io_error("open", &it.path.display().to_string(), err.into())),
            }
        }
        if let [(Kind::Unified, root)] = opened.as_slice() {
            enable_controllers(root);
        }
        let own = Group::make(&opened, &name, &Limits::default(), Path::new(""), Allowed::Usual(&[]))?;
        for dir in &own.dirs {
            // 0 is who writes.
            rustix::io::write(own.door(dir)?, b"0").map_err(|err| io_error("join", &name, err.into()))?;
        }
        Ok(Groups { hierarchies: opened, name, own, n_made: 0 })
    }

    /// A group for one command, in the group `parent`.
    pub(super) fn make(
        &mut self,
        limits: &Limits,
        parent: &str,
        allowed: Allowed<'_>,
    ) -> Result<Group, RunError> {
        self.n_made += 1;
        let parent = tree::clean("/", parent);
        let parent = parent.strip_prefix("/").unwrap_or(&parent);
        Group::make(&self.hierarchies, &format!("{}.{}", self.name, self.n_made), limits, parent, allowed)
    }

    /// Whether there is version 2 and nothing else.
    pub(super) fn are_unified(&self) -> bool {
        !self.hierarchies.is_empty() && self.hierarchies.iter().all(|(kind, _)| *kind == Kind::Unified)
    }

    /// How many processes of the helper's own group were killed for want of memory.
    pub(super) fn n_memory_kills(&self) -> u64 {
        self.own.n_memory_kills()
    }

    /// Moves this process out and removes its group; at the end of a helper.
    pub(super) fn leave(self) {
        for dir in &self.own.dirs {
            let _ = write(&dir.parent, "cgroup.procs", "0");
        }
        let _ = self.own.remove();
    }
}

impl Group {
    fn make(
        hierarchies: &[(Kind, OwnedFd)],
        name: &str,
        limits: &Limits,
        parent: &Path,
        allowed: Allowed<'_>,
    ) -> Result<Group, RunError> {
        let mut group = Group { name: name.to_owned(), dirs: Vec::new() };
        let outcome = group.fill(hierarchies, limits, parent, allowed);
        match outcome {
            Ok(()) => Ok(group),
            Err(err) => {
                let _ = group.remove();
                Err(err)
            }
        }
    }

    fn fill(
        &mut self,
        hierarchies: &[(Kind, OwnedFd)],
        limits: &Limits,
        parent: &Path,
        allowed: Allowed<'_>,
    ) -> Result<(), RunError> {
        let has_devices = hierarchies.iter().any(|(kind, _)| kind.has_legacy("devices"));
        for (kind, root) in hierarchies {
            if !is_used(kind, limits, has_devices) {
                continue;
            }
            let made = |err: Errno| io_error("make", &self.name, err.into());
            let parent = open_parent(kind, root, parent)
                .map_err(|err| io_error("make", &parent.display().to_string(), err))?;
            rustix::fs::mkdirat(&parent, &self.name, Mode::from_raw_mode(0o755)).map_err(made)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&parent, &self.name, flags, Mode::empty()).map_err(made)?;
            self.dirs.push(Dir { kind: kind.clone(), parent, fd });
        }
        let more = match allowed {
            Allowed::Usual(more) => more,
            Allowed::All => return self.limit(limits),
        };
        for dir in &self.dirs {
            dir.limit_devices(has_devices, more).map_err(|err| RunError::Environment {
                what: format!("the devices that a command may open cannot be limited: {err}"),
                help: "use a kernel with CONFIG_CGROUP_BPF, and run it as root outside a container".into(),
            })?;
        }
        self.limit(limits)
    }

    /// How a process gets into it.
    pub(super) fn membership(&self) -> Result<Membership, RunError> {
        let mut out = Membership::default();
        for dir in &self.dirs {
            match dir.kind {
                Kind::Unified => {
                    let cradle = dir.fd.try_clone();
                    out.cradle = Some(cradle.map_err(|err| io_error("duplicate", &self.name, err))?);
                }
                Kind::Legacy(_) => out.doors.push(self.door(dir)?),
            }
        }
        Ok(out)
    }

    /// The list of its processes, for who joins it.
    fn door(&self, dir: &Dir) -> Result<OwnedFd, RunError> {
        let door =
            rustix::fs::openat(&dir.fd, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        door.map_err(|err| io_error("open", &self.name, err.into()))
    }

    /// How many of its processes were killed for want of memory.
    pub(super) fn n_memory_kills(&self) -> u64 {
        self.dirs.iter().map(Dir::n_memory_kills).max().unwrap_or(0)
    }

    /// Whether its processes wanted more memory than it may have.
    pub(super) fn has_reached_its_memory(&self) -> bool {
        self.dirs.iter().any(Dir::has_reached_its_memory)
    }

    /// Removes it; its processes must be gone. One that was reaped keeps it busy for a moment.
    pub(super) fn remove(self) -> io::Result<()> {
        let mut result = Ok(());
        for dir in &self.dirs {
            let mut wait = std::time::Duration::from_micros(100);
            loop {
                match rustix::fs::unlinkat(&dir.parent, &self.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => break,
                    Err(Errno::BUSY) if wait.as_secs() < 1 => {
                        // A command without confinement may have made groups in it.
                        remove_below(&dir.fd);
                        std::thread::sleep(wait);
                        wait *= 2;
                    }
                    Err(err) => {
                        result = Err(err.into());
                        break;
                    }
                }
            }
        }
        result
    }

    fn limit(&self, limits: &Limits) -> Result<(), RunError> {
        let pids = limits.pids.unwrap_or(DEFAULT_PIDS);
        // What nobody asked for is set where it can be.
        let asked = limits.pids.is_some();
        self.set(asked, &[("pids", "pids.max", pids.to_string())], &[("pids.max", pids.to_string())])?;
        if let Some(memory) = limits.memory {
            let value = memory.to_string();
            self.set(true, &[("memory", "memory.limit_in_bytes", value.clone())], &[("memory.max", value)])?;
            self.set(false, &[], &[(KILL_TOGETHER, "1".to_owned())])?;
        }
        if let Some(swap) = limits.memory_swap {
            let more = match swap {
                -1 => "max".to_owned(),
                both => (both - limits.memory.unwrap_or(0)).max(0).to_string(),
            };
            let legacy = [("memory", "memory.memsw.limit_in_bytes", swap.to_string())];
            self.set(true, &legacy, &[("memory.swap.max", more)])?;
        }
        if let Some(shares) = limits.cpu_shares {
            // runc's conversion of 2..262144 to 1..10000 (libcontainer/cgroups, ConvertCPUSharesToCgroupV2Value).
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
            let legacy = [("cpu", "cpu.shares", shares.to_string())];
            self.set(true, &legacy, &[("cpu.weight", weight.to_string())])?;
        }
        if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
            let period = limits.cpu_period.unwrap_or(100_000);
            let quota = limits.cpu_quota.filter(|it| 0 < *it);
            let text = quota.map_or("max".to_owned(), |it| it.to_string());
            let mut legacy = vec![("cpu", "cpu.cfs_period_us", period.to_string())];
            legacy.extend(limits.cpu_quota.map(|it| ("cpu", "cpu.cfs_quota_us", it.to_string())));
            self.set(true, &legacy, &[("cpu.max", format!("{text} {period}"))])?;
        }
        if limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some() {
            self.limit_cpuset(limits)?;
        }
        Ok(())
    }

    /// Version 1 starts with empty sets, in which nothing can run: what is not given is the parent's.
    fn limit_cpuset(&self, limits: &Limits) -> Result<(), RunError> {
        let all = [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)];
        for (file, given) in all {
            let legacy = self.dirs.iter().find(|it| it.kind.has_legacy("cpuset"));
            let inherited = legacy.map(|it| read(&it.parent, file).trim().to_owned());
            if let Some(value) = given.clone().or(inherited) {
                let unified = if given.is_some() { vec![(file, value.clone())] } else { Vec::new() };
                self.set(true, &[("cpuset", file, value)], &unified)?;
            }
        }
        Ok(())
    }

    /// Writes the files of whichever version has the controller. `asked` is whether a failure matters.
    fn set(
        &self,
        asked: bool,
        legacy: &[(&str, &str, String)],
        unified: &[(&str, String)],
    ) -> Result<(), RunError> {
        let controller = legacy.first().map_or("", |it| it.0);
        let writes: Vec<(&OwnedFd, &str, &String)> =
            match self.dirs.iter().find(|it| it.kind.has_legacy(controller)) {
                Some(dir) => legacy.iter().map(|(_, file, value)| (&dir.fd, *file, value)).collect(),
                None => match self.dirs.iter().find(|it| it.kind == Kind::Unified) {
                    Some(dir) => unified.iter().map(|(file, value)| (&dir.fd, *file, value)).collect(),
                    None => Vec::new(),
                },
            };
        if writes.is_empty() && asked && !unified.is_empty() {
            let why = match in_user_namespace() {
                true => "cgroups are root's",
                false => "no hierarchy has the controller",
            };
            return Err(unlimited(controller, why));
        }
        for (dir, file, value) in writes {
            match write(dir, file, value) {
                Err(err) if asked => {
                    return Err(match err.raw_os_error() {
                        Some(libc::EINVAL | libc::ERANGE) => RunError::Step {
                            what: format!("the kernel does not take `{value}` for the limit `{file}`"),
                        },
                        _ => unlimited(controller, &format!("cannot write `{file}`: {err}")),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Dir {
    fn limit_devices(&self, has_controller: bool, more: &[NewNode]) -> io::Result<()> {
        if self.kind.has_legacy("devices") {
            write(&self.fd, "devices.deny", "a")?;
            for rule in devices::rules(more) {
                write(&self.fd, "devices.allow", &rule)?;
            }
        } else if self.kind == Kind::Unified && !has_controller {
            devices::attach_to(&self.fd, more)?;
        }
        Ok(())
    }

    fn n_memory_kills(&self) -> u64 {
        let file = match &self.kind {
            Kind::Legacy(_) if self.kind.has_legacy("memory") => "memory.oom_control",
            Kind::Legacy(_) => return 0,
            Kind::Unified => "memory.events",
        };
        let text = read(&self.fd, file);
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|it| it.trim().parse().ok()).unwrap_or(0)
    }

    fn has_reached_its_memory(&self) -> bool {
        let n_times = match &self.kind {
            Kind::Legacy(_) if self.kind.has_legacy("memory") => read(&self.fd, "memory.failcnt"),
            Kind::Legacy(_) => return false,
            Kind::Unified => {
                let text = read(&self.fd, "memory.events");
                let at_max = text.lines().find_map(|line| line.strip_prefix("max "));
                at_max.unwrap_or_default().to_owned()
            }
        };
        n_times.trim().parse::<u64>().is_ok_and(|it| 0 < it)
    }
}

/// Removes the groups in a group, as far as nothing is in them.
fn remove_below(dir: &OwnedFd) {
    let Ok(entries) = rustix::fs::Dir::read_from(dir) else { return };
    for entry in entries.flatten().filter(|it| it.file_type().is_dir()) {
        let name = entry.file_name();
        if name != c"." && name != c".." {
            if let Ok(below) = open_dir(dir, OsStr::from_bytes(name.to_bytes())) {
                remove_below(&below);
            }
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR);
        }
    }
}

/// The group `path` of a hierarchy, made where it is missing; with version 2 its children get what controllers there are.
fn open_parent(kind: &Kind, root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut dir = root.try_clone()?;
    for name in path {
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) if kind.has_legacy("cpuset") => {
                let made = open_dir(&dir, name)?;
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    write(&made, file, read(&dir, file).trim())?;
                }
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        dir = open_dir(&dir, name)?;
        if *kind == Kind::Unified {
            enable_controllers(&dir);
        }
    }
    Ok(dir)
}

fn open_dir(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Where processes sit in the group itself the kernel refuses; what is asked for later is then refused too.
fn enable_controllers(dir: &OwnedFd) {
    for controller in ["pids", "memory", "cpu", "cpuset"] {
        let _ = write(dir, "cgroup.subtree_control", &format!("+{controller}"));
    }
}

/// Whether a group with these limits has a directory in a hierarchy.
fn is_used(kind: &Kind, limits: &Limits, has_devices: bool) -> bool {
    let has = |controllers: &[&str]| controllers.iter().any(|it| kind.has_legacy(it));
    let cpu = limits.cpu_shares.is_some() || limits.cpu_quota.is_some() || limits.cpu_period.is_some();
    let cpuset = limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some();
    match kind {
        // Beside hierarchies of version 1 it has no controllers.
        Kind::Unified => !has_devices,
        Kind::Legacy(_) => has(ALWAYS) || (cpu && has(&["cpu"])) || (cpuset && has(&["cpuset"])),
    }
}

fn io_error(attempt: &'static str, name: &str, source: io::Error) -> RunError {
    RunError::Io { attempt, path: format!("the cgroup {name}").into(), source }
}

fn write(dir: &OwnedFd, file: &str, text: &str) -> io::Result<()> {
    let fd = rustix::fs::openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, text.as_bytes())?;
    Ok(())
}

/// Text of a file; empty when it cannot be read.
fn read(dir: &OwnedFd, file: &str) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    if let Ok(fd) = rustix::fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = std::fs::File::from(fd).read_to_string(&mut text);
    }
    text
}
