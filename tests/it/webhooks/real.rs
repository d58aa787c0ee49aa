//! Webhooks of the real program, with targets on this machine.

use std::{io::Write, process::Stdio};

use onerun_tests::{
    Client, eventually,
    process::{Process, Server, onerun, venv},
    receiver::{Receiver, ReceiverAnswer},
};
use serde_json::{Value, json};

use crate::fixtures::{data, id, text};

/// A server that may call this machine, with a project.
struct Deployment {
    server: Server,
    project: String,
}

impl Deployment {
    async fn start(allow: &str) -> Self {
        let server = Server::start_with(&[("ONERUN_OUTBOUND_ALLOW", allow)]).await;
        let project = id(&server.client().post("/v1/projects", &json!({ "name": "Webhooks" }), 200).await);
        Self { server, project }
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/webhooks{rest}?project_id={}", self.project)
    }

    async fn webhook(&self, url: &str) -> Value {
        self.client().post(&self.path(""), &json!({ "url": url }), 200).await
    }

    async fn test(&self, webhook: &Value) -> Value {
        self.client().post(&self.path(&format!("/{}/test", id(webhook))), &json!({}), 200).await
    }

    /// Waits until a delivery was attempted.
    async fn attempted(&self, delivery: &Value) -> Value {
        let path = self.path(&format!("/{}/deliveries/{}", text(delivery, "webhook_id"), id(delivery)));
        eventually("attempt", async || {
            let delivery = self.client().get(&path, 200).await;
            if delivery["attempts"] == json!([]) { Err(delivery.to_string()) } else { Ok(delivery) }
        })
        .await
    }
}

/// Verifies requests with the two programs of the documentation, one of which uses the published library.
const VERIFY: &str = "\
import json, re, sys
given = json.load(sys.stdin)
secret, headers, body = given['secret'], given['headers'], given['body']
programs = re.findall('```python\\n(.*?)```', open('docs/webhooks.md', encoding='utf-8').read(), re.DOTALL)
assert len(programs) == 2
for program in programs:
    names = {}
    exec(program, names)
    print(names['verify'](secret, headers, body)['type'])
    for changed_body, changed in [
        (body + ' ', {}),
        (body, {'webhook-id': 'other'}),
        (body, {'webhook-timestamp': '1700000000'}),
    ]:
        try:
            names['verify'](secret, {**headers, **changed}, changed_body)
        except Exception:
            continue
        raise SystemExit('a changed request was accepted')
";

#[tokio::test]
async fn library_of_the_standard_verifies_requests_also_in_a_rotation() {
    let deployment = Deployment::start("127.0.0.0/8").await;
    let receiver = Receiver::start(ReceiverAnswer::Status(200)).await;
    let webhook = deployment.webhook(&receiver.url()).await;
    deployment.test(&webhook).await;
    receiver.receives(1).await;
    let path = deployment.path(&format!("/{}/rotate_secret", id(&webhook)));
    let rotated = deployment.client().post(&path, &json!({}), 200).await;
    deployment.test(&webhook).await;
    let received = receiver.receives(2).await;
    assert!(received[0].header("user-agent").starts_with("onerun/"), "{received:?}");
    for (request, made, is_accepted) in [
        (&received[0], &webhook, true),
        (&received[1], &webhook, true),
        (&received[1], &rotated, true),
        (&received[0], &rotated, false),
    ] {
        let headers: serde_json::Map<String, Value> =
            ["webhook-id", "webhook-timestamp", "webhook-signature"]
                .iter()
                .map(|name| ((*name).to_owned(), json!(request.header(name))))
                .collect();
        let given = json!({ "secret": made["secret"], "body": request.body, "headers": headers });
        let mut child = venv("python")
            .args(["-c", VERIFY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(output.status.success(), is_accepted, "{output:?}");
        assert_eq!(printed, if is_accepted { "webhook.test\nwebhook.test" } else { "" });
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let deployment = Deployment::start("127.0.0.1").await;
    let elsewhere = Receiver::start(ReceiverAnswer::Status(200)).await;
    let redirecting = Receiver::start(ReceiverAnswer::Redirect(elsewhere.url())).await;
    let webhook = deployment.webhook(&redirecting.url()).await;
    let delivery = deployment.attempted(&deployment.test(&webhook).await).await;
    assert_eq!(delivery["attempts"][0]["status_code"], 307, "{delivery}");
    assert_eq!(delivery["attempts"][0]["error"], "status", "{delivery}");
    assert_eq!((redirecting.received().len(), elsewhere.received().len()), (1, 0));
}

#[tokio::test]
async fn hanging_target_holds_up_no_other() {
    let deployment = Deployment::start("127.0.0.1").await;
    let hanging = Receiver::start(ReceiverAnswer::Nothing).await;
    let webhook = deployment.webhook(&hanging.url()).await;
    let mut tests = Vec::new();
    // More than may be in flight at once.
    for _ in 0..80 {
        tests.push(deployment.test(&webhook).await);
    }
    hanging.receives(4).await;
    let receiver = Receiver::start(ReceiverAnswer::Status(200)).await;
    let other = deployment.webhook(&receiver.url()).await;
    let delivery = deployment.attempted(&deployment.test(&other).await).await;
    assert_eq!(delivery["state"], "delivered");
    let delivery = deployment.attempted(&tests[0]).await;
    assert_eq!(delivery["attempts"][0]["error"], "timeout", "{delivery}");
}

#[tokio::test]
async fn name_that_resolves_to_a_private_address_is_not_called() {
    let deployment = Deployment::start("").await;
    let receiver = Receiver::start(ReceiverAnswer::Status(200)).await;
    // Names are not resolved before a call: they may resolve to another address then.
    let webhook = deployment.webhook("https://localhost:8443/hook").await;
    let delivery = deployment.attempted(&deployment.test(&webhook).await).await;
    assert_eq!(delivery["attempts"][0]["error"], "address_refused", "{delivery}");
    let path = deployment.path("");
    deployment.client().post(&path, &json!({ "url": receiver.url() }), 422).await;
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn webhook_is_managed_from_the_command_line() {
    let deployment = Deployment::start("127.0.0.1").await;
    let receiver = Receiver::start(ReceiverAnswer::Status(204)).await;
    let run = async |arguments: &[&str]| {
        let mut command = onerun(&[&["webhooks"], arguments, &["--project", &deployment.project]].concat());
        command
            .env("ONERUN_API_BASE_URL", deployment.server.base_url())
            .env("ONERUN_API_KEY", deployment.server.key());
        let mut process = Process::spawn(command);
        let printed = process.success().await;
        (printed, process.stderr())
    };
    let url = receiver.url();
    let (made, note) = run(&["create", &url, "--event", "simulation.failed", "--description", "Team"]).await;
    let mut fields = made.split_whitespace();
    let (Some("id"), Some(webhook), Some("secret"), Some(secret)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        panic!("{made}")
    };
    assert!(secret.starts_with("whsec_") && note.contains("not shown again"), "{made} {note}");
    let (test, note) = run(&["test", webhook]).await;
    let test = test.trim();
    assert!(note.contains(&format!("onerun webhooks delivery {webhook} {test}")), "{note}");
    receiver.receives(1).await;
    deployment.attempted(&json!({ "webhook_id": webhook, "id": test })).await;
    let (rotated, _) = run(&["rotate-secret", webhook, "--overlap", "60"]).await;
    assert!(rotated.contains("whsec_") && !rotated.contains(secret), "{rotated}");
    for (arguments, expected) in [
        (&["list"][..], "enabled"),
        (&["get", webhook], "previous secret"),
        (&["deliveries", webhook], "204"),
        (&["deliveries", webhook, "--state", "failed"], "\n"),
        (&["delivery", webhook, test], "webhook.test"),
        (&["replay", webhook, test], "pending"),
        (&["update", webhook, "--state", "disabled"], "disabled"),
    ] {
        let (printed, _) = run(arguments).await;
        assert!(printed.contains(expected), "{arguments:?}: {printed}");
        assert!(!printed.contains("whsec_"), "{printed}");
    }
    run(&["delete", webhook, "--yes"]).await;
    let page = deployment.client().get(&deployment.path(""), 200).await;
    assert_eq!(*data(&page), [json!(null); 0]);
    assert!(!deployment.server.log().contains("whsec_"));
}

/// In a network of the test's own, whose names lead to private addresses.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_private_is_reached_by_literal_name_or_rebinding() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = venv("python");
    command
        .args(["tests/checks/private_network.py", "server"])
        .arg(onerun(&[]).get_program())
        .arg(directory.path().join("data"));
    Process::spawn(command).success().await;
}
