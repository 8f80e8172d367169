//! What must be true, kept from the outside: what was appended and confirmed, what was delivered to whom under which
//! lease, what was settled and how that was answered.
//!
//! The numbers in brackets are those of the ten invariants of the delivery core.

use std::collections::BTreeMap;

use hookline_core::{
    delivery::{
        Coalesce, Creation, Ended, Epoch, Grant, LeaseId, LossReason, Ordering, Rate, Stamp,
    },
    event::Sequence,
    time::Timestamp,
};

use super::{
    events::{Kind, Takes},
    expect::Expect,
};
use crate::{
    broker::Background,
    store::{Appended, EventLog as _, memory::MemoryStore},
};

/// What is known of the run.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// The first thing that was wrong.
    pub(super) violation: Option<String>,
    /// All leases that were received, in the order in which they were.
    pub(super) leases: Vec<Lease>,
    pub(super) subs: BTreeMap<Creation, Sub>,
    pub(super) deliveries: BTreeMap<(Creation, Sequence), Delivery>,
    /// Where the log has what was appended, by number, as far as that was confirmed.
    pub(super) confirmed: BTreeMap<usize, Sequence>,
    /// What the log has, in order.
    pub(super) log: Vec<Kind>,
    pub(super) keys: BTreeMap<String, u64>,
    /// The first event that is kept, and up to where what was open could be given up.
    pub(super) first: u64,
    pub(super) hard: u64,
    /// How far the time of day was ahead of the steady clock at most since the hub was started, in microseconds: by
    /// which of its values the end of a pause was turned into a steady time is not seen.
    pub(super) wall_lead: i64,
    /// How often what happened.
    pub(super) ways: BTreeMap<&'static str, u64>,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) name: usize,
    pub(super) takes: Takes,
    pub(super) start_after: u64,
    /// By sequence, from 1.
    pub(super) expects: Vec<Expect>,
    pub(super) generation: u32,
    pub(super) floor: u64,
    pub(super) max_attempts_ever: u32,
    pub(super) expires: bool,
    pub(super) delete_asked: bool,
    pub(super) was_sought: bool,
    /// Whether its backlog was looked at again.
    pub(super) looked_back: bool,
    /// The log's end when another rule was asked for, and from where that is to hold.
    pub(super) retaking: Option<(u64, Option<u64>)>,
    /// Whether an update was asked for and may not be answered.
    pub(super) updating: bool,
    /// Whether a replay was asked for since it was looked at last: more may come than is owed.
    pub(super) replaying: bool,
    /// Whether there ever was one.
    pub(super) was_replayed: bool,
    /// Where a seek goes to that may not be answered, and when it was asked for.
    pub(super) seeking: Option<(u64, Timestamp)>,
    /// Whether nothing might be leased when it was looked at last.
    pub(super) was_paused: bool,
    pub(super) bucket: Option<Bucket>,
    /// How it orders and coalesces, and whether that was ever changed.
    pub(super) flow: (Ordering, Coalesce),
    pub(super) reordered: bool,
}

/// What a rate lets through at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) rate: Rate,
    pub(super) epoch: Epoch,
    tokens: f64,
    at: Timestamp,
}

/// A lease that was received.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    /// When it ends at the earliest.
    pub(super) deadline: Timestamp,
    /// Whether it may be over.
    pub(super) may_be_over: bool,
    pub(super) applied: bool,
    pub(super) sought: bool,
    /// In which operation it was received.
    pub(super) at: usize,
    /// Whether its consumer was reading then and before.
    pub(super) was_read_at_once: bool,
}

/// What is known of one delivery.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    pub(super) generation: u32,
    pub(super) may_rise: bool,
    /// The next attempt is one of these.
    pub(super) low: u32,
    pub(super) high: u32,
    /// In this epoch the next attempt is this.
    pub(super) exact: Option<(Epoch, u32)>,
    pub(super) last: Option<usize>,
    pub(super) acked: bool,
    pub(super) not_before: Option<Timestamp>,
    pub(super) give_backs: u32,
    pub(super) newest_applied: Option<Stamp>,
}

impl Bucket {
    pub(super) fn full(rate: Rate, epoch: Epoch, at: Timestamp) -> Self {
        Self { rate, epoch, tokens: f64::from(rate.burst), at }
    }

    /// Takes a lease out that was given then; whether there was one.
    fn take(&mut self, at: Timestamp) -> bool {
        // It was given before another that was read first.
        if at < self.at {
            return true;
        }
        let earned = at.since(self.at).as_secs_f64() * self.rate.per_second;
        self.tokens = (self.tokens + earned).min(f64::from(self.rate.burst)) - 1.0;
        self.at = at;
        self.tokens > -0.001
    }
}

impl Oracle {
    pub(super) fn ensure(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(why());
        }
    }

    pub(super) fn went(&mut self, way: &'static str) {
        *self.ways.entry(way).or_default() += 1;
    }

    /// What was appended is confirmed: it is there, and stays there.
    pub(super) fn appended(
        &mut self,
        store: &MemoryStore,
        numbers: &[usize],
        appended: &[Appended],
    ) {
        self.ensure(numbers.len() == appended.len(), || "not all were appended".to_owned());
        for (number, appended) in numbers.iter().zip(appended) {
            let before = self.confirmed.insert(*number, appended.sequence);
            // A delivery key is forgotten with its event.
            let is_known = before.is_none_or(|before| {
                before == appended.sequence || before.get() < store.first().get()
            });
            self.ensure(is_known, || format!("event {number} was appended twice"));
            self.went(if appended.duplicate { "duplicate" } else { "appended" });
        }
    }

    pub(super) fn epoch(store: &MemoryStore, creation: Creation) -> Option<Epoch> {
        store.durable(creation, |durable| durable.epoch)
    }

    fn lease_of(&self, id: &LeaseId) -> Option<usize> {
        self.leases.iter().rposition(|lease| {
            lease.id.stamp == id.stamp
                && lease.id.sequence == id.sequence
                && lease.id.creation == id.creation
        })
    }

    fn note_lease(&mut self, grant: &Grant, at: usize, was_read_at_once: bool) {
        let id = grant.lease.clone();
        let (creation, sequence, attempt) = (id.creation, id.sequence, id.attempt);
        let delivery = self.deliveries.entry((creation, sequence)).or_default();
        if delivery.generation != id.generation {
            let may_rise = delivery.may_rise
                || self.subs.get(&creation).is_some_and(|sub| sub.seeking.is_some());
            *delivery = Delivery { generation: id.generation, may_rise, ..Delivery::default() };
        }
        delivery.last = Some(self.leases.len());
        (delivery.low, delivery.high, delivery.exact) = (attempt, attempt + 1, None);
        delivery.not_before = None;
        self.leases.push(Lease {
            id,
            deadline: grant.expires_at,
            may_be_over: false,
            applied: false,
            sought: false,
            at,
            was_read_at_once,
        });
    }

    /// A consumer is told that it holds a lease.
    pub(super) fn held(&mut self, grant: Grant) {
        match self.lease_of(&grant.lease) {
            Some(known) => {
                let lease = &mut self.leases[known];
                lease.deadline = lease.deadline.max(grant.expires_at);
            }
            None => self.ensure(false, || format!("{:?} is held, and was never sent", grant.lease)),
        }
    }

    /// A delivery is received.
    pub(super) fn delivered(
        &mut self,
        store: &MemoryStore,
        grant: Grant,
        background: &Background,
        (at, reads, now): (usize, bool, Timestamp),
    ) {
        let id = &grant.lease;
        let (creation, sequence) = (id.creation, id.sequence);
        self.went("delivered");
        if store.durable(creation, |_| ()).is_none() {
            // Deleted, and the hub has not learnt it.
            return self.note_lease(&grant, at, reads);
        }
        self.ensure(self.lease_of(id).is_none(), || format!("{id:?} was given twice (2)"));
        self.check_attempt(id, now);
        self.check_free(id, now);
        self.check_gate(store, &grant, reads, now);
        let settled = |sub: &Sub| sub.retaking.is_none() && sub.seeking.is_none();
        if let Some(expect) = self.expects(creation, sequence)
            && self.subs.get(&creation).is_some_and(settled)
        {
            // A dead letter may come back although no rule takes its event any more.
            let may_come = expect.may_come() || grant.redriven;
            self.ensure(may_come, || format!("{id:?}: no rule takes the event"));
        }
        let failed = background.attempts.last().map(|attempt| attempt.number);
        let is_first = id.attempt == 1 && id.generation == 0;
        self.ensure(!is_first || failed.is_none(), || format!("{id:?} comes with attempts"));
        let known = id.attempt == 1 || failed == Some(id.attempt - 1);
        self.ensure(known, || format!("{id:?} comes without its last attempt: {failed:?}"));
        self.check_superseded(store, id, background.superseded_count);
        self.note_lease(&grant, at, reads);
    }

    pub(super) fn expects(&self, creation: Creation, sequence: Sequence) -> Option<Expect> {
        let place = usize::try_from(sequence.get() - 1).ok()?;
        self.subs.get(&creation)?.expects.get(place).copied()
    }

    /// Attempts are counted, and failures wait.
    fn check_attempt(&mut self, id: &LeaseId, now: Timestamp) {
        let fresh = Delivery { low: 1, high: 1, ..Delivery::default() };
        let (mut allowed, mut why) = (1..=1, None);
        match self.deliveries.get(&(id.creation, id.sequence)).unwrap_or(&fresh) {
            delivery if delivery.generation < id.generation => {
                let first = delivery.last.is_none();
                if !delivery.may_rise && !first {
                    why = Some("its generation rose by itself");
                }
            }
            // A dead letter of before a seek may be redriven after it.
            delivery if delivery.generation > id.generation => {
                let is_old = self.subs.get(&id.creation).is_none_or(|sub| sub.was_sought);
                if !is_old || !delivery.may_rise {
                    why = Some("its generation fell");
                }
            }
            delivery => {
                allowed = match delivery.exact {
                    Some((epoch, attempt)) if epoch == id.stamp.epoch => attempt..=attempt,
                    Some(_) | None => delivery.low..=delivery.high,
                };
                if delivery.acked {
                    why = Some("it was acked, and that confirmed (4)");
                } else if delivery.not_before.is_some_and(|due| now < due) {
                    why = Some("it comes before its time");
                }
            }
        }
        self.ensure(why.is_none(), || format!("{id:?}: {}", why.unwrap_or_default()));
        self.ensure(allowed.contains(&id.attempt), || {
            format!("{id:?} is not one of the attempts {allowed:?}")
        });
        let most = self.subs.get(&id.creation).map_or(u32::MAX, |sub| sub.max_attempts_ever);
        self.ensure(id.attempt <= most, || format!("{id:?}: only {most} attempts (3)"));
    }

    /// Nobody has a lease that is sure to run.
    fn check_free(&mut self, id: &LeaseId, now: Timestamp) {
        let last = self.deliveries.get(&(id.creation, id.sequence)).and_then(|of| of.last);
        let Some(last) = last.and_then(|last| self.leases.get(last)) else { return };
        let runs = last.id.stamp.epoch == id.stamp.epoch
            && last.id.generation == id.generation
            && !last.may_be_over
            && now < last.deadline;
        let why = format!("{id:?} while {:?} runs (2)", last.id);
        self.ensure(!runs, || why);
    }

    /// Neither a pause nor the rate forbids it.
    fn check_gate(&mut self, store: &MemoryStore, grant: &Grant, reads: bool, now: Timestamp) {
        let id = &grant.lease;
        let look = store
            .durable(id.creation, |durable| (durable.config.policy.clone(), durable.config.pause));
        let (Some((policy, pause)), Some(sub)) = (look, self.subs.get_mut(&id.creation)) else {
            return;
        };
        if sub.updating || !reads {
            return;
        }
        let is_paused = super::expect::is_paused(pause, now, self.wall_lead) && sub.was_paused;
        let mut within = true;
        if let Some(rate) = policy.rate {
            let given = grant.expires_at.saturating_sub(policy.lease_duration);
            let bucket = sub.bucket.filter(|of| of.epoch == id.stamp.epoch && of.rate == rate);
            let mut bucket = bucket.unwrap_or_else(|| Bucket::full(rate, id.stamp.epoch, given));
            within = bucket.take(given);
            sub.bucket = Some(bucket);
        }
        self.ensure(!is_paused, || format!("{id:?} while the subscription is paused"));
        self.ensure(within, || format!("{id:?} is more than the rate allows"));
    }

    /// Every event that this one superseded is counted.
    fn check_superseded(&mut self, store: &MemoryStore, id: &LeaseId, count: u64) {
        let simple = |sub: &Sub| {
            let is_moved = sub.was_sought || sub.looked_back || sub.reordered || sub.was_replayed;
            !is_moved && sub.retaking.is_none()
        };
        if id.generation > 0 || !self.subs.get(&id.creation).is_some_and(simple) {
            return;
        }
        let superseded = store.durable(id.creation, |durable| {
            let newer = |of: Sequence| match durable.pasts.ended(of) {
                Some(Ended::Superseded { by, .. }) => Some(*by),
                Some(Ended::Acked(_)) | None => None,
            };
            let ends_here = |of: Sequence| {
                std::iter::successors(newer(of), |of| newer(*of)).last() == Some(id.sequence)
            };
            let direct =
                durable.pasts.iter().filter(|(of, _)| newer(*of) == Some(id.sequence)).count();
            // What one had superseded that died is not told any more.
            direct as u64..=durable.pasts.iter().filter(|(of, _)| ends_here(*of)).count() as u64
        });
        if count > 0 {
            self.went("supersedes");
        }
        self.ensure(superseded.as_ref().is_none_or(|of| of.contains(&count)), || {
            format!("{id:?} tells of {count} older events, and there are {superseded:?}")
        });
    }

    /// A lease is said to be lost.
    pub(super) fn lost(&mut self, store: &MemoryStore, id: &LeaseId, reason: LossReason) {
        self.went("lease lost");
        let Some(lost) = self.lease_of(id) else { return };
        self.leases[lost].may_be_over = true;
        let epoch = Self::epoch(store, id.creation);
        let Some(delivery) = self.deliveries.get_mut(&(id.creation, id.sequence)) else { return };
        if reason != LossReason::Sought
            && delivery.last == Some(lost)
            && delivery.generation == id.generation
            && !self.leases[lost].applied
        {
            delivery.exact = epoch.map(|epoch| (epoch, id.attempt + 1));
        }
    }

    /// Its consumer may be given up.
    pub(super) fn left(&mut self, creation: Creation, consumer: &str) {
        for lease in &mut self.leases {
            if lease.id.creation == creation && &*lease.id.consumer == consumer {
                lease.may_be_over = true;
            }
        }
    }

    /// Every lease before a restart may be forgotten; what was written down is checked apart.
    pub(super) fn restarted(&mut self) {
        for lease in &mut self.leases {
            lease.may_be_over = true;
        }
    }

    /// A seek was answered: what was leased before it settles nothing any more.
    pub(super) fn sought(&mut self, creation: Creation, leases: usize, done: bool) {
        if !done {
            return;
        }
        self.went("sought");
        for lease in self.leases.iter_mut().take(leases) {
            if lease.id.creation == creation {
                (lease.sought, lease.may_be_over) = (true, true);
            }
        }
    }
}
