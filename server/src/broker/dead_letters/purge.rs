//! Dead letters deleted for good.

use hookline_core::{delivery::Edition, event::Sequence};

use super::{DeadLetterError, DeadLetterMode, READ, Selector};
use crate::{
    broker::{Broker, Handle, Message, NoAnswer},
    limits::{LETTER_KEY_BYTES, PURGE_KEYS_MAX, PURGE_TRIES},
    store::{DeadRow, ReadRange},
};

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many are gone, or would be.
    pub purged: u64,
    /// How many more the selector takes.
    pub remaining: u64,
}

/// What is done with the dead letters of one read.
#[derive(Debug, Default)]
struct Batch {
    /// Those to delete.
    chosen: Vec<Sequence>,
    /// How many more the selector takes.
    beyond: u64,
    /// The last that was looked at.
    through: u64,
}

impl Broker {
    /// Deletes dead letters, at most `limit`: what it answers as gone is gone also after a crash.
    ///
    /// # Errors
    ///
    /// If the named subscription does not exist, one gives no answer, or the ledger can't be read.
    pub async fn purge(
        &self,
        selector: &Selector,
        limit: u64,
        mode: DeadLetterMode,
    ) -> Result<Purged, DeadLetterError> {
        let mut counted = Purged::default();
        for handle in self.selected(selector)? {
            self.purge_one(&handle, selector, limit, mode, &mut counted).await?;
        }
        Ok(counted)
    }

    async fn purge_one(
        &self,
        handle: &Handle,
        selector: &Selector,
        limit: u64,
        mode: DeadLetterMode,
        counted: &mut Purged,
    ) -> Result<(), DeadLetterError> {
        let (mut after, mut tries) = (0, 0);
        loop {
            // Those that go back meanwhile would only make the edition another.
            let _redriving = self.inner.redriving.lock().await;
            // Asked before the letters are read, so that none of them is meant that takes their place later.
            let edition = match mode {
                DeadLetterMode::Do => handle.purge(Vec::new(), Edition::NONE).await?.1,
                DeadLetterMode::DryRun => Edition::NONE,
            };
            let range = ReadRange { after, limit: READ };
            let rows = self.inner.ledger.dead_letters(handle.creation, range).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let batch = Batch::of(&rows, selector, limit.saturating_sub(counted.purged));
            let asked = u64::try_from(batch.chosen.len()).unwrap_or(u64::MAX);
            let purged = match mode {
                DeadLetterMode::DryRun => asked,
                DeadLetterMode::Do if asked == 0 => 0,
                DeadLetterMode::Do => {
                    let (purged, now) = handle.purge(batch.chosen, edition).await?;
                    if purged.is_empty() && now != edition {
                        // A seek has let some die again since: others may be in their places.
                        tries += 1;
                        if tries < PURGE_TRIES {
                            continue;
                        }
                        counted.remaining += asked;
                    }
                    u64::try_from(purged.len()).unwrap_or(u64::MAX)
                }
            };
            (after, tries) = (batch.through, 0);
            counted.purged += purged;
            counted.remaining += batch.beyond;
        }
    }
}

impl Handle {
    async fn purge(
        &self,
        sequences: Vec<Sequence>,
        edition: Edition,
    ) -> Result<(Vec<Sequence>, Edition), NoAnswer> {
        self.ask(|reply| Message::Purge { sequences, edition, reply }).await
    }
}

impl Batch {
    /// Chooses at most `room` of these, and no more than one commit may delete; what is behind those is for another batch.
    fn of(rows: &[DeadRow], selector: &Selector, room: u64) -> Self {
        let mut batch = Self::default();
        let mut keys = 0;
        for row in rows {
            if selector.takes(row) {
                if u64::try_from(batch.chosen.len()).unwrap_or(u64::MAX) >= room {
                    batch.beyond += 1;
                } else {
                    keys += 4 + row.entry.payload_size / LETTER_KEY_BYTES;
                    if keys > PURGE_KEYS_MAX && !batch.chosen.is_empty() {
                        return batch;
                    }
                    batch.chosen.push(row.entry.event.sequence);
                }
            }
            batch.through = row.entry.event.sequence.get();
        }
        batch
    }
}
