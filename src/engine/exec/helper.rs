//! The helper: the same program, started afresh, that makes containers and waits for them.
//!
//! A process of its own for three reasons. libcontainer forks and then runs ordinary code, changes the working directory
//! and makes its caller undumpable: none of that may happen in a process with threads. A small process forks much faster
//! than the engine, and has none of its secrets in memory. And when the engine is killed there is somebody to notice,
//! and to kill the command. It starts with an empty environment (libcontainer passes on LISTEN_FDS and chokes on text that
//! is no UTF-8), without supplementary groups (they would leak into the container), and works in a mount namespace of its
//! own, so that no mount is ever seen on the host and all go with it.
//!
//! - `place`: where it works: the mount namespace.
//! - `setup`: the tree with everything mounted into it but what needs the container's own namespaces.
//! - `stubs`: mount points that were made, and their removal.
//! - `direct`: the container by our own calls; such a helper serves one command after the other.
//! - `container`: the container by libcontainer; such a helper serves one command.
//! - `devices`: which devices it may open, where there is no controller for it.
//! - `defaults`: what every command gets.
//! - `init`: the last steps inside the container, up to execve.
//! - `supervise`: waiting, killing, reaping.

mod container;
mod defaults;
mod devices;
mod direct;
mod init;
mod place;
mod setup;
mod stubs;
mod supervise;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::RunnerKind;
use super::error::RunError;
use super::network::keeper;
use super::wire::{self, Answer};

pub(super) use place::{attach, tmpfs};

/// First argument of a helper, before the kind of its containers or what else it does; not a command for people.
pub const VERB: &str = "internal-run";

/// Where a command that is emulated finds its emulator (BuildKit, qemuMountName).
pub(super) const EMULATOR: &str = "/dev/.buildkit_qemu_emulator";

/// Whether this process was started as a helper. To be asked first in `main`, before anything that makes threads.
pub fn is_requested() -> bool {
    std::env::args_os().nth(1).is_some_and(|it| it == OsStr::new(VERB))
}

/// The whole life of a helper: its standard input is the socket to the runner.
pub fn main() -> ! {
    let own_pid = std::process::id();
    let is_socket = rustix::fs::fstat(std::io::stdin())
        .is_ok_and(|it| rustix::fs::FileType::from_raw_mode(it.st_mode) == rustix::fs::FileType::Socket);
    if !is_socket {
        // Started by a person, or by what runs in a container.
        exit(2);
    }
    // Executed by descriptor, it would be listed under the descriptor's number.
    let _ = rustix::thread::set_name(c"bkl-run");
    isolate();
    init::heed_signals();
    quiet_panics();
    let socket = UnixStream::from(
        std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .expect("a helper starts with a socket as standard input"),
    );
    // From here on standard input is nothing, so that no child inherits the socket by accident.
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(null);
    }
    let work = std::env::args().nth(2).unwrap_or_default();
    if work == keeper::NAME {
        keeper::serve(socket);
        exit(0);
    }
    let kind = RunnerKind::from_name(&work);
    let served = catch_unwind(AssertUnwindSafe(|| match kind {
        Some(RunnerKind::Direct) => direct::serve(&socket),
        Some(RunnerKind::Libcontainer) => {
            serve_once(&socket, |request, fds| container::run(&socket, request, fds));
        }
        None => {
            answer(&socket, Err(RunError::Bug { what: "a helper of no known kind".into() }));
        }
    }));
    if std::process::id() != own_pid {
        // A child that unwound to here: it must not speak for the helper.
        exit(125);
    }
    if served.is_err() {
        answer(&socket, Err(RunError::Bug { what: last_panic() }));
    }
    exit(0)
}

/// Takes one request, runs it and answers; [`Served::End`] when the runner is gone.
fn serve_once(
    socket: &UnixStream,
    run: impl FnOnce(&wire::Request, wire::Fds) -> Result<Answer, RunError>,
) -> Served {
    let result = match wire::receive(socket.as_fd()) {
        Ok(Some((request, fds))) => run(&request, fds),
        Ok(None) => return Served::End,
        Err(err) => Err(RunError::Bug { what: format!("cannot read the request: {err}") }),
    };
    answer(socket, result)
}

/// Whether there may be more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    More,
    End,
}

fn answer(mut socket: &UnixStream, result: Result<Answer, RunError>) -> Served {
    let answer = result.unwrap_or_else(|err| match err {
        RunError::Environment { what, help } => Answer::Environment { what, help },
        RunError::Step { what } => Answer::Step { what },
        err @ (RunError::Io { .. } | RunError::Cancelled | RunError::Bug { .. }) => {
            Answer::Bug { what: chain(&err) }
        }
    });
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    // A runner that is gone does not care; and after a bug nothing is certain any more.
    match socket.write_all(&line) {
        Ok(()) if !matches!(answer, Answer::Bug { .. }) => Served::More,
        _ => Served::End,
    }
}

/// What must not reach the container from the process that started us.
fn isolate() {
    let empty: [u32; 0] = [];
    // SAFETY: plain system calls on this single-threaded process; the pointer is not read for a length of 0. The group
    // call is made directly because libc's synchronises threads, which there are none of.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0, empty.as_ptr());
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        libc::umask(0o022);
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the text of a panic instead of printing it.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.with(|it| *it.borrow_mut() = info.to_string());
    }));
}

fn last_panic() -> String {
    PANIC.with(|it| it.borrow().clone())
}

/// Ends the process at once: there is nothing to flush, and no destructor of libcontainer's may run.
pub(in crate::engine::exec) fn exit(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// An error with its causes, `: ` between.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(err) = next {
        let more = err.to_string();
        // Transparent wrappers repeat their cause.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = err.source();
    }
    text
}
