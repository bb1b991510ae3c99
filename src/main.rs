//! The program: arguments to a verb, a verb to an exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a helper must not have threads, nor read its arguments as a person's.
    if bkl::engine::exec::helper::is_requested() {
        bkl::engine::exec::helper::main();
    }
    if bkl::store::flusher::is_requested() {
        bkl::store::flusher::main();
    }
    if bkl::store::gc::collector::is_requested() {
        bkl::store::gc::collector::main();
    }
    share_memory();
    bkl::cli::main()
}

/// Has all threads take memory from one place. Else glibc gives each its own: what one thread frees is of no use to the
/// others, and a place that grows is grown by a system call per page.
#[cfg(target_env = "gnu")]
fn share_memory() {
    // SAFETY: it sets a number in the allocator; there are no other threads yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(not(target_env = "gnu"))]
fn share_memory() {}
