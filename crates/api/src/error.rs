//! The error type of the API, and the table of statuses, codes and messages.
//!
//! Handlers return [`ApiError`]; the crates below know no HTTP. Each error has a public side (status, code,
//! message) and may have an internal one, which goes to the log and never into a body.

mod problem;
mod refusals;

use std::error::Error;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use onerun_auth::{KeyChangeError, RateStatus, Refusal as AuthRefusal};
use onerun_domain::{Refusal, Resource, SimulationStatus};
use onerun_engine::{KeysError, ModelError, OperationError};
use onerun_store::{ChangeError, KeyError, StoreError, with_causes};

pub(crate) use self::problem::Problem;
use self::{
    problem::ProblemField,
    refusals::{key_change_status, refused_status},
};
use crate::{Response, missing};

/// The `Retry-After` of an unavailable service, in seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The number of field errors in the message; `errors` has all of them.
const ERRORS_IN_MESSAGE: usize = 3;

/// The status of an error. Only error statuses are representable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of HTTP")]
pub enum ErrorStatus {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    ContentTooLarge,
    UnsupportedMediaType,
    UnprocessableContent,
    TooManyRequests,
    InternalServerError,
    ServiceUnavailable,
    InsufficientStorage,
}

impl ErrorStatus {
    /// All statuses.
    pub const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::ContentTooLarge,
        Self::UnsupportedMediaType,
        Self::UnprocessableContent,
        Self::TooManyRequests,
        Self::InternalServerError,
        Self::ServiceUnavailable,
        Self::InsufficientStorage,
    ];

    /// The status code.
    pub fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::ContentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UnprocessableContent => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InsufficientStorage => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The status's name (RFC 9110).
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::Conflict => "Conflict",
            Self::ContentTooLarge => "Content Too Large",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::UnprocessableContent => "Unprocessable Content",
            Self::TooManyRequests => "Too Many Requests",
            Self::InternalServerError => "Internal Server Error",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::InsufficientStorage => "Insufficient Storage",
        }
    }

    /// The error status of a number; 500 for a number that is none.
    fn from_u16(number: u16) -> Self {
        let found = Self::ALL.into_iter().find(|status| status.code().as_u16() == number);
        found.unwrap_or(Self::InternalServerError)
    }
}

/// The location of an error in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A JSON pointer into the body (RFC 6901).
    Body(String),
    /// A parameter of the query.
    Query(String),
    /// A header.
    Header(&'static str),
}

/// One error in a request. The detail continues a sentence that starts with the location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The location of the error.
    pub location: Location,
    /// The error and how to correct it.
    pub detail: String,
}

/// The error of a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Authentication or authorization failed.
    #[error(transparent)]
    Auth(#[from] AuthRefusal),
    /// Parameters, headers or body are invalid.
    #[error("the request is invalid: {}", sentence(.0))]
    Invalid(Vec<FieldError>),
    /// Too many reports of leaked keys.
    #[error("too many reports came from there; send the rest in {} seconds", .0.resets_in_seconds)]
    TooManyReports(RateStatus),
    /// The body is too large.
    #[error("the body must be at most {max_bytes} bytes")]
    TooLarge {
        /// The route's maximum, in bytes.
        max_bytes: usize,
    },
    /// `Content-Type` is not JSON.
    #[error("the body must be sent with `Content-Type: application/json`")]
    UnsupportedMediaType,
    /// Too many unauthenticated bodies are unfinished.
    #[error("too many bodies are being sent; send this one again, all at once")]
    TooManyBodies,
    /// The bound on answers in flight is reached. The request only reads, so it can be repeated.
    #[error("too many answers are being sent; try again, or ask for a smaller page with `limit`")]
    TooManyAnswers,
    /// The bound on answers in flight is reached after the request made its change.
    #[error(
        "the request was carried out, but too many answers are being sent to send this one; read the resource, or repeat \
         the request with the same `Idempotency-Key` if it had one"
    )]
    AnswerNotSent,
    /// The key is refused from now on, but that is not stored yet.
    #[error(
        "the disk is full: the change is in force on this server but not yet stored. It is stored as soon as there is \
         room. Free some space before the server is stopped, or the change is lost"
    )]
    EndUnwritten,
    /// The body was cut off, malformed or too slow.
    #[error("the body could not be read: it broke off, was malformed, or did not come in time")]
    Unreadable,
    /// No route has this path.
    #[error("there is no such route; see `GET /openapi.json` for those that there are")]
    NoRoute,
    /// The route has other methods.
    #[error("this route does not have that method; it has {allow}")]
    MethodNotAllowed {
        /// The allowed methods, joined by commas.
        allow: String,
    },
    /// The id names no such thing in the project, or no project.
    #[error("{0} not found")]
    NotFound(Resource),
    /// A key is not created or changed.
    #[error(transparent)]
    Key(#[from] KeyChangeError),
    /// The engine refused or failed.
    #[error(transparent)]
    Operation(OperationError),
    /// A defect of the server.
    #[error("something went wrong on our side")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl ApiError {
    /// A parameter of the query is wrong. The detail completes a sentence that starts with its name.
    pub(crate) fn invalid_query(parameter: &str, detail: &str) -> Self {
        let location = Location::Query(parameter.to_owned());
        Self::Invalid(vec![FieldError { location, detail: detail.to_owned() }])
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UnknownPosition => {
                let detail = "is not one that this list gave; leave it out to begin with the first page";
                Self::invalid_query("cursor", detail)
            }
            StoreError::ArchivedPosition => {
                let detail = "is among entries that are archived; leave it out to begin with the first entry that is not";
                Self::invalid_query("cursor", detail)
            }
            error => Self::Operation(OperationError::Store(error)),
        }
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Field { field, detail } => wrong_field(field, detail),
            OperationError::Fields(errors) => {
                let error =
                    |(field, detail)| FieldError { location: Location::Body(format!("/{field}")), detail };
                Self::Invalid(errors.into_iter().map(error).collect())
            }
            error => Self::Operation(error),
        }
    }
}

/// One wrong field of the body.
fn wrong_field(field: &str, detail: String) -> ApiError {
    ApiError::Invalid(vec![FieldError { location: Location::Body(format!("/{field}")), detail }])
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Caller(refusal) => Self::Auth(refusal),
            KeyError::Refused(refusal) => Self::Key(refusal),
            KeyError::Store(error) => error.into(),
        }
    }
}

impl From<KeysError> for ApiError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::NotFound => Self::NotFound(Resource::Key),
            KeysError::NoProject(id) => {
                wrong_field("project_ids", format!("names a project that does not exist: `{id}`"))
            }
            KeysError::ExpiresBeforeStart => {
                wrong_field("not_before", "must be before the key expires".to_owned())
            }
            KeysError::EndUnwritten => Self::EndUnwritten,
            KeysError::TooManyReports(status) => Self::TooManyReports(status),
            KeysError::Key(error) => error.into(),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        Self::Operation(error.into())
    }
}

/// The public side of an error.
pub(crate) struct Public {
    pub(crate) status: ErrorStatus,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    /// The table of statuses, codes and messages.
    pub(crate) fn public(&self) -> Public {
        use ErrorStatus as S;
        let (status, code) = match self {
            Self::Auth(refusal) => (S::from_u16(refusal.status()), refusal.code()),
            Self::Invalid(_) => (S::UnprocessableContent, "invalid_request"),
            Self::TooManyReports(_) => (S::TooManyRequests, "rate_limited"),
            Self::TooLarge { .. } => (S::ContentTooLarge, "body_too_large"),
            Self::UnsupportedMediaType => (S::UnsupportedMediaType, "unsupported_media_type"),
            Self::TooManyBodies | Self::TooManyAnswers => (S::ServiceUnavailable, "unavailable"),
            Self::AnswerNotSent => (S::ServiceUnavailable, "answer_not_sent"),
            Self::EndUnwritten => (S::InsufficientStorage, "storage_full"),
            Self::Unreadable => (S::BadRequest, "body_unreadable"),
            Self::NoRoute => (S::NotFound, "route_not_found"),
            Self::MethodNotAllowed { .. } => (S::MethodNotAllowed, "method_not_allowed"),
            Self::NotFound(resource) => (S::NotFound, missing::of(*resource).code),
            Self::Key(error) => key_change_status(error),
            Self::Operation(error) => return operation_public(error),
            Self::Internal(_) => (S::InternalServerError, "internal"),
        };
        Public { status, code, message: self.to_string() }
    }

    /// The internal cause, for the log only.
    pub(crate) fn internal(&self) -> Option<String> {
        match self {
            Self::Auth(refusal) => Some(refusal.cause().to_owned()),
            Self::Internal(error) => Some(with_causes(error.as_ref())),
            Self::Operation(OperationError::Store(error)) => Some(with_causes(error)),
            Self::EndUnwritten => Some("the disk is full".to_owned()),
            Self::TooManyAnswers | Self::AnswerNotSent => Some(
                "answers that clients have not read yet take all the memory there is for them".to_owned(),
            ),
            Self::Operation(OperationError::Model(error)) => Some(with_causes(error)),
            Self::Operation(OperationError::MasterKey(error)) => Some(with_causes(error)),
            Self::Operation(error @ OperationError::Panicked(_)) => Some(with_causes(error)),
            _ => None,
        }
    }

    /// The response, without the headers that every response gets.
    pub(crate) fn response(&self, request_id: &str, parameters: &[(String, String)]) -> Response {
        let Public { status, code, mut message } = self.public();
        message.extend(self.missing().map(|resource| missing::advice(resource, parameters)));
        let problem = Problem {
            kind: format!("urn:onerun:error:{code}"),
            title: status.title(),
            status: status.code().as_u16(),
            code,
            detail: message.clone(),
            message,
            request_id: request_id.to_owned(),
            errors: match self {
                Self::Invalid(errors) => errors.iter().map(ProblemField::from).collect(),
                _ => Vec::new(),
            },
        };
        // Serializing text and numbers cannot fail.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status.code();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Self::Auth(refusal) = self
            && let Some(challenge) = refusal.www_authenticate()
        {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Self::MethodNotAllowed { allow } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(seconds) = self.retry_after(status) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// The kind of thing that was not found.
    fn missing(&self) -> Option<Resource> {
        match self {
            Self::NotFound(resource) | Self::Operation(OperationError::NotFound(resource)) => Some(*resource),
            Self::Operation(OperationError::NoAgent(_)) => Some(Resource::Agent),
            Self::Operation(OperationError::NoObjectives(_)) => Some(Resource::Objective),
            _ => None,
        }
    }

    fn retry_after(&self, status: ErrorStatus) -> Option<u32> {
        match self {
            Self::Auth(refusal) => refusal.retry_after_seconds(),
            Self::TooManyReports(status) => Some(status.resets_in_seconds),
            Self::TooManyAnswers => Some(1),
            // Without an `Idempotency-Key`, an automatic retry would do the work twice.
            Self::AnswerNotSent => None,
            _ => (status == ErrorStatus::ServiceUnavailable).then_some(RETRY_AFTER_SECONDS),
        }
    }
}

fn operation_public(error: &OperationError) -> Public {
    use ErrorStatus as S;
    let (status, code) = match error {
        OperationError::NotFound(resource) => (S::NotFound, missing::of(*resource).code),
        OperationError::NoAgent(_) => (S::NotFound, missing::of(Resource::Agent).code),
        OperationError::NoObjectives(_) => (S::NotFound, "objectives_not_found"),
        OperationError::IdempotencyKeyReused => (S::UnprocessableContent, "idempotency_key_reused"),
        OperationError::Refused(refusal) => refused_status(refusal),
        OperationError::Field { .. } | OperationError::Fields(_) => {
            (S::UnprocessableContent, "invalid_request")
        }
        OperationError::PersonasNotReady { .. } => (S::Conflict, "personas_not_ready"),
        OperationError::ModelNotAllowed { .. } => (S::UnprocessableContent, "model_not_allowed"),
        OperationError::ModelWithoutPrice(_) => (S::UnprocessableContent, "model_without_price"),
        OperationError::TurnPending => (S::ServiceUnavailable, "turn_pending"),
        OperationError::Model(ModelError::LimitReached) => {
            refused_status(&Refusal::SimulationNotRunning { status: SimulationStatus::Failed })
        }
        OperationError::Model(ModelError::Misconfigured(_)) => {
            let message =
                "the model is not configured correctly; `onerun models check` on the server says why".into();
            return Public { status: S::ServiceUnavailable, code: "model_misconfigured", message };
        }
        OperationError::Model(
            ModelError::Unavailable { .. } | ModelError::Down { .. } | ModelError::Unusable(_),
        ) => {
            let message =
                "the model gave no answer; nothing of the call was kept, so it can be repeated".into();
            return Public { status: S::ServiceUnavailable, code: "model_unavailable", message };
        }
        OperationError::MasterKey(_) => {
            let message = "the service cannot use its master key; its log says why".into();
            return Public { status: S::ServiceUnavailable, code: "unavailable", message };
        }
        OperationError::Store(StoreError::Unavailable(_)) => {
            let message = "the service is busy; try again".into();
            return Public { status: S::ServiceUnavailable, code: "unavailable", message };
        }
        OperationError::Store(StoreError::Full(_)) => {
            let message =
                "the disk is full, so nothing was stored; free some space on the server and try again".into();
            return Public { status: S::InsufficientStorage, code: "storage_full", message };
        }
        OperationError::Panicked(_)
        | OperationError::Store(
            StoreError::Duplicate { .. }
            | StoreError::Corrupt { .. }
            | StoreError::UnknownPosition
            | StoreError::ArchivedPosition,
        ) => {
            let message = "something went wrong on our side".into();
            return Public { status: S::InternalServerError, code: "internal", message };
        }
    };
    Public { status, code, message: error.to_string() }
}

fn sentence(errors: &[FieldError]) -> String {
    let mut parts: Vec<String> = errors
        .iter()
        .take(ERRORS_IN_MESSAGE)
        .map(|error| match &error.location {
            Location::Body(pointer) if pointer.is_empty() => format!("the body {}", error.detail),
            Location::Body(pointer) => format!("`{}` {}", pointer.trim_start_matches('/'), error.detail),
            Location::Query(name) => format!("the query's `{name}` {}", error.detail),
            Location::Header(name) => format!("the header `{name}` {}", error.detail),
        })
        .collect();
    if errors.len() > ERRORS_IN_MESSAGE {
        parts.push(format!("and {} more", errors.len() - ERRORS_IN_MESSAGE));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_internal_never_reaches_a_body() {
        let secret = "password=hunter2";
        let errors = [
            ApiError::Internal(secret.into()),
            ApiError::from(StoreError::Unavailable(secret.into())),
            ApiError::from(StoreError::Full(secret.into())),
            ApiError::from(StoreError::Corrupt { what: "agent", reason: secret.into() }),
            ApiError::Operation(OperationError::Model(ModelError::Unusable(secret.into()))),
        ];
        for error in errors {
            let response = error.response("r", &[]);
            assert!(response.status().is_server_error());
            assert!(!String::from_utf8_lossy(response.body()).contains("hunter2"), "{error:?}");
            assert!(error.internal().is_some_and(|text| text.contains("hunter2")), "{error:?}");
        }
    }

    #[test]
    fn a_refusal_of_credentials_keeps_its_status() {
        for refusal in [AuthRefusal::MissingKey, AuthRefusal::WrongProject, AuthRefusal::AuthUnavailable] {
            let status = refusal.status();
            assert_eq!(ApiError::Auth(refusal).public().status.code().as_u16(), status);
        }
    }

    #[test]
    fn every_wrong_field_is_listed_and_the_first_are_in_the_message() {
        let errors: Vec<_> = ["/a", "/b/0", "", "/d"]
            .map(|pointer| FieldError {
                location: Location::Body(pointer.into()),
                detail: "must be x".into(),
            })
            .into();
        let response = ApiError::Invalid(errors).response("r", &[]);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["errors"].as_array().unwrap().len(), 4);
        assert_eq!(body["errors"][1]["pointer"], "#/b/0");
        assert_eq!(
            body["message"],
            "the request is invalid: `a` must be x; `b/0` must be x; the body must be x; and 1 more"
        );
    }
}
