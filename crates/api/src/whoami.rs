//! Who a key is.

use http::Method;
use onerun_auth::{Access, Principal, ProjectAccess, Refusal};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiError, App, Handler, Response, Route,
    out::Time,
    request::{Call, reply},
};

/// `GET /v1/whoami`
pub static GET: Route = Route {
    operation: "get_whoami",
    method: Method::GET,
    path: "/v1/whoami",
    access: Access::AnyKey,
    handler: Handler::Global(|app, call| Box::pin(get(app, call))),
};

/// The key that was sent, as far as it may be shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Whoami")]
pub(crate) struct WhoamiOut {
    /// The key's public id.
    key_id: String,
    /// What kind of key it is.
    kind: &'static str,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// Whether it may do so in every project.
    all_projects: bool,
    /// The projects that it is bound to, if not all.
    project_ids: Vec<String>,
    /// When it ends; null if it does not.
    expires_at: Option<Time>,
}

impl From<&Principal> for WhoamiOut {
    fn from(principal: &Principal) -> Self {
        let project_ids = match principal.projects() {
            ProjectAccess::All => None,
            ProjectAccess::Only(ids) => Some(ids.iter().map(ToString::to_string).collect()),
        };
        Self {
            key_id: principal.key_id().to_string(),
            kind: principal.kind().as_str(),
            scopes: principal.scopes().iter().map(onerun_auth::Scope::as_str).collect(),
            all_projects: project_ids.is_none(),
            project_ids: project_ids.unwrap_or_default(),
            expires_at: principal.expires_at().map(Time),
        }
    }
}

#[expect(clippy::unused_async, reason = "all handlers are")]
async fn get(_: &App, call: Call) -> Result<Response, ApiError> {
    let principal = call.principal().ok_or(Refusal::MissingKey)?;
    reply(&WhoamiOut::from(principal))
}
