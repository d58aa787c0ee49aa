//! The deployment's master key, from which the secrets of webhooks are derived.
//!
//! So the database has none of them. A deployment that loses its master key, or replaces it, needs new ones.

use std::fmt;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use onerun_domain::Random;
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use zeroize::Zeroizing;

/// The fewest characters of a master key. Base64 of 32 bytes has 44.
const MIN_CHARS: usize = 43;
const MAX_CHARS: usize = 1_024;

/// The use of a derived key. Keys of different purposes are unrelated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// The secret with which a webhook's requests are signed.
    WebhookSecret,
}

impl KeyPurpose {
    fn name(self) -> &'static str {
        match self {
            Self::WebhookSecret => "webhook secret",
        }
    }
}

/// Why the master key cannot be used. The texts are for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// The text is not a master key.
    #[error(
        "the master key must have from {MIN_CHARS} to {MAX_CHARS} characters, of ASCII and without spaces"
    )]
    Weak,
    /// The process has no master key.
    #[error("there is no master key: {0}")]
    Missing(String),
}

/// A master key. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct MasterKey(Prk);

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey")
    }
}

impl MasterKey {
    /// A new master key as text: base64 of 32 random bytes.
    pub fn generate(random: &dyn Random) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(bytes.as_mut());
        Zeroizing::new(STANDARD.encode(bytes.as_ref()))
    }

    /// Reads a master key. White space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        let is_valid =
            (MIN_CHARS..=MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            return Err(MasterKeyError::Weak);
        }
        Ok(Self(Salt::new(HKDF_SHA256, b"onerun master key").extract(text.as_bytes())))
    }

    /// Derives a key of 32 bytes for a purpose and the ids of what it belongs to, by HKDF (RFC 5869).
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "the length is that of a hash")]
    pub fn derive(&self, purpose: KeyPurpose, context: &[&str]) -> Zeroizing<[u8; 32]> {
        // Each part with its length, so that different ids never give the same text.
        let parts = std::iter::once(purpose.name()).chain(context.iter().copied());
        let info: Vec<String> = parts.map(|part| format!("{}:{part}", part.len())).collect();
        let info: Vec<&[u8]> = info.iter().map(String::as_bytes).collect();
        let mut derived = Zeroizing::new([0; 32]);
        self.0
            .expand(&info, HKDF_SHA256)
            .and_then(|key| key.fill(derived.as_mut()))
            .expect("32 bytes are the length of a hash");
        derived
    }
}

/// The source of the master key: a file on one machine, Secrets Manager on AWS.
#[async_trait]
pub trait MasterKeySource: Send + Sync {
    /// The master key. It is read when it is first needed.
    async fn master_key(&self) -> Result<MasterKey, MasterKeyError>;
}

#[async_trait]
impl MasterKeySource for MasterKey {
    async fn master_key(&self) -> Result<MasterKey, MasterKeyError> {
        Ok(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    const PURPOSE: KeyPurpose = KeyPurpose::WebhookSecret;

    fn key(byte: u8) -> MasterKey {
        MasterKey::parse(&MasterKey::generate(&Fixed(byte))).unwrap()
    }

    #[test]
    fn short_or_broken_text_is_no_master_key() {
        let long = "a".repeat(MAX_CHARS + 1);
        for text in ["", "changeme", &"a".repeat(MIN_CHARS - 1), &"a b".repeat(20), &"ä".repeat(43), &long] {
            assert_eq!(MasterKey::parse(text).unwrap_err(), MasterKeyError::Weak);
        }
        MasterKey::parse(&format!(" {}\n", "a".repeat(MIN_CHARS))).unwrap();
        assert_eq!(format!("{:?}", key(1)), "MasterKey");
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_context() {
        let keys = [
            key(1).derive(PURPOSE, &["a", "b"]),
            key(1).derive(PURPOSE, &["ab"]),
            key(1).derive(PURPOSE, &["", "ab"]),
            key(1).derive(PURPOSE, &["a1:b"]),
            key(2).derive(PURPOSE, &["a", "b"]),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[index + 1..].iter().all(|other| other != one), "{index}");
        }
        assert_eq!(key(1).derive(PURPOSE, &["a", "b"]), keys[0]);
    }
}
