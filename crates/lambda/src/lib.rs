//! OneRun on AWS Lambda: the composition root.
//!
//! Each route and each event has its own function. [`serve`], [`serve_with_models`], [`run_jobs`],
//! [`run_outbound_jobs`], [`tick`], [`run_monitor`], [`archive_audit`] and [`rotate_secret`] are the bodies of their
//! `main`. Each reads its configuration, creates its clients, and then handles one event at a time on one thread.
//! Responses are decided in `onerun-api`, and jobs in `onerun-engine`.
//!
//! A function with an invalid configuration exits with an error that names every invalid variable.
//! A function that cannot read its secret answers 503 and reads it again later.

mod api;
mod archive;
mod aws;
mod config;
mod event;
mod extension;
mod jobs;
mod keys;
mod logs;
mod master_key;
mod models;
mod rotation;
mod scheduled;
mod secret;
mod transport;

use std::{process::ExitCode, sync::Arc};

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use onerun_api::Route;
/// The routes, each under the name of its operation.
pub use onerun_api::routes;
use onerun_auth::Access;
use onerun_engine::{AuditArchiver, AuditArchiverParts, Engine, EngineParts, MasterKeySource, Outbound};
use onerun_host::{OsRandom, SystemClock, Variables};
use onerun_model_chat::ModelConfig;
use onerun_store::with_causes;
use serde::de::IgnoredAny;
use tokio::runtime;

use crate::{
    api::Api,
    aws::Aws,
    config::{
        ArchiveConfig, ArchiveTarget, CallableConfig, EngineConfig, ModelKeyConfig, RotationConfig,
        RouteConfig,
    },
    jobs::{Jobs, Tick},
    master_key::SecretMasterKey,
    models::{CallableModels, FunctionModels, ModelKeys, ModelNames, ModelParts},
    rotation::Rotation,
    secret::Secret,
    transport::{GuardedTransport, HttpTransport},
};

/// Answers requests for one route that calls no model.
pub fn serve(route: &'static Route) -> ExitCode {
    start(async |mut variables| {
        let config = RouteConfig::read(route, &mut variables);
        let names = ModelConfig::read_names(&mut variables);
        let (config, names) = variables.finish((config, names))?;
        let aws = Aws::new(config.engine.aws.clone());
        answer(route, config, &aws, Arc::new(ModelNames(names))).await
    })
}

/// Answers requests for one route that calls models.
pub fn serve_with_models(route: &'static Route) -> ExitCode {
    start(async |mut variables| {
        let config = RouteConfig::read(route, &mut variables);
        let models = CallableConfig::read(&mut variables);
        let (config, models) = variables.finish((config, models))?;
        let aws = Aws::new(config.engine.aws.clone());
        let models = callable(&aws, models);
        answer(route, config, &aws, models).await
    })
}

async fn answer(
    route: &'static Route,
    config: RouteConfig,
    aws: &Aws,
    models: Arc<dyn FunctionModels>,
) -> Result<(), lambda_runtime::Error> {
    let api = &Api::start(route, config, aws, models).await?;
    // Only requests with a key leave a key use to write.
    if route.access == Access::Public {
        lambda_runtime::run(service_fn(|event| api.answer(event))).await
    } else {
        extension::run(api).await
    }
}

/// Runs the jobs that the queue delivers, and reports the buried ones.
pub fn run_jobs() -> ExitCode {
    start(async |mut variables| {
        let config = EngineConfig::read(&mut variables);
        let models = CallableConfig::read(&mut variables);
        let (config, models) = variables.finish((config, models))?;
        let aws = Aws::new(config.aws.clone());
        let models = callable(&aws, models);
        let engine = engine(&aws, &config, Arc::clone(&models));
        let store = aws.store(&config.table, config.job_shards);
        run_queue(Jobs::start(engine, store, models).await).await
    })
}

async fn run_queue(jobs: Jobs) -> Result<(), lambda_runtime::Error> {
    let jobs = &jobs;
    let run = |event| async { Ok::<_, EventError>(jobs.run(event).await) };
    lambda_runtime::run(service_fn(run)).await
}

/// Runs the jobs that call addresses of users, and reports the buried ones.
pub fn run_outbound_jobs() -> ExitCode {
    start(async |mut variables| {
        let config = EngineConfig::read(&mut variables);
        let names = ModelConfig::read_names(&mut variables);
        let (config, names) = variables.finish((config, names))?;
        let aws = Aws::new(config.aws.clone());
        let models = Arc::new(ModelNames(names));
        let policy = Arc::new(config.outbound.clone());
        let outbound = Outbound {
            transport: Arc::new(GuardedTransport::new(Arc::clone(&policy))),
            policy,
            ..outbound(&aws, &config)
        };
        let engine = engine_with(&aws, &config, Arc::clone(&models) as _, outbound);
        let store = aws.store(&config.table, config.job_shards);
        run_queue(Jobs::start(engine, store, models).await).await
    })
}

/// Processes expired leases and simulations, and sends messages of jobs that are due again.
pub fn tick() -> ExitCode {
    start(async |mut variables| {
        let config = EngineConfig::read(&mut variables);
        let names = ModelConfig::read_names(&mut variables);
        let (config, names) = variables.finish((config, names))?;
        let aws = Aws::new(config.aws.clone());
        let engine = engine(&aws, &config, Arc::new(ModelNames(names)));
        let tick = &Tick::new(engine, aws.store(&config.table, config.job_shards));
        lambda_runtime::run(service_fn(|event| tick.run(event))).await
    })
}

/// Starts a run of a monitor for a schedule of EventBridge.
pub fn run_monitor() -> ExitCode {
    start(async |mut variables| {
        let config = EngineConfig::read(&mut variables);
        let names = ModelConfig::read_names(&mut variables);
        let (config, names) = variables.finish((config, names))?;
        let aws = Aws::new(config.aws.clone());
        let engine = &engine(&aws, &config, Arc::new(ModelNames(names)));
        lambda_runtime::run(service_fn(|event| scheduled::start(engine, event))).await
    })
}

/// Archives months of the audit trail that ended long enough ago.
pub fn archive_audit() -> ExitCode {
    start(async |variables| {
        let config = ArchiveConfig::read(variables)?;
        let aws = Aws::new(config.aws.clone());
        let archiver = config.archive.map(|ArchiveTarget { bucket, after }| {
            AuditArchiver::new(AuditArchiverParts {
                store: Arc::new(aws.store(&config.table, 1)),
                archive: Arc::new(aws.bucket(&bucket)),
                clock: Arc::new(SystemClock),
                after,
                line: onerun_api::audit_line,
            })
        });
        let archiver = archiver.as_ref();
        let archive = |_: LambdaEvent<IgnoredAny>| archive::run(archiver);
        lambda_runtime::run(service_fn(archive)).await
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

/// An engine over the DynamoDB table that calls no addresses of users.
fn engine(aws: &Aws, config: &EngineConfig, models: Arc<dyn FunctionModels>) -> Engine {
    engine_with(aws, config, models, outbound(aws, config))
}

/// The policy of calls to addresses of users, and the master key.
fn outbound(aws: &Aws, config: &EngineConfig) -> Outbound {
    let none = Outbound::default();
    let master_key = config.master_key.as_ref().map(|id| {
        let secret = Secret::new(aws.secrets_manager(), id.clone());
        Arc::new(SecretMasterKey::new(secret)) as Arc<dyn MasterKeySource>
    });
    Outbound {
        policy: Arc::new(config.outbound.clone()),
        master_key: master_key.unwrap_or_else(|| Arc::clone(&none.master_key)),
        ..none
    }
}

fn engine_with(
    aws: &Aws,
    config: &EngineConfig,
    models: Arc<dyn FunctionModels>,
    outbound: Outbound,
) -> Engine {
    let redaction = Arc::clone(models.redaction());
    Engine::new(EngineParts {
        store: Arc::new(aws.store(&config.table, config.job_shards)),
        models,
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        redaction,
        outbound,
        settings: config.settings,
    })
}

/// Models that the function calls.
fn callable(aws: &Aws, config: CallableConfig) -> Arc<dyn FunctionModels> {
    let parts = ModelParts {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        variables: Variables::from_env,
    };
    let CallableConfig { models, keys } = config;
    Arc::new(match keys {
        Some(ModelKeyConfig { id, ttl }) => {
            let source = Box::new(Secret::new(aws.secrets_manager(), id));
            CallableModels::with_secret(models, parts, ModelKeys { source, ttl })
        }
        None => CallableModels::new(models, parts),
    })
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
