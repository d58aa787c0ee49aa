//! Limits the calls to a provider at the same time and per minute.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until, timeout_at},
};

use super::Limits;
use crate::chat::ChatError;

/// The part of a minute's calls that may be sent at once.
const BURST: Duration = Duration::from_secs(5);

/// The limits of a provider. Waits are bounded by each caller's deadline.
pub(super) struct Limiter {
    permits: Semaphore,
    rate: Option<Rate>,
}

/// A token bucket, as the time at which it will be full again.
struct Rate {
    interval: Duration,
    full_at: Mutex<Option<Instant>>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        let rate = limits
            .per_minute
            .map(|calls| Rate { interval: Duration::from_mins(1) / calls.get(), full_at: Mutex::default() });
        let concurrency = limits.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Semaphore::new(concurrency), rate }
    }

    /// Waits for room. Fails at once if the rate leaves none before the deadline.
    pub(super) async fn enter(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, ChatError> {
        let Ok(Ok(permit)) = timeout_at(deadline, self.permits.acquire()).await else {
            return Err(ChatError::Busy { retry_after: None });
        };
        if let Some(rate) = &self.rate {
            sleep_until(rate.reserve(deadline)?).await;
        }
        Ok(permit)
    }
}

impl Rate {
    /// Takes a token and returns the time from which it may be used. Takes none if that is after the
    /// deadline.
    fn reserve(&self, deadline: Instant) -> Result<Instant, ChatError> {
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = full_at.map_or(now, |full| full.max(now));
        // A bucket that refills in BURST, with at least one token.
        let slack = BURST.saturating_sub(self.interval);
        let start = full.checked_sub(slack).map_or(now, |start| start.max(now));
        if start > deadline {
            return Err(ChatError::Busy { retry_after: Some(start - now) });
        }
        *full_at = Some(full + self.interval);
        Ok(start)
    }
}
