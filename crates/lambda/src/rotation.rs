//! Rotates the secret, in the four steps that Secrets Manager invokes one by one.
//!
//! | step | action |
//! |---|---|
//! | `createSecret` | creates the pending version with a new key, unless it exists |
//! | `setSecret` | checks that the pending version contains a valid key; there is no other place to set it |
//! | `testSecret` | calls the deployed API with the new key, which accepts it while it is pending. Secrets Manager also invokes this step alone when rotation is switched on: then there is no new key, and the current one is tested |
//! | `finishSecret` | makes the pending version current, and the one before it the previous one |
//!
//! Every step may be repeated, and may crash at any point: each one reads the present state and
//! does the rest. The old key is accepted for the overlap, which starts when the new version is
//! created. If a rotation stops half-way, its pending version grows old, and making it current
//! would leave the old key no overlap. Such a version loses its label, and the next rotation
//! creates another.

use std::{sync::Arc, time::Duration};

use aws_sdk_secretsmanager::Client;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings},
    orchestrator::HttpRequest,
};
use jiff::SignedDuration;
use lambda_runtime::LambdaEvent;
use onerun_auth::RootKey;
use onerun_domain::{Clock, Random};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::{
    EventError,
    aws::TLS,
    config::RotationConfig,
    keys::{KeySource, PAUSE},
    secret::{CURRENT, Labels, PENDING, Secret, SecretError, Version},
};

/// How long the API may take to answer. It may wait for a [`PAUSE`] before it reads the secret.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// How often the API is called, and the pause in between. Secrets Manager is eventually consistent,
/// and a function that failed to read the secret reads it again before the next attempt.
const ATTEMPTS: u32 = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(6);

/// How old a pending version may be without an overlap. With an overlap, it may be half as old as
/// the overlap.
const MAX_PENDING_AGE: SignedDuration = SignedDuration::from_mins(10);

/// The event of Secrets Manager.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RotationEvent {
    step: Step,
    secret_id: String,
    client_request_token: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Step {
    #[serde(rename = "createSecret")]
    Create,
    #[serde(rename = "setSecret")]
    Set,
    #[serde(rename = "testSecret")]
    Test,
    #[serde(rename = "finishSecret")]
    Finish,
}

/// Why a step failed. Secrets Manager invokes it again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error("rotation is not enabled for the secret; enable it in Secrets Manager")]
    NotEnabled,
    #[error(
        "version `{0}` does not have the label AWSPENDING, so no rotation to it is under way; start a new rotation"
    )]
    NotPending(String),
    #[error("the pending version is too old to become current and has lost its label; start a new rotation")]
    TooOld,
    #[error("the random generator returned no usable key: {0}")]
    NoKey(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the API at {url} did not accept the key: {reason}")]
    Refused { url: String, reason: String },
}

/// Runs the steps of rotations.
pub(crate) struct Rotation {
    client: Client,
    config: RotationConfig,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The state of a rotation.
enum State {
    Pending(Labels),
    /// The version is current, so no step is left.
    Finished,
}

impl Rotation {
    pub(crate) fn new(
        client: Client,
        config: RotationConfig,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { client, config, clock, random }
    }

    /// Runs a step and logs its outcome.
    pub(crate) async fn step(&self, event: LambdaEvent<RotationEvent>) -> Result<(), EventError> {
        let RotationEvent { step, secret_id, client_request_token: version } = event.payload;
        let secret = Secret::new(self.client.clone(), secret_id);
        let result = self.run(step, &secret, &version).await;
        match &result {
            Ok(outcome) => tracing::info!(?step, version, outcome, "rotation"),
            Err(error) => {
                tracing::error!(?step, version, %error, "a rotation step failed; the current key stays valid, and Secrets Manager tries again");
            }
        }
        Ok(result.map(drop)?)
    }

    async fn run(&self, step: Step, secret: &Secret, id: &str) -> Result<&'static str, RotationError> {
        let labels = secret.labels().await?;
        if matches!(step, Step::Test) && !labels.is_on(PENDING, id) {
            return self.test_current(secret).await;
        }
        let State::Pending(labels) = state(labels, id)? else {
            return Ok("the rotation had finished before");
        };
        match step {
            Step::Create => self.create(secret, id).await,
            Step::Set => secret
                .version(id)
                .await
                .map(|_| "the pending version contains a valid key")
                .map_err(Into::into),
            Step::Test => match secret.version(id).await {
                Ok(pending) => self.test(&pending).await,
                Err(SecretError::NotFound(_)) => self.test_current(secret).await,
                Err(error) => Err(error.into()),
            },
            Step::Finish => self.finish(secret, id, &labels).await,
        }
    }

    async fn create(&self, secret: &Secret, id: &str) -> Result<&'static str, RotationError> {
        match secret.version(id).await {
            Ok(_) => return Ok("the pending version existed before"),
            // The version has a label, but no value yet.
            Err(SecretError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let fill = |bytes: &mut [u8]| {
            self.random.fill(bytes);
            Ok::<(), std::convert::Infallible>(())
        };
        let key = RootKey::generate(fill).map_err(|error| RotationError::NoKey(error.to_string()))?;
        // In the form of the current version. If that one contains no key, the new key is stored as
        // plain text.
        let text = match secret.current().await {
            Ok(current) => current.content.with_key(&key),
            Err(SecretError::NoText | SecretError::NoMember | SecretError::Weak(_)) => {
                zeroize::Zeroizing::new(key.expose().to_owned())
            }
            Err(error) => return Err(error.into()),
        };
        secret.put_pending(id, &text).await?;
        Ok("the pending version was created")
    }

    /// Tests the current key, because there is no pending one. This step changes no label, so a
    /// wrong guess is harmless: `finishSecret` looks for the pending version again.
    async fn test_current(&self, secret: &Secret) -> Result<&'static str, RotationError> {
        self.test(&secret.current().await?).await?;
        Ok("there is no new key; the API accepts the current one")
    }

    async fn test(&self, version: &Version) -> Result<&'static str, RotationError> {
        let mut outcome = self.call_api(&version.content.key).await;
        for _ in 1..ATTEMPTS {
            if outcome.is_ok() {
                break;
            }
            sleep(ATTEMPT_PAUSE).await;
            outcome = self.call_api(&version.content.key).await;
        }
        outcome.map_err(|reason| RotationError::Refused { url: self.config.api_url.clone(), reason })?;
        Ok("the API accepts the key")
    }

    /// Calls the API with a key.
    async fn call_api(&self, key: &RootKey) -> Result<(), String> {
        let settings = HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(3)).build();
        let connector = Connector::builder().connector_settings(settings).tls_provider(TLS).build();
        let request = http::Request::get(format!("{}/v1/whoami", self.config.api_url))
            .header("x-api-key", key.expose())
            .body(aws_smithy_types::body::SdkBody::empty())
            .map_err(|error| error.to_string())?;
        let request = HttpRequest::try_from(request).map_err(|error| error.to_string())?;
        let answered = timeout(ANSWER_TIMEOUT, connector.call(request)).await;
        let response = answered
            .map_err(|_| "the API did not answer in time".to_owned())?
            .map_err(|error| onerun_store::with_causes(&error))?;
        match response.status().as_u16() {
            200 => Ok(()),
            status => Err(format!("the API answered {status}")),
        }
    }

    async fn finish(
        &self,
        secret: &Secret,
        id: &str,
        labels: &Labels,
    ) -> Result<&'static str, RotationError> {
        let pending = secret.version(id).await?;
        let age = self.clock.now().duration_since(pending.created_at);
        let max_age = if self.config.overlap.is_zero() { MAX_PENDING_AGE } else { self.config.overlap / 2 };
        if age > max_age {
            secret.move_label(PENDING, None, Some(id)).await?;
            return Err(RotationError::TooOld);
        }
        // After this wait, every function that may not read the secret again yet has seen the
        // pending version. So all functions accept the new key as soon as it is current.
        if let Ok(rest) = Duration::try_from(PAUSE + SignedDuration::from_secs(1) - age) {
            sleep(rest).await;
        }
        secret.move_label(CURRENT, Some(id), labels.version(CURRENT)).await?;
        // Secrets Manager treats the rotation as finished even if this label stays.
        if let Err(error) = secret.move_label(PENDING, None, Some(id)).await {
            tracing::warn!(%error, "the label AWSPENDING was not removed; the rotation is complete, and the next one moves the label");
        }
        Ok("the new key is current")
    }
}

/// The state of the rotation to the version `id`.
fn state(labels: Labels, id: &str) -> Result<State, RotationError> {
    if !labels.is_rotation_enabled {
        return Err(RotationError::NotEnabled);
    }
    if labels.is_on(CURRENT, id) {
        return Ok(State::Finished);
    }
    if !labels.is_on(PENDING, id) {
        return Err(RotationError::NotPending(id.to_owned()));
    }
    Ok(State::Pending(labels))
}
