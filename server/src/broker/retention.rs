//! Keeps the log within its bounds: what is too old, or too much, is removed from its beginning.
//!
//! What is still to be delivered holds the log up to a hard cap. Beyond that it is given up, and its dead letter durable,
//! before its event goes; what is leased stays until its lease has ended.

use std::time::Duration;

use hookline_core::event::Sequence;
use tokio::sync::{oneshot, watch};

use super::{
    Broker, DeadLetterError, DeadLetterMode, Handle, Message, NoAnswer, Selector, task::Retired,
};
use crate::{
    limits::{
        DEAD_LETTERS_INTERVAL, PURGED_AT_ONCE, RETENTION_INTERVAL, RETENTION_INTERVAL_BYTES,
        RETENTION_INTERVALS_PER_AGE, RETIRE_WAIT, RETIRE_WAITS_MAX, RETIRED_AT_ONCE,
    },
    store::{AppendError, ReadError},
    tasks::Kind,
};

/// How long and how much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long events are kept that nobody waits for.
    pub max_age: Duration,
    /// How long events are kept that are still to be delivered.
    pub open_max_age: Duration,
    /// How many bytes of events the log keeps, as stored; `None`: as many as come.
    pub max_bytes: Option<u64>,
    /// How long dead letters are kept.
    pub dead_letters_max_age: Duration,
}

/// Why the log was not trimmed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RetainError {
    /// It could not be found out from where on to keep it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store did not trim it.
    #[error(transparent)]
    Trim(#[from] AppendError),
    /// A subscription did not say what it needs.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
}

/// From where on the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// What lies before is removed if nobody waits for it.
    pub(super) soft: Sequence,
    /// What lies before is removed.
    pub(super) hard: Sequence,
}

impl Retention {
    /// Returns how long to wait between two looks: so that no more than a part too much is kept.
    fn interval(&self) -> Duration {
        if self.max_bytes.is_some() {
            return RETENTION_INTERVAL_BYTES;
        }
        part(self.max_age.min(self.open_max_age), RETENTION_INTERVAL)
    }

    /// As [`Retention::interval`], for dead letters: all of them are read.
    fn dead_letters_interval(&self) -> Duration {
        part(self.dead_letters_max_age, DEAD_LETTERS_INTERVAL)
    }
}

/// Returns a part of an age, at most `most`.
fn part(age: Duration, most: Duration) -> Duration {
    (age / RETENTION_INTERVALS_PER_AGE).clamp(RETENTION_INTERVAL_BYTES, most)
}

impl Broker {
    /// Keeps the log and the dead letters within their bounds, which may change, until the hub stops.
    pub fn start_retention(&self, retention: watch::Receiver<Retention>) {
        let group = &self.inner.group;
        let (broker, of_log) = (self.clone(), retention.clone());
        group.spawn(Kind::Essential, "retention", async move { broker.retain(of_log).await });
        let broker = self.clone();
        group.spawn(Kind::Essential, "retention of dead letters", async move {
            broker.retain_dead_letters(retention).await;
        });
    }

    async fn retain(&self, mut bounds: watch::Receiver<Retention>) {
        let always = async {
            loop {
                let retention = bounds.borrow_and_update().clone();
                if let Err(error) = self.retain_once(&retention).await {
                    tracing::error!(%error, "the log could not be trimmed");
                }
                self.pause(retention.interval(), &mut bounds).await;
            }
        };
        self.until_stopped(always).await;
    }

    async fn retain_dead_letters(&self, mut bounds: watch::Receiver<Retention>) {
        let always = async {
            loop {
                let retention = bounds.borrow_and_update().clone();
                if let Err(error) = self.purge_old(retention.dead_letters_max_age).await {
                    tracing::error!(%error, "old dead letters could not be deleted");
                }
                self.pause(retention.dead_letters_interval(), &mut bounds).await;
            }
        };
        self.until_stopped(always).await;
    }

    /// Waits until it is time to look again, or the bounds are others.
    async fn pause(&self, interval: Duration, bounds: &mut watch::Receiver<Retention>) {
        let time = self.inner.clock.sleep_until(self.inner.clock.steady() + interval);
        let changed = async {
            if bounds.changed().await.is_err() {
                // They never change any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = time => {}
            () = changed => {}
        }
    }

    async fn until_stopped(&self, always: impl Future<Output = ()>) {
        tokio::select! {
            () = always => {}
            () = self.inner.group.stopping().cancelled() => {}
        }
    }

    /// Deletes the dead letters that are older than this.
    async fn purge_old(&self, max_age: Duration) -> Result<(), DeadLetterError> {
        let before = self.inner.clock.steady().saturating_sub(max_age);
        let selector = Selector { died_before: Some(before), ..Selector::default() };
        loop {
            let purged = self.purge(&selector, PURGED_AT_ONCE, DeadLetterMode::Do).await?;
            if purged.purged > 0 {
                tracing::info!(count = purged.purged, %before, "old dead letters were deleted");
            }
            if purged.purged == 0 || purged.remaining == 0 {
                return Ok(());
            }
        }
    }

    async fn retain_once(&self, retention: &Retention) -> Result<(), RetainError> {
        let (log, now) = (&self.inner.log, self.inner.clock.wall());
        let soft = log.position_at(now.saturating_sub(retention.max_age)).await?;
        let mut hard = log.position_at(now.saturating_sub(retention.open_max_age)).await?;
        if let Some(bytes) = retention.max_bytes {
            hard = hard.max(log.position_of_newest(bytes).await?);
        }
        self.trim(Bounds { soft: soft.max(hard), hard }).await
    }

    /// Removes what lies before the bounds, as far as subscriptions let it go.
    pub(super) async fn trim(&self, bounds: Bounds) -> Result<(), RetainError> {
        let first = self.inner.log.first();
        if bounds.soft <= first {
            return Ok(());
        }
        let durable = |handle: &Handle| !handle.is_ephemeral();
        if first < bounds.hard {
            for handle in self.handles().into_iter().filter(durable) {
                self.retire(&handle, bounds.hard).await?;
            }
        }
        // Nobody comes meanwhile who begins before what is removed.
        let _changing = self.inner.changing.lock().await;
        let handles: Vec<_> = self.handles().into_iter().filter(durable).collect();
        let trimmed = self.trim_released(&handles, bounds).await;
        for handle in handles {
            // One that has ended need not be told.
            handle.mailbox.send(Message::Trimmed).await.ok();
        }
        trimmed
    }

    /// Trims the log as far as these subscriptions, all durable ones, release it.
    async fn trim_released(&self, handles: &[Handle], bounds: Bounds) -> Result<(), RetainError> {
        let first = self.inner.log.first();
        let mut before = bounds.soft;
        for handle in handles {
            // Also of what has just come, or was put back.
            let retired = self.retire_some(handle, bounds.hard, true).await?;
            before = before.min(Sequence::new(retired.needed_from).unwrap_or(first));
        }
        if before <= first {
            return Ok(());
        }
        // What is never written holds nothing, and must not be handed out of what is gone.
        for handle in self.handles().into_iter().filter(Handle::is_ephemeral) {
            self.retire(&handle, before).await?;
        }
        self.inner.log.trim(before).await?;
        tracing::info!(%first, %before, "the log was trimmed");
        Ok(())
    }

    /// Lets a subscription give up all that lies before `hard`, a part at a time, but for what is leased.
    async fn retire(&self, handle: &Handle, hard: Sequence) -> Result<(), RetainError> {
        let (mut waits, mut total) = (0, 0);
        loop {
            let retired = self.retire_some(handle, hard, false).await?;
            let Retired { count, needed_from, reads_on } = retired;
            total += count;
            let is_through = hard.get() <= needed_from || (count == 0 && !reads_on);
            if is_through || RETIRE_WAITS_MAX <= waits {
                break;
            }
            if count > 0 {
                waits = 0;
                continue;
            }
            // The log is being read further: to find what the subscription takes.
            waits += 1;
            let until = self.inner.clock.steady() + RETIRE_WAIT;
            self.inner.clock.sleep_until(until).await;
        }
        if total > 0 {
            tracing::warn!(
                subscription = %handle.name, count = total, before = %hard,
                "events were given up that the log keeps no longer",
            );
        }
        Ok(())
    }

    async fn retire_some(
        &self,
        handle: &Handle,
        hard: Sequence,
        release: bool,
    ) -> Result<Retired, RetainError> {
        let ask = |reply: oneshot::Sender<Retired>| Message::Retire {
            before: hard.get(),
            count: RETIRED_AT_ONCE,
            release,
            reply,
        };
        match handle.ask(ask).await {
            Ok(retired) => Ok(retired),
            // It was deleted meanwhile: then it needs nothing.
            Err(NoAnswer) if self.by_creation(handle.creation).is_none() => {
                Ok(Retired { count: 0, needed_from: u64::MAX, reads_on: false })
            }
            Err(error @ NoAnswer) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ages_and_bytes_are_looked_at_more_often() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let of = |max_age, max_bytes| Retention {
            max_age,
            open_max_age: days(30),
            max_bytes,
            dead_letters_max_age: days(30),
        };
        assert_eq!(of(days(14), None).dead_letters_interval(), Duration::from_secs(3_600));
        assert_eq!(of(days(14), None).interval(), Duration::from_secs(60));
        assert_eq!(of(Duration::from_secs(100), None).interval(), Duration::from_secs(5));
        assert_eq!(of(Duration::ZERO, None).interval(), Duration::from_secs(1));
        assert_eq!(of(days(14), Some(1)).interval(), Duration::from_secs(1));
    }
}
