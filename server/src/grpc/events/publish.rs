//! `PublishEvent`: events that agents emit.

use std::collections::BTreeMap;

use hookline_core::event::{AGENT_SOURCE, DEAD_LETTER_SOURCE, EventType, NewEvent, SourceName};
use hookline_proto::v1;
use tonic::Status;

use crate::{
    auth::{Caller, Scope},
    grpc::{Shared, fields, status},
    limits::{BODY_BYTES_DEFAULT, METADATA_KEYS_MAX, TEXT_BYTES_MAX},
};

pub(super) async fn publish(
    shared: &Shared,
    caller: &Caller,
    request: v1::PublishEventRequest,
) -> Result<v1::PublishEventResponse, Status> {
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
    let event = NewEvent {
        source: source(shared, caller, &request.source)?,
        event_type: EventType::parse(&request.event_type)
            .map_err(|error| status::invalid("event_type", error))?,
        timestamp: timestamp.transpose()?.unwrap_or(now),
        actor: text("actor", request.actor)?,
        resource_type: text("resource_type", request.resource_type)?,
        resource_id: text("resource_id", request.resource_id)?,
        payload: request.payload,
        metadata: metadata(request.metadata)?,
        delivery_key: text("delivery_key", request.delivery_key)?,
        replay_window: None,
    };
    let (source, subject) =
        (event.source.clone(), format!("{}/{}", event.source, event.event_type));
    let appended = broker.log().append(vec![event], now).await;
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

fn metadata(
    metadata: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Status> {
    let mut read = BTreeMap::new();
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
