//! Retries with backoff, within a time budget.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

use crate::Error;

/// The longest wait before the second attempt. It doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait before any attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long a call is retried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    pub(crate) budget: Duration,
}

impl RetryPolicy {
    /// Repeats a call until it succeeds, fails with an error that is not retryable, or the budget is used up.
    ///
    /// The call must be idempotent: after a broken connection the server may have processed it.
    pub(crate) async fn call<T, F: Future<Output = Result<T, Error>>>(
        self,
        what: impl Display,
        is_retryable: impl Fn(&Error) -> bool,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.budget;
        let mut attempts = 0;
        loop {
            let error = match call().await {
                Err(error) if is_retryable(&error) => error,
                result => return result,
            };
            let wait = pause(attempts, error.retry_after());
            if Instant::now() + wait > deadline {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, "{what} failed and will be retried");
            sleep(wait).await;
            attempts += 1;
        }
    }
}

/// The wait after `failed` attempts: exponential backoff with full jitter, so that workers that
/// failed together do not return together. The wait that the server asks for (`at_least`) is added.
pub(crate) fn pause(failed: u32, at_least: Option<Duration>) -> Duration {
    let most = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failed)).min(LONGEST_WAIT);
    // Without randomness the wait is the longest one.
    let jitter = getrandom::u32().map_or(1.0, |bits| f64::from(bits) / f64::from(u32::MAX));
    most.mul_f64(jitter) + at_least.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn failure(status: u16, retry_after: Option<u64>) -> Error {
        Error::Api {
            status,
            code: "code".into(),
            message: "message".into(),
            request_id: None,
            retry_after: retry_after.map(Duration::from_secs),
            fields: Vec::new(),
        }
    }

    /// The result of a call whose attempts end with `outcome`, and the number of attempts.
    async fn tried(budget: u64, outcome: impl Fn(u32) -> Result<(), Error>) -> (Result<(), Error>, u32) {
        let tries = Cell::new(0);
        let retry = RetryPolicy { budget: Duration::from_secs(budget) };
        let call = async || {
            tries.set(tries.get() + 1);
            outcome(tries.get())
        };
        (retry.call("a call", Error::is_transient, call).await, tries.get())
    }

    #[tokio::test(start_paused = true)]
    async fn retryable_error_is_retried() {
        let (result, tries) = tried(30, |nth| if nth < 4 { Err(failure(503, None)) } else { Ok(()) }).await;
        assert!(result.is_ok());
        assert_eq!(tries, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn other_error_is_not_retried() {
        let (result, tries) = tried(30, |_| Err(failure(409, None))).await;
        assert_eq!((result.unwrap_err().status(), tries), (Some(409), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn budget_bounds_the_retries() {
        let started = Instant::now();
        let (result, tries) = tried(30, |_| Err(failure(503, None))).await;
        assert_eq!(result.unwrap_err().status(), Some(503));
        assert!(started.elapsed() <= Duration::from_secs(30) && tries > 3, "{:?} {tries}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_respected_within_the_budget() {
        let started = Instant::now();
        let (_, tries) = tried(30, |nth| if nth < 2 { Err(failure(429, Some(7))) } else { Ok(()) }).await;
        assert!(started.elapsed() >= Duration::from_secs(7));
        assert_eq!(tries, 2);
        let (result, tries) = tried(5, |_| Err(failure(429, Some(7)))).await;
        assert_eq!((result.unwrap_err().status(), tries), (Some(429), 1));
    }

    #[test]
    fn waits_have_a_limit() {
        assert!(pause(0, None) <= FIRST_WAIT);
        assert!((0..64).all(|tries| pause(tries, None) <= LONGEST_WAIT));
    }
}
