//! Digests that name what something was made from.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// SHA-256 of a list of texts, in hex. The length of each is hashed with it, so that lists which only join to the same
/// text have different digests.
pub fn sha256_hex<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_join_to_the_same_text_have_different_digests() {
        assert_ne!(sha256_hex(["ab", "c"]), sha256_hex(["a", "bc"]));
        assert_ne!(sha256_hex(["a"]), sha256_hex(["a", ""]));
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        // SHA-256 of nothing (FIPS 180-4).
        assert_eq!(sha256_hex([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
