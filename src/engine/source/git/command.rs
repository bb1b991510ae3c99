//! The `git` binary, run so that nothing of the machine or of a repository decides what it does: no configuration but
//! ours, no hooks, no helpers, no protocols but those of the call, no terminal.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::error::GitError;
use crate::engine::cancel::Cancel;

/// More output than this is no answer to anything that is asked here.
const MAX_STDOUT: usize = 64 << 20;
/// How much of what git says is kept for messages.
const MAX_STDERR: usize = 16 << 10;
/// How often a running git looks whether it should stop.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);
/// Variables that are passed on: where programs are, proxies, certificates.
const PASSED_ON: [&str; 14] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "no_proxy",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
];
/// Settings of every call.
const SETTINGS: [&str; 27] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.askPass=",
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.protectNTFS=true",
    "core.protectHFS=true",
    "credential.helper=",
    "safe.directory=*",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    // Of old, harmless commits that are in many repositories.
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.missingSpaceBeforeEmail=ignore",
    // Nothing may go on after the call.
    "gc.auto=0",
    "maintenance.auto=false",
    "gc.autoDetach=false",
    // A silent connection counts as broken off.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "init.defaultBranch=master",
    "advice.detachedHead=false",
];

/// A file that only has a name for processes of this user, and only as long as this process holds it: what is in it is on no
/// disk, in no argument and in no environment.
pub(super) struct MemoryFile(OwnedFd);

impl MemoryFile {
    pub(super) fn new(content: &[u8]) -> Result<MemoryFile, GitError> {
        let make = || -> io::Result<OwnedFd> {
            let mut file = std::fs::File::from(rustix::fs::memfd_create("bkl-git", MemfdFlags::CLOEXEC)?);
            file.write_all(content)?;
            Ok(file.into())
        };
        make().map(MemoryFile).map_err(|source| GitError::Start { source })
    }

    /// Its name for children.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// How a remote is reached.
#[derive(Default)]
pub(super) struct Access {
    /// Configuration with the header that authorizes.
    pub(super) config: Option<MemoryFile>,
    pub(super) known_hosts: Option<MemoryFile>,
    /// Socket of the agent.
    pub(super) agent: Option<PathBuf>,
}

/// What a call may talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing.
    Nothing,
    /// Repositories on this machine that the caller names.
    Files,
    /// Other machines.
    Remotes,
}

/// A call of git.
pub(super) struct Git<'a> {
    pub(super) access: &'a Access,
    pub(super) cancel: &'a Cancel,
    /// The remote, for messages.
    pub(super) url: &'a str,
}

/// Where a call works.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place<'a> {
    /// The repository.
    pub(super) git_dir: Option<&'a Path>,
    /// Where files go.
    pub(super) work_tree: Option<&'a Path>,
    /// An index besides the repository's own.
    pub(super) index: Option<&'a Path>,
}

/// What a call that failed said.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The verb.
    pub(super) what: String,
    /// The end of stderr, without escapes.
    pub(super) said: String,
}

/// Why a call gave nothing.
pub(super) enum CallError {
    /// It ran, and failed.
    Refused(Refusal),
    /// It did not run to its end.
    Broken(GitError),
}

impl Git<'_> {
    /// Runs git; gives its standard output.
    pub(super) fn call<S: AsRef<OsStr>>(
        &self,
        reach: Reach,
        place: Place<'_>,
        args: &[S],
    ) -> Result<Vec<u8>, CallError> {
        let mut command = self.command(reach, place);
        command.args(args);
        let mut child = command.spawn().map_err(|source| {
            CallError::Broken(match source.kind() {
                io::ErrorKind::NotFound => GitError::NoGit { url: self.url.to_owned() },
                _ => GitError::Start { source },
            })
        })?;
        let done = self.watch(&mut child);
        if done.is_err() {
            stop(&mut child);
        }
        let (stdout, stderr) = done.map_err(CallError::Broken)?;
        let status = child.wait().map_err(|source| CallError::Broken(GitError::Start { source }))?;
        if status.success() {
            return Ok(stdout);
        }
        let what = args.first().map_or_else(String::new, |verb| verb.as_ref().to_string_lossy().into_owned());
        let mut said = tidy(&stderr);
        if said.is_empty() {
            said = status.to_string();
        }
        Err(CallError::Refused(Refusal { what, said }))
    }

    /// Runs git where a failure has no better name.
    pub(super) fn must<S: AsRef<OsStr>>(
        &self,
        reach: Reach,
        place: Place<'_>,
        args: &[S],
    ) -> Result<Vec<u8>, GitError> {
        self.call(reach, place, args).map_err(|error| match error {
            CallError::Broken(error) => error,
            CallError::Refused(Refusal { what, said }) => {
                GitError::Failed { what, url: self.url.to_owned(), said }
            }
        })
    }

    fn command(&self, reach: Reach, place: Place<'_>) -> Command {
        let mut command = Command::new("git");
        command.env_clear().current_dir("/");
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let protocols = match reach {
            Reach::Nothing => "none",
            Reach::Files => "file",
            Reach::Remotes => "https:http:ssh:git",
        };
        command
            .env("HOME", "/dev/null")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", protocols)
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", self.ssh_command());
        if let Some(agent) = &self.access.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let Some(index) = place.index {
            command.env("GIT_INDEX_FILE", index);
        }
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        if let Some(config) = self.access.config.as_ref().filter(|_| reach == Reach::Remotes) {
            command.arg("-c").arg(format!("include.path={}", config.path()));
        }
        let option = |name: &str, path: &Path| {
            let mut option = OsString::from(name);
            option.push(path);
            option
        };
        if let Some(path) = place.git_dir {
            command.arg(option("--git-dir=", path));
        }
        if let Some(path) = place.work_tree {
            command.arg(option("--work-tree=", path));
        }
        // A group of its own, so that what git starts can be stopped with it; an interrupt of the terminal is ours to handle.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: `contain` only makes system calls, which are allowed between fork and exec.
        unsafe { command.pre_exec(contain) };
        command
    }

    /// Only the agent's keys and the given hosts: neither the user's configuration nor their key files are used.
    fn ssh_command(&self) -> String {
        let hosts = self.access.known_hosts.as_ref().map_or_else(|| "/dev/null".to_owned(), MemoryFile::path);
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={hosts} \
             -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no -o IdentityFile=/dev/null -o ProxyCommand=none \
             -o PermitLocalCommand=no -o ClearAllForwardings=yes -o ConnectTimeout=30 -o ServerAliveInterval=15"
        )
    }

    /// Reads what the child writes until it ends.
    fn watch(&self, child: &mut Child) -> Result<(Vec<u8>, Vec<u8>), GitError> {
        let broken = |source: io::Error| GitError::Start { source };
        let pid = Pid::from_child(child);
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| broken(errno.into()))?;
        let mut stdout = Output::new(child.stdout.take().map(OwnedFd::from)).map_err(broken)?;
        let mut stderr = Output::new(child.stderr.take().map(OwnedFd::from)).map_err(broken)?;
        loop {
            if self.cancel.is_cancelled() {
                return Err(GitError::Cancelled);
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
            // What still holds the pipes after git has ended is not waited for.
            if has_ended {
                return Ok((stdout.bytes, stderr.bytes));
            }
        }
    }
}

/// Runs between fork and exec: git, and everything that it starts, ends when this process does, however it ends.
///
/// A signal at the death of the parent reaches git alone, while its helpers may hang in a connection. So git is the first
/// process of a namespace of process numbers: with it, the kernel ends all others there. Without the right to make one
/// (no root), helpers end when their pipes do.
fn contain() -> io::Result<()> {
    // SAFETY: plain system calls on numbers; `status` outlives the one that writes to it. The process has one thread, and
    // a raw clone runs no handlers.
    unsafe {
        libc::umask(0o022);
        // The thread that starts git waits for it, so it is the process's death that counts.
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

/// Ends git and what it has started.
fn stop(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// What git said, in one line: the lines that say what is wrong, else the last ones. Nothing of it may steer a terminal.
fn tidy(stderr: &[u8]) -> String {
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
    fn what_git_says() {
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
