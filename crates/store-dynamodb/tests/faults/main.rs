//! Calls that are throttled, lost or never answered.
//!
//! Time is paused, so nothing waits: it advances only where the store waits. See [`client`] for how
//! this works with a real DynamoDB.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, in its helpers too")]

mod archive;
mod client;
mod flaky;
mod round_trips;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    Actor, AuditCheck, AuditEvent, Grant, KeyId, KeyRecord, KeyUse, ManagedKey, NewKeySpec, ProjectAccess,
    RateLimit, ScopeSet,
};
use onerun_domain::{
    Direction, Job, JobKind, Limit, Metadata, Name, PageRequest, Project, ProjectId, SimulationId, Work,
};
use onerun_store::{
    ChangeKey, ClaimedJob, KeyChange, KeyLimits, KeyStore, NewKey, SortBy, Store, StoreError, with_causes,
};
use onerun_store_dynamodb::{DynamoDbStore, local::ScratchTable};
use tokio::time::Instant;

use client::{Call, Fault, Faulty};

/// The bounds that the store's documentation promises.
const DEADLINE: Duration = Duration::from_secs(8);

/// Every operation that the store uses.
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
    let page = PageRequest::first(Limit::clamped(100));
    let sort = SortBy::CreatedAt(Direction::Ascending);
    Ok(store.projects(&ProjectAccess::All, false, sort, page).await?.data)
}

fn table() -> ScratchTable {
    #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB").expect("`make test-dynamodb` sets it");
    ScratchTable::create(&endpoint).unwrap()
}

/// A store whose calls all succeed, in paused time.
fn healthy(table: &ScratchTable) -> DynamoDbStore {
    Faulty::new(|_| Fault::None).store(table)
}

fn now() -> Timestamp {
    "2031-03-14T09:26:53.589793Z".parse().unwrap()
}

fn project(number: usize) -> Project {
    let id: ProjectId = format!("project{number:05}").parse().unwrap();
    let created_at = now() + SignedDuration::from_micros(i64::try_from(number).unwrap());
    Project {
        id,
        name: Name::parse("Project").unwrap(),
        archived_at: None,
        created_at,
        updated_at: created_at,
    }
}

fn simulation() -> SimulationId {
    "simulation00000000001".parse().unwrap()
}

fn job() -> Job {
    Job::new(project(0).id, Work::StartSimulation { simulation: simulation() })
}

/// A method that calls an operation, in a table that holds project 0.
async fn call(store: &DynamoDbStore, operation: &str) -> Result<(), StoreError> {
    match operation {
        "BatchGetItem" | "Query" => {
            assert_eq!(list(store).await?, [project(0)]);
        }
        "DeleteItem" => store.complete_job(&job().id).await?,
        "GetItem" => assert!(store.open_project(&project(0).id).await?.is_some()),
        "TransactGetItems" => {
            let project = store.open_project(&project(0).id).await?.unwrap();
            assert_eq!(project.counts(&simulation()).await?, None);
        }
        "TransactWriteItems" => store.insert_project(project(1), None).await?,
        "UpdateItem" => store.enqueue(vec![job()]).await?,
        other => panic!("{other}?"),
    }
    Ok(())
}

/// Calls an operation on a new store, with `fault` for calls of that operation. Returns the result,
/// the time it took, and the calls of the operation.
async fn faced(
    operation: &'static str,
    fault: impl Fn(&Call) -> Fault + Send + Sync + 'static,
) -> (Result<(), StoreError>, Duration, Vec<Call>) {
    let table = table();
    healthy(&table).insert_project(project(0), None).await.unwrap();
    let faulty = Faulty::new(move |call| if call.operation == operation { fault(call) } else { Fault::None });
    let store = faulty.store(&table);
    let begun = Instant::now();
    let result = call(&store, operation).await;
    (result, begun.elapsed(), faulty.calls(operation))
}

/// Replies of DynamoDB, or of a proxy in front of it, after which the same call may succeed later.
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
async fn transient_errors_are_retried_until_success() {
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
async fn canceled_transaction_is_retried_with_a_new_token() {
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
async fn persistent_errors_end_at_the_deadline() {
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
async fn unanswered_call_is_retried() {
    for operation in OPERATIONS {
        let first_hangs = |call: &Call| if call.number == 0 { Fault::Hung } else { Fault::None };
        let (result, elapsed, calls) = faced(operation, first_hangs).await;
        result.unwrap();
        assert_eq!(calls.len(), 2, "{operation}");
        assert!(elapsed < DEADLINE / 2, "{operation}: {elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_errors_are_not_retried() {
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
async fn transaction_with_a_lost_reply_is_applied_once() {
    let faults = [
        Fault::Lost,
        Fault::error(400, "TransactionInProgressException"),
        Fault::canceled("TransactionConflict"),
        Fault::Lost,
        Fault::canceled("ThrottlingError"),
    ];
    let lost = move |call: &Call| faults.get(call.number).cloned().unwrap_or(Fault::None);
    // A second call would find the existing project and fail.
    let (result, _, calls) = faced("TransactWriteItems", lost).await;
    result.unwrap();
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| token(call) == token(&calls[0])));
}

#[tokio::test(start_paused = true)]
async fn job_claim_with_a_lost_reply_stays_with_its_claimer() {
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
            store.claim_jobs(JobKind::Other, 10, until, now()).await.unwrap()
        };
        assert_eq!(claimed, [ClaimedJob { job: job(), deliveries: 1 }]);
        healthy(&table).complete_job(&job().id).await.unwrap();
    }
}

/// The store has fewer shards of jobs than before: the jobs are found by their ids, and the tick moves them.
#[tokio::test]
async fn change_of_the_number_of_job_shards_loses_nothing() {
    let table = table();
    let jobs: Vec<Job> = (0..40)
        .map(|number| {
            let simulation = format!("simulation{number:011}").parse().unwrap();
            Job::new(project(0).id, Work::StartSimulation { simulation })
        })
        .collect();
    table.store().with_job_shards(32).enqueue(jobs.clone()).await.unwrap();
    let store = table.store().with_job_shards(2);
    let until = now() + SignedDuration::from_mins(10);
    let claimed = store.claim_job(&jobs[0].id, until, now()).await.unwrap().unwrap();
    store.complete_job(&claimed.job.id).await.unwrap();
    let far = Timestamp::MAX;
    assert_eq!(store.resend_jobs(far, far).await.unwrap(), 39);
    let claimed = store.claim_jobs(JobKind::Other, 100, until, now()).await.unwrap();
    let mut ids: Vec<_> = claimed.into_iter().map(|claimed| claimed.job.id).collect();
    ids.sort();
    let mut expected: Vec<_> = jobs.into_iter().skip(1).map(|job| job.id).collect();
    expected.sort();
    assert_eq!(ids, expected);
}

/// A managed key, and the event of its creation.
fn key() -> NewKey {
    let fill = |buffer: &mut [u8]| {
        buffer.fill(7);
        Ok::<(), std::convert::Infallible>(())
    };
    let spec = NewKeySpec {
        name: Name::parse("Key").unwrap(),
        grant: Grant::everything(),
        not_before: None,
        metadata: Metadata::default(),
    };
    let record =
        KeyRecord::new(&ManagedKey::generate(fill).unwrap(), spec, KeyId::restore("root").unwrap(), now());
    NewKey {
        event: event("create_key", &record.id),
        record,
        call: None,
        limits: KeyLimits::NONE,
        jobs: Vec::new(),
    }
}

fn event(action: &str, key: &KeyId) -> AuditEvent {
    let actor =
        Actor { key_id: "root".into(), address: None, user_agent: None, request_id: action.to_owned() };
    let (action, key_id) = (action.to_owned(), key.to_string());
    AuditEvent { at: now().to_string(), action, key_id, actor, details: [].into() }
}

/// The actions in the audit trail, which must be one chain up to its head.
async fn told(store: &DynamoDbStore) -> Vec<String> {
    let page = PageRequest::first(Limit::clamped(100));
    let trail = store.audit(Direction::Ascending, page).await.unwrap();
    let mut check = AuditCheck::default();
    trail.entries.data.iter().for_each(|entry| check.take(entry).unwrap());
    check.finish(trail.head.as_ref()).unwrap();
    trail.entries.data.into_iter().map(|entry| entry.event.action).collect()
}

#[tokio::test(start_paused = true)]
async fn key_change_with_a_lost_reply_is_applied_once() {
    let table = table();
    let faulty = Faulty::new(|call| match call.operation.as_str() {
        "TransactWriteItems" if call.number.is_multiple_of(2) => Fault::Lost,
        _ => Fault::None,
    });
    let store = faulty.store(&table);
    let id = key().record.id;
    store.insert_key(None, Box::new(|_| Ok(key()))).await.unwrap();
    let disable = |before: KeyRecord| {
        let event = event("disable_key", &before.id);
        Ok(KeyChange::To { record: Box::new(before.disable(now())?), event, jobs: Vec::new() })
    };
    store.change_key(&id, ChangeKey::unasked(Box::new(disable))).await.unwrap().unwrap();
    assert_eq!(told(&healthy(&table)).await, ["create_key", "disable_key"]);
    assert_eq!(store.key(&id).await.unwrap().unwrap().revision, 2);
    let calls = faulty.calls("TransactWriteItems");
    assert_eq!(calls.len(), 4);
    assert_eq!(token(&calls[0]), token(&calls[1]));
    assert_eq!(token(&calls[2]), token(&calls[3]));
}

#[tokio::test(start_paused = true)]
async fn key_uses_with_a_lost_reply_are_added_once() {
    let table = table();
    healthy(&table).insert_key(None, Box::new(|_| Ok(key()))).await.unwrap();
    let lost = |call: &Call| match call.operation.as_str() {
        "TransactWriteItems" if call.number == 0 => Fault::Lost,
        _ => Fault::None,
    };
    let store = Faulty::new(lost).store(&table);
    let (id, uses) = (key().record.id, KeyUse { last_at: now(), scopes: ScopeSet::NONE, since_replaced: 1 });
    assert!(store.add_key_use(&id, &uses, now()).await.unwrap());
    let view = store.key_view(&id).await.unwrap().unwrap();
    assert_eq!(view.usage.uses_since_replaced, 1);
}

#[tokio::test(start_paused = true)]
async fn request_count_with_a_lost_reply_is_added_once() {
    let table = table();
    let lost = |call: &Call| match call.operation.as_str() {
        "UpdateItem" if call.number == 0 => Fault::Lost,
        _ => Fault::None,
    };
    let limit = RateLimit::new(10, 60).unwrap();
    for expected in 1..=3 {
        let store = Faulty::new(lost).store(&table);
        assert_eq!(store.count_request("a", limit, now()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn concurrent_requests_are_counted_exactly() {
    let table = table();
    let store = table.store();
    let limit = RateLimit::new(10, 60).unwrap();
    // More at once would wait for DynamoDB Local longer than a call may take on a busy machine.
    let counting = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.count_request("a", limit, now()).await.unwrap() })
    });
    let counting: Vec<_> = counting.collect();
    let mut counts = Vec::new();
    for count in counting {
        counts.push(count.await.unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=16).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn unprocessed_batch_keys_are_read_again() {
    let table = table();
    let projects: Vec<Project> = (0..40).map(project).collect();
    for project in &projects {
        healthy(&table).insert_project(project.clone(), None).await.unwrap();
    }
    let faulty = Faulty::new(|call| match call.operation.as_str() {
        // One batch processes no key at all.
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
async fn batch_keys_never_processed_are_unavailable() {
    let (result, elapsed, _) = faced("BatchGetItem", |_| Fault::Partial(0)).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(elapsed <= DEADLINE, "{elapsed:?}");
}
