//! OneRun on AWS Lambda: a composition root.
//!
//! Every route is a function of its own, and so is every event: [`serve`], [`run_jobs`], [`tick`] and
//! [`rotate_secret`] are the whole `main` of one. Each reads its configuration, makes its clients, and then answers one
//! event after the other, in this thread. What a request is answered with is decided in `onerun-api`, and what a job does
//! in `onerun-engine`.
//!
//! A function that could not read its configuration ends with an error that names every variable that is wrong. One that
//! cannot read its secret goes on, refuses with 503, and recovers by itself.

mod afterwards;
mod api;
mod aws;
mod config;
mod event;
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
use onerun_model_offline::Offline;
use onerun_store::with_causes;
use tokio::runtime;

use crate::{
    api::Api,
    aws::Aws,
    config::{EngineConfig, RotationConfig, RouteConfig},
    jobs::Jobs,
    rotation::Rotation,
};

/// Answers requests for one route.
pub fn serve(route: &'static Route) -> ExitCode {
    start(async |variables| {
        let api = &Api::start(route, RouteConfig::read(route, variables)?).await?;
        // Only callers with a key leave something to do.
        if route.access == Access::Public {
            lambda_runtime::run(service_fn(|event| api.answer(event))).await
        } else {
            afterwards::run(api).await
        }
    })
}

/// Does the jobs that a queue delivers.
pub fn run_jobs() -> ExitCode {
    start(async |variables| {
        let jobs = &Jobs::new(engine_alone(variables)?);
        let run = |event| async { Ok::<_, Failure>(jobs.run(event).await) };
        lambda_runtime::run(service_fn(run)).await
    })
}

/// Does what time calls for, and jobs that were left behind.
pub fn tick() -> ExitCode {
    start(async |variables| {
        let jobs = &Jobs::new(engine_alone(variables)?);
        lambda_runtime::run(service_fn(|event| jobs.tick(event))).await
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

/// Runs a function: logs first, so that whatever goes wrong is told, then everything in this one thread. Lambda sends one
/// event at a time, and has no second processor for the sizes that this needs.
fn start(main: impl AsyncFnOnce(Variables<'static>) -> Result<(), lambda_runtime::Error>) -> ExitCode {
    let variables = Variables::from_env();
    logs::start(&variables);
    let run = || runtime::Builder::new_current_thread().enable_all().build()?.block_on(main(variables));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = with_causes(error.as_ref()), "the function cannot run");
            ExitCode::FAILURE
        }
    }
}

/// What runs simulations, over the table.
fn engine(aws: &Aws, config: &EngineConfig) -> Engine {
    Engine::new(EngineParts {
        store: Arc::new(aws.store(&config.table)),
        model: Arc::new(Offline),
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        settings: config.settings,
    })
}

fn engine_alone(variables: Variables<'_>) -> Result<Engine, lambda_runtime::Error> {
    let config = EngineConfig::read(variables)?;
    Ok(engine(&Aws::new(config.aws.clone()), &config))
}

/// Why an event was not handled: what the service that sent it is told, which may send it again.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(with_causes(&error))
    }
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        Self { error_type: "Failure".to_owned(), error_message: failure.0 }
    }
}
