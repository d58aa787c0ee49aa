//! Errors of calls.

use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use serde::{
    Deserialize,
    de::{self, DeserializeOwned},
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused the call or failed.
    #[error("{message} ({code}, status {status}{})", in_request(.request_id.as_deref()))]
    Api {
        /// The HTTP status.
        status: u16,
        /// The error code for programs; `unknown` if the response has none.
        code: String,
        /// The message for people.
        message: String,
        /// The id of the request in the server's log.
        request_id: Option<String>,
        /// How long the server asks to wait before the next attempt.
        retry_after: Option<Duration>,
        /// The errors in the body of the request, if the server named them.
        fields: Vec<FieldError>,
    },
    /// There was no connection or no complete response. The server may have processed the call.
    #[error("no answer from the server{}", because(.0))]
    Transport(#[source] reqwest::Error),
    /// The response does not have the expected form.
    #[error("unexpected response (line {}, column {})", .0.line(), .0.column())]
    // Not `#[source]`: the message may quote a conversation, which must not reach a log.
    Decode(serde_json::Error),
    /// There were no random bytes for an `Idempotency-Key`. Nothing was sent.
    #[error("the system's random generator failed: {0}")]
    Randomness(#[source] getrandom::Error),
}

/// An error in the body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldError {
    /// Where it is: a JSON pointer (RFC 6901) as a URI fragment, such as `#/name`. Empty if the error is not in the
    /// body.
    pub pointer: String,
    /// The error: the end of a sentence that starts with the place.
    pub detail: String,
}

/// The fields of a problem document (RFC 9457) that the client reads. All are optional, because a
/// proxy may respond with another document.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    errors: Vec<FieldError>,
}

impl Error {
    /// The error code of the response, if there was one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { code, .. } => Some(code),
            Self::Transport(_) | Self::Decode(_) | Self::Randomness(_) => None,
        }
    }

    /// The HTTP status of an error response.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            Self::Transport(_) | Self::Decode(_) | Self::Randomness(_) => None,
        }
    }

    /// The errors in the body of the request, as far as the server named them.
    pub fn fields(&self) -> &[FieldError] {
        match self {
            Self::Api { fields, .. } => fields,
            Self::Transport(_) | Self::Decode(_) | Self::Randomness(_) => &[],
        }
    }

    /// Whether the same call may succeed later: the connection failed, or the server is busy or asks to wait.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            Self::Transport(_) => true,
            Self::Decode(_) | Self::Randomness(_) => false,
        }
    }

    /// Whether the connection failed before anything was sent.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Transport(error) if error.is_connect())
    }

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { retry_after, .. } => *retry_after,
            Self::Transport(_) | Self::Decode(_) | Self::Randomness(_) => None,
        }
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url())
    }
}

/// Reads a response: the body of a success, or the error.
pub(crate) async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let head = Head::of(&response);
    let body = response.bytes().await?;
    if !head.status.is_success() {
        return Err(head.error(serde_json::from_slice(&body).unwrap_or_default()));
    }
    match serde_json::from_slice(&body) {
        Ok(success) => Ok(success),
        // A failure after the head was sent. The status is in the body only.
        Err(error) => match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.code.is_some() && problem.status.is_some() => Err(head.error(problem)),
            _ => Err(Error::Decode(error)),
        },
    }
}

/// Reads a response whose body is a text: the value of its `Link` header and the text, or the error.
pub(crate) async fn read_text(response: Response) -> Result<(Option<String>, String), Error> {
    let (head, link) = (Head::of(&response), text(&response, header::LINK.as_str()));
    let body = response.bytes().await?;
    if !head.status.is_success() {
        return Err(head.error(serde_json::from_slice(&body).unwrap_or_default()));
    }
    let text = String::from_utf8(body.into()).map_err(|error| Error::Decode(de::Error::custom(error)))?;
    Ok((link, text))
}

/// The parts of a response's head that an error needs.
struct Head {
    status: StatusCode,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

impl Head {
    fn of(response: &Response) -> Self {
        let retry_after = text(response, header::RETRY_AFTER.as_str());
        Self {
            status: response.status(),
            request_id: text(response, "x-request-id"),
            retry_after: retry_after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
        }
    }

    fn error(self, problem: Problem) -> Error {
        let status = self.status;
        Error::Api {
            status: problem.status.filter(|_| status.is_success()).unwrap_or_else(|| status.as_u16()),
            code: problem.code.unwrap_or_else(|| "unknown".to_owned()),
            message: problem.message.unwrap_or_else(|| unexplained(status)),
            request_id: problem.request_id.or(self.request_id),
            retry_after: self.retry_after,
            fields: problem.errors,
        }
    }
}

fn text(response: &Response, header: &str) -> Option<String> {
    response.headers().get(header)?.to_str().ok().map(str::to_owned)
}

fn unexplained(status: StatusCode) -> String {
    format!("the server responded {status} without a reason")
}

fn in_request(id: Option<&str>) -> String {
    id.map(|id| format!(", request {id}")).unwrap_or_default()
}

/// The innermost cause, such as "Connection refused". The outer ones say only that something failed.
fn because(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    match cause {
        Some(cause) => format!(": {cause}"),
        None => format!(": {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, resource::Project, testing};

    async fn refused(answer: &'static str) -> Error {
        let (client, _requests) = testing::answering(vec![answer]).await;
        client.create_project("Demo").await.unwrap_err()
    }

    #[tokio::test]
    async fn problem_document_is_read() {
        let error = refused(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 2\r\n\r\n\
             {\"code\":\"unavailable\",\"message\":\"try again\",\"status\":503,\"request_id\":\"req_1\",\"new\":1}",
        )
        .await;
        assert_eq!(error.to_string(), "try again (unavailable, status 503, request req_1)");
        assert_eq!((error.code(), error.status()), (Some("unavailable"), Some(503)));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert!(error.is_transient());
    }

    #[tokio::test]
    async fn error_without_problem_document_is_reported() {
        let error = refused("HTTP/1.1 404 Not Found\r\nx-request-id: abc\r\n\r\n<html>").await;
        assert_eq!(
            error.to_string(),
            "the server responded 404 Not Found without a reason (unknown, status 404, request abc)"
        );
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn problem_after_white_space_is_an_error_of_its_status() {
        let error = refused(
            "HTTP/1.1 200 OK\r\n\r\n   {\"code\":\"model_unavailable\",\"message\":\"no answer\",\"status\":503}",
        )
        .await;
        assert_eq!((error.code(), error.status()), (Some("model_unavailable"), Some(503)));
        assert!(error.is_transient());
    }

    #[tokio::test]
    async fn unexpected_response_is_not_quoted() {
        let error = refused("HTTP/1.1 200 OK\r\n\r\n{\"id\": \"a secret\", \"name\": 7}").await;
        assert!(matches!(error, Error::Decode(_)), "{error:?}");
        assert_eq!(error.to_string(), "unexpected response (line 1, column 28)");
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn refused_connection_is_a_transport_error_with_its_cause() {
        let client = Client::new(&testing::nowhere().await, &testing::key()).unwrap();
        let error = client.create_project("Demo").await.unwrap_err();
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(text.starts_with("no answer from the server: Connection refused"), "{text}");
    }

    #[tokio::test]
    async fn incomplete_response_is_a_transport_error() {
        let error = refused("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":").await;
        assert!(matches!(error, Error::Transport(_)), "{error:?}");
    }

    #[tokio::test]
    async fn unknown_fields_are_ignored() {
        let (client, _) = testing::answering(vec![
            "HTTP/1.1 200 OK\r\n\r\n{\"id\":\"p\",\"name\":\"Demo\",\"created_at\":\"t\",\"more\":[]}",
        ])
        .await;
        let Project { id, name, .. } = client.create_project("Demo").await.unwrap();
        assert_eq!((id.as_str(), name.as_str()), ("p", "Demo"));
    }
}
