//! A project with an agent, and operations on its simulations.

use std::collections::BTreeMap;

use http::Method;
use onerun_auth::{Actor, AuditEntry, AuditEvent};
use onerun_tests::app::{Client, Reply, TestApp};
use serde_json::{Value, json};

/// The default scenario of a simulation.
pub(crate) const SCENARIO: &str = "A customer asks for a refund of a kettle that arrived broken.";

pub(crate) struct TestProject<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) client: Client<'a>,
    pub(crate) id: String,
    pub(crate) agent: String,
}

impl<'a> TestProject<'a> {
    pub(crate) async fn open(app: &'a TestApp) -> Self {
        let client = app.root();
        let project = id(&client.post("/v1/projects", &json!({ "name": "Refund desk" }), 200).await);
        let path = format!("/v1/agents?project_id={project}");
        let agent = id(&client.post(&path, &json!({ "name": "Desk" }), 200).await);
        Self { app, client, id: project, agent }
    }

    /// A path below `/v1`, with the project.
    pub(crate) fn path(&self, rest: &str) -> String {
        let joint = if rest.contains('?') { '&' } else { '?' };
        format!("/v1{rest}{joint}project_id={}", self.id)
    }

    pub(crate) async fn get(&self, rest: &str) -> Value {
        self.client.get(&self.path(rest), 200).await
    }

    pub(crate) async fn objective(&self, name: &str, criteria: &str) -> String {
        let body = json!({ "name": name, "criteria": criteria });
        id(&self.client.post(&self.path("/objectives"), &body, 200).await)
    }

    /// The input of a simulation: one conversation with one approved persona, changed by `changes`.
    pub(crate) fn wanted(&self, changes: Value) -> Value {
        let mut body = json!({
            "agent_id": self.agent,
            "name": "Refunds",
            "scenario": SCENARIO,
            "target_conversations": 1,
            "target_personas": 1,
            "auto_approve": true,
            "seed": 7,
        });
        merge(&mut body, changes);
        body
    }

    /// Creates a simulation, and runs no job.
    pub(crate) async fn create(&self, changes: Value) -> String {
        id(&self.client.post(&self.path("/simulations"), &self.wanted(changes), 200).await)
    }

    /// Creates a simulation with its personas and conversations.
    pub(crate) async fn simulate(&self, changes: Value) -> String {
        let simulation = self.create(changes).await;
        self.app.run_jobs().await;
        simulation
    }

    /// Creates a simulation with one conversation, and returns the conversation.
    pub(crate) async fn converse(&self, changes: Value) -> TestConversation<'_, 'a> {
        let simulation = self.simulate(changes).await;
        let conversation = match &self.conversations(&simulation).await[..] {
            [one] => id(one),
            other => panic!("not one conversation: {other:?}"),
        };
        self.test_conversation(&simulation, &conversation)
    }

    pub(crate) fn test_conversation(&self, simulation: &str, conversation: &str) -> TestConversation<'_, 'a> {
        TestConversation { project: self, simulation: simulation.to_owned(), id: conversation.to_owned() }
    }

    pub(crate) async fn simulation(&self, simulation: &str) -> Value {
        self.get(&format!("/simulations/{simulation}")).await
    }

    pub(crate) async fn status(&self, simulation: &str) -> String {
        text(&self.simulation(simulation).await, "status")
    }

    pub(crate) async fn results(&self, simulation: &str) -> Value {
        self.get(&format!("/simulations/{simulation}/results")).await
    }

    /// Requests `run` or `cancel`.
    pub(crate) async fn order(&self, simulation: &str, what: &str, status: u16) -> Value {
        self.client.post_empty(&self.path(&format!("/simulations/{simulation}/{what}")), status).await
    }

    /// All personas of a simulation, by number.
    pub(crate) async fn personas(&self, simulation: &str) -> Vec<Value> {
        let (mut rows, mut query) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/simulations/{simulation}/personas{query}")).await;
            rows.extend_from_slice(data(&page));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("?cursor={cursor}");
        }
        by_number(&json!({ "data": rows }))
    }

    /// Requests `approve` or `reject` for a persona.
    pub(crate) async fn decide(&self, simulation: &str, persona: &str, what: &str, status: u16) -> Value {
        let path = self.path(&format!("/simulations/{simulation}/personas/{persona}/{what}"));
        self.client.post_empty(&path, status).await
    }

    /// All conversations of a simulation, at most 100, by number.
    pub(crate) async fn conversations(&self, simulation: &str) -> Vec<Value> {
        let page = self.get(&format!("/simulations/{simulation}/conversations?limit=100")).await;
        assert_eq!(page["has_more"], false, "more than one page");
        by_number(&page)
    }

    /// All conversations of a simulation, by number.
    pub(crate) async fn test_conversations(&self, simulation: &str) -> Vec<TestConversation<'_, 'a>> {
        let conversations = self.conversations(simulation).await;
        conversations
            .iter()
            .map(|conversation| self.test_conversation(simulation, &id(conversation)))
            .collect()
    }
}

/// One conversation, as a worker uses it.
pub(crate) struct TestConversation<'d, 'a> {
    pub(crate) project: &'d TestProject<'a>,
    pub(crate) simulation: String,
    pub(crate) id: String,
}

impl TestConversation<'_, '_> {
    pub(crate) fn path(&self, rest: &str) -> String {
        self.project.path(&format!("/simulations/{}/conversations/{}{rest}", self.simulation, self.id))
    }

    pub(crate) async fn see(&self) -> Value {
        self.project.client.get(&self.path(""), 200).await
    }

    pub(crate) async fn start(&self, status: u16) -> Value {
        self.project.client.post_empty(&self.path("/start"), status).await
    }

    pub(crate) async fn end(&self, status: u16) -> Value {
        self.project.client.post_empty(&self.path("/end"), status).await
    }

    /// Sends an agent message, or asks for the persona's first one with `None`.
    pub(crate) async fn say(&self, text: Option<&str>, status: u16) -> Value {
        self.say_with(&self.project.client, "/responses", text, status).await.json()
    }

    /// [`TestConversation::say`] by another client and on another path.
    pub(crate) async fn say_with(
        &self,
        client: &Client<'_>,
        rest: &str,
        text: Option<&str>,
        status: u16,
    ) -> Reply {
        client.send(Method::POST, &self.path(rest), Some(&message(text)), status).await
    }

    pub(crate) async fn items(&self) -> Vec<Value> {
        self.items_of("/items").await
    }

    pub(crate) async fn items_of_attempt(&self, attempt: u32) -> Vec<Value> {
        self.items_of(&format!("/items?attempt={attempt}")).await
    }

    async fn items_of(&self, rest: &str) -> Vec<Value> {
        let page = self.project.client.get(&self.path(rest), 200).await;
        assert_eq!(page["has_more"], false, "more than one page");
        data(&page).clone()
    }

    /// Role and text of each message, oldest first.
    pub(crate) async fn transcript(&self) -> Vec<(String, String)> {
        let said = |item: &Value| (text(item, "role"), text(&item["content"][0], "text"));
        self.items().await.iter().map(said).collect()
    }

    /// The persona opens, the agent sends each of these messages, then ends the conversation.
    pub(crate) async fn hold(&self, lines: &[&str]) {
        self.start(200).await;
        let mut ended = self.say(None, 200).await["ended"] == true;
        for line in lines {
            if !ended {
                ended = self.say(Some(line), 200).await["ended"] == true;
            }
        }
        self.end(200).await;
    }
}

/// The body of a call for the persona's reply.
pub(crate) fn message(text: Option<&str>) -> Value {
    match text {
        Some(text) => {
            json!({ "input": [{ "type": "message", "content": [{ "type": "text", "text": text }] }] })
        }
        None => json!({ "input": null }),
    }
}

pub(crate) fn data(page: &Value) -> &Vec<Value> {
    page["data"].as_array().unwrap_or_else(|| panic!("no data in {page}"))
}

fn by_number(page: &Value) -> Vec<Value> {
    let mut data = data(page).clone();
    data.sort_by_key(|value| value["seq_id"].as_u64());
    data
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

pub(crate) fn id(value: &Value) -> String {
    text(value, "id")
}

/// The `code` of an error.
pub(crate) fn code(problem: &Value) -> &str {
    problem["code"].as_str().unwrap_or_else(|| panic!("no code in {problem}"))
}

/// Sets the members of `changes`; null removes a member.
pub(crate) fn merge(object: &mut Value, changes: Value) {
    let object = object.as_object_mut().expect("an object");
    let Value::Object(changes) = changes else { panic!("not an object: {changes}") };
    for (name, value) in changes {
        if value.is_null() {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
}

/// Adds the members of another object.
pub(crate) fn extend(object: &mut Value, other: &Value) {
    let object = object.as_object_mut().expect("an object");
    object.extend(other.as_object().expect("an object").clone());
}

/// An audit trail with an entry on the tenth of each month.
pub(crate) fn audit_entries(months: &[&str]) -> Vec<AuditEntry> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    for (number, month) in (1..).zip(months) {
        let event = AuditEvent {
            at: format!("{month}-10T10:00:0{number}.000000Z"),
            action: "create_key".to_owned(),
            key_id: "AAECAwQFBgcI".to_owned(),
            actor: Actor {
                key_id: "root".to_owned(),
                address: Some("203.0.113.9".to_owned()),
                user_agent: None,
                request_id: format!("req_{number}"),
            },
            details: BTreeMap::from([("name".to_owned(), format!("key {number}"))]),
        };
        let head = entries.last().map(AuditEntry::head);
        entries.push(event.seal(head.as_ref()));
    }
    entries
}
