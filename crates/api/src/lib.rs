//! OneRun's routes, handlers, errors and OpenAPI document, for any host.
//!
//! [`ROUTES`] lists every route. A host turns what it receives into a [`Request`] and passes it to
//! [`Router::answer`], which is the same on every host. The crate knows no AWS, Lambda or SQLite, and reads
//! no environment.

mod agent_endpoints;
mod agents;
mod app;
mod audit;
mod batches;
mod built_in;
mod callers;
mod claims;
mod conversations;
pub mod cursor;
mod dashboard;
mod dispatch;
mod error;
mod evaluations;
mod export;
mod fields;
mod health;
mod idempotency;
mod imports;
mod json;
mod keys;
mod labels;
mod late;
mod missing;
mod monitors;
mod objectives;
pub mod openapi;
mod operation;
mod personas;
mod polls;
mod projects;
mod query;
mod reports;
mod request;
mod results;
pub mod routes;
mod simulations;
mod usage;
mod views;
mod webhooks;
mod whoami;
#[cfg(test)]
mod wire_sizes;

pub use app::{App, Authenticator};
pub use audit::audit_line;
pub use built_in::Document;
pub use dispatch::{Found, REQUEST_TARGET, Router};
pub use error::{ApiError, ErrorStatus, FieldError, Location};
pub use late::{FutureBody, LateBody};
pub use operation::{Handler, HandlerFuture, Idempotency, Route};
pub use query::Parameters;
pub use request::{
    Body, BodySource, Call, MAX_BODY_BYTES, MAX_PUBLIC_BODY_BYTES, Presence, PresenceGuard, Reading, Request,
    Response, Sender,
};
pub use routes::ROUTES;
