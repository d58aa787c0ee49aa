//! Jobs over a queue that delivers messages at least once, in any order, or loses them.

use std::time::Duration;

use onerun_tests::{
    aws::{Cloud, InvocationError, When, message_id, sqs_event, tick_event},
    eventually, eventually_within,
    sdk::{SdkProject, SimulationFields, id},
};
use serde_json::{Value, json};

const FOUR: SimulationFields<'static> =
    SimulationFields { name: "Four refunds", conversations: 4, personas: 2, expires_in_seconds: None };

#[tokio::test]
async fn duplicate_and_reordered_messages_change_nothing() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    let simulation = project.simulate(FOUR).await;

    let mut history = Vec::new();
    settle(&cloud, &mut history).await;
    for conversation in project.conversations(&simulation).await {
        assert_eq!(conversation["status"], "queued", "{conversation}");
        hold(&project, &simulation, &id(&conversation)).await;
    }
    settle(&cloud, &mut history).await;

    assert_done(&cloud, &project, &simulation).await;
    let before = everything(&cloud, &project, &simulation).await;
    deliver(&cloud, &history).await;
    assert_eq!(everything(&cloud, &project, &simulation).await, before, "a late message changed something");
    // The same jobs at the same time.
    assert!(cloud.function("run_jobs").environments() > 1);
}

#[tokio::test]
async fn tick_sends_lost_messages_again() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    let simulation = project.simulate(FOUR).await;

    let mut messages = Vec::new();
    lose_every_message(&cloud, &mut messages).await;
    for conversation in project.conversations(&simulation).await {
        hold(&project, &simulation, &id(&conversation)).await;
    }
    lose_every_message(&cloud, &mut messages).await;
    assert_done(&cloud, &project, &simulation).await;

    // They were late, not lost.
    let before = everything(&cloud, &project, &simulation).await;
    assert!(messages.len() > 4, "{messages:?}");
    for message in &messages {
        cloud.job_queue.send(message, 1).await;
    }
    let mut delivered = 0;
    while delivered < messages.len() {
        delivered += eventually("message that was delayed", || async {
            match cloud.job_queue.poll(cloud.function("run_jobs"), 10).await {
                0 => Err("none".to_owned()),
                some => Ok(some),
            }
        })
        .await;
    }
    assert_eq!(cloud.job_queue.depth().await, 0);
    assert_eq!(everything(&cloud, &project, &simulation).await, before, "a late message changed something");
}

#[tokio::test]
async fn function_killed_in_any_job_loses_and_repeats_nothing() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    let simulation = project.simulate(FOUR).await;

    let mut kills = 0;
    survive(&cloud, &mut kills).await;
    let conversations = project.conversations(&simulation).await;
    assert_eq!(conversations.len(), 4, "{conversations:?}");
    for conversation in conversations {
        hold(&project, &simulation, &id(&conversation)).await;
    }
    survive(&cloud, &mut kills).await;

    assert_done(&cloud, &project, &simulation).await;
    // Starting, making personas, queueing for each of them, judging each conversation.
    assert!(kills >= 8, "{kills} kills");
}

#[tokio::test]
async fn tick_finishes_jobs_of_a_killed_function() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    let simulation = project.simulate(FOUR).await;

    let mut messages = cloud.job_messages().await;
    assert!(kill_in_the_middle(&cloud, &messages[0], When::After).await);
    messages.extend(cloud.job_messages().await);
    // No message is sent while the function may still run.
    cloud.function("tick").run(&tick_event()).await;
    assert_eq!(cloud.job_messages().await, Vec::<String>::new());
    assert_eq!(cloud.jobs().await.iter().filter(|job| job.get("seen").is_some()).count(), 1);

    let_hidden_jobs_show(&cloud).await;
    cloud.function("tick").run(&tick_event()).await;
    assert_eq!(cloud.job_messages().await, messages[..1]);
    settle(&cloud, &mut messages).await;
    let conversations = project.conversations(&simulation).await;
    assert_eq!(conversations.len(), 4, "{conversations:?}");
    assert_eq!(cloud.jobs().await, Vec::<Value>::new());
}

#[tokio::test]
async fn poison_message_ends_in_the_dead_letter_queue() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    let simulation = project.simulate(FOUR).await;
    let run_jobs = cloud.function("run_jobs");

    let good = cloud.job_messages().await.remove(0);
    let huge = json!({ "job_id": "a".repeat(250_000) }).to_string();
    let poison = [
        "",
        "not JSON",
        "{}",
        "null",
        r#"["job_id"]"#,
        r#"{"job_id": 7}"#,
        r#"{"job_id": null}"#,
        r#"{"job_id": ""}"#,
        r#"{"job_id": "a b"}"#,
        r#"{"job_id": "\u0000\ud83d\udca5"}"#,
        r#"{"job_id": "start_simulation:abc"#,
        &huge,
    ];
    // Names of no job. They are ignored.
    let strange = [
        r#"{"job_id": "start_simulation:AAAAAAAAAAAAAAAAAAAAA"}"#,
        r#"{"job_id": "../jobs#1/%00'\"><$.x>"}"#,
        r#"{"job_id": "dead-jobs"}"#,
    ];
    let bodies: Vec<&str> = poison.iter().copied().chain(strange).chain([good.as_str()]).collect();
    let answer = run_jobs.run(&sqs_event(&bodies, 1)).await;
    let mut failures: Vec<&str> = answer["batchItemFailures"]
        .as_array()
        .expect("a list of failures")
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().expect("an id"))
        .collect();
    failures.sort_unstable();
    let expected: Vec<String> = (0..poison.len()).map(message_id).collect();
    assert_eq!(failures, expected);
    assert_eq!(project.status(&simulation).await, "in_progress", "the good one was done");
    assert_eq!(run_jobs.run(&json!({ "Records": [] })).await, json!({ "batchItemFailures": [] }));

    // Through the queue with other messages: those are handled, and the poison message is
    // redelivered up to the template's limit.
    cloud.job_queue.set("VisibilityTimeout", "0").await;
    let sent: Vec<&str> = poison.iter().copied().filter(|body| !body.is_empty()).collect();
    for body in &sent {
        cloud.job_queue.send(body, 0).await;
    }
    cloud.run_pipe().await;
    eventually_within(Duration::from_mins(2), "dead letters", || async {
        cloud.job_queue.poll(run_jobs, 5).await;
        cloud.run_pipe().await;
        let (left, dead) = (cloud.job_queue.depth().await, cloud.dead_letters.depth().await);
        let is_over = left == 0 && dead == u64::try_from(sent.len()).unwrap();
        if is_over { Ok(()) } else { Err(format!("{left} in the queue, {dead} dead letters")) }
    })
    .await;
    let mut found = Vec::new();
    while found.len() < sent.len() {
        found.extend(cloud.dead_letters.receive(10).await);
    }
    for letter in &found {
        assert!(sent.iter().any(|body| letter["Body"] == *body), "changed on the way: {letter}");
        // Five deliveries, and one from the dead-letter queue.
        let received: u32 =
            letter["Attributes"]["ApproximateReceiveCount"].as_str().unwrap().parse().unwrap();
        assert!((5..=7).contains(&received), "{letter}");
    }
    let conversations = project.conversations(&simulation).await;
    assert_eq!(conversations.len(), 4, "the others were done: {conversations:?}");
    assert_eq!(run_jobs.log().matches("INIT START").count(), run_jobs.environments(), "it crashed");
}

#[tokio::test]
async fn buried_job_is_reported_with_its_reason() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    let simulation = project.simulate(FOUR).await;
    let run_jobs = cloud.function("run_jobs");

    let (job, message) = last_attempt(&cloud).await;
    let answer = run_jobs.run(&sqs_event(&[&message], 1)).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(project.status(&simulation).await, "failed", "no job waits for it");
    assert_eq!(buried_jobs(&cloud), Vec::<Value>::new(), "the attempt reports nothing");

    cloud.run_pipe().await;
    assert_eq!(
        cloud.job_queue.depth().await,
        3,
        "the burial, and the jobs that stop conversations and notify webhooks"
    );
    while cloud.job_queue.poll(run_jobs, 10).await > 0 {}
    let reported = buried_jobs(&cloud);
    assert_eq!(reported.len(), 1, "{reported:?}");
    let line = &reported[0];
    assert_eq!((&line["job"], &line["level"]), (&job, &json!("ERROR")), "{line}");
    assert_eq!(
        (&line["work"], &line["project_id"]),
        (&json!("start_simulation"), &json!(project.id)),
        "{line}"
    );
    assert_eq!(line["reason"], CLAIMED_TOO_OFTEN, "{line}");
    // The alarm counts this metric.
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"], "JobsBuried", "{line}");
    assert_eq!((&line["JobsBuried"], &line["stack"]), (&json!(1), &json!("onerun-test")), "{line}");
    // Only what could not be processed is a dead letter.
    assert_eq!((cloud.job_queue.depth().await, cloud.dead_letters.depth().await), (0, 0));
}

#[tokio::test]
async fn buried_job_is_reported_whenever_functions_are_killed() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    project.simulate(FOUR).await;
    let run_jobs = cloud.function("run_jobs");

    // The first write fails the simulation, the next one buries the job, and no line about it is written.
    let (job, message) = last_attempt(&cloud).await;
    for _write in 0..2 {
        assert_eq!(cloud.items("dead-jobs").await, Vec::<Value>::new());
        assert!(kill_in_the_middle(&cloud, &message, When::After).await);
        let_hidden_jobs_show(&cloud).await;
    }
    assert_eq!(cloud.items("dead-jobs").await.len(), 1);
    assert!(!run_jobs.final_log().contains(CLAIMED_TOO_OFTEN), "the attempt has told nobody");

    // The function that reads the buried job dies, too.
    let is_about_it = |message: &String| message.contains(r#""dead-jobs""#);
    let messages: Vec<String> = cloud.job_messages().await.into_iter().filter(is_about_it).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(kill_at(&cloud, "GetItem", &messages[0], When::After).await);
    assert_eq!(buried_jobs(&cloud), Vec::<Value>::new());
    run_jobs.run(&sqs_event(&[&messages[0]], 2)).await;
    let reported = buried_jobs(&cloud);
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert_eq!((&reported[0]["job"], &reported[0]["reason"]), (&job, &json!(CLAIMED_TOO_OFTEN)));

    // A message that cannot be processed, because the table does not answer, returns to the queue.
    cloud.dynamodb.down();
    let answer = run_jobs.run(&sqs_event(&[&messages[0]], 1)).await;
    assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": message_id(0) }] }));
    cloud.dynamodb.up().await;
    // Its simulation was deleted meanwhile, and the job with it.
    let deleted = r#"{"job_id": "start_simulation:AAAAAAAAAAAAAAAAAAAAA", "partition": "dead-jobs"}"#;
    run_jobs.run(&sqs_event(&[deleted], 1)).await;
    let reported = buried_jobs(&cloud);
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert_eq!(reported[1]["job"], "start_simulation:AAAAAAAAAAAAAAAAAAAAA");
    assert!(reported[1]["reason"].as_str().unwrap().contains("deleted"), "{reported:?}");
}

/// Why a job is buried that has killed its process at every delivery.
const CLAIMED_TOO_OFTEN: &str = "it was claimed too often and never completed";

/// Lets the next delivery of the only job be its last, as if it had killed its process at every delivery.
/// Returns the job's id and its message.
async fn last_attempt(cloud: &Cloud) -> (Value, String) {
    let job = cloud.jobs().await.remove(0);
    cloud.set_attributes(&job, &[("deliveries", json!({ "N": "100" }))]).await;
    (job["sk"]["S"].clone(), cloud.job_messages().await.remove(0))
}

/// The lines about buried jobs. Kills the function, so that none is unread.
fn buried_jobs(cloud: &Cloud) -> Vec<Value> {
    let run_jobs = cloud.function("run_jobs");
    run_jobs.kill();
    run_jobs.lines().into_iter().filter(|line| line["message"] == "buried job").collect()
}

/// Starts a conversation and ends it.
async fn hold(project: &SdkProject, simulation: &str, conversation: &str) {
    for step in ["start", "end"] {
        let path = project.path(simulation, &format!("/conversations/{conversation}/{step}"));
        project.client.post_empty(&path, 200).await;
    }
}

/// Delivers messages in two invocations at once, from the last to the first, each message twice in each.
async fn deliver(cloud: &Cloud, messages: &[String]) {
    for batch in messages.rchunks(5) {
        let bodies: Vec<&str> = batch.iter().rev().chain(batch).map(String::as_str).collect();
        let run_jobs = cloud.function("run_jobs");
        let (first, second) = (sqs_event(&bodies, 1), sqs_event(&bodies, 2));
        let (first, second) = tokio::join!(run_jobs.run(&first), run_jobs.run(&second));
        assert_eq!(first, json!({ "batchItemFailures": [] }));
        assert_eq!(second, json!({ "batchItemFailures": [] }));
    }
}

/// Delivers all messages of the stream, new and old, until no job is left.
async fn settle(cloud: &Cloud, history: &mut Vec<String>) {
    for _round in 0..100 {
        let messages = cloud.job_messages().await;
        if messages.is_empty() && cloud.jobs().await.is_empty() {
            return;
        }
        history.extend(messages);
        deliver(cloud, history).await;
    }
    panic!("jobs enqueue jobs without end: {:?}", cloud.jobs().await);
}

/// Loses every message of the stream and delivers those that ticks send again, until no job is left.
async fn lose_every_message(cloud: &Cloud, lost: &mut Vec<String>) {
    for _round in 0..100 {
        lost.extend(cloud.job_messages().await);
        let jobs = cloud.jobs().await;
        if jobs.is_empty() {
            return;
        }
        // A message that was just sent is not lost yet.
        cloud.function("tick").run(&tick_event()).await;
        assert_eq!(cloud.job_messages().await, Vec::<String>::new());
        let_messages_be_overdue(cloud, &jobs).await;
        // The change of the item is a record of the stream.
        cloud.job_messages().await;
        cloud.function("tick").run(&tick_event()).await;
        let sent = cloud.job_messages().await;
        assert_eq!(sent.len(), jobs.len(), "{sent:?}");
        deliver(cloud, &sent).await;
    }
    panic!("jobs enqueue jobs without end: {:?}", cloud.jobs().await);
}

/// As if the messages of waiting jobs had been sent ten minutes ago.
async fn let_messages_be_overdue(cloud: &Cloud, jobs: &[Value]) {
    for job in jobs {
        let due = job["due"]["S"].as_str().expect("when it was sent");
        let (added, project) = due.trim_start_matches("0#").split_once('#').expect("three parts");
        let added = added.parse::<u64>().expect("microseconds") - 600_000_000;
        let due = json!({ "S": format!("0#{added:018}#{project}") });
        cloud.set_attributes(job, &[("due", due)]).await;
    }
}

/// Delivers all messages of the stream. Kills the function in the middle of each job, then delivers
/// the job again, until no job is left.
async fn survive(cloud: &Cloud, kills: &mut u32) {
    for _round in 0..100 {
        let messages = cloud.job_messages().await;
        if messages.is_empty() && cloud.jobs().await.is_empty() {
            return;
        }
        for message in messages {
            let when = if kills.is_multiple_of(2) { When::Before } else { When::After };
            if kill_in_the_middle(cloud, &message, when).await {
                *kills += 1;
                let_hidden_jobs_show(cloud).await;
                let answer = cloud.function("run_jobs").run(&sqs_event(&[&message], 2)).await;
                assert_eq!(answer, json!({ "batchItemFailures": [] }));
            }
        }
    }
    panic!("jobs enqueue jobs without end: {:?}", cloud.jobs().await);
}

/// Delivers a message and kills the function at its first transaction; `false` if there was none.
async fn kill_in_the_middle(cloud: &Cloud, message: &str, when: When) -> bool {
    kill_at(cloud, "TransactWriteItems", message, when).await
}

/// Delivers a message and kills the function at its first call of an operation; `false` if there was none.
async fn kill_at(cloud: &Cloud, operation: &'static str, message: &str, when: When) -> bool {
    let run_jobs = cloud.function("run_jobs");
    let held = cloud.dynamodb.hold(operation, when);
    let event = sqs_event(&[message], 1);
    let invocation = run_jobs.invoke(&event);
    tokio::pin!(invocation);
    let killed = tokio::select! {
        () = held.reached() => {
            run_jobs.kill();
            let outcome = invocation.await;
            assert!(matches!(outcome, Err(InvocationError::Died(_))), "{outcome:?}");
            true
        }
        outcome = &mut invocation => {
            assert_eq!(outcome, Ok(json!({ "batchItemFailures": [] })));
            false
        }
    };
    cloud.dynamodb.hold_none();
    killed
}

/// As if the claims of jobs had expired: ten minutes.
async fn let_hidden_jobs_show(cloud: &Cloud) {
    for job in cloud.jobs().await.iter().filter(|job| job.get("seen").is_some()) {
        let hidden = job["due"]["S"].as_str().expect("until when it is hidden");
        let (_, added_and_project) = hidden.trim_start_matches("1#").split_once('#').expect("three parts");
        let due = format!("1#{:018}#{added_and_project}", 0);
        cloud.set_attributes(job, &[("due", json!({ "S": due }))]).await;
    }
}

/// The simulation is completed with the expected counts, and no job is left.
async fn assert_done(cloud: &Cloud, project: &SdkProject, simulation: &str) {
    assert_eq!(project.status(simulation).await, "completed");
    project.assert_evaluated(simulation, 4).await;
    let personas = project.client.get(&project.path(simulation, "/personas"), 200).await;
    assert_eq!(personas["data"].as_array().map(Vec::len), Some(2), "{personas}");
    let results = project.client.get(&project.path(simulation, "/results"), 200).await;
    assert_eq!(results["evaluations"]["completed"], 4, "{results}");
    assert_eq!(cloud.jobs().await, Vec::<Value>::new());
    assert_eq!(cloud.items("dead-jobs").await, Vec::<Value>::new());
}

/// All items of a simulation in the table, except messages.
async fn everything(cloud: &Cloud, project: &SdkProject, simulation: &str) -> Vec<Value> {
    let mut items = cloud.items(&format!("{}#{simulation}", project.id)).await;
    items.extend(cloud.items(&project.id).await);
    items.extend(cloud.jobs().await);
    items.extend(cloud.items("dead-jobs").await);
    items
}
