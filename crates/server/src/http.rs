//! The HTTP server: turns HTTP requests into [`onerun_api::Request`]s. Responses are decided in `onerun-api`.

mod body;
mod late;
mod responses;

pub(crate) use responses::{MAX_RESPONSE_BYTES, ResponseMemory};

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use onerun_api::{LateBody, Presence, Request, Response};
use onerun_domain::{ItemId, Random};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use self::{body::Pending, late::ResponseBody, responses::ResponseDeadline};
use crate::{SHUTDOWN_GRACE, Service, Unfinished, stop};
use onerun_host::OsRandom;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The size of a connection's read buffer, which bounds a request's head. Hyper checks the limit
/// before it reads, so a slightly larger head may pass. Hyper's default is about half a megabyte.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// How long a client may read nothing of a response. Well below [`SHUTDOWN_GRACE`], so that one
/// stalled client does not make a shutdown report unfinished requests.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long before the end of [`SHUTDOWN_GRACE`] the connections are closed whose clients are still reading a
/// response. They may read for longer than the whole grace period, and their requests have finished.
const READERS_CUT_BEFORE_GRACE_ENDS: Duration = Duration::from_secs(5);

/// How many connections are served at once. Further ones wait to be accepted.
const MAX_CONNECTIONS: u32 = 1_024;

/// One of the [`MAX_CONNECTIONS`] permits. A connection and its requests share it; it is free when
/// the last of them ends.
type ConnectionPermit = Arc<OwnedSemaphorePermit>;

/// Serves until the server stops, then waits for requests in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let (cut_readers, cut) = watch::channel(false);
    let late_after = service.late_after;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = stop(&mut stopped) => break,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let (service, permit) = (Arc::clone(&service), Arc::new(permit));
        let held = Arc::clone(&permit);
        let answer = move |request| answer(Arc::clone(&service), Arc::clone(&permit), peer, request);
        let (watcher, cut) = (graceful.watcher(), cut.clone());
        tokio::spawn(async move {
            serve_connection(stream, answer, late_after, watcher, cut).await;
            drop(held);
        });
    }
    drop(listener);
    service.app.engine().end_waits();
    let finished = async {
        graceful.shutdown().await;
        // Requests whose client has disconnected hold permits too, so all permits free means that
        // all have ended.
        let _ = permits.acquire_many(MAX_CONNECTIONS).await;
        service.app.engine().finish_turns().await;
    };
    let mut finished = Box::pin(finished);
    let readers_stay = SHUTDOWN_GRACE.saturating_sub(READERS_CUT_BEFORE_GRACE_ENDS);
    let mut outcome = timeout(readers_stay, &mut finished).await;
    if outcome.is_err() {
        cut_readers.send_replace(true);
        let cancelled = async {
            service.app.engine().cancel_turns().await;
            finished.await;
        };
        outcome = timeout(READERS_CUT_BEFORE_GRACE_ENDS, cancelled).await;
    }
    let outcome = outcome.map_err(|_| Unfinished);
    // Their tasks hold the store, which closes before the data directory is free.
    service.app.engine().cancel_turns().await;
    service.app.flush().await;
    outcome
}

/// Answers the requests of a connection until it ends or its client takes too long to read a response.
/// Once `cut` is true, every response that is still being read is too late.
async fn serve_connection<S, F, A>(
    stream: S,
    answer: F,
    late_after: Duration,
    watcher: Watcher,
    mut cut: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
    F: Fn(hyper::Request<Incoming>) -> A + Send,
    A: Future<Output = Response> + Send,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let deadline = ResponseDeadline::new();
    let service = service_fn(|request| {
        let answer = answer(request);
        let deadline = deadline.clone();
        async move {
            let mut response = answer.await;
            let late = LateBody::take(&mut response);
            Ok::<_, Infallible>(response.map(|body| match late {
                Some(late) => ResponseBody::late(late, late_after, deadline),
                None => ResponseBody::whole(body, &deadline),
            }))
        }
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
        () = deadline.passed(&mut cut) => {
            tracing::debug!("a connection was closed: its client took too long to read a response");
        }
    }
}

/// Waits for a permit, then for the next connection.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Responses are written whole, so waiting to fill a segment would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was not set; responses may be delayed");
            }
            Some((stream, peer.ip(), permit))
        }
        Err(error) => {
            // Most often the process has too many open files, until another connection ends.
            tracing::warn!(%error, "a connection was not accepted; if this repeats, raise the limit of open files");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn answer(
    service: Arc<Service>,
    permit: ConnectionPermit,
    peer: IpAddr,
    request: hyper::Request<Incoming>,
) -> Response {
    let (head, body) = request.into_parts();
    let body = Pending::new(body, &head.headers);
    // Hyper drops this future, and the guard with it, when the client disconnects.
    let (presence, _guard) = Presence::guarded();
    let request = Request {
        id: request_id(&OsRandom),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        address: Some(peer),
        body: body.source(),
        presence,
    };
    let memory = service.response_memory.clone();
    let hold = move |body| memory.hold(body);
    let mut response = if request.method.is_safe() {
        service.router.answer_within(&service.app, request, hold).await
    } else {
        finish(async move {
            let response = service.router.answer_within(&service.app, request, hold).await;
            // In this order: when the last permit is free, no task holds the service.
            drop(service);
            drop(permit);
            response
        })
        .await
    };
    if !body.discard_rest().await {
        // The rest of the body would be read as the next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Runs in a separate task, so that a client that disconnects does not leave its call half done.
async fn finish(answer: impl Future<Output = Response> + Send + 'static) -> Response {
    tokio::spawn(answer).await.unwrap_or_else(|error| {
        // A bug: `Router::answer` catches panics, and no code aborts the task.
        tracing::error!(%error, "a request's task failed; its client got 500");
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

fn request_id(random: &dyn Random) -> String {
    format!("req_{}", ItemId::generate(random))
}
