//! When functions read the secret with the root key, and their replies while it cannot be read.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use jiff::{Timestamp, tz::TimeZone};
use onerun_tests::{
    aws::{Cloud, Function, Payload, When, sqs_event, tick_event},
    eventually,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A key that is as good as any.
const KEY: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

#[tokio::test]
async fn cold_start_reads_the_secret_once_before_invocations() {
    // Read again no sooner than after a minute, however slow the machine is.
    let cloud = Cloud::start_with(&[("AUTH_KEY_CACHE_SECONDS", "60")]).await;
    let client = cloud.client().await;
    let held = cloud.secrets_manager.hold("GetSecretValue", When::Before);
    let whoami = client.get("/v1/whoami", 200);
    tokio::pin!(whoami);
    tokio::select! {
        () = held.reached() => {}
        answer = &mut whoami => panic!("answered without having read the secret: {answer}"),
    }
    // The emulator logs the end of initialisation. The secret was read before it.
    let released = now();
    held.release();
    whoami.await;
    client.get("/v1/whoami", 200).await;
    let initialised = eventually("end of the initialisation", || async {
        let log = cloud.function("get_whoami").log();
        let line = log.lines().find(|line| line.contains("INIT RTDONE(status: success)"));
        line.and_then(time).ok_or(log)
    })
    .await;
    assert!(
        initialised >= released,
        "the secret was read after the initialisation, which ended at {initialised}"
    );

    let calls = cloud.secrets_manager.take_calls();
    let [call] = &calls[..] else { panic!("not one call: {calls:?}") };
    assert_eq!(call.operation, "GetSecretValue");
    assert_eq!(call.input, json!({ "SecretId": cloud.secret.arn, "VersionStage": "AWSCURRENT" }));
}

/// The time of an emulator's log line, in milliseconds: `25 Nov 2026 14:39:21,305 [INFO] …`.
fn time(line: &str) -> Option<Timestamp> {
    let text = line.split(" [").next()?.replace(',', ".");
    let time = jiff::fmt::strtime::parse("%d %b %Y %H:%M:%S%.f", text).ok()?;
    time.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp())
}

/// Now, to the millisecond.
#[expect(clippy::disallowed_methods, reason = "compared with what another process reads from the same clock")]
fn now() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).expect("a time")
}

#[tokio::test]
async fn functions_that_check_no_key_read_no_secret() {
    let cloud = Cloud::start().await;
    let client = cloud.client().await.anonymous();
    client.get("/health", 200).await;
    client.get("/openapi.json", 200).await;
    cloud.function("run_jobs").run(&sqs_event(&[], 1)).await;
    cloud.function("tick").run(&tick_event()).await;
    let calls = cloud.secrets_manager.take_calls();
    assert!(calls.is_empty(), "{calls:?}");
}

/// A way for a secret to be wrong.
struct InvalidSecret {
    name: &'static str,
    /// The stored value; `None` is no value.
    text: Option<&'static str>,
    /// A text that the log must contain.
    cause: &'static str,
}

const WRONG: [InvalidSecret; 7] = [
    InvalidSecret { name: "without-value", text: None, cause: "no such secret" },
    InvalidSecret { name: "blank", text: Some(" \n"), cause: "no usable key" },
    InvalidSecret {
        name: "weak",
        text: Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        cause: "no usable key",
    },
    InvalidSecret { name: "placeholder", text: Some("changeme"), cause: "no usable key" },
    InvalidSecret { name: "no-key", text: Some("correct horse battery staple ####"), cause: "no usable key" },
    InvalidSecret { name: "other-json", text: Some(r#"{"password":"hunter2hunter2"}"#), cause: "api_key" },
    InvalidSecret { name: "broken-json", text: Some(r#"{"api_key":"gZ8Y0m5yX2qJ"#), cause: "JSON" },
];

#[tokio::test]
async fn secret_without_a_key_gives_503_not_401() {
    let cloud = Arc::new(Cloud::start_with(&[("AUTH_SECRET_TTL_SECONDS", "5")]).await);
    let mut cases = JoinSet::new();
    for wrong in WRONG {
        let cloud = Arc::clone(&cloud);
        cases.spawn(async move {
            let secret = cloud.secret.another(wrong.name, wrong.text).await;
            let function = cloud.function_with("get_whoami", &[("AUTH_SECRET_ID", wrong.name)]);
            assert_unavailable(&cloud, &function, wrong.cause).await;
            secret.put(KEY).await;
            assert_recovers(&cloud, &function).await;
            if let Some(text) = wrong.text.map(str::trim).filter(|text| !text.is_empty()) {
                assert!(!function.final_log().contains(text), "{}: its value is in the log", wrong.name);
            }
        });
    }
    let missing = Arc::clone(&cloud);
    cases.spawn(async move {
        let function = missing.function_with("get_whoami", &[("AUTH_SECRET_ID", "missing")]);
        assert_unavailable(&missing, &function, "no such secret").await;
        missing.secret.another("missing", Some(KEY)).await;
        assert_recovers(&missing, &function).await;
    });
    let deleted = Arc::clone(&cloud);
    cases.spawn(async move {
        let secret = deleted.secret.another("deleted", Some(KEY)).await;
        secret.call("DeleteSecret", json!({ "RecoveryWindowInDays": 7 })).await;
        let function = deleted.function_with("get_whoami", &[("AUTH_SECRET_ID", "deleted")]);
        assert_unavailable(&deleted, &function, "marked for deletion").await;
        secret.call("RestoreSecret", json!({})).await;
        assert_recovers(&deleted, &function).await;
    });
    let json = Arc::clone(&cloud);
    cases.spawn(async move {
        // In this form it is right.
        json.secret
            .another("json", Some(&format!(" {{\"api_key\": \"{KEY}\\n\", \"owner\": \"x\"}} \n")))
            .await;
        let function = json.function_with("get_whoami", &[("AUTH_SECRET_ID", "json")]);
        assert_eq!(ask(&json, &function, Some(KEY)).await.status(), 200);
    });
    while let Some(done) = cases.join_next().await {
        done.expect("a case that passes");
    }
}

#[tokio::test]
async fn corrupted_secret_gives_503_until_it_is_repaired() {
    let cloud = Cloud::start_with(&[("AUTH_SECRET_TTL_SECONDS", "5")]).await;
    let key = cloud.secret.key().await;
    let function = cloud.function("get_whoami");
    assert_eq!(ask(&cloud, function, Some(&key)).await.status(), 200);

    cloud.secret.call("DeleteSecret", json!({ "RecoveryWindowInDays": 7 })).await;
    eventually("end of what was read", || async {
        let response = ask(&cloud, function, Some(&key)).await;
        match response.status().as_u16() {
            200 => Err("still accepted".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    assert_unavailable(&cloud, function, "marked for deletion").await;
    cloud.secret.call("RestoreSecret", json!({})).await;
    eventually("recovery", || async {
        match ask(&cloud, function, Some(&key)).await.status().as_u16() {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    assert_one_process(function);
    assert!(!cloud.final_log().contains(&key), "the key is in the log");
}

#[tokio::test]
async fn secrets_manager_outage_gives_503_not_401() {
    let cloud = Cloud::start_with(&[("AUTH_SECRET_TTL_SECONDS", "5")]).await;
    cloud.secret.put(KEY).await;
    cloud.secrets_manager.down();
    let function = cloud.function("get_whoami");
    assert_unavailable(&cloud, function, "Secrets Manager").await;
    cloud.secrets_manager.up().await;
    assert_recovers(&cloud, function).await;
}

#[tokio::test]
async fn denied_secret_access_gives_503_not_401() {
    let cloud = Cloud::start_with(&[("AUTH_SECRET_TTL_SECONDS", "5")]).await;
    cloud.secret.put(KEY).await;
    cloud.secrets_manager.close(true);
    let function = cloud.function("get_whoami");
    assert_unavailable(&cloud, function, "may not read the secret").await;
    cloud.secrets_manager.close(false);
    assert_recovers(&cloud, function).await;
}

async fn ask(cloud: &Cloud, function: &Arc<Function>, key: Option<&str>) -> Response<Bytes> {
    let mut request = Request::get("/v1/whoami");
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let request = request.body(Bytes::new()).expect("a request");
    cloud.ask(function, Payload::V2, &request).await.expect("an answer")
}

/// Every caller, with a right or a wrong key, gets a 503, and the log has the cause.
async fn assert_unavailable(cloud: &Cloud, function: &Arc<Function>, cause: &str) {
    for key in [KEY, "q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI="] {
        let response = ask(cloud, function, Some(key)).await;
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!((response.status().as_u16(), &body["code"]), (503, &"auth_unavailable".into()), "{body}");
        let after =
            response.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse::<u32>().ok());
        assert!(after.is_some_and(|after| after >= 1), "{:?}", response.headers());
        assert!(!body.to_string().contains(cause), "internal: {body}");
    }
    // A missing key is always a 401.
    assert_eq!(ask(cloud, function, None).await.status(), 401);
    eventually(&format!("error about {cause:?}"), || async {
        let lines = function.lines();
        let tells = |line: &Value| line["level"] == "ERROR" && line.to_string().contains(cause);
        if lines.iter().any(tells) { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
}

/// The key is accepted in the end, by the process that refused it.
async fn assert_recovers(cloud: &Cloud, function: &Arc<Function>) {
    eventually("recovery", || async {
        let response = ask(cloud, function, Some(KEY)).await;
        match response.status().as_u16() {
            200 => Ok(()),
            // Never is it called wrong meanwhile.
            503 => Err(format!("{response:?}")),
            _ => panic!("{response:?}"),
        }
    })
    .await;
    assert_one_process(function);
    assert!(!function.final_log().contains(KEY), "the key is in the log");
}

fn assert_one_process(function: &Function) {
    assert_eq!((function.environments(), function.log().matches("INIT START").count()), (1, 1));
}
