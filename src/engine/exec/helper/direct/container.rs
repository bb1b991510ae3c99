//! A container as its helper has it: created, which means that all is there but the command and its tree, and later started.
//!
//! The helper creates the next one while a command runs: what that takes then costs nobody anything.

use std::io::{ErrorKind, PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::child::{Order, Plan, set_policy};
use crate::engine::exec::error::RunError;
use crate::engine::exec::helper::init::{Complaint, Step, read_complaint};
use crate::engine::exec::helper::place::no_namespaces;
use crate::engine::exec::helper::setup::{errno, io};
use crate::engine::exec::helper::{exit, supervise};
use crate::engine::exec::spec::Profile;
use crate::engine::exec::wire::{self, Confinement, Net, Request, WireEmulation};

/// What has to be known to create a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traits {
    /// Whether kernel files are hidden and read-only, and the filter is loaded.
    pub(super) is_confined: bool,
    pub(super) profile: Profile,
    pub(super) net: Net,
    /// Device and inode number of the network namespace, if one is given.
    given: Option<(u64, u64)>,
    pub(super) hostname: String,
}

impl Traits {
    /// Those that a command wants.
    pub(super) fn of(request: &Request, network: Option<&OwnedFd>) -> Result<Traits, RunError> {
        let id_of = |it: &OwnedFd| rustix::fs::fstat(it).map(|stat| (stat.st_dev, stat.st_ino));
        Ok(Traits {
            is_confined: request.confinement == Confinement::Full,
            profile: request.profile,
            net: request.network,
            given: network.map(id_of).transpose().map_err(errno("look at", "the network"))?,
            hostname: request.hostname.clone(),
        })
    }
}

/// A container. Dropping it ends it.
pub(super) struct Container {
    pub(super) traits: Traits,
    first: First,
    /// Whether it was created when nothing else was to be done.
    may_wait: bool,
    /// Where it says how far it is, and takes its order.
    orders: UnixStream,
    complaint: PipeReader,
}

/// The first process.
struct First {
    pid: i32,
    pidfd: OwnedFd,
    is_reaped: bool,
}

impl Container {
    /// Creates one, born in `group` if there is one, else where the helper is. Returns when it has let go of what it
    /// has from the helper; it goes on by itself.
    pub(super) fn create(
        traits: Traits,
        network: Option<&OwnedFd>,
        filter: Option<&[libc::sock_filter]>,
        group: Option<&OwnedFd>,
        site: super::Site,
    ) -> Result<Container, RunError> {
        let (complaint, complaint_in) = std::io::pipe().map_err(io("make a pipe for", "a container"))?;
        let (orders, theirs) = UnixStream::pair().map_err(io("make a socket for", "a container"))?;
        let complaint_in = complaint_in.into();
        let plan = Plan { traits: &traits, network, filter, site, orders: theirs, complaint: complaint_in };
        let (pid, pidfd) = plan.start(group).map_err(|err| no_namespaces(&err))?;
        let (first, may_wait) = (First { pid, pidfd, is_reaped: false }, site.may_wait);
        let container = Container { traits, first, may_wait, orders, complaint };
        match (&container.orders).read_exact(&mut [0]) {
            Ok(()) => Ok(container),
            Err(_) => Err(container.failure()),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.first.pid
    }

    /// Waits until it is created; its mount namespace.
    pub(super) fn created(&self) -> Result<OwnedFd, RunError> {
        let mut first = [PollFd::new(&self.first.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if !matches!(poll(&mut first, Some(&now)), Ok(0) | Err(Errno::INTR)) {
            return Err(self.failure());
        }
        if self.may_wait {
            set_policy(self.first.pid, libc::SCHED_OTHER).map_err(Step::Priority.failed())?;
        }
        let said = wire::receive_message::<()>(self.orders.as_fd());
        let said = said.map_err(io("hear from", "a container"))?;
        said.and_then(|((), fds)| fds.into_iter().next()).ok_or_else(|| self.failure())
    }

    /// Has it execute the command, with these as its standard output and error.
    pub(super) fn start(&self, order: &Order, outputs: [BorrowedFd<'_>; 2]) -> Result<(), RunError> {
        wire::send_message(self.orders.as_fd(), order, &outputs).map_err(|err| match err.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => self.failure(),
            _ => io("send the command to", "a container")(err),
        })
    }

    /// Waits for its end, or brings it about when `socket` closes; with why there was no execve, if there was none.
    pub(super) fn wait(
        mut self,
        socket: &UnixStream,
    ) -> Result<(supervise::Ending, Option<Complaint>), RunError> {
        let ending = supervise::wait(socket, self.first.pid, self.first.pidfd.as_fd())?;
        self.first.is_reaped = true;
        Ok((ending, read_complaint(&self.complaint)))
    }

    /// Why it ended by itself.
    fn failure(&self) -> RunError {
        // Whatever became of it: the pipe has an end then.
        let _ = pidfd_send_signal(&self.first.pidfd, Signal::KILL);
        let complaint = read_complaint(&self.complaint);
        let said = complaint.and_then(|it| it.answer("", &WireEmulation::Kernel).err());
        said.unwrap_or_else(|| RunError::Bug { what: "a container ended before it was started".into() })
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        while let Err(Errno::INTR) = waitpid(Pid::from_raw(self.pid), WaitOptions::empty()) {}
    }
}

/// The helper in a container's mount namespace. Dropping it leads back.
pub(super) struct Inside<'a> {
    home: &'a OwnedFd,
}

impl<'a> Inside<'a> {
    /// Enters a mount namespace, with its root.
    pub(super) fn enter(namespace: &OwnedFd, home: &'a OwnedFd) -> Result<Inside<'a>, Errno> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        Ok(Inside { home })
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Mount)).is_err() {
            // What it did from here on, it would do to a container.
            exit(125);
        }
    }
}
