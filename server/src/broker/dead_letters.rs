//! Dead letters: finding them, giving them back, deleting them.

mod purge;

mod summary;

use std::{collections::BTreeMap, fmt, sync::Arc};

use hookline_core::{
    delivery::{Creation, Reason, ResourceKey},
    event::{Sequence, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};

pub use self::{
    purge::Purged,
    summary::{Cause, CauseGroup, Summary},
};
use super::{Broker, Handle, Identity, Message, NoAnswer, Sight};
use crate::{
    limits::{REDRIVE_READ_BYTES, REDRIVE_READ_ENTRIES},
    store::{DeadRow, ReadError, ReadLimit, ReadRange},
};

/// How much one read of a ledger takes while dead letters are selected.
const READ: ReadLimit = ReadLimit { count: REDRIVE_READ_ENTRIES, bytes: REDRIVE_READ_BYTES };

/// What a dead letter is named outside: `dl-<creation>-<sequence>-<generation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterId {
    /// The subscription's creation.
    pub creation: Creation,
    /// The event.
    pub sequence: Sequence,
    /// How often the delivery had been redriven.
    pub generation: u32,
}

impl DeadLetterId {
    /// Returns the id of a row.
    #[must_use]
    pub fn of(row: &DeadRow) -> Self {
        Self {
            creation: row.creation,
            sequence: row.entry.event.sequence,
            generation: row.letter.generation,
        }
    }

    /// Parses the text form; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("dl-")?.split('-');
        let id = Self {
            creation: Creation(parts.next()?.parse().ok()?),
            sequence: Sequence::new(parts.next()?.parse().ok()?)?,
            generation: parts.next()?.parse().ok()?,
        };
        // One spelling only: no signs, no leading zeros, nothing behind.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dl-{}-{}-{}", self.creation.0, self.sequence, self.generation)
    }
}

/// Which dead letters. All given fields must hold.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Of this subscription.
    pub subscription: Option<SubscriptionName>,
    /// These; empty: all.
    pub ids: Vec<DeadLetterId>,
    /// Given up for this reason.
    pub reason: Option<Reason>,
    /// Whose event these patterns take.
    pub patterns: Option<PatternSet>,
    /// Given up at or after this time.
    pub died_from: Option<Timestamp>,
    /// Given up before this time.
    pub died_before: Option<Timestamp>,
    /// With this cause, as a summary says it.
    pub cause: Option<String>,
    /// With this class of error.
    pub error_type: Option<String>,
    /// Those that are in sight. What changes dead letters is for who sees all: it looks at the subscriptions only.
    pub sight: Sight,
}

/// What a redrive did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// How many went back, or would.
    pub redriven: u64,
    /// How many more the selector takes.
    pub remaining: u64,
}

/// Why what was asked of dead letters was not done.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no subscription of this name.
    #[error("there is no subscription `{0}`")]
    UnknownSubscription(SubscriptionName),
    /// A subscription gave no answer: some of it may have been done.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Selector {
    /// Whether it takes a dead letter, but for whose it is.
    #[must_use]
    pub fn takes(&self, row: &DeadRow) -> bool {
        let content = &row.entry.event.content;
        let id = DeadLetterId::of(row);
        (self.ids.is_empty() || self.ids.contains(&id))
            && self.reason.is_none_or(|reason| reason == row.letter.reason)
            && self
                .patterns
                .as_ref()
                .is_none_or(|set| set.matches(&content.source, &content.event_type))
            && self.died_from.is_none_or(|from| from <= row.letter.died_at)
            && self.died_before.is_none_or(|before| row.letter.died_at < before)
            && self.takes_cause(row)
    }

    fn takes_cause(&self, row: &DeadRow) -> bool {
        if self.cause.is_none() && self.error_type.is_none() {
            return true;
        }
        let (cause, _) = Cause::of(row);
        self.cause.as_ref().is_none_or(|wanted| *wanted == cause.text)
            && self.error_type.as_ref().is_none_or(|wanted| *wanted == cause.error_type)
    }
}

impl Broker {
    /// Returns dead letters of one of the selector's subscriptions, beyond a place in the order of subscription and log; what
    /// else the selector says is the caller's to look at, and whether their events are in sight. There may be fewer than the
    /// limit: only an empty answer says that there are no more.
    ///
    /// # Errors
    ///
    /// If the named subscription does not exist, or the ledger can't be read.
    pub async fn dead_letters(
        &self,
        selector: &Selector,
        after: Option<(Creation, Sequence)>,
        limit: ReadLimit,
    ) -> Result<Vec<(Arc<Identity>, DeadRow)>, DeadLetterError> {
        for handle in self.selected(selector)? {
            let identity = handle.identity();
            let after = match after {
                Some((creation, _)) if identity.creation < creation => continue,
                Some((creation, sequence)) if identity.creation == creation => sequence.get(),
                Some(_) | None => 0,
            };
            let range = ReadRange { after, limit };
            let rows = self.inner.ledger.dead_letters(identity.creation, range).await?;
            if !rows.is_empty() {
                return Ok(rows.into_iter().map(|row| (Arc::clone(&identity), row)).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Returns a dead letter; `None` if there is none, it was redriven, or has died again since.
    ///
    /// # Errors
    ///
    /// If the ledger can't be read.
    pub async fn dead_letter(
        &self,
        id: DeadLetterId,
    ) -> Result<Option<(Arc<Identity>, DeadRow)>, ReadError> {
        let Some(handle) = self.by_creation(id.creation).filter(|handle| !handle.is_ephemeral())
        else {
            return Ok(None);
        };
        let row = self.inner.ledger.dead_letter(id.creation, id.sequence).await?;
        let row = row.filter(|row| !row.redriven && row.letter.generation == id.generation);
        Ok(row.map(|row| (handle.identity(), row)))
    }

    /// Gives dead letters back to their subscriptions, at most `limit`; with `dry_run` only counts.
    ///
    /// # Errors
    ///
    /// If the named subscription does not exist, one gives no answer, or the ledger can't be read.
    pub async fn redrive(
        &self,
        selector: &Selector,
        limit: u64,
        mode: DeadLetterMode,
    ) -> Result<Redriven, DeadLetterError> {
        let mut counted = Redriven { redriven: 0, remaining: 0 };
        for handle in self.selected(selector)? {
            self.redrive_one(&handle, selector, limit, mode, &mut counted).await?;
        }
        Ok(counted)
    }

    async fn redrive_one(
        &self,
        handle: &Handle,
        selector: &Selector,
        limit: u64,
        mode: DeadLetterMode,
        counted: &mut Redriven,
    ) -> Result<(), DeadLetterError> {
        let creation = handle.creation;
        let mut after = 0;
        loop {
            // A letter may be given to its subscription only if no redrive was answered since it was read.
            let _redriving = self.inner.redriving.lock().await;
            let range = ReadRange { after, limit: READ };
            let rows = self.inner.ledger.dead_letters(creation, range).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.entry.event.sequence.get();
            let mut letters = BTreeMap::new();
            for row in rows.into_iter().filter(|row| selector.takes(row)) {
                let chosen = u64::try_from(letters.len()).unwrap_or(u64::MAX);
                if counted.redriven.saturating_add(chosen) < limit {
                    let resource = ResourceKey::of(&row.entry.event.content);
                    let sequence = row.entry.event.sequence;
                    letters.insert(sequence, (sequence, row.letter.generation, resource));
                } else {
                    counted.remaining += 1;
                }
            }
            counted.redriven += match mode {
                DeadLetterMode::DryRun => u64::try_from(letters.len()).unwrap_or(u64::MAX),
                DeadLetterMode::Do if letters.is_empty() => 0,
                DeadLetterMode::Do => {
                    let letters = letters.into_values().collect();
                    let redriven = handle.ask(|reply| Message::Redrive { letters, reply }).await?;
                    u64::try_from(redriven.len()).unwrap_or(u64::MAX)
                }
            };
        }
    }

    /// Returns the subscriptions whose dead letters a selector may take.
    fn selected(&self, selector: &Selector) -> Result<Vec<Handle>, DeadLetterError> {
        let is_shown = |handle: &Handle| self.shows(&selector.sight, &handle.identity());
        if let Some(name) = &selector.subscription
            && !self.named(name.as_str()).is_some_and(|handle| is_shown(&handle))
        {
            return Err(DeadLetterError::UnknownSubscription(name.clone()));
        }
        let mut handles = self.durable(selector.subscription.as_ref());
        handles.retain(is_shown);
        Ok(handles)
    }

    /// Returns the durable subscriptions, or the one of this name, in order of their creation.
    fn durable(&self, name: Option<&SubscriptionName>) -> Vec<Handle> {
        let mut handles = self.handles();
        handles.retain(|handle| {
            !handle.is_ephemeral() && name.is_none_or(|name| handle.name == *name)
        });
        handles
    }
}

/// Whether a redrive or a purge only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterMode {
    /// Do it.
    Do,
    /// Count only.
    DryRun,
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{StreamExt as _, poll};
    use hookline_core::delivery::{Nack, NackAction, Outcome, Policy};

    use super::*;
    use crate::{
        broker::{Inbox, Item, LeaseOutcome, NewSubscription, Rule, Settle, Start, tests::event},
        clock::SystemClock,
        store::{EventLog as _, Ledger as _, memory::MemoryStore},
        tasks::Tasks,
        traces::Traces,
    };

    /// Waits for a delivery with so many attempts behind it, and gives it up.
    async fn reject_next(broker: &Broker, inbox: &mut Inbox, attempts: usize) {
        loop {
            let item = inbox.next().await.unwrap().unwrap();
            let Item::Delivery { grant, background, .. } = item else { continue };
            assert_eq!(background.attempts.len(), attempts);
            let nack = Settle::Nack(Nack {
                action: NackAction::DeadLetter,
                reason: String::new(),
                error_type: String::new(),
                retry_after: None,
            });
            let settled = broker.settle(vec![(broker.seal().seal(&grant.lease), nack)]).await;
            assert_eq!(settled, [LeaseOutcome::Answered(Outcome::Applied)]);
            return;
        }
    }

    #[tokio::test]
    async fn letters_are_read_only_once_the_redrive_before_was_answered() {
        let (store, tasks) = (MemoryStore::new(), Tasks::new());
        let clock = SystemClock::start(store.last_written_at());
        let group = tasks.group("subscriptions");
        let (log, ledger) = (Arc::clone(&store) as _, Arc::clone(&store) as _);
        let broker = Broker::start(log, ledger, clock, group, Traces::default()).await.unwrap();
        let new = NewSubscription {
            name: SubscriptionName::parse("work").unwrap(),
            rule: Rule { patterns: PatternSet::parse(["github"]).unwrap(), filter: None },
            start: Start::Earliest,
            policy: Policy::default(),
        };
        let creation = broker.create(new.clone()).await.unwrap().creation;
        store.append(vec![event("push")], Timestamp::EPOCH).await.unwrap();
        let (_, mut inbox) = broker.subscribe(&new.name, "a".into(), 1).await.unwrap().unwrap();
        reject_next(&broker, &mut inbox, 0).await;

        // One redrive runs, while another waits to begin; what the first gives back dies again in the meantime.
        let first = broker.inner.redriving.lock().await;
        let selector = Selector::default();
        let mut second = pin!(broker.redrive(&selector, 10, DeadLetterMode::Do));
        assert!(poll!(second.as_mut()).is_pending());
        let range = ReadRange { after: 0, limit: READ };
        let rows = store.dead_letters(creation, range).await.unwrap();
        let letters = rows
            .iter()
            .map(|row| (row.entry.event.sequence, row.letter.generation, None))
            .collect();
        let [handle] = &broker.durable(None)[..] else { panic!("one subscription") };
        let redriven = handle.ask(|reply| Message::Redrive { letters, reply }).await.unwrap();
        assert_eq!(redriven, [Sequence::FIRST]);
        reject_next(&broker, &mut inbox, 1).await;
        drop(first);
        assert_eq!(second.await.unwrap(), Redriven { redriven: 1, remaining: 0 });
        reject_next(&broker, &mut inbox, 2).await;
    }
}
