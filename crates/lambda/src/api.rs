//! A function that answers one route.

use std::sync::Arc;

use lambda_runtime::LambdaEvent;
use onerun_api::{App, Authenticator, Route, Router};
use onerun_auth::{Credential, KeyRing, Principal, Refusal};
use onerun_host::SystemClock;
use serde_json::value::RawValue;

use crate::{
    Failure,
    aws::Aws,
    config::{KeyConfig, RouteConfig},
    engine,
    event::{Event, EventResponse, NotARequest},
    keys::SecretKeys,
    secret::Secret,
};

/// Everything that requests for one route are answered with.
pub(crate) struct Api {
    app: App,
    router: Router,
}

impl Api {
    /// Makes the clients, and reads the secret if the route asks for a key.
    pub(crate) async fn start(
        route: &'static Route,
        config: RouteConfig,
    ) -> Result<Self, lambda_runtime::Error> {
        let aws = Aws::new(config.engine.aws.clone());
        let authenticator: Box<dyn Authenticator> = match config.keys {
            Some(KeyConfig::Secret { id, ttl, overlap }) => {
                let secret = Secret::new(aws.secrets_manager(), id);
                let keys = SecretKeys::new(secret, Arc::new(SystemClock), ttl, config.key_cache, overlap);
                keys.start().await;
                Box::new(keys)
            }
            Some(KeyConfig::Key(key)) => Box::new(KeyRing::new(&key)),
            None => Box::new(NoKeys),
        };
        let app = App::new(engine(&aws, &config.engine), authenticator).with_key_cache(config.key_cache);
        // Other paths are answered as everywhere: that there is no such route.
        Ok(Self { app, router: Router::new(&[route])? })
    }

    /// Answers a request. Whatever comes of it is a response; only what is no request fails.
    ///
    /// The event comes as it was sent: of one that cannot be read, the runtime alone would know.
    pub(crate) async fn answer(&self, event: LambdaEvent<Box<RawValue>>) -> Result<EventResponse, Failure> {
        let (event, context) = event.into_parts();
        // What is wrong with it may repeat what is in it.
        let event: Event = serde_json::from_str(event.get()).map_err(|_| NotARequest)?;
        let (request, payload) = event.into_request(context.request_id, &self.router)?;
        Ok(EventResponse::new(self.router.answer(&self.app, request).await, payload))
    }

    /// Waits for the writes that run beside answers.
    pub(crate) async fn drain(&self) {
        self.app.drain().await;
    }
}

/// No key is accepted: the route asks for none.
struct NoKeys;

#[async_trait::async_trait]
impl Authenticator for NoKeys {
    async fn authenticate(&self, _: &Credential, _: jiff::Timestamp) -> Result<Principal, Refusal> {
        Err(Refusal::AuthUnavailable)
    }
}
