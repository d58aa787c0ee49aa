//! A request's body: read if the handler wants it, discarded otherwise.

use std::{
    mem,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as HttpBody;
use onerun_api::{Body, BodySource, MAX_BODY_BYTES, Sender};
use tokio::{sync::Semaphore, time::timeout};

/// How long a caller with a key may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a caller without a key may take to send a body.
const PUBLIC_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a caller without a key may take before the body needs one of the [`PUBLIC_BODIES`]. A
/// body that arrives with its head needs none.
const AT_ONCE: Duration = Duration::from_millis(250);

/// How many bodies of callers without a key may be incomplete at once.
static PUBLIC_BODIES: Semaphore = Semaphore::const_new(64);

/// How many connections may be read at once after their response was sent. A small part of all
/// connections, so that clients that never finish their bodies do not use all of them.
static LINGERING: Semaphore = Semaphore::const_new(128);

/// How long a response waits for the rest of an unread body, so that the connection can carry
/// another request.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the rest of a body is read after the response was sent. Many clients send the whole
/// request before they read the response. If the server closed the connection, they would see a
/// reset instead of the response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a body is read after the response was sent.
const LINGER_BYTES: usize = 64 * MAX_BODY_BYTES;

/// The unread rest of a body.
enum Rest<B> {
    Unread(B),
    /// The body was read to its end.
    Nothing,
    /// The body is being read, or reading failed.
    Unknown,
}

/// A request's body, which the client may not have sent yet.
pub(super) struct Pending<B> {
    rest: Arc<Mutex<Rest<B>>>,
    /// The client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
}

impl<B> Pending<B>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    pub(super) fn new(body: B, headers: &HeaderMap) -> Self {
        let expects_continue = headers.contains_key(header::EXPECT);
        Self { rest: Arc::new(Mutex::new(Rest::Unread(body))), expects_continue }
    }

    /// The body for the handler, which decides whether it is read.
    pub(super) fn source(&self) -> BodySource {
        let rest = Arc::clone(&self.rest);
        BodySource::new(move |sender| async move {
            let Rest::Unread(mut body) = replace(&rest, Rest::Unknown) else { return Body::Unreadable };
            let outcome = match sender {
                Sender::Caller => timeout(BODY_TIMEOUT, read(&mut body, sender.max_bytes())).await.ok(),
                Sender::Stranger => read_public(&mut body, sender.max_bytes()).await,
            };
            let unread = match (&outcome, sender) {
                (Some(Body::Read(_)), _) => Rest::Nothing,
                (Some(Body::TooLarge), _) | (None, Sender::Caller) => Rest::Unread(body),
                _ => Rest::Unknown,
            };
            replace(&rest, unread);
            outcome.unwrap_or(Body::Unreadable)
        })
    }

    /// Reads and drops the rest of the body. Returns whether it reached the end, so that another
    /// request can follow. If not, a task continues to read for a bounded time, so that the client
    /// can read its response.
    pub(super) async fn discard_rest(self) -> bool {
        let mut body = match replace(&self.rest, Rest::Unknown) {
            Rest::Nothing => return true,
            Rest::Unread(body) if body.is_end_stream() => return true,
            Rest::Unread(body) => body,
            Rest::Unknown => return false,
        };
        // Reading would send `100 Continue`, and the client would send a body that no handler reads.
        if self.expects_continue {
            return false;
        }
        if !is_too_large(&body, MAX_BODY_BYTES) {
            match timeout(DISCARD_TIMEOUT, discard(&mut body, MAX_BODY_BYTES)).await {
                Ok(Discarded::All) => return true,
                Ok(Discarded::Broken) => return false,
                Ok(Discarded::Part) | Err(_) => {}
            }
        }
        if let Ok(permit) = LINGERING.try_acquire() {
            tokio::spawn(async move {
                // The connection closes in any case, so the outcome does not matter.
                let _ = timeout(LINGER_TIMEOUT, discard(&mut body, LINGER_BYTES)).await;
                drop(permit);
            });
        }
        false
    }
}

fn replace<B>(rest: &Mutex<Rest<B>>, now: Rest<B>) -> Rest<B> {
    mem::replace(&mut rest.lock().unwrap_or_else(PoisonError::into_inner), now)
}

fn is_too_large(body: &impl HttpBody, max_bytes: usize) -> bool {
    body.size_hint().lower() > max_bytes as u64
}

/// Reads the body of a caller without a key. `None` if it does not arrive in time.
async fn read_public<B>(body: &mut B, max_bytes: usize) -> Option<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let mut reading = pin!(read(body, max_bytes));
    if let Ok(body) = timeout(AT_ONCE, &mut reading).await {
        return Some(body);
    }
    let Ok(_permit) = PUBLIC_BODIES.try_acquire() else { return Some(Body::TooMany) };
    timeout(PUBLIC_BODY_TIMEOUT, reading).await.ok()
}

async fn read<B>(body: &mut B, max_bytes: usize) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    // A body whose announced length is too large is not read; a client that expects `100 Continue`
    // does not send it.
    if is_too_large(body, max_bytes) {
        return Body::TooLarge;
    }
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Body::Read(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Body::TooLarge,
        Err(error) => {
            tracing::debug!(error, "a request's body was not read; its client got an error");
            Body::Unreadable
        }
    }
}

/// How discarding a body ended.
enum Discarded {
    /// At the body's end.
    All,
    /// At the limit of what is discarded.
    Part,
    /// At an error of the connection.
    Broken,
}

async fn discard(body: &mut (impl HttpBody<Data = Bytes> + Unpin), max_bytes: usize) -> Discarded {
    let mut left = max_bytes;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Discarded::Broken };
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(less) = left.checked_sub(length) else { return Discarded::Part };
        left = less;
    }
    Discarded::All
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::{Stream, StreamExt, stream};
    use http::HeaderValue;
    use http_body_util::{Empty, StreamBody};
    use hyper::body::Frame;

    use super::*;

    /// A body that arrives in parts of these lengths.
    fn pending(
        parts: impl Stream<Item = io::Result<usize>> + Send + Unpin + 'static,
    ) -> Pending<impl HttpBody<Data = Bytes, Error = io::Error> + Send + Unpin + 'static> {
        let frames = parts.map(|length| length.map(|length| Frame::data(vec![b'a'; length].into())));
        Pending::new(StreamBody::new(frames), &HeaderMap::new())
    }

    #[tokio::test]
    async fn body_is_read_once_and_another_request_can_follow() {
        let body = pending(stream::iter([Ok(3), Ok(4)]));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Read(bytes) if bytes.len() == 7));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Unreadable));
        let body = pending(stream::iter([Ok(3), Ok(4)]));
        body.source().read(Sender::Caller).await;
        assert!(body.discard_rest().await);
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_is_unreadable_and_ends_its_connection() {
        let body = pending(stream::iter([Ok(3)]).chain(stream::pending()));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Unreadable));
        assert!(!body.discard_rest().await);
    }

    #[tokio::test]
    async fn interrupted_body_is_unreadable_and_ends_its_connection() {
        let body = pending(stream::iter([Ok(3), Err(io::Error::other("broken off"))]));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Unreadable));
        assert!(!body.discard_rest().await);
    }

    #[tokio::test(start_paused = true)]
    async fn unread_body_is_discarded_within_limits() {
        assert!(Pending::new(Empty::new(), &HeaderMap::new()).discard_rest().await);
        assert!(pending(stream::iter([Ok(MAX_BODY_BYTES)])).discard_rest().await);
        assert!(!pending(stream::iter([Ok(MAX_BODY_BYTES), Ok(1)])).discard_rest().await, "too much");
        assert!(!pending(stream::pending()).discard_rest().await, "too slow");
    }

    /// A body of endless parts, and a weak pointer that shows whether the body still exists.
    fn endless(
        length: usize,
        pause: Duration,
    ) -> (Pending<impl HttpBody<Data = Bytes, Error = io::Error> + Send + Unpin + 'static>, std::sync::Weak<()>)
    {
        let held = Arc::new(());
        let watched = Arc::downgrade(&held);
        let parts = stream::unfold(held, move |held| async move {
            tokio::time::sleep(pause).await;
            Some((Ok(length), held))
        });
        (pending(Box::pin(parts)), watched)
    }

    #[tokio::test(start_paused = true)]
    async fn unread_body_is_read_for_a_bounded_time_after_the_response() {
        let (body, held) = endless(1, Duration::from_millis(100));
        assert!(!body.discard_rest().await);
        tokio::time::sleep(LINGER_TIMEOUT.mul_f64(0.9)).await;
        assert_eq!(held.strong_count(), 1, "the connection is still read");
        tokio::time::sleep(LINGER_TIMEOUT.mul_f64(0.2)).await;
        assert_eq!(held.strong_count(), 0, "and no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn unread_body_is_read_up_to_a_bound_after_the_response() {
        let (body, held) = endless(MAX_BODY_BYTES, Duration::from_millis(10));
        assert!(!body.discard_rest().await);
        tokio::time::sleep(LINGER_TIMEOUT / 2).await;
        assert_eq!(held.strong_count(), 0);
    }

    #[tokio::test]
    async fn unread_body_is_not_requested_with_100_continue() {
        let parts = Box::pin(stream::once(async { panic!("it was read") }));
        let headers = HeaderMap::from_iter([(header::EXPECT, HeaderValue::from_static("100-continue"))]);
        assert!(
            !Pending::new(
                StreamBody::<_>::new(parts.map(|()| io::Result::Ok(Frame::data(Bytes::new())))),
                &headers
            )
            .discard_rest()
            .await
        );
    }
}
