//! The spans of one webhook: the answer, and within it what was done. Sent only once its signature was right: nothing of a
//! stranger becomes a trace.

use std::time::Duration;

use hookline_core::{event::NewEvent, source::Source};
use http::HeaderMap;

use super::Front;
use crate::{
    clock::Stopwatch,
    store::Appended,
    traces::{Context, Kind, Span, TRACEPARENT},
};

/// A webhook that is traced, while it is worked on.
#[derive(Debug)]
pub(super) struct Traced {
    context: Context,
    watch: Stopwatch,
    steps: Vec<Span>,
    is_verified: bool,
}

impl Traced {
    /// Begins, if the request is to be traced.
    pub(super) fn begin(front: &Front, headers: &HeaderMap) -> Option<Self> {
        let traceparent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let context = front.traces.begin(traceparent)?;
        Some(Self { context, watch: Stopwatch::start(), steps: Vec::new(), is_verified: false })
    }

    /// Notes that the body was read, and its signature found right.
    pub(super) fn verified(&mut self, front: &Front, (read, verified): (Duration, Duration)) {
        self.is_verified = true;
        let step = |name: &str, took| {
            let named = (Kind::Internal, name.to_owned());
            Span::ending_now(self.context.child(), named, took, &*front.clock)
        };
        let mut reading = step("read body", read);
        reading.started_at = reading.started_at.saturating_sub(verified);
        reading.ended_at = reading.ended_at.saturating_sub(verified);
        self.steps.extend([reading, step("verify and normalize", verified)]);
    }

    /// Gives the events their place in the trace, and returns it: deliveries hang below it.
    pub(super) fn mark(&self, events: &mut [NewEvent]) -> Context {
        let context = self.context.child();
        for event in events {
            event.metadata.insert(TRACEPARENT, context.traceparent());
        }
        context
    }

    /// Notes that the events are durable, or are not.
    pub(super) fn appended(
        &mut self,
        front: &Front,
        source: &Source,
        (context, took): (Context, Duration),
        appended: &[Appended],
    ) {
        let name = source.name().as_str();
        let named = (Kind::Producer, format!("send {name}"));
        let mut span = Span::ending_now(context, named, took, &*front.clock)
            .with("messaging.system", "hookline")
            .with("messaging.operation.type", "send")
            .with("messaging.operation.name", "append")
            .with("messaging.destination.name", name);
        span.has_failed = appended.is_empty();
        if let [event] = appended {
            span = span
                .with("messaging.message.id", event.id.to_string())
                .with("hookline.sequence", event.sequence.get());
        } else {
            let count = u64::try_from(appended.len()).unwrap_or(u64::MAX);
            span = span.with("messaging.batch.message_count", count);
        }
        let seen = appended.iter().filter(|event| event.duplicate).count();
        if 0 < seen {
            span = span.with("hookline.duplicates", u64::try_from(seen).unwrap_or(u64::MAX));
        }
        self.steps.push(span);
    }

    /// Sends the spans.
    pub(super) fn answered(self, front: &Front, source: &Source, method: &str, status: u16) {
        if !self.is_verified {
            return;
        }
        let route = "/webhooks/{source}";
        let named = (Kind::Server, format!("{method} {route}"));
        let mut span = Span::ending_now(self.context, named, self.watch.elapsed(), &*front.clock)
            .with("http.request.method", method)
            .with("http.route", route)
            .with("http.response.status_code", u64::from(status))
            .with("hookline.source", source.name().as_str());
        span.has_failed = 500 <= status;
        for span in self.steps.into_iter().chain([span]) {
            front.traces.send(span);
        }
    }
}
