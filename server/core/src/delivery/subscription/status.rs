//! Looking at a subscription without changing it.

use std::collections::BTreeSet;

use super::{
    BreakerState, Subscription,
    board::{Queue, State},
    dispatch::WAITING_MAX,
    gate::Closed,
};
use crate::{
    delivery::{LeaseId, Record, SequenceSet, Ticket},
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

/// How many deliveries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wait for a consumer with room.
    pub ready: u64,
    /// Are with a consumer.
    pub leased: u64,
    /// Wait for their next attempt.
    pub waiting: u64,
    /// Were given up, and not redriven.
    pub dead: u64,
}

/// What keeps a delivery from being leased that could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// What happened to it is being written.
    Writing,
    /// Its resource is busy.
    Resource {
        /// With this event, which is leased, waits, or comes first.
        by: Sequence,
    },
    /// A newer event of its resource may come.
    Quiet {
        /// Until then it is waited for.
        until: Option<Timestamp>,
    },
    /// The subscription is paused.
    Paused {
        /// When it resumes by itself.
        until: Option<Timestamp>,
    },
    /// Too many attempts failed in a row.
    Breaker {
        /// When one event is tried; `None`: one is being tried.
        until: Option<Timestamp>,
    },
    /// Leases are limited per second.
    Rate {
        /// When the next is given.
        until: Timestamp,
    },
    /// So many deliveries wait for their next attempt that fresh ones wait too.
    WaitingFull,
    /// No consumer is there that has room.
    NoRoom,
}

/// The state of one event that the subscription takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// The subscription has not come to it.
    Unscanned,
    /// It waits for a consumer with room.
    Ready(Record),
    /// It is with a consumer.
    Leased {
        /// What is known of it.
        record: Record,
        /// Who has it.
        consumer: String,
        /// Since when.
        started_at: Timestamp,
        /// When the lease ends.
        expires_at: Timestamp,
    },
    /// It waits for its next attempt.
    Waiting {
        /// What is known of it.
        record: Record,
        /// When that is due.
        due_at: Timestamp,
    },
    /// It was acked.
    Done,
    /// It was given up.
    Dead,
    /// It was given up, and its dead letter was deleted.
    Purged,
}

impl Subscription {
    /// Returns how far every matching event is finished, and how far events were looked at. Only a seek moves
    /// them back.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        let (floor, scanned) = self.journal.position();
        let before = u64::from(!is_planted(Bug::FloorTooFar));
        let open = self.board.first_holding().map_or(u64::MAX, |sequence| sequence.get() - before);
        (floor.max(open.min(self.scanned)), scanned.max(self.scanned))
    }

    /// Returns up to where the log was looked at since the recovery, which begins at the floor.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.scanned
    }

    /// Returns what is finished beyond the floor.
    #[must_use]
    pub fn finished(&self) -> &SequenceSet {
        &self.finished
    }

    /// Whether an event is known and not finished.
    #[must_use]
    pub fn is_open(&self, sequence: Sequence) -> bool {
        self.board.is_open(sequence)
    }

    /// Returns how many open deliveries would count as done if the position were moved here: what was redriven is a dead
    /// letter again.
    #[must_use]
    pub fn skipped_by_seek(&self, position: u64) -> u64 {
        let is_redriven = |sequence: &Sequence| {
            self.board.get(*sequence).is_some_and(|delivery| delivery.record.redriven)
        };
        let open = self.board.open_after(0).take_while(|sequence| sequence.get() <= position);
        let skipped = open.filter(|sequence| !is_redriven(sequence)).count();
        u64::try_from(skipped).unwrap_or(u64::MAX)
    }

    /// Returns the newest sequence of the log that the subscription knows of.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Returns how many deliveries are in which state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (ready, leased, waiting) = self.open_counts();
        Counts { ready, leased, waiting, dead: self.dead_count() }
    }

    /// Returns how many of the ready deliveries could not be leased now whatever room there is: their resource is busy, or
    /// what happened to them is being written.
    #[must_use]
    pub fn parked(&self) -> u64 {
        let queues = &self.board.queues;
        let shunned: usize = queues.shunned.values().map(BTreeSet::len).sum();
        let offered = queues.fresh.len() + queues.retries.len() + shunned;
        u64::try_from(self.board.ready().saturating_sub(offered)).unwrap_or(u64::MAX)
    }

    /// Returns how many deliveries were given up, and not redriven. Counts pages of sequences: for now and then.
    #[must_use]
    pub fn dead_count(&self) -> u64 {
        self.dead.count()
    }

    /// Returns how many deliveries are ready, leased and waiting, at once.
    #[must_use]
    pub fn open_counts(&self) -> (u64, u64, u64) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let queues = &self.board.queues;
        (count(self.board.ready()), count(queues.leased), count(queues.waiting))
    }

    /// Whether a lease runs.
    #[must_use]
    pub fn is_running(&self, lease: &LeaseId) -> bool {
        self.running(lease).is_some()
    }

    /// Returns how many leases run.
    #[must_use]
    pub fn leased(&self) -> u64 {
        u64::try_from(self.board.queues.leased).unwrap_or(u64::MAX)
    }

    /// Returns the first open delivery that holds the floor: the oldest, but for what was redriven or looked back for.
    #[must_use]
    pub fn first_open(&self) -> Option<Sequence> {
        self.board.first_holding()
    }

    /// Returns the consumers that are connected or hold leases, in order of their names, with the number of leases.
    #[must_use]
    pub fn consumers(&self) -> Vec<(String, usize)> {
        let consumers = self.consumers.iter();
        let mut consumers: Vec<_> =
            consumers.map(|consumer| (consumer.name.to_string(), consumer.leases.len())).collect();
        consumers.sort();
        consumers
    }

    /// Returns the last commit that is not durable yet, if there is one: what it has is not in the ledger.
    #[must_use]
    pub fn last_unwritten(&self) -> Option<Ticket> {
        self.journal.last_unwritten()
    }

    /// Returns the state of an event. Whether it matches, and lies after the subscription's start, is for the caller to
    /// know.
    #[must_use]
    pub fn status(&self, sequence: Sequence) -> Status {
        if self.board.is_light(sequence) {
            let (generation, resource) = (self.generation, self.board.resource(sequence));
            return Status::Ready(Record { generation, resource, ..Record::default() });
        }
        let Some(delivery) = self.board.get(sequence) else {
            if self.dead.contains(sequence) {
                return Status::Dead;
            }
            if self.purged.contains(sequence) {
                return Status::Purged;
            }
            let seen = sequence.get() <= self.scanned || self.finished.contains(sequence);
            return if seen { Status::Done } else { Status::Unscanned };
        };
        let record = delivery.record.clone();
        match &delivery.state {
            State::Ready(
                Queue::Retry { .. }
                | Queue::Shunned { .. }
                | Queue::Unwritten { .. }
                | Queue::Behind { .. },
            ) => Status::Ready(record),
            State::Waiting { due } => Status::Waiting { record, due_at: *due },
            State::Leased(lease) => Status::Leased {
                record,
                consumer: self
                    .consumers
                    .get(lease.consumer)
                    .map_or_else(String::new, |consumer| consumer.name.to_string()),
                started_at: lease.started_at,
                expires_at: lease.expires_at,
            },
        }
    }

    /// Returns the open deliveries in order, with their states.
    pub fn open(&self) -> impl Iterator<Item = (Sequence, Status)> + '_ {
        self.open_after(0)
    }

    /// Returns the open deliveries beyond a sequence in order, with their states.
    pub fn open_after(&self, sequence: u64) -> impl Iterator<Item = (Sequence, Status)> + '_ {
        self.board.open_after(sequence).map(|sequence| (sequence, self.status(sequence)))
    }

    /// Returns what keeps a ready delivery from being leased; `None` if it is not ready, or nothing does.
    #[must_use]
    pub fn hold(&self, sequence: Sequence, now: Timestamp) -> Option<Hold> {
        let resource = self.board.resource(sequence);
        match self.board.get(sequence).map(|delivery| &delivery.state) {
            None if !self.board.is_light(sequence) => return None,
            Some(State::Waiting { .. } | State::Leased(_)) => return None,
            Some(State::Ready(Queue::Unwritten { .. })) => return Some(Hold::Writing),
            None | Some(State::Ready(_)) => {}
        }
        if !self.board.resources.admits(resource, sequence) {
            let quiet = self.board.resources.quiet_until(resource);
            return Some(match self.board.resources.blocker(resource, sequence) {
                Some(by) if quiet.is_none() => Hold::Resource { by },
                Some(_) | None => Hold::Quiet { until: quiet },
            });
        }
        let is_light = self.board.is_light(sequence);
        // What was tried before goes on also where fresh ones wait.
        let of_all = self.hold_of_all(now).filter(|hold| is_light || *hold != Hold::WaitingFull);
        let state = self.board.get(sequence).map(|delivery| &delivery.state);
        let has_room = if let Some(State::Ready(Queue::Shunned { by })) = state {
            self.consumers.next_but(by).is_some()
        } else {
            self.consumers.next().is_some()
        };
        of_all.or_else(|| (!has_room).then_some(Hold::NoRoom))
    }

    /// Returns what keeps the whole subscription from leasing, if anything but its consumers does.
    #[must_use]
    pub fn hold_of_all(&self, now: Timestamp) -> Option<Hold> {
        match self.gate.closed(&self.config.policy, now) {
            Some(Closed::Paused { until }) => Some(Hold::Paused { until }),
            Some(Closed::Breaker { until }) => Some(Hold::Breaker { until }),
            Some(Closed::Rate { until }) => Some(Hold::Rate { until }),
            None => (self.board.queues.waiting >= WAITING_MAX).then_some(Hold::WaitingFull),
        }
    }

    /// Returns how the breaker stands.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.gate.breaker()
    }
}

impl Status {
    /// Returns what is known of an open delivery.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Ready(record) | Self::Leased { record, .. } | Self::Waiting { record, .. } => {
                Some(record)
            }
            Self::Unscanned | Self::Done | Self::Dead | Self::Purged => None,
        }
    }
}
