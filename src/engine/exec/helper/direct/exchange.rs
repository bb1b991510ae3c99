//! What a container's first process and its helper tell each other until execve. They have one memory, so it lies there.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rustix::thread::Timespec;
use rustix::thread::futex::{self, Flags};

use crate::engine::exec::helper::init::Complaint;

/// The first process is at work, or nobody has made it yet.
const CREATING: u32 = 0;
/// All is there but the command and its tree: it waits.
const CREATED: u32 = 1;
/// It has an order.
const ORDERED: u32 = 2;
/// It is to end.
const DISMISSED: u32 = 3;
/// It has another memory, the command's, or none.
const LEFT: u32 = 4;

/// No descriptor.
const NONE: i32 = -1;

/// How often a first process that waits looks whether it still has a helper.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Shared by the helper, the thread that makes the first process, and that process, to which nothing here is a lock: it may be
/// killed anywhere.
pub(super) struct Exchange {
    /// One of the constants above; who waits for it to change waits on it.
    stage: AtomicU32,
    /// The first process, as the kernel gave it out.
    pidfd: AtomicI32,
    /// Its mount namespace.
    namespace: AtomicI32,
    /// [`Complaint::to_bits`], or 0.
    complaint: AtomicU64,
    /// Error number of the system call that should have made it, or 0.
    refusal: AtomicI32,
    /// Not 0 as long as the first process has this memory: the kernel clears it.
    has_memory: AtomicU32,
}

impl Exchange {
    pub(super) fn new() -> Exchange {
        Exchange {
            stage: AtomicU32::new(CREATING),
            pidfd: AtomicI32::new(NONE),
            namespace: AtomicI32::new(NONE),
            complaint: AtomicU64::new(0),
            refusal: AtomicI32::new(0),
            has_memory: AtomicU32::new(1),
        }
    }

    // For the first process.

    /// Tells that all is there, and waits; whether there is an order. Else it is not needed. `look` is called now and then.
    pub(super) fn offer<E>(&self, namespace: OwnedFd, look: impl Fn() -> Result<(), E>) -> Result<bool, E> {
        self.namespace.store(namespace.into_raw_fd(), Ordering::Release);
        if self.step(CREATING, CREATED) {
            while self.stage.load(Ordering::Acquire) == CREATED {
                if futex::wait(&self.stage, Flags::PRIVATE, CREATED, Some(&LOOK)).is_err() {
                    look()?;
                }
            }
        }
        Ok(self.stage.load(Ordering::Acquire) == ORDERED)
    }

    /// Says why there will be no execve.
    pub(super) fn complain(&self, complaint: Complaint) {
        self.complaint.store(complaint.to_bits(), Ordering::Release);
    }

    // For the thread that makes it.

    /// Where the kernel writes the descriptor of the first process, and what it clears.
    pub(super) fn for_kernel(&self) -> (*mut i32, *mut u32) {
        (self.pidfd.as_ptr(), self.has_memory.as_ptr())
    }

    /// Waits until the first process has another memory or none. Only system calls, and none by way of libc (rustix makes them
    /// itself): until then that process has the calling thread's thread-local variables, and errno is one.
    pub(super) fn until_memory_is_left(&self) {
        while self.has_memory.load(Ordering::Acquire) != 0 {
            // Not private: the kernel wakes as if it were shared.
            let _ = futex::wait(&self.has_memory, Flags::empty(), 1, None);
        }
    }

    /// There is no first process, or it has left.
    pub(super) fn close(&self, made: Result<(), i32>) {
        if let Err(errno) = made {
            // What the kernel wrote is nobody's.
            self.pidfd.store(NONE, Ordering::Release);
            self.refusal.store(errno, Ordering::Release);
        }
        self.stage.store(LEFT, Ordering::Release);
        self.wake();
    }

    // For the helper.

    /// Waits until all is there; the mount namespace, or `None` when there is no first process any more.
    pub(super) fn until_created(&self) -> Option<OwnedFd> {
        self.wait_while(CREATING);
        if self.stage.load(Ordering::Acquire) != CREATED {
            return None;
        }
        self.take(&self.namespace)
    }

    /// Says that there is an order; whether there was somebody to take it.
    pub(super) fn give_order(&self) -> bool {
        self.step(CREATED, ORDERED)
    }

    /// Has the first process end at the next place where it may; whether it does. Else it has an order, or is gone.
    pub(super) fn dismiss(&self) -> bool {
        self.step(CREATING, DISMISSED) || self.step(CREATED, DISMISSED)
    }

    /// Waits until the first process is the command, or ends.
    pub(super) fn until_left(&self) {
        for stage in [CREATING, CREATED, ORDERED, DISMISSED] {
            self.wait_while(stage);
        }
    }

    /// The first process, once it was made; also after its end.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.pidfd.load(Ordering::Acquire);
        // SAFETY: nobody closes it as long as this value lives.
        (fd != NONE).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// What it said, after it has ended.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        Complaint::from_bits(self.complaint.load(Ordering::Acquire))
    }

    /// Why it could not be made.
    pub(super) fn refusal(&self) -> Option<std::io::Error> {
        let errno = self.refusal.load(Ordering::Acquire);
        (errno != 0).then(|| std::io::Error::from_raw_os_error(errno))
    }

    fn step(&self, from: u32, to: u32) -> bool {
        let stepped = self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if stepped {
            self.wake();
        }
        stepped
    }

    fn wait_while(&self, stage: u32) {
        while self.stage.load(Ordering::Acquire) == stage {
            let _ = futex::wait(&self.stage, Flags::PRIVATE, stage, None);
        }
    }

    fn wake(&self) {
        let _ = futex::wake(&self.stage, Flags::PRIVATE, i32::MAX.cast_unsigned());
    }

    fn take(&self, fd: &AtomicI32) -> Option<OwnedFd> {
        let fd = fd.swap(NONE, Ordering::AcqRel);
        // SAFETY: it was stored by its only owner, and is taken once.
        (fd != NONE).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        drop((self.take(&self.namespace), self.take(&self.pidfd)));
    }
}
