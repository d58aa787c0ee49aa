//! Deadlines and retries of calls.

use std::{fmt, time::Duration};

use aws_sdk_dynamodb::error::SdkError;
use tokio::time::{Instant, sleep, timeout_at};

/// The time for one call with all its retries. Below the timeout of API Gateway, with room for a
/// model's reply.
const DEADLINE: Duration = Duration::from_secs(8);

/// The time for one attempt: many times what DynamoDB needs, and short enough to retry a call that
/// hangs.
const ATTEMPT: Duration = Duration::from_secs(3);

/// The least time that must be left for another attempt.
const LEAST: Duration = Duration::from_millis(500);

/// The longest first pause, and the longest of all. Each pause is up to twice as long as the one
/// before. Its length is random, so that conflicting callers do not meet again.
const FIRST_PAUSE: Duration = Duration::from_millis(8);
const LAST_PAUSE: Duration = Duration::from_millis(400);

/// The time left for a call, or for a sequence of calls.
pub(crate) struct RetryPolicy {
    until: Instant,
    pause: Duration,
}

/// An attempt was not answered in time.
#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DynamoDB did not answer")
    }
}

impl std::error::Error for Late {}

impl RetryPolicy {
    pub(crate) fn new() -> Self {
        Self { until: Instant::now() + DEADLINE, pause: FIRST_PAUSE }
    }

    /// Makes one attempt. An attempt that timed out may have been carried out.
    pub(crate) async fn attempt<T, E, R>(
        &self,
        call: impl Future<Output = Result<T, SdkError<E, R>>>,
    ) -> Result<T, SdkError<E, R>> {
        let until = self.until.min(Instant::now() + ATTEMPT);
        timeout_at(until, call).await.unwrap_or_else(|_| Err(SdkError::timeout_error(Late)))
    }

    /// Waits before the next attempt. Returns `false` if there is no time for one.
    pub(crate) async fn wait(&mut self) -> bool {
        let pause = self.pause.mul_f64(jitter());
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        if Instant::now() + pause + LEAST > self.until {
            return false;
        }
        sleep(pause).await;
        true
    }
}

/// A random number from 0 to 1. Only the time of the next attempt depends on it.
fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_end_with_the_deadline() {
        let begun = Instant::now();
        let mut retry = RetryPolicy::new();
        let mut attempts = 1;
        while retry.wait().await {
            attempts += 1;
        }
        let elapsed = begun.elapsed();
        assert!(elapsed <= DEADLINE.checked_sub(LEAST).unwrap(), "{elapsed:?}");
        assert!(elapsed >= DEADLINE.checked_sub(LEAST + LAST_PAUSE).unwrap(), "{elapsed:?}");
        assert!((20..500).contains(&attempts), "{attempts} attempts");
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_call_is_retried_until_the_deadline() {
        let begun = Instant::now();
        let mut retry = RetryPolicy::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let hung: Result<(), SdkError<std::io::Error, ()>> = retry.attempt(std::future::pending()).await;
            assert!(matches!(hung, Err(SdkError::TimeoutError(_))), "{hung:?}");
            if !retry.wait().await {
                break;
            }
        }
        assert_eq!(attempts, 3);
        assert!(begun.elapsed() <= DEADLINE, "{:?}", begun.elapsed());
    }
}
