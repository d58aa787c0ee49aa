//! The export of a simulation as JSON lines.

use http::Method;
use onerun_engine::Reply as PersonaReply;
use onerun_tests::app::{Behavior, Reply, TestApp};
use serde_json::{Value, json};

use crate::{
    fixtures::{TestProject, text},
    pages::by_cursor,
};

/// The pages of an export, each with its lines.
async fn pages(project: &TestProject<'_>, simulation: &str) -> Vec<Vec<Value>> {
    let path = format!("/v1/simulations/{simulation}/export");
    let mut next = Some(project.path(&path.replacen("/v1", "", 1)));
    let mut pages = Vec::new();
    while let Some(address) = next {
        let page = project.client.send(Method::GET, &address, None, 200).await;
        assert_eq!(page.header("content-type"), Some("application/jsonl"));
        assert!(page.text.len() <= 4_000_000, "{}", page.text.len());
        assert!(page.text.is_empty() || page.text.ends_with('\n'));
        pages.push(page.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect());
        next = follow(&page).map(|query| format!("{path}{query}"));
    }
    pages
}

/// The address of the next page, relative to this one.
fn follow(page: &Reply) -> Option<String> {
    let link = page.header("link")?;
    let address = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    Some(address.unwrap_or_else(|| panic!("{link}")).to_owned())
}

/// Lets the persona talk on, and returns a message of the agent of more than 1 MB.
fn long_talk(app: &TestApp) -> Value {
    app.model().on_reply(Behavior::Says(PersonaReply { text: Some("Go on.".to_owned()), ends: false }));
    let part = json!({ "type": "text", "text": "x".repeat(32_000) });
    json!({ "input": [{ "type": "message", "content": vec![part; 32] }] })
}

/// All messages of a conversation.
async fn items(project: &TestProject<'_>, simulation: &str, conversation: &str) -> Vec<Value> {
    by_cursor(project, &format!("/simulations/{simulation}/conversations/{conversation}/items?")).await
}

/// The lines that an export must have, from the lists.
async fn listed(project: &TestProject<'_>, simulation: &str) -> Vec<Value> {
    let list = project.get(&format!("/simulations/{simulation}/conversations?limit=100")).await;
    let mut lines = Vec::new();
    for conversation in list["data"].as_array().unwrap() {
        lines.push(json!({ "conversation": conversation }));
        let messages = items(project, simulation, &text(conversation, "id")).await;
        lines.extend(messages.into_iter().map(|message| json!({ "item": message })));
    }
    lines
}

#[tokio::test]
async fn export_has_the_lines_of_the_lists() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    let simulation = project
        .simulate(json!({
            "target_conversations": 3, "target_personas": 3, "max_turns": 200, "objective_ids": [objective],
        }))
        .await;
    let conversations = project.test_conversations(&simulation).await;
    conversations[0].hold(&["Here is your refund.", "Good bye."]).await;
    conversations[1].start(200).await;
    conversations[1].say(None, 200).await;
    app.run_jobs().await;
    let pages = pages(&project, &simulation).await;
    assert_eq!(pages, [listed(&project, &simulation).await]);
    let quotes: Vec<_> = pages[0]
        .iter()
        .filter_map(|line| line["conversation"]["evaluations"][0]["quotes"][0]["text"].as_str())
        .collect();
    assert_eq!(quotes, ["refund"]);
}

#[tokio::test]
async fn export_of_a_simulation_without_conversations_is_empty() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.create(json!({})).await;
    assert_eq!(pages(&project, &simulation).await, [Vec::<Value>::new()]);
}

#[tokio::test]
async fn page_ends_at_4_mb_also_within_a_conversation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation =
        project.simulate(json!({ "target_conversations": 2, "target_personas": 2, "max_turns": 200 })).await;
    let message = long_talk(&app);
    for (conversation, messages) in project.test_conversations(&simulation).await.into_iter().zip([5, 1]) {
        conversation.start(200).await;
        for _ in 0..messages {
            project.client.post(&conversation.path("/responses"), &message, 200).await;
        }
    }
    let pages = pages(&project, &simulation).await;
    assert_eq!(pages.len(), 2);
    assert!(pages.concat() == listed(&project, &simulation).await, "lines are missing, repeated or moved");
}

#[tokio::test]
async fn page_ends_at_100_conversations_and_inserts_do_not_shift_it() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 101, "target_personas": 1 })).await;
    let pages = pages(&project, &simulation).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [100, 1]);
    let mut numbers: Vec<_> =
        pages.concat().iter().map(|line| line["conversation"]["seq_id"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=101).collect::<Vec<_>>());
}

#[tokio::test]
async fn message_that_arrives_between_pages_is_exported_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    let message = long_talk(&app);
    let say = async || {
        project.client.post(&conversation.path("/responses"), &message, 200).await;
    };
    conversation.start(200).await;
    for _ in 0..4 {
        say().await;
    }
    let path = format!("/simulations/{}/export", conversation.simulation);
    let first = project.client.send(Method::GET, &project.path(&path), None, 200).await;
    say().await;
    let rest = follow(&first).expect("a second page");
    let second = project.client.send(Method::GET, &format!("/v1{path}{rest}"), None, 200).await;
    assert_eq!(follow(&second), None);
    let ids: Vec<String> = first
        .text
        .lines()
        .skip(1)
        .chain(second.text.lines())
        .map(|line| text(&serde_json::from_str::<Value>(line).unwrap()["item"], "id"))
        .collect();
    let listed = items(&project, &conversation.simulation, &conversation.id).await;
    let listed: Vec<_> = listed.iter().map(|item| text(item, "id")).collect();
    assert_eq!(ids, listed);
}

#[tokio::test]
async fn cursor_of_another_list_is_refused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 2, "target_personas": 1 })).await;
    let list = project.get(&format!("/simulations/{simulation}/conversations?limit=1")).await;
    for cursor in [text(&list, "next_cursor"), "x".to_owned(), String::new()] {
        let path = project.path(&format!("/simulations/{simulation}/export?cursor={cursor}"));
        let refused = project.client.get(&path, 422).await;
        assert_eq!(refused["errors"][0]["parameter"], "cursor", "{refused}");
    }
}
