//! Packs: the events of a commit, up to 16 KB of them in one value, since keys are what costs.

use std::sync::Arc;

use bytes::Bytes;
use hookline_core::{event::Sequence, time::Timestamp};
use prost::Message;

use super::{
    super::{
        Entry, Packed, ReadError,
        codec::{self, damaged},
    },
    keys,
};

/// The size up to which a pack takes in another event. With 64 KB instead, sled's pages of 16 values and more are larger
/// than the parts of its cache: memory grew to 380 MB over 300,000 events of 1 KB, with 16 KB it stays at 126 MB, no slower.
pub(super) const PACK_BYTES: usize = 16 * 1024;

/// What stands before the events: times of receipt of the first and the last, and how many they are.
const HEADER_BYTES: usize = 8 + 8 + 4;
/// What stands before them in a value.
const BEFORE_EVENTS: usize = keys::CHECKSUM_BYTES + HEADER_BYTES;

/// A pack that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) first: Sequence,
    first_received: Timestamp,
    last_received: Timestamp,
    count: u32,
    /// The value as it will be: room for its checksum and its header, then the events.
    value: Vec<u8>,
}

impl Filling {
    pub(super) fn new(first: Sequence, received_at: Timestamp) -> Self {
        // What stands around the last event that is taken in goes beyond it, seldom.
        let mut value = Vec::with_capacity(BEFORE_EVENTS + PACK_BYTES);
        value.resize(BEFORE_EVENTS, 0);
        Self { first, first_received: received_at, last_received: received_at, count: 0, value }
    }

    /// Whether another event of this size should begin a pack of its own.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        self.count > 0 && self.value.len() - BEFORE_EVENTS + bytes > PACK_BYTES
    }

    /// Takes in an encoded event and its payload.
    pub(super) fn push(
        &mut self,
        event: &[u8],
        packed: &Packed,
        sequence: Sequence,
        received_at: Timestamp,
    ) {
        assert_eq!(
            self.first.get() + u64::from(self.count),
            sequence.get(),
            "the sequences of a pack have no gaps"
        );
        codec::push_entry(&mut self.value, event, packed);
        self.count += 1;
        self.last_received = received_at;
    }

    /// Returns the pack as a value.
    pub(super) fn seal(mut self) -> Vec<u8> {
        let header = [
            &self.first_received.as_micros().to_be_bytes()[..],
            &self.last_received.as_micros().to_be_bytes(),
            &self.count.to_be_bytes(),
        ];
        let room = self.value.get_mut(keys::CHECKSUM_BYTES..BEFORE_EVENTS);
        room.expect("it was left there").copy_from_slice(&header.concat());
        keys::seal_in_place(&mut self.value);
        self.value
    }
}

/// A pack that was read, its events not yet decoded.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) first_received: Timestamp,
    pub(super) last_received: Timestamp,
    entries: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PackRow {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<codec::EntryRow>,
}

impl Pack {
    /// Reads a pack's row. Its events stay where sled has them.
    pub(super) fn read(
        key: &[u8],
        value: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Self, ReadError> {
        keys::unseal(key, value.as_ref())?;
        Self::of_content(key, Bytes::from_owner(value).slice(keys::CHECKSUM_BYTES..))
    }

    /// Reads a pack whose checksum was looked at.
    pub(super) fn of_content(key: &[u8], content: Bytes) -> Result<Self, ReadError> {
        let (mut header, _) =
            content.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("a pack is too short"))?;
        let pack = Self {
            first: keys::number(key, 0)?,
            first_received: codec::timestamp(keys::take_i64(&mut header)?)?,
            last_received: codec::timestamp(keys::take_i64(&mut header)?)?,
            count: keys::take_u32(&mut header)?,
            entries: content.slice(HEADER_BYTES..),
        };
        if pack.count == 0 || pack.first == 0 {
            return Err(damaged("a pack without events"));
        }
        Ok(pack)
    }

    /// Returns the sequence of its last event.
    pub(super) fn last(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count) - 1)
    }

    /// Decodes its events.
    pub(super) fn entries(&self) -> Result<Vec<Arc<Entry>>, ReadError> {
        let row = PackRow::decode(self.entries.clone())
            .map_err(|error| damaged(format!("the pack of event `{}`: {error}", self.first)))?;
        let mut entries = Vec::with_capacity(row.entries.len());
        for (row, sequence) in row.entries.into_iter().zip(self.first..) {
            let entry = codec::entry(row, None).map_err(|error| match error {
                ReadError::Damaged(what) => damaged(format!("event `{sequence}`: {what}")),
                error @ ReadError::Unavailable(_) => error,
            })?;
            if entry.event.sequence.get() != sequence {
                return Err(damaged(format!("another event stands in the place of `{sequence}`")));
            }
            entries.push(Arc::new(entry));
        }
        if entries.len() != usize::try_from(self.count).unwrap_or(usize::MAX) {
            return Err(damaged(format!("the pack of event `{}` lacks events", self.first)));
        }
        Ok(entries)
    }
}
