//! The deletion of simulations.

use http::Method;
use jiff::SignedDuration;
use onerun_tests::app::TestApp;
use serde_json::{Value, json};

use crate::{
    fixtures::{TestProject, code, data, id, text},
    seeded_project::SeededProject,
};

const PURGE_AFTER: SignedDuration = SignedDuration::from_mins(15);

impl TestProject<'_> {
    async fn delete(&self, simulation: &str, status: u16) -> Value {
        let path = self.path(&format!("/simulations/{simulation}"));
        self.client.send(Method::DELETE, &path, None, status).await.json()
    }

    /// A simulation that is canceled. The jobs of its end have not run.
    async fn canceled(&self, changes: Value) -> String {
        let simulation = self.simulate(changes).await;
        self.order(&simulation, "cancel", 200).await;
        simulation
    }

    async fn listed_simulations(&self) -> Vec<String> {
        data(&self.get("/simulations?limit=100").await).iter().map(id).collect()
    }
}

#[tokio::test]
async fn every_route_of_a_deleted_simulation_is_not_found() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let project = &seeded.project;
    let simulation = seeded.ids.iter().find(|(name, _)| *name == "simulation_id").unwrap().1.clone();
    project.order(&simulation, "cancel", 200).await;
    assert_eq!(project.delete(&simulation, 200).await, json!({ "message": "Simulation deleted" }));
    let all_are_not_found = async || {
        let routes = onerun_api::ROUTES.iter().filter(|route| route.path.contains("{simulation_id}"));
        let mut tried = 0;
        for route in routes {
            let (status, reply) =
                project.client.ask(route.method.clone(), &seeded.path(route), seeded.body(route)).await;
            let expected = (404, "simulation_not_found");
            assert_eq!((status, code(&reply.json())), expected, "{}", route.operation);
            tried += 1;
        }
        assert!(tried > 20, "{tried}");
        let wanted = json!({ "agent_ids": [project.agent], "limit": 10 });
        let claimed = project.client.post(&project.path("/conversations/claim"), &wanted, 200).await;
        assert!(!claimed.to_string().contains(&simulation), "{claimed}");
        assert!(!project.listed_simulations().await.contains(&simulation));
    };
    all_are_not_found().await;
    app.run_jobs_twice().await;
    all_are_not_found().await;
    app.advance(PURGE_AFTER);
    app.run_jobs_twice().await;
    all_are_not_found().await;
    assert_eq!(app.engine().store().deleted_simulations(10, app.now()).await.unwrap(), []);
}

#[tokio::test]
async fn deletion_waits_until_calls_in_flight_are_over() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.canceled(json!({})).await;
    project.delete(&simulation, 200).await;
    let left = async || app.engine().store().deleted_simulations(10, app.now()).await.unwrap().len();
    app.advance(PURGE_AFTER - SignedDuration::from_micros(1));
    app.run_jobs().await;
    assert_eq!(left().await, 1);
    app.next_instant();
    app.run_jobs().await;
    assert_eq!(left().await, 0);
}

#[tokio::test]
async fn simulation_that_has_not_ended_is_not_deleted() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.create(json!({})).await;
    for status in ["pending", "in_progress"] {
        assert_eq!(project.status(&simulation).await, status);
        let refused = project.delete(&simulation, 409).await;
        assert_eq!(code(&refused), "simulation_not_ended");
        let message = format!("the simulation is {status}: cancel it, and then delete it");
        assert_eq!(refused["message"], message);
        app.run_jobs().await;
    }
    let [conversation] = &project.test_conversations(&simulation).await[..] else { panic!("not one") };
    conversation.hold(&["A refund is on its way."]).await;
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
    project.delete(&simulation, 200).await;
    assert_eq!(code(&project.delete(&simulation, 404).await), "simulation_not_found");
}

#[tokio::test]
async fn simulation_is_deleted_in_its_own_project_alone() {
    let app = TestApp::start();
    let (project, other) = (TestProject::open(&app).await, TestProject::open(&app).await);
    let simulation = project.canceled(json!({})).await;
    assert_eq!(code(&other.delete(&simulation, 404).await), "simulation_not_found");
    for wrong in ["simulationOfNobody000", "%00", "%E2%80%AE", "..%2F..", "' OR 1=1 --", "a%23deleted"] {
        let wrong = wrong.replace(' ', "%20");
        assert_eq!(code(&project.delete(&wrong, 404).await), "simulation_not_found", "{wrong}");
    }
    app.advance(PURGE_AFTER);
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "canceled");
}

#[tokio::test]
async fn agent_and_its_other_simulations_stay() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let source = project.canceled(json!({})).await;
    let copy = project.simulate(json!({ "personas_from": source, "seed": null })).await;
    let total =
        async || project.get(&format!("/agents/{}", project.agent)).await["total_simulations"].clone();
    let before = project.simulation(&copy).await;
    assert_eq!(total().await, 2);
    project.delete(&source, 200).await;
    assert_eq!(total().await, 1);
    app.advance(PURGE_AFTER);
    app.run_jobs_twice().await;
    assert_eq!(project.simulation(&copy).await, before);
    assert_eq!(project.personas(&copy).await.len(), 1);
    assert_eq!(project.listed_simulations().await, [copy]);
    let wanted = project.wanted(json!({ "personas_from": source, "seed": null }));
    let refused = project.client.post(&project.path("/simulations"), &wanted, 422).await;
    assert!(refused.to_string().contains("does not exist"), "{refused}");
}

#[tokio::test]
async fn repeated_creation_of_a_deleted_simulation_is_not_found() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let client = project.client.with_header("idempotency-key", "nightly");
    let (path, wanted) = (project.path("/simulations"), project.wanted(json!({})));
    let simulation = id(&client.post(&path, &wanted, 200).await);
    project.order(&simulation, "cancel", 200).await;
    project.delete(&simulation, 200).await;
    let problem = client.post(&path, &wanted, 404).await;
    assert_eq!(code(&problem), "simulation_not_found");
    app.advance(PURGE_AFTER);
    app.run_jobs().await;
    // The record is gone with the simulation.
    assert_ne!(id(&client.post(&path, &wanted, 200).await), simulation);
}

#[tokio::test]
async fn batch_keeps_the_id_of_a_deleted_simulation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let defaults = project.wanted(json!({ "name": null, "seed": null, "auto_approve": null }));
    let body = json!({ "name": "Nightly", "defaults": defaults, "items": [{}, {}] });
    let batch = project.client.post(&project.path("/simulations/batch"), &body, 202).await;
    app.run_jobs().await;
    let ids: Vec<String> = batch["simulation_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    project.order(&ids[0], "cancel", 200).await;
    app.run_jobs().await;
    project.delete(&ids[0], 200).await;
    // The batch has not noted the end of this one.
    project.order(&ids[1], "cancel", 200).await;
    project.delete(&ids[1], 200).await;
    app.run_jobs_twice().await;
    app.advance(PURGE_AFTER);
    app.run_jobs_twice().await;
    let items = project.get(&format!("/batches/{}/items", id(&batch))).await;
    let seen: Vec<_> = data(&items)
        .iter()
        .map(|item| (text(item, "simulation_id"), text(item, "status"), item["failure_reason"].clone()))
        .collect();
    let deleted = json!("its simulation was deleted");
    assert_eq!(
        seen,
        [
            (ids[0].clone(), "canceled".to_owned(), seen[0].2.clone()),
            (ids[1].clone(), "failed".to_owned(), deleted)
        ]
    );
    let batch = project.get(&format!("/batches/{}", id(&batch))).await;
    assert_eq!(batch["status"], "failed");
    assert_eq!(project.listed_simulations().await, [] as [String; 0]);
}

#[tokio::test]
async fn run_of_a_monitor_ends_without_its_deleted_simulation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut simulation = project.wanted(json!({}));
    simulation.as_object_mut().unwrap().remove("auto_approve");
    let body = json!({ "name": "Refunds", "simulation": simulation });
    let monitor = id(&project.client.post(&project.path("/monitors"), &body, 200).await);
    let runs = project.path(&format!("/monitors/{monitor}/runs"));
    project.client.post(&runs, &json!({}), 200).await;
    app.run_jobs().await;
    let run = || async { data(&project.client.get(&runs, 200).await)[0].clone() };
    let started = run().await;
    let simulation = text(&started, "simulation_id");
    project.order(&simulation, "cancel", 200).await;
    project.delete(&simulation, 200).await;
    app.run_jobs_twice().await;
    let ended = run().await;
    assert_eq!((&ended["status"], &ended["simulation_id"]), (&json!("failed"), &json!(simulation)));
    assert_eq!(ended["failure_reason"], "its simulation was deleted before its results were stored");
    app.advance(PURGE_AFTER);
    app.run_jobs_twice().await;
    assert_eq!(run().await, ended);
}
