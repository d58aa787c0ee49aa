//! The audit trail.

use std::collections::{BTreeMap, BTreeSet};

use onerun_auth::{Actor, AuditEntry, AuditEvent, AuditHead, KeyPatch};
use onerun_domain::{Direction, Page};

use super::fixture::{Fixture, Task, all, at_once, in_pages, name, odd_texts, part};
use super::keys::{changed, disabled, enabled, new_key, revoked, rotated, trail, updated};
use crate::KeyError;

/// A trail that is not started has no entries and no head.
pub async fn unstarted_trail_is_empty(fixture: &Fixture) {
    assert_eq!(trail(fixture).await, []);
    for direction in [Direction::Ascending, Direction::Descending] {
        let page = fixture.store.audit(direction, all()).await.unwrap();
        assert_eq!((page.entries, page.head), (Page { data: vec![], next: None }, None));
    }
}

/// Every text is stored verbatim, including empty texts, and so are absent fields.
pub async fn audit_entry_is_read_as_written(fixture: &Fixture) {
    let mut written = Vec::new();
    for text in odd_texts() {
        for (address, user_agent) in [(None, None), (Some(text.clone()), Some(text.clone()))] {
            let mut new = new_key(fixture, "Key");
            new.event.actor = Actor {
                key_id: text.clone(),
                address,
                user_agent,
                request_id: new.event.actor.request_id.clone(),
            };
            let details = [("name", text.as_str()), (text.as_str(), ""), ("", text.as_str())];
            new.event.details = BTreeMap::from(details.map(|(name, value)| (name.into(), value.into())));
            written.push(new.event.clone());
            fixture.add_key(new).await.unwrap();
        }
    }
    let events: Vec<AuditEvent> = trail(fixture).await.into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, written);
}

/// Each change has one entry, in the order of the changes, and the head is the last entry's.
pub async fn every_key_change_has_an_entry(fixture: &Fixture) {
    let new = new_key(fixture, "Key");
    let id = new.record.id.clone();
    let mut written = vec![new.event.clone()];
    fixture.add_key(new).await.unwrap();
    let changes = [
        updated(fixture, KeyPatch { name: Some(name("Renamed")), ..KeyPatch::default() }),
        disabled(fixture),
        enabled(fixture),
        rotated(fixture, None).1,
        revoked(fixture),
    ];
    for (event, decide) in changes {
        written.push(event);
        changed(fixture, &id, decide).await;
        let head = fixture.store.audit(Direction::Descending, part(1, 0)).await.unwrap().head.unwrap();
        assert_eq!(head.sequence, u64::try_from(written.len()).unwrap());
    }
    let trail = trail(fixture).await;
    assert_eq!(trail.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>(), written);
    assert_eq!(
        written.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(),
        ["create_key", "update_key", "disable_key", "enable_key", "rotate_key", "revoke_key"]
    );
}

/// Pages of any size together hold the whole trail, and each page names the head.
pub async fn trail_is_read_both_ways_in_pages(fixture: &Fixture) {
    for _ in 0..7 {
        fixture.add_key(new_key(fixture, "Key")).await.unwrap();
    }
    let mut whole = trail(fixture).await;
    let head = AuditHead { sequence: 7, hash: whole[6].hash.clone() };
    for direction in [Direction::Ascending, Direction::Descending] {
        for limit in [1, 3, 7, 8] {
            let pages = in_pages(limit, async |page| {
                let page = fixture.store.audit(direction, page).await.unwrap();
                assert_eq!(page.head.as_ref(), Some(&head));
                page.entries
            });
            assert_eq!(pages.await, whole, "{direction:?} {limit}");
        }
        whole.reverse();
    }
}

/// Of many concurrent first entries, one is written.
pub async fn trail_is_started_once(fixture: &Fixture) {
    let tasks = (0..6).map(|_| {
        let (fixture, new) = (fixture.clone(), new_key(fixture, "Key"));
        Box::pin(async move { fixture.add_key(new).await.unwrap() }) as _
    });
    at_once(tasks.collect()).await;
    assert_eq!(trail(fixture).await.len(), 6);
}

/// Whichever changes of keys run concurrently, their entries form one chain without gap or fork.
pub async fn concurrent_changes_make_one_chain(fixture: &Fixture) {
    let mut ids = Vec::new();
    for _ in 0..4 {
        let new = new_key(fixture, "Key");
        ids.push(new.record.id.clone());
        fixture.add_key(new).await.unwrap();
    }
    let before: BTreeSet<String> = trail(fixture).await.into_iter().map(|entry| request(&entry)).collect();
    let mut tasks: Vec<Task<Option<String>>> = Vec::new();
    for id in &ids {
        for (event, decide) in [rotated(fixture, None).1, revoked(fixture)] {
            let (fixture, id) = (fixture.clone(), id.clone());
            tasks.push(Box::pin(async move {
                // The rotation may come too late. Then it must have written nothing.
                let changed = fixture.change_key(&id, decide).await;
                let is_refused = matches!(changed, Err(KeyError::Refused(_)));
                assert!(changed.is_ok() || is_refused && event.action == "rotate_key", "{changed:?}");
                changed.is_ok().then_some(event.actor.request_id)
            }));
        }
        let (fixture, new) = (fixture.clone(), new_key(fixture, "New"));
        tasks.push(Box::pin(async move {
            let request = new.event.actor.request_id.clone();
            fixture.add_key(new).await.unwrap();
            Some(request)
        }));
    }
    let done: BTreeSet<String> = at_once(tasks).await.into_iter().flatten().collect();
    let trail = trail(fixture).await;
    let told: BTreeSet<String> = trail.iter().map(request).collect();
    assert_eq!(told.len(), trail.len(), "something was told twice");
    assert_eq!(told, before.into_iter().chain(done).collect());
}

fn request(entry: &AuditEntry) -> String {
    entry.event.actor.request_id.clone()
}
