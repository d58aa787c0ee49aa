//! Lost attempts, and when a worker last polled.

use onerun_tests::{
    eventually,
    process::Server,
    sdk::{SdkProject, SimulationFields},
};
use serde_json::json;

use super::{hostile::answering, joined, row, run};

/// Starts a conversation and waits until the lease of that attempt expires.
async fn lose(project: &SdkProject, simulation: &str, conversation: &str, attempt: usize) {
    let path = |rest: &str| project.path(simulation, &format!("/conversations/{conversation}{rest}"));
    project.client.post_empty(&path("/start"), 200).await;
    eventually("an expired lease", || async {
        let seen = project.client.get(&path(""), 200).await;
        let lost = seen["ended_attempts"].as_array().is_some_and(|ended| ended.len() == attempt);
        if lost { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn lost_attempts_are_shown_until_the_simulation_fails() {
    let server = Server::start_with(&[("ONERUN_LEASE_SECONDS", "1")]).await;
    let project = SdkProject::open(server.client()).await;
    let wanted =
        SimulationFields { name: "Refunds", conversations: 1, personas: 1, expires_in_seconds: None };
    let simulation = project.simulate(wanted).await;
    let conversation = project.conversation(&simulation, "queued").await;
    let of = ["--simulation", simulation.as_str()];
    let in_project = ["--project", project.id.as_str()];
    let ask = async |arguments: &[&str]| {
        run(server.base_url(), server.key(), &[arguments, &in_project].concat()).await.exits(0)
    };

    let shown = ask(&["simulations", "show", &simulation]).await;
    assert!(shown.contains("worker    no worker has polled yet\n"), "{shown}");
    lose(&project, &simulation, &conversation, 1).await;
    let shown = ask(&["simulations", "show", &simulation]).await;
    assert!(shown.contains("worker    last polled 20"), "{shown}");
    let shown = ask(&[&["conversations", "show", &conversation], of.as_slice()].concat()).await;
    assert!(joined(&shown).contains("attempt 2 attempt 1 ended 20"), "{shown}");
    assert_eq!(shown.matches("lease expired because the worker stopped answering").count(), 1, "{shown}");
    assert_eq!(shown.matches("the worker gave no reason").count(), 1, "{shown}");

    lose(&project, &simulation, &conversation, 2).await;
    lose(&project, &simulation, &conversation, 3).await;
    project.reaches(&simulation, "failed").await;
    let shown = ask(&[&["conversations", "show", &conversation], of.as_slice()].concat()).await;
    assert_eq!(shown.matches("lease expired because the worker stopped answering").count(), 3, "{shown}");
    let reason = "1 of 1 conversations could not be held in any attempt";
    let listed = ask(&["simulations", "list"]).await;
    assert!(row(&listed, &simulation).ends_with(reason), "{listed}");
    let shown = joined(&ask(&["simulations", "show", &simulation]).await);
    for expected in [
        "status failed",
        &format!("because {reason}"),
        "problems 1 conversation failed: the lease of every attempt expired",
        "1 conversation needed more than one attempt",
        "no results",
    ] {
        assert!(shown.contains(expected), "{expected:?} in {shown}");
    }
    assert!(!shown.contains("worker"), "no conversation waits for one: {shown}");
}

#[tokio::test]
async fn a_lost_attempt_shows_the_reason_of_the_worker() {
    let conversation = json!({
        "id": "c", "simulation_id": "s", "seq_id": 1, "status": "failed", "end_reason": "lease_expired",
        "evaluation_status": "not_applicable", "attempt": 1, "item_count": 0, "evaluations": [],
        "persona": {"id": "p", "seq_id": 1, "summary": "Ada", "story": "A story.", "purpose": "A purpose."},
        "ended_attempts": [{
            "attempt": 1, "end_reason": "lease_expired", "failure_reason": "out of memory",
            "ended_at": "2026-01-02T03:04:05Z",
        }],
        // The same answer is also that about the project and the simulation.
        "data": [], "has_more": false, "name": "Shop", "created_at": "2026-01-02T03:04:05Z",
        "agent": {"id": "a", "name": "Desk"}, "scenario": "A kettle is broken.", "target_conversations": 1,
        "target_personas": 1, "max_turns": 5, "seed": 7,
        "models": {"persona": "offline", "reply": "offline", "judge": "offline"},
    });
    let url = answering("200 OK", conversation).await;
    let arguments =
        ["conversations", "show", "c", "--simulation", "AbCdEfGhIjKlMnOpQrStU", "--project", "AbCdEfGhIjKl"];
    let shown = run(&url, "k", &arguments).await.exits(0);
    let expected = "attempt 1 ended 2026-01-02 03:04 UTC: lease expired because the worker stopped answering \
                    the worker's reason: out of memory";
    assert!(joined(&shown).contains(expected), "{shown}");
    assert!(!shown.contains("gave no reason"), "{shown}");
}
