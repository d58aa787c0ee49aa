//! When workers ask for an agent's work: noted beside the answer, so that whoever waits for a simulation is told whether
//! anybody works for it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{Access, Principal, Scope};
use onerun_domain::{AgentId, ProjectId};
use onerun_engine::Engine;
use onerun_store::{StoreError, with_causes};
use tokio_util::task::TaskTracker;

/// How often a process writes that an agent's work was asked for.
const INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// The most agents of which a process remembers when it wrote so. Beyond it all are forgotten, and written again.
const MAX_AGENTS: usize = 10_000;

/// What this process has written of the polls of workers.
#[derive(Default)]
pub(crate) struct Polls {
    written: Mutex<HashMap<AgentId, Timestamp>>,
}

impl Polls {
    /// Notes that a caller asked for an agent's work, if the caller may do it: a key that only reads is no worker's. The
    /// write is one of `writes`, and no answer waits for it. If it fails, the next poll after the interval writes again.
    pub(crate) fn note(
        &self,
        writes: &TaskTracker,
        engine: &Engine,
        caller: Option<&Principal>,
        project: &ProjectId,
        agent: &AgentId,
    ) {
        let works = Access::Requires(Scope::ConversationsWrite);
        if caller.is_none_or(|caller| caller.authorize(works).is_err()) || !self.is_due(agent, engine.now()) {
            return;
        }
        let (at, store) = (engine.now(), std::sync::Arc::clone(engine.store()));
        let (project, agent) = (project.clone(), agent.clone());
        writes.spawn(async move {
            let written: Result<(), StoreError> = async {
                match store.open_project(&project).await? {
                    Some(project) => project.note_agent_poll(&agent, at).await,
                    None => Ok(()),
                }
            }
            .await;
            if let Err(error) = written {
                let (error, agent_id) = (with_causes(&error), agent.as_str());
                tracing::warn!(error, agent_id, "an agent's last poll was not written");
            }
        });
    }

    /// Whether this process has not written it within the interval. Answers yes once.
    fn is_due(&self, agent: &AgentId, now: Timestamp) -> bool {
        // What one holder left is whole, even if it panicked: each call leaves a whole map.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was put back must not silence it.
        if written.get(agent).is_some_and(|&last| now.duration_since(last).abs() < INTERVAL) {
            return false;
        }
        if written.len() >= MAX_AGENTS {
            written.clear();
        }
        written.insert(agent.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_due_once_a_minute_for_each_agent() {
        let polls = Polls::default();
        let [one, other] = ["agent0000001", "agent0000002"].map(|id| id.parse::<AgentId>().unwrap());
        let start: Timestamp = "2031-03-14T09:26:53Z".parse().unwrap();
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        assert!(polls.is_due(&one, start) && polls.is_due(&other, start));
        assert!(!polls.is_due(&one, after(59)));
        assert!(polls.is_due(&one, after(60)));
        assert!(!polls.is_due(&one, after(61)));
        assert!(polls.is_due(&one, after(-60)));
    }

    #[test]
    fn remembered_agents_are_bounded() {
        let polls = Polls::default();
        let now = Timestamp::UNIX_EPOCH;
        for number in 0..=MAX_AGENTS {
            assert!(polls.is_due(&format!("agent{number:07}").parse().unwrap(), now));
        }
        assert!(polls.written.lock().unwrap().len() <= MAX_AGENTS);
    }
}
