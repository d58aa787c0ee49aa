//! Where time and randomness come from: the hosts implement these, everything else takes them as arguments.

use jiff::{SignedDuration, Timestamp};

/// The wall clock. Decisions about access, leases and expiry use it rather than a monotonic clock, because a
/// monotonic clock stands still while a serverless environment is frozen.
pub trait Clock: Send + Sync {
    /// The time now, in whole microseconds: the resolution of the wire and of every store, so that a value
    /// compares equal to itself after it was stored.
    fn now(&self) -> Timestamp;
}

/// A source of unpredictable bytes.
pub trait Random: Send + Sync {
    /// Fills `buffer`. An implementation that cannot must not return: predictable ids and keys are worse than a
    /// stopped process.
    fn fill(&self, buffer: &mut [u8]);
}

/// `now` and a while; the end of time where there is no such time.
pub fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
