//! What a consumer asks for when it subscribes.

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use hookline_proto::v1::{
    Coalesce, Ordering, PayloadView, StartPosition, SubscribeRequest, SubscriptionPolicy,
    start_position::Position, subscriber_service_client::SubscriberServiceClient,
};

use crate::{
    Deliveries, Delivery, Error, Transport, convert::wire_duration, limits, shared::Shared,
};

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest event that is kept.
    Earliest,
    /// At the first event after now.
    #[default]
    Latest,
    /// At the event with this sequence.
    Sequence(u64),
    /// At the first event received at or after this time.
    Time(SystemTime),
}

impl From<Start> for StartPosition {
    fn from(start: Start) -> Self {
        let position = match start {
            Start::Earliest => Position::Earliest(()),
            Start::Latest => Position::Latest(()),
            Start::Sequence(sequence) => Position::Sequence(sequence),
            Start::Time(time) => Position::Time(time.into()),
        };
        Self { position: Some(position) }
    }
}

/// How a new subscription leases and retries. What is not set takes the hub's default.
///
/// ```
/// use std::time::Duration;
/// use hookline_client::Policy;
///
/// let policy = Policy::new()
///     .lease_duration(Duration::from_secs(30))
///     .max_attempts(3)
///     .backoff(Duration::from_secs(5), Duration::from_secs(300));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Policy(SubscriptionPolicy);

impl Policy {
    /// Makes a policy of the hub's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a lease lasts without an extension; 1 s to 1 h, default 60 s.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.0.lease_duration = Some(wire_duration(duration));
        self
    }

    /// Sets how long one attempt may last with extensions; up to 24 h, default 1 h.
    pub fn max_lease(mut self, duration: Duration) -> Self {
        self.0.max_lease = Some(wire_duration(duration));
        self
    }

    /// Sets how many attempts may fail before an event is a dead letter; 1 to 100, default 5.
    pub const fn max_attempts(mut self, count: u32) -> Self {
        self.0.max_attempts = Some(count);
        self
    }

    /// Sets the first and the longest wait between two attempts; up to 24 h, default 1 s and 10 min.
    pub fn backoff(mut self, initial: Duration, longest: Duration) -> Self {
        self.0.initial_backoff = Some(wire_duration(initial));
        self.0.max_backoff = Some(wire_duration(longest));
        self
    }

    /// Sets by how much each wait is longer than the one before; 1 to 1,000, default 2.
    pub const fn backoff_multiplier(mut self, factor: f64) -> Self {
        self.0.backoff_multiplier = Some(factor);
        self
    }

    /// Sets by which part a wait is made longer or shorter at random; 0 to 1, default 0.2.
    pub const fn jitter(mut self, part: f64) -> Self {
        self.0.jitter = Some(part);
        self
    }

    /// Sets how long the leases of a consumer without a stream are kept; up to 10 min, default 15 s.
    pub fn reconnect_grace(mut self, grace: Duration) -> Self {
        self.0.reconnect_grace = Some(wire_duration(grace));
        self
    }
}

/// Policies of what is handed out when, where events are about resources that change.
impl Policy {
    /// Hands out one event of each resource at a time, in the order of the log.
    pub fn ordered(self) -> Self {
        self.ordered_at_once(1)
    }

    /// As [`ordered`](Self::ordered), with so many of each resource's oldest events at a time; 1 to 100.
    pub fn ordered_at_once(mut self, count: u32) -> Self {
        self.0.ordering = Ordering::Resource.into();
        self.0.max_in_flight_per_resource = Some(count);
        self
    }

    /// Hands out only the newest event of each resource: older ones that nobody has begun are
    /// coalesced into it.
    pub fn coalesce_latest(mut self) -> Self {
        self.0.coalesce = Coalesce::Latest.into();
        self
    }

    /// As [`coalesce_latest`](Self::coalesce_latest), once the resource was quiet for `quiet` (up to
    /// 1 h), at most `max_wait` (up to 24 h) after the first event.
    pub fn debounce(mut self, quiet: Duration, max_wait: Duration) -> Self {
        self.0.coalesce = Coalesce::Debounce.into();
        self.0.debounce_quiet = Some(wire_duration(quiet));
        self.0.debounce_max_wait = Some(wire_duration(max_wait));
        self
    }

    /// Hands out at most so many events per second on average, and at once; up to 100,000 each.
    pub const fn rate(mut self, per_second: f64, burst: u32) -> Self {
        self.0.max_per_second = Some(per_second);
        self.0.burst = Some(burst);
        self
    }

    /// Hands out nothing for `pause` after so many failed attempts in a row, then tries one event.
    pub fn breaker(mut self, failures: u32, pause: Duration) -> Self {
        self.0.breaker_failures = Some(failures);
        self.0.breaker_pause = Some(wire_duration(pause));
        self
    }

    /// Lets the hub delete the subscription when nobody has used it for so long; default: never.
    pub fn expire_after(mut self, unused: Duration) -> Self {
        self.0.expire_after = Some(wire_duration(unused));
        self
    }
}

impl From<SubscriptionPolicy> for Policy {
    fn from(policy: SubscriptionPolicy) -> Self {
        Self(policy)
    }
}

/// Subscribes; made by [`Client::subscription`](crate::Client::subscription).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `subscribe` or `run`"]
pub struct SubscriptionBuilder {
    hub: SubscriberServiceClient<Transport>,
    request: SubscribeRequest,
    patience: Duration,
    settle_timeout: Duration,
    stop_grace: Duration,
}

impl SubscriptionBuilder {
    pub(crate) fn new(hub: SubscriberServiceClient<Transport>, subscription: String) -> Self {
        Self {
            hub,
            request: SubscribeRequest { subscription, ..Default::default() },
            patience: Duration::ZERO,
            settle_timeout: limits::SETTLE_TIMEOUT,
            stop_grace: limits::STOP_GRACE,
        }
    }

    /// Sets the patterns of the subjects to take, such as `github/pull_request.*`. A named
    /// subscription that does not exist is created with them; of one that exists they must be the
    /// patterns. They are sent until the hub is ready for the first time, and not when reconnecting:
    /// a subscription that was deleted stays deleted.
    pub fn patterns<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.request.patterns = patterns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a filter: a CEL expression over the event, such as
    /// `event.payload.pull_request.draft == false`, at most 2 KB. As for the patterns, a new
    /// subscription is created with it, and of one that exists it must be the filter.
    pub fn filter(mut self, expression: impl Into<String>) -> Self {
        self.request.filter = expression.into();
        self
    }

    /// Sets where a new subscription begins; default [`Start::Latest`].
    pub fn start(mut self, start: Start) -> Self {
        self.request.start = Some(start.into());
        self
    }

    /// Sets how a new subscription leases and retries.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.request.policy = Some(policy.0);
        self
    }

    /// Sets the consumer's name, at most 128 bytes. The newest process under a name takes its events
    /// over. Default: unique to this call, of the process id and a random part.
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.request.consumer = name.into();
        self
    }

    /// Sets how many deliveries may be here at once, waiting or being worked on; 1 to 1,000.
    /// Default: the concurrency of [`run`](Self::run), else 1.
    pub const fn max_in_flight(mut self, count: u32) -> Self {
        self.request.max_in_flight = Some(count);
        self
    }

    /// Sets how payloads are sent; default [`PayloadView::Bytes`].
    pub fn payload_view(mut self, view: PayloadView) -> Self {
        self.request.payload_view = view.into();
        self
    }

    /// Sets above which size a payload is left out; default 3 MiB. This library takes up to 25 MiB.
    pub const fn max_payload_bytes(mut self, bytes: u32) -> Self {
        self.request.max_payload_bytes = Some(bytes);
        self
    }

    /// Sets how long the first try goes on while the hub can't be reached; default zero: the first
    /// failure is returned. Once subscribed, reconnecting goes on without end.
    pub const fn wait_for_hub(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how long an ack or a nack is tried before it counts as failed; default 30 s.
    pub const fn settle_timeout(mut self, timeout: Duration) -> Self {
        self.settle_timeout = timeout;
        self
    }

    /// Sets how long running handlers may go on after a stop; default 30 s.
    pub const fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Subscribes, and waits until the hub has fixed the position: what happens from now on comes.
    ///
    /// # Errors
    /// [`Error`] if the hub can't be reached or refuses.
    pub async fn subscribe(mut self) -> Result<Deliveries, Error> {
        if self.request.consumer.is_empty() {
            let random = uuid::Uuid::new_v4().simple().to_string();
            self.request.consumer = format!("rust-{}-{random}", std::process::id());
        }
        let shared = Shared::new(self.hub, self.settle_timeout);
        Deliveries::begin(shared, self.request, self.patience, self.stop_grace).await
    }

    /// Subscribes and works on deliveries with up to `concurrency` handlers at once, until the
    /// stream ends: see [`Deliveries::run`].
    ///
    /// # Errors
    /// [`Error`] if the hub can't be reached or refuses, or why the stream ended.
    pub async fn run<H, F, E>(self, concurrency: usize, handler: H) -> Result<(), Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.run_until(concurrency, handler, std::future::pending()).await
    }

    /// As [`run`](Self::run), until `shutdown` is ready: see [`Deliveries::run_until`].
    ///
    /// # Errors
    /// [`Error`] if the hub can't be reached or refuses, or why the stream ended.
    pub async fn run_until<H, F, E>(
        mut self,
        concurrency: usize,
        handler: H,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let room = u32::try_from(concurrency.clamp(1, 1_000)).unwrap_or(1_000);
        self.request.max_in_flight.get_or_insert(room);
        let mut shutdown = std::pin::pin!(shutdown);
        tokio::select! {
            biased;
            () = &mut shutdown => Ok(()),
            deliveries = self.subscribe() => {
                deliveries?.run_until(concurrency, handler, shutdown).await
            }
        }
    }
}
