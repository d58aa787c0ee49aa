//! Seeds for parts of a simulation, derived rather than shared: with one seed for all, every persona would be the
//! same one.

use sha2::{Digest, Sha256};

use crate::Seed;

/// A number for one part of a simulation, named by `path` (for example `["reply", "3", "1"]`). Different paths
/// give unrelated numbers, the same path always the same one.
pub fn derive_seed(seed: Seed, path: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.get().to_be_bytes());
    for part in path {
        // The length in front keeps ["ab", "c"] and ["a", "bc"] apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_join_to_the_same_text_have_different_seeds() {
        let seed = Seed::parse(7).unwrap();
        assert_ne!(derive_seed(seed, &["ab", "c"]), derive_seed(seed, &["a", "bc"]));
        assert_eq!(derive_seed(seed, &["a"]), derive_seed(seed, &["a"]));
    }
}
