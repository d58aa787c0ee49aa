//! Simulations of the stock SDK complete with an unreliable provider. No conversation is lost, and no turn is asked for
//! again unless a fault lost its answer.
//!
//! The time limits are between a fifteenth and a sixth of the real ones. Their order is the real one: a call waits less
//! long than a slow answer takes, and the model's share of the reply limit is longer than that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use onerun_engine::Settings;
use onerun_tests::{
    app::ServedApp,
    eventually_within,
    process::Server,
    provider::{Call, Fault, Faults, Outcome, Provider, Role, Wire, play},
    sdk::{SdkProject, id},
};
use serde_json::json;

/// The number of conversations, and of personas. The calls of a simulation are more than the hundred in which each
/// fault occurs.
const CONVERSATIONS: usize = 20;

/// The number of the persona's messages in each conversation. More than the attempts that a conversation may lose.
const REPLIES: usize = 4;

const LIMIT: Duration = Duration::from_secs(250);

/// Starts the provider.
pub(crate) async fn unreliable_provider() -> Provider {
    let faults = Faults::unreliable(3, Duration::from_secs(6), Duration::from_secs(1));
    Provider::start_with(faults, play).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdk_completes_with_an_unreliable_provider() {
    let provider = unreliable_provider().await;
    let mut variables = provider.variables(Wire::ChatCompletions, "small");
    for (name, seconds) in [("STREAM", 1), ("TURN", 5), ("REPLY", 20), ("LEASE", 30)] {
        variables.push((format!("ONERUN_{name}_SECONDS"), seconds.to_string()));
    }
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut server = Server::start_with(&variables).await;
    let project = SdkProject::open(server.client()).await;

    let result = completes(&project, &provider, &["--timeout", "4"]).await;

    let log = server.final_log().await;
    result.unwrap_or_else(|problem| panic!("{problem}\n{log}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdk_completes_at_a_host_without_late_bodies() {
    let provider = Arc::new(unreliable_provider().await);
    let settings = Settings {
        turn: SignedDuration::from_secs(4),
        reply: SignedDuration::from_secs(20),
        lease: SignedDuration::from_secs(15),
        ..Settings::default()
    };
    let app = ServedApp::start(settings, &provider, Wire::Messages).await;
    let project = SdkProject::open(app.client()).await;
    completes(&project, &provider, &[]).await.unwrap();
}

/// Runs a simulation with the SDK's worker, and checks it. The error describes the first violation.
#[expect(clippy::print_stdout, reason = "the figures, shown with --no-capture")]
pub(crate) async fn completes(
    project: &SdkProject,
    provider: &Provider,
    worker: &[&str],
) -> Result<(), String> {
    let body = json!({
        "agent_id": project.agent,
        "name": "Refunds with faults",
        "scenario": "A customer asks for a refund of a kettle that arrived broken.",
        "target_conversations": CONVERSATIONS,
        "target_personas": CONVERSATIONS,
        "auto_approve": true,
        "max_turns": 2 * REPLIES - 1,
        "objective_ids": project.objectives,
    });
    let made = project.client.post(&format!("/v1/simulations?project_id={}", project.id), &body, 200).await;
    let simulation = id(&made);
    let worker = project.worker(worker);
    let ended = eventually_within(LIMIT, "simulation that has ended", || async {
        let seen = project.client.get(&project.path(&simulation, ""), 200).await;
        if ["completed", "failed"].contains(&seen["status"].as_str().unwrap_or_default()) {
            Ok(seen)
        } else {
            Err(format!("{seen}\n{:?}\n{}", counts(&provider.calls()), worker.report()))
        }
    })
    .await;
    let calls = provider.calls();
    let counts = counts(&calls);
    if ended["status"] != "completed" {
        return Err(format!("{ended}\n{counts:?}\n{}", worker.report()));
    }
    project.assert_evaluated(&simulation, CONVERSATIONS).await;

    for conversation in project.conversations(&simulation).await {
        let path = project.path(&simulation, &format!("/conversations/{}/items", id(&conversation)));
        let page = project.client.get(&format!("{path}&limit=100"), 200).await;
        let items = page["data"].as_array().expect("a page has data");
        let roles: Vec<&str> = items.iter().filter_map(|item| item["role"].as_str()).collect();
        let expected: Vec<&str> = ["user", "assistant"].into_iter().cycle().take(2 * REPLIES - 1).collect();
        if roles != expected {
            return Err(format!("a turn is lost or doubled: {page}"));
        }
    }

    // The persona and its earlier messages make a prompt unique.
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    let is_message = |call: &&Call| Role::of(&call.prompt) == Some(Role::Message);
    for call in calls.iter().filter(is_message).filter(|call| call.outcome == Outcome::Answered) {
        *answers.entry(call.prompt.text()).or_default() += 1;
    }
    if let Some((prompt, count)) = answers.iter().find(|(_, count)| **count > 1) {
        return Err(format!("{count} answers to one prompt: {prompt}"));
    }

    // Every fault but slowness loses the answer, which forces another call. All other calls are counted.
    let unforced = calls.iter().filter(|call| matches!(call.fault, None | Some(Fault::Slow { .. }))).count();
    // A conversation takes its persona, its replies and its verdicts.
    let useful = CONVERSATIONS * (1 + REPLIES + 1);
    if unforced * 100 > useful * 105 {
        return Err(format!(
            "{unforced} calls without a fault that forces another, for {useful} answers: {counts:?}"
        ));
    }

    println!(
        "{} calls, {unforced} of them not forced by a fault, for {useful} answers: {counts:?}",
        calls.len()
    );

    let results = project.client.get(&project.path(&simulation, "/results"), 200).await;
    let reported = &results["usage"]["total"];
    let counted = provider.tokens();
    for (name, count) in [
        ("input_tokens", counted.input),
        ("cached_input_tokens", counted.cached_input),
        ("cache_write_tokens", counted.cache_write),
        ("output_tokens", counted.output),
        ("reasoning_tokens", counted.reasoning),
    ] {
        if reported[name] != count {
            return Err(format!("{name} is {count} at the provider: {results}"));
        }
    }
    if provider.rejected().is_empty() { Ok(()) } else { Err(format!("{:?}", provider.rejected())) }
}

/// How many calls have which purpose, fault and result.
fn counts(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let name = format!("{:?} {:?} {:?}", Role::of(&call.prompt), call.fault, call.outcome);
        *counts.entry(name).or_default() += 1;
    }
    counts
}
