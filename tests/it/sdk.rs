//! The unmodified published SDK works with the real program.

use std::{collections::BTreeMap, time::Duration};

use onerun_tests::{
    eventually,
    process::Server,
    provider::{Fault, Faults, Provider, Role, Wire, play},
    sdk::{SdkProject, SimulationFields, assert_content, check_every_status},
};

const THIRTY: SimulationFields<'static> =
    SimulationFields { name: "Thirty refunds", conversations: 30, personas: 10, expires_in_seconds: None };

/// Long enough for a busy machine: a worker that still lives must not lose a lease.
const LEASE_SECONDS: &str = "6";

#[tokio::test]
async fn client_reads_simulations_in_every_status() {
    // Three leases run out for the one that fails.
    let server = Server::start_with(&[("ONERUN_LEASE_SECONDS", "3")]).await;
    check_every_status(&SdkProject::open(server.client()).await).await;
}

#[tokio::test]
async fn pipeline_key_suffices_for_every_client_call() {
    let server = Server::start_with(&[("ONERUN_LEASE_SECONDS", "3")]).await;
    check_every_status(&SdkProject::open(server.client()).await.with_key_of("ci").await).await;
}

#[tokio::test]
async fn sdk_worker_holds_thirty_conversations_without_errors() {
    let server = Server::start().await;
    let project = SdkProject::open(server.client()).await;
    let simulation = project.simulate(THIRTY).await;

    let worker = project.worker(&[]);
    project.reaches(&simulation, "completed").await;

    assert_content(worker).await;
    project.assert_evaluated(&simulation, 30).await;
}

/// Polls that queue nothing do not count: the worker is busy then.
#[tokio::test]
async fn sdk_worker_reaches_fifty_simulations_in_ten_polls() {
    let server = Server::start().await;
    let project = SdkProject::open(server.client()).await;
    let mut simulations = Vec::new();
    for _ in 0..50 {
        let wanted =
            SimulationFields { name: "Refunds", conversations: 3, personas: 1, expires_in_seconds: None };
        simulations.push(project.simulate(wanted).await);
    }
    for simulation in &simulations {
        eventually("queued conversations", || async {
            let found = project.conversations(simulation).await.len();
            if found == 3 { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
    }
    let worker = project.worker(&["--single-turn"]);
    for simulation in &simulations {
        project.reaches(simulation, "completed").await;
    }
    let log = assert_content(worker).await;
    let (mut polls, mut reached) = (0, BTreeMap::new());
    for line in log.lines() {
        if line.starts_with("Queued ") && line.ends_with(" conversations for run") {
            polls += 1;
        }
        if line.starts_with("Processing conversation ")
            && let Some((_, simulation)) = line.split_once(" in simulation ")
        {
            reached.entry(simulation).or_insert(polls);
        }
    }
    assert_eq!(reached.len(), 50, "{log}");
    assert!(reached.values().all(|poll| *poll <= 10), "{reached:?}");
}

#[tokio::test]
async fn sdk_worker_waits_for_a_late_body() {
    let slow = Fault::Slow { delay: Duration::from_secs(8) };
    let provider = Provider::start_with(Faults::seeded(0).with(100, slow), play).await;
    provider.inject(false);
    let mut variables = provider.variables(Wire::ChatCompletions, "small");
    variables.push(("ONERUN_STREAM_SECONDS".to_owned(), "2".to_owned()));
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::start_with(&variables).await;
    let project = SdkProject::open(server.client()).await;
    let one = SimulationFields { conversations: 1, personas: 1, ..THIRTY };
    let simulation = project.simulate(one).await;
    eventually("queued conversation", || async {
        let found = project.conversations(&simulation).await.len();
        if found == 1 { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    provider.inject(true);

    let worker = project.worker(&["--single-turn", "--timeout", "5"]);
    project.reaches(&simulation, "completed").await;

    assert_content(worker).await;
    project.assert_evaluated(&simulation, 1).await;
    let roles: Vec<_> = provider.calls().iter().filter_map(|call| Role::of(&call.prompt)).collect();
    assert_eq!(roles, [Role::Persona, Role::Message, Role::Message, Role::Judge]);
}

#[tokio::test]
async fn presets_suffice_for_worker_and_pipeline() {
    let server = Server::start().await;
    let project = SdkProject::open(server.client()).await;
    let ci = project.with_key_of("ci").await;
    let simulation = ci.simulate(SimulationFields { conversations: 5, personas: 5, ..THIRTY }).await;

    let worker = project.with_key_of("worker").await.worker(&[]);
    ci.reaches(&simulation, "completed").await;

    assert_content(worker).await;
    ci.assert_evaluated(&simulation, 5).await;
}

#[tokio::test]
async fn worker_that_answers_once_completes() {
    let server = Server::start().await;
    let project = SdkProject::open(server.client()).await;
    let simulation = project.simulate(SimulationFields { conversations: 5, personas: 5, ..THIRTY }).await;

    let worker = project.worker(&["--single-turn"]);
    project.reaches(&simulation, "completed").await;

    assert_content(worker).await;
    project.assert_evaluated(&simulation, 5).await;
}

#[tokio::test]
async fn killed_worker_costs_an_attempt_not_a_conversation() {
    let server = Server::start_with(&[("ONERUN_LEASE_SECONDS", LEASE_SECONDS)]).await;
    let project = SdkProject::open(server.client()).await;
    let simulation = project.simulate(THIRTY).await;

    // It kills itself with SIGKILL in its fifteenth conversation, with others open.
    let mut first = project.worker(&["--crash-after", "15"]);
    let status = first.exit(Duration::from_mins(1)).await;
    assert_eq!(status.code(), None, "killed, not exited: {}", first.report());
    assert_eq!(project.status(&simulation).await, "in_progress");

    let second = project.worker(&[]);
    project.reaches(&simulation, "completed").await;

    assert_content(second).await;
    project.assert_evaluated(&simulation, 30).await;
}

#[tokio::test]
async fn raising_entrypoint_costs_only_an_attempt() {
    let server = Server::start_with(&[("ONERUN_LEASE_SECONDS", LEASE_SECONDS)]).await;
    let project = SdkProject::open(server.client()).await;
    let simulation = project.simulate(THIRTY).await;

    let mut worker = project.worker(&["--raise-first", "6"]);
    project.reaches(&simulation, "completed").await;

    worker.terminate().await;
    let log = worker.stderr();
    // One loss for each conversation: the second attempt is answered.
    assert_eq!(log.matches("Failed run task for").count(), 6, "{log}");
    project.assert_evaluated(&simulation, 30).await;
}
