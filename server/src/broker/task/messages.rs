//! What a task is asked, and what it answers.

use std::{sync::Arc, time::Duration};

use hookline_core::{
    delivery::{BreakerState, Counts, Edition, Hold, LeaseId, Nack, Outcome, ResourceKey, Status},
    event::Sequence,
    time::Timestamp,
};
use tokio::sync::oneshot;

use super::replay::Reopened;
use crate::broker::{
    Change, End, Extension, Inbox, Position, ReplayMode, SeekMode, Sought, UpdateError,
};

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
    /// Give dead letters back, by sequence, generation and resource; answered with which went.
    Redrive {
        letters: Vec<(Sequence, u32, Option<ResourceKey>)>,
        reply: oneshot::Sender<Vec<Sequence>>,
    },
    /// Give up what lies before a place in the log and is not leased, at most `count`, oldest first; answered once that is
    /// durable. With `release`, nothing that was passed is read again until the log was trimmed.
    Retire { before: u64, count: usize, release: bool, reply: oneshot::Sender<Retired> },
    /// The log was trimmed as far as it was released, or is not.
    Trimmed,
    /// Delete dead letters that were read since this edition of them was told; answered with which are gone, and the
    /// edition of now.
    Purge {
        sequences: Vec<Sequence>,
        edition: Edition,
        reply: oneshot::Sender<(Vec<Sequence>, Edition)>,
    },
    /// Be another; answered once that is durable.
    Change { change: Box<Change>, reply: oneshot::Sender<Result<(), UpdateError>> },
    /// Move the position; dropped without an answer where that can't be done now.
    Seek { after: u64, mode: SeekMode, reply: oneshot::Sender<Sought> },
    /// Hand events that it takes out once more, in order; answered once that is durable, or with `None` where that can't
    /// be done now.
    Replay {
        events: Vec<(Sequence, Option<ResourceKey>)>,
        mode: ReplayMode,
        reply: oneshot::Sender<Option<Reopened>>,
    },
    /// Tell how it stands.
    Inspect { reply: oneshot::Sender<Overview> },
    /// Tell how one event stands.
    Status { sequence: Sequence, reply: oneshot::Sender<Standing> },
    /// Tell when all that has happened by now is in the ledger.
    Written { reply: oneshot::Sender<()> },
    /// Tell how the open deliveries beyond `after` stand that are in one of these states, at most `count`.
    Open { after: u64, states: States, count: usize, reply: oneshot::Sender<Vec<Standing>> },
    /// Lease nothing more and write down what runs; answered when that is durable.
    Drain { grace: Duration, reply: oneshot::Sender<()> },
    /// End all streams so, and end.
    Close { end: End },
}

/// What retiring did to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Retired {
    /// How many deliveries were given up.
    pub(in crate::broker) count: usize,
    /// The first sequence that the log must keep for the subscription.
    pub(in crate::broker) needed_from: u64,
    /// Whether more may be given up once the log was read further.
    pub(in crate::broker) reads_on: bool,
}

/// What a consumer says about a lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Settle {
    /// Done.
    Ack,
    /// Failed, or given back.
    Nack(Nack),
}

/// Which open deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States {
    /// Those that wait for a consumer with room.
    pub ready: bool,
    /// Those that are with a consumer.
    pub leased: bool,
    /// Those that wait for their next attempt.
    pub waiting: bool,
}

impl States {
    /// Whether a delivery is in one of them.
    #[must_use]
    pub const fn have(self, status: &Status) -> bool {
        match status {
            Status::Ready(_) => self.ready,
            Status::Leased { .. } => self.leased,
            Status::Waiting { .. } => self.waiting,
            Status::Unscanned | Status::Done | Status::Dead | Status::Purged => false,
        }
    }
}

/// How one event stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which.
    pub sequence: Sequence,
    /// Its state.
    pub status: Status,
    /// What keeps it from being leased, if it is ready.
    pub hold: Option<Hold>,
    /// What its consumer said about its progress.
    pub progress: String,
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
    /// What keeps it from leasing anything.
    pub hold: Option<Hold>,
    /// How its breaker stands.
    pub breaker: BreakerState,
    /// Its consumers, with how many leases each holds.
    pub consumers: Vec<(String, usize)>,
}
