//! What the handles and the tasks of one subscription share, and the calls that they make.

use std::{future::Future, sync::Arc, task::Poll, time::Duration};

use hookline_proto::v1::{self, subscriber_service_client::SubscriberServiceClient};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Error, LeaseError, Transport,
    backoff::Backoff,
    book::{Book, Closing, Read},
    clock, error, limits,
    outbox::{Outcome, Waiting},
};

/// One subscription of this process.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) hub: SubscriberServiceClient<Transport>,
    pub(crate) book: Mutex<Book>,
    /// An ack waits to be sent.
    pub(crate) acks: Notify,
    /// A nack waits to be sent.
    pub(crate) nacks: Notify,
    /// A lease may be due earlier than the extender thinks.
    pub(crate) leases: Notify,
    /// The stream is to be closed.
    pub(crate) stream_done: CancellationToken,
    /// Nothing is left to be extended or sent.
    pub(crate) all_done: CancellationToken,
    settle_timeout: Duration,
}

/// What a worker says about its lease.
#[derive(Debug)]
pub(crate) enum Verdict {
    Ack,
    Nack(v1::Nack),
}

impl Verdict {
    /// Whether the event is to be delivered once more.
    fn comes_again(&self) -> bool {
        match self {
            Self::Ack => false,
            Self::Nack(nack) => nack.action() != v1::NackAction::DeadLetter,
        }
    }
}

impl Shared {
    pub(crate) fn new(
        hub: SubscriberServiceClient<Transport>,
        settle_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            book: Mutex::default(),
            acks: Notify::new(),
            nacks: Notify::new(),
            leases: Notify::new(),
            stream_done: CancellationToken::new(),
            all_done: CancellationToken::new(),
            settle_timeout,
        })
    }

    /// Changes the book, then wakes whom the change concerns.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let (result, reader) = {
            let mut book = self.book.lock();
            let result = change(&mut book);
            if book.stream_is_done() {
                self.stream_done.cancel();
            }
            if book.is_done() {
                self.all_done.cancel();
            }
            (result, book.take_reader())
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }

    /// Reads the next delivery, or has the task woken when there may be one.
    pub(crate) fn poll_read(&self, context: &std::task::Context<'_>) -> Poll<Read> {
        let mut book = self.book.lock();
        match book.read() {
            Read::Empty => {
                book.reader = Some(context.waker().clone());
                Poll::Pending
            }
            read @ (Read::Delivery(_) | Read::Failed(_) | Read::Ended) => Poll::Ready(read),
        }
    }

    /// Queues an ack or nack; the receiver gets its outcome.
    pub(crate) fn settle(&self, lease_id: &str, verdict: Verdict) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.queue(lease_id, verdict, Some(reply));
        outcome
    }

    /// Queues an ack or nack whose outcome nobody waits for; a failure is logged.
    pub(crate) fn settle_unheard(&self, lease_id: &str, verdict: Verdict) {
        self.queue(lease_id, verdict, None);
    }

    fn queue(&self, lease_id: &str, verdict: Verdict, reply: Option<oneshot::Sender<Outcome>>) {
        let (now, timeout) = (clock::now(), self.settle_timeout);
        let notify = self.change(|book| {
            book.begin_settling(lease_id, verdict.comes_again());
            match verdict {
                Verdict::Ack => {
                    book.acks.push(Waiting::new(lease_id.to_owned(), reply, now, timeout));
                    &self.acks
                }
                Verdict::Nack(nack) => {
                    book.nacks.push(Waiting::new(nack, reply, now, timeout));
                    &self.nacks
                }
            }
        });
        notify.notify_one();
    }

    /// Gives back leases of which nobody has begun the work.
    pub(crate) fn release(&self, lease_ids: Vec<String>) {
        for lease_id in lease_ids {
            let nack = nack(&lease_id, v1::NackAction::Release, String::new(), String::new());
            self.settle_unheard(&lease_id, Verdict::Nack(nack));
        }
    }

    /// Takes nothing more, and has the stream closed.
    pub(crate) fn close(&self, closing: Closing) {
        self.change(|book| book.close(closing, clock::now()));
        self.leases.notify_one();
    }

    /// Notes that the stream has ended for good, gives back what nobody has begun, and lets the
    /// tasks end when what is being worked on is settled. Not before: as long as this consumer holds
    /// as much as it may, the hub sends it nothing more.
    pub(crate) fn end(&self, error: Option<Error>, closing: Closing) {
        let queued = self.change(|book| {
            book.close(closing, clock::now());
            book.take_queue()
        });
        self.release(queued);
        self.change(|book| book.end(error));
        self.leases.notify_one();
    }

    /// Extends leases in one call (or in several, above 1,000) and notes what became of each.
    pub(crate) async fn extend(&self, extensions: Vec<v1::LeaseExtension>) -> Result<(), Status> {
        let mut result = Ok(());
        for batch in extensions.chunks(limits::BATCH_COUNT_MAX) {
            let request = v1::ExtendLeaseRequest { extensions: batch.to_vec() };
            match in_time(self.hub.clone().extend_lease(request)).await {
                Ok(response) => self.note_extended(response.into_inner().results),
                Err(status) => {
                    let at = clock::now() + limits::RETRY_DELAY_MAX / 2;
                    self.change(|book| {
                        batch.iter().for_each(|item| book.extend_again(&item.lease_id, at));
                    });
                    result = Err(status);
                }
            }
        }
        result
    }

    fn note_extended(&self, results: Vec<v1::ExtendResult>) {
        let now = clock::now();
        self.change(|book| {
            for result in results {
                match result.outcome() {
                    v1::Outcome::Applied | v1::Outcome::AlreadyApplied => {
                        book.extended(&result.lease_id, result.lease_expires_at, now);
                    }
                    v1::Outcome::Stale | v1::Outcome::Conflict | v1::Outcome::Invalid => {
                        book.lose(&result.lease_id, &result.message);
                    }
                    v1::Outcome::Retry | v1::Outcome::Unspecified => {
                        book.extend_again(&result.lease_id, now + limits::RETRY_DELAY_MAX / 2);
                    }
                }
            }
        });
    }

    /// Extends one lease now, on behalf of its worker, and says what became of it.
    pub(crate) async fn extend_one(&self, extension: v1::LeaseExtension) -> Result<(), LeaseError> {
        let started = clock::now();
        let mut backoff = Backoff::new(limits::RETRY_DELAY_MIN, limits::RETRY_DELAY_MAX);
        loop {
            let request = v1::ExtendLeaseRequest { extensions: vec![extension.clone()] };
            let failure = match in_time(self.hub.clone().extend_lease(request)).await {
                Ok(response) => {
                    let results = response.into_inner().results;
                    let first = results.first().cloned().unwrap_or_default();
                    self.note_extended(results);
                    let message = first.message.clone();
                    match first.outcome() {
                        v1::Outcome::Applied | v1::Outcome::AlreadyApplied => return Ok(()),
                        v1::Outcome::Stale => return Err(LeaseError::Stale { message }),
                        v1::Outcome::Conflict => return Err(LeaseError::Conflict { message }),
                        v1::Outcome::Invalid => return Err(LeaseError::Invalid { message }),
                        v1::Outcome::Retry | v1::Outcome::Unspecified => None,
                    }
                }
                Err(status) if error::is_passing(status.code()) => Some(Box::new(status)),
                Err(status) => return Err(LeaseError::Refused { source: Box::new(status) }),
            };
            let waited = clock::now().saturating_duration_since(started);
            if waited >= self.settle_timeout {
                return Err(LeaseError::TimedOut { waited, source: failure });
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Makes a nack within the limits of the contract.
pub(crate) fn nack(
    lease_id: &str,
    action: v1::NackAction,
    reason: String,
    error_type: String,
) -> v1::Nack {
    v1::Nack {
        lease_id: lease_id.to_owned(),
        reason: error::cut(reason, limits::REASON_BYTES_MAX),
        error_type: error::cut(error_type, limits::ERROR_TYPE_BYTES_MAX),
        retry_after: None,
        action: action.into(),
    }
}

/// Waits for a call as long as one may take.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("the hub did not answer in time");
    tokio::time::timeout(limits::CALL_TIMEOUT, call).await.map_err(late)?
}
