//! Calls that are throttled, lost or never answered.
//!
//! Time is paused, so that nothing waits: it passes only where the store waits. See [`client`] for why it can be while
//! a real DynamoDB answers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, in its helpers too")]

mod client;
mod flaky;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Direction, Job, Limit, Name, PageRequest, Project, ProjectId, SimulationId, Work};
use onerun_store::{ClaimedJob, NamedSort, Store, StoreError, with_causes};
use onerun_store_dynamodb::{DynamoDbStore, local::ScratchTable};
use tokio::time::Instant;

use client::{Call, Fault, Faulty};

/// What the store's documentation promises.
const DEADLINE: Duration = Duration::from_secs(8);

/// Every operation that the store makes use of.
const OPERATIONS: [&str; 7] = [
    "BatchGetItem",
    "DeleteItem",
    "GetItem",
    "Query",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
];

async fn list(store: &DynamoDbStore) -> Result<Vec<Project>, StoreError> {
    let page = PageRequest { limit: Limit::clamped(100), offset: 0 };
    Ok(store.projects(NamedSort::CreatedAt(Direction::Ascending), page).await?.data)
}

fn table() -> ScratchTable {
    #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB").expect("`make test-dynamodb` sets it");
    ScratchTable::create(&endpoint).unwrap()
}

/// A store whose calls are all answered, in paused time.
fn healthy(table: &ScratchTable) -> DynamoDbStore {
    Faulty::new(|_| Fault::None).store(table)
}

fn now() -> Timestamp {
    "2031-03-14T09:26:53.589793Z".parse().unwrap()
}

fn project(number: usize) -> Project {
    let id: ProjectId = format!("project{number:05}").parse().unwrap();
    let created_at = now() + SignedDuration::from_micros(i64::try_from(number).unwrap());
    Project { id, name: Name::parse("Project").unwrap(), created_at, updated_at: created_at }
}

fn simulation() -> SimulationId {
    "simulation00000000001".parse().unwrap()
}

fn job() -> Job {
    Job::new(project(0).id, Work::StartSimulation { simulation: simulation() })
}

/// A method that makes a call of an operation, in a table that holds project 0.
async fn call(store: &DynamoDbStore, operation: &str) -> Result<(), StoreError> {
    match operation {
        "BatchGetItem" | "Query" => {
            assert_eq!(list(store).await?, [project(0)]);
        }
        "DeleteItem" => store.complete_job(&job().id).await?,
        "GetItem" => assert!(store.open_project(&project(0).id).await?.is_some()),
        "TransactGetItems" => {
            let project = store.open_project(&project(0).id).await?.unwrap();
            assert_eq!(project.tally(&simulation()).await?, None);
        }
        "TransactWriteItems" => store.insert_project(project(1)).await?,
        "UpdateItem" => store.enqueue(vec![job()]).await?,
        other => panic!("{other}?"),
    }
    Ok(())
}

/// Makes a call of an operation on a store of its own, with what `fault` says for calls of that operation. The result,
/// how long it took, and the calls of the operation.
async fn faced(
    operation: &'static str,
    fault: impl Fn(&Call) -> Fault + Send + Sync + 'static,
) -> (Result<(), StoreError>, Duration, Vec<Call>) {
    let table = table();
    healthy(&table).insert_project(project(0)).await.unwrap();
    let faulty = Faulty::new(move |call| if call.operation == operation { fault(call) } else { Fault::None });
    let store = faulty.store(&table);
    let begun = Instant::now();
    let result = call(&store, operation).await;
    (result, begun.elapsed(), faulty.calls(operation))
}

/// What DynamoDB, or what stands in front of it, answers where the same call may succeed a moment later.
fn refusals() -> Vec<Fault> {
    vec![
        Fault::error(400, "ThrottlingException"),
        Fault::error(400, "ProvisionedThroughputExceededException"),
        Fault::error(400, "RequestLimitExceeded"),
        Fault::error(500, "InternalServerError"),
        Fault::error(503, "ServiceUnavailable"),
        Fault::bare(502),
        Fault::bare(503),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_until_it_has_passed() {
    for operation in OPERATIONS {
        let faults = refusals();
        let count = faults.len();
        let (result, elapsed, calls) =
            faced(operation, move |call| faults.get(call.number).cloned().unwrap_or(Fault::None)).await;
        result.unwrap();
        assert_eq!(calls.len(), count + 1, "{operation}");
        assert!(elapsed < DEADLINE, "{operation}: {elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canceled_transaction_is_tried_again_as_a_new_one() {
    let reasons =
        ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"];
    for operation in ["TransactGetItems", "TransactWriteItems"] {
        let (result, _, calls) = faced(operation, move |call| {
            reasons.get(call.number).map_or(Fault::None, |reason| Fault::canceled(reason))
        })
        .await;
        result.unwrap();
        assert_eq!(calls.len(), reasons.len() + 1);
        if operation == "TransactWriteItems" {
            let mut tokens: Vec<_> = calls.iter().map(token).collect();
            tokens.sort_unstable();
            tokens.dedup();
            assert_eq!(tokens.len(), calls.len());
        }
    }
}

fn token(call: &Call) -> &str {
    call.body["ClientRequestToken"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_ends_with_the_deadline() {
    for operation in OPERATIONS {
        for (fault, told) in [
            (Fault::error(400, "ThrottlingException"), "ThrottlingException"),
            (Fault::bare(503), operation),
            (Fault::Hung, "no answer in time"),
        ] {
            let hung = matches!(fault, Fault::Hung);
            let (result, elapsed, calls) = faced(operation, move |_| fault.clone()).await;
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Unavailable(_)), "{operation}: {error:?}");
            let text = with_causes(&error);
            assert!(text.contains(operation) && text.contains(told), "{text}");
            assert!(elapsed <= DEADLINE, "{operation}: {elapsed:?}");
            assert!(if hung { calls.len() == 3 } else { calls.len() >= 20 }, "{operation}: {}", calls.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_is_made_again() {
    for operation in OPERATIONS {
        let first_hangs = |call: &Call| if call.number == 0 { Fault::Hung } else { Fault::None };
        let (result, elapsed, calls) = faced(operation, first_hangs).await;
        result.unwrap();
        assert_eq!(calls.len(), 2, "{operation}");
        assert!(elapsed < DEADLINE / 2, "{operation}: {elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_is_not_tried_again() {
    for operation in OPERATIONS {
        for code in ["ResourceNotFoundException", "AccessDeniedException", "ValidationException"] {
            let (result, elapsed, calls) = faced(operation, |_| Fault::error(400, code)).await;
            let error = result.unwrap_err();
            assert_eq!(
                matches!(error, StoreError::Corrupt { .. }),
                code == "ValidationException",
                "{error:?}"
            );
            assert_eq!((calls.len(), elapsed), (1, Duration::ZERO), "{operation} {code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_answer_was_lost_is_done_once() {
    let faults = [
        Fault::Lost,
        Fault::error(400, "TransactionInProgressException"),
        Fault::canceled("TransactionConflict"),
        Fault::Lost,
        Fault::canceled("ThrottlingError"),
    ];
    let lost = move |call: &Call| faults.get(call.number).cloned().unwrap_or(Fault::None);
    // A second one would find the project there, and say so.
    let (result, _, calls) = faced("TransactWriteItems", lost).await;
    result.unwrap();
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| token(call) == token(&calls[0])));
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_taker_lost_the_answer_is_the_takers() {
    let table = table();
    let lost = |call: &Call| match call.operation.as_str() {
        "UpdateItem" if call.number == 0 => Fault::Lost,
        _ => Fault::None,
    };
    let until = now() + SignedDuration::from_mins(10);
    for one_by_one in [true, false] {
        healthy(&table).enqueue(vec![job()]).await.unwrap();
        let store = Faulty::new(lost).store(&table);
        let claimed: Vec<ClaimedJob> = if one_by_one {
            store.claim_job(&job().id, until, now()).await.unwrap().into_iter().collect()
        } else {
            store.claim_jobs(10, until, now()).await.unwrap()
        };
        assert_eq!(claimed, [ClaimedJob { job: job(), deliveries: 1 }]);
        healthy(&table).complete_job(&job().id).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_a_batch_left_over_are_read_in_the_next() {
    let table = table();
    let projects: Vec<Project> = (0..40).map(project).collect();
    for project in &projects {
        healthy(&table).insert_project(project.clone()).await.unwrap();
    }
    let faulty = Faulty::new(|call| match call.operation.as_str() {
        // Once nothing at all.
        "BatchGetItem" if call.number == 1 => Fault::Partial(0),
        "BatchGetItem" => Fault::Partial(15),
        _ => Fault::None,
    });
    assert_eq!(list(&faulty.store(&table)).await.unwrap(), projects);
    let asked: Vec<usize> = faulty
        .calls("BatchGetItem")
        .iter()
        .map(|call| call.body["RequestItems"][table.name()]["Keys"].as_array().unwrap().len())
        .collect();
    assert_eq!(asked, [40, 25, 25, 10]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_always_left_over_are_unavailable() {
    let (result, elapsed, _) = faced("BatchGetItem", |_| Fault::Partial(0)).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(elapsed <= DEADLINE, "{elapsed:?}");
}
