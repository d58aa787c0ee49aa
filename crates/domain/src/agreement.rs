//! The agreement of two judges about the same conversations.

use crate::Outcome;

/// Pairs of outcomes, counted: the outcome of one judge and that of the other on the same conversation and
/// objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// By the first judge's outcome, then the second's, in the order of [`Outcome::ALL`].
    pairs: [[u64; 3]; 3],
}

impl Agreement {
    /// Counts one pair.
    pub fn add(&mut self, first: Outcome, second: Outcome) {
        let place = |outcome| Outcome::ALL.iter().position(|one| *one == outcome);
        let row = place(first).and_then(|row| self.pairs.get_mut(row));
        if let Some(count) = row.and_then(|row| row.get_mut(place(second)?)) {
            *count += 1;
        }
    }

    /// The number of pairs.
    pub fn count(&self) -> u64 {
        self.pairs.iter().flatten().sum()
    }

    /// The number of pairs of equal outcomes.
    pub fn agreed(&self) -> u64 {
        self.pairs.iter().enumerate().filter_map(|(place, row)| row.get(place)).sum()
    }

    /// The share of equal outcomes; `None` without pairs.
    pub fn rate(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.agreed() as f64 / self.count() as f64)
    }

    /// Cohen's kappa: how far the judges agree beyond chance, from -1 to 1, where 0 is what judges with the same
    /// habits reach by guessing. `None` if it is undefined: without pairs, or if both judges always gave the
    /// same one outcome.
    ///
    /// Source: J. Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological
    /// Measurement 20 (1960).
    pub fn kappa(&self) -> Option<f64> {
        let count = u128::from(self.count());
        let by_chance: u128 = (0..Outcome::ALL.len())
            .map(|place| {
                let row: u64 = self.pairs.get(place).into_iter().flatten().sum();
                let column: u64 = self.pairs.iter().filter_map(|row| row.get(place)).sum();
                u128::from(row) * u128::from(column)
            })
            .sum();
        // Whole numbers, so that certain agreement by chance is recognised exactly.
        let room = (count * count).checked_sub(by_chance).filter(|room| *room > 0)?;
        let beyond = (u128::from(self.agreed()) * count) as f64 - by_chance as f64;
        Some(beyond / room as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Outcome::{Failed, Inconclusive, Passed};

    fn agreement(pairs: [[u64; 3]; 3]) -> Agreement {
        Agreement { pairs }
    }

    fn kappa(pairs: [[u64; 3]; 3]) -> String {
        format!("{:.3}", agreement(pairs).kappa().unwrap())
    }

    #[test]
    fn kappa_agrees_with_published_values() {
        // Cohen (1968), table 1, as counts of 200.
        assert_eq!(kappa([[88, 14, 18], [10, 40, 10], [2, 6, 12]]), "0.492");
        // Fleiss, Cohen and Everitt (1969).
        assert_eq!(kappa([[106, 10, 4], [22, 28, 10], [2, 12, 6]]), "0.429");
        // Two outcomes: 20 and 15 equal ones of 50.
        assert_eq!(kappa([[20, 5, 0], [10, 15, 0], [0, 0, 0]]), "0.400");
        assert_eq!(kappa([[0, 7, 0], [7, 0, 0], [0, 0, 0]]), "-1.000");
        assert_eq!(kappa([[3, 0, 0], [0, 2, 0], [0, 0, 9]]), "1.000");
    }

    #[test]
    fn kappa_without_two_outcomes_is_undefined() {
        assert_eq!((Agreement::default().kappa(), Agreement::default().rate()), (None, None));
        let same = agreement([[12, 0, 0], [0; 3], [0; 3]]);
        assert_eq!((same.kappa(), same.rate()), (None, Some(1.0)));
        // One judge always gives the same outcome: agreement is no better than chance.
        assert_eq!(agreement([[5, 4, 3], [0; 3], [0; 3]]).kappa(), Some(0.0));
    }

    #[test]
    fn pairs_are_counted_by_both_outcomes() {
        let mut counted = Agreement::default();
        for (first, second) in
            [(Passed, Passed), (Passed, Failed), (Failed, Inconclusive), (Inconclusive, Inconclusive)]
        {
            counted.add(first, second);
        }
        assert_eq!(counted, agreement([[1, 1, 0], [0, 0, 1], [0, 0, 1]]));
        assert_eq!((counted.count(), counted.agreed(), counted.rate()), (4, 2, Some(0.5)));
    }

    proptest! {
        #[test]
        fn kappa_is_symmetric_and_within_minus_1_and_1(pairs in any::<[[u16; 3]; 3]>()) {
            let pairs = pairs.map(|row| row.map(u64::from));
            let mut turned = [[0; 3]; 3];
            for (row, counts) in pairs.iter().enumerate() {
                for (column, count) in counts.iter().enumerate() {
                    turned[column][row] = *count;
                }
            }
            let (kappa, other) = (agreement(pairs).kappa(), agreement(turned).kappa());
            prop_assert_eq!(kappa, other);
            prop_assert!(kappa.is_none_or(|kappa| (-1.0..=1.0).contains(&kappa)));
        }
    }
}
