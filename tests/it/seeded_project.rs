//! A project with one resource of each kind, and requests for any route.

use onerun_api::{Body, ROUTES, Route};
use onerun_tests::app::{TestApp, documentation};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, data, id};

/// A route's path with ids for its parameters, and with a project if its query has one. Append more
/// query parameters with `&`.
pub(crate) fn path(route: &Route, find: impl Fn(&str) -> Option<String>) -> String {
    let parts = route.path.split('/').map(|part| {
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        name.map_or_else(|| part.to_owned(), |name| find(name).unwrap_or_else(|| "A".repeat(21)))
    });
    let path = parts.collect::<Vec<_>>().join("/");
    if !route.parameter_names().contains(&"project_id") {
        return format!("{path}?");
    }
    let project = find("project_id").unwrap_or_else(|| "A".repeat(12));
    let with = match route.operation {
        "get_comparison" => format!("&with={}", find("with").unwrap_or_else(|| "A".repeat(21))),
        _ => String::new(),
    };
    format!("{path}?project_id={project}{with}")
}

/// The status of a valid request. The seeded simulation has not ended, so it cannot be judged again yet.
pub(crate) fn valid_status(route: &Route) -> u16 {
    match route.operation {
        "create_evaluation" => 409,
        "get_evaluation" => 404,
        _ => route.status.as_u16(),
    }
}

/// All routes, those first and last that would make others impossible. The others keep their order.
pub(crate) fn in_possible_order() -> Vec<&'static Route> {
    let mut routes = ROUTES.to_vec();
    routes.sort_by_key(|route| match route.operation {
        // The first attempt is renewed, then it fails. The conversation is queued again and started, so that a claim
        // finds none.
        "renew_conversation" => 0,
        "fail_conversation" => 1,
        "claim_conversations" => 3,
        "end_conversation" => 4,
        "cancel_simulation" | "cancel_batch" | "update_webhook" => 5,
        "delete_monitor" | "delete_webhook" => 6,
        "delete_simulation" => 7,
        _ => 2,
    });
    routes
}

/// A project with one resource of each kind, and their ids by parameter name.
pub(crate) struct SeededProject<'a> {
    pub(crate) project: TestProject<'a>,
    pub(crate) ids: Vec<(&'static str, String)>,
}

impl<'a> SeededProject<'a> {
    pub(crate) async fn new(app: &'a TestApp) -> Self {
        let project = TestProject::open(app).await;
        let objective = project.objective("Helps", "check: agent says /refund/i").await;
        // One persona is approved, and one waits for a decision.
        let simulation = project
            .simulate(json!({
                "auto_approve": false,
                "target_personas": 2,
                "target_conversations": 2,
                "max_turns": 20,
                "objective_ids": [objective.clone()],
            }))
            .await;
        let earlier = project.create(json!({ "name": "Earlier" })).await;
        let personas = project.personas(&simulation).await;
        project.decide(&simulation, &id(&personas[0]), "approve", 200).await;
        app.run_jobs().await;
        let persona = id(&personas[1]);
        let key = project.client.create_key(json!({})).await;
        let conversation = &project.test_conversations(&simulation).await[0];
        conversation.start(200).await;
        conversation.say(None, 200).await;
        let conversation = conversation.id.clone();
        let monitor = project.wanted(json!({ "objective_ids": [objective.clone()] }));
        let alert = json!({ "expected_pass_rate": 0.9, "low_pass_rate": 0.7 });
        let monitor = json!({ "name": "Refunds", "simulation": monitor, "alert": alert });
        let monitor = id(&project.client.post(&project.path("/monitors"), &monitor, 200).await);
        // Its persona waits for approval, so no conversation is queued.
        let defaults = project.wanted(json!({ "auto_approve": false }));
        let batch = json!({ "name": "Refunds", "defaults": defaults, "items": [{}] });
        let batch = id(&project.client.post(&project.path("/simulations/batch"), &batch, 202).await);
        let webhook = json!({ "url": "https://example.com/hook", "event_types": ["simulation.failed"] });
        let webhook = id(&project.client.post(&project.path("/webhooks"), &webhook, 200).await);
        let test = project.path(&format!("/webhooks/{webhook}/test"));
        let delivery = id(&project.client.post(&test, &json!({}), 200).await);
        app.run_jobs().await;
        app.target().take_received();
        let ids = vec![
            ("project_id", project.id.clone()),
            ("agent_id", project.agent.clone()),
            ("objective_id", objective),
            ("simulation_id", simulation),
            ("with", earlier),
            ("conversation_id", conversation),
            ("persona_id", persona),
            ("key_id", key.id),
            ("monitor_id", monitor),
            ("batch_id", batch),
            ("webhook_id", webhook),
            ("delivery_id", delivery),
        ];
        Self { project, ids }
    }

    pub(crate) fn path(&self, route: &Route) -> String {
        path(route, |name| self.ids.iter().find(|(known, _)| *known == name).map(|(_, id)| id.clone()))
    }

    /// [`SeededProject::path`], with a new resource where the route changes it permanently.
    pub(crate) async fn fresh_path(&self, route: &Route) -> String {
        let path = self.path(route);
        if route.operation != "rotate_key" {
            return path;
        }
        let known = self.ids.iter().find(|(name, _)| *name == "key_id").map(|(_, id)| id.as_str());
        path.replace(known.unwrap_or_default(), &self.project.client.create_key(json!({})).await.id)
    }

    /// Every readable resource.
    pub(crate) async fn state(&self) -> Value {
        let mut state = vec![self.project.client.get("/v1/projects?limit=100", 200).await];
        for rest in ["/agents", "/objectives", "/simulations", "/monitors", "/webhooks"] {
            state.push(self.project.get(&format!("{rest}?limit=100")).await);
        }
        let simulations: Vec<_> = data(&state[3]).iter().map(id).collect();
        for simulation in simulations {
            for rest in ["/personas", "/conversations", "/results"] {
                state.push(self.project.get(&format!("/simulations/{simulation}{rest}")).await);
            }
            for conversation in self.project.test_conversations(&simulation).await {
                state.push(json!(conversation.items().await));
            }
        }
        for monitor in data(&state[4]).iter().map(id).collect::<Vec<_>>() {
            state.push(self.project.get(&format!("/monitors/{monitor}/runs")).await);
        }
        for webhook in data(&state[5]).iter().map(id).collect::<Vec<_>>() {
            state.push(self.project.get(&format!("/webhooks/{webhook}/deliveries")).await);
        }
        let batches = self.project.get("/batches?limit=100").await;
        for batch in data(&batches).iter().map(id).collect::<Vec<_>>() {
            state.push(self.project.get(&format!("/batches/{batch}/items")).await);
        }
        state.push(batches);
        for path in ["/v1/keys?limit=100", "/v1/audit?limit=100"] {
            state.push(self.project.client.get(path, 200).await);
        }
        state.into()
    }

    /// Replaces the ids of an example by this project's.
    fn set_ids(&self, body: &mut Value) {
        for (parameter, id) in &self.ids {
            for (field, value) in
                [((*parameter).to_owned(), json!(id)), (format!("{parameter}s"), json!([id]))]
            {
                if let Some(field) = body.get_mut(field) {
                    *field = value;
                }
            }
        }
    }

    /// The documented example of the operation's body with this project's ids; `None` if it reads
    /// no body.
    pub(crate) fn value(&self, operation: &str) -> Option<Value> {
        let mut body =
            documentation(operation).get("requestBody")?["content"]["application/json"]["example"].clone();
        self.set_ids(&mut body);
        for simulation in ["simulation", "defaults"] {
            if let Some(simulation) = body.get_mut(simulation) {
                self.set_ids(simulation);
            }
        }
        for item in body.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            self.set_ids(item);
        }
        if let Some(judge) = body.get_mut("judge") {
            *judge = json!("offline");
        }
        let objective = self.ids.iter().find(|(name, _)| *name == "objective_id").map(|(_, id)| json!(id));
        for label in body.get_mut("labels").and_then(Value::as_array_mut).into_iter().flatten() {
            label["objective_id"] = objective.clone().unwrap_or_default();
        }
        Some(body)
    }

    /// [`SeededProject::value`] as bytes.
    pub(crate) fn body(&self, route: &Route) -> Body {
        Body::Read(self.value(route.operation).map(|value| value.to_string()).unwrap_or_default().into())
    }
}
