//! Deterministic pseudorandom choices: `SplitMix64` over a derived seed.

/// A stream of numbers that its seed determines. `SplitMix64` (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", 2014) is ten lines of integer arithmetic, the same
/// on every machine, and good enough for choosing words.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Starts the stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0. The bias of the remainder is below 2^-50 for lists of words.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or_default()
    }

    /// An index into a list of this length.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        wrap(self.roll(), length)
    }

    /// An entry of a list, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }

    /// True once in `times` on average.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Maps a number to an index by its remainder; 0 for an empty list.
pub(crate) fn wrap(number: u64, length: usize) -> usize {
    let rest = u64::try_from(length).ok().and_then(|length| number.checked_rem(length));
    rest.and_then(|rest| usize::try_from(rest).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_matches_the_published_generator() {
        // The reference implementation's first outputs for the seed 1234567.
        let mut dice = Dice::new(1_234_567);
        assert_eq!(dice.roll(), 6_457_827_717_110_365_317);
        assert_eq!(dice.roll(), 3_203_168_211_198_807_973);
        assert_eq!(dice.roll(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn empty_range_gives_zero() {
        assert_eq!(Dice::new(1).below(0), 0);
        assert_eq!(wrap(9, 0), 0);
    }
}
