//! What a commit to a ledger writes: each change becomes rows, beside what the writer remembers of the ledger.

use std::collections::BTreeSet;

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Background, Change, Creation, DeadLetter, Ended, Reason, Record, SequenceSet,
        sequence_set::PAGE_SEQUENCES,
    },
    event::Sequence,
    time::Timestamp,
};

use super::{
    super::super::{ReadError, codec, codec::damaged},
    super::{
        draft::{self, Draft},
        keys::{self, Kind},
    },
    DeadEvent, Facts, Marker, bitmap,
};

/// How much of what had happened to deliveries before they ended is put into one row, as much as a pack has.
const HISTORY_BYTES: usize = 16 * 1024;

/// How much of what had happened to open deliveries one seek keeps, of the newest events: what is open may be a million, and a
/// commit has at most 4 MiB.
const SOUGHT_HISTORY_BYTES: usize = 1 << 20;

/// What is being written of one commit.
pub(in super::super) struct Writing<'a> {
    pub(in super::super) db: &'a ::sled::Db,
    /// What earlier commands of the same batch write.
    pub(in super::super) earlier: &'a Draft,
    pub(in super::super) draft: Draft,
    pub(in super::super) creation: Creation,
    pub(in super::super) facts: &'a mut Facts,
    /// In the order of the log.
    events: Vec<DeadEvent>,
    touched_pages: BTreeSet<u64>,
    touched_purged: BTreeSet<u64>,
    settled: Vec<(Sequence, Ended)>,
    /// What had happened to some of `settled`, encoded.
    histories: Vec<(Sequence, Vec<u8>)>,
    /// The last delivery that retention gave up, and its generation: it is announced for all.
    retired: Option<(Sequence, u32)>,
    position_changed: bool,
}

impl<'a> Writing<'a> {
    pub(in super::super) fn new(
        db: &'a ::sled::Db,
        earlier: &'a Draft,
        creation: Creation,
        facts: &'a mut Facts,
        mut events: Vec<DeadEvent>,
    ) -> Self {
        events.sort_unstable_by_key(|event| event.sequence);
        let (draft, touched_pages, touched_purged) = Default::default();
        let (settled, histories) = Default::default();
        let position_changed = false;
        Self {
            db,
            earlier,
            draft,
            creation,
            facts,
            events,
            touched_pages,
            touched_purged,
            settled,
            histories,
            retired: None,
            position_changed,
        }
    }

    fn key(&self, kind: Kind, sequence: Sequence) -> Vec<u8> {
        keys::of_delivery(kind, self.creation, sequence)
    }

    fn get(&self, kind: Kind, sequence: Sequence) -> Result<Bytes, ReadError> {
        let key = self.key(kind, sequence);
        let content = match self.draft.get(&key)? {
            Some(content) => content,
            None => match self.earlier.get(&key)? {
                Some(content) => content,
                None => draft::get(self.db, &key)?,
            },
        };
        content.ok_or_else(|| damaged(format!("the row `{key:02x?}` is missing")))
    }

    /// Writes one change.
    pub(in super::super) fn apply(&mut self, change: Change) -> Result<(), ReadError> {
        match change {
            Change::Position { floor, scanned } => self.position(floor, scanned),
            Change::Open { sequence, record } => self.record(sequence, &record)?,
            Change::Failed { sequence, record, attempt } => {
                let mut background = self.background(sequence)?;
                background.push(attempt);
                self.put_background(sequence, &background);
                self.record(sequence, &record)?;
            }
            Change::Checkpointed { sequence, checkpoint } => {
                self.draft.put(self.key(Kind::Checkpoint, sequence), &[&checkpoint]);
                self.facts.checkpoints.insert(sequence);
            }
            Change::Done { sequence, settlement } => {
                let background = self.background(sequence)?;
                self.remember(sequence, &background);
                self.finish(sequence);
                self.remove_redriven_letter(sequence)?;
                self.settled.push((sequence, Ended::Acked(settlement)));
            }
            Change::Dead { sequence, death, attempt } => {
                let mut background = self.background(sequence)?;
                attempt.into_iter().for_each(|attempt| background.push(attempt));
                self.finish(sequence);
                self.letter(sequence, &DeadLetter::new(death, background))?;
            }
            Change::Superseded { sequences, by, at } => self.supersede(&sequences, by, at)?,
            Change::Purged { sequences } => self.purge(&sequences)?,
            Change::Redriven { sequence, record } => self.redrive(sequence, &record)?,
            Change::LookedBack { through } => {
                self.facts.position.looked_back = through;
                self.position_changed = true;
            }
            Change::Reconfigured { look_back_after } => {
                self.facts.position.looked_back = look_back_after.unwrap_or(u64::MAX);
                self.position_changed = true;
            }
            Change::Sought { position, generation, fence } => {
                self.seek(position)?;
                let kept = &mut self.facts.position;
                kept.generation = generation;
                kept.top_generation = kept.top_generation.max(generation);
                kept.fence = kept.fence.max(fence);
                kept.looked_back = u64::MAX;
            }
        }
        Ok(())
    }

    fn position(&mut self, floor: u64, scanned: u64) {
        self.facts.move_to(floor, scanned, &mut self.touched_pages);
        self.position_changed = true;
    }

    fn record(&mut self, sequence: Sequence, record: &Record) -> Result<(), ReadError> {
        if self.facts.old_records.contains(sequence) {
            let background = self.background(sequence)?;
            self.put_background(sequence, &background);
        }
        let row = codec::encode_record(record);
        self.draft.put(self.key(Kind::Record, sequence), &[&row]);
        self.facts.records.insert(sequence);
        if record.generation > self.facts.position.top_generation {
            self.facts.position.top_generation = record.generation;
            self.position_changed = true;
        }
        Ok(())
    }

    /// Reads what happened to a delivery before, without its checkpoint.
    fn background(&self, sequence: Sequence) -> Result<Background, ReadError> {
        if self.facts.backgrounds.contains(sequence) {
            return codec::decode_background(self.get(Kind::Background, sequence)?);
        }
        if self.facts.old_records.contains(sequence) {
            let (_, attempts) = codec::decode_record(self.get(Kind::Record, sequence)?)?;
            return Ok(Background { attempts, ..Background::default() });
        }
        Ok(Background::default())
    }

    fn put_background(&mut self, sequence: Sequence, background: &Background) {
        let row = codec::encode_background(background);
        self.draft.put(self.key(Kind::Background, sequence), &[&row]);
        self.facts.backgrounds.insert(sequence);
        self.facts.old_records.remove(sequence);
    }

    /// Keeps what had happened to a delivery that ends now, if anything had.
    fn remember(&mut self, sequence: Sequence, background: &Background) {
        if !background.is_forgettable() {
            self.histories.push((sequence, codec::encode_history(sequence, background)));
        }
    }

    fn finish(&mut self, sequence: Sequence) {
        self.remove_facts(sequence);
        if self.facts.purged.remove(sequence) {
            self.touched_purged.insert(sequence.get() / PAGE_SEQUENCES);
        }
        if sequence.get() > self.facts.position.floor {
            self.facts.finished.insert(sequence);
            self.touched_pages.insert(sequence.get() / PAGE_SEQUENCES);
        }
    }

    /// Removes what is only kept of an open delivery.
    fn remove_facts(&mut self, sequence: Sequence) {
        if self.facts.records.remove(sequence) {
            self.draft.remove(self.key(Kind::Record, sequence));
        }
        if self.facts.backgrounds.remove(sequence) {
            self.draft.remove(self.key(Kind::Background, sequence));
        }
        if self.facts.checkpoints.remove(sequence) {
            self.draft.remove(self.key(Kind::Checkpoint, sequence));
        }
        self.facts.old_records.remove(sequence);
    }

    fn supersede(
        &mut self,
        sequences: &[Sequence],
        by: Sequence,
        at: Timestamp,
    ) -> Result<(), ReadError> {
        let mut background = self.background(by)?;
        for sequence in sequences {
            let of_it = self.background(*sequence)?;
            background.absorb(*sequence, &of_it);
            self.remember(*sequence, &of_it);
            self.finish(*sequence);
            self.remove_redriven_letter(*sequence)?;
            self.settled.push((*sequence, Ended::Superseded { by, at }));
        }
        self.put_background(by, &background);
        Ok(())
    }

    fn redrive(&mut self, sequence: Sequence, record: &Record) -> Result<(), ReadError> {
        if self.facts.letters.contains(sequence) {
            let (letter, _) = codec::decode_letter(self.get(Kind::Letter, sequence)?)?;
            let row = codec::encode_letter(&letter, true);
            self.draft.put(self.key(Kind::Letter, sequence), &[&row]);
            self.facts.redriven.insert(sequence);
            let attempts = letter.history;
            self.put_background(sequence, &Background { attempts, ..Background::default() });
        }
        self.record(sequence, record)
    }

    /// Forgets all that is open: what was redriven is a dead letter again.
    fn seek(&mut self, position: u64) -> Result<(), ReadError> {
        let facts = &self.facts;
        let open = facts.records.iter().chain(facts.backgrounds.iter());
        let open: BTreeSet<_> = open.chain(facts.checkpoints.iter()).collect();
        let redriven: Vec<_> =
            facts.redriven.iter().filter(|sequence| facts.records.contains(*sequence)).collect();
        self.remember_sought(&open)?;
        for sequence in open {
            self.remove_facts(sequence);
        }
        for sequence in redriven {
            let (letter, _) = codec::decode_letter(self.get(Kind::Letter, sequence)?)?;
            let row = codec::encode_letter(&letter, false);
            self.draft.put(self.key(Kind::Letter, sequence), &[&row]);
            self.facts.redriven.remove(sequence);
        }
        self.touched_pages.extend(&self.facts.stored_pages);
        self.facts.finished = SequenceSet::new();
        let again = self.facts.purged.iter().filter(|sequence| sequence.get() > position);
        self.touched_purged.extend(again.map(|sequence| sequence.get() / PAGE_SEQUENCES));
        self.facts.purged.remove_after(position);
        self.facts.position.floor = position;
        self.facts.position.scanned = position;
        self.position_changed = true;
        Ok(())
    }

    /// Keeps the attempts of what is open, which a seek ends; of what was redriven those that its dead letter does not tell.
    fn remember_sought(&mut self, open: &BTreeSet<Sequence>) -> Result<(), ReadError> {
        let mut bytes = 0;
        for sequence in open.iter().rev() {
            let letter = match self.facts.letters.contains(*sequence) {
                true => Some(codec::decode_letter(self.get(Kind::Letter, *sequence)?)?.0),
                false => None,
            };
            let untold = self.background(*sequence)?.untold(letter.as_ref());
            self.remember(*sequence, &untold);
            bytes += self
                .histories
                .last()
                .filter(|_| !untold.is_forgettable())
                .map_or(0, |(_, row)| row.len());
            if SOUGHT_HISTORY_BYTES < bytes {
                break;
            }
        }
        Ok(())
    }

    fn letter(&mut self, sequence: Sequence, letter: &DeadLetter) -> Result<(), ReadError> {
        if !self.facts.letters.contains(sequence) {
            let place = self.events.binary_search_by_key(&sequence, |event| event.sequence);
            let event = place.ok().and_then(|place| self.events.get(place)).ok_or_else(|| {
                ReadError::Unavailable(
                    format!("no event came with dead letter `{sequence}`").into(),
                )
            })?;
            let key = keys::of_delivery(Kind::LetterEvent, self.creation, sequence);
            self.draft.put(key, &[&event.row]);
            self.facts.letters.insert(sequence);
        }
        self.facts.redriven.remove(sequence);
        let row = codec::encode_letter(letter, false);
        self.draft.put(self.key(Kind::Letter, sequence), &[&row]);
        if letter.reason == Reason::Retention {
            self.retired = Some((sequence, letter.generation));
        } else {
            self.announce(sequence, letter.generation);
        }
        Ok(())
    }

    /// Notes that a dead letter is to be announced.
    fn announce(&mut self, sequence: Sequence, generation: u32) {
        let key = self.key(Kind::Unannounced, sequence);
        self.draft.put(key, &[&generation.to_be_bytes()]);
    }

    /// Removes the dead letter that an open delivery was redriven from, if it was.
    fn remove_redriven_letter(&mut self, sequence: Sequence) -> Result<(), ReadError> {
        if !self.facts.redriven.contains(sequence) {
            return Ok(());
        }
        self.remove_letter(sequence)
    }

    /// Deletes dead letters that are not redriven.
    fn purge(&mut self, sequences: &[Sequence]) -> Result<(), ReadError> {
        for sequence in sequences {
            self.remove_letter(*sequence)?;
            // What is gone is not announced.
            self.retired = self.retired.filter(|(retired, _)| retired != sequence);
            self.facts.purged.insert(*sequence);
            self.touched_purged.insert(sequence.get() / PAGE_SEQUENCES);
        }
        Ok(())
    }

    fn remove_letter(&mut self, sequence: Sequence) -> Result<(), ReadError> {
        let event = codec::decode_entry(self.get(Kind::LetterEvent, sequence)?)?;
        for number in 0..event.chunks {
            self.draft.remove(keys::chunk(Some(self.creation), sequence, number));
        }
        for kind in [Kind::Letter, Kind::LetterEvent, Kind::Unannounced] {
            self.draft.remove(self.key(kind, sequence));
        }
        self.facts.letters.remove(sequence);
        self.facts.redriven.remove(sequence);
        Ok(())
    }

    /// Writes what all changes together leave, and what only rows of acks said so far; `next` numbers the values of this opening
    /// of the store.
    pub(in super::super) fn finish_commit(mut self, next: &mut Marker) -> Draft {
        if let Some((sequence, generation)) = self.retired.take() {
            self.announce(sequence, generation);
        }
        for page in std::mem::take(&mut self.touched_purged) {
            let key = keys::key(Kind::Purged, &[self.creation.0, page]);
            match self.facts.purged.page(page) {
                Some(words) => self.draft.put(key, &[&bitmap(words)]),
                None => self.draft.remove(key),
            }
        }
        self.position_changed |= !self.facts.unfolded.is_empty();
        let mut touched_pages = self.facts.unfolded.take_pages();
        touched_pages.append(&mut self.touched_pages);
        self.facts.put_finished(self.creation, touched_pages, &mut self.draft);
        let mut settled = std::mem::take(&mut self.settled);
        // Stable: of two about one delivery, the later stays the later.
        settled.sort_by_key(|(sequence, _)| sequence.get() / PAGE_SEQUENCES);
        for of_page in
            settled.chunk_by(|(a, _), (b, _)| a.get() / PAGE_SEQUENCES == b.get() / PAGE_SEQUENCES)
        {
            let page = of_page.first().map_or(0, |(sequence, _)| sequence.get() / PAGE_SEQUENCES);
            let numbers = [self.creation.0, page, next.opening, next.number];
            next.number += 1;
            let row = codec::encode_settled(of_page, None);
            self.draft.put(keys::key(Kind::Settled, &numbers), &[&row]);
        }
        self.write_histories(next);
        // With all that was settled, so that a recovery need not look at it.
        if self.position_changed || !settled.is_empty() || self.facts.position.marker.is_none() {
            self.facts.put_position(self.creation, *next, &mut self.draft);
        }
        self.draft
    }

    fn write_histories(&mut self, next: &mut Marker) {
        let mut histories = std::mem::take(&mut self.histories);
        // Stable, as above.
        histories.sort_by_key(|(sequence, _)| sequence.get() / PAGE_SEQUENCES);
        let mut rest = histories.into_iter().peekable();
        while let Some((sequence, mut row)) = rest.next() {
            let page = sequence.get() / PAGE_SEQUENCES;
            let fits = |row: &[u8], (next, more): &(Sequence, Vec<u8>)| {
                next.get() / PAGE_SEQUENCES == page && row.len() + more.len() <= HISTORY_BYTES
            };
            while let Some((_, more)) = rest.next_if(|next| fits(&row, next)) {
                row.extend(more);
            }
            let numbers = [self.creation.0, page, next.opening, next.number];
            next.number += 1;
            self.draft.put(keys::key(Kind::History, &numbers), &[&row]);
        }
    }
}
