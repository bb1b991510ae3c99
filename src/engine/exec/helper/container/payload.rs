//! What libcontainer calls in the container's first process. What it would do itself from there on is done by [`Program`]
//! instead: it passes the environment through a hash map, cannot load a filter without libseccomp, and reports no errno.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};

use crate::engine::exec::helper::exit;
use crate::engine::exec::helper::init::{self, Program};
use crate::engine::exec::spec::Profile;

/// A program as libcontainer executes it.
#[derive(Clone)]
pub(super) struct Payload {
    inner: Rc<Inner>,
}

struct Inner {
    program: Program,
    /// What confines it, if anything.
    filter: Option<(Profile, Vec<libc::sock_filter>)>,
    /// Where to say why there was no execve.
    complaint: OwnedFd,
}

impl Payload {
    /// `complaint` is where to say why there was no execve.
    pub(super) fn new(
        program: Program,
        filter: Option<(Profile, Vec<libc::sock_filter>)>,
        complaint: OwnedFd,
    ) -> Payload {
        Payload { inner: Rc::new(Inner { program, filter, complaint }) }
    }
}

impl Executor for Payload {
    /// Called before the container waits to be started.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        // The helper's death is ours. Set here because a change of user, which has happened by now, clears it.
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let confined = match &self.inner.filter {
            Some((profile, filter)) => init::confine(*profile, filter),
            None => Ok(()),
        };
        let complaint = match confined {
            Ok(()) => self.inner.program.execute(),
            Err(complaint) => complaint,
        };
        complaint.send(self.inner.complaint.as_fd());
        exit(complaint.code())
    }
}
