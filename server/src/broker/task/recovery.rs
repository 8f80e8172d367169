//! From the ledger to a live subscription: at the start, and after a commit that failed.

use std::sync::Arc;

use hookline_core::delivery::{Config, Epoch, Pause, Snapshot, Subscription};

use super::{End, Message, Task, replies::Replies};
use crate::{
    broker::{Identity, ending::stored},
    clock::Clock,
    limits::RETRY_DELAY,
    store::CommitError,
};

impl Task {
    /// Starts anew from the ledger, as after a restart: waiters are told to say it again, streams to come back.
    pub(super) async fn recover(&mut self) -> Result<(), End> {
        self.replies = Replies::default();
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.outbox.end(End::Unavailable);
        }
        self.ahead.clear();
        self.handed_out.clear();
        self.spans.clear();
        self.unreadable.clear();
        (self.commit, self.fetch, self.fetch_asked) = (None, None, None);
        (self.moving, self.looking_back, self.must_recover) = (None, None, false);
        // Whoever waits to trim the log gets no answer, and does not.
        self.releasing = false;
        self.tools.tail.unfollow(self.identity.creation, &self.feed);
        loop {
            match self.open_again().await {
                Ok((epoch, snapshot)) => {
                    self.looked_back = snapshot.looked_back;
                    let clock = &*self.tools.clock;
                    self.core = recovered(&self.identity, epoch, snapshot, clock);
                    self.dead_count = self.core.dead_count();
                    self.epoch = epoch;
                    // What a commit made that was answered as failed has not been told to anybody.
                    self.tools.died.notify_one();
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

    /// Opens the ledger, and reads what the subscription is: an update may have been in the commit that failed.
    async fn open_again(&mut self) -> Result<(Epoch, Snapshot), CommitError> {
        let creation = self.identity.creation;
        let opened = self.tools.ledger.open(creation).await?;
        self.identity = stored(&*self.tools.ledger, creation).await?;
        self.outside.identity.send_replace(Arc::clone(&self.identity));
        Ok(opened)
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
    clock: &dyn Clock,
) -> Subscription {
    let policy = identity.policy.clone();
    let pause = steady(identity.pause, clock);
    let now = clock.steady();
    let config = Config { creation: identity.creation, policy, pause };
    // Jitter has to differ between subscriptions and restarts; it need not be a secret.
    let seed = identity.creation.0.rotate_left(32) ^ epoch.0 ^ now.as_micros().unsigned_abs();
    Subscription::recover(config, epoch, snapshot, now, seed)
}

/// Returns a pause by the steady clock: an operator says its end by the time of day.
pub(super) fn steady(pause: Pause, clock: &dyn Clock) -> Pause {
    match pause {
        Pause::Until(until) => Pause::Until(clock.steady() + until.since(clock.wall())),
        Pause::Off | Pause::On => pause,
    }
}
