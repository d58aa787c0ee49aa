//! Rate limits: a number of requests in each window of time.
//!
//! The store counts, because requests reach many processes. Windows are adjacent and start at
//! multiples of their length, so all processes agree on them without coordination.

use http::HeaderValue;
use jiff::Timestamp;

/// A limit on the requests in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    requests: u32,
    window_seconds: u32,
}

impl RateLimit {
    /// The maximum number of requests per window.
    pub const MAX_REQUESTS: u32 = 1_000_000;

    /// The maximum length of a window, in seconds: a day.
    pub const MAX_WINDOW_SECONDS: u32 = 86_400;

    /// Creates a limit; `None` if a number is 0 or too large.
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

    /// The number of requests per window.
    pub const fn requests(self) -> u32 {
        self.requests
    }

    /// The length of a window, in seconds.
    pub const fn window_seconds(self) -> u32 {
        self.window_seconds
    }

    /// Whether this allows at most as much as `other`, both in bursts and in the long run.
    pub fn is_within(self, other: RateLimit) -> bool {
        let (own, others) = (u64::from(self.requests), u64::from(other.requests));
        own <= others && own * u64::from(other.window_seconds) <= others * u64::from(self.window_seconds)
    }

    /// The window of `now`, identified by its start in seconds since 1970.
    pub fn window(self, now: Timestamp) -> i64 {
        let length = i64::from(self.window_seconds);
        now.as_second().div_euclid(length) * length
    }

    /// The state of the limit after `count` requests in the current window, including the present
    /// one.
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

/// The state of a key's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    /// The limit.
    pub limit: RateLimit,
    /// The requests left in this window.
    pub remaining: u32,
    /// The time until the next window, rounded up.
    pub resets_in_seconds: u32,
    /// Whether the present request exceeds the limit.
    pub is_exceeded: bool,
}

impl RateStatus {
    /// The values of `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
    pub fn fields(&self) -> [(&'static str, HeaderValue); 2] {
        // Digits and a fixed name are always valid in a header.
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
    fn limit_must_be_within_its_bounds() {
        for (requests, seconds) in [(0, 60), (60, 0), (1_000_001, 60), (60, 86_401)] {
            assert_eq!(RateLimit::new(requests, seconds), None);
        }
        assert!(RateLimit::new(1_000_000, 86_400).is_some());
    }

    #[test]
    fn request_after_the_last_of_a_window_is_exceeded() {
        let now = time("2026-01-01T00:00:10.5Z");
        let status = limit(3, 60).status(3, now);
        assert_eq!((status.remaining, status.resets_in_seconds, status.is_exceeded), (0, 50, false));
        assert!(limit(3, 60).status(4, now).is_exceeded);
        assert_eq!(limit(3, 60).status(1, now).remaining, 2);
    }

    #[test]
    fn window_ends_where_the_next_begins() {
        let limit = limit(3, 60);
        let (last, next) = (time("2026-01-01T00:00:59.999999Z"), time("2026-01-01T00:01:00Z"));
        assert_eq!(limit.window(next) - limit.window(last), 60);
        assert_eq!(limit.status(1, last).resets_in_seconds, 1);
        assert_eq!(limit.status(1, next).resets_in_seconds, 60);
    }

    #[test]
    fn header_fields_match_the_ietf_draft() {
        let fields = limit(100, 60).status(50, time("2026-01-01T00:00:30Z")).fields();
        let fields = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(
            fields,
            [r#"ratelimit-policy: "default";q=100;w=60"#, r#"ratelimit: "default";r=50;t=30"#]
        );
    }

    #[test]
    fn narrower_limit_has_no_larger_burst_or_average_rate() {
        assert!(limit(10, 60).is_within(limit(10, 60)));
        assert!(limit(10, 3_600).is_within(limit(10, 60)));
        assert!(limit(5, 30).is_within(limit(10, 60)));
        assert!(!limit(11, 6_000).is_within(limit(10, 60)), "larger bursts");
        assert!(!limit(10, 59).is_within(limit(10, 60)), "higher average rate");
        assert!(!limit(1, 1).is_within(limit(10, 60)));
    }
}
