//! The offline model: scripted, without a network, and deterministic.
//!
//! Everything is derived from the simulation's seed and from numbers (a persona's, a
//! conversation's, a message's), never from ids or the clock, so two runs with one seed produce
//! identical texts. Personas are drawn from curated lists and the scenario's words; replies follow
//! a script in stages; prose is not evaluated.

mod agent_turn;
mod character;
pub mod demo;
mod dice;
mod lines;
mod people;
mod reply;
mod sample_agent;
mod situation;
#[cfg(test)]
mod testing;
mod words;

use async_trait::async_trait;
use onerun_domain::Outcome;

pub use sample_agent::SampleAgent;

use character::Character;
use onerun_engine::{
    JudgeRequest, Model, ModelError, PersonaDraft, PersonaRequest, Reply, ReplyRequest, Verdict,
};

/// The offline model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

/// The model's name in evaluations.
const NAME: &str = "offline";

/// The judge's prompt. It does not depend on the conversation, so its hash is constant.
const JUDGE_PROMPT: &str = "onerun offline judge, version 1: prose criteria are not judged; every verdict on them is \
                            inconclusive.";

/// The reason of every verdict.
const JUDGE_REASON: &str = "Prose criteria need a language model, and this simulation used the offline \
                            model. Check lines can be decided offline, such as `check: agent says /pattern/i`, `check: agent \
                            never says /pattern/i`, `check: agent replies <= 6` and `check: persona ended`.";

#[async_trait]
impl Model for Offline {
    fn name(&self) -> &str {
        NAME
    }

    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError> {
        let PersonaRequest { simulation, agent, seq } = request;
        Ok(Character::of(simulation, seq).draft(simulation, agent, seq))
    }

    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError> {
        Ok(reply::reply(&request))
    }

    fn judges_prose(&self) -> bool {
        false
    }

    async fn judge(&self, _request: JudgeRequest<'_>) -> Result<Verdict, ModelError> {
        Ok(Verdict {
            outcome: Outcome::Inconclusive,
            score: None,
            reason: JUDGE_REASON.to_owned(),
            quotes: Vec::new(),
            prompt: JUDGE_PROMPT.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
