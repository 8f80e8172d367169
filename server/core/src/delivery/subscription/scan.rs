//! What the log brings: events that match are opened, coalesced, or given up at once.

use super::{
    Subscription,
    board::{Delivery, State},
    timers::Timer,
};
use crate::{
    delivery::{Change, Coalesce, Death, Effect, Matched, Reason, ResourceKey},
    event::Sequence,
    planted::{Bug, is_planted},
    text::cut,
    time::Timestamp,
};

/// How many events are read ahead of what consumers have room for. Memory is bounded by this, not by the backlog.
const READ_AHEAD: usize = 1_024;
/// Fewer fresh events than this, and more are fetched.
const READ_AHEAD_LOW: usize = READ_AHEAD / 2;
/// How many deliveries may be ready: with an order, those behind busy resources are read too, at 84 to 150 bytes each.
const READY_MAX: usize = 1_000_000;
/// How many changes may wait to be written before no more is taken in: each event on which a filter fails is one, and the
/// next commit has all of them, with their events.
const UNWRITTEN_MAX: usize = 1_000;
/// The most bytes that are kept of what a filter failed with.
const DETAIL_BYTES_MAX: usize = 4 * 1024;

impl Subscription {
    pub(super) fn fetched(&mut self, through: u64, matched: Vec<Matched>, now: Timestamp) {
        self.fetching = false;
        if std::mem::take(&mut self.ignores_fetch) {
            return;
        }
        self.take_in(through, matched, now);
    }

    pub(super) fn followed(
        &mut self,
        after: u64,
        through: u64,
        matched: Vec<Matched>,
        now: Timestamp,
    ) {
        if self.fetching || after != self.scanned {
            return;
        }
        self.head = self.head.max(through);
        self.take_in(through, matched, now);
    }

    fn take_in(&mut self, through: u64, matched: Vec<Matched>, now: Timestamp) {
        for event in matched {
            // A recovered subscription reads again what lies above its floor.
            if self.finished.contains(event.sequence) {
                continue;
            }
            if self.board.is_open(event.sequence) {
                self.board.learn_resource(event.sequence, event.resource);
                continue;
            }
            match event.failure {
                Some(_) if is_planted(Bug::FilterFailureSkipped) => {}
                Some(failure) => self.die_of_filter(event.sequence, failure, now),
                None => self.open_one(&event, now),
            }
        }
        self.scanned = self.scanned.max(through);
    }

    fn open_one(&mut self, event: &Matched, now: Timestamp) {
        self.board.resources.note_news(event.resource);
        self.board.open(event.sequence, event.resource);
        let Coalesce::Debounce { quiet, max_wait } = self.config.policy.coalesce else { return };
        let Some(key) = event.resource else { return };
        let received_at = event.received_at.min(now);
        let (before, until) =
            self.board.resources.wait_for_quiet(key, received_at, (quiet, max_wait));
        if let Some(before) = before {
            self.timers.disarm(before, Timer::Quiet(key));
        }
        if let Some(until) = until.filter(|until| now < *until) {
            self.timers.arm(until, Timer::Quiet(key));
        }
    }

    /// Gives an event up that the filter failed on.
    pub(super) fn die_of_filter(&mut self, sequence: Sequence, failure: String, now: Timestamp) {
        let death = Death {
            generation: self.generation,
            reason: Reason::FilterError,
            attempts: 0,
            died_at: now,
            detail: cut(failure, DETAIL_BYTES_MAX),
            redriven: false,
        };
        self.finished_one(sequence);
        self.note_dead(sequence);
        self.journal.write(Change::Dead { sequence, death, attempt: None });
    }

    /// Notes that a delivery is finished.
    pub(super) fn finished_one(&mut self, sequence: Sequence) {
        self.purged.remove(sequence);
        if sequence.get() > self.journal.position().0 {
            self.finished.insert(sequence);
        }
    }

    /// Puts every resource right that has changed: coalesces what is open, says what is new, frees what may run.
    pub(super) fn settle_resources(&mut self, now: Timestamp) {
        while let Some(key) = self.board.resources.pop_touched() {
            if self.config.policy.coalesce != Coalesce::None {
                self.coalesce(key, now);
            }
            self.tell_news(key);
            self.board.settle_resource(key, now);
        }
    }

    /// Finishes what is open of a resource and not leased, but the newest.
    fn coalesce(&mut self, key: ResourceKey, now: Timestamp) {
        let Some((older, by)) = self.board.resources.older_and_newest(key) else { return };
        let is_leased =
            |of: &Sequence| self.board.get(*of).is_some_and(|open| open.lease().is_some());
        let sequences: Vec<_> = older.into_iter().filter(|of| !is_leased(of)).collect();
        let kept_open = usize::from(is_planted(Bug::OlderNotSuperseded));
        let sequences: Vec<_> = sequences.into_iter().skip(kept_open).collect();
        if sequences.is_empty() {
            return;
        }
        for sequence in &sequences {
            // An ack of an earlier lease is too late, and is to be told so.
            if self.close(*sequence).is_some_and(|closed| closed.record.fence.is_some()) {
                self.memory.keep_superseded(*sequence, self.journal.ticket(), now);
            }
        }
        let lost = usize::from(is_planted(Bug::SupersededNotWritten));
        let sequences = sequences.into_iter().skip(lost).collect();
        self.journal.write(Change::Superseded { sequences, by, at: now });
        self.board.weigh(by, self.generation, now);
        // What it is leased with lists those; so they are written first. A lease that runs stays as it is.
        if self.board.get(by).is_some_and(|open| !matches!(open.state, State::Leased(_))) {
            self.block(by);
            if self.board.get(by).is_some_and(|open| matches!(open.state, State::Ready(_))) {
                self.board.make_ready(by, now);
            }
        }
    }

    /// Tells those who work on events of a resource that newer ones came.
    fn tell_news(&mut self, key: ResourceKey) {
        let Some((count, newest, open)) = self.board.resources.take_news(key) else { return };
        for sequence in open {
            let lease = self.board.get(sequence).and_then(Delivery::lease);
            let Some(consumer) = lease.map(|lease| lease.consumer) else { continue };
            if let Some(stream) = self.consumers.get(consumer).and_then(|c| c.stream)
                && let Some(lease) = self.lease_id(sequence)
            {
                let count = u64::from(count);
                self.effects.push_back(Effect::Newer { stream, lease, newest, count });
            }
        }
    }

    /// Whether more of the log should be looked at, if there is more. What is coalesced is looked at to the end, so that
    /// it sees the whole backlog.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        let ahead = self.board.queues.fresh.len();
        let runs_low = ahead < READ_AHEAD_LOW || self.config.policy.coalesce != Coalesce::None;
        let is_written = self.journal.pending() < UNWRITTEN_MAX;
        !self.draining && runs_low && is_written && self.board.ready() < READY_MAX
    }

    /// Whether an event is to be told of at once: a consumer waits for one, or what is ordered or coalesced takes in newer
    /// ones while older ones run.
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        self.config.policy.leases_per_resource().is_some()
            || self.board.queues.fresh.is_empty() && self.consumers.next().is_some()
    }

    /// Asks for more of the log when little is left of what was read ahead.
    pub(super) fn fetch(&mut self) {
        if self.fetching || self.head <= self.scanned || !self.wants_more() {
            return;
        }
        self.fetching = true;
        let ahead = self.board.queues.fresh.len();
        self.effects.push_back(Effect::Fetch {
            after: self.scanned,
            through: self.head,
            count: READ_AHEAD.saturating_sub(ahead).max(READ_AHEAD_LOW),
        });
    }
}
