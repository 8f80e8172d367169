//! The consumers of a subscription: who is there, who has room.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    delivery::StreamId,
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

/// A consumer, by number: cheaper to move than its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) name: Arc<str>,
    pub(super) stream: Option<StreamId>,
    max_in_flight: u32,
    pub(super) leases: BTreeSet<Sequence>,
    /// Those of them that its transport has not taken yet.
    unsent: BTreeSet<Sequence>,
    /// Its transport has left something until it was taken back, and has taken nothing since.
    is_stuck: bool,
    /// When it last joined, left, settled or extended.
    heard_at: Timestamp,
    /// For when its timer is armed that sees whether it is lost.
    grace_timer: Option<Timestamp>,
    /// It held leases when the hub was restarted and was not heard of since: losing it counts nothing.
    pub(super) recovered: bool,
    /// When it was last given something, as a number that rises.
    served: u64,
}

impl Consumer {
    fn room(&self) -> u32 {
        let held = u32::try_from(self.leases.len()).unwrap_or(u32::MAX);
        let room = self.max_in_flight + u32::from(is_planted(Bug::RoomExceeded));
        let room = if self.stream.is_some() { room.saturating_sub(held) } else { 0 };
        // One at a time shows whether it reads again, and leaves the others to those that do.
        if self.is_stuck { room.min(u32::from(self.unsent.is_empty())) } else { room }
    }
}

/// All consumers that are connected or hold leases.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    consumers: BTreeMap<Key, Consumer>,
    names: BTreeMap<Arc<str>, Key>,
    streams: BTreeMap<StreamId, Key>,
    /// Those with room: the one with most room first, ties to the one that was served longest ago.
    roomy: BTreeSet<(Reverse<u32>, u64, Key)>,
    last_key: u64,
    last_served: u64,
}

impl Consumers {
    pub(super) fn get(&self, key: Key) -> Option<&Consumer> {
        self.consumers.get(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.values()
    }

    /// Returns the sequences of all leases.
    pub(super) fn all_leases(&self) -> Vec<Sequence> {
        self.consumers.values().flat_map(|consumer| consumer.leases.iter().copied()).collect()
    }

    /// Returns the sequences of the leases that transports have taken.
    pub(super) fn sent_leases(&self) -> Vec<Sequence> {
        let sent = self.consumers.values().flat_map(|of| of.leases.difference(&of.unsent));
        sent.copied().collect()
    }

    /// Lets a consumer in on a stream; returns the stream it had before, and what that was not sent of
    /// its leases.
    pub(super) fn join(
        &mut self,
        name: &Arc<str>,
        stream: StreamId,
        max_in_flight: u32,
        now: Timestamp,
    ) -> (Key, Option<StreamId>, BTreeSet<Sequence>) {
        let key = self.enter(name, now);
        let (before, unsent) = self.change(key, |consumer| {
            consumer.max_in_flight = max_in_flight;
            consumer.is_stuck = false;
            consumer.recovered = false;
            consumer.heard_at = now;
            (consumer.stream.replace(stream), consumer.unsent.clone())
        });
        if let Some(before) = before {
            self.streams.remove(&before);
        }
        self.streams.insert(stream, key);
        (key, before, unsent)
    }

    /// Returns the key of a consumer that held a lease when the hub stopped.
    pub(super) fn recovered(&mut self, name: &str, now: Timestamp) -> Key {
        let known = self.names.contains_key(name);
        let key = self.enter(&name.into(), now);
        if !known {
            self.change(key, |consumer| consumer.recovered = true);
        }
        key
    }

    /// Returns the key of a consumer, which need not be there yet.
    pub(super) fn enter(&mut self, name: &Arc<str>, now: Timestamp) -> Key {
        if let Some(key) = self.names.get(name) {
            return *key;
        }
        self.last_key += 1;
        let key = Key(self.last_key);
        let consumer = Consumer {
            name: Arc::clone(name),
            stream: None,
            max_in_flight: 0,
            leases: BTreeSet::new(),
            unsent: BTreeSet::new(),
            is_stuck: false,
            heard_at: now,
            grace_timer: None,
            recovered: false,
            served: 0,
        };
        self.consumers.insert(key, consumer);
        self.names.insert(Arc::clone(name), key);
        key
    }

    /// Ends a stream; returns whose it was.
    pub(super) fn leave(&mut self, stream: StreamId, now: Timestamp) -> Option<Key> {
        let key = self.streams.remove(&stream)?;
        self.change(key, |consumer| {
            consumer.stream = None;
            consumer.heard_at = now;
        });
        self.forget_if_idle(key);
        Some(key)
    }

    /// Notes that a consumer was heard of; returns its key if it is connected or holds leases.
    pub(super) fn heard(&mut self, name: &str, now: Timestamp) -> Option<Key> {
        let key = *self.names.get(name)?;
        let consumer = self.consumers.get_mut(&key)?;
        consumer.heard_at = now;
        consumer.recovered = false;
        Some(key)
    }

    /// Returns when a consumer that has no stream is given up; `None` if it has one, or holds nothing.
    pub(super) fn lost_at(
        &self,
        key: Key,
        grace: Duration,
        restart_grace: Duration,
    ) -> Option<Timestamp> {
        let consumer = self.consumers.get(&key)?;
        if consumer.stream.is_some() || consumer.leases.is_empty() {
            return None;
        }
        Some(consumer.heard_at + if consumer.recovered { restart_grace } else { grace })
    }

    /// Returns for when the timer is armed that sees whether a consumer is lost.
    pub(super) fn grace_timer(&self, key: Key) -> Option<Timestamp> {
        self.consumers.get(&key)?.grace_timer
    }

    /// Notes for when the timer is armed that sees whether a consumer is lost.
    pub(super) fn set_grace_timer(&mut self, key: Key, at: Option<Timestamp>) {
        if let Some(consumer) = self.consumers.get_mut(&key) {
            consumer.grace_timer = at;
        }
    }

    /// Returns the consumers that hold leases and have no stream.
    pub(super) fn absent(&self) -> Vec<Key> {
        let absent = self.consumers.iter().filter(|(_, consumer)| consumer.stream.is_none());
        absent.map(|(key, _)| *key).collect()
    }

    /// Moves the time at which absent consumers were heard of.
    pub(super) fn shift(&mut self, by: Duration) -> Vec<Key> {
        let absent = self.consumers.iter_mut().filter(|(_, consumer)| consumer.stream.is_none());
        absent
            .map(|(key, consumer)| {
                consumer.heard_at = consumer.heard_at + by;
                *key
            })
            .collect()
    }

    /// Whether any consumer has a stream.
    pub(super) fn is_connected(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Returns the consumer that is served next, if any has room.
    pub(super) fn next(&self) -> Option<Key> {
        self.roomy.first().map(|(_, _, key)| *key)
    }

    /// As [`Consumers::next`], but for the one with this name.
    pub(super) fn next_but(&self, name: &str) -> Option<Key> {
        let but = self.names.get(name);
        self.roomy.iter().map(|(_, _, key)| *key).find(|key| Some(key) != but)
    }

    /// Counts a lease as the consumer's.
    pub(super) fn take(&mut self, key: Key, sequence: Sequence) {
        self.serve(key, |consumer| {
            consumer.leases.insert(sequence);
        });
    }

    /// As [`Consumers::take`], of a lease that is now on its way to the consumer's transport.
    pub(super) fn hand(&mut self, key: Key, sequence: Sequence) {
        self.serve(key, |consumer| {
            consumer.leases.insert(sequence);
            consumer.unsent.insert(sequence);
        });
    }

    fn serve(&mut self, key: Key, change: impl FnOnce(&mut Consumer)) {
        self.last_served += 1;
        let served = self.last_served;
        self.change(key, |consumer| {
            change(consumer);
            consumer.served = served;
        });
    }

    /// Notes that a consumer's transport has taken one of its leases.
    pub(super) fn sent(&mut self, key: Key, sequence: Sequence) {
        let Some(consumer) = self.consumers.get_mut(&key) else { return };
        consumer.unsent.remove(&sequence);
        if consumer.is_stuck {
            self.change(key, |consumer| consumer.is_stuck = false);
        }
    }

    /// Whether one of a consumer's leases waits for its transport to take it.
    pub(super) fn is_unsent(&self, key: Key, sequence: Sequence) -> bool {
        self.consumers.get(&key).is_some_and(|consumer| consumer.unsent.contains(&sequence))
    }

    /// Notes that a lease was taken back from a consumer's transport, which had left it.
    pub(super) fn left_unsent(&mut self, key: Key, sequence: Sequence) {
        let of_this_stream = |of: &Consumer| of.stream.is_some() && of.unsent.contains(&sequence);
        if self.consumers.get(&key).is_some_and(of_this_stream) {
            self.change(key, |consumer| consumer.is_stuck = true);
        }
    }

    /// Counts a lease as no longer the consumer's.
    pub(super) fn give(&mut self, key: Key, sequence: Sequence) {
        self.change(key, |consumer| {
            consumer.leases.remove(&sequence);
            consumer.unsent.remove(&sequence);
        });
        self.forget_if_idle(key);
    }

    fn forget_if_idle(&mut self, key: Key) {
        let idle = |consumer: &Consumer| consumer.stream.is_none() && consumer.leases.is_empty();
        if self.consumers.get(&key).is_some_and(idle)
            && let Some(consumer) = self.consumers.remove(&key)
        {
            self.names.remove(&consumer.name);
        }
    }

    /// Changes a consumer, and where it stands among those with room.
    fn change<T>(&mut self, key: Key, change: impl FnOnce(&mut Consumer) -> T) -> T {
        let consumer = self.consumers.get_mut(&key).expect("a key names a consumer that is there");
        let place = |consumer: &Consumer| (Reverse(consumer.room()), consumer.served, key);
        self.roomy.remove(&place(consumer));
        let value = change(consumer);
        if consumer.room() > 0 {
            self.roomy.insert(place(consumer));
        }
        value
    }
}
