//! What the runner and its helper say to each other, over one Unix stream socket.
//!
//! The runner sends every descriptor that the command needs, then a [`Request`] as JSON; the helper answers with one
//! [`Answer`] as a line of it. The end of the stream means, to the helper, that the command is to be killed: the runner
//! closes its side to cancel, and the kernel does when the runner dies.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recv as recv_bytes, recvmsg, send as send_bytes, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::spec::{Limits, Profile, StubParents, Ulimit};

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
    pub(crate) readonly_root: bool,
    pub(crate) mounts: Vec<WireMount>,
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
    /// Memory file with the filter program; `None` where there is none for the machine.
    pub(crate) seccomp: Option<OwnedFd>,
    /// Network namespace, if one is given.
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

/// First message: how many descriptors come, which of those that may be missing are among them, and how long the request is.
#[derive(Debug, Clone, Copy)]
struct Head {
    n_fds: u32,
    has_seccomp: bool,
    has_network: bool,
    /// Length of the request itself, which comes last.
    n_bytes: u64,
}

/// Its bytes.
const HEAD_BYTES: usize = 14;

/// A descriptor message holds at most 253 (SCM_MAX_FD).
const FDS_PER_MESSAGE: usize = 200;

/// Sends a request.
///
/// # Errors
/// Those of the system calls; a helper that is gone is `BrokenPipe`.
pub(crate) fn send(socket: BorrowedFd<'_>, request: &Request, fds: &Fds) -> std::io::Result<()> {
    let text = serde_json::to_vec(request)?;
    let mut list = vec![fds.stdout.as_fd(), fds.stderr.as_fd(), fds.root.as_fd()];
    list.extend(fds.seccomp.as_ref().map(AsFd::as_fd));
    list.extend(fds.network.as_ref().map(AsFd::as_fd));
    list.extend(fds.trees.iter().map(AsFd::as_fd));

    let n_fds = u32::try_from(list.len()).expect("a command has fewer than 2^32 mounts");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&n_fds.to_ne_bytes());
    head[4] = u8::from(fds.seccomp.is_some());
    head[5] = u8::from(fds.network.is_some());
    head[6..].copy_from_slice(&(text.len() as u64).to_ne_bytes());
    let mut data: &[u8] = &head;
    for chunk in list.chunks(FDS_PER_MESSAGE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(chunk)), "the buffer is made for a chunk");
        sendmsg(socket, &[IoSlice::new(data)], &mut ancillary, SendFlags::NOSIGNAL)?;
        data = &[0];
    }
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        let n_sent = send_bytes(socket, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[n_sent..];
    }
    Ok(())
}

/// Receives a request; `None` when the other side is gone.
///
/// # Errors
/// Those of the system calls, and `InvalidData` for what is no request.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> std::io::Result<Option<(Request, Fds)>> {
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
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        head = head.or(Some(Head {
            n_fds: u32::from_ne_bytes([data[0], data[1], data[2], data[3]]),
            has_seccomp: data[4] != 0,
            has_network: data[5] != 0,
            n_bytes: u64::from_ne_bytes(data[6..].try_into().expect("eight are left")),
        }));
    }
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidData));
    let (stdout, stderr, root) = (next()?, next()?, next()?);
    let seccomp = if head.is_some_and(|it| it.has_seccomp) { Some(next()?) } else { None };
    let network = if head.is_some_and(|it| it.has_network) { Some(next()?) } else { None };
    let mut text = vec![0; usize::try_from(head.map_or(0, |it| it.n_bytes)).unwrap_or(0)];
    let mut n_read = 0;
    while n_read < text.len() {
        match recv_bytes(socket, &mut text[n_read..], RecvFlags::WAITALL)?.0 {
            0 => return Ok(None),
            n => n_read += n,
        }
    }
    let fds = Fds { stdout, stderr, root, seccomp, network, trees: fds.collect() };
    Ok(Some((serde_json::from_slice(&text)?, fds)))
}
