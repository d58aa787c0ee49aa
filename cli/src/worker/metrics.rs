//! The worker's `/health` and `/metrics`.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use onerun_client::WorkerStatus;
use onerun_targets::TargetError;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::ConstCounter, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram,
    },
    registry::Registry,
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};

/// How many connections are served at once.
const MAX_CONNECTIONS: usize = 8;

/// How long one connection may take, with its request and response.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// The maximum size of a request's head, as far as hyper bounds it.
const MAX_HEAD: usize = 16 * 1024;

/// The upper bounds of the buckets of reply times, in seconds.
const BUCKETS: [f64; 12] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0];

/// How quickly the agent replied, and how it failed.
#[derive(Debug)]
pub(super) struct Replies {
    seconds: Histogram,
    errors: Family<ErrorKind, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorKind {
    kind: &'static str,
}

impl Default for Replies {
    fn default() -> Self {
        Self { seconds: Histogram::new(BUCKETS), errors: Family::default() }
    }
}

impl Replies {
    pub(super) fn replied(&self, after: Duration) {
        self.seconds.observe(after.as_secs_f64());
    }

    pub(super) fn failed(&self, error: &TargetError) {
        self.errors.get_or_create(&ErrorKind { kind: error.kind() }).inc();
    }
}

/// The figures of a worker.
#[derive(Clone)]
pub(super) struct Metrics {
    status: Arc<WorkerStatus>,
    replies: Arc<Replies>,
    stopping: Arc<AtomicBool>,
}

impl Metrics {
    pub(super) fn new(status: Arc<WorkerStatus>, replies: Arc<Replies>) -> Self {
        Self { status, replies, stopping: Arc::default() }
    }

    /// The worker takes no further conversations.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn health(&self) -> String {
        let status = if self.stopping.load(Ordering::Relaxed) { "stopping" } else { "healthy" };
        json!({ "status": status, "open_conversations": self.status.open() }).to_string()
    }

    /// The figures in the `OpenMetrics` format.
    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("onerun_worker");
        let report = self.status.report();
        let open = i64::try_from(self.status.open()).unwrap_or(i64::MAX);
        registry.register("open_conversations", "Conversations that are open now", ConstGauge::new(open));
        for (name, help, count) in [
            ("conversations_held", "Conversations held to their end", report.held),
            (
                "conversations_failed",
                "Conversations abandoned because the agent or the server failed",
                report.failed,
            ),
            (
                "conversations_lost",
                "Conversations lost because the lease or the simulation ended",
                report.lost,
            ),
            ("conversations_taken", "Conversations that another worker started first", report.taken),
            ("polls", "Polls for conversations that the server answered", self.status.polls()),
            ("failed_polls", "Polls for conversations that failed", self.status.failed_polls()),
        ] {
            registry.register(name, help, ConstCounter::new(count));
        }
        registry.register("reply_seconds", "How long the agent took to reply", self.replies.seconds.clone());
        registry.register(
            "agent_errors",
            "Replies that the agent failed to give",
            self.replies.errors.clone(),
        );
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        let (status, kind, body) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/health") => (StatusCode::OK, "application/json", self.health()),
            (&Method::GET | &Method::HEAD, "/metrics") => match self.text() {
                Ok(text) => {
                    (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
                }
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "no metrics\n".to_owned()),
            },
            _ => (StatusCode::NOT_FOUND, "text/plain", "there are /health and /metrics\n".to_owned()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

/// Serves the figures until the program ends.
pub(super) async fn serve(listener: TcpListener, metrics: Metrics) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely there are too many open files.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = metrics.answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // A caller that breaks off is no failure of the worker.
            let _ = timeout(CONNECTION_TIME, connection).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_the_openmetrics_format() {
        let metrics = Metrics::new(Arc::default(), Arc::default());
        metrics.replies.replied(Duration::from_millis(300));
        metrics.replies.failed(&TargetError::TimedOut(Duration::from_mins(1)));
        let text = metrics.text().unwrap();
        for line in [
            "onerun_worker_open_conversations 0",
            "onerun_worker_conversations_held_total 0",
            "onerun_worker_polls_total 0",
            "onerun_worker_reply_seconds_bucket{le=\"0.2\"} 0",
            "onerun_worker_reply_seconds_bucket{le=\"0.5\"} 1",
            "onerun_worker_agent_errors_total{kind=\"timed_out\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn health_says_when_the_worker_is_stopping() {
        let metrics = Metrics::new(Arc::default(), Arc::default());
        assert_eq!(metrics.health(), r#"{"open_conversations":0,"status":"healthy"}"#);
        metrics.stop();
        assert_eq!(metrics.health(), r#"{"open_conversations":0,"status":"stopping"}"#);
    }
}
