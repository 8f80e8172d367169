//! Where events and the facts about their deliveries are kept: two traits and their implementations.
//!
//! [`EventLog`] is the log of events, [`Ledger`] holds the durable facts of each subscription. The embedded store
//! commits both at once, and nothing may rely on it: a replicated log and ledger implement the same traits and pass the
//! same conformance tests. Over a network an append may answer `Unavailable`, a read may find a sequence missing for a
//! moment, and a commit may take seconds; so the callers are written.

pub mod sled;

pub mod memory;

pub mod export;
pub mod select;

mod payload;

mod dictionary;

mod codec;

mod measures;

#[cfg(test)]
mod conformance;

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use hookline_core::{
    delivery::{
        Background, Change, Creation, DeadLetter, Epoch, Past, Pause, Policy, SequenceSet, Snapshot,
    },
    event::{Event, EventId, NewEvent, Sequence, SubscriptionName},
    pattern::PatternSet,
    time::Timestamp,
};
use tokio::sync::watch;

use self::select::{Found, Walk};
pub use self::{
    export::Export,
    measures::{DiskUse, Latencies, OfLog},
};

/// What an async method of a store returns: a boxed future, so that the traits can be used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The log of events. Cheap to share; all methods may be called at once from many tasks.
pub trait EventLog: Debug + Send + Sync + 'static {
    /// Appends events, all in one commit, in their order, next to each other; durable when it returns.
    ///
    /// An event whose `delivery_key` is not empty, and which the log has taken from the same source within the dedupe
    /// window (7 days), is not appended: the answer names the first one. The same holds for two in one call and for
    /// two calls at once. `received_at` is the wall clock's time of receipt; what is written never goes back.
    ///
    /// Payloads are compressed on the caller's task. Dropping the future does not undo the append.
    fn append(
        &self,
        events: Vec<NewEvent>,
        received_at: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>>;

    /// Reads entries in order: those with `range.after < sequence`, as far as the limits allow. Empty where the log
    /// ends; entries before the first that is kept are passed over. Never returns what is not durable.
    fn read(&self, range: ReadRange) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>>;

    /// As [`EventLog::read`], backwards: those with `sequence < before`, newest first.
    fn read_back(
        &self,
        before: Sequence,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Entry>>, ReadError>>;

    /// Walks through a range of the log for what is wanted of it. A log with an index reads little else; without one it
    /// reads the whole range. Work is bounded by the walk's: what was not looked at is the rest, and may be walked next.
    fn select(&self, walk: Walk) -> BoxFuture<'_, Result<Found, ReadError>> {
        Box::pin(select::scan(self, walk))
    }

    /// Returns the payload of an entry, also of a dead letter's ([`Ledger::dead_letter`]), whose bytes the row keeps.
    fn payload(&self, entry: &Entry) -> BoxFuture<'_, Result<Bytes, ReadError>>;

    /// Returns the entry with this id, or `None`.
    fn find(&self, id: EventId) -> BoxFuture<'_, Result<Option<Arc<Entry>>, ReadError>>;

    /// Returns the position of the first kept event received at or after `time`; the one after the head if there is
    /// none.
    fn position_at(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence, ReadError>>;

    /// Returns the sequence of the newest durable event, 0 if there is none, and its changes. It moves only after the
    /// sync.
    fn head(&self) -> watch::Receiver<u64>;

    /// Returns the sequence of the first event that is kept; that of the next to come if there is none.
    fn first(&self) -> Sequence;

    /// Returns a position from which on the log takes `bytes` as it is stored, payloads compressed and without indexes:
    /// the newest one that is known, so that up to a MiB more may lie beyond it. The first that is kept if all of it
    /// takes less.
    fn position_of_newest(&self, bytes: u64) -> BoxFuture<'_, Result<Sequence, ReadError>>;

    /// Returns whether events are taken now, as far as it is known without trying.
    fn condition(&self) -> Condition {
        Condition::Open
    }

    /// Removes the events before `before`.
    fn trim(&self, before: Sequence) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Returns how long writes took since the start, if it is measured.
    fn latencies(&self) -> Option<&Latencies> {
        None
    }

    /// Returns what the store takes of its disk, as it was a few seconds ago at most; `None` where it has no disk, or that
    /// can't be looked at.
    fn disk(&self) -> BoxFuture<'_, Option<DiskUse>> {
        Box::pin(std::future::ready(None))
    }
}

/// The durable facts of subscriptions.
pub trait Ledger: Debug + Send + Sync + 'static {
    /// Creates a subscription, durable when it returns, whose snapshot is [`Snapshot::starting_after`] the config's
    /// `start_after`.
    fn create(&self, config: SubscriptionConfig) -> BoxFuture<'_, Result<Creation, CreateError>>;

    /// Deletes a subscription with all its facts and dead letters; durable when it returns. Deleting what is not there
    /// does nothing.
    fn delete(&self, creation: Creation) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Returns all subscriptions, by name.
    fn subscriptions(
        &self,
    ) -> BoxFuture<'_, Result<Vec<(Creation, SubscriptionConfig)>, ReadError>>;

    /// Opens a subscription's ledger: what was committed so far, and a new epoch, which fences earlier owners. The epoch
    /// is durable when it returns. It is also how an owner recovers after a failed commit.
    fn open(&self, creation: Creation) -> BoxFuture<'_, Result<(Epoch, Snapshot), CommitError>>;

    /// Writes changes in one commit: all or none, durable when it returns. Of the deliveries that retention gives up with
    /// it, the last one's row alone is to be announced, for all of them.
    ///
    /// After any error but `Fenced` it is not known whether they are written: the owner opens the ledger again.
    fn commit(
        &self,
        creation: Creation,
        epoch: Epoch,
        commit: Commit,
    ) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Returns how a delivery ended by an ack or a newer event, and what had happened to it before, as far as that is still
    /// kept: as long as the events. Of what was open when the subscription's position was moved the failed attempts are kept.
    fn past(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Past, ReadError>>;

    /// Returns which deliveries beyond `after` and up to `through` were acked or replaced, if that is still kept.
    fn ended_between(
        &self,
        creation: Creation,
        after: u64,
        through: u64,
    ) -> BoxFuture<'_, Result<SequenceSet, ReadError>>;

    /// Returns what happened to an open delivery before; empty if nothing did, or if it is not open.
    fn background(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Background, ReadError>>;

    /// Returns dead letters of one subscription in the order of the log, after a sequence (0: from the first), as far
    /// as the limits allow. Redriven ones are passed over.
    fn dead_letters(
        &self,
        creation: Creation,
        range: ReadRange,
    ) -> BoxFuture<'_, Result<Vec<DeadRow>, ReadError>>;

    /// Returns the row of a dead letter, also of one that was redriven and is open again.
    fn dead_letter(
        &self,
        creation: Creation,
        sequence: Sequence,
    ) -> BoxFuture<'_, Result<Option<DeadRow>, ReadError>>;

    /// Returns rows that are not marked announced, of all subscriptions, at most `count`.
    fn unannounced(&self, count: usize) -> BoxFuture<'_, Result<Vec<DeadRow>, ReadError>>;

    /// Marks rows as announced, each named by subscription, sequence and generation; one that has changed since is
    /// passed over.
    fn mark_announced(
        &self,
        rows: Vec<(Creation, Sequence, u32)>,
    ) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Returns the key that lease ids are sealed with: made at random when the store was made.
    fn seal_key(&self) -> [u8; 32];

    /// Returns the last time that was written, in an event or in a commit. A steady clock begins no earlier.
    fn last_written_at(&self) -> Timestamp;
}

/// Whether a log takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    Open,
    /// Its disk is too full. Commits to ledgers go on.
    Full,
    /// A write has failed, and it is not open again yet.
    Failed,
}

/// What became of one appended event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The event's id; of a duplicate, the first one's.
    pub id: EventId,
    /// Its position; of a duplicate, the first one's.
    pub sequence: Sequence,
    /// Whether the log had it already.
    pub duplicate: bool,
    /// Whether it was known by its body alone: a duplicate under another delivery key.
    pub replayed: bool,
}

/// An event as it lies in the log: its payload apart, so that matching never touches it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The event, with an empty payload.
    pub event: Event,
    /// The size of the payload in bytes.
    pub payload_size: u64,
    /// The payload as it is stored.
    pub packed: Packed,
}

impl Entry {
    /// Returns the entry as a dead letter keeps it that retention has made: its payload is gone, and its size still said.
    #[must_use]
    pub fn without_payload(&self) -> Self {
        Self { packed: Packed::Plain(Bytes::new()), ..self.clone() }
    }

    /// Returns about how many bytes the entry takes, in memory as on disk, without chunks.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        let content = &self.event.content;
        let metadata: usize =
            content.metadata.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
        let payload = match &self.packed {
            Packed::Plain(bytes) | Packed::Zstd(bytes) => bytes.len(),
            Packed::Chunked { .. } => 0,
        };
        let texts = [&content.actor, &content.resource_type, &content.resource_id];
        let texts: usize = texts.map(|text| text.len()).iter().sum();
        ENTRY_BYTES + texts + content.delivery_key.len() + metadata + payload
    }
}

/// What an entry takes beside its texts and its payload.
const ENTRY_BYTES: usize = 256;

/// A payload as it is stored. Only stores look inside.
#[derive(Clone, Debug, PartialEq)]
pub enum Packed {
    /// As it is.
    Plain(Bytes),
    /// Compressed by zstd.
    Zstd(Bytes),
    /// In this many chunks under keys of their own, of the log's or of a dead letter's.
    Chunked {
        /// How many.
        count: u32,
        /// Whether the chunks together are compressed by zstd.
        zstd: bool,
        /// The dead letter that keeps them; `None`: the log does.
        dead_letter: Option<Creation>,
    },
}

/// Which entries to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// Only entries beyond this sequence; 0: from the first.
    pub after: u64,
    /// How much at most.
    pub limit: ReadLimit,
}

/// How much to read. At least one entry is read, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// At most this many entries, from 1.
    pub count: usize,
    /// No more entries once their stored size is above this.
    pub bytes: usize,
}

/// A subscription as it was created, or changed last.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionConfig {
    /// The name: unique among those that are there.
    pub name: SubscriptionName,
    /// What it takes.
    pub rule: Rule,
    /// What it took before: by up to which sequence each rule holds, in order. Beyond the last, `rule` holds.
    pub earlier: Vec<(u64, Rule)>,
    /// What was skipped in this range is looked at again with `rule`: beyond the first, up to the second sequence.
    pub look_back: Option<(u64, u64)>,
    /// How it leases and retries.
    pub policy: Policy,
    /// Whether it leases at all.
    pub pause: Pause,
    /// When it was created.
    pub created_at: Timestamp,
    /// The sequence after which it begins; 0: with the first.
    pub start_after: u64,
}

/// Which events a subscription takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// By their subjects.
    pub patterns: PatternSet,
    /// The text of a filter; empty: all that the patterns take.
    pub filter: String,
}

/// Changes to write in one commit.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// For each [`Change::Dead`] whose row does not hold its event yet, the event with its payload.
    pub dead_events: Vec<(Sequence, Arc<Entry>)>,
    /// With [`Change::Reconfigured`], what the subscription is from now on; its name and creation stay.
    pub config: Option<SubscriptionConfig>,
    /// The steady clock's time: what [`Ledger::last_written_at`] will not be before.
    pub at: Timestamp,
}

/// A dead letter as it is stored, with its event.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadRow {
    /// The subscription's creation.
    pub creation: Creation,
    /// The event and its payload, kept by the row.
    pub entry: Arc<Entry>,
    /// Why it was given up.
    pub letter: DeadLetter,
    /// Whether it was redriven and is open again.
    pub redriven: bool,
    /// Whether it was announced on `dead-letter/<subscription>`.
    pub announced: bool,
}

/// Why an append failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written, or it is not known: a sender that tries again is answered rightly, by its delivery key.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The disk is too full to take events; nothing was written.
    #[error("the store's disk is full")]
    Full,
    /// The store is closed; nothing was written.
    #[error("the store is closed")]
    Closed,
}

/// Why a commit to a ledger failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// It is not known whether the commit was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// Another owner has opened the ledger; nothing was written.
    #[error("another owner has opened the ledger")]
    Fenced,
    /// There is no such subscription; nothing was written.
    #[error("the subscription does not exist")]
    Missing,
    /// The store is closed; nothing was written.
    #[error("the store is closed")]
    Closed,
}

/// Why a subscription was not created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is taken, by this one.
    #[error("a subscription of this name exists")]
    Exists(Creation),
    /// It could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why a read failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(Arc<str>),
    /// It could not be read now.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
}
