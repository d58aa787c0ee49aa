//! How a worker finds conversations: by claims, or by lists if the server does not know claims.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Agent, ConversationInfo, Work, Worker, hold::is_unknown_route, workload::FoundConversation};
use crate::{
    Error,
    client::idempotency_key,
    resource::{Claimed, ConversationStatus, PageRequest, Simulation},
};

/// The maximum number of agents and of conversations in a claim.
const MAX_AGENTS: usize = 20;
const MAX_CLAIMED: usize = 50;

/// The lease of a server that does not say how long it is.
const DEFAULT_LEASE: Duration = Duration::from_mins(5);

/// The result of a poll.
pub(super) struct Found {
    pub(super) conversations: Vec<FoundConversation>,
    /// Whether the server waited for conversations, so that the next poll need not.
    pub(super) has_waited: bool,
}

/// A worker's claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Whether the server does not know claims.
    are_unknown: AtomicBool,
    /// The last claim, if its answer may have been lost. It is repeated with the same key, and gets what it started.
    unanswered: Mutex<Option<Claim>>,
}

/// A claim, for its repetition.
#[derive(Clone, Debug)]
struct Claim {
    idempotency_key: String,
    limit: u32,
    agent_ids: Vec<String>,
    wait: Duration,
}

impl<A: Agent> Worker<A> {
    /// Waits, and then looks for conversations, at most or about as many as the worker can hold. Each round begins with
    /// another agent or simulation. Claims are by agent, so the conversations of given simulations are listed.
    pub(super) async fn poll(&self, wait: Duration, round: usize) -> Result<Found, Error> {
        sleep(wait).await;
        if let Work::Agents(agent_ids) = &self.work
            && !self.claims.are_unknown.load(Ordering::Relaxed)
        {
            match self.claim(agent_ids, round).await {
                Err(error) if is_unknown_route(&error) => {
                    tracing::info!("the server does not know claims, so queued conversations are listed");
                    self.claims.are_unknown.store(true, Ordering::Relaxed);
                }
                claimed => return claimed,
            }
        }
        self.list(round).await.map(|conversations| Found { conversations, has_waited: false })
    }

    async fn claim(&self, agent_ids: &[String], round: usize) -> Result<Found, Error> {
        let begun = Instant::now();
        let unanswered = self.unanswered_claim().clone();
        let claim = match unanswered {
            Some(claim) => claim,
            None => self.new_claim(agent_ids, round)?,
        };
        *self.unanswered_claim() = Some(claim.clone());
        let Claim { idempotency_key, limit, agent_ids, wait } = claim;
        let claimed = self.project.claim(&agent_ids, limit, wait, &idempotency_key).await;
        if !claimed.as_ref().is_err_and(Error::is_transient) {
            *self.unanswered_claim() = None;
        }
        let conversations = claimed?.data.into_iter().map(|claimed| self.claimed(claimed)).collect();
        Ok(Found { conversations, has_waited: !wait.is_zero() && begun.elapsed() >= wait })
    }

    fn unanswered_claim(&self) -> std::sync::MutexGuard<'_, Option<Claim>> {
        self.claims.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_claim(&self, agent_ids: &[String], round: usize) -> Result<Claim, Error> {
        let open = usize::try_from(self.status.open()).unwrap_or(usize::MAX);
        let limit = self.options.concurrency.max(1).saturating_sub(open).clamp(1, MAX_CLAIMED);
        // More agents than a claim takes are asked for in turn.
        let groups = agent_ids.len().div_ceil(MAX_AGENTS).max(1);
        let agents = agent_ids.iter().skip(round % groups * MAX_AGENTS).take(MAX_AGENTS);
        Ok(Claim {
            idempotency_key: idempotency_key()?,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            agent_ids: agents.cloned().collect(),
            wait: if groups == 1 { self.options.wait } else { Duration::ZERO },
        })
    }

    fn claimed(&self, claimed: Claimed) -> FoundConversation {
        let client = self.project.simulation(&claimed.simulation_id).conversation(&claimed.conversation_id);
        let about = ConversationInfo {
            agent_id: claimed.agent_id,
            conversation_id: claimed.conversation_id,
            simulation_id: claimed.simulation_id,
            attempt: claimed.attempt,
            metadata: claimed.metadata,
        };
        let lease = claimed.lease_seconds.map_or(DEFAULT_LEASE, Duration::from_secs);
        FoundConversation { client, about, lease: Some(lease) }
    }

    /// Lists queued conversations, about as many as the worker can hold at once.
    async fn list(&self, round: usize) -> Result<Vec<FoundConversation>, Error> {
        let number = self.work.len();
        let mut found = Vec::new();
        for place in (0..number).map(|place| (round + place) % number) {
            if found.len() >= self.options.concurrency.max(1) {
                break;
            }
            match &self.work {
                Work::Agents(agent_ids) => self.list_queued_of_agent(&agent_ids[place], &mut found).await?,
                Work::Simulations(simulations) => {
                    let simulation = &simulations[place];
                    self.list_queued(&simulation.agent.id, simulation, &mut found).await?;
                }
            }
        }
        Ok(found)
    }

    /// Adds queued conversations of an agent, until there are enough.
    async fn list_queued_of_agent(
        &self,
        agent_id: &str,
        found: &mut Vec<FoundConversation>,
    ) -> Result<(), Error> {
        let simulations =
            self.project.simulations_in_progress(agent_id, PageRequest::first(usize::MAX)).await?;
        for simulation in simulations.data {
            let before = found.len();
            self.list_queued(agent_id, &simulation, found).await?;
            // Simulations with queued conversations come first, so none follows after one without.
            if found.len() == before || found.len() >= self.options.concurrency {
                break;
            }
        }
        Ok(())
    }

    /// Adds queued conversations of a simulation.
    async fn list_queued(
        &self,
        agent_id: &str,
        simulation: &Simulation,
        found: &mut Vec<FoundConversation>,
    ) -> Result<(), Error> {
        let enough = PageRequest::first(self.options.concurrency);
        let client = self.project.simulation(&simulation.id);
        let queued = client.conversations(Some(ConversationStatus::Queued), enough).await?;
        found.extend(queued.data.iter().map(|conversation| FoundConversation {
            client: client.conversation(&conversation.id),
            about: ConversationInfo {
                agent_id: agent_id.to_owned(),
                conversation_id: conversation.id.clone(),
                simulation_id: simulation.id.clone(),
                attempt: conversation.attempt,
                metadata: simulation.metadata.clone(),
            },
            lease: None,
        }));
        Ok(())
    }
}
