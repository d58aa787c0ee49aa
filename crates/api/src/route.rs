//! What a route is.

use std::{future::Future, pin::Pin};

use http::Method;
use onerun_auth::Access;
use onerun_store::{IdempotencyScope, ProjectStore};

use crate::{ApiError, App, Document, Parameters, Response, request::Call};

/// What a handler returns.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'a>>;

/// How a route is answered.
pub enum Handler {
    /// With what is built in: without a body, an engine or a store.
    Static(fn() -> Result<Response, ApiError>),
    /// With a document that is built in.
    Document(fn() -> Result<&'static Document, ApiError>),
    /// Without a project.
    Global(for<'a> fn(&'a App, Call) -> HandlerFuture<'a>),
    /// Within the project that the query's `project_id` names. The handler gets that project's part of the store and
    /// no other.
    InProject(for<'a> fn(&'a App, &'a dyn ProjectStore, Call) -> HandlerFuture<'a>),
}

/// What an `Idempotency-Key` does to an operation.
#[derive(Clone, Copy)]
pub enum Idempotency {
    /// Nothing: the operation changes nothing, or doing it twice comes to the same.
    None,
    /// The answer is kept with what the operation makes, and a repetition gets it.
    Recorded,
    /// The same, except that the simulation's objectives are not kept twice.
    RecordedSimulation,
    /// The same, with the records of calls that make keys.
    RecordedKey,
    /// The handler keeps replies with the conversation, apart for each attempt.
    InConversation,
}

impl Idempotency {
    /// Whether the operation takes the header.
    pub fn takes_key(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Where the answer is recorded, or `None` if it has no record of its own.
    pub(crate) fn scope(self) -> Option<IdempotencyScope> {
        match self {
            Self::None | Self::InConversation => None,
            Self::Recorded | Self::RecordedSimulation => Some(IdempotencyScope::Resources),
            Self::RecordedKey => Some(IdempotencyScope::Keys),
        }
    }
}

/// One operation of the API. Every field must be said: a route without an access does not compile.
pub struct Route {
    /// Its one name everywhere: `<verb>_<resource>`.
    pub operation: &'static str,
    /// The method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// Which parameters the query may have. Others are refused.
    pub query: Parameters,
    /// What an `Idempotency-Key` does.
    pub idempotency: Idempotency,
    /// How it is answered.
    pub handler: Handler,
}
