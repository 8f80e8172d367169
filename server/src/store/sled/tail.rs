//! The newest durable events in memory, so that those who follow the log never read the disk.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::RwLock;

use super::super::{Entry, ReadLimit};

/// How much is kept: some seconds of full load.
const TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many are kept, whatever they weigh.
const TAIL_COUNT_MAX: usize = 16 * 1024;

/// The newest entries, without gaps up to the head.
#[derive(Debug, Default)]
pub(super) struct Tail(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl State {
    fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.event.sequence.get())
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
    /// Adds what was committed.
    pub(super) fn extend(&self, committed: Vec<Arc<Entry>>) {
        let mut state = self.0.write();
        for entry in committed {
            state.bytes += entry.stored_bytes();
            state.entries.push_back(entry);
            while state.bytes > TAIL_BYTES_MAX || state.entries.len() > TAIL_COUNT_MAX {
                let Some(oldest) = state.entries.pop_front() else { break };
                state.bytes -= oldest.stored_bytes();
            }
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

    /// Returns the entry with this id; `None` also where only the log can tell.
    pub(super) fn find(&self, id: hookline_core::event::EventId) -> Option<Arc<Entry>> {
        let state = self.0.read();
        let millis = id.unix_millis();
        let before = |entry: &Arc<Entry>| entry.event.id.unix_millis() < millis;
        let from = state.entries.partition_point(before);
        let same = state.entries.iter().skip(from);
        let mut same = same.take_while(|entry| entry.event.id.unix_millis() == millis);
        same.find(|entry| entry.event.id == id).map(Arc::clone)
    }
}
