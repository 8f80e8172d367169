//! Failed attempts over the wire: backoff, counting, giving back, giving up.

use std::time::Duration;

use hookline_proto::v1::{
    AttemptEnd, Delivery, DeliveryState, Nack, NackAction, Outcome, SubscribeRequest,
    SubscriptionPolicy,
};

use crate::{
    agent::{at, event_id, everything, key, lasts, only, retrying_at_once},
    hub::Hub,
};

/// When a lease began, by the hub's own clock.
fn leased_at(delivery: &Delivery) -> Duration {
    at(delivery.lease_expires_at) - Duration::try_from(delivery.lease_duration.unwrap()).unwrap()
}

/// Times on the wire are cut to microseconds, and the lease's is moved a little when the transport takes it.
const NEARLY: Duration = Duration::from_millis(2);

#[tokio::test]
async fn b1_a_nacked_event_comes_again_after_its_backoff_and_not_before() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let policy = SubscriptionPolicy {
        initial_backoff: lasts(Duration::from_millis(300)),
        jitter: Some(0.2),
        ..Default::default()
    };
    let request = SubscribeRequest { policy: Some(policy), ..everything("work") };
    let mut stream = agent.subscribe(request).await;
    let first = stream.delivery().await;
    assert_eq!((first.attempt, first.max_attempts), (1, 5));
    assert_eq!(first.previous_attempts, []);
    assert_eq!(agent.nack(&first.lease_id, "no luck", NackAction::Retry).await, Outcome::Applied);
    for (attempt, least) in [(2, 240), (3, 480)] {
        let delivery = stream.delivery().await;
        assert_eq!((key(&delivery), delivery.attempt), ("a", attempt));
        assert_ne!(delivery.lease_id, first.lease_id);
        let last = delivery.previous_attempts.last().unwrap();
        assert_eq!(delivery.previous_attempts.len() + 1, attempt as usize);
        assert_eq!((last.number + 1, last.consumer.as_str()), (attempt, "one"));
        assert_eq!((last.reason.as_str(), last.error_type.as_str()), ("no luck", "TestError"));
        assert_eq!(last.end(), AttemptEnd::Nacked);
        assert!(at(last.started_at) <= at(last.ended_at));
        let waited = leased_at(&delivery) + NEARLY - at(last.ended_at);
        assert!(Duration::from_millis(least) <= waited, "{waited:?} of at least {least} ms");
        let nacked = agent.nack(&delivery.lease_id, "no luck", NackAction::Retry).await;
        assert_eq!(nacked, Outcome::Applied);
    }
}

#[tokio::test]
async fn b2_a_retry_after_overrides_the_backoff() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b"]).await;
    let agent = hub.agent().await;
    // The backoff is a second, and what says nothing waits for it.
    let mut stream =
        agent.subscribe(SubscribeRequest { max_in_flight: Some(2), ..everything("work") }).await;
    let (slow, fast) = (stream.delivery().await, stream.delivery().await);
    let nacks = [(&slow, None), (&fast, lasts(Duration::from_millis(100)))];
    let nacks = nacks.map(|(delivery, retry_after)| Nack {
        lease_id: delivery.lease_id.clone(),
        retry_after,
        ..Default::default()
    });
    let results = agent.try_nack(nacks.to_vec()).await.unwrap();
    assert!(results.iter().all(|result| result.outcome() == Outcome::Applied));
    assert_eq!(key(&stream.delivery().await), "b");
    assert_eq!(key(&stream.delivery().await), "a");
}

#[tokio::test]
async fn b5_attempts_survive_restarts_and_the_event_is_dead_exactly_after_the_last() {
    let mut hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let policy = SubscriptionPolicy { max_attempts: Some(3), ..retrying_at_once() };
    let request = SubscribeRequest { policy: Some(policy), ..everything("work") };
    let mut id = String::new();
    for attempt in 1..=3 {
        let agent = hub.agent().await;
        let mut stream = agent.subscribe(request.clone()).await;
        // What was on its way when the hub stopped is the consumer's still.
        let delivery = match stream.ready.held.pop() {
            Some(held) => held,
            None => stream.delivery().await,
        };
        assert_eq!((delivery.attempt, delivery.max_attempts), (attempt, 3));
        let reasons: Vec<_> = delivery.previous_attempts.iter().map(|one| &one.reason).collect();
        let expected: Vec<_> = (1..attempt).map(|number| format!("failure {number}")).collect();
        assert_eq!(reasons, expected.iter().collect::<Vec<_>>());
        let reason = format!("failure {attempt}");
        let nacked = agent.nack(&delivery.lease_id, &reason, NackAction::Retry).await;
        assert_eq!(nacked, Outcome::Applied);
        event_id(&delivery).clone_into(&mut id);
        drop(stream);
        match attempt {
            1 => hub.crash().await,
            2 => hub.restart().await,
            _ => {}
        }
    }
    let got = hub.agent().await.event(&id).await;
    assert_eq!((only(&got).state(), only(&got).attempt), (DeliveryState::Dead, 3));
    assert!(!only(&got).dead_letter_id.is_empty());
}

#[tokio::test]
async fn b7_ten_releases_leave_the_attempt_at_one_and_the_cap_of_leases_holds() {
    let hub = Hub::start().await;
    hub.take_each(["a", "b", "c", "d"]).await;
    let agent = hub.agent().await;
    let request = SubscribeRequest {
        max_in_flight: Some(2),
        policy: Some(retrying_at_once()),
        ..everything("work")
    };
    let mut stream = agent.subscribe(request).await;
    let kept = stream.delivery().await;
    for _ in 0..10 {
        let delivery = stream.delivery().await;
        assert_eq!((delivery.attempt, delivery.previous_attempts.len()), (1, 0));
        let released = agent.nack(&delivery.lease_id, "not mine", NackAction::Release).await;
        assert_eq!(released, Outcome::Applied);
        let counts = agent.subscription("work").await.counts.unwrap();
        assert!(counts.leased <= 2, "{counts:?}");
        assert_eq!((counts.dead, counts.leased + counts.ready + counts.waiting), (0, 4));
    }
    assert_eq!(agent.ack(&[&kept.lease_id]).await, [Outcome::Applied]);
    for _ in 0..3 {
        assert_eq!(stream.ack_next(&agent).await.attempt, 1);
    }
}

#[tokio::test]
async fn b11_a_nack_with_dead_letter_gives_up_at_once_and_keeps_the_reason() {
    let hub = Hub::start().await;
    hub.take_each(["a"]).await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let delivery = stream.delivery().await;
    let nacked = agent.nack(&delivery.lease_id, "never", NackAction::DeadLetter).await;
    assert_eq!(nacked, Outcome::Applied);
    let got = agent.event(event_id(&delivery)).await;
    let status = only(&got);
    assert_eq!((status.state(), status.attempt), (DeliveryState::Dead, 1));
    assert_eq!(status.attempts[0].end(), AttemptEnd::Rejected);
    assert_eq!(status.attempts[0].reason, "never");
}
