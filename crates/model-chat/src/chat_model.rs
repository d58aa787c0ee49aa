//! A chat model that plays personas and judges conversations.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use onerun_domain::{ModelName, PersonaDraft, Redaction};
use onerun_engine::{JudgeRequest, Meter, Model, ModelError, PersonaRequest, Reply, ReplyRequest, Verdicts};

use crate::{Prices, Provider, ask::Asked, judge, persona, reply};

/// How long one question may take, with the repair of its answer.
const LIMIT: Duration = Duration::from_secs(110);

/// A model of a provider.
pub(crate) struct ChatModel {
    pub(crate) name: ModelName,
    pub(crate) provider: Arc<Provider>,
    pub(crate) prices: Arc<Prices>,
    pub(crate) redaction: Arc<Redaction>,
    /// Whether the judge also looks for faults of personas.
    pub(crate) judges_personas: bool,
}

impl ChatModel {
    pub(crate) fn asked<'a>(&'a self, meter: &'a Meter) -> Asked<'a> {
        Asked {
            name: &self.name,
            provider: &self.provider,
            prices: &self.prices,
            meter,
            redaction: &self.redaction,
            limit: LIMIT,
        }
    }
}

#[async_trait]
impl Model for ChatModel {
    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError> {
        persona::persona(&self.asked(request.meter), &request).await
    }

    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError> {
        reply::reply(&self.asked(request.meter), &request).await
    }

    async fn judge(&self, request: JudgeRequest<'_>) -> Result<Verdicts, ModelError> {
        let persona = request.persona.filter(|_| self.judges_personas);
        judge::judge(&self.asked(request.meter), &JudgeRequest { persona, ..request }).await
    }
}

#[cfg(test)]
mod tests;
