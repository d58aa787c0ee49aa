//! The deployment's master key: webhooks' secrets are derived from it, and agents' credentials are encrypted with it.
//!
//! So the database alone has none of them. A deployment that loses its master key, or replaces it, needs new ones.

use std::fmt;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use onerun_domain::Random;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
};
use zeroize::Zeroizing;

/// The version of the form of encrypted text.
const VERSION: &str = "1.";

/// The fewest characters of a master key. Base64 of 32 bytes has 44.
const MIN_CHARS: usize = 43;
const MAX_CHARS: usize = 1_024;

/// The use of a derived key. Keys of different purposes are unrelated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// The secret with which a webhook's requests are signed.
    WebhookSecret,
    /// The encryption of an agent's credential.
    AgentCredential,
}

impl KeyPurpose {
    fn name(self) -> &'static str {
        match self {
            Self::WebhookSecret => "webhook secret",
            Self::AgentCredential => "agent credential",
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
    /// The encrypted text was changed, belongs elsewhere, or was encrypted with another master key.
    #[error(
        "a credential cannot be decrypted with the master key; if the key was replaced, set the credential again"
    )]
    Undecipherable,
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

    /// Encrypts a text with ChaCha20-Poly1305. Only a call of [`open`](Self::open) with the same purpose and context
    /// decrypts it.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "a text is far shorter than the cipher's limit"
    )]
    pub fn seal(&self, purpose: KeyPurpose, context: &[&str], text: &str, random: &dyn Random) -> String {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut bytes = text.as_bytes().to_vec();
        let key = self.cipher(purpose, context);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes)
            .expect("a text is far shorter than the limit of the cipher");
        format!("{VERSION}{}", STANDARD.encode([&nonce[..], &bytes].concat()))
    }

    /// Decrypts a text that [`seal`](Self::seal) encrypted.
    pub fn open(
        &self,
        purpose: KeyPurpose,
        context: &[&str],
        sealed: &str,
    ) -> Result<Zeroizing<String>, MasterKeyError> {
        let decrypt = || {
            let mut bytes = Zeroizing::new(STANDARD.decode(sealed.strip_prefix(VERSION)?).ok()?);
            let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let text = self.cipher(purpose, context).open_in_place(nonce, Aad::empty(), sealed).ok()?;
            Some(Zeroizing::new(String::from_utf8(text.to_vec()).ok()?))
        };
        decrypt().ok_or(MasterKeyError::Undecipherable)
    }

    #[expect(clippy::expect_used, reason = "the length is that of the cipher's key")]
    fn cipher(&self, purpose: KeyPurpose, context: &[&str]) -> LessSafeKey {
        let key = self.derive(purpose, context);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("the cipher's key has 32 bytes");
        LessSafeKey::new(key)
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
    const SEALED: KeyPurpose = KeyPurpose::AgentCredential;

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
            key(1).derive(SEALED, &["a", "b"]),
            key(2).derive(PURPOSE, &["a", "b"]),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[index + 1..].iter().all(|other| other != one), "{index}");
        }
        assert_eq!(key(1).derive(PURPOSE, &["a", "b"]), keys[0]);
    }

    #[test]
    fn encrypted_text_opens_only_where_it_belongs() {
        let sealed = key(1).seal(SEALED, &["project", "agent"], "sk-secret ✓", &Fixed(7));
        assert!(!sealed.contains("secret"));
        let open = |key: &MasterKey, purpose, context: &[&str], sealed: &str| {
            key.open(purpose, context, sealed).map(|text| text.to_string())
        };
        assert_eq!(open(&key(1), SEALED, &["project", "agent"], &sealed).as_deref(), Ok("sk-secret ✓"));
        let refused = Err(MasterKeyError::Undecipherable);
        assert_eq!(open(&key(1), SEALED, &["project", "other"], &sealed), refused);
        assert_eq!(open(&key(1), KeyPurpose::WebhookSecret, &["project", "agent"], &sealed), refused);
        assert_eq!(open(&key(2), SEALED, &["project", "agent"], &sealed), refused);
        let mut changed = STANDARD.decode(&sealed[VERSION.len()..]).unwrap();
        for index in 0..changed.len() {
            changed[index] ^= 1;
            let text = format!("{VERSION}{}", STANDARD.encode(&changed));
            assert_eq!(open(&key(1), SEALED, &["project", "agent"], &text), refused, "{index}");
            changed[index] ^= 1;
        }
        for broken in ["", VERSION, "1.AAAA", "2.AAAA", "1.*"] {
            assert_eq!(open(&key(1), SEALED, &["project", "agent"], broken), refused, "{broken}");
        }
    }
}
