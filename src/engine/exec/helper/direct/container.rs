//! A container as its helper has it: created, which means that all is there but the command and its tree, and later started.
//!
//! The helper has the next one created while a command runs: what that takes then costs nobody anything.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::child::{Order, Plan};
use crate::engine::exec::error::RunError;
use crate::engine::exec::helper::init::{Complaint, Step};
use crate::engine::exec::helper::place::no_namespaces;
use crate::engine::exec::helper::setup::errno;
use crate::engine::exec::helper::{exit, supervise};
use crate::engine::exec::spec::Profile;
use crate::engine::exec::wire::{Confinement, Net, Request};

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
    plan: Arc<Plan>,
    is_reaped: bool,
}

impl Container {
    /// One whose first process somebody makes by this plan.
    pub(super) fn of(plan: Arc<Plan>) -> Container {
        Container { plan, is_reaped: false }
    }

    pub(super) fn traits(&self) -> &Traits {
        &self.plan.traits
    }

    /// Waits until it is created; its mount namespace.
    pub(super) fn created(&self) -> Result<OwnedFd, RunError> {
        self.plan.exchange.until_created().ok_or_else(|| self.failure())
    }

    /// Has it execute the command.
    pub(super) fn start(&self, order: Order) -> Result<(), RunError> {
        let is_first = self.plan.order.set(order).is_ok();
        if is_first && self.plan.exchange.give_order() { Ok(()) } else { Err(self.failure()) }
    }

    /// Waits for its end, or brings it about when `socket` closes; with why there was no execve, if there was none.
    pub(super) fn wait(
        mut self,
        socket: &UnixStream,
    ) -> Result<(supervise::Ending, Option<Complaint>), RunError> {
        let exchange = &self.plan.exchange;
        let pidfd = exchange.pidfd().ok_or_else(|| RunError::Bug { what: "there is no container".into() })?;
        let ending = supervise::wait(socket, pidfd)?;
        let complaint = exchange.complaint();
        // From here on nobody else has the plan: what belongs to the order closes with this container.
        exchange.until_left();
        self.is_reaped = true;
        Ok((ending, complaint))
    }

    /// Why it ended by itself.
    fn failure(&self) -> RunError {
        let exchange = &self.plan.exchange;
        exchange.until_left();
        if let Some(refusal) = exchange.refusal() {
            let errno = Errno::from_io_error(&refusal).unwrap_or(Errno::IO);
            let may_be_group = self.plan.groups.cradle.is_some();
            return match errno {
                // What clone3 says of the group that it is to be born in.
                Errno::BUSY | Errno::OPNOTSUPP | Errno::AGAIN | Errno::NODEV if may_be_group => {
                    Step::Group.failed()(errno)
                }
                _ => no_namespaces(&refusal),
            };
        }
        let bug = || RunError::Bug { what: "a container ended before it was started".into() };
        exchange.complaint().map_or_else(bug, Complaint::error)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        let exchange = &self.plan.exchange;
        if exchange.dismiss() {
            // What it has open in the helper's table it closes itself, if nobody kills it.
            exchange.until_left();
        }
        let Some(pidfd) = exchange.pidfd() else { return };
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
        let _ = supervise::reap(pidfd);
        exchange.until_left();
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
