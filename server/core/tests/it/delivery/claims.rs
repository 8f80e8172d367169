//! What consumers say about leases, as the reference judges it.

use std::time::Duration;

use hookline_core::{
    delivery::{AttemptEnd, LeaseId, Nack, NackAction, Outcome, Policy, RequestId, Stamp},
    time::Timestamp,
};

use super::{
    harness::{MINUTE, SECOND},
    reference::{Consumer, Due, End, Expected, Reference, Run, Said, Word},
};

/// How a lease stands to its delivery.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Runs,
    MayAck,
    Forgotten,
    Over,
}

impl Reference {
    fn standing(&self, lease: &LeaseId) -> Standing {
        let Some(delivery) = self.deliveries.get(&lease.sequence.get()) else {
            return Standing::Over;
        };
        let facts = &delivery.live;
        if let Some(run) = &delivery.run {
            return if run.stamp == lease.stamp { Standing::Runs } else { Standing::Over };
        }
        if facts.end != End::Open || facts.generation != lease.generation {
            return Standing::Over;
        }
        if facts.ended == Some(lease.stamp) {
            return if facts.late_ack { Standing::MayAck } else { Standing::Over };
        }
        // Given before the crash, the last that was given, and nobody was since.
        let nobody_since = facts.ended.is_none_or(|ended| ended < lease.stamp);
        let its_turn = facts.attempts + 1 == lease.attempt;
        if lease.stamp.epoch.0 < self.epoch && nobody_since && its_turn {
            Standing::Forgotten
        } else {
            Standing::Over
        }
    }

    /// Returns the outcome of a lease that has spoken before, or whose delivery is closed, with the version that it
    /// speaks of.
    fn repeated(&self, lease: &LeaseId, said: Option<Said>, now: Timestamp) -> (Vec<Outcome>, u64) {
        let n = lease.sequence.get();
        if let Some(word) = self.words.get(&(n, lease.stamp)) {
            let same = said == Some(word.said);
            let outcome = if same { Outcome::AlreadyApplied } else { Outcome::Conflict };
            if now.since(word.at) < MINUTE * 10 {
                return (vec![outcome], if same { word.version } else { 0 });
            }
            return (vec![outcome, Outcome::AlreadyApplied, Outcome::Stale], 0);
        }
        let end = self.deliveries.get(&n).map(|delivery| delivery.live.end);
        let superseded = matches!(end, Some(End::Superseded(_)));
        if let Some(at) =
            self.superseded_at.get(&n).filter(|_| superseded && said == Some(Said::Ack))
        {
            let is_known = now.since(*at) < MINUTE * 10;
            let late = if is_known { vec![] } else { vec![Outcome::AlreadyApplied] };
            return ([late, vec![Outcome::Stale]].concat(), 0);
        }
        let done = superseded || end == Some(End::Done);
        if !done || said != Some(Said::Ack) {
            return (vec![Outcome::Stale], 0);
        }
        let by_another =
            self.words.iter().find(|((of, _), word)| *of == n && word.said == Said::Ack);
        match by_another {
            None => (vec![Outcome::AlreadyApplied], 0),
            Some((_, word)) if now.since(word.at) < MINUTE * 10 => (vec![Outcome::Stale], 0),
            Some(_) => (vec![Outcome::AlreadyApplied, Outcome::Stale], 0),
        }
    }

    pub(super) fn settle(
        &mut self,
        request: RequestId,
        lease: &LeaseId,
        nack: Option<&Nack>,
        now: Timestamp,
    ) {
        let said = nack.map_or(Said::Ack, |nack| Said::Nack(nack.action));
        let ack = said == Said::Ack;
        let ours = lease.creation.0 == 1;
        if ours {
            self.heard(&lease.consumer, now);
        }
        let standing = self.standing(lease);
        let spoke = self.words.contains_key(&(lease.sequence.get(), lease.stamp));
        let takes = match standing {
            Standing::Runs | Standing::Forgotten => true,
            Standing::MayAck => ack,
            Standing::Over => false,
        };
        match standing {
            Standing::MayAck if ack && !spoke => self.went("late ack"),
            Standing::Forgotten if !spoke => self.went("forgotten lease settles"),
            Standing::Runs | Standing::MayAck | Standing::Forgotten | Standing::Over => {}
        }
        let (allowed, version) = if !ours {
            (vec![Outcome::Stale], 0)
        } else if spoke || !takes {
            self.repeated(lease, Some(said), now)
        } else {
            (vec![Outcome::Applied], self.apply(lease, nack, now))
        };
        let settled = Expected::Settled { lease: lease.clone(), allowed, version, ack };
        self.expected.insert(request, settled);
    }

    fn apply(&mut self, lease: &LeaseId, nack: Option<&Nack>, now: Timestamp) -> u64 {
        let n = lease.sequence.get();
        let version = match nack {
            None => {
                let delivery = self.deliveries.get_mut(&n).unwrap();
                delivery.run = None;
                delivery.waiting = false;
                delivery.live.end = End::Done;
                self.gate.ended(n);
                self.gate.worked();
                self.write(n)
            }
            Some(nack) => {
                let after = nack.retry_after.map(|after| after.min(MINUTE * 60 * 24));
                match nack.action {
                    NackAction::Retry => self.fail(n, lease, AttemptEnd::Nacked, after, now),
                    NackAction::DeadLetter => self.fail(n, lease, AttemptEnd::Rejected, after, now),
                    NackAction::Release => self.release(n, lease, after, now),
                }
            }
        };
        let said = nack.map_or(Said::Ack, |nack| Said::Nack(nack.action));
        self.words.insert((n, lease.stamp), Word { said, at: now, version });
        version
    }

    fn release(&mut self, n: u64, lease: &LeaseId, after: Option<Duration>, now: Timestamp) -> u64 {
        let delivery = self.deliveries.get_mut(&n).unwrap();
        if delivery.live.give_backs == 19 {
            return self.fail(n, lease, AttemptEnd::ReleasedTooOften, None, now);
        }
        self.went("released");
        self.gate.ended(n);
        let delivery = self.deliveries.get_mut(&n).unwrap();
        delivery.live.give_backs += 1;
        delivery.live.ended = Some(lease.stamp);
        delivery.live.late_ack = false;
        delivery.run = None;
        match after {
            Some(after) => {
                delivery.live.due = Due::At(now + after);
                delivery.waiting = true;
                delivery.looked_at = None;
            }
            None => {
                delivery.live.due = Due::Now;
                delivery.waiting = false;
                let until = now + self.policy.initial_backoff;
                delivery.shunned = Some((lease.consumer.to_string(), until));
            }
        }
        self.write(n)
    }

    fn fail(
        &mut self,
        n: u64,
        lease: &LeaseId,
        end: AttemptEnd,
        after: Option<Duration>,
        now: Timestamp,
    ) -> u64 {
        self.failed(n, lease.stamp, &lease.consumer, end, after, now)
    }

    pub(super) fn failed(
        &mut self,
        n: u64,
        stamp: Stamp,
        consumer: &str,
        end: AttemptEnd,
        after: Option<Duration>,
        now: Timestamp,
    ) -> u64 {
        self.went(match end {
            AttemptEnd::Nacked => "nacked",
            AttemptEnd::Rejected => "rejected",
            AttemptEnd::LeaseExpired => "lease expired",
            AttemptEnd::MaxLeaseReached => "max lease reached",
            AttemptEnd::ConsumerLost => "consumer lost",
            AttemptEnd::ReleasedTooOften => "released too often",
        });
        let policy = self.policy.clone();
        self.gate.ended(n);
        if end == AttemptEnd::Rejected {
            self.gate.worked();
        } else {
            self.gate.failed(&policy, now);
        }
        let delivery = self.deliveries.get_mut(&n).unwrap();
        delivery.run = None;
        delivery.waiting = false;
        let facts = &mut delivery.live;
        facts.attempts += 1;
        facts.give_backs = 0;
        facts.history.push((facts.attempts, consumer.into(), end));
        if facts.history.len() > 20 {
            facts.history.remove(0);
        }
        facts.ended = Some(stamp);
        facts.late_ack = matches!(
            end,
            AttemptEnd::LeaseExpired | AttemptEnd::MaxLeaseReached | AttemptEnd::ConsumerLost
        );
        if end == AttemptEnd::Rejected || facts.attempts >= policy.max_attempts {
            facts.end = End::Dead;
        } else {
            facts.due = after.map_or_else(
                || backoff(&policy, facts.attempts, now),
                |after| Due::At(now + after),
            );
            delivery.waiting = true;
            delivery.looked_at = None;
        }
        self.write(n)
    }

    pub(super) fn extend(
        &mut self,
        request: RequestId,
        lease: &LeaseId,
        duration: Option<Duration>,
        now: Timestamp,
    ) {
        let n = lease.sequence.get();
        let ours = lease.creation.0 == 1;
        if ours {
            self.heard(&lease.consumer, now);
        }
        let standing = if ours { self.standing(lease) } else { Standing::Over };
        if standing == Standing::Forgotten && !self.words.contains_key(&(n, lease.stamp)) {
            self.take_up(lease, now);
        } else if standing != Standing::Runs {
            let outcomes =
                if ours { self.repeated(lease, None, now).0 } else { vec![Outcome::Stale] };
            let allowed = outcomes.into_iter().map(Err).collect();
            let expected = Expected::Extended { lease: lease.clone(), allowed, version: 0 };
            self.expected.insert(request, expected);
            return;
        }
        let policy = &self.policy;
        let run = self.deliveries.get_mut(&n).unwrap().run.as_mut().unwrap();
        let wanted = now + duration.unwrap_or(policy.lease_duration);
        run.expires = wanted.min(run.started + policy.max_lease).max(run.expires);
        let until = run.expires;
        let mut version = 0;
        if now + MINUTE < until {
            run.checkpointed = true;
            version = self.write(n);
        }
        let expected =
            Expected::Extended { lease: lease.clone(), allowed: vec![Ok(until)], version };
        self.expected.insert(request, expected);
    }

    fn take_up(&mut self, lease: &LeaseId, now: Timestamp) {
        self.went("forgotten lease extends");
        let delivery = self.deliveries.get_mut(&lease.sequence.get()).unwrap();
        let consumer = lease.consumer.to_string();
        delivery.waiting = false;
        delivery.run = Some(Run {
            stamp: lease.stamp,
            consumer: consumer.clone(),
            started: now,
            expires: now + self.policy.lease_duration,
            checkpointed: false,
        });
        let absent = Consumer::absent(now, false);
        self.consumers.entry(consumer).or_insert(absent);
    }
}

/// Returns when a delivery is due after so many failures.
fn backoff(policy: &Policy, failures: u32, now: Timestamp) -> Due {
    let mut wait = policy.initial_backoff;
    for _ in 1..failures {
        wait = wait.mul_f64(policy.backoff_multiplier).min(policy.max_backoff);
    }
    let wait = wait.min(policy.max_backoff);
    let micro = Duration::from_micros(2);
    let low = wait.mul_f64(1.0 - policy.jitter).saturating_sub(micro);
    let high = wait.mul_f64(1.0 + policy.jitter) + micro;
    assert!(high < SECOND * 24 * 3_600, "longer waits are another test");
    Due::Between(now + low, now + high)
}
