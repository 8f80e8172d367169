//! What the reference makes of each step: inputs and time move it, effects are checked against it.

use std::collections::{BTreeMap, BTreeSet};

use hookline_core::{
    delivery::{
        Attempt, AttemptEnd, Background, Change, Effect, Grant, Input, LossReason, Matched,
        Outcome, Policy, Reason, Record, Replayed, RequestId, ResourceKey, StreamId,
    },
    event::Sequence,
    time::Timestamp,
};

use super::{
    flow::Gate,
    harness::{MINUTE, SECOND, Step},
    reference::{Consumer, Delivery, Due, End, Expected, Facts, Reference, Run},
};

impl Reference {
    pub(super) fn observe(&mut self, step: &Step) {
        match step {
            Step::Input(now, input) => {
                self.now = *now;
                self.input(input, *now);
                self.coalesce(*now);
            }
            Step::Timeout { now, due } => {
                self.now = *now;
                self.timeout(*now, *due);
                self.coalesce(*now);
            }
            Step::Effect(effect) => self.effect(effect),
            Step::Handed(background) => self.check_background(background),
            Step::Crash { now, landed, config } => {
                self.now = *now;
                self.crash(*now, *landed);
                self.policy = config.policy.clone();
                self.gate = Gate::new(&self.policy, config.pause, *now);
                self.coalesce(*now);
            }
        }
    }

    fn input(&mut self, input: &Input, now: Timestamp) {
        match input {
            Input::Head { .. } | Input::Drain => {}
            Input::Fetched { matched, .. } => {
                for event in matched {
                    self.found(event, now);
                }
            }
            Input::Joined { stream, consumer, max_in_flight } => {
                let before = self.consumers.remove(consumer.as_ref());
                let unsent = before.map_or_else(BTreeSet::new, |before| before.unsent);
                let joined = Consumer {
                    stream: Some(*stream),
                    lost_on_the_way: unsent.clone(),
                    unsent,
                    room: usize::try_from(*max_in_flight).unwrap(),
                    ..Consumer::absent(now, false)
                };
                self.consumers.insert(consumer.to_string(), joined);
            }
            Input::Left { stream } => {
                let left = self.consumers.values_mut().find(|who| who.stream == Some(*stream));
                if let Some(who) = left {
                    who.stream = None;
                    who.heard = now;
                }
            }
            Input::Written { lease, at } => self.written(lease.sequence.get(), lease.stamp, *at),
            Input::Unwritten { lease } => self.unwritten(lease.sequence.get(), lease.stamp),
            Input::Ack { request, lease } => self.settle(*request, lease, None, now),
            Input::Nack { request, lease, nack } => self.settle(*request, lease, Some(nack), now),
            Input::Extend { request, lease, duration, .. } => {
                self.extend(*request, lease, *duration, now);
            }
            Input::Redrive { request, letters } => {
                let sequences = letters.iter().map(|(sequence, ..)| sequence.get());
                self.redrive(*request, sequences.collect());
            }
            Input::Retire { request, before, count } => self.retire(*request, *before, *count),
            Input::Purge { request, sequences, edition: _ } => self.purge(*request, sequences),
            Input::Replay { request, events, .. } => self.replay(*request, events),
            Input::Reconfigure { request, policy, pause, .. } => {
                let Policy { ordering, coalesce, .. } = self.policy;
                self.policy = Policy { ordering, coalesce, ..policy.clone() };
                self.max_attempts = self.max_attempts.max(policy.max_attempts);
                self.gate.change(&self.policy, *pause, now);
                self.went("reconfigured");
                self.expected.insert(*request, Expected::Reconfigured);
            }
            Input::Followed { .. } | Input::LookedBack { .. } | Input::Seek { .. } => {
                panic!("{input:?}: not said in these runs")
            }
            Input::Persisted { .. } => self.durable(),
        }
    }

    fn found(&mut self, event: &Matched, now: Timestamp) {
        let n = event.sequence.get();
        let number = event.resource.map(|key| u128::from_be_bytes(*key.as_bytes()));
        let resource = number.map(|number| u64::try_from(number).unwrap());
        let delivery = self.deliveries.entry(n).or_insert_with(|| Delivery::new(resource));
        let is_found = delivery.is_found();
        delivery.scanned = true;
        if !is_found {
            return;
        }
        if event.failure.is_some() {
            delivery.live.end = End::Dead;
            self.went("the filter failed");
            self.write(n);
            return;
        }
        self.hear_of(resource, event.received_at.min(now));
    }

    fn written(&mut self, n: u64, stamp: hookline_core::delivery::Stamp, at: Timestamp) {
        let duration = self.policy.lease_duration;
        let run = self.deliveries.get_mut(&n).unwrap().run.as_mut();
        let Some(run) = run.filter(|run| run.stamp == stamp) else { return };
        run.started = at;
        run.expires = run.expires.max(at + duration);
        let who = self.consumers.get_mut(&run.consumer).expect("it holds a lease");
        who.unsent.remove(&stamp);
        who.stuck = false;
        if run.checkpointed {
            self.went("written after its checkpoint");
            self.write(n);
        }
    }

    fn unwritten(&mut self, n: u64, stamp: hookline_core::delivery::Stamp) {
        let delivery = self.deliveries.get_mut(&n).unwrap();
        let Some(run) = delivery.run.clone().filter(|run| run.stamp == stamp) else { return };
        delivery.run = None;
        if let Some(who) = self.consumers.get_mut(&run.consumer) {
            who.stuck |= who.stream.is_some() && who.unsent.contains(&stamp);
        }
        delivery.live.ended = Some(stamp);
        delivery.live.late_ack = false;
        self.gate.ended(n);
        if run.checkpointed {
            self.went("unwritten after its checkpoint");
            self.write(n);
        }
    }

    fn redrive(&mut self, request: RequestId, sequences: Vec<u64>) {
        let mut redriven = Vec::new();
        for n in sequences {
            let Some(delivery) = self.deliveries.get_mut(&n) else { continue };
            if delivery.live.end != End::Dead {
                continue;
            }
            delivery.shunned = None;
            delivery.live = Facts {
                generation: delivery.live.generation + 1,
                history: delivery.live.history.clone(),
                redriven: true,
                ..Delivery::new(None).live
            };
            self.went("redriven");
            redriven.push((n, self.write(n)));
        }
        self.expected.insert(request, Expected::Redriven { sequences: redriven });
    }

    fn retire(&mut self, request: RequestId, before: u64, count: usize) {
        let may_go = |delivery: &Delivery| {
            delivery.is_known() && delivery.run.is_none() && !delivery.live.redriven
        };
        let old = self.deliveries.range(..before).filter(|(_, delivery)| may_go(delivery));
        let old: Vec<_> = old.map(|(n, _)| *n).take(count).collect();
        let mut given_up = Vec::new();
        for n in old {
            let delivery = self.deliveries.get_mut(&n).unwrap();
            let way = if delivery.waiting { "retired while it waited" } else { "retired" };
            delivery.live.end = End::Dead;
            delivery.live.retired = true;
            let resource = delivery.resource;
            (delivery.waiting, delivery.shunned) = (false, None);
            self.went(way);
            given_up.push((n, self.write(n)));
            // Nothing of it waits for the quiet any more.
            if let Some(resource) = resource.filter(|of| self.open_of(*of).is_empty()) {
                self.quiet.remove(&resource);
            }
        }
        self.expected.insert(request, Expected::Retired { given_up });
    }

    /// What is needed no more must have ended for good, also if the process dies now.
    fn check_retired(&mut self, request: RequestId, count: usize, needed_from: u64) {
        let expected = self.expected.remove(&request).expect("it was asked");
        let Expected::Retired { given_up } = expected else { panic!("it asked for {expected:?}") };
        assert_eq!(given_up.len(), count);
        for (n, version) in given_up {
            self.confirm(n, version);
        }
        for (n, delivery) in self.deliveries.range(..needed_from) {
            let facts = &delivery.durable;
            assert!(facts.end != End::Open || facts.redriven, "{n} is needed: {facts:?}");
        }
    }

    fn purge(&mut self, request: RequestId, sequences: &[Sequence]) {
        let mut purged = Vec::new();
        for sequence in sequences {
            let n = sequence.get();
            let Some(delivery) = self.deliveries.get_mut(&n) else { continue };
            if delivery.live.end == End::Dead {
                delivery.live.end = End::Purged;
                self.went("purged");
                purged.push((n, self.write(n)));
            }
        }
        self.expected.insert(request, Expected::Purged { sequences: purged });
    }

    fn replay(&mut self, request: RequestId, events: &[(Sequence, Option<ResourceKey>)]) {
        let top = self.deliveries.values().map(|delivery| delivery.live.generation).max();
        let (mut opened, mut already_open, mut dead) = (Vec::new(), 0, 0);
        for (sequence, _) in events {
            let n = sequence.get();
            let delivery = self.deliveries.get_mut(&n).expect("it matches");
            let way = match delivery.live.end {
                End::Open => {
                    already_open += 1;
                    continue;
                }
                End::Dead => {
                    dead += 1;
                    continue;
                }
                End::Done => "replayed after an ack",
                End::Superseded(_) => "replayed after a newer event",
                End::Purged => "replayed after a purge",
            };
            delivery.live = Facts {
                generation: top.map_or(0, |top| top + 1),
                replayed: true,
                was_purged: delivery.live.end == End::Purged,
                ..Delivery::new(None).live
            };
            delivery.shunned = None;
            self.went(way);
            opened.push((n, self.write(n)));
        }
        self.expected.insert(request, Expected::Replayed { opened, already_open, dead });
    }

    fn check_replayed(&mut self, request: RequestId, replayed: &Replayed) {
        let expected = self.expected.remove(&request).expect("it was asked");
        let Expected::Replayed { opened, already_open, dead } = expected else {
            panic!("it asked for {expected:?}")
        };
        let counts = (replayed.already_open, replayed.dead, replayed.ahead, replayed.full_at);
        assert_eq!(counts, (already_open, dead, 0, None));
        self.confirm_all(&replayed.opened, opened);
    }

    fn timeout(&mut self, now: Timestamp, due: Option<Timestamp>) {
        let late = due.map_or(std::time::Duration::ZERO, |due| now.since(due));
        if SECOND * 2 < late {
            self.went("late loop");
            let back = late + SECOND * 2;
            for run in self.deliveries.values_mut().filter_map(|delivery| delivery.run.as_mut()) {
                run.expires = run.expires + back;
            }
            for who in self.consumers.values_mut().filter(|who| who.stream.is_none()) {
                who.heard = who.heard + back;
            }
        }
        while let Some((_, deadline, n, run)) = self.next_end().filter(|(at, ..)| *at <= now) {
            self.end(n, &run, deadline, now);
        }
        let numbers: Vec<_> = self.deliveries.keys().copied().collect();
        for n in numbers {
            let delivery = self.deliveries.get_mut(&n).unwrap();
            delivery.looked_at = Some(now);
            delivery.wait_until_due();
            if delivery.shunned.as_ref().is_some_and(|(_, until)| *until <= now) {
                delivery.shunned = None;
            }
            let run = delivery.run.as_mut();
            let is_due = |run: &&mut Run| {
                let who = self.consumers.get(&run.consumer);
                let is_unsent = who.is_some_and(|who| who.unsent.contains(&run.stamp));
                !run.checkpointed && !is_unsent && run.started + SECOND <= now
            };
            if let Some(run) = run.filter(is_due) {
                run.checkpointed = true;
                self.write(n);
            }
        }
    }

    /// Returns the next lease that time ends: when, whether at its deadline, and which.
    pub(super) fn next_end(&self) -> Option<(Timestamp, bool, u64, Run)> {
        let runs = self.deliveries.iter().filter_map(|(n, d)| Some((*n, d.run.as_ref()?)));
        let ends = runs.flat_map(|(n, run)| {
            let who = &self.consumers[&run.consumer];
            let grace = if who.restarted { MINUTE } else { self.policy.reconnect_grace };
            let lost = who.stream.is_none().then(|| (who.heard + grace, false, n, run));
            lost.into_iter().chain([(run.expires, true, n, run)])
        });
        let first = ends.min_by_key(|(at, deadline, n, _)| (*at, *deadline, *n));
        first.map(|(at, deadline, n, run)| (at, deadline, n, run.clone()))
    }

    fn end(&mut self, n: u64, run: &Run, deadline: bool, now: Timestamp) {
        let who = self.consumers[&run.consumer].clone();
        if !deadline && who.restarted {
            let delivery = self.deliveries.get_mut(&n).unwrap();
            delivery.run = None;
            delivery.live.ended = Some(run.stamp);
            delivery.live.late_ack = true;
            delivery.live.due = Due::Now;
            self.gate.ended(n);
            self.went("let go after a restart");
            self.write(n);
            return;
        }
        let end = match (deadline, run.started + self.policy.max_lease <= run.expires) {
            (false, _) => AttemptEnd::ConsumerLost,
            (true, true) => AttemptEnd::MaxLeaseReached,
            (true, false) => AttemptEnd::LeaseExpired,
        };
        if let Some(stream) = who.stream {
            self.lost.push((stream, run.stamp));
        }
        if who.unsent.contains(&run.stamp) {
            self.went("unsent to the end");
            return self.unwritten(n, run.stamp);
        }
        self.failed(n, run.stamp, &run.consumer, end, None, now);
    }

    fn crash(&mut self, now: Timestamp, landed: bool) {
        if landed {
            self.durable();
        }
        self.epoch += 1;
        self.words.clear();
        self.expected.clear();
        self.lost.clear();
        self.consumers.clear();
        self.quiet.clear();
        self.superseded_at.clear();
        for delivery in self.deliveries.values_mut() {
            delivery.staged = None;
            delivery.flying = None;
            delivery.shunned = None;
            (delivery.scanned, delivery.blocked) = (false, (false, false));
            delivery.live = Facts { lease: None, ..delivery.durable.clone() };
            delivery.run = delivery.durable.lease.clone();
            let waits = matches!(delivery.live.due, Due::At(due) if now < due);
            // The facts of what has ended keep the time that it was due before.
            let open = delivery.live.end == End::Open;
            delivery.waiting = open && delivery.run.is_none() && waits;
            delivery.looked_at = None;
            if let Some(run) = &mut delivery.run {
                *self.ways.entry("lease lives on after a restart").or_default() += 1;
                run.expires = run.expires.max(now + MINUTE);
                let who = Consumer::absent(now, true);
                self.consumers.insert(run.consumer.clone(), who);
            }
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Fetch { .. } | Effect::Drained | Effect::TakenOver { .. } => {}
            Effect::Newer { stream, lease, newest, count } => {
                assert!(*count > 0 && self.deliveries.contains_key(&newest.get()), "{effect:?}");
                let run = self.deliveries[&lease.sequence.get()].run.as_ref().expect("it runs");
                assert_eq!(run.stamp, lease.stamp, "{effect:?}");
                assert_eq!(self.consumers[&run.consumer].stream, Some(*stream), "{effect:?}");
                self.went("told of newer events");
            }
            Effect::Reconfigured { request } => {
                let expected = self.expected.remove(request);
                assert!(matches!(expected, Some(Expected::Reconfigured)), "{expected:?}");
            }
            Effect::Sought { .. } | Effect::Unused => panic!("{effect:?}: not asked for"),
            Effect::Persist { changes, .. } => self.commit(changes),
            Effect::Ready { stream, held } => self.check_held(*stream, held),
            Effect::Deliver { stream, grant } => self.check_delivery(*stream, grant),
            Effect::LeaseLost { stream, lease, reason } => {
                let lost = self.lost.iter().position(|lost| *lost == (*stream, lease.stamp));
                self.lost.remove(lost.expect("a lease that runs is not lost"));
                assert!(matches!(reason, LossReason::Expired | LossReason::MaxLeaseReached));
            }
            Effect::Settled { request, outcome } => self.check_outcome(*request, *outcome),
            Effect::Extended { request, result } => {
                let expected = self.expected.remove(request).expect("it was asked");
                let Expected::Extended { lease, allowed, version } = expected else {
                    panic!("it asked for {expected:?}")
                };
                assert!(allowed.contains(result), "{lease:?}: {result:?}, not {allowed:?}");
                self.confirm(lease.sequence.get(), version);
            }
            Effect::Retired { request, count, needed_from, .. } => {
                self.check_retired(*request, *count, *needed_from);
            }
            Effect::Replayed { request, replayed } => self.check_replayed(*request, replayed),
            Effect::Redriven { request, sequences } => {
                let expected = self.expected.remove(request).expect("it was asked");
                let Expected::Redriven { sequences: wanted } = expected else {
                    panic!("it asked for {expected:?}")
                };
                self.confirm_all(sequences, wanted);
            }
            Effect::Purged { request, sequences, edition: _ } => {
                let expected = self.expected.remove(request).expect("it was asked");
                let Expected::Purged { sequences: wanted } = expected else {
                    panic!("it asked for {expected:?}")
                };
                self.confirm_all(sequences, wanted);
            }
        }
    }

    /// Of what went, came back or is gone.
    fn confirm_all(&mut self, sequences: &[Sequence], wanted: Vec<(u64, u64)>) {
        let numbers = sequences.iter().map(|sequence| sequence.get());
        assert!(numbers.eq(wanted.iter().map(|(n, _)| *n)));
        for (n, version) in wanted {
            self.confirm(n, version);
        }
    }

    fn check_outcome(&mut self, request: RequestId, outcome: Outcome) {
        let expected = self.expected.remove(&request).expect("it was asked");
        let Expected::Settled { lease, allowed, version, ack } = expected else {
            panic!("it asked for {expected:?}")
        };
        assert!(allowed.contains(&outcome), "{lease:?}: {outcome:?}, not {allowed:?}");
        let n = lease.sequence.get();
        match outcome {
            Outcome::Applied if ack => {
                let before = self.acked.insert(n, (lease.generation, lease.stamp));
                let is_first = before.is_none_or(|(generation, _)| generation < lease.generation);
                assert!(is_first, "{lease:?}: acked twice, before by {before:?}");
                self.confirm(n, version);
            }
            Outcome::Applied | Outcome::AlreadyApplied => self.confirm(n, version),
            Outcome::Conflict | Outcome::Stale => {}
        }
    }

    fn confirm(&mut self, n: u64, version: u64) {
        if let Some(delivery) = self.deliveries.get_mut(&n) {
            delivery.confirmed = delivery.confirmed.max(version);
        }
    }

    fn check_held(&self, stream: StreamId, held: &[Grant]) {
        let who = self.consumers.iter().find(|(_, who)| who.stream == Some(stream));
        let (name, who) = who.expect("its stream is open");
        let stamps = held.iter().map(|grant| grant.lease.stamp);
        let expected = self.held_by(name).map(|(_, run)| run.stamp);
        let expected = expected.filter(|stamp| !who.lost_on_the_way.contains(stamp));
        assert!(stamps.eq(expected), "{held:?}");
    }

    fn check_delivery(&mut self, stream: StreamId, grant: &Grant) {
        let lease = &grant.lease;
        let who = self.consumers.get(lease.consumer.as_ref()).expect("it is there");
        assert_eq!(who.stream, Some(stream), "{grant:?}");
        assert!(self.has_room(&lease.consumer, who), "no room for {grant:?}");
        assert!(self.newest < Some(lease.stamp), "{grant:?}: issued before");
        self.newest = Some(lease.stamp);
        assert_eq!((lease.creation.0, lease.stamp.epoch.0), (1, self.epoch));
        let (n, now) = (lease.sequence.get(), self.now);
        assert!(self.gate.is_open(&self.policy, now), "{grant:?}: {:?}", self.gate);
        assert!(self.admits(n), "{grant:?}: its resource is busy: {}", self.why_not(n));
        self.gate.leased(&self.policy, n);
        let delivery = self.deliveries.get_mut(&n).expect("it matches");
        if let Some(resource) = delivery.resource {
            self.quiet.remove(&resource);
        }
        assert!(delivery.is_ready(), "{grant:?} of {delivery:?}");
        let shunned = delivery.shunned.as_ref();
        assert!(shunned.is_none_or(|(by, _)| **by != *lease.consumer), "{grant:?}: given back");
        let facts = &delivery.live;
        assert_eq!((lease.attempt, lease.generation), (facts.attempts + 1, facts.generation));
        assert_eq!(grant.redriven, facts.redriven);
        self.handed = lease.sequence.get();
        assert_eq!(grant.expires_at, self.now + self.policy.lease_duration, "{grant:?}");
        delivery.run = Some(Run {
            stamp: lease.stamp,
            consumer: lease.consumer.to_string(),
            started: self.now,
            expires: grant.expires_at,
            checkpointed: false,
        });
        let who = self.consumers.get_mut(lease.consumer.as_ref()).expect("it is there");
        who.unsent.insert(lease.stamp);
        self.note_resource(lease.sequence.get());
    }

    /// Notes when an event is handed out although an older one of its resource is not finished: without `ordering` a
    /// resource holds nothing back.
    fn note_resource(&mut self, n: u64) {
        let resource = self.deliveries[&n].resource;
        if resource.is_none() || self.policy.leases_per_resource().is_some() {
            return;
        }
        let older = self.deliveries.range(..n).filter(|(_, older)| older.resource == resource);
        let older: Vec<_> = older.map(|(_, older)| (older.run.is_some(), older.waiting)).collect();
        if older.iter().any(|(runs, _)| *runs) {
            self.went("two of a resource at once");
        }
        if older.iter().any(|(_, waits)| *waits) {
            self.went("past a failure of its resource");
        }
    }

    fn check_background(&self, background: &Background) {
        let delivery = &self.deliveries[&self.handed];
        assert_history(&background.attempts, &delivery.live);
    }

    /// A commit takes along all that is to be written, and nothing else.
    fn commit(&mut self, changes: &[Change]) {
        let mut last = BTreeMap::new();
        for change in changes {
            let sequence = match change {
                Change::Position { .. } | Change::Reconfigured { .. } => continue,
                Change::Superseded { sequences, .. } | Change::Purged { sequences } => {
                    last.extend(sequences.iter().map(|sequence| (sequence.get(), change)));
                    continue;
                }
                Change::Open { sequence, .. }
                | Change::Failed { sequence, .. }
                | Change::Done { sequence, .. }
                | Change::Dead { sequence, .. }
                | Change::Redriven { sequence, .. } => sequence.get(),
                Change::Checkpointed { .. } | Change::LookedBack { .. } | Change::Sought { .. } => {
                    panic!("{change:?}: not asked for")
                }
            };
            last.insert(sequence, change);
        }
        for (n, delivery) in &mut self.deliveries {
            delivery.blocked = (false, std::mem::take(&mut delivery.blocked.0));
            let Some(mut staged) = delivery.staged.take() else { continue };
            let change = last.remove(n).unwrap_or_else(|| panic!("{n}: {staged:?} is not written"));
            assert_change(change, &mut staged);
            if matches!(delivery.live.due, Due::Between(..)) {
                delivery.live.due = staged.due;
                delivery.wait_until_due();
            }
            assert_eq!(delivery.flying, None, "one commit is out at a time");
            delivery.flying = Some(staged);
        }
        assert!(last.is_empty(), "nothing new is written: {last:?}");
    }

    fn durable(&mut self) {
        for delivery in self.deliveries.values_mut() {
            delivery.blocked.1 = false;
            let Some(flying) = delivery.flying.take() else { continue };
            // One commit may give up and purge.
            let is_both = flying.end == End::Purged && delivery.durable.end != End::Dead;
            if flying.end == End::Dead || is_both {
                self.deaths += 1;
            }
            delivery.durable = flying;
        }
    }
}

/// Checks what is written against what is to be written, and learns when it is due.
fn assert_change(change: &Change, staged: &mut Facts) {
    match change {
        Change::Position { .. } => panic!("not of one delivery"),
        Change::Open { sequence, record } => {
            assert_eq!(staged.end, End::Open, "{sequence}");
            assert_record(*sequence, record, staged);
        }
        Change::Failed { sequence, record, attempt } => {
            assert_eq!(staged.end, End::Open, "{sequence}");
            assert_record(*sequence, record, staged);
            assert_last(Some(attempt), staged);
        }
        Change::Redriven { sequence, record } => {
            assert!(staged.end == End::Open && staged.redriven, "{sequence}");
            assert_record(*sequence, record, staged);
        }
        Change::Done { sequence, settlement } => {
            assert_eq!(staged.end, End::Done, "{sequence}");
            let attempts = staged.attempts..=staged.attempts + 1;
            assert!(attempts.contains(&settlement.attempt), "{sequence}: {settlement:?}");
        }
        Change::Dead { sequence, death: letter, attempt } => {
            assert_eq!(staged.end, End::Dead, "{sequence}");
            assert_eq!((letter.generation, letter.attempts), (staged.generation, staged.attempts));
            let rejected = matches!(staged.history.last(), Some((_, _, AttemptEnd::Rejected)));
            let reason = match attempt {
                None if staged.retired => Reason::Retention,
                None => Reason::FilterError,
                Some(_) if rejected => Reason::Rejected,
                Some(_) => Reason::MaxAttempts,
            };
            assert_eq!(letter.reason, reason, "{sequence}");
            if !staged.retired {
                assert_last(attempt.as_ref(), staged);
            }
        }
        Change::Purged { .. } => assert_eq!(staged.end, End::Purged),
        Change::Superseded { by, .. } => {
            assert_eq!(staged.end, End::Superseded(by.get()));
        }
        Change::Checkpointed { .. }
        | Change::LookedBack { .. }
        | Change::Reconfigured { .. }
        | Change::Sought { .. } => panic!("not of one delivery"),
    }
}

fn assert_record(sequence: Sequence, record: &Record, staged: &mut Facts) {
    match (staged.due, record.due_at) {
        (Due::Between(low, high), Some(due)) => {
            assert!((low..=high).contains(&due), "{sequence}: due at {due}");
            staged.due = Due::At(due);
        }
        (Due::At(due), written) => assert_eq!(written, Some(due), "{sequence}"),
        (Due::Now, written) => assert_eq!(written, None, "{sequence}"),
        (Due::Between(..), None) => panic!("{sequence}: a failure waits"),
    }
    let facts = (staged.generation, staged.attempts, staged.give_backs, staged.redriven);
    let written = (record.generation, record.attempts, record.give_backs, record.redriven);
    assert_eq!(written, facts, "{sequence}");
    assert_eq!(
        (record.fence, record.late_ack.is_some()),
        (staged.ended, staged.late_ack),
        "{sequence}"
    );
    let lease = record.lease.as_ref().map(|lease| Run {
        stamp: lease.stamp,
        consumer: lease.consumer.clone(),
        started: lease.started_at,
        expires: lease.expires_at,
        checkpointed: true,
    });
    assert_eq!(lease, staged.lease, "{sequence}");
}

fn assert_last(attempt: Option<&Attempt>, facts: &Facts) {
    let attempt = attempt.map(|attempt| (attempt.number, attempt.consumer.clone(), attempt.end));
    assert_eq!(attempt.as_ref(), facts.history.last());
}

fn assert_history(history: &[Attempt], facts: &Facts) {
    let history = history.iter().map(|a| (a.number, a.consumer.clone(), a.end));
    assert!(history.eq(facts.history.iter().cloned()), "{:?}", facts.history);
}
