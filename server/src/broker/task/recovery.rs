//! From the ledger to a live subscription: at the start, and after a commit that failed.

use hookline_core::{
    delivery::{Config, Epoch, Snapshot, Subscription},
    time::Timestamp,
};

use super::{End, Message, Task, effects, replies::Replies};
use crate::{broker::Identity, limits::RETRY_DELAY, store::CommitError};

impl Task {
    /// Starts anew from the ledger, as after a restart: waiters are told to say it again, streams to come back.
    pub(super) async fn recover(&mut self) -> Result<(), End> {
        self.replies = Replies::default();
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.outbox.end(End::Unavailable);
        }
        self.ahead = effects::ReadAhead::default();
        self.handed_out.clear();
        self.unreadable.clear();
        (self.commit, self.fetch) = (None, None);
        loop {
            match self.tools.ledger.open(self.identity.creation).await {
                Ok((epoch, snapshot)) => {
                    let now = self.tools.clock.steady();
                    self.core = recovered(&self.identity, epoch, snapshot, now);
                    self.epoch = epoch;
                    self.head.mark_changed();
                    tracing::info!(subscription = %self.identity.name, "recovered from the ledger");
                    return Ok(());
                }
                Err(CommitError::Missing) => return Err(End::Deleted),
                Err(error) => {
                    tracing::error!(subscription = %self.identity.name, %error, "could not open the ledger");
                    self.refuse_for_a_while().await?;
                }
            }
        }
    }

    /// Waits before the ledger is tried again. Who asks meanwhile is told at once that there is no answer.
    async fn refuse_for_a_while(&mut self) -> Result<(), End> {
        let until = self.tools.clock.steady() + RETRY_DELAY;
        loop {
            tokio::select! {
                biased;
                () = self.tools.stop.cancelled() => return Err(End::Unavailable),
                () = self.tools.clock.sleep_until(until) => return Ok(()),
                message = self.mailbox.recv() => match message {
                    Some(Message::Close { end }) => return Err(end),
                    // Dropped with what waits for its answer.
                    Some(refused) => drop(refused),
                    None => return Err(End::Deleted),
                },
            }
        }
    }
}

/// Makes the state that a snapshot stands for.
pub(super) fn recovered(
    identity: &Identity,
    epoch: Epoch,
    snapshot: Snapshot,
    now: Timestamp,
) -> Subscription {
    let config = Config { creation: identity.creation, policy: identity.policy.clone() };
    // Jitter has to differ between subscriptions and restarts; it need not be a secret.
    let seed = identity.creation.0.rotate_left(32) ^ epoch.0 ^ now.as_micros().unsigned_abs();
    Subscription::recover(config, epoch, snapshot, now, seed)
}
