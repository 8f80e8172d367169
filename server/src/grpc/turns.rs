//! Answers that let others work: one that has much to give stops now and then, so that what it gave is sent meanwhile.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use crate::limits::STREAM_TURN_BYTES;

/// A body that ends its task's turn after [`STREAM_TURN_BYTES`].
#[derive(Debug)]
pub(super) struct Turns<B> {
    body: B,
    /// How many bytes it gave in this turn.
    given: usize,
}

impl<B> Turns<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, given: 0 }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Turns<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, given } = self.get_mut();
        if STREAM_TURN_BYTES <= *given {
            *given = 0;
            // Behind the task that sends, which was woken by what was given.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = Pin::new(body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                *given += frame.data_ref().map_or(0, |data| data.remaining());
            }
            Poll::Ready(Some(Err(_)) | None) => {}
            // Its turn ends for want of more.
            Poll::Pending => *given = 0,
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    const PARTS: usize = 4;

    fn endless_but(turns: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frame = |_| Ok(Frame::data(Bytes::from(vec![0; STREAM_TURN_BYTES / PARTS])));
        Turns::new(StreamBody::new(stream::iter((0..turns * PARTS).map(frame))))
    }

    #[test]
    fn a_body_stops_after_so_many_bytes() {
        let (mut body, mut turns, mut given) = (endless_but(3), Vec::new(), 0);
        loop {
            match body.frame().now_or_never() {
                None => turns.push(std::mem::take(&mut given)),
                Some(Some(_)) => given += 1,
                Some(None) => break,
            }
        }
        assert_eq!(turns, [PARTS; 3]);
    }

    #[tokio::test]
    async fn a_body_goes_on_by_itself() {
        let all = endless_but(3).collect().await.unwrap().to_bytes();
        assert_eq!(all.len(), 3 * STREAM_TURN_BYTES);
    }
}
