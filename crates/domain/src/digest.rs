//! Digests that identify inputs by content.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The SHA-256 of a list of texts, in hex. Each text is hashed with its length, so lists with the
/// same concatenation have different digests.
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
    fn lists_with_one_concatenation_have_different_digests() {
        assert_ne!(sha256_hex(["ab", "c"]), sha256_hex(["a", "bc"]));
        assert_ne!(sha256_hex(["a"]), sha256_hex(["a", ""]));
    }

    #[test]
    fn digest_of_no_texts_is_the_published_value() {
        // SHA-256 of nothing (FIPS 180-4).
        assert_eq!(sha256_hex([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
