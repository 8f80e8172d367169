//! What is looked at while nothing is under way: the subscriptions as they say they are, against what is durable.

use std::collections::{BTreeMap, BTreeSet};

use hookline_core::{
    delivery::{Coalesce, Creation, Epoch, Pasts, Reason, Record, Snapshot, Stamp, Status},
    event::Sequence,
    time::Timestamp,
};

use super::{
    expect::sequence,
    operation::{NAMES, ROOMS},
    oracle::Oracle,
    world::{World, named},
};
use crate::{
    broker::States,
    store::{DeadRow, SubscriptionConfig, memory::MemoryStore},
};

/// Leases that run longer than this are written down.
const CHECKPOINT_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// A subscription as it says it is, and its durable facts.
pub(super) struct Look {
    pub(super) creation: Creation,
    epoch: Epoch,
    config: SubscriptionConfig,
    snapshot: Snapshot,
    /// The sequences that ended by an ack or a newer event, with when.
    ended: BTreeMap<Sequence, Timestamp>,
    letters: BTreeMap<Sequence, DeadRow>,
    /// How many it says are dead.
    dead: u64,
    pub(super) open: Vec<(Sequence, Status)>,
    /// Of each open one, the resource in words.
    resources: BTreeMap<Sequence, String>,
    now: Timestamp,
}

impl World {
    /// Checks everything that can be seen, if nothing is under way.
    pub(super) async fn check(&mut self) {
        if self.is_slow || !self.pending.is_empty() {
            return;
        }
        let now = self.now();
        self.oracle.learn(&self.store, &self.kinds, now);
        for name in 0..NAMES.len() {
            if let Some(look) = self.look(name).await {
                self.oracle.check(&look, self.at);
            }
        }
    }

    /// Looks at a subscription; `None` if there is none, or it does not answer now.
    pub(super) async fn look(&self, name: usize) -> Option<Look> {
        let broker = self.broker();
        let creation = broker.identity(&named(name))?.creation;
        let states = States { ready: true, leased: true, waiting: true };
        let name = named(name);
        // One that nobody waits for takes in what is new only when it is asked for something.
        drop(self.drive(broker.view(&name)).await);
        self.drive(std::future::pending::<()>()).await;
        let dead = self.drive(broker.view(&name)).await?.ok()??.overview.counts.dead;
        let open = self.drive(broker.open_deliveries(&name, 0, states, 10_000)).await?;
        let open: Vec<_> = open.ok()??.0.into_iter().map(|(at, of)| (at, of.status)).collect();
        let resource = |at: &Sequence| {
            let entry = self.store.entry_at(*at)?;
            let content = &entry.event.content;
            let is_about = !content.resource_id.is_empty();
            is_about.then(|| (*at, format!("{}/{}", content.source, content.resource_id)))
        };
        let resources = open.iter().filter_map(|(at, _)| resource(at)).collect();
        let now = self.now();
        self.store.durable(creation, |durable| Look {
            creation,
            epoch: durable.epoch,
            config: durable.config.clone(),
            snapshot: durable.snapshot.clone(),
            ended: ended_at_all(durable.pasts),
            letters: durable.letters.clone(),
            dead,
            open,
            resources,
            now,
        })
    }
}

fn ended_at_all(pasts: &Pasts) -> BTreeMap<Sequence, Timestamp> {
    let ended = pasts.iter().filter_map(|(at, past)| Some((at, ended_at(past.ended.last()?))));
    ended.collect()
}

pub(super) fn ended_at(ended: &hookline_core::delivery::Ended) -> Timestamp {
    match ended {
        hookline_core::delivery::Ended::Acked(settlement) => settlement.done_at,
        hookline_core::delivery::Ended::Superseded { at, .. } => *at,
    }
}

impl Oracle {
    pub(super) fn check(&mut self, look: &Look, at: usize) {
        self.check_fold(look);
        self.check_floor(look);
        self.check_letters(look);
        self.check_room(look);
        self.check_resources(look, at);
    }

    /// Folding what was written gives what is live (8); a lease that runs for long is written down.
    fn check_fold(&mut self, look: &Look) {
        for (at, status) in &look.open {
            let Some(record) = status.record() else { continue };
            let written = look.snapshot.records.get(at);
            let light = Record { generation: look.snapshot.generation, ..Record::default() };
            let facts = |of: &Record| (of.generation, of.attempts, of.due_at, of.redriven);
            let same = facts(record) == facts(written.unwrap_or(&light));
            self.ensure(same, || {
                format!("{:?}/{at}: {record:?} is written as {written:?} (8)", look.creation)
            });
            let lease = written.and_then(|written| written.lease.as_ref());
            match status {
                Status::Leased { consumer, started_at, expires_at, .. } => {
                    // One that no transport has taken has not begun.
                    let of = self.deliveries.get(&(look.creation, *at));
                    let last = of.and_then(|of| of.last).map(|last| &self.leases[last]);
                    let was_read = last.is_some_and(|last| {
                        last.was_read_at_once && !last.may_be_over && last.deadline == *expires_at
                    });
                    let is_long = was_read && *started_at + CHECKPOINT_AFTER <= look.now;
                    self.ensure(!is_long || lease.is_some(), || {
                        format!("{:?}/{at}: its lease is not written down", look.creation)
                    });
                    let same = lease.is_none_or(|lease| lease.consumer == *consumer);
                    self.ensure(same, || format!("{at}: leased to {consumer}, written: {lease:?}"));
                }
                Status::Ready(_) | Status::Waiting { .. } => {
                    self.ensure(lease.is_none(), || {
                        format!(
                            "{:?}/{at}: {lease:?} is written, and does not run (8)",
                            look.creation
                        )
                    });
                }
                Status::Unscanned | Status::Done | Status::Dead | Status::Purged => {}
            }
        }
        let open: BTreeSet<_> = look.open.iter().map(|(at, _)| *at).collect();
        let lost = look.snapshot.records.iter().find(|(at, record)| {
            let is_known = !record.is_untouched() || at.get() <= look.snapshot.floor;
            is_known && !open.contains(at)
        });
        self.ensure(lost.is_none(), || format!("{:?}: {lost:?} is not open (8)", look.creation));
    }

    /// What the floor has passed has ended (1).
    fn check_floor(&mut self, look: &Look) {
        let floor = usize::try_from(look.snapshot.floor).unwrap_or(usize::MAX);
        let looked_back = look.snapshot.looked_back;
        let known = self.subs.get(&look.creation).map_or(0, |sub| sub.expects.len());
        for place in 0..floor.min(known) {
            let at = sequence(place + 1);
            let Some(expect) = self.expects(look.creation, at).filter(|of| of.must_end()) else {
                continue;
            };
            let is_ended = look.ended.get(&at).is_some_and(|ended| *ended >= expect.since)
                || look.letters.get(&at).is_some_and(|row| row.letter.died_at >= expect.since)
                || look.snapshot.records.contains_key(&at)
                || look.snapshot.purged.contains(at)
                || at.get() > looked_back;
            self.ensure(is_ended, || {
                format!(
                    "{:?}/{at}: the floor {floor} has passed it, and it has not ended (1)",
                    look.creation
                )
            });
        }
    }

    /// A dead letter tells of its attempts (3), and only what failed on its filter is dead for that.
    fn check_letters(&mut self, look: &Look) {
        for (at, row) in &look.letters {
            let letter = &row.letter;
            let last = letter.history.last().map_or(0, |attempt| attempt.number);
            let tells = match letter.reason {
                Reason::MaxAttempts | Reason::Rejected => {
                    let count = usize::try_from(letter.attempts).unwrap_or(usize::MAX);
                    let own = letter.history.iter().rev().take(count).rev();
                    last == letter.attempts
                        && last > 0
                        && own.map(|attempt| attempt.number).eq(1..=last)
                }
                Reason::FilterError => letter.attempts == 0,
                Reason::Retention => at.get() < self.hard,
            };
            self.ensure(tells, || format!("{:?}/{at}: {letter:?} (3)", look.creation));
            if letter.reason == Reason::Retention {
                self.went("too old");
            }
            if letter.reason == Reason::FilterError {
                self.went("failed on its filter");
                let fails = self.expects(look.creation, *at);
                let fails = fails.is_none_or(|of| of.may_fail() || letter.died_at <= of.since);
                // It may be from before a seek, by a rule that holds no more.
                let fails = fails || self.subs.get(&look.creation).is_some_and(|of| of.was_sought);
                self.ensure(fails, || format!("{:?}/{at}: its filter works", look.creation));
            }
            let is_dead = look.snapshot.dead.contains(*at);
            self.ensure(is_dead || row.redriven, || format!("{at}: a letter, and not dead (8)"));
        }
        let listed = look.letters.values().filter(|row| !row.redriven).count() as u64;
        self.ensure(look.dead == listed, || format!("{} dead, and {listed} letters", look.dead));
        let purged = look.letters.keys().find(|at| look.snapshot.purged.contains(**at));
        self.ensure(purged.is_none(), || format!("{purged:?} is purged, and has a letter (8)"));
        let lost = look.snapshot.dead.iter().find(|at| !look.letters.contains_key(at));
        self.ensure(lost.is_none(), || format!("{lost:?} is dead, and has no letter (8)"));
    }

    /// The lease of a delivery that runs: its stamp, as far as it is known.
    fn stamp(&self, look: &Look, at: Sequence) -> Option<Stamp> {
        let written = look.snapshot.records.get(&at).and_then(|record| record.lease.as_ref());
        if let Some(lease) = written {
            return Some(lease.stamp);
        }
        let last = self.deliveries.get(&(look.creation, at)).and_then(|of| of.last)?;
        self.leases.get(last).map(|lease| lease.id.stamp)
    }

    /// Whether a lease that runs was given since the ledger was opened last. One that nobody has read was.
    fn is_recent(&self, look: &Look, at: Sequence) -> bool {
        self.stamp(look, at).is_none_or(|stamp| stamp.epoch == look.epoch)
    }

    /// Nobody has more leases than there is room for.
    fn check_room(&mut self, look: &Look) {
        let mut leased: BTreeMap<&str, u32> = BTreeMap::new();
        for (at, status) in &look.open {
            if let Status::Leased { consumer, .. } = status
                && self.is_recent(look, *at)
            {
                *leased.entry(consumer).or_default() += 1;
            }
        }
        for (consumer, count) in leased {
            let room = consumer.parse::<usize>().ok().and_then(|of| ROOMS.get(of)).copied();
            self.ensure(Some(count) <= room, || {
                format!("{:?}: {consumer} has {count} leases, and room for {room:?}", look.creation)
            });
        }
    }

    /// Resources: not more leases than they have, in order (2); and what is coalesced is one.
    fn check_resources(&mut self, look: &Look, at: usize) {
        let policy = &look.config.policy;
        let mut of_resource: BTreeMap<&str, Vec<(Sequence, &Status)>> = BTreeMap::new();
        for (at, status) in &look.open {
            if let Some(resource) = look.resources.get(at) {
                of_resource.entry(resource).or_default().push((*at, status));
            }
        }
        let Some(at_once) = policy.leases_per_resource() else { return };
        let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
        for (resource, open) in of_resource {
            let leased = |status: &Status| matches!(status, Status::Leased { .. });
            let recent = open.iter().filter(|(at, of)| leased(of) && self.is_recent(look, *at));
            let count = recent.count();
            let creation = look.creation;
            self.ensure(count <= at_once, || {
                format!("{creation:?}: {count} leases of {resource}, not {at_once} (2)")
            });
            let idle = open.iter().filter(|(_, of)| !leased(of)).count();
            if policy.coalesce != Coalesce::None {
                self.ensure(idle <= 1, || format!("{creation:?}: {open:?} are not coalesced"));
            }
            self.check_order(look, &open, at_once, at);
        }
    }

    /// What was leased just now was among the first of its resource.
    fn check_order(
        &mut self,
        look: &Look,
        open: &[(Sequence, &Status)],
        at_once: usize,
        at: usize,
    ) {
        let reordered = self.subs.get(&look.creation).is_none_or(|sub| sub.reordered);
        let mut before = 0;
        for (of, status) in open {
            let last = self.deliveries.get(&(look.creation, *of)).and_then(|of| of.last);
            let lease = last.and_then(|last| self.leases.get(last));
            let is_new = matches!(status, Status::Leased { .. })
                && lease.is_some_and(|lease| lease.at == at && lease.was_read_at_once);
            self.ensure(!is_new || before < at_once || reordered, || {
                format!(
                    "{:?}/{of}: {before} older ones of its resource are open (2)",
                    look.creation
                )
            });
            let alone = status.record().is_some_and(Record::stands_alone);
            before += usize::from(!alone);
        }
    }

    /// Every death is told once, and what was confirmed is there: at the end.
    pub(super) fn check_told(&mut self, store: &MemoryStore) {
        let creations: Vec<_> = self.subs.keys().copied().collect();
        for creation in creations {
            let rows = store
                .durable(creation, |durable| durable.letters.values().cloned().collect::<Vec<_>>());
            for row in rows.unwrap_or_default() {
                let id = crate::broker::DeadLetterId::of(&row).to_string();
                let is_announcement = row.entry.event.content.source.as_str() == "dead-letter";
                let is_told = self.keys.contains_key(&id) || is_announcement;
                // The last of those that are given up together is told for all.
                let is_told = is_told || row.letter.reason == Reason::Retention;
                self.ensure(row.announced && is_told, || format!("{id} was not announced"));
            }
        }
    }
}
