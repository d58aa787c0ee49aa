//! The calling key.

use onerun_auth::{Access, KeyKind};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiError, App, Response,
    operation::operations,
    request::{Call, reply},
    views::{RateLimitOut, Time, blocks_out, projects_out, scopes_out},
};

operations! {
    GET_WHOAMI {
        route: GET "/v1/whoami",
        handler: Global(get_whoami),
        access: Access::AnyKey,
        summary: "Get the key that the request was sent with",
        output: WhoamiOut,
    }
}

/// The calling key without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Whoami")]
pub(crate) struct WhoamiOut {
    /// The key's public id.
    key_id: String,
    /// The kind of key: `root` or `managed`.
    kind: &'static str,
    /// A name for people to read; null for a root key.
    name: Option<String>,
    /// The key's permissions.
    scopes: Vec<&'static str>,
    /// Whether the key can access all projects.
    all_projects: bool,
    /// The projects that the key can access, if not all.
    project_ids: Vec<String>,
    /// When the key expires; null for never.
    expires_at: Option<Time>,
    /// The address blocks that the key is accepted from; null for any address.
    allowed_cidrs: Option<Vec<String>>,
    /// The key's rate limit; null for none.
    rate_limit: Option<RateLimitOut>,
    /// When the key was last used before this request, up to a minute late; null if never, and for a root
    /// key.
    last_used_at: Option<Time>,
}

async fn get_whoami(app: &App, call: Call) -> Result<Response, ApiError> {
    let principal = call.caller()?;
    let usage = match principal.kind() {
        KeyKind::Managed => app.engine().store().key_view(principal.key_id()).await?,
        _ => None,
    };
    let (all_projects, project_ids) = projects_out(principal.projects());
    reply(&WhoamiOut {
        key_id: principal.key_id().to_string(),
        kind: principal.kind().as_str(),
        name: principal.name().map(ToString::to_string),
        scopes: scopes_out(principal.scopes()),
        all_projects,
        project_ids,
        expires_at: principal.expires_at().map(Time),
        allowed_cidrs: blocks_out(&principal.grant().addresses),
        rate_limit: principal.grant().rate_limit.map(RateLimitOut::from),
        last_used_at: usage.and_then(|view| view.usage.last_used_at).map(Time),
    })
}
