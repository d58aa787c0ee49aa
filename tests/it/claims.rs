//! Claims: workers start queued conversations of any simulation in one call.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use jiff::SignedDuration;
use onerun_tests::{
    app::TestApp,
    eventually,
    process::Server,
    sdk::{SdkProject, SimulationFields},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::fixtures::{TestProject, code, data, id, text};

const CLAIM: &str = "/conversations/claim";

fn wanted(agent: &str, limit: u32, wait_seconds: u32) -> Value {
    json!({ "agent_ids": [agent], "limit": limit, "wait_seconds": wait_seconds })
}

async fn claim(project: &TestProject<'_>, limit: u32, wait_seconds: u32) -> Vec<Value> {
    let body = wanted(&project.agent, limit, wait_seconds);
    data(&project.client.post(&project.path(CLAIM), &body, 200).await).clone()
}

async fn simulate(project: &TestProject<'_>, conversations: u32) -> String {
    let changes = json!({
        "target_conversations": conversations, "target_personas": conversations,
        "metadata": { "commit": "c0ffee", "number": 117.633_311_394_000_17 },
    });
    let simulation = project.simulate(changes).await;
    project.app.next_instant();
    simulation
}

#[tokio::test]
async fn claim_starts_conversations_of_simulations_in_turn() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let (first, second) = (simulate(&project, 3).await, simulate(&project, 1).await);
    let claimed = claim(&project, 3, 0).await;
    let of: Vec<String> = claimed.iter().map(|one| text(one, "simulation_id")).collect();
    assert_eq!(of, [&*first, &second, &first], "each simulation before one twice");
    for one in &claimed {
        let path = format!(
            "/simulations/{}/conversations/{}",
            text(one, "simulation_id"),
            text(one, "conversation_id")
        );
        let seen = project.get(&path).await;
        assert_eq!((&seen["status"], &seen["attempt"]), (&json!("in_progress"), &one["attempt"]));
        assert_eq!(seen["lease_expires_at"], one["lease_expires_at"]);
        assert_eq!((&one["lease_seconds"], &one["agent_id"]), (&json!(300), &json!(project.agent)));
        assert_eq!(one["metadata"].to_string(), r#"{"commit":"c0ffee","number":117.63331139400017}"#);
    }
    assert_eq!(claim(&project, 50, 0).await.len(), 1);
    assert_eq!(claim(&project, 50, 0).await, [] as [Value; 0]);
    assert!(project.get(&format!("/agents/{}", project.agent)).await["last_polled_at"].is_string());
}

#[tokio::test]
async fn claim_takes_only_conversations_of_its_agents() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let path = project.path("/agents");
    let other = id(&project.client.post(&path, &json!({ "name": "Other" }), 200).await);
    let of_other = project.simulate(json!({ "agent_id": other })).await;
    let of_agent = simulate(&project, 1).await;
    let claimed = claim(&project, 50, 0).await;
    assert_eq!((claimed.len(), text(&claimed[0], "simulation_id")), (1, of_agent));
    let both = json!({ "agent_ids": [project.agent, other], "limit": 50 });
    let claimed = project.client.post(&project.path(CLAIM), &both, 200).await;
    assert_eq!(text(&data(&claimed)[0], "simulation_id"), of_other);
    let unknown = project.client.post(&project.path(CLAIM), &wanted("AbCdEfGhIjKl", 1, 20), 404).await;
    assert_eq!(code(&unknown), "agent_not_found");
}

#[tokio::test]
async fn conversation_is_claimed_by_one_of_many_workers() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for _ in 0..3 {
        simulate(&project, 10).await;
    }
    let mut claimed: Vec<String> = Vec::new();
    while claimed.len() < 30 {
        let round = join_all((0..6).map(|_| claim(&project, 4, 0))).await.concat();
        assert!(!round.is_empty(), "{} conversations are queued", 30 - claimed.len());
        claimed.extend(round.iter().map(|one| text(one, "conversation_id")));
    }
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), 30);
    assert_eq!(claim(&project, 50, 0).await, [] as [Value; 0]);
}

#[tokio::test]
async fn repeated_claim_gets_the_same_conversations() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    simulate(&project, 20).await;
    let path = project.path(CLAIM);
    let keyed = |key: &str| project.client.with_header("idempotency-key", key);
    let (body, one, other) = (wanted(&project.agent, 12, 0), keyed("one"), keyed("other"));
    let first = one.post(&path, &body, 200).await;
    assert_eq!(data(&first).len(), 12);
    app.advance(SignedDuration::from_secs(5));
    assert_eq!(one.post(&path, &body, 200).await, first);
    let second = other.post(&path, &body, 200).await;
    assert_eq!(data(&second).len(), 8);
    // Also after the conversations have changed.
    app.advance(SignedDuration::from_secs(300));
    app.run_jobs().await;
    assert_eq!(one.post(&path, &body, 200).await, first);
    assert_eq!(other.post(&path, &body, 200).await, second);
    let reused = one.post(&path, &wanted(&project.agent, 13, 0), 422).await;
    assert_eq!(code(&reused), "idempotency_key_reused");
    // A claim that got nothing is a new one.
    let queued_again = claim(&project, 50, 0).await;
    assert_eq!(queued_again.len(), 20);
    assert!(queued_again.iter().all(|one| one["attempt"] == 2));
    let empty = keyed("empty");
    assert_eq!(empty.post(&path, &body, 200).await["data"], json!([]));
    simulate(&project, 1).await;
    assert_eq!(data(&empty.post(&path, &body, 200).await).len(), 1);
}

#[tokio::test]
async fn concurrent_claims_with_one_key_share_conversations() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    simulate(&project, 30).await;
    let (path, body) = (project.path(CLAIM), wanted(&project.agent, 10, 0));
    let keyed = project.client.with_header("idempotency-key", "k");
    join_all((0..3).map(|_| keyed.post(&path, &body, 200))).await;
    let replayed = keyed.post(&path, &body, 200).await;
    assert_eq!(data(&replayed).len(), 10);
    assert_eq!(claim(&project, 50, 0).await.len(), 20, "no conversation was started and lost");
}

#[tokio::test]
async fn waiting_claim_gets_what_is_queued_meanwhile() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let queue = async {
        tokio::task::yield_now().await;
        simulate(&project, 2).await
    };
    let (claimed, simulation) = tokio::join!(claim(&project, 2, 20), queue);
    assert!(!claimed.is_empty() && claimed.iter().all(|one| one["simulation_id"] == simulation.as_str()));
    // A conversation that is queued again is found, too.
    let conversation = project.test_conversation(&simulation, &text(&claimed[0], "conversation_id"));
    claim(&project, 2, 0).await;
    let fail = async {
        let failure = json!({ "attempt": 1, "reason": "out of memory" });
        project.client.post(&conversation.path("/fail"), &failure, 200).await
    };
    let (claimed, _) = tokio::join!(claim(&project, 1, 20), fail);
    assert_eq!((text(&claimed[0], "conversation_id"), &claimed[0]["attempt"]), (conversation.id, &json!(2)));
}

#[tokio::test]
async fn waiting_claim_of_a_revoked_key_starts_nothing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({ "name": "worker", "preset": "worker", "project_ids": [project.id] });
    let key = project.client.post("/v1/keys", &body, 200).await;
    let worker = project.client.with_key(key["key"].as_str().unwrap());
    let revoke = async {
        tokio::task::yield_now().await;
        project.client.post_empty(&format!("/v1/keys/{}/revoke", id(&key)), 200).await;
        app.advance(SignedDuration::from_secs(10));
        simulate(&project, 1).await
    };
    let (path, body) = (project.path(CLAIM), wanted(&project.agent, 1, 20));
    let (refused, _) = tokio::join!(worker.post(&path, &body, 401), revoke);
    assert_eq!(code(&refused), "revoked_api_key");
    assert_eq!(claim(&project, 1, 0).await.len(), 1);
}

/// Sends a claim that waits, and waits until the server has read it.
async fn waiting(server: &Server, project: &SdkProject) -> TcpStream {
    let address = server.base_url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = wanted(&project.agent, 1, 20).to_string();
    let request = format!(
        "POST /v1{CLAIM}?project_id={} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        project.id,
        server.key(),
        body.len(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let agent = format!("/v1/agents/{}?project_id={}", project.agent, project.id);
    eventually("a poll", || async {
        let seen = project.client.get(&agent, 200).await;
        if seen["last_polled_at"].is_string() { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    stream
}

#[tokio::test]
async fn nothing_is_started_for_a_client_that_left() {
    let server = Server::start().await;
    let project = SdkProject::open(server.client()).await;
    drop(waiting(&server, &project).await);
    let fields =
        SimulationFields { name: "Refunds", conversations: 1, personas: 1, expires_in_seconds: None };
    let simulation = project.simulate(fields).await;
    let conversation = project.conversation(&simulation, "queued").await;
    let path = format!("/v1{CLAIM}?project_id={}", project.id);
    let claimed = project.client.post(&path, &wanted(&project.agent, 1, 0), 200).await;
    assert_eq!(claimed["data"][0]["conversation_id"], conversation, "{claimed}");
}

#[tokio::test]
async fn shutdown_ends_waiting_claims() {
    let mut server = Server::start().await;
    let project = Arc::new(SdkProject::open(server.client()).await);
    let mut stream = waiting(&server, &project).await;
    let answer = tokio::spawn(async move {
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        answer
    });
    assert!(server.terminate().await.success());
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"data":[]}"#), "{answer}");
}
