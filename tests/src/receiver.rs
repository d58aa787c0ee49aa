//! A target of webhooks, or an agent with an endpoint, on this machine.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Response, header};
use serde_json::Value;

use crate::{app::Received, listener::Listener, wait::eventually};

/// How a receiver answers.
#[derive(Clone, Debug)]
pub enum ReceiverAnswer {
    /// With a status.
    Status(u16),
    /// With status 200 and this JSON.
    Document(Value),
    /// With a redirect to an address.
    Redirect(String),
    /// Never.
    Nothing,
}

/// A target of webhooks that remembers what it received.
#[derive(Debug)]
pub struct Receiver {
    listener: Listener,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Starts one.
    pub async fn start(answer: ReceiverAnswer) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, move |_, request| {
            let (head, body) = request.into_parts();
            let body = String::from_utf8(body.to_vec()).expect("a body in UTF-8");
            let request = Received { url: head.uri.to_string(), headers: head.headers, body };
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let answer = answer.clone();
            async move {
                let (response, body) = match answer {
                    ReceiverAnswer::Status(status) => (Response::builder().status(status), Bytes::new()),
                    ReceiverAnswer::Document(document) => {
                        (Response::builder(), Bytes::from(document.to_string()))
                    }
                    ReceiverAnswer::Redirect(to) => {
                        (Response::builder().status(307).header(header::LOCATION, to), Bytes::new())
                    }
                    ReceiverAnswer::Nothing => std::future::pending().await,
                };
                response.body(body).ok()
            }
        })
        .await
        .expect("a free port");
        Self { listener, received }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.listener.address())
    }

    /// The requests that it received.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has received this many requests.
    pub async fn receives(&self, count: usize) -> Vec<Received> {
        eventually("requests", async || {
            let received = self.received();
            if received.len() >= count { Ok(received) } else { Err(format!("{} requests", received.len())) }
        })
        .await
    }
}
