//! Fills a DynamoDB through the functions, and records its replies to each measured function.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    EVERYDAY, Paths,
    aws::{self, Backend, Call, Endpoints},
    event::event,
    function::{COMPARED, Function, TABLE, WITH_MODELS},
    process::Starter,
    runtime_api::Environment,
};

/// The inputs of a run, the same for all functions.
#[derive(Serialize, Deserialize)]
pub(crate) struct Recording {
    /// The root key.
    pub(crate) key: String,
    /// The event of each operation.
    pub(crate) events: BTreeMap<String, Value>,
    /// DynamoDB's replies by function.
    pub(crate) tapes: BTreeMap<String, Arc<Vec<Call>>>,
}

/// The status and body of a reply.
pub(crate) fn read(answer: &Bytes) -> Result<(u64, Value)> {
    let answer: Value = serde_json::from_slice(answer)?;
    let status = answer["statusCode"].as_u64().context("the answer has no status")?;
    let body = answer["body"].as_str().context("the answer has no body")?;
    Ok((status, serde_json::from_str(body)?))
}

struct Recorder<'a> {
    places: &'a Paths,
    aws: Endpoints,
    starter: Starter,
}

impl Recorder<'_> {
    /// Starts a function, sends it requests, and returns its replies.
    async fn run(&self, function: &Function, events: &[Value]) -> Result<Vec<(u64, Value)>> {
        self.invoke(function, events).await?.iter().map(read).collect()
    }

    /// Starts a function, sends it events, and returns its answers.
    async fn invoke(&self, function: &Function, events: &[Value]) -> Result<Vec<Bytes>> {
        let mut environment = Environment::listen().await?;
        let command = function.command(self.places, &environment, &self.aws)?;
        environment.hold(self.starter.start(command)?);
        environment.polled().await?;
        let mut answers = Vec::new();
        for event in events {
            answers.push(environment.invoke(&Bytes::from(event.to_string())).await?.answer);
        }
        environment.end()?;
        Ok(answers)
    }

    /// Creates a resource through a function of the API.
    async fn make(
        &self,
        operation: &'static str,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
        key: &str,
    ) -> Result<String> {
        let made = self.post(operation, path, query, body, key).await?;
        Ok(made["id"].as_str().context("what was made has no id")?.to_owned())
    }

    /// Calls a function of the API.
    async fn post(
        &self,
        operation: &'static str,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
        key: &str,
    ) -> Result<Value> {
        let function = Function::onerun(self.places, EVERYDAY, operation);
        let event = event("POST", path, query, Some(key), Some(body));
        let answers = self.run(&function, &[event]).await.with_context(|| function.logged(self.places))?;
        match <[_; 1]>::try_from(answers) {
            Ok([(200, body)]) => Ok(body),
            other => bail!("{operation} answered {other:?}"),
        }
    }

    /// Runs the jobs that the recorded calls wrote, and the jobs that those write, as the queue delivers them.
    async fn run_jobs(&self) -> Result<()> {
        let function = Function::onerun(self.places, EVERYDAY, "run_jobs");
        let mut known = BTreeSet::new();
        loop {
            let jobs = self.aws.take_recorded().iter().flat_map(Call::jobs).collect::<BTreeSet<_>>();
            let records: Vec<_> = jobs
                .into_iter()
                .filter(|job| known.insert(job.clone()))
                .map(|job| json!({ "messageId": "059f36b4", "body": job }))
                .collect();
            if records.is_empty() {
                return Ok(());
            }
            let answers = self.invoke(&function, &[json!({ "Records": records })]).await;
            let answers = answers.with_context(|| function.logged(self.places))?;
            if serde_json::from_slice::<Value>(&answers[0])? != json!({ "batchItemFailures": [] }) {
                bail!("run_jobs answered {answers:?}\n{}", function.logged(self.places));
            }
        }
    }
}

/// Records the replies of the DynamoDB at `host:port`.
pub(crate) async fn record(places: &Paths, database: &str) -> Result<Recording> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret)?;
    let key = STANDARD.encode(secret);
    aws::create_table(database, TABLE).await?;
    let recorder = Recorder {
        places,
        aws: Endpoints::start(&places.certificates, &key, Backend::Database(database.to_owned())).await?,
        starter: Starter::new(places.core, None)?,
    };
    let project =
        recorder.make("create_project", "/v1/projects", &[], &json!({ "name": "Bench" }), &key).await?;
    let query = [("project_id", project.as_str())];
    let agent = json!({ "name": "Order support", "description": "Answers questions about orders." });
    let agent = recorder.make("create_agent", "/v1/agents", &query, &agent, &key).await?;
    let mut objectives = Vec::new();
    for (name, criteria) in [
        ("Offers a refund", "check: agent says /refund/i"),
        ("Is brief", "check: agent replies <= 6"),
        ("Is polite", "The agent stays polite whatever the customer says."),
    ] {
        let objective = json!({ "name": name, "criteria": criteria });
        objectives.push(recorder.make("create_objective", "/v1/objectives", &query, &objective, &key).await?);
    }
    let simulation = json!({
        "agent_id": agent,
        "name": "Refunds, nightly",
        "scenario": "A parcel arrived damaged, and the customer wants the money back.",
        "target_conversations": 20,
        "target_personas": 10,
        "max_turns": 12,
        "objective_ids": objectives,
        "seed": 7,
        "metadata": { "branch": "main" },
    });
    let id = recorder.make("create_simulation", "/v1/simulations", &query, &simulation, &key).await?;

    // A conversation that waits for its first message.
    let mut approved = simulation.clone();
    approved["auto_approve"] = true.into();
    recorder.aws.take_recorded();
    recorder.make("create_simulation", "/v1/simulations", &query, &approved, &key).await?;
    recorder.run_jobs().await?;
    let claim = json!({ "agent_ids": [agent], "limit": 1 });
    let claimed =
        recorder.post("claim_conversations", "/v1/conversations/claim", &query, &claim, &key).await?;
    let claimed = &claimed["data"][0];
    let [claimed, of] = ["conversation_id", "simulation_id"].map(|name| claimed[name].as_str());
    let (claimed, of) = claimed.zip(of).context("no conversation was claimed")?;
    let responses = format!("/v1/simulations/{of}/conversations/{claimed}/responses");

    let path = format!("/v1/simulations/{id}");
    let events = |key: Option<&str>| {
        BTreeMap::from([
            ("hello".to_owned(), event("GET", "/hello", &[], key, None)),
            ("get_whoami".to_owned(), event("GET", "/v1/whoami", &[], key, None)),
            ("get_simulation".to_owned(), event("GET", &path, &query, key, None)),
            (
                "create_simulation".to_owned(),
                event("POST", "/v1/simulations", &query, key, Some(&simulation)),
            ),
            (WITH_MODELS.to_owned(), event("POST", &responses, &query, key, Some(&json!({ "input": [] })))),
        ])
    };
    let (without, wrong, with) = (events(None), events(Some("wrong")), events(Some(&key)));
    let mut tapes = BTreeMap::new();
    recorder.aws.take_recorded();
    for operation in COMPARED {
        let functions = [Function::onerun(places, EVERYDAY, operation), Function::python(places, operation)];
        let mut bodies = Vec::new();
        for function in functions {
            // First without a key and with a wrong one, so that no function is fast because it
            // skips the check. Then twice, because a second request may use cached data.
            let events = [&without, &wrong, &with, &with].map(|events| events[operation].clone());
            let answers = recorder.run(&function, &events).await.with_context(|| function.logged(places))?;
            let statuses: Vec<u64> = answers.iter().map(|(status, _)| *status).collect();
            if statuses != [401, 401, 200, 200] {
                bail!("{} answered {answers:?}\n{}", function.name(), function.logged(places));
            }
            tapes.insert(function.tape(), Arc::new(recorder.aws.take_recorded()));
            bodies.push(answers.into_iter().next_back().map(|(_, body)| members(&body)));
        }
        if bodies[0] != bodies[1] {
            bail!("{operation}: the two do not answer the same members: {bodies:?}");
        }
    }
    let function = Function::onerun(places, EVERYDAY, WITH_MODELS);
    let events = [&without, &wrong, &with].map(|events| events[WITH_MODELS].clone());
    let answers = recorder.run(&function, &events).await.with_context(|| function.logged(places))?;
    let statuses: Vec<u64> = answers.iter().map(|(status, _)| *status).collect();
    if statuses != [401, 401, 200] {
        bail!("{} answered {answers:?}\n{}", function.name(), function.logged(places));
    }
    tapes.insert(function.tape(), Arc::new(recorder.aws.take_recorded()));
    Ok(Recording { key, events: with, tapes })
}

/// The member names of a body, to compare bodies without ids and times.
fn members(body: &Value) -> Value {
    match body {
        Value::Object(members_of) => {
            members_of.iter().map(|(name, value)| (name.clone(), members(value))).collect()
        }
        Value::Array(values) => values.iter().map(members).collect(),
        _ => Value::Null,
    }
}
