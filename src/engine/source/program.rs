//! Programs of this machine that sources run: in an empty environment, without a terminal, and never longer than us.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::engine::cancel::Cancel;

/// More output than this is no answer to anything that is asked here.
const MAX_STDOUT: usize = 64 << 20;
/// How much of what a program says on stderr is kept for messages.
const MAX_STDERR: usize = 16 << 10;
/// How often it is looked whether a running program should stop.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// Why a program did not run to its end.
#[derive(Debug)]
pub(super) enum ProgramError {
    /// There is none of this name.
    Missing,
    /// It could not be started or watched.
    Start(io::Error),
    /// The build was stopped.
    Cancelled,
}

/// What came of a program.
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    /// The end of it.
    pub(super) stderr: Vec<u8>,
}

/// `name`, with nothing in its environment but the way to programs, and in its own words untranslated.
pub(super) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Runs a program to its end.
pub(super) fn run(command: &mut Command, cancel: &Cancel) -> Result<Ran, ProgramError> {
    // A group of its own, so that what it starts can be stopped with it; an interrupt of the terminal is ours to handle.
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: `contain` only makes system calls, which are allowed between fork and exec.
    unsafe { command.pre_exec(contain) };
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ProgramError::Missing,
        _ => ProgramError::Start(source),
    })?;
    let done = watch(&mut child, cancel);
    if done.is_err() {
        stop(&mut child);
    }
    let (stdout, stderr) = done?;
    let status = child.wait().map_err(ProgramError::Start)?;
    Ok(Ran { status, stdout, stderr })
}

/// A file that only has a name for processes of this user, and only as long as this process holds it: what is in it is on no
/// disk, in no argument and in no environment.
pub(super) struct MemoryFile(OwnedFd);

impl MemoryFile {
    pub(super) fn new(content: &[u8]) -> io::Result<MemoryFile> {
        let mut file = std::fs::File::from(rustix::fs::memfd_create("bkl-source", MemfdFlags::CLOEXEC)?);
        file.write_all(content)?;
        Ok(MemoryFile(file.into()))
    }

    /// Its name for children.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Reads what the child writes until it ends.
fn watch(child: &mut Child, cancel: &Cancel) -> Result<(Vec<u8>, Vec<u8>), ProgramError> {
    let broken = ProgramError::Start;
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| broken(errno.into()))?;
    let mut stdout = Output::new(child.stdout.take().map(OwnedFd::from)).map_err(broken)?;
    let mut stderr = Output::new(child.stderr.take().map(OwnedFd::from)).map_err(broken)?;
    loop {
        if cancel.is_cancelled() {
            return Err(ProgramError::Cancelled);
        }
        let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
        for output in [&stdout, &stderr] {
            fds.extend(output.fd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: CANCEL_INTERVAL.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(broken(errno.into())),
        }
        let has_ended = !fds[0].revents().is_empty();
        stdout.read().map_err(broken)?;
        stderr.read().map_err(broken)?;
        if MAX_STDOUT < stdout.bytes.len() {
            return Err(broken(io::Error::other("it writes without end")));
        }
        // Only the end counts.
        if 4 * MAX_STDERR < stderr.bytes.len() {
            let n_old = stderr.bytes.len() - MAX_STDERR;
            stderr.bytes.drain(..n_old);
        }
        // What still holds the pipes after the program has ended is not waited for.
        if has_ended {
            return Ok((stdout.bytes, stderr.bytes));
        }
    }
}

/// Runs between fork and exec: the program, and everything that it starts, ends when this process does, however it ends.
///
/// A signal at the death of the parent reaches the program alone, while its helpers (git's, say) may hang in a connection. So it is the first
/// process of a namespace of process numbers: with it, the kernel ends all others there. Without the right to make one
/// (no root), helpers end when their pipes do.
fn contain() -> io::Result<()> {
    // SAFETY: plain system calls on numbers; `status` outlives the one that writes to it. The process has one thread, and
    // a raw clone runs no handlers.
    unsafe {
        libc::umask(0o022);
        // The thread that starts the program waits for it, so it is the process's death that counts.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::unshare(libc::CLONE_NEWPID) != 0 {
            return Ok(());
        }
        match libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            }
            child => {
                // Also the pipe by which our parent learns that exec went well.
                libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
                let mut status = 0;
                let pid = libc::pid_t::try_from(child).unwrap_or(-1);
                while libc::waitpid(pid, &raw mut status, 0) == -1
                    && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
                {}
                let ended = libc::WIFEXITED(status);
                libc::_exit(if ended { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) })
            }
        }
    }
}

/// One of the child's outputs.
struct Output {
    fd: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Output {
    fn new(fd: Option<OwnedFd>) -> io::Result<Output> {
        if let Some(fd) = &fd {
            rustix::io::ioctl_fionbio(fd.as_fd(), true)?;
        }
        Ok(Output { fd, bytes: Vec::new() })
    }

    /// Reads what is there.
    fn read(&mut self) -> io::Result<()> {
        let Some(fd) = &self.fd else { return Ok(()) };
        let mut buffer = [0; 32 << 10];
        // So much at once that a writer without end does not keep us from looking at it.
        for _ in 0..64 {
            match rustix::io::read(fd, &mut buffer) {
                Ok(0) => {
                    self.fd = None;
                    return Ok(());
                }
                Ok(n_read) => self.bytes.extend_from_slice(&buffer[..n_read]),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Ends a program and what it has started.
fn stop(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// What a program said, in one line: the lines that say what is wrong, else the last ones. Nothing of it may steer a terminal.
pub(super) fn tidy(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let clean =
        |line: &str| -> String { line.trim().chars().filter(|c| !c.is_control()).take(300).collect() };
    let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.is_empty()).collect();
    let is_telling = |line: &&String| {
        ["fatal:", "error:", "remote:", "ERROR:", "Permission denied", "Host key"]
            .iter()
            .any(|start| line.contains(start))
            && !line.contains("Cloning into")
    };
    let telling: Vec<&str> = lines.iter().filter(is_telling).map(String::as_str).collect();
    let shown = if telling.is_empty() { lines.iter().map(String::as_str).collect() } else { telling };
    let first = shown.len().saturating_sub(4);
    shown[first..].iter().map(|line| line.trim_start_matches("fatal: ")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say() {
        #[track_caller]
        fn check(stderr: &str, expected: &str) {
            assert_eq!(tidy(stderr.as_bytes()), expected);
        }
        check("warning: x\nfatal: repository 'y' not found\n", "repository 'y' not found");
        check("one\ntwo\n", "one; two");
        check("fatal: a\u{1b}[31mb\u{7}\n", "a[31mb");
        check("", "");
    }

    #[test]
    fn a_file_in_memory_has_a_name_for_children() {
        let file = MemoryFile::new(b"secret").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"secret");
        let path = file.path();
        drop(file);
        assert_ne!(std::fs::read(path).unwrap_or_default(), b"secret");
    }
}
