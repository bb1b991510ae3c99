//! Building as a normal user: this process goes into a user namespace in which that user is root.
//!
//! Two ways, the better one first: with the ranges of /etc/subuid and /etc/subgid, which newuidmap and newgidmap may map, there
//! are as many users as a tree wants; without, the namespace has one user, root, which is enough for trees of one owner. What
//! is missing on the machine is said by name.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::error::RunError;

/// What helps where a user namespace has one user and more are needed.
pub const MORE_USERS: &str = "a normal user can only build with files and users of root's unless he has a range of users: install \
    newuidmap (the package `uidmap` or `shadow-utils`), add him to /etc/subuid and /etc/subgid (`usermod --add-subuids \
    100000-165535 --add-subgids 100000-165535 NAME`), and start with an empty store; or build as root";

/// Makes a normal user root of a user namespace with mounts of its own; does nothing for root.
///
/// To be called while this process has one thread, and before anything asks whether it is in a user namespace.
///
/// # Errors
/// [`RunError::Environment`] that says what forbids it and how to allow it.
pub fn enter() -> Result<(), RunError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let own = Ids { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    let mapper = Mapping::find(own).map(|it| Mapper::start(&it)).transpose()?;
    // SAFETY: no descriptor table is unshared; that there is one thread is the caller's promise, and checked by the kernel.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
        .map_err(|err| forbidden(&err.into()))?;
    match mapper {
        Some(mapper) => mapper.map(),
        None => map_one(own).map_err(|source| missing(&format!("its own user cannot be mapped: {source}"))),
    }?;
    // What AppArmor restricts fails only now.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|err| forbidden(&err.into()))
}

#[derive(Clone, Copy)]
struct Ids {
    uid: u32,
    gid: u32,
}

/// Maps the user to root and nobody else.
fn map_one(own: Ids) -> io::Result<()> {
    // Who may drop groups could reach what a group is denied (CVE-2014-8989): the kernel wants this first.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", own.uid))?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", own.gid))
}

/// The arguments of newuidmap and newgidmap after the process: the user is root, the range comes behind.
struct Mapping {
    programs: [PathBuf; 2],
    words: [Vec<String>; 2],
}

impl Mapping {
    /// `None` where the machine has no ranges for this user.
    fn find(own: Ids) -> Option<Mapping> {
        let name = name_of(own.uid, &fs::read_to_string("/etc/passwd").unwrap_or_default());
        let words = |file: &str, id: u32| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let (start, count) = range(&text, name.as_deref(), own.uid)?;
            Some(
                ["0", &id.to_string(), "1", "1", &start.to_string(), &count.to_string()]
                    .map(str::to_owned)
                    .into(),
            )
        };
        Some(Mapping {
            programs: [program("newuidmap")?, program("newgidmap")?],
            words: [words("/etc/subuid", own.uid)?, words("/etc/subgid", own.gid)?],
        })
    }
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let row = fields.into_iter().find(|it| it.get(2).and_then(|id| id.parse().ok()) == Some(uid));
    row.and_then(|it| it.first().map(|name| (*name).to_owned()))
}

/// First range of a file like /etc/subuid for the user, by name or number: its start and length.
fn range(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        if Some(who) != name && who != uid {
            return None;
        }
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (count != 0).then_some((start, count))
    })
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|it| it.join(OsStr::new(name))).find(|it| it.is_file())
}

/// A process that stays outside, to map this one's users from there.
struct Mapper {
    pid: libc::pid_t,
    order: io::PipeWriter,
    report: io::PipeReader,
}

impl Mapper {
    fn start(mapping: &Mapping) -> Result<Mapper, RunError> {
        let failed = |source| missing(&format!("a process cannot be made: {source}"));
        let (order_out, order) = io::pipe().map_err(failed)?;
        let (report, report_in) = io::pipe().map_err(failed)?;
        let target = std::process::id();
        // SAFETY: this process has one thread: the copy can go on with everything as it is.
        match unsafe { libc::fork() } {
            -1 => Err(failed(io::Error::last_os_error())),
            0 => {
                drop((order, report));
                serve(target, mapping, order_out, report_in);
                // SAFETY: ends the copy; nothing of it is to be flushed.
                unsafe { libc::_exit(0) }
            }
            pid => Ok(Mapper { pid, order, report }),
        }
    }

    /// Orders the mapping and waits for it.
    fn map(mut self) -> Result<(), RunError> {
        let failed = |source| missing(&format!("the process that maps users is gone: {source}"));
        self.order.write_all(&[1]).map_err(failed)?;
        let mut report = String::new();
        self.report.read_to_string(&mut report).map_err(failed)?;
        match report.as_str() {
            "done" => Ok(()),
            why => Err(RunError::Environment {
                what: format!("the users of this user cannot be mapped: {}", why.trim()),
                help: "newuidmap and newgidmap must be setuid root (or have their file capabilities), and /etc/subuid and \
                    /etc/subgid must name ranges that do not overlap with this machine's users"
                    .into(),
            }),
        }
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        // Without an order it ends when the pipe does.
        let _ = std::mem::replace(&mut self.order, closed());
        // SAFETY: waits for a child of ours; no status is wanted.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

/// The end of a pipe that nobody reads.
fn closed() -> io::PipeWriter {
    io::pipe().map(|it| it.1).expect("two descriptors are free: those of a pipe before it")
}

/// The life of a mapper.
fn serve(target: u32, mapping: &Mapping, mut order: io::PipeReader, mut report: io::PipeWriter) {
    if order.read_exact(&mut [0]).is_err() {
        return;
    }
    for (program, words) in mapping.programs.iter().zip(&mapping.words) {
        let why = match Command::new(program).arg(target.to_string()).args(words).output() {
            Ok(ran) if ran.status.success() => continue,
            Ok(ran) => String::from_utf8_lossy(&ran.stderr).into_owned(),
            Err(err) => format!("{}: {err}", program.display()),
        };
        let why = if why.trim().is_empty() { format!("{} failed", program.display()) } else { why };
        let _ = report.write_all(why.as_bytes());
        return;
    }
    let _ = report.write_all(b"done");
}

fn missing(what: &str) -> RunError {
    RunError::Environment { what: what.to_owned(), help: "run the same command as root".into() }
}

/// What is in the way of a user namespace, as far as the machine tells.
fn forbidden(err: &io::Error) -> RunError {
    let setting = |path: &str| fs::read_to_string(Path::new("/proc/sys").join(path)).ok();
    let is = |path: &str, value: &str| setting(path).is_some_and(|it| it.trim() == value);
    let (why, help) = if is("kernel/unprivileged_userns_clone", "0") {
        ("kernel.unprivileged_userns_clone is 0", "as root: `sysctl kernel.unprivileged_userns_clone=1`")
    } else if is("user/max_user_namespaces", "0") || err.raw_os_error() == Some(libc::ENOSPC) {
        (
            "user.max_user_namespaces is 0, or as many are in use",
            "as root: `sysctl user.max_user_namespaces=15000`",
        )
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "as root: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or a profile for bkl that allows `userns`",
        )
    } else if !Path::new("/proc/self/ns/user").exists() {
        ("this kernel has none", "use a kernel with CONFIG_USER_NS")
    } else {
        (
            "something in this environment forbids it",
            "in a container, its system call filter must allow unshare and mount (`--security-opt seccomp=unconfined`)",
        )
    };
    RunError::Environment {
        what: format!("a normal user builds in a user namespace, and none can be made: {why} ({err})"),
        help: format!("{help}; or run the same command as root"),
    }
}

#[cfg(test)]
mod tests;
