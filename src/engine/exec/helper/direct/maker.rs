//! The threads that make the first processes of containers.
//!
//! A first process has the helper's memory until execve, and its table of descriptors until shortly before: neither page
//! tables nor descriptors are copied, and no page is written twice. It lives on a stack of its own, but has the thread-local
//! variables of the thread that made it, which therefore sleeps until then. And it inherits what the thread has: most of the
//! filter, and that nothing it executes gets more than the capabilities of the profile. Hence a thread for each profile.

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::thread::UnshareFlags;

use super::child::{self, Plan};
use crate::engine::exec::error::RunError;
use crate::engine::exec::helper::defaults::filter;
use crate::engine::exec::helper::init::{self, Complaint};
use crate::engine::exec::helper::place::no_namespaces;
use crate::engine::exec::helper::setup::io;
use crate::engine::exec::seccomp;
use crate::engine::exec::spec::Profile;
use crate::engine::exec::wire::Net;

/// linux/sched.h; libc's has the wrong type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

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
        let confined = profile.zip(inherited);
        let (plans, to_make) = channel();
        let (say, hear) = channel();
        let work = move || match prepare(confined) {
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
fn prepare(confined: Option<(Profile, Vec<libc::sock_filter>)>) -> Result<Stack, RunError> {
    // Who shares its working directory with another thread may not enter a mount namespace.
    // SAFETY: no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.map_err(|err| no_namespaces(&err.into()))?;
    let stack = Stack::new(STACK_BYTES).map_err(io("make a stack for", "a container"))?;
    if let Some((profile, filter)) = confined {
        init::confine(profile, &filter).map_err(Complaint::error)?;
    }
    Ok(stack)
}

fn serve(plans: &Receiver<Arc<Plan>>, stack: &Stack) {
    while let Ok(plan) = plans.recv() {
        let made = make(&plan, stack);
        let exchange = plan.exchange.clone();
        // First: the helper then has the plan for itself.
        drop(plan);
        exchange.close(made);
    }
}

/// Makes the first process of a container and waits until it has become the command or ended; the error number when there
/// was none.
fn make(plan: &Plan, stack: &Stack) -> Result<(), i32> {
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if plan.traits.net == Net::Empty {
        flags |= libc::CLONE_NEWNET;
    }
    flags |= libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD | libc::CLONE_CHILD_CLEARTID;
    if plan.groups.is_needed() {
        // Should memory run out in its group, the kernel would kill with it who shares its memory: but not what was made in
        // this way. Not for all, as who waits in the kernel counts as load, and most wait while another command runs.
        flags |= libc::CLONE_VFORK;
    }
    let (pidfd, has_memory) = plan.exchange.for_kernel();
    // SAFETY: all bytes zero is a valid `clone_args`.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags.cast_unsigned().into();
    args.exit_signal = libc::SIGCHLD as u64;
    args.pidfd = pidfd as u64;
    args.child_tid = has_memory as u64;
    args.stack = stack.base as u64;
    args.stack_size = stack.n_bytes as u64;
    if let Some(group) = &plan.groups.cradle {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: the stack is nobody else's, as this thread makes one process at a time; the plan and the stack outlive it, as
    // this function does not return before. What that process does to memory is as if this thread did it, which meanwhile
    // only waits.
    let pid = unsafe { clone3(&args, live, plan) };
    if pid < 0 {
        return Err(i32::try_from(-pid).unwrap_or(libc::EINVAL));
    }
    plan.exchange.until_memory_is_left();
    Ok(())
}

/// Makes a process that calls `work` on the stack of `args`; its pid, or an error number below 0. By hand, because a function
/// that makes the call would return twice, to a stack that is another one the second time; and libc offers `clone` alone.
///
/// # Safety
/// What `args` points to is as `clone3` wants it; the stack and the plan outlive the process's use of this memory.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &libc::clone_args, work: extern "C" fn(*const Plan) -> !, plan: *const Plan) -> i64 {
    let pid: i64;
    // SAFETY: as the caller promises. The new process has zero in rax and an aligned stack, and `work` does not return.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, rdx",
            "call r8",
            "ud2",
            "2:",
            in("rdx") plan,
            in("r8") work,
            inlateout("rax") libc::SYS_clone3 => pid,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<libc::clone_args>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    pid
}

/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: &libc::clone_args, work: extern "C" fn(*const Plan) -> !, plan: *const Plan) -> i64 {
    let pid: i64;
    // SAFETY: as above, with zero in x0.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x2",
            "blr x3",
            "brk 1",
            "2:",
            in("x2") plan,
            in("x3") work,
            inlateout("x0") std::ptr::from_ref(args) as i64 => pid,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3,
        );
    }
    pid
}

/// The first process.
extern "C" fn live(plan: *const Plan) -> ! {
    // SAFETY: it is the plan that `make` passes, which outlives this process's use of this memory.
    child::run(unsafe { &*plan })
}

/// Memory for the stack of a process, with nothing below it.
struct Stack {
    base: *mut c_void,
    n_bytes: usize,
}

impl Stack {
    const GUARD_BYTES: usize = 64 << 10;

    fn new(n_bytes: usize) -> std::io::Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: new memory, of which all but the lower end is made accessible.
        unsafe {
            let guard =
                libc::mmap(std::ptr::null_mut(), Stack::GUARD_BYTES + n_bytes, libc::PROT_NONE, flags, -1, 0);
            if guard == libc::MAP_FAILED {
                return Err(std::io::Error::last_os_error());
            }
            let stack = Stack { base: guard.byte_add(Stack::GUARD_BYTES), n_bytes };
            match libc::mprotect(stack.base, n_bytes, libc::PROT_READ | libc::PROT_WRITE) {
                0 => Ok(stack),
                _ => Err(std::io::Error::last_os_error()),
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: it is ours with what is below it, and no process lives on it any more.
        unsafe {
            libc::munmap(self.base.byte_sub(Stack::GUARD_BYTES), Stack::GUARD_BYTES + self.n_bytes);
        }
    }
}
