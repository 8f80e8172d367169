//! Announces dead letters as events on `dead-letter/<subscription>`.
//!
//! A reconciler: it looks for rows that are not marked announced, appends an event for each, and marks them. What a
//! crash leaves between the two is closed by the announcement's delivery key, which makes a second one a duplicate.

use hookline_core::event::{DEAD_LETTER_SOURCE, NewEvent};

use super::{Broker, announcement};
use crate::{
    limits::{ANNOUNCED_AT_ONCE, RETRY_DELAY},
    store::{AppendError, CommitError, DeadRow, ReadError},
    tasks::Kind,
};

#[derive(Debug, thiserror::Error)]
enum AnnounceError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Mark(#[from] CommitError),
}

impl Broker {
    pub(super) fn start_announcer(&self) {
        let broker = self.clone();
        let group = &self.inner.group;
        group.spawn(Kind::Essential, "announcer", async move { broker.announce_always().await });
    }

    async fn announce_always(&self) {
        let stop = self.inner.group.stopping().clone();
        loop {
            match self.announce_some().await {
                // More may be there.
                Ok(count) if count > 0 && !stop.is_cancelled() => {}
                Ok(_) => tokio::select! {
                    () = self.inner.died.notified() => {}
                    () = stop.cancelled() => return,
                },
                Err(error) => {
                    tracing::error!(%error, "could not announce dead letters");
                    let until = self.inner.clock.steady() + RETRY_DELAY;
                    tokio::select! {
                        () = self.inner.clock.sleep_until(until) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    async fn announce_some(&self) -> Result<usize, AnnounceError> {
        let rows = self.inner.ledger.unannounced(ANNOUNCED_AT_ONCE).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut events = Vec::new();
        for row in &rows {
            if let Some(event) = self.announcement(row).await? {
                events.push(event);
            }
        }
        if !events.is_empty() {
            let appended = self.inner.log.append(events, self.inner.clock.wall()).await?;
            for event in appended {
                tracing::info!(
                    event_id = %event.id, source = DEAD_LETTER_SOURCE, sequence = %event.sequence,
                    "dead letter announced",
                );
            }
        }
        let marks =
            rows.iter().map(|row| (row.creation, row.entry.event.sequence, row.letter.generation));
        self.inner.ledger.mark_announced(marks.collect()).await?;
        Ok(rows.len())
    }

    /// Returns the announcement of a row; `None` for what is itself an announcement, so that none makes a loop, and for
    /// a row of a subscription that is gone.
    async fn announcement(&self, row: &DeadRow) -> Result<Option<NewEvent>, ReadError> {
        let event = &row.entry.event;
        let Some(handle) = self.by_creation(row.creation) else { return Ok(None) };
        tracing::warn!(
            event_id = %event.id, source = %event.content.source, subscription = %handle.name,
            sequence = %event.sequence, reason = ?row.letter.reason,
            attempts = row.letter.attempts, "dead letter",
        );
        if event.content.source.as_str() == DEAD_LETTER_SOURCE {
            return Ok(None);
        }
        let payload = if row.entry.payload_size <= announcement::PAYLOAD_BYTES_MAX {
            match self.inner.log.payload(&row.entry).await {
                Ok(payload) => Some(payload),
                // The rest can be told; and one that can't be read must not hold up the others.
                Err(error @ ReadError::Damaged(_)) => {
                    let (id, source) = (event.id, &event.content.source);
                    tracing::error!(event_id = %id, %source, subscription = %handle.name, %error, "announced without its payload");
                    None
                }
                Err(error @ ReadError::Unavailable(_)) => return Err(error),
            }
        } else {
            None
        };
        let name = &handle.name;
        Ok(Some(announcement::announce(name, row, payload.as_ref())))
    }
}
