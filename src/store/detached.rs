//! Processes that work on a store when those that used it have gone: this same program, started afresh in a session of its
//! own with nothing open. What they are for is theirs (`flusher`, `gc::collector`).

use std::ffi::{CStr, OsStr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Result;
use super::error::Context as _;

/// A kind of such processes.
pub(super) struct Detached {
    /// First argument; the store's root and more follow.
    pub(super) verb: &'static str,
    /// What such a process is called in lists.
    pub(super) name: &'static CStr,
}

impl Detached {
    /// Starts one for the store at `root`. The calling program must answer to the verb.
    pub(super) fn start(&self, root: &Path, args: &[String]) -> Result<()> {
        let program = "/proc/self/exe";
        Command::new(program)
            .arg0("bkl")
            .arg(self.verb)
            .arg(root)
            .args(args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .at("start", program)?;
        Ok(())
    }

    /// Whether this process was started as one.
    pub(super) fn is_requested(&self) -> bool {
        std::env::args_os().nth(1).is_some_and(|it| it == OsStr::new(self.verb))
    }

    /// Cuts this process, which is one, off from who started it. The store's root, and what followed it.
    pub(super) fn settle(&self) -> Option<(PathBuf, Vec<String>)> {
        // A person's Ctrl-C is not for us.
        let _ = rustix::process::setsid();
        // SAFETY: nothing of this process has a descriptor open but the standard streams.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        let _ = rustix::thread::set_name(self.name);
        let mut args = std::env::args_os().skip(2);
        let root = args.next().map(PathBuf::from)?;
        Some((root, args.map(|it| it.to_string_lossy().into_owned()).collect()))
    }
}
