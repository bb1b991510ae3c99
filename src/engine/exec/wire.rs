//! What the runner and its helper say to each other, over one Unix stream socket.
//!
//! The runner sends every descriptor that the command needs, then a [`Request`] as JSON; the helper answers with one
//! [`Answer`] as a line of it. The end of the stream means, to the helper, that the command is to be killed: the runner
//! closes its side to cancel, and the kernel does when the runner dies.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv as recv_bytes, recvmsg, send as send_bytes, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::spec::{Limits, NewNode, Profile, StubParents, Ulimit};

/// A command as the helper needs it. Descriptors travel beside it in the order of [`Fds`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) hostname: String,
    /// Texts of the two files.
    pub(crate) hosts: String,
    pub(crate) resolv_conf: String,
    pub(crate) network: Net,
    pub(crate) confinement: Confinement,
    pub(crate) profile: Profile,
    pub(crate) emulation: WireEmulation,
    pub(crate) readonly_root: bool,
    pub(crate) mounts: Vec<WireMount>,
    /// Devices besides the usual ones, and the groups that go with them.
    pub(crate) nodes: Vec<NewNode>,
    pub(crate) groups: Vec<u32>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) limits: Limits,
    pub(crate) cgroup_parent: String,
    pub(crate) stub_parents: StubParents,
}

/// Where a command's network comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Net {
    /// It is the host's.
    Host,
    /// It is a new one with a loopback.
    Empty,
    /// It is [`Fds::network`].
    Given,
}

/// What holds a command back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Confinement {
    /// The usual.
    Full,
    /// Its namespaces only. It gets nodes of the first `n_loops` loop devices.
    Namespaces { n_loops: u32 },
}

/// [`Emulation`](super::spec::Emulation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireEmulation {
    Kernel,
    /// The program is the descriptor `trees[tree]`, and the command's first argument already.
    Program {
        tree: usize,
        name: String,
    },
    Missing {
        platform: String,
        name: String,
    },
}

/// One mount.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireMount {
    pub(crate) dest: String,
    pub(crate) source: WireSource,
    pub(crate) readonly: bool,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireSource {
    /// The descriptor `trees[tree]`.
    Tree {
        tree: usize,
        selector: String,
    },
    Tmpfs {
        size: Option<u64>,
    },
    File {
        bytes: Vec<u8>,
        uid: u32,
        gid: u32,
        mode: u32,
    },
}

/// The descriptors of a request.
#[derive(Debug)]
pub(crate) struct Fds {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Detached mount.
    pub(crate) root: OwnedFd,
    /// Network namespace: with [`Net::Given`].
    pub(crate) network: Option<OwnedFd>,
    /// Detached mounts.
    pub(crate) trees: Vec<OwnedFd>,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The command ran, or was not found.
    Exited { code: i32, reason: Option<String>, warnings: Vec<String> },
    /// It could not be set up: the machine's fault.
    Environment { what: String, help: String },
    /// It could not be set up: the op's or the tree's fault.
    Step { what: String },
    /// Something unexpected.
    Bug { what: String },
}

/// Begins a message: how many descriptors come, and how long the text is that comes last.
#[derive(Debug, Clone, Copy)]
struct Head {
    n_fds: u32,
    n_bytes: u64,
}

/// Its bytes.
const HEAD_BYTES: usize = 12;

/// A descriptor message holds at most 253 (SCM_MAX_FD).
const FDS_PER_MESSAGE: usize = 200;

/// Sends a request.
///
/// # Errors
/// Those of the system calls; a helper that is gone is `BrokenPipe`.
pub(crate) fn send(socket: BorrowedFd<'_>, request: &Request, fds: &Fds) -> std::io::Result<()> {
    let mut list = vec![fds.stdout.as_fd(), fds.stderr.as_fd(), fds.root.as_fd()];
    list.extend(fds.network.as_ref().map(AsFd::as_fd));
    list.extend(fds.trees.iter().map(AsFd::as_fd));
    send_message(socket, request, &list)
}

/// Receives a request; `None` when the other side is gone.
///
/// # Errors
/// Those of the system calls, and `InvalidData` for what is no request.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> std::io::Result<Option<(Request, Fds)>> {
    let Some((request, fds)) = receive_message(socket)? else { return Ok(None) };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidData));
    let (stdout, stderr, root) = (next()?, next()?, next()?);
    let network = (request.network == Net::Given).then(next).transpose()?;
    let fds = Fds { stdout, stderr, root, network, trees: fds.collect() };
    Ok(Some((request, fds)))
}

/// Sends `message` as JSON, and `fds` before it.
///
/// # Errors
/// Those of the system calls; another side that is gone is `BrokenPipe`.
fn send_message(socket: BorrowedFd<'_>, message: &Request, fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let n_fds = u32::try_from(fds.len()).expect("a command has fewer than 2^32 mounts");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&n_fds.to_ne_bytes());
    head[4..].copy_from_slice(&(text.len() as u64).to_ne_bytes());
    let mut data: &[u8] = &head;
    let mut rest = text.as_slice();
    let n_messages = fds.len().div_ceil(FDS_PER_MESSAGE);
    for (index, chunk) in fds.chunks(FDS_PER_MESSAGE).enumerate() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(chunk)), "the buffer is made for a chunk");
        // The text goes with the last one: whoever waits is woken once.
        let with = if index + 1 == n_messages { rest } else { &[] };
        let parts = [IoSlice::new(data), IoSlice::new(with)];
        let n_sent = sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
        // A dozen bytes always fit into what the kernel allocates.
        let n_sent = n_sent.checked_sub(data.len()).ok_or(std::io::ErrorKind::WriteZero)?;
        rest = &rest[n_sent..];
        data = &[0];
    }
    while !rest.is_empty() {
        let n_sent = send_bytes(socket, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[n_sent..];
    }
    Ok(())
}

/// Receives what [`send_message`] sent, with at least one descriptor; `None` when the other side is gone.
///
/// # Errors
/// Those of the system calls, and `InvalidData` for another message.
fn receive_message(socket: BorrowedFd<'_>) -> std::io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let mut head: Option<Head> = None;
    let mut fds = Vec::new();
    while head.is_none_or(|head| fds.len() < head.n_fds as usize) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut data = [0; HEAD_BYTES];
        let wanted = if head.is_none() { HEAD_BYTES } else { 1 };
        let buffer = &mut [IoSliceMut::new(&mut data[..wanted])];
        let got = recvmsg(socket, buffer, &mut ancillary, RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL)?;
        if got.bytes == 0 {
            return Ok(None);
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            // This process has no room for more: those that came are closed.
            return Err(rustix::io::Errno::MFILE.into());
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        head = head.or(Some(Head {
            n_fds: u32::from_ne_bytes([data[0], data[1], data[2], data[3]]),
            n_bytes: u64::from_ne_bytes(data[4..].try_into().expect("eight are left")),
        }));
    }
    let mut text = vec![0; usize::try_from(head.map_or(0, |it| it.n_bytes)).unwrap_or(0)];
    let mut n_read = 0;
    while n_read < text.len() {
        match recv_bytes(socket, &mut text[n_read..], RecvFlags::WAITALL)?.0 {
            0 => return Ok(None),
            n => n_read += n,
        }
    }
    Ok(Some((serde_json::from_slice(&text)?, fds)))
}
