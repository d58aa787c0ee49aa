//! `onerun import`.

use onerun_tests::{process::Server, sdk::text};
use serde_json::{Value, json};

use super::{CliOutput, joined, run};

/// A server with a project, an agent and an objective, and a shell that knows its address and key.
struct Shell {
    server: Server,
    directory: tempfile::TempDir,
}

impl Shell {
    async fn open() -> Self {
        let shell = Self { server: Server::start().await, directory: tempfile::tempdir().unwrap() };
        shell.get(&["projects", "create", "Order support"]).await;
        shell.get(&["agents", "create", "Refunds"]).await;
        shell.get(&["objectives", "create", "Refund", "--criteria", "check: agent says /refund/i"]).await;
        shell.get(&["objectives", "create", "Ended", "--criteria", "check: persona ended"]).await;
        shell
    }

    async fn run(&self, arguments: &[&str]) -> CliOutput {
        run(self.server.base_url(), self.server.key(), arguments).await
    }

    async fn get(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.exits(0).trim_end().to_owned()
    }

    async fn import(&self, file: &str, more: &[&str]) -> CliOutput {
        let of = ["--agent", "Refunds", "--objective", "Refund", "--objective", "Ended"];
        self.run(&[&["import", file], &of[..], more].concat()).await
    }

    /// The path of a file with this text.
    fn file(&self, text: &str) -> String {
        let path = self.directory.path().join("week 48.jsonl");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn conversations(&self, simulation: &str) -> Vec<Value> {
        let export = self.get(&["export", simulation]).await;
        let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut found: Vec<_> =
            lines.map(|line| line["conversation"].clone()).filter(Value::is_object).collect();
        found.sort_by_key(|one| one["seq_id"].as_u64());
        found
    }
}

const FILE: &str = r#"
{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "My parcel is late."}, {"role": "assistant", "content": "Here is your refund."}], "case": "Late", "end_reason": "persona_decided"}

{"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "No."}], "tools": []}
"#;

/// Outcome, reason and quotes of each evaluation of each conversation.
fn verdicts(conversations: &[Value]) -> Vec<Value> {
    let of = |evaluation: &Value| {
        let quotes = evaluation["quotes"].as_array().unwrap().iter().map(|quote| quote["text"].clone());
        let (outcome, reason) = (&evaluation["outcome"], &evaluation["reason"]);
        json!([outcome, reason, quotes.collect::<Vec<_>>()])
    };
    let all = |one: &Value| one["evaluations"].as_array().unwrap().iter().map(of).collect();
    conversations.iter().map(all).collect()
}

#[tokio::test]
async fn file_is_imported_judged_exported_and_imported_again() {
    let shell = Shell::open().await;
    let file = shell.file(FILE);
    let imported = shell.import(&file, &["--wait", "--timeout", "60"]).await;
    assert_eq!(imported.code, 0, "{imported:?}");
    let notes = joined(&imported.stderr);
    assert!(notes.contains("Importing 2 conversations."), "{notes}");
    assert!(notes.contains("Left out 1 system message and 0 tool messages"), "{notes}");
    let shown = joined(&imported.stdout);
    for expected in
        ["week 48.jsonl", "completed", "the conversations were held elsewhere", "1 system message"]
    {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let first = shell.conversations("week 48.jsonl").await;
    let outcomes: Vec<_> = first.iter().map(|one| text(&one["evaluations"][0], "outcome")).collect();
    assert_eq!(outcomes, ["passed", "failed"]);
    assert_eq!(first[0]["persona"]["summary"], "Late");

    let export = shell.directory.path().join("export.jsonl");
    let export = export.to_str().unwrap();
    shell.run(&["export", "week 48.jsonl", "--output", export]).await;
    let again = shell.import(export, &["--name", "Again", "--wait", "--quiet", "--json"]).await;
    let again: Value = serde_json::from_str(&again.exits(0)).unwrap();
    assert_eq!(again["simulation"]["status"], "completed");
    let second = shell.conversations("Again").await;
    assert_eq!(verdicts(&second), verdicts(&first));
    assert_eq!(second[0]["persona"]["summary"], "Late");
    assert_eq!(second[0]["persona"]["metadata"]["conversation_id"], first[0]["id"]);

    let keyed = ["--idempotency-key", "week 48", "--quiet"];
    let id = shell.import(&file, &keyed).await.exits(0);
    assert_eq!(shell.import(&file, &keyed).await.exits(0), id, "the same call is a replay");
}

#[tokio::test]
async fn wrong_import_file_is_refused_with_its_lines() {
    let shell = Shell::open().await;
    let many = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n".repeat(1_001);
    let large = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}\n", "a".repeat(30_000))
        .repeat(40);
    let user = r#"{"messages":[{"role":"user","content":"a"}]}"#;
    for (text, reasons) in [
        (String::new(), vec!["has no conversation"]),
        (format!("{user}\n{{\n[]"), vec!["line 2: is not JSON", "line 3: must be an object"]),
        (
            format!("{user}\n{{\"messages\":[],\"model\u{202e}\":1}}"),
            vec!["line 2:", "is none of the fields"],
        ),
        (
            format!(
                "{user}\n\n{{\"messages\":[{{\"role\":\"user\",\"content\":[{{\"type\":\"image_url\"}}]}}]}}"
            ),
            vec!["line 3: `messages[0].content[0].type` must be `text`"],
        ),
        (many, vec!["has 1001 conversations", "at most 1000", "split -l"]),
        (large, vec!["and one import takes at most", "split -l"]),
    ] {
        let refused = shell.import(&shell.file(&text), &[]).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (4, ""), "{refused:?}");
        let shown = joined(&refused.stderr);
        for reason in reasons {
            assert!(shown.contains(reason) && !shown.contains('\u{202e}'), "{reason}: {shown}");
        }
    }
    assert_eq!(shell.import("/nowhere/chats.jsonl", &[]).await.code, 4);
    let file = shell.file(FILE);
    assert_eq!(shell.run(&["import", &file, "--agent", "Refunds"]).await.code, 4, "without an objective");
    assert_eq!(shell.import(&file, &["--timeout", "1"]).await.code, 4, "without --wait");
    let nobody = ["import", &file, "--agent", "Nobody", "--objective", "Refund"];
    assert_eq!(shell.run(&nobody).await.code, 4);
    assert_eq!(shell.get(&["simulations", "list", "--json"]).await.matches("\"id\"").count(), 0);
}
