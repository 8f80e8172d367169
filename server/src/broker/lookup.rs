//! Looking at subscriptions, and at what became of an event on each.

use std::sync::Arc;

use hookline_core::{
    delivery::{Background, DeadLetter, Hold, Past, Status},
    event::{Sequence, SubscriptionName},
    time::Timestamp,
};

use super::{
    Broker, Handle, Identity, Judge, Judgement, Message, NoAnswer, Overview, Sight,
    task::{Standing, States},
};
use crate::{
    limits::PAGE_BYTES_MAX,
    store::{Entry, EventLog, ReadError, ReadLimit, ReadRange},
};

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
    /// What keeps it from being leased, if it is ready.
    pub hold: Option<Hold>,
    /// How far the work is, as its consumer said; only under a lease.
    pub progress: String,
    /// What happened before, while it is open.
    pub background: Background,
    /// Who acked or replaced it, and what had happened to it before, while that is kept; also of the times before it was
    /// opened again. Only where one event is looked at.
    pub past: Past,
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
    /// left out, and so is one that is out of sight.
    pub async fn views(
        &self,
        after: Option<&str>,
        count: usize,
        sight: &Sight,
    ) -> Vec<SubscriptionView> {
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
            if !self.shows(sight, &handle.identity()) {
                continue;
            }
            // One that gives no answer does not keep the others from being listed.
            match self.view_of(&handle).await {
                Ok(view) => views.push(view),
                Err(NoAnswer) => {
                    tracing::warn!(subscription = %handle.name, "left out of a list: no answer");
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
        Ok(SubscriptionView { identity: handle.identity(), overview, oldest_received_at })
    }

    /// Returns what each durable subscription in sight that takes an event did with it, in order of their names.
    ///
    /// # Errors
    ///
    /// If one gives no answer, or its ledger or the log can't be read.
    pub async fn deliveries_of(
        &self,
        sight: &Sight,
        entry: &Entry,
    ) -> Result<Vec<Delivered>, LookupError> {
        let handles: Vec<_> = self.inner.registry.read().by_name.values().cloned().collect();
        let mut judge = Judge::of(&*self.inner.log, entry);
        let mut delivered = Vec::new();
        for handle in handles {
            let (identity, sequence) = (handle.identity(), entry.event.sequence);
            if !self.shows(sight, &identity) {
                continue;
            }
            let taken = judge.judge(&identity).await? != Judgement::Skipped(None);
            // What an earlier rule skipped, the rule of now may have looked back for.
            if !taken && judge.judge_by(&identity.rule).await? == Judgement::Skipped(None) {
                continue;
            }
            let standing = handle.ask(|reply| Message::Status { sequence, reply }).await?;
            let mut of_it = self.delivered(identity, standing).await?;
            if of_it.status != Status::Unscanned {
                let creation = of_it.identity.creation;
                of_it.past = self.inner.ledger.past(creation, sequence).await?;
                if of_it.status == Status::Done && of_it.past.ended.is_empty() {
                    // How it ended may be being written.
                    handle.ask(|reply| Message::Written { reply }).await?;
                    of_it.past = self.inner.ledger.past(creation, sequence).await?;
                }
            }
            let is_known = match &of_it.status {
                Status::Ready(_) | Status::Leased { .. } | Status::Waiting { .. } => true,
                Status::Done => !of_it.past.ended.is_empty(),
                Status::Dead | Status::Purged => true,
                Status::Unscanned => false,
            };
            if taken || is_known {
                delivered.push(of_it);
            }
        }
        Ok(delivered)
    }

    /// Returns the open deliveries of a subscription beyond a sequence (0: all) that are in one of these states, in order,
    /// at most `count`, and fewer if they take more than `PAGE_BYTES_MAX`; with whether there may be more. `None` if there is
    /// no subscription of this name.
    ///
    /// # Errors
    ///
    /// If it gives no answer, or its ledger can't be read.
    pub async fn open_deliveries(
        &self,
        name: &SubscriptionName,
        after: u64,
        states: States,
        count: usize,
    ) -> Result<Option<(Vec<(Sequence, Delivered)>, bool)>, LookupError> {
        let Some(handle) = self.named(name.as_str()) else { return Ok(None) };
        let open = handle.ask(|reply| Message::Open { after, states, count, reply }).await?;
        let mut has_more = open.len() >= count;
        let (mut delivered, mut bytes) = (Vec::with_capacity(open.len()), 0);
        for standing in open {
            if PAGE_BYTES_MAX < bytes {
                has_more = true;
                break;
            }
            let sequence = standing.sequence;
            let of_it = self.delivered(handle.identity(), standing).await?;
            bytes += size(&of_it.background);
            delivered.push((sequence, of_it));
        }
        Ok(Some((delivered, has_more)))
    }

    /// As [`Broker::open_deliveries`], of those that were given up.
    ///
    /// # Errors
    ///
    /// If the ledger can't be read.
    pub async fn dead_deliveries(
        &self,
        name: &SubscriptionName,
        after: u64,
        limit: ReadLimit,
    ) -> Result<Vec<(Sequence, Delivered)>, LookupError> {
        let Some(handle) = self.named(name.as_str()) else { return Ok(Vec::new()) };
        let range = ReadRange { after, limit };
        let rows = self.inner.ledger.dead_letters(handle.creation, range).await?;
        let delivered = rows.into_iter().map(|row| {
            let of_it = Delivered {
                identity: handle.identity(),
                status: Status::Dead,
                hold: None,
                progress: String::new(),
                background: Background::default(),
                past: Past::default(),
                dead_letter: Some(row.letter),
            };
            (row.entry.event.sequence, of_it)
        });
        Ok(delivered.collect())
    }

    /// Returns what is known of a delivery, without its past.
    async fn delivered(
        &self,
        identity: Arc<Identity>,
        standing: Standing,
    ) -> Result<Delivered, LookupError> {
        let Standing { sequence, status, hold, progress } = standing;
        let (creation, ledger) = (identity.creation, &self.inner.ledger);
        let (mut background, mut dead_letter) = (Background::default(), None);

        match &status {
            Status::Dead => {
                let row = ledger.dead_letter(creation, sequence).await?;
                dead_letter = row.map(|row| row.letter);
            }
            Status::Ready(_) | Status::Leased { .. } | Status::Waiting { .. } => {
                background = ledger.background(creation, sequence).await?;
            }
            Status::Unscanned | Status::Done | Status::Purged => {}
        }
        Ok(Delivered {
            identity,
            status,
            hold,
            progress,
            background,
            past: Past::default(),
            dead_letter,
        })
    }

    /// Returns the event at this sequence, if the log has it.
    pub async fn event_at(&self, sequence: Sequence) -> Option<Arc<Entry>> {
        read_one(&*self.inner.log, sequence).await.ok()
    }

    /// Whether the event of a delivery is in sight: as the log has it, or its dead letter.
    pub async fn shows_delivery(
        &self,
        sight: &Sight,
        delivered: &Delivered,
        entry: Option<&Entry>,
        sequence: Sequence,
    ) -> bool {
        if sight.is_all() {
            return true;
        }
        if let Some(entry) = entry {
            return self.shows_event(sight, &entry.event.content);
        }
        let row = self.inner.ledger.dead_letter(delivered.identity.creation, sequence).await;
        let row = row.ok().flatten();
        row.is_some_and(|row| self.shows_event(sight, &row.entry.event.content))
    }
}

/// About how many bytes it takes.
fn size(background: &Background) -> usize {
    let texts = background.attempts.iter().map(|of| of.reason.len() + of.error_type.len());
    background.checkpoint.len() + texts.sum::<usize>()
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
