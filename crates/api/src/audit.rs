//! The audit trail of changes to keys.

use onerun_auth::{Access, AuditEntry, AuditHead, Scope};
use onerun_domain::{Direction, PageRequest};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

use crate::{
    ApiError, App, Response,
    operation::operations,
    query::{Param, Params, Reader, page},
    request::{Call, reply},
};

operations! {
    LIST_AUDIT {
        route: GET "/v1/audit",
        handler: Global(list_audit),
        access: Access::Requires(Scope::AuditRead),
        query: AuditQuery,
        summary: "List the audit trail of keys",
        description: "The `hash` of an entry covers its content and the previous hash, and no secret. Keep a `head` \
            elsewhere to detect whether somebody with access to the database rewrote the trail up to it. \
            Entries up to `archived` are in the archive of the deployment, and the list begins after them. \
            Needs a key of all projects. `onerun keys audit --verify` checks the trail.",
        output: AuditPageOut,
        errors: ["wrong_project"],
    }
}

/// The query of `list_audit`.
struct Order(Direction);

impl Param for Order {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "newest" => Ok(Self(Direction::Descending)),
            "oldest" => Ok(Self(Direction::Ascending)),
            _ => Err("must be `newest` or `oldest`".to_owned()),
        }
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "enum": ["newest", "oldest"] })
    }
}

pub(crate) struct AuditQuery {
    direction: Direction,
    page: PageRequest,
}

impl Params for AuditQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let order = reader.optional::<Order>("order", "`newest` first, which is the default, or `oldest`.");
        let page = page(reader);
        Some(Self { direction: order?.map_or(Direction::Descending, |order| order.0), page: page? })
    }
}

/// A page of the audit trail.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditPage")]
pub(crate) struct AuditPageOut {
    /// The entries.
    data: Vec<AuditEntryOut>,
    /// Whether more rows follow.
    has_more: bool,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
    /// The last entry of the whole trail; null while it is empty.
    head: Option<AuditHeadOut>,
    /// The last archived entry; null if none is archived. The list begins after it.
    archived: Option<AuditHeadOut>,
}

/// An entry's number and hash, to verify the trail from there on or up to there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditHead")]
struct AuditHeadOut {
    /// The entry's number.
    sequence: u64,
    /// The entry's hash.
    hash: String,
}

/// An entry of the audit trail.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub(crate) struct AuditEntryOut {
    /// The entry's number, from 1.
    sequence: u64,
    /// The time of the change.
    at: String,
    /// The name of the operation.
    action: String,
    /// The id of the changed key.
    key_id: String,
    /// The caller.
    actor: ActorOut,
    /// Details of the change.
    details: BTreeMap<String, String>,
    /// The hash of the previous entry; 64 zeros for the first.
    previous_hash: String,
    /// The entry's hash: SHA-256, in hex.
    hash: String,
}

/// The caller of a change.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditActor")]
struct ActorOut {
    /// The id of the calling key.
    key_id: String,
    /// The caller's address; null if unknown.
    address: Option<String>,
    /// The caller's `User-Agent`.
    user_agent: Option<String>,
    /// The request's id, which the log has as well.
    request_id: String,
}

impl From<AuditHead> for AuditHeadOut {
    fn from(AuditHead { sequence, hash }: AuditHead) -> Self {
        Self { sequence, hash }
    }
}

/// An entry as a line of the archive: the JSON that `list_audit` shows, without a line break.
pub fn audit_line(entry: AuditEntry) -> String {
    // Texts and numbers always serialize.
    serde_json::to_string(&AuditEntryOut::from(entry)).unwrap_or_default()
}

impl From<AuditEntry> for AuditEntryOut {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { sequence, event, previous_hash, hash } = entry;
        let actor = ActorOut {
            key_id: event.actor.key_id,
            address: event.actor.address,
            user_agent: event.actor.user_agent,
            request_id: event.actor.request_id,
        };
        Self {
            sequence,
            at: event.at,
            action: event.action,
            key_id: event.key_id,
            actor,
            details: event.details,
            previous_hash,
            hash,
        }
    }
}

async fn list_audit(app: &App, call: Call) -> Result<Response, ApiError> {
    // The trail covers all projects. A key of some projects would see gaps and could not verify the hashes.
    call.caller()?.authorize_all_projects()?;
    let AuditQuery { direction, page } = call.query()?;
    let part = app.engine().store().audit(direction, page).await?;
    reply(&AuditPageOut {
        has_more: part.entries.has_more(),
        next_cursor: call.next_cursor(part.entries.next),
        data: part.entries.data.into_iter().map(AuditEntryOut::from).collect(),
        head: part.head.map(AuditHeadOut::from),
        archived: part.archived.map(AuditHeadOut::from),
    })
}
