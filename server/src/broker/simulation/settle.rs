//! What is known from the answers to settles and extensions, and what they must not say.

use hookline_core::{
    delivery::{Ended, LeaseId, NackAction, Outcome},
    time::Timestamp,
};

use super::{
    operation::Say,
    oracle::{Lease, Oracle, Sub},
};
use crate::{broker::LeaseOutcome, store::memory::MemoryStore};

/// From so many on, what is given back without counting may count after all.
const GIVE_BACKS_SURE: u32 = 15;

impl Oracle {
    /// Whether a newer lease of the delivery was given, and is not forgotten.
    fn has_newer(&self, store: &MemoryStore, id: &LeaseId) -> bool {
        let epoch = Self::epoch(store, id.creation);
        self.leases.iter().any(|other| {
            other.id.creation == id.creation
                && other.id.sequence == id.sequence
                && other.id.stamp > id.stamp
                && Some(other.id.stamp.epoch) == epoch
        })
    }

    /// A settle is answered.
    pub(super) fn settled(
        &mut self,
        store: &MemoryStore,
        lease: usize,
        (say, asked_at): (Say, Timestamp),
        outcome: LeaseOutcome<Outcome>,
        now: Timestamp,
    ) {
        let id = self.leases[lease].id.clone();
        match outcome {
            LeaseOutcome::Answered(Outcome::Applied) => {
                self.went(match say {
                    Say::Ack => "acked",
                    Say::Nack(NackAction::Retry, _) => "nacked",
                    Say::Nack(NackAction::DeadLetter, _) => "rejected",
                    Say::Nack(NackAction::Release, _) => "released",
                });
                self.check_applied(store, lease, say);
                self.apply(store, lease, say, asked_at);
            }
            LeaseOutcome::Answered(Outcome::Stale) => {
                self.went("stale");
                let of = &self.leases[lease];
                let last = self.deliveries.get(&(id.creation, id.sequence));
                let runs = !of.may_be_over
                    && now < of.deadline
                    && last.is_some_and(|last| last.last == Some(lease))
                    && Self::epoch(store, id.creation) == Some(id.stamp.epoch);
                self.ensure(!runs, || format!("{id:?} runs, and is said to be stale"));
            }
            LeaseOutcome::Answered(Outcome::AlreadyApplied) => self.went("already applied"),
            LeaseOutcome::Answered(Outcome::Conflict) => self.went("conflict"),
            LeaseOutcome::Invalid => self.ensure(false, || format!("{id:?} is said to be invalid")),
            LeaseOutcome::Gone => self.went("gone"),
            LeaseOutcome::Retry => {
                self.went("told to retry");
                self.leases[lease].may_be_over = true;
                if let Some(delivery) = self.deliveries.get_mut(&(id.creation, id.sequence))
                    && delivery.generation == id.generation
                {
                    delivery.low = delivery.low.min(id.attempt);
                    delivery.high = delivery.high.max(id.attempt + 1);
                    delivery.exact = None;
                }
            }
        }
    }

    fn check_applied(&mut self, store: &MemoryStore, lease: usize, say: Say) {
        let Lease { id, applied, sought, .. } = &self.leases[lease];
        let (id, applied, sought) = (id.clone(), *applied, *sought);
        self.ensure(!applied, || format!("{id:?} was honoured twice (5)"));
        self.ensure(!sought, || format!("{id:?} is honoured after a seek (5)"));
        let newer = self.has_newer(store, &id);
        self.ensure(!newer, || format!("{id:?} is honoured after a newer lease (2)"));
        if let Some(delivery) = self.deliveries.get(&(id.creation, id.sequence)) {
            let (acked, newest) = (delivery.acked, delivery.newest_applied);
            self.ensure(!acked, || format!("{id:?} is honoured, and was acked before (2)"));
            let is_newer = newest.is_none_or(|newest| newest < id.stamp);
            self.ensure(is_newer, || format!("{id:?} is honoured after a newer settle (5)"));
        }
        let is_moving = |sub: &Sub| sub.seeking.is_some() || sub.replaying;
        if self.subs.get(&id.creation).is_none_or(is_moving) {
            return;
        }
        let written = store.durable(id.creation, |durable| {
            let is_acked = matches!(durable.pasts.ended(id.sequence), Some(Ended::Acked(_)));
            let record = durable.snapshot.records.get(&id.sequence);
            let is_fenced = record.is_some_and(|record| record.fence >= Some(id.stamp));
            match say {
                Say::Ack => is_acked,
                Say::Nack(..) => {
                    is_fenced
                        || durable.pasts.ended(id.sequence).is_some()
                        || durable.letters.contains_key(&id.sequence)
                        || durable.snapshot.purged.contains(id.sequence)
                }
            }
        });
        self.ensure(written != Some(false), || format!("{id:?} {say:?}: not written (4)"));
    }

    fn apply(&mut self, store: &MemoryStore, lease: usize, say: Say, asked_at: Timestamp) {
        let id = self.leases[lease].id.clone();
        (self.leases[lease].applied, self.leases[lease].may_be_over) = (true, true);
        let updating = self.subs.get(&id.creation).is_none_or(|sub| sub.updating);
        let policy = store.durable(id.creation, |durable| durable.config.policy.clone());
        let Some(delivery) = self.deliveries.get_mut(&(id.creation, id.sequence)) else { return };
        if delivery.generation != id.generation {
            return;
        }
        delivery.newest_applied = Some(id.stamp);
        delivery.exact = None;
        match say {
            Say::Ack => delivery.acked = true,
            Say::Nack(NackAction::Retry, after) => {
                (delivery.low, delivery.high) = (id.attempt + 1, id.attempt + 1);
                delivery.give_backs = 0;
                let backoff = policy.filter(|_| !updating).map(|of| of.backoff(id.attempt, -1.0));
                delivery.not_before = after.or(backoff).map(|wait| asked_at + wait);
            }
            Say::Nack(NackAction::DeadLetter, _) => {}
            Say::Nack(NackAction::Release, after) => {
                delivery.give_backs += 1;
                let may_count = u32::from(delivery.give_backs > GIVE_BACKS_SURE);
                (delivery.low, delivery.high) = (id.attempt, id.attempt + may_count);
                delivery.not_before = after.map(|wait| asked_at + wait);
            }
        }
    }

    /// An extension is answered.
    pub(super) fn extended(
        &mut self,
        store: &MemoryStore,
        lease: usize,
        outcome: LeaseOutcome<Result<Timestamp, Outcome>>,
    ) {
        let LeaseOutcome::Answered(Ok(until)) = outcome else { return };
        self.went("extended");
        let id = self.leases[lease].id.clone();
        let newer = self.has_newer(store, &id);
        self.ensure(!newer, || format!("{id:?} is extended after a newer lease (2)"));
        let Lease { applied, sought, deadline, .. } = &mut self.leases[lease];
        let over = *applied || *sought;
        *deadline = (*deadline).max(until);
        self.ensure(!over, || format!("{id:?} is extended, and was over (5)"));
        if let Some(delivery) = self.deliveries.get_mut(&(id.creation, id.sequence)) {
            delivery.last = Some(lease);
        }
    }
}
