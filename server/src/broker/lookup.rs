//! Looking at subscriptions, and at what became of an event on each.

use std::sync::Arc;

use hookline_core::{
    delivery::{DeadLetter, Settlement, Status},
    event::{Event, Sequence, SubscriptionName},
    time::Timestamp,
};

use super::{Broker, Handle, Identity, Message, NoAnswer, Overview};
use crate::store::{Entry, EventLog, ReadError, ReadLimit, ReadRange};

/// A subscription as it stands.
#[derive(Clone, Debug)]
pub struct SubscriptionView {
    /// What it is.
    pub identity: Arc<Identity>,
    /// How it stands.
    pub overview: Overview,
    /// When the oldest event that is not finished was received.
    pub oldest_received_at: Option<Timestamp>,
}

/// What one subscription did with an event.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The subscription.
    pub identity: Arc<Identity>,
    /// The state of the delivery.
    pub status: Status,
    /// How far the work is, as its consumer said; only under a lease.
    pub progress: String,
    /// Who acked it, while that is kept.
    pub settlement: Option<Settlement>,
    /// Why it was given up.
    pub dead_letter: Option<DeadLetter>,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// A subscription gave no answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Broker {
    /// Returns a subscription as it stands; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// If it gives no answer.
    pub async fn view(
        &self,
        name: &SubscriptionName,
    ) -> Result<Option<SubscriptionView>, LookupError> {
        match self.named(name.as_str()) {
            Some(handle) => Ok(Some(self.view_of(&handle).await?)),
            None => Ok(None),
        }
    }

    /// Returns subscriptions after a name (`None`: from the first), in order of their names. One that gives no answer is
    /// left out.
    pub async fn views(&self, after: Option<&str>, count: usize) -> Vec<SubscriptionView> {
        let handles: Vec<_> = {
            let registry = self.inner.registry.read();
            let all = registry.by_name.iter();
            let rest = all.filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
            rest.map(|(_, handle)| handle.clone()).collect()
        };
        let mut views = Vec::with_capacity(handles.len().min(count));
        for handle in handles {
            if views.len() == count {
                break;
            }
            // One that gives no answer does not keep the others from being listed.
            match self.view_of(&handle).await {
                Ok(view) => views.push(view),
                Err(NoAnswer) => {
                    tracing::warn!(subscription = %handle.identity.name, "left out of a list: no answer");
                }
            }
        }
        views
    }

    async fn view_of(&self, handle: &Handle) -> Result<SubscriptionView, NoAnswer> {
        let overview = handle.ask(|reply| Message::Inspect { reply }).await?;
        let oldest_received_at = match overview.first_open {
            Some(sequence) => {
                let entry = read_one(&*self.inner.log, sequence).await.ok();
                entry.map(|entry| entry.event.received_at)
            }
            None => None,
        };
        Ok(SubscriptionView {
            identity: Arc::clone(&handle.identity),
            overview,
            oldest_received_at,
        })
    }

    /// Returns what each durable subscription that takes an event did with it, in order of their names.
    ///
    /// # Errors
    ///
    /// If one gives no answer, or its ledger can't be read.
    pub async fn deliveries_of(&self, event: &Event) -> Result<Vec<Delivered>, LookupError> {
        let handles: Vec<_> = {
            let registry = self.inner.registry.read();
            let taking = registry.by_name.values().filter(|handle| handle.identity.takes(event));
            taking.cloned().collect()
        };
        let mut delivered = Vec::with_capacity(handles.len());
        for handle in handles {
            let sequence = event.sequence;
            let creation = handle.identity.creation;
            let (status, progress) =
                handle.ask(|reply| Message::Status { sequence, reply }).await?;
            let (settlement, dead_letter) = match status {
                Status::Done => (self.inner.ledger.settlement(creation, sequence).await?, None),
                Status::Dead => (None, self.inner.ledger.dead_letter(creation, sequence).await?),
                Status::Unscanned
                | Status::Ready(_)
                | Status::Leased { .. }
                | Status::Waiting { .. } => (None, None),
            };
            delivered.push(Delivered {
                identity: handle.identity,
                status,
                progress,
                settlement,
                dead_letter: dead_letter.map(|row| row.letter),
            });
        }
        Ok(delivered)
    }
}

/// Reads the one entry with this sequence.
pub(super) async fn read_one(
    log: &dyn EventLog,
    sequence: Sequence,
) -> Result<Arc<Entry>, ReadError> {
    let limit = ReadLimit { count: 1, bytes: 1 };
    let entries = log.read(ReadRange { after: sequence.get() - 1, limit }).await?;
    let entry = entries.into_iter().next().filter(|entry| entry.event.sequence == sequence);
    entry.ok_or_else(|| ReadError::Unavailable(format!("event {sequence} is missing").into()))
}
