//! The `git` binary, run so that nothing of the machine or of a repository decides what it does: no configuration but
//! ours, no hooks, no helpers, no protocols but those of the call, no terminal.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::GitError;
use crate::engine::cancel::Cancel;
use crate::engine::source::program::{self, MemoryFile, ProgramError, Ran, tidy};

/// Variables that are passed on besides the way to programs: proxies, certificates.
const PASSED_ON: [&str; 13] = [
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
        let ran = program::run(&mut command, self.cancel).map_err(|error| {
            CallError::Broken(match error {
                ProgramError::Missing => GitError::NoGit { url: self.url.to_owned() },
                ProgramError::Start(source) => GitError::Start { source },
                ProgramError::Cancelled => GitError::Cancelled,
            })
        })?;
        let Ran { status, stdout, stderr } = ran;
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
        let mut command = program::program("git");
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
}
