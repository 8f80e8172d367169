//! The newest durable events in memory, so that those who follow the log never read the disk.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use hookline_core::event::{EventId, Sequence};
use parking_lot::RwLock;

use super::super::{Entry, ReadLimit};

/// How much is kept: some seconds of full load.
const TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many are kept, whatever they weigh.
const TAIL_COUNT_MAX: usize = 16 * 1024;

/// How large a payload may be that is kept as it came.
pub(super) const FRESH_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// How much is kept of payloads as they came.
const FRESH_BYTES_MAX: usize = 1024 * 1024;

/// The newest entries, without gaps up to the head; and the payloads of the very newest, so that who gets them at once need
/// not decompress what was compressed a moment ago.
#[derive(Debug, Default)]
pub(super) struct Tail(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    /// Of the newest entries, in the same order.
    fresh: VecDeque<Option<Bytes>>,
    fresh_bytes: usize,
}

impl State {
    fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.event.sequence.get())
    }

    fn refresh(&mut self, payload: Option<Bytes>) {
        let size = |payload: &Option<Bytes>| payload.as_ref().map_or(0, Bytes::len);
        self.fresh_bytes += size(&payload);
        self.fresh.push_back(payload);
        while self.fresh_bytes > FRESH_BYTES_MAX || self.fresh.len() > self.entries.len() {
            let Some(oldest) = self.fresh.pop_front() else { break };
            self.fresh_bytes -= size(&oldest);
        }
    }
}

/// Takes entries until the limit is reached; at least one.
pub(super) fn take_within(
    entries: impl Iterator<Item = Arc<Entry>>,
    limit: ReadLimit,
    taken: &mut Vec<Arc<Entry>>,
    bytes: &mut usize,
) -> Room {
    for entry in entries {
        *bytes = bytes.saturating_add(entry.stored_bytes());
        taken.push(entry);
        if taken.len() >= limit.count || *bytes > limit.bytes {
            return Room::Full;
        }
    }
    Room::Left
}

/// Whether a limit leaves room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    Full,
}

impl Tail {
    /// Adds what was committed, each entry with its payload as it came.
    pub(super) fn extend(&self, committed: Vec<(Arc<Entry>, Option<Bytes>)>) {
        let mut state = self.0.write();
        for (entry, payload) in committed {
            state.bytes += entry.stored_bytes();
            state.entries.push_back(entry);
            while state.bytes > TAIL_BYTES_MAX || state.entries.len() > TAIL_COUNT_MAX {
                let Some(oldest) = state.entries.pop_front() else { break };
                state.bytes -= oldest.stored_bytes();
            }
            state.refresh(payload);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        *self.0.write() = State::default();
    }

    /// Returns what follows `after`, if all of it that the log holds is here; `None`: read the log.
    pub(super) fn read(&self, after: u64, limit: ReadLimit) -> Option<Vec<Arc<Entry>>> {
        let state = self.0.read();
        let skip = (after + 1).checked_sub(state.first()?)?;
        let skip = usize::try_from(skip).ok()?;
        let mut taken = Vec::new();
        take_within(state.entries.iter().skip(skip).map(Arc::clone), limit, &mut taken, &mut 0);
        Some(taken)
    }

    /// Whether all that the log holds from here on is here.
    pub(super) fn reaches(&self, sequence: u64) -> bool {
        self.0.read().first().is_some_and(|first| first <= sequence)
    }

    /// Returns one entry, if it is here.
    pub(super) fn entry(&self, sequence: u64) -> Option<Arc<Entry>> {
        let state = self.0.read();
        let place = usize::try_from(sequence.checked_sub(state.first()?)?).ok()?;
        state.entries.get(place).map(Arc::clone)
    }

    /// Returns a payload, if it is still here as it came.
    pub(super) fn payload(&self, sequence: Sequence) -> Option<Bytes> {
        let state = self.0.read();
        let last = state.entries.back()?.event.sequence.get();
        let from_end = usize::try_from(last.checked_sub(sequence.get())?).ok()?;
        let place = state.fresh.len().checked_sub(from_end + 1)?;
        state.fresh.get(place)?.clone()
    }

    /// Returns the entry with this id; `None` also where only the log can tell.
    pub(super) fn find(&self, id: EventId) -> Option<Arc<Entry>> {
        let state = self.0.read();
        let millis = id.unix_millis();
        let before = |entry: &Arc<Entry>| entry.event.id.unix_millis() < millis;
        let from = state.entries.partition_point(before);
        let same = state.entries.iter().skip(from);
        let mut same = same.take_while(|entry| entry.event.id.unix_millis() == millis);
        same.find(|entry| entry.event.id == id).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use hookline_core::{event::Event, time::Timestamp};

    use super::{
        super::{super::Packed, tests::event},
        *,
    };

    fn sequence(n: u64) -> Sequence {
        Sequence::new(n).unwrap()
    }

    fn entry(n: u64) -> Arc<Entry> {
        let id = EventId::new(Timestamp::EPOCH, [0; 10]);
        let content = event("", Bytes::new());
        let event = Event { id, sequence: sequence(n), received_at: Timestamp::EPOCH, content };
        Arc::new(Entry { event, payload_size: 0, packed: Packed::Zstd(Bytes::new()) })
    }

    fn payload(n: u64, len: usize) -> Bytes {
        vec![u8::try_from(n % 251).unwrap(); len].into()
    }

    #[test]
    fn payloads_of_the_newest_are_there_as_they_came() {
        const LEN: usize = 60_000;
        let tail = Tail::default();
        assert_eq!(tail.payload(sequence(1)), None);
        let room = u64::try_from(FRESH_BYTES_MAX / LEN).unwrap();
        for n in 1..=2 * room {
            tail.extend(vec![(entry(n), Some(payload(n, LEN)))]);
        }
        for n in 1..=2 * room {
            assert_eq!(tail.payload(sequence(n)), (room < n).then(|| payload(n, LEN)), "{n}");
        }
        assert_eq!(tail.payload(sequence(2 * room + 1)), None);
        assert!(tail.reaches(1), "their entries stay");
        tail.clear();
        assert_eq!(tail.payload(sequence(2 * room)), None);
    }

    #[test]
    fn what_has_no_fresh_payload_stands_in_nobodys_way() {
        let tail = Tail::default();
        tail.extend(vec![(entry(5), None), (entry(6), Some(payload(6, 10))), (entry(7), None)]);
        for (n, found) in [(4, None), (5, None), (6, Some(payload(6, 10))), (7, None), (8, None)] {
            assert_eq!(tail.payload(sequence(n)), found, "{n}");
        }
        // No more of them than of entries, however small.
        let last = 7 + u64::try_from(TAIL_COUNT_MAX).unwrap();
        for n in 8..=last {
            tail.extend(vec![(entry(n), Some(payload(n, 1)))]);
        }
        assert_eq!(tail.payload(sequence(6)), None);
        assert_eq!(tail.0.read().fresh.len(), TAIL_COUNT_MAX);
        assert_eq!(tail.payload(sequence(8)), Some(payload(8, 1)));
    }
}
