//! How facts are written as bytes: an event as its encoded `hookline.v1.Event`, everything else as small messages.
//!
//! The messages here are read by every later version: fields are added, never reused.

mod config;
mod event;
mod facts;

use std::sync::Arc;

use bytes::Bytes;
use hookline_core::{delivery::Creation, event::Sequence, time::Timestamp};
use prost::Message;

pub(super) use self::{
    config::{decode_config, encode_config},
    facts::{
        Standing, decode_acks, decode_background, decode_histories, decode_letter, decode_record,
        decode_settled, decode_settled_sequences, encode_background, encode_history, encode_letter,
        encode_record, encode_settled,
    },
};
use super::{Entry, Packed, ReadError};
use crate::encoding::push_event;

/// Returns the error for a row that holds what was never written.
pub(super) fn damaged(what: impl Into<Arc<str>>) -> ReadError {
    ReadError::Damaged(what.into())
}

fn decode<M: Message + Default>(bytes: Bytes, what: &'static str) -> Result<M, ReadError> {
    M::decode(bytes).map_err(|error| damaged(format!("{what}: {error}")))
}

/// An event with its payload as it lies in the store.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryRow {
    /// An encoded `hookline.v1.Event` without its payload.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) event: Bytes,
    /// Empty if it lies in chunks.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) payload: Bytes,
    #[prost(bool, tag = "3")]
    pub(super) zstd: bool,
    /// 0: it lies here.
    #[prost(uint32, tag = "4")]
    pub(super) chunks: u32,
}

/// A dictionary that payloads are compressed with.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DictionaryRow {
    /// Of whose payloads it was trained.
    #[prost(string, tag = "1")]
    pub(super) source: String,
    /// As zstd makes them.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) bytes: Vec<u8>,
    /// The newest event when it was made.
    #[prost(uint64, tag = "3")]
    pub(super) made_after: u64,
    /// The newest event that may need it, once no new ones do.
    #[prost(uint64, optional, tag = "4")]
    pub(super) needed_until: Option<u64>,
}

/// Reads a [`DictionaryRow`].
pub(super) fn decode_dictionary(bytes: Bytes) -> Result<DictionaryRow, ReadError> {
    decode(bytes, "a dictionary")
}

/// Returns how many bytes a payload takes in an [`EntryRow`].
pub(super) fn packed_len(packed: &Packed) -> usize {
    packed_row(packed).encoded_len()
}

fn packed_row(packed: &Packed) -> EntryRow {
    match packed {
        Packed::Plain(payload) => EntryRow { payload: payload.clone(), ..EntryRow::default() },
        Packed::Zstd(payload) => {
            EntryRow { payload: payload.clone(), zstd: true, ..EntryRow::default() }
        }
        Packed::Chunked { count, zstd, dead_letter: _ } => {
            EntryRow { zstd: *zstd, chunks: *count, ..EntryRow::default() }
        }
    }
}

/// Adds an [`EntryRow`] of an encoded event and its payload, as field `1` of the message around it.
pub(super) fn push_entry(row: &mut Vec<u8>, event: &[u8], packed: &Packed) {
    const FIELD_1_OF_BYTES: u8 = 0x0a;
    let packed = packed_row(packed);
    let entry_bytes =
        1 + prost::length_delimiter_len(event.len()) + event.len() + packed.encoded_len();
    for len in [entry_bytes, event.len()] {
        row.push(FIELD_1_OF_BYTES);
        prost::encode_length_delimiter(len, row).expect("a vector grows");
    }
    row.extend_from_slice(event);
    packed.encode(row).expect("a vector grows");
}

/// Returns the bytes of an entry with its payload in this form: an [`EntryRow`].
pub(super) fn encode_entry(entry: &Entry, packed: &Packed) -> Vec<u8> {
    let mut event = Vec::new();
    push_event(&mut event, &entry.event, entry.payload_size);
    EntryRow { event: event.into(), ..packed_row(packed) }.encode_to_vec()
}

/// Reads an [`EntryRow`].
pub(super) fn decode_entry(bytes: Bytes) -> Result<EntryRow, ReadError> {
    decode(bytes, "an entry")
}

/// Makes an entry of its row; `dead_letter` says whose chunks it has.
pub(super) fn entry(row: EntryRow, dead_letter: Option<Creation>) -> Result<Entry, ReadError> {
    let packed = match (row.chunks, row.zstd) {
        (0, false) => Packed::Plain(row.payload),
        (0, true) => Packed::Zstd(row.payload),
        (count, zstd) => Packed::Chunked { count, zstd, dead_letter },
    };
    let (event, payload_size) = event::read_event(&row.event)?;
    Ok(Entry { event, payload_size, packed })
}

/// Reads a sequence, which is never 0.
pub(super) fn sequence(number: u64) -> Result<Sequence, ReadError> {
    Sequence::new(number).ok_or_else(|| damaged("a sequence of 0"))
}

/// Reads microseconds since the epoch.
pub(super) fn timestamp(micros: i64) -> Result<Timestamp, ReadError> {
    Timestamp::from_micros(micros).ok_or_else(|| damaged(format!("the time `{micros}`")))
}

#[cfg(test)]
mod tests;
