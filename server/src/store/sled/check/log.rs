//! The log: events without gaps, their payloads whole, and what finds them.

use std::{collections::VecDeque, ops::RangeInclusive};

use bytes::Bytes;
use hookline_core::{event::Sequence, time::Timestamp};

use super::{
    super::{
        super::{Entry, Packed, ReadError, codec, dictionary::Dictionaries, payload},
        db_error, dedupe, draft, index,
        keys::{self, Kind, Meta},
        log::{Reader, bytes_before},
        pack::Pack,
        state::WEIGHED_EVERY,
    },
    Problem, Report, Told, table,
};
use crate::encoding;

/// By how much the bytes of an event may differ from what an earlier version counted.
const WEIGHT_SLACK: u64 = 4 * 1024;

/// The bounds of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The first sequence that is kept.
    pub(super) first: u64,
    /// The last one; `first - 1` if none is kept.
    pub(super) head: u64,
    /// When the newest event was received.
    last_received: Timestamp,
}

impl Bounds {
    /// Reads them. What can't be read is found elsewhere.
    pub(super) fn read(db: &::sled::Db) -> Result<Self, ReadError> {
        let trimmed = draft::get(db, &keys::meta(Meta::Trimmed)).ok().flatten();
        let first = trimmed.and_then(|row| keys::take_u64(&mut &row[..]).ok()).unwrap_or(1);
        let (mut head, mut last_received) = (first.saturating_sub(1), Timestamp::EPOCH);
        for row in db.range(keys::under(Kind::Pack, &[])).rev() {
            let (key, value) = row.map_err(db_error)?;
            if let Ok(pack) = Pack::read(&key, value) {
                head = head.max(pack.last());
                last_received = pack.last_received;
                break;
            }
        }
        Ok(Self { first, head, last_received })
    }

    pub(super) fn reader<'a>(&self, db: &'a ::sled::Db) -> Result<Reader<'a>, ReadError> {
        Ok(Reader { db, first: codec::sequence(self.first)?, head: self.head })
    }

    pub(super) fn kept(&self) -> RangeInclusive<u64> {
        self.first..=self.head
    }
}

/// Goes through the log once, beside it through what finds its events.
pub(super) fn check(
    db: &::sled::Db,
    bounds: Bounds,
    dictionaries: &Dictionaries,
    report: &mut Report,
    told: &mut Told<'_>,
) -> Result<(), ReadError> {
    let mut walk = Walk {
        db,
        bounds,
        dictionaries,
        report,
        keys: Pairs::of(db, Kind::Fingerprints),
        bodies: Pairs::of(db, Kind::Bodies),
        weights: Weights::of(db, bounds.first),
        index: index::Filling::default(),
        unfound: None,
        last_received: Timestamp::EPOCH,
    };
    // `None`: what precedes can't be read, and was found already.
    let mut expected = Some(bounds.first);
    for row in db.range(keys::under(Kind::Pack, &[])) {
        let (key, value) = row.map_err(db_error)?;
        let Ok(pack) = Pack::read(&key, value) else {
            expected = None;
            continue;
        };
        if pack.last() < bounds.first {
            walk.report.left_over += 1;
            continue;
        }
        walk.place(&key, &pack, expected);
        expected = Some(pack.last().saturating_add(1));
        match pack.entries() {
            Ok(entries) => {
                let kept = entries.iter().filter(|it| bounds.first <= it.event.sequence.get());
                for entry in kept {
                    walk.event(&key, entry);
                }
            }
            Err(error) => walk.report.find(Problem::Undecodable, &key, error.to_string()),
        }
        let read = pack.last().saturating_sub(bounds.first).saturating_add(1);
        told(super::Stage::Events, read, bounds.head + 1 - bounds.first);
    }
    walk.end();
    check_chunks(db, bounds, report)
}

struct Walk<'a> {
    db: &'a ::sled::Db,
    bounds: Bounds,
    dictionaries: &'a Dictionaries,
    report: &'a mut Report,
    keys: Pairs<'a>,
    bodies: Pairs<'a>,
    weights: Weights<'a>,
    /// The block of the index that is compared.
    index: index::Filling,
    /// A run of events that are not found by their keys.
    unfound: Option<(u64, u64)>,
    last_received: Timestamp,
}

impl Walk<'_> {
    /// Looks at where a pack stands.
    fn place(&mut self, key: &[u8], pack: &Pack, expected: Option<u64>) {
        let Some(expected) = expected else { return };
        // The first one may reach before what is kept.
        let is_first = expected == self.bounds.first;
        if pack.first > expected {
            let detail = format!("the events `{expected}` to `{}` are missing", pack.first - 1);
            self.report.find(Problem::SequenceGap, key, detail);
        } else if pack.first < expected && !is_first {
            let detail = format!("it begins before `{expected}`, where the one before ends");
            self.report.find(Problem::SequenceOverlap, key, detail);
        }
    }

    fn event(&mut self, key: &[u8], entry: &Entry) {
        let (event, sequence) = (&entry.event, entry.event.sequence.get());
        self.report.events += 1;
        self.report.payload_bytes += entry.payload_size;
        if event.received_at < self.last_received {
            let detail = format!("event `{sequence}` was received before the one that precedes it");
            self.report.find(Problem::TimeOrder, key, detail);
        }
        self.last_received = self.last_received.max(event.received_at);
        let millis = event.received_at.as_micros().div_euclid(1_000);
        if i64::try_from(event.id.unix_millis()).ok() != Some(millis) {
            let detail = format!("the id `{}` of event `{sequence}` says another time", event.id);
            self.report.find(Problem::TimeOrder, key, detail);
        }
        let stored = self.payload(key, entry);
        self.weights.event(sequence, weight(entry, stored), self.report);
        self.index(sequence, entry);
        self.block(sequence, entry);
    }

    /// Compares a block of the index with its events, if it has a row: it may do without.
    fn block(&mut self, sequence: u64, entry: &Entry) {
        let content = &entry.event.content;
        let Some(row) = self.index.push(sequence, content, index::Marks::of(content)) else {
            return;
        };
        let key = keys::key(Kind::Index, &[index::block_of(sequence)]);
        if self::content(self.db, &key).is_some_and(|found| found != row) {
            self.report.find(Problem::IndexStray, &key, "its events are others");
        }
    }

    /// Reads a payload; returns how many bytes its chunks have.
    fn payload(&mut self, key: &[u8], entry: &Entry) -> u64 {
        let mut missing = |chunk: Vec<u8>, detail| {
            self.report.find(Problem::ChunkMissing, &chunk, detail);
        };
        match whole_payload(self.db, entry, self.dictionaries, &mut missing) {
            Ok(stored) => stored,
            Err(error) => {
                let detail = format!("event `{}`: {error}", entry.event.sequence);
                self.report.find(Problem::Payload, key, detail);
                0
            }
        }
    }

    /// Compares an event with what is to find it.
    fn index(&mut self, sequence: u64, entry: &Entry) {
        let content = &entry.event.content;
        let day = dedupe::day(entry.event.received_at);
        let want = dedupe::fingerprint(content);
        let found = self.keys.upto(sequence, self.bounds, self.report);
        let oldest = dedupe::day(self.bounds.last_received).saturating_sub(dedupe::DEDUPE_DAYS);
        match (want, found) {
            (Some(want), Some(pair)) if pair.fingerprint == want && pair.day == day => {}
            (_, Some(pair)) => pair.stray(self.report),
            (Some(_), None) if oldest <= day && !self.may_lack_rows(sequence) => {
                self.unfound = match self.unfound {
                    Some((from, to)) if to + 1 == sequence => Some((from, sequence)),
                    earlier => {
                        tell_unfound(earlier, self.report);
                        Some((sequence, sequence))
                    }
                };
            }
            (Some(_) | None, None) => {}
        }
        // Which sources looked for replays then is not known now: an event may do without.
        if let Some(pair) = self.bodies.upto(sequence, self.bounds, self.report)
            && Some(pair.fingerprint) != dedupe::fingerprint_of_body(content)
        {
            pair.stray(self.report);
        }
    }

    /// Whether an event is so new that its fingerprints get rows when its block is whole, and none after it has any.
    fn may_lack_rows(&self, sequence: u64) -> bool {
        let open = index::sequences_of(index::block_of(self.bounds.head + 1)).start;
        open <= sequence && self.keys.is_at_end()
    }

    /// What is left of the indexes lies beyond the log.
    fn end(mut self) {
        tell_unfound(self.unfound.take(), self.report);
        let after = index::block_of(self.bounds.head + 1);
        for key in self.db.range(keys::between(Kind::Index, &[], after..u64::MAX)).keys().flatten()
        {
            self.report.find(Problem::IndexStray, &key, "it is of events that are not there yet");
        }
        for pairs in [&mut self.keys, &mut self.bodies] {
            if let Some(pair) = pairs.upto(u64::MAX, self.bounds, self.report) {
                pair.stray(self.report);
            }
        }
    }
}

fn tell_unfound(run: Option<(u64, u64)>, report: &mut Report) {
    let Some((from, to)) = run else { return };
    let key = keys::key(Kind::Pack, &[from]);
    let detail = format!("the delivery keys of the events `{from}` to `{to}` are in no index");
    report.find(Problem::IndexMissing, &key, detail);
}

/// Reads a payload where it lies, and unpacks it; returns how many bytes its chunks take, with their checksums.
pub(super) fn whole_payload(
    db: &::sled::Db,
    entry: &Entry,
    dictionaries: &Dictionaries,
    missing: &mut impl FnMut(Vec<u8>, String),
) -> Result<u64, ReadError> {
    let size = entry.payload_size;
    let plain = |len: usize| match u64::try_from(len) {
        Ok(len) if len == size => Ok(0),
        Ok(_) | Err(_) => {
            Err(codec::damaged(format!("a payload has `{len}` bytes instead of `{size}`")))
        }
    };
    match &entry.packed {
        Packed::Plain(bytes) => plain(bytes.len()),
        Packed::Zstd(bytes) => payload::unpack(bytes, size, dictionaries).map(|_| 0),
        Packed::Chunked { count, zstd, dead_letter } => {
            let (mut stored, mut bytes, mut is_whole) = (Vec::new(), 0, true);
            for number in 0..*count {
                let key = keys::chunk(*dead_letter, entry.event.sequence, number);
                let value = db.get(&key).map_err(db_error)?;
                let content = value.as_ref().map(|value| keys::unseal(&key, value));
                match content {
                    Some(Ok(content)) => {
                        stored.extend_from_slice(content);
                        bytes += u64::try_from(content.len() + 4).unwrap_or(u64::MAX);
                    }
                    // Its checksum was found to be wrong already.
                    Some(Err(_)) => is_whole = false,
                    None => {
                        let detail = format!("it is one of `{count}` of a payload");
                        missing(key, detail);
                        is_whole = false;
                    }
                }
            }
            match (is_whole, zstd) {
                (false, _) => {}
                (true, true) => drop(payload::unpack(&stored, size, dictionaries)?),
                (true, false) => drop(plain(stored.len())?),
            }
            Ok(bytes)
        }
    }
}

/// Returns what the log counts of an event.
fn weight(entry: &Entry, chunks: u64) -> u64 {
    let content = encoding::encode_content(&entry.event.content, entry.payload_size).len();
    let packed = codec::packed_len(&entry.packed);
    u64::try_from(content + packed).unwrap_or(u64::MAX).saturating_add(chunks)
}

/// A fingerprint and the event that it names.
struct Pair {
    row: Vec<u8>,
    day: u32,
    fingerprint: u64,
    sequence: u64,
}

impl Pair {
    fn stray(&self, report: &mut Report) {
        let detail = format!("event `{}` does not have this fingerprint", self.sequence);
        report.find(Problem::IndexStray, &self.row, detail);
    }
}

type Rows<'a> = Box<dyn Iterator<Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>> + 'a>;

/// All fingerprints of a kind, in the order of their events: times of receipt never go back.
struct Pairs<'a> {
    rows: Rows<'a>,
    read: VecDeque<Pair>,
}

impl<'a> Pairs<'a> {
    fn of(db: &'a ::sled::Db, kind: Kind) -> Self {
        Self { rows: Box::new(db.range(keys::under(kind, &[]))), read: VecDeque::new() }
    }

    fn next(&mut self) -> Option<Pair> {
        while self.read.is_empty() {
            // What can't be read is found by the pass over all rows.
            let (key, value) = self.rows.next()?.ok()?;
            let Ok(mut content) = keys::unseal(&key, &value) else { continue };
            let Ok(day) = keys::take_u32(&mut key.get(1..).unwrap_or_default()) else { continue };
            while let (Ok(fingerprint), Ok(sequence)) =
                (keys::take_u64(&mut content), keys::take_u64(&mut content))
            {
                self.read.push_back(Pair { row: key.to_vec(), day, fingerprint, sequence });
            }
        }
        self.read.pop_front()
    }

    /// Whether none is left, once one was asked for and not found.
    fn is_at_end(&self) -> bool {
        self.read.is_empty()
    }

    /// Returns the one of this event, or a later one if it is beyond the log; those before belong to no event, or to
    /// one that was trimmed.
    fn upto(&mut self, sequence: u64, bounds: Bounds, report: &mut Report) -> Option<Pair> {
        while let Some(pair) = self.next() {
            if pair.sequence == sequence {
                return Some(pair);
            }
            if sequence < pair.sequence {
                self.read.push_front(pair);
                return None;
            }
            if bounds.first <= pair.sequence {
                pair.stray(report);
            }
        }
        None
    }
}

/// The rows that say how many bytes came before.
struct Weights<'a> {
    rows: Rows<'a>,
    next: Option<(u64, u64)>,
    previous: Option<u64>,
    last_event: u64,
}

impl<'a> Weights<'a> {
    fn of(db: &'a ::sled::Db, first: u64) -> Self {
        let rows = Box::new(db.range(keys::between(Kind::Weight, &[], first..u64::MAX)));
        let mut weights = Self { rows, next: None, previous: None, last_event: 0 };
        weights.read();
        weights
    }

    fn read(&mut self) {
        self.next = self.rows.find_map(|row| {
            let (key, value) = row.ok()?;
            Some((keys::number(&key, 0).ok()?, bytes_before(&key, &value).ok()?))
        });
    }

    /// Takes in the next event and what it adds.
    fn event(&mut self, sequence: u64, bytes: u64, report: &mut Report) {
        if let Some((_, before)) = self.next.filter(|(of, _)| *of == sequence) {
            if let Some(previous) = self.previous {
                let least = previous.saturating_add(WEIGHED_EVERY);
                // It is written before the first event beyond that.
                let most = least.saturating_add(self.last_event).saturating_add(WEIGHT_SLACK);
                if !(least..most).contains(&before) {
                    let detail = format!("`{before}` bytes where `{least}` to `{most}` were due");
                    report.find(Problem::Weight, &keys::key(Kind::Weight, &[sequence]), detail);
                }
            }
            self.previous = Some(before);
            self.read();
        }
        self.last_event = bytes;
    }
}

/// Looks for chunks that no event has.
fn check_chunks(db: &::sled::Db, bounds: Bounds, report: &mut Report) -> Result<(), ReadError> {
    let reader = bounds.reader(db)?;
    let mut count_of = (0, Some(0));
    for key in db.range(keys::under(Kind::Chunk, &[])).keys() {
        let key = key.map_err(db_error)?;
        let Some(row) = table::of_key(&key).filter(|row| row.has_key(&key)) else { continue };
        let Some(sequence) = row.sequence(&key) else { continue };
        if !bounds.kept().contains(&sequence) {
            // Trimmed, or of an event whose own row was never written: removed when the store is opened.
            report.left_over += 1;
            continue;
        }
        if count_of.0 != sequence {
            // `None`: the event can't be read, which was found already.
            count_of = (sequence, chunk_count(&reader, sequence));
        }
        let number = key.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        if count_of.1.is_some_and(|count| count <= number) {
            let detail = format!("event `{sequence}` does not have it");
            report.find(Problem::ChunkOrphan, &key, detail);
        }
    }
    Ok(())
}

fn chunk_count(reader: &Reader<'_>, sequence: u64) -> Option<u32> {
    match reader.entry(sequence).ok()??.packed {
        Packed::Chunked { count, .. } => Some(count),
        Packed::Plain(_) | Packed::Zstd(_) => Some(0),
    }
}

/// Whether the log has this event.
pub(super) fn has(bounds: Bounds, sequence: Sequence) -> bool {
    bounds.kept().contains(&sequence.get())
}

/// Returns the content of a row, if it is there and whole.
pub(super) fn content(db: &::sled::Db, key: &[u8]) -> Option<Bytes> {
    draft::get(db, key).ok().flatten()
}
