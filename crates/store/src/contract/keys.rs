//! Managed keys, their uses and their rates.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    Actor, AddressAccess, AuditAction, AuditCheck, AuditEntry, AuditEvent, Grant, KeyChangeError, KeyId,
    KeyPatch, KeyRecord, KeyStatus, KeyUsage, KeyUse, ManagedKey, NewKeySpec, ProjectAccess, RateLimit,
    Scope, ScopeSet, WRITE_EVERY, parse_block,
};
use onerun_domain::{Direction, Metadata, Name, Page, PageRequest, Patch, ProjectId};

use super::fixture::{
    Fixture, ROUNDS, Task, all, assert_duplicate, at_once, both, in_pages, is_duplicate, metadata, name,
    odd_texts, part,
};
use crate::{
    ChangeKey, DecideUnasked, ExactFilter, IdempotencyId, IdempotencyRecord, IdempotencyScope, KeyChange,
    KeyError, KeyLimits, KeyView, ListKeys, NewKey, StoreError,
};

/// A decision about a key, and the event that it writes.
pub(super) type Change = (AuditEvent, DecideUnasked);

impl Fixture {
    /// Adds a key without a managed key as the caller.
    pub(super) async fn add_key(&self, new: NewKey) -> Result<(), StoreError> {
        match self.store.insert_key(None, Box::new(move |_| Ok(new.clone()))).await {
            Ok(_) => Ok(()),
            Err(KeyError::Store(error)) => Err(error),
            Err(error) => panic!("nobody refuses it: {error}"),
        }
    }

    /// Changes a key without a managed key as the caller.
    pub(super) async fn change_key(
        &self,
        id: &KeyId,
        decide: DecideUnasked,
    ) -> Result<Option<KeyChange>, KeyError> {
        self.store.change_key(id, ChangeKey::unasked(decide)).await
    }
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn root() -> KeyId {
    KeyId::restore("root").unwrap()
}

pub(super) fn managed(fixture: &Fixture) -> ManagedKey {
    let fill = |buffer: &mut [u8]| {
        fixture.random().fill(buffer);
        Ok::<(), std::convert::Infallible>(())
    };
    ManagedKey::generate(fill).unwrap()
}

fn record(fixture: &Fixture, name: Name, grant: Grant) -> KeyRecord {
    let spec = NewKeySpec { name, grant, not_before: None, metadata: Metadata::default() };
    KeyRecord::new(&managed(fixture), spec, root(), fixture.now())
}

/// An event that differs from every other.
fn event(fixture: &Fixture, action: AuditAction, id: &KeyId) -> AuditEvent {
    let now = fixture.now();
    AuditEvent {
        at: now.to_string(),
        action: action.as_str().to_owned(),
        key_id: id.to_string(),
        actor: Actor {
            key_id: "root".into(),
            address: Some("203.0.113.9".into()),
            user_agent: Some("curl/8".into()),
            request_id: format!("request-{}", now.as_microsecond()),
        },
        details: BTreeMap::from([("name".to_owned(), "ci".to_owned())]),
    }
}

fn adding(fixture: &Fixture, record: KeyRecord) -> NewKey {
    let event = event(fixture, AuditAction::Create, &record.id);
    NewKey { record, event, call: None, limits: KeyLimits::NONE, jobs: Vec::new() }
}

/// A key with every scope.
pub(super) fn new_key(fixture: &Fixture, text: &str) -> NewKey {
    adding(fixture, record(fixture, name(text), Grant::everything()))
}

async fn add(fixture: &Fixture, record: KeyRecord) -> KeyRecord {
    fixture.add_key(adding(fixture, record.clone())).await.unwrap();
    record
}

/// A change by one of the transitions of a key.
fn change(
    fixture: &Fixture,
    action: AuditAction,
    mut transition: impl FnMut(KeyRecord, Timestamp) -> Result<KeyRecord, KeyChangeError> + Send + 'static,
) -> Change {
    let (now, event) = (fixture.now(), event(fixture, action, &root()));
    let written = event.clone();
    let decide = Box::new(move |before: KeyRecord| {
        let record = transition(before, now)?;
        Ok(KeyChange::To { record: Box::new(record), event: written.clone(), jobs: Vec::new() })
    });
    (event, decide)
}

pub(super) fn updated(fixture: &Fixture, patch: KeyPatch) -> Change {
    change(fixture, AuditAction::Update, move |before, now| before.update(patch.clone(), now))
}

pub(super) fn disabled(fixture: &Fixture) -> Change {
    change(fixture, AuditAction::Disable, KeyRecord::disable)
}

pub(super) fn enabled(fixture: &Fixture) -> Change {
    change(fixture, AuditAction::Enable, KeyRecord::enable)
}

pub(super) fn revoked(fixture: &Fixture) -> Change {
    change(fixture, AuditAction::Revoke, |before, now| Ok(before.revoke(now)))
}

/// A rotation, and the id of the new key.
pub(super) fn rotated(fixture: &Fixture, call: Option<&str>) -> (KeyId, Change) {
    let key = managed(fixture);
    let id = key.id().clone();
    let call = call.map(|text| call_of(fixture, &root(), text, &id));
    (id, rotation(fixture, key, DAY, call))
}

pub(super) fn rotation(
    fixture: &Fixture,
    key: ManagedKey,
    overlap: SignedDuration,
    call: Option<IdempotencyRecord>,
) -> Change {
    let (now, event) = (fixture.now(), event(fixture, AuditAction::Rotate, key.id()));
    let written = event.clone();
    let decide = Box::new(move |before: KeyRecord| {
        let (old, new) = before.rotate(&key, overlap, Some(now + 90 * DAY), root(), now)?;
        Ok(KeyChange::Rotation {
            record: Box::new(old),
            new: Box::new(new),
            event: written.clone(),
            call: call.clone(),
            limits: KeyLimits::NONE,
            jobs: Vec::new(),
        })
    });
    (event, decide)
}

fn call_of(fixture: &Fixture, caller: &KeyId, text: &str, made: &KeyId) -> IdempotencyRecord {
    IdempotencyRecord {
        id: record_id(caller, text),
        request_hash: "ef".repeat(32),
        response: format!(r#"{{"id":"{made}"}}"#),
        created_at: fixture.now(),
    }
}

fn record_id(caller: &KeyId, text: &str) -> IdempotencyId {
    IdempotencyId::new(IdempotencyScope::Keys, caller, None, text)
}

/// The record of a request that created or rotated a key.
async fn recorded(fixture: &Fixture, caller: &KeyId, text: &str) -> Option<IdempotencyRecord> {
    fixture.store.idempotency_record(&record_id(caller, text), fixture.now()).await.unwrap()
}

/// The refusal of a change of a key.
#[track_caller]
fn refusal<T: std::fmt::Debug>(changed: Result<T, KeyError>) -> KeyChangeError {
    match changed {
        Err(KeyError::Refused(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// Whether a change of a key failed because its new key or its record exists already.
#[track_caller]
fn is_duplicate_key<T: std::fmt::Debug>(changed: &Result<T, KeyError>) -> bool {
    match changed {
        Ok(_) => false,
        Err(KeyError::Store(StoreError::Duplicate { .. })) => true,
        other => panic!("neither done nor a duplicate: {other:?}"),
    }
}

/// Changes an existing key. The change must be allowed.
pub(super) async fn changed(fixture: &Fixture, id: &KeyId, decide: DecideUnasked) -> KeyChange {
    fixture.change_key(id, decide).await.unwrap().unwrap()
}

/// The whole trail, which must be one chain up to its head.
pub(super) async fn trail(fixture: &Fixture) -> Vec<AuditEntry> {
    let entries =
        in_pages(100, async |page| fixture.store.audit(Direction::Ascending, page).await.unwrap().entries);
    let entries = entries.await;
    let mut check = AuditCheck::default();
    for entry in &entries {
        check.take(entry).unwrap();
    }
    let head = fixture.store.audit(Direction::Descending, part(1, 0)).await.unwrap().head;
    check.finish(head.as_ref()).unwrap();
    entries
}

pub(super) fn everything(fixture: &Fixture, page: PageRequest) -> ListKeys {
    ListKeys {
        exact: ExactFilter::default(),
        within: ProjectAccess::All,
        status: None,
        project: None,
        ends_by: None,
        idle_since: None,
        now: fixture.now(),
        page,
    }
}

fn names(page: &Page<KeyView>) -> Vec<&str> {
    page.data.iter().map(|view| view.record.name.as_str()).collect()
}

/// The names of the keys that a list returns, with the largest page.
async fn listed(fixture: &Fixture, list: impl FnOnce(ListKeys) -> ListKeys) -> Vec<String> {
    let page = fixture.store.keys(list(everything(fixture, all()))).await.unwrap();
    names(&page).into_iter().map(str::to_owned).collect()
}

fn used(at: Timestamp, scopes: &[Scope], since_replaced: u64) -> KeyUse {
    KeyUse { last_at: at, scopes: scopes.iter().copied().collect(), since_replaced }
}

fn limit(requests: u32, window_seconds: u32) -> RateLimit {
    RateLimit::new(requests, window_seconds).unwrap()
}

/// A grant with every field set.
fn narrow(fixture: &Fixture) -> Grant {
    let ids = [ProjectId::generate(fixture.random()), ProjectId::generate(fixture.random())];
    let blocks = ["10.0.0.0/8", "2001:db8::/32", "203.0.113.9"].map(|text| parse_block(text).unwrap());
    Grant {
        scopes: [Scope::AgentsRead, Scope::KeysWrite].into_iter().collect(),
        projects: ProjectAccess::Only(ids.into()),
        addresses: AddressAccess::Only(blocks.into()),
        rate_limit: Some(limit(RateLimit::MAX_REQUESTS, RateLimit::MAX_WINDOW_SECONDS)),
        expires_at: Some(fixture.now() + 90 * DAY),
    }
}

/// Every field is stored verbatim, whether it is set or not.
pub async fn key_is_read_as_added(fixture: &Fixture) {
    let mut records = vec![
        record(fixture, name("Everything"), Grant::everything()),
        record(fixture, name("Nothing"), Grant { scopes: ScopeSet::NONE, ..Grant::everything() }),
        KeyRecord {
            not_before: Some(fixture.now()),
            metadata: metadata(r#"{"team": "checkout", "nested": {"a": [1, 2.5, null, "\u0000"]}}"#),
            created_by: record(fixture, name("Maker"), Grant::everything()).id,
            family: record(fixture, name("First"), Grant::everything()).id,
            ..record(fixture, name("Narrow"), narrow(fixture))
        },
    ];
    for scope in Scope::ALL {
        let grant = Grant { scopes: [scope].into_iter().collect(), ..Grant::everything() };
        records.push(record(fixture, name("One scope"), grant));
    }
    let odd = odd_texts().into_iter().filter_map(|text| Name::parse(text).ok());
    records.extend(odd.map(|name| record(fixture, name, Grant::everything())));
    for record in records {
        add(fixture, record.clone()).await;
        assert_eq!(fixture.store.key(&record.id).await.unwrap().as_ref(), Some(&record));
        let view = KeyView { record: record.clone(), usage: KeyUsage::NONE };
        assert_eq!(fixture.store.key_view(&record.id).await.unwrap().as_ref(), Some(&view));
        let newest = fixture.store.keys(everything(fixture, part(1, 0))).await.unwrap();
        assert_eq!(newest.data, [view]);
    }
}

/// A second key with the same id is refused with everything that would be written beside it, and
/// the first key stays.
pub async fn key_is_added_once(fixture: &Fixture) {
    let first = add(fixture, record(fixture, name("First"), Grant::everything())).await;
    let second = KeyRecord { name: name("Second"), ..first.clone() };
    let call = call_of(fixture, &root(), "a", &second.id);
    let second = NewKey { call: Some(call), ..adding(fixture, second) };
    assert_duplicate(&fixture.add_key(second).await);
    assert_eq!(fixture.store.key(&first.id).await.unwrap(), Some(first));
    assert_eq!(recorded(fixture, &root(), "a").await, None);
    assert_eq!(trail(fixture).await.len(), 1);
}

/// Reads and changes of an unknown key return `None`; the decision is not called, and no uses are
/// stored.
pub async fn unknown_key_is_none(fixture: &Fixture) {
    add(fixture, record(fixture, name("Key"), Grant::everything())).await;
    let unknown = record(fixture, name("Unknown"), Grant::everything());
    let id = &unknown.id;
    assert_eq!(fixture.store.key(id).await.unwrap(), None);
    assert_eq!(fixture.store.key_view(id).await.unwrap(), None);
    let refused = fixture.change_key(id, Box::new(|_| Err(KeyChangeError::Revoked))).await;
    assert_eq!(refused.unwrap(), None);
    let now = fixture.now();
    assert!(fixture.store.add_key_use(id, &used(now, &[Scope::AgentsRead], 0), now).await.unwrap());
    assert_eq!(fixture.store.key_view(id).await.unwrap(), None);
    add(fixture, unknown.clone()).await;
    let view = fixture.store.key_view(id).await.unwrap().unwrap();
    assert_eq!((view.record, view.usage), (unknown.clone(), KeyUsage::NONE));
}

/// Each state is returned and stored; unchanged fields stay the same.
pub async fn every_state_of_a_key_is_stored(fixture: &Fixture) {
    let id = add(fixture, record(fixture, name("Key"), narrow(fixture))).await.id;
    let all_of_it = KeyPatch {
        name: Some(name("Renamed")),
        scopes: Some(ScopeSet::ALL),
        projects: Some(ProjectAccess::All),
        addresses: Some(AddressAccess::Any),
        rate_limit: Patch::Clear,
        expires_at: Patch::Clear,
        metadata: Some(metadata(r#"{"a": "b"}"#)),
    };
    let some_of_it = KeyPatch { projects: Some(narrow(fixture).projects), ..KeyPatch::default() };
    let changes = [
        updated(fixture, all_of_it),
        updated(fixture, some_of_it),
        disabled(fixture),
        enabled(fixture),
        rotated(fixture, None).1,
        disabled(fixture),
        revoked(fixture),
    ];
    for (number, (event, mut decide)) in changes.into_iter().enumerate() {
        let before = fixture.store.key(&id).await.unwrap().unwrap();
        let expected = decide(before.clone()).unwrap();
        assert_eq!(changed(fixture, &id, decide).await, expected);
        let (KeyChange::To { record, .. } | KeyChange::Rotation { record, .. }) = expected else {
            panic!("{event:?} changes something");
        };
        assert_ne!(*record, before);
        assert_eq!(record.revision, 2 + u64::try_from(number).unwrap());
        assert_eq!(fixture.store.key(&id).await.unwrap().as_ref(), Some(&*record));
        let view = fixture.store.key_view(&id).await.unwrap().unwrap();
        assert_eq!(view, KeyView { record: *record, usage: KeyUsage::NONE });
    }
}

/// The key is returned, and nothing is written, neither the key nor an audit entry.
pub async fn unchanged_key_is_not_written(fixture: &Fixture) {
    let key = add(fixture, record(fixture, name("Key"), Grant::everything())).await;
    let otherwise = KeyRecord { name: name("Other"), ..key.clone() };
    let answer = otherwise.clone();
    let decide = Box::new(move |_| Ok(KeyChange::None(answer.clone())));
    assert_eq!(changed(fixture, &key.id, decide).await, KeyChange::None(otherwise));
    assert_eq!(fixture.store.key(&key.id).await.unwrap(), Some(key));
    assert_eq!(trail(fixture).await.len(), 1);
}

/// The refusal is returned, and nothing is written, neither the key nor an audit entry.
pub async fn refused_change_of_a_key_writes_nothing(fixture: &Fixture) {
    let key = add(fixture, record(fixture, name("Key"), Grant::everything())).await;
    let refused = fixture.change_key(&key.id, Box::new(|_| Err(KeyChangeError::Disabled))).await;
    assert_eq!(refusal(refused), KeyChangeError::Disabled);
    assert_eq!(fixture.store.key(&key.id).await.unwrap(), Some(key));
    assert_eq!(trail(fixture).await.len(), 1);
}

/// Refuses a caller that is not active, as a host does.
fn must_be_active(caller: Option<&KeyRecord>, now: Timestamp) -> Result<(), KeyError> {
    let Some(caller) = caller else { panic!("the caller is there") };
    match caller.status(now) {
        KeyStatus::Active => Ok(()),
        _ => Err(onerun_auth::Refusal::RevokedKey { key_id: caller.id.clone() }.into()),
    }
}

/// A key that `caller` creates while it is active.
async fn made_by(fixture: &Fixture, caller: &KeyId, text: &str) -> Result<NewKey, KeyError> {
    let (now, mut new) = (fixture.now(), new_key(fixture, text));
    new.event.actor.key_id = caller.to_string();
    let decide = Box::new(move |caller: Option<KeyRecord>| {
        must_be_active(caller.as_ref(), now)?;
        Ok(new.clone())
    });
    fixture.store.insert_key(Some(caller), decide).await
}

/// A rename of a key by `caller` while it is active.
async fn renamed_by(fixture: &Fixture, caller: &KeyId, id: &KeyId) -> Result<Option<KeyChange>, KeyError> {
    let (now, mut event) = (fixture.now(), event(fixture, AuditAction::Update, id));
    event.actor.key_id = caller.to_string();
    let patch = KeyPatch { name: Some(name("Renamed")), ..KeyPatch::default() };
    let decide = Box::new(move |record: KeyRecord, caller: Option<KeyRecord>| {
        must_be_active(caller.as_ref(), now)?;
        Ok(KeyChange::To {
            record: record.update(patch.clone(), now)?.into(),
            event: event.clone(),
            jobs: Vec::new(),
        })
    });
    let change = ChangeKey { caller: Some(caller.clone()), is_ending: false, decide };
    fixture.store.change_key(id, change).await
}

/// Revokes a key.
async fn end(fixture: &Fixture, id: &KeyId) {
    let (_, decide) = revoked(fixture);
    let change = ChangeKey { is_ending: true, ..ChangeKey::unasked(decide) };
    fixture.store.change_key(id, change).await.unwrap().unwrap();
}

/// A revoked caller creates and changes nothing, not even itself, and the decision's error is
/// returned.
pub async fn revoked_caller_cannot_create_or_change_keys(fixture: &Fixture) {
    let caller = add(fixture, record(fixture, name("Caller"), Grant::everything())).await.id;
    let other = made_by(fixture, &caller, "Other").await.unwrap().record.id;
    for id in [&other, &caller] {
        renamed_by(fixture, &caller, id).await.unwrap().unwrap();
        assert_eq!(fixture.store.key(id).await.unwrap().unwrap().name, name("Renamed"));
    }
    end(fixture, &caller).await;
    let before = trail(fixture).await.len();
    let refused = made_by(fixture, &caller, "Child").await;
    assert!(matches!(refused, Err(KeyError::Caller(_))), "{refused:?}");
    for id in [&other, &caller] {
        let refused = renamed_by(fixture, &caller, id).await;
        assert!(matches!(refused, Err(KeyError::Caller(_))), "{refused:?}");
    }
    assert_eq!(trail(fixture).await.len(), before);
    assert_eq!(fixture.store.keys(everything(fixture, all())).await.unwrap().data.len(), 2);
}

/// For a caller that the store does not know, the decision gets `None`.
pub async fn unknown_caller_is_none_in_the_decision(fixture: &Fixture) {
    let unknown = record(fixture, name("Unknown"), Grant::everything()).id;
    let new = new_key(fixture, "Key");
    let id = new.record.id.clone();
    let decide = Box::new(move |caller: Option<KeyRecord>| {
        assert_eq!(caller, None);
        Ok(new.clone())
    });
    fixture.store.insert_key(Some(&unknown), decide).await.unwrap();
    let decide = Box::new(|record: KeyRecord, caller: Option<KeyRecord>| {
        assert_eq!(caller, None);
        Ok(KeyChange::None(record))
    });
    let change = ChangeKey { caller: Some(unknown), is_ending: false, decide };
    fixture.store.change_key(&id, change).await.unwrap().unwrap();
}

/// The trail has no entry of a caller after the caller's revocation.
pub async fn caller_cannot_act_after_its_revocation(fixture: &Fixture) {
    for _ in 0..ROUNDS {
        let caller = add(fixture, record(fixture, name("Caller"), Grant::everything())).await.id;
        let other = add(fixture, record(fixture, name("Other"), Grant::everything())).await.id;
        let mut tasks: Vec<Task<()>> = Vec::new();
        for number in 0..6 {
            let (fixture, caller, other) = (fixture.clone(), caller.clone(), other.clone());
            tasks.push(Box::pin(async move {
                let done = match number {
                    2 => {
                        end(&fixture, &caller).await;
                        Ok(())
                    }
                    0 | 4 => renamed_by(&fixture, &caller, &other).await.map(drop),
                    _ => made_by(&fixture, &caller, "Child").await.map(drop),
                };
                assert!(matches!(done, Ok(()) | Err(KeyError::Caller(_))), "{done:?}");
            }));
        }
        at_once(tasks).await;
        let trail = trail(fixture).await;
        let revoked = trail.iter().rposition(|entry| entry.event.action == "revoke_key").unwrap();
        let late = trail[revoked..].iter().filter(|entry| entry.event.actor.key_id == caller.as_str());
        assert_eq!(late.count(), 0);
    }
}

/// Each change decides from the state that the change before it wrote, and has its own entry.
pub async fn concurrent_key_changes_are_all_kept(fixture: &Fixture) {
    let id = add(fixture, record(fixture, name("Key"), Grant::everything())).await.id;
    let tasks = (0..8).map(|number| {
        let (fixture, id) = (fixture.clone(), id.clone());
        Box::pin(async move {
            let (_, decide) = change(&fixture, AuditAction::Update, move |before, now| {
                let name = Some(name(&format!("{}{number}", before.name)));
                before.update(KeyPatch { name, ..KeyPatch::default() }, now)
            });
            changed(&fixture, &id, decide).await;
        }) as _
    });
    at_once(tasks.collect()).await;
    let key = fixture.store.key(&id).await.unwrap().unwrap();
    let mut digits: Vec<char> = key.name.as_str().strip_prefix("Key").unwrap().chars().collect();
    digits.sort_unstable();
    assert_eq!(digits, ('0'..='7').collect::<Vec<_>>());
    assert_eq!(key.revision, 9);
    assert_eq!(trail(fixture).await.len(), 9);
}

/// No concurrent change undoes a revocation.
pub async fn revoked_key_stays_revoked(fixture: &Fixture) {
    for _ in 0..ROUNDS {
        let id = add(fixture, record(fixture, name("Key"), Grant::everything())).await.id;
        let before = trail(fixture).await.len();
        let (_, revoke) = revoked(fixture);
        let (_, enable) = change(fixture, AuditAction::Enable, |before, now| {
            let disabled = before.disable(now)?;
            disabled.enable(now)
        });
        let store = |decide| {
            let (fixture, id) = (fixture.clone(), id.clone());
            async move { fixture.change_key(&id, decide).await }
        };
        let (revoked, enabled) = both(store(revoke), store(enable)).await;
        assert!(revoked.unwrap().is_some());
        let enabled = match enabled {
            Ok(changed) => usize::from(changed.is_some()),
            refused => {
                assert_eq!(refusal(refused), KeyChangeError::Revoked);
                0
            }
        };
        assert!(fixture.store.key(&id).await.unwrap().unwrap().revoked_at.is_some());
        assert_eq!(trail(fixture).await.len(), before + 1 + enabled);
    }
}

/// Both keys, the idempotency record and one entry are written.
pub async fn rotation_is_stored_atomically(fixture: &Fixture) {
    let old = add(fixture, record(fixture, name("Key"), narrow(fixture))).await;
    let (id, (event, decide)) = rotated(fixture, Some("a"));
    let KeyChange::Rotation { record, new, call, .. } = changed(fixture, &old.id, decide).await else {
        panic!("not a rotation");
    };
    assert_eq!(record.replaced.as_ref().map(|replaced| &replaced.by), Some(&id));
    assert_eq!(new.replaces.as_ref(), Some(&old.id));
    assert_eq!(fixture.store.key(&old.id).await.unwrap().as_ref(), Some(&*record));
    assert_eq!(fixture.store.key(&id).await.unwrap().as_ref(), Some(&*new));
    assert_eq!(recorded(fixture, &root(), "a").await, call);
    assert_eq!(call.unwrap().response, format!(r#"{{"id":"{id}"}}"#));
    let page = fixture.store.keys(everything(fixture, all())).await.unwrap();
    assert_eq!(page.data.into_iter().map(|view| view.record).collect::<Vec<_>>(), [*new, *record]);
    let trail = trail(fixture).await;
    assert_eq!(trail.len(), 2);
    assert_eq!(trail[1].event, event);
}

/// If the new key's id or the idempotency record exists, nothing of the rotation is written.
pub async fn failed_rotation_writes_nothing(fixture: &Fixture) {
    let old = add(fixture, record(fixture, name("Key"), Grant::everything())).await;
    let taken = managed(fixture);
    let other = KeyRecord { id: taken.id().clone(), ..record(fixture, name("Other"), Grant::everything()) };
    let call = call_of(fixture, &root(), "taken", &other.id);
    fixture.add_key(NewKey { call: Some(call), ..adding(fixture, other.clone()) }).await.unwrap();

    let free = call_of(fixture, &root(), "free", taken.id());
    let (_, decide) = rotation(fixture, taken, DAY, Some(free));
    assert!(is_duplicate_key(&fixture.change_key(&old.id, decide).await));
    assert_eq!(recorded(fixture, &root(), "free").await, None);
    let (new, (_, decide)) = rotated(fixture, Some("taken"));
    assert!(is_duplicate_key(&fixture.change_key(&old.id, decide).await));
    assert_eq!(fixture.store.key(&new).await.unwrap(), None);

    assert_eq!(fixture.store.key(&old.id).await.unwrap(), Some(old));
    assert_eq!(fixture.store.key(&other.id).await.unwrap().as_ref(), Some(&other));
    let call = recorded(fixture, &root(), "taken").await.unwrap();
    assert_eq!(call.response, format!(r#"{{"id":"{}"}}"#, other.id));
    assert_eq!(trail(fixture).await.len(), 2);
}

/// Of two concurrent rotations one is refused and creates no key.
pub async fn key_is_rotated_once(fixture: &Fixture) {
    for round in 0..ROUNDS {
        let old = add(fixture, record(fixture, name("Key"), Grant::everything())).await.id;
        let rotate = || {
            let (new, (_, decide)) = rotated(fixture, None);
            let (fixture, old) = (fixture.clone(), old.clone());
            async move { (fixture.change_key(&old, decide).await.map(drop), new) }
        };
        let ((first, one), (second, other)) = both(rotate(), rotate()).await;
        let (won, lost, refused) = match (first, second) {
            (Ok(()), refused) => (one, other, refused),
            (refused, Ok(())) => (other, one, refused),
            neither => panic!("neither was done: {neither:?}"),
        };
        assert_eq!(refusal(refused), KeyChangeError::Replaced { by: won.clone() });
        let old = fixture.store.key(&old).await.unwrap().unwrap();
        assert_eq!(old.replaced.unwrap().by, won);
        assert_eq!(fixture.store.key(&won).await.unwrap().unwrap().replaces, Some(old.id));
        assert_eq!(fixture.store.key(&lost).await.unwrap(), None);
        assert_eq!(trail(fixture).await.len(), 2 * (usize::try_from(round).unwrap() + 1));
    }
}

/// Each record belongs to its idempotency key and its caller.
pub async fn calls_are_stored_verbatim_under_their_keys(fixture: &Fixture) {
    let other = record(fixture, name("Caller"), Grant::everything()).id;
    let mut calls = Vec::new();
    for text in odd_texts() {
        for caller in [&root(), &other] {
            let record = record(fixture, name("Key"), Grant::everything());
            let call = call_of(fixture, caller, &text, &record.id);
            let new = NewKey { call: Some(call.clone()), ..adding(fixture, record) };
            fixture.add_key(new).await.unwrap();
            calls.push(call);
        }
    }
    for call in calls {
        let found = fixture.store.idempotency_record(&call.id, fixture.now()).await.unwrap();
        assert_eq!(found, Some(call));
    }
    assert_eq!(recorded(fixture, &root(), "unknown").await, None);
}

/// The repeated request is refused completely: no key, no entry, and the stored record stays
/// unchanged.
pub async fn repeated_call_creates_no_second_key(fixture: &Fixture) {
    let (first, second) = (new_key(fixture, "First"), new_key(fixture, "Second"));
    let kept = call_of(fixture, &root(), "a", &first.record.id);
    let repeated = call_of(fixture, &root(), "a", &second.record.id);
    fixture.add_key(NewKey { call: Some(kept.clone()), ..first }).await.unwrap();
    assert_duplicate(&fixture.add_key(NewKey { call: Some(repeated), ..second.clone() }).await);
    assert_eq!(recorded(fixture, &root(), "a").await, Some(kept));
    assert_eq!(fixture.store.key(&second.record.id).await.unwrap(), None);
    assert_eq!(trail(fixture).await.len(), 1);
    // The same key under another record, or under none, is a new request.
    fixture.add_key(second).await.unwrap();
}

/// One of them creates its key, and the stored record names it.
pub async fn concurrent_calls_create_one_key(fixture: &Fixture) {
    for round in 0..ROUNDS {
        let text = format!("call {round}");
        let tasks = (0..3).map(|_| {
            let new = new_key(fixture, "Key");
            let call = call_of(fixture, &root(), &text, &new.record.id);
            let fixture = fixture.clone();
            Box::pin(async move {
                let id = new.record.id.clone();
                let added = fixture.add_key(NewKey { call: Some(call), ..new }).await;
                (id, is_duplicate(&added.map_err(crate::ChangeError::from)))
            }) as _
        });
        let (mut made, mut not_made) = (Vec::new(), Vec::new());
        for (id, is_duplicate) in at_once(tasks.collect()).await {
            if is_duplicate { not_made.push(id) } else { made.push(id) }
        }
        assert_eq!((made.len(), not_made.len()), (1, 2));
        let record = recorded(fixture, &root(), &text).await.unwrap();
        assert_eq!(record.response, format!(r#"{{"id":"{}"}}"#, made[0]));
        assert!(fixture.store.key(&made[0]).await.unwrap().is_some());
        for id in not_made {
            assert_eq!(fixture.store.key(&id).await.unwrap(), None);
        }
        assert_eq!(trail(fixture).await.len(), usize::try_from(round).unwrap() + 1);
    }
}

/// In pages of any size. With equal times, each key is still on exactly one page.
pub async fn keys_are_listed_newest_first(fixture: &Fixture) {
    for number in 0..4 {
        add(fixture, record(fixture, name(&number.to_string()), Grant::everything())).await;
    }
    assert_eq!(listed(fixture, |list| list).await, ["3", "2", "1", "0"]);
    let now = fixture.now();
    for _ in 0..4 {
        let equal = KeyRecord { created_at: now, ..record(fixture, name("4"), Grant::everything()) };
        add(fixture, equal).await;
    }
    let whole = fixture.store.keys(everything(fixture, all())).await.unwrap();
    assert_eq!(names(&whole), ["4", "4", "4", "4", "3", "2", "1", "0"]);
    let ids: BTreeSet<_> = whole.data.iter().map(|view| view.record.id.clone()).collect();
    assert_eq!(ids.len(), 8);
    for limit in [1, 3, 8, 9] {
        let pages =
            in_pages(limit, async |page| fixture.store.keys(everything(fixture, page)).await.unwrap());
        assert_eq!(pages.await, whole.data, "{limit}");
    }
}

/// The status is the one at the time of the request.
pub async fn keys_are_filtered_by_status(fixture: &Fixture) {
    let now = fixture.now();
    let everything = |name| record(fixture, name, Grant::everything());
    let until = |end| Grant { expires_at: Some(end), ..Grant::everything() };
    add(fixture, everything(name("active"))).await;
    add(fixture, everything(name("disabled")).disable(now).unwrap()).await;
    add(fixture, everything(name("revoked")).revoke(now)).await;
    add(fixture, record(fixture, name("expired"), until(now))).await;
    add(fixture, record(fixture, name("soon expired"), until(now + DAY))).await;
    add(fixture, KeyRecord { not_before: Some(now + DAY), ..everything(name("pending")) }).await;
    add(fixture, everything(name("replaced"))).await;
    let replaced = fixture.store.keys(self::everything(fixture, part(1, 0))).await.unwrap().data.remove(0);
    changed(fixture, &replaced.record.id, rotated(fixture, None).1.1).await;
    let now = fixture.now();
    let at = async |time: Timestamp, status| {
        listed(fixture, move |list| ListKeys { status: Some(status), now: time, ..list }).await
    };
    assert_eq!(at(now, KeyStatus::Active).await, ["replaced", "replaced", "soon expired", "active"]);
    assert_eq!(at(now, KeyStatus::Pending).await, ["pending"]);
    assert_eq!(at(now, KeyStatus::Disabled).await, ["disabled"]);
    assert_eq!(at(now, KeyStatus::Expired).await, ["expired"]);
    assert_eq!(at(now, KeyStatus::Revoked).await, ["revoked"]);
    let later = now + DAY;
    assert_eq!(at(later, KeyStatus::Active).await, ["replaced", "pending", "active"]);
    assert_eq!(at(later, KeyStatus::Expired).await, ["replaced", "soon expired", "expired"]);
}

fn grant_of(ids: &[&ProjectId]) -> Grant {
    Grant { projects: only(ids), ..Grant::everything() }
}

fn only(ids: &[&ProjectId]) -> ProjectAccess {
    ProjectAccess::Only(ids.iter().copied().cloned().collect())
}

/// Three projects, and a key for each way to reach the first two.
async fn keys_of_projects(fixture: &Fixture) -> [ProjectId; 3] {
    let [a, b, c] = [(); 3].map(|()| ProjectId::generate(fixture.random()));
    add(fixture, record(fixture, name("all"), Grant::everything())).await;
    for (text, ids) in [("a", vec![&a]), ("b", vec![&b]), ("a b", vec![&a, &b]), ("none", vec![])] {
        add(fixture, record(fixture, name(text), grant_of(&ids))).await;
    }
    [a, b, c]
}

/// Keys that reach the project, by its id or because they reach all projects.
pub async fn keys_are_filtered_by_project(fixture: &Fixture) {
    let [a, b, c] = keys_of_projects(fixture).await;
    let reaching = async |project: &ProjectId| {
        listed(fixture, |list| ListKeys { project: Some(project.clone()), ..list }).await
    };
    assert_eq!(reaching(&a).await, ["a b", "a", "all"]);
    assert_eq!(reaching(&b).await, ["a b", "b", "all"]);
    assert_eq!(reaching(&c).await, ["all"]);
}

/// Only keys all of whose projects the caller reaches, whatever else the list filters.
pub async fn keys_are_listed_by_project_access(fixture: &Fixture) {
    let [a, b, c] = keys_of_projects(fixture).await;
    let within =
        async |ids: &[&ProjectId]| listed(fixture, |list| ListKeys { within: only(ids), ..list }).await;
    assert_eq!(within(&[&a, &b]).await, ["none", "a b", "b", "a"]);
    assert_eq!(within(&[&a, &c]).await, ["none", "a"]);
    assert_eq!(within(&[]).await, ["none"]);
    let both = listed(fixture, |list| ListKeys { within: only(&[&a]), project: Some(a.clone()), ..list });
    assert_eq!(both.await, ["a"]);
}

/// Keys that have not ended but end by that time, by their expiry or by the end of a rotation's
/// overlap.
pub async fn keys_are_filtered_by_expiry(fixture: &Fixture) {
    let now = fixture.now();
    let until = |end| Grant { expires_at: Some(end), ..Grant::everything() };
    add(fixture, record(fixture, name("never"), Grant::everything())).await;
    add(fixture, record(fixture, name("over"), until(now))).await;
    add(fixture, record(fixture, name("next week"), until(now + 7 * DAY))).await;
    add(fixture, record(fixture, name("next month"), until(now + 30 * DAY))).await;
    add(fixture, record(fixture, name("revoked"), until(now + 7 * DAY)).revoke(now)).await;
    let replaced = add(fixture, record(fixture, name("replaced"), Grant::everything())).await;
    changed(fixture, &replaced.id, rotated(fixture, None).1.1).await;
    let by = async |end: Timestamp| listed(fixture, |list| ListKeys { ends_by: Some(end), ..list }).await;
    let nobody: [&str; 0] = [];
    assert_eq!(by(now).await, nobody);
    assert_eq!(by(now + 2 * DAY).await, ["replaced"]);
    assert_eq!(by(now + 7 * DAY - SignedDuration::from_micros(1)).await, ["replaced"]);
    assert_eq!(by(now + 7 * DAY).await, ["replaced", "next week"]);
    assert_eq!(by(now + 100 * DAY).await, ["replaced", "replaced", "next month", "next week"]);
}

/// Active keys without a use since that time. A key that was never used counts from its creation.
pub async fn keys_are_filtered_by_idle_time(fixture: &Fixture) {
    let old = add(fixture, record(fixture, name("used"), Grant::everything())).await;
    let made = add(fixture, record(fixture, name("never used"), Grant::everything())).await;
    add(fixture, record(fixture, name("disabled"), Grant::everything()).disable(fixture.now()).unwrap())
        .await;
    let now = fixture.pass(DAY);
    let since =
        async |time: Timestamp| listed(fixture, |list| ListKeys { idle_since: Some(time), ..list }).await;
    assert_eq!(since(now).await, ["never used", "used"]);
    assert!(fixture.store.add_key_use(&old.id, &used(now, &[], 0), now).await.unwrap());
    let moment = SignedDuration::from_micros(1);
    assert_eq!(since(now - moment).await, ["never used"]);
    assert_eq!(since(now).await, ["never used", "used"]);
    assert_eq!(since(made.created_at).await, ["never used"]);
    let nobody: [&str; 0] = [];
    assert_eq!(since(made.created_at - moment).await, nobody);
}

/// However many other keys lie between the matches.
pub async fn filters_find_keys_far_behind_the_newest(fixture: &Fixture) {
    let [one, other] = [(); 2].map(|()| ProjectId::generate(fixture.random()));
    for number in 0..125 {
        let project = if number % 30 == 0 { &one } else { &other };
        add(fixture, record(fixture, name(&number.to_string()), grant_of(&[project]))).await;
    }
    for limit in [1, 2, 5, 100] {
        let pages = in_pages(limit, async |page| {
            let list = ListKeys { project: Some(one.clone()), ..everything(fixture, page) };
            fixture.store.keys(list).await.unwrap()
        });
        let found: Vec<String> = pages.await.iter().map(|view| view.record.name.to_string()).collect();
        assert_eq!(found, ["120", "90", "60", "30", "0"], "{limit}");
    }
    let pages = in_pages(50, async |page| fixture.store.keys(everything(fixture, page)).await.unwrap());
    assert_eq!(pages.await.len(), 125);
}

/// The last use, every scope, and the number of uses since the rotation. They are stored apart from
/// the key.
pub async fn uses_of_a_key_are_added_up(fixture: &Fixture) {
    let key = add(fixture, record(fixture, name("Key"), Grant::everything())).await;
    let other = add(fixture, record(fixture, name("Other"), Grant::everything())).await;
    let first = fixture.now();
    let uses = used(first, &[Scope::AgentsRead], 0);
    assert!(fixture.store.add_key_use(&key.id, &uses, first).await.unwrap());
    let (_, disable) = disabled(fixture);
    changed(fixture, &key.id, disable).await;
    let second = fixture.pass(WRITE_EVERY);
    let uses = used(second, &[Scope::AgentsRead, Scope::KeysWrite], 3);
    assert!(fixture.store.add_key_use(&key.id, &uses, second).await.unwrap());
    // Older uses that are reported later.
    let third = fixture.pass(WRITE_EVERY);
    assert!(fixture.store.add_key_use(&key.id, &used(first, &[], u64::MAX), third).await.unwrap());
    let expected = KeyUsage {
        last_used_at: Some(second),
        used_scopes: [Scope::AgentsRead, Scope::KeysWrite].into_iter().collect(),
        uses_since_replaced: u64::MAX,
    };
    let view = fixture.store.key_view(&key.id).await.unwrap().unwrap();
    assert_eq!(view.usage, expected);
    assert_eq!(view.record.revision, 2);
    let listed = fixture.store.keys(everything(fixture, all())).await.unwrap().data;
    assert_eq!(listed[1].usage, expected);
    assert_eq!(listed[0], KeyView { record: other, usage: KeyUsage::NONE });
    assert_eq!(trail(fixture).await.len(), 3);
}

/// Earlier uses are rejected, from any process and with any clock, unless the clock was set back by
/// more than the interval.
pub async fn uses_of_a_key_are_written_once_a_minute(fixture: &Fixture) {
    let key = add(fixture, record(fixture, name("Key"), Grant::everything())).await.id;
    let usage = async || fixture.store.key_view(&key).await.unwrap().unwrap().usage;
    let now = fixture.pass(DAY);
    let moment = SignedDuration::from_micros(1);
    let add = async |at: Timestamp| fixture.store.add_key_use(&key, &used(at, &[], 1), at).await.unwrap();
    assert!(add(now).await);
    for soon in [now, now + WRITE_EVERY - moment, now - moment, now - WRITE_EVERY + moment] {
        assert!(!add(soon).await, "{soon}");
    }
    assert_eq!((usage().await.last_used_at, usage().await.uses_since_replaced), (Some(now), 1));
    assert!(add(now + WRITE_EVERY).await);
    assert!(add(now).await, "the clock was put back");
    let expected = (Some(now + WRITE_EVERY), 3);
    assert_eq!((usage().await.last_used_at, usage().await.uses_since_replaced), expected);
}

/// The process that reports them may end within the minute.
pub async fn key_uses_with_new_details_are_written_at_once(fixture: &Fixture) {
    let key = add(fixture, record(fixture, name("Key"), Grant::everything())).await.id;
    let now = fixture.pass(DAY);
    let add = async |uses: KeyUse| fixture.store.add_key_use(&key, &uses, now).await.unwrap();
    assert!(add(used(now, &[Scope::AgentsRead], 0)).await);
    assert!(!add(used(now, &[Scope::AgentsRead], 0)).await);
    assert!(add(used(now, &[Scope::AgentsRead, Scope::SimulationsWrite], 0)).await, "another scope");
    assert!(!add(used(now, &[Scope::SimulationsWrite], 0)).await);
    assert!(add(used(now, &[], 2)).await, "it was replaced");
    assert!(!add(used(now, &[Scope::AgentsRead], 1)).await);
    let usage = fixture.store.key_view(&key).await.unwrap().unwrap().usage;
    let scopes: Vec<_> = usage.used_scopes.iter().collect();
    assert_eq!((scopes, usage.uses_since_replaced), (vec![Scope::AgentsRead, Scope::SimulationsWrite], 2));
}

/// One of many concurrent writes stores its uses, and the others learn that theirs are not stored.
pub async fn concurrent_key_uses_are_written_once(fixture: &Fixture) {
    let key = add(fixture, record(fixture, name("Key"), Grant::everything())).await.id;
    for round in 1..=ROUNDS {
        let now = fixture.pass(WRITE_EVERY);
        let tasks = (0..4).map(|_| {
            let (fixture, key) = (fixture.clone(), key.clone());
            Box::pin(async move { fixture.store.add_key_use(&key, &used(now, &[], 1), now).await.unwrap() })
                as _
        });
        let written = at_once(tasks.collect()).await;
        assert_eq!(written.iter().filter(|written| **written).count(), 1);
        let usage = fixture.store.key_view(&key).await.unwrap().unwrap().usage;
        assert_eq!((usage.last_used_at, usage.uses_since_replaced), (Some(now), round.into()));
    }
}

/// Each bucket, window and window length has its own count. Counting continues beyond the limit.
pub async fn requests_are_counted_by_bucket_and_window(fixture: &Fixture) {
    let start = Timestamp::from_second(1_924_992_000).unwrap();
    let (minute, hour) = (limit(2, 60), limit(2, 3_600));
    let count = async |bucket: &str, limit, second| {
        let now = start + SignedDuration::from_secs(second);
        fixture.store.count_request(bucket, limit, now).await.unwrap()
    };
    for expected in 1..=4 {
        assert_eq!(count("a", minute, expected).await, expected.unsigned_abs());
    }
    assert_eq!(count("b", minute, 59).await, 1);
    assert_eq!(count("a", hour, 59).await, 1);
    assert_eq!(count("a", minute, 60).await, 1);
    assert_eq!(count("a", minute, 119).await, 2);
    assert_eq!(count("a", hour, 119).await, 2);
    // A request of a process whose clock is behind.
    assert_eq!(count("a", minute, 59).await, 5);
    // Another limit with the same window length counts in the same window.
    assert_eq!(count("a", limit(100, 60), 61).await, 3);
    for text in odd_texts() {
        assert_eq!(count(&text, minute, 0).await, 1, "{text:?}");
    }
}

/// Each request gets its own number, and no number is left out.
pub async fn concurrent_requests_are_all_counted(fixture: &Fixture) {
    let now = fixture.now();
    let tasks = (0..8).map(|_| {
        let fixture = fixture.clone();
        Box::pin(async move {
            let mut counts = Vec::new();
            for _ in 0..8 {
                counts.push(fixture.store.count_request("a", limit(10, 86_400), now).await.unwrap());
            }
            counts
        }) as _
    });
    let counts: Vec<u64> = at_once(tasks.collect()).await.into_iter().flatten().collect();
    let last = fixture.store.count_request("a", limit(10, 86_400), now).await.unwrap();
    assert_eq!(counts.len(), 64);
    assert!(counts.iter().all(|count| (1..last).contains(count)), "{last} of {counts:?}");
    // After a lost answer, one request may be counted twice, and two requests may get the same
    // number; see `count_request`.
    assert!(last > 64, "{last}");
}
