//! Rotation of the secret, in the steps of Secrets Manager, while clients call the API.

use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use onerun_tests::{
    Client,
    aws::{Cloud, InvocationError, Relay, When},
    eventually,
    sdk::id,
};
use serde_json::json;
use tokio::task::JoinSet;

/// The id of an unknown version.
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// The requests repeated with each key.
const PATHS: [&str; 2] = ["/v1/whoami", "/v1/projects"];

/// A reply, with the times before and after its request.
#[derive(Debug)]
struct TimedReply {
    sent: Timestamp,
    received: Timestamp,
    status: u16,
    code: String,
}

#[expect(clippy::disallowed_methods, reason = "keys expire by the system's clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

async fn ask(client: &Client, path: &'static str) -> TimedReply {
    let sent = now();
    let (status, body) = client.attempt(Method::GET, path, None).await.expect("the API answers");
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    TimedReply { sent, received: now(), status, code }
}

/// Repeats all requests until a reply is unexpected or `is_enough` returns true.
async fn keep_asking(client: Client, is_enough: impl Fn(&[TimedReply]) -> bool) -> Vec<TimedReply> {
    let mut answers = Vec::new();
    let end = now() + SignedDuration::from_mins(2);
    loop {
        for path in PATHS {
            answers.push(ask(&client, path).await);
        }
        if is_enough(&answers) {
            return answers;
        }
        assert!(now() < end, "no end in sight: {:?}", answers.last());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn old_key_works_for_the_overlap_and_no_longer() {
    // The shortest but for one that leaves a slow machine time: a rotation must end within half of it.
    let overlap = SignedDuration::from_secs(40);
    let cloud = Cloud::start_with(&[("AUTH_ROTATION_OVERLAP_SECONDS", "40")]).await;
    let old = cloud.client().await;
    let project = id(&old.post("/v1/projects", &json!({ "name": "Desk" }), 200).await);
    let are_refused =
        |answers: &[TimedReply]| answers.iter().rev().take(PATHS.len()).all(|last| last.status == 401);
    let with_old = tokio::spawn(keep_asking(old.clone(), are_refused));

    let token = cloud.begin_rotation().await;
    let rotate = cloud.function("rotate_secret");
    for step in &STEPS[..3] {
        rotate.run(&cloud.secret.rotation_event(step, &token)).await;
    }
    let pending = cloud.secret.version("AWSPENDING").await.expect("a pending version");
    assert_eq!(pending.id, token);
    let new = old.with_key(&pending.text);
    assert_eq!(new.get("/v1/whoami", 200).await["key_id"], "root-pending");
    assert_eq!(new.get("/v1/projects", 403).await["code"], "insufficient_scope", "it is not in force yet");
    rotate.run(&cloud.secret.rotation_event(STEPS[3], &token)).await;
    let finished = now();

    let current = cloud.secret.version("AWSCURRENT").await.expect("a version in force");
    assert_eq!((&current.id, &current.text), (&token, &pending.text));
    let end = current.created_at + overlap;
    let with_new = tokio::spawn(keep_asking(new.clone(), move |answers| {
        answers.last().is_some_and(|last| last.sent > end)
    }));
    // A function that has started with the new key alone.
    let cold = ask(&old, "/v1/whoami").await;
    let path = format!("/v1/projects/{project}");
    let (status, _) = old.attempt(Method::GET, &path, None).await.expect("the API answers");
    assert!(status == 200 || now() >= end, "{status}");
    assert!(cold.status == 200 || cold.received >= end, "{cold:?}");

    let (with_old, with_new) = (with_old.await.expect("no panic"), with_new.await.expect("no panic"));
    for answer in &with_new {
        assert_eq!(answer.status, 200, "the new key is in force: {answer:?}");
    }
    for answer in &with_old {
        match answer.status {
            200 => assert!(answer.sent < end, "accepted after {end}: {answer:?}"),
            401 => assert!(answer.received >= end, "refused before {end}: {answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    let in_overlap = with_old.iter().filter(|answer| answer.sent > finished && answer.status == 200).count();
    assert!(in_overlap >= PATHS.len(), "no request used the old key in the overlap");
    let refused = with_old.last().expect("answers");
    assert!(["expired_api_key", "invalid_api_key"].contains(&refused.code.as_str()), "{refused:?}");
    // A function that starts now does not accept it either.
    let code = old.get(&format!("/v1/agents?project_id={project}"), 401).await["code"].clone();
    assert!(code == "expired_api_key" || code == "invalid_api_key", "{code}");

    let log = cloud.final_log();
    for key in [old.key().unwrap(), &pending.text] {
        assert!(!log.contains(key), "a key is in the log");
    }
}

#[tokio::test]
async fn without_an_overlap_the_old_key_ends_within_seconds() {
    let cloud = Cloud::start_with(&[("AUTH_ROTATION_OVERLAP_SECONDS", "0")]).await;
    let old = cloud.client().await;
    for path in PATHS {
        old.get(path, 200).await;
    }
    let token = cloud.begin_rotation().await;
    for step in STEPS {
        cloud.function("rotate_secret").run(&cloud.secret.rotation_event(step, &token)).await;
    }
    // No function reads the secret more often than once in five seconds.
    let end = now() + SignedDuration::from_secs(5);
    let new = cloud.client().await;
    let is_refused =
        |answers: &[TimedReply]| answers.iter().rev().take(PATHS.len()).all(|last| last.status == 401);
    let is_over = move |answers: &[TimedReply]| answers.last().is_some_and(|last| last.sent > end);
    let (with_old, with_new) = tokio::join!(keep_asking(old, is_refused), keep_asking(new, is_over));
    for answer in &with_old {
        assert!(answer.status == 401 || (answer.status == 200 && answer.sent < end), "{answer:?}");
    }
    assert!(with_new.iter().all(|answer| answer.status == 200), "{with_new:?}");
}

#[tokio::test]
async fn rotation_killed_between_steps_is_finished_later() {
    let cloud = Cloud::start().await;
    let old = cloud.client().await;
    let token = cloud.begin_rotation().await;
    let rotate = cloud.function("rotate_secret");
    let mut pending = None;
    for step in STEPS {
        // Steps that were done are repeated and change nothing.
        for again in STEPS.iter().take_while(|again| **again != step).chain([&step, &step]) {
            rotate.run(&cloud.secret.rotation_event(again, &token)).await;
        }
        rotate.kill();
        let key = cloud.secret.version("AWSPENDING").await.map(|version| version.text);
        assert!(step == "finishSecret" || key.is_some(), "{step}");
        assert!(pending.is_none() || key.is_none() || pending == key, "another key after {step}");
        pending = pending.or(key);
    }
    assert_rotated(&cloud, &old, &token).await;
    assert_eq!(Some(cloud.secret.key().await), pending);
}

#[tokio::test]
async fn rotation_killed_before_a_change_is_finished_later() {
    survive_all(When::Before).await;
}

#[tokio::test]
async fn rotation_killed_after_a_change_is_finished_later() {
    survive_all(When::After).await;
}

/// Every call that changes something, and the one that asks the API.
async fn survive_all(when: When) {
    let mut rotations = JoinSet::new();
    rotations.spawn(survive("createSecret", "PutSecretValue", |cloud| &cloud.rotation, when));
    rotations.spawn(survive("testSecret", "DescribeSecret", |cloud| &cloud.secrets_manager, when));
    rotations.spawn(survive("finishSecret", "UpdateSecretVersionStage", |cloud| &cloud.rotation, when));
    while let Some(done) = rotations.join_next().await {
        done.expect("a rotation that recovers");
    }
}

/// A rotation whose function is killed in `step`, as a call of `operation` is on its way.
async fn survive(step: &'static str, operation: &'static str, relay: fn(&Cloud) -> &Relay, when: When) {
    let cloud = Cloud::start().await;
    let old = cloud.client().await;
    old.get("/v1/whoami", 200).await;
    let token = cloud.begin_rotation().await;
    let rotate = cloud.function("rotate_secret");
    for before in STEPS.iter().take_while(|before| **before != step) {
        rotate.run(&cloud.secret.rotation_event(before, &token)).await;
    }
    let held = relay(&cloud).hold(operation, when);
    let event = cloud.secret.rotation_event(step, &token);
    let invocation = rotate.invoke(&event);
    tokio::pin!(invocation);
    tokio::select! {
        () = held.reached() => rotate.kill(),
        outcome = &mut invocation => panic!("{step} has not called {operation}: {outcome:?}"),
    }
    let outcome = invocation.await;
    assert!(matches!(outcome, Err(InvocationError::Died(_))), "{outcome:?}");
    held.release();

    assert_eq!(
        old.get("/v1/whoami", 200).await["key_id"].as_str().map(|id| id.starts_with("root")),
        Some(true)
    );
    let left = cloud.secret.version("AWSPENDING").await;
    for step in STEPS {
        for _repeated in 0..2 {
            rotate.run(&cloud.secret.rotation_event(step, &token)).await;
        }
    }
    assert_rotated(&cloud, &old, &token).await;
    if let Some(left) = left {
        assert_eq!(cloud.secret.key().await, left.text, "the key that was made before is the one in force");
    }
}

/// The version is in force, the one before it is the previous one, and the API accepts both keys.
async fn assert_rotated(cloud: &Cloud, old: &Client, token: &str) {
    let labels = cloud.secret.labels(token).await;
    assert!(labels.iter().any(|label| label == "AWSCURRENT"), "{labels:?}");
    let previous = cloud.secret.version("AWSPREVIOUS").await.expect("a previous version");
    assert_eq!(Some(previous.text.as_str()), old.key());
    let new = cloud.client().await;
    assert_ne!(new.key(), old.key());
    assert_eq!(new.get("/v1/whoami", 200).await["key_id"], "root");
    assert_eq!(old.get("/v1/whoami", 200).await["key_id"], "root-previous");
}

#[tokio::test]
async fn key_that_the_api_refuses_is_never_promoted() {
    // The API reads another secret, so it will never know the key.
    let cloud = Cloud::start_with(&[("AUTH_SECRET_ID", "another-secret")]).await;
    let other = cloud.secret.key().await;
    cloud.secret.another("another-secret", Some(&other)).await;
    let token = cloud.begin_rotation().await;
    let rotate = cloud.function("rotate_secret");
    for step in &STEPS[..2] {
        rotate.run(&cloud.secret.rotation_event(step, &token)).await;
    }
    let tested = rotate.invoke(&cloud.secret.rotation_event("testSecret", &token)).await;
    let Err(InvocationError::Error(error)) = tested else { panic!("{tested:?}") };
    assert!(error.contains("did not accept the key") && error.contains("401"), "{error}");
    assert_eq!(cloud.secret.key().await, other, "the old key is in force");
    let asked = cloud.front().exchanges();
    assert!(asked.iter().any(|asked| asked.operation == "get_whoami" && asked.status == 401), "{asked:?}");
    let pending = cloud.secret.version("AWSPENDING").await.expect("a pending version");
    assert!(!cloud.final_log().contains(&pending.text), "a key is in the log");
}

#[tokio::test]
async fn version_that_is_not_pending_is_refused() {
    let cloud = Cloud::start().await;
    let current = cloud.secret.version("AWSCURRENT").await.expect("a version in force");
    let rotate = cloud.function("rotate_secret");
    let steps = STEPS.into_iter().filter(|step| *step != "testSecret");
    for step in steps.clone() {
        // Rotation is not set up.
        let outcome = rotate.invoke(&cloud.secret.rotation_event(step, UNKNOWN)).await;
        assert!(matches!(outcome, Err(InvocationError::Error(_))), "{step}: {outcome:?}");
    }
    cloud.begin_rotation().await;
    for step in steps {
        let outcome = rotate.invoke(&cloud.secret.rotation_event(step, UNKNOWN)).await;
        assert!(matches!(outcome, Err(InvocationError::Error(_))), "{step}: {outcome:?}");
    }
    let after = cloud.secret.version("AWSCURRENT").await.expect("a version in force");
    assert_eq!((after.id, after.text), (current.id, current.text));
}

/// The script of the runbook, with all that Secrets Manager would have the function do.
#[tokio::test]
async fn one_command_revokes_a_leaked_root_key() {
    let cloud = Cloud::start().await;
    let old = cloud.client().await;
    for path in PATHS {
        old.get(path, 200).await;
    }
    let first = cloud.secret.version("AWSCURRENT").await.expect("a version in force");
    let mut script = cloud.script("tools/revoke-root-key.sh").await;
    let token = eventually("a rotation", || async {
        let found = cloud.secret.call("DescribeSecret", json!({})).await["VersionIdsToStages"].clone();
        let versions = found.as_object().cloned().unwrap_or_default();
        let pending = versions.iter().find(|(_, labels)| labels.to_string().contains("AWSPENDING"));
        pending.map(|(id, _)| id.clone()).ok_or_else(|| found.to_string())
    })
    .await;
    for step in STEPS {
        cloud.function("rotate_secret").run(&cloud.secret.rotation_event(step, &token)).await;
    }
    let said = script.success().await;
    assert!(said.contains(&format!("version {token} is in force")), "{said}");
    assert!(cloud.secret.labels(&first.id).await.is_empty(), "no label is left on the leaked one");
    // No function trusts a cached secret for longer than five seconds, the default.
    let end = now() + SignedDuration::from_secs(5);
    let is_over = move |answers: &[TimedReply]| answers.last().is_some_and(|last| last.sent > end);
    let answers = keep_asking(old.clone(), is_over).await;
    let refused = |answer: &TimedReply| answer.status == 401 || (answer.status == 200 && answer.sent < end);
    assert!(answers.iter().all(refused), "{answers:?}");
    for path in PATHS {
        assert_eq!(old.get(path, 401).await["code"], "invalid_api_key");
        cloud.client().await.get(path, 200).await;
    }
}

/// Secrets Manager runs this step alone when a schedule is set, for a version that it creates and
/// removes.
#[tokio::test]
async fn test_secret_step_alone_changes_nothing() {
    let cloud = Cloud::start().await;
    let current = cloud.secret.version("AWSCURRENT").await.expect("a version in force");
    let rotate = cloud.function("rotate_secret");
    let test = |token: &str| cloud.secret.rotation_event("testSecret", token);
    rotate.run(&test(UNKNOWN)).await;
    // A labelled version without a value.
    let token = cloud.begin_rotation().await;
    rotate.run(&test(&token)).await;
    assert_eq!(cloud.secret.labels(&token).await, ["AWSPENDING"]);
    // A version with the current value.
    let copy =
        json!({ "SecretString": current.text, "ClientRequestToken": token, "VersionStages": ["AWSPENDING"] });
    cloud.secret.call("PutSecretValue", copy).await;
    rotate.run(&test(&token)).await;

    let after = cloud.secret.version("AWSCURRENT").await.expect("a version in force");
    assert_eq!((after.id, &after.text), (current.id, &current.text));
    let asked = cloud.front().exchanges();
    let asked: Vec<_> = asked.iter().map(|asked| (asked.operation.as_str(), asked.status)).collect();
    assert_eq!(asked, [("get_whoami", 200); 3]);
    let before = cloud.secret.call("DescribeSecret", json!({})).await["VersionIdsToStages"].clone();
    let finished = rotate.invoke(&cloud.secret.rotation_event("finishSecret", UNKNOWN)).await;
    assert!(matches!(finished, Err(InvocationError::Error(_))), "{finished:?}");
    assert_eq!(cloud.secret.call("DescribeSecret", json!({})).await["VersionIdsToStages"], before);
}
