//! Removal of rows after their retention time.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{Actor, AuditEvent, Grant, KeyId, KeyRecord, KeyUse, ManagedKey, NewKeySpec};
use onerun_domain::{Direction, Job, JobKind, Limit, Metadata, Name, PageRequest, Work};
use onerun_store::{ChangeKey, KeyChange, KeyLimits, KeyStore, NewKey, Store};
use onerun_store_sqlite::SqliteStore;
use tempfile::TempDir;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn open() -> (SqliteStore, TempDir, Timestamp) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("onerun.db")).unwrap();
    (store, directory, "2031-03-14T09:26:53.589793Z".parse().unwrap())
}

#[tokio::test]
async fn buried_job_is_removed_after_30_days() {
    let (store, _directory, now) = open();
    let simulation = "simulation00000000001".parse().unwrap();
    let job = Job::new("project00001".parse().unwrap(), Work::FinishSimulation { simulation });
    store.enqueue(vec![job.clone()]).await.unwrap();
    store.claim_jobs(JobKind::Other, 1, now + DAY, now).await.unwrap();
    store.bury_job(&job.id, "no", now).await.unwrap();
    let page = PageRequest::first(Limit::clamped(10));
    for (days, kept) in [(29, 1), (30, 0)] {
        store.delete_expired_records(10, now + days * DAY).await.unwrap();
        assert_eq!(store.dead_jobs(page.clone()).await.unwrap().data.len(), kept, "{days}");
    }
}

fn event(action: &str, id: &KeyId, now: Timestamp) -> AuditEvent {
    AuditEvent {
        at: now.to_string(),
        action: action.into(),
        key_id: id.to_string(),
        actor: Actor { key_id: "root".into(), address: None, user_agent: None, request_id: action.into() },
        details: [].into(),
    }
}

async fn add_key(store: &SqliteStore, seed: u8, expires_at: Option<Timestamp>, now: Timestamp) -> KeyId {
    let fill = |buffer: &mut [u8]| {
        buffer.fill(seed);
        Ok::<(), std::convert::Infallible>(())
    };
    let spec = NewKeySpec {
        name: Name::parse("Key").unwrap(),
        grant: Grant { expires_at, ..Grant::everything() },
        not_before: None,
        metadata: Metadata::default(),
    };
    let root = KeyId::restore("root").unwrap();
    let record = KeyRecord::new(&ManagedKey::generate(fill).unwrap(), spec, root, now);
    let id = record.id.clone();
    let new = NewKey {
        event: event("create_key", &id, now),
        record,
        call: None,
        limits: KeyLimits::NONE,
        jobs: Vec::new(),
    };
    store.insert_key(None, Box::new(move |_| Ok(new.clone()))).await.unwrap();
    let uses = KeyUse { last_at: now, scopes: [].into_iter().collect(), since_replaced: 0 };
    assert!(store.add_key_use(&id, &uses, now).await.unwrap());
    id
}

#[tokio::test]
async fn key_is_removed_90_days_after_its_end() {
    let (store, _directory, now) = open();
    let live = add_key(&store, 1, None, now).await;
    let expiring = add_key(&store, 2, Some(now + DAY), now).await;
    let revoked = add_key(&store, 3, None, now).await;
    let revoke = event("revoke_key", &revoked, now);
    let decide = Box::new(move |record: KeyRecord| {
        Ok(KeyChange::To { record: Box::new(record.revoke(now)), event: revoke.clone(), jobs: Vec::new() })
    });
    store.change_key(&revoked, ChangeKey::unasked(decide)).await.unwrap().unwrap();
    for (days, kept) in [(89, [true, true, true]), (90, [true, true, false]), (91, [true, false, false])] {
        store.delete_expired_records(10, now + days * DAY).await.unwrap();
        for (id, kept) in [&live, &expiring, &revoked].into_iter().zip(kept) {
            assert_eq!(store.key_view(id).await.unwrap().is_some(), kept, "{days} {id}");
        }
    }
    let page = PageRequest::first(Limit::clamped(10));
    assert_eq!(store.audit(Direction::Ascending, page).await.unwrap().entries.data.len(), 4);
}
