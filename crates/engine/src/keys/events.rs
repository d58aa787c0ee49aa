//! The jobs that tell webhooks of changes of keys.
//!
//! Only the webhooks of projects that a key names are told. A key for all projects belongs to the deployment: the API
//! shows it to keys for all projects only, and so it is no matter of any single project.

use jiff::Timestamp;
use onerun_auth::{AuditAction, AuditEvent, KeyRecord, ProjectAccess};
use onerun_domain::{EventSource, EventType, Job, KEY_EXPIRY_NOTICE, KeyEvent, ProjectId, later};

use crate::webhooks::notify;

/// An event of a key that nobody caused.
pub(crate) fn key_event(event_type: EventType, record: &KeyRecord, at: Timestamp) -> KeyEvent {
    KeyEvent {
        event_type,
        key_id: record.id.to_string(),
        revision: record.revision,
        name: record.name.to_string(),
        scopes: record.grant.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        projects: told_projects(record),
        actor_key_id: None,
        created_at: record.created_at,
        expires_at: record.grant.expires_at,
        at,
        replaced: None,
        is_leaked: false,
    }
}

/// The jobs that an action on a key needs. `record` is the key after it; after a rotation, the key that was replaced.
pub(super) fn jobs_of(
    action: AuditAction,
    record: &KeyRecord,
    event: &AuditEvent,
    now: Timestamp,
) -> Vec<Job> {
    let event_type = match action {
        AuditAction::Create => Some(EventType::KeyCreated),
        AuditAction::Rotate => Some(EventType::KeyRotated),
        AuditAction::Disable => Some(EventType::KeyDisabled),
        AuditAction::Revoke | AuditAction::RevokeLeaked => Some(EventType::KeyRevoked),
        AuditAction::Update | AuditAction::Enable => None,
    };
    let told = event_type.and_then(|event_type| {
        let replaced = record.replaced.as_ref().filter(|_| action == AuditAction::Rotate);
        let event = KeyEvent {
            actor_key_id: Some(event.actor.key_id.clone()),
            replaced: replaced.map(|replaced| (replaced.by.to_string(), replaced.overlap_ends_at)),
            is_leaked: action == AuditAction::RevokeLeaked,
            ..key_event(event_type, record, now)
        };
        job(record, EventSource::Key { event: Box::new(event) })
    });
    let expiry = match action {
        AuditAction::Create | AuditAction::Update => expiry_job(record, now),
        _ => None,
    };
    told.into_iter().chain(expiry).collect()
}

/// The job that tells of a key's expiry some days before it. `None` if it has less time left, or no end.
pub(super) fn expiry_job(record: &KeyRecord, now: Timestamp) -> Option<Job> {
    let expires_at = record.grant.expires_at.filter(|end| later(*end, -KEY_EXPIRY_NOTICE) > now)?;
    job(record, EventSource::KeyExpiry { key: record.id.to_string(), expires_at })
}

/// One job for all projects, because one write changes the key, and a key may name more projects than a write of
/// DynamoDB has items. It waits among those of the first project.
fn job(record: &KeyRecord, source: EventSource) -> Option<Job> {
    told_projects(record).first().map(|project| notify(project, source))
}

/// The projects whose webhooks may know of a key.
fn told_projects(record: &KeyRecord) -> Vec<ProjectId> {
    match &record.grant.projects {
        ProjectAccess::All => Vec::new(),
        ProjectAccess::Only(projects) => projects.iter().cloned().collect(),
    }
}
