//! Consumers of a subscription: they ack what comes, and note when it is durable.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hookline_client::{
    Client, Deliveries, Start,
    proto::{
        CreateSubscriptionRequest, DeleteSubscriptionRequest, GetSubscriptionRequest,
        PauseSubscriptionRequest, ResumeSubscriptionRequest,
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{BenchError, raw, tally::Tally};

/// What the subscriptions of benchmarks take.
pub(super) const PATTERN: &str = "github";

/// A subscription, in the hands of an operator.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    client: Client,
    pub(super) name: String,
}

impl Reader {
    /// Creates a subscription that takes what comes from now on.
    pub(super) async fn create(client: Client, name: String) -> Result<Self, BenchError> {
        let request = CreateSubscriptionRequest {
            name: name.clone(),
            patterns: vec![PATTERN.to_owned()],
            start: Some(Start::Latest.into()),
            ..CreateSubscriptionRequest::default()
        };
        let created = client.subscriptions().create_subscription(request).await;
        created.map_err(call("create a subscription"))?;
        Ok(Self { client, name })
    }

    /// As another client sees it.
    pub(super) fn through(&self, client: Client) -> Self {
        Self { client, name: self.name.clone() }
    }

    pub(super) async fn pause(&self) -> Result<(), BenchError> {
        let request = PauseSubscriptionRequest { name: self.name.clone(), until: None };
        let paused = self.client.subscriptions().pause_subscription(request).await;
        paused.map(drop).map_err(call("pause a subscription"))
    }

    pub(super) async fn resume(&self) -> Result<(), BenchError> {
        let request = ResumeSubscriptionRequest { name: self.name.clone() };
        let resumed = self.client.subscriptions().resume_subscription(request).await;
        resumed.map(drop).map_err(call("resume a subscription"))
    }

    /// Returns how many deliveries are neither done nor given up.
    pub(super) async fn open_count(&self) -> Result<u64, BenchError> {
        let request = GetSubscriptionRequest { name: self.name.clone() };
        let got = self.client.subscriptions().get_subscription(request).await;
        let subscription = got.map_err(call("look at a subscription"))?.into_inner().subscription;
        let counts = subscription.and_then(|subscription| subscription.counts).unwrap_or_default();
        Ok(counts.ready + counts.leased + counts.waiting + counts.unscanned)
    }

    pub(super) async fn delete(&self) -> Result<(), BenchError> {
        let request = DeleteSubscriptionRequest { name: self.name.clone() };
        let deleted = self.client.subscriptions().delete_subscription(request).await;
        deleted.map(drop).map_err(call("delete a subscription"))
    }
}

/// Returns what makes an error of a call's answer.
pub(super) fn call(attempted: &'static str) -> impl FnOnce(Status) -> BenchError {
    move |status| BenchError::Call { attempted, source: Box::new(status) }
}

/// By what the consumers speak to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// The Rust client library.
    Library,
    /// The generated client of the contract.
    Raw,
}

/// Consumers at work. They end when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Crew {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Crew {
    /// Adds a consumer of a subscription, and waits until it has subscribed.
    pub(super) async fn add(
        &mut self,
        client: &Client,
        subscription: &str,
        max_in_flight: u16,
        manner: Manner,
        tally: &Arc<Tally>,
    ) -> Result<(), BenchError> {
        let (tally, stop) = (Arc::clone(tally), self.stop.clone());
        match manner {
            Manner::Library => {
                let deliveries = subscribe(client, subscription, max_in_flight).await?;
                self.tasks.spawn(consume(deliveries, tally, stop));
            }
            Manner::Raw => {
                let consumer =
                    raw::Consumer::subscribe(client, subscription, max_in_flight).await?;
                self.tasks.spawn(async move {
                    if let Err(status) = consumer.work(&tally, &stop).await {
                        tally.fail(call("consume")(status));
                    }
                });
            }
        }
        Ok(())
    }

    /// Lets all consumers end their streams.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Subscribes through the client library.
pub(super) async fn subscribe(
    client: &Client,
    subscription: &str,
    max_in_flight: u16,
) -> Result<Deliveries, BenchError> {
    let builder = client.subscription(subscription).max_in_flight(max_in_flight.into());
    builder.subscribe().await.map_err(|error| BenchError::Consumer(Box::new(error)))
}

/// Acks what comes through the client library, until it is told to stop; then closes the stream.
pub(super) async fn consume(
    mut deliveries: Deliveries,
    tally: Arc<Tally>,
    stop: CancellationToken,
) {
    let mut settling = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((number, settled)) = settling.next() => match (number, settled) {
                (Some(number), Ok(_)) => tally.acked(number),
                // Somebody else's event, or one whose lease is over: then it comes again.
                (None, _) | (_, Err(_)) => {}
            },
            delivery = deliveries.next() => match delivery {
                Some(Ok(delivery)) => {
                    let number = tally.came(delivery.event());
                    let ack = delivery.ack();
                    settling.push(async move { (number, ack.await) });
                }
                Some(Err(error)) => return tally.fail(BenchError::Consumer(Box::new(error))),
                None => return tally.fail(BenchError::Failed("a stream has ended".to_owned())),
            },
            () = stop.cancelled() => break,
        }
    }
    deliveries.close().await;
    while let Some((number, settled)) = settling.next().await {
        if let (Some(number), Ok(_)) = (number, settled) {
            tally.acked(number);
        }
    }
}
