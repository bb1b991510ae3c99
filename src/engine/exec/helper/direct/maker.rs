//! The threads that make the first processes of containers.
//!
//! A first process has the helper's memory until execve, and its table of descriptors until shortly before: neither page
//! tables nor descriptors are copied, and no page is written twice. It lives on a stack of its own, but has the thread-local
//! variables of the thread that made it, which therefore sleeps until then. And it inherits what the thread has: most of the
//! filter, and that nothing it executes gets more than the capabilities of the profile. Hence a thread for each profile.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::thread::UnshareFlags;

use super::child::{self, Plan};
use crate::engine::exec::error::RunError;
use crate::engine::exec::helper::defaults::filter;
use crate::engine::exec::helper::init;
use crate::engine::exec::helper::place::no_namespaces;
use crate::engine::exec::helper::setup::io;
use crate::engine::exec::seccomp;
use crate::engine::exec::spec::Profile;
use crate::engine::exec::wire::{Net, WireEmulation};

/// Bytes of stack that a first process has; its deepest calls take a few thousand.
const STACK_BYTES: usize = 256 << 10;

/// A thread that makes first processes, one at a time. It lasts as long as the helper.
pub(super) struct Maker {
    /// What confines them.
    profile: Option<Profile>,
    /// What is left of the filter for each.
    filter: Option<Arc<[libc::sock_filter]>>,
    plans: Sender<Arc<Plan>>,
}

impl Maker {
    /// For containers that are confined in this way, if they are. The calling thread must be in the helper's own mount
    /// namespace, and may enter others afterwards.
    pub(super) fn start(profile: Option<Profile>) -> Result<Maker, RunError> {
        let halves = profile.map(|it| filter(it, seccomp::halves)).transpose()?;
        let (inherited, own) = halves.map(|it| (it.inherited, it.own)).unzip();
        let (plans, to_make) = channel();
        let (say, hear) = channel();
        let work = move || match prepare(profile, inherited) {
            Ok(stack) => {
                if say.send(Ok(())).is_ok() {
                    serve(&to_make, &stack);
                }
            }
            Err(error) => drop(say.send(Err(error))),
        };
        let spawned = thread::Builder::new().name("bkl-run".into()).stack_size(STACK_BYTES).spawn(work);
        spawned.map_err(io("start a thread of", "the helper"))?;
        let bug = || RunError::Bug { what: "a thread of the helper ended at once".into() };
        hear.recv().map_err(|_| bug())??;
        Ok(Maker { profile, filter: own.map(Arc::from), plans })
    }

    pub(super) fn profile(&self) -> Option<Profile> {
        self.profile
    }

    pub(super) fn filter(&self) -> Option<Arc<[libc::sock_filter]>> {
        self.filter.clone()
    }

    /// Has the first process made, some time after the last one became its command or ended.
    pub(super) fn make(&self, plan: Arc<Plan>) {
        if let Err(lost) = self.plans.send(plan) {
            lost.0.exchange.close(Err(libc::ESRCH));
        }
    }
}

/// What first processes are to inherit.
fn prepare(profile: Option<Profile>, inherited: Option<Vec<libc::sock_filter>>) -> Result<Stack, RunError> {
    // Who shares its working directory with another thread may not enter a mount namespace.
    // SAFETY: no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.map_err(|err| no_namespaces(&err.into()))?;
    let stack = Stack::new(STACK_BYTES).map_err(io("make a stack for", "a container"))?;
    if let (Some(profile), Some(filter)) = (profile, inherited)
        && let Err(complaint) = init::confine(profile, &filter)
        && let Err(error) = complaint.answer("", &WireEmulation::Kernel)
    {
        return Err(error);
    }
    Ok(stack)
}

fn serve(plans: &Receiver<Arc<Plan>>, stack: &Stack) {
    while let Ok(plan) = plans.recv() {
        let made = make(&plan, stack);
        plan.exchange.close(made);
    }
}

/// Makes the first process of a container and waits until it has become the command or ended; the error number when there
/// was none.
fn make(plan: &Plan, stack: &Stack) -> Result<(), i32> {
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if plan.traits.net == Net::Empty {
        flags |= libc::CLONE_NEWNET;
    }
    flags |=
        libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    let (pidfd, has_memory) = plan.exchange.for_kernel();
    let no_storage = std::ptr::null_mut::<c_void>();
    // SAFETY: the stack is nobody else's, as this thread makes one process at a time; the plan and the stack outlive it, as
    // this function does not return before. What that process does to memory is as if this thread did it, which meanwhile
    // only waits.
    let pid = unsafe {
        libc::clone(
            live,
            stack.top(),
            flags,
            (&raw const *plan).cast_mut().cast(),
            pidfd,
            no_storage,
            has_memory,
        )
    };
    if pid == -1 {
        return Err(init::last_errno());
    }
    plan.exchange.until_memory_is_left();
    Ok(())
}

/// The first process.
extern "C" fn live(plan: *mut c_void) -> c_int {
    // SAFETY: it is the plan that `make` passes, which outlives this process's use of this memory.
    child::run(unsafe { &*plan.cast::<Plan>() })
}

/// Memory for the stack of a process, with nothing below it.
struct Stack {
    base: *mut c_void,
    n_bytes: usize,
}

impl Stack {
    fn new(n_bytes: usize) -> std::io::Result<Stack> {
        const GUARD_BYTES: usize = 64 << 10;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let n_bytes = n_bytes + GUARD_BYTES;
        // SAFETY: new memory, of which the lower end is made inaccessible.
        unsafe {
            let base = libc::mmap(std::ptr::null_mut(), n_bytes, libc::PROT_NONE, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return Err(std::io::Error::last_os_error());
            }
            let stack = Stack { base, n_bytes };
            let usable = base.byte_add(GUARD_BYTES);
            match libc::mprotect(usable, n_bytes - GUARD_BYTES, libc::PROT_READ | libc::PROT_WRITE) {
                0 => Ok(stack),
                _ => Err(std::io::Error::last_os_error()),
            }
        }
    }

    /// Where it begins: it grows downwards.
    fn top(&self) -> *mut c_void {
        // SAFETY: one past its end; a multiple of the page size.
        unsafe { self.base.byte_add(self.n_bytes) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no process lives on it any more.
        unsafe { libc::munmap(self.base, self.n_bytes) };
    }
}
