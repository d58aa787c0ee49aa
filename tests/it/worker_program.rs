//! `onerun worker` with real agents: a FastAPI service and Python commands.

use std::{path::Path, process::Command};

use onerun_tests::{
    Client, eventually, http_client,
    process::{Process, Server, onerun, venv, workspace},
};
use serde_json::{Value, json};

use crate::serve::{listening, signal};

const TOKEN: &str = "a-secret-token";

/// A project with an agent and an objective on a real server.
struct Project {
    client: Client,
    id: String,
    agent: String,
    objective: String,
}

impl Project {
    async fn open(server: &Server) -> Self {
        let client = server.client();
        let id = text(&client.post("/v1/projects", &json!({ "name": "Refund desk" }), 200).await, "id");
        let path = |resource: &str| format!("/v1/{resource}?project_id={id}");
        let agent = text(&client.post(&path("agents"), &json!({ "name": "Desk" }), 200).await, "id");
        let objective =
            json!({ "name": "Starts the refund", "criteria": "check: agent says /started your refund/" });
        let objective = text(&client.post(&path("objectives"), &objective, 200).await, "id");
        Self { client, id, agent, objective }
    }

    async fn simulate(&self, conversations: u32) -> String {
        let body = json!({
            "agent_id": self.agent,
            "name": "Refunds",
            "scenario": "A customer asks for a refund of a kettle that arrived broken.",
            "target_conversations": conversations,
            "target_personas": conversations,
            "auto_approve": true,
            "seed": 7,
            "objective_ids": [self.objective],
        });
        text(&self.client.post(&format!("/v1/simulations?project_id={}", self.id), &body, 200).await, "id")
    }

    async fn get(&self, simulation: &str, rest: &str) -> Value {
        self.client.get(&format!("/v1/simulations/{simulation}{rest}?project_id={}", self.id), 200).await
    }

    /// Waits until a simulation has this status.
    async fn reaches(&self, simulation: &str, status: &str) {
        eventually(status, || async {
            let simulation = self.get(simulation, "").await;
            if simulation["status"] == status { Ok(()) } else { Err(simulation.to_string()) }
        })
        .await;
    }

    /// A worker with this target.
    fn worker(&self, target: &Value, more: &[&str]) -> Command {
        let mut command = onerun(&["worker", "--agent", &self.agent, "--target", &target.to_string()]);
        command
            .args(more)
            .env("ONERUN_API_BASE_URL", self.client.base_url())
            .env("ONERUN_API_KEY", self.client.key().unwrap())
            .env("ONERUN_PROJECT", &self.id)
            .env("AGENT_TOKEN", TOKEN);
        command
    }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member}: {value}")).to_owned()
}

/// The sample command with this behaviour.
pub(crate) fn command_agent(behaviour: &[&str]) -> Value {
    let python = venv("python").get_program().to_str().unwrap().to_owned();
    let script = workspace().join("tests/agents/command.py");
    let run = [&[python.as_str(), script.to_str().unwrap()], behaviour].concat();
    json!({ "command": { "run": run, "timeout_seconds": 30 } })
}

/// The sample service, and its address.
async fn service() -> (Process, String) {
    let mut command = venv("python");
    command.arg("tests/agents/endpoint.py");
    let process = Process::spawn(command);
    let address = listening(&process).await;
    (process, address)
}

fn chat_api(address: &str) -> Value {
    json!({ "openai": { "url": format!("{address}/v1"), "model": "m", "system": "Be kind.", "api_key_env": "AGENT_TOKEN" } })
}

#[tokio::test]
async fn worker_holds_a_simulation_with_each_kind_of_target() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let (_service, address) = service().await;
    let endpoint = json!({ "http": {
        "url": format!("{address}/chat"),
        "headers": { "Authorization": "Bearer ${env:AGENT_TOKEN}" },
        "body": { "message": "{{ message }}", "session": "{{ conversation_id }}", "history": "{{ messages }}" },
        "reply": "$.output[0].text",
        "end": "$.done",
    } });
    for target in [chat_api(&address), endpoint, command_agent(&["good"])] {
        let simulation = project.simulate(3).await;
        let mut worker = Process::spawn(project.worker(&target, &["--until", &simulation]));
        let stdout = worker.success().await;
        assert!(stdout.ends_with("held 3 conversations\n"), "{}", worker.report());
        assert_eq!(project.get(&simulation, "").await["status"], "completed", "{target}");
        let results = project.get(&simulation, "/results").await;
        assert_eq!(results["overall"]["passed"], 3, "{target}: {results}");
        assert!(!format!("{stdout}{}", worker.stderr()).contains(TOKEN), "{}", worker.report());
    }
}

#[tokio::test]
async fn command_does_not_receive_the_key() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let simulation = project.simulate(1).await;
    let mut worker = Process::spawn(project.worker(&command_agent(&["good"]), &["--until-idle"]));
    worker.success().await;
    let conversations = project.get(&simulation, "/conversations").await;
    let id = text(&conversations["data"][0], "id");
    let items = project.get(&simulation, &format!("/conversations/{id}/items")).await;
    assert!(items.to_string().contains("Key: none."), "{items}");
    assert!(worker.stderr().contains("the agent starts"), "{}", worker.report());
}

#[tokio::test]
async fn wrong_words_of_an_agent_are_judged() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let simulation = project.simulate(2).await;
    let mut worker = Process::spawn(project.worker(&command_agent(&["bad"]), &["--until", &simulation]));
    worker.success().await;
    let results = project.get(&simulation, "/results").await;
    assert_eq!(
        (&results["overall"]["passed"], &results["overall"]["failed"]),
        (&json!(0), &json!(2)),
        "{results}"
    );
}

#[tokio::test]
async fn agent_that_cannot_reply_is_not_judged() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let (_service, address) = service().await;
    let mut hanging = command_agent(&["hanging"]);
    hanging["command"]["timeout_seconds"] = json!(1);
    let mut stranger = chat_api(&address);
    stranger["openai"]["api_key_env"] = json!("ONERUN_PROJECT");
    let http =
        |path: &str| json!({ "http": { "url": format!("{address}{path}"), "body": {}, "reply": "$.text" } });
    for (target, reason) in [
        (command_agent(&["crashing"]), "exit status: 1); it wrote: "),
        (command_agent(&["garbled"]), "has the wrong form"),
        (hanging, "the agent did not reply within 1 s"),
        (http("/crash"), "status 500 Internal Server Error"),
        (http("/page"), "it is not JSON: <html>welcome</html>"),
        (http("/missing"), "status 404 Not Found"),
        (stranger, "status 401 Unauthorized: {\"detail\":\"not accepted: Bearer [redacted]\"}"),
    ] {
        let simulation = project.simulate(1).await;
        let mut worker = Process::spawn(project.worker(&target, &["--until", &simulation]));
        worker.success().await;
        let results = project.get(&simulation, "/results").await;
        assert_eq!(results["overall"]["evaluated"], 0, "{target}: {results}");
        let page = project.get(&simulation, "/conversations").await;
        let conversation = &page["data"][0];
        assert_eq!(conversation["status"], "failed", "{target}: {conversation}");
        let attempts = conversation["ended_attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 3, "{target}: {conversation}");
        for attempt in attempts {
            let given = text(attempt, "failure_reason");
            assert!(given.contains(reason), "{reason}: {given}");
        }
    }
}

#[tokio::test]
async fn project_and_agent_are_found_by_name() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let simulation = project.simulate(1).await;
    let target = command_agent(&["good"]).to_string();
    let worker = |key: &str, selected: &[&str]| {
        let mut command = onerun(&[&["worker", "--target", &target, "--until-idle"], selected].concat());
        command.env("ONERUN_API_BASE_URL", project.client.base_url()).env("ONERUN_API_KEY", key);
        command
    };
    let key = project.client.key().unwrap();
    let held = |process: &Process| process.stdout().ends_with("held 1 conversation\n");
    let mut by_name = Process::spawn(worker(key, &["--agent", "Desk", "--project", "Refund desk"]));
    by_name.success().await;
    assert!(held(&by_name), "{}", by_name.report());
    project.reaches(&simulation, "completed").await;

    // A worker's key may not list projects, but has only one.
    project.simulate(1).await;
    let new_key = json!({ "name": "worker", "preset": "worker", "project_ids": [project.id] });
    let of_worker = text(&project.client.post("/v1/keys", &new_key, 200).await, "key");
    let mut by_default = Process::spawn(worker(&of_worker, &["--agent", "Desk"]));
    by_default.success().await;
    assert!(held(&by_default), "{}", by_default.report());

    let path = |resource: &str| format!("/v1/{resource}?project_id={}", project.id);
    let twins = [(), ()].map(|()| project.client.post(&path("agents"), &json!({ "name": "Twin" }), 200));
    let [first, second] = twins;
    let (first, second) = (text(&first.await, "id"), text(&second.await, "id"));
    project.client.post("/v1/projects", &json!({ "name": "Another" }), 200).await;
    for (key, selected, expected) in [
        (key, ["--agent", "Twin", "--project", &project.id].as_slice(), format!("{second}, {first}")),
        (key, &["--agent", "desk", "--project", &project.id], "no agent has the name `desk`".to_owned()),
        (
            key,
            &["--agent", "AbCdEfGhIjKl", "--project", &project.id],
            "check --project and --agent".to_owned(),
        ),
        (key, &["--agent", "Desk", "--project", "Nothing"], "no project has the name `Nothing`".to_owned()),
        (key, &["--agent", "Desk"], "the key may access several projects".to_owned()),
        (&of_worker, &["--agent", "Desk", "--project", "Refund desk"], "give its id".to_owned()),
    ] {
        let mut refused = Process::spawn(worker(key, selected));
        let status = refused.exit(std::time::Duration::from_mins(1)).await;
        assert_eq!(status.code(), Some(1), "{}", refused.report());
        assert!(refused.stderr().contains(&expected), "{expected}: {}", refused.report());
    }
}

#[tokio::test]
async fn worker_until_an_unknown_simulation_is_refused() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    for unknown in ["AbCdEfGhIjKlMnOpQrStU", "Refunds\u{202e}"] {
        let mut worker = Process::spawn(project.worker(&command_agent(&["good"]), &["--until", unknown]));
        assert_eq!(
            worker.exit(std::time::Duration::from_mins(1)).await.code(),
            Some(1),
            "{}",
            worker.report()
        );
        let shown = "error: --until: the project has no simulation `";
        assert!(worker.stderr().contains(shown), "{}", worker.report());
        assert!(!worker.stderr().contains('\u{202e}'), "{}", worker.report());
    }
}

#[tokio::test]
async fn sigterm_lets_open_conversations_end() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let simulation = project.simulate(1).await;
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let target = command_agent(&["waiting", pipe.to_str().unwrap()]);
    let mut worker = Process::spawn(project.worker(&target, &[]));
    // Opening the pipe for writing waits until the agent reads it, so its conversation is open.
    let writer =
        tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe).unwrap());
    let writer = writer.await.unwrap();
    signal(worker.pid(), "TERM");
    eventually("note that the worker stops", || async {
        if worker.stderr().contains("stopping") { Ok(()) } else { Err(worker.report()) }
    })
    .await;
    drop(writer);
    let stdout = worker.success().await;
    assert!(stdout.ends_with("held 1 conversation\n"), "{}", worker.report());
    project.reaches(&simulation, "completed").await;
}

#[tokio::test]
async fn rotated_key_reaches_a_worker_without_a_restart() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let new_key = json!({ "name": "worker", "preset": "worker", "project_ids": [project.id] });
    let create = || async {
        let key = project.client.post("/v1/keys", &new_key, 200).await;
        (text(&key, "id"), text(&key, "key"))
    };
    let (first, secret) = create().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    replace(&file, &secret);
    let options = ["--key-file", file.to_str().unwrap(), "--metrics-address", "127.0.0.1:0"];
    let mut command = project.worker(&command_agent(&["good"]), &options);
    command.env_remove("ONERUN_API_KEY");
    let mut worker = Process::spawn(command);
    let metrics = eventually("address of the metrics", || async {
        let stdout = worker.stdout();
        let url = stdout.lines().find_map(|line| line.strip_prefix("metrics on "));
        url.map(str::to_owned).ok_or_else(|| worker.report())
    })
    .await;

    let before = project.simulate(1).await;
    project.reaches(&before, "completed").await;
    project.client.post_empty(&format!("/v1/keys/{first}/revoke"), 200).await;
    let (_, secret) = create().await;
    replace(&file, &secret);
    let after = project.simulate(1).await;
    project.reaches(&after, "completed").await;

    let fetch = async |url: &str| http_client().get(url).send().await.unwrap().text().await.unwrap();
    let figures = fetch(&metrics).await;
    assert!(figures.contains("\nonerun_worker_conversations_held_total 2\n"), "{figures}");
    assert!(figures.ends_with("# EOF\n"), "{figures}");
    let health: Value = serde_json::from_str(&fetch(&metrics.replace("/metrics", "/health")).await).unwrap();
    assert_eq!(health, json!({ "status": "healthy", "open_conversations": 0 }));
    assert!(worker.terminate().await.success(), "{}", worker.report());
    assert!(!format!("{}{}", worker.stdout(), worker.stderr()).contains(&secret), "{}", worker.report());
}

/// Replaces a file in one step.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn wrong_option_is_refused_with_the_next_step() {
    let server = Server::start().await;
    let project = Project::open(&server).await;
    let chat = chat_api("http://127.0.0.1:1");
    for (target, more, expected) in [
        (json!("x"), vec![], "error: --target: cannot read \"x\"; write a description such as"),
        (json!({ "command": [] }), vec![], "must start with a program"),
        (
            json!({ "openai": { "url": "http://a", "model": "m", "api_key_env": "NO_KEY" } }),
            vec![],
            "error: --target: openai.api_key_env: the environment variable NO_KEY is not set",
        ),
        (chat.clone(), vec!["--key-file", "/no/file"], "error: --key-file /no/file: No such file"),
        (
            chat.clone(),
            vec!["--metrics-address", "192.0.2.1:1"],
            "error: --metrics-address: cannot listen on 192.0.2.1:1",
        ),
    ] {
        let mut worker = Process::spawn(project.worker(&target, &more));
        let status = worker.exit(std::time::Duration::from_mins(1)).await;
        assert_eq!(status.code(), Some(1), "{}", worker.report());
        assert!(worker.stderr().contains(expected), "{expected}: {}", worker.report());
    }
    let mut command = project.worker(&chat, &[]);
    command.env("ONERUN_API_KEY", "wrong");
    let mut worker = Process::spawn(command);
    assert_eq!(worker.exit(std::time::Duration::from_mins(1)).await.code(), Some(1), "{}", worker.report());
    assert!(worker.stderr().contains("error: set ONERUN_API_KEY to a valid key"), "{}", worker.report());
}

#[test]
fn examples_use_options_that_exist() {
    let help = onerun(&["worker", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let compose: Value = yaml_serde::from_str(&example("compose.yaml")).unwrap();
    let command = compose["services"]["worker"]["command"].as_array().unwrap();
    let unit = example("onerun-worker.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words = command.iter().map(|word| word.as_str().unwrap()).chain(start.split(' '));
    let options: Vec<&str> =
        words.filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap()).collect();
    assert!(options.len() >= 9, "{options:?}");
    for option in options {
        assert!(help.contains(&format!("{option} ")), "{option} is not in {help}");
    }
    // Open conversations must have the time to end that the worker gives them.
    assert!(help.contains("[default: 30]") && unit.contains("\nTimeoutStopSec=45\n"));
    assert_eq!(compose["services"]["worker"]["stop_grace_period"], "45s");
}

/// Only where systemd is installed.
#[test]
fn systemd_accepts_the_unit() {
    let program = onerun(&[]).get_program().to_str().unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("onerun-worker.service");
    let unit = example("onerun-worker.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/onerun "));
    std::fs::write(&file, unit.replace("/usr/local/bin/onerun", &program)).unwrap();
    let Ok(verified) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output()
    else {
        return;
    };
    // An unknown setting is only a warning.
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && complaints.is_empty(), "{complaints}");
}

fn example(name: &str) -> String {
    std::fs::read_to_string(workspace().join("examples/worker").join(name)).unwrap()
}
