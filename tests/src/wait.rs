//! Waiting for something to come true.

use std::{
    future::Future,
    panic::Location,
    time::{Duration, Instant},
};

/// The default deadline of a wait. It is long, because the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The shortest pause between two attempts.
const PAUSE: Duration = Duration::from_millis(25);

/// The longest pause. Attempts of a long wait would take time from the work that is waited for.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// Polls `attempt` until it returns `Ok`, for at most a minute. The `Err` describes the missing
/// condition; the last one is in the panic.
#[track_caller]
pub fn eventually<T, F, Fut>(what: &str, attempt: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    eventually_within(DEADLINE, what, attempt)
}

/// [`eventually`] with another deadline.
#[track_caller]
pub fn eventually_within<T, F, Fut>(limit: Duration, what: &str, mut attempt: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    // Taken here, because inside the future the caller is the runtime.
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        let deadline = start + limit;
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(missing) => {
                    assert!(Instant::now() < deadline, "{caller}: no {what} within {limit:?}: {missing}");
                }
            }
            tokio::time::sleep((start.elapsed() / 20).clamp(PAUSE, LONG_PAUSE)).await;
        }
    }
}
