//! Events of the log that go to a subscription once more.

use std::time::Duration;

use hookline_proto::v1::{
    AttemptEnd, Delivery, DeliveryState, NackAction, Outcome, ReplayEventsRequest,
    ReplayEventsResponse, SubscribeRequest, SubscriptionPolicy, subscribe_response::Message,
};

use crate::{
    agent::{Agent, Stream, event_id, everything, lasts, only, retrying_at_once},
    hub::Hub,
    operator::{again, working},
};

fn of(subscription: &str) -> ReplayEventsRequest {
    ReplayEventsRequest { subscription: subscription.to_owned(), ..Default::default() }
}

fn sequence(delivery: &Delivery) -> u64 {
    delivery.event.as_ref().unwrap().sequence
}

/// A hub whose agent has acked so many events.
async fn acked(policy: SubscriptionPolicy, count: usize) -> (Hub, Agent, Stream, Vec<String>) {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let published = agent.publish_each(std::iter::repeat_n("", count)).await;
    let ids = published.into_iter().map(|published| published.event_id).collect();
    let mut stream = agent.subscribe(working("work", policy)).await;
    for _ in 0..count {
        stream.ack_next(&agent).await;
    }
    (hub, agent, stream, ids)
}

#[tokio::test]
async fn j8_what_was_acked_comes_again_and_its_story_goes_on() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    let id = agent.publish("built").await.event_id;
    let request = SubscribeRequest { policy: Some(retrying_at_once()), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    let failed = stream.delivery().await;
    agent.nack(&failed.lease_id, "no luck", NackAction::Retry).await;
    let done = stream.ack_next(&agent).await;
    assert_eq!(event_id(&done), id);
    agent.publish("shipped").await;
    stream.ack_next(&agent).await;
    let before = agent.scanned("work").await.position;

    let request = ReplayEventsRequest { event_ids: vec![id.clone()], ..of("work") };
    let dry = ReplayEventsRequest { dry_run: true, ..request.clone() };
    let expected =
        ReplayEventsResponse { replayed_count: 1, end_sequence: 3, ..Default::default() };
    assert_eq!(agent.replay(dry).await, expected);
    assert_eq!(only(&agent.event(&id).await).state(), DeliveryState::Done);
    assert_eq!(agent.replay(request.clone()).await, expected);
    let once_more = stream.delivery().await;
    assert_eq!((event_id(&once_more), once_more.attempt), (id.as_str(), 1));
    assert_eq!(once_more.previous_attempts, [], "attempts begin anew");
    assert_eq!(agent.subscription("work").await.position, before);
    // What was said stands, and says nothing about what runs now.
    assert_eq!(agent.ack(&[&done.lease_id]).await, [Outcome::AlreadyApplied]);
    assert_eq!(agent.nack(&done.lease_id, "", NackAction::Retry).await, Outcome::Conflict);

    let got = agent.event(&id).await;
    let status = only(&got);
    assert_eq!((status.state(), status.attempt), (DeliveryState::Leased, 1));
    let told = status.attempts.iter().map(|of| (of.number, of.end()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(1, AttemptEnd::Nacked), (2, AttemptEnd::Acked), (1, AttemptEnd::Unspecified)]
    );
    assert_eq!(
        agent.replay(request.clone()).await,
        ReplayEventsResponse { already_open_count: 1, end_sequence: 3, ..Default::default() }
    );
    assert_eq!(agent.ack(&[&once_more.lease_id]).await, [Outcome::Applied]);
    let got = agent.event_once(&id, DeliveryState::Done).await;
    let told: Vec<_> = only(&got).attempts.iter().map(|of| of.end()).collect();
    assert_eq!(told, [AttemptEnd::Nacked, AttemptEnd::Acked, AttemptEnd::Acked]);
}

#[tokio::test]
async fn j8_a_lease_that_ran_out_before_does_not_settle_what_is_replayed() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish("built").await;
    let second = Duration::from_secs(1);
    let policy = SubscriptionPolicy {
        lease_duration: lasts(second),
        max_lease: lasts(second),
        ..retrying_at_once()
    };
    let request = SubscribeRequest { policy: Some(policy), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    let late = stream.delivery().await;
    let message = stream.message().await.unwrap();
    assert!(matches!(message, Message::LeaseLost(_)), "{message:?}");
    stream.ack_next(&agent).await;
    agent.replay(ReplayEventsRequest { start_sequence: Some(1), ..of("work") }).await;
    let once_more = stream.delivery().await;
    assert_eq!(agent.ack(&[&late.lease_id]).await, [Outcome::Stale]);
    assert_eq!(agent.nack(&late.lease_id, "", NackAction::DeadLetter).await, Outcome::Stale);
    assert_eq!(agent.ack(&[&once_more.lease_id]).await, [Outcome::Applied]);
}

#[tokio::test]
async fn j8_what_is_replayed_survives_kill_9() {
    let (mut hub, agent, stream, ids) = acked(retrying_at_once(), 3).await;
    drop(stream);
    let request = ReplayEventsRequest { event_ids: ids[1..2].to_vec(), ..of("work") };
    assert_eq!(agent.replay(request).await.replayed_count, 1);
    hub.crash().await;
    let agent = hub.agent().await;
    assert_eq!(agent.subscription("work").await.counts.unwrap().ready, 1);
    let mut stream = agent.subscribe(again("work")).await;
    assert_eq!(event_id(&stream.ack_next(&agent).await), ids[1]);
    hub.crash().await;
    let agent = hub.agent().await;
    assert_eq!(agent.subscription("work").await.counts.unwrap().ready, 0);
    let got = agent.event(&ids[1]).await;
    let told: Vec<_> = only(&got).attempts.iter().map(|of| of.end()).collect();
    assert_eq!(told, [AttemptEnd::Acked, AttemptEnd::Acked]);
    hub.kill().await;
    hub.check().await;
}

#[tokio::test]
async fn j8_a_call_replays_so_many_and_says_where_to_go_on() {
    let (_hub, agent, mut stream, _) = acked(retrying_at_once(), 5).await;
    let request = ReplayEventsRequest {
        patterns: vec!["agent/page.*".to_owned()],
        limit: Some(2),
        ..of("work")
    };
    let first = agent.replay(request.clone()).await;
    let expected = ReplayEventsResponse {
        replayed_count: 2,
        next_sequence: Some(3),
        end_sequence: 6,
        ..Default::default()
    };
    assert_eq!(first, expected);
    // What comes meanwhile is not meant.
    agent.publish_about("").await;
    let rest = ReplayEventsRequest {
        start_sequence: first.next_sequence,
        end_sequence: Some(first.end_sequence),
        limit: None,
        ..request
    };
    let expected =
        ReplayEventsResponse { replayed_count: 3, end_sequence: 6, ..Default::default() };
    assert_eq!(agent.replay(rest).await, expected);
    let mut came = Vec::new();
    for _ in 0..6 {
        came.push(sequence(&stream.ack_next(&agent).await));
    }
    came.sort_unstable();
    assert_eq!(came, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn j8_what_is_passed_over_is_counted_by_its_reason() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    // 1 is for nobody at first, 2 is acked, 3 dead, 4 leased.
    let ignored = agent.publish("ignored").await.event_id;
    agent.publish_each(["", "", ""]).await;
    let request = SubscribeRequest {
        patterns: vec!["agent/page.*".to_owned()],
        ..working("work", retrying_at_once())
    };
    let mut stream = agent.subscribe(request).await;
    stream.ack_next(&agent).await;
    let dead = stream.delivery().await;
    agent.nack(&dead.lease_id, "", NackAction::DeadLetter).await;
    let leased = stream.delivery().await;
    let all = ReplayEventsRequest { start_sequence: Some(1), end_sequence: Some(5), ..of("work") };
    let counted = agent.replay(all).await;
    let expected = ReplayEventsResponse {
        replayed_count: 1,
        already_open_count: 1,
        dead_letter_count: 1,
        not_matching_count: 1,
        end_sequence: 5,
        ..Default::default()
    };
    assert_eq!(counted, expected);
    assert_eq!(sequence(&stream.ack_next(&agent).await), 2);
    assert_eq!(agent.ack(&[&leased.lease_id]).await, [Outcome::Applied]);

    // By the patterns of now, also what came before they were.
    let mut patterns = agent.subscription("work").await;
    patterns.patterns = vec!["agent".to_owned()];
    agent.try_update(patterns, &["patterns"], None).await.unwrap();
    let unknown = "0199a3f2-7c11-7b3e-9d0a-5f1e2d3c4b5a".to_owned();
    let ids = ReplayEventsRequest { event_ids: vec![unknown, ignored.clone()], ..of("work") };
    let expected = ReplayEventsResponse {
        replayed_count: 1,
        missing_count: 1,
        end_sequence: 6,
        ..Default::default()
    };
    assert_eq!(agent.replay(ids).await, expected);
    let taken = stream.ack_next(&agent).await;
    assert_eq!(event_id(&taken), ignored);
    assert_eq!(only(&agent.event_once(&ignored, DeliveryState::Done).await).attempt, 1);
}
