//! The function of one route.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use lambda_runtime::LambdaEvent;
use onerun_api::{App, Authenticator, Route, Router};
use onerun_auth::{Credential, KeyRing, Principal, Refusal};
use onerun_host::SystemClock;
use serde_json::value::RawValue;

use crate::{
    EventError,
    aws::Aws,
    config::{KeyConfig, RouteConfig},
    engine,
    event::{Event, EventResponse, NotARequest},
    keys::SecretKeys,
    models::FunctionModels,
    secret::Secret,
};

/// The application and router of one route.
pub(crate) struct Api {
    app: App,
    router: Router,
    models: Arc<dyn FunctionModels>,
}

impl Api {
    /// Reads the secrets: that of the root key if the route needs a key, and that of the models' keys if the
    /// route calls models.
    pub(crate) async fn start(
        route: &'static Route,
        config: RouteConfig,
        aws: &Aws,
        models: Arc<dyn FunctionModels>,
    ) -> Result<Self, lambda_runtime::Error> {
        let (authenticator, ()) =
            tokio::join!(authenticator(config.keys, config.key_cache, aws), models.refresh());
        let engine = engine(aws, &config.engine, Arc::clone(&models));
        let app = App::new(engine, authenticator).with_key_cache(config.key_cache);
        // Unknown paths get the usual 404.
        Ok(Self { app, router: Router::new(&[route])?, models })
    }

    /// Answers a request. Fails only if the event is not an HTTP request.
    ///
    /// The event is raw JSON: if the runtime parsed it, a malformed event would fail without a log line here.
    pub(crate) async fn answer(
        &self,
        event: LambdaEvent<Box<RawValue>>,
    ) -> Result<EventResponse, EventError> {
        let (event, context) = event.into_parts();
        // The parser's error may repeat the event, so it is dropped.
        let event: Event = serde_json::from_str(event.get()).map_err(|_| NotARequest)?;
        let (request, payload) = event.into_request(context.request_id, &self.router)?;
        self.models.refresh().await;
        Ok(EventResponse::new(self.router.answer(&self.app, request).await, payload))
    }

    /// Waits until key uses are written.
    pub(crate) async fn drain(&self) {
        self.app.drain().await;
    }

    /// Waits until replies whose callers have left are stored.
    pub(crate) async fn finish_turns(&self) {
        self.app.engine().finish_turns().await;
    }

    /// How long a reply may take.
    pub(crate) fn reply_limit(&self) -> Duration {
        self.app.engine().reply_limit()
    }
}

async fn authenticator(
    keys: Option<KeyConfig>,
    key_cache: SignedDuration,
    aws: &Aws,
) -> Box<dyn Authenticator> {
    match keys {
        Some(KeyConfig::Secret { id, ttl, overlap }) => {
            let secret = Secret::new(aws.secrets_manager(), id);
            let keys = SecretKeys::new(secret, Arc::new(SystemClock), ttl, key_cache, overlap);
            keys.start().await;
            Box::new(keys)
        }
        Some(KeyConfig::Key(key)) => Box::new(KeyRing::new(&key)),
        None => Box::new(NoKeys),
    }
}

/// Accepts no key: the route needs none.
struct NoKeys;

#[async_trait::async_trait]
impl Authenticator for NoKeys {
    async fn authenticate(&self, _: &Credential, _: jiff::Timestamp) -> Result<Principal, Refusal> {
        Err(Refusal::AuthUnavailable)
    }
}
