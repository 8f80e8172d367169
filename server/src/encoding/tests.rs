//! What is written here is what prost encodes.

use bytes::Bytes;
use hookline_core::event::{EventType, SourceName};
use hookline_proto::v1 as proto;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::store::{Entry, Packed};

/// Returns the bytes of an event as prost encodes them, without its place and with nothing but it.
fn by_prost(entry: &Entry) -> [Vec<u8>; 2] {
    let (event, content) = (&entry.event, &entry.event.content);
    let time = |time: Timestamp| {
        let micros = time.as_micros();
        let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap();
        Some(prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos })
    };
    let pairs = content.metadata.iter();
    let of_content = proto::Event {
        source: content.source.to_string(),
        event_type: content.event_type.to_string(),
        timestamp: time(content.timestamp),
        actor: content.actor.to_string(),
        resource_type: content.resource_type.to_string(),
        resource_id: content.resource_id.to_string(),
        metadata: pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        delivery_key: content.delivery_key.to_string(),
        payload_size: entry.payload_size,
        ..proto::Event::default()
    };
    let of_place = proto::Event {
        id: event.id.to_string(),
        sequence: event.sequence.get(),
        received_at: time(event.received_at),
        ..proto::Event::default()
    };
    [of_content.encode_to_vec(), of_place.encode_to_vec()]
}

fn time() -> impl Strategy<Value = Timestamp> {
    let micros = Timestamp::MIN.as_micros()..=Timestamp::MAX.as_micros();
    prop_oneof![micros, Just(0), Just(1_795_000_000_000_000)]
        .prop_map(|micros| Timestamp::from_micros(micros).unwrap())
}

/// Returns any entry; its payload is `{}`, whatever its size is said to be.
pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    // Texts on both sides of where a length takes another byte.
    let text = || prop_oneof![".{0,8}", "[a-z]{120,140}", Just("x".repeat(20_000))];
    let texts = (text(), text(), text(), text());
    let metadata = prop::collection::vec((text(), text()), 0..4);
    let places = (any::<[u8; 16]>(), 1..=u64::MAX, time());
    let names = ("[a-z0-9_-]{1,64}", "[a-z0-9_.-]{1,128}");
    (names, time(), texts, metadata, any::<u64>(), places).prop_map(
        |((source, event_type), timestamp, texts, metadata, payload_size, place)| {
            let (actor, resource_type, resource_id, delivery_key) = texts;
            let (id, sequence, received_at) = place;
            let content = NewEvent {
                source: SourceName::parse(&source).unwrap(),
                event_type: EventType::parse(&event_type).unwrap(),
                timestamp,
                actor: actor.into(),
                resource_type: resource_type.into(),
                resource_id: resource_id.into(),
                payload: Bytes::new(),
                metadata: metadata.into_iter().collect(),
                delivery_key: delivery_key.into(),
                replay_window: None,
            };
            let (id, sequence) = (EventId::from_bytes(id), Sequence::new(sequence).unwrap());
            let event = Event { id, sequence, received_at, content };
            Entry { event, payload_size, packed: Packed::Plain(Bytes::from_static(b"{}")) }
        },
    )
}

proptest! {
    #[test]
    fn an_event_is_written_as_prost_encodes_it(entry in entry()) {
        let [of_content, of_place] = by_prost(&entry);
        let mut bytes = encode_content(&entry.event.content, entry.payload_size);
        prop_assert_eq!(&bytes, &of_content);
        let (event, capacity) = (&entry.event, bytes.capacity());
        push_place(&mut bytes, event.id, event.sequence, event.received_at);
        prop_assert_eq!(bytes.capacity(), capacity, "there was room");
        prop_assert_eq!(bytes, [of_content, of_place].concat());
    }
}
