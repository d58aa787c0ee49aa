//! Fixtures for tests: a provider that answers as a function of the request.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use onerun_domain::{
    Agent, ApprovalStatus, Clock, Description, Item, MaxTurns, MessageText, Metadata, ModelName, Name,
    Objective, Persona, PersonaDraft, Redaction, Role, Scenario, Seed, Simulation, SimulationOptions,
    SimulationStatus, Target,
};
use onerun_model_offline::outline;
use onerun_transport::{Transport, TransportError};
use serde_json::{Value, json};

use crate::{CircuitConfig, Limits, OpenAi, Prices, Provider, Secret, Wire, chat_model::ChatModel};

/// An answer of the provider.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The model's text.
    Text(String),
    /// The model's text, cut off at the limit of tokens.
    Cut(String),
    /// A refusal in the form of the wire.
    Refusal,
    /// No text.
    Nothing,
    /// Text without the tokens that it took.
    WithoutUsage(String),
    Status(u16),
    Fail(TransportError),
    /// Never answers.
    Hang,
}

/// The tokens of every answer: 100 read, 10 written.
pub(crate) const TOKENS: (u64, u64) = (100, 10);

/// The cost of every answer, in billionths of a dollar.
pub(crate) const COST: u64 = 100 * 1_000 + 10 * 2_000;

const PRICES: &str = r#"{"models": [{"model": "openai:test", "input": 1, "output": 2}]}"#;

/// A provider's side of a transport.
pub(crate) struct Script {
    answer: Box<dyn Fn(&Value) -> Answer + Send + Sync>,
    requests: Mutex<Vec<Value>>,
}

impl Script {
    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }

    /// The number of requests since the last call, which are forgotten.
    pub(crate) fn take_count(&self) -> usize {
        std::mem::take(&mut *self.requests.lock().unwrap()).len()
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let request: Value = serde_json::from_slice(request.body()).unwrap();
        let answer = (self.answer)(&request);
        self.requests.lock().unwrap().push(request);
        let usage = json!({"prompt_tokens": TOKENS.0, "completion_tokens": TOKENS.1});
        let choice = |message: Value, reason: &str| {
            let choices = json!([{"message": message, "finish_reason": reason}]);
            (200, json!({"choices": choices, "usage": usage}))
        };
        let (status, body) = match answer {
            Answer::Text(text) => choice(json!({"content": text}), "stop"),
            Answer::Cut(text) => choice(json!({"content": text}), "length"),
            Answer::Refusal => choice(json!({"content": null, "refusal": "No."}), "stop"),
            Answer::Nothing => choice(json!({"content": null}), "stop"),
            Answer::WithoutUsage(text) => (200, json!({"choices": [{"message": {"content": text}}]})),
            Answer::Status(status) => (status, json!({"error": {"message": "no"}})),
            Answer::Fail(error) => return Err(error),
            Answer::Hang => {
                tokio::time::sleep(timeout * 2).await;
                return Err(TransportError::Timeout);
            }
        };
        Ok(Response::builder().status(status).body(Bytes::from(body.to_string())).unwrap())
    }
}

pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        "2026-11-30T12:00:00Z".parse().unwrap()
    }
}

/// A model of which each answer is a function of the request.
pub(crate) fn model(answer: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> (ChatModel, Arc<Script>) {
    let script = Arc::new(Script { answer: Box::new(answer), requests: Mutex::default() });
    let wire = Wire::OpenAi(OpenAi::new(None, Secret::parse("sk-test")).unwrap());
    let transport = Arc::clone(&script) as Arc<dyn Transport>;
    let circuit = CircuitConfig { failures: u32::MAX, ..CircuitConfig::default() };
    let provider = Provider::new(wire, transport, Arc::new(FixedClock), Limits::default(), circuit);
    let model = ChatModel {
        name: ModelName::parse("openai:test").unwrap(),
        provider: Arc::new(provider),
        prices: Arc::new(Prices::default().with(PRICES).unwrap()),
        judges_personas: false,
        redaction: Arc::new(Redaction::default()),
    };
    (model, script)
}

/// A model that gives these answers in order, and the last one from then on.
pub(crate) fn model_with(answers: impl IntoIterator<Item = Answer>) -> (ChatModel, Arc<Script>) {
    let answers: Mutex<Vec<Answer>> = Mutex::new(answers.into_iter().collect::<Vec<_>>());
    model(move |_| {
        let mut answers = answers.lock().unwrap();
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    })
}

/// The contents of a request's messages after the system's, with their roles.
pub(crate) fn messages(request: &Value) -> Vec<(String, String)> {
    let messages = request["messages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = messages.iter().map(|message| (text(&message["role"]), text(&message["content"])));
    all.filter(|(role, _)| role != "system" && role != "developer").collect()
}

/// The instructions of a request.
pub(crate) fn system(request: &Value) -> String {
    let first = &request["messages"][0];
    assert!(first["role"] == "system" || first["role"] == "developer", "{first}");
    first["content"].as_str().unwrap().to_owned()
}

pub(crate) fn simulation(scenario: &str) -> Simulation {
    Simulation {
        id: "simulation00000000001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        agent_id: "agent0000001".parse().unwrap(),
        name: Name::parse("A simulation").unwrap(),
        scenario: Scenario::parse(scenario).unwrap(),
        target_conversations: Target::parse(20).unwrap(),
        target_personas: Target::parse(10).unwrap(),
        max_turns: MaxTurns::parse(20).unwrap(),
        auto_approve: true,
        seed: Seed::parse(7).unwrap(),
        options: SimulationOptions::default(),
        metadata: Metadata::default(),
        status: SimulationStatus::InProgress,
        last_failure_reason: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::MAX,
        transcripts_deleted_at: None,
    }
}

pub(crate) fn agent() -> Agent {
    Agent {
        id: "agent0000001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        name: Name::parse("Flight desk").unwrap(),
        description: Some(Description::parse("Changes bookings").unwrap()),
        metadata: Metadata::default(),
        last_polled_at: None,
        endpoint: None,
        archived_at: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

/// A stored persona.
pub(crate) fn stored(draft: PersonaDraft, seq: u32) -> Persona {
    Persona {
        id: format!("persona{seq:014}").parse().unwrap(),
        simulation_id: "simulation00000000001".parse().unwrap(),
        seq,
        approval: ApprovalStatus::Approved,
        summary: draft.summary,
        story: draft.story,
        purpose: draft.purpose,
        attributes: draft.attributes,
        metadata: Metadata::default(),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn persona(simulation: &Simulation) -> Persona {
    stored(outline(simulation, &agent(), 1), 1)
}

pub(crate) fn item(position: usize, role: Role, text: &str) -> Item {
    Item {
        id: format!("item{position:017}").parse().unwrap(),
        conversation_id: "conversation000000001".parse().unwrap(),
        attempt: 1,
        position: u32::try_from(position).unwrap(),
        role,
        content: vec![MessageText::parse(text).unwrap()],
        created_at: Timestamp::UNIX_EPOCH,
    }
}

/// Messages that alternate between the persona, who begins, and the agent.
pub(crate) fn transcript(texts: &[&str]) -> Vec<Item> {
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    texts.iter().zip(roles).enumerate().map(|(position, (text, role))| item(position, role, text)).collect()
}

pub(crate) fn objective(name: &str, criteria: &str) -> Objective {
    Objective {
        id: "objective001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        name: Name::parse(name).unwrap(),
        criteria: onerun_domain::Criteria::parse(criteria).unwrap(),
        version: 1,

        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}
