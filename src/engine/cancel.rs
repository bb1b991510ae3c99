//! A switch that tells everyone working on a build to stop, and one that tells them not to begin.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::base::Digest;

/// A switch that is turned on once and stays on; clones are the same switch.
///
/// A [`child`](Cancel::child) is on when its parent is, and can be turned on by itself: one failed step stops the
/// rest of its build without stopping its neighbours.
#[derive(Debug, Clone)]
pub struct Cancel {
    own: watch::Sender<bool>,
    /// Switches above this one, nearest first.
    above: Vec<watch::Sender<bool>>,
}

impl Cancel {
    /// A switch that is off.
    pub fn new() -> Cancel {
        Cancel { own: watch::Sender::new(false), above: Vec::new() }
    }

    /// A switch that follows this one.
    pub fn child(&self) -> Cancel {
        let above = std::iter::once(&self.own).chain(&self.above).cloned().collect();
        Cancel { own: watch::Sender::new(false), above }
    }

    /// Turns the switch on. Again is nothing.
    pub fn cancel(&self) {
        self.own.send_replace(true);
    }

    /// Whether it is on.
    pub fn is_cancelled(&self) -> bool {
        *self.own.borrow() || self.above.iter().any(|it| *it.borrow())
    }

    /// Returns when it is on; at once if it is. May be dropped and asked again.
    pub async fn cancelled(&self) {
        let mut waits: Vec<_> =
            std::iter::once(&self.own).chain(&self.above).map(watch::Sender::subscribe).collect();
        let waits = waits.iter_mut().map(|it| Box::pin(it.wait_for(|on| *on)));
        // The senders live as long as `self`: no wait ends because of a closed channel.
        let _ = futures_util::future::select_all(waits).await;
    }
}

impl Default for Cancel {
    fn default() -> Cancel {
        Cancel::new()
    }
}

/// A switch that lets a build begin nothing more while what runs goes on; clones are the same switch.
///
/// An op turns it on that has failed and does not end yet, because somebody looks at what it left.
#[derive(Debug, Clone, Default)]
pub struct Hold {
    switch: Cancel,
    by: Arc<OnceLock<Digest>>,
}

impl Hold {
    /// Turns it on for the vertex `by`. Whoever was first counts.
    pub fn hold(&self, by: Digest) {
        self.by.get_or_init(|| by);
        self.switch.cancel();
    }

    /// The vertex that turned it on.
    pub fn by(&self) -> Option<&Digest> {
        self.by.get()
    }

    /// Returns when it is on; at once if it is.
    pub async fn held(&self) {
        self.switch.cancelled().await;
    }
}

#[cfg(test)]
mod tests;
