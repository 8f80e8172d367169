//! The durable facts of a subscription: what is written, and what writing it adds up to.
//!
//! [`Snapshot`] is the fold of all [`Change`]s; a store may keep it in any form that recovers to the same.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ResourceKey, SequenceSet, Stamp};
use crate::{event::Sequence, time::Timestamp};

/// How many attempts the history of a delivery keeps: the newest.
pub const HISTORY_MAX: usize = 20;
/// How many of the events that were coalesced into a delivery are kept by name: the newest.
pub const SUPERSEDED_MAX: usize = 100;
/// The most bytes of a checkpoint.
pub const CHECKPOINT_BYTES_MAX: usize = 64 * 1024;
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

/// What is durable of an open delivery, beyond that it is open, and is kept in memory. What is only handed on with a lease
/// is its [`Background`], which the ledger keeps.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// Rises when it is redriven or replayed, and when the subscription's position is moved.
    pub generation: u32,
    /// How many attempts failed and count.
    pub attempts: u32,
    /// How often in a row it was given back without counting.
    pub give_backs: u32,
    /// When it may be leased again; `None`: at once.
    pub due_at: Option<Timestamp>,
    /// The newest lease that is known to have ended: it and older ones settle nothing, but see `late_ack`.
    pub fence: Option<Stamp>,
    /// When the lease named by `fence` began, if it may still ack.
    pub late_ack: Option<Timestamp>,
    /// The lease that runs, if it was checkpointed.
    pub lease: Option<Box<LeaseRecord>>,
    /// Whether it came back from the dead letters: then its event's bytes are those of the dead letter, and it does
    /// not hold the floor.
    pub redriven: bool,
    /// Whether it was opened although the subscription had passed it, after a change of the filter or by a replay: it does not
    /// hold the floor.
    pub looked_back: bool,
    /// What the event is about; `None` if it belongs to no resource.
    pub resource: Option<ResourceKey>,
}

impl Record {
    /// Whether it stands for itself, wherever the floor is.
    #[must_use]
    pub const fn stands_alone(&self) -> bool {
        self.redriven || self.looked_back
    }

    /// Whether nothing has happened to the delivery that a scan of the log would not find by itself.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        self.attempts == 0
            && self.give_backs == 0
            && self.due_at.is_none()
            && self.fence.is_none()
            && self.lease.is_none()
            && !self.stands_alone()
    }
}

/// What a lease is handed with, beside its event: what happened to the delivery before. Kept by the ledger, and read when
/// it is handed out, so that memory does not grow with what waits.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Background {
    /// The attempts that failed, newest last, at most [`HISTORY_MAX`]; over all generations.
    pub attempts: Vec<Attempt>,
    /// The newest events that were coalesced into this one, newest last, at most [`SUPERSEDED_MAX`].
    pub superseded: Vec<Sequence>,
    /// How many events were coalesced into this one.
    pub superseded_count: u64,
    /// What the last attempt saved of its work, at most [`CHECKPOINT_BYTES_MAX`]; empty: nothing.
    pub checkpoint: Bytes,
}

impl Background {
    /// Adds an attempt that failed.
    pub fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(HISTORY_MAX);
        self.attempts.drain(..surplus);
    }

    /// Takes in what happened later, after the delivery had ended once and was open again. Checkpoints are not kept.
    pub fn follow(&mut self, later: Self) {
        for attempt in later.attempts {
            self.push(attempt);
        }
        self.superseded.extend(later.superseded);
        self.keep_newest_superseded();
        self.superseded_count = self.superseded_count.saturating_add(later.superseded_count);
        self.checkpoint = Bytes::new();
    }

    /// Returns the attempts that a dead letter which the delivery was redriven from does not tell.
    #[must_use]
    pub fn untold(&self, letter: Option<&DeadLetter>) -> Self {
        let is_told = |of: &Attempt| letter.is_some_and(|letter| letter.history.contains(of));
        let attempts = self.attempts.iter().filter(|of| !is_told(of)).cloned().collect();
        Self { attempts, ..Self::default() }
    }

    /// Whether there is nothing of it that is worth keeping once the delivery has ended.
    #[must_use]
    pub fn is_forgettable(&self) -> bool {
        self.attempts.is_empty() && self.superseded_count == 0
    }

    /// Adds an event that was coalesced into this one, with those that had been coalesced into it.
    pub fn absorb(&mut self, sequence: Sequence, of_it: &Self) {
        // One that is replayed while this is open is coalesced into it once more.
        let is_known = self.superseded.contains(&sequence);
        self.superseded.extend(&of_it.superseded);
        self.superseded.push(sequence);
        self.keep_newest_superseded();
        self.superseded_count = self
            .superseded_count
            .saturating_add(of_it.superseded_count)
            .saturating_add(u64::from(!is_known));
    }

    fn keep_newest_superseded(&mut self) {
        self.superseded.sort_unstable();
        self.superseded.dedup();
        let surplus = self.superseded.len().saturating_sub(SUPERSEDED_MAX);
        self.superseded.drain(..surplus);
    }
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

/// Who acked a delivery, and when.
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

/// How a delivery was finished that is not dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Acked.
    Acked(Settlement),
    /// Coalesced into a newer event of its resource.
    Superseded {
        /// That event.
        by: Sequence,
        /// When.
        at: Timestamp,
    },
}

/// What is kept of a delivery once it has ended by an ack, a newer event or a seek, as long as the events are kept. It may
/// end so several times, since its subscription's position may be moved, and events replayed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Past {
    /// How it ended, each time but by a seek, newest last, at most [`HISTORY_MAX`].
    pub ended: Vec<Ended>,
    /// What had happened to it before it ended, without checkpoints.
    pub background: Background,
}

impl Past {
    /// Adds how it ended.
    pub fn push(&mut self, ended: Ended) {
        self.ended.push(ended);
        let surplus = self.ended.len().saturating_sub(HISTORY_MAX);
        self.ended.drain(..surplus);
    }
}

/// That a delivery is given up, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The delivery's generation.
    pub generation: u32,
    /// Why it is given up.
    pub reason: Reason,
    /// How many attempts failed and counted, in this generation.
    pub attempts: u32,
    /// When it is given up.
    pub died_at: Timestamp,
    /// What the filter failed with; empty for other reasons, which are told by the attempts.
    pub detail: String,
    /// Whether the event's bytes lie in the row of a dead letter already, since it was redriven from there.
    pub redriven: bool,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Rises when it is redriven, and when the subscription's position is moved.
    pub generation: u32,
    /// Why it was given up.
    pub reason: Reason,
    /// The attempts that failed, newest last, at most [`HISTORY_MAX`].
    pub history: Vec<Attempt>,
    /// How many attempts failed and counted, in this generation.
    pub attempts: u32,
    /// When it was given up.
    pub died_at: Timestamp,
    /// What the filter failed with; empty for other reasons.
    pub detail: String,
}

impl DeadLetter {
    /// Makes the dead letter of a delivery with this background.
    #[must_use]
    pub fn new(death: Death, background: Background) -> Self {
        let Death { generation, reason, attempts, died_at, detail, redriven: _ } = death;
        Self { generation, reason, history: background.attempts, attempts, died_at, detail }
    }
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
    /// `floor <= scanned`, and neither goes back but by [`Change::Sought`].
    Position {
        /// 0: nothing.
        floor: u64,
        /// 0: nothing.
        scanned: u64,
    },
    /// The delivery is open, with this record instead of the one before. Its background stays.
    Open {
        /// Which delivery.
        sequence: Sequence,
        /// Its facts.
        record: Record,
    },
    /// As [`Change::Open`], after an attempt that failed: that goes into the background.
    Failed {
        /// Which delivery.
        sequence: Sequence,
        /// Its facts.
        record: Record,
        /// What failed.
        attempt: Attempt,
    },
    /// A lease saved its work: it goes into the background.
    Checkpointed {
        /// Which delivery.
        sequence: Sequence,
        /// What was saved, instead of what was before.
        checkpoint: Bytes,
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
        death: Death,
        /// The attempt that failed last; `None` if no lease did.
        attempt: Option<Attempt>,
    },
    /// Deliveries are finished by a newer event of their resource, into whose background they go. Dead letters that they
    /// were redriven from are gone.
    Superseded {
        /// Which deliveries, in order.
        sequences: Vec<Sequence>,
        /// The newer event, which is open.
        by: Sequence,
        /// When.
        at: Timestamp,
    },
    /// The dead letter goes back to its subscription, with its attempts as background. Its row keeps the event, hidden,
    /// until the delivery ends.
    Redriven {
        /// Which delivery.
        sequence: Sequence,
        /// Its facts from now on.
        record: Record,
    },
    /// The dead letters of these deliveries are deleted, with the events that they keep. The deliveries stay given up.
    Purged {
        /// Which, in order; none of them redriven.
        sequences: Vec<Sequence>,
    },
    /// What was skipped was looked at again up to here, after a change of the filter.
    LookedBack {
        /// Up to here.
        through: u64,
    },
    /// The subscription was changed; what it is now goes into the same commit.
    Reconfigured {
        /// What was skipped beyond this sequence is to be looked at again; `None`: nothing.
        look_back_after: Option<u64>,
    },
    /// The position was moved: what was open is gone, and what had been redriven is a dead letter again.
    Sought {
        /// Floor and scanned from now on.
        position: u64,
        /// The generation of what is opened from now on.
        generation: u32,
        /// The newest lease that was given before, which settles nothing any more, nor do older ones.
        fence: Option<Stamp>,
    },
}

impl Change {
    /// Returns which delivery it gives up and why, if it does.
    #[must_use]
    pub fn death(&self) -> Option<(Sequence, &Death)> {
        match self {
            Self::Dead { sequence, death, .. } => Some((*sequence, death)),
            Self::Position { .. }
            | Self::Open { .. }
            | Self::Failed { .. }
            | Self::Checkpointed { .. }
            | Self::Done { .. }
            | Self::Superseded { .. }
            | Self::Redriven { .. }
            | Self::Purged { .. }
            | Self::LookedBack { .. }
            | Self::Reconfigured { .. }
            | Self::Sought { .. } => None,
        }
    }
}

/// All durable facts of a subscription that its machine is recovered from.
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
    /// What is dead and has no letter any more, at any sequence.
    pub purged: SequenceSet,
    /// The open deliveries that have facts, at any sequence.
    pub records: BTreeMap<Sequence, Record>,
    /// The generation of what is opened anew.
    pub generation: u32,
    /// The highest generation that a delivery ever had; at least `generation`.
    pub top_generation: u32,
    /// The newest lease that was given before the position was moved.
    pub fence: Option<Stamp>,
    /// Up to here what was skipped was looked at again, after the last change of what is taken; `u64::MAX`: there is
    /// nothing to look at.
    pub looked_back: u64,
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
            Change::Open { sequence, record } | Change::Failed { sequence, record, .. } => {
                self.open(*sequence, record);
            }
            Change::Checkpointed { .. } => {}
            Change::Done { sequence, .. } => self.finish(*sequence),
            Change::Dead { sequence, .. } => {
                self.finish(*sequence);
                self.dead.insert(*sequence);
            }
            Change::Superseded { sequences, .. } => {
                for sequence in sequences {
                    self.finish(*sequence);
                }
            }
            Change::Redriven { sequence, record } => {
                self.dead.remove(*sequence);
                self.open(*sequence, record);
            }
            Change::Purged { sequences } => {
                for sequence in sequences {
                    self.dead.remove(*sequence);
                    self.purged.insert(*sequence);
                }
            }
            Change::LookedBack { through } => self.looked_back = *through,
            Change::Reconfigured { look_back_after } => {
                self.looked_back = look_back_after.unwrap_or(u64::MAX);
            }
            Change::Sought { position, generation, fence } => {
                self.seek(*position);
                self.generation = *generation;
                self.top_generation = self.top_generation.max(*generation);
                self.fence = self.fence.max(*fence);
                // Nothing before the position is looked at again, and all that lies after it.
                self.looked_back = u64::MAX;
            }
        }
    }

    fn open(&mut self, sequence: Sequence, record: &Record) {
        self.top_generation = self.top_generation.max(record.generation);
        self.records.insert(sequence, record.clone());
    }

    fn finish(&mut self, sequence: Sequence) {
        self.records.remove(&sequence);
        // It was delivered again since, after a seek.
        self.purged.remove(sequence);
        if sequence.get() > self.floor {
            self.finished.insert(sequence);
        }
    }

    fn seek(&mut self, position: u64) {
        let records = std::mem::take(&mut self.records);
        let redriven = records.iter().filter(|(_, record)| record.redriven);
        for (sequence, _) in redriven {
            self.dead.insert(*sequence);
        }
        self.floor = position;
        self.scanned = position;
        self.finished = SequenceSet::new();
        self.purged.remove_after(position);
    }
}

/// The backgrounds of a subscription's open deliveries: the fold of all changes, for a ledger that is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Backgrounds(BTreeMap<Sequence, Background>);

impl Backgrounds {
    /// Returns what is known of a delivery.
    #[must_use]
    pub fn get(&self, sequence: Sequence) -> Background {
        self.0.get(&sequence).cloned().unwrap_or_default()
    }

    /// Takes in one change; of a death, returns the dead letter that it makes.
    pub fn apply(&mut self, change: &Change) -> Option<DeadLetter> {
        match change {
            Change::Position { .. }
            | Change::Open { .. }
            | Change::Purged { .. }
            | Change::LookedBack { .. }
            | Change::Reconfigured { .. } => {}
            Change::Failed { sequence, attempt, .. } => {
                self.0.entry(*sequence).or_default().push(attempt.clone());
            }
            Change::Checkpointed { sequence, checkpoint } => {
                self.0.entry(*sequence).or_default().checkpoint = checkpoint.clone();
            }
            Change::Done { sequence, .. } => drop(self.0.remove(sequence)),
            Change::Dead { sequence, death, attempt } => {
                let mut background = self.0.remove(sequence).unwrap_or_default();
                attempt.iter().for_each(|attempt| background.push(attempt.clone()));
                return Some(DeadLetter::new(death.clone(), background));
            }
            Change::Superseded { sequences, by, .. } => {
                let mut background = self.0.remove(by).unwrap_or_default();
                for sequence in sequences {
                    let of_it = self.0.remove(sequence).unwrap_or_default();
                    background.absorb(*sequence, &of_it);
                }
                self.0.insert(*by, background);
            }
            // The dead letter's attempts: known to whoever keeps it.
            Change::Redriven { .. } => {}
            Change::Sought { .. } => self.0.clear(),
        }
        None
    }

    /// Puts the attempts of a dead letter into the background of the delivery that it is again.
    pub fn redrive(&mut self, sequence: Sequence, letter: &DeadLetter) {
        self.0.entry(sequence).or_default().attempts.clone_from(&letter.history);
    }
}

/// The pasts of a subscription's deliveries: the fold of all changes, for a ledger that is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pasts(BTreeMap<Sequence, Past>);

impl Pasts {
    /// Returns what is kept of a delivery that has ended.
    #[must_use]
    pub fn get(&self, sequence: Sequence) -> Past {
        self.0.get(&sequence).cloned().unwrap_or_default()
    }

    /// Returns how a delivery ended last, if that is kept.
    #[must_use]
    pub fn ended(&self, sequence: Sequence) -> Option<&Ended> {
        self.0.get(&sequence)?.ended.last()
    }

    /// Returns all that are kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Sequence, &Past)> {
        self.0.iter().map(|(sequence, past)| (*sequence, past))
    }

    /// Takes in one change; `backgrounds` are those before it, `letter` returns the dead letter of a delivery, which stays if it
    /// was redriven from there.
    pub fn apply<'a>(
        &mut self,
        change: &Change,
        backgrounds: &Backgrounds,
        letter: impl Fn(Sequence) -> Option<&'a DeadLetter>,
    ) {
        match change {
            Change::Done { sequence, settlement } => {
                self.end(*sequence, Ended::Acked(settlement.clone()), backgrounds);
            }
            Change::Superseded { sequences, by, at } => {
                for sequence in sequences {
                    self.end(*sequence, Ended::Superseded { by: *by, at: *at }, backgrounds);
                }
            }
            Change::Position { .. }
            | Change::Open { .. }
            | Change::Failed { .. }
            | Change::Checkpointed { .. }
            | Change::Dead { .. }
            | Change::Redriven { .. }
            | Change::Purged { .. }
            | Change::LookedBack { .. }
            | Change::Reconfigured { .. } => {}
            Change::Sought { .. } => {
                for (sequence, background) in &backgrounds.0 {
                    let untold = background.untold(letter(*sequence));
                    if !untold.is_forgettable() {
                        self.0.entry(*sequence).or_default().background.follow(untold);
                    }
                }
            }
        }
    }

    fn end(&mut self, sequence: Sequence, ended: Ended, backgrounds: &Backgrounds) {
        let past = self.0.entry(sequence).or_default();
        past.background.follow(backgrounds.get(sequence));
        past.push(ended);
    }
}
