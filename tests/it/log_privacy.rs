//! Each request logs one line, which contains no data of callers.

use std::{cell::RefCell, collections::BTreeSet, io, sync::Once};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use onerun_api::{Body, ROUTES};
use onerun_engine::Reply;
use onerun_tests::app::{Behavior, OTHER_KEY, ROOT_KEY, TestApp};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::{
    fixtures::{TestProject, message},
    seeded_project::SeededProject,
};

/// A word in every text of a caller or a model, and nowhere else.
const SECRET: &str = "xyzzy-plugh";

thread_local! {
    /// The log of this thread since the capture started.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes to the current thread's capture, if there is one.
struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the capture of this thread's log. The process has one subscriber: thread-local
/// subscribers lose lines while others come and go.
fn record() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        // Our own crates at the finest level. The AWS SDK logs whole bodies there, and no host
        // enables that.
        let filter = EnvFilter::new("debug,onerun=trace");
        tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(|| Writer).init();
    });
    LOG.set(Some(Vec::new()));
}

/// The lines since the last call.
fn logged() -> String {
    String::from_utf8(LOG.replace(Some(Vec::new())).unwrap_or_default()).unwrap()
}

#[tokio::test]
async fn every_request_logs_one_line_without_private_data() {
    record();
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    logged();
    let clients = [
        app.root(),
        app.anonymous(),
        app.anonymous().with_header("x-api-key", OTHER_KEY),
        app.anonymous().with_header("authorization", &format!("Bearer {OTHER_KEY}")),
        app.root().with_header("x-api-key", ROOT_KEY),
        app.root().with_header("user-agent", SECRET).with_header("cookie", SECRET),
        app.root().with_header("idempotency-key", SECRET),
    ];
    app.model().on_reply(Behavior::Says(Reply { text: Some(SECRET.to_owned()), ends: false }));
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let mut good = seeded.value(route.operation).unwrap_or_default();
        if good["name"].is_string() {
            good["name"] = SECRET.into();
        }
        if route.operation == "create_response" {
            good = message(Some(SECRET));
        }
        for client in &clients {
            for body in [good.to_string(), format!("{{\"{SECRET}\": \"{SECRET}\"}}")] {
                for query in ["", &format!("&name={SECRET}&{SECRET}=1&key={ROOT_KEY}&limit={SECRET}")] {
                    let path = format!("{}{query}", seeded.path(route));
                    let body = Body::Read(body.clone().into());
                    let (_, reply) = client.ask(route.method.clone(), &path, body).await;
                    ids.insert(reply.header("x-request-id").unwrap().to_owned());
                }
            }
        }
    }
    for path in [format!("/v1/{SECRET}"), format!("/v1/projects/{SECRET}")] {
        let (_, reply) = app.root().ask(Method::GET, &path, Body::Read("".into())).await;
        ids.insert(reply.header("x-request-id").unwrap().to_owned());
    }
    app.run_jobs().await;

    let log = logged();
    for word in [SECRET, ROOT_KEY, OTHER_KEY, &ROOT_KEY[..16]] {
        assert!(!log.contains(word), "{word} is in the log");
    }
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<_> = lines.iter().filter(|line| line["fields"]["message"] == "request").collect();
    assert_eq!(requests.len(), ids.len(), "one line for each request");
    for line in requests {
        let fields = &line["fields"];
        assert!(ids.remove(fields["request_id"].as_str().unwrap()), "{line}");
        assert!(fields["status"].is_u64() && fields["latency_us"].is_u64(), "{line}");
        let is_refused = fields["status"].as_u64().is_some_and(|status| status >= 300);
        assert_eq!(fields["code"].is_string(), is_refused, "{line}");
        if fields["status"] == 401 {
            assert!(fields["cause"].is_string(), "the log tells refusals apart: {line}");
        }
    }
}

#[tokio::test]
async fn internal_errors_are_logged_and_not_sent() {
    record();
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let route = ROUTES.iter().find(|route| route.operation == "create_response").unwrap();
    for (act, status) in [(Behavior::Unavailable, 503), (Behavior::Unusable, 503), (Behavior::Panics, 500)] {
        logged();
        app.model().on_reply(act);
        let path = seeded.path(route);
        // The client refuses a reply with the model's own text.
        seeded.project.client.post(&path, &message(Some("Hello.")), status).await;
        let log = logged();
        let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!((&line["level"], &line["fields"]["status"]), (&json!("ERROR"), &json!(status)));
        let cause = line["fields"]["cause"].as_str().unwrap();
        assert!(cause.contains("upstream 10.0.0.7"), "{cause}");
    }
}

#[tokio::test]
async fn every_job_logs_one_line_with_its_outcome() {
    record();
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    app.model().on_persona(Behavior::Unavailable);
    let failed = project.create(json!({})).await;
    logged();
    app.run_jobs_and_retries().await;
    assert_eq!(app.take_buried().len(), 1);
    let log = logged();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let jobs: Vec<&Value> = lines.iter().filter(|line| line["target"] == "onerun::job").collect();
    let reported: Vec<_> = jobs
        .iter()
        .map(|line| {
            let (level, fields) = (&line["level"], &line["fields"]);
            assert_eq!((&fields["message"], &fields["project_id"]), (&json!("job"), &json!(project.id)));
            assert!(fields["latency_us"].is_u64(), "{line}");
            assert!(fields["job"].as_str().unwrap().contains(&failed), "{line}");
            let failed = fields["outcome"] != "completed";
            assert_eq!(fields["reason"].as_str().is_some_and(|reason| reason.contains("upstream")), failed);
            assert_eq!(fields["model_failure"], if failed { json!(true) } else { Value::Null });
            json!([level, fields["work"], fields["outcome"], fields["deliveries"]])
        })
        .collect();
    let made = "generate_personas";
    let mut expected = vec![json!(["INFO", "start_simulation", "completed", 1])];
    expected.extend((1..5).map(|delivery| json!(["WARN", made, "retried", delivery])));
    expected.push(json!(["ERROR", made, "buried", 5]));
    expected.push(json!(["INFO", "notify_webhooks", "completed", 1]));
    expected.push(json!(["INFO", "stop_conversations", "completed", 1]));
    assert_eq!(reported, expected);
}

#[tokio::test]
async fn secrets_are_neither_logged_nor_stored() {
    record();
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let canary = app.root().create_key(json!({ "name": "Canary" })).await;
    let replaced = app.root().rotate_key(&canary.id, json!({})).await;
    logged();
    let key = |key: &str| app.anonymous().with_header("x-api-key", key);
    let clients = [
        key(&canary.key),
        key(&replaced.key),
        app.anonymous().with_header("authorization", &format!("Bearer {}", canary.key)),
        key(&canary.key).with_header("x-api-key", &replaced.key),
        key(&format!("{},{}", canary.key, replaced.key)),
        key(&format!("{}x", canary.key)),
        key(&canary.key).with_header("user-agent", &canary.key[..40]),
        key(&canary.key).at_address(None).with_header("idempotency-key", "canary"),
    ];
    // The kit searches every reply for created secrets. A secret sent as a name would occur in the
    // reply legitimately, so bodies contain none.
    for route in ROUTES {
        for client in &clients {
            let path = format!("{}&x-api-key={}", seeded.path(route), canary.key);
            client.ask(route.method.clone(), &path, seeded.body(route)).await;
            client.ask(route.method.clone(), &path, Body::Read("{".into())).await;
        }
    }
    app.anonymous().post("/v1/keys/revoke-leaked", &json!({ "keys": [canary.key] }), 202).await;
    for client in &clients {
        client.ask(Method::GET, "/v1/whoami", Body::Read("".into())).await;
    }
    app.run_jobs().await;

    let (log, kept) = (logged(), app.kept().await);
    assert!(log.contains(&canary.id), "the log names the key");
    assert!(kept.windows(12).any(|window| window == canary.id.as_bytes()), "so does the store");
    for made in [&canary, &replaced] {
        // Any part of it that cannot be guessed.
        for part in made.key.as_bytes()[16..].windows(12) {
            assert!(!log.contains(str::from_utf8(part).unwrap()), "a part of a secret is in the log");
            assert!(!kept.windows(12).any(|window| window == part), "a part of a secret is kept");
        }
        let secret = &URL_SAFE_NO_PAD.decode(&made.key[4..]).unwrap()[9..41];
        assert!(!kept.windows(32).any(|window| window == secret), "the bytes of a secret are kept");
    }
}
