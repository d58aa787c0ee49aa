//! A request's body: read if somebody asks for it, thrown away if nobody does.

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

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long somebody without a key may take to send a body.
const PUBLIC_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long somebody without a key may take without one of the [`PUBLIC_BODIES`]: what is sent all at once needs none.
const AT_ONCE: Duration = Duration::from_millis(250);

/// How many bodies of callers without a key may be unfinished at one time.
static PUBLIC_BODIES: Semaphore = Semaphore::const_new(64);

/// How many connections may be read on at one time after their answer is sent. A small part of all connections, so that
/// callers who never send what they announced keep out nobody.
static LINGERING: Semaphore = Semaphore::const_new(128);

/// How long an answer waits for the rest of a body that nobody reads, so that another request may follow on the connection.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the rest of a body is read on after the answer is sent. Many clients send all of a request before they look for
/// the answer. If the server closed the connection, they would see it reset instead of the answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a body is read on after the answer is sent.
const LINGER_BYTES: usize = 64 * MAX_BODY_BYTES;

/// What is still to come of a body.
enum Left<B> {
    /// This.
    Some(B),
    /// Nothing: it was read to its end.
    Nothing,
    /// That cannot be known: it is being read, or could not be.
    Unknown,
}

/// A body that came with a request and may not have been sent yet.
pub(super) struct Pending<B> {
    left: Arc<Mutex<Left<B>>>,
    /// The client waits to be told that the body is wanted.
    asks_first: bool,
}

impl<B> Pending<B>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    pub(super) fn new(body: B, headers: &HeaderMap) -> Self {
        let asks_first = headers.contains_key(header::EXPECT);
        Self { left: Arc::new(Mutex::new(Left::Some(body))), asks_first }
    }

    /// The body, for whoever decides whether it is read.
    pub(super) fn source(&self) -> BodySource {
        let left = Arc::clone(&self.left);
        BodySource::new(move |sender| async move {
            let Left::Some(mut body) = replace(&left, Left::Unknown) else { return Body::Unreadable };
            let outcome = match sender {
                Sender::Caller => timeout(BODY_TIMEOUT, read(&mut body, sender.max_bytes())).await.ok(),
                Sender::Stranger => read_of_stranger(&mut body, sender.max_bytes()).await,
            };
            let rest = match (&outcome, sender) {
                (Some(Body::Read(_)), _) => Left::Nothing,
                (Some(Body::TooLarge), _) | (None, Sender::Caller) => Left::Some(body),
                _ => Left::Unknown,
            };
            replace(&left, rest);
            outcome.unwrap_or(Body::Unreadable)
        })
    }

    /// Takes what was not read off the connection, without keeping it. Returns whether the end was reached, so that another
    /// request may follow. If it was not, a task goes on reading for a bounded time, so that the client gets to read its
    /// answer.
    pub(super) async fn discard_rest(self) -> bool {
        let mut body = match replace(&self.left, Left::Unknown) {
            Left::Nothing => return true,
            Left::Some(body) if body.is_end_stream() => return true,
            Left::Some(body) => body,
            Left::Unknown => return false,
        };
        // Reading would have the client send what is not wanted.
        if self.asks_first {
            return false;
        }
        if !is_too_large(&body, MAX_BODY_BYTES) {
            match timeout(DISCARD_TIMEOUT, discard(&mut body, MAX_BODY_BYTES)).await {
                Ok(Discarded::All) => return true,
                Ok(Discarded::Broken) => return false,
                Ok(Discarded::Part) | Err(_) => {}
            }
        }
        if let Ok(place) = LINGERING.try_acquire() {
            tokio::spawn(async move {
                // Whether it came to its end does not matter any more.
                let _ = timeout(LINGER_TIMEOUT, discard(&mut body, LINGER_BYTES)).await;
                drop(place);
            });
        }
        false
    }
}

fn replace<B>(left: &Mutex<Left<B>>, now: Left<B>) -> Left<B> {
    mem::replace(&mut left.lock().unwrap_or_else(PoisonError::into_inner), now)
}

fn is_too_large(body: &impl HttpBody, max_bytes: usize) -> bool {
    body.size_hint().lower() > max_bytes as u64
}

/// Reads a body that anybody may send. `None` if it does not come in time.
async fn read_of_stranger<B>(body: &mut B, max_bytes: usize) -> Option<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let mut reading = pin!(read(body, max_bytes));
    if let Ok(body) = timeout(AT_ONCE, &mut reading).await {
        return Some(body);
    }
    let Ok(_place) = PUBLIC_BODIES.try_acquire() else { return Some(Body::TooMany) };
    timeout(PUBLIC_BODY_TIMEOUT, reading).await.ok()
}

async fn read<B>(body: &mut B, max_bytes: usize) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    // A body that is said to be too large is not waited for; after `Expect: 100-continue` it is not even sent.
    if is_too_large(body, max_bytes) {
        return Body::TooLarge;
    }
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Body::Read(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Body::TooLarge,
        Err(error) => {
            tracing::debug!(error, "a body could not be read");
            Body::Unreadable
        }
    }
}

/// How far discarding a body came.
enum Discarded {
    /// To its end.
    All,
    /// To the most that is discarded.
    Part,
    /// To where it broke off.
    Broken,
}

async fn discard(body: &mut (impl HttpBody<Data = Bytes> + Unpin), most: usize) -> Discarded {
    let mut left = most;
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

    /// A body that comes in parts of these lengths.
    fn pending(
        parts: impl Stream<Item = io::Result<usize>> + Send + Unpin + 'static,
    ) -> Pending<impl HttpBody<Data = Bytes, Error = io::Error> + Send + Unpin + 'static> {
        let frames = parts.map(|length| length.map(|length| Frame::data(vec![b'a'; length].into())));
        Pending::new(StreamBody::new(frames), &HeaderMap::new())
    }

    #[tokio::test]
    async fn a_body_is_read_once_and_another_request_may_follow() {
        let body = pending(stream::iter([Ok(3), Ok(4)]));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Read(bytes) if bytes.len() == 7));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Unreadable));
        let body = pending(stream::iter([Ok(3), Ok(4)]));
        body.source().read(Sender::Caller).await;
        assert!(body.discard_rest().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_in_time_is_unreadable_and_the_last_of_its_connection() {
        let body = pending(stream::iter([Ok(3)]).chain(stream::pending()));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Unreadable));
        assert!(!body.discard_rest().await);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_unreadable_and_the_last_of_its_connection() {
        let body = pending(stream::iter([Ok(3), Err(io::Error::other("broken off"))]));
        assert!(matches!(body.source().read(Sender::Caller).await, Body::Unreadable));
        assert!(!body.discard_rest().await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_is_thrown_away_within_limits() {
        assert!(Pending::new(Empty::new(), &HeaderMap::new()).discard_rest().await);
        assert!(pending(stream::iter([Ok(MAX_BODY_BYTES)])).discard_rest().await);
        assert!(!pending(stream::iter([Ok(MAX_BODY_BYTES), Ok(1)])).discard_rest().await, "too much");
        assert!(!pending(stream::pending()).discard_rest().await, "too slow");
    }

    /// A body of endless parts, and a number that is 1 while somebody holds it.
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
    async fn the_rest_of_a_body_is_read_on_after_the_answer_for_a_bounded_time() {
        let (body, held) = endless(1, Duration::from_millis(100));
        assert!(!body.discard_rest().await);
        tokio::time::sleep(LINGER_TIMEOUT.mul_f64(0.9)).await;
        assert_eq!(held.strong_count(), 1, "the connection is still read");
        tokio::time::sleep(LINGER_TIMEOUT.mul_f64(0.2)).await;
        assert_eq!(held.strong_count(), 0, "and no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_is_read_on_after_the_answer_up_to_a_bounded_size() {
        let (body, held) = endless(MAX_BODY_BYTES, Duration::from_millis(10));
        assert!(!body.discard_rest().await);
        tokio::time::sleep(LINGER_TIMEOUT / 2).await;
        assert_eq!(held.strong_count(), 0);
    }

    #[tokio::test]
    async fn what_nobody_reads_is_not_asked_for() {
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
