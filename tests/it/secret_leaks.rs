//! After every operation on a key, no file, log line or output of real programs contains its
//! secret.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use onerun_tests::{
    process::{Process, Server, onerun},
    sdk::{SdkProject, SimulationFields, assert_content},
};
use serde_json::json;

/// The bytes of all files below a directory.
fn files(directory: &Path) -> Vec<u8> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { fs::read(path).unwrap() }).collect()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// `onerun keys …` against a server: its standard output and standard error.
async fn keys(server: &Server, key: &str, arguments: &[&str]) -> (String, String) {
    let mut command = onerun(&[&["keys"], arguments].concat());
    command.env("ONERUN_API_BASE_URL", server.base_url()).env("ONERUN_API_KEY", key);
    let mut process = Process::spawn(command);
    let stdout = process.success().await;
    (stdout, process.stderr())
}

#[tokio::test]
async fn secret_is_printed_once_and_in_no_file_or_log() {
    let mut server = Server::start().await;
    let root = server.key().to_owned();
    let (made, reported) =
        keys(&server, &root, &["create", "Canary", "--preset", "admin", "--all-projects"]).await;
    let canary = made.trim().to_owned();
    assert_eq!(canary.len(), 64, "{made} {reported}");
    let mut printed = vec![reported];

    // Used by the published client, by a worker, by the command line, and in wrong ways.
    let project = SdkProject::open(server.client().with_key(&canary)).await;
    let wanted = SimulationFields { name: "Canary", conversations: 2, personas: 2, expires_in_seconds: None };
    let simulation = project.simulate(wanted).await;
    let worker = project.worker(&[]);
    project.reaches(&simulation, "completed").await;
    printed.push(assert_content(worker).await);
    for arguments in [&["whoami"][..], &["list"], &["list", "--json"], &["show", &canary[4..16]], &["audit"]]
    {
        let (stdout, stderr) = keys(&server, &canary, arguments).await;
        printed.extend([stdout, stderr]);
    }
    let client = server.client();
    client.anonymous().get(&format!("/v1/whoami?x-api-key={canary}"), 401).await;
    client.with_key(&format!("{canary}x")).get("/v1/whoami", 401).await;
    client.with_key(&canary).with_header("x-api-key", &canary).get("/v1/whoami", 401).await;
    server.kill_9();
    server.restart().await;
    let client = server.client();
    client.with_key(&canary).get("/v1/whoami", 200).await;
    let (rotated, reported) = keys(&server, &root, &["rotate", &canary[4..16], "--overlap", "1h"]).await;
    let next = rotated.trim().to_owned();
    printed.push(reported);
    client.with_key(&canary).get("/v1/whoami", 200).await;
    client.anonymous().post("/v1/keys/revoke-leaked", &json!({ "keys": [canary, next] }), 202).await;
    client.with_key(&canary).get("/v1/whoami", 401).await;
    printed.push(client.get("/v1/audit?limit=100", 200).await.to_string());
    server.terminate().await;

    let kept = files(server.data());
    let said = format!("{}\n{}", server.log(), printed.join("\n"));
    for key in [&canary, &next] {
        assert!(holds(&kept, &key.as_bytes()[4..16]) && holds(said.as_bytes(), &key.as_bytes()[4..16]));
        for part in key.as_bytes()[16..].windows(12) {
            assert!(!holds(&kept, part), "a part of a secret is in a file");
            assert!(!holds(said.as_bytes(), part), "a part of a secret is in a line");
        }
        let secret = &URL_SAFE_NO_PAD.decode(&key[4..]).unwrap()[9..41];
        assert!(!holds(&kept, secret), "the bytes of a secret are in a file");
    }
}
