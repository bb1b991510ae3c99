//! Namespaces that are free, and what the sandbox is where there can be none.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::message::{self, Made, Wish};
use super::nat::{self, Kind};
use super::{SandboxNetwork, keeper};
use crate::engine::exec::error::RunError;

/// What a command's sandbox is connected to.
#[derive(Debug)]
pub(crate) enum Network {
    /// The outside, through a NAT.
    Namespace(Namespace),
    /// Nothing.
    Nothing,
    /// All that the host is; with why, if nobody asked for it.
    Host(Option<String>),
}

/// Whether a namespace may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// When nothing was left in it.
    Many,
    /// Never: who has CAP_NET_ADMIN may leave anything.
    One,
}

/// A namespace with its NAT, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    fd: OwnedFd,
    /// Sockets in use, of IPv4 and everything, and of IPv6; datagrams sent, of both.
    counters: [File; 4],
    /// Sockets that the NAT itself has in it.
    n_own: u64,
    /// Datagrams that were sent before any command was in it.
    n_sent: u64,
    link: OwnedFd,
    forwarder: Ipv4Addr,
}

impl Namespace {
    /// The namespace itself.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The address at which the host's own name server is reached.
    pub(crate) fn forwarder(&self) -> Ipv4Addr {
        self.forwarder
    }

    /// Whether it is connected, and nothing of a command is in it.
    pub(crate) fn is_fresh(&self) -> bool {
        let mut link = [PollFd::new(&self.link, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let is_connected = matches!(poll(&mut link, Some(&now)), Ok(0));
        // The NAT keeps letting in whom a command sent datagrams to; the next one did not ask for them.
        let is_unused =
            |it: &Usage| it.n_sockets <= self.n_own && it.n_bound == 0 && it.n_datagrams == self.n_sent;
        is_connected && self.usage().is_ok_and(|it| is_unused(&it))
    }

    fn usage(&self) -> io::Result<Usage> {
        let mut usage = Usage::default();
        // The tables of datagrams are the longest, with some 3 and 5 KiB.
        let mut text = vec![0; 16 << 10];
        for file in &self.counters {
            let n_bytes = file.read_at(&mut text, 0)?;
            usage.add(&String::from_utf8_lossy(&text[..n_bytes]));
        }
        Ok(usage)
    }
}

/// What is in use in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usage {
    /// Sockets of all kinds that somebody has open.
    n_sockets: u64,
    /// Those of IP that have a port, also if nobody has them open any more.
    n_bound: u64,
    /// Datagrams that were sent since it was made.
    n_datagrams: u64,
}

impl Usage {
    /// Adds what a table says: lines as `TCP: inuse 0 orphan 0 tw 0 alloc 1 mem 0`, as `Udp6OutDatagrams 0`, or as two, of
    /// names and of numbers, that begin with `Udp:`.
    fn add(&mut self, table: &str) {
        let mut udp_names: Option<&str> = None;
        for line in table.lines() {
            if let Some(rest) = line.strip_prefix("Udp:") {
                match udp_names {
                    None => udp_names = Some(rest),
                    Some(names) => {
                        let sent = names.split_whitespace().position(|it| it == "OutDatagrams");
                        let sent = sent.and_then(|at| rest.split_whitespace().nth(at));
                        self.sent(sent.unwrap_or_default());
                    }
                }
            } else if let Some(sent) = line.strip_prefix("Udp6OutDatagrams") {
                self.sent(sent.trim());
            }
            let mut words = line.split_whitespace().skip(1);
            while let (Some(name), Some(value)) = (words.next(), words.next()) {
                let count = match name {
                    "used" => &mut self.n_sockets,
                    "inuse" | "tw" => &mut self.n_bound,
                    // The rest is of the whole machine, or says the same again.
                    _ => continue,
                };
                *count = count.saturating_add(value.parse().unwrap_or(u64::MAX));
            }
        }
    }
}

impl Usage {
    /// What is not understood is not unused.
    fn sent(&mut self, number: &str) {
        self.n_datagrams = self.n_datagrams.saturating_add(number.parse().unwrap_or(u64::MAX));
    }
}

/// The namespaces of a runner.
#[derive(Debug)]
pub(crate) struct Networks {
    sandbox: SandboxNetwork,
    /// What the sandbox turned out to be; held while that is found out.
    choice: Mutex<Option<Choice>>,
    keeper: Mutex<Option<Keeper>>,
    idle: Mutex<Vec<Namespace>>,
}

/// What the sandbox is here.
#[derive(Debug, Clone)]
enum Choice {
    Nat(Wish),
    Host { why: String },
}

/// The keeper. Dropping it closes the socket, upon which it ends, and every NAT with it.
#[derive(Debug)]
struct Keeper {
    socket: OwnedFd,
    child: Option<Child>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The socket closes after this.
        if let Some(mut child) = self.child.take() {
            let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || child.wait());
        }
    }
}

/// Starts a helper of this name on this socket.
pub(crate) type Spawn<'a> = &'a (dyn Fn(&str, OwnedFd) -> Result<Child, RunError> + Sync);

impl Networks {
    pub(crate) fn new(sandbox: SandboxNetwork) -> Networks {
        Networks { sandbox, choice: Mutex::default(), keeper: Mutex::default(), idle: Mutex::default() }
    }

    /// What needs no waiting for: a namespace that is free, or none at all.
    pub(crate) fn at_once(&self, life: Life) -> Option<Network> {
        match self.sandbox {
            SandboxNetwork::Host => return Some(Network::Host(None)),
            SandboxNetwork::None => return Some(Network::Nothing),
            SandboxNetwork::Auto | SandboxNetwork::Pasta | SandboxNetwork::Slirp4netns => {}
        }
        if let Some(Choice::Host { why }) = &*lock(&self.choice) {
            return Some(Network::Host(Some(why.clone())));
        }
        if life == Life::One {
            return None;
        }
        let mut idle = lock(&self.idle);
        while let Some(namespace) = idle.pop() {
            if namespace.is_fresh() {
                return Some(Network::Namespace(namespace));
            }
        }
        None
    }

    /// A new namespace. Blocks for as long as a NAT takes to start.
    ///
    /// # Errors
    /// [`RunError::Environment`] when there is none to be had and the host's network is not to take its place.
    pub(crate) fn make(&self, spawn: Spawn<'_>) -> Result<Network, RunError> {
        let mut choice = lock(&self.choice);
        match &*choice {
            Some(Choice::Host { why }) => return Ok(Network::Host(Some(why.clone()))),
            Some(Choice::Nat(wish)) => {
                let wish = wish.clone();
                drop(choice);
                // Not the host's network all of a sudden: that would be another sandbox for some of the commands.
                return self.ask(&wish, spawn).map(Network::Namespace).map_err(|why| none_to_be_had(&why));
            }
            None => {}
        }
        let kinds: &[Kind] = match self.sandbox {
            SandboxNetwork::Pasta => &[Kind::Pasta],
            SandboxNetwork::Slirp4netns => &[Kind::Slirp4netns],
            SandboxNetwork::Auto | SandboxNetwork::Host | SandboxNetwork::None => {
                &[Kind::Pasta, Kind::Slirp4netns]
            }
        };
        let mut reasons = Vec::new();
        for &kind in kinds {
            let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin:/usr/sbin:/sbin".into());
            let Some(program) = nat::find(kind.name(), &path) else {
                reasons.push(format!("`{}` is not installed", kind.name()));
                continue;
            };
            let wish = Wish { kind, program, subnet: nat::free_subnet() };
            match self.ask(&wish, spawn) {
                Ok(namespace) => {
                    *choice = Some(Choice::Nat(wish));
                    return Ok(Network::Namespace(namespace));
                }
                Err(why) => reasons.push(why),
            }
        }
        let why = reasons.join("; ");
        if self.sandbox != SandboxNetwork::Auto {
            return Err(none_to_be_had(&why));
        }
        *choice = Some(Choice::Host { why: why.clone() });
        Ok(Network::Host(Some(why)))
    }

    /// Takes a namespace back in which no command is left.
    pub(crate) fn take_back(&self, namespace: Namespace) {
        lock(&self.idle).push(namespace);
    }

    /// Has the keeper make a namespace; why not.
    fn ask(&self, wish: &Wish, spawn: Spawn<'_>) -> Result<Namespace, String> {
        let no_sockets = |err: io::Error| format!("cannot make a socket: {err}");
        let (link, theirs) = message::pair().map_err(no_sockets)?;
        {
            let mut keeper = lock(&self.keeper);
            let sent = keeper.as_ref().map(|it| message::send(&it.socket, wish, &[theirs.as_fd()]));
            // It is started when it is first needed, and again when somebody killed it.
            if !matches!(sent, Some(Ok(()))) {
                let (socket, end) = message::pair().map_err(no_sockets)?;
                let child = spawn(keeper::NAME, end).map_err(|err| err.to_string())?;
                let new = Keeper { socket, child: Some(child) };
                message::send(&new.socket, wish, &[theirs.as_fd()])
                    .map_err(|err| format!("cannot ask the keeper of networks: {err}"))?;
                *keeper = Some(new);
            }
        }
        drop(theirs);
        let gone = || "the keeper of networks ended".to_owned();
        let (made, fds) = match message::receive::<Made>(&link) {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(gone()),
            Err(err) => return Err(format!("cannot hear the keeper of networks: {err}")),
        };
        match made {
            Made::Failed { why } => Err(why),
            Made::Namespace => {
                let [fd, counters @ ..] = <[OwnedFd; 5]>::try_from(fds).map_err(|_| gone())?;
                let counters = counters.map(File::from);
                let forwarder = nat::forwarder(wish.subnet);
                let mut namespace = Namespace { fd, counters, n_own: 0, n_sent: 0, link, forwarder };
                let usage = namespace.usage().map_err(|err| format!("cannot count sockets: {err}"))?;
                (namespace.n_own, namespace.n_sent) = (usage.n_sockets, usage.n_datagrams);
                Ok(namespace)
            }
        }
    }
}

/// That the sandbox has no network, and must not have the host's.
pub(crate) fn none_to_be_had(why: &str) -> RunError {
    RunError::Environment {
        what: format!("there is no network for the sandbox: {why}"),
        help: "install Debian's `passt`, or choose what commands are connected to with `--network` or BKL_NETWORK: \
            `slirp4netns`, `host`, `none`"
            .into(),
    }
}

/// A panic while one is held leaves a list or a choice all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
