//! Measures a turn without the time of the model's provider: see `bench/README.md`.
//!
//! The provider is the test kit's. It answers each call after a fixed delay and records how long it took. The rest of a
//! turn is OneRun's: HTTP on both sides, and the store.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints its figures, and stops at a failure"
)]

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use onerun_engine::Settings;
use onerun_tests::{
    Client,
    app::ServedApp,
    eventually,
    process::Server,
    provider::{Fault, Faults, Provider, Wire, play},
    sdk::{SdkProject, SimulationFields, id},
};
use serde_json::{Value, json};

/// How long the provider takes.
const DELAY: Duration = Duration::from_millis(50);

/// A page of conversations. Each has four turns.
const CONVERSATIONS: usize = 100;

/// The host of the API. It lives as long as this.
enum Host {
    Program(Box<Server>),
    InProcess(Box<ServedApp>),
}

impl Host {
    fn client(&self) -> Client {
        match self {
            Self::Program(server) => server.client(),
            Self::InProcess(app) => app.client(),
        }
    }
}

/// One turn: the persona's message, and how long the caller waited for it.
struct Turn {
    message: String,
    took: Duration,
}

#[tokio::main]
async fn main() {
    let slow = Fault::Slow { delay: DELAY };
    let provider = Arc::new(Provider::start_with(Faults::seeded(0).with(100, slow), play).await);
    #[expect(clippy::disallowed_methods, reason = "the variable chooses the store, as in tests")]
    let on_dynamodb = std::env::var_os("ONERUN_TEST_DYNAMODB").is_some();
    let (store, host) = if on_dynamodb {
        let app = ServedApp::start(Settings::default(), &provider, Wire::ChatCompletions).await;
        ("DynamoDB Local", Host::InProcess(Box::new(app)))
    } else {
        let variables = provider.variables(Wire::ChatCompletions, "small");
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        ("SQLite", Host::Program(Box::new(Server::start_with(&variables).await)))
    };
    let project = SdkProject::open(host.client()).await;
    for at_once in [1, 8] {
        let turns = converse(&project, at_once).await;
        report(store, at_once, &turns, &provider);
    }
}

/// Holds all conversations of a new simulation, a number of them at once.
async fn converse(project: &SdkProject, at_once: usize) -> Vec<Turn> {
    let conversations = CONVERSATIONS as u64;
    let fields =
        SimulationFields { name: "Turns", conversations, personas: conversations, expires_in_seconds: None };
    let simulation = project.simulate(fields).await;
    let queued = eventually("queued conversations", || async {
        let found = project.conversations(&simulation).await;
        if found.len() == CONVERSATIONS { Ok(found) } else { Err(format!("{} of them", found.len())) }
    })
    .await;
    let simulation = simulation.as_str();
    let held = stream::iter(&queued).map(|conversation| hold(project, simulation, id(conversation)));
    let turns: Vec<Vec<Turn>> = held.buffer_unordered(at_once).collect().await;
    project.reaches(simulation, "completed").await;
    turns.into_iter().flatten().collect()
}

async fn hold(project: &SdkProject, simulation: &str, conversation: String) -> Vec<Turn> {
    let path = |end: &str| project.path(simulation, &format!("/conversations/{conversation}/{end}"));
    project.client.post_empty(&path("start"), 200).await;
    let mut turns = Vec::new();
    let mut input = json!({ "input": [] });
    loop {
        let start = Instant::now();
        let reply = project.client.post(&path("responses"), &input, 200).await;
        let took = start.elapsed();
        turns.push(Turn { message: message(&reply), took });
        if reply["ended"] == true {
            return turns;
        }
        let content = json!([{ "type": "text", "text": "The refund is on its way." }]);
        input = json!({ "input": [{ "type": "message", "content": content }] });
    }
}

fn message(reply: &Value) -> String {
    reply["output"][0]["content"][0]["text"].as_str().expect("a message").to_owned()
}

/// Prints a row of the table in `bench/README.md`.
fn report(store: &str, at_once: usize, turns: &[Turn], provider: &Provider) {
    let answers: HashMap<String, Duration> = provider
        .calls()
        .into_iter()
        .filter_map(|call| {
            let answer: Value = serde_json::from_str(call.text.as_deref()?).ok()?;
            Some((answer["message"].as_str()?.to_owned(), call.took))
        })
        .collect();
    let mut times: Vec<f64> = turns
        .iter()
        .map(|turn| turn.took.saturating_sub(answers[&turn.message]).as_secs_f64() * 1_000.0)
        .collect();
    times.sort_by(f64::total_cmp);
    let percentile = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "| {store} | {at_once} | {} | {:.1} | {:.1} | {:.1} |",
        times.len(),
        percentile(50),
        percentile(99),
        percentile(100)
    );
}
