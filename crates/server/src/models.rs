//! Opens the models of a server, over HTTP.

use std::{error::Error as _, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use onerun_domain::Clock;
use onerun_host::Variables;
use onerun_model_chat::{
    ChatModels, MAX_RESPONSE_BYTES, ModelConfig, RecordError, RecordingTransport, ReplayingTransport,
    Transport, TransportError,
};
use reqwest::redirect::Policy;
use rustls::{ClientConfig, crypto::ring};
use rustls_platform_verifier::BuilderVerifierExt;

/// How long connecting to a provider may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const USER_AGENT: &str = concat!("onerun/", env!("CARGO_PKG_VERSION"));

/// Whether traffic with models is recorded or replayed.
///
/// | variable | meaning |
/// |---|---|
/// | `ONERUN_MODEL_RECORD` | record all traffic with models into this file |
/// | `ONERUN_MODEL_REPLAY` | answer all calls to models from this file, without a network |
#[derive(Clone, Debug, Default)]
pub(crate) enum Traffic {
    #[default]
    Live,
    Recorded(PathBuf),
    Replayed(PathBuf),
}

impl Traffic {
    pub(crate) fn read(variables: &mut Variables<'_>) -> Self {
        let (record, replay) = ("ONERUN_MODEL_RECORD", "ONERUN_MODEL_REPLAY");
        match (variables.text(record), variables.text(replay)) {
            (Some(_), Some(_)) => {
                variables.refuse(record, "must not be set together with ONERUN_MODEL_REPLAY");
                Self::Live
            }
            (Some(file), None) => Self::Recorded(file.into()),
            (None, Some(file)) => Self::Replayed(file.into()),
            (None, None) => Self::Live,
        }
    }
}

/// Why the models could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The system has no certificates that can be used.
    #[error("cannot read the system's root certificates")]
    Roots(#[source] rustls::Error),
    /// The sample that models are asked about is not valid: a bug.
    #[error("the sample is not valid: {0}; this is a bug in onerun, please report it")]
    Sample(String),
    /// The HTTP client was not created.
    #[error("cannot create the HTTP client")]
    Http(#[source] reqwest::Error),
    /// The recording cannot be used.
    #[error("the recording {} cannot be used", path.display())]
    Recording {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: RecordError,
    },
}

/// Opens the models that a configuration names.
pub(crate) fn open(
    config: ModelConfig,
    traffic: &Traffic,
    clock: &Arc<dyn Clock>,
) -> Result<ChatModels, ModelsError> {
    if config.allowed().iter().all(onerun_domain::ModelName::is_offline) {
        return Ok(config.names_only());
    }
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| ModelsError::Recording { path, source }
    };
    let transport: Arc<dyn Transport> = match traffic {
        Traffic::Live => Arc::new(HttpTransport::new()?),
        Traffic::Recorded(path) => {
            Arc::new(RecordingTransport::new(HttpTransport::new()?, path).map_err(failed(path))?)
        }
        Traffic::Replayed(path) => Arc::new(ReplayingTransport::open(path).map_err(failed(path))?),
    };
    Ok(config.open(&transport, clock))
}

/// Sends requests to providers. Proxies are taken from the environment.
struct HttpTransport(reqwest::Client);

impl HttpTransport {
    fn new() -> Result<Self, ModelsError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(ModelsError::Roots)?
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(ModelsError::Http)?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let mut request = reqwest::Request::try_from(request).map_err(failure)?;
        *request.timeout_mut() = Some(timeout);
        let mut response = self.0.execute(request).await.map_err(failure)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(TransportError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

fn failure(error: reqwest::Error) -> TransportError {
    // The URL may have a secret in its query.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if error.is_connect() {
        TransportError::Connect(text)
    } else if error.is_timeout() {
        TransportError::Timeout
    } else {
        TransportError::Broken(text)
    }
}
