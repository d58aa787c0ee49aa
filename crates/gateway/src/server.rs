//! HTTP on a socket: requests become [`onerun_api::Request`]s, and that is all that is decided here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use onerun_api::{App, Body, MAX_BODY_BYTES, Request, Router};
use onerun_domain::{ItemId, Random};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use crate::system::OsRandom;

/// How long a client may take to send a request's head, and its body.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests in flight may take to finish when the server stops.
const GRACE: Duration = Duration::from_secs(30);

/// How many connections are served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1_024;

/// Serves until `stopped` says so, then lets requests in flight finish.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    router: Arc<Router>,
    mut stopped: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let (app, router) = (Arc::clone(&app), Arc::clone(&router));
        let service = service_fn(move |request| answer(Arc::clone(&app), Arc::clone(&router), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight did not finish within {} s", GRACE.as_secs());
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and complete: waiting to fill a segment would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a socket could not be set to send at once");
            }
            Some((stream, place))
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
    app: Arc<App>,
    router: Arc<Router>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, ReadError> {
    let (head, body) = request.into_parts();
    let body = timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| ReadError::Slow)??;
    let request = Request {
        id: request_id(&OsRandom),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body,
    };
    let response = if request.method.is_safe() {
        router.answer(&app, request).await
    } else {
        // In a task of its own: a client that goes away must not leave its call half-done.
        let answer = tokio::spawn(async move { router.answer(&app, request).await });
        answer.await.map_err(|error| ReadError::Broken(error.into()))?
    };
    Ok(response.map(Full::new))
}

/// Why a request could not be read. The connection ends: there is nobody to answer.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the body was not sent within {} s", BODY_TIMEOUT.as_secs())]
    Slow,
    #[error("the request could not be read: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

async fn read(body: Incoming) -> Result<Body, ReadError> {
    // A body that is said to be too large is not waited for; after `Expect: 100-continue` it is not even sent.
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Ok(Body::TooLarge);
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => Ok(Body::Read(collected.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(Body::TooLarge),
        Err(error) => Err(ReadError::Broken(error)),
    }
}

fn request_id(random: &dyn Random) -> String {
    format!("req_{}", ItemId::generate(random))
}
