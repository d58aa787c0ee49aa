//! `onerun keys` against a real server.

use std::{collections::BTreeSet, fs, process::Stdio};

use onerun_tests::{
    eventually,
    process::{Process, Server, onerun, venv},
    tls::TlsFront,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{CliOutput, MANAGED, keys};

/// A server that reads a key's state at every request, and the command line with its root key.
struct ServerWithCli {
    server: Server,
}

impl ServerWithCli {
    async fn open() -> Self {
        Self { server: Server::start_with(&[("AUTH_KEY_CACHE_SECONDS", "0")]).await }
    }

    fn keys(&self, arguments: &[&str]) -> CliOutput {
        self.keys_as(self.server.key(), arguments)
    }

    fn keys_as(&self, key: &str, arguments: &[&str]) -> CliOutput {
        keys(arguments, &[("ONERUN_API_BASE_URL", self.server.base_url()), ("ONERUN_API_KEY", key)], "")
    }

    /// The output as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.keys(&[arguments, &["--json"]].concat()).exits(0)).unwrap()
    }

    /// Creates a key with these arguments; returns its id and secret.
    fn create(&self, arguments: &[&str]) -> (String, String) {
        let key = self.keys(&[&["create"], arguments].concat()).exits(0).trim_end().to_owned();
        (key[4..16].to_owned(), key)
    }

    fn worker(&self) -> (String, String) {
        self.create(&["worker", "--preset", "worker", "--all-projects"])
    }

    async fn whoami(&self, key: &str, status: u16) -> Value {
        self.server.client().with_key(key).get("/v1/whoami", status).await
    }

    async fn project(&self) -> String {
        let project = self.server.client().post("/v1/projects", &json!({"name": "Shop"}), 200).await;
        project["id"].as_str().unwrap().to_owned()
    }

    async fn raw(&self, path: &str) -> String {
        self.server.client().send(Method::GET, path, None, 200).await.text
    }
}

#[tokio::test]
async fn key_is_created_used_rotated_and_revoked() {
    let cli = ServerWithCli::open().await;
    let project = cli.project().await;
    let output = cli.keys(&[
        "create",
        "ci of shop",
        "--scope",
        "agents:read,agents:write",
        "--scope",
        "keys:read",
        "--project",
        &project,
        "--expires-in",
        "7d",
        "--allowed-cidr",
        "127.0.0.0/8",
        "--rate-limit",
        "1000/1m",
        "--metadata",
        "team=shop",
    ]);
    let reported = output.stderr.clone();
    let printed = output.exits(0);
    let key = printed.trim_end();
    assert_eq!((printed.len(), key.len()), (65, 64), "the key and a line's end, and nothing else");
    for expected in
        ["ci of shop", "agents:read agents:write keys:read", &project, "127.0.0.0/8", "1000 in 60 s"]
    {
        assert!(reported.contains(expected), "{expected:?} in {reported}");
    }
    assert!(!reported.contains(key), "{reported}");

    let id = &key[4..16];
    let who = cli.whoami(key, 200).await;
    assert_eq!((&who["key_id"], &who["name"]), (&json!(id), &json!("ci of shop")));
    let shown = cli.json(&["show", id]);
    assert_eq!(shown["metadata"], json!({"team": "shop"}));
    assert_eq!(shown["created_by"], "root");
    let listed = cli.keys(&["list", "--status", "active", "--project", &project]).exits(0);
    let row = listed.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(row.contains("ci of shop") && row.contains("3 scopes") && row.contains(&project), "{listed}");
    assert_eq!(cli.keys(&["list", "--expiring-within", "6d"]).exits(0).lines().count(), 1, "headings alone");
    assert_eq!(cli.json(&["list", "--expiring-within", "8d"])["data"][0]["id"], *id);

    // Also by the key's first characters, as a scanner or a colleague would report them.
    let updated = cli.json(&[
        "update",
        &format!("onr_{id}"),
        "--name",
        "ci",
        "--preset",
        "monitor",
        "--any-address",
        "--no-rate-limit",
        "--never-expires",
    ]);
    assert_eq!(updated["name"], "ci");
    for gone in ["allowed_cidrs", "rate_limit", "expires_at"] {
        assert_eq!(updated[gone], Value::Null, "{gone}");
    }
    assert_eq!(updated["metadata"], shown["metadata"], "what is not said stays");
    let listed = cli.keys(&["list"]).exits(0);
    assert!(listed.contains("monitor") && listed.contains("never"), "{listed}");

    assert!(cli.keys(&["disable", id]).exits(0).contains("disabled since"));
    assert_eq!(cli.whoami(key, 401).await["code"], "inactive_api_key");
    cli.keys(&["enable", id]).exits(0);
    cli.whoami(key, 200).await;

    let new = cli.keys(&["rotate", id, "--overlap", "1h"]).exits(0);
    let new = new.trim_end();
    cli.whoami(key, 200).await;
    cli.whoami(new, 200).await;
    let old = cli.keys(&["show", id]).exits(0);
    assert!(old.contains(&format!("replaced by   {}", &new[4..16])), "{old}");
    assert!(old.contains("because it was replaced"), "{old}");

    let stderr = cli.keys(&["revoke", id]).fails(2);
    assert!(stderr.contains("--yes"), "{stderr}");
    cli.whoami(key, 200).await;
    cli.keys(&["revoke", id, "--yes"]).exits(0);
    assert_eq!(cli.whoami(key, 401).await["code"], "revoked_api_key");
    cli.whoami(new, 200).await;
}

#[tokio::test]
async fn rotation_without_overlap_asks_first() {
    let cli = ServerWithCli::open().await;
    let (id, key) = cli.worker();
    let stderr = cli.keys(&["rotate", &id, "--overlap", "0s"]).fails(2);
    assert!(stderr.contains("--yes"), "{stderr}");
    cli.whoami(&key, 200).await;
    let new = cli.keys(&["rotate", &id, "--overlap", "0s", "--yes"]).exits(0);
    assert_eq!(cli.whoami(&key, 401).await["code"], "revoked_api_key");
    cli.whoami(new.trim_end(), 200).await;
}

#[tokio::test]
async fn json_output_is_the_reply_to_the_byte() {
    let cli = ServerWithCli::open().await;
    let created = cli.json(&["create", "Ünïcode \"✓\"", "--preset", "admin", "--all-projects"]);
    assert!(created["key"].is_string());
    // The key is not used meanwhile, because a use would change the record.
    let id = created["id"].as_str().unwrap().to_owned();
    for (arguments, path) in [
        (vec!["show", &id], format!("/v1/keys/{id}")),
        (vec!["list"], "/v1/keys?limit=100".to_owned()),
        (vec!["list", "--all"], "/v1/keys?limit=100".to_owned()),
        (vec!["whoami"], "/v1/whoami".to_owned()),
        (vec!["audit"], "/v1/audit?limit=100".to_owned()),
        (vec!["audit", "--all"], "/v1/audit?limit=100".to_owned()),
        (vec!["audit", "--oldest"], "/v1/audit?limit=100&order=oldest".to_owned()),
    ] {
        let output = cli.keys(&[arguments.as_slice(), &["--json"]].concat());
        assert_eq!(output.stderr, "", "{arguments:?}");
        assert_eq!(output.exits(0), format!("{}\n", cli.raw(&path).await), "{arguments:?}");
    }
    let rotated = cli.json(&["rotate", &id]);
    assert_eq!((&rotated["replaces"], rotated["key"].is_string()), (&json!(id), true));
}

#[cfg(unix)]
#[tokio::test]
async fn key_file_is_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let cli = ServerWithCli::open().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("worker");
    let path = file.to_str().unwrap();
    let create = ["create", "worker", "--preset", "worker", "--all-projects", "--output", path];
    assert_eq!(cli.keys(&create).exits(0), "");
    let key = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    cli.whoami(key.trim_end(), 200).await;

    let stderr = cli.keys(&create).fails(2);
    assert!(stderr.contains("exists already"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), key);
    assert_eq!(
        cli.json(&["list"])["data"].as_array().unwrap().len(),
        1,
        "no key without an owner was created"
    );

    let other = directory.path().join("other");
    let refused = ["create", "a", "--preset", "none", "--all-projects", "--output", other.to_str().unwrap()];
    let stderr = cli.keys(&refused).fails(1);
    assert!(stderr.contains("preset"), "{stderr}");
    assert!(!other.exists(), "nothing is left of what was refused");

    let id = &key[4..16];
    cli.keys(&["rotate", id, "--json", "--output", other.to_str().unwrap()]).exits(0);
    let document: Value = serde_json::from_str(&fs::read_to_string(&other).unwrap()).unwrap();
    cli.whoami(document["key"].as_str().unwrap(), 200).await;
}

#[tokio::test]
async fn lists_are_read_to_their_end_if_asked() {
    let cli = ServerWithCli::open().await;
    let client = cli.server.client();
    for number in 0..201 {
        let body = json!({"name": format!("key {number}"), "preset": "worker", "all_projects": true});
        client.post("/v1/keys", &body, 200).await;
    }
    let names = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    };
    let newest_first: Vec<String> = (0..201).rev().map(|number| format!("key {number}")).collect();

    let page = cli.json(&["list"]);
    assert_eq!((names(&page), &page["has_more"]), (newest_first[..100].to_vec(), &json!(true)));
    let page = cli.json(&["list", "--limit", "2", "--offset", "3"]);
    assert_eq!(names(&page), newest_first[3..5]);
    let page = cli.json(&["list", "--all"]);
    assert_eq!((names(&page), &page["has_more"]), (newest_first, &json!(false)));

    let output = cli.keys(&["list", "--limit", "5", "--offset", "10"]);
    assert!(output.stderr.contains("`--all`, or `--cursor "), "{output:?}");
    assert_eq!(output.exits(0).lines().count(), 6);
    let listed = cli.keys(&["list", "--all"]).exits(0);
    let ids: BTreeSet<&str> = listed.lines().skip(1).map(|line| &line[..12]).collect();
    assert_eq!((listed.lines().count(), ids.len()), (202, 201));

    let page = cli.json(&["audit", "--all"]);
    let numbers: Vec<u64> =
        page["data"].as_array().unwrap().iter().map(|entry| entry["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=201).rev().collect::<Vec<_>>());
    assert_eq!(page["head"]["sequence"], 201);
}

#[tokio::test]
async fn refusals_exit_with_1_and_unknown_outcomes_with_2() {
    let cli = ServerWithCli::open().await;
    let url = cli.server.base_url();
    let (_, worker) = cli.worker();
    for (key, arguments, reported) in [
        (MANAGED, ["show", "AAECAwQFBgcI"].as_slice(), "invalid_api_key"),
        (&worker, &["list"], "insufficient_scope"),
        (&worker, &["create", "a", "--preset", "admin", "--all-projects"], "insufficient_scope"),
        (cli.server.key(), &["show", "AAECAwQFBgcI"], "key_not_found"),
        (cli.server.key(), &["revoke", "-_ECAwQFBgc-", "--yes"], "key_not_found"),
        (cli.server.key(), &["create", "a", "--preset", "none", "--all-projects"], "invalid_request"),
    ] {
        let stderr = cli.keys_as(key, arguments).fails(1);
        assert!(stderr.starts_with("error: ") && stderr.contains(reported), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }

    let failing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failing_url = format!("http://{}", failing.local_addr().unwrap());
    let failure = tokio::spawn(async move {
        let (mut stream, _) = failing.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream
            .write_all(b"HTTP/1.1 500 Failed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
    });
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away_url = format!("http://{}", away.local_addr().unwrap());
    drop(away);
    for (environment, arguments, reported) in [
        (
            [("ONERUN_API_BASE_URL", url), ("ONERUN_API_KEY", " ")],
            ["whoami"].as_slice(),
            "set ONERUN_API_KEY",
        ),
        ([("ONERUN_API_BASE_URL", away_url.as_str()), ("ONERUN_API_KEY", "k")], &["whoami"], "no answer"),
        ([("ONERUN_API_BASE_URL", failing_url.as_str()), ("ONERUN_API_KEY", "k")], &["whoami"], "status 500"),
        (
            [("ONERUN_API_BASE_URL", "http://10.0.0.1"), ("ONERUN_API_KEY", "k")],
            &["whoami"],
            "--insecure-http",
        ),
        ([("ONERUN_API_BASE_URL", "nonsense"), ("ONERUN_API_KEY", "k")], &["whoami"], "ONERUN_API_BASE_URL"),
        ([("ONERUN_API_BASE_URL", url), ("ONERUN_API_KEY", "k")], &["show", "short"], "12 characters"),
        (
            [("ONERUN_API_BASE_URL", url), ("ONERUN_API_KEY", "k")],
            &["update", "AAECAwQFBgcI"],
            "nothing to change",
        ),
        (
            [("ONERUN_API_BASE_URL", url), ("ONERUN_API_KEY", "k")],
            &["create", "a", "--preset", "ci"],
            "--project",
        ),
        (
            [("ONERUN_API_BASE_URL", url), ("ONERUN_API_KEY", "k")],
            &["rotate", "AAECAwQFBgcI", "--overlap", "7"],
            "`24h`",
        ),
    ] {
        // In another task, because this one serves the failing replies.
        let (environment, arguments): (Vec<_>, Vec<String>) = (
            environment.map(|(name, value)| (name, value.to_owned())).into(),
            arguments.iter().map(ToString::to_string).collect(),
        );
        let shown = arguments.clone();
        let output = tokio::task::spawn_blocking(move || {
            let environment: Vec<_> =
                environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
            keys(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &environment, "")
        });
        let stderr = output.await.unwrap().fails(2);
        assert!(stderr.contains(reported), "{shown:?}: {stderr}");
    }
    failure.await.unwrap();

    let help = keys(&["--help"], &[], "").exits(0);
    for expected in ["Exit codes:", "ONERUN_API_BASE_URL", "ONERUN_API_KEY", "report-leak"] {
        assert!(help.contains(expected), "{help}");
    }
}

#[tokio::test]
async fn key_as_an_argument_is_refused_and_not_printed() {
    let cli = ServerWithCli::open().await;
    let (_, key) = cli.worker();
    for command in ["show", "revoke", "disable", "enable", "rotate"] {
        let stderr = cli.keys(&[command, &key]).fails(2);
        assert!(stderr.contains("see command lines, so it has leaked") && !stderr.contains(&key), "{stderr}");
    }
    cli.whoami(&key, 200).await;
}

#[tokio::test]
async fn leaked_keys_are_revoked_by_their_secret() {
    let cli = ServerWithCli::open().await;
    let (first, second) = (cli.worker(), cli.worker());
    let other = cli.worker();
    // No key for the request.
    let report = |arguments: &[&str], stdin: &str| {
        let arguments = [&["report-leak"], arguments].concat();
        keys(&arguments, &[("ONERUN_API_BASE_URL", cli.server.base_url())], stdin)
    };

    let stderr = report(&[], &first.1).fails(2);
    assert!(stderr.contains("--yes"), "{stderr}");
    let stderr = report(&["--yes"], &format!("{}\n{}\n", first.1, &second.1[..60])).fails(1);
    assert!(stderr.contains("line 2") && stderr.contains("Nothing was reported"), "{stderr}");
    for key in [&first, &second] {
        cli.whoami(&key.1, 200).await;
    }

    // An unknown key is reported like a known one.
    let output = report(&["--yes"], &format!("{}\n{MANAGED}\n{}\n", first.1, second.1)).exits(0);
    assert!(output.contains(&first.0) && output.contains("AAECAwQFBgcI"), "{output}");
    for key in [&first, &second] {
        assert!(!output.contains(&key.1));
        assert_eq!(cli.whoami(&key.1, 401).await["code"], "revoked_api_key");
    }
    cli.whoami(&other.1, 200).await;
    let audit = cli.json(&["audit"]);
    let reported = |entry: &&Value| entry["action"] == "revoke_leaked_key";
    assert_eq!(audit["data"].as_array().unwrap().iter().filter(reported).count(), 2, "{audit}");

    let answer: Value = serde_json::from_str(&report(&["--yes", "--json"], &first.1).exits(0)).unwrap();
    assert!(answer["message"].is_string(), "{answer}");
}

/// Runs `onerun keys` at a terminal, answers its question, and returns the output.
const TERMINAL: &str = r#"
import os, pty, sys
program, *arguments = sys.argv[1:]
answers = os.environ.pop("ANSWERS").split("|")
pid, terminal = pty.fork()
if pid == 0:
    os.execv(program, [program, *arguments])
shown = ""
while True:
    try:
        read = os.read(terminal, 1024)
    except OSError:
        break
    if not read:
        break
    shown += read.decode()
    if answers and shown.rstrip().endswith(":"):
        os.write(terminal, (answers.pop(0) + "\n").encode())
        shown += "\n"
print(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[cfg(unix)]
#[tokio::test]
async fn terminal_asks_for_confirmation() {
    let cli = ServerWithCli::open().await;
    let (id, key) = cli.create(&["ci of shop", "--preset", "worker", "--all-projects"]);
    let at_terminal = async |arguments: &[&str], answers: &str, code: i32| {
        let program = onerun(&[]).get_program().to_owned();
        let mut command = venv("python");
        command.args(["-c", TERMINAL]).arg(program).arg("keys").args(arguments).env("ANSWERS", answers);
        command.env("ONERUN_API_BASE_URL", cli.server.base_url()).env("ONERUN_API_KEY", cli.server.key());
        let mut process = Process::spawn(command);
        let status = process.exit(std::time::Duration::from_mins(1)).await;
        assert_eq!(status.code(), Some(code), "{}", process.report());
        process.stdout()
    };

    for answer in ["", "no", "y"] {
        let shown = at_terminal(&["revoke", &id], answer, 1).await;
        assert!(shown.contains(&format!("{id}, `ci of shop`, active")), "{shown}");
        assert!(shown.contains("nothing was changed"), "{shown}");
    }
    at_terminal(&["rotate", &id, "--overlap", "0s"], "no", 1).await;
    at_terminal(&["report-leak"], &format!("{key}|no"), 1).await;
    cli.whoami(&key, 200).await;

    let shown = at_terminal(&["revoke", &id], "yes", 0).await;
    assert!(shown.contains("revoked since"), "{shown}");
    assert_eq!(cli.whoami(&key, 401).await["code"], "revoked_api_key");
    let (_, key) = cli.worker();
    at_terminal(&["report-leak"], &format!("{key}|yes"), 0).await;
    cli.whoami(&key, 401).await;
}

#[tokio::test]
async fn unprintable_new_key_is_reported_as_lost() {
    let cli = ServerWithCli::open().await;
    let mut command = onerun(&["keys", "create", "a", "--preset", "worker", "--all-projects"]);
    command.env("ONERUN_API_BASE_URL", cli.server.base_url()).env("ONERUN_API_KEY", cli.server.key());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = CliOutput::of(&child.wait_with_output().unwrap());
    let id = cli.json(&["list"])["data"][0]["id"].as_str().unwrap().to_owned();
    let stderr = output.fails(2);
    assert!(stderr.contains(&format!("onerun keys revoke {id}")), "{stderr}");
}

/// A proxy that drops the first reply.
async fn forgetful(server: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = server.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&server).await.unwrap();
            if std::mem::take(&mut is_first) {
                let mut request = vec![0; 64 * 1024];
                let mut length = 0;
                // Head and body may arrive separately; the server replies after both.
                let mut answer = [0; 4096];
                loop {
                    tokio::select! {
                        read = client.read(&mut request[length..]) => {
                            let read = read.unwrap();
                            server.write_all(&request[length..length + read]).await.unwrap();
                            length += read;
                        }
                        read = server.read(&mut answer) => {
                            assert!(read.unwrap() > 0);
                            break;
                        }
                    }
                }
            } else {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_reply_loses_the_key_and_creates_no_other() {
    let cli = ServerWithCli::open().await;
    let through = |url: &str, arguments: &[&str]| {
        keys(arguments, &[("ONERUN_API_BASE_URL", url), ("ONERUN_API_KEY", cli.server.key())], "")
    };
    let url = forgetful(cli.server.base_url()).await;
    let stderr = through(&url, &["create", "a", "--preset", "worker", "--all-projects"]).fails(2);
    let listed = cli.json(&["list"]);
    let made = listed["data"].as_array().unwrap();
    assert_eq!(made.len(), 1, "{listed}");
    let lost = made[0]["id"].as_str().unwrap();
    assert!(stderr.contains(&format!("`onerun keys revoke {lost}`")), "{stderr}");

    let (id, key) = cli.worker();
    let url = forgetful(cli.server.base_url()).await;
    let stderr = through(&url, &["rotate", &id]).fails(2);
    let lost = cli.json(&["show", &id])["replaced_by"].as_str().unwrap().to_owned();
    assert!(stderr.contains(&format!("`onerun keys rotate {lost} --overlap 0s`")), "{stderr}");
    // As advised: the lost key is revoked, and the previous one works for its overlap.
    let new = cli.keys(&["rotate", &lost, "--overlap", "0s", "--yes"]).exits(0);
    cli.whoami(new.trim_end(), 200).await;
    cli.whoami(&key, 200).await;
    assert_eq!(cli.json(&["show", &lost])["status"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_trusts_only_system_certificates() {
    let cli = ServerWithCli::open().await;
    let front = TlsFront::start(cli.server.base_url(), &["localhost", "127.0.0.1"]).await;
    let authority = front.authority();
    let whoami = |url: &str, trusted: Option<&str>| {
        let mut environment = vec![("ONERUN_API_BASE_URL", url), ("ONERUN_API_KEY", cli.server.key())];
        environment.extend(trusted.map(|file| ("SSL_CERT_FILE", file)));
        keys(&["whoami"], &environment, "")
    };
    for host in ["127.0.0.1", "localhost"] {
        let output = whoami(&front.url(host), authority.to_str()).exits(0);
        assert!(output.contains("root"), "{output}");
    }
    let refused = |url: &str, trusted: &std::path::Path| {
        let stderr = whoami(url, trusted.to_str()).fails(2);
        assert!(stderr.contains("invalid peer certificate"), "{url}: {stderr}");
    };
    // A certificate of another authority, and one of the right authority for another name.
    let other = TlsFront::start(cli.server.base_url(), &["localhost"]).await;
    refused(&front.url("localhost"), &other.authority());
    refused(&other.url("127.0.0.1"), &other.authority());
}

#[tokio::test]
async fn numbers_in_metadata_are_printed_as_they_were_sent() {
    let cli = ServerWithCli::open().await;
    let numbers = json!({"v": 117.633_311_394_000_17, "w": u64::MAX, "x": 5e-324});
    let body = json!({"name": "n", "preset": "worker", "all_projects": true, "metadata": numbers});
    let made = cli.server.client().post("/v1/keys", &body, 200).await;
    let printed = cli.keys(&["show", made["id"].as_str().unwrap(), "--json"]).exits(0);
    assert!(printed.contains(&numbers.to_string()), "{printed}");
}

#[tokio::test]
async fn uses_of_a_key_are_shown() {
    let cli = ServerWithCli::open().await;
    let project = cli.project().await;
    let (id, key) = cli.worker();
    cli.server.client().with_key(&key).get(&format!("/v1/agents?project_id={project}"), 200).await;
    eventually("use that is known", || async {
        let shown = cli.keys(&["show", &id]).exits(0);
        let is_known = shown.contains("never needed  simulations:read conversations:read");
        if is_known { Ok(()) } else { Err(shown) }
    })
    .await;
}
