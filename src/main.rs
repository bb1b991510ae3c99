//! bkl
fn main() {
    // First of all: a helper must not have threads, nor read its arguments as a person's.
    if bkl::engine::exec::helper::is_requested() {
        bkl::engine::exec::helper::main();
    }
}
