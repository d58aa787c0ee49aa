//! Sources of time and randomness. Hosts implement these traits; all other code receives them as
//! arguments.

use jiff::{SignedDuration, Timestamp, fmt::temporal::DateTimePrinter};

/// The wall clock. Decisions about access, leases and expiry use it rather than a monotonic clock, because a
/// monotonic clock stands still while a serverless environment is frozen.
pub trait Clock: Send + Sync {
    /// The current time in whole microseconds. This is the resolution of the API and of every
    /// store, so a value is unchanged by storing it.
    fn now(&self) -> Timestamp;
}

/// A source of unpredictable bytes.
pub trait Random: Send + Sync {
    /// Fills `buffer`. If that fails, the implementation must not return: predictable ids and keys
    /// are worse than a crash.
    fn fill(&self, buffer: &mut [u8]);
}

/// `now + by`, saturating at [`Timestamp::MAX`].
pub fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The time in the format of the API and the audit trail: RFC 3339 in UTC, always with six digits
/// of a second, so that texts sort like times.
pub fn wire_time(time: Timestamp) -> String {
    DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&time)
}
