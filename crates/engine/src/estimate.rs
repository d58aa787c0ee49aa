//! Estimates the usage of a simulation before it runs.
//!
//! The figures are averages of customer-service conversations and of this program's prompts.
//! English text has about four characters a token.

use onerun_domain::{MaxTurns, ModelUsage, Purpose, RequestedModels, SimulationModels, Target, TokenUsage};

use crate::{Engine, OperationError};

/// The tokens of one message of the persona and of the agent.
const PERSONA_MESSAGE: u64 = 30;
const AGENT_MESSAGE: u64 = 80;

/// The tokens of the instructions for a persona, a reply and a verdict.
const PERSONA_PROMPT: u64 = 750;
const REPLY_PROMPT: u64 = 1_150;
const JUDGE_PROMPT: u64 = 750;

/// The tokens that are written for a persona, a reply and a verdict on one objective.
const PERSONA_ANSWER: u64 = 450;
const REPLY_ANSWER: u64 = 50;
const VERDICT: u64 = 180;

/// The tokens of an objective's criteria.
const CRITERIA: u64 = 60;

/// The persona's messages in a typical conversation, if the limit of turns leaves room for them.
const TYPICAL_REPLIES: u64 = 7;

/// The simulation to estimate.
#[derive(Clone, Debug)]
pub struct EstimateInput {
    /// The number of conversations.
    pub target_conversations: Target,
    /// The number of personas to generate. Those that are copied or that a caller wrote cost nothing.
    pub target_personas: u32,
    /// The most messages of one conversation.
    pub max_turns: MaxTurns,
    /// The number of objectives with prose criteria.
    pub objectives: u32,
    /// The models; the deployment's by default.
    pub models: RequestedModels,
}

/// The estimated usage of a simulation.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// The models in force.
    pub models: SimulationModels,
    /// The usage if conversations have a typical length, by purpose.
    pub typical: [ModelUsage; 3],
    /// The usage if every conversation reaches the limit of turns, by purpose.
    pub longest: [ModelUsage; 3],
}

impl Engine {
    /// Estimates the usage of a simulation. Calls without a known price are counted as unpriced.
    pub fn estimate(&self, input: &EstimateInput) -> Result<Estimate, OperationError> {
        let models = self.choose_models(input.models.clone(), None)?;
        let longest = u64::from(input.max_turns.get()).div_ceil(2);
        let usage = |replies| Purpose::ALL.map(|purpose| self.priced(&models, purpose, input, replies));
        Ok(Estimate { typical: usage(longest.min(TYPICAL_REPLIES)), longest: usage(longest), models })
    }

    fn priced(
        &self,
        models: &SimulationModels,
        purpose: Purpose,
        input: &EstimateInput,
        replies: u64,
    ) -> ModelUsage {
        let name = models.name(purpose);
        if name.is_offline() {
            return ModelUsage::default();
        }
        let (calls, tokens) = tokens(purpose, input, replies);
        let cost = self.models.cost(name, tokens);
        let unpriced_calls = if cost.is_none() { calls } else { 0 };
        ModelUsage { calls, failed_calls: 0, unpriced_calls, tokens, cost: cost.unwrap_or_default() }
    }
}

/// The calls and tokens for one purpose, if each conversation has this many messages of the persona.
fn tokens(purpose: Purpose, input: &EstimateInput, replies: u64) -> (u64, TokenUsage) {
    let conversations = u64::from(input.target_conversations.get());
    let objectives = u64::from(input.objectives);
    let turn = PERSONA_MESSAGE + AGENT_MESSAGE;
    // The n-th reply reads the n - 1 turns before it.
    let earlier_turns = replies * replies.saturating_sub(1) / 2;
    let (calls, read, written) = match purpose {
        Purpose::Persona => {
            let personas = u64::from(input.target_personas);
            (personas, personas * PERSONA_PROMPT, personas * PERSONA_ANSWER)
        }
        Purpose::Reply => {
            let calls = conversations * replies;
            let read = conversations * (replies * REPLY_PROMPT + earlier_turns * turn);
            (calls, read, calls * REPLY_ANSWER)
        }
        Purpose::Judge if objectives == 0 => (0, 0, 0),
        Purpose::Judge => {
            let read = JUDGE_PROMPT + objectives * CRITERIA + replies * turn;
            (conversations, conversations * read, conversations * objectives * VERDICT)
        }
    };
    (calls, TokenUsage { input: read, output: written, ..TokenUsage::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_follows_the_number_of_calls() {
        let input = EstimateInput {
            target_conversations: Target::parse(10).unwrap(),
            target_personas: 5,
            max_turns: MaxTurns::parse(6).unwrap(),
            objectives: 2,
            models: RequestedModels::default(),
        };
        let of = |purpose| {
            let (calls, tokens) = tokens(purpose, &input, 3);
            (calls, tokens.input, tokens.output)
        };
        assert_eq!(of(Purpose::Persona), (5, 5 * 750, 5 * 450));
        // The second reply reads one turn of 110 tokens, the third two.
        assert_eq!(of(Purpose::Reply), (30, 10 * (3 * 1_150 + 3 * 110), 30 * 50));
        assert_eq!(of(Purpose::Judge), (10, 10 * (750 + 2 * 60 + 3 * 110), 10 * 2 * 180));
        let none = EstimateInput { objectives: 0, target_personas: 0, ..input };
        assert_eq!(tokens(Purpose::Persona, &none, 3), (0, TokenUsage::default()));
        assert_eq!(tokens(Purpose::Judge, &none, 3).0, 0);
    }
}
