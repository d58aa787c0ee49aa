//! HTTP on a socket: requests become [`onerun_api::Request`]s, and that is all that is decided here.

mod answers;
mod body;

pub(crate) use answers::{AnswerMemory, MAX_ANSWER_BYTES};

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use onerun_api::{Request, Response};
use onerun_domain::{ItemId, Random};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use self::{answers::AnswerDeadline, body::Pending};
use crate::{GRACE, Service, Unfinished, stop};
use onerun_host::OsRandom;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a request's head, and of what came with it, is held at once. Hyper looks at the limit before it reads and
/// not after, so a head that is a little larger may still be taken; its own default would let half a megabyte in.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// How long a client may take nothing of what is sent to it. Well below [`GRACE`], so that one that reads nothing does
/// not have the others' requests called unfinished.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many connections are served at once; more wait to be accepted.
const MAX_CONNECTIONS: u32 = 1_024;

/// One of the [`MAX_CONNECTIONS`] places. It is shared by a connection and the requests that came on it, and free again
/// when the last of them is done.
type Place = Arc<OwnedSemaphorePermit>;

/// Serves until `stopped` says so, then lets requests in flight finish.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop(&mut stopped) => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let (service, place) = (Arc::clone(&service), Arc::new(place));
        let held = Arc::clone(&place);
        let answer = move |request| answer(Arc::clone(&service), Arc::clone(&place), peer, request);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            serve_connection(stream, answer, watcher).await;
            drop(held);
        });
    }
    drop(listener);
    let finished = async {
        graceful.shutdown().await;
        // Requests whose client went away are among them: every place free again means that nothing is left.
        let _ = places.acquire_many(MAX_CONNECTIONS).await;
    };
    let outcome = timeout(GRACE, finished).await.map_err(|_| Unfinished);
    service.app.flush().await;
    outcome
}

/// Answers the requests that come on a connection, until its end or until the client takes too long to read an answer.
async fn serve_connection<S, F, A>(stream: S, answer: F, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    F: Fn(hyper::Request<Incoming>) -> A + Send,
    A: Future<Output = Response> + Send,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let deadline = AnswerDeadline::new();
    let service = service_fn(|request| {
        let answer = answer(request);
        let deadline = deadline.clone();
        async move { Ok::<_, Infallible>(answer.await.map(|body| Full::new(deadline.begin(body)))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::select! {
        ended = watcher.watch(connection) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
        () = deadline.passed() => {
            tracing::debug!("a connection was closed: its client took too long to read an answer");
        }
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and complete: waiting to fill a segment would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a socket could not be set to send at once");
            }
            Some((stream, peer.ip(), place))
        }
        Err(error) => {
            // Most often too many open files, which another connection's end mends.
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn answer(
    service: Arc<Service>,
    place: Place,
    peer: IpAddr,
    request: hyper::Request<Incoming>,
) -> Response {
    let (head, body) = request.into_parts();
    let body = Pending::new(body, &head.headers);
    let request = Request {
        id: request_id(&OsRandom),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        address: Some(peer),
        body: body.source(),
    };
    let memory = service.answer_memory.clone();
    let hold = move |body| memory.hold(body);
    let mut response = if request.method.is_safe() {
        service.router.answer_within(&service.app, request, hold).await
    } else {
        finish(async move {
            let response = service.router.answer_within(&service.app, request, hold).await;
            // In this order: with the last place free, nothing holds the service.
            drop(service);
            drop(place);
            response
        })
        .await
    };
    if !body.discard_rest().await {
        // What is left of the body would be taken for the next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Runs in a task of its own: a client that goes away must not leave its call half-done.
async fn finish(answer: impl Future<Output = Response> + Send + 'static) -> Response {
    tokio::spawn(answer).await.unwrap_or_else(|error| {
        // `Router::answer` does not panic, and nobody aborts the task.
        tracing::error!(%error, "a request's task failed");
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

fn request_id(random: &dyn Random) -> String {
    format!("req_{}", ItemId::generate(random))
}
