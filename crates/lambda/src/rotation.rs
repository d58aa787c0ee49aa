//! Rotating the secret: the four steps that Secrets Manager asks a function to take, each in an invocation of its own.
//!
//! | step | what it does |
//! |---|---|
//! | `createSecret` | makes the pending version with a new key, if it is not there yet |
//! | `setSecret` | sees that the pending version holds a usable key; there is nowhere else to set it |
//! | `testSecret` | asks the deployed API who the new key is, which it recognises while it is pending. Secrets Manager also takes this step alone, when it is told to rotate from now on: then there is no new key, and the one in force is tried |
//! | `finishSecret` | puts the pending version in force, which makes the one before it the previous one |
//!
//! Every step may be repeated, and may die at any point: each looks at what there is and does what is left. Clients
//! with the old key go on for the overlap, which counts from when the new version was made. So one that was made long ago
//! and is still pending, because a rotation died half-way, is not put in force any more: it would take the old key's
//! overlap with it. Its label is taken off, and the next rotation makes another.

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
    Failure,
    aws::TLS,
    config::RotationConfig,
    keys::{KeySource, PAUSE},
    secret::{CURRENT, Labels, PENDING, Secret, SecretError, Version},
};

/// How long the API may take to answer. It may have to wait for a [`PAUSE`] before it reads the secret.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// How often the API is asked, and the pause in between: what Secrets Manager was told may not be told everywhere yet. A
/// function whose reading of the secret failed has read it again by the next attempt.
const ATTEMPTS: u32 = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(6);

/// How old a pending version may be where there is no overlap; else half of that.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// What Secrets Manager asks for.
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

/// Why a step was not taken. Secrets Manager tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error("the secret is not set up for rotation")]
    NotEnabled,
    #[error("version `{0}` is not being rotated to: it does not have the label AWSPENDING")]
    NotPending(String),
    #[error("the pending version was made too long ago to be put in force; it was set aside, rotate again")]
    TooOld,
    #[error("the random generator made no key: {0}")]
    NoKey(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the API at {url} did not accept the key: {reason}")]
    Refused { url: String, reason: String },
}

/// What rotations are done with.
pub(crate) struct Rotation {
    client: Client,
    config: RotationConfig,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// How far a rotation has come.
enum State {
    /// The version is yet to come into force.
    Pending(Labels),
    /// It is in force: everything is done.
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

    /// Takes a step.
    pub(crate) async fn step(&self, event: LambdaEvent<RotationEvent>) -> Result<(), Failure> {
        let RotationEvent { step, secret_id, client_request_token: version } = event.payload;
        let secret = Secret::new(self.client.clone(), secret_id);
        let taken = self.take(step, &secret, &version).await;
        match &taken {
            Ok(outcome) => tracing::info!(?step, version, outcome, "rotation"),
            Err(error) => tracing::error!(?step, version, %error, "a step of the rotation failed"),
        }
        Ok(taken.map(drop)?)
    }

    async fn take(&self, step: Step, secret: &Secret, id: &str) -> Result<&'static str, RotationError> {
        let labels = secret.labels().await?;
        if matches!(step, Step::Test) && !labels.is_on(PENDING, id) {
            return self.test_alone(secret).await;
        }
        let State::Pending(labels) = state(labels, id)? else { return Ok("finished before") };
        match step {
            Step::Create => self.create(secret, id).await,
            Step::Set => {
                secret.version(id).await.map(|_| "the pending version holds a key").map_err(Into::into)
            }
            Step::Test => match secret.version(id).await {
                Ok(pending) => self.test(&pending).await,
                Err(SecretError::NotFound(_)) => self.test_alone(secret).await,
                Err(error) => Err(error.into()),
            },
            Step::Finish => self.finish(secret, id, &labels).await,
        }
    }

    async fn create(&self, secret: &Secret, id: &str) -> Result<&'static str, RotationError> {
        match secret.version(id).await {
            Ok(_) => return Ok("the pending version was there"),
            // The label alone is there, from before it had a value.
            Err(SecretError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let fill = |bytes: &mut [u8]| {
            self.random.fill(bytes);
            Ok::<(), std::convert::Infallible>(())
        };
        let key = RootKey::generate(fill).map_err(|error| RotationError::NoKey(error.to_string()))?;
        // In the form of the one in force. One that holds no key is replaced by a plain one: that mends it.
        let text = match secret.current().await {
            Ok(current) => current.content.with_key(&key),
            Err(SecretError::NoText | SecretError::NoMember | SecretError::Weak(_)) => {
                zeroize::Zeroizing::new(key.expose().to_owned())
            }
            Err(error) => return Err(error.into()),
        };
        secret.put_pending(id, &text).await?;
        Ok("the pending version was made")
    }

    /// Tries the key in force: no other was made. Nothing comes into force by this step, and `finishSecret` looks for a
    /// pending key itself.
    async fn test_alone(&self, secret: &Secret) -> Result<&'static str, RotationError> {
        self.test(&secret.current().await?).await?;
        Ok("there is no new key; the API knows the one in force")
    }

    async fn test(&self, version: &Version) -> Result<&'static str, RotationError> {
        let mut outcome = self.ask(&version.content.key).await;
        for _ in 1..ATTEMPTS {
            if outcome.is_ok() {
                break;
            }
            sleep(ATTEMPT_PAUSE).await;
            outcome = self.ask(&version.content.key).await;
        }
        outcome.map_err(|reason| RotationError::Refused { url: self.config.api_url.clone(), reason })?;
        Ok("the API knows the key")
    }

    /// Asks the API who a key is.
    async fn ask(&self, key: &RootKey) -> Result<(), String> {
        let settings = HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(3)).build();
        let connector = Connector::builder().connector_settings(settings).tls_provider(TLS).build();
        let request = http::Request::get(format!("{}/v1/whoami", self.config.api_url))
            .header("x-api-key", key.expose())
            .body(aws_smithy_types::body::SdkBody::empty())
            .map_err(|error| error.to_string())?;
        let request = HttpRequest::try_from(request).map_err(|error| error.to_string())?;
        let answered = timeout(ANSWER_TIMEOUT, connector.call(request)).await;
        let response = answered
            .map_err(|_| "it did not answer in time".to_owned())?
            .map_err(|error| onerun_store::with_causes(&error))?;
        match response.status().as_u16() {
            200 => Ok(()),
            status => Err(format!("it answered {status}")),
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
        let patience = if self.config.overlap.is_zero() { PATIENCE } else { self.config.overlap / 2 };
        if age > patience {
            secret.move_label(PENDING, None, Some(id)).await?;
            return Err(RotationError::TooOld);
        }
        // Whoever read the secret less than a pause ago, and so may not read it again yet, has seen the pending version
        // by then, and knows the new key from the moment on that it is in force.
        if let Ok(rest) = Duration::try_from(PAUSE + SignedDuration::from_secs(1) - age) {
            sleep(rest).await;
        }
        secret.move_label(CURRENT, Some(id), labels.version(CURRENT)).await?;
        // The rotation is over for Secrets Manager with or without this label.
        if let Err(error) = secret.move_label(PENDING, None, Some(id)).await {
            tracing::warn!(%error, "the label AWSPENDING could not be taken off");
        }
        Ok("the new key is in force")
    }
}

/// How far the rotation to a version has come.
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
