//! The digests and public ids of keys.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The length of a managed key's id, in characters.
pub(crate) const MANAGED_ID_CHARS: usize = 12;

/// The SHA-256 of a key's text. It recognises the key and cannot be used as one.
///
/// A plain hash suffices because a key has 256 random bits; slow hashes protect passwords.
///
/// Digests are compared only through [`ConstantTimeEq`]. A comparison that stops at the first
/// difference does not compile:
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
/// Compare in constant time instead:
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

    /// The digest of a secret in bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> KeyDigest {
        KeyDigest(Sha256::digest(bytes).into())
    }

    /// A digest that no secret has, to compare with if there is no stored digest.
    pub(crate) const fn of_nothing() -> KeyDigest {
        KeyDigest([0; 32])
    }

    /// The digest as stored.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Restores a stored digest.
    pub fn from_bytes(bytes: [u8; 32]) -> KeyDigest {
        KeyDigest(bytes)
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

/// The public id of a key, safe in logs and responses. It is not derived from the secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Cow<'static, str>);

impl KeyId {
    /// The current root key.
    pub const ROOT: KeyId = KeyId(Cow::Borrowed("root"));

    /// The root key before the last rotation.
    pub(crate) const ROOT_PREVIOUS: KeyId = KeyId(Cow::Borrowed("root-previous"));

    /// The root key that a running rotation is about to make current.
    pub(crate) const ROOT_PENDING: KeyId = KeyId(Cow::Borrowed("root-pending"));

    /// All root keys.
    const ROOTS: [KeyId; 3] = [KeyId::ROOT, KeyId::ROOT_PREVIOUS, KeyId::ROOT_PENDING];

    /// The id in the text of a managed key, which is already validated.
    pub(crate) fn of_managed(text: &str) -> KeyId {
        KeyId(Cow::Owned(text.to_owned()))
    }

    /// Restores a stored id of any kind of key; `None` if the text is not an id.
    pub fn restore(text: &str) -> Option<KeyId> {
        KeyId::ROOTS.into_iter().find(|id| id.as_str() == text).or_else(|| text.parse().ok())
    }

    /// Whether this is a root key, at any time.
    pub fn is_root(&self) -> bool {
        KeyId::ROOTS.contains(self)
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

/// The text is not the id of a managed key. The message does not repeat it: it may be a whole key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of a key: the 12 characters that follow `onr_` in it")]
pub struct InvalidKeyId;

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_the_sha_256_of_the_text() {
        let abc = KeyDigest([
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ]);
        assert!(bool::from(KeyDigest::of("abc").ct_eq(&abc)));
    }

    #[test]
    fn digests_are_compared_in_full() {
        let digest = KeyDigest::of("a key");
        for index in 0..32 {
            let mut other = digest.clone();
            other.0[index] ^= 1;
            assert!(!bool::from(digest.ct_eq(&other)), "{index}");
        }
    }
}
