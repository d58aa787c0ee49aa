//! A server killed while it imports conversations.

use std::collections::BTreeSet;

use onerun_tests::{eventually, process::Server};
use serde_json::{Value, json};

use super::{list, text};

const CONVERSATIONS: usize = 600;

/// Fewer than the deliveries after which a job is buried.
const KILLS: usize = 6;

#[tokio::test]
async fn import_under_kills_adds_each_conversation_once() {
    let mut server = Server::start().await;
    let client = server.client();
    let project = text(&client.post("/v1/projects", &json!({ "name": "Refunds" }), 200).await, "id");
    let path = |rest: &str| format!("/v1/{rest}project_id={project}");
    let agent = client.post(&path("agents?"), &json!({ "name": "Desk" }), 200).await;
    let objective = json!({ "name": "Refunds", "criteria": "check: agent says /refund/i" });
    let objective = client.post(&path("objectives?"), &objective, 200).await;
    let answer = |number: usize| if number.is_multiple_of(3) { "No." } else { "A refund is on its way." };
    let conversations: Vec<Value> = (0..CONVERSATIONS)
        .map(|number| {
            json!({
                "case": format!("Order {number}"),
                "messages": [
                    { "role": "user", "content": "My parcel is late." },
                    { "role": "assistant", "content": answer(number) },
                ],
            })
        })
        .collect();
    let body = json!({
        "agent_id": agent["id"], "name": "Last week", "conversations": conversations,
        "objective_ids": [objective["id"]],
    });
    let created = client.post(&path("simulations/import?"), &body, 200).await;
    let simulation = format!("simulations/{}", text(&created, "id"));
    let results = path(&format!("{simulation}/results?"));

    for kill in 0..KILLS {
        // Each time a further part is done.
        let least = u64::try_from(CONVERSATIONS * kill / (KILLS + 1)).expect("a small number");
        eventually("progress", || async {
            let seen = client.get(&results, 200).await;
            let done = seen["conversations"]["ended"].as_u64().unwrap_or_default();
            if done >= least { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        server.kill_9();
        server.restart().await;
    }

    let seen = eventually("completed import", || async {
        let seen = client.get(&results, 200).await;
        if seen["status"] == "completed" { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert_eq!((&seen["overall"]["passed"], &seen["overall"]["failed"]), (&json!(400), &json!(200)));
    let (mut cases, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&path(&format!("{simulation}/conversations?limit=100{cursor}&")), 200).await;
        for one in list(&page["data"]) {
            assert_eq!((&one["item_count"], &one["attempt"]), (&json!(2), &json!(1)), "{one}");
            assert_eq!(list(&one["evaluations"]).len(), 1, "{one}");
            cases.push(text(&one["persona"], "summary"));
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    cases.sort();
    let distinct: BTreeSet<_> = cases.iter().collect();
    assert_eq!((cases.len(), distinct.len()), (CONVERSATIONS, CONVERSATIONS));
}
