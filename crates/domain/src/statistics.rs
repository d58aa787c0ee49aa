//! Confidence intervals of pass rates, reliability over trials, and comparisons.

mod paired;

pub use paired::{PairCounts, holm, mcnemar_exact, pass_power};

/// A confidence interval of a rate, within 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the interval is wider than 20 percentage points, so that the rate is only a rough
    /// estimate. An even rate needs 93 trials to be more exact, a rate of 100% needs 16.
    pub fn is_wide(self) -> bool {
        self.high - self.low > 0.2
    }
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
    fn interval_agrees_with_scipy() {
        // scipy.stats.binomtest(successes, trials).proportion_ci(0.95, "wilson"), SciPy 1.18
        for (successes, trials, low, high) in [
            (8, 10, 0.490_162_471_536_641_8, 0.943_317_848_545_624_8),
            (18, 20, 0.698_966_354_771_512_8, 0.972_133_518_786_231_9),
            (45, 50, 0.786_397_685_625_203_4, 0.956_524_235_068_109_5),
            (90, 100, 0.825_634_338_495_086_5, 0.944_770_862_939_324_9),
            (0, 10, 0.0, 0.277_532_799_862_889_26),
            (10, 10, 0.722_467_200_137_110_9, 1.0),
            (1, 200, 0.000_883_168_715_600_976_2, 0.027_773_704_397_892_93),
        ] {
            let interval = wilson_interval(successes, trials).unwrap();
            assert!((interval.low - low).abs() < 1e-12, "{interval:?}");
            assert!((interval.high - high).abs() < 1e-12, "{interval:?}");
        }
    }

    #[test]
    fn interval_covers_the_true_rate_in_95_percent_of_runs() {
        for trials in [10_u64, 20, 50, 100] {
            let rates: Vec<f64> = (1..=99).map(|percent| f64::from(percent) / 100.0).collect();
            let coverage = |rate: &f64| -> f64 {
                // The probability of each number of successes, from the one before.
                let mut probability = (1.0 - rate).powi(i32::try_from(trials).unwrap());
                let mut covered = 0.0;
                for successes in 0..=trials {
                    let interval = wilson_interval(successes, trials).unwrap();
                    if (interval.low..=interval.high).contains(rate) {
                        covered += probability;
                    }
                    let next = (trials - successes) as f64 / (successes + 1) as f64;
                    probability *= next * rate / (1.0 - rate);
                }
                covered
            };
            let mean = rates.iter().map(coverage).sum::<f64>() / rates.len() as f64;
            assert!((0.94..=0.97).contains(&mean), "{trials}: {mean}");
            // Coverage drops for extreme rates, as published for this interval.
            let least = rates.iter().map(coverage).fold(1.0, f64::min);
            assert!(least > 0.83, "{trials}: {least}");
        }
    }

    #[test]
    fn few_trials_have_a_wide_interval() {
        let is_wide = |successes, trials| wilson_interval(successes, trials).unwrap().is_wide();
        assert_eq!([15, 16].map(|trials| is_wide(trials, trials)), [true, false]);
        assert_eq!([46, 47].map(|half| is_wide(half, 2 * half)), [true, false]);
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
