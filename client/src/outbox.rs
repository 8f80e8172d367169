//! Acks and nacks that wait to be sent, each with somebody who waits for its outcome.

use std::{collections::VecDeque, time::Duration};

use hookline_proto::v1;
use tokio::{sync::oneshot, time::Instant};

use crate::{LeaseError, limits};

/// What became of an ack or a nack that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is done, and durable.
    Applied,
    /// This lease said just that before: an earlier try got through, and its answer was lost.
    AlreadyApplied,
}

/// What a waiter is told.
pub(crate) type Outcome = Result<Settled, LeaseError>;

/// An ack or nack in the form of the wire.
pub(crate) trait Settlement: Clone {
    /// The lease that it settles.
    fn lease_id(&self) -> &str;
    /// Its size on the wire, roughly.
    fn weight(&self) -> usize;
}

impl Settlement for String {
    fn lease_id(&self) -> &str {
        self
    }

    fn weight(&self) -> usize {
        self.len()
    }
}

impl Settlement for v1::Nack {
    fn lease_id(&self) -> &str {
        &self.lease_id
    }

    fn weight(&self) -> usize {
        self.lease_id.len() + self.reason.len() + self.error_type.len()
    }
}

/// One ack or nack on its way.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    pub(crate) what: T,
    since: Instant,
    timeout: Duration,
    reply: Option<oneshot::Sender<Outcome>>,
    failure: Option<Box<tonic::Status>>,
}

impl<T: Settlement> Waiting<T> {
    pub(crate) const fn new(
        what: T,
        reply: Option<oneshot::Sender<Outcome>>,
        now: Instant,
        timeout: Duration,
    ) -> Self {
        Self { what, since: now, timeout, reply, failure: None }
    }

    /// Tells the one who waits. An outcome that nobody waits for is told to the log.
    pub(crate) fn answer(self, outcome: Outcome) {
        match (self.reply, outcome) {
            // Who dropped the receiver does not want to know.
            (Some(reply), outcome) => drop(reply.send(outcome)),
            (None, Ok(_)) => {}
            (None, Err(error @ LeaseError::Stale { .. })) => {
                tracing::debug!(lease_id = self.what.lease_id(), %error, "a settle came too late");
            }
            (None, Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(lease_id = self.what.lease_id(), error, "could not settle");
            }
        }
    }

    /// Notes why it has to be sent again.
    pub(crate) fn failed(&mut self, status: &tonic::Status) {
        self.failure = Some(Box::new(status.clone()));
    }

    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.timeout
    }

    /// Tells the one who waits that it took too long.
    pub(crate) fn give_up(mut self, now: Instant) {
        let waited = now.saturating_duration_since(self.since);
        let source = self.failure.take();
        self.answer(Err(LeaseError::TimedOut { waited, source }));
    }
}

/// The acks or the nacks of one subscription that wait to be sent.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    waiting: VecDeque<Waiting<T>>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T: Settlement> Outbox<T> {
    pub(crate) fn push(&mut self, waiting: Waiting<T>) {
        self.waiting.push_back(waiting);
    }

    /// Puts back what has to be sent again, before what waits, in its order; returns what was tried
    /// for too long.
    #[must_use]
    pub(crate) fn put_back(&mut self, batch: Vec<Waiting<T>>, now: Instant) -> Vec<Waiting<T>> {
        let (late, again): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|waiting| waiting.is_late(now));
        for waiting in again.into_iter().rev() {
            self.waiting.push_front(waiting);
        }
        late
    }

    /// Takes the next batch, oldest first: at most 1,000, and about 1 MiB.
    #[must_use]
    pub(crate) fn take_batch(&mut self) -> Vec<Waiting<T>> {
        let mut bytes = 0_usize;
        let fits = self.waiting.iter().take(limits::BATCH_COUNT_MAX).take_while(|waiting| {
            bytes = bytes.saturating_add(waiting.what.weight());
            bytes <= limits::BATCH_BYTES_MAX
        });
        let count = fits.count();
        self.waiting.drain(..count).collect()
    }
}

/// What the hub's result means for the one who waits; `None`: it has to be sent again.
pub(crate) fn outcome_of(result: v1::SettleResult) -> Option<Outcome> {
    let (outcome, message) = (result.outcome(), result.message);
    Some(match outcome {
        v1::Outcome::Applied => Ok(Settled::Applied),
        v1::Outcome::AlreadyApplied => Ok(Settled::AlreadyApplied),
        v1::Outcome::Conflict => Err(LeaseError::Conflict { message }),
        v1::Outcome::Stale => Err(LeaseError::Stale { message }),
        v1::Outcome::Invalid => Err(LeaseError::Invalid { message }),
        v1::Outcome::Retry | v1::Outcome::Unspecified => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nack(reason_bytes: usize) -> Waiting<v1::Nack> {
        let what = v1::Nack { reason: "x".repeat(reason_bytes), ..Default::default() };
        Waiting::new(what, None, crate::clock::now(), Duration::from_secs(30))
    }

    #[test]
    fn a_batch_is_limited_by_count() {
        let mut outbox = Outbox::default();
        (0..1_001).for_each(|_| outbox.push(nack(1)));
        assert_eq!(outbox.take_batch().len(), 1_000);
        assert_eq!(outbox.take_batch().len(), 1);
        assert_eq!(outbox.take_batch().len(), 0);
    }

    #[test]
    fn a_batch_is_limited_by_bytes() {
        let mut outbox = Outbox::default();
        (0..1_000).for_each(|_| outbox.push(nack(4_096)));
        let batch = outbox.take_batch();
        assert_eq!(batch.len(), 256);
    }

    #[test]
    fn what_is_put_back_keeps_its_order_and_what_is_late_is_returned() {
        let now = crate::clock::now();
        let ack =
            |id: &str, secs| Waiting::new(id.to_owned(), None, now, Duration::from_secs(secs));
        let mut outbox = Outbox::default();
        outbox.push(ack("d", 9));
        let batch = vec![ack("a", 9), ack("b", 1), ack("c", 9)];
        let late = outbox.put_back(batch, now + Duration::from_secs(1));
        let ids = |batch: Vec<Waiting<String>>| batch.into_iter().map(|waiting| waiting.what);
        assert_eq!(ids(late).collect::<Vec<_>>(), ["b"]);
        assert_eq!(ids(outbox.take_batch()).collect::<Vec<_>>(), ["a", "c", "d"]);
    }
}
