//! `onerun export`.

use std::path::Path;

use onerun_tests::{
    eventually, http_client,
    process::Server,
    sdk::{SdkProject, SimulationFields},
};
use serde_json::{Value, json};

use super::{CliOutput, Show, run};

#[tokio::test]
async fn interrupted_export_continues_after_its_last_page() {
    let server = Server::start().await;
    let project = SdkProject::open(server.client()).await;
    let wanted =
        SimulationFields { name: "Refunds", conversations: 101, personas: 1, expires_in_seconds: None };
    let simulation = project.simulate(wanted).await;
    eventually("101 conversations", || async {
        let results = project.client.get(&project.path(&simulation, "/results"), 200).await;
        if results["conversations"]["queued"] == 101 { Ok(()) } else { Err(results.to_string()) }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let export = async |simulation: &str, options: &[&str]| {
        let arguments = [&["export", simulation, "--project", &project.id], options].concat();
        run(server.base_url(), server.key(), &arguments).await
    };
    let whole = export(&simulation, &[]).await.exits(0);
    assert_eq!(whole.lines().count(), 101);

    // The state after the first page, with a part of the second one.
    let path = directory.path().join("a.jsonl");
    let (data, state) = (directory.path().join("a.jsonl.part"), directory.path().join("a.jsonl.part.json"));
    let first: String = whole.split_inclusive('\n').take(100).collect();
    let cursor = cursor(&server, &project.path(&simulation, "/export")).await;
    let interrupted = |simulation: &str| {
        let kept = json!({
            "simulation": simulation, "format": "jsonl", "bytes": first.len(), "conversations": 100, "cursor": cursor,
        });
        std::fs::write(&data, format!("{first}{{\"conversation\":")).unwrap();
        std::fs::write(&state, kept.to_string()).unwrap();
    };
    let output = ["--output", path.to_str().unwrap()];
    let written = |done: CliOutput, continued: bool| {
        assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
        assert_eq!(done.stderr.contains("Continuing after 100 conversations."), continued, "{done:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        assert_eq!(files(directory.path()), ["a.jsonl"]);
    };
    interrupted(&simulation);
    written(export(&simulation, &output).await, true);
    // The state of another simulation is not continued.
    interrupted("AAECAwQFBgcIAAECAwQFB");
    written(export(&simulation, &output).await, false);
}

/// The cursor of the second page.
async fn cursor(server: &Server, path: &str) -> String {
    let url = format!("{}{path}", server.base_url());
    let answer = http_client().get(url).header("x-api-key", server.key()).send().await.unwrap();
    let link = answer.headers()["link"].to_str().unwrap();
    let (_, cursor) = link.split_once("cursor=").unwrap();
    cursor.split_once('>').unwrap().0.to_owned()
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn csv_has_a_row_for_each_evaluation_and_conversation() {
    let show = Show::open().await;
    let (url, key) = (show.server.base_url(), show.server.key());
    let arguments = ["export", "Refunds", "--project", &show.project.id];
    let csv = run(url, key, &[&arguments[..], &["--format", "csv"]].concat()).await.exits(0);
    let rows: Vec<&str> = csv
        .lines()
        .filter(|line| {
            line.contains("outcome")
                || line.contains(",passed,")
                || line.contains(",failed,")
                || line.contains(",inconclusive,")
                || line.contains(",queued,")
        })
        .collect();
    let lines = run(url, key, &arguments).await.exits(0);
    let conversations: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["conversation"].clone())
        .filter(|conversation| !conversation.is_null())
        .collect();
    let evaluations: usize =
        conversations.iter().map(|one| one["evaluations"].as_array().map_or(0, |all| all.len().max(1))).sum();
    assert_eq!((conversations.len(), rows.len()), (2, 1 + evaluations), "{csv}");
    for conversation in &conversations {
        assert!(csv.contains(conversation["id"].as_str().unwrap()), "{csv}");
    }
}
