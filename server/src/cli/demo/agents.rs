//! The three agents of the story, on the client library as any agent would be.

use std::{collections::BTreeSet, fmt, future::ready, sync::Arc, time::Duration};

use hookline_client::{Attempt, Client, Deliveries, Delivery, LeaseError, Policy};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    DemoError,
    story::{Story, Who},
    webhooks::{End, Posted},
};
use crate::cli::text::{self, Colour};

/// After how many failed attempts `billing` gives an invoice up.
pub(super) const BILLING_ATTEMPTS: u32 = 3;
/// The wait after the first failed attempt, and the longest: short, since somebody looks on.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(1));
/// How many handlers of an agent run at once.
const CONCURRENCY: usize = 2;

/// What the agents have done so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    acked: BTreeSet<String>,
    /// Events that were announced as dead letters.
    dead: BTreeSet<String>,
    /// The announcements that were acked.
    announcements: Vec<String>,
}

/// How many events end how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    acked: usize,
    dead: usize,
}

impl Progress {
    pub(super) fn channel() -> Arc<watch::Sender<Self>> {
        Arc::new(watch::Sender::new(Self::default()))
    }

    /// Returns what there is to wait for: what was not accepted comes to nobody, and is told by the checks.
    pub(super) fn expected(posted: &[Posted]) -> Expected {
        let accepted = || posted.iter().filter(|posted| posted.answer == "accepted");
        let count = |end| accepted().filter(|posted| posted.webhook.end == end).count();
        Expected { acked: count(End::Acked), dead: count(End::Dead) }
    }

    /// Whether all of it has happened.
    pub(super) fn covers(&self, expected: Expected) -> bool {
        expected.acked <= self.acked.len() && expected.dead <= self.dead.len()
    }

    /// Returns the ids of the announcements that were acked.
    pub(super) fn announcements(&self) -> &[String] {
        &self.announcements
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (acked, dead) = (self.acked.len(), self.dead.len());
        write!(f, "{acked} pull requests were acked, {dead} dead letters were announced")
    }
}

/// What every agent has.
#[derive(Clone)]
struct Desk {
    who: Who,
    story: Story,
    progress: Arc<watch::Sender<Progress>>,
}

impl Desk {
    fn tell(&self, delivery: &Delivery, what: &str, colour: Colour) {
        self.story.tell(self.who, &delivery.subject(), &delivery.event().id, what, colour);
    }
}

/// Three agents that have subscribed.
pub(super) struct Agents {
    reviewer: (Desk, Deliveries),
    billing: (Desk, Deliveries),
    on_call: (Desk, Deliveries),
}

impl Agents {
    /// Subscribes all three: what is posted from now on comes to them.
    pub(super) async fn subscribe(
        client: &Client,
        story: &Story,
        progress: &Arc<watch::Sender<Progress>>,
    ) -> Result<Self, DemoError> {
        let desk = |who| Desk { who, story: story.clone(), progress: Arc::clone(progress) };
        let impatient =
            Policy::new().max_attempts(BILLING_ATTEMPTS).backoff(BACKOFF.0, BACKOFF.1).jitter(0.0);
        let open = async |desk: Desk, name, pattern, policy| {
            let deliveries = subscribe(client, name, pattern, policy).await?;
            let what = format!("subscribed over gRPC as `{name}`");
            desk.story.tell(desk.who, pattern, "", &what, Colour::Cyan);
            Ok::<_, DemoError>((desk, deliveries))
        };
        let (reviewer, billing, on_call) =
            (desk(Who::Reviewer), desk(Who::Billing), desk(Who::OnCall));
        Ok(Self {
            reviewer: open(reviewer, "reviewer", "github/pull_request.*", Policy::new()).await?,
            billing: open(billing, "billing", "stripe/invoice.*", impatient).await?,
            on_call: open(on_call, "on-call", "dead-letter/*", Policy::new()).await?,
        })
    }

    /// Lets them work until they are told to stop; then every ack and nack of theirs is with the hub.
    pub(super) async fn work(self, stop: &CancellationToken) -> Result<(), DemoError> {
        let failed = |agent| move |error| DemoError::Agent { agent, source: Box::new(error) };
        let (desk, deliveries) = self.reviewer;
        let handler = move |delivery| review(desk.clone(), delivery);
        let reviewer = deliveries.run_until(CONCURRENCY, handler, stop.cancelled());
        let (desk, deliveries) = self.billing;
        let handler = move |delivery: Delivery| ready(book(&desk, &delivery));
        let billing = deliveries.run_until(CONCURRENCY, handler, stop.cancelled());
        let (desk, deliveries) = self.on_call;
        let handler = move |delivery| look_into(desk.clone(), delivery);
        let on_call = deliveries.run_until(CONCURRENCY, handler, stop.cancelled());
        tokio::try_join!(
            async { reviewer.await.map_err(failed("reviewer")) },
            async { billing.await.map_err(failed("billing")) },
            async { on_call.await.map_err(failed("on-call")) },
        )?;
        Ok(())
    }
}

async fn subscribe(
    client: &Client,
    name: &'static str,
    pattern: &str,
    policy: Policy,
) -> Result<Deliveries, DemoError> {
    let room = u32::try_from(CONCURRENCY).unwrap_or(1);
    let builder = client.subscription(name).patterns([pattern]).policy(policy).max_in_flight(room);
    let deliveries = builder.subscribe().await;
    deliveries.map_err(|error| DemoError::Agent { agent: name, source: Box::new(error) })
}

/// The agent that does its work. It acks itself, so that it can say when the ack is durable.
async fn review(desk: Desk, delivery: Delivery) -> Result<(), LeaseError> {
    let event = delivery.event();
    let (id, subject) = (event.id.clone(), delivery.subject());
    let what = format!(
        "{} by {}, attempt {} of {}, acked",
        event.resource_id,
        event.actor,
        delivery.attempt(),
        delivery.max_attempts()
    );
    delivery.ack().await?;
    desk.story.tell(desk.who, &subject, &id, &what, Colour::Green);
    desk.progress.send_modify(|progress| {
        progress.acked.insert(id);
    });
    Ok(())
}

/// What `billing` runs into, whatever it does.
#[derive(Debug, thiserror::Error)]
#[error("could not book `{invoice}`")]
struct BookingError {
    invoice: String,
    source: LedgerError,
}

#[derive(Debug, thiserror::Error)]
#[error("the ledger answered 503 to request {request}")]
struct LedgerError {
    request: u32,
}

/// The agent that fails. The library nacks with the error and its cause as the reason.
fn book(desk: &Desk, delivery: &Delivery) -> Result<(), BookingError> {
    let (attempt, most) = (delivery.attempt(), delivery.max_attempts());
    let invoice = delivery.event().resource_id.clone();
    let error = BookingError { invoice, source: LedgerError { request: attempt } };
    let what = format!("attempt {attempt} of {most}, nacked: {}", error.source);
    desk.tell(delivery, &what, Colour::Red);
    Err(error)
}

/// What an announcement's payload tells: a `hookline.v1.DeadLetter` in JSON.
#[derive(Deserialize)]
struct Announced {
    event: AnnouncedEvent,
    attempts: Vec<AnnouncedAttempt>,
}

#[derive(Deserialize)]
struct AnnouncedEvent {
    id: String,
    source: String,
    event_type: String,
}

#[derive(Deserialize)]
struct AnnouncedAttempt {
    reason: String,
}

/// The agent that works on what others gave up.
async fn look_into(
    desk: Desk,
    delivery: Delivery,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Announced { event, attempts } = delivery.payload_json()?;
    let (id, subject) = (delivery.event().id.clone(), delivery.subject());
    let last = attempts.last().map_or("no reason", |attempt| &attempt.reason);
    let what = format!(
        "{}/{} {}, {}, noted and acked: {last}",
        event.source,
        event.event_type,
        text::short_id(&event.id),
        text::count(u64::try_from(attempts.len())?, "attempt"),
    );
    delivery.ack().await?;
    desk.story.tell(desk.who, &subject, &id, &what, Colour::Green);
    desk.progress.send_modify(|progress| {
        progress.announcements.push(id);
        progress.dead.insert(event.id);
    });
    Ok(())
}

/// Whether an attempt has the reason that `billing` gives: the error and its cause.
pub(super) fn has_reason(attempt: &Attempt) -> bool {
    attempt.reason.starts_with("could not book") && attempt.reason.contains("503")
}
