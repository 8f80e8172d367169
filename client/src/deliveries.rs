//! The stream of deliveries of one subscription.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use hookline_proto::v1::{Ready, SubscribeRequest};
use tokio_util::task::TaskTracker;

use crate::{
    Delivery, Error,
    book::{Closing, Read},
    keeper,
    session::Session,
    shared::Shared,
};

/// The deliveries of one subscription to one consumer, as a [`Stream`].
///
/// Keeps its leases alive, reconnects under the same consumer name when the connection breaks, and
/// ends only when that makes no sense: the subscription was deleted, another process took over the
/// name, or the hub refuses. After an error the stream is over.
///
/// Dropping it closes the stream and gives back what was not begun, in the background; what is still
/// being worked on can be settled afterwards. [`close`](Self::close) waits for all of it.
pub struct Deliveries {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    closing: Closing,
    ready: Ready,
    pub(crate) stop_grace: Duration,
}

impl Deliveries {
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        request: SubscribeRequest,
        patience: Duration,
        stop_grace: Duration,
    ) -> Result<Self, Error> {
        let mut session = Session::new(Arc::clone(&shared), request);
        let (ready, stream) = session.begin(patience).await?;
        for field in &ready.ignored_fields {
            tracing::warn!(
                subscription = ready.subscription,
                field,
                "the subscription exists with another value, which stays in force"
            );
        }
        let closing = session.closing();
        let tasks = TaskTracker::new();
        tasks.spawn(session.run(stream));
        tasks.spawn(keeper::extend(Arc::clone(&shared)));
        tasks.spawn(keeper::settle::<String>(Arc::clone(&shared)));
        tasks.spawn(keeper::settle::<hookline_proto::v1::Nack>(Arc::clone(&shared)));
        tasks.close();
        Ok(Self { shared, tasks, closing, ready, stop_grace })
    }

    /// Returns what the hub said when the stream was opened: the subscription's name, the policy in
    /// force, where it stands in the log, and which fields of the request were ignored.
    #[must_use]
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Returns the name of the consumer.
    #[must_use]
    pub fn consumer(&self) -> &str {
        &self.ready.consumer
    }

    /// Waits for the next delivery; `None` after the stream has ended.
    ///
    /// # Errors
    /// Why the stream ended, once.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Stops: takes nothing more, gives back what was not begun, and waits until every delivery that
    /// is still being worked on is settled or dropped and the hub has confirmed it. A hub that does
    /// not answer is waited for as long as the builder's `settle_timeout`.
    ///
    /// ```no_run
    /// # async fn example(mut deliveries: hookline_client::Deliveries) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(delivery) = deliveries.next().await {
    ///     drop(delivery?.ack()); // queued; `close` waits for it
    /// }
    /// deliveries.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(self) {
        self.stop_taking();
        self.tasks.wait().await;
    }

    pub(crate) fn stop_taking(&self) {
        self.shared.close(self.closing);
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.shared.poll_read(context)) {
            Read::Delivery(queued) => Some(Ok(Delivery::new(*queued, Arc::clone(&self.shared)))),
            Read::Failed(error) => Some(Err(error)),
            Read::Ended | Read::Empty => None,
        })
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.stop_taking();
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("subscription", &self.ready.subscription)
            .field("consumer", &self.ready.consumer)
            .finish_non_exhaustive()
    }
}
