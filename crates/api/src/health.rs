//! Whether the service answers.

use http::Method;
use onerun_auth::Access;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Handler, Idempotency, Parameters, Route, request::reply};

/// `GET /health`
pub static GET: Route = Route {
    operation: "get_health",
    method: Method::GET,
    path: "/health",
    access: Access::Public,
    query: Parameters::IGNORED,
    idempotency: Idempotency::None,
    handler: Handler::Static(|| reply(&HealthOut { status: "ok", message: "OneRun API is running" })),
};

/// That the service answers.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct HealthOut {
    status: &'static str,
    message: &'static str,
}
