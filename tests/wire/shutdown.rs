//! The end of the hub, as a service manager asks for it.

use std::time::Duration;

use hookline_proto::v1::{
    DeliveryState, NackAction, Outcome, SubscribeRequest, WatchEventsRequest,
    subscribe_response::Message,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    agent::{Stream, event_id, everything, key, only},
    http::Webhook,
    hub::{Hub, Settings, soon, wall},
};

async fn draining(stream: &mut Stream) {
    let message = stream.message().await.unwrap();
    let Message::Draining(draining) = message.clone() else {
        panic!("expected `draining`, got {message:?}")
    };
    assert!(draining.grace.is_some());
}

#[tokio::test]
async fn d8_a_hundred_streams_are_told_and_closed_within_the_grace_period_and_the_exit_code_is_0() {
    const GRACE: Duration = Duration::from_secs(4);
    let mut hub = Hub::start_with(Settings { grace: Some("4s"), ..Settings::default() }).await;
    hub.take_each(["a"]).await;
    let mut agents = Vec::new();
    for _ in 0..5 {
        agents.push(hub.agent().await);
    }
    let mut streams = Vec::new();
    for number in 0..100 {
        let request = SubscribeRequest {
            consumer: format!("consumer-{number}"),
            ..everything(&format!("work-{}", number / 10))
        };
        streams.push(agents[number % 5].subscribe(request).await);
    }
    // One of each subscription's consumers has its event, and does not settle it.
    for subscription in streams.chunks_mut(10) {
        subscription[0].delivery().await;
    }
    let mut watching = agents[0].events.clone();
    let watch = WatchEventsRequest::default();
    let mut watch = soon("a watch", watching.watch_events(watch)).await.unwrap().into_inner();
    let mut open = hub.http().await;
    let started = wall();
    hub.terminate();
    for stream in &mut streams {
        draining(stream).await;
    }
    let late = open.post(&Webhook::push("late")).await;
    assert!(late.is_err() || late.is_ok_and(|answer| answer.status == 503));
    for stream in &mut streams {
        let end = stream.end().await;
        assert_eq!(end.code(), Code::Unavailable, "{end}");
        assert!(end.get_details_retry_info().is_some());
    }
    let end = soon("the end of the watch", watch.message()).await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert_eq!(hub.exited().await.code(), Some(0));
    let took = wall() - started;
    assert!(took < GRACE + Duration::from_secs(1), "{took:?}");
    hub.start_again().await;
    assert_eq!(hub.agent().await.list(Default::default()).await.len(), 1);
}

#[tokio::test]
async fn settles_are_served_while_the_hub_drains_and_it_ends_when_all_is_settled() {
    let mut hub = Hub::start_with(Settings { grace: Some("60s"), ..Settings::default() }).await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let held = stream.delivery().await;
    hub.terminate();
    draining(&mut stream).await;
    assert_eq!(agent.extend(&held.lease_id, None).await.outcome(), Outcome::Applied);
    assert_eq!(agent.ack(&[&held.lease_id]).await, [Outcome::Applied]);
    // No event is begun any more.
    assert_eq!(stream.end().await.code(), Code::Unavailable);
    assert_eq!(hub.exited().await.code(), Some(0));
    hub.start_again().await;
    let agent = hub.agent().await;
    assert_eq!(only(&agent.event(event_id(&held)).await).state(), DeliveryState::Done);
    assert_eq!(key(&agent.subscribe(everything("work")).await.delivery().await), "b");
}

#[tokio::test]
async fn leases_survive_a_graceful_restart_and_no_attempt_is_counted() {
    let mut hub = Hub::start().await;
    hub.take_each(["a", "b", "c"]).await;
    let agent = hub.agent().await;
    let request = SubscribeRequest { max_in_flight: Some(2), ..everything("work") };
    let mut stream = agent.subscribe(request.clone()).await;
    let (one, two) = (stream.delivery().await, stream.delivery().await);
    hub.restart().await;

    let agent = hub.agent().await;
    assert_eq!(agent.ack(&[&one.lease_id]).await, [Outcome::Applied]);
    let mut stream = agent.subscribe(request).await;
    let [held] = &stream.ready.held[..] else { panic!("one lease: {:?}", stream.ready) };
    assert_eq!((&held.lease_id, held.attempt), (&two.lease_id, 1));
    let released = agent.nack(&two.lease_id, "restarted", NackAction::Release).await;
    assert_eq!(released, Outcome::Applied);
    for _ in 0..2 {
        let delivery = stream.ack_next(&agent).await;
        assert_eq!((delivery.attempt, delivery.previous_attempts.len()), (1, 0));
    }
    assert_eq!(agent.subscription("work").await.position.unwrap().done_floor, 3);
}

#[tokio::test]
async fn a_second_sigterm_ends_the_hub_at_once() {
    let mut hub = Hub::start_with(Settings { grace: Some("60s"), ..Settings::default() }).await;
    hub.take_each(["a"]).await;
    let mut stream = hub.agent().await.subscribe(everything("work")).await;
    stream.delivery().await;
    hub.terminate();
    draining(&mut stream).await;
    hub.terminate();
    assert_eq!(stream.end().await.code(), Code::Unavailable);
    assert_eq!(hub.exited().await.code(), Some(0));
}
