//! What subscriptions tell to Prometheus.
//!
//! Each task leaves word of how its subscription stands whenever it comes to rest, and counts what it has made durable. A
//! scrape reads that and asks no task: one that hangs can't hold it up. What is told stays bounded: of durable subscriptions
//! the first [`SUBSCRIPTIONS_MEASURED_MAX`] have series of their own, all others together one, and so have ephemeral ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hookline_core::{
    delivery::{Attempt, AttemptEnd, Change, LossReason, Reason},
    event::Sequence,
    time::Timestamp,
};
use parking_lot::Mutex;

use super::{Broker, Handle, lookup::read_one};
use crate::{
    limits::{AGES_READ_MAX, SUBSCRIPTIONS_MEASURED_MAX},
    metrics::{Family, Measured, Samples, Text, family},
    store::BoxFuture,
};

/// Stands for the durable subscriptions that have no series of their own; no subscription has such a name.
const OTHERS: &str = "(others)";
/// Stands for the ephemeral ones.
const EPHEMERAL: &str = "(ephemeral)";

/// How an attempt, or a delivery without one, ended.
const OUTCOMES: [&str; 11] = [
    "acked",
    "nacked",
    "rejected",
    "lease_expired",
    "max_lease_reached",
    "consumer_lost",
    "released_too_often",
    "released",
    "superseded",
    "filter_error",
    "retention",
];
const ACKED: usize = 0;
const RELEASED: usize = 7;
const SUPERSEDED: usize = 8;
const FILTER_ERROR: usize = 9;
const RETENTION: usize = 10;

/// Why leases were lost.
const LOSSES: [&str; 4] = ["expired", "max_lease_reached", "consumer_lost", "sought"];
const SOUGHT: usize = 3;

/// Why deliveries were given up.
const REASONS: [&str; 4] = ["max_attempts", "rejected", "filter_error", "retention"];

const fn outcome(end: AttemptEnd) -> usize {
    match end {
        AttemptEnd::Nacked => 1,
        AttemptEnd::Rejected => 2,
        AttemptEnd::LeaseExpired => 3,
        AttemptEnd::MaxLeaseReached => 4,
        AttemptEnd::ConsumerLost => 5,
        AttemptEnd::ReleasedTooOften => 6,
    }
}

const fn loss(end: AttemptEnd) -> Option<usize> {
    match end {
        AttemptEnd::LeaseExpired => Some(0),
        AttemptEnd::MaxLeaseReached => Some(1),
        AttemptEnd::ConsumerLost => Some(2),
        AttemptEnd::Nacked | AttemptEnd::Rejected | AttemptEnd::ReleasedTooOften => None,
    }
}

const fn reason(reason: Reason) -> usize {
    match reason {
        Reason::MaxAttempts => 0,
        Reason::Rejected => 1,
        Reason::FilterError => 2,
        Reason::Retention => 3,
    }
}

/// How many of what there are, by place in a list of words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted<const N: usize>([u64; N]);

impl<const N: usize> Default for Counted<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Counted<N> {
    fn add(&mut self, place: usize, count: usize) {
        if let Some(total) = self.0.get_mut(place) {
            *total += u64::try_from(count).unwrap_or(u64::MAX);
        }
    }
}

/// What happened: of one commit, or since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    started: u64,
    redeliveries: u64,
    ended: Counted<{ OUTCOMES.len() }>,
    lost: Counted<{ LOSSES.len() }>,
    dead: Counted<{ REASONS.len() }>,
    redriven: u64,
    purged: u64,
    seeks: u64,
}

impl Tally {
    /// Whether there may be more or fewer dead letters than before.
    pub(super) fn moves_dead_letters(&self) -> bool {
        let died: u64 = self.dead.0.iter().sum();
        0 < died + self.redriven + self.purged + self.seeks
    }

    /// Counts what a commit says.
    pub(super) fn of(changes: &[Change]) -> Self {
        let mut tally = Self::default();
        for change in changes {
            match change {
                Change::Done { .. } => tally.ended.add(ACKED, 1),
                Change::Failed { attempt, .. } => tally.failed(attempt),
                Change::Dead { death, attempt, .. } => {
                    match (attempt, death.reason) {
                        (Some(attempt), _) => tally.failed(attempt),
                        (None, Reason::FilterError) => tally.ended.add(FILTER_ERROR, 1),
                        (None, Reason::Retention) => tally.ended.add(RETENTION, 1),
                        (None, Reason::MaxAttempts | Reason::Rejected) => {}
                    }
                    tally.dead.add(reason(death.reason), 1);
                }
                Change::Superseded { sequences, .. } => {
                    tally.ended.add(SUPERSEDED, sequences.len());
                }
                Change::Open { record, .. } => {
                    let is_given_back = record.lease.is_none() && record.fence.is_some();
                    tally.ended.add(RELEASED, usize::from(is_given_back && 0 < record.give_backs));
                }
                Change::Redriven { .. } => tally.redriven += 1,
                Change::Purged { sequences } => {
                    tally.purged += u64::try_from(sequences.len()).unwrap_or(u64::MAX);
                }
                Change::Position { .. }
                | Change::Checkpointed { .. }
                | Change::LookedBack { .. }
                | Change::Reconfigured { .. } => {}
                Change::Sought { .. } => tally.seeks += 1,
            }
        }
        tally
    }

    fn failed(&mut self, attempt: &Attempt) {
        self.ended.add(outcome(attempt.end), 1);
        if let Some(loss) = loss(attempt.end) {
            self.lost.add(loss, 1);
        }
    }

    fn numbers(&mut self) -> impl Iterator<Item = &mut u64> {
        let single = [
            &mut self.started,
            &mut self.redeliveries,
            &mut self.redriven,
            &mut self.purged,
            &mut self.seeks,
        ];
        let listed = self.ended.0.iter_mut().chain(&mut self.lost.0).chain(&mut self.dead.0);
        single.into_iter().chain(listed)
    }

    fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        self.numbers().zip(other.numbers()).for_each(|(total, more)| *total += *more);
    }
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) done_floor: u64,
    pub(super) scanned: u64,
    pub(super) ready: u64,
    pub(super) parked: u64,
    pub(super) leased: u64,
    pub(super) waiting: u64,
    pub(super) dead: u64,
    pub(super) consumers: u64,
    pub(super) paused: u64,
    pub(super) breaker: u64,
    pub(super) first_open: Option<Sequence>,
}

/// What a task tells about its subscription.
#[derive(Debug, Default)]
pub(super) struct Figures {
    reading: Mutex<Reading>,
    tally: Arc<Mutex<Tally>>,
}

impl Figures {
    /// Makes those of a subscription that counts into this tally, alone or with others.
    pub(super) fn counting_into(tally: Arc<Mutex<Tally>>) -> Self {
        Self { reading: Mutex::default(), tally }
    }

    /// Leaves word of how the subscription stands.
    pub(super) fn read(&self, reading: Reading) {
        *self.reading.lock() = reading;
    }

    /// Counts what is durable.
    pub(super) fn count(&self, tally: &Tally) {
        self.tally.lock().add(tally);
    }

    /// Counts an attempt that was handed to a stream.
    pub(super) fn count_started(&self, is_first: bool) {
        let mut tally = self.tally.lock();
        tally.started += 1;
        tally.redeliveries += u64::from(!is_first);
    }

    /// Counts a lease that a seek has ended; what ended by time is in a commit.
    pub(super) fn count_lost(&self, reason: LossReason) {
        if reason == LossReason::Sought {
            self.tally.lock().lost.add(SOUGHT, 1);
        }
    }
}

/// One value of the label `subscription`.
#[derive(Debug)]
struct Row {
    name: String,
    tally: Tally,
    /// Of one subscription, or summed up over several.
    standing: Reading,
    lag: u64,
    unscanned: u64,
    /// When the oldest open event was received; `None`: not known.
    oldest: Option<Timestamp>,
    is_open: bool,
}

impl Row {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tally: Tally::default(),
            standing: Reading::default(),
            lag: 0,
            unscanned: 0,
            oldest: None,
            is_open: false,
        }
    }

    fn add(&mut self, standing: &Reading, head: u64, ages: &BTreeMap<Sequence, Timestamp>) {
        let sum = &mut self.standing;
        sum.ready += standing.ready - standing.parked.min(standing.ready);
        sum.parked += standing.parked;
        sum.leased += standing.leased;
        sum.waiting += standing.waiting;
        sum.dead += standing.dead;
        sum.consumers += standing.consumers;
        sum.paused += standing.paused;
        sum.breaker += standing.breaker;
        self.lag += head.saturating_sub(standing.done_floor);
        self.unscanned += head.saturating_sub(standing.scanned);
        self.is_open |= standing.first_open.is_some();
        let age = standing.first_open.and_then(|first| ages.get(&first).copied());
        self.oldest = self.oldest.into_iter().chain(age).min();
    }
}

impl Broker {
    /// Returns when events were received, as far as it is known or can be read.
    async fn ages(&self, wanted: BTreeSet<Sequence>) -> BTreeMap<Sequence, Timestamp> {
        let unknown: Vec<_> = {
            let mut ages = self.inner.ages.lock();
            ages.retain(|sequence, _| wanted.contains(sequence));
            wanted.into_iter().filter(|sequence| !ages.contains_key(sequence)).collect()
        };
        for sequence in unknown.into_iter().take(AGES_READ_MAX) {
            if let Ok(entry) = read_one(&*self.inner.log, sequence).await {
                self.inner.ages.lock().insert(sequence, entry.event.received_at);
            }
        }
        self.inner.ages.lock().clone()
    }

    async fn rows(&self) -> (Vec<Row>, [usize; 2]) {
        // In the order of their creation, so that a new one takes nobody's series.
        let handles = self.handles();
        let stand = |handle: Handle| {
            let standing = *handle.figures.reading.lock();
            (handle, standing)
        };
        let standings: Vec<_> = handles.into_iter().map(stand).collect();
        let ages = self.ages(standings.iter().filter_map(|(_, of)| of.first_open).collect()).await;
        let head = *self.inner.log.head().borrow();
        let (mut rows, mut others, mut ephemeral) =
            (Vec::new(), Row::new(OTHERS), Row::new(EPHEMERAL));
        let (mut durable_count, mut ephemeral_count) = (0, 0);
        for (handle, standing) in standings {
            if handle.is_ephemeral() {
                ephemeral_count += 1;
                ephemeral.add(&standing, head, &ages);
                continue;
            }
            durable_count += 1;
            let tally = handle.figures.tally.lock().clone();
            let mut row = Row::new(handle.name.as_str());
            let of_it =
                if rows.len() < SUBSCRIPTIONS_MEASURED_MAX { &mut row } else { &mut others };
            of_it.add(&standing, head, &ages);
            of_it.tally.add(&tally);
            if rows.len() < SUBSCRIPTIONS_MEASURED_MAX {
                rows.push(row);
            }
        }
        ephemeral.tally = self.inner.ephemeral_tally.lock().clone();
        let has_others = SUBSCRIPTIONS_MEASURED_MAX < durable_count;
        rows.extend(has_others.then_some(others));
        rows.push(ephemeral);
        (rows, [durable_count, ephemeral_count])
    }
}

/// Writes one sample of each row.
fn single(text: &mut Text, family: &Family, rows: &[Row], value: impl Fn(&Row) -> u64) {
    let mut samples = text.family(family);
    for row in rows {
        samples.add(&[&row.name], value(row));
    }
}

/// Writes a sample for each word of each row.
fn listed<const N: usize>(
    samples: &mut Samples<'_>,
    rows: &[Row],
    words: [&str; N],
    values: impl Fn(&Row) -> [u64; N],
) {
    for row in rows {
        for (word, value) in words.iter().zip(values(row)) {
            samples.add(&[&row.name, word], value);
        }
    }
}

impl Measured for Broker {
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (rows, [durable, ephemeral]) = self.rows().await;
            let mut kinds = text.family(&family::SUBSCRIPTIONS);
            kinds.add(&["durable"], durable);
            kinds.add(&["ephemeral"], ephemeral);
            single(text, &family::SUBSCRIPTION_LAG, &rows, |row| row.lag);
            single(text, &family::SUBSCRIPTION_UNSCANNED, &rows, |row| row.unscanned);
            let now = self.inner.clock.wall();
            let mut oldest = text.family(&family::SUBSCRIPTION_OLDEST);
            for row in &rows {
                match row.oldest {
                    Some(at) => oldest.add(&[&row.name], now.since(at).as_secs_f64()),
                    None if !row.is_open => oldest.add(&[&row.name], 0),
                    // Not read yet.
                    None => {}
                }
            }
            let mut deliveries = text.family(&family::SUBSCRIPTION_DELIVERIES);
            let states = ["ready", "parked", "leased", "waiting"];
            listed(&mut deliveries, &rows, states, |row| {
                let Reading { ready, parked, leased, waiting, .. } = row.standing;
                [ready, parked, leased, waiting]
            });
            single(text, &family::SUBSCRIPTION_DEAD_LETTERS, &rows, |row| row.standing.dead);
            single(text, &family::SUBSCRIPTION_CONSUMERS, &rows, |row| row.standing.consumers);
            single(text, &family::SUBSCRIPTION_PAUSED, &rows, |row| row.standing.paused);
            single(text, &family::SUBSCRIPTION_BREAKER, &rows, |row| row.standing.breaker);
            single(text, &family::DELIVERIES_STARTED, &rows, |row| row.tally.started);
            single(text, &family::REDELIVERIES, &rows, |row| row.tally.redeliveries);
            let mut ended = text.family(&family::DELIVERIES_ENDED);
            listed(&mut ended, &rows, OUTCOMES, |row| row.tally.ended.0);
            let mut lost = text.family(&family::LEASES_LOST);
            listed(&mut lost, &rows, LOSSES, |row| row.tally.lost.0);
            let mut dead = text.family(&family::DEAD_LETTERS);
            listed(&mut dead, &rows, REASONS, |row| row.tally.dead.0);
            single(text, &family::DEAD_LETTERS_REDRIVEN, &rows, |row| row.tally.redriven);
            single(text, &family::DEAD_LETTERS_PURGED, &rows, |row| row.tally.purged);
        })
    }
}

#[cfg(test)]
mod tests {
    use hookline_core::delivery::{Death, Epoch, Record, Stamp};

    use super::*;

    fn attempt(end: AttemptEnd) -> Attempt {
        Attempt {
            number: 1,
            consumer: "one".to_owned(),
            started_at: Timestamp::EPOCH,
            ended_at: Timestamp::EPOCH,
            end,
            reason: String::new(),
            error_type: String::new(),
        }
    }

    fn dead(reason: Reason, attempt: Option<Attempt>) -> Change {
        let death = Death {
            generation: 0,
            reason,
            attempts: 0,
            died_at: Timestamp::EPOCH,
            detail: String::new(),
            redriven: false,
        };
        Change::Dead { sequence: Sequence::FIRST, death, attempt }
    }

    fn value<const N: usize>(words: [&str; N], counted: &Counted<N>, word: &str) -> u64 {
        counted.0[words.iter().position(|of| *of == word).unwrap()]
    }

    #[test]
    fn a_commit_is_counted_by_what_ended_in_it() {
        let (sequence, record) = (Sequence::FIRST, Record::default());
        let ended = Some(Stamp { epoch: Epoch(1), counter: 1 });
        let given_back = Record { fence: ended, give_backs: 1, ..record.clone() };
        let expired = attempt(AttemptEnd::LeaseExpired);
        let tally = Tally::of(&[
            Change::Failed { sequence, record: record.clone(), attempt: expired },
            dead(Reason::MaxAttempts, Some(attempt(AttemptEnd::ConsumerLost))),
            dead(Reason::FilterError, None),
            Change::Open { sequence, record: given_back },
            // Only written down.
            Change::Open { sequence, record },
            Change::Superseded { sequences: vec![sequence; 3], by: sequence, at: Timestamp::EPOCH },
            Change::Purged { sequences: vec![sequence; 2] },
        ]);
        let mut sum = Tally::default();
        sum.add(&tally);
        sum.add(&tally);
        for (outcome, count) in [
            ("lease_expired", 2),
            ("consumer_lost", 2),
            ("filter_error", 2),
            ("released", 2),
            ("superseded", 6),
            ("acked", 0),
        ] {
            assert_eq!(value(OUTCOMES, &sum.ended, outcome), count, "{outcome}");
        }
        assert_eq!(value(LOSSES, &sum.lost, "expired"), 2);
        assert_eq!(value(LOSSES, &sum.lost, "consumer_lost"), 2);
        assert_eq!(value(REASONS, &sum.dead, "max_attempts"), 2);
        assert_eq!((sum.purged, sum.redriven, sum.started), (4, 0, 0));
        assert!(sum.moves_dead_letters() && !Tally::default().moves_dead_letters());
    }
}
