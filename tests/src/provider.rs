//! A provider of language models on this machine, with an account of its own: it counts every call and every token, so
//! that tests can compare them with the usage that OneRun reports.
//!
//! It speaks chat completions, Anthropic's Messages and Bedrock's Converse, and checks requests as strictly as the real
//! ones. Its answers come from a function of the request ([`Provider::start`]) or from a real model
//! ([`Provider::before`]). A seeded schedule of [`Faults`] decides which calls fail, and how.

mod answer;
mod faults;
mod narrow;
mod real;
mod request;
mod script;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use onerun_transport::{Transport, TransportError};
use tokio::time::Instant;

pub use self::{
    answer::{Answer, Finish, Reply, Tokens},
    faults::{Fault, Faults},
    real::{Converse, LanguageModel, Upstream, similarities},
    request::{Message, Prompt, Wire},
    script::{Role, obedient_judge, play, verdicts},
};
use crate::listener::{Disconnect, Listener};

/// The key that the provider accepts, for chat completions and Messages.
pub const PROVIDER_KEY: &str = "sk-test-5f0b7d3c9e2a4816";

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider has not answered yet.
    Pending,
    /// The whole answer was sent. The caller knows its tokens.
    Answered,
    /// The call was refused: a rate limit, or an error that the script wanted. It costs nothing.
    Refused,
    /// An answer was sent, but not a whole one. The provider charges for it.
    Damaged,
    /// The caller closed the connection before the answer. The provider charges for it.
    Abandoned,
}

/// A recorded call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request.
    pub prompt: Prompt,
    /// The fault that was injected.
    pub fault: Option<Fault>,
    /// The result.
    pub outcome: Outcome,
    /// The text of the answer, if there is one.
    pub text: Option<String>,
    /// The tokens of the answer, whether the caller got it or not.
    pub tokens: Tokens,
    /// How long the answer took.
    pub took: Duration,
}

type Script = dyn Fn(&Prompt) -> Reply + Send + Sync;

/// The origin of the answers.
enum Source {
    Script(Box<Script>),
    Upstream(Upstream),
}

/// A provider that listens on this machine. On drop it closes its connections.
#[derive(Debug)]
pub struct Provider {
    state: Arc<State>,
    listener: Mutex<Option<Listener>>,
    address: SocketAddr,
}

struct State {
    source: Source,
    faults: Faults,
    calls: Mutex<Vec<Call>>,
    /// Requests that no provider would accept, each with the reason.
    rejected: Mutex<Vec<String>>,
    is_faulty: AtomicBool,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// A reply, whole or cut in the middle of its body.
pub(crate) enum Delivery {
    Whole(Response<Bytes>),
    Cut(Response<Bytes>),
}

impl Provider {
    /// A provider without faults, whose answers `script` decides.
    pub async fn start(script: impl Fn(&Prompt) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(Faults::none(), script).await
    }

    /// A provider with faults, whose other answers `script` decides.
    pub async fn start_with(
        faults: Faults,
        script: impl Fn(&Prompt) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(faults, Source::Script(Box::new(script))).await
    }

    /// A provider in front of a real model.
    pub async fn before(faults: Faults, upstream: Upstream) -> Self {
        Self::listen(faults, Source::Upstream(upstream)).await
    }

    async fn listen(faults: Faults, source: Source) -> Self {
        let state = Arc::new(State {
            source,
            faults,
            calls: Mutex::default(),
            rejected: Mutex::default(),
            is_faulty: AtomicBool::new(true),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = serve(&state, address).await.expect("a free port");
        Self { state, address: listener.address(), listener: Mutex::new(Some(listener)) }
    }

    /// The base URL, without a path. Chat completions are at `/v1/chat/completions`, Messages at `/v1/messages`,
    /// Converse at `/model/{id}/converse`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables that configure OneRun for this provider over a wire, with `model` for each purpose.
    pub fn variables(&self, wire: Wire, model: &str) -> Vec<(String, String)> {
        let url = self.url();
        let variables = match wire {
            Wire::ChatCompletions => vec![
                ("ONERUN_MODEL", format!("openai:{model}")),
                ("OPENAI_BASE_URL", format!("{url}/v1")),
                ("OPENAI_API_KEY", PROVIDER_KEY.to_owned()),
            ],
            Wire::Messages => vec![
                ("ONERUN_MODEL", format!("anthropic:{model}")),
                ("ANTHROPIC_BASE_URL", url),
                ("ANTHROPIC_API_KEY", PROVIDER_KEY.to_owned()),
            ],
            Wire::Converse => vec![
                ("ONERUN_MODEL", format!("bedrock:{model}")),
                ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url),
                ("AWS_REGION", "eu-central-1".to_owned()),
                ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            ],
        };
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// All calls so far, in the order of their arrival. Requests that the provider rejected are not
    /// among them.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// The sum of the tokens of all answers that callers got.
    pub fn tokens(&self) -> Tokens {
        let answered = self.calls().into_iter().filter(|call| call.outcome == Outcome::Answered);
        answered.fold(Tokens::default(), |sum, call| sum + call.tokens)
    }

    /// The requests that no provider would accept, each with the reason.
    pub fn rejected(&self) -> Vec<String> {
        lock(&self.state.rejected).clone()
    }

    /// Stops or resumes the injection of faults. The schedule continues where it stopped.
    pub fn inject(&self, is_faulty: bool) {
        self.state.is_faulty.store(is_faulty, Ordering::SeqCst);
    }

    /// Refuses connections and closes the existing ones.
    pub fn down(&self) {
        *lock(&self.listener) = None;
    }

    /// Accepts connections again at the same address.
    pub async fn up(&self) {
        let listener = crate::eventually("port of a provider", || async {
            serve(&self.state, self.address).await.map_err(|error| error.to_string())
        })
        .await;
        *lock(&self.listener) = Some(listener);
    }
}

/// Calls in this process, without a socket, so that a test can pause the clock.
#[async_trait]
impl Transport for Provider {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        if lock(&self.listener).is_none() {
            return Err(TransportError::Connect("the provider is down".to_owned()));
        }
        match tokio::time::timeout(timeout, self.state.answer(request)).await {
            Ok(Delivery::Whole(response)) => Ok(response),
            Ok(Delivery::Cut(_)) => Err(TransportError::Broken("the connection was cut".to_owned())),
            Err(_) => Err(TransportError::Timeout),
        }
    }
}

async fn serve(state: &Arc<State>, address: SocketAddr) -> std::io::Result<Listener> {
    let state = Arc::clone(state);
    Listener::start_with_bodies(address, move |_, request| {
        let state = Arc::clone(&state);
        async move { Some(body(state.answer(request).await)) }
    })
    .await
}

/// The response on a connection.
fn body(delivery: Delivery) -> Response<UnsyncBoxBody<Bytes, Disconnect>> {
    match delivery {
        Delivery::Whole(response) => {
            response.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
        }
        Delivery::Cut(response) => {
            let (mut head, bytes) = response.into_parts();
            head.headers.insert(http::header::CONTENT_LENGTH, bytes.len().into());
            let half = Ok(Frame::data(bytes.slice(..bytes.len() / 2)));
            // The pause lets the server send the first half before the connection closes.
            let end = stream::once(async {
                tokio::task::yield_now().await;
                Err(Disconnect)
            });
            let parts = stream::once(async { half }).chain(end);
            Response::from_parts(head, StreamBody::new(parts).boxed_unsync())
        }
    }
}

/// A call until its answer is sent. If it is dropped before, the caller has closed the connection.
struct Pending<'a> {
    state: &'a State,
    number: usize,
}

impl Pending<'_> {
    fn update(&self, change: impl FnOnce(&mut Call)) {
        change(&mut lock(&self.state.calls)[self.number]);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.update(|call| {
            if call.outcome == Outcome::Pending {
                call.outcome = Outcome::Abandoned;
            }
        });
    }
}

impl State {
    /// Answers a request. The future is pending without end for a call that gets no answer.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> Delivery {
        let prompt = match Prompt::read(&request) {
            Ok(prompt) => prompt,
            Err(rejection) => {
                lock(&self.rejected).push(format!(
                    "{} {}: {}",
                    request.method(),
                    request.uri(),
                    rejection.reason
                ));
                return Delivery::Whole(rejection.response());
            }
        };
        let wire = prompt.wire;
        let start = Instant::now();
        let (pending, fault) = self.record(prompt.clone());
        match fault {
            Some(Fault::Silent) => std::future::pending().await,
            Some(Fault::Limited { retry_after }) => {
                pending.update(|call| call.outcome = Outcome::Refused);
                return Delivery::Whole(answer::limited(wire, retry_after));
            }
            Some(Fault::Slow { delay }) => tokio::time::sleep(delay).await,
            Some(Fault::BrokenJson | Fault::Cut) | None => {}
        }
        let (response, reply) = self.respond(&prompt, &request).await;
        pending.update(|call| {
            call.took = start.elapsed();
            if let Some((text, tokens)) = reply {
                call.text = Some(text);
                call.tokens = tokens;
                call.outcome = match fault {
                    Some(Fault::BrokenJson | Fault::Cut) => Outcome::Damaged,
                    _ => Outcome::Answered,
                };
            } else {
                call.outcome = Outcome::Refused;
            }
        });
        match fault {
            Some(Fault::BrokenJson) => Delivery::Whole(response.map(|body| body.slice(..body.len() * 2 / 3))),
            Some(Fault::Cut) => Delivery::Cut(response),
            _ => Delivery::Whole(response),
        }
    }

    /// Adds a call, and returns the fault that is due.
    fn record(&self, prompt: Prompt) -> (Pending<'_>, Option<Fault>) {
        let mut calls = lock(&self.calls);
        let number = calls.len();
        let fault = if self.is_faulty.load(Ordering::SeqCst) { self.faults.fault(number) } else { None };
        let outcome = Outcome::Pending;
        let (tokens, took) = (Tokens::default(), Duration::ZERO);
        calls.push(Call { prompt, fault, outcome, text: None, tokens, took });
        (Pending { state: self, number }, fault)
    }

    /// The response, and the text and tokens if it is an answer.
    async fn respond(
        &self,
        prompt: &Prompt,
        request: &Request<Bytes>,
    ) -> (Response<Bytes>, Option<(String, Tokens)>) {
        match &self.source {
            Source::Upstream(upstream) => upstream.forward(prompt, request).await,
            Source::Script(script) => match script(prompt) {
                Reply::Answer(answer) => {
                    let tokens = answer.tokens.unwrap_or_else(|| self.count(prompt, &answer.text));
                    (answer.response(prompt, tokens), Some((answer.text, tokens)))
                }
                Reply::Error { status, message } => (answer::error(prompt.wire, status, &message), None),
                Reply::Raw(response) => (response, None),
            },
        }
    }

    /// The tokens of a scripted answer, one for four bytes. A system prompt that an earlier call had is cached.
    fn count(&self, prompt: &Prompt, text: &str) -> Tokens {
        let seen = |call: &Call| call.prompt.system == prompt.system && call.outcome == Outcome::Answered;
        let is_cached = lock(&self.calls).iter().any(seen);
        Tokens::of(prompt, text, is_cached)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
