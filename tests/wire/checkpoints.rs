//! What an attempt saves of its work, for the next one; and what it says of its progress.

use std::time::Duration;

use bytes::Bytes;
use hookline_proto::v1::{
    DeliveryState, ExtendLeaseRequest, ExtendResult, LeaseExtension, NackAction, Outcome,
    SubscribeRequest,
};
use tonic::{Code, Status};

use crate::{
    agent::{Agent, event_id, everything, lasts, only, retrying_at_once},
    hub::{Hub, soon},
    operator::again,
};

async fn try_save(
    agent: &Agent,
    lease_id: &str,
    checkpoint: Option<&[u8]>,
) -> Result<ExtendResult, Status> {
    let extension = LeaseExtension {
        lease_id: lease_id.to_owned(),
        progress: "page 3 of 7".to_owned(),
        checkpoint: checkpoint.map(Bytes::copy_from_slice),
        ..Default::default()
    };
    let request = ExtendLeaseRequest { extensions: vec![extension] };
    let mut subscriber = agent.subscriber.clone();
    let extended = soon("an answer", subscriber.extend_lease(request)).await?;
    Ok(extended.into_inner().results.remove(0))
}

async fn save(agent: &Agent, lease_id: &str, checkpoint: Option<&[u8]>) {
    let saved = try_save(agent, lease_id, checkpoint).await.unwrap();
    assert_eq!(saved.outcome(), Outcome::Applied, "{saved:?}");
}

fn working() -> SubscribeRequest {
    SubscribeRequest { policy: Some(retrying_at_once()), ..everything("work") }
}

#[tokio::test]
async fn j6_a_checkpoint_is_given_to_each_later_attempt_until_another_takes_its_place() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_about("a").await;
    let mut stream = agent.subscribe(working()).await;
    let first = stream.delivery().await;
    assert_eq!(first.checkpoint, Bytes::new());
    save(&agent, &first.lease_id, Some(b"page 1")).await;
    save(&agent, &first.lease_id, Some(b"page 3 \0\xff")).await;
    // An extension without one leaves it.
    save(&agent, &first.lease_id, None).await;
    agent.nack(&first.lease_id, "down", NackAction::Retry).await;
    for attempt in [2, 3] {
        let delivery = stream.delivery().await;
        assert_eq!((delivery.attempt, &delivery.checkpoint[..]), (attempt, &b"page 3 \0\xff"[..]));
        agent.nack(&delivery.lease_id, "down", NackAction::Retry).await;
    }
    let fourth = stream.delivery().await;
    save(&agent, &fourth.lease_id, Some(b"")).await;
    agent.nack(&fourth.lease_id, "", NackAction::Release).await;
    let fifth = stream.delivery().await;
    assert_eq!((fifth.attempt, &fifth.checkpoint[..]), (4, &b""[..]));
}

#[tokio::test]
async fn j6_a_checkpoint_is_durable_before_its_answer() {
    let mut hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_about("a").await;
    let mut stream = agent.subscribe(working()).await;
    let first = stream.delivery().await;
    save(&agent, &first.lease_id, Some(b"page 3")).await;
    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(again("work")).await;
    // The lease that saved it is kept too.
    let [held] = &stream.ready.held[..] else { panic!("one lease: {:?}", stream.ready) };
    assert_eq!(held.lease_id, first.lease_id);
    let nacked = agent.nack(&first.lease_id, "died", NackAction::Retry).await;
    assert_eq!(nacked, Outcome::Applied);
    let second = stream.delivery().await;
    assert_eq!((second.attempt, &second.checkpoint[..]), (2, &b"page 3"[..]));
    hub.crash().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(again("work")).await;
    // Unless it was leased for more than a second, it is forgotten.
    let is_held = !stream.ready.held.is_empty();
    if is_held {
        agent.nack(&second.lease_id, "died", NackAction::Retry).await;
    }
    let third = stream.delivery().await;
    assert_eq!((third.attempt, &third.checkpoint[..]), (2 + u32::from(is_held), &b"page 3"[..]));
}

#[tokio::test]
async fn a_checkpoint_of_a_stale_lease_changes_nothing() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_about("a").await;
    let mut stream = agent.subscribe(working()).await;
    let first = stream.delivery().await;
    save(&agent, &first.lease_id, Some(b"page 3")).await;
    agent.nack(&first.lease_id, "down", NackAction::Retry).await;
    let second = stream.delivery().await;
    let late = try_save(&agent, &first.lease_id, Some(b"page 9")).await.unwrap();
    assert!([Outcome::Stale, Outcome::Conflict].contains(&late.outcome()), "{late:?}");
    agent.nack(&second.lease_id, "down", NackAction::Retry).await;
    assert_eq!(&stream.delivery().await.checkpoint[..], b"page 3");
}

#[tokio::test]
async fn a_checkpoint_that_is_too_large_is_refused_and_the_lease_goes_on() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_about("a").await;
    let mut stream = agent.subscribe(working()).await;
    let first = stream.delivery().await;
    let largest = vec![7; 64 * 1024];
    save(&agent, &first.lease_id, Some(&largest)).await;
    let refused = try_save(&agent, &first.lease_id, Some(&vec![8; 64 * 1024 + 1])).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("`extensions[0].checkpoint`: "), "{refused}");
    agent.nack(&first.lease_id, "down", NackAction::Retry).await;
    let second = stream.ack_next(&agent).await;
    assert_eq!(second.checkpoint, largest);
}

#[tokio::test]
async fn progress_is_shown_by_lists_and_by_the_event_while_the_lease_runs() {
    let hub = Hub::start().await;
    let agent = hub.agent().await;
    agent.publish_about("a").await;
    let mut stream = agent.subscribe(working()).await;
    let first = stream.delivery().await;
    save(&agent, &first.lease_id, None).await;
    let listed = agent.deliveries("work", &[DeliveryState::Leased]).await;
    assert_eq!(listed[0].progress, "page 3 of 7");
    let got = agent.event(event_id(&first)).await;
    assert_eq!(only(&got), &listed[0]);
    // A long one is cut.
    let extension = LeaseExtension {
        lease_id: first.lease_id.clone(),
        duration: lasts(Duration::from_secs(90)),
        progress: "é".repeat(1_000),
        checkpoint: None,
    };
    let request = ExtendLeaseRequest { extensions: vec![extension] };
    agent.subscriber.clone().extend_lease(request).await.unwrap();
    let listed = agent.deliveries("work", &[DeliveryState::Leased]).await;
    assert_eq!(listed[0].progress, "é".repeat(512));
    agent.nack(&first.lease_id, "down", NackAction::Retry).await;
    stream.delivery().await;
    let listed = agent.deliveries("work", &[DeliveryState::Leased]).await;
    assert_eq!(listed[0].progress, "");
}
