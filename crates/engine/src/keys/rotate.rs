//! Rotating keys.

use std::sync::Arc;

use jiff::SignedDuration;
use onerun_auth::{AuditAction, AuditEvent, Grant, KeyId, KeyRecord};
use onerun_domain::{later, wire_time};
use onerun_store::{ChangeKey, DecideKey, KeyChange};

use super::{
    Caller, CreatedKey, Keys, KeysError, Lifetime, RecordRequest,
    audit::{Details, details_of, event},
    events::{expiry_job, jobs_of},
    expiry,
};

/// The input of [`Keys::rotate`].
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// How long the old key is accepted beside the new one. Without an overlap the old key is revoked.
    pub overlap: SignedDuration,
    /// The lifetime of the new key; by default that of the old one, but no longer than the caller's.
    pub lifetime: Option<Lifetime>,
}

impl Keys {
    /// Replaces a key with a new one.
    pub async fn rotate(
        &self,
        caller: Caller,
        id: &KeyId,
        rotation: Rotation,
        record_request: RecordRequest,
    ) -> Result<CreatedKey, KeysError> {
        let Rotation { overlap, lifetime } = rotation;
        let now = self.now();
        self.get(&caller.principal, id).await?;
        let key = Arc::new(self.generate());
        let limits = self.limits;
        let actor = caller.origin.actor(caller.principal.key_id());
        let template = event(actor, AuditAction::Rotate, id, Details::new(), now);
        let (caller_id, new_key) = (caller.record_id(), Arc::clone(&key));
        let decide: DecideKey = Box::new(move |record: KeyRecord, stored: Option<KeyRecord>| {
            let creator = caller.as_stored(stored.as_ref(), now)?;
            creator.authorize_grant(&record.grant)?;
            let default = record.lifetime().map(|lifetime| later(now, lifetime));
            let expires_at = expiry(lifetime, default, &creator, now);
            creator.authorize_grant(&Grant { expires_at, ..record.grant.clone() })?;
            let (record, new) =
                record.rotate(&new_key, overlap, expires_at, creator.key_id().clone(), now)?;
            let new = new.in_family_of(stored.as_ref());
            let mut details = details_of(&new);
            details.insert("new_key_id".to_owned(), new.id.to_string());
            if let Some(replaced) = &record.replaced {
                details.insert("overlap_ends_at".to_owned(), wire_time(replaced.overlap_ends_at));
            }
            let event = AuditEvent { details, ..template.clone() };
            let call = record_request(&new);
            let mut jobs = jobs_of(AuditAction::Rotate, &record, &event, now);
            jobs.extend(expiry_job(&new, now));
            Ok(KeyChange::Rotation { record: record.into(), new: new.into(), event, call, limits, jobs })
        });
        self.write_unwritten_ends_of(id).await?;
        let change = ChangeKey { caller: caller_id, is_ending: overlap.is_zero(), decide };
        match self.write(id, change).await? {
            Some(KeyChange::Rotation { new, .. }) => Ok(CreatedKey { record: *new, key }),
            _ => Err(KeysError::NotFound),
        }
    }
}
