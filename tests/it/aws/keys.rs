//! Managed keys across functions. Each function has its own environments, which share only the
//! table.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response};
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{Actor, AuditCheck, AuditEntry, AuditEvent, AuditHead};
use onerun_tests::{
    Client,
    aws::{Call, Cloud, Function, Payload, When},
    eventually,
    sdk::{SdkProject, SimulationFields, assert_content, id, text},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PAYLOADS: [Payload; 3] = [Payload::V1, Payload::V2, Payload::FunctionUrl];

#[expect(clippy::disallowed_methods, reason = "keys expire by the system's clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A new key and its text.
async fn make(client: &Client, changes: &Value) -> (String, String) {
    let mut body = json!({ "name": "ci" });
    for (name, value) in changes.as_object().expect("changes") {
        body[name] = value.clone();
    }
    let made = client.post("/v1/keys", &body, 200).await;
    (id(&made), text(&made, "key"))
}

fn read_only() -> Value {
    json!({ "preset": "read_only", "all_projects": true })
}

async fn status(client: &Client, path: &str) -> (u16, String) {
    let (status, body) = client.attempt(Method::GET, path, None).await.expect("the API answers");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// A request to each of several functions.
fn paths(project: &SdkProject) -> Vec<String> {
    let within = |path: &str| format!("{path}?project_id={}", project.id);
    vec![
        "/v1/whoami".to_owned(),
        "/v1/projects".to_owned(),
        format!("/v1/projects/{}", project.id),
        within("/v1/agents"),
        within(&format!("/v1/agents/{}", project.agent)),
        within("/v1/simulations"),
    ]
}

#[tokio::test]
async fn every_function_refuses_a_revoked_key_within_the_cache_ttl() {
    let ttl = SignedDuration::from_secs(5);
    let cloud = Cloud::start_with(&[("AUTH_KEY_CACHE_SECONDS", "5")]).await;
    let root = cloud.client().await;
    let project = SdkProject::open(root.clone()).await;
    let (key, secret) = make(&root, &read_only()).await;
    let client = root.with_key(&secret);
    for path in paths(&project) {
        client.get(&path, 200).await;
    }
    root.post_empty(&format!("/v1/keys/{key}/revoke"), 200).await;
    let end = now() + ttl;
    let mut asking = JoinSet::new();
    for path in paths(&project) {
        let client = client.clone();
        asking.spawn(async move {
            eventually("refusal of the revoked key", || async {
                let sent = now();
                match status(&client, &path).await {
                    (200, _) if sent < end => Err(format!("{path} is answered")),
                    (200, _) => panic!("{path} is answered at {sent}, after {end}"),
                    other => {
                        assert_eq!(other, (401, "revoked_api_key".to_owned()), "{path}");
                        Ok(())
                    }
                }
            })
            .await;
            // The revocation is permanent.
            client.get(&path, 401).await;
        });
    }
    asking.join_all().await;
    assert_not_logged(&cloud, &[&secret]);
}

#[tokio::test]
async fn without_a_key_cache_changes_apply_at_once_everywhere() {
    let cloud = Cloud::start_with(&[("AUTH_KEY_CACHE_SECONDS", "0")]).await;
    let root = cloud.client().await;
    let project = SdkProject::open(root.clone()).await;
    let (key, secret) = make(&root, &read_only()).await;
    let client = root.with_key(&secret);
    let expect = async |status: u16, code: &str| {
        for path in paths(&project) {
            let body = client.get(&path, status).await;
            assert_eq!(body["code"].as_str().unwrap_or_default(), code, "{path}");
        }
    };
    let change = async |change: &str| root.post_empty(&format!("/v1/keys/{key}/{change}"), 200).await;
    expect(200, "").await;
    change("disable").await;
    expect(401, "inactive_api_key").await;
    change("enable").await;
    expect(200, "").await;
    let narrower = json!({ "scopes": ["agents:read"] });
    root.patch(&format!("/v1/keys/{key}"), &narrower, 200).await;
    client.get(&format!("/v1/agents?project_id={}", project.id), 200).await;
    client.get("/v1/projects", 403).await;
    change("revoke").await;
    expect(401, "revoked_api_key").await;

    // Anyone who finds a key can revoke it, through a function that checks no key.
    let (_, leaked) = make(&root, &read_only()).await;
    root.with_key(&leaked).get("/v1/whoami", 200).await;
    root.anonymous().post("/v1/keys/revoke-leaked", &json!({ "keys": [leaked] }), 202).await;
    assert_eq!(root.with_key(&leaked).get("/v1/whoami", 401).await["code"], "revoked_api_key");

    let actions = assert_chain(&root).await;
    let expected = [
        "create_key",
        "disable_key",
        "enable_key",
        "update_key",
        "revoke_key",
        "create_key",
        "revoke_leaked_key",
    ];
    assert_eq!(actions, expected);
    assert_not_logged(&cloud, &[&secret, &leaked]);
}

#[tokio::test]
async fn rotated_key_works_for_the_overlap_and_records_uses() {
    let cloud = Cloud::start().await;
    let root = cloud.client().await;
    let (key, secret) = make(&root, &read_only()).await;
    let old = root.with_key(&secret);
    old.get("/v1/projects", 200).await;

    let rotated = root.post(&format!("/v1/keys/{key}/rotate"), &json!({ "overlap_seconds": 10 }), 200).await;
    assert_eq!(rotated["replaces"], key.as_str(), "{rotated}");
    let new = root.with_key(&text(&rotated, "key"));
    let shown = root.get(&format!("/v1/keys/{key}"), 200).await;
    let end: Timestamp = text(&shown, "overlap_ends_at").parse().expect("a time");
    let sent = now();
    // One environment may have cached the old key; the other reads the key now.
    for path in ["/v1/projects", "/v1/whoami"] {
        let (status, code) = status(&old, path).await;
        assert!(status == 200 || now() >= end, "{path}: {status} {code}, sent at {sent}");
    }
    new.get("/v1/whoami", 200).await;

    eventually("end of the overlap", || async {
        let sent = now();
        let found = status(&old, "/v1/whoami").await;
        if found.0 == 200 {
            // Exactly at the overlap's end, although the key is cached for five seconds.
            assert!(sent < end, "accepted at {sent}, after {end}");
            return Err("still accepted".to_owned());
        }
        assert!(now() >= end, "refused before {end}: {found:?}");
        assert_eq!(found, (401, "expired_api_key".to_owned()));
        Ok(())
    })
    .await;
    new.get("/v1/projects", 200).await;
    assert_chain(&root).await;
    assert_not_logged(&cloud, &[&secret, &text(&rotated, "key")]);
}

#[tokio::test]
async fn key_use_is_written_after_the_response() {
    let cloud = Cloud::start().await;
    let root = cloud.client().await;
    let (key, secret) = make(&root, &read_only()).await;
    let shown = root.get(&format!("/v1/keys/{key}"), 200).await;
    assert!(shown["last_used_at"].is_null() && shown["used_scopes"] == json!([]), "{shown}");

    let before = now();
    root.with_key(&secret).get("/v1/projects", 200).await;
    let shown = used(&root, &key).await;
    let at: Timestamp = text(&shown, "last_used_at").parse().expect("a time");
    assert!(at + SignedDuration::from_secs(1) >= before && at <= now(), "{shown}");
    assert_eq!(shown["used_scopes"], json!(["projects:read"]));
    // Another function may write it a moment later, because its scope is new.
    root.with_key(&secret).get("/v1/keys", 403).await;
    root.with_key(&secret).get("/v1/whoami", 200).await;
    root.with_key(&secret).get("/v1/agents", 422).await;
    eventually("second scope", || async {
        let shown = used(&root, &key).await;
        let is_there = shown["used_scopes"] == json!(["projects:read", "agents:read"]);
        if is_there { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    assert!(
        !cloud.final_log().contains("did not register as an extension"),
        "a function is no extension of itself"
    );
}

#[tokio::test]
async fn slow_write_of_a_key_use_delays_no_response() {
    let cloud = Cloud::start().await;
    let root = cloud.client().await;
    let (key, secret) = make(&root, &read_only()).await;
    let held = cloud.dynamodb.hold("TransactWriteItems", When::Before);
    root.with_key(&secret).get("/v1/projects", 200).await;
    held.reached().await;
    held.release();
    used(&root, &key).await;
}

/// A key, once it is known that it was used.
async fn used(client: &Client, key: &str) -> Value {
    eventually("use of the key", || async {
        let shown = client.get(&format!("/v1/keys/{key}"), 200).await;
        if shown["last_used_at"].is_null() { Err(shown.to_string()) } else { Ok(shown) }
    })
    .await
}

#[tokio::test]
async fn rate_limit_is_exact_across_functions() {
    const LIMIT: usize = 20;
    let cloud = Arc::new(Cloud::start().await);
    let root = cloud.client().await;
    let mut limited = read_only();
    limited["rate_limit"] = json!({ "requests": LIMIT, "window_seconds": 86_400 });
    let day = |time: Timestamp| time.as_second().div_euclid(86_400);
    // Repeat it if midnight passed, which starts a new window.
    for _attempt in 0..2 {
        let (_, secret) = make(&root, &limited).await;
        let began = day(now());
        let mut environments = Vec::new();
        for (operation, path) in [("get_whoami", "/v1/whoami"), ("list_projects", "/v1/projects")] {
            environments.push((Arc::clone(cloud.function(operation)), path));
            environments.push((cloud.function_with(operation, &[]), path));
        }
        let mut asking = JoinSet::new();
        for (function, path) in environments {
            let (cloud, secret) = (Arc::clone(&cloud), secret.clone());
            asking.spawn(async move {
                let mut answers = Vec::new();
                for _request in 0..LIMIT / 2 {
                    let request = Request::get(path).header("x-api-key", &secret);
                    let request = request.body(Bytes::new()).expect("a request");
                    answers.push(cloud.ask(&function, Payload::V2, &request).await.expect("an answer"));
                }
                answers
            });
        }
        let answers: Vec<Response<Bytes>> = asking.join_all().await.into_iter().flatten().collect();
        if day(now()) != began {
            continue;
        }
        let mut left = Vec::new();
        for answer in &answers {
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(header("ratelimit-policy"), Some(r#""default";q=20;w=86400"#), "{answer:?}");
            let rate = header("ratelimit").expect("a RateLimit field");
            let remaining = rate.split(';').find_map(|part| part.strip_prefix("r="));
            match answer.status().as_u16() {
                200 => left.push(remaining.and_then(|left| left.parse::<usize>().ok()).expect("a number")),
                429 => {
                    assert_eq!(remaining, Some("0"));
                    assert!(header("retry-after").is_some_and(|after| after != "0"), "{answer:?}");
                }
                _ => panic!("{answer:?}"),
            }
        }
        left.sort_unstable();
        assert_eq!(left, (0..LIMIT).collect::<Vec<_>>(), "each of them once");
        assert_eq!(answers.len(), 2 * LIMIT);
        return;
    }
    panic!("midnight came twice");
}

#[tokio::test]
async fn source_address_is_read_from_api_gateway_only() {
    let cloud = Cloud::start().await;
    let root = cloud.client().await;
    let key = async |block: &str| {
        let (_, secret) =
            make(&root, &json!({ "preset": "read_only", "all_projects": true, "allowed_cidrs": [block] }))
                .await;
        secret
    };
    let (here, elsewhere) = (key("192.0.2.0/24").await, key("203.0.113.0/24").await);
    let function = cloud.function("get_whoami");
    for payload in PAYLOADS {
        for (secret, status, code) in [(&here, 200, ""), (&elsewhere, 403, "wrong_address")] {
            // The kit's own requests come from 192.0.2.1.
            let request = Request::get("/v1/whoami")
                .header("x-api-key", secret)
                .header("x-forwarded-for", "203.0.113.7")
                .header("forwarded", "for=203.0.113.7")
                .header("x-real-ip", "203.0.113.7")
                .body(Bytes::new())
                .expect("a request");
            let answer = cloud.ask(function, payload, &request).await.expect("an answer");
            let body: Value = serde_json::from_slice(answer.body()).expect("JSON");
            assert_eq!(answer.status(), status, "{payload:?}: {body}");
            assert_eq!(body["code"].as_str().unwrap_or_default(), code, "{payload:?}");
        }
    }
    // Through the front, requests come from this machine.
    root.with_key(&here).with_header("x-forwarded-for", "192.0.2.1").get("/v1/whoami", 403).await;
    assert_not_logged(&cloud, &[&here, &elsewhere]);
}

#[tokio::test]
async fn concurrent_changes_leave_one_audit_chain() {
    const AT_ONCE: usize = 4;
    let cloud = Cloud::start().await;
    let root = cloud.client().await;
    let (shared, _) = make(&root, &read_only()).await;
    let mut changing = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (root, shared) = (root.clone(), shared.clone());
        changing.spawn(async move {
            let (own, _) = make(&root, &read_only()).await;
            for round in 0..3 {
                let name = json!({ "name": format!("{worker} in round {round}") });
                root.patch(&format!("/v1/keys/{shared}"), &name, 200).await;
                root.patch(&format!("/v1/keys/{own}"), &name, 200).await;
            }
            root.post_empty(&format!("/v1/keys/{own}/revoke"), 200).await;
        });
    }
    changing.join_all().await;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for action in assert_chain(&root).await {
        *times.entry(action).or_default() += 1;
    }
    let expected = [("create_key", 1 + AT_ONCE), ("revoke_key", AT_ONCE), ("update_key", 6 * AT_ONCE)];
    assert_eq!(times, expected.map(|(action, times)| (action.to_owned(), times)).into());
    assert!(cloud.function("update_key").environments() > 1, "they did not meet");
}

#[tokio::test]
async fn cold_start_reads_the_secret_but_not_the_table() {
    let cloud = Cloud::start().await;
    let root = cloud.client().await;
    let (key, secret) = make(&root, &read_only()).await;
    cloud.dynamodb.take_calls();
    cloud.secrets_manager.take_calls();

    let held = cloud.secrets_manager.hold("GetSecretValue", When::Before);
    let managed = root.with_key(&secret);
    let asking = managed.get("/v1/projects", 200);
    tokio::pin!(asking);
    tokio::select! {
        () = held.reached() => {}
        answer = &mut asking => panic!("answered without having read the secret: {answer}"),
    }
    assert!(cloud.dynamodb.take_calls().is_empty(), "the table is used in the initialisation");
    held.release();
    asking.await;
    assert_eq!(cloud.secrets_manager.take_calls().len(), 1);
    // The key, then the route's own reads, and the key's use, which is written some time after the
    // reply.
    let mut calls = Vec::new();
    eventually("use of the key", || {
        calls.extend(cloud.dynamodb.take_calls());
        let is_over = calls.iter().any(|call: &Call| call.operation == "TransactWriteItems");
        let result = if is_over { Ok(()) } else { Err(format!("{calls:?}")) };
        async { result }
    })
    .await;
    let first = calls.first().map(|call| (call.operation.as_str(), &call.input["Key"]));
    assert_eq!(first, Some(("GetItem", &json!({ "pk": { "S": "keys" }, "sk": { "S": key } }))), "{calls:?}");

    // A cached key costs no further call, and a root key none at all.
    managed.get("/v1/projects", 200).await;
    let named = |calls: &[Call]| calls.iter().any(|call| call.input.to_string().contains("keys"));
    let calls = cloud.dynamodb.take_calls();
    assert!(!calls.is_empty() && !named(&calls), "{calls:?}");
    root.get("/v1/whoami", 200).await;
    let calls = cloud.dynamodb.take_calls();
    assert!(calls.is_empty(), "{calls:?}");
}

#[tokio::test]
async fn unreadable_table_gives_503_for_managed_keys() {
    let cloud = Cloud::start_with(&[("AUTH_KEY_CACHE_SECONDS", "0")]).await;
    let root = cloud.client().await;
    let (_, secret) = make(&root, &read_only()).await;
    let managed = root.with_key(&secret);
    let function = cloud.function("get_whoami");
    managed.get("/v1/whoami", 200).await;

    cloud.dynamodb.close(true);
    assert_unavailable(&managed, function).await;
    // The root key is not in the table.
    root.get("/v1/whoami", 200).await;
    cloud.dynamodb.close(false);
    managed.get("/v1/whoami", 200).await;

    cloud.dynamodb.down();
    assert_unavailable(&managed, function).await;
    cloud.dynamodb.up().await;
    eventually("recovery", || async {
        match status(&managed, "/v1/whoami").await {
            (200, _) => Ok(()),
            (503, code) => Err(code),
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert_eq!(function.environments(), 1, "it is the same process");
    assert_not_logged(&cloud, &[&secret]);
}

async fn assert_unavailable(client: &Client, function: &Arc<Function>) {
    let reply = client.send(Method::GET, "/v1/whoami", None, 503).await;
    assert_eq!(reply.json()["code"], "auth_unavailable");
    assert!(reply.headers.contains_key("retry-after"), "{:?}", reply.headers);
    eventually("line about the cause", || async {
        let lines = function.lines();
        let tells = |line: &Value| line["level"] == "ERROR" && line["message"] != "request";
        if lines.iter().any(tells) { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
}

#[tokio::test]
async fn worker_with_a_worker_key_completes_a_simulation() {
    let cloud = Cloud::start().await;
    cloud.run_in_background();
    let project = SdkProject::open(cloud.client().await).await;
    let wanted =
        SimulationFields { name: "Four refunds", conversations: 4, personas: 2, expires_in_seconds: None };
    let ci = project.with_key_of("ci").await;
    let simulation = ci.simulate(wanted).await;

    let held_by = project.with_key_of("worker").await;
    let worker = held_by.worker(&[]);
    ci.reaches(&simulation, "completed").await;

    let worker_log = assert_content(worker).await;
    ci.assert_evaluated(&simulation, 4).await;
    // The scopes of the preset that it used.
    let keys = project.client.get("/v1/keys", 200).await;
    let of_worker = keys["data"].as_array().and_then(|keys| keys.iter().find(|key| key["name"] == "worker"));
    let used = of_worker.map(|key| key["used_scopes"].clone());
    assert!(used.is_some_and(|used| used.to_string().contains("conversations")), "{keys}");
    let given: Vec<&str> = [ci.client.key(), held_by.client.key()].into_iter().flatten().collect();
    assert!(given.iter().all(|key| !worker_log.contains(key)), "a key is in the worker's log");
    assert_not_logged(&cloud, &given);
}

/// Reads the whole audit trail, by pages, and checks it. The actions in it, from the first.
async fn assert_chain(client: &Client) -> Vec<String> {
    let mut check = AuditCheck::default();
    let mut actions = Vec::new();
    loop {
        let path = format!("/v1/audit?order=oldest&limit=7&offset={}", actions.len());
        let page = client.get(&path, 200).await;
        for entry in page["data"].as_array().expect("entries") {
            check.take(&audit_entry(entry)).unwrap_or_else(|error| panic!("{error}: {entry}"));
            actions.push(text(entry, "action"));
        }
        if page["has_more"] == false {
            let head = AuditHead {
                sequence: page["head"]["sequence"].as_u64().expect("a number"),
                hash: text(&page["head"], "hash"),
            };
            assert_eq!(check.finish(Some(&head)), Ok(()));
            return actions;
        }
    }
}

fn audit_entry(entry: &Value) -> AuditEntry {
    let optional = |value: &Value| value.as_str().map(str::to_owned);
    let actor = &entry["actor"];
    let details = entry["details"].as_object().into_iter().flatten();
    let event = AuditEvent {
        at: text(entry, "at"),
        action: text(entry, "action"),
        key_id: text(entry, "key_id"),
        actor: Actor {
            key_id: text(actor, "key_id"),
            address: optional(&actor["address"]),
            user_agent: optional(&actor["user_agent"]),
            request_id: text(actor, "request_id"),
        },
        details: details.map(|(name, value)| (name.clone(), optional(value).expect("a text"))).collect(),
    };
    AuditEntry {
        sequence: entry["sequence"].as_u64().expect("a number"),
        event,
        previous_hash: text(entry, "previous_hash"),
        hash: text(entry, "hash"),
    }
}

/// No function has logged a key, or the part of one that is secret.
fn assert_not_logged(cloud: &Cloud, keys: &[&str]) {
    let log = cloud.final_log();
    assert!(!log.is_empty());
    for key in keys {
        for secret in [&key[16..], &key[16..40]] {
            assert!(!log.contains(secret), "a key is in the log");
        }
    }
}
