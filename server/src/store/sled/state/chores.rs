//! Removing what nobody can reach any more, some rows with each commit.

use std::ops::Range;

use hookline_core::{
    delivery::{Creation, sequence_set::PAGE_SEQUENCES},
    event::Sequence,
};

use super::{
    super::{
        super::ReadError,
        db_error,
        draft::Draft,
        index,
        keys::{self, Kind, Meta},
        pack::Pack,
        writer::{Failure, Group},
    },
    Opened,
};

/// How many rows one commit removes besides, of what was trimmed or deleted.
const CHORE_ROWS: usize = 256;

/// Rows to remove, bit by bit, of what nobody can reach any more; and then one more, which says so.
#[derive(Debug)]
pub(in super::super) struct Chore {
    pub(super) range: Range<Vec<u8>>,
    pub(super) last: Option<Vec<u8>>,
}

impl Opened {
    /// Finds what was left to remove, and what a kill left behind.
    pub(super) fn find_chores(&mut self) -> Result<(), ReadError> {
        for key in self.db.range(keys::under(Kind::Deleting, &[])).keys() {
            let creation = Creation(keys::number(&key.map_err(db_error)?, 0)?);
            self.chores.extend(chores_of_deletion(creation));
        }
        let trimmed = self.chores_of_trim(self.first)?;
        self.chores.extend(trimmed);
        // Chunks of an event whose own row was never written: its sequence goes to another.
        for key in self.db.range(keys::between(Kind::Chunk, &[], self.next..u64::MAX)).keys() {
            self.db.remove(key.map_err(db_error)?).map_err(db_error)?;
        }
        Ok(())
    }

    /// The outer error fails the whole group; the inner one this call alone.
    pub(super) fn trim(
        &mut self,
        before: Sequence,
        group: &mut Group,
    ) -> Result<Result<(), ReadError>, Failure> {
        let before = before.get().min(self.next);
        if before <= self.first {
            return Ok(Ok(()));
        }
        // What only rows of acks say, before they are removed; and so that the pack that is being filled is seen, if the log
        // now begins in it.
        self.fold_all(&mut group.draft);
        self.commit(group)?;
        let chores = match self.chores_of_trim(before) {
            Ok(chores) => chores,
            Err(error) => return Ok(Err(error)),
        };
        group.chores.extend(chores);
        self.retire_dictionaries(before, &mut group.draft);
        self.first = before;
        self.dedupe.forget_before(before);
        let time = self.last_received.as_micros().to_be_bytes();
        group.draft.put(keys::meta(Meta::Trimmed), &[&before.to_be_bytes(), &time]);
        Ok(Ok(()))
    }

    /// Returns what can be removed of a log that begins with `before`.
    pub(super) fn chores_of_trim(&self, before: u64) -> Result<Vec<Chore>, ReadError> {
        let chore = |range| Chore { range, last: None };
        // The last pack that begins before may reach beyond.
        let upto = keys::key(Kind::Pack, &[0])..keys::key(Kind::Pack, &[before]);
        let packs_before = match self.db.range(upto).next_back() {
            None => 0,
            Some(row) => {
                let (key, value) = row.map_err(db_error)?;
                let last = Pack::read(&key, value).map(|pack| pack.last());
                // One that can't be read may reach beyond too: it goes with the next.
                if last.is_ok_and(|last| last < before) { before } else { keys::number(&key, 0)? }
            }
        };
        let mut chores = vec![
            chore(keys::between(Kind::Pack, &[], 0..packs_before)),
            chore(keys::between(Kind::Chunk, &[], 0..before)),
            chore(keys::between(Kind::Weight, &[], 0..before)),
            chore(keys::between(Kind::Index, &[], 0..index::block_of(before))),
        ];
        for kind in [Kind::Fingerprints, Kind::Bodies] {
            chores.extend(self.fingerprints_before(kind, before)?.map(chore));
        }
        for creation in self.configs.keys() {
            for kind in [Kind::Settled, Kind::History] {
                let pages = 0..before / PAGE_SEQUENCES;
                chores.push(chore(keys::between(kind, &[creation.0], pages)));
            }
        }
        Ok(chores)
    }

    /// Returns the keys of the rows whose events all stand before: a row has those from the first in its key to that of the
    /// next row.
    fn fingerprints_before(
        &self,
        kind: Kind,
        before: u64,
    ) -> Result<Option<Range<Vec<u8>>>, ReadError> {
        let mut end = None;
        for key in self.db.range(keys::under(kind, &[])).keys() {
            let key = key.map_err(db_error)?;
            if before < keys::first_fingerprinted(&key)? {
                break;
            }
            end = Some(key.to_vec());
        }
        Ok(end.map(|end| keys::under(kind, &[]).start..end))
    }

    /// Whether there are rows that can be removed now.
    pub(in super::super) fn has_chores(&self) -> bool {
        !self.chores.is_empty() && !self.captured.holds_the_log()
    }

    pub(in super::super) fn add_chores(&mut self, chores: Vec<Chore>) {
        self.chores.extend(chores);
    }

    /// Removes some rows, unless a copy is being made that has still to read them.
    pub(in super::super) fn do_chores(&mut self, draft: &mut Draft) -> Result<(), Failure> {
        if self.captured.holds_the_log() {
            return Ok(());
        }
        let mut room = CHORE_ROWS;
        while room > 0 {
            let Some(chore) = self.chores.front_mut() else { break };
            let mut last = None;
            for key in self.db.range(chore.range.clone()).keys().take(room) {
                let key = key.map_err(|error| Failure(error.to_string().into()))?;
                draft.remove(key.to_vec());
                last = Some(key);
                room -= 1;
            }
            if let Some(last) = last.filter(|_| room == 0) {
                // Just beyond the last one, so that the next turn finds the rest even before this is written.
                chore.range.start = [&last[..], &[0]].concat();
            } else if let Some(row) = self.chores.pop_front().and_then(|done| done.last) {
                draft.remove(row);
            }
        }
        Ok(())
    }
}

pub(super) fn chores_of_deletion(creation: Creation) -> Vec<Chore> {
    let ranges = keys::KINDS_OF_A_SUBSCRIPTION.map(|kind| keys::under(kind, &[creation.0]));
    let mut chores: Vec<_> = ranges.into_iter().map(|range| Chore { range, last: None }).collect();
    if let Some(chore) = chores.last_mut() {
        chore.last = Some(keys::key(Kind::Deleting, &[creation.0]));
    }
    chores
}
