//! The gRPC services: what agents, operators and grpcurl talk to.
//!
//! A service reads a request into values of the core (`fields`), asks the broker or the log, and writes the answer
//! (`convert`). It decides nothing.

mod accept;

mod auth;
mod calls;

mod preface;
mod requests;

mod meter;

mod pending;

mod fields;

mod policy;

mod convert;
mod cork;

mod page;

mod status;

mod subscriber;

mod codec;

mod streams;
mod turns;
#[cfg(test)]
mod woken;

mod subscriptions;

mod events;

mod dead_letters;

mod sources;

mod admin;

use std::{net::SocketAddr, sync::Arc};

use hookline_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        admin_service_server::AdminServiceServer,
        dead_letter_service_server::DeadLetterServiceServer,
        event_service_server::EventServiceServer, source_service_server::SourceServiceServer,
        subscription_service_server::SubscriptionServiceServer,
    },
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::layer::util::{Identity, Stack};

pub use self::calls::Calls;
use self::{
    accept::{Patient, connections},
    calls::Layer,
    pending::Bounding,
    streams::SubscriberServer,
};
use crate::{
    auth::Tokens,
    broker::Broker,
    http::{Counts, Directory},
    limits::{
        CALL_BYTES_MAX, CALL_HEADER_BYTES_MAX, CALLS_PER_CONNECTION_MAX, GRPC_CONNECTIONS_MAX,
        KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, REQUEST_BYTES_MAX, RESETS_OF_BAD_FRAMES_MAX,
        RESETS_PENDING_MAX,
    },
    store::Export,
    tls::Tls,
    transport,
};

/// The services by their full names, for health.
const SERVICES: [&str; 6] = [
    "hookline.v1.SubscriberService",
    "hookline.v1.SubscriptionService",
    "hookline.v1.EventService",
    "hookline.v1.DeadLetterService",
    "hookline.v1.SourceService",
    "hookline.v1.AdminService",
];

/// Who may post webhooks, and what came of their posts.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The configured sources, by name.
    pub configured: Directory,
    /// What the HTTP front counts.
    pub counts: Arc<Counts>,
}

/// What the services work with.
#[derive(Clone, Debug)]
pub struct State {
    /// Who subscribes, and the log.
    pub broker: Broker,
    /// Who posts.
    pub sources: Sources,
    /// What is copied by a backup.
    pub export: Arc<dyn Export>,
    /// Who may call what.
    pub tokens: Tokens,
    /// Where calls are counted.
    pub calls: Arc<Calls>,
}

/// What the services share.
#[derive(Clone, Debug)]
struct Shared {
    broker: Broker,
    sources: Sources,
    export: Arc<dyn Export>,
    /// Cancelled when streams that belong to no subscription are to end.
    stop: CancellationToken,
}

/// The services, within what is around all of them.
type Router = tonic::transport::server::Router<Stack<Bounding, Stack<Layer, Identity>>>;

/// The gRPC server, bound to its port.
#[derive(Debug)]
pub struct Server {
    incoming: Patient<TcpIncoming>,
    tls: Option<Arc<Tls>>,
    address: SocketAddr,
    shared: Shared,
    health: HealthReporter,
    router: Router,
}

/// Why the gRPC server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port could not be bound.
    #[error("could not listen for gRPC on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The descriptor set that was built in can't be served.
    #[error("could not set up server reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl Server {
    /// Binds the port, with TLS or without, and puts the services together. Health says NOT_SERVING until [`Server::run`].
    ///
    /// # Errors
    ///
    /// If the port can't be bound.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        state: State,
        stop: CancellationToken,
    ) -> Result<Self, BindError> {
        let State { broker, sources, export, tokens, calls } = state;
        let listen = |source| BindError::Listen { address, source };
        let listener = transport::listen(address).map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let incoming = Patient::new(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let shared = Shared { broker, sources, export, stop };
        let (health, router) = router(&shared, tokens, calls)?;
        Ok(Self { incoming, tls, address: bound, shared, health, router })
    }

    /// Returns the address that is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the token that [`Server::bind`] was given is cancelled and every stream has ended.
    ///
    /// # Errors
    ///
    /// If the listener fails.
    pub async fn run(self) -> Result<(), tonic::transport::Error> {
        for service in SERVICES.into_iter().chain([""]) {
            self.health.set_service_status(service, ServingStatus::Serving).await;
        }
        let stop = self.shared.stop.clone();
        let room = Arc::new(Semaphore::new(GRPC_CONNECTIONS_MAX));
        let incoming = connections(self.incoming, room, self.tls);
        self.router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await
    }

    /// Returns what tells health checkers how the services are.
    #[must_use]
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }
}

/// Tells health checkers that the services take nothing new.
pub async fn stop_serving(health: &HealthReporter) {
    for service in SERVICES.into_iter().chain([""]) {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}

fn router(
    shared: &Shared,
    tokens: Tokens,
    calls: Arc<Calls>,
) -> Result<(HealthReporter, Router), BindError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    let subscriber = SubscriberServer::new(subscriber::Service(shared.clone()));
    let subscriptions = SubscriptionServiceServer::new(subscriptions::Service(shared.clone()));
    let events = EventServiceServer::new(events::Service(shared.clone()));
    let dead_letters = DeadLetterServiceServer::new(dead_letters::Service(shared.clone()));
    let sources = SourceServiceServer::new(sources::Service(shared.clone()));
    let admin = AdminServiceServer::new(admin::Service(shared.clone()));
    let routes = Routes::new(health_service)
        .add_service(reflection().build_v1()?)
        // Older grpcurl and Python's grpcio-reflection ask only for this one.
        .add_service(reflection().build_v1alpha()?)
        .add_service(subscriber)
        .add_service(subscriptions.max_decoding_message_size(CALL_BYTES_MAX))
        .add_service(
            events
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                // GetEvent brings a payload whatever its size.
                .max_encoding_message_size(usize::MAX),
        )
        .add_service(
            dead_letters
                .max_decoding_message_size(CALL_BYTES_MAX)
                .max_encoding_message_size(usize::MAX),
        )
        .add_service(sources.max_decoding_message_size(CALL_BYTES_MAX))
        .add_service(admin.max_decoding_message_size(CALL_BYTES_MAX));
    let router = tonic::transport::Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(CALL_HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        // Unset, tonic sets it to no limit at all.
        .http2_max_local_error_reset_streams(Some(RESETS_OF_BAD_FRAMES_MAX))
        .layer(Layer(calls))
        .layer(Bounding)
        .add_routes(auth::guarded(requests::bounded(routes), tokens));
    Ok((health, router))
}
