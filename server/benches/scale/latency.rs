//! How long a fresh event takes from its publication to an agent.

use std::time::{Duration, Instant};

use hookline_client::{
    Client, Deliveries, Delivery, Policy, Start,
    proto::{PublishEventRequest, event_service_client::EventServiceClient},
};
use tonic::transport::Channel;

use crate::{Outcome, median, servers::Server};

/// How many events one measurement takes.
const EVENTS: usize = 400;

/// One publisher and one agent of a hub.
pub(crate) struct Probe {
    events: EventServiceClient<Channel>,
    deliveries: Deliveries,
    published: u64,
}

/// What a measurement says, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Probe {
    /// Subscribes to `agent/ping`.
    pub(crate) async fn of(hub: &Server, subscription: &str, policy: Policy) -> Outcome<Self> {
        let client = Client::connect(hub.grpc())?;
        let builder = client.subscription(subscription).patterns(["agent/ping"]);
        let builder = builder.start(Start::Latest).policy(policy).max_in_flight(4);
        let deliveries = builder.subscribe().await?;
        let events = publisher(hub).await?;
        Ok(Self { events, deliveries, published: 0 })
    }

    /// Publishes an event about this resource, and holds what comes of it.
    pub(crate) async fn hold(&mut self, resource: &str) -> Outcome<Delivery> {
        self.events.publish_event(ping(resource)).await?;
        Ok(self.deliveries.next().await.ok_or("the stream has ended")??)
    }

    /// Publishes one event after another, each about a resource of its own, and waits for each.
    pub(crate) async fn measure(&mut self) -> Outcome<Latency> {
        let mut micros = Vec::with_capacity(EVENTS);
        for _ in 0..EVENTS {
            self.published += 1;
            let began = now();
            let request = ping(&format!("fresh-{}", self.published));
            let (published, delivery) =
                tokio::join!(self.events.publish_event(request), self.deliveries.next());
            let took = began.elapsed();
            published?;
            delivery.ok_or("the stream has ended")??.ack().await?;
            micros.push(took.as_secs_f64() * 1e6);
        }
        micros.sort_by(f64::total_cmp);
        let at = |part: usize| micros.get(EVENTS * part / 100).copied().unwrap_or(f64::NAN);
        Ok(Latency { p50: at(50), p99: at(99) })
    }
}

/// Measures an idle hub and a busy one in turns; prints each round and the medians.
pub(crate) async fn compare(rounds: usize, idle: &mut Probe, busy: &mut Probe) -> Outcome {
    // Once before: connections and caches are warm.
    idle.measure().await?;
    busy.measure().await?;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (of_idle, of_busy) = (idle.measure().await?, busy.measure().await?);
        println!(
            "round {round}: a fresh event takes p50 {:.0} us, p99 {:.0} us idle; p50 {:.0} us, p99 {:.0} us busy",
            of_idle.p50, of_idle.p99, of_busy.p50, of_busy.p99
        );
        p50.push(of_busy.p50 / of_idle.p50);
        p99.push(of_busy.p99 / of_idle.p99);
    }
    println!(
        "median of the ratios: p50 {:.2} (at most 2), p99 {:.2} (at most 5)",
        median(p50),
        median(p99)
    );
    Ok(())
}

pub(crate) async fn publisher(hub: &Server) -> Outcome<EventServiceClient<Channel>> {
    Ok(EventServiceClient::connect(hub.grpc().to_owned()).await?)
}

/// An event about this resource.
pub(crate) fn ping(resource: &str) -> PublishEventRequest {
    PublishEventRequest {
        event_type: "ping".to_owned(),
        resource_type: "thing".to_owned(),
        resource_id: resource.to_owned(),
        payload: br#"{"hello":"world"}"#.to_vec().into(),
        ..PublishEventRequest::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures by the machine's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits for a moment.
pub(crate) async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
