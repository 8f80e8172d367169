//! `PublishEvent`: events that agents emit.

use hookline_core::{
    event::{AGENT_SOURCE, DEAD_LETTER_SOURCE, EventType, NewEvent, SourceName},
    metadata::Metadata,
};
use hookline_proto::v1;
use tonic::Status;

use crate::{
    auth::{Caller, Scope},
    broker::Broker,
    clock::Stopwatch,
    grpc::{Shared, fields, status},
    limits::{BODY_BYTES_DEFAULT, METADATA_KEYS_MAX, TEXT_BYTES_MAX},
    store::Appended,
    traces::{Context, Kind, Span, TRACEPARENT},
};

pub(super) async fn publish(
    shared: &Shared,
    caller: &Caller,
    traceparent: Option<String>,
    request: v1::PublishEventRequest,
) -> Result<v1::PublishEventResponse, Status> {
    let watch = Stopwatch::start();
    let broker = &shared.broker;
    if broker.is_draining() {
        return Err(status::stopping());
    }
    let now = broker.clock().wall();
    let timestamp = request.timestamp.as_ref().map(|time| fields::timestamp("timestamp", time));
    if BODY_BYTES_DEFAULT < request.payload.len() {
        let (has, max) = (request.payload.len(), BODY_BYTES_DEFAULT);
        let problem = format!("has {has} bytes, at most {max} are allowed");
        return Err(status::invalid("payload", problem));
    }
    let mut event = NewEvent {
        source: source(shared, caller, &request.source)?,
        event_type: EventType::parse(&request.event_type)
            .map_err(|error| status::invalid("event_type", error))?,
        timestamp: timestamp.transpose()?.unwrap_or(now),
        actor: text("actor", request.actor)?.into(),
        resource_type: text("resource_type", request.resource_type)?.into(),
        resource_id: text("resource_id", request.resource_id)?.into(),
        payload: request.payload,
        metadata: metadata(request.metadata)?,
        delivery_key: text("delivery_key", request.delivery_key)?.into(),
        replay_window: None,
    };
    let (source, subject) =
        (event.source.clone(), format!("{}/{}", event.source, event.event_type));
    let traced = Traced::begin(broker, traceparent, &mut event, watch);
    let appended = broker.log().append(vec![event], now).await;
    if let Some(traced) = traced {
        traced.appended(broker, &source, appended.as_deref().ok().and_then(<[_]>::first));
    }
    let appended = appended.map_err(|error| status::append_failed(&error))?;
    let appended = appended.first().expect("an append answers for each event");
    tracing::info!(
        event_id = %appended.id, sequence = %appended.sequence, %source, %subject,
        duplicate = appended.duplicate, "event published",
    );
    Ok(v1::PublishEventResponse {
        event_id: appended.id.to_string(),
        sequence: appended.sequence.get(),
        duplicate: appended.duplicate,
    })
}

/// An event that is traced, while it is published: the call, and in it what is handed to the log.
struct Traced {
    call: Context,
    send: Context,
    /// Since the call began, and since the event was handed to the log.
    watches: [Stopwatch; 2],
}

impl Traced {
    /// Begins, if it is to be traced: within the trace that the event's metadata names, else the one that the call's do. The
    /// event is given its place in it, below which its deliveries hang; one that is not traced keeps what it came with.
    fn begin(
        broker: &Broker,
        of_call: Option<String>,
        event: &mut NewEvent,
        since: Stopwatch,
    ) -> Option<Self> {
        let parent = event.metadata.get(TRACEPARENT).map(str::to_owned).or(of_call);
        let call = broker.traces().begin(parent.as_deref());
        let send = call.map(Context::child);
        let parent = parent.filter(|parent| parent.len() <= TEXT_BYTES_MAX);
        if let Some(place) = send.map(Context::traceparent).or(parent) {
            event.metadata.insert(TRACEPARENT, place);
        }
        Some(Self { call: call?, send: send?, watches: [since, Stopwatch::start()] })
    }

    /// Sends the spans; `None`: the event could not be appended.
    fn appended(self, broker: &Broker, source: &SourceName, appended: Option<&Appended>) {
        let [of_call, of_send] = self.watches;
        let clock = &**broker.clock();
        let name = source.as_str();
        let named = (Kind::Producer, format!("send {name}"));
        let mut send = Span::ending_now(self.send, named, of_send.elapsed(), clock)
            .with("messaging.system", "hookline")
            .with("messaging.operation.type", "send")
            .with("messaging.operation.name", "append")
            .with("messaging.destination.name", name);
        if let Some(appended) = appended {
            send = send
                .with("messaging.message.id", appended.id.to_string())
                .with("hookline.sequence", appended.sequence.get())
                .with("hookline.duplicates", u64::from(appended.duplicate));
        }
        let named = (Kind::Server, "hookline.v1.EventService/PublishEvent".to_owned());
        let mut call = Span::ending_now(self.call, named, of_call.elapsed(), clock)
            .with("rpc.system", "grpc")
            .with("rpc.service", "hookline.v1.EventService")
            .with("rpc.method", "PublishEvent")
            .with("hookline.source", name);
        (send.has_failed, call.has_failed) = (appended.is_none(), appended.is_none());
        for span in [send, call] {
            broker.traces().send(span);
        }
    }
}

fn source(shared: &Shared, caller: &Caller, name: &str) -> Result<SourceName, Status> {
    let name = if name.is_empty() { AGENT_SOURCE } else { name };
    let source = SourceName::parse(name).map_err(|error| status::invalid("source", error))?;
    if name == DEAD_LETTER_SOURCE {
        return Err(status::invalid("source", "`dead-letter` is reserved for dead letters"));
    }
    let is_configured = shared.sources.configured.get(name).is_some();
    if caller.may_publish(&source, is_configured) {
        return Ok(source);
    }
    if caller.name().is_none() {
        let problem = format!("`{name}` is a source of webhooks; nobody else publishes as it");
        return Err(status::invalid("source", problem));
    }
    Err(status::out_of_scope(Scope::Publish, &source))
}

fn text(field: &str, text: String) -> Result<String, Status> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(text);
    }
    let problem = format!("has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len());
    Err(status::invalid(field, problem))
}

fn metadata(metadata: impl IntoIterator<Item = (String, String)>) -> Result<Metadata, Status> {
    let mut read = Metadata::default();
    for (key, value) in metadata {
        let value = text(&format!("metadata[{key:.64}]"), value)?;
        read.insert(text("metadata", key)?, value);
    }
    if read.len() <= METADATA_KEYS_MAX {
        return Ok(read);
    }
    let problem = format!("has {} keys, at most {METADATA_KEYS_MAX} are allowed", read.len());
    Err(status::invalid("metadata", problem))
}
