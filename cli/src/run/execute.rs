//! Holding the simulations of a run: creates them, calls the agents, and waits until all are over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use onerun_client::{
    Error, SimulationClient, Worker, WorkerOptions,
    resource::{Estimate, EstimateRequest, NewSimulation, Simulation, SimulationStatus},
};
use onerun_report::CaseRun;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    failure::{Attempt, Failure},
    host::Host,
    observe,
    plan::{RunPlan, RunSimulation},
    progress::Progress,
    resources::{self, Resources},
};
use crate::worker::agent::TargetAgent;

/// How long the server may be unreachable before the run is given up.
const MAX_OUTAGE: Duration = Duration::from_mins(2);

/// The results, which cost the server more than the status, are read at most this often.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// How long conversations that are still open may continue when their simulations are over.
const GRACE: Duration = Duration::from_secs(2);

/// A run on a server.
pub(crate) struct Execution<'a> {
    plan: &'a RunPlan,
    host: &'a Host,
    resources: Resources,
    /// The simulations that exist on the server, by their places in the plan.
    created: Mutex<BTreeMap<usize, Simulation>>,
    /// The places of the simulations that are over.
    over: watch::Sender<BTreeSet<usize>>,
}

impl<'a> Execution<'a> {
    pub(crate) fn new(plan: &'a RunPlan, host: &'a Host, resources: Resources) -> Self {
        Self { plan, host, resources, created: Mutex::default(), over: watch::Sender::default() }
    }

    /// Holds every simulation to its end. `targets` are the agents to call; workers elsewhere hold the
    /// conversations of an agent without one.
    pub(crate) async fn hold(
        &self,
        targets: Vec<Option<TargetAgent>>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // The others meet the first agent's personas.
        let mut sources = BTreeMap::new();
        for (place, simulation) in self.of_agent(0) {
            sources.insert(simulation.scenario, self.create(place, None).await?);
        }
        let holding = targets.into_iter().enumerate().map(|(agent, target)| {
            let sources = &sources;
            async move { self.hold_agent(agent, target, sources).await }
        });
        tokio::try_join!(try_join_all(holding), self.watch(progress))?;
        Ok(())
    }

    /// The planned simulations of an agent, with their places.
    fn of_agent(&self, agent: usize) -> impl Iterator<Item = (usize, &'a RunSimulation)> {
        self.plan.simulations.iter().enumerate().filter(move |(_, simulation)| simulation.agent == agent)
    }

    /// Holds the simulations of one agent. Those of other agents than the first one are created here, with the
    /// personas of the first one's, by scenario.
    async fn hold_agent(
        &self,
        agent: usize,
        target: Option<TargetAgent>,
        sources: &BTreeMap<usize, Simulation>,
    ) -> Result<(), Failure> {
        let mut simulations = Vec::new();
        for (place, planned) in self.of_agent(agent) {
            let Some(source) = sources.get(&planned.scenario) else { continue };
            simulations.push(match agent {
                0 => source.clone(),
                _ => self.create_with_personas_of(place, source).await?,
            });
        }
        let mut over = self.over.subscribe();
        let places: Vec<usize> = self.of_agent(agent).map(|(place, _)| place).collect();
        let end = async {
            // The sender lives as long as `self`.
            let _ = over.wait_for(|over| places.iter().all(|place| over.contains(place))).await;
        };
        let Some(target) = target else {
            end.await;
            return Ok(());
        };
        let mut options = WorkerOptions::default();
        options.concurrency = self.plan.concurrency.into();
        options.poll_interval = self.host.poll;
        options.grace = GRACE;
        let worker = Worker::for_simulations(self.host.project.clone(), simulations, target);
        let key = &self.plan.agents[agent].key;
        worker.with_options(options).run(end).await.attempt(|| format!("serving agent `{key}`"))?;
        Ok(())
    }

    /// Creates a simulation, once the personas of `source` are there.
    async fn create_with_personas_of(
        &self,
        place: usize,
        source: &Simulation,
    ) -> Result<Simulation, Failure> {
        loop {
            match self.try_create(place, Some(source)).await {
                Err(error) if error.code() == Some("personas_not_ready") => {}
                created => return self.register(place, created),
            }
            let client = self.host.project.simulation(&source.id);
            let source = client.get().await.attempt(|| "waiting for personas".to_owned())?;
            if is_over(source.status) {
                let why = source.last_failure_reason.as_deref().unwrap_or(source.status.as_str());
                let case = &self.plan.simulations[place].case;
                return Err(Failure::infra(format!("case `{case}` has no personas: {why}")));
            }
            sleep(self.host.poll).await;
        }
    }

    async fn create(&self, place: usize, source: Option<&Simulation>) -> Result<Simulation, Failure> {
        let created = self.try_create(place, source).await;
        self.register(place, created)
    }

    async fn try_create(&self, place: usize, source: Option<&Simulation>) -> Result<Simulation, Error> {
        let planned = &self.plan.simulations[place];
        let mut metadata = self.plan.metadata.clone();
        metadata.entry("case").or_insert_with(|| planned.case.clone().into());
        let new = NewSimulation {
            agent_id: self.resources.agents[planned.agent].clone(),
            name: resources::name(&self.plan.report.name, &planned.case),
            scenario: planned.text.clone(),
            target_conversations: planned.conversations,
            target_personas: planned.personas,
            // The others get copies.
            personas: if source.is_none() { planned.explicit_personas.to_vec() } else { Vec::new() },
            max_turns: planned.max_turns,
            personas_from: source.map(|source| source.id.clone()),
            auto_approve: true,
            objective_ids: planned
                .objectives
                .iter()
                .map(|one| self.resources.objectives[*one].clone())
                .collect(),
            seed: Some(planned.seed),
            models: self.plan.requested_models(),
            max_cost_usd: planned.max_cost_usd,
            expires_in_seconds: Some(self.plan.expires_in_seconds),
            metadata,
        };
        self.host.project.create_simulation(&new).await
    }

    /// Remembers a simulation, so that it is canceled if the run ends early.
    fn register(&self, place: usize, created: Result<Simulation, Error>) -> Result<Simulation, Failure> {
        let planned = &self.plan.simulations[place];
        let simulation = created.attempt(|| format!("creating the simulation of case `{}`", planned.case))?;
        self.created.lock().unwrap_or_else(PoisonError::into_inner).insert(place, simulation.clone());
        let expected = planned.objectives.iter().map(|one| self.plan.objectives[*one].criteria.as_str());
        let pinned = simulation.objectives.iter().map(|objective| objective.criteria.as_str());
        if !pinned.eq(expected) {
            return Err(Failure::infra(format!(
                "another run with the name `{}` changed an objective of case `{}` at the same time: repeat this run, or \
                 give one of the two another name",
                self.plan.report.name, planned.case
            )));
        }
        Ok(simulation)
    }

    /// The simulations that exist, with their places.
    fn created(&self) -> Vec<(usize, SimulationClient)> {
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created
            .iter()
            .map(|(place, simulation)| (*place, self.host.project.simulation(&simulation.id)))
            .collect()
    }

    /// Reads the state of the simulations until all are over.
    async fn watch(&self, progress: &mut Progress) -> Result<(), Failure> {
        let mut last_answer = Instant::now();
        let mut counted = None;
        loop {
            let is_due = counted.is_none_or(|at: Instant| at.elapsed() >= COUNT_INTERVAL);
            for (place, client) in self.created() {
                if self.over.borrow().contains(&place) {
                    continue;
                }
                match self.look(place, &client, is_due, progress).await {
                    Ok(()) => last_answer = Instant::now(),
                    Err(error) if error.is_transient() && last_answer.elapsed() < MAX_OUTAGE => {
                        tracing::debug!(%error, "reading a simulation failed and will be retried");
                    }
                    Err(error) => return Err(Failure::of_api("reading a simulation", &error)),
                }
            }
            if is_due {
                counted = Some(Instant::now());
                progress.show();
            }
            if self.over.borrow().len() == self.plan.simulations.len() {
                progress.show();
                return Ok(());
            }
            sleep(self.host.poll).await;
        }
    }

    async fn look(
        &self,
        place: usize,
        client: &SimulationClient,
        counts: bool,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let is_over = is_over(client.get().await?.status);
        if is_over || (counts && progress.is_shown()) {
            let results = client.results().await?;
            let settled =
                results.evaluations.completed + results.evaluations.failed + results.conversations.failed;
            progress.set(place, settled, is_over);
        }
        if is_over {
            self.over.send_modify(|over| {
                over.insert(place);
            });
        }
        Ok(())
    }

    /// Whether no language model judges.
    pub(crate) fn judge_is_offline(&self) -> bool {
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created.values().any(|simulation| simulation.models.judge == "offline")
    }

    /// Cancels every simulation that is not over. Returns whether there was one, or one was not created.
    pub(crate) async fn cancel(&self) -> bool {
        let mut is_cut_short = self.created().len() < self.plan.simulations.len();
        for (place, client) in self.created() {
            if self.over.borrow().contains(&place) {
                continue;
            }
            match client.cancel().await {
                Ok(()) => is_cut_short = true,
                // It was over already.
                Err(error) if error.status() == Some(409) => {}
                Err(error) => {
                    tracing::error!(%error, "a simulation could not be canceled; it ends when it expires");
                    is_cut_short = true;
                }
            }
        }
        is_cut_short
    }

    /// The observed results of every simulation that exists, and the first failure to read them.
    pub(crate) async fn observe(&self) -> (Vec<CaseRun>, Option<Failure>) {
        let keys = self.resources.objectives.iter().zip(&self.plan.objectives);
        let keys: BTreeMap<String, String> = keys.map(|(id, one)| (id.clone(), one.key.clone())).collect();
        let mut runs = Vec::new();
        let mut failure = None;
        for (place, client) in self.created() {
            let case = &self.plan.simulations[place].case;
            match observe::case_run(case, &client, &keys).await {
                Ok(run) => runs.push(run),
                Err(error) => {
                    let what = format!("reading the results of case `{case}`");
                    failure.get_or_insert(Failure::infra(format!("{what}: {error}")));
                }
            }
        }
        (runs, failure)
    }
}

/// The estimated usage of each simulation.
pub(crate) async fn estimates(plan: &RunPlan, host: &Host) -> Result<Vec<Estimate>, Failure> {
    let mut estimates = Vec::new();
    for planned in &plan.simulations {
        let prose = planned.objectives.iter().filter(|one| plan.objectives[**one].has_prose).count();
        let request = EstimateRequest {
            target_conversations: planned.conversations,
            target_personas: planned.generated_personas(),
            max_turns: planned.max_turns,
            objectives: u32::try_from(prose).unwrap_or(u32::MAX),
            models: plan.requested_models(),
        };
        let estimate = host.project.estimate(&request).await;
        estimates.push(estimate.attempt(|| format!("estimating case `{}`", planned.case))?);
    }
    Ok(estimates)
}

fn is_over(status: SimulationStatus) -> bool {
    // An unknown status may be a final one, but then the simulation expires.
    !matches!(status, SimulationStatus::Pending | SimulationStatus::InProgress | SimulationStatus::Unknown)
}
