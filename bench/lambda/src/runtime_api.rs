//! The Lambda Runtime API for one process. It sends events, and records polls and replies. It also
//! has the parts of the Extensions API that an internal extension uses.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use crate::process::{Cpu, Process};

/// The deadline of one step. At 7% of a core the slowest takes tens of seconds.
const DEADLINE: Duration = Duration::from_mins(3);

const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:bench";
const TRACE: &str = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=0";

/// One invocation.
pub(crate) struct Invocation {
    /// When the event was available to the function.
    pub(crate) sent: Instant,
    /// When its reply arrived.
    pub(crate) answered: Mark,
    /// When it polled for the next event.
    pub(crate) polled: Mark,
    /// The reply.
    pub(crate) answer: Bytes,
}

/// A point in a process's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The time.
    pub(crate) at: Instant,
    /// The process's CPU time, all threads together.
    pub(crate) cpu: Duration,
}

enum Note {
    Polled(Mark),
    Answered(Mark, Bytes),
    Failed(String),
}

struct Shared {
    cpu: Arc<std::sync::OnceLock<Cpu>>,
    notes: mpsc::UnboundedSender<Note>,
    events: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    /// An extension's event: an invocation started.
    invoked: mpsc::UnboundedSender<Bytes>,
    invocations: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    count: AtomicU64,
}

/// The Runtime API with its current process.
pub(crate) struct Environment {
    address: SocketAddr,
    cpu: Arc<std::sync::OnceLock<Cpu>>,
    process: Option<Process>,
    events: mpsc::UnboundedSender<Bytes>,
    notes: mpsc::UnboundedReceiver<Note>,
    server: JoinHandle<()>,
}

impl Environment {
    /// The API without a process.
    pub(crate) async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cpu = Arc::default();
        let (note, notes) = mpsc::unbounded_channel();
        let (event, events) = mpsc::unbounded_channel();
        let (invoked, invocations) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            cpu: Arc::clone(&cpu),
            notes: note,
            events: Mutex::new(events),
            invoked,
            invocations: Mutex::new(invocations),
            count: AtomicU64::new(0),
        });
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, cpu, process: None, events: event, notes, server })
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets the measured process. Call it right after the start, before any await, so that the
    /// process is known at its first call.
    pub(crate) fn hold(&mut self, process: Process) {
        let _ = self.cpu.set(process.cpu_clock());
        self.process = Some(process);
    }

    /// The process.
    pub(crate) fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("no process was started")
    }

    /// Waits until the function polls.
    pub(crate) async fn polled(&mut self) -> Result<Mark> {
        match self.note().await? {
            Note::Polled(mark) => Ok(mark),
            Note::Answered(..) => bail!("it answered what it was not asked"),
            Note::Failed(what) => bail!("{what}"),
        }
    }

    /// Sends an event once the function has polled, waits for the reply, then for the next poll.
    pub(crate) async fn invoke(&mut self, event: &Bytes) -> Result<Invocation> {
        let sent = Instant::now();
        self.events.send(event.clone()).map_err(|_| anyhow::anyhow!("nothing listens"))?;
        let (answered, answer) = match self.note().await? {
            Note::Answered(mark, body) => (mark, body),
            Note::Polled(_) => bail!("it polled before it answered"),
            Note::Failed(what) => bail!("{what}"),
        };
        let polled = self.polled().await?;
        Ok(Invocation { sent, answered, polled, answer })
    }

    async fn note(&mut self) -> Result<Note> {
        let note = tokio::time::timeout(DEADLINE, self.notes.recv()).await;
        note.context("nothing came from the function in time")?.context("the API has ended")
    }

    /// Kills the process.
    pub(crate) fn end(mut self) -> Result<()> {
        self.server.abort();
        match self.process.take() {
            Some(process) => process.end(),
            None => Ok(()),
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    // A killed process closes its connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[expect(clippy::disallowed_methods, reason = "the Runtime API tells a deadline by the wall clock")]
async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let read = async |request: Request<Incoming>| {
        request.into_body().collect().await.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes)
    };
    if request.method() == Method::GET && path.ends_with("/invocation/next") {
        let _ = shared.notes.send(Note::Polled(shared.mark()));
        let Some(event) = shared.events.lock().await.recv().await else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let id = shared.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("8476a536-e9f4-11e8-9739-{id:012}");
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + DEADLINE;
        let deadline = deadline.as_millis().to_string();
        let invoked = format!(
            r#"{{"eventType":"INVOKE","deadlineMs":{deadline},"requestId":"{id}","invokedFunctionArn":"{ARN}",
            "tracing":{{"type":"X-Amzn-Trace-Id","value":"{TRACE}"}}}}"#
        );
        let _ = shared.invoked.send(invoked.into());
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", id)
            .header("lambda-runtime-deadline-ms", deadline)
            .header("lambda-runtime-invoked-function-arn", ARN)
            .header("lambda-runtime-trace-id", TRACE)
            .body(Full::new(event));
        return response.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR));
    }
    if path.ends_with("/extension/event/next") {
        let invocation = shared.invocations.lock().await.recv().await.unwrap_or_default();
        return Response::new(Full::new(invocation));
    }
    if path.ends_with("/extension/register") {
        let about = r#"{"functionName":"bench","functionVersion":"$LATEST","handler":"bootstrap"}"#;
        let response = Response::builder()
            .header("lambda-extension-identifier", "5c3f42cd-e9f4-11e8-9739-8476a536e9f4")
            .body(Full::new(Bytes::from_static(about.as_bytes())));
        return response.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR));
    }
    if request.method() == Method::POST && path.ends_with("/response") {
        let body = read(request).await;
        let _ = shared.notes.send(Note::Answered(shared.mark(), body));
    } else {
        let body = read(request).await;
        let _ = shared.notes.send(Note::Failed(format!("{path}: {}", String::from_utf8_lossy(&body))));
    }
    plain(StatusCode::ACCEPTED)
}

impl Shared {
    fn mark(&self) -> Mark {
        let at = Instant::now();
        Mark { at, cpu: self.cpu.get().and_then(|cpu| cpu.used().ok()).unwrap_or_default() }
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(br#"{"status":"OK"}"#)));
    *response.status_mut() = status;
    response
}
