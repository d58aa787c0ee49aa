//! `onerun monitors`.

use onerun_tests::{eventually, process::Server};
use serde_json::Value;

use super::{CliOutput, joined, run};

/// A server with a project, an agent and an objective, and a shell that knows its address and key.
struct Shell(Server);

impl Shell {
    async fn open() -> Self {
        let shell = Self(Server::start().await);
        shell.get(&["projects", "create", "Order support"]).await;
        shell.get(&["agents", "create", "Refunds"]).await;
        shell.get(&["objectives", "create", "Polite", "--criteria", "check: agent says /refund/i"]).await;
        shell
    }

    async fn run(&self, arguments: &[&str]) -> CliOutput {
        run(self.0.base_url(), self.0.key(), arguments).await
    }

    async fn get(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.exits(0).trim_end().to_owned()
    }

    async fn create(&self, more: &[&str]) -> CliOutput {
        let create = [
            "monitors",
            "create",
            "Mornings",
            "--agent",
            "Refunds",
            "--objective",
            "Polite",
            "--scenario",
            "A kettle is broken.",
            "--personas",
            "2",
        ];
        self.run(&[&create, more].concat()).await
    }
}

#[tokio::test]
async fn monitor_is_created_shown_paused_run_and_deleted() {
    let shell = Shell::open().await;
    let schedule = ["--schedule", "0 9 * * 1-5", "--timezone", "Europe/Berlin", "--min-pass-rate", "0.9"];
    let id = shell.create(&schedule).await.exits(0).trim_end().to_owned();
    let words = "At 09:00, on Monday, Tuesday, Wednesday, Thursday, and Friday (Europe/Berlin)";
    for monitor in [&id, "Mornings"] {
        let shown = joined(&shell.get(&["monitors", "show", monitor]).await);
        assert!(shown.contains(words) && shown.contains("pass rate ≥ 90%"), "{shown}");
        assert_eq!(shown.matches(" UTC").count(), 6, "five next times and the creation: {shown}");
    }
    let listed = shell.get(&["monitors", "list"]).await;
    assert!(listed.contains("Mornings") && listed.contains("active"), "{listed}");

    assert_eq!(shell.get(&["monitors", "pause", "Mornings"]).await, "paused");
    assert!(shell.get(&["monitors", "show", &id]).await.contains("none"));
    let run = shell.get(&["monitors", "run", "Mornings"]).await;
    eventually("run of the monitor", || async {
        let runs: Value =
            serde_json::from_str(&shell.get(&["monitors", "history", &id, "--json"]).await).unwrap();
        let found = &runs["data"][0];
        assert_eq!((&found["id"], &found["trigger"]), (&Value::from(&*run), &Value::from("request")));
        if found["status"] == "in_progress" { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let history = shell.get(&["monitors", "history", &id]).await;
    assert!(history.contains("in_progress") && history.contains("VERDICT"), "{history}");
    assert!(shell.get(&["simulations", "list"]).await.contains("Mornings"));
    let resumed = shell.get(&["monitors", "resume", &id]).await;
    assert!(resumed.starts_with("active, next run ") && resumed.ends_with(" UTC"), "{resumed}");
    assert_eq!(shell.get(&["monitors", "delete", "Mornings"]).await, "deleted");
    let gone = shell.run(&["monitors", "show", &id]).await.fails(1);
    assert!(gone.contains("Monitor not found"), "{gone}");
}

#[tokio::test]
async fn alert_is_shown_with_its_exit_code() {
    let shell = Shell::open().await;
    let alert = ["--expected-pass-rate", "0.9", "--low-pass-rate", "0.7"];
    shell.create(&alert).await.exits(0);
    assert!(shell.get(&["monitors", "show", "Mornings"]).await.contains("drops from 90% to 70%"));
    let shown = shell.get(&["monitors", "alert", "Mornings"]).await;
    assert!(shown.contains("ok") && shown.contains("0.00 of 8.00"), "{shown}");
    let other =
        ["monitors", "alert", "Mornings", "--expected-pass-rate", "0.5", "--low-pass-rate", "0.2", "--json"];
    let other: Value = serde_json::from_str(&shell.get(&other).await).unwrap();
    assert_eq!(other["expected_pass_rate"], 0.5);
    let refused = shell.run(&["monitors", "alert", "Evenings"]).await.fails(4);
    assert!(refused.contains("Evenings"), "{refused}");
    let one = shell.run(&["monitors", "alert", "Mornings", "--low-pass-rate", "0.7"]).await;
    assert_eq!(one.code, 2, "one rate alone");
}

#[tokio::test]
async fn wrong_schedule_is_refused_with_its_reason() {
    let shell = Shell::open().await;
    for (schedule, reason) in [
        ("cron(0 9 * * MON *)", "is ambiguous"),
        ("0 0 31 2 *", "never fires"),
        ("hourly", "must be a rate"),
        ("rate(1 second)", "from 1 minute"),
    ] {
        let refused = shell.create(&["--schedule", schedule]).await.fails(1);
        assert!(joined(&refused).contains(reason), "{schedule}: {refused}");
    }
    let refused =
        shell.create(&["--schedule", "rate(1 day)", "--timezone", "Berlin\u{1b}[2J"]).await.fails(1);
    assert!(joined(&refused).contains("IANA") && !refused.contains('\u{1b}'), "{refused}");
    for alone in [&["--timezone", "Europe/Berlin"][..], &["--schedule", "rate(1 day)", "--lower-bound"]] {
        assert_eq!(shell.create(alone).await.code, 2, "{alone:?}");
    }
    assert_eq!(shell.get(&["monitors", "list", "--json"]).await.matches("\"id\"").count(), 0);
}
