//! What the wire shows, in named types: a field added to the domain is not published by accident.
//!
//! The shapes are those of the published service, as a superset: what its SDK reads is always there.

use jiff::Timestamp;
use onerun_auth::{AddressAccess, ProjectAccess, RateLimit, Scope, ScopeSet};
use onerun_domain::{
    Agent, Conversation, EndedAttempt, Evaluation, Interval, Item, Name, Objective, ObjectiveRef, Persona,
    PersonaAttributes, Project, Simulation, wire_time,
};
use onerun_store::{
    AgentSummary, ConversationSummary, EvaluatedConversation, KeyView, SimulationDetail, SimulationSummary,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::App;

/// A time: RFC 3339, in UTC, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&wire_time(self.0))
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// A page of a list. It ends at `limit` rows, or before the row that would take it past 4,000,000 bytes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(crate) struct PageOut<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Whether more rows follow.
    pub has_more: bool,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// A project: what everything else belongs to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Project")]
pub(crate) struct ProjectOut {
    id: String,
    name: String,
    created_at: Time,
    updated_at: Time,
}

impl From<Project> for ProjectOut {
    fn from(project: Project) -> Self {
        Self {
            id: project.id.into(),
            name: project.name.as_str().to_owned(),
            created_at: Time(project.created_at),
            updated_at: Time(project.updated_at),
        }
    }
}

/// An agent under test, as other lists show it: without its description.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentWithoutDescription")]
pub(crate) struct ShortAgentOut {
    id: String,
    project_id: String,
    name: String,
    /// The caller's own data.
    metadata: Map<String, Value>,
    /// When a worker last asked for this agent's work, late by a minute at the most; null if none ever did.
    last_polled_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

/// An agent under test.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub(crate) struct AgentOut {
    #[serde(flatten)]
    agent: ShortAgentOut,
    /// What it is for.
    description: Option<String>,
    /// The same as `description`: the name that the published SDK reads.
    summary: Option<String>,
}

impl From<Agent> for AgentOut {
    fn from(mut agent: Agent) -> Self {
        let description = agent.description.take().map(|text| text.as_str().to_owned());
        Self { agent: agent.into(), summary: description.clone(), description }
    }
}

impl From<Agent> for ShortAgentOut {
    fn from(agent: Agent) -> Self {
        Self {
            id: agent.id.into(),
            project_id: agent.project_id.into(),
            name: agent.name.as_str().to_owned(),
            metadata: agent.metadata.as_map().clone(),
            last_polled_at: agent.last_polled_at.map(Time),
            created_at: Time(agent.created_at),
            updated_at: Time(agent.updated_at),
        }
    }
}

/// An agent under test, and how many simulations it has.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentWithTotals")]
pub(crate) struct AgentSummaryOut {
    #[serde(flatten)]
    agent: AgentOut,
    /// How many simulations it has.
    total_simulations: u64,
}

impl From<AgentSummary> for AgentSummaryOut {
    fn from(summary: AgentSummary) -> Self {
        Self { agent: summary.agent.into(), total_simulations: summary.total_simulations }
    }
}

/// One version of an objective.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Objective")]
pub(crate) struct ObjectiveOut {
    id: String,
    project_id: String,
    /// 1 for the first.
    version: u32,
    name: String,
    /// What is judged: prose, `check:` lines, or both.
    criteria: String,
    /// When the first version was made.
    created_at: Time,
    /// When this version was made.
    updated_at: Time,
}

impl From<Objective> for ObjectiveOut {
    fn from(objective: Objective) -> Self {
        Self {
            id: objective.id.into(),
            project_id: objective.project_id.into(),
            version: objective.version,
            name: objective.name.as_str().to_owned(),
            criteria: objective.criteria.as_str().to_owned(),
            created_at: Time(objective.created_at),
            updated_at: Time(objective.updated_at),
        }
    }
}

/// What was written, and what to know about it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}WithWarnings")]
pub(crate) struct Warned<T> {
    #[serde(flatten)]
    written: T,
    /// What will not work as it may be meant, each in a sentence or two; empty if there is nothing.
    warnings: Vec<String>,
}

impl Warned<ObjectiveOut> {
    pub(crate) fn objective(app: &App, objective: Objective) -> Self {
        let warnings = app.engine().warnings(std::slice::from_ref(&objective));
        Self { written: objective.into(), warnings }
    }
}

impl Warned<SimulationOut> {
    pub(crate) fn simulation(app: &App, detail: SimulationDetail) -> Self {
        let warnings = app.engine().warnings(&detail.objectives);
        Self { written: detail.into(), warnings }
    }

    /// The same without the objectives, which are far larger than the rest.
    pub(crate) fn without_objectives(mut self) -> Self {
        self.written.objectives.clear();
        self
    }
}

/// A simulation by itself.
#[derive(Serialize, JsonSchema)]
struct SimulationFields {
    id: String,
    project_id: String,
    agent_id: String,
    name: String,
    scenario: String,
    status: SimulationStatusOut,
    /// Why it failed or expired.
    last_failure_reason: Option<String>,
    target_conversations: u32,
    target_personas: u32,
    /// How many messages, of both sides together, a conversation may have.
    max_turns: u32,
    auto_approve: bool,
    /// What everything generated is derived from.
    seed: u64,
    /// The caller's own data.
    metadata: Map<String, Value>,
    created_at: Time,
    updated_at: Time,
    expires_at: Time,
}

impl From<Simulation> for SimulationFields {
    fn from(simulation: Simulation) -> Self {
        Self {
            id: simulation.id.into(),
            project_id: simulation.project_id.into(),
            agent_id: simulation.agent_id.into(),
            name: simulation.name.as_str().to_owned(),
            scenario: simulation.scenario.as_str().to_owned(),
            status: SimulationStatusOut(simulation.status),
            last_failure_reason: simulation.last_failure_reason,
            target_conversations: simulation.target_conversations.get(),
            target_personas: simulation.target_personas.get(),
            max_turns: simulation.max_turns.get(),
            auto_approve: simulation.auto_approve,
            seed: simulation.seed.get(),
            metadata: simulation.metadata.as_map().clone(),
            created_at: Time(simulation.created_at),
            updated_at: Time(simulation.updated_at),
            expires_at: Time(simulation.expires_at),
        }
    }
}

/// A simulation, with its agent and its objectives at the versions that it pinned.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Simulation")]
pub(crate) struct SimulationOut {
    #[serde(flatten)]
    simulation: SimulationFields,
    agent: AgentOut,
    objectives: Vec<ObjectiveOut>,
}

impl From<SimulationDetail> for SimulationOut {
    fn from(detail: SimulationDetail) -> Self {
        let SimulationDetail { simulation, agent, objectives } = detail;
        Self {
            simulation: simulation.into(),
            agent: agent.into(),
            objectives: objectives.into_iter().map(ObjectiveOut::from).collect(),
        }
    }
}

/// A simulation as lists show it. `get_simulation` has the agent's description and the objectives.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SimulationSummary")]
pub(crate) struct SimulationSummaryOut {
    #[serde(flatten)]
    simulation: SimulationFields,
    agent: ShortAgentOut,
    /// Always empty in a list, as in the published service.
    objectives: [ObjectiveOut; 0],
}

impl From<SimulationSummary> for SimulationSummaryOut {
    fn from(summary: SimulationSummary) -> Self {
        let SimulationSummary { simulation, agent } = summary;
        Self { simulation: simulation.into(), agent: agent.into(), objectives: [] }
    }
}

/// The domain's own words, with a schema that lists them.
macro_rules! words {
    ($($name:ident($type:ident)),* $(,)?) => {$(
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) onerun_domain::$type);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let words = onerun_domain::$type::ALL.map(onerun_domain::$type::as_str);
                json_schema!({ "type": "string", "enum": words })
            }
        }
    )*};
}

words! {
    SimulationStatusOut(SimulationStatus),
    ApprovalStatusOut(ApprovalStatus),
    ConversationStatusOut(ConversationStatus),
    EvaluationStatusOut(EvaluationStatus),
    EndReasonOut(EndReason),
    OutcomeOut(Outcome),
}

/// A generated person.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Persona")]
pub(crate) struct PersonaOut {
    id: String,
    simulation_id: String,
    /// Its number within the simulation. A persona that replaces a rejected one has a number above the target.
    seq_id: u32,
    approval_status: ApprovalStatusOut,
    /// Who it is, in a sentence.
    summary: String,
    /// What brought it here.
    story: String,
    /// What it wants from the conversation.
    purpose: String,
    /// What it is like: names and texts, of which an empty one is unknown.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    attributes: PersonaAttributes,
    metadata: Map<String, Value>,
    created_at: Time,
    updated_at: Time,
}

impl From<Persona> for PersonaOut {
    fn from(persona: Persona) -> Self {
        Self {
            id: persona.id.into(),
            simulation_id: persona.simulation_id.into(),
            seq_id: persona.seq,
            approval_status: ApprovalStatusOut(persona.approval),
            summary: persona.summary,
            story: persona.story,
            purpose: persona.purpose,
            attributes: persona.attributes,
            metadata: persona.metadata.as_map().clone(),
            created_at: Time(persona.created_at),
            updated_at: Time(persona.updated_at),
        }
    }
}

/// Words that occur to the letter in the transcript.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Quote")]
struct QuoteOut {
    /// The message they occur in.
    item_id: String,
    text: String,
}

/// A verdict by itself.
#[derive(Serialize, JsonSchema)]
struct EvaluationFields {
    id: String,
    conversation_id: String,
    objective_id: String,
    /// The version that was judged.
    objective_version: u32,
    outcome: OutcomeOut,
    /// From 0 to 1; null where it cannot be told.
    #[schemars(range(min = 0.0, max = 1.0))]
    score: Option<f64>,
    reason: Option<String>,
    quotes: Vec<QuoteOut>,
    /// Who judged: a model's name, or `checks`.
    judge: String,
    /// SHA-256, in hex, of what the judge was told to do.
    prompt_hash: String,
    created_at: Time,
    updated_at: Time,
}

impl From<Evaluation> for EvaluationFields {
    fn from(evaluation: Evaluation) -> Self {
        Self {
            id: evaluation.id.into(),
            conversation_id: evaluation.conversation_id.into(),
            objective_id: evaluation.objective.id.into(),
            objective_version: evaluation.objective.version,
            outcome: OutcomeOut(evaluation.outcome),
            score: evaluation.score.map(onerun_domain::Score::get),
            reason: Some(evaluation.reason),
            quotes: evaluation
                .quotes
                .into_iter()
                .map(|quote| QuoteOut { item_id: quote.item_id.into(), text: quote.text })
                .collect(),
            judge: evaluation.judge,
            prompt_hash: evaluation.prompt_hash,
            created_at: Time(evaluation.created_at),
            updated_at: Time(evaluation.created_at),
        }
    }
}

/// A verdict on one conversation against one version of an objective.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Evaluation")]
struct EvaluationOut {
    #[serde(flatten)]
    evaluation: EvaluationFields,
    /// The objective, as it was judged.
    objective: ObjectiveOut,
}

impl From<(Evaluation, Objective)> for EvaluationOut {
    fn from((evaluation, objective): (Evaluation, Objective)) -> Self {
        Self { evaluation: evaluation.into(), objective: objective.into() }
    }
}

/// The version of an objective that was judged, without its criteria.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ObjectiveWithoutCriteria")]
struct ShortObjectiveOut {
    id: String,
    version: u32,
    name: String,
}

/// A verdict as lists show it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvaluationSummary")]
struct EvaluationSummaryOut {
    #[serde(flatten)]
    evaluation: EvaluationFields,
    /// The objective, as it was judged.
    objective: ShortObjectiveOut,
}

impl From<(Evaluation, Name)> for EvaluationSummaryOut {
    fn from((evaluation, name): (Evaluation, Name)) -> Self {
        let ObjectiveRef { id, version } = evaluation.objective.clone();
        let objective = ShortObjectiveOut { id: id.into(), version, name: name.as_str().to_owned() };
        Self { evaluation: evaluation.into(), objective }
    }
}

/// An attempt to hold a conversation that is over.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndedAttempt")]
struct EndedAttemptOut {
    /// Its number, from 1.
    attempt: u32,
    /// How it ended. After `lease_expired` the conversation is queued again, unless it was the last attempt.
    end_reason: EndReasonOut,
    /// Why the worker failed, in its own words; null if it said nothing, as when it crashed.
    failure_reason: Option<String>,
    ended_at: Time,
}

impl From<EndedAttempt> for EndedAttemptOut {
    fn from(ended: EndedAttempt) -> Self {
        Self {
            attempt: ended.attempt,
            end_reason: EndReasonOut(ended.end_reason),
            failure_reason: ended.failure_reason,
            ended_at: Time(ended.ended_at),
        }
    }
}

/// A conversation and its persona.
#[derive(Serialize, JsonSchema)]
struct ConversationFields {
    id: String,
    simulation_id: String,
    persona_id: String,
    persona: PersonaOut,
    /// Its number within the simulation.
    seq_id: u32,
    status: ConversationStatusOut,
    /// Why it is over; null until it is.
    end_reason: Option<EndReasonOut>,
    evaluation_status: EvaluationStatusOut,
    /// Which attempt it is at.
    attempt: u32,
    /// The attempts that are over, oldest first, and how each ended.
    ended_attempts: Vec<EndedAttemptOut>,
    /// How many messages the attempt has.
    item_count: u32,
    /// When its worker is given up, unless it calls before.
    lease_expires_at: Option<Time>,
    metadata: Map<String, Value>,
    created_at: Time,
    updated_at: Time,
}

impl ConversationFields {
    fn of(conversation: Conversation, persona: Persona) -> Self {
        Self {
            id: conversation.id.into(),
            simulation_id: conversation.simulation_id.into(),
            persona_id: conversation.persona_id.into(),
            persona: persona.into(),
            seq_id: conversation.seq,
            status: ConversationStatusOut(conversation.status),
            end_reason: conversation.end_reason.map(EndReasonOut),
            evaluation_status: EvaluationStatusOut(conversation.evaluation_status),
            attempt: conversation.attempt,
            ended_attempts: conversation.ended_attempts.into_iter().map(EndedAttemptOut::from).collect(),
            item_count: conversation.item_count,
            lease_expires_at: conversation.lease_expires_at.map(Time),
            metadata: Map::new(),
            created_at: Time(conversation.created_at),
            updated_at: Time(conversation.updated_at),
        }
    }
}

/// A conversation, its persona and the verdicts on it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Conversation")]
pub(crate) struct ConversationOut {
    #[serde(flatten)]
    conversation: ConversationFields,
    /// The verdicts, in the order the simulation names its objectives.
    evaluations: Vec<EvaluationOut>,
}

impl From<EvaluatedConversation> for ConversationOut {
    fn from(loaded: EvaluatedConversation) -> Self {
        let EvaluatedConversation { conversation, persona, evaluations } = loaded;
        Self {
            conversation: ConversationFields::of(conversation, persona),
            evaluations: evaluations.into_iter().map(EvaluationOut::from).collect(),
        }
    }
}

/// A conversation as lists show it. `get_conversation` has the criteria of the objectives.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConversationSummary")]
pub(crate) struct ConversationSummaryOut {
    #[serde(flatten)]
    conversation: ConversationFields,
    /// The verdicts, in the order the simulation names its objectives.
    evaluations: Vec<EvaluationSummaryOut>,
}

impl From<ConversationSummary> for ConversationSummaryOut {
    fn from(summary: ConversationSummary) -> Self {
        let ConversationSummary { conversation, persona, evaluations } = summary;
        Self {
            conversation: ConversationFields::of(conversation, persona),
            evaluations: evaluations.into_iter().map(EvaluationSummaryOut::from).collect(),
        }
    }
}

/// That a conversation was started.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Started")]
pub(crate) struct StartedOut {
    /// What was done, in a sentence.
    pub message: &'static str,
    /// Which attempt was started. Sent back as `attempt`, it keeps calls for a lost attempt from reaching the next.
    pub attempt: u32,
    /// When the worker is given up, unless it calls before.
    pub lease_expires_at: Option<Time>,
}

impl From<Conversation> for StartedOut {
    fn from(conversation: Conversation) -> Self {
        Self {
            message: "Conversation started successfully",
            attempt: conversation.attempt,
            lease_expires_at: conversation.lease_expires_at.map(Time),
        }
    }
}

/// A part of a message.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TextContent")]
pub(crate) struct ContentOut {
    /// Always `text`.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "text"))]
    kind: &'static str,
    text: String,
}

impl ContentOut {
    pub(crate) fn text(text: String) -> Self {
        Self { kind: "text", text }
    }
}

/// A message of a conversation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Item")]
pub(crate) struct ItemOut {
    id: String,
    conversation_id: String,
    /// The attempt that it was said in.
    attempt: u32,
    /// Always `message`.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "message"))]
    kind: &'static str,
    /// `user` is the persona, `assistant` the agent under test.
    #[schemars(extend("enum" = ["user", "assistant"]))]
    role: &'static str,
    content: Vec<ContentOut>,
    created_at: Time,
    updated_at: Time,
}

impl From<Item> for ItemOut {
    fn from(item: Item) -> Self {
        Self {
            id: item.id.into(),
            conversation_id: item.conversation_id.into(),
            attempt: item.attempt,
            kind: "message",
            role: item.role.as_str(),
            content: item
                .content
                .into_iter()
                .map(|part| ContentOut::text(part.as_str().to_owned()))
                .collect(),
            created_at: Time(item.created_at),
            updated_at: Time(item.created_at),
        }
    }
}

/// Where a rate lies with 95% confidence.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Interval")]
pub(crate) struct IntervalOut {
    low: f64,
    high: f64,
}

impl From<Interval> for IntervalOut {
    fn from(interval: Interval) -> Self {
        Self { low: interval.low, high: interval.high }
    }
}

/// A managed key, without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct KeyOut {
    /// Its public id.
    id: String,
    /// What the key begins with, by which a copy of it is recognised.
    prefix: String,
    /// What people call it.
    name: String,
    /// `pending`, `active`, `disabled`, `expired` or `revoked`.
    status: &'static str,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// Whether it may do so in every project.
    all_projects: bool,
    /// The projects that it is bound to, if not all.
    project_ids: Vec<String>,
    /// From when on it is accepted; null for at once.
    not_before: Option<Time>,
    /// From when on it is refused; null for never. An overlap may end sooner.
    expires_at: Option<Time>,
    /// The blocks of addresses that it is accepted from; null for any.
    allowed_cidrs: Option<Vec<String>>,
    /// How often it may be used; null for any number of requests.
    rate_limit: Option<RateLimitOut>,
    /// What its owner notes with it.
    metadata: Map<String, Value>,
    created_at: Time,
    /// The id of the key that made it.
    created_by: String,
    updated_at: Time,
    /// Since when it is disabled.
    disabled_at: Option<Time>,
    /// When it was revoked.
    revoked_at: Option<Time>,
    /// The id of the key whose place it took.
    replaces: Option<String>,
    /// The id of the key that took its place.
    replaced_by: Option<String>,
    /// When that was.
    replaced_at: Option<Time>,
    /// From when on it is refused because of that.
    overlap_ends_at: Option<Time>,
    /// When it was accepted last, late by a minute at the most; null if it never was.
    last_used_at: Option<Time>,
    /// The scopes that it was ever used for.
    used_scopes: Vec<&'static str>,
    /// How often it was accepted since another key took its place, late by a minute.
    uses_since_replaced: u64,
    /// When it was accepted last since then; null if it was not.
    last_used_since_replaced_at: Option<Time>,
}

/// So many requests in each window.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RateLimit")]
pub(crate) struct RateLimitOut {
    /// How many.
    requests: u32,
    /// How long a window is.
    window_seconds: u32,
}

impl From<RateLimit> for RateLimitOut {
    fn from(limit: RateLimit) -> Self {
        Self { requests: limit.requests(), window_seconds: limit.window_seconds() }
    }
}

/// A key that was made by this request.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeKey")]
pub(crate) struct MadeKeyOut {
    /// The key.
    #[serde(flatten)]
    pub made: KeyOut,
    /// The key itself, which no other response has; null in the answer to a repeated request.
    pub key: Option<String>,
}

impl KeyOut {
    pub(crate) fn of(view: KeyView, now: Timestamp) -> Self {
        let KeyView { record, usage } = view;
        let (all_projects, project_ids) = projects_out(&record.grant.projects);
        let replaced_at = record.replaced.as_ref().map(|replaced| replaced.at);
        Self {
            prefix: format!("onr_{}", record.id),
            name: record.name.to_string(),
            status: record.status(now).as_str(),
            scopes: scopes_out(record.grant.scopes),
            all_projects,
            project_ids,
            not_before: record.not_before.map(Time),
            expires_at: record.grant.expires_at.map(Time),
            allowed_cidrs: blocks_out(&record.grant.addresses),
            rate_limit: record.grant.rate_limit.map(RateLimitOut::from),
            metadata: record.metadata.as_map().clone(),
            created_at: Time(record.created_at),
            created_by: record.created_by.to_string(),
            updated_at: Time(record.updated_at),
            disabled_at: record.disabled_at.map(Time),
            revoked_at: record.revoked_at.map(Time),
            replaces: record.replaces.as_ref().map(ToString::to_string),
            replaced_by: record.replaced.as_ref().map(|replaced| replaced.by.to_string()),
            replaced_at: replaced_at.map(Time),
            overlap_ends_at: record.replaced.as_ref().map(|replaced| Time(replaced.overlap_ends_at)),
            last_used_at: usage.last_used_at.map(Time),
            used_scopes: scopes_out(usage.used_scopes),
            uses_since_replaced: usage.uses_since_replaced,
            last_used_since_replaced_at: usage
                .last_used_at
                .filter(|_| usage.uses_since_replaced > 0)
                .map(Time),
            id: record.id.to_string(),
        }
    }
}

pub(crate) fn scopes_out(scopes: ScopeSet) -> Vec<&'static str> {
    scopes.iter().map(Scope::as_str).collect()
}

/// Whether a key reaches all projects, and if not, which.
pub(crate) fn projects_out(projects: &ProjectAccess) -> (bool, Vec<String>) {
    match projects {
        ProjectAccess::All => (true, Vec::new()),
        ProjectAccess::Only(ids) => (false, ids.iter().map(ToString::to_string).collect()),
    }
}

pub(crate) fn blocks_out(addresses: &AddressAccess) -> Option<Vec<String>> {
    match addresses {
        AddressAccess::Any => None,
        AddressAccess::Only(blocks) => Some(blocks.iter().map(ToString::to_string).collect()),
    }
}
