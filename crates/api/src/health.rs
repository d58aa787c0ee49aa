//! Whether the service answers.

use http::Method;
use onerun_auth::Access;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiError, App, Handler, Response, Route,
    request::{Call, reply},
};

/// `GET /health`
pub static GET: Route = Route {
    operation: "get_health",
    method: Method::GET,
    path: "/health",
    access: Access::Public,
    handler: Handler::Global(|app, call| Box::pin(get(app, call))),
};

/// That the service answers.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct HealthOut {
    status: &'static str,
    message: &'static str,
}

#[expect(clippy::unused_async, reason = "all handlers are")]
async fn get(_: &App, _: Call) -> Result<Response, ApiError> {
    reply(&HealthOut { status: "ok", message: "OneRun API is running" })
}
