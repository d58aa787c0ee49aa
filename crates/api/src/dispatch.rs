//! The one path from a request to a response, the same on every host: route, credentials, scope, project,
//! body, handler, error, headers, log line.

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
    query::{ProjectQuery, Query, percent_decode},
    request::{Admission, Call},
};

/// The target of the log line of a request. The host on AWS makes metrics of these lines.
pub const REQUEST_TARGET: &str = "onerun::request";

/// Finds the route of a request and answers it.
pub struct Router {
    paths: matchit::Router<Vec<&'static Route>>,
}

/// The result of looking up a method and a path.
pub enum Found {
    /// A route, with the path's parameters.
    Route(&'static Route, Vec<(String, String)>),
    /// No such path.
    NoRoute,
    /// The path has other methods, joined by commas.
    MethodNotAllowed(String),
}

/// Facts about a request, collected for its log line and its error.
#[derive(Default)]
struct RequestLog {
    operation: Option<&'static str>,
    key_id: Option<String>,
    project_id: Option<String>,
    /// The path's ids, for the error. They are not logged, because a caller wrote them.
    parameters: Vec<(String, String)>,
    /// The key's rate limit, for the headers.
    rate: Option<RateStatus>,
}

impl Router {
    /// A router over routes.
    ///
    /// # Errors
    ///
    /// If two paths match the same requests.
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

    /// Looks up a method and a path. Each GET route also answers HEAD.
    pub fn find(&self, method: &Method, path: &str) -> Found {
        let Ok(matched) = self.paths.at(path) else { return Found::NoRoute };
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        match matched.value.iter().find(|route| route.method == *method) {
            Some(route) => {
                // Invalid UTF-8 cannot match an id, so it becomes an unknown one (404).
                let params = matched
                    .params
                    .iter()
                    .map(|(name, value)| (name.to_owned(), percent_decode(value).unwrap_or_default()))
                    .collect();
                Found::Route(route, params)
            }
            None => Found::MethodNotAllowed(allowed(matched.value)),
        }
    }

    /// Answers a request. Every failure becomes a response, a panic of a handler included.
    pub async fn answer(&self, app: &App, request: Request) -> Response {
        self.answer_within(app, request, Some).await
    }

    /// Answers a request on a host that bounds its answers in flight: `hold` admits a body until it is
    /// written, or returns `None`. Then the answer is a small error, which is always admitted.
    pub async fn answer_within(
        &self,
        app: &App,
        request: Request,
        hold: impl FnOnce(Bytes) -> Option<Bytes> + Send,
    ) -> Response {
        let started = Instant::now();
        let id = request.id.clone();
        let method = request.method.clone();
        let mut log = RequestLog::default();
        // Boxed, because the future is large and would be part of each future that awaits it.
        let answered = AssertUnwindSafe(Box::pin(self.proceed(app, request, &mut log))).catch_unwind().await;
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
            Err(error) => (error.response(&id, &log.parameters), Some(error)),
        };
        finish(&mut response, &id, log.rate.as_ref());
        if is_head {
            leave_out_body(&mut response);
        }
        write_log(&id, &log, &response, error.as_ref(), started);
        response
    }

    async fn proceed(&self, app: &App, request: Request, log: &mut RequestLog) -> Result<Response, ApiError> {
        let (route, params) = match self.find(&request.method, &request.path) {
            Found::Route(route, params) => (route, params),
            Found::NoRoute => return Err(ApiError::NoRoute),
            Found::MethodNotAllowed(allow) => return Err(ApiError::MethodNotAllowed { allow }),
        };
        log.operation = Some(route.operation);
        log.parameters.clone_from(&params);
        let principal = admit(app, route, &request.headers, request.address, log).await?;
        let query = Query::parse(request.query.as_deref());
        query.check_names(route)?;
        match route.handler {
            Handler::Static(handler) => handler(),
            Handler::Document(document) => Ok(document()?.answer(&request.headers)),
            Handler::Global(handler) => {
                let call = read_call(app, route, request, principal, params, query, None).await?;
                once(app, route, None, call, |call| handler(app, call)).await
            }
            Handler::Project(handler) => {
                let project = open_project(app, principal.as_ref(), &query, log).await?;
                let project = project.as_ref();
                let call = read_call(app, route, request, principal, params, query, Some(project)).await?;
                once(app, route, Some(project), call, |call| handler(app, project, call)).await
            }
        }
    }
}

/// Reads the body of an admitted request. If that took time, the caller is authenticated again.
async fn read_call(
    app: &App,
    route: &'static Route,
    request: Request,
    mut principal: Option<Principal>,
    params: Vec<(String, String)>,
    query: Query,
    project: Option<&dyn ProjectStore>,
) -> Result<Call, ApiError> {
    let origin = request.origin();
    let (body, waited) = read_body(route, &request.method, &request.headers, request.body).await?;
    if waited {
        principal = admit_again(app, route, &request.headers, request.address).await?;
        if let (Some(principal), Some(project)) = (&principal, project) {
            principal.authorize_project(project.project_id())?;
        }
    }
    let Request { headers, address, presence, .. } = request;
    Ok(Call::new(Admission { route, headers, address, presence }, principal, params, query, origin, body))
}

/// The methods of a path, as `Allow` names them.
fn allowed(routes: &[&Route]) -> String {
    let mut methods: Vec<_> = routes.iter().map(|route| route.method.as_str()).collect();
    if methods.contains(&Method::GET.as_str()) {
        methods.push(Method::HEAD.as_str());
    }
    methods.join(", ")
}

/// Turns the answer to a GET into the answer to a HEAD: the same header fields and `Content-Length`, no body.
fn leave_out_body(response: &mut Response) {
    let body = std::mem::take(response.body_mut());
    if response.status() != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
}

/// Answers a call. A repetition under the same `Idempotency-Key` gets the first answer.
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

/// Reads the body of an admitted request. The flag tells whether it had to be waited for. The body of a GET
/// or HEAD is not read.
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
    // A page of another origin cannot send this type without a preflight request.
    if sender == Sender::Stranger && !is_json(headers) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let mut reading = body.read(sender);
    let (body, waited) = match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
        Poll::Ready(body) => (body, false),
        Poll::Pending => (reading.await, true),
    };
    match body {
        // Also if the route ignores the body: the caller may not have meant a request that was cut off. A
        // public route counts it first.
        Body::Unreadable if sender == Sender::Caller => Err(ApiError::Unreadable),
        body => Ok((body, waited)),
    }
}

/// Whether `Content-Type` is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Authenticates the caller again after waiting for the body: the key may have been revoked, disabled or
/// narrowed meanwhile. The request is not counted again.
pub(crate) async fn admit_again(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    address: Option<IpAddr>,
) -> Result<Option<Principal>, ApiError> {
    if route.access == Access::Public {
        return Ok(None);
    }
    let (principal, _) = app.callers().recognize(headers, address).await?;
    principal.authorize(route.access)?;
    Ok(Some(principal))
}

/// Authenticates the caller and checks the route's scope. A public route has no caller.
async fn admit(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    address: Option<IpAddr>,
    log: &mut RequestLog,
) -> Result<Option<Principal>, ApiError> {
    if route.access == Access::Public {
        return Ok(None);
    }
    let authenticated = app.callers().authenticate(headers, address).await;
    let caller = authenticated.inspect_err(|refusal| {
        log.key_id = refusal.key_id().map(ToString::to_string);
        log.rate = refusal.rate().copied();
    })?;
    log.key_id = Some(caller.principal.key_id().to_string());
    log.rate = caller.rate;
    let authorized = caller.principal.authorize(route.access);
    let used = match route.access {
        Access::Requires(scope) if authorized.is_ok() => Some(scope),
        _ => None,
    };
    app.callers().record_usage(&caller, used);
    authorized?;
    Ok(Some(caller.principal))
}

/// Opens the project that the query names. The key's access is checked first, so a key cannot learn which
/// other projects exist.
async fn open_project(
    app: &App,
    principal: Option<&Principal>,
    query: &Query,
    log: &mut RequestLog,
) -> Result<std::sync::Arc<dyn ProjectStore>, ApiError> {
    const NOT_FOUND: ApiError = ApiError::NotFound(Resource::Project);
    let ProjectQuery(text) = query.read()?;
    log.parameters.push(("project_id".to_owned(), text.clone()));
    let id: ProjectId = text.parse().map_err(|_| NOT_FOUND)?;
    log.project_id = Some(id.to_string());
    if let Some(principal) = principal {
        principal.authorize_project(&id)?;
    }
    app.engine().store().open_project(&id).await?.ok_or(NOT_FOUND)
}

/// Adds the headers that every response has.
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

/// Writes the request's log line. Of the data that the caller sent, only validated ids are logged.
fn write_log(id: &str, log: &RequestLog, response: &Response, error: Option<&ApiError>, started: Instant) {
    let status = response.status().as_u16();
    let code = error.map(|error| error.public().code);
    let cause = error.and_then(ApiError::internal);
    let refused = matches!(error, Some(ApiError::Auth(_))).then_some(true);
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let RequestLog { operation, key_id, project_id, parameters: _, rate: _ } = log;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: REQUEST_TARGET,
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
    // A pending turn is not a failure.
    if status >= 500 && code != Some("turn_pending") {
        line!(error);
    } else {
        line!(info);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}
