//! Response bodies: whole ones, and late ones, which keep their client waiting with white space.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use onerun_api::FutureBody;
use tokio::time::{Instant, Sleep, sleep};

use super::responses::ResponseDeadline;

/// How many bytes of white space are sent in the time after which the head of a late response is sent.
const SPACES: u32 = 3;

/// The body of a response.
pub(super) enum ResponseBody {
    /// The complete body; `None` once it was sent.
    Whole(Option<Bytes>),
    /// A body that is not complete yet.
    Late(Late),
}

/// White space until the body is complete, then the body.
pub(super) struct Late {
    body: FutureBody,
    next_space: Pin<Box<Sleep>>,
    space_interval: Duration,
    deadline: ResponseDeadline,
}

impl ResponseBody {
    /// A body whose deadline begins now.
    pub(super) fn whole(body: Bytes, deadline: &ResponseDeadline) -> Self {
        Self::Whole(Some(deadline.begin(body)))
    }

    /// A body whose head is sent `after` the request, and whose deadline begins when it is complete.
    pub(super) fn late(body: FutureBody, after: Duration, deadline: ResponseDeadline) -> Self {
        let next_space = Box::pin(sleep(Duration::ZERO));
        Self::Late(Late { body, next_space, space_interval: after / SPACES, deadline })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let late = match this {
            Self::Whole(body) => {
                let body = body.take().filter(|body| !body.is_empty());
                return Poll::Ready(body.map(|body| Ok(Frame::data(body))));
            }
            Self::Late(late) => late,
        };
        if let Poll::Ready(body) = late.body.as_mut().poll(context) {
            let body = late.deadline.begin(body);
            *this = Self::Whole(None);
            return Poll::Ready(Some(Ok(Frame::data(body))));
        }
        if late.next_space.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        late.next_space.as_mut().reset(Instant::now() + late.space_interval);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Late(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Late(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::server::graceful::GracefulShutdown;
    use onerun_api::LateBody;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::{oneshot, watch},
    };

    use super::*;
    use crate::http::serve_connection;

    const LATE_AFTER: Duration = Duration::from_secs(15);

    /// A connection that was sent a request, and the body of the late response to each request.
    async fn requested() -> (DuplexStream, oneshot::Sender<&'static str>) {
        let (sender, receiver) = oneshot::channel();
        let (mut client, server) = duplex(1_024);
        let receiver = std::sync::Mutex::new(Some(receiver));
        let answer = move |_| {
            let body = receiver.lock().unwrap().take();
            async { LateBody::response(async { Bytes::from(body.unwrap().await.unwrap_or("lost")) }) }
        };
        tokio::spawn(async move {
            let graceful = GracefulShutdown::new();
            let (_stays_open, cut) = watch::channel(false);
            serve_connection(server, answer, LATE_AFTER, graceful.watcher(), cut).await;
        });
        client.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        (client, sender)
    }

    async fn read_until(client: &mut DuplexStream, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            text.push(char::from(client.read_u8().await.unwrap()));
        }
        text
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_follows_a_space_every_third_of_its_delay() {
        let (mut client, sender) = requested().await;
        let started = Instant::now();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("transfer-encoding: chunked"), "{head}");
        for space in 0..30 {
            assert_eq!(read_until(&mut client, " \r\n").await, "1\r\n \r\n");
            assert_eq!(started.elapsed().as_secs(), space * 5);
        }
        sender.send("{}").unwrap();
        assert_eq!(read_until(&mut client, "0\r\n\r\n").await, "2\r\n{}\r\n0\r\n\r\n");
        assert_eq!(started.elapsed().as_secs(), 145, "the body was not sent at once");
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_is_dropped_when_its_client_disconnects() {
        let (mut client, mut sender) = requested().await;
        read_until(&mut client, " \r\n").await;
        let started = Instant::now();
        drop(client);
        sender.closed().await;
        assert!(started.elapsed() <= LATE_AFTER / SPACES);
    }
}
