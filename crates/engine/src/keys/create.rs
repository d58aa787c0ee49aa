//! Creating keys.

use std::sync::Arc;

use jiff::Timestamp;
use onerun_auth::{
    AddressAccess, AuditAction, Grant, KeyRecord, NewKeySpec, ProjectAccess, RateLimit, ScopeSet,
};
use onerun_domain::{Metadata, Name, wire_time};
use onerun_store::{DecideNewKey, NewKey};

use super::{
    Caller, CreatedKey, DEFAULT_DAYS, Keys, KeysError, Lifetime, RecordRequest,
    audit::{details_of, event},
    events::jobs_of,
    expiry,
};

/// The input of [`Keys::create`].
#[derive(Clone, Debug)]
pub struct NewKeyInput {
    /// The name, for people.
    pub name: Name,
    /// The scopes.
    pub scopes: ScopeSet,
    /// The projects that the key can access.
    pub projects: ProjectAccess,
    /// The addresses that the key is accepted from.
    pub addresses: AddressAccess,
    /// The rate limit; `None` for no limit.
    pub rate_limit: Option<RateLimit>,
    /// The lifetime; by default 90 days, but no longer than its creator's.
    pub lifetime: Option<Lifetime>,
    /// The time from which the key is accepted; at once by default.
    pub not_before: Option<Timestamp>,
    /// The caller's own data.
    pub metadata: Metadata,
}

impl Keys {
    /// Creates a key that does not exceed the caller.
    pub async fn create(
        &self,
        caller: Caller,
        input: NewKeyInput,
        record_request: RecordRequest,
    ) -> Result<CreatedKey, KeysError> {
        let now = self.now();
        let default = Lifetime::Days(DEFAULT_DAYS).expiry(now);
        let grant = Grant {
            scopes: input.scopes,
            projects: input.projects,
            addresses: input.addresses,
            rate_limit: input.rate_limit,
            expires_at: expiry(input.lifetime, default, &caller.principal, now),
        };
        caller.principal.authorize_grant(&grant)?;
        self.refuse_unknown_projects(&grant.projects).await?;
        if let (Some(begin), Some(end)) = (input.not_before, grant.expires_at)
            && begin >= end
        {
            return Err(KeysError::ExpiresBeforeStart);
        }
        let spec =
            NewKeySpec { name: input.name, grant, not_before: input.not_before, metadata: input.metadata };
        let key = self.generate();
        let creator = caller.principal.key_id().clone();
        let actor = caller.origin.actor(&creator);
        let record = KeyRecord::new(&key, spec, creator, now);
        let mut details = details_of(&record);
        if let Some(begin) = record.not_before {
            details.insert("not_before".to_owned(), wire_time(begin));
        }
        let event = event(actor, AuditAction::Create, &record.id, details, now);
        let call = record_request(&record);
        let jobs = jobs_of(AuditAction::Create, &record, &event, now);
        let new = NewKey { record, event, call, limits: self.limits, jobs };
        let caller_id = caller.record_id();
        let decide: DecideNewKey = Box::new(move |record| {
            caller.as_stored(record.as_ref(), now)?.authorize_grant(&new.record.grant)?;
            let new = new.clone();
            Ok(NewKey { record: new.record.in_family_of(record.as_ref()), ..new })
        });
        let created = self.store.insert_key(caller_id.as_ref(), decide).await?;
        Ok(CreatedKey { record: created.record, key: Arc::new(key) })
    }
}
