//! Subscriptions at work: who there is, and one task for each.
//!
//! [`Broker`] is the handle that the gRPC services hold. It routes: a name to its subscription, a lease to the
//! subscription that gave it. What a subscription does is decided in `hookline_core::delivery`; its task carries it out.

mod announcement;

mod announcer;

mod create;

mod dead_letters;

mod ending;

mod lookup;

mod settle;

mod stream;

mod task;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hookline_core::{
    delivery::{Creation, Epoch, Policy, Seal, Snapshot},
    event::{Event, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};
use parking_lot::RwLock;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use self::{
    create::{CreateError, NewSubscription, Start},
    dead_letters::{DeadLetterId, RedriveError, RedriveMode, Redriven, Selector},
    lookup::{Delivered, LookupError, SubscriptionView},
    settle::{Extension, LeaseOutcome},
    stream::{End, Inbox, Item, Position},
    task::{Overview, Settle},
};
use self::{
    ending::Ending,
    task::{Message, Task, Tools},
};
use crate::{
    clock::Clock,
    limits::{SUBSCRIPTION_ANSWER_TIME_MAX, SUBSCRIPTION_MESSAGES_MAX},
    store::{CommitError, EventLog, Ledger, ReadError, SubscriptionConfig},
    tasks::{Group, Kind},
};

/// What a subscription is: fixed from its creation.
#[derive(Debug)]
pub struct Identity {
    /// The number of its creation.
    pub creation: Creation,
    /// Its name.
    pub name: SubscriptionName,
    /// What it takes.
    pub patterns: PatternSet,
    /// How it leases and retries.
    pub policy: Policy,
    /// When it was created.
    pub created_at: Timestamp,
    /// The sequence after which it begins.
    pub start_after: u64,
}

/// Creations from here on are ephemeral: never written, gone with their stream.
const EPHEMERAL: u64 = 1 << 63;

impl Identity {
    fn new(creation: Creation, config: SubscriptionConfig) -> Self {
        let SubscriptionConfig { name, patterns, policy, created_at, start_after } = config;
        Self { creation, name, patterns, policy, created_at, start_after }
    }

    /// Whether it is gone with its stream.
    #[must_use]
    pub const fn is_ephemeral(&self) -> bool {
        self.creation.0 >= EPHEMERAL
    }

    /// Whether it takes an event, by its place and its subject.
    #[must_use]
    pub fn takes(&self, event: &Event) -> bool {
        event.sequence.get() > self.start_after
            && self.patterns.matches(&event.content.source, &event.content.event_type)
    }
}

/// A subscription's task, from outside.
#[derive(Clone, Debug)]
struct Handle {
    identity: Arc<Identity>,
    mailbox: mpsc::Sender<Message>,
    leased: watch::Receiver<u64>,
}

/// The task ended while it was asked: the subscription was deleted, is being recovered, or the hub stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscription gave no answer: it is stopping or being recovered")]
pub struct NoAnswer;

impl Handle {
    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.mailbox.send(message(reply)).await.map_err(|_| NoAnswer)?;
            answer.await.map_err(|_| NoAnswer)
        };
        tokio::time::timeout(SUBSCRIPTION_ANSWER_TIME_MAX, asked).await.unwrap_or(Err(NoAnswer))
    }
}

/// All subscriptions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Arc<dyn EventLog>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    group: Group,
    seal: Seal,
    /// Nudges the announcer.
    died: Arc<Notify>,
    registry: RwLock<Registry>,
    /// Held while a subscription is created or deleted, so that the ledger and the registry agree.
    changing: tokio::sync::Mutex<()>,
    /// Held from the reading of dead letters until their subscription has answered what it redrove of them.
    redriving: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Registry {
    by_name: BTreeMap<SubscriptionName, Handle>,
    by_creation: BTreeMap<Creation, Handle>,
    draining: bool,
}

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The list of subscriptions could not be read.
    #[error("could not read the subscriptions")]
    Read(#[from] ReadError),
    /// A ledger could not be opened.
    #[error("could not open the ledger of `{name}`")]
    Open {
        /// The subscription.
        name: SubscriptionName,
        /// Why.
        source: CommitError,
    },
}

impl Broker {
    /// Opens every subscription of the ledger, and starts its task in `group`.
    ///
    /// # Errors
    ///
    /// If one of them can't be opened: better not to start than to leave one out.
    pub async fn start(
        log: Arc<dyn EventLog>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        group: Group,
    ) -> Result<Self, StartError> {
        let seal = Seal::new(&ledger.seal_key());
        let inner = Inner {
            log,
            ledger,
            clock,
            group,
            seal,
            died: Arc::new(Notify::new()),
            registry: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            redriving: tokio::sync::Mutex::default(),
        };
        let broker = Self { inner: Arc::new(inner) };
        for (creation, config) in broker.inner.ledger.subscriptions().await? {
            let name = config.name.clone();
            let opened = broker.open(Arc::new(Identity::new(creation, config))).await;
            opened.map_err(|source| StartError::Open { name, source })?;
        }
        broker.start_announcer();
        Ok(broker)
    }

    /// Opens a subscription's ledger, starts its task and puts it into the registry.
    async fn open(&self, identity: Arc<Identity>) -> Result<Handle, CommitError> {
        let opened = self.inner.ledger.open(identity.creation).await?;
        let handle = self.run(identity, opened);
        let mut registry = self.inner.registry.write();
        registry.by_name.insert(handle.identity.name.clone(), handle.clone());
        registry.by_creation.insert(handle.identity.creation, handle.clone());
        Ok(handle)
    }

    fn run(&self, identity: Arc<Identity>, opened: (Epoch, Snapshot)) -> Handle {
        let (mailbox, messages) = mpsc::channel(SUBSCRIPTION_MESSAGES_MAX);
        let (leased_by_task, leased) = watch::channel(0);
        let task = Task::new(Arc::clone(&identity), self.tools(), opened, messages, leased_by_task);
        let mut ending = Ending::of(self, identity.creation);
        self.inner.group.spawn(Kind::Contained, "subscription", async move {
            ending.ended_with(task.run().await);
        });
        Handle { identity, mailbox, leased }
    }

    fn tools(&self) -> Tools {
        Tools {
            log: Arc::clone(&self.inner.log),
            ledger: Arc::clone(&self.inner.ledger),
            clock: Arc::clone(&self.inner.clock),
            died: Arc::clone(&self.inner.died),
            stop: self.inner.group.stopping().clone(),
        }
    }

    /// Returns the log that the broker reads.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.inner.log
    }

    /// Returns the clocks.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Returns what seals lease ids.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.inner.seal
    }

    /// Whether the hub is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.registry.read().draining
    }

    /// Returns what a subscription is; `None` if there is none of this name.
    #[must_use]
    pub fn identity(&self, name: &SubscriptionName) -> Option<Arc<Identity>> {
        self.named(name.as_str()).map(|handle| handle.identity)
    }

    /// Carries something out to its end, although who asked for it may go away in the middle; `None` if that end is the
    /// hub's.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inner.group.spawn(Kind::Contained, "create or delete", async move {
            drop(reply.send(work.await));
        });
        answer.await.ok()
    }

    fn handles(&self) -> Vec<Handle> {
        self.inner.registry.read().by_creation.values().cloned().collect()
    }

    fn by_creation(&self, creation: Creation) -> Option<Handle> {
        self.inner.registry.read().by_creation.get(&creation).cloned()
    }

    fn named(&self, name: &str) -> Option<Handle> {
        self.inner.registry.read().by_name.get(name).cloned()
    }

    /// Stops leasing: streams are told that they end within `grace`, running leases are written down; returns when they
    /// are, and all leases have ended or `until` is over. Settles are served to the end.
    pub async fn drain(&self, grace: Duration, until: impl Future<Output = ()>) {
        self.inner.registry.write().draining = true;
        let drained = async {
            let handles = self.handles();
            // All are told before any is waited for.
            let mut told = Vec::with_capacity(handles.len());
            for handle in handles {
                let (reply, answer) = oneshot::channel();
                if handle.mailbox.send(Message::Drain { grace, reply }).await.is_ok() {
                    told.push((answer, handle.leased));
                }
            }
            for (answer, mut leased) in told {
                // One that gives no answer has ended, or recovers: then nothing of it is unwritten.
                if answer.await.is_ok() {
                    drop(leased.wait_for(|leased| *leased == 0).await);
                }
            }
        };
        tokio::select! {
            () = drained => {}
            () = until => {}
        }
    }
}
