//! `onerun keys audit --verify` on an audit trail that was changed in the database.

use onerun_tests::process::{Process, Server, venv};
use serde_json::Value;

use super::{CliOutput, keys};

/// Runs SQL on the database of a stopped server, after removing the triggers that protect the
/// trail.
pub(super) const SQL: &str = r"
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
for (name,) in database.execute('SELECT name FROM sqlite_master WHERE type = \'trigger\'').fetchall():
    database.execute(f'DROP TRIGGER {name}')
database.executescript(sys.argv[2])
database.commit()
";

struct Trail {
    server: Server,
}

impl Trail {
    /// A trail of five entries.
    async fn open() -> Self {
        let trail = Self { server: Server::start().await };
        let create = ["create", "ci of shop", "--preset", "worker", "--all-projects"];
        let key = trail.keys(&create).exits(0);
        let id = &key[4..16];
        for arguments in [["disable", id].as_slice(), &["enable", id], &["update", id, "--name", "ci"]] {
            trail.keys(arguments).exits(0);
        }
        trail.keys(&["revoke", id, "--yes"]).exits(0);
        trail
    }

    fn keys(&self, arguments: &[&str]) -> CliOutput {
        let environment =
            [("ONERUN_API_BASE_URL", self.server.base_url()), ("ONERUN_API_KEY", self.server.key())];
        keys(arguments, &environment, "")
    }

    fn verify(&self, anchors: &[&str]) -> CliOutput {
        let mut arguments = vec!["audit", "--verify"];
        arguments.extend(anchors.iter().flat_map(|anchor| ["--anchor", anchor]));
        self.keys(&arguments)
    }

    /// Changes the database directly.
    async fn tamper(&mut self, sql: &str) {
        self.server.terminate().await;
        let mut command = venv("python");
        command.args(["-c", SQL]).arg(self.server.data().join("onerun.db")).arg(sql);
        Process::spawn(command).success().await;
        self.server.restart().await;
    }
}

#[tokio::test]
async fn intact_trail_verifies_and_its_head_is_found() {
    let mut trail = Trail { server: Server::start().await };
    let empty = trail.verify(&[]).exits(0);
    assert_eq!(empty, format!("0:{}\n", "0".repeat(64)));
    trail = Trail::open().await;
    let head = trail.verify(&[]).exits(0);
    assert!(head.starts_with("5:") && head.len() == 67, "{head}");

    // Finds an earlier anchor in a longer trail.
    let create = ["create", "other", "--preset", "worker", "--all-projects"];
    trail.keys(&create).exits(0);
    let later = trail.verify(&[head.trim(), empty.trim()]).exits(0);
    assert!(later.starts_with("6:"), "{later}");
    let found: Value = serde_json::from_str(&trail.keys(&["audit", "--verify", "--json"]).exits(0)).unwrap();
    assert_eq!((&found["valid"], &found["entries"]), (&true.into(), &6.into()), "{found}");
    let listed = trail.keys(&["audit", "--oldest"]).exits(0);
    let actions: Vec<&str> =
        listed.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    let expected = ["create_key", "disable_key", "enable_key", "update_key", "revoke_key", "create_key"];
    assert_eq!(actions, expected, "{listed}");
}

#[tokio::test]
async fn verify_states_what_only_an_anchor_detects() {
    let trail = Trail::open().await;
    let output = trail.verify(&[]);
    assert!(
        output.stderr.contains("can rewrite entries and hashes; only an anchor detects that"),
        "{output:?}"
    );
    let head = output.exits(0);
    let output = trail.verify(&[head.trim()]);
    assert!(output.stderr.contains("Entries up to 5 match the anchor"), "{output:?}");
    output.exits(0);
    let help = trail.keys(&["audit", "--help"]).exits(0);
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("Only `--anchor` detects that"), "{help}");
}

#[tokio::test]
async fn edited_entry_is_found() {
    let mut trail = Trail::open().await;
    trail
        .tamper("UPDATE audit SET body = replace(body, 'ci of shop', 'ci of ship') WHERE sequence = 1")
        .await;
    let stderr = trail.verify(&[]).fails(1);
    assert!(stderr.contains("from entry 1 on: entry 1 was changed"), "{stderr}");
    let output = trail.keys(&["audit", "--verify", "--json"]);
    let found: Value = serde_json::from_str(&output.exits(1)).unwrap();
    assert_eq!((&found["valid"], &found["first_wrong"]), (&false.into(), &1.into()), "{found}");
}

#[tokio::test]
async fn removed_entry_is_found() {
    let mut trail = Trail::open().await;
    trail.tamper("DELETE FROM audit WHERE sequence = 3").await;
    let stderr = trail.verify(&[]).fails(1);
    assert!(stderr.contains("from entry 3 on"), "{stderr}");
}

#[tokio::test]
async fn reordered_entries_are_found() {
    let mut trail = Trail::open().await;
    let sql = "CREATE TEMP TABLE moved AS SELECT sequence, body FROM audit WHERE sequence IN (2, 3);
        UPDATE audit SET body = (SELECT body FROM moved WHERE moved.sequence = 5 - audit.sequence)
        WHERE sequence IN (2, 3);";
    trail.tamper(sql).await;
    let stderr = trail.verify(&[]).fails(1);
    assert!(stderr.contains("from entry 2 on"), "{stderr}");
}

#[tokio::test]
async fn truncated_trail_is_found_with_an_anchor() {
    let mut trail = Trail::open().await;
    let head = trail.verify(&[]).exits(0);
    trail.tamper("DELETE FROM audit WHERE sequence > 3").await;
    assert!(trail.verify(&[]).exits(0).starts_with("3:"), "what is left is whole");
    let stderr = trail.verify(&[head.trim()]).fails(1);
    assert!(stderr.contains("there is an anchor for entry 5, but the trail ends at entry 3"), "{stderr}");

    // In a trail that grew again, the entry with that number differs.
    for _ in 0..3 {
        trail.keys(&["create", "a", "--preset", "worker", "--all-projects"]).exits(0);
    }
    assert!(trail.verify(&[]).exits(0).starts_with("6:"));
    let stderr = trail.verify(&[head.trim()]).fails(1);
    assert!(stderr.contains("from entry 5 on: it differs from `--anchor`"), "{stderr}");
}
