//! What a store tells of itself.

use std::sync::Arc;

use crate::{
    metrics::{Histogram, Measured, Text, family},
    store::{BoxFuture, EventLog},
};

/// How long writes took since the start.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Appends: the wait for the writer, and the commit.
    pub append: Histogram,
    /// Commits of ledgers: the same.
    pub commit: Histogram,
    /// What of a commit was the disk's.
    pub sync: Histogram,
}

/// What a store takes of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// The bytes of its files.
    pub used: u64,
    /// The free bytes of the disk.
    pub free: u64,
    /// All bytes of the disk.
    pub size: u64,
    /// Whether events are refused since too little is free.
    pub is_full: bool,
}

/// What a log tells to Prometheus.
#[derive(Debug)]
pub struct OfLog(pub Arc<dyn EventLog>);

impl Measured for OfLog {
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (first, head) = (self.0.first().get(), *self.0.head().borrow());
            text.single(&family::LOG_FIRST, first);
            text.single(&family::LOG_HEAD, head);
            text.single(&family::LOG_EVENTS, (head + 1).saturating_sub(first));
            if let Some(latencies) = self.0.latencies() {
                text.histogram(&family::LOG_APPEND, &latencies.append);
                text.histogram(&family::LEDGER_COMMIT, &latencies.commit);
                text.histogram(&family::STORE_SYNC, &latencies.sync);
            }
            if let Some(disk) = self.0.disk().await {
                text.single(&family::STORE_BYTES, disk.used);
                text.single(&family::STORE_FREE, disk.free);
                text.single(&family::STORE_DISK, disk.size);
                text.single(&family::STORE_FULL, u8::from(disk.is_full));
            }
        })
    }
}
