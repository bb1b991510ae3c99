//! The signals that say stop. Who listened once goes on to: from then on they end nothing by themselves.

use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::engine::cancel::Cancel;

/// Exit codes of a verb that a signal stopped, as shells give them.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// The signals that say stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on. Must be called on a runtime.
    ///
    /// # Errors
    /// When there can be no handlers: a signal then ends the process at once; helpers and commands die with it.
    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The exit code for the next one that comes.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}

/// Does `work`, which may block this thread; a signal turns on the switch that it is given. Gives also the exit code of the
/// signal that came.
pub(super) fn listening<T>(runtime: &Runtime, work: impl FnOnce(&Cancel) -> T) -> (T, Option<u8>) {
    let cancel = Cancel::new();
    let signals = {
        let _on = runtime.enter();
        Signals::new()
    };
    let Ok(mut signals) = signals else { return (work(&cancel), None) };
    let (working, mut ended) = tokio::sync::oneshot::channel::<()>();
    let switch = cancel.clone();
    let listener = runtime.spawn(async move {
        let mut code = None;
        loop {
            tokio::select! {
                _ = &mut ended => return code,
                it = signals.next() => code = Some(it),
            }
            switch.cancel();
        }
    });
    let done = work(&cancel);
    drop(working);
    (done, runtime.block_on(listener).unwrap_or(None))
}
