//! Faults by a seeded schedule.

use std::time::Duration;

/// A way in which a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer comes after this time.
    Slow {
        /// The time.
        delay: Duration,
    },
    /// No answer comes, and the connection stays open.
    Silent,
    /// Status 429.
    Limited {
        /// The value of `Retry-After`, rounded up to seconds.
        retry_after: Duration,
    },
    /// The answer's last third is missing. `Content-Length` is right.
    BrokenJson,
    /// The connection closes in the middle of the answer.
    Cut,
}

/// The calls in a block of this many that have a fault are exactly as many as configured.
const BLOCK: usize = 100;

/// How many calls of each hundred have which fault. The seed decides which calls those are.
#[derive(Clone, Debug)]
pub struct Faults {
    seed: u64,
    deck: Vec<(usize, Fault)>,
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::seeded(0)
    }

    /// No faults yet; the seed decides the order of those that are added.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, deck: Vec::new() }
    }

    /// Adds a fault to `percent` of the calls.
    #[must_use]
    pub fn with(mut self, percent: usize, fault: Fault) -> Self {
        self.deck.push((percent, fault));
        assert!(self.deck.iter().map(|(percent, _)| percent).sum::<usize>() <= BLOCK, "more than all calls");
        self
    }

    /// The faults of an unreliable provider: of 100 calls, 9 take `slow`, 1 has no answer, 5 are over a rate limit that
    /// ends after `retry_after`, 2 have broken JSON, and 1 is cut.
    pub fn unreliable(seed: u64, slow: Duration, retry_after: Duration) -> Self {
        Self::seeded(seed)
            .with(9, Fault::Slow { delay: slow })
            .with(1, Fault::Silent)
            .with(5, Fault::Limited { retry_after })
            .with(2, Fault::BrokenJson)
            .with(1, Fault::Cut)
    }

    /// The fault of a call, by its number from 0.
    pub fn fault(&self, call: usize) -> Option<Fault> {
        let mut place = self.place(call);
        for &(percent, fault) in &self.deck {
            if place < percent {
                return Some(fault);
            }
            place -= percent;
        }
        None
    }

    /// The place of a call in the shuffled block that it belongs to (Fisher and Yates).
    fn place(&self, call: usize) -> usize {
        let mut places: Vec<usize> = (0..BLOCK).collect();
        let mut state = self.seed ^ ((call / BLOCK) as u64).rotate_left(32);
        for last in (1..BLOCK).rev() {
            let other = usize::try_from(split_mix(&mut state) % (last as u64 + 1)).unwrap_or_default();
            places.swap(last, other);
        }
        places[call % BLOCK]
    }
}

/// `SplitMix64`.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hundred_calls_have_the_configured_faults() {
        let limited = Fault::Limited { retry_after: Duration::from_secs(1) };
        let faults = Faults::unreliable(7, Duration::from_secs(45), Duration::from_secs(1));
        for block in 0..5 {
            let drawn: Vec<_> = (block * 100..(block + 1) * 100).map(|call| faults.fault(call)).collect();
            let count = |wanted| drawn.iter().filter(|fault| **fault == wanted).count();
            assert_eq!(count(Some(Fault::Slow { delay: Duration::from_secs(45) })), 9);
            assert_eq!(count(Some(Fault::Silent)), 1);
            assert_eq!(count(Some(limited)), 5);
            assert_eq!(count(Some(Fault::BrokenJson)), 2);
            assert_eq!(count(Some(Fault::Cut)), 1);
            assert_eq!(count(None), 82);
        }
    }

    #[test]
    fn schedule_follows_the_seed() {
        let schedule = |seed| {
            let faults = Faults::unreliable(seed, Duration::from_secs(45), Duration::from_secs(1));
            (0..300).map(move |call| faults.fault(call)).collect::<Vec<_>>()
        };
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
        let first = schedule(1);
        assert_ne!(first[..100], first[100..200], "each block has its own order");
    }
}
