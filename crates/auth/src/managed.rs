//! Managed keys: what they look like, and how one is told from a text that only looks like one.
//!
//! ```text
//! onr_  AbCdEfGhIjKl  MnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrS  TuVwX
//!       id            secret                                       checksum
//! ```
//!
//! `onr_`, then base64url of 45 bytes: an id of 9, a secret of 32, and the CRC-32 of those 41, big end first. Always 64
//! characters of which a double click selects all; the pattern for scanners is `onr_[A-Za-z0-9_-]{60}`. The 12
//! characters after the prefix are the id, which is public; the parts behind it do not begin at characters.
//!
//! The checksum is no secret and protects nothing: it tells a mistyped key without a look at any store, and keeps
//! scanners from calling a text a key that is none. What is stored of a key is the SHA-256 of its 32 secret bytes.
//!
//! **Changing the prefix or the layout makes every key that was ever given out invalid.**

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::key::{KeyDigest, KeyId, MANAGED_ID_CHARS};

/// What every managed key begins with.
pub(crate) const PREFIX: &str = "onr_";

const ID_BYTES: usize = 9;
const SECRET_BYTES: usize = 32;
const CHECKED_BYTES: usize = ID_BYTES + SECRET_BYTES;
const BYTES: usize = CHECKED_BYTES + 4;

/// The characters of the id: 9 bytes are 12 of base64, so it ends where one does.
const ID_CHARS: usize = MANAGED_ID_CHARS;
const _: () = assert!(ID_BYTES / 3 * 4 == ID_CHARS);

/// The characters after the prefix.
const BODY_CHARS: usize = BYTES / 3 * 4;

/// The characters of a key.
const CHARS: usize = PREFIX.len() + BODY_CHARS;

/// A managed key, complete. Whether it is accepted is for whoever knows the stored ones.
///
/// The text is overwritten when the value is dropped; it is not printed by `Debug`, there is no `Display`, and the
/// value cannot be cloned.
pub struct ManagedKey {
    text: Zeroizing<String>,
    id: KeyId,
    digest: KeyDigest,
}

/// Why a text is no managed key. Repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFormatError {
    /// It does not begin as one.
    #[error("the key does not begin with `onr_`")]
    Prefix,
    /// It is too short or too long: cut off, or two in one.
    #[error("the key has {chars} characters instead of 64; it was perhaps not copied whole")]
    Length {
        /// How many it has.
        chars: usize,
    },
    /// A character in it occurs in no key.
    #[error("the key has a character other than letters, digits, `-` and `_`")]
    Alphabet,
    /// It is not what was given out: a character was changed.
    #[error("the key's checksum is wrong; a character of it was changed")]
    Checksum,
}

impl ManagedKey {
    /// Reads a key. White space around it is dropped.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, in the order in which a person would look.
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

    /// The key of a text and of the bytes that it stands for.
    fn of(text: Zeroizing<String>, bytes: &[u8; BYTES]) -> ManagedKey {
        let id = KeyId::of_managed(&text[PREFIX.len()..][..ID_CHARS]);
        let digest = KeyDigest::of_bytes(&bytes[ID_BYTES..CHECKED_BYTES]);
        ManagedKey { text, id, digest }
    }

    /// Makes a key of bytes which `fill` draws from a cryptographic random generator.
    ///
    /// # Errors
    ///
    /// Those of `fill`.
    pub fn generate<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<ManagedKey, E> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let (checked, checksum) = bytes.split_at_mut(CHECKED_BYTES);
        fill(checked)?;
        checksum.copy_from_slice(&checksum_of(checked));
        // Reserved in full, so that growing leaves no copy of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(CHARS));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Ok(ManagedKey::of(text, &bytes))
    }

    /// The text of the key, to show it once. Whatever is done with it, it does not go to a log.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The key's public name, by which it is looked up.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The digest of its secret: what is stored, and compared.
    pub fn digest(&self) -> &KeyDigest {
        &self.digest
    }
}

impl fmt::Debug for ManagedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedKey").field("id", &self.id.as_str()).finish_non_exhaustive()
    }
}

/// Where managed keys are in some bytes, such as a file's: the place of each, and the key's public name. A text that only
/// looks like a key is passed over; one that does by chance has a right checksum once in four billion times.
pub fn find_managed_keys(bytes: &[u8]) -> impl Iterator<Item = (usize, KeyId)> {
    bytes.windows(CHARS).enumerate().filter(|(_, window)| window.starts_with(PREFIX.as_bytes())).filter_map(
        |(place, window)| {
            let key = ManagedKey::parse(str::from_utf8(window).ok()?).ok()?;
            Some((place, key.id))
        },
    )
}

/// A text with what looks like a managed key, or like the beginning of one, cut off behind its id: for texts that callers
/// choose and others read.
pub(crate) fn without_secrets(text: &str) -> String {
    let is_key_char = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(PREFIX) {
        let (before, key) = rest.split_at(place);
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

    /// The key of the bytes 0 to 40: a vector for other implementations.
    const VECTOR: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";

    fn key_of(bytes: [u8; CHECKED_BYTES]) -> ManagedKey {
        let made = ManagedKey::generate(|buffer| {
            buffer.copy_from_slice(&bytes);
            Ok::<(), Infallible>(())
        });
        made.unwrap()
    }

    fn vector() -> ManagedKey {
        key_of(std::array::from_fn(|place| u8::try_from(place).unwrap()))
    }

    #[test]
    fn a_key_looks_as_it_always_did() {
        let key = vector();
        assert_eq!(key.expose(), VECTOR);
        assert_eq!(key.expose().len(), 64);
        assert_eq!(key.id().as_str(), "AAECAwQFBgcI");
        let secret: Vec<u8> = (9..41).collect();
        assert!(bool::from(key.digest().ct_eq(&KeyDigest::of_bytes(&secret))));
    }

    #[test]
    fn white_space_around_a_key_is_no_part_of_it() {
        assert_eq!(ManagedKey::parse(&format!(" {VECTOR}\r\n")).unwrap().expose(), VECTOR);
    }

    #[test]
    fn what_is_wrong_with_a_text_is_told() {
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
    fn debug_prints_the_id_and_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", vector()), "ManagedKey { id: \"AAECAwQFBgcI\", .. }");
    }

    #[test]
    fn keys_are_found_wherever_they_are_and_nothing_else_is() {
        let other = key_of([7; CHECKED_BYTES]);
        let wrong = VECTOR.replacen("AAEC", "AAED", 1);
        let text = format!("KEY={VECTOR}\nonr_ {wrong} \u{e9}{}{VECTOR}", other.expose());
        let found: Vec<_> = find_managed_keys(text.as_bytes()).collect();
        let places: Vec<_> = found.iter().map(|(place, id)| (*place, id.as_str())).collect();
        let second = text.find(other.expose()).unwrap();
        assert_eq!(
            places,
            [(4, "AAECAwQFBgcI"), (second, other.id().as_str()), (second + 64, "AAECAwQFBgcI")]
        );
        assert_eq!(find_managed_keys(&VECTOR.as_bytes()[..63]).count(), 0);
    }

    #[test]
    fn what_follows_an_id_is_cut_off_wherever_it_stands() {
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
        fn a_key_is_read_back_as_the_same_key(bytes in proptest::array::uniform32(any::<u8>()), id: [u8; ID_BYTES]) {
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
        fn one_changed_character_is_always_noticed(place in 4..CHARS, character in "[A-Za-z0-9_-]") {
            let mut changed = VECTOR.to_owned();
            changed.replace_range(place..=place, &character);
            prop_assume!(changed != VECTOR);
            prop_assert_eq!(ManagedKey::parse(&changed).unwrap_err(), KeyFormatError::Checksum);
        }

        #[test]
        fn no_text_makes_it_panic_and_no_error_repeats_it(text in "(onr_)?\\PC{0,70}") {
            if let Err(error) = ManagedKey::parse(&text) {
                let told = format!("{error} {error:?}");
                // Shorter texts can be words of the message by chance.
                prop_assert!(text.trim().len() < 16 || !told.contains(text.trim()));
            }
        }

        #[test]
        fn no_bytes_make_the_search_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(find_managed_keys(&bytes).count(), 0);
        }
    }
}
