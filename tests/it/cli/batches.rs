//! `onerun batch` and `onerun batches`.

use onerun_tests::{eventually, process::Server};
use serde_json::Value;

use super::{CliOutput, joined, run};

/// A server with a project, two agents and an objective, and a shell that knows its address and key.
struct Shell {
    server: Server,
    directory: tempfile::TempDir,
}

impl Shell {
    async fn open() -> Self {
        let shell = Self { server: Server::start().await, directory: tempfile::tempdir().unwrap() };
        shell.get(&["projects", "create", "Order support"]).await;
        shell.get(&["agents", "create", "Refunds"]).await;
        shell.get(&["agents", "create", "Returns"]).await;
        shell.get(&["objectives", "create", "Polite", "--criteria", "check: agent says /refund/i"]).await;
        shell
    }

    async fn run(&self, arguments: &[&str]) -> CliOutput {
        run(self.server.base_url(), self.server.key(), arguments).await
    }

    async fn get(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.exits(0).trim_end().to_owned()
    }

    /// The path of a file with this text.
    fn file(&self, text: &str) -> String {
        let path = self.directory.path().join("batch.yaml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

const FILE: &str = "
name: All agents
defaults:
  scenario: A kettle is broken.
  target_conversations: 1
  target_personas: 1
  objectives: [Polite]
items:
  - agent: Refunds
  - agent: Returns
    name: The other one
max_in_flight: 2
";

#[tokio::test]
async fn batch_is_created_shown_canceled_and_rerun() {
    let shell = Shell::open().await;
    let file = shell.file(FILE);
    let create = ["batch", &file, "--detach", "--idempotency-key", "nightly"];
    let id = shell.get(&create).await;
    assert_eq!(shell.get(&create).await, id, "the same call is a replay");
    let listed = shell.get(&["batches", "list"]).await;
    assert!(listed.contains("All agents") && listed.contains("in_progress"), "{listed}");
    eventually("started simulations", || async {
        let shown = joined(&shell.get(&["batches", "get", "All agents"]).await);
        if shown.contains("0 of 2 completed, 2 in progress") { Ok(()) } else { Err(shown) }
    })
    .await;
    assert!(shell.get(&["simulations", "list"]).await.contains("The other one"));

    let waited = shell.run(&["batches", "wait", &id, "--timeout", "1"]).await;
    assert_eq!(waited.code, 2, "{waited:?}");
    assert!(waited.stderr.contains("is not over after 1 s"), "{waited:?}");
    assert_eq!(shell.get(&["batches", "cancel", &id]).await, "canceled");
    let waited = shell.run(&["batches", "wait", &id]).await;
    assert_eq!(waited.code, 2, "{waited:?}");
    assert!(joined(&waited.stdout).contains("0 of 2 completed, 2 canceled"), "{waited:?}");
    let items: Value =
        serde_json::from_str(&shell.get(&["batches", "items", &id, "--status", "canceled", "--json"]).await)
            .unwrap();
    assert_eq!(items["data"].as_array().unwrap().len(), 2);
    let again = shell.get(&["batches", "rerun", &id]).await;
    assert_eq!(again, "in_progress: 0 of 2 completed, 2 queued");
}

#[tokio::test]
async fn wrong_batch_file_exits_with_the_code_of_config() {
    let shell = Shell::open().await;
    for (text, reason) in [
        ("name: [", "line 1"),
        ("items: []", "name"),
        ("name: x\nitems: []\nextra: 1", "extra"),
        ("name: x\nitems: []", "must have 1 to 1000 values"),
        ("name: x\nitems: [{}]", "`items/0/agent_id` is required"),
        ("name: x\nitems: [{agent: Nobody\u{202e}}]", "Nobody"),
        ("name: x\nitems: [{agent: [1]}]", "must be an id or a name"),
    ] {
        let refused = shell.run(&["batch", &shell.file(text)]).await;
        assert_eq!(refused.code, 4, "{text}: {refused:?}");
        let shown = joined(&refused.stderr);
        assert!(shown.contains(reason) && !shown.contains('\u{202e}'), "{text}: {shown}");
    }
    assert_eq!(shell.run(&["batch", "/nowhere/batch.yaml"]).await.code, 4);
    assert_eq!(shell.run(&["batch"]).await.code, 4);
    assert_eq!(shell.get(&["batches", "list", "--json"]).await.matches("\"id\"").count(), 0);
}
