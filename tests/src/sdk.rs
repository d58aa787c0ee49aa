//! Fixtures for tests of the published SDK against any server.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    Client, eventually,
    process::{Process, sdk_script},
};

/// A project with an agent and two objectives.
#[derive(Clone, Debug)]
pub struct SdkProject {
    /// The client that all calls use.
    pub client: Client,
    /// The project's id.
    pub id: String,
    /// The agent's id.
    pub agent: String,
    /// The objectives' ids.
    pub objectives: Vec<String>,
}

/// The fields of a test simulation.
#[derive(Clone, Copy, Debug)]
pub struct SimulationFields<'a> {
    /// The name.
    pub name: &'a str,
    /// The number of conversations.
    pub conversations: u64,
    /// The number of personas.
    pub personas: u64,
    /// The time to expiry.
    pub expires_in_seconds: Option<u64>,
}

impl SdkProject {
    /// Creates the project, the agent and the objectives.
    pub async fn open(client: Client) -> Self {
        let project = id(&client.post("/v1/projects", &json!({"name": "Refund desk"}), 200).await);
        let agent = id(&client
            .post(&format!("/v1/agents?project_id={project}"), &json!({"name": "Desk"}), 200)
            .await);
        let mut objectives = Vec::new();
        for (name, criteria) in [
            ("Starts the refund", "The customer gets a refund.\ncheck: agent says /refund/i"),
            ("Blames nobody", "check: agent never says /your fault/i"),
        ] {
            let body = json!({"name": name, "criteria": criteria});
            objectives
                .push(id(&client.post(&format!("/v1/objectives?project_id={project}"), &body, 200).await));
        }
        Self { client, id: project, agent, objectives }
    }

    /// The same, with a managed key of a preset for every project.
    pub async fn with_key_of(&self, preset: &str) -> Self {
        let body = json!({ "name": preset, "preset": preset, "all_projects": true });
        let made = self.client.post("/v1/keys", &body, 200).await;
        Self { client: self.client.with_key(&text(&made, "key")), ..self.clone() }
    }

    /// A new simulation.
    pub async fn simulate(&self, wanted: SimulationFields<'_>) -> String {
        let mut body = json!({
            "agent_id": self.agent,
            "name": wanted.name,
            "scenario": "A customer asks for a refund of a kettle that arrived broken.",
            "target_conversations": wanted.conversations,
            "target_personas": wanted.personas,
            "auto_approve": true,
            "max_turns": 7,
            "objective_ids": self.objectives,
        });
        if let Some(seconds) = wanted.expires_in_seconds {
            body["expires_in_seconds"] = seconds.into();
        }
        id(&self.client.post(&format!("/v1/simulations?project_id={}", self.id), &body, 200).await)
    }

    /// A simulation with a conversation that was held elsewhere.
    pub async fn import(&self, name: &str) -> String {
        let message = |role: &str, words: &str| json!({ "role": role, "content": words });
        let messages =
            [message("user", "My kettle is broken."), message("assistant", "Here is your refund.")];
        let body = json!({
            "agent_id": self.agent,
            "name": name,
            "objective_ids": self.objectives,
            "conversations": [{ "messages": messages }],
        });
        let path = format!("/v1/simulations/import?project_id={}", self.id);
        id(&self.client.post(&path, &body, 200).await)
    }

    /// The path of something of a simulation, with its query.
    pub fn path(&self, simulation: &str, rest: &str) -> String {
        format!("/v1/simulations/{simulation}{rest}?project_id={}", self.id)
    }

    /// The status that a simulation is in.
    pub async fn status(&self, simulation: &str) -> String {
        text(&self.client.get(&self.path(simulation, ""), 200).await, "status")
    }

    /// Waits until a simulation is in a status.
    pub async fn reaches(&self, simulation: &str, status: &str) {
        eventually(&format!("simulation that is {status}"), || async {
            let seen = self.client.get(&self.path(simulation, ""), 200).await;
            if seen["status"] == status { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
    }

    /// All conversations of a simulation, at most 100.
    pub async fn conversations(&self, simulation: &str) -> Vec<Value> {
        let page =
            self.client.get(&format!("{}&limit=100", self.path(simulation, "/conversations")), 200).await;
        assert_eq!(page["has_more"], false, "more than one page");
        page["data"].as_array().expect("a page has data").clone()
    }

    /// Waits until `simulation`'s only conversation has `status`, and returns it.
    pub async fn conversation(&self, simulation: &str, status: &str) -> String {
        eventually(&format!("conversation that is {status}"), || async {
            let conversations = self.conversations(simulation).await;
            let found = conversations.iter().find(|conversation| conversation["status"] == status);
            found.map(id).ok_or_else(|| format!("{conversations:?}"))
        })
        .await
    }

    /// Every conversation is ended and has been judged on every objective.
    pub async fn assert_evaluated(&self, simulation: &str, count: usize) {
        let conversations = self.conversations(simulation).await;
        assert_eq!(conversations.len(), count);
        for conversation in &conversations {
            assert_eq!(conversation["status"], "ended", "{conversation}");
            assert_eq!(conversation["evaluation_status"], "completed", "{conversation}");
            let evaluations = conversation["evaluations"].as_array().expect("a list of evaluations");
            let judged: Vec<String> =
                evaluations.iter().map(|evaluation| text(evaluation, "objective_id")).collect();
            for objective in &self.objectives {
                let times = judged.iter().filter(|judged| *judged == objective).count();
                assert_eq!(times, 1, "{objective} in {conversation}");
            }
        }
    }

    /// A worker of the SDK for the agent, with these options of `worker.py`.
    pub fn worker(&self, options: &[&str]) -> Process {
        let mut command = sdk_script("worker.py", &self.client);
        command.args(["--project", &self.id, "--agent", &self.agent]).args(options);
        Process::spawn(command)
    }
}

/// A member that is text.
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// The member `id`.
pub fn id(value: &Value) -> String {
    text(value, "id")
}

/// Stops a worker that should have had nothing to complain about, and returns its log.
pub async fn assert_content(mut worker: Process) -> String {
    let status = worker.terminate().await;
    assert!(status.success(), "{status}: {}", worker.report());
    let log = worker.stderr();
    assert!(log.contains("Completed run task for"), "it did nothing: {log}");
    for complaint in ["error", "Error", "ERROR", "Traceback", "Failed", "WARNING"] {
        assert!(!log.contains(complaint), "{complaint:?} in the worker's log: {log}");
    }
    log
}

/// Brings simulations into every status, and reads them with the SDK in every way it can. Three
/// leases must expire within a minute.
pub async fn check_every_status(project: &SdkProject) {
    let wanted = |name| SimulationFields { name, conversations: 1, personas: 1, expires_in_seconds: None };

    let in_progress = project.simulate(wanted("Refund that waits")).await;
    let canceled = project.simulate(wanted("Refund withdrawn")).await;
    let completed = project.simulate(wanted("Refund settled")).await;
    let failed = project.simulate(wanted("Complaint nobody answers")).await;
    let expired = project
        .simulate(SimulationFields { expires_in_seconds: Some(1), ..wanted("Complaint too late") })
        .await;

    project.conversation(&in_progress, "queued").await;

    project.client.post_empty(&project.path(&canceled, "/cancel"), 200).await;
    project.reaches(&canceled, "canceled").await;

    let conversation = project.conversation(&completed, "queued").await;
    for end in ["start", "end"] {
        project
            .client
            .post_empty(&project.path(&completed, &format!("/conversations/{conversation}/{end}")), 200)
            .await;
    }
    project.reaches(&completed, "completed").await;

    let imported = project.import("Refund held elsewhere").await;
    project.reaches(&imported, "completed").await;

    for _attempt in 1..=3 {
        let conversation = project.conversation(&failed, "queued").await;
        project
            .client
            .post_empty(&project.path(&failed, &format!("/conversations/{conversation}/start")), 200)
            .await;
    }
    project.conversation(&failed, "failed").await;
    project.reaches(&failed, "failed").await;
    project.reaches(&expired, "expired").await;
    assert_eq!(project.status(&in_progress).await, "in_progress");

    let expected: BTreeMap<&str, &str> = [
        (in_progress.as_str(), "in_progress"),
        (&canceled, "canceled"),
        (&completed, "completed"),
        (&imported, "completed"),
        (&failed, "failed"),
        (&expired, "expired"),
    ]
    .into();
    let mut command = sdk_script("client_check.py", &project.client);
    command.args(["--project", &project.id, "--agent", &project.agent, "--name", "refund"]);
    for objective in &project.objectives {
        command.args(["--objective", objective]);
    }
    command.args(expected.iter().map(|(simulation, status)| format!("{simulation}={status}")));
    // The sixth status, `pending`, is too short to be found in a list: the check creates one and reads the answer.
    // On AWS it is the first to call most functions, which must start.
    let seen = Process::spawn(command).success_within(Duration::from_mins(3)).await;
    let seen: Value = serde_json::from_str(&seen).expect("one document");

    for (simulation, status) in expected {
        let simulation = &seen["simulations"][simulation];
        assert_eq!(simulation["status"], status);
        assert_eq!(simulation["objectives"].as_array().map(Vec::len), Some(project.objectives.len()));
    }
    assert!(seen["simulations"][&failed]["last_failure_reason"].is_string(), "{seen}");
    for (case, code) in [
        ("wrong key", "invalid_api_key"),
        ("malformed key", "invalid_api_key"),
        ("unknown simulation", "simulation_not_found"),
        ("unknown project", "project_not_found"),
        ("unknown conversation", "conversation_not_found"),
        ("limit too large", "invalid_request"),
    ] {
        assert_eq!(seen["refusals"][case]["code"], code, "{case}");
    }
}
