//! A table that was changed without the store, on the DynamoDB in `ONERUN_TEST_DYNAMODB`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, in its helpers too")]

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use onerun_auth::{
    Actor, AuditCheck, AuditError, AuditEvent, Grant, KeyId, KeyRecord, KeyUse, ManagedKey, NewKeySpec,
    ProjectAccess, ScopeSet,
};
use onerun_domain::{Direction, Limit, Metadata, Name, PageRequest};
use onerun_store::{
    AuditPage, ExactFilter, IdempotencyId, IdempotencyRecord, IdempotencyScope, KeyLimits, KeyStore,
    ListKeys, NewKey, Store, StoreError,
};
use onerun_store_dynamodb::{DynamoDbStore, local::ScratchTable};

fn table() -> ScratchTable {
    #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB").expect("`make test-dynamodb` starts one");
    ScratchTable::create(&endpoint).unwrap()
}

fn now() -> Timestamp {
    "2031-03-14T09:26:53.589793Z".parse().unwrap()
}

/// The partition of the audit entries of [`now`].
const MONTH: &str = "audit#2031-03";

fn root() -> KeyId {
    KeyId::restore("root").unwrap()
}

/// A key with a number, created by a call under that number.
fn key(number: u8) -> NewKey {
    let fill = |buffer: &mut [u8]| {
        buffer.fill(number);
        Ok::<(), std::convert::Infallible>(())
    };
    let spec = NewKeySpec {
        name: Name::parse("Key").unwrap(),
        grant: Grant::everything(),
        not_before: None,
        metadata: Metadata::default(),
    };
    let record = KeyRecord::new(&ManagedKey::generate(fill).unwrap(), spec, root(), now());
    let event = AuditEvent {
        at: now().to_string(),
        action: "create_key".into(),
        key_id: record.id.to_string(),
        actor: Actor {
            key_id: "root".into(),
            address: None,
            user_agent: None,
            request_id: number.to_string(),
        },
        details: [].into(),
    };
    let call = IdempotencyRecord {
        id: IdempotencyId::new(IdempotencyScope::Keys, &root(), None, &number.to_string()),
        request_hash: "cd".repeat(32),
        response: "{}".into(),
        created_at: now(),
    };
    NewKey { record, event, call: Some(call), limits: KeyLimits::NONE, jobs: Vec::new() }
}

/// The same, created at another time.
fn key_at(at: &str, number: u8) -> NewKey {
    let new = key(number);
    NewKey { event: AuditEvent { at: at.into(), ..new.event }, ..new }
}

/// A store that holds keys 1 to 3.
async fn store(table: &ScratchTable) -> DynamoDbStore {
    let store = table.store();
    for number in 1..=3 {
        store.insert_key(None, Box::new(move |_| Ok(key(number)))).await.unwrap();
    }
    store
}

fn all() -> PageRequest {
    PageRequest::first(Limit::clamped(10))
}

async fn trail(store: &DynamoDbStore) -> AuditPage {
    store.audit(Direction::Ascending, all()).await.unwrap()
}

fn check(trail: &AuditPage) -> Result<(), AuditError> {
    let mut check = AuditCheck::default();
    trail.entries.data.iter().try_for_each(|entry| check.take(entry))?;
    check.finish(trail.head.as_ref())
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

async fn remove(table: &ScratchTable, partition: &str, sort: &str) {
    let delete = table.client().delete_item().table_name(table.name());
    let delete = delete.key("pk", text(partition)).key("sk", text(sort));
    delete.condition_expression("attribute_exists(pk)").send().await.unwrap();
}

/// Changes every body of a partition by a function.
async fn rewrite(table: &ScratchTable, partition: &str, change: impl Fn(&str) -> String) {
    let query = table.client().query().table_name(table.name());
    let query = query.key_condition_expression("pk = :p").expression_attribute_values(":p", text(partition));
    let mut count = 0;
    for mut item in query.send().await.unwrap().items.unwrap() {
        let Some(AttributeValue::S(body)) = item.get("body") else { continue };
        item.insert("body".into(), text(&change(body)));
        let put = table.client().put_item().table_name(table.name()).set_item(Some(item));
        put.send().await.unwrap();
        count += 1;
    }
    assert!(count > 0, "there is nothing under {partition}");
}

#[tokio::test]
async fn tampered_trail_is_returned_unchanged() {
    let table = table();
    let store = store(&table).await;
    check(&trail(&store).await).unwrap();

    rewrite(&table, MONTH, |body| body.replacen(r#""request_id":"2""#, r#""request_id":"4""#, 1)).await;
    assert_eq!(check(&trail(&store).await), Err(AuditError::Changed { sequence: 2 }));

    remove(&table, MONTH, "entry#0000000002").await;
    let found = trail(&store).await;
    assert_eq!(check(&found), Err(AuditError::Sequence { expected: 2, found: 3 }));
    assert_eq!((found.entries.data.len(), found.entries.has_more()), (2, false));

    remove(&table, MONTH, "entry#0000000001").await;
    remove(&table, MONTH, "entry#0000000003").await;
    assert_eq!(check(&trail(&store).await), Err(AuditError::End { expected: 3, found: 0 }));
}

#[tokio::test]
async fn trail_without_its_head_is_not_restarted() {
    let table = table();
    let store = store(&table).await;
    remove(&table, "audit", "head").await;
    let refused = store.insert_key(None, Box::new(|_| Ok(key(4)))).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the stored head of the audit trail is corrupt: there are entries behind it"
    );
    assert_eq!(store.key(&key(4).record.id).await.unwrap(), None);
}

/// The trail of the next month continues the chain, and does not begin again without its head.
#[tokio::test]
async fn trail_goes_on_in_the_next_month() {
    let table = table();
    let store = store(&table).await;
    store.insert_key(None, Box::new(|_| Ok(key_at("2031-04-01T00:00:00Z", 4)))).await.unwrap();
    // A clock that is behind.
    store.insert_key(None, Box::new(|_| Ok(key(5)))).await.unwrap();
    let found = trail(&store).await;
    check(&found).unwrap();
    let sequences =
        |page: AuditPage| -> Vec<u64> { page.entries.data.into_iter().map(|entry| entry.sequence).collect() };
    assert_eq!(sequences(found), [1, 2, 3, 4, 5]);
    let part = PageRequest::first(Limit::clamped(3));
    let newest = store.audit(Direction::Descending, part).await.unwrap();
    let rest = PageRequest::after(Limit::clamped(3), newest.entries.next.clone().unwrap());
    assert_eq!(sequences(newest), [5, 4, 3]);
    assert_eq!(sequences(store.audit(Direction::Descending, rest).await.unwrap()), [2, 1]);

    remove(&table, "audit", "head").await;
    let june = store.insert_key(None, Box::new(|_| Ok(key_at("2031-06-01T00:00:00Z", 6)))).await;
    let refused = june.unwrap_err();
    assert!(refused.to_string().ends_with("there are entries behind it"), "{refused}");
}

#[tokio::test]
async fn invalid_body_is_reported_and_not_shown() {
    let table = table();
    let store = store(&table).await;
    let id = key(1).record.id;
    let uses = KeyUse { last_at: now(), scopes: ScopeSet::NONE, since_replaced: 0 };
    assert!(store.add_key_use(&id, &uses, now()).await.unwrap());
    let list = ListKeys {
        exact: ExactFilter::default(),
        within: ProjectAccess::All,
        status: None,
        project: None,
        ends_by: None,
        idle_since: None,
        now: now(),
        page: all(),
    };
    let corrupt = |found: Option<StoreError>, what: &str| {
        let text = found.unwrap().to_string();
        assert_eq!(
            text,
            format!("the stored {what} is corrupt: not the JSON it must be, at line 1 column 1")
        );
    };
    let broken = |_: &str| "SECRET".to_owned();
    rewrite(&table, "key-uses", broken).await;
    corrupt(store.key_view(&id).await.err(), "key's usage");
    corrupt(store.keys(list.clone()).await.err(), "key's usage");
    let later = now() + onerun_auth::WRITE_EVERY;
    corrupt(store.add_key_use(&id, &uses, later).await.err(), "key's usage");
    rewrite(&table, "keys", broken).await;
    corrupt(store.key(&id).await.err(), "key");
    rewrite(&table, "key-calls", broken).await;
    let record = IdempotencyId::new(IdempotencyScope::Keys, &root(), None, "1");
    corrupt(store.idempotency_record(&record, now()).await.err(), "idempotency record");
    rewrite(&table, MONTH, broken).await;
    corrupt(store.audit(Direction::Descending, all()).await.err(), "audit entry");
}
