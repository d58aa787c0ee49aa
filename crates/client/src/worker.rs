//! The agent worker: claims queued conversations of agents and holds them.

mod agent;
mod find;
mod hold;
mod status;
mod workload;

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{select, time::Instant};

use crate::{Error, ProjectClient, resource::Simulation, retry::pause};
pub use agent::{Agent, AgentError, AgentSession, ConversationInfo, Message, Reply};
use find::{Claims, Found};
pub use status::{WorkerReport, WorkerStatus};
use workload::Workload;

/// Options of a [`Worker`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// How many conversations the worker holds at once; 0 counts as 1.
    pub concurrency: usize,
    /// How long the server may wait for a queued conversation, at most 20 s. Zero polls at the poll interval instead.
    pub wait: Duration,
    /// How long to wait after a poll that found nothing new and did not wait at the server. Otherwise the worker polls
    /// again as soon as it has capacity. The second attempt of a conversation is held after as long.
    pub poll_interval: Duration,
    /// How long a call is retried if the server is busy or unreachable. Keep it shorter than the
    /// server's lease: after that, another worker may hold the conversation.
    pub retry_budget: Duration,
    /// How long a turn is repeated while the server reports that the persona's model is slow. The server
    /// generates the reply only once.
    pub reply_budget: Duration,
    /// How long open conversations may continue once the worker is asked to stop. Those that are
    /// still open then are abandoned, which costs each an attempt.
    pub grace: Duration,
    /// How long polls are repeated while the server refuses the key, if the client has a
    /// [key source](crate::Client::with_key_source): a rotation may take a while to arrive.
    pub key_budget: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 10,
            wait: Duration::from_secs(20),
            poll_interval: Duration::from_secs(1),
            retry_budget: Duration::from_mins(1),
            reply_budget: Duration::from_secs(150),
            grace: Duration::from_secs(30),
            key_budget: Duration::from_mins(2),
        }
    }
}

/// Claims queued conversations of agents and lets an [`Agent`] hold them.
///
/// Each turn has an `Idempotency-Key`, so that a retry stores nothing twice. Each turn names its
/// attempt, so that a worker whose lease has expired cannot add messages to the next attempt. While the
/// agent thinks, the worker renews its lease.
#[derive(Debug)]
pub struct Worker<A> {
    project: ProjectClient,
    work: Work,
    agent: Arc<A>,
    options: WorkerOptions,
    status: Arc<WorkerStatus>,
    claims: Claims,
}

/// The conversations that a worker holds.
#[derive(Debug)]
enum Work {
    /// Those of these agents, by id.
    Agents(Vec<String>),
    /// Those of these simulations.
    Simulations(Vec<Simulation>),
}

impl Work {
    fn len(&self) -> usize {
        match self {
            Self::Agents(agents) => agents.len(),
            Self::Simulations(simulations) => simulations.len(),
        }
    }
}

/// A poll in progress.
type Poll<'a> = Pin<Box<dyn Future<Output = Result<Found, Error>> + Send + 'a>>;

impl<A: Agent> Worker<A> {
    /// Creates a worker for the agent with this id.
    pub fn new(project: ProjectClient, agent_id: &str, agent: A) -> Self {
        Self::for_agents(project, vec![agent_id.to_owned()], agent)
    }

    /// Creates a worker for the agents with these ids, which take turns.
    pub fn for_agents(project: ProjectClient, agent_ids: Vec<String>, agent: A) -> Self {
        Self::for_work(project, Work::Agents(agent_ids), agent)
    }

    /// Creates a worker for these simulations alone, which take turns. Other simulations of the same agent are
    /// left to other workers.
    pub fn for_simulations(project: ProjectClient, simulations: Vec<Simulation>, agent: A) -> Self {
        Self::for_work(project, Work::Simulations(simulations), agent)
    }

    fn for_work(project: ProjectClient, work: Work, agent: A) -> Self {
        let (agent, options) = (Arc::new(agent), WorkerOptions::default());
        Self { project, work, agent, options, status: Arc::default(), claims: Claims::default() }
    }

    /// Sets the options.
    pub fn with_options(self, options: WorkerOptions) -> Self {
        Self { options, ..self }
    }

    /// The worker's counts, which change while it runs.
    pub fn status(&self) -> Arc<WorkerStatus> {
        Arc::clone(&self.status)
    }

    /// Works until `stop` completes. Then open conversations may end within [`WorkerOptions::grace`].
    ///
    /// Fails only if the server refuses to list conversations for a permanent reason, such as a
    /// wrong key or an unknown project. Failures of single conversations are logged and counted.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<WorkerReport, Error> {
        let mut stop = pin!(stop);
        let mut workload = Workload::new(Arc::clone(&self.status));
        let has_capacity = |workload: &Workload| workload.held.len() < self.options.concurrency.max(1);
        let mut round = 0;
        let mut poll: Poll = Box::pin(self.poll(Duration::ZERO, round));
        let mut failures = Failures::default();
        loop {
            while has_capacity(&workload)
                && let Some(conversation) = workload.waiting.pop_front()
            {
                workload.start(conversation, Arc::clone(&self.agent), self.options);
            }
            select! {
                // `stop` comes first, so that a busy worker notices it at once.
                biased;
                () = &mut stop => break,
                Some(ended) = workload.tasks.join_next_with_id() => {
                    workload.record(ended, self.options.poll_interval);
                }
                // By reference: a poll that restarted whenever a conversation ends might never finish.
                polled = &mut poll, if has_capacity(&workload) => {
                    let wait = match polled {
                        Ok(found) => {
                            failures = Failures::default();
                            self.status.polls.fetch_add(1, Ordering::Relaxed);
                            let has_waited = found.has_waited;
                            let is_new = workload.add(found.conversations);
                            if is_new || has_waited { Duration::ZERO } else { self.options.poll_interval }
                        }
                        Err(error) => {
                            self.status.failed_polls.fetch_add(1, Ordering::Relaxed);
                            if !failures.may_be_over(&error, &self.project, self.options) {
                                return Err(error);
                            }
                            tracing::warn!(%error, "listing queued conversations failed and will be retried");
                            self.options.poll_interval + pause(failures.count, error.retry_after())
                        }
                    };
                    round += 1;
                    poll = Box::pin(self.poll(wait, round));
                }
            }
        }
        // Its connection would stay open and silent.
        drop(poll);
        workload.drain(self.options).await;
        Ok(self.status.report())
    }
}

/// Polls that failed in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    /// When the server refused the key first.
    refused: Option<Instant>,
}

impl Failures {
    /// Counts a failed poll. Returns whether a later one may succeed.
    fn may_be_over(&mut self, error: &Error, project: &ProjectClient, options: WorkerOptions) -> bool {
        self.count += 1;
        if error.status() == Some(401) && project.has_key_source() {
            let first = *self.refused.get_or_insert_with(Instant::now);
            return first.elapsed() < options.key_budget;
        }
        error.is_transient()
    }
}

#[cfg(test)]
mod tests;
