//! When a worker has nothing left to do.

use std::{future::pending, time::Duration};

use onerun_client::{
    Error, ProjectClient,
    resource::{PageRequest, SimulationStatus},
};
use tokio::time::sleep;

use super::Options;

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
    pub(super) fn new(project: ProjectClient, options: &Options) -> Self {
        let end = match &options.until {
            Some(simulation) => End::Over(simulation.clone()),
            None if options.until_idle => End::Idle(options.agents.clone()),
            None => End::Never,
        };
        Self { project, end }
    }

    /// Waits until the end is reached. An error counts as not reached: the worker itself reports errors that
    /// stay.
    pub(super) async fn reached(&self) {
        loop {
            match self.is_reached().await {
                Ok(true) => return,
                Ok(false) => {}
                // Without this, a worker for a mistyped simulation would run for ever.
                Err(error) if matches!(error.status(), Some(404)) && matches!(self.end, End::Over(_)) => {
                    tracing::error!(%error, "the simulation of --until does not exist");
                    return;
                }
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
