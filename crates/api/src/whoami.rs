//! Who a key is.

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

/// The key that was sent, as far as it may be shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Whoami")]
pub(crate) struct WhoamiOut {
    /// The key's public id.
    key_id: String,
    /// What kind of key it is: `root` or `managed`.
    kind: &'static str,
    /// What people call it; null for a root key.
    name: Option<String>,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// Whether it may do so in every project.
    all_projects: bool,
    /// The projects that it is bound to, if not all.
    project_ids: Vec<String>,
    /// When it ends; null if it does not.
    expires_at: Option<Time>,
    /// The blocks of addresses that it is accepted from; null for any.
    allowed_cidrs: Option<Vec<String>>,
    /// How often it may be used; null for any number of requests.
    rate_limit: Option<RateLimitOut>,
    /// When it was accepted last before this request, late by a minute at the most; null if it never was, and for a root
    /// key, of which that is not kept.
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
