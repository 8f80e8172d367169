//! Consumers of Hookline, and of whatever speaks its contract.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hookline_client::{
    Client, Start,
    proto::{
        AckRequest, Outcome as Settled, StartPosition, SubscribeRequest,
        subscribe_response::Message,
    },
};
use prost::Message as _;
use tokio::task::{JoinHandle, JoinSet};

use super::consume::IN_FLIGHT;
use crate::Outcome;

/// How many acks go in one call.
pub(super) const ACKS: usize = 256;

/// What a consumer has taken and acknowledged.
pub(super) struct Taken {
    /// From the call that subscribes to the answer to the last ack.
    pub(super) took: Duration,
    /// Of all deliveries' messages, encoded.
    pub(super) bytes: usize,
}

/// Takes so many events by the contract's stubs, and acks them in batches while it goes on taking.
pub(super) async fn stubs(client: &Client, subscription: &str, count: usize) -> Outcome<Taken> {
    let mut hub = client.subscriber();
    let request = SubscribeRequest {
        subscription: subscription.to_owned(),
        // As long as the name that the client library makes up.
        consumer: "x".repeat(42),
        max_in_flight: Some(IN_FLIGHT.into()),
        patterns: vec!["github".to_owned()],
        start: Some(StartPosition::from(Start::Earliest)),
        ..SubscribeRequest::default()
    };
    let began = Instant::now();
    let mut stream = hub.subscribe(request).await?.into_inner();
    let (mut taken, mut bytes, mut batch, mut acks) = (0, 0, Vec::new(), JoinSet::new());
    while taken < count {
        let message = stream.message().await?.ok_or("the stream has ended")?;
        let Some(Message::Delivery(delivery)) = message.message else { continue };
        taken += 1;
        bytes += delivery.encoded_len();
        batch.push(delivery.lease_id);
        if batch.len() == ACKS || taken == count {
            let (mut hub, lease_ids) = (hub.clone(), std::mem::take(&mut batch));
            acks.spawn(async move {
                let answer = hub.ack(AckRequest { lease_ids }).await?.into_inner();
                let applied = |result: &hookline_client::proto::SettleResult| {
                    result.outcome() == Settled::Applied
                };
                if answer.results.iter().all(applied) {
                    Outcome::Ok(())
                } else {
                    Err("an ack was not applied".into())
                }
            });
        }
    }
    while let Some(acked) = acks.join_next().await {
        acked??;
    }
    Ok(Taken { took: began.elapsed(), bytes })
}

/// Takes so many events by the client library, acks each, and waits for each ack's answer.
pub(super) async fn library(
    client: &Client,
    subscription: &str,
    count: usize,
) -> Outcome<Duration> {
    let began = Instant::now();
    let subscription = client.subscription(subscription).patterns(["github"]);
    let subscription = subscription.start(Start::Earliest).max_in_flight(IN_FLIGHT.into());
    let mut deliveries = subscription.subscribe().await?;
    let mut settling = VecDeque::new();
    for _ in 0..count {
        let delivery = deliveries.next().await.ok_or("the stream has ended")??;
        settling.push_back(delivery.ack());
        // The oldest are answered by now or soon.
        if usize::from(IN_FLIGHT) <= settling.len()
            && let Some(oldest) = settling.pop_front()
        {
            oldest.await?;
        }
    }
    for ack in settling {
        ack.await?;
    }
    Ok(began.elapsed())
}

/// Takes a backlog on many subscriptions at once, each over a connection of its own; returns how long all took.
pub(super) async fn many(grpc: &str, subscriptions: usize, count: usize) -> Outcome<Duration> {
    let began = Instant::now();
    let agents: Vec<JoinHandle<Outcome<Taken>>> = (0..subscriptions)
        .map(|number| {
            let client = Client::connect(grpc);
            tokio::spawn(async move { stubs(&client?, &format!("fan-{number}"), count).await })
        })
        .collect();
    for agent in agents {
        agent.await??;
    }
    Ok(began.elapsed())
}
