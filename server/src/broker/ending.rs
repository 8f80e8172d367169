//! What happens when a subscription's task ends: in order, or by a panic.

use std::sync::{Arc, Weak};

use hookline_core::delivery::Creation;

use super::{Broker, End, Identity, Inner};
use crate::{
    limits::RETRY_DELAY,
    store::{CommitError, Ledger},
    tasks::Kind,
};

/// Lives in a subscription's task and sees to the registry when that ends, however it does.
pub(super) struct Ending {
    broker: Weak<Inner>,
    creation: Creation,
    end: Option<End>,
}

impl Ending {
    pub(super) fn of(broker: &Broker, creation: Creation) -> Self {
        Self { broker: Arc::downgrade(&broker.inner), creation, end: None }
    }

    /// Notes that the task ended in order.
    pub(super) fn ended_with(&mut self, end: End) {
        self.end = Some(end);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(inner) = self.broker.upgrade() else { return };
        let broker = Broker { inner };
        match self.end {
            Some(End::Deleted) => broker.forget(self.creation),
            Some(End::Unused) => {
                let (group, creation) = (broker.inner.group.clone(), self.creation);
                group.spawn(Kind::Contained, "delete what is unused", async move {
                    broker.delete_unused(creation).await;
                });
            }
            // The hub stops, or another owner has the ledger.
            Some(End::Unavailable | End::TakenOver) => {}
            // A panic; or the hub's last deadline is over.
            None if broker.inner.group.stopping().is_cancelled() => {}
            None => {
                let (group, creation) = (broker.inner.group.clone(), self.creation);
                group.spawn(Kind::Contained, "reopen", async move {
                    broker.reopen(creation).await;
                });
            }
        }
    }
}

impl Broker {
    /// Deletes a subscription whose task has ended since nobody uses it.
    async fn delete_unused(&self, creation: Creation) {
        let Some(handle) = self.by_creation(creation) else { return };
        // By its creation: the name may be another's by then.
        match self.delete_found(move |broker| broker.by_creation(creation)).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(subscription = %handle.name, "deleted: unused for as long as its policy says");
            }
            Err(error) => {
                tracing::error!(subscription = %handle.name, %error, "could not delete what is unused");
                self.reopen(creation).await;
            }
        }
    }

    /// Takes a subscription out of the registry.
    pub(super) fn forget(&self, creation: Creation) {
        self.inner.tail.forget(creation);
        let mut registry = self.inner.registry.write();
        let Some(handle) = registry.by_creation.remove(&creation) else { return };
        let name = &handle.name;
        // Another one may have the name by now.
        if registry.by_name.get(name).is_some_and(|named| named.creation == creation) {
            registry.by_name.remove(name);
        }
    }

    /// Returns what the ledger has of a subscription.
    pub(super) async fn stored(&self, creation: Creation) -> Result<Arc<Identity>, CommitError> {
        stored(&*self.inner.ledger, creation).await
    }

    /// Opens a subscription again whose task has panicked: everything durable is in its ledger.
    async fn reopen(&self, creation: Creation) {
        let Some(handle) = self.by_creation(creation) else { return };
        if handle.is_ephemeral() {
            return self.forget(creation);
        }
        loop {
            let until = self.inner.clock.steady() + RETRY_DELAY;
            tokio::select! {
                () = self.inner.clock.sleep_until(until) => {}
                () = self.inner.group.stopping().cancelled() => return,
            }
            // As the ledger has it: an update may have been on its way.
            let opened = match self.stored(creation).await {
                Ok(identity) => self.open(identity).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(_) => {
                    tracing::warn!(subscription = %handle.name, "opened again");
                    return;
                }
                Err(CommitError::Missing) => return self.forget(creation),
                Err(error) => {
                    tracing::error!(subscription = %handle.name, %error, "could not open it again");
                }
            }
        }
    }
}

/// Returns what a ledger has of a subscription.
pub(super) async fn stored(
    ledger: &dyn Ledger,
    creation: Creation,
) -> Result<Arc<Identity>, CommitError> {
    let unavailable = |error: String| CommitError::Unavailable(error.into());
    let all = ledger.subscriptions().await.map_err(|error| unavailable(error.to_string()))?;
    let found = all.into_iter().find(|(of, _)| *of == creation);
    let (_, config) = found.ok_or(CommitError::Missing)?;
    let identity =
        Identity::new(creation, config).map_err(|error| unavailable(error.to_string()))?;
    Ok(Arc::new(identity))
}
