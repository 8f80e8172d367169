//! Broken streams: which are made again, how, and which are not.

use std::time::Duration;

use hookline_client::{
    Deliveries, Delivery, Error, NackAction, Settled,
    proto::{Draining, Outcome, start_position::Position, subscribe_response::Message},
};
use tonic::{Code, Status};

use crate::hub::{Hub, Stream, now};

#[tokio::test(start_paused = true)]
async fn a_reconnect_extends_first_and_keeps_the_consumer_but_not_the_patterns() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("kept", 1).await;
    stream.deliver("lost", 2).await;
    let kept = deliveries.next().await.unwrap().unwrap();
    let lost = deliveries.next().await.unwrap().unwrap();
    stream.cut(Status::unavailable("restart")).await;

    assert_eq!(hub.extended().await, ["kept", "lost"]);
    let (request, stream) = hub.subscribed().await;
    assert_eq!((request.subscription.as_str(), request.consumer.as_str()), ("prs", "me"));
    assert_eq!(request.patterns, Vec::<String>::new());
    assert_eq!((request.start, request.policy), (None, None));
    stream.ready(&["kept", "unknown"]).await;

    let (nacks, reply) = hub.nacked().await;
    assert_eq!((nacks.len(), nacks[0].lease_id.as_str()), (1, "unknown"));
    assert_eq!(nacks[0].action(), NackAction::Retry);
    assert!(nacks[0].reason.contains("process"), "{}", nacks[0].reason);
    reply.all(Outcome::Applied);
    lost.lost().await;
    assert!(!kept.is_lost());
    let (settled, ()) = tokio::join!(kept.ack(), async {
        let (ids, reply) = hub.acked().await;
        assert_eq!(ids, ["kept"]);
        reply.all(Outcome::Applied);
    });
    assert_eq!(settled.unwrap(), Settled::Applied);
    stream.deliver("next", 3).await;
    assert_eq!(deliveries.next().await.unwrap().unwrap().lease_id(), "next");
}

#[tokio::test(start_paused = true)]
async fn what_is_being_settled_during_a_reconnect_is_known() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    let ack = deliveries.next().await.unwrap().unwrap().ack();
    let (_, reply) = hub.acked().await;
    drop(stream);
    let (_, stream) = hub.subscribed().await;
    stream.ready(&["a0"]).await;
    stream.deliver("a1", 2).await;
    let second = deliveries.next().await.unwrap().unwrap();
    reply.all(Outcome::Applied);
    assert_eq!(ack.await.unwrap(), Settled::Applied);
    // Had `a0` been nacked as unknown, that would come before this ack's answer.
    let second = second.ack();
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["a1"]);
    reply.all(Outcome::Applied);
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_can_not_be_reached_is_tried_with_growing_waits_up_to_ten_seconds() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.send(Message::Draining(Draining::default())).await;
    stream.cut(Status::unavailable("stopping")).await;
    let mut last = now();
    let mut waits = Vec::new();
    for _ in 0..12 {
        hub.refuse_subscribe(Status::unavailable("starting")).await;
        waits.push(last.elapsed());
        last = now();
    }
    let second = Duration::from_secs(1);
    assert!(waits[0] <= second / 5, "{waits:?}");
    assert!(waits[8..].iter().all(|wait| *wait >= 5 * second && *wait <= 11 * second), "{waits:?}");
    let (_, stream) = hub.subscribed().await;
    stream.ready(&[]).await;
    stream.deliver("a0", 1).await;
    assert_eq!(deliveries.next().await.unwrap().unwrap().lease_id(), "a0");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up_after_45_seconds() {
    let mut hub = Hub::start();
    let (_deliveries, stream) = hub.subscribe(|builder| builder).await;
    let started = now();
    hub.subscribed().await;
    assert!(started.elapsed() >= Duration::from_secs(45));
    assert!(started.elapsed() < Duration::from_secs(46));
    stream.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_taken_over_ends_without_a_reconnect_and_gives_back_what_was_not_begun() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    let begun = deliveries.next().await.unwrap().unwrap();
    stream.deliver("a1", 2).await;
    stream.cut(Status::aborted("taken over")).await;
    let (nacks, reply) = hub.nacked().await;
    assert_eq!((nacks.len(), nacks[0].lease_id.as_str()), (1, "a1"));
    assert_eq!(nacks[0].action(), NackAction::Release);
    reply.all(Outcome::Applied);
    let error = deliveries.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::TakenOver { consumer, .. } if consumer == "me"), "{error:?}");
    assert!(deliveries.next().await.is_none());
    // What was begun can still be settled.
    let (settled, ()) = tokio::join!(begun.ack(), async {
        hub.acked().await.1.all(Outcome::Stale);
    });
    settled.unwrap_err();
    hub.stays_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_gone_after_a_reconnect_ends_with_an_error() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    drop(stream);
    let request = hub.refuse_subscribe(Status::not_found("no subscription `prs`")).await;
    assert!(request.patterns.is_empty());
    let error = deliveries.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::NotFound { subscription, .. } if subscription == "prs"));
    assert!(deliveries.next().await.is_none());
    hub.stays_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_first_subscribe_with_its_status() {
    for code in [Code::FailedPrecondition, Code::InvalidArgument, Code::PermissionDenied] {
        let mut hub = Hub::start();
        let builder = hub.client.subscription("prs").patterns(["github"]);
        let builder = builder.wait_for_hub(Duration::from_secs(60));
        let refuse = hub.refuse_subscribe(Status::new(code, "no"));
        let (result, _) = tokio::join!(builder.subscribe(), refuse);
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Refused { .. }), "{error:?}");
        assert_eq!(error.status().unwrap().code(), code);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_subscribe_waits_for_the_hub_only_where_it_is_told_to() {
    let mut hub = Hub::start();
    let builder = hub.client.subscription("prs").patterns(["github"]);
    let refuse = hub.refuse_subscribe(Status::unavailable("starting"));
    let (result, _) = tokio::join!(builder.clone().subscribe(), refuse);
    assert!(matches!(result.unwrap_err(), Error::Unreachable { .. }));

    let patient = builder.wait_for_hub(Duration::from_secs(30)).subscribe();
    let (result, requests) = tokio::join!(patient, async {
        let first = hub.refuse_subscribe(Status::unavailable("starting")).await;
        let (second, stream) = hub.subscribed().await;
        stream.ready(&[]).await;
        [first, second]
    });
    result.unwrap();
    // Nobody knows whether the first one has created it.
    assert!(requests.iter().all(|request| request.patterns == ["github"]));
    assert_eq!(requests[0].consumer, requests[1].consumer);
    assert!(requests[0].consumer.starts_with("rust-"), "{}", requests[0].consumer);
}

/// Subscribes without a name, and takes an event for each sequence.
async fn ephemeral(hub: &mut Hub, sequences: &[u64]) -> (Deliveries, Stream, Vec<Delivery>) {
    let builder = hub.client.subscription("").patterns(["github"]).max_in_flight(8);
    let (deliveries, stream) = tokio::join!(builder.subscribe(), async {
        let (request, stream) = hub.subscribed().await;
        assert_eq!(request.start, None);
        stream.ready(&[]).await;
        stream
    });
    let mut deliveries = deliveries.unwrap();
    let mut begun = Vec::new();
    for sequence in sequences {
        stream.deliver(&format!("a{sequence}"), *sequence).await;
        begun.push(deliveries.next().await.unwrap().unwrap());
    }
    (deliveries, stream, begun)
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_subscription_goes_on_at_the_first_event_that_is_not_finished() {
    let mut hub = Hub::start();
    let (_deliveries, stream, mut begun) = ephemeral(&mut hub, &[7, 9]).await;
    drop(begun.remove(0).ack());
    hub.acked().await.1.all(Outcome::Applied);
    drop(stream);
    assert_eq!(hub.extended().await, ["a9"]);
    let (request, stream) = hub.subscribed().await;
    assert_eq!(request.patterns, ["github"]);
    assert_eq!(request.start.unwrap().position, Some(Position::Sequence(9)));
    stream.ready(&[]).await;
    begun.remove(0).lost().await;
    // And not behind it, if that stream breaks before it has come again.
    drop(stream);
    let (request, _) = hub.subscribed().await;
    assert_eq!(request.start.unwrap().position, Some(Position::Sequence(9)));
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_subscription_does_not_pass_over_what_is_tried_again_until_it_is_given_up() {
    for (done_floor, next) in [(6, 7), (7, 10)] {
        let mut hub = Hub::start();
        let (_deliveries, stream, mut begun) = ephemeral(&mut hub, &[7, 9]).await;
        drop(begun.remove(0).nack("not now"));
        hub.nacked().await.1.all(Outcome::Applied);
        drop(begun.remove(0).ack());
        hub.acked().await.1.all(Outcome::Applied);
        stream.heartbeat_at(done_floor).await;
        drop(stream);
        let (request, _) = hub.subscribed().await;
        assert_eq!(request.start.unwrap().position, Some(Position::Sequence(next)));
    }
}
