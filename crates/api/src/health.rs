//! The health check.

use onerun_auth::Access;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::{ApiError, Response, operation::operations, request::reply};

operations! {
    GET_HEALTH {
        route: GET "/health",
        handler: Static(get_health),
        access: Access::Public,
        summary: "Check that the service answers",
        output: HealthOut = json!({ "status": "ok", "message": "OneRun API is running" }),
    }
}

/// The health of the service.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct HealthOut {
    status: &'static str,
    message: &'static str,
}

fn get_health() -> Result<Response, ApiError> {
    reply(&HealthOut { status: "ok", message: "OneRun API is running" })
}
