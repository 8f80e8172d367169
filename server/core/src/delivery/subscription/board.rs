//! The open deliveries, and in which queue each one stands.
//!
//! Most are *light*: nothing has happened to them, so that all there is to know is their place in the log and their
//! resource. What has failed, is leased or waits for a write is a [`Delivery`] with facts of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{consumers::Key, resources::Resources};
use crate::{
    delivery::{Record, ResourceKey, Stamp, Ticket},
    event::Sequence,
    time::Timestamp,
};

/// Leases that run longer than this are written down; shorter ones cost no write.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(1);

/// One open delivery to which something has happened.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) record: Record,
    pub(super) state: State,
    /// The commit that its record waits for; it is not leased before.
    pub(super) unwritten: Option<Ticket>,
    /// Who gave it back, and until when it is for others only.
    pub(super) shunned: Option<Box<(Arc<str>, Timestamp)>>,
}

/// What an open delivery does.
#[derive(Debug)]
pub(super) enum State {
    Ready(Queue),
    Waiting { due: Timestamp },
    Leased(Box<Lease>),
}

/// Where a ready delivery stands, if it is not light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// By when it became ready.
    Retry { since: Timestamp },
    /// Given back: for others at once, for the one that gave it back only later.
    Shunned { by: Arc<str> },
    /// Not before its record is durable.
    Unwritten { since: Timestamp },
    /// Not before its resource is free.
    Behind { since: Timestamp },
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

    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease) => Some(lease),
            State::Ready(_) | State::Waiting { .. } => None,
        }
    }

    /// Whether it can be forgotten and found again by its place in the log.
    fn can_be_light(&self) -> bool {
        self.record.is_untouched() && self.unwritten.is_none() && self.shunned.is_none()
    }
}

/// All open deliveries of a subscription. States and queues are changed here only, and together.
#[derive(Debug)]
pub(super) struct Board {
    deliveries: BTreeMap<Sequence, Delivery>,
    /// Those of `deliveries` that hold the floor: all but those that stand for themselves.
    holding: BTreeSet<Sequence>,
    /// The light ones, with their resources. They all hold the floor.
    light: BTreeMap<Sequence, Option<ResourceKey>>,
    pub(super) queues: Queues,
    pub(super) resources: Resources,
}

/// The deliveries by what they do.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// The light ones whose resources are free, in the order of the log.
    pub(super) fresh: BTreeSet<Sequence>,
    pub(super) retries: BTreeSet<(Timestamp, Sequence)>,
    /// By who gave them back; never empty sets.
    pub(super) shunned: BTreeMap<Arc<str>, BTreeSet<Sequence>>,
    ready: usize,
    pub(super) waiting: usize,
    pub(super) leased: usize,
}

impl Queues {
    fn enter(&mut self, sequence: Sequence, state: &State) {
        match state {
            State::Ready(queue) => {
                self.ready += 1;
                match queue {
                    Queue::Retry { since } => drop(self.retries.insert((*since, sequence))),
                    Queue::Shunned { by } => {
                        self.shunned.entry(Arc::clone(by)).or_default().insert(sequence);
                    }
                    Queue::Unwritten { .. } | Queue::Behind { .. } => {}
                }
            }
            State::Waiting { .. } => self.waiting += 1,
            State::Leased(_) => self.leased += 1,
        }
    }

    fn leave(&mut self, sequence: Sequence, state: &State) {
        match state {
            State::Ready(queue) => {
                self.ready -= 1;
                match queue {
                    Queue::Retry { since } => drop(self.retries.remove(&(*since, sequence))),
                    Queue::Shunned { by } => {
                        let of_one = self.shunned.get_mut(by).expect("it was entered");
                        of_one.remove(&sequence);
                        if of_one.is_empty() {
                            self.shunned.remove(by);
                        }
                    }
                    Queue::Unwritten { .. } | Queue::Behind { .. } => {}
                }
            }
            State::Waiting { .. } => self.waiting -= 1,
            State::Leased(_) => self.leased -= 1,
        }
    }
}

impl Board {
    /// Makes an empty board; `at_once` is how many leases a resource may have, `None`: resources do not matter.
    pub(super) fn new(at_once: Option<u32>) -> Self {
        Self {
            deliveries: BTreeMap::new(),
            holding: BTreeSet::new(),
            light: BTreeMap::new(),
            queues: Queues::default(),
            resources: Resources::new(at_once),
        }
    }

    pub(super) fn is_open(&self, sequence: Sequence) -> bool {
        self.light.contains_key(&sequence) || self.deliveries.contains_key(&sequence)
    }

    pub(super) fn is_light(&self, sequence: Sequence) -> bool {
        self.light.contains_key(&sequence)
    }

    pub(super) fn get(&self, sequence: Sequence) -> Option<&Delivery> {
        self.deliveries.get(&sequence)
    }

    /// Returns the running lease of a delivery, to change it.
    pub(super) fn lease_mut(&mut self, sequence: Sequence) -> Option<&mut Lease> {
        match &mut self.deliveries.get_mut(&sequence)?.state {
            State::Leased(lease) => Some(lease),
            State::Ready(_) | State::Waiting { .. } => None,
        }
    }

    /// For changes of the record; which state it is in is changed by [`Board::set`].
    pub(super) fn get_mut(&mut self, sequence: Sequence) -> Option<&mut Delivery> {
        self.deliveries.get_mut(&sequence)
    }

    /// Returns the open deliveries to which something has happened, in order.
    pub(super) fn with_facts(&self) -> impl Iterator<Item = (Sequence, &Delivery)> {
        self.deliveries.iter().map(|(sequence, delivery)| (*sequence, delivery))
    }

    /// Returns how many are neither leased nor waiting.
    pub(super) fn ready(&self) -> usize {
        self.light.len() + self.queues.ready
    }

    /// Returns the open deliveries beyond a sequence (0: all), in order.
    pub(super) fn open_after(&self, sequence: u64) -> impl Iterator<Item = Sequence> + '_ {
        let from = Sequence::new(sequence.saturating_add(1)).unwrap_or(Sequence::FIRST);
        let mut light = self.light.range(from..).map(|(sequence, _)| *sequence).peekable();
        let mut heavy = self.deliveries.range(from..).map(|(sequence, _)| *sequence).peekable();
        std::iter::from_fn(move || match (light.peek(), heavy.peek()) {
            (Some(one), Some(other)) if one < other => light.next(),
            (Some(_), None) => light.next(),
            (_, Some(_)) => heavy.next(),
            (None, None) => None,
        })
    }

    /// Returns the first open delivery that holds the floor.
    pub(super) fn first_holding(&self) -> Option<Sequence> {
        let light = self.light.first_key_value().map(|(sequence, _)| *sequence);
        let heavy = self.holding.first().copied();
        light.into_iter().chain(heavy).min()
    }

    /// Returns what an open delivery is about.
    pub(super) fn resource(&self, sequence: Sequence) -> Option<ResourceKey> {
        match self.light.get(&sequence) {
            Some(resource) => *resource,
            None => self.deliveries.get(&sequence)?.record.resource,
        }
    }

    /// Opens a delivery of which nothing is known but that it matches.
    pub(super) fn open(&mut self, sequence: Sequence, resource: Option<ResourceKey>) {
        let before = self.light.insert(sequence, resource);
        assert!(before.is_none(), "a delivery is opened once");
        if !self.resources.add(resource, sequence) {
            self.queues.fresh.insert(sequence);
        }
    }

    /// Notes what an open delivery is about, which was opened before it was read.
    pub(super) fn learn_resource(&mut self, sequence: Sequence, resource: Option<ResourceKey>) {
        let Some(delivery) = self.deliveries.get_mut(&sequence) else { return };
        if delivery.record.resource.is_none() && resource.is_some() {
            delivery.record.resource = resource;
            let leased = delivery.lease().is_some();
            let retry = match delivery.state {
                State::Ready(Queue::Retry { since }) => Some(since),
                State::Ready(_) | State::Leased(_) | State::Waiting { .. } => None,
            };
            if self.resources.add(resource, sequence) && leased {
                self.resources.lease(resource, sequence);
            }
            // It stands behind its resource now.
            if let Some(since) = retry {
                self.make_ready(sequence, since);
            }
        }
    }

    /// Opens a delivery with facts.
    pub(super) fn insert(&mut self, sequence: Sequence, delivery: Delivery) {
        self.queues.enter(sequence, &delivery.state);
        if !delivery.record.stands_alone() {
            self.holding.insert(sequence);
        }
        let resource = delivery.record.resource;
        if self.resources.add(resource, sequence) && delivery.lease().is_some() {
            self.resources.lease(resource, sequence);
        }
        assert!(!self.light.contains_key(&sequence), "a delivery is opened once");
        let before = self.deliveries.insert(sequence, delivery);
        assert!(before.is_none(), "a delivery is opened once");
    }

    /// Gives a light delivery facts of its own, with a record of this generation; one that has facts stays as it is.
    pub(super) fn weigh(&mut self, sequence: Sequence, generation: u32, since: Timestamp) {
        let Some(resource) = self.light.remove(&sequence) else { return };
        self.queues.fresh.remove(&sequence);
        self.holding.insert(sequence);
        let state = State::Ready(Queue::Unwritten { since });
        self.queues.enter(sequence, &state);
        let record = Record { generation, resource, ..Record::default() };
        self.deliveries.insert(sequence, Delivery::new(record, state));
    }

    /// Makes a delivery light again to which nothing has happened after all.
    fn lighten(&mut self, sequence: Sequence) {
        let Some(delivery) = self.deliveries.remove(&sequence) else { return };
        self.queues.leave(sequence, &delivery.state);
        self.holding.remove(&sequence);
        self.light.insert(sequence, delivery.record.resource);
        if self.resources.admits(delivery.record.resource, sequence) {
            self.queues.fresh.insert(sequence);
        }
        self.resources.touch(delivery.record.resource);
    }

    /// Takes a delivery off; returns its facts, if it had any.
    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Delivery> {
        if let Some(resource) = self.light.remove(&sequence) {
            self.queues.fresh.remove(&sequence);
            self.resources.remove(resource, sequence);
            return None;
        }
        let delivery = self.deliveries.remove(&sequence)?;
        self.queues.leave(sequence, &delivery.state);
        self.holding.remove(&sequence);
        if delivery.lease().is_some() {
            self.resources.release(delivery.record.resource);
        }
        self.resources.remove(delivery.record.resource, sequence);
        Some(delivery)
    }

    /// Puts an open delivery into another state, and returns the one before.
    pub(super) fn set(&mut self, sequence: Sequence, state: State) -> State {
        let delivery = self.deliveries.get_mut(&sequence).expect("only what is open has a state");
        let before = std::mem::replace(&mut delivery.state, state);
        let resource = delivery.record.resource;
        match (&before, &delivery.state) {
            (State::Leased(_), State::Leased(_)) => {}
            (State::Leased(_), _) => self.resources.release(resource),
            (_, State::Leased(_)) => self.resources.lease(resource, sequence),
            (_, _) => self.resources.touch(resource),
        }
        self.queues.leave(sequence, &before);
        let state = &self.deliveries.get(&sequence).expect("it was there").state;
        self.queues.enter(sequence, state);
        before
    }

    /// Puts an open delivery among the ready ones: `since` when is its place there.
    pub(super) fn make_ready(&mut self, sequence: Sequence, since: Timestamp) {
        let delivery = self.deliveries.get(&sequence).expect("only what has facts becomes ready");
        let resource = delivery.record.resource;
        if delivery.can_be_light() {
            return self.lighten(sequence);
        }
        let queue = match &delivery.shunned {
            _ if delivery.unwritten.is_some() => Queue::Unwritten { since },
            _ if !self.resources.admits(resource, sequence) => Queue::Behind { since },
            Some(shunned) => Queue::Shunned { by: Arc::clone(&shunned.0) },
            None => Queue::Retry { since },
        };
        self.set(sequence, State::Ready(queue));
    }

    /// Lets a delivery be leased whose record waited for this commit.
    pub(super) fn unblock(&mut self, sequence: Sequence, ticket: Ticket) {
        let Some(delivery) = self.deliveries.get_mut(&sequence) else { return };
        if delivery.unwritten.is_none_or(|waits_for| waits_for > ticket) {
            return;
        }
        delivery.unwritten = None;
        if let State::Ready(Queue::Unwritten { since }) = delivery.state {
            self.make_ready(sequence, since);
        }
    }

    /// Puts the deliveries of a resource where they belong now: those that may be leased into their queues, the next ones
    /// out of them.
    pub(super) fn settle_resource(&mut self, key: ResourceKey, now: Timestamp) {
        let Some((candidates, room)) = self.resources.candidates(key, now) else { return };
        for (sequence, is_next) in candidates {
            let admitted = is_next && room;
            if self.light.contains_key(&sequence) {
                if admitted {
                    self.queues.fresh.insert(sequence);
                } else {
                    self.queues.fresh.remove(&sequence);
                }
                continue;
            }
            let state = self.deliveries.get(&sequence).map(|delivery| &delivery.state);
            match state {
                Some(State::Ready(Queue::Behind { since })) if admitted => {
                    let since = *since;
                    self.make_ready(sequence, since);
                }
                Some(State::Ready(Queue::Retry { since })) if !admitted => {
                    let since = *since;
                    self.set(sequence, State::Ready(Queue::Behind { since }));
                }
                Some(State::Ready(Queue::Shunned { .. })) if !admitted => {
                    self.set(sequence, State::Ready(Queue::Behind { since: now }));
                }
                Some(State::Ready(_) | State::Waiting { .. } | State::Leased(_)) | None => {}
            }
        }
    }
}
