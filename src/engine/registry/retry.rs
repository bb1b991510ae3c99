//! Trying again: how often, how long in between (reliability.md A2.3, rule 7).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use super::error::RegistryError;

/// How stubbornly fetches are tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries of one fetch in all, the first included.
    pub max_attempts: u32,
    /// Wait before the second try; doubles each time.
    pub first_delay: Duration,
    /// No wait is longer than this, unless the registry asks for it.
    pub max_delay: Duration,
    /// What a registry may ask for with `Retry-After`; more than this is cut to it.
    pub max_retry_after: Duration,
    /// No try starts after this much time without a byte gained.
    pub budget: Duration,
}

impl RetryPolicy {
    /// What builds use: six tries, about fifteen seconds of waiting.
    pub const STANDARD: RetryPolicy = RetryPolicy {
        max_attempts: 6,
        first_delay: Duration::from_millis(500),
        max_delay: Duration::from_secs(15),
        max_retry_after: Duration::from_secs(60),
        budget: Duration::from_secs(300),
    };
}

/// An error after which another try may go better.
pub(in crate::engine) trait Transient {
    /// Whether asking again may help.
    fn is_transient(&self) -> bool;
    /// How long the other side asked us to wait.
    fn retry_after(&self) -> Option<Duration>;
}

impl Transient for RegistryError {
    fn is_transient(&self) -> bool {
        RegistryError::is_transient(self)
    }

    fn retry_after(&self) -> Option<Duration> {
        RegistryError::retry_after(self)
    }
}

/// The tries of one fetch.
pub(in crate::engine) struct Backoff<'a> {
    policy: &'a RetryPolicy,
    n_failed: u32,
    started: Instant,
}

impl<'a> Backoff<'a> {
    /// Before the first try.
    pub(in crate::engine) fn new(policy: &'a RetryPolicy) -> Backoff<'a> {
        Backoff { policy, n_failed: 0, started: Instant::now() }
    }

    /// Something was gained since the last failure: counts start over, as a slow line may break often in one layer.
    pub(in crate::engine) fn progressed(&mut self) {
        self.n_failed = 0;
        self.started = Instant::now();
    }

    /// Waits before the next try; gives `error` back when there is to be none.
    pub(in crate::engine) async fn wait<E: Transient>(&mut self, error: E) -> Result<(), E> {
        self.n_failed += 1;
        let delay = self.delay(&error);
        let over = self.policy.max_attempts <= self.n_failed
            || self.policy.budget < self.started.elapsed() + delay
            || !error.is_transient();
        if over {
            return Err(error);
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }

    fn delay(&self, error: &impl Transient) -> Duration {
        if let Some(asked) = error.retry_after() {
            return asked.min(self.policy.max_retry_after);
        }
        let doubled = self.policy.first_delay.saturating_mul(1 << (self.n_failed - 1).min(16));
        let full = doubled.min(self.policy.max_delay);
        // Half of it is left to chance, so that many clients do not come back at once.
        let random = RandomState::new().build_hasher().finish();
        full.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
    }
}
