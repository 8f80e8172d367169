//! The state of one subscription, and the order in which it changes.
//!
//! [`Subscription::handle`] and [`Subscription::handle_timeout`] change it, [`Subscription::poll_effect`] says what to
//! do about it. A shell drives it so: carry out effects until there are none; take inputs, several at a time, since
//! what they write goes into one commit; sleep until [`Subscription::poll_timeout`]; call `handle_timeout`.

mod board;

mod resources;

mod consumers;

mod dead;

mod gate;

mod dispatch;

mod expire;

mod journal;

mod memory;

mod replay;

mod retire;

mod scan;

mod seek;

mod settle;

mod status;

mod timers;

use std::collections::VecDeque;

use board::{Board, Delivery, Queue, State};
use consumers::Consumers;
pub use gate::BreakerState;
use gate::Gate;
use journal::Journal;
use memory::Memory;
pub use status::{Counts, Hold, Status};
use timers::{Timer, Timers};

use super::{
    Change, Creation, Effect, Epoch, Input, Pause, Policy, Record, SequenceSet, Snapshot, Stamp,
    policy::RESTART_GRACE,
};
use crate::{
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

/// What a subscription is, beyond its deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The number of its creation.
    pub creation: Creation,
    /// How it leases and retries; within its bounds.
    pub policy: Policy,
    /// Whether it leases at all.
    pub pause: Pause,
}

/// One subscription as a state machine. It has one owner; it does no I/O and asks no clock.
#[derive(Debug)]
pub struct Subscription {
    config: Config,
    epoch: Epoch,
    random: fastrand::Rng,
    /// The newest sequence of the log that was told.
    head: u64,
    /// Everything up to here was looked at since the recovery, which begins at the floor.
    scanned: u64,
    fetching: bool,
    /// Whether what the fetch that is out brings is of no use.
    ignores_fetch: bool,
    draining: bool,
    board: Board,
    gate: Gate,
    /// The generation of what is opened by a scan.
    generation: u32,
    /// The highest generation that a delivery ever had.
    top_generation: u32,
    /// The newest lease that was given before the position was moved.
    fence: Option<Stamp>,
    /// When a consumer was last heard of.
    last_used: Timestamp,
    /// What is finished beyond the floor that was last put into a commit.
    finished: SequenceSet,
    dead: SequenceSet,
    /// What is dead and has no letter any more.
    purged: SequenceSet,
    /// How many dead letters went or were replaced since the recovery.
    letter_changes: u64,
    consumers: Consumers,
    timers: Timers,
    journal: Journal,
    memory: Memory,
    effects: VecDeque<Effect>,
    lease_counter: u64,
    /// Whether the last delivery that was handed out was a retry, so that the next one is not.
    retry_was_last: bool,
}

impl Subscription {
    /// Makes the state that a ledger's snapshot stands for.
    ///
    /// `epoch` is that of this opening of the ledger, `seed` decides jitter. Checkpointed leases live on; their
    /// deadlines are at least `RESTART_GRACE` (60 s) from `now`.
    #[must_use]
    pub fn recover(
        config: Config,
        epoch: Epoch,
        snapshot: Snapshot,
        now: Timestamp,
        seed: u64,
    ) -> Self {
        let Snapshot { floor, scanned, finished, dead, purged, records, .. } = snapshot;
        let mut subscription = Self {
            board: Board::new(config.policy.leases_per_resource()),
            gate: Gate::new(&config.policy, config.pause, now),
            config,
            epoch,
            random: fastrand::Rng::with_seed(seed),
            head: 0,
            scanned: floor,
            fetching: false,
            ignores_fetch: false,
            draining: false,
            generation: snapshot.generation,
            top_generation: snapshot.top_generation,
            fence: snapshot.fence,
            last_used: now,
            finished,
            dead,
            purged,
            letter_changes: 0,
            consumers: Consumers::default(),
            timers: Timers::default(),
            journal: Journal::new(floor, scanned),
            memory: Memory::default(),
            effects: VecDeque::new(),
            lease_counter: 0,
            retry_was_last: false,
        };
        for (sequence, record) in records {
            // What nothing has happened to is found again by the scan.
            if !record.is_untouched() {
                subscription.recover_delivery(sequence, record, now);
            }
        }
        subscription.arm_unused();
        subscription.settle_resources(now);
        subscription
    }

    fn recover_delivery(&mut self, sequence: Sequence, mut record: Record, now: Timestamp) {
        let lease = record.lease.take().filter(|_| !is_planted(Bug::LeaseNotRestored));
        if let Some(lease) = lease {
            let expires_at = lease.expires_at.max(now + RESTART_GRACE);
            let key = self.consumers.recovered(&lease.consumer, now);
            self.consumers.take(key, sequence);
            self.arm_grace(key);
            self.timers.arm(expires_at, Timer::LeaseEnds(sequence));
            let lease = board::Lease {
                stamp: lease.stamp,
                consumer: key,
                started_at: lease.started_at,
                expires_at,
                checkpointed: true,
            };
            self.board.insert(sequence, Delivery::new(record, State::Leased(Box::new(lease))));
        } else if let Some(due) = record.due_at.filter(|due| *due > now) {
            self.timers.arm(due, Timer::Due(sequence));
            self.board.insert(sequence, Delivery::new(record, State::Waiting { due }));
        } else {
            let since = record.due_at.unwrap_or(now);
            let is_ordered = self.config.policy.leases_per_resource().is_some();
            // Those that are next are let through once all are known.
            let queue = match record.resource {
                Some(_) if is_ordered => Queue::Behind { since },
                Some(_) | None => Queue::Retry { since },
            };
            self.board.insert(sequence, Delivery::new(record, State::Ready(queue)));
        }
    }

    /// Takes in what happened. `now` is a steady clock's time, never before an earlier one.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Head { head } => self.head = self.head.max(head),
            Input::Fetched { through, matched } => self.fetched(through, matched, now),
            Input::Followed { after, through, matched } => {
                self.followed(after, through, matched, now);
            }
            Input::LookedBack { through, matched } => self.looked_back(through, matched, now),
            Input::Joined { stream, consumer, max_in_flight } => {
                self.joined(stream, &consumer, max_in_flight, now);
            }
            Input::Left { stream } => self.left(stream, now),
            Input::Written { lease, at } => self.written(&lease, at),
            Input::Unwritten { lease } => self.unwritten(&lease),
            Input::Ack { request, lease } => self.ack(request, lease, now),
            Input::Nack { request, lease, nack } => self.nack(request, lease, nack, now),
            Input::Extend { request, lease, duration, checkpoint } => {
                self.extend(request, &lease, duration, checkpoint, now);
            }
            Input::Redrive { request, letters } => self.redrive(request, letters, now),
            Input::Purge { request, sequences, edition } => {
                self.purge(request, sequences, edition);
            }
            Input::Reconfigure { request, look_back_after, policy, pause } => {
                self.reconfigure(policy, pause, now);
                self.journal.write(Change::Reconfigured { look_back_after });
                self.journal.then(self.journal.ticket(), Effect::Reconfigured { request });
            }
            Input::Seek { request, position } => self.seek(request, position, now),
            Input::Replay { request, events, ready_max } => {
                self.replay(request, events, ready_max, now);
            }
            Input::Retire { request, before, count } => self.retire(request, before, count, now),
            Input::Persisted { ticket } => self.persisted(ticket),
            Input::Drain => self.drain(),
        }
        self.after_change(now);
    }

    /// Does what is due at `now`; spurious extra calls do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.give_time_back(now);
        while let Some(timer) = self.timers.pop(now) {
            self.fire(timer, now);
        }
        self.after_change(now);
    }

    /// Returns the next time at which `handle_timeout` should be called. It may change with every call of `handle` or
    /// `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Returns the next thing to do, oldest first, until `None`. Polled after each input, or after several: what is
    /// pending then goes into one commit.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if let Some(effect) = self.effects.pop_front() {
            return Some(effect);
        }
        let (floor, scanned) = self.position();
        let commit = self.journal.commit(floor, scanned)?;
        self.finished.remove_through(floor);
        Some(commit)
    }

    /// Whether there is something to do.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        let (floor, scanned) = self.position();
        !self.effects.is_empty() || self.journal.has_commit(floor, scanned)
    }

    fn after_change(&mut self, now: Timestamp) {
        self.settle_resources(now);
        self.dispatch(now);
        self.fetch();
        let (floor, scanned) = self.position();
        if self.journal.position_is_news(floor, scanned) {
            self.timers.arm_position(now);
        }
    }

    fn persisted(&mut self, ticket: super::Ticket) {
        let (effects, blocked) = self.journal.persisted(ticket);
        self.effects.extend(effects);
        for sequence in blocked {
            self.board.unblock(sequence, ticket);
        }
    }

    fn reconfigure(&mut self, policy: Policy, pause: Pause, now: Timestamp) {
        self.gate.reconfigure(&policy, pause, now);
        if policy.flow() != self.config.policy.flow() {
            // The recovery that follows would forget the young ones. What no transport has taken ends with its stream.
            for sequence in self.consumers.sent_leases() {
                self.checkpoint(sequence);
            }
        }
        self.config.policy = Policy {
            ordering: self.config.policy.ordering,
            coalesce: self.config.policy.coalesce,
            ..policy
        };
        self.config.pause = pause;
        self.arm_unused();
        // A shorter grace is over sooner.
        for key in self.consumers.absent() {
            self.arm_grace(key);
        }
    }

    /// Writes the record of an open delivery, and keeps it from being leased until that is durable.
    fn write_open(&mut self, sequence: Sequence) -> super::Ticket {
        let ticket = self.block(sequence);
        let delivery = self.board.get(sequence).expect("only what is open is written as open");
        self.journal.write(Change::Open { sequence, record: delivery.record.clone() });
        ticket
    }

    /// Keeps a delivery from being leased until what is written next is durable.
    fn block(&mut self, sequence: Sequence) -> super::Ticket {
        let ticket = self.journal.ticket();
        let delivery = self.board.get_mut(sequence).expect("only what is open is blocked");
        delivery.unwritten = Some(ticket);
        self.journal.block(ticket, sequence);
        ticket
    }

    fn drain(&mut self) {
        self.draining = true;
        // What no transport has taken is nobody's, and is handed out again.
        for sequence in self.consumers.sent_leases() {
            self.checkpoint(sequence);
        }
        match self.journal.last_unwritten() {
            Some(ticket) => self.journal.then(ticket, Effect::Drained),
            None => self.effects.push_back(Effect::Drained),
        }
    }
}
