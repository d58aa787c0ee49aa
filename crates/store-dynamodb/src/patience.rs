//! How long a call is made again before it has failed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long one method may go on. Below what a gateway waits for an answer, with room for a model's reply.
const DEADLINE: Duration = Duration::from_secs(8);

/// The longest first pause, and the longest of all. Each is up to twice as long as the one before, and its length is
/// drawn by lot, so that those who stood in one another's way do not meet again.
const FIRST_PAUSE: Duration = Duration::from_millis(8);
const LAST_PAUSE: Duration = Duration::from_millis(400);

/// What is left of the time that one method has.
pub(crate) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    /// A method begins.
    pub(crate) fn new() -> Self {
        Self { until: Instant::now() + DEADLINE, pause: FIRST_PAUSE }
    }

    /// Waits before the next attempt; `false` if there is no time for one.
    pub(crate) async fn wait(&mut self) -> bool {
        let pause = self.pause.mul_f64(lot());
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        if Instant::now() + pause >= self.until {
            return false;
        }
        sleep(pause).await;
        true
    }
}

/// A number from 0 to 1. Nothing depends on it but when something is tried again.
fn lot() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_the_deadline() {
        let begun = Instant::now();
        let mut patience = Patience::new();
        let mut attempts = 1;
        while patience.wait().await {
            attempts += 1;
        }
        assert!(begun.elapsed() <= DEADLINE);
        assert!(begun.elapsed() >= DEADLINE.checked_sub(LAST_PAUSE).unwrap(), "{:?}", begun.elapsed());
        assert!((20..500).contains(&attempts), "{attempts} attempts");
    }
}
