//! What time does: leases run out, consumers are given up, waiting deliveries become ready.

use std::time::Duration;

use super::{
    Subscription,
    board::{Delivery, Lease, Queue, State},
    consumers::Key,
    settle::Failure,
    timers::Timer,
};
use crate::{
    delivery::{AttemptEnd, Effect, LossReason, policy::RESTART_GRACE},
    event::Sequence,
    planted::{Bug, is_planted},
    time::Timestamp,
};

/// A call of `handle_timeout` that is later than this gives the time back to every lease: the hub stood still, so no
/// consumer could be heard.
const LATE: Duration = Duration::from_secs(2);

impl Subscription {
    pub(super) fn fire(&mut self, timer: Timer, now: Timestamp) {
        match timer {
            Timer::Grace(key) => self.grace_is_over(key, now),
            Timer::LeaseEnds(sequence) => self.lease_ends(sequence, now),
            Timer::Checkpoint(sequence) => {
                let lease = self.board.get(sequence).and_then(Delivery::lease);
                // One that its transport has not taken begins when it does.
                let is_due = |of: &Lease| {
                    !of.checkpointed && !self.consumers.is_unsent(of.consumer, sequence)
                };
                if lease.is_some_and(is_due) && !is_planted(Bug::LeaseNotCheckpointed) {
                    self.checkpoint(sequence);
                }
            }
            Timer::Due(sequence) => self.board.make_ready(sequence, now),
            Timer::Shunned(sequence) => self.offer_to_all(sequence, now),
            Timer::Quiet(key) => self.board.resources.touch(Some(key)),
            // What it lets through is handed out after every change.
            Timer::Gate => self.gate.armed = None,
            Timer::Unused => self.may_be_unused(now),
            Timer::Position => self.journal.write_position(),
        }
    }

    /// Arms the timer of a consumer that has leases and no stream. One that is armed for earlier stays, and is armed
    /// anew when it fires: a consumer that settles a thousand leases moves its time a thousand times.
    pub(super) fn arm_grace(&mut self, key: Key) {
        let Some(at) = self.lost_at(key) else { return };
        let armed = self.consumers.grace_timer(key);
        if armed.is_some_and(|armed| armed <= at) {
            return;
        }
        if let Some(armed) = armed {
            self.timers.disarm(armed, Timer::Grace(key));
        }
        self.timers.arm(at, Timer::Grace(key));
        self.consumers.set_grace_timer(key, Some(at));
    }

    fn lost_at(&self, key: Key) -> Option<Timestamp> {
        self.consumers.lost_at(key, self.config.policy.reconnect_grace, RESTART_GRACE)
    }

    /// A consumer may have been heard of since the timer was armed: then it is armed anew.
    fn grace_is_over(&mut self, key: Key, now: Timestamp) {
        self.consumers.set_grace_timer(key, None);
        let Some(lost_at) = self.lost_at(key) else { return };
        if now < lost_at {
            self.arm_grace(key);
            return;
        }
        let Some(consumer) = self.consumers.get(key) else { return };
        let recovered = consumer.recovered;
        let leases: Vec<_> = consumer.leases.iter().copied().collect();
        for sequence in leases {
            if recovered {
                self.let_go(sequence, now);
            } else if !self.take_back_unsent(sequence) {
                let reason = "the consumer was not heard of within the reconnect grace";
                self.fail(sequence, Failure::by_time(AttemptEnd::ConsumerLost, reason), now);
            }
        }
    }

    /// Takes a delivery from a consumer that did not come back after a restart, uncounted. Its lease may still ack,
    /// until another is given.
    fn let_go(&mut self, sequence: Sequence, now: Timestamp) {
        let Some(lease) = self.board.get(sequence).and_then(Delivery::lease).cloned() else {
            return;
        };
        self.end(sequence, &lease, Some(lease.started_at)).due_at = None;
        self.write_open(sequence);
        self.board.make_ready(sequence, now);
    }

    /// Takes a lease back uncounted if its transport has not taken it, as while an event is slow to be read; returns
    /// whether it did.
    fn take_back_unsent(&mut self, sequence: Sequence) -> bool {
        let lease = self.board.get(sequence).and_then(Delivery::lease);
        let unsent = lease.filter(|lease| self.consumers.is_unsent(lease.consumer, sequence));
        let Some(lease) = unsent.cloned() else { return false };
        self.take_back(sequence, &lease);
        true
    }

    fn lease_ends(&mut self, sequence: Sequence, now: Timestamp) {
        let Some(lease) = self.board.get(sequence).and_then(Delivery::lease).cloned() else {
            return;
        };
        let full = lease.started_at + self.config.policy.max_lease <= lease.expires_at;
        let (end, loss, reason) = if full {
            let reason = "the lease reached `max_lease`";
            (AttemptEnd::MaxLeaseReached, LossReason::MaxLeaseReached, reason)
        } else {
            (AttemptEnd::LeaseExpired, LossReason::Expired, "the lease ran out")
        };
        // It may be on its way to the transport.
        self.tell_lost(sequence, lease.consumer, loss);
        if self.take_back_unsent(sequence) {
            return;
        }
        self.fail(sequence, Failure::by_time(end, reason), now);
    }

    fn offer_to_all(&mut self, sequence: Sequence, now: Timestamp) {
        let Some(delivery) = self.board.get_mut(sequence) else { return };
        delivery.shunned = None;
        let is_shunned = matches!(delivery.state, State::Ready(Queue::Shunned { .. }));
        if is_shunned {
            self.board.set(sequence, State::Ready(Queue::Retry { since: now }));
        }
    }

    /// Tells a consumer that its lease ended without its word.
    pub(super) fn tell_lost(&mut self, sequence: Sequence, consumer: Key, reason: LossReason) {
        if let Some(stream) = self.consumers.get(consumer).and_then(|c| c.stream)
            && let Some(lease) = self.lease_id(sequence)
        {
            self.effects.push_back(Effect::LeaseLost { stream, lease, reason });
        }
    }

    /// Arms the timer that looks whether the subscription is unused. One that is armed already stays; it is armed anew
    /// when it fires.
    pub(super) fn arm_unused(&mut self) {
        if let Some(after) = self.config.policy.expire_after {
            self.timers.arm(self.last_used + after, Timer::Unused);
        }
    }

    fn may_be_unused(&mut self, now: Timestamp) {
        let Some(after) = self.config.policy.expire_after else { return };
        let queues = &self.board.queues;
        if self.consumers.is_connected() || queues.leased > 0 || queues.waiting > 0 {
            self.last_used = now;
        }
        if now < self.last_used + after {
            return self.arm_unused();
        }
        self.effects.push_back(Effect::Unused);
    }

    /// Gives the time that the caller was late back to every lease, before any of them expires.
    pub(super) fn give_time_back(&mut self, now: Timestamp) {
        let late = self.timers.next().map_or(Duration::ZERO, |due| now.since(due));
        if late <= LATE {
            return;
        }
        // And `LATE` more, in which those that could not be heard can say what they have to say.
        let back = late + LATE;
        for sequence in self.consumers.all_leases() {
            let Some(lease) = self.board.get(sequence).and_then(Delivery::lease) else { continue };
            let until = lease.expires_at + back;
            self.move_end(sequence, until);
        }
        for key in self.consumers.shift(back) {
            self.arm_grace(key);
        }
    }
}
