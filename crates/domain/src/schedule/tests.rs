use jiff::civil::date;
use proptest::prelude::*;

use super::*;

/// Zones with daylight saving north and south of the equator, and one whose clocks move by half an hour.
const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

fn parse(expression: &str) -> Result<Schedule, ScheduleError> {
    Schedule::parse(expression, Zone::default())
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// The first times after the start of 2027.
fn first(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(expression, Zone::parse(zone).unwrap()).unwrap();
    schedule.upcoming(at(after), at(after), count).iter().map(ToString::to_string).collect()
}

#[test]
fn rate_counts_from_when_it_was_set() {
    let times = first("rate(90 minutes)", "UTC", "2027-01-01T10:00:10.5Z", 2);
    assert_eq!(times, ["2027-01-01T11:30:10Z", "2027-01-01T13:00:10Z"]);
    let schedule = parse(" rate(2 days) ").unwrap();
    let since = at("2027-01-01T00:00:00Z");
    assert_eq!(schedule.next_after(at("2027-01-05T00:00:00Z"), since), Some(at("2027-01-07T00:00:00Z")));
    let due = at("2027-01-03T00:00:00Z");
    assert_eq!(schedule.latest(due, at("2027-01-08T23:00:00Z"), since), at("2027-01-07T00:00:00Z"));
    assert_eq!(schedule.latest(due, due, since), due);
    assert_eq!((schedule.expression(), schedule.describe().as_str()), ("rate(2 days)", "Every 2 days"));
    for (expression, words) in
        [("rate(1 minute)", "minute"), ("rate(60 minutes)", "hour"), ("rate(366 days)", "366 days")]
    {
        assert_eq!(parse(expression).unwrap().describe(), format!("Every {words}"));
    }
}

#[test]
fn cron_of_aws_is_read_as_aws_does() {
    for (expression, expected) in [
        ("cron(0 9 ? * MON-FRI *)", "2027-01-01T09:00:00Z"),
        ("cron(15 10 ? * 6L 2027-2030)", "2027-01-29T10:15:00Z"),
        ("cron(0 18 ? * 2#1 *)", "2027-01-04T18:00:00Z"),
        ("cron(0/10 * ? * sun *)", "2027-01-03T00:00:00Z"),
        ("cron(0 8 3W * ? *)", "2027-01-04T08:00:00Z"),
        ("cron(0 8 L FEB ? *)", "2027-02-28T08:00:00Z"),
        ("cron(0 0 29 2 ? *)", "2028-02-29T00:00:00Z"),
    ] {
        assert_eq!(first(expression, "UTC", "2027-01-01T00:00:00Z", 1), [expected], "{expression}");
    }
}

#[test]
fn cron_of_five_fields_is_read_as_usual() {
    for (expression, expected, words) in [
        (
            "0 9 * * 1-5",
            "2027-01-01T09:00:00Z",
            "At 09:00, on Monday, Tuesday, Wednesday, Thursday, and Friday (UTC)",
        ),
        ("0 9 * * 7", "2027-01-03T09:00:00Z", "At 09:00, on Sunday (UTC)"),
        ("*/7 * * * *", "2027-01-01T00:07:00Z", "Every 7 minutes (UTC)"),
        ("0 0 13 * 5", "2027-01-08T00:00:00Z", "At 00:00, on day 13 or Friday (UTC)"),
        ("5/15 * * * *", "2027-01-01T00:05:00Z", "At minute 5, 20, 35, and 50 past every hour (UTC)"),
    ] {
        assert_eq!(first(expression, "UTC", "2027-01-01T00:00:00Z", 1), [expected], "{expression}");
        assert_eq!(parse(expression).unwrap().describe(), words);
    }
}

#[test]
fn wrong_expression_is_refused_with_its_reason() {
    for (expression, reason) in [
        ("", "must be a rate"),
        ("@daily", "must be a rate"),
        ("at(2027-01-01T00:00:00)", "must be a rate"),
        ("rate(0 minutes)", "from 1 minute"),
        ("rate(30 seconds)", "from 1 minute"),
        ("rate(-5 minutes)", "from 1 minute"),
        ("rate(99999999999999999999 days)", "from 1 minute"),
        ("rate(367 days)", "to 366 days"),
        ("cron(0 9 ? * MON-FRI)", "must have 6 fields, and has 5"),
        ("0 9 * * 1-5 *", "must have 5 fields, and has 6"),
        ("cron(0 9 * * MON *)", "ambiguous"),
        ("cron(0 9 1 * MON *)", "ambiguous"),
        ("cron(0 9 ? * ? *)", "ambiguous"),
        ("cron(0 9 ? * 0 *)", "wrong cron expression"),
        ("cron(0 9 ? * 8 *)", "wrong day of week: a number is too large"),
        ("cron(0 9 1 * ? 2200)", "wrong year: a number is too large"),
        ("0 , * * *", "wrong hour: an item of its list is empty"),
        ("0 1,,2 * * *", "wrong hour: an item of its list is empty"),
        ("0 9 * FRI *", "wrong month"),
        ("0 9 * * JAN", "wrong day of week"),
        ("0 9 * * MONTUE", "wrong day of week"),
        ("0 9 * * L", "wrong day of week: `L` needs a day"),
        ("0 9 * * FRI-MON", "wrong day of week: a range ends before it begins"),
        ("50-10 * * * *", "wrong minute: a range ends before it begins"),
        ("60 * * * *", "wrong minute"),
        ("*/0 * * * *", "Step cannot be zero"),
        ("0 0 ? * *", "`?` is only for a day"),
        ("0 0 * * +1", "wrong day of week"),
        ("\u{661} * * * *", "must be a rate"),
    ] {
        let error = parse(expression).map(|schedule| schedule.describe()).unwrap_err().to_string();
        assert!(error.contains(reason), "{expression}: {error}");
    }
    assert_eq!(parse(&"1,".repeat(200)), Err(ScheduleError::Form));
}

#[test]
fn expression_without_a_future_time_never_fires() {
    let now = at("2027-01-01T00:00:00Z");
    for expression in ["0 0 31 2 *", "cron(0 0 30 2 ? *)", "cron(0 0 1 1 ? 2020)", "cron(0 0 29 2 ? 2027)"] {
        assert_eq!(parse(expression).unwrap().next_after(now, now), None, "{expression}");
    }
}

#[test]
fn zone_has_a_name_of_the_database() {
    for name in ["UTC", "Europe/Berlin", "america/new_york", "Etc/GMT+5"] {
        assert!(Zone::parse(name).is_ok(), "{name}");
    }
    assert_eq!(Zone::parse("europe/berlin").unwrap().name(), "Europe/Berlin");
    for name in ["", "Berlin", "CET-1CEST", "+01:00", "Europe/Berlin ", "../etc/passwd", "Etc/Unknown"] {
        assert_eq!(Zone::parse(name), Err(ZoneError), "{name}");
    }
}

#[test]
fn fixed_time_in_a_gap_is_the_moment_after_it() {
    // Clocks go from 02:00 to 03:00 on 28 March 2027.
    let times = first("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00Z", 2);
    assert_eq!(times, ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]);
}

#[test]
fn fixed_time_that_is_repeated_counts_once() {
    // Clocks go from 03:00 back to 02:00 on 31 October 2027.
    let times = first("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00Z", 2);
    assert_eq!(times, ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]);
    let times = first("*/30 * * * *", "Europe/Berlin", "2027-10-31T00:00:00Z", 4);
    let expected =
        ["2027-10-31T00:30:00Z", "2027-10-31T01:00:00Z", "2027-10-31T01:30:00Z", "2027-10-31T02:00:00Z"];
    assert_eq!(times, expected);
}

#[test]
fn stored_schedule_is_read_as_it_was() {
    let schedule = Schedule::parse(" 0 9 * * 1-5 ", Zone::parse("Europe/Berlin").unwrap()).unwrap();
    let json = serde_json::to_string(&schedule).unwrap();
    assert_eq!(json, r#"{"expression":"0 9 * * 1-5","timezone":"Europe/Berlin"}"#);
    assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    assert!(serde_json::from_str::<Schedule>(r#"{"expression":"0","timezone":"UTC"}"#).is_err());
}

/// Random schedules whose times are neither too rare nor too frequent for the property.
fn schedules() -> impl Strategy<Value = Schedule> {
    let number = |least: u32, greatest: u32| (least..=greatest).prop_map(|number| number.to_string());
    let minute = prop_oneof![number(0, 59), Just("*/20".to_owned()), Just("0,30".to_owned())];
    let hour =
        prop_oneof![number(0, 23), Just("*".to_owned()), Just("*/3".to_owned()), Just("1-3".to_owned())];
    let day = prop_oneof![3 => Just("*".to_owned()), 1 => number(1, 31)];
    let weekday = prop_oneof![3 => Just("*".to_owned()), 1 => number(0, 7), 1 => Just("SUN".to_owned())];
    let cron = (minute, hour, day, weekday)
        .prop_map(|(minute, hour, day, weekday)| format!("{minute} {hour} {day} * {weekday}"));
    let rate = (1..=2_000_u32).prop_map(|minutes| format!("rate({} minutes)", minutes + 20));
    let expression = prop_oneof![4 => cron, 1 => rate];
    (expression, 0..ZONES.len()).prop_map(|(expression, zone)| {
        Schedule::parse(&expression, Zone::parse(ZONES[zone]).unwrap()).unwrap()
    })
}

/// Checks that a tick at any moment finds the last time that another tick, which missed none, has found.
fn check_ticks(schedule: &Schedule, start_day: i64, ticks: i32) -> Result<(), TestCaseError> {
    let midnight = date(2027, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    // Some days before a change of clocks, in most zones.
    let since = later(midnight, SignedDuration::from_hours(24 * start_day));
    let Some(first) = schedule.next_after(since, since) else { return Ok(()) };
    let mut all = vec![first];
    for _ in 0..100 {
        let last = *all.last().unwrap();
        let Some(next) = schedule.next_after(last, since) else { break };
        prop_assert!(next > last, "{next} after {last}");
        all.push(next);
    }
    let end = *all.last().unwrap();
    // Rare times need rare ticks, or there would be millions.
    let step = (end.duration_since(first) / ticks).max(SignedDuration::from_mins(1));
    let mut now = first;
    while now < end {
        let latest = schedule.latest(first, now, since);
        let expected = all.iter().rev().find(|time| **time <= now).unwrap();
        prop_assert_eq!(latest, *expected, "at {}", now);
        let next = schedule.next_after(now, since).unwrap();
        prop_assert_eq!(Some(&next), all.iter().find(|time| **time > now));
        now = later(now, step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn latest_time_is_the_last_of_all(schedule in schedules(), start in 0..10 * 366_i64, ticks in 1..60) {
        check_ticks(&schedule, start, ticks)?;
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "(cron\\(|rate\\()?[0-9*,/#?LWa-zA-Z -]{0,40}\\)?") {
        if let Ok(schedule) = parse(&text) {
            prop_assert_eq!(schedule.expression(), text.trim());
            let _ = schedule.describe();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn many_latest_times_are_the_last_of_all(schedule in schedules(), start in 0..10 * 366_i64, ticks in 1..60) {
        check_ticks(&schedule, start, ticks)?;
    }
}
