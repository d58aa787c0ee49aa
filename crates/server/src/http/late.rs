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

/// When the head of a late response is sent. The published SDK waits 30 s for each byte.
pub(crate) const LATE_AFTER: Duration = Duration::from_secs(15);

/// The pause between two bytes of white space.
const SPACE_INTERVAL: Duration = Duration::from_secs(5);

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
    deadline: ResponseDeadline,
}

impl ResponseBody {
    /// A body whose deadline begins now.
    pub(super) fn whole(body: Bytes, deadline: &ResponseDeadline) -> Self {
        Self::Whole(Some(deadline.begin(body)))
    }

    /// A body whose deadline begins when it is complete.
    pub(super) fn late(body: FutureBody, deadline: ResponseDeadline) -> Self {
        Self::Late(Late { body, next_space: Box::pin(sleep(Duration::ZERO)), deadline })
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
        late.next_space.as_mut().reset(Instant::now() + SPACE_INTERVAL);
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
    use std::future::pending;

    use http_body_util::BodyExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn late_body_follows_one_space_every_five_seconds() {
        let (sender, receiver) = oneshot::channel::<Bytes>();
        let body = Box::pin(async { receiver.await.unwrap() });
        let mut body = ResponseBody::late(body, ResponseDeadline::new());
        let started = Instant::now();
        for space in 0..3 {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), " ");
            assert_eq!(started.elapsed().as_secs(), space * 5);
        }
        sender.send(Bytes::from_static(b"{}")).unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "{}");
        assert_eq!(started.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_is_dropped_with_its_connection() {
        let (sender, receiver) = oneshot::channel::<()>();
        let body = Box::pin(async move {
            let _held = sender;
            pending().await
        });
        let mut body = ResponseBody::late(body, ResponseDeadline::new());
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert!(receiver.await.is_err());
    }
}
