//! Requests from a host, and the calls that handlers get.

use std::{fmt, future::Future, net::IpAddr, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use onerun_auth::{Actor, Principal, Refusal};
use onerun_domain::{Page, Position, Resource};
use onerun_engine::RequestOrigin;
use onerun_store::{IdempotencyRecord, ProjectStore};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ApiError, App, Route,
    cursor::{Cursor, Fingerprint},
    dispatch::admit_again,
    error::{FieldError, Location},
    fields::{Fields, Input},
    idempotency::{self, Repeatable},
    json, missing,
    query::{Params, Query},
    views::PageOut,
};

/// The maximum size of a body, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The maximum size of a body without a key, in bytes.
pub const MAX_PUBLIC_BODY_BYTES: usize = 16 * 1024;

/// The maximum length of an `Idempotency-Key`, in characters.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// A response with a complete body.
pub type Response = http::Response<Bytes>;

/// The received body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// The complete body.
    Read(Bytes),
    /// More than [`Sender::max_bytes`]; the host stopped reading.
    TooLarge,
    /// Not read, because too many unauthenticated bodies are unfinished.
    TooMany,
    /// The body was cut off, malformed or too slow.
    Unreadable,
}

/// The sender of a body, which decides its maximum size, its deadline and how many are read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A caller whose key the route accepts.
    Caller,
    /// A caller without a key, on a public route.
    Stranger,
}

impl Sender {
    /// The maximum size of a body, in bytes.
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Caller => MAX_BODY_BYTES,
            Self::Stranger => MAX_PUBLIC_BODY_BYTES,
        }
    }
}

/// The future of a body.
pub type Reading = Pin<Box<dyn Future<Output = Body> + Send>>;

/// A body that is not read yet. It is read after authorization, so callers without a key cannot make the host
/// hold large bodies.
pub struct BodySource(Box<dyn FnOnce(Sender) -> Reading + Send>);

impl BodySource {
    /// A body that `read` reads on demand.
    pub fn new<F: Future<Output = Body> + Send + 'static>(
        read: impl FnOnce(Sender) -> F + Send + 'static,
    ) -> Self {
        Self(Box::new(move |sender| Box::pin(read(sender))))
    }

    /// Reads the value.
    pub fn read(self, sender: Sender) -> Reading {
        (self.0)(sender)
    }
}

impl From<Body> for BodySource {
    fn from(body: Body) -> Self {
        Self::new(move |_| std::future::ready(body))
    }
}

impl fmt::Debug for BodySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BodySource")
    }
}

/// Whether the caller of a request still waits for its response. By default it always does.
#[derive(Clone, Debug, Default)]
pub struct Presence(CancellationToken);

/// The caller has left when this is dropped.
#[derive(Debug)]
pub struct PresenceGuard {
    _guard: DropGuard,
}

impl Presence {
    /// A caller that waits until the guard is dropped.
    pub fn guarded() -> (Self, PresenceGuard) {
        let left = CancellationToken::new();
        (Self(left.clone()), PresenceGuard { _guard: left.drop_guard() })
    }

    /// Waits for a value, or returns `None` once the caller has left.
    pub(crate) async fn wait_for<T>(&self, value: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(value).await
    }
}

/// A request as a host received it.
#[derive(Debug)]
pub struct Request {
    /// The request's id in the response, the log and messages. The host generates it.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The path, as sent.
    pub path: String,
    /// The query string, as sent.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The address of the connection. Headers are not trusted for it.
    pub address: Option<IpAddr>,
    /// The body.
    pub body: BodySource,
    /// Whether the caller still waits.
    pub presence: Presence,
}

impl Request {
    /// Where the request comes from, for the audit trail.
    pub(crate) fn origin(&self) -> RequestOrigin {
        let user_agent = self.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        RequestOrigin {
            request_id: self.id.clone(),
            address: self.address,
            user_agent: user_agent.and_then(Actor::user_agent),
        }
    }
}

/// The parts of an admitted request that are needed to admit it again after a wait.
pub(crate) struct Admission {
    pub(crate) route: &'static Route,
    pub(crate) headers: HeaderMap,
    pub(crate) address: Option<IpAddr>,
    pub(crate) presence: Presence,
}

/// An authorized request as its handler gets it. Handlers cannot read the key.
pub struct Call {
    admission: Admission,
    principal: Option<Principal>,
    params: Vec<(String, String)>,
    query: Query,
    idempotency_key: Result<Option<String>, FieldError>,
    repeatable: Option<Repeatable>,
    origin: RequestOrigin,
    body: Body,
}

impl Call {
    pub(crate) fn new(
        admission: Admission,
        principal: Option<Principal>,
        params: Vec<(String, String)>,
        query: Query,
        origin: RequestOrigin,
        body: Body,
    ) -> Self {
        let idempotency_key = read_idempotency_key(&admission.headers);
        Self { admission, principal, params, query, idempotency_key, repeatable: None, origin, body }
    }

    /// Whether the caller still waits.
    pub(crate) fn presence(&self) -> &Presence {
        &self.admission.presence
    }

    /// Checks again, after a wait, that the caller's key may make this call: it may have been revoked, disabled or
    /// narrowed meanwhile. The request is not counted again.
    pub(crate) async fn admit_again(&self, app: &App, project: &dyn ProjectStore) -> Result<(), ApiError> {
        let Admission { route, headers, address, .. } = &self.admission;
        if let Some(principal) = admit_again(app, route, headers, *address).await? {
            principal.authorize_project(project.project_id())?;
        }
        Ok(())
    }

    /// Where the call comes from, for the audit trail.
    pub(crate) fn origin(&self) -> &RequestOrigin {
        &self.origin
    }

    /// The caller; `None` on public routes.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The caller, on routes that need a key.
    pub(crate) fn caller(&self) -> Result<&Principal, ApiError> {
        Ok(self.principal().ok_or(Refusal::MissingKey)?)
    }

    /// The id of `resource` in the path. Text that is no id cannot name anything, so the error is "not
    /// found".
    pub(crate) fn id<T: std::str::FromStr>(&self, resource: Resource) -> Result<T, ApiError> {
        let name = missing::of(resource).parameter;
        self.params
            .iter()
            .find(|(param, _)| param == name)
            .and_then(|(_, value)| value.parse().ok())
            .ok_or(ApiError::NotFound(resource))
    }

    /// Reads and validates the query.
    pub(crate) fn query<T: Params>(&self) -> Result<T, ApiError> {
        self.query.read_list(&self.list())
    }

    /// The requested list.
    fn list(&self) -> Fingerprint {
        self.query.fingerprint(self.admission.route.path, &self.params)
    }

    /// A page for the response, with the cursor of the next page.
    pub(crate) fn page<U, T: From<U>>(&self, page: Page<U>) -> PageOut<T> {
        self.page_of(page, T::from)
    }

    /// [`Call::page`] with a conversion of rows.
    pub(crate) fn page_of<U, T>(&self, page: Page<U>, show: impl FnMut(U) -> T) -> PageOut<T> {
        PageOut {
            has_more: page.has_more(),
            next_cursor: self.next_cursor(page.next),
            data: page.data.into_iter().map(show).collect(),
        }
    }

    /// The cursor of the page after a position.
    pub(crate) fn next_cursor(&self, next: Option<Position>) -> Option<String> {
        next.map(|position| Cursor { list: self.list(), position }.encode())
    }

    /// Reads and validates the body.
    pub(crate) fn body<T: Input>(&self) -> Result<T, ApiError> {
        let value = json::parse(self.bytes()?)?;
        Fields::read_root(value)
    }

    /// Reads a body that may be left out. A missing body is an empty object.
    pub(crate) fn optional_body<T: Input>(&self) -> Result<T, ApiError> {
        Fields::read_root(self.optional_value()?)
    }

    /// The call with its idempotency record.
    pub(crate) fn repeatable(self, repeatable: Option<Repeatable>) -> Self {
        Self { repeatable, ..self }
    }

    /// The idempotency record with the answer, to be written together with the change; `None` without an
    /// `Idempotency-Key`.
    pub(crate) fn record(&self, response: &impl Serialize) -> Option<IdempotencyRecord> {
        self.repeatable.as_ref().map(|repeatable| repeatable.record(response))
    }

    /// [`Call::record`] as a function, for an answer that is not known yet.
    pub(crate) fn recorder<T: Serialize>(&self) -> impl Fn(&T) -> Option<IdempotencyRecord> + use<T> {
        let repeatable = self.repeatable.clone();
        move |response| repeatable.as_ref().map(|repeatable| repeatable.record(response))
    }

    /// A hash of the request, to recognise a repetition.
    pub(crate) fn hash(&self, operation: &str) -> Result<String, ApiError> {
        let body = match self.optional_value() {
            Ok(value) => value.to_string(),
            // The handler refuses the body, if it reads one.
            Err(_) => String::from_utf8_lossy(self.bytes()?).into_owned(),
        };
        Ok(idempotency::hash_of(operation, &self.params, &body))
    }

    fn optional_value(&self) -> Result<Value, ApiError> {
        match self.bytes()? {
            [] => Ok(Value::Object(Map::new())),
            bytes => json::parse(bytes),
        }
    }

    /// The `Idempotency-Key`, if there is one.
    pub(crate) fn idempotency_key(&self) -> Result<Option<String>, ApiError> {
        self.idempotency_key.clone().map_err(|error| ApiError::Invalid(vec![error]))
    }

    fn bytes(&self) -> Result<&[u8], ApiError> {
        let sender = if self.principal.is_some() { Sender::Caller } else { Sender::Stranger };
        let max_bytes = sender.max_bytes();
        match &self.body {
            Body::Read(bytes) if bytes.len() <= max_bytes => Ok(bytes),
            Body::Unreadable => Err(ApiError::Unreadable),
            Body::TooMany => Err(ApiError::TooManyBodies),
            Body::Read(_) | Body::TooLarge => Err(ApiError::TooLarge { max_bytes }),
        }
    }
}

fn read_idempotency_key(headers: &HeaderMap) -> Result<Option<String>, FieldError> {
    let refuse = |detail: &str| FieldError {
        location: Location::Header("Idempotency-Key"),
        detail: detail.to_owned(),
    };
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("must be sent once"));
    }
    match value.to_str() {
        // A header may contain a tab, and a key may not.
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) && !key.contains('\t') => {
            Ok(Some(key.to_owned()))
        }
        _ => Err(refuse("must be 1 to 255 visible ASCII characters")),
    }
}

/// A successful response. Like the published service, every success is 200, creation included.
pub(crate) fn reply<T: Serialize>(body: &T) -> Result<Response, ApiError> {
    let bytes = serde_json::to_vec(body).map_err(|error| ApiError::Internal(Box::new(error)))?;
    Ok(Response::new(Bytes::from(bytes)))
}

/// A part of a successful reply.
pub(crate) fn to_json<T: Serialize>(part: &T) -> Result<String, ApiError> {
    serde_json::to_string(part).map_err(|error| ApiError::Internal(Box::new(error)))
}

/// A successful reply with the status that the route declares.
pub(crate) fn reply_as<T: Serialize>(route: &Route, body: &T) -> Result<Response, ApiError> {
    let mut response = reply(body)?;
    *response.status_mut() = route.status;
    Ok(response)
}

/// The answer of an operation that returns no resource.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "Done")]
pub(crate) struct DoneOut {
    /// A message for people.
    pub message: &'static str,
}

pub(crate) fn done(message: &'static str) -> Result<Response, ApiError> {
    reply(&DoneOut { message })
}
