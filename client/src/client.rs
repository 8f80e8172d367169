//! The connection to a hub.

use std::time::Duration;

use hookline_proto::v1::{
    admin_service_client::AdminServiceClient, dead_letter_service_client::DeadLetterServiceClient,
    event_service_client::EventServiceClient, source_service_client::SourceServiceClient,
    subscriber_service_client::SubscriberServiceClient,
    subscription_service_client::SubscriptionServiceClient,
};
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{Bearer, Error, SubscriptionBuilder, Transport, limits};

/// A handle to a hub. Cheap to clone; all clones share one HTTP/2 connection.
///
/// The connection is made by the first call and made again by the next one after it broke.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = hookline_client::Client::connect("http://127.0.0.1:4160")?;
/// let mut deliveries =
///     client.subscription("reviewer").patterns(["github/pull_request.*"]).subscribe().await?;
/// while let Some(delivery) = deliveries.next().await {
///     let delivery = delivery?;
///     println!("{}", delivery.subject());
///     delivery.ack().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    bearer: Bearer,
}

impl Client {
    /// Makes a client with the defaults of [`Client::builder`]. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`] if the address can't be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(endpoint: impl Into<String>) -> Result<Self, Error> {
        Self::builder(endpoint).connect()
    }

    /// Begins to make a client of the hub at `endpoint`, such as `http://127.0.0.1:4160`, or
    /// `https://hub.example.com:4160` where it has TLS; without a scheme, `http://` is meant.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            endpoint: endpoint.into(),
            connect_timeout: limits::CONNECT_TIMEOUT,
            keepalive_interval: limits::KEEPALIVE_INTERVAL,
            answer_timeout: None,
            user_agent: None,
            ca_certificates: None,
            identity: None,
            bearer: Ok(Bearer::default()),
        }
    }

    /// Makes a client over a channel of your own, such as to something that is no socket.
    #[must_use]
    pub fn from_channel(channel: Channel) -> Self {
        Self { channel, bearer: Bearer::default() }
    }

    /// Sets the token that each call is made with, as [`ClientBuilder::token`] does: for clients over a
    /// channel of your own.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] if it is no text that a header can hold.
    pub fn with_token(self, token: impl AsRef<str>) -> Result<Self, Error> {
        Ok(Self { bearer: Bearer::new(token.as_ref())?, ..self })
    }

    fn transport(&self) -> Transport {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// Returns the channel, without the token, for services that have no client here and need none, such as
    /// `grpc.health.v1`.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Begins to subscribe under this name; an empty name makes an ephemeral subscription, which
    /// is gone with its stream.
    pub fn subscription(&self, name: impl Into<String>) -> SubscriptionBuilder {
        SubscriptionBuilder::new(self.subscriber(), name.into())
    }

    /// Returns the generated client of `hookline.v1.EventService`.
    ///
    /// ```no_run
    /// # async fn example(client: hookline_client::Client) -> Result<(), tonic::Status> {
    /// use hookline_client::proto::PublishEventRequest;
    ///
    /// let request = PublishEventRequest {
    ///     event_type: "report.finished".into(),
    ///     payload: r#"{"pages": 12}"#.into(),
    ///     ..Default::default()
    /// };
    /// let answer = client.events().publish_event(request).await?.into_inner();
    /// println!("event {} has sequence {}", answer.event_id, answer.sequence);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> EventServiceClient<Transport> {
        EventServiceClient::new(self.transport())
            .max_decoding_message_size(limits::DECODED_MESSAGE_BYTES_MAX)
    }

    /// Returns the generated client of `hookline.v1.SubscriptionService`.
    #[must_use]
    pub fn subscriptions(&self) -> SubscriptionServiceClient<Transport> {
        SubscriptionServiceClient::new(self.transport())
            .max_decoding_message_size(limits::DECODED_MESSAGE_BYTES_MAX)
    }

    /// Returns the generated client of `hookline.v1.DeadLetterService`.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterServiceClient<Transport> {
        DeadLetterServiceClient::new(self.transport())
            .max_decoding_message_size(limits::DECODED_MESSAGE_BYTES_MAX)
    }

    /// Returns the generated client of `hookline.v1.SourceService`.
    #[must_use]
    pub fn sources(&self) -> SourceServiceClient<Transport> {
        SourceServiceClient::new(self.transport())
            .max_decoding_message_size(limits::DECODED_MESSAGE_BYTES_MAX)
    }

    /// Returns the generated client of `hookline.v1.AdminService`.
    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<Transport> {
        AdminServiceClient::new(self.transport())
            .max_decoding_message_size(limits::DECODED_MESSAGE_BYTES_MAX)
    }

    /// Returns the generated client of `hookline.v1.SubscriberService`: for those who want to keep
    /// leases alive by themselves. [`Client::subscription`] does all that.
    #[must_use]
    pub fn subscriber(&self) -> SubscriberServiceClient<Transport> {
        SubscriberServiceClient::new(self.transport())
            .max_decoding_message_size(limits::DECODED_MESSAGE_BYTES_MAX)
    }
}

/// Makes a [`Client`].
#[derive(Debug)]
#[must_use = "a builder does nothing before `connect`"]
pub struct ClientBuilder {
    endpoint: String,
    connect_timeout: Duration,
    keepalive_interval: Duration,
    answer_timeout: Option<Duration>,
    user_agent: Option<String>,
    ca_certificates: Option<Certificate>,
    identity: Option<Identity>,
    bearer: Result<Bearer, Error>,
}

impl ClientBuilder {
    /// Sets how long making a connection may take; default 10 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a call may take until its answer begins; default: as long as it takes.
    pub const fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = Some(timeout);
        self
    }

    /// Sets how often the connection is probed, also while it is idle; default 20 s.
    pub const fn keepalive_interval(mut self, interval: Duration) -> Self {
        self.keepalive_interval = interval;
        self
    }

    /// Sets a name of the program for the hub's logs; this library's own follows it.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Sets who may have signed the hub's certificate, as certificates in PEM; only for `https://`.
    /// Default: whom the system trusts.
    pub fn ca_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.ca_certificates = Some(Certificate::from_pem(pem));
        self
    }

    /// Sets the certificate that this client shows to a hub that asks for one, and its private key,
    /// both in PEM; only for `https://`.
    pub fn identity(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some(Identity::from_pem(certificate, key));
        self
    }

    /// Sets the token that each call is made with: `hkl_...`, as `hookline tokens create` prints it.
    /// Without one, only a hub that asks for none answers. It is shown by no `Debug` and no error.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.bearer = Bearer::new(token.as_ref());
        self
    }

    /// Makes the client. Does not connect yet: the first call does.
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`] if the address, the user agent or a certificate can't be read;
    /// [`Error::InvalidToken`] if the token is no text that a header can hold.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(self) -> Result<Client, Error> {
        const LIBRARY: &str = concat!("hookline-client/", env!("CARGO_PKG_VERSION"));
        let uri = if self.endpoint.contains("://") {
            self.endpoint.clone()
        } else {
            format!("http://{}", self.endpoint)
        };
        let user_agent =
            self.user_agent.map_or_else(|| LIBRARY.to_owned(), |name| format!("{name} {LIBRARY}"));
        let bearer = self.bearer?;
        let mut tls = match self.ca_certificates {
            Some(certificates) => ClientTlsConfig::new().ca_certificate(certificates),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(identity) = self.identity {
            tls = tls.identity(identity);
        }
        let endpoint = Endpoint::from_shared(uri)
            .and_then(|endpoint| endpoint.user_agent(user_agent))
            .and_then(|endpoint| match endpoint.uri().scheme_str() {
                Some("https") => endpoint.tls_config(tls),
                Some(_) | None => Ok(endpoint),
            })
            .map_err(|source| Error::InvalidEndpoint { endpoint: self.endpoint, source })?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let endpoint = match self.answer_timeout {
            Some(timeout) => endpoint.timeout(timeout),
            None => endpoint,
        };
        Ok(Client { channel: endpoint.connect_lazy(), bearer })
    }
}
