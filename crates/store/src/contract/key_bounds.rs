//! The bounds on live keys, which are decided in the write, so concurrent callers cannot exceed them.

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{KeyChangeError, KeyId, KeyRecord};

use super::{
    fixture::{Fixture, ROUNDS, at_once},
    keys::{changed, managed, new_key, revoked, rotation, trail},
};
use crate::{ChangeKey, KeyChange, KeyError, KeyLimits, NewKey};

const MAX_LIVE: u32 = 3;
const LIMITS: KeyLimits = KeyLimits { all: MAX_LIVE, ..KeyLimits::NONE };
const TOO_MANY: KeyChangeError = KeyChangeError::TooManyKeys { limit: MAX_LIVE };

const MAX_FAMILY: u32 = 3;
const OF_FAMILY: KeyLimits = KeyLimits { family: MAX_FAMILY, ..KeyLimits::NONE };
const FAMILY_IS_FULL: KeyChangeError = KeyChangeError::TooManyKeysOfFamily { limit: MAX_FAMILY };

impl Fixture {
    fn bounded_key(&self, expires_at: Option<Timestamp>) -> NewKey {
        let mut new = NewKey { limits: LIMITS, ..new_key(self, "Key") };
        new.record.grant.expires_at = expires_at;
        new
    }

    async fn add_bounded(&self, new: NewKey) -> Result<(), KeyChangeError> {
        match self.store.insert_key(None, Box::new(move |_| Ok(new.clone()))).await {
            Ok(_) => Ok(()),
            Err(KeyError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// Adds keys up to the limit.
    async fn fill_with_keys(&self, expires_at: Option<Timestamp>) -> Vec<KeyRecord> {
        let mut records = Vec::new();
        for _ in 0..MAX_LIVE {
            let new = self.bounded_key(expires_at);
            records.push(new.record.clone());
            self.add_bounded(new).await.unwrap();
        }
        records
    }

    async fn rotate_bounded(&self, id: &KeyId, overlap: SignedDuration) -> Result<(), KeyChangeError> {
        let (_, mut decide) = rotation(self, managed(self), overlap, None);
        let decide = Box::new(move |record| match decide(record)? {
            KeyChange::Rotation { record, new, event, call, jobs, .. } => {
                Ok(KeyChange::Rotation { record, new, event, call, limits: LIMITS, jobs })
            }
            other => Ok(other),
        });
        match self.change_key(id, decide).await {
            Ok(_) => Ok(()),
            Err(KeyError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// The root key adds a key, which begins a family.
    async fn first_of_family(&self) -> KeyRecord {
        let new = NewKey { limits: OF_FAMILY, ..new_key(self, "First") };
        self.add_bounded(new.clone()).await.unwrap();
        new.record
    }

    /// A managed key adds a key.
    async fn add_as(
        &self,
        caller: &KeyRecord,
        expires_at: Option<Timestamp>,
    ) -> Result<KeyRecord, KeyChangeError> {
        let mut new = NewKey { limits: OF_FAMILY, ..new_key(self, "Descendant") };
        new.record.created_by = caller.id.clone();
        new.record.grant.expires_at = expires_at;
        let decide = Box::new(move |caller: Option<KeyRecord>| {
            let new = new.clone();
            Ok(NewKey { record: new.record.in_family_of(caller.as_ref()), ..new })
        });
        match self.store.insert_key(Some(&caller.id), decide).await {
            Ok(new) => Ok(new.record),
            Err(KeyError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// A managed key, or the root key, rotates a key. Returns the new key.
    async fn rotate_as(
        &self,
        caller: Option<&KeyRecord>,
        id: &KeyId,
        overlap: SignedDuration,
    ) -> Result<KeyRecord, KeyChangeError> {
        let (_, mut decide) = rotation(self, managed(self), overlap, None);
        let decide = Box::new(move |record, caller: Option<KeyRecord>| match decide(record)? {
            KeyChange::Rotation { record, new, event, call, jobs, .. } => {
                let created_by = caller.as_ref().map_or(KeyId::ROOT, |caller| caller.id.clone());
                let new = KeyRecord { created_by, ..new.in_family_of(caller.as_ref()) }.into();
                Ok(KeyChange::Rotation { record, new, event, call, limits: OF_FAMILY, jobs })
            }
            other => Ok(other),
        });
        let change = ChangeKey { caller: caller.map(|caller| caller.id.clone()), is_ending: false, decide };
        match self.store.change_key(id, change).await {
            Ok(Some(KeyChange::Rotation { new, .. })) => Ok(*new),
            Err(KeyError::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    async fn revoke(&self, key: &KeyRecord) {
        let (_, revoke) = revoked(self);
        changed(self, &key.id, revoke).await;
    }
}

/// A key beyond the limit is refused, and neither the key nor an audit entry is written.
pub async fn key_over_the_limit_is_refused(fixture: &Fixture) {
    fixture.fill_with_keys(None).await;
    let new = fixture.bounded_key(None);
    let id = new.record.id.clone();
    assert_eq!(fixture.add_bounded(new).await, Err(TOO_MANY));
    assert_eq!(fixture.store.key(&id).await.unwrap(), None);
    assert_eq!(trail(fixture).await.len(), MAX_LIVE as usize);
}

/// A key that is revoked or has expired makes room for exactly one other.
pub async fn ended_key_makes_room_for_another(fixture: &Fixture) {
    let now = fixture.now();
    fixture.add_bounded(fixture.bounded_key(Some(now + SignedDuration::from_hours(1)))).await.unwrap();
    fixture.add_bounded(fixture.bounded_key(Some(now + SignedDuration::from_hours(3)))).await.unwrap();
    let last = fixture.bounded_key(None);
    fixture.add_bounded(last.clone()).await.unwrap();
    assert_eq!(fixture.add_bounded(fixture.bounded_key(None)).await, Err(TOO_MANY));
    let (_, revoke) = revoked(fixture);
    changed(fixture, &last.record.id, revoke).await;
    fixture.add_bounded(fixture.bounded_key(None)).await.unwrap();
    assert_eq!(fixture.add_bounded(fixture.bounded_key(None)).await, Err(TOO_MANY));
    fixture.pass(SignedDuration::from_hours(2));
    fixture.add_bounded(fixture.bounded_key(None)).await.unwrap();
    assert_eq!(fixture.add_bounded(fixture.bounded_key(None)).await, Err(TOO_MANY));
}

/// With an overlap both keys are live, so a rotation needs room. A rotation that ends the old key
/// at once needs none.
pub async fn rotation_needs_room_unless_it_ends_the_old_key(fixture: &Fixture) {
    let id = fixture.fill_with_keys(None).await.remove(0).id;
    assert_eq!(fixture.rotate_bounded(&id, SignedDuration::from_hours(1)).await, Err(TOO_MANY));
    assert_eq!(fixture.store.key(&id).await.unwrap().unwrap().replaced, None);
    fixture.rotate_bounded(&id, SignedDuration::ZERO).await.unwrap();
    assert_eq!(fixture.add_bounded(fixture.bounded_key(None)).await, Err(TOO_MANY));
}

/// Of concurrently added keys, as many are written as there is room for.
pub async fn concurrent_keys_stay_within_the_limit(fixture: &Fixture) {
    let first = fixture.bounded_key(None);
    fixture.add_bounded(first.clone()).await.unwrap();
    for _ in 0..ROUNDS / 4 {
        let tasks = (0..6).map(|_| {
            let (fixture, new) = (fixture.clone(), fixture.bounded_key(None));
            Box::pin(async move {
                let id = new.record.id.clone();
                fixture.add_bounded(new).await.is_ok().then_some(id)
            }) as _
        });
        let added: Vec<KeyId> = at_once(tasks.collect()).await.into_iter().flatten().collect();
        assert_eq!(added.len(), MAX_LIVE as usize - 1);
        for id in added {
            let (_, revoke) = revoked(fixture);
            changed(fixture, &id, revoke).await;
        }
    }
}

/// A managed key beyond the limit of its family is refused, whichever key of the family adds it, and nothing is
/// written. Other families and the root key may add keys.
pub async fn key_over_the_limit_of_its_family_is_refused(fixture: &Fixture) {
    let first = fixture.first_of_family().await;
    let child = fixture.add_as(&first, None).await.unwrap();
    let grandchild = fixture.add_as(&child, None).await.unwrap();
    for key in [&first, &child, &grandchild] {
        assert_eq!(key.family, first.id);
        assert_eq!(fixture.store.key(&key.id).await.unwrap().as_ref(), Some(key));
        assert_eq!(fixture.add_as(key, None).await, Err(FAMILY_IS_FULL));
    }
    assert_eq!(trail(fixture).await.len(), 3);
    let other = fixture.first_of_family().await;
    fixture.add_as(&other, None).await.unwrap();
    assert_eq!(fixture.add_as(&first, None).await, Err(FAMILY_IS_FULL));
}

/// A key that is revoked or has expired makes room for exactly one other of its family. The keys of a revoked key
/// still count.
pub async fn ended_key_makes_room_in_its_family(fixture: &Fixture) {
    let first = fixture.first_of_family().await;
    let soon = fixture.now() + SignedDuration::from_hours(1);
    let child = fixture.add_as(&first, None).await.unwrap();
    fixture.add_as(&first, Some(soon)).await.unwrap();
    fixture.revoke(&first).await;
    fixture.add_as(&child, None).await.unwrap();
    assert_eq!(fixture.add_as(&child, None).await, Err(FAMILY_IS_FULL));
    fixture.pass(SignedDuration::from_hours(2));
    fixture.add_as(&child, None).await.unwrap();
    assert_eq!(fixture.add_as(&child, None).await, Err(FAMILY_IS_FULL));
}

/// A key that a managed key rotates is of that key's family, and both keys count during the overlap. The root key
/// rotates a key within the key's family, without a limit.
pub async fn rotated_key_counts_in_the_family_of_its_caller(fixture: &Fixture) {
    let (hour, none) = (SignedDuration::from_hours(1), SignedDuration::ZERO);
    let first = fixture.first_of_family().await;
    let child = fixture.add_as(&first, None).await.unwrap();
    let other = fixture.first_of_family().await;
    let taken = fixture.rotate_as(Some(&first), &other.id, hour).await.unwrap();
    assert_eq!(taken.family, first.id);
    for caller in [&first, &taken] {
        assert_eq!(fixture.rotate_as(Some(caller), &child.id, hour).await, Err(FAMILY_IS_FULL));
    }
    assert_eq!(fixture.store.key(&child.id).await.unwrap().unwrap().replaced, None);
    // Such a rotation adds no live key.
    let child = fixture.rotate_as(Some(&first), &child.id, none).await.unwrap();
    assert_eq!(fixture.add_as(&first, None).await, Err(FAMILY_IS_FULL));

    let renewed = fixture.rotate_as(None, &first.id, hour).await.unwrap();
    assert_eq!(renewed.family, first.id);
    fixture.revoke(&child).await;
    assert_eq!(fixture.add_as(&renewed, None).await, Err(FAMILY_IS_FULL));
    fixture.pass(2 * hour);
    fixture.add_as(&renewed, None).await.unwrap();
    assert_eq!(fixture.add_as(&renewed, None).await, Err(FAMILY_IS_FULL));
}

/// Of the keys that a family adds concurrently, as many are written as there is room for.
pub async fn concurrent_keys_stay_within_the_limit_of_a_family(fixture: &Fixture) {
    let first = fixture.first_of_family().await;
    let child = fixture.add_as(&first, None).await.unwrap();
    for _ in 0..ROUNDS / 4 {
        let tasks = (0..6).map(|number| {
            let caller = if number % 2 == 0 { first.clone() } else { child.clone() };
            let fixture = fixture.clone();
            Box::pin(async move { fixture.add_as(&caller, None).await.ok() }) as _
        });
        let added: Vec<KeyRecord> = at_once(tasks.collect()).await.into_iter().flatten().collect();
        assert_eq!(added.len(), MAX_FAMILY as usize - 2);
        for key in added {
            fixture.revoke(&key).await;
        }
    }
}
