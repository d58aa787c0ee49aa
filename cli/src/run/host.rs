//! The server of a run: one elsewhere, or one in this process over a temporary directory.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use onerun_client::{ApiKey, Client, ProjectClient};
use onerun_server::{Config, Server};
use onerun_targets::TargetSpec;
use tempfile::TempDir;

use super::{
    Options,
    failure::{Attempt, Failure},
    plan::RunPlan,
};
use crate::api::variable;

/// How often the state of the simulations is read.
const POLL_ELSEWHERE: Duration = Duration::from_secs(1);
const POLL_HERE: Duration = Duration::from_millis(50);

/// A server with the project of the run.
pub(crate) struct Host {
    pub(crate) project: ProjectClient,
    /// How often the state of the simulations is read.
    pub(crate) poll: Duration,
    here: Option<(Server, TempDir)>,
}

impl Host {
    /// Connects to the configured server, or starts one.
    pub(crate) async fn open(options: &Options, plan: &RunPlan) -> Result<Self, Failure> {
        let address = match &options.server {
            Some(address) => Some(address.clone()),
            None => variable("ONERUN_API_BASE_URL").map_err(Failure::config)?,
        };
        match address {
            Some(address) => Self::elsewhere(&address, options).await,
            None => Self::here(options, plan).await,
        }
    }

    async fn elsewhere(address: &str, options: &Options) -> Result<Self, Failure> {
        let client = options.project.connection().client_at(address);
        let client = client.map_err(|error| Failure::config(format!("{error:#}")))?;
        let project = options.project.select(&client).await.map_err(|error| {
            match error.downcast_ref::<onerun_client::Error>() {
                Some(error) => Failure::of_api("selecting the project", error),
                None => Failure::config(format!("{error:#}")),
            }
        })?;
        Ok(Self { project, poll: POLL_ELSEWHERE, here: None })
    }

    async fn here(options: &Options, plan: &RunPlan) -> Result<Self, Failure> {
        if options.project.is_given() {
            return Err(Failure::config(
                "--project names a project on a server: set ONERUN_API_BASE_URL or --server, too",
            ));
        }
        if plan.agents.iter().any(|agent| agent.target == TargetSpec::Workers) {
            return Err(Failure::config(
                "the target `workers` needs a server that workers can reach: set ONERUN_API_BASE_URL or --server",
            ));
        }
        let models = plan.models.each_ref().map(Option::as_ref);
        let config = Config::with_some_models_of_env(models).map_err(Failure::config)?;
        let directory = tempfile::Builder::new().prefix("onerun-run-").tempdir();
        let directory = directory
            .map_err(|error| Failure::infra(format!("cannot create a temporary directory: {error}")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(config, directory.path(), address).await.map_err(Failure::infra)?;
        let key = server.key_file().map(fs::read_to_string).transpose().map_err(Failure::infra)?;
        let key = ApiKey::new(&key.unwrap_or_default()).map_err(Failure::infra)?;
        let client = Client::new(&format!("http://{}", server.address()), &key).map_err(Failure::infra)?;
        let project = client.create_project(&plan.report.name).await;
        let project = project.attempt(|| "creating a project".to_owned())?;
        let project = client.project(&project.id);
        Ok(Self { project, poll: POLL_HERE, here: Some((server, directory)) })
    }

    /// Whether the server is in this process, so that nothing of the run remains.
    pub(crate) fn is_here(&self) -> bool {
        self.here.is_some()
    }

    /// Stops the server in this process.
    pub(crate) async fn close(self) {
        if let Some((server, directory)) = self.here {
            // Work in flight belongs to simulations that are over or canceled.
            let _ = server.shutdown().await;
            drop(directory);
        }
    }
}
