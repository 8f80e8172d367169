//! Leases: kept alive, and lost.

use std::time::Duration;

use hookline_client::{LeaseError, Settled, proto::Outcome};

use crate::hub::{Hub, LEASE, now};

/// How far a timer may be off: tokio rounds to milliseconds.
const TICK: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn leases_are_extended_at_a_third_in_one_call_also_those_not_begun() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    let started = now();
    for (index, id) in ["a0", "a1", "a2"].into_iter().enumerate() {
        stream.deliver(id, index as u64 + 1).await;
    }
    let begun = deliveries.next().await.unwrap().unwrap();
    assert_eq!(begun.lease_id(), "a0");
    for round in 1..=3 {
        assert_eq!(hub.extended().await, ["a0", "a1", "a2"]);
        let elapsed = started.elapsed();
        assert!(elapsed >= LEASE / 3 * round && elapsed < LEASE / 3 * round + TICK, "{elapsed:?}");
        stream.heartbeat().await;
    }
    drop(begun.ack());
    let (_, reply) = hub.acked().await;
    reply.all(Outcome::Applied);
    assert_eq!(hub.extended().await, ["a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_got_no_answer_is_sent_again_soon() {
    let mut hub = Hub::start();
    let (_deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    hub.lose_extension().await;
    let lost = now();
    assert_eq!(hub.extended().await, ["a0"]);
    assert!(lost.elapsed() <= Duration::from_secs(1) + TICK, "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_worker_learns_that_its_lease_was_lost_and_may_still_ack() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    let delivery = deliveries.next().await.unwrap().unwrap();
    assert_eq!(delivery.lease_remaining(), Some(LEASE));
    assert!(!delivery.is_lost());
    stream.lose("a0", "`max_lease` was reached").await;
    assert_eq!(delivery.lost().await, "`max_lease` was reached");
    assert!(delivery.is_lost());
    assert_eq!(delivery.lease_remaining(), None);

    let ack = delivery.ack();
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["a0"]);
    reply.all(Outcome::Applied);
    assert_eq!(ack.await.unwrap(), Settled::Applied);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_before_it_was_begun_is_not_handed_out_and_not_released() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    stream.lose("a0", "deleted").await;
    stream.deliver("a1", 2).await;
    stream.deliver("a2", 3).await;
    stream.heartbeat().await;
    // By the third extension everything above has been taken.
    assert_eq!(hub.extended().await, ["a1", "a2"]);
    let begun = deliveries.next().await.unwrap().unwrap();
    assert_eq!(begun.lease_id(), "a1");
    stream.lose("a1", "deleted").await;
    assert_eq!(begun.lost().await, "deleted");
    drop(begun);
    drop(deliveries);
    let (_, last_look) = hub.subscribed().await;
    last_look.ready(&["a2"]).await;
    let (nacks, reply) = hub.nacked().await;
    assert_eq!(nacks.iter().map(|nack| nack.lease_id.as_str()).collect::<Vec<_>>(), ["a2"]);
    reply.all(Outcome::Applied);
    hub.stays_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_can_not_be_extended_any_more_is_lost() {
    for outcome in [Outcome::Stale, Outcome::Conflict, Outcome::Invalid] {
        let mut hub = Hub::start();
        let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
        stream.deliver("a0", 1).await;
        let delivery = deliveries.next().await.unwrap().unwrap();
        hub.extended_with(outcome).await;
        delivery.lost().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_says_how_far_it_is_and_asks_for_more_time() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    stream.deliver("a0", 1).await;
    let delivery = deliveries.next().await.unwrap().unwrap();
    let said = now();
    delivery.progress("read 3 of 7 files");
    let extensions = hub.extended_with(Outcome::Applied).await;
    assert_eq!(extensions[0].progress, "read 3 of 7 files");
    assert_eq!(
        extensions[0].duration,
        Some(LEASE.try_into().unwrap()),
        "as long as it was given for"
    );
    assert!(said.elapsed() < TICK);

    let extend = delivery.extend(Duration::from_secs(600), "thinking");
    let (extended, extensions) = tokio::join!(extend, hub.extended_with(Outcome::Applied));
    extended.unwrap();
    assert_eq!(extensions[0].duration.unwrap().seconds, 600);
    assert_eq!(extensions[0].progress, "thinking");

    let extend = delivery.extend(Duration::from_secs(600), "");
    let (extended, _) = tokio::join!(extend, hub.extended_with(Outcome::Stale));
    assert!(matches!(extended, Err(LeaseError::Stale { .. })));
    assert!(delivery.is_lost());
}
