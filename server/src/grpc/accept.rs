//! Connections as they come in: one that can't be accepted does not keep the hub busy.

use std::{
    fmt::Display,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio::time::{Sleep, sleep};

use crate::limits::ACCEPT_PAUSE;

/// A stream that pauses after an error, and goes on. Where no file descriptors are free, an accept fails at once, and so
/// does the next one.
#[derive(Debug)]
pub(super) struct Patient<S> {
    connections: S,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(connections: S) -> Self {
        Self { connections, pause: None }
    }
}

impl<S, C, E> Stream for Patient<S>
where
    S: Stream<Item = Result<C, E>> + Unpin,
    E: Display,
{
    type Item = Result<C, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(Pin::new(&mut self.connections).poll_next(cx)) {
                Some(Err(error)) => {
                    tracing::warn!(%error, "accepting a connection for gRPC");
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
                connection @ (Some(Ok(_)) | None) => return Poll::Ready(connection),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_accept_that_fails_is_tried_again_after_a_pause() {
        let accepted = stream::iter([Ok(1), Err("no file"), Err("no file"), Ok(2)]);
        let mut patient = Patient::new(accepted);
        assert_eq!(patient.next().await, Some(Ok(1)));
        let soon = timeout(ACCEPT_PAUSE - Duration::from_millis(1), patient.next()).await;
        assert!(soon.is_err(), "{soon:?}");
        assert_eq!(patient.next().await, Some(Ok(2)));
        assert_eq!(patient.next().await, None);
    }
}
