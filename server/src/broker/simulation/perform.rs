//! Carrying out operations: what is asked of the broker, and what is done to the world.

use std::{ops::Range, sync::Arc, time::Duration};

use hookline_core::{
    delivery::{Creation, LeaseId, Nack, Pause},
    event::Sequence,
    time::Timestamp,
};

use super::{
    events::{Kind, Takes},
    operation::{EVENTS_MAX, Operation, PauseFor, ROOMS, Say},
    oracle::Sub,
    world::{Answer, Asked, World, named},
};
use crate::{
    broker::{
        Change, DeadLetterMode, Extension, NewSubscription, Replay, ReplayMode, SeekMode, Selector,
        Settle, Start, retention::Bounds,
    },
    clock::Clock as _,
    store::{EventLog as _, memory::Fault},
};

impl World {
    /// Does one thing, and lets nothing come of it yet.
    pub(super) async fn perform(&mut self, operation: &Operation) {
        match operation.clone() {
            Operation::Append(kinds) => self.append(kinds),
            Operation::AppendAgain => self.append_again(),
            Operation::Create { name, takes, earliest, policy } => {
                let start = if earliest { Start::Earliest } else { Start::Latest };
                let rule = takes.rule();
                let new = NewSubscription { name: named(name), rule, start, policy: *policy };
                let broker = self.broker();
                let created = async move { Answer::Done(broker.create(new).await.is_ok()) };
                self.ask(Asked::Create, Box::pin(created));
            }
            Operation::Delete { name } => self.delete(name),
            Operation::Join { name, consumer } => self.join(name, consumer),
            Operation::Leave { name, consumer } => self.leave(name, consumer),
            Operation::Stall { name, consumer, stalls } => {
                if let Some(consumer) = self.consumers.get_mut(&(name, consumer)) {
                    consumer.stalls = stalls;
                    consumer.reads_since = self.at;
                }
            }
            Operation::Settle { back, say } => self.say(back, say),
            Operation::Extend { back, duration, checkpoint } => {
                let Some((lease, lease_id)) = self.lease(back) else { return };
                let progress = String::new();
                let extension = Extension { lease_id, duration, progress, checkpoint };
                let broker = self.broker();
                let extended =
                    async move { Answer::Extended(broker.extend(vec![extension]).await.remove(0)) };
                self.ask(Asked::Extend { lease }, Box::pin(extended));
            }
            Operation::Purge { name, limit } => self.purge(name, limit),
            Operation::Redrive { name, limit, dry } => self.redrive(name, limit, dry),
            Operation::Replay { name, after, through, limit, dry } => {
                let mode = if dry { ReplayMode::DryRun } else { ReplayMode::Replay };
                self.replay(name, after + 1..through + 1, limit, mode);
            }
            Operation::Trim { soft, hard } => self.trim(soft, hard),
            Operation::Pause { .. }
            | Operation::Retake { .. }
            | Operation::ChangePolicy { .. }
            | Operation::Seek { .. } => self.change(operation.clone()),
            Operation::Pass(_)
            | Operation::NextTimer
            | Operation::WallJump(_)
            | Operation::FailCommit(_)
            | Operation::FailAppend(_)
            | Operation::Slow
            | Operation::Release
            | Operation::Crash
            | Operation::Restart => self.happen(operation).await,
        }
    }

    /// What time and faults do.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller keeps the others")]
    async fn happen(&mut self, operation: &Operation) {
        match operation {
            Operation::Pass(by) => self.pass(*by).await,
            Operation::NextTimer => {
                if let Some(next) = self.clock.next_sleep() {
                    self.pass(next.since(self.now()).max(Duration::from_micros(1))).await;
                }
            }
            Operation::WallJump(seconds) => {
                let by = Duration::from_secs(seconds.unsigned_abs());
                let wall = self.clock.wall();
                let ahead = *seconds > 0;
                self.clock.set_wall(if ahead { wall + by } else { wall.saturating_sub(by) });
                self.oracle.wall_lead = self.oracle.wall_lead.max(self.clock.wall_lead());
            }
            Operation::FailCommit(fault) => {
                self.was_fenced |= *fault == Fault::Fenced;
                self.store.faults().fail_commit(*fault);
            }
            Operation::FailAppend(fault) => self.store.faults().fail_append(*fault),
            Operation::Slow => {
                self.is_slow = true;
                self.store.faults().pause();
            }
            Operation::Release => self.release(),
            Operation::Crash => {
                self.store = self.store.faults().crash();
                self.is_slow = false;
                self.restart().await;
            }
            Operation::Restart => {
                self.release();
                self.settle().await;
                let broker = self.broker();
                // Consumers do not settle meanwhile: what they hold stays theirs.
                let until = std::future::pending();
                self.drive(broker.drain(Duration::from_secs(10), until)).await;
                self.settle().await;
                self.restart().await;
            }
            other => panic!("{other:?} is asked of the broker"),
        }
    }

    pub(super) async fn pass(&self, by: Duration) {
        self.clock.advance(by);
        // Answers are waited for by the machine's time.
        tokio::time::advance(by.min(Duration::from_secs(60))).await;
    }

    pub(super) fn release(&mut self) {
        self.is_slow = false;
        self.store.faults().release();
    }

    async fn restart(&mut self) {
        self.kill_hub().await;
        self.was_fenced = false;
        self.oracle.restarted();
        self.start_hub().await;
    }

    fn append(&mut self, kinds: Vec<Kind>) {
        let room = EVENTS_MAX.saturating_sub(self.kinds.len());
        let from = self.kinds.len();
        self.kinds.extend(kinds.into_iter().take(room));
        let numbers: Vec<_> = (from..self.kinds.len()).collect();
        if !numbers.is_empty() {
            self.append_numbers(numbers);
        }
    }

    fn append_again(&mut self) {
        if let Some(numbers) = self.failed_appends.pop() {
            self.append_numbers(numbers);
        }
    }

    pub(super) fn append_numbers(&mut self, numbers: Vec<usize>) {
        let events = numbers.iter().map(|number| self.kinds[*number].event(*number)).collect();
        let (store, wall) = (Arc::clone(&self.store), self.clock.wall());
        let appended = async move { Answer::Appended(store.append(events, wall).await) };
        self.ask(Asked::Append(numbers), Box::pin(appended));
    }

    fn creation(&self, name: usize) -> Option<Creation> {
        self.broker().identity(&named(name)).map(|identity| identity.creation)
    }

    fn delete(&mut self, name: usize) {
        for sub in self.oracle.subs.values_mut().filter(|sub| sub.name == name) {
            sub.delete_asked = true;
        }
        let broker = self.broker();
        let deleted = async move { Answer::Done(broker.delete(&named(name)).await.is_ok()) };
        self.ask(Asked::Delete, Box::pin(deleted));
    }

    pub(super) fn join(&mut self, name: usize, consumer: usize) {
        let broker = self.broker();
        let joined = async move {
            let text = consumer.to_string().into();
            let joined = broker.subscribe(&named(name), text, ROOMS[consumer]).await;
            Answer::Joined(
                joined.ok().flatten().map(|(current, inbox)| (current.identity(), inbox)),
            )
        };
        self.leave(name, consumer);
        self.ask(Asked::Join { name, consumer }, Box::pin(joined));
    }

    fn leave(&mut self, name: usize, consumer: usize) {
        if let Some(gone) = self.consumers.remove(&(name, consumer)) {
            self.oracle.left(gone.creation, &consumer.to_string());
        }
    }

    fn lease(&self, back: usize) -> Option<(usize, String)> {
        let lease = self.oracle.leases.len().checked_sub(back + 1)?;
        Some((lease, self.seal(&self.oracle.leases[lease].id)))
    }

    fn seal(&self, id: &LeaseId) -> String {
        self.broker().seal().seal(id)
    }

    fn say(&mut self, back: usize, say: Say) {
        if let Some((lease, _)) = self.lease(back) {
            self.say_of(lease, say);
        }
    }

    pub(super) fn say_of(&mut self, lease: usize, say: Say) {
        let id = self.seal(&self.oracle.leases[lease].id);
        let settle = match say {
            Say::Ack => Settle::Ack,
            Say::Nack(action, retry_after) => {
                let (reason, error_type) = ("no".to_owned(), "Error".to_owned());
                Settle::Nack(Nack { action, reason, error_type, retry_after })
            }
        };
        let (broker, at) = (self.broker(), self.now());
        let settled =
            async move { Answer::Settled(broker.settle(vec![(id, settle)]).await.remove(0)) };
        self.ask(Asked::Settle { lease, say, at }, Box::pin(settled));
    }

    fn redrive(&mut self, name: usize, limit: u64, dry: bool) {
        let Some(creation) = self.creation(name) else { return };
        let is_asked = self.pending.iter().any(|of| matches!(of.asked, Asked::Redrive));
        if is_asked {
            return;
        }
        self.oracle.will_redrive(&self.store, creation);
        let mode = if dry { DeadLetterMode::DryRun } else { DeadLetterMode::Do };
        let broker = self.broker();
        let redriven = async move {
            let selector = Selector { subscription: Some(named(name)), ..Selector::default() };
            Answer::Done(broker.redrive(&selector, limit, mode).await.is_ok())
        };
        self.ask(Asked::Redrive, Box::pin(redriven));
    }

    /// Asks for a replay, unless what the subscription takes is being changed, or where it stands.
    fn replay(&mut self, name: usize, range: Range<u64>, limit: u64, mode: ReplayMode) {
        let Some(creation) = self.creation(name) else { return };
        let is_asked = self.pending.iter().any(|of| matches!(of.asked, Asked::Replay { .. }));
        let is_changing = |sub: &Sub| sub.updating || sub.seeking.is_some();
        if is_asked || self.oracle.subs.get(&creation).is_none_or(is_changing) {
            return;
        }
        if mode == ReplayMode::Replay {
            self.oracle.will_replay(creation);
        }
        let (ids, selection, filter) = (Vec::new(), Arc::default(), None);
        let replay = Replay { ids, selection, filter, range };
        let (broker, since) = (self.broker(), self.now());
        let replayed = async move {
            Answer::Replayed(broker.replay(&named(name), &replay, limit, mode).await.ok())
        };
        let sought = self.store.durable(creation, |durable| durable.snapshot.generation);
        let asked = Asked::Replay { creation, since, sought, real: mode == ReplayMode::Replay };
        self.ask(asked, Box::pin(replayed));
    }

    fn trim(&mut self, soft: u64, hard: u64) {
        if self.pending.iter().any(|of| matches!(of.asked, Asked::Trim)) {
            return;
        }
        self.oracle.hard = self.oracle.hard.max(hard);
        let [soft, hard] = [soft, hard].map(|n| Sequence::new(n).unwrap());
        let broker = self.broker();
        let trimmed = async move { Answer::Done(broker.trim(Bounds { soft, hard }).await.is_ok()) };
        self.ask(Asked::Trim, Box::pin(trimmed));
    }

    fn purge(&mut self, name: usize, limit: u64) {
        let Some(creation) = self.creation(name) else { return };
        let broker = self.broker();
        let purged = async move {
            let selector = Selector { subscription: Some(named(name)), ..Selector::default() };
            let purged = broker.purge(&selector, limit, DeadLetterMode::Do).await;
            Answer::Purged(purged.ok())
        };
        self.ask(Asked::Purge { creation }, Box::pin(purged));
    }

    /// Asks for a change of a subscription, unless one is under way.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller keeps the others")]
    fn change(&mut self, operation: Operation) {
        let (Operation::Pause { name, .. }
        | Operation::Retake { name, .. }
        | Operation::ChangePolicy { name, .. }
        | Operation::Seek { name, .. }) = &operation
        else {
            return;
        };
        let name = *name;
        let Some(creation) = self.creation(name) else { return };
        let Some(sub) = self.oracle.subs.get_mut(&creation) else { return };
        if sub.updating || sub.seeking.is_some() {
            return;
        }
        let change = match operation {
            Operation::Seek { after, dry, .. } => return self.seek(name, creation, after, dry),
            Operation::Pause { pause, .. } => {
                Change { pause: Some(self.pause(pause)), ..Change::default() }
            }
            Operation::Retake { takes, from_after, .. } => {
                let head = *self.store.head().borrow();
                sub.retaking = Some((head, from_after));
                retake(takes, from_after)
            }
            Operation::ChangePolicy { policy, .. } => {
                Change { policy: Some(*policy), ..Change::default() }
            }
            _ => return,
        };
        if let Some(sub) = self.oracle.subs.get_mut(&creation) {
            sub.updating = true;
            if let Some(policy) = &change.policy {
                sub.max_attempts_ever = sub.max_attempts_ever.max(policy.max_attempts);
                sub.reordered |= sub.flow != (policy.ordering, policy.coalesce);
            }
        }
        let broker = self.broker();
        let updated = async move {
            let updated = broker.update(&named(name), |_| Ok::<_, ()>(change)).await;
            Answer::Done(updated.is_ok())
        };
        self.ask(Asked::Update, Box::pin(updated));
    }

    fn pause(&self, pause: PauseFor) -> Pause {
        match pause {
            PauseFor::Off => Pause::Off,
            PauseFor::On => Pause::On,
            PauseFor::Seconds(seconds) => {
                let until: Timestamp = self.clock.wall() + Duration::from_secs(seconds);
                Pause::Until(until)
            }
        }
    }

    fn seek(&mut self, name: usize, creation: Creation, after: u64, dry: bool) {
        if !dry {
            self.oracle.will_seek(creation, after, self.clock.steady());
        }
        let to = Start::Sequence(Sequence::new(after + 1).expect("from 1"));
        let mode = if dry { SeekMode::DryRun } else { SeekMode::Seek };
        let broker = self.broker();
        let sought = async move { Answer::Done(broker.seek(&named(name), to, mode).await.is_ok()) };
        let leases = self.oracle.leases.len();
        self.ask(Asked::Seek { creation, leases, real: !dry }, Box::pin(sought));
    }
}

fn retake(takes: Takes, from_after: Option<u64>) -> Change {
    Change { rule: Some(takes.rule()), from_after, ..Change::default() }
}
