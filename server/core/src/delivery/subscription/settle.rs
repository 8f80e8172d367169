//! What consumers say about their leases: ack, nack, extend; and what a failure does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Subscription,
    board::{Delivery, Lease, State},
    memory::{Said, Word},
    timers::Timer,
};
use crate::{
    delivery::{
        Attempt, AttemptEnd, Change, Death, Effect, LeaseId, Nack, NackAction, Outcome, Reason,
        RequestId, Settlement, Ticket,
        policy::RESTART_GRACE,
        record::{ERROR_TYPE_BYTES_MAX, REASON_BYTES_MAX},
    },
    event::Sequence,
    planted::{Bug, is_planted},
    text::cut,
    time::Timestamp,
};

/// This many give-backs in a row count as one attempt, so that nothing loops for ever.
const GIVE_BACKS_MAX: u32 = 20;
/// The longest that a nack can put off the next attempt.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How a lease id stands to the state.
enum Standing {
    /// Its lease runs.
    Running,
    /// Its lease was the last one and ended without the consumer's word; an ack is still honoured.
    Late { began: Timestamp },
    /// A crash made the hub forget it, and nobody has been given the event since.
    Forgotten,
    /// It said something before.
    Said(Word),
    /// The delivery is done, and it is not known by whom.
    Done,
    /// Its lease is over.
    Over,
}

/// Why an attempt failed.
pub(super) struct Failure {
    end: AttemptEnd,
    reason: String,
    error_type: String,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that the consumer did not speak of.
    pub(super) fn by_time(end: AttemptEnd, reason: &str) -> Self {
        Self { end, reason: reason.into(), error_type: String::new(), retry_after: None }
    }
}

impl Subscription {
    /// Returns the running lease that an id names.
    pub(super) fn running(&self, id: &LeaseId) -> Option<&Lease> {
        let lease = self.board.get(id.sequence)?.lease()?;
        (lease.stamp == id.stamp && id.creation == self.config.creation).then_some(lease)
    }

    /// Returns the id of the lease that runs.
    pub(super) fn lease_id(&self, sequence: Sequence) -> Option<LeaseId> {
        let delivery = self.board.get(sequence)?;
        let lease = delivery.lease()?;
        Some(LeaseId {
            creation: self.config.creation,
            sequence,
            generation: delivery.record.generation,
            attempt: delivery.record.attempts.saturating_add(1),
            stamp: lease.stamp,
            consumer: Arc::clone(&self.consumers.get(lease.consumer)?.name),
        })
    }

    fn standing(&self, id: &LeaseId) -> Standing {
        // Of a deleted subscription: its sequences and stamps mean nothing here.
        if id.creation != self.config.creation {
            return Standing::Over;
        }
        if let Some(word) = self.memory.word(id.sequence, id.stamp) {
            return Standing::Said(word);
        }
        if self.fence.is_some_and(|fence| id.stamp <= fence) {
            return Standing::Over;
        }
        let Some(delivery) = self.board.get(id.sequence) else {
            return self.standing_without_facts(id);
        };
        let record = &delivery.record;
        if let Some(lease) = delivery.lease() {
            if is_planted(Bug::LateAckAfterAnotherLease) && lease.stamp != id.stamp {
                return Standing::Late { began: lease.started_at };
            }
            return if lease.stamp == id.stamp { Standing::Running } else { Standing::Over };
        }
        if record.generation != id.generation {
            return Standing::Over;
        }
        if record.fence == Some(id.stamp) {
            return record.late_ack.map_or(Standing::Over, |began| Standing::Late { began });
        }
        let newer = record.fence.is_none_or(|fence| fence < id.stamp);
        let next = record.attempts.saturating_add(1) == id.attempt;
        if newer && next && id.stamp.epoch < self.epoch {
            Standing::Forgotten
        } else if is_planted(Bug::StaleSettle) {
            Standing::Late { began: Timestamp::EPOCH }
        } else {
            Standing::Over
        }
    }

    /// As [`Subscription::standing`], of a delivery that is light, closed, or not read yet.
    fn standing_without_facts(&self, id: &LeaseId) -> Standing {
        let finished = self.finished.contains(id.sequence) || id.sequence.get() <= self.scanned;
        if self.board.is_light(id.sequence) || !finished {
            // Open, and never failed: read since the recovery, or not yet.
            let first = id.generation == self.generation && id.attempt == 1;
            let forgotten = first && id.stamp.epoch < self.epoch;
            return if forgotten { Standing::Forgotten } else { Standing::Over };
        }
        let is_dead = self.dead.contains(id.sequence) || self.purged.contains(id.sequence);
        if is_dead || self.memory.knows_end(id.sequence) {
            return Standing::Over;
        }
        Standing::Done
    }

    /// Opens a delivery that a forgotten lease speaks of, if it has not been read yet.
    fn open_forgotten(&mut self, sequence: Sequence) {
        if !self.board.is_open(sequence) {
            self.board.open(sequence, None);
        }
    }

    pub(super) fn ack(&mut self, request: RequestId, id: LeaseId, now: Timestamp) {
        self.heard(&id, now);
        let leased_at = match self.standing(&id) {
            Standing::Running => {
                let lease = self.running(&id).expect("it runs").clone();
                self.stop(id.sequence, &lease);
                lease.started_at
            }
            Standing::Late { began } => began,
            Standing::Forgotten => {
                self.open_forgotten(id.sequence);
                now
            }
            Standing::Said(word) => return self.repeat(request, word, Said::Ack),
            Standing::Done => return self.already_done(request),
            Standing::Over => return self.settled(request, Outcome::Stale),
        };
        let settlement = Settlement {
            consumer: id.consumer.as_ref().into(),
            attempt: id.attempt,
            leased_at,
            done_at: now,
        };
        self.close(id.sequence);
        self.gate.worked();
        self.journal.write(Change::Done { sequence: id.sequence, settlement });
        self.keep(request, &id, Said::Ack, self.journal.ticket(), now);
    }

    pub(super) fn nack(&mut self, request: RequestId, id: LeaseId, nack: Nack, now: Timestamp) {
        self.heard(&id, now);
        let said = match nack.action {
            NackAction::Retry => Said::Retry,
            NackAction::DeadLetter => Said::DeadLetter,
            NackAction::Release => Said::Release,
        };
        match self.standing(&id) {
            Standing::Running => {}
            Standing::Forgotten => self.take_up(&id, now),
            Standing::Said(word) => return self.repeat(request, word, said),
            Standing::Late { .. } | Standing::Done | Standing::Over => {
                return self.settled(request, Outcome::Stale);
            }
        }
        let retry_after = nack.retry_after.map(|after| after.min(RETRY_AFTER_MAX));
        let end = match nack.action {
            NackAction::Retry => AttemptEnd::Nacked,
            NackAction::DeadLetter => AttemptEnd::Rejected,
            NackAction::Release => {
                let ticket = self.release(&id, retry_after, now);
                return self.keep(request, &id, said, ticket, now);
            }
        };
        let failure = Failure {
            end,
            reason: cut(nack.reason, REASON_BYTES_MAX),
            error_type: cut(nack.error_type, ERROR_TYPE_BYTES_MAX),
            retry_after,
        };
        let ticket = self.fail(id.sequence, failure, now);
        self.keep(request, &id, said, ticket, now);
    }

    /// Notes that a consumer was heard of, whatever becomes of what it said. One that a restart cut off is from now on
    /// given up as any other.
    fn heard(&mut self, id: &LeaseId, now: Timestamp) {
        if id.creation != self.config.creation {
            return;
        }
        self.last_used = now;
        if let Some(key) = self.consumers.heard(&id.consumer, now) {
            self.arm_grace(key);
        }
    }

    /// Lets a lease run again that a crash made the hub forget.
    fn take_up(&mut self, id: &LeaseId, now: Timestamp) {
        self.open_forgotten(id.sequence);
        let consumer = self.consumers.enter(&id.consumer, now);
        let expires_at = now + self.config.policy.lease_duration;
        let lease =
            Lease { stamp: id.stamp, consumer, started_at: now, expires_at, checkpointed: false };
        self.consumers.take(consumer, id.sequence);
        self.start(id.sequence, lease, now);
        self.arm_grace(consumer);
    }

    pub(super) fn extend(
        &mut self,
        request: RequestId,
        id: &LeaseId,
        duration: Option<Duration>,
        checkpoint: Option<Bytes>,
        now: Timestamp,
    ) {
        self.heard(id, now);
        match self.standing(id) {
            Standing::Running => {}
            Standing::Forgotten => self.take_up(id, now),
            Standing::Said(_) => return self.extended(request, Err(Outcome::Conflict)),
            Standing::Late { .. } | Standing::Done | Standing::Over => {
                return self.extended(request, Err(Outcome::Stale));
            }
        }
        let policy = &self.config.policy;
        let lease = self.running(id).expect("it runs, or was taken up");
        let wanted = now + duration.unwrap_or(policy.lease_duration);
        let until = wanted.min(lease.started_at + policy.max_lease).max(lease.expires_at);
        self.move_end(id.sequence, until);
        // A restart keeps a lease for the restart grace; what is promised beyond that is written first. What is saved of
        // the work is written with the lease that saved it.
        if (checkpoint.is_some() || now + RESTART_GRACE < until)
            && let Some(ticket) = self.checkpoint(id.sequence)
        {
            if let Some(checkpoint) = checkpoint {
                self.journal.write(Change::Checkpointed { sequence: id.sequence, checkpoint });
            }
            let answer = Effect::Extended { request, result: Ok(until) };
            return self.journal.then(ticket, answer);
        }
        self.extended(request, Ok(until));
    }

    /// Gives a delivery back, uncounted; unless that happened too often.
    fn release(&mut self, id: &LeaseId, retry_after: Option<Duration>, now: Timestamp) -> Ticket {
        let give_backs =
            self.board.get(id.sequence).map_or(0, |d| d.record.give_backs).saturating_add(1);
        if give_backs >= GIVE_BACKS_MAX {
            let reason = "given back 20 times in a row, which counts as one attempt";
            let failure = Failure::by_time(AttemptEnd::ReleasedTooOften, reason);
            return self.fail(id.sequence, failure, now);
        }
        let lease = self.running(id).expect("it is released while it runs").clone();
        let record = self.end(id.sequence, &lease, None);
        record.give_backs = give_backs;
        record.attempts += u32::from(is_planted(Bug::ReleaseCounts));
        record.due_at = retry_after.map(|after| now + after);
        match record.due_at {
            Some(due) => {
                self.timers.arm(due, Timer::Due(id.sequence));
                self.board.set(id.sequence, State::Waiting { due });
                self.write_open(id.sequence)
            }
            None => {
                let until = now + self.config.policy.initial_backoff;
                let shunned = Box::new((Arc::clone(&id.consumer), until));
                let delivery = self.board.get_mut(id.sequence).expect("it is open");
                if let Some(before) = delivery.shunned.replace(shunned) {
                    self.timers.disarm(before.1, Timer::Shunned(id.sequence));
                }
                self.timers.arm(until, Timer::Shunned(id.sequence));
                let ticket = self.write_open(id.sequence);
                self.board.make_ready(id.sequence, now);
                ticket
            }
        }
    }

    /// Ends a running lease as a failed attempt: the delivery waits, or is dead.
    pub(super) fn fail(&mut self, sequence: Sequence, failure: Failure, now: Timestamp) -> Ticket {
        let lease = self.board.get(sequence).and_then(Delivery::lease).cloned();
        let lease = lease.expect("only a running lease fails");
        let consumer = self.consumers.get(lease.consumer).expect("it has a lease");
        let consumer = consumer.name.as_ref().into();
        let began = failure.end.allows_late_ack().then_some(lease.started_at);
        let record = self.end(sequence, &lease, began);
        let counted = u32::from(!is_planted(Bug::AttemptNotCounted));
        record.attempts = record.attempts.saturating_add(counted);
        record.give_backs = 0;
        let attempts = record.attempts;
        let attempt = Attempt {
            number: attempts,
            consumer,
            started_at: lease.started_at,
            ended_at: now,
            end: failure.end,
            reason: failure.reason,
            error_type: failure.error_type,
        };
        if failure.end == AttemptEnd::Rejected {
            self.gate.worked();
            return self.die(sequence, Reason::Rejected, attempt, now);
        }
        self.gate.failed(self.config.policy.breaker, now);
        if attempts >= self.config.policy.max_attempts {
            return self.die(sequence, Reason::MaxAttempts, attempt, now);
        }
        let random = self.random.f64() * 2.0 - 1.0;
        let backoff = self.config.policy.backoff(attempts, random);
        let backoff = if is_planted(Bug::RetryIgnoresBackoff) { Duration::ZERO } else { backoff };
        let due = now + failure.retry_after.unwrap_or(backoff);
        let record = &mut self.board.get_mut(sequence).expect("it is open").record;
        record.due_at = Some(due);
        let record = record.clone();
        self.timers.arm(due, Timer::Due(sequence));
        self.board.set(sequence, State::Waiting { due });
        self.journal.write(Change::Failed { sequence, record, attempt });
        self.block(sequence)
    }

    /// Gives a delivery up.
    fn die(
        &mut self,
        sequence: Sequence,
        reason: Reason,
        attempt: Attempt,
        now: Timestamp,
    ) -> Ticket {
        let record = self.close(sequence).map(|delivery| delivery.record).unwrap_or_default();
        let death = Death {
            generation: record.generation,
            reason,
            attempts: record.attempts,
            died_at: now,
            detail: String::new(),
            redriven: record.redriven,
        };
        self.note_dead(sequence);
        if is_planted(Bug::ResourceNotFreedAfterDeath) {
            self.board.resources.lease(record.resource, sequence);
        }
        let attempt = Some(attempt).filter(|_| !is_planted(Bug::DeadWithoutLastAttempt));
        self.journal.write(Change::Dead { sequence, death, attempt });
        self.journal.ticket()
    }

    /// Takes a delivery off the board: it is finished. Returns its facts, if it had any.
    pub(super) fn close(&mut self, sequence: Sequence) -> Option<Delivery> {
        let delivery = self.board.remove(sequence);
        if let Some(delivery) = &delivery {
            self.disarm(sequence, &delivery.state);
            if let Some(shunned) = &delivery.shunned {
                self.timers.disarm(shunned.1, Timer::Shunned(sequence));
            }
        }
        self.finished_one(sequence);
        delivery
    }

    /// Remembers what a lease said, and answers once it is durable.
    fn keep(
        &mut self,
        request: RequestId,
        id: &LeaseId,
        said: Said,
        ticket: Ticket,
        now: Timestamp,
    ) {
        self.memory.keep(id.sequence, id.stamp, Word { said, ticket }, now);
        if is_planted(Bug::AckBeforeWrite) && said == Said::Ack {
            return self.settled(request, Outcome::Applied);
        }
        self.journal.then(ticket, Effect::Settled { request, outcome: Outcome::Applied });
    }

    /// Answers a lease that has spoken before.
    fn repeat(&mut self, request: RequestId, word: Word, said: Said) {
        if word.said != said {
            return self.settled(request, Outcome::Conflict);
        }
        if self.journal.is_durable(word.ticket) {
            return self.settled(request, Outcome::AlreadyApplied);
        }
        let answer = Effect::Settled { request, outcome: Outcome::AlreadyApplied };
        self.journal.then(word.ticket, answer);
    }

    /// Answers an ack of a delivery that somebody acked, it is not known who. That is mostly long ago; but where what is
    /// remembered was full, it may be in a commit that is not durable yet.
    fn already_done(&mut self, request: RequestId) {
        let answer = Effect::Settled { request, outcome: Outcome::AlreadyApplied };
        match self.journal.last_unwritten() {
            Some(ticket) => self.journal.then(ticket, answer),
            None => self.effects.push_back(answer),
        }
    }

    fn settled(&mut self, request: RequestId, outcome: Outcome) {
        self.effects.push_back(Effect::Settled { request, outcome });
    }

    fn extended(&mut self, request: RequestId, result: Result<Timestamp, Outcome>) {
        self.effects.push_back(Effect::Extended { request, result });
    }
}
