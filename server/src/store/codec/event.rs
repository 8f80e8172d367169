//! Reading an event, field by field, from where it lies. A message would own a copy of each text, and the event copies them
//! once more.

use bytes::Bytes;
use hookline_core::{
    event::{Event, EventId, EventType, NameError, NewEvent, SourceName},
    metadata::Metadata,
    time::Timestamp,
};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{super::ReadError, damaged, sequence};

/// Reads an encoded `hookline.v1.Event` without its payload; returns it with the size of its payload. Fields that are not
/// known are passed over.
pub(super) fn read_event(message: &[u8]) -> Result<(Event, u64), ReadError> {
    let [mut id, mut source, mut event_type, mut actor] = [""; 4];
    let [mut resource_type, mut resource_id, mut delivery_key] = [""; 3];
    let [mut place, mut payload_size] = [0; 2];
    let [mut timestamp, mut received_at] = [None; 2];
    let mut metadata = Metadata::default();
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => id = text(bytes)?,
            (2, Value::Number(number)) => place = number,
            (3, Value::Bytes(bytes)) => source = text(bytes)?,
            (4, Value::Bytes(bytes)) => event_type = text(bytes)?,
            (5, Value::Bytes(bytes)) => timestamp = Some(time(bytes)?),
            (6, Value::Bytes(bytes)) => actor = text(bytes)?,
            (7, Value::Bytes(bytes)) => resource_type = text(bytes)?,
            (8, Value::Bytes(bytes)) => resource_id = text(bytes)?,
            (10, Value::Bytes(bytes)) => {
                let (key, value) = pair(bytes)?;
                metadata.insert(key, value);
            }
            (11, Value::Bytes(bytes)) => received_at = Some(time(bytes)?),
            (12, Value::Bytes(bytes)) => delivery_key = text(bytes)?,
            (13, Value::Number(number)) => payload_size = number,
            (1..=8 | 10..=13, _) => return Err(damaged("a field of another kind in an event")),
            _ => {}
        }
    }
    let name = |error: NameError| damaged(error.to_string());
    let no_time = || damaged("an event without a time");
    let event = Event {
        id: EventId::parse(id).ok_or_else(|| damaged("an event's id"))?,
        sequence: sequence(place)?,
        received_at: received_at.ok_or_else(no_time)?,
        content: NewEvent {
            source: SourceName::parse(source).map_err(name)?,
            event_type: EventType::parse(event_type).map_err(name)?,
            timestamp: timestamp.ok_or_else(no_time)?,
            actor: actor.into(),
            resource_type: resource_type.into(),
            resource_id: resource_id.into(),
            payload: Bytes::new(),
            metadata,
            delivery_key: delivery_key.into(),
            replay_window: None,
        },
    };
    Ok((event, payload_size))
}

/// Reads a `google.protobuf.Timestamp`.
fn time(message: &[u8]) -> Result<Timestamp, ReadError> {
    let [mut seconds, mut nanos] = [0; 2];
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(number)) => seconds = number.cast_signed(),
            (2, Value::Number(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    let micros = seconds.checked_mul(1_000_000);
    let micros = micros.and_then(|micros| micros.checked_add(nanos / 1_000));
    micros.and_then(Timestamp::from_micros).ok_or_else(|| damaged("an event's time"))
}

/// Reads one pair of a map.
fn pair(message: &[u8]) -> Result<(&str, &str), ReadError> {
    let [mut key, mut value] = [""; 2];
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    str::from_utf8(bytes).map_err(|error| damaged(format!("a text of an event: {error}")))
}

/// The fields of a message that are numbers, or bytes: texts and messages are these.
struct Fields<'b>(&'b [u8]);

enum Value<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Fields<'b> {
    /// Returns the next one, with its number.
    fn next(&mut self) -> Result<Option<(u32, Value<'b>)>, ReadError> {
        let malformed = |error| damaged(format!("an event's message: {error}"));
        while !self.0.is_empty() {
            let (number, kind) = decode_key(&mut self.0).map_err(malformed)?;
            match kind {
                WireType::Varint => {
                    let value = decode_varint(&mut self.0).map_err(malformed)?;
                    return Ok(Some((number, Value::Number(value))));
                }
                WireType::LengthDelimited => {
                    let len = decode_varint(&mut self.0).map_err(malformed)?;
                    let parts =
                        usize::try_from(len).ok().and_then(|len| self.0.split_at_checked(len));
                    let (bytes, rest) =
                        parts.ok_or_else(|| damaged("an event ends within a field"))?;
                    self.0 = rest;
                    return Ok(Some((number, Value::Bytes(bytes))));
                }
                kind @ (WireType::SixtyFourBit
                | WireType::ThirtyTwoBit
                | WireType::StartGroup
                | WireType::EndGroup) => {
                    let context = DecodeContext::default();
                    skip_field(kind, number, &mut self.0, context).map_err(malformed)?;
                }
            }
        }
        Ok(None)
    }
}
