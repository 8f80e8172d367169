//! The log: how events are prepared by their callers, given their places by the writer, and read by anybody.

use std::sync::Arc;

use bytes::Bytes;
use hookline_core::{
    delivery::Creation,
    event::{Event, EventId, NewEvent, Sequence},
    time::Timestamp,
};

use super::{
    super::{
        Entry, Packed, ReadError, ReadLimit, codec,
        codec::damaged,
        dictionary::{self, Dictionaries, Dictionary},
        payload,
        select::{Direction, Found, INDEX_WORK, Walk},
    },
    db_error, dedupe, draft,
    index::{self, Marks},
    keys::{self, Kind},
    pack::Pack,
    tail::{FRESH_PAYLOAD_BYTES_MAX, Room, take_within},
};
use crate::encoding;

/// The size of a chunk, and up to which a stored payload lies with its event: larger values are rewritten with their
/// neighbours whenever one of them is.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// How much the payloads of one call may take in its events' own rows, which are written in one batch; beyond it,
/// all but small ones go into chunks.
const CALL_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What is small then.
const SMALL_BYTES: usize = 4 * 1024;

/// An event of which everything is done that can be done before it has its place.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) content: NewEvent,
    pub(super) payload_size: u64,
    pub(super) packed: Packed,
    /// The payload as it came, if it is compressed and small: [`super::tail`] keeps it for a while.
    pub(super) fresh: Option<Bytes>,
    /// As [`encoding::encode_content`] returns it.
    pub(super) encoded: Vec<u8>,
    /// Sealed values.
    pub(super) chunks: Vec<Vec<u8>>,
    /// How many bytes it adds to the log, without indexes.
    pub(super) weight: u64,
    pub(super) fingerprint: Option<u64>,
    pub(super) body_fingerprint: Option<u64>,
    pub(super) marks: Marks,
    pub(super) random: [u8; 10],
    /// What reading its payload needs.
    pub(super) dictionary: Option<Arc<Dictionary>>,
}

impl Prepared {
    /// Returns about how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::len).sum();
        let fresh = self.fresh.as_ref().map_or(0, Bytes::len);
        2 * self.bytes_in_pack() + chunks + fresh
    }

    /// Returns how many bytes it adds to a pack, without its place.
    pub(super) fn bytes_in_pack(&self) -> usize {
        self.encoded.len() + codec::packed_len(&self.packed)
    }
}

/// Compresses and encodes events.
pub(super) fn prepare(events: Vec<NewEvent>, dictionaries: &Dictionaries) -> Vec<Prepared> {
    let payload_bytes: usize = events.iter().map(|event| event.payload.len()).sum();
    let pack = |event: &NewEvent| {
        // What may lie in chunks needs no dictionary: those of dead letters are copied as they are.
        let may_be_chunked =
            dictionary::PAYLOAD_BYTES_MAX < event.payload.len() || CALL_BYTES_MAX < payload_bytes;
        let dictionary = match may_be_chunked {
            true => None,
            false => dictionaries.of_source(&event.source),
        };
        (payload::pack(&event.payload, dictionary.as_deref()), dictionary)
    };
    let packed: Vec<_> = events.iter().map(pack).collect();
    let total: usize = packed.iter().map(|(packed, _)| packed_bytes(packed)).sum();
    let inline_max = if total <= CALL_BYTES_MAX { CHUNK_BYTES } else { SMALL_BYTES };
    let each = events.into_iter().zip(packed);
    each.map(|(event, (packed, dictionary))| Prepared {
        dictionary,
        ..prepare_one(event, packed, inline_max)
    })
    .collect()
}

fn packed_bytes(packed: &Packed) -> usize {
    match packed {
        Packed::Plain(bytes) | Packed::Zstd(bytes) => bytes.len(),
        Packed::Chunked { .. } => 0,
    }
}

fn prepare_one(mut content: NewEvent, packed: Packed, inline_max: usize) -> Prepared {
    let payload_size = u64::try_from(content.payload.len()).expect("a length fits 64 bits");
    let payload = std::mem::take(&mut content.payload);
    let is_fresh = matches!(packed, Packed::Zstd(_)) && payload.len() <= FRESH_PAYLOAD_BYTES_MAX;
    // A copy, so that it does not keep alive the large body that it is a part of.
    let fresh = is_fresh.then(|| Bytes::copy_from_slice(&payload));
    let (packed, chunks) = match packed {
        Packed::Plain(bytes) if bytes.len() > inline_max => split(&bytes, false),
        Packed::Zstd(bytes) if bytes.len() > inline_max => split(&bytes, true),
        small @ (Packed::Plain(_) | Packed::Zstd(_) | Packed::Chunked { .. }) => {
            (small, Vec::new())
        }
    };
    let encoded = encoding::encode_content(&content, payload_size);
    let in_chunks: usize = chunks.iter().map(Vec::len).sum();
    let weight = encoded.len() + codec::packed_len(&packed) + in_chunks;
    let weight = u64::try_from(weight).expect("a length fits 64 bits");
    let fingerprint = dedupe::fingerprint(&content);
    let body_fingerprint = dedupe::body_fingerprint(&content);
    let (marks, random) = (Marks::of(&content), random());
    Prepared {
        content,
        payload_size,
        packed,
        fresh,
        encoded,
        chunks,
        weight,
        fingerprint,
        body_fingerprint,
        marks,
        random,
        dictionary: None,
    }
}

fn split(bytes: &[u8], zstd: bool) -> (Packed, Vec<Vec<u8>>) {
    let chunks: Vec<_> = bytes.chunks(CHUNK_BYTES).map(|chunk| keys::seal(&[chunk])).collect();
    let count = u32::try_from(chunks.len()).expect("a payload has fewer than 2^48 bytes");
    (Packed::Chunked { count, zstd, dead_letter: None }, chunks)
}

/// Returns ten random bytes: those of a random UUID that are not fixed by its version.
fn random() -> [u8; 10] {
    let [a, b, c, d, e, f, _, _, _, g, h, i, j, ..] = *uuid::Uuid::new_v4().as_bytes();
    [a, b, c, d, e, f, g, h, i, j]
}

/// Gives a prepared event its place.
pub(super) fn entry(prepared: Prepared, id: EventId, sequence: Sequence, at: Timestamp) -> Entry {
    let content = NewEvent { replay_window: None, ..prepared.content };
    Entry {
        payload_size: prepared.payload_size,
        packed: prepared.packed,
        event: Event { id, sequence, received_at: at, content },
    }
}

/// A pack, and what is in it.
type Unpacked = (Pack, Vec<Arc<Entry>>);

/// The log as it was durable at one moment.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) db: &'a ::sled::Db,
    /// The first sequence that is kept.
    pub(super) first: Sequence,
    /// The last that is durable.
    pub(super) head: u64,
}

impl Reader<'_> {
    /// Returns the pack that holds this event, if one does.
    pub(super) fn pack_of(&self, sequence: u64) -> Result<Option<Pack>, ReadError> {
        let range = keys::key(Kind::Pack, &[0])..=keys::key(Kind::Pack, &[sequence]);
        let Some(row) = self.db.range(range).next_back() else { return Ok(None) };
        let (key, value) = row.map_err(db_error)?;
        let pack = Pack::read(&key, value)?;
        Ok((sequence <= pack.last()).then_some(pack))
    }

    fn missing(sequence: u64) -> ReadError {
        damaged(format!("event `{sequence}` is missing"))
    }

    /// Returns the pack that must hold this event, and what is in it.
    fn pack_with(&self, sequence: u64) -> Result<Unpacked, ReadError> {
        let pack = self.pack_of(sequence)?.ok_or_else(|| Self::missing(sequence))?;
        let entries = pack.entries()?;
        Ok((pack, entries))
    }

    /// As [`Self::pack_with`]. `None`: it was trimmed since this reader was made, or is damaged or lost, but what was taken
    /// before it can be read.
    fn pack_beyond(
        &self,
        taken: &[Arc<Entry>],
        sequence: u64,
    ) -> Result<Option<Unpacked>, ReadError> {
        match self.pack_with(sequence) {
            Err(ReadError::Damaged(_)) if !taken.is_empty() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Returns one entry.
    pub(super) fn entry(&self, sequence: u64) -> Result<Option<Arc<Entry>>, ReadError> {
        if sequence < self.first.get() || sequence > self.head {
            return Ok(None);
        }
        let (_, entries) = self.pack_with(sequence)?;
        Ok(entries.into_iter().find(|entry| entry.event.sequence.get() == sequence))
    }

    /// Reads forward what follows `after`.
    pub(super) fn read(&self, after: u64, limit: ReadLimit) -> Result<Vec<Arc<Entry>>, ReadError> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let mut next = (after + 1).max(self.first.get());
        while next <= self.head && limit.count > 0 {
            let Some((pack, entries)) = self.pack_beyond(&taken, next)? else { break };
            let wanted = entries
                .into_iter()
                .filter(|entry| (next..=self.head).contains(&entry.event.sequence.get()));
            if take_within(wanted, limit, &mut taken, &mut bytes) == Room::Full {
                break;
            }
            next = pack.last() + 1;
        }
        Ok(taken)
    }

    /// Reads backward what precedes `before`.
    pub(super) fn read_back(
        &self,
        before: Sequence,
        limit: ReadLimit,
    ) -> Result<Vec<Arc<Entry>>, ReadError> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let mut next = (before.get() - 1).min(self.head);
        while next >= self.first.get() && limit.count > 0 {
            let Some((pack, entries)) = self.pack_beyond(&taken, next)? else { break };
            let wanted = entries
                .into_iter()
                .rev()
                .filter(|entry| (self.first.get()..=next).contains(&entry.event.sequence.get()));
            if take_within(wanted, limit, &mut taken, &mut bytes) == Room::Full {
                break;
            }
            next = pack.first - 1;
        }
        Ok(taken)
    }

    /// Walks through a range for what is wanted of it; notes the complete blocks that have no row of the index.
    pub(super) fn select(&self, walk: &Walk, unindexed: &mut Vec<u64>) -> Result<Found, ReadError> {
        let mut found = Found { entries: Vec::new(), rest: walk.range.clone(), work: 0 };
        found.rest.start = found.rest.start.max(self.first.get());
        found.rest.end = found.rest.end.min(self.head.saturating_add(1));
        let mut bytes = 0;
        while !found.rest.is_empty() && found.work < walk.work {
            let block = index::block_of(match walk.direction {
                Direction::Forward => found.rest.start,
                Direction::Backward => found.rest.end - 1,
            });
            let all = index::sequences_of(block);
            let range = found.rest.start.max(all.start)..found.rest.end.min(all.end);
            found.work += INDEX_WORK;
            let candidates = match self.index_row(block)? {
                Some(row) => row.candidates(block, &range, &walk.selection),
                None => {
                    if all.end <= self.head.saturating_add(1) && self.first.get() <= all.start {
                        unindexed.push(block);
                    }
                    range.clone().collect()
                }
            };
            if self.take_candidates(walk, candidates, &mut found, &mut bytes)? == Room::Full {
                return Ok(found);
            }
            match walk.direction {
                Direction::Forward => found.rest.start = range.end,
                Direction::Backward => found.rest.end = range.start,
            }
        }
        Ok(found)
    }

    /// Takes of these what is wanted; says whether there is room for more. If not, `found.rest` is what lies behind the last.
    fn take_candidates(
        &self,
        walk: &Walk,
        mut candidates: Vec<u64>,
        found: &mut Found,
        bytes: &mut usize,
    ) -> Result<Room, ReadError> {
        if walk.direction == Direction::Backward {
            candidates.reverse();
        }
        let mut candidates = candidates.into_iter().peekable();
        while let Some(first) = candidates.peek().copied() {
            let (pack, entries) = self.pack_with(first)?;
            found.work += entries.len();
            while let Some(sequence) =
                candidates.next_if(|of| (pack.first..=pack.last()).contains(of))
            {
                let place = usize::try_from(sequence - pack.first).ok();
                let entry = place.and_then(|place| entries.get(place));
                let entry = entry.ok_or_else(|| Self::missing(sequence))?;
                if !walk.selection.takes(&entry.event.content) {
                    continue;
                }
                let one = std::iter::once(Arc::clone(entry));
                if take_within(one, walk.limit, &mut found.entries, bytes) == Room::Full {
                    found.rest =
                        Walk { range: found.rest.clone(), ..walk.clone() }.rest_behind(sequence);
                    return Ok(Room::Full);
                }
            }
        }
        Ok(Room::Left)
    }

    /// Returns the row of the index for a block; `None` if there is none that can be read.
    fn index_row(&self, block: u64) -> Result<Option<index::Row>, ReadError> {
        let row = draft::get(self.db, &keys::key(Kind::Index, &[block]));
        match row.and_then(|row| row.map(index::Row::decode_from).transpose()) {
            // The events themselves tell: a row is made anew.
            Err(ReadError::Damaged(_)) => Ok(None),
            read => read,
        }
    }

    /// Returns the row of the index for a block, made of its events; `None` if not all of them are there.
    pub(super) fn make_index_row(&self, block: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let mut filling = index::Filling::default();
        let mut next = index::sequences_of(block).start;
        while next < index::sequences_of(block).end {
            let Some(pack) = self.pack_of(next)? else { return Ok(None) };
            for entry in pack.entries()? {
                let sequence = entry.event.sequence.get();
                if sequence < next {
                    continue;
                }
                let content = &entry.event.content;
                if let Some(row) = filling.push(sequence, content, Marks::of(content)) {
                    return Ok(Some(row));
                }
                next = sequence + 1;
            }
        }
        Ok(None)
    }

    /// Returns the position of the first event received at or after `time`: times never go back, so it is searched
    /// for by halves.
    pub(super) fn position_at(&self, time: Timestamp) -> Result<Sequence, ReadError> {
        let (mut low, mut high) = (self.first.get(), self.head + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let pack = self.pack_of(middle)?.ok_or_else(|| Self::missing(middle))?;
            if time <= pack.first_received {
                high = pack.first.max(low);
            } else if pack.last_received < time {
                low = pack.last() + 1;
            } else {
                let entries = pack.entries()?;
                let found = entries.iter().find(|entry| entry.event.received_at >= time);
                let found =
                    found.map_or_else(|| pack.last() + 1, |entry| entry.event.sequence.get());
                low = found.max(low);
                break;
            }
        }
        codec::sequence(low.min(self.head + 1))
    }

    /// Returns the last known position before which no more than these bytes were ever appended.
    pub(super) fn position_of_weight(&self, bytes: u64) -> Result<Sequence, ReadError> {
        let mut position = self.first;
        for row in self.db.range(keys::between(Kind::Weight, &[], self.first.get()..u64::MAX)) {
            let (key, value) = row.map_err(db_error)?;
            // Without a damaged one a MiB more is kept.
            let Ok(before) = bytes_before(&key, &value) else { continue };
            if bytes < before {
                break;
            }
            position = codec::sequence(keys::number(&key, 0)?.min(self.head + 1))?;
        }
        Ok(position)
    }

    /// Finds an event by its id, which begins with the milliseconds of its receipt.
    pub(super) fn find(&self, id: EventId) -> Result<Option<Arc<Entry>>, ReadError> {
        let millis = id.unix_millis();
        let time = i64::try_from(millis).ok().and_then(Timestamp::from_millis);
        let Some(time) = time else { return Ok(None) };
        let mut after = self.position_at(time)?.get() - 1;
        loop {
            let page = self.read(after, ReadLimit { count: 256, bytes: 1024 * 1024 })?;
            for entry in &page {
                if entry.event.id == id {
                    return Ok(Some(Arc::clone(entry)));
                }
                if entry.event.id.unix_millis() > millis {
                    return Ok(None);
                }
            }
            let Some(last) = page.last() else { return Ok(None) };
            after = last.event.sequence.get();
        }
    }

    /// Returns the chunks of a payload, put together.
    pub(super) fn chunks(
        &self,
        dead_letter: Option<Creation>,
        sequence: Sequence,
        count: u32,
    ) -> Result<Vec<u8>, ReadError> {
        let mut stored = Vec::new();
        for number in 0..count {
            stored.extend(chunk(self.db, dead_letter, sequence, number)?);
        }
        Ok(stored)
    }
}

/// Returns how many bytes of events were appended before that of a row of [`Kind::Weight`].
pub(super) fn bytes_before(key: &[u8], value: &[u8]) -> Result<u64, ReadError> {
    keys::take_u64(&mut keys::unseal(key, value)?)
}

/// Returns one chunk of a payload.
pub(super) fn chunk(
    db: &::sled::Db,
    dead_letter: Option<Creation>,
    sequence: Sequence,
    number: u32,
) -> Result<Bytes, ReadError> {
    let chunk = draft::get(db, &keys::chunk(dead_letter, sequence, number))?;
    chunk.ok_or_else(|| damaged(format!("chunk `{number}` of event `{sequence}` is missing")))
}
