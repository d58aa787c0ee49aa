//! Commands that create, show, await and change resources.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use onerun_tests::{
    eventually,
    process::{Process, Server, onerun},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{CliOutput, joined, run};
use crate::worker_program::command_agent;

const PERSONAS: &str = r#"[
    {"summary": "Ada Lovelace, 36.", "purpose": "To get the money back.", "story": "The kettle of order #A-10427 is broken."},
    {"summary": "Bo, a student.", "purpose": "To get a new kettle.", "attributes": {"age_group": "young_adult"}}
]"#;

/// A server, and a shell that knows its address and key.
struct Shell(Server);

impl Shell {
    async fn open() -> Self {
        Self(Server::start().await)
    }

    async fn run(&self, arguments: &[&str]) -> CliOutput {
        run(self.0.base_url(), self.0.key(), arguments).await
    }

    /// The output of a command that succeeds, without the line break at its end.
    async fn get(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.exits(0).trim_end().to_owned()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.get(&[arguments, &["--json"]].concat()).await).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = onerun(arguments);
        command.env("ONERUN_API_BASE_URL", self.0.base_url()).env("ONERUN_API_KEY", self.0.key());
        command
    }

    /// Runs a command with this standard input.
    async fn run_with_input(&self, arguments: &[&str], input: &'static str) -> CliOutput {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // A command that is refused may end without having read.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        });
        let output = output.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        CliOutput {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// A project with an agent, and a simulation of it that waits for the approval of two personas.
    async fn simulate(&self) -> String {
        self.get(&["projects", "create", "Order support"]).await;
        self.get(&["agents", "create", "Refunds"]).await;
        let create = [
            "simulations",
            "create",
            "By hand",
            "--agent",
            "Refunds",
            "--scenario",
            "A kettle is broken.",
            "--personas-file",
            "-",
        ];
        let simulation = self.run_with_input(&create, PERSONAS).await.exits(0).trim_end().to_owned();
        eventually("personas", || async {
            let personas = self.json(&["personas", "list", &simulation]).await;
            if personas["data"].as_array().unwrap().len() == 2 { Ok(()) } else { Err(personas.to_string()) }
        })
        .await;
        simulation
    }
}

#[tokio::test]
async fn a_shell_goes_from_nothing_to_results() {
    let shell = Shell::open().await;
    let project = shell.get(&["projects", "create", "Order support"]).await;
    assert_eq!(shell.get(&["projects", "create", "Order support", "--unless-exists"]).await, project);
    let agent = shell.get(&["agents", "create", "Refunds", "--description", "Refunds orders."]).await;
    let criteria = "check: agent says /started your refund/\n";
    let create = ["objectives", "create", "Starts the refund", "--criteria-file", "-"];
    let objective = shell.run_with_input(&create, criteria).await.exits(0).trim_end().to_owned();
    let scenario = "A customer asks for a refund of a kettle that arrived broken.";
    let simulation = shell
        .get(&[
            "simulations",
            "create",
            "Nightly",
            "--agent",
            "Refunds",
            "--objective",
            "Starts the refund",
            "--scenario",
            scenario,
            "--personas",
            "2",
            "--conversations",
            "3",
            "--auto-approve",
            "--seed",
            "7",
        ])
        .await;
    let target = command_agent(&["good"]).to_string();
    let worker = ["worker", "--agent", "Refunds", "--target", &target, "--until", &simulation];
    let mut worker = Process::spawn(shell.command(&worker));

    let waited = shell.run(&["simulations", "wait", "Nightly"]).await;
    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(waited.stdout.contains("status    completed"), "{waited:?}");
    assert!(joined(&waited.stdout).contains("Starts the refund 3 0 0 100%"), "{waited:?}");
    worker.success().await;
    let again = shell.get(&["simulations", "wait", &simulation, "--json", "--quiet"]).await;
    assert_eq!(again, shell.get(&["simulations", "show", "Nightly", "--json"]).await);
    assert_eq!(shell.get(&["conversations", "list", "--simulation", "Nightly"]).await.lines().count(), 4);

    for (arguments, expected) in [
        (["projects", "get", "Order support"], vec![project.as_str(), "Order support"]),
        (["agents", "get", "Refunds"], vec![agent.as_str(), "Refunds orders.", "polled"]),
        (["agents", "show", &agent], vec![agent.as_str(), "Refunds"]),
        (
            ["objectives", "get", "Starts the refund"],
            vec![objective.as_str(), "version   1", criteria.trim_end()],
        ),
        (["agents", "list", "--all"], vec![agent.as_str(), "Refunds orders."]),
        (["objectives", "list", "--all"], vec![objective.as_str(), "Starts the refund", criteria.trim_end()]),
    ] {
        let shown = shell.get(&arguments).await;
        for expected in expected {
            assert!(shown.contains(expected), "{arguments:?}: {expected:?} in {shown}");
        }
    }
    let shown = shell.json(&["objectives", "get", &objective]).await;
    assert_eq!(
        (&shown["name"], &shown["criteria"]),
        (&json!("Starts the refund"), &json!(criteria.trim_end()))
    );
    let created =
        shell.json(&["objectives", "create", "Polite", "--criteria", "check: agent replies <= 4"]).await;
    assert_eq!(created["version"], 1);
}

#[tokio::test]
async fn written_personas_are_approved_and_the_simulation_canceled() {
    let shell = Shell::open().await;
    let simulation = shell.simulate().await;
    let waited = shell.run(&["simulations", "wait", "By hand", "--timeout", "1"]).await;
    assert_eq!((waited.code, waited.stdout.as_str()), (2, ""), "{waited:?}");
    let last = waited.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: the simulation is not over after 1 s: "), "{waited:?}");
    assert!(last.contains("waits for approval of 2 personas"), "{waited:?}");

    // The personas of one simulation are a file for another one, whose personas need no approval.
    let list = shell.get(&["personas", "list", &simulation, "--json"]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("personas.json");
    std::fs::write(&file, list).unwrap();
    let copy = [
        "simulations",
        "create",
        "Again",
        "--agent",
        "Refunds",
        "--scenario",
        "A kettle is broken.",
        "--personas-file",
        file.to_str().unwrap(),
        "--conversations",
        "4",
    ];
    let copied = shell.json(&copy).await;
    assert_eq!((&copied["target_personas"], &copied["target_conversations"]), (&json!(2), &json!(4)));

    assert_eq!(shell.get(&["simulations", "approve", "By hand"]).await, "approved 2 personas");
    assert_eq!(shell.get(&["simulations", "approve", &simulation]).await, "approved 0 personas");
    for _ in 0..2 {
        assert_eq!(shell.get(&["simulations", "cancel", "By hand"]).await, "canceled");
    }
    let waited = shell.run(&["simulations", "wait", "By hand"]).await;
    assert_eq!((waited.code, waited.stderr.as_str()), (2, ""), "{waited:?}");
    assert!(waited.stdout.contains("status    canceled"), "{waited:?}");
}

#[tokio::test]
async fn simulation_is_deleted_after_its_cancel_and_a_yes() {
    let shell = Shell::open().await;
    let simulation = shell.simulate().await;
    let delete = ["simulations", "delete", "By hand"];
    let stderr = shell.run(&delete).await.fails(2);
    assert!(stderr.contains("pass `--yes`"), "{stderr}");
    let confirmed = ["simulations", "delete", "By hand", "--yes"];
    let stderr = shell.run(&confirmed).await.fails(1);
    assert!(stderr.contains("cancel it, and then delete it"), "{stderr}");
    assert_eq!(shell.get(&["simulations", "cancel", &simulation]).await, "canceled");
    assert_eq!(shell.get(&confirmed).await, "deleted");
    for arguments in [["simulations", "show", &simulation], ["simulations", "cancel", "By hand"]] {
        shell.run(&arguments).await.fails(1);
    }
    let listed = shell.json(&["simulations", "list"]).await;
    assert_eq!(listed["data"], json!([]));
}

#[tokio::test]
async fn wait_exits_by_how_the_simulation_ended() {
    let shell = Shell::open().await;
    shell.simulate().await;
    let (url, key) = (shell.0.base_url(), shell.0.key());
    let stderr = shell.run(&["simulations", "wait", "Nobody"]).await.fails(4);
    assert!(stderr.contains("no simulation has the name `Nobody`"), "{stderr}");
    let stderr = run(url, "nonsense", &["simulations", "wait", "By hand"]).await.fails(4);
    assert!(stderr.contains("invalid_api_key"), "{stderr}");
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away_url = format!("http://{}", away.local_addr().unwrap());
    drop(away);
    let stderr = run(&away_url, key, &["simulations", "wait", "By hand"]).await.fails(3);
    assert!(stderr.contains("is it running"), "{stderr}");

    let client = shell.0.client();
    let project = shell.json(&["projects", "get", "Order support"]).await;
    let agent = shell.json(&["agents", "get", "Refunds"]).await;
    let body = json!({
        "agent_id": agent["id"], "name": "Short", "scenario": "A kettle is broken.", "target_conversations": 1,
        "target_personas": 1, "expires_in_seconds": 1,
    });
    let path = format!("/v1/simulations?project_id={}", project["id"].as_str().unwrap());
    client.post(&path, &body, 200).await;
    let waited = shell.run(&["simulations", "wait", "Short", "--quiet"]).await;
    assert_eq!((waited.code, waited.stderr.as_str()), (3, ""), "{waited:?}");
    assert!(waited.stdout.contains("status    expired"), "{waited:?}");
}

#[tokio::test]
async fn name_of_several_resources_is_refused_with_their_ids() {
    let shell = Shell::open().await;
    shell.simulate().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(shell.get(&["agents", "create", "Twin"]).await);
    }
    for arguments in [["agents", "get", "Twin"].as_slice(), &["agents", "create", "Twin", "--unless-exists"]]
    {
        let stderr = shell.run(arguments).await.fails(1);
        assert!(stderr.contains("2 agents have the name `Twin`"), "{stderr}");
        assert!(ids.iter().all(|id| stderr.contains(id)), "{stderr}");
    }
    for group in ["projects", "agents", "objectives"] {
        let stderr = shell.run(&[group, "get", "Nobody\u{202e}"]).await.fails(1);
        assert!(stderr.contains("has the name `Nobody\\u{202E}`"), "{stderr}");
        let stderr = shell.run(&[group, "get", "AbCdEfGhIjKl"]).await.fails(1);
        assert!(stderr.contains("_not_found"), "{stderr}");
    }
}

#[tokio::test]
async fn file_that_cannot_be_used_is_refused_by_option() {
    let shell = Shell::open().await;
    shell.simulate().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (large, binary) = (file("large", &vec![b'x'; 70_000]), file("binary", b"\xff"));
    let missing = directory.path().join("missing").to_str().unwrap().to_owned();
    for (path, words) in
        [(&large, "has more than 65536 bytes"), (&binary, "is not UTF-8 text"), (&missing, "cannot read")]
    {
        let stderr = shell.run(&["objectives", "create", "Polite", "--criteria-file", path]).await.fails(2);
        assert!(stderr.starts_with("error: --criteria-file: ") && stderr.contains(words), "{stderr}");
    }
    let typo = file("typo.json", br#"[{"summary": "Ada.", "purpose": "To ask.", "storry": "x"}]"#);
    let create = ["simulations", "create", "S", "--agent", "Refunds", "--scenario", "A kettle is broken."];
    let stderr = shell.run(&[&create[..], &["--personas-file", &typo]].concat()).await.fails(2);
    assert!(stderr.contains("--personas-file: persona 1: `storry` is none of the fields"), "{stderr}");
    // The errors of the API name the field.
    let old = file(
        "old.json",
        br#"[{"summary": "Ada.", "purpose": "To ask.", "attributes": {"age_group": "old"}}]"#,
    );
    let stderr = shell.run(&[&create[..], &["--personas-file", &old]].concat()).await.fails(1);
    assert!(stderr.contains("personas/0/attributes/age_group"), "{stderr}");
    let wrong = shell.run(&create).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("--personas-file"), "{wrong:?}");
    let simulations = shell.json(&["simulations", "list"]).await;
    assert_eq!(simulations["data"].as_array().unwrap().len(), 1, "nothing was created");
}
