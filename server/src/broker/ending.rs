//! What happens when a subscription's task ends: in order, or by a panic.

use std::sync::{Arc, Weak};

use hookline_core::delivery::Creation;

use super::{Broker, End, Inner};
use crate::{limits::RETRY_DELAY, store::CommitError, tasks::Kind};

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
    /// Takes a subscription out of the registry.
    pub(super) fn forget(&self, creation: Creation) {
        let mut registry = self.inner.registry.write();
        let Some(handle) = registry.by_creation.remove(&creation) else { return };
        let name = &handle.identity.name;
        // Another one may have the name by now.
        if registry.by_name.get(name).is_some_and(|named| named.identity.creation == creation) {
            registry.by_name.remove(name);
        }
    }

    /// Opens a subscription again whose task has panicked: everything durable is in its ledger.
    async fn reopen(&self, creation: Creation) {
        let Some(handle) = self.by_creation(creation) else { return };
        if handle.identity.is_ephemeral() {
            return self.forget(creation);
        }
        loop {
            let until = self.inner.clock.steady() + RETRY_DELAY;
            tokio::select! {
                () = self.inner.clock.sleep_until(until) => {}
                () = self.inner.group.stopping().cancelled() => return,
            }
            match self.open(Arc::clone(&handle.identity)).await {
                Ok(_) => {
                    tracing::warn!(subscription = %handle.identity.name, "opened again after a panic");
                    return;
                }
                Err(CommitError::Missing) => return self.forget(creation),
                Err(error) => {
                    tracing::error!(subscription = %handle.identity.name, %error, "could not open it again");
                }
            }
        }
    }
}
