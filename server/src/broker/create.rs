//! Making, joining and deleting subscriptions.

use std::sync::Arc;

use hookline_core::{
    delivery::{Creation, Epoch, Pause, Policy, Snapshot},
    event::{Sequence, SubscriptionName},
    time::Timestamp,
};

use super::{Broker, Current, EPHEMERAL, End, Handle, Identity, Inbox, Message, NoAnswer, Rule};
use crate::{
    limits::SUBSCRIPTIONS_MAX,
    store::{self, CommitError, ReadError},
};

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest event that is kept.
    Earliest,
    /// The first event after now.
    Latest,
    /// This event.
    Sequence(Sequence),
    /// The first event received at or after this time.
    Time(Timestamp),
}

/// A subscription to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSubscription {
    /// Its name.
    pub name: SubscriptionName,
    /// What it takes.
    pub rule: Rule,
    /// Where it begins.
    pub start: Start,
    /// How it leases and retries; within its bounds.
    pub policy: Policy,
}

/// Why a subscription was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Another one has the name.
    #[error("a subscription of this name exists")]
    Exists(Arc<Identity>),
    /// It would begin beyond the end of the log.
    #[error("sequence {start} is beyond the next event of the log, {next}")]
    OutOfRange {
        /// Where it would begin.
        start: Sequence,
        /// The next event to come.
        next: u64,
    },
    /// There are as many as there may be.
    #[error("there are {SUBSCRIPTIONS_MAX} subscriptions, which is the most")]
    TooMany,
    /// The hub is stopping.
    #[error("the hub is stopping")]
    Draining,
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Broker {
    /// Makes a subscription: durable when it returns, with its position.
    ///
    /// # Errors
    ///
    /// If the name is taken, the start lies beyond the log, there are too many, or the store fails.
    pub async fn create(&self, new: NewSubscription) -> Result<Arc<Identity>, CreateError> {
        let broker = self.clone();
        let created = self.to_the_end(async move { broker.create_now(new).await });
        created.await.unwrap_or(Err(CreateError::Draining))
    }

    async fn create_now(&self, new: NewSubscription) -> Result<Arc<Identity>, CreateError> {
        let _changing = self.inner.changing.lock().await;
        if let Some(handle) = self.named(new.name.as_str()) {
            return Err(CreateError::Exists(handle.identity()));
        }
        self.check_room()?;
        let start_after = self.resolve(new.start).await?;
        let mut identity = Identity {
            // Not known before it is made.
            creation: Creation(0),
            name: new.name,
            rule: new.rule,
            earlier: Vec::new(),
            look_back: None,
            policy: new.policy,
            pause: Pause::Off,
            created_at: self.inner.clock.wall(),
            start_after,
        };
        identity.creation = match self.inner.ledger.create(identity.config()).await {
            Ok(creation) => creation,
            Err(store::CreateError::Exists(creation)) => return self.adopt(creation).await,
            Err(store::CreateError::Commit(error)) => return Err(error.into()),
        };
        let identity = Arc::new(identity);
        self.open(Arc::clone(&identity)).await?;
        tracing::info!(subscription = %identity.name, start_after, "subscription created");
        Ok(identity)
    }

    /// Opens a subscription that the ledger has and the registry does not: one whose creation was written and answered as
    /// failed.
    async fn adopt(&self, creation: Creation) -> Result<Arc<Identity>, CreateError> {
        // Deleted since by another hub that shares the ledger, if it is not there.
        let identity = self.stored(creation).await?;
        self.open(Arc::clone(&identity)).await?;
        Err(CreateError::Exists(identity))
    }

    /// Opens a stream on a subscription that exists; `None` if it does not.
    ///
    /// # Errors
    ///
    /// If its task gives no answer.
    pub async fn subscribe(
        &self,
        name: &SubscriptionName,
        consumer: Arc<str>,
        max_in_flight: u32,
    ) -> Result<Option<(Current, Inbox)>, NoAnswer> {
        let Some(handle) = self.named(name.as_str()) else { return Ok(None) };
        let inbox =
            handle.ask(|reply| Message::Subscribe { consumer, max_in_flight, reply }).await?;
        Ok(Some((Current(handle.identity), inbox)))
    }

    /// Makes a subscription that is gone with the one stream that this opens. It is never written.
    ///
    /// # Errors
    ///
    /// As [`Broker::create`].
    pub async fn subscribe_ephemeral(
        &self,
        rule: Rule,
        start: Start,
        policy: Policy,
        consumer: Arc<str>,
        max_in_flight: u32,
    ) -> Result<(Current, Inbox), CreateError> {
        self.check_room()?;
        let start_after = self.resolve(start).await?;
        let handle = self.run_ephemeral(rule, policy, start_after);
        let ask = handle.ask(|reply| Message::Subscribe { consumer, max_in_flight, reply });
        let inbox = ask.await.map_err(|NoAnswer| CreateError::Draining)?;
        Ok((Current(handle.identity), inbox))
    }

    fn run_ephemeral(&self, rule: Rule, policy: Policy, start_after: u64) -> Handle {
        // At random, so that what was said about one of an earlier run is never taken for this one.
        let number = uuid::Uuid::new_v4().as_u64_pair().1 >> 2;
        let name = format!("ephemeral-{number:016x}");
        let identity = Arc::new(Identity {
            creation: Creation(EPHEMERAL | number),
            name: SubscriptionName::parse(&name).expect("made of letters, a dash and digits"),
            rule,
            earlier: Vec::new(),
            look_back: None,
            policy,
            pause: Pause::Off,
            created_at: self.inner.clock.wall(),
            start_after,
        });
        let mut registry = self.inner.registry.write();
        let handle = self.run(identity, (Epoch(1), Snapshot::starting_after(start_after)));
        registry.by_creation.insert(handle.creation, handle.clone());
        handle
    }

    /// Deletes a subscription with its records and dead letters; whether there was one.
    ///
    /// # Errors
    ///
    /// If the ledger could not be written: then it may still be there after a restart.
    pub async fn delete(&self, name: &SubscriptionName) -> Result<bool, CommitError> {
        let name = name.clone();
        self.delete_found(move |broker| broker.named(name.as_str())).await
    }

    /// As [`Broker::delete`], of the one that is found once no other change is under way.
    pub(super) async fn delete_found(
        &self,
        find: impl FnOnce(&Self) -> Option<Handle> + Send + 'static,
    ) -> Result<bool, CommitError> {
        let broker = self.clone();
        let deleted = self.to_the_end(async move { broker.delete_now(find).await });
        deleted.await.unwrap_or(Err(CommitError::Closed))
    }

    async fn delete_now(
        &self,
        find: impl FnOnce(&Self) -> Option<Handle>,
    ) -> Result<bool, CommitError> {
        let _changing = self.inner.changing.lock().await;
        let Some(handle) = find(self) else { return Ok(false) };
        self.inner.ledger.delete(handle.creation).await?;
        self.forget(handle.creation);
        // A task that is gone has nothing to end; a busy one finds out by its next commit.
        drop(handle.mailbox.try_send(Message::Close { end: End::Deleted }));
        tracing::info!(subscription = %handle.name, "subscription deleted");
        Ok(true)
    }

    fn check_room(&self) -> Result<(), CreateError> {
        let registry = self.inner.registry.read();
        if registry.draining {
            return Err(CreateError::Draining);
        }
        if registry.by_creation.len() >= SUBSCRIPTIONS_MAX {
            return Err(CreateError::TooMany);
        }
        Ok(())
    }

    /// Returns the sequence after which a subscription begins that starts there.
    ///
    /// # Errors
    ///
    /// If that is beyond the next event, or the log can't be read.
    pub async fn resolve(&self, start: Start) -> Result<u64, CreateError> {
        let log = &self.inner.log;
        let head = *log.head().borrow();
        let first = log.first().get();
        match start {
            Start::Earliest => Ok(first - 1),
            Start::Latest => Ok(head),
            Start::Sequence(sequence) if sequence.get() > head.saturating_add(1) => {
                Err(CreateError::OutOfRange { start: sequence, next: head.saturating_add(1) })
            }
            Start::Sequence(sequence) => Ok(sequence.get().max(first) - 1),
            Start::Time(time) => Ok(log.position_at(time).await?.get() - 1),
        }
    }
}
