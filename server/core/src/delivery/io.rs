//! What goes into a subscription and what comes out of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Change, Epoch, LeaseId, Pause, Policy, ResourceKey};
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
        /// The events beyond `after` that match, in order.
        matched: Vec<Matched>,
    },
    /// The log has grown and was matched for all subscriptions together. Taken only if the subscription has looked at
    /// everything up to `after` and no [`Effect::Fetch`] is out; else it is as if it had not been said.
    Followed {
        /// The last sequence before.
        after: u64,
        /// The sequence of the newest event.
        through: u64,
        /// The events between that match, in order.
        matched: Vec<Matched>,
    },
    /// Some of what was skipped was looked at again, since the filter was changed. In order, each part once.
    LookedBack {
        /// Everything up to here was looked at.
        through: u64,
        /// What matches now, did not then, and was not delivered for another reason.
        matched: Vec<Matched>,
    },
    /// A consumer opened a stream. Another stream under its name ends.
    Joined {
        /// The new stream.
        stream: StreamId,
        /// The consumer's name, at most [`super::CONSUMER_BYTES_MAX`] bytes.
        consumer: Arc<str>,
        /// How many leases it may hold; 0: it only asks what it holds.
        max_in_flight: u32,
    },
    /// A stream ended. What its transport took was reported before by [`Input::Written`]; what it did not take is
    /// reported by [`Input::Unwritten`], best after this: as long as the stream is open, it may be given the same again.
    Left {
        /// The stream.
        stream: StreamId,
    },
    /// The transport took a delivery: the clock of its lease starts anew. May be told late, but before what its consumer says
    /// and before the lease's time is looked at.
    Written {
        /// The lease.
        lease: LeaseId,
        /// When it did.
        at: Timestamp,
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
        /// What the attempt saves of its work, at most [`super::record::CHECKPOINT_BYTES_MAX`]: for the next attempt, if
        /// there is one. Durable before the answer.
        checkpoint: Option<Bytes>,
    },
    /// Dead letters go back.
    Redrive {
        /// Who asks: answered by [`Effect::Redriven`].
        request: RequestId,
        /// Which, with their generations and resources, as the ledger holds them since the answer to the redrive before.
        /// What is no longer dead, or open again by a seek, is passed over.
        letters: Vec<(Sequence, u32, Option<ResourceKey>)>,
    },
    /// Dead letters are deleted.
    Purge {
        /// Who asks: answered by [`Effect::Purged`].
        request: RequestId,
        /// Which, as the ledger holds them since this edition was answered; none: only the edition is asked for. What is
        /// no longer dead is passed over.
        sequences: Vec<Sequence>,
        /// Nothing is deleted if another edition is in force.
        edition: Edition,
    },
    /// The subscription is changed. `ordering` and `coalesce` stay as they were: for another, it is recovered once this
    /// is durable.
    Reconfigure {
        /// Who asks: answered by [`Effect::Reconfigured`].
        request: RequestId,
        /// What was skipped beyond this sequence is to be looked at again; `None`: nothing.
        look_back_after: Option<u64>,
        /// How it leases and retries from now on.
        policy: Policy,
        /// Whether it leases at all.
        pause: Pause,
    },
    /// The position is moved.
    Seek {
        /// Who asks: answered by [`Effect::Sought`].
        request: RequestId,
        /// Everything up to here counts as done, everything beyond is delivered again.
        position: u64,
    },
    /// Events of the log are to be handed out once more, wherever the position is. Not said between an [`Input::Retire`] and
    /// the trim that its answer allows.
    Replay {
        /// Who asks: answered by [`Effect::Replayed`].
        request: RequestId,
        /// Which, with their resources: what the subscription takes now and the log has, in order, each once.
        events: Vec<(Sequence, Option<ResourceKey>)>,
        /// With so many deliveries ready, nothing more is opened.
        ready_max: usize,
    },
    /// What lies before a place in the log is too old to be kept: what is ready or waiting there becomes a dead letter,
    /// oldest first. What is leased stays, and what was redriven, whose dead letter has its bytes.
    Retire {
        /// Who asks: answered by [`Effect::Retired`].
        request: RequestId,
        /// The first sequence that is not too old.
        before: u64,
        /// At most so many; the rest with the next request.
        count: usize,
    },
    /// The changes of this ticket are durable.
    Persisted {
        /// The ticket of the one [`Effect::Persist`] that is out.
        ticket: Ticket,
    },
    /// The hub is stopping: no new leases; running ones are written down. Answered by [`Effect::Drained`].
    Drain,
}

/// The number of a state of the dead letters: another as soon as one has gone or was replaced. So who has read a letter and
/// asks to delete it can't mean one that has taken its place since. New letters do not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The opening of the ledger.
    pub epoch: Epoch,
    /// How many went or were replaced since that.
    pub changes: u64,
}

impl Edition {
    /// That of no ledger: for who only asks.
    pub const NONE: Self = Self { epoch: Epoch(0), changes: 0 };
}

/// What became of the events of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Those that were opened anew, in order: they had been acked, superseded or purged, or were never taken.
    pub opened: Vec<Sequence>,
    /// How many were open.
    pub already_open: usize,
    /// How many are dead letters, which go back by [`Input::Redrive`].
    pub dead: usize,
    /// How many the subscription has not come to.
    pub ahead: usize,
    /// The first for which there was no room: nothing was done about it, nor about those after it.
    pub full_at: Option<Sequence>,
}

/// An event that the subscription takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Which.
    pub sequence: Sequence,
    /// What it is about; `None`: nothing that is ordered or coalesced.
    pub resource: Option<ResourceKey>,
    /// When it was received.
    pub received_at: Timestamp,
    /// What the filter failed with: then the event is a dead letter.
    pub failure: Option<String>,
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
    /// Tell a consumer that the resource of an event that it works on has newer events.
    Newer {
        /// Its stream.
        stream: StreamId,
        /// The lease.
        lease: LeaseId,
        /// The newest of them.
        newest: Sequence,
        /// How many came since this was last said, or since the lease began.
        count: u64,
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
    /// Answer a purge.
    Purged {
        /// Whose.
        request: RequestId,
        /// Which are gone; all that were asked for and dead, or none where the edition was another.
        sequences: Vec<Sequence>,
        /// The edition of the dead letters that the ledger holds now.
        edition: Edition,
    },
    /// Answer a change of the subscription: it is durable.
    Reconfigured {
        /// Whose.
        request: RequestId,
    },
    /// Answer a seek: the position is durable.
    Sought {
        /// Whose.
        request: RequestId,
        /// How many open deliveries count as done.
        skipped: u64,
    },
    /// Answer a replay: what was opened is durable.
    Replayed {
        /// Whose.
        request: RequestId,
        /// What became of its events.
        replayed: Replayed,
    },
    /// Answer a request to retire what is too old: what was given up is durable.
    Retired {
        /// Whose.
        request: RequestId,
        /// How many were given up.
        count: usize,
        /// The first sequence that the log must keep for the subscription; durably so.
        needed_from: u64,
        /// Whether more may be given up once the log was read further.
        reads_on: bool,
    },
    /// The subscription was not used for as long as its policy says, and holds nothing: delete it.
    Unused,
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
    /// Whether the ledger may have a background for it: what happened to the delivery before.
    pub background: bool,
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
    /// The subscription's position was moved.
    Sought,
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
