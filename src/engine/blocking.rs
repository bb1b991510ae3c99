//! Work that may block, off the threads that drive builds.

use std::cell::Cell;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

thread_local! {
    /// Whether this thread is there for one work only, which may block it.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` where it may block; `cancelled` is what is said when the runtime is being shut down. A panic goes on here.
pub(super) async fn blocking<T, E>(
    cancelled: E,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    if IS_OWN.get() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(cancelled),
    }
}

/// Drives `work` to its end on a thread of its own, with a runtime of its own: what it waits for wakes that thread and no
/// other, and its [`blocking`] parts are done in place. Handing a step of a millisecond from thread to thread for each of
/// its parts costs more than the parts. It is dropped when the runtime is being shut down; it must not panic.
///
/// Not for what uses connections: those belong to the runtime that they were made on.
pub(super) fn on_own_thread(work: impl Future<Output = ()> + Send + 'static) {
    let driven = move || {
        let _own = Own::enter();
        // By itself: what is taken in the head of a `match` is held to its end.
        let idle_one = idle().pop();
        match idle_one.map_or_else(|| Builder::new_current_thread().enable_all().build(), Ok) {
            Ok(runtime) => {
                runtime.block_on(work);
                idle().push(runtime);
            }
            // No descriptor is left for another one: the first runtime waits for this work, too.
            Err(_) => Handle::current().block_on(work),
        }
    };
    // Nobody waits for the thread: who waits for the work is told by it.
    drop(tokio::task::spawn_blocking(driven));
}

/// Runtimes without work. There are as many as works were driven at once.
fn idle() -> std::sync::MutexGuard<'static, Vec<Runtime>> {
    static IDLE: Mutex<Vec<Runtime>> = Mutex::new(Vec::new());
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives the thread is one's own.
struct Own;

impl Own {
    fn enter() -> Own {
        IS_OWN.set(true);
        Own
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        IS_OWN.set(false);
    }
}
