//! Request counts, in memory, because one process owns the file.

use std::collections::HashMap;

use jiff::Timestamp;
use onerun_auth::RateLimit;

/// The most windows that are counted at once.
const MAX_WINDOWS: usize = 100_000;

/// The number of requests in each window.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    counts: HashMap<Window, u64>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Window {
    bucket: String,
    seconds: u32,
    start: i64,
}

impl Rates {
    /// Counts a request in the current window. Returns the count, including this request.
    pub(crate) fn count(&mut self, bucket: &str, limit: RateLimit, now: Timestamp) -> u64 {
        let window =
            Window { bucket: bucket.to_owned(), seconds: limit.window_seconds(), start: limit.window(now) };
        if self.counts.len() >= MAX_WINDOWS && !self.counts.contains_key(&window) {
            self.make_room(now);
        }
        let count = self.counts.entry(window).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Removes ended windows, and if too many are left, those with the fewest requests. So the
    /// caller with the most requests gains nothing by filling the memory with other windows.
    fn make_room(&mut self, now: Timestamp) {
        self.counts.retain(|window, _| window.start + i64::from(window.seconds) > now.as_second());
        let mut fewest = 1;
        while self.counts.len() > MAX_WINDOWS / 2 {
            self.counts.retain(|_, count| *count > fewest);
            fewest *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> RateLimit {
        RateLimit::new(10, 60).unwrap()
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn past_windows_are_dropped_before_there_are_too_many() {
        let mut rates = Rates::default();
        for number in 0..MAX_WINDOWS {
            rates.count(&number.to_string(), limit(), time(0));
        }
        assert_eq!(rates.count("0", limit(), time(59)), 2);
        assert_eq!(rates.counts.len(), MAX_WINDOWS);
        rates.count("new", limit(), time(60));
        assert_eq!(rates.counts.len(), 1);
    }

    #[test]
    fn busiest_bucket_is_not_forgotten_for_others() {
        let mut rates = Rates::default();
        for _ in 0..7 {
            rates.count("often", limit(), time(0));
        }
        for number in 0..3 * MAX_WINDOWS {
            rates.count(&number.to_string(), limit(), time(0));
            assert!(rates.counts.len() <= MAX_WINDOWS);
        }
        assert_eq!(rates.count("often", limit(), time(0)), 8);
    }
}
