//! `--ssh`, as docker reads it: `default|ID[=SOCKET|KEY[,KEY]]`, and which keys hosts have.
//!
//! Key files are given to an agent of their own, started when a step first asks for it and ended with the process. Its
//! input is ours: when this process dies, however it does, the agent ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::base::Report;
use crate::cli::program::io_reason;
use crate::session::SessionError;

/// The agent that is meant when none is named.
const DEFAULT: &str = "default";
/// Hosts that everybody on the machine knows.
const SYSTEM_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

/// The agents of a build by their ids.
#[derive(Debug, Default)]
pub(super) struct Agents(BTreeMap<String, Agent>);

#[derive(Debug)]
enum Agent {
    /// One that runs already.
    Socket(PathBuf),
    /// One for these keys, as they were named and where they are; started when it is first asked for.
    Keys(Vec<(String, PathBuf)>, Mutex<Option<Started>>),
}

/// An agent that this process has started.
#[derive(Debug)]
struct Started {
    dir: PathBuf,
    /// Ends when its input does, and the agent with it.
    child: Child,
    agent: Option<rustix::process::Pid>,
}

impl Agents {
    /// Reads the texts of all `--ssh`, and sees that what they name is there.
    pub(super) fn read(texts: &[String]) -> Result<Agents, Report> {
        let mut agents = BTreeMap::new();
        for text in texts {
            let (id, places) = text.split_once('=').map_or((text.as_str(), None), |(id, it)| (id, Some(it)));
            if id.is_empty() {
                return Err(Report::error("bkl::usage", format!("`--ssh {text}` has no id"))
                    .help("write `--ssh default`, `--ssh ID=SOCKET` or `--ssh ID=KEYFILE`"));
            }
            let agent = match places {
                None => from_environment(id)?,
                Some(places) => from_paths(id, places)?,
            };
            if agents.insert(id.to_owned(), agent).is_some() {
                return Err(Report::error("bkl::usage", format!("the agent `{id}` is given twice")));
            }
        }
        Ok(Agents(agents))
    }

    /// The socket of an agent, if it was given.
    pub(super) fn get(&self, id: &str) -> Result<Option<PathBuf>, SessionError> {
        let id = if id.is_empty() { DEFAULT } else { id };
        match self.0.get(id) {
            None => Ok(None),
            Some(Agent::Socket(path)) => Ok(Some(path.clone())),
            Some(Agent::Keys(keys, started)) => {
                let mut started = started.lock().unwrap_or_else(PoisonError::into_inner);
                if started.is_none() {
                    let new =
                        start(keys).map_err(|reason| SessionError::Agent { id: id.to_owned(), reason })?;
                    *started = Some(new);
                }
                Ok(started.as_ref().map(Started::socket))
            }
        }
    }
}

/// What the user and the machine know of hosts.
pub(super) fn known_hosts() -> String {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/known_hosts"));
    let files = home.into_iter().chain([PathBuf::from(SYSTEM_HOSTS)]);
    let texts = files.filter_map(|path| fs::read_to_string(path).ok());
    texts.map(|text| if text.ends_with('\n') { text } else { text + "\n" }).collect()
}

fn wrong(id: &str, why: impl std::fmt::Display) -> Report {
    Report::error("bkl::ssh", format!("cannot use the agent `{id}`: {why}"))
}

fn from_environment(id: &str) -> Result<Agent, Report> {
    let Some(path) = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) else {
        return Err(wrong(id, "SSH_AUTH_SOCK is not set").help(format!(
            "start an agent, `eval $(ssh-agent); ssh-add`, or name a key: `--ssh {id}=KEYFILE`"
        )));
    };
    let path = PathBuf::from(path);
    match fs::metadata(&path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(Agent::Socket(path)),
        Ok(_) => Err(wrong(id, format!("SSH_AUTH_SOCK is `{}`, which is no socket", path.display()))),
        Err(error) => Err(wrong(
            id,
            format!("SSH_AUTH_SOCK is `{}`, which cannot be used: {}", path.display(), io_reason(&error)),
        )
        .help("the agent that it belonged to has ended: start another one")),
    }
}

fn from_paths(id: &str, places: &str) -> Result<Agent, Report> {
    let mut keys = Vec::new();
    let paths: Vec<&str> = places.split(',').collect();
    for path in &paths {
        let unusable = |why: String| wrong(id, format!("`{path}`: {why}"));
        let meta = fs::metadata(path).map_err(|error| unusable(io_reason(&error)))?;
        if meta.file_type().is_socket() {
            if paths.len() != 1 {
                return Err(unusable(
                    "a socket is an agent by itself, and nothing stands beside it".to_owned(),
                ));
            }
            let path = fs::canonicalize(path).map_err(|error| unusable(io_reason(&error)))?;
            return Ok(Agent::Socket(path));
        }
        if !meta.is_file() {
            return Err(unusable("it is neither a socket nor a file".to_owned()));
        }
        let key = fs::canonicalize(path).map_err(|error| unusable(io_reason(&error)))?;
        keys.push(((*path).to_owned(), key));
    }
    Ok(Agent::Keys(keys, Mutex::new(None)))
}

/// Starts an agent with these keys.
fn start(keys: &[(String, PathBuf)]) -> Result<Started, String> {
    let failed = |what: &str, error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "there is no `{what}` on this machine: install openssh-client, or give the socket of an agent"
            )
        }
        _ => format!("cannot run `{what}`: {}", io_reason(error)),
    };
    let dir = private_dir().map_err(|error| format!("cannot make a directory: {}", io_reason(&error)))?;
    let socket = dir.join("agent");
    // The agent ends when the command behind it does; that ends when our side of its input is closed.
    let mut child = Command::new("ssh-agent")
        .arg("-a")
        .arg(&socket)
        .args(["sh", "-c", "echo $SSH_AGENT_PID; exec cat >/dev/null"])
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            let _ = fs::remove_dir(&dir);
            failed("ssh-agent", &error)
        })?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    let agent = line.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    let started = Started { dir, child, agent };
    if agent.is_none() {
        return Err("`ssh-agent` does not start".to_owned());
    }
    for (name, key) in keys {
        let output = Command::new("ssh-add")
            .args(["-q", "--"])
            .arg(key)
            .env("SSH_AUTH_SOCK", started.socket())
            // It asks nobody for a passphrase.
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env_remove("DISPLAY")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed("ssh-add", &error))?;
        if !output.status.success() {
            return Err(format!("the key `{name}` is not taken: {}", refusal(&output.stderr)));
        }
    }
    Ok(started)
}

/// Why `ssh-add` did not take a key.
fn refusal(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    if said.contains("passphrase") {
        return "it has a passphrase; add it to an agent of yours, and give that".to_owned();
    }
    if said.contains("UNPROTECTED") || said.contains("too open") {
        return "others may read it; `chmod 600` it".to_owned();
    }
    if said.contains("libcrypto") || said.contains("invalid format") {
        return "it is no private key".to_owned();
    }
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("`ssh-add` fails");
    // `Error loading key "/path": why`
    line.rsplit(": ").next().unwrap_or(line).to_owned()
}

impl Started {
    fn socket(&self) -> PathBuf {
        self.dir.join("agent")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // While `cat` lives the number is the agent's.
        if let Some(agent) = self.agent {
            let _ = rustix::process::kill_process(agent, rustix::process::Signal::TERM);
        }
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_dir(&self.dir);
    }
}

/// A new directory that only this user can look into.
fn private_dir() -> io::Result<PathBuf> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let name = format!("bkl-ssh-{:016x}", u64::from_ne_bytes(bytes));
    let dir = std::env::temp_dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(dir)
}
