use super::*;
use crate::fixtures::Random;

/// The outcomes of a run of conversations that pass at a rate.
fn run(random: &mut Random, rate: f64, conversations: u64) -> RunOutcomes {
    let passed = (0..conversations).filter(|_| random.passes(rate)).count() as u64;
    RunOutcomes { passed, failed: conversations - passed, ..RunOutcomes::default() }
}

fn rates(expected: f64, low: f64) -> AlertRates {
    AlertRates::parse(expected, low).unwrap()
}

/// How many runs of `limit` it takes until the alert changes.
fn runs_until_change(alert: &mut Alert, random: &mut Random, rate: f64, limit: usize) -> Option<usize> {
    (1..=limit).find(|_| alert.count(run(random, rate, 20)).is_some())
}

#[test]
fn drop_from_90_to_70_percent_alerts_within_5_runs_of_20() {
    let mut random = Random(1);
    let noticed = (0..10_000)
        .filter(|_| {
            let mut alert = Alert::new(rates(0.9, 0.7));
            // Some good runs before the drop.
            runs_until_change(&mut alert, &mut random, 0.9, 20).is_some()
                || runs_until_change(&mut alert, &mut random, 0.7, 5).is_some()
        })
        .count();
    assert!(noticed >= 9_000, "{noticed} of 10,000");
}

#[test]
fn false_alerts_are_rarer_than_one_in_a_year_of_hourly_runs() {
    const YEAR: usize = 8_760;
    const YEARS: usize = 20;
    let mut random = Random(2);
    for (expected, low) in [(0.9, 0.7), (0.95, 0.8), (0.8, 0.6), (0.99, 0.9)] {
        let mut alerts = 0;
        let mut alert = Alert::new(rates(expected, low));
        for _ in 0..YEARS * YEAR {
            if alert.count(run(&mut random, expected, 20)).is_some() {
                alerts += 1;
                alert = Alert::new(alert.rates);
            }
        }
        assert!(alerts <= YEARS, "{alerts} in {YEARS} years at {expected}");
    }
}

#[test]
fn alert_ends_within_5_runs_of_20_after_recovery() {
    let mut random = Random(3);
    let ended = (0..10_000)
        .filter(|_| {
            let mut alert = Alert { state: AlertState::Alerting, ..Alert::new(rates(0.9, 0.7)) };
            runs_until_change(&mut alert, &mut random, 0.9, 5).is_some()
        })
        .count();
    assert!(ended >= 9_000, "{ended} of 10,000");
}

#[test]
fn one_bad_run_of_few_conversations_opens_no_alert() {
    let mut alert = Alert::new(rates(0.9, 0.7));
    assert_eq!(alert.count(RunOutcomes { failed: 5, ..RunOutcomes::default() }), None);
    assert!(alert.score() > 0.0);
}

#[test]
fn runs_without_passed_or_failed_conversations_count_nothing() {
    let mut alert = Alert::new(rates(0.9, 0.7));
    let before = alert.clone();
    for outcomes in
        [RunOutcomes::default(), RunOutcomes { infra: 20, inconclusive: 7, ..RunOutcomes::default() }]
    {
        assert_eq!(alert.count(outcomes), None);
        assert_eq!(alert, before);
    }
}

#[test]
fn evidence_is_the_logarithm_of_the_likelihood_ratio() {
    // 18 ln(0.7 / 0.9) + 2 ln(0.3 / 0.1)
    let found = rates(0.9, 0.7).evidence_of_drop(18, 2);
    assert!((found - -2.326_435_131_720_092_6).abs() < 1e-9, "{found}");
}

#[test]
fn rates_out_of_range_or_order_are_refused() {
    for expected in [f64::NAN, f64::INFINITY, -0.5, 0.0, 0.01, 1.0, 90.0] {
        assert_eq!(AlertRates::parse(expected, 0.01), Err(AlertRatesError::Expected), "{expected}");
    }
    for low in [f64::NAN, -1.0, 0.0, 0.9, 0.895, 1.0] {
        assert_eq!(AlertRates::parse(0.9, low), Err(AlertRatesError::Low), "{low}");
    }
    assert!(AlertRates::parse(0.9, 0.89).is_ok());
    assert!(AlertRates::parse(0.02, 0.01).is_ok());
}
