//! Changing keys: update, disable, enable and revoke.

use std::sync::Arc;

use jiff::Timestamp;
use onerun_auth::{
    AddressAccess, AuditAction, AuditEvent, Grant, KeyChangeError, KeyId, KeyPatch, KeyRecord, Principal,
    ProjectAccess, RateLimit, ScopeSet,
};
use onerun_domain::{Metadata, Name, Patch};
use onerun_store::{ChangeKey, DecideKey, KeyChange, KeyError, KeyView, StoreError};

use super::{
    Caller, Keys, KeysError, Lifetime,
    audit::{Details, changed_details, event},
    ends::MakeChange,
    events::jobs_of,
};

/// The input of [`Keys::update`]. `None` keeps a value.
#[derive(Clone, Debug)]
pub struct KeyUpdate {
    /// The name, for people.
    pub name: Option<Name>,
    /// The scopes.
    pub scopes: Option<ScopeSet>,
    /// The projects that the key can access.
    pub projects: Option<ProjectAccess>,
    /// The addresses that the key is accepted from.
    pub addresses: Option<AddressAccess>,
    /// The rate limit.
    pub rate_limit: Patch<RateLimit>,
    /// The lifetime, from now.
    pub lifetime: Option<Lifetime>,
    /// The caller's own data.
    pub metadata: Option<Metadata>,
}

/// A change of a key by a managed or root key.
struct Change {
    action: AuditAction,
    /// The change takes permissions away and changes nothing else. It is in force before it is written, and the store
    /// may use its reserve for it.
    is_ending: bool,
    now: Timestamp,
}

/// The new state of a key, with the details of its audit event.
type Decided = Result<(KeyRecord, Details), KeyChangeError>;

impl Keys {
    /// Changes a key. The caller must not be exceeded by the key, neither before nor after the change.
    pub async fn update(&self, caller: Caller, id: &KeyId, update: KeyUpdate) -> Result<KeyView, KeysError> {
        let now = self.now();
        let patch = update.patch(now);
        let view = self.get(&caller.principal, id).await?;
        if let Some(projects) = &patch.projects {
            // Check the caller first: it must not learn which projects beyond its own exist.
            let grant = Grant { projects: projects.clone(), ..caller.principal.grant().clone() };
            caller.principal.authorize_grant(&grant)?;
            self.refuse_unknown_projects(projects).await?;
        }
        let is_ending = only_narrows(&view.record, &patch, now);
        let change = Change { action: AuditAction::Update, is_ending, now };
        self.change(caller, view, change, move |caller, before| {
            caller.authorize_grant(&before.grant)?;
            let after = before.clone().update(patch.clone(), now)?;
            caller.authorize_grant(&after.grant)?;
            let details = changed_details(&before, &after);
            Ok((after, details))
        })
        .await
    }

    /// Disables a key until it is enabled again.
    pub async fn disable(&self, caller: Caller, id: &KeyId) -> Result<KeyView, KeysError> {
        self.end(caller, id, AuditAction::Disable, KeyRecord::disable).await
    }

    /// Revokes a key, which is final.
    pub async fn revoke(&self, caller: Caller, id: &KeyId) -> Result<KeyView, KeysError> {
        self.end(caller, id, AuditAction::Revoke, |record, now| Ok(record.revoke(now))).await
    }

    /// Enables a disabled key.
    pub async fn enable(&self, caller: Caller, id: &KeyId) -> Result<KeyView, KeysError> {
        let now = self.now();
        let view = self.get(&caller.principal, id).await?;
        let change = Change { action: AuditAction::Enable, is_ending: false, now };
        self.change(caller, view, change, move |caller, record| {
            caller.authorize_grant(&record.grant)?;
            Ok((record.enable(now)?, Details::new()))
        })
        .await
    }

    /// Disables or revokes a key. Only its scopes and projects must be within the caller's, so that a person who
    /// responds to a leak can end a key with a longer life, a higher rate limit or other addresses.
    async fn end(
        &self,
        caller: Caller,
        id: &KeyId,
        action: AuditAction,
        transition: fn(KeyRecord, Timestamp) -> Result<KeyRecord, KeyChangeError>,
    ) -> Result<KeyView, KeysError> {
        let now = self.now();
        let view = self.get(&caller.principal, id).await?;
        let change = Change { action, is_ending: true, now };
        self.change(caller, view, change, move |caller, record| {
            let grant = Grant {
                scopes: record.grant.scopes,
                projects: record.grant.projects.clone(),
                ..caller.grant().clone()
            };
            caller.authorize_grant(&grant)?;
            Ok((transition(record, now)?, Details::new()))
        })
        .await
    }

    /// Changes a key by a decision. Nothing is written if the decision does not change the key.
    async fn change(
        &self,
        caller: Caller,
        mut view: KeyView,
        change: Change,
        decision: impl Fn(&Principal, KeyRecord) -> Decided + Send + Sync + 'static,
    ) -> Result<KeyView, KeysError> {
        let Change { action, is_ending, now } = change;
        let id = view.record.id.clone();
        let actor = caller.origin.actor(caller.principal.key_id());
        let template = event(actor, action, &id, Details::new(), now);
        let decide = Arc::new(move |caller: &Principal, record: KeyRecord| -> Result<KeyChange, KeyError> {
            let revision = record.revision;
            let (record, details) = decision(caller, record)?;
            if record.revision == revision {
                return Ok(KeyChange::None(record));
            }
            let event = AuditEvent { details, ..template.clone() };
            let jobs = jobs_of(action, &record, &event, now);
            Ok(KeyChange::To { record: record.into(), event, jobs })
        });
        let principal = caller.principal.clone();
        let decide_as_stored = Arc::clone(&decide);
        let change = ChangeKey {
            caller: caller.record_id(),
            is_ending,
            decide: Box::new(move |record, stored| {
                decide_as_stored(&caller.as_stored(stored.as_ref(), now)?, record)
            }),
        };
        // The next decision must see the ends that are not written yet.
        match self.write_unwritten_ends_of(&id).await {
            Err(StoreError::Full(_)) if is_ending => {}
            written => written?,
        }
        let ended =
            if is_ending { decide(&principal, view.record.clone())? } else { KeyChange::None(view.record) };
        let changed = match ended {
            KeyChange::To { record: ended, .. } => {
                let repeat: MakeChange = Arc::new(move || {
                    let (decide, principal) = (Arc::clone(&decide), principal.clone());
                    let decide: DecideKey = Box::new(move |record, _| decide(&principal, record));
                    ChangeKey { caller: None, is_ending: true, decide }
                });
                self.write_end(*ended, change, repeat).await?
            }
            _ => self.write(&id, change).await?,
        };
        view.record = match changed.ok_or(KeysError::NotFound)? {
            KeyChange::None(record) => record,
            KeyChange::To { record, .. } | KeyChange::Rotation { record, .. } => *record,
        };
        Ok(view)
    }
}

impl KeyUpdate {
    fn patch(self, now: Timestamp) -> KeyPatch {
        KeyPatch {
            name: self.name,
            scopes: self.scopes,
            projects: self.projects,
            addresses: self.addresses,
            rate_limit: self.rate_limit,
            expires_at: self.lifetime.map_or(Patch::Keep, |lifetime| lifetime.expiry(now).into()),
            metadata: self.metadata,
        }
    }
}

/// Whether a change takes permissions away and changes nothing else.
fn only_narrows(record: &KeyRecord, patch: &KeyPatch, now: Timestamp) -> bool {
    if patch.name.is_some() || patch.metadata.is_some() {
        return false;
    }
    let Ok(changed) = record.clone().update(patch.clone(), now) else { return false };
    changed.grant != record.grant && changed.grant.excess_over(&record.grant).is_empty()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use onerun_auth::{ManagedKey, NewKeySpec, Scope};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn record() -> KeyRecord {
        let generated: Result<ManagedKey, std::convert::Infallible> = ManagedKey::generate(|buffer| {
            buffer.fill(7);
            Ok(())
        });
        let grant = Grant {
            scopes: ScopeSet::from_iter([Scope::AgentsRead, Scope::AgentsWrite]),
            expires_at: Some(NOW + SignedDuration::from_hours(48)),
            ..Grant::everything()
        };
        let name = Name::parse("ci").unwrap();
        let spec = NewKeySpec { name, grant, not_before: None, metadata: Metadata::default() };
        KeyRecord::new(&generated.unwrap(), spec, KeyId::ROOT, NOW)
    }

    #[test]
    fn only_a_strictly_smaller_grant_narrows() {
        let scopes = |scopes: &[Scope]| KeyPatch {
            scopes: Some(scopes.iter().copied().collect()),
            ..KeyPatch::default()
        };
        let narrower = scopes(&[Scope::AgentsRead]);
        let sooner =
            KeyPatch { expires_at: Patch::Set(NOW + SignedDuration::from_hours(1)), ..KeyPatch::default() };
        let limited = KeyPatch { rate_limit: RateLimit::new(1, 60).into(), ..KeyPatch::default() };
        for patch in [&narrower, &sooner, &limited] {
            assert!(only_narrows(&record(), patch, NOW), "{patch:?}");
        }
        let same = scopes(&[Scope::AgentsRead, Scope::AgentsWrite]);
        let other = scopes(&[Scope::AgentsRead, Scope::KeysRead]);
        let endless = KeyPatch { expires_at: Patch::Clear, ..KeyPatch::default() };
        let longer = KeyPatch { expires_at: Patch::Clear, ..narrower.clone() };
        let renamed = KeyPatch { name: Some(Name::parse("other").unwrap()), ..narrower };
        for patch in [&KeyPatch::default(), &same, &other, &endless, &longer, &renamed] {
            assert!(!only_narrows(&record(), patch, NOW), "{patch:?}");
        }
    }

    #[test]
    fn revoked_key_cannot_be_narrowed() {
        let patch = KeyPatch { scopes: Some(ScopeSet::NONE), ..KeyPatch::default() };
        assert!(!only_narrows(&record().revoke(NOW), &patch, NOW));
    }
}
