//! Handing events of the log to a subscription once more.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use hookline_core::{
    delivery::{Replayed, ResourceKey},
    event::{EventId, Sequence, SubscriptionName},
    filter::Filter,
};

use super::{Broker, Handle, Judge, Judgement, Message, NoAnswer, Rule, task::Reopened};
use crate::{
    limits::{
        LIST_FILTER_WORK, LIST_READ_BYTES, LIST_READ_ENTRIES, LIST_WORK_MAX, REPLAY_TRIES,
        RETRY_DELAY,
    },
    store::{
        Entry, ReadError, ReadLimit,
        select::{Direction, Selection, Walk},
    },
};

/// Which events of the log: those for which all of it holds.
#[derive(Clone, Debug)]
pub struct Replay {
    /// These; empty: all.
    pub ids: Vec<EventId>,
    /// What can be asked of an index.
    pub selection: Arc<Selection>,
    /// What they must make true. Those that it fails on are not meant.
    pub filter: Option<Filter>,
    /// Where they are.
    pub range: Range<u64>,
}

/// Whether a replay only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayMode {
    /// Do it.
    Replay,
    /// Count only.
    DryRun,
}

/// What a replay did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// What is handed out once more.
    pub replayed: Vec<Sequence>,
    /// How many were open.
    pub already_open: u64,
    /// How many are dead letters.
    pub dead_letters: u64,
    /// How many the subscription does not take.
    pub not_matching: u64,
    /// How many the subscription has not come to.
    pub not_reached: u64,
    /// How many the log does not have.
    pub missing: u64,
    /// Where another replay goes on; `None`: all were looked at.
    pub next: Option<u64>,
    /// Whether so many deliveries are ready that nothing more is handed out.
    pub is_full: bool,
}

/// Why a replay was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no such subscription.
    #[error("there is no such subscription")]
    Unknown,
    /// Its position is being moved, or the log trimmed.
    #[error("the log is being trimmed, or the subscription changed")]
    Busy,
    /// It gave no answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl ReplayCounts {
    fn count(&self) -> u64 {
        u64::try_from(self.replayed.len()).unwrap_or(u64::MAX)
    }

    /// Takes in what became of some events; whether more may follow.
    fn add(&mut self, reopened: Reopened) -> bool {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let Replayed { opened, already_open, dead, ahead, full_at } = reopened.replayed;
        self.replayed.extend(opened);
        self.already_open += count(already_open);
        self.dead_letters += count(dead);
        self.not_reached += count(ahead);
        self.missing += count(reopened.gone);
        if let Some(at) = full_at {
            (self.next, self.is_full) = (Some(at.get()), true);
        }
        full_at.is_none()
    }
}

impl Broker {
    /// Hands events that a subscription takes to it once more, in the order of the log, at most `limit`: what it answers as
    /// replayed is so also after a crash. Those that are open, dead letters, or not come to yet are counted only.
    ///
    /// # Errors
    ///
    /// If there is no such subscription, it can't do so now, gives no answer, or the log can't be read. Some of it may have
    /// been done.
    pub async fn replay(
        &self,
        name: &SubscriptionName,
        replay: &Replay,
        limit: u64,
        mode: ReplayMode,
    ) -> Result<ReplayCounts, ReplayError> {
        let handle = self.named(name.as_str()).ok_or(ReplayError::Unknown)?;
        let mut counts = ReplayCounts::default();
        let done = if replay.ids.is_empty() {
            self.replay_range(&handle, replay, limit, mode, &mut counts).await
        } else {
            self.replay_ids(&handle, replay, limit, mode, &mut counts).await
        };
        let count = counts.replayed.len();
        if mode == ReplayMode::Replay && count > 0 {
            tracing::info!(subscription = %name, count, "events replayed");
        }
        done.map(|()| counts)
    }

    async fn replay_range(
        &self,
        handle: &Handle,
        replay: &Replay,
        limit: u64,
        mode: ReplayMode,
        counts: &mut ReplayCounts,
    ) -> Result<(), ReplayError> {
        let mut walk = Walk {
            range: replay.range.clone(),
            direction: Direction::Forward,
            selection: Arc::clone(&replay.selection),
            limit: ReadLimit { count: LIST_READ_ENTRIES, bytes: LIST_READ_BYTES },
            work: LIST_WORK_MAX,
        };
        while !walk.range.is_empty() && 0 < walk.work && counts.count() < limit {
            // Nobody changes what it takes, or where it stands, between the judging and the replay.
            let _changing = handle.changing.lock().await;
            let rule = &handle.identity().rule;
            let found = self.inner.log.select(walk.clone()).await?;
            let mut rest = found.rest;
            walk.work = walk.work.saturating_sub(found.work);
            let mut batch = Batch::new(limit - counts.count());
            for entry in found.entries {
                if batch.is_full() {
                    rest = walk.range.clone();
                    break;
                }
                walk.range = walk.rest_behind(entry.event.sequence.get());
                walk.work =
                    walk.work.saturating_sub(batch.judge(self, replay, rule, &entry).await?);
            }
            if !self.replay_batch(handle, batch, mode, counts).await? {
                return Ok(());
            }
            walk.range = rest;
        }
        if !walk.range.is_empty() {
            counts.next = Some(walk.range.start);
        }
        Ok(())
    }

    async fn replay_ids(
        &self,
        handle: &Handle,
        replay: &Replay,
        limit: u64,
        mode: ReplayMode,
        counts: &mut ReplayCounts,
    ) -> Result<(), ReplayError> {
        let mut found = BTreeMap::new();
        for id in &replay.ids {
            match self.inner.log.find(*id).await? {
                Some(entry) => drop(found.insert(entry.event.sequence, entry)),
                None => counts.missing += 1,
            }
        }
        found.retain(|sequence, _| replay.range.contains(&sequence.get()));
        found.retain(|_, entry| replay.selection.takes(&entry.event.content));
        while let Some(first) = found.keys().next().copied() {
            if counts.count() == limit {
                counts.next = Some(first.get());
                break;
            }
            let _changing = handle.changing.lock().await;
            let rule = &handle.identity().rule;
            let mut batch = Batch::new(limit - counts.count());
            while !batch.is_full()
                && let Some((_, entry)) = found.pop_first()
            {
                batch.judge(self, replay, rule, &entry).await?;
            }
            if !self.replay_batch(handle, batch, mode, counts).await? {
                break;
            }
        }
        Ok(())
    }

    /// Replays what was judged; whether more may follow.
    async fn replay_batch(
        &self,
        handle: &Handle,
        batch: Batch,
        mode: ReplayMode,
        counts: &mut ReplayCounts,
    ) -> Result<bool, ReplayError> {
        counts.not_matching += batch.not_matching;
        if batch.events.is_empty() {
            return Ok(true);
        }
        for _ in 0..REPLAY_TRIES {
            let events = batch.events.clone();
            if let Some(reopened) =
                handle.ask(|reply| Message::Replay { events, mode, reply }).await?
            {
                return Ok(counts.add(reopened));
            }
            let clock = &self.inner.clock;
            clock.sleep_until(clock.steady() + RETRY_DELAY).await;
        }
        Err(ReplayError::Busy)
    }
}

/// Events that are replayed in one commit.
struct Batch {
    events: Vec<(Sequence, Option<ResourceKey>)>,
    /// How many there may be.
    most: usize,
    /// How many the subscription does not take.
    not_matching: u64,
}

impl Batch {
    /// Makes an empty one with room for `room`, and no more than are read at a time.
    fn new(room: u64) -> Self {
        let most = usize::try_from(room).unwrap_or(usize::MAX).min(LIST_READ_ENTRIES);
        Self { events: Vec::new(), most, not_matching: 0 }
    }

    fn is_full(&self) -> bool {
        self.events.len() == self.most
    }

    /// Takes in an event of the log if it is meant and `rule` takes it; returns what work that was.
    async fn judge(
        &mut self,
        broker: &Broker,
        replay: &Replay,
        rule: &Rule,
        entry: &Entry,
    ) -> Result<usize, ReadError> {
        let mut judge = Judge::of(&*broker.inner.log, entry);
        let filters = usize::from(replay.filter.is_some()) + usize::from(rule.filter.is_some());
        let is_meant = judge.try_out(None, replay.filter.as_ref(), false).await?;
        if is_meant == Judgement::Taken {
            if judge.judge_by(rule).await? == Judgement::Taken {
                let resource = ResourceKey::of(&entry.event.content);
                self.events.push((entry.event.sequence, resource));
            } else {
                self.not_matching += 1;
            }
        }
        Ok(filters * LIST_FILTER_WORK)
    }
}

#[cfg(test)]
mod tests {
    use hookline_core::{delivery::Policy, pattern::PatternSet, time::Timestamp};

    use super::*;
    use crate::{
        broker::{NewSubscription, Start, States, retention::Bounds, tests::event},
        clock::SystemClock,
        store::{EventLog as _, Ledger as _, memory::MemoryStore},
        tasks::Tasks,
        traces::Traces,
    };

    /// A subscription that takes pushes and has come to the end of a log that began before it.
    async fn latest(tasks: &Tasks, types: &[&str]) -> (Arc<MemoryStore>, Broker, Handle) {
        let store = MemoryStore::new();
        let events = types.iter().map(|event_type| event(event_type)).collect();
        store.append(events, Timestamp::EPOCH).await.unwrap();
        let clock = SystemClock::start(store.last_written_at());
        let group = tasks.group("subscriptions");
        let (log, ledger) = (Arc::clone(&store) as _, Arc::clone(&store) as _);
        let broker = Broker::start(log, ledger, clock, group, Traces::default()).await.unwrap();
        let new = NewSubscription {
            name: SubscriptionName::parse("work").unwrap(),
            rule: Rule { patterns: PatternSet::parse(["github/push"]).unwrap(), filter: None },
            start: Start::Latest,
            policy: Policy::default(),
        };
        let name = broker.create(new).await.unwrap().name.clone();
        let handle = broker.named(name.as_str()).unwrap();
        (store, broker, handle)
    }

    fn all() -> Replay {
        let (ids, selection, filter) = (Vec::new(), Arc::default(), None);
        Replay { ids, selection, filter, range: 1..u64::MAX }
    }

    async fn replay(broker: &Broker, limit: u64) -> ReplayCounts {
        let name = SubscriptionName::parse("work").unwrap();
        broker.replay(&name, &all(), limit, ReplayMode::Replay).await.unwrap()
    }

    fn sequences(numbers: &[u64]) -> Vec<Sequence> {
        numbers.iter().map(|number| Sequence::new(*number).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_limit_counts_what_is_replayed_and_not_what_is_passed_over() {
        let tasks = Tasks::new();
        let (_store, broker, _) =
            latest(&tasks, &["fork", "push", "fork", "push", "push", "fork"]).await;
        let first = replay(&broker, 2).await;
        let expected = ReplayCounts {
            replayed: sequences(&[2, 4]),
            not_matching: 2,
            next: Some(5),
            ..ReplayCounts::default()
        };
        assert_eq!(first, expected);
        let rest = replay(&broker, 2).await;
        let expected = ReplayCounts {
            replayed: sequences(&[5]),
            already_open: 2,
            not_matching: 3,
            ..ReplayCounts::default()
        };
        assert_eq!(rest, expected);
    }

    #[tokio::test]
    async fn nothing_is_opened_that_is_gone_or_may_be_in_a_moment() {
        let tasks = Tasks::new();
        let (store, broker, handle) = latest(&tasks, &["push", "push", "push"]).await;
        let ask = async |numbers: &[u64]| {
            let events = sequences(numbers).into_iter().map(|of| (of, None)).collect();
            let mode = ReplayMode::Replay;
            handle.ask(|reply| Message::Replay { events, mode, reply }).await.unwrap()
        };
        let released = |reply| Message::Retire { before: 1, count: 1, release: true, reply };
        assert_eq!(handle.ask(released).await.unwrap().needed_from, 4);
        assert_eq!(ask(&[1]).await, None, "the log is being trimmed");
        handle.mailbox.send(Message::Trimmed).await.unwrap();
        let third = Sequence::new(3).unwrap();
        broker.trim(Bounds { soft: third, hard: Sequence::FIRST }).await.unwrap();
        assert_eq!(store.first(), third);
        // As of who has read the log before it was trimmed.
        let reopened = ask(&[1, 2, 3]).await.unwrap();
        assert_eq!((reopened.replayed.opened, reopened.gone), (vec![third], 2));
        // What is open is not trimmed.
        let end = Sequence::new(4).unwrap();
        broker.trim(Bounds { soft: end, hard: Sequence::FIRST }).await.unwrap();
        assert_eq!(store.first(), third);
        let states = States { ready: true, leased: false, waiting: false };
        let open = broker.open_deliveries(&handle.name, 0, states, 10).await.unwrap().unwrap().0;
        assert_eq!(open.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [third]);
    }
}
