//! A stack that the deepest allowed program fits in.

/// Bytes of the stack that programs are read, checked and evaluated on; the system gives only the pages that are used.
const STACK_SIZE: usize = 512 << 20;

/// Runs `work` on a deep stack and waits for it: parser, checker and evaluator recurse over expressions, which may nest
/// [`super::syntax::MAX_DEPTH`] levels.
pub fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("bkl-lang".to_owned()).stack_size(STACK_SIZE);
        let handle = thread.spawn_scoped(scope, work).expect("the system can start one thread");
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
