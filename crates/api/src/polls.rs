//! Records when workers poll for an agent's work, so that users see whether a worker is running.

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

/// The minimum time between two writes of an agent's last poll by one process.
const INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// The most agents whose last write a process remembers. Beyond it all are forgotten and written again.
const MAX_AGENTS: usize = 10_000;

/// The polls that this process has written.
#[derive(Default)]
pub(crate) struct Polls {
    written: Mutex<HashMap<AgentId, Timestamp>>,
}

impl Polls {
    /// Records a poll, if the caller may hold conversations: a read-only key is not a worker's. The write
    /// runs in the background, as one of `writes`. If it fails, the next poll after the interval writes
    /// again.
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

    /// Whether a write is due. Returns true once per interval.
    fn is_due(&self, agent: &AgentId, now: Timestamp) -> bool {
        // Poisoning is ignored: each critical section leaves a consistent map.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is set back must not suppress writes.
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
