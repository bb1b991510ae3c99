//! What tests have on the heap: what large graphs take is a number of bytes per vertex, and tests hold us to it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, and a tally for each thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that the thread allocated less those that it freed, and the most that was since anybody looked.
    static TALLY: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // A thread that ends has no tally any more.
    let _ = TALLY.try_with(|tally| {
        let (live, most) = tally.get();
        tally.set((live + bytes, most.max(live + bytes)));
    });
}

// SAFETY: everything goes to the system's allocator as it comes; counting touches no heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Bytes on the heap that a piece of work on one thread took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heap {
    /// What is left of them, in its result and elsewhere.
    pub(crate) kept: usize,
    /// The most at one time.
    pub(crate) most: usize,
}

/// What `work` gives, and what it takes of the heap.
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> (T, Heap) {
    let (before, _) = TALLY.get();
    TALLY.set((before, before));
    let result = work();
    let (after, most) = TALLY.get();
    let bytes = |live: isize| usize::try_from(live - before).unwrap_or(0);
    (result, Heap { kept: bytes(after), most: bytes(most) })
}
