//! Entries that were read and not handed out yet.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hookline_core::event::Sequence;

use crate::{
    limits::{AHEAD_BYTES_ALL_MAX, AHEAD_BYTES_MAX},
    store::Entry,
};

/// How many bytes all subscriptions together keep of what they have read ahead.
#[derive(Debug, Default)]
pub(in crate::broker) struct AheadBudget(AtomicUsize);

/// What one subscription keeps. What does not fit is read again when it is handed out.
#[derive(Debug)]
pub(super) struct ReadAhead {
    entries: BTreeMap<Sequence, Arc<Entry>>,
    bytes: usize,
    all: Arc<AheadBudget>,
}

impl ReadAhead {
    pub(super) fn new(all: Arc<AheadBudget>) -> Self {
        Self { entries: BTreeMap::new(), bytes: 0, all }
    }

    pub(super) fn keep(&mut self, entry: Arc<Entry>) {
        let bytes = entry.stored_bytes();
        let of_all = self.all.0.load(Ordering::Relaxed);
        if self.bytes + bytes <= AHEAD_BYTES_MAX
            && of_all + bytes <= AHEAD_BYTES_ALL_MAX
            && self.entries.insert(entry.event.sequence, entry).is_none()
        {
            self.bytes += bytes;
            self.all.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn take(&mut self, sequence: Sequence) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(&sequence)?;
        let bytes = entry.stored_bytes();
        self.bytes -= bytes;
        self.all.0.fetch_sub(bytes, Ordering::Relaxed);
        Some(entry)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.all.0.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.clear();
    }
}
