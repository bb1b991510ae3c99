//! A switch that tells everyone working on a build to stop.

use tokio::sync::watch;

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

#[cfg(test)]
mod tests;
