//! The helper process that makes namespaces and keeps a NAT running for each.
//!
//! It works as the first process of a pid namespace: when it ends, for whatever reason, the kernel ends every NAT. It ends
//! when the engine's side of its socket closes, which the kernel does when the engine is gone. One thread looks after each
//! namespace.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::message::{self, Made, Wish};
use super::{link, nat};
use crate::engine::exec::helper::{attach, exit, tmpfs};
use crate::engine::exec::sys;

/// How this process is asked for, in the place of a runner's name.
pub(crate) const NAME: &str = "network";

/// Where the keeper's files are, in a mount namespace of its own. NATs read /etc and /run.
const AREA: &str = "/tmp";
/// How long a NAT may take to be ready.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Serves wishes until the engine closes the socket. Called by a process that has one thread and no descriptors besides.
pub(crate) fn serve(socket: UnixStream) {
    // SAFETY: no descriptor table is unshared, and this process has one thread.
    let entered = unsafe { unshare_unsafe(UnshareFlags::NEWPID | UnshareFlags::NEWNS) };
    let prepared = entered.map_err(|err| ("make namespaces", err.into())).and_then(|()| prepare());
    // SAFETY: this process has one thread; the child goes on like any other.
    let child = unsafe { libc::fork() };
    if child != 0 {
        drop(socket);
        if let Some(child) = (0 < child).then(|| Pid::from_raw(child)).flatten() {
            while let Err(Errno::INTR) = waitpid(Some(child), WaitOptions::empty()) {}
        }
        return;
    }
    // SAFETY: takes numbers only. Without the parent nobody would wait for us.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let prepared = Arc::new(prepared.map_err(said));
    for number in 0u64.. {
        let (wish, link) = match message::receive::<Wish>(&socket) {
            Ok(Some((wish, fds))) => (wish, fds.into_iter().next()),
            Ok(None) | Err(_) => break,
        };
        let Some(link) = link else { continue };
        let prepared = prepared.clone();
        // One that cannot be started drops the link, which is an answer as well.
        let _ = std::thread::Builder::new()
            .name("nat".into())
            .spawn(move || keep(&wish, &link, &prepared, number));
    }
    // With all its threads and, as it is the first of its namespace, all NATs.
    exit(0)
}

type Attempt<T> = Result<T, (&'static str, io::Error)>;

fn said((attempt, err): (&'static str, io::Error)) -> String {
    format!("cannot {attempt}: {err}")
}

/// A place for files that only this process and its NATs see.
fn prepare() -> Attempt<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|err| ("make mounts private", err.into()))?;
    let area = tmpfs(None, 0o755).map_err(|err| ("make memory", err))?;
    attach(area.as_fd(), Path::new(AREA)).map_err(|err| ("mount on /tmp", err.into()))
}

/// Makes a namespace, and keeps it connected until `link` closes.
fn keep(wish: &Wish, link: &OwnedFd, prepared: &Result<(), String>, number: u64) {
    let files = Files::new(number);
    let made = prepared.clone().and_then(|()| make(wish, &files));
    match made {
        Err(why) => {
            let _ = message::send(link, &Made::Failed { why }, &[]);
        }
        Ok(Connected { mut nat, pidfd, fds }) => {
            let sent = message::send(link, &Made::Namespace, &fds.each_ref().map(AsFd::as_fd));
            drop(fds);
            if sent.is_ok() {
                until_either_ends(link, &pidfd);
                // Before anything else: no other command is to get it.
                let _ = rustix::net::shutdown(link, rustix::net::Shutdown::Both);
            }
            // It may have ended by itself.
            let _ = nat.kill();
            let _ = nat.wait();
        }
    }
}

/// Paths of one namespace.
struct Files {
    namespace: PathBuf,
    fifo: PathBuf,
    log: PathBuf,
}

impl Files {
    fn new(number: u64) -> Files {
        let file = |kind: &str| Path::new(AREA).join(format!("{number}.{kind}"));
        Files { namespace: file("net"), fifo: file("ready"), log: file("log") }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = unmount(&self.namespace, UnmountFlags::DETACH);
        for file in [&self.namespace, &self.fifo, &self.log] {
            let _ = fs::remove_file(file);
        }
    }
}

/// A namespace with its NAT.
struct Connected {
    nat: Child,
    pidfd: OwnedFd,
    /// The namespace, and its tables of sockets in use and of what was sent.
    fds: [OwnedFd; 5],
}

fn make(wish: &Wish, files: &Files) -> Result<Connected, String> {
    // The NAT lives outside, so a thread goes in: root of a user namespace would not be let back into the host's network.
    let furnished = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: only the network of this thread changes: no descriptors or memory are unshared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(|err| ("make a network namespace", err.into()))?;
            furnish(&files.namespace)
        });
        inside.join()
    });
    let fds = furnished.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(said)?;
    let (nat, pidfd) = connect(wish, files)?;
    Ok(Connected { nat, pidfd, fds })
}

/// Makes everything that is in a new namespace, which is this thread's, and attaches it to the file at `path`.
fn furnish(path: &Path) -> Attempt<[OwnedFd; 5]> {
    sys::loopback_up().map_err(|err| ("turn on the loopback", err))?;
    // A closed connection holds its port for a minute: it would be there for the next command. What that protects from,
    // late packets of an old connection, a link without loss does not have.
    let _ = fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0");
    link::make()?;
    let open = |path: &'static str| File::open(path).map(OwnedFd::from).map_err(|err| (path, err));
    let own = "/proc/thread-self/ns/net";
    let fds = [
        open(own).map_err(|(_, err)| ("open the namespace", err))?,
        open("/proc/thread-self/net/sockstat").map_err(|(_, err)| ("open the table of sockets", err))?,
        open("/proc/thread-self/net/sockstat6")
            .map_err(|(_, err)| ("open the table of IPv6 sockets", err))?,
        open("/proc/thread-self/net/snmp").map_err(|(_, err)| ("open the table of counters", err))?,
        open("/proc/thread-self/net/snmp6").map_err(|(_, err)| ("open the table of IPv6 counters", err))?,
    ];
    File::create(path).map_err(|err| ("make a file for the namespace", err))?;
    mount_bind(own, path).map_err(|err| ("mount the namespace", err.into()))?;
    Ok(fds)
}

/// Starts the NAT, and waits until it is ready.
fn connect(wish: &Wish, files: &Files) -> Result<(Child, OwnedFd), String> {
    let name = wish.kind.name();
    let prepared = |err: io::Error| format!("cannot prepare `{name}`: {err}");
    let mut log = File::options().read(true).append(true).create(true).open(&files.log).map_err(prepared)?;
    let mut start = nat::start(wish, &files.namespace, &files.fifo).map_err(prepared)?;
    start.command.stderr(log.try_clone().map_err(prepared)?);
    let mut nat = start.command.spawn().map_err(|err| format!("cannot start `{name}`: {err}"))?;
    // Its copies of descriptors are not ours to keep.
    drop(start.command);
    let pid = i32::try_from(nat.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let why = match pidfd {
        Err(err) => format!("cannot watch `{name}`: {err}"),
        Ok(pidfd) => match until_ready(&start.ready, &pidfd) {
            Ok(true) => return Ok((nat, pidfd)),
            Ok(false) => {
                let _ = nat.kill();
                let status = nat.wait().map_or_else(|err| err.to_string(), |it| it.to_string());
                let mut text = String::new();
                let _ = log.rewind().and_then(|()| log.read_to_string(&mut text));
                match nat::complaint(&text) {
                    Some(line) => format!("`{name}` does not start: {line}"),
                    None => format!("`{name}` does not start ({status})"),
                }
            }
            Err(err) => format!("cannot wait for `{name}`: {err}"),
        },
    };
    let _ = nat.kill();
    let _ = nat.wait();
    Err(why)
}

/// Whether it got ready in time.
fn until_ready(ready: &OwnedFd, nat: &OwnedFd) -> Result<bool, Errno> {
    loop {
        let mut watched = [PollFd::new(ready, PollFlags::IN), PollFd::new(nat, PollFlags::IN)];
        match poll(&mut watched, Some(&PATIENCE)) {
            Ok(_) if watched[0].revents().contains(PollFlags::IN) => return Ok(true),
            Ok(_) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(err) => return Err(err),
        }
    }
}

fn until_either_ends(link: &OwnedFd, nat: &OwnedFd) {
    let mut watched = [PollFd::new(link, PollFlags::IN), PollFd::new(nat, PollFlags::IN)];
    while let Err(Errno::INTR) = poll(&mut watched, None) {}
}
