//! Waiting for a container's first process, and killing it when the runner goes away.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, pidfd_open, pidfd_send_signal,
    wait as wait_child, waitid,
};

use super::init::Complaint;
use crate::engine::exec::cgroup::Hierarchy;
use crate::engine::exec::error::RunError;
use crate::engine::exec::wire::{Answer, Request};

/// How a process ended.
pub(super) enum Ending {
    Exited(i32),
    Signaled(i32),
}

impl Ending {
    /// The code as a shell gives it.
    pub(super) fn code(&self) -> i32 {
        match self {
            Ending::Exited(code) => *code,
            Ending::Signaled(signal) => 128 + signal,
        }
    }
}

/// Waits for the container whose first process, our child, `pidfd` is of; kills it when `socket` closes or is written to.
///
/// With the first process of a pid namespace the kernel kills all others, and reports its end only after theirs.
pub(super) fn wait(socket: &UnixStream, pidfd: BorrowedFd<'_>) -> Result<Ending, RunError> {
    until_exit(socket, pidfd)?;
    reap(pidfd).map_err(failed("wait for the container"))
}

/// How a child ended that has ended, or will.
pub(super) fn reap(pidfd: BorrowedFd<'_>) -> Result<Ending, Errno> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                if let Some(code) = status.exit_status() {
                    return Ok(Ending::Exited(code));
                }
                if let Some(signal) = status.terminating_signal() {
                    return Ok(Ending::Signaled(signal));
                }
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(err) => return Err(err),
        }
    }
}

/// The descriptor of a child that has none yet.
pub(super) fn watch(pid: i32) -> Result<OwnedFd, RunError> {
    let pid = Pid::from_raw(pid).ok_or_else(|| RunError::Bug { what: "the container has no pid".into() })?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(failed("watch the container"))
}

fn until_exit(socket: &UnixStream, pidfd: BorrowedFd<'_>) -> Result<(), RunError> {
    let mut is_wanted = true;
    loop {
        let exit = PollFd::from_borrowed_fd(pidfd, PollFlags::IN);
        let runner = PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN | PollFlags::RDHUP);
        let mut watched = [exit, runner];
        let watched = if is_wanted { &mut watched[..] } else { &mut watched[..1] };
        match poll(watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(failed("watch the container")(err)),
        }
        if !watched[0].revents().is_empty() {
            return Ok(());
        }
        if is_wanted && !watched[1].revents().is_empty() {
            is_wanted = false;
            // It may have ended by itself just now.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

/// What is said of a command that ended, given what its first process had to say before it became the command, and what
/// there is to warn of.
pub(super) fn conclude(
    ending: &Ending,
    complaint: Option<Complaint>,
    out_of_memory: bool,
    request: &Request,
    warnings: Vec<String>,
) -> Result<Answer, RunError> {
    let ran_out = || Some("its memory ran out: the limit of its cgroup was reached".to_owned());
    let reason = match (complaint, out_of_memory, ending) {
        // As if it had been killed a moment later.
        (Some(complaint), true, _) if complaint.may_lack_memory() => {
            let code = 128 + libc::SIGKILL;
            return Ok(Answer::Exited { code, reason: ran_out(), warnings });
        }
        (Some(complaint), ..) => return complaint.answer(&request.args[0], &request.emulation),
        (None, true, _) => ran_out(),
        (None, false, Ending::Exited(_)) => None,
        (None, false, Ending::Signaled(signal)) => Some(format!("it was ended by signal {signal}")),
    };
    Ok(Answer::Exited { code: ending.code(), reason, warnings })
}

/// Kills what is in a cgroup and reaps all children: after a container that could not be started.
pub(super) fn kill_all(hierarchies: &[Hierarchy], cgroup: &str) {
    for it in hierarchies {
        let procs = it.path.join(cgroup).join("cgroup.procs");
        for pid in fs::read_to_string(procs).unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
    while let Ok(Some(_)) | Err(Errno::INTR) = wait_any() {}
}

fn wait_any() -> Result<Option<()>, Errno> {
    wait_child(WaitOptions::empty()).map(|it| it.map(|_| ()))
}

fn failed(what: &'static str) -> impl Fn(Errno) -> RunError {
    move |err| RunError::Bug { what: format!("cannot {what}: {err}") }
}
