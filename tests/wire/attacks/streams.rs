//! Streams by the thousand that nothing comes over.

use std::{net::SocketAddr, time::Duration};

use hookline_proto::v1::{SubscribeRequest, WatchEventsRequest};
use tokio::task::JoinSet;

use super::{
    range::{Range, Target},
    raw::{HEADERS, RST_STREAM, Raw, whole_call},
};
use crate::{
    agent::everything,
    hub::{Hub, soon},
};

/// As many calls as a connection may have.
const PER_CONNECTION: u32 = 1_000;
const CONNECTIONS: u32 = 10;
const PER_SUBSCRIPTION: u32 = 100;
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];

/// Opens as many streams as a connection may have, and waits for all of them; half are watches, half subscribe.
async fn fill(address: SocketAddr, connection: u32) -> Raw {
    let mut raw = Raw::open(address).await.unwrap();
    for number in 0..PER_CONNECTION {
        let stream = 2 * number + 1;
        let call = if number % 2 == 0 {
            let watch = WatchEventsRequest::default();
            whole_call(stream, "EventService/WatchEvents", &watch)
        } else {
            let (subscription, consumer) = (number / PER_SUBSCRIPTION, number);
            let subscribe = SubscribeRequest {
                consumer: format!("idle-{consumer}"),
                patterns: vec!["stripe".to_owned()],
                ..everything(&format!("idle-{connection}-{subscription}"))
            };
            whole_call(stream, "SubscriberService/Subscribe", &subscribe)
        };
        raw.send(&call).await.unwrap();
    }
    let mut opened = 0;
    while opened < PER_CONNECTION {
        let frame = raw.read().await.unwrap();
        assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
        opened += u32::from(frame.kind == HEADERS);
    }
    raw
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn ten_thousand_idle_streams() {
    let mut range = Range::start().await;
    let attack = |target: Target| async move {
        let mut opening = JoinSet::new();
        for connection in 0..CONNECTIONS {
            opening.spawn(fill(target.grpc, connection));
        }
        let open = opening.join_all().await;
        target.on.cancel();
        target.over.cancelled().await;
        format!("{} streams were open", open.len() * usize::try_from(PER_CONNECTION).unwrap())
    };
    range.withstand("10,000 idle streams", Duration::from_secs(4), attack).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn a_call_more_than_a_connection_may_have_is_refused_and_harms_no_other() {
    let hub = Hub::start().await;
    let mut raw = fill(hub.grpc_address(), 0).await;
    let stream = 2 * PER_CONNECTION + 1;
    let watch = WatchEventsRequest::default();
    raw.send(&whole_call(stream, "EventService/WatchEvents", &watch)).await.unwrap();
    let refused = async {
        loop {
            let frame = raw.read().await.unwrap();
            if frame.kind == RST_STREAM {
                return frame;
            }
        }
    };
    let refused = soon("the refusal", refused).await;
    assert_eq!((refused.stream, &refused.payload[..]), (stream, &REFUSED_STREAM[..]));
    // Another connection has calls of its own.
    hub.agent().await.publish("note").await;
}
