//! Schedules: when a monitor runs.
//!
//! An expression is a rate (`rate(5 minutes)`), a cron expression of AWS with six fields
//! (`cron(0 9 ? * MON-FRI *)`), or one of the usual five fields (`0 9 * * 1-5`). The times of cron expressions are
//! wall clock times of a zone, whose data is built in. When clocks are put forward, a fixed time that is skipped is the
//! first moment after the gap, and when they are put back, a fixed time counts once; `*` and `/` in minutes or hours
//! follow the real time.

mod cron;

use std::fmt;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use self::cron::CronLine;
use crate::later;

/// The most bytes of an expression or a name of a zone.
const MAX_BYTES: usize = 256;

/// The most days of a rate's interval.
const MAX_DAYS: i64 = 366;

/// Why an expression is no schedule. The message completes a sentence that starts with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It has none of the forms.
    #[error(
        "must be a rate such as `rate(1 hour)`, a cron expression of AWS with six fields such as `cron(0 9 ? * MON-FRI *)`, \
         or one with the usual five fields such as `0 9 * * 1-5`"
    )]
    Form,
    /// The interval is not allowed.
    #[error("must be `rate(N minutes)`, `rate(N hours)` or `rate(N days)`, from 1 minute to {MAX_DAYS} days")]
    Rate,
    /// It has another number of fields.
    #[error(
        "must have {expected} fields, and has {found}: {}",
        if *.expected == 6 { "minutes, hours, day of month, month, day of week and year" }
        else { "minutes, hours, day of month, month and day of week; one with a year is written `cron(…)`" }
    )]
    Fields {
        /// The number of fields of this form.
        expected: usize,
        /// The number of fields that it has.
        found: usize,
    },
    /// A field is wrong.
    #[error("has a wrong {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// The defect.
        reason: String,
    },
    /// The expression of AWS says both the day of the month and the day of the week, or neither.
    #[error(
        "is ambiguous: one of day of month and day of week must be `?`, because AWS takes only one of them"
    )]
    Ambiguous,
    /// No time fits.
    #[error("never fires: no future time fits it")]
    Never,
}

/// Why a name is no time zone. The message completes a sentence that starts with the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the name of an IANA time zone, such as `Europe/Berlin` or `UTC`")]
pub struct ZoneError;

/// A time zone with a name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

impl Zone {
    /// Parses the name of a zone of the IANA database.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        // The database also knows a zone for devices whose place is unknown.
        if name.len() > MAX_BYTES || name.eq_ignore_ascii_case("Etc/Unknown") {
            return Err(ZoneError);
        }
        let zone = TimeZone::get(name).map_err(|_| ZoneError)?;
        if zone.iana_name().is_none() { Err(ZoneError) } else { Ok(Self(zone)) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(name: String) -> Result<Self, ZoneError> {
        Self::parse(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredSchedule", into = "StoredSchedule")]
pub struct Schedule {
    expression: Box<str>,
    timing: Timing,
    zone: Zone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Timing {
    Rate(SignedDuration),
    Cron(CronLine),
}

#[derive(Serialize, Deserialize)]
struct StoredSchedule {
    expression: String,
    timezone: Zone,
}

impl TryFrom<StoredSchedule> for Schedule {
    type Error = ScheduleError;

    fn try_from(stored: StoredSchedule) -> Result<Self, ScheduleError> {
        Self::parse(&stored.expression, stored.timezone)
    }
}

impl From<Schedule> for StoredSchedule {
    fn from(schedule: Schedule) -> Self {
        Self { expression: schedule.expression.into(), timezone: schedule.zone }
    }
}

impl Schedule {
    /// Parses an expression. Whether it ever fires is up to [`Schedule::next_after`].
    pub fn parse(expression: &str, zone: Zone) -> Result<Self, ScheduleError> {
        if expression.len() > MAX_BYTES {
            return Err(ScheduleError::Form);
        }
        let text = expression.trim();
        let inner = |name: &str| {
            let rest = text.strip_prefix(name)?.trim_start();
            rest.strip_prefix('(')?.strip_suffix(')')
        };
        let timing = if let Some(interval) = inner("rate") {
            Timing::Rate(rate(interval).ok_or(ScheduleError::Rate)?)
        } else if let Some(fields) = inner("cron") {
            Timing::Cron(CronLine::parse_aws(fields)?)
        } else if text.starts_with(|first: char| first.is_ascii_digit() || "*,-/?".contains(first)) {
            Timing::Cron(CronLine::parse(text)?)
        } else {
            return Err(ScheduleError::Form);
        };
        Ok(Self { expression: text.into(), timing, zone })
    }

    /// The expression, without white space around it.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The zone of a cron expression's times.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The schedule in words.
    pub fn describe(&self) -> String {
        match &self.timing {
            Timing::Rate(interval) => format!("Every {}", in_words(*interval)),
            Timing::Cron(line) => format!("{} ({})", line.describe(), self.zone.name()),
        }
    }

    /// Returns the first planned time after `after`, or `None` if the schedule has no later time. A rate counts its
    /// intervals from `since`.
    pub fn next_after(&self, after: Timestamp, since: Timestamp) -> Option<Timestamp> {
        match &self.timing {
            Timing::Rate(interval) => {
                let elapsed = (after.as_second() - since.as_second()).max(0);
                let intervals = elapsed / interval.as_secs() + 1;
                Some(later(whole(since), interval.checked_mul(i32::try_from(intervals).ok()?)?))
            }
            Timing::Cron(line) => line.next_after(whole(after), &self.zone.0),
        }
    }

    /// The last time up to `now`, included, if it is not before `first`, which is a time of this schedule.
    pub fn latest(&self, first: Timestamp, now: Timestamp, since: Timestamp) -> Timestamp {
        let latest = match &self.timing {
            Timing::Rate(interval) => {
                let intervals = (now.as_second() - since.as_second()).max(0) / interval.as_secs();
                let latest = i32::try_from(intervals).ok().and_then(|count| interval.checked_mul(count));
                latest.map(|time| later(whole(since), time))
            }
            Timing::Cron(line) => line.last_until(whole(now), &self.zone.0),
        };
        latest.map_or(first, |latest| latest.max(first))
    }

    /// The next `count` times after `after`.
    pub fn upcoming(&self, after: Timestamp, since: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(after, since), |time| self.next_after(*time, since))
            .take(count)
            .collect()
    }
}

/// A time without its part of a second.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The interval of `5 minutes`.
fn rate(text: &str) -> Option<SignedDuration> {
    let mut words = text.split_whitespace();
    let (number, unit) = (words.next()?, words.next()?);
    if words.next().is_some() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = number.parse().ok()?;
    let seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 60 * 60,
        "day" | "days" => 24 * 60 * 60,
        _ => return None,
    };
    let seconds = number.checked_mul(seconds)?;
    (1..=MAX_DAYS * 24 * 60 * 60).contains(&seconds).then(|| SignedDuration::from_secs(seconds))
}

fn in_words(interval: SignedDuration) -> String {
    let minutes = interval.as_mins();
    let (number, unit) = match minutes {
        _ if minutes % (24 * 60) == 0 => (minutes / (24 * 60), "day"),
        _ if minutes % 60 == 0 => (minutes / 60, "hour"),
        _ => (minutes, "minute"),
    };
    if number == 1 { unit.to_owned() } else { format!("{number} {unit}s") }
}

#[cfg(test)]
mod tests;
