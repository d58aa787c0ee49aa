//! The whole path: from the SDK by the API to functions, from the table by its stream and the queue to jobs, and back.

use std::collections::{BTreeMap, HashMap};

use onerun_tests::{
    aws::{Cloud, Exchange},
    eventually,
    sdk::{SdkProject, SimulationFields, assert_content, check_every_status},
};
use serde_json::Value;

#[tokio::test]
async fn worker_completes_a_simulation_with_results() {
    let cloud = Cloud::start().await;
    cloud.run_in_background();
    let project = SdkProject::open(cloud.client().await).await;
    let wanted =
        SimulationFields { name: "Ten refunds", conversations: 10, personas: 5, expires_in_seconds: None };
    let simulation = project.simulate(wanted).await;

    let worker = project.worker(&[]);
    project.reaches(&simulation, "completed").await;

    let worker_log = assert_content(worker).await;
    project.assert_evaluated(&simulation, 10).await;
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for conversation in project.conversations(&simulation).await {
        *shares.entry(conversation["persona"]["id"].to_string()).or_default() += 1;
    }
    assert_eq!(shares.values().copied().collect::<Vec<_>>(), [2; 5], "{shares:?}");
    let results = project.client.get(&project.path(&simulation, "/results"), 200).await;
    assert_eq!(results["conversations"]["ended"], 10, "{results}");
    assert_eq!(results["evaluations"]["completed"], 10, "{results}");
    // Prose needs a model, and the offline model returns no verdict on it.
    for (name, outcome) in [("Starts the refund", "inconclusive"), ("Blames nobody", "passed")] {
        let objectives = results["objectives"].as_array().expect("a list of objectives");
        let found = objectives.iter().find(|objective| objective["name"] == name);
        assert_eq!(found.map(|objective| &objective[outcome]), Some(&10.into()), "{results}");
    }

    assert_nothing_is_left(&cloud).await;
    let exchanges = cloud.front().exchanges();
    for Exchange { operation, status, .. } in &exchanges {
        assert_eq!(*status, 200, "{operation}");
    }
    let lines = one_line_each(&cloud, &exchanges).await;
    for line in &lines {
        assert_eq!(line["level"], "INFO", "{line}");
    }
    assert!(lines.iter().all(|line| line["refused"] != true), "a refusal");

    let key = cloud.secret.key().await;
    for (what, log) in [("functions", cloud.final_log()), ("worker", worker_log)] {
        assert!(!log.contains(&key), "the key is in the log of the {what}");
    }
}

#[tokio::test]
async fn client_reads_simulations_in_every_status() {
    // Three leases run out for the one that fails.
    let cloud = Cloud::start_with(&[("ONERUN_LEASE_SECONDS", "2")]).await;
    cloud.run_in_background();
    check_every_status(&SdkProject::open(cloud.client().await).await).await;
}

/// No job waits, no job was buried, and no message is queued.
async fn assert_nothing_is_left(cloud: &Cloud) {
    eventually("end of all jobs", || async {
        let left = cloud.jobs().await;
        let messages = cloud.job_queue.depth().await;
        if left.is_empty() && messages == 0 { Ok(()) } else { Err(format!("{messages} messages, {left:?}")) }
    })
    .await;
    assert_eq!(cloud.items("dead-jobs").await, Vec::<Value>::new());
    assert_eq!(cloud.dead_letters.depth().await, 0);
}

/// Each request logs one line of JSON with the id that the caller received. All other lines are
/// JSON too, or the emulator's.
async fn one_line_each(cloud: &Cloud, exchanges: &[Exchange]) -> Vec<Value> {
    let expected: HashMap<&str, &Exchange> =
        exchanges.iter().map(|exchange| (exchange.request_id.as_deref().unwrap(), exchange)).collect();
    assert_eq!(expected.len(), exchanges.len(), "an id was given twice");
    let lines = eventually("line of every request", || async {
        let lines: Vec<Value> = cloud.functions().flat_map(|function| function.lines()).collect();
        let lines: Vec<Value> = lines.into_iter().filter(|line| line["message"] == "request").collect();
        if lines.len() >= exchanges.len() {
            Ok(lines)
        } else {
            Err(format!("{} lines for {} requests", lines.len(), exchanges.len()))
        }
    })
    .await;
    assert_eq!(lines.len(), exchanges.len());
    let mut seen = HashMap::new();
    for line in &lines {
        let id = line["request_id"].as_str().unwrap_or_else(|| panic!("no id in {line}"));
        let exchange = expected.get(id).unwrap_or_else(|| panic!("no exchange has the log line {line}"));
        assert_eq!(line["operation"], exchange.operation.as_str(), "{line}");
        assert_eq!(line["status"], exchange.status, "{line}");
        assert_eq!(seen.insert(id, line), None, "two lines of {id}");
    }
    for line in cloud.log().lines() {
        let is_emulators = ["START RequestId: ", "END RequestId: ", "REPORT RequestId: "]
            .iter()
            .any(|beginning| line.starts_with(beginning))
            || line.contains(" (rapid) ");
        let is_json = || serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
        assert!(line.is_empty() || is_emulators || is_json(), "not JSON: {line}");
    }
    lines
}
