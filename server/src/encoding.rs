//! Messages of the contract written field by field from what is borrowed. One that is made to be encoded would have to own
//! all that it holds: for an event a copy of each of its texts.

use hookline_core::{
    event::{Event, EventId, NewEvent, Sequence},
    time::Timestamp,
};

/// Returns the part of an encoded `hookline.v1.Event` that is known before it has its place in the log. There is room behind
/// it for [`push_place`].
pub(crate) fn encode_content(content: &NewEvent, payload_size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_content(&mut bytes, content, payload_size);
    bytes
}

/// Adds an event as an encoded `hookline.v1.Event`, without its payload.
pub(crate) fn push_event(bytes: &mut Vec<u8>, event: &Event, payload_size: u64) {
    push_content(bytes, &event.content, payload_size);
    push_place(bytes, event.id, event.sequence, event.received_at);
}

/// Adds the part of an encoded event that gives it its place to its content: the two are one message.
pub(crate) fn push_place(
    content: &mut Vec<u8>,
    id: EventId,
    sequence: Sequence,
    received_at: Timestamp,
) {
    let mut event = Writer(content);
    event.text(1, id.write(&mut [0; EventId::TEXT_BYTES]));
    event.number(2, sequence.get());
    event.small_message(11, |time| write_time(time, received_at));
}

fn push_content(bytes: &mut Vec<u8>, content: &NewEvent, payload_size: u64) {
    let texts: [&str; 6] = [
        content.source.as_str(),
        content.event_type.as_str(),
        &content.actor,
        &content.resource_type,
        &content.resource_id,
        &content.delivery_key,
    ];
    let texts: usize = texts.iter().map(|text| text.len() + TEXT_AROUND).sum();
    let pairs = content.metadata.iter();
    let pairs: usize = pairs.map(|(key, value)| key.len() + value.len() + 3 * TEXT_AROUND).sum();
    bytes.reserve_exact(texts + pairs + NUMBERS_BYTES + PLACE_BYTES);
    let mut event = Writer(bytes);
    event.text(3, content.source.as_str());
    event.text(4, content.event_type.as_str());
    event.small_message(5, |time| write_time(time, content.timestamp));
    event.text(6, &content.actor);
    event.text(7, &content.resource_type);
    event.text(8, &content.resource_id);
    for (key, value) in content.metadata.iter() {
        event.pair(10, key, value);
    }
    event.text(12, &content.delivery_key);
    event.number(13, payload_size);
}

/// What stands before a text of up to 2 MB: the number of its field, and its length.
const TEXT_AROUND: usize = 4;
/// The most that the time of an event and the size of its payload take.
const NUMBERS_BYTES: usize = 19 + 11;
/// The most that an event's place takes: its id, its sequence and the time of receipt.
const PLACE_BYTES: usize = 38 + 11 + 19;

/// Writes a time as a `google.protobuf.Timestamp`.
fn write_time(message: &mut Writer<'_>, time: Timestamp) {
    let micros = time.as_micros();
    message.number(1, micros.div_euclid(1_000_000).cast_unsigned());
    message.number(2, micros.rem_euclid(1_000_000).cast_unsigned() * 1_000);
}

/// A message as it is written, the same bytes as an encoded one: fields in the order of their calls, and none with the
/// default of its type.
struct Writer<'b>(&'b mut Vec<u8>);

/// How a value is written behind its field's number.
const VARINT: u32 = 0;
const DELIMITED: u32 = 2;

impl Writer<'_> {
    fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.varint(u64::from(field << 3 | VARINT));
            self.varint(number);
        }
    }

    fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.delimited(field, text.len());
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    /// Writes a message that is there, even if all that it holds are defaults. It has at most [`SMALL_BYTES_MAX`].
    fn small_message(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.varint(u64::from(field << 3 | DELIMITED));
        let place = self.0.len();
        self.0.push(0);
        write(&mut Writer(self.0));
        let length = self.0.len() - place - 1;
        assert!(length <= SMALL_BYTES_MAX, "a small message is small");
        if let Some(byte) = self.0.get_mut(place) {
            *byte = u8::try_from(length).expect("it was looked at just now");
        }
    }

    /// Writes one pair of a map.
    fn pair(&mut self, field: u32, key: &str, value: &str) {
        self.delimited(field, text_len(key) + text_len(value));
        self.text(1, key);
        self.text(2, value);
    }

    fn delimited(&mut self, field: u32, len: usize) {
        self.varint(u64::from(field << 3 | DELIMITED));
        self.varint(u64::try_from(len).expect("a length fits 64 bits"));
    }

    fn varint(&mut self, mut number: u64) {
        while 0x80 <= number {
            let [low, ..] = number.to_le_bytes();
            self.0.push(low | 0x80);
            number >>= 7;
        }
        let [last, ..] = number.to_le_bytes();
        self.0.push(last);
    }
}

/// The most bytes of a message whose length is written in one byte.
const SMALL_BYTES_MAX: usize = 0x7f;

/// Returns how many bytes a text takes as a field with a number below 16.
fn text_len(text: &str) -> usize {
    match text.len() {
        0 => 0,
        len => 1 + prost::length_delimiter_len(len) + len,
    }
}

#[cfg(test)]
pub(crate) mod tests;
