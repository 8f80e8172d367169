//! The codec of `Subscribe`: a delivery is written from the log's entry, since a message would own a copy of each of the
//! event's texts.

use std::sync::Arc;

use bytes::BufMut;
use hookline_proto::v1;
use prost::Message as _;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use super::convert::Payload;
use crate::{
    encoding::push_event,
    limits::{STREAM_BUFFER_BYTES, STREAM_CHUNK_BYTES},
    store::Entry,
};

/// A `SubscribeResponse` as a stream has it.
#[derive(Debug)]
pub(super) enum StreamMessage {
    /// One that is no delivery.
    Other(Box<v1::SubscribeResponse>),
    Delivery(Box<Delivered>),
}

/// A delivery.
#[derive(Debug)]
pub(super) struct Delivered {
    /// All but its event.
    pub(super) delivery: v1::Delivery,
    /// The event.
    pub(super) entry: Arc<Entry>,
    /// The event's payload as the stream shows it.
    pub(super) payload: Payload,
}

/// The numbers of the fields that are written here.
mod field {
    /// `SubscribeResponse.delivery`
    pub(super) const DELIVERY: u8 = 2;
    /// `Delivery.event`
    pub(super) const EVENT: u8 = 2;
    /// `Event.payload`
    pub(super) const PAYLOAD: u8 = 9;
    /// `Event.payload_json`
    pub(super) const PAYLOAD_JSON: u8 = 14;
}

/// Encodes the messages of a stream.
#[derive(Debug, Default)]
pub(super) struct StreamEncoder {
    /// Where an event is written to learn how long it is. Kept, unless it was a long one.
    event: Vec<u8>,
}

impl StreamEncoder {
    fn encode_delivery(&mut self, delivered: &Delivered, buf: &mut EncodeBuf<'_>) {
        let Delivered { delivery, entry, payload } = delivered;
        debug_assert!(delivery.event.is_none(), "it would be merged with the entry's");
        push_event(&mut self.event, &entry.event, entry.payload_size);
        // As prost leaves out what is empty.
        let field = match payload {
            Payload::Absent => None,
            Payload::Bytes(bytes) => (!bytes.is_empty()).then_some((field::PAYLOAD, bytes.len())),
            Payload::Value(value) => Some((field::PAYLOAD_JSON, value.encoded_len())),
        };
        let event_len = self.event.len() + field.map_or(0, |(_, len)| delimited_len(len));
        let delivery_len = delivery.encoded_len() + delimited_len(event_len);
        reserve(buf, delimited_len(delivery_len));
        delimit(buf, field::DELIVERY, delivery_len);
        encode(delivery, buf);
        delimit(buf, field::EVENT, event_len);
        buf.put_slice(&self.event);
        if let Some((field, len)) = field {
            delimit(buf, field, len);
        }
        match payload {
            Payload::Absent => {}
            Payload::Bytes(bytes) => buf.put_slice(bytes),
            Payload::Value(value) => encode(value, buf),
        }
        self.event.clear();
        self.event.shrink_to(EVENT_BYTES_KEPT);
    }
}

/// How much of the room for an event a stream keeps: that of an ordinary one.
const EVENT_BYTES_KEPT: usize = 4 * 1024;
/// The room that a stream begins with.
const FIRST_BUFFER_BYTES: usize = 8 * 1024;

/// Makes room for a message, and for those that are gathered with it: what is in the buffer is copied each time that it grows.
fn reserve(buf: &mut EncodeBuf<'_>, len: usize) {
    if buf.chunk_mut().len() < len {
        buf.reserve(len.max(STREAM_BUFFER_BYTES));
    }
}

/// Returns how many bytes a field takes that has its length before it.
fn delimited_len(len: usize) -> usize {
    1 + prost::length_delimiter_len(len) + len
}

/// Writes what stands before such a field.
fn delimit(buf: &mut EncodeBuf<'_>, field: u8, len: usize) {
    const DELIMITED: u8 = 2;
    buf.put_u8(field << 3 | DELIMITED);
    prost::encode_length_delimiter(len, buf).expect("the buffer grows");
}

fn encode(message: &impl prost::Message, buf: &mut EncodeBuf<'_>) {
    message.encode(buf).expect("the buffer grows");
}

impl Encoder for StreamEncoder {
    type Item = StreamMessage;
    type Error = Status;

    fn encode(&mut self, message: StreamMessage, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match &message {
            StreamMessage::Other(message) => encode(&**message, buf),
            StreamMessage::Delivery(delivered) => self.encode_delivery(delivered, buf),
        }
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_BUFFER_BYTES, STREAM_CHUNK_BYTES)
    }
}

/// The codec of `Subscribe`.
#[derive(Debug, Default)]
pub(super) struct StreamCodec;

impl Codec for StreamCodec {
    type Encode = StreamMessage;
    type Decode = v1::SubscribeRequest;
    type Encoder = StreamEncoder;
    type Decoder = ProstDecoder<v1::SubscribeRequest>;

    fn encoder(&mut self) -> StreamEncoder {
        StreamEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

#[cfg(test)]
mod tests;
