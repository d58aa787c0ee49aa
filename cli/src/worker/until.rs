//! When a worker has nothing left to do.

use std::{future::pending, time::Duration};

use anyhow::bail;
use onerun_client::{
    Error, ProjectClient,
    resource::{PageRequest, SimulationStatus},
};
use tokio::time::sleep;

use super::Options;
use crate::text::plain;

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// The end of a worker's work.
pub(super) struct Until {
    project: ProjectClient,
    end: End,
}

enum End {
    Never,
    /// No simulation of these agents is pending or in progress.
    Idle(Vec<String>),
    /// This simulation is over.
    Over(String),
}

impl Until {
    /// The end that the options ask for, of a worker for these agents. Fails if the simulation does not exist: a
    /// worker for it would run for ever.
    pub(super) async fn open(
        project: ProjectClient,
        options: &Options,
        agents: &[String],
    ) -> anyhow::Result<Self> {
        let end = match &options.until {
            Some(simulation) => match project.simulation(simulation).get().await {
                Err(error) if error.status() == Some(404) => {
                    bail!("--until: the project has no simulation `{}` ({error})", plain(simulation))
                }
                found => {
                    found?;
                    End::Over(simulation.clone())
                }
            },
            None if options.until_idle => End::Idle(agents.to_vec()),
            None => End::Never,
        };
        Ok(Self { project, end })
    }

    /// Waits until the end is reached. An error counts as not reached: the worker itself reports errors that
    /// stay.
    pub(super) async fn reached(&self) {
        loop {
            match self.is_reached().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot tell whether the work is over"),
            }
            sleep(INTERVAL).await;
        }
    }

    async fn is_reached(&self) -> Result<bool, Error> {
        match &self.end {
            End::Never => pending().await,
            End::Over(simulation) => {
                let status = self.project.simulation(simulation).get().await?.status;
                Ok(!matches!(status, SimulationStatus::Pending | SimulationStatus::InProgress))
            }
            End::Idle(agents) => {
                for agent in agents {
                    for status in [SimulationStatus::Pending, SimulationStatus::InProgress] {
                        let page = PageRequest::first(1);
                        let found = self.project.simulations_of_agent(agent, status, page).await?;
                        if !found.data.is_empty() {
                            return Ok(false);
                        }
                    }
                }
                Ok(true)
            }
        }
    }
}
