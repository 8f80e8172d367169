//! From a verified request to events: one file per provider, and shared pieces for what they have in common.
//!
//! Nothing here fails. Who sent the request is known, and many providers never send an event again that was refused:
//! so what can't be read becomes an event of type `unparsed` with the bytes as they came.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use sha2::{Digest, Sha256};

use crate::{
    event::{EventType, NewEvent},
    source::Kind,
    text::cut,
    time::Timestamp,
    verify::Verified,
};

mod form;
mod github;
mod json;
mod stripe;
mod times;
mod traceparent;

/// The most bytes of an actor, a resource's id or type, or a value of the metadata; what is beyond is cut off. Nothing
/// that a provider puts there comes near, but a body may hold a name of megabytes, and these are kept in memory.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The most bytes of a delivery key; of a longer id its SHA-256 is taken, since to cut it would make two ids one.
pub const DELIVERY_KEY_BYTES_MAX: usize = 256;

/// What the body of a request holds.
enum Content {
    /// A JSON body, or the JSON of a form.
    Json(Bytes),
    /// Neither: kept as it came.
    Raw,
}

/// What a provider's normalizer finds in a readable body. The rest is the same for all.
#[derive(Debug, Default)]
struct Reading {
    /// What the provider calls the event.
    event_type: String,
    /// The provider's id of the delivery; none: the body's hash stands for it.
    delivery_id: Option<String>,
    /// None: the time of receipt.
    timestamp: Option<Timestamp>,
    actor: String,
    resource_type: String,
    resource_id: String,
    metadata: Metadata,
}

/// Facts beside the event. Empty ones are left out.
#[derive(Clone, Debug, Default)]
struct Metadata(BTreeMap<String, String>);

impl Metadata {
    fn add(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) =
            value.map(|value| cut(value.into(), TEXT_BYTES_MAX)).filter(|value| !value.is_empty())
        {
            self.0.insert(key.to_owned(), value);
        }
    }
}

/// Makes events of a verified request; at least one.
///
/// Metadata of every event: `content_type` (the posted media type, lower-cased, without parameters; absent if there
/// was none), `traceparent` (if the request brought a valid one), `event_type_raw` (the provider's own text, where
/// `event_type` differs from it), `timestamp_source` = `received` (where the body tells no time). Providers add theirs.
/// Signatures, credentials and other headers are not kept.
#[must_use]
pub fn normalize(verified: &Verified<'_>, received_at: Timestamp) -> Vec<NewEvent> {
    let headers = verified.headers();
    let media_type = media_type(headers);
    let mut metadata = Metadata::default();
    metadata.add("content_type", media_type.clone());
    metadata.add("traceparent", traceparent::of(headers));

    let content = content(media_type.as_deref(), verified.body());
    let header_id = match verified.source().kind() {
        Kind::GitHub => github::delivery_id(headers),
        Kind::Stripe => None,
    };
    let read = |json: &Bytes| {
        let text = json::text(json)?;
        match verified.source().kind() {
            Kind::GitHub => github::read(headers, text),
            Kind::Stripe => stripe::read(text),
        }
    };
    let (payload, reading) = match content {
        Content::Json(json) => match read(&json) {
            Some(reading) => (json, Some(reading)),
            None => (verified.body().clone(), None),
        },
        Content::Raw => (verified.body().clone(), None),
    };
    let reading = reading.unwrap_or_default();
    vec![event(verified, received_at, metadata, payload, header_id, reading)]
}

/// Puts the event together; of an empty reading, an unparsed one.
fn event(
    verified: &Verified<'_>,
    received_at: Timestamp,
    mut metadata: Metadata,
    payload: Bytes,
    header_id: Option<String>,
    reading: Reading,
) -> NewEvent {
    let event_type = EventType::normalize(&reading.event_type).unwrap_or_else(EventType::unparsed);
    metadata.0.extend(reading.metadata.0);
    if event_type.as_str() != reading.event_type {
        metadata.add("event_type_raw", Some(reading.event_type));
    }
    if reading.timestamp.is_none() {
        metadata.add("timestamp_source", Some("received"));
    }
    let id = reading.delivery_id.or(header_id).filter(|id| !id.is_empty());
    NewEvent {
        source: verified.source().name().clone(),
        event_type,
        timestamp: reading.timestamp.unwrap_or(received_at),
        actor: cut(reading.actor, TEXT_BYTES_MAX),
        resource_type: cut(reading.resource_type, TEXT_BYTES_MAX),
        resource_id: cut(reading.resource_id, TEXT_BYTES_MAX),
        payload,
        metadata: metadata.0,
        delivery_key: match id {
            Some(id) if id.len() <= DELIVERY_KEY_BYTES_MAX => id,
            Some(id) => hash(id.as_bytes()),
            None => hash(verified.body()),
        },
    }
}

/// Finds the JSON in a body. A missing or wrong media type does not matter: a body that is JSON is taken as JSON.
fn content(media_type: Option<&str>, body: &Bytes) -> Content {
    if media_type != Some("application/x-www-form-urlencoded") {
        return Content::Json(body.clone());
    }
    form::json(body).map_or(Content::Raw, Content::Json)
}

/// Returns the media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = header(headers, CONTENT_TYPE.as_str())?;
    let essence = text.split(';').next().unwrap_or_default();
    Some(essence.trim_ascii().to_ascii_lowercase())
}

/// Returns a header's text; `None` if it is absent, not UTF-8, or there with different values.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.any(|value| value != first) {
        return None;
    }
    str::from_utf8(first.as_bytes()).ok()
}

/// Returns `sha256:` and the hash in hexadecimal.
fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
