//! The client, and the clients of a project, a simulation and a conversation.

mod batches;
mod endpoint;
mod imports;
mod key;
mod keys;
mod monitors;
#[cfg(test)]
mod operations;
mod setup;
mod webhooks;

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    Error, Verbatim, error,
    resource::{
        Agent, Claims, Comparison, Conversation, ConversationStatus, CountedOutcome, Estimate,
        EstimateRequest, EvaluationReport, EvaluationRun, ExportPage, Item, KeyStatus, Label, Labels, Lease,
        MinPassRate, NewAgent, NewAgentEndpoint, NewObjective, NewSimulation, Objective, Page, PageRequest,
        Persona, Project, Report, Response, Results, Simulation, SimulationFilter, SimulationStatus, Started,
        Turn,
    },
};
use endpoint::Endpoint;

pub(crate) use endpoint::idempotency_key;
use setup::REPLY_TIMEOUT;
pub use setup::{ApiKey, ClientOptions, SetupError};

/// A client of one server with one key. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client(Endpoint);

impl Client {
    /// The projects that the key may access, newest first.
    pub async fn list_projects(&self, page: PageRequest) -> Result<Verbatim<Page<Verbatim<Project>>>, Error> {
        self.0.at(&["projects"]).page(&[], page).await
    }

    /// The archived projects that the key may access, newest first.
    pub async fn list_archived_projects(
        &self,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Project>>>, Error> {
        self.0.at(&["projects"]).page(&[("archived", "true")], page).await
    }

    /// Archives a project, or takes it back into use.
    pub async fn archive_project(&self, id: &str, archived: bool) -> Result<Verbatim<Project>, Error> {
        self.0.at(&["projects", id]).patch(&json!({ "archived": archived })).await
    }

    /// The project with this id.
    pub async fn get_project(&self, id: &str) -> Result<Verbatim<Project>, Error> {
        self.0.at(&["projects", id]).get(&[]).await
    }

    /// Creates a project.
    pub async fn create_project(&self, name: &str) -> Result<Project, Error> {
        self.0.at(&["projects"]).create("creating a project", &json!({ "name": name })).await
    }

    /// The same client, which reads another key with `read` when the server refuses the key (401). `read`
    /// returns `None` if there is no key to read; it is called from asynchronous code, so it must be quick.
    /// Clones made before do not use it.
    pub fn with_key_source(self, read: impl Fn() -> Option<ApiKey> + Send + Sync + 'static) -> Self {
        Self(Endpoint { key: self.0.key.clone().with_source(Arc::new(read)), ..self.0 })
    }

    /// A client of the project with this id. Sends nothing.
    pub fn project(&self, id: &str) -> ProjectClient {
        ProjectClient(Endpoint { project: Some(id.to_owned()), ..self.0.clone() })
    }
}

/// A client of one project.
#[derive(Clone, Debug)]
pub struct ProjectClient(Endpoint);

impl ProjectClient {
    /// Whether the client reads another key when the server refuses the current one.
    pub(crate) fn has_key_source(&self) -> bool {
        self.0.key.has_source()
    }

    /// The id of the project.
    pub fn id(&self) -> &str {
        self.0.project.as_deref().unwrap_or_default()
    }

    /// The agent with this id.
    pub async fn agent(&self, id: &str) -> Result<Verbatim<Agent>, Error> {
        self.0.at(&["agents", id]).get(&[]).await
    }

    /// Agents, newest first; only those with exactly this name, if one is given.
    pub async fn list_agents(
        &self,
        name: Option<&str>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Agent>>>, Error> {
        let name = name.map(|name| ("exact_name", name));
        self.0.at(&["agents"]).page(name.as_slice(), page).await
    }

    /// Archived agents, newest first; only those with exactly this name, if one is given.
    pub async fn list_archived_agents(
        &self,
        name: Option<&str>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Agent>>>, Error> {
        let query: Vec<_> =
            [("archived", "true")].into_iter().chain(name.map(|name| ("exact_name", name))).collect();
        self.0.at(&["agents"]).page(&query, page).await
    }

    /// Archives an agent, or takes it back into use.
    pub async fn archive_agent(&self, id: &str, archived: bool) -> Result<Verbatim<Agent>, Error> {
        self.0.at(&["agents", id]).patch(&json!({ "archived": archived })).await
    }

    /// Sets how OneRun calls an agent. The endpoint replaces the one before, with its credential.
    pub async fn put_agent_endpoint(
        &self,
        id: &str,
        new: &NewAgentEndpoint,
    ) -> Result<Verbatim<Agent>, Error> {
        let endpoint = self.0.at(&["agents", id, "endpoint"]);
        let request = || endpoint.request(Method::PUT, &[]).json(new);
        endpoint.retrying("setting an endpoint", request).await
    }

    /// Deletes the endpoint of an agent. Workers hold its conversations then.
    pub async fn delete_agent_endpoint(&self, id: &str) -> Result<(), Error> {
        let endpoint = self.0.at(&["agents", id, "endpoint"]);
        let request = || endpoint.request(Method::DELETE, &[]);
        endpoint.retrying::<Value>("deleting an endpoint", request).await.map(drop)
    }

    /// Creates an agent.
    pub async fn create_agent(&self, new: &NewAgent) -> Result<Agent, Error> {
        self.0.at(&["agents"]).create("creating an agent", new).await
    }

    /// Changes an agent's description.
    pub async fn describe_agent(&self, id: &str, description: &str) -> Result<Agent, Error> {
        self.0.at(&["agents", id]).patch(&json!({ "description": description })).await
    }

    /// The objective with this id, at its newest version.
    pub async fn objective(&self, id: &str) -> Result<Verbatim<Objective>, Error> {
        self.0.at(&["objectives", id]).get(&[]).await
    }

    /// The objectives at their newest versions, newest first.
    pub async fn list_objectives(
        &self,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Objective>>>, Error> {
        self.0.at(&["objectives"]).page(&[], page).await
    }

    /// Creates a new version of an objective, unless its newest one has these criteria.
    pub async fn revise_objective(&self, id: &str, criteria: &str) -> Result<Objective, Error> {
        self.0.at(&["objectives", id]).patch(&json!({ "criteria": criteria })).await
    }

    /// Estimates a simulation's usage of models. Nothing is created and no model is asked.
    pub async fn estimate(&self, request: &EstimateRequest) -> Result<Estimate, Error> {
        self.0.at(&["simulations", "estimate"]).post(request).await
    }

    /// Creates an objective.
    pub async fn create_objective(&self, new: &NewObjective) -> Result<Objective, Error> {
        self.0.at(&["objectives"]).create("creating an objective", new).await
    }

    /// Creates a simulation. It starts at once.
    pub async fn create_simulation(&self, new: &NewSimulation) -> Result<Simulation, Error> {
        self.0.at(&["simulations"]).create("creating a simulation", new).await
    }

    /// The simulations of an agent that are in progress. Those with queued conversations come
    /// first, longest waiting first.
    pub async fn simulations_in_progress(
        &self,
        agent_id: &str,
        page: PageRequest,
    ) -> Result<Page<Simulation>, Error> {
        let query = [("agent_id", agent_id), ("status", "in_progress")];
        self.0.at(&["simulations"]).page(&query, page).await
    }

    /// The simulations of an agent with a status, newest first.
    pub async fn simulations_of_agent(
        &self,
        agent_id: &str,
        status: SimulationStatus,
        page: PageRequest,
    ) -> Result<Page<Simulation>, Error> {
        let query = [("agent_id", agent_id), ("status", status.as_str()), ("sort_by", "created_at")];
        self.0.at(&["simulations"]).page(&query, page).await
    }

    /// The simulations with exactly this name, newest first.
    pub async fn simulations_named(
        &self,
        name: &str,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Simulation>>>, Error> {
        self.0.at(&["simulations"]).page(&[("exact_name", name), ("sort_by", "created_at")], page).await
    }

    /// Simulations, newest first.
    pub async fn list_simulations(
        &self,
        filter: &SimulationFilter,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Simulation>>>, Error> {
        let SimulationFilter { status, batch_id, monitor_id, created_after, created_before } = filter;
        // Explicit, because simulations in progress are otherwise sorted for workers.
        let mut query = vec![("sort_by", "created_at")];
        query.extend(status.map(|status| ("status", status.as_str())));
        for (name, value) in [
            ("batch_id", batch_id),
            ("monitor_id", monitor_id),
            ("created_after", created_after),
            ("created_before", created_before),
        ] {
            query.extend(value.as_deref().map(|value| (name, value)));
        }
        self.0.at(&["simulations"]).page(&query, page).await
    }

    /// Starts up to `limit` queued conversations of these agents, of whatever simulation. If nothing is queued, the
    /// server waits up to `wait`, at most 20 s. A retry with the same idempotency key returns the same conversations.
    pub async fn claim(
        &self,
        agent_ids: &[String],
        limit: u32,
        wait: Duration,
        idempotency_key: &str,
    ) -> Result<Claims, Error> {
        let body = json!({ "agent_ids": agent_ids, "limit": limit, "wait_seconds": wait.as_secs() });
        let claim = self.0.at(&["conversations", "claim"]);
        let request =
            || claim.request(Method::POST, &[]).json(&body).header("idempotency-key", idempotency_key);
        error::read(self.0.send(request).await?).await
    }

    /// A client of the simulation with this id. Sends nothing.
    pub fn simulation(&self, id: &str) -> SimulationClient {
        SimulationClient(self.0.at(&["simulations", id]))
    }
}

/// A client of one simulation.
#[derive(Clone, Debug)]
pub struct SimulationClient(Endpoint);

impl SimulationClient {
    /// The current state of the simulation.
    pub async fn get(&self) -> Result<Verbatim<Simulation>, Error> {
        self.0.get(&[]).await
    }

    /// Cancels the simulation. Does nothing if it was canceled already.
    pub async fn cancel(&self) -> Result<(), Error> {
        let cancel = self.0.at(&["cancel"]);
        cancel.retrying::<Value>("canceling", || cancel.request(Method::POST, &[])).await.map(drop)
    }

    /// Deletes the simulation, which must have ended, with everything below it.
    pub async fn delete(&self) -> Result<(), Error> {
        let delete = || self.0.request(Method::DELETE, &[]);
        self.0.retrying::<Value>("deleting", delete).await.map(drop)
    }

    /// Its current results.
    pub async fn results(&self) -> Result<Verbatim<Results>, Error> {
        self.0.at(&["results"]).get(&[]).await
    }

    /// The report on it. Without a gate, every conversation must pass.
    pub async fn report(&self, gate: Option<MinPassRate>) -> Result<Verbatim<Report>, Error> {
        let min = gate.map(|gate| gate.min.to_string());
        let min = min.as_deref().map(|min| ("min_pass_rate", min));
        let on = gate.filter(|gate| gate.on_lower_bound).map(|_| ("on", "lower_bound"));
        let query: Vec<_> = [min, on].into_iter().flatten().collect();
        self.0.at(&["report"]).get(&query).await
    }

    /// Its comparison with the earlier simulation with this id.
    pub async fn compare_with(&self, earlier: &str) -> Result<Verbatim<Comparison>, Error> {
        self.0.at(&["compare"]).get(&[("with", earlier)]).await
    }

    /// A page of its export, from the [`next`](ExportPage::next) of the page before.
    pub async fn export(&self, cursor: Option<&str>) -> Result<ExportPage, Error> {
        let cursor = cursor.map(|cursor| ("cursor", cursor));
        self.0.at(&["export"]).lines(cursor.as_slice()).await
    }

    /// Its personas, newest first.
    pub async fn personas(&self, page: PageRequest) -> Result<Verbatim<Page<Verbatim<Persona>>>, Error> {
        self.0.at(&["personas"]).page(&[], page).await
    }

    /// Approves a persona, so that it can hold conversations. Does nothing if it is approved already.
    pub async fn approve_persona(&self, id: &str) -> Result<(), Error> {
        self.0.at(&["personas", id, "approve"]).post::<Value>(&json!({})).await.map(drop)
    }

    /// Rejects a persona; another replaces it. Does nothing if it is rejected already.
    pub async fn reject_persona(&self, id: &str) -> Result<(), Error> {
        self.0.at(&["personas", id, "reject"]).post::<Value>(&json!({})).await.map(drop)
    }

    /// Its conversations, newest first. With the status `queued`, the longest waiting come first.
    pub async fn conversations(
        &self,
        status: Option<ConversationStatus>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Conversation>>>, Error> {
        self.conversations_by_outcome(status, None, page).await
    }

    /// Like [`conversations`](Self::conversations), only those that the results count with this outcome.
    pub async fn conversations_by_outcome(
        &self,
        status: Option<ConversationStatus>,
        outcome: Option<&CountedOutcome>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Conversation>>>, Error> {
        let objective = outcome.and_then(|counted| counted.objective_id.as_deref());
        let objective = objective.map(|id| ("objective_id", id));
        let outcome = outcome.map(|counted| ("outcome", counted.outcome.as_str()));
        let status = status.map(|status| ("status", status.as_str()));
        let query: Vec<_> = [outcome, objective, status].into_iter().flatten().collect();
        self.0.at(&["conversations"]).page(&query, page).await
    }

    /// Judges its conversations again with another judge. The simulation must have ended.
    pub async fn create_evaluation(&self, judge: &str) -> Result<Verbatim<EvaluationRun>, Error> {
        self.0.at(&["evaluations"]).create("creating an evaluation run", &json!({ "judge": judge })).await
    }

    /// Its evaluation runs, newest first.
    pub async fn list_evaluations(
        &self,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<EvaluationRun>>>, Error> {
        self.0.at(&["evaluations"]).page(&[], page).await
    }

    /// An evaluation run with its results.
    pub async fn evaluation(&self, id: &str) -> Result<Verbatim<EvaluationReport>, Error> {
        self.0.at(&["evaluations", id]).get(&[]).await
    }

    /// A client of the conversation with this id. Sends nothing.
    pub fn conversation(&self, id: &str) -> ConversationClient {
        ConversationClient(self.0.at(&["conversations", id]))
    }
}

/// A client of one conversation.
#[derive(Clone, Debug)]
pub struct ConversationClient(Endpoint);

impl ConversationClient {
    /// Whether the client reads another key when the server refuses the current one.
    pub(crate) fn has_key_source(&self) -> bool {
        self.0.key.has_source()
    }

    /// The current state of the conversation.
    pub async fn get(&self) -> Result<Verbatim<Conversation>, Error> {
        self.0.get(&[]).await
    }

    /// Starts the conversation if it is queued, and returns the attempt. A retry with the same
    /// idempotency key returns the same attempt.
    pub async fn start(&self, idempotency_key: &str) -> Result<Started, Error> {
        let start = self.0.at(&["start"]);
        let request = || {
            let request = start.request(Method::POST, &[]).json(&json!({}));
            request.header("idempotency-key", idempotency_key)
        };
        error::read(self.0.send(request).await?).await
    }

    /// Sends the agent's message, or none to let the persona open, and returns the persona's message.
    pub async fn respond(&self, turn: &Turn<'_>) -> Result<Response, Error> {
        let message = turn
            .says
            .map(|text| json!([{ "type": "message", "content": [{ "type": "text", "text": text }] }]));
        let attempt = turn.attempt.to_string();
        let url = self.0.at(&["responses"]).full_url(&[("attempt", attempt.as_str())]);
        let body = json!({ "input": message });
        let request = || {
            let request = self.0.http.request(Method::POST, url.clone()).json(&body).timeout(REPLY_TIMEOUT);
            request.header("idempotency-key", turn.idempotency_key)
        };
        error::read(self.0.send(request).await?).await
    }

    /// Renews the lease of an attempt that this client holds. Fails with the status 409 if the attempt is over.
    pub async fn renew(&self, attempt: u32) -> Result<Lease, Error> {
        self.0.at(&["renew"]).post(&json!({ "attempt": attempt })).await
    }

    /// Ends this attempt of the conversation. Does nothing if the conversation has ended already.
    pub async fn end(&self, attempt: u32) -> Result<(), Error> {
        let attempt = attempt.to_string();
        let url = self.0.at(&["end"]).full_url(&[("attempt", attempt.as_str())]);
        let request = || self.0.http.request(Method::POST, url.clone());
        error::read::<Value>(self.0.send(request).await?).await.map(drop)
    }

    /// Reports that the agent failed in this attempt, which ends at once. Control characters of the reason are
    /// replaced and its end is cut off, so that no reason is refused. Does nothing if it was reported already.
    pub async fn fail(&self, attempt: u32, reason: &str) -> Result<(), Error> {
        let body = json!({ "attempt": attempt, "reason": failure_reason(reason) });
        let endpoint = self.0.at(&["fail"]);
        let request = || endpoint.request(Method::POST, &[]).json(&body);
        endpoint.retrying::<Value>("reporting a failure", request).await.map(drop)
    }

    /// Stores labels in place of earlier ones.
    pub async fn put_labels(&self, labels: &[Label]) -> Result<Verbatim<Labels>, Error> {
        let labels = json!({ "labels": labels });
        let labels_endpoint = self.0.at(&["labels"]);
        let request = || labels_endpoint.request(Method::PUT, &[]).json(&labels);
        labels_endpoint.retrying("storing labels", request).await
    }

    /// The labels of the conversation.
    pub async fn labels(&self) -> Result<Verbatim<Labels>, Error> {
        self.0.at(&["labels"]).get(&[]).await
    }

    /// The messages of an attempt, by default the current one, oldest first.
    pub async fn items(
        &self,
        attempt: Option<u32>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<Item>>>, Error> {
        let attempt = attempt.map(|attempt| attempt.to_string());
        let attempt = attempt.as_deref().map(|attempt| ("attempt", attempt));
        self.0.at(&["items"]).page(attempt.as_slice(), page).await
    }
}

/// A reason that the server accepts.
fn failure_reason(reason: &str) -> String {
    const MAX_CHARACTERS: usize = 1_000;
    let clean = reason.chars().map(|one| if one.is_control() && one != '\n' { ' ' } else { one });
    let clean: String = clean.take(MAX_CHARACTERS).collect();
    if clean.trim().is_empty() { "no reason given".to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{resource::Start, retry::RetryPolicy, testing};

    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";

    #[tokio::test]
    async fn ids_are_encoded_and_the_project_is_sent() {
        let (client, mut requests) = testing::answering(vec![OK]).await;
        let _ = client.project("a&b").simulation("x/y?z").get().await;
        let request = requests.recv().await.unwrap();
        assert!(
            request.starts_with("GET /v1/simulations/x%2Fy%3Fz?project_id=a%26b HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("x-api-key: a-key\r\n"), "{request}");
    }

    #[tokio::test]
    async fn lists_send_their_query_and_keep_their_json() {
        let empty = r#"{"data": [], "has_more": false, "new": 1.50}"#;
        let (client, mut requests) =
            testing::serving(move |_| format!("HTTP/1.1 200 OK\r\n\r\n{empty}")).await;
        let page = PageRequest::first(100);
        let next = PageRequest { limit: 100, start: Start::Cursor("a-_9".to_owned()) };
        let project = client.project("p");
        let simulation = project.simulation("s");
        assert_eq!(client.list_projects(next).await.unwrap().json(), empty);
        for status in [None, Some(SimulationStatus::InProgress)] {
            let filter = SimulationFilter { status, ..SimulationFilter::default() };
            assert_eq!(project.list_simulations(&filter, page.clone()).await.unwrap().json(), empty);
        }
        let failed = simulation.conversations(Some(ConversationStatus::Failed), page.clone()).await;
        assert_eq!(failed.unwrap().json(), empty);
        for attempt in [None, Some(2)] {
            assert_eq!(
                simulation.conversation("c").items(attempt, page.clone()).await.unwrap().json(),
                empty
            );
        }
        assert!(simulation.conversation("c").get().await.is_err());
        for expected in [
            "projects?limit=100&cursor=a-_9",
            "simulations?project_id=p&sort_by=created_at&limit=100&offset=0",
            "simulations?project_id=p&sort_by=created_at&status=in_progress&limit=100&offset=0",
            "simulations/s/conversations?project_id=p&status=failed&limit=100&offset=0",
            "simulations/s/conversations/c/items?project_id=p&limit=100&offset=0",
            "simulations/s/conversations/c/items?project_id=p&attempt=2&limit=100&offset=0",
            "simulations/s/conversations/c?project_id=p",
        ] {
            let request = requests.recv().await.unwrap();
            assert_eq!(request.lines().next(), Some(&*format!("GET /v1/{expected} HTTP/1.1")));
        }
    }

    #[tokio::test]
    async fn reads_and_creations_are_retried_within_the_budget() {
        let busy = "HTTP/1.1 503 Busy\r\n\r\n{}";
        let found = "HTTP/1.1 200 OK\r\n\r\n{\"data\":[],\"has_more\":false}";
        let wrong = "HTTP/1.1 422 Unprocessable\r\n\r\n{}";
        let (client, mut requests) = testing::answering(vec![busy, busy, found, busy, wrong, wrong]).await;
        let patient = Client(Endpoint { retry: RetryPolicy { budget: Duration::from_secs(30) }, ..client.0 });
        assert!(patient.list_projects(PageRequest::first(1)).await.is_ok());
        for _ in 0..3 {
            assert!(requests.recv().await.unwrap().starts_with("GET "));
        }
        for _ in 0..2 {
            assert_eq!(patient.create_project("Demo").await.unwrap_err().status(), Some(422));
        }
        let mut keys = Vec::new();
        for _ in 0..3 {
            let request = requests.recv().await.unwrap();
            let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
            keys.push(key.unwrap_or_else(|| panic!("no key: {request}")).to_owned());
        }
        assert_eq!(keys[0], keys[1], "the same call");
        assert_ne!(keys[0], keys[2], "another call");
    }

    #[tokio::test]
    async fn turn_sends_its_attempt_and_idempotency_key() {
        let (client, mut requests) = testing::answering(vec![OK]).await;
        let turn = Turn { attempt: 2, idempotency_key: "c.2.0", says: Some("Hello") };
        let _ = client.project("p").simulation("s").conversation("c").respond(&turn).await;
        let request = requests.recv().await.unwrap();
        let line = "POST /v1/simulations/s/conversations/c/responses?project_id=p&attempt=2 HTTP/1.1";
        assert_eq!(request.lines().next(), Some(line));
        assert!(request.contains("idempotency-key: c.2.0\r\n"), "{request}");
        let body = r#"{"input":[{"content":[{"text":"Hello","type":"text"}],"type":"message"}]}"#;
        assert!(request.ends_with(body), "{request}");
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n";
        let (client, _requests) = testing::answering(vec![moved]).await;
        assert_eq!(client.create_project("Demo").await.unwrap_err().status(), Some(302));
    }
}
