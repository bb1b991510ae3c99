//! Room on the stack for walks over what others made: a tree may be as many directories deep as half of the longest path
//! has letters, and nobody's tree may end the process.

/// Bytes that one level of a walk may need, with all that it calls.
const LEVEL: usize = 256 << 10;
/// Bytes of each further piece of stack.
const PIECE: usize = 4 << 20;

/// Runs `work`, one level of a recursive walk, on a further piece of stack when little is left of this one.
pub fn deeper<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(LEVEL, PIECE, work)
}
