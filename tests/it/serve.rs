//! `onerun serve` as an operator runs it: its key, its output, its errors and its shutdown. Also
//! the commands that only print.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use onerun_tests::{
    Client, eventually, eventually_within,
    process::{Process, Server, onerun},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

/// A process that is asked to serve, and the directory that its data would be in.
struct Attempt {
    process: Process,
    parent: TempDir,
}

/// Starts `onerun serve` with these options on a new data directory; it may fail.
fn attempt(options: &[&str], environment: &[(&str, &str)]) -> Attempt {
    let parent = tempfile::tempdir().unwrap();
    Attempt { process: serve(parent.path(), options, environment), parent }
}

fn serve(parent: &Path, options: &[&str], environment: &[(&str, &str)]) -> Process {
    let mut command = onerun(&["serve", "--data"]);
    command.arg(parent.join("a/b")).args(options).envs(environment.iter().copied());
    Process::spawn(command)
}

/// Waits for the one line of a server, and returns the address in it.
pub(crate) async fn listening(process: &Process) -> String {
    eventually("line that says where it listens", || async {
        let stdout = process.stdout();
        stdout.strip_prefix("listening on ").map(|url| url.trim().to_owned()).ok_or_else(|| process.report())
    })
    .await
}

/// Waits until a process has exited with an error, and returns its one line.
async fn refused(process: &mut Process) -> String {
    let status = process.exit(Duration::from_mins(1)).await;
    assert_eq!(status.code(), Some(1), "{}", process.report());
    assert_eq!(process.stdout(), "");
    let stderr = process.stderr();
    let complaints: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(complaints.len(), 1, "{stderr}");
    complaints[0].to_owned()
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("sh").args(["-c", &format!("kill -{name} \"$0\""), &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

async fn whoami(url: &str, key: &str) -> Value {
    Client::new(url, Some(key)).get("/v1/whoami", 200).await
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn key_file_is_private_and_not_printed() {
    let mut server = Server::start().await;
    let file = server.data().join("api-key");

    let key = fs::read_to_string(&file).unwrap();
    assert_eq!(key, format!("{}\n", server.key()));
    #[cfg(unix)]
    assert_eq!(mode(&file), 0o600);
    whoami(server.base_url(), server.key()).await;

    server.restart().await;
    assert!(server.log().contains("api-key"), "the file is named: {}", server.log());
    assert_eq!(fs::read_to_string(&file).unwrap(), key);
    whoami(server.base_url(), server.key()).await;
    let (key, log) = (server.key().to_owned(), server.final_log().await);
    assert!(!log.contains(&key), "the key is in the log: {log}");
}

#[tokio::test]
async fn data_directory_is_private() {
    let Attempt { process, parent } = attempt(&["--port", "0"], &[]);
    listening(&process).await;
    #[cfg(unix)]
    assert_eq!(mode(&parent.path().join("a/b")), 0o700);
    #[cfg(unix)]
    for name in ["api-key", "lock", "onerun.db", "onerun.db-wal", "onerun.db-shm"] {
        assert_eq!(mode(&parent.path().join("a/b").join(name)), 0o600, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn data_writable_by_others_is_refused_with_advice() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("a/b");
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mut first = serve(parent.path(), &["--port", "0"], &[]);
    listening(&first).await;
    assert!(first.terminate().await.success());

    set_mode(&data, 0o770);
    let complaint = refused(&mut serve(parent.path(), &["--port", "0"], &[])).await;
    assert!(complaint.contains("`chmod go-w "), "{complaint}");
    set_mode(&data, 0o700);

    set_mode(&data.join("api-key"), 0o644);
    let complaint = refused(&mut serve(parent.path(), &["--port", "0"], &[])).await;
    assert!(complaint.contains("`chmod 600 "), "{complaint}");
    set_mode(&data.join("api-key"), 0o600);

    set_mode(&data.join("onerun.db"), 0o644);
    let complaint = refused(&mut serve(parent.path(), &["--port", "0"], &[])).await;
    assert!(complaint.contains("onerun.db") && complaint.contains("`chmod 600 "), "{complaint}");
    set_mode(&data.join("onerun.db"), 0o600);

    fs::rename(data.join("onerun.db"), parent.path().join("elsewhere")).unwrap();
    fs::write(data.join("onerun.db"), "").unwrap();
    set_mode(&data.join("onerun.db"), 0o600);
    let complaint = refused(&mut serve(parent.path(), &["--port", "0"], &[])).await;
    assert!(complaint.contains("onerun.db is empty"), "{complaint}");
    fs::remove_file(data.join("onerun.db")).unwrap();

    symlink(parent.path().join("elsewhere"), data.join("onerun.db")).unwrap();
    let complaint = refused(&mut serve(parent.path(), &["--port", "0"], &[])).await;
    assert!(complaint.contains("onerun.db is not a plain file"), "{complaint}");
}

#[tokio::test]
async fn key_from_the_environment_is_not_written() {
    let mut server = Server::start_with(&[("AUTH_API_KEY", KEY)]).await;
    whoami(server.base_url(), KEY).await;
    assert!(!server.data().join("api-key").exists());
    let log = server.final_log().await;
    assert!(!log.contains(KEY), "the key is in the log: {log}");
}

#[tokio::test]
async fn invalid_configuration_is_reported_without_the_key() {
    let environment = [("AUTH_API_KEY", "c2hvcnQgYnV0IHByaXZhdGU="), ("ONERUN_LEASE_SECONDS", "soon")];
    let complaint = refused(&mut attempt(&["--port", "0"], &environment).process).await;
    assert!(complaint.contains("AUTH_API_KEY: the key decodes to 17 bytes and needs 32"), "{complaint}");
    assert!(complaint.contains("ONERUN_LEASE_SECONDS: "), "{complaint}");
    assert!(!complaint.contains("c2hvcnQ"), "{complaint}");

    for weak in ["changeme", "", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        let complaint = refused(&mut attempt(&["--port", "0"], &[("AUTH_API_KEY", weak)]).process).await;
        assert!(complaint.contains("AUTH_API_KEY: "), "{complaint}");
        assert!(complaint.contains("onerun keys generate"), "it says what to do: {complaint}");
    }
}

#[tokio::test]
async fn second_process_on_the_same_data_is_refused() {
    let server = Server::start().await;
    let mut command = onerun(&["serve", "--port", "0", "--data"]);
    command.arg(server.data());
    let complaint = refused(&mut Process::spawn(command)).await;
    assert!(complaint.contains("in use by another onerun process"), "{complaint}");
    whoami(server.base_url(), server.key()).await;
}

#[tokio::test]
async fn port_in_use_is_reported() {
    let server = Server::start().await;
    let port = server.base_url().rsplit(':').next().unwrap();
    let complaint = refused(&mut attempt(&["--port", port], &[]).process).await;
    assert!(complaint.contains(&format!("127.0.0.1:{port}")), "{complaint}");
}

#[tokio::test]
async fn either_signal_stops_it_with_code_0_and_frees_the_data() {
    let parent = tempfile::tempdir().unwrap();
    for name in ["TERM", "INT"] {
        let mut process = serve(parent.path(), &["--port", "0"], &[]);
        let url = listening(&process).await;
        signal(process.pid(), name);
        let status = process.exit(Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(0), "{name}: {}", process.report());
        assert_eq!(process.stdout(), format!("listening on {url}\n"), "one line, and no other");
    }
}

/// A connection with a request whose body, of 17 bytes, the server waits for.
fn request_in_flight(url: &str) -> TcpStream {
    let mut connection = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /v1/projects HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ncontent-length: 17\r\n\
         expect: 100-continue\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    // The server asks for the body once it needs it.
    let mut go_on = [0; 25];
    connection.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection
}

#[tokio::test]
async fn request_in_flight_is_finished() {
    let Attempt { mut process, parent } = attempt(&["--port", "0"], &[("AUTH_API_KEY", KEY)]);
    let url = listening(&process).await;
    let mut connection = request_in_flight(&url);
    connection.write_all(b"{\"name\":").unwrap();

    signal(process.pid(), "TERM");
    eventually("log that it stops", || async {
        if process.stderr().contains("stopping") { Ok(()) } else { Err(process.report()) }
    })
    .await;
    connection.write_all(b" \"Late\" }").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(process.exit(Duration::from_secs(20)).await.code(), Some(0), "{}", process.report());

    let again = serve(parent.path(), &["--port", "0"], &[("AUTH_API_KEY", KEY)]);
    let projects = Client::new(&listening(&again).await, Some(KEY)).get("/v1/projects", 200).await;
    assert_eq!(projects["data"][0]["name"], "Late");
}

#[tokio::test]
async fn second_signal_does_not_wait() {
    let Attempt { mut process, parent: _parent } = attempt(&["--port", "0"], &[("AUTH_API_KEY", KEY)]);
    let url = listening(&process).await;
    let _connection = request_in_flight(&url);
    signal(process.pid(), "INT");
    eventually("log that it stops", || async {
        if process.stderr().contains("stopping") { Ok(()) } else { Err(process.report()) }
    })
    .await;
    signal(process.pid(), "INT");
    let status = process.exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(1), "{}", process.report());
}

/// A simulation in a new project.
struct Simulation {
    client: Client,
    project: String,
    id: String,
}

impl Simulation {
    /// Starts one, with so many objectives of the same criteria.
    async fn start(client: &Client, criteria: &str, objectives: usize, conversations: usize) -> Self {
        let text = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let project = text(&client.post("/v1/projects", &json!({ "name": "Desk" }), 200).await);
        let path = |rest: &str| format!("/v1/{rest}?project_id={project}");
        let agent = text(&client.post(&path("agents"), &json!({ "name": "Agent" }), 200).await);
        let mut ids = Vec::new();
        for number in 0..objectives {
            let body = json!({ "name": format!("{number}"), "criteria": criteria });
            ids.push(text(&client.post(&path("objectives"), &body, 200).await));
        }
        let simulation = json!({
            "agent_id": agent, "name": "Worst", "scenario": "Anything.", "target_conversations": conversations,
            "target_personas": 1, "auto_approve": true, "max_turns": 200, "objective_ids": ids,
        });
        let id = text(&client.post(&path("simulations"), &simulation, 200).await);
        Self { client: client.clone(), project, id }
    }

    fn path(&self, rest: &str) -> String {
        let separator = if rest.contains('?') { '&' } else { '?' };
        format!("/v1/simulations/{}{rest}{separator}project_id={}", self.id, self.project)
    }

    /// The agent says `words` in every conversation and ends it. Returns the conversations' paths.
    async fn hold(&self, words: &str, conversations: usize) -> Vec<String> {
        let input =
            json!({ "input": [{ "type": "message", "content": [{ "type": "text", "text": words }] }] });
        let mut held = Vec::new();
        while held.len() < conversations {
            let page = self.client.get(&self.path("/conversations?status=queued&limit=100"), 200).await;
            for conversation in page["data"].as_array().unwrap() {
                let rest = format!("/conversations/{}", conversation["id"].as_str().unwrap());
                self.client.post(&self.path(&format!("{rest}/responses")), &input, 200).await;
                self.client.post(&self.path(&format!("{rest}/end")), &json!({}), 200).await;
                held.push(self.path(&rest));
            }
        }
        held
    }

    async fn judged(&self) -> u64 {
        let results = self.client.get(&self.path("/results"), 200).await;
        results["evaluations"]["completed"].as_u64().unwrap()
    }
}

/// Criteria whose check lines need a processor for long, on words that repeat nowhere: numbers in base 2.
fn slow_criteria() -> String {
    ["check: agent never says /a[ab]{250}c/"; 4].join("\n")
}

fn slow_words() -> String {
    (1024..1150).map(|number| format!("{number:b}").replace('0', "a").replace('1', "b")).collect()
}

/// A conversation whose check lines take a processor for seconds: its path.
async fn judged_for_long(client: &Client) -> String {
    let simulation = Simulation::start(client, &slow_criteria(), 50, 1).await;
    simulation.hold(&slow_words(), 1).await.remove(0)
}

#[tokio::test]
async fn slow_judging_does_not_delay_other_callers() {
    const SLOW: usize = 200;
    let server = Server::start().await;
    let client = server.client();
    let slow = Simulation::start(&client, &slow_criteria(), 40, SLOW).await;
    slow.hold(&slow_words(), SLOW).await;
    let quick = Simulation::start(&client, "check: agent says /refund/i", 1, 1).await;
    quick.hold("Your refund is on its way.", 1).await;
    eventually("completed simulation of the other caller", || async {
        let seen = client.get(&quick.path(""), 200).await;
        if seen["status"] == "completed" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    let judged = slow.judged().await;
    assert!(judged < SLOW as u64 / 2, "{judged} slow conversations were judged first");
}

#[tokio::test]
async fn judging_blocks_no_signal_and_no_request() {
    let mut server = Server::start().await;
    let client = server.client();
    let path = judged_for_long(&client).await;
    let is_being_judged = || async {
        let seen = client.get(&path, 200).await["evaluation_status"].clone();
        if seen == "in_progress" { Ok(()) } else { Err(seen.to_string()) }
    };
    eventually("conversation that is being judged", is_being_judged).await;
    client.get("/health", 200).await;
    is_being_judged().await.expect("it takes long");
    let status = server.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(
        server.log().contains("judging was interrupted because the server is stopping"),
        "{}",
        server.log()
    );

    server.restart().await;
    eventually_within(Duration::from_mins(3), "evaluations", || async {
        let seen = client.get(&path, 200).await;
        if seen["evaluation_status"] == "completed" {
            Ok(seen)
        } else {
            Err(seen["evaluation_status"].to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn non_loopback_address_is_served_with_a_warning() {
    let Attempt { process, parent: _parent } =
        attempt(&["--port", "0", "--host", "0.0.0.0"], &[("AUTH_API_KEY", KEY)]);
    let url = listening(&process).await;
    whoami(&url.replace("0.0.0.0", "127.0.0.1"), KEY).await;
    let log = process.stderr();
    assert!(log.contains("without TLS") && log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn loopback_is_the_default_and_needs_no_warning() {
    let mut server = Server::start().await;
    assert!(server.base_url().starts_with("http://127.0.0.1:"), "{}", server.base_url());
    let log = server.final_log().await;
    assert!(!log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn logs_without_a_terminal_are_json_lines() {
    let mut server = Server::start().await;
    server.client().get("/v1/projects?secret=in-the-query", 422).await;
    let line = eventually("line of the request", || async {
        let log = server.log();
        let found = log.lines().find(|line| line.contains("list_projects"));
        found.map(str::to_owned).ok_or(log)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["status"], &line["key_id"], &line["level"]),
        (&json!(422), &json!("root"), &json!("INFO"))
    );
    let log = server.final_log().await;
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert!(!log.contains("in-the-query"), "{log}");
}

#[tokio::test]
async fn usage_errors_exit_with_2() {
    let usages: [&[&str]; 4] = [&[], &["serve", "--port", "x"], &["serve", "--host", "here"], &["fly"]];
    for arguments in usages {
        let mut process = Process::spawn(onerun(arguments));
        let status = process.exit(Duration::from_mins(1)).await;
        assert_eq!(status.code(), Some(2), "{}", process.report());
        assert!(process.stderr().contains("--help"), "{}", process.report());
    }
}

#[tokio::test]
async fn keys_generate_prints_only_a_valid_key() {
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut process = Process::spawn(onerun(&["keys", "generate"]));
        let stdout = process.success().await;
        assert_eq!(process.stderr(), "");
        let key = stdout.strip_suffix('\n').unwrap().to_owned();
        // 32 bytes in base64.
        assert_eq!((key.len(), key.lines().count()), (44, 1), "{key:?}");
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
    let server = Server::start_with(&[("AUTH_API_KEY", &keys[0])]).await;
    whoami(server.base_url(), &keys[0]).await;
}

#[tokio::test]
async fn printed_document_is_the_served_one() {
    let printed = Process::spawn(onerun(&["openapi"])).success().await;
    assert!(printed.ends_with("}\n"));
    let server = Server::start().await;
    let served = server.client().anonymous().get("/openapi.json", 200).await;
    // Not `assert_eq!`, which would print both long texts. `make openapi-check` shows the
    // difference.
    assert!(serde_json::from_str::<Value>(&printed).unwrap() == served, "they differ");
}
