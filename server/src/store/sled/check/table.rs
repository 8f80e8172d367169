//! The kinds of rows as a check knows them: a row here for each kind of `keys.rs`.

use bytes::Bytes;
use hookline_core::{delivery::Past, event::Sequence};

use super::super::{
    super::{ReadError, codec, codec::damaged},
    dedupe, index,
    keys::{self, Kind},
    ledger,
    pack::Pack,
    state::dictionaries::ready,
};

/// What a check knows of a kind.
pub(in super::super) struct RowKind {
    pub(in super::super) kind: Kind,
    pub(in super::super) name: &'static str,
    /// The widths in bytes of the numbers that follow the kind in a key.
    numbers: &'static [usize],
    /// Whether the first number of its keys is the creation of the subscription that it belongs to.
    pub(super) of_subscription: bool,
    /// Whether it is written once.
    pub(in super::super) lasting: Lasting,
    /// Reads the content.
    decode: fn(&[u8], Bytes) -> Result<(), ReadError>,
}

/// Whether a row stays as it is once it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Lasting {
    /// It may be written again.
    Changing,
    /// It is never written again, and belongs to the events from a sequence on, which begins at this byte of its key.
    Written { sequence_at: usize },
}

const LOG: Lasting = Lasting::Written { sequence_at: 1 };
const LOG_BY_DAY: Lasting = Lasting::Written { sequence_at: 5 };
const ITEM: &[usize] = &[1];
const ID: &[usize] = &[4];
const ONE: &[usize] = &[8];
const TWO: &[usize] = &[8, 8];
const CHUNK: &[usize] = &[8, 4];
const LETTER_CHUNK: &[usize] = &[8, 8, 4];
const BY_DAY: &[usize] = &[4, 8];
const SETTLED: &[usize] = &[8, 8, 8, 8];

const fn of_log(
    kind: Kind,
    name: &'static str,
    numbers: &'static [usize],
    lasting: Lasting,
    decode: fn(&[u8], Bytes) -> Result<(), ReadError>,
) -> RowKind {
    RowKind { kind, name, numbers, of_subscription: false, lasting, decode }
}

const fn of_ledger(
    kind: Kind,
    name: &'static str,
    numbers: &'static [usize],
    decode: fn(&[u8], Bytes) -> Result<(), ReadError>,
) -> RowKind {
    RowKind { kind, name, numbers, of_subscription: true, lasting: Lasting::Changing, decode }
}

/// All kinds, in the order of their numbers.
pub(in super::super) const TABLE: &[RowKind] = &[
    of_log(Kind::Meta, "meta", ITEM, Lasting::Changing, |_, _| Ok(())),
    of_log(Kind::Pack, "pack", ONE, LOG, |key, content| Pack::of_content(key, content).map(drop)),
    of_log(Kind::Chunk, "chunk", CHUNK, LOG, |_, _| Ok(())),
    of_log(Kind::Fingerprints, "fingerprints", BY_DAY, LOG_BY_DAY, pairs),
    of_log(Kind::Bodies, "bodies", BY_DAY, LOG_BY_DAY, pairs),
    of_log(Kind::Weight, "weight", ONE, LOG, integer),
    of_log(Kind::Index, "index", ONE, Lasting::Changing, |_, content| {
        index::Row::decode_from(content).map(drop)
    }),
    of_log(Kind::Dictionary, "dictionary", ID, Lasting::Changing, dictionary),
    of_ledger(Kind::Config, "config", ONE, |_, content| codec::decode_config(content).map(drop)),
    of_ledger(Kind::Epoch, "epoch", ONE, integer),
    of_ledger(Kind::Position, "position", ONE, |_, content| ledger::check_position(&content)),
    of_ledger(Kind::Finished, "finished", TWO, bitmap),
    of_ledger(Kind::Record, "record", TWO, |_, content| codec::decode_record(content).map(drop)),
    of_ledger(Kind::Letter, "letter", TWO, |_, content| codec::decode_letter(content).map(drop)),
    of_ledger(Kind::LetterEvent, "letter-event", TWO, |_, content| {
        codec::entry(codec::decode_entry(content)?, None).map(drop)
    }),
    of_ledger(Kind::LetterChunk, "letter-chunk", LETTER_CHUNK, |_, _| Ok(())),
    of_ledger(Kind::Unannounced, "unannounced", TWO, |_, content| {
        keys::take_u32(&mut &content[..]).map(drop)
    }),
    of_ledger(Kind::Settled, "settled", SETTLED, |_, content| {
        codec::decode_settled_sequences(content).map(drop)
    }),
    of_ledger(Kind::Deleting, "deleting", ONE, |_, _| Ok(())),
    of_ledger(Kind::Background, "background", TWO, |_, content| {
        codec::decode_background(content).map(drop)
    }),
    of_ledger(Kind::Checkpoint, "checkpoint", TWO, |_, _| Ok(())),
    of_ledger(Kind::Purged, "purged", TWO, bitmap),
    of_ledger(Kind::History, "history", SETTLED, |_, content| {
        codec::decode_histories(content, Sequence::FIRST, &mut Past::default())
    }),
    of_log(Kind::DictionaryCopy, "dictionary-copy", ID, Lasting::Changing, dictionary),
];

/// Returns what is known of the kind of a key.
pub(in super::super) fn of_key(key: &[u8]) -> Option<&'static RowKind> {
    let kind = key.first()?;
    TABLE.iter().find(|row| row.kind as u8 == *kind)
}

impl RowKind {
    /// Whether a key has the numbers of the kind.
    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        key.len() == 1 + self.numbers.iter().sum::<usize>()
    }

    /// Reads a row's content.
    pub(super) fn decode(&self, key: &[u8], content: Bytes) -> Result<(), ReadError> {
        (self.decode)(key, content)
    }

    /// Whether its rows are written once.
    pub(in super::super) fn is_written_once(&self) -> bool {
        self.lasting != Lasting::Changing
    }

    /// Returns the sequence that a row belongs to, of a kind that is never written again.
    pub(in super::super) fn sequence(&self, key: &[u8]) -> Option<u64> {
        match self.lasting {
            Lasting::Changing => None,
            Lasting::Written { sequence_at } => {
                let bytes = key.get(sequence_at..)?.first_chunk()?;
                Some(u64::from_be_bytes(*bytes))
            }
        }
    }
}

/// Returns a key for people, such as `record 3 17`.
pub(super) fn row_name(key: &[u8]) -> String {
    let Some(row) = of_key(key) else {
        return key.first().map_or_else(String::new, |kind| format!("kind {kind}"));
    };
    let (mut text, mut rest) = (row.name.to_owned(), key.get(1..).unwrap_or_default());
    for width in row.numbers {
        let Some((number, after)) = rest.split_at_checked(*width) else { break };
        let number = number.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        text.push_str(&format!(" {number}"));
        rest = after;
    }
    text
}

fn integer(_: &[u8], content: Bytes) -> Result<(), ReadError> {
    keys::take_u64(&mut &content[..]).map(drop)
}

fn dictionary(_: &[u8], content: Bytes) -> Result<(), ReadError> {
    let row = codec::decode_dictionary(content)?;
    ready(&row).map(drop).ok_or_else(|| damaged("no dictionary"))
}

fn bitmap(_: &[u8], content: Bytes) -> Result<(), ReadError> {
    if content.len() == 64 * 8 {
        return Ok(());
    }
    Err(damaged(format!("a bitmap of {} bytes", content.len())))
}

fn pairs(_: &[u8], content: Bytes) -> Result<(), ReadError> {
    dedupe::pairs(&content).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_a_subscription_is_in_the_table_once() {
        for kind in keys::KINDS_OF_A_SUBSCRIPTION {
            let rows: Vec<_> = TABLE.iter().filter(|row| row.kind == kind).collect();
            assert!(matches!(rows[..], [row] if row.of_subscription), "{kind:?}");
        }
        assert!(TABLE.is_sorted_by_key(|row| row.kind as u8));
    }

    #[test]
    fn a_key_is_told_by_its_kind_and_numbers() {
        let creation = hookline_core::delivery::Creation(3);
        let sequence = Sequence::new(17).unwrap();
        let key = keys::of_delivery(Kind::Record, creation, sequence);
        assert_eq!(row_name(&key), "record 3 17");
        assert_eq!(row_name(&keys::fingerprints(Kind::Bodies, 20_000, 5)), "bodies 20000 5");
        assert_eq!(row_name(&keys::chunk(Some(creation), sequence, 2)), "letter-chunk 3 17 2");
        assert_eq!(row_name(&[99, 1]), "kind 99");
        let key = keys::fingerprints(Kind::Bodies, 20_000, 5);
        assert_eq!(of_key(&key).unwrap().sequence(&key), Some(5));
        assert_eq!(of_key(&keys::meta(keys::Meta::Version)).unwrap().lasting, Lasting::Changing);
    }
}
