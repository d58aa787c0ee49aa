//! The body of an error's response.

use schemars::JsonSchema;
use serde::Serialize;

use super::{FieldError, Location};

/// An error (RFC 9457), with additional members for OneRun's clients.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// A URI of the kind of error, from `code`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The status's name.
    pub(super) title: &'static str,
    /// The status.
    pub(super) status: u16,
    /// The kind of error, for programs.
    pub(super) code: &'static str,
    /// The error and the next step, for people.
    pub(super) message: String,
    /// The same as `message`.
    pub(super) detail: String,
    /// The request's id in the server's log.
    pub(super) request_id: String,
    /// All errors in the request, if it is invalid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub(super) errors: Vec<ProblemField>,
}

/// One error in a request. Exactly one of `pointer`, `parameter` and `header` is its location.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProblemField {
    /// A JSON pointer into the body, as a URI fragment (`#/name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// A parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// A header.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'static str>,
    /// The error and how to correct it.
    detail: String,
}

impl From<&FieldError> for ProblemField {
    fn from(error: &FieldError) -> Self {
        let mut field = Self { pointer: None, parameter: None, header: None, detail: error.detail.clone() };
        match &error.location {
            Location::Body(pointer) => field.pointer = Some(format!("#{pointer}")),
            Location::Query(name) => field.parameter = Some(name.clone()),
            Location::Header(name) => field.header = Some(name),
        }
        field
    }
}
