//! `bkl build --shell-on-failure`: a shell on this terminal, where a command failed.
//!
//! The shell runs on a terminal of its own (a pty), so that nothing in a container ever holds the user's. A thread passes
//! on what is typed and what is printed, and the size.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::base::Report;
use crate::cli::print_reports;
use crate::cli::ui::Pending;
use crate::cli::{args, failure, steps};
use crate::engine::exec::{ExitStatus, RunError};
use crate::engine::ops::{FailedCommand, Inspector, Terminal};

/// How often the size of the terminal is looked at.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// How long the display may take for what it has not shown yet, before a shell is opened all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens a shell for the first command that fails.
pub(super) struct Opener {
    /// One is enough: the others failed because of, or beside, the first.
    is_used: AtomicBool,
    /// What the display still has to show.
    pending: Mutex<Option<Pending>>,
    session: Mutex<Option<Passing>>,
}

/// A shell's terminal being passed on.
struct Passing {
    /// Its end says that the shell is gone.
    stop: OwnedFd,
    thread: JoinHandle<()>,
    /// The user's terminal, and what it was set to.
    terminal: File,
    before: Termios,
}

/// An inspector on the terminal that this process was started on.
pub(super) fn inspector() -> Result<Arc<Opener>, Report> {
    if !io::stdin().is_terminal() {
        return Err(Report::error(
            "bkl::no_terminal",
            "`--shell-on-failure` needs a terminal, and stdin is none",
        )
        .help("leave it away where nobody types"));
    }
    Ok(Arc::new(Opener {
        is_used: AtomicBool::new(false),
        pending: Mutex::default(),
        session: Mutex::default(),
    }))
}

impl Opener {
    /// Lets a display that has begun show what happened before a shell is opened.
    pub(super) fn let_show(&self, pending: Pending) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(pending);
    }
}

impl Inspector for Opener {
    fn begin(&self, failed: &FailedCommand) -> Option<Terminal> {
        if self.is_used.swap(true, Ordering::Relaxed) {
            return None;
        }
        let told = |what: &str, error: &io::Error| {
            let reason = super::program::io_reason(error);
            let report =
                Report::warning("bkl::no_terminal", format!("no shell is opened: cannot {what}: {reason}"));
            print_reports(&[report], &Default::default(), args::Format::Human);
        };
        let terminal = File::options().read(true).write(true).open("/dev/tty");
        let terminal = terminal.map_err(|error| told("open `/dev/tty`", &error)).ok()?;
        let (master, slave) = pty(&terminal).map_err(|error| told("make a terminal", &error)).ok()?;
        if let Some(pending) = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take() {
            pending.wait(PATIENCE);
        }
        greet(failed);
        let passing =
            Passing::start(terminal, master).map_err(|error| told("set the terminal up", &error)).ok()?;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(passing);
        Some(Terminal { end: slave, kind: std::env::var("TERM").ok() })
    }

    fn end(&self, failed: &FailedCommand, result: &Result<ExitStatus, RunError>) {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = session {
            session.finish();
        }
        let report = match result {
            Ok(ExitStatus { reason: Some(reason), .. }) => {
                let message = format!("no shell in `{}`: {reason}", steps::short(&failed.name));
                Report::warning("bkl::no_shell", message)
                    .help("debug it with a base that has a shell, or run the step on top of one")
            }
            Ok(_) => return,
            Err(RunError::Cancelled) => return,
            Err(error) => {
                Report::warning("bkl::no_shell", format!("no shell: {}", failure::with_causes(error)))
            }
        };
        print_reports(&[report], &Default::default(), args::Format::Human);
    }
}

/// Says where one is.
fn greet(failed: &FailedCommand) {
    let FailedCommand { name, status, cwd, user, shell, args, .. } = failed;
    let or = |text: &str, usual: &str| if text.is_empty() { usual.to_owned() } else { text.to_owned() };
    let reason = status.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let text = format!(
        "\n`{}` ended with {}{reason}\nit was run as {:?} by {} in {}\n`{shell}` is started where it failed; leave it to end the build\n",
        steps::short(name),
        status.code,
        args,
        or(user, "root"),
        or(cwd, "/"),
    );
    // There is nowhere left to say that stderr is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A new terminal of the size of `like`: the end that looks on, and the one for programs.
fn pty(like: &File) -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut master, mut slave) = (-1, -1);
    let size = tcgetwinsize(like).map(|it| libc::winsize {
        ws_row: it.ws_row,
        ws_col: it.ws_col,
        ws_xpixel: it.ws_xpixel,
        ws_ypixel: it.ws_ypixel,
    });
    let size = size.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the numbers and the size outlive the call; the name and the settings may be null.
    let made = unsafe {
        libc::openpty(&raw mut master, &raw mut slave, std::ptr::null_mut(), std::ptr::null(), size)
    };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: openpty succeeded: both are open and nobody else's.
    let ends = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    for end in [&ends.0, &ends.1] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(ends)
}

impl Passing {
    fn start(terminal: File, master: OwnedFd) -> io::Result<Passing> {
        let before = tcgetattr(&terminal)?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let other = terminal.try_clone()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        let thread = std::thread::spawn(move || {
            // What ends it is the end of either side.
            let _ = pass_on(other, File::from(master), &stopped);
        });
        Ok(Passing { stop, thread, terminal, before })
    }

    fn finish(self) {
        drop(self.stop);
        let _ = self.thread.join();
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Passes on bytes both ways until `stopped` is, and what was printed before.
fn pass_on(mut terminal: File, mut master: File, stopped: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut is_stopped = false;
    loop {
        let mut fds = [
            PollFd::new(&master, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
            PollFd::new(&terminal, PollFlags::IN),
        ];
        let ready = match poll(&mut fds, Some(if is_stopped { &NOW } else { &LOOK })) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let is_ready = fds.each_ref().map(|fd| !fd.revents().is_empty());
        if let (Ok(now), Ok(size)) = (tcgetwinsize(&terminal), tcgetwinsize(master.as_fd()))
            && (now.ws_row, now.ws_col) != (size.ws_row, size.ws_col)
        {
            tcsetwinsize(&master, now)?;
        }
        if is_ready[0] {
            // EIO: nobody has the other end open.
            let n_read = match master.read(&mut buffer) {
                Ok(n_read) => n_read,
                Err(_) if is_stopped => return Ok(()),
                // Not yet, or not any more.
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(20));
                    0
                }
            };
            terminal.write_all(&buffer[..n_read])?;
        } else if is_stopped {
            return Ok(());
        }
        if is_ready[2] && !is_stopped {
            let n_read = terminal.read(&mut buffer)?;
            master.write_all(&buffer[..n_read])?;
        }
        is_stopped |= ready != 0 && is_ready[1];
    }
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
