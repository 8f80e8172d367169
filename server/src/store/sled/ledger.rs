//! The ledgers: what a commit to one holds, and what is read of them. [`write`] is what a commit writes, [`acks`] what one writes
//! that only acks.
//!
//! The row of a position holds floor `u64`, scanned `u64`, and since there are seeks and changed filters also: generation
//! `u32`, highest generation `u32`, epoch `u64` and counter `u64` of the newest lease before a seek (0, 0: none), and up to
//! where was looked back `u64`; and since commits may be one row also a marker, opening `u64` and number `u64`: the rows of
//! settlements before it are in this row and in those of what is finished.

mod write;

mod acks;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Attempt, Background, Change, Creation, Epoch, Past, SequenceSet, Snapshot, Stamp,
        sequence_set::{PAGE_SEQUENCES, Page},
    },
    event::Sequence,
    time::Timestamp,
};

use super::{
    super::{
        Commit, DeadRow, Packed, ReadError, ReadRange, SubscriptionConfig, codec,
        dictionary::Dictionaries, payload,
    },
    db_error, draft,
    keys::{self, Kind},
};

#[cfg(test)]
pub(super) use self::acks::UNFOLDED_ROWS_MAX;
use self::acks::Unfolded;
pub(super) use self::{
    acks::{Acks, Marker, RIPE_ROWS, fold_left, unfolded_of},
    write::Writing,
};

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
        rows + self.changes.iter().map(bytes_of_change).sum::<usize>()
    }
}

fn bytes_of_change(change: &Change) -> usize {
    let of = |attempt: &Attempt| {
        attempt.reason.len() + attempt.error_type.len() + attempt.consumer.len()
    };
    let texts = match change {
        Change::Checkpointed { checkpoint, .. } => checkpoint.len(),
        Change::Failed { attempt, .. } => of(attempt),
        Change::Dead { death, attempt, .. } => death.detail.len() + attempt.as_ref().map_or(0, of),
        Change::Superseded { sequences, .. } | Change::Purged { sequences } => sequences.len() * 8,
        Change::Position { .. }
        | Change::Open { .. }
        | Change::Done { .. }
        | Change::Redriven { .. }
        | Change::LookedBack { .. }
        | Change::Reconfigured { .. }
        | Change::Sought { .. } => 0,
    };
    256 + texts
}

/// Encodes what is large. Dead letters outlive the dictionaries that the log needs, and are stored without.
pub(super) fn prepare(commit: Commit, dictionaries: &Dictionaries) -> PreparedCommit {
    let event = |(sequence, entry): &(Sequence, Arc<super::Entry>)| {
        let packed = payload::without_dictionary(&entry.packed, entry.payload_size, dictionaries);
        // What can't be read now is kept as it is.
        let packed = packed.unwrap_or_else(|_| entry.packed.clone());
        DeadEvent {
            sequence: *sequence,
            row: codec::encode_entry(entry, &packed),
            chunks: match packed {
                Packed::Chunked { count, zstd: _, dead_letter } => Some((count, dead_letter)),
                Packed::Plain(_) | Packed::Zstd(_) => None,
            },
        }
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
    /// What of both has no row but those of acks.
    unfolded: Unfolded,
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
    /// The rows of acks from here on are not folded; `None`: there are none, and the next commit writes a marker.
    marker: Option<Marker>,
}

impl Position {
    fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(64);
        row.extend(self.floor.to_be_bytes());
        row.extend(self.scanned.to_be_bytes());
        row.extend(self.generation.to_be_bytes());
        row.extend(self.top_generation.to_be_bytes());
        let (epoch, counter) = self.fence.map_or((0, 0), |fence| (fence.epoch.0, fence.counter));
        row.extend(epoch.to_be_bytes());
        row.extend(counter.to_be_bytes());
        row.extend(self.looked_back.to_be_bytes());
        if let Some(Marker { opening, number }) = self.marker {
            row.extend(opening.to_be_bytes());
            row.extend(number.to_be_bytes());
        }
        row
    }

    fn decode(mut row: &[u8]) -> Result<Self, ReadError> {
        let (floor, scanned) = (keys::take_u64(&mut row)?, keys::take_u64(&mut row)?);
        // As earlier versions wrote it.
        if row.is_empty() {
            return Ok(Self { floor, scanned, ..Self::default() });
        }
        let (generation, top_generation) = (keys::take_u32(&mut row)?, keys::take_u32(&mut row)?);
        let (epoch, counter) = (keys::take_u64(&mut row)?, keys::take_u64(&mut row)?);
        let looked_back = keys::take_u64(&mut row)?;
        let fence = (epoch > 0).then_some(Stamp { epoch: Epoch(epoch), counter });
        let marker = match row {
            // As earlier versions wrote it.
            [] => None,
            _ => Some(Marker {
                opening: keys::take_u64(&mut row)?,
                number: keys::take_u64(&mut row)?,
            }),
        };
        Ok(Self { floor, scanned, generation, top_generation, fence, looked_back, marker })
    }
}

/// Returns the row of the position of a new subscription, which begins after `start`.
pub(super) fn first_position(start: u64, marker: Marker) -> Vec<u8> {
    let marker = Some(marker);
    Position { floor: start, scanned: start, marker, ..Position::default() }.encode()
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
    facts.position = acks::read_position(db, creation)?;
    read_finished(db, creation, &mut facts)?;
    let unfolded = acks::unfolded(db, creation, &facts.position)?;
    facts.take_in_unfolded(unfolded);

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
    let Position { floor, scanned, generation, top_generation, fence, looked_back, marker: _ } =
        facts.position.clone();
    snapshot.finished = facts.finished.clone();
    let snapshot =
        Snapshot { floor, scanned, generation, top_generation, fence, looked_back, ..snapshot };
    Ok((snapshot, facts))
}

/// Reads the rows of what is finished.
fn read_finished(db: &::sled::Db, creation: Creation, facts: &mut Facts) -> Result<(), ReadError> {
    for row in rows(db, keys::under(Kind::Finished, &[creation.0])) {
        let (key, content) = row?;
        let page = keys::number(&key, 1)?;
        facts.finished.set_page(page, words(&content)?);
        facts.stored_pages.insert(page);
    }
    Ok(())
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
