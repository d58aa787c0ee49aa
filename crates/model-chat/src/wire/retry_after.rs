//! When a provider wants to be asked again.

use std::time::Duration;

use http::HeaderMap;
use jiff::{Timestamp, fmt::rfc2822};

/// The longest wait that is taken from a header. Some providers name the next day.
const LONGEST: Duration = Duration::from_hours(24);

/// The headers with the time at which a limit is reset, each with the header of what remains of the limit.
const RESETS: [(&str, &str); 3] = [
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
];

/// Reads `retry-after-ms`, `Retry-After`, or the resets of rate limits, in this order.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let milliseconds = text("retry-after-ms").and_then(|text| seconds(text, 0.001));
    milliseconds
        .or_else(|| text("retry-after").and_then(|text| seconds(text, 1.0).or_else(|| until_date(text, now))))
        .or_else(|| {
            RESETS
                .iter()
                .filter(|(_, remaining)| text(remaining).is_none_or(|left| left == "0"))
                .filter_map(|(reset, _)| reset_after(text(reset)?, now))
                .max()
        })
        .map(|wait| wait.min(LONGEST))
}

/// A number of some unit.
fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

/// The time until an HTTP date; zero if it has passed.
fn until_date(text: &str, now: Timestamp) -> Option<Duration> {
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(until(date, now))
}

fn until(date: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(date.duration_since(now)).unwrap_or_default()
}

/// A reset: a duration such as `6m0s`, a number of seconds, or a time since 1970 in seconds or milliseconds.
fn reset_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(number) = text.parse::<i64>() {
        let date = match number {
            1_000_000_000_000.. => Timestamp::from_millisecond(number),
            1_000_000_000.. => Timestamp::from_second(number),
            _ => return seconds(text, 1.0),
        };
        return Some(until(date.ok()?, now));
    }
    seconds(text, 1.0).or_else(|| duration(text))
}

/// A duration such as `1h2m3.5s` or `120ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (digits, tail) = rest.split_at(number);
        let unit = tail.find(|character: char| character.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        sum = sum.checked_add(seconds(digits, factor)?)?;
        rest = tail;
    }
    (sum > Duration::ZERO).then_some(sum)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let map = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        retry_after(&map, now)
    }

    #[test]
    fn wait_is_read_in_all_documented_forms() {
        for (name, value, expected) in [
            ("retry-after", "3", 3000),
            ("retry-after", "0", 0),
            ("retry-after", "1.5", 1500),
            ("retry-after-ms", "250", 250),
            ("retry-after", "Mon, 30 Nov 2026 12:00:20 GMT", 20_000),
            ("retry-after", "Mon, 30 Nov 2026 11:00:00 GMT", 0),
            ("retry-after", "999999999999", 86_400_000),
            ("x-ratelimit-reset-tokens", "6m0s", 360_000),
            ("x-ratelimit-reset-requests", "120ms", 120),
            ("x-ratelimit-reset-requests", "1h2m3.5s", 3_723_500),
            ("x-ratelimit-reset", "1796040010", 10_000),
            ("x-ratelimit-reset", "1796040010000", 10_000),
            ("x-ratelimit-reset", "7", 7000),
        ] {
            assert_eq!(read(&[(name, value)]), Some(Duration::from_millis(expected)), "{name}: {value}");
        }
    }

    #[test]
    fn malformed_wait_is_ignored() {
        for value in ["", "soon", "-1", "NaN", "inf", "1e999"] {
            assert_eq!(read(&[("retry-after", value)]), None, "{value}");
        }
        for value in ["", "m", "5", "5x", "5m.", "1.2.3s", "0s"] {
            let expected = (value == "5").then_some(Duration::from_secs(5));
            assert_eq!(read(&[("x-ratelimit-reset-tokens", value)]), expected, "{value}");
        }
    }

    #[test]
    fn only_the_exhausted_limit_counts() {
        let wait = read(&[
            ("x-ratelimit-reset-requests", "90s"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-tokens", "2s"),
            ("x-ratelimit-remaining-tokens", "0"),
        ]);
        assert_eq!(wait, Some(Duration::from_secs(2)));
    }
}
