//! What engine and keeper say to each other: messages with descriptors, over sockets that keep them apart.
//!
//! For each namespace the engine makes a pair of sockets and sends the keeper one end with a [`Wish`]. The keeper answers on
//! it with a [`Made`] and the namespace's descriptors. As long as the engine keeps its end, the namespace is connected; the
//! keeper's end closes when the NAT is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::nat::Kind;

/// A namespace that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    pub(super) kind: Kind,
    /// The NAT's program.
    pub(super) program: PathBuf,
    /// The first address of the network between namespace and NAT, which has 256.
    pub(super) subnet: Ipv4Addr,
}

/// What became of a wish.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Made {
    /// It is there. With it come the namespace and its two tables of sockets in use.
    Namespace,
    /// It is not.
    Failed { why: String },
}

/// More bytes than a message has.
const MAX_BYTES: usize = 64 << 10;
/// More descriptors than a message has.
const MAX_FDS: usize = 5;

/// Two sockets that are connected and keep messages apart.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message.
///
/// # Errors
/// Those of the system call; when nobody listens any more it is `BrokenPipe`.
pub(super) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(
            ancillary.push(SendAncillaryMessage::ScmRights(fds)),
            "no message has more than there is room for"
        );
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message; `None` when the other side is gone.
///
/// # Errors
/// Those of the system call, and `InvalidData` for what is no message.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; MAX_BYTES];
    let got = loop {
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, buffer, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // What is closed with something unread in it.
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    if got.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    Ok(Some((serde_json::from_slice(&bytes[..got.bytes])?, fds)))
}
