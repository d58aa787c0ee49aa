//! Reliability over repeated trials, and the comparison of two sets of results trial by trial.

/// The probability that `k` trials of one task, drawn without replacement from `trials` of which
/// `passed` passed, all passed: C(passed, k) / C(trials, k). `None` unless 1 ≤ `k` ≤ `trials` and
/// `passed` ≤ `trials`.
///
/// The mean over tasks is the unbiased estimate of pass^k. Source: S. Yao et al., "τ-bench", 2024.
pub fn pass_power(passed: u64, trials: u64, k: u64) -> Option<f64> {
    if k == 0 || k > trials || passed > trials {
        return None;
    }
    if k > passed {
        return Some(0.0);
    }
    // A product of ratios, so that no binomial coefficient overflows.
    Some((0..k).map(|drawn| (passed - drawn) as f64 / (trials - drawn) as f64).product())
}

/// The binary exponent by which a sum is scaled down before it overflows.
const STEP: i32 = 512;

/// The two-sided p-value of McNemar's exact test: the probability of a split at least as uneven as
/// `one` to `other` if both are equally likely.
pub fn mcnemar_exact(one: u64, other: u64) -> f64 {
    let (fewer, all) = (one.min(other), one.saturating_add(other));
    if one == other {
        return 1.0;
    }
    // The sum of C(all, 0) to C(all, fewer), times 2^-scale. Powers of two keep it exact and below overflow.
    let step_down = 0.5_f64.powi(STEP);
    let (mut term, mut sum, mut scale) = (1.0, 1.0, 0_u64);
    for chosen in 1..=fewer {
        term = term * (all - chosen + 1) as f64 / chosen as f64;
        sum += term;
        if sum >= 2.0_f64.powi(STEP) {
            (term, sum, scale) = (term * step_down, sum * step_down, scale + u64::from(STEP.unsigned_abs()));
        }
    }
    let exponent = i32::try_from(all - 1 - scale).unwrap_or(i32::MAX);
    // Two factors, because 2^-exponent alone may underflow although the product does not.
    let half = exponent / 2;
    (sum * 0.5_f64.powi(half) * 0.5_f64.powi(exponent - half)).min(1.0)
}

/// The p-values after Holm's correction for several tests, in the same order.
///
/// Source: S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|one, other| p_values[*one].total_cmp(&p_values[*other]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, place) in order.into_iter().enumerate() {
        let tests_left = (p_values.len() - rank) as f64;
        largest = largest.max((p_values[place] * tests_left).min(1.0));
        corrected[place] = largest;
    }
    corrected
}

/// Pairs of results of the same trial, before and after a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairCounts {
    /// Passes only after the change.
    pub fixed: u64,
    /// Passes only before the change.
    pub broken: u64,
    /// Passes before and after.
    pub still_passed: u64,
    /// Passes neither before nor after.
    pub still_not_passed: u64,
}

impl PairCounts {
    /// Adds a pair.
    pub fn add(&mut self, passed_before: bool, passed_after: bool) {
        let count = match (passed_before, passed_after) {
            (false, true) => &mut self.fixed,
            (true, false) => &mut self.broken,
            (true, true) => &mut self.still_passed,
            (false, false) => &mut self.still_not_passed,
        };
        *count += 1;
    }

    /// The number of pairs.
    pub fn pairs(self) -> u64 {
        self.fixed + self.broken + self.unchanged()
    }

    /// The number of pairs with the same result.
    pub fn unchanged(self) -> u64 {
        self.still_passed + self.still_not_passed
    }

    /// The two-sided p-value of McNemar's exact test for a difference.
    pub fn p_value(self) -> f64 {
        mcnemar_exact(self.fixed, self.broken)
    }

    /// The p-value for a regression: [`p_value`](Self::p_value) if more pairs are broken than
    /// fixed, else 1. It never rises when a pass after the change becomes a failure, also after
    /// Holm's correction. The plain p-value of an improvement would make the corrected ones of
    /// other objectives smaller.
    pub fn regression_p_value(self) -> f64 {
        if self.broken > self.fixed { self.p_value() } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::Random;

    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= expected.abs() * 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn pass_power_agrees_with_200_known_trials() {
        // 50 tasks of 4 trials: the number of tasks with 0, 1, 2, 3 and 4 passed trials.
        let tasks: Vec<u64> = [(0, 14), (1, 12), (2, 10), (3, 4), (4, 10)]
            .into_iter()
            .flat_map(|(passed, count)| std::iter::repeat_n(passed, count))
            .collect();
        let mean = |k| tasks.iter().map(|passed| pass_power(*passed, 4, k).unwrap()).sum::<f64>() / 50.0;
        assert_close(mean(1), 0.42);
        assert_close(mean(2), 82.0 / 300.0);
        assert_close(mean(3), 0.22);
        assert_close(mean(4), 0.2);
    }

    #[test]
    fn pass_power_of_3_in_4_trials_is_exact() {
        for (k, expected) in [(1, 0.75), (2, 0.5), (3, 0.25), (4, 0.0)] {
            assert_eq!(pass_power(3, 4, k), Some(expected));
        }
        assert_eq!(pass_power(3, 4, 0), None);
        assert_eq!(pass_power(3, 4, 5), None);
        assert_eq!(pass_power(5, 4, 1), None);
        // C(10000, 5000) has 3,008 digits.
        assert_eq!(pass_power(10_000, 10_000, 5_000), Some(1.0));
    }

    #[test]
    fn mcnemar_agrees_with_scipy() {
        // scipy.stats.binomtest(min(a, b), a + b, 0.5).pvalue, SciPy 1.18
        for (fixed, broken, expected) in [
            (9, 2, 0.065_429_687_5),
            (6, 0, 0.031_25),
            (30, 10, 0.002_221_433_773_229_364_3),
            (0, 0, 1.0),
            (1, 0, 1.0),
            (5, 5, 1.0),
            (120, 80, 0.005_685_155_996_750_306),
            (700, 600, 0.006_015_793_861_044_939_5),
            (3_000, 2_700, 7.457_315_554_470_385e-5),
            (0, 40, 1.818_989_403_545_856_5e-12),
        ] {
            assert_close(mcnemar_exact(fixed, broken), expected);
            assert_close(mcnemar_exact(broken, fixed), expected);
        }
        assert_close(mcnemar_exact(0, 10_000), 0.0);
    }

    #[test]
    fn holm_multiplies_by_the_tests_that_are_left() {
        assert_eq!(holm(&[]), Vec::<f64>::new());
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in corrected.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert_close(found, expected);
        }
        assert_eq!(holm(&[0.6, 0.9]), [1.0, 1.0]);
    }

    #[test]
    fn false_alarms_between_equal_agents_are_at_most_5_percent() {
        let (mut differences, mut regressions) = (0, 0);
        let mut random = Random(7);
        for round in 0..10_000_u32 {
            // Pass rates from 50% to 98%, which both sides share; 100 pairs on each of three objectives.
            let rate = 0.5 + f64::from(round % 25) * 0.02;
            let objectives: [PairCounts; 3] = std::array::from_fn(|_| {
                let mut counts = PairCounts::default();
                for _ in 0..100 {
                    counts.add(random.passes(rate), random.passes(rate));
                }
                counts
            });
            let is_alarm = |p_values: [f64; 3]| holm(&p_values).into_iter().any(|p| p <= 0.05);
            differences += u32::from(is_alarm(objectives.map(PairCounts::p_value)));
            regressions += u32::from(is_alarm(objectives.map(PairCounts::regression_p_value)));
        }
        assert!(differences <= 500, "{differences} of 10,000");
        assert!(regressions <= 500, "{regressions} of 10,000");
        // The test would also hold for a comparison that never finds anything.
        assert!(differences > 50, "{differences} of 10,000");
    }

    #[test]
    fn real_regression_is_found() {
        let mut random = Random(8);
        let mut found = 0;
        for _ in 0..1_000 {
            let mut counts = PairCounts::default();
            for _ in 0..200 {
                counts.add(random.passes(0.9), random.passes(0.7));
            }
            found += u32::from(counts.regression_p_value() <= 0.05);
        }
        assert!(found >= 950, "{found} of 1,000");
    }

    proptest! {
        #[test]
        fn pass_power_falls_with_each_further_trial(trials in 1_u64..200, share in 0.0_f64..=1.0, k in 1_u64..200) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the product lies between 0 and `trials`"
            )]
            let passed = (trials as f64 * share) as u64;
            let power = pass_power(passed, trials, k);
            prop_assert_eq!(power.is_some(), k <= trials);
            if let (Some(power), Some(next)) = (power, pass_power(passed, trials, k + 1)) {
                prop_assert!((0.0..=1.0).contains(&power) && next <= power);
            }
        }

        #[test]
        fn regression_is_no_less_certain_with_more_failures(
            counts in prop::collection::vec((0_u64..30, 0_u64..30, 0_u64..30, 0_u64..30), 1..5),
            place in 0_usize..5,
            was_fixed in any::<bool>(),
        ) {
            let before: Vec<PairCounts> = counts
                .into_iter()
                .map(|(fixed, broken, still_passed, still_not_passed)| {
                    PairCounts { fixed, broken, still_passed, still_not_passed }
                })
                .collect();
            let mut after = before.clone();
            let changed = &mut after[place % before.len()];
            if was_fixed && changed.fixed > 0 {
                changed.fixed -= 1;
                changed.still_not_passed += 1;
            } else if changed.still_passed > 0 {
                changed.still_passed -= 1;
                changed.broken += 1;
            }
            let corrected = |counts: &[PairCounts]| {
                holm(&counts.iter().map(|counts| counts.regression_p_value()).collect::<Vec<_>>())
            };
            for (before, after) in corrected(&before).into_iter().zip(corrected(&after)) {
                prop_assert!(after <= before + 1e-12, "{} became {}", before, after);
            }
        }
    }
}
