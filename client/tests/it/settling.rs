//! Acks and nacks: batches, lost answers, outcomes.

use std::time::Duration;

use hookline_client::{Delivery, LeaseError, Nack, NackAction, Settled, proto::Outcome};
use tonic::Status;

use crate::hub::{Hub, Stream};

/// Sends deliveries `a0`, `a1`, .. and takes them.
async fn take(
    deliveries: &mut hookline_client::Deliveries,
    stream: &Stream,
    count: u64,
) -> Vec<Delivery> {
    let mut taken = Vec::new();
    for index in 0..count {
        stream.deliver(&format!("a{index}"), index + 1).await;
        taken.push(deliveries.next().await.unwrap().unwrap());
    }
    taken
}

#[tokio::test]
async fn a_delivery_is_acked_over_a_real_socket() {
    let mut hub = Hub::start_on_a_socket().await;
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    let delivery = take(&mut deliveries, &stream, 1).await.remove(0);
    assert_eq!(delivery.subject(), "github/push");
    assert_eq!(delivery.payload_json::<serde_json::Value>().unwrap()["ref"], "main");
    let hub = async {
        let (ids, reply) = hub.acked().await;
        reply.all(Outcome::Applied);
        ids
    };
    let (settled, ids) = tokio::join!(delivery.ack(), hub);
    assert_eq!(settled.unwrap(), Settled::Applied);
    assert_eq!(ids, ["a0"]);
}

#[tokio::test(start_paused = true)]
async fn acks_that_come_while_one_is_on_its_way_make_one_batch_and_each_gets_its_own_outcome() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    let mut taken = take(&mut deliveries, &stream, 101).await.into_iter();
    let first = taken.next().unwrap().ack();
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["a0"]);

    let others: Vec<_> = taken.map(Delivery::ack).collect();
    reply.all(Outcome::Applied);
    assert_eq!(first.await.unwrap(), Settled::Applied);
    let (ids, reply) = hub.acked().await;
    let expected: Vec<_> = (1..=100).map(|index| format!("a{index}")).collect();
    assert_eq!(ids, expected);

    reply.each(|id| if id == "a7" { Outcome::Stale } else { Outcome::Applied });
    for (index, other) in others.into_iter().enumerate() {
        match other.await {
            Ok(settled) => assert!(settled == Settled::Applied && index != 6, "{index}"),
            Err(LeaseError::Stale { .. }) => assert_eq!(index, 6),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_ack_whose_answer_was_lost_is_sent_again_and_already_applied_is_success() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    let ack = take(&mut deliveries, &stream, 1).await.remove(0).ack();
    // The first answer is lost with its connection, the second never comes.
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["a0"]);
    drop(reply);
    let (ids, _unanswered) = hub.acked().await;
    assert_eq!(ids, ["a0"]);
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["a0"]);
    reply.all(Outcome::AlreadyApplied);
    assert_eq!(ack.await.unwrap(), Settled::AlreadyApplied);
}

#[tokio::test(start_paused = true)]
async fn what_the_hub_wants_again_is_sent_again_alone() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    let taken = take(&mut deliveries, &stream, 3).await;
    let acks: Vec<_> = taken.into_iter().map(Delivery::ack).collect();
    let (_, reply) = hub.acked().await;
    reply.each(|id| if id == "a1" { Outcome::Retry } else { Outcome::Applied });
    let (ids, reply) = hub.acked().await;
    assert_eq!(ids, ["a1"]);
    reply.all(Outcome::Applied);
    for ack in acks {
        assert_eq!(ack.await.unwrap(), Settled::Applied);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_gets_no_answer_fails_after_its_time_and_says_so() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) =
        hub.subscribe(|builder| builder.settle_timeout(Duration::from_secs(5))).await;
    let ack = take(&mut deliveries, &stream, 1).await.remove(0).ack();
    let losing = async {
        loop {
            drop(hub.acked().await);
        }
    };
    let outcome = tokio::select! {
        outcome = ack => outcome,
        () = losing => unreachable!("loses for ever"),
    };
    let error = outcome.unwrap_err();
    let LeaseError::TimedOut { waited, source } = &error else { panic!("{error:?}") };
    assert!(*waited >= Duration::from_secs(5) && *waited < Duration::from_secs(8), "{waited:?}");
    assert_eq!(source.as_ref().unwrap().code(), tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_refused_ack_is_not_sent_again() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    let ack = take(&mut deliveries, &stream, 1).await.remove(0).ack();
    let (_, reply) = hub.acked().await;
    reply.refuse(Status::permission_denied("no"));
    assert!(matches!(ack.await, Err(LeaseError::Refused { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_delivery_is_released_and_a_nack_carries_what_was_said() {
    let mut hub = Hub::start();
    let (mut deliveries, stream) = hub.subscribe(|builder| builder).await;
    let mut taken = take(&mut deliveries, &stream, 3).await.into_iter();
    drop(taken.next());
    let (nacks, reply) = hub.nacked().await;
    assert_eq!((nacks.len(), nacks[0].lease_id.as_str()), (1, "a0"));
    assert_eq!(nacks[0].action(), NackAction::Release);
    reply.all(Outcome::Applied);

    let nack = Nack::new("too many requests")
        .error_type("rate_limit")
        .retry_after(Duration::from_millis(1_500));
    let nack = taken.next().unwrap().nack_with(nack);
    let dead = taken.next().unwrap().dead_letter("x".repeat(5_000));
    let (nacks, reply) = hub.nacked().await;
    assert_eq!(nacks[0].reason, "too many requests");
    assert_eq!(nacks[0].error_type, "rate_limit");
    assert_eq!(nacks[0].action(), NackAction::Retry);
    let wait = nacks[0].retry_after.unwrap();
    assert_eq!((wait.seconds, wait.nanos), (1, 500_000_000));
    assert_eq!(nacks[1].action(), NackAction::DeadLetter);
    assert_eq!(nacks[1].reason.len(), 4_096);
    reply.all(Outcome::Applied);
    assert_eq!(nack.await.unwrap(), Settled::Applied);
    assert_eq!(dead.await.unwrap(), Settled::Applied);
}
