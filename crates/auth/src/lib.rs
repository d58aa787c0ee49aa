//! API keys, scopes, and the decision whether a request may proceed.
//!
//! A host asks two questions. Who sent the request? [`Credential::of_request`] finds the key in the
//! headers, and [`recognize`] (root keys) or [`recognize_managed`] (managed keys) turns it into a
//! [`Principal`]. What may that key do? [`Principal::authorize`] and
//! [`Principal::authorize_project`] decide. A refused request gets a [`Refusal`], which carries its
//! status, code, public message and challenge, so that every host answers in the same words.
//!
//! ```
//! use http::{HeaderMap, HeaderValue};
//! use jiff::Timestamp;
//! use onerun_auth::{Access, Credential, KeyRing, RootKey, Scope, recognize};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = RootKey::parse("gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=")?;
//! let ring = KeyRing::new(&key);
//! let now: Timestamp = "2026-01-01T00:00:00Z".parse()?;
//!
//! let mut headers = HeaderMap::new();
//! let refusal = Credential::of_request(&headers).unwrap_err();
//! assert_eq!((refusal.status(), refusal.code()), (401, "missing_api_key"));
//!
//! headers.insert("x-api-key", HeaderValue::from_str(key.expose())?);
//! let principal = recognize(&ring, &Credential::of_request(&headers)?, now)?;
//! principal.authorize(Access::Requires(Scope::SimulationsWrite))?;
//! assert_eq!(principal.key_id().as_str(), "root");
//! # Ok(())
//! # }
//! ```
//!
//! This crate does no I/O. Time and random bytes are arguments, so each row of the decision table
//! has a plain unit test.
//!
//! Invariants:
//!
//! - The text of a key exists only inside types that do not print it and that overwrite it on drop.
//! - Keys are compared as SHA-256 digests, in constant time, with every accepted key.
//! - All requests with an invalid key get the same public answer. Only the log names the cause.
//! - Nothing is permitted by default: scope sets, project sets and access rules have no default
//!   value.

mod address;
mod audit;
mod cache;
mod change;
mod credential;
mod decision;
mod grant;
mod key;
mod limit;
mod managed;
mod principal;
mod record;
mod refusal;
mod ring;
mod root_key;
mod scope;
mod uses;

pub use crate::address::{AddressAccess, InvalidBlock, parse_block};
pub use crate::audit::{
    Actor, AuditAction, AuditCheck, AuditEntry, AuditError, AuditEvent, AuditHead, NO_HASH,
};
pub use crate::cache::{Instants, KEY_CACHE_TTL, KeyCache, Lookup};
pub use crate::change::KeyChangeError;
pub use crate::credential::{Credential, Presented};
pub use crate::decision::{recognize, recognize_again, recognize_managed};
pub use crate::grant::{Excess, Grant, ProjectAccess};
pub use crate::key::{InvalidKeyId, KeyDigest, KeyId};
pub use crate::limit::{RateLimit, RateStatus};
pub use crate::managed::{KeyFormatError, ManagedKey, find_managed_keys};
pub use crate::principal::{Access, KeyKind, Principal};
pub use crate::record::{KeyPatch, KeyRecord, KeyStatus, MAX_OVERLAP, NewKeySpec, Replacement};
pub use crate::refusal::{InvalidCause, Refusal};
pub use crate::ring::KeyRing;
pub use crate::root_key::{GenerateKeyError, RootKey, WeakKey};
pub use crate::scope::{Preset, Scope, ScopeSet, UnknownPreset, UnknownScope};
pub use crate::uses::{KeyUsage, KeyUse, UseLog, WRITE_EVERY};
