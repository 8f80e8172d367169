//! Which event goes to which consumer, and what is read ahead for that.

use std::sync::Arc;

use super::{
    Subscription,
    board::{Lease, Queue, State},
    consumers::Key,
    gate::Closed,
    timers::Timer,
};
use crate::{
    delivery::{Change, Coalesce, Effect, Grant, LeaseId, LeaseRecord, Record, Stamp, StreamId},
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

/// How many deliveries may wait for their next attempt before fresh events wait too.
pub(super) const WAITING_MAX: usize = 1_000_000;

impl Subscription {
    pub(super) fn joined(
        &mut self,
        stream: StreamId,
        name: &Arc<str>,
        max_in_flight: u32,
        now: Timestamp,
    ) {
        self.last_used = now;
        let (key, before, unsent) = self.consumers.join(name, stream, max_in_flight, now);
        if let Some(before) = before {
            self.effects.push_back(Effect::TakenOver { stream: before });
        }
        let consumer = self.consumers.get(key).expect("it has just joined");
        // What was on its way to a stream of before never gets there, and comes back.
        let held = consumer.leases.difference(&unsent);
        let held = held.filter_map(|sequence| self.grant_of(*sequence)).collect();
        self.effects.push_back(Effect::Ready { stream, held });
    }

    pub(super) fn left(&mut self, stream: StreamId, now: Timestamp) {
        if let Some(key) = self.consumers.leave(stream, now) {
            self.last_used = now;
            self.arm_grace(key);
        }
    }

    /// Hands out what can be handed out.
    pub(super) fn dispatch(&mut self, now: Timestamp) {
        if self.draining {
            return;
        }
        while let Some((key, sequence, again)) = self.next_lease() {
            if let Some(closed) = self.gate.closed(&self.config.policy, now)
                && !(again && is_planted(Bug::PauseIgnoredForRetries))
            {
                return self.arm_gate(closed);
            }
            self.retry_was_last = again;
            self.gate.leased(&self.config.policy, sequence, now);
            self.lease(sequence, key, now);
            self.settle_resources(now);
        }
    }

    /// Arms the timer that looks whether there may be leases again.
    fn arm_gate(&mut self, closed: Closed) {
        if let Some(armed) = self.gate.armed.take() {
            self.timers.disarm(armed, Timer::Gate);
        }
        if let Some(until) = closed.until() {
            self.gate.armed = Some(until);
            self.timers.arm(until, Timer::Gate);
        }
    }

    /// Returns who gets what next, and whether it was tried before. While there are both, fresh deliveries and those that
    /// were tried before take turns.
    fn next_lease(&self) -> Option<(Key, Sequence, bool)> {
        let key = self.consumers.next()?;
        let queues = &self.board.queues;
        let fresh = queues.fresh.first().copied().filter(|_| queues.waiting < WAITING_MAX);
        if let Some(fresh) = fresh.filter(|_| self.retry_was_last) {
            return Some((key, fresh, false));
        }
        let retry = queues.retries.first().map(|(_, sequence)| (key, *sequence));
        if let Some((key, again)) = self.next_given_back(key).or(retry) {
            return Some((key, again, true));
        }
        fresh.map(|sequence| (key, sequence, false))
    }

    /// Returns a delivery that was given back, with a consumer that is not the one who did so: `key`, which is served
    /// next, if it can be.
    fn next_given_back(&self, key: Key) -> Option<(Key, Sequence)> {
        let shunned = &self.board.queues.shunned;
        let name = &self.consumers.get(key)?.name;
        // At most one of them is its own.
        let (key, sequences) = match shunned.iter().find(|(by, _)| *by != name) {
            Some((_, of_another)) => (key, of_another),
            None => (self.consumers.next_but(name)?, shunned.get(name)?),
        };
        sequences.first().map(|sequence| (key, *sequence))
    }

    /// Leases a ready delivery to a consumer with room.
    fn lease(&mut self, sequence: Sequence, key: Key, now: Timestamp) {
        self.lease_counter += 1;
        let stamp = Stamp { epoch: self.epoch, counter: self.lease_counter };
        let expires_at = now + self.config.policy.lease_duration;
        self.consumers.hand(key, sequence);
        self.start(
            sequence,
            Lease { stamp, consumer: key, started_at: now, expires_at, checkpointed: false },
            now,
        );
        let stream = self.consumers.get(key).and_then(|consumer| consumer.stream);
        let stream = stream.expect("only a consumer with a stream has room");
        let grant = self.grant_of(sequence).expect("it has just been leased");
        self.effects.push_back(Effect::Deliver { stream, grant });
    }

    /// Puts an open delivery under a lease, which its consumer has.
    pub(super) fn start(&mut self, sequence: Sequence, lease: Lease, now: Timestamp) {
        self.board.weigh(sequence, self.generation, now);
        self.timers.arm(lease.expires_at, Timer::LeaseEnds(sequence));
        self.timers.arm(lease.checkpoint_at(), Timer::Checkpoint(sequence));
        let before = self.board.set(sequence, State::Leased(Box::new(lease)));
        self.disarm(sequence, &before);
    }

    fn grant_of(&self, sequence: Sequence) -> Option<Grant> {
        let lease = self.lease_id(sequence)?;
        let delivery = self.board.get(sequence)?;
        Some(Grant {
            lease,
            expires_at: delivery.lease()?.expires_at,
            background: !delivery.record.is_untouched()
                || self.config.policy.coalesce != Coalesce::None,
            redriven: delivery.record.redriven,
        })
    }

    pub(super) fn written(&mut self, id: &LeaseId, at: Timestamp) {
        let duration = self.config.policy.lease_duration;
        let Some(lease) = self.running(id) else { return };
        let (consumer, until) = (lease.consumer, lease.expires_at.max(at + duration));
        let (before, checkpointed) = (lease.checkpoint_at(), lease.checkpointed);
        self.consumers.sent(consumer, id.sequence);
        self.move_end(id.sequence, until);
        if let Some(lease) = self.board.lease_mut(id.sequence) {
            lease.started_at = at;
            self.timers.disarm(before, Timer::Checkpoint(id.sequence));
            self.timers.arm(lease.checkpoint_at(), Timer::Checkpoint(id.sequence));
        }
        // The transport was slow, and what was written down is no longer so.
        if checkpointed {
            self.checkpoint(id.sequence);
        }
    }

    /// Moves the end of a running lease.
    pub(super) fn move_end(&mut self, sequence: Sequence, until: Timestamp) {
        let Some(lease) = self.board.lease_mut(sequence) else { return };
        let before = std::mem::replace(&mut lease.expires_at, until);
        self.timers.disarm(before, Timer::LeaseEnds(sequence));
        self.timers.arm(until, Timer::LeaseEnds(sequence));
    }

    pub(super) fn unwritten(&mut self, id: &LeaseId) {
        if let Some(lease) = self.running(id).cloned() {
            self.take_back(id.sequence, &lease);
        }
    }

    /// Ends a lease that its transport has not taken, uncounted.
    pub(super) fn take_back(&mut self, sequence: Sequence, lease: &Lease) {
        self.consumers.left_unsent(lease.consumer, sequence);
        self.end(sequence, lease, None);
        if lease.checkpointed {
            self.write_open(sequence);
        }
        self.board.make_ready(sequence, lease.started_at);
    }

    /// Ends a lease as far as its consumer and its timers go; what becomes of the delivery is the caller's.
    pub(super) fn stop(&mut self, sequence: Sequence, lease: &Lease) {
        self.timers.disarm(lease.expires_at, Timer::LeaseEnds(sequence));
        self.timers.disarm(lease.checkpoint_at(), Timer::Checkpoint(sequence));
        self.consumers.give(lease.consumer, sequence);
        self.gate.ended(sequence);
    }

    /// As [`Subscription::stop`]; and neither that lease nor one before it settles anything from then on, but for a late
    /// ack of one that `began` then. Returns the record, for the caller to go on with.
    pub(super) fn end(
        &mut self,
        sequence: Sequence,
        lease: &Lease,
        began: Option<Timestamp>,
    ) -> &mut Record {
        self.stop(sequence, lease);
        let record = &mut self.board.get_mut(sequence).expect("its lease ran").record;
        (record.fence, record.late_ack) = (Some(lease.stamp), began);
        record
    }

    /// Takes out the timers of a state that is left.
    pub(super) fn disarm(&mut self, sequence: Sequence, state: &State) {
        match state {
            State::Waiting { due } => self.timers.disarm(*due, Timer::Due(sequence)),
            State::Ready(
                Queue::Retry { .. }
                | Queue::Shunned { .. }
                | Queue::Unwritten { .. }
                | Queue::Behind { .. },
            )
            | State::Leased(_) => {}
        }
    }

    /// Writes a running lease down, so that it lives on after a restart.
    pub(super) fn checkpoint(&mut self, sequence: Sequence) -> Option<crate::delivery::Ticket> {
        let delivery = self.board.get_mut(sequence)?;
        let State::Leased(lease) = &mut delivery.state else { return None };
        lease.checkpointed = true;
        let consumer = self.consumers.get(lease.consumer)?.name.as_ref().into();
        let lease = LeaseRecord {
            stamp: lease.stamp,
            consumer,
            started_at: lease.started_at,
            expires_at: lease.expires_at,
        };
        let lease = Some(Box::new(lease));
        let record = Record { lease, ..delivery.record.clone() };
        self.journal.write(Change::Open { sequence, record });
        Some(self.journal.ticket())
    }
}
