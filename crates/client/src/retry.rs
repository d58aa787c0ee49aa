//! Trying again, for a while.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

use crate::Error;

/// The longest wait before the second try; it doubles from there.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait before any try.
const LONGEST: Duration = Duration::from_secs(10);

/// How long a call is tried again before it has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) budget: Duration,
}

impl Retry {
    /// Makes a call until it succeeds, fails for good as `may_pass` tells, or there is no time for another try.
    ///
    /// The call must be safe to repeat: after a broken connection nobody knows whether it was carried out.
    pub(crate) async fn call<T, F: Future<Output = Result<T, Error>>>(
        self,
        what: impl Display,
        may_pass: impl Fn(&Error) -> bool,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.budget;
        let mut tries = 0;
        loop {
            let error = match call().await {
                Err(error) if may_pass(&error) => error,
                done => return done,
            };
            let wait = pause(tries, error.retry_after());
            if Instant::now() + wait > deadline {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, "{what} did not succeed and will be tried again");
            sleep(wait).await;
            tries += 1;
        }
    }
}

/// How long to wait after so many failed tries: up to twice as long each time, and never less than the server asks
/// for. All of it is by chance, so that workers that failed together do not come back together.
pub(crate) fn pause(failed: u32, at_least: Option<Duration>) -> Duration {
    let most = FIRST.saturating_mul(2_u32.saturating_pow(failed)).min(LONGEST);
    // A generator that fails costs the spread, not the call.
    let chance = getrandom::u32().map_or(1.0, |bits| f64::from(bits) / f64::from(u32::MAX));
    most.mul_f64(chance) + at_least.unwrap_or_default()
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
        }
    }

    /// How the call ends and how often it was made, if the tries end like this.
    async fn tried(budget: u64, outcome: impl Fn(u32) -> Result<(), Error>) -> (Result<(), Error>, u32) {
        let tries = Cell::new(0);
        let retry = Retry { budget: Duration::from_secs(budget) };
        let call = async || {
            tries.set(tries.get() + 1);
            outcome(tries.get())
        };
        (retry.call("a call", Error::is_transient, call).await, tries.get())
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again() {
        let (result, tries) = tried(30, |nth| if nth < 4 { Err(failure(503, None)) } else { Ok(()) }).await;
        assert!(result.is_ok());
        assert_eq!(tries, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_is_not() {
        let (result, tries) = tried(30, |_| Err(failure(409, None))).await;
        assert_eq!((result.unwrap_err().status(), tries), (Some(409), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_ends_it() {
        let started = Instant::now();
        let (result, tries) = tried(30, |_| Err(failure(503, None))).await;
        assert_eq!(result.unwrap_err().status(), Some(503));
        assert!(started.elapsed() <= Duration::from_secs(30) && tries > 3, "{:?} {tries}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_says_how_long_to_wait_and_the_budget_still_holds() {
        let started = Instant::now();
        let (_, tries) = tried(30, |nth| if nth < 2 { Err(failure(429, Some(7))) } else { Ok(()) }).await;
        assert!(started.elapsed() >= Duration::from_secs(7));
        assert_eq!(tries, 2);
        let (result, tries) = tried(5, |_| Err(failure(429, Some(7)))).await;
        assert_eq!((result.unwrap_err().status(), tries), (Some(429), 1));
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        assert!(pause(0, None) <= FIRST);
        assert!((0..64).all(|tries| pause(tries, None) <= LONGEST));
    }
}
