//! `onerun demo` as a user runs it.

use std::{fs, path::Path, process::Command, time::Duration};

use onerun_tests::{
    Client, eventually,
    process::{Process, Server, onerun, venv, workspace},
};
use serde_json::Value;

use crate::serve::{listening, signal};

/// The first line of the block that differs between runs.
const DIFFERS: &str = "\n--- Each run differs below this line ---";

/// A replacement for `curl` with the options that the demo's commands use, for machines without it.
const CURL: &str = r#"
import sys, urllib.request
url, headers, data, rest = None, {}, None, iter(sys.argv[1:])
for word in rest:
    if word == "-H":
        name, value = next(rest).split(": ")
        headers[name] = value
    elif word == "-d":
        data = next(rest).encode()
    elif word != "-sS":
        url = word
print(urllib.request.urlopen(urllib.request.Request(url, data, headers)).read().decode())
"#;

fn demo(arguments: &[&str]) -> Command {
    let mut command = onerun(&["demo"]);
    command.args(arguments);
    command
}

/// The report of a run without its varying block, and that block.
async fn report(arguments: &[&str]) -> (String, String) {
    let mut process = Process::spawn(demo(arguments));
    let stdout = process.success().await;
    assert_eq!(process.stderr(), "", "nothing to say beside the report");
    let (same, differs) = stdout.split_once(DIFFERS).unwrap_or_else(|| panic!("no such line: {stdout}"));
    (same.to_owned(), differs.to_owned())
}

#[tokio::test]
async fn demo_runs_to_scores_without_configuration() {
    let (report, closing) = report(&[]).await;
    for expected in [
        "20 conversations, 10 scripted personas (offline)",
        "(95% interval)",
        "Each conversation as a whole  ",
        "\nFrom conversation ",
        "  persona  ",
        "  agent    ",
        "  result   ",
        "onerun serve --port 9000",
        "curl -sS",
        "from onerun.connect import",
    ] {
        assert!(report.contains(expected), "{expected:?} in {report}");
    }
    assert!(closing.contains("conversations a second"), "{closing}");
    let wide: Vec<&str> = report.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
}

#[tokio::test]
async fn demo_with_the_same_seed_repeats_every_byte() {
    let (first, _) = report(&["--seed", "7", "--conversations", "30"]).await;
    let (second, _) = report(&["--seed", "7", "--conversations", "30"]).await;
    assert_eq!(first, second);
    let (other, _) = report(&["--seed", "8", "--conversations", "30"]).await;
    assert_ne!(first.replace("seed 7", "seed 8"), other);
}

#[tokio::test]
async fn demo_prints_its_random_seed_which_repeats_the_run() {
    let (first, closing) = report(&["--conversations", "6"]).await;
    let again = closing.lines().find_map(|line| line.strip_prefix("Repeat this run: onerun demo ")).unwrap();
    let (second, _) = report(&again.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(first, second);
}

#[tokio::test]
async fn kept_demo_data_can_be_served() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("kept");
    let path = directory.to_str().unwrap();
    let (_, closing) = report(&["--conversations", "4", "--keep", path]).await;
    assert!(closing.contains(&format!("onerun serve --data {path}")), "{closing}");

    let mut again = Process::spawn(demo(&["--keep", path]));
    assert_eq!(again.exit(Duration::from_mins(1)).await.code(), Some(1), "{}", again.report());
    assert!(again.stderr().contains("is not empty"), "{}", again.report());

    let server = Process::spawn(onerun(&["serve", "--port", "0", "--data", path]));
    let key = fs::read_to_string(directory.join("api-key")).unwrap();
    let client = Client::new(&listening(&server).await, Some(key.trim()));
    let project = client.get("/v1/projects", 200).await["data"][0]["id"].as_str().unwrap().to_owned();
    let simulations = client.get(&format!("/v1/simulations?project_id={project}"), 200).await;
    let simulation = &simulations["data"][0];
    assert_eq!(
        (&simulation["status"], &simulation["target_conversations"]),
        (&"completed".into(), &4.into())
    );
    assert!(closing.contains(simulation["id"].as_str().unwrap()), "{closing}");
}

#[tokio::test]
async fn demo_json_has_figures_and_results() {
    let mut process = Process::spawn(demo(&["--json", "--seed", "7", "--conversations", "12"]));
    let document: Value = serde_json::from_str(&process.success().await).expect("one document");
    assert_eq!((&document["seed"], &document["conversations"]), (&7.into(), &12.into()));
    assert_eq!(document["results"]["status"], "completed");
    assert_eq!(document["results"]["overall"]["evaluated"], 12);
    for objective in document["results"]["objectives"].as_array().unwrap() {
        assert_eq!(objective["evaluated"], 12, "{objective}");
    }
    // Each persona opens and gets one reply.
    assert!(document["messages"].as_u64().unwrap() >= 24, "{document}");
    for field in ["elapsed_seconds", "conversations_per_second"] {
        assert!(document[field].as_f64().unwrap() > 0.0, "{field} in {document}");
    }
    assert_eq!(document["peak_memory_bytes"].is_u64(), cfg!(target_os = "linux"), "{document}");
}

#[tokio::test]
async fn demo_ignores_the_environment() {
    let mut command = demo(&["--conversations", "2"]);
    command.envs([
        ("AUTH_API_KEY", "changeme"),
        ("ONERUN_LEASE_SECONDS", "soon"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
    ]);
    Process::spawn(command).success().await;
}

#[tokio::test]
async fn interrupted_demo_stops_and_leaves_no_files() {
    let temporary = tempfile::tempdir().unwrap();
    let entries = || fs::read_dir(temporary.path()).unwrap().count();
    let mut command = demo(&["--conversations", "10000"]);
    command.env("TMPDIR", temporary.path());
    let mut process = Process::spawn(command);
    eventually("database", || async {
        let made = fs::read_dir(temporary.path())
            .unwrap()
            .flatten()
            .any(|entry| entry.path().join("onerun.db").exists());
        if made { Ok(()) } else { Err(process.report()) }
    })
    .await;

    signal(process.pid(), "INT");
    assert_eq!(process.exit(Duration::from_secs(20)).await.code(), Some(1), "{}", process.report());
    assert_eq!(process.stdout(), "");
    assert!(process.stderr().contains("interrupted"), "{}", process.report());
    assert_eq!(entries(), 0, "left behind in {}", temporary.path().display());
}

#[tokio::test]
async fn demo_numbers_out_of_range_are_usage_errors() {
    for arguments in [["--conversations", "0"], ["--conversations", "10001"], ["--seed", "9007199254740992"]]
    {
        let mut process = Process::spawn(demo(&arguments));
        assert_eq!(process.exit(Duration::from_mins(1)).await.code(), Some(2), "{}", process.report());
    }
}

/// The demo's commands for a run by hand are run unchanged, except for the server's address and the
/// worker's port and timeout.
#[tokio::test]
async fn demo_commands_to_repeat_by_hand_work() {
    let (report, _) = report(&["--conversations", "1"]).await;
    let by_hand = report.split_once("\nDo the same by hand\n").expect("lines to do it by hand").1;
    // The shell commands are indented, with blank lines between them. The first one starts the
    // server.
    let lines: Vec<&str> = by_hand.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let (worker, results) = match lines.as_slice() {
        [.., worker, results] => (*worker, *results),
        _ => panic!("no lines: {by_hand}"),
    };
    assert_eq!((lines[0], worker), ("onerun serve --port 9000 --data onerun-data", "python agent.py $P $A"));

    let server = Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("onerun-data")).unwrap();
    fs::write(directory.path().join("onerun-data/api-key"), server.key()).unwrap();
    fs::write(directory.path().join("curl.py"), CURL).unwrap();
    let setup =
        lines[1..lines.len() - 2].join("\n").replace("http://127.0.0.1:9000", server.base_url()).replace(
            "server_host=\"127.0.0.1\"",
            "server_host=\"127.0.0.1\", server_port=0, task_poll_interval=1",
        );
    let ids = shell(directory.path(), &format!("{setup}\necho $P $A $S")).await;
    let [project, agent, simulation] = ids.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("not three ids: {ids:?}")
    };

    let mut command = venv("python");
    command.current_dir(directory.path()).args(["agent.py", project, agent]);
    command.env("ONERUN_API_BASE_URL", server.base_url()).env("ONERUN_API_KEY", server.key());
    let worker = Process::spawn(command);
    let path = format!("/v1/simulations/{simulation}?project_id={project}");
    eventually("completed simulation", || async {
        let seen = server.client().get(&path, 200).await;
        if seen["status"] == "completed" { Ok(()) } else { Err(format!("{seen} {}", worker.report())) }
    })
    .await;

    let variables = format!("P={project}\nS={simulation}");
    let setup: Vec<&str> = setup.lines().take_while(|line| !line.starts_with("P=")).collect();
    let printed = shell(directory.path(), &format!("{}\n{variables}\n{results}", setup.join("\n"))).await;
    let printed: Value = serde_json::from_str(&printed).expect("results");
    assert_eq!(printed["overall"]["evaluated"], 20);
}

/// The output of a shell that runs these commands in this directory, with the replacement for
/// `curl`.
async fn shell(directory: &Path, lines: &str) -> String {
    let python = workspace().canonicalize().unwrap().join(".tools/venv/bin/python");
    let script = format!("set -eu\ncurl() {{ '{}' curl.py \"$@\"; }}\n{lines}\n", python.display());
    let mut command = Command::new("sh");
    command.current_dir(directory).args(["-c", &script]);
    Process::spawn(command).success().await
}
