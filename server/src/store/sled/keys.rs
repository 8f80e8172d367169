//! The keys of the embedded store: one table, whose numbers never change (layout version 2, which only added to 1).
//!
//! A key is a byte of [`Kind`], then integers, big-endian, so that keys sort as their numbers do. A value is the CRC-32
//! of what follows, big-endian, and what follows; [`seal`] and [`unseal`] do that for every kind. "message" is a
//! protobuf message of `store/codec/`. `c` is a subscription's creation, `s` a sequence; both have 8 bytes.
//!
//! | kind | key | value | lifetime |
//! |---|---|---|---|
//! | 0 `Meta` | item `u8` | by item: [`Meta`] | the store's |
//! | 1 `Pack` | first `s` | times and count of its events, then a message with the events, see `pack.rs` | until trimmed |
//! | 2 `Chunk` | `s`, number `u32` | up to 64 KiB of the stored payload of event `s` | until trimmed |
//! | 3 `Fingerprints` | day of receipt `u32`, first `s` | per event of a block of 512 with a delivery key: fingerprint `u64`, sequence `u64` | until trimmed, 8 days at the most |
//! | 4 `Bodies` | as 3 | per event of a block, of a source that looks for replays: fingerprint of the body `u64`, sequence `u64` | until trimmed, 8 days at the most |
//! | 5 `Weight` | `s` | how many bytes of events were ever appended before `s`, `u64`; one row for each MiB | until trimmed |
//! | 6 `Index` | block `u64` | message: subject, resource and actor of each of the events `block * 512 ..`, in short; see `index.rs` | until trimmed |
//! | 7 `Dictionary` | id `u32` | message: what payloads of a source are compressed with; see `dictionary.rs` | as the events that need it |
//! | 16 `Config` | `c` | message: the subscription as created, or changed last | until deleted |
//! | 17 `Epoch` | `c` | epoch `u64` of the newest opening | until deleted |
//! | 18 `Position` | `c` | floor `u64`, scanned `u64`; then what `ledger.rs` says | until deleted |
//! | 19 `Finished` | `c`, page `u64` | bitmap of the sequences `page * 4096 ..` that are finished: 64 words `u64` | until the floor passes |
//! | 20 `Record` | `c`, `s` | message: the record of an open delivery | until it ends |
//! | 21 `Letter` | `c`, `s` | message: a dead letter without its event, and whether it was redriven | until done |
//! | 22 `LetterEvent` | `c`, `s` | message: the event of a dead letter | with its letter |
//! | 23 `LetterChunk` | `c`, `s`, number `u32` | up to 64 KiB of the stored payload of a dead letter | with its letter |
//! | 24 `Unannounced` | `c`, `s` | generation `u32` of a dead letter that is to be announced | until announced |
//! | 25 `Settled` | `c`, page `u64`, opening `u64`, number `u64` | message: who acked, and what replaced, what in one commit, of the sequences `page * 4096 ..`; if it is all that the commit wrote, also where that leaves the position, see `ledger/acks.rs` | as the events |
//! | 26 `Deleting` | `c` | empty: a deleted subscription whose rows are being removed | until they are |
//! | 27 `Background` | `c`, `s` | message: the failed attempts of an open delivery, and what was coalesced into it | until it ends |
//! | 28 `Checkpoint` | `c`, `s` | up to 64 KiB that a lease of an open delivery saved | until it ends |
//! | 29 `Purged` | `c`, page `u64` | bitmap as 19, of the sequences that were given up and whose dead letters were deleted | until deleted |
//! | 30 `History` | as 25 | message: what had failed, and what was coalesced, of deliveries that were settled in one commit, up to 16 KB of it | as the events |
//! | 31 `DictionaryCopy` | as 7 | as 7, far from it: many events need it | as 7 |

use std::ops::Range;

use hookline_core::{delivery::Creation, event::Sequence};

use super::super::{ReadError, codec::damaged};

/// What a row is: the first byte of its key. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Meta = 0,
    Pack = 1,
    Chunk = 2,
    Fingerprints = 3,
    Bodies = 4,
    Weight = 5,
    Index = 6,
    Dictionary = 7,
    Config = 16,
    Epoch = 17,
    Position = 18,
    Finished = 19,
    Record = 20,
    Letter = 21,
    LetterEvent = 22,
    LetterChunk = 23,
    Unannounced = 24,
    Settled = 25,
    Deleting = 26,
    Background = 27,
    Checkpoint = 28,
    Purged = 29,
    History = 30,
    DictionaryCopy = 31,
}

/// The kinds whose keys begin with a creation, beside its config: what goes when a subscription is deleted.
pub(super) const KINDS_OF_A_SUBSCRIPTION: [Kind; 13] = [
    Kind::Epoch,
    Kind::Position,
    Kind::Finished,
    Kind::Record,
    Kind::Letter,
    Kind::LetterEvent,
    Kind::LetterChunk,
    Kind::Unannounced,
    Kind::Settled,
    Kind::Background,
    Kind::Checkpoint,
    Kind::Purged,
    Kind::History,
];

/// The single rows of a store. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Meta {
    /// The layout's version, `u32`: written first, read first.
    Version = 0,
    /// 32 random bytes, from when the store was made.
    SealKey = 1,
    /// The newest creation, `u64`.
    Creations = 2,
    /// How often the store was opened, `u64`.
    Openings = 3,
    /// The first sequence that is kept, `u64`, and the last time of receipt when it was trimmed, microseconds `i64`.
    Trimmed = 4,
    /// The latest time of a commit to a ledger, microseconds `i64`; those of commits that are one row are in it once they are folded.
    CommittedAt = 5,
}

/// The version of the layout that this module describes.
pub(super) const LAYOUT_VERSION: u32 = 2;
/// The oldest that can be read. Opening a store makes it one of this version.
pub(super) const LAYOUT_VERSION_MIN: u32 = 1;

/// Returns the key of a single row.
pub(super) fn meta(item: Meta) -> Vec<u8> {
    vec![Kind::Meta as u8, item as u8]
}

/// Returns a key of this kind.
pub(super) fn key(kind: Kind, numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len() + 4);
    key.push(kind as u8);
    for number in numbers {
        key.extend(number.to_be_bytes());
    }
    key
}

/// Returns the key of a fact about a delivery.
pub(super) fn of_delivery(kind: Kind, creation: Creation, sequence: Sequence) -> Vec<u8> {
    key(kind, &[creation.0, sequence.get()])
}

/// Returns the key of a chunk of the log's, or of a dead letter's.
pub(super) fn chunk(dead_letter: Option<Creation>, sequence: Sequence, number: u32) -> Vec<u8> {
    let mut key = match dead_letter {
        None => key(Kind::Chunk, &[sequence.get()]),
        Some(creation) => of_delivery(Kind::LetterChunk, creation, sequence),
    };
    key.extend(number.to_be_bytes());
    key
}

/// Returns the key of the fingerprints of a row whose first event is `first`, of delivery keys or of bodies.
pub(super) fn fingerprints(kind: Kind, day: u32, first: u64) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend(day.to_be_bytes());
    key.extend(first.to_be_bytes());
    key
}

/// Returns the key of a dictionary, or of its copy.
pub(super) fn dictionary(kind: Kind, id: u32) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend(id.to_be_bytes());
    key
}

/// Returns the first event of a row of fingerprints.
pub(super) fn first_fingerprinted(key: &[u8]) -> Result<u64, ReadError> {
    take_u64(&mut key.get(5..).unwrap_or_default())
}

/// Returns the keys of this kind that begin with these numbers.
pub(super) fn under(kind: Kind, numbers: &[u64]) -> Range<Vec<u8>> {
    let start = key(kind, numbers);
    let mut end = start.clone();
    // The next key of the same length: no kind is 255, so there always is one.
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    start..end
}

/// Returns the keys of this kind that begin with `numbers` and then a number from `range`.
pub(super) fn between(kind: Kind, numbers: &[u64], range: Range<u64>) -> Range<Vec<u8>> {
    let with = |last: u64| [numbers, &[last]].concat();
    key(kind, &with(range.start))..key(kind, &with(range.end))
}

/// Returns the number that stands `place`-th (from 0) after the kind.
pub(super) fn number(key: &[u8], place: usize) -> Result<u64, ReadError> {
    let bytes = key.get(1 + 8 * place..).and_then(<[u8]>::first_chunk);
    bytes.map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| damaged("a key is too short"))
}

/// What a value begins with.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Returns a value with its checksum.
pub(super) fn seal(parts: &[&[u8]]) -> Vec<u8> {
    let content_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut value = Vec::with_capacity(CHECKSUM_BYTES + content_bytes);
    value.resize(CHECKSUM_BYTES, 0);
    for part in parts {
        value.extend_from_slice(part);
    }
    seal_in_place(&mut value);
    value
}

/// Writes the checksum of a value into the room that was left for it.
pub(super) fn seal_in_place(value: &mut [u8]) {
    let (checksum, content) =
        value.split_first_chunk_mut::<CHECKSUM_BYTES>().expect("a value begins with its checksum");
    *checksum = crc32fast::hash(content).to_be_bytes();
}

/// Checks a value and returns what was sealed.
pub(super) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], ReadError> {
    match value.split_first_chunk() {
        Some((checksum, content)) if crc32fast::hash(content).to_be_bytes() == *checksum => {
            Ok(content)
        }
        Some(_) | None => Err(damaged(format!("the row `{key:02x?}` fails its checksum"))),
    }
}

/// Takes an integer off the front of a value.
pub(super) fn take_u64(bytes: &mut &[u8]) -> Result<u64, ReadError> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| damaged("a row is too short"))?;
    *bytes = rest;
    Ok(u64::from_be_bytes(*head))
}

/// Takes an integer off the front of a value.
pub(super) fn take_i64(bytes: &mut &[u8]) -> Result<i64, ReadError> {
    Ok(take_u64(bytes)?.cast_signed())
}

/// Takes an integer off the front of a value.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Result<u32, ReadError> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| damaged("a row is too short"))?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_their_numbers_do(a: (u64, u64), b: (u64, u64)) {
            let key_of = |(x, y)| key(Kind::Record, &[x, y]);
            prop_assert_eq!(a.cmp(&b), key_of(a).cmp(&key_of(b)));
            prop_assert_eq!(number(&key_of(a), 0).unwrap(), a.0);
            prop_assert_eq!(number(&key_of(a), 1).unwrap(), a.1);
        }

        #[test]
        fn a_range_holds_what_begins_with_it(c: u64, other: u64, s: u64) {
            let range = under(Kind::Finished, &[c]);
            prop_assert!(range.contains(&key(Kind::Finished, &[c, s])));
            prop_assert_eq!(range.contains(&key(Kind::Finished, &[other, s])), c == other);
            prop_assert!(!range.contains(&key(Kind::Record, &[c, s])));
        }

        #[test]
        fn a_flipped_bit_is_seen(content: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
            let mut value = seal(&[&content]);
            prop_assert_eq!(unseal(&[], &value).unwrap(), &content[..]);
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            prop_assert!(unseal(&[], &value).is_err());
        }
    }
}
