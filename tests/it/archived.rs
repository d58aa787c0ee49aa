//! Archived agents and projects: left out of lists, and without new simulations.

use onerun_tests::app::TestApp;
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, data, id, text};

impl TestProject<'_> {
    async fn archive_agent(&self, archived: bool) -> Value {
        let path = self.path(&format!("/agents/{}", self.agent));
        self.client.patch(&path, &json!({ "archived": archived }), 200).await
    }

    async fn archive(&self, archived: bool) -> Value {
        let path = format!("/v1/projects/{}", self.id);
        self.client.patch(&path, &json!({ "archived": archived }), 200).await
    }

    /// The code of the refusal of each call that starts a simulation.
    async fn refusals(&self, status: u16) -> Vec<String> {
        let conversation = json!({ "messages": [
            { "role": "user", "content": "Hi." }, { "role": "assistant", "content": "Hello." },
        ] });
        let import = json!({ "agent_id": self.agent, "name": "Last week", "conversations": [conversation] });
        let monitor = json!({ "name": "Hourly", "schedule": { "expression": "rate(1 hour)" }, "simulation": self.wanted(json!({})) });
        let mut codes = Vec::new();
        for (rest, body) in [
            ("/simulations", self.wanted(json!({}))),
            ("/simulations/import", import),
            ("/monitors", monitor),
        ] {
            codes.push(code(&self.client.post(&self.path(rest), &body, status).await).to_owned());
        }
        codes
    }

    fn night(&self) -> Value {
        json!({ "name": "Night", "defaults": self.wanted(json!({ "seed": null })), "items": [{}, {}] })
    }
}

fn names(list: &Value) -> Vec<String> {
    data(list).iter().map(|one| text(one, "name")).collect()
}

#[tokio::test]
async fn archived_agent_starts_no_simulation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let running = project.simulate(json!({})).await;
    let before = project.get(&format!("/agents/{}", project.agent)).await;
    assert_eq!(before["archived_at"], Value::Null);
    let archived = project.archive_agent(true).await;
    assert!(archived["archived_at"].is_string(), "{archived}");
    assert_eq!(archived["updated_at"], archived["archived_at"]);
    assert_eq!(project.archive_agent(true).await, archived, "archiving it again changes nothing");

    assert_eq!(project.refusals(409).await, ["agent_archived"; 3]);
    let problem = project.client.post(&project.path("/simulations/batch"), &project.night(), 422).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/defaults/agent_id", "{problem}");
    assert_eq!(project.status(&running).await, "in_progress", "what is in progress goes on");

    let back = project.archive_agent(false).await;
    assert_eq!(back["archived_at"], Value::Null);
    project.create(json!({})).await;
}

#[tokio::test]
async fn archived_agents_are_in_a_list_of_their_own() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.client.post(&project.path("/agents"), &json!({ "name": "Next desk" }), 200).await;
    project.archive_agent(true).await;
    assert_eq!(names(&project.get("/agents").await), ["Next desk"]);
    assert_eq!(names(&project.get("/agents?archived=false&sort_by=name").await), ["Next desk"]);
    assert_eq!(names(&project.get("/agents?archived=true&sort_by=name&name=des").await), ["Desk"]);
    let problem = project.client.get(&project.path("/agents?archived=all"), 422).await;
    assert_eq!(problem["errors"][0]["parameter"], "archived", "{problem}");
    for wrong in [json!("yes"), json!(1)] {
        let path = project.path(&format!("/agents/{}", project.agent));
        let problem = project.client.patch(&path, &json!({ "archived": wrong }), 422).await;
        assert_eq!(problem["errors"][0]["pointer"], "#/archived", "{problem}");
    }
}

#[tokio::test]
async fn archived_project_starts_no_simulation_and_leaves_the_list() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    app.root().post("/v1/projects", &json!({ "name": "Billing" }), 200).await;
    let archived = project.archive(true).await;
    assert!(archived["archived_at"].is_string(), "{archived}");
    assert_eq!(project.refusals(409).await, ["project_archived"; 3]);
    let problem = project.client.post(&project.path("/simulations/batch"), &project.night(), 409).await;
    assert_eq!(code(&problem), "project_archived");
    let list = async |query: &str| names(&app.root().get(&format!("/v1/projects{query}"), 200).await);
    assert_eq!(list("").await, ["Billing"]);
    assert_eq!(list("?archived=true").await, ["Refund desk"]);
    assert_eq!(project.get("/agents").await["data"][0]["name"], "Desk", "its resources are read as before");
    assert_eq!(project.archive(false).await["archived_at"], Value::Null);
    assert_eq!(list("").await, ["Billing", "Refund desk"]);
    project.create(json!({})).await;
}

#[tokio::test]
async fn run_of_a_monitor_says_that_its_agent_is_archived() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({ "name": "Hourly", "schedule": { "expression": "rate(1 hour)" }, "simulation": project.wanted(json!({})) });
    let monitor = id(&project.client.post(&project.path("/monitors"), &body, 200).await);
    project.archive_agent(true).await;
    project.client.post_empty(&project.path(&format!("/monitors/{monitor}/runs")), 200).await;
    app.run_jobs().await;
    let runs = project.get(&format!("/monitors/{monitor}/runs")).await;
    let failed = &data(&runs)[0];
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(text(failed, "failure_reason").contains("the agent is archived"), "{failed}");
}
