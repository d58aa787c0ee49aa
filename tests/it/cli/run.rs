//! `onerun run` with real agents: its verdicts, exit codes and reports.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use onerun_tests::{
    eventually,
    process::{Process, Server, onerun, venv, workspace},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::joined;
use crate::serve::{listening, signal};

/// How long a run may take.
const LIMIT: Duration = Duration::from_mins(2);

/// A directory with the file of a run.
struct Run {
    directory: TempDir,
    file: Value,
}

impl Run {
    /// A run of two conversations with this target.
    fn of(target: &Value) -> Self {
        let file = json!({
            "name": "Desk",
            "agent": { "target": target },
            "scenarios": { "kettle": "A customer asks for a refund of a kettle that arrived broken." },
            "objectives": {
                "starts-refund": "check: agent says /started your refund/",
                "promises-nothing": { "name": "Promises nothing", "criteria": "check: agent never says /promise/" },
            },
            "conversations": 2,
            "max_turns": 6,
            "seed": 7,
        });
        Self { directory: tempfile::tempdir().unwrap(), file }
    }

    fn with(mut self, member: &str, value: Value) -> Self {
        self.file[member] = value;
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.read("report.json")).unwrap()
    }

    /// `onerun run` in the directory.
    fn command(&self, more: &[&str]) -> Command {
        fs::write(self.path("onerun.yaml"), self.file.to_string()).unwrap();
        let mut command = onerun(&[&["run"], more].concat());
        command.current_dir(self.directory.path());
        command
    }

    /// Runs the file, and checks the exit code of its verdict.
    async fn ends(&self, code: i32, more: &[&str]) -> Output {
        ends(self.command(more), code).await
    }
}

struct Output {
    stdout: String,
    stderr: String,
}

async fn ends(command: Command, code: i32) -> Output {
    let mut process = Process::spawn(command);
    let status = process.exit(LIMIT).await;
    assert_eq!(status.code(), Some(code), "{}", process.report());
    Output { stdout: process.stdout(), stderr: process.stderr() }
}

/// The sample command with this behaviour.
fn command_agent(behaviour: &str) -> Value {
    let python = venv("python").get_program().to_str().unwrap().to_owned();
    let script = workspace().join("tests/agents/command.py").canonicalize().unwrap();
    json!({ "command": { "run": [python, script, behaviour], "timeout_seconds": limit(behaviour) } })
}

/// How long an agent may take for a reply, in seconds. Nothing waits for it but the hanging agent.
fn limit(behaviour: &str) -> u32 {
    if behaviour == "hanging" { 1 } else { 60 }
}

/// The behaviours of agents, each with the exit code and the verdict of its run.
const BEHAVIOURS: [(&str, i32, &str); 6] = [
    ("good", 0, "pass"),
    ("slow", 0, "pass"),
    ("bad", 1, "fail"),
    ("lying", 1, "fail"),
    ("crashing", 3, "infra"),
    ("hanging", 3, "infra"),
];

async fn every_behaviour_gets_its_verdict(target: impl Fn(&str) -> Value) {
    for (behaviour, code, verdict) in BEHAVIOURS {
        let run = Run::of(&target(behaviour));
        let output = run.ends(code, &["--json", "report.json", "--junit", "report.xml"]).await;
        let last = output.stdout.lines().last().unwrap();
        assert_eq!(last, format!("Desk: {}", verdict.to_uppercase()), "{behaviour}: {}", output.stdout);
        let report = run.report();
        assert_eq!(report["verdict"], verdict, "{behaviour}: {report}");
        assert_eq!(report["planned"]["trials"], 2, "{behaviour}: {report}");
        let counted = match verdict {
            "pass" => "passed",
            "fail" => "failed",
            _ => "infra",
        };
        assert_eq!(report["counts"][counted], 2, "{behaviour}: {report}");
        assert_eq!(report["complete"], verdict != "infra", "{behaviour}: {report}");
        let junit = run.read("report.xml");
        assert_eq!(junit.contains("<failure"), verdict == "fail", "{behaviour}: {junit}");
        assert_eq!(junit.contains("<error"), verdict == "infra", "{behaviour}: {junit}");
    }
}

#[tokio::test]
async fn each_command_agent_gets_its_verdict() {
    every_behaviour_gets_its_verdict(command_agent).await;
}

/// The sample service, and its address.
async fn service() -> (Process, String) {
    let mut command = venv("python");
    command.arg("tests/agents/endpoint.py");
    let process = Process::spawn(command);
    let address = listening(&process).await;
    (process, address)
}

#[tokio::test]
async fn each_chat_api_gets_its_verdict() {
    let (_service, address) = service().await;
    every_behaviour_gets_its_verdict(|behaviour| {
        json!({ "openai": {
            "url": format!("{address}/{behaviour}/v1"), "model": "m", "timeout_seconds": limit(behaviour),
        } })
    })
    .await;
}

#[tokio::test]
async fn each_http_endpoint_gets_its_verdict() {
    let (_service, address) = service().await;
    every_behaviour_gets_its_verdict(|behaviour| {
        json!({ "http": {
            "url": format!("{address}/{behaviour}/chat"),
            "body": { "message": "{{ message }}", "session": "{{ conversation_id }}", "history": "{{ messages }}" },
            "reply": "$.output[0].text",
            "timeout_seconds": limit(behaviour),
        } })
    })
    .await;
}

/// A run against a server elsewhere.
fn on(server: &Server, mut command: Command, project: Option<&str>) -> Command {
    command.env("ONERUN_API_BASE_URL", server.base_url()).env("ONERUN_API_KEY", server.key());
    command.envs(project.map(|project| ("ONERUN_PROJECT", project)));
    command
}

async fn project(server: &Server) -> String {
    let project = server.client().post("/v1/projects", &json!({ "name": "CI" }), 200).await;
    project["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn workers_elsewhere_get_the_verdicts_of_their_agents() {
    let server = Server::start().await;
    let project = project(&server).await;
    for (behaviour, code, verdict) in BEHAVIOURS {
        let run = Run::of(&json!("workers")).with("name", format!("Desk {behaviour}").into());
        let run_process = Process::spawn(on(&server, run.command(&["--json", "report.json"]), None));
        let agent = eventually("the agent's id", || async {
            let stderr = run_process.stderr();
            let id =
                stderr.split_once("held by workers of agent ").and_then(|(_, rest)| rest.split_once(' '));
            id.map(|(id, _)| id.to_owned()).ok_or_else(|| run_process.report())
        })
        .await;
        let target = command_agent(behaviour).to_string();
        let worker = onerun(&["worker", "--agent", &agent, "--target", &target]);
        let _worker = Process::spawn(on(&server, worker, Some(&project)));
        let mut run_process = run_process;
        let status = run_process.exit(LIMIT).await;
        assert_eq!(status.code(), Some(code), "{behaviour}: {}", run_process.report());
        assert_eq!(run.report()["verdict"], verdict, "{behaviour}");
    }
}

#[tokio::test]
async fn run_on_a_server_reuses_its_agents_and_objectives() {
    let server = Server::start().await;
    let project = project(&server).await;
    let list = async |resource: &str| {
        let page = server.client().get(&format!("/v1/{resource}?project_id={project}"), 200).await;
        page["data"].as_array().unwrap().clone()
    };
    let run = Run::of(&command_agent("good"));
    for _ in 0..2 {
        ends(on(&server, run.command(&["--metadata", "commit=c0ffee"]), None), 0).await;
    }
    assert_eq!((list("agents").await.len(), list("objectives").await.len()), (1, 2));
    let simulations = list("simulations").await;
    assert_eq!(simulations.len(), 2);
    assert_eq!(simulations[0]["metadata"], json!({ "case": "kettle", "commit": "c0ffee" }));
    assert_eq!(simulations[0]["name"], "Desk: kettle");

    // Changed criteria are a new version, and changed descriptions a new description.
    let objectives = json!({ "starts-refund": "check: agent says /refund/", "promises-nothing": "check: agent replies <= 9" });
    let mut run = run.with("objectives", objectives);
    run.file["agent"]["description"] = "A desk.".into();
    ends(on(&server, run.command(&[]), None), 0).await;
    assert_eq!((list("agents").await.len(), list("objectives").await.len()), (1, 2));
    assert!(list("objectives").await.iter().all(|objective| objective["version"] == 2));
    assert_eq!(list("agents").await[0]["description"], "A desk.");
}

#[tokio::test]
async fn run_serves_its_own_simulations_only() {
    let server = Server::start().await;
    let project = project(&server).await;
    let run = Run::of(&command_agent("good"));
    ends(on(&server, run.command(&[]), None), 0).await;
    let path = |resource: &str| format!("/v1/{resource}?project_id={project}");
    let agents = server.client().get(&path("agents"), 200).await;
    let other = json!({
        "agent_id": agents["data"][0]["id"], "name": "Other", "scenario": "A customer asks for a refund.",
        "target_conversations": 2, "target_personas": 2, "auto_approve": true,
    });
    let other = server.client().post(&path("simulations"), &other, 200).await;
    ends(on(&server, run.command(&[]), None), 0).await;
    let id = other["id"].as_str().unwrap();
    let seen = server.client().get(&path(&format!("simulations/{id}/conversations")), 200).await;
    for conversation in seen["data"].as_array().unwrap() {
        assert_eq!(conversation["status"], "queued", "{conversation}");
    }
}

#[tokio::test]
async fn candidates_meet_the_same_personas() {
    let agents = json!({
        "current": { "target": command_agent("good") },
        "candidate": { "target": command_agent("bad") },
    });
    let gates = json!([{ "no_regression": { "against": { "agent": "current" } } }]);
    let mut run = Run::of(&Value::Null).with("agents", agents).with("gates", gates);
    run.file.as_object_mut().unwrap().remove("agent");
    let output = run.ends(1, &["--json", "report.json"]).await;
    assert!(joined(&output.stdout).contains("kettle@candidate"), "{}", output.stdout);
    let report = run.report();
    let keys = |case: usize| -> Vec<&Value> {
        report["cases"][case]["trials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|trial| &trial["persona_key"])
            .collect()
    };
    assert!(keys(0) == keys(1) && keys(0)[0] != keys(0)[1], "{report}");
}

#[tokio::test]
async fn personas_of_the_file_meet_every_agent() {
    let server = Server::start().await;
    let project = project(&server).await;
    let agents = json!({ "current": { "target": command_agent("good") }, "candidate": { "target": command_agent("good") } });
    let personas = json!([
        { "summary": "Ada, who counts.", "purpose": "To get the money back.", "story": "Order #A-10427 is late.",
            "attributes": { "age_group": "senior", "speech_style": "\"few\" words" } },
        { "summary": "Bo.", "purpose": "To send it back." },
        { "summary": "\u{202e}Cy.", "purpose": "To complain." },
    ]);
    let mut run = Run::of(&Value::Null)
        .with("agents", agents)
        .with("personas", personas.clone())
        .with("models", json!({ "persona": "offline" }));
    for member in ["agent", "conversations"] {
        run.file.as_object_mut().unwrap().remove(member);
    }
    let output = ends(on(&server, run.command(&["--dry-run"]), None), 0).await;
    assert!(output.stdout.contains("2 cases, 6 conversations"), "{}", output.stdout);
    assert!(output.stdout.contains("3 (given)"), "{}", output.stdout);
    ends(on(&server, run.command(&["--json", "report.json"]), None), 0).await;
    assert_eq!(run.report()["planned"]["trials"], 6);
    let list = async |path: &str| {
        let page = server.client().get(&format!("/v1/{path}?project_id={project}"), 200).await;
        page["data"].as_array().unwrap().clone()
    };
    let simulations = list("simulations").await;
    assert_eq!(simulations.len(), 2);
    for simulation in simulations {
        let id = simulation["id"].as_str().unwrap();
        let mut shown = list(&format!("simulations/{id}/personas")).await;
        shown.sort_by_key(|persona| persona["seq_id"].as_u64());
        assert_eq!(shown.len(), 3);
        for (shown, written) in shown.iter().zip(personas.as_array().unwrap()) {
            let names = ["summary", "purpose"];
            assert!(names.iter().all(|name| shown[name] == written[name]), "{shown}");
        }
        assert_eq!(shown[0]["attributes"]["speech_style"], "\"few\" words");
        assert_eq!(shown[1]["attributes"]["age_group"], "adult");
    }
}

#[tokio::test]
async fn personas_of_the_file_cost_nothing_to_generate() {
    let estimate = async |personas: Value| {
        let run = Run::of(&command_agent("good")).with("personas", personas);
        let mut command = run.command(&["--dry-run"]);
        command.env("ONERUN_MODEL", "openai:gpt-4o-mini").env("OPENAI_API_KEY", "none");
        let output = ends(command, 0).await;
        let calls = output.stdout.split_once("about ").and_then(|(_, rest)| rest.split_once(" calls"));
        calls.unwrap_or_else(|| panic!("{}", output.stdout)).0.parse::<u32>().unwrap()
    };
    let one = json!({ "summary": "Ada.", "purpose": "To ask." });
    assert_eq!(estimate(json!(2)).await, estimate(json!([one, one])).await + 2);
}

#[tokio::test]
async fn wrong_command_line_file_or_key_is_config() {
    let run = Run::of(&command_agent("good"));
    for (more, expected) in [
        (["no-such-file.yaml"].as_slice(), "cannot read no-such-file.yaml"),
        (&["--no-such-option"], "unexpected argument"),
        (&["--update-baseline"], "--update-baseline: name the file"),
        (&["--baseline", "b.json"], "no gate compares with it"),
        (&["--json", "-", "--html", "-"], "only one report"),
        (&["--junit", "no/such/report.xml"], "--junit: the directory no/such does not exist"),
        (&["--metadata", "commit"], "write NAME=VALUE"),
    ] {
        let output = run.ends(4, more).await;
        assert!(output.stderr.contains(expected), "{more:?}: {}", output.stderr);
        assert_eq!(output.stdout, "");
    }
    let output = run.ends(4, &["--project", "AbCdEfGhIjKl"]).await;
    assert!(joined(&output.stdout).contains("--project names a project on a server"), "{}", output.stdout);
    let server = Server::start().await;
    let output = ends(on(&server, run.command(&[]), None), 4).await;
    assert!(joined(&output.stdout).contains("there is no project yet"), "{}", output.stdout);
    let mut command = run.command(&[]);
    command.env("ONERUN_API_BASE_URL", server.base_url());
    assert!(joined(&ends(command, 4).await.stdout).contains("no API key: set ONERUN_API_KEY"));
    let mut command = run.command(&[]);
    command.env("ONERUN_API_BASE_URL", server.base_url()).env("ONERUN_API_KEY", "wrong");
    assert!(joined(&ends(command, 4).await.stdout).contains("set ONERUN_API_KEY to a valid key"));
    let mut command = run.command(&["--json", "report.json"]);
    command.env("ONERUN_API_BASE_URL", "http://127.0.0.1:1").env("ONERUN_API_KEY", "key");
    assert!(joined(&ends(command, 3).await.stdout).contains("is the server running"));
    assert_eq!(run.report()["verdict"], "infra");
}

#[tokio::test]
async fn every_problem_of_a_file_is_reported_with_its_place() {
    let run = Run::of(&command_agent("good"));
    let wrong = "name: Desk\nagent: {target: {command: [./agent]}}\nscenarios:\n  kettle:\n    text: A kettle.\n    \
        personas: 20\n    objectives: [starts-refund, polite]\nobjectives: {starts-refund: 'check: agent says /refund/'}\n";
    fs::write(run.path("wrong.yaml"), wrong).unwrap();
    let output = run.ends(4, &["wrong.yaml"]).await;
    assert_eq!(
        output.stderr,
        "config: wrong.yaml:7:33: there is no objective `polite` in `objectives`\n  \
         \x20   objectives: [starts-refund, polite]\n                                  ^\n\
         wrong.yaml: scenarios.kettle: 20 personas cannot share 10 conversations: use fewer `personas`, or \
         raise `conversations`\n"
    );
    for (gates, expected) in [
        (json!([{ "pass_rate": { "min": 2 } }]), "the minimum must be above 0 and at most 1"),
        (json!([{ "pass_rate": { "of": { "objective": "x" }, "min": 1 } }]), "no case has the objective `x`"),
        (json!([{ "pass_rate": { "on": "lower_bound", "min": 0.9 } }]), "plan at least 35 trials"),
        (json!([{ "pass_power": { "k": 3, "min": 0.9 } }]), "k is 3, but each persona"),
        (json!([{ "no_regression": { "against": "baseline" } }]), "there is no baseline"),
        (json!([{ "no_regression": { "against": { "agent": "agent" } } }]), "no agent has a gate"),
    ] {
        let output = Run::of(&command_agent("good")).with("gates", gates).ends(4, &[]).await;
        assert!(output.stderr.contains(expected), "{expected}: {}", output.stderr);
    }
}

#[tokio::test]
async fn dry_run_shows_the_plan_and_creates_nothing() {
    let server = Server::start().await;
    let project = project(&server).await;
    let run = Run::of(&command_agent("good"));
    for command in [run.command(&["--dry-run"]), on(&server, run.command(&["--dry-run"]), None)] {
        let output = ends(command, 0).await;
        for expected in
            ["Desk: 1 case, 2 conversations", "every conversation must pass", "no calls to language models"]
        {
            assert!(output.stdout.contains(expected), "{expected}: {}", output.stdout);
        }
    }
    let agents = server.client().get(&format!("/v1/agents?project_id={project}"), 200).await;
    assert_eq!(agents["data"], json!([]));
}

#[tokio::test]
async fn baseline_fails_only_on_what_it_passed() {
    let gates = json!([{ "no_regression": { "against": "baseline" } }]);
    let run = Run::of(&command_agent("good")).with("gates", gates).with("baseline", "baseline.json".into());
    let output = run.ends(4, &[]).await;
    assert!(output.stderr.contains("--no-baseline --json report.json"), "{}", output.stderr);

    run.ends(0, &["--no-baseline", "--json", "report.json"]).await;
    let approve = |report: &str| {
        let mut command = onerun(&["baseline", "approve", report, "--output", "baseline.json"]);
        command.current_dir(run.directory.path());
        command
    };
    let output = ends(approve("report.json"), 0).await;
    assert!(
        output.stdout.contains("baseline.json is the baseline now: 1 case, 2 conversations"),
        "{}",
        output.stdout
    );
    run.ends(0, &[]).await;
    let baseline = run.read("baseline.json");
    let bad = Run { directory: run.directory, file: run.file }
        .with("agent", json!({ "target": command_agent("bad") }));
    let output = bad.ends(1, &["--update-baseline", "--json", "bad.json"]).await;
    assert!(joined(&output.stdout).contains("no longer pass"), "{}", output.stdout);
    assert!(output.stderr.contains("stays the baseline"), "{}", output.stderr);
    assert_eq!(bad.read("baseline.json"), baseline);

    let good = bad.with("agent", json!({ "target": command_agent("good") }));
    fs::remove_file(good.path("report.json")).unwrap();
    let output = good.ends(0, &["--update-baseline"]).await;
    assert!(output.stderr.contains("is the baseline baseline.json now"), "{}", output.stderr);
    assert_ne!(good.read("baseline.json"), baseline, "another time, at least");
}

#[tokio::test]
async fn shortened_baseline_or_file_never_passes() {
    let gates = json!([{ "no_regression": { "against": "baseline" } }]);
    let scenarios = json!({
        "kettle": "A customer asks for a refund of a kettle that arrived broken.",
        "parcel": "A customer asks for a refund of a parcel that is late.",
    });
    let mut run = Run::of(&command_agent("good"))
        .with("gates", gates)
        .with("baseline", "baseline.json".into())
        .with("scenarios", scenarios);
    run.ends(0, &["--no-baseline", "--json", "baseline.json"]).await;
    run.ends(0, &["--json", "report.json"]).await;
    let whole: Value = serde_json::from_str(&run.read("baseline.json")).unwrap();
    let shorten: [fn(&mut Value); 8] = [
        |report| drop(report["cases"].as_array_mut().unwrap().pop()),
        |report| report["cases"] = json!([]),
        |report| drop(report["cases"][0]["trials"].as_array_mut().unwrap().pop()),
        |report| drop(report["cases"][1]["trials"][0]["evaluations"].as_array_mut().unwrap().pop()),
        |report| drop(report["cases"][0]["objectives"].as_array_mut().unwrap().pop()),
        |report| report["complete"] = json!(false),
        |report| report["verdict"] = json!("config"),
        |report| drop(report.as_object_mut().unwrap().remove("counts")),
    ];
    for (place, shorten) in shorten.into_iter().enumerate() {
        let mut report = whole.clone();
        shorten(&mut report);
        fs::write(run.path("baseline.json"), report.to_string()).unwrap();
        let output = run.ends(4, &[]).await;
        assert!(output.stderr.starts_with("config: "), "{place}: {}", output.stderr);
        let mut command = onerun(&["baseline", "approve", "baseline.json", "--output", "other.json"]);
        command.current_dir(run.directory.path());
        let output = ends(command, 4).await;
        assert!(!run.path("other.json").exists(), "{place}: {}", output.stderr);
    }
    fs::write(run.path("baseline.json"), whole.to_string()).unwrap();
    // Cases, objectives and trials of the baseline must be planned.
    for shorten in [
        (|file: &mut Value| drop(file["scenarios"].as_object_mut().unwrap().remove("parcel")))
            as fn(&mut Value),
        |file| drop(file["objectives"].as_object_mut().unwrap().remove("starts-refund")),
        |file| file["conversations"] = json!(1),
    ] {
        let file = run.file.clone();
        shorten(&mut run.file);
        run.ends(4, &[]).await;
        run.file = file;
    }
    run.ends(0, &[]).await;
}

#[tokio::test]
async fn interruption_cancels_and_still_reports() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut target = command_agent("waiting");
    target["command"]["run"].as_array_mut().unwrap().push(pipe.to_str().unwrap().into());
    let server = Server::start().await;
    let project = project(&server).await;
    let run = Run::of(&target);
    let mut process = Process::spawn(on(&server, run.command(&["--json", "report.json"]), None));
    // Opening the pipe for writing waits until an agent reads it, so a conversation is open.
    let open = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(pipe).unwrap());
    let _writer = open.await.unwrap();
    signal(process.pid(), "INT");
    let status = process.exit(LIMIT).await;
    assert_eq!(status.code(), Some(3), "{}", process.report());
    assert!(process.stdout().contains("the run was interrupted"), "{}", process.report());
    let report = run.report();
    assert_eq!((&report["verdict"], &report["complete"]), (&json!("infra"), &json!(false)), "{report}");
    let simulations = server.client().get(&format!("/v1/simulations?project_id={project}"), 200).await;
    assert_eq!(simulations["data"][0]["status"], "canceled", "{simulations}");
}

#[tokio::test]
async fn github_shows_annotations_and_obeys_no_agent() {
    let run = Run::of(&command_agent("lying"));
    let mut command = run.command(&[]);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", run.path("summary.md"));
    let output = ends(command, 1).await;
    let (first, rest) = output.stdout.split_once('\n').unwrap();
    let token = first.strip_prefix("::stop-commands::").unwrap();
    let (shown, annotations) = rest.split_once(&format!("::{token}::\n")).unwrap();
    assert!(shown.contains("Desk: FAIL"), "{shown}");
    let lines: Vec<&str> = annotations.lines().collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line.starts_with("::error title=")), "{annotations}");
    assert!(run.read("summary.md").contains("Promises nothing"), "{}", run.read("summary.md"));
}

#[tokio::test]
async fn texts_of_a_lying_agent_are_escaped_in_every_report() {
    let run = Run::of(&command_agent("lying"))
        .with("objectives", json!({ "x": "check: agent never says /[\\s\\S]+/" }));
    let reports = ["--markdown", "report.md", "--html", "report.html", "--junit", "report.xml"];
    let output = run.ends(1, &reports).await;
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }
    assert!(
        run.read("report.html").starts_with("<!DOCTYPE html>")
            || run.read("report.html").starts_with("<!doctype html>")
    );
    assert!(!run.read("report.html").contains("<script>alert"));
    assert!(!run.read("report.xml").contains('\u{1b}'));
}

#[tokio::test]
async fn one_report_can_go_to_standard_output() {
    let run = Run::of(&command_agent("bad"));
    let output = run.ends(1, &["--json", "-", "--quiet"]).await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "fail");
    assert!(output.stderr.ends_with("Desk: FAIL\n"), "{}", output.stderr);
}

#[tokio::test]
async fn prose_without_a_model_is_inconclusive() {
    let run = Run::of(&command_agent("good")).with("objectives", json!({ "kind": "The agent is kind." }));
    let output = run.ends(2, &[]).await;
    assert!(joined(&output.stdout).contains("ONERUN_MODEL=provider:model"), "{}", output.stdout);
}

#[tokio::test]
async fn example_of_init_runs_and_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let in_directory = |arguments: &[&str]| {
        let mut command = onerun(arguments);
        let python = venv("python");
        let path = Path::new(python.get_program()).parent().unwrap().to_str().unwrap().to_owned();
        command.current_dir(directory.path()).env("PATH", path);
        command
    };
    let output = ends(in_directory(&["init", "desk", "--ci", "github"]), 0).await;
    assert!(joined(&output.stdout).contains("wrote desk/.github/workflows/onerun.yml"), "{}", output.stdout);
    let output = ends(in_directory(&["run", "desk/onerun.yaml"]), 0).await;
    assert!(output.stdout.ends_with("Support desk: PASS\n"), "{}", output.stdout);
    fs::write(directory.path().join("desk/agent.py"), "mine").unwrap();
    fs::remove_file(directory.path().join("desk/onerun.yaml")).unwrap();
    let output = ends(in_directory(&["init", "desk"]), 1).await;
    assert!(output.stderr.contains("exists already"), "{}", output.stderr);
    assert!(!directory.path().join("desk/onerun.yaml").exists());
    assert_eq!(fs::read_to_string(directory.path().join("desk/agent.py")).unwrap(), "mine");
}

#[tokio::test]
async fn schema_and_program_agree_on_files() {
    let run = Run::of(&command_agent("good"));
    let schema = ends(onerun(&["schema"]), 0).await.stdout;
    fs::write(run.path("schema.json"), schema).unwrap();
    let mut check = venv("python");
    check.arg("tests/checks/schema.py").arg(run.path("schema.json"));
    let mut expected = Vec::new();
    for example in
        ["examples/command", "examples/http", "examples/openai", "examples/workers", "cli/src/init"]
    {
        check.arg(format!("{example}/onerun.yaml"));
        expected.push("valid");
    }
    let persona = json!({ "summary": "Ada.", "purpose": "To ask." });
    let with = |member: &str, value: Value| {
        let mut persona = persona.clone();
        persona[member] = value;
        json!([persona])
    };
    for (number, (member, value)) in [
        ("personas", json!(2)),
        ("personas", json!([persona])),
        ("personas", with("attributes", json!({ "age_group": "teen", "habits": "" }))),
        ("personas", with("attributes", json!({ "age_group": "old" }))),
        ("personas", with("attributes", json!({ "mood": "x" }))),
        ("personas", with("purpose", json!(""))),
        ("personas", with("story", "x".repeat(4_001).into())),
        ("personas", with("storry", "x".into())),
        ("personas", json!([])),
        ("personas", json!(0)),
        ("personas", json!("many")),
        ("conversations", json!(10_001)),
        ("max_turns", json!(201)),
        ("seed", json!(-1)),
        ("scenarios", json!({ "A b": "A kettle." })),
        ("agent", json!({ "target": { "workers": {} } })),
        ("agent", json!({ "target": "command" })),
        ("agent", json!({ "target": { "command": [] } })),
        ("agent", json!({ "target": { "command": { "run": ["a"], "timeout_seconds": 601 } } })),
        ("agent", json!({ "target": { "openai": { "url": "http://localhost" } } })),
    ]
    .into_iter()
    .enumerate()
    {
        let mut file = run.file.clone();
        file[member] = value.clone();
        let path = run.path(&format!("{number}.json"));
        fs::write(&path, file.to_string()).unwrap();
        check.arg(&path);
        let accepts = number < 3;
        expected.push(if accepts { "valid" } else { "invalid" });
        let mut command = onerun(&["run", "--dry-run"]);
        command.arg(path);
        let mut process = Process::spawn(command);
        let code = process.exit(LIMIT).await.code();
        assert_eq!(code, Some(if accepts { 0 } else { 4 }), "{member}: {value}: {}", process.report());
    }
    let output = check.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let found: Vec<&str> = shown.lines().collect();
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// `onerun run` with an example, where `python3` is that of the tests.
fn example(kind: &str) -> Command {
    let mut command = onerun(&["run", &format!("examples/{kind}/onerun.yaml")]);
    let python = venv("python");
    let path = Path::new(python.get_program()).parent().unwrap().to_str().unwrap().to_owned();
    command.current_dir(workspace()).env("PATH", path);
    command
}

#[tokio::test]
async fn examples_that_call_an_agent_pass() {
    ends(example("command"), 0).await;
    let mut service = venv("python");
    service.args(["examples/openai/service.py", "0"]);
    let service = Process::spawn(service);
    let address = listening(&service).await;
    for kind in ["openai", "http"] {
        let mut command = example(kind);
        command.env("AGENT_URL", &address);
        let output = ends(command, 0).await;
        assert!(output.stdout.ends_with(": PASS\n"), "{}", output.stdout);
    }
    let output = ends(example("http"), 4).await;
    assert!(output.stderr.contains("AGENT_URL is not set"), "{}", output.stderr);
}

#[tokio::test]
async fn example_with_workers_passes() {
    let server = Server::start().await;
    let project = project(&server).await;
    let mut run = Process::spawn(on(&server, example("workers"), None));
    let agent = eventually("the agent's id", || async {
        let stderr = run.stderr();
        let id = stderr.split_once("held by workers of agent ").and_then(|(_, rest)| rest.split_once(' '));
        id.map(|(id, _)| id.to_owned()).ok_or_else(|| run.report())
    })
    .await;
    let python = venv("python").get_program().to_str().unwrap().to_owned();
    let target = json!({ "command": [python, "agent.py"] }).to_string();
    let mut worker = onerun(&["worker", "--agent", &agent, "--target", &target]);
    worker.current_dir(workspace().join("examples/command"));
    let _worker = Process::spawn(on(&server, worker, Some(&project)));
    run.success().await;
}
