//! `onerun projects`, `agents`, `objectives`, `simulations`, `personas`, `conversations` and `keys attention`.

use std::process::Output;

use onerun_tests::{
    eventually,
    process::{Process, Server, onerun, venv},
    sdk::{SdkProject, SimulationFields, id, text},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

mod attempts;
mod batches;
mod export;
mod hostile;
mod imports;
mod junit;
mod models;
mod monitors;
mod reports;
mod resources;
mod run;
mod tables;

/// Overrides the direction of writing. The API keeps it in messages, where it may be right.
const TURNED: char = '\u{202e}';

/// The exit code and output of a command.
#[derive(Debug)]
struct CliOutput {
    code: i32,
    stdout: String,
    stderr: String,
}

impl CliOutput {
    #[track_caller]
    fn exits(self, code: i32) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (code, ""), "{self:?}");
        self.stdout
    }

    /// The error, which is one line.
    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.lines().count() == 1, "{self:?}");
        self.stderr
    }
}

/// Runs `onerun` with these arguments against this server.
async fn run(url: &str, key: &str, arguments: &[&str]) -> CliOutput {
    run_with(url, key, arguments, &[]).await
}

/// [`run`] with more environment variables.
async fn run_with(url: &str, key: &str, arguments: &[&str], environment: &[(&str, &str)]) -> CliOutput {
    let mut command = onerun(arguments);
    command.env("ONERUN_API_BASE_URL", url).env("ONERUN_API_KEY", key).envs(environment.iter().copied());
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CliOutput { code: status.code().expect("not killed"), stdout: text(stdout), stderr: text(stderr) }
}

/// A server with a simulation of two conversations, one of which was held.
struct Show {
    server: Server,
    project: SdkProject,
    simulation: String,
    held: String,
}

impl Show {
    async fn open() -> Self {
        let server = Server::start().await;
        let project = SdkProject::open(server.client()).await;
        let wanted =
            SimulationFields { name: "Refunds", conversations: 2, personas: 2, expires_in_seconds: None };
        let simulation = project.simulate(wanted).await;
        let held = project.conversation(&simulation, "queued").await;
        let show = Self { server, project, simulation, held };
        show.post("start", None).await;
        show.post("responses", None).await;
        show.post("responses", Some(&format!("It is your fault,{TURNED} and there is no money."))).await;
        show.post("end", None).await;
        eventually("evaluations", || async {
            let seen = show.project.client.get(&show.path(""), 200).await;
            if seen["evaluation_status"] == "completed" { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        show
    }

    /// The path of something of the conversation that was held.
    fn path(&self, rest: &str) -> String {
        self.project.path(&self.simulation, &format!("/conversations/{}{rest}", self.held))
    }

    async fn post(&self, what: &str, says: Option<&str>) {
        let path = self.path(&format!("/{what}"));
        if what == "responses" {
            let message =
                says.map(|text| json!([{"type": "message", "content": [{"type": "text", "text": text}]}]));
            self.project.client.post(&path, &json!({ "input": message }), 200).await;
        } else {
            self.project.client.post_empty(&path, 200).await;
        }
    }

    async fn run(&self, arguments: &[&str]) -> CliOutput {
        run(self.server.base_url(), self.server.key(), arguments).await
    }

    /// [`run`](Self::run) of something in the project.
    async fn of_project(&self, arguments: &[&str]) -> CliOutput {
        self.run(&[arguments, &["--project", &self.project.id]].concat()).await
    }

    /// [`run`](Self::run) of conversations of the simulation.
    async fn of_simulation(&self, arguments: &[&str]) -> CliOutput {
        let arguments = [&["conversations"], arguments, &["--simulation", &self.simulation]].concat();
        self.of_project(&arguments).await
    }

    async fn raw(&self, path: &str) -> String {
        self.project.client.send(Method::GET, path, None, 200).await.text
    }

    /// The answer of the API, with the character escaped that a terminal would obey.
    async fn escaped(&self, path: &str) -> String {
        self.raw(path).await.replace(TURNED, r"\u202e")
    }
}

/// The row of a table that starts with `id`.
#[track_caller]
fn row<'a>(table: &'a str, id: &str) -> &'a str {
    table.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("no {id} in {table}"))
}

#[tokio::test]
async fn simulations_and_conversations_are_listed_and_shown() {
    let show = Show::open().await;
    let projects = show.run(&["projects", "list"]).await.exits(0);
    assert!(row(&projects, &show.project.id).contains("  Refund desk  20"), "{projects}");

    let listed = show.of_project(&["simulations", "list"]).await.exits(0);
    let expected = "  Refunds  in_progress  1 of 2  0% (0-79%)    20";
    assert!(row(&listed, &show.simulation).contains(expected), "{listed}");
    let none = show.of_project(&["simulations", "list", "--status", "completed"]).await.exits(0);
    assert_eq!(none.lines().count(), 1, "headings alone: {none}");

    let shown = show.of_project(&["simulations", "show", &show.simulation]).await.exits(0);
    for expected in [
        "name      Refunds\n",
        "status    in_progress\n",
        "scenario  A customer asks for a refund of a kettle that arrived broken.\n",
        "agent     Desk\n",
        "models    scripted personas (offline); to configure a language model, start the server with \
         ONERUN_MODEL=provider:model (docs/models.md)\n",
        "ended     1 of 2, 1 queued\n",
        "judged    1 of 2\n",
        "\nStarts the refund                  0       1        0       0% (0-79%)\n",
        "\nBlames nobody                      0       1        0       0% (0-79%)\n",
        "\nEach conversation as a whole       0       1        0       0% (0-79%)\n",
        "Conversations ended by the persona: 0, by the agent: 1, by the limit of 7 messages: 0.",
    ] {
        assert!(joined(&shown).contains(&joined(expected)), "{expected:?} in {shown}");
    }

    let listed = show.of_simulation(&["list"]).await.exits(0);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(row(&listed, &show.held).contains("  ended "), "{listed}");
    assert!(row(&listed, &show.held).contains("  2 failed  "), "{listed}");
    let ended = show.of_simulation(&["list", "--status", "ended"]).await.exits(0);
    assert_eq!(ended.lines().count(), 2, "{ended}");

    let conversation = show.project.client.get(&show.path(""), 200).await;
    let items = show.project.client.get(&show.path("/items"), 200).await;
    let shown = show.of_simulation(&["show", &show.held]).await.exits(0);
    assert!(!shown.contains(TURNED), "{shown:?}");
    let shown = joined(&shown);
    let persona = &conversation["persona"];
    for expected in ["summary", "story", "purpose"].map(|member| text(persona, member)) {
        assert!(shown.contains(&joined(&expected)), "{expected:?} in {shown}");
    }
    let opening = text(&items["data"][0]["content"][0], "text");
    for expected in [
        "status ended (agent decided)".to_owned(),
        format!(" persona {opening} agent It is your fault,\\u{{202E}} and there is no money."),
        " result Blames nobody: failed, score 0.00, judged by checks, because".to_owned(),
        " quote \"your fault\"".to_owned(),
        " result Starts the refund: failed, ".to_owned(),
    ] {
        assert!(shown.contains(&joined(&expected)), "{expected:?} in {shown}");
    }
    let shown = show.of_simulation(&["show", &show.held, "--attempt", "2"]).await.exits(0);
    assert!(shown.contains("There are no messages."), "{shown}");
}

/// A text as one line.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn json_output_is_the_reply_with_hidden_characters_escaped() {
    let show = Show::open().await;
    let (project, simulation) = (&show.project.id, &show.simulation);
    let simulations = format!("/v1/simulations?project_id={project}&limit=100");
    let conversations = show.project.path(simulation, "/conversations") + "&limit=100";
    for (arguments, path) in [
        (vec!["simulations", "list"], simulations.clone()),
        (vec!["simulations", "list", "--all"], simulations.clone()),
        (vec!["simulations", "list", "--status", "failed"], format!("{simulations}&status=failed")),
        (vec!["conversations", "list", "--simulation", simulation], conversations.clone()),
        (vec!["conversations", "list", "--simulation", simulation, "--all"], conversations.clone()),
        (
            vec!["conversations", "list", "--simulation", simulation, "--limit", "1", "--offset", "1"],
            show.project.path(simulation, "/conversations") + "&limit=1&offset=1",
        ),
    ] {
        let printed = show.of_project(&[arguments.as_slice(), &["--json"]].concat()).await.exits(0);
        assert_eq!(printed, format!("{}\n", show.escaped(&path).await), "{arguments:?}");
    }
    for arguments in [["projects", "list", "--json"].as_slice(), &["projects", "list", "--all", "--json"]] {
        let printed = show.run(arguments).await.exits(0);
        assert_eq!(printed, format!("{}\n", show.escaped("/v1/projects").await));
    }

    let printed = show.of_project(&["simulations", "show", simulation, "--json"]).await.exits(0);
    let (one, results) = (
        show.escaped(&show.project.path(simulation, "")).await,
        show.escaped(&show.project.path(simulation, "/results")).await,
    );
    assert_eq!(printed, format!("{{\"simulation\":{one},\"results\":{results}}}\n"));
    let printed = show.of_simulation(&["show", &show.held, "--json"]).await.exits(0);
    let (one, items) = (show.escaped(&show.path("")).await, show.escaped(&show.path("/items")).await);
    assert_eq!(printed, format!("{{\"conversation\":{one},\"items\":{items}}}\n"));
    assert!(printed.contains(r"fault,\u202e and") && show.raw(&show.path("/items")).await.contains(TURNED));
    let read: Value = serde_json::from_str(&printed).unwrap();
    assert!(text(&read["items"]["data"][1]["content"][0], "text").contains(TURNED));
}

#[tokio::test]
async fn all_reads_lists_to_their_end() {
    let server = Server::start().await;
    for number in 0..101 {
        server.client().post("/v1/projects", &json!({"name": format!("Shop {number}")}), 200).await;
    }
    let ask = async |more: &[&str]| {
        run(server.base_url(), server.key(), &[&["projects", "list"], more].concat()).await
    };
    let output = ask(&["--limit", "5", "--offset", "10"]).await;
    let (_, hint) =
        output.stderr.split_once("`--all`, or `--cursor ").unwrap_or_else(|| panic!("{output:?}"));
    let next = ask(&["--limit", "5", "--cursor", hint.trim_end().trim_end_matches("`.")]).await.stdout;
    assert_eq!(next, ask(&["--limit", "5", "--offset", "15"]).await.stdout);
    assert_eq!((output.code, output.stdout.lines().count()), (0, 6));
    assert_eq!(ask(&["--all"]).await.exits(0).lines().count(), 102);
    let page: Value = serde_json::from_str(&ask(&["--all", "--json"]).await.exits(0)).unwrap();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (101, &json!(false)));
}

#[tokio::test]
async fn missing_resources_exit_with_1_and_bad_usage_with_2() {
    let show = Show::open().await;
    let (url, key) = (show.server.base_url(), show.server.key());
    let (project, simulation) = (show.project.id.as_str(), show.simulation.as_str());
    let worker = show.project.with_key_of("worker").await;
    let worker = worker.client.key().unwrap();
    let elsewhere = "AbCdEfGhIjKlMnOpQrStU";
    for (key, arguments, reported) in [
        (key, ["simulations", "list", "--project", "AbCdEfGhIjKl"].as_slice(), "project_not_found"),
        (key, &["simulations", "show", elsewhere, "--project", project], "simulation_not_found"),
        (
            key,
            &["conversations", "list", "--simulation", elsewhere, "--project", project],
            "simulation_not_found",
        ),
        (
            key,
            &["conversations", "show", elsewhere, "--simulation", simulation, "--project", project],
            "conversation_not_found",
        ),
        (worker, &["projects", "list"], "insufficient_scope"),
        (worker, &["keys", "attention"], "insufficient_scope"),
        ("nonsense", &["projects", "list"], "invalid_api_key"),
    ] {
        let stderr = run(url, key, arguments).await.fails(1);
        assert!(stderr.contains(reported), "{arguments:?}: {stderr}");
    }
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away_url = format!("http://{}", away.local_addr().unwrap());
    drop(away);
    for arguments in [
        ["projects", "list"].as_slice(),
        &["simulations", "list", "--project", project],
        &["simulations", "show", simulation, "--project", project],
        &["conversations", "list", "--simulation", simulation, "--project", project],
        &["conversations", "show", &show.held, "--simulation", simulation, "--project", project],
        &["keys", "attention"],
    ] {
        let stderr = run(&away_url, key, &[arguments, &["--json"]].concat()).await.fails(2);
        assert!(stderr.contains("no answer") && stderr.contains("is it running"), "{stderr}");
        let stderr = run(url, " ", arguments).await.fails(2);
        assert!(stderr.contains("set ONERUN_API_KEY"), "{stderr}");
    }
    let wrong = run(url, key, &["simulations", "show", "--project", project]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{wrong:?}");
    assert!(wrong.stderr.contains("<SIMULATION_ID>"), "{wrong:?}");
    for group in ["projects", "agents", "objectives", "simulations", "personas", "conversations"] {
        let help = run(url, key, &[group, "--help"]).await.exits(0);
        for expected in ["Exit codes:", "ONERUN_API_BASE_URL", "ONERUN_API_KEY"] {
            assert!(help.contains(expected), "{help}");
        }
    }
}

#[tokio::test]
async fn project_is_selected_by_id_name_or_default() {
    let show = Show::open().await;
    let (url, key, id) = (show.server.base_url(), show.server.key(), show.project.id.as_str());
    let name = show.project.client.get(&format!("/v1/projects/{id}"), 200).await;
    let name = name["name"].as_str().unwrap();
    let list = ["simulations", "list"];
    let expected = run(url, key, &[&list[..], &["--project", id]].concat()).await.exits(0);
    assert!(expected.contains(&show.simulation), "{expected}");
    let ask = async |variable: &str| run_with(url, key, &list, &[("ONERUN_PROJECT", variable)]).await;
    // An empty variable counts as unset, and there is only one project.
    for variable in [id, name, ""] {
        assert_eq!(ask(variable).await.exits(0), expected, "{variable}");
    }

    // Names of the form of an id: an id counts before a name.
    let create = async |name: &str| {
        let made = show.project.client.post("/v1/projects", &json!({ "name": name }), 200).await;
        made["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (create("OrderSupport").await, create(id).await);
    assert_eq!(ask(id).await.exits(0), expected);
    assert_eq!(ask("OrderSupport").await.exits(0).lines().count(), 1, "only headings");
    let third = create("OrderSupport").await;
    let refused = ask("OrderSupport").await.fails(1);
    assert!(refused.contains("2 projects have the name `OrderSupport`"), "{refused}");
    assert!(refused.contains(&first) && refused.contains(&third) && !refused.contains(&second), "{refused}");
    let refused = ask("Nobody\u{202e}").await.fails(1);
    assert!(
        refused.contains("no project has the name `Nobody") && !refused.contains('\u{202e}'),
        "{refused}"
    );
    let refused = ask(" ").await.fails(1);
    assert!(refused.contains("give one with --project or ONERUN_PROJECT"), "{refused}");
}

#[tokio::test]
async fn different_names_look_different() {
    let server = Server::start().await;
    let names = ["Shop", "Sh\u{200b}op", "Shop\u{2060}", "Sho\u{ad}p", "\u{feff}Shop"];
    for name in names {
        server.client().post("/v1/projects", &json!({ "name": name }), 200).await;
    }
    let listed = run(server.base_url(), server.key(), &["projects", "list"]).await.exits(0);
    assert!(listed.is_ascii(), "{listed}");
    let shown: std::collections::BTreeSet<&str> =
        listed.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(shown.len(), names.len(), "{listed}");
    assert!(shown.contains(r"Sh\u{200B}op"), "{listed}");
}

#[tokio::test]
async fn the_shown_command_approves_waiting_personas() {
    let server = Server::start().await;
    let project = SdkProject::open(server.client()).await;
    let body = json!({
        "agent_id": project.agent, "name": "Slow", "scenario": "A customer asks for a refund.",
        "target_conversations": 4, "target_personas": 4,
    });
    let path = format!("/v1/simulations?project_id={}", project.id);
    let simulation = id(&project.client.post(&path, &body, 200).await);
    eventually("personas", || async {
        let seen = project.client.get(&project.path(&simulation, "/results"), 200).await;
        if seen["personas"]["pending"] == 4 { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    let ask = async |arguments: &[&str]| run(server.base_url(), server.key(), arguments).await.exits(0);
    let in_project = ["--project", &project.id];
    let listed = ask(&[["simulations", "list"], in_project].concat()).await;
    assert!(row(&listed, &simulation).ends_with("waits for approval of 4 personas"), "{listed}");
    let shown = ask(&[&["simulations", "show", &simulation], in_project.as_slice()].concat()).await;
    assert!(shown.contains("waits for  approval of 4 personas:\n"), "{shown}");
    assert!(shown.contains("worker     no worker has polled yet\n"), "{shown}");

    let one = project.client.get(&project.path(&simulation, "/personas"), 200).await["data"][0].clone();
    let rejected =
        ask(&[&["personas", "reject", &simulation, &id(&one)], in_project.as_slice()].concat()).await;
    assert_eq!(rejected, "rejected 1 persona; others replace them\n");
    eventually("a new persona", || async {
        let seen = project.client.get(&project.path(&simulation, "/results"), 200).await;
        if seen["personas"]["pending"] == 4 { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    let command = shown.lines().find_map(|line| line.split_once("onerun ")).expect("a command").1;
    assert_eq!(ask(&command.split(' ').collect::<Vec<_>>()).await, "approved 4 personas\n");
    let listed = ask(&[&["personas", "list", &simulation], in_project.as_slice()].concat()).await;
    assert_eq!(listed.matches("  approved  ").count(), 4, "{listed}");
    let shown = ask(&[&["simulations", "show", &simulation], in_project.as_slice()].concat()).await;
    assert!(!shown.contains("waits for"), "{shown}");
}

/// Makes keys 31 days older in the database of a stopped server.
const AGE: &str = r"
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
for key in sys.argv[2:]:
    age = 'created_at - 31 * 86400 * 1000000'
    database.execute(
        f'UPDATE keys SET created_at = {age}, body = json_set(body, \'$.created_at\', {age}) WHERE id = ?', (key,)
    )
database.commit()
";

#[tokio::test]
async fn keys_that_need_attention_are_listed() {
    let mut server = Server::start_with(&[("AUTH_KEY_CACHE_SECONDS", "0")]).await;
    let client = server.client();
    let make = async |name: &str, more: Value| {
        let mut body = json!({"name": name, "preset": "worker", "all_projects": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = client.post("/v1/keys", &body, 200).await;
        (id(&made), text(&made, "key"))
    };
    let (soon, _) = make("ends soon", json!({"expires_in_days": 13})).await;
    let (later, _) = make("ends later", json!({"expires_in_days": 15})).await;
    let (never, _) = make("never ends", json!({"never_expires": true})).await;
    let narrow = json!({"name": "used", "scopes": ["keys:read"], "all_projects": true});
    let narrow = client.post("/v1/keys", &narrow, 200).await;
    let used = id(&narrow);
    let (revoked, _) = make("revoked", json!({"never_expires": true})).await;
    client.post_empty(&format!("/v1/keys/{revoked}/revoke"), 200).await;
    let (replaced, _) = make("replaced", json!({"never_expires": true})).await;
    let successor = id(&client.post(&format!("/v1/keys/{replaced}/rotate"), &json!({}), 200).await);
    client.with_key(&text(&narrow, "key")).get("/v1/keys", 200).await;
    eventually("use that is known", || async {
        let seen = client.get(&format!("/v1/keys/{used}"), 200).await;
        if seen["used_scopes"] == json!(["keys:read"]) { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;

    let printed = run(server.base_url(), server.key(), &["keys", "attention", "--json"]).await.exits(0);
    let found: Value = serde_json::from_str(&printed).unwrap();
    let ids = |group: &str| -> Vec<String> { found[group].as_array().unwrap().iter().map(id).collect() };
    assert_eq!(ids("expiring"), [soon.as_str()]);
    assert_eq!(ids("idle"), [""; 0]);
    assert_eq!(ids("never_expires"), [successor.as_str(), &never]);
    assert_eq!(ids("unused_scopes"), [successor.as_str(), &never, &later, &soon]);
    let one = client.send(Method::GET, &format!("/v1/keys/{never}"), None, 200).await.text;
    assert_eq!(printed.matches(&one).count(), 2, "{one} in {printed}");

    let shown = run(server.base_url(), server.key(), &["keys", "attention"]).await.exits(0);
    let groups: Vec<&str> = shown.split("\n\n").collect();
    let [expiring, idle, forever, unused] = groups[..] else { panic!("not four groups: {shown}") };
    assert!(
        expiring.starts_with("Expire within 14 days: 1\nID ") && row(expiring, &soon).contains("ends soon")
    );
    assert_eq!(idle, "Idle for 30 days or more: 0");
    assert!(forever.starts_with("Never expire: 2\n") && row(forever, &never).contains("never ends"));
    assert!(unused.starts_with("Have unused scopes: 4\n"), "{unused}");
    assert!(row(unused, &never).ends_with("all of them"), "{unused}");

    // Two keys become old; one of them was replaced.
    server.terminate().await;
    let mut command = venv("python");
    command.args(["-c", AGE]).arg(server.data().join("onerun.db")).args([&later, &replaced]);
    Process::spawn(command).success().await;
    server.restart().await;
    let shown = run(server.base_url(), server.key(), &["keys", "attention"]).await.exits(0);
    let idle = shown.split("\n\n").nth(1).unwrap();
    assert!(idle.starts_with("Idle for 30 days or more: 1\n"), "{idle}");
    assert!(row(idle, &later).contains("ends later"), "{idle}");
}
