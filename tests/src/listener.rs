//! A small HTTP server, used by the API Gateway stand-in, by the relays and by the provider of models.

use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

/// A task that is aborted on drop.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Something that listens on this machine. When dropped, it listens no more and its connections are cut.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    _task: Task,
}

impl Listener {
    /// Listens at `address`, whose port may be 0, and answers each request with `answer`. `None`
    /// closes the connection without a reply.
    pub(crate) async fn start<F, A>(address: SocketAddr, answer: F) -> std::io::Result<Self>
    where
        F: Fn(SocketAddr, Request<Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Response<Bytes>>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self::start_with_bodies(address, move |peer, request| {
            let answer = Arc::clone(&answer);
            async move { Some(answer(peer, request).await?.map(Full::new)) }
        })
        .await
    }

    /// [`start`](Self::start) with bodies that may end with an error, which closes the connection.
    pub(crate) async fn start_with_bodies<F, A, B>(address: SocketAddr, answer: F) -> std::io::Result<Self>
    where
        F: Fn(SocketAddr, Request<Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Response<B>>> + Send + 'static,
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let answer = Arc::new(answer);
        let task = Task::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, peer)) = listener.accept().await else { continue };
                // An answer is two small writes.
                let _ = stream.set_nodelay(true);
                let answer = Arc::clone(&answer);
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let answer = Arc::clone(&answer);
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await.map_err(|_| Disconnect)?.to_bytes();
                            answer(peer, Request::from_parts(head, body)).await.ok_or(Disconnect)
                        }
                    });
                    // Tests may close a connection early.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, _task: task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The connection is cut without an answer.
#[derive(Debug)]
pub(crate) struct Disconnect;

impl std::fmt::Display for Disconnect {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the connection is cut")
    }
}

impl std::error::Error for Disconnect {}
