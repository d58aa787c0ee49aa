//! The machine's clock and random source.

use jiff::Timestamp;
use onerun_domain::{Clock, Random};

/// The machine's wall clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that all other code receives as an argument"
    )]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// The operating system's random generator.
pub struct OsRandom;

impl Random for OsRandom {
    #[expect(clippy::expect_used, reason = "predictable ids would be worse than a crash")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the system's random generator works");
    }
}
