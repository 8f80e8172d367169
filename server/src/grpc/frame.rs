//! What a stream of deliveries sends, and how it is encoded: a delivery is written from the log's entry, since a message would
//! own a copy of each of the event's texts.

use std::sync::Arc;

use bytes::BufMut;
use hookline_proto::v1::{self, subscribe_response};
use prost::Message as _;
use tonic::{
    Status,
    codec::{Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use super::convert::{self, Payload};
use crate::{encoding::push_event, limits::STREAM_BUFFER_BYTES, store::Entry};

/// A `SubscribeResponse`.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// One that is no delivery.
    Message(Box<v1::SubscribeResponse>),
    Delivery(Box<Delivered>),
}

/// A delivery.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    /// All but its event.
    pub(super) delivery: v1::Delivery,
    /// The event.
    pub(super) entry: Arc<Entry>,
    /// The event's payload as the stream shows it.
    pub(super) payload: Payload,
}

impl Frame {
    /// Returns it as a message.
    pub(super) fn into_message(self) -> v1::SubscribeResponse {
        let Delivered { mut delivery, entry, payload } = match self {
            Self::Message(message) => return *message,
            Self::Delivery(delivered) => *delivered,
        };
        delivery.event = Some(convert::with_payload(convert::bare_event(&entry), payload));
        let message = subscribe_response::Message::Delivery(delivery);
        v1::SubscribeResponse { message: Some(message) }
    }
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

/// Encodes frames.
#[derive(Debug, Default)]
pub(super) struct FrameEncoder {
    /// Where an event is written to learn how long it is; kept, so that its memory is asked for once.
    event: Vec<u8>,
}

impl FrameEncoder {
    fn encode_delivery(&mut self, delivered: &Delivered, buf: &mut EncodeBuf<'_>) {
        let Delivered { delivery, entry, payload } = delivered;
        self.event.clear();
        push_event(&mut self.event, &entry.event, entry.payload_size);
        let payload_len = match payload {
            // As prost leaves out what is empty.
            Payload::Absent => 0,
            Payload::Bytes(bytes) if bytes.is_empty() => 0,
            Payload::Bytes(bytes) => delimited_len(bytes.len()),
            Payload::Value(value) => delimited_len(value.encoded_len()),
        };
        let event_len = self.event.len() + payload_len;
        let delivery_len = delivery.encoded_len() + delimited_len(event_len);
        let message_len = delimited_len(delivery_len);
        if buf.chunk_mut().len() < message_len {
            // Room for some more at once: what is in the buffer is moved each time that it grows.
            buf.reserve(message_len.max(STREAM_BUFFER_BYTES));
        }
        delimit(buf, field::DELIVERY, delivery_len);
        encode(delivery, buf);
        delimit(buf, field::EVENT, event_len);
        buf.put_slice(&self.event);
        match payload {
            Payload::Absent => {}
            Payload::Bytes(bytes) if bytes.is_empty() => {}
            Payload::Bytes(bytes) => {
                delimit(buf, field::PAYLOAD, bytes.len());
                buf.put_slice(bytes);
            }
            Payload::Value(value) => {
                delimit(buf, field::PAYLOAD_JSON, value.encoded_len());
                encode(value, buf);
            }
        }
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

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match &frame {
            Frame::Message(message) => encode(&**message, buf),
            Frame::Delivery(delivered) => self.encode_delivery(delivered, buf),
        }
        Ok(())
    }
}

/// The codec of `Subscribe`.
#[derive(Debug, Default)]
pub(super) struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = v1::SubscribeRequest;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<v1::SubscribeRequest>;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

#[cfg(test)]
mod tests;
