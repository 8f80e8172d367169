//! Leases over the wire: settling, fencing, extending, running out.

use std::time::Duration;

use hookline_proto::v1::{
    AttemptEnd, DeliveryState, NackAction, Outcome, SubscribeRequest, SubscriptionPolicy,
    subscribe_response::Message,
};

use crate::{
    agent::{Stream, at, event_id, everything, key, lasts, only, retrying_at_once},
    hub::Hub,
};

const SECOND: Duration = Duration::from_secs(1);

/// Leases of a second, and a retry that does not come while a test runs.
fn leasing_a_second() -> SubscriptionPolicy {
    SubscriptionPolicy {
        lease_duration: lasts(SECOND),
        initial_backoff: lasts(Duration::from_secs(600)),
        ..Default::default()
    }
}

async fn lease_lost(stream: &mut Stream) -> String {
    let message = stream.message().await.unwrap();
    let Message::LeaseLost(lost) = message.clone() else {
        panic!("expected `lease_lost`, got {message:?}")
    };
    lost.lease_id
}

#[tokio::test]
async fn a1_an_acked_event_never_comes_again_also_not_after_a_restart() {
    let mut hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let acked = stream.ack_next(&agent).await;
    assert_eq!((key(&acked), acked.attempt), ("a", 1));
    assert_eq!(key(&stream.ack_next(&agent).await), "b");
    drop((stream, agent));

    hub.restart().await;
    hub.take_each(["c"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    assert_eq!(stream.ready.position.unwrap().done_floor, 2);
    assert_eq!(key(&stream.ack_next(&agent).await), "c");
    assert_eq!(only(&agent.event(event_id(&acked)).await).state(), DeliveryState::Done);
}

#[tokio::test]
async fn a2_an_acked_event_does_not_come_again_after_a_kill_right_after_applied() {
    let mut hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let acked = stream.ack_next(&agent).await;
    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    assert_eq!(key(&stream.ack_next(&agent).await), "b");
    assert_eq!(only(&agent.event(event_id(&acked)).await).state(), DeliveryState::Done);
}

#[tokio::test]
async fn a3_a5_a6_what_a_lease_says_after_another_consumer_got_the_event_is_stale() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let policy = SubscriptionPolicy {
        lease_duration: lasts(SECOND),
        reconnect_grace: lasts(Duration::ZERO),
        ..retrying_at_once()
    };
    let request = SubscribeRequest { policy: Some(policy), ..everything("work") };
    let mut one = agent.subscribe(request.clone()).await;
    let first = one.delivery().await;
    drop(one);
    let mut two = agent.subscribe(SubscribeRequest { consumer: "two".to_owned(), ..request }).await;
    let second = two.delivery().await;
    assert_eq!((second.attempt, key(&second)), (2, "a"));
    assert_eq!(agent.ack(&[&first.lease_id]).await, [Outcome::Stale]);
    let nacked = agent.nack(&first.lease_id, "late", NackAction::Retry).await;
    assert_eq!(nacked, Outcome::Stale);
    let extended = agent.extend(&first.lease_id, None).await;
    assert_eq!((extended.outcome(), extended.lease_expires_at), (Outcome::Stale, None));
    assert_eq!(agent.ack(&[&second.lease_id]).await, [Outcome::Applied]);
    let got = agent.event(event_id(&second)).await;
    assert_eq!((only(&got).attempt, only(&got).consumer.as_str()), (2, "two"));
}

#[tokio::test]
async fn a4_an_ack_after_the_lease_ran_out_counts_while_nobody_else_has_the_event() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let request = SubscribeRequest { policy: Some(leasing_a_second()), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    let delivery = stream.delivery().await;
    assert_eq!(lease_lost(&mut stream).await, delivery.lease_id);
    assert_eq!(agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
    assert_eq!(only(&agent.event(event_id(&delivery)).await).state(), DeliveryState::Done);
}

#[tokio::test]
async fn a7_a_second_ack_is_already_applied_and_a_nack_after_it_a_conflict() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let acked = stream.ack_next(&agent).await.lease_id;
    assert_eq!(agent.ack(&[&acked]).await, [Outcome::AlreadyApplied]);
    assert_eq!(agent.nack(&acked, "no", NackAction::Retry).await, Outcome::Conflict);
    assert_eq!(agent.extend(&acked, None).await.outcome(), Outcome::Conflict);

    let nacked = stream.delivery().await.lease_id;
    assert_eq!(agent.nack(&nacked, "no", NackAction::DeadLetter).await, Outcome::Applied);
    let again = agent.nack(&nacked, "no", NackAction::DeadLetter).await;
    assert_eq!(again, Outcome::AlreadyApplied);
    assert_eq!(agent.ack(&[&nacked]).await, [Outcome::Conflict]);
}

#[tokio::test]
async fn a8_any_connection_settles_and_extends_a_lease() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c"]).await;
    let (agent, other) = (hub.agent().await, hub.agent().await);
    let mut stream = agent.subscribe(everything("work")).await;
    let delivery = stream.delivery().await;
    assert_eq!(other.extend(&delivery.lease_id, None).await.outcome(), Outcome::Applied);
    let got = other.event(event_id(&delivery)).await;
    assert_eq!(
        (only(&got).state(), only(&got).progress.as_str()),
        (DeliveryState::Leased, "on it")
    );
    assert_eq!(other.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
    let delivery = stream.delivery().await;
    let nacked = other.nack(&delivery.lease_id, "no", NackAction::DeadLetter).await;
    assert_eq!((key(&delivery), nacked), ("b", Outcome::Applied));
    assert_eq!(key(&stream.delivery().await), "c");
}

#[tokio::test]
async fn a9_a_garbage_id_in_a_batch_harms_neither_the_others_nor_the_stream() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c"]).await;
    let agent = hub.agent().await;
    let mut stream =
        agent.subscribe(SubscribeRequest { max_in_flight: Some(2), ..everything("work") }).await;
    let (one, two) = (stream.delivery().await, stream.delivery().await);
    let outcomes = agent.ack(&[&one.lease_id, "garbage", "", &two.lease_id]).await;
    let invalid = Outcome::Invalid;
    assert_eq!(outcomes, [Outcome::Applied, invalid, invalid, Outcome::Applied]);
    assert_eq!(key(&stream.delivery().await), "c");
}

#[tokio::test]
async fn c1_extensions_carry_one_attempt_over_many_ends_of_its_lease() {
    let hub = Hub::start().await;
    hub.take_each(["long", "short"]).await;
    let agent = hub.agent().await;
    let policy = SubscriptionPolicy { lease_duration: lasts(SECOND), ..retrying_at_once() };
    let request =
        SubscribeRequest { max_in_flight: Some(2), policy: Some(policy), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    let long = stream.delivery().await;
    assert_eq!(key(&long), "long");
    // What is not extended runs out once in each round, so that the rounds are longer than the lease.
    for round in 1..=3 {
        let extended = agent.extend(&long.lease_id, Some(SECOND * 8)).await;
        assert_eq!(extended.outcome(), Outcome::Applied);
        let short = stream.delivery().await;
        assert_eq!((key(&short), short.attempt), ("short", round));
        assert_eq!(lease_lost(&mut stream).await, short.lease_id);
    }
    let got = agent.event(event_id(&long)).await;
    assert_eq!((only(&got).state(), only(&got).attempt), (DeliveryState::Leased, 1));
    assert_eq!(agent.ack(&[&long.lease_id]).await, [Outcome::Applied]);
    assert_eq!(only(&agent.event(event_id(&long)).await).attempt, 1);
}

#[tokio::test]
async fn c2_a_lease_that_nobody_extends_ends_within_a_second_of_its_deadline() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let request = SubscribeRequest { policy: Some(leasing_a_second()), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    let delivery = stream.delivery().await;
    assert_eq!(delivery.lease_duration, lasts(SECOND));
    let extended = agent.extend(&delivery.lease_id, Some(SECOND * 2)).await;
    let deadline = at(extended.lease_expires_at);
    assert!(at(delivery.lease_expires_at) < deadline);
    assert_eq!(lease_lost(&mut stream).await, delivery.lease_id);
    let got = agent.event(event_id(&delivery)).await;
    let [attempt] = &only(&got).attempts[..] else { panic!("one attempt: {got:?}") };
    assert_eq!(attempt.end(), AttemptEnd::LeaseExpired);
    let ended = at(attempt.ended_at);
    assert!((deadline..deadline + SECOND).contains(&ended), "{ended:?} and {deadline:?}");
}

#[tokio::test]
async fn c3_a_shorter_extension_never_shortens_a_lease() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let delivery = stream.delivery().await;
    let long = agent.extend(&delivery.lease_id, Some(SECOND * 300)).await;
    let short = agent.extend(&delivery.lease_id, Some(SECOND)).await;
    assert_eq!(short.outcome(), Outcome::Applied);
    assert_eq!(short.lease_expires_at, long.lease_expires_at);
    assert!(at(delivery.lease_expires_at) < at(long.lease_expires_at));
}
