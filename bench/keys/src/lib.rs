//! The shared parts of both measurements: keys, records, request headers and randomness.

use std::collections::BTreeSet;
use std::convert::Infallible;

use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{Grant, KeyId, KeyRecord, ManagedKey, NewKeySpec, Preset, ProjectAccess};
use onerun_domain::{Metadata, Name, ProjectId};

/// The random part of a managed key: 9 bytes of id and 32 of secret.
pub type KeyBytes = [u8; 41];

/// A fast generator for test choices (`SplitMix64`), seeded with the system's randomness.
pub struct Generator(u64);

impl Generator {
    /// A generator with its own seed.
    ///
    /// # Panics
    ///
    /// If the system has no randomness.
    #[expect(clippy::expect_used, reason = "nothing can be measured without it")]
    pub fn new() -> Generator {
        Generator(getrandom::u64().expect("the system's random generator works"))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.number() % bound).unwrap_or(0)
    }

    /// A byte that is not zero.
    pub fn change(&mut self) -> u8 {
        u8::try_from(self.number() % 255 + 1).unwrap_or(1)
    }

    /// As many bytes as requested.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.number().to_le_bytes()[0])
    }
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

/// The value below which a share of the sorted values lies, from 0 to 1.
///
/// # Panics
///
/// If there are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is an index"
)]
pub fn percentile<T: Copy>(sorted: &[T], share: f64) -> T {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The managed key with these bytes.
pub fn managed_key(drawn: &KeyBytes) -> ManagedKey {
    let made = ManagedKey::generate(|bytes| {
        bytes.copy_from_slice(drawn);
        Ok::<(), Infallible>(())
    });
    let Ok(key) = made;
    key
}

/// The record of a worker's key: several scopes, one project, an expiry.
///
/// # Panics
///
/// Never: the name and the id are valid.
#[expect(clippy::expect_used, reason = "constants")]
pub fn record(key: &ManagedKey, project: ProjectId, now: Timestamp) -> KeyRecord {
    let spec = NewKeySpec {
        name: Name::parse("worker").expect("a name"),
        grant: Grant {
            scopes: Preset::Worker.scopes(),
            projects: ProjectAccess::Only(BTreeSet::from([project])),
            expires_at: Some(now + SignedDuration::from_hours(90 * 24)),
            ..Grant::everything()
        },
        not_before: None,
        metadata: Metadata::default(),
    };
    KeyRecord::new(key, spec, KeyId::restore("root").expect("an id"), now)
}

/// Request headers as the Python SDK sends them, with a key.
///
/// # Panics
///
/// If the key cannot be in a header.
#[expect(clippy::expect_used, reason = "keys are visible ASCII")]
pub fn headers(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "api.example.com"),
        ("user-agent", "python-httpx/0.28.1"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
        ("content-type", "application/json"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-api-key", HeaderValue::from_str(key).expect("a key is a header's value"));
    headers
}
