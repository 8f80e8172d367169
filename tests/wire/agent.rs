//! What agents do: the generated clients over one connection, and a few words for tests.

use std::{net::SocketAddr, time::Duration};

use hookline_proto::v1::{
    AckRequest, Delivery, DeliveryState, DeliveryStatus, Event, ExtendLeaseRequest, ExtendResult,
    GetEventRequest, GetEventResponse, GetSubscriptionRequest, LeaseExtension, ListEventsRequest,
    Nack, NackAction, NackRequest, Outcome, PublishEventRequest, PublishEventResponse, Ready,
    SettleResult, StartPosition, SubscribeRequest, SubscribeResponse, Subscription,
    SubscriptionPolicy, dead_letter_service_client::DeadLetterServiceClient,
    event_service_client::EventServiceClient, start_position::Position,
    subscribe_response::Message, subscriber_service_client::SubscriberServiceClient,
    subscription_service_client::SubscriptionServiceClient,
};
use tonic::{
    Code, Status, Streaming,
    transport::{self, Channel, Endpoint},
};

use crate::hub::{PATIENCE, soon};

/// GetEvent brings a payload whatever its size.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// One connection of an agent.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) channel: Channel,
    pub(crate) subscriber: SubscriberServiceClient<Channel>,
    pub(crate) subscriptions: SubscriptionServiceClient<Channel>,
    pub(crate) events: EventServiceClient<Channel>,
    pub(crate) dead_letters: DeadLetterServiceClient<Channel>,
}

/// Returns where a subscription begins that takes all.
#[expect(clippy::unnecessary_wraps, reason = "every position of the contract is optional")]
pub(crate) fn earliest() -> Option<StartPosition> {
    Some(StartPosition { position: Some(Position::Earliest(())) })
}

/// Returns a duration of the wire.
#[expect(clippy::unnecessary_wraps, reason = "every duration of the contract is optional")]
pub(crate) fn lasts(duration: Duration) -> Option<prost_types::Duration> {
    Some(duration.try_into().unwrap())
}

/// Returns the time of a timestamp since the epoch.
pub(crate) fn at(timestamp: Option<prost_types::Timestamp>) -> Duration {
    let timestamp = timestamp.expect("the time is set");
    let secs = u64::try_from(timestamp.seconds).unwrap();
    Duration::new(secs, u32::try_from(timestamp.nanos).unwrap())
}

/// A policy that retries at once, exactly when it says.
pub(crate) fn retrying_at_once() -> SubscriptionPolicy {
    SubscriptionPolicy {
        initial_backoff: lasts(Duration::ZERO),
        jitter: Some(0.0),
        ..Default::default()
    }
}

/// Subscribes the consumer `one` to everything, from the first event on.
pub(crate) fn everything(subscription: &str) -> SubscribeRequest {
    SubscribeRequest {
        subscription: subscription.to_owned(),
        consumer: "one".to_owned(),
        patterns: vec!["*".to_owned()],
        start: earliest(),
        ..Default::default()
    }
}

impl Agent {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    /// Connects to a hub that may be gone.
    pub(crate) async fn try_connect(address: SocketAddr) -> Result<Self, transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        // An rpc that is in flight when the hub is killed must end.
        let endpoint = endpoint.connect_timeout(PATIENCE);
        let channel = soon("a connection", endpoint.connect()).await?;
        let events = EventServiceClient::new(channel.clone());
        Ok(Self {
            subscriber: SubscriberServiceClient::new(channel.clone()),
            subscriptions: SubscriptionServiceClient::new(channel.clone()),
            events: events.max_decoding_message_size(MESSAGE_BYTES_MAX),
            dead_letters: DeadLetterServiceClient::new(channel.clone()),
            channel,
        })
    }

    /// Subscribes, and waits for `ready`.
    pub(crate) async fn subscribe(&self, request: SubscribeRequest) -> Stream {
        self.try_subscribe(request).await.unwrap()
    }

    pub(crate) async fn try_subscribe(&self, request: SubscribeRequest) -> Result<Stream, Status> {
        let mut subscriber = self.subscriber.clone();
        let messages = soon("a stream", subscriber.subscribe(request)).await?.into_inner();
        let mut stream = Stream { messages, ready: Ready::default() };
        let message = stream.message().await?;
        let Message::Ready(ready) = message.clone() else {
            panic!("expected `ready`, got {message:?}")
        };
        stream.ready = ready;
        Ok(stream)
    }

    pub(crate) async fn try_ack(&self, lease_ids: &[&str]) -> Result<Vec<SettleResult>, Status> {
        let lease_ids = lease_ids.iter().map(|id| (*id).to_owned()).collect();
        let mut subscriber = self.subscriber.clone();
        let acked = soon("an answer", subscriber.ack(AckRequest { lease_ids })).await?;
        Ok(acked.into_inner().results)
    }

    /// Acks leases and returns the outcome of each.
    pub(crate) async fn ack(&self, lease_ids: &[&str]) -> Vec<Outcome> {
        let results = self.try_ack(lease_ids).await.unwrap();
        for (result, id) in results.iter().zip(lease_ids) {
            assert_eq!(result.lease_id, *id, "results come in the order of the request");
        }
        results.iter().map(SettleResult::outcome).collect()
    }

    pub(crate) async fn try_nack(&self, nacks: Vec<Nack>) -> Result<Vec<SettleResult>, Status> {
        let mut subscriber = self.subscriber.clone();
        let nacked = soon("an answer", subscriber.nack(NackRequest { nacks })).await?;
        Ok(nacked.into_inner().results)
    }

    /// Nacks one lease with this reason and returns the outcome.
    pub(crate) async fn nack(&self, lease_id: &str, reason: &str, action: NackAction) -> Outcome {
        let nack = Nack {
            lease_id: lease_id.to_owned(),
            reason: reason.to_owned(),
            error_type: "TestError".to_owned(),
            action: action.into(),
            ..Default::default()
        };
        self.try_nack(vec![nack]).await.unwrap()[0].outcome()
    }

    /// Extends one lease by the policy's `lease_duration`, or as long as is said.
    pub(crate) async fn extend(&self, lease_id: &str, duration: Option<Duration>) -> ExtendResult {
        let extension = LeaseExtension {
            lease_id: lease_id.to_owned(),
            duration: duration.and_then(lasts),
            progress: "on it".to_owned(),
            checkpoint: None,
        };
        let request = ExtendLeaseRequest { extensions: vec![extension] };
        let mut subscriber = self.subscriber.clone();
        let extended = soon("an answer", subscriber.extend_lease(request)).await.unwrap();
        extended.into_inner().results.remove(0)
    }

    pub(crate) async fn subscription(&self, name: &str) -> Subscription {
        let request = GetSubscriptionRequest { name: name.to_owned() };
        let mut subscriptions = self.subscriptions.clone();
        let got = soon("an answer", subscriptions.get_subscription(request)).await.unwrap();
        got.into_inner().subscription.unwrap()
    }

    pub(crate) async fn event(&self, id: &str) -> GetEventResponse {
        let request = GetEventRequest { id: id.to_owned(), ..Default::default() };
        let mut events = self.events.clone();
        soon("an answer", events.get_event(request)).await.unwrap().into_inner()
    }

    /// Asks for an event until its only delivery is in this state.
    pub(crate) async fn event_once(&self, id: &str, state: DeliveryState) -> GetEventResponse {
        let coming = async {
            loop {
                let got = self.event(id).await;
                if only(&got).state() == state {
                    return got;
                }
            }
        };
        soon(state.as_str_name(), coming).await
    }

    /// Lists all events that a request asks for, whatever the number of pages.
    pub(crate) async fn list(&self, mut request: ListEventsRequest) -> Vec<Event> {
        let mut events = self.events.clone();
        let mut all = Vec::new();
        loop {
            let page = soon("a page", events.list_events(request.clone())).await.unwrap();
            let page = page.into_inner();
            all.extend(page.events);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Publishes an event of this type as `agent`, and returns what was answered.
    pub(crate) async fn publish(&self, event_type: &str) -> PublishEventResponse {
        let request = PublishEventRequest {
            event_type: event_type.to_owned(),
            payload: r#"{"pages": 12}"#.into(),
            ..Default::default()
        };
        self.try_publish(request).await.unwrap()
    }

    pub(crate) async fn try_publish(
        &self,
        request: PublishEventRequest,
    ) -> Result<PublishEventResponse, Status> {
        let mut events = self.events.clone();
        Ok(soon("an answer", events.publish_event(request)).await?.into_inner())
    }
}

/// A Subscribe stream behind its `ready`.
pub(crate) struct Stream {
    messages: Streaming<SubscribeResponse>,
    pub(crate) ready: Ready,
}

impl Stream {
    /// Waits for the next message that is no heartbeat, or the stream's end.
    pub(crate) async fn message(&mut self) -> Result<Message, Status> {
        // All of it: heartbeats must not put the end of the patience off.
        soon("a message of the stream", self.next_but_heartbeats()).await
    }

    /// Waits for the next heartbeat, which must be the next message.
    pub(crate) async fn heartbeat(&mut self) {
        let message = soon("a heartbeat", self.messages.message()).await.unwrap();
        let message = message.expect("the stream has not ended").message;
        assert!(matches!(message, Some(Message::Heartbeat(_))), "{message:?}");
    }

    /// As [`Stream::message`], for as long as the caller is patient.
    pub(crate) async fn next_but_heartbeats(&mut self) -> Result<Message, Status> {
        loop {
            let Some(message) = self.messages.message().await? else {
                return Err(Status::new(Code::Ok, "the stream ended without a status"));
            };
            match message.message.unwrap() {
                Message::Heartbeat(_) => {}
                message @ (Message::Ready(_)
                | Message::Newer(_)
                | Message::Delivery(_)
                | Message::LeaseLost(_)
                | Message::Draining(_)) => return Ok(message),
            }
        }
    }

    /// Waits for a delivery, which must be the next message.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        delivered(self.message().await.unwrap())
    }

    /// Waits for a delivery, which must be the next message, and acks it.
    pub(crate) async fn ack_next(&mut self, agent: &Agent) -> Delivery {
        let delivery = self.delivery().await;
        assert_eq!(agent.ack(&[&delivery.lease_id]).await, [Outcome::Applied]);
        delivery
    }

    /// Waits for the end, which must be the next thing.
    pub(crate) async fn end(&mut self) -> Status {
        match self.message().await {
            Ok(message) => panic!("expected the end of the stream, got {message:?}"),
            Err(status) => status,
        }
    }
}

/// Returns the delivery that a message must be.
pub(crate) fn delivered(message: Message) -> Delivery {
    let Message::Delivery(delivery) = message.clone() else {
        panic!("expected a delivery, got {message:?}")
    };
    delivery
}

/// Returns the key by which the provider knows a delivery's event.
pub(crate) fn key(delivery: &Delivery) -> &str {
    &delivery.event.as_ref().unwrap().delivery_key
}

/// Returns the id of a delivery's event.
pub(crate) fn event_id(delivery: &Delivery) -> &str {
    &delivery.event.as_ref().unwrap().id
}

/// Returns the state of an event's only delivery.
pub(crate) fn only(got: &GetEventResponse) -> &DeliveryStatus {
    match got.deliveries.as_slice() {
        [only] => only,
        other => panic!("expected one delivery, got {other:?}"),
    }
}
