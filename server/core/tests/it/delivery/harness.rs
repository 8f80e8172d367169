//! A hub around one subscription: a log, a ledger and streams in memory, and a clock that is moved by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hookline_core::{
    delivery::{
        Attempt, Background, Change, Config, Creation, Edition, Effect, Epoch, Grant, Input,
        LeaseId, LossReason, Matched, Nack, Outcome, Pause, Policy, RequestId, ResourceKey,
        Snapshot, Status, StreamId, Subscription, Ticket,
    },
    event::Sequence,
    time::Timestamp,
};

use super::ledger::{Answer, Ledger};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn resource_key(number: u64) -> ResourceKey {
    ResourceKey::from_bytes(u128::from(number).to_be_bytes())
}

pub(super) fn sequence(n: u64) -> Sequence {
    Sequence::new(n).unwrap()
}

/// A policy without chance: what waits, waits exactly.
pub(super) fn exact() -> Policy {
    Policy { jitter: 0.0, ..Policy::default() }
}

/// What happened between the hub and its subscription.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Input(Timestamp, Input),
    /// With what was due then.
    Timeout {
        now: Timestamp,
        due: Option<Timestamp>,
    },
    Effect(Effect),
    /// What the lease of the effect before was handed with.
    Handed(Background),
    /// With whether the commit that was out became durable all the same.
    Crash {
        now: Timestamp,
        landed: bool,
        /// What the subscription is now.
        config: Config,
    },
}

/// An event of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Logged {
    pub(super) matches: bool,
    pub(super) resource: Option<u64>,
    pub(super) received_at: Timestamp,
    /// Whether the filter fails on it.
    pub(super) fails: bool,
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) subscription: Subscription,
    pub(super) now: Timestamp,
    pub(super) epoch: u64,
    /// What is durable of it.
    pub(super) config: Config,
    /// What is on its way to be, oldest first.
    pub(super) changing: Vec<Config>,
    seed: u64,
    /// The events, from sequence 1.
    pub(super) log: Vec<Logged>,
    pub(super) ledger: Ledger,
    /// Commits stay out until [`Hub::let_commits_through`].
    pub(super) hold_commits: bool,
    pub(super) out: Option<(Ticket, Vec<Change>)>,
    /// How many commits were asked for.
    pub(super) commits: u64,
    /// Whether a transport takes at once what it is handed.
    pub(super) auto_write: bool,
    pub(super) open_streams: BTreeSet<StreamId>,
    /// What each stream was handed and the test has not taken yet.
    inbox: BTreeMap<StreamId, Vec<Grant>>,
    pub(super) held: BTreeMap<StreamId, Vec<Grant>>,
    pub(super) lost: Vec<(StreamId, LeaseId, LossReason)>,
    /// Of which leases it was said that there are newer events: which is the newest, and how many.
    pub(super) newer: Vec<(LeaseId, u64, u64)>,
    pub(super) unused: bool,
    pub(super) answers: BTreeMap<RequestId, Answer>,
    /// Everything that the subscription asked for, in order.
    pub(super) effects: Vec<Effect>,
    /// Everything that happened, in order.
    pub(super) trace: Vec<Step>,
    /// Effects that are still carried out before the process dies.
    pub(super) dies_after: Option<usize>,
    pub(super) drained: bool,
    last_number: u64,
}

impl Hub {
    pub(super) fn new(policy: Policy) -> Self {
        Self::with_seed(policy, 7)
    }

    pub(super) fn with_seed(policy: Policy, seed: u64) -> Self {
        let now = Timestamp::from_secs(1_700_000_000).unwrap();
        let config = Config { creation: Creation(1), policy, pause: Pause::Off };
        let epoch = Epoch(1);
        let subscription =
            Subscription::recover(config.clone(), epoch, Snapshot::default(), now, seed);
        Self {
            subscription,
            now,
            epoch: 1,
            config,
            changing: Vec::new(),
            seed,
            log: Vec::new(),
            ledger: Ledger::default(),
            hold_commits: false,
            out: None,
            commits: 0,
            auto_write: true,
            open_streams: BTreeSet::new(),
            inbox: BTreeMap::new(),
            held: BTreeMap::new(),
            lost: Vec::new(),
            newer: Vec::new(),
            unused: false,
            answers: BTreeMap::new(),
            effects: Vec::new(),
            trace: Vec::new(),
            dies_after: None,
            drained: false,
            last_number: 0,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn dead(&self) -> bool {
        self.dies_after == Some(0)
    }

    /// Tells the subscription something, and carries out what it asks for.
    pub(super) fn tell(&mut self, input: Input) {
        if self.dead() {
            return;
        }
        self.trace.push(Step::Input(self.now, input.clone()));
        self.subscription.handle(input, self.now);
        self.carry_out();
    }

    pub(super) fn carry_out(&mut self) {
        while !self.dead()
            && let Some(effect) = self.subscription.poll_effect()
        {
            self.effects.push(effect.clone());
            self.trace.push(Step::Effect(effect.clone()));
            if let Effect::Deliver { grant, .. } = &effect {
                self.trace.push(Step::Handed(self.background(grant)));
            }
            self.perform(effect);
            self.dies_after = self.dies_after.map(|left| left - 1);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch { after, through, count } => {
                let matching = (after + 1..=through).filter(|n| self.matches(*n));
                let matched: Vec<_> = matching.take(count).map(|n| self.matched(n)).collect();
                let full = matched.len() == count;
                let last = matched.last().filter(|_| full);
                let through = last.map_or(through, |last| last.sequence.get());
                self.tell_inside(Input::Fetched { through, matched });
            }
            Effect::Persist { ticket, changes } => {
                assert!(self.out.is_none(), "one commit is out at a time");
                self.out = Some((ticket, changes));
                self.commits += 1;
                if !self.hold_commits {
                    self.commit();
                }
            }
            Effect::Ready { stream, held } => drop(self.held.insert(stream, held)),
            Effect::Deliver { stream, grant } => {
                let lease = grant.lease.clone();
                if !self.open_streams.contains(&stream) {
                    return self.tell_inside(Input::Unwritten { lease });
                }
                self.inbox.entry(stream).or_default().push(grant);
                if self.auto_write {
                    self.tell_inside(Input::Written { lease, at: self.now });
                }
            }
            Effect::LeaseLost { stream, lease, reason } => self.lost.push((stream, lease, reason)),
            Effect::Newer { lease, newest, count, .. } => {
                self.newer.push((lease, newest.get(), count));
            }
            Effect::Sought { request, skipped } => self.answer(request, Answer::Sought(skipped)),
            Effect::Reconfigured { request } => self.answer(request, Answer::Reconfigured),
            Effect::Unused => self.unused = true,
            Effect::TakenOver { stream } => drop(self.open_streams.remove(&stream)),
            Effect::Settled { request, outcome } => self.answer(request, Answer::Settled(outcome)),
            Effect::Extended { request, result } => self.answer(request, Answer::Extended(result)),
            Effect::Redriven { request, sequences } => {
                self.answer(request, Answer::Redriven(sequences));
            }
            Effect::Retired { request, count, needed_from, reads_on } => {
                self.answer(request, Answer::Retired(count, needed_from, reads_on));
            }
            Effect::Purged { request, sequences, edition: _ } => {
                self.answer(request, Answer::Purged(sequences));
            }
            Effect::Replayed { request, replayed } => {
                self.answer(request, Answer::Replayed(replayed));
            }
            Effect::Drained => self.drained = true,
        }
    }

    fn tell_inside(&mut self, input: Input) {
        self.trace.push(Step::Input(self.now, input.clone()));
        self.subscription.handle(input, self.now);
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        let before = self.answers.insert(request, answer);
        assert_eq!(before, None, "a question is answered once");
    }

    pub(super) fn logged(&self, n: u64) -> Option<&Logged> {
        usize::try_from(n - 1).ok().and_then(|index| self.log.get(index))
    }

    pub(super) fn matches(&self, n: u64) -> bool {
        self.logged(n).is_some_and(|event| event.matches)
    }

    pub(super) fn matched(&self, n: u64) -> Matched {
        let event = self.logged(n).unwrap();
        Matched {
            sequence: sequence(n),
            resource: event.resource.map(resource_key),
            received_at: event.received_at,
            failure: event.fails.then(|| "no such overload".to_owned()),
        }
    }

    /// Returns what the ledger knows of an open delivery, beyond its record.
    pub(super) fn last_attempt(&self, n: u64) -> Attempt {
        self.ledger.backgrounds.get(sequence(n)).attempts.last().cloned().unwrap()
    }

    /// Returns what a lease is handed with.
    pub(super) fn background(&self, grant: &Grant) -> Background {
        let background = self.ledger.backgrounds.get(grant.lease.sequence);
        assert!(grant.background || background == Background::default(), "{grant:?}");
        background
    }

    fn commit(&mut self) {
        let Some((ticket, changes)) = self.out.take() else { return };
        self.make_durable(&changes);
        self.tell_inside(Input::Persisted { ticket });
    }

    fn make_durable(&mut self, changes: &[Change]) {
        for change in changes {
            self.ledger.apply(change);
            if let Change::Reconfigured { .. } = change {
                self.config = self.changing.remove(0);
            }
        }
    }

    /// Asks for another policy or pause.
    pub(super) fn ask_reconfigure(&mut self, policy: Policy, pause: Pause) -> RequestId {
        let request = RequestId(self.number());
        self.changing.push(Config { policy: policy.clone(), pause, ..self.config });
        self.tell(Input::Reconfigure { request, look_back_after: None, policy, pause });
        request
    }

    /// Makes the commit that is out durable, and those that follow it.
    pub(super) fn let_commits_through(&mut self) {
        self.hold_commits = false;
        self.commit();
        self.carry_out();
    }

    /// Makes the one commit that is out durable.
    pub(super) fn let_one_commit_through(&mut self) {
        self.commit();
        self.carry_out();
    }

    /// Appends events that match or not, about ten resources in turn.
    pub(super) fn append(&mut self, matching: &[bool]) {
        for matches in matching {
            let resource = Some((self.log.len() as u64 + 1) % 10);
            let received_at = self.now;
            self.log.push(Logged { matches: *matches, resource, received_at, fails: false });
        }
        self.tell(Input::Head { head: self.log.len() as u64 });
    }

    /// Appends events.
    pub(super) fn append_all(&mut self, events: Vec<Logged>) {
        self.log.extend(events);
        self.tell(Input::Head { head: self.log.len() as u64 });
    }

    /// Appends matching events about these resources; 0: about none.
    pub(super) fn append_about(&mut self, resources: &[u64]) {
        for resource in resources {
            let resource = (*resource != 0).then_some(*resource);
            let received_at = self.now;
            self.log.push(Logged { matches: true, resource, received_at, fails: false });
        }
        self.tell(Input::Head { head: self.log.len() as u64 });
    }

    /// Appends an event that the filter fails on.
    pub(super) fn append_failing(&mut self) {
        let received_at = self.now;
        self.log.push(Logged { matches: true, resource: None, received_at, fails: true });
        self.tell(Input::Head { head: self.log.len() as u64 });
    }

    /// Appends this many matching events.
    pub(super) fn append_count(&mut self, count: usize) {
        self.append(&vec![true; count]);
    }

    pub(super) fn join(&mut self, consumer: &str, max_in_flight: u32) -> StreamId {
        let stream = StreamId(self.number());
        self.open_streams.insert(stream);
        self.tell(Input::Joined { stream, consumer: consumer.into(), max_in_flight });
        stream
    }

    pub(super) fn leave(&mut self, stream: StreamId) {
        self.open_streams.remove(&stream);
        self.tell(Input::Left { stream });
    }

    /// Returns what a stream was handed since the last call.
    pub(super) fn taken(&mut self, stream: StreamId) -> Vec<Grant> {
        self.inbox.remove(&stream).unwrap_or_default()
    }

    /// Returns the one thing that a stream was handed since the last call.
    pub(super) fn take(&mut self, stream: StreamId) -> Grant {
        let mut taken = self.taken(stream);
        assert_eq!(taken.len(), 1, "{taken:?}");
        taken.pop().unwrap()
    }

    pub(super) fn ask_ack(&mut self, lease: &LeaseId) -> RequestId {
        let request = RequestId(self.number());
        self.tell(Input::Ack { request, lease: lease.clone() });
        request
    }

    pub(super) fn ask_nack(&mut self, lease: &LeaseId, nack: Nack) -> RequestId {
        let request = RequestId(self.number());
        self.tell(Input::Nack { request, lease: lease.clone(), nack });
        request
    }

    pub(super) fn ask_extend(&mut self, lease: &LeaseId, duration: Option<Duration>) -> RequestId {
        let request = RequestId(self.number());
        let lease = lease.clone();
        self.tell(Input::Extend { request, lease, duration, checkpoint: None });
        request
    }

    pub(super) fn outcome(&self, request: RequestId) -> Option<Outcome> {
        match self.answers.get(&request)? {
            Answer::Settled(outcome) => Some(*outcome),
            Answer::Extended(_)
            | Answer::Redriven(_)
            | Answer::Purged(_)
            | Answer::Replayed(_)
            | Answer::Sought(_)
            | Answer::Retired(..)
            | Answer::Reconfigured => {
                panic!("not the answer to a settle")
            }
        }
    }

    pub(super) fn ack(&mut self, lease: &LeaseId) -> Outcome {
        let request = self.ask_ack(lease);
        self.outcome(request).unwrap()
    }

    pub(super) fn nack(&mut self, lease: &LeaseId, nack: Nack) -> Outcome {
        let request = self.ask_nack(lease, nack);
        self.outcome(request).unwrap()
    }

    pub(super) fn extend(
        &mut self,
        lease: &LeaseId,
        duration: Option<Duration>,
    ) -> Result<Timestamp, Outcome> {
        let request = self.ask_extend(lease, duration);
        match self.answers.get(&request) {
            Some(Answer::Extended(result)) => *result,
            other => panic!("not the answer to an extension: {other:?}"),
        }
    }

    pub(super) fn ask_redrive(&mut self, sequences: &[u64]) -> RequestId {
        let request = RequestId(self.number());
        let dead = &self.ledger.snapshot.dead;
        let letters = sequences.iter().map(|n| sequence(*n)).filter(|s| dead.contains(*s));
        let letters = letters.filter_map(|s| {
            let letter = self.ledger.letters.get(&s)?;
            Some((s, letter.generation, self.matched(s.get()).resource))
        });
        let letters = letters.collect();
        self.tell(Input::Redrive { request, letters });
        request
    }

    /// Asks to give up what is too old.
    pub(super) fn ask_retire(&mut self, before: u64, count: usize) -> RequestId {
        let request = RequestId(self.number());
        self.tell(Input::Retire { request, before, count });
        request
    }

    /// Asks for events to be handed out once more, as long as fewer than `ready_max` are ready.
    pub(super) fn ask_replay(&mut self, sequences: &[u64], ready_max: usize) -> RequestId {
        let request = RequestId(self.number());
        let events: Vec<_> =
            sequences.iter().map(|n| (sequence(*n), self.matched(*n).resource)).collect();
        let would = self.subscription.would_replay(&events, ready_max);
        let before = self.trace.len();
        self.tell(Input::Replay { request, events, ready_max });
        // What it would do is what it does.
        if let Some(Answer::Replayed(replayed)) = self.answers.get(&request) {
            assert_eq!(*replayed, would, "{:#?}", &self.trace[before..]);
        }
        request
    }

    /// Asks for a purge of what is dead, as the ledger has it now.
    pub(super) fn ask_purge(&mut self, sequences: &[u64]) -> RequestId {
        let edition = self.subscription.edition();
        self.ask_purge_of(edition, sequences)
    }

    pub(super) fn ask_purge_of(&mut self, edition: Edition, sequences: &[u64]) -> RequestId {
        let request = RequestId(self.number());
        let sequences = sequences.iter().map(|n| sequence(*n)).collect();
        self.tell(Input::Purge { request, sequences, edition });
        request
    }

    pub(super) fn status(&self, n: u64) -> Status {
        self.subscription.status(sequence(n))
    }

    /// Lets time pass as it does for a loop that is never late.
    pub(super) fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while !self.dead()
            && let Some(due) = self.subscription.poll_timeout().filter(|due| *due <= until)
        {
            self.now = self.now.max(due);
            self.timeout();
        }
        self.now = until;
        self.timeout();
    }

    /// Lets time pass as it does for a loop that stands still.
    pub(super) fn jump(&mut self, by: Duration) {
        self.now = self.now + by;
        self.timeout();
    }

    pub(super) fn timeout(&mut self) {
        if !self.dead() {
            let due = self.subscription.poll_timeout();
            self.trace.push(Step::Timeout { now: self.now, due });
            self.subscription.handle_timeout(self.now);
            self.carry_out();
        }
    }

    /// Kills the process after the commit that is out became durable, before anybody heard of it.
    pub(super) fn crash_after_commit(&mut self) {
        let landed = self.out.take().is_some_and(|(_, changes)| {
            self.make_durable(&changes);
            true
        });
        self.restart(landed);
    }

    /// Kills the process and starts another on what was durable.
    pub(super) fn crash(&mut self) {
        self.restart(false);
    }

    fn restart(&mut self, landed: bool) {
        self.changing.clear();
        let (now, config) = (self.now, self.config.clone());
        self.trace.push(Step::Crash { now, landed, config });
        self.epoch += 1;
        self.seed = self.seed.wrapping_add(1);
        self.out = None;
        self.dies_after = None;
        self.open_streams.clear();
        self.inbox.clear();
        let snapshot = self.ledger.snapshot.clone();
        let epoch = Epoch(self.epoch);
        self.subscription =
            Subscription::recover(self.config.clone(), epoch, snapshot, self.now, self.seed);
        self.carry_out();
        self.tell(Input::Head { head: self.log.len() as u64 });
    }
}
