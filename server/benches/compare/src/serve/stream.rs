//! The ceiling of delivery: a tonic server that streams the deliveries that a hub would, from memory, to whoever
//! subscribes, and says of every ack at once that it is applied. It keeps nothing and knows nobody.

use std::{path::Path, pin::Pin};

use hookline_core::{
    event::SourceName,
    normalize::{Received, receive},
    source::{Kind, Secret, Source},
    time::Timestamp,
    verify::Request as Signed,
};
use hookline_proto::v1::{
    AckRequest, AckResponse, Delivery, Event, ExtendLeaseRequest, ExtendLeaseResponse, NackRequest,
    NackResponse, Outcome as Settled, Ready, SettleResult, SubscribeRequest, SubscribeResponse,
    subscribe_response::Message,
    subscriber_service_server::{SubscriberService, SubscriberServiceServer},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};
use uuid::Uuid;

use super::plain::{wire_metadata, wire_time};
use crate::{
    Outcome,
    bodies::{Bodies, PATH, Prepared, SECRET},
};

/// As long as the hub's lease ids of a consumer with a name of 42 bytes, which the client library makes up.
const LEASE_ID_BYTES: usize = 132;

/// Returns what the hub would hand out for each body.
pub(super) fn prepare(bodies: &Path) -> Outcome<Vec<Delivery>> {
    let secret = Secret::new(SECRET)?;
    let source = Source::signed(SourceName::parse("github")?, Kind::GITHUB, vec![secret])?;
    Bodies::read(bodies)?.all().iter().map(|one| delivery(&source, one)).collect()
}

fn delivery(source: &Source, one: &Prepared) -> Outcome<Delivery> {
    // The head ends where the id of the delivery comes.
    let mut headers = HeaderMap::new();
    for line in std::str::from_utf8(&one.head)?.lines().skip(1) {
        let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
        let value =
            if value.trim().is_empty() { "1764180000-123456-1000000" } else { value.trim() };
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let request =
        Signed { method: &Method::POST, target: PATH, headers: &headers, body: &one.body };
    let now = Timestamp::from_secs(1_764_180_000).ok_or("a time")?;
    let Received::Events { events, .. } = receive(source, request, now)? else {
        return Err("a body is a handshake".into());
    };
    let event = events.into_iter().next().ok_or("a body without an event")?;
    let payload_size = u64::try_from(event.payload.len())?;
    let event = Event {
        id: Uuid::now_v7().to_string(),
        sequence: 1,
        source: event.source.as_str().to_owned(),
        event_type: event.event_type.as_str().to_owned(),
        timestamp: Some(wire_time(event.timestamp)),
        actor: event.actor.into(),
        resource_type: event.resource_type.into(),
        resource_id: event.resource_id.into(),
        payload: event.payload,
        metadata: wire_metadata(&event.metadata),
        received_at: Some(wire_time(now)),
        delivery_key: event.delivery_key.into(),
        payload_size,
        payload_json: None,
    };
    Ok(Delivery {
        lease_id: "x".repeat(LEASE_ID_BYTES),
        event: Some(event),
        attempt: 1,
        max_attempts: 5,
        lease_expires_at: Some(wire_time(now)),
        lease_duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Delivery::default()
    })
}

pub(super) async fn run(listener: TcpListener, deliveries: Vec<Delivery>, count: usize) -> Outcome {
    let service = SubscriberServiceServer::new(Streamer { deliveries, count });
    let server = tonic::transport::Server::builder().add_service(service);
    // As the hub: else the last of it waits up to 40 ms for the client's delayed acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(server.serve_with_incoming(incoming).await?)
}

struct Streamer {
    deliveries: Vec<Delivery>,
    count: usize,
}

#[tonic::async_trait]
impl SubscriberService for Streamer {
    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send + 'static>>;

    async fn subscribe(
        &self,
        _request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (deliveries, count) = (self.deliveries.clone(), self.count);
        let deliveries = deliveries.into_iter().cycle().take(count).zip(1_u64..);
        let deliveries = deliveries.map(|(mut delivery, sequence)| {
            if let Some(event) = &mut delivery.event {
                event.sequence = sequence;
            }
            Message::Delivery(delivery)
        });
        let messages = std::iter::once(Message::Ready(Ready::default())).chain(deliveries);
        let messages = messages.map(|message| Ok(SubscribeResponse { message: Some(message) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<AckResponse>, Status> {
        let applied = |lease_id| SettleResult {
            lease_id,
            outcome: Settled::Applied.into(),
            message: String::new(),
        };
        let results = request.into_inner().lease_ids.into_iter().map(applied).collect();
        Ok(Response::new(AckResponse { results }))
    }

    async fn nack(&self, _request: Request<NackRequest>) -> Result<Response<NackResponse>, Status> {
        Err(Status::unimplemented("a ceiling knows acks only"))
    }

    async fn extend_lease(
        &self,
        _request: Request<ExtendLeaseRequest>,
    ) -> Result<Response<ExtendLeaseResponse>, Status> {
        Err(Status::unimplemented("a ceiling knows acks only"))
    }
}
