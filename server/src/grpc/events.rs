//! `EventService`: the log, to write to and to look at.

pub(in crate::grpc) mod list;

mod publish;

mod test;

mod trial;

mod watch;

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use hookline_core::event::EventId;
use hookline_proto::v1::{self, event_service_server::EventService};
use tonic::{Request, Response, Status};

use super::{Shared, auth, convert, fields, pending::Peer, status};
use crate::{store::Entry, traces::TRACEPARENT};

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

#[tonic::async_trait]
impl EventService for Service {
    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn publish_event(
        &self,
        request: Request<v1::PublishEventRequest>,
    ) -> Result<Response<v1::PublishEventResponse>, Status> {
        let caller = auth::caller(&request)?;
        let traceparent = request.metadata().get(TRACEPARENT).and_then(|of| of.to_str().ok());
        let traceparent = traceparent.map(str::to_owned);
        let published = publish::publish(&self.0, &caller, traceparent, request.into_inner());
        published.await.map(Response::new)
    }

    async fn get_event(
        &self,
        request: Request<v1::GetEventRequest>,
    ) -> Result<Response<v1::GetEventResponse>, Status> {
        let sight = auth::caller(&request)?.looks_at();
        let request = request.into_inner();
        let view = fields::whole_view(request.payload_view)?;
        let not_found = || Status::not_found(format!("there is no event `{}`", request.id));
        let id = EventId::parse(&request.id)
            .ok_or_else(|| status::invalid("id", "not the id of an event: a UUID"))?;
        let (broker, log) = (&self.0.broker, self.0.broker.log());
        let found = log.find(id).await.map_err(|error| status::read_failed(&error))?;
        let is_shown = |entry: &Arc<Entry>| broker.shows_event(&sight, &entry.event.content);
        let entry = found.filter(is_shown).ok_or_else(not_found)?;
        let event = convert::event(&**log, &entry, view).await;
        let event = event.map_err(|error| status::read_failed(&error))?;
        let delivered =
            broker.deliveries_of(&sight, &entry).await.map_err(status::lookup_failed)?;
        let deliveries = delivered
            .iter()
            .map(|delivered| convert::delivery_status(delivered, &event.id, entry.event.sequence))
            .collect();
        Ok(Response::new(v1::GetEventResponse { event: Some(event), deliveries }))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let sight = auth::caller(&request)?.reads();
        list::list(&self.0, sight, request.into_inner()).await.map(Response::new)
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let sight = auth::caller(&request)?.reads();
        let peer = Peer::of(&request);
        let stream = watch::watch(&self.0, sight, peer, request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn test_filter(
        &self,
        request: Request<v1::TestFilterRequest>,
    ) -> Result<Response<v1::TestFilterResponse>, Status> {
        let sight = auth::caller(&request)?.reads();
        test::test(&self.0, sight, request.into_inner()).await.map(Response::new)
    }
}
