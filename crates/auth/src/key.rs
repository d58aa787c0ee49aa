//! The root key, its digest, and the public ids by which keys are named.
//!
//! This module decides whether a text is fit to be a key at all. It does not decide whether a request may proceed, and
//! it makes no randomness: [`RootKey::generate`] is given a function that fills bytes.
//!
//! Invariant: the text of a key is held in memory that is overwritten on drop, by types that do not print it, and no
//! error repeats any part of it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::{DecodeSliceError, Engine as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The fewest bytes a key may decode to, and the number a generated key has.
const MIN_KEY_BYTES: usize = 32;

/// The most bytes a key may decode to. It keeps the text, 684 characters, well under what is read from a header.
const MAX_KEY_BYTES: usize = 512;

/// The length of [`MAX_KEY_BYTES`] in padded base64.
const MAX_KEY_CHARS: usize = MAX_KEY_BYTES.div_ceil(3) * 4;

/// How many characters the id of a managed key has.
pub(crate) const MANAGED_ID_CHARS: usize = 12;

/// With fewer different values than this a key was typed, not drawn: 32 random bytes have about 30.
const MIN_DISTINCT_VALUES: usize = 8;

/// Words of keys that were meant to be replaced, in lower case without punctuation.
///
/// Eight letters or more each, so that a random key contains one with a probability below one in a billion.
const PLACEHOLDERS: [&str; 14] = [
    "apikeyhere",
    "changeme",
    "changethis",
    "dummykey",
    "examplekey",
    "keygoeshere",
    "password",
    "placeholder",
    "replaceme",
    "replacethis",
    "secretkey",
    "yourapikey",
    "yourauthkey",
    "yoursecret",
];

/// The key that may do everything: what the documentation calls `AUTH_API_KEY`.
///
/// Standard base64 of 32 to 512 bytes. The text is overwritten when the value is dropped; it is not printed by `Debug`,
/// there is no `Display`, and the value cannot be cloned.
///
/// ```compile_fail,E0277
/// let key = onerun_auth::RootKey::parse("gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=").unwrap();
/// println!("{key}");
/// ```
pub struct RootKey {
    text: Zeroizing<String>,
}

impl RootKey {
    /// Takes a configured text as the root key, if it is one and is not obviously weak.
    ///
    /// White space around it is dropped, because files and secrets tend to end in a line feed. The padding may be left
    /// out, but the text is the key: clients send it as it is written in the configuration.
    pub fn parse(text: &str) -> Result<RootKey, WeakKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(WeakKey::Empty);
        }
        if text.len() > MAX_KEY_CHARS {
            return Err(WeakKey::TooLong);
        }
        // Before the base64: most placeholders are not base64, and "still the placeholder" is the better advice.
        if reads_as_placeholder(text.as_bytes()) {
            return Err(WeakKey::Placeholder);
        }

        let mut buffer = Zeroizing::new([0; MAX_KEY_BYTES]);
        let length = decode(text, &mut buffer)?;
        let bytes = &buffer[..length];
        if length < MIN_KEY_BYTES {
            return Err(WeakKey::TooShort { bytes: length });
        }
        if reads_as_placeholder(bytes) {
            return Err(WeakKey::Placeholder);
        }
        // Both forms: a pattern typed as text need not show in the bytes, nor a pattern of bytes in the text.
        refuse_pattern(bytes)?;
        refuse_pattern(text.trim_end_matches('=').as_bytes())?;

        Ok(RootKey { text: Zeroizing::new(text.to_owned()) })
    }

    /// Makes a new key of 32 bytes which `fill` draws from a cryptographic random generator.
    ///
    /// What `fill` leaves behind is held to the same rules as a configured key, so that a generator which silently does
    /// nothing makes no key of zeros.
    pub fn generate<E>(
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<RootKey, GenerateKeyError<E>> {
        let mut bytes = Zeroizing::new([0; MIN_KEY_BYTES]);
        fill(bytes.as_mut_slice()).map_err(GenerateKeyError::Random)?;
        let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        RootKey::parse(&text).map_err(GenerateKeyError::Weak)
    }

    /// The text of the key, to show or store it once. Whatever is done with it, it does not go to a log.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The digest by which the key is recognised without being kept.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(&self.text)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey")
    }
}

/// Why a text cannot be a key. The message says what to do about it and repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeakKey {
    /// Nothing, or nothing but white space.
    #[error("the key is empty; {ADVICE}")]
    Empty,
    /// A text from an example that was not replaced.
    #[error("the key is a placeholder, not a key; {ADVICE}")]
    Placeholder,
    /// Not the one canonical base64 text of some bytes.
    #[error("the key is not standard base64 on a single line; {ADVICE}")]
    NotBase64,
    /// Base64 of too few bytes to be out of reach of guessing.
    #[error("the key decodes to {bytes} bytes and needs {MIN_KEY_BYTES} or more; {ADVICE}")]
    TooShort {
        /// How many bytes the text decodes to.
        bytes: usize,
    },
    /// Longer than a key is ever made; likely a file of something else.
    #[error("the key decodes to more than {MAX_KEY_BYTES} bytes; {ADVICE}")]
    TooLong,
    /// The same value throughout.
    #[error("the key is one value repeated; {ADVICE}")]
    SingleValue,
    /// A shorter piece, repeated.
    #[error("the key is a shorter pattern repeated; {ADVICE}")]
    Repeated,
    /// Counting up or down, in steps of any size.
    #[error("the key is a sequence; {ADVICE}")]
    Sequential,
    /// Too few different values to be random.
    #[error("the key has too few different values to be random; {ADVICE}")]
    LowVariety,
}

/// What to do instead, at the end of every message of [`WeakKey`].
const ADVICE: &str = "make one with `openssl rand -base64 32` or `onerun keys generate`";

/// Why [`RootKey::generate`] made no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateKeyError<E> {
    /// The random generator failed.
    #[error("the random generator failed")]
    Random(#[source] E),
    /// The random generator gave bytes that are not random.
    #[error("the random generator gave bytes that are not random")]
    Weak(#[source] WeakKey),
}

/// The SHA-256 of a key's text: enough to recognise the key, not enough to use it.
///
/// A plain hash is right here because a key has 256 random bits; slow hashes protect what people choose.
///
/// Digests are compared only through [`ConstantTimeEq`]. A comparison that stops at the first difference does not
/// compile:
///
/// ```compile_fail,E0369
/// # use onerun_auth::KeyDigest;
/// let equal = KeyDigest::of("a") == KeyDigest::of("b");
/// ```
///
/// ```compile_fail,E0369
/// # use onerun_auth::KeyDigest;
/// let ordered = KeyDigest::of("a") < KeyDigest::of("b");
/// ```
///
/// ```compile_fail,E0277
/// # use onerun_auth::KeyDigest;
/// fn compared<T: Eq>(_: T) {}
/// compared(KeyDigest::of("a"));
/// ```
///
/// ```compile_fail,E0277
/// # use onerun_auth::KeyDigest;
/// fn sorted<T: Ord>(_: T) {}
/// sorted(KeyDigest::of("a"));
/// ```
///
/// ```compile_fail,E0277
/// # use onerun_auth::KeyDigest;
/// fn hashed<T: std::hash::Hash>(_: T) {}
/// hashed(KeyDigest::of("a"));
/// ```
///
/// This is what there is instead:
///
/// ```
/// # use onerun_auth::KeyDigest;
/// use subtle::ConstantTimeEq;
///
/// assert!(bool::from(KeyDigest::of("a").ct_eq(&KeyDigest::of("a"))));
/// assert!(!bool::from(KeyDigest::of("a").ct_eq(&KeyDigest::of("b"))));
/// ```
#[derive(Clone)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a key's text.
    pub fn of(text: &str) -> KeyDigest {
        KeyDigest::of_bytes(text.as_bytes())
    }

    /// The digest of a secret that is no text.
    pub(crate) fn of_bytes(bytes: &[u8]) -> KeyDigest {
        KeyDigest(Sha256::digest(bytes).into())
    }

    /// What no secret has as its digest: to compare with where there is nothing to compare with.
    pub(crate) const fn of_nothing() -> KeyDigest {
        KeyDigest([0; 32])
    }

    /// The digest as a store keeps it.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The digest that a store kept.
    pub fn from_bytes(bytes: [u8; 32]) -> KeyDigest {
        KeyDigest(bytes)
    }
}

impl From<&RootKey> for KeyDigest {
    fn from(key: &RootKey) -> KeyDigest {
        key.digest()
    }
}

impl ConstantTimeEq for KeyDigest {
    fn ct_eq(&self, other: &KeyDigest) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest")
    }
}

/// The public name of a key, safe in logs and answers. It is no part of the secret and is not derived from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Cow<'static, str>);

impl KeyId {
    /// The root key in force.
    pub const ROOT: KeyId = KeyId(Cow::Borrowed("root"));

    /// The root key before the last rotation.
    pub(crate) const ROOT_PREVIOUS: KeyId = KeyId(Cow::Borrowed("root-previous"));

    /// The root key that a rotation under way is about to put in force.
    pub(crate) const ROOT_PENDING: KeyId = KeyId(Cow::Borrowed("root-pending"));

    /// The id that a managed key begins with.
    pub(crate) fn of_managed(text: &str) -> KeyId {
        KeyId(Cow::Owned(text.to_owned()))
    }

    /// An id of any kind of key as a store kept it; `None` for a text that is none.
    pub fn restore(text: &str) -> Option<KeyId> {
        [KeyId::ROOT, KeyId::ROOT_PREVIOUS, KeyId::ROOT_PENDING]
            .into_iter()
            .find(|id| id.as_str() == text)
            .or_else(|| text.parse().ok())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a managed key: 12 characters of base64url.
impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<KeyId, InvalidKeyId> {
        let is_id = text.len() == MANAGED_ID_CHARS
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if is_id { Ok(KeyId::of_managed(text)) } else { Err(InvalidKeyId) }
    }
}

/// The text is no id of a managed key. It is not repeated, because it may be a whole key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of a key: the 12 characters that follow `onr_` in it")]
pub struct InvalidKeyId;

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Decodes canonical base64, padded or not, and says how many bytes it is.
///
/// Each engine refuses trailing bits and padding other than its own, so that no two texts are the same key.
fn decode(text: &str, buffer: &mut [u8; MAX_KEY_BYTES]) -> Result<usize, WeakKey> {
    let engine = if text.ends_with('=') { &STANDARD } else { &STANDARD_NO_PAD };
    engine.decode_slice(text, buffer).map_err(|error| match error {
        DecodeSliceError::OutputSliceTooSmall => WeakKey::TooLong,
        DecodeSliceError::DecodeError(_) => WeakKey::NotBase64,
    })
}

/// Whether the bytes are text with one of the [`PLACEHOLDERS`] in it, however it is written.
fn reads_as_placeholder(bytes: &[u8]) -> bool {
    if !bytes.is_ascii() {
        return false;
    }
    // Reserved in full, so that growing leaves no copy of the key behind.
    let mut letters = Zeroizing::new(String::with_capacity(bytes.len()));
    for byte in bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        letters.push(char::from(byte.to_ascii_lowercase()));
    }
    PLACEHOLDERS.iter().any(|word| letters.contains(word))
}

/// Refuses what nobody's random generator gives.
///
/// The bounds are far from anything random: by chance they refuse fewer than one key in 10^18.
fn refuse_pattern(values: &[u8]) -> Result<(), WeakKey> {
    if values.iter().all(|value| *value == values[0]) {
        return Err(WeakKey::SingleValue);
    }
    if (2..=values.len() / 2).any(|period| values[period..] == values[..values.len() - period]) {
        return Err(WeakKey::Repeated);
    }
    // A run goes on where a step equals the step before it. Half of them allows for the seams of `a-zA-Z0-9`.
    let run = values
        .windows(3)
        .filter(|three| three[1].wrapping_sub(three[0]) == three[2].wrapping_sub(three[1]))
        .count();
    if run * 2 >= values.len() {
        return Err(WeakKey::Sequential);
    }
    let mut seen = [false; 256];
    for value in values {
        seen[usize::from(*value)] = true;
    }
    if seen.into_iter().filter(|seen| *seen).count() < MIN_DISTINCT_VALUES {
        return Err(WeakKey::LowVariety);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

    /// A key from chosen bytes, judged as if they had been configured.
    fn judge(bytes: &[u8]) -> Option<WeakKey> {
        RootKey::parse(&STANDARD.encode(bytes)).err()
    }

    /// 32 bytes that no rule objects to, then as many more as asked for.
    fn noise(length: usize) -> Vec<u8> {
        (0..length.div_ceil(32))
            .flat_map(|block| Sha256::digest(block.to_be_bytes()).to_vec())
            .take(length)
            .collect()
    }

    #[test]
    fn surrounding_white_space_is_no_part_of_the_key() {
        let key = RootKey::parse(&format!(" \t{KEY}\r\n")).unwrap();
        assert_eq!(key.expose(), KEY);
    }

    #[test]
    fn padding_may_be_left_out() {
        let key = RootKey::parse(KEY.trim_end_matches('=')).unwrap();
        assert_eq!(key.expose(), KEY.trim_end_matches('='));
    }

    #[test]
    fn from_32_to_512_bytes_are_a_key() {
        for length in [32, 33, 34, 48, 64, 511, 512] {
            assert_eq!(judge(&noise(length)), None, "{length}");
        }
        assert_eq!(judge(&noise(31)), Some(WeakKey::TooShort { bytes: 31 }));
        assert_eq!(judge(&noise(513)), Some(WeakKey::TooLong));
        assert_eq!(RootKey::parse(&"A".repeat(1 << 20)).err(), Some(WeakKey::TooLong));
    }

    #[test]
    fn random_hexadecimal_is_a_key_because_it_is_base64_of_enough() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert!(RootKey::parse(hex).is_ok());
    }

    #[test]
    fn what_is_not_canonical_standard_base64_is_refused() {
        let cases = [
            "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQF=",  // trailing bits
            "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE==", // too much padding
            "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQ=",   // too little padding
            "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTt-_NnHh9CcVvQE=",  // the URL-safe alphabet
            "gZ8Y0m5yX2qJr1o0Gm3m\nS4u7wE6bTtKkNnHh9CcVvQE=", // two lines
            "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQ\u{e9}=",
            "\"gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=\"",
        ];
        for text in cases {
            assert_eq!(RootKey::parse(text).err(), Some(WeakKey::NotBase64), "{text}");
        }
    }

    #[test]
    fn nothing_is_no_key() {
        assert_eq!(RootKey::parse("").err(), Some(WeakKey::Empty));
        assert_eq!(RootKey::parse(" \n\t ").err(), Some(WeakKey::Empty));
    }

    #[test]
    fn one_value_throughout_is_refused() {
        for value in [0x00, 0x41, 0xff] {
            assert_eq!(judge(&[value; 32]), Some(WeakKey::SingleValue));
        }
        assert_eq!(RootKey::parse(&"A".repeat(44)).err(), Some(WeakKey::SingleValue));
        // One character throughout is three bytes over and over.
        assert_eq!(RootKey::parse(&"x".repeat(44)).err(), Some(WeakKey::Repeated));
    }

    #[test]
    fn a_repeated_pattern_is_refused() {
        assert_eq!(judge(&[0xde, 0xad].repeat(16)), Some(WeakKey::Repeated));
        assert_eq!(judge(&noise(16).repeat(2)), Some(WeakKey::Repeated));
        assert_eq!(judge(&noise(11).repeat(4)[..40]), Some(WeakKey::Repeated), "cut off in the middle");
        // Eleven characters: the pattern shows in the text and not in the bytes.
        assert_eq!(RootKey::parse(&"aQ3xZ7bK9mT".repeat(4)).err(), Some(WeakKey::Repeated));
    }

    #[test]
    fn a_sequence_is_refused() {
        assert_eq!(judge(&(0..32).collect::<Vec<u8>>()), Some(WeakKey::Sequential));
        assert_eq!(judge(&(100..140).rev().collect::<Vec<u8>>()), Some(WeakKey::Sequential));
        assert_eq!(judge(&(0..32).map(|n| n * 7).collect::<Vec<u8>>()), Some(WeakKey::Sequential));
        let alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789AB";
        assert_eq!(RootKey::parse(alphabet).err(), Some(WeakKey::Sequential));
    }

    #[test]
    fn few_different_values_are_refused() {
        let dice: Vec<u8> = noise(40).into_iter().map(|byte| byte % 7).collect();
        assert_eq!(judge(&dice), Some(WeakKey::LowVariety));
    }

    #[test]
    fn placeholders_are_refused_however_they_are_written() {
        let cases = [
            "changeme",
            "CHANGE_ME",
            "your-api-key-here",
            "<your api key>",
            "replace-me",
            "changemechangemechangemechangemechangemechan",
            "PasswordX9fKq2LmZ7VbT3RwYc8NdHs5JgPaUe4Ktx61",
        ];
        for text in cases {
            assert_eq!(RootKey::parse(text).err(), Some(WeakKey::Placeholder), "{text}");
        }
        assert_eq!(judge(b"your-api-key-here, at least 32 bytes"), Some(WeakKey::Placeholder));
    }

    #[test]
    fn letters_scattered_over_random_bytes_are_no_placeholder() {
        let mut bytes = noise(48);
        for (place, letter) in (0..).step_by(3).zip(b"changeme") {
            bytes[place] = *letter;
            bytes[place + 1] |= 0x80;
            bytes[place + 2] |= 0x80;
        }
        assert_eq!(judge(&bytes), None);
    }

    #[test]
    fn placeholders_are_long_enough_not_to_be_met_by_chance() {
        for word in PLACEHOLDERS {
            assert!(word.len() >= 8, "{word}");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word} is not as it is compared");
        }
    }

    #[test]
    fn random_keys_are_not_taken_for_weak_ones() {
        for seed in 0..5_000_u32 {
            let bytes = Sha256::digest(seed.to_be_bytes());
            assert_eq!(judge(&bytes), None, "{seed}");
        }
    }

    #[test]
    fn messages_say_what_to_do() {
        let cases = [
            WeakKey::Empty,
            WeakKey::Placeholder,
            WeakKey::NotBase64,
            WeakKey::TooShort { bytes: 12 },
            WeakKey::TooLong,
            WeakKey::SingleValue,
            WeakKey::Repeated,
            WeakKey::Sequential,
            WeakKey::LowVariety,
        ];
        for weak in cases {
            let message = weak.to_string();
            assert!(message.contains("`openssl rand -base64 32`"), "{message}");
            assert!(message.contains("`onerun keys generate`"), "{message}");
        }
        assert_eq!(
            WeakKey::TooShort { bytes: 12 }.to_string(),
            "the key decodes to 12 bytes and needs 32 or more; \
             make one with `openssl rand -base64 32` or `onerun keys generate`",
        );
    }

    #[test]
    fn a_generator_that_does_nothing_makes_no_key() {
        let outcome = RootKey::generate(|_| Ok::<(), Infallible>(()));
        assert!(matches!(outcome, Err(GenerateKeyError::Weak(WeakKey::SingleValue))));
    }

    #[test]
    fn a_generator_that_fails_makes_no_key() {
        let outcome = RootKey::generate(|_| Err("no entropy"));
        assert!(matches!(outcome, Err(GenerateKeyError::Random("no entropy"))));
    }

    #[test]
    fn a_digest_is_the_sha_256_of_the_text() {
        let abc = KeyDigest([
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ]);
        assert!(bool::from(KeyDigest::of("abc").ct_eq(&abc)));
    }

    #[test]
    fn digests_are_compared_in_full() {
        let digest = KeyDigest::of(KEY);
        for place in 0..32 {
            let mut other = digest.clone();
            other.0[place] ^= 1;
            assert!(!bool::from(digest.ct_eq(&other)), "{place}");
        }
    }

    #[test]
    fn debug_prints_the_names_of_types_and_nothing_of_the_key() {
        let key = RootKey::parse(KEY).unwrap();
        assert_eq!(format!("{key:?} {key:#?}"), "RootKey RootKey");
        assert_eq!(format!("{:?} {:#?}", key.digest(), key.digest()), "KeyDigest KeyDigest");
        assert_eq!(format!("{:?}", RootKey::parse(KEY)), "Ok(RootKey)");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_errors_repeat_nothing(text in "\\PC*") {
            if let Err(weak) = RootKey::parse(&text) {
                let told = format!("{weak} {weak:?}");
                // Shorter texts can be words of the message by chance.
                prop_assert!(text.trim().len() < 16 || !told.contains(text.trim()));
            }
        }

        #[test]
        fn an_accepted_key_is_the_canonical_text_of_its_bytes(text in "[A-Za-z0-9+/]{40,90}={0,3}") {
            if let Ok(key) = RootKey::parse(&text) {
                prop_assert_eq!(key.expose(), &text);
                let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).unwrap();
                prop_assert!(bytes.len() >= MIN_KEY_BYTES);
                let canonical = [STANDARD.encode(&bytes), STANDARD_NO_PAD.encode(&bytes)];
                prop_assert!(canonical.contains(&text));
            }
        }

        #[test]
        fn a_generated_key_is_read_back_as_the_same_key(random: [u8; 32]) {
            let key = RootKey::generate(|bytes| {
                bytes.copy_from_slice(&random);
                Ok::<(), Infallible>(())
            });
            // Shrinking may arrive at weak bytes; drawing them at random does not.
            prop_assume!(key.is_ok());
            let key = key.unwrap();
            let read = RootKey::parse(key.expose()).unwrap();
            prop_assert_eq!(read.expose(), key.expose());
            prop_assert!(bool::from(read.digest().ct_eq(&key.digest())));
            prop_assert_eq!(STANDARD.decode(key.expose()).unwrap(), random);
        }
    }
}
