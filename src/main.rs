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
    bkl::cli::main()
}
