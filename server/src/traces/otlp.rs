//! Sending spans over OTLP, by gRPC.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span as Sent, SpanFlags, Status,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{Counts, Kind, Span, Value};
use crate::limits::{EXPORT_TIME_MAX, SPANS_PER_EXPORT_MAX, SPANS_WAIT};

/// The receiver of traces can't be used.
#[derive(Debug, thiserror::Error)]
#[error("could not set up the export of traces to `{endpoint}`")]
pub struct ExportError {
    endpoint: String,
    source: tonic::transport::Error,
}

/// Sends what comes out of a queue.
pub(super) struct Exporter {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    counts: Arc<Counts>,
    is_failing: bool,
}

impl Exporter {
    /// Connects with the first spans, not before.
    pub(super) fn new(endpoint: &str, counts: Arc<Counts>) -> Result<Self, ExportError> {
        let failed = |source| ExportError { endpoint: endpoint.to_owned(), source };
        let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(failed)?;
        let channel = channel.connect_timeout(EXPORT_TIME_MAX).timeout(EXPORT_TIME_MAX);
        let resource = Resource {
            attributes: vec![
                attribute("service.name", &"hookline".into()),
                attribute("service.version", &env!("CARGO_PKG_VERSION").into()),
                attribute("service.instance.id", &uuid::Uuid::new_v4().to_string().into()),
            ],
            ..Resource::default()
        };
        let client = TraceServiceClient::new(channel.connect_lazy());
        Ok(Self { client, resource, counts, is_failing: false })
    }

    /// Sends until it is told to stop, then what is left.
    pub(super) async fn run(mut self, mut spans: mpsc::Receiver<Span>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(SPANS_PER_EXPORT_MAX);
        loop {
            fill(&mut batch, &mut spans, &stop).await;
            if batch.is_empty() {
                return;
            }
            self.export(batch.drain(..).map(sent).collect()).await;
        }
    }

    async fn export(&mut self, spans: Vec<Sent>) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let scope = InstrumentationScope {
            name: "hookline".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let resource_spans = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
        match self.client.export(request).await {
            Ok(answer) => {
                let refused = answer.into_inner().partial_success.map(|part| part.rejected_spans);
                let refused = refused.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
                self.counts.exported.fetch_add(count.saturating_sub(refused), Relaxed);
                self.counts.export_failed.fetch_add(refused, Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("spans are exported again");
                }
            }
            Err(error) => {
                self.counts.export_failed.fetch_add(count, Relaxed);
                // Once, not with every batch: the metric counts.
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(code = ?error.code(), error = error.message(), "spans could not be exported");
                }
            }
        }
    }
}

/// Waits for a span, and a moment for more, so that they are sent together. Leaves the batch empty at the end.
async fn fill(batch: &mut Vec<Span>, spans: &mut mpsc::Receiver<Span>, stop: &CancellationToken) {
    let filling = async {
        let room = SPANS_PER_EXPORT_MAX;
        spans.recv_many(batch, room).await;
        let mut waited = pin!(sleep(SPANS_WAIT));
        while batch.len() < SPANS_PER_EXPORT_MAX {
            let room = SPANS_PER_EXPORT_MAX - batch.len();
            tokio::select! {
                biased;
                more = spans.recv_many(batch, room) => if more == 0 { return },
                () = &mut waited => return,
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = filling => return,
    }
    // Nothing more comes in; what is there is taken without a wait.
    spans.close();
    let room = SPANS_PER_EXPORT_MAX.saturating_sub(batch.len());
    if 0 < room {
        spans.recv_many(batch, room).await;
    }
}

fn sent(span: Span) -> Sent {
    let Span { context, name, kind, started_at, ended_at, attributes, events, has_failed } = span;
    let nanos = |at: hookline_core::time::Timestamp| {
        u64::try_from(at.as_micros()).unwrap_or(0).saturating_mul(1_000)
    };
    let all = |attributes: Vec<(&'static str, Value)>| {
        attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>()
    };
    let event = |(name, attributes): (&str, _)| Event {
        time_unix_nano: nanos(ended_at),
        name: name.to_owned(),
        attributes: all(attributes),
        ..Event::default()
    };
    let is_remote =
        if context.parent_is_remote { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    Sent {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: context.span.to_be_bytes().to_vec(),
        parent_span_id: context.parent.map_or_else(Vec::new, |of| of.to_be_bytes().to_vec()),
        // Recorded; and whether the parent is another's is known.
        flags: 1 | SpanFlags::ContextHasIsRemoteMask as u32 | is_remote,
        name,
        kind: match kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        }
        .into(),
        start_time_unix_nano: nanos(started_at),
        end_time_unix_nano: nanos(ended_at),
        attributes: all(attributes),
        events: events.into_iter().map(event).collect(),
        status: has_failed
            .then(|| Status { code: StatusCode::Error.into(), message: String::new() }),
        ..Sent::default()
    }
}

fn attribute(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Number(number) => any_value::Value::IntValue(*number),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
