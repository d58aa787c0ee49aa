//! Confidence intervals of pass rates.

/// A confidence interval of a rate, within 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The two-sided 95% quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95% Wilson score interval of `successes` out of `trials`; `None` if there are no trials, or
/// more successes than trials.
///
/// It is more accurate than the normal approximation for the small counts and extreme rates of
/// simulations. Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
/// Inference", JASA 22 (1927).
pub fn wilson_interval(successes: u64, trials: u64) -> Option<Interval> {
    if trials == 0 || successes > trials {
        return None;
    }
    let n = trials as f64;
    let rate = successes as f64 / n;
    let z2 = Z * Z;
    let centre = (rate + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z * (rate * (1.0 - rate) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    // The ends are exact at the extremes; rounding must not exceed them.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes == trials { 1.0 } else { (centre + half).min(1.0) };
    Some(Interval { low, high })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rounded(successes: u64, trials: u64) -> (f64, f64) {
        let interval = wilson_interval(successes, trials).unwrap();
        ((interval.low * 10_000.0).round() / 10_000.0, (interval.high * 10_000.0).round() / 10_000.0)
    }

    #[test]
    fn interval_agrees_with_published_values() {
        // Newcombe (1998), table I: method 3 without continuity correction.
        assert_eq!(rounded(81, 263), (0.2553, 0.3662));
        assert_eq!(rounded(15, 148), (0.0624, 0.1605));
        assert_eq!(rounded(0, 20), (0.0, 0.1611));
        assert_eq!(rounded(1, 29), (0.0061, 0.1718));
    }

    #[test]
    fn no_trials_have_no_interval() {
        assert_eq!(wilson_interval(0, 0), None);
        assert_eq!(wilson_interval(3, 2), None);
    }

    proptest! {
        #[test]
        fn interval_contains_the_rate_and_stays_within_0_and_1(trials in 1_u64..1_000_000, part in 0.0_f64..=1.0) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the product lies between 0 and `trials`"
            )]
            let successes = ((trials as f64) * part) as u64;
            let interval = wilson_interval(successes, trials).unwrap();
            let rate = successes as f64 / trials as f64;
            prop_assert!(0.0 <= interval.low && interval.low <= rate + 1e-12);
            prop_assert!(rate - 1e-12 <= interval.high && interval.high <= 1.0);
        }
    }
}
