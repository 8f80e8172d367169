//! The open deliveries, and in which queue each one stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::consumers::Key;
use crate::{
    delivery::{Record, Stamp, Ticket},
    event::Sequence,
    time::Timestamp,
};

/// Leases that run longer than this are written down; shorter ones cost no write.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(1);

/// One open delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) record: Record,
    pub(super) state: State,
    /// The commit that its record waits for; it is not leased before.
    pub(super) unwritten: Option<Ticket>,
    /// Who gave it back, and until when it is for others only.
    pub(super) shunned: Option<(Arc<str>, Timestamp)>,
}

/// What an open delivery does.
#[derive(Debug)]
pub(super) enum State {
    Ready(Queue),
    Waiting { due: Timestamp },
    Leased(Lease),
}

/// Where a ready delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// In the order of the log.
    Fresh,
    /// Tried before, given back or redriven: by when it became ready.
    Retry { since: Timestamp },
    /// Given back: for others at once, for the one that gave it back only later.
    Shunned { by: Arc<str> },
    /// Not before its record is durable.
    Unwritten { since: Timestamp },
}

/// A running lease.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) stamp: Stamp,
    pub(super) consumer: Key,
    pub(super) started_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) checkpointed: bool,
}

impl Lease {
    /// Returns when the lease is written down if it still runs.
    pub(super) fn checkpoint_at(&self) -> Timestamp {
        self.started_at + CHECKPOINT_AFTER
    }
}

impl Delivery {
    pub(super) fn new(record: Record, state: State) -> Self {
        Self { record, state, unwritten: None, shunned: None }
    }

    /// Returns how the delivery stands when it becomes ready again, with facts or a consumer that it waits for.
    pub(super) fn ready(&self, since: Timestamp) -> State {
        State::Ready(match &self.shunned {
            _ if self.unwritten.is_some() => Queue::Unwritten { since },
            Some((by, _)) => Queue::Shunned { by: Arc::clone(by) },
            None => Queue::Retry { since },
        })
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease) => Some(lease),
            State::Ready(_) | State::Waiting { .. } => None,
        }
    }
}

/// All open deliveries of a subscription. Every change of a state goes through [`Board::set`], so that the queues agree
/// with the states.
#[derive(Debug, Default)]
pub(super) struct Board {
    deliveries: BTreeMap<Sequence, Delivery>,
    /// Those that hold the floor: all but redriven ones.
    holding: BTreeSet<Sequence>,
    pub(super) queues: Queues,
}

/// The deliveries by what they do.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) fresh: BTreeSet<Sequence>,
    pub(super) retries: BTreeSet<(Timestamp, Sequence)>,
    /// By who gave them back; never empty sets.
    pub(super) shunned: BTreeMap<Arc<str>, BTreeSet<Sequence>>,
    shunned_count: usize,
    unwritten: usize,
    pub(super) waiting: usize,
    pub(super) leased: usize,
}

impl Queues {
    pub(super) fn ready(&self) -> usize {
        self.fresh.len() + self.retries.len() + self.shunned_count + self.unwritten
    }

    fn enter(&mut self, sequence: Sequence, state: &State) {
        match state {
            State::Ready(Queue::Fresh) => drop(self.fresh.insert(sequence)),
            State::Ready(Queue::Retry { since }) => drop(self.retries.insert((*since, sequence))),
            State::Ready(Queue::Shunned { by }) => {
                self.shunned.entry(Arc::clone(by)).or_default().insert(sequence);
                self.shunned_count += 1;
            }
            State::Ready(Queue::Unwritten { .. }) => self.unwritten += 1,
            State::Waiting { .. } => self.waiting += 1,
            State::Leased(_) => self.leased += 1,
        }
    }

    fn leave(&mut self, sequence: Sequence, state: &State) {
        match state {
            State::Ready(Queue::Fresh) => drop(self.fresh.remove(&sequence)),
            State::Ready(Queue::Retry { since }) => drop(self.retries.remove(&(*since, sequence))),
            State::Ready(Queue::Shunned { by }) => {
                let of_one = self.shunned.get_mut(by).expect("it was entered");
                of_one.remove(&sequence);
                if of_one.is_empty() {
                    self.shunned.remove(by);
                }
                self.shunned_count -= 1;
            }
            State::Ready(Queue::Unwritten { .. }) => self.unwritten -= 1,
            State::Waiting { .. } => self.waiting -= 1,
            State::Leased(_) => self.leased -= 1,
        }
    }
}

impl Board {
    pub(super) fn contains(&self, sequence: Sequence) -> bool {
        self.deliveries.contains_key(&sequence)
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<&Delivery> {
        self.deliveries.get(&sequence)
    }

    /// For changes of the record; the state is changed by [`Board::set`].
    pub(super) fn get_mut(&mut self, sequence: Sequence) -> Option<&mut Delivery> {
        self.deliveries.get_mut(&sequence)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Sequence, &Delivery)> {
        self.deliveries.iter().map(|(sequence, delivery)| (*sequence, delivery))
    }

    /// Returns the first open delivery that holds the floor.
    pub(super) fn first_holding(&self) -> Option<Sequence> {
        self.holding.first().copied()
    }

    pub(super) fn insert(&mut self, sequence: Sequence, delivery: Delivery) {
        self.queues.enter(sequence, &delivery.state);
        if !delivery.record.redriven {
            self.holding.insert(sequence);
        }
        let before = self.deliveries.insert(sequence, delivery);
        assert!(before.is_none(), "a delivery is opened once");
    }

    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Delivery> {
        let delivery = self.deliveries.remove(&sequence)?;
        self.queues.leave(sequence, &delivery.state);
        self.holding.remove(&sequence);
        Some(delivery)
    }

    /// Puts an open delivery into another state, and returns the one before.
    pub(super) fn set(&mut self, sequence: Sequence, state: State) -> State {
        let delivery = self.deliveries.get_mut(&sequence).expect("only what is open has a state");
        let before = std::mem::replace(&mut delivery.state, state);
        self.queues.leave(sequence, &before);
        let state = &self.deliveries.get(&sequence).expect("it was there").state;
        self.queues.enter(sequence, state);
        before
    }

    /// Lets a delivery be leased whose record waited for this commit.
    pub(super) fn unblock(&mut self, sequence: Sequence, ticket: Ticket) {
        let Some(delivery) = self.deliveries.get_mut(&sequence) else { return };
        if delivery.unwritten.is_none_or(|waits_for| waits_for > ticket) {
            return;
        }
        delivery.unwritten = None;
        if let State::Ready(Queue::Unwritten { since }) = delivery.state {
            let state = delivery.ready(since);
            self.set(sequence, state);
        }
    }
}
