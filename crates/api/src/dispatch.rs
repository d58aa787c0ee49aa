//! The one way from a request to a response, the same on every host: route, credentials, scope, project, body,
//! handler, error, headers, log line.

use std::{future::poll_fn, net::IpAddr, panic::AssertUnwindSafe, task::Poll, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use matchit::InsertError;
use onerun_auth::{Access, Principal, RateStatus};
use onerun_domain::{ProjectId, Resource};
use onerun_store::ProjectStore;

use crate::{
    ApiError, App, Body, BodySource, Handler, HandlerFuture, Request, Response, Route, Sender,
    idempotency::{Repeatable, may_be_repeated},
    query::{InProject, Query, percent_decode},
    request::{Call, Origin},
};

/// Finds the route of a request and answers it.
pub struct Router {
    paths: matchit::Router<Vec<&'static Route>>,
}

/// What a router found for a method and a path.
pub enum Found {
    /// A route, with the path's parameters.
    Route(&'static Route, Vec<(String, String)>),
    /// No such path.
    NoRoute,
    /// No such method at the path; those that there are, joined by commas.
    MethodNotAllowed(String),
}

/// What the log line says besides the response.
#[derive(Default)]
struct Trail {
    operation: Option<&'static str>,
    key_id: Option<String>,
    project_id: Option<String>,
    /// What was asked for: in a problem, not in the line.
    parameters: Vec<(String, String)>,
    /// How the key stands with its limit: in the headers, not in the line.
    rate: Option<RateStatus>,
}

impl Router {
    /// A router over routes.
    ///
    /// # Errors
    ///
    /// If two paths cannot be told apart.
    pub fn new(routes: &[&'static Route]) -> Result<Self, InsertError> {
        let mut paths = matchit::Router::new();
        let mut rest: Vec<&'static Route> = routes.to_vec();
        while let Some(first) = rest.first().copied() {
            let (same, others) = rest.into_iter().partition(|route: &&Route| route.path == first.path);
            paths.insert(first.path, same)?;
            rest = others;
        }
        Ok(Self { paths })
    }

    /// What there is for a method and a path. Where there is a GET there is a HEAD.
    pub fn find(&self, method: &Method, path: &str) -> Found {
        let Ok(matched) = self.paths.at(path) else { return Found::NoRoute };
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        match matched.value.iter().find(|route| route.method == *method) {
            Some(route) => {
                // What does not decode to UTF-8 names nothing, like any other id that is none.
                let params = matched
                    .params
                    .iter()
                    .map(|(name, value)| {
                        (name.to_owned(), percent_decode(value.as_bytes()).unwrap_or_default())
                    })
                    .collect();
                Found::Route(route, params)
            }
            None => Found::MethodNotAllowed(allowed(matched.value)),
        }
    }

    /// Answers a request. Never fails and never panics: whatever happens becomes a response.
    pub async fn answer(&self, app: &App, request: Request) -> Response {
        self.answer_within(app, request, Some).await
    }

    /// Answers a request on a host that bounds what it holds: `hold` takes a body until it is written, or refuses it. Then
    /// the answer is an error instead, whose small body is not asked about.
    pub async fn answer_within(
        &self,
        app: &App,
        request: Request,
        hold: impl FnOnce(Bytes) -> Option<Bytes> + Send,
    ) -> Response {
        let started = Instant::now();
        let id = request.id.clone();
        let method = request.method.clone();
        let mut trail = Trail::default();
        // Boxed, because it is large and whoever awaits the answer would hold it whole.
        let answered =
            AssertUnwindSafe(Box::pin(self.proceed(app, request, &mut trail))).catch_unwind().await;
        let result = answered.unwrap_or_else(|panic| Err(ApiError::Internal(panic_message(&*panic).into())));
        let is_head = method == Method::HEAD;
        let held = result.and_then(|response| {
            let (head, body) = response.into_parts();
            let held = if is_head { Some(body) } else { hold(body) };
            match held {
                Some(body) => Ok(Response::from_parts(head, body)),
                None if method.is_safe() => Err(ApiError::TooManyAnswers),
                None => Err(ApiError::AnswerNotSent),
            }
        });
        let (mut response, error) = match held {
            Ok(response) => (response, None),
            Err(error) => (error.response(&id, &trail.parameters), Some(error)),
        };
        finish(&mut response, &id, trail.rate.as_ref());
        if is_head {
            leave_out_body(&mut response);
        }
        log(&id, &trail, &response, error.as_ref(), started);
        response
    }

    async fn proceed(&self, app: &App, request: Request, trail: &mut Trail) -> Result<Response, ApiError> {
        let (route, params) = match self.find(&request.method, &request.path) {
            Found::Route(route, params) => (route, params),
            Found::NoRoute => return Err(ApiError::NoRoute),
            Found::MethodNotAllowed(allow) => return Err(ApiError::MethodNotAllowed { allow }),
        };
        trail.operation = Some(route.operation);
        trail.parameters.clone_from(&params);
        let mut principal = admit(app, route, &request.headers, request.address, trail).await?;
        let query = Query::parse(request.query.as_deref());
        query.check_names(route)?;
        let origin = Origin::of(&request);
        match route.handler {
            Handler::Static(handler) => handler(),
            Handler::Document(document) => Ok(document()?.answer(&request.headers)),
            Handler::Global(handler) => {
                let (body, waited) =
                    read_body(route, &request.method, &request.headers, request.body).await?;
                if waited {
                    principal = admit_again(app, route, &request.headers, request.address).await?;
                }
                let call = Call::new(principal, params, query, &request.headers, origin, body);
                once(app, route, None, call, |call| handler(app, call)).await
            }
            Handler::InProject(handler) => {
                let project = open_project(app, principal.as_ref(), &query, trail).await?;
                let (body, waited) =
                    read_body(route, &request.method, &request.headers, request.body).await?;
                if waited {
                    principal = admit_again(app, route, &request.headers, request.address).await?;
                    if let Some(principal) = &principal {
                        principal.authorize_project(project.project_id())?;
                    }
                }
                let call = Call::new(principal, params, query, &request.headers, origin, body);
                let project = project.as_ref();
                once(app, route, Some(project), call, |call| handler(app, project, call)).await
            }
        }
    }
}

/// The methods of a path, as `Allow` names them.
fn allowed(routes: &[&Route]) -> String {
    let mut methods: Vec<_> = routes.iter().map(|route| route.method.as_str()).collect();
    if methods.contains(&Method::GET.as_str()) {
        methods.push(Method::HEAD.as_str());
    }
    methods.join(", ")
}

/// Makes of the answer to a GET the answer to a HEAD: the same header fields, with the length of the body that is not sent.
fn leave_out_body(response: &mut Response) {
    let body = std::mem::take(response.body_mut());
    if response.status() != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
}

/// Answers a call, unless it repeats one under the same `Idempotency-Key`: then with that one's answer.
async fn once<'a>(
    app: &App,
    route: &Route,
    project: Option<&dyn ProjectStore>,
    call: Call,
    handle: impl FnOnce(Call) -> HandlerFuture<'a>,
) -> Result<Response, ApiError> {
    let Some(repeatable) = Repeatable::of(&call, route, project, app.engine().now())? else {
        return handle(call).await;
    };
    if let Some(response) = repeatable.repeated(app, route, project).await? {
        return Ok(response);
    }
    let answer = handle(call.repeatable(Some(repeatable.clone()))).await;
    match answer {
        Err(error) if may_be_repeated(&error) => repeatable.repeated(app, route, project).await?.ok_or(error),
        answer => answer,
    }
}

/// The body of a request that may proceed, and whether it was waited for. What comes with a method that means nothing by it
/// is left unread.
async fn read_body(
    route: &Route,
    method: &Method,
    headers: &HeaderMap,
    body: BodySource,
) -> Result<(Body, bool), ApiError> {
    if [Method::GET, Method::HEAD].contains(method) {
        return Ok((Body::Read(Bytes::new()), false));
    }
    let sender = if route.access == Access::Public { Sender::Stranger } else { Sender::Caller };
    // A page of another origin cannot send this without asking first.
    if sender == Sender::Stranger && !is_json(headers) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let mut reading = body.read(sender);
    let (body, waited) = match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
        Poll::Ready(body) => (body, false),
        Poll::Pending => (reading.await, true),
    };
    match body {
        // Also where nothing is expected: a request of which the end is missing was perhaps not meant. A public route
        // counts it first.
        Body::Unreadable if sender == Sender::Caller => Err(ApiError::Unreadable),
        body => Ok((body, waited)),
    }
}

/// Whether a body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Who calls, decided anew once the body is there: the key may have been revoked, disabled or narrowed while it came. The
/// request is not counted again.
async fn admit_again(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Option<Principal>, ApiError> {
    if route.access == Access::Public {
        return Ok(None);
    }
    let (principal, _) = app.callers().recognize(app.engine(), headers, address).await?;
    principal.authorize(route.access)?;
    Ok(Some(principal))
}

/// Who calls, if the route asks, and that they may.
async fn admit(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    address: Option<IpAddr>,
    trail: &mut Trail,
) -> Result<Option<Principal>, ApiError> {
    if route.access == Access::Public {
        return Ok(None);
    }
    let identified = app.callers().identify(app.engine(), headers, address).await;
    let caller = identified.inspect_err(|refusal| {
        trail.key_id = refusal.key_id().map(ToString::to_string);
        trail.rate = refusal.rate().copied();
    })?;
    trail.key_id = Some(caller.principal.key_id().to_string());
    trail.rate = caller.rate;
    let authorized = caller.principal.authorize(route.access);
    let used = match route.access {
        Access::Requires(scope) if authorized.is_ok() => Some(scope),
        _ => None,
    };
    app.callers().note(app.engine(), &caller, used);
    authorized?;
    Ok(Some(caller.principal))
}

/// The project that the query names. Whether the key is bound to it is decided before whether there is such a project.
async fn open_project(
    app: &App,
    principal: Option<&Principal>,
    query: &Query,
    trail: &mut Trail,
) -> Result<std::sync::Arc<dyn ProjectStore>, ApiError> {
    const NOT_FOUND: ApiError = ApiError::NotFound(Resource::Project);
    let InProject(text) = query.read()?;
    trail.parameters.push(("project_id".to_owned(), text.clone()));
    let id: ProjectId = text.parse().map_err(|_| NOT_FOUND)?;
    trail.project_id = Some(id.to_string());
    if let Some(principal) = principal {
        principal.authorize_project(&id)?;
    }
    app.engine().store().open_project(&id).await?.ok_or(NOT_FOUND)
}

/// The headers that every response has.
fn finish(response: &mut Response, request_id: &str, rate: Option<&RateStatus>) {
    let is_known = response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    for (name, value) in rate.into_iter().flat_map(RateStatus::fields) {
        headers.insert(name, value);
    }
    if !is_known {
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
}

/// The one line that a request leaves. Nothing that a caller sent is in it but ids that were checked.
fn log(id: &str, trail: &Trail, response: &Response, error: Option<&ApiError>, started: Instant) {
    let status = response.status().as_u16();
    let code = error.map(|error| error.public().code);
    let cause = error.and_then(ApiError::internal);
    let refused = matches!(error, Some(ApiError::Auth(_))).then_some(true);
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let Trail { operation, key_id, project_id, parameters: _, rate: _ } = trail;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id = id,
                operation,
                status,
                code,
                key_id,
                project_id,
                latency_us,
                refused,
                cause,
                "request"
            )
        };
    }
    if status >= 500 {
        line!(error);
    } else {
        line!(info);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}
