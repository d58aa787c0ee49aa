//! Endpoints of agents: how OneRun calls an agent itself, so that its conversations need no worker.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ConversationId, SimulationId, later};

/// How long an agent may take for one reply, in seconds.
pub const MAX_REPLY_SECONDS: u32 = 25;

/// How many conversations of an agent may be held at once.
pub const MAX_IN_FLIGHT: u32 = 100;

/// How often an agent may be called in a minute at most.
pub const MAX_CALLS_PER_MINUTE: u32 = 6_000;

/// How OneRun calls an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentEndpoint {
    /// The target, as `docs/targets.md` describes it: `{"openai": {…}}` or `{"http": {…}}`. It has no secrets.
    pub target: Map<String, Value>,
    /// The credential that is sent with each request.
    pub credential: Option<SealedCredential>,
    /// How many conversations are held at once, from 1 to [`MAX_IN_FLIGHT`].
    pub max_in_flight: u32,
    /// How many replies are asked for in a minute; `None` for no limit. No more conversations are held than that, so
    /// none waits longer than a minute for its turn.
    pub max_calls_per_minute: Option<u32>,
    /// The conversations that are held, oldest first: at most [`MAX_IN_FLIGHT`].
    pub held: Vec<HeldConversation>,
    /// When the next reply may be asked for, if their number is limited.
    pub next_call_at: Option<Timestamp>,
}

/// An encrypted credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedCredential {
    /// The header in which it is sent.
    pub header: String,
    /// The value of the header, encrypted with the deployment's master key.
    pub sealed: String,
}

/// A conversation that OneRun holds with an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldConversation {
    /// Its simulation.
    pub simulation: SimulationId,
    /// The conversation.
    pub conversation: ConversationId,
    /// When it was taken from the queue.
    pub since: Timestamp,
}

impl AgentEndpoint {
    /// How many more conversations may be held.
    pub fn free_places(&self) -> u32 {
        let places =
            self.max_calls_per_minute.map_or(self.max_in_flight, |calls| calls.min(self.max_in_flight));
        places.saturating_sub(u32::try_from(self.held.len()).unwrap_or(u32::MAX))
    }

    /// Holds as many of these conversations as there are places for, and does not hold one twice.
    #[must_use]
    pub fn hold(mut self, conversations: &[HeldConversation]) -> Self {
        for one in conversations {
            if self.free_places() > 0 && !self.holds(&one.conversation) {
                self.held.push(one.clone());
            }
        }
        self
    }

    /// Frees the places of these conversations.
    #[must_use]
    pub fn release(mut self, conversations: &[ConversationId]) -> Self {
        self.held.retain(|held| !conversations.contains(&held.conversation));
        self
    }

    /// Whether the conversation is held.
    pub fn holds(&self, conversation: &ConversationId) -> bool {
        self.held.iter().any(|held| held.conversation == *conversation)
    }

    /// Reserves a call: returns when it may be made.
    #[must_use]
    pub fn reserve_call(self, now: Timestamp) -> (Self, Timestamp) {
        let Some(limit) = self.max_calls_per_minute else { return (self, now) };
        let at = self.next_call_at.map_or(now, |next| next.max(now));
        let interval = SignedDuration::from_millis(60_000 / i64::from(limit.max(1)));
        (Self { next_call_at: Some(later(at, interval)), ..self }, at)
    }
}

/// The answer of an agent that was asked for a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentAnswer {
    /// The conversation begins, and the agent was not asked: the persona speaks first.
    Opening,
    /// A message.
    Message {
        /// The text.
        text: String,
        /// Whether the agent ends the conversation with it.
        ends: bool,
    },
    /// The agent ends the conversation without a message.
    End,
    /// The agent gave no reply that could be used.
    Failure {
        /// Why. It shows no secret.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn endpoint(max_in_flight: u32, max_calls_per_minute: Option<u32>) -> AgentEndpoint {
        AgentEndpoint {
            target: Map::new(),
            credential: None,
            max_in_flight,
            max_calls_per_minute,
            held: Vec::new(),
            next_call_at: None,
        }
    }

    fn conversation(number: u32) -> HeldConversation {
        HeldConversation {
            simulation: "simulation00000000001".parse().unwrap(),
            conversation: format!("conversation{number:09}").parse().unwrap(),
            since: NOW,
        }
    }

    #[test]
    fn endpoint_holds_no_more_than_its_places_and_none_twice() {
        let all: Vec<_> = (0..5).map(conversation).collect();
        let endpoint = endpoint(3, None).hold(&all[..1]).hold(&all);
        assert_eq!(endpoint.held, all[..3]);
        assert_eq!(endpoint.free_places(), 0);
        assert_eq!(endpoint.clone().release(&[all[4].conversation.clone()]), endpoint);
        let endpoint = endpoint.release(&[all[1].conversation.clone()]);
        assert_eq!(endpoint.held, [all[0].clone(), all[2].clone()]);
        let places = |endpoint: AgentEndpoint| endpoint.free_places();
        assert_eq!(places(AgentEndpoint { max_in_flight: 1, ..endpoint.clone() }), 0);
        assert_eq!(places(AgentEndpoint { max_calls_per_minute: Some(2), ..endpoint }), 0);
    }

    #[test]
    fn calls_are_spread_over_the_minute() {
        let mut limited = endpoint(1, Some(60));
        let mut times = Vec::new();
        for _ in 0..3 {
            let (next, at) = limited.reserve_call(NOW);
            times.push(at.as_second());
            limited = next;
        }
        assert_eq!(times, [0, 1, 2]);
        let (_, later) = limited.reserve_call(Timestamp::from_second(10).unwrap());
        assert_eq!(later.as_second(), 10);
        assert_eq!(endpoint(1, None).reserve_call(NOW), (endpoint(1, None), NOW));
    }
}
