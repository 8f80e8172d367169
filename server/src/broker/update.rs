//! Changing subscriptions: their rules and policies, pauses, and positions.

use hookline_core::{
    delivery::{Pause, Policy},
    event::SubscriptionName,
};

use super::{Broker, CreateError, Identity, Message, NoAnswer, Rule, Start};
use crate::limits::RULES_MAX;

/// What is changed of a subscription; `None`: it stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What it takes.
    pub rule: Option<Rule>,
    /// The sequence after which the rule holds; `None`: from now.
    pub from_after: Option<u64>,
    /// How it leases and retries.
    pub policy: Option<Policy>,
    /// Whether it leases at all.
    pub pause: Option<Pause>,
}

/// Why a subscription was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError<E = std::convert::Infallible> {
    /// There is none of this name.
    #[error("there is no such subscription")]
    Unknown,
    /// What was asked for is wrong.
    #[error(transparent)]
    Refused(E),
    /// Another change is under way.
    #[error(
        "another change of the subscription is under way: what was skipped is still being looked at again"
    )]
    Busy,
    /// It was changed too often for what is still open.
    #[error("events of {RULES_MAX} earlier filters are still open, which is the most")]
    TooMany,
    /// It gave no answer: it may have been changed.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
}

impl UpdateError {
    fn widen<E>(self) -> UpdateError<E> {
        match self {
            Self::Unknown => UpdateError::Unknown,
            Self::Busy => UpdateError::Busy,
            Self::TooMany => UpdateError::TooMany,
            Self::NoAnswer(error) => UpdateError::NoAnswer(error),
            Self::Refused(never) => match never {},
        }
    }
}

/// Whether a seek only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekMode {
    /// Do it.
    Seek,
    /// Count only.
    DryRun,
}

/// What a seek did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// How many events come again.
    pub redelivered: u64,
    /// How many events count as done that are not.
    pub skipped: u64,
}

/// Why a position was not moved.
#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// There is no such subscription.
    #[error("there is no such subscription")]
    Unknown,
    /// There is no such place.
    #[error(transparent)]
    Place(#[from] CreateError),
    /// It gave no answer: the position may have been moved.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
}

impl Broker {
    /// Changes a subscription by what `change` makes of it; durable when it returns.
    ///
    /// # Errors
    ///
    /// If there is none, `change` refuses, or it gives no answer.
    pub async fn update<E>(
        &self,
        name: &SubscriptionName,
        change: impl FnOnce(&Identity) -> Result<Change, E>,
    ) -> Result<(), UpdateError<E>> {
        let handle = self.named(name.as_str()).ok_or(UpdateError::Unknown)?;
        // Of two changes at once the second sees what the first has made.
        let _changing = handle.changing.lock().await;
        let change = change(&handle.identity()).map_err(UpdateError::Refused)?;
        let changed = handle.ask(|reply| Message::Change { change: Box::new(change), reply });
        changed.await?.map_err(UpdateError::widen)?;
        tracing::info!(subscription = %name, "subscription changed");
        Ok(())
    }

    /// Moves the position of a subscription so that `to` is the first event that is delivered again.
    ///
    /// # Errors
    ///
    /// If there is none, the place lies beyond the log, or it gives no answer.
    pub async fn seek(
        &self,
        name: &SubscriptionName,
        to: Start,
        mode: SeekMode,
    ) -> Result<Sought, SeekError> {
        let handle = self.named(name.as_str()).ok_or(SeekError::Unknown)?;
        let _changing = handle.changing.lock().await;
        let after = self.resolve(to).await?;
        let sought = handle.ask(|reply| Message::Seek { after, mode, reply }).await?;
        if mode == SeekMode::Seek {
            let Sought { redelivered, skipped } = sought;
            tracing::info!(subscription = %name, after, redelivered, skipped, "position moved");
        }
        Ok(sought)
    }
}
