//! The hub and its surroundings: the real broker over the store in memory, consumers, and what was asked and not answered.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fastrand::Rng;
use futures_core::Stream as _;
use futures_util::poll;
use hookline_core::{
    delivery::{Creation, Outcome},
    event::SubscriptionName,
    time::Timestamp,
};

use super::{
    clock::VirtualClock,
    events::Kind,
    operation::{NAMES, Say},
    oracle::Oracle,
    stepper::{STEPS_MAX, Stepper},
};
use crate::{
    broker::{Broker, Identity, Inbox, Item, LeaseOutcome, Purged, ReplayCounts},
    clock::Clock as _,
    store::{AppendError, Appended, BoxFuture, Ledger as _, memory::MemoryStore},
    tasks::{Group, Tasks},
    traces::Traces,
};

/// One run's world.
pub(super) struct World {
    pub(super) random: Rng,
    pub(super) stepper: Stepper,
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: VirtualClock,
    pub(super) hub: Option<Hub>,
    pub(super) pending: Vec<Pending>,
    /// By subscription's and consumer's number.
    pub(super) consumers: BTreeMap<(usize, usize), Consumer>,
    /// What was appended, by the number that is its delivery key.
    pub(super) kinds: Vec<Kind>,
    pub(super) failed_appends: Vec<Vec<usize>>,
    pub(super) is_slow: bool,
    /// Whether a task may have been told of another owner of its ledger.
    pub(super) was_fenced: bool,
    pub(super) oracle: Oracle,
    /// The number of the operation.
    pub(super) at: usize,
    /// What was seen, for the comparison of two runs.
    pub(super) seen: Vec<String>,
}

pub(super) struct Hub {
    pub(super) broker: Broker,
    tasks: Tasks,
    group: Group,
}

pub(super) struct Consumer {
    pub(super) creation: Creation,
    pub(super) inbox: Inbox,
    pub(super) stalls: bool,
    /// Since which operation it reads what comes.
    pub(super) reads_since: usize,
}

/// A question that is not answered yet.
pub(super) struct Pending {
    pub(super) asked: Asked,
    pub(super) future: BoxFuture<'static, Answer>,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Append(Vec<usize>),
    Create,
    Delete,
    Join {
        name: usize,
        consumer: usize,
    },
    Settle {
        lease: usize,
        say: Say,
        at: Timestamp,
    },
    Extend {
        lease: usize,
    },
    Redrive,
    Trim,
    Purge {
        creation: Creation,
    },
    Update,
    Seek {
        creation: Creation,
        leases: usize,
        real: bool,
    },
    /// With when it was asked for, and the generation of the last seek then.
    Replay {
        creation: Creation,
        since: Timestamp,
        sought: Option<u32>,
        real: bool,
    },
}

/// What it was answered.
pub(super) enum Answer {
    Appended(Result<Vec<Appended>, AppendError>),
    Joined(Option<(Arc<Identity>, Inbox)>),
    Settled(LeaseOutcome<Outcome>),
    Extended(LeaseOutcome<Result<Timestamp, Outcome>>),
    Purged(Option<Purged>),
    Replayed(Option<ReplayCounts>),
    /// Whether it was done.
    Done(bool),
}

pub(super) fn named(name: usize) -> SubscriptionName {
    SubscriptionName::parse(NAMES[name]).unwrap()
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let store = MemoryStore::new();
        let wall = Timestamp::from_secs(1_700_000_000).unwrap();
        let mut world = Self {
            random: Rng::with_seed(seed),
            stepper: Stepper::new(),
            clock: VirtualClock::start(wall, store.last_written_at()),
            store,
            hub: None,
            pending: Vec::new(),
            consumers: BTreeMap::new(),
            kinds: Vec::new(),
            failed_appends: Vec::new(),
            is_slow: false,
            was_fenced: false,
            oracle: Oracle::default(),
            at: 0,
            seen: Vec::new(),
        };
        world.start_hub().await;
        world
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.steady()
    }

    pub(super) fn broker(&self) -> Broker {
        self.hub.as_ref().expect("it runs but while it is restarted").broker.clone()
    }

    /// Starts a hub over what is durable. A start that a planned fault spoils is tried again, as by who runs it.
    pub(super) async fn start_hub(&mut self) {
        loop {
            self.clock = VirtualClock::start(self.clock.wall(), self.store.last_written_at());
            self.oracle.wall_lead = self.clock.wall_lead();
            let tasks = Tasks::new();
            let group = tasks.group("subscriptions");
            let (log, ledger) = (Arc::clone(&self.store) as _, Arc::clone(&self.store) as _);
            let clock = Arc::new(self.clock.clone());
            let start = Broker::start(log, ledger, clock, group.clone(), Traces::default());
            match self.drive(start).await.expect("a start comes to an end") {
                Ok(broker) => {
                    self.hub = Some(Hub { broker, tasks, group });
                    return;
                }
                Err(_) => drop(tasks.shutdown(&[&group], Duration::ZERO).await),
            }
        }
    }

    /// Ends the hub at once, wherever it is.
    pub(super) async fn kill_hub(&mut self) {
        let moves = |of: &Pending| {
            matches!(of.asked, Asked::Seek { .. } | Asked::Replay { .. } | Asked::Redrive)
        };
        if self.pending.iter().any(moves) {
            self.oracle.moved();
        }
        self.pending.clear();
        self.consumers.clear();
        let Some(Hub { tasks, group, broker }) = self.hub.take() else { return };
        drop(broker);
        self.drive(tasks.shutdown(&[&group], Duration::ZERO)).await;
        for _ in 0..STEPS_MAX {
            if self.stepper.round().await && group.count() == 0 {
                return;
            }
        }
        panic!("tasks outlive their hub");
    }

    pub(super) fn ask(&mut self, asked: Asked, future: BoxFuture<'static, Answer>) {
        self.pending.push(Pending { asked, future });
    }

    /// Waits for an answer of the hub, and lets it work meanwhile; `None` if there is none by itself.
    pub(super) async fn drive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut calm = 0;
        while calm < 3 {
            if let Poll::Ready(value) = poll!(future.as_mut()) {
                return Some(value);
            }
            calm = if self.stepper.round().await { calm + 1 } else { 0 };
        }
        None
    }

    /// Lets the hub work until nothing is ready any more.
    pub(super) async fn settle(&mut self) {
        let mut calm = 0;
        for _ in 0..STEPS_MAX {
            let is_calm = self.stepper.round().await;
            let took_in = self.take_in().await;
            calm = if is_calm && !took_in { calm + 1 } else { 0 };
            if calm == 3 {
                return;
            }
        }
        panic!("the hub never comes to rest");
    }

    /// Lets the hub do a few steps.
    pub(super) async fn step(&mut self, steps: u8) {
        for _ in 0..steps {
            self.stepper.step().await;
            self.take_in().await;
        }
    }

    /// Takes in what was answered and delivered; whether anything was.
    async fn take_in(&mut self) -> bool {
        let mut answered = Vec::new();
        for mut pending in std::mem::take(&mut self.pending) {
            match poll!(pending.future.as_mut()) {
                Poll::Pending => self.pending.push(pending),
                Poll::Ready(answer) => answered.push((pending.asked, answer)),
            }
        }
        let mut took_in = !answered.is_empty();
        // What was settled before a seek may be asked later, and answered at the same time.
        answered.sort_by_key(|(asked, _)| matches!(asked, Asked::Seek { .. }));
        for (asked, answer) in answered {
            self.answered(asked, answer);
        }
        let keys: Vec<_> = self.consumers.keys().copied().collect();
        for key in keys {
            took_in |= self.read(key);
        }
        took_in
    }

    fn answered(&mut self, asked: Asked, answer: Answer) {
        match (asked, answer) {
            (Asked::Append(numbers), Answer::Appended(result)) => {
                self.see(|| format!("appended {numbers:?}: {}", result.is_ok()));
                match result {
                    Ok(appended) => self.oracle.appended(&self.store, &numbers, &appended),
                    Err(_) => self.failed_appends.push(numbers),
                }
            }
            (Asked::Join { name, consumer }, Answer::Joined(Some((identity, inbox)))) => {
                let (creation, reads_since) = (identity.creation, self.at);
                let joined = Consumer { creation, inbox, stalls: false, reads_since };
                self.consumers.insert((name, consumer), joined);
            }
            (Asked::Settle { lease, say, at }, Answer::Settled(outcome)) => {
                let id = self.oracle.leases[lease].id.clone();
                self.see(|| format!("settled {id:?} {say:?}: {outcome:?}"));
                let now = self.now();
                self.oracle.settled(&self.store, lease, (say, at), outcome, now);
            }
            (Asked::Extend { lease }, Answer::Extended(outcome)) => {
                let id = self.oracle.leases[lease].id.clone();
                self.see(|| format!("extended {id:?}: {outcome:?}"));
                self.oracle.extended(&self.store, lease, outcome);
            }
            (Asked::Seek { leases, real, creation }, Answer::Done(done)) => {
                self.see(|| format!("sought: {done}"));
                self.oracle.moved();
                self.oracle.sought(creation, leases, real && done);
            }
            (Asked::Redrive, _) => {
                self.see(|| "redriven".to_owned());
                self.oracle.moved();
            }
            (Asked::Replay { creation, since, sought, real }, Answer::Replayed(replayed)) => {
                self.see(|| format!("replayed {creation:?}: {replayed:?}"));
                self.oracle.moved();
                if let Some(replayed) = replayed.filter(|_| real) {
                    self.oracle.replayed(&self.store, creation, &replayed, (since, sought));
                }
            }
            (Asked::Purge { creation }, Answer::Purged(purged)) => {
                self.see(|| format!("purged {creation:?}: {purged:?}"));
                if purged.is_some_and(|purged| purged.purged > 0) {
                    self.oracle.went("purged");
                }
            }
            (asked, _) => self.see(|| format!("answered {asked:?}")),
        }
    }

    fn see(&mut self, what: impl FnOnce() -> String) {
        self.seen.push(what());
    }

    /// Reads all that there is for a consumer; whether there was anything.
    fn read(&mut self, key: (usize, usize)) -> bool {
        let mut any = false;
        while let Some(consumer) = self.consumers.get_mut(&key).filter(|consumer| !consumer.stalls)
        {
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(item) = Pin::new(&mut consumer.inbox).poll_next(&mut cx) else { break };
            any = true;
            match item {
                Some(Ok(item)) => self.received(key, item),
                Some(Err(end)) => {
                    self.see(|| format!("{key:?} ends: {end:?}"));
                    self.consumers.remove(&key);
                }
                None => drop(self.consumers.remove(&key)),
            }
        }
        any
    }

    fn received(&mut self, key: (usize, usize), item: Item) {
        let now = self.now();
        match item {
            Item::Ready { held, .. } => {
                for (grant, ..) in held {
                    self.see(|| format!("{key:?} holds {:?}", grant.lease));
                    self.oracle.held(grant);
                }
            }
            Item::Delivery { grant, background, .. } => {
                self.see(|| format!("{key:?} got {:?} {}", grant.lease, grant.expires_at));
                let reads_since = self.consumers.get(&key).map_or(0, |of| of.reads_since);
                let when = (self.at, reads_since < self.at, now);
                self.oracle.delivered(&self.store, grant, &background, when);
            }
            Item::LeaseLost { lease, reason, .. } => {
                self.see(|| format!("{key:?} lost {lease:?}: {reason:?}"));
                self.oracle.lost(&self.store, &lease, reason);
            }
            Item::Newer { .. } | Item::Heartbeat { .. } | Item::Draining { .. } => {}
        }
    }
}
