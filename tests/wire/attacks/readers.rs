//! Readers that never read, with windows that let the hub send without end.

use std::time::Duration;

use hookline_proto::v1::{
    GetEventRequest, ListEventsRequest, SubscribeRequest, WatchEventsRequest,
};

use super::{
    range::{Range, Target},
    raw::{Raw, whole_call},
};
use crate::{agent::everything, http::Webhook, strace};

const CONNECTIONS: u32 = 3;
const CALLS: u32 = 300;
const EVENTS: usize = 12;
const EVENT_BYTES: usize = 2 << 20;

/// Puts large events into the log, whose payloads compress badly, and returns the id of the last.
async fn fill(range: &Range) -> String {
    let mut id = String::new();
    let text = strace::text(EVENT_BYTES);
    for number in 0..EVENTS {
        let body = format!(r#"{{"number": {number}, "text": "{text}"}}"#);
        let webhook = Webhook::github("issues", &format!("large-{number}"), body);
        id = range.hub.take(&webhook).await;
    }
    id
}

/// Has connections make calls whose answers nobody reads.
async fn withstand(name: &str, call: impl Fn(u32, u32, &str) -> Vec<u8> + Send + 'static) {
    let mut range = Range::start().await;
    let id = fill(&range).await;
    let attack = |target: Target| async move {
        let mut connections = Vec::new();
        for connection in 0..CONNECTIONS {
            let mut raw = Raw::open_wide(target.grpc).await.unwrap();
            for number in 0..CALLS {
                let stream = 2 * number + 1;
                raw.send(&call(stream, connection * CALLS + number, &id)).await.unwrap();
            }
            connections.push(raw);
        }
        target.on.cancel();
        target.over.cancelled().await;
        format!("{} calls over {CONNECTIONS} connections were not read", CONNECTIONS * CALLS)
    };
    range.withstand(name, Duration::from_secs(4), attack).await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn subscribers_that_never_read() {
    withstand("subscribers that never read", |stream, number, _| {
        let subscribe = SubscribeRequest {
            consumer: format!("deaf-{number}"),
            patterns: vec!["github/issues".to_owned()],
            max_in_flight: Some(100),
            ..everything(&format!("deaf-{number}"))
        };
        whole_call(stream, "SubscriberService/Subscribe", &subscribe)
    })
    .await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn watchers_that_never_read() {
    withstand("watchers that never read", |stream, _, _| {
        let watch = WatchEventsRequest { start: crate::agent::earliest(), ..Default::default() };
        whole_call(stream, "EventService/WatchEvents", &watch)
    })
    .await;
}

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn lists_and_events_that_nobody_reads() {
    withstand("lists and events that nobody reads", |stream, number, id| {
        if number % 2 == 0 {
            let list = ListEventsRequest::default();
            return whole_call(stream, "EventService/ListEvents", &list);
        }
        let get = GetEventRequest { id: id.to_owned(), ..Default::default() };
        whole_call(stream, "EventService/GetEvent", &get)
    })
    .await;
}
