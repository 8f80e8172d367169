//! A hub in the hands of a test: every call that it gets is handed to the test, which answers it.

use std::{io, time::Duration};

use hookline_client::{
    Client, Deliveries, SubscriptionBuilder,
    proto::{
        AckRequest, AckResponse, Delivery, Event, ExtendLeaseRequest, ExtendLeaseResponse,
        ExtendResult, Heartbeat, LeaseExtension, LeaseLost, Nack, NackRequest, NackResponse, Newer,
        Outcome, Ready, SettleResult, SubscribeRequest, SubscribeResponse, SubscriptionPolicy,
        SubscriptionPosition,
        subscribe_response::Message,
        subscriber_service_server::{SubscriberService, SubscriberServiceServer},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    transport::{Endpoint, Server},
};

pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// A call that waits for the test.
#[derive(Debug)]
enum Call {
    Subscribe(SubscribeRequest, oneshot::Sender<Result<Incoming, Status>>),
    Ack(AckRequest, oneshot::Sender<Result<AckResponse, Status>>),
    Nack(NackRequest, oneshot::Sender<Result<NackResponse, Status>>),
    Extend(ExtendLeaseRequest, oneshot::Sender<Result<ExtendLeaseResponse, Status>>),
}

type Incoming = mpsc::Receiver<Result<SubscribeResponse, Status>>;

/// The service: hands on, and waits for the answer.
#[derive(Debug)]
struct Service {
    calls: mpsc::Sender<Call>,
}

impl Service {
    async fn ask<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> Call,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let gone = || Status::unavailable("the connection broke");
        self.calls.send(call(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[tonic::async_trait]
impl SubscriberService for Service {
    type SubscribeStream = ReceiverStream<Result<SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let stream = self.ask(|reply| Call::Subscribe(request.into_inner(), reply)).await?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<AckResponse>, Status> {
        Ok(Response::new(self.ask(|reply| Call::Ack(request.into_inner(), reply)).await?))
    }

    async fn nack(&self, request: Request<NackRequest>) -> Result<Response<NackResponse>, Status> {
        Ok(Response::new(self.ask(|reply| Call::Nack(request.into_inner(), reply)).await?))
    }

    async fn extend_lease(
        &self,
        request: Request<ExtendLeaseRequest>,
    ) -> Result<Response<ExtendLeaseResponse>, Status> {
        Ok(Response::new(self.ask(|reply| Call::Extend(request.into_inner(), reply)).await?))
    }
}

/// The test's end of the hub.
pub(crate) struct Hub {
    pub(crate) client: Client,
    calls: mpsc::Receiver<Call>,
    _server: JoinSet<()>,
}

impl Hub {
    /// Starts a hub at the other end of a pipe.
    pub(crate) fn start() -> Self {
        let (connect, connections) = mpsc::channel::<io::Result<DuplexStream>>(16);
        let channel = Endpoint::from_static("http://hub").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let connect = connect.clone();
                async move {
                    let (ours, theirs) = tokio::io::duplex(64 * 1024);
                    connect.send(Ok(theirs)).await.map_err(io::Error::other)?;
                    Ok::<_, io::Error>(TokioIo::new(ours))
                }
            }),
        );
        Self::serve(Client::from_channel(channel), ReceiverStream::new(connections))
    }

    /// Starts a hub on a free port of loopback.
    pub(crate) async fn start_on_a_socket() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = tokio_stream::wrappers::TcpListenerStream::new(listener);
        Self::serve(Client::connect(address.to_string()).unwrap(), connections)
    }

    fn serve<C>(
        client: Client,
        connections: impl tokio_stream::Stream<Item = io::Result<C>> + Send + 'static,
    ) -> Self
    where
        C: tokio::io::AsyncRead
            + tokio::io::AsyncWrite
            + tonic::transport::server::Connected
            + Unpin
            + Send
            + 'static,
    {
        let (sender, calls) = mpsc::channel(16);
        let service = SubscriberServiceServer::new(Service { calls: sender });
        let mut server = JoinSet::new();
        server.spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(connections).await.unwrap();
        });
        Self { client, calls, _server: server }
    }

    async fn call(&mut self) -> Call {
        self.calls.recv().await.expect("the server lives as long as the hub")
    }

    /// Waits for a Subscribe and accepts it; `ready` is for the test to send.
    pub(crate) async fn subscribed(&mut self) -> (SubscribeRequest, Stream) {
        match self.call().await {
            Call::Subscribe(request, reply) => {
                let (messages, incoming) = mpsc::channel(2_000);
                reply.send(Ok(incoming)).unwrap();
                (request, Stream { messages })
            }
            other => panic!("expected Subscribe, got {other:?}"),
        }
    }

    /// Waits for a Subscribe and refuses it.
    pub(crate) async fn refuse_subscribe(&mut self, status: Status) -> SubscribeRequest {
        match self.call().await {
            Call::Subscribe(request, reply) => {
                reply.send(Err(status)).unwrap();
                request
            }
            other => panic!("expected Subscribe, got {other:?}"),
        }
    }

    /// Waits for an Ack and returns its leases.
    pub(crate) async fn acked(&mut self) -> (Vec<String>, Reply<AckResponse>) {
        match self.call().await {
            Call::Ack(request, reply) => {
                let ids = request.lease_ids;
                (ids.clone(), Reply { ids, reply, of: |results| AckResponse { results } })
            }
            other => panic!("expected Ack, got {other:?}"),
        }
    }

    /// Waits for a Nack and returns its items.
    pub(crate) async fn nacked(&mut self) -> (Vec<Nack>, Reply<NackResponse>) {
        match self.call().await {
            Call::Nack(request, reply) => {
                let ids = request.nacks.iter().map(|nack| nack.lease_id.clone()).collect();
                (request.nacks, Reply { ids, reply, of: |results| NackResponse { results } })
            }
            other => panic!("expected Nack, got {other:?}"),
        }
    }

    /// Waits for an Ack or a Nack, applies it, and returns what it says, such as `ack a0 a1`.
    pub(crate) async fn settled(&mut self) -> String {
        let results = |ids: &[String]| {
            let outcome = Outcome::Applied.into();
            let result =
                |id: &String| SettleResult { lease_id: id.clone(), outcome, ..Default::default() };
            ids.iter().map(result).collect()
        };
        match self.call().await {
            Call::Ack(AckRequest { lease_ids }, reply) => {
                reply.send(Ok(AckResponse { results: results(&lease_ids) })).unwrap();
                format!("ack {}", lease_ids.join(" "))
            }
            Call::Nack(NackRequest { nacks }, reply) => {
                let ids: Vec<_> = nacks.into_iter().map(|nack| nack.lease_id).collect();
                reply.send(Ok(NackResponse { results: results(&ids) })).unwrap();
                format!("nack {}", ids.join(" "))
            }
            other => panic!("expected Ack or Nack, got {other:?}"),
        }
    }

    /// Waits for an ExtendLease, applies it, and returns its leases, sorted.
    pub(crate) async fn extended(&mut self) -> Vec<String> {
        let extensions = self.extended_with(Outcome::Applied).await;
        extensions.into_iter().map(|extension| extension.lease_id).collect()
    }

    /// Waits for an ExtendLease and loses its answer.
    pub(crate) async fn lose_extension(&mut self) {
        match self.call().await {
            Call::Extend(_, reply) => drop(reply),
            other => panic!("expected ExtendLease, got {other:?}"),
        }
    }

    /// Waits for an ExtendLease, answers it, and returns its items, sorted by lease.
    pub(crate) async fn extended_with(&mut self, outcome: Outcome) -> Vec<LeaseExtension> {
        match self.call().await {
            Call::Extend(request, reply) => {
                let mut extensions = request.extensions;
                let result = |extension: &LeaseExtension| ExtendResult {
                    lease_id: extension.lease_id.clone(),
                    outcome: outcome.into(),
                    ..Default::default()
                };
                let results = extensions.iter().map(result).collect();
                reply.send(Ok(ExtendLeaseResponse { results })).unwrap();
                extensions.sort_by(|one, other| one.lease_id.cmp(&other.lease_id));
                extensions
            }
            other => panic!("expected ExtendLease, got {other:?}"),
        }
    }

    /// Waits an hour and fails if a call comes.
    pub(crate) async fn stays_quiet(&mut self) {
        let hour = Duration::from_secs(3_600);
        if let Ok(Some(call)) = tokio::time::timeout(hour, self.calls.recv()).await {
            panic!("expected nothing, got {call:?}");
        }
    }

    /// Subscribes with the builder that the test makes of a named one, under the consumer `me`.
    pub(crate) async fn subscribe(
        &mut self,
        with: impl FnOnce(SubscriptionBuilder) -> SubscriptionBuilder,
    ) -> (Deliveries, Stream) {
        let builder = self.client.subscription("prs").patterns(["github"]).consumer("me");
        let subscribing = with(builder).max_in_flight(1_000).subscribe();
        let hub = async {
            let (_, stream) = self.subscribed().await;
            stream.ready(&[]).await;
            stream
        };
        let (deliveries, stream) = tokio::join!(subscribing, hub);
        (deliveries.unwrap(), stream)
    }
}

/// An answer that the test has not given yet; dropping it loses it, and the call is UNAVAILABLE.
pub(crate) struct Reply<T> {
    ids: Vec<String>,
    reply: oneshot::Sender<Result<T, Status>>,
    of: fn(Vec<SettleResult>) -> T,
}

impl<T: std::fmt::Debug> Reply<T> {
    /// Answers the same for each lease.
    pub(crate) fn all(self, outcome: Outcome) {
        self.each(|_| outcome);
    }

    /// Refuses the whole call.
    pub(crate) fn refuse(self, status: Status) {
        self.reply.send(Err(status)).unwrap();
    }

    /// Answers for each lease.
    pub(crate) fn each(self, outcome: impl Fn(&str) -> Outcome) {
        let results = self.ids.into_iter().map(|lease_id| SettleResult {
            outcome: outcome(&lease_id).into(),
            lease_id,
            message: String::new(),
        });
        self.reply.send(Ok((self.of)(results.collect()))).unwrap();
    }
}

/// The hub's end of one Subscribe stream; dropping it ends the stream.
pub(crate) struct Stream {
    messages: mpsc::Sender<Result<SubscribeResponse, Status>>,
}

impl Stream {
    pub(crate) async fn send(&self, message: Message) {
        self.messages.send(Ok(SubscribeResponse { message: Some(message) })).await.unwrap();
    }

    /// Sends `ready` with these leases as still held.
    pub(crate) async fn ready(&self, held: &[&str]) {
        let policy = SubscriptionPolicy {
            lease_duration: Some(LEASE.try_into().unwrap()),
            reconnect_grace: Some(Duration::from_secs(15).try_into().unwrap()),
            ..Default::default()
        };
        let held = held.iter().map(|id| delivery(id, 1)).collect();
        self.send(Message::Ready(Ready {
            subscription: "prs".into(),
            consumer: "me".into(),
            policy: Some(policy),
            held,
            ..Default::default()
        }))
        .await;
    }

    /// Sends a delivery under this lease.
    pub(crate) async fn deliver(&self, lease_id: &str, sequence: u64) {
        self.send(Message::Delivery(delivery(lease_id, sequence))).await;
    }

    /// As [`Stream::deliver`], with what the test makes of it.
    pub(crate) async fn deliver_with(
        &self,
        lease_id: &str,
        sequence: u64,
        with: impl FnOnce(&mut Delivery),
    ) {
        let mut delivery = delivery(lease_id, sequence);
        with(&mut delivery);
        self.send(Message::Delivery(delivery)).await;
    }

    /// Tells that a lease's resource has newer events.
    pub(crate) async fn newer(&self, lease_id: &str, count: u64, newest_sequence: u64) {
        let newer =
            Newer { lease_id: lease_id.into(), count, newest_sequence, ..Default::default() };
        self.send(Message::Newer(newer)).await;
    }

    /// Sends a sign of life.
    pub(crate) async fn heartbeat(&self) {
        self.send(Message::Heartbeat(Heartbeat::default())).await;
    }

    /// Sends a sign of life, with how far everything is finished.
    pub(crate) async fn heartbeat_at(&self, done_floor: u64) {
        let position = Some(SubscriptionPosition { done_floor, ..Default::default() });
        self.send(Message::Heartbeat(Heartbeat { position, ..Default::default() })).await;
    }

    /// Tells that a lease is lost.
    pub(crate) async fn lose(&self, lease_id: &str, reason: &str) {
        let (lease_id, reason) = (lease_id.into(), reason.into());
        self.send(Message::LeaseLost(LeaseLost { lease_id, reason, ..Default::default() })).await;
    }

    /// Ends the stream with this status.
    pub(crate) async fn cut(self, status: Status) {
        self.messages.send(Err(status)).await.unwrap();
    }

    /// Waits until the client has closed the stream.
    pub(crate) async fn closed(&self) {
        self.messages.closed().await;
    }
}

/// Returns the time, which only moves when nobody can run.
#[expect(clippy::disallowed_methods, reason = "tests measure how far time was moved")]
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn delivery(lease_id: &str, sequence: u64) -> Delivery {
    let event = Event {
        id: format!("event-{sequence}"),
        sequence,
        source: "github".into(),
        event_type: "push".into(),
        payload: r#"{"ref": "main"}"#.into(),
        ..Default::default()
    };
    Delivery {
        lease_id: lease_id.into(),
        event: Some(event),
        attempt: 1,
        max_attempts: 5,
        lease_duration: Some(LEASE.try_into().unwrap()),
        ..Default::default()
    }
}
