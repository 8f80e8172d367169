use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tonic::codec::{EncodeBody, SingleMessageCompressionOverride};

use super::*;
use crate::encoding::tests::entry;

/// Before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// Returns frames as they are sent, a message each.
fn sent(frames: Vec<Frame>) -> Vec<v1::SubscribeResponse> {
    let frames = stream::iter(frames.into_iter().map(Ok));
    let (encoder, compression) =
        (FrameEncoder::default(), SingleMessageCompressionOverride::default());
    let body = EncodeBody::new_server(encoder, frames, None, compression, None);
    let collected = futures_util::FutureExt::now_or_never(body.collect());
    let mut bytes = collected.expect("all frames are there").unwrap().to_bytes();
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

fn frame() -> impl Strategy<Value = Frame> {
    let other = subscribe_response::Message::Heartbeat(v1::Heartbeat::default());
    let other = v1::SubscribeResponse { message: Some(other) };
    let delivered = (delivery(), entry(), payload()).prop_map(|(delivery, entry, payload)| {
        Frame::Delivery(Box::new(Delivered { delivery, entry: Arc::new(entry), payload }))
    });
    prop_oneof![1 => Just(Frame::Message(Box::new(other))), 4 => delivered]
}

proptest! {
    #[test]
    fn what_is_sent_is_what_the_messages_say(frames in prop::collection::vec(frame(), 1..6)) {
        let messages: Vec<_> = frames.iter().cloned().map(Frame::into_message).collect();
        prop_assert_eq!(sent(frames), messages);
    }
}
