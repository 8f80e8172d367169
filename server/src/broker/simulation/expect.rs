//! Which events a subscription has to deliver: followed through updates of its rule and seeks.

use hookline_core::{
    delivery::{Creation, Pause},
    event::Sequence,
    time::Timestamp,
};

use super::{
    events::{Kind, Takes, Verdict},
    operation::NAMES,
    oracle::{Bucket, Delivery, Oracle, Sub},
};
use crate::{
    broker::ReplayCounts,
    store::{EventLog as _, SubscriptionConfig, memory::MemoryStore},
};

/// What a subscription owes of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expect {
    due: Due,
    /// What happened before does not count.
    pub(super) since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Never,
    May,
    Must,
    /// Its filter fails: it must be dead.
    MustDie,
}

impl Expect {
    fn new(verdict: Verdict, since: Timestamp) -> Self {
        let due = match verdict {
            Verdict::Taken => Due::Must,
            Verdict::Skipped => Due::Never,
            Verdict::Fails => Due::MustDie,
        };
        Self { due, since }
    }

    fn either(one: Self, other: Self) -> Self {
        if one.due == other.due { other } else { Self { due: Due::May, ..other } }
    }

    fn no_more(self) -> Self {
        if self.due == Due::Never { self } else { Self { due: Due::May, ..self } }
    }

    /// Whether a consumer may be given the event. One that must be dead may come back from there.
    pub(super) fn may_come(self) -> bool {
        self.due != Due::Never
    }

    /// Whether the subscription has to be done with the event in the end.
    pub(super) fn must_end(self) -> bool {
        matches!(self.due, Due::Must | Due::MustDie)
    }

    /// Whether the event may be given up since its filter fails.
    pub(super) fn may_fail(self) -> bool {
        matches!(self.due, Due::May | Due::MustDie)
    }
}

/// Whether it is paused whatever the time of day was, of those since the hub was started, when the pause was taken in.
pub(super) fn is_paused(pause: Pause, now: Timestamp, wall_lead: i64) -> bool {
    match pause {
        Pause::Off => false,
        Pause::On => true,
        Pause::Until(until) => now.as_micros().saturating_add(wall_lead) < until.as_micros(),
    }
}

fn takes(config: &SubscriptionConfig) -> Takes {
    let is = |takes: &&Takes| takes.is(&config.rule);
    *Takes::EVERY.iter().find(is).expect("it was made from one of these")
}

impl Oracle {
    /// Learns what the log and the ledgers have, while nothing is under way.
    pub(super) fn learn(&mut self, store: &MemoryStore, kinds: &[Kind], now: Timestamp) {
        self.learn_log(store, kinds);
        self.learn_trim(store);
        let creations = store.creations();
        let gone: Vec<_> =
            self.subs.keys().filter(|creation| !creations.contains(creation)).copied().collect();
        for creation in gone {
            let sub = self.subs.remove(&creation).expect("it was listed");
            self.ensure(sub.delete_asked || sub.expires, || {
                format!("subscription {} is gone", NAMES[sub.name])
            });
        }
        for creation in creations {
            let known = store.durable(creation, |durable| {
                let snapshot = durable.snapshot;
                let floor = (snapshot.floor, snapshot.generation);
                (durable.config.clone(), durable.epoch, floor)
            });
            let Some((config, epoch, floor)) = known else { continue };
            let mut sub = self.subs.remove(&creation).unwrap_or_else(|| Sub::new(&config));
            self.learn_rule(creation, &mut sub, &config, floor);
            if std::mem::take(&mut sub.replaying) {
                // Another rule may have been taken on before it was carried out.
                sub.may_take_all(&self.log);
            }
            sub.expires |= config.policy.expire_after.is_some();
            sub.max_attempts_ever = sub.max_attempts_ever.max(config.policy.max_attempts);
            sub.was_paused = is_paused(config.pause, now, self.wall_lead);
            if sub.updating || sub.bucket.is_none_or(|bucket| bucket.epoch != epoch) {
                sub.bucket = config.policy.rate.map(|rate| Bucket::full(rate, epoch, now));
            }
            sub.reordered |= sub.flow != (config.policy.ordering, config.policy.coalesce);
            (sub.updating, sub.retaking, sub.seeking) = (false, None, None);
            // What is gone is owed no more, also by a seek to before it.
            let gone = usize::try_from(self.first - 1).unwrap_or(usize::MAX);
            for expect in sub.expects.iter_mut().take(gone) {
                *expect = expect.no_more();
            }
            self.subs.insert(creation, sub);
        }
    }

    fn learn_log(&mut self, store: &MemoryStore, kinds: &[Kind]) {
        while let Some(entry) = store.entry_at(sequence(self.log.len() + 1)) {
            let content = &entry.event.content;
            let is_announcement = content.source.as_str() == "dead-letter";
            let number = content.delivery_key.parse::<usize>().ok();
            let kind = number.filter(|_| !is_announcement).and_then(|number| kinds.get(number));
            self.log.push(kind.copied().unwrap_or(Kind::ANNOUNCEMENT));
            let metadata = &content.metadata;
            let key = match metadata.get("dead_letter_id") {
                Some(letter) => letter,
                None => content.delivery_key.as_str(),
            };
            let twice = self.keys.insert(key.to_owned(), entry.event.sequence.get());
            // It is forgotten with its event.
            let is_known = twice.is_none_or(|before| before < store.first().get());
            self.ensure(is_known, || format!("{key} is in the log twice"));
        }
        for (number, sequence) in &self.confirmed {
            if self.keys.get(&number.to_string()) != Some(&sequence.get()) {
                let why = format!("event {number} was confirmed as {sequence} and is lost (4)");
                return self.ensure(false, || why);
            }
        }
    }

    /// What is gone had ended for every subscription that is still there.
    fn learn_trim(&mut self, store: &MemoryStore) {
        let first = store.first().get();
        let kept = std::mem::replace(&mut self.first, first).max(1);
        if kept < first {
            self.went("trimmed");
        }
        let creations: Vec<_> = self.subs.keys().copied().collect();
        for creation in creations {
            for place in kept..first {
                self.check_trimmed(store, creation, place);
            }
        }
    }

    fn check_trimmed(&mut self, store: &MemoryStore, creation: Creation, place: u64) {
        let at = sequence(usize::try_from(place).expect("runs are short"));
        let expect = self.expects(creation, at).filter(|of| of.must_end());
        let is_moving = self
            .subs
            .get(&creation)
            .is_none_or(|sub| sub.seeking.is_some() || sub.retaking.is_some());
        let Some(expect) = expect.filter(|_| !is_moving) else { return };
        let is_over = store.durable(creation, |durable| {
            let ended = durable.pasts.ended(at).map(super::check::ended_at);
            let died = durable.letters.get(&at).map(|row| row.letter.died_at);
            ended.into_iter().chain(died).any(|ended| expect.since <= ended)
                || durable.snapshot.purged.contains(at)
                || durable.snapshot.looked_back < place
        });
        self.ensure(is_over.unwrap_or(true), || {
            format!("{creation:?}/{at}: its event was removed, and it has not ended")
        });
    }

    fn learn_rule(
        &mut self,
        creation: Creation,
        sub: &mut Sub,
        config: &SubscriptionConfig,
        (floor, generation): (u64, u32),
    ) {
        if generation != sub.generation {
            let (position, asked_at) = sub.seeking.unwrap_or((0, Timestamp::MAX));
            self.ensure(sub.seeking.is_some(), || "its position moved by itself".to_owned());
            sub.extend(&self.log, self.log.len(), sub.takes);
            // A seek to before the place where it began moves that place too.
            sub.start_after = config.start_after;
            sub.move_to(&self.log, position, asked_at);
            (sub.generation, sub.was_sought, sub.floor) = (generation, true, position.min(floor));
        }
        let takes = takes(config);
        if takes != sub.takes {
            let (head, from_after) = sub.retaking.unwrap_or((0, None));
            let head = usize::try_from(head).unwrap_or(usize::MAX);
            self.ensure(sub.retaking.is_some(), || "its rule changed by itself".to_owned());
            sub.extend(&self.log, head, sub.takes);
            sub.retake(&self.log, takes, from_after);
            self.went("another rule");
        }
        sub.extend(&self.log, self.log.len(), sub.takes);
        self.ensure(sub.floor <= floor, || format!("{creation:?}: the floor went back (6)"));
        sub.floor = floor;
    }

    /// A seek is asked for: from here on what lies beyond its position may come again.
    pub(super) fn will_seek(&mut self, creation: Creation, after: u64, now: Timestamp) {
        if let Some(sub) = self.subs.get_mut(&creation) {
            sub.seeking = Some((after, now));
        }
        for delivery in self.deliveries_of(creation, after) {
            (delivery.acked, delivery.not_before) = (false, None);
        }
        for delivery in self.deliveries_of(creation, 0) {
            delivery.may_rise = true;
        }
        self.left_all(creation);
    }

    /// A redrive is asked for.
    pub(super) fn will_redrive(&mut self, store: &MemoryStore, creation: Creation) {
        let dead = store.durable(creation, |durable| {
            let dead = durable.letters.iter().filter(|(_, row)| !row.redriven);
            dead.map(|(sequence, _)| *sequence).collect::<Vec<_>>()
        });
        for sequence in dead.unwrap_or_default() {
            if let Some(delivery) = self.deliveries.get_mut(&(creation, sequence)) {
                delivery.acked = false;
            }
        }
        // Others may be dead by then.
        for delivery in self.deliveries_of(creation, 0) {
            delivery.may_rise = true;
        }
    }

    /// A replay is asked for: whatever the rule of now takes may come, in a generation of its own.
    pub(super) fn will_replay(&mut self, creation: Creation) {
        if let Some(sub) = self.subs.get_mut(&creation) {
            (sub.replaying, sub.was_replayed) = (true, true);
            sub.may_take_all(&self.log);
        }
        for delivery in self.deliveries_of(creation, 0) {
            delivery.may_rise = true;
        }
    }

    /// A replay was answered: what it opened has to end once more.
    pub(super) fn replayed(
        &mut self,
        store: &MemoryStore,
        creation: Creation,
        counts: &ReplayCounts,
        (since, sought): (Timestamp, Option<u32>),
    ) {
        let now = store.durable(creation, |durable| durable.snapshot.generation);
        let Some(sub) = self.subs.get_mut(&creation) else { return };
        let is_sure = now == sought && sub.seeking.is_none();
        for sequence in &counts.replayed {
            let place = usize::try_from(sequence.get() - 1).expect("runs are short");
            // A seek may have ended it since, and what was not known when the replay was asked for is owed anyway.
            if let Some(expect) = sub.expects.get_mut(place).filter(|_| is_sure) {
                *expect = Expect { due: Due::Must, since };
            }
        }
        if !counts.replayed.is_empty() {
            self.went("replayed");
        }
    }

    /// A seek, a replay or a redrive was answered, or never will be: what was first seen while it was under way may be part of it.
    pub(super) fn moved(&mut self) {
        for delivery in self.deliveries.values_mut() {
            delivery.may_rise = true;
        }
    }

    fn left_all(&mut self, creation: Creation) {
        for lease in self.leases.iter_mut().filter(|lease| lease.id.creation == creation) {
            lease.may_be_over = true;
        }
    }

    fn deliveries_of(
        &mut self,
        creation: Creation,
        after: u64,
    ) -> impl Iterator<Item = &mut Delivery> {
        let all = self.deliveries.iter_mut();
        let of = all.filter(move |((of, at), _)| *of == creation && at.get() > after);
        of.map(|(_, delivery)| delivery)
    }
}

pub(super) fn sequence(number: usize) -> Sequence {
    Sequence::new(number as u64).expect("from 1")
}

impl Sub {
    fn new(config: &SubscriptionConfig) -> Self {
        let name = NAMES.iter().position(|name| *name == config.name.as_str());
        Self {
            name: name.expect("it has one of these names"),
            takes: takes(config),
            start_after: config.start_after,
            expects: Vec::new(),
            generation: 0,
            floor: 0,
            max_attempts_ever: 0,
            expires: false,
            delete_asked: false,
            was_sought: false,
            looked_back: false,
            retaking: None,
            updating: false,
            replaying: false,
            was_replayed: false,
            seeking: None,
            was_paused: false,
            bucket: None,
            flow: (config.policy.ordering, config.policy.coalesce),
            reordered: false,
        }
    }

    /// Judges what the log has got since, up to `end`.
    fn extend(&mut self, log: &[Kind], end: usize, takes: Takes) {
        while self.expects.len() < end {
            let place = self.expects.len();
            let verdict = self.judge(log, place, takes);
            self.expects.push(Expect::new(verdict, Timestamp::MIN));
        }
    }

    /// Lets all that its rule takes come, wherever it began.
    fn may_take_all(&mut self, log: &[Kind]) {
        for (expect, kind) in self.expects.iter_mut().zip(log) {
            if expect.due == Due::Never && self.takes.judge(*kind) == Verdict::Taken {
                expect.due = Due::May;
            }
        }
    }

    fn judge(&self, log: &[Kind], place: usize, takes: Takes) -> Verdict {
        if (place as u64) < self.start_after {
            return Verdict::Skipped;
        }
        log.get(place).map_or(Verdict::Skipped, |kind| takes.judge(*kind))
    }

    fn move_to(&mut self, log: &[Kind], position: u64, since: Timestamp) {
        for place in 0..self.expects.len() {
            let now = Expect::new(self.judge(log, place, self.takes), since);
            self.expects[place] = if (place as u64) < position {
                // It counts as done by the rule of now, whatever the rule of then has made of it.
                Expect::either(self.expects[place].no_more(), now.no_more())
            } else {
                now
            };
        }
    }

    /// Another rule holds: for what comes, and where it was asked for, for what was there.
    fn retake(&mut self, log: &[Kind], takes: Takes, from_after: Option<u64>) {
        let known = self.expects.len();
        self.looked_back |= from_after.is_some();
        if let Some(after) = from_after {
            for place in 0..known {
                let before = self.expects[place];
                let now = Expect::new(self.judge(log, place, takes), Timestamp::MIN);
                // What the rule of before took stays taken, if it had been looked at.
                if (place as u64) < after.max(self.start_after) {
                    continue;
                }
                let was_skipped = before.due == Due::Never;
                self.expects[place] = if was_skipped { now } else { Expect::either(now, before) };
            }
        }
        for place in known..log.len() {
            let before = Expect::new(self.judge(log, place, self.takes), Timestamp::MIN);
            let now = Expect::new(self.judge(log, place, takes), Timestamp::MIN);
            self.expects.push(Expect::either(before, now));
        }
        self.takes = takes;
    }
}
