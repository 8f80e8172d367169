//! The ledgers: what a commit to one writes, and what is read of them.
//!
//! The row of a position holds floor `u64`, scanned `u64`, and since there are seeks and changed filters also: generation
//! `u32`, highest generation `u32`, epoch `u64` and counter `u64` of the newest lease before a seek (0, 0: none), and up to
//! where was looked back `u64`.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Background, Change, Creation, DeadLetter, Ended, Epoch, Past, Reason, Record, SequenceSet,
        Snapshot, Stamp,
        sequence_set::{PAGE_SEQUENCES, Page},
    },
    event::Sequence,
    time::Timestamp,
};

use super::{
    super::{
        Commit, DeadRow, Packed, ReadError, ReadRange, SubscriptionConfig, codec, codec::damaged,
    },
    db_error,
    draft::{self, Draft},
    keys::{self, Kind},
};

/// How much of what had happened to deliveries before they ended is put into one row, as much as a pack has.
const HISTORY_BYTES: usize = 16 * 1024;

/// A commit of which everything is done that can be done by its caller.
#[derive(Debug)]
pub(super) struct PreparedCommit {
    pub(super) changes: Vec<Change>,
    pub(super) dead_events: Vec<DeadEvent>,
    pub(super) config: Option<SubscriptionConfig>,
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
    let Commit { changes, config, at, dead_events: _ } = commit;
    PreparedCommit { changes, dead_events, config, at }
}

/// What the writer remembers of a ledger, so that commits need not read: which rows there are.
#[derive(Debug, Default)]
pub(super) struct Facts {
    position: Position,
    finished: SequenceSet,
    /// The pages of `finished` that have a row.
    stored_pages: BTreeSet<u64>,
    records: SequenceSet,
    backgrounds: SequenceSet,
    checkpoints: SequenceSet,
    /// Records of earlier versions, which hold their attempts themselves.
    old_records: SequenceSet,
    /// Dead letters, also redriven ones.
    letters: SequenceSet,
    redriven: SequenceSet,
    /// Those that were deleted.
    purged: SequenceSet,
}

/// Where a subscription stands: one row.
#[derive(Clone, Debug, Default)]
struct Position {
    floor: u64,
    scanned: u64,
    generation: u32,
    top_generation: u32,
    fence: Option<Stamp>,
    looked_back: u64,
}

impl Position {
    fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(48);
        row.extend(self.floor.to_be_bytes());
        row.extend(self.scanned.to_be_bytes());
        row.extend(self.generation.to_be_bytes());
        row.extend(self.top_generation.to_be_bytes());
        let (epoch, counter) = self.fence.map_or((0, 0), |fence| (fence.epoch.0, fence.counter));
        row.extend(epoch.to_be_bytes());
        row.extend(counter.to_be_bytes());
        row.extend(self.looked_back.to_be_bytes());
        row
    }

    fn decode(mut row: &[u8]) -> Result<Self, ReadError> {
        let (floor, scanned) = (keys::take_u64(&mut row)?, keys::take_u64(&mut row)?);
        // As a new one, and as earlier versions wrote it.
        if row.is_empty() {
            return Ok(Self { floor, scanned, ..Self::default() });
        }
        let (generation, top_generation) = (keys::take_u32(&mut row)?, keys::take_u32(&mut row)?);
        let (epoch, counter) = (keys::take_u64(&mut row)?, keys::take_u64(&mut row)?);
        let looked_back = keys::take_u64(&mut row)?;
        let fence = (epoch > 0).then_some(Stamp { epoch: Epoch(epoch), counter });
        Ok(Self { floor, scanned, generation, top_generation, fence, looked_back })
    }
}

/// Reads the row of a position, for who only wants to know whether it can be read.
pub(super) fn check_position(row: &[u8]) -> Result<(), ReadError> {
    Position::decode(row).map(drop)
}

/// Returns the row of a position, with all leases up to this one fenced.
pub(super) fn fence_position(row: &[u8], fence: Stamp) -> Result<Bytes, ReadError> {
    let position = Position::decode(row)?;
    let fence = position.fence.max(Some(fence));
    Ok(Position { fence, ..position }.encode().into())
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
    touched_purged: BTreeSet<u64>,
    settled: Vec<(Sequence, Ended)>,
    /// What had happened to some of `settled`, encoded.
    histories: Vec<(Sequence, Vec<u8>)>,
    /// The last delivery that retention gave up, and its generation: it is announced for all.
    retired: Option<(Sequence, u32)>,
    position_changed: bool,
}

impl<'a> Writing<'a> {
    pub(super) fn new(
        db: &'a ::sled::Db,
        earlier: &'a Draft,
        creation: Creation,
        facts: &'a mut Facts,
        events: Vec<DeadEvent>,
    ) -> Self {
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
    pub(super) fn apply(&mut self, change: Change) -> Result<(), ReadError> {
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
        let pages = self.facts.position.floor / PAGE_SEQUENCES..=floor / PAGE_SEQUENCES;
        for page in pages {
            if self.facts.finished.page(page).is_some() {
                self.touched_pages.insert(page);
            }
        }
        self.facts.position.floor = floor;
        self.facts.position.scanned = scanned;
        self.facts.finished.remove_through(floor);
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

    /// Writes what all changes together leave; `next_number` numbers the values of this opening of the store.
    pub(super) fn finish_commit(mut self, opening: u64, next_number: &mut u64) -> Draft {
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
        for page in std::mem::take(&mut self.touched_pages) {
            let key = keys::key(Kind::Finished, &[self.creation.0, page]);
            if let Some(words) = self.facts.finished.page(page) {
                self.draft.put(key, &[&bitmap(words)]);
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
        self.write_histories(opening, next_number);
        if self.position_changed {
            let key = keys::key(Kind::Position, &[self.creation.0]);
            self.draft.put(key, &[&self.facts.position.encode()]);
        }
        self.draft
    }

    fn write_histories(&mut self, opening: u64, next_number: &mut u64) {
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
            let numbers = [self.creation.0, page, opening, *next_number];
            *next_number += 1;
            self.draft.put(keys::key(Kind::History, &numbers), &[&row]);
        }
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
    facts.position = Position::decode(&position)?;

    for row in rows(db, keys::under(Kind::Finished, &[creation.0])) {
        let (key, content) = row?;
        let page = keys::number(&key, 1)?;
        snapshot.finished.set_page(page, words(&content)?);
        facts.stored_pages.insert(page);
    }
    for row in rows(db, keys::under(Kind::Purged, &[creation.0])) {
        let (key, content) = row?;
        snapshot.purged.set_page(keys::number(&key, 1)?, words(&content)?);
    }
    facts.purged = snapshot.purged.clone();
    for row in rows(db, keys::under(Kind::Record, &[creation.0])) {
        let (key, content) = row?;
        let sequence = codec::sequence(keys::number(&key, 1)?)?;
        let (record, attempts) = codec::decode_record(content)?;
        facts.records.insert(sequence);
        if !attempts.is_empty() {
            facts.old_records.insert(sequence);
        }
        // Earlier versions did not keep it.
        let top = &mut facts.position.top_generation;
        *top = (*top).max(record.generation);
        snapshot.records.insert(sequence, record);
    }
    for (kind, set) in
        [(Kind::Background, &mut facts.backgrounds), (Kind::Checkpoint, &mut facts.checkpoints)]
    {
        for key in db.range(keys::under(kind, &[creation.0])).keys() {
            let key = key.map_err(db_error)?;
            set.insert(codec::sequence(keys::number(&key, 1)?)?);
        }
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
    let Position { floor, scanned, generation, top_generation, fence, looked_back } =
        facts.position.clone();
    facts.finished = snapshot.finished.clone();
    let snapshot =
        Snapshot { floor, scanned, generation, top_generation, fence, looked_back, ..snapshot };
    Ok((snapshot, facts))
}

fn bitmap(words: &Page) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn words(mut bytes: &[u8]) -> Result<Page, ReadError> {
    let mut page: Page = [0; 64];
    for word in &mut page {
        *word = keys::take_u64(&mut bytes)?;
    }
    Ok(page)
}

/// Returns what is kept of a delivery that has ended.
pub(super) fn past(
    db: &::sled::Db,
    creation: Creation,
    sequence: Sequence,
) -> Result<Past, ReadError> {
    let page = sequence.get() / PAGE_SEQUENCES;
    let mut past = Past::default();
    for row in rows(db, keys::under(Kind::Settled, &[creation.0, page])) {
        codec::decode_settled(row?.1, sequence, &mut past)?;
    }
    for row in rows(db, keys::under(Kind::History, &[creation.0, page])) {
        codec::decode_histories(row?.1, sequence, &mut past)?;
    }
    Ok(past)
}

/// Returns which deliveries of a range have ended.
pub(super) fn ended_between(
    db: &::sled::Db,
    creation: Creation,
    after: u64,
    through: u64,
) -> Result<SequenceSet, ReadError> {
    let mut ended = SequenceSet::new();
    let pages = after.saturating_add(1) / PAGE_SEQUENCES..through / PAGE_SEQUENCES + 1;
    for row in rows(db, keys::between(Kind::Settled, &[creation.0], pages)) {
        let (_, content) = row?;
        for sequence in codec::decode_settled_sequences(content)? {
            if (after.saturating_add(1)..=through).contains(&sequence.get()) {
                ended.insert(sequence);
            }
        }
    }
    Ok(ended)
}

/// Returns what happened to an open delivery before.
pub(super) fn background(
    db: &::sled::Db,
    creation: Creation,
    sequence: Sequence,
) -> Result<Background, ReadError> {
    let get = |kind| draft::get(db, &keys::of_delivery(kind, creation, sequence));
    let mut background = match get(Kind::Background)? {
        Some(row) => codec::decode_background(row)?,
        None => match get(Kind::Record)? {
            Some(row) => {
                let (_, attempts) = codec::decode_record(row)?;
                Background { attempts, ..Background::default() }
            }
            None => Background::default(),
        },
    };
    if let Some(checkpoint) = get(Kind::Checkpoint)? {
        background.checkpoint = checkpoint;
    }
    Ok(background)
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
