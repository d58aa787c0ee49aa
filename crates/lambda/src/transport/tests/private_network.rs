//! Calls in a network of the test's own, whose names lead to private addresses.

use std::{io::Write, path::Path, process::Command};

use super::*;

/// The network's script starts the test below there.
#[test]
fn nothing_private_is_reached_by_literal_name_or_rebinding() {
    const CALLS: &str = "transport::tests::private_network::urls_of_the_input_are_called";
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(workspace.join(".tools/venv/bin/python"))
        .arg(workspace.join("tests/checks/private_network.py"))
        .arg("program")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", CALLS])
        .output()
        .expect("a Python environment, from `make tools`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Calls the URLs of the standard input, and writes how each call ends as the API names it.
#[tokio::test]
#[ignore = "the test above starts it"]
async fn urls_of_the_input_are_called() {
    let urls: Vec<String> = serde_json::from_reader(std::io::stdin()).unwrap();
    let transport = GuardedTransport::new(Arc::new(OutboundPolicy::parse("redirect.test").unwrap()));
    let mut ends = Vec::new();
    for url in urls {
        let Ok(request) = Request::post(&url).body(Bytes::new()) else {
            ends.push("address_refused".to_owned());
            continue;
        };
        ends.push(match transport.send(request, MINUTE).await {
            Ok(response) if response.status().is_redirection() => "status".to_owned(),
            Err(TransportError::Refused(_)) => "address_refused".to_owned(),
            Err(TransportError::Connect(_)) => "connection_failed".to_owned(),
            other => format!("{other:?}"),
        });
    }
    // The test harness has begun a line.
    writeln!(std::io::stdout(), "\n{}", serde_json::json!(ends)).unwrap();
}
