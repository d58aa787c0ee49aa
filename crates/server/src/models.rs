//! Opens the models of a server, over HTTP.

use std::{path::PathBuf, sync::Arc};

use onerun_domain::Clock;
use onerun_host::Variables;
use onerun_model_chat::{ChatModels, ModelConfig, RecordError, RecordingTransport, ReplayingTransport};
use onerun_transport::Transport;

use crate::transport::{HttpError, HttpTransport};

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
    /// There is no HTTP client.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The sample that models are asked about is not valid: a bug.
    #[error("the sample is not valid: {0}; this is a bug in onerun, please report it")]
    Sample(String),
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
