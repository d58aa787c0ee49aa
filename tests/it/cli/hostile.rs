//! Characters that a terminal would obey or hide, in names and answers of others. Every command shows them as codes.

use std::{
    collections::BTreeSet,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use onerun_api::{Found, ROUTES, Router};
use onerun_tests::{
    app::documentation,
    eventually,
    process::{Process, onerun, venv},
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A command to a terminal, a line break, and characters that are invisible or turn the direction of writing.
const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{9b}2J\r\n\t\u{202e}\u{200b}\u{2028}\u{61c}\u{ad}\u{feff}\u{e0041}";

/// [`HOSTILE`], with its last characters as the program shows them.
const SHOWN: &str = r"\u{202E}\u{200B}\u{2028}\u{061C}\u{00AD}\u{FEFF}\u{E0041}";
const SHOWN_IN_JSON: &str = r"\u202e\u200b\u2028\u061c\u00ad\ufeff\udb40\udc41";

const KEY: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";
const ID: &str = "AAECAwQFBgcI";
const SIMULATION: &str = "AAECAwQFBgcIAAECAwQFB";

#[derive(Debug)]
struct Ran {
    stdout: String,
    stderr: String,
}

impl Ran {
    /// Checks that nothing was printed that a terminal obeys or hides.
    #[track_caller]
    fn check(&self) {
        for text in [&self.stdout, &self.stderr] {
            let hidden = text
                .chars()
                .find(|char| *char != '\n' && HOSTILE.contains(*char) && !char.is_ascii_graphic());
            assert!(hidden.is_none() && !text.contains('\u{1b}'), "{hidden:?} in {text}");
        }
    }
}

async fn run(mut command: Command, input: &'static str) -> Ran {
    let output = tokio::task::spawn_blocking(move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Most commands end without having read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Makes every text in an answer hostile, but for the words that a client must know.
fn poison(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text + HOSTILE),
        Value::Array(values) => values.into_iter().map(poison).collect(),
        Value::Object(fields) => fields.into_iter().map(poison_field).collect::<Map<_, _>>().into(),
        other => other,
    }
}

fn poison_field((name, value): (String, Value)) -> (String, Value) {
    match name.as_str() {
        // A report is read by the types that wrote it, also its `verdict`, `gate` and `at`.
        "status" | "approval_status" | "role" | "type" | "outcome" | "verdict" | "gate" | "at" => {
            (name, value)
        }
        "before" | "after" if value.is_string() => (name, value),
        // Or a list would never end.
        "has_more" => (name, json!(false)),
        "metadata" | "details" => {
            let Value::Object(fields) = value else { return (name, value) };
            let fields = fields.into_iter().map(|(name, value)| (name + HOSTILE, poison(value)));
            (name, fields.collect::<Map<_, _>>().into())
        }
        _ => (name, poison(value)),
    }
}

/// Answers requests with the examples of the OpenAPI document, made hostile.
async fn hostile_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let router = Router::new(ROUTES).unwrap();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(head) = read_request(&mut stream).await else { continue };
            let mut words = head.split([' ', '?']);
            let method = Method::from_bytes(words.next().unwrap().as_bytes()).unwrap();
            let body = match router.find(&method, words.next().unwrap()) {
                Found::Route(route, _) => example(route.operation),
                _ => panic!("no such route: {head}"),
            };
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

fn example(operation: &str) -> Value {
    let responses = documentation(operation)["responses"].as_object().unwrap();
    let (_, good) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
    let content = &good["content"];
    let media_type =
        ["application/json", "application/jsonl"].into_iter().find(|name| content[name].is_object());
    poison(content[media_type.unwrap()]["example"].clone())
}

/// Reads a request to its end, and returns it; `None` if the client opened the connection in vain.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 && bytes.is_empty() {
            return None;
        }
        assert!(read > 0, "closed after {text}");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// The commands that ask the API, and whether they show its answer to people, too.
const COMMANDS: [(&str, bool); 70] = [
    ("projects list", true),
    ("projects get ID", true),
    ("projects create x", true),
    ("projects archive ID", true),
    ("projects unarchive ID", true),
    ("agents list --project ID", true),
    ("agents get ID --project ID", true),
    ("agents create x --project ID", true),
    ("agents archive ID --project ID", true),
    ("agents unarchive ID --project ID", true),
    (
        r#"agents set-endpoint ID --project ID --target {"openai":{"url":"https://a.example","model":"m"}}"#,
        true,
    ),
    ("agents delete-endpoint ID --project ID --yes", false),
    ("objectives list --project ID", true),
    ("objectives get ID --project ID", true),
    ("objectives create x --criteria y --project ID", true),
    ("simulations create x --agent ID --scenario y --personas 1 --project ID", true),
    ("simulations wait SIMULATION --timeout 1 --project ID", false),
    ("simulations approve SIMULATION --project ID", false),
    ("simulations cancel SIMULATION --project ID", false),
    ("simulations delete SIMULATION --yes --project ID", false),
    ("simulations list --project ID", true),
    ("simulations show SIMULATION --project ID", true),
    ("personas list SIMULATION --project ID", true),
    ("personas approve SIMULATION --all --project ID", false),
    ("personas reject SIMULATION p --project ID", false),
    ("conversations list --simulation SIMULATION --project ID", true),
    ("conversations show c --simulation SIMULATION --project ID", true),
    ("evaluations create SIMULATION --judge openai:x --project ID", true),
    ("evaluations list SIMULATION --project ID", true),
    ("evaluations show SIMULATION r --project ID", true),
    ("report SIMULATION --project ID", true),
    ("compare SIMULATION SIMULATION --project ID", true),
    ("export SIMULATION --format csv --project ID", true),
    ("batches list --project ID", true),
    ("batches get ID --project ID", true),
    ("batches items ID --project ID", true),
    ("batches wait ID --timeout 1 --project ID", true),
    ("batches cancel ID --project ID", false),
    ("batches rerun ID --project ID", false),
    ("monitors create x --agent ID --scenario y --personas 1 --project ID", true),
    ("monitors list --project ID", true),
    ("monitors show ID --project ID", true),
    ("monitors alert ID --project ID", true),
    ("monitors pause ID --project ID", true),
    ("monitors resume ID --project ID", true),
    ("monitors run ID --project ID", true),
    ("monitors history ID --project ID", true),
    ("monitors delete ID --project ID", false),
    ("webhooks create https://example.com --project ID", true),
    ("webhooks list --project ID", true),
    ("webhooks get ID --project ID", true),
    ("webhooks update ID --state disabled --project ID", true),
    ("webhooks delete ID --yes --project ID", false),
    ("webhooks rotate-secret ID --project ID", true),
    ("webhooks test ID --project ID", true),
    ("webhooks deliveries ID --project ID", true),
    ("webhooks delivery ID ID --project ID", true),
    ("webhooks replay ID ID --project ID", true),
    ("keys create name --preset ci --all-projects", true),
    ("keys list", true),
    ("keys attention", true),
    ("keys show ID", true),
    ("keys update ID --name x", true),
    ("keys rotate ID --yes", true),
    ("keys revoke ID --yes", true),
    ("keys disable ID", true),
    ("keys enable ID", true),
    ("keys whoami", true),
    ("keys audit", true),
    ("keys report-leak --yes", false),
];

/// Commands that print nothing but what they make themselves.
const OWN: [&str; 4] = ["openapi", "schema", "keys generate", "keys check"];

#[tokio::test]
async fn no_command_prints_what_a_terminal_obeys_or_hides() {
    let url = hostile_server().await;
    let run = async |arguments: &[&str]| {
        let mut command = onerun(arguments);
        command.env("ONERUN_API_BASE_URL", &url).env("ONERUN_API_KEY", "k");
        let ran = run(command, KEY).await;
        ran.check();
        ran
    };
    for (line, shows) in COMMANDS {
        let line = line.replace("SIMULATION", SIMULATION).replace("ID", ID);
        let arguments: Vec<&str> = line.split(' ').collect();
        let ran = run(&arguments).await;
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        // Long words are broken over lines.
        let joined: String = shown.split_whitespace().collect();
        assert_eq!(joined.contains(SHOWN), shows, "{line}: {ran:?}");
        let prints_no_answer = [
            "approve",
            "reject",
            "cancel",
            "wait",
            "pause",
            "resume",
            "run",
            "rerun",
            "delete",
            "delete-endpoint",
        ];
        if !prints_no_answer.contains(&arguments[1]) {
            let line = line.replace("csv", "jsonl");
            let mut arguments: Vec<&str> = line.split(' ').collect();
            if arguments[0] != "export" {
                arguments.push("--json");
            }
            let ran = run(&arguments).await;
            assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok(), "{line}: {ran:?}");
            assert!(ran.stdout.contains(SHOWN_IN_JSON), "{line}: {ran:?}");
        }
    }
    for line in OWN {
        run(&line.split(' ').collect::<Vec<_>>()).await;
    }
    // An answer that is not what it should be, and a command line that is wrong.
    let ran = run(&["keys", "audit", "--verify"]).await;
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    for arguments in [["projects", HOSTILE], ["keys", HOSTILE]] {
        let ran = run(&arguments).await;
        assert!(ran.stderr.contains(SHOWN), "{ran:?}");
    }
}

#[tokio::test]
async fn no_path_is_printed_that_a_terminal_obeys_or_hides() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(HOSTILE);
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join(HOSTILE), KEY).unwrap();
    let scan = |path: &Path, json: &'static [&'static str]| {
        let mut command = onerun(&["keys", "scan"]);
        command.arg(path).args(json);
        run(command, "")
    };
    for (path, json, shown) in [
        (path.clone(), [].as_slice(), SHOWN),
        (path.clone(), &["--json"], SHOWN_IN_JSON),
        (path.join("missing"), &[], SHOWN),
    ] {
        let ran = scan(&path, json).await;
        ran.check();
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(shown), "{ran:?}");
    }
    for (kept, json, shown) in [("a", [].as_slice(), true), ("b", &["--json"], false)] {
        let mut command = onerun(&["demo", "--conversations", "1", "--keep"]);
        command.arg(path.join(kept)).args(json);
        let ran = run(command, "").await;
        ran.check();
        assert_eq!(ran.stdout.contains(SHOWN), shown, "{ran:?}");
    }
    let mut command = onerun(&["serve", "--port", "0", "--data"]);
    command.arg(path.join("a"));
    let server = Process::spawn(command);
    eventually("a server", || async {
        if server.stdout().contains("listening on") { Ok(()) } else { Err(server.stderr()) }
    })
    .await;
    let ran = Ran { stdout: server.stdout(), stderr: server.stderr() };
    ran.check();
    assert!(ran.stderr.contains("the API key is in"), "{ran:?}");
    assert!(ran.stderr.contains("scripted personas (offline): set ONERUN_MODEL=provider:model"), "{ran:?}");
}

/// The characters of [`HOSTILE`] that a text of several lines may have, and those that a name may have, too.
const TEXT: &str = "\u{202e}\u{200b}\u{2028}\u{61c}\u{ad}\u{feff}\u{e0041}";
const NAME: &str = "\u{200b}\u{2028}\u{61c}\u{ad}\u{feff}\u{e0041}";

#[tokio::test]
async fn no_run_prints_what_a_terminal_obeys_or_hides() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(HOSTILE);
    std::fs::create_dir(&path).unwrap();
    let script = "import json, sys\n\
        words = json.load(open('words.json'))\n\
        print(words[0], file=sys.stderr)\n\
        for line in sys.stdin:\n    \
            print(json.dumps({'reply': 'no ' + words[1]}), flush=True)\n";
    std::fs::write(path.join("hostile.py"), script).unwrap();
    std::fs::write(path.join("words.json"), json!([HOSTILE, TEXT]).to_string()).unwrap();
    let python = venv("python").get_program().to_str().unwrap().to_owned();
    let run_file = json!({
        "name": format!("Desk{NAME}"),
        "agent": { "target": { "command": [python, "hostile.py"] }, "description": format!("{TEXT}x") },
        "scenarios": { "kettle": { "text": format!("A kettle{TEXT}"), "personas": [
            { "summary": format!("Ada{TEXT}"), "purpose": format!("To ask{TEXT}") },
        ] } },
        "objectives": { "polite": { "name": format!("Polite{NAME}"), "criteria": "check: agent never says /no/" } },
        "conversations": 1,
        "max_turns": 4,
    });
    let invalid = json!({ "name": format!("Desk{NAME}"), (format!("\u{1b}{TEXT}")): 1 });
    let write = |name: &str, text: &str| {
        let path = path.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good = write("good.yaml", &run_file.to_string());
    let wrong = write("wrong.yaml", &invalid.to_string());
    let raw = write("raw.yaml", &format!("name: {HOSTILE}\n"));
    let report = write("report.json", &json!({ "name": HOSTILE, (HOSTILE): HOSTILE }).to_string());
    let missing = path.join("missing");
    let in_place = |words: &[&str], path: &Path, more: &[&str]| {
        let mut command = onerun(words);
        command.arg(path).args(more);
        run(command, "")
    };
    for (words, file, more, says) in [
        (["run"].as_slice(), &good, [].as_slice(), ":FAIL"),
        (&["run"], &good, &["--dry-run"], ":1case,1conversation,"),
        (&["run"], &good, &["--metadata", HOSTILE], "writeNAME=VALUE"),
        (&["run"], &good, &["--baseline", HOSTILE], "nogatecompareswithit"),
        (&["run"], &wrong, &[], "unknownfield"),
        (&["run"], &raw, &[], "config:"),
        (&["run"], &missing, &[], "cannotread"),
        (&["init"], &path, &[], "wrote"),
        (&["init"], &path, &[], "existsalready"),
        (&["baseline", "approve"], &report, &["--output", "unwritten.json"], "config:"),
        (&["baseline", "approve"], &missing, &["--output", "unwritten.json"], "config:"),
        (&["worker", "--agent", "x", "--target"], &missing, &[], "--target:cannotread"),
        (&["worker", "--agent", "x", "--target"], &wrong, &[], "isnotakindoftarget"),
        (
            &["worker", "--agent", "x", "--target", "{command: [x]}", "--key-file"],
            &missing,
            &[],
            "--key-file",
        ),
    ] {
        let ran = in_place(words, file, more).await;
        ran.check();
        // Messages escape in lower or upper case, and long words are broken over lines.
        let shown: String = format!("{}{}", ran.stdout, ran.stderr).split_whitespace().collect();
        assert!(shown.contains(says), "{words:?} {more:?}: {ran:?}");
        // The advice about a baseline names no file.
        let shows_hidden = shown.to_lowercase().contains("u{200b}");
        assert_eq!(shows_hidden, !more.contains(&"--baseline"), "{words:?} {more:?}: {ran:?}");
    }
    assert!(!Path::new("unwritten.json").exists());
    for format in ["--json", "--junit", "--markdown", "--html"] {
        let ran = in_place(&["run"], &good, &[format, "-", "--quiet"]).await;
        assert!(
            ran.stdout.contains("Desk") && !ran.stdout.contains(['\u{1b}', '\u{202e}']),
            "{format}: {ran:?}"
        );
        Ran { stdout: String::new(), stderr: ran.stderr }.check();
    }
}

/// The commands that help lists.
async fn listed(group: &[&str]) -> Vec<String> {
    let ran = run(onerun(&[group, &["--help"]].concat()), "").await;
    let (_, commands) = ran.stdout.split_once("Commands:\n").unwrap();
    let names = commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        // Longer descriptions go on in lines that are indented further.
        line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty())
    });
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_is_tried_with_hostile_names() {
    let mut there_are = BTreeSet::new();
    for group in listed(&[]).await {
        let single = [
            "serve", "demo", "openapi", "worker", "run", "batch", "init", "schema", "report", "compare",
            "export", "import",
        ]
        .contains(&group.as_str());
        if single {
            there_are.insert(group);
        } else {
            there_are.extend(listed(&[&group]).await.into_iter().map(|name| format!("{group} {name}")));
        }
    }
    let is_single = |line: &str| ["report ", "compare ", "export "].iter().any(|name| line.starts_with(name));
    let words = |line: &str| if is_single(line) { 1 } else { 2 };
    let asked = COMMANDS.map(|(line, _)| line.split(' ').take(words(line)).collect::<Vec<_>>().join(" "));
    let mut tried: BTreeSet<String> = asked.into_iter().collect();
    tried.extend(OWN.map(str::to_owned));
    tried.extend(
        [
            "serve",
            "demo",
            "worker",
            "keys scan",
            "models check",
            "run",
            "batch",
            "import",
            "init",
            "baseline approve",
        ]
        .map(str::to_owned),
    );
    assert_eq!(there_are, tried);
}

/// A server that gives this answer to every request.
pub(super) async fn answering(status: &'static str, body: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if read_request(&mut stream).await.is_none() {
                continue;
            }
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn a_hostile_refusal_is_shown_and_not_obeyed() {
    let refusal = json!({"code": HOSTILE, "message": HOSTILE});
    let wrong = json!({"id": HOSTILE, "status": HOSTILE});
    let show = ["conversations", "show", "c", "--project", ID, "--simulation", SIMULATION];
    for (status, body, arguments, code) in [
        ("404 Not Found", &refusal, ["projects", "list"].as_slice(), 1),
        ("404 Not Found", &refusal, &["keys", "list"], 1),
        (
            "404 Not Found",
            &refusal,
            &["worker", "--project", ID, "--agent", ID, "--target", "{command: [x]}"],
            1,
        ),
        // An answer of another form is reported without its content.
        ("200 OK", &wrong, &show, 2),
    ] {
        let url = answering(status, body.clone()).await;
        let output = super::run(&url, "k", arguments).await;
        let shown = output.fails(code);
        Ran { stdout: String::new(), stderr: shown.clone() }.check();
        assert_eq!(shown.contains(SHOWN), code == 1, "{shown}");
    }
}

#[tokio::test]
async fn no_check_of_models_prints_what_a_terminal_obeys_or_hides() {
    let refusal = json!({ "error": { "message": HOSTILE, "type": HOSTILE, "code": HOSTILE } });
    for (model, variable, path) in [("openai:x", "OPENAI", "/v1"), ("anthropic:x", "ANTHROPIC", "")] {
        let url = answering("400 Bad Request", refusal.clone()).await;
        let mut command = onerun(&["models", "check", "--model", model]);
        command.env(format!("{variable}_BASE_URL"), url + path).env(format!("{variable}_API_KEY"), "k");
        let ran = run(command, "").await;
        ran.check();
        assert!(ran.stdout.contains(r"\u{202E}\u{200B}"), "{ran:?}");
    }
}

#[tokio::test]
async fn json_of_a_hostile_server_keeps_its_meaning() {
    let project = json!({"id": HOSTILE, "name": HOSTILE, "created_at": HOSTILE});
    let projects = json!({"data": [project], "has_more": false});
    let url = answering("200 OK", projects.clone()).await;
    let printed = super::run(&url, "k", &["projects", "list", "--json"]).await.exits(0);
    assert!(printed.trim_end().is_ascii(), "{printed}");
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), projects);
}
