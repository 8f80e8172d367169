//! The ledgers: what a commit to one writes, and what is read of them.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Change, Creation, DeadLetter, Record, SequenceSet, Settlement, Snapshot,
        sequence_set::{PAGE_SEQUENCES, Page},
    },
    event::Sequence,
    time::Timestamp,
};

use super::{
    super::{Commit, DeadRow, Packed, ReadError, ReadRange, codec, codec::damaged},
    db_error,
    draft::{self, Draft},
    keys::{self, Kind},
};

/// A commit of which everything is done that can be done by its caller.
#[derive(Debug)]
pub(super) struct PreparedCommit {
    pub(super) changes: Vec<Change>,
    pub(super) dead_events: Vec<DeadEvent>,
    pub(super) at: Timestamp,
}

/// The event of a delivery that is given up.
#[derive(Debug)]
pub(super) struct DeadEvent {
    pub(super) sequence: Sequence,
    row: Vec<u8>,
    /// How many chunks there are, and whose they are.
    pub(super) chunks: Option<(u32, Option<Creation>)>,
}

impl PreparedCommit {
    /// Returns about how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = self.dead_events.iter().map(|event| event.row.len()).sum();
        rows + self.changes.len() * 256
    }
}

/// Encodes what is large.
pub(super) fn prepare(commit: Commit) -> PreparedCommit {
    let event = |(sequence, entry): &(Sequence, Arc<super::Entry>)| DeadEvent {
        sequence: *sequence,
        row: codec::encode_entry(entry),
        chunks: match entry.packed {
            Packed::Chunked { count, zstd: _, dead_letter } => Some((count, dead_letter)),
            Packed::Plain(_) | Packed::Zstd(_) => None,
        },
    };
    let dead_events = commit.dead_events.iter().map(event).collect();
    PreparedCommit { changes: commit.changes, dead_events, at: commit.at }
}

/// What the writer remembers of a ledger, so that commits need not read: which rows there are.
#[derive(Debug, Default)]
pub(super) struct Facts {
    floor: u64,
    scanned: u64,
    finished: SequenceSet,
    /// The pages of `finished` that have a row.
    stored_pages: BTreeSet<u64>,
    records: SequenceSet,
    /// Dead letters, also redriven ones.
    letters: SequenceSet,
    redriven: SequenceSet,
}

impl Facts {
    /// Whether the event of a dead letter is stored.
    pub(super) fn has_letter(&self, sequence: Sequence) -> bool {
        self.letters.contains(sequence)
    }
}

/// What is being written of one commit.
pub(super) struct Writing<'a> {
    pub(super) db: &'a ::sled::Db,
    /// What earlier commands of the same batch write.
    pub(super) earlier: &'a Draft,
    pub(super) draft: Draft,
    pub(super) creation: Creation,
    pub(super) facts: &'a mut Facts,
    pub(super) events: Vec<DeadEvent>,
    touched_pages: BTreeSet<u64>,
    settled: Vec<(Sequence, Settlement)>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(
        db: &'a ::sled::Db,
        earlier: &'a Draft,
        creation: Creation,
        facts: &'a mut Facts,
        events: Vec<DeadEvent>,
    ) -> Self {
        let (draft, touched_pages, settled) = Default::default();
        Self { db, earlier, draft, creation, facts, events, touched_pages, settled }
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
        content.ok_or_else(|| damaged(format!("the dead letter of `{sequence}` is missing")))
    }

    /// Writes one change.
    pub(super) fn apply(&mut self, change: Change) -> Result<(), ReadError> {
        match change {
            Change::Position { floor, scanned } => self.position(floor, scanned),
            Change::Open { sequence, record } => self.record(sequence, &record),
            Change::Done { sequence, settlement } => {
                self.finish(sequence);
                if self.facts.redriven.contains(sequence) {
                    self.remove_letter(sequence)?;
                }
                self.settled.push((sequence, settlement));
            }
            Change::Dead { sequence, letter } => {
                self.finish(sequence);
                self.letter(sequence, &letter)?;
            }
            Change::Redriven { sequence, record } => {
                if self.facts.letters.contains(sequence) {
                    let (letter, _) = codec::decode_letter(self.get(Kind::Letter, sequence)?)?;
                    let row = codec::encode_letter(&letter, true);
                    self.draft.put(self.key(Kind::Letter, sequence), &[&row]);
                    self.facts.redriven.insert(sequence);
                }
                self.record(sequence, &record);
            }
        }
        Ok(())
    }

    fn position(&mut self, floor: u64, scanned: u64) {
        let pages = self.facts.floor / PAGE_SEQUENCES..=floor / PAGE_SEQUENCES;
        for page in pages {
            if self.facts.finished.page(page).is_some() {
                self.touched_pages.insert(page);
            }
        }
        self.facts.floor = floor;
        self.facts.scanned = scanned;
        self.facts.finished.remove_through(floor);
        let key = keys::key(Kind::Position, &[self.creation.0]);
        self.draft.put(key, &[&floor.to_be_bytes(), &scanned.to_be_bytes()]);
    }

    fn record(&mut self, sequence: Sequence, record: &Record) {
        let row = codec::encode_record(record);
        self.draft.put(self.key(Kind::Record, sequence), &[&row]);
        self.facts.records.insert(sequence);
    }

    fn finish(&mut self, sequence: Sequence) {
        if self.facts.records.remove(sequence) {
            self.draft.remove(self.key(Kind::Record, sequence));
        }
        if sequence.get() > self.facts.floor {
            self.facts.finished.insert(sequence);
            self.touched_pages.insert(sequence.get() / PAGE_SEQUENCES);
        }
    }

    fn letter(&mut self, sequence: Sequence, letter: &DeadLetter) -> Result<(), ReadError> {
        if !self.facts.letters.contains(sequence) {
            let event = self.events.iter().find(|event| event.sequence == sequence);
            let event = event.ok_or_else(|| {
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
        let generation = letter.generation.to_be_bytes();
        self.draft.put(self.key(Kind::Unannounced, sequence), &[&generation]);
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

    /// Writes what all changes together leave; `next_number` numbers the values of this opening of the store.
    pub(super) fn finish_commit(mut self, opening: u64, next_number: &mut u64) -> Draft {
        for page in std::mem::take(&mut self.touched_pages) {
            let key = keys::key(Kind::Finished, &[self.creation.0, page]);
            if let Some(words) = self.facts.finished.page(page) {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                self.draft.put(key, &[&bytes]);
                self.facts.stored_pages.insert(page);
            } else if self.facts.stored_pages.remove(&page) {
                self.draft.remove(key);
            }
        }
        let mut settled = std::mem::take(&mut self.settled);
        // Stable: of two about one delivery, the later stays the later.
        settled.sort_by_key(|(sequence, _)| sequence.get() / PAGE_SEQUENCES);
        for of_page in
            settled.chunk_by(|(a, _), (b, _)| a.get() / PAGE_SEQUENCES == b.get() / PAGE_SEQUENCES)
        {
            let page = of_page.first().map_or(0, |(sequence, _)| sequence.get() / PAGE_SEQUENCES);
            let numbers = [self.creation.0, page, opening, *next_number];
            *next_number += 1;
            let row = codec::encode_settled(of_page);
            self.draft.put(keys::key(Kind::Settled, &numbers), &[&row]);
        }
        self.draft
    }
}

/// Reads the rows under a creation, in order.
fn rows(
    db: &::sled::Db,
    range: std::ops::Range<Vec<u8>>,
) -> impl DoubleEndedIterator<Item = Result<(::sled::IVec, Bytes), ReadError>> {
    db.range(range).map(|row| {
        let (key, value) = row.map_err(db_error)?;
        let content = Bytes::copy_from_slice(keys::unseal(&key, &value)?);
        Ok((key, content))
    })
}

/// Reads a ledger as it was committed.
pub(super) fn load(db: &::sled::Db, creation: Creation) -> Result<(Snapshot, Facts), ReadError> {
    let (mut snapshot, mut facts) = (Snapshot::default(), Facts::default());
    let position = draft::get(db, &keys::key(Kind::Position, &[creation.0]))?;
    let position = position.ok_or_else(|| damaged("a subscription without a position"))?;
    let mut position = &position[..];
    snapshot.floor = keys::take_u64(&mut position)?;
    snapshot.scanned = keys::take_u64(&mut position)?;

    for row in rows(db, keys::under(Kind::Finished, &[creation.0])) {
        let (key, content) = row?;
        let page = keys::number(&key, 1)?;
        snapshot.finished.set_page(page, words(&content)?);
        facts.stored_pages.insert(page);
    }
    for row in rows(db, keys::under(Kind::Record, &[creation.0])) {
        let (key, content) = row?;
        let sequence = codec::sequence(keys::number(&key, 1)?)?;
        facts.records.insert(sequence);
        snapshot.records.insert(sequence, codec::decode_record(content)?);
    }
    for row in rows(db, keys::under(Kind::Letter, &[creation.0])) {
        let (key, content) = row?;
        let sequence = codec::sequence(keys::number(&key, 1)?)?;
        let (_, redriven) = codec::decode_letter(content)?;
        facts.letters.insert(sequence);
        if redriven {
            facts.redriven.insert(sequence);
        } else {
            snapshot.dead.insert(sequence);
        }
    }
    facts.floor = snapshot.floor;
    facts.scanned = snapshot.scanned;
    facts.finished = snapshot.finished.clone();
    Ok((snapshot, facts))
}

fn words(mut bytes: &[u8]) -> Result<Page, ReadError> {
    let mut page: Page = [0; 64];
    for word in &mut page {
        *word = keys::take_u64(&mut bytes)?;
    }
    Ok(page)
}

/// Returns who acked an event last.
pub(super) fn settlement(
    db: &::sled::Db,
    creation: Creation,
    sequence: Sequence,
) -> Result<Option<Settlement>, ReadError> {
    let page = sequence.get() / PAGE_SEQUENCES;
    for row in rows(db, keys::under(Kind::Settled, &[creation.0, page])).rev() {
        let (_, content) = row?;
        if let Some(found) = codec::decode_settled(content, sequence)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns one dead letter with its event.
pub(super) fn dead_letter(
    db: &::sled::Db,
    creation: Creation,
    sequence: Sequence,
) -> Result<Option<DeadRow>, ReadError> {
    let key = keys::of_delivery(Kind::Letter, creation, sequence);
    let Some(letter) = draft::get(db, &key)? else { return Ok(None) };
    let (letter, redriven) = codec::decode_letter(letter)?;
    let Some(event) = draft::get(db, &keys::of_delivery(Kind::LetterEvent, creation, sequence))?
    else {
        // The letter was read and then removed, with its event, by an ack.
        return Ok(None);
    };
    let entry = codec::entry(codec::decode_entry(event)?, Some(creation))?;
    let unannounced = keys::of_delivery(Kind::Unannounced, creation, sequence);
    let announced = !db.contains_key(unannounced).map_err(db_error)?;
    Ok(Some(DeadRow { creation, entry: Arc::new(entry), letter, redriven, announced }))
}

/// Reads dead letters that were not redriven.
pub(super) fn dead_letters(
    db: &::sled::Db,
    creation: Creation,
    range: ReadRange,
) -> Result<Vec<DeadRow>, ReadError> {
    let (mut taken, mut bytes) = (Vec::new(), 0_usize);
    let Some(from) = range.after.checked_add(1) else { return Ok(taken) };
    let end = keys::under(Kind::Letter, &[creation.0]).end;
    for row in rows(db, keys::key(Kind::Letter, &[creation.0, from])..end) {
        if taken.len() >= range.limit.count || bytes > range.limit.bytes {
            break;
        }
        let (key, content) = row?;
        if codec::decode_letter(content)?.1 {
            continue;
        }
        let sequence = codec::sequence(keys::number(&key, 1)?)?;
        if let Some(row) = dead_letter(db, creation, sequence)? {
            bytes = bytes.saturating_add(row.entry.stored_bytes());
            taken.push(row);
        }
    }
    Ok(taken)
}

/// Reads dead letters that are to be announced.
pub(super) fn unannounced(
    db: &::sled::Db,
    count: usize,
    is_there: impl Fn(Creation) -> bool,
) -> Result<Vec<DeadRow>, ReadError> {
    let mut taken = Vec::new();
    for key in db.range(keys::under(Kind::Unannounced, &[])).keys() {
        if taken.len() >= count {
            break;
        }
        let key = key.map_err(db_error)?;
        let creation = Creation(keys::number(&key, 0)?);
        let sequence = codec::sequence(keys::number(&key, 1)?)?;
        if is_there(creation) {
            taken.extend(dead_letter(db, creation, sequence)?);
        }
    }
    Ok(taken)
}
