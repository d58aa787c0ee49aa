//! Holds the client's methods to the operations in `openapi.json`: method, path, parameters, headers and body.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    ProjectClient, SimulationClient,
    resource::{
        AlertRates, AuditOrder, ConversationStatus, CountedOutcome, EstimateRequest, Grants, KeyChange,
        KeyFilter, KeyStatus, Label, MinPassRate, MonitorChange, MonitorGate, MonitorState, NewAgent,
        NewAgentCredential, NewAgentEndpoint, NewBatch, NewImport, NewKey, NewMonitor, NewObjective,
        NewPersona, NewSchedule, NewSimulation, NewWebhook, Outcome, PageRequest, Projects, RequestedModels,
        Rotation, SimulationFilter, SimulationStatus, Turn, WebhookChange,
    },
    testing,
};

const DOCUMENT: &str = include_str!("../../../../openapi.json");

/// The operations without a method, each with the reason.
const WITHOUT_METHOD: [(&str, &str); 6] = [
    ("get_dashboard", "for browsers"),
    ("get_health", "for load balancers"),
    ("get_openapi", "for generators"),
    ("get_usage", "results contain the usage of a simulation"),
    ("read_items", "the old form of `list_items`"),
    ("run_simulation", "a simulation starts when it is created"),
];

/// An operation of the document.
struct Operation {
    method: String,
    path: String,
    /// The names of the query's parameters, and whether each is required.
    query: BTreeMap<String, bool>,
    takes_idempotency_key: bool,
    body: Option<Value>,
}

fn operations() -> BTreeMap<String, Operation> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut operations = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let (query, others): (Vec<&Value>, Vec<&Value>) =
                parameters.partition(|parameter| parameter["in"] == "query");
            let name = |parameter: &Value| parameter["name"].as_str().unwrap().to_owned();
            let query = query.into_iter().map(|one| (name(one), one["required"] == true)).collect();
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            operations.insert(
                operation["operationId"].as_str().unwrap().to_owned(),
                Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    query,
                    takes_idempotency_key: others.into_iter().any(|one| name(one) == "Idempotency-Key"),
                    body: (!body.is_null()).then(|| body.clone()),
                },
            );
        }
    }
    operations
}

impl Operation {
    /// Whether a path is this operation's, and how many of its segments are fixed.
    fn matches(&self, path: &str) -> Option<usize> {
        let (pattern, path): (Vec<&str>, Vec<&str>) =
            (self.path.split('/').collect(), path.split('/').collect());
        let is_parameter = |segment: &str| segment.starts_with('{');
        let fits = pattern.len() == path.len()
            && pattern.iter().zip(path).all(|(one, other)| is_parameter(one) || *one == other);
        fits.then(|| pattern.into_iter().filter(|segment| !is_parameter(segment)).count())
    }

    /// Checks the query, the headers and the body of a request to this operation.
    fn check(&self, id: &str, query: &str, head: &str, body: &str) {
        let names: BTreeSet<String> =
            query.split('&').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect();
        for name in &names {
            assert!(self.query.contains_key(name), "{id} has no parameter {name}");
        }
        for (name, _) in self.query.iter().filter(|(_, is_required)| **is_required) {
            assert!(names.contains(name), "{id} needs the parameter {name}");
        }
        let has_key = head.lines().any(|line| line.starts_with("idempotency-key: "));
        assert!(!has_key || self.takes_idempotency_key, "{id} ignores an idempotency key");
        match &self.body {
            Some(schema) => assert_fits(id, schema, &serde_json::from_str(body).unwrap()),
            None => assert!(["", "{}"].contains(&body), "{id} has no body, but was sent {body}"),
        }
    }
}

/// Checks the members of a value: all are known, and none that is required is missing.
fn assert_fits(place: &str, schema: &Value, value: &Value) {
    for item in value.as_array().into_iter().flatten() {
        assert_fits(place, &schema["items"], item);
    }
    let Some(members) = value.as_object() else { return };
    let has_all = |form: &&Value| members.keys().all(|name| !form["properties"][name].is_null());
    let schema = schema["oneOf"].as_array().and_then(|forms| forms.iter().find(has_all)).unwrap_or(schema);
    for (name, member) in members {
        let known = &schema["properties"][name];
        assert!(!known.is_null() || schema["additionalProperties"] == true, "{place} has no member {name}");
        assert_fits(&format!("{place}.{name}"), known, member);
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(members.contains_key(name.as_str().unwrap()), "{place} needs the member {name}");
    }
}

/// Calls the methods about reports.
async fn call_reports(simulation: &SimulationClient) {
    for objective_id in [None, Some("o".to_owned())] {
        let outcome = CountedOutcome { outcome: Outcome::Failed, objective_id };
        let _ = simulation.conversations_by_outcome(None, Some(&outcome), PageRequest::first(10)).await;
    }
    let _ = simulation.report(None).await;
    let _ = simulation.report(Some(MinPassRate { min: 0.9, on_lower_bound: true })).await;
    let _ = simulation.compare_with("t").await;
    for cursor in [None, Some("c")] {
        let _ = simulation.export(cursor).await;
    }
}

/// Calls the methods about monitors.
async fn call_monitors(project: &ProjectClient, simulation: &NewSimulation) {
    let schedule =
        Some(NewSchedule { expression: "rate(1 hour)".into(), timezone: Some("Europe/Berlin".into()) });
    let gate = Some(MonitorGate { min_pass_rate: 0.9, on: "rate".into() });
    let alert = AlertRates { expected_pass_rate: 0.9, low_pass_rate: 0.7 };
    let new = NewMonitor {
        name: "a".into(),
        simulation: simulation.clone(),
        schedule: schedule.clone(),
        gate: gate.clone(),
        alert: Some(alert.clone()),
        metadata: Map::from_iter([("team".into(), "qa".into())]),
    };
    let change = MonitorChange {
        name: Some("b".into()),
        simulation: Some(simulation.clone()),
        schedule,
        gate,
        alert: Some(alert.clone()),
        state: Some(MonitorState::Paused),
    };
    let _ = project.create_monitor(&new).await;
    let _ = project.list_monitors(PageRequest::first(10)).await;
    let _ = project.monitor("m").await;
    let _ = project.update_monitor("m", &change).await;
    let _ = project.delete_monitor("m").await;
    for rates in [None, Some(&alert)] {
        let _ = project.monitor_alert("m", rates).await;
    }
    let _ = project.create_monitor_run("m").await;
    let _ = project.list_monitor_runs("m", PageRequest::first(10)).await;
}

/// Calls the methods about endpoints of agents.
async fn call_endpoints(project: &ProjectClient) {
    let new = NewAgentEndpoint {
        target: Map::from_iter([("openai".into(), json!({ "url": "https://a.example", "model": "b" }))]),
        credential: Some(NewAgentCredential { header: "Authorization".into(), value: "c".into() }),
        max_in_flight: Some(1),
        max_calls_per_minute: Some(1),
    };
    let _ = project.put_agent_endpoint("a", &new).await;
    let _ = project.delete_agent_endpoint("a").await;
}

/// Calls the methods about webhooks.
async fn call_webhooks(project: &ProjectClient) {
    let event_types = Some(vec!["simulation.failed".to_owned()]);
    let new = NewWebhook {
        url: "https://example.com".into(),
        description: Some("a".into()),
        event_types: event_types.clone(),
        format: Some("slack".into()),
        state: Some("disabled".into()),
    };
    let change = WebhookChange {
        url: Some("https://example.com".into()),
        description: Some("b".into()),
        event_types,
        format: Some("standard".into()),
        state: Some("enabled".into()),
    };
    let _ = project.create_webhook(&new).await;
    let _ = project.list_webhooks(PageRequest::first(10)).await;
    let _ = project.webhook("w").await;
    let _ = project.update_webhook("w", &change).await;
    let _ = project.delete_webhook("w").await;
    for overlap in [None, Some(60)] {
        let _ = project.rotate_webhook_secret("w", overlap).await;
    }
    let _ = project.test_webhook("w").await;
    for state in [None, Some("failed")] {
        let _ = project.list_webhook_deliveries("w", state, PageRequest::first(10)).await;
    }
    let _ = project.webhook_delivery("w", "d").await;
    let _ = project.replay_webhook_delivery("w", "d").await;
}

/// Imports conversations, with and without a key.
async fn call_import(project: &ProjectClient) {
    let new = NewImport {
        agent_id: "a".into(),
        name: "a".into(),
        scenario: Some("a".into()),
        objective_ids: vec!["o".into()],
        conversations: vec![serde_json::json!({ "messages": [{ "role": "user", "content": "a" }] })],
        judge: Some("offline".into()),
        max_cost_usd: Some(1.5),
        max_tokens: Some(1),
        expires_in_seconds: Some(60),
        metadata: Map::from_iter([("commit".into(), "c0ffee".into())]),
    };
    let _ = project.import_simulation(&new, None).await;
    let _ = project.import_simulation(&new, Some("key")).await;
}

/// Calls the methods about batches.
async fn call_batches(project: &ProjectClient) {
    let settings = Map::from_iter([("agent_id".into(), "a".into())]);
    let new = NewBatch {
        name: "a".into(),
        defaults: settings.clone(),
        items: vec![settings.clone()],
        max_in_flight: Some(10),
        max_in_flight_per_agent: Some(2),
        metadata: Map::from_iter([("team".into(), "qa".into())]),
    };
    let _ = project.create_batch(&new, None).await;
    let _ = project.create_batch(&new, Some("key")).await;
    let _ = project.list_batches(PageRequest::first(10)).await;
    let _ = project.batch("b").await;
    for status in [None, Some("failed")] {
        let _ = project.list_batch_items("b", status, PageRequest::first(10)).await;
    }
    let _ = project.cancel_batch("b").await;
    let _ = project.rerun_batch("b").await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one call of each method")]
async fn methods_send_requests_of_documented_operations() {
    let (client, mut requests) = testing::serving(|_| "HTTP/1.1 200 OK\r\n\r\n{}".to_owned()).await;
    let page = || PageRequest::first(10);
    let (agent, objective) = (
        NewAgent { name: "a".into(), description: Some("b".into()) },
        NewObjective { name: "a".into(), criteria: "b".into() },
    );
    let models = RequestedModels {
        persona: Some("offline".into()),
        reply: Some("offline".into()),
        judge: Some("offline".into()),
    };
    let new_simulation = NewSimulation {
        agent_id: "a".into(),
        name: "a".into(),
        scenario: "b".into(),
        target_conversations: 1,
        target_personas: 1,
        personas: vec![NewPersona {
            summary: "a".into(),
            story: "b".into(),
            purpose: "c".into(),
            attributes: [("age_group".into(), "teen".into())].into(),
        }],
        max_turns: 2,
        personas_from: None,
        auto_approve: true,
        objective_ids: vec!["o".into()],
        seed: Some(1),
        models: Some(models.clone()),
        max_cost_usd: Some(1.5),
        expires_in_seconds: Some(60),
        metadata: Map::from_iter([("commit".into(), "c0ffee".into())]),
    };
    let estimate = EstimateRequest {
        target_conversations: 1,
        target_personas: 1,
        max_turns: 2,
        objectives: 1,
        models: Some(models.clone()),
    };
    let new_key = NewKey {
        name: "a".into(),
        grants: Grants::Preset("ci".into()),
        projects: Projects::All,
        lifetime: None,
        not_before: Some("2027-01-01T00:00:00Z".into()),
        allowed_cidrs: Some(vec!["::1".into()]),
        rate_limit: None,
        metadata: Map::new(),
    };
    let filter = KeyFilter {
        status: Some(KeyStatus::Active),
        project_id: Some("p".into()),
        expiring_within_days: Some(1),
        idle_for_days: Some(1),
    };
    let change = KeyChange { name: Some("b".into()), ..KeyChange::default() };
    let rotation = Rotation { overlap_seconds: Some(1), lifetime: None };
    let project = client.project("p");
    let simulation = project.simulation("s");
    let conversation = simulation.conversation("c");
    let label = Label { objective_id: "o".into(), outcome: Outcome::Failed, note: Some("a".into()) };
    let turn = Turn { attempt: 1, idempotency_key: "k", says: Some("Hello") };

    // Most answers are not what a method reads; only its request counts.
    let _ = client.list_projects(page()).await;
    let _ = client.list_archived_projects(page()).await;
    let _ = client.archive_project("p", true).await;
    let _ = client.get_project("p").await;
    let _ = client.create_project("a").await;
    let _ = project.agent("a").await;
    let _ = project.list_agents(Some("a"), page()).await;
    let _ = project.list_archived_agents(Some("a"), page()).await;
    let _ = project.archive_agent("a", true).await;
    call_endpoints(&project).await;
    let _ = project.create_agent(&agent).await;
    let _ = project.describe_agent("a", "b").await;
    let _ = project.list_objectives(page()).await;
    let _ = project.revise_objective("o", "b").await;
    let _ = project.estimate(&estimate).await;
    let _ = project.create_objective(&objective).await;
    let _ = project.objective("o").await;
    let _ = project.create_simulation(&new_simulation).await;
    let _ = project.simulations_named("a", page()).await;
    let _ = project.simulations_in_progress("a", page()).await;
    let _ = project.simulations_of_agent("a", SimulationStatus::Pending, page()).await;
    let wanted = SimulationFilter {
        status: Some(SimulationStatus::Failed),
        batch_id: Some("b".into()),
        monitor_id: Some("m".into()),
        created_after: Some("2026-11-23T09:30:00Z".into()),
        created_before: Some("2026-11-24T09:30:00Z".into()),
    };
    let _ = project.list_simulations(&wanted, page()).await;
    call_monitors(&project, &new_simulation).await;
    call_webhooks(&project).await;
    call_batches(&project).await;
    call_import(&project).await;
    let _ = simulation.get().await;
    let _ = simulation.cancel().await;
    let _ = simulation.delete().await;
    let _ = simulation.results().await;
    call_reports(&simulation).await;
    let _ = simulation.personas(page()).await;
    let _ = simulation.approve_persona("q").await;
    let _ = simulation.reject_persona("q").await;
    let _ = simulation.conversations(Some(ConversationStatus::Queued), page()).await;
    let _ = simulation.create_evaluation("offline").await;
    let _ = simulation.list_evaluations(page()).await;
    let _ = simulation.evaluation("e").await;
    let _ = conversation.put_labels(&[label]).await;
    let _ = conversation.labels().await;
    let _ = project.claim(&["a".to_owned()], 1, Duration::from_secs(1), "k").await;
    let _ = conversation.get().await;
    let _ = conversation.start("k").await;
    let _ = conversation.respond(&turn).await;
    let _ = conversation.respond(&Turn { says: None, ..turn }).await;
    let _ = conversation.renew(1).await;
    let _ = conversation.end(1).await;
    let _ = conversation.fail(1, "a").await;
    let _ = conversation.items(Some(1), page()).await;
    let _ = client.create_key(&new_key).await;
    let _ = client.rotate_key("k", &rotation).await;
    let _ = client.list_keys(&filter, page()).await;
    let _ = client.get_key("k").await;
    let _ = client.update_key("k", &change).await;
    let _ = client.revoke_key("k").await;
    let _ = client.disable_key("k").await;
    let _ = client.enable_key("k").await;
    let _ = client.revoke_leaked_keys(&["onr_k".to_owned().into()]).await;
    let _ = client.list_audit(AuditOrder::Newest, page()).await;
    let _ = client.whoami().await;

    let operations = operations();
    let mut called = BTreeSet::new();
    while let Ok(request) = requests.try_recv() {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let [method, target, _] = head.lines().next().unwrap().split(' ').collect::<Vec<_>>()[..] else {
            panic!("{head}")
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let matches = operations.iter().filter(|(_, operation)| operation.method == method);
        let best = matches.filter_map(|(id, operation)| Some((operation.matches(path)?, id, operation)));
        let (_, id, operation) = best.max_by_key(|(fixed, ..)| *fixed).unwrap_or_else(|| panic!("{head}"));
        operation.check(id, query, head, body);
        called.insert(id.as_str());
    }
    let without: BTreeSet<&str> = WITHOUT_METHOD.iter().map(|(id, _)| *id).collect();
    assert!(called.is_disjoint(&without), "these have a method: {:?}", &called & &without);
    let known: BTreeSet<&str> = operations.keys().map(String::as_str).collect();
    assert_eq!(&called | &without, known, "each operation has a method or a reason to have none");
}
