//! API keys, scopes, and the one decision whether a request may proceed.
//!
//! Every host of the API (a function on Lambda, the server on a laptop, a test) asks the same two questions of this
//! crate: [`authenticate`] says who sent the request, and [`Principal::authorize`] and
//! [`Principal::authorize_project`] say what that key may do. A no is a [`Refusal`], which knows its own status, code,
//! public message and challenge, so that no host words its own.
//!
//! ```
//! use http::{HeaderMap, HeaderValue};
//! use jiff::Timestamp;
//! use onerun_auth::{Access, KeyRing, RootKey, Scope, authenticate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = RootKey::parse("gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=")?;
//! let ring = KeyRing::new(&key);
//! let now: Timestamp = "2026-01-01T00:00:00Z".parse()?;
//!
//! let mut headers = HeaderMap::new();
//! let refusal = authenticate(&ring, &headers, now).unwrap_err();
//! assert_eq!((refusal.status(), refusal.code()), (401, "missing_api_key"));
//!
//! headers.insert("x-api-key", HeaderValue::from_str(key.expose())?);
//! let principal = authenticate(&ring, &headers, now)?;
//! principal.authorize(Access::Requires(Scope::SimulationsWrite))?;
//! assert_eq!(principal.key_id().as_str(), "root");
//! # Ok(())
//! # }
//! ```
//!
//! What it does not do: read a clock, a file, the environment or a network, or make randomness. Time and random bytes
//! are arguments, so every row of the decision table is a plain unit test.
//!
//! Invariants:
//!
//! - A key's text is in memory only inside types that do not print it and that overwrite it when they are dropped.
//! - Keys are compared as SHA-256 digests, in constant time, with every accepted key.
//! - All requests with an invalid key get the same public answer. What is wrong with it is for the log alone.
//! - Nothing is permitted because nothing was said: no scope set, project set or access rule has a default.

mod address;
mod audit;
mod cache;
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
mod scope;
mod uses;

pub use crate::address::{AddressAccess, NotABlock, parse_block};
pub use crate::audit::{
    Actor, AuditAction, AuditCheck, AuditEntry, AuditError, AuditEvent, AuditHead, NO_HASH,
};
pub use crate::cache::{KEY_CACHE_TTL, KeyCache, Looked, Moment};
pub use crate::credential::{Credential, InvalidCause, Presented};
pub use crate::decision::{authenticate, recognize, recognize_again, recognize_managed};
pub use crate::grant::{Excess, Grant};
pub use crate::key::{GenerateKeyError, KeyDigest, KeyId, NotAKeyId, RootKey, WeakKey};
pub use crate::limit::{RateLimit, RateStatus};
pub use crate::managed::{KeyFormatError, ManagedKey, find_managed_keys};
pub use crate::principal::{Access, KeyKind, Principal, ProjectAccess};
pub use crate::record::{KeyPatch, KeyRecord, KeyStatus, KeyTerms, MAX_OVERLAP, Replaced};
pub use crate::refusal::Refusal;
pub use crate::ring::KeyRing;
pub use crate::scope::{Preset, Scope, ScopeSet, UnknownPreset, UnknownScope};
pub use crate::uses::{KeyUsage, KeyUse, UseLog, WRITE_EVERY};
