use bytes::Bytes;
use futures_util::stream;
use hookline_proto::v1::subscribe_response;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tonic::codec::{EncodeBody, SingleMessageCompressionOverride};

use super::{super::convert, *};
use crate::encoding::tests::entry;

/// Before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// Returns messages as they are sent.
fn sent(messages: Vec<StreamMessage>) -> Vec<v1::SubscribeResponse> {
    let messages = stream::iter(messages.into_iter().map(Ok));
    let (encoder, compression) =
        (StreamEncoder::default(), SingleMessageCompressionOverride::default());
    let body = EncodeBody::new_server(encoder, messages, None, compression, None);
    let collected = futures_util::FutureExt::now_or_never(body.collect());
    let mut bytes = collected.expect("all messages are there").unwrap().to_bytes();
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let header = bytes.split_to(HEADER_BYTES);
        assert_eq!(header[0], 0, "it is not compressed");
        let len = u32::from_be_bytes(header[1..].try_into().unwrap());
        let message = bytes.split_to(usize::try_from(len).unwrap());
        messages.push(v1::SubscribeResponse::decode(message).unwrap());
    }
    messages
}

/// Returns a message as one that owns all it says.
fn whole(message: &StreamMessage) -> v1::SubscribeResponse {
    let Delivered { delivery, entry, payload } = match message {
        StreamMessage::Other(message) => return (**message).clone(),
        StreamMessage::Delivery(delivered) => &**delivered,
    };
    let event = convert::with_payload(convert::bare_event(entry), payload.clone());
    let delivery = v1::Delivery { event: Some(event), ..delivery.clone() };
    let message = subscribe_response::Message::Delivery(delivery);
    v1::SubscribeResponse { message: Some(message) }
}

fn payload() -> impl Strategy<Value = Payload> {
    let text = |text: String| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text)),
    };
    prop_oneof![
        Just(Payload::Absent),
        Just(Payload::Bytes(Bytes::new())),
        "[a-z]{1,300}".prop_map(|bytes| Payload::Bytes(bytes.into())),
        Just(Payload::Bytes(vec![b'x'; STREAM_BUFFER_BYTES].into())),
        Just(Payload::Value(prost_types::Value::default())),
        "[a-z]{0,300}".prop_map(move |value| Payload::Value(text(value))),
    ]
}

fn delivery() -> impl Strategy<Value = v1::Delivery> {
    let (lease, checkpoint) = ("[a-z]{0,200}", prop::collection::vec(any::<u8>(), 0..200));
    (lease, any::<u32>(), checkpoint).prop_map(|(lease_id, attempt, checkpoint)| v1::Delivery {
        lease_id,
        attempt,
        lease_duration: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        previous_attempts: vec![v1::Attempt { number: attempt, ..v1::Attempt::default() }],
        checkpoint: checkpoint.into(),
        ..v1::Delivery::default()
    })
}

fn message() -> impl Strategy<Value = StreamMessage> {
    let other = subscribe_response::Message::Heartbeat(v1::Heartbeat::default());
    let other = v1::SubscribeResponse { message: Some(other) };
    let delivered = (delivery(), entry(), payload()).prop_map(|(delivery, entry, payload)| {
        StreamMessage::Delivery(Box::new(Delivered { delivery, entry: Arc::new(entry), payload }))
    });
    prop_oneof![1 => Just(()).prop_map(move |()| StreamMessage::Other(Box::new(other.clone()))), 4 => delivered]
}

proptest! {
    #[test]
    fn what_is_sent_is_what_the_messages_say(messages in prop::collection::vec(message(), 1..6)) {
        let whole: Vec<_> = messages.iter().map(whole).collect();
        prop_assert_eq!(sent(messages), whole);
    }
}
