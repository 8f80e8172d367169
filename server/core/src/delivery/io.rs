//! What goes into a subscription and what comes out of it.

use std::{sync::Arc, time::Duration};

use super::{Attempt, Change, DeadLetter, LeaseId};
use crate::{event::Sequence, time::Timestamp};

/// One open stream of a consumer; the shell's number, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// One question to the subscription; the shell's number, given back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One commit; rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What happened outside, or is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The log now ends here, durably.
    Head {
        /// The sequence of its newest event; 0: none.
        head: u64,
    },
    /// The answer to [`Effect::Fetch`].
    Fetched {
        /// Everything up to here was looked at; at least the `after` of the effect.
        through: u64,
        /// The sequences beyond `after` that match, in order.
        matched: Vec<Sequence>,
    },
    /// A consumer opened a stream. Another stream under its name ends.
    Joined {
        /// The new stream.
        stream: StreamId,
        /// The consumer's name, at most [`super::CONSUMER_BYTES_MAX`] bytes.
        consumer: Arc<str>,
        /// How many leases it may hold, from 1.
        max_in_flight: u32,
    },
    /// A stream ended. What its transport took was reported before by [`Input::Written`]; what it did not take is
    /// reported by [`Input::Unwritten`], best after this: as long as the stream is open, it may be given the same again.
    Left {
        /// The stream.
        stream: StreamId,
    },
    /// The transport took a delivery: the clock of its lease starts anew.
    Written {
        /// The lease.
        lease: LeaseId,
    },
    /// The transport did not take a delivery, and never will: the lease goes back, uncounted.
    Unwritten {
        /// The lease.
        lease: LeaseId,
    },
    /// A consumer is done.
    Ack {
        /// Who asks: answered by [`Effect::Settled`].
        request: RequestId,
        /// The lease.
        lease: LeaseId,
    },
    /// A consumer failed or gives back.
    Nack {
        /// Who asks: answered by [`Effect::Settled`].
        request: RequestId,
        /// The lease.
        lease: LeaseId,
        /// What it says.
        nack: Nack,
    },
    /// A consumer needs more time.
    Extend {
        /// Who asks: answered by [`Effect::Extended`].
        request: RequestId,
        /// The lease.
        lease: LeaseId,
        /// From now; `None`: the policy's lease duration.
        duration: Option<Duration>,
    },
    /// Dead letters go back.
    Redrive {
        /// Who asks: answered by [`Effect::Redriven`].
        request: RequestId,
        /// Which, as the ledger holds them since the answer to the redrive before. What is no longer dead is passed
        /// over.
        letters: Vec<(Sequence, DeadLetter)>,
    },
    /// The changes of this ticket are durable.
    Persisted {
        /// The ticket of the one [`Effect::Persist`] that is out.
        ticket: Ticket,
    },
    /// The hub is stopping: no new leases; running ones are written down. Answered by [`Effect::Drained`].
    Drain,
}

/// What a consumer says when it does not ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// What to do.
    pub action: NackAction,
    /// Why; cut at 4 KiB.
    pub reason: String,
    /// The class of the error; cut at 256 bytes.
    pub error_type: String,
    /// How long to wait instead of the backoff; cut to 24 h.
    pub retry_after: Option<Duration>,
}

/// What a nack asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NackAction {
    /// Try again, counted.
    Retry,
    /// Give up now.
    DeadLetter,
    /// Give back, uncounted.
    Release,
}

/// What to do outside. Effects are carried out in the order in which they come.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read the log beyond `after` up to `through`, match it, and answer with [`Input::Fetched`]; at most `count`
    /// matches. One fetch is out at a time.
    Fetch {
        /// The last sequence that was looked at.
        after: u64,
        /// The last sequence to look at.
        through: u64,
        /// How many matches are wanted, from 1.
        count: usize,
    },
    /// Write these changes in one commit, and answer with [`Input::Persisted`]. One commit is out at a time. If it
    /// fails, this state is worth nothing: recover from the ledger.
    Persist {
        /// Names the commit.
        ticket: Ticket,
        /// What to write, in order.
        changes: Vec<Change>,
    },
    /// Say on a stream, as its first message, that it is open.
    Ready {
        /// The stream.
        stream: StreamId,
        /// What the consumer still holds; not to be delivered again.
        held: Vec<Grant>,
    },
    /// Hand an event to a consumer. Answered by [`Input::Written`] or [`Input::Unwritten`].
    Deliver {
        /// Its stream.
        stream: StreamId,
        /// The lease.
        grant: Grant,
    },
    /// Tell a consumer that a lease of it has ended.
    LeaseLost {
        /// Its stream.
        stream: StreamId,
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: LossReason,
    },
    /// End a stream: a newer one has the consumer's name.
    TakenOver {
        /// The older stream.
        stream: StreamId,
    },
    /// Answer an ack or a nack.
    Settled {
        /// Whose.
        request: RequestId,
        /// What became of it.
        outcome: Outcome,
    },
    /// Answer an extension.
    Extended {
        /// Whose.
        request: RequestId,
        /// When the lease ends now, or why it was not extended.
        result: Result<Timestamp, Outcome>,
    },
    /// Answer a redrive.
    Redriven {
        /// Whose.
        request: RequestId,
        /// Which went back.
        sequences: Vec<Sequence>,
    },
    /// Everything is written: the shell may close.
    Drained,
}

/// A lease as it is handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The lease.
    pub lease: LeaseId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The attempts before, newest last.
    pub history: Vec<Attempt>,
    /// Whether the event came back from the dead letters, whose row holds its bytes.
    pub redriven: bool,
}

/// Why a lease ended without its consumer's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Its deadline passed.
    Expired,
    /// It reached `max_lease`.
    MaxLeaseReached,
}

/// What became of what a consumer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and durable.
    Applied,
    /// This lease said so before, and it is durable.
    AlreadyApplied,
    /// This lease said something else before.
    Conflict,
    /// The lease had ended: nothing changed.
    Stale,
}
