//! One attempt at one event, in the hands of a worker.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hookline_proto::v1::{self, Attempt, Event, NackAction};
use tokio::sync::{oneshot, watch};

use crate::{
    LeaseError, Settled,
    book::{Book, Newer, Queued},
    clock,
    convert::wire_duration,
    error, limits,
    lost::Lost,
    outbox::Outcome,
    shared::{Shared, Verdict, nack},
};

/// One attempt at one event. Say what became of it with [`ack`](Self::ack), [`nack`](Self::nack) or
/// one of their kin; what is dropped without a word is given back to the hub, uncounted.
///
/// The lease behind it is extended for as long as this value lives, so the work may take longer
/// than the subscription's `lease_duration`, up to its `max_lease`.
///
/// Events come at least once: key side effects by subscription and event id.
pub struct Delivery {
    message: v1::Delivery,
    event: Event,
    ticket: Ticket,
    newer: watch::Receiver<Newer>,
}

/// How a worker says that an event failed.
///
/// ```
/// use std::time::Duration;
/// let nack = hookline_client::Nack::new("the API's limit was reached")
///     .error_type("rate_limit")
///     .retry_after(Duration::from_secs(60));
/// assert_eq!(nack.reason, "the API's limit was reached");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nack {
    /// Why, for people; cut at 4 KiB.
    pub reason: String,
    /// The class of the error, for grouping; cut at 256 bytes.
    pub error_type: String,
    /// How long to wait before the next attempt, instead of the backoff; the hub cuts it to 24 h.
    pub retry_after: Option<Duration>,
    /// What to do; unset means [`NackAction::Retry`].
    pub action: NackAction,
}

impl Nack {
    /// Makes a nack that asks for another attempt after the backoff.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), action: NackAction::Retry, ..Self::default() }
    }

    /// Sets the class of the error.
    #[must_use]
    pub fn error_type(mut self, error_type: impl Into<String>) -> Self {
        self.error_type = error_type.into();
        self
    }

    /// Sets how long to wait before the next attempt.
    #[must_use]
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Sets what to do.
    #[must_use]
    pub const fn action(mut self, action: NackAction) -> Self {
        self.action = action;
        self
    }
}

impl Delivery {
    pub(crate) fn new(queued: Queued, shared: Arc<Shared>) -> Self {
        let Queued { mut message, lost, newer } = queued;
        let event = message.event.take().unwrap_or_default();
        let lease_id = message.lease_id.as_str().into();
        let settled = Arc::new(AtomicBool::new(false));
        let ticket = Ticket { lease_id, lost, settled, shared, releases: true };
        Self { message, event, ticket, newer }
    }

    /// Returns the event.
    #[must_use]
    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// Returns the event's subject, `<source>/<event_type>`, such as `github/pull_request.opened`.
    #[must_use]
    pub fn subject(&self) -> String {
        crate::subject(&self.event)
    }

    /// Reads the payload as JSON. A payload above the subscription's `max_payload_bytes` was left
    /// out: then `GetEvent` brings it.
    ///
    /// # Errors
    /// If the payload is not JSON of this shape, or was not sent.
    ///
    /// ```no_run
    /// # fn example(delivery: &hookline_client::Delivery) -> Result<(), Box<dyn std::error::Error>> {
    /// #[derive(serde::Deserialize)]
    /// struct PullRequestEvent {
    ///     number: u64,
    /// }
    /// let event: PullRequestEvent = delivery.payload_json()?;
    /// println!("#{}", event.number);
    /// # Ok(())
    /// # }
    /// ```
    pub fn payload_json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.event.payload)
    }

    /// Returns the place of this attempt in a trace (W3C Trace Context), for spans of your own to hang
    /// below; `None` if the event belongs to no trace.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        Some(self.message.traceparent.as_str()).filter(|text| !text.is_empty())
    }

    /// Returns the number of this attempt, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.message.attempt
    }

    /// Returns how many attempts may fail before the event is a dead letter.
    #[must_use]
    pub const fn max_attempts(&self) -> u32 {
        self.message.max_attempts
    }

    /// Returns the attempts before this one, newest last, at most 20.
    #[must_use]
    pub fn previous_attempts(&self) -> &[Attempt] {
        &self.message.previous_attempts
    }

    /// Returns the newest 100 ids of the events that were coalesced into this one.
    #[must_use]
    pub fn superseded(&self) -> &[String] {
        &self.message.superseded
    }

    /// Returns how many events were coalesced into this one.
    #[must_use]
    pub const fn superseded_count(&self) -> u64 {
        self.message.superseded_count
    }

    /// Returns what an earlier attempt has saved with [`save`](Self::save); empty: nothing.
    #[must_use]
    pub fn checkpoint(&self) -> &[u8] {
        &self.message.checkpoint
    }

    /// Returns what has come of this event's resource since it was handed out: on a subscription with
    /// `ordering` or `coalesce` only, where newer events wait for this one.
    #[must_use]
    pub fn newer(&self) -> Newer {
        *self.newer.borrow()
    }

    /// Waits until the event's resource has newer events, and returns what has come: work that is out
    /// of date may want to stop. Never ends if none come.
    pub fn outdated(&self) -> impl Future<Output = Newer> + Send + use<> {
        let mut newer = self.newer.clone();
        async move {
            let told = newer.wait_for(|newer| newer.count > 0).await.map(|newer| *newer);
            match told {
                Ok(newer) => newer,
                // The lease is over: nothing is told about it any more.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Returns the id of the lease: opaque, and not a credential.
    #[must_use]
    pub fn lease_id(&self) -> &str {
        &self.ticket.lease_id
    }

    /// Returns how long the lease still lasts if it is not extended, by the steady clock of this
    /// machine; `None` once it is lost. The library extends it long before this is zero.
    #[must_use]
    pub fn lease_remaining(&self) -> Option<Duration> {
        let deadline = self.ticket.shared.book.lock().deadline(&self.ticket.lease_id)?;
        Some(deadline.saturating_duration_since(clock::now()))
    }

    /// Says that the event is done. Queued at once and sent in a batch; the future waits until the
    /// hub has made it durable. Dropping the future takes nothing back.
    ///
    /// # Errors
    /// [`LeaseError`], from the future, if the ack is not in force or not known to be.
    pub fn ack(self) -> Settling {
        self.ticket.settle(Verdict::Ack)
    }

    /// Says that this attempt failed: the event comes again after the backoff, or is a dead letter
    /// after the last attempt. Queued at once, as [`ack`](Self::ack).
    ///
    /// # Errors
    /// [`LeaseError`], from the future, if the nack is not in force or not known to be.
    pub fn nack(self, reason: impl Into<String>) -> Settling {
        settle_with(&self.ticket, Nack::new(reason))
    }

    /// Says that this attempt failed, and what to do about it. Queued at once, as
    /// [`ack`](Self::ack).
    ///
    /// # Errors
    /// [`LeaseError`], from the future, if the nack is not in force or not known to be.
    pub fn nack_with(self, nack: Nack) -> Settling {
        settle_with(&self.ticket, nack)
    }

    /// Gives the event up: it becomes a dead letter now. Queued at once, as [`ack`](Self::ack).
    ///
    /// # Errors
    /// [`LeaseError`], from the future, if this is not in force or not known to be.
    pub fn dead_letter(self, reason: impl Into<String>) -> Settling {
        settle_with(&self.ticket, Nack::new(reason).action(NackAction::DeadLetter))
    }

    /// Gives the event back, for somebody else at once; the attempt is not counted. Queued at once,
    /// as [`ack`](Self::ack). Dropping the delivery does the same.
    ///
    /// # Errors
    /// [`LeaseError`], from the future, if this is not in force or not known to be.
    pub fn release(self) -> Settling {
        settle_with(&self.ticket, Nack::new("").action(NackAction::Release))
    }

    /// Asks for this much time from now, with a word about the progress (cut at 1 KiB; empty:
    /// none), and waits for the answer. Only needed for more than the library asks for by itself:
    /// never shortens the lease.
    ///
    /// # Errors
    /// [`LeaseError`] if the lease is over, or if there was no answer.
    pub async fn extend(
        &self,
        duration: Duration,
        progress: impl Into<String>,
    ) -> Result<(), LeaseError> {
        let extension = v1::LeaseExtension {
            lease_id: self.ticket.lease_id.to_string(),
            duration: Some(wire_duration(duration)),
            progress: error::cut(progress.into(), limits::PROGRESS_BYTES_MAX),
            checkpoint: None,
        };
        self.ticket.shared.extend_one(extension).await
    }

    /// Saves something of the work, at most 64 KiB, in place of what was saved before: the next
    /// attempt gets it as its [`checkpoint`](Self::checkpoint), if this one does not end with an ack.
    /// Durable when it returns; it extends the lease too.
    ///
    /// # Errors
    /// [`LeaseError`] if the lease is over, if it is too large, or if there was no answer.
    pub async fn save(&self, checkpoint: impl Into<Bytes>) -> Result<(), LeaseError> {
        let extension = v1::LeaseExtension {
            lease_id: self.ticket.lease_id.to_string(),
            checkpoint: Some(checkpoint.into()),
            ..v1::LeaseExtension::default()
        };
        self.ticket.shared.extend_one(extension).await
    }

    /// Says how far the work is, for people who look at the hub; cut at 1 KiB. Sent in the
    /// background with an extension of the lease.
    pub fn progress(&self, text: impl Into<String>) {
        let text = error::cut(text.into(), limits::PROGRESS_BYTES_MAX);
        let Ticket { shared, lease_id, .. } = &self.ticket;
        shared.book.lock().progress(lease_id, text, clock::now());
        shared.leases.notify_one();
    }

    /// Waits until the lease is lost, and returns why. Work that can be stopped should be: the
    /// event may be with somebody else already.
    ///
    /// ```no_run
    /// # async fn work() {}
    /// # async fn example(delivery: hookline_client::Delivery) {
    /// tokio::select! {
    ///     () = work() => drop(delivery.ack().await),
    ///     reason = delivery.lost() => eprintln!("stopped: {reason}"),
    /// }
    /// # }
    /// ```
    pub fn lost(&self) -> impl Future<Output = String> + Send + use<> {
        self.ticket.lost.clone().wait()
    }

    /// Returns whether the lease is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.ticket.lost.reason().is_some()
    }

    /// Splits off a second ticket, which then is the one that gives back what is not settled.
    pub(crate) fn split(&mut self) -> Ticket {
        self.ticket.releases = false;
        let Ticket { lease_id, lost, settled, shared, .. } = &self.ticket;
        Ticket {
            lease_id: Arc::clone(lease_id),
            lost: lost.clone(),
            settled: Arc::clone(settled),
            shared: Arc::clone(shared),
            releases: true,
        }
    }
}

/// An ack or a nack on its way to the hub. It gets there whether or not this future is polled; its
/// output is what the hub said about it.
///
/// # Errors
/// [`LeaseError`] if it is not in force, or not known to be.
#[derive(Debug)]
#[must_use = "without the outcome nobody knows whether it is in force; `drop` it if that is fine"]
pub struct Settling(Result<oneshot::Receiver<Outcome>, Option<LeaseError>>);

impl Future for Settling {
    type Output = Result<Settled, LeaseError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(outcome) => {
                let outcome = ready!(Pin::new(outcome).poll(context));
                Poll::Ready(outcome.unwrap_or(Err(LeaseError::Closed)))
            }
            Err(error) => Poll::Ready(Err(error.take().unwrap_or(LeaseError::Closed))),
        }
    }
}

impl fmt::Debug for Delivery {
    /// Leaves the payload out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("event_id", &self.event.id)
            .field("subject", &self.subject())
            .field("attempt", &self.message.attempt)
            .field("lease_id", &self.ticket.lease_id)
            .finish_non_exhaustive()
    }
}

fn settle_with(ticket: &Ticket, with: Nack) -> Settling {
    let Nack { reason, error_type, retry_after, action } = with;
    let retry_after = retry_after.map(wire_duration);
    let nack = nack(&ticket.lease_id, action, reason, error_type);
    ticket.settle(Verdict::Nack(v1::Nack { retry_after, ..nack }))
}

/// The right to settle one lease, once.
#[derive(Debug)]
pub(crate) struct Ticket {
    lease_id: Arc<str>,
    lost: Lost,
    settled: Arc<AtomicBool>,
    shared: Arc<Shared>,
    /// Whether dropping this ticket gives back what is not settled.
    releases: bool,
}

impl Ticket {
    /// Queues the verdict at once; the future waits for its outcome.
    fn settle(&self, verdict: Verdict) -> Settling {
        if self.begin() {
            let outcome = self.shared.settle(&self.lease_id, verdict);
            self.finish();
            Settling(Ok(outcome))
        } else {
            let message = "its handler returned before".to_owned();
            Settling(Err(Some(LeaseError::Conflict { message })))
        }
    }

    /// Queues an ack unless the worker has settled the lease itself.
    pub(crate) fn ack(&self) {
        if self.begin() {
            self.shared.settle_unheard(&self.lease_id, Verdict::Ack);
            self.finish();
        }
    }

    /// Queues a nack unless the worker has settled the lease itself.
    pub(crate) fn nack(&self, reason: String, error_type: String) {
        if self.begin() {
            let nack = nack(&self.lease_id, NackAction::Retry, reason, error_type);
            self.shared.settle_unheard(&self.lease_id, Verdict::Nack(nack));
            self.finish();
        }
    }

    /// Returns whether this is the first to settle the lease. The caller then settles it.
    fn begin(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }

    /// Notes that this worker is done, only after its word is queued: somebody may wait for the last
    /// worker.
    fn finish(&self) {
        self.shared.change(Book::finish);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.releases || !self.begin() {
            return;
        }
        // Of a lost lease there is nothing to give back.
        if self.lost.reason().is_none() {
            self.shared.release(vec![self.lease_id.to_string()]);
        }
        self.finish();
    }
}
