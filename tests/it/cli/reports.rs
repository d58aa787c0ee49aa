//! `onerun report`, `onerun compare`, and the filters of `onerun conversations list`.

use onerun_tests::{
    process::{Server, venv},
    sdk::{SdkProject, id},
};
use serde_json::{Value, json};

use super::{CliOutput, Show, run, run_with};

const REFUND: &str = "I have started your refund.";
const NO: &str = "That is your fault.";

/// A server with a project whose two objectives check lines decide.
struct Desk {
    server: Server,
    project: SdkProject,
    objectives: Vec<String>,
}

impl Desk {
    async fn open() -> Self {
        let server = Server::start().await;
        let project = SdkProject::open(server.client()).await;
        let mut objectives = Vec::new();
        for (name, criteria) in [
            ("Starts the refund", "check: agent says /refund/i"),
            ("Blames nobody", "check: agent never says /your fault/i"),
        ] {
            let path = format!("/v1/objectives?project_id={}", project.id);
            let body = json!({ "name": name, "criteria": criteria });
            objectives.push(id(&project.client.post(&path, &body, 200).await));
        }
        Self { server, project, objectives }
    }

    /// A simulation with one conversation for each answer.
    async fn simulate(&self, answers: &[&str], personas_from: Option<&str>) -> String {
        let body = json!({
            "agent_id": self.project.agent,
            "name": if personas_from.is_some() { "Candidate" } else { "Refunds" },
            "scenario": "A customer asks for a refund of a kettle that arrived broken.",
            "target_conversations": answers.len(),
            "target_personas": answers.len(),
            "auto_approve": true,
            "max_turns": 200,
            "objective_ids": self.objectives,
            "personas_from": personas_from,
        });
        let path = format!("/v1/simulations?project_id={}", self.project.id);
        let simulation = id(&self.project.client.post(&path, &body, 200).await);
        for _ in answers {
            let conversation = self.project.conversation(&simulation, "queued").await;
            let path =
                |rest: &str| self.project.path(&simulation, &format!("/conversations/{conversation}{rest}"));
            let seen = self.project.client.get(&path(""), 200).await;
            let number = usize::try_from(seen["seq_id"].as_u64().expect("a number")).unwrap();
            self.project.client.post_empty(&path("/start"), 200).await;
            let said = [json!({ "type": "text", "text": answers[number - 1] })];
            let message = json!({ "input": [{ "type": "message", "content": said }] });
            self.project.client.post(&path("/responses"), &message, 200).await;
            self.project.client.post_empty(&path("/end"), 200).await;
        }
        self.project.reaches(&simulation, "completed").await;
        simulation
    }

    async fn run(&self, arguments: &[&str]) -> CliOutput {
        let arguments = [arguments, &["--project", &self.project.id]].concat();
        run(self.server.base_url(), self.server.key(), &arguments).await
    }

    /// The exit code of `onerun report --exit-code`, and the verdict if there is a report.
    async fn verdict(&self, simulation: &str) -> (i32, Option<String>) {
        let output = self.run(&["report", simulation, "--exit-code", "--format", "json"]).await;
        let report: Option<Value> = serde_json::from_str(&output.stdout).ok();
        (output.code, report.map(|report| report["verdict"].as_str().expect("a verdict").to_owned()))
    }

    /// Executes SQL on the server's database.
    fn sql(&self, script: &str) {
        self.python("db.executescript(sys.argv[2])", script);
    }

    /// The columns of a table that can be written: generated ones cannot.
    fn columns(&self, table: &str) -> String {
        let query = format!("PRAGMA table_info({table})");
        self.python("print(', '.join(row[1] for row in db.execute(sys.argv[2])), end='')", &query)
    }

    /// The output of Python code about the server's database `db`.
    fn python(&self, code: &str, argument: &str) -> String {
        let mut python = venv("python");
        let code = format!("import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); {code}");
        python.args(["-c", &code]).arg(self.server.data().join("onerun.db")).arg(argument);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test]
async fn report_shows_the_verdict_and_the_worst_conversations() {
    let desk = Desk::open().await;
    let simulation = desk.simulate(&[REFUND, NO, REFUND, REFUND], None).await;
    let text = desk.run(&["report", &simulation]).await.exits(0);
    for expected in [
        "Refunds: fail",
        "3 of 4 trials passed (75%)",
        "Starts the refund             3       1",
        "number 2, id ",
        "Starts the refund: failed, because",
        "\"your fault\"",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
    assert!(!text.contains("number 1,"), "{text}");
    assert_eq!(desk.run(&["report", "Refunds"]).await.exits(0), text);
    for columns in [40, 80] {
        let arguments = ["report", &simulation, "--project", &desk.project.id];
        let environment = [("COLUMNS", &*columns.to_string())];
        let text =
            run_with(desk.server.base_url(), desk.server.key(), &arguments, &environment).await.exits(0);
        assert!(text.lines().all(|line| line.chars().count() <= columns), "at {columns}:\n{text}");
    }

    let json = desk.run(&["report", &simulation, "--format", "json"]).await.exits(0);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["verdict"], "fail");
    for (arguments, code) in [
        (["--exit-code"].as_slice(), 1),
        (&["--exit-code", "--min-pass-rate", "0.75"], 0),
        (&["--exit-code", "--min-pass-rate", "0.75", "--on-lower-bound"], 4),
        (&["--min-pass-rate", "0.76"], 0),
    ] {
        desk.run(&[&["report", &simulation], arguments].concat()).await.exits(code);
    }
    for wrong in [["--min-pass-rate", "90%"].as_slice(), &["--on-lower-bound"], &["--format", "pdf"]] {
        assert_eq!(desk.run(&[&["report", &simulation], wrong].concat()).await.code, 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn report_is_written_to_a_file_whole_or_not_at_all() {
    let desk = Desk::open().await;
    let simulation = desk.simulate(&[NO], None).await;
    let directory = tempfile::tempdir().unwrap();
    for (format, start) in [
        ("html", "<!doctype html>"),
        ("junit", "<?xml"),
        ("markdown", "# Refunds: fail"),
        ("json", "{"),
        ("text", "Refunds: fail"),
    ] {
        let file = directory.path().join(format);
        let file = file.to_str().unwrap();
        let output = desk.run(&["report", &simulation, "--format", format, "--output", file]).await;
        assert_eq!((output.code, &*output.stdout, &*output.stderr), (0, "", "Refunds: fail\n"));
        let written = std::fs::read_to_string(file).unwrap();
        assert!(written.starts_with(start) && written.contains("fault"), "{format}: {written}");
    }
    let nowhere = directory.path().join("nothing/report.html");
    let nowhere = nowhere.to_str().unwrap();
    let error = desk.run(&["report", &simulation, "--format", "html", "--output", nowhere]).await.fails(2);
    assert!(error.contains("cannot write"), "{error}");
}

#[tokio::test]
async fn errors_never_exit_like_a_pass() {
    let desk = Desk::open().await;
    let error = desk.run(&["report", "AAAAAAAAAAAAAAAAAAAAA"]).await.fails(1);
    assert!(error.contains("Simulation not found"), "{error}");
    desk.run(&["report", "AAAAAAAAAAAAAAAAAAAAA", "--exit-code"]).await.fails(4);
    desk.run(&["compare", "AAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBB", "--exit-code"]).await.fails(4);
    let arguments = ["report", "A", "--project", &desk.project.id, "--exit-code"];
    run("http://127.0.0.1:1", desk.server.key(), &arguments).await.fails(3);
}

#[tokio::test]
async fn comparison_shows_what_changed() {
    let desk = Desk::open().await;
    let before = desk.simulate(&[REFUND, NO, REFUND, REFUND, REFUND, REFUND, REFUND], None).await;
    let after = desk.simulate(&[NO, REFUND, NO, REFUND, REFUND, REFUND, REFUND], Some(&before)).await;
    let text = desk.run(&["compare", &before, &after]).await.exits(0);
    for expected in
        ["verdict: pass", "fixed", "broken", "number 1: ", "  broken   Starts the refund, Blames nobody"]
    {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
    assert!(text.find("number 3: ") < text.find("number 2: "), "broken ones first: {text}");
    assert_eq!(desk.run(&["compare", "Refunds", "Candidate"]).await.exits(0), text);
    desk.run(&["compare", &before, &after, "--exit-code"]).await.exits(0);
    let json = desk.run(&["compare", &before, &after, "--json"]).await.exits(0);
    let comparison: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&comparison["overall"]["fixed"], &comparison["overall"]["broken"]), (&json!(1), &json!(2)));
    let error = desk.run(&["compare", &before, &before]).await.fails(1);
    assert!(error.contains("itself"), "{error}");
    let other = desk.simulate(&[REFUND], None).await;
    for arguments in [["compare", "Refunds", &after].as_slice(), &["report", "Refunds", "--exit-code"]] {
        let output = desk.run(arguments).await;
        assert!(output.stderr.contains("2 simulations have the name `Refunds`"), "{output:?}");
        assert_eq!(output.code, if arguments.contains(&"--exit-code") { 4 } else { 1 });
    }
    let text = desk.run(&["compare", &before, &other, "--exit-code"]).await;
    assert_eq!(text.code, 4, "{text:?}");
    for columns in [40, 80] {
        let arguments = ["compare", &before, &after, "--project", &desk.project.id];
        let environment = [("COLUMNS", &*columns.to_string())];
        let text =
            run_with(desk.server.base_url(), desk.server.key(), &arguments, &environment).await.exits(0);
        assert!(text.lines().all(|line| line.chars().count() <= columns), "at {columns}:\n{text}");
    }
}

#[tokio::test]
async fn failed_conversations_are_listed_by_objective() {
    let desk = Desk::open().await;
    let simulation = desk.simulate(&[REFUND, "No.", "I refund it, but it is your fault."], None).await;
    let numbers = async |arguments: &[&str]| {
        let arguments =
            [&["conversations", "list", "--simulation", &simulation, "--json"], arguments].concat();
        let page: Value = serde_json::from_str(&desk.run(&arguments).await.exits(0)).unwrap();
        let mut numbers: Vec<u64> =
            page["data"].as_array().unwrap().iter().map(|one| one["seq_id"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let [refund, blame] = &desk.objectives[..] else { panic!("{:?}", desk.objectives) };
    assert_eq!(numbers(&["--failed"]).await, [2, 3]);
    assert_eq!(numbers(&["--failed", "--objective", refund]).await, [2]);
    assert_eq!(numbers(&["--failed", "--objective", blame]).await, [3]);
    assert_eq!(numbers(&["--outcome", "passed", "--objective", blame]).await, [1, 2]);
    assert_eq!(numbers(&["--outcome", "inconclusive", "--objective", blame]).await, [0; 0]);
    for wrong in [["--objective", refund.as_str()].as_slice(), &["--failed", "--outcome", "passed"]] {
        let arguments = [&["conversations", "list", "--simulation", &simulation], wrong].concat();
        assert_eq!(desk.run(&arguments).await.code, 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn running_simulation_is_no_pass_on_the_command_line() {
    let show = Show::open().await;
    let arguments = ["report", show.simulation.as_str(), "--exit-code", "--min-pass-rate", "0.01"];
    let output = show.of_project(&arguments).await;
    assert!([1, 2, 3].contains(&output.code), "{output:?}");
    assert!(output.stdout.contains("is not over"), "{output:?}");
}

#[tokio::test]
async fn no_loss_in_the_database_makes_a_pass() {
    let desk = Desk::open().await;
    let passed = desk.simulate(&[REFUND, REFUND], None).await;
    let failed = desk.simulate(&[REFUND, NO], None).await;
    assert_eq!(desk.verdict(&passed).await, (0, Some("pass".to_owned())));
    assert_eq!(desk.verdict(&failed).await, (1, Some("fail".to_owned())));
    for simulation in [&passed, &failed] {
        let conversation =
            format!("(SELECT id FROM conversations WHERE simulation_id = '{simulation}' AND seq = 2)");
        let objective = &desk.objectives[1];
        for (table, rows) in [
            ("evaluations", format!("conversation_id = {conversation}")),
            ("evaluations", format!("conversation_id = {conversation} AND objective_id = '{objective}'")),
            ("conversations", format!("id = {conversation}")),
            ("conversations", format!("simulation_id = '{simulation}'")),
            ("personas", format!("simulation_id = '{simulation}' AND seq = 2")),
            (
                "simulation_objectives",
                format!("simulation_id = '{simulation}' AND objective_id = '{objective}'"),
            ),
            ("simulation_objectives", format!("simulation_id = '{simulation}'")),
            ("objective_versions", format!("objective_id = '{objective}'")),
            ("objectives", format!("id = '{objective}'")),
            ("all_simulations", format!("id = '{simulation}'")),
        ] {
            let columns = desk.columns(table);
            desk.sql(&format!(
                "CREATE TABLE lost AS SELECT {columns} FROM {table} WHERE {rows}; DELETE FROM {table} WHERE {rows};"
            ));
            let (code, verdict) = desk.verdict(simulation).await;
            assert_ne!((code, verdict.as_deref()), (0, Some("pass")), "without {table} where {rows}");
            assert_ne!(code, 0, "without {table} where {rows}");
            desk.sql(&format!(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM lost; DROP TABLE lost;"
            ));
        }
    }
    assert_eq!(desk.verdict(&passed).await, (0, Some("pass".to_owned())), "all is back");
}
