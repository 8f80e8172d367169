//! Looking at a subscription without changing it.

use super::{
    Subscription,
    board::{Queue, State},
};
use crate::{
    delivery::{LeaseId, Record},
    event::Sequence,
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
}

impl Subscription {
    /// Returns how far every matching event is finished, and how far events were looked at. Neither goes back.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        let (floor, scanned) = self.journal.position();
        let open = self.board.first_holding().map_or(u64::MAX, |sequence| sequence.get() - 1);
        (floor.max(open.min(self.scanned)), scanned.max(self.scanned))
    }

    /// Returns the newest sequence of the log that the subscription knows of.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Returns how many deliveries are in which state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let queues = &self.board.queues;
        Counts {
            ready: count(queues.ready()),
            leased: count(queues.leased),
            waiting: count(queues.waiting),
            dead: self.dead.count(),
        }
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

    /// Returns the first open delivery that has not been redriven: the oldest that is not finished.
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

    /// Returns the state of an event. Whether it matches, and lies after the subscription's start, is for the caller to
    /// know.
    #[must_use]
    pub fn status(&self, sequence: Sequence) -> Status {
        let Some(delivery) = self.board.get(sequence) else {
            if self.dead.contains(sequence) {
                return Status::Dead;
            }
            let seen = sequence.get() <= self.scanned || self.finished.contains(sequence);
            return if seen { Status::Done } else { Status::Unscanned };
        };
        let record = delivery.record.clone();
        match &delivery.state {
            State::Ready(
                Queue::Fresh
                | Queue::Retry { .. }
                | Queue::Shunned { .. }
                | Queue::Unwritten { .. },
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
        self.board.iter().map(|(sequence, _)| (sequence, self.status(sequence)))
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
            Self::Unscanned | Self::Done | Self::Dead => None,
        }
    }
}
