//! The audit trail.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use onerun_auth::{Actor, AuditCheck, AuditEntry, AuditEvent, AuditHead, KeyPatch};
use onerun_domain::{Direction, Limit, Page, PageRequest};

use super::fixture::{Fixture, Task, all, at_once, in_pages, name, odd_texts, part};
use super::keys::{changed, disabled, enabled, new_key, revoked, rotated, trail, updated};
use crate::{KeyError, StoreError, position};

/// A trail that is not started has no entries and no head.
pub async fn unstarted_trail_is_empty(fixture: &Fixture) {
    assert_eq!(trail(fixture).await, []);
    for direction in [Direction::Ascending, Direction::Descending] {
        let page = fixture.store.audit(direction, all()).await.unwrap();
        assert_eq!((page.entries, page.head, page.archived), (Page { data: vec![], next: None }, None, None));
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

/// Longer than a month.
const OTHER_MONTH: SignedDuration = SignedDuration::from_hours(40 * 24);

/// A trail of seven entries in three months: two, three and two.
async fn months(fixture: &Fixture) -> Vec<AuditEntry> {
    for entries in [2, 3, 2] {
        for _ in 0..entries {
            fixture.add_key(new_key(fixture, "Key")).await.unwrap();
        }
        fixture.pass(OTHER_MONTH);
    }
    trail(fixture).await
}

/// The last archived entry and the listed ones, which must be the same in both directions and in pages of any size, and
/// one chain up to the head.
async fn listed(fixture: &Fixture) -> (Option<AuditHead>, Vec<AuditEntry>) {
    let first = fixture.store.audit(Direction::Ascending, part(1, 0)).await.unwrap();
    let mut whole = Vec::new();
    for (direction, limit) in
        [(Direction::Ascending, 100), (Direction::Ascending, 2), (Direction::Descending, 3)]
    {
        let pages = in_pages(limit, async |page| {
            let page = fixture.store.audit(direction, page).await.unwrap();
            assert_eq!((&page.head, &page.archived), (&first.head, &first.archived));
            page.entries
        });
        let mut entries = pages.await;
        if direction == Direction::Descending {
            entries.reverse();
        }
        if whole.is_empty() {
            whole = entries;
        } else {
            assert_eq!(entries, whole, "{direction:?} {limit}");
        }
    }
    let mut check = AuditCheck::after(first.archived.clone());
    for entry in &whole {
        check.take(entry).unwrap();
    }
    check.finish(first.head.as_ref()).unwrap();
    (first.archived, whole)
}

async fn delete_archived(fixture: &Fixture) {
    while fixture.store.delete_archived_audit(2).await.unwrap() {}
}

/// Before something is archived there is nothing to delete, in an empty trail and in another.
pub async fn unarchived_trail_has_nothing_to_delete(fixture: &Fixture) {
    assert!(!fixture.store.delete_archived_audit(100).await.unwrap());
    let whole = months(fixture).await;
    assert!(!fixture.store.delete_archived_audit(100).await.unwrap());
    assert_eq!(listed(fixture).await, (None, whole));
}

/// A list begins after the last archived entry at once, in the middle of a month and at its end, and stays so while
/// the entries are deleted.
pub async fn archived_entries_are_in_no_list(fixture: &Fixture) {
    let whole = months(fixture).await;
    for last in [1, 2, 4, 5] {
        let archived = whole[last - 1].head();
        assert!(fixture.store.set_audit_archived(&archived).await.unwrap());
        let expected = (Some(archived), whole[last..].to_vec());
        assert_eq!(listed(fixture).await, expected, "{last}");
        delete_archived(fixture).await;
        assert_eq!(listed(fixture).await, expected, "{last}, deleted");
    }
}

/// A step deletes no more entries than its limit, and says whether there are more. It does not matter how many entries
/// were archived meanwhile.
pub async fn archived_entries_are_deleted_in_steps(fixture: &Fixture) {
    let whole = months(fixture).await;
    fixture.store.set_audit_archived(&whole[0].head()).await.unwrap();
    fixture.store.set_audit_archived(&whole[4].head()).await.unwrap();
    let mut steps = 0;
    while fixture.store.delete_archived_audit(1).await.unwrap() {
        steps += 1;
        assert_eq!(listed(fixture).await, (Some(whole[4].head()), whole[5..].to_vec()));
    }
    assert!(steps >= 5, "five entries were deleted in {steps} steps");
    assert!(!fixture.store.delete_archived_audit(1).await.unwrap());
    assert_eq!(listed(fixture).await, (Some(whole[4].head()), whole[5..].to_vec()));
}

/// The store refuses to archive up to an entry that does not exist, has another hash, or is archived already.
pub async fn only_an_entry_of_the_list_is_archived(fixture: &Fixture) {
    let nothing = AuditHead { sequence: 1, hash: "0".repeat(64) };
    assert!(!fixture.store.set_audit_archived(&nothing).await.unwrap());
    let whole = months(fixture).await;
    let last = whole[2].head();
    let refused = [
        AuditHead { sequence: 0, ..nothing.clone() },
        nothing,
        AuditHead { sequence: 3, ..whole[3].head() },
        AuditHead { sequence: 8, ..whole[6].head() },
    ];
    for refused in &refused {
        assert!(!fixture.store.set_audit_archived(refused).await.unwrap(), "{refused:?}");
    }
    assert_eq!(listed(fixture).await, (None, whole.clone()));
    assert!(fixture.store.set_audit_archived(&last).await.unwrap());
    for refused in refused.iter().chain([&last, &whole[0].head()]) {
        assert!(!fixture.store.set_audit_archived(refused).await.unwrap(), "{refused:?}");
    }
    assert_eq!(listed(fixture).await, (Some(last), whole[3..].to_vec()));
}

/// A list cannot go on from an archived entry. From the last one it goes on with the first that is not archived.
pub async fn position_among_archived_entries_is_refused(fixture: &Fixture) {
    let whole = months(fixture).await;
    let from = async |direction, sequence: u64| {
        let page = PageRequest::after(Limit::clamped(100), position(&sequence));
        fixture.store.audit(direction, page).await.map(|page| page.entries.data)
    };
    fixture.store.set_audit_archived(&whole[3].head()).await.unwrap();
    for _ in 0..2 {
        for sequence in [0, 1, 3] {
            let found = from(Direction::Ascending, sequence).await;
            assert!(matches!(found, Err(StoreError::ArchivedPosition)), "{sequence}: {found:?}");
        }
        assert_eq!(from(Direction::Ascending, 4).await.unwrap(), whole[4..]);
        for sequence in [0, 1, 4] {
            let found = from(Direction::Descending, sequence).await;
            assert!(matches!(found, Err(StoreError::ArchivedPosition)), "{sequence}: {found:?}");
        }
        assert_eq!(from(Direction::Descending, 5).await.unwrap(), []);
        assert_eq!(from(Direction::Descending, 6).await.unwrap(), whole[4..5]);
        delete_archived(fixture).await;
    }
}

/// If the last entry is archived, too, the next one still follows it.
pub async fn trail_goes_on_after_all_of_it_is_archived(fixture: &Fixture) {
    let whole = months(fixture).await;
    let mut archived = whole[6].head();
    for time in [SignedDuration::ZERO, OTHER_MONTH] {
        assert!(fixture.store.set_audit_archived(&archived).await.unwrap());
        assert_eq!(listed(fixture).await, (Some(archived.clone()), vec![]));
        delete_archived(fixture).await;
        let page = fixture.store.audit(Direction::Ascending, all()).await.unwrap();
        assert_eq!((page.head.as_ref(), page.entries.data), (Some(&archived), vec![]));
        fixture.pass(time);
        fixture.add_key(new_key(fixture, "Key")).await.unwrap();
        let (before, rest) = listed(fixture).await;
        assert_eq!((before.as_ref(), rest.len()), (Some(&archived), 1));
        archived = rest[0].head();
    }
    assert_eq!(archived.sequence, 9);
}

/// Several archivers beside changes of keys lose no entry and delete none that is not archived.
pub async fn archive_beside_changes_keeps_one_chain(fixture: &Fixture) {
    let whole = months(fixture).await;
    let mut tasks: Vec<Task<()>> = Vec::new();
    for last in [1, 4, 4] {
        let (fixture, last) = (fixture.clone(), whole[last].head());
        tasks.push(Box::pin(async move {
            fixture.store.set_audit_archived(&last).await.unwrap();
            delete_archived(&fixture).await;
        }));
    }
    for _ in 0..4 {
        let (fixture, new) = (fixture.clone(), new_key(fixture, "New"));
        tasks.push(Box::pin(async move { fixture.add_key(new).await.unwrap() }));
    }
    let reader = fixture.clone();
    tasks.push(Box::pin(async move {
        for _ in 0..8 {
            let page = reader.store.audit(Direction::Ascending, all()).await.unwrap();
            let mut check = AuditCheck::after(page.archived);
            for entry in &page.entries.data {
                check.take(entry).unwrap();
            }
        }
    }));
    at_once(tasks).await;
    delete_archived(fixture).await;
    let (archived, rest) = listed(fixture).await;
    assert_eq!((archived, rest.len()), (Some(whole[4].head()), 6));
    assert_eq!(rest[..2], whole[5..]);
}
