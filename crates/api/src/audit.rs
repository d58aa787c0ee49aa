//! The audit trail of what is done to keys.

use onerun_auth::{Access, AuditEntry, Scope};
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
            Needs a key of all projects. `onerun keys audit --verify` checks the trail.",
        output: AuditPageOut,
        errors: ["wrong_project"],
    }
}

/// In which order entries are wanted.
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

/// A part of the audit trail.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditPage")]
pub(crate) struct AuditPageOut {
    /// The part.
    data: Vec<AuditEntryOut>,
    /// Whether more rows follow.
    has_more: bool,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
    /// The last entry of the whole trail; null while it is empty.
    head: Option<AuditHeadOut>,
}

/// The last entry of the trail.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditHead")]
struct AuditHeadOut {
    /// Its number.
    sequence: u64,
    /// Its hash.
    hash: String,
}

/// What was done to a key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub(crate) struct AuditEntryOut {
    /// Its number, counted from 1.
    sequence: u64,
    /// When.
    at: String,
    /// What: the name of the operation.
    action: String,
    /// To which key.
    key_id: String,
    /// By whom.
    actor: ActorOut,
    /// What it came to.
    details: BTreeMap<String, String>,
    /// The hash of the entry before it; 64 zeros for the first.
    previous_hash: String,
    /// Its own: SHA-256, in hex.
    hash: String,
}

/// Who did something to a key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditActor")]
struct ActorOut {
    /// The key that asked for it.
    key_id: String,
    /// The address it was asked from; null if that is not known.
    address: Option<String>,
    /// The program that asked, as it calls itself.
    user_agent: Option<String>,
    /// The request's id, which is in the log too.
    request_id: String,
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
    // One trail for all projects: who may see a part of them would see it with holes, and could not check it.
    call.caller()?.authorize_all_projects()?;
    let AuditQuery { direction, page } = call.query()?;
    let part = app.engine().store().audit(direction, page).await?;
    reply(&AuditPageOut {
        has_more: part.entries.has_more(),
        next_cursor: call.next_cursor(part.entries.next),
        data: part.entries.data.into_iter().map(AuditEntryOut::from).collect(),
        head: part.head.map(|head| AuditHeadOut { sequence: head.sequence, hash: head.hash }),
    })
}
