//! Agents that the deployment calls itself.

use http::Method;
use onerun_tests::{
    aws::{Cloud, sqs_event},
    receiver::{Receiver, ReceiverAnswer},
    sdk::{SdkProject, id, text},
};
use serde_json::{Value, json};

/// A bound of the rounds in which jobs enqueue jobs.
const MAX_ROUNDS: u32 = 100;

/// Runs jobs by their functions until no message is left. Jobs that are due later stay in the table.
async fn run_jobs(cloud: &Cloud) {
    for _ in 0..MAX_ROUNDS {
        let messages = cloud.job_messages().await;
        if messages.is_empty() {
            return;
        }
        for message in messages {
            let parsed: Value = serde_json::from_str(&message).expect("a message");
            let is_outbound = text(&parsed, "partition").starts_with("outbound-jobs");
            let function = if is_outbound { "run_outbound_jobs" } else { "run_jobs" };
            let answer = cloud.function(function).run(&sqs_event(&[&message], 1)).await;
            assert_eq!(answer, json!({ "batchItemFailures": [] }));
        }
    }
    panic!("jobs enqueue jobs without end");
}

#[tokio::test]
async fn monitor_of_an_agent_with_an_endpoint_needs_no_worker() {
    let reply = json!({ "choices": [{ "message": { "role": "assistant", "content": "I have approved your refund." } }] });
    let agent = Receiver::start(ReceiverAnswer::Document(reply)).await;
    let cloud = Cloud::start_with(&[("ONERUN_OUTBOUND_ALLOW", "127.0.0.1")]).await;
    let project = SdkProject::open(cloud.client().await).await;
    let client = &project.client;
    let within = |path: &str| format!("/v1{path}?project_id={}", project.id);
    let endpoint = within(&format!("/agents/{}/endpoint", project.agent));
    let body = json!({
        "target": { "openai": { "url": agent.url(), "model": "desk" } },
        "credential": { "value": "Bearer sk-live-4f9d1c27" },
    });
    let put = client.send(Method::PUT, &endpoint, Some(&body), 200).await.json();
    assert_eq!(put["endpoint"]["credential"], json!({ "header": "Authorization" }));
    let objective = json!({ "name": "Refunds", "criteria": "check: agent says /refund/i" });
    let objective = id(&client.post(&within("/objectives"), &objective, 200).await);
    let monitor = json!({
        "name": "Refunds",
        "simulation": {
            "agent_id": project.agent,
            "name": "Refunds",
            "scenario": "A customer asks for a refund of a kettle that arrived broken.",
            "target_conversations": 2,
            "target_personas": 1,
            "objective_ids": [objective],
        },
        "gate": { "min_pass_rate": 1.0 },
    });
    let monitor = id(&client.post(&within("/monitors"), &monitor, 200).await);
    for hour in ["09", "10", "11"] {
        let time = format!("2036-01-05T{hour}:00:00Z");
        let event = json!({ "project_id": project.id, "monitor_id": monitor, "scheduled_time": time });
        cloud.function("run_monitor").run(&event).await;
        run_jobs(&cloud).await;
    }
    let runs = client.get(&within(&format!("/monitors/{monitor}/runs")), 200).await;
    let seen: Vec<_> = runs["data"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| (text(run, "status"), text(run, "verdict")))
        .collect();
    assert_eq!(seen, vec![("completed".to_owned(), "pass".to_owned()); 3], "{runs}");
    let received = agent.received();
    assert!(received.len() >= 6, "{} calls", received.len());
    assert!(received.iter().all(|request| request.header("authorization") == "Bearer sk-live-4f9d1c27"));
    for function in cloud.functions() {
        assert!(!function.log().contains("sk-live"), "{}", function.log());
    }
    client.send(Method::DELETE, &endpoint, None, 200).await;
    let shown = client.get(&within(&format!("/agents/{}", project.agent)), 200).await;
    assert_eq!(shown["endpoint"], json!(null));
}
