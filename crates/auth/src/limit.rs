//! How often a key may be used: so many requests in a window of time.
//!
//! Counting is the store's, because requests come to many processes. The windows lie one behind the other, each beginning
//! at a multiple of its length, so that all processes agree on them without asking.

use http::HeaderValue;
use jiff::Timestamp;

/// So many requests in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    requests: u32,
    window_seconds: u32,
}

impl RateLimit {
    /// The most requests a window may have.
    pub const MAX_REQUESTS: u32 = 1_000_000;

    /// The longest window: a day.
    pub const MAX_WINDOW_SECONDS: u32 = 86_400;

    /// A limit; `None` if a number is 0 or too large.
    pub const fn new(requests: u32, window_seconds: u32) -> Option<RateLimit> {
        if requests == 0
            || requests > RateLimit::MAX_REQUESTS
            || window_seconds == 0
            || window_seconds > RateLimit::MAX_WINDOW_SECONDS
        {
            return None;
        }
        Some(RateLimit { requests, window_seconds })
    }

    /// How many requests a window has.
    pub const fn requests(self) -> u32 {
        self.requests
    }

    /// How long a window is.
    pub const fn window_seconds(self) -> u32 {
        self.window_seconds
    }

    /// Whether this allows no more than `other`, neither at once nor in the long run.
    pub fn is_within(self, other: RateLimit) -> bool {
        let (own, others) = (u64::from(self.requests), u64::from(other.requests));
        own <= others && own * u64::from(other.window_seconds) <= others * u64::from(self.window_seconds)
    }

    /// The window that a time lies in: when it began, in seconds since 1970, by which counts are told apart.
    pub fn window(self, now: Timestamp) -> i64 {
        let length = i64::from(self.window_seconds);
        now.as_second().div_euclid(length) * length
    }

    /// What a count of requests in the present window comes to, the one that asks included.
    pub fn status(self, count: u64, now: Timestamp) -> RateStatus {
        let resets_at = self.window(now) + i64::from(self.window_seconds);
        let left = u32::try_from(resets_at - now.as_second()).unwrap_or(self.window_seconds);
        let remaining = u64::from(self.requests).saturating_sub(count);
        RateStatus {
            limit: self,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            resets_in_seconds: left.clamp(1, self.window_seconds),
            is_exceeded: count > u64::from(self.requests),
        }
    }
}

/// How a key stands with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    /// The limit.
    pub limit: RateLimit,
    /// How many more requests the window has.
    pub remaining: u32,
    /// When the next window begins, rounded up.
    pub resets_in_seconds: u32,
    /// Whether the request that asks was one too many.
    pub is_exceeded: bool,
}

impl RateStatus {
    /// The values of `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    pub fn fields(&self) -> [(&'static str, HeaderValue); 2] {
        // Digits and a fixed name: these are always values of headers.
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        let RateLimit { requests, window_seconds } = self.limit;
        [
            ("ratelimit-policy", value(format!(r#""default";q={requests};w={window_seconds}"#))),
            ("ratelimit", value(format!(r#""default";r={};t={}"#, self.remaining, self.resets_in_seconds))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, window_seconds: u32) -> RateLimit {
        RateLimit::new(requests, window_seconds).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_limit_is_neither_nothing_nor_without_end() {
        for (requests, seconds) in [(0, 60), (60, 0), (1_000_001, 60), (60, 86_401)] {
            assert_eq!(RateLimit::new(requests, seconds), None);
        }
        assert!(RateLimit::new(1_000_000, 86_400).is_some());
    }

    #[test]
    fn the_last_request_of_a_window_is_allowed_and_the_next_is_not() {
        let now = time("2026-01-01T00:00:10.5Z");
        let status = limit(3, 60).status(3, now);
        assert_eq!((status.remaining, status.resets_in_seconds, status.is_exceeded), (0, 50, false));
        assert!(limit(3, 60).status(4, now).is_exceeded);
        assert_eq!(limit(3, 60).status(1, now).remaining, 2);
    }

    #[test]
    fn a_window_ends_where_the_next_begins() {
        let limit = limit(3, 60);
        let (last, next) = (time("2026-01-01T00:00:59.999999Z"), time("2026-01-01T00:01:00Z"));
        assert_eq!(limit.window(next) - limit.window(last), 60);
        assert_eq!(limit.status(1, last).resets_in_seconds, 1);
        assert_eq!(limit.status(1, next).resets_in_seconds, 60);
    }

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let fields = limit(100, 60).status(50, time("2026-01-01T00:00:30Z")).fields();
        let fields = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(
            fields,
            [r#"ratelimit-policy: "default";q=100;w=60"#, r#"ratelimit: "default";r=50;t=30"#]
        );
    }

    #[test]
    fn a_narrower_limit_allows_no_more_at_once_and_no_more_in_the_long_run() {
        assert!(limit(10, 60).is_within(limit(10, 60)));
        assert!(limit(10, 3_600).is_within(limit(10, 60)));
        assert!(limit(5, 30).is_within(limit(10, 60)));
        assert!(!limit(11, 6_000).is_within(limit(10, 60)), "more at once");
        assert!(!limit(10, 59).is_within(limit(10, 60)), "more in the long run");
        assert!(!limit(1, 1).is_within(limit(10, 60)));
    }
}
