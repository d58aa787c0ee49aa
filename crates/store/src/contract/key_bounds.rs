//! The bound on live keys, which is decided in the write, so concurrent callers cannot exceed it.

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{KeyChangeError, KeyId, KeyRecord};

use super::{
    fixture::{Fixture, ROUNDS, at_once},
    keys::{changed, managed, new_key, revoked, rotation, trail},
};
use crate::{KeyChange, KeyError, NewKey};

const MAX_LIVE: u32 = 3;
const TOO_MANY: KeyChangeError = KeyChangeError::TooManyKeys { limit: MAX_LIVE };

impl Fixture {
    fn bounded_key(&self, expires_at: Option<Timestamp>) -> NewKey {
        let mut new = NewKey { max_live: MAX_LIVE, ..new_key(self, "Key") };
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
            KeyChange::Rotation { record, new, event, call, .. } => {
                Ok(KeyChange::Rotation { record, new, event, call, max_live: MAX_LIVE })
            }
            other => Ok(other),
        });
        match self.change_key(id, decide).await {
            Ok(_) => Ok(()),
            Err(KeyError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
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
