//! Managed keys: their format and how they are recognised.
//!
//! ```text
//! onr_  AbCdEfGhIjKl  MnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrS  TuVwX
//!       id            secret                                       checksum
//! ```
//!
//! `onr_`, then base64url of 45 bytes: an id of 9, a secret of 32, and the CRC-32 of those 41 in
//! big-endian order. A key has 64 characters, which a double click selects as one word; the pattern
//! for secret scanners is `onr_[A-Za-z0-9_-]{60}`. The 12 characters after the prefix are the
//! public id. The later parts do not start at character boundaries.
//!
//! The checksum is not a secret and protects nothing. It detects a mistyped key without reading a
//! store, and prevents scanners from reporting texts that are not keys. The store contains the
//! SHA-256 of the 32 secret bytes.
//!
//! **Changing the prefix or the layout invalidates every existing key.**

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::key::{KeyDigest, KeyId, MANAGED_ID_CHARS};

/// The prefix of every managed key.
pub(crate) const PREFIX: &str = "onr_";

const ID_BYTES: usize = 9;
const SECRET_BYTES: usize = 32;
const CHECKED_BYTES: usize = ID_BYTES + SECRET_BYTES;
const BYTES: usize = CHECKED_BYTES + 4;

/// The length of the id in characters. 9 bytes are exactly 12 base64 characters.
const ID_CHARS: usize = MANAGED_ID_CHARS;
const _: () = assert!(ID_BYTES / 3 * 4 == ID_CHARS);

/// The number of characters after the prefix.
const BODY_CHARS: usize = BYTES / 3 * 4;

/// The number of characters in a key.
const CHARS: usize = PREFIX.len() + BODY_CHARS;

/// A complete managed key. Only its stored record decides whether it is accepted.
///
/// The text is overwritten on drop, `Debug` does not print it, there is no `Display`, and the value
/// cannot be cloned.
pub struct ManagedKey {
    text: Zeroizing<String>,
    id: KeyId,
    digest: KeyDigest,
}

/// Why a text is not a managed key. The message does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFormatError {
    /// The prefix is missing.
    #[error("the key does not begin with `onr_`")]
    Prefix,
    /// The text is truncated, or more than one key.
    #[error("the key has {chars} characters instead of 64; copy the whole key")]
    Length {
        /// The number of characters.
        chars: usize,
    },
    /// A character does not occur in keys.
    #[error("the key has a character other than letters, digits, `-` and `_`")]
    Alphabet,
    /// A character was changed.
    #[error("the key's checksum is wrong; a character was changed, so copy the key again")]
    Checksum,
}

impl ManagedKey {
    /// Parses a key. Surrounding white space is dropped.
    ///
    /// # Errors
    ///
    /// The first problem: prefix, length, alphabet, then checksum.
    pub fn parse(text: &str) -> Result<ManagedKey, KeyFormatError> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).ok_or(KeyFormatError::Prefix)?;
        let chars = text.chars().count();
        if chars != CHARS {
            return Err(KeyFormatError::Length { chars });
        }
        let mut bytes = Zeroizing::new([0; BYTES]);
        let Ok(BYTES) = URL_SAFE_NO_PAD.decode_slice(body, bytes.as_mut_slice()) else {
            return Err(KeyFormatError::Alphabet);
        };
        let (checked, checksum) = bytes.split_at(CHECKED_BYTES);
        if checksum_of(checked) != checksum {
            return Err(KeyFormatError::Checksum);
        }
        Ok(ManagedKey::of(Zeroizing::new(text.to_owned()), &bytes))
    }

    /// Builds the key from its text and the decoded bytes.
    fn of(text: Zeroizing<String>, bytes: &[u8; BYTES]) -> ManagedKey {
        let id = KeyId::of_managed(&text[PREFIX.len()..][..ID_CHARS]);
        let digest = KeyDigest::of_bytes(&bytes[ID_BYTES..CHECKED_BYTES]);
        ManagedKey { text, id, digest }
    }

    /// Generates a key from bytes that `fill` must draw from a cryptographic random generator.
    ///
    /// # Errors
    ///
    /// The error of `fill`.
    pub fn generate<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<ManagedKey, E> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let (checked, checksum) = bytes.split_at_mut(CHECKED_BYTES);
        fill(checked)?;
        checksum.copy_from_slice(&checksum_of(checked));
        // Reserved in full: growing would leave a copy of the key in memory.
        let mut text = Zeroizing::new(String::with_capacity(CHARS));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Ok(ManagedKey::of(text, &bytes))
    }

    /// The text of the key, to show once. Never log it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The key's public id, by which its record is found.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The digest of the secret, which is stored and compared.
    pub fn digest(&self) -> &KeyDigest {
        &self.digest
    }
}

impl fmt::Debug for ManagedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedKey").field("id", &self.id.as_str()).finish_non_exhaustive()
    }
}

/// Finds the managed keys in `bytes`, such as a file's content: the offset and id of each. Texts
/// with a wrong checksum are skipped, so a random match is reported once in four billion times.
pub fn find_managed_keys(bytes: &[u8]) -> impl Iterator<Item = (usize, KeyId)> {
    bytes.windows(CHARS).enumerate().filter(|(_, window)| window.starts_with(PREFIX.as_bytes())).filter_map(
        |(offset, window)| {
            let key = ManagedKey::parse(str::from_utf8(window).ok()?).ok()?;
            Some((offset, key.id))
        },
    )
}

/// Cuts anything that looks like a managed key, or the start of one, after its id. Use it for texts
/// that callers choose and other people read.
pub(crate) fn without_secrets(text: &str) -> String {
    let is_key_char = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(offset) = rest.find(PREFIX) {
        let (before, key) = rest.split_at(offset);
        let length = key.find(|char| !is_key_char(char)).unwrap_or(key.len());
        let (key, after) = key.split_at(length);
        shown.push_str(before);
        shown.push_str(&key[..length.min(PREFIX.len() + ID_CHARS)]);
        if length > PREFIX.len() + ID_CHARS {
            shown.push('…');
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

fn checksum_of(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use subtle::ConstantTimeEq;

    use super::*;

    /// The key of the bytes 0 to 40, as a test vector for other implementations.
    const VECTOR: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";

    fn key_of(bytes: [u8; CHECKED_BYTES]) -> ManagedKey {
        let generated = ManagedKey::generate(|buffer| {
            buffer.copy_from_slice(&bytes);
            Ok::<(), Infallible>(())
        });
        generated.unwrap()
    }

    fn vector() -> ManagedKey {
        key_of(std::array::from_fn(|offset| u8::try_from(offset).unwrap()))
    }

    #[test]
    fn key_format_matches_the_test_vector() {
        let key = vector();
        assert_eq!(key.expose(), VECTOR);
        assert_eq!(key.expose().len(), 64);
        assert_eq!(key.id().as_str(), "AAECAwQFBgcI");
        let secret: Vec<u8> = (9..41).collect();
        assert!(bool::from(key.digest().ct_eq(&KeyDigest::of_bytes(&secret))));
    }

    #[test]
    fn white_space_around_a_key_is_ignored() {
        assert_eq!(ManagedKey::parse(&format!(" {VECTOR}\r\n")).unwrap().expose(), VECTOR);
    }

    #[test]
    fn malformed_key_is_refused_for_its_first_problem() {
        let long = format!("{VECTOR}A");
        let foreign = VECTOR.replace('_', "-").replacen('-', "_", 1).replace("AAEC", "AA+C");
        let umlaut = VECTOR.replacen("AAEC", "AAÄC", 1);
        let changed = VECTOR.replacen("AAEC", "AAED", 1);
        for (text, expected) in [
            ("", KeyFormatError::Prefix),
            ("ONR_", KeyFormatError::Prefix),
            (&VECTOR[4..], KeyFormatError::Prefix),
            ("onr_", KeyFormatError::Length { chars: 4 }),
            (&VECTOR[..63], KeyFormatError::Length { chars: 63 }),
            (&long, KeyFormatError::Length { chars: 65 }),
            (&foreign, KeyFormatError::Alphabet),
            (&umlaut, KeyFormatError::Alphabet),
            (&changed, KeyFormatError::Checksum),
        ] {
            assert_eq!(ManagedKey::parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn debug_prints_only_the_id() {
        assert_eq!(format!("{:?}", vector()), "ManagedKey { id: \"AAECAwQFBgcI\", .. }");
    }

    #[test]
    fn keys_are_found_at_every_offset() {
        let other = key_of([7; CHECKED_BYTES]);
        let wrong = VECTOR.replacen("AAEC", "AAED", 1);
        let text = format!("KEY={VECTOR}\nonr_ {wrong} \u{e9}{}{VECTOR}", other.expose());
        let found: Vec<_> = find_managed_keys(text.as_bytes()).collect();
        let offsets: Vec<_> = found.iter().map(|(offset, id)| (*offset, id.as_str())).collect();
        let second = text.find(other.expose()).unwrap();
        assert_eq!(
            offsets,
            [(4, "AAECAwQFBgcI"), (second, other.id().as_str()), (second + 64, "AAECAwQFBgcI")]
        );
        assert_eq!(find_managed_keys(&VECTOR.as_bytes()[..63]).count(), 0);
    }

    #[test]
    fn secrets_are_cut_from_texts() {
        for (text, expected) in [
            ("curl/8.14.1", "curl/8.14.1".to_owned()),
            ("onr_", "onr_".to_owned()),
            ("onr_AAECAwQFBgcI", "onr_AAECAwQFBgcI".to_owned()),
            (VECTOR, "onr_AAECAwQFBgcI…".to_owned()),
            (&VECTOR[..30], "onr_AAECAwQFBgcI…".to_owned()),
            (&format!("a {VECTOR}, é{VECTOR}"), "a onr_AAECAwQFBgcI…, éonr_AAECAwQFBgcI…".to_owned()),
            (&format!("onr_{VECTOR}"), "onr_onr_AAECAwQF…".to_owned()),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }

    proptest! {
        #[test]
        fn generated_key_parses_to_itself(bytes in proptest::array::uniform32(any::<u8>()), id: [u8; ID_BYTES]) {
            let mut checked = [0; CHECKED_BYTES];
            checked[..ID_BYTES].copy_from_slice(&id);
            checked[ID_BYTES..].copy_from_slice(&bytes);
            let key = key_of(checked);
            let read = ManagedKey::parse(key.expose()).unwrap();
            prop_assert_eq!(read.expose(), key.expose());
            prop_assert_eq!(read.id(), key.id());
            prop_assert!(bool::from(read.digest().ct_eq(key.digest())));
            let body_is_url_safe =
                key.expose()[4..].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            prop_assert!(body_is_url_safe);
        }

        #[test]
        fn changed_character_breaks_the_checksum(offset in 4..CHARS, character in "[A-Za-z0-9_-]") {
            let mut changed = VECTOR.to_owned();
            changed.replace_range(offset..=offset, &character);
            prop_assume!(changed != VECTOR);
            prop_assert_eq!(ManagedKey::parse(&changed).unwrap_err(), KeyFormatError::Checksum);
        }

        #[test]
        fn parsing_never_panics_and_errors_do_not_repeat_the_text(text in "(onr_)?\\PC{0,70}") {
            if let Err(error) = ManagedKey::parse(&text) {
                let printed = format!("{error} {error:?}");
                // Shorter texts may occur in the message by chance.
                prop_assert!(text.trim().len() < 16 || !printed.contains(text.trim()));
            }
        }

        #[test]
        fn searching_random_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(find_managed_keys(&bytes).count(), 0);
        }
    }
}
