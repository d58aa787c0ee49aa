//! Calls to addresses that users name.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use onerun_transport::{OutboundPolicy, Transport, TransportError};

use crate::{MasterKey, MasterKeyError, MasterKeySource};

/// How the deployment calls addresses that users name, and the key of the secrets that such calls need.
///
/// A function that calls none, or needs no secrets, has a part that fails.
#[derive(Clone)]
pub struct Outbound {
    /// Which addresses may be called.
    pub policy: Arc<OutboundPolicy>,
    /// Calls them. It must hold to the policy.
    pub transport: Arc<dyn Transport>,
    /// The master key.
    pub master_key: Arc<dyn MasterKeySource>,
}

impl Default for Outbound {
    /// Permits public addresses, calls none, and has no master key.
    fn default() -> Self {
        Self { policy: Arc::default(), transport: Arc::new(Unconnected), master_key: Arc::new(NoMasterKey) }
    }
}

struct Unconnected;

#[async_trait]
impl Transport for Unconnected {
    async fn send(&self, _: Request<Bytes>, _: Duration) -> Result<Response<Bytes>, TransportError> {
        Err(TransportError::Connect("this process makes no outbound calls".to_owned()))
    }
}

struct NoMasterKey;

#[async_trait]
impl MasterKeySource for NoMasterKey {
    async fn master_key(&self) -> Result<MasterKey, MasterKeyError> {
        Err(MasterKeyError::Missing("this process is configured without one".to_owned()))
    }
}
