//! The size of rows on the wire: at least the bytes of their JSON, and cheap to compute.

use std::collections::BTreeMap;

use onerun_auth::{AddressAccess, AuditEntry, ProjectAccess, Scope};
use onerun_domain::{
    Agent, Batch, Conversation, Evaluation, Item, MessageText, Metadata, Monitor, MonitorRun, Name,
    NewPersonas, Objective, Persona, PersonaDraft, Project, Webhook, WebhookDelivery,
};
use serde_json::Value;

use crate::{AgentSummary, ConversationSummary, DeadJob, EvaluationRunView, KeyView, SimulationSummary};

/// A row of a list.
pub trait WireSize {
    /// At least the number of bytes of the row's JSON in a response.
    fn wire_size(&self) -> usize;
}

/// A bound for a row's field names and its values of bounded length: ids, numbers, times, words.
/// Property tests of the API compare it with the JSON.
const FIXED: usize = 1_200;

/// An id in quotes and the comma after it.
const ID: usize = 32;

/// More than a sum of calls to models takes.
const USAGE: usize = 512;

/// The bytes of a text as JSON, quotes included.
fn text(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum::<usize>() + 2
}

fn optional_text(value: Option<&str>) -> usize {
    value.map_or(4, text)
}

fn name(name: &Name) -> usize {
    text(name.as_str())
}

fn metadata(metadata: &Metadata) -> usize {
    object(metadata.as_map())
}

fn object<'a>(object: impl IntoIterator<Item = (&'a String, &'a Value)>) -> usize {
    object.into_iter().map(|(key, member)| text(key) + 2 + value(member)).sum::<usize>() + 2
}

fn value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        // With arbitrary precision a number is stored as its text.
        Value::Number(number) => number.to_string().len(),
        Value::String(string) => text(string),
        Value::Array(members) => members.iter().map(|member| self::value(member) + 1).sum::<usize>() + 2,
        Value::Object(members) => object(members),
    }
}

fn texts(texts: &BTreeMap<String, String>) -> usize {
    texts.iter().map(|(key, member)| text(key) + text(member) + 2).sum::<usize>() + 2
}

/// The agent as a part of another row.
fn agent(agent: &Agent) -> usize {
    let description = agent.description.as_ref().map(onerun_domain::Description::as_str);
    // The description is shown twice: once under the name that the published SDK reads.
    let endpoint = agent.endpoint.as_ref().map_or(0, |endpoint| {
        let header = endpoint.credential.as_ref().map_or(0, |credential| text(&credential.header));
        FIXED + object(&endpoint.target) + header
    });
    FIXED + name(&agent.name) + metadata(&agent.metadata) + 2 * optional_text(description) + endpoint
}

fn conversation(conversation: &Conversation) -> usize {
    let ended = |reason: &Option<String>| FIXED + optional_text(reason.as_deref());
    let attempts: usize =
        conversation.ended_attempts.iter().map(|attempt| ended(&attempt.failure_reason)).sum();
    let faults: usize = conversation.persona_faults.iter().map(|fault| text(&fault.quote) + 5 * ID).sum();
    FIXED + attempts + faults
}

fn evaluation((evaluation, objective): &(Evaluation, Name)) -> usize {
    let Evaluation { judge, prompt_hash, reason, quotes, details, .. } = evaluation;
    let quotes: usize = quotes.iter().map(|quote| text(&quote.text) + 2 * ID).sum();
    let version = optional_text(details.model_version.as_deref());
    let usage = details.usage.map_or(4, |_| USAGE);
    FIXED + version + usage + text(judge) + text(prompt_hash) + text(reason) + quotes + name(objective)
}

fn draft(draft: &PersonaDraft) -> usize {
    let PersonaDraft { summary, story, purpose, attributes } = draft;
    let texts = [summary, story, purpose].into_iter().map(String::as_str);
    FIXED + texts.chain(attributes.texts()).map(text).sum::<usize>()
}

impl WireSize for Project {
    fn wire_size(&self) -> usize {
        FIXED + name(&self.name)
    }
}

impl WireSize for AgentSummary {
    fn wire_size(&self) -> usize {
        agent(&self.agent)
    }
}

impl WireSize for Objective {
    fn wire_size(&self) -> usize {
        FIXED + name(&self.name) + text(self.criteria.as_str())
    }
}

impl WireSize for SimulationSummary {
    fn wire_size(&self) -> usize {
        let simulation = &self.simulation;
        FIXED
            + name(&simulation.name)
            + text(simulation.scenario.as_str())
            + metadata(&simulation.metadata)
            + optional_text(simulation.last_failure_reason.as_deref())
            // The ids of batch and monitor, and the counts of an import.
            + 4 * ID
            + agent(&self.agent)
    }
}

impl WireSize for Persona {
    fn wire_size(&self) -> usize {
        FIXED + self.texts().map(text).sum::<usize>() + metadata(&self.metadata)
    }
}

impl WireSize for ConversationSummary {
    fn wire_size(&self) -> usize {
        conversation(&self.conversation)
            + self.persona.wire_size()
            + self.evaluations.iter().map(evaluation).sum::<usize>()
    }
}

impl WireSize for EvaluationRunView {
    fn wire_size(&self) -> usize {
        FIXED + text(&self.run.judge.to_string())
    }
}

impl WireSize for Monitor {
    fn wire_size(&self) -> usize {
        let new = &self.simulation;
        let personas = match &new.personas {
            NewPersonas::Explicit(personas) => personas.drafts().iter().map(draft).sum(),
            NewPersonas::Generated(_) | NewPersonas::Copied { .. } => ID,
        };
        let models = [&new.models.persona, &new.models.reply, &new.models.judge];
        let models: usize = models.into_iter().flatten().map(|model| 2 * text(&model.to_string())).sum();
        // A schedule has a few hundred bytes, with its words and next times.
        3 * FIXED
            + name(&self.name)
            + metadata(&self.metadata)
            + name(&new.name)
            + text(new.scenario.as_str())
            + metadata(&new.metadata)
            + new.objective_ids.len() * ID
            + personas
            + models
    }
}

impl WireSize for Batch {
    fn wire_size(&self) -> usize {
        FIXED + name(&self.name) + metadata(&self.metadata)
    }
}

impl WireSize for MonitorRun {
    fn wire_size(&self) -> usize {
        let reasons = self.results.iter().flat_map(|results| &results.reasons);
        FIXED
            + optional_text(self.failure_reason.as_deref())
            + reasons.map(|reason| text(reason) + 1).sum::<usize>()
    }
}

impl WireSize for Item {
    fn wire_size(&self) -> usize {
        let part = |part: &MessageText| text(part.as_str()) + ID;
        FIXED + self.content.iter().map(part).sum::<usize>()
    }
}

impl WireSize for KeyView {
    fn wire_size(&self) -> usize {
        // The scopes appear twice: those of the key and those it was used with.
        let scopes = 2 * Scope::ALL.len() * ID;
        let projects = match &self.record.grant.projects {
            ProjectAccess::All => 0,
            ProjectAccess::Only(ids) => ids.len() * ID,
        };
        let blocks = match &self.record.grant.addresses {
            AddressAccess::Any => 0,
            AddressAccess::Only(blocks) => blocks.len() * 2 * ID,
        };
        FIXED + name(&self.record.name) + metadata(&self.record.metadata) + scopes + projects + blocks
    }
}

impl WireSize for AuditEntry {
    fn wire_size(&self) -> usize {
        let event = &self.event;
        let written = [
            &event.at,
            &event.action,
            &event.key_id,
            &event.actor.key_id,
            &event.actor.request_id,
            &self.previous_hash,
            &self.hash,
        ];
        FIXED
            + written.iter().map(|one| text(one)).sum::<usize>()
            + optional_text(event.actor.address.as_deref())
            + optional_text(event.actor.user_agent.as_deref())
            + texts(&event.details)
    }
}

impl WireSize for Webhook {
    fn wire_size(&self) -> usize {
        let description = self.description.as_ref().map(onerun_domain::WebhookDescription::as_str);
        let reason = optional_text(self.disabled_reason.as_deref());
        FIXED + text(&self.url) + optional_text(description) + reason
    }
}

impl WireSize for WebhookDelivery {
    fn wire_size(&self) -> usize {
        // A body is valid JSON without white space, and is shown as such.
        FIXED + self.body.len() + self.attempts.len() * 4 * ID
    }
}

impl WireSize for DeadJob {
    fn wire_size(&self) -> usize {
        FIXED + text(&self.reason)
    }
}
