//! The offline model: scripted, without a network, and deterministic.
//!
//! Everything is derived from the simulation's seed and from numbers (a persona's, a
//! conversation's, a message's), never from ids or the clock, so two runs with one seed produce
//! identical texts. Personas are drawn from curated lists and the scenario's words; replies follow
//! a script in stages; prose is not evaluated.

mod acts;
mod agent_turn;
mod character;
mod deeds;
pub mod demo;
mod dice;
mod facts;
mod grammar;
mod lines;
mod people;
mod reply;
mod requests;
mod sample_agent;
mod scenario;
mod situation;
#[cfg(test)]
mod testing;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::civil::Date;
use onerun_domain::{
    Agent, ModelName, NanoDollars, Outcome, PersonaDraft, Simulation, SimulationModels, TokenUsage,
};

pub use sample_agent::SampleAgent;

use character::Character;
use onerun_engine::{
    JudgeRequest, Model, ModelError, Models, PersonaRequest, Reply, ReplyRequest, Verdict, Verdicts,
};

/// The outline of a person, drawn by the persona's number. No two numbers have the same outline.
pub fn outline(simulation: &Simulation, agent: &Agent, seq: u32) -> PersonaDraft {
    Character::of(simulation, seq).draft(simulation, agent, seq)
}

/// The offline model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

/// The judge's prompt. It does not depend on the conversation, so its hash is constant.
const JUDGE_PROMPT: &str = "onerun offline judge, version 1: prose criteria are not judged; every verdict on them is \
                            inconclusive.";

/// The reason of every verdict.
const JUDGE_REASON: &str = "Prose criteria need a language model, and this simulation used the offline \
                            model. Check lines can be decided offline, such as `check: agent says /pattern/i`, `check: agent \
                            never says /pattern/i`, `check: agent replies <= 6` and `check: persona ended`.";

#[async_trait]
impl Model for Offline {
    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError> {
        let PersonaRequest { simulation, agent, seq, .. } = request;
        Ok(outline(simulation, agent, seq))
    }

    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError> {
        Ok(reply::reply(&request))
    }

    async fn judge(&self, request: JudgeRequest<'_>) -> Result<Verdicts, ModelError> {
        let verdict = Verdict {
            outcome: Outcome::Inconclusive,
            score: None,
            ordinal: None,
            reason: JUDGE_REASON.to_owned(),
            quotes: Vec::new(),
        };
        let verdicts = vec![verdict; request.questions.len()];
        Ok(Verdicts { verdicts, faults: Vec::new(), prompt: JUDGE_PROMPT.to_owned(), version: None })
    }
}

/// The models of a deployment that has the offline model alone.
#[derive(Clone, Debug)]
pub struct OfflineModels {
    defaults: SimulationModels,
    allowed: [ModelName; 1],
}

impl Default for OfflineModels {
    fn default() -> Self {
        Self { defaults: SimulationModels::default(), allowed: [ModelName::offline()] }
    }
}

impl Models for OfflineModels {
    fn defaults(&self) -> &SimulationModels {
        &self.defaults
    }

    fn allowed(&self) -> &[ModelName] {
        &self.allowed
    }

    fn cost(&self, name: &ModelName, _: TokenUsage) -> Option<NanoDollars> {
        name.is_offline().then(NanoDollars::default)
    }

    fn retires(&self, _: &ModelName, _: Date, _: u16) -> Option<Date> {
        None
    }

    fn open(&self, name: &ModelName) -> Result<Arc<dyn Model>, ModelError> {
        if name.is_offline() {
            return Ok(Arc::new(Offline));
        }
        Err(ModelError::Misconfigured(format!("`{name}` is not configured here")))
    }
}

#[cfg(test)]
mod tests;
