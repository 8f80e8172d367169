//! A consumer on the generated client of the contract: what the wire costs without the library. It does not extend leases.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hookline_client::{
    Client, Transport,
    proto::{
        AckRequest, AckResponse, Outcome, SubscribeRequest, SubscribeResponse,
        subscribe_response::Message, subscriber_service_client::SubscriberServiceClient,
    },
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{BenchError, crew::call, tally::Tally};

/// The contract's limit of one batch of acks.
const BATCH_COUNT_MAX: usize = 1_000;

/// A stream of deliveries that is open.
#[derive(Debug)]
pub(super) struct Consumer {
    hub: SubscriberServiceClient<Transport>,
    stream: Streaming<SubscribeResponse>,
    /// Leases that are to be acked, with the numbers of their events.
    waiting: Vec<(String, Option<u64>)>,
}

impl Consumer {
    /// Subscribes, and waits until the hub is ready.
    pub(super) async fn subscribe(
        client: &Client,
        subscription: &str,
        max_in_flight: u16,
    ) -> Result<Self, BenchError> {
        let mut hub = client.subscriber();
        let request = SubscribeRequest {
            subscription: subscription.to_owned(),
            max_in_flight: Some(max_in_flight.into()),
            ..SubscribeRequest::default()
        };
        let opened = hub.subscribe(request).await;
        let mut stream = opened.map_err(call("subscribe"))?.into_inner();
        stream.message().await.map_err(call("subscribe"))?;
        Ok(Self { hub, stream, waiting: Vec::new() })
    }

    /// Acks what comes, until it is told to stop: one call at a time, with all that has come since the last.
    pub(super) async fn work(
        mut self,
        tally: &Tally,
        stop: &CancellationToken,
    ) -> Result<(), Status> {
        // At most one.
        let mut acking = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(answered) = acking.next() => note(answered?, tally)?,
                message = self.stream.message() => match message?.and_then(|answer| answer.message) {
                    Some(Message::Delivery(delivery)) => {
                        let number = delivery.event.and_then(|event| tally.came(&event));
                        self.waiting.push((delivery.lease_id, number));
                    }
                    Some(_) => {}
                    None => return Err(Status::aborted("the stream has ended")),
                },
                () = stop.cancelled() => return Ok(()),
            }
            if acking.is_empty() && !self.waiting.is_empty() {
                let count = self.waiting.len().min(BATCH_COUNT_MAX);
                let batch = self.waiting.drain(..count).collect();
                acking.push(ack(self.hub.clone(), batch));
            }
        }
    }
}

type Acked = (Vec<Option<u64>>, AckResponse);

async fn ack(
    mut hub: SubscriberServiceClient<Transport>,
    batch: Vec<(String, Option<u64>)>,
) -> Result<Acked, Status> {
    let (lease_ids, numbers) = batch.into_iter().unzip();
    let answer = hub.ack(AckRequest { lease_ids }).await?;
    Ok((numbers, answer.into_inner()))
}

fn note((numbers, answer): Acked, tally: &Tally) -> Result<(), Status> {
    for (number, result) in numbers.into_iter().zip(answer.results) {
        if result.outcome() != Outcome::Applied {
            return Err(Status::aborted(format!("an ack was answered {:?}", result.outcome())));
        }
        number.into_iter().for_each(|number| tally.acked(number));
    }
    Ok(())
}
