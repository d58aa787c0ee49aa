//! Who may call: the one root key of this machine.

use async_trait::async_trait;
use http::HeaderMap;
use jiff::Timestamp;
use onerun_api::Authenticator;
use onerun_auth::{KeyRing, Principal, Refusal, RootKey, authenticate};

/// A key ring that does not change while the process runs.
pub(crate) struct RootKeys(KeyRing);

impl RootKeys {
    pub(crate) fn new(key: &RootKey) -> Self {
        Self(KeyRing::new(key))
    }
}

#[async_trait]
impl Authenticator for RootKeys {
    async fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Principal, Refusal> {
        authenticate(&self.0, headers, now)
    }
}
