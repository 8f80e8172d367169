//! One random run: what happens to the hub, step by step.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use hookline_core::{
    delivery::{
        Breaker, Coalesce, Creation, Effect, Input, LeaseId, NackAction, Ordering, Outcome, Pause,
        Policy, Rate, RequestId, StreamId,
    },
    time::Timestamp,
};

use super::{
    harness::{Hub, Logged, MINUTE, SECOND, Step, millis},
    invariants::{Before, after_every_step, i05_state, i10_every_event_has_ended},
    ledger::{Answer, nack, release},
    reference::{End, Expected, Reference},
};

const EVENTS_MAX: usize = 40;
const CONSUMERS: [&str; 3] = ["a", "b", "c"];

/// One random run.
pub(super) struct Run {
    random: Rng,
    /// Chance of its own, in some runs: what else happens stays as it is without.
    replays: Option<Rng>,
    pub(super) hub: Hub,
    pub(super) reference: Reference,
    before: Before,
    seen: usize,
    /// All leases that were ever given, newest last.
    leases: Vec<LeaseId>,
    /// What was handed to a stream whose transport has not taken it yet.
    pending: Vec<(StreamId, LeaseId)>,
    streams: BTreeMap<&'static str, StreamId>,
    last: Option<Input>,
    /// Whether its consumers give nearly everything back.
    lazy: bool,
}

fn policy(random: &mut Rng) -> Policy {
    let lease_duration = [SECOND, SECOND * 10, MINUTE, MINUTE * 2][random.usize(..4)];
    let initial_backoff = [Duration::ZERO, millis(300), SECOND, SECOND * 5][random.usize(..4)];
    Policy {
        lease_duration,
        max_lease: lease_duration * random.u32(1..10),
        max_attempts: random.u32(1..6),
        initial_backoff,
        max_backoff: SECOND * 20,
        backoff_multiplier: [1.0, 2.0, 10.0][random.usize(..3)],
        jitter: [0.0, 0.2, 1.0][random.usize(..3)],
        reconnect_grace: [Duration::ZERO, SECOND * 15, MINUTE * 2][random.usize(..3)],
        ordering: match random.u32(..5) {
            0 => Ordering::Resource { at_once: 1 },
            1 => Ordering::Resource { at_once: random.u32(2..4) },
            _ => Ordering::None,
        },
        coalesce: match random.u32(..6) {
            0 => Coalesce::Latest,
            1 => Coalesce::Debounce { quiet: SECOND * 2, max_wait: SECOND * random.u32(2..9) },
            _ => Coalesce::None,
        },
        rate: flow(random).then(|| Rate { per_second: [0.5, 20.0][random.usize(..2)], burst: 3 }),
        breaker: flow(random).then(|| Breaker {
            failures: random.u32(1..5),
            pause: SECOND * [1, 30][random.usize(..2)],
        }),
        expire_after: None,
    }
}

/// Now and then.
fn flow(random: &mut Rng) -> bool {
    random.u32(..8) == 0
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut policy = policy(&mut random);
        let lazy = random.u32(..6) == 0;
        if lazy {
            policy.initial_backoff = Duration::ZERO;
            policy.lease_duration = MINUTE * 10;
            policy.max_lease = MINUTE * 60;
            (policy.rate, policy.breaker) = (None, None);
            (policy.ordering, policy.coalesce) = (Ordering::None, Coalesce::None);
        }
        let hub = Hub::with_seed(policy.clone(), random.u64(..));
        Self {
            reference: Reference::new(policy, hub.now),
            hub,
            random,
            replays: (seed % 3 == 1).then(|| Rng::with_seed(!seed)),
            before: Before::default(),
            seen: 0,
            leases: Vec::new(),
            pending: Vec::new(),
            streams: BTreeMap::new(),
            last: None,
            lazy,
        }
    }

    /// Lets the reference see what happened, and asserts what must be true.
    fn check(&mut self, timed_out: bool) {
        for step in &self.hub.trace[self.seen..] {
            self.reference.observe(step);
            if let Step::Effect(Effect::Deliver { stream, grant }) = step {
                self.leases.push(grant.lease.clone());
                if !self.hub.auto_write {
                    self.pending.push((*stream, grant.lease.clone()));
                }
            }
        }
        self.seen = self.hub.trace.len();
        after_every_step(&self.hub, &self.reference, &mut self.before, timed_out);
    }

    pub(super) fn step(&mut self) {
        if self.lazy && self.random.u32(..10) > 0 {
            return self.give_back();
        }
        let mut timed_out = false;
        match self.random.u32(..100) {
            0..10 => self.append(),
            10..18 => self.join(),
            18..22 => self.leave(),
            22..55 => self.settle(),
            55..58 => self.settle_again(),
            58..60 => self.settle_of_another_creation(),
            60..66 => self.answer_of_a_transport(),
            66..68 => self.hub.auto_write = !self.hub.auto_write || !self.pending.is_empty(),
            68..72 => self.hub.hold_commits = true,
            72..78 => match self.random.bool() {
                true => self.hub.let_one_commit_through(),
                false => self.hub.let_commits_through(),
            },
            78..80 => self.crash(),
            80..83 => self.redrive(),
            83 => self.reconfigure(),
            84 => self.retire(),
            99 => self.purge(),
            _ => {
                self.pass_time();
                timed_out = true;
            }
        }
        self.check(timed_out);
        self.replay();
    }

    /// Now and then hands some events of the log out once more, as they stand.
    fn replay(&mut self) {
        let Some(random) = &mut self.replays else { return };
        if random.u32(..20) > 0 {
            return;
        }
        // As a shell does: not before the log was trimmed as far as it is needed no more.
        let is_retiring = |of: &Expected| matches!(of, Expected::Retired { .. });
        if self.reference.expected.values().any(is_retiring) {
            return;
        }
        let part = random.u32(1..6);
        let mut asked: Vec<_> = self.reference.deliveries.keys().copied().collect();
        asked.retain(|_| random.u32(..part) == 0);
        // One commit that gives up, purges and replays is for the simulation.
        let deliveries = &self.reference.deliveries;
        let is_ended = |n: &u64| deliveries[n].durable.end == deliveries[n].live.end;
        asked.retain(|n| deliveries[n].live.end != End::Purged || is_ended(n));
        self.hub.ask_replay(&asked, usize::MAX);
        self.check(false);
    }

    fn append(&mut self) {
        let events_max = if self.lazy { 2 } else { EVENTS_MAX };
        let count = self.random.usize(1..4).min(events_max - self.hub.log.len());
        let received_at = self.hub.now;
        let events = (0..count).map(|_| Logged {
            matches: self.random.u32(..5) > 0,
            resource: Some(self.random.u64(..4)).filter(|resource| *resource > 0),
            received_at,
            fails: self.random.u32(..25) == 0,
        });
        let events = events.collect();
        self.hub.append_all(events);
    }

    /// Another policy, but for what a change of makes it recover, and perhaps a pause.
    fn reconfigure(&mut self) {
        if self.lazy {
            return;
        }
        let Policy { ordering, coalesce, .. } = self.reference.policy;
        let changed = Policy { ordering, coalesce, ..policy(&mut self.random) };
        let pause = match self.random.u32(..4) {
            0 => Pause::On,
            1 => Pause::Until(self.hub.now + millis(self.random.u64(..60_000))),
            _ => Pause::Off,
        };
        self.hub.ask_reconfigure(changed, pause);
    }

    fn join(&mut self) {
        let name = CONSUMERS[self.random.usize(..3)];
        let room = self.random.u32(1..5);
        let before = self.streams.remove(name);
        let stream = self.hub.join(name, room);
        self.streams.insert(name, stream);
        self.check(false);
        if let Some(before) = before {
            self.close(before);
        }
    }

    fn leave(&mut self) {
        let name = CONSUMERS[self.random.usize(..3)];
        if let Some(stream) = self.streams.remove(name) {
            self.close(stream);
        }
    }

    /// Ends a stream as a shell does: what its transport did not take is said before or after.
    fn close(&mut self, stream: StreamId) {
        if self.random.bool() {
            self.give_up_pending(stream);
        }
        self.hub.leave(stream);
        self.check(false);
        self.give_up_pending(stream);
    }

    fn give_up_pending(&mut self, stream: StreamId) {
        let pending = std::mem::take(&mut self.pending);
        let (of_it, others) = pending.into_iter().partition(|(of, _)| *of == stream);
        self.pending = others;
        for (_, lease) in of_it {
            self.hub.tell(Input::Unwritten { lease });
            self.check(false);
        }
    }

    fn answer_of_a_transport(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let (_, lease) = self.pending.remove(self.random.usize(..self.pending.len()));
        let now = self.hub.now;
        self.hub.tell(match self.random.u32(..4) {
            0 => Input::Unwritten { lease },
            1 => {
                let late = self.random.i64(0..2_000_000);
                let at = Timestamp::from_micros(now.as_micros() - late).unwrap_or(now);
                Input::Written { lease, at }
            }
            _ => Input::Written { lease, at: now },
        });
    }

    /// Picks a lease: mostly one of the newest.
    fn lease(&mut self) -> Option<LeaseId> {
        let count = self.leases.len();
        let back = if self.random.u32(..4) > 0 { count.min(6) } else { count };
        (count > 0).then(|| self.leases[count - 1 - self.random.usize(..back)].clone())
    }

    fn settle(&mut self) {
        let Some(lease) = self.lease() else { return };
        let request = RequestId(self.hub.number());
        let after = [None, None, Some(Duration::ZERO), Some(SECOND * 3), Some(MINUTE * 2)];
        let after = after[self.random.usize(..5)];
        let nacked = |action| {
            let nack = nack(action, "no", after);
            Input::Nack { request, lease: lease.clone(), nack }
        };
        let input = match self.random.u32(..10) {
            0..3 => Input::Ack { request, lease },
            3..5 => nacked(NackAction::Retry),
            5 => nacked(NackAction::DeadLetter),
            6 | 7 => nacked(NackAction::Release),
            _ => {
                let duration = [None, Some(SECOND), Some(SECOND * 50), Some(MINUTE * 90)];
                let duration = duration[self.random.usize(..4)];
                Input::Extend { request, lease, duration, checkpoint: None }
            }
        };
        self.last = Some(input.clone());
        self.say(request, input);
    }

    /// Says something about a lease; one that is stale changes nothing.
    fn say(&mut self, request: RequestId, input: Input) {
        let before = i05_state(&self.hub);
        self.hub.tell(input);
        let outcome = match self.hub.answers.get(&request) {
            Some(Answer::Settled(outcome) | Answer::Extended(Err(outcome))) => Some(*outcome),
            Some(
                Answer::Extended(Ok(_))
                | Answer::Redriven(_)
                | Answer::Purged(_)
                | Answer::Replayed(_)
                | Answer::Sought(_)
                | Answer::Retired(..)
                | Answer::Reconfigured,
            )
            | None => None,
        };
        if outcome == Some(Outcome::Stale) || outcome == Some(Outcome::Conflict) {
            assert_eq!(i05_state(&self.hub), before, "a stale lease changed something");
        }
        self.reference.went(match outcome {
            Some(Outcome::Applied) => "applied at once",
            Some(Outcome::AlreadyApplied) => "already applied",
            Some(Outcome::Conflict) => "conflict",
            Some(Outcome::Stale) => "stale",
            None => "extended, or answered later",
        });
    }

    /// Gives back what was given last, at once.
    fn give_back(&mut self) {
        if self.streams.is_empty() {
            self.join();
        }
        self.hub.let_commits_through();
        self.check(false);
        if let Some(lease) = self.leases.last().cloned() {
            let request = RequestId(self.hub.number());
            self.hub.tell(Input::Nack { request, lease, nack: release() });
            self.check(false);
        }
        self.hub.timeout();
        self.check(true);
    }

    fn settle_again(&mut self) {
        let request = RequestId(self.hub.number());
        let again = match self.last.clone() {
            Some(Input::Ack { lease, .. }) => Input::Ack { request, lease },
            Some(Input::Nack { lease, nack, .. }) => Input::Nack { request, lease, nack },
            Some(Input::Extend { lease, duration, .. }) => {
                Input::Extend { request, lease, duration, checkpoint: None }
            }
            _ => return,
        };
        self.say(request, again);
    }

    fn settle_of_another_creation(&mut self) {
        let Some(mut lease) = self.lease() else { return };
        lease.creation = Creation(2);
        let request = RequestId(self.hub.number());
        let input = match self.random.u32(..3) {
            0 => Input::Ack { request, lease },
            1 => Input::Nack { request, lease, nack: nack(NackAction::Retry, "", None) },
            _ => Input::Extend { request, lease, duration: None, checkpoint: None },
        };
        self.say(request, input);
    }

    fn crash(&mut self) {
        self.streams.clear();
        self.pending.clear();
        if self.random.bool() {
            self.hub.crash_after_commit();
        } else {
            self.hub.crash();
        }
    }

    /// Deletes one dead letter, and asks so for one that may be none.
    fn purge(&mut self) {
        let dead = self.hub.ledger.snapshot.dead.iter().next().map(|s| s.get());
        let other = self.random.u64(1..=EVENTS_MAX as u64);
        let asked: std::collections::BTreeSet<_> = dead.into_iter().chain([other]).collect();
        self.hub.ask_purge(&asked.into_iter().collect::<Vec<_>>());
    }

    fn redrive(&mut self) {
        let dead: Vec<_> = self.hub.ledger.snapshot.dead.iter().map(|s| s.get()).collect();
        let some: Vec<_> = dead.into_iter().filter(|_| self.random.u32(..3) > 0).collect();
        self.hub.ask_redrive(&some);
    }

    /// Some of the oldest are too old to be kept; more rarely many.
    fn retire(&mut self) {
        let floor = self.hub.subscription.position().0;
        let beyond = if self.random.u32(..8) == 0 { 40 } else { 4 };
        let (before, count) = (floor + self.random.u64(..beyond), self.random.usize(1..5));
        self.hub.ask_retire(before, count);
    }

    fn pass_time(&mut self) {
        match self.random.u32(..20) {
            0..6 => self.hub.advance(millis(self.random.u64(..500))),
            6..10 => self.hub.advance(millis(self.random.u64(..20_000))),
            10..12 => self.hub.advance(millis(self.random.u64(..300_000))),
            12..17 => {
                if let Some(due) = self.hub.subscription.poll_timeout() {
                    self.hub.advance(due.since(self.hub.now));
                }
            }
            17 => self.hub.jump(millis(self.random.u64(..2_000))),
            18 => self.hub.jump(millis(self.random.u64(..200_000))),
            // Extra calls do nothing.
            _ => self.hub.timeout(),
        }
    }

    /// Faults stop, and consumers ack what they get.
    pub(super) fn come_to_rest(&mut self) {
        self.hub.auto_write = true;
        self.hub.let_commits_through();
        self.check(false);
        for (stream, lease) in std::mem::take(&mut self.pending) {
            let open = self.hub.open_streams.contains(&stream);
            let at = self.hub.now;
            self.hub.tell(match open {
                true => Input::Written { lease, at },
                false => Input::Unwritten { lease },
            });
            self.check(false);
        }
        let policy = Policy { rate: None, breaker: None, ..self.reference.policy.clone() };
        self.hub.ask_reconfigure(policy, Pause::Off);
        self.check(false);
        for name in CONSUMERS {
            let stream = self.hub.join(name, 4);
            self.check(false);
            let held = self.hub.held[&stream].clone();
            self.streams.insert(name, stream);
            for grant in held {
                self.hub.ask_ack(&grant.lease);
                self.check(false);
            }
        }
        for _ in 0..200 {
            for stream in self.streams.clone().into_values() {
                for grant in self.hub.taken(stream) {
                    self.hub.ask_ack(&grant.lease);
                    self.check(false);
                }
            }
            self.hub.advance(SECOND * 5);
            self.check(true);
        }
        i10_every_event_has_ended(&self.hub, &self.reference);
    }
}
