//! What a task is asked, and what it answers.

use std::{sync::Arc, time::Duration};

use hookline_core::{
    delivery::{Counts, DeadLetter, LeaseId, Nack, Outcome, Status},
    event::Sequence,
    time::Timestamp,
};
use tokio::sync::oneshot;

use crate::broker::{End, Extension, Inbox, Position};

/// What a task is asked.
#[derive(Debug)]
pub(in crate::broker) enum Message {
    /// Open a stream.
    Subscribe { consumer: Arc<str>, max_in_flight: u32, reply: oneshot::Sender<Inbox> },
    /// Settle leases; answered in their order.
    Settle { settles: Vec<(LeaseId, Settle)>, reply: oneshot::Sender<Vec<Outcome>> },
    /// Extend leases; answered in their order.
    Extend {
        extensions: Vec<(LeaseId, Extension)>,
        reply: oneshot::Sender<Vec<Result<Timestamp, Outcome>>>,
    },
    /// Give dead letters back; answered with how many.
    Redrive { letters: Vec<(Sequence, DeadLetter)>, reply: oneshot::Sender<Vec<Sequence>> },
    /// Tell how it stands.
    Inspect { reply: oneshot::Sender<Overview> },
    /// Tell how one event stands, and what its consumer said about its progress.
    Status { sequence: Sequence, reply: oneshot::Sender<(Status, String)> },
    /// Lease nothing more and write down what runs; answered when that is durable.
    Drain { grace: Duration, reply: oneshot::Sender<()> },
    /// End all streams so, and end.
    Close { end: End },
}

/// What a consumer says about a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Settle {
    /// Done.
    Ack,
    /// Failed, or given back.
    Nack(Nack),
}

/// How a subscription stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    /// Where it stands in the log.
    pub position: Position,
    /// What its deliveries do.
    pub counts: Counts,
    /// The oldest event that is not finished.
    pub first_open: Option<Sequence>,
    /// Its consumers, with how many leases each holds.
    pub consumers: Vec<(String, usize)>,
}
