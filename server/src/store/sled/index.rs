//! The index of the log: for each block of sequences one row that says of each of its events, in a few bytes, what lists ask
//! for: subject, resource and actor. A list reads the rows of a range, and then only the packs that hold what it wants.
//!
//! The subjects of a block are written out once each, since patterns have to be matched against them; of resources and
//! actors there are fingerprints, which now and then take one event too many: what is read is judged again. A block is
//! written with the event that completes it. One that has no row, since the store was opened in the midst of it or was
//! written by a version without an index, is read, and then gets its row ([`super::writer::Command::Index`]).

use std::{collections::HashMap, fmt::Write as _, ops::Range};

use bytes::Bytes;
use hookline_core::event::{EventType, NewEvent, SourceName};
use prost::Message;

use super::{
    super::{ReadError, codec::damaged, select::Selection},
    dedupe,
};

/// How many sequences a block has. A row takes 12 bytes an event and its subjects: with this many about 6 KB, less than a
/// pack, so that the store's pages stay small.
pub(super) const BLOCK_SEQUENCES: u64 = 512;
/// How many bytes of subjects a row takes. A block with more is written without: then its events are told apart by the rest.
const SUBJECT_BYTES_MAX: usize = 8 * 1024;

/// Returns the block that a sequence lies in.
pub(super) const fn block_of(sequence: u64) -> u64 {
    sequence / BLOCK_SEQUENCES
}

/// Returns the sequences of a block: those of the first begin with 1.
pub(super) fn sequences_of(block: u64) -> Range<u64> {
    let first = block.saturating_mul(BLOCK_SEQUENCES);
    first.max(1)..first.saturating_add(BLOCK_SEQUENCES)
}

/// Whether a block ends with this sequence.
pub(super) fn is_last_of_block(sequence: u64) -> bool {
    sequence + 1 == sequences_of(block_of(sequence)).end
}

/// What is known of an event's resource and actor: stored, so how it is made never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    resource_type: u16,
    resource_id: u32,
    actor: u32,
}

impl Marks {
    pub(super) fn of(event: &NewEvent) -> Self {
        Self {
            resource_type: half(short(&event.resource_type)),
            resource_id: short(&event.resource_id),
            actor: short(&event.actor),
        }
    }
}

fn short(text: &str) -> u32 {
    u32::try_from(dedupe::hash(text.bytes()) >> 32).expect("32 bits are left")
}

fn half(short: u32) -> u16 {
    u16::try_from(short >> 16).expect("16 bits are left")
}

/// The row of a block, as it is filled or read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Row {
    /// `source/event_type`, each once.
    #[prost(string, repeated, tag = "1")]
    subjects: Vec<String>,
    /// For each event the place of its subject, big-endian `u16`; empty where the subjects were too many.
    #[prost(bytes = "vec", tag = "2")]
    subject_of: Vec<u8>,
    /// For each event a fingerprint of its resource's type, big-endian `u16`.
    #[prost(bytes = "vec", tag = "3")]
    resource_types: Vec<u8>,
    /// For each event a fingerprint of its resource's id, big-endian `u32`.
    #[prost(bytes = "vec", tag = "4")]
    resource_ids: Vec<u8>,
    /// For each event a fingerprint of its actor, big-endian `u32`.
    #[prost(bytes = "vec", tag = "5")]
    actors: Vec<u8>,
}

impl Row {
    pub(super) fn decode_from(content: Bytes) -> Result<Self, ReadError> {
        Self::decode(content).map_err(|error| damaged(format!("a row of the index: {error}")))
    }

    /// Returns which sequences of a range may be wanted, in order.
    pub(super) fn candidates(
        &self,
        block: u64,
        range: &Range<u64>,
        selection: &Selection,
    ) -> Vec<u64> {
        let subjects: Vec<bool> = self.subjects.iter().map(|of| may_take(selection, of)).collect();
        let resource_type = selection.resource_type.as_deref().map(|text| half(short(text)));
        let resource_id = selection.resource_id.as_deref().map(short);
        let actor = selection.actor.as_deref().map(short);
        let sequences = sequences_of(block);
        let wanted = range.start.max(sequences.start)..range.end.min(sequences.end);
        let is_wanted = |sequence: &u64| {
            let Ok(place) = usize::try_from(sequence - sequences.start) else { return true };
            // What a row does not say is not known: then the event is looked at.
            let subject = u16_at(&self.subject_of, place).map(usize::from);
            let takes =
                subject.and_then(|subject| subjects.get(subject)).is_none_or(|takes| *takes);
            takes
                && agree(resource_type, u16_at(&self.resource_types, place))
                && agree(resource_id, u32_at(&self.resource_ids, place))
                && agree(actor, u32_at(&self.actors, place))
        };
        wanted.filter(is_wanted).collect()
    }
}

fn may_take(selection: &Selection, subject: &str) -> bool {
    let Some((source, event_type)) = subject.split_once('/') else { return true };
    match (SourceName::parse(source), EventType::parse(event_type)) {
        (Ok(source), Ok(event_type)) => selection.takes_subject(&source, &event_type),
        (Err(_), _) | (_, Err(_)) => true,
    }
}

fn agree<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> bool {
    match (wanted, found) {
        (Some(wanted), Some(found)) => wanted == found,
        (None, _) | (_, None) => true,
    }
}

fn u16_at(column: &[u8], place: usize) -> Option<u16> {
    let bytes = column.get(place.checked_mul(2)?..)?.first_chunk();
    bytes.map(|bytes| u16::from_be_bytes(*bytes))
}

fn u32_at(column: &[u8], place: usize) -> Option<u32> {
    let bytes = column.get(place.checked_mul(4)?..)?.first_chunk();
    bytes.map(|bytes| u32::from_be_bytes(*bytes))
}

/// A block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// The next sequence of the block; 0: the block was not seen from its beginning.
    next: u64,
    row: Row,
    places: HashMap<String, u16>,
    subject: String,
    subject_bytes: usize,
}

impl Filling {
    /// Takes in the next event; returns the row of its block if that is complete now.
    pub(super) fn push(
        &mut self,
        sequence: u64,
        event: &NewEvent,
        marks: Marks,
    ) -> Option<Vec<u8>> {
        let sequences = sequences_of(block_of(sequence));
        if sequence == sequences.start {
            *self = Self { subject: std::mem::take(&mut self.subject), ..Self::default() };
        } else if sequence != self.next {
            self.next = 0;
            return None;
        }
        self.next = sequence + 1;
        let place = self.place_of(event);
        self.row.subject_of.extend(place.to_be_bytes());
        self.row.resource_types.extend(marks.resource_type.to_be_bytes());
        self.row.resource_ids.extend(marks.resource_id.to_be_bytes());
        self.row.actors.extend(marks.actor.to_be_bytes());
        (self.next == sequences.end).then(|| self.seal())
    }

    fn place_of(&mut self, event: &NewEvent) -> u16 {
        self.subject.clear();
        write!(self.subject, "{}/{}", event.source, event.event_type).expect("memory takes it");
        if let Some(place) = self.places.get(&self.subject) {
            return *place;
        }
        let place = u16::try_from(self.places.len()).expect("a block has fewer events than 2^16");
        self.subject_bytes += self.subject.len();
        self.row.subjects.push(self.subject.clone());
        self.places.insert(self.subject.clone(), place);
        place
    }

    fn seal(&mut self) -> Vec<u8> {
        self.next = 0;
        let mut row = std::mem::take(&mut self.row);
        if SUBJECT_BYTES_MAX < self.subject_bytes {
            row.subjects.clear();
            row.subject_of.clear();
        }
        row.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use hookline_core::{pattern::PatternSet, time::Timestamp};

    use super::*;

    fn event(kind: &str, resource: &str, actor: &str) -> NewEvent {
        NewEvent {
            source: SourceName::parse("github").unwrap(),
            event_type: EventType::parse(kind).unwrap(),
            timestamp: Timestamp::EPOCH,
            actor: actor.into(),
            resource_type: "issue".into(),
            resource_id: resource.into(),
            payload: Bytes::new(),
            metadata: [].into(),
            delivery_key: "".into(),
            replay_window: None,
        }
    }

    fn fill(block: u64, kind: impl Fn(u64) -> String) -> Row {
        let mut filling = Filling::default();
        let mut rows = sequences_of(block).filter_map(|n| {
            let event = event(&kind(n), &format!("r-{}", n % 100), &format!("a-{}", n % 50));
            filling.push(n, &event, Marks::of(&event))
        });
        let row = rows.next().unwrap();
        assert!(rows.next().is_none());
        Row::decode_from(row.into()).unwrap()
    }

    fn selection(patterns: &[&str], resource: Option<&str>, actor: Option<&str>) -> Selection {
        Selection {
            patterns: (!patterns.is_empty()).then(|| PatternSet::parse(patterns).unwrap()),
            resource_type: resource.map(|_| "issue".to_owned()),
            resource_id: resource.map(ToOwned::to_owned),
            actor: actor.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn a_row_names_what_may_be_wanted_and_little_else() {
        for block in [0, 7] {
            let row =
                fill(block, |n| if n.is_multiple_of(10) { "push" } else { "issues" }.to_owned());
            let all = sequences_of(block);
            assert!(row.encoded_len() < 7_000, "{}", row.encoded_len());
            let found = |selection: &Selection| row.candidates(block, &all, selection);
            let expect = |is: fn(&u64) -> bool| all.clone().filter(is).collect::<Vec<_>>();
            assert_eq!(found(&Selection::default()), expect(|_| true));
            assert_eq!(found(&selection(&["*/push"], None, None)), expect(|n| n % 10 == 0));
            assert_eq!(found(&selection(&["gitlab"], None, None)), [0; 0]);
            assert_eq!(found(&selection(&[], Some("r-7"), None)), expect(|n| n % 100 == 7));
            assert_eq!(found(&selection(&[], None, Some("a-9"))), expect(|n| n % 50 == 9));
            assert_eq!(found(&selection(&["github/push"], Some("r-7"), None)), [0; 0]);
            let some = all.start + 3..all.start + 5;
            let found = row.candidates(block, &some, &Selection::default());
            assert_eq!(found, [all.start + 3, all.start + 4]);
            let mut other = selection(&[], Some("r-7"), None);
            other.resource_type = Some("pull_request".to_owned());
            assert_eq!(row.candidates(block, &all, &other), [0; 0]);
        }
    }

    #[test]
    fn a_block_of_too_many_subjects_is_told_apart_by_the_rest() {
        let row = fill(3, |n| format!("kind-{n}-{}", "x".repeat(100)));
        assert!(row.subjects.is_empty() && row.encoded_len() < 7_000);
        let all = sequences_of(3);
        let found = row.candidates(3, &all, &selection(&["gitlab"], Some("r-7"), None));
        assert_eq!(found, all.filter(|n| n % 100 == 7).collect::<Vec<_>>());
    }

    #[test]
    fn a_block_that_was_not_seen_whole_has_no_row() {
        let mut filling = Filling::default();
        let event = event("push", "", "");
        let rows = (5..3 * BLOCK_SEQUENCES)
            .filter_map(|n| filling.push(n, &event, Marks::of(&event)).map(|_| block_of(n)));
        assert_eq!(rows.collect::<Vec<_>>(), [1, 2]);
    }
}
