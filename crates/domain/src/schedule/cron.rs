//! Cron expressions. The parser of `croner` accepts more than is meant: empty list items, which never fire, and names
//! of months and days in any field. These are refused before.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};

use super::ScheduleError;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A field of an expression.
struct Form {
    name: &'static str,
    names: &'static [&'static str],
    /// Letters and signs besides digits, `*`, `,`, `-` and `/`.
    signs: &'static str,
    /// The least and the greatest number; weekdays begin with Sunday.
    bounds: (u32, u32),
}

impl Form {
    /// The number of a number or a name.
    fn number(&self, text: &str) -> Option<u32> {
        let place = self.names.iter().position(|name| *name == text);
        // Weekdays of AWS and months begin with 1.
        let first = self.bounds.0;
        place
            .and_then(|place| u32::try_from(place).ok())
            .map_or_else(|| text.parse().ok(), |place| Some(place + first))
    }
}

const MINUTES: Form = Form { name: "minute", names: &[], signs: "", bounds: (0, 59) };
const HOURS: Form = Form { name: "hour", names: &[], signs: "", bounds: (0, 23) };
const DAY: Form = Form { name: "day of month", names: &[], signs: "LW", bounds: (1, 31) };
const MONTH: Form = Form { name: "month", names: &MONTHS, signs: "", bounds: (1, 12) };
/// Sunday is 0 and 7.
const WEEKDAY: Form = Form { name: "day of week", names: &DAYS, signs: "L#", bounds: (0, 7) };
/// Sunday is 1.
const AWS_WEEKDAY: Form = Form { bounds: (1, 7), ..WEEKDAY };
const YEAR: Form = Form { name: "year", names: &[], signs: "", bounds: (1970, 2199) };

/// A cron expression with a resolution of minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CronLine(Box<Cron>);

impl CronLine {
    /// Parses the usual five fields.
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields = fields(text, &[MINUTES, HOURS, DAY, MONTH, WEEKDAY], false)?;
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed);
        Self::build(&fields, parser.sloppy_ranges(true).build())
    }

    /// Parses AWS's six fields, in which days of the week have the numbers 1 to 7.
    pub(super) fn parse_aws(text: &str) -> Result<Self, ScheduleError> {
        let fields = fields(text, &[MINUTES, HOURS, DAY, MONTH, AWS_WEEKDAY, YEAR], true)?;
        if (fields[2] == "?") == (fields[4] == "?") {
            return Err(ScheduleError::Ambiguous);
        }
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required);
        Self::build(&fields, parser.alternative_weekdays(true).sloppy_ranges(true).build())
    }

    fn build(fields: &[String], parser: CronParser) -> Result<Self, ScheduleError> {
        let cron =
            parser.parse(&format!("0 {}", fields.join(" "))).map_err(|error| ScheduleError::Field {
                field: "cron expression",
                reason: error
                    .to_string()
                    .trim_start_matches("Component error: ")
                    .trim_end_matches('.')
                    .to_owned(),
            })?;
        Ok(Self(Box::new(cron)))
    }

    pub(super) fn describe(&self) -> String {
        let text = self.0.describe();
        let text = text.trim_end_matches('.');
        text.strip_prefix("At every ").map_or_else(|| text.to_owned(), |rest| format!("Every {rest}"))
    }

    /// The first time after `after`.
    pub(super) fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let after = after.to_zoned(zone.clone());
        self.0.find_next_occurrence(&after, false).ok().map(|next| next.timestamp())
    }

    /// The last time up to `until`, included.
    pub(super) fn last_until(&self, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let until = until.to_zoned(zone.clone());
        self.0.find_previous_occurrence(&until, true).ok().map(|last| last.timestamp())
    }
}

/// The fields of an expression, in upper case.
fn fields(text: &str, forms: &[Form], is_aws: bool) -> Result<Vec<String>, ScheduleError> {
    let fields: Vec<String> = text.split_whitespace().map(str::to_ascii_uppercase).collect();
    if fields.len() != forms.len() {
        return Err(ScheduleError::Fields { expected: forms.len(), found: fields.len() });
    }
    for (field, form) in fields.iter().zip(forms) {
        check(field, form, is_aws)
            .map_err(|reason| ScheduleError::Field { field: form.name, reason: reason.to_owned() })?;
    }
    Ok(fields)
}

fn check(field: &str, form: &Form, is_aws: bool) -> Result<(), &'static str> {
    if field == "?" {
        let is_day = form.name == DAY.name || form.name == WEEKDAY.name;
        return if is_aws && is_day { Ok(()) } else { Err("`?` is only for a day in `cron(…)`") };
    }
    for item in field.split(',') {
        if item.is_empty() {
            return Err("an item of its list is empty");
        }
        if form.name == WEEKDAY.name && item == "L" {
            return Err("`L` needs a day before it, such as `FRIL` for the last Friday of the month");
        }
        for part in item.split(['-', '/', '#']) {
            check_part(part, form)?;
        }
        let range = item.split_once('/').map_or(item, |(range, _)| range);
        if let Some((first, last)) = range.split_once('-')
            && form.number(first).zip(form.number(last)).is_some_and(|(first, last)| first > last)
        {
            return Err("a range ends before it begins; write it as two, such as `FRI-SAT,SUN-MON`");
        }
    }
    Ok(())
}

/// Checks a number, a name or a sign. Steps and ordinals are checked as numbers by the parser.
fn check_part(part: &str, form: &Form) -> Result<(), &'static str> {
    if part == "*" || form.names.contains(&part) {
        return Ok(());
    }
    let digits = part.trim_matches(|sign: char| form.signs.contains(sign));
    let digits = if form.names.contains(&digits) { "" } else { digits };
    if part.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("it has a sign or name that does not belong there");
    }
    match digits.parse::<u32>() {
        Ok(number) if number > form.bounds.1 => Err("a number is too large"),
        Ok(_) => Ok(()),
        Err(_) if digits.is_empty() => Ok(()),
        Err(_) => Err("a number is too large"),
    }
}
