//! What a check found.

use std::{collections::BTreeMap, fmt::Write as _};

/// The most findings that are kept with their keys: beyond that they are counted, since nobody reads on.
pub const FINDINGS_MAX: usize = 1_000;

/// What is wrong with a row, or with what rows say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The database failed while it was read.
    Unreadable,
    /// A row whose kind this version does not know.
    UnknownKind,
    /// A key that is too short or too long for its kind.
    MalformedKey,
    /// A value that is not what was written.
    Checksum,
    /// A value that was written, and can't be read.
    Undecodable,
    /// A single row that every store has is not there.
    MetaMissing,
    /// Events of the log are missing.
    SequenceGap,
    /// An event is there twice.
    SequenceOverlap,
    /// An event was received before the one that precedes it, or its id says another time.
    TimeOrder,
    /// A payload does not have the size that its event says, or can't be read.
    Payload,
    /// A dictionary that payloads need is not there twice.
    Dictionary,
    /// A part of a large payload is missing.
    ChunkMissing,
    /// A part of a payload that no event has.
    ChunkOrphan,
    /// An event is not found by its delivery key.
    IndexMissing,
    /// A fingerprint names an event that does not have it.
    IndexStray,
    /// The bytes that the log counts do not agree with its events.
    Weight,
    /// A row of a subscription that is not there.
    SubscriptionMissing,
    /// A row is missing that every subscription has.
    LedgerIncomplete,
    /// A subscription stands beyond the log.
    Position,
    /// Two subscriptions have one name.
    DuplicateName,
    /// A filter that does not compile.
    Filter,
    /// A record of an event that neither the log nor a dead letter keeps.
    RecordOrphan,
    /// A delivery is open and finished at once, or redriven without a dead letter.
    State,
    /// A dead letter lacks its event, or a part of it.
    LetterIncomplete,
    /// A mark of a dead letter that is not there.
    UnannouncedOrphan,
    /// What happened before, or was saved, of a delivery that is not open.
    BackgroundOrphan,
    /// Ends of deliveries stand in the wrong place.
    Settled,
    /// The facts of a subscription can't be made its state.
    Recovery,
}

impl Problem {
    /// Returns the name: what scripts look for.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::UnknownKind => "unknown-kind",
            Self::MalformedKey => "malformed-key",
            Self::Checksum => "checksum",
            Self::Undecodable => "undecodable",
            Self::MetaMissing => "meta-missing",
            Self::SequenceGap => "sequence-gap",
            Self::SequenceOverlap => "sequence-overlap",
            Self::TimeOrder => "time-order",
            Self::Dictionary => "dictionary",
            Self::Payload => "payload",
            Self::ChunkMissing => "chunk-missing",
            Self::ChunkOrphan => "chunk-orphan",
            Self::IndexMissing => "index-missing",
            Self::IndexStray => "index-stray",
            Self::Weight => "weight",
            Self::SubscriptionMissing => "subscription-missing",
            Self::LedgerIncomplete => "ledger-incomplete",
            Self::Position => "position",
            Self::DuplicateName => "duplicate-name",
            Self::Filter => "filter",
            Self::RecordOrphan => "record-orphan",
            Self::State => "state",
            Self::LetterIncomplete => "letter-incomplete",
            Self::UnannouncedOrphan => "unannounced-orphan",
            Self::BackgroundOrphan => "background-orphan",
            Self::Settled => "settled",
            Self::Recovery => "recovery",
        }
    }

    /// Returns what it means for who runs the hub.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Unreadable => "the database can't be read further; what follows was not checked",
            Self::UnknownKind => "written by a newer version, or by something else",
            Self::MalformedKey => "not a key that Hookline writes",
            Self::Checksum => "the disk did not keep what was written; reads of it fail",
            Self::Undecodable => "the row is whole, and was not written by a version known here",
            Self::MetaMissing => "a hub would not open this store, or begin anew with its numbers",
            Self::SequenceGap => "confirmed events are lost",
            Self::SequenceOverlap => "two events claim one place in the log",
            Self::TimeOrder => "the event may not be found by its time or its id",
            Self::Payload => "the payload can't be handed out",
            Self::Dictionary => {
                "many payloads need it; a hub makes a lost copy again when it opens the store"
            }
            Self::ChunkMissing => "a part of a large payload is lost",
            Self::ChunkOrphan => "it takes room and is never read",
            Self::IndexMissing => "the event would be taken again if its sender posted it again",
            Self::IndexStray => "it costs a look-up, and finds nothing",
            Self::Weight => "`retention.max_bytes` keeps more or less than it says",
            Self::SubscriptionMissing => "left of a subscription that is not there",
            Self::LedgerIncomplete => "the subscription can't be opened",
            Self::Position => "the subscription would miss events",
            Self::DuplicateName => "one of the two can't be reached",
            Self::Filter => "the subscription can't be opened",
            Self::RecordOrphan => "the delivery is open, and its event can't be handed out",
            Self::State => "the delivery would be handed out though it has ended, or not at all",
            Self::LetterIncomplete => "the dead letter can't be shown or redriven",
            Self::UnannouncedOrphan => "an announcement waits that can never be made",
            Self::BackgroundOrphan => "it takes room and is never read",
            Self::Settled => "GetEvent can't say who settled these deliveries",
            Self::Recovery => "the subscription can't be opened",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub problem: Problem,
    /// The row, by the name of its kind and its numbers, such as `pack 17`.
    pub row: String,
    /// The row's key in hexadecimal; empty where it is no row.
    pub key: String,
    /// More about it.
    pub detail: String,
}

/// How many rows of a kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindCount {
    /// The kind's name in `server/docs/store.md`.
    pub name: &'static str,
    /// How many rows.
    pub rows: u64,
    /// How many bytes their keys and values have.
    pub bytes: u64,
}

/// What was read, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The rows, by kind, in the order of the keyspace.
    pub kinds: Vec<KindCount>,
    /// The first sequence that the log keeps; the next to come if it keeps none.
    pub first: u64,
    /// The sequence of the newest event; 0 if there never was one.
    pub head: u64,
    /// How many events were read.
    pub events: u64,
    /// How many bytes their payloads have, unpacked.
    pub payload_bytes: u64,
    /// How many subscriptions there are.
    pub subscriptions: u64,
    /// How many rows wait to be removed: of what was trimmed or deleted, and what a kill left unfinished.
    pub left_over: u64,
    /// The first [`FINDINGS_MAX`] findings.
    pub findings: Vec<Finding>,
    /// How many findings there are of each problem.
    pub counts: BTreeMap<Problem, u64>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Returns how many rows were read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.rows).sum()
    }

    /// Returns how many bytes they have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.bytes).sum()
    }

    pub(super) fn find(&mut self, problem: Problem, key: &[u8], detail: impl Into<String>) {
        *self.counts.entry(problem).or_default() += 1;
        if self.findings.len() < FINDINGS_MAX {
            let (row, detail) = (super::table::row_name(key), detail.into());
            self.findings.push(Finding { problem, row, key: hex(key), detail });
        }
    }
}

fn hex(key: &[u8]) -> String {
    key.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
