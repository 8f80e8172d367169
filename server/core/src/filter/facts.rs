//! One event as filters see it.

use std::fmt::Write as _;

use cel::common::types::CelString;

use super::json::{self, Boxed, Object};
use crate::{event::Event, time::Timestamp};

/// What filters see of one event: made once per event, evaluated against any number of filters.
#[derive(Clone, Debug)]
pub struct Facts {
    event: Object,
    payload: PayloadState,
}

/// What the facts know of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayloadState {
    /// The caller has no filter that reads it.
    NotGiven,
    /// It is there, and no JSON.
    NotJson,
    /// It is the field `payload`.
    Json,
}

impl Facts {
    /// Makes the facts without the payload: for filters that do not read it.
    ///
    /// `payload_size`: the payload's bytes, as the event may come without it.
    #[must_use]
    pub fn new(event: &Event, payload_size: u64) -> Self {
        Self { event: Object::new(fields(event, payload_size)), payload: PayloadState::NotGiven }
    }

    /// Makes the facts with the payload, which is parsed here and nowhere else. If it is not JSON, the field `payload` is
    /// absent. `event.content.payload` is not looked at.
    #[must_use]
    pub fn with_payload(event: &Event, payload: &[u8], payload_size: u64) -> Self {
        let mut fields = fields(event, payload_size);
        let state = match json::parse(payload) {
            Some(value) => {
                fields.push((CelString::from("payload"), value));
                PayloadState::Json
            }
            None => PayloadState::NotJson,
        };
        Self { event: Object::new(fields), payload: state }
    }

    /// Returns the variable `event`.
    pub(super) fn event(&self) -> &Object {
        &self.event
    }

    pub(super) fn payload_state(&self) -> PayloadState {
        self.payload
    }
}

fn fields(event: &Event, payload_size: u64) -> Vec<(CelString<'static>, Boxed)> {
    let content = &event.content;
    let metadata = content
        .metadata
        .iter()
        .map(|(key, value)| (CelString::from(key.to_owned()), json::string(value)));
    let fields: [(&'static str, Boxed); 13] = [
        ("id", json::string(event.id.to_string())),
        ("sequence", json::count(event.sequence.get())),
        ("source", json::string(content.source.as_str())),
        ("event_type", json::string(content.event_type.as_str())),
        ("subject", json::string(event.subject())),
        ("timestamp", json::string(sortable(content.timestamp))),
        ("received_at", json::string(sortable(event.received_at))),
        ("actor", json::string(content.actor.as_str())),
        ("resource_type", json::string(content.resource_type.as_str())),
        ("resource_id", json::string(content.resource_id.as_str())),
        ("delivery_key", json::string(content.delivery_key.as_str())),
        ("payload_size", json::count(payload_size)),
        ("metadata", Box::new(Object::new(metadata.collect()))),
    ];
    fields.into_iter().map(|(name, value)| (CelString::from(name), value)).collect()
}

/// Writes a time with six digits after the point always: as texts they then compare as times do.
fn sortable(time: Timestamp) -> String {
    let micros = time.as_micros().rem_euclid(1_000_000);
    let seconds = Timestamp::from_secs(time.as_micros().div_euclid(1_000_000)).unwrap_or(time);
    let mut text = seconds.to_string();
    text.truncate(text.trim_end_matches('Z').len());
    match write!(text, ".{micros:06}Z") {
        Ok(()) | Err(std::fmt::Error) => text,
    }
}
