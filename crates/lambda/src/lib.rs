//! OneRun on AWS Lambda: the composition root.
//!
//! Each route and each event has its own function. [`serve`], [`run_jobs`], [`tick`] and
//! [`rotate_secret`] are the bodies of their `main`. Each reads its configuration, creates its
//! clients, and then handles one event at a time on one thread. Responses are decided in
//! `onerun-api`, and jobs in `onerun-engine`.
//!
//! A function with an invalid configuration exits with an error that names every invalid variable.
//! A function that cannot read its secret answers 503 and reads it again later.

mod api;
mod aws;
mod config;
mod event;
mod extension;
mod jobs;
mod keys;
mod logs;
mod rotation;
mod secret;

use std::{process::ExitCode, sync::Arc};

use lambda_runtime::{Diagnostic, service_fn};
use onerun_api::Route;
/// The routes, each under the name of its operation.
pub use onerun_api::routes;
use onerun_auth::Access;
use onerun_engine::{Engine, EngineParts};
use onerun_host::{OsRandom, SystemClock, Variables};
use onerun_model_offline::OfflineModels;
use onerun_store::with_causes;
use tokio::runtime;

use crate::{
    api::Api,
    aws::Aws,
    config::{EngineConfig, RotationConfig, RouteConfig},
    jobs::{Jobs, Tick},
    rotation::Rotation,
};

/// Answers requests for one route.
pub fn serve(route: &'static Route) -> ExitCode {
    start(async |variables| {
        let api = &Api::start(route, RouteConfig::read(route, variables)?).await?;
        // Only requests with a key leave a key use to write.
        if route.access == Access::Public {
            lambda_runtime::run(service_fn(|event| api.answer(event))).await
        } else {
            extension::run(api).await
        }
    })
}

/// Runs the jobs that the queue delivers.
pub fn run_jobs() -> ExitCode {
    start(async |variables| {
        let jobs = &Jobs::new(engine_from(variables)?);
        let run = |event| async { Ok::<_, EventError>(jobs.run(event).await) };
        lambda_runtime::run(service_fn(run)).await
    })
}

/// Processes expired leases and simulations, and sends messages of jobs that are due again.
pub fn tick() -> ExitCode {
    start(async |variables| {
        let config = EngineConfig::read(variables)?;
        let aws = Aws::new(config.aws.clone());
        let tick = &Tick::new(engine(&aws, &config), aws.store(&config.table));
        lambda_runtime::run(service_fn(|event| tick.run(event))).await
    })
}

/// Takes one step of a rotation of the secret.
pub fn rotate_secret() -> ExitCode {
    start(async |variables| {
        let config = RotationConfig::read(variables)?;
        let client = Aws::new(config.aws.clone()).secrets_manager();
        let rotation = &Rotation::new(client, config, Arc::new(SystemClock), Arc::new(OsRandom));
        lambda_runtime::run(service_fn(|event| rotation.step(event))).await
    })
}

/// Starts logging, then runs the function on one thread. Lambda sends one event at a time, and
/// functions of this size have no second CPU.
fn start(main: impl AsyncFnOnce(Variables<'static>) -> Result<(), lambda_runtime::Error>) -> ExitCode {
    let variables = Variables::from_env();
    logs::start(&variables);
    let run = || runtime::Builder::new_current_thread().enable_all().build()?.block_on(main(variables));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                error = with_causes(error.as_ref()),
                "the function stopped; if a variable is invalid, correct it and deploy again"
            );
            ExitCode::FAILURE
        }
    }
}

/// An engine over the DynamoDB table.
fn engine(aws: &Aws, config: &EngineConfig) -> Engine {
    Engine::new(EngineParts {
        store: Arc::new(aws.store(&config.table)),
        models: Arc::new(OfflineModels::default()),
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        settings: config.settings,
    })
}

fn engine_from(variables: Variables<'_>) -> Result<Engine, lambda_runtime::Error> {
    let config = EngineConfig::read(variables)?;
    Ok(engine(&Aws::new(config.aws.clone()), &config))
}

/// The error of an event that was not handled. The service that sent the event may send it again.
#[derive(Debug)]
pub(crate) struct EventError(String);

impl<E: std::error::Error + 'static> From<E> for EventError {
    fn from(error: E) -> Self {
        Self(with_causes(&error))
    }
}

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self { error_type: "Failure".to_owned(), error_message: error.0 }
    }
}
