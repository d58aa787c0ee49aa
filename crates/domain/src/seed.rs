//! Derived seeds for the parts of a simulation. With one shared seed, every persona would be the
//! same.

use sha2::{Digest, Sha256};

use crate::Seed;

/// Derives the seed of one part of a simulation, named by `path` (for example `["reply", "3",
/// "1"]`). Different paths give unrelated seeds; the same path always gives the same one.
pub fn derive_seed(seed: Seed, path: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.get().to_be_bytes());
    for part in path {
        // The length prefix distinguishes ["ab", "c"] from ["a", "bc"].
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
    fn paths_with_one_concatenation_have_different_seeds() {
        let seed = Seed::parse(7).unwrap();
        assert_ne!(derive_seed(seed, &["ab", "c"]), derive_seed(seed, &["a", "bc"]));
        assert_eq!(derive_seed(seed, &["a"]), derive_seed(seed, &["a"]));
    }
}
