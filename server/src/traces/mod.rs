//! Traces over OTLP: one tree from a webhook to each agent's ack. Off unless `[traces] otlp` says where to.
//!
//! A span is made when what it tells is over, with the times that it had: none is held open for the hours that a lease may
//! take. What ties them together is the event's metadata `traceparent`, which lies in the log and so outlives a restart, and
//! the ids of attempts, which follow from their leases. Sending never holds anything up: what does not fit the queue is
//! dropped, and counted. No payload, secret or text of an agent is in a span.

mod context;

mod otlp;

mod span;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hookline_core::delivery::LeaseId;
use tokio::sync::mpsc;

pub use self::{
    context::Context,
    otlp::ExportError,
    span::{Kind, Span, Value},
};
use crate::{
    config,
    limits::SPANS_QUEUED_MAX,
    metrics::{Measured, Text, family},
    store::BoxFuture,
    tasks::{self, Group},
};

/// The key of an event's metadata that holds its place in a trace.
pub const TRACEPARENT: &str = "traceparent";

/// Where spans go, if anywhere. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Sender>>);

#[derive(Debug)]
struct Sender {
    queue: mpsc::Sender<Span>,
    /// Which part of the webhooks that bring no decision begins a trace, 0 to 1.
    ratio: f64,
    counts: Arc<Counts>,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    queue_full: AtomicU64,
    export_failed: AtomicU64,
}

impl Traces {
    /// Starts to send to the receiver that the configuration names, as a task of `group`; off if it names none. When the
    /// group is told to stop, what waits is sent.
    ///
    /// # Errors
    ///
    /// If the receiver's address can't be used.
    pub fn start(config: &config::Traces, group: &Group) -> Result<Self, ExportError> {
        let Some(endpoint) = &config.otlp else { return Ok(Self(None)) };
        let (queue, spans) = mpsc::channel(SPANS_QUEUED_MAX);
        let counts = Arc::new(Counts::default());
        let exporter = otlp::Exporter::new(endpoint, Arc::clone(&counts))?;
        let stop = group.stopping().clone();
        group.spawn(tasks::Kind::Contained, "span exporter", exporter.run(spans, stop));
        Ok(Self(Some(Arc::new(Sender { queue, ratio: config.ratio, counts }))))
    }

    /// Whether spans go anywhere.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins what a request with this `traceparent` asks for: within its trace, if it has one. `None` if it is not
    /// traced: the sender's own decision holds, without one the ratio.
    #[must_use]
    pub fn begin(&self, traceparent: Option<&str>) -> Option<Context> {
        let sender = self.0.as_ref()?;
        match traceparent.and_then(Context::parse) {
            Some((parent, is_sampled)) => is_sampled.then(|| parent.child_of_another()),
            None => Some(Context::root()).filter(|root| root.is_within(sender.ratio)),
        }
    }

    /// Returns the `traceparent` that is handed out with an attempt at an event with this one: the attempt's span, if it will
    /// have one, so that what the agent does hangs below it; else the event's own.
    #[must_use]
    pub fn of_attempt(&self, traceparent: Option<&str>, lease: &LeaseId) -> String {
        let Some(traceparent) = traceparent else { return String::new() };
        let parent = Context::parse(traceparent).filter(|(_, is_sampled)| *is_sampled);
        match parent.filter(|_| self.are_on()) {
            Some((parent, _)) => parent.of_lease(lease).traceparent(),
            None => traceparent.to_owned(),
        }
    }

    /// Sends a span, or drops it where too many wait.
    pub fn send(&self, span: Span) {
        if let Some(sender) = &self.0
            && sender.queue.try_send(span).is_err()
        {
            sender.counts.queue_full.fetch_add(1, Relaxed);
        }
    }
}

impl Measured for Traces {
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()> {
        let none = Counts::default();
        let counts = self.0.as_ref().map_or(&none, |sender| &sender.counts);
        text.single(&family::SPANS_EXPORTED, counts.exported.load(Relaxed));
        let mut dropped = text.family(&family::SPANS_DROPPED);
        dropped.add(&["queue_full"], counts.queue_full.load(Relaxed));
        dropped.add(&["export_failed"], counts.export_failed.load(Relaxed));
        Box::pin(std::future::ready(()))
    }
}
