//! The durable facts of a subscription: what is written, and what writing it adds up to.
//!
//! [`Snapshot`] is the fold of all [`Change`]s; a store may keep it in any form that recovers to the same.

use std::collections::BTreeMap;

use super::{SequenceSet, Stamp};
use crate::{event::Sequence, time::Timestamp};

/// How many attempts the history of a delivery keeps: the newest.
pub const HISTORY_MAX: usize = 20;
/// The most bytes that are kept of a reason.
pub const REASON_BYTES_MAX: usize = 4 * 1024;
/// The most bytes that are kept of an error type.
pub const ERROR_TYPE_BYTES_MAX: usize = 256;

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Who had the lease.
    pub consumer: String,
    /// When the lease began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How it ended.
    pub end: AttemptEnd,
    /// What the consumer said, or what happened; at most 4 KiB.
    pub reason: String,
    /// The class of the error; at most 256 bytes.
    pub error_type: String,
}

/// How a counted attempt ended. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum AttemptEnd {
    /// Nacked, to be tried again.
    Nacked = 2,
    /// Nacked for good.
    Rejected = 3,
    /// The deadline passed.
    LeaseExpired = 4,
    /// The lease reached `max_lease`.
    MaxLeaseReached = 5,
    /// The consumer was not heard of for `reconnect_grace`.
    ConsumerLost = 6,
    /// Given back too often in a row.
    ReleasedTooOften = 7,
}

impl AttemptEnd {
    /// Whether the consumer may have finished without being able to say so: then a late ack is honoured.
    #[must_use]
    pub const fn allows_late_ack(self) -> bool {
        match self {
            Self::LeaseExpired | Self::MaxLeaseReached | Self::ConsumerLost => true,
            Self::Nacked | Self::Rejected | Self::ReleasedTooOften => false,
        }
    }
}

/// What is durable of an open delivery, beyond that it is open.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// How often it was redriven.
    pub generation: u32,
    /// How many attempts failed and count.
    pub attempts: u32,
    /// How often in a row it was given back without counting.
    pub give_backs: u32,
    /// The attempts that failed, newest last, at most [`HISTORY_MAX`]; over all generations.
    pub history: Vec<Attempt>,
    /// When it may be leased again; `None`: at once.
    pub due_at: Option<Timestamp>,
    /// The newest lease that is known to have ended: it and older ones settle nothing, but see `late_ack`.
    pub fence: Option<Stamp>,
    /// Whether the lease named by `fence` may still ack.
    pub late_ack: bool,
    /// The lease that runs, if it was checkpointed.
    pub lease: Option<LeaseRecord>,
    /// Whether it came back from the dead letters: then its event's bytes are those of the dead letter, and it does
    /// not hold the floor.
    pub redriven: bool,
}

/// A running lease, as it is checkpointed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Which lease.
    pub stamp: Stamp,
    /// Who has it.
    pub consumer: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Who finished a delivery, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Who acked.
    pub consumer: String,
    /// In which attempt.
    pub attempt: u32,
    /// When the lease began.
    pub leased_at: Timestamp,
    /// When it was acked.
    pub done_at: Timestamp,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// How often the delivery was redriven before.
    pub generation: u32,
    /// Why it was given up.
    pub reason: Reason,
    /// The attempts that failed, newest last, at most [`HISTORY_MAX`].
    pub history: Vec<Attempt>,
    /// How many attempts failed and counted, in this generation.
    pub attempts: u32,
    /// When it was given up.
    pub died_at: Timestamp,
}

/// Why a delivery was given up. The numbers are stored, and are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// As many attempts failed as the policy allows.
    MaxAttempts = 1,
    /// A consumer said so.
    Rejected = 2,
    /// The filter failed on it.
    FilterError = 3,
    /// Still open at the hard cap of retention.
    Retention = 4,
}

/// One thing to write. Changes of one [`super::Effect::Persist`] are written in one commit, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything that matches up to `floor` is finished, and everything up to `scanned` was looked at.
    /// `floor <= scanned`, and neither goes back.
    Position {
        /// 0: nothing.
        floor: u64,
        /// 0: nothing.
        scanned: u64,
    },
    /// The delivery is open, with this record instead of the one before.
    Open {
        /// Which delivery.
        sequence: Sequence,
        /// Its facts.
        record: Record,
    },
    /// The delivery was acked. A dead letter that it was redriven from is gone.
    Done {
        /// Which delivery.
        sequence: Sequence,
        /// By whom.
        settlement: Settlement,
    },
    /// The delivery was given up. A dead letter of an earlier generation is replaced.
    Dead {
        /// Which delivery.
        sequence: Sequence,
        /// Why.
        letter: DeadLetter,
    },
    /// The dead letter goes back to its subscription. Its row keeps the event, hidden, until the delivery ends.
    Redriven {
        /// Which delivery.
        sequence: Sequence,
        /// Its facts from now on.
        record: Record,
    },
}

/// All durable facts of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Everything that matches up to here is finished or has a record.
    pub floor: u64,
    /// Everything up to here was looked at.
    pub scanned: u64,
    /// What is finished above the floor.
    pub finished: SequenceSet,
    /// What is dead and not redriven, at any sequence.
    pub dead: SequenceSet,
    /// The open deliveries that have facts, at any sequence.
    pub records: BTreeMap<Sequence, Record>,
}

impl Snapshot {
    /// Makes the snapshot of a subscription that begins after `sequence`.
    #[must_use]
    pub fn starting_after(sequence: u64) -> Self {
        Self { floor: sequence, scanned: sequence, ..Self::default() }
    }

    /// Takes in one change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Position { floor, scanned } => {
                self.floor = *floor;
                self.scanned = *scanned;
                self.finished.remove_through(*floor);
            }
            Change::Open { sequence, record } => {
                self.records.insert(*sequence, record.clone());
            }
            Change::Done { sequence, .. } => self.finish(*sequence),
            Change::Dead { sequence, .. } => {
                self.finish(*sequence);
                self.dead.insert(*sequence);
            }
            Change::Redriven { sequence, record } => {
                self.dead.remove(*sequence);
                self.records.insert(*sequence, record.clone());
            }
        }
    }

    fn finish(&mut self, sequence: Sequence) {
        self.records.remove(&sequence);
        if sequence.get() > self.floor {
            self.finished.insert(sequence);
        }
    }
}
