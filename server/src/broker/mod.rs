//! Subscriptions at work: who there is, and one task for each.
//!
//! [`Broker`] is the handle that the gRPC services hold. It routes: a name to its subscription, a lease to the
//! subscription that gave it. What a subscription does is decided in `hookline_core::delivery`; its task carries it out.

mod announcement;

mod announcer;

mod create;

mod dead_letters;

mod ending;

mod figures;

mod identity;

mod lookup;

mod replay;

mod retention;

mod router;

mod settle;

mod sight;

mod stream;

mod task;

mod update;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod simulation;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hookline_core::{
    delivery::{Creation, Epoch, Seal, Snapshot},
    event::{Sequence, SubscriptionName},
    filter::FilterError,
    time::Timestamp,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use self::{
    create::{CreateError, NewSubscription, Start},
    dead_letters::{
        Cause, CauseGroup, DeadLetterError, DeadLetterId, DeadLetterMode, Purged, Redriven,
        Selector, Summary,
    },
    identity::{Identity, Judge, Judgement, Rule},
    lookup::{Delivered, LookupError, SubscriptionView},
    replay::{Replay, ReplayCounts, ReplayError, ReplayMode},
    retention::Retention,
    settle::{Extension, LeaseOutcome},
    sight::Sight,
    stream::{Background, End, Inbox, Item, Position},
    task::{Overview, Settle, Standing, States},
    update::{Change, SeekError, SeekMode, Sought, UpdateError},
};
use self::{
    ending::Ending,
    figures::{Figures, Tally},
    identity::EPHEMERAL,
    router::Tail,
    task::{AheadBudget, Message, Outside, Task, Tools},
};
use crate::{
    clock::Clock,
    limits::{SUBSCRIPTION_ANSWER_TIME_MAX, SUBSCRIPTION_MESSAGES_MAX},
    store::{CommitError, EventLog, Ledger, ReadError},
    tasks::{Group, Kind},
    traces::Traces,
};

/// What a subscription is, also after it was changed.
#[derive(Clone, Debug)]
pub struct Current(watch::Receiver<Arc<Identity>>);

impl Current {
    /// Returns what it is now.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.0.borrow())
    }
}

/// A subscription's task, from outside.
#[derive(Clone, Debug)]
struct Handle {
    creation: Creation,
    name: SubscriptionName,
    /// Changed by the task, once another one is durable.
    identity: watch::Receiver<Arc<Identity>>,
    mailbox: mpsc::Sender<Message>,
    leased: watch::Receiver<u64>,
    /// What the task tells about it.
    figures: Arc<Figures>,
    /// Held while the subscription is changed, or its position moved.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// The task ended while it was asked: the subscription was deleted, is being recovered, or the hub stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscription gave no answer: it is stopping or being recovered")]
pub struct NoAnswer;

impl Handle {
    fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.borrow())
    }

    fn is_ephemeral(&self) -> bool {
        self.creation.0 >= EPHEMERAL
    }

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
    traces: Traces,
    seal: Seal,
    /// Nudges the announcer.
    died: Arc<Notify>,
    tail: Arc<Tail>,
    ahead: Arc<AheadBudget>,
    registry: RwLock<Registry>,
    /// What all ephemeral subscriptions did, also those that are gone.
    ephemeral_tally: Arc<Mutex<Tally>>,
    /// When the oldest open events were received, as far as a scrape has read it.
    ages: Mutex<BTreeMap<Sequence, Timestamp>>,
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
    /// A filter that was stored does not compile.
    #[error("could not compile the filter of `{name}`")]
    Filter {
        /// The subscription.
        name: SubscriptionName,
        /// Why.
        source: FilterError,
    },
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
        traces: Traces,
    ) -> Result<Self, StartError> {
        let seal = Seal::new(&ledger.seal_key());
        let tail = Arc::new(Tail::after(*log.head().borrow()));
        let inner = Inner {
            log,
            ledger,
            clock,
            group,
            traces,
            seal,
            died: Arc::new(Notify::new()),
            tail,
            ahead: Arc::default(),
            registry: RwLock::default(),
            ephemeral_tally: Arc::default(),
            ages: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            redriving: tokio::sync::Mutex::default(),
        };
        let broker = Self { inner: Arc::new(inner) };
        for (creation, config) in broker.inner.ledger.subscriptions().await? {
            let name = config.name.clone();
            let identity = Identity::new(creation, config)
                .map_err(|source| StartError::Filter { name: name.clone(), source })?;
            let opened = broker.open(Arc::new(identity)).await;
            opened.map_err(|source| StartError::Open { name, source })?;
        }
        broker.start_announcer();
        let router = broker.clone();
        broker.inner.group.spawn(
            Kind::Essential,
            "router",
            async move { router.route_tail().await },
        );
        Ok(broker)
    }

    /// Opens a subscription's ledger, starts its task and puts it into the registry.
    async fn open(&self, identity: Arc<Identity>) -> Result<Handle, CommitError> {
        let opened = self.inner.ledger.open(identity.creation).await?;
        let handle = self.run(identity, opened);
        let mut registry = self.inner.registry.write();
        registry.by_name.insert(handle.name.clone(), handle.clone());
        registry.by_creation.insert(handle.creation, handle.clone());
        Ok(handle)
    }

    fn run(&self, identity: Arc<Identity>, opened: (Epoch, Snapshot)) -> Handle {
        let (mailbox, messages) = mpsc::channel(SUBSCRIPTION_MESSAGES_MAX);
        let (leased_by_task, leased) = watch::channel(0);
        let (creation, name) = (identity.creation, identity.name.clone());
        let (identity_of_task, identity) = watch::channel(identity);
        let figures = Arc::new(if EPHEMERAL <= creation.0 {
            Figures::counting_into(Arc::clone(&self.inner.ephemeral_tally))
        } else {
            Figures::default()
        });
        let outside = Outside {
            identity: identity_of_task,
            leased: leased_by_task,
            figures: Arc::clone(&figures),
        };
        let task = Task::new(self.tools(), opened, messages, outside);
        let mut ending = Ending::of(self, creation);
        self.inner.group.spawn(Kind::Contained, "subscription", async move {
            ending.ended_with(task.run().await);
        });
        Handle { creation, name, identity, mailbox, leased, figures, changing: Arc::default() }
    }

    fn tools(&self) -> Tools {
        Tools {
            log: Arc::clone(&self.inner.log),
            ledger: Arc::clone(&self.inner.ledger),
            clock: Arc::clone(&self.inner.clock),
            traces: self.inner.traces.clone(),
            died: Arc::clone(&self.inner.died),
            tail: Arc::clone(&self.inner.tail),
            ahead: Arc::clone(&self.inner.ahead),
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

    /// Returns where spans go.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.inner.traces
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
        self.named(name.as_str()).map(|handle| handle.identity())
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
